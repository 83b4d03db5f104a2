/* CHANNEL_MAX: chunks of rows. */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim >= 1 && mf_operand_last(&op->input[0]) > 0;
}

static mf_status prepare(mf_cpu_kernel *k) {
    mf_cpu_plan_rows(k, mf_operand_rows(&k->op.input[0]), mf_operand_last(&k->op.input[0]), 0.5);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x;
    float *y;
    int64_t rows, c;
} job;

static void run_rows(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    int64_t r = chunk * j->k->chunk[0], n = mf_min64(j->k->chunk[0], j->rows - r);
    (void)slot;
    j->k->cpu->isa->channel_max(j->x + r * j->c, j->y + r, n, j->c);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = {k, in[0], out, mf_operand_rows(&k->op.input[0]), mf_operand_last(&k->op.input[0])};
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, mf_div_up(j.rows, k->chunk[0]), run_rows, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_channel_max = {supports, prepare, NULL, run};
