/* ATTENTION_GRAD: q, k, v, dout -> [dq | dk | dv]; head h holds channels h d .. (h + 1) d - 1, d up to 128.
 *
 * linear, with Q = elu(q) + 1, K = elu(k) + 1, M = K^T v, s = sum K, z = Q . s + eps, out = Q M / z:
 *   G = dout / z;  dz = -(G . out);  dQ = G M^T + dz s;  dM = Q^T G;  ds = sum dz Q
 *   dK = v dM^T + ds;  dv = K dM;  dq = dQ elu'(q), dk = dK elu'(k)
 *
 * Three kernels, a block for CHUNK rows of a head in each, with no buffer larger than [d, d] a chunk: the sums M and s
 * of the sources; dq of the tokens, and with the tile at hand the sums dM and ds; dk and dv of the sources.  The sums
 * of the chunks are added between them in order (columns.h).  What a block does is attention_grad.h's.
 *
 * softmax: attention_softmax_grad.cu. */
#include "backends/cuda/attention_grad.h"
#include "backends/cuda/columns.h"

enum { THREADS = MFC_SIDE * MFC_SIDE, CHUNK = 256 };

/* sums: [heads][chunks][d d + d], M or dM and then s or ds. */
template <int R>
static __device__ __forceinline__ void store_sums(float *sums, int width, const float (&outer)[R][R],
                                                  const float (&plain)[R]) {
    const int row = (int)threadIdx.x / MFC_SIDE, column = (int)threadIdx.x % MFC_SIDE;
#pragma unroll
    for (int i = 0; i < R; i++) {
        const int a = row + MFC_SIDE * i;
#pragma unroll
        for (int j = 0; j < R; j++) {
            const int b = column + MFC_SIDE * j;
            if (a < width && b < width)
                sums[a * width + b] = outer[i][j];
        }
        if (a < width && column == 0)
            sums[width * width + a] = plain[i];
    }
}

/* outer += sum over the tile of left^T right */
template <int R>
static __device__ __forceinline__ void add_outer(const float *left, const float *right, const float *weight,
                                                 float (&outer)[R][R], float (&plain)[R]) {
    enum { STRIDE = MFC_SIDE * R + 1 };
    const int row = (int)threadIdx.x / MFC_SIDE, column = (int)threadIdx.x % MFC_SIDE;
    for (int t = 0; t < MFC_TILE; t++) {
        float a[R], b[R];
        const float w = weight ? weight[t] : 1.0f;
#pragma unroll
        for (int i = 0; i < R; i++) {
            a[i] = left[t * STRIDE + row + MFC_SIDE * i];
            b[i] = right[t * STRIDE + column + MFC_SIDE * i];
            plain[i] = fmaf(a[i], w, plain[i]);
        }
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int j = 0; j < R; j++)
                outer[i][j] = fmaf(a[i], b[j], outer[i][j]);
    }
}

template <int R> static __device__ __forceinline__ void clear_sums(float (&outer)[R][R], float (&plain)[R]) {
#pragma unroll
    for (int i = 0; i < R; i++) {
        plain[i] = 0.0f;
#pragma unroll
        for (int j = 0; j < R; j++)
            outer[i][j] = 0.0f;
    }
}

/* sums to shared memory, padded with zeros: [D][D + 1] and [D] */
template <int R> static __device__ __forceinline__ void load_sums(const float *sums, int width, float *m, float *s) {
    enum { D = MFC_SIDE * R };
    for (int i = (int)threadIdx.x; i < D * D; i += THREADS) {
        const int a = i / D, b = i % D;
        m[a * (D + 1) + b] = a < width && b < width ? sums[a * width + b] : 0.0f;
    }
    for (int a = (int)threadIdx.x; a < D; a += THREADS)
        s[a] = a < width ? sums[width * width + a] : 0.0f;
}

/* The derivative of elu at x, from elu(x) + 1. */
static __device__ __forceinline__ float slope_of(float elu1) {
    return elu1 > 1.0f ? 1.0f : elu1;
}

