/* The scan of a gallery on a backend that has memory of its own: scores keep the error that it promises, lists lose no
 * row, counts are right; with lists of rows, every storage, rows that change in place, and little memory. test_scan
 * [backend]; exit status 77: it does not load. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/registry.h"
#include "mfrgn/mfrgn.h"

#define CHECK(expr, ...)                                                                                               \
    do {                                                                                                               \
        if (!(expr)) {                                                                                                 \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #expr);                                                 \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, "\n");                                                                                     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static mfrgn_context *context;
static const mf_loaded *backend;

static double noise(void) {
    static uint64_t state = 7;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-52 - 1;
}

static void *get(size_t bytes) {
    void *p = NULL;
    if (posix_memalign(&p, 64, bytes + 64))
        exit(2);
    return p;
}

/* ---- a gallery ---- */

typedef struct data {
    int64_t count, size, n;
    mf_dtype dtype;
    void *rows;
    double *exact; /* rows as they are, with their scale */
    double *score; /* n x count */
    float *queries, *norm, *residual, *scale, *query_norm;
} data;

static double f16_value(uint16_t h) { /* normal numbers */
    return ldexp((h & 0x3ff) | 0x400, (h >> 10 & 31) - 25) * (h & 0x8000 ? -1 : 1);
}

static void make_row(data *d, int64_t r) {
    double sum = 0;
    d->scale[r] = d->dtype == MF_I8 ? 0.004f * (float)(1 + r % 3) : 1;
    d->residual[r] = 1e-4f * (float)(r % 5);
    for (int64_t i = 0; i < d->size; i++) {
        double v = noise();
        const int64_t at = r * d->size + i;
        if (d->dtype == MF_I8) {
            ((int8_t *)d->rows)[at] = (int8_t)(v * 127);
            v = (double)((int8_t *)d->rows)[at] * d->scale[r];
        } else if (d->dtype == MF_F16) {
            ((uint16_t *)d->rows)[at] = (uint16_t)(0x3000 + (int)((v + 1) * 1500) + (v < 0 ? 0x8000 : 0));
            v = f16_value(((uint16_t *)d->rows)[at]);
        } else {
            v = ((float *)d->rows)[at] = (float)v;
        }
        d->exact[at] = v;
        sum += v * v;
    }
    d->norm[r] = (float)(sqrt(sum) * (1 + 1e-6));
}

static data make(int64_t count, int64_t size, int64_t n, mf_dtype dtype) {
    data d = {.count = count, .size = size, .n = n, .dtype = dtype};
    d.rows = get((size_t)(count * size) * 4);
    d.exact = get((size_t)(count * size) * sizeof(double));
    d.score = get((size_t)(n * count) * sizeof(double));
    d.queries = get((size_t)(n * size) * sizeof(float));
    d.norm = get((size_t)count * sizeof(float));
    d.residual = get((size_t)count * sizeof(float));
    d.scale = get((size_t)count * sizeof(float));
    d.query_norm = get((size_t)n * sizeof(float));
    for (int64_t r = 0; r < count; r++)
        make_row(&d, r);
    for (int64_t q = 0; q < n; q++) {
        double sum = 0;
        for (int64_t i = 0; i < size; i++) {
            const float v = d.queries[q * size + i] = (float)noise();
            sum += (double)v * v;
        }
        d.query_norm[q] = (float)(sqrt(sum) * (1 + 1e-6)) + 1e-30f;
    }
    return d;
}

static void drop(data *d) {
    void *all[] = {d->rows, d->exact, d->score, d->queries, d->norm, d->residual, d->scale, d->query_norm};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        free(all[i]);
}

static void multiply(data *d) {
    for (int64_t q = 0; q < d->n; q++)
        for (int64_t r = 0; r < d->count; r++) {
            double sum = 0;
            for (int64_t i = 0; i < d->size; i++)
                sum += d->exact[r * d->size + i] * d->queries[q * d->size + i];
            d->score[q * d->count + r] = sum;
        }
}

static double product(const data *d, int64_t q, int64_t r) {
    return d->score[q * d->count + r];
}

/* ---- scans ---- */

static mf_stream *open_stream(mf_dtype compute, size_t limit) {
    mf_stream_params params = {.struct_size = sizeof(params), .threads = 1, .compute = compute, .memory_limit = limit};
    mf_stream *s;
    CHECK(!backend->table->stream_open(backend->device, &params, &s), "%s", mfrgn_context_last_error(context));
    return s;
}

static int may_fail; /* for want of memory; then every `found` is -2 */

