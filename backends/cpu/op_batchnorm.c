/* BATCHNORM with running statistics: act((x - mean) gamma / sqrt(var + eps) + beta), chunks of rows. */
#include <math.h>

#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim >= 1 && mf_operand_present(&op->input[3]) && mf_operand_present(&op->input[4]);
}

static mf_status prepare(mf_cpu_kernel *k) {
    int64_t c = mf_operand_last(&k->op.input[0]);
    mf_cpu_plan_rows(k, mf_operand_rows(&k->op.input[0]), c, 1);
    k->shared_bytes = (size_t)c * 2 * sizeof(float);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x, *mean, *scale, *shift;
    float *y;
    int64_t rows, c;
} job;

static void run_rows(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    int64_t r = chunk * j->k->chunk[0], n = mf_min64(j->k->chunk[0], j->rows - r);
    (void)slot;
    j->k->cpu->isa->affine(j->x + r * j->c, j->y + r * j->c, n, j->c, j->mean, j->scale, j->shift, j->k->op.attrs.act);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    int64_t c = mf_operand_last(&k->op.input[0]);
    const float *gamma = in[1], *beta = in[2], *var = in[4];
    float *scale = scratch, *shift = scale + c;
    for (int64_t i = 0; i < c; i++) {
        scale[i] = (float)((gamma ? (double)gamma[i] : 1) / sqrt((double)var[i] + k->op.attrs.eps));
        shift[i] = beta ? beta[i] : 0;
    }
    job j = {k, in[0], in[3], scale, shift, out, mf_operand_rows(&k->op.input[0]), c};
    mf_cpu_for(k->cpu, k->slots, mf_div_up(j.rows, k->chunk[0]), run_rows, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_batchnorm = {supports, prepare, NULL, run};
