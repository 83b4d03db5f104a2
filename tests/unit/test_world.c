/* The synthetic world: what is where, in both views; the same bytes whoever renders. */
#include "session.h"

#include <math.h>
#include <pthread.h>

#include "base/checksum.h"
#include "data/world/world.h"
#include "mfrgn/gallery.h"

static mfrgn_world *town(const char *city, unsigned long seed) {
    mfrgn_world *w = NULL;
    OK(mfrgn_world_create(context, city, seed, &w));
    return w;
}

static mfrgn_bitmap *picture(const mfrgn_world *w, mfrgn_view view, const mfrgn_shot *shot, int height, int width) {
    mfrgn_bitmap *b;
    OK(mfrgn_bitmap_create(context, width, height, &b));
    OK(mfrgn_world_render(w, view, shot, b));
    return b;
}

static size_t bytes(const mfrgn_bitmap *b) {
    return (size_t)b->width * (size_t)b->height * 3;
}

/* ---- where things are ---- */

/* Of the pixels that are more magenta than anything in a town. */
static int find_magenta(const mfrgn_bitmap *b, double *x, double *y) {
    double sx = 0, sy = 0;
    int n = 0;
    for (int i = 0; i < b->width * b->height; i++) {
        const unsigned char *p = b->pixels + 3 * i;
        if (p[0] > 2 * p[1] + 20 && p[2] > 2 * p[1] + 20) {
            sx += i % b->width + 0.5;
            sy += (double)(i / b->width) + 0.5;
            n++;
        }
    }
    *x = sx / n;
    *y = sy / n;
    return n;
}

/* A tower alone in the town, `east` and `north` metres from the camera. */
static void lone_tower(const mfrgn_world *w, mf_scene *s, float east, float north, mfrgn_view view, mfrgn_bitmap *b,
                       float heading, float fov) {
    mf_look look;
    mf_object o = {.object = MF_BUILDING, .style = 3, .ax = 1, .hx = 3, .hy = 3, .z1 = 30, .zr = 30};
    mf_look_make(&look, w->style, 5, view == MFRGN_VIEW_AERIAL);
    look.cloud = look.snow = 0;
    OK(mf_scene_open(s, w, 1000, -700, 60, &look));
    float x = 1000 - (float)s->ox, y = -700 - (float)s->oy;
    s->objects = 0;
    o.x = x + east;
    o.y = y + north;
    o.wall = o.top = (mf_rgb){.5f, .02f, .5f};
    ck_assert_ptr_nonnull(mf_scene_add(s, &o));
    if (view == MFRGN_VIEW_AERIAL)
        OK(mf_render_aerial(s, x, y, 80, b));
    else
        OK(mf_render_ground(s, x, y, 2, heading, fov, b));
    mf_scene_close(s);
}

START_TEST(test_geometry) {
    static const float places[][2] = {{25, 0}, {0, 25}, {-25, 0}, {-18, -18}, {10, 24}};
    mfrgn_world *w = town("maplewood", 3);
    mf_scene s;
    for (size_t k = 0; k < MF_COUNT(places); k++) {
        double x, y, azimuth = atan2((double)places[k][0], (double)places[k][1]) / 6.283185307179586;
        float heading = k == 4 ? 30 : 0, fov = k == 4 ? 90 : 360;
        mfrgn_bitmap *aerial, *ground;
        OK(mfrgn_bitmap_create(context, 160, 160, &aerial));
        OK(mfrgn_bitmap_create(context, 512, 128, &ground));
        lone_tower(w, &s, places[k][0], places[k][1], MFRGN_VIEW_AERIAL, aerial, 0, 0);
        ck_assert_int_gt(find_magenta(aerial, &x, &y), 60);
        ck_assert_double_eq_tol(x, 80 + 2 * (double)places[k][0], 1.5);
        ck_assert_double_eq_tol(y, 80 - 2 * (double)places[k][1], 1.5);
        lone_tower(w, &s, places[k][0], places[k][1], MFRGN_VIEW_GROUND, ground, heading, fov);
        ck_assert_int_gt(find_magenta(ground, &x, &y), 60);
        double column = (azimuth - (double)heading / 360) / ((double)fov / 360);
        column = fov < 360 ? column + 0.5 : column + 0.5 - floor(column + 0.5);
        if (k == 1)
            ck_assert_double_eq_tol(column, 0.5, 1e-6);
        ck_assert_double_eq_tol(x, column * 512, fov < 360 ? 16 : 4);
        mfrgn_bitmap_free(aerial);
        mfrgn_bitmap_free(ground);
    }
    mfrgn_world_free(w);
}
END_TEST

