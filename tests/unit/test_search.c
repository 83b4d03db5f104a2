/* Search against brute force in double: all storages, backends, kernels of every instruction set, hostile data. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gallery/geodesy.h"
#include "gallery/search.h"
#include "unit.h"

static mfrgn_context *context;
static char path[64];

static void open_context(void) {
    ck_assert_int_eq(mfrgn_context_create(NULL, &context), MFRGN_OK);
    snprintf(path, sizeof(path), "%s/mfrgn-test-search-%d.mfi", mf_scratch(), (int)getpid());
}

static void close_context(void) {
    unlink(path);
    mfrgn_context_free(context);
}

#define OK(call) ck_assert_msg((call) == MFRGN_OK, "%s: %s", #call, mfrgn_context_last_error(context))

/* ---- data ---- */

static uint64_t state;

static double uniform(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53 * 2 - 1;
}

typedef enum kind { RANDOM, DUPLICATES, NEAR_TIES, CONSTANT, NORMS, HUGE_NORMS, KINDS } kind;

static const size_t sizes[] = {1, 7, 16, 64, 130, 531};

typedef struct gallery {
    size_t count, size;
    float *rows, *queries;
    size_t n;
    mfrgn_index_storage storage;
    mfrgn_index *index;
} gallery;

static void unit_row(float *row, size_t size) {
    double sum = 0;
    for (size_t i = 0; i < size; i++) {
        row[i] = (float)uniform();
        sum += (double)row[i] * row[i];
    }
    for (size_t i = 0; i < size; i++)
        row[i] = (float)(row[i] / sqrt(sum));
}

static void fill(gallery *g, kind what) {
    for (size_t r = 0; r < g->count; r++) {
        float *row = g->rows + r * g->size;
        double length = 1;
        unit_row(row, g->size);
        if (what == DUPLICATES && r >= 5)
            memcpy(row, g->rows + r % 5 * g->size, g->size * sizeof(float));
        if (what == NEAR_TIES && r)
            for (size_t i = 0; i < g->size; i++)
                row[i] = g->rows[i] + 1e-7f * row[i];
        if (what == CONSTANT)
            for (size_t i = 0; i < g->size; i++)
                row[i] = 0.25f;
        if (what == NORMS)
            length = r % 7 == 0 ? 0 : pow(10, uniform() * 30);
        if (what == HUGE_NORMS)
            length = pow(10, 20 + uniform() * 18);
        for (size_t i = 0; i < g->size && length != 1; i++)
            row[i] = (float)(row[i] * length);
    }
    for (size_t q = 0; q < g->n; q++) {
        float *row = g->queries + q * g->size;
        unit_row(row, g->size);
        if (q % 3 == 1) /* a row of the gallery */
            memcpy(row, g->rows + q * 37 % g->count * g->size, g->size * sizeof(float));
        for (size_t i = 0; i < g->size; i++) {
            if (q % 5 == 3)
                row[i] *= what == NORMS ? 1e-37f : what == HUGE_NORMS ? 1e10f : 1;
            row[i] = isfinite(row[i]) ? row[i] : 1;
            if (q % 7 == 6)
                row[i] = 0;
        }
    }
}

/* ---- a gallery without a session ---- */

static mfrgn_status give_tile(void *user, size_t i, mfrgn_tile *tile) {
    static char id[20000][8];
    (void)user;
    snprintf(id[i], sizeof(id[i]), "%05zu", i);
    tile->id = id[i];
    tile->located = i % 10 != 9;
    tile->latitude = 51 + (double)(i % 100) * 0.001;
    tile->longitude = i / 100 % 2 ? 179.95 + 0.001 * (double)(i % 50) : -179.95 - 0.001 * (double)(i % 50);
    return MFRGN_OK;
}

static mfrgn_status give_row(void *user, size_t i, void *codes, mf_row *row) {
    const gallery *g = user;
    mf_row_make(g->rows + i * g->size, g->size, g->storage, codes, row);
    return MFRGN_OK;
}

