/* Which pairs share a batch, neighbours, and the loader's ring. */
#include "unit.h"

#include <math.h>
#include <pthread.h>

#include "files.h"
#include "mfrgn/gallery.h"
#include "train/loader.h"

static mfrgn_context *context;
static mfrgn_dataset *dataset;
static mf_train_pairs pairs;

static void setup(void) {
    ck_assert_int_eq(mfrgn_context_create(NULL, &context), MFRGN_OK);
    folder_make();
}

static void teardown(void) {
    if (pairs.context)
        mf_train_pairs_free(&pairs);
    mfrgn_dataset_free(dataset);
    folder_remove();
    mfrgn_context_free(context);
}

/* n pairs, `each` ground pictures a place; places on a line of longitudes, 100 m apart. */
static void make_pairs(int n, int each) {
    static char csv[200000];
    size_t at = (size_t)sprintf(csv, "ground,aerial,latitude,longitude,split\n");
    for (int i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof(name), "g%d.ppm", i);
        file_picture(name, 24, 12, i % 256);
        snprintf(name, sizeof(name), "a%d.ppm", i / each);
        file_picture(name, 16, 16, i / each % 256);
        at += (size_t)sprintf(csv + at, "g%d.ppm,a%d.ppm,10,%.6f,train\n", i, i / each, 20 + 0.001 * (i / each));
    }
    file_text("pairs.csv", csv);
    mfrgn_dataset_options o = {sizeof(o), "train", NULL, 0};
    ck_assert_int_eq(mfrgn_dataset_open(context, "pairs", in_folder("pairs.csv"), &o, &dataset), MFRGN_OK);
    ck_assert_int_eq(mf_train_pairs_make(context, dataset, &pairs), MFRGN_OK);
}

static mf_batches batches_of(const mf_neighbours *n, size_t size, size_t select, uint64_t seed, uint64_t epoch) {
    mf_batches b;
    mfrgn_status status = mf_batches_make(&pairs, n, size, select, seed, epoch, &b);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    return b;
}

/* No pair twice; no label twice in a batch. */
static void check_batches(const mf_batches *b) {
    unsigned char *seen = calloc(pairs.count, 1);
    for (size_t i = 0; i < b->count; i++)
        for (size_t k = 0; k < b->size; k++) {
            uint32_t pair = b->pair[i * b->size + k];
            ck_assert_uint_lt(pair, pairs.count);
            ck_assert_msg(!seen[pair], "pair %u twice", pair);
            seen[pair] = 1;
            for (size_t m = 0; m < k; m++)
                ck_assert_uint_ne(pairs.item[pair].label, pairs.item[b->pair[i * b->size + m]].label);
        }
    free(seen);
}

static int same_batches(const mf_batches *a, const mf_batches *b) {
    return a->count == b->count && memcmp(a->pair, b->pair, a->count * a->size * sizeof(*a->pair)) == 0;
}

START_TEST(pairs_and_labels) {
    make_pairs(30, 3);
    ck_assert_uint_eq(pairs.count, 30);
    ck_assert_uint_eq(pairs.labels, 10);
    for (uint32_t label = 0; label < 10; label++) {
        ck_assert_uint_eq(pairs.first[label + 1] - pairs.first[label], 3);
        for (uint32_t k = pairs.first[label]; k < pairs.first[label + 1]; k++)
            ck_assert_uint_eq(pairs.item[pairs.of_label[k]].label, label);
    }
    uint64_t hash = mf_dataset_hash(dataset);
    ck_assert(hash == mf_dataset_hash(dataset) && hash != 0);
}
END_TEST

START_TEST(plain_shuffle) {
    make_pairs(100, 1);
    mf_batches a = batches_of(NULL, 8, 0, 1, 1), b = batches_of(NULL, 8, 0, 1, 1), c = batches_of(NULL, 8, 0, 1, 2);
    mf_batches d = batches_of(NULL, 8, 0, 2, 1);
    ck_assert_uint_eq(a.count, 12); /* full ones only */
    check_batches(&a);
    ck_assert(same_batches(&a, &b) && !same_batches(&a, &c) && !same_batches(&a, &d));
    mf_batches_free(context, &a);
    mf_batches_free(context, &b);
    mf_batches_free(context, &c);
    mf_batches_free(context, &d);
}
END_TEST

