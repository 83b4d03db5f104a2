/* ACT: act(x).  ADD: act(a + b).  MUL: act(a * b); b repeats over a, element i of a meets element i mod count(b).
 * Threads: parts of the elements. */
#include "backends/ref/real.h"

typedef struct job {
    const real *a, *b;
    real *out;
    int64_t period;
    mf_act act;
} job;

static void run(const mf_kernel *kernel, const void *const *inputs, void *output, ref_body body) {
    const mf_op *op = &kernel->op;
    job j = {inputs[0], NULL, output, 1, op->attrs.act};
    if (op->kind != MF_OP_ACT) {
        j.b = inputs[1];
        j.period = mf_operand_count(&op->input[1]);
    }
    ref_parallel(kernel, mf_operand_count(&op->output), j.act ? 10 : 1, body, &j);
}

static void act_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t i = begin; i < end; i++)
        j->out[i] = real_act(j->act, j->a[i]);
}

static void add_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    int64_t at = begin % j->period;
    (void)task;
    for (int64_t i = begin; i < end; i++, at = at + 1 == j->period ? 0 : at + 1)
        j->out[i] = real_act(j->act, j->a[i] + j->b[at]);
}

static void mul_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    int64_t at = begin % j->period;
    (void)task;
    for (int64_t i = begin; i < end; i++, at = at + 1 == j->period ? 0 : at + 1)
        j->out[i] = real_act(j->act, j->a[i] * j->b[at]);
}

MF_REF_RUN(act) {
    (void)scratch;
    run(kernel, inputs, output, act_part);
}

MF_REF_RUN(add) {
    (void)scratch;
    run(kernel, inputs, output, add_part);
}

MF_REF_RUN(mul) {
    (void)scratch;
    run(kernel, inputs, output, mul_part);
}
