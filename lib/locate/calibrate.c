/* Calibrating a gallery with queries whose tiles are known. */
#include <math.h>
#include <string.h>

#include "gallery/geodesy.h"
#include "locate/locate.h"

enum { HITS = MF_POOL + 64, FEWEST = 5 };

typedef struct calibrator {
    const mfrgn_index *index;
    mfrgn_searcher *searcher;
    mfrgn_locate_options o;
    const float *queries;
    const size_t *truth;
    size_t n;
    mfrgn_hit *hits; /* [n x HITS] */
    mfrgn_hit *room; /* of a query's rolls */
    mf_trial *trial;
    double *forecast;         /* [2 n] */
    unsigned char *came_true; /* [2 n] */
} calibrator;

/* 1: the tile shows the place of the true one: it is that, or they overlap by more than a quarter. */
static int shows(const mfrgn_index *index, size_t tile, size_t truth) {
    mfrgn_tile a = {.struct_size = sizeof(a)}, b = a;
    double east, north;
    if (tile == truth)
        return 1;
    mfrgn_index_tile(index, truth, &a);
    mfrgn_index_tile(index, tile, &b);
    if (!a.located || !b.located)
        return 0;
    mf_enu_from_degrees(a.latitude, a.longitude, b.latitude, b.longitude, &east, &north);
    return fabs(east) < 0.75 * a.width_m && fabs(north) < 0.75 * a.height_m;
}

/* The best score and margin without the tiles that show the query's place, over all rolls. */
static void without_truth(const calibrator *w, mf_trial *t, size_t truth) {
    t->no_best = NAN;
    t->no_margin = 0;
    for (int roll = 0; roll < w->o.yaw_steps; roll++) {
        const mfrgn_hit *hits = w->room + (size_t)roll * HITS;
        double first = NAN, second = NAN;
        for (size_t i = 0; i < HITS && hits[i].tile != SIZE_MAX && isnan(second); i++)
            if (!shows(w->index, hits[i].tile, truth)) {
                if (isnan(first))
                    first = hits[i].score;
                else
                    second = hits[i].score;
            }
        if (isnan(first) || first <= t->no_best)
            continue;
        t->no_best = first;
        t->no_margin = isnan(second) ? 0 : first - second;
    }
}

static mfrgn_status try_query(calibrator *w, size_t i) {
    mf_trial *t = &w->trial[i];
    const mfrgn_hit *best;
    mfrgn_hit *kept = w->hits + i * HITS;
    int step;
    MF_TRY(mf_search_rolls(w->index, w->searcher, w->queries + i * (size_t)w->o.yaw_steps * w->index->header.size,
                           w->o.yaw_steps, HITS, NULL, w->room, &best, &step));
    memcpy(kept, best, HITS * sizeof(*kept));
    t->hits = kept;
    t->truth = SIZE_MAX;
    for (t->count = 0; t->count < HITS && kept[t->count].tile != SIZE_MAX; t->count++)
        if (kept[t->count].tile == w->truth[i])
            t->truth = t->count;
    t->best = kept[0].score;
    t->margin = t->count > 1 ? (double)kept[0].score - kept[1].score : 0;
    without_truth(w, t, w->truth[i]);
    return MFRGN_OK;
}

/* ---- errors ---- */

static double loss_of(const mf_trial *t, const mf_calibration *c, double *best) {
    double probability[MF_POOL];
    size_t n = t->count < MF_POOL ? t->count : MF_POOL;
    mf_softmax(t->hits, n, c, probability);
    *best = probability[0];
    return t->truth < n ? -log(probability[t->truth] > 1e-300 ? probability[t->truth] : 1e-300) : NAN;
}

/* Of queries that took no part: those of each fold with what was fitted to the others. */
static void judge(calibrator *w, const mf_calibration *c, mfrgn_calibration *found) {
    mf_calibration plain = {.pool = c->pool, .temperature = MFRGN_DEFAULT_TEMPERATURE, .reach = 1}, fitted = *c;
    size_t folds = w->n < 2000 ? 10 : 2, counted = 0, examples = 0;
    folds = folds < w->n ? folds : w->n;
    for (size_t i = 0; i < w->n; i++) {
        double loss = loss_of(&w->trial[i], &plain, &w->forecast[i]);
        w->came_true[i] = w->trial[i].truth == 0;
        found->accuracy += w->came_true[i];
        found->found += w->trial[i].truth < MF_POOL;
        found->loss_before += isnan(loss) ? 0 : loss;
        counted += !isnan(loss);
    }
    found->accuracy /= (double)w->n;
    found->ece_before = mf_ece(w->forecast, w->came_true, w->n);
    for (size_t f = 0; f < folds; f++) {
        mf_fit(w->trial, w->n, folds, f, &fitted);
        for (size_t i = f; i < w->n; i += folds) {
            double loss = loss_of(&w->trial[i], &fitted, &w->forecast[i]);
            found->loss_after += isnan(loss) ? 0 : loss;
        }
    }
    found->ece_after = mf_ece(w->forecast, w->came_true, w->n);
    found->loss_before = counted ? found->loss_before / (double)counted : NAN;
    found->loss_after = counted ? found->loss_after / (double)counted : NAN;
    for (size_t f = 0; f < folds; f++) {
        mf_fit(w->trial, w->n, folds, f, &fitted);
        for (size_t i = f; i < w->n; i += folds) {
            const mf_trial *t = &w->trial[i];
            w->forecast[examples] = mf_in_gallery(&fitted, t->best, t->margin);
            w->came_true[examples++] = 1;
            if (isnan(t->no_best))
                continue;
            w->forecast[examples] = mf_in_gallery(&fitted, t->no_best, t->no_margin);
            w->came_true[examples++] = 0;
        }
    }
    found->ece_in_gallery = mf_ece(w->forecast, w->came_true, examples);
    found->folds = (int)folds;
}

