/* Locating: answers, probabilities, calibration. */
#include "session.h"

#include <math.h>

#include "locate/locate.h"
#include "made_gallery.h"

static mfrgn_searcher *searcher;

static void setup(void) {
    mfrgn_options *options;
    open_context();
    folder_make();
    OK(mfrgn_options_create(context, &options));
    OK(mfrgn_options_set(options, MFRGN_OPTION_BACKEND, "ref"));
    OK(mfrgn_options_set(options, MFRGN_OPTION_THREADS, "2"));
    OK(mfrgn_searcher_create(context, options, &searcher));
    mfrgn_options_free(options);
}

static void teardown(void) {
    mfrgn_searcher_free(searcher);
    folder_remove();
    close_context();
}

static mfrgn_estimate estimate_of(const mfrgn_location *l, size_t query) {
    mfrgn_estimate e = {.struct_size = sizeof(e)};
    OK(mfrgn_location_get(l, query, &e));
    return e;
}

static mfrgn_candidate candidate_of(const mfrgn_location *l, size_t query, size_t rank) {
    mfrgn_candidate c = {.struct_size = sizeof(c)};
    OK(mfrgn_location_candidate(l, query, rank, &c));
    return c;
}

/* A query of which tile `tile` scores `score`: the rest of it is at right angles to that tile. */
static void make_query(const made_gallery *g, size_t tile, double score, float *query) {
    const float *row = g->values + tile * g->size;
    double along = 0, length = 0;
    made_direction(query, g->size);
    for (size_t i = 0; i < g->size; i++)
        along += (double)query[i] * row[i];
    for (size_t i = 0; i < g->size; i++) {
        query[i] = (float)(query[i] - along * row[i]);
        length += (double)query[i] * query[i];
    }
    for (size_t i = 0; i < g->size; i++)
        query[i] = (float)(score * row[i] + sqrt(1 - score * score) * query[i] / sqrt(length));
}

/* ---- answers ---- */

START_TEST(test_answers) {
    made_gallery g = {
        .columns = 12, .rows = 10, .size = 64, .latitude = 51.5, .longitude = -0.1, .step = 100, .width = 100};
    mfrgn_index *index = made_open(context, &g, "g");
    mfrgn_locate_options o = {.struct_size = sizeof(o), .k = 7};
    mfrgn_location *l;
    float queries[2 * 64];
    make_query(&g, 17, 0.95, queries);
    make_query(&g, 0, 0.9, queries + 64);
    OK(mfrgn_locate_descriptors(index, searcher, queries, 2, &o, &l));
    ck_assert_uint_eq(mfrgn_location_count(l), 2);
    mfrgn_estimate e = estimate_of(l, 0);
    ck_assert(e.located && !e.calibrated && isnan(e.in_gallery) && !e.has_heading && e.candidates == 7);
    ck_assert_double_eq(e.temperature, MFRGN_DEFAULT_TEMPERATURE);
    mfrgn_candidate c = candidate_of(l, 0, 0);
    mfrgn_tile tile = {.struct_size = sizeof(tile)};
    OK(mfrgn_index_tile(index, c.tile, &tile));
    ck_assert_uint_eq(c.tile, 17);
    ck_assert_double_eq_tol((double)c.score, 0.95, 1e-5);
    ck_assert(c.probability > 0.8 && c.probability <= 1);
    ck_assert(mfrgn_distance_m(e.latitude, e.longitude, tile.latitude, tile.longitude) < 20);
    ck_assert(e.east_m2 >= 100 * 100 / 12.0 - 1e-6 && e.north_m2 >= 100 * 100 / 12.0 - 1e-6);
    ck_assert(e.east_m2 * e.north_m2 >= e.east_north_m2 * e.east_north_m2);
    ck_assert_uint_eq(candidate_of(l, 1, 0).tile, 0);
    /* probabilities are the softmax of all 120 scores by hand */
    double sum = 0;
    for (size_t i = 0; i < 120; i++)
        sum += exp(((double)mf_score(index, queries, i) - (double)c.score) / MFRGN_DEFAULT_TEMPERATURE);
    ck_assert_double_eq_tol(c.probability, 1 / sum, 1e-9);
    for (size_t r = 1; r < 7; r++)
        ck_assert(candidate_of(l, 0, r).probability <= candidate_of(l, 0, r - 1).probability);
    mfrgn_candidate none = {.struct_size = sizeof(none)};
    FAILS(mfrgn_location_candidate(l, 0, 7, &none), MFRGN_ERROR_ARGUMENT, "rank 7");
    FAILS(mfrgn_location_get(l, 2, &e), MFRGN_ERROR_ARGUMENT, "query 2");
    mfrgn_location_free(l);
    /* more than there are */
    o.k = 1000;
    OK(mfrgn_locate_descriptors(index, searcher, queries, 1, &o, &l));
    ck_assert_uint_eq(estimate_of(l, 0).candidates, 120);
    mfrgn_location_free(l);
    OK(mfrgn_locate_descriptors(index, searcher, queries, 0, NULL, &l));
    ck_assert_uint_eq(mfrgn_location_count(l), 0);
    mfrgn_location_free(l);
    mfrgn_location_free(NULL);
    mfrgn_index_free(index);
    free(g.values);
}
END_TEST

