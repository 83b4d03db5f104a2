/* PNG, BMP, TGA and GIF by stb_image, and JPEG where libjpeg is not there.  The look ahead (probe.c) has refused what
 * stb_image would take for granted: files cut short, checksums, indices past a palette. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "io/picture.h"

/* stb_image has no allocator argument.  A picture's own buffers are bounded by the look ahead; what a PNG's zlib stream
 * may swell to beyond its pixels is bounded here. */
#define LARGEST ((size_t)1 << 30)

/* Zeroed: a damaged JPEG may leave tables and coefficients unset that are then used. */
static void *stb_malloc(size_t bytes) {
    return bytes <= LARGEST ? calloc(1, bytes) : NULL;
}

static void *stb_realloc(void *memory, size_t bytes) {
    return bytes <= LARGEST ? realloc(memory, bytes) : NULL;
}

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_ONLY_TGA
#define STBI_ONLY_GIF
#ifndef MF_HAVE_JPEG
#define STBI_ONLY_JPEG
#endif
#define STBI_ASSERT(x) ((void)0)
#define STBI_MALLOC(bytes) stb_malloc(bytes)
#define STBI_REALLOC(memory, bytes) stb_realloc(memory, bytes)
#define STBI_FREE(memory) free(memory)

#pragma GCC diagnostic ignored "-Wunused-function" /* told at the end of the file */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include MF_STB_HEADER
#pragma GCC diagnostic pop

/* stb_image looks a PNG's indices up in a palette of 256 colours of which it sets those that the file gives.  A copy of
 * the file whose palette is filled up with black leaves nothing unset.  stb_image does not look at checksums. */
static mfrgn_status fill_palette(mfrgn_context *context, const mf_picture *picture, unsigned char **copy,
                                 size_t *size) {
    size_t entries = picture->colors * 3, more = 768 - entries, head = picture->palette + 8 + entries;
    unsigned char *data = mf_alloc(context, picture->size + more);
    if (!data)
        return mf_fail_memory(context, picture->size + more, "a picture");
    memcpy(data, picture->data, head);
    memset(data + head, 0, more);
    memcpy(data + head + more, picture->data + head, picture->size - head);
    data[picture->palette + 2] = 768 >> 8;
    data[picture->palette + 3] = 768 & 255;
    *copy = data;
    *size = picture->size + more;
    return MFRGN_OK;
}

#ifndef MF_HAVE_JPEG
/* stb_image before 2.28 writes past the end of a Huffman table that gives more than 256 codes, keeps 255 as a mark in
 * an index of them, and reads past rows whose sampling factors do not divide the largest (CVE-2021-37789). */
static mfrgn_status check_huffman(mfrgn_context *context, const mf_jpeg_segment *s) {
    for (size_t at = 0; at < s->length;) {
        size_t codes = 0;
        if (s->length - at < 17)
            return mf_fail(context, MFRGN_ERROR_FORMAT, "JPEG: damaged: a Huffman table");
        for (int k = 1; k <= 16; k++)
            codes += s->body[at + (size_t)k];
        if (codes > 255 || s->length - at - 17 < codes)
            return mf_fail(context, MFRGN_ERROR_FORMAT, "JPEG: damaged: a Huffman table");
        at += 17 + codes;
    }
    return MFRGN_OK;
}

static mfrgn_status check_sampling(mfrgn_context *context, const mf_picture *p, const unsigned char *frame) {
    int most_h = 1, most_v = 1;
    for (int c = 0; c < p->components; c++) {
        int h = frame[7 + 3 * c] >> 4, v = frame[7 + 3 * c] & 15;
        most_h = h > most_h ? h : most_h;
        most_v = v > most_v ? v : most_v;
    }
    for (int c = 0; c < p->components; c++)
        if (most_h % (frame[7 + 3 * c] >> 4) || most_v % (frame[7 + 3 * c] & 15))
            return mf_fail(context, MFRGN_ERROR_UNSUPPORTED,
                           "JPEG: its sampling factors need libjpeg-turbo: build libmfrgn with -Djpeg=enabled");
    return MFRGN_OK;
}

static mfrgn_status check_jpeg(mfrgn_context *context, const mf_picture *p) {
    mf_jpeg_segment s;
    if (p->components == 4)
        return mf_fail(context, MFRGN_ERROR_UNSUPPORTED,
                       "JPEG: four inks (CMYK) need libjpeg-turbo: build libmfrgn with -Djpeg=enabled");
    for (size_t at = 2;;) {
        MF_TRY(mf_jpeg_next(context, p, &at, &s));
        if (s.marker == 0xd9)
            return MFRGN_OK;
        if (s.marker == 0xc4)
            MF_TRY(check_huffman(context, &s));
        else if (s.marker >= 0xc0 && s.marker <= 0xc2)
            MF_TRY(check_sampling(context, p, s.body));
    }
}
#endif

static mfrgn_status decode(mfrgn_context *context, const mf_picture *picture, const unsigned char *data, size_t size,
                           mfrgn_bitmap *bitmap) {
    const char *name = mf_picture_name(picture->kind);
    int width = 0, height = 0, channels = 0;
    if (size > INT_MAX)
        return mf_fail(context, MFRGN_ERROR_UNSUPPORTED, "%s: %zu bytes are more than stb_image reads", name, size);
    if (!stbi_info_from_memory(data, (int)size, &width, &height, &channels))
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: %s", name, stbi_failure_reason());
    if (width != bitmap->width || height != bitmap->height)
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: damaged header: %d x %d or %d x %d pixels", name, width,
                       height, bitmap->width, bitmap->height);
    unsigned char *pixels = stbi_load_from_memory(data, (int)size, &width, &height, &channels, 3);
    if (!pixels) {
        const char *reason = stbi_failure_reason();
        int memory = reason && strcmp(reason, "outofmem") == 0;
        return mf_fail(context, memory ? MFRGN_ERROR_MEMORY : MFRGN_ERROR_FORMAT, "%s: damaged: %s", name,
                       reason ? reason : "no reason given");
    }
    mfrgn_status status = MFRGN_OK;
    if (width == bitmap->width && height == bitmap->height)
        memcpy(bitmap->pixels, pixels, (size_t)width * (size_t)height * 3);
    else
        status = mf_fail(context, MFRGN_ERROR_FORMAT, "%s: damaged header", name);
    stbi_image_free(pixels);
    return status;
}

mfrgn_status mf_decode_stb(mfrgn_context *context, const mf_picture *picture, mfrgn_bitmap *bitmap) {
#ifndef MF_HAVE_JPEG
    if (picture->kind == MF_PICTURE_JPEG)
        MF_TRY(check_jpeg(context, picture));
#endif
    if (!picture->palette || picture->colors >= 256)
        return decode(context, picture, picture->data, picture->size, bitmap);
    unsigned char *copy = NULL;
    size_t size = 0;
    MF_TRY(fill_palette(context, picture, &copy, &size));
    mfrgn_status status = decode(context, picture, copy, size, bitmap);
    mf_free(context, copy);
    return status;
}
