/* Augmentation: what moves pixels against straightforward code, what changes colours against its formula, and that a
 * pair's pictures depend on its own numbers alone. */
#include "unit.h"

#include <math.h>
#include <string.h>

#include "train/augment.h"

enum { SIDE = 12, WIDE = 20, MOST = 64 * 64 * 3 };

static mfrgn_context *context;

static void setup(void) {
    ck_assert_int_eq(mfrgn_context_create(NULL, &context), MFRGN_OK);
}

static void teardown(void) {
    mfrgn_context_free(context);
}

static unsigned char pixels[MOST], before[MOST], scratch[MOST];

static mf_raster made(int width, int height, unsigned seed) {
    for (int i = 0; i < width * height * 3; i++)
        pixels[i] = (unsigned char)(mf_draw_mix(seed * 1000003u + (unsigned)i) >> 24);
    memcpy(before, pixels, sizeof(before));
    return (mf_raster){pixels, width, height};
}

/* The pixel that was at column x, row y. */
static const unsigned char *old(mf_raster r, int x, int y) {
    return before + 3 * (y * r.width + x);
}

static void pixel_is(mf_raster r, int x, int y, const unsigned char *wanted) {
    ck_assert_msg(memcmp(r.pixels + 3 * (y * r.width + x), wanted, 3) == 0, "column %d, row %d", x, y);
}

/* ---- geometry ---- */

START_TEST(flips) {
    for (int width = 1; width <= 5; width++) {
        mf_raster r = made(width, 3, 1);
        mf_raster_flip(r);
        for (int y = 0; y < 3; y++)
            for (int x = 0; x < width; x++)
                pixel_is(r, x, y, old(r, width - 1 - x, y));
    }
}
END_TEST

/* A quarter turn counter-clockwise brings the right column to the top row. */
START_TEST(turns) {
    for (int k = -1; k <= 4; k++) {
        mf_raster r = made(SIDE, SIDE, 2);
        mf_raster_turn(r, k, scratch);
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                int u = x, v = y;
                for (int i = 0; i < (k & 3); i++) { /* back: clockwise, one quarter after the other */
                    int t = u;
                    u = SIDE - 1 - v;
                    v = t;
                }
                pixel_is(r, x, y, old(r, u, v));
            }
    }
    mf_raster r = made(3, 3, 9);
    mf_raster_turn(r, 1, scratch);
    pixel_is(r, 0, 0, old(r, 2, 0)); /* the upper right corner is now the upper left one */
    pixel_is(r, 0, 2, old(r, 0, 0));
    r = made(4, 2, 3);
    mf_raster_turn(r, 2, scratch);
    pixel_is(r, 0, 0, old(r, 3, 1));
    r = made(4, 2, 3);
    mf_raster_turn(r, 1, scratch);
    ck_assert_mem_eq(pixels, before, 4 * 2 * 3);
}
END_TEST

START_TEST(rolls) {
    for (int left = -25; left <= 45; left += 7) {
        mf_raster r = made(WIDE, 3, 4);
        mf_raster_roll(r, left);
        for (int y = 0; y < 3; y++)
            for (int x = 0; x < WIDE; x++)
                pixel_is(r, x, y, old(r, ((x + left) % WIDE + WIDE) % WIDE, y));
    }
}
END_TEST

START_TEST(shifts) {
    mf_raster r = made(SIDE, 5, 5);
    mf_raster_shift(r, 2, -1, scratch);
    pixel_is(r, 2, 0, old(r, 0, 1));
    pixel_is(r, 1, 0, old(r, 1, 1)); /* reflected at the left edge: 0 -> 2, 1 -> 1 */
    pixel_is(r, 0, 0, old(r, 2, 1));
    pixel_is(r, 2, 4, old(r, 0, 3)); /* and at the lower one */
}
END_TEST

START_TEST(blacks) {
    mf_raster r = made(6, 4, 6);
    static const unsigned char black[3];
    mf_raster_black(r, 4, -1, 10, 3);
    for (int y = 0; y < 4; y++)
        for (int x = 0; x < 6; x++)
            pixel_is(r, x, y, x >= 4 && y < 2 ? black : old(r, x, y));
}
END_TEST

/* ---- kernels and colours ---- */

static int at_edge(int i, int n) {
    return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
}