/* Rows of the list, or all. */
static mf_scan run_scan(mf_stream *stream, const data *d, const uint32_t *list, int64_t count, mf_scan_kind kind,
                        int64_t k, int64_t room, int with_residual) {
    mf_scan s = {.struct_size = sizeof(s),
                 .kind = kind,
                 .rows = d->rows,
                 .dtype = d->dtype,
                 .count = count,
                 .size = d->size,
                 .list = list,
                 .scale = d->dtype == MF_I8 ? d->scale : NULL,
                 .norm = d->norm,
                 .residual = with_residual ? d->residual : NULL,
                 .queries = d->queries,
                 .query_norm = d->query_norm,
                 .n = d->n,
                 .k = k,
                 .room = room};
    s.floor = get((size_t)d->n * sizeof(float));
    s.above = get((size_t)d->n * sizeof(int64_t));
    s.item = get((size_t)(d->n * room) * sizeof(mf_scan_item));
    s.found = get((size_t)d->n * sizeof(int64_t));
    for (int64_t q = 0; q < d->n; q++) {
        s.floor[q] = kind == MF_SCAN_TOP ? -INFINITY : 0;
        s.above[q] = 0;
    }
    const size_t bytes = backend->table->scan_scratch(stream, &s);
    char *scratch = get(bytes + 64);
    memset(scratch, 0xA5, bytes + 64);
    backend->table->stream_begin(stream);
    const mf_status status = backend->table->scan(stream, &s, scratch);
    CHECK(!status || (may_fail && status == MFRGN_ERROR_MEMORY), "%s", mfrgn_context_last_error(context));
    for (int64_t q = 0; status && q < d->n; q++)
        s.found[q] = -2;
    backend->table->stream_end(stream);
    for (size_t i = 0; i < 64; i++)
        CHECK((unsigned char)scratch[bytes + i] == 0xA5, "beside the scratch");
    free(scratch);
    return s;
}

static void drop_scan(mf_scan *s) {
    free(s->floor);
    free(s->above);
    free(s->item);
    free(s->found);
}

/* Every row is asked for, so that every score is seen. */
static void check_scores(mf_stream *stream, const data *d, const uint32_t *list, int64_t count) {
    const double error = backend->table->scan_error(stream, d->dtype, d->size);
    mf_scan s = run_scan(stream, d, list, count, MF_SCAN_TOP, count, 2 * count + 64, 0);
    char *seen = get((size_t)d->count);
    for (int64_t q = 0; q < d->n; q++) {
        CHECK(s.found[q] == count, "%lld of %lld", (long long)s.found[q], (long long)count);
        memset(seen, 0, (size_t)d->count);
        for (int64_t i = 0; i < count; i++) {
            const mf_scan_item *item = &s.item[q * s.room + i];
            CHECK(item->row < d->count && !seen[item->row] && (!list || item->row % 3 == 1), "row %u", item->row);
            seen[item->row] = 1;
            const double off = fabs(item->score - product(d, q, item->row));
            CHECK(off <= error * d->query_norm[q] * d->norm[item->row], "row %u: off by %g of %g", item->row, off,
                  error * d->query_norm[q] * d->norm[item->row]);
        }
    }
    free(seen);
    drop_scan(&s);
}

/* What is pruned away is never among the k best. */
static void check_top(mf_stream *stream, const data *d, const uint32_t *list, int64_t count, int64_t k) {
    mf_scan s = run_scan(stream, d, list, count, MF_SCAN_TOP, k, 2 * k + 128, 1);
    for (int64_t q = 0; q < d->n; q++) {
        CHECK(s.found[q] >= (count < k ? count : k) && s.found[q] <= s.room, "%lld", (long long)s.found[q]);
        int64_t missing = 0, best = 0;
        double least = INFINITY; /* of what was found, the k-th */
        for (int64_t i = 0; i < s.found[q]; i++) {
            const double score = product(d, q, s.item[q * s.room + i].row);
            int64_t better = 0;
            for (int64_t j = 0; j < s.found[q]; j++)
                better += product(d, q, s.item[q * s.room + j].row) > score;
            if (better < k && score < least) {
                least = score;
                best = better + 1;
            }
        }
        for (int64_t i = 0; i < count; i++) {
            const uint32_t row = list ? list[i] : (uint32_t)i;
            int there = 0;
            for (int64_t j = 0; j < s.found[q]; j++)
                there |= s.item[q * s.room + j].row == row;
            missing += !there && product(d, q, row) > least;
        }
        CHECK(missing == 0, "%lld rows are lost, %lld best of %lld", (long long)missing, (long long)best, (long long)k);
        CHECK(count < k || s.floor[q] <= least, "floor");
    }
    drop_scan(&s);
}

