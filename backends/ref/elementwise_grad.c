/* ACT_GRAD: dy act'(x), x before the activation.  LERP: a + rate (b - a).  ROW_SCALE: a[n, ..] s[n].
 * ROW_DOT: the inner products of the rows of a and b, summed in double.
 * Threads: parts of the elements, of the rows. */
#include "backends/ref/real.h"

typedef struct job {
    const real *a, *b;
    real *out;
    int64_t size; /* of a row */
    double rate;
    mf_act act;
} job;

static job make_job(const mf_kernel *kernel, const void *const *inputs, void *output) {
    const mf_operand *a = &kernel->op.input[0];
    int64_t rows = a->ndim > 0 ? a->dim[0] : 1;
    return (job){.a = inputs[0],
                 .b = inputs[1],
                 .out = output,
                 .size = mf_operand_count(a) / rows,
                 .rate = kernel->op.attrs.rate,
                 .act = kernel->op.attrs.act};
}

/* act'(x) */
static double slope(mf_act act, double x) {
    switch (act) {
    case MF_ACT_GELU: /* the normal distribution, and x times its density */
        return 0.5 * erfc(-x * 0.70710678118654752440) + x * 0.39894228040143267794 * exp(-0.5 * x * x);
    case MF_ACT_RELU:
        return x <= 0 ? 0 : 1;
    case MF_ACT_SIGMOID: {
        double e = exp(-fabs(x));
        return e / ((1 + e) * (1 + e));
    }
    case MF_ACT_NONE:
    case MF_ACT_GELU_TANH: /* has none: refused */
    case MF_ACT_COUNT:
        break;
    }
    return 1;
}

static void act_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t i = begin; i < end; i++)
        j->out[i] = (real)((double)j->b[i] * slope(j->act, (double)j->a[i]));
}

static void lerp_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t i = begin; i < end; i++)
        j->out[i] = (real)((double)j->a[i] + j->rate * ((double)j->b[i] - (double)j->a[i]));
}

static void scale_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t n = begin; n < end; n++)
        for (int64_t i = n * j->size; i < (n + 1) * j->size; i++)
            j->out[i] = j->a[i] * j->b[n];
}

static void dot_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t n = begin; n < end; n++) {
        double sum = 0;
        for (int64_t i = n * j->size; i < (n + 1) * j->size; i++)
            sum += (double)j->a[i] * (double)j->b[i];
        j->out[n] = (real)sum;
    }
}

MF_REF_RUN(act_grad) {
    job j = make_job(kernel, inputs, output);
    (void)scratch;
    ref_parallel(kernel, mf_operand_count(&kernel->op.output), j.act ? 20 : 1, act_part, &j);
}

MF_REF_RUN(lerp) {
    job j = make_job(kernel, inputs, output);
    (void)scratch;
    ref_parallel(kernel, mf_operand_count(&kernel->op.output), 1, lerp_part, &j);
}

MF_REF_RUN(row_scale) {
    job j = make_job(kernel, inputs, output);
    (void)scratch;
    ref_parallel(kernel, kernel->op.input[0].dim[0], (double)j.size, scale_part, &j);
}

MF_REF_RUN(row_dot) {
    job j = make_job(kernel, inputs, output);
    (void)scratch;
    ref_parallel(kernel, kernel->op.input[0].dim[0], (double)j.size, dot_part, &j);
}
