/* TRANSPOSE: strips of rows of each matrix. */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim >= 2;
}

static mf_status prepare(mf_cpu_kernel *k) {
    const mf_operand *x = &k->op.input[0];
    int64_t rows = x->dim[x->ndim - 2], cols = x->dim[x->ndim - 1], matrices = 1;
    for (int i = 0; i + 2 < x->ndim; i++)
        matrices *= x->dim[i];
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(x) / 2);
    k->chunk[0] = k->slots == 1 ? rows : mf_max64(16, mf_round_up(16384 / mf_max64(cols, 1), 16));
    k->chunk[0] = mf_max64(1, mf_min64(rows, k->chunk[0]));
    k->batch = matrices;
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x;
    float *y;
    int64_t rows, cols, strips;
} job;

static void run_strip(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    int64_t at = chunk / j->strips * j->rows * j->cols, r = chunk % j->strips * j->k->chunk[0];
    (void)slot;
    j->k->cpu->isa->transpose(j->x + at + r * j->cols, j->cols, j->y + at + r, j->rows,
                              mf_min64(j->k->chunk[0], j->rows - r), j->cols);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    const mf_operand *x = &k->op.input[0];
    job j = {k, in[0], out, x->dim[x->ndim - 2], x->dim[x->ndim - 1], 0};
    j.strips = mf_div_up(j.rows, k->chunk[0]);
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, k->batch * j.strips, run_strip, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_transpose = {supports, prepare, NULL, run};
