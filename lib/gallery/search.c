/* Exact search: the backend's scan leaves a few candidates of each query, which are ranked by their exact scores; where
 * it cannot tell enough rows apart, every row is.  docs/decisions/0013-exact-search.md */
#include "gallery/search.h"

#include <math.h>
#include <string.h>

#include "io/reader.h"

enum { MAX_K = 1024, MAX_QUERIES = 1024, LIST_BYTES = 128 << 20 };

/* Best first; equal scores by tile. */
static int by_score(const void *a, const void *b) {
    const mfrgn_hit *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->tile > y->tile) - (x->tile < y->tile);
}

typedef struct search {
    const mfrgn_index *index;
    mfrgn_searcher *searcher;
    const uint32_t *list; /* NULL: all */
    size_t count, k;
    /* of a chunk of queries: */
    const float *queries;
    size_t n;
    mf_scan scan;
    mfrgn_hit *hits; /* n x k, the caller's */
    mfrgn_hit *room; /* a thread's: scan.room or 2 k, whichever is more */
    size_t room_size;
    size_t next; /* atomic: the next query to rank */
    size_t one;  /* the query that is ranked in full */
} search;

static void put_hits(const search *s, size_t q, const mfrgn_hit *sorted, size_t found) {
    mfrgn_hit *to = s->hits + q * s->k;
    size_t n = found < s->k ? found : s->k;
    memcpy(to, sorted, n * sizeof(*to));
    for (size_t i = n; i < s->k; i++)
        to[i] = (mfrgn_hit){SIZE_MAX, -2};
}

/* ---- candidates ---- */

static void rank_candidates(const search *s, size_t q, mfrgn_hit *room) {
    const mf_scan_item *item = s->scan.item + (int64_t)q * s->scan.room;
    size_t found = (size_t)s->scan.found[q];
    for (size_t i = 0; i < found; i++)
        room[i] = (mfrgn_hit){item[i].row, mf_score(s->index, s->queries + q * s->index->header.size, item[i].row)};
    mf_sort(room, found, sizeof(*room), by_score);
    put_hits(s, q, room, found);
}

static void rank_task(void *arg, int task) {
    search *s = arg;
    size_t q;
    while ((q = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED)) < s->n)
        if (s->scan.found[q] >= 0)
            rank_candidates(s, q, s->room + (size_t)task * s->room_size);
}

/* ---- every row ---- */

/* A thread's part of the rows: its k best, in room[0 .. k - 1]; unused ones are NaN-free markers as in the result. */
static void full_task(void *arg, int task) {
    search *s = arg;
    size_t threads = (size_t)s->searcher->engine.threads, n = 0;
    size_t begin = s->count / threads * (size_t)task + s->count % threads * (size_t)task / threads;
    size_t end = s->count / threads * ((size_t)task + 1) + s->count % threads * ((size_t)task + 1) / threads;
    mfrgn_hit *room = s->room + (size_t)task * s->room_size;
    const float *query = s->queries + s->one * s->index->header.size;
    float floor = -INFINITY;
    for (size_t i = begin; i < end; i++) {
        size_t row = s->list ? s->list[i] : i;
        float score = mf_score(s->index, query, row);
        if (n >= s->k && !(score > floor)) /* equal ones come later in the order of tiles */
            continue;
        room[n++] = (mfrgn_hit){row, score};
        if (n < 2 * s->k)
            continue;
        mf_sort(room, n, sizeof(*room), by_score);
        n = s->k;
        floor = room[n - 1].score;
    }
    mf_sort(room, n, sizeof(*room), by_score);
    for (; n < s->k; n++)
        room[n] = (mfrgn_hit){SIZE_MAX, -INFINITY};
}

static void rank_all_rows(search *s, size_t q) {
    int threads = s->searcher->engine.threads;
    s->one = q;
    mf_parallel(s->searcher->context, threads, full_task, s);
    /* The parts are in the order of tiles: a merge of sorted lists, the first wins ties. */
    mfrgn_hit *to = s->hits + q * s->k;
    for (size_t i = 0; i < s->k; i++) {
        mfrgn_hit *best = NULL;
        for (int t = 0; t < threads; t++) {
            /* tile of the last room place: how many of this part are taken */
            mfrgn_hit *part = s->room + (size_t)t * s->room_size;
            size_t *taken = &part[s->room_size - 1].tile;
            if (i == 0)
                *taken = 0;
            if (*taken < s->k && part[*taken].tile != SIZE_MAX && (!best || by_score(&part[*taken], best) < 0))
                best = &part[*taken];
        }
        if (!best) {
            to[i] = (mfrgn_hit){SIZE_MAX, -2};
            continue;
        }
        to[i] = *best;
        for (int t = 0; t < threads; t++) {
            mfrgn_hit *part = s->room + (size_t)t * s->room_size;
            if (best >= part && best < part + s->k)
                part[s->room_size - 1].tile++;
        }
    }
}

/* ---- a chunk of queries ---- */

/* Rows that a list may hold.  An int8 row is off by about 1 % of its length: a few hundred of 100,000 stay undecided.
 */
static int64_t list_room(const search *s) {
    int coarse = s->index->header.storage == MFRGN_INDEX_F32_I8;
    return (int64_t)(coarse ? 8 * s->k + 1024 : 2 * s->k + 256);
}

