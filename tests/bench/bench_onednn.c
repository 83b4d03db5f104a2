/* oneDNN against the common CPU kernels, shape by shape, in one run: the figures behind backends/onednn/rules.c.
 *
 *   bench_onednn [-t threads] [-s seconds a shape] [-i isa] [-p] [-c] [section ..]
 *
 * Sections: create gemm batch narrow head conv dw.  Both kernels run on the same OpenMP threads of one stream, in
 * turns; the figure is the fastest run of each.  -i: the instruction set of the common kernels (avx512, avx2,
 * portable); oneDNN's: DNNL_MAX_CPU_ISA=AVX2.  -p: processor time, for one thread on a machine that is busy.  -c
 * compares both with `ref`.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <time.h>
#include <sys/mman.h>

#include "backends/onednn/onednn.h"

const mf_backend *mf_backend_ref_table(void);

static double seconds_per_shape = 0.3;
static int compare_with_ref;
static mf_device *device, *ref_device;
static mf_stream *stream, *ref_stream;

static clockid_t clock_used = CLOCK_MONOTONIC;

static double now(void) {
    struct timespec t;
    clock_gettime(clock_used, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- a host ---- */
static void *host_alloc(void *context, size_t bytes) {
    void *p = NULL;
    (void)context;
    return posix_memalign(&p, MF_ALIGN, bytes ? bytes : 1) == 0 ? p : NULL;
}
static void host_free(void *context, void *p) {
    (void)context;
    free(p);
}
static void host_parallel(void *context, int tasks, mf_task task, void *arg) {
    (void)context;
    for (int i = 0; i < tasks; i++)
        task(arg, i);
}
static __attribute__((format(printf, 3, 4))) mf_status host_fail(void *context, mf_status status, const char *format,
                                                                 ...) {
    va_list args;
    (void)context;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return status;
}
static __attribute__((format(printf, 3, 4))) void host_log(void *context, int level, const char *format, ...) {
    (void)context, (void)level, (void)format;
}
static const mf_host host = {sizeof(mf_host), NULL, host_alloc, host_free, host_parallel, host_fail, host_log};

/* ---- operands ---- */
static void operand(mf_operand *o, int constant, int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
    memset(o, 0, sizeof(*o));
    o->ndim = ndim;
    o->dim[0] = a, o->dim[1] = b, o->dim[2] = c, o->dim[3] = d;
    o->constant = constant;
}

static mf_op product(int64_t m, int64_t k, int64_t n, mf_act act, int residual) {
    mf_op op = {.kind = MF_OP_MATMUL, .input_count = 5};
    op.attrs.tb = 1;
    op.attrs.act = act;
    operand(&op.input[0], 0, 2, m, k, 0, 0);
    operand(&op.input[1], 1, 2, n, k, 0, 0);
    operand(&op.input[2], 1, 1, n, 0, 0, 0);
    operand(&op.input[3], 1, -1, 0, 0, 0, 0);
    operand(&op.input[4], 0, residual ? 2 : -1, m, n, 0, 0);
    operand(&op.output, 0, 2, m, n, 0, 0);
    return op;
}

static mf_op conv(int n, int h, int w, int c, int o, int kh, int kw, int s, int ph, int pw, mf_act act) {
    mf_op op = {.kind = MF_OP_CONV2D, .input_count = 5};
    op.attrs.act = act;
    op.attrs.kernel[0] = kh, op.attrs.kernel[1] = kw;
    op.attrs.stride[0] = op.attrs.stride[1] = s;
    op.attrs.pad[0] = ph, op.attrs.pad[1] = pw;
    operand(&op.input[0], 0, 4, n, h, w, c);
    operand(&op.input[1], 1, 4, o, c, kh, kw);
    operand(&op.input[2], 1, 1, o, 0, 0, 0);
    operand(&op.input[3], 1, -1, 0, 0, 0, 0);
    operand(&op.input[4], 0, -1, 0, 0, 0, 0);
    operand(&op.output, 0, 4, n, (h + 2 * ph - kh) / s + 1, (w + 2 * pw - kw) / s + 1, o);
    return op;
}

