/* MAXPOOL: chunks of output rows; a window's maximum grows in the output. */
#include <math.h>

#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim == 4 && op->attrs.stride[0] > 0 && op->attrs.stride[1] > 0;
}

static mf_status prepare(mf_cpu_kernel *k) {
    const int64_t *o = k->op.output.dim;
    mf_cpu_plan_rows(k, o[0] * o[1], o[2] * o[3], k->op.attrs.kernel[0] * k->op.attrs.kernel[1]);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x;
    float *y;
} job;

static void run_row(const job *j, int64_t row) {
    const mf_attrs *a = &j->k->op.attrs;
    const int64_t *d = j->k->op.input[0].dim, *o = j->k->op.output.dim, c = d[3];
    int64_t n = row / o[1], y0 = row % o[1] * a->stride[0] - a->pad[0];
    float *to = j->y + row * o[2] * c;
    for (int64_t ox = 0; ox < o[2]; ox++, to += c) {
        int64_t x0 = ox * a->stride[1] - a->pad[1];
        int first = 1;
        for (int64_t y = mf_max64(y0, 0); y < mf_min64(y0 + a->kernel[0], d[1]); y++)
            for (int64_t x = mf_max64(x0, 0); x < mf_min64(x0 + a->kernel[1], d[2]); x++) {
                const float *from = j->x + ((n * d[1] + y) * d[2] + x) * c;
                if (first)
                    memcpy(to, from, (size_t)c * sizeof(float));
                else
                    j->k->cpu->isa->max_into(to, from, c);
                first = 0;
            }
        if (first)
            for (int64_t i = 0; i < c; i++)
                to[i] = -INFINITY;
    }
}

static void run_rows(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const int64_t *o = j->k->op.output.dim, end = mf_min64((chunk + 1) * j->k->chunk[0], o[0] * o[1]);
    (void)slot;
    for (int64_t r = chunk * j->k->chunk[0]; r < end; r++)
        run_row(j, r);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = {k, in[0], out};
    const int64_t *o = k->op.output.dim;
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, mf_div_up(o[0] * o[1], k->chunk[0]), run_rows, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_maxpool = {supports, prepare, NULL, run};
