/* The oneDNN kernels by themselves: the rule hands small shapes to the common kernels, so tests/ops alone would see
 * little of them.  Held to plain loops in f64. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/onednn/onednn.h"
#include "unit.h"

enum { THREADS = 2 };

static const mf_backend *table;
static mf_device *device;
static mf_stream *stream;
static char message[512];
static int allocations_left = -1; /* -1: no limit */
static int blocks;                /* not yet freed */

static void *host_alloc(void *context, size_t bytes) {
    void *p = NULL;
    (void)context;
    if (allocations_left == 0)
        return NULL;
    if (allocations_left > 0)
        allocations_left--;
    blocks++;
    return posix_memalign(&p, MF_ALIGN, bytes ? bytes : 1) == 0 ? p : NULL;
}

static void host_free(void *context, void *p) {
    (void)context;
    blocks -= p != NULL;
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
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    return status;
}

static __attribute__((format(printf, 3, 4))) void host_log(void *context, int level, const char *format, ...) {
    (void)context, (void)level, (void)format;
}

static const mf_host host = {sizeof(mf_host), NULL, host_alloc, host_free, host_parallel, host_fail, host_log};

static void setup(void) {
    const mf_stream_params params = {sizeof(params), THREADS, MF_F32};
    table = mf_backend_onednn_table();
    allocations_left = -1;
    ck_assert_msg(table->open(&host, &device) == 0, "%s", message);
    ck_assert_int_eq(table->stream_open(device, &params, &stream), 0);
}

static void teardown(void) {
    table->stream_close(stream);
    table->close(device);
    ck_assert_int_eq(blocks, 0);
}

/* ---- operations ---- */

static void operand(mf_operand *o, int constant, int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
    memset(o, 0, sizeof(*o));
    o->ndim = ndim;
    o->dim[0] = a, o->dim[1] = b, o->dim[2] = c, o->dim[3] = d;
    o->constant = constant;
}

static mf_op matmul(int64_t m, int64_t k, int64_t n, mf_act act, int bias, int residual) {
    mf_op op = {.kind = MF_OP_MATMUL, .input_count = 5, .attrs = {.tb = 1, .act = act}};
    operand(&op.input[0], 0, 2, m, k, 0, 0);
    operand(&op.input[1], 1, 2, n, k, 0, 0);
    operand(&op.input[2], 1, bias ? 1 : -1, n, 0, 0, 0);
    operand(&op.input[3], 1, -1, 0, 0, 0, 0);
    operand(&op.input[4], 0, residual ? 2 : -1, m, n, 0, 0);
    operand(&op.output, 0, 2, m, n, 0, 0);
    return op;
}

static mf_op conv(const int *g, mf_act act, int bias, int residual) {
    int n = g[0], h = g[1], w = g[2], c = g[3], o = g[4], kh = g[5], kw = g[6], sh = g[7], sw = g[8], ph = g[9],
        pw = g[10];
    int ho = (h + 2 * ph - kh) / sh + 1, wo = (w + 2 * pw - kw) / sw + 1;
    mf_op op = {.kind = MF_OP_CONV2D,
                .input_count = 5,
                .attrs = {.act = act, .kernel = {kh, kw}, .stride = {sh, sw}, .pad = {ph, pw}}};
    operand(&op.input[0], 0, 4, n, h, w, c);
    operand(&op.input[1], 1, 4, o, c, kh, kw);
    operand(&op.input[2], 1, bias ? 1 : -1, o, 0, 0, 0);
    operand(&op.input[3], 1, -1, 0, 0, 0, 0);
    operand(&op.input[4], 0, residual ? 4 : -1, n, ho, wo, o);
    operand(&op.output, 0, 4, n, ho, wo, o);
    return op;
}

static double act(mf_act a, double x) {
    return a == MF_ACT_GELU ? 0.5 * x * (1.0 + erf(x / sqrt(2.0))) : a == MF_ACT_RELU ? fmax(x, 0.0) : x;
}

