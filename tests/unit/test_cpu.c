/* The common CPU kernels against plain loops in double, with every instruction set that the machine has. */
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cpu/kernel.h"
#include "unit.h"

/* ---- a host ---- */
static void *host_alloc(void *context, size_t bytes) {
    (void)context;
    return aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
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
    pthread_t thread[16];
    ticket t[16];
    (void)context;
    ck_assert_int_le(tasks, 16);
    for (int i = 0; i < tasks; i++) {
        t[i] = (ticket){task, arg, i};
        ck_assert_int_eq(pthread_create(&thread[i], NULL, run_ticket, &t[i]), 0);
    }
    for (int i = 0; i < tasks; i++)
        pthread_join(thread[i], NULL);
}

static char fail_text[256];

static mf_status host_fail(void *context, mf_status status, const char *format, ...) {
    va_list args;
    (void)context;
    va_start(args, format);
    vsnprintf(fail_text, sizeof(fail_text), format, args);
    va_end(args);
    return status;
}

static const mf_host host = {sizeof(mf_host), NULL, host_alloc, host_free, host_parallel, host_fail, NULL};
static const char *const isa_names[] = {"avx512", "avx2", "portable", "neon"};
enum { ISAS = 4 };

/* ---- operands ---- */
static uint32_t seed = 1;

static double noise(void) {
    seed = seed * 1664525u + 1013904223u;
    return (double)(seed >> 8) / (1 << 23) - 1;
}

static mf_operand shape(int constant, int ndim, ...) {
    mf_operand o = {.dtype = MF_F32, .ndim = ndim, .constant = constant};
    va_list args;
    va_start(args, ndim);
    for (int i = 0; i < ndim; i++)
        o.dim[i] = va_arg(args, int);
    va_end(args);
    return o;
}

static const mf_operand absent = {.ndim = -1};

typedef struct data {
    double *value[MF_MAX_INPUTS];
    void *raw[MF_MAX_INPUTS]; /* in the operand's type */
    double *want, *size;      /* size: what an error is relative to */
    float *got;
    int64_t count;
} data;

static uint16_t to_f16(float f) {
    /* normal numbers only, by truncation */
    uint32_t b;
    memcpy(&b, &f, 4);
    int e = (int)(b >> 23 & 255) - 112;
    if (e <= 0)
        return 0;
    return (uint16_t)((b >> 16 & 0x8000u) | (uint32_t)e << 10 | (b >> 13 & 1023));
}

static void fill(const mf_op *op, data *d) {
    for (int i = 0; i < op->input_count; i++) {
        const mf_operand *o = &op->input[i];
        int64_t n = mf_operand_count(o);
        if (o->ndim < 0)
            continue;
        d->value[i] = malloc((size_t)n * sizeof(double) + 8);
        d->raw[i] =
            malloc((size_t)n * mf_dtype_size(o->dtype) + (n == 0)); /* exact: the sanitizer sees what is read beyond */
        for (int64_t j = 0; j < n; j++) {
            float f = (float)noise();
            if (o->dtype == MF_F32) {
                ((float *)d->raw[i])[j] = f;
            } else if (o->dtype == MF_BF16) {
                uint32_t b;
                memcpy(&b, &f, 4);
                ((uint16_t *)d->raw[i])[j] = (uint16_t)(b >> 16);
                f = mf_bf16_to_f32((uint16_t)(b >> 16));
            } else {
                uint16_t h = to_f16(f);
                ((uint16_t *)d->raw[i])[j] = h;
                f = mf_f16_to_f32(h);
            }
            d->value[i][j] = (double)f;
        }
    }
    d->count = mf_operand_count(&op->output);
    d->want = calloc((size_t)d->count + 1, sizeof(double));
    d->size = calloc((size_t)d->count + 1, sizeof(double));
    d->got = malloc((size_t)d->count * sizeof(float) + 1);
}

static void let_go(data *d) {
    for (int i = 0; i < MF_MAX_INPUTS; i++) {
        free(d->value[i]);
        free(d->raw[i]);
    }
    free(d->want);
    free(d->size);
    free(d->got);
}

static void run_cpu(const mf_cpu *cpu, const mf_op *op, data *d) {
    mf_cpu_kernel *k = NULL;
    mf_kernel_info info;
    void *packed[MF_MAX_INPUTS] = {0};
    const void *in[MF_MAX_INPUTS] = {0};
    ck_assert_int_eq(mf_cpu_prepare(cpu, op, &k, &info), 0);
    void *scratch = host_alloc(NULL, info.scratch_bytes);
    memset(scratch, 0xff, info.scratch_bytes); /* NaN */
    for (int i = 0; i < op->input_count; i++) {
        in[i] = d->raw[i];
        if (info.pack_bytes[i]) {
            packed[i] = host_alloc(NULL, info.pack_bytes[i]);
            memset(packed[i], 0xff, info.pack_bytes[i]);
            ck_assert_int_eq(mf_cpu_pack(k, i, d->raw[i], packed[i]), 0);
            in[i] = packed[i];
        }
    }
    memset(d->got, 0xff, (size_t)d->count * sizeof(float));
    ck_assert_int_eq(mf_cpu_run(k, in, d->got, scratch), 0);
    mf_cpu_release(k);
    free(scratch);
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        free(packed[i]);
}

