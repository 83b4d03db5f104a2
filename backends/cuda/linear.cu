/* A linear layer: a b + bias with its epilogue (product.cu), in one of two forms.
 *
 * Without ta everything before the last dimension of a is rows of one product; with ta it is a batch of products that
 * share b.  b is read in the order it is stored in, whatever tb: cuBLASLt is fast in either.
 *
 * With MF_MATH_FP8, a product with a constant b keeps two forms of it: in 16 bits, and in E4M3 as [N, K], the one order
 * that cuBLASLt takes.  A chunk of rows of a is rounded to E4M3 into scratch, by the scale that calibration found, or
 * comes rounded from the pass that computes it; until there is a scale, and where operands are not aligned, it is 16
 * bits. */
#include "backends/cuda/product.h"

/* A constant scale of constant weights belongs into them, which the graph does where it is refused here: cuBLASLt has
 * no such epilogue, and a pass over the product costs more than all of a small one. */
static int scale_belongs_to_weights(const mf_op *op) {
    const mf_operand *scale = mfc_operand(op, MF_IN_SCALE);
    return scale && scale->constant && op->input[MF_IN_W].constant && op->attrs.tb && !op->attrs.act;
}

int mfc_linear_supports(const mf_stream *s, const mf_op *op) {
    const mf_operand *w = &op->input[MF_IN_W];
    const mf_dtype out = op->output.dtype;
    if (!mfc_has_values(op) || scale_belongs_to_weights(op) || op->input[MF_IN_X].ndim < (op->attrs.ta ? 2 : 1) ||
        w->ndim != 2)
        return 0;
    return op->input[MF_IN_X].dtype == s->compute &&
           (w->constant ? mfc_is_float_type(w->dtype) : w->dtype == s->compute) &&
           (out == s->compute || (out == MF_F32 && mf_op_is_weight_gradient(op))) && mfc_typed(op, MF_IN_BIAS, MF_F32) &&
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

/* used: of the scratch, but for what the form in 16 bits has there: a run takes one of them. */
static void prepare_fp8(mf_stream *s, const mf_op *op, const mfc_gemm *wide, int64_t most, size_t used, size_t *scratch,
                        mfc_linear *d) {
    mfc_gemm g = *wide;
    g.type = MF_I8;
    g.tw = 1;
    g.ldw = g.k;
    if (mfc_product_prepare(s, op, &g, most ? most : mfc_max(1, MFC_FP8_CHUNK / g.k), &used, &d->narrow))
        return; /* cuBLASLt says no: 16 bits then */
    d->rounded_at = mfc_take(&used, (size_t)(d->narrow.gemm.m * g.k));
    d->fp8 = !mfc_fp8_open(s, &d->range);
    d->narrow_at = mfc_round_up((size_t)(g.n * g.k) * mf_dtype_size(wide->type));
    *scratch = used > *scratch ? used : *scratch;
}

mf_status mfc_linear_prepare(mf_stream *s, const mf_op *op, int64_t most, size_t *scratch, mfc_linear *d) {
    const mfc_gemm g = gemm_of(s, op);
    const size_t used = *scratch;
    memset(d, 0, sizeof(*d));
    mf_status status = mfc_product_prepare(s, op, &g, most, scratch, &d->wide);
    if (!status && wants_fp8(s, op, &g))
        prepare_fp8(s, op, &g, most, used, scratch, d);
    return status;
}

void mfc_linear_release(mfc_linear *d) {
    mfc_product_release(&d->wide);
    mfc_product_release(&d->narrow);
    if (d->fp8)
        mfc_fp8_close(&d->range);
    d->fp8 = 0;
}

/* ---- weights ---- */

void mfc_linear_packs(const mf_op *op, const mfc_linear *d, int weight, int bias, mf_kernel_info *info) {
    const mfc_gemm *g = &d->wide.gemm;
    const mf_operand *w = &op->input[MF_IN_W];
    if (w->constant) {
        info->pack_bytes[weight] =
            d->fp8 ? d->narrow_at + 256 + (size_t)(g->n * g->k) : (size_t)(g->n * g->k) * mf_dtype_size(g->type);
        info->pack_key[weight] = mfc_pack_key(d->fp8 ? 2 + g->tw : 1, w->dtype, g->type);
        info->pack_checks[weight] = 1;
    }
    if (d->wide.packed_bias) {
        info->pack_bytes[bias] = (size_t)g->n * mf_dtype_size(g->out);
        info->pack_key[bias] = mfc_pack_key(5, MF_F32, g->out);
        info->pack_checks[bias] = 1;
    }
}

mf_status mfc_linear_pack_weight(const mf_stream *s, const mf_op *op, const mfc_linear *d, const void *plain,
                                 void *packed) {
    const mfc_gemm *g = &d->wide.gemm;
    const mf_dtype stored = op->input[MF_IN_W].dtype;
    const mfc_packing as_stored = {stored, g->type, g->tw ? g->n : g->k, g->tw ? g->k : g->n, 1, g->tw ? g->k : g->n};
    mf_status status = mfc_pack_weight(s, &as_stored, plain, packed);
    if (status || !d->fp8)
        return status;
    const mfc_packing by_rows = {stored, MF_I8, g->n, g->k, 1, g->k};
    return mfc_pack_fp8(s, &by_rows, !g->tw, plain, (char *)packed + d->narrow_at);
}

/* ---- runs ---- */

mf_status mfc_linear_begin(const mf_stream *s, const mfc_linear *d, const void *const *in, void *out, void *scratch,
                           mfc_linear_run *run) {
    run->linear = d;
    run->in = in;
    run->out = out;
    run->scratch = (char *)scratch;
    run->narrow = d->fp8 && !s->calibrating && d->range.ready && mfc_aligned(in[MF_IN_X]) && mfc_aligned(out) &&
                  mfc_aligned(in[MF_IN_RESIDUAL]);
    run->product = run->narrow ? &d->narrow : &d->wide;
    return mfc_product_begin(s, run->product, in, scratch, &run->bias);
}

mf_status mfc_linear_chunk(const mf_stream *s, const mfc_linear_run *run, int64_t row, int64_t count, const void *a,
                           int rounded, const mfc_linear_run *to, void *values) {
    const mfc_linear *d = run->linear;
    const int64_t some = count * run->product->gemm.k;
    mfc_rows r = mfc_rows_of(row, count, a, run->in[MF_IN_W], run->bias);
    mf_status status = 0;
    if (run->narrow) {
        const char *weight = (const char *)r.w + d->narrow_at;
        r.w = weight + 256;
        r.scale_a = mfc_fp8_scale(&d->range);
        r.scale_w = (const float *)(const void *)weight;
        if (!rounded) {
            r.a = run->scratch + d->rounded_at;
            status = mfc_fp8_round(&d->range, s->compute, some, a, run->scratch + d->rounded_at);
        }
    } else if (d->fp8 && s->calibrating) {
        status = mfc_fp8_observe(&d->range, s->compute, some, a);
    }
    if (to && to->narrow) {
        r.range = &to->linear->range;
        r.rounded = values;
    }
    return status ? status : mfc_product_chunk(s, run->product, &r, run->in, run->out, run->scratch);
}
