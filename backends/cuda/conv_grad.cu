/* CONV2D_GRAD_INPUT: the product [N Ho Wo, O] x [O, kh kw C] into scratch, some images at a time, and each pixel
 * collects its own from it (gather.cu).  Where windows overlap the scratch is f32, so that a gradient is rounded once,
 * after the sum.
 *
 * CONV2D_GRAD_WEIGHT: dy^T [O, N Ho Wo] x windows(x) [N Ho Wo, kh kw C] in f32, the windows gathered a chunk of rows at
 * a time, each chunk added to what is there by beta = 1; then [O, kh kw, C] is turned to the state dict's order.
 *
 * A pointwise convolution needs neither: its gradients are products. */
#include "backends/cuda/product.h"

typedef struct grad {
    mfc_windows windows;
    int direct;
    int64_t chunk; /* images; rows */
    mf_dtype columns;
    mfc_gemm_plan *plan, *rest; /* rest: GRAD_WEIGHT's last chunk, where it is shorter */
    mfc_gemm gemm;
    size_t weight_at, columns_at, product_at, workspace_at;
} grad;

static void release(mf_kernel *k) {
    grad *d = (grad *)k->data;
    if (!d)
        return;
    mfc_gemm_release(d->plan);
    mfc_gemm_release(d->rest);
    k->s->device->host->free(k->s->device->host->context, d);
    k->data = NULL;
}

static grad *open_grad(mf_kernel *k, const int64_t *x, const int64_t *y) {
    const mf_host *host = k->s->device->host;
    grad *d = (grad *)host->alloc(host->context, sizeof(*d));
    if (!d)
        return NULL;
    memset(d, 0, sizeof(*d));
    k->data = d;
    d->windows = mfc_windows_of(&k->op.attrs, x, y, k->s->compute);
    d->direct = mfc_is_pointwise(&k->op.attrs);
    d->gemm.batch = 1;
    d->gemm.alpha = 1;
    d->gemm.type = k->s->compute;
    d->gemm.tf32 = k->s->math == MF_MATH_TF32;
    return d;
}

static int fits(const mf_stream *s, const mf_op *op, const int64_t *x, const int64_t *y) {
    const mfc_windows windows = mfc_windows_of(&op->attrs, x, y, s->compute);
    return mfc_windows_fit(&windows) && mfc_has_values(op) && op->input[0].dtype == s->compute &&
           op->input[1].dtype == s->compute;
}

/* ---- of the input ---- */

static int supports_input(const mf_stream *s, const mf_op *op) {
    return op->input[0].ndim == 4 && op->input[1].ndim == 4 && op->output.ndim == 4 &&
           fits(s, op, op->output.dim, op->input[0].dim) && op->output.dtype == s->compute;
}

static mf_status prepare_input(mf_kernel *k, mf_kernel_info *info) {
    const mf_op *op = &k->op;
    grad *d = open_grad(k, op->output.dim, op->input[0].dim);
    if (!d)
        return MFC_MEMORY;
    const mfc_windows *w = &d->windows;
    const int64_t outputs = op->input[0].dim[3], rows = w->oh * w->ow;
    const int overlap = w->sh < w->kh || w->sw < w->kw;
    mfc_gemm *g = &d->gemm;
    size_t workspace = 0;
    d->columns = overlap ? MF_F32 : k->s->compute;
    d->chunk = w->images;
    if (!d->direct)
        d->chunk =
            mfc_min(w->images, mfc_max(1, MFC_COLUMN_CHUNK / (rows * w->row * (int64_t)mf_dtype_size(d->columns))));
    g->k = g->lda = outputs;
    g->n = g->ldw = g->ldo = d->direct ? w->c : w->row;
    g->m = d->chunk * rows;
    g->rest = w->images % d->chunk * rows;
    g->out = d->direct ? k->s->compute : d->columns;
    mf_status status = mfc_gemm_prepare(k->s->blas, g, &d->plan, &workspace);
    if (status) {
        release(k);
        return status;
    }
    d->workspace_at = mfc_take(&info->scratch_bytes, workspace);
    if (d->direct)
        return 0;
    d->weight_at = mfc_take(&info->scratch_bytes, (size_t)(outputs * w->row) * mf_dtype_size(k->s->compute));
    d->columns_at = mfc_take(&info->scratch_bytes, (size_t)(g->m * w->row) * mf_dtype_size(d->columns));
    return 0;
}