/* ---- what is right ---- */
static double apply(mf_act act, double x) {
    switch (act) {
    case MF_ACT_GELU:
        return x * erfc(-x / sqrt(2.0)) / 2;
    case MF_ACT_RELU:
        return x > 0 ? x : 0;
    case MF_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case MF_ACT_GELU_TANH:
        return x / (1 + exp(-2 * sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    default:
        return x;
    }
}

static void finish_product(const mf_op *op, data *d, int64_t at, int64_t j, double sum, double size) {
    if (d->value[MF_IN_BIAS])
        sum += d->value[MF_IN_BIAS][j];
    sum = apply(op->attrs.act, sum);
    if (d->value[MF_IN_SCALE])
        sum *= d->value[MF_IN_SCALE][j];
    if (d->value[MF_IN_RESIDUAL])
        sum += d->value[MF_IN_RESIDUAL][at];
    d->want[at] = sum;
    d->size[at] = size + 1;
}

static void want_matmul(const mf_op *op, data *d) {
    const mf_operand *a = &op->input[0];
    int64_t n = mf_operand_last(&op->output), m, k, batch = 1;
    if (op->attrs.ta) {
        m = mf_operand_last(a);
        k = a->dim[a->ndim - 2];
        batch = mf_operand_count(a) / m / k;
    } else {
        m = mf_operand_rows(a);
        k = mf_operand_last(a);
    }
    for (int64_t s = 0; s < batch; s++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0, size = 0;
                for (int64_t p = 0; p < k; p++) {
                    double v = d->value[0][s * m * k + (op->attrs.ta ? p * m + i : i * k + p)] *
                               d->value[1][op->attrs.tb ? j * k + p : p * n + j];
                    sum += v;
                    size += fabs(v);
                }
                finish_product(op, d, (s * m + i) * n + j, j, sum, size);
            }
}

static void want_conv(const mf_op *op, data *d) {
    const int64_t *x = op->input[0].dim, *y = op->output.dim;
    const mf_attrs *a = &op->attrs;
    int depthwise = op->kind == MF_OP_DWCONV2D;
    int64_t at = 0;
    for (int64_t n = 0; n < y[0]; n++)
        for (int64_t i = 0; i < y[1]; i++)
            for (int64_t j = 0; j < y[2]; j++)
                for (int64_t o = 0; o < y[3]; o++, at++) {
                    double sum = 0, size = 0;
                    for (int64_t c = depthwise ? o : 0; c < (depthwise ? o + 1 : x[3]); c++)
                        for (int ky = 0; ky < a->kernel[0]; ky++)
                            for (int kx = 0; kx < a->kernel[1]; kx++) {
                                int64_t yy = i * a->stride[0] + ky - a->pad[0], xx = j * a->stride[1] + kx - a->pad[1];
                                if (yy < 0 || yy >= x[1] || xx < 0 || xx >= x[2])
                                    continue;
                                int64_t w = depthwise ? o : o * x[3] + c;
                                double v = d->value[0][((n * x[1] + yy) * x[2] + xx) * x[3] + c] *
                                           d->value[1][(w * a->kernel[0] + ky) * a->kernel[1] + kx];
                                sum += v;
                                size += fabs(v);
                            }
                    if (depthwise) {
                        d->want[at] = sum + (d->value[MF_IN_BIAS] ? d->value[MF_IN_BIAS][o] : 0);
                        d->size[at] = size + 1;
                    } else {
                        finish_product(op, d, at, o, sum, size);
                    }
                }
}

static void want_norm(const mf_op *op, data *d, const double *x, const double *gamma, const double *beta) {
    int64_t c = mf_operand_last(&op->output);
    for (int64_t r = 0; r < mf_operand_rows(&op->output); r++) {
        double mean = 0, var = 0;
        for (int64_t j = 0; j < c; j++)
            mean += x[r * c + j] / (double)c;
        for (int64_t j = 0; j < c; j++)
            var += (x[r * c + j] - mean) * (x[r * c + j] - mean) / (double)c;
        double s = 1 / sqrt(var + op->attrs.eps);
        for (int64_t j = 0; j < c; j++) {
            double v = (x[r * c + j] - mean) * s;
            d->want[r * c + j] = v * (gamma ? gamma[j] : 1) + (beta ? beta[j] : 0);
            d->size[r * c + j] = 2 + s + fabs(v);
        }
    }
}

static void want_group(const mf_op *op, data *d) {
    const int64_t *x = op->input[0].dim;
    int64_t t = x[1] * x[2], c = x[3], g = op->attrs.groups, size = c / g;
    for (int64_t n = 0; n < x[0]; n++)
        for (int64_t i = 0; i < g; i++) {
            double mean = 0, var = 0, count = (double)(t * size);
            for (int pass = 0; pass < 3; pass++)
                for (int64_t p = 0; p < t; p++)
                    for (int64_t j = i * size; j < (i + 1) * size; j++) {
                        int64_t at = (n * t + p) * c + j;
                        double v = d->value[0][at];
                        if (pass == 0)
                            mean += v / count;
                        else if (pass == 1)
                            var += (v - mean) * (v - mean) / count;
                        else
                            d->want[at] = (v - mean) / sqrt(var + op->attrs.eps) * d->value[1][j] + d->value[2][j];
                        d->size[at] = 4;
                    }
        }
}

static void want_pyramid(const mf_op *op, data *d) {
    const int64_t *x = op->input[0].dim;
    int64_t at = 0;
    for (int64_t n = 0; n < x[0]; n++)
        for (int l = 0; l < op->attrs.level_count; l++)
            for (int i = 0; i < op->attrs.levels[l][0]; i++)
                for (int j = 0; j < op->attrs.levels[l][1]; j++)
                    for (int64_t c = 0; c < x[3]; c++, at++) {
                        int64_t n0 = op->attrs.levels[l][0], n1 = op->attrs.levels[l][1], cells = 0;
                        for (int64_t y = i * x[1] / n0; y < ((i + 1) * x[1] + n0 - 1) / n0; y++)
                            for (int64_t z = j * x[2] / n1; z < ((j + 1) * x[2] + n1 - 1) / n1; z++, cells++)
                                d->want[at] += d->value[0][((n * x[1] + y) * x[2] + z) * x[3] + c];
                        d->want[at] /= (double)cells;
                        d->size[at] = 1;
                    }
}

static void want_maxpool(const mf_op *op, data *d) {
    const int64_t *x = op->input[0].dim, *y = op->output.dim;
    const mf_attrs *a = &op->attrs;
    for (int64_t at = 0; at < d->count; at++) {
        int64_t c = at % y[3], j = at / y[3] % y[2], i = at / y[3] / y[2] % y[1], n = at / y[3] / y[2] / y[1];
        double m = -INFINITY;
        for (int ky = 0; ky < a->kernel[0]; ky++)
            for (int kx = 0; kx < a->kernel[1]; kx++) {
                int64_t yy = i * a->stride[0] + ky - a->pad[0], xx = j * a->stride[1] + kx - a->pad[1];
                if (yy >= 0 && yy < x[1] && xx >= 0 && xx < x[2])
                    m = fmax(m, d->value[0][((n * x[1] + yy) * x[2] + xx) * x[3] + c]);
            }
        d->want[at] = m;
        d->size[at] = 0;
    }
}

static double elu1(double x) {
    return x > 0 ? x + 1 : exp(x);
}

static void want_attention(const mf_op *op, data *d) {
    int64_t n = op->input[0].dim[0], t = op->input[0].dim[1], c = op->input[0].dim[2], s = op->input[1].dim[1];
    int64_t heads = op->attrs.heads, w = c / heads;
    double *weight = malloc((size_t)s * sizeof(double));
    for (int64_t b = 0; b < n; b++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < t; i++) {
                const double *q = d->value[0] + (b * t + i) * c + h * w;
                double total = 0, top = -INFINITY;
                for (int64_t j = 0; j < s; j++) {
                    const double *k = d->value[1] + (b * s + j) * c + h * w;
                    weight[j] = 0;
                    for (int64_t e = 0; e < w; e++)
                        weight[j] += op->attrs.attention == MF_ATTENTION_LINEAR ? elu1(q[e]) * elu1(k[e])
                                                                                : q[e] * k[e] / sqrt((double)w);
                    top = fmax(top, weight[j]);
                }
                for (int64_t j = 0; j < s; j++) {
                    if (op->attrs.attention == MF_ATTENTION_SOFTMAX)
                        weight[j] = exp(weight[j] - top);
                    total += weight[j];
                }
                if (op->attrs.attention == MF_ATTENTION_LINEAR)
                    total += op->attrs.eps;
                for (int64_t e = 0; e < w; e++) {
                    double sum = 0;
                    for (int64_t j = 0; j < s; j++)
                        sum += weight[j] * d->value[2][(b * s + j) * c + h * w + e];
                    d->want[(b * t + i) * c + h * w + e] = sum / total;
                    d->size[(b * t + i) * c + h * w + e] = 1;
                }
            }
    free(weight);
}

static void want_rest(const mf_op *op, data *d) {
    int64_t c = mf_operand_last(&op->input[0]), rows = mf_operand_rows(&op->input[0]);
    double *const *v = d->value;
    for (int64_t i = 0; i < d->count; i++)
        d->size[i] = 1;
    switch (op->kind) {
    case MF_OP_BATCHNORM:
        for (int64_t i = 0; i < d->count; i++) {
            double s = v[1][i % c] / sqrt(v[4][i % c] + op->attrs.eps);
            d->want[i] = apply(op->attrs.act, (v[0][i] - v[3][i % c]) * s + v[2][i % c]);
            d->size[i] = 1 + 3 * fabs(s);
        }
        break;
    case MF_OP_ACT:
        for (int64_t i = 0; i < d->count; i++)
            d->want[i] = apply(op->attrs.act, v[0][i]);
        break;
    case MF_OP_ADD:
    case MF_OP_MUL:
        for (int64_t i = 0; i < d->count; i++) {
            double b = v[1][i % mf_operand_count(&op->input[1])];
            d->want[i] = apply(op->attrs.act, op->kind == MF_OP_ADD ? v[0][i] + b : v[0][i] * b);
        }
        break;
    case MF_OP_CHANNEL_MAX:
        for (int64_t i = 0; i < rows; i++) {
            d->want[i] = v[0][i * c];
            for (int64_t j = 1; j < c; j++)
                d->want[i] = fmax(d->want[i], v[0][i * c + j]);
            d->size[i] = 0;
        }
        break;
    case MF_OP_L2NORM:
        for (int64_t i = 0; i < rows; i++) {
            double s = 0;
            for (int64_t j = 0; j < c; j++)
                s += v[0][i * c + j] * v[0][i * c + j];
            for (int64_t j = 0; j < c; j++)
                d->want[i * c + j] = v[0][i * c + j] / fmax(sqrt(s), op->attrs.eps);
        }
        break;
    case MF_OP_GATED_MEAN: {
        int64_t n = op->input[0].dim[0], t = rows / n;
        for (int64_t i = 0; i < rows * c; i++)
            d->want[i / (t * c) * c + i % c] += v[0][i] * (v[1][i / (t * c) * c + i % c] * v[2][i / c] + 1) / (double)t;
        break;
    }
    default:
        ck_abort_msg("no reference for operation %d", (int)op->kind);
    }
}

static void want(const mf_op *op, data *d) {
    switch (op->kind) {
    case MF_OP_MATMUL:
        want_matmul(op, d);
        break;
    case MF_OP_CONV2D:
        want_conv(op, d);
        break;
    case MF_OP_DWCONV2D: {
        want_conv(op, d);
        if (op->attrs.norm) {
            double *x = malloc((size_t)d->count * sizeof(double));
            memcpy(x, d->want, (size_t)d->count * sizeof(double));
            want_norm(op, d, x, d->value[MF_IN_GAMMA], d->value[MF_IN_BETA]);
            free(x);
        }
        break;
    }
    case MF_OP_LAYERNORM:
        want_norm(op, d, d->value[0], d->value[1], d->value[2]);
        break;
    case MF_OP_GROUPNORM:
        want_group(op, d);
        break;
    case MF_OP_PYRAMID_POOL:
        want_pyramid(op, d);
        break;
    case MF_OP_MAXPOOL:
        want_maxpool(op, d);
        break;
    case MF_OP_ATTENTION:
        want_attention(op, d);
        break;
    default:
        want_rest(op, d);
    }
}

/* Runs `op` with each instruction set and 1 and 3 threads; the threads must not matter to a bit. */
static void check(const mf_op *op) {
    data d = {0};
    fill(op, &d);
    if (op->kind == MF_OP_BATCHNORM) /* a variance */
        for (int64_t i = 0; i < mf_operand_count(&op->input[4]); i++) {
            ((float *)d.raw[4])[i] = fabsf(((float *)d.raw[4])[i]) + 0.1f;
            d.value[4][i] = (double)((float *)d.raw[4])[i];
        }
    want(op, &d);
    float *first = malloc((size_t)d.count * sizeof(float) + 1);
    for (int i = 0; i < ISAS; i++) {
        mf_cpu cpu;
        for (int threads = 1; threads <= 3; threads += 2) {
            mf_cpu_init(&cpu, &host, threads, NULL, NULL);
            if (!mf_cpu_use(&cpu, isa_names[i]))
                continue;
            run_cpu(&cpu, op, &d);
            double worst = 0;
            int64_t where = 0;
            for (int64_t j = 0; j < d.count; j++) {
                double e = fabs((double)d.got[j] - d.want[j]) / (d.size[j] > 0 ? d.size[j] : 1);
                if (!(e <= worst)) {
                    worst = e;
                    where = j;
                    if (isnan(e))
                        break;
                }
            }
            ck_assert_msg(worst <= 1.2e-6, "%s, operation %d, %d threads: error %.3g at %ld: %.9g, expected %.9g",
                          isa_names[i], (int)op->kind, threads, worst, (long)where, (double)d.got[where],
                          d.want[where]);
            if (threads == 1)
                memcpy(first, d.got, (size_t)d.count * sizeof(float));
            else
                ck_assert_msg(!memcmp(first, d.got, (size_t)d.count * sizeof(float)),
                              "%s, operation %d: threads matter", isa_names[i], (int)op->kind);
        }
    }
    free(first);
    let_go(&d);
}

/* ---- the cases ---- */
static mf_op matmul(int m, int k, int n, int tb, mf_dtype w, int constant) {
    mf_op op = {.kind = MF_OP_MATMUL, .input_count = 2};
    op.attrs.tb = tb;
    op.input[0] = shape(0, 2, m, k);
    op.input[1] = tb ? shape(constant, 2, n, k) : shape(constant, 2, k, n);
    op.input[1].dtype = w;
    op.output = shape(0, 2, m, n);
    for (int i = 2; i < 5; i++)
        op.input[i] = absent;
    return op;
}

START_TEST(test_matmul) {
    static const int sizes[][3] = {{1, 1, 1},     {5, 3, 2},      {6, 17, 64},    {13, 64, 65},
                                   {64, 130, 48}, {31, 1, 100},   {97, 515, 130}, {200, 1100, 40},
                                   {7, 1024, 14}, {300, 40, 129}, {3, 600, 1000}};
    static const mf_dtype types[] = {MF_F32, MF_F16, MF_BF16};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        int m = sizes[i][0], k = sizes[i][1], n = sizes[i][2];
        for (int t = 0; t < 3; t++)
            for (int tb = 0; tb < 2; tb++) {
                mf_op op = matmul(m, k, n, tb, types[t], 1);
                check(&op);
                op.attrs.act = (mf_act)(i % MF_ACT_COUNT);
                op.input_count = 5;
                op.input[2] = shape(1, 1, n);
                if (i % 2)
                    op.input[3] = shape(1, 1, n);
                op.input[4] = shape(0, 2, m, n);
                check(&op);
                op.input[4] = absent;
                op.attrs.act = MF_ACT_GELU;
                check(&op);
            }
        mf_op op = matmul(m, k, n, 1, MF_F32, 0);
        check(&op);
        op = matmul(m, k, n, 0, MF_F32, 0);
        check(&op);
    }
}
END_TEST

START_TEST(test_matmul_transposed) {
    mf_op op = matmul(1, 1, 1, 1, MF_F32, 1);
    op.attrs.ta = 1;
    op.input_count = 3;
    op.input[0] = shape(0, 3, 3, 158, 50);
    op.input[1] = shape(1, 2, 14, 158);
    op.input[2] = shape(1, 1, 14);
    op.output = shape(0, 3, 3, 50, 14);
    check(&op);
    op.input[0] = shape(0, 3, 2, 958, 128);
    op.input[1] = shape(1, 2, 14, 958);
    op.output = shape(0, 3, 2, 128, 14);
    check(&op);
}
END_TEST

static mf_op conv(int n, int h, int w, int c, int o, int kh, int kw, int s, int ph, int pw) {
    mf_op op = {.kind = MF_OP_CONV2D, .input_count = 5};
    mf_attrs a = {.kernel = {kh, kw}, .stride = {s, s}, .pad = {ph, pw}};
    op.attrs = a;
    op.input[0] = shape(0, 4, n, h, w, c);
    op.input[1] = shape(1, 4, o, c, kh, kw);
    op.input[2] = shape(1, 1, o);
    op.input[3] = op.input[4] = absent;
    op.output = shape(0, 4, n, (h + 2 * ph - kh) / s + 1, (w + 2 * pw - kw) / s + 1, o);
    return op;
}

START_TEST(test_conv2d) {
    static const int cases[][10] = {
        {2, 9, 11, 3, 5, 3, 3, 1, 1, 1},   {1, 16, 20, 3, 24, 4, 4, 4, 0, 0}, {2, 8, 12, 24, 40, 2, 2, 2, 0, 0},
        {1, 15, 9, 17, 33, 3, 3, 2, 1, 1}, {1, 14, 15, 3, 64, 7, 7, 2, 3, 3}, {2, 5, 7, 20, 30, 1, 1, 1, 0, 0},
        {1, 9, 9, 20, 70, 1, 1, 2, 0, 0},  {2, 62, 1, 32, 40, 5, 1, 1, 2, 0}, {1, 1, 62, 16, 40, 1, 5, 1, 0, 2},
        {2, 20, 23, 1, 1, 9, 9, 1, 4, 4},  {1, 8, 32, 1, 1, 7, 13, 1, 3, 6},  {2, 162, 1, 1, 1, 81, 1, 1, 40, 0},
        {1, 62, 1, 1, 1, 91, 1, 1, 45, 0}, {2, 4, 4, 1, 1, 3, 3, 1, 1, 1},    {1, 3, 2, 1, 1, 7, 7, 1, 3, 3},
        {1, 9, 9, 1, 1, 3, 3, 1, 0, 0},    {1, 40, 70, 3, 8, 3, 3, 1, 1, 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const int *c = cases[i];
        mf_op op = conv(c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9]);
        op.attrs.act = (mf_act)(i % MF_ACT_COUNT);
        check(&op);
        op.input[4] = op.output;
        check(&op);
        op.input[2] = absent;
        op.input[3] = shape(1, 1, c[4]);
        op.input[1].dtype = MF_F16;
        check(&op);
        op.input[1].dtype = MF_F32;
        op.input[1].constant = 0;
        check(&op);
    }
}
END_TEST

START_TEST(test_dwconv2d) {
    static const int cases[][6] = {{1, 16, 16, 32, 7, 7}, {2, 9, 21, 48, 7, 7}, {1, 4, 4, 20, 7, 7},
                                   {2, 5, 3, 9, 7, 7},    {1, 1, 30, 16, 3, 3}, {1, 13, 6, 35, 5, 5},
                                   {2, 6, 7, 17, 9, 11},  {1, 7, 40, 64, 3, 7}, {1, 30, 33, 64, 7, 7}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const int *c = cases[i];
        mf_op op = {.kind = MF_OP_DWCONV2D, .input_count = 5};
        mf_attrs a = {.kernel = {c[4], c[5]}, .stride = {1, 1}, .pad = {c[4] / 2, c[5] / 2}, .eps = 1e-6};
        op.attrs = a;
        op.input[0] = op.output = shape(0, 4, c[0], c[1], c[2], c[3]);
        op.input[1] = shape(1, 4, c[3], 1, c[4], c[5]);
        op.input[2] = op.input[3] = op.input[4] = absent;
        check(&op);
        op.input[1].constant = 0;
        op.input[2] = shape(1, 1, c[3]);
        check(&op);
        op.attrs.norm = 1;
        op.input[1].constant = 1;
        op.input[1].dtype = MF_BF16;
        check(&op);
        op.input[3] = op.input[4] = shape(1, 1, c[3]);
        check(&op);
    }
}
END_TEST

START_TEST(test_norms) {
    for (int c = 1; c <= 200; c = c * 2 + 5) {
        mf_op op = {.kind = MF_OP_LAYERNORM, .input_count = 3};
        op.attrs.eps = 1e-5;
        op.input[0] = op.output = shape(0, 3, 2, 300, c);
        op.input[1] = op.input[2] = shape(1, 1, c);
        check(&op);
        op.input[2] = absent;
        check(&op);
        op.input[1] = absent;
        check(&op);

        op.kind = MF_OP_L2NORM;
        op.input_count = 1;
        op.attrs.eps = 1e-12;
        check(&op);

        op.kind = MF_OP_BATCHNORM;
        op.input_count = 5;
        op.attrs.eps = 1e-5;
        for (int i = 1; i < 5; i++)
            op.input[i] = shape(1, 1, c);
        for (int act = 0; act < MF_ACT_COUNT; act++) {
            op.attrs.act = (mf_act)act;
            check(&op);
        }

        op.kind = MF_OP_GROUPNORM;
        op.attrs.act = MF_ACT_NONE;
        op.input_count = 3;
        op.attrs.groups = c % 5 == 0 ? 5 : 1;
        op.input[0] = op.output = shape(0, 4, 2, 9, 15, c);
        check(&op);
    }
}
END_TEST

START_TEST(test_elements) {
    for (int act = 0; act < MF_ACT_COUNT; act++)
        for (int n = 1; n <= 70; n += 23) {
            mf_op op = {.kind = MF_OP_ACT, .input_count = 1};
            op.attrs.act = (mf_act)act;
            op.input[0] = op.output = shape(0, 3, 3, n * 20, 21);
            check(&op);
            op.input_count = 2;
            for (op.kind = MF_OP_ADD; op.kind <= MF_OP_MUL; op.kind++) {
                op.input[1] = op.input[0];
                check(&op);
                op.input[1] = shape(0, 2, n * 20, 21);
                check(&op);
                op.input[1] = shape(1, 1, 21);
                check(&op);
                op.input[1] = shape(1, 1, 1);
                check(&op);
            }
        }
}
END_TEST

/* The activations over their whole range, against exact values. */
START_TEST(test_accuracy) {
    enum { N = 400001 };
    float *x = malloc(N * sizeof(float)), *y = malloc(N * sizeof(float));
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) * 1e-4f;
    for (int i = 0; i < ISAS; i++) {
        mf_cpu cpu;
        mf_cpu_init(&cpu, &host, 1, NULL, NULL);
        if (!mf_cpu_use(&cpu, isa_names[i]))
            continue;
        double gelu = 0, sigmoid = 0, tanh_form = 0;
        cpu.isa->act(x, y, N, MF_ACT_GELU);
        for (int j = 0; j < N; j++) {
            double want = apply(MF_ACT_GELU, (double)x[j]);
            gelu = fmax(gelu, fabs((double)y[j] - want) - 6e-8 * fabs(want));
        }
        cpu.isa->act(x, y, N, MF_ACT_SIGMOID);
        for (int j = 0; j < N; j++) {
            double want = apply(MF_ACT_SIGMOID, (double)x[j]);
            sigmoid = fmax(sigmoid, fabs((double)y[j] - want) / want);
        }
        cpu.isa->act(x, y, N, MF_ACT_GELU_TANH);
        for (int j = 0; j < N; j++) {
            double want = apply(MF_ACT_GELU_TANH, (double)x[j]);
            tanh_form = fmax(tanh_form, fabs((double)y[j] - want) - 6e-8 * fabs(want));
        }
        if (getenv("MF_TEST_VERBOSE"))
            printf("%s: gelu %.3g sigmoid %.3g gelu by tanh %.3g\n", isa_names[i], gelu, sigmoid, tanh_form);
        ck_assert_double_le(gelu, 3e-7);
        ck_assert_double_le(sigmoid, 3e-7);
        ck_assert_double_le(tanh_form, 3e-7);
        for (int k = 0; k < 2; k++) {
            float far[4] = {-1e30f, 1e30f, -INFINITY, 200.0f};
            cpu.isa->act(far, far, 4, k ? MF_ACT_GELU_TANH : MF_ACT_GELU);
            ck_assert(fabsf(far[0]) <= 4e-7f && far[1] == 1e30f && fabsf(far[2]) <= 4e-7f && far[3] == 200.0f);
        }
    }
    free(x);
    free(y);
}
END_TEST

