/* LAYERNORM_GRAD: x, gamma?, dy -> dx.  xhat = (x - mean) / sqrt(var + eps), g = dy gamma:
 *   dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(var + eps)
 * LAYERNORM_GRAD_AFFINE: x, dy -> [2, C]: sum dy xhat, sum dy.
 * L2NORM_GRAD: y = x / n, n = max(|x|, eps):  dx = (dy - y (y . dy)) / n, or dy / n where |x| < eps.
 *
 * Rows of up to 1024 channels: a row is 4 .. 32 lanes', who keep their part of x and dy in registers, so that each is
 * read once and the sums are shuffles.  Longer ones: a row is a block's, which reads it again for each sum, from L1 or
 * L2.  The affine gradients: first the mean and 1 / sqrt(var + eps) of each row, then sums of columns. */
#include "backends/cuda/columns.h"

enum { THREADS = 256, KEPT = 32 }; /* values of a row that a lane keeps */

static __device__ __forceinline__ float lanes_sum(float x, int lanes) {
    for (int lane = lanes / 2; lane > 0; lane /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

/* A row in the registers of `lanes` neighbouring threads. */
template <int V> struct row_part {
    enum { N = KEPT / V };
    float at[N][V];
};

/* Values that do not exist are 0. */
template <typename T, int V>
static __device__ __forceinline__ void load_part(row_part<V> &p, const T *row, int64_t channels, int lane, int lanes) {
#pragma unroll
    for (int i = 0; i < row_part<V>::N; i++) {
        const int c = (i * lanes + lane) * V;
        if (c < channels)
            mfc_load<T, V>(row + c, p.at[i]);
        else
#pragma unroll
            for (int j = 0; j < V; j++)
                p.at[i][j] = 0.0f;
    }
}

/* x becomes x - mean; gives 1 / sqrt(var + eps). */
template <int V>
static __device__ __forceinline__ float centre_part(row_part<V> &x, int64_t channels, int lane, int lanes, float eps,
                                                    float *mean) {
    const float count = (float)channels;
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < row_part<V>::N; i++)
#pragma unroll
        for (int j = 0; j < V; j++)
            sum += x.at[i][j];
    *mean = lanes_sum(sum, lanes) / count;
#pragma unroll
    for (int i = 0; i < row_part<V>::N; i++)
        if ((i * lanes + lane) * V < channels)
#pragma unroll
            for (int j = 0; j < V; j++) {
                x.at[i][j] -= *mean;
                squares = fmaf(x.at[i][j], x.at[i][j], squares);
            }
    return 1.0f / sqrtf(lanes_sum(squares, lanes) / count + eps);
}

template <typename T, int V>
static __global__ void __launch_bounds__(THREADS, 2)
    layernorm_grad_short(const T *x, const float *gamma, const T *dy, T *out, int64_t rows, int64_t channels, int lanes,
                         float eps) {
    const int lane = (int)threadIdx.x % lanes;
    const int64_t row = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / lanes;
    const int64_t at = (row < rows ? row : rows - 1) * channels; /* all lanes take part in the shuffles */
    row_part<V> d, g;
    float mean, sum = 0.0f, product = 0.0f;
    load_part<T, V>(d, x + at, channels, lane, lanes);
    load_part<T, V>(g, dy + at, channels, lane, lanes);
    const float scale = centre_part<V>(d, channels, lane, lanes, eps, &mean);
#pragma unroll
    for (int i = 0; i < row_part<V>::N; i++) {
        const int c = (i * lanes + lane) * V;
        if (c < channels) {
            float weight[V];
            if (gamma)
                mfc_load<float, V>(gamma + c, weight);
#pragma unroll
            for (int j = 0; j < V; j++) {
                g.at[i][j] *= gamma ? weight[j] : 1.0f;
                sum += g.at[i][j];
                product = fmaf(g.at[i][j], d.at[i][j], product);
            }
        }
    }
    mean = lanes_sum(sum, lanes) / (float)channels;
    const float slope = lanes_sum(product, lanes) * scale * scale / (float)channels;
    if (row >= rows)
        return;
#pragma unroll
    for (int i = 0; i < row_part<V>::N; i++) {
        const int c = (i * lanes + lane) * V;
        if (c < channels) {
            float v[V];
#pragma unroll
            for (int j = 0; j < V; j++)
                v[j] = (g.at[i][j] - mean - d.at[i][j] * slope) * scale;
            mfc_store<T, V>(out + at + c, v);
        }
    }
}

/* Mean and 1 / sqrt(var + eps) of each row. */
template <typename T, int V>
static __global__ void __launch_bounds__(THREADS)
    row_stats_short(const T *x, float *stats, int64_t rows, int64_t channels, int lanes, float eps) {
    const int lane = (int)threadIdx.x % lanes;
    const int64_t row = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / lanes;
    row_part<V> d;
    float mean;
    load_part<T, V>(d, x + (row < rows ? row : rows - 1) * channels, channels, lane, lanes);
    const float scale = centre_part<V>(d, channels, lane, lanes, eps, &mean);
    if (lane == 0 && row < rows) {
        stats[2 * row] = mean;
        stats[2 * row + 1] = scale;
    }
}

/* ---- rows of more than 1024 channels: a block each ---- */

template <typename T>
static __device__ __forceinline__ float centre_long(const T *x, int64_t channels, float eps, float *mean, float *room) {
    float sum = 0.0f, squares = 0.0f;
    for (int64_t c = threadIdx.x; c < channels; c += THREADS)
        sum += mfc_float(x[c]);
    *mean = mfc_block_sum(sum, room) / (float)channels;
    for (int64_t c = threadIdx.x; c < channels; c += THREADS) {
        const float d = mfc_float(x[c]) - *mean;
        squares = fmaf(d, d, squares);
    }
    return 1.0f / sqrtf(mfc_block_sum(squares, room) / (float)channels + eps);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    layernorm_grad_long(const T *x, const float *gamma, const T *dy, T *out, int64_t channels, float eps) {
    __shared__ float room[MFC_WARP];
    const int64_t at = (int64_t)blockIdx.x * channels;
    float mean, sum = 0.0f, product = 0.0f;
    const float scale = centre_long<T>(x + at, channels, eps, &mean, room);
    for (int64_t c = threadIdx.x; c < channels; c += THREADS) {
        const float g = mfc_float(dy[at + c]) * (gamma ? gamma[c] : 1.0f);
        sum += g;
        product = fmaf(g, mfc_float(x[at + c]) - mean, product);
    }
    const float mean_g = mfc_block_sum(sum, room) / (float)channels;
    const float slope = mfc_block_sum(product, room) * scale * scale / (float)channels;
    for (int64_t c = threadIdx.x; c < channels; c += THREADS) {
        const float g = mfc_float(dy[at + c]) * (gamma ? gamma[c] : 1.0f);
        out[at + c] = mfc_from<T>((g - mean_g - (mfc_float(x[at + c]) - mean) * slope) * scale);
    }
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    row_stats_long(const T *x, float *stats, int64_t channels, float eps) {
    __shared__ float room[MFC_WARP];
    float mean;
    const float scale = centre_long<T>(x + (int64_t)blockIdx.x * channels, channels, eps, &mean, room);
    if (threadIdx.x == 0) {
        stats[2 * (int64_t)blockIdx.x] = mean;
        stats[2 * (int64_t)blockIdx.x + 1] = scale;
    }
}

/* ---- LAYERNORM_GRAD ---- */

/* Threads of a short row: a power of two, so that shuffles stay inside. */
static int lanes_of(int64_t channels, int V) {
    int lanes = 1;
    while (lanes < MFC_WARP && lanes * V < channels)
        lanes *= 2;
    return lanes;
}

static int is_short(int64_t channels) {
    return channels <= MFC_WARP * KEPT;
}

static dim3 short_grid(int64_t rows, int lanes) {
    return dim3((unsigned)mfc_div_up(rows, THREADS / lanes));
}

template <typename T>
static mf_status run_layernorm_of(mf_kernel *k, const T *x, const float *gamma, const T *dy, T *out) {
    enum { V = mfc_wide<T>::V };
    const int64_t rows = mf_operand_rows(&k->op.input[0]), channels = mf_operand_last(&k->op.input[0]);
    const float eps = (float)k->op.attrs.eps;
    if (!is_short(channels))
        return mfc_launch(k->s, layernorm_grad_long<T>, dim3((unsigned)rows), THREADS, 0, x, gamma, dy, out, channels,
                          eps);
    if (channels % V == 0 && mfc_aligned(x) && mfc_aligned(gamma) && mfc_aligned(dy) && mfc_aligned(out)) {
        const int lanes = lanes_of(channels, V);
        return mfc_launch(k->s, layernorm_grad_short<T, V>, short_grid(rows, lanes), THREADS, 0, x, gamma, dy, out,
                          rows, channels, lanes, eps);
    }
    const int lanes = lanes_of(channels, 1);
    return mfc_launch(k->s, layernorm_grad_short<T, 1>, short_grid(rows, lanes), THREADS, 0, x, gamma, dy, out, rows,
                      channels, lanes, eps);
}

static int supports_layernorm(const mf_stream *s, const mf_op *op) {
    return op->input[0].dtype == s->compute && op->output.dtype == s->compute && mfc_typed(op, 1, MF_F32) &&
           mfc_typed(op, 2, s->compute);
}

static mf_status run_layernorm_grad(mf_kernel *k, const void *const *in, void *out, void *) {
    const float *gamma = mfc_operand(&k->op, 1) ? (const float *)in[1] : NULL;
    MFC_TYPED(k->s->compute, return run_layernorm_of<T>(k, (const T *)in[0], gamma, (const T *)in[2], (T *)out));
}

const mfc_ops mfc_op_layernorm_grad = {supports_layernorm, NULL, NULL, run_layernorm_grad, NULL};

/* ---- LAYERNORM_GRAD_AFFINE ---- */

namespace {
template <typename T> struct row_affine_sum {
    enum { K = 2 };
    const T *x, *dy;
    const float *stats;
    int64_t channels;
    template <int V> __device__ void begin(int64_t, int64_t, float (&)[V], float (&)[V]) const {
    }
    template <int V>
    __device__ void add(int64_t row, int64_t c, const float (&)[V], const float (&)[V], float (&sum)[2][V]) const {
        float v[V], g[V], s[2];
        mfc_load<float, 2>(stats + 2 * row, s);
        mfc_load<T, V>(x + row * channels + c, v);
        mfc_load<T, V>(dy + row * channels + c, g);
#pragma unroll
        for (int i = 0; i < V; i++) {
            sum[0][i] = fmaf(g[i], (v[i] - s[0]) * s[1], sum[0][i]);
            sum[1][i] += g[i];
        }
    }
};
} // namespace

static size_t stats_bytes(const mf_op *op) {
    return mfc_round_up((size_t)mf_operand_rows(&op->input[0]) * 2 * sizeof(float));
}

static mf_status prepare_affine(mf_kernel *k, mf_kernel_info *info) {
    const mf_operand *x = &k->op.input[0];
    info->scratch_bytes = stats_bytes(&k->op) + mfc_columns_bytes(1, mf_operand_rows(x), mf_operand_last(x), 2);
    return 0;
}

template <typename T, int V>
static mf_status run_affine_by(mf_kernel *k, const T *x, const T *dy, float *out, char *scratch) {
    const int64_t rows = mf_operand_rows(&k->op.input[0]), channels = mf_operand_last(&k->op.input[0]);
    const float eps = (float)k->op.attrs.eps;
    const int lanes = lanes_of(channels, V);
    float *stats = (float *)scratch;
    mf_status status;
    if (is_short(channels))
        status = mfc_launch(k->s, row_stats_short<T, V>, short_grid(rows, lanes), THREADS, 0, x, stats, rows, channels,
                            lanes, eps);
    else
        status = mfc_launch(k->s, row_stats_long<T>, dim3((unsigned)rows), THREADS, 0, x, stats, channels, eps);
    if (status)
        return status;
    const row_affine_sum<T> f = {x, dy, stats, channels};
    return mfc_sum_columns<V>(k->s, f, 1, rows, channels, 1, scratch + stats_bytes(&k->op), out);
}

template <typename T> static mf_status run_affine_of(mf_kernel *k, const T *x, const T *dy, float *out, char *scratch) {
    if (mf_operand_last(&k->op.input[0]) % mfc_wide<T>::V == 0 && mfc_aligned(x) && mfc_aligned(dy))
        return run_affine_by<T, mfc_wide<T>::V>(k, x, dy, out, scratch);
    return run_affine_by<T, 1>(k, x, dy, out, scratch);
}

static int supports_affine(const mf_stream *s, const mf_op *op) {
    return op->input[0].dtype == s->compute && mfc_typed(op, 1, s->compute) && op->output.dtype == MF_F32;
}

static mf_status run_affine(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    MFC_TYPED(k->s->compute,
              return run_affine_of<T>(k, (const T *)in[0], (const T *)in[1], (float *)out, (char *)scratch));
}

const mfc_ops mfc_op_layernorm_grad_affine = {supports_affine, prepare_affine, NULL, run_affine, NULL};

/* ---- L2NORM_GRAD: few rows, in f32 alone ---- */

static __global__ void __launch_bounds__(THREADS)
    l2norm_grad(const float *x, const float *dy, float *out, int64_t channels, float eps) {
    __shared__ float room[MFC_WARP];
    const int64_t at = (int64_t)blockIdx.x * channels;
    float squares = 0.0f, product = 0.0f;
    for (int64_t c = threadIdx.x; c < channels; c += THREADS) {
        squares = fmaf(x[at + c], x[at + c], squares);
        product = fmaf(x[at + c], dy[at + c], product);
    }
    squares = mfc_block_sum(squares, room);
    product = mfc_block_sum(product, room);
    float norm = sqrtf(squares), slope = product / squares;
    if (norm < eps) {
        norm = eps;
        slope = 0.0f;
    }
    for (int64_t c = threadIdx.x; c < channels; c += THREADS)
        out[at + c] = (dy[at + c] - x[at + c] * slope) / norm;
}

static int supports_f32(const mf_stream *, const mf_op *op) {
    return op->input[0].dtype == MF_F32 && mfc_typed(op, 1, MF_F32) && op->output.dtype == MF_F32;
}

static mf_status run_l2norm_grad(mf_kernel *k, const void *const *in, void *out, void *) {
    const mf_operand *x = &k->op.input[0];
    return mfc_launch(k->s, l2norm_grad, dim3((unsigned)mf_operand_rows(x)), THREADS, 0, (const float *)in[0],
                      (const float *)in[1], (float *)out, mf_operand_last(x), (float)k->op.attrs.eps);
}

const mfc_ops mfc_op_l2norm_grad = {supports_f32, NULL, NULL, run_l2norm_grad, NULL};