static void store(gallery *g, mfrgn_index_storage storage) {
    g->storage = storage;
    mf_part part = {g->count, g, give_tile, give_row};
    mf_assembly what = {.storage = storage, .size = (uint32_t)g->size, .model_name = "m", .preparation_name = "p",
                        .processing = "", .part = &part, .parts = 1};
    OK(mf_assemble(context, path, &what));
    OK(mfrgn_index_open(context, path, &g->index));
}

static gallery make(size_t count, size_t size, size_t n, kind what) {
    gallery g = {count, size, malloc(count * size * sizeof(float)), malloc(n * size * sizeof(float)), n, 0, NULL};
    fill(&g, what);
    return g;
}

static void drop(gallery *g) {
    free(g->rows);
    free(g->queries);
}

/* ---- brute force ---- */

typedef struct ranked {
    float score;
    size_t tile;
} ranked;

static int by_rank(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->tile < y->tile ? -1 : 1;
}

/* What is stored, in double; with a sidecar the true f32. */
static float truth(const gallery *g, const float *row, const float *query) {
    double sum = 0;
    for (size_t i = 0; i < g->size; i++)
        sum += (double)row[i] * query[i];
    return (float)sum;
}

static void check_query(const gallery *g, size_t q, size_t k, const unsigned char *let, const mfrgn_hit *hits) {
    ranked *all = malloc(g->count * sizeof(*all));
    float *stored = malloc(g->size * sizeof(float));
    size_t n = 0;
    for (size_t r = 0; r < g->count; r++) {
        if (let && !let[r])
            continue;
        const float *row = g->rows + r * g->size, *query = g->queries + q * g->size;
        float score = g->index->f32 ? truth(g, row, query) : mf_score(g->index, query, r);
        all[n++] = (ranked){score, r};
    }
    qsort(all, n, sizeof(*all), by_rank);
    for (size_t i = 0; i < k; i++) {
        if (i >= n) {
            ck_assert_uint_eq(hits[i].tile, SIZE_MAX);
            ck_assert(hits[i].score == -2);
            continue;
        }
        /* the sum in double may round the other way, once in ten million */
        float same = g->index->f32 ? mf_product(g->queries + q * g->size, g->rows + all[i].tile * g->size, g->size)
                                   : all[i].score;
        ck_assert_msg(hits[i].tile == all[i].tile || same == hits[i].score,
                      "query %zu, place %zu: tile %zu of %.9g, not %zu of %.9g", q, i, hits[i].tile, hits[i].score,
                      all[i].tile, all[i].score);
        ck_assert_msg(hits[i].score == all[i].score || fabsf(hits[i].score - all[i].score) <= 1e-7f * fabsf(same),
                      "query %zu, place %zu: score %.9g, not %.9g", q, i, hits[i].score, all[i].score);
        if (i && hits[i].score == hits[i - 1].score)
            ck_assert_uint_gt(hits[i].tile, hits[i - 1].tile);
    }
    free(all);
    free(stored);
}

static mfrgn_searcher *searcher_of(const char *backend, int threads) {
    mfrgn_options *options;
    mfrgn_searcher *searcher = NULL;
    OK(mfrgn_options_create(context, &options));
    OK(mfrgn_options_set(options, MFRGN_OPTION_BACKEND, backend));
    OK(mfrgn_options_set_int(options, MFRGN_OPTION_THREADS, threads));
    (void)mfrgn_searcher_create(context, options, &searcher);
    mfrgn_options_free(options);
    return searcher;
}

static const char *const backends[] = {"ref", "onednn", "openblas"};

static void check_all(gallery *g, mfrgn_searcher *searcher, size_t k) {
    mfrgn_hit *hits = malloc(g->n * k * sizeof(*hits)), *one = malloc(k * sizeof(*one));
    OK(mfrgn_index_search(g->index, searcher, g->queries, g->n, k, NULL, hits));
    for (size_t q = 0; q < g->n; q++)
        check_query(g, q, k, NULL, hits + q * k);
    /* alone, a query gets the same */
    for (size_t q = 0; q < g->n; q += 5) {
        OK(mfrgn_index_search(g->index, searcher, g->queries + q * g->size, 1, k, NULL, one));
        for (size_t i = 0; i < k; i++)
            ck_assert(one[i].tile == hits[q * k + i].tile && one[i].score == hits[q * k + i].score);
    }
    free(hits);
    free(one);
}

