/* NumPy's .npy: matrices of f32, C order, little-endian. */
#ifndef MFRGN_IO_NPY_H
#define MFRGN_IO_NPY_H

#include "io/file.h"

typedef struct mf_npy {
    mf_file file; /* mapped */
    const float *data;
    size_t rows, columns;
} mf_npy;

/* Maps a matrix; the header is checked strictly, and the file's size against it. */
mfrgn_status mf_npy_map(mfrgn_context *context, const char *path, mf_npy *npy);
void mf_npy_unmap(mf_npy *npy);
/* Writes one, under a temporary name first. */
mfrgn_status mf_npy_save(mfrgn_context *context, const char *path, const float *data, size_t rows, size_t columns);

#endif
