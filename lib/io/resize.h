/* Resizing as OpenCV's INTER_AREA does. */
#ifndef MFRGN_IO_RESIZE_H
#define MFRGN_IO_RESIZE_H

#include "io/image.h"

/* Takes row `y` of the result: 3 * width values, R G B; whole numbers 0 .. 255 if the source has 8 bits. */
typedef void (*mf_row_sink)(void *arg, int y, const float *row, int width);

size_t mf_resize_scratch(int source_width, int width);
/* The image has been checked; scratch as above, 64-byte aligned.  Rows come from the top to the bottom. */
void mf_resize(const mfrgn_image *image, int height, int width, void *scratch, mf_row_sink sink, void *arg);

#endif