START_TEST(test_pools) {
    static const int maps[][4] = {{1, 32, 32, 40}, {2, 16, 64, 128}, {2, 5, 7, 19}, {1, 1, 1, 3}};
    for (int i = 0; i < 4; i++) {
        const int *m = maps[i];
        mf_op op = {.kind = MF_OP_PYRAMID_POOL, .input_count = 1};
        mf_attrs levels = {.level_count = 4, .levels = {{1, 1}, {6, 6}, {12, 12}, {7, 21}}};
        op.attrs = levels;
        op.input[0] = shape(0, 4, m[0], m[1], m[2], m[3]);
        op.output = shape(0, 3, m[0], 1 + 36 + 144 + 147, m[3]);
        check(&op);

        mf_op pool = {.kind = MF_OP_MAXPOOL, .input_count = 1};
        mf_attrs window = {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}};
        pool.attrs = window;
        pool.input[0] = op.input[0];
        pool.output = shape(0, 4, m[0], (m[1] - 1) / 2 + 1, (m[2] - 1) / 2 + 1, m[3]);
        check(&pool);

        mf_op top = {.kind = MF_OP_CHANNEL_MAX, .input_count = 1};
        top.input[0] = op.input[0];
        top.output = shape(0, 4, m[0], m[1], m[2], 1);
        check(&top);

        mf_op mean = {.kind = MF_OP_GATED_MEAN, .input_count = 3};
        mean.input[0] = op.input[0];
        mean.input[1] = shape(0, 3, m[0], 1, m[3]);
        mean.input[2] = shape(0, 3, m[0], m[1] * m[2], 1);
        mean.output = shape(0, 3, m[0], 1, m[3]);
        check(&mean);
    }
}
END_TEST

