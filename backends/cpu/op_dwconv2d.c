/* DWCONV2D: strips of rows of one image, all channels, so that the normalisation over channels stays in the strip.
 * DWCONV2D_GRAD_INPUT is the same with the taps in reverse order, dy in the place of x. */
#include "backends/cpu/kernel.h"

static int is_grad(const mf_op *op) {
    return op->kind == MF_OP_DWCONV2D_GRAD_INPUT;
}

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim == 4 && op->input[MF_IN_W].ndim == 4 && mf_gemm_takes(&op->input[MF_IN_W]) &&
           op->attrs.kernel[0] == 2 * op->attrs.pad[0] + 1 && op->attrs.kernel[1] == 2 * op->attrs.pad[1] + 1 &&
           op->attrs.stride[0] <= 1 && op->attrs.stride[1] <= 1;
}

static mf_status prepare(mf_cpu_kernel *k) {
    const mf_operand *x = &k->op.input[0], *w = &k->op.input[MF_IN_W];
    int64_t vl = k->cpu->isa->vl, taps = w->dim[2] * w->dim[3];
    size_t bytes = (size_t)(mf_round_up(x->dim[3], vl) * taps) * sizeof(float);
    if (w->constant) {
        k->info.pack_bytes[MF_IN_W] = bytes;
        k->info.pack_key[MF_IN_W] = mf_panel_key(k->cpu->isa, is_grad(&k->op) ? 5 : 4, MF_F32);
    } else {
        k->shared_bytes = bytes;
    }
    int64_t h = x->dim[1], images = x->dim[0];
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(x) * (double)taps / 16);
    int64_t strips = k->slots == 1 ? 1 : mf_div_up(4 * k->slots, mf_max64(images, 1));
    k->chunk[0] = mf_max64(2, mf_round_up(mf_div_up(h, strips), 2));
    return 0;
}

/* [c][taps] -> [ceil(c / vl)][taps][vl], for the gradient with the taps in reverse order */
static mf_status pack(const mf_cpu_kernel *k, int input, const void *plain, void *packed) {
    const mf_operand *w = &k->op.input[MF_IN_W];
    int64_t vl = k->cpu->isa->vl, c = w->dim[0], taps = w->dim[2] * w->dim[3];
    int grad = is_grad(&k->op);
    float *to = packed;
    (void)input;
    for (int64_t b = 0; b < c; b += vl, to += taps * vl) {
        if (w->dtype == MF_F32 && b + vl <= c) {
            k->cpu->isa->transpose((const float *)plain + b * taps, taps, grad ? to + (taps - 1) * vl : to,
                                   grad ? -vl : vl, vl, taps);
            continue;
        }
        for (int64_t t = 0; t < taps; t++)
            for (int64_t j = 0; j < vl; j++)
                to[t * vl + j] = b + j < c ? mf_to_f32(plain, (b + j) * taps + (grad ? taps - 1 - t : t), w->dtype) : 0;
    }
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    mf_dwconv p;
    const float *x;
    float *y;
    int64_t strips;
} job;

static void run_strip(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    int64_t image = chunk / j->strips * j->p.h * j->p.w * j->p.c, y0 = chunk % j->strips * j->k->chunk[0];
    (void)slot;
    j->k->cpu->isa->dwconv(&j->p, j->x + image, j->y + image, y0, mf_min64(y0 + j->k->chunk[0], j->p.h));
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    const mf_attrs *a = &k->op.attrs;
    const int64_t *d = k->op.input[0].dim;
    job j = {k,
             {d[1], d[2], d[3], a->kernel[0], a->kernel[1], a->pad[0], a->pad[1], in[MF_IN_W], in[MF_IN_BIAS],
              in[MF_IN_GAMMA], in[MF_IN_BETA], a->norm, (float)a->eps},
             in[0],
             out,
             mf_div_up(d[1], k->chunk[0])};
    if (!k->op.input[MF_IN_W].constant) {
        pack(k, MF_IN_W, in[MF_IN_W], scratch);
        j.p.weight = scratch;
    }
    mf_cpu_for(k->cpu, k->slots, d[0] * j.strips, run_strip, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_dwconv2d = {supports, prepare, pack, run};