static mfrgn_status run(calibrator *w, mf_calibration *c, mfrgn_calibration *found) {
    size_t negatives = 0;
    for (size_t i = 0; i < w->n; i++) {
        mfrgn_status status = try_query(w, i);
        if (status != MFRGN_OK)
            return w->searcher->context == w->index->context ? mf_fail_in(w->index->context, status, "query %zu", i)
                                                             : mf_fail(w->index->context, status, "query %zu: %s", i,
                                                                       mfrgn_context_last_error(w->searcher->context));
        negatives += !isnan(w->trial[i].no_best);
    }
    if (!negatives)
        return mf_fail(w->index->context, MFRGN_ERROR_ARGUMENT,
                       "%s: no tile is left to be wrong: a calibration needs tiles of several places", w->index->path);
    mf_fit(w->trial, w->n, 0, 0, c);
    judge(w, c, found);
    return MFRGN_OK;
}

static mfrgn_status check(const mfrgn_index *index, const float *queries, const size_t *truth, size_t n,
                          const mfrgn_calibration *found) {
    if (!queries || !truth || (found && found->struct_size < sizeof(*found)))
        return mf_fail(index->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_index_calibrate: NULL argument, or struct_size is not set");
    if (n < FEWEST)
        return mf_fail(index->context, MFRGN_ERROR_ARGUMENT,
                       "%s: %zu queries; a calibration needs at least %d, better 500", index->path, n, FEWEST);
    for (size_t i = 0; i < n; i++)
        if (truth[i] >= index->header.count)
            return mf_fail(index->context, MFRGN_ERROR_ARGUMENT,
                           "query %zu: its true tile is %zu; the gallery has %llu", i, truth[i],
                           (unsigned long long)index->header.count);
    return MFRGN_OK;
}

static mfrgn_status calibrate(calibrator *w, mf_calibration *c, mfrgn_calibration *found) {
    mfrgn_context *context = w->index->context;
    w->hits = mf_calloc(context, w->n, HITS * sizeof(*w->hits));
    w->room = mf_calloc(context, (size_t)w->o.yaw_steps, HITS * sizeof(*w->room));
    w->trial = mf_calloc(context, w->n, sizeof(*w->trial));
    w->forecast = mf_calloc(context, w->n, 2 * sizeof(double));
    w->came_true = mf_calloc(context, w->n, 2);
    mfrgn_status status = w->hits && w->room && w->trial && w->forecast && w->came_true
                              ? run(w, c, found)
                              : mf_fail_memory(context, w->n * HITS * sizeof(*w->hits), "a calibration");
    mf_free(context, w->hits);
    mf_free(context, w->room);
    mf_free(context, w->trial);
    mf_free(context, w->forecast);
    mf_free(context, w->came_true);
    return status;
}

mfrgn_status mfrgn_index_calibrate(const mfrgn_index *index, mfrgn_searcher *searcher, const float *queries,
                                   const size_t *truth, size_t n, const mfrgn_locate_options *options,
                                   mfrgn_calibration *found) {
    calibrator w = {.index = index, .searcher = searcher, .queries = queries, .truth = truth, .n = n};
    mfrgn_calibration all = {.struct_size = sizeof(all), .queries = n};
    unsigned char record[MF_CALIBRATION_BYTES];
    if (!index)
        return MFRGN_ERROR_ARGUMENT;
    if (!searcher)
        return mf_fail(index->context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_calibrate: the searcher is NULL");
    MF_TRY(check(index, queries, truth, n, found));
    MF_TRY(mf_locate_options(index->context, options, &w.o));
    mf_calibration c = {.pool = MF_POOL,
                        .yaw_steps = (uint32_t)w.o.yaw_steps,
                        .precrop = (uint32_t)w.o.precrop,
                        .fov = mf_camera_fov(&w.o)};
    MF_TRY(calibrate(&w, &c, &all));
    mf_calibration_encode(&c, record);
    MF_TRY(mf_index_set_calibration(index, record, sizeof(record)));
    all.temperature = c.temperature;
    all.reach = c.reach;
    all.bias = c.bias;
    all.score_weight = c.score_weight;
    all.margin_weight = c.margin_weight;
    if (found)
        *found = all;
    return MFRGN_OK;
}