START_TEST(test_attention) {
    static const int cases[][5] = {
        {1, 100, 130, 128, 4}, {2, 49, 48, 64, 2}, {1, 5, 3, 20, 4}, {1, 33, 70, 24, 1}, {2, 1, 1, 6, 2}};
    for (int kind = 0; kind < 2; kind++)
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
            const int *c = cases[i];
            mf_op op = {.kind = MF_OP_ATTENTION, .input_count = 3};
            op.attrs.attention = (mf_attention)kind;
            op.attrs.heads = c[4];
            op.attrs.eps = 1e-6;
            op.input[0] = op.output = shape(0, 3, c[0], c[1], c[3]);
            op.input[1] = op.input[2] = shape(0, 3, c[0], c[2], c[3]);
            check(&op);
        }
}
END_TEST

START_TEST(test_copies) {
    for (int i = 0; i < ISAS; i++) {
        mf_cpu cpu;
        mf_cpu_init(&cpu, &host, 2, NULL, NULL);
        if (!mf_cpu_use(&cpu, isa_names[i]))
            continue;
        mf_op op = {.kind = MF_OP_CONCAT, .input_count = 2};
        op.attrs.axis = 1;
        op.input[0] = shape(0, 3, 2, 3, 4);
        op.input[1] = shape(0, 3, 2, 5, 4);
        op.output = shape(0, 3, 2, 8, 4);
        data d = {0};
        fill(&op, &d);
        run_cpu(&cpu, &op, &d);
        for (int j = 0; j < 64; j++) {
            int n = j / 32, t = j / 4 % 8;
            double w = t < 3 ? d.value[0][(n * 3 + t) * 4 + j % 4] : d.value[1][(n * 5 + t - 3) * 4 + j % 4];
            ck_assert((double)d.got[j] == w);
        }
        let_go(&d);
        mf_op cut = {.kind = MF_OP_SLICE, .input_count = 1};
        cut.attrs.axis = 1;
        cut.attrs.begin = 2;
        cut.attrs.end = 5;
        cut.input[0] = shape(0, 3, 2, 8, 4);
        cut.output = shape(0, 3, 2, 3, 4);
        data e = {0};
        fill(&cut, &e);
        run_cpu(&cpu, &cut, &e);
        for (int j = 0; j < 24; j++)
            ck_assert((double)e.got[j] == e.value[0][(j / 12 * 8 + 2 + j / 4 % 3) * 4 + j % 4]);
        let_go(&e);
    }
}
END_TEST

