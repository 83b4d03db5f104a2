/* PGM and PPM (binary, P5 and P6), in every build. */
#include "io/picture.h"

mfrgn_status mf_decode_pnm(mfrgn_context *context, const mf_picture *picture, mfrgn_bitmap *bitmap) {
    (void)context;
    const unsigned char *from = picture->data + picture->offset;
    unsigned char *to = bitmap->pixels;
    size_t pixels = (size_t)picture->width * (size_t)picture->height;
    unsigned top = (unsigned)picture->depth;
    int wide = top > 255, gray = picture->components == 1;
    for (size_t i = 0; i < 3 * pixels; i++) {
        if (gray && i % 3) {
            to[i] = to[i - 1];
            continue;
        }
        unsigned value = wide ? mf_be16(from) : *from;
        from += wide ? 2 : 1;
        if (value > top)
            value = top;
        /* 16 bits are cut to their high byte, as PNG's are; other depths are scaled to 0 .. 255. */
        to[i] = (unsigned char)(top == 255 ? value : top == 65535 ? value >> 8 : (value * 255 + top / 2) / top);
    }
    return MFRGN_OK;
}