static void close_to(mf_raster r, int x, int y, int c, double wanted) {
    double has = r.pixels[3 * (y * r.width + x) + c];
    wanted = wanted < 0 ? 0 : wanted > 255 ? 255 : wanted;
    ck_assert_msg(fabs(has - wanted) <= 0.51, "column %d, row %d, %d: %g, not %g", x, y, c, has, wanted);
}

START_TEST(blurs) {
    static float floats[SIDE * SIDE * 3];
    mf_raster r = made(SIDE, 8, 7);
    const double sx = 0.9, sy = 0.5;
    mf_raster_blur(r, sx, sy, floats);
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++) {
                double sum = 0, weights = 0;
                for (int v = -3; v <= 3; v++)
                    for (int u = -3; u <= 3; u++) {
                        double w = exp(-0.5 * (u * u / (sx * sx) + v * v / (sy * sy)));
                        sum += w * old(r, at_edge(x + u, SIDE), at_edge(y + v, 8))[c];
                        weights += w;
                    }
                close_to(r, x, y, c, sum / weights);
            }
}
END_TEST

START_TEST(sharpens) {
    mf_raster r = made(SIDE, 8, 8);
    const double alpha = 0.3, lightness = 0.7;
    mf_raster_sharpen(r, alpha, lightness, scratch);
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++) {
                double sum = (8 + lightness) * old(r, x, y)[c];
                for (int v = -1; v <= 1; v++)
                    for (int u = -1; u <= 1; u++)
                        sum -= u || v ? old(r, at_edge(x + u, SIDE), at_edge(y + v, 8))[c] : 0;
                close_to(r, x, y, c, (1 - alpha) * old(r, x, y)[c] + alpha * sum);
            }
}
END_TEST

static double grey_of(const unsigned char *p) {
    return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
}

START_TEST(colours) {
    mf_raster r = made(SIDE, SIDE, 10);
    double mean = 0;
    for (int i = 0; i < SIDE * SIDE; i++)
        mean += grey_of(before + 3 * i) / (SIDE * SIDE);
    mf_raster_brightness(r, 1.15);
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        close_to(r, i / 3 % SIDE, i / 3 / SIDE, i % 3, 1.15 * before[i]);
    r = made(SIDE, SIDE, 10);
    mf_raster_contrast(r, 0.85);
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        close_to(r, i / 3 % SIDE, i / 3 / SIDE, i % 3, mean + 0.85 * (before[i] - mean));
    r = made(SIDE, SIDE, 10);
    mf_raster_saturation(r, 1.1);
    for (int i = 0; i < SIDE * SIDE * 3; i++) {
        double g = grey_of(before + i / 3 * 3);
        close_to(r, i / 3 % SIDE, i / 3 / SIDE, i % 3, g + 1.1 * (before[i] - g));
    }
}
END_TEST

START_TEST(hues) {
    static const unsigned char from[][3] = {{200, 20, 20}, {200, 110, 20}, {90, 90, 90}, {10, 20, 250}};
    static const unsigned char third[][3] = {{20, 200, 20}, {20, 200, 110}, {90, 90, 90}, {250, 10, 20}};
    for (int i = 0; i < 4; i++) {
        unsigned char p[3];
        mf_raster r = {p, 1, 1};
        memcpy(p, from[i], 3);
        mf_raster_hue(r, 1.0 / 3);
        ck_assert_msg(memcmp(p, third[i], 3) == 0, "%d: %d %d %d", i, p[0], p[1], p[2]);
        mf_raster_hue(r, -1.0 / 3);
        ck_assert_mem_eq(p, from[i], 3);
    }
    mf_raster r = made(SIDE, SIDE, 11);
    mf_raster_hue(r, 0);
    ck_assert_mem_eq(pixels, before, SIDE * SIDE * 3);
}
END_TEST

START_TEST(jpeg) {
    mf_raster r = {pixels, 40, 24};
    if (!mf_have_jpeg_encoder())
        return;
    for (int i = 0; i < 40 * 24 * 3; i++)
        pixels[i] = (unsigned char)(60 + i / 3 % 40 * 2 + i % 3 * 20);
    memcpy(before, pixels, sizeof(before));
    ck_assert_int_eq(mf_raster_jpeg(context, r, 95), MFRGN_OK);
    double worst = 0;
    for (int i = 0; i < 40 * 24 * 3; i++)
        worst = fmax(worst, abs(pixels[i] - before[i]));
    ck_assert(worst > 0 && worst < 12);
}
END_TEST