template <typename T, int R>
static __global__ void __launch_bounds__(THREADS)
    source_sums(const T *k, const T *v, mfc_heads h, int64_t chunks, float *sums) {
    enum { D = MFC_SIDE * R };
    MFC_SHARED(float, room);
    float *keys = room, *values = room + MFC_TILE * (D + 1);
    const int64_t head = blockIdx.x / chunks, begin = blockIdx.x % chunks * CHUNK;
    const int64_t end = begin + CHUNK < h.sources ? begin + CHUNK : h.sources, at = mfc_head_at(h, head, h.sources);
    float outer[R][R], plain[R];
    clear_sums<R>(outer, plain);
    for (int64_t first = begin; first < end; first += MFC_TILE) {
        mfc_tile<T, D, 1>(k + at, h, first, h.sources, keys);
        mfc_tile<T, D, 0>(v + at, h, first, h.sources, values);
        __syncthreads();
        add_outer<R>(keys, values, NULL, outer, plain);
        __syncthreads();
    }
    store_sums<R>(sums + (int64_t)blockIdx.x * (h.width + 1) * h.width, (int)h.width, outer, plain);
}

/* dq of a tile; the tile of dout becomes G, and dz goes to shared memory. */
template <typename T, int R>
static __device__ __forceinline__ void token_tile(const mfc_heads &h, const float *m, const float *s,
                                                  const float *queries, float *gradients, float *dz, int64_t rows,
                                                  T *dq) {
    enum { D = MFC_SIDE * R, STRIDE = D + 1 };
    const int row = (int)threadIdx.x / MFC_SIDE, column = (int)threadIdx.x % MFC_SIDE;
    float p[2][R];
#pragma unroll
    for (int i = 0; i < R; i++)
        p[0][i] = p[1][i] = 0.0f;
    for (int b = 0; b < D; b++) {
        const float g0 = gradients[row * STRIDE + b], g1 = gradients[(row + MFC_SIDE) * STRIDE + b];
#pragma unroll
        for (int i = 0; i < R; i++) {
            const float w = m[(column + MFC_SIDE * i) * STRIDE + b];
            p[0][i] = fmaf(g0, w, p[0][i]);
            p[1][i] = fmaf(g1, w, p[1][i]);
        }
    }
    float inverse[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int t = row + MFC_SIDE * r;
        float z = 0.0f, dot = 0.0f;
#pragma unroll
        for (int i = 0; i < R; i++) {
            const float x = queries[t * STRIDE + column + MFC_SIDE * i];
            z = fmaf(x, s[column + MFC_SIDE * i], z);
            dot = fmaf(x, p[r][i], dot);
        }
        z = mfc_side_sum(z) + h.eps;
        dot = mfc_side_sum(dot);
        inverse[r] = t < rows ? 1.0f / z : 0.0f;
        const float slope = -(dot * inverse[r]) * inverse[r];
        if (column == 0)
            dz[t] = slope;
#pragma unroll
        for (int i = 0; i < R; i++) {
            const int a = column + MFC_SIDE * i;
            if (t < rows && a < h.width)
                dq[t * h.channels + a] =
                    mfc_from<T>(fmaf(slope, s[a], p[r][i] * inverse[r]) * slope_of(queries[t * STRIDE + a]));
        }
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int i = 0; i < R; i++)
            gradients[(row + MFC_SIDE * r) * STRIDE + column + MFC_SIDE * i] *= inverse[r];
    __syncthreads();
}