START_TEST(test_prior) {
    made_gallery g = {
        .columns = 12, .rows = 10, .size = 64, .latitude = 51.5, .longitude = 179.999, .step = 100, .width = 100};
    mfrgn_index *index = made_open(context, &g, "g");
    mfrgn_locate_options o = {.struct_size = sizeof(o), .k = 100};
    mfrgn_location *l;
    float query[64];
    make_query(&g, 17, 0.95, query);
    mfrgn_tile tile = {.struct_size = sizeof(tile)};
    OK(mfrgn_index_tile(index, 100, &tile));
    o.latitude = tile.latitude;
    o.longitude = tile.longitude;
    o.radius_m = 150; /* itself and its eight neighbours */
    OK(mfrgn_locate_descriptors(index, searcher, query, 1, &o, &l));
    mfrgn_estimate e = estimate_of(l, 0);
    ck_assert_uint_eq(e.candidates, 9);
    ck_assert(e.longitude >= -180 && e.longitude <= 180);
    ck_assert(mfrgn_distance_m(e.latitude, e.longitude, tile.latitude, tile.longitude) < 250);
    mfrgn_location_free(l);
    o.latitude = -51;
    OK(mfrgn_locate_descriptors(index, searcher, query, 1, &o, &l)); /* nothing is there */
    e = estimate_of(l, 0);
    ck_assert(!e.located && e.candidates == 0);
    mfrgn_location_free(l);
    o.latitude = 91;
    FAILS(mfrgn_locate_descriptors(index, searcher, query, 1, &o, &l), MFRGN_ERROR_ARGUMENT, "latitude");
    o.latitude = 1;
    o.longitude = 181;
    FAILS(mfrgn_locate_descriptors(index, searcher, query, 1, &o, &l), MFRGN_ERROR_ARGUMENT, "longitude");
    o.longitude = 1;
    o.radius_m = -1;
    FAILS(mfrgn_locate_descriptors(index, searcher, query, 1, &o, &l), MFRGN_ERROR_ARGUMENT, "radius");
    o.radius_m = NAN;
    FAILS(mfrgn_locate_descriptors(index, searcher, query, 1, &o, &l), MFRGN_ERROR_ARGUMENT, "radius");
    o = (mfrgn_locate_options){.struct_size = sizeof(o), .k = 1025};
    FAILS(mfrgn_locate_descriptors(index, searcher, query, 1, &o, &l), MFRGN_ERROR_ARGUMENT, "1 .. 1024");
    o.k = 1;
    o.yaw_steps = 361;
    FAILS(mfrgn_locate_descriptors(index, searcher, query, 1, &o, &l), MFRGN_ERROR_ARGUMENT, "yaw_steps");
    query[3] = NAN;
    FAILS(mfrgn_locate_descriptors(index, searcher, query, 1, NULL, &l), MFRGN_ERROR_NUMERIC, "NaN");
    mfrgn_index_free(index);
    free(g.values);
}
END_TEST

START_TEST(test_unlocated) {
    made_gallery g = {.columns = 3, .rows = 1, .size = 16, .unlocated = 1};
    mfrgn_index *index = made_open(context, &g, "g");
    mfrgn_location *l;
    OK(mfrgn_locate_descriptors(index, searcher, g.values + 16, 1, NULL, &l));
    ck_assert(!estimate_of(l, 0).located && estimate_of(l, 0).candidates == 3);
    ck_assert_uint_eq(candidate_of(l, 0, 0).tile, 1);
    mfrgn_location_free(l);
    mfrgn_index_free(index);
    free(g.values);
}
END_TEST