static mf_op depthwise(int n, int h, int w, int c, int norm) {
    mf_op op = {.kind = MF_OP_DWCONV2D, .input_count = 5};
    op.attrs.kernel[0] = op.attrs.kernel[1] = 7;
    op.attrs.stride[0] = op.attrs.stride[1] = 1;
    op.attrs.pad[0] = op.attrs.pad[1] = 3;
    op.attrs.norm = norm;
    op.attrs.eps = 1e-6;
    operand(&op.input[0], 0, 4, n, h, w, c);
    operand(&op.input[1], 1, 4, c, 1, 7, 7);
    operand(&op.input[2], 1, 1, c, 0, 0, 0);
    operand(&op.input[3], 1, norm ? 1 : -1, c, 0, 0, 0);
    operand(&op.input[4], 1, norm ? 1 : -1, c, 0, 0, 0);
    operand(&op.output, 0, 4, n, h, w, c);
    return op;
}

static mf_op layernorm(int64_t rows, int64_t c) {
    mf_op op = {.kind = MF_OP_LAYERNORM, .input_count = 3};
    op.attrs.eps = 1e-6;
    operand(&op.input[0], 0, 2, rows, c, 0, 0);
    operand(&op.input[1], 1, 1, c, 0, 0, 0);
    operand(&op.input[2], 1, 1, c, 0, 0, 0);
    operand(&op.output, 0, 2, rows, c, 0, 0);
    return op;
}

static double flops(const mf_op *op) {
    const mf_operand *w = &op->input[1];
    double per = op->kind == MF_OP_MATMUL ? (double)w->dim[1] : (double)(w->dim[1] * w->dim[2] * w->dim[3]);
    return 2.0 * per * (double)mf_operand_count(&op->output);
}

/* ---- one side: the library's own or the common kernel ---- */
typedef struct side {
    int kind; /* 0 oneDNN, 1 common, 2 ref */
    mf_product dnn;
    mf_cpu_kernel *cpu;
    mf_kernel *ref;
    mf_kernel_info info;
    const void *input[MF_MAX_INPUTS];
    void *packed[MF_MAX_INPUTS], *scratch, *output;
    double best, create;
} side;

static int side_open(side *s, int kind, const mf_op *op, void *const *plain) {
    memset(s, 0, sizeof(*s));
    s->kind = kind;
    s->best = INFINITY;
    double t = now();
    int r = kind == 0   ? mf_product_prepare(stream, op, &s->dnn, &s->info)
            : kind == 1 ? mf_cpu_prepare(&stream->cpu, op, &s->cpu, &s->info)
                        : mf_backend_ref_table()->prepare(ref_stream, op, &s->ref, &s->info);
    s->create = now() - t;
    if (r)
        return r;
    for (int i = 0; i < op->input_count; i++) {
        s->input[i] = plain[i];
        if (plain[i] && s->info.pack_bytes[i]) {
            s->input[i] = s->packed[i] = host_alloc(NULL, s->info.pack_bytes[i]);
            r = kind == 0   ? mf_product_pack(&s->dnn, plain[i], s->packed[i])
                : kind == 1 ? mf_cpu_pack(s->cpu, i, plain[i], s->packed[i])
                            : mf_backend_ref_table()->pack(s->ref, i, plain[i], s->packed[i]);
        }
    }
    s->scratch = host_alloc(NULL, s->info.scratch_bytes);
    s->output = host_alloc(NULL, (size_t)mf_operand_count(&op->output) * sizeof(float));
    memset(s->output, 0, (size_t)mf_operand_count(&op->output) * sizeof(float));
    return r;
}

