/* LAYERNORM: y = (x - mean) / sqrt(var + eps) gamma + beta over the last dimension; var is the mean of the squared
 * deviations, taken in a second pass.  L2NORM: y = x / max(|x|, eps), f32.
 *
 * Both are bound by memory.  Rows that fit the registers of a warp, or of half a warp where they are short, are read
 * once: N vectors of V values a lane, the sums by shuffles, several rows a block.  Longer rows have a block each and
 * are read three times, the second and third time from the caches. A row's values are summed in an order that its
 * length alone decides (and whether its vectors are aligned). */
#include "backends/cuda/forward.h"

/* Over groups of LANES lanes of a warp. */
template <int LANES> static __device__ __forceinline__ float sum_lanes(float x) {
#pragma unroll
    for (int lane = LANES / 2; lane > 0; lane /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

struct norm_job {
    int64_t rows, vectors; /* of a row */
    float eps, inverse;    /* 1 / length of a row */
};

template <typename T, int V>
static __device__ __forceinline__ void store_normed(const float x[V], float mean, float scale, const float *gamma,
                                                    const float *beta, int64_t at, T *out) {
    float g[V], b[V], y[V];
    mfc_vector_or<V>(gamma, at, 1.0f, g);
    mfc_vector_or<V>(beta, at, 0.0f, b);
#pragma unroll
    for (int e = 0; e < V; e++)
        y[e] = (x[e] - mean) * scale * g[e] + b[e];
    mfc_store<T, V>(out + at, y);
}

/* LANES lanes a row, N V values a lane.  Lanes of rows past the end read the last row and write nothing: all lanes
 * reach the shuffles. */
template <typename T, int V, int N, int LANES>
static __global__ void mfc_layernorm_short(norm_job j, const T *__restrict__ x, const float *__restrict__ gamma,
                                           const float *__restrict__ beta, T *__restrict__ out) {
    const int lane = (int)threadIdx.x % LANES;
    const int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    const int64_t length = j.vectors * V;
    x += (row < j.rows ? row : j.rows - 1) * length;
    float v[N][V], sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < N; i++)
        if (lane + i * LANES < j.vectors) {
            mfc_load<T, V>(x + (lane + i * LANES) * V, v[i]);
#pragma unroll
            for (int e = 0; e < V; e++)
                sum += v[i][e];
        }
    const float mean = sum_lanes<LANES>(sum) * j.inverse;
#pragma unroll
    for (int i = 0; i < N; i++)
        if (lane + i * LANES < j.vectors) {
#pragma unroll
            for (int e = 0; e < V; e++)
                squares += (v[i][e] - mean) * (v[i][e] - mean);
        }
    const float scale = 1.0f / sqrtf(sum_lanes<LANES>(squares) * j.inverse + j.eps);
    if (row >= j.rows)
        return;
    out += row * length;
#pragma unroll
    for (int i = 0; i < N; i++)
        if (lane + i * LANES < j.vectors)
            store_normed<T, V>(v[i], mean, scale, gamma, beta, (int64_t)(lane + i * LANES) * V, out);
}

/* A block a row of any length. */
template <typename T, int V>
static __global__ void mfc_layernorm_long(norm_job j, const T *__restrict__ x, const float *__restrict__ gamma,
                                          const float *__restrict__ beta, T *__restrict__ out) {
    __shared__ float room[MFC_WARP];
    for (int64_t row = blockIdx.x; row < j.rows; row += gridDim.x) {
        const T *from = x + row * j.vectors * V;
        float v[V], sum = 0.0f, squares = 0.0f;
        for (int64_t i = threadIdx.x; i < j.vectors; i += blockDim.x) {
            mfc_load<T, V>(from + i * V, v);
#pragma unroll
            for (int e = 0; e < V; e++)
                sum += v[e];
        }
        const float mean = mfc_block_sum(sum, room) * j.inverse;
        for (int64_t i = threadIdx.x; i < j.vectors; i += blockDim.x) {
            mfc_load<T, V>(from + i * V, v);
#pragma unroll
            for (int e = 0; e < V; e++)
                squares += (v[e] - mean) * (v[e] - mean);
        }
        const float scale = 1.0f / sqrtf(mfc_block_sum(squares, room) * j.inverse + j.eps);
        for (int64_t i = threadIdx.x; i < j.vectors; i += blockDim.x) {
            mfc_load<T, V>(from + i * V, v);
            store_normed<T, V>(v, mean, scale, gamma, beta, i * V, out + row * j.vectors * V);
        }
    }
}

struct norm_operands {
    const void *x;
    const float *gamma, *beta;
    void *out;
};

template <typename T, int V, int N, int LANES>
static mf_status launch_short(mf_kernel *k, const norm_job &j, const norm_operands &o) {
    const int threads = 128; /* the registers of a block come free together: small blocks */
    return mfc_launch(k->s, mfc_layernorm_short<T, V, N, LANES>, mfc_grid(mfc_div_up(j.rows, threads / LANES)), threads,
                      0, j, (const T *)o.x, o.gamma, o.beta, (T *)o.out);
}

template <typename T, int V> static mf_status layernorm_by(mf_kernel *k, const norm_operands &o) {
    const mf_operand *x = &k->op.input[0];
    norm_job j;
    j.rows = mf_operand_rows(x);
    j.vectors = mf_operand_last(x) / V;
    j.eps = (float)k->op.attrs.eps;
    j.inverse = 1.0f / (float)mf_operand_last(x);
    if (j.vectors <= 16)
        return launch_short<T, V, 1, 16>(k, j, o);
    if (j.vectors <= 32)
        return launch_short<T, V, 1, 32>(k, j, o);
    if (j.vectors <= 64)
        return launch_short<T, V, 2, 32>(k, j, o);
    if (j.vectors <= 128)
        return launch_short<T, V, 4, 32>(k, j, o);
    if (j.vectors <= 256)
        return launch_short<T, V, 8, 32>(k, j, o);
    return mfc_launch(k->s, mfc_layernorm_long<T, V>, mfc_grid(mfc_min(j.rows, 1 << 20)), MFC_THREADS, 0, j,
                      (const T *)o.x, o.gamma, o.beta, (T *)o.out);
}

template <typename T> static mf_status layernorm_of(mf_kernel *k, const norm_operands &o) {
    enum { V = mfc_wide<T>::V };
    if (mfc_vectors<T, V>(mf_operand_last(&k->op.input[0]), o.x, o.out))
        return layernorm_by<T, V>(k, o);
    return layernorm_by<T, 1>(k, o);
}

static mf_status run_layernorm(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const norm_operands o = {in[0], (const float *)(mfc_operand(&k->op, 1) ? in[1] : NULL),
                             (const float *)(mfc_operand(&k->op, 2) ? in[2] : NULL), out};
    (void)scratch;
    MFC_TYPED(k->op.output.dtype, return layernorm_of<T>(k, o));
    return 0;
}

static int supports_layernorm(const mf_stream *s, const mf_op *op) {
    return op->input[0].ndim >= 1 && mfc_map_and_vectors(s, op, 1);
}

const mfc_ops mfc_op_layernorm = {supports_layernorm, NULL, NULL, run_layernorm, NULL};

/* ---- L2NORM: a block a row; descriptors are few and long ---- */

template <int V> static __global__ void mfc_l2norm(norm_job j, const float *__restrict__ x, float *__restrict__ out) {
    __shared__ float room[MFC_WARP];
    for (int64_t row = blockIdx.x; row < j.rows; row += gridDim.x) {
        const float *from = x + row * j.vectors * V;
        float *to = out + row * j.vectors * V;
        float v[V], squares = 0.0f;
        for (int64_t i = threadIdx.x; i < j.vectors; i += blockDim.x) {
            mfc_load<float, V>(from + i * V, v);
#pragma unroll
            for (int e = 0; e < V; e++)
                squares += v[e] * v[e];
        }
        float norm = sqrtf(mfc_block_sum(squares, room));
        norm = norm < j.eps ? j.eps : norm; /* a NaN stays one */
        for (int64_t i = threadIdx.x; i < j.vectors; i += blockDim.x) {
            mfc_load<float, V>(from + i * V, v);
#pragma unroll
            for (int e = 0; e < V; e++)
                v[e] /= norm;
            mfc_store<float, V>(to + i * V, v);
        }
    }
}

template <int V> static mf_status l2norm_by(mf_kernel *k, const void *x, void *out) {
    norm_job j;
    j.rows = mf_operand_rows(&k->op.input[0]);
    j.vectors = mf_operand_last(&k->op.input[0]) / V;
    j.eps = (float)k->op.attrs.eps;
    j.inverse = 1.0f;
    return mfc_launch(k->s, mfc_l2norm<V>, mfc_grid(mfc_min(j.rows, 1 << 20)), MFC_THREADS, 0, j, (const float *)x,
                      (float *)out);
}

static mf_status run_l2norm(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    (void)scratch;
    if (mfc_vectors<float, 4>(mf_operand_last(&k->op.input[0]), in[0], out))
        return l2norm_by<4>(k, in[0], out);
    return l2norm_by<1>(k, in[0], out);
}

static int supports_l2norm(const mf_stream *s, const mf_op *op) {
    return op->input[0].ndim >= 1 && op->output.dtype == MF_F32 && mfc_uniform(s, op);
}

const mfc_ops mfc_op_l2norm = {supports_l2norm, NULL, NULL, run_l2norm, NULL};