/* Both kinds as a convolution in plain loops. */
static void expected(const mf_op *op, float *const *in, double *out) {
    int product = op->kind == MF_OP_MATMUL;
    const int64_t *x = op->input[0].dim, *w = op->input[1].dim, *y = op->output.dim;
    int64_t h = product ? 1 : x[1], wide = product ? x[0] : x[2], c = product ? x[1] : x[3], o = w[0];
    int64_t n = product ? 1 : x[0], ho = product ? 1 : y[1], wo = product ? y[0] : y[2];
    int64_t kh = product ? 1 : w[2], kw = product ? 1 : w[3];
    int64_t sh = product ? 1 : op->attrs.stride[0], sw = product ? 1 : op->attrs.stride[1];
    for (int64_t i = 0; i < n * ho * wo * o; i++) {
        int64_t oc = i % o, col = i / o % wo, row = i / o / wo % ho, image = i / o / wo / ho;
        double sum = in[2] ? in[2][oc] : 0.0;
        for (int64_t r = 0; r < kh; r++)
            for (int64_t s = 0; s < kw; s++) {
                int64_t at_row = row * sh + r - op->attrs.pad[0], at_col = col * sw + s - op->attrs.pad[1];
                if (at_row < 0 || at_row >= h || at_col < 0 || at_col >= wide)
                    continue;
                for (int64_t ic = 0; ic < c; ic++)
                    sum += (double)in[0][((image * h + at_row) * wide + at_col) * c + ic] *
                           (double)in[1][((oc * c + ic) * kh + r) * kw + s];
            }
        out[i] = act(op->attrs.act, sum) + (in[4] ? in[4][i] : 0.0);
    }
}

/* Runs it with the residual apart from the output and then in it.  0: oneDNN has no such kernel. */
static int check(const mf_op *op) {
    float *in[5] = {0};
    const void *inputs[5];
    uint32_t random = 1;
    mf_product product;
    mf_kernel_info info;
    ck_assert(mf_onednn_able(op));
    int r = mf_product_prepare(stream, op, &product, &info);
    if (r == MF_PRODUCT_NONE)
        return 0;
    ck_assert_msg(r == 0, "%s", message);
    for (int i = 0; i < 5; i++) {
        int64_t count = mf_operand_count(&op->input[i]);
        in[i] = count ? malloc((size_t)count * sizeof(float)) : NULL;
        for (int64_t j = 0; j < count; j++) {
            random = random * 1664525u + 1013904223u;
            in[i][j] = (float)(random >> 8) / 8388608.0f - 1.0f;
        }
        inputs[i] = in[i];
    }
    int64_t count = mf_operand_count(&op->output);
    float *out = malloc((size_t)count * sizeof(float));
    double *want = malloc((size_t)count * sizeof(double));
    void *packed = host_alloc(NULL, info.pack_bytes[MF_IN_W]), *scratch = host_alloc(NULL, info.scratch_bytes);
    expected(op, in, want);
    ck_assert_msg(mf_product_pack(&product, in[1], packed) == 0, "%s", message);
    inputs[1] = packed;
    for (int in_place = 0; in_place < 1 + (in[4] != NULL); in_place++) {
        memset(out, 0xff, (size_t)count * sizeof(float));
        if (in_place) {
            memcpy(out, in[4], (size_t)count * sizeof(float));
            inputs[4] = out;
        }
        table->stream_begin(stream);
        ck_assert_msg(mf_product_run(&product, inputs, out, scratch) == 0, "%s", message);
        table->stream_end(stream);
        double terms = (double)mf_operand_count(&op->input[1]) / (double)op->input[1].dim[0];
        for (int64_t j = 0; j < count; j++)
            ck_assert_msg(fabs(out[j] - want[j]) <= 4e-7 * sqrt(terms) * (1.0 + fabs(want[j])) + 4e-7,
                          "%s: element %lld: %g, not %g", mf_product_implementation(&product), (long long)j, out[j],
                          want[j]);
    }
    mf_product_release(&product);
    host_free(NULL, packed);
    host_free(NULL, scratch);
    for (int i = 0; i < 5; i++)
        free(in[i]);
    free(out);
    free(want);
    return 1;
}

START_TEST(products) {
    static const int shape[][3] = {{1, 1, 1},   {1, 64, 17},   {3, 7, 5},      {16, 16, 16},  {17, 33, 65},
                                   {64, 96, 3}, {100, 48, 49}, {127, 130, 40}, {300, 20, 96}, {1024, 256, 257}};
    int done = 0;
    for (size_t i = 0; i < sizeof(shape) / sizeof(shape[0]); i++)
        for (int v = 0; v < 12; v++) {
            mf_op op = matmul(shape[i][0], shape[i][1], shape[i][2], (mf_act)(v % 3), v / 3 % 2, v / 6);
            done += check(&op);
        }
    ck_assert_int_gt(done, mf_onednn_isa() == MF_ISA_OTHER ? -1 : 59);
}
END_TEST

