/* BATCH_STATS, BATCHNORM_GRAD_AFFINE, BATCHNORM_GRAD: sums over rows by columns.c, and an affine map by chunks of rows.
 *
 *   dgamma = sum of dy (x - mean) r, dbeta = sum of dy, with r = 1 / sqrt(var + eps)
 *   dx = gamma r (dy - dbeta / n - (x - mean) r dgamma / n) where mean and var are x's own, else gamma r dy */
#include <math.h>

#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    const mf_operand *in = op->input;
    (void)cpu;
    if (in[0].ndim < 1)
        return 0;
    if (op->kind == MF_OP_BATCHNORM_GRAD_AFFINE)
        return mf_operand_present(&in[1]) && mf_operand_present(&in[2]) && mf_operand_present(&in[3]);
    if (op->kind == MF_OP_BATCHNORM_GRAD)
        return mf_operand_present(&in[2]) && mf_operand_present(&in[3]) && mf_operand_present(&in[4]) &&
               (!op->attrs.own || mf_operand_present(&in[5]));
    return 1;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x, *dy, *mean, *a, *b, *s;
    float *dx;
    int64_t rows, c;
} job;

/* ---- sums ---- */
static mf_columns plan(const mf_cpu_kernel *k) {
    const mf_operand *x = &k->op.input[0];
    int stats = k->op.kind == MF_OP_BATCH_STATS;
    return mf_columns_plan(k->cpu, mf_operand_rows(x), mf_operand_last(x), stats ? 1 : 2, stats);
}

static mf_status prepare_sums(mf_cpu_kernel *k) {
    mf_columns p = plan(k);
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]) / 2);
    k->shared_bytes = mf_columns_scratch(&p);
    return 0;
}

static void moment(const void *arg, int64_t row0, int64_t rows, int64_t c0, int64_t n, float *part) {
    const job *j = arg;
    (void)c0;
    (void)n;
    j->k->cpu->isa->column_sums(j->x + row0 * j->c, rows, j->c, j->mean, j->mean != NULL, part);
}

static mf_status run_stats(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    mf_columns p = plan(k);
    job j = {.k = k, .x = in[0], .c = p.c};
    float *mean = out, *var = mean + p.c, *unbiased = var + p.c;
    double n = (double)p.rows;
    mf_columns_run(k->cpu, k->slots, &p, moment, &j, mean, 1 / n, scratch);
    j.mean = mean;
    mf_columns_run(k->cpu, k->slots, &p, moment, &j, var, 1 / n, scratch);
    for (int64_t c = 0; c < p.c; c++)
        unbiased[c] = (float)((double)var[c] * n / (n > 1 ? n - 1 : 1));
    return 0;
}

static void dots(const void *arg, int64_t row0, int64_t rows, int64_t c0, int64_t n, float *part) {
    const job *j = arg;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    int64_t at = row0 * j->c + c0;
    isa->column_dots(j->x + at, j->dy + at, j->mean + c0, rows, j->c, n, part + c0);
    isa->column_dots(j->dy + at, NULL, NULL, rows, j->c, n, part + j->c + c0);
}

static mf_status run_affine(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    mf_columns p = plan(k);
    job j = {.k = k, .x = in[0], .mean = in[1], .dy = in[3], .c = p.c};
    const float *var = in[2];
    float *gamma = out;
    mf_columns_run(k->cpu, k->slots, &p, dots, &j, gamma, 1, scratch);
    for (int64_t c = 0; c < p.c; c++)
        gamma[c] = (float)((double)gamma[c] / sqrt((double)var[c] + k->op.attrs.eps));
    return 0;
}

/* ---- dx ---- */
static mf_status prepare_grad(mf_cpu_kernel *k) {
    int64_t c = mf_operand_last(&k->op.input[0]);
    mf_cpu_plan_rows(k, mf_operand_rows(&k->op.input[0]), c, 1);
    k->shared_bytes = (size_t)c * 3 * sizeof(float);
    return 0;
}

static void run_rows(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    int64_t r = chunk * j->k->chunk[0], n = mf_min64(j->k->chunk[0], j->rows - r), at = r * j->c;
    (void)slot;
    j->k->cpu->isa->affine_grad(j->x + at, j->dy + at, j->dx + at, n, j->c, j->mean, j->a, j->b, j->s);
}

static mf_status run_grad(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    const mf_operand *x = &k->op.input[0];
    const float *gamma = in[1], *var = in[3], *affine = in[5];
    int64_t c = mf_operand_last(x), rows = mf_operand_rows(x);
    float *a = scratch, *b = a + c, *s = b + c;
    for (int64_t i = 0; i < c; i++) {
        double r = 1 / sqrt((double)var[i] + k->op.attrs.eps), g = r * (gamma ? (double)gamma[i] : 1);
        a[i] = (float)g;
        b[i] = k->op.attrs.own ? (float)(-g * r * (double)affine[i] / (double)rows) : 0;
        s[i] = k->op.attrs.own ? (float)(-g * (double)affine[c + i] / (double)rows) : 0;
    }
    job j = {k, in[0], in[4], in[2], a, b, s, out, rows, c};
    mf_cpu_for(k->cpu, k->slots, mf_div_up(rows, k->chunk[0]), run_rows, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_batch_stats = {supports, prepare_sums, NULL, run_stats};
const mf_cpu_ops mf_cpu_batchnorm_grad_affine = {supports, prepare_sums, NULL, run_affine};
const mf_cpu_ops mf_cpu_batchnorm_grad = {supports, prepare_grad, NULL, run_grad};
