/* L2NORM: y = x / max(|x|, eps) over the last dimension.  Threads: parts of the rows. */
#include "backends/ref/real.h"

typedef struct job {
    const real *x;
    real *out;
    int64_t channels;
    double eps;
} job;

static void rows(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t r = begin; r < end; r++) {
        const real *x = j->x + r * j->channels;
        double squares = 0;
        for (int64_t c = 0; c < j->channels; c++)
            squares += (double)x[c] * (double)x[c];
        double norm = sqrt(squares);
        norm = norm < j->eps ? j->eps : norm; /* a NaN stays one */
        for (int64_t c = 0; c < j->channels; c++)
            j->out[r * j->channels + c] = (real)((double)x[c] / norm);
    }
}

MF_REF_RUN(l2norm) {
    const mf_operand *x = &kernel->op.input[0];
    job j = {inputs[0], output, mf_operand_last(x), kernel->op.attrs.eps};
    (void)scratch;
    ref_parallel(kernel, mf_operand_rows(x), 3.0 * (double)j.channels, rows, &j);
}
