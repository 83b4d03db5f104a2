/* The look ahead: what a picture file is and whether its size is believable, before a decoder allocates anything.
 *
 * Each format bounds from above how many pixels a byte of file can hold:
 *   JPEG  1 bit a block of 8 x 8 samples (its DC coefficient takes one Huffman code; arithmetic coding is refused)
 *   PNG   1032 bytes of rows a byte (deflate: a match of 258 bytes takes at least 2 bits)
 *   GIF   4096 pixels a code of 12 bits (LZW's longest string), taken of the whole canvas
 *   TGA   128 pixels a packet of 2 bytes or more; every packet is walked
 *   BMP, PNM  not compressed
 * A file that claims more is damaged or hostile. */
#include <string.h>

#include "io/picture.h"

const char *mf_picture_name(mf_picture_kind kind) {
    static const char *const names[] = {"picture", "JPEG", "PNG", "GIF", "BMP", "PNM", "TGA"};
    return (unsigned)kind < MF_COUNT(names) ? names[kind] : names[0];
}

static const unsigned char png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

/* TGA has no signature: its header must make sense in every field. */
static int is_tga(const unsigned char *p, size_t size) {
    if (size < 18 || p[1] > 1)
        return 0;
    int type = p[2] & 7, bits = p[16];
    if ((p[2] & ~8) != type || type < 1 || type > 3 || (type == 1) != (p[1] == 1))
        return 0;
    if (!mf_le16(p + 12) || !mf_le16(p + 14) || p[17] & 0xc0)
        return 0;
    if (type == 1)
        return (bits == 8 || bits == 16) && mf_le16(p + 5) && (p[7] == 15 || p[7] == 16 || p[7] == 24 || p[7] == 32);
    return type == 3 ? bits == 8 || bits == 16 : bits == 15 || bits == 16 || bits == 24 || bits == 32;
}

mf_picture_kind mf_picture_sniff(const unsigned char *p, size_t size) {
    if (size >= 2 && p[0] == 0xff && p[1] == 0xd8)
        return MF_PICTURE_JPEG;
    if (size >= 8 && memcmp(p, png_signature, 8) == 0)
        return MF_PICTURE_PNG;
    if (size >= 6 && (memcmp(p, "GIF87a", 6) == 0 || memcmp(p, "GIF89a", 6) == 0))
        return MF_PICTURE_GIF;
    if (size >= 2 && p[0] == 'B' && p[1] == 'M')
        return MF_PICTURE_BMP;
    if (size >= 3 && p[0] == 'P' && p[1] >= '1' && p[1] <= '7' && (strchr(" \t\r\n#", p[2]) && p[2]))
        return MF_PICTURE_PNM;
    return is_tga(p, size) ? MF_PICTURE_TGA : MF_PICTURE_UNKNOWN;
}

static mfrgn_status truncated(mfrgn_context *context, const mf_picture *p) {
    return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: cut short: the picture does not end within the file's %zu bytes",
                   mf_picture_name(p->kind), p->size);
}

static mfrgn_status damaged(mfrgn_context *context, const mf_picture *p, const char *what) {
    return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: damaged: %s", mf_picture_name(p->kind), what);
}

static mfrgn_status unsupported(mfrgn_context *context, const mf_picture *p, const char *what) {
    return mf_fail(context, MFRGN_ERROR_UNSUPPORTED, "%s: %s is not supported", mf_picture_name(p->kind), what);
}

mfrgn_status mf_picture_fits(mfrgn_context *context, const mf_picture *p, uint64_t width, uint64_t height,
                             uint64_t least_bytes) {
    const char *name = mf_picture_name(p->kind);
    if (!width || !height)
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: %llu x %llu pixels: an empty picture", name,
                       (unsigned long long)width, (unsigned long long)height);
    if (least_bytes > p->size)
        return mf_fail(context, MFRGN_ERROR_FORMAT,
                       "%s: %llu x %llu pixels cannot be in a file of %zu bytes: cut short or damaged", name,
                       (unsigned long long)width, (unsigned long long)height, p->size);
    if (width > MF_PICTURE_SIDE || height > MF_PICTURE_SIDE || width * height > MF_PICTURE_PIXELS)
        return mf_fail(context, MFRGN_ERROR_UNSUPPORTED,
                       "%s: %llu x %llu pixels are too many: at most %d a side and %d in all", name,
                       (unsigned long long)width, (unsigned long long)height, MF_PICTURE_SIDE, MF_PICTURE_PIXELS);
    return MFRGN_OK;
}