/* The second image of a batch is the first one again: same bits, whatever tile its rows fall in. */
START_TEST(test_place_in_batch) {
    for (int i = 0; i < ISAS; i++) {
        mf_cpu cpu;
        mf_cpu_init(&cpu, &host, 2, NULL, NULL);
        if (!mf_cpu_use(&cpu, isa_names[i]))
            continue;
        mf_op ops[4];
        ops[0] = conv(2, 7, 11, 50, 70, 1, 1, 1, 0, 0);
        ops[0].attrs.act = MF_ACT_GELU;
        ops[1] = conv(2, 7, 11, 70, 30, 3, 3, 1, 1, 1);
        ops[2] = conv(2, 7, 11, 50, 50, 7, 7, 1, 3, 3);
        ops[2].kind = MF_OP_DWCONV2D;
        ops[2].attrs.norm = 1;
        ops[2].attrs.eps = 1e-6;
        ops[2].input[1] = shape(1, 4, 50, 1, 7, 7);
        ops[3] = conv(2, 13, 11, 50, 50, 1, 1, 1, 0, 0);
        ops[3].kind = MF_OP_GROUPNORM;
        ops[3].attrs.groups = 5;
        ops[3].input_count = 3;
        ops[3].input[1] = ops[3].input[2] = shape(1, 1, 50);
        for (int j = 0; j < 4; j++) {
            data d = {0};
            fill(&ops[j], &d);
            size_t half = (size_t)mf_operand_count(&ops[j].input[0]) / 2;
            memcpy((float *)d.raw[0] + half, d.raw[0], half * sizeof(float));
            run_cpu(&cpu, &ops[j], &d);
            ck_assert_msg(!memcmp(d.got, d.got + d.count / 2, (size_t)(d.count / 2) * sizeof(float)), "%s, case %d",
                          isa_names[i], j);
            let_go(&d);
        }
    }
}
END_TEST

