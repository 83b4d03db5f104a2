/* ATTENTION.  linear: Q = elu(q) + 1, K = elu(k) + 1; out = Q (K^T v) / (Q . sum_s K_s + eps).
 * softmax: attention_softmax.cu.
 *
 * Linear, per image and head, in f32 throughout, without a T x S matrix:
 *   1  K^T v [d, d] and sum K [d] over parts of PART sources each      -> scratch [heads N][parts][d + 1][d]
 *   2  the parts added in their order (where there are several)        -> the first of them
 *   3  a pass over q
 * The last row of a [d + 1, d] is the sum of K.  Parts depend on S alone, so the bits do not depend on the device.
 * 1 and 3 are small products: tiles of 32 x 32 of K^T v (64 threads, 4 x 4 values each), of 64 x 32 of the output (128
 * threads), both operands by shared memory.  For the usual d = 32 a head is one tile; larger heads read k, v, q once
 * for each tile of theirs. */
#include "backends/cuda/attention.h"

enum { TILE = 32, PART = 128, TOKENS = 64, SUM_THREADS = 64, PASS_THREADS = 128 };

static __device__ __forceinline__ float elu1(float x) {
    return x > 0.0f ? x + 1.0f : expf(x);
}

struct linear_job {
    mfc_heads h;
    int64_t parts, tiles; /* of sources; of a side of K^T v */
};

/* Stores into shared memory; `real`: not past the end. */
struct put_plain {
    float (*to)[TILE];
    __device__ __forceinline__ void operator()(int r, int c, float x, int real) const {
        to[r][c] = real ? x : 0.0f;
    }
};

struct put_elu {
    float (*to)[TILE];
    __device__ __forceinline__ void operator()(int r, int c, float x, int real) const {
        to[r][c] = real ? elu1(x) : 0.0f;
    }
};

enum { TURNED = TOKENS + 4 }; /* rows stay multiples of 16 bytes */

struct put_elu_turned {
    float (*to)[TURNED];
    __device__ __forceinline__ void operator()(int r, int c, float x, int real) const {
        to[c][r] = real ? elu1(x) : 0.0f;
    }
};

/* ---- 1: a block (image, head), part, tile of K's channels, tile of v's ---- */

template <typename T, int V>
static __global__ void mfc_linear_sums(linear_job j, const T *__restrict__ k, const T *__restrict__ v,
                                       float *__restrict__ sums) {
    alignas(16) __shared__ float key[TILE][TILE];
    alignas(16) __shared__ float value[TILE][TILE];
    int64_t tj, ti, part, head;
    int64_t rest = mfc_divide(blockIdx.x, j.tiles, &tj);
    rest = mfc_divide(rest, j.tiles, &ti);
    const int64_t id = mfc_divide(rest, j.parts, &part), image = mfc_divide(id, j.h.heads, &head), d = j.h.width;
    const int64_t end = (part + 1) * PART < j.h.sources ? (part + 1) * PART : j.h.sources;
    const int64_t from = image * j.h.sources * j.h.channels + head * d;
    const int row = (int)threadIdx.x / 8 * 4, column = (int)threadIdx.x % 8 * 4;
    float sum[4][4], total[4], a[4], b[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        total[i] = 0.0f;
#pragma unroll
        for (int c = 0; c < 4; c++)
            sum[i][c] = 0.0f;
    }
    for (int64_t s0 = part * PART; s0 < end; s0 += TILE) {
        mfc_stage<T, V>(k + from + s0 * j.h.channels + ti * TILE, j.h.channels, end - s0, d - ti * TILE, TILE, TILE,
                        put_elu{key});
        mfc_stage<T, V>(v + from + s0 * j.h.channels + tj * TILE, j.h.channels, end - s0, d - tj * TILE, TILE, TILE,
                        put_plain{value});
        __syncthreads();
        for (int s = 0; s < TILE; s++) {
            mfc_load<float, 4>(&key[s][row], a);
            mfc_load<float, 4>(&value[s][column], b);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                total[i] += a[i];
#pragma unroll
                for (int c = 0; c < 4; c++)
                    sum[i][c] += a[i] * b[c];
            }
        }
        __syncthreads();
    }
    sums += (id * j.parts + part) * (d + 1) * d;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int64_t r = ti * TILE + row + i;
        if (r >= d)
            continue;
        if (tj == 0 && column == 0)
            sums[d * d + r] = total[i];
#pragma unroll
        for (int c = 0; c < 4; c++)
            if (tj * TILE + column + c < d)
                sums[r * d + tj * TILE + column + c] = sum[i][c];
    }
}

/* ---- 2 ---- */

static __global__ void mfc_linear_total(int64_t values, int64_t size, int64_t parts, float *sums) {
    for (int64_t i = mfc_first(); i < values; i += mfc_step()) {
        int64_t at;
        float *p = sums + mfc_divide(i, size, &at) * parts * size;
        float sum = p[at];
        for (int64_t part = 1; part < parts; part++)
            sum += p[part * size + at];
        p[at] = sum;
    }
}

/* ---- 3: a block (image, head), TOKENS tokens, a tile of channels; 4 x 4 values a thread ---- */

