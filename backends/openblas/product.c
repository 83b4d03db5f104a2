/* Products by cblas_sgemm.
 *
 * OpenBLAS has no form for packed weights: each call packs both operands anew, so a slice must be large enough to pay
 * for that (192 rows or 256 columns), and the plain weight is read.  The slices run on the host's threads, OpenBLAS
 * being held to one thread a call; the epilogue goes over a slice as soon as it is there, by the vector kernels.
 *
 * A residual without activation and scale is what sgemm adds to (beta 1), in C's own memory or copied there: so a
 * weight's gradient is added to in its place.
 *
 * An element of C is summed in an order that OpenBLAS may choose by the size of the call: slices begin anew with each
 * image, so that every image of a batch is computed alike. */
#include <cblas.h>
#include <limits.h>

#include "backends/openblas/openblas.h"

enum { SLICE_ROWS = 192, SLICE_COLUMNS = 256 };

static int is_pointwise(const mf_op *op) {
    const mf_attrs *a = &op->attrs;
    const mf_operand *w = &op->input[MF_IN_W];
    return op->kind == MF_OP_CONV2D && w->ndim == 4 && w->dim[2] * w->dim[3] == 1 && a->stride[0] == 1 &&
           a->stride[1] == 1 && !a->pad[0] && !a->pad[1];
}

static int64_t depth_of(const mf_op *op) {
    const mf_operand *x = &op->input[MF_IN_X];
    return op->attrs.ta ? x->dim[0] : mf_operand_last(x);
}

int mf_openblas_able(const mf_cpu *cpu, const mf_op *op) {
    const mf_operand *x = &op->input[MF_IN_X], *w = &op->input[MF_IN_W];
    if (!mf_cpu_supports(cpu, op) || w->dtype != MF_F32 || x->dtype != MF_F32)
        return 0;
    if (!is_pointwise(op) && (op->kind != MF_OP_MATMUL || (op->attrs.ta && x->ndim != 2)))
        return 0;
    int64_t count = mf_operand_count(x), weights = mf_operand_count(w), results = mf_operand_count(&op->output);
    return count > 0 && weights > 0 && results > 0 && mf_operand_rows(&op->output) < INT_MAX &&
           mf_operand_last(&op->output) < INT_MAX && depth_of(op) < INT_MAX;
}

/* Measured with OpenBLAS 0.3.21 on a Sapphire Rapids, one thread, best of many, GFLOP/s, ours packed : sgemm unpacked
 * -- AVX-512  512x128->512 169 : 139, 256x1024->256 158 : 127, 64x1024->1024 162 : 103, 1024x1024->1024 153 : 144 AVX2
 * 512x128->512 105 : 100, 256x1024->256 102 : 95,  64x1024->1024 104 : 85,  1024x1024->1024 91 : 95 SSE2 512x128->512
 * 30 : 28,   256x1024->256 31 : 28 so with AVX-512 all products are ours, with AVX2 all but the largest.  Where the
 * kernels are the portable ones the processor may have more than they use (AVX, SVE, a tuned NEON kernel), and OpenBLAS
 * knows it: not measured.
 *
 * Weights that change, as in training, ours packing them too (docs/performance.md has the table; a Zen 4, one thread,
 * peak 118, AVX-512 : AVX2 : sgemm): forward 8192x384->96 94 : 92 : 75, 128x768->3072 108 : 103 : 94, gradient of a
 * weight 96x8192->384 99 : 89 : 81, 3072x128->768 106 : 104 : 95: all ours. */
int mf_openblas_takes(const mf_cpu *cpu, const mf_op *op) {
    if (!mf_openblas_able(cpu, op))
        return 0;
    int64_t m = mf_operand_rows(&op->output), n = mf_operand_last(&op->output), k = depth_of(op);
    if (cpu->isa->vl == 16)
        return 0;
    if (cpu->isa->vl == 8)
        return op->input[MF_IN_W].constant && m >= 512 && n >= 512 && k >= 1024;
    return m >= 16 && n >= 32 && k >= 32;
}