/* ---- the optimiser ---- */
enum { TENSORS = 5 };

typedef struct tensors {
    float *p[TENSORS], *m[TENSORS], *v[TENSORS], *g[TENSORS], *average[TENSORS];
    mf_update_item item[TENSORS];
} tensors;

static float *row_of(int64_t n, int positive) {
    float *x = malloc((size_t)n * sizeof(float) + 1);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(positive ? fabs(noise()) * 0.01 : noise());
    return x;
}

static void make_tensors(tensors *t) {
    static const int64_t counts[TENSORS] = {1, 40000, 17, 0, 70003};
    for (int i = 0; i < TENSORS; i++) {
        t->p[i] = row_of(counts[i], 0);
        t->m[i] = row_of(counts[i], 0);
        t->v[i] = row_of(counts[i], 1);
        t->g[i] = row_of(counts[i], 0);
        t->average[i] = i % 2 ? row_of(counts[i], 0) : NULL;
        t->item[i] =
            (mf_update_item){t->p[i], t->m[i], t->v[i], t->g[i], t->average[i], counts[i], 1e-3 * (i + 1), 0.05};
    }
}

static void free_tensors(tensors *t) {
    for (int i = 0; i < TENSORS; i++) {
        free(t->p[i]);
        free(t->m[i]);
        free(t->v[i]);
        free(t->g[i]);
        free(t->average[i]);
    }
}

