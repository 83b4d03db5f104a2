/* From a view of pixels to the network's input; and mfrgn_image_resize(). */
#include "io/resize.h"

const float mf_image_mean[3] = {0.485f, 0.456f, 0.406f};
const float mf_image_std[3] = {0.229f, 0.224f, 0.225f};

size_t mf_image_scratch(const mfrgn_image *image, int height, int width) {
    (void)height;
    return mf_resize_scratch(image->width, width);
}

/* Three vectors of four hold four pixels: the constants repeat after twelve values. */
static void normalise_row(void *arg, int y, const float *restrict row, int width) {
    float *restrict out = (float *)arg + (size_t)y * (size_t)width * 3;
    float mean[12], std[12];
    int n = 3 * width, i = 0;
    for (int k = 0; k < 12; k++) {
        mean[k] = mf_image_mean[k % 3];
        std[k] = mf_image_std[k % 3];
    }
    for (; i + 12 <= n; i += 12)
        for (int k = 0; k < 12; k++)
            out[i + k] = (row[i + k] / 255.0f - mean[k]) / std[k];
    for (int k = 0; i < n; i++, k++)
        out[i] = (row[i] / 255.0f - mean[k]) / std[k];
}

void mf_image_prepare(const mfrgn_image *image, int height, int width, float *out, void *scratch) {
    mf_resize(image, height, width, scratch, normalise_row, out);
}

/* An f32 image is rounded here, halves to even as everywhere; what is not a number becomes 0. */
static void store_row(void *arg, int y, const float *restrict row, int width) {
    unsigned char *restrict out = (unsigned char *)arg + (size_t)y * (size_t)width * 3;
    for (int i = 0; i < 3 * width; i++) {
        float v = row[i] > 0.0f ? row[i] : 0.0f;
        v = (v < 255.0f ? v : 255.0f) + 12582912.0f;
        out[i] = (unsigned char)(int)(v - 12582912.0f);
    }
}

mfrgn_status mfrgn_image_resize(mfrgn_context *context, const mfrgn_image *image, mfrgn_bitmap *bitmap) {
    if (!context || !bitmap)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_image_resize: bitmap is NULL");
    MF_TRY(mf_image_check(context, image));
    uintptr_t begin = (uintptr_t)bitmap->pixels, end = begin + (size_t)bitmap->width * (size_t)bitmap->height * 3;
    if ((uintptr_t)image->pixels >= begin && (uintptr_t)image->pixels < end)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_image_resize: the image lies in the bitmap that is written");
    size_t bytes = mf_resize_scratch(image->width, bitmap->width);
    void *scratch = mf_alloc(context, bytes);
    if (!scratch)
        return mf_fail_memory(context, bytes, "resizing an image");
    mf_resize(image, bitmap->height, bitmap->width, scratch, store_row, bitmap->pixels);
    mf_free(context, scratch);
    return MFRGN_OK;
}
