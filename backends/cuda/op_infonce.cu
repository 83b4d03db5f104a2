/* INFONCE: L = exp(t) q r^T, q and r [N, D];  loss = (CE(L) + CE(L^T)) / 2, where a row i of CE is
 *   lse_i - sum_j T_ij L_ij,  T_ij = (1 - rate) [i = j] + rate / N,  and the mean is over the rows.
 * INFONCE_GRAD: dL = dloss / (2 N) (softmax over rows + softmax over columns - 2 T);
 *   dq = exp(t) dL r;  dr = exp(t) dL^T q;  dt = sum dL L.
 *
 * The columns of L are the rows of r q^T: so all is done twice, for two sides, by rows.  The products are blas.h's in
 * strict f32; a row of L is a block's.  L and its mirror lie whole in the scratch up to N = 2048, 16 MB each; beyond,
 * it is made in panels of rows of 16 MB, and for the gradient made again.
 *
 * A row keeps its maximum and the log of the sum of exp(L - maximum) apart: the loss is made of differences, so that
 * large logits cancel before they are added. */
#include <string.h>

#include "backends/cuda/blas.h"
#include "backends/cuda/launch.h"

#ifndef MFC_PANEL_VALUES
#define MFC_PANEL_VALUES (2048 * 2048)
#endif

enum { THREADS = 256, SIDES = 2 };

typedef struct loss_data {
    int64_t n, size, panel, panels; /* N, D; rows of a panel; how many panels */
    int kept;                       /* panels in the scratch: both sides' if they are whole */
    size_t panel_bytes, row_bytes, workspace;
    mfc_gemm_plan *logits, *mix; /* a b^T; dL b */
    float rate;
} loss_data;

/* Of a side: values of each row. */
typedef struct rows_at {
    float *most, *logs, *part; /* the maximum; log sum exp(L - maximum); what the row adds to the loss, or to dt */
} rows_at;

/* ---- kernels ---- */

static __device__ __forceinline__ float block_max(float x, float *room) {
    const int warps = (int)blockDim.x / MFC_WARP, lane = (int)threadIdx.x % MFC_WARP;
    x = mfc_warp_max(x);
    if (lane == 0)
        room[threadIdx.x / MFC_WARP] = x;
    __syncthreads();
    x = mfc_warp_max(lane < warps ? room[lane] : -INFINITY);
    __syncthreads();
    return x;
}

/* dots: the panel's rows of a b^T, from row `first` on */
static __global__ void __launch_bounds__(THREADS)
    row_sums(const float *dots, const float *t, int64_t n, int64_t first, float rate, rows_at rows) {
    __shared__ float room[MFC_WARP];
    const int64_t row = first + blockIdx.x;
    const float *x = dots + (int64_t)blockIdx.x * n;
    const float scale = expf(*t);
    float most = -INFINITY, sum = 0.0f, below = 0.0f;
    for (int64_t i = threadIdx.x; i < n; i += THREADS)
        most = fmaxf(most, scale * x[i]);
    most = block_max(most, room);
    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        const float d = scale * x[i] - most; /* a NaN, which fmaxf drops, comes into the sum here */
        sum += expf(d);
        below -= d;
    }
    sum = mfc_block_sum(sum, room);
    below = mfc_block_sum(below, room);
    if (threadIdx.x == 0) {
        const float logs = logf(sum);
        rows.most[row] = most;
        rows.logs[row] = logs;
        rows.part[row] = logs + (1.0f - rate) * (most - scale * x[row]) + rate * (below / (float)n);
    }
}

