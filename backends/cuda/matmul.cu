/* MATMUL: out = residual + scale act(a b + bias), by product.cu.
 *
 * Without ta everything before the last dimension of a is rows of one product; with ta it is a batch of products that
 * share b.  b is read in the order it is stored in, whatever tb: cuBLASLt is fast in either.
 *
 * With MF_MATH_FP8, a product with a constant b keeps two forms of it: in 16 bits, and in E4M3 as [N, K], the one order
 * that cuBLASLt takes.  A run rounds a to E4M3 into scratch, by the scale that calibration found, a chunk of rows at a
 * time; until there is one, and where operands are not aligned, it computes in 16 bits. */
#include "backends/cuda/product.h"

typedef struct matmul {
    mfc_product wide; /* in the stream's type */
    int fp8;          /* 1: there is the other form too */
    mfc_product narrow;
    mfc_fp8 range;
    size_t narrow_at, rounded_at; /* in the packed form: scale, values; in scratch */
} matmul;

static int is_weight_gradient(const mf_op *op) {
    return op->attrs.ta && op->output.ndim == 2;
}

/* A constant scale of constant weights belongs into them, which the graph does where it is refused here: cuBLASLt has no such
 * epilogue, and a pass over the product costs more than all of a small one. */
static int scale_belongs_to_weights(const mf_op *op) {
    const mf_operand *scale = mfc_operand(op, MF_IN_SCALE);
    return scale && scale->constant && op->input[MF_IN_W].constant && op->attrs.tb && !op->attrs.act;
}

static int supports(const mf_stream *s, const mf_op *op) {
    const mf_operand *w = &op->input[MF_IN_W];
    const mf_dtype out = op->output.dtype;
    if (!mfc_has_values(op) || scale_belongs_to_weights(op) || op->input[MF_IN_X].ndim < (op->attrs.ta ? 2 : 1) || w->ndim != 2)
        return 0;
    return op->input[MF_IN_X].dtype == s->compute &&
           (w->constant ? mfc_is_float_type(w->dtype) : w->dtype == s->compute) &&
           (out == s->compute || (out == MF_F32 && is_weight_gradient(op))) && mfc_typed(op, MF_IN_BIAS, MF_F32) &&
           mfc_typed(op, MF_IN_SCALE, MF_F32) && mfc_typed(op, MF_IN_RESIDUAL, out);
}

static mfc_gemm gemm_of(const mf_stream *s, const mf_op *op) {
    const mf_operand *a = &op->input[MF_IN_X];
    mfc_gemm g;
    memset(&g, 0, sizeof(g));
    g.ta = op->attrs.ta;
    g.tw = op->attrs.tb;
    g.m = g.ta ? mf_operand_last(a) : mf_operand_rows(a);
    g.k = g.ta ? a->dim[a->ndim - 2] : mf_operand_last(a);
    g.n = mf_operand_last(&op->output);
    g.batch = g.ta ? mf_operand_count(a) / (g.k * g.m) : 1;
    g.lda = g.ta ? g.m : g.k;
    g.ldw = g.tw ? g.k : g.n;
    g.ldo = g.n;
    g.step_a = g.k * g.m;
    g.step_o = g.m * g.n;
    g.type = s->compute;
    g.out = op->output.dtype;
    g.tf32 = s->math == MF_MATH_TF32;
    return g;
}

static int wants_fp8(const mf_stream *s, const mf_op *op, const mfc_gemm *g) {
    return s->math == MF_MATH_FP8 && s->compute != MF_F32 && op->input[MF_IN_W].constant && !g->ta && g->n % 16 == 0 &&
           g->k % 16 == 0;
}

static void prepare_fp8(mf_kernel *k, matmul *d, const mfc_gemm *wide, size_t *scratch) {
    mfc_gemm g = *wide;
    size_t used = 0;
    g.type = MF_I8;
    g.tw = 1;
    g.ldw = g.k;
    if (mfc_product_prepare(k, &d->narrow, &g, mfc_max(1, MFC_FP8_CHUNK / g.k), &used))
        return; /* cuBLASLt says no: 16 bits then */
    d->rounded_at = mfc_take(&used, (size_t)(d->narrow.gemm.m * g.k));
    d->fp8 = !mfc_fp8_open(k->s, &d->range);
    d->narrow_at = mfc_round_up((size_t)(g.n * g.k) * mf_dtype_size(wide->type));
    *scratch = used > *scratch ? used : *scratch;
}

static void release(mf_kernel *k) {
    matmul *d = (matmul *)k->data;
    if (!d)
        return;
    mfc_product_release(&d->wide);
    mfc_product_release(&d->narrow);
    if (d->fp8)
        mfc_fp8_close(&d->range);
    k->s->device->host->free(k->s->device->host->context, d);
    k->data = NULL;
}

