/* MATMUL: out[.., m, n] = residual + scale[n] act(sum_k a[.., m, k] b[k, n] + bias[n]).
 *
 * a [.., M, K], or [.., K, M] with ta, then transposed an item of the batch at a time; b [N, K] (tb) or [K, N].
 * b is laid out in panels (gemm.h): when it is constant once, by `pack`, else in every run. */
#include "backends/ref/gemm.h"

static int64_t depth(const mf_op *op) {
    const mf_operand *a = &op->input[MF_IN_X];
    return op->attrs.ta ? a->dim[a->ndim - 2] : mf_operand_last(a);
}

size_t REF(matmul_pack_bytes)(const mf_kernel *kernel, int input) {
    (void)input;
    return REF(gemm_panel_bytes)(mf_operand_last(&kernel->op.output), depth(&kernel->op));
}

size_t REF(matmul_scratch)(const mf_kernel *kernel) {
    size_t panels = kernel->packed ? 0 : ref_round_up(REF(matmul_pack_bytes)(kernel, MF_IN_W));
    return panels + REF(gemm_scratch)(kernel, depth(&kernel->op));
}

typedef struct pack_job {
    const mf_op *op;
    const real *b;
    real *panels;
} pack_job;

static void pack_panels(void *arg, int task, int64_t begin, int64_t end) {
    const pack_job *j = arg;
    const int64_t n = mf_operand_last(&j->op->output), k = depth(j->op);
    const int64_t row = j->op->attrs.tb ? 1 : n, column = j->op->attrs.tb ? k : 1; /* steps in b */
    (void)task;
    for (int64_t p = begin; p < end; p++) {
        real *panel = j->panels + p * k * GEMM_NR;
        for (int64_t i = 0; i < k; i++)
            for (int64_t c = 0; c < GEMM_NR; c++) {
                int64_t at = p * GEMM_NR + c;
                panel[i * GEMM_NR + c] = at < n ? j->b[i * row + at * column] : 0;
            }
    }
}

void REF(matmul_pack)(const mf_kernel *kernel, int input, const void *plain, void *packed) {
    (void)input;
    pack_job j = {&kernel->op, plain, packed};
    int64_t panels = (mf_operand_last(&kernel->op.output) + GEMM_NR - 1) / GEMM_NR;
    ref_parallel(kernel, panels, (double)(GEMM_NR * depth(&kernel->op)), pack_panels, &j);
}

static void fill(const mf_kernel *kernel, const void *source, int64_t row, int64_t rows, real *tile) {
    const int64_t k = depth(&kernel->op);
    if (rows < GEMM_MR)
        memset(tile, 0, (size_t)(k * GEMM_MR) * sizeof(real));
    for (int64_t i = 0; i < rows; i++) {
        const real *a = (const real *)source + (row + i) * k;
        for (int64_t p = 0; p < k; p++)
            tile[p * GEMM_MR + i] = a[p];
    }
}

static void fill_transposed(const mf_kernel *kernel, const void *source, int64_t row, int64_t rows, real *tile) {
    const int64_t k = depth(&kernel->op), m = mf_operand_last(&kernel->op.input[MF_IN_X]);
    if (rows < GEMM_MR)
        memset(tile, 0, (size_t)(k * GEMM_MR) * sizeof(real));
    for (int64_t i = 0; i < rows; i++) {
        const real *a = (const real *)source + (row + i) / m * k * m + (row + i) % m;
        for (int64_t p = 0; p < k; p++)
            tile[p * GEMM_MR + i] = a[p * m];
    }
}

MF_REF_RUN(matmul) {
    const mf_op *op = &kernel->op;
    gemm g = {
        .m = mf_operand_rows(&op->output),
        .n = mf_operand_last(&op->output),
        .k = depth(op),
        .fill = op->attrs.ta ? fill_transposed : fill,
        .source = inputs[MF_IN_X],
        .panels = inputs[MF_IN_W],
        .bias = ref_input(kernel, inputs, MF_IN_BIAS),
        .scale = ref_input(kernel, inputs, MF_IN_SCALE),
        .residual = ref_input(kernel, inputs, MF_IN_RESIDUAL),
        .out = output,
        .act = op->attrs.act,
        .scratch = scratch,
    };
    if (!kernel->packed) {
        REF(matmul_pack)(kernel, MF_IN_W, inputs[MF_IN_W], scratch);
        g.panels = scratch;
        g.scratch = (char *)scratch + ref_round_up(REF(matmul_pack_bytes)(kernel, MF_IN_W));
    }
    REF(gemm)(kernel, &g);
}
