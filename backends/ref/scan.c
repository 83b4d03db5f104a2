/* The scan of a gallery: every product in double, row by row. */
#include "backends/ref/scan.h"

#include "backends/scan.h"

enum { REF_MAX_TASKS = 256 };

static float f16_value(uint16_t h) {
    uint32_t bits = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    float f;
    memcpy(&f, &bits, 4);
    f *= 0x1p112f; /* shifts the exponent's bias, subnormal numbers included */
    memcpy(&bits, &f, 4);
    bits |= sign;
    memcpy(&f, &bits, 4);
    return f;
}

static float value(const mf_scan *s, size_t at) {
    switch (s->dtype) {
    case MF_F16:
        return f16_value(((const uint16_t *)s->rows)[at]);
    case MF_I8:
        return ((const int8_t *)s->rows)[at];
    default:
        return ((const float *)s->rows)[at];
    }
}

/* A product of two f32 is exact in double: what is left is the rounding of at most 65,536 additions in double, some
 * 1e-11, and of the result. */
float ref_scan_error(mf_stream *stream, mf_dtype dtype, int64_t size) {
    (void)stream;
    (void)dtype;
    (void)size;
    return 0x1.01p-24f;
}

typedef struct work {
    const mf_scan *s;
    int tasks;
    mf_scan_lists *lists;
    double *row; /* tasks x size */
} work;

static double product(const double *row, const float *query, int64_t size) {
    double sum[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= size; i += 4)
        for (int k = 0; k < 4; k++)
            sum[k] += row[i + k] * query[i + k];
    for (; i < size; i++)
        sum[0] += row[i] * query[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void scan_task(void *arg, int task) {
    const work *w = arg;
    const mf_scan *s = w->s;
    mf_scan_lists *l = &w->lists[task];
    double *x = w->row + (int64_t)task * s->size;
    for (int64_t i = s->count * task / w->tasks; i < s->count * (task + 1) / w->tasks; i++) {
        uint32_t row = mf_scan_row(s, i);
        float width = mf_scan_width(s, l->error, row);
        for (int64_t c = 0; c < s->size; c++)
            x[c] = value(s, (size_t)row * (size_t)s->size + (size_t)c);
        for (int64_t q = 0; q < s->n; q++) {
            double score = product(x, s->queries + q * s->size, s->size);
            mf_scan_offer(l, q, row, (float)(s->scale ? score * s->scale[row] : score), width);
        }
    }
}

static int tasks_of(const mf_stream *stream, const mf_scan *s) {
    double products = (double)s->count * (double)s->size * (double)s->n;
    int most = stream->threads < REF_MAX_TASKS ? stream->threads : REF_MAX_TASKS;
    return products < 1e5 ? 1 : (int)ref_min(most, s->count);
}

size_t ref_scan_scratch(mf_stream *stream, const mf_scan *s) {
    size_t tasks = (size_t)tasks_of(stream, s);
    return ref_round_up(tasks * sizeof(mf_scan_lists)) + tasks * ref_round_up((size_t)s->size * sizeof(double)) +
           tasks * mf_scan_lists_bytes(s, s->n) + MF_ALIGN;
}

mf_status ref_scan(mf_stream *stream, const mf_scan *s, void *scratch) {
    work w = {s, tasks_of(stream, s), scratch, NULL};
    char *at = (char *)scratch + ref_round_up((size_t)w.tasks * sizeof(*w.lists));
    w.row = (double *)(void *)at;
    at += ref_round_up((size_t)w.tasks * (size_t)s->size * sizeof(double));
    for (int i = 0; i < w.tasks; i++)
        mf_scan_lists_init(&w.lists[i], s, ref_scan_error(stream, s->dtype, s->size), s->n,
                           at + (size_t)i * mf_scan_lists_bytes(s, s->n));
    if (w.tasks == 1)
        scan_task(&w, 0);
    else
        stream->host->parallel(stream->host->context, w.tasks, scan_task, &w);
    for (int64_t q = 0; q < s->n; q++)
        mf_scan_join(w.lists, w.tasks, q);
    return 0;
}
