/* DWCONV2D: out[n, y, x, c] = bias[c] + sum over i, j of x[n, y + i - ph, x + j - pw, c] w[c, 0, i, j], zeros outside
 * the map; then, with attrs.norm, layer normalisation over c.  DWCONV2D_GRAD_INPUT is the same with the taps turned.
 *
 * A thread holds V channels of TW neighbouring pixels of a row: V TW sums in registers.  For each row of the kernel it
 * has the row's taps in registers and slides along the TW + K - 1 inputs, each of which is loaded once and used for up
 * to K of the sums: a 7 x 7 kernel loads 14 vectors of x and 7 of taps for 56 V products.  V is 4 for 16-bit types too:
 * with 8, sums and taps alone would be 120 registers.
 *
 * The threads of a strip of TW pixels are neighbours in the channels, so that a warp's loads are whole lines; strips of
 * a block lie below each other, so that the rows that they share come from L1.  With normalisation a strip has a thread
 * for every vector of channels, the values never leave their registers, and the sums over the channels go over the
 * strip's warps by shared memory: mean first, then squared deviations.
 *
 * Taps are summed in the order of the kernel for every pixel, whatever TW: it does not change the bits. */
#include "backends/cuda/dwconv.h"
#include "backends/cuda/forward.h"

enum { MOST = 512, PIXELS = 8 }; /* threads of a block; the largest TW */

struct dwconv_job {
    int64_t strips; /* images * strips across * rows; neighbours are rows of one column of strips */
    int h, w, kh, kw;
    int columns;        /* vectors of channels */
    int group, stack;   /* threads of a strip, strips of a block */
    int tiles, across;  /* groups that a row of channels takes; strips that a row of pixels takes */
    float eps, inverse; /* with normalisation; 1 / channels */
};

/* ---- the sums of a strip ---- */

/* One row of a kernel K wide.  Outside the map another pixel is loaded and made 0: no branch stands between the loads,
 * so that they are all under way at once. */
template <typename T, int V, int K, int TW>
static __device__ __forceinline__ void slide(const T *row, const float *taps, int64_t channels, int x0, int w,
                                             float sum[TW][V]) {
    float tap[K][V], v[V];
#pragma unroll
    for (int i = 0; i < K; i++)
        mfc_load<float, V>(taps + i * channels, tap[i]);
#pragma unroll
    for (int p = 0; p < TW + K - 1; p++) {
        const int x = x0 + p - K / 2, inside = (unsigned)x < (unsigned)w;
        mfc_load<T, V>(row + (inside ? x : x0) * channels, v);
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] = inside ? v[e] : 0.0f;
#pragma unroll
        for (int i = 0; i < K; i++)
            if (p - i >= 0 && p - i < TW) {
#pragma unroll
                for (int e = 0; e < V; e++)
                    sum[p - i < 0 ? 0 : p - i < TW ? p - i : 0][e] += v[e] * tap[i][e];
            }
    }
}

/* One row of a kernel of any width. */
template <typename T, int V, int TW>
static __device__ __forceinline__ void slide_any(const T *row, const float *taps, int64_t channels, int x0, int w,
                                                 int kw, float sum[TW][V]) {
    float tap[V], v[V];
    for (int i = 0; i < kw; i++) {
        mfc_load<float, V>(taps + i * channels, tap);
#pragma unroll
        for (int t = 0; t < TW; t++) {
            const int x = x0 + t + i - kw / 2;
            if (x < 0 || x >= w)
                continue;
            mfc_load<T, V>(row + x * channels, v);
#pragma unroll
            for (int e = 0; e < V; e++)
                sum[t][e] += v[e] * tap[e];
        }
    }
}

/* ---- normalisation: a strip is `group` threads, whole warps ---- */

/* Each of TW values summed over the strip's threads: in the order of lanes by shuffles, then of warps. */
template <int TW> static __device__ __forceinline__ void sum_strip(float value[TW], int group, float (*room)[PIXELS]) {
    const int warp = (int)threadIdx.x / MFC_WARP, warps = group / MFC_WARP;
    const int first = (int)threadIdx.x / group * warps;
#pragma unroll
    for (int t = 0; t < TW; t++) {
        const float x = mfc_warp_sum(value[t]);
        if (threadIdx.x % MFC_WARP == 0)
            room[warp][t] = x;
    }
    __syncthreads();
#pragma unroll
    for (int t = 0; t < TW; t++) {
        value[t] = room[first][t];
        for (int i = 1; i < warps; i++)
            value[t] += room[first + i][t];
    }
    __syncthreads();
}

