/* ACT_GRAD and LERP: two inputs, element by element, chunks of lines of 64 elements. */
#include "backends/cpu/kernel.h"

enum { LINE = 64 };

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return mf_operand_present(&op->input[1]) && mf_operand_count(&op->input[0]) == mf_operand_count(&op->input[1]) &&
           mf_act_has_gradient(op->attrs.act);
}

static mf_status prepare(mf_cpu_kernel *k) {
    mf_cpu_plan_rows(k, mf_div_up(mf_operand_count(&k->op.input[0]), LINE), LINE, 1);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *a, *b;
    float *y;
    int64_t count;
} job;

static void run_part(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const mf_op *op = &j->k->op;
    int64_t at = chunk * j->k->chunk[0] * LINE, n = mf_min64(j->k->chunk[0] * LINE, j->count - at);
    (void)slot;
    if (op->kind == MF_OP_LERP)
        j->k->cpu->isa->lerp(j->a + at, j->b + at, j->y + at, n, (float)op->attrs.rate);
    else
        j->k->cpu->isa->act_grad(j->a + at, j->b + at, j->y + at, n, op->attrs.act);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = {k, in[0], in[1], out, mf_operand_count(&k->op.input[0])};
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, mf_div_up(j.count, k->chunk[0] * LINE), run_part, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_act_grad = {supports, prepare, NULL, run};
const mf_cpu_ops mf_cpu_lerp = {supports, prepare, NULL, run};