START_TEST(one_of_a_place) {
    make_pairs(120, 4);
    mf_batches b = batches_of(NULL, 16, 0, 3, 1);
    ck_assert_uint_ge(b.count, 5);
    check_batches(&b);
    mf_batches_free(context, &b);
    ck_assert_int_eq(mf_batches_make(&pairs, NULL, 31, 0, 3, 1, &b), MFRGN_ERROR_ARGUMENT); /* 30 places */
    ck_assert_ptr_nonnull(strstr(mfrgn_context_last_error(context), "31"));
}
END_TEST

START_TEST(neighbours_by_place) {
    make_pairs(60, 1);
    mf_neighbours n;
    ck_assert_int_eq(mf_neighbours_by_place(&pairs, 6, &n), MFRGN_OK);
    for (uint32_t i = 0; i < 60; i++) {
        const uint32_t *near = n.label + i * n.range;
        double before = 0;
        for (size_t k = 0; k < n.range; k++) {
            double far = fabs(20 + 0.001 * near[k] - (20 + 0.001 * i));
            ck_assert_uint_ne(near[k], i);
            ck_assert(far >= before - 1e-12 && far < 0.0065); /* on a line: 3 each side, 6 at its ends */
            before = far;
        }
    }
    mf_neighbours_free(context, &n);
}
END_TEST

/* The first pair of a batch brings its nearest neighbours. */
START_TEST(neighbours_come_first) {
    make_pairs(90, 1);
    mf_neighbours n;
    ck_assert_int_eq(mf_neighbours_by_place(&pairs, 12, &n), MFRGN_OK);
    mf_batches b = batches_of(&n, 9, 8, 5, 1), again = batches_of(&n, 9, 8, 5, 1);
    check_batches(&b);
    ck_assert(same_batches(&b, &again));
    const uint32_t *first = b.pair;
    for (size_t k = 0; k < 4; k++) /* nothing is used yet: the nearest half of 8, in their order */
        ck_assert_uint_eq(pairs.item[first[1 + k]].label, n.label[pairs.item[first[0]].label * n.range + k]);
    for (size_t k = 4; k < 8; k++) { /* the others are of the rest of the range */
        int found = 0;
        for (size_t m = 4; m < 12; m++)
            found |= n.label[pairs.item[first[0]].label * n.range + m] == pairs.item[first[1 + k]].label;
        ck_assert(found);
    }
    mf_batches_free(context, &b);
    mf_batches_free(context, &again);
    mf_neighbours_free(context, &n);
}
END_TEST

START_TEST(neighbours_by_similarity) {
    enum { N = 23, SIZE = 37, RANGE = 5 };
    static float ground[N * SIZE], aerial[N * SIZE];
    make_pairs(N, 1);
    for (int i = 0; i < N * SIZE; i++) {
        ground[i] = (float)((double)(mf_draw_mix((uint64_t)i) >> 40) / 0x1p24 - 0.5);
        aerial[i] = (float)((double)(mf_draw_mix((uint64_t)i + 77777) >> 40) / 0x1p24 - 0.5);
    }
    static uint32_t row[N]; /* the aerial picture of label 4 was not readable */
    for (uint32_t i = 0; i < N; i++)
        row[i] = i == 4 ? UINT32_MAX : i > 4 ? i - 1 : i;
    mf_descriptors g = {ground, N, SIZE, NULL}, a = {aerial, N - 1, SIZE, row};
    mf_neighbours n;
    ck_assert_int_eq(mf_neighbours_by_similarity(&pairs, &g, &a, RANGE, NULL, &n), MFRGN_OK);
    ck_assert(n.by_pair && n.rows == N && n.range == RANGE);
    for (uint32_t i = 0; i < N; i++) {
        double last = 1e9;
        int seen[N] = {0};
        for (size_t k = 0; k < RANGE; k++) {
            uint32_t label = n.label[i * RANGE + k];
            ck_assert(label < N && label != i && label != 4 && !seen[label]);
            seen[label] = 1;
            double dot = 0;
            for (int s = 0; s < SIZE; s++)
                dot += (double)ground[i * SIZE + (uint32_t)s] * (double)aerial[row[label] * SIZE + (uint32_t)s];
            ck_assert(dot <= last + 1e-5);
            last = dot;
        }
        for (uint32_t other = 0; other < N; other++) { /* none that is left out is nearer */
            double dot = 0;
            for (int s = 0; other != 4 && s < SIZE; s++)
                dot += (double)ground[i * SIZE + (uint32_t)s] * (double)aerial[row[other] * SIZE + (uint32_t)s];
            ck_assert(other == 4 || other == i || seen[other] || dot <= last + 1e-5);
        }
    }
    mf_neighbours_free(context, &n);
}
END_TEST