START_TEST(test_heading) {
    made_gallery g = {.columns = 4, .rows = 4, .size = 32, .latitude = 10, .longitude = 20, .step = 50, .width = 50};
    mfrgn_index *index = made_open(context, &g, "g");
    mfrgn_locate_options o = {.struct_size = sizeof(o), .yaw_steps = 8};
    mfrgn_location *l;
    float rolls[8 * 32];
    for (size_t i = 0; i < 8; i++)
        make_query(&g, 5, i == 3 ? 0.9 : 0.1, rolls + 32 * i);
    OK(mfrgn_locate_descriptors(index, searcher, rolls, 1, &o, &l));
    mfrgn_estimate e = estimate_of(l, 0);
    ck_assert(e.has_heading && e.yaw_step == 3);
    ck_assert_double_eq_tol(e.heading, 360 - 3 * 45, 1e-9);
    ck_assert_uint_eq(candidate_of(l, 0, 0).tile, 5);
    mfrgn_location_free(l);
    mfrgn_index_free(index);
    free(g.values);
}
END_TEST

/* ---- calibration ---- */

enum { TRIALS = 3000, TILES = 100 };

/* Scores whose true tile is drawn from their softmax at a known temperature: the best fit is that temperature. */
static mf_trial *draw_trials(double temperature, mfrgn_hit *hits) {
    mf_trial *trial = calloc(TRIALS, sizeof(*trial));
    for (size_t q = 0; q < TRIALS; q++) {
        mfrgn_hit *h = hits + q * TILES;
        double sum = 0, at;
        h[0] = (mfrgn_hit){0, (float)(0.4 + 0.3 * made_even())};
        for (size_t i = 1; i < TILES; i++)
            h[i] = (mfrgn_hit){i, h[i - 1].score - (float)(1.5 * temperature * made_even())};
        for (size_t i = 0; i < TILES; i++)
            sum += exp(((double)h[i].score - (double)h[0].score) / temperature);
        at = made_even() * sum;
        size_t truth = 0;
        for (; truth < TILES - 1; truth++) {
            at -= exp(((double)h[truth].score - (double)h[0].score) / temperature);
            if (at < 0)
                break;
        }
        trial[q] = (mf_trial){h, TILES, truth, (double)h[0].score, 0.1 * made_even(), NAN, 0};
        /* in the gallery by a logistic law: bias -4, 8 a unit of score, 10 a unit of margin */
        double no = (double)h[0].score - 0.3 * made_even();
        trial[q].no_best = no;
        trial[q].no_margin = 0.1 * made_even();
    }
    return trial;
}

START_TEST(test_fit) {
    mfrgn_hit *hits = calloc((size_t)TRIALS * TILES, sizeof(*hits));
    const double temperatures[] = {0.003, 0.01, 0.05};
    for (size_t i = 0; i < MF_COUNT(temperatures); i++) {
        mf_calibration c = {.pool = MF_POOL};
        mf_trial *trial = draw_trials(temperatures[i], hits);
        mf_fit(trial, TRIALS, 0, 0, &c);
        ck_assert_msg(fabs(log(c.temperature / temperatures[i])) < 0.12, "%g for %g", c.temperature, temperatures[i]);
        ck_assert_double_eq(c.reach, 1); /* all tiles are compared */
        free(trial);
    }
    free(hits);
}
END_TEST

