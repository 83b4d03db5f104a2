/* Views, crops, resizing (against OpenCV's results in the golden folder) and preparing. */
#include "unit.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "io/image.h"

#ifndef MF_GOLDEN_DIR
#define MF_GOLDEN_DIR ""
#endif

static mfrgn_context *context;

static void setup(void) {
    ck_assert_int_eq(mfrgn_context_create(NULL, &context), MFRGN_OK);
}

static void teardown(void) {
    mfrgn_context_free(context);
}

/* ---- the rule of the golden images (FILL.md) ---- */

static uint64_t splitmix(uint64_t x) {
    uint64_t z = x + 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t base_of(const char *name, int block) {
    char text[64];
    int length = snprintf(text, sizeof(text), "%s.%d", name, block);
    return mf_hash(text, (size_t)length, 0) + 1 * 0xd1342543de82ef95u;
}

static mfrgn_bitmap *make_source(int height, int width) {
    static const int block[3] = {32, 8, 1}, weight[3] = {5, 2, 1};
    char name[64];
    uint64_t base[3];
    mfrgn_bitmap *bitmap;
    snprintf(name, sizeof(name), "resize.%dx%d", height, width);
    for (int k = 0; k < 3; k++)
        base[k] = base_of(name, block[k]);
    ck_assert_int_eq(mfrgn_bitmap_create(context, width, height, &bitmap), MFRGN_OK);
    unsigned char *out = mfrgn_bitmap_pixels(bitmap);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                unsigned sum = 0;
                for (int k = 0; k < 3; k++) {
                    uint64_t at = ((uint64_t)(y / block[k]) * 65536 + (uint64_t)(x / block[k])) * 3 + (uint64_t)c;
                    sum += (unsigned)weight[k] * (unsigned)(splitmix(base[k] + at) >> 56);
                }
                *out++ = (unsigned char)(sum / 8);
            }
    return bitmap;
}

static const struct {
    int height, width, new_height, new_width;
} sizes[] = {
    {100, 200, 128, 512},  {1024, 2048, 320, 640}, {1200, 1200, 256, 256}, {224, 1232, 128, 512}, {256, 256, 256, 256},
    {416, 1664, 128, 512}, {512, 512, 256, 256},   {512, 512, 384, 384},   {640, 640, 320, 320},  {64, 64, 256, 256},
    {750, 750, 256, 256},  {832, 1664, 128, 512},  {97, 131, 61, 83},
};

START_TEST(golden_resize) {
    int h = sizes[_i].height, w = sizes[_i].width, nh = sizes[_i].new_height, nw = sizes[_i].new_width;
    char path[1024];
    snprintf(path, sizeof(path), MF_GOLDEN_DIR "/resize/%dx%d-to-%dx%d.png", h, w, nh, nw);
    mfrgn_bitmap *golden, *source = make_source(h, w), *result;
    mfrgn_status status = mfrgn_bitmap_load(context, path, &golden);
    if (status == MFRGN_ERROR_UNSUPPORTED) {
        fprintf(stderr, "skipped: %s\n", mfrgn_context_last_error(context));
        mfrgn_bitmap_free(source);
        return;
    }
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    mfrgn_image image;
    ck_assert_int_eq(mfrgn_bitmap_image(source, &image), MFRGN_OK);
    ck_assert_int_eq(golden->width, nw);
    ck_assert_int_eq(golden->height, nh);
    ck_assert_int_eq(mfrgn_bitmap_create(context, nw, nh, &result), MFRGN_OK);
    ck_assert_int_eq(mfrgn_image_resize(context, &image, result), MFRGN_OK);
    int worst = 0, other = 0;
    for (int i = 0; i < nw * nh * 3; i++) {
        int d = abs(result->pixels[i] - golden->pixels[i]);
        worst = d > worst ? d : worst;
        other += d != 0;
    }
    /* Equal, not near: the order of every sum is OpenCV's. */
    ck_assert_msg(other == 0, "%s: %d values differ, by up to %d", path, other, worst);
    mfrgn_bitmap_free(golden);
    mfrgn_bitmap_free(source);
    mfrgn_bitmap_free(result);
}
END_TEST