static mf_status prepare(mf_kernel *k, mf_kernel_info *info) {
    const mf_op *op = &k->op;
    const mf_operand *w = &op->input[MF_IN_W];
    const mf_host *host = k->s->device->host;
    const mfc_gemm g = gemm_of(k->s, op);
    matmul *d = (matmul *)host->alloc(host->context, sizeof(*d));
    if (!d)
        return MFC_MEMORY;
    memset(d, 0, sizeof(*d));
    k->data = d;
    mf_status status = mfc_product_prepare(k, &d->wide, &g, 0, &info->scratch_bytes);
    if (status) {
        release(k);
        return status;
    }
    if (wants_fp8(k->s, op, &g))
        prepare_fp8(k, d, &g, &info->scratch_bytes);
    info->residual_in_place = 1;
    if (w->constant) {
        info->pack_bytes[MF_IN_W] =
            d->fp8 ? d->narrow_at + 256 + (size_t)(g.n * g.k) : (size_t)(g.n * g.k) * mf_dtype_size(g.type);
        info->pack_key[MF_IN_W] = mfc_pack_key(d->fp8 ? 2 + g.tw : 1, w->dtype, g.type);
        info->pack_checks[MF_IN_W] = 1;
    }
    if (d->wide.packed_bias) {
        info->pack_bytes[MF_IN_BIAS] = (size_t)g.n * mf_dtype_size(g.out);
        info->pack_key[MF_IN_BIAS] = mfc_pack_key(5, MF_F32, g.out);
        info->pack_checks[MF_IN_BIAS] = 1;
    }
    return 0;
}

static mf_status pack(mf_kernel *k, int input, const void *plain, void *packed) {
    const matmul *d = (const matmul *)k->data;
    const mfc_gemm *g = &d->wide.gemm;
    const mf_dtype stored = k->op.input[MF_IN_W].dtype;
    if (input == MF_IN_BIAS)
        return mfc_pack_bias(k, plain, packed);
    const mfc_packing as_stored = {stored, g->type, g->tw ? g->n : g->k, g->tw ? g->k : g->n, 1, g->tw ? g->k : g->n};
    mf_status status = mfc_pack_weight(k, &as_stored, plain, packed);
    if (status || !d->fp8)
        return status;
    const mfc_packing by_rows = {stored, MF_I8, g->n, g->k, 1, g->k};
    return mfc_pack_fp8(k, &by_rows, !g->tw, plain, (char *)packed + d->narrow_at);
}

/* ---- runs ---- */

static mf_status run_wide(mf_kernel *k, const mfc_product *p, const void *const *in, void *out, void *scratch) {
    const void *bias;
    mf_status status = mfc_product_begin(k, p, in, scratch, &bias);
    for (int64_t row = 0; row < p->rows && !status; row += p->gemm.m)
        status = mfc_product_chunk(k, p, row, mfc_min(p->gemm.m, p->rows - row),
                                   mfc_at(in[MF_IN_X], row * p->gemm.k, p->gemm.type), in[MF_IN_W], bias, in, out,
                                   scratch, NULL, NULL);
    return status;
}

static mf_status run_narrow(mf_kernel *k, const matmul *d, const void *const *in, void *out, void *scratch) {
    const mfc_product *p = &d->narrow;
    const char *weight = (const char *)in[MF_IN_W] + d->narrow_at;
    void *rounded = (char *)scratch + d->rounded_at;
    const void *bias;
    mf_status status = mfc_product_begin(k, p, in, scratch, &bias);
    for (int64_t row = 0; row < p->rows && !status; row += p->gemm.m) {
        const int64_t count = mfc_min(p->gemm.m, p->rows - row);
        status = mfc_fp8_round(&d->range, k->s->compute, count * p->gemm.k,
                               mfc_at(in[MF_IN_X], row * p->gemm.k, k->s->compute), rounded);
        if (!status)
            status = mfc_product_chunk(k, p, row, count, rounded, weight + 256, bias, in, out, scratch, d->range.memory,
                                       (const float *)(const void *)weight);
    }
    return status;
}

static mf_status run(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const matmul *d = (const matmul *)k->data;
    if (d->fp8 && !k->s->calibrating && d->range.ready && mfc_aligned(in[MF_IN_X]) && mfc_aligned(out) &&
        mfc_aligned(in[MF_IN_RESIDUAL]))
        return run_narrow(k, d, in, out, scratch);
    if (d->fp8 && k->s->calibrating) {
        mf_status status = mfc_fp8_observe(&d->range, k->s->compute, d->wide.rows * d->wide.gemm.k, in[MF_IN_X]);
        if (status)
            return status;
    }
    return run_wide(k, &d->wide, in, out, scratch);
}

const mfc_ops mfc_op_matmul = {supports, prepare, pack, run, release};
