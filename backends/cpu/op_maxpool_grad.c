/* MAXPOOL_GRAD: windows overlap, so a chunk is a piece of the channels of one image. */
#include "backends/cpu/kernel.h"

enum { CHANNELS = 64, MOST = 256 };

static int supports(const mf_cpu *cpu, const mf_op *op) {
    const mf_attrs *a = &op->attrs;
    (void)cpu;
    return op->input[0].ndim == 4 && op->input[1].ndim == 4 && a->stride[0] > 0 && a->stride[1] > 0 &&
           a->kernel[0] > 0 && a->kernel[1] > 0 && a->kernel[0] * a->kernel[1] <= MOST;
}

static mf_status prepare(mf_cpu_kernel *k) {
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]));
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x, *dy;
    float *dx;
    int64_t pieces;
} job;

static void run_piece(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const mf_attrs *a = &j->k->op.attrs;
    const int64_t *d = j->k->op.input[0].dim, *o = j->k->op.input[1].dim, h = d[1], w = d[2], c = d[3];
    int64_t image = chunk / j->pieces, c0 = chunk % j->pieces * CHANNELS, n = mf_min64(CHANNELS, c - c0);
    const float *x = j->x + image * h * w * c + c0, *dy = j->dy + image * o[1] * o[2] * c + c0;
    float *dx = j->dx + image * h * w * c + c0;
    int64_t at[MOST];
    (void)slot;
    for (int64_t i = 0; i < h * w; i++)
        memset(dx + i * c, 0, (size_t)n * sizeof(float));
    for (int64_t oy = 0; oy < o[1]; oy++)
        for (int64_t ox = 0; ox < o[2]; ox++, dy += c) {
            int64_t y0 = oy * a->stride[0] - a->pad[0], x0 = ox * a->stride[1] - a->pad[1];
            int taps = 0;
            for (int64_t y = mf_max64(y0, 0); y < mf_min64(y0 + a->kernel[0], h); y++)
                for (int64_t p = mf_max64(x0, 0); p < mf_min64(x0 + a->kernel[1], w); p++)
                    at[taps++] = (y * w + p) * c;
            if (taps)
                j->k->cpu->isa->maxpool_grad(x, dy, dx, at, taps, n);
        }
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    const int64_t *d = k->op.input[0].dim;
    job j = {k, in[0], in[1], out, mf_div_up(d[3], CHANNELS)};
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, d[0] * j.pieces, run_piece, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_maxpool_grad = {supports, prepare, NULL, run};
