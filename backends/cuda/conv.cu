/* CONV2D by the product [N Ho Wo, kh kw C] x [kh kw C, O] with its epilogue (product.cu).
 *
 * A pointwise convolution is the product itself.  Else the windows are gathered into scratch, a chunk of rows at a
 * time: small enough, 32 MB, that the product reads it from the L2.  Patches, whose windows touch nowhere, are the same
 * copy.  Rows are padded with zeros to multiples of 16 bytes (7 x 7 x 3 has none), the weight's too: tensor cores read
 * no others. */
#include "backends/cuda/product.h"

typedef struct conv {
    mfc_product product;
    mfc_windows windows;
    int direct, weight_as_stored; /* no gather; [O, C, 1, 1] that is a row's [O, C] already */
    size_t columns_at, weight_at;
} conv;

static int supports(const mf_stream *s, const mf_op *op) {
    const mf_operand *x = &op->input[MF_IN_X], *w = &op->input[MF_IN_W];
    if (x->ndim != 4 || w->ndim != 4 || op->output.ndim != 4 || !mfc_has_values(op) || w->dim[1] != x->dim[3] ||
        w->dim[2] != op->attrs.kernel[0] || w->dim[3] != op->attrs.kernel[1])
        return 0;
    const mfc_windows windows = mfc_windows_of(&op->attrs, x->dim, op->output.dim, s->compute);
    return mfc_windows_fit(&windows) && x->dtype == s->compute && op->output.dtype == s->compute &&
           (w->constant ? mfc_is_float_type(w->dtype) : w->dtype == s->compute) && mfc_typed(op, MF_IN_BIAS, MF_F32) &&
           mfc_typed(op, MF_IN_SCALE, MF_F32) && mfc_typed(op, MF_IN_RESIDUAL, s->compute);
}

static void release(mf_kernel *k) {
    conv *d = (conv *)k->data;
    if (!d)
        return;
    mfc_product_release(&d->product);
    k->s->device->host->free(k->s->device->host->context, d);
    k->data = NULL;
}

static mfc_gemm gemm_of(const mf_stream *s, const mf_op *op, const conv *d) {
    mfc_gemm g;
    memset(&g, 0, sizeof(g));
    g.m = mf_operand_rows(&op->output);
    g.n = g.ldo = mf_operand_last(&op->output);
    g.k = g.lda = d->direct ? d->windows.k : d->windows.row;
    g.ldw = d->weight_as_stored ? d->windows.k : d->windows.row;
    g.tw = 1;
    g.batch = 1;
    g.type = g.out = s->compute;
    g.tf32 = s->math == MF_MATH_TF32;
    return g;
}

static mf_status prepare(mf_kernel *k, mf_kernel_info *info) {
    const mf_op *op = &k->op;
    const mf_operand *w = &op->input[MF_IN_W];
    const mf_host *host = k->s->device->host;
    const size_t size = mf_dtype_size(k->s->compute);
    conv *d = (conv *)host->alloc(host->context, sizeof(*d));
    if (!d)
        return MFC_MEMORY;
    memset(d, 0, sizeof(*d));
    k->data = d;
    d->windows = mfc_windows_of(&op->attrs, op->input[MF_IN_X].dim, op->output.dim, k->s->compute);
    d->direct = mfc_is_pointwise(&op->attrs);
    const size_t weight = (size_t)(w->dim[0] * d->windows.row) * size;
    d->weight_as_stored =
        !w->constant && op->attrs.kernel[0] * op->attrs.kernel[1] == 1 && (d->direct || d->windows.row == d->windows.k);
    if (!w->constant && !d->weight_as_stored)
        d->weight_at = mfc_take(&info->scratch_bytes, weight);
    const mfc_gemm g = gemm_of(k->s, op, d);
    const int64_t most = d->direct ? 0 : mfc_max(1, MFC_WINDOW_CHUNK / (d->windows.row * (int64_t)size));
    mf_status status = mfc_product_prepare(k->s, op, &g, most, &info->scratch_bytes, &d->product);
    if (status) {
        release(k);
        return status;
    }
    if (!d->direct)
        d->columns_at = mfc_take(&info->scratch_bytes, (size_t)(d->product.gemm.m * d->windows.row) * size);
    info->residual_in_place = 1;
    if (w->constant) {
        info->pack_bytes[MF_IN_W] = weight;
        info->pack_key[MF_IN_W] = mfc_pack_key(4, w->dtype, k->s->compute);
        info->pack_checks[MF_IN_W] = 1;
    }
    if (d->product.packed_bias) {
        info->pack_bytes[MF_IN_BIAS] = (size_t)g.n * size;
        info->pack_key[MF_IN_BIAS] = mfc_pack_key(5, MF_F32, k->s->compute);
        info->pack_checks[MF_IN_BIAS] = 1;
    }
    return 0;
}

static mf_status pack(mf_kernel *k, int input, const void *plain, void *packed) {
    const conv *d = (const conv *)k->data;
    const mf_operand *w = &k->op.input[MF_IN_W];
    if (input == MF_IN_BIAS)
        return mfc_pack_bias(k->s, &k->op, plain, packed);
    const mfc_packing p = {w->dtype, k->s->compute, w->dim[0], w->dim[1], w->dim[2] * w->dim[3], d->windows.row};
    return mfc_pack_weight(k->s, &p, plain, packed);
}

static mf_status run(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const conv *d = (const conv *)k->data;
    const mfc_product *p = &d->product;
    const mf_dtype type = k->s->compute;
    const void *bias, *w = in[MF_IN_W];
    mf_status status = mfc_product_begin(k->s, p, in, scratch, &bias);
    if (!status && !k->op.input[MF_IN_W].constant && !d->weight_as_stored) {
        w = (char *)scratch + d->weight_at;
        status = mfc_weight_rows(k->s, &d->windows, type, p->gemm.n, in[MF_IN_W], (char *)scratch + d->weight_at);
    }
    for (int64_t row = 0; row < p->rows && !status; row += p->gemm.m) {
        const int64_t count = mfc_min(p->gemm.m, p->rows - row);
        mfc_rows r = mfc_rows_of(row, count, mfc_at(in[MF_IN_X], row * p->gemm.k, type), w, bias);
        if (!d->direct) {
            r.a = (char *)scratch + d->columns_at;
            status = mfc_gather(k->s, &d->windows, type, in[MF_IN_X], row, count, (char *)scratch + d->columns_at);
        }
        if (!status)
            status = mfc_product_chunk(k->s, p, &r, in, out, scratch);
    }
    return status;
}

const mfc_ops mfc_op_conv2d = {supports, prepare, pack, run, release};
