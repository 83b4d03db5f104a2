/* SLICE: copies of runs, on the caller: bound by memory, and usually a view in the plan anyway. */
#include "backends/cpu/kernel.h"

static int axis_of(const mf_op *op) {
    return op->attrs.axis < 0 ? op->attrs.axis + op->input[0].ndim : op->attrs.axis;
}

static int supports(const mf_cpu *cpu, const mf_op *op) {
    int axis = axis_of(op);
    (void)cpu;
    return axis >= 0 && axis < op->input[0].ndim && op->attrs.begin >= 0 && op->attrs.begin <= op->attrs.end &&
           op->attrs.end <= op->input[0].dim[axis];
}

static mf_status prepare(mf_cpu_kernel *k) {
    (void)k;
    return 0;
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    const mf_op *op = &k->op;
    const mf_operand *x = &op->input[0];
    int axis = axis_of(op);
    int64_t outer = 1, inner = 1;
    (void)scratch;
    for (int i = 0; i < axis; i++)
        outer *= x->dim[i];
    for (int i = axis + 1; i < x->ndim; i++)
        inner *= x->dim[i];
    int64_t run_ = (op->attrs.end - op->attrs.begin) * inner, line = x->dim[axis] * inner;
    const float *from = in[0];
    float *to = out;
    for (int64_t i = 0; i < outer; i++)
        memcpy(to + i * run_, from + i * line + op->attrs.begin * inner, (size_t)run_ * sizeof(float));
    return 0;
}

const mf_cpu_ops mf_cpu_slice = {supports, prepare, NULL, run};
