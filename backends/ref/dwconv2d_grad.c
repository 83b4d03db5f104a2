/* DWCONV2D_GRAD_WEIGHT: dw[c, i, j] = sum over n, y, x of x[n, y + i - ph, x + j - pw, c] dy[n, y, x, c].
 * (DWCONV2D_GRAD_INPUT is in dwconv2d.c.)
 *
 * BLOCK channels of a tap are summed in registers, DEPTH products at most in `real`, the rest in double.  Threads:
 * parts of the taps of all blocks. */
#include "backends/ref/real.h"

enum { BLOCK = 16, DEPTH = 32 };

typedef struct job {
    const mf_op *op;
    const real *x, *dy;
    real *out;
    int64_t taps;
} job;

/* Adds `count` pixels of a row, `step` apart. */
static inline void sum_pixels(const real *x, const real *dy, int64_t count, int64_t step, int64_t block, double *sum) {
    while (count > 0) {
        const int64_t depth = ref_min(count, DEPTH);
        real acc[BLOCK] = {0};
        for (int64_t p = 0; p < depth; p++, x += step, dy += step)
            for (int64_t c = 0; c < block; c++)
                acc[c] += x[c] * dy[c];
        for (int64_t c = 0; c < block; c++)
            sum[c] += (double)acc[c];
        count -= depth;
    }
}

static void sum_tap(const job *j, int64_t first, int64_t block, int64_t tap, double *sum) {
    const int64_t *dim = j->op->input[0].dim, channels = dim[3];
    const mf_attrs *a = &j->op->attrs;
    const int64_t down = tap / a->kernel[1] - a->pad[0], right = tap % a->kernel[1] - a->pad[1];
    const int64_t x = right < 0 ? -right : 0, x_end = ref_min(dim[2], dim[2] - right);
    for (int64_t r = 0; r < dim[0] * dim[1]; r++) {
        const int64_t y = r % dim[1] + down;
        if (y < 0 || y >= dim[1] || x >= x_end)
            continue;
        const real *from = j->x + ((r + down) * dim[2] + x + right) * channels + first;
        const real *dy = j->dy + (r * dim[2] + x) * channels + first;
        if (block == BLOCK)
            sum_pixels(from, dy, x_end - x, channels, BLOCK, sum);
        else
            sum_pixels(from, dy, x_end - x, channels, block, sum);
    }
}

static void taps(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const int64_t channels = j->op->input[0].dim[3];
    (void)task;
    for (int64_t i = begin; i < end; i++) {
        const int64_t first = i / j->taps * BLOCK, tap = i % j->taps, block = ref_min(channels - first, BLOCK);
        double sum[BLOCK] = {0};
        sum_tap(j, first, block, tap, sum);
        for (int64_t c = 0; c < block; c++)
            j->out[(first + c) * j->taps + tap] = (real)sum[c];
    }
}

MF_REF_RUN(dwconv2d_grad_weight) {
    const mf_op *op = &kernel->op;
    const int64_t *dim = op->input[0].dim, blocks = (dim[3] + BLOCK - 1) / BLOCK;
    job j = {op, inputs[0], inputs[1], output, (int64_t)op->attrs.kernel[0] * op->attrs.kernel[1]};
    (void)scratch;
    ref_parallel(kernel, blocks * j.taps, (double)(dim[0] * dim[1] * dim[2] * BLOCK), taps, &j);
}
