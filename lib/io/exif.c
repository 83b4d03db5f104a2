/* The orientation that a camera notes (EXIF 2.32, tag 0x0112), and what it asks for. */
#include <string.h>

#include "io/picture.h"

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, TYPE_LONG = 4, ENTRY = 12 };

typedef struct reader {
    const unsigned char *data;
    int big; /* "MM": the high byte first */
} reader;

static unsigned get16(const reader *r, size_t at) {
    return r->big ? mf_be16(r->data + at) : mf_le16(r->data + at);
}

static uint32_t get32(const reader *r, size_t at) {
    return r->big ? mf_be32(r->data + at) : mf_le32(r->data + at);
}

int mf_exif_orientation(const unsigned char *tiff, size_t size) {
    if (size < 8 || !((tiff[0] == 'I' && tiff[1] == 'I') || (tiff[0] == 'M' && tiff[1] == 'M')))
        return 1;
    reader r = {tiff, tiff[0] == 'M'};
    size_t at = get32(&r, 4);
    if (get16(&r, 2) != 42 || at > size - 2)
        return 1;
    size_t count = get16(&r, at);
    for (at += 2; count > 0 && at <= size && size - at >= ENTRY; count--, at += ENTRY) {
        if (get16(&r, at) != TAG_ORIENTATION)
            continue;
        unsigned type = get16(&r, at + 2);
        uint32_t value = type == TYPE_SHORT ? get16(&r, at + 8) : type == TYPE_LONG ? get32(&r, at + 8) : 1;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

/* What orientation k says: the stored row 0 and column 0 are the picture's ..
 *   1 top, left    2 top, right    3 bottom, right    4 bottom, left
 *   5 left, top    6 right, top    7 right, bottom    8 left, bottom */
mfrgn_status mf_bitmap_upright(mfrgn_bitmap *bitmap, int orientation) {
    if (orientation <= 1 || orientation > 8)
        return MFRGN_OK;
    ptrdiff_t w = bitmap->width, h = bitmap->height;
    size_t bytes = (size_t)w * (size_t)h * 3;
    unsigned char *upright = mf_alloc(bitmap->context, bytes);
    if (!upright)
        return mf_fail_memory(bitmap->context, bytes, "turning a picture upright");
    int swap = orientation >= 5;
    /* Where the upright picture's pixel (0, 0) is stored, and the steps in the stored picture. */
    int from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    int from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    ptrdiff_t along_x = from_right ? -3 : 3, along_y = from_bottom ? -3 * w : 3 * w;
    const unsigned char *first = bitmap->pixels + (from_right ? 3 * (w - 1) : 0) + (from_bottom ? 3 * w * (h - 1) : 0);
    ptrdiff_t new_w = swap ? h : w, new_h = swap ? w : h;
    ptrdiff_t step = swap ? along_y : along_x, line = swap ? along_x : along_y;
    unsigned char *to = upright;
    for (ptrdiff_t y = 0; y < new_h; y++)
        for (ptrdiff_t x = 0; x < new_w; x++, to += 3) {
            const unsigned char *from = first + y * line + x * step;
            to[0] = from[0];
            to[1] = from[1];
            to[2] = from[2];
        }
    mf_free(bitmap->context, bitmap->pixels);
    bitmap->pixels = upright;
    bitmap->width = (int)new_w;
    bitmap->height = (int)new_h;
    return MFRGN_OK;
}
