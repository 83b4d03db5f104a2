/* Speed of the kernels of training at the shapes of convnext_tiny, batch 8, 128x128 (or 64x256) pixels: stages of
 * 8192 x 96, 2048 x 192, 512 x 384 and 128 x 768 values.
 *
 *   bench_train [threads [word of a case's name [instruction set [seconds a case]]]]
 *
 * threads "p": one thread, in processor time, for a machine that is busy with other things.  Beside each product: the
 * same one by the sgemm of the OpenBLAS that the dynamic linker finds, in turns with ours, on as many threads of its
 * own (nothing where there is none). */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_kernel.h"

static bench cases[256];
static int case_count;
static double seconds = 0.3;

static mf_operand shape(int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
    return (mf_operand){.dtype = MF_F32, .ndim = ndim, .dim = {a, b, c, d}};
}

static bench *add(mf_op_kind kind, int inputs, double work, const char *name, int64_t rows, int64_t k, int64_t n) {
    bench *b = &cases[case_count++];
    b->op.kind = kind;
    b->op.input_count = inputs;
    b->work = work;
    b->op.attrs.eps = 1e-6;
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        b->op.input[i].ndim = -1;
    if (n)
        snprintf(b->name, sizeof(b->name), "%s %ldx%ld->%ld", name, (long)rows, (long)k, (long)n);
    else
        snprintf(b->name, sizeof(b->name), "%s %ldx%ld", name, (long)rows, (long)k);
    return b;
}

static void product(const char *name, int64_t m, int64_t k, int64_t n, int ta, int tb, int residual) {
    bench *b = add(MF_OP_MATMUL, 5, 2.0 * (double)(m * n * k), name, m, k, n);
    b->op.attrs.ta = ta;
    b->op.attrs.tb = tb;
    b->op.input[0] = ta ? shape(2, k, m, 0, 0) : shape(2, m, k, 0, 0);
    b->op.input[1] = tb ? shape(2, n, k, 0, 0) : shape(2, k, n, 0, 0);
    b->op.output = shape(2, m, n, 0, 0);
    if (residual)
        b->op.input[4] = b->op.output;
}

static void rowwise(int64_t r, int64_t c) {
    const mf_operand x = shape(2, r, c, 0, 0), v = shape(1, c, 0, 0, 0), two = shape(2, 2, c, 0, 0);
    bench *b = add(MF_OP_LAYERNORM, 3, 0, "layernorm", r, c, 0);
    b->op.input[0] = b->op.output = x;
    b->op.input[1] = b->op.input[2] = v;
    b = add(MF_OP_LAYERNORM_GRAD, 3, 0, "layernorm_grad", r, c, 0);
    b->op.input[0] = b->op.input[2] = b->op.output = x;
    b->op.input[1] = v;
    b = add(MF_OP_LAYERNORM_GRAD_AFFINE, 2, 0, "layernorm_grad_affine", r, c, 0);
    b->op.input[0] = b->op.input[1] = x;
    b->op.output = two;
    b = add(MF_OP_COLUMN_SUM, 1, 0, "column_sum", r, c, 0);
    b->op.input[0] = x;
    b->op.output = v;
    b = add(MF_OP_COLUMN_SUM, 1, 0, "column_sum", r, 4 * c, 0);
    b->op.input[0] = shape(2, r, 4 * c, 0, 0);
    b->op.output = shape(1, 4 * c, 0, 0, 0);
    b = add(MF_OP_COLUMN_SUM, 2, 0, "column_sum of products", r, c, 0);
    b->op.input[0] = b->op.input[1] = x;
    b->op.output = v;
    b = add(MF_OP_ACT, 1, 0, "gelu", r, 4 * c, 0);
    b->op.attrs.act = MF_ACT_GELU;
    b->op.input[0] = b->op.output = shape(2, r, 4 * c, 0, 0);
    b = add(MF_OP_ACT_GRAD, 2, 0, "gelu_grad", r, 4 * c, 0);
    b->op.attrs.act = MF_ACT_GELU;
    b->op.input[0] = b->op.input[1] = b->op.output = shape(2, r, 4 * c, 0, 0);
    b = add(MF_OP_MUL, 2, 0, "mul by channel", r, c, 0);
    b->op.input[0] = b->op.output = x;
    b->op.input[1] = v;
    b = add(MF_OP_ADD, 2, 0, "add", r, c, 0);
    b->op.input[0] = b->op.input[1] = b->op.output = x;
    b = add(MF_OP_TRANSPOSE, 1, 0, "transpose", r, c, 0);
    b->op.input[0] = x;
    b->op.output = shape(2, c, r, 0, 0);
    b = add(MF_OP_DROPOUT, 2, 0, "dropout", r, c, 0);
    b->op.input[0] = b->op.output = shape(2, 8, r / 8 * c, 0, 0);
    b->op.input[1] = shape(1, 3, 0, 0, 0);
    b->op.input[1].dtype = MF_I64;
    b->op.attrs.rate = 0.1;
}

