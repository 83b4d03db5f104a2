/* GATED_MEAN_GRAD: s [N, T, C], ch [N, 1, C], sp [N, T, 1], dy [N, 1, C] -> [ds | dch | dsp]:
 *   ds = dy / T (ch sp + 1);  dch = dy / T sum_t s sp;  dsp = 1 / T sum_c s ch dy
 * L2NORM_GRAD: y = x / n, n = max(|x|, eps): dx = (dy - y (y . dy)) / n, or dy / n where |x| < eps.
 * Sums in double.  Threads: parts of the rows; of the N blocks of channels. */
#include "backends/ref/real.h"

enum { BLOCK = 32 };

typedef struct mean_job {
    const real *s, *channel, *position, *dy;
    real *ds, *dchannel, *dposition;
    int64_t tokens, channels, blocks;
} mean_job;

static void mean_rows(void *arg, int task, int64_t begin, int64_t end) {
    const mean_job *j = arg;
    (void)task;
    for (int64_t r = begin; r < end; r++) {
        const int64_t image = r / j->tokens * j->channels;
        const real *s = j->s + r * j->channels;
        const double gate = (double)j->position[r];
        double sum = 0;
        for (int64_t c = 0; c < j->channels; c++) {
            const double g = (double)j->dy[image + c] / (double)j->tokens, channel = (double)j->channel[image + c];
            j->ds[r * j->channels + c] = (real)(g * (channel * gate + 1));
            sum += (double)s[c] * channel * g;
        }
        j->dposition[r] = (real)sum;
    }
}

static void mean_blocks(void *arg, int task, int64_t begin, int64_t end) {
    const mean_job *j = arg;
    (void)task;
    for (int64_t i = begin; i < end; i++) {
        const int64_t image = i / j->blocks, first = i % j->blocks * BLOCK;
        const int64_t block = ref_min(j->channels - first, BLOCK);
        double sum[BLOCK] = {0};
        for (int64_t t = 0; t < j->tokens; t++) {
            const int64_t row = image * j->tokens + t;
            for (int64_t c = 0; c < block; c++)
                sum[c] += (double)j->s[row * j->channels + first + c] * (double)j->position[row];
        }
        for (int64_t c = 0; c < block; c++) {
            const int64_t at = image * j->channels + first + c;
            j->dchannel[at] = (real)(sum[c] * (double)j->dy[at] / (double)j->tokens);
        }
    }
}

MF_REF_RUN(gated_mean_grad) {
    const mf_operand *s = &kernel->op.input[0];
    const int64_t images = s->dim[0], channels = mf_operand_last(s), rows = mf_operand_rows(s);
    mean_job j = {.s = inputs[0], .channel = inputs[1], .position = inputs[2], .dy = inputs[3], .ds = output};
    j.dchannel = j.ds + rows * channels;
    j.dposition = j.dchannel + images * channels;
    j.tokens = rows / images;
    j.channels = channels;
    j.blocks = (channels + BLOCK - 1) / BLOCK;
    (void)scratch;
    ref_parallel(kernel, rows, 4.0 * (double)channels, mean_rows, &j);
    ref_parallel(kernel, images * j.blocks, (double)(j.tokens * BLOCK), mean_blocks, &j);
}

typedef struct norm_job {
    const real *x, *dy;
    real *out;
    int64_t channels;
    double eps;
} norm_job;

static void norm_rows(void *arg, int task, int64_t begin, int64_t end) {
    const norm_job *j = arg;
    (void)task;
    for (int64_t r = begin; r < end; r++) {
        const real *x = j->x + r * j->channels, *dy = j->dy + r * j->channels;
        double squares = 0, product = 0;
        for (int64_t c = 0; c < j->channels; c++) {
            squares += (double)x[c] * (double)x[c];
            product += (double)x[c] * (double)dy[c];
        }
        double norm = sqrt(squares), slope = product / squares;
        if (norm < j->eps) {
            norm = j->eps;
            slope = 0;
        }
        for (int64_t c = 0; c < j->channels; c++)
            j->out[r * j->channels + c] = (real)(((double)dy[c] - (double)x[c] * slope) / norm);
    }
}

MF_REF_RUN(l2norm_grad) {
    const mf_operand *x = &kernel->op.input[0];
    norm_job j = {inputs[0], inputs[1], output, mf_operand_last(x), kernel->op.attrs.eps};
    (void)scratch;
    ref_parallel(kernel, mf_operand_rows(x), 4.0 * (double)j.channels, norm_rows, &j);
}
