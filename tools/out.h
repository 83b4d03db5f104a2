/* SPDX-License-Identifier: Apache-2.0 */
/* A file that appears whole or not at all: written under a temporary name beside its place, then renamed. */
#ifndef MFRGN_TOOLS_OUT_H
#define MFRGN_TOOLS_OUT_H

#include <stdio.h>

typedef struct out_file {
    FILE *file; /* NULL: not open */
    char *path, *temporary;
} out_file;

/* 0 after a message.  What exists and is no regular file (a pipe, /dev/stdout) is written directly. */
int out_open(out_file *out, const char *path);
/* 0 after a message; the temporary file is gone then. */
int out_commit(out_file *out);
void out_discard(out_file *out);

#endif