/* VIGOR: a panorama's semi-positive tiles stay out of its batch. */
START_TEST(semi_positives) {
    static const char *const cities[] = {"NewYork", "Seattle", "SanFrancisco", "Chicago"};
    for (int c = 0; c < 4; c++) {
        char text[8192] = "", tiles[4096] = "", name[128];
        size_t at = 0, tile_at = 0;
        for (int i = 0; i < 8; i++) {
            char tile[4][64];
            for (int k = 0; k < 4; k++)
                snprintf(tile[k], sizeof(tile[k]), "satellite_%d.%d_10.0.png", 10 + c, 1 + (i + k) % 8);
            tile_at += (size_t)sprintf(tiles + tile_at, "%s\n", tile[0]);
            at += (size_t)sprintf(text + at, "p%d,%d.5,10.0,.jpg %s 0 0 %s 0 0 %s 0 0 %s 0 0\n", i, 10 + c, tile[0],
                                  tile[1], tile[2], tile[3]);
            snprintf(name, sizeof(name), "%s/satellite/%s", cities[c], tile[0]);
            file_text(name, "x");
            snprintf(name, sizeof(name), "%s/panorama/p%d,%d.5,10.0,.jpg", cities[c], i, 10 + c);
            file_text(name, "x");
        }
        snprintf(name, sizeof(name), "splits/%s/satellite_list.txt", cities[c]);
        file_text(name, tiles);
        snprintf(name, sizeof(name), "splits/%s/same_area_balanced_train.txt", cities[c]);
        file_text(name, text);
    }
    mfrgn_dataset_options o = {sizeof(o), "train", NULL, 0};
    mfrgn_status status = mfrgn_dataset_open(context, "vigor", test_folder, &o, &dataset);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    ck_assert_int_eq(mf_train_pairs_make(context, dataset, &pairs), MFRGN_OK);
    ck_assert_uint_eq(pairs.count, 32);
    for (uint64_t epoch = 1; epoch < 20; epoch++) {
        mf_batches b = batches_of(NULL, 6, 0, 1, epoch);
        check_batches(&b);
        for (size_t i = 0; i < b.count; i++)
            for (size_t k = 1; k < 6; k++)
                ck_assert(mf_pair_fits(&pairs, b.pair + i * 6, k, b.pair[i * 6 + k]));
        mf_batches_free(context, &b);
    }
    uint32_t first[1] = {0};
    ck_assert(!mf_pair_fits(&pairs, first, 1, 1) && !mf_pair_fits(&pairs, first, 1, 3));
    ck_assert(!mf_pair_fits(&pairs, first, 1, 7)); /* whose own semi-positive is tile 0 */
    ck_assert(mf_pair_fits(&pairs, first, 1, 4));
}
END_TEST

/* ---- the loader ---- */

static const mf_augment augment = {.panorama = 1, .flip = 0.5, .colour = 0.5, .brightness = 0.15, .rotate = 0.75};

typedef struct seen {
    pthread_mutex_t lock;
    int count;
    char last[256];
} seen;

static void skipped(void *user, const char *path, const char *why) {
    seen *s = user;
    ck_assert(path && why && *why);
    pthread_mutex_lock(&s->lock);
    s->count++;
    snprintf(s->last, sizeof(s->last), "%s", path);
    pthread_mutex_unlock(&s->lock);
}

/* A hash of all batches from `first` on, pictures and pairs. */
static uint64_t load_all(const mf_batches *b, size_t first, int threads, int ahead, seen *s, size_t *replaced) {
    mf_loader_plan plan = {.pairs = &pairs,
                           .batches = b,
                           .augment = &augment,
                           .size = {[MFRGN_VIEW_GROUND] = {16, 8}, [MFRGN_VIEW_AERIAL] = {12, 12}},
                           .seed = 4,
                           .epoch = 2,
                           .first = first,
                           .threads = threads,
                           .ahead = ahead,
                           .skipped = skipped,
                           .user = s};
    mf_loader *loader;
    mf_loaded_batch batch;
    uint64_t hash = 0;
    ck_assert_int_eq(mf_loader_start(context, &plan, &loader), MFRGN_OK);
    for (size_t i = first; i < b->count; i++) {
        mfrgn_status status = mf_loader_next(loader, &batch);
        ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
        for (size_t k = 0; k < batch.count; k++)
            for (int view = 0; view < 2; view++)
                hash = mf_hash(batch.image[view][k].pixels,
                               (size_t)batch.image[view][k].width * (size_t)batch.image[view][k].height * 3, hash + 1);
        hash = mf_hash(batch.pair, batch.count * sizeof(*batch.pair), hash);
        for (size_t k = 0; k < batch.count; k++)
            ck_assert(mf_pair_fits(&pairs, batch.pair, k, batch.pair[k]));
    }
    *replaced = mf_loader_replaced(loader);
    mf_loader_stop(loader);
    return hash;
}