template <typename T, int R>
static __global__ void __launch_bounds__(THREADS)
    token_gradients(const T *q, const T *dout, const float *sums, mfc_heads h, int64_t chunks, T *dq, float *dsums) {
    enum { D = MFC_SIDE * R };
    MFC_SHARED(float, room);
    float *m = room, *queries = m + D * (D + 1), *gradients = queries + MFC_TILE * (D + 1);
    float *s = gradients + MFC_TILE * (D + 1), *dz = s + D;
    const int64_t head = blockIdx.x / chunks, begin = blockIdx.x % chunks * CHUNK;
    const int64_t end = begin + CHUNK < h.tokens ? begin + CHUNK : h.tokens, at = mfc_head_at(h, head, h.tokens);
    float outer[R][R], plain[R];
    clear_sums<R>(outer, plain);
    load_sums<R>(sums + head * (h.width + 1) * h.width, (int)h.width, m, s);
    for (int64_t first = begin; first < end; first += MFC_TILE) {
        mfc_tile<T, D, 1>(q + at, h, first, h.tokens, queries);
        mfc_tile<T, D, 0>(dout + at, h, first, h.tokens, gradients);
        __syncthreads();
        token_tile<T, R>(h, m, s, queries, gradients, dz, h.tokens - first, dq + at + first * h.channels);
        add_outer<R>(queries, gradients, dz, outer, plain);
        __syncthreads();
    }
    store_sums<R>(dsums + (int64_t)blockIdx.x * (h.width + 1) * h.width, (int)h.width, outer, plain);
}

template <typename T, int R>
static __global__ void __launch_bounds__(THREADS)
    source_gradients(const T *k, const T *v, const float *dsums, mfc_heads h, int64_t chunks, T *dk, T *dv) {
    enum { D = MFC_SIDE * R, STRIDE = D + 1 };
    MFC_SHARED(float, room);
    float *m = room, *keys = m + D * STRIDE, *values = keys + MFC_TILE * STRIDE, *s = values + MFC_TILE * STRIDE;
    const int row = (int)threadIdx.x / MFC_SIDE, column = (int)threadIdx.x % MFC_SIDE;
    const int64_t head = blockIdx.x / chunks, begin = blockIdx.x % chunks * CHUNK;
    const int64_t end = begin + CHUNK < h.sources ? begin + CHUNK : h.sources, at = mfc_head_at(h, head, h.sources);
    load_sums<R>(dsums + head * (h.width + 1) * h.width, (int)h.width, m, s);
    for (int64_t first = begin; first < end; first += MFC_TILE) {
        mfc_tile<T, D, 1>(k + at, h, first, h.sources, keys);
        mfc_tile<T, D, 0>(v + at, h, first, h.sources, values);
        __syncthreads();
        for (int r = 0; r < 2; r++) {
            const int t = row + MFC_SIDE * r;
            float x[R], y[R];
#pragma unroll
            for (int i = 0; i < R; i++) {
                x[i] = s[column + MFC_SIDE * i];
                y[i] = 0.0f;
            }
            for (int e = 0; e < D; e++) {
                const float value = values[t * STRIDE + e], key = keys[t * STRIDE + e];
#pragma unroll
                for (int i = 0; i < R; i++) {
                    x[i] = fmaf(m[(column + MFC_SIDE * i) * STRIDE + e], value, x[i]);
                    y[i] = fmaf(m[e * STRIDE + column + MFC_SIDE * i], key, y[i]);
                }
            }
#pragma unroll
            for (int i = 0; i < R; i++) {
                const int a = column + MFC_SIDE * i;
                const int64_t to = at + (first + t) * h.channels + a;
                if (first + t < h.sources && a < h.width) {
                    dk[to] = mfc_from<T>(x[i] * slope_of(keys[t * STRIDE + a]));
                    dv[to] = mfc_from<T>(y[i]);
                }
            }
        }
        __syncthreads();
    }
}

/* ---- linear, on the host ---- */

typedef struct linear_plan {
    int64_t heads, source_chunks, token_chunks, size; /* heads of all images; size: d d + d */
    size_t sums, parts;                               /* bytes of one kind of sums, of those of the chunks */
} linear_plan;

static linear_plan plan_of(const mfc_heads *h) {
    linear_plan p;
    p.heads = h->images * h->heads;
    p.source_chunks = mfc_div_up(h->sources, CHUNK);
    p.token_chunks = mfc_div_up(h->tokens, CHUNK);
    p.size = (h->width + 1) * h->width;
    p.sums = mfc_round_up((size_t)(p.heads * p.size) * sizeof(float));
    p.parts = mfc_round_up((size_t)(p.heads * p.size * mfc_max(p.source_chunks, p.token_chunks)) * sizeof(float));
    return p;
}

