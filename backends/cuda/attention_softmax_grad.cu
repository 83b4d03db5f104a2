/* ATTENTION_GRAD of softmax attention, with P the weights and l = 1 / sqrt d:
 *   P = softmax(l q k^T);  dP = dout v^T;  D = l P (dP - sum P dP);  dq = D k;  dk = D^T q;  dv = P^T dout
 *
 * P is never stored: tiles of TILE tokens x TILE sources are computed again where they are needed (Dao et al.,
 * FlashAttention, 2022).  The first kernel has a tile of tokens: it goes over the sources for the maximum of each row,
 * its sum of exp and sum P dP, all carried along when the maximum grows, keeps them in the scratch, and goes over the
 * sources again for dq.  The second has a tile of sources and goes over the tokens for dk and dv. */
#include "backends/cuda/attention_grad.h"

enum { THREADS = MFC_SIDE * MFC_SIDE, WEIGHTS = MFC_TILE + 1, STATS = 3 };

/* The scaled logits and dP of two tokens and two sources: rows i, i + 16 of the first tiles, j, j + 16 of the second.
 */
template <int D>
static __device__ __forceinline__ void products(const float *q, const float *dout, const float *k, const float *v,
                                                int token, int source, float scale, float (&logit)[2][2],
                                                float (&dp)[2][2]) {
    enum { STRIDE = D + 1, NEXT = MFC_SIDE * STRIDE };
    q += token * STRIDE;
    dout += token * STRIDE;
    k += source * STRIDE;
    v += source * STRIDE;
#pragma unroll
    for (int i = 0; i < 4; i++)
        logit[i / 2][i % 2] = dp[i / 2][i % 2] = 0.0f;
    for (int e = 0; e < D; e++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            logit[i / 2][i % 2] = fmaf(q[i / 2 * NEXT + e], k[i % 2 * NEXT + e], logit[i / 2][i % 2]);
            dp[i / 2][i % 2] = fmaf(dout[i / 2 * NEXT + e], v[i % 2 * NEXT + e], dp[i / 2][i % 2]);
        }
#pragma unroll
    for (int i = 0; i < 4; i++)
        logit[i / 2][i % 2] *= scale;
}

/* Adds a tile of sources to what is known of a row: its maximum, sum of exp, sum of exp dP. */
static __device__ __forceinline__ void add_to_row(const float (&logit)[2], const float (&dp)[2], float &most,
                                                  float &sum, float &product) {
    const float now = fmaxf(most, mfc_side_max(fmaxf(logit[0], logit[1])));
    const float a = expf(logit[0] - now), b = expf(logit[1] - now), keep = expf(most - now);
    sum = fmaf(sum, keep, mfc_side_sum(a + b));
    product = fmaf(product, keep, mfc_side_sum(fmaf(a, dp[0], b * dp[1])));
    most = now;
}