static int side_run(side *s, void *output) {
    return s->kind == 0   ? mf_product_run(&s->dnn, s->input, output, s->scratch)
           : s->kind == 1 ? mf_cpu_run(s->cpu, s->input, output, s->scratch)
                          : mf_backend_ref_table()->run(s->ref, s->input, output, s->scratch);
}

/* residual: the output is the residual's buffer, as the memory plan has it */
static void side_time(side *s) {
    double t = now();
    side_run(s, s->output);
    t = now() - t;
    s->best = t < s->best ? t : s->best;
}

static void side_close(side *s) {
    if (s->kind == 0)
        mf_product_release(&s->dnn);
    else if (s->kind == 1)
        mf_cpu_release(s->cpu);
    else
        mf_backend_ref_table()->release(s->ref);
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        free(s->packed[i]);
    free(s->scratch);
    free(s->output);
}

static void fill(const mf_op *op, void **plain) {
    uint32_t x = 12345;
    for (int i = 0; i < op->input_count; i++) {
        int64_t count = mf_operand_count(&op->input[i]);
        plain[i] = NULL;
        if (op->input[i].ndim < 0)
            continue;
        float *p = plain[i] = host_alloc(NULL, (size_t)count * sizeof(float));
        float scale = i == 1 ? 2.0f / sqrtf((float)(flops(op) / 2.0 / (double)mf_operand_count(&op->output))) : 2.0f;
        for (int64_t j = 0; j < count; j++) {
            x = x * 1664525u + 1013904223u;
            p[j] = scale * ((float)(x >> 8) / 16777216.0f - 0.5f);
        }
    }
}

static double difference(const mf_op *op, const side *a, const side *b) {
    const float *p = a->output, *q = b->output;
    double worst = 0.0;
    for (int64_t i = 0; i < mf_operand_count(&op->output); i++) {
        double d = fabs((double)p[i] - (double)q[i]) / (1.0 + fabs((double)q[i]));
        worst = d > worst || isnan(d) ? d : worst;
    }
    return worst;
}

static void report(const char *name, const mf_op *op) {
    void *plain[MF_MAX_INPUTS] = {0};
    side side_of[3] = {{0}};
    int open[3] = {0}, residual = op->kind != MF_OP_DWCONV2D && op->input[MF_IN_RESIDUAL].ndim >= 0;
    fill(op, plain);
    for (int i = 0; i < 2 + compare_with_ref; i++)
        open[i] = (i == 1   ? mf_cpu_supports(&stream->cpu, op)
                   : i == 0 ? mf_onednn_able(op)
                            : 1) &&
                  side_open(&side_of[i], i, op, plain) == 0;
    printf("%-30s", name);
    if (compare_with_ref && open[2]) {
        side_run(&side_of[2], side_of[2].output);
        for (int i = 0; i < 2; i++)
            if (open[i]) {
                side_run(&side_of[i], side_of[i].output);
                double apart = difference(op, &side_of[i], &side_of[2]);
                if (residual) { /* and with the residual in place */
                    const void *was = side_of[i].input[MF_IN_RESIDUAL];
                    memcpy(side_of[i].output, was, (size_t)mf_operand_count(&op->output) * sizeof(float));
                    side_of[i].input[MF_IN_RESIDUAL] = side_of[i].output;
                    side_run(&side_of[i], side_of[i].output);
                    double same = difference(op, &side_of[i], &side_of[2]);
                    side_of[i].input[MF_IN_RESIDUAL] = was;
                    apart = same > apart ? same : apart;
                }
                printf(" %s %.1e", i ? "common" : "oneDNN", apart);
            }
    }
    for (int i = 0; i < 2; i++)
        if (open[i] && residual) {
            memset(side_of[i].output, 0, (size_t)mf_operand_count(&op->output) * sizeof(float));
            side_of[i].input[MF_IN_RESIDUAL] = side_of[i].output;
        }
    double start = now();
    for (int round = 0; round < 3 || now() - start < seconds_per_shape; round++)
        for (int i = 0; i < 2; i++)
            if (open[i])
                for (int again = 0; again < 3; again++)
                    side_time(&side_of[i]);
    for (int i = 0; i < 2; i++)
        if (open[i])
            printf("  %s %8.3f ms %6.1f GFLOP/s", i ? "common" : "oneDNN", side_of[i].best * 1e3,
                   flops(op) / side_of[i].best * 1e-9);
    if (open[0] && open[1])
        printf("  x%.2f", side_of[1].best / side_of[0].best);
    if (open[0])
        printf("  %s, created in %.2f ms", mf_product_implementation(&side_of[0].dnn), side_of[0].create * 1e3);
    printf("\n");
    for (int i = 0; i < 3; i++)
        if (open[i])
            side_close(&side_of[i]);
    for (int i = 0; i < op->input_count; i++)
        free(plain[i]);
}

