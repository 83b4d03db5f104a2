/* Tracking over galleries with known scores. */
#include "session.h"

#include <math.h>

#include "locate/locate.h"
#include "made_gallery.h"

enum { COLUMNS = 20, ROWS = 20, ALL = COLUMNS * ROWS };
#define STEP 50.0

static made_gallery gallery;
static mfrgn_index *index_;

static void setup(void) {
    open_context();
    folder_make();
    gallery = (made_gallery){
        .columns = COLUMNS, .rows = ROWS, .size = 8, .latitude = 51, .longitude = 7, .step = STEP, .width = STEP};
    index_ = made_open(context, &gallery, "g");
}

static void teardown(void) {
    mfrgn_index_free(index_);
    free(gallery.values);
    folder_remove();
    close_context();
}

static mfrgn_tracker *tracker_at(double east, double north, double radius, double heading, double error) {
    mfrgn_tracker_options o = {
        .struct_size = sizeof(o), .radius_m = radius, .heading = heading, .heading_error = error};
    mfrgn_tracker *t;
    mf_degrees_from_enu(51, 7, east, north, &o.latitude, &o.longitude);
    OK(mfrgn_tracker_create(index_, &o, &t));
    return t;
}

/* How far the estimate is from a place, and its deviation. */
static double off(const mfrgn_tracker *t, double east, double north, mfrgn_estimate *out) {
    mfrgn_estimate e = {.struct_size = sizeof(e)};
    double x, y;
    OK(mfrgn_tracker_estimate(t, &e));
    mf_enu_from_degrees(51, 7, e.latitude, e.longitude, &x, &y);
    if (out)
        *out = e;
    return hypot(x - east, y - north);
}

static double total(const mfrgn_tracker *t) {
    double p[ALL], sum = 0;
    OK(mfrgn_tracker_belief(t, p));
    for (size_t i = 0; i < ALL; i++) {
        ck_assert(p[i] >= 0);
        sum += p[i];
    }
    return sum;
}

static void move(mfrgn_tracker *t, double distance, double turn) {
    mfrgn_motion m = {
        .struct_size = sizeof(m), .distance_m = distance, .turn = turn, .distance_error = 0.5, .turn_error = 0.5};
    OK(mfrgn_tracker_move(t, &m));
}

/* Dead reckoning: many small steps add up to the way that was gone. */
START_TEST(test_motion) {
    mfrgn_tracker *t = tracker_at(200, 200, 5, 0, 1);
    mfrgn_estimate e;
    ck_assert(off(t, 200, 200, &e) < 10 && e.located && e.has_heading);
    for (int i = 0; i < 60; i++)
        move(t, 5, 0);
    ck_assert_msg(off(t, 200, 500, &e) < 25, "%g m", off(t, 200, 500, NULL));
    ck_assert(fabs(remainder(e.heading, 360)) < 5);
    ck_assert_double_eq_tol(total(t), 1, 1e-4);
    move(t, 0, 90);
    for (int i = 0; i < 20; i++)
        move(t, 15, 0);
    ck_assert_msg(off(t, 500, 500, &e) < 40, "%g m", off(t, 500, 500, NULL));
    ck_assert(fabs(e.heading - 90) < 6);
    for (int i = 0; i < 5; i++)
        move(t, -20, 0); /* backwards */
    ck_assert_msg(off(t, 400, 500, &e) < 45, "%g m", off(t, 400, 500, NULL));
    mfrgn_tracker_free(t);
}
END_TEST

/* Scores that tell the right tile among a tenth of all tiles that look as good. */
static void see(mfrgn_tracker *t, double east, double north, int steps, int heading_roll) {
    static float scores[8 * ALL];
    for (int s = 0; s < steps; s++)
        for (size_t i = 0; i < ALL; i++) {
            double x = (double)(i % COLUMNS) * STEP - east, y = (double)(i / COLUMNS) * STEP - north;
            int here = fabs(x) <= STEP / 2 && fabs(y) <= STEP / 2 && s == heading_roll;
            scores[(size_t)s * ALL + i] = here || made_even() < 0.1 ? 0.6f : (float)(0.2 + 0.05 * made_even());
        }
    OK(mfrgn_tracker_update(t, scores, steps));
}

