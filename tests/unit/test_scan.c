/* The scan of a gallery, on every instruction set: its scores keep the error that it promises, its lists lose no row. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "backends/cpu/kernel.h"
#include "unit.h"

int mf_cpu_use(mf_cpu *cpu, const char *name);

static void *host_alloc(void *context, size_t bytes) {
    (void)context;
    return aligned_alloc(64, (bytes + 127) / 64 * 64);
}

static void host_free(void *context, void *p) {
    (void)context;
    free(p);
}

typedef struct ticket {
    mf_task task;
    void *arg;
    int index;
} ticket;

static void *run_ticket(void *p) {
    ticket *t = p;
    t->task(t->arg, t->index);
    return NULL;
}

static void host_parallel(void *context, int tasks, mf_task task, void *arg) {
    pthread_t thread[8];
    ticket t[8];
    (void)context;
    for (int i = 0; i < tasks; i++) {
        t[i] = (ticket){task, arg, i};
        ck_assert_int_eq(pthread_create(&thread[i], NULL, run_ticket, &t[i]), 0);
    }
    for (int i = 0; i < tasks; i++)
        pthread_join(thread[i], NULL);
}

static const mf_host host = {sizeof(mf_host), NULL, host_alloc, host_free, host_parallel, NULL, NULL};
static const char *const isa_names[] = {"avx512", "avx2", "portable", "neon"};

enum { MOST = 1200 };

static double noise(void) {
    static uint64_t state = 7;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-52 - 1;
}

typedef struct data {
    int64_t count, size, n;
    mf_dtype dtype;
    void *rows;
    double *exact; /* rows as they are, with their scale */
    float *queries, norm[MOST], scale[MOST], query_norm[700];
} data;

