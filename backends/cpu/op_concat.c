/* CONCAT: copies of runs; on the caller, or input by input over the threads where it is large. */
#include "backends/cpu/kernel.h"

static int axis_of(const mf_op *op) {
    return op->attrs.axis < 0 ? op->attrs.axis + op->output.ndim : op->attrs.axis;
}

static int supports(const mf_cpu *cpu, const mf_op *op) {
    int axis = axis_of(op);
    (void)cpu;
    if (axis < 0 || axis >= op->output.ndim)
        return 0;
    for (int i = 0; i < op->input_count; i++)
        if (op->input[i].ndim >= 0 && op->input[i].ndim != op->output.ndim)
            return 0;
    return 1;
}

static mf_status prepare(mf_cpu_kernel *k) {
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.output) / 4);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const void *const *in;
    float *y;
} job;

static void run_input(void *arg, int64_t input, int slot) {
    const job *j = arg;
    const mf_op *op = &j->k->op;
    int axis = axis_of(op);
    int64_t outer = 1, inner = 1, before = 0;
    (void)slot;
    if (!mf_operand_present(&op->input[input]))
        return;
    for (int i = 0; i < axis; i++)
        outer *= op->output.dim[i];
    for (int i = axis + 1; i < op->output.ndim; i++)
        inner *= op->output.dim[i];
    for (int i = 0; i < input; i++)
        before += mf_operand_present(&op->input[i]) ? op->input[i].dim[axis] * inner : 0;
    int64_t run = op->input[input].dim[axis] * inner, line = op->output.dim[axis] * inner;
    const float *x = j->in[input];
    for (int64_t i = 0; i < outer; i++)
        memcpy(j->y + i * line + before, x + i * run, (size_t)run * sizeof(float));
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = {k, in, out};
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, k->op.input_count, run_input, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_concat = {supports, prepare, NULL, run};