START_TEST(same_with_any_threads) {
    seen s = {PTHREAD_MUTEX_INITIALIZER, 0, ""};
    size_t replaced;
    make_pairs(50, 1);
    mf_batches b = batches_of(NULL, 8, 0, 1, 2);
    uint64_t one = load_all(&b, 0, 1, 1, &s, &replaced);
    ck_assert(one == load_all(&b, 0, 5, 3, &s, &replaced));
    ck_assert(load_all(&b, 4, 2, 4, &s, &replaced) == load_all(&b, 4, 1, 2, &s, &replaced));
    ck_assert(replaced == 0 && s.count == 0);
    mf_batches_free(context, &b);
}
END_TEST

START_TEST(broken_pictures) {
    seen s = {PTHREAD_MUTEX_INITIALIZER, 0, ""};
    size_t replaced, again;
    make_pairs(40, 1);
    file_text("g3.ppm", "P6 24 12 255 short");
    file_text("a7.ppm", "no picture at all");
    unlink(in_folder("g11.ppm"));
    mf_batches b = batches_of(NULL, 8, 0, 1, 2);
    ck_assert_uint_eq(b.count, 5); /* every pair is in a batch */
    uint64_t one = load_all(&b, 0, 1, 2, &s, &replaced);
    ck_assert_uint_eq(s.count, 3);
    ck_assert_uint_eq(replaced, 3);
    ck_assert(one == load_all(&b, 0, 4, 3, &s, &again) && again == replaced);
    mf_batches_free(context, &b);
}
END_TEST

START_TEST(nothing_readable) {
    seen s = {PTHREAD_MUTEX_INITIALIZER, 0, ""};
    make_pairs(6, 1);
    for (int i = 0; i < 6; i++)
        unlink(in_folder("a%d.ppm", i));
    mf_batches b = batches_of(NULL, 3, 0, 1, 1);
    mf_loader_plan plan = {.pairs = &pairs,
                           .batches = &b,
                           .augment = &augment,
                           .size = {{8, 8}, {8, 8}},
                           .seed = 1,
                           .epoch = 1,
                           .threads = 2,
                           .ahead = 2,
                           .skipped = skipped,
                           .user = &s};
    mf_loader *loader;
    mf_loaded_batch batch;
    ck_assert_int_eq(mf_loader_start(context, &plan, &loader), MFRGN_OK);
    ck_assert_int_eq(mf_loader_next(loader, &batch), MFRGN_ERROR_IO);
    ck_assert_ptr_nonnull(strstr(mfrgn_context_last_error(context), ".ppm"));
    mf_loader_stop(loader);
    mf_batches_free(context, &b);
}
END_TEST

/* Stopping at once, with threads in the middle of pictures. */
START_TEST(stopping) {
    make_pairs(50, 1);
    mf_batches b = batches_of(NULL, 8, 0, 1, 1);
    for (int i = 0; i < 20; i++) {
        mf_loader_plan plan = {.pairs = &pairs,
                               .batches = &b,
                               .augment = &augment,
                               .size = {{16, 8}, {12, 12}},
                               .seed = 1,
                               .epoch = 1,
                               .threads = 3,
                               .ahead = 2};
        mf_loader *loader;
        mf_loaded_batch batch;
        ck_assert_int_eq(mf_loader_start(context, &plan, &loader), MFRGN_OK);
        for (int k = 0; k < i % 3; k++)
            ck_assert_int_eq(mf_loader_next(loader, &batch), MFRGN_OK);
        mf_loader_stop(loader);
    }
    mf_batches_free(context, &b);
}
END_TEST

int main(void) {
    Suite *s = suite_create("sampler");
    TCase *t = tcase_create("sampler");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    suite_add_tcase(s, t);
    tcase_add_test(t, pairs_and_labels);
    tcase_add_test(t, plain_shuffle);
    tcase_add_test(t, one_of_a_place);
    tcase_add_test(t, neighbours_by_place);
    tcase_add_test(t, neighbours_come_first);
    tcase_add_test(t, neighbours_by_similarity);
    tcase_add_test(t, semi_positives);
    tcase_add_test(t, same_with_any_threads);
    tcase_add_test(t, broken_pictures);
    tcase_add_test(t, nothing_readable);
    tcase_add_test(t, stopping);
    return mf_run_suite(s);
}