template <typename T, int R>
static __global__ void __launch_bounds__(THREADS)
    softmax_tokens(const T *q, const T *k, const T *v, const T *dout, mfc_heads h, int64_t tiles, float scale, T *dq,
                   float *stats) {
    enum { D = MFC_SIDE * R, STRIDE = D + 1, SIZE = MFC_TILE * STRIDE };
    MFC_SHARED(float, room);
    float *queries = room, *gradients = room + SIZE, *keys = room + 2 * SIZE, *values = room + 3 * SIZE;
    float *weights = room + 4 * SIZE;
    const int row = (int)threadIdx.x / MFC_SIDE, column = (int)threadIdx.x % MFC_SIDE;
    const int64_t head = blockIdx.x / tiles, first = blockIdx.x % tiles * MFC_TILE;
    const int64_t to = mfc_head_at(h, head, h.tokens), from = mfc_head_at(h, head, h.sources);
    float logit[2][2], dp[2][2], most[2], sum[2] = {0.0f, 0.0f}, mean[2] = {0.0f, 0.0f}, acc[2][R];
    most[0] = most[1] = -INFINITY;
#pragma unroll
    for (int i = 0; i < R; i++)
        acc[0][i] = acc[1][i] = 0.0f;
    mfc_tile<T, D, 0>(q + to, h, first, h.tokens, queries);
    mfc_tile<T, D, 0>(dout + to, h, first, h.tokens, gradients);
    for (int64_t s = 0; s < h.sources; s += MFC_TILE) {
        __syncthreads();
        mfc_tile<T, D, 0>(k + from, h, s, h.sources, keys);
        mfc_tile<T, D, 0>(v + from, h, s, h.sources, values);
        __syncthreads();
        products<D>(queries, gradients, keys, values, row, column, scale, logit, dp);
#pragma unroll
        for (int r = 0; r < 2; r++) {
#pragma unroll
            for (int c = 0; c < 2; c++)
                logit[r][c] = s + column + MFC_SIDE * c < h.sources ? logit[r][c] : -INFINITY;
            add_to_row(logit[r], dp[r], most[r], sum[r], mean[r]);
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int64_t t = first + row + MFC_SIDE * r;
        sum[r] = 1.0f / sum[r];
        mean[r] *= sum[r];
        if (column == 0 && t < h.tokens) {
            float *at = stats + (head * h.tokens + t) * STATS;
            at[0] = most[r];
            at[1] = sum[r];
            at[2] = mean[r];
        }
    }
    for (int64_t s = 0; s < h.sources; s += MFC_TILE) {
        __syncthreads();
        mfc_tile<T, D, 0>(k + from, h, s, h.sources, keys);
        mfc_tile<T, D, 0>(v + from, h, s, h.sources, values);
        __syncthreads();
        products<D>(queries, gradients, keys, values, row, column, scale, logit, dp);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int r = i / 2, c = i % 2;
            const int exists = s + column + MFC_SIDE * c < h.sources;
            const float p = exists ? expf(logit[r][c] - most[r]) * sum[r] : 0.0f;
            weights[(row + MFC_SIDE * r) * WEIGHTS + column + MFC_SIDE * c] = p * (dp[r][c] - mean[r]) * scale;
        }
        __syncthreads();
        for (int e = 0; e < MFC_TILE; e++) {
            const float w0 = weights[row * WEIGHTS + e], w1 = weights[(row + MFC_SIDE) * WEIGHTS + e];
#pragma unroll
            for (int i = 0; i < R; i++) {
                const float x = keys[e * STRIDE + column + MFC_SIDE * i];
                acc[0][i] = fmaf(w0, x, acc[0][i]);
                acc[1][i] = fmaf(w1, x, acc[1][i]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int i = 0; i < R; i++) {
            const int64_t t = first + row + MFC_SIDE * r;
            const int a = column + MFC_SIDE * i;
            if (t < h.tokens && a < h.width)
                dq[to + t * h.channels + a] = mfc_from<T>(acc[r][i]);
        }
}

template <typename T, int R>
static __global__ void __launch_bounds__(THREADS)
    softmax_sources(const T *q, const T *k, const T *v, const T *dout, const float *stats, mfc_heads h, int64_t tiles,
                    float scale, T *dk, T *dv) {
    enum { D = MFC_SIDE * R, STRIDE = D + 1, SIZE = MFC_TILE * STRIDE };
    MFC_SHARED(float, room);
    float *queries = room, *gradients = room + SIZE, *keys = room + 2 * SIZE, *values = room + 3 * SIZE;
    float *weights = room + 4 * SIZE, *slopes = weights + MFC_TILE * WEIGHTS, *known = slopes + MFC_TILE * WEIGHTS;
    const int row = (int)threadIdx.x / MFC_SIDE, column = (int)threadIdx.x % MFC_SIDE;
    const int64_t head = blockIdx.x / tiles, first = blockIdx.x % tiles * MFC_TILE;
    const int64_t to = mfc_head_at(h, head, h.tokens), from = mfc_head_at(h, head, h.sources);
    float logit[2][2], dp[2][2], key[2][R], value[2][R];
#pragma unroll
    for (int i = 0; i < R; i++)
        key[0][i] = key[1][i] = value[0][i] = value[1][i] = 0.0f;
    mfc_tile<T, D, 0>(k + from, h, first, h.sources, keys);
    mfc_tile<T, D, 0>(v + from, h, first, h.sources, values);
    for (int64_t t = 0; t < h.tokens; t += MFC_TILE) {
        __syncthreads();
        mfc_tile<T, D, 0>(q + to, h, t, h.tokens, queries);
        mfc_tile<T, D, 0>(dout + to, h, t, h.tokens, gradients);
        for (int i = (int)threadIdx.x; i < MFC_TILE * STATS; i += THREADS)
            known[i] = t + i / STATS < h.tokens ? stats[(head * h.tokens + t) * STATS + i] : 0.0f;
        __syncthreads();
        /* tokens j, j + 16; sources i, i + 16 */
        products<D>(queries, gradients, keys, values, column, row, scale, logit, dp);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int r = i / 2, c = i % 2, token = column + MFC_SIDE * r; /* of products: r the token, c the source */
            const float *at = known + token * STATS;
            const float p = t + token < h.tokens ? expf(logit[r][c] - at[0]) * at[1] : 0.0f;
            weights[(row + MFC_SIDE * c) * WEIGHTS + token] = p;
            slopes[(row + MFC_SIDE * c) * WEIGHTS + token] = p * (dp[r][c] - at[2]) * scale;
        }
        __syncthreads();
        for (int e = 0; e < MFC_TILE; e++) {
            const float w0 = weights[row * WEIGHTS + e], w1 = weights[(row + MFC_SIDE) * WEIGHTS + e];
            const float d0 = slopes[row * WEIGHTS + e], d1 = slopes[(row + MFC_SIDE) * WEIGHTS + e];
#pragma unroll
            for (int i = 0; i < R; i++) {
                const float x = queries[e * STRIDE + column + MFC_SIDE * i];
                const float g = gradients[e * STRIDE + column + MFC_SIDE * i];
                key[0][i] = fmaf(d0, x, key[0][i]);
                key[1][i] = fmaf(d1, x, key[1][i]);
                value[0][i] = fmaf(w0, g, value[0][i]);
                value[1][i] = fmaf(w1, g, value[1][i]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int i = 0; i < R; i++) {
            const int64_t s = first + row + MFC_SIDE * r;
            const int a = column + MFC_SIDE * i;
            if (s < h.sources && a < h.width) {
                dk[from + s * h.channels + a] = mfc_from<T>(key[r][i]);
                dv[from + s * h.channels + a] = mfc_from<T>(value[r][i]);
            }
        }
}

/* ---- on the host ---- */

size_t mfc_softmax_grad_bytes(const mfc_heads *h) {
    return mfc_round_up((size_t)(h->images * h->heads * h->tokens) * STATS * sizeof(float));
}

size_t mfc_softmax_grad_shared(int64_t width) {
    const int D = MFC_SIDE * (width <= MFC_SIDE * MFC_NARROW ? MFC_NARROW : MFC_BROAD);
    return (size_t)(4 * MFC_TILE * (D + 1) + 2 * MFC_TILE * WEIGHTS + MFC_TILE * STATS) * sizeof(float);
}

template <typename T, int R> static mf_status run(mf_kernel *k, const mfc_attend *a, float *stats) {
    const mfc_heads &h = a->h;
    const int64_t heads = h.images * h.heads;
    const int64_t tokens = mfc_div_up(h.tokens, MFC_TILE), sources = mfc_div_up(h.sources, MFC_TILE);
    const float scale = (float)(1 / sqrt((double)h.width));
    const T *q = (const T *)a->q, *key = (const T *)a->k, *v = (const T *)a->v, *dout = (const T *)a->dout;
    mf_status status =
        mfc_launch(k->s, softmax_tokens<T, R>, dim3((unsigned)(heads * tokens)), THREADS,
                   mfc_softmax_grad_shared(h.width), q, key, v, dout, h, tokens, scale, (T *)a->dq, stats);
    if (status)
        return status;
    return mfc_launch(k->s, softmax_sources<T, R>, dim3((unsigned)(heads * sources)), THREADS,
                      mfc_softmax_grad_shared(h.width), q, key, v, dout, (const float *)stats, h, sources, scale,
                      (T *)a->dk, (T *)a->dv);
}

mf_status mfc_softmax_grad(mf_kernel *k, const mfc_attend *a, void *scratch) {
    if (a->h.width <= MFC_SIDE * MFC_NARROW)
        MFC_TYPED(k->s->compute, return run<T, MFC_NARROW>(k, a, (float *)scratch));
    MFC_TYPED(k->s->compute, return run<T, MFC_BROAD>(k, a, (float *)scratch));
}