/* ---- a pair ---- */

enum { AERIAL = 16, GROUND_W = 32, GROUND_H = 8 };

typedef struct result {
    unsigned char aerial[AERIAL * AERIAL * 3], ground[GROUND_W * GROUND_H * 3];
} result;

static const mf_augment off = {.panorama = 1,
                               .jpeg_quality = {90, 100},
                               .crop_area = 0.5,
                               .crop_aspect = 1.2,
                               .shift_share = 0.2,
                               .brightness = 0.15,
                               .contrast = 0.15,
                               .saturation = 0.15,
                               .hue = 0.15,
                               .grid = {0.5, 0.4},
                               .holes = {10, 25},
                               .hole = {0.1, 0.2},
                               .cutout_side = {0.2, 0.4}};

static mf_augment all_on(void) {
    mf_augment a = off;
    a.flip = a.jpeg = a.crop = a.shift = a.colour = a.sharpness = a.dropout = a.cutout = a.rotate = 0.5;
    a.turn[1] = 0.5;
    return a;
}

static unsigned char source_pixels[2][64 * 48 * 3];

static result augment(const mf_augment *a, uint64_t seed, uint64_t epoch, uint64_t item, int ground_width,
                      int ground_height) {
    static const mf_augment_size size[2] = {
        [MFRGN_VIEW_GROUND] = {GROUND_W, GROUND_H}, [MFRGN_VIEW_AERIAL] = {AERIAL, AERIAL}};
    mf_augment_work *work;
    result made_here;
    unsigned char *out[2];
    mfrgn_image source[2];
    source[MFRGN_VIEW_GROUND] =
        (mfrgn_image){sizeof(mfrgn_image), source_pixels[0], ground_width, ground_height, 0, MFRGN_PIXEL_RGB8};
    source[MFRGN_VIEW_AERIAL] =
        (mfrgn_image){sizeof(mfrgn_image), source_pixels[1], AERIAL, AERIAL, 0, MFRGN_PIXEL_RGB8};
    for (int view = 0; view < 2; view++)
        for (size_t i = 0; i < sizeof(source_pixels[0]); i++)
            source_pixels[view][i] = (unsigned char)(mf_draw_mix(i / 12 + (size_t)view * 99991) >> 30);
    out[MFRGN_VIEW_GROUND] = made_here.ground;
    out[MFRGN_VIEW_AERIAL] = made_here.aerial;
    ck_assert_int_eq(mf_augment_work_create(context, size, &work), MFRGN_OK);
    ck_assert_msg(mf_augment_pair(work, a, source, seed, epoch, item, out) == MFRGN_OK, "%s",
                  mfrgn_context_last_error(context));
    mf_augment_work_free(work);
    return made_here;
}

static int same(const result *a, const result *b) {
    return memcmp(a, b, sizeof(*a)) == 0;
}

START_TEST(nothing_on) {
    result r = augment(&off, 1, 1, 1, GROUND_W, GROUND_H);
    ck_assert_mem_eq(r.ground, source_pixels[0], sizeof(r.ground));
    ck_assert_mem_eq(r.aerial, source_pixels[1], sizeof(r.aerial));
}
END_TEST

START_TEST(precrop) {
    mf_augment a = off;
    a.precrop = 1;
    result r = augment(&a, 1, 1, 1, GROUND_W, 2 * GROUND_H);
    ck_assert_mem_eq(r.ground, source_pixels[0] + GROUND_W * 3 * (GROUND_H / 2), sizeof(r.ground));
}
END_TEST

START_TEST(determined) {
    mf_augment a = all_on();
    int differ = 0;
    for (uint64_t item = 0; item < 12; item++) {
        result first = augment(&a, 5, 2, item, 60, 40), again = augment(&a, 5, 2, item, 60, 40);
        result epoch = augment(&a, 5, 3, item, 60, 40), seed = augment(&a, 6, 2, item, 60, 40);
        ck_assert(same(&first, &again));
        differ += !same(&first, &epoch) + !same(&first, &seed);
    }
    ck_assert_int_ge(differ, 22);
}
END_TEST

