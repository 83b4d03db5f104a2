/* A reader of MATLAB 5 files (MAT-files of versions 5 to 7; 7.3 is HDF5 and refused): numbers, text, cells, structs, of
 * either byte order, compressed or not.  Everything is checked against the file's size: files may be hostile. */
#ifndef MFRGN_IO_MATLAB_H
#define MFRGN_IO_MATLAB_H

#include "io/reader.h"

typedef enum mf_mat_class {
    MF_MAT_OTHER = 0, /* sparse, objects, functions: passed over */
    MF_MAT_CELL = 1,
    MF_MAT_STRUCT = 2,
    MF_MAT_TEXT = 4,
    MF_MAT_NUMBER = 6 /* double, single, all integers; stored in any type */
} mf_mat_class;

typedef struct mf_mat {
    const char *name;
    mf_mat_class class;
    size_t rows, columns; /* further dimensions are columns */
    const double *number; /* rows x columns, column after column; of complex numbers the real part */
    const char **text;    /* `rows` strings, UTF-8, without the spaces that fill a row up */
    struct mf_mat *child; /* cells: rows x columns; a struct: that many for each field */
    const char **field;
    size_t fields;
} mf_mat;

typedef struct mf_matlab {
    mf_arena memory;
    mf_mat *variable;
    size_t count, room;
} mf_matlab;

mfrgn_status mf_matlab_load(mfrgn_context *context, const char *path, mf_matlab *file);
mfrgn_status mf_matlab_decode(mfrgn_context *context, const char *name, const void *data, size_t size, mf_matlab *file);
void mf_matlab_free(mf_matlab *file);

const mf_mat *mf_matlab_find(const mf_matlab *file, const char *name); /* NULL: none */
/* A list of strings is a cell array of text, or text with a string a row. */
size_t mf_mat_string_count(const mf_mat *m);
const char *mf_mat_string(const mf_mat *m, size_t index); /* NULL: not text */

#endif
