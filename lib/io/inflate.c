#include "io/inflate.h"

#include <string.h>

#ifdef MF_HAVE_ZLIB
#include <zlib.h>

static void *allocate(void *context, unsigned count, unsigned size) {
    return mf_calloc(context, count, size);
}

static void release(void *context, void *memory) {
    mf_free(context, memory);
}

/* Runs until the end of the stream; the output grows with what has come out, so that a small file costs little. */
static mfrgn_status run(mfrgn_context *context, z_stream *z, size_t limit, unsigned char **out, size_t *room) {
    enum { PIECE = 1 << 16 };
    for (;;) {
        size_t used = z->total_out;
        if (used > limit)
            return mf_fail(context, MFRGN_ERROR_FORMAT, "compressed data are larger than %zu bytes", limit);
        MF_TRY(mf_reserve(context, (void **)out, room, used + PIECE, 1));
        z->next_out = *out + used;
        z->avail_out = PIECE;
        int code = inflate(z, Z_NO_FLUSH);
        if (code == Z_STREAM_END)
            return MFRGN_OK;
        if (code == Z_MEM_ERROR)
            return mf_fail_memory(context, PIECE, "inflating");
        if (code != Z_OK || (z->avail_in == 0 && z->avail_out > 0))
            return mf_fail(context, MFRGN_ERROR_FORMAT, "damaged compressed data");
    }
}

mfrgn_status mf_inflate(mfrgn_context *context, const void *data, size_t size, size_t limit, unsigned char **result,
                        size_t *result_size) {
    z_stream z = {.zalloc = allocate, .zfree = release, .opaque = context};
    unsigned char *out = NULL;
    size_t room = 0;
    if (size > UINT32_MAX)
        return mf_fail(context, MFRGN_ERROR_FORMAT, "compressed data of %zu bytes", size);
    z.next_in = (unsigned char *)(uintptr_t)data; /* zlib's type has no const; it only reads */
    z.avail_in = (unsigned)size;
    if (inflateInit(&z) != Z_OK)
        return mf_fail_memory(context, 1 << 16, "inflating");
    mfrgn_status status = run(context, &z, limit, &out, &room);
    *result_size = z.total_out;
    inflateEnd(&z);
    if (status != MFRGN_OK)
        mf_free(context, out);
    else
        *result = out;
    return status;
}

#else

mfrgn_status mf_inflate(mfrgn_context *context, const void *data, size_t size, size_t limit, unsigned char **result,
                        size_t *result_size) {
    (void)data, (void)size, (void)limit, (void)result, (void)result_size;
    return mf_fail(context, MFRGN_ERROR_UNSUPPORTED,
                   "its variables are compressed, and this build has no zlib: build with -Dzlib=enabled, or save the "
                   "file uncompressed ('-v6')");
}

#endif