static void check_counts(mf_stream *stream, const data *d) {
    mf_scan s = run_scan(stream, d, NULL, d->count, MF_SCAN_COUNT, 1, 64, 0);
    for (int64_t q = 0; q < d->n; q++) {
        int64_t above = 0;
        CHECK(s.found[q] >= 0, "given up");
        for (int64_t r = 0; r < d->count; r++)
            above += product(d, q, r) > 0;
        for (int64_t i = 0; i < s.found[q]; i++)
            s.above[q] += product(d, q, s.item[q * s.room + i].row) > 0;
        CHECK(s.above[q] == above, "%lld, not %lld", (long long)s.above[q], (long long)above);
    }
    drop_scan(&s);
}

/* Rows that nobody can tell apart. */
static void check_duplicates(mf_stream *stream) {
    data d = make(700, 12, 2, MF_F32);
    for (int64_t r = 1; r < d.count; r++) {
        memcpy((float *)d.rows + r * d.size, d.rows, (size_t)d.size * sizeof(float));
        d.norm[r] = d.norm[0];
    }
    mf_scan s = run_scan(stream, &d, NULL, d.count, MF_SCAN_TOP, 3, 70, 0);
    CHECK(s.found[0] == -1 && s.found[1] == -1, "%lld, %lld", (long long)s.found[0], (long long)s.found[1]);
    drop_scan(&s);
    s = run_scan(stream, &d, NULL, 60, MF_SCAN_TOP, 3, 70, 0);
    CHECK(s.found[0] == 60, "%lld", (long long)s.found[0]);
    drop_scan(&s);
    drop(&d);
}

static void check_all(mf_stream *stream, mf_dtype dtype, int64_t count, int64_t size, int64_t n) {
    data d = make(count, size, n, dtype);
    uint32_t *list = get((size_t)count * sizeof(*list));
    int64_t listed = 0;
    multiply(&d);
    for (int64_t r = 1; r < count; r += 3)
        list[listed++] = (uint32_t)r;
    if (count % 2 && listed) /* nothing is kept yet */
        check_top(stream, &d, list, listed, 5);
    check_scores(stream, &d, NULL, count);
    if (listed) /* rows are on the device */
        check_scores(stream, &d, list, listed);
    check_counts(stream, &d);
    for (int64_t r = 1; r < count; r += 37) /* some change where they are */
        make_row(&d, r);
    multiply(&d);
    if (listed)
        check_top(stream, &d, list, listed, 5);
    check_top(stream, &d, NULL, count, 7);
    free(list);
    drop(&d);
}

/* The least memory that a scan can do with leaves no room for the gallery: its rows are copied block by block. */
static void check_streamed(void) {
    data d = make(1100, 40, 3, MF_F16);
    multiply(&d);
    for (size_t limit = 128 << 10;; limit += 16 << 10) {
        mf_stream *stream = open_stream(MF_F32, limit);
        may_fail = 1;
        mf_scan s = run_scan(stream, &d, NULL, d.count, MF_SCAN_TOP, 7, 142, 1);
        may_fail = 0;
        const int enough = s.found[0] != -2;
        drop_scan(&s);
        if (enough) {
            check_top(stream, &d, NULL, d.count, 7);
            check_counts(stream, &d);
            printf("streamed with %zu bytes\n", limit);
        }
        backend->table->stream_close(stream);
        if (enough)
            break;
    }
    drop(&d);
}

int main(int argc, char **argv) {
    static const struct {
        mf_dtype dtype;
        int64_t count, size, n;
    } cases[] = {{MF_F32, 433, 33, 5},  {MF_F16, 1100, 40, 3},  {MF_I8, 600, 130, 17},
                 {MF_F32, 1, 1, 1},     {MF_F16, 101, 7, 50},   {MF_I8, 257, 48, 2},
                 {MF_F32, 300, 512, 4}, {MF_F16, 100, 600, 49}, {MF_F32, 64, 16, 30}};
    char *passed_over = NULL;
    if (mfrgn_context_create(NULL, &context))
        return 2;
    if (mf_backend_open(context, argc > 1 ? argv[1] : "cuda", &backend, &passed_over)) {
        printf("skipped: %s\n", mfrgn_context_last_error(context));
        mfrgn_context_free(context);
        return 77;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    mf_stream *s = open_stream(MF_F32, 0);
    for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
        printf("%d rows of %d, %d queries\n", (int)cases[c].count, (int)cases[c].size, (int)cases[c].n);
        check_all(s, cases[c].dtype, cases[c].count, cases[c].size, cases[c].n);
    }
    check_duplicates(s);
    backend->table->stream_close(s);
    check_streamed();
    mfrgn_context_free(context);
    return 0;
}
