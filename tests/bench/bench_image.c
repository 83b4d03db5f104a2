/* Resizing and normalising: the median of 20 runs, one thread.   meson test -C BUILD --benchmark image */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "io/image.h"

enum { RUNS = 20 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int run(mfrgn_context *context, int from_h, int from_w, int h, int w) {
    mfrgn_bitmap *bitmap;
    mfrgn_image image;
    double ms[RUNS];
    if (mfrgn_bitmap_create(context, from_w, from_h, &bitmap) != MFRGN_OK)
        return 1;
    unsigned char *pixels = mfrgn_bitmap_pixels(bitmap);
    for (size_t i = 0; i < (size_t)from_w * (size_t)from_h * 3; i++)
        pixels[i] = (unsigned char)((i * 2654435761u) >> 13);
    mfrgn_bitmap_image(bitmap, &image);
    float *out = mf_alloc(context, (size_t)h * (size_t)w * 3 * sizeof(float));
    void *scratch = mf_alloc(context, mf_image_scratch(&image, h, w));
    for (int i = -2; i < RUNS; i++) {
        double begin = now();
        mf_image_prepare(&image, h, w, out, scratch);
        if (i >= 0)
            ms[i] = now() - begin;
    }
    qsort(ms, RUNS, sizeof(ms[0]), compare);
    printf("prepare %4d x %4d to %3d x %3d: median %6.2f ms, least %6.2f ms\n", from_h, from_w, h, w,
           (ms[RUNS / 2 - 1] + ms[RUNS / 2]) / 2, ms[0]);
    mf_free(context, out);
    mf_free(context, scratch);
    mfrgn_bitmap_free(bitmap);
    return 0;
}

int main(void) {
    static const int size[][4] = {{832, 1664, 128, 512},  {832, 1664, 256, 256}, {1024, 2048, 320, 640},
                                  {1200, 1200, 256, 256}, {512, 512, 256, 256},  {224, 1232, 128, 512},
                                  {64, 64, 256, 256},     {256, 256, 256, 256}};
    mfrgn_context *context;
    if (mfrgn_context_create(NULL, &context) != MFRGN_OK)
        return 1;
    int failed = 0;
    for (size_t i = 0; i < MF_COUNT(size); i++)
        failed |= run(context, size[i][0], size[i][1], size[i][2], size[i][3]);
    mfrgn_context_free(context);
    return failed;
}