static mfrgn_status set_size(mfrgn_context *context, mf_picture *p, uint64_t width, uint64_t height,
                             uint64_t least_bytes) {
    MF_TRY(mf_picture_fits(context, p, width, height, least_bytes));
    p->width = (int)width;
    p->height = (int)height;
    return MFRGN_OK;
}

/* ---- JPEG (ITU T.81, annex B) ---- */

static mfrgn_status jpeg_frame(mfrgn_context *context, mf_picture *p, const unsigned char *frame, size_t size,
                               int marker) {
    if (p->components)
        return damaged(context, p, "two frames");
    if (marker > 0xc2)
        return unsupported(context, p,
                           marker == 0xc3 || marker == 0xc7 ? "lossless coding"
                           : marker < 0xc8                  ? "hierarchical coding"
                                                            : "arithmetic coding");
    if (size < 6 || !frame[5] || size < 6 + 3 * (size_t)frame[5])
        return damaged(context, p, "a frame header that is too short");
    if (frame[0] != 8)
        return unsupported(context, p, "a depth other than 8 bits a sample");
    p->components = frame[5];
    if (p->components != 1 && p->components != 3 && p->components != 4)
        return unsupported(context, p, "a number of components other than 1, 3 and 4");
    uint64_t height = mf_be16(frame + 1), width = mf_be16(frame + 3), blocks = 0;
    unsigned most_h = 1, most_v = 1;
    for (int c = 0; c < p->components; c++) {
        unsigned h = frame[7 + 3 * c] >> 4, v = frame[7 + 3 * c] & 15;
        if (h < 1 || h > 4 || v < 1 || v > 4)
            return damaged(context, p, "a sampling factor");
        most_h = h > most_h ? h : most_h;
        most_v = v > most_v ? v : most_v;
    }
    for (int c = 0; c < p->components; c++) {
        unsigned h = frame[7 + 3 * c] >> 4, v = frame[7 + 3 * c] & 15;
        blocks += ((width * h + most_h * 8 - 1) / (most_h * 8)) * ((height * v + most_v * 8 - 1) / (most_v * 8));
    }
    return set_size(context, p, width, height, blocks / 8);
}

/* Past the entropy-coded data that begins at `at`: at the 0xff of the next marker. */
static size_t skip_scan(const mf_picture *p, size_t at) {
    while (at < p->size) {
        const unsigned char *hit = memchr(p->data + at, 0xff, p->size - at);
        if (!hit)
            return p->size;
        at = (size_t)(hit - p->data);
        if (at + 1 >= p->size)
            return p->size;
        int next = p->data[at + 1];
        if (next == 0xff)
            at += 1;
        else if (next == 0 || (next >= 0xd0 && next <= 0xd7))
            at += 2;
        else
            return at;
    }
    return at;
}

mfrgn_status mf_jpeg_next(mfrgn_context *context, const mf_picture *p, size_t *at, mf_jpeg_segment *segment) {
    for (;;) {
        size_t i = skip_scan(p, *at); /* what lies between segments is skipped, as decoders do */
        if (p->size - i < 2)
            return truncated(context, p);
        *segment = (mf_jpeg_segment){p->data[i + 1], NULL, 0};
        *at = i + 2;
        if (segment->marker == 0xd9)
            return MFRGN_OK;
        if (segment->marker == 0x01 || segment->marker == 0xd8)
            continue;
        if (p->size - *at < 2)
            return truncated(context, p);
        size_t length = mf_be16(p->data + *at);
        if (length < 2)
            return damaged(context, p, "the length of a segment");
        if (p->size - *at < length)
            return truncated(context, p);
        segment->body = p->data + *at + 2;
        segment->length = length - 2;
        *at += length;
        return MFRGN_OK;
    }
}

