/* out = residual + scale act(a w + bias): a product by cuBLASLt, and a pass of our own where that is not all.
 *
 *   no act, no scale     cuBLASLt adds the bias and, by beta = 1, the residual, in f32, and rounds once
 *   GELU's tanh form     in 16 bits cuBLASLt's epilogue too, where nothing follows it
 *   act, scale           cuBLASLt adds the bias; epilogue.cu goes over what it wrote
 *   .. and a residual    cuBLASLt writes to scratch, as the residual may lie where the output will
 *   no such epilogue     for some shapes (a column or a row alone) it has none with a bias: then it is our pass's
 *
 * The second pass would cost reading and writing the output once more: of fc1 and its GELU, a third of the time of the
 * product.  So rows go in chunks whose output, 16 MB, is still in the L2 (40 MB of an A100, 50 MB of an H100) when the
 * pass reads it.  A chunk is about two waves of tiles, which keeps the processors busy; smaller ones would not.  To be
 * measured: 8 MB, 32 MB, and no chunks.
 *
 * A bias is read in the output's type, so a constant one is packed so; another is rounded into scratch by each run. */
#include "backends/cuda/product.h"

int64_t mfc_product_most(int64_t n, mf_dtype type) {
    return mfc_max(1, MFC_OUTPUT_CHUNK / (n * (int64_t)mf_dtype_size(type)));
}

/* Chunks of equal size, whole tiles, of `most` rows or so. */
static int64_t chunk_rows(int64_t rows, int64_t most) {
    most = mfc_max(most, MFC_TILE);
    if (rows <= most + most / 4)
        return rows;
    int64_t chunks = mfc_div_up(rows, most);
    return mfc_min(rows, mfc_div_up(mfc_div_up(rows, chunks), MFC_TILE) * MFC_TILE);
}

/* cuBLASLt's tanh is an approximation in hardware: good enough for 16 bits, and of no use where our pass rounds to
 * E4M3. */
static int has_gelu(const mfc_product *p) {
    return p->act == MF_ACT_GELU_TANH && !p->has_scale && !p->has_residual && p->gemm.type != MF_F32 &&
           p->gemm.type != MF_I8;
}

/* cuBLASLt's epilogue does as much as it has for this shape: activation and bias, the bias, nothing.  (Where it turns
 * out to have less than was hoped for, our pass goes over larger chunks than it might: slower, no more.) */
static mf_status plan(const mf_stream *s, mfc_product *p, size_t *workspace) {
    mf_status status = MFC_UNSUPPORTED;
    p->gemm.alpha = 1;
    for (int level = has_gelu(p) ? 2 : p->has_bias ? 1 : 0; level >= 0 && status == MFC_UNSUPPORTED; level--) {
        p->own = p->has_scale || (p->act != MF_ACT_NONE && level < 2) || (p->has_bias && level < 1);
        p->gemm.gelu = level == 2;
        p->gemm.bias = level > 0 && p->has_bias;
        p->gemm.beta = p->has_residual && !p->own ? 1.0f : 0.0f;
        status = mfc_gemm_prepare(s->blas, &p->gemm, &p->plan, workspace);
    }
    return status;
}

mf_status mfc_product_prepare(const mf_stream *s, const mf_op *op, const mfc_gemm *gemm, int64_t most, size_t *scratch,
                              mfc_product *p) {
    const size_t size = mf_dtype_size(gemm->out);
    size_t workspace = 0;
    memset(p, 0, sizeof(*p));
    p->gemm = *gemm;
    p->rows = gemm->m;
    p->act = op->attrs.act;
    p->has_bias = mfc_operand(op, MF_IN_BIAS) != NULL;
    p->has_scale = mfc_operand(op, MF_IN_SCALE) != NULL;
    p->has_residual = mfc_operand(op, MF_IN_RESIDUAL) != NULL;
    p->packed_bias = p->has_bias && mfc_packs_bias(op);
    p->own = p->has_scale || (p->act != MF_ACT_NONE && !has_gelu(p)); /* as is hoped */
    if (p->own && gemm->batch == 1 && !gemm->ta) {
        const int64_t fits = mfc_product_most(gemm->n, gemm->out);
        most = most ? mfc_min(most, fits) : fits;
    }
    if (most)
        p->gemm.m = chunk_rows(p->rows, most);
    p->gemm.rest = p->rows % p->gemm.m;
    mf_status status = plan(s, p, &workspace);
    if (status)
        return status;
    p->aside = p->own && p->has_residual;
    if (p->has_bias && !p->packed_bias)
        p->bias_at = mfc_take(scratch, (size_t)gemm->n * size);
    if (p->aside)
        p->aside_at = mfc_take(scratch, (size_t)(p->gemm.batch * p->gemm.m * gemm->n) * size);
    p->workspace_at = mfc_take(scratch, workspace);
    return 0;
}

void mfc_product_release(mfc_product *p) {
    mfc_gemm_release(p->plan);
    p->plan = NULL;
}

mf_status mfc_product_begin(const mf_stream *s, const mfc_product *p, const void *const *in, void *scratch,
                            const void **bias) {
    *bias = in[MF_IN_BIAS];
    if (!p->has_bias || p->packed_bias || (p->gemm.out == MF_F32 && mfc_aligned(*bias)))
        return 0;
    void *to = (char *)scratch + p->bias_at;
    *bias = to;
    return mfc_convert_vector(s, p->gemm.out, p->gemm.n, (const float *)in[MF_IN_BIAS], to);
}

mf_status mfc_product_chunk(const mf_stream *s, const mfc_product *p, const mfc_rows *r, const void *const *in,
                            void *out, void *scratch) {
    const int64_t n = p->gemm.n, at = r->row * n;
    const void *residual = p->has_residual ? mfc_at(in[MF_IN_RESIDUAL], at, p->gemm.out) : NULL;
    void *to = mfc_at(out, at, p->gemm.out), *product = p->aside ? (char *)scratch + p->aside_at : to;
    mf_status status =
        mfc_gemm_run(p->plan, s->queue, r->count, r->a, r->w, p->gemm.bias ? r->bias : NULL, p->own ? NULL : residual,
                     product, r->scale_a, r->scale_w, (char *)scratch + p->workspace_at);
    if (status || (!p->own && !r->range))
        return status;
    mfc_after after = {};
    after.type = p->gemm.out;
    after.rows = p->gemm.batch * r->count;
    after.n = n;
    after.from = product;
    after.out = to;
    if (p->own) {
        after.act = p->act;
        after.bias = p->gemm.bias ? NULL : r->bias;
        after.scale = p->has_scale ? (const float *)in[MF_IN_SCALE] : NULL;
        after.residual = residual;
    }
    after.range = r->range;
    after.rounded = r->rounded;
    return mfc_epilogue(s, &after);
}
