/* ACT: chunks of elements. */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu, (void)op;
    return 1;
}

static mf_status prepare(mf_cpu_kernel *k) {
    mf_cpu_plan_rows(k, mf_div_up(mf_operand_count(&k->op.input[0]), 64), 64, 1);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x;
    float *y;
    int64_t count;
} job;

static void run_part(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    int64_t at = chunk * j->k->chunk[0] * 64, n = mf_min64(j->k->chunk[0] * 64, j->count - at);
    (void)slot;
    j->k->cpu->isa->act(j->x + at, j->y + at, n, j->k->op.attrs.act);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = {k, in[0], out, mf_operand_count(&k->op.input[0])};
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, mf_div_up(j.count, k->chunk[0] * 64), run_part, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_act = {supports, prepare, NULL, run};
