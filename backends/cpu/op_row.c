/* ROW_DOT and ROW_SCALE: a row is an image, or all that follows the first dimension.
 *
 * A row is cut into pieces of a fixed size, whose inner products are added up in double in their order. */
#include "backends/cpu/kernel.h"

enum { PIECE = 16384 };

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim >= 1 && mf_operand_present(&op->input[1]);
}

static int64_t width_of(const mf_op *op) {
    const mf_operand *a = &op->input[0];
    return a->dim[0] > 0 ? mf_operand_count(a) / a->dim[0] : 0;
}

static mf_status prepare(mf_cpu_kernel *k) {
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]) / 2);
    k->chunk[0] = mf_max64(1, mf_div_up(width_of(&k->op), PIECE));
    if (k->op.kind == MF_OP_ROW_DOT)
        k->shared_bytes = (size_t)(k->op.input[0].dim[0] * k->chunk[0]) * sizeof(double);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *a, *b;
    float *y;
    double *part;
    int64_t width;
} job;

static void run_piece(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    int64_t row = chunk / j->k->chunk[0], piece = chunk % j->k->chunk[0];
    int64_t at = row * j->width + piece * PIECE, n = mf_min64(PIECE, j->width - piece * PIECE);
    (void)slot;
    if (j->part)
        j->part[chunk] = isa->dot(j->a + at, j->b + at, n);
    else
        isa->mul_scalar(j->a + at, j->b[row], j->y + at, n, MF_ACT_NONE);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    int64_t rows = k->op.input[0].dim[0];
    job j = {k, in[0], in[1], out, k->op.kind == MF_OP_ROW_DOT ? scratch : NULL, width_of(&k->op)};
    mf_cpu_for(k->cpu, k->slots, rows * k->chunk[0], run_piece, &j);
    for (int64_t i = 0; j.part && i < rows; i++) {
        double sum = 0;
        for (int64_t p = 0; p < k->chunk[0]; p++)
            sum += j.part[i * k->chunk[0] + p];
        j.y[i] = (float)sum;
    }
    return 0;
}

const mf_cpu_ops mf_cpu_row_dot = {supports, prepare, NULL, run};
const mf_cpu_ops mf_cpu_row_scale = {supports, prepare, NULL, run};