START_TEST(convolutions) {
    static const int shape[][11] = {{1, 16, 16, 3, 32, 4, 4, 4, 4, 0, 0},  {2, 10, 11, 3, 20, 4, 4, 4, 4, 0, 0},
                                    {2, 8, 8, 16, 24, 2, 2, 2, 2, 0, 0},   {1, 9, 7, 5, 6, 3, 3, 2, 2, 1, 1},
                                    {1, 14, 14, 32, 32, 3, 3, 1, 1, 1, 1}, {1, 23, 21, 3, 16, 7, 7, 2, 2, 3, 3},
                                    {2, 7, 6, 20, 12, 1, 1, 2, 2, 0, 0},   {1, 40, 1, 8, 16, 5, 1, 1, 1, 2, 0},
                                    {2, 1, 40, 8, 16, 1, 5, 1, 1, 0, 2},   {3, 40, 1, 16, 8, 5, 1, 2, 1, 2, 0},
                                    {1, 5, 5, 4, 4, 5, 5, 1, 1, 0, 0},     {1, 6, 9, 7, 9, 3, 1, 1, 2, 1, 0}};
    int done = 0;
    for (size_t i = 0; i < sizeof(shape) / sizeof(shape[0]); i++)
        for (int v = 0; v < 12; v++) {
            mf_op op = conv(shape[i], (mf_act)(v % 3), v / 3 % 2, v / 6);
            done += check(&op);
        }
    ck_assert_int_gt(done, mf_onednn_isa() == MF_ISA_OTHER ? -1 : 59);
}
END_TEST

/* Batch sizes share one packed copy; other weights do not. */
START_TEST(keys) {
    static const int rows[] = {4096, 512, 1024, 8192, 32768};
    uint64_t key = 0;
    mf_kernel_info info;
    mf_product product;
    for (int i = 0; i < 5; i++) {
        mf_op op = matmul(rows[i], 512, 128, MF_ACT_NONE, 1, 1);
        if (mf_product_prepare(stream, &op, &product, &info) == MF_PRODUCT_NONE)
            return;
        ck_assert_uint_ne(info.pack_key[MF_IN_W], 0);
        if (i == 0)
            key = info.pack_key[MF_IN_W];
        ck_assert_uint_eq(info.pack_key[MF_IN_W], key);
        mf_product_release(&product);
    }
    mf_op op = matmul(4096, 128, 512, MF_ACT_NONE, 1, 1);
    ck_assert_int_eq(mf_product_prepare(stream, &op, &product, &info), 0);
    ck_assert_uint_ne(info.pack_key[MF_IN_W], key);
    mf_product_release(&product);
}
END_TEST

/* Equal rows give equal bits wherever they stand. */
START_TEST(places) {
    mf_op op = matmul(958, 256, 130, MF_ACT_GELU, 1, 0);
    mf_product product;
    mf_kernel_info info;
    if (mf_product_prepare(stream, &op, &product, &info) == MF_PRODUCT_NONE)
        return;
    float *x = malloc(958 * 256 * sizeof(float)), *w = malloc(130 * 256 * sizeof(float)), bias[130] = {0.5f};
    float *y = malloc(958 * 130 * sizeof(float));
    void *packed = host_alloc(NULL, info.pack_bytes[MF_IN_W]), *scratch = host_alloc(NULL, info.scratch_bytes);
    for (int i = 0; i < 958 * 256; i++)
        x[i] = sinf((float)(i % 256));
    for (int i = 0; i < 130 * 256; i++)
        w[i] = cosf((float)i);
    ck_assert_int_eq(mf_product_pack(&product, w, packed), 0);
    const void *inputs[] = {x, packed, bias, NULL, NULL};
    table->stream_begin(stream);
    ck_assert_int_eq(mf_product_run(&product, inputs, y, scratch), 0);
    table->stream_end(stream);
    for (int row = 1; row < 958; row++)
        ck_assert_mem_eq(y, y + row * 130, 130 * sizeof(float));
    mf_product_release(&product);
    host_free(NULL, packed);
    host_free(NULL, scratch);
    free(x), free(w), free(y);
}
END_TEST