static void depthwise(int64_t side, int64_t c) {
    const mf_operand x = shape(4, 8, side, side, c), w = shape(4, c, 1, 7, 7);
    double work = 2.0 * 49 * 8 * (double)(side * side * c);
    const mf_attrs a = {.kernel = {7, 7}, .stride = {1, 1}, .pad = {3, 3}, .eps = 1e-6};
    bench *b = add(MF_OP_DWCONV2D, 3, work, "dwconv", 8 * side * side, c, 0);
    b->op.attrs = a;
    b->op.input[0] = b->op.output = x;
    b->op.input[1] = w;
    b->op.input[2] = shape(1, c, 0, 0, 0);
    b = add(MF_OP_DWCONV2D_GRAD_INPUT, 2, work, "dwconv_grad_input", 8 * side * side, c, 0);
    b->op.attrs = a;
    b->op.input[0] = b->op.output = x;
    b->op.input[1] = w;
    b = add(MF_OP_DWCONV2D_GRAD_WEIGHT, 2, work, "dwconv_grad_weight", 8 * side * side, c, 0);
    b->op.attrs = a;
    b->op.input[0] = b->op.input[1] = x;
    b->op.output = w;
}

/* Patches of size x size from a map of side x side. */
static void patches(int64_t side, int64_t c, int64_t o, int size) {
    const mf_attrs a = {.kernel = {size, size}, .stride = {size, size}, .size = {side, side}};
    const mf_operand x = shape(4, 8, side, side, c), y = shape(4, 8, side / size, side / size, o);
    const mf_operand w = shape(4, o, c, size, size);
    double work = 2.0 * (double)(8 * side * side * c * o);
    bench *b = add(MF_OP_CONV2D, 3, work, "patches", 8 * side * side, c, o);
    b->op.attrs = a;
    b->op.input[0] = x;
    b->op.input[1] = w;
    b->op.input[2] = shape(1, o, 0, 0, 0);
    b->op.output = y;
    b = add(MF_OP_CONV2D_GRAD_INPUT, 2, work, "patches_grad_input", 8 * side * side, c, o);
    b->op.attrs = a;
    b->op.input[0] = y;
    b->op.input[1] = w;
    b->op.output = x;
    b = add(MF_OP_CONV2D_GRAD_WEIGHT, 2, work, "patches_grad_weight", 8 * side * side, c, o);
    b->op.attrs = a;
    b->op.input[0] = x;
    b->op.input[1] = y;
    b->op.output = w;
}