static void make_row(data *d, int64_t r) {
    double sum = 0;
    d->scale[r] = d->dtype == MF_I8 ? 0.004f : 1;
    for (int64_t i = 0; i < d->size; i++) {
        double v = noise();
        int64_t at = r * d->size + i;
        if (d->dtype == MF_I8) {
            ((int8_t *)d->rows)[at] = (int8_t)(v * 127);
            v = (double)((int8_t *)d->rows)[at] * d->scale[r];
        } else if (d->dtype == MF_F16) {
            ((uint16_t *)d->rows)[at] = (uint16_t)(0x3000 + (int)((v + 1) * 1500) + (v < 0 ? 0x8000 : 0));
            v = mf_f16_to_f32(((uint16_t *)d->rows)[at]);
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
    d.rows = malloc((size_t)(count * size) * 4);
    d.exact = malloc((size_t)(count * size) * sizeof(double));
    d.queries = malloc((size_t)(n * size) * sizeof(float));
    for (int64_t r = 0; r < count; r++)
        make_row(&d, r);
    for (int64_t q = 0; q < n; q++) {
        double sum = 0;
        for (int64_t i = 0; i < size; i++) {
            float v = d.queries[q * size + i] = (float)noise();
            sum += (double)v * v;
        }
        d.query_norm[q] = (float)(sqrt(sum) * (1 + 1e-6)) + 1e-30f;
    }
    return d;
}

static double product(const data *d, int64_t q, int64_t r) {
    double sum = 0;
    for (int64_t i = 0; i < d->size; i++)
        sum += d->exact[r * d->size + i] * d->queries[q * d->size + i];
    return sum;
}

static void drop(data *d) {
    free(d->rows);
    free(d->exact);
    free(d->queries);
}

/* rows of the list, or all */
static void run_scan(const mf_cpu *cpu, const data *d, const uint32_t *list, int64_t count, mf_scan *s) {
    mf_scan all = {.struct_size = sizeof(all), .kind = s->kind, .rows = d->rows, .dtype = d->dtype, .count = count,
                   .size = d->size, .list = list, .scale = d->dtype == MF_I8 ? d->scale : NULL, .norm = d->norm,
                   .queries = d->queries, .query_norm = d->query_norm, .n = d->n, .k = s->k, .room = s->room};
    all.floor = malloc((size_t)d->n * sizeof(float));
    all.above = calloc((size_t)d->n, sizeof(int64_t));
    all.item = malloc((size_t)(d->n * s->room) * sizeof(mf_scan_item));
    all.found = malloc((size_t)d->n * sizeof(int64_t));
    for (int64_t q = 0; q < d->n; q++)
        all.floor[q] = s->kind == MF_SCAN_TOP ? -INFINITY : 0;
    void *scratch = aligned_alloc(64, (mf_cpu_scan_scratch(cpu, &all) + 63) / 64 * 64);
    ck_assert_int_eq(mf_cpu_scan(cpu, &all, scratch), 0);
    free(scratch);
    *s = all;
}

static void drop_scan(mf_scan *s) {
    free(s->floor);
    free(s->above);
    free(s->item);
    free(s->found);
}

/* Every row is asked for, so that every score is seen. */
static void check_scores(const mf_cpu *cpu, const data *d, const uint32_t *list, int64_t count) {
    mf_scan s = {.kind = MF_SCAN_TOP, .k = count, .room = 2 * count + 64};
    double error = mf_cpu_scan_error(cpu, d->dtype, d->size);
    run_scan(cpu, d, list, count, &s);
    for (int64_t q = 0; q < d->n; q++) {
        ck_assert_int_eq(s.found[q], count);
        for (int64_t i = 0; i < count; i++) {
            const mf_scan_item *item = &s.item[q * s.room + i];
            double off = fabs(item->score - product(d, q, item->row));
            ck_assert_msg(off <= error * d->query_norm[q] * d->norm[item->row], "%s: off by %g, allowed %g",
                          mf_cpu_isa_name(cpu), off, error * d->query_norm[q] * d->norm[item->row]);
            ck_assert(!list || item->row % 3 == 1);
        }
    }
    drop_scan(&s);
}

static void check_counts(const mf_cpu *cpu, const data *d) {
    mf_scan s = {.kind = MF_SCAN_COUNT, .k = 1, .room = 64};
    run_scan(cpu, d, NULL, d->count, &s);
    for (int64_t q = 0; q < d->n; q++) {
        int64_t above = 0;
        ck_assert_int_ge(s.found[q], 0);
        for (int64_t r = 0; r < d->count; r++)
            above += product(d, q, r) > 0;
        for (int64_t i = 0; i < s.found[q]; i++)
            s.above[q] += product(d, q, s.item[q * s.room + i].row) > 0;
        ck_assert_int_eq(s.above[q], above);
    }
    drop_scan(&s);
}

START_TEST(scores) {
    static const int64_t sizes[] = {1, 5, 16, 33, 130, 512, 600, 2048}, queries[] = {1, 2, 3, 4, 5, 16, 17, 47, 64, 65, 530};
    static const mf_dtype types[] = {MF_F32, MF_F16, MF_I8};
    uint32_t list[MOST];
    mf_cpu cpu;
    mf_cpu_init(&cpu, &host, 3, NULL, NULL);
    if (!mf_cpu_use(&cpu, isa_names[_i]))
        return;
    for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++)
        for (size_t n = 0; n < sizeof(queries) / sizeof(*queries); n++) {
            int64_t count = queries[n] > 100 || sizes[k] > 600 ? 101 : 433, listed = 0;
            data d = make(count, sizes[k], queries[n], types[(k + n) % 3]);
            for (int64_t r = 1; r < count; r += 3)
                list[listed++] = (uint32_t)r;
            check_scores(&cpu, &d, NULL, count);
            check_scores(&cpu, &d, list, listed);
            check_counts(&cpu, &d);
            drop(&d);
        }
}
END_TEST

/* What is pruned away is never among the k best. */
START_TEST(lists) {
    mf_cpu cpu;
    mf_cpu_init(&cpu, &host, 3, NULL, NULL);
    if (!mf_cpu_use(&cpu, isa_names[_i]))
        return;
    for (int64_t n = 1; n < 80; n += 26) {
        data d = make(1200, 24, n, MF_F32);
        mf_scan s = {.kind = MF_SCAN_TOP, .k = 7, .room = 80};
        run_scan(&cpu, &d, NULL, d.count, &s);
        for (int64_t q = 0; q < n; q++) {
            double found[80];
            ck_assert(s.found[q] >= 7 && s.found[q] < 20);
            for (int64_t i = 0; i < s.found[q]; i++)
                found[i] = product(&d, q, s.item[q * s.room + i].row);
            for (int64_t r = 0; r < d.count; r++) {
                double score = product(&d, q, r);
                int better = 0, there = 0;
                for (int64_t i = 0; i < s.found[q]; i++) {
                    better += found[i] > score;
                    there |= s.item[q * s.room + i].row == r;
                }
                ck_assert(there || better >= 7);
            }
        }
        drop_scan(&s);
        drop(&d);
    }
}
END_TEST

START_TEST(selection) {
    float v[200], sorted[200];
    for (int64_t n = 1; n <= 200; n += 7)
        for (int64_t k = 1; k <= n; k += 1 + n / 9) {
            for (int64_t i = 0; i < n; i++)
                v[i] = sorted[i] = k % 3 ? (float)noise() : (float)(int)(noise() * 3);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = i + 1; j < n; j++)
                    if (sorted[j] > sorted[i]) {
                        float t = sorted[i];
                        sorted[i] = sorted[j];
                        sorted[j] = t;
                    }
            ck_assert(mf_scan_select(v, n, k) == sorted[k - 1]);
        }
}
END_TEST

int main(void) {
    Suite *s = suite_create("scan");
    TCase *t = tcase_create("scan");
    tcase_set_timeout(t, 500);
    tcase_add_loop_test(t, scores, 0, MF_SHORT ? 2 : 4);
    tcase_add_loop_test(t, lists, 0, MF_SHORT ? 1 : 4);
    tcase_add_test(t, selection);
    suite_add_tcase(s, t);
    return mf_run_suite(s);
}
