/* The dictionaries of neighbours: by place (GPS), by the similarity of descriptors (DSS). */
#include <math.h>

#include "gallery/rank.h"
#include "train/sampler.h"

void mf_neighbours_free(mfrgn_context *context, mf_neighbours *n) {
    mf_free(context, n->label);
    memset(n, 0, sizeof(*n));
}

/* Of a row: candidates with the smallest key on top of a heap's end. */
typedef struct near {
    double key; /* smaller is nearer */
    uint32_t label;
} near;

static int nearer(const near *a, const near *b) {
    return a->key != b->key ? a->key < b->key : a->label < b->label;
}

static void sink(near *heap, size_t n, size_t i) {
    near moved = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && nearer(&heap[child], &heap[child + 1]))
            child++;
        if (!nearer(&moved, &heap[child]))
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

/* Keeps the `room` nearest; the farthest of them is heap[0] once they are full. */
static void offer(near *heap, size_t *n, size_t room, near candidate) {
    if (*n < room) {
        heap[(*n)++] = candidate;
        if (*n == room)
            for (size_t i = room / 2; i-- > 0;)
                sink(heap, room, i);
    } else if (room && nearer(&candidate, &heap[0])) {
        heap[0] = candidate;
        sink(heap, room, 0);
    }
}

static int by_nearness(const void *a, const void *b) {
    return nearer(a, b) ? -1 : nearer(b, a);
}

static void put(near *heap, size_t n, size_t range, uint32_t *label) {
    mf_sort(heap, n, sizeof(*heap), by_nearness);
    for (size_t i = 0; i < range; i++)
        label[i] = i < n ? heap[i].label : UINT32_MAX;
}

typedef void (*products)(const float *const *queries, const float *reference, size_t size, float *out);

typedef struct work {
    const mf_train_pairs *pairs;
    mf_neighbours *out;
    int tasks;
    near *heap; /* range a task, or QUERIES times that */
    /* by place */
    double (*point)[3];
    /* by similarity */
    const mf_descriptors *ground, *aerial;
    products multiply;
    size_t begin;
} work;

static mfrgn_status work_begin(work *w, mfrgn_context *context, size_t rows, size_t range, size_t together) {
    w->tasks = mf_core_count() < 64 ? mf_core_count() : 64;
    w->out->rows = rows;
    w->out->range = range;
    w->out->label = mf_alloc(context, rows * range * sizeof(uint32_t) + 1);
    w->heap = mf_alloc(context, (size_t)w->tasks * together * range * sizeof(near) + 1);
    return w->out->label && w->heap ? MFRGN_OK
                                    : mf_fail_memory(context, rows * range * sizeof(uint32_t), "a list of neighbours");
}

static mfrgn_status work_end(work *w, mfrgn_context *context, mfrgn_status status, mf_neighbours *out) {
    mf_free(context, w->heap);
    mf_free(context, w->point);
    if (status != MFRGN_OK)
        mf_neighbours_free(context, w->out);
    else
        *out = *w->out;
    return status;
}

/* ---- by place ---- */

/* The chord between two points of the unit sphere grows with the great-circle distance, which the haversine gives: the
 * same order without a sine a pair. */
static void place_task(void *arg, int task) {
    work *w = arg;
    size_t n = w->pairs->labels, range = w->out->range;
    near *heap = w->heap + (size_t)task * range;
    for (size_t i = (size_t)task; i < n; i += (size_t)w->tasks) {
        size_t found = 0;
        const double *a = w->point[i];
        for (size_t k = 0; k < n; k++) {
            const double *b = w->point[k];
            double x = a[0] - b[0], y = a[1] - b[1], z = a[2] - b[2];
            double chord = x * x + y * y + z * z;
            if (k != i && (found < range || chord <= heap[0].key))
                offer(heap, &found, range, (near){chord, (uint32_t)k});
        }
        put(heap, found, range, w->out->label + i * range);
    }
}

/* Where a label lies: its aerial picture's centre, or else where its first panorama was taken. */
static mfrgn_status find_points(work *w) {
    const mf_train_pairs *p = w->pairs;
    for (size_t i = 0; i < p->labels; i++) {
        const mf_sample *s = &p->aerial->item[p->aerial_of[i]];
        if (!s->located)
            s = &p->ground->item[p->item[p->of_label[p->first[i]]].ground];
        if (!s->located)
            return mf_fail(p->context, MFRGN_ERROR_ARGUMENT,
                           "sampler: neighbours by place need the places of all pictures, and that of %s is not known",
                           s->path);
        double latitude = s->latitude * 0.017453292519943295769, longitude = s->longitude * 0.017453292519943295769;
        w->point[i][0] = cos(latitude) * cos(longitude);
        w->point[i][1] = cos(latitude) * sin(longitude);
        w->point[i][2] = sin(latitude);
    }
    return MFRGN_OK;
}