static mf_status run_input(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const grad *d = (const grad *)k->data;
    const mfc_windows *w = &d->windows;
    const mf_dtype type = k->s->compute;
    const int64_t rows = w->oh * w->ow;
    char *room = (char *)scratch, *workspace = room + d->workspace_at;
    if (d->direct)
        return mfc_gemm_run(d->plan, k->s->queue, d->gemm.m, in[0], in[1], NULL, NULL, out, NULL, NULL, workspace);
    mf_status status = mfc_weight_rows(k->s, w, type, d->gemm.k, in[1], room + d->weight_at);
    for (int64_t n = 0; n < w->images && !status; n += d->chunk) {
        const int64_t images = mfc_min(d->chunk, w->images - n);
        status = mfc_gemm_run(d->plan, k->s->queue, images * rows, mfc_at(in[0], n * rows * d->gemm.k, type),
                              room + d->weight_at, NULL, NULL, room + d->columns_at, NULL, NULL, workspace);
        if (!status)
            status = mfc_collect(k->s, w, d->columns, type, images, room + d->columns_at,
                                 mfc_at(out, n * w->h * w->w * w->c, type));
    }
    return status;
}

const mfc_ops mfc_op_conv2d_grad_input = {supports_input, prepare_input, NULL, run_input, release};

/* ---- of the weight ---- */

static int supports_weight(const mf_stream *s, const mf_op *op) {
    return op->input[0].ndim == 4 && op->input[1].ndim == 4 && op->output.ndim == 4 &&
           fits(s, op, op->input[0].dim, op->input[1].dim) && op->output.dtype == MF_F32;
}

static mf_status prepare_weight(mf_kernel *k, mf_kernel_info *info) {
    const mf_op *op = &k->op;
    grad *d = open_grad(k, op->input[0].dim, op->input[1].dim);
    if (!d)
        return MFC_MEMORY;
    const mfc_windows *w = &d->windows;
    const int64_t rows = w->images * w->oh * w->ow, size = (int64_t)mf_dtype_size(k->s->compute);
    mfc_gemm *g = &d->gemm;
    size_t workspace = 0, more = 0;
    d->chunk =
        d->direct ? rows : mfc_min(rows, mfc_max(MFC_TILE, MFC_WINDOW_CHUNK / (w->row * size) / MFC_TILE * MFC_TILE));
    g->ta = 1;
    g->m = g->lda = op->input[1].dim[3];
    g->n = g->ldw = g->ldo = d->direct ? w->c : w->row;
    g->k = d->chunk;
    g->out = MF_F32;
    g->beta = rows > d->chunk ? 1.0f : 0.0f;
    mf_status status = mfc_gemm_prepare(k->s->blas, g, &d->plan, &workspace);
    if (!status && rows % d->chunk) {
        mfc_gemm last = *g;
        last.k = rows % d->chunk;
        status = mfc_gemm_prepare(k->s->blas, &last, &d->rest, &more);
    }
    if (status) {
        release(k);
        return status;
    }
    d->workspace_at = mfc_take(&info->scratch_bytes, more > workspace ? more : workspace);
    if (d->direct)
        return 0;
    d->columns_at = mfc_take(&info->scratch_bytes, (size_t)(d->chunk * w->row * size));
    d->product_at = mfc_take(&info->scratch_bytes, (size_t)(g->m * w->row) * sizeof(float));
    return 0;
}

static mf_status run_weight(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const grad *d = (const grad *)k->data;
    const mfc_windows *w = &d->windows;
    const mf_dtype type = k->s->compute;
    const int64_t rows = w->images * w->oh * w->ow;
    char *room = (char *)scratch, *workspace = room + d->workspace_at, *product = room + d->product_at;
    mf_status status = 0;
    if (d->direct)
        return mfc_gemm_run(d->plan, k->s->queue, d->gemm.m, in[1], in[0], NULL, NULL, out, NULL, NULL, workspace);
    for (int64_t row = 0; row < rows && !status; row += d->chunk) {
        const int64_t count = mfc_min(d->chunk, rows - row);
        status = mfc_gather(k->s, w, type, in[0], row, count, room + d->columns_at);
        if (!status)
            status = mfc_gemm_run(count == d->chunk ? d->plan : d->rest, k->s->queue, d->gemm.m,
                                  mfc_at(in[1], row * d->gemm.m, type), room + d->columns_at, NULL,
                                  row ? product : NULL, product, NULL, NULL, workspace);
    }
    return status ? status : mfc_weight_back(k->s, w, d->gemm.m, (const float *)(void *)product, (float *)out);
}

const mfc_ops mfc_op_conv2d_grad_weight = {supports_weight, prepare_weight, NULL, run_weight, release};
