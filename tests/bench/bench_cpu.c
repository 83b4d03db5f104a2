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

#include "bench_kernel.h"

/* ---- cases ---- */
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
             w == MF_F16    ? " f16"
             : w == MF_BF16 ? " bf16"
                            : "",
             constant ? "" : " variable");
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
    plain(MF_OP_ACT, "gelu by tanh", 1, 64, 64, 512);
    cases[case_count - 1].op.attrs.act = MF_ACT_GELU_TANH;
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
    bench_time t = bench_run(cpu, b, seconds);
    if (!(t.best > 0))
        return;
    bench_print(cpu, b, top, t);
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv) {
    static const char *const isas[] = {"avx512", "avx2", "neon", "portable"};
    mfrgn_context *context = NULL;
    if (mfrgn_context_create(NULL, &context))
        return 1;
    bench_host.context = context;
    bench_processor = argc > 1 && !strcmp(argv[1], "p");
    int threads = bench_processor ? 1 : argc > 1 ? atoi(argv[1]) : mf_core_count();
    if (argc > 4)
        seconds = atof(argv[4]);
    make_cases();
    for (size_t i = 0; i < MF_COUNT(isas); i++) {
        mf_cpu cpu;
        mf_cpu_init(&cpu, &bench_host, threads, NULL, NULL);
        if ((argc > 3 && *argv[3] && strcmp(isas[i], argv[3])) || !mf_cpu_use(&cpu, isas[i]))
            continue;
        double top = bench_peak(isas[i], threads);
        printf("%s, %d threads: peak %.1f GFLOP/s\n", isas[i], threads, top);
        for (int c = 0; c < case_count; c++)
            if (argc < 3 || strstr(cases[c].name, argv[2]))
                measure(&cpu, &cases[c], top);
    }
    mfrgn_context_free(context);
    return 0;
}
