/* The gradients of the norms.  xhat = (x - mean) / sqrt(var + eps).
 *
 * LAYERNORM_GRAD, GROUPNORM_GRAD: g = dy gamma;  dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(var + eps), the means
 * over what was normalised together.  A row of a layer norm is a group norm's image of one position and one group.
 * .._AFFINE: dgamma = sum dy xhat, dbeta = sum dy; the statistics are taken first, into the scratch.
 * BATCHNORM_GRAD: dx = gamma / sqrt(var + eps) (dy - dbeta / n - xhat dgamma / n), or its first term alone where mean
 * and var are constants.
 * Threads: parts of the groups; of the blocks of channels; of the rows. */
#include "backends/ref/real.h"

enum { BLOCK = 16 };

typedef struct job {
    const real *x, *gamma, *dy;
    real *out;
    double *stats; /* mean and 1 / sqrt(var + eps) of each group */
    int64_t images, positions, channels, groups, width;
    double eps;
} job;

static job make_job(const mf_kernel *kernel) {
    const mf_op *op = &kernel->op;
    const mf_operand *x = &op->input[0];
    const int layer = op->kind == MF_OP_LAYERNORM_GRAD || op->kind == MF_OP_LAYERNORM_GRAD_AFFINE;
    job j = {.channels = mf_operand_last(x), .eps = op->attrs.eps};
    j.images = layer ? mf_operand_rows(x) : x->dim[0];
    j.positions = mf_operand_rows(x) / j.images;
    j.groups = layer ? 1 : op->attrs.groups;
    j.width = j.channels / j.groups;
    return j;
}

static void find_stats(const job *j, const real *x, double *stats) {
    const double count = (double)(j->positions * j->width);
    double sum = 0, squares = 0;
    for (int64_t p = 0; p < j->positions; p++)
        for (int64_t c = 0; c < j->width; c++)
            sum += (double)x[p * j->channels + c];
    stats[0] = sum / count;
    for (int64_t p = 0; p < j->positions; p++)
        for (int64_t c = 0; c < j->width; c++) {
            double d = (double)x[p * j->channels + c] - stats[0];
            squares += d * d;
        }
    stats[1] = 1 / sqrt(squares / count + j->eps);
}

/* Where group i of all images begins in x. */
static int64_t begin_of(const job *j, int64_t i) {
    return i / j->groups * j->positions * j->channels + i % j->groups * j->width;
}

static double gamma_of(const job *j, int64_t group, int64_t c) {
    return j->gamma ? (double)j->gamma[group * j->width + c] : 1;
}

static void grad_group(const job *j, int64_t i) {
    const int64_t at = begin_of(j, i), group = i % j->groups;
    const real *x = j->x + at, *dy = j->dy + at;
    const double count = (double)(j->positions * j->width);
    double stats[2], sum = 0, product = 0;
    find_stats(j, x, stats);
    for (int64_t p = 0; p < j->positions; p++)
        for (int64_t c = 0; c < j->width; c++) {
            double g = (double)dy[p * j->channels + c] * gamma_of(j, group, c);
            sum += g;
            product += g * ((double)x[p * j->channels + c] - stats[0]);
        }
    const double mean = sum / count, slope = product * stats[1] * stats[1] / count;
    for (int64_t p = 0; p < j->positions; p++)
        for (int64_t c = 0; c < j->width; c++) {
            double g = (double)dy[p * j->channels + c] * gamma_of(j, group, c);
            double d = (double)x[p * j->channels + c] - stats[0];
            j->out[at + p * j->channels + c] = (real)((g - mean - d * slope) * stats[1]);
        }
}

static void grad_groups(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t i = begin; i < end; i++)
        grad_group(j, i);
}