/* The caller's OpenMP setting is his own again after a run, and after preparing. */
START_TEST(threads) {
    if (!device->on_omp)
        return;
    device->omp.set_num_threads(5);
    mf_op op = matmul(64, 32, 32, MF_ACT_NONE, 1, 0);
    ck_assert(check(&op) || mf_onednn_isa() == MF_ISA_OTHER);
    ck_assert_int_eq(device->omp.get_max_threads(), 5);
    table->stream_begin(stream);
    ck_assert_int_eq(device->omp.get_max_threads(), THREADS);
    table->stream_end(stream);
    ck_assert_int_eq(device->omp.get_max_threads(), 5);
    ck_assert_ptr_nonnull(strstr(table->describe(device), "OpenMP"));
}
END_TEST

static void count_task(void *arg, int i) {
    __atomic_fetch_add((int *)arg + i, 1, __ATOMIC_RELAXED);
}

START_TEST(tasks) {
    int ran[37] = {0};
    stream->cpu.parallel(stream->cpu.user, 37, count_task, ran);
    for (int i = 0; i < 37; i++)
        ck_assert_int_eq(ran[i], 1);
}
END_TEST

/* Without memory: the status says so, and nothing is left behind. */
START_TEST(memory) {
    mf_op op = matmul(1024, 512, 512, MF_ACT_NONE, 1, 0);
    mf_kernel *kernel = NULL;
    mf_kernel_info info;
    int held = blocks, r = 1;
    for (int limit = 0; limit < 20 && r; limit++) {
        allocations_left = limit;
        r = table->prepare(stream, &op, &kernel, &info);
        if (r)
            ck_assert_int_eq(r, MF_DNN_MEMORY);
        else
            table->release(kernel);
        ck_assert_int_eq(blocks, held);
    }
    allocations_left = -1;
    ck_assert_int_eq(r, 0);
}
END_TEST

START_TEST(rule) {
    const int square[11] = {1, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1}, stem[11] = {1, 256, 256, 3, 128, 4, 4, 4, 4, 0, 0};
    const int patches[11] = {1, 64, 64, 128, 256, 2, 2, 2, 2, 0, 0}, small[11] = {1, 8, 8, 16, 16, 3, 3, 1, 1, 1, 1};
    mf_op op = conv(square, MF_ACT_RELU, 1, 0);
    ck_assert(mf_onednn_takes(MF_ISA_AVX512, &op) && mf_onednn_takes(MF_ISA_AVX2, &op));
    ck_assert(!mf_onednn_takes(MF_ISA_OTHER, &op));
    op = conv(stem, MF_ACT_NONE, 1, 0);
    ck_assert(mf_onednn_takes(MF_ISA_AVX512, &op) && mf_onednn_takes(MF_ISA_AVX2, &op));
    op = conv(patches, MF_ACT_NONE, 1, 0);
    ck_assert(!mf_onednn_takes(MF_ISA_AVX512, &op) && !mf_onednn_takes(MF_ISA_AVX2, &op));
    op = conv(small, MF_ACT_NONE, 1, 0);
    ck_assert(mf_onednn_able(&op) && !mf_onednn_takes(MF_ISA_AVX512, &op));
    op = matmul(4096, 512, 128, MF_ACT_NONE, 1, 1);
    ck_assert(!mf_onednn_takes(MF_ISA_AVX512, &op) && mf_onednn_takes(MF_ISA_AVX2, &op));
    op.input[MF_IN_W].dtype = MF_BF16;
    ck_assert(!mf_onednn_able(&op));
    op.input[MF_IN_W].dtype = MF_F32;
    op.input[MF_IN_W].constant = 0;
    ck_assert(!mf_onednn_able(&op));
    op.input[MF_IN_W].constant = 1;
    operand(&op.input[MF_IN_SCALE], 1, 1, 128, 0, 0, 0);
    ck_assert(!mf_onednn_able(&op));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("onednn");
    TCase *t = tcase_create("kernels");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_test(t, products);
    tcase_add_test(t, convolutions);
    tcase_add_test(t, keys);
    tcase_add_test(t, places);
    tcase_add_test(t, threads);
    tcase_add_test(t, tasks);
    tcase_add_test(t, memory);
    tcase_add_test(t, rule);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
