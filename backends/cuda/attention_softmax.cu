/* ATTENTION, softmax: out = softmax(q k^T / sqrt d) v per image and head, d <= 256, without a T x S matrix.
 *
 * The softmax is taken as the sources come by (Milakov and Gimelshein 2018; Dao et al., NeurIPS 2022): a query keeps
 * its largest score, the sum of the weights and the weighted sum of v, and scales what it has when a larger score
 * comes. A block has QUERIES queries of a head, 4 to each of 8 warps, and goes over the sources 32 at a time, k and
 * then v by the same shared memory.  A lane has the scores of one source against the warp's 4 queries, then its share
 * of the channels, d / 32 rounded up, of the 4 outputs.  The order of the sums is that of the sources, whatever the
 * device. */
#include "backends/cuda/attention.h"

enum { WARPS = 8, MINE = 4, QUERIES = WARPS * MINE, SOURCES = MFC_WARP };

struct softmax_job {
    mfc_heads h;
    int padded, stride; /* d as a multiple of 4; floats of a row in shared memory: an odd number of 16 bytes */
    float scale;        /* 1 / sqrt d */
    int64_t blocks;     /* of a head */
};

struct put_row {
    float *to;
    int stride;
    __device__ __forceinline__ void operator()(int r, int c, float x, int) const {
        to[r * stride + c] = x;
    }
};

/* Scores of source `lane` of the tile against the warp's queries. */
static __device__ __forceinline__ void dot_rows(const softmax_job &j, const float *query, const float *row,
                                                float score[MINE]) {
    float a[4], b[4];
#pragma unroll
    for (int m = 0; m < MINE; m++)
        score[m] = 0.0f;
    for (int c = 0; c < j.padded; c += 4) {
        mfc_load<float, 4>(row + c, b);
#pragma unroll
        for (int m = 0; m < MINE; m++) {
            mfc_load<float, 4>(query + m * j.stride + c, a);
#pragma unroll
            for (int e = 0; e < 4; e++)
                score[m] += a[e] * b[e];
        }
    }
}

template <typename T, int V, int SHARE>
static __global__ void mfc_softmax(softmax_job j, const T *__restrict__ q, const T *__restrict__ k,
                                   const T *__restrict__ v, T *__restrict__ out) {
    MFC_SHARED(float, query);
    alignas(16) __shared__ float weight[WARPS][SOURCES][MINE];
    float *source = query + QUERIES * j.stride;
    int64_t block, head;
    const int64_t id = mfc_divide(blockIdx.x, j.blocks, &block), image = mfc_divide(id, j.h.heads, &head);
    const int lane = (int)threadIdx.x % MFC_WARP, warp = (int)threadIdx.x / MFC_WARP;
    const int64_t d = j.h.width, channels = j.h.channels, t0 = block * QUERIES;
    const int64_t to = (image * j.h.tokens + t0) * channels + head * d;
    const int64_t from = image * j.h.sources * channels + head * d;
    float sum[MINE][SHARE], maximum[MINE], total[MINE], score[MINE], w[MINE];
#pragma unroll
    for (int m = 0; m < MINE; m++) {
        maximum[m] = -INFINITY;
        total[m] = 0.0f;
#pragma unroll
        for (int i = 0; i < SHARE; i++)
            sum[m][i] = 0.0f;
    }
    mfc_stage<T, V>(q + to, channels, j.h.tokens - t0, d, QUERIES, V > 1 ? (int)d : j.padded, put_row{query, j.stride});
    for (int64_t s0 = 0; s0 < j.h.sources; s0 += SOURCES) {
        const int64_t left = j.h.sources - s0;
        mfc_stage<T, V>(k + from + s0 * channels, channels, left, d, SOURCES, V > 1 ? (int)d : j.padded,
                        put_row{source, j.stride});
        __syncthreads();
        dot_rows(j, query + warp * MINE * j.stride, source + lane * j.stride, score);
#pragma unroll
        for (int m = 0; m < MINE; m++) {
            const float x = lane < left ? score[m] * j.scale : -INFINITY;
            const float most = fmaxf(maximum[m], mfc_warp_max(x));
            const float shrink = expf(maximum[m] - most), p = expf(x - most);
            total[m] = total[m] * shrink + mfc_warp_sum(p);
            maximum[m] = most;
            weight[warp][lane][m] = p;
#pragma unroll
            for (int i = 0; i < SHARE; i++)
                sum[m][i] *= shrink;
        }
        __syncthreads(); /* all have read k, and a warp its weights written */
        mfc_stage<T, V>(v + from + s0 * channels, channels, left, d, SOURCES, V > 1 ? (int)d : j.padded,
                        put_row{source, j.stride});
        __syncthreads();
        for (int s = 0; s < SOURCES; s++) {
            mfc_load<float, MINE>(weight[warp][s], w);
#pragma unroll
            for (int i = 0; i < SHARE; i++) {
                const int c = lane + i * MFC_WARP;
                const float x = c < j.padded ? source[s * j.stride + c] : 0.0f;
#pragma unroll
                for (int m = 0; m < MINE; m++)
                    sum[m][i] += w[m] * x;
            }
        }
        __syncthreads(); /* v and the weights are read */
    }
#pragma unroll
    for (int m = 0; m < MINE; m++) {
        const int64_t t = warp * MINE + m;
        if (t0 + t >= j.h.tokens)
            continue;
#pragma unroll
        for (int i = 0; i < SHARE; i++)
            if (lane + i * MFC_WARP < d)
                out[to + t * channels + lane + i * MFC_WARP] = mfc_from<T>(sum[m][i] / total[m]);
    }
}

struct softmax_operands {
    const void *q, *k, *v;
    void *out;
};

template <typename T, int V, int SHARE>
static mf_status launch(mf_kernel *k, const softmax_job &j, const softmax_operands &o) {
    const size_t shared = (size_t)(QUERIES + SOURCES) * (size_t)j.stride * sizeof(float);
    return mfc_launch(k->s, mfc_softmax<T, V, SHARE>, mfc_grid(j.h.images * j.h.heads * j.blocks), WARPS * MFC_WARP,
                      shared, j, (const T *)o.q, (const T *)o.k, (const T *)o.v, (T *)o.out);
}

template <typename T, int V> static mf_status softmax_by(mf_kernel *k, const softmax_operands &o) {
    softmax_job j;
    j.h = mfc_heads_of(&k->op);
    j.padded = (int)mfc_div_up(j.h.width, 4) * 4;
    j.stride = j.padded / 4 % 2 ? j.padded : j.padded + 4;
    j.scale = (float)(1.0 / sqrt((double)j.h.width));
    j.blocks = mfc_div_up(j.h.tokens, QUERIES);
    if (j.h.width <= 32)
        return launch<T, V, 1>(k, j, o);
    if (j.h.width <= 64)
        return launch<T, V, 2>(k, j, o);
    if (j.h.width <= 128)
        return launch<T, V, 4>(k, j, o);
    return launch<T, V, 8>(k, j, o);
}

template <typename T> static mf_status softmax_of(mf_kernel *k, const softmax_operands &o) {
    enum { V = mfc_wide<T>::V };
    if (mfc_heads_aligned<T, V>(mfc_heads_of(&k->op), o.q, o.k, o.v, o.out))
        return softmax_by<T, V>(k, o);
    return softmax_by<T, 1>(k, o);
}

mf_status mfc_attention_softmax(mf_kernel *k, const void *q, const void *key, const void *value, void *out) {
    const softmax_operands o = {q, key, value, out};
    MFC_TYPED(k->op.output.dtype, return softmax_of<T>(k, o));
    return 0;
}