/* ---- formats and strides ---- */

static const int row_bytes[] = {3, 3, 4, 1, 12};

/* The picture in another format, with rows `gap` bytes longer than they need be, the bottom row first if `up`. */
static void *in_format(const mfrgn_bitmap *from, mfrgn_pixel format, int gap, int up, mfrgn_image *image) {
    ptrdiff_t stride = (ptrdiff_t)from->width * row_bytes[format] + gap;
    unsigned char *memory = malloc((size_t)(stride * from->height));
    memset(memory, 0xee, (size_t)(stride * from->height));
    for (int y = 0; y < from->height; y++) {
        unsigned char *to = memory + (up ? from->height - 1 - y : y) * stride;
        for (int x = 0; x < from->width; x++) {
            const unsigned char *p = from->pixels + ((ptrdiff_t)y * from->width + x) * 3;
            float f[3] = {p[0], p[1], p[2]};
            switch (format) {
            case MFRGN_PIXEL_RGB8:
                memcpy(to + 3 * x, p, 3);
                break;
            case MFRGN_PIXEL_BGR8:
                to[3 * x] = p[2], to[3 * x + 1] = p[1], to[3 * x + 2] = p[0];
                break;
            case MFRGN_PIXEL_RGBA8:
                memcpy(to + 4 * x, p, 3);
                break;
            case MFRGN_PIXEL_GRAY8:
                to[x] = p[0];
                break;
            case MFRGN_PIXEL_RGB_F32:
                memcpy(to + 12 * x, f, 12);
                break;
            }
        }
    }
    *image = (mfrgn_image){sizeof(*image),
                           memory + (up ? (from->height - 1) * stride : 0),
                           from->width,
                           from->height,
                           up    ? -stride
                           : gap ? stride
                                 : 0,
                           format};
    return memory;
}

static float *prepare(const mfrgn_image *image, int height, int width) {
    float *out = malloc((size_t)(height * width * 3) * sizeof(float));
    void *scratch = mf_alloc(context, mf_image_scratch(image, height, width));
    ck_assert_int_eq(mf_image_check(context, image), MFRGN_OK);
    mf_image_prepare(image, height, width, out, scratch);
    mf_free(context, scratch);
    return out;
}

static const int small[][4] = {
    /* height, width, to */
    {40, 60, 40, 60}, {40, 60, 20, 30}, {40, 60, 10, 12}, {40, 60, 13, 17}, {40, 60, 80, 120},
    {40, 60, 97, 17}, {40, 60, 13, 77}, {1, 1, 5, 7},     {1, 9, 1, 4},     {9, 1, 4, 1},
    {40, 60, 1, 1},   {3, 3, 2, 2},     {40, 60, 39, 59}, {40, 60, 41, 60}, {2, 2, 1, 3},
};