static size_t linear_shared(int R, int square) {
    const int D = MFC_SIDE * R;
    return (size_t)((square ? D : 0) * (D + 1) + 2 * MFC_TILE * (D + 1) + D + MFC_TILE) * sizeof(float);
}

template <typename T, int R> static mf_status run_linear(mf_kernel *k, const mfc_attend *a, char *scratch) {
    const mfc_heads &h = a->h;
    const linear_plan p = plan_of(&h);
    const dim3 sources((unsigned)(p.heads * p.source_chunks)), tokens((unsigned)(p.heads * p.token_chunks));
    float *sums = (float *)scratch, *dsums = (float *)(scratch + p.sums), *parts = (float *)(scratch + 2 * p.sums);
    float *to = p.source_chunks == 1 ? sums : parts;
    mf_status status = mfc_launch(k->s, source_sums<T, R>, sources, THREADS, linear_shared(R, 0), (const T *)a->k,
                                  (const T *)a->v, h, p.source_chunks, to);
    if (!status && to == parts)
        status = mfc_finish_columns(k->s, parts, p.heads, p.source_chunks, p.size, 0, sums);
    to = p.token_chunks == 1 ? dsums : parts;
    if (!status)
        status = mfc_launch(k->s, token_gradients<T, R>, tokens, THREADS, linear_shared(R, 1), (const T *)a->q,
                            (const T *)a->dout, (const float *)sums, h, p.token_chunks, (T *)a->dq, to);
    if (!status && to == parts)
        status = mfc_finish_columns(k->s, parts, p.heads, p.token_chunks, p.size, 0, dsums);
    if (!status)
        status = mfc_launch(k->s, source_gradients<T, R>, sources, THREADS, linear_shared(R, 1), (const T *)a->k,
                            (const T *)a->v, (const float *)dsums, h, p.source_chunks, (T *)a->dk, (T *)a->dv);
    return status;
}

/* ---- the operation ---- */

static mfc_heads heads_of(const mf_op *op) {
    const int64_t *dim = op->input[0].dim;
    mfc_heads h;
    h.images = dim[0];
    h.tokens = dim[1];
    h.sources = op->input[1].dim[1];
    h.channels = dim[2];
    h.heads = op->attrs.heads;
    h.width = h.channels / h.heads;
    h.eps = (float)op->attrs.eps;
    return h;
}

static int is_linear(const mf_op *op) {
    return op->attrs.attention == MF_ATTENTION_LINEAR;
}

static int supports(const mf_stream *s, const mf_op *op) {
    const mfc_heads h = heads_of(op);
    const int R = h.width <= MFC_SIDE * MFC_NARROW ? MFC_NARROW : MFC_BROAD;
    return op->input[0].dtype == s->compute && mfc_uniform(s, op) && h.width <= MFC_SIDE * MFC_BROAD &&
           (is_linear(op) ? linear_shared(R, 1) : mfc_softmax_grad_shared(h.width)) <= s->shared_limit;
}

static mf_status prepare(mf_kernel *k, mf_kernel_info *info) {
    const mfc_heads h = heads_of(&k->op);
    const linear_plan p = plan_of(&h);
    info->scratch_bytes = is_linear(&k->op) ? 2 * p.sums + p.parts : mfc_softmax_grad_bytes(&h);
    return 0;
}

static mf_status run(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const mfc_heads h = heads_of(&k->op);
    const size_t size = mf_dtype_size(k->s->compute);
    const int64_t image = h.images * h.channels;
    char *dk = (char *)out + (size_t)(image * h.tokens) * size, *dv = dk + (size_t)(image * h.sources) * size;
    const mfc_attend a = {h, in[0], in[1], in[2], in[3], out, dk, dv};
    if (!is_linear(&k->op))
        return mfc_softmax_grad(k, &a, scratch);
    if (h.width <= MFC_SIDE * MFC_NARROW)
        MFC_TYPED(k->s->compute, return run_linear<T, MFC_NARROW>(k, &a, (char *)scratch));
    MFC_TYPED(k->s->compute, return run_linear<T, MFC_BROAD>(k, &a, (char *)scratch));
}

const mfc_ops mfc_op_attention_grad = {supports, prepare, NULL, run, NULL};