START_TEST(exact) {
    kind what = (kind)(_i % KINDS);
    state = (uint64_t)_i + 1;
    for (size_t s = MF_SHORT ? (size_t)_i % MF_COUNT(sizes) : 0; s < MF_COUNT(sizes); s += MF_SHORT ? 100 : 1)
        for (int storage = 0; storage <= MFRGN_INDEX_I8; storage++) {
            gallery g = make(what == RANDOM ? (MF_SHORT ? 800 : 2500) : MF_SHORT ? 300 : 700, sizes[s],
                             s % 2 || MF_SHORT ? 23 : 70, what);
            store(&g, (mfrgn_index_storage)storage);
            for (size_t b = 0; b < MF_COUNT(backends); b++) {
                mfrgn_searcher *searcher = searcher_of(backends[b], 1 + (int)(s + b) % 3);
                if (!searcher)
                    continue;
                check_all(&g, searcher, 1);
                check_all(&g, searcher, 10);
                if (b < 2)
                    check_all(&g, searcher, 1024); /* more than there are */
                mfrgn_searcher_free(searcher);
            }
            mfrgn_index_free(g.index);
            drop(&g);
        }
}
END_TEST

START_TEST(backends_and_threads_agree) {
    state = 99;
    gallery g = make(MF_SHORT ? 900 : 5000, 192, MF_SHORT ? 20 : 130, RANDOM);
    mfrgn_hit *first = malloc(g.n * 20 * sizeof(*first)), *again = malloc(g.n * 20 * sizeof(*again));
    int have = 0;
    for (int storage = 0; storage <= MFRGN_INDEX_F32_I8; storage++) {
        store(&g, (mfrgn_index_storage)storage);
        for (size_t b = 0; b < MF_COUNT(backends); b++)
            for (int threads = 1; threads <= 5; threads += 2) {
                mfrgn_searcher *searcher = searcher_of(backends[b], threads);
                if (!searcher)
                    continue;
                OK(mfrgn_index_search(g.index, searcher, g.queries, g.n, 20, NULL, have ? again : first));
                for (size_t i = 0; have && i < g.n * 20; i++)
                    ck_assert(first[i].tile == again[i].tile && first[i].score == again[i].score);
                have = 1;
                mfrgn_searcher_free(searcher);
            }
        mfrgn_index_free(g.index);
    }
    free(first);
    free(again);
    drop(&g);
}
END_TEST

/* ---- filters ---- */

static void expect_filter(gallery *g, mfrgn_searcher *searcher, const mfrgn_filter *f, const unsigned char *let) {
    mfrgn_hit hits[70 * 10];
    OK(mfrgn_index_search(g->index, searcher, g->queries, g->n, 10, f, hits));
    for (size_t q = 0; q < g->n; q++)
        check_query(g, q, 10, let, hits + q * 10);
}

