/* BATCHNORM with running statistics: y = act((x - mean) / sqrt(var + eps) gamma + beta), all four over the last
 * dimension.  gamma / sqrt(var + eps) is taken once a channel, in double.  Threads: parts of the rows. */
#include "backends/ref/real.h"

size_t REF(batchnorm_scratch)(const mf_kernel *kernel) {
    return (size_t)mf_operand_last(&kernel->op.input[0]) * sizeof(double);
}

typedef struct job {
    const real *x, *beta, *mean;
    const double *scale;
    real *out;
    int64_t channels;
    mf_act act;
} job;

static void rows(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t r = begin; r < end; r++)
        for (int64_t c = 0; c < j->channels; c++) {
            int64_t at = r * j->channels + c;
            double y = ((double)j->x[at] - (double)j->mean[c]) * j->scale[c] + (double)j->beta[c];
            j->out[at] = real_act(j->act, (real)y);
        }
}

MF_REF_RUN(batchnorm) {
    const mf_operand *x = &kernel->op.input[0];
    const real *gamma = inputs[1], *var = inputs[4];
    double *scale = scratch;
    job j = {inputs[0], inputs[2], inputs[3], scale, output, mf_operand_last(x), kernel->op.attrs.act};
    for (int64_t c = 0; c < j.channels; c++)
        scale[c] = (double)gamma[c] / sqrt((double)var[c] + kernel->op.attrs.eps);
    ref_parallel(kernel, mf_operand_rows(x), (j.act ? 10.0 : 1.0) * (double)j.channels, rows, &j);
}
