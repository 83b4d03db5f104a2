/* Speed of the operations that take the time in a run of the network; ops --bench [threads] [backend]. */
#include "ops.h"

#include <stdio.h>
#include <string.h>

typedef struct bench {
    ops_backend backend;
    int threads, failures;
} bench;

static mf_operand operand(int constant, int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
    return (mf_operand){.ndim = ndim, .dim = {a, b, c, d}, .constant = constant};
}

static void measure(bench *b, const char *name, const mf_op *op, double flops) {
    ops_case c = {.op = *op, .weight = MF_F32};
    double *inputs[MF_MAX_INPUTS];
    const double *in[MF_MAX_INPUTS];
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        c.fill[i].scale = 0.1;
    snprintf(c.name, sizeof(c.name), "%s", name);
    ops_make_inputs(&c, inputs);
    memcpy(in, inputs, sizeof(in));
    for (int type = MF_F32; type <= MF_F64; type++) {
        ops_job job = {.op = *op, .compute = (mf_dtype)type, .threads = b->threads, .inputs = in, .seconds = 0.5};
        ops_result r = ops_run(&b->backend, &job);
        b->failures += r == OPS_FAILED;
        if (r == OPS_DONE)
            printf("%-40s %s %9.3f ms %7.2f GFLOP/s\n", name, type == MF_F64 ? "f64" : "f32", 1e3 * job.seconds,
                   1e-9 * flops / job.seconds);
    }
    ops_free_inputs(inputs);
}

static void matmul(bench *b, int64_t m, int64_t n, int64_t k, mf_act act) {
    char name[64];
    mf_op op = {.kind = MF_OP_MATMUL, .attrs = {.tb = 1, .act = act}, .input_count = 3};
    op.input[MF_IN_X] = operand(0, 2, m, k, 0, 0);
    op.input[MF_IN_W] = operand(1, 2, n, k, 0, 0);
    op.input[MF_IN_BIAS] = operand(1, 1, n, 0, 0, 0);
    op.output = operand(0, 2, m, n, 0, 0);
    snprintf(name, sizeof(name), "matmul %dx%dx%d%s", (int)m, (int)n, (int)k, act ? " gelu" : "");
    measure(b, name, &op, 2.0 * (double)(m * n * k));
}

static void conv(bench *b, int64_t size, int64_t channels, int64_t outputs, int kernel, int stride) {
    char name[64];
    int64_t out = size / stride;
    mf_op op = {.kind = MF_OP_CONV2D,
                .attrs = {.kernel = {kernel, kernel},
                          .stride = {stride, stride},
                          .pad = {(kernel - 1) / 2 * (kernel > stride), (kernel - 1) / 2 * (kernel > stride)}},
                .input_count = 2};
    op.input[MF_IN_X] = operand(0, 4, 1, size, size, channels);
    op.input[MF_IN_W] = operand(1, 4, outputs, channels, kernel, kernel);
    op.output = operand(0, 4, 1, out, out, outputs);
    snprintf(name, sizeof(name), "conv2d %dx%dx%d to %d, %dx%d/%d", (int)size, (int)size, (int)channels, (int)outputs,
             kernel, kernel, stride);
    measure(b, name, &op, 2.0 * (double)(out * out * outputs * channels * kernel * kernel));
}

static void dwconv(bench *b, int64_t size, int64_t channels) {
    char name[64];
    mf_op op = {.kind = MF_OP_DWCONV2D,
                .attrs = {.kernel = {7, 7}, .stride = {1, 1}, .pad = {3, 3}, .norm = 1, .eps = 1e-6},
                .input_count = 2};
    op.input[MF_IN_X] = op.output = operand(0, 4, 1, size, size, channels);
    op.input[MF_IN_W] = operand(1, 4, channels, 1, 7, 7);
    snprintf(name, sizeof(name), "dwconv2d %dx%dx%d, 7x7", (int)size, (int)size, (int)channels);
    measure(b, name, &op, 98.0 * (double)(size * size * channels));
}

static void attention(bench *b, mf_attention kind) {
    mf_op op = {.kind = MF_OP_ATTENTION, .attrs = {.attention = kind, .heads = 4, .eps = 1e-6}, .input_count = 3};
    op.input[0] = op.output = operand(0, 3, 1, 336, 128, 0);
    op.input[1] = op.input[2] = operand(0, 3, 1, 958, 128, 0);
    if (kind == MF_ATTENTION_LINEAR)
        measure(b, "attention linear 336 of 958, 4 x 32", &op, 2.0 * (336 + 958) * 32 * 128);
    else
        measure(b, "attention softmax 336 of 958, 4 x 32", &op, 4.0 * 336 * 958 * 128);
}

int ops_bench(const ops_backend *backend, int threads) {
    bench b = {*backend, threads, 0};
    printf("%s, %d threads\n", backend->loaded->name, threads);
    matmul(&b, 4096, 512, 128, MF_ACT_NONE);
    matmul(&b, 4096, 512, 128, MF_ACT_GELU);
    matmul(&b, 4096, 128, 512, MF_ACT_NONE);
    matmul(&b, 256, 2048, 512, MF_ACT_NONE);
    matmul(&b, 256, 512, 2048, MF_ACT_NONE);
    matmul(&b, 64, 4096, 1024, MF_ACT_NONE);
    matmul(&b, 1024, 96, 96, MF_ACT_NONE);
    conv(&b, 64, 128, 256, 2, 2);
    conv(&b, 256, 3, 128, 4, 4);
    conv(&b, 56, 64, 64, 3, 1);
    conv(&b, 224, 3, 64, 7, 2);
    dwconv(&b, 64, 128);
    dwconv(&b, 16, 512);
    attention(&b, MF_ATTENTION_LINEAR);
    attention(&b, MF_ATTENTION_SOFTMAX);
    return b.failures;
}