template <typename T, int V>
static __global__ void mfc_linear_pass(linear_job j, int64_t blocks, const T *__restrict__ q,
                                       const float *__restrict__ sums, T *__restrict__ out) {
    alignas(16) __shared__ float query[TILE][TURNED];
    alignas(16) __shared__ float kv[TILE][TILE];
    __shared__ float total[TILE];
    int64_t tile, block, head;
    const int64_t rest = mfc_divide(blockIdx.x, j.tiles, &tile), id = mfc_divide(rest, blocks, &block);
    const int64_t image = mfc_divide(id, j.h.heads, &head), d = j.h.width, t0 = block * TOKENS;
    const int64_t from = (image * j.h.tokens + t0) * j.h.channels + head * d;
    const int row = (int)threadIdx.x / 8 * 4, column = (int)threadIdx.x % 8 * 4;
    float sum[4][4], norm[4], a[4], b[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        norm[i] = 0.0f;
#pragma unroll
        for (int c = 0; c < 4; c++)
            sum[i][c] = 0.0f;
    }
    sums += id * j.parts * (d + 1) * d;
    for (int64_t i0 = 0; i0 < d; i0 += TILE) {
        mfc_stage<T, V>(q + from + i0, j.h.channels, j.h.tokens - t0, d - i0, TOKENS, TILE, put_elu_turned{query});
        mfc_stage<float, 1>(sums + i0 * d + tile * TILE, d, d - i0, d - tile * TILE, TILE, TILE, put_plain{kv});
        if (threadIdx.x < TILE)
            total[threadIdx.x] = i0 + threadIdx.x < d ? sums[d * d + i0 + threadIdx.x] : 0.0f;
        __syncthreads();
        for (int i = 0; i < TILE; i++) {
            mfc_load<float, 4>(&query[i][row], a);
            mfc_load<float, 4>(&kv[i][column], b);
            const float t = total[i];
#pragma unroll
            for (int r = 0; r < 4; r++) {
                norm[r] += a[r] * t;
#pragma unroll
                for (int c = 0; c < 4; c++)
                    sum[r][c] += a[r] * b[c];
            }
        }
        __syncthreads();
    }
    out += from + tile * TILE + column;
#pragma unroll
    for (int r = 0; r < 4; r++) {
        if (t0 + row + r >= j.h.tokens)
            continue;
        const float scale = norm[r] + j.h.eps;
#pragma unroll
        for (int c = 0; c < 4; c++)
            b[c] = sum[r][c] / scale;
        if (V >= 4 && tile * TILE + column < d) {
            mfc_store<T, 4>(out + (row + r) * j.h.channels, b);
        } else {
#pragma unroll
            for (int c = 0; c < 4; c++)
                if (tile * TILE + column + c < d)
                    out[(row + r) * j.h.channels + c] = mfc_from<T>(b[c]);
        }
    }
}

/* ---- the operation ---- */

static linear_job make_job(const mf_op *op) {
    linear_job j;
    j.h = mfc_heads_of(op);
    j.parts = mfc_div_up(j.h.sources, PART);
    j.tiles = mfc_div_up(j.h.width, TILE);
    return j;
}

template <typename T, int V> static mf_status linear_by(mf_kernel *k, const void *const *in, void *out, float *sums) {
    const linear_job j = make_job(&k->op);
    const int64_t all = j.h.images * j.h.heads, size = (j.h.width + 1) * j.h.width;
    const int64_t blocks = mfc_div_up(j.h.tokens, TOKENS);
    mf_status status = mfc_launch(k->s, mfc_linear_sums<T, V>, mfc_grid(all * j.parts * j.tiles * j.tiles), SUM_THREADS,
                                  0, j, (const T *)in[1], (const T *)in[2], sums);
    if (!status && j.parts > 1)
        status = mfc_launch(k->s, mfc_linear_total, mfc_blocks(k->s, all * size), MFC_THREADS, 0, all * size, size,
                            j.parts, sums);
    if (!status)
        status = mfc_launch(k->s, mfc_linear_pass<T, V>, mfc_grid(all * blocks * j.tiles), PASS_THREADS, 0, j, blocks,
                            (const T *)in[0], (const float *)sums, (T *)out);
    return status;
}

template <typename T> static mf_status linear_of(mf_kernel *k, const void *const *in, void *out, float *sums) {
    enum { V = mfc_wide<T>::V };
    if (mfc_heads_aligned<T, V>(mfc_heads_of(&k->op), in[0], in[1], in[2], out))
        return linear_by<T, V>(k, in, out, sums);
    return linear_by<T, 1>(k, in, out, sums);
}

static mf_status run(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    if (k->op.attrs.attention == MF_ATTENTION_SOFTMAX)
        return mfc_attention_softmax(k, in[0], in[1], in[2], out);
    MFC_TYPED(k->op.output.dtype, return linear_of<T>(k, in, out, (float *)scratch));
    return 0;
}

static mf_status prepare(mf_kernel *k, mf_kernel_info *info) {
    const linear_job j = make_job(&k->op);
    if (k->op.attrs.attention == MF_ATTENTION_LINEAR)
        info->scratch_bytes = (size_t)(j.h.images * j.h.heads * j.parts * (j.h.width + 1) * j.h.width) * sizeof(float);
    return 0;
}

static int supports(const mf_stream *s, const mf_op *op) {
    const mf_operand *k = mfc_operand(op, 1), *v = mfc_operand(op, 2);
    if (!k || !v || op->output.ndim != 3 || k->ndim != 3 || op->attrs.heads < 1 || op->output.dim[2] % op->attrs.heads)
        return 0;
    return (op->attrs.attention == MF_ATTENTION_LINEAR || op->output.dim[2] / op->attrs.heads <= 256) &&
           mfc_uniform(s, op);
}

const mfc_ops mfc_op_attention = {supports, prepare, NULL, run, NULL};
