/* Counting scores above thresholds.
 *
 * The exact answer is defined by the f64 inner product.  Nearly all of the work is done in f32: |s32 - s64| is at most
 * (size + 4) 2^-24 |q| |r| whatever the order of the sum and whether it is fused (Higham, "Accuracy and Stability of
 * Numerical Algorithms", 3.1), so that a score outside that band round a threshold is decided; the few inside are
 * computed again in f64.
 *
 * A task takes a panel of PANEL references, which it packs 16 by 16 with the values of one dimension side by side, and
 * goes through the queries in blocks of BLOCK: 6 x 16 scores at a time are in registers.  73 GFLOP/s on a core of a
 * Zen 4 (`mfrgn eval --descriptors` of 6,000 x 12,000 x 2048, 1 thread); why this is not the backend's scan:
 * docs/decisions/0015-what-is-not-scanned.md.  Counts of queries are a
 * thread's own and added up at the end: they are integers, so that the order does not matter. */
#include "gallery/rank.h"

#include <float.h>
#include <math.h>

enum { LANES = 16, ROWS = 6, PANEL = 256, BLOCK = 48, MAX_THREADS = 256 };

typedef float vec __attribute__((vector_size(32)));

/* ---- exact ---- */

double mf_dot(const float *a, const float *b, size_t size) {
    double sum[8] = {0};
    size_t i = 0;
    for (; i + 8 <= size; i += 8)
        for (int k = 0; k < 8; k++)
            sum[k] += (double)a[i + (size_t)k] * (double)b[i + (size_t)k];
    for (; i < size; i++)
        sum[i % 8] += (double)a[i] * (double)b[i];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

mfrgn_status mf_matrix_check(mfrgn_context *context, const char *name, mf_matrix *m) {
    m->length = mf_alloc(context, m->count * sizeof(double));
    if (!m->length)
        return mf_fail_memory(context, m->count * sizeof(double), "lengths of descriptors");
    for (size_t i = 0; i < m->count; i++) {
        const float *row = m->data + i * m->size;
        double square = mf_dot(row, row, m->size);
        if (!isfinite(square)) /* a square of finite f32 fits in f64 */
            return mf_fail(context, MFRGN_ERROR_NUMERIC, "%s: descriptor %zu holds a NaN or an infinity", name, i);
        m->length[i] = sqrt(square);
    }
    return MFRGN_OK;
}

void mf_matrix_free(mfrgn_context *context, mf_matrix *m) {
    mf_free(context, m->length);
    m->length = NULL;
}

/* ---- f32 ---- */

static inline __attribute__((always_inline)) void kernel_body(const float *const *q, const float *packed, size_t size,
                                                              float *out, size_t stride) {
    vec sum[ROWS][2] = {{{0}}};
    for (size_t k = 0; k < size; k++, packed += LANES) {
        vec r0 = *(const vec *)(const void *)packed, r1 = *(const vec *)(const void *)(packed + 8);
        for (int i = 0; i < ROWS; i++) {
            sum[i][0] += q[i][k] * r0;
            sum[i][1] += q[i][k] * r1;
        }
    }
    for (int i = 0; i < ROWS; i++)
        memcpy(out + (size_t)i * stride, sum[i], sizeof(sum[i]));
}

typedef void (*kernel)(const float *const *q, const float *packed, size_t size, float *out, size_t stride);

static void kernel_portable(const float *const *q, const float *packed, size_t size, float *out, size_t stride) {
    kernel_body(q, packed, size, out, stride);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void kernel_avx2(const float *const *q, const float *packed, size_t size,
                                                            float *out, size_t stride) {
    kernel_body(q, packed, size, out, stride);
}
#endif

static kernel choose_kernel(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return kernel_avx2;
#endif
    return kernel_portable;
}

/* ---- the work ---- */

/* What a thread has of its own. */
typedef struct worker {
    float *packed; /* a panel */
    float *score;  /* BLOCK x PANEL */
    uint32_t *above, *best;
    double *best_score;
} worker;

typedef struct job {
    mfrgn_context *context;
    const mf_matrix *q, *r;
    kernel run;
    double bound; /* of |s32 - s64| / (|q| |r|) */
    double least; /* and beside it, where products underflow */
    mf_rank *forward, *reverse;
    double *truth; /* exact scores of the forward truth, in its order */
    double *truth_back, *best_back;
    worker *worker;
    size_t panels, next, round; /* next: atomic; the end of this round */
} job;

/* A run of scores of one row: of `count` columns from `first`, `stride` apart. */
typedef struct run {
    const float *score;
    size_t count, stride, first;
    const float *row; /* of this matrix */
    const mf_matrix *other;
    double error; /* of each score */
} run;

static double exact(const run *s, size_t i) {
    return mf_dot(s->row, s->other->data + (s->first + i) * s->other->size, s->other->size);
}

/* f32 bounds that hold for the f64 ones. */
static float float_above(double x) {
    float f = (float)x;
    return (double)f < x ? nextafterf(f, INFINITY) : f;
}

static float float_below(double x) {
    float f = (float)x;
    return (double)f > x ? nextafterf(f, -INFINITY) : f;
}

static uint32_t count_run(const run *s, double threshold) {
    float high = float_above(threshold + s->error), low = float_below(threshold - s->error);
    uint32_t above = 0, inside = 0;
    if (s->stride == 1)
        for (size_t i = 0; i < s->count; i++) {
            above += s->score[i] > high;
            inside += !(s->score[i] < low);
        }
    else
        for (size_t i = 0; i < s->count; i++) {
            above += s->score[i * s->stride] > high;
            inside += !(s->score[i * s->stride] < low);
        }
    if (inside == above)
        return above;
    for (size_t i = 0; i < s->count; i++) {
        float score = s->score[i * s->stride];
        if (!(score < low) && !(score > high))
            above += exact(s, i) > threshold;
    }
    return above;
}

static void best_of_run(const run *s, double *best_score, uint32_t *best) {
    float top = -INFINITY;
    int decided = isfinite(s->error);
    for (size_t i = 0; i < s->count; i++)
        top = s->score[i * s->stride] > top ? s->score[i * s->stride] : top;
    if (decided && (double)top + s->error < *best_score)
        return;
    double least = (double)top - 2 * s->error;
    if (*best_score - s->error > least)
        least = *best_score - s->error;
    for (size_t i = 0; i < s->count; i++) {
        if (decided && (double)s->score[i * s->stride] < least)
            continue;
        double score = exact(s, i);
        uint32_t column = (uint32_t)(s->first + i);
        if (score > *best_score || (score == *best_score && column < *best)) {
            *best_score = score;
            *best = column;
        }
    }
}

static double error_of(const job *j, double a, double b) {
    double product = a * b;
    return product < 1e37 ? j->bound * product + j->least : (double)INFINITY; /* f32 may overflow */
}

static void pack(const job *j, size_t first, size_t count, float *packed) {
    size_t size = j->r->size;
    for (size_t sub = 0; sub < count; sub += LANES) {
        float *to = packed + sub * size;
        for (size_t lane = 0; lane < LANES; lane++) {
            const float *from = sub + lane < count ? j->r->data + (first + sub + lane) * size : NULL;
            for (size_t k = 0; k < size; k++)
                to[k * LANES + lane] = from ? from[k] : 0;
        }
    }
}

static double longest(const mf_matrix *m, size_t first, size_t count) {
    double length = 0;
    for (size_t i = first; i < first + count; i++)
        length = m->length[i] > length ? m->length[i] : length;
    return length;
}

static void take_rows(const job *j, worker *w, size_t q0, size_t rows, size_t r0, size_t columns) {
    double longest_r = longest(j->r, r0, columns);
    for (size_t i = 0; i < rows; i++) {
        size_t q = q0 + i;
        const mf_relation *t = j->forward->truth;
        run s = {w->score + i * PANEL,
                 columns,
                 1,
                 r0,
                 j->q->data + q * j->q->size,
                 j->r,
                 error_of(j, j->q->length[q], longest_r)};
        for (size_t k = t->first[q]; k < t->first[q + 1]; k++)
            w->above[k] += count_run(&s, j->truth[k]);
        if (t->first[q + 1] > t->first[q])
            best_of_run(&s, &w->best_score[q], &w->best[q]);
    }
}

static void take_columns(const job *j, const worker *w, size_t q0, size_t rows, size_t r0, size_t columns) {
    double longest_q = longest(j->q, q0, rows);
    const mf_relation *t = j->reverse->truth;
    for (size_t i = 0; i < columns; i++) {
        size_t r = r0 + i;
        if (t->first[r + 1] == t->first[r])
            continue;
        run s = {
            w->score + i, rows, PANEL, q0, j->r->data + r * j->r->size, j->q, error_of(j, j->r->length[r], longest_q)};
        for (size_t k = t->first[r]; k < t->first[r + 1]; k++)
            j->reverse->above[k] += count_run(&s, j->truth_back[k]);
        best_of_run(&s, &j->best_back[r], &j->reverse->best[r]);
    }
}

static void take_block(const job *j, worker *w, size_t q0, size_t rows, size_t r0, size_t columns) {
    const float *q[ROWS];
    for (size_t sub = 0; sub < columns; sub += LANES)
        for (size_t i = 0; i < rows; i += ROWS) {
            for (size_t k = 0; k < ROWS; k++) /* past the end: the last row again */
                q[k] = j->q->data + (q0 + (i + k < rows ? i + k : rows - 1)) * j->q->size;
            j->run(q, w->packed + sub * j->r->size, j->r->size, w->score + i * PANEL + sub, PANEL);
        }
    take_rows(j, w, q0, rows, r0, columns);
    if (j->reverse)
        take_columns(j, w, q0, rows, r0, columns);
}

static void task(void *arg, int index) {
    job *j = arg;
    worker *w = &j->worker[index];
    size_t panel;
    while ((panel = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED)) < j->round) {
        size_t r0 = panel * PANEL, columns = j->r->count - r0 < PANEL ? j->r->count - r0 : PANEL;
        pack(j, r0, columns, w->packed);
        for (size_t q0 = 0; q0 < j->q->count; q0 += BLOCK)
            take_block(j, w, q0, j->q->count - q0 < BLOCK ? j->q->count - q0 : BLOCK, r0, columns);
    }
}

/* ---- around it ---- */

static size_t links(const mf_relation *r) {
    return r->first[r->queries];
}

static double *truth_scores(const job *j, const mf_relation *t, const mf_matrix *a, const mf_matrix *b) {
    double *score = mf_alloc(j->context, links(t) * sizeof(*score));
    for (size_t i = 0; score && i < t->queries; i++)
        for (size_t k = t->first[i]; k < t->first[i + 1]; k++)
            score[k] = mf_dot(a->data + i * a->size, b->data + t->row[k] * b->size, a->size);
    return score;
}

static int worker_make(const job *j, worker *w) {
    size_t n = j->q->count;
    w->packed = mf_alloc(j->context, (size_t)PANEL * j->r->size * sizeof(float));
    w->score = mf_alloc(j->context, (size_t)BLOCK * PANEL * sizeof(float));
    w->above = mf_calloc(j->context, links(j->forward->truth) + 1, sizeof(uint32_t));
    w->best = mf_calloc(j->context, n, sizeof(uint32_t));
    w->best_score = mf_alloc(j->context, n * sizeof(double));
    if (!w->packed || !w->score || !w->above || !w->best || !w->best_score)
        return 0;
    for (size_t i = 0; i < n; i++)
        w->best_score[i] = -INFINITY;
    return 1;
}

static void worker_free(const job *j, worker *w) {
    mf_free(j->context, w->packed);
    mf_free(j->context, w->score);
    mf_free(j->context, w->above);
    mf_free(j->context, w->best);
    mf_free(j->context, w->best_score);
}

static void gather(const job *j, int threads) {
    mf_rank *f = j->forward;
    memset(f->above, 0, links(f->truth) * sizeof(*f->above));
    for (int t = 0; t < threads; t++)
        for (size_t k = 0; k < links(f->truth); k++)
            f->above[k] += j->worker[t].above[k];
    for (size_t i = 0; i < j->q->count; i++) {
        double best = j->worker[0].best_score[i];
        f->best[i] = j->worker[0].best[i];
        for (int t = 1; t < threads; t++) {
            const worker *w = &j->worker[t];
            if (w->best_score[i] > best || (w->best_score[i] == best && w->best[i] < f->best[i])) {
                best = w->best_score[i];
                f->best[i] = w->best[i];
            }
        }
    }
}

/* A few panels a thread, then a word to the caller. */
static mfrgn_status run_rounds(job *j, int threads, const mfrgn_progress *progress) {
    size_t each = (size_t)threads;
    if (j->q->count < 4096)
        each *= 8;
    for (size_t done = 0; done < j->panels; done = j->round) {
        MF_TRY(mf_progress(j->context, progress, done * PANEL, j->r->count));
        j->round = j->panels - done < each ? j->panels : done + each;
        j->next = done;
        mf_parallel(j->context, threads, task, j);
    }
    return mf_progress(j->context, progress, j->r->count, j->r->count);
}

static mfrgn_status prepare(job *j, int threads) {
    j->truth = truth_scores(j, j->forward->truth, j->q, j->r);
    j->worker = mf_calloc(j->context, (size_t)threads, sizeof(worker));
    int good = j->truth && j->worker;
    for (int t = 0; good && t < threads; t++)
        good = worker_make(j, &j->worker[t]);
    if (good && j->reverse) {
        j->truth_back = truth_scores(j, j->reverse->truth, j->r, j->q);
        j->best_back = mf_alloc(j->context, j->r->count * sizeof(double));
        good = j->truth_back && j->best_back;
        memset(j->reverse->above, 0, links(j->reverse->truth) * sizeof(uint32_t));
        for (size_t i = 0; good && i < j->r->count; i++) {
            j->best_back[i] = -INFINITY;
            j->reverse->best[i] = 0;
        }
    }
    return good ? MFRGN_OK : mf_fail_memory(j->context, j->q->count * 16, "counting ranks");
}

mfrgn_status mf_count_ranks(mfrgn_context *context, const mf_matrix *q, const mf_matrix *r, int threads,
                            const mfrgn_progress *progress, mf_rank *forward, mf_rank *reverse) {
    job j = {.context = context, .q = q, .r = r, .run = choose_kernel(), .forward = forward, .reverse = reverse};
    j.bound = 1.01 * ((double)q->size + 4) * ldexp(1, -24);
    j.least = (double)q->size * ldexp(1, -148);
    j.panels = (r->count + PANEL - 1) / PANEL;
    if (threads < 1)
        threads = mf_core_count();
    if (threads > MAX_THREADS)
        threads = MAX_THREADS;
    if ((size_t)threads > j.panels)
        threads = j.panels ? (int)j.panels : 1;
    mfrgn_status status = prepare(&j, threads);
    if (status == MFRGN_OK)
        status = run_rounds(&j, threads, progress);
    if (status == MFRGN_OK)
        gather(&j, threads);
    for (int t = 0; j.worker && t < threads; t++)
        worker_free(&j, &j.worker[t]);
    mf_free(context, j.worker);
    mf_free(context, j.truth);
    mf_free(context, j.truth_back);
    mf_free(context, j.best_back);
    return status;
}