static void gemm(int batch, int width) {
    char name[64];
    for (int stage = 0; stage < 4; stage++) {
        int64_t m = (int64_t)batch * (4096 >> (2 * stage)), c = (int64_t)width << stage;
        mf_op up = product(m, c, 4 * c, MF_ACT_GELU, 0), down = product(m, 4 * c, c, MF_ACT_NONE, 1);
        snprintf(name, sizeof(name), "%lld x %lld -> %lld GELU", (long long)m, (long long)c, (long long)(4 * c));
        report(name, &up);
        snprintf(name, sizeof(name), "%lld x %lld -> %lld residual", (long long)m, (long long)(4 * c), (long long)c);
        report(name, &down);
    }
}

static void head(void) {
    mf_op a = product(958, 128, 128, MF_ACT_NONE, 0), b = product(958, 128, 1024, MF_ACT_NONE, 0);
    mf_op c = product(958, 128, 512, MF_ACT_RELU, 1), d = product(1, 1024, 256, MF_ACT_RELU, 0);
    mf_op e = product(64, 96, 3, MF_ACT_GELU, 1), f = product(8, 1024, 1024, MF_ACT_NONE, 0);
    report("958 x 128 -> 128", &a);
    report("958 x 128 -> 1024", &b);
    report("958 x 128 -> 512 ReLU, residual", &c);
    report("1 x 1024 -> 256 ReLU", &d);
    report("8 x 1024 -> 1024", &f);
    report("64 x 96 -> 3 GELU, residual", &e);
}

static void convs(void) {
    const struct {
        const char *name;
        mf_op op;
    } list[] = {
        {"stem 4x4s4 256x256", conv(1, 256, 256, 3, 128, 4, 4, 4, 0, 0, MF_ACT_NONE)},
        {"2x2s2 64x64 128 -> 256", conv(1, 64, 64, 128, 256, 2, 2, 2, 0, 0, MF_ACT_NONE)},
        {"2x2s2 32x32 256 -> 512", conv(1, 32, 32, 256, 512, 2, 2, 2, 0, 0, MF_ACT_NONE)},
        {"2x2s2 16x16 512 -> 1024", conv(1, 16, 16, 512, 1024, 2, 2, 2, 0, 0, MF_ACT_NONE)},
        {"batch 8: stem", conv(8, 256, 256, 3, 128, 4, 4, 4, 0, 0, MF_ACT_NONE)},
        {"batch 8: 2x2s2 32x32 256 -> 512", conv(8, 32, 32, 256, 512, 2, 2, 2, 0, 0, MF_ACT_NONE)},
        {"3x3 56x56 64 ReLU", conv(1, 56, 56, 64, 64, 3, 3, 1, 1, 1, MF_ACT_RELU)},
        {"3x3 14x14 256 ReLU", conv(1, 14, 14, 256, 256, 3, 3, 1, 1, 1, MF_ACT_RELU)},
        {"3x3s2 56x56 128", conv(1, 56, 56, 128, 128, 3, 3, 2, 1, 1, MF_ACT_RELU)},
        {"7x7s2 224x224 3 -> 64 ReLU", conv(1, 224, 224, 3, 64, 7, 7, 2, 3, 3, MF_ACT_RELU)},
        {"1x1s2 56x56 256 -> 512", conv(1, 56, 56, 256, 512, 1, 1, 2, 0, 0, MF_ACT_NONE)},
        {"5x1 pad 2: 958x1 128", conv(1, 958, 1, 128, 128, 5, 1, 1, 2, 0, MF_ACT_NONE)},
        {"1x5 pad 2: 1x958 128", conv(1, 1, 958, 128, 128, 1, 5, 1, 0, 2, MF_ACT_NONE)},
        {"odd: 3x3s2 9x7 5 -> 6 GELU", conv(3, 9, 7, 5, 6, 3, 3, 2, 1, 1, MF_ACT_GELU)},
        {"odd: 4x4s4 10x11 3 -> 20", conv(2, 10, 11, 3, 20, 4, 4, 4, 0, 0, MF_ACT_NONE)},
    };
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        report(list[i].name, &list[i].op);
}