/* size: of the terms that may cancel */
static int near(double got, double want, double size) {
    return fabs(got - want) <= 1e-6 * (fabs(want) + size);
}

static void check_step(const mf_update *u, const tensors *now, const tensors *before) {
    for (int t = 0; t < TENSORS; t++)
        for (int64_t i = 0; i < now->item[t].count; i++) {
            double g = u->gradient_scale * (double)before->g[t][i];
            if (u->clip_value > 0)
                g = g > u->clip_value ? u->clip_value : g < -u->clip_value ? -u->clip_value : g;
            double m = u->beta1 * (double)before->m[t][i] + (1 - u->beta1) * g;
            double v = u->beta2 * (double)before->v[t][i] + (1 - u->beta2) * g * g;
            double p = (double)before->p[t][i] * (1 - now->item[t].rate * now->item[t].decay);
            p -= now->item[t].rate * (m / u->correction1) / (sqrt(v / u->correction2) + u->eps);
            ck_assert(near((double)now->m[t][i], m, 1));
            ck_assert(near((double)now->v[t][i], v, 1e-6));
            ck_assert(near((double)now->p[t][i], p, 1));
            if (now->average[t])
                ck_assert(near((double)now->average[t][i],
                               u->average_decay * (double)before->average[t][i] + (1 - u->average_decay) * p, 1));
        }
}

