/* PYRAMID_POOL: x [N, H, W, C] -> [N, T, C], the cells of every level one after the other; cell i of n over a length L
 * averages floor(i L / n) .. ceil((i + 1) L / n) - 1.
 * MAXPOOL: x [N, H, W, C] -> [N, Ho, Wo, C], the maximum of each window.  CHANNEL_MAX: x [.., C] -> [.., 1].
 * A NaN is the maximum of what it is in.
 *
 * PYRAMID_POOL.  Levels overlap: read cell by cell, a map is read six times and more.  A block takes 4 vectors of
 * channels of an image's map into shared memory, where that holds them, and makes all cells of all levels from there,
 * so that the map is read once.  A warp a cell: 8 positions at a time by 4 vectors, then the 8 sums by shuffles; large
 * and small cells cost what they read.  Maps that are too large are read where they lie, through the caches. Where
 * there are few images, several blocks share the cells of one: they all read it, but no bits depend on it. */
#include "backends/cuda/forward.h"

enum { LANES = 4, POSITIONS = MFC_WARP / LANES };

struct pyramid_job {
    int height, width, count, staged; /* staged: the map goes to shared memory */
    int64_t columns, tiles;           /* vectors of channels; LANES of them each */
    int64_t tokens;
    int blocks; /* that share the cells of a tile of an image */
    int rows[MF_MAX_LEVELS], across[MF_MAX_LEVELS];
};

struct cell {
    int y, height, x, width;
};

static __device__ __forceinline__ cell find_cell(const pyramid_job &j, int64_t token) {
    int rows = j.rows[0], across = j.across[0];
    int64_t begin = 0, at = 0;
#pragma unroll
    for (int l = 0; l < MF_MAX_LEVELS; l++)
        if (l < j.count) {
            if (token >= at) {
                rows = j.rows[l];
                across = j.across[l];
                begin = at;
            }
            at += (int64_t)j.rows[l] * j.across[l];
        }
    int64_t c;
    const int64_t r = mfc_divide(token - begin, across, &c), h = j.height, w = j.width;
    cell f;
    f.y = (int)(r * h / rows);
    f.x = (int)(c * w / across);
    f.height = (int)(((r + 1) * h + rows - 1) / rows) - f.y;
    f.width = (int)(((c + 1) * w + across - 1) / across) - f.x;
    return f;
}

template <typename T, int V>
static __global__ void mfc_pyramid(pyramid_job j, const T *__restrict__ x, T *__restrict__ out) {
    MFC_SHARED(T, stage);
    int64_t part, tile;
    const int64_t rest = mfc_divide(blockIdx.x, j.blocks, &part), image = mfc_divide(rest, j.tiles, &tile);
    const int lane = (int)threadIdx.x % LANES, position = (int)threadIdx.x % MFC_WARP / LANES;
    const int warp = (int)threadIdx.x / MFC_WARP, warps = (int)blockDim.x / MFC_WARP;
    const int64_t column = tile * LANES + lane, channels = j.columns * V, size = (int64_t)j.height * j.width;
    const int active = column < j.columns;
    const T *map = x + image * size * channels + (active ? column : 0) * V;
    int64_t step = channels; /* from a position to the next */
    if (j.staged) {
        for (int64_t p = threadIdx.x / LANES; p < size; p += blockDim.x / LANES)
            if (active)
                *(mfc_pack<T, V> *)(void *)(stage + (p * LANES + lane) * V) =
                    *(const mfc_pack<T, V> *)(const void *)(map + p * channels);
        __syncthreads();
        map = stage + lane * V;
        step = LANES * V;
    }
    for (int64_t t = part * warps + warp; t < j.tokens; t += (int64_t)j.blocks * warps) {
        const cell f = find_cell(j, t);
        float sum[V], v[V];
#pragma unroll
        for (int e = 0; e < V; e++)
            sum[e] = 0.0f;
        for (int64_t i = position; active && i < (int64_t)f.height * f.width; i += POSITIONS) {
            int64_t c;
            const int64_t r = mfc_divide(i, f.width, &c);
            mfc_load<T, V>(map + ((f.y + r) * j.width + f.x + c) * step, v);
#pragma unroll
            for (int e = 0; e < V; e++)
                sum[e] += v[e];
        }
#pragma unroll
        for (int e = 0; e < V; e++) {
#pragma unroll
            for (int l = MFC_WARP / 2; l >= LANES; l /= 2)
                sum[e] += __shfl_xor_sync(0xffffffffu, sum[e], l);
            sum[e] /= (float)f.height * (float)f.width;
        }
        if (active && position == 0)
            mfc_store<T, V>(out + (image * j.tokens + t) * channels + column * V, sum);
    }
}

