/* CONCAT, SLICE and PAD along attrs.axis: copies of runs.  Everything before the axis is `outer` runs; a run is the
 * axis and everything after it.  Threads: parts of the outer runs. TRANSPOSE: x [.., A, B] -> [.., B, A].  Threads:
 * parts of the rows of the output. */
#include "backends/ref/real.h"

/* Elements of a run of `o`. */
static int64_t run_of(const mf_operand *o, int axis) {
    int64_t n = 1;
    for (int i = axis; i < o->ndim; i++)
        n *= o->dim[i];
    return n;
}

typedef struct job {
    const mf_op *op;
    const void *const *inputs;
    real *out;
} job;

static void concat_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const mf_op *op = j->op;
    real *out = j->out + begin * run_of(&op->output, op->attrs.axis);
    (void)task;
    for (int64_t r = begin; r < end; r++)
        for (int i = 0; i < op->input_count; i++) {
            int64_t run = run_of(&op->input[i], op->attrs.axis);
            memmove(out, (const real *)j->inputs[i] + r * run, (size_t)run * sizeof(real));
            out += run;
        }
}

MF_REF_RUN(concat) {
    job j = {&kernel->op, inputs, output};
    int64_t run = run_of(&kernel->op.output, kernel->op.attrs.axis);
    (void)scratch;
    ref_parallel(kernel, mf_operand_count(&kernel->op.output) / run, 0.5 * (double)run, concat_part, &j);
}

static void slice_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const mf_op *op = j->op;
    const int64_t from = run_of(&op->input[0], op->attrs.axis), to = run_of(&op->output, op->attrs.axis);
    const real *x = (const real *)j->inputs[0] + from / op->input[0].dim[op->attrs.axis] * op->attrs.begin;
    (void)task;
    for (int64_t r = begin; r < end; r++)
        memcpy(j->out + r * to, x + r * from, (size_t)to * sizeof(real));
}

MF_REF_RUN(slice) {
    job j = {&kernel->op, inputs, output};
    int64_t run = run_of(&kernel->op.output, kernel->op.attrs.axis);
    (void)scratch;
    ref_parallel(kernel, mf_operand_count(&kernel->op.output) / run, 0.5 * (double)run, slice_part, &j);
}

static void pad_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const mf_op *op = j->op;
    const int64_t from = run_of(&op->input[0], op->attrs.axis), to = run_of(&op->output, op->attrs.axis);
    const int64_t before = to / op->output.dim[op->attrs.axis] * op->attrs.begin;
    (void)task;
    for (int64_t r = begin; r < end; r++) {
        real *out = j->out + r * to;
        memset(out, 0, (size_t)before * sizeof(real));
        memcpy(out + before, (const real *)j->inputs[0] + r * from, (size_t)from * sizeof(real));
        memset(out + before + from, 0, (size_t)(to - before - from) * sizeof(real));
    }
}

MF_REF_RUN(pad) {
    job j = {&kernel->op, inputs, output};
    int64_t run = run_of(&kernel->op.output, kernel->op.attrs.axis);
    (void)scratch;
    ref_parallel(kernel, mf_operand_count(&kernel->op.output) / run, 0.5 * (double)run, pad_part, &j);
}

static void transpose_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const mf_operand *x = &j->op->input[0];
    const int64_t rows = x->dim[x->ndim - 2], columns = x->dim[x->ndim - 1];
    (void)task;
    for (int64_t r = begin; r < end; r++) {
        const real *from = (const real *)j->inputs[0] + r / columns * rows * columns + r % columns;
        for (int64_t i = 0; i < rows; i++)
            j->out[r * rows + i] = from[i * columns];
    }
}

MF_REF_RUN(transpose) {
    job j = {&kernel->op, inputs, output};
    const mf_operand *x = &kernel->op.input[0];
    (void)scratch;
    ref_parallel(kernel, mf_operand_count(x) / x->dim[x->ndim - 2], 2.0 * (double)x->dim[x->ndim - 2], transpose_part,
                 &j);
}