/* Whatever k is drawn: the aerial picture turned by k counter-clockwise goes with the panorama rolled by -k W / 4. */
START_TEST(joint_rotation) {
    mf_augment a = off;
    int seen = 0;
    a.rotate = 1;
    for (uint64_t item = 0; item < 40; item++) {
        result r = augment(&a, 3, 1, item, GROUND_W, GROUND_H);
        int found = 0;
        for (int k = 1; k <= 3; k++) {
            mf_raster aerial = {pixels, AERIAL, AERIAL};
            memcpy(pixels, source_pixels[1], sizeof(r.aerial));
            mf_raster_turn(aerial, k, scratch);
            if (memcmp(pixels, r.aerial, sizeof(r.aerial)) != 0)
                continue;
            found = k;
            for (int x = 0; x < GROUND_W; x++)
                ck_assert_mem_eq(r.ground + 3 * x, source_pixels[0] + 3 * ((x + k * GROUND_W / 4) % GROUND_W), 3);
        }
        ck_assert_int_ne(found, 0);
        seen |= 1 << found;
    }
    ck_assert_int_eq(seen, 0xe);
}
END_TEST

START_TEST(joint_flip) {
    mf_augment a = off;
    a.flip = 1;
    result r = augment(&a, 3, 1, 0, GROUND_W, GROUND_H);
    for (int x = 0; x < AERIAL; x++)
        ck_assert_mem_eq(r.aerial + 3 * x, source_pixels[1] + 3 * (AERIAL - 1 - x), 3);
    for (int x = 0; x < GROUND_W; x++)
        ck_assert_mem_eq(r.ground + 3 * x, source_pixels[0] + 3 * (GROUND_W - 1 - x), 3);
}
END_TEST

/* How often a step does something, against its probability: each alone, 400 pairs. */
START_TEST(probabilities) {
    static const struct {
        size_t at;
        double least, most; /* of both views together, pairs that are changed */
    } one[] = {{offsetof(mf_augment, flip), 0.42, 0.58},    {offsetof(mf_augment, crop), 0.67, 0.83},
               {offsetof(mf_augment, colour), 0.67, 0.83},  {offsetof(mf_augment, sharpness), 0.65, 0.83},
               {offsetof(mf_augment, dropout), 0.67, 0.83}, {offsetof(mf_augment, cutout), 0.67, 0.83},
               {offsetof(mf_augment, rotate), 0.42, 0.58}};
    result plain = augment(&off, 1, 1, 0, GROUND_W, GROUND_H);
    for (size_t i = 0; i < sizeof(one) / sizeof(*one); i++) {
        mf_augment a = off;
        int changed = 0;
        *(double *)(void *)((char *)&a + one[i].at) = 0.5;
        for (uint64_t item = 0; item < 400; item++) {
            result r = augment(&a, 11, 4, item, GROUND_W, GROUND_H);
            changed += !same(&r, &plain);
        }
        ck_assert_msg(changed >= 400 * one[i].least && changed <= 400 * one[i].most, "step %zu: %d of 400", i, changed);
    }
}
END_TEST

/* A step that is turned off leaves what the others draw. */
START_TEST(steps_are_independent) {
    mf_augment a = off, b;
    a.flip = a.rotate = 0.5;
    b = a;
    b.cutout = 1;
    for (uint64_t item = 0; item < 10; item++) {
        result x = augment(&a, 9, 1, item, GROUND_W, GROUND_H), y = augment(&b, 9, 1, item, GROUND_W, GROUND_H);
        for (size_t i = 0; i < sizeof(x.aerial); i++)
            ck_assert(x.aerial[i] == y.aerial[i] || y.aerial[i] == 0);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("augment");
    TCase *t = tcase_create("augment");
    tcase_add_checked_fixture(t, setup, teardown);
    suite_add_tcase(s, t);
    tcase_add_test(t, flips);
    tcase_add_test(t, turns);
    tcase_add_test(t, rolls);
    tcase_add_test(t, shifts);
    tcase_add_test(t, blacks);
    tcase_add_test(t, blurs);
    tcase_add_test(t, sharpens);
    tcase_add_test(t, colours);
    tcase_add_test(t, hues);
    tcase_add_test(t, jpeg);
    tcase_add_test(t, nothing_on);
    tcase_add_test(t, precrop);
    tcase_add_test(t, determined);
    tcase_add_test(t, joint_rotation);
    tcase_add_test(t, joint_flip);
    tcase_add_test(t, probabilities);
    tcase_add_test(t, steps_are_independent);
    return mf_run_suite(s);
}