MF_REF_RUN(norm_grad) {
    job j = make_job(kernel);
    j.x = inputs[0];
    j.gamma = ref_input(kernel, inputs, 1);
    j.dy = inputs[2];
    j.out = output;
    (void)scratch;
    ref_parallel(kernel, j.images * j.groups, 6.0 * (double)(j.positions * j.width), grad_groups, &j);
}

size_t REF(norm_grad_affine_scratch)(const mf_kernel *kernel) {
    job j = make_job(kernel);
    return (size_t)(j.images * j.groups) * 2 * sizeof(double);
}

static void stats_groups(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t i = begin; i < end; i++)
        find_stats(j, j->x + begin_of(j, i), j->stats + 2 * i);
}

static void affine_blocks(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t b = begin; b < end; b++) {
        const int64_t first = b * BLOCK, block = ref_min(j->channels - first, BLOCK);
        double gamma[BLOCK] = {0}, beta[BLOCK] = {0};
        for (int64_t r = 0; r < j->images * j->positions; r++) {
            const int64_t at = r * j->channels + first;
            const double *image = j->stats + 2 * (r / j->positions * j->groups);
            for (int64_t c = 0; c < block; c++) {
                const double *stats = image + 2 * ((first + c) / j->width);
                gamma[c] += (double)j->dy[at + c] * ((double)j->x[at + c] - stats[0]) * stats[1];
                beta[c] += (double)j->dy[at + c];
            }
        }
        for (int64_t c = 0; c < block; c++) {
            j->out[first + c] = (real)gamma[c];
            j->out[j->channels + first + c] = (real)beta[c];
        }
    }
}

MF_REF_RUN(norm_grad_affine) {
    job j = make_job(kernel);
    j.x = inputs[0];
    j.dy = inputs[1];
    j.out = output;
    j.stats = scratch;
    const double rows = (double)(j.images * j.positions);
    ref_parallel(kernel, j.images * j.groups, 3.0 * (double)(j.positions * j.width), stats_groups, &j);
    ref_parallel(kernel, (j.channels + BLOCK - 1) / BLOCK, 4.0 * rows * BLOCK, affine_blocks, &j);
}

typedef struct batch_job {
    const real *x, *mean, *dy;
    const double *table; /* of each channel: gamma / sqrt(var + eps); dbeta / n; dgamma / n / sqrt(var + eps) */
    real *out;
    int64_t channels;
} batch_job;

size_t REF(batchnorm_grad_scratch)(const mf_kernel *kernel) {
    return (size_t)mf_operand_last(&kernel->op.input[0]) * 3 * sizeof(double);
}

static void batch_rows(void *arg, int task, int64_t begin, int64_t end) {
    const batch_job *j = arg;
    (void)task;
    for (int64_t r = begin; r < end; r++)
        for (int64_t c = 0; c < j->channels; c++) {
            const int64_t at = r * j->channels + c;
            const double *t = j->table + 3 * c;
            double d = (double)j->x[at] - (double)j->mean[c];
            j->out[at] = (real)(t[0] * ((double)j->dy[at] - t[1] - d * t[2]));
        }
}

MF_REF_RUN(batchnorm_grad) {
    const mf_operand *x = &kernel->op.input[0];
    const real *gamma = inputs[1], *var = inputs[3], *affine = kernel->op.attrs.own ? inputs[5] : NULL;
    const int64_t channels = mf_operand_last(x);
    const double rows = (double)mf_operand_rows(x);
    double *table = scratch;
    for (int64_t c = 0; c < channels; c++) {
        const double scale = 1 / sqrt((double)var[c] + kernel->op.attrs.eps);
        table[3 * c] = (double)gamma[c] * scale;
        table[3 * c + 1] = affine ? (double)affine[channels + c] / rows : 0;
        table[3 * c + 2] = affine ? (double)affine[c] / rows * scale : 0;
    }
    batch_job j = {inputs[0], inputs[2], inputs[4], table, output, channels};
    ref_parallel(kernel, mf_operand_rows(x), 2.0 * (double)channels, batch_rows, &j);
}
