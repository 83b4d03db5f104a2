/* DWCONV2D_GRAD_WEIGHT: a chunk is one vector of channels over a fixed strip of rows of one image; the strips are added
 * up in double in their order.  (DWCONV2D_GRAD_INPUT is op_dwconv2d.c with the taps turned round.) */
#include "backends/cpu/kernel.h"

enum { ROWS = 32 };

static int supports(const mf_cpu *cpu, const mf_op *op) {
    const mf_attrs *a = &op->attrs;
    (void)cpu;
    return op->input[0].ndim == 4 && op->input[1].ndim == 4 && a->kernel[0] == 2 * a->pad[0] + 1 &&
           a->kernel[1] == 2 * a->pad[1] + 1 && a->stride[0] <= 1 && a->stride[1] <= 1;
}

typedef struct job {
    const mf_cpu_kernel *k;
    mf_dwconv p;
    const float *x, *dy;
    float *part, *dw; /* part: [strips of all images][vectors][taps][vl] */
    int64_t strips, vectors, taps, images;
} job;

static job job_of(const mf_cpu_kernel *k) {
    const mf_attrs *a = &k->op.attrs;
    const int64_t *d = k->op.input[0].dim;
    job j = {.k = k,
             .p = {d[1], d[2], d[3], a->kernel[0], a->kernel[1], a->pad[0], a->pad[1], NULL, NULL, NULL, NULL, 0, 0}};
    j.images = d[0];
    j.strips = mf_div_up(d[1], ROWS);
    j.vectors = mf_div_up(d[3], k->cpu->isa->vl);
    j.taps = (int64_t)a->kernel[0] * a->kernel[1];
    return j;
}

static mf_status prepare(mf_cpu_kernel *k) {
    job j = job_of(k);
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]) * (double)j.taps / 16);
    k->shared_bytes = (size_t)(j.images * j.strips * j.vectors * j.taps * k->cpu->isa->vl) * sizeof(float);
    return 0;
}

static void run_strip(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    int64_t strip = chunk / j->vectors, vector = chunk % j->vectors, vl = j->k->cpu->isa->vl;
    int64_t image = strip / j->strips, y0 = strip % j->strips * ROWS, at = image * j->p.h * j->p.w * j->p.c;
    float *dw = j->part + chunk * j->taps * vl;
    (void)slot;
    memset(dw, 0, (size_t)(j->taps * vl) * sizeof(float));
    j->k->cpu->isa->dwconv_weight(&j->p, j->x + at, j->dy + at, dw, vector * vl, y0, mf_min64(y0 + ROWS, j->p.h));
}

static void add_up(void *arg, int64_t vector, int slot) {
    const job *j = arg;
    int64_t vl = j->k->cpu->isa->vl, step = j->vectors * j->taps * vl;
    (void)slot;
    for (int64_t t = 0; t < j->taps; t++)
        for (int64_t i = 0; i < vl && vector * vl + i < j->p.c; i++) {
            double sum = 0;
            for (int64_t s = 0; s < j->images * j->strips; s++)
                sum += (double)j->part[s * step + (vector * j->taps + t) * vl + i];
            j->dw[(vector * vl + i) * j->taps + t] = (float)sum;
        }
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = job_of(k);
    j.x = in[0];
    j.dy = in[1];
    j.dw = out;
    j.part = scratch;
    mf_cpu_for(k->cpu, k->slots, j.images * j.strips * j.vectors, run_strip, &j);
    mf_cpu_for(k->cpu, k->slots, j.vectors, add_up, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_dwconv2d_grad_weight = {supports, prepare, NULL, run};
