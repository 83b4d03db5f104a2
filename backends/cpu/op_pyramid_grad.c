/* PYRAMID_POOL_GRAD: each row of dx takes from every cell that covers it dy / (pixels of the cell); a chunk is a row of
 * an image, so that nothing is written by two threads. */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    if (op->input[0].ndim != 3 || op->output.ndim != 4 || op->attrs.level_count < 1 ||
        op->attrs.level_count > MF_MAX_LEVELS)
        return 0;
    for (int i = 0; i < op->attrs.level_count; i++)
        if (op->attrs.levels[i][0] < 1 || op->attrs.levels[i][1] < 1)
            return 0;
    return 1;
}

static mf_status prepare(mf_cpu_kernel *k) {
    k->slots = mf_cpu_slots(k->cpu, (double)mf_operand_count(&k->op.output) * k->op.attrs.level_count);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    const float *dy;
    float *dx;
} job;

/* The cells of one row of cells, into a row of dx. */
static void add_cells(const job *j, const float *dy, float *row, int64_t n1, int64_t height) {
    const int64_t *d = j->k->op.output.dim, w = d[2], c = d[3];
    for (int64_t i = 0; i < n1; i++) {
        int64_t x0 = i * w / n1, x1 = mf_div_up((i + 1) * w, n1);
        float s = 1 / (float)(height * (x1 - x0));
        for (int64_t x = x0; x < x1; x++)
            j->k->cpu->isa->axpy(row + x * c, dy + i * c, c, s);
    }
}

static void run_row(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const mf_op *op = &j->k->op;
    const int64_t *d = op->output.dim, h = d[1], w = d[2], c = d[3], image = chunk / h, y = chunk % h;
    const float *dy = j->dy + image * op->input[0].dim[1] * c;
    float *row = j->dx + chunk * w * c;
    (void)slot;
    memset(row, 0, (size_t)(w * c) * sizeof(float));
    for (int l = 0; l < op->attrs.level_count; l++) {
        int64_t n0 = op->attrs.levels[l][0], n1 = op->attrs.levels[l][1];
        for (int64_t i = y * n0 / h; i < n0 && i * h / n0 <= y; i++) {
            int64_t y0 = i * h / n0, y1 = mf_div_up((i + 1) * h, n0);
            if (y >= y0 && y < y1)
                add_cells(j, dy + i * n1 * c, row, n1, y1 - y0);
        }
        dy += n0 * n1 * c;
    }
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = {k, in[0], out};
    (void)scratch;
    mf_cpu_for(k->cpu, k->slots, k->op.output.dim[0] * k->op.output.dim[1], run_row, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_pyramid_pool_grad = {supports, prepare, NULL, run};