template <typename T, int V> static mf_status pyramid_by(mf_kernel *k, const void *x, void *out) {
    const int64_t *d = k->op.input[0].dim;
    const mf_attrs *a = &k->op.attrs;
    pyramid_job j;
    j.height = (int)d[1];
    j.width = (int)d[2];
    j.count = a->level_count;
    j.columns = d[3] / V;
    j.tiles = mfc_div_up(j.columns, LANES);
    j.tokens = k->op.output.dim[1];
    for (int l = 0; l < MF_MAX_LEVELS; l++) {
        j.rows[l] = l < j.count ? a->levels[l][0] : 1;
        j.across[l] = l < j.count ? a->levels[l][1] : 1;
    }
    const int64_t whole = d[0] * j.tiles, wanted = 2 * (int64_t)k->s->multiprocessors;
    const size_t bytes = (size_t)(d[1] * d[2]) * LANES * V * sizeof(T);
    j.staged = bytes <= k->s->shared_limit;
    j.blocks = (int)mfc_max(1, mfc_min(wanted / whole, j.staged ? 4 : 64));
    return mfc_launch(k->s, mfc_pyramid<T, V>, mfc_grid(whole * j.blocks), MFC_THREADS, j.staged ? bytes : 0, j,
                      (const T *)x, (T *)out);
}

template <typename T> static mf_status pyramid_of(mf_kernel *k, const void *x, void *out) {
    if (mfc_vectors<T, 4>(k->op.input[0].dim[3], x, out))
        return pyramid_by<T, 4>(k, x, out);
    return pyramid_by<T, 1>(k, x, out);
}

static mf_status run_pyramid(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    (void)scratch;
    MFC_TYPED(k->op.output.dtype, return pyramid_of<T>(k, in[0], out));
    return 0;
}

static int is_map(const mf_stream *s, const mf_op *op) {
    const int64_t *d = op->input[0].dim;
    return op->input[0].ndim == 4 && d[1] < (1 << 24) && d[2] < (1 << 24) && mfc_uniform(s, op);
}

static int supports_pyramid(const mf_stream *s, const mf_op *op) {
    return is_map(s, op) && op->output.ndim == 3 && op->attrs.level_count >= 1 &&
           op->attrs.level_count <= MF_MAX_LEVELS;
}

const mfc_ops mfc_op_pyramid_pool = {supports_pyramid, NULL, NULL, run_pyramid, NULL};

/* ---- maxima ---- */

static __device__ __forceinline__ float larger(float maximum, float v) {
    return v > maximum || v != v ? v : maximum; /* a NaN is never smaller, and stays */
}

struct window_job {
    int64_t vectors, columns; /* of the output; of a row of channels */
    int64_t h, w, out_h, out_w;
    int kernel[2], stride[2], pad[2];
};

/* A thread a vector of channels of a position of the output; windows overlap in the caches. */
template <typename T, int V>
static __global__ void mfc_maxpool(window_job j, const T *__restrict__ x, T *__restrict__ out) {
    for (int64_t i = mfc_first(); i < j.vectors; i += mfc_step()) {
        int64_t column, ox, oy;
        const int64_t p = mfc_divide(i, j.columns, &column), q = mfc_divide(p, j.out_w, &ox);
        const int64_t image = mfc_divide(q, j.out_h, &oy), channels = j.columns * V;
        const int64_t y0 = oy * j.stride[0] - j.pad[0], x0 = ox * j.stride[1] - j.pad[1];
        const int64_t y1 = y0 + j.kernel[0] < j.h ? y0 + j.kernel[0] : j.h;
        const int64_t x1 = x0 + j.kernel[1] < j.w ? x0 + j.kernel[1] : j.w;
        const T *map = x + image * j.h * j.w * channels + column * V;
        float most[V], v[V];
#pragma unroll
        for (int e = 0; e < V; e++)
            most[e] = -INFINITY;
        for (int64_t r = y0 < 0 ? 0 : y0; r < y1; r++)
            for (int64_t c = x0 < 0 ? 0 : x0; c < x1; c++) {
                mfc_load<T, V>(map + (r * j.w + c) * channels, v);
#pragma unroll
                for (int e = 0; e < V; e++)
                    most[e] = larger(most[e], v[e]);
            }
        mfc_store<T, V>(out + i * V, most);
    }
}

