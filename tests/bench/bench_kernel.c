/* See bench_kernel.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_kernel.h"

int bench_processor;

double bench_now(void) {
    struct timespec t;
    clock_gettime(bench_processor ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- host ---- */
static void *host_alloc(void *context, size_t bytes) {
    return mf_alloc_huge(context, bytes);
}

static void host_free(void *context, void *p) {
    mf_free(context, p);
}

static void host_parallel(void *context, int tasks, mf_task task, void *arg) {
    mf_parallel(context, tasks, task, arg);
}

static MF_PRINTF(3, 4) mf_status host_fail(void *context, mf_status status, const char *format, ...) {
    (void)context;
    fprintf(stderr, "%s\n", format);
    return status;
}

mf_host bench_host = {sizeof(mf_host), NULL, host_alloc, host_free, host_parallel, host_fail, NULL};

/* ---- peak: 16 independent chains of multiply-adds on every thread ---- */
#if defined(__x86_64__)
#define KEEP(v) __asm__ volatile("" : "+v"(v))
#elif defined(__aarch64__)
#define KEEP(v) __asm__ volatile("" : "+w"(v))
#else
#define KEEP(v) __asm__ volatile("" : "+m"(v))
#endif
enum { PEAK_STEPS = 100000 };
#define PEAK(name, width, attribute)                                                                                   \
    attribute static void peak_##name(void *arg, int index) {                                                          \
        typedef float v __attribute__((vector_size(width)));                                                           \
        v c[14];                                                                                                       \
        float sum = 0;                                                                                                 \
        _Pragma("GCC unroll 14") for (int i = 0; i < 14; i++) c[i] = (float)i - (v){0};                                \
        for (int k = 0; k < PEAK_STEPS; k++) {                                                                              \
            _Pragma("GCC unroll 14") for (int i = 0; i < 14; i++) {                                                    \
                c[i] = c[i] * 0.999f + 0.5f;                                                                           \
                KEEP(c[i]);                                                                                            \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("GCC unroll 14") for (int i = 0; i < 14; i++) sum += c[i][0];                                          \
        ((volatile float *)arg)[index] = sum;                                                                          \
    }
PEAK(portable, 16, )
#if defined(__x86_64__)
PEAK(avx2, 32, __attribute__((target("avx2,fma"))))
PEAK(avx512, 64, __attribute__((target("avx512f"))))
#endif

double bench_peak(const char *isa, int threads) {
    mf_task task = peak_portable;
    int width = 4;
    double best = 1e9;
    float sums[256];
#if defined(__x86_64__)
    if (strcmp(isa, "avx2") == 0) {
        task = peak_avx2;
        width = 8;
    } else if (strcmp(isa, "avx512") == 0) {
        task = peak_avx512;
        width = 16;
    }
#endif
    for (double start = bench_now(); bench_now() - start < 0.5;) {
        double t = bench_now();
        mf_parallel(bench_host.context, threads, task, sums);
        best = fmin(best, bench_now() - t);
    }
    return 2.0 * 14 * PEAK_STEPS * width * threads / best * 1e-9;
}

double bench_bytes(const bench *b) {
    double bytes = (double)mf_operand_count(&b->op.output) * 4;
    for (int i = 0; i < b->op.input_count; i++)
        bytes += (double)mf_operand_count(&b->op.input[i]) * 4;
    return bytes;
}

/* Small numbers; a residual is positive. */
static void fill(const mf_operand *o, int input, void *memory) {
    uint32_t seed = 7 + (uint32_t)input;
    for (int64_t j = 0; j < mf_operand_count(o); j++) {
        seed = seed * 1664525u + 1013904223u;
        if (o->dtype == MF_F32)
            ((float *)memory)[j] = (float)(seed >> 8) / (1 << 24) * 0.2f - (input == 4 ? 0 : 0.1f);
        else if (o->dtype == MF_I64)
            ((int64_t *)memory)[j] = (int64_t)seed;
        else
            ((uint16_t *)memory)[j] = (uint16_t)(0x2c00 + (seed >> 22));
    }
}

bench_time bench_run(const mf_cpu *cpu, const bench *b, double seconds) {
    enum { MOST = 20000 };
    static double time[MOST];
    mf_cpu_kernel *k = NULL;
    mf_kernel_info info;
    void *memory[MF_MAX_INPUTS] = {0}, *packed[MF_MAX_INPUTS] = {0};
    const void *in[MF_MAX_INPUTS] = {0};
    if (mf_cpu_prepare(cpu, &b->op, &k, &info))
        return (bench_time){0, 0};
    void *scratch = host_alloc(bench_host.context, info.scratch_bytes + 64);
    void *out = host_alloc(bench_host.context, (size_t)mf_operand_count(&b->op.output) * 4);
    for (int i = 0; i < b->op.input_count; i++) {
        const mf_operand *o = &b->op.input[i];
        if (o->ndim < 0)
            continue;
        memory[i] = host_alloc(bench_host.context, (size_t)mf_operand_count(o) * mf_dtype_size(o->dtype));
        fill(o, i, memory[i]);
        in[i] = memory[i];
        if (info.pack_bytes[i]) {
            packed[i] = host_alloc(bench_host.context, info.pack_bytes[i]);
            mf_cpu_pack(k, i, memory[i], packed[i]);
            in[i] = packed[i];
        }
    }
    /* as the gradients of weights are added up */
    int in_place = b->op.kind == MF_OP_MATMUL && b->op.attrs.ta && info.residual_in_place && memory[MF_IN_RESIDUAL];
    int n = 0;
    for (double start = bench_now(); n < MOST && (n < 20 || bench_now() - start < seconds); n++) {
        double t = bench_now();
        mf_cpu_run(k, in, in_place ? memory[MF_IN_RESIDUAL] : out, scratch);
        time[n] = bench_now() - t;
    }
    qsort(time, (size_t)n, sizeof(*time), by_size);
    mf_cpu_release(k);
    host_free(bench_host.context, scratch);
    host_free(bench_host.context, out);
    for (int i = 0; i < MF_MAX_INPUTS; i++) {
        host_free(bench_host.context, memory[i]);
        host_free(bench_host.context, packed[i]);
    }
    return (bench_time){time[0], time[n / 2]};
}

void bench_print(const mf_cpu *cpu, const bench *b, double top, bench_time t) {
    double work = b->work > 0 ? b->work : bench_bytes(b);
    printf("%-9s %-44s %9.1f us %7.1f %s, median %7.1f", cpu->isa->name, b->name, t.best * 1e6, work / t.best * 1e-9,
           b->work > 0 ? "GFLOP/s" : "GB/s   ", work / t.median * 1e-9);
    if (b->work > 0)
        printf(", %3.0f %% of peak", 100 * work / t.best * 1e-9 / top);
}