START_TEST(test_coordinates) {
    mfrgn_world *w = town("palmeira", 1);
    double la, lo, lb, lc;
    OK(mfrgn_world_point(w, 0, 0, &la, &lo));
    OK(mfrgn_world_point(w, 300, 400, &lb, &lc));
    ck_assert(lb > la && lc > lo);
    ck_assert_double_eq_tol(mfrgn_distance_m(la, lo, lb, lc), 500, 0.05);
    OK(mfrgn_world_point(w, 0, -250, &lb, &lc));
    ck_assert_double_eq(lc, lo);
    ck_assert_double_eq_tol(mfrgn_distance_m(la, lo, lb, lc), 250, 1e-3);
    FAILS(mfrgn_world_point(w, INFINITY, 0, &lb, &lc), MFRGN_ERROR_ARGUMENT, "1000 km");
    mfrgn_world_free(w);
}
END_TEST

/* ---- places ---- */

START_TEST(test_places) {
    enum { MANY = 300, FEW = 40 };
    static mfrgn_place many[MANY], few[FEW];
    const mfrgn_world_part parts[] = {MFRGN_WORLD_ALL, MFRGN_WORLD_TRAIN, MFRGN_WORLD_TEST};
    mfrgn_world *w = town("rosenfeld", 2);
    for (size_t p = 0; p < MF_COUNT(parts); p++) {
        many[0].struct_size = few[0].struct_size = sizeof(mfrgn_place);
        OK(mfrgn_world_places(w, parts[p], 40, MANY, many));
        OK(mfrgn_world_places(w, parts[p], 40, FEW, few));
        for (int i = 0; i < MANY; i++) {
            double latitude, longitude;
            ck_assert(i >= FEW || (few[i].east == many[i].east && few[i].north == many[i].north));
            ck_assert(parts[p] != MFRGN_WORLD_TRAIN || many[i].east <= -150);
            ck_assert(parts[p] != MFRGN_WORLD_TEST || many[i].east >= 150);
            OK(mfrgn_world_point(w, many[i].east, many[i].north, &latitude, &longitude));
            ck_assert(latitude == many[i].latitude && longitude == many[i].longitude);
            for (int j = 0; j < i; j++)
                ck_assert_double_ge(hypot(many[i].east - many[j].east, many[i].north - many[j].north), 40 - 1e-3);
            mf_block b; /* it lies on a street */
            float least = 1e9f;
            mf_plan_find(w, many[i].east, many[i].north, &b);
            for (int k = 0; k < b.edges; k++) {
                float d = (-b.x - b.edge[k].mx) * b.edge[k].nx + (-b.y - b.edge[k].my) * b.edge[k].ny - b.edge[k].half;
                least = d < least ? d : least;
            }
            ck_assert_float_lt(least, 0);
        }
    }
    FAILS(mfrgn_world_places(w, MFRGN_WORLD_ALL, 5, FEW, few), MFRGN_ERROR_ARGUMENT, "spacing of 5");
    FAILS(mfrgn_world_places(w, (mfrgn_world_part)3, 40, FEW, few), MFRGN_ERROR_ARGUMENT, "part 3");
    FAILS(mfrgn_world_places(w, MFRGN_WORLD_ALL, 40, 0, few), MFRGN_ERROR_ARGUMENT, "count of 0");
    mfrgn_world_free(w);
}
END_TEST

/* ---- bits ---- */

typedef struct job {
    const mfrgn_world *world;
    int number;
    uint64_t sum[2];
} job;

