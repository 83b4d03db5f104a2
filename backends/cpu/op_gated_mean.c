/* GATED_MEAN: chunks of 64 channels of one image over all positions, so that no sum is split. */
#include "backends/cpu/kernel.h"

enum { CHANNELS = 64 };

/* s may be a map: everything between the first and the last dimension is positions */
static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim >= 2 && mf_operand_present(&op->input[1]) && mf_operand_present(&op->input[2]);
}

static mf_status prepare(mf_cpu_kernel *k) {
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]));
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *s, *ch, *sp;
    float *y;
    int64_t t, c, parts;
} job;

static void run_part(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    int64_t n = chunk / j->parts, c = chunk % j->parts * CHANNELS;
    (void)slot;
    j->k->cpu->isa->gated_mean(j->s + n * j->t * j->c + c, j->ch + n * j->c + c, j->sp + n * j->t, j->y + n * j->c + c,
                               j->t, j->c, mf_min64(CHANNELS, j->c - c));
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    const mf_operand *s = &k->op.input[0];
    job j = {k, in[0], in[1], in[2], out, 0, mf_operand_last(s), 0};
    j.t = s->dim[0] > 0 && j.c > 0 ? mf_operand_count(s) / (s->dim[0] * j.c) : 0;
    j.parts = mf_div_up(j.c, CHANNELS);
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, s->dim[0] * j.parts, run_part, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_gated_mean = {supports, prepare, NULL, run};
