/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a golden case: a small safetensors file of f32 results, and its metadata.  (Not the library's reader: a case
 * is no model, and this command uses the public API only.) */
#ifndef MFRGN_TOOLS_GOLDEN_H
#define MFRGN_TOOLS_GOLDEN_H

#include <stddef.h>

typedef struct golden_tensor {
    char *name;
    const unsigned char *data; /* little-endian f32, any alignment; NULL: of another type */
    size_t count;
} golden_tensor;

typedef struct golden_pair {
    char *key, *value;
} golden_pair;

typedef struct golden {
    unsigned char *bytes;
    golden_tensor *tensor;
    size_t tensors;
    golden_pair *pair; /* metadata */
    size_t pairs;
} golden;

/* NULL, or what is wrong with the file (a constant text). */
const char *golden_open(const char *path, golden *file);
void golden_free(golden *file);
const char *golden_metadata(const golden *file, const char *key); /* NULL: absent */
const golden_tensor *golden_find(const golden *file, const char *name);
float golden_value(const golden_tensor *tensor, size_t index);

#endif
