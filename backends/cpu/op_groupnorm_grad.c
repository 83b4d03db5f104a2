/* GROUPNORM_GRAD and GROUPNORM_GRAD_AFFINE, in passes over an image as GROUPNORM: sums of x by channel; sums of the
 * squares about the mean, of dy and of dy (x - mean); and for dx the affine map that they lead to.  With M values in a
 * group, r = 1 / sqrt(variance + eps):
 *
 *   dx = r gamma dy - r / M sum(gamma dy) - (x - mean) r^3 / M sum(gamma dy (x - mean)), sums over the group
 *   dgamma = sum over images of r sum(dy (x - mean)), dbeta = sum of dy
 *
 * The passes run over blocks of rows of a fixed size; what they leave is added up block by block, in double, by the
 * caller. */
#include <math.h>

#include "backends/cpu/kernel.h"

enum { BLOCK = 64 };

static int is_affine(const mf_op *op) {
    return op->kind == MF_OP_GROUPNORM_GRAD_AFFINE;
}

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim == 4 && op->attrs.groups > 0 && op->input[0].dim[3] % op->attrs.groups == 0 &&
           mf_operand_present(&op->input[is_affine(op) ? 1 : 2]);
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x, *gamma, *dy;
    float *dx;
    int64_t n, t, c, blocks, size;
    float *part;      /* [n][blocks][3][c] */
    float *mean;      /* [n][c] */
    float *a, *b, *s; /* [n][c] */
    double *total;    /* [n][3][c] */
    int pass;
} job;

static mf_status prepare(mf_cpu_kernel *k) {
    const int64_t *d = k->op.input[0].dim;
    int64_t blocks = mf_div_up(d[1] * d[2], BLOCK);
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]) * 2);
    k->shared_bytes =
        (size_t)(d[0] * d[3]) * 3 * sizeof(double) + (size_t)(d[0] * (3 * blocks + 4) * d[3]) * sizeof(float);
    return 0;
}

static void run_block(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    int64_t n = chunk / j->blocks, r = chunk % j->blocks * BLOCK, rows = mf_min64(BLOCK, j->t - r), c = j->c;
    int64_t at = (n * j->t + r) * c;
    const float *mean = j->mean + n * c;
    float *part = j->part + chunk * 3 * c;
    (void)slot;
    if (j->pass == 0) {
        isa->column_sums(j->x + at, rows, c, NULL, 0, part);
    } else if (j->pass == 1) {
        isa->column_sums(j->x + at, rows, c, mean, 1, part);
        isa->column_dots(j->dy + at, NULL, NULL, rows, c, c, part + c);
        isa->column_dots(j->x + at, j->dy + at, mean, rows, c, c, part + 2 * c);
    } else {
        isa->affine_grad(j->x + at, j->dy + at, j->dx + at, rows, c, mean, j->a + n * c, j->b + n * c, j->s + n * c);
    }
}

/* total[0 .. vectors - 1] of image n, from its blocks */
static void add_up(const job *j, int64_t n, int vectors) {
    double *total = j->total + n * 3 * j->c;
    memset(total, 0, (size_t)(3 * j->c) * sizeof(double));
    for (int64_t b = 0; b < j->blocks; b++)
        for (int64_t i = 0; i < vectors * j->c; i++)
            total[i] += (double)j->part[(n * j->blocks + b) * 3 * j->c + i];
}

static void set_mean(const job *j, int64_t n, int64_t c0) {
    double sum = 0;
    for (int64_t c = c0; c < c0 + j->size; c++)
        sum += j->total[n * 3 * j->c + c];
    for (int64_t c = c0; c < c0 + j->size; c++)
        j->mean[n * j->c + c] = (float)(sum / (double)(j->size * j->t));
}

/* 1 / sqrt(variance + eps) of a group */
static double deviation(const job *j, int64_t n, int64_t c0) {
    double sum = 0;
    for (int64_t c = c0; c < c0 + j->size; c++)
        sum += j->total[n * 3 * j->c + c];
    return 1 / sqrt(sum / (double)(j->size * j->t) + j->k->op.attrs.eps);
}

static void set_affine(const job *j, int64_t n, int64_t c0) {
    const double *dy = j->total + (n * 3 + 1) * j->c, *dot = dy + j->c;
    double r = deviation(j, n, c0), m = (double)(j->size * j->t), sum = 0, dots = 0;
    for (int64_t c = c0; c < c0 + j->size; c++) {
        double g = j->gamma ? (double)j->gamma[c] : 1;
        sum += g * dy[c];
        dots += g * dot[c];
    }
    for (int64_t c = c0, at = n * j->c + c0; c < c0 + j->size; c++, at++) {
        j->a[at] = (float)(j->gamma ? r * (double)j->gamma[c] : r);
        j->b[at] = (float)(-r * r * r * dots / m);
        j->s[at] = (float)(-r * sum / m);
    }
}

static void affine_gradient(const job *j, float *out) {
    for (int64_t c = 0; c < j->c; c++) {
        double gamma = 0, beta = 0;
        for (int64_t n = 0; n < j->n; n++) {
            const double *dy = j->total + (n * 3 + 1) * j->c;
            gamma += deviation(j, n, c / j->size * j->size) * dy[j->c + c];
            beta += dy[c];
        }
        out[c] = (float)gamma;
        out[j->c + c] = (float)beta;
    }
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    const int64_t *d = k->op.input[0].dim;
    int affine = is_affine(&k->op);
    job j = {.k = k, .x = in[0], .gamma = affine ? NULL : in[1], .dy = affine ? in[1] : in[2], .dx = out};
    j.n = d[0];
    j.t = d[1] * d[2];
    j.c = d[3];
    j.size = j.c / k->op.attrs.groups;
    j.blocks = mf_div_up(j.t, BLOCK);
    j.total = scratch;
    j.mean = (float *)(j.total + j.n * 3 * j.c);
    j.a = j.mean + j.n * j.c;
    j.b = j.a + j.n * j.c;
    j.s = j.b + j.n * j.c;
    j.part = j.s + j.n * j.c;
    for (j.pass = 0; j.pass < (affine ? 2 : 3); j.pass++) {
        mf_cpu_for(k->cpu, k->slots, j.n * j.blocks, run_block, &j);
        for (int64_t n = 0; j.pass < 2 && n < j.n; n++) {
            add_up(&j, n, j.pass ? 3 : 1);
            for (int64_t c = 0; c < j.c; c += j.size) {
                if (j.pass == 0)
                    set_mean(&j, n, c);
                else if (!affine)
                    set_affine(&j, n, c);
            }
        }
    }
    if (affine)
        affine_gradient(&j, out);
    return 0;
}

const mf_cpu_ops mf_cpu_groupnorm_grad = {supports, prepare, NULL, run};
const mf_cpu_ops mf_cpu_groupnorm_grad_affine = {supports, prepare, NULL, run};
