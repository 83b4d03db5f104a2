/* SPDX-License-Identifier: Apache-2.0 */
/* Deflate for pictures: quick, and the same bytes on every machine, which no zlib promises. */
#ifndef MFRGN_TOOLS_DEFLATE_H
#define MFRGN_TOOLS_DEFLATE_H

#include <stddef.h>

/* Room for deflate_fast(). */
size_t deflate_bound(size_t size);
/* A zlib stream of the data; returns its bytes. */
size_t deflate_fast(const unsigned char *data, size_t size, unsigned char *out);

#endif