START_TEST(every_format_gives_the_same) {
    int h = small[_i][0], w = small[_i][1], nh = small[_i][2], nw = small[_i][3], n = nh * nw * 3;
    mfrgn_bitmap *source = make_source(h, w), *resized;
    mfrgn_image image;
    mfrgn_bitmap_image(source, &image);
    float *expected = prepare(&image, nh, nw);
    ck_assert_int_eq(mfrgn_bitmap_create(context, nw, nh, &resized), MFRGN_OK);
    ck_assert_int_eq(mfrgn_image_resize(context, &image, resized), MFRGN_OK);
    for (int i = 0; i < n; i++) {
        float v = (resized->pixels[i] / 255.0f - mf_image_mean[i % 3]) / mf_image_std[i % 3];
        ck_assert_msg(fabsf(v - expected[i]) < 1e-6f, "value %d: %g, not %g", i, (double)expected[i], (double)v);
    }
    for (int format = 0; format <= MFRGN_PIXEL_RGB_F32; format++)
        for (int way = 0; way < 4; way++) {
            void *memory = in_format(source, (mfrgn_pixel)format, way & 1 ? 5 : 0, way & 2, &image);
            float *out = prepare(&image, nh, nw);
            for (int i = 0; i < n; i++) {
                /* f32 is not rounded: half a grey level, and the 11-bit weights of the linear filter, may lie between
                 */
                float e = expected[format == MFRGN_PIXEL_GRAY8 ? i / 3 * 3 : i];
                if (format == MFRGN_PIXEL_GRAY8)
                    e = ((e * mf_image_std[0] + mf_image_mean[0]) - mf_image_mean[i % 3]) / mf_image_std[i % 3];
                float least = format == MFRGN_PIXEL_RGB_F32 ? 1.01f / 255 / mf_image_std[i % 3]
                              : format == MFRGN_PIXEL_GRAY8 ? 2e-6f
                                                            : 0.0f;
                ck_assert_msg(fabsf(out[i] - e) <= least, "format %d, way %d, value %d: %g, not %g", format, way, i,
                              (double)out[i], (double)e);
            }
            free(out);
            free(memory);
        }
    free(expected);
    mfrgn_bitmap_free(source);
    mfrgn_bitmap_free(resized);
}
END_TEST

START_TEST(f32_is_not_rounded) {
    float pixels[4 * 3] = {0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0};
    mfrgn_image image = {sizeof(image), pixels, 2, 2, 0, MFRGN_PIXEL_RGB_F32};
    float *out = prepare(&image, 1, 1);
    for (int c = 0; c < 3; c++)
        ck_assert(fabsf(out[c] * mf_image_std[c] + mf_image_mean[c] - 0.25f / 255) < 1e-6f);
    free(out);
}
END_TEST

START_TEST(rounding_is_opencvs) {
    /* 2 x 2 rounds halves up, other whole scales to even. */
    unsigned char four[4] = {0, 1, 1, 0}, two[2] = {0, 1}, three[2] = {2, 3};
    mfrgn_image image = {sizeof(image), four, 2, 2, 0, MFRGN_PIXEL_GRAY8};
    mfrgn_bitmap *one;
    ck_assert_int_eq(mfrgn_bitmap_create(context, 1, 1, &one), MFRGN_OK);
    ck_assert_int_eq(mfrgn_image_resize(context, &image, one), MFRGN_OK);
    ck_assert_int_eq(one->pixels[0], 1);
    image = (mfrgn_image){sizeof(image), two, 2, 1, 0, MFRGN_PIXEL_GRAY8};
    ck_assert_int_eq(mfrgn_image_resize(context, &image, one), MFRGN_OK);
    ck_assert_int_eq(one->pixels[0], 0);
    image.pixels = three;
    ck_assert_int_eq(mfrgn_image_resize(context, &image, one), MFRGN_OK);
    ck_assert_int_eq(one->pixels[1], 2);
    mfrgn_bitmap_free(one);
}
END_TEST

START_TEST(f32_out_of_range_to_a_bitmap) {
    float pixels[5 * 3] = {-1,   300,   NAN,    INFINITY, -INFINITY, 254.5f, 255.4f, 0.5f,
                           1.5f, 1e30f, -1e30f, 0.49f,    7,         8,      9};
    const unsigned char expected[] = {0, 255, 0, 255, 0, 254, 255, 0, 2, 255, 0, 0, 7, 8, 9};
    mfrgn_image image = {sizeof(image), pixels, 5, 1, 0, MFRGN_PIXEL_RGB_F32};
    mfrgn_bitmap *bitmap;
    ck_assert_int_eq(mfrgn_bitmap_create(context, 5, 1, &bitmap), MFRGN_OK);
    ck_assert_int_eq(mfrgn_image_resize(context, &image, bitmap), MFRGN_OK);
    ck_assert_mem_eq(bitmap->pixels, expected, sizeof(expected));
    mfrgn_bitmap_free(bitmap);
}
END_TEST

