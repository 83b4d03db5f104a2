/* SPDX-License-Identifier: Apache-2.0 */
#include "png.h"

#include "deflate.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef TOOL_HAVE_ZLIB
#include <zlib.h>
#endif

static void put32(unsigned char *to, uint32_t v) {
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(v >> (24 - 8 * i));
}

/* CRC-32, four bits at a time. */
static uint32_t crc_of(const unsigned char *data, size_t size) {
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* Ends the chunk whose data (`size` bytes) lie at `chunk` + 8; returns what follows it. */
static unsigned char *end_chunk(unsigned char *chunk, const char *kind, size_t size) {
    put32(chunk, (uint32_t)size);
    memcpy(chunk + 4, kind, 4);
    put32(chunk + 8 + size, crc_of(chunk + 4, size + 4));
    return chunk + 12 + size;
}

/* Rows with their filter byte: 1, the difference to the pixel on the left. */
static unsigned char *filter_rows(const unsigned char *pixels, size_t row, size_t height) {
    unsigned char *out = malloc((row + 1) * height), *to = out;
    for (size_t y = 0; out && y < height; y++, pixels += row) {
        *to++ = 1;
        for (size_t x = 0; x < row; x++)
            *to++ = (unsigned char)(pixels[x] - (x < 3 ? 0 : pixels[x - 3]));
    }
    return out;
}

#ifdef TOOL_HAVE_ZLIB
static size_t bound(size_t size) {
    return compressBound((uLong)size);
}

static size_t deflate_all(const unsigned char *data, size_t size, unsigned char *out, size_t room) {
    uLongf used = (uLongf)room;
    return compress2(out, &used, data, (uLong)size, 6) == Z_OK ? used : 0;
}
#else
enum { BLOCK = 65535 };

static size_t bound(size_t size) {
    return size + (size / BLOCK + 1) * 5 + 6;
}

/* Stored blocks. */
static size_t deflate_all(const unsigned char *data, size_t size, unsigned char *out, size_t room) {
    unsigned char *to = out;
    uint32_t a = 1, b = 0;
    (void)room;
    *to++ = 0x78;
    *to++ = 0x01;
    for (size_t at = 0; at < size || at == 0;) {
        size_t n = size - at < BLOCK ? size - at : BLOCK;
        *to++ = at + n == size;
        for (int i = 0; i < 4; i++)
            *to++ = (unsigned char)((i < 2 ? n : ~n) >> 8 * (i % 2));
        memcpy(to, data + at, n);
        to += n;
        at += n;
    }
    for (size_t i = 0; i < size; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    put32(to, b << 16 | a);
    return (size_t)(to + 4 - out);
}
#endif

/* Of two filters, the differences to the left and to above, that with the smaller sum. */
static unsigned char *choose_filters(const unsigned char *pixels, size_t row, size_t height) {
    unsigned char *out = malloc((row + 1) * height), *to = out;
    for (size_t y = 0; out && y < height; y++, pixels += row) {
        unsigned left = 0, above = 0;
        for (size_t x = 3; y && x < row; x++) {
            left += (unsigned)abs((signed char)(pixels[x] - pixels[x - 3]));
            above += (unsigned)abs((signed char)(pixels[x] - (pixels - row)[x]));
        }
        int up = y && above < left;
        *to++ = up ? 2 : 1;
        for (size_t x = 0; x < row; x++)
            *to++ = (unsigned char)(pixels[x] - (up ? (pixels - row)[x] : x < 3 ? 0 : pixels[x - 3]));
    }
    return out;
}

static unsigned char *encode(const unsigned char *pixels, int width, int height, int fast, size_t *size) {
    size_t row = (size_t)width * 3, raw = (row + 1) * (size_t)height, room = fast ? deflate_bound(raw) : bound(raw);
    unsigned char *rows = (fast ? choose_filters : filter_rows)(pixels, row, (size_t)height);
    unsigned char *out = rows ? malloc(room + 64) : NULL;
    if (out) {
        unsigned char *at = out + 8;
        memcpy(out, "\x89PNG\r\n\x1a\n", 8);
        put32(at + 8, (uint32_t)width);
        put32(at + 12, (uint32_t)height);
        memcpy(at + 16, "\x08\x02\x00\x00\x00", 5); /* 8 bits, RGB */
        at = end_chunk(at, "IHDR", 13);
        size_t used = fast ? deflate_fast(rows, raw, at + 8) : deflate_all(rows, raw, at + 8, room);
        at = end_chunk(at, "IDAT", used);
        at = end_chunk(at, "IEND", 0);
        *size = (size_t)(at - out);
    }
    free(rows);
    return out;
}

unsigned char *png_encode(const unsigned char *pixels, int width, int height, size_t *size) {
    return encode(pixels, width, height, 0, size);
}

unsigned char *png_encode_fast(const unsigned char *pixels, int width, int height, size_t *size) {
    return encode(pixels, width, height, 1, size);
}
