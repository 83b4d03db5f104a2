/* Speed of the common CPU kernels at the shapes of the network (convnext_base, a 256 x 256 image, batch 1).
 *
 *   bench_cpu [threads [word of a case's name [instruction set [seconds a case]]]]
 *
 * Prints GFLOP/s (best and median of the repetitions; GB/s where nothing is multiplied) and the share of the machine's
 * multiply-add peak, which is measured beside each instruction set.  Weights and maps are warm in cache if they fit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/cpu/kernel.h"
#include "base/base.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
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

static mf_host host = {sizeof(mf_host), NULL, host_alloc, host_free, host_parallel, host_fail, NULL};

/* ---- peak: 16 independent chains of multiply-adds on every thread ---- */
#if defined(__x86_64__)
#define KEEP(v) __asm__ volatile("" : "+v"(v))
#elif defined(__aarch64__)
#define KEEP(v) __asm__ volatile("" : "+w"(v))
#else
#define KEEP(v) __asm__ volatile("" : "+m"(v))
#endif
#define PEAK(name, width, attribute)                                                                                   \
    attribute static void peak_##name(void *arg, int index) {                                                          \
        typedef float v __attribute__((vector_size(width)));                                                           \
        v c[14];                                                                                                       \
        float sum = 0;                                                                                                 \
        _Pragma("GCC unroll 14") for (int i = 0; i < 14; i++)                                                          \
            c[i] = (float)i - (v){0};                                                                                  \
        for (int k = 0; k < 20000; k++) {                                                                             \
            _Pragma("GCC unroll 14") for (int i = 0; i < 14; i++) {                                                    \
                c[i] = c[i] * 0.999f + 0.5f;                                                                           \
                KEEP(c[i]);                                                                                            \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("GCC unroll 14") for (int i = 0; i < 14; i++)                                                          \
            sum += c[i][0];                                                                                            \
        ((volatile float *)arg)[index] = sum;                                                                          \
    }
PEAK(portable, 16, )
#if defined(__x86_64__)
PEAK(avx2, 32, __attribute__((target("avx2,fma"))))
PEAK(avx512, 64, __attribute__((target("avx512f"))))
#endif

static double peak(const char *isa, int threads) {
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
    for (double start = now(); now() - start < 0.5;) {
        double t = now();
        mf_parallel(host.context, threads, task, sums);
        best = fmin(best, now() - t);
    }
    return 2.0 * 14 * 20000 * width * threads / best * 1e-9;
}

/* ---- cases ---- */
typedef struct bench {
    char name[80];
    mf_op op;
    double work; /* floating point operations, or 0: bytes are counted */
} bench;

static bench cases[128];
static int case_count;
static double seconds = 0.3;

static mf_operand shape4(int constant, int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
    mf_operand o = {.dtype = MF_F32, .ndim = ndim, .dim = {a, b, c, d}, .constant = constant};
    return o;
}

static const mf_operand absent = {.ndim = -1};

static bench *add_case(mf_op_kind kind, int inputs) {
    bench *b = &cases[case_count++];
    b->op.kind = kind;
    b->op.input_count = inputs;
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        b->op.input[i] = absent;
    return b;
}

static void matmul(int64_t m, int64_t k, int64_t n, mf_act act, int residual, mf_dtype w, int constant) {
    bench *b = add_case(MF_OP_MATMUL, 5);
    snprintf(b->name, sizeof(b->name), "matmul %ldx%ld->%ld%s%s%s%s", (long)m, (long)k, (long)n,
             act == MF_ACT_GELU ? " gelu" : "", residual ? " residual" : "",
             w == MF_F16 ? " f16" : w == MF_BF16 ? " bf16" : "", constant ? "" : " variable");
    b->op.attrs.tb = 1;
    b->op.attrs.act = act;
    b->op.input[0] = shape4(0, 2, m, k, 0, 0);
    b->op.input[1] = shape4(constant, 2, n, k, 0, 0);
    b->op.input[1].dtype = w;
    b->op.input[2] = shape4(1, 1, n, 0, 0, 0);
    b->op.output = shape4(0, 2, m, n, 0, 0);
    if (residual)
        b->op.input[4] = b->op.output;
    b->work = 2.0 * (double)(m * n * k);
}

static void conv(const char *name, int h, int w, int c, int o, int kh, int kw, int s, int ph, int pw) {
    bench *b = add_case(MF_OP_CONV2D, 3);
    mf_attrs a = {.kernel = {kh, kw}, .stride = {s, s}, .pad = {ph, pw}};
    b->op.attrs = a;
    b->op.input[0] = shape4(0, 4, 1, h, w, c);
    b->op.input[1] = shape4(1, 4, o, c, kh, kw);
    b->op.input[2] = shape4(1, 1, o, 0, 0, 0);
    b->op.output = shape4(0, 4, 1, (h + 2 * ph - kh) / s + 1, (w + 2 * pw - kw) / s + 1, o);
    b->work = 2.0 * (double)mf_operand_count(&b->op.output) * c * kh * kw;
    snprintf(b->name, sizeof(b->name), "conv %s %dx%dx%d->%d %dx%d/%d", name, h, w, c, o, kh, kw, s);
}

static void dwconv(int h, int w, int c, int norm) {
    bench *b = add_case(MF_OP_DWCONV2D, 3);
    mf_attrs a = {.kernel = {7, 7}, .stride = {1, 1}, .pad = {3, 3}, .norm = norm, .eps = 1e-6};
    b->op.attrs = a;
    b->op.input[0] = b->op.output = shape4(0, 4, 1, h, w, c);
    b->op.input[1] = shape4(1, 4, c, 1, 7, 7);
    b->op.input[2] = shape4(1, 1, c, 0, 0, 0);
    b->work = 2.0 * 49 * h * w * c;
    snprintf(b->name, sizeof(b->name), "dwconv 7x7%s %dx%dx%d", norm ? " norm" : "", h, w, c);
}

static void plain(mf_op_kind kind, const char *name, int inputs, int64_t h, int64_t w, int64_t c) {
    bench *b = add_case(kind, inputs);
    b->op.attrs.eps = 1e-6;
    b->op.attrs.groups = 32;
    b->op.input[0] = b->op.output = shape4(0, 4, 1, h, w, c);
    for (int i = 1; i < inputs; i++)
        b->op.input[i] = shape4(1, 1, c, 0, 0, 0);
    snprintf(b->name, sizeof(b->name), "%s %ldx%ldx%ld", name, (long)h, (long)w, (long)c);
}

static void make_cases(void) {
    static const int block[4][2] = {{4096, 128}, {1024, 256}, {256, 512}, {64, 1024}};
    static const mf_dtype types[] = {MF_F32, MF_F16, MF_BF16};
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < 4; i++) {
            int m = block[i][0], c = block[i][1];
            matmul(m, c, 4 * c, MF_ACT_GELU, 0, types[t], 1);
            if (t == 0)
                matmul(m, c, 4 * c, MF_ACT_NONE, 0, types[t], 1);
            matmul(m, 4 * c, c, MF_ACT_NONE, 1, types[t], 1);
        }
    matmul(1024, 512, 2048, MF_ACT_GELU, 0, MF_F32, 1);
    matmul(1024, 2048, 512, MF_ACT_NONE, 1, MF_F32, 1);
    matmul(958, 128, 128, MF_ACT_NONE, 0, MF_F32, 1);
    matmul(958, 128, 1024, MF_ACT_GELU, 0, MF_F32, 1);
    matmul(958, 1024, 128, MF_ACT_NONE, 0, MF_F32, 1);
    matmul(1, 1024, 256, MF_ACT_NONE, 0, MF_F32, 1);
    matmul(256, 512, 2048, MF_ACT_NONE, 0, MF_F32, 0);
    bench *b = add_case(MF_OP_MATMUL, 3);
    b->op.attrs.ta = b->op.attrs.tb = 1;
    b->op.input[0] = shape4(0, 3, 1, 958, 128, 0);
    b->op.input[1] = shape4(1, 2, 14, 958, 0, 0);
    b->op.input[2] = shape4(1, 1, 14, 0, 0, 0);
    b->op.output = shape4(0, 3, 1, 128, 14, 0);
    b->work = 2.0 * 958 * 128 * 14;
    snprintf(b->name, sizeof(b->name), "matmul 958x128 ta ->14");
    conv("stem", 256, 256, 3, 128, 4, 4, 4, 0, 0);
    conv("down", 64, 64, 128, 256, 2, 2, 2, 0, 0);
    conv("down", 32, 32, 256, 512, 2, 2, 2, 0, 0);
    conv("down", 16, 16, 512, 1024, 2, 2, 2, 0, 0);
    conv("S4", 8, 8, 1024, 128, 3, 3, 2, 1, 1);
    conv("prompt", 622, 1, 128, 128, 5, 1, 1, 2, 0);
    conv("resnet", 256, 256, 3, 64, 7, 7, 2, 3, 3);
    conv("resnet", 64, 64, 64, 64, 3, 3, 1, 1, 1);
    conv("gate", 622, 1, 1, 1, 81, 1, 1, 40, 0);
    conv("gate", 32, 32, 1, 1, 9, 9, 1, 4, 4);
    for (int norm = 0; norm < 2; norm++) {
        dwconv(64, 64, 128, norm);
        dwconv(32, 32, 256, norm);
        dwconv(16, 16, 512, norm);
        dwconv(8, 8, 1024, norm);
    }
    plain(MF_OP_LAYERNORM, "layernorm", 3, 64, 64, 128);
    plain(MF_OP_LAYERNORM, "layernorm", 3, 16, 16, 512);
    plain(MF_OP_GROUPNORM, "groupnorm", 3, 32, 32, 128);
    plain(MF_OP_BATCHNORM, "batchnorm", 5, 622, 1, 256);
    plain(MF_OP_ACT, "gelu", 1, 64, 64, 512);
    cases[case_count - 1].op.attrs.act = MF_ACT_GELU;
    plain(MF_OP_ADD, "add", 2, 64, 64, 128);
    cases[case_count - 1].op.input[1] = shape4(0, 4, 1, 64, 64, 128);
    for (int i = 0; i < 2; i++) {
        b = add_case(MF_OP_ATTENTION, 3);
        b->op.attrs.heads = 4;
        b->op.attrs.eps = 1e-6;
        b->op.attrs.attention = (mf_attention)i;
        b->op.input[0] = b->op.output = shape4(0, 3, 1, 336, 128, 0);
        b->op.input[1] = b->op.input[2] = shape4(0, 3, 1, 958, 128, 0);
        b->work = i ? 4.0 * 336 * 958 * 128 : 2.0 * (336 + 958) * 32 * 128;
        snprintf(b->name, sizeof(b->name), "attention %s 336 x 958", i ? "softmax" : "linear");
    }
    b = add_case(MF_OP_PYRAMID_POOL, 1);
    mf_attrs levels = {.level_count = 4, .levels = {{1, 1}, {6, 6}, {12, 12}, {21, 21}}};
    b->op.attrs = levels;
    b->op.input[0] = shape4(0, 4, 1, 32, 32, 256);
    b->op.output = shape4(0, 3, 1, 622, 256, 0);
    snprintf(b->name, sizeof(b->name), "pyramid pool 32x32x256");
    b = add_case(MF_OP_GATED_MEAN, 3);
    b->op.input[0] = shape4(0, 4, 1, 622, 1, 256);
    b->op.input[1] = b->op.output = shape4(0, 3, 1, 1, 256, 0);
    b->op.input[2] = shape4(0, 3, 1, 622, 1, 0);
    snprintf(b->name, sizeof(b->name), "gated mean 622x256");
    plain(MF_OP_CHANNEL_MAX, "channel max", 1, 622, 1, 256);
    cases[case_count - 1].op.output.dim[3] = 1;
}

