/* CHANNEL_MAX: x [.., C] -> [.., 1], the maximum over C; NaN where there is one.
 * GATED_MEAN: s [N, T, C], ch [N, 1, C], sp [N, T, 1] -> [N, 1, C], the mean over T of s ch sp + s.
 * Threads: parts of the rows; parts of the N blocks of channels. */
#include "backends/ref/real.h"

enum { BLOCK = 32 };

typedef struct max_job {
    const real *x;
    real *out;
    int64_t channels;
} max_job;

static void max_rows(void *arg, int task, int64_t begin, int64_t end) {
    const max_job *j = arg;
    (void)task;
    for (int64_t r = begin; r < end; r++) {
        const real *x = j->x + r * j->channels;
        real maximum = x[0];
        for (int64_t c = 1; c < j->channels; c++)
            if (x[c] > maximum || x[c] != x[c])
                maximum = x[c];
        j->out[r] = maximum;
    }
}

MF_REF_RUN(channel_max) {
    max_job j = {inputs[0], output, mf_operand_last(&kernel->op.input[0])};
    (void)scratch;
    ref_parallel(kernel, mf_operand_rows(&kernel->op.input[0]), (double)j.channels, max_rows, &j);
}

typedef struct mean_job {
    const real *s, *channel, *position;
    real *out;
    int64_t tokens, channels, blocks;
} mean_job;

static void mean_blocks(void *arg, int task, int64_t begin, int64_t end) {
    const mean_job *j = arg;
    (void)task;
    for (int64_t i = begin; i < end; i++) {
        const int64_t image = i / j->blocks, first = i % j->blocks * BLOCK;
        const int64_t block = ref_min(j->channels - first, BLOCK);
        const real *s = j->s + image * j->tokens * j->channels + first, *gate = j->position + image * j->tokens;
        const real *channel = j->channel + image * j->channels + first;
        double sum[BLOCK] = {0};
        for (int64_t t = 0; t < j->tokens; t++)
            for (int64_t c = 0; c < block; c++) {
                double v = (double)s[t * j->channels + c];
                sum[c] += v * (double)channel[c] * (double)gate[t] + v;
            }
        for (int64_t c = 0; c < block; c++)
            j->out[image * j->channels + first + c] = (real)(sum[c] / (double)j->tokens);
    }
}

MF_REF_RUN(gated_mean) {
    const mf_operand *s = &kernel->op.input[0];
    const int64_t channels = mf_operand_last(s);
    mean_job j = {inputs[0],
                  inputs[1],
                  inputs[2],
                  output,
                  mf_operand_rows(s) / s->dim[0],
                  channels,
                  (channels + BLOCK - 1) / BLOCK};
    (void)scratch;
    ref_parallel(kernel, s->dim[0] * j.blocks, (double)(j.tokens * BLOCK), mean_blocks, &j);
}
