/* ADD and MUL: a of rows x width, b of width values repeats over the rows; a is split where that is even. */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    int64_t a = mf_operand_count(&op->input[0]), b = mf_operand_count(&op->input[1]);
    (void)cpu;
    return mf_operand_present(&op->input[1]) && (b > 0 ? a % b == 0 : a == 0);
}

static mf_status prepare(mf_cpu_kernel *k) {
    int64_t a = mf_operand_count(&k->op.input[0]), b = mf_operand_count(&k->op.input[1]);
    if (b > 1 && b < a) /* rows of b */
        mf_cpu_plan_rows(k, a / b, b, 1);
    else /* lines of 64 elements */
        mf_cpu_plan_rows(k, mf_div_up(a, 64), 64, 1);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *a, *b;
    float *y;
    int64_t count, width;
} job;

static void run_part(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    int sum = j->k->op.kind == MF_OP_ADD;
    mf_act act = j->k->op.attrs.act;
    (void)slot;
    if (j->width > 1 && j->width < j->count) {
        int64_t r0 = chunk * j->k->chunk[0], r1 = mf_min64(r0 + j->k->chunk[0], j->count / j->width);
        for (int64_t r = r0; r < r1; r++)
            (sum ? isa->add : isa->mul)(j->a + r * j->width, j->b, j->y + r * j->width, j->width, act);
        return;
    }
    int64_t at = chunk * j->k->chunk[0] * 64, n = mf_min64(j->k->chunk[0] * 64, j->count - at);
    if (j->width == 1)
        (sum ? isa->add_scalar : isa->mul_scalar)(j->a + at, j->b[0], j->y + at, n, act);
    else
        (sum ? isa->add : isa->mul)(j->a + at, j->b + at, j->y + at, n, act);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = {k, in[0], in[1], out, mf_operand_count(&k->op.input[0]), mf_operand_count(&k->op.input[1])};
    int64_t line = j.width > 1 && j.width < j.count ? j.width : 64;
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, mf_div_up(j.count, line * k->chunk[0]), run_part, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_binary = {supports, prepare, NULL, run};
