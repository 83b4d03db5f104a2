/* The OpenBLAS products by themselves, which the rule leaves unused on a machine with AVX-512; the caller's thread
 * count is put back. */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>

#include "backends/openblas/openblas.h"
#include "unit.h"

static void *host_alloc(void *context, size_t bytes) {
    (void)context;
    return aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
}

static void host_free(void *context, void *p) {
    (void)context;
    free(p);
}

static void host_parallel(void *context, int tasks, mf_task task, void *arg) {
    (void)context;
    ck_assert_int_eq(openblas_get_num_threads(), 1);
    for (int i = tasks - 1; i >= 0; i--)
        task(arg, i);
}

static mf_status host_fail(void *context, mf_status status, const char *format, ...) {
    (void)context;
    (void)format;
    return status;
}

static const mf_host host = {sizeof(mf_host), NULL, host_alloc, host_free, host_parallel, host_fail, NULL};

static mf_operand shape(int constant, int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
    mf_operand o = {.dtype = MF_F32, .ndim = ndim, .dim = {a, b, c, d}, .constant = constant};
    return o;
}

static float *noise(int64_t n, uint32_t seed) {
    float *x = malloc((size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / (1 << 23) - 1;
    }
    return x;
}

static void check_product(mf_stream *s, int images, int rows, int k, int n, int tb, int act, int scaled) {
    const mf_backend *t = mf_backend_openblas_table();
    mf_op op = {.kind = MF_OP_MATMUL, .input_count = 5};
    op.attrs.tb = tb;
    op.attrs.act = (mf_act)act;
    op.input[0] = shape(0, 3, images, rows, k, 0);
    op.input[1] = tb ? shape(1, 2, n, k, 0, 0) : shape(1, 2, k, n, 0, 0);
    op.input[2] = op.input[3] = shape(1, 1, n, 0, 0, 0);
    op.input[4] = op.output = shape(0, 3, images, rows, n, 0);
    if (!scaled)
        op.input[3].ndim = -1;
    int64_t m = (int64_t)images * rows;
    float *a = noise(m * k, 1), *b = noise((int64_t)n * k, 2), *bias = noise(n, 3), *scale = noise(n, 4),
          *residual = noise(m * n, 5), *c = malloc((size_t)(m * n) * sizeof(float));
    for (int64_t i = 0; i < (int64_t)rows * k && images > 1; i++) /* the last image is the first again */
        a[(images - 1) * (int64_t)rows * k + i] = a[i];
    for (int64_t i = 0; i < (int64_t)rows * n && images > 1; i++)
        residual[(images - 1) * (int64_t)rows * n + i] = residual[i];
    mf_kernel *kernel = NULL;
    mf_kernel_info info;
    ck_assert_int_eq(t->prepare(s, &op, &kernel, &info), 0);
    ck_assert_uint_eq(info.pack_bytes[MF_IN_W], 0); /* it is the sgemm */
    const void *in[] = {a, b, bias, scaled ? scale : NULL, residual};
    t->stream_begin(s);
    ck_assert_int_eq(t->run(kernel, in, c, NULL), 0);
    t->stream_end(s);
    t->release(kernel);
    for (int64_t i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0, size = 0;
            for (int p = 0; p < k; p++) {
                double v = (double)a[i * k + p] * (double)b[tb ? (int64_t)j * k + p : (int64_t)p * n + j];
                sum += v;
                size += fabs(v);
            }
            sum += (double)bias[j];
            if (act == MF_ACT_GELU)
                sum *= erfc(-sum / sqrt(2.0)) / 2;
            if (scaled)
                sum *= (double)scale[j];
            sum += (double)residual[i * n + j];
            ck_assert_double_le(fabs(sum - (double)c[i * n + j]), 1e-6 * (size + 1));
        }
    ck_assert(!memcmp(c, c + (m - rows) * n, (size_t)rows * (size_t)n * sizeof(float)));
    free(a);
    free(b);
    free(bias);
    free(scale);
    free(residual);
    free(c);
}

/* c += a^T b, in its place: as in the gradient of a weight. */
static void check_gradient(mf_stream *s, int rows, int m, int n) {
    const mf_backend *t = mf_backend_openblas_table();
    mf_op op = {.kind = MF_OP_MATMUL, .input_count = 5};
    op.attrs.ta = 1;
    op.input[0] = shape(0, 2, rows, m, 0, 0);
    op.input[1] = shape(0, 2, rows, n, 0, 0);
    op.input[2].ndim = op.input[3].ndim = -1;
    op.input[4] = op.output = shape(0, 2, m, n, 0, 0);
    float *a = noise((int64_t)rows * m, 1), *b = noise((int64_t)rows * n, 2), *c = noise((int64_t)m * n, 3),
          *before = noise((int64_t)m * n, 3);
    mf_kernel *kernel = NULL;
    mf_kernel_info info;
    ck_assert_int_eq(t->prepare(s, &op, &kernel, &info), 0);
    ck_assert_int_eq(info.residual_in_place, 1);
    ck_assert_uint_eq(info.scratch_bytes, 0);
    const void *in[] = {a, b, NULL, NULL, c};
    t->stream_begin(s);
    ck_assert_int_eq(t->run(kernel, in, c, NULL), 0);
    t->stream_end(s);
    t->release(kernel);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = (double)before[i * n + j];
            for (int p = 0; p < rows; p++)
                sum += (double)a[p * m + i] * (double)b[p * n + j];
            ck_assert_double_le(fabs(sum - (double)c[i * n + j]), 1e-6 * (rows + 1));
        }
    free(a);
    free(b);
    free(c);
    free(before);
}

START_TEST(test_products) {
    const mf_backend *t = mf_backend_openblas_table();
    mf_device *d = NULL;
    mf_stream *s = NULL;
    int before = openblas_get_num_threads();
    ck_assert_int_eq(t->open(&host, &d), 0);
    ck_assert_ptr_nonnull(strstr(t->describe(d), "OpenBLAS"));
    for (int threads = 1; threads <= 3; threads += 2) {
        mf_stream_params params = {sizeof(params), threads, MF_F32};
        ck_assert_int_eq(t->stream_open(d, &params, &s), 0);
        s->takes = mf_openblas_able;
        check_product(s, 1, 7, 5, 3, 1, MF_ACT_NONE, 0);
        check_product(s, 3, 450, 70, 130, 1, MF_ACT_GELU, 1);
        check_product(s, 2, 33, 200, 700, 0, MF_ACT_GELU, 0);
        check_product(s, 2, 60, 33, 900, 1, MF_ACT_NONE, 1);
        check_gradient(s, 300, 70, 50);
        check_gradient(s, 200, 33, 700);
        t->stream_close(s);
    }
    t->close(d);
    ck_assert_int_eq(openblas_get_num_threads(), before);
}
END_TEST

START_TEST(test_f64_is_refused) {
    const mf_backend *t = mf_backend_openblas_table();
    mf_device *d = NULL;
    mf_stream *s = NULL;
    mf_stream_params params = {sizeof(params), 1, MF_F64};
    ck_assert_int_eq(t->open(&host, &d), 0);
    ck_assert_int_ne(t->stream_open(d, &params, &s), 0);
    t->close(d);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("openblas");
    TCase *c = tcase_create("products");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, test_products);
    tcase_add_test(c, test_f64_is_refused);
    suite_add_tcase(suite, c);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