template <int V, int TW>
static __device__ __forceinline__ void normalise(const dwconv_job &j, int active, int64_t at, const float *gamma,
                                                 const float *beta, float sum[TW][V], float (*room)[PIXELS]) {
    float mean[TW], scale[TW], g[V], b[V];
#pragma unroll
    for (int t = 0; t < TW; t++) {
        mean[t] = 0.0f;
#pragma unroll
        for (int e = 0; e < V; e++)
            mean[t] += active ? sum[t][e] : 0.0f;
    }
    sum_strip<TW>(mean, j.group, room);
#pragma unroll
    for (int t = 0; t < TW; t++) {
        mean[t] *= j.inverse;
        scale[t] = 0.0f;
#pragma unroll
        for (int e = 0; e < V; e++)
            scale[t] += active ? (sum[t][e] - mean[t]) * (sum[t][e] - mean[t]) : 0.0f;
    }
    sum_strip<TW>(scale, j.group, room);
    if (!active)
        return;
    mfc_vector_or<V>(gamma, at, 1.0f, g);
    mfc_vector_or<V>(beta, at, 0.0f, b);
#pragma unroll
    for (int t = 0; t < TW; t++) {
        scale[t] = 1.0f / sqrtf(scale[t] * j.inverse + j.eps);
#pragma unroll
        for (int e = 0; e < V; e++)
            sum[t][e] = (sum[t][e] - mean[t]) * scale[t] * g[e] + b[e];
    }
}

/* ---- the kernel; K: 7, or 0 for any size ---- */

template <typename T, int V, int K, int TW, int NORM>
static __global__ void MFC_BOUNDS(MOST)
    mfc_dwconv(dwconv_job j, const T *__restrict__ x, const float *__restrict__ taps, const float *__restrict__ bias,
               const float *__restrict__ gamma, const float *__restrict__ beta, T *__restrict__ out) {
    __shared__ float room[MOST / MFC_WARP][PIXELS];
    int64_t tile, row;
    const int64_t block = mfc_divide(blockIdx.x, j.tiles, &tile);
    const int local = (int)threadIdx.x / j.group;
    const int64_t strip = block * j.stack + local, column = tile * j.group + (int)threadIdx.x % j.group;
    const int active = local < j.stack && strip < j.strips && column < j.columns;
    const int64_t channels = (int64_t)j.columns * V, at = column * V;
    const int64_t place = mfc_divide(active ? strip : 0, j.h, &row);
    int64_t strip_x;
    const int64_t image = mfc_divide(place, j.across, &strip_x);
    const int x0 = (int)strip_x * TW, y = (int)row;
    float sum[TW][V], first[V];
    if (active)
        mfc_vector_or<V>(bias, at, 0.0f, first);
#pragma unroll
    for (int t = 0; t < TW; t++)
#pragma unroll
        for (int e = 0; e < V; e++)
            sum[t][e] = active ? first[e] : 0.0f;
    const int64_t map = image * j.h * j.w * channels + at;
    for (int i = 0; active && i < j.kh; i++) {
        const int from = y + i - j.kh / 2;
        if (from < 0 || from >= j.h)
            continue;
        const T *line = x + map + (int64_t)from * j.w * channels;
        const float *tap = taps + (int64_t)i * j.kw * channels + at;
        if (K)
            slide<T, V, K ? K : 1, TW>(line, tap, channels, x0, j.w, sum);
        else
            slide_any<T, V, TW>(line, tap, channels, x0, j.w, j.kw, sum);
    }
    if (NORM)
        normalise<V, TW>(j, active, at, gamma, beta, sum, room);
    if (!active)
        return;
    out += map + (int64_t)y * j.w * channels;
#pragma unroll
    for (int t = 0; t < TW; t++)
        if (x0 + t < j.w)
            mfc_store<T, V>(out + (x0 + t) * channels, sum[t]);
}

/* For rows of channels that no block covers: the convolution as it was stored, normalised where it lies.  A block a
 * pixel. */