/* As in the head: tokens of 128 channels, 4 heads. */
static void head(void) {
    const mf_operand q = shape(3, 8, 84, 128, 0), k = shape(3, 8, 286, 128, 0);
    for (int i = 0; i < 2; i++) {
        double work = i ? 5 * 2.0 * 8 * 84 * 286 * 128 : 2.0 * 8 * 128 * 32 * (2 * 286 + 3 * 84 + 84 + 286);
        bench *b = add(MF_OP_ATTENTION_GRAD, 4, work,
                       i ? "softmax attention_grad 8x84x286" : "linear attention_grad 8x84x286", 8 * 84, 128, 0);
        b->op.attrs.heads = 4;
        b->op.attrs.attention = i ? MF_ATTENTION_SOFTMAX : MF_ATTENTION_LINEAR;
        b->op.input[0] = b->op.input[3] = q;
        b->op.input[1] = b->op.input[2] = k;
        b->op.output = shape(1, 8 * (84 + 2 * 286) * 128, 0, 0, 0);
    }
    bench *b = add(MF_OP_PYRAMID_POOL_GRAD, 1, 0, "pyramid_pool_grad", 622, 192, 0);
    b->op.attrs = (mf_attrs){.level_count = 4, .levels = {{1, 1}, {6, 6}, {12, 12}, {21, 21}}, .size = {16, 16}};
    b->op.input[0] = shape(3, 8, 622, 192, 0);
    b->op.output = shape(4, 8, 16, 16, 192);
    b = add(MF_OP_GATED_MEAN_GRAD, 4, 0, "gated_mean_grad", 8 * 286, 256, 0);
    b->op.input[0] = shape(3, 8, 286, 256, 0);
    b->op.input[1] = b->op.input[3] = shape(3, 8, 1, 256, 0);
    b->op.input[2] = shape(3, 8, 286, 1, 0);
    b->op.output = shape(1, 8 * (286 * 256 + 256 + 286), 0, 0, 0);
    b = add(MF_OP_GROUPNORM_GRAD, 3, 0, "groupnorm_grad", 8 * 64, 256, 0);
    b->op.attrs.groups = 32;
    b->op.input[0] = b->op.input[2] = b->op.output = shape(4, 8, 8, 8, 256);
    b->op.input[1] = shape(1, 256, 0, 0, 0);
    for (int n = 8; n <= 512; n *= 8) {
        b = add(MF_OP_INFONCE_GRAD, 4, 3 * 2.0 * n * n * 1024, "infonce_grad", n, 1024, 0);
        b->op.attrs.rate = 0.1;
        b->op.input[0] = b->op.input[1] = shape(2, n, 1024, 0, 0);
        b->op.input[2] = shape(0, 0, 0, 0, 0);
        b->op.input[3] = shape(1, 1, 0, 0, 0);
        b->op.output = shape(1, 2 * n * 1024 + 1, 0, 0, 0);
    }
}

static void make_cases(void) {
    static const int64_t stage[4][2] = {{8192, 96}, {2048, 192}, {512, 384}, {128, 768}};
    for (int i = 0; i < 4; i++) {
        int64_t r = stage[i][0], c = stage[i][1];
        product("forward", r, c, 4 * c, 0, 1, 0);
        product("forward", r, 4 * c, c, 0, 1, 1);
        product("dx", r, c, 4 * c, 0, 0, 0);
        product("dx", r, 4 * c, c, 0, 0, 0);
        product("dw", 4 * c, r, c, 1, 0, 0);
        product("dw", c, r, 4 * c, 1, 0, 0);
        product("dw accumulated", 4 * c, r, c, 1, 0, 1);
    }
    product("dw", 1024, 4976, 128, 1, 0, 0);
    product("dw", 128, 4976, 1024, 1, 0, 0);
    for (int i = 0; i < 4; i++)
        rowwise(stage[i][0], stage[i][1]);
    for (int i = 0; i < 4; i++)
        depthwise(32 >> i, 96 << i);
    patches(128, 3, 96, 4);
    for (int i = 0; i < 3; i++)
        patches(32 >> i, 96 << i, 192 << i, 2);
    head();
}

/* ---- OpenBLAS ---- */
static void (*sgemm)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                     const float *b, int ldb, float beta, float *c, int ldc);

