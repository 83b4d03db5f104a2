/* Pinhole pictures in panoramas, rolled panoramas. */
#include "session.h"

#include <math.h>

#include "mfrgn/locate.h"

static mfrgn_image image_of(mfrgn_bitmap *b) {
    mfrgn_image image = {.struct_size = sizeof(image)};
    OK(mfrgn_bitmap_image(b, &image));
    return image;
}

START_TEST(test_roll) {
    mfrgn_bitmap *from, *to;
    OK(mfrgn_bitmap_create(context, 10, 3, &from));
    OK(mfrgn_bitmap_create(context, 10, 3, &to));
    for (int i = 0; i < 90; i++)
        mfrgn_bitmap_pixels(from)[i] = (unsigned char)(i * 2);
    mfrgn_image image = image_of(from);
    const long by[] = {0, 3, -1, 23, -10};
    for (size_t k = 0; k < MF_COUNT(by); k++) {
        OK(mfrgn_image_roll(context, &image, by[k], to));
        for (long y = 0; y < 3; y++)
            for (long x = 0; x < 10; x++)
                ck_assert_mem_eq(mfrgn_bitmap_pixels(to) + 3 * (y * 10 + x),
                                 mfrgn_bitmap_pixels(from) + 3 * (y * 10 + ((x + by[k]) % 10 + 10) % 10), 3);
    }
    image.width = 9;
    FAILS(mfrgn_image_roll(context, &image, 1, to), MFRGN_ERROR_ARGUMENT, "9 x 3");
    mfrgn_bitmap_free(from);
    mfrgn_bitmap_free(to);
}
END_TEST

/* A picture with a bright spot; where it lands in the panorama. */
static void spot(double x, double y, const mfrgn_camera *camera, int *column, int *row) {
    mfrgn_bitmap *from, *to;
    OK(mfrgn_bitmap_create(context, 120, 90, &from));
    OK(mfrgn_bitmap_create(context, 720, 360, &to));
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++)
            memset(mfrgn_bitmap_pixels(from) + 3 * (((int)y + i) * 120 + (int)x + j), 255, 3);
    mfrgn_image image = image_of(from);
    OK(mfrgn_image_reproject(context, &image, camera, to));
    double sum = 0, sx = 0, sy = 0;
    for (int i = 0; i < 720 * 360; i++) {
        int v = mfrgn_bitmap_pixels(to)[3 * i] > 180 ? 1 : 0;
        sum += v;
        sx += v * (i % 720);
        sy += v * (double)(i / 720);
    }
    ck_assert(sum > 0);
    *column = (int)lround(sx / sum);
    *row = (int)lround(sy / sum);
    mfrgn_bitmap_free(from);
    mfrgn_bitmap_free(to);
}

START_TEST(test_reproject) {
    mfrgn_camera c = {.struct_size = sizeof(c), .fov = 90};
    int x, y;
    spot(60, 45, &c, &x, &y); /* the middle */
    ck_assert(abs(x - 360) <= 1 && abs(y - 180) <= 1);
    c.yaw = 60;
    spot(60, 45, &c, &x, &y);
    ck_assert(abs(x - 480) <= 1 && abs(y - 180) <= 1);
    c.pitch = 20; /* up */
    spot(60, 45, &c, &x, &y);
    ck_assert(abs(x - 480) <= 1 && abs(y - 140) <= 1);
    c = (mfrgn_camera){.struct_size = sizeof(c), .fx = 60}; /* 90 degrees as well */
    spot(60 + 34.64, 45, &c, &x, &y);                       /* atan(34.64 / 60) = 30 degrees to the right */
    ck_assert(abs(x - 420) <= 1 && abs(y - 180) <= 1);
    c.roll = 90; /* its right side is down */
    spot(60 + 34.64, 45, &c, &x, &y);
    ck_assert(abs(x - 360) <= 1 && abs(y - 240) <= 1);
    c.roll = 0;
    spot(60, 45 - 34.64, &c, &x, &y);
    ck_assert(abs(x - 360) <= 1 && abs(y - 120) <= 1);
}
END_TEST

START_TEST(test_reproject_rest) {
    mfrgn_bitmap *from, *to;
    OK(mfrgn_bitmap_create(context, 400, 300, &from));
    OK(mfrgn_bitmap_create(context, 64, 16, &to));
    memset(mfrgn_bitmap_pixels(from), 200, 400 * 300 * 3);
    mfrgn_image image = image_of(from);
    mfrgn_camera c = {.struct_size = sizeof(c), .fov = 90};
    OK(mfrgn_image_reproject(context, &image, &c, to));
    const unsigned char *p = mfrgn_bitmap_pixels(to) + 64 * 8 * 3;
    for (int i = 0; i < 64; i++) {
        int inside = i >= 24 && i < 40; /* 90 of 360 degrees */
        ck_assert_int_eq(p[3 * i], inside ? 200 : 124);
        ck_assert_int_eq(p[3 * i + 1], inside ? 200 : 116);
        ck_assert_int_eq(p[3 * i + 2], inside ? 200 : 104);
    }
    c.fov = 180;
    FAILS(mfrgn_image_reproject(context, &image, &c, to), MFRGN_ERROR_ARGUMENT, "field of view");
    c.fov = 0;
    FAILS(mfrgn_image_reproject(context, &image, &c, to), MFRGN_ERROR_ARGUMENT, "focal length");
    c.fov = 60;
    c.roll = INFINITY;
    FAILS(mfrgn_image_reproject(context, &image, &c, to), MFRGN_ERROR_ARGUMENT, "not finite");
    mfrgn_bitmap_free(from);
    mfrgn_bitmap_free(to);
}
END_TEST

int main(void) {
    Suite *s = suite_create("panorama");
    TCase *c = tcase_create("panorama");
    tcase_add_checked_fixture(c, open_context, close_context);
    tcase_add_test(c, test_roll);
    tcase_add_test(c, test_reproject);
    tcase_add_test(c, test_reproject_rest);
    suite_add_tcase(s, c);
    return mf_run_suite(s);
}
