/* Pictures: decoding, views, resizing, normalising. */
#ifndef MFRGN_IO_IMAGE_H
#define MFRGN_IO_IMAGE_H

#include "base/base.h"

struct mfrgn_bitmap {
    mfrgn_context *context;
    int width, height;
    unsigned char *pixels; /* RGB8, dense */
};

/* MFRGN_OK if the view can be read: struct_size, pixels, sizes, stride, format. */
mfrgn_status mf_image_check(mfrgn_context *context, const mfrgn_image *image);

/* Bytes of scratch that mf_image_prepare() needs to bring an image of this size and format to height x width. */
size_t mf_image_scratch(const mfrgn_image *image, int height, int width);

/* The evaluation transform: RGB, INTER_AREA to height x width (on 8 bits, as OpenCV rounds), x / 255, minus mean, over
 * std, as height x width x 3 f32.  The image has been checked.  One thread; scratch as above, 64-byte aligned. */
void mf_image_prepare(const mfrgn_image *image, int height, int width, float *out, void *scratch);

/* The size of an encoded picture as it will be decoded (upright), read from its header. */
mfrgn_status mf_picture_size(mfrgn_context *context, const void *data, size_t size, int *width, int *height);
mfrgn_status mf_picture_file_size(mfrgn_context *context, const char *path, int *width, int *height);

/* ImageNet's, R G B. */
extern const float mf_image_mean[3], mf_image_std[3];

#endif