template <typename T, int V> static mf_status maxpool_by(mf_kernel *k, const void *x, void *out) {
    const int64_t *d = k->op.input[0].dim, *o = k->op.output.dim;
    window_job j;
    j.vectors = mf_operand_count(&k->op.output) / V;
    j.columns = d[3] / V;
    j.h = d[1];
    j.w = d[2];
    j.out_h = o[1];
    j.out_w = o[2];
    for (int i = 0; i < 2; i++) {
        j.kernel[i] = k->op.attrs.kernel[i];
        j.stride[i] = k->op.attrs.stride[i];
        j.pad[i] = k->op.attrs.pad[i];
    }
    return mfc_launch(k->s, mfc_maxpool<T, V>, mfc_blocks(k->s, j.vectors), MFC_THREADS, 0, j, (const T *)x, (T *)out);
}

template <typename T> static mf_status maxpool_of(mf_kernel *k, const void *x, void *out) {
    enum { V = mfc_wide<T>::V };
    if (mfc_vectors<T, V>(k->op.input[0].dim[3], x, out))
        return maxpool_by<T, V>(k, x, out);
    return maxpool_by<T, 1>(k, x, out);
}

static mf_status run_maxpool(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    (void)scratch;
    MFC_TYPED(k->op.output.dtype, return maxpool_of<T>(k, in[0], out));
    return 0;
}

const mfc_ops mfc_op_maxpool = {is_map, NULL, NULL, run_maxpool, NULL};

/* A warp a row. */
template <typename T, int V>
static __global__ void mfc_channel_max(int64_t rows, int64_t vectors, const T *__restrict__ x, T *__restrict__ out) {
    const int lane = (int)threadIdx.x % MFC_WARP;
    const int64_t row = mfc_first() / MFC_WARP;
    const T *from = x + (row < rows ? row : rows - 1) * vectors * V; /* all lanes reach the shuffles */
    float most = -INFINITY, v[V];
    for (int64_t i = lane; i < vectors; i += MFC_WARP) {
        mfc_load<T, V>(from + i * V, v);
#pragma unroll
        for (int e = 0; e < V; e++)
            most = larger(most, v[e]);
    }
#pragma unroll
    for (int l = MFC_WARP / 2; l > 0; l /= 2)
        most = larger(most, __shfl_xor_sync(0xffffffffu, most, l));
    if (lane == 0 && row < rows)
        out[row] = mfc_from<T>(most);
}

template <typename T> static mf_status channel_max_of(mf_kernel *k, const void *x, void *out) {
    enum { V = mfc_wide<T>::V };
    const int64_t rows = mf_operand_rows(&k->op.input[0]), channels = mf_operand_last(&k->op.input[0]);
    const dim3 grid = mfc_grid(mfc_div_up(rows, MFC_THREADS / MFC_WARP));
    if (mfc_vectors<T, V>(channels, x, x))
        return mfc_launch(k->s, mfc_channel_max<T, V>, grid, MFC_THREADS, 0, rows, channels / V, (const T *)x,
                          (T *)out);
    return mfc_launch(k->s, mfc_channel_max<T, 1>, grid, MFC_THREADS, 0, rows, channels, (const T *)x, (T *)out);
}

static mf_status run_channel_max(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    (void)scratch;
    MFC_TYPED(k->op.output.dtype, return channel_max_of<T>(k, in[0], out));
    return 0;
}

static int supports_channel_max(const mf_stream *s, const mf_op *op) {
    return op->input[0].ndim >= 1 && mfc_uniform(s, op);
}

const mfc_ops mfc_op_channel_max = {supports_channel_max, NULL, NULL, run_channel_max, NULL};
