/* Exact ranks: how many rows score above a threshold. */
#include "gallery/search.h"

enum { ROOM = 256, QUERIES = 1024 };

typedef struct counting {
    const float *rows, *queries, *floor;
    size_t count, size, n;
    int64_t *above;
    const mf_scan *scan;
    const float *norms;
    float norm_max;
    size_t next; /* atomic */
} counting;

static void settle(const counting *c, size_t q) {
    const mf_scan *s = c->scan;
    const float *query = c->queries + q * c->size;
    const mf_scan_item *item = s->item + q * ROOM;
    int64_t found = s->found[q];
    if (!(c->norms[q] < 1e30f && (double)c->norms[q] * c->norm_max < 1e37)) { /* what the scan has counted may have overflowed */
        s->above[q] = 0;
        found = -1;
    }
    if (found >= 0)
        for (int64_t i = 0; i < found; i++)
            s->above[q] += mf_product(query, c->rows + item[i].row * c->size, c->size) > c->floor[q];
    else
        for (size_t i = 0; i < c->count; i++)
            s->above[q] += mf_product(query, c->rows + i * c->size, c->size) > c->floor[q];
    c->above[q] += s->above[q];
}

static void settle_task(void *arg, int task) {
    counting *c = arg;
    size_t q;
    (void)task;
    while ((q = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED)) < c->n)
        settle(c, q);
}

/* Room for a chunk of queries. */
typedef struct chunk_room {
    int64_t found[QUERIES], above[QUERIES];
    float norms[QUERIES], floor[QUERIES];
    mf_scan_item item[QUERIES * ROOM];
} chunk_room;

static mfrgn_status count_chunk(mfrgn_searcher *s, counting *c, const float *row_norms, chunk_room *room) {
    MF_TRY(mf_query_norms(s, c->queries, c->n, c->size, room->norms));
    mf_scan scan = {.kind = MF_SCAN_COUNT,
                    .rows = c->rows,
                    .dtype = MF_F32,
                    .count = (int64_t)c->count,
                    .size = (int64_t)c->size,
                    .norm = row_norms,
                    .queries = c->queries,
                    .query_norm = room->norms,
                    .n = (int64_t)c->n,
                    .k = 1,
                    .room = ROOM,
                    .floor = room->floor,
                    .above = room->above,
                    .item = room->item,
                    .found = room->found};
    for (size_t q = 0; q < c->n; q++) {
        room->floor[q] = c->floor[q];
        room->above[q] = 0;
    }
    MF_TRY(mf_searcher_scan(s, &scan));
    c->scan = &scan;
    c->norms = room->norms;
    c->next = 0;
    mf_parallel(s->context, s->engine.threads, settle_task, c);
    return MFRGN_OK;
}

mfrgn_status mf_count_above(mfrgn_searcher *s, const float *rows, const float *norms, size_t count, size_t size,
                            const float *queries, size_t n, const float *floor, int64_t *above) {
    if (!count || count > UINT32_MAX || !size || size > MF_INDEX_MAX_SIZE)
        return count ? mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "%zu rows of %zu values are too many", count, size)
                     : MFRGN_OK;
    chunk_room *room = mf_alloc(s->context, sizeof(*room));
    if (!room)
        return mf_fail_memory(s->context, sizeof(*room), "ranks");
    counting c = {.rows = rows, .count = count, .size = size};
    for (size_t i = 0; i < count; i++)
        c.norm_max = norms[i] > c.norm_max ? norms[i] : c.norm_max;
    mfrgn_status status = MFRGN_OK;
    for (size_t at = 0; at < n && status == MFRGN_OK; at += QUERIES) {
        c.queries = queries + at * size;
        c.floor = floor + at;
        c.above = above + at;
        c.n = n - at < QUERIES ? n - at : QUERIES;
        status = count_chunk(s, &c, norms, room);
    }
    mf_free(s->context, room);
    return status;
}
