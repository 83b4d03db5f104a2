/* Picture files: what bitmap.c, the look ahead (probe.c) and the decoders share. */
#ifndef MFRGN_IO_PICTURE_H
#define MFRGN_IO_PICTURE_H

#include "io/image.h"

typedef enum mf_picture_kind {
    MF_PICTURE_UNKNOWN,
    MF_PICTURE_JPEG,
    MF_PICTURE_PNG,
    MF_PICTURE_GIF,
    MF_PICTURE_BMP,
    MF_PICTURE_PNM,
    MF_PICTURE_TGA
} mf_picture_kind;

/* What a file says of itself, checked against the file's size before anything is allocated. */
typedef struct mf_picture {
    mf_picture_kind kind;
    const unsigned char *data;
    size_t size;
    int width, height;      /* as stored, before the orientation */
    int orientation;        /* EXIF's, 1 .. 8 */
    int components;         /* JPEG */
    int depth;              /* PNM: the largest value, 1 .. 65535 */
    size_t offset;          /* PNM: where the pixels begin */
    size_t palette, colors; /* PNG of indices: where the PLTE chunk begins, and its entries; else 0 */
} mf_picture;

enum { MF_PICTURE_SIDE = 65535, MF_PICTURE_PIXELS = 1 << 28 };

const char *mf_picture_name(mf_picture_kind kind);
mf_picture_kind mf_picture_sniff(const unsigned char *data, size_t size);

/* Reads the headers of `picture->data`, and refuses what is cut short, too large or absurd. */
mfrgn_status mf_picture_probe(mfrgn_context *context, mf_picture *picture);
/* The end of a probe, once a format knows the size and how many bytes of file that many pixels need at the least. */
mfrgn_status mf_picture_fits(mfrgn_context *context, const mf_picture *picture, uint64_t width, uint64_t height,
                             uint64_t least_bytes);

typedef struct mf_jpeg_segment {
    int marker; /* 0xd9: the end of the picture */
    const unsigned char *body;
    size_t length;
} mf_jpeg_segment;

/* The segment at `*at` (2 for the first) or the first after the coded data there; `*at` becomes what follows it. */
mfrgn_status mf_jpeg_next(mfrgn_context *context, const mf_picture *picture, size_t *at, mf_jpeg_segment *segment);

/* Where a JPEG's or PNG's EXIF block lies. `tiff` is what follows "Exif\0\0".  1 .. 8; 1 for what cannot be read. */
int mf_exif_orientation(const unsigned char *tiff, size_t size);
/* Replaces the pixels by upright ones. */
mfrgn_status mf_bitmap_upright(mfrgn_bitmap *bitmap, int orientation);

/* As mfrgn_bitmap_create(), with pixels that are not set. */
mfrgn_status mf_bitmap_new(mfrgn_context *context, int width, int height, mfrgn_bitmap **bitmap);

/* The decoders.  The picture has been probed; `bitmap` has its size.  Those that a build lacks are not there. */
mfrgn_status mf_decode_pnm(mfrgn_context *context, const mf_picture *picture, mfrgn_bitmap *bitmap);
mfrgn_status mf_decode_jpeg(mfrgn_context *context, const mf_picture *picture, mfrgn_bitmap *bitmap);
mfrgn_status mf_decode_stb(mfrgn_context *context, const mf_picture *picture, mfrgn_bitmap *bitmap);

static inline unsigned mf_be16(const unsigned char *p) {
    return (unsigned)p[0] << 8 | p[1];
}
static inline uint32_t mf_be32(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline unsigned mf_le16(const unsigned char *p) {
    return (unsigned)p[1] << 8 | p[0];
}
static inline uint32_t mf_le32(const unsigned char *p) {
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

#endif
