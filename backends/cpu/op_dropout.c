/* DROPOUT: pieces of an image; the mask is computed as it is used, and so is its own gradient's. */
#include "backends/cpu/kernel.h"

enum { PIECE = 16384 };

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim >= 1 && op->input[1].dtype == MF_I64 && mf_operand_count(&op->input[1]) == 3;
}

static mf_status prepare(mf_cpu_kernel *k) {
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]));
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x;
    float *y;
    const int64_t *key;
    int64_t width, pieces;
} job;

static void run_piece(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const mf_attrs *a = &j->k->op.attrs;
    int64_t image = chunk / j->pieces, first = chunk % j->pieces * PIECE, at = image * j->width + first;
    (void)slot;
    j->k->cpu->isa->dropout(j->x + at, j->y + at, mf_min64(PIECE, j->width - first), (uint32_t)first,
                            mf_dropout_base(j->key, a->id, image), mf_dropout_threshold(a->rate),
                            (float)(1 / (1 - a->rate)));
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    const mf_operand *x = &k->op.input[0];
    job j = {k, in[0], out, in[1], x->dim[0] > 0 ? mf_operand_count(x) / x->dim[0] : 0, 0};
    j.pieces = mf_div_up(j.width, PIECE);
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, x->dim[0] * j.pieces, run_piece, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_dropout = {supports, prepare, NULL, run};
