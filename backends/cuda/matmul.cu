/* MATMUL: out = residual + scale act(a b + bias), and MLP, two of them: linear.cu.
 *
 * The hidden values of an MLP are four times its input and of no use after it, so they are never whole: rows go in
 * chunks whose hidden values, 16 MB, are written by the first product, gone over by the activation and read by the
 * second product while they lie in the L2.  Of a block of ConvNeXt that leaves 3 C of 11 C values a row to the memory:
 * x, the residual and the output.  4096 rows of 2048 hidden values are 512
 * tiles of 128 x 128 in the first product and 128 in the second, about a wave of an H100's processors.  In E4M3 the
 * activation's pass rounds for the second product. */
#include "backends/cuda/product.h"

static void *new_data(mf_kernel *k, size_t bytes) {
    const mf_host *host = k->s->device->host;
    k->data = host->alloc(host->context, bytes);
    if (k->data)
        memset(k->data, 0, bytes);
    return k->data;
}

static void free_data(mf_kernel *k) {
    k->s->device->host->free(k->s->device->host->context, k->data);
    k->data = NULL;
}

/* ---- MATMUL ---- */

static void matmul_release(mf_kernel *k) {
    if (k->data)
        mfc_linear_release((mfc_linear *)k->data);
    free_data(k);
}

static mf_status matmul_prepare(mf_kernel *k, mf_kernel_info *info) {
    mfc_linear *d = (mfc_linear *)new_data(k, sizeof(*d));
    if (!d)
        return MFC_MEMORY;
    mf_status status = mfc_linear_prepare(k->s, &k->op, 0, &info->scratch_bytes, d);
    if (status) {
        matmul_release(k);
        return status;
    }
    info->residual_in_place = 1;
    mfc_linear_packs(&k->op, d, MF_IN_W, MF_IN_BIAS, info);
    return 0;
}

static mf_status matmul_pack(mf_kernel *k, int input, const void *plain, void *packed) {
    return input == MF_IN_BIAS ? mfc_pack_bias(k->s, &k->op, plain, packed)
                               : mfc_linear_pack_weight(k->s, &k->op, (const mfc_linear *)k->data, plain, packed);
}

static mf_status matmul_run(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    mfc_linear_run run;
    mf_status status = mfc_linear_begin(k->s, (const mfc_linear *)k->data, in, out, scratch, &run);
    const mfc_product *p = run.product;
    for (int64_t row = 0; row < p->rows && !status; row += p->gemm.m)
        status = mfc_linear_chunk(k->s, &run, row, mfc_min(p->gemm.m, p->rows - row),
                                  mfc_at(in[MF_IN_X], row * p->gemm.k, k->s->compute), 0, NULL, NULL);
    return status;
}

const mfc_ops mfc_op_matmul = {mfc_linear_supports, matmul_prepare, matmul_pack, matmul_run, matmul_release};

/* ---- MLP ---- */

typedef struct mlp {
    mf_op first_op, second_op; /* of all rows */
    mfc_linear first, second;
    size_t hidden_at, rounded_at; /* in scratch: a chunk's hidden values, in 16 or 32 bits and in E4M3 */
} mlp;

static int mlp_supports(const mf_stream *s, const mf_op *op) {
    mf_op first, second;
    if (op->input_count < MF_MLP_INPUTS || !mfc_has_values(op))
        return 0;
    mf_mlp_parts(op, mf_operand_rows(&op->output), &first, &second);
    return mfc_linear_supports(s, &first) && mfc_linear_supports(s, &second);
}

static void mlp_release(mf_kernel *k) {
    mlp *d = (mlp *)k->data;
    if (d) {
        mfc_linear_release(&d->first);
        mfc_linear_release(&d->second);
    }
    free_data(k);
}

static mf_status mlp_prepare_parts(mf_stream *s, mlp *d, size_t *scratch) {
    const int64_t hidden = mf_operand_last(&d->first_op.output), n = mf_operand_last(&d->second_op.output);
    const int64_t most = mfc_product_most(mfc_max(hidden, n), s->compute); /* both have chunks of the same rows */
    mf_status status = mfc_linear_prepare(s, &d->first_op, most, scratch, &d->first);
    if (!status)
        status = mfc_linear_prepare(s, &d->second_op, most, scratch, &d->second);
    const size_t values = (size_t)(d->first.wide.gemm.m * hidden);
    d->hidden_at = mfc_take(scratch, values * mf_dtype_size(s->compute));
    if (d->second.fp8)
        d->rounded_at = mfc_take(scratch, values);
    return status;
}

static mf_status mlp_prepare(mf_kernel *k, mf_kernel_info *info) {
    mlp *d = (mlp *)new_data(k, sizeof(*d));
    if (!d)
        return MFC_MEMORY;
    mf_mlp_parts(&k->op, mf_operand_rows(&k->op.output), &d->first_op, &d->second_op);
    mf_status status = mlp_prepare_parts(k->s, d, &info->scratch_bytes);
    if (status) {
        mlp_release(k);
        return status;
    }
    info->residual_in_place = 1;
    mfc_linear_packs(&d->first_op, &d->first, MF_IN_FIRST_W, MF_IN_FIRST_BIAS, info);
    mfc_linear_packs(&d->second_op, &d->second, MF_IN_W, MF_IN_BIAS, info);
    return 0;
}

static mf_status mlp_pack(mf_kernel *k, int input, const void *plain, void *packed) {
    const mlp *d = (const mlp *)k->data;
    if (input == MF_IN_BIAS)
        return mfc_pack_bias(k->s, &d->second_op, plain, packed);
    if (input == MF_IN_FIRST_BIAS)
        return mfc_pack_bias(k->s, &d->first_op, plain, packed);
    return input == MF_IN_W ? mfc_linear_pack_weight(k->s, &d->second_op, &d->second, plain, packed)
                            : mfc_linear_pack_weight(k->s, &d->first_op, &d->first, plain, packed);
}

static mf_status mlp_run(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const mlp *d = (const mlp *)k->data;
    char *hidden = (char *)scratch + d->hidden_at, *rounded = (char *)scratch + d->rounded_at;
    const void *const first_in[MF_MAX_INPUTS] = {in[MF_IN_X], in[MF_IN_FIRST_W], in[MF_IN_FIRST_BIAS]};
    const void *const second_in[MF_MAX_INPUTS] = {hidden, in[MF_IN_W], in[MF_IN_BIAS], in[MF_IN_SCALE],
                                                  in[MF_IN_RESIDUAL]};
    const int64_t rows = d->first.wide.rows, step = d->first.wide.gemm.m, channels = d->first.wide.gemm.k;
    mfc_linear_run first, second;
    mf_status status = mfc_linear_begin(k->s, &d->first, first_in, hidden, scratch, &first);
    if (!status)
        status = mfc_linear_begin(k->s, &d->second, second_in, out, scratch, &second);
    for (int64_t row = 0; row < rows && !status; row += step) {
        const int64_t count = mfc_min(step, rows - row);
        status = mfc_linear_chunk(k->s, &first, 0, count, mfc_at(in[MF_IN_X], row * channels, k->s->compute), 0,
                                  &second, rounded);
        if (!status)
            status = mfc_linear_chunk(k->s, &second, row, count, second.narrow ? rounded : hidden, second.narrow, NULL,
                                      NULL);
    }
    return status;
}

const mfc_ops mfc_op_mlp = {mlp_supports, mlp_prepare, mlp_pack, mlp_run, mlp_release};