/* Walks to the end-of-image marker: a file that was cut anywhere lacks it. */
static mfrgn_status probe_jpeg(mfrgn_context *context, mf_picture *p) {
    int exif = 0;
    mf_jpeg_segment s;
    for (size_t at = 2;;) {
        MF_TRY(mf_jpeg_next(context, p, &at, &s));
        if (s.marker == 0xd9)
            return p->components ? MFRGN_OK : damaged(context, p, "no frame header");
        if (s.marker >= 0xc0 && s.marker <= 0xcf && s.marker != 0xc4 && s.marker != 0xc8 && s.marker != 0xcc)
            MF_TRY(jpeg_frame(context, p, s.body, s.length, s.marker));
        else if (s.marker == 0xda && !p->components)
            return damaged(context, p, "a scan before the frame header");
        else if (s.marker == 0xe1 && !exif && s.length >= 6 && memcmp(s.body, "Exif\0", 6) == 0) {
            exif = 1;
            p->orientation = mf_exif_orientation(s.body + 6, s.length - 6);
        }
    }
}

/* ---- PNG (third edition) ---- */

/* CRC-32 by half bytes: a table of 16 entries. */
static uint32_t crc32_of(const unsigned char *data, size_t size) {
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

typedef struct png_header {
    uint64_t width, height;
    int depth, type, channels;
} png_header;

static mfrgn_status png_frame(mfrgn_context *context, const mf_picture *p, const unsigned char *body, size_t length,
                              png_header *h) {
    static const unsigned char channels[7] = {1, 0, 3, 1, 2, 0, 4};
    if (length != 13)
        return damaged(context, p, "the length of IHDR");
    *h = (png_header){mf_be32(body), mf_be32(body + 4), body[8], body[9], 0};
    h->channels = h->type <= 6 ? channels[h->type] : 0;
    int d = h->depth;
    int sound = h->type == 0   ? d == 1 || d == 2 || d == 4 || d == 8 || d == 16
                : h->type == 3 ? d == 1 || d == 2 || d == 4 || d == 8
                               : d == 8 || d == 16;
    if (!h->channels || !sound || body[10] || body[11] || body[12] > 1)
        return damaged(context, p, "a pixel format that PNG does not have");
    return MFRGN_OK;
}

static mfrgn_status png_end(mfrgn_context *context, mf_picture *p, const png_header *h, uint64_t packed) {
    enum { DEFLATE_AT_MOST = 1032 };
    uint64_t bits = (uint64_t)(h->depth * h->channels);
    /* Both sides below 2^31 do not overflow: 2^62 / 8 * 64. */
    if (h->width > INT32_MAX || h->height > INT32_MAX)
        return damaged(context, p, "a side of 2^31 pixels or more");
    uint64_t rows = h->width * h->height > UINT64_MAX / bits ? UINT64_MAX / 8 : h->width * h->height * bits / 8;
    if (rows / DEFLATE_AT_MOST > packed)
        return set_size(context, p, h->width, h->height, UINT64_MAX);
    return set_size(context, p, h->width, h->height, 0);
}

static mfrgn_status probe_png(mfrgn_context *context, mf_picture *p) {
    png_header h = {0};
    uint64_t packed = 0;
    for (size_t at = 8;;) {
        if (p->size - at < 12 || p->size - at - 12 < mf_be32(p->data + at))
            return h.channels ? truncated(context, p) : damaged(context, p, "no sound IHDR");
        size_t length = mf_be32(p->data + at);
        const unsigned char *name = p->data + at + 4, *body = name + 4;
        int sound = crc32_of(name, length + 4) == mf_be32(body + length);
        if (memcmp(name, "CgBI", 4) == 0)
            return unsupported(context, p, "Apple's variant (CgBI)");
        if (!(name[0] & 0x20) && !sound)
            return damaged(context, p, "a checksum does not agree");
        if (!h.channels) {
            if (memcmp(name, "IHDR", 4))
                return damaged(context, p, "it does not begin with IHDR");
            MF_TRY(png_frame(context, p, body, length, &h));
        } else if (memcmp(name, "PLTE", 4) == 0 && h.type == 3) {
            if (p->palette || length % 3 || !length || length > 768)
                return damaged(context, p, "the palette");
            p->palette = at;
            p->colors = length / 3;
        } else if (memcmp(name, "IDAT", 4) == 0) {
            packed += length;
        } else if (memcmp(name, "eXIf", 4) == 0 && sound) {
            p->orientation = mf_exif_orientation(body, length);
        } else if (memcmp(name, "IEND", 4) == 0) {
            return png_end(context, p, &h, packed);
        } else if (!(name[0] & 0x20) && memcmp(name, "PLTE", 4)) {
            /* stb_image would refuse it too, but write its name into a variable that all threads share */
            return damaged(context, p, "a chunk that PNG does not have");
        }
        at += length + 12;
    }
}

/* ---- GIF ---- */

static size_t skip_blocks(const mf_picture *p, size_t at) {
    while (at < p->size && p->data[at])
        at += (size_t)p->data[at] + 1;
    return at < p->size ? at + 1 : SIZE_MAX;
}

static mfrgn_status probe_gif(mfrgn_context *context, mf_picture *p) {
    if (p->size < 13)
        return truncated(context, p);
    unsigned width = mf_le16(p->data + 6), height = mf_le16(p->data + 8), flags = p->data[10];
    size_t at = 13 + (flags & 0x80 ? (size_t)3 << ((flags & 7) + 1) : 0);
    for (;;) {
        if (at >= p->size)
            return truncated(context, p);
        int tag = p->data[at];
        if (tag == 0x2c)
            break;
        if (tag == 0x3b)
            return damaged(context, p, "it holds no frame");
        if (tag != 0x21)
            return damaged(context, p, "an unknown block");
        if (p->size - at < 3)
            return truncated(context, p);
        if ((at = skip_blocks(p, at + 2)) == SIZE_MAX)
            return truncated(context, p);
    }
    if (p->size - at < 11)
        return truncated(context, p);
    const unsigned char *frame = p->data + at;
    if (!mf_le16(frame + 5) || !mf_le16(frame + 7) || mf_le16(frame + 1) + mf_le16(frame + 5) > width ||
        mf_le16(frame + 3) + mf_le16(frame + 7) > height)
        return damaged(context, p, "its first frame is empty or not inside the picture");
    at += 10 + (frame[9] & 0x80 ? (size_t)3 << ((frame[9] & 7) + 1) : 0) + 1;
    if (at >= p->size || skip_blocks(p, at) == SIZE_MAX)
        return truncated(context, p);
    return set_size(context, p, width, height, (uint64_t)width * height * 12 / 8 / 4096);
}

/* ---- BMP ---- */

/* The indices of a picture with a palette must be in it. */
static mfrgn_status bmp_indices(mfrgn_context *context, const mf_picture *p, size_t offset, size_t stride, int bits,
                                size_t colors) {
    if (colors >> bits)
        return MFRGN_OK;
    for (int y = 0; y < p->height; y++) {
        const unsigned char *row = p->data + offset + (size_t)y * stride;
        for (size_t x = 0; x < (size_t)p->width; x++) {
            size_t bit = x * (size_t)bits;
            if ((unsigned)(row[bit / 8] >> (8 - bits - (int)(bit % 8)) & ((1 << bits) - 1)) >= colors)
                return damaged(context, p, "a colour that is not in its palette");
        }
    }
    return MFRGN_OK;
}

static mfrgn_status probe_bmp(mfrgn_context *context, mf_picture *p) {
    if (p->size < 26)
        return truncated(context, p);
    uint64_t offset = mf_le32(p->data + 10), header = mf_le32(p->data + 14), width, height;
    int bits;
    unsigned packing = 0;
    if (header == 12) {
        width = mf_le16(p->data + 18);
        height = mf_le16(p->data + 20);
        bits = (int)mf_le16(p->data + 24);
    } else if (header == 40 || header == 56 || header == 108 || header == 124) {
        if (p->size < 14 + header)
            return truncated(context, p);
        int64_t w = (int32_t)mf_le32(p->data + 18), h = (int32_t)mf_le32(p->data + 22);
        if (w < 0)
            return damaged(context, p, "a negative width");
        width = (uint64_t)w;
        height = (uint64_t)(h < 0 ? -h : h); /* negative: the top row comes first */
        bits = (int)mf_le16(p->data + 28);
        packing = mf_le32(p->data + 30);
    } else {
        return unsupported(context, p, "this form of header");
    }
    if (packing != 0 && packing != 3)
        return unsupported(context, p, "a compressed bitmap");
    if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32)
        return unsupported(context, p, "this number of bits a pixel");
    if (header == 12 && bits < 24)
        return unsupported(context, p, "an OS/2 bitmap with a palette");
    uint64_t stride = (width * (uint64_t)bits + 31) / 32 * 4, row = (width * (uint64_t)bits + 7) / 8;
    if (offset < 14 + header)
        return damaged(context, p, "its pixels lie in its header");
    MF_TRY(set_size(context, p, width, height, height ? offset + stride * (height - 1) + row : 0));
    uint64_t colors = (offset - 14 - header) / 4;
    return bits > 8 ? MFRGN_OK : bmp_indices(context, p, (size_t)offset, (size_t)stride, bits, (size_t)colors);
}