/* The depthwise convolution with its norm: fused by the common kernels, or by oneDNN and then the common norm. */
static void dw(int batch) {
    for (int stage = 0; stage < 4; stage++) {
        int size = 64 >> stage, c = 128 << stage;
        mf_op plain = depthwise(batch, size, size, c, 0), fused = depthwise(batch, size, size, c, 1);
        mf_op norm = layernorm((int64_t)batch * size * size, c);
        char name[64];
        snprintf(name, sizeof(name), "7x7 %dx%dx%dx%d", batch, size, size, c);
        report(name, &plain);
        if (!mf_cpu_supports(&stream->cpu, &fused))
            continue;
        void *in[MF_MAX_INPUTS] = {0};
        side a = {0}, b = {0}, n = {0};
        fill(&fused, in);
        void *norm_in[] = {in[0], in[3], in[4]};
        if (side_open(&a, 0, &plain, in) || side_open(&b, 1, &fused, in) || side_open(&n, 1, &norm, norm_in))
            return;
        n.input[0] = a.output;
        double both = INFINITY, start = now();
        while (now() - start < seconds_per_shape) {
            side_time(&b);
            double t = now();
            side_run(&a, a.output);
            side_run(&n, a.output); /* in place */
            t = now() - t;
            both = t < both ? t : both;
        }
        side_run(&a, a.output);
        side_run(&n, n.output);
        printf("  with norm: oneDNN, then common norm %.3f ms; common, fused %.3f ms  x%.2f  apart %.1e\n", both * 1e3,
               b.best * 1e3, b.best / both, difference(&fused, &n, &b));
        side_close(&a);
        side_close(&b);
        side_close(&n);
        for (int i = 0; i < fused.input_count; i++)
            free(in[i]);
    }
}

/* as the library's own: huge pages, which halve what the first touch costs */
static void *huge_alloc(size_t bytes) {
    enum { HUGE_PAGE = 2 << 20 };
    void *p = NULL;
    if (bytes < HUGE_PAGE || posix_memalign(&p, HUGE_PAGE, bytes) != 0)
        return host_alloc(NULL, bytes);
    madvise(p, bytes, MADV_HUGEPAGE);
    return p;
}

/* What a session pays once: the kernels that oneDNN has in convnext_base at 256x256 (36 blocks, stem, downsampling),
 * and packing their weights. */
