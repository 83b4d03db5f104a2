/* COLUMN_SUM: sums over rows of x, or of x y (columns.c). */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim >= 1;
}

static mf_columns plan(const mf_cpu_kernel *k) {
    const mf_operand *x = &k->op.input[0];
    return mf_columns_plan(k->cpu, mf_operand_rows(x), mf_operand_last(x), 1, 0);
}

static mf_status prepare(mf_cpu_kernel *k) {
    mf_columns p = plan(k);
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]) / 2);
    k->shared_bytes = mf_columns_scratch(&p);
    return 0;
}

typedef struct job {
    const struct mf_cpu_isa *isa;
    const float *x, *y;
    int64_t c;
} job;

static void sums(const void *arg, int64_t row0, int64_t rows, int64_t c0, int64_t n, float *part) {
    const job *j = arg;
    int64_t at = row0 * j->c + c0;
    j->isa->column_dots(j->x + at, j->y ? j->y + at : NULL, NULL, rows, j->c, n, part + c0);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    mf_columns p = plan(k);
    job j = {k->cpu->isa, in[0], in[1], p.c};
    mf_columns_run(k->cpu, k->slots, &p, sums, &j, out, 1, scratch);
    return 0;
}

const mf_cpu_ops mf_cpu_column_sum = {supports, prepare, NULL, run};