/* The dots become exp(t) dL; part: the row's sum of dL L. */
static __global__ void __launch_bounds__(THREADS)
    row_gradients(float *dots, const float *t, const float *dloss, int64_t n, int64_t first, float rate, rows_at rows,
                  rows_at columns) {
    __shared__ float room[MFC_WARP];
    const int64_t row = first + blockIdx.x;
    float *x = dots + (int64_t)blockIdx.x * n;
    const float scale = expf(*t), g = *dloss / (2.0f * (float)n), smooth = rate / (float)n;
    const float most = rows.most[row], logs = rows.logs[row];
    float sum = 0.0f;
    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        const float logit = scale * x[i], target = i == row ? smooth + (1.0f - rate) : smooth;
        const float p = expf(logit - most - logs), c = expf(logit - columns.most[i] - columns.logs[i]);
        const float d = g * ((p - target) + (c - target));
        sum = fmaf(d, logit, sum);
        x[i] = scale * d;
    }
    sum = mfc_block_sum(sum, room);
    if (threadIdx.x == 0)
        rows.part[row] = sum;
}

/* The sum of n values, or of n and n more, times a factor: one block. */
static __global__ void __launch_bounds__(THREADS)
    sum_parts(const float *a, const float *b, int64_t n, float factor, float *out) {
    __shared__ float room[MFC_WARP];
    float sum = 0.0f;
    for (int64_t i = threadIdx.x; i < n; i += THREADS)
        sum += b ? a[i] + b[i] : a[i];
    sum = mfc_block_sum(sum, room);
    if (threadIdx.x == 0)
        *out = sum * factor;
}

/* ---- on the host ---- */

static int supports(const mf_stream *, const mf_op *op) {
    for (int i = 0; i < op->input_count; i++)
        if (!mfc_typed(op, i, MF_F32))
            return 0;
    return op->output.dtype == MF_F32;
}

static void release(mf_kernel *k) {
    loss_data *d = (loss_data *)k->data;
    if (!d)
        return;
    mfc_gemm_release(d->logits);
    mfc_gemm_release(d->mix);
    k->s->device->host->free(k->s->device->host->context, d);
    k->data = NULL;
}

static void set_panels(loss_data *d, const mf_op *op) {
    d->n = op->input[0].dim[0];
    d->size = op->input[0].dim[1];
    d->rate = (float)op->attrs.rate;
    d->panel = mfc_min(d->n, mfc_max(1, MFC_PANEL_VALUES / d->n));
    d->panels = mfc_div_up(d->n, d->panel);
    d->kept = d->panels == 1 ? SIDES : 1;
    d->panel_bytes = mfc_round_up((size_t)(d->panel * d->n) * sizeof(float));
    d->row_bytes = mfc_round_up((size_t)d->n * sizeof(float));
}

static mf_status prepare(mf_kernel *k, mf_kernel_info *info) {
    const mf_host *host = k->s->device->host;
    loss_data *d = (loss_data *)host->alloc(host->context, sizeof(*d));
    size_t more = 0;
    if (!d)
        return MFC_MEMORY;
    memset(d, 0, sizeof(*d));
    k->data = d;
    set_panels(d, &k->op);
    mfc_gemm g;
    memset(&g, 0, sizeof(g));
    g.m = d->panel;
    g.rest = d->n % d->panel;
    g.batch = 1;
    g.type = g.out = MF_F32;
    g.alpha = 1.0f;
    g.n = d->n;
    g.k = g.lda = g.ldw = d->size;
    g.ldo = d->n;
    g.tw = 1;
    mf_status status = mfc_gemm_prepare(k->s->blas, &g, &d->logits, &d->workspace);
    if (!status && k->op.kind == MF_OP_INFONCE_GRAD) {
        g.n = g.ldw = g.ldo = d->size;
        g.k = g.lda = d->n;
        g.tw = 0;
        status = mfc_gemm_prepare(k->s->blas, &g, &d->mix, &more);
    }
    if (status) {
        release(k);
        return status;
    }
    d->workspace = mfc_round_up(d->workspace > more ? d->workspace : more);
    info->scratch_bytes = (size_t)d->kept * d->panel_bytes + SIDES * 3 * d->row_bytes + d->workspace;
    return 0;
}