static void measure(const mf_cpu *cpu, const bench *b, double top) {
    enum { MOST = 20000 };
    static double time[MOST];
    mf_cpu_kernel *k = NULL;
    mf_kernel_info info;
    void *memory[MF_MAX_INPUTS] = {0}, *packed[MF_MAX_INPUTS] = {0};
    const void *in[MF_MAX_INPUTS] = {0};
    if (mf_cpu_prepare(cpu, &b->op, &k, &info))
        return;
    void *scratch = host_alloc(host.context, info.scratch_bytes + 64);
    void *out = host_alloc(host.context, (size_t)mf_operand_count(&b->op.output) * 4);
    double bytes = (double)mf_operand_count(&b->op.output) * 4;
    uint32_t seed = 7;
    for (int i = 0; i < b->op.input_count; i++) {
        const mf_operand *o = &b->op.input[i];
        int64_t n = mf_operand_count(o);
        if (o->ndim < 0)
            continue;
        bytes += (double)n * 4;
        memory[i] = host_alloc(host.context, (size_t)n * 4);
        for (int64_t j = 0; j < n; j++) {
            seed = seed * 1664525u + 1013904223u;
            if (o->dtype == MF_F32)
                ((float *)memory[i])[j] = (float)(seed >> 8) / (1 << 24) * 0.2f - (i == 4 ? 0 : 0.1f);
            else
                ((uint16_t *)memory[i])[j] = (uint16_t)(0x2c00 + (seed >> 22));
        }
        in[i] = memory[i];
        if (info.pack_bytes[i]) {
            packed[i] = host_alloc(host.context, info.pack_bytes[i]);
            mf_cpu_pack(k, i, memory[i], packed[i]);
            in[i] = packed[i];
        }
    }
    int n = 0;
    for (double start = now(); n < MOST && (n < 20 || now() - start < seconds); n++) {
        double t = now();
        mf_cpu_run(k, in, out, scratch);
        time[n] = now() - t;
    }
    qsort(time, (size_t)n, sizeof(*time), by_size);
    double work = b->work > 0 ? b->work : bytes;
    printf("%-9s %-40s %9.1f us %7.1f %s, median %7.1f", cpu->isa->name, b->name, time[0] * 1e6, work / time[0] * 1e-9,
           b->work > 0 ? "GFLOP/s" : "GB/s   ", work / time[n / 2] * 1e-9);
    if (b->work > 0)
        printf(", %3.0f %% of peak", 100 * work / time[0] * 1e-9 / top);
    printf("\n");
    fflush(stdout);
    mf_cpu_release(k);
    host_free(host.context, scratch);
    host_free(host.context, out);
    for (int i = 0; i < MF_MAX_INPUTS; i++) {
        host_free(host.context, memory[i]);
        host_free(host.context, packed[i]);
    }
}

int main(int argc, char **argv) {
    static const char *const isas[] = {"avx512", "avx2", "neon", "portable"};
    mfrgn_context *context = NULL;
    if (mfrgn_context_create(NULL, &context))
        return 1;
    host.context = context;
    int threads = argc > 1 ? atoi(argv[1]) : mf_core_count();
    if (argc > 4)
        seconds = atof(argv[4]);
    make_cases();
    for (size_t i = 0; i < MF_COUNT(isas); i++) {
        mf_cpu cpu;
        mf_cpu_init(&cpu, &host, threads, NULL, NULL);
        if ((argc > 3 && *argv[3] && strcmp(isas[i], argv[3])) || !mf_cpu_use(&cpu, isas[i]))
            continue;
        double top = peak(isas[i], threads);
        printf("%s, %d threads: peak %.1f GFLOP/s\n", isas[i], threads, top);
        for (int c = 0; c < case_count; c++)
            if (argc < 3 || strstr(cases[c].name, argv[2]))
                measure(&cpu, &cases[c], top);
    }
    mfrgn_context_free(context);
    return 0;
}