static void create(void) {
    static mf_product all[80];
    static size_t plain_bytes[80], packed_bytes[80];
    mf_kernel_info info;
    const int depth[4] = {3, 3, 27, 3};
    int count = 0;
    size_t total = 0;
    double start = now();
    for (int stage = 0; stage < 4; stage++) {
        int c = 128 << stage, size = 64 >> stage;
        mf_op op[3] = {stage ? conv(1, 2 * size, 2 * size, c / 2, c, 2, 2, 2, 0, 0, MF_ACT_NONE)
                             : conv(1, 256, 256, 3, c, 4, 4, 4, 0, 0, MF_ACT_NONE),
                       product((int64_t)size * size, c, 4 * c, MF_ACT_GELU, 0),
                       product((int64_t)size * size, 4 * c, c, MF_ACT_NONE, 1)};
        for (int i = 0; i < 1 + 2 * depth[stage]; i++) {
            const mf_op *o = &op[i == 0 ? 0 : 1 + i % 2];
            if (mf_product_prepare(stream, o, &all[count], &info))
                return;
            plain_bytes[count] = (size_t)mf_operand_count(&o->input[MF_IN_W]) * sizeof(float);
            packed_bytes[count] = info.pack_bytes[MF_IN_W];
            total += plain_bytes[count++];
        }
    }
    printf("%d kernels of convnext_base created in %.2f ms\n", count, (now() - start) * 1e3);
    char *plain = huge_alloc(total);
    void *packed[80] = {0};
    memset(plain, 0, total);
    size_t at = 0;
    for (int again = 0; again < 2; again++) {
        start = now();
        for (int i = 0; i < count; i++) {
            if (!packed[i])
                packed[i] = huge_alloc(packed_bytes[i]);
            mf_product_pack(&all[i], plain + at, packed[i]);
            at += plain_bytes[i];
        }
        printf("their %.0f MB of weights packed in %.2f ms%s\n", (double)total * 1e-6, (now() - start) * 1e3,
               again ? ", into touched memory" : "");
        at = 0;
    }
    for (int i = 0; i < count; i++) {
        mf_product_release(&all[i]);
        free(packed[i]);
    }
    free(plain);
}

int main(int argc, char **argv) {
    static const char *const sections[] = {"create", "gemm", "batch", "narrow", "head", "conv", "dw"};
    const char *isa = NULL;
    int threads = 2, wanted[7] = {0}, any = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-t") == 0 && i + 1 < argc)
            threads = atoi(argv[++i]);
        else if (strcmp(argv[i], "-s") == 0 && i + 1 < argc)
            seconds_per_shape = atof(argv[++i]);
        else if (strcmp(argv[i], "-i") == 0 && i + 1 < argc)
            isa = argv[++i];
        else if (strcmp(argv[i], "-p") == 0)
            clock_used = CLOCK_THREAD_CPUTIME_ID;
        else if (strcmp(argv[i], "-c") == 0)
            compare_with_ref = 1;
        for (int j = 0; j < 7; j++)
            if (strcmp(argv[i], sections[j]) == 0)
                any = wanted[j] = 1;
    }
    const mf_backend *table = mf_backend_onednn_table();
    mf_stream_params params = {sizeof(params), threads, MF_F32};
    double start = now();
    if (table->open(&host, &device) || table->stream_open(device, &params, &stream))
        return 1;
    if (compare_with_ref && (mf_backend_ref_table()->open(&host, &ref_device) ||
                             mf_backend_ref_table()->stream_open(ref_device, &params, &ref_stream)))
        return 1;
    if (isa && !mf_cpu_use(&stream->cpu, isa))
        return fprintf(stderr, "no %s here\n", isa), 1;
    printf("%s; common kernels %s; %d threads; opened in %.2f ms\n", table->describe(device),
           mf_cpu_isa_name(&stream->cpu), threads, (now() - start) * 1e3);
    table->stream_begin(stream);
    for (int j = 0; j < 7; j++) {
        if (any && !wanted[j])
            continue;
        printf("-- %s\n", sections[j]);
        if (j == 0)
            create();
        else if (j < 4)
            gemm(j == 2 ? 8 : 1, j == 3 ? 96 : 128);
        else if (j == 4)
            head();
        else if (j == 5)
            convs();
        else
            dw(1), dw(8);
    }
    table->stream_end(stream);
    table->stream_close(stream);
    table->close(device);
    if (compare_with_ref) {
        mf_backend_ref_table()->stream_close(ref_stream);
        mf_backend_ref_table()->close(ref_device);
    }
    return 0;
}