START_TEST(crop_is_a_view) {
    mfrgn_bitmap *source = make_source(40, 60), *whole, *part;
    mfrgn_image image, crop;
    mfrgn_bitmap_image(source, &image);
    ck_assert_int_eq(mfrgn_image_crop(context, &image, 7, 11, 31, 20, &crop), MFRGN_OK);
    ck_assert_ptr_eq(crop.pixels, source->pixels + (11 * 60 + 7) * 3);
    ck_assert_int_eq(mfrgn_bitmap_create(context, 31, 20, &part), MFRGN_OK);
    ck_assert_int_eq(mfrgn_image_resize(context, &crop, part), MFRGN_OK);
    for (int y = 0; y < 20; y++)
        ck_assert_mem_eq(part->pixels + y * 31 * 3, source->pixels + ((y + 11) * 60 + 7) * 3, 31 * 3);
    /* upside down, in place, every format */
    for (int format = 0; format <= MFRGN_PIXEL_RGB_F32; format++) {
        void *memory = in_format(source, (mfrgn_pixel)format, 3, 1, &image);
        ck_assert_int_eq(mfrgn_image_crop(context, &image, 7, 11, 31, 20, &image), MFRGN_OK);
        ck_assert_int_eq(mfrgn_bitmap_create(context, 31, 20, &whole), MFRGN_OK);
        ck_assert_int_eq(mfrgn_image_resize(context, &image, whole), MFRGN_OK);
        for (int i = 0; i < 31 * 20; i++)
            ck_assert_int_eq(whole->pixels[3 * i], part->pixels[3 * i]);
        mfrgn_bitmap_free(whole);
        free(memory);
    }
    static const int bad[][4] = {{-1, 0, 1, 1},         {0, -1, 1, 1},
                                 {0, 0, 0, 1},          {0, 0, 1, 0},
                                 {0, 0, 61, 1},         {0, 0, 1, 41},
                                 {60, 0, 1, 1},         {1, 1, 2147483647, 1},
                                 {59, 39, 2, 1},        {59, 39, 1, 2},
                                 {0, 0, -5, 1},         {0, 40, 1, 1},
                                 {2147483647, 0, 1, 1}, {-2147483647 - 1, 0, 1, 1}};
    mfrgn_bitmap_image(source, &image);
    crop = image;
    for (size_t i = 0; i < MF_COUNT(bad); i++)
        ck_assert_int_eq(mfrgn_image_crop(context, &image, bad[i][0], bad[i][1], bad[i][2], bad[i][3], &crop),
                         MFRGN_ERROR_ARGUMENT);
    ck_assert_int_eq(crop.width, 60); /* untouched */
    ck_assert_int_eq(mfrgn_image_crop(context, &image, 0, 0, 1, 1, NULL), MFRGN_ERROR_ARGUMENT);
    mfrgn_bitmap_free(source);
    mfrgn_bitmap_free(part);
}
END_TEST