/* A run: side 0 has q's rows, side 1 r's. */
typedef struct run_state {
    mf_kernel *k;
    const loss_data *d;
    const float *x[SIDES], *t;
    float *dots[SIDES];
    rows_at rows[SIDES];
    void *workspace;
} run_state;

static run_state start(mf_kernel *k, const void *const *in, void *scratch) {
    const loss_data *d = (const loss_data *)k->data;
    run_state s;
    char *at = (char *)scratch;
    s.k = k;
    s.d = d;
    s.t = (const float *)in[2];
    for (int i = 0; i < SIDES; i++) {
        s.x[i] = (const float *)in[i];
        s.dots[i] = (float *)(at + (i < d->kept ? (size_t)i * d->panel_bytes : 0));
    }
    at += (size_t)d->kept * d->panel_bytes;
    for (int i = 0; i < SIDES; i++, at += 3 * d->row_bytes) {
        s.rows[i].most = (float *)at;
        s.rows[i].logs = (float *)(at + d->row_bytes);
        s.rows[i].part = (float *)(at + 2 * d->row_bytes);
    }
    s.workspace = at;
    return s;
}

static mf_status make_dots(const run_state *s, int side, int64_t first, int64_t count) {
    return mfc_gemm_run(s->d->logits, s->k->s->queue, count, s->x[side] + first * s->d->size, s->x[1 - side], NULL,
                        NULL, s->dots[side], NULL, NULL, s->workspace);
}

static mf_status sum_rows(const run_state *s) {
    const loss_data *d = s->d;
    mf_status status = 0;
    for (int side = 0; side < SIDES; side++)
        for (int64_t first = 0; first < d->n && !status; first += d->panel) {
            const int64_t count = mfc_min(d->panel, d->n - first);
            status = make_dots(s, side, first, count);
            if (!status)
                status = mfc_launch(s->k->s, row_sums, dim3((unsigned)count), THREADS, 0, (const float *)s->dots[side],
                                    s->t, d->n, first, d->rate, s->rows[side]);
        }
    return status;
}

static mf_status run_loss(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const run_state s = start(k, in, scratch);
    mf_status status = sum_rows(&s);
    if (status)
        return status;
    return mfc_launch(k->s, sum_parts, dim3(1), THREADS, 0, (const float *)s.rows[0].part,
                      (const float *)s.rows[1].part, s.d->n, (float)(1 / (2 * (double)s.d->n)), (float *)out);
}

static mf_status mix_panel(const run_state *s, int side, int64_t first, int64_t count, const float *dloss, float *out) {
    const loss_data *d = s->d;
    mf_status status = d->panels > 1 ? make_dots(s, side, first, count) : 0;
    if (!status)
        status = mfc_launch(s->k->s, row_gradients, dim3((unsigned)count), THREADS, 0, s->dots[side], s->t, dloss, d->n,
                            first, d->rate, s->rows[side], s->rows[1 - side]);
    if (status)
        return status;
    return mfc_gemm_run(d->mix, s->k->s->queue, count, s->dots[side], s->x[1 - side], NULL, NULL, out + first * d->size,
                        NULL, NULL, s->workspace);
}

static mf_status run_gradient(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const run_state s = start(k, in, scratch);
    const int64_t values = s.d->n * s.d->size;
    float *to = (float *)out;
    mf_status status = sum_rows(&s);
    for (int side = 0; side < SIDES; side++)
        for (int64_t first = 0; first < s.d->n && !status; first += s.d->panel)
            status = mix_panel(&s, side, first, mfc_min(s.d->panel, s.d->n - first), (const float *)in[3],
                               to + side * values);
    if (status)
        return status;
    return mfc_launch(k->s, sum_parts, dim3(1), THREADS, 0, (const float *)s.rows[0].part, (const float *)NULL, s.d->n,
                      1.0f, to + 2 * values);
}

const mfc_ops mfc_op_infonce = {supports, prepare, NULL, run_loss, release};
const mfc_ops mfc_op_infonce_grad = {supports, prepare, NULL, run_gradient, release};