/* A logistic law is found again: pairs of one outcome each, by giving the other a score that tells nothing. */
START_TEST(test_fit_logistic) {
    enum { N = 20000 };
    mf_trial *trial = calloc(N, sizeof(*trial));
    double truth[3] = {-6, 9, 14};
    size_t n = 0, yes = 0, no = 0;
    while (n < N / 2 && yes + no < 4 * N) {
        double best = made_even(), margin = 0.3 * made_even();
        int is = made_even() < 1 / (1 + exp(-(truth[0] + truth[1] * best + truth[2] * margin)));
        /* the k-th positive and the k-th negative share a trial */
        size_t at = is ? yes++ : no++;
        if (at >= N)
            continue;
        if (is)
            trial[at].best = best, trial[at].margin = margin;
        else
            trial[at].no_best = best, trial[at].no_margin = margin;
        n = yes < no ? yes : no;
    }
    mf_calibration c = {.pool = MF_POOL};
    mf_fit(trial, n, 0, 0, &c);
    ck_assert_msg(fabs(c.score_weight - 9) < 0.7 && fabs(c.margin_weight - 14) < 1.5, "%g %g %g", c.bias,
                  c.score_weight, c.margin_weight);
    /* as many yes as no were taken, so that the bias is what is left of the rates */
    double forecast = 0, came = 0;
    for (size_t i = 0; i < n; i++) {
        forecast += mf_in_gallery(&c, trial[i].best, trial[i].margin);
        forecast += mf_in_gallery(&c, trial[i].no_best, trial[i].no_margin);
        came += 1;
    }
    ck_assert_double_eq_tol(forecast / came, 1, 1e-3);
    free(trial);
}
END_TEST

START_TEST(test_ece) {
    const double forecast[] = {0.05, 0.95, 0.95, 0.75, 1, 0};
    const unsigned char was[] = {0, 1, 0, 1, 1, 0};
    /* bins: 0: (0.05 + 0) of 0; 9: 2.9 of 2; 7: 0.75 of 1 */
    ck_assert_double_eq_tol(mf_ece(forecast, was, 6), (0.05 + 0.9 + 0.25) / 6, 1e-12);
    ck_assert(isnan(mf_ece(forecast, was, 0)));
}
END_TEST

/* The whole way: queries near their tiles, of which too many are wrong for the default temperature. */
START_TEST(test_calibrate) {
    enum { N = 1500, SIZE = 48 };
    made_gallery g = {
        .columns = 20, .rows = 15, .size = SIZE, .latitude = 48, .longitude = 11, .step = 80, .width = 80};
    mfrgn_index *index = made_open(context, &g, "g");
    float *queries = malloc(N * SIZE * sizeof(float));
    static size_t truth[N];
    for (size_t i = 0; i < N; i++) {
        truth[i] = (size_t)(made_even() * 300);
        make_query(&g, truth[i], 0.3 + 0.3 * made_even(), queries + i * SIZE);
    }
    mfrgn_calibration found = {.struct_size = sizeof(found)};
    OK(mfrgn_index_calibrate(index, searcher, queries, truth, N, NULL, &found));
    ck_assert(found.folds == 10 && found.queries == N && found.found > N * 8 / 10 && found.found <= N);
    ck_assert(found.accuracy > 0.3 && found.accuracy < 0.95);
    ck_assert_msg(found.ece_after < 0.08 && found.ece_after < found.ece_before, "%g %g", found.ece_before,
                  found.ece_after);
    ck_assert_msg(found.loss_after < found.loss_before, "%g %g", found.loss_before, found.loss_after);
    ck_assert_msg(found.ece_in_gallery < 0.08, "%g", found.ece_in_gallery);
    printf("ECE of the best tile %.3f -> %.3f, in the gallery %.3f, temperature %.4f, R@1 %.2f\n", found.ece_before,
           found.ece_after, found.ece_in_gallery, found.temperature, found.accuracy);
    mfrgn_index_free(index);

    OK(mfrgn_index_open(context, in_folder("g"), &index));
    mfrgn_index_info info = {.struct_size = sizeof(info)};
    OK(mfrgn_index_get_info(index, &info));
    ck_assert_int_eq(info.calibrated, 1);
    OK(mfrgn_index_verify(index, NULL));
    mfrgn_location *l;
    OK(mfrgn_locate_descriptors(index, searcher, queries, N, NULL, &l));
    double sum = 0, far = 0;
    for (size_t i = 0; i < N; i++)
        sum += estimate_of(l, i).in_gallery;
    mfrgn_estimate e = estimate_of(l, 0);
    ck_assert(e.calibrated && fabs(e.temperature - found.temperature) < 1e-12);
    mfrgn_location_free(l);
    for (size_t i = 0; i < N; i++)
        made_direction(queries + i * SIZE, SIZE);
    OK(mfrgn_locate_descriptors(index, searcher, queries, N, NULL, &l));
    for (size_t i = 0; i < N; i++)
        far += estimate_of(l, i).in_gallery;
    ck_assert_msg(far < sum - 0.1 * N, "%g %g", far, sum);
    mfrgn_location_free(l);
    /* it does not hold for queries that are made in another way */
    mfrgn_locate_options o = {.struct_size = sizeof(o), .yaw_steps = 2};
    OK(mfrgn_locate_descriptors(index, searcher, queries, 2, &o, &l));
    e = estimate_of(l, 0);
    ck_assert(!e.calibrated && isnan(e.in_gallery) && e.temperature == MFRGN_DEFAULT_TEMPERATURE);
    mfrgn_location_free(l);
    /* what cannot be calibrated */
    FAILS(mfrgn_index_calibrate(index, searcher, queries, truth, 4, NULL, NULL), MFRGN_ERROR_ARGUMENT, "at least 5");
    truth[3] = 300;
    FAILS(mfrgn_index_calibrate(index, searcher, queries, truth, N, NULL, NULL), MFRGN_ERROR_ARGUMENT,
          "true tile is 300");
    mfrgn_index_free(index);
    free(queries);
    free(g.values);
}
END_TEST

