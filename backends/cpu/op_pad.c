/* PAD: copies of runs between zeros; chunks of runs. */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    const mf_attrs *a = &op->attrs;
    (void)cpu;
    return a->axis >= 0 && a->axis < op->input[0].ndim && a->begin >= 0 &&
           a->begin + op->input[0].dim[a->axis] <= a->end;
}

static mf_status prepare(mf_cpu_kernel *k) {
    const mf_op *op = &k->op;
    int64_t outer = 1, inner = 1;
    for (int i = 0; i < op->attrs.axis; i++)
        outer *= op->input[0].dim[i];
    for (int i = op->attrs.axis + 1; i < op->input[0].ndim; i++)
        inner *= op->input[0].dim[i];
    mf_cpu_plan_rows(k, outer, op->attrs.end * inner, 0.5);
    k->chunk[1] = outer;
    k->chunk[2] = inner;
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x;
    float *y;
} job;

static void run_rows(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const mf_cpu_kernel *k = j->k;
    int64_t inner = k->chunk[2], before = k->op.attrs.begin * inner, line = k->op.attrs.end * inner;
    int64_t n = k->op.input[0].dim[k->op.attrs.axis] * inner;
    (void)slot;
    for (int64_t i = chunk * k->chunk[0]; i < mf_min64((chunk + 1) * k->chunk[0], k->chunk[1]); i++) {
        float *to = j->y + i * line;
        memset(to, 0, (size_t)before * sizeof(float));
        memcpy(to + before, j->x + i * n, (size_t)n * sizeof(float));
        memset(to + before + n, 0, (size_t)(line - before - n) * sizeof(float));
    }
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = {k, in[0], out};
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, mf_div_up(k->chunk[1], k->chunk[0]), run_rows, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_pad = {supports, prepare, NULL, run};
