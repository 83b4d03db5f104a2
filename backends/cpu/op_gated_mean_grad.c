/* GATED_MEAN_GRAD: [ds | dchannel | dposition]; ds and dposition by chunks of positions, dchannel by pieces of 64
 * channels of one image over all positions, so that no sum is split. */
#include "backends/cpu/kernel.h"

enum { CHANNELS = 64, POSITIONS = 64 };

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim >= 2 && mf_operand_present(&op->input[1]) && mf_operand_present(&op->input[2]) &&
           mf_operand_present(&op->input[3]);
}

static mf_status prepare(mf_cpu_kernel *k) {
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]));
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *s, *ch, *sp, *dy;
    float *ds, *dch, *dsp;
    int64_t t, c, strips, parts;
} job;

static void run_part(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    int64_t n = chunk / (j->strips + j->parts), part = chunk % (j->strips + j->parts);
    float scale = 1 / (float)j->t;
    (void)slot;
    if (part < j->strips) {
        int64_t t0 = part * POSITIONS, at = n * j->t + t0;
        isa->gated_mean_grad(j->s + at * j->c, j->ch + n * j->c, j->sp + at, j->dy + n * j->c, j->ds + at * j->c,
                             j->dsp + at, mf_min64(POSITIONS, j->t - t0), j->c, scale);
    } else {
        int64_t c0 = (part - j->strips) * CHANNELS;
        isa->gated_channels(j->s + n * j->t * j->c + c0, j->sp + n * j->t, j->dy + n * j->c + c0,
                            j->dch + n * j->c + c0, j->t, j->c, mf_min64(CHANNELS, j->c - c0), scale);
    }
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    const mf_operand *s = &k->op.input[0];
    job j = {.k = k, .s = in[0], .ch = in[1], .sp = in[2], .dy = in[3], .ds = out, .c = mf_operand_last(s)};
    j.t = s->dim[0] > 0 && j.c > 0 ? mf_operand_count(s) / (s->dim[0] * j.c) : 0;
    j.dch = j.ds + mf_operand_count(s);
    j.dsp = j.dch + s->dim[0] * j.c;
    j.strips = mf_div_up(j.t, POSITIONS);
    j.parts = mf_div_up(j.c, CHANNELS);
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, s->dim[0] * (j.strips + j.parts), run_part, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_gated_mean_grad = {supports, prepare, NULL, run};
