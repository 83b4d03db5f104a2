/* LAYERNORM: y = (x - mean) / sqrt(var + eps) gamma + beta over the last dimension; var is the mean of the squared
 * deviations, taken in a second pass.  Threads: parts of the rows. */
#include "backends/ref/real.h"

void REF(layernorm_row)(const real *x, int64_t count, const real *gamma, const real *beta, double eps, real *out) {
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < count; c++)
        sum += (double)x[c];
    const double mean = sum / (double)count;
    for (int64_t c = 0; c < count; c++)
        squares += ((double)x[c] - mean) * ((double)x[c] - mean);
    const double scale = 1 / sqrt(squares / (double)count + eps);
    for (int64_t c = 0; c < count; c++) {
        double y = ((double)x[c] - mean) * scale;
        y = gamma ? y * (double)gamma[c] : y;
        out[c] = (real)(beta ? y + (double)beta[c] : y);
    }
}

typedef struct job {
    const real *x, *gamma, *beta;
    real *out;
    int64_t channels;
    double eps;
} job;

static void rows(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t r = begin; r < end; r++)
        REF(layernorm_row)(j->x + r * j->channels, j->channels, j->gamma, j->beta, j->eps, j->out + r * j->channels);
}

MF_REF_RUN(layernorm) {
    const mf_operand *x = &kernel->op.input[0];
    job j = {inputs[0], ref_input(kernel, inputs, 1), ref_input(kernel, inputs, 2),
             output,    mf_operand_last(x),           kernel->op.attrs.eps};
    (void)scratch;
    ref_parallel(kernel, mf_operand_rows(x), 4.0 * (double)j.channels, rows, &j);
}