START_TEST(test_calibrate_few) {
    made_gallery one = {.columns = 1, .rows = 1, .size = 8, .latitude = 1, .longitude = 1, .step = 1, .width = 50};
    made_gallery ten = {.columns = 10, .rows = 1, .size = 32, .latitude = 1, .longitude = 1, .step = 60, .width = 60};
    size_t truth[10] = {0};
    float same[5 * 8];
    mfrgn_calibration found = {.struct_size = sizeof(found)};
    mfrgn_index *index = made_open(context, &one, "one");
    for (size_t i = 0; i < 5; i++)
        memcpy(same + 8 * i, one.values, sizeof(same) / 5);
    FAILS(mfrgn_index_calibrate(index, searcher, same, truth, 5, NULL, &found), MFRGN_ERROR_ARGUMENT,
          "no tile is left");
    mfrgn_index_free(index);
    index = made_open(context, &ten, "ten");
    for (size_t i = 0; i < 10; i++)
        truth[i] = i;
    OK(mfrgn_index_calibrate(index, searcher, ten.values, truth, 10, NULL,
                             &found)); /* all right: nothing is infinite */
    ck_assert(found.folds == 10 && found.accuracy == 1 && found.temperature > 1e-3 && isfinite(found.score_weight));
    ck_assert(found.ece_after < found.ece_before + 1e-9);
    mfrgn_index_free(index);
    free(one.values);
    free(ten.values);
}
END_TEST

/* A record that was damaged before its checksum was made. */
START_TEST(test_bad_record) {
    made_gallery g = {.columns = 2, .rows = 1, .size = 8, .latitude = 1, .longitude = 1, .step = 60, .width = 60};
    mfrgn_index *index = made_open(context, &g, "g");
    mf_calibration c = {.fitted = 1, .pool = MF_POOL, .yaw_steps = 1, .temperature = -1, .reach = 1};
    unsigned char record[MF_CALIBRATION_BYTES];
    mfrgn_location *l;
    const size_t cut[] = {MF_CALIBRATION_BYTES, MF_CALIBRATION_BYTES - 1, 1};
    for (size_t i = 0; i < MF_COUNT(cut); i++) {
        mf_calibration_encode(&c, record);
        OK(mf_index_set_calibration(index, record, cut[i]));
        mfrgn_index_free(index);
        OK(mfrgn_index_open(context, in_folder("g"), &index));
        FAILS(mfrgn_locate_descriptors(index, searcher, g.values, 1, NULL, &l), MFRGN_ERROR_FORMAT,
              "contradicts itself");
        c.temperature = 1;
    }
    mfrgn_index_free(index);
    free(g.values);
}
END_TEST

/* ---- with a model ---- */

static mfrgn_image image_of(mfrgn_bitmap *b) {
    mfrgn_image image = {.struct_size = sizeof(image)};
    OK(mfrgn_bitmap_image(b, &image));
    return image;
}

static mfrgn_status get_picture(void *user, size_t i, mfrgn_tile *tile) {
    static const char *const id[] = {"p0", "p1", "p2", "p3"};
    (void)user;
    *tile = (mfrgn_tile){sizeof(*tile), id[i], id[i], 1, 51.5 + 0.001 * (double)i, -0.1, 70, 70, 0};
    return MFRGN_OK;
}