static mfrgn_status scan_chunk(search *s, float *floor, const float *norms) {
    const mfrgn_index *x = s->index;
    for (size_t q = 0; q < s->n; q++)
        floor[q] = -INFINITY;
    s->scan.kind = MF_SCAN_TOP;
    s->scan.rows = x->codes ? x->codes : (const void *)x->f32;
    s->scan.dtype = x->codes ? mf_storage_code(x->header.storage) : MF_F32;
    s->scan.count = (int64_t)s->count;
    s->scan.size = x->header.size;
    s->scan.list = s->list;
    s->scan.scale = x->scale;
    s->scan.norm = x->norm;
    s->scan.residual = x->residual;
    s->scan.queries = s->queries;
    s->scan.query_norm = norms;
    s->scan.n = (int64_t)s->n;
    s->scan.k = (int64_t)s->k;
    s->scan.floor = floor;
    MF_TRY(mf_searcher_scan(s->searcher, &s->scan));
    for (size_t q = 0; q < s->n; q++)
        if (!(norms[q] < 1e30f && (double)norms[q] * x->norm_max < 1e37)) /* the arithmetic may have overflowed */
            s->scan.found[q] = -1;
    return MFRGN_OK;
}

static mfrgn_status search_chunk(search *s, float *floor, const float *norms) {
    MF_TRY(scan_chunk(s, floor, norms));
    int tasks = s->n < 4 && s->n * s->k < 64 ? 1 : s->searcher->engine.threads;
    s->next = 0;
    mf_parallel(s->searcher->context, tasks, rank_task, s);
    for (size_t q = 0; q < s->n; q++)
        if (s->scan.found[q] < 0)
            rank_all_rows(s, q);
    return MFRGN_OK;
}

static mfrgn_status search_all(search *s, const float *queries, size_t n, mfrgn_hit *hits) {
    mfrgn_context *context = s->searcher->context;
    size_t room = (size_t)(s->scan.room = list_room(s)), threads = (size_t)s->searcher->engine.threads;
    size_t chunk = LIST_BYTES / ((threads + 1) * room * sizeof(mf_scan_item));
    chunk = chunk < 16 ? 16 : chunk > MAX_QUERIES ? MAX_QUERIES : chunk;
    chunk = chunk < n ? chunk : n;
    s->room_size = (room > 2 * s->k ? room : 2 * s->k) + 1;
    float *floats = mf_alloc(context, 2 * chunk * sizeof(float));
    s->scan.found = mf_alloc(context, chunk * sizeof(int64_t));
    s->scan.item = mf_alloc(context, chunk * room * sizeof(mf_scan_item));
    s->room = mf_alloc(context, threads * s->room_size * sizeof(*s->room));
    mfrgn_status status = MFRGN_OK;
    if (!floats || !s->scan.found || !s->scan.item || !s->room)
        status = mf_fail_memory(context, chunk * room * sizeof(mf_scan_item), "a search");
    for (size_t at = 0; at < n && status == MFRGN_OK; at += chunk) {
        s->n = n - at < chunk ? n - at : chunk;
        s->queries = queries + at * s->index->header.size;
        s->hits = hits + at * s->k;
        status = mf_query_norms(s->searcher, s->queries, s->n, s->index->header.size, floats + chunk);
        if (status == MFRGN_OK)
            status = search_chunk(s, floats, floats + chunk);
    }
    mf_free(context, floats);
    mf_free(context, s->scan.found);
    mf_free(context, s->scan.item);
    mf_free(context, s->room);
    return status;
}

static mfrgn_status check_queries(mfrgn_context *context, const float *v, size_t n, size_t size) {
    for (size_t q = 0; q < n; q++, v += size) {
        float sum = 0;
        for (size_t i = 0; i < size; i++)
            sum += v[i] * 0;
        for (size_t i = 0; !(sum == 0) && i < size; i++)
            if (!isfinite(v[i]))
                return mf_fail(context, MFRGN_ERROR_NUMERIC, "query %zu: the value at %zu is NaN or infinite", q, i);
    }
    return MFRGN_OK;
}

mfrgn_status mfrgn_index_search(const mfrgn_index *index, mfrgn_searcher *searcher, const float *queries, size_t n,
                                size_t k, const mfrgn_filter *filter, mfrgn_hit *hits) {
    if (!index)
        return MFRGN_ERROR_ARGUMENT;
    if (!searcher || (n && (!queries || !hits)))
        return mf_fail(index->context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_search: searcher, queries or hits is NULL");
    if (k < 1 || k > MAX_K)
        return mf_fail(searcher->context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_search: k is %zu; 1 .. %d", k, MAX_K);
    search s = {.index = index, .searcher = searcher, .k = k};
    uint32_t *list;
    MF_TRY(check_queries(searcher->context, queries, n, index->header.size)); /* before any hit is written */
    MF_TRY(mf_filter_tiles(index, searcher->context, filter, &list, &s.count));
    s.list = list;
    mfrgn_status status = MFRGN_OK;
    if (s.count && n)
        status = search_all(&s, queries, n, hits);
    else
        for (size_t i = 0; i < n * k; i++)
            hits[i] = (mfrgn_hit){SIZE_MAX, -2};
    mf_free(searcher->context, list);
    return status;
}