START_TEST(test_update) {
    for (int i = 0; i < ISAS; i++) {
        mf_cpu cpu;
        float *bits = NULL;
        double first_sum = 0;
        for (int threads = 1; threads <= 3; threads++) {
            mf_cpu_init(&cpu, &host, threads, NULL, NULL);
            if (!mf_cpu_use(&cpu, isa_names[i]))
                break;
            tensors now, before;
            seed = 5;
            make_tensors(&now);
            seed = 5;
            make_tensors(&before);
            mf_update u = {sizeof(u),     now.item,          TENSORS, 0.9, 0.999, 1e-8,
                           1 - 0.9 * 0.9, 1 - 0.999 * 0.999, 0.5,     0.3, 0.99};
            double sum = 0, want = 0;
            ck_assert_int_eq(mf_cpu_sum_squares(&cpu, &u, &sum), 0);
            for (int t = 0; t < TENSORS; t++)
                for (int64_t k = 0; k < now.item[t].count; k++)
                    want += (double)now.g[t][k] * (double)now.g[t][k];
            ck_assert(fabs(sum - want) <= 1e-6 * want);
            ck_assert_int_eq(mf_cpu_update(&cpu, &u), 0);
            check_step(&u, &now, &before);
            if (threads == 1) {
                bits = now.p[4];
                now.p[4] = NULL;
                first_sum = sum;
            } else {
                ck_assert(!memcmp(bits, now.p[4], (size_t)now.item[4].count * sizeof(float)));
                ck_assert(!memcmp(&sum, &first_sum, sizeof(sum)));
            }
            free_tensors(&now);
            free_tensors(&before);
        }
        free(bits);
    }
}
END_TEST

START_TEST(test_refusals) {
    mf_cpu cpu;
    mf_cpu_init(&cpu, &host, 1, NULL, NULL);
    mf_op op = matmul(4, 4, 4, 1, MF_F32, 1);
    ck_assert(mf_cpu_supports(&cpu, &op));
    op.output.dtype = MF_F64;
    ck_assert(!mf_cpu_supports(&cpu, &op));
    op = matmul(4, 4, 4, 1, MF_F16, 0);
    ck_assert(!mf_cpu_supports(&cpu, &op));
    op = matmul(4, 4, 4, 1, MF_I8, 1);
    ck_assert(!mf_cpu_supports(&cpu, &op));
    mf_cpu_kernel *k = NULL;
    mf_kernel_info info;
    ck_assert_int_ne(mf_cpu_prepare(&cpu, &op, &k, &info), 0);
    ck_assert_ptr_null(k);
    ck_assert(!mf_cpu_use(&cpu, "vax"));
}
END_TEST

int main(void) {
    Suite *s = suite_create("cpu");
    TCase *c = tcase_create("operations");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, test_matmul);
    tcase_add_test(c, test_matmul_transposed);
    tcase_add_test(c, test_conv2d);
    tcase_add_test(c, test_dwconv2d);
    tcase_add_test(c, test_norms);
    tcase_add_test(c, test_elements);
    tcase_add_test(c, test_accuracy);
    tcase_add_test(c, test_pools);
    tcase_add_test(c, test_attention);
    tcase_add_test(c, test_copies);
    tcase_add_test(c, test_place_in_batch);
    tcase_add_test(c, test_update);
    tcase_add_test(c, test_refusals);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
