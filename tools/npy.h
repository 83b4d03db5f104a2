/* SPDX-License-Identifier: Apache-2.0 */
/* Writes an N x D matrix of f32 as NumPy's .npy, version 1.0, row by row; N may come out later. */
#ifndef MFRGN_TOOLS_NPY_H
#define MFRGN_TOOLS_NPY_H

#include <stddef.h>

#include "out.h"

typedef struct npy_file {
    out_file out;
    size_t rows, columns;
} npy_file;

int npy_open(npy_file *npy, const char *path, size_t columns);  /* 0 after a message */
int npy_write(npy_file *npy, const float *values, size_t rows); /* 0: the commit will say why */
int npy_commit(npy_file *npy);                                  /* 0 after a message */
void npy_discard(npy_file *npy);

#endif
