/* What the writers of weights share. */
#ifndef MFRGN_IO_WRITER_H
#define MFRGN_IO_WRITER_H

#include "io/reader.h"

/* A growing run of bytes.  A failure is kept in `status`, so that it is asked for once at the end. */
typedef struct mf_bytes {
    mfrgn_context *context;
    unsigned char *data;
    size_t size, room;
    mfrgn_status status;
} mf_bytes;

void mf_bytes_put(mf_bytes *b, const void *data, size_t size);
void mf_bytes_text(mf_bytes *b, const char *text);
void mf_bytes_le(mf_bytes *b, uint64_t value, int bytes);
void mf_bytes_fill(mf_bytes *b, char value, size_t count);
void mf_bytes_free(mf_bytes *b);
/* Writes them to a file, whole or not at all, and frees them in any case. */
mfrgn_status mf_bytes_save(mf_bytes *b, const char *path);

/* Refuses what the formats cannot hold: bad names, shapes that do not make `bytes`, a name twice. */
mfrgn_status mf_writer_check(mfrgn_context *context, const char *path, const mf_weights_out *what);

typedef mfrgn_status (*mf_tensor_sink)(void *user, size_t index, const void *data);
/* Takes every tensor from its source to `sink`, telling the progress in bytes. */
mfrgn_status mf_writer_stream(mfrgn_context *context, const char *path, const mf_weights_out *what, mf_tensor_sink sink,
                              void *user);

#endif