/* ---- PNM ---- */

/* A number and the one white space after it; comments count as white space. 0: there is none */
static int pnm_number(const mf_picture *p, size_t *at, uint64_t *value) {
    size_t i = *at, digits = 0;
    while (i < p->size && strchr(" \t\r\n\v\f#", p->data[i]) && p->data[i]) {
        if (p->data[i] == '#')
            while (i < p->size && p->data[i] != '\n')
                i++;
        else
            i++;
    }
    for (*value = 0; i < p->size && p->data[i] >= '0' && p->data[i] <= '9' && digits < 9; i++, digits++)
        *value = *value * 10 + (p->data[i] - '0');
    if (!digits || i >= p->size || !p->data[i] || !strchr(" \t\r\n\v\f", p->data[i]))
        return 0;
    *at = i + 1;
    return 1;
}

static mfrgn_status probe_pnm(mfrgn_context *context, mf_picture *p) {
    uint64_t width, height, depth;
    size_t at = 2;
    if (p->data[1] != '5' && p->data[1] != '6')
        return unsupported(context, p, "any form but the binary P5 and P6");
    if (!pnm_number(p, &at, &width) || !pnm_number(p, &at, &height) || !pnm_number(p, &at, &depth))
        return damaged(context, p, "its header is not width, height and depth");
    if (depth < 1 || depth > 65535)
        return damaged(context, p, "its depth is not 1 .. 65535");
    p->components = p->data[1] == '6' ? 3 : 1;
    p->depth = (int)depth;
    p->offset = at;
    return set_size(context, p, width, height, at + width * height * (uint64_t)p->components * (depth > 255 ? 2 : 1));
}

