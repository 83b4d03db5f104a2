/* SPDX-License-Identifier: Apache-2.0 */
/* Weights and pictures computed from a rule, the same on every machine: what golden cases are made of. */
#ifndef MFRGN_TOOLS_FILL_H
#define MFRGN_TOOLS_FILL_H

#include <stddef.h>
#include <stdint.h>

/* An mfrgn_fill; `user` points to the seed, a uint64_t. */
int fill_tensor(void *user, const char *name, const size_t *shape, int dims, float *values);
/* height x width x 3 bytes. */
void fill_picture(const char *name, uint64_t seed, int width, int height, unsigned char *pixels);

#endif