static mfrgn_status load_picture(void *user, size_t i, mfrgn_bitmap **bitmap) {
    (void)user;
    OK(mfrgn_bitmap_create(context, 70, 75, bitmap));
    fill_picture("tile", (uint64_t)i, 70, 75, mfrgn_bitmap_pixels(*bitmap));
    return MFRGN_OK;
}

START_TEST(test_model) {
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    mfrgn_model *model = filled_model(config), *other;
    mfrgn_session *session = session_of(model, "f32", 2), *stranger;
    mf_tile_source source = {NULL, 4, get_picture, load_picture, ""};
    mfrgn_index *index;
    mfrgn_location *l, *m;
    OK(mf_index_build(session, &source, in_folder("g"), NULL, 0));
    OK(mfrgn_index_open(context, in_folder("g"), &index));
    static unsigned char pixels[131 * 49 * 3];
    fill_picture("query", 1, 131, 49, pixels);
    mfrgn_image image = {sizeof(image), pixels, 131, 49, 0, MFRGN_PIXEL_RGB8};
    mfrgn_image two[2] = {image, image};
    OK(mfrgn_locate(index, session, two, 2, NULL, &l));
    mfrgn_estimate e = estimate_of(l, 1);
    ck_assert(mfrgn_location_count(l) == 2 && e.located && e.candidates == 4 && e.latitude > 51.49 &&
              e.latitude < 51.51);
    /* turned by the columns that the answer names, the panorama gives the answer without a search */
    mfrgn_locate_options o = {.struct_size = sizeof(o), .yaw_steps = 5};
    OK(mfrgn_locate(index, session, &image, 1, &o, &m));
    e = estimate_of(m, 0);
    mfrgn_bitmap *turned;
    OK(mfrgn_bitmap_create(context, 131, 49, &turned));
    OK(mfrgn_image_roll(context, &image, 131 * e.yaw_step / 5, turned));
    mfrgn_image rolled = image_of(turned);
    mfrgn_location_free(l);
    OK(mfrgn_locate(index, session, &rolled, 1, NULL, &l));
    ck_assert(candidate_of(l, 0, 0).tile == candidate_of(m, 0, 0).tile);
    ck_assert(candidate_of(l, 0, 0).score == candidate_of(m, 0, 0).score);
    mfrgn_location_free(l);
    mfrgn_location_free(m);
    mfrgn_bitmap_free(turned);
    mfrgn_camera camera = {.struct_size = sizeof(camera), .fov = 70, .pitch = 5};
    o = (mfrgn_locate_options){.struct_size = sizeof(o), .camera = &camera, .yaw_steps = 2};
    OK(mfrgn_locate(index, session, &image, 1, &o, &l));
    ck_assert(estimate_of(l, 0).located && estimate_of(l, 0).has_heading);
    mfrgn_location_free(l);
    camera.fov = 200;
    FAILS(mfrgn_locate(index, session, &image, 1, &o, &l), MFRGN_ERROR_ARGUMENT, "image 0");
    two[1].width = 0;
    FAILS(mfrgn_locate(index, session, two, 2, NULL, &l), MFRGN_ERROR_ARGUMENT, "image 1");
    /* another model is refused, with both names */
    OK(mfrgn_model_create(context, config, 77, &other));
    stranger = session_of(other, "f32", 1);
    FAILS(mfrgn_locate(index, stranger, &image, 1, NULL, &l), MFRGN_ERROR_MISMATCH,
          "was built with the model convnext_atto");
    ck_assert_ptr_nonnull(strstr(mfrgn_context_last_error(context), "this one is convnext_atto"));
    mfrgn_session_free(stranger);
    mfrgn_model_free(other);
    mfrgn_index_free(index);
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}
END_TEST

static void add(Suite *s, const char *name, const TTest *const *tests, size_t count) {
    TCase *c = tcase_create(name);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 120);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
}

int main(void) {
    const TTest *const answers[] = {test_answers, test_prior, test_unlocated, test_heading};
    const TTest *const fitting[] = {test_fit,       test_fit_logistic,  test_ece,
                                    test_calibrate, test_calibrate_few, test_bad_record};
    const TTest *const model[] = {test_model};
    Suite *s = suite_create("locate");
    add(s, "answers", answers, MF_COUNT(answers));
    add(s, "calibration", fitting, MF_COUNT(fitting));
    add(s, "model", model, MF_COUNT(model));
    return mf_run_suite(s);
}
