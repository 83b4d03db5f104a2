/* zlib streams, whole; MFRGN_ERROR_UNSUPPORTED in a build without zlib. */
#ifndef MFRGN_IO_INFLATE_H
#define MFRGN_IO_INFLATE_H

#include "base/base.h"

/* Inflates into memory to be freed; more than `limit` bytes are an error. */
mfrgn_status mf_inflate(mfrgn_context *context, const void *data, size_t size, size_t limit, unsigned char **out,
                        size_t *out_size);

#endif