static void find_blas(int threads) {
    void *library = dlopen("libopenblas.so.0", RTLD_NOW);
    if (!library)
        return;
    *(void **)&sgemm = dlsym(library, "cblas_sgemm");
    void (*set)(int) = NULL;
    *(void **)&set = dlsym(library, "openblas_set_num_threads");
    if (set)
        set(threads);
}

static double blas_seconds(const bench *b, double most) {
    enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
    const mf_operand *a = &b->op.input[0], *w = &b->op.input[1], *y = &b->op.output;
    int m = (int)y->dim[0], n = (int)y->dim[1], k = (int)a->dim[b->op.attrs.ta ? 0 : 1];
    float *p[3] = {calloc((size_t)mf_operand_count(a), 4), calloc((size_t)mf_operand_count(w), 4),
                   calloc((size_t)mf_operand_count(y), 4)};
    double best = INFINITY;
    for (double start = bench_now(); p[0] && p[1] && p[2] && bench_now() - start < most;) {
        double t = bench_now();
        sgemm(ROW_MAJOR, b->op.attrs.ta ? TRANSPOSED : PLAIN, b->op.attrs.tb ? TRANSPOSED : PLAIN, m, n, k, 1, p[0],
              (int)a->dim[1], p[1], (int)w->dim[1], b->op.input[4].ndim >= 0 ? 1 : 0, p[2], n);
        best = fmin(best, bench_now() - t);
    }
    for (int i = 0; i < 3; i++)
        free(p[i]);
    return best;
}

static void measure(const mf_cpu *cpu, const bench *b, double top) {
    bench_time t = {INFINITY, 0};
    double other = INFINITY;
    int beside = b->op.kind == MF_OP_MATMUL && sgemm;
    for (int i = 0; i < 3; i++) {
        bench_time now = bench_run(cpu, b, seconds / 3);
        if (now.best < t.best)
            t = now;
        if (beside)
            other = fmin(other, blas_seconds(b, seconds / 3));
    }
    if (!(t.best > 0))
        return;
    bench_print(cpu, b, top, t);
    if (beside)
        printf("; OpenBLAS %7.1f", b->work / other * 1e-9);
    printf("\n");
    fflush(stdout);
}

/* AdamW over 28 M parameters, in tensors of 590 k. */
static void measure_update(const mf_cpu *cpu) {
    enum { TENSORS = 48, COUNT = 768 * 768 };
    mf_update_item item[TENSORS] = {0};
    double best = INFINITY, best_squares = INFINITY, sum = 0;
    float *memory = mf_alloc_huge(bench_host.context, (size_t)TENSORS * COUNT * 4 * sizeof(float));
    if (!memory)
        return;
    memset(memory, 0, (size_t)TENSORS * COUNT * 4 * sizeof(float));
    for (int i = 0; i < TENSORS; i++) {
        float *p = memory + (size_t)i * COUNT * 4;
        item[i] = (mf_update_item){p, p + COUNT, p + 2 * COUNT, p + 3 * COUNT, NULL, COUNT, 1e-3, 0.05};
    }
    mf_update u = {sizeof(u), item, TENSORS, 0.9, 0.999, 1e-8, 0.1, 0.001, 1, 0, 0};
    for (double start = bench_now(); bench_now() - start < 3 * seconds;) {
        double t = bench_now();
        mf_cpu_update(cpu, &u);
        double after = bench_now();
        best = fmin(best, after - t);
        mf_cpu_sum_squares(cpu, &u, &sum);
        best_squares = fmin(best_squares, bench_now() - after);
    }
    double values = (double)TENSORS * COUNT * 4;
    printf("%-9s update 28M %9.1f us %7.1f GB/s; sum of squares %9.1f us %7.1f GB/s\n", cpu->isa->name, best * 1e6,
           values * 7 / best * 1e-9, best_squares * 1e6, values / best_squares * 1e-9);
    mf_free(bench_host.context, memory);
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
    find_blas(threads);
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
        if (argc < 3 || strstr("update", argv[2]))
            measure_update(&cpu);
    }
    mfrgn_context_free(context);
    return 0;
}
