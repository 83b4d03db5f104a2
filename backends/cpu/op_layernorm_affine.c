/* LAYERNORM_GRAD_AFFINE: sums over rows of dy (x - mean) / deviation and of dy (columns.c). */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim >= 1 && mf_operand_last(&op->input[0]) > 0 && mf_operand_present(&op->input[1]);
}

static mf_columns plan(const mf_cpu_kernel *k) {
    const mf_operand *x = &k->op.input[0];
    return mf_columns_plan(k->cpu, mf_operand_rows(x), mf_operand_last(x), 2, 1);
}

static mf_status prepare(mf_cpu_kernel *k) {
    mf_columns p = plan(k);
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]));
    k->shared_bytes = mf_columns_scratch(&p);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x, *dy;
    int64_t c;
} job;

static void sums(const void *arg, int64_t row0, int64_t rows, int64_t c0, int64_t n, float *part) {
    const job *j = arg;
    (void)c0;
    (void)n;
    j->k->cpu->isa->layernorm_columns(j->x + row0 * j->c, j->dy + row0 * j->c, rows, j->c, (float)j->k->op.attrs.eps,
                                      part);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    mf_columns p = plan(k);
    job j = {k, in[0], in[1], p.c};
    mf_columns_run(k->cpu, k->slots, &p, sums, &j, out, 1, scratch);
    return 0;
}

const mf_cpu_ops mf_cpu_layernorm_grad_affine = {supports, prepare, NULL, run};