void mf_openblas_plan(const mf_cpu *cpu, const mf_op *op, mf_blas_product *p) {
    memset(p, 0, sizeof(*p));
    p->cpu = cpu;
    p->input_count = op->input_count;
    p->tb = op->kind == MF_OP_CONV2D || op->attrs.tb;
    p->ta = op->kind == MF_OP_MATMUL && op->attrs.ta;
    p->adds =
        op->attrs.act == MF_ACT_NONE && !(op->input_count > MF_IN_SCALE && mf_operand_present(&op->input[MF_IN_SCALE]));
    mf_gemm *g = &p->gemm;
    int64_t all = mf_operand_rows(&op->output);
    p->images = op->output.ndim > 2 ? op->output.dim[0] : 1;
    g->m = all / p->images;
    g->n = mf_operand_last(&op->output);
    g->k = depth_of(op);
    g->rs = g->k;
    g->ldc = g->n;
    g->act = op->attrs.act;
    p->slots = mf_cpu_slots(cpu, (double)all * (double)g->n * (double)g->k / 16);
    p->rows = g->m;
    p->columns = g->n;
    if (p->slots > 1 && g->m >= g->n)
        p->rows = mf_max64(mf_min64(g->m, SLICE_ROWS), mf_div_up(g->m, 4 * p->slots));
    else if (p->slots > 1)
        p->columns = mf_max64(mf_min64(g->n, SLICE_COLUMNS), mf_div_up(g->n, 4 * p->slots));
}

typedef struct job {
    const mf_blas_product *p;
    mf_gemm g;
    int64_t tall, wide;
} job;

static void run_slice(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const mf_blas_product *p = j->p;
    mf_gemm g = j->g;
    int64_t n0 = chunk % j->wide * p->columns, m0 = chunk / j->wide % j->tall * p->rows;
    int64_t image = chunk / j->wide / j->tall;
    int64_t n = mf_min64(p->columns, g.n - n0), m = mf_min64(p->rows, g.m - m0);
    const float *b = g.b;
    (void)slot;
    g.a += image * g.m * g.k;
    g.c += image * g.m * g.n;
    if (g.residual)
        g.residual += image * g.m * g.n;
    float beta = 0;
    if (g.residual && p->adds) {
        beta = 1;
        for (int64_t i = m0; i < m0 + m && g.residual != g.c; i++)
            memcpy(g.c + i * g.n + n0, g.residual + i * g.n + n0, (size_t)n * sizeof(float));
        g.residual = NULL;
    }
    cblas_sgemm(CblasRowMajor, p->ta ? CblasTrans : CblasNoTrans, p->tb ? CblasTrans : CblasNoTrans, (int)m, (int)n,
                (int)g.k, 1, p->ta ? g.a + m0 : g.a + m0 * g.k, (int)(p->ta ? g.m : g.k), p->tb ? b + n0 * g.k : b + n0,
                (int)(p->tb ? g.k : g.n), beta, g.c + m0 * g.n + n0, (int)g.n);
    if (g.bias || g.scale || g.residual || g.act != MF_ACT_NONE)
        p->cpu->isa->epilogue(&g, m0, m0 + m, n0, n0 + n);
}

void mf_openblas_run(const mf_blas_product *p, const void *const *in, void *out) {
    job j = {p, p->gemm, mf_div_up(p->gemm.m, p->rows), mf_div_up(p->gemm.n, p->columns)};
    j.g.a = in[MF_IN_X];
    j.g.b = in[MF_IN_W];
    j.g.bias = p->input_count > MF_IN_BIAS ? in[MF_IN_BIAS] : NULL;
    j.g.scale = p->input_count > MF_IN_SCALE ? in[MF_IN_SCALE] : NULL;
    j.g.residual = p->input_count > MF_IN_RESIDUAL ? in[MF_IN_RESIDUAL] : NULL;
    j.g.c = out;
    mf_cpu_for(p->cpu, p->slots, p->images * j.tall * j.wide, run_slice, &j);
}
