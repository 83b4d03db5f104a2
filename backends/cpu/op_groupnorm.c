/* GROUPNORM in three passes over an image: sums by channel, sums of squares about the mean, the affine map.
 *
 * The passes run over blocks of rows of a fixed size; what they leave is added up block by block, in double, by the
 * caller, so that the result depends neither on the threads nor on the image's place in the batch. */
#include <math.h>

#include "backends/cpu/kernel.h"

enum { BLOCK = 64 };

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim == 4 && op->attrs.groups > 0 && op->input[0].dim[3] % op->attrs.groups == 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x;
    float *y;
    int64_t n, t, c, blocks;
    float *part;                 /* [n][blocks][c] */
    float *mean, *scale, *shift; /* [n][c] */
    int pass;
} job;

static mf_status prepare(mf_cpu_kernel *k) {
    const int64_t *d = k->op.input[0].dim;
    int64_t blocks = mf_div_up(d[1] * d[2], BLOCK);
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]) * 2);
    k->shared_bytes = (size_t)(d[0] * (blocks + 3) * d[3]) * sizeof(float);
    return 0;
}

static void run_block(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    int64_t n = chunk / j->blocks, r = chunk % j->blocks * BLOCK, rows = mf_min64(BLOCK, j->t - r);
    int64_t at = (n * j->t + r) * j->c;
    (void)slot;
    if (j->pass < 2)
        isa->column_sums(j->x + at, rows, j->c, j->pass ? j->mean + n * j->c : NULL, j->pass, j->part + chunk * j->c);
    else
        isa->affine(j->x + at, j->y + at, rows, j->c, j->mean + n * j->c, j->scale + n * j->c, j->shift + n * j->c,
                    MF_ACT_NONE);
}

/* The mean over positions and channels of group g of image n. */
static double group_mean(const job *j, int64_t n, int64_t g, int64_t size) {
    double sum = 0;
    for (int64_t b = 0; b < j->blocks; b++)
        for (int64_t c = g * size; c < (g + 1) * size; c++)
            sum += (double)j->part[(n * j->blocks + b) * j->c + c];
    return sum / (double)(size * j->t);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    const int64_t *d = k->op.input[0].dim;
    const float *gamma = in[1], *beta = in[2];
    job j = {.k = k, .x = in[0], .y = out, .n = d[0], .t = d[1] * d[2], .c = d[3]};
    j.blocks = mf_div_up(j.t, BLOCK);
    j.part = scratch;
    j.mean = j.part + j.n * j.blocks * j.c;
    j.scale = j.mean + j.n * j.c;
    j.shift = j.scale + j.n * j.c;
    int64_t groups = k->op.attrs.groups, size = j.c / groups;
    for (j.pass = 0; j.pass < 3; j.pass++) {
        mf_cpu_for(k->cpu, k->slots, j.n * j.blocks, run_block, &j);
        if (j.pass == 2)
            break;
        for (int64_t n = 0; n < j.n; n++)
            for (int64_t g = 0; g < groups; g++) {
                double m = group_mean(&j, n, g, size);
                float r = j.pass ? (float)(1 / sqrt(m + k->op.attrs.eps)) : 0;
                for (int64_t c = g * size, at = n * j.c + c; c < (g + 1) * size; c++, at++) {
                    if (j.pass == 0) {
                        j.mean[at] = (float)m;
                    } else {
                        j.scale[at] = gamma ? gamma[c] * r : r;
                        j.shift[at] = beta ? beta[c] : 0;
                    }
                }
            }
    }
    return 0;
}

const mf_cpu_ops mf_cpu_groupnorm = {supports, prepare, NULL, run};