static void *render_both(void *argument) {
    job *j = argument;
    mfrgn_shot shot = {
        .struct_size = sizeof(shot), .east = 700.25 * j->number - 900, .north = 333.5, .day = 7, .size_m = 90};
    for (int view = 0; view < 2; view++) {
        mfrgn_bitmap *b = NULL;
        if (mfrgn_bitmap_create(context, view ? 64 : 128, view ? 64 : 32, &b) == MFRGN_OK &&
            mfrgn_world_render(j->world, view ? MFRGN_VIEW_AERIAL : MFRGN_VIEW_GROUND, &shot, b) == MFRGN_OK)
            j->sum[view] = mf_checksum(b->pixels, bytes(b));
        mfrgn_bitmap_free(b);
    }
    return NULL;
}

START_TEST(test_threads) {
    enum { JOBS = 6 };
    mfrgn_world *w = town("norrvik", 1), *again = town("norrvik", 1), *other = town("norrvik", 2);
    job one[JOBS], all[JOBS], elsewhere = {other, 0, {0, 0}};
    pthread_t thread[JOBS];
    for (int i = 0; i < JOBS; i++) {
        one[i] = (job){again, i, {0, 0}};
        all[i] = (job){w, i, {0, 0}};
        render_both(&one[i]);
        ck_assert_int_eq(pthread_create(&thread[i], NULL, render_both, &all[i]), 0);
    }
    render_both(&elsewhere);
    for (int i = 0; i < JOBS; i++) {
        pthread_join(thread[i], NULL);
        ck_assert(all[i].sum[0] && all[i].sum[0] == one[i].sum[0]);
        ck_assert(all[i].sum[1] && all[i].sum[1] == one[i].sum[1]);
        ck_assert(i == 0 || (all[i].sum[0] != all[0].sum[0] && all[i].sum[1] != all[0].sum[1]));
    }
    ck_assert(elsewhere.sum[0] != all[0].sum[0] && elsewhere.sum[1] != all[0].sum[1]);
    mfrgn_world_free(w);
    mfrgn_world_free(again);
    mfrgn_world_free(other);
}
END_TEST

/* The same on every machine and in every build. A change of the towns' look changes these. */
START_TEST(test_bytes) {
    static const char *const cities[] = {"aldergate", "portmere"};
    static const uint64_t expected[2][2] = {{0x46e9783cb19eb98c, 0xeeeff6f5b27699ef},
                                            {0x27d5b812826d101d, 0x619abec9be0efa5e}};
    for (int i = 0; i < 2; i++) {
        mfrgn_world *w = town(cities[i], 1);
        job j = {w, 1, {0, 0}};
        render_both(&j);
        for (int view = 0; view < 2; view++)
            ck_assert_msg(j.sum[view] == expected[i][view], "%s, view %d: 0x%016llx", cities[i], view,
                          (unsigned long long)j.sum[view]);
        mfrgn_world_free(w);
    }
}
END_TEST

static double difference(const mfrgn_bitmap *a, const mfrgn_bitmap *b, int roll) {
    double sum = 0;
    for (int y = 0; y < a->height; y++)
        for (int x = 0; x < a->width; x++)
            for (int c = 0; c < 3; c++)
                sum += abs(a->pixels[3 * (y * a->width + x) + c] -
                           b->pixels[3 * (y * a->width + (x + roll) % a->width) + c]);
    return sum / (double)bytes(a);
}

START_TEST(test_shots) {
    mfrgn_world *w = town("portmere", 1);
    mfrgn_place place = {.struct_size = sizeof(place)};
    OK(mfrgn_world_places(w, MFRGN_WORLD_TEST, 60, 1, &place));
    mfrgn_shot shot = {.struct_size = sizeof(shot), .east = place.east, .north = place.north, .day = 3, .size_m = 80};
    mfrgn_bitmap *north = picture(w, MFRGN_VIEW_GROUND, &shot, 64, 256);
    shot.heading = 90;
    mfrgn_bitmap *east = picture(w, MFRGN_VIEW_GROUND, &shot, 64, 256);
    ck_assert_double_lt(difference(east, north, 64), 0.5);
    ck_assert_double_gt(difference(east, north, 0), 5);
    shot.fov = 90; /* the middle quarter, four times as fine */
    mfrgn_bitmap *narrow = picture(w, MFRGN_VIEW_GROUND, &shot, 16 * 4, 64 * 4);
    double sum = 0;
    for (int y = 0; y < 16; y++)
        for (int x = 0; x < 64; x++)
            for (int k = 0; k < 16; k++)
                sum += (narrow->pixels[3 * ((4 * y + k / 4) * 256 + 4 * x + k % 4) + 1] -
                        east->pixels[3 * ((24 + y) * 256 + 96 + x) + 1]) /
                       16.0;
    ck_assert_double_lt(fabs(sum) / 1024, 4);
    shot.day = 4;
    mfrgn_bitmap *later = picture(w, MFRGN_VIEW_GROUND, &shot, 64, 256);
    ck_assert_double_gt(difference(narrow, later, 0), 2);
    mfrgn_bitmap_free(north);
    mfrgn_bitmap_free(east);
    mfrgn_bitmap_free(narrow);
    mfrgn_bitmap_free(later);
    mfrgn_world_free(w);
}
END_TEST

