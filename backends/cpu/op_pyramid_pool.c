/* PYRAMID_POOL: adaptive average pools of one map, a chunk being one row of cells of one level.
 *
 * A row of cells first adds its input rows up into one (in the thread's scratch, in L1 or L2) and then takes each cell
 * from that: r w + n (w / n + 1) vector additions instead of n r (w / n + 1) for r rows, n cells. */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    if (op->input[0].ndim != 4 || op->attrs.level_count < 1 || op->attrs.level_count > MF_MAX_LEVELS)
        return 0;
    for (int i = 0; i < op->attrs.level_count; i++)
        if (op->attrs.levels[i][0] < 1 || op->attrs.levels[i][1] < 1)
            return 0;
    return 1;
}

static mf_status prepare(mf_cpu_kernel *k) {
    const int64_t *d = k->op.input[0].dim;
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.input[0]) * k->op.attrs.level_count);
    k->slot_bytes = (size_t)(d[2] * d[3]) * sizeof(float);
    for (int i = 0; i < k->op.attrs.level_count; i++)
        k->chunk[0] += k->op.attrs.levels[i][0]; /* rows of cells of an image */
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *x;
    float *y;
    char *scratch;
} job;

static void run_row(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const mf_cpu_kernel *k = j->k;
    const int64_t *d = k->op.input[0].dim, h = d[1], w = d[2], c = d[3], image = chunk / k->chunk[0];
    int64_t row = chunk % k->chunk[0], cell = 0;
    int level = 0;
    for (; row >= k->op.attrs.levels[level][0]; level++) {
        row -= k->op.attrs.levels[level][0];
        cell += (int64_t)k->op.attrs.levels[level][0] * k->op.attrs.levels[level][1];
    }
    int64_t n0 = k->op.attrs.levels[level][0], n1 = k->op.attrs.levels[level][1];
    int64_t y0 = row * h / n0, y1 = mf_div_up((row + 1) * h, n0);
    float *sum = (float *)(void *)(j->scratch + (size_t)slot * k->slot_bytes);
    float *to = j->y + (image * k->op.output.dim[1] + cell + row * n1) * c;
    k->cpu->isa->sum_strided(j->x + (image * h + y0) * w * c, w * c, y1 - y0, sum, w * c, 1);
    for (int64_t i = 0; i < n1; i++) {
        int64_t x0 = i * w / n1, x1 = mf_div_up((i + 1) * w, n1);
        k->cpu->isa->sum_strided(sum + x0 * c, c, x1 - x0, to + i * c, c, 1 / (float)((y1 - y0) * (x1 - x0)));
    }
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = {k, in[0], out, mf_cpu_slot_scratch(k, scratch, 0)};
    mf_cpu_for(k->cpu, k->slots, k->op.input[0].dim[0] * k->chunk[0], run_row, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_pyramid_pool = {supports, prepare, NULL, run};
