/* Sums over the rows of [rows, C].
 * COLUMN_SUM: of x, or of x y.  BATCH_STATS: mean, variance by n and by n - 1 (0 of one row).
 * BATCHNORM_GRAD_AFFINE: dgamma = sum dy xhat, dbeta = sum dy with xhat = (x - mean) / sqrt(var + eps).
 * Double all through, rows in order.  Threads: parts of the blocks of channels. */
#include "backends/ref/real.h"

enum { BLOCK = 16 };

typedef struct job {
    const real *x, *y, *mean, *var;
    real *out;
    int64_t rows, channels;
    double eps;
} job;

static void run(const mf_kernel *kernel, job *j, void *output, ref_body body) {
    const mf_operand *x = &kernel->op.input[0];
    j->out = output;
    j->rows = mf_operand_rows(x);
    j->channels = mf_operand_last(x);
    j->eps = kernel->op.attrs.eps;
    ref_parallel(kernel, (j->channels + BLOCK - 1) / BLOCK, 2.0 * (double)(j->rows * BLOCK), body, j);
}

static void sum_blocks(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t b = begin; b < end; b++) {
        const int64_t first = b * BLOCK, block = ref_min(j->channels - first, BLOCK);
        double sum[BLOCK] = {0};
        for (int64_t r = 0; r < j->rows; r++) {
            const int64_t at = r * j->channels + first;
            for (int64_t c = 0; c < block; c++)
                sum[c] += j->y ? (double)j->x[at + c] * (double)j->y[at + c] : (double)j->x[at + c];
        }
        for (int64_t c = 0; c < block; c++)
            j->out[first + c] = (real)sum[c];
    }
}

MF_REF_RUN(column_sum) {
    job j = {.x = inputs[0], .y = ref_input(kernel, inputs, 1)};
    (void)scratch;
    run(kernel, &j, output, sum_blocks);
}

static void stats_blocks(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t b = begin; b < end; b++) {
        const int64_t first = b * BLOCK, block = ref_min(j->channels - first, BLOCK);
        double mean[BLOCK] = {0}, squares[BLOCK] = {0};
        for (int64_t r = 0; r < j->rows; r++)
            for (int64_t c = 0; c < block; c++)
                mean[c] += (double)j->x[r * j->channels + first + c];
        for (int64_t c = 0; c < block; c++)
            mean[c] /= (double)j->rows;
        for (int64_t r = 0; r < j->rows; r++)
            for (int64_t c = 0; c < block; c++) {
                double d = (double)j->x[r * j->channels + first + c] - mean[c];
                squares[c] += d * d;
            }
        for (int64_t c = 0; c < block; c++) {
            j->out[first + c] = (real)mean[c];
            j->out[j->channels + first + c] = (real)(squares[c] / (double)j->rows);
            j->out[2 * j->channels + first + c] = (real)(squares[c] / (double)(j->rows > 1 ? j->rows - 1 : 1));
        }
    }
}

MF_REF_RUN(batch_stats) {
    job j = {.x = inputs[0]};
    (void)scratch;
    run(kernel, &j, output, stats_blocks);
}

static void affine_blocks(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t b = begin; b < end; b++) {
        const int64_t first = b * BLOCK, block = ref_min(j->channels - first, BLOCK);
        double gamma[BLOCK] = {0}, beta[BLOCK] = {0};
        for (int64_t r = 0; r < j->rows; r++) {
            const int64_t at = r * j->channels + first;
            for (int64_t c = 0; c < block; c++) {
                gamma[c] += (double)j->y[at + c] * ((double)j->x[at + c] - (double)j->mean[first + c]);
                beta[c] += (double)j->y[at + c];
            }
        }
        for (int64_t c = 0; c < block; c++) {
            j->out[first + c] = (real)(gamma[c] / sqrt((double)j->var[first + c] + j->eps));
            j->out[j->channels + first + c] = (real)beta[c];
        }
    }
}

MF_REF_RUN(batchnorm_grad_affine) {
    job j = {.x = inputs[0], .mean = inputs[1], .var = inputs[2], .y = inputs[3]};
    (void)scratch;
    run(kernel, &j, output, affine_blocks);
}
