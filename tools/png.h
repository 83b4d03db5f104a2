/* SPDX-License-Identifier: Apache-2.0 */
/* PNG out of RGB8 pixels; with zlib where the build has it, else uncompressed. */
#ifndef MFRGN_TOOLS_PNG_H
#define MFRGN_TOOLS_PNG_H

#include <stddef.h>

/* Bytes to be freed; NULL without memory. */
unsigned char *png_encode(const unsigned char *pixels, int width, int height, size_t *size);
/* Several times as quick, somewhat larger, and the same bytes on every machine. */
unsigned char *png_encode_fast(const unsigned char *pixels, int width, int height, size_t *size);

#endif
