/* Gradients row by row: LAYERNORM_GRAD, L2NORM_GRAD, CHANNEL_MAX_GRAD; chunks of rows. */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    int dy = op->kind == MF_OP_LAYERNORM_GRAD ? 2 : 1;
    (void)cpu;
    return op->input[0].ndim >= 1 && mf_operand_last(&op->input[0]) > 0 && mf_operand_present(&op->input[dy]);
}

static mf_status prepare(mf_cpu_kernel *k) {
    mf_cpu_plan_rows(k, mf_operand_rows(&k->op.input[0]), mf_operand_last(&k->op.input[0]), 1);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x, *gamma, *dy;
    float *dx;
    int64_t rows, c;
} job;

static void run_rows(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    int64_t r = chunk * j->k->chunk[0], n = mf_min64(j->k->chunk[0], j->rows - r), c = j->c;
    float eps = (float)j->k->op.attrs.eps;
    (void)slot;
    if (j->k->op.kind == MF_OP_LAYERNORM_GRAD)
        isa->layernorm_grad(j->x + r * c, j->dy + r * c, j->dx + r * c, n, c, eps, j->gamma);
    else if (j->k->op.kind == MF_OP_L2NORM_GRAD)
        isa->l2norm_grad(j->x + r * c, j->dy + r * c, j->dx + r * c, n, c, eps);
    else
        isa->channel_max_grad(j->x + r * c, j->dy + r, j->dx + r * c, n, c);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    int norm = k->op.kind == MF_OP_LAYERNORM_GRAD;
    job j = {k,
             in[0],
             norm ? in[1] : NULL,
             norm ? in[2] : in[1],
             out,
             mf_operand_rows(&k->op.input[0]),
             mf_operand_last(&k->op.input[0])};
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, mf_div_up(j.rows, k->chunk[0]), run_rows, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_layernorm_grad = {supports, prepare, NULL, run};
const mf_cpu_ops mf_cpu_l2norm_grad = {supports, prepare, NULL, run};
const mf_cpu_ops mf_cpu_channel_max_grad = {supports, prepare, NULL, run};
