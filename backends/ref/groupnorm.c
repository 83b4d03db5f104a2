/* GROUPNORM: the channels of x [N, H, W, C] in `groups` runs of C / groups; y = (x - mean) / sqrt(var + eps) gamma +
 * beta with the mean and variance of a group over all positions.  Threads: parts of the N groups. */
#include "backends/ref/real.h"

typedef struct job {
    const real *x, *gamma, *beta;
    real *out;
    int64_t positions, channels, groups;
    double eps;
} job;

static void group(const job *j, int64_t image, int64_t first) {
    const int64_t width = j->channels / j->groups, at = image * j->positions * j->channels + first;
    const real *x = j->x + at;
    const double count = (double)(j->positions * width);
    double sum = 0, squares = 0;
    for (int64_t p = 0; p < j->positions; p++)
        for (int64_t c = 0; c < width; c++)
            sum += (double)x[p * j->channels + c];
    const double mean = sum / count;
    for (int64_t p = 0; p < j->positions; p++)
        for (int64_t c = 0; c < width; c++) {
            double d = (double)x[p * j->channels + c] - mean;
            squares += d * d;
        }
    const double scale = 1 / sqrt(squares / count + j->eps);
    for (int64_t p = 0; p < j->positions; p++)
        for (int64_t c = 0; c < width; c++) {
            double y = ((double)x[p * j->channels + c] - mean) * scale;
            j->out[at + p * j->channels + c] = (real)(y * (double)j->gamma[first + c] + (double)j->beta[first + c]);
        }
}

static void groups(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t i = begin; i < end; i++)
        group(j, i / j->groups, i % j->groups * (j->channels / j->groups));
}

MF_REF_RUN(groupnorm) {
    const int64_t *dim = kernel->op.input[0].dim;
    job j = {inputs[0],           inputs[1], inputs[2], output, dim[1] * dim[2], dim[3], kernel->op.attrs.groups,
             kernel->op.attrs.eps};
    (void)scratch;
    ref_parallel(kernel, dim[0] * j.groups, 4.0 * (double)(j.positions * j.channels / j.groups), groups, &j);
}