START_TEST(test_from_nowhere) {
    mfrgn_tracker *t;
    mfrgn_estimate e;
    OK(mfrgn_tracker_create(index_, NULL, &t));
    off(t, 0, 0, &e);
    ck_assert(sqrt(e.east_m2) > 250 && !e.has_heading && isnan(e.in_gallery));
    double x = 130, y = 210, heading = 60 * 0.017453292519943295;
    for (int i = 0; i < 14; i++) {
        x += 40 * sin(heading);
        y += 40 * cos(heading);
        move(t, 40, 0);
        see(t, x, y, 1, 0);
    }
    ck_assert_msg(off(t, x, y, &e) < 40, "%g m", off(t, x, y, NULL));
    ck_assert_msg(sqrt(e.east_m2) < 60 && e.has_heading && fabs(e.heading - 60) < 25, "%g m, %g", sqrt(e.east_m2),
                  e.heading);
    ck_assert_double_eq_tol(total(t), 1, 1e-4);
    mfrgn_tracker_free(t);
}
END_TEST

/* Rolls give the heading: roll 2 of 8 fits a camera that faces 270. */
START_TEST(test_heading_of_rolls) {
    mfrgn_tracker *t = tracker_at(500, 500, 30, 0, 0);
    mfrgn_estimate e;
    for (int i = 0; i < 4; i++)
        see(t, 500, 500, 8, 2);
    ck_assert_msg(off(t, 500, 500, &e) < 20, "%g", off(t, 500, 500, NULL));
    ck_assert_msg(e.has_heading && fabs(e.heading - 270) < 25, "%g", e.heading);
    mfrgn_tracker_free(t);
}
END_TEST

/* An image that says something wrong for once does not carry the track away; leaving the gallery ends in "anywhere". */
START_TEST(test_outlier) {
    mfrgn_tracker *t = tracker_at(500, 500, 10, 90, 2);
    for (int i = 0; i < 5; i++) {
        move(t, 20, 0);
        see(t, 520 + 20 * i, 500, 1, 0);
    }
    static float wrong[ALL];
    wrong[3] = 0.3f;
    OK(mfrgn_tracker_update(t, wrong, 1));
    ck_assert_msg(off(t, 600, 500, NULL) < 40, "%g", off(t, 600, 500, NULL));
    move(t, 5000, 0);
    mfrgn_estimate e;
    off(t, 0, 0, &e);
    ck_assert(e.located && sqrt(e.east_m2) > 250);
    ck_assert_double_eq_tol(total(t), 1, 1e-4);
    mfrgn_tracker_free(t);
}
END_TEST

START_TEST(test_refused) {
    mfrgn_tracker_options o = {.struct_size = sizeof(o), .radius_m = 10, .latitude = 91};
    mfrgn_tracker *t = NULL;
    FAILS(mfrgn_tracker_create(index_, &o, &t), MFRGN_ERROR_ARGUMENT, "a start at 91");
    o.latitude = NAN;
    FAILS(mfrgn_tracker_create(index_, &o, &t), MFRGN_ERROR_ARGUMENT, "a start at");
    o = (mfrgn_tracker_options){.struct_size = sizeof(o), .headings = 3};
    FAILS(mfrgn_tracker_create(index_, &o, &t), MFRGN_ERROR_ARGUMENT, "3 directions");
    o = (mfrgn_tracker_options){.struct_size = sizeof(o), .lost = 2};
    FAILS(mfrgn_tracker_create(index_, &o, &t), MFRGN_ERROR_ARGUMENT, "lost 2");
    OK(mfrgn_tracker_create(index_, NULL, &t));
    mfrgn_motion m = {.struct_size = sizeof(m), .distance_m = NAN};
    FAILS(mfrgn_tracker_move(t, &m), MFRGN_ERROR_ARGUMENT, "nan m");
    m = (mfrgn_motion){.struct_size = sizeof(m), .distance_error = -1};
    FAILS(mfrgn_tracker_move(t, &m), MFRGN_ERROR_ARGUMENT, "error -1");
    static float scores[ALL];
    scores[7] = INFINITY;
    FAILS(mfrgn_tracker_update(t, scores, 1), MFRGN_ERROR_NUMERIC, "score 7");
    FAILS(mfrgn_tracker_update(t, scores, 0), MFRGN_ERROR_ARGUMENT, "0 rolls");
    mfrgn_tracker_free(t);
    mfrgn_tracker_free(NULL);
    made_gallery nowhere = {.columns = 2, .rows = 1, .size = 4, .unlocated = 1};
    mfrgn_index *index = made_open(context, &nowhere, "nowhere");
    FAILS(mfrgn_tracker_create(index, NULL, &t), MFRGN_ERROR_ARGUMENT, "has no coordinates");
    mfrgn_index_free(index);
    free(nowhere.values);
}
END_TEST

int main(void) {
    Suite *s = suite_create("track");
    TCase *c = tcase_create("tracker");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_motion);
    tcase_add_test(c, test_from_nowhere);
    tcase_add_test(c, test_heading_of_rolls);
    tcase_add_test(c, test_outlier);
    tcase_add_test(c, test_refused);
    suite_add_tcase(s, c);
    return mf_run_suite(s);
}