START_TEST(filters) {
    state = 5;
    gallery g = make(1000, 64, _i ? 70 : 3, RANDOM);
    unsigned char let[1000];
    store(&g, (mfrgn_index_storage)(_i % 3));
    mfrgn_searcher *searcher = searcher_of("auto", 2);
    mfrgn_filter f = {.struct_size = sizeof(f), .latitude = 51.03, .longitude = 180, .radius_m = 5000};
    for (int step = 0; step < 5; step++) {
        static const size_t ids[] = {3, 3, 999, 17, 500, 18, 19, 0};
        size_t through = 0;
        if (step == 1)
            f = (mfrgn_filter){.struct_size = sizeof(f), .south = 51, .north = 51.05, .west = 179.96, .east = -179.97};
        if (step == 2)
            f = (mfrgn_filter){.struct_size = sizeof(f), .tiles = ids, .tile_count = 8};
        if (step == 3)
            f = (mfrgn_filter){.struct_size = sizeof(f), .tiles = ids, .tile_count = 0};
        if (step == 4)
            f = (mfrgn_filter){.struct_size = sizeof(f), .south = -90, .north = 90, .west = -180, .east = 180};
        for (size_t i = 0; i < 1000; i++) {
            mfrgn_tile t = {.struct_size = sizeof(t)};
            OK(mfrgn_index_tile(g.index, i, &t));
            int in_box = t.latitude <= 51.05 && (t.longitude >= 179.96 || t.longitude <= -179.97);
            int named = 0;
            for (size_t k = 0; k < 8; k++)
                named |= ids[k] == i;
            let[i] = (unsigned char)(step == 0   ? t.located && mfrgn_distance_m(51.03, 180, t.latitude, t.longitude) <= 5000
                     : step == 1 ? t.located && in_box
                     : step == 2 ? named
                     : step == 3 ? 0
                                 : t.located);
            through += let[i];
        }
        ck_assert(step == 3 ? through == 0 : through > 5 && through < 1000);
        expect_filter(&g, searcher, &f, let);
    }
    mfrgn_searcher_free(searcher);
    mfrgn_index_free(g.index);
    drop(&g);
}
END_TEST

START_TEST(refusals) {
    gallery g = make(50, 16, 3, RANDOM);
    mfrgn_hit hits[3 * 4];
    size_t outside = 50;
    store(&g, MFRGN_INDEX_F32_F16);
    mfrgn_searcher *searcher = searcher_of("ref", 1);
    memset(hits, 7, sizeof(hits));
    g.queries[40] = NAN;
    ck_assert_int_eq(mfrgn_index_search(g.index, searcher, g.queries, 3, 4, NULL, hits), MFRGN_ERROR_NUMERIC);
    ck_assert(strstr(mfrgn_context_last_error(context), "query 2"));
    ck_assert_int_eq(((unsigned char *)hits)[0], 7); /* untouched */
    g.queries[40] = INFINITY;
    ck_assert_int_eq(mfrgn_index_search(g.index, searcher, g.queries, 3, 4, NULL, hits), MFRGN_ERROR_NUMERIC);
    ck_assert_int_eq(mfrgn_index_search(g.index, searcher, g.queries, 1, 0, NULL, hits), MFRGN_ERROR_ARGUMENT);
    ck_assert_int_eq(mfrgn_index_search(g.index, searcher, g.queries, 1, 1025, NULL, hits), MFRGN_ERROR_ARGUMENT);
    mfrgn_filter f = {.struct_size = sizeof(f), .tiles = &outside, .tile_count = 1};
    ck_assert_int_eq(mfrgn_index_search(g.index, searcher, g.queries, 1, 4, &f, hits), MFRGN_ERROR_ARGUMENT);
    f = (mfrgn_filter){.struct_size = sizeof(f), .latitude = 91, .radius_m = 1};
    ck_assert_int_eq(mfrgn_index_search(g.index, searcher, g.queries, 1, 4, &f, hits), MFRGN_ERROR_ARGUMENT);
    f = (mfrgn_filter){.struct_size = sizeof(f), .south = 2, .north = 1};
    ck_assert_int_eq(mfrgn_index_search(g.index, searcher, g.queries, 1, 4, &f, hits), MFRGN_ERROR_ARGUMENT);
    ck_assert_int_eq(mfrgn_index_search(g.index, searcher, g.queries, 0, 4, NULL, hits), MFRGN_OK);
    mfrgn_searcher_free(searcher);
    mfrgn_index_free(g.index);
    drop(&g);
}
END_TEST

/* ---- ranks ---- */

