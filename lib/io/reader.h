/* What the readers and writers of weights share: memory of one lifetime, messages that name the file, the list of
 * tensors under construction. */
#ifndef MFRGN_IO_READER_H
#define MFRGN_IO_READER_H

#include <string.h>

#include "io/weights.h"

/* Everything handed out lives until the arena is freed: damaged files need no unwinding. */
typedef struct mf_arena {
    mfrgn_context *context;
    void *blocks;
} mf_arena;

void *mf_arena_alloc(mf_arena *arena, size_t bytes); /* aligned to 16; NULL without an error text */
void mf_arena_free(mf_arena *arena);

/* A file being read. */
typedef struct mf_reader {
    mfrgn_context *context;
    const char *name; /* the path, for messages */
    const unsigned char *data;
    size_t size;
    mf_arena memory; /* of the result's lifetime */
    mf_weights *weights;
    size_t tensor_room, metadata_room;
} mf_reader;

/* mf_fail() with the file's name before the text. */
mfrgn_status mf_reader_fail(const mf_reader *r, mfrgn_status status, const char *format, ...) MF_PRINTF(3, 4);
/* Room for `bytes` that live as long as the result, or NULL with the error set. */
void *mf_reader_alloc(mf_reader *r, size_t bytes, const char *what);
mfrgn_status mf_reader_add(mf_reader *r, const mf_weight *tensor);
mfrgn_status mf_reader_add_metadata(mf_reader *r, const char *key, const char *value);
/* Sorts the tensors by name; a name that occurs twice is an error. */
mfrgn_status mf_reader_finish(mf_reader *r);

/* The formats. */
mfrgn_status mf_safetensors_read(mf_reader *r);
mfrgn_status mf_pth_read_zip(mf_reader *r);
mfrgn_status mf_pth_read_legacy(mf_reader *r);

/* Bytes of a dense tensor. 0: the shape is negative or the product does not fit */
int mf_weight_bytes(mf_dtype dtype, int ndim, const int64_t *dim, size_t *bytes);
/* "F32 [2, 3]" for messages; returns `text`. */
const char *mf_weight_describe(char *text, size_t size, mf_dtype dtype, int ndim, const int64_t *dim);

/* Sorts in place.  qsort() of some C libraries allocates memory. */
void mf_sort(void *items, size_t count, size_t size, int (*compare)(const void *, const void *));
/* The length of the UTF-8 sequence at `text`, 0 if it is none.  Overlong forms and surrogates are none. */
size_t mf_utf8_sequence(const unsigned char *text, size_t room);
/* Valid UTF-8 without NUL, which a C string cannot hold. */
int mf_utf8_valid(const void *text, size_t size);

/* A quoted piece of a file in messages: "%.*s" with MF_SHOW(size). */
#define MF_SHOW(size) ((size) > 160 ? 160 : (int)(size))

static inline uint16_t mf_le16(const unsigned char *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t mf_le32(const unsigned char *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t mf_le64(const unsigned char *p) {
    return mf_le32(p) | (uint64_t)mf_le32(p + 4) << 32;
}

#endif