START_TEST(test_cities) {
    int count = 0;
    for (; mfrgn_world_city(count); count++) {
        mfrgn_world *w = town(mfrgn_world_city(count), 9);
        mfrgn_shot shot = {.struct_size = sizeof(shot), .day = 1, .size_m = 120};
        ck_assert_int_gt((int)strlen(mfrgn_world_summary(count)), 10);
        mfrgn_bitmap_free(picture(w, MFRGN_VIEW_AERIAL, &shot, 40, 72)); /* odd forms */
        mfrgn_bitmap_free(picture(w, MFRGN_VIEW_GROUND, &shot, 80, 64));
        mfrgn_world_free(w);
    }
    ck_assert_int_ge(count, 6);
    ck_assert_ptr_null(mfrgn_world_summary(count));
    ck_assert_ptr_null(mfrgn_world_city(-1));
}
END_TEST

START_TEST(test_refusals) {
    mfrgn_world *w = NULL;
    mfrgn_bitmap *b;
    FAILS(mfrgn_world_create(context, "atlantis", 1, &w), MFRGN_ERROR_ARGUMENT, "there are aldergate, rosenfeld");
    FAILS(mfrgn_world_create(context, NULL, 1, &w), MFRGN_ERROR_ARGUMENT, "no city");
    ck_assert_ptr_null(w);
    w = town("brickton", 4294967295u);
    OK(mfrgn_bitmap_create(context, 32, 32, &b));
    mfrgn_shot shot = {.struct_size = sizeof(shot), .size_m = 9};
    FAILS(mfrgn_world_render(w, MFRGN_VIEW_AERIAL, &shot, b), MFRGN_ERROR_ARGUMENT, "a tile of 9 m");
    shot.fov = 361;
    FAILS(mfrgn_world_render(w, MFRGN_VIEW_GROUND, &shot, b), MFRGN_ERROR_ARGUMENT, "field of view of 361");
    shot.fov = 0;
    shot.east = NAN;
    FAILS(mfrgn_world_render(w, MFRGN_VIEW_GROUND, &shot, b), MFRGN_ERROR_ARGUMENT, "1000 km");
    FAILS(mfrgn_world_render(w, (mfrgn_view)7, &shot, b), MFRGN_ERROR_ARGUMENT, "");
    mfrgn_bitmap_free(b);
    OK(mfrgn_bitmap_create(context, 4, 32, &b));
    FAILS(mfrgn_world_render(w, MFRGN_VIEW_GROUND, &shot, b), MFRGN_ERROR_ARGUMENT, "8 .. 4096");
    mfrgn_bitmap_free(b);
    mfrgn_world_free(w);
    mfrgn_world_free(NULL);
}
END_TEST

int main(void) {
    Suite *s = suite_create("world");
    TCase *c = tcase_create("world");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, open_context, close_context);
    tcase_add_test(c, test_geometry);
    tcase_add_test(c, test_coordinates);
    tcase_add_test(c, test_places);
    tcase_add_test(c, test_threads);
    tcase_add_test(c, test_bytes);
    tcase_add_test(c, test_shots);
    tcase_add_test(c, test_cities);
    tcase_add_test(c, test_refusals);
    suite_add_tcase(s, c);
    return mf_run_suite(s);
}