template <typename T>
static __global__ void mfc_norm_in_place(int64_t channels, float eps, const float *__restrict__ gamma,
                                         const float *__restrict__ beta, T *map) {
    __shared__ float room[MFC_WARP];
    T *x = map + blockIdx.x * channels;
    float sum = 0.0f, squares = 0.0f;
    for (int64_t c = threadIdx.x; c < channels; c += blockDim.x)
        sum += mfc_float(x[c]);
    const float mean = mfc_block_sum(sum, room) / (float)channels;
    for (int64_t c = threadIdx.x; c < channels; c += blockDim.x)
        squares += (mfc_float(x[c]) - mean) * (mfc_float(x[c]) - mean);
    const float scale = 1.0f / sqrtf(mfc_block_sum(squares, room) / (float)channels + eps);
    for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) {
        const float y = (mfc_float(x[c]) - mean) * scale;
        x[c] = mfc_from<T>(y * (gamma ? gamma[c] : 1.0f) + (beta ? beta[c] : 0.0f));
    }
}

/* ---- launches ---- */

struct dwconv_operands {
    const void *x;
    const float *taps, *bias, *gamma, *beta;
    void *y;
};

static int wants_norm(const mf_op *op) {
    return op->kind == MF_OP_DWCONV2D && op->attrs.norm;
}

template <typename T, int V, int K, int TW, int NORM> static mf_status launch(mf_kernel *k, const dwconv_operands &o) {
    const int64_t *d = k->op.input[MF_IN_X].dim;
    dwconv_job j;
    j.h = (int)d[1];
    j.w = (int)d[2];
    j.kh = k->op.attrs.kernel[0];
    j.kw = k->op.attrs.kernel[1];
    j.columns = (int)(d[3] / V);
    j.group = NORM ? (int)(mfc_div_up(j.columns, MFC_WARP) * MFC_WARP) : (int)mfc_min(j.columns, MFC_WARP);
    j.stack = (int)mfc_max(1, MFC_THREADS / j.group);
    j.tiles = (int)mfc_div_up(j.columns, j.group);
    j.across = (int)mfc_div_up(d[2], TW);
    j.strips = d[0] * j.across * d[1];
    j.eps = (float)k->op.attrs.eps;
    j.inverse = 1.0f / (float)d[3];
    const int threads = (int)mfc_div_up(j.group * j.stack, MFC_WARP) * MFC_WARP;
    return mfc_launch(k->s, mfc_dwconv<T, V, K, TW, NORM>, mfc_grid(mfc_div_up(j.strips, j.stack) * j.tiles), threads,
                      0, j, (const T *)o.x, o.taps, o.bias, o.gamma, o.beta, (T *)o.y);
}

template <typename T, int V, int NORM> static mf_status launch_sizes(mf_kernel *k, const dwconv_operands &o) {
    enum { NARROW = V > 1 ? 6 : 8 };
    const int64_t w = k->op.input[MF_IN_X].dim[2];
    if (k->op.attrs.kernel[0] != 7 || k->op.attrs.kernel[1] != 7)
        return launch<T, V, 0, 4, NORM>(k, o);
    if (V > 1 && mfc_div_up(w, 6) * 6 < mfc_div_up(w, 8) * 8)
        return launch<T, V, 7, NARROW, NORM>(k, o);
    return launch<T, V, 7, 8, NORM>(k, o);
}

template <typename T, int V> static mf_status convolve(mf_kernel *k, const dwconv_operands &o) {
    const int64_t *d = k->op.input[MF_IN_X].dim;
    if (!wants_norm(&k->op))
        return launch_sizes<T, V, 0>(k, o);
    if (d[3] / V <= MOST)
        return launch_sizes<T, V, 1>(k, o);
    mf_status status = launch_sizes<T, V, 0>(k, o);
    if (status)
        return status;
    return mfc_launch(k->s, mfc_norm_in_place<T>, mfc_grid(d[0] * d[1] * d[2]), MFC_THREADS, 0, d[3],
                      (float)k->op.attrs.eps, o.gamma, o.beta, (T *)o.y);
}

template <typename T> static mf_status convolve_of(mf_kernel *k, const dwconv_operands &o) {
    if (mfc_vectors<T, 4>(k->op.input[MF_IN_X].dim[3], o.x, o.y) && mfc_aligned(o.taps))
        return convolve<T, 4>(k, o);
    return convolve<T, 1>(k, o);
}

mf_status mfc_dwconv_run(mf_kernel *k, const void *x, const float *taps, const float *bias, const float *gamma,
                         const float *beta, void *y) {
    const dwconv_operands o = {x, taps, bias, gamma, beta, y};
    MFC_TYPED(k->op.output.dtype, return convolve_of<T>(k, o));
    return 0;
}