mfrgn_status mf_neighbours_by_place(const mf_train_pairs *pairs, size_t range, mf_neighbours *out) {
    mfrgn_context *context = pairs->context;
    mf_neighbours made = {.by_pair = 0};
    work w = {.pairs = pairs, .out = &made};
    range = range < pairs->labels - 1 ? range : pairs->labels - 1;
    mfrgn_status status = work_begin(&w, context, pairs->labels, range, 1);
    if (status == MFRGN_OK && !(w.point = mf_alloc(context, pairs->labels * sizeof(*w.point))))
        status = mf_fail_memory(context, pairs->labels * sizeof(*w.point), "places");
    if (status == MFRGN_OK)
        status = find_points(&w);
    if (status == MFRGN_OK)
        mf_parallel(context, w.tasks, place_task, &w);
    return work_end(&w, context, status, out);
}

/* ---- by similarity ---- */

/* A task takes QUERIES ground descriptors through all labels, TILE of them at a time, which stay in the cache. */
enum { LANES = 16, TOGETHER = 4, QUERIES = 32, TILE = 16 };

static size_t row_of(const mf_descriptors *d, uint32_t item) {
    return d->row ? d->row[item] : item;
}

/* Four inner products at once in a fixed order of their own: the same whatever the threads. */
static inline __attribute__((always_inline)) void products_body(const float *const a[TOGETHER], const float *b,
                                                                size_t size, float out[TOGETHER]) {
    float sum[TOGETHER][LANES] = {{0}};
    size_t i = 0;
    for (; i + LANES <= size; i += LANES)
        for (int q = 0; q < TOGETHER; q++)
            for (int k = 0; k < LANES; k++)
                sum[q][k] += a[q][i + (size_t)k] * b[i + (size_t)k];
    for (int q = 0; q < TOGETHER; q++) {
        float total = 0;
        for (int k = 0; k < LANES; k++)
            total += sum[q][k];
        for (size_t k = i; k < size; k++)
            total += a[q][k] * b[k];
        out[q] = total;
    }
}

static void products_portable(const float *const a[TOGETHER], const float *b, size_t size, float out[TOGETHER]) {
    products_body(a, b, size, out);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void products_avx2(const float *const a[TOGETHER], const float *b,
                                                              size_t size, float out[TOGETHER]) {
    products_body(a, b, size, out);
}
#endif

static products choose_products(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return products_avx2;
#endif
    return products_portable;
}

/* Four pairs against a tile of labels. */
static void compare_tile(const work *w, size_t first, size_t label, size_t end, near *heap, size_t *found) {
    const mf_train_pairs *p = w->pairs;
    size_t size = w->ground->size, range = w->out->range;
    const float *query[TOGETHER];
    int there[TOGETHER];
    for (size_t q = 0; q < TOGETHER; q++) {
        size_t row = first + q < p->count ? row_of(w->ground, p->item[first + q].ground) : UINT32_MAX;
        there[q] = row < UINT32_MAX;
        query[q] = w->ground->data + (there[q] ? row * size : 0);
    }
    for (; label < end; label++) {
        size_t row = row_of(w->aerial, p->aerial_of[label]);
        float score[TOGETHER];
        if (row >= UINT32_MAX)
            continue;
        w->multiply(query, w->aerial->data + row * size, size, score);
        for (size_t q = 0; q < TOGETHER; q++)
            if (there[q] && p->item[first + q].label != label)
                offer(heap + q * range, &found[q], range, (near){-(double)score[q], (uint32_t)label});
    }
}

static void similar_task(void *arg, int task) {
    work *w = arg;
    size_t first = w->begin + (size_t)task * QUERIES, range = w->out->range, found[QUERIES] = {0};
    near *heap = w->heap + (size_t)task * QUERIES * range;
    if (first >= w->pairs->count)
        return;
    for (size_t label = 0; label < w->pairs->labels; label += TILE)
        for (size_t q = 0; q < QUERIES && first + q < w->pairs->count; q += TOGETHER)
            compare_tile(w, first + q, label, label + TILE < w->pairs->labels ? label + TILE : w->pairs->labels,
                         heap + q * range, found + q);
    for (size_t q = 0; q < QUERIES && first + q < w->pairs->count; q++)
        put(heap + q * range, found[q], range, w->out->label + (first + q) * range);
}

mfrgn_status mf_neighbours_by_similarity(const mf_train_pairs *pairs, const mf_descriptors *ground,
                                         const mf_descriptors *aerial, size_t range, const mfrgn_progress *progress,
                                         mf_neighbours *out) {
    mfrgn_context *context = pairs->context;
    mf_neighbours made = {.by_pair = 1};
    work w = {.pairs = pairs, .out = &made, .ground = ground, .aerial = aerial, .multiply = choose_products()};
    range = range < pairs->labels - 1 ? range : pairs->labels - 1;
    mfrgn_status status = work_begin(&w, context, pairs->count, range, QUERIES);
    for (w.begin = 0; w.begin < pairs->count && status == MFRGN_OK; w.begin += (size_t)w.tasks * QUERIES) {
        mf_parallel(context, w.tasks, similar_task, &w);
        status = mf_progress(context, progress, w.begin, pairs->count);
    }
    return work_end(&w, context, status, out);
}
