/* The polar transformation (Shi et al., "Spatial-Aware Feature Aggregation for Cross-View Image based
 * Geo-Localization", NeurIPS 2019): the column of the output is the azimuth, clockwise, from north; the row is the
 * radius, the horizon above and the centre below, as a panorama shows them.  Bilinear. */
#include <math.h>

#include "data/tiles.h"

typedef struct polar_job {
    const mfrgn_bitmap *from;
    mfrgn_bitmap *to;
} polar_job;

/* The value at (x, y), where pixel (i, j) lies at exactly i, j; beyond the border the border's. */
static void sample(const mfrgn_bitmap *from, double x, double y, unsigned char *out) {
    x = fmin(fmax(x, 0), from->width - 1);
    y = fmin(fmax(y, 0), from->height - 1);
    int x0 = (int)x, y0 = (int)y;
    int x1 = x0 + 1 < from->width ? x0 + 1 : x0, y1 = y0 + 1 < from->height ? y0 + 1 : y0;
    double fx = x - x0, fy = y - y0;
    const unsigned char *upper = from->pixels + (size_t)y0 * (size_t)from->width * 3;
    const unsigned char *lower = from->pixels + (size_t)y1 * (size_t)from->width * 3;
    for (int c = 0; c < 3; c++) {
        double above = upper[x0 * 3 + c] * (1 - fx) + upper[x1 * 3 + c] * fx;
        double below = lower[x0 * 3 + c] * (1 - fx) + lower[x1 * 3 + c] * fx;
        out[c] = (unsigned char)(above * (1 - fy) + below * fy + 0.5);
    }
}

static void row_task(void *arg, int row) {
    const polar_job *j = arg;
    const double pi = 3.14159265358979323846;
    int height = j->to->height, width = j->to->width;
    double rx = j->from->width / 2.0, ry = j->from->height / 2.0, part = (double)(height - 1 - row) / height;
    for (int column = 0; column < width; column++) {
        double azimuth = 2 * pi * column / width;
        sample(j->from, rx + rx * part * sin(azimuth), ry - ry * part * cos(azimuth),
               j->to->pixels + ((size_t)row * (size_t)width + (size_t)column) * 3);
    }
}

mfrgn_status mf_polar(mfrgn_context *context, const mfrgn_image *image, int height, int width, mfrgn_bitmap **out) {
    mfrgn_bitmap from = {context, image->width, image->height, (unsigned char *)(uintptr_t)image->pixels}, *to;
    if (image->format != MFRGN_PIXEL_RGB8 || image->stride != (ptrdiff_t)image->width * 3)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "the polar transformation takes dense RGB8");
    MF_TRY(mfrgn_bitmap_create(context, width, height, &to));
    polar_job job = {&from, to};
    for (int row = 0; row < height; row++) /* tiles are loaded in parallel already */
        row_task(&job, row);
    *out = to;
    return MFRGN_OK;
}