START_TEST(counts) {
    kind what = (kind)(_i % KINDS);
    state = (uint64_t)_i + 50;
    for (size_t b = 0; b < MF_COUNT(backends); b++) {
        mfrgn_searcher *searcher = searcher_of(backends[b], 2);
        gallery g = make(900, 48, b == 1 ? 40 : 3, what);
        float norms[900], floor[40];
        int64_t above[40] = {0};
        for (size_t r = 0; r < g.count; r++)
            norms[r] = mf_norm_up(g.rows + r * g.size, g.size);
        for (size_t q = 0; q < g.n; q++)
            floor[q] = mf_product(g.queries + q * g.size, g.rows + q * 11 % g.count * g.size, g.size);
        for (size_t at = 0; searcher && at < 900; at += 300) /* in blocks */
            OK(mf_count_above(searcher, g.rows + at * g.size, norms + at, 300, g.size, g.queries, g.n, floor, above));
        for (size_t q = 0; searcher && q < g.n; q++) {
            int64_t expected = 0;
            for (size_t r = 0; r < g.count; r++)
                expected += mf_product(g.queries + q * g.size, g.rows + r * g.size, g.size) > floor[q];
            ck_assert_int_eq(above[q], expected);
        }
        mfrgn_searcher_free(searcher);
        drop(&g);
    }
}
END_TEST

/* ---- the Earth ---- */

START_TEST(distances) {
    /* GeographicLib's GeodSolve; the last ones near antipodes fall back to a sphere */
    static const struct {
        double a, b, c, d, metres, within;
    } known[] = {
        {0, 0, 0, 1, 111319.490793, 1e-3},     {0, 0, 1, 0, 110574.388558, 1e-3},
        {51.5, -0.1, 51.5, -0.1, 0, 0},        {90, 0, -90, 0, 20003931.458625, 1e-2},
        {-90, 17, 90, -5, 20003931.458625, 1e-2}, {0, 179.5, 0, -179.5, 111319.490793, 1e-3},
        {0, 0, 0.5, 179.7, 19944127.42, 120000}, {0, 0, 0, 180, 20003931.46, 120000},
    };
    for (size_t i = 0; i < MF_COUNT(known); i++) {
        double d = mfrgn_distance_m(known[i].a, known[i].b, known[i].c, known[i].d);
        ck_assert_msg(fabs(d - known[i].metres) <= known[i].within, "%zu: %.6f", i, d);
    }
    /* Flinders Peak to Buninyon: Vincenty's own example, on ANS there, here by GeographicLib on WGS84 */
    ck_assert_double_eq_tol(mfrgn_distance_m(-37.95103341666667, 144.42486788888888, -37.65282113888889,
                                             143.92649552777777), 54972.271, 0.005);
    ck_assert(isnan(mfrgn_distance_m(NAN, 0, 0, 0)));
    state = 3;
    for (int i = 0; i < 1000; i++) {
        double lat = uniform() * 80, lon = uniform() * 180, e = uniform() * 800, n = uniform() * 800, back[2], to[2];
        mf_degrees_from_enu(lat, lon, e, n, &to[0], &to[1]);
        mf_enu_from_degrees(lat, lon, to[0], to[1], &back[0], &back[1]);
        ck_assert(fabs(back[0] - e) < 1e-6 && fabs(back[1] - n) < 1e-6);
        double bound = fabs(lat) < 60 ? 0.2 : 1;
        ck_assert_msg(fabs(mfrgn_distance_m(lat, lon, to[0], to[1]) - hypot(e, n)) < bound, "%g %g", lat,
                      mfrgn_distance_m(lat, lon, to[0], to[1]) - hypot(e, n));
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("search");
    TCase *t = tcase_create("search");
    tcase_add_checked_fixture(t, open_context, close_context);
    tcase_set_timeout(t, 500);
    tcase_add_loop_test(t, exact, 0, KINDS);
    tcase_add_test(t, backends_and_threads_agree);
    tcase_add_loop_test(t, filters, 0, 3);
    tcase_add_test(t, refusals);
    tcase_add_loop_test(t, counts, 0, KINDS);
    tcase_add_test(t, distances);
    suite_add_tcase(s, t);
    return mf_run_suite(s);
}