/* ---- taps ---- */

static __global__ void mfc_turn_taps(int64_t channels, int64_t count, int flip, const float *__restrict__ w,
                                     float *__restrict__ taps) {
    for (int64_t i = mfc_first(); i < count * channels; i += mfc_step()) {
        int64_t c;
        const int64_t t = mfc_divide(i, channels, &c);
        taps[i] = w[c * count + (flip ? count - 1 - t : t)];
    }
}

size_t mfc_dwconv_taps_bytes(const mf_op *op) {
    return (size_t)mf_operand_count(&op->input[MF_IN_W]) * sizeof(float);
}

mf_status mfc_dwconv_taps(mf_kernel *k, const float *w, int flip, float *taps) {
    const mf_operand *o = &k->op.input[MF_IN_W];
    return mfc_launch(k->s, mfc_turn_taps, mfc_blocks(k->s, mf_operand_count(o)), MFC_THREADS, 0, o->dim[0],
                      o->dim[2] * o->dim[3], flip, w, taps);
}

mf_status mfc_dwconv_pack(mf_kernel *k, const float *w, int flip, void *taps) {
    const mf_operand *o = &k->op.input[MF_IN_W];
    const mf_host *host = k->s->device->host;
    const int64_t channels = o->dim[0], count = o->dim[2] * o->dim[3];
    const size_t bytes = mfc_dwconv_taps_bytes(&k->op);
    float *turned = (float *)host->alloc(host->context, bytes);
    if (!turned)
        return MFC_MEMORY;
    for (int64_t t = 0; t < count; t++)
        for (int64_t c = 0; c < channels; c++)
            turned[t * channels + c] = w[c * count + (flip ? count - 1 - t : t)];
    cudaError_t error = cudaMemcpyAsync(taps, turned, bytes, cudaMemcpyHostToDevice, k->s->queue);
    const cudaError_t done = cudaStreamSynchronize(k->s->queue); /* also where the copy failed: `turned` goes */
    host->free(host->context, turned);
    return mfc_check(k->s, error != cudaSuccess ? error : done, "packing depthwise weights");
}

/* ---- DWCONV2D ---- */

static int supports(const mf_stream *s, const mf_op *op) {
    const mf_attrs *a = &op->attrs;
    const mf_operand *x = &op->input[MF_IN_X], *w = mfc_operand(op, MF_IN_W);
    if (!w || w->ndim != 4 || x->ndim != 4 || !mfc_map_and_vectors(s, op, 1))
        return 0;
    for (int i = 0; i < 2; i++)
        if (a->kernel[i] != 2 * a->pad[i] + 1 || a->stride[i] > 1 || x->dim[1 + i] > (1 << 24))
            return 0;
    return x->dim[3] <= (1 << 24);
}

static mf_status prepare(mf_kernel *k, mf_kernel_info *info) {
    if (k->op.input[MF_IN_W].constant) {
        info->pack_bytes[MF_IN_W] = mfc_dwconv_taps_bytes(&k->op);
        info->pack_key[MF_IN_W] = 0x64772d746170u; /* with another for turned taps: "dw-tap" */
    } else {
        info->scratch_bytes = mfc_dwconv_taps_bytes(&k->op);
    }
    return 0;
}

static mf_status pack(mf_kernel *k, int input, const void *plain, void *packed) {
    (void)input;
    return mfc_dwconv_pack(k, (const float *)plain, 0, packed);
}

static const float *vector_of(const mf_kernel *k, const void *const *in, int slot) {
    return (const float *)(mfc_operand(&k->op, slot) ? in[slot] : NULL);
}

static mf_status run(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const float *taps = (const float *)in[MF_IN_W];
    if (!k->op.input[MF_IN_W].constant) {
        mf_status status = mfc_dwconv_taps(k, taps, 0, (float *)scratch);
        if (status)
            return status;
        taps = (const float *)scratch;
    }
    return mfc_dwconv_run(k, in[MF_IN_X], taps, vector_of(k, in, MF_IN_BIAS), vector_of(k, in, MF_IN_GAMMA),
                          vector_of(k, in, MF_IN_BETA), out);
}

const mfc_ops mfc_op_dwconv2d = {supports, prepare, pack, run, NULL};