START_TEST(bad_views) {
    unsigned char pixel[12] = {0};
    const mfrgn_image good = {sizeof(good), pixel, 2, 2, 0, MFRGN_PIXEL_RGB8};
    mfrgn_bitmap *bitmap;
    ck_assert_int_eq(mfrgn_bitmap_create(context, 1, 1, &bitmap), MFRGN_OK);
    ck_assert_int_eq(mf_image_check(context, &good), MFRGN_OK);
    mfrgn_image bad[9];
    for (size_t i = 0; i < MF_COUNT(bad); i++)
        bad[i] = good;
    bad[0].struct_size = 8;
    bad[1].pixels = NULL;
    bad[2].width = 0;
    bad[3].height = 65536;
    bad[4].stride = 5;
    bad[5].stride = -5;
    bad[6].format = (mfrgn_pixel)5;
    bad[7].format = (mfrgn_pixel)-1;
    bad[8].width = -1;
    for (size_t i = 0; i < MF_COUNT(bad); i++) {
        ck_assert_int_eq(mf_image_check(context, &bad[i]), MFRGN_ERROR_ARGUMENT);
        ck_assert_int_eq(mfrgn_image_resize(context, &bad[i], bitmap), MFRGN_ERROR_ARGUMENT);
        ck_assert_int_ne(mfrgn_context_last_error(context)[0], 0);
    }
    ck_assert_int_eq(mf_image_check(context, NULL), MFRGN_ERROR_ARGUMENT);
    ck_assert_int_eq(mfrgn_image_resize(context, &good, NULL), MFRGN_ERROR_ARGUMENT);
    mfrgn_image own;
    mfrgn_bitmap_image(bitmap, &own);
    ck_assert_int_eq(mfrgn_image_resize(context, &own, bitmap), MFRGN_ERROR_ARGUMENT);
    mfrgn_bitmap_free(bitmap);
}
END_TEST

START_TEST(bitmaps) {
    mfrgn_bitmap *bitmap = NULL;
    ck_assert_int_eq(mfrgn_bitmap_create(context, 0, 1, &bitmap), MFRGN_ERROR_ARGUMENT);
    ck_assert_int_eq(mfrgn_bitmap_create(context, 1, 65536, &bitmap), MFRGN_ERROR_ARGUMENT);
    ck_assert_int_eq(mfrgn_bitmap_create(context, 1, 1, NULL), MFRGN_ERROR_ARGUMENT);
    ck_assert_int_eq(mfrgn_bitmap_create(NULL, 1, 1, &bitmap), MFRGN_ERROR_ARGUMENT);
    ck_assert_ptr_null(bitmap);
    ck_assert_int_eq(mfrgn_bitmap_create(context, 3, 2, &bitmap), MFRGN_OK);
    for (int i = 0; i < 18; i++)
        ck_assert_int_eq(mfrgn_bitmap_pixels(bitmap)[i], 0);
    mfrgn_image image;
    ck_assert_int_eq(mfrgn_bitmap_image(bitmap, &image), MFRGN_OK);
    ck_assert(image.width == 3 && image.height == 2 && image.stride == 9 && image.format == MFRGN_PIXEL_RGB8);
    ck_assert_int_eq(mfrgn_bitmap_image(NULL, &image), MFRGN_ERROR_ARGUMENT);
    ck_assert_ptr_null(mfrgn_bitmap_pixels(NULL));
    mfrgn_bitmap_free(NULL);
    /* A bitmap keeps its context alive. */
    mfrgn_context_free(context);
    mfrgn_bitmap_free(bitmap);
    context = NULL;
}
END_TEST

int main(void) {
    Suite *s = suite_create("image");
    TCase *t = tcase_create("image");
    struct stat there;
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    if (stat(MF_GOLDEN_DIR "/resize", &there) == 0)
        tcase_add_loop_test(t, golden_resize, 0, MF_COUNT(sizes));
    else
        fprintf(stderr, "skipped: no golden vectors in '" MF_GOLDEN_DIR "/resize' (meson option golden)\n");
    tcase_add_loop_test(t, every_format_gives_the_same, 0, MF_COUNT(small));
    tcase_add_test(t, f32_is_not_rounded);
    tcase_add_test(t, rounding_is_opencvs);
    tcase_add_test(t, f32_out_of_range_to_a_bitmap);
    tcase_add_test(t, crop_is_a_view);
    tcase_add_test(t, bad_views);
    tcase_add_test(t, bitmaps);
    suite_add_tcase(s, t);
    return mf_run_suite(s);
}
