/* Where was it taken?  Search, softmax, estimate. */
#include "locate/locate.h"

#include <math.h>
#include <string.h>

typedef struct answer {
    mfrgn_estimate estimate;
    size_t first; /* of its candidates */
} answer;

struct mfrgn_location {
    mfrgn_context *context;
    answer *answer;
    size_t count;
    mfrgn_candidate *candidate;
    size_t candidates;
};

void mfrgn_location_free(mfrgn_location *l) {
    if (!l)
        return;
    mfrgn_context *context = l->context;
    mf_free(context, l->answer);
    mf_free(context, l->candidate);
    mf_free(context, l);
    mfrgn_context_free(context);
}

static mfrgn_status create(mfrgn_context *context, size_t n, size_t k, mfrgn_location **out) {
    mfrgn_location *l = mf_calloc(context, 1, sizeof(*l));
    if (!l)
        return mf_fail_memory(context, sizeof(*l), "an answer");
    l->context = mf_context_ref(context);
    l->count = n;
    l->answer = mf_calloc(context, n + 1, sizeof(*l->answer));
    l->candidate = mf_calloc(context, n + 1, k * sizeof(*l->candidate));
    if (!l->answer || !l->candidate) {
        mfrgn_location_free(l);
        return mf_fail_memory(context, n * k * sizeof(*l->candidate), "answers");
    }
    *out = l;
    return MFRGN_OK;
}

mfrgn_status mf_search_rolls(const mfrgn_index *index, mfrgn_searcher *searcher, const float *queries, int yaw_steps,
                             size_t k, const mfrgn_filter *filter, mfrgn_hit *room, const mfrgn_hit **hits, int *step) {
    MF_TRY(mfrgn_index_search(index, searcher, queries, (size_t)yaw_steps, k, filter, room));
    *step = 0;
    for (int i = 1; i < yaw_steps; i++)
        if (room[(size_t)i * k].score > room[(size_t)*step * k].score)
            *step = i;
    *hits = room + (size_t)*step * k;
    return MFRGN_OK;
}

/* ---- an answer ---- */

typedef struct locator {
    const mfrgn_index *index;
    mfrgn_searcher *searcher;
    mfrgn_locate_options o;
    mf_calibration calibration;
    mfrgn_filter filter;
    size_t hits; /* asked of the search: at least those that the softmax goes over */
    mfrgn_hit *room;
    double *probability;
    mf_place *place;
} locator;

static void estimate(locator *w, const mfrgn_hit *hits, size_t found, mfrgn_estimate *e) {
    double reach = 0;
    size_t n = 0;
    for (size_t i = 0; i < found; i++) {
        mfrgn_tile tile = {.struct_size = sizeof(tile)};
        mfrgn_index_tile(w->index, hits[i].tile, &tile);
        if (!tile.located || !(w->probability[i] > 0))
            continue;
        if (!n) /* tiles that touch the best one; unknown footprints are taken for 50 m */
            reach = 1.5 * (tile.width_m > tile.height_m ? tile.width_m : tile.height_m > 0 ? tile.height_m : 50);
        w->place[n++] = mf_place_of(&tile, w->probability[i]);
    }
    e->located = mf_places_estimate(w->place, n, reach, e);
}

static void answer_query(locator *w, const mfrgn_hit *hits, int step, mfrgn_location *l, size_t query) {
    mfrgn_estimate e = {.struct_size = sizeof(e),
                        .calibrated = w->calibration.fitted,
                        .temperature = w->calibration.temperature,
                        .in_gallery = NAN,
                        .yaw_step = step};
    size_t found = 0;
    while (found < w->hits && hits[found].tile != SIZE_MAX)
        found++;
    mf_softmax(hits, found, &w->calibration, w->probability);
    if (found)
        estimate(w, hits, found, &e);
    if (w->calibration.fitted)
        e.in_gallery = !found ? 0
                              : mf_in_gallery(&w->calibration, hits[0].score,
                                              found > 1 ? (double)hits[0].score - hits[1].score : 0);
    e.has_heading = found && w->o.yaw_steps > 1;
    if (e.has_heading) /* north lies `step` of the steps to the right of the middle */
        e.heading = fmod(360.0 - 360.0 * step / w->o.yaw_steps, 360);
    e.candidates = found < w->o.k ? found : w->o.k;
    l->answer[query] = (answer){e, l->candidates};
    for (size_t i = 0; i < e.candidates; i++)
        l->candidate[l->candidates++] =
            (mfrgn_candidate){sizeof(mfrgn_candidate), hits[i].tile, hits[i].score, w->probability[i]};
}

static mfrgn_status answer_all(locator *w, const float *queries, size_t n, mfrgn_location *l) {
    size_t step_size = (size_t)w->o.yaw_steps * w->index->header.size;
    for (size_t i = 0; i < n; i++) {
        const mfrgn_hit *hits;
        int step;
        MF_TRY(mf_search_rolls(w->index, w->searcher, queries + i * step_size, w->o.yaw_steps, w->hits,
                               w->o.radius_m > 0 ? &w->filter : NULL, w->room, &hits, &step));
        answer_query(w, hits, step, l, i);
    }
    return MFRGN_OK;
}