/* ---- TGA ---- */

static mfrgn_status probe_tga(mfrgn_context *context, mf_picture *p) {
    const unsigned char *h = p->data;
    uint64_t width = mf_le16(h + 12), height = mf_le16(h + 14), left = width * height;
    size_t pixel = ((size_t)h[16] + 7) / 8;
    size_t at = 18 + (size_t)h[0] + (h[1] ? mf_le16(h + 5) * (((size_t)h[7] + 7) / 8) : 0);
    if (h[1] && mf_le16(h + 3))
        return unsupported(context, p, "a palette that does not begin at 0");
    if (h[17] & 0x10)
        return unsupported(context, p, "a picture stored from the right");
    if (!(h[2] & 8))
        return set_size(context, p, width, height, at + left * pixel);
    while (left) {
        if (at >= p->size)
            return truncated(context, p);
        uint64_t run = (h[at] & 127u) + 1;
        at += 1 + (h[at] & 128 ? pixel : pixel * (size_t)run);
        left -= run < left ? run : left;
    }
    return set_size(context, p, width, height, at);
}

mfrgn_status mf_picture_probe(mfrgn_context *context, mf_picture *picture) {
    switch (picture->kind) {
    case MF_PICTURE_JPEG:
        return probe_jpeg(context, picture);
    case MF_PICTURE_PNG:
        return probe_png(context, picture);
    case MF_PICTURE_GIF:
        return probe_gif(context, picture);
    case MF_PICTURE_BMP:
        return probe_bmp(context, picture);
    case MF_PICTURE_PNM:
        return probe_pnm(context, picture);
    case MF_PICTURE_TGA:
        return probe_tga(context, picture);
    default:
        return damaged(context, picture, "of no kind that is known");
    }
}