static mfrgn_status locate(locator *w, const float *queries, size_t n, mfrgn_location **out) {
    mfrgn_context *context = w->searcher->context;
    mfrgn_location *l = NULL;
    MF_TRY(mf_calibration_of(w->index, &w->o, &w->calibration));
    w->hits = w->o.k > w->calibration.pool ? w->o.k : w->calibration.pool;
    w->filter = (mfrgn_filter){.struct_size = sizeof(w->filter),
                               .latitude = w->o.latitude,
                               .longitude = w->o.longitude,
                               .radius_m = w->o.radius_m};
    MF_TRY(create(context, n, w->o.k, &l));
    w->room = mf_alloc(context, (size_t)w->o.yaw_steps * w->hits * sizeof(*w->room));
    w->probability = mf_alloc(context, w->hits * sizeof(double));
    w->place = mf_alloc(context, w->hits * sizeof(*w->place));
    mfrgn_status status =
        w->room && w->probability && w->place
            ? answer_all(w, queries, n, l)
            : mf_fail_memory(context, (size_t)w->o.yaw_steps * w->hits * sizeof(*w->room), "a search");
    mf_free(context, w->room);
    mf_free(context, w->probability);
    mf_free(context, w->place);
    if (status != MFRGN_OK)
        mfrgn_location_free(l);
    else
        *out = l;
    return status;
}

mfrgn_status mfrgn_locate_descriptors(const mfrgn_index *index, mfrgn_searcher *searcher, const float *queries,
                                      size_t n, const mfrgn_locate_options *options, mfrgn_location **location) {
    locator w = {.index = index, .searcher = searcher};
    if (!index)
        return MFRGN_ERROR_ARGUMENT;
    if (!searcher || !location || (n && !queries))
        return mf_fail(index->context, MFRGN_ERROR_ARGUMENT, "mfrgn_locate_descriptors: NULL argument");
    MF_TRY(mf_locate_options(index->context, options, &w.o));
    mfrgn_status status = locate(&w, queries, n, location);
    if (status != MFRGN_OK && searcher->context != index->context)
        mf_fail(index->context, status, "%s", mfrgn_context_last_error(searcher->context));
    return status;
}

static mfrgn_status embed_and_locate(const mfrgn_index *index, mfrgn_session *s, const mfrgn_image *images, size_t n,
                                     const mfrgn_locate_options *o, mfrgn_location **location) {
    locator w = {.index = index, .o = *o};
    size_t bytes;
    if (__builtin_mul_overflow(n * (size_t)o->yaw_steps, index->header.size * sizeof(float), &bytes))
        return mf_fail_memory(s->context, SIZE_MAX, "descriptors");
    float *queries = mf_alloc(s->context, bytes + 1);
    if (!queries)
        return mf_fail_memory(s->context, bytes, "descriptors");
    mfrgn_status status = mfrgn_locate_embed(s, images, n, o, queries);
    if (status == MFRGN_OK)
        status = mf_session_searcher(s, &w.searcher);
    if (status == MFRGN_OK)
        status = locate(&w, queries, n, location);
    mfrgn_searcher_free(w.searcher);
    mf_free(s->context, queries);
    return status;
}

mfrgn_status mfrgn_locate(const mfrgn_index *index, mfrgn_session *session, const mfrgn_image *images, size_t n,
                          const mfrgn_locate_options *options, mfrgn_location **location) {
    mfrgn_locate_options o;
    if (!index)
        return MFRGN_ERROR_ARGUMENT;
    if (!session || !location || (n && !images))
        return mf_fail(index->context, MFRGN_ERROR_ARGUMENT, "mfrgn_locate: NULL argument");
    MF_TRY(mf_locate_options(index->context, options, &o));
    o.precrop = session->precrop;
    MF_TRY(mfrgn_index_check_model(index, session));
    mfrgn_status status = embed_and_locate(index, session, images, n, &o, location);
    if (status != MFRGN_OK && session->context != index->context)
        mf_fail(index->context, status, "%s", mfrgn_context_last_error(session->context));
    return status;
}

/* ---- questions ---- */

size_t mfrgn_location_count(const mfrgn_location *l) {
    return l ? l->count : 0;
}

mfrgn_status mfrgn_location_get(const mfrgn_location *l, size_t query, mfrgn_estimate *e) {
    if (!l)
        return MFRGN_ERROR_ARGUMENT;
    if (query >= l->count || !e || e->struct_size < sizeof(*e))
        return mf_fail(l->context, MFRGN_ERROR_ARGUMENT, "mfrgn_location_get: bad query %zu, estimate or struct_size",
                       query);
    *e = l->answer[query].estimate;
    return MFRGN_OK;
}

mfrgn_status mfrgn_location_candidate(const mfrgn_location *l, size_t query, size_t rank, mfrgn_candidate *c) {
    if (!l)
        return MFRGN_ERROR_ARGUMENT;
    if (query >= l->count || rank >= l->answer[query].estimate.candidates || !c || c->struct_size < sizeof(*c))
        return mf_fail(l->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_location_candidate: bad query %zu, rank %zu, candidate or struct_size", query, rank);
    *c = l->candidate[l->answer[query].first + rank];
    return MFRGN_OK;
}
