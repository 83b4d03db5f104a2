/* PYRAMID_POOL_GRAD: dy [N, T, C] -> [N, H, W, C]: each pixel collects, from the cells that hold it, their gradient
 * over their size. MAXPOOL_GRAD: x, dy -> dx.  Two kernels: which of its taps each window's maximum is (the first
 * largest, or a NaN), in 16 bits in the scratch; then each pixel collects from the windows whose maximum it is, few for
 * the usual strides.  So x is read once and nothing is added by two threads. CHANNEL_MAX_GRAD: dy at the first largest
 * of each row of x, zeros elsewhere; a row is a warp's.
 *
 * The pools: a thread has V channels of a pixel or window; neighbours have neighbouring channels. */
#include "backends/cuda/forward.h"

enum { THREADS = 256 };

static dim3 grid_of(int64_t items) {
    return dim3((unsigned)mfc_div_up(items, THREADS));
}

/* ---- PYRAMID_POOL_GRAD ---- */

typedef struct pyramid {
    int64_t pixels, tokens, channels; /* pixels of all images */
    int height, width;                /* below 2^15, as are the levels: products fit in 32 bits */
    int count, levels[MF_MAX_LEVELS][2];
} pyramid;

/* The cells of `count` over a length that hold place `at`: first .. end - 1. */
static __device__ __forceinline__ void cells_at(int at, int length, int count, int *first, int *end) {
    *first = at * count / length;
    *end = ((at + 1) * count + length - 1) / length;
}

static __device__ __forceinline__ int cell_size(int i, int length, int count) {
    return ((i + 1) * length + count - 1) / count - i * length / count;
}

template <typename T, int V>
static __global__ void __launch_bounds__(THREADS) pyramid_pool_grad(const T *dy, pyramid g, T *out) {
    int64_t group, place, x;
    const int64_t pixel = mfc_divide((int64_t)blockIdx.x * THREADS + threadIdx.x, g.channels / V, &group);
    if (pixel >= g.pixels)
        return;
    const int64_t image = mfc_divide(pixel, (int64_t)g.height * g.width, &place), c = group * V;
    const int y = (int)mfc_divide(place, g.width, &x);
    const T *from = dy + image * g.tokens * g.channels + c;
    float sum[V];
#pragma unroll
    for (int v = 0; v < V; v++)
        sum[v] = 0.0f;
#pragma unroll /* so that the levels are read where the parameters lie */
    for (int l = 0; l < MF_MAX_LEVELS; l++) {
        if (l >= g.count)
            break;
        const int rows = g.levels[l][0], columns = g.levels[l][1];
        int row, row_end, column, column_end;
        cells_at(y, g.height, rows, &row, &row_end);
        cells_at((int)x, g.width, columns, &column, &column_end);
        for (int r = row; r < row_end; r++)
            for (int k = column; k < column_end; k++) {
                const float size = (float)cell_size(r, g.height, rows) * (float)cell_size(k, g.width, columns);
                float v[V];
                mfc_load<T, V>(from + ((int64_t)r * columns + k) * g.channels, v);
#pragma unroll
                for (int j = 0; j < V; j++)
                    sum[j] += v[j] / size;
            }
        from += (int64_t)rows * columns * g.channels;
    }
    mfc_store<T, V>(out + pixel * g.channels + c, sum);
}

template <typename T> static mf_status run_pyramid_of(mf_kernel *k, const T *dy, T *out) {
    enum { V = mfc_wide<T>::V };
    const mf_op *op = &k->op;
    const int64_t *dim = op->output.dim;
    pyramid g = {
        dim[0] * dim[1] * dim[2], op->input[0].dim[1], dim[3], (int)dim[1], (int)dim[2], op->attrs.level_count, {{0}}};
    for (int i = 0; i < g.count; i++)
        for (int j = 0; j < 2; j++)
            g.levels[i][j] = op->attrs.levels[i][j];
    if (g.channels % V == 0 && mfc_aligned(dy) && mfc_aligned(out))
        return mfc_launch(k->s, pyramid_pool_grad<T, V>, grid_of(g.pixels * (g.channels / V)), THREADS, 0, dy, g, out);
    return mfc_launch(k->s, pyramid_pool_grad<T, 1>, grid_of(g.pixels * g.channels), THREADS, 0, dy, g, out);
}

static int supports_compute(const mf_stream *s, const mf_op *op) {
    return op->input[0].dtype == s->compute && mfc_uniform(s, op);
}

static int supports_pyramid(const mf_stream *s, const mf_op *op) {
    const int64_t most = 1 << 15;
    for (int i = 0; i < op->attrs.level_count; i++)
        if (op->attrs.levels[i][0] >= most || op->attrs.levels[i][1] >= most)
            return 0;
    return supports_compute(s, op) && op->output.dim[1] < most && op->output.dim[2] < most;
}

static mf_status run_pyramid(mf_kernel *k, const void *const *in, void *out, void *) {
    MFC_TYPED(k->s->compute, return run_pyramid_of<T>(k, (const T *)in[0], (T *)out));
}

const mfc_ops mfc_op_pyramid_pool_grad = {supports_pyramid, NULL, NULL, run_pyramid, NULL};

/* ---- MAXPOOL_GRAD ---- */

typedef struct windows {
    int64_t images, channels;
    int height, width, rows, columns; /* of x, of dy */
    int kernel[2], stride[2], pad[2];
} windows;

/* V taps moved by one access */
template <int V> struct alignas(2 * V) tap_pack { uint16_t at[V]; };

template <typename T, int V>
static __global__ void __launch_bounds__(THREADS) find_maxima(const T *x, windows g, uint16_t *taps) {
    const int64_t size = (int64_t)g.rows * g.columns;
    int64_t group, place, column;
    const int64_t window = mfc_divide((int64_t)blockIdx.x * THREADS + threadIdx.x, g.channels / V, &group);
    if (window >= g.images * size)
        return;
    const int64_t image = mfc_divide(window, size, &place), c = group * V;
    const int top = (int)mfc_divide(place, g.columns, &column) * g.stride[0] - g.pad[0];
    const int left = (int)column * g.stride[1] - g.pad[1];
    const int y0 = top < 0 ? 0 : top, y1 = top + g.kernel[0] < g.height ? top + g.kernel[0] : g.height;
    const int x0 = left < 0 ? 0 : left, x1 = left + g.kernel[1] < g.width ? left + g.kernel[1] : g.width;
    const T *map = x + image * g.height * g.width * g.channels + c;
    float most[V], v[V];
    tap_pack<V> to;
    mfc_load<T, V>(map + ((int64_t)y0 * g.width + x0) * g.channels, most);
#pragma unroll
    for (int j = 0; j < V; j++)
        to.at[j] = (uint16_t)((y0 - top) * g.kernel[1] + x0 - left);
    for (int r = y0; r < y1; r++)
        for (int k = x0; k < x1; k++) {
            mfc_load<T, V>(map + ((int64_t)r * g.width + k) * g.channels, v);
            const uint16_t tap = (uint16_t)((r - top) * g.kernel[1] + k - left);
#pragma unroll
            for (int j = 0; j < V; j++)
                if (v[j] > most[j] || v[j] != v[j]) {
                    most[j] = v[j];
                    to.at[j] = tap;
                }
        }
    *(tap_pack<V> *)(void *)(taps + window * g.channels + c) = to;
}

/* The windows along one side that hold `at`: first .. end - 1. */
static __device__ __forceinline__ void windows_at(int at, int kernel, int stride, int pad, int count, int *first,
                                                  int *end) {
    const int low = at + pad - kernel + 1, last = (at + pad) / stride + 1;
    *first = low <= 0 ? 0 : (low + stride - 1) / stride;
    *end = last < count ? last : count;
}

template <typename T, int V>
static __global__ void __launch_bounds__(THREADS) collect_maxima(const uint16_t *taps, const T *dy, windows g, T *out) {
    const int64_t size = (int64_t)g.height * g.width;
    int64_t group, place, left;
    const int64_t pixel = mfc_divide((int64_t)blockIdx.x * THREADS + threadIdx.x, g.channels / V, &group);
    if (pixel >= g.images * size)
        return;
    const int64_t image = mfc_divide(pixel, size, &place), c = group * V;
    const int y = (int)mfc_divide(place, g.width, &left), x = (int)left;
    int row, row_end, column, column_end;
    windows_at(y, g.kernel[0], g.stride[0], g.pad[0], g.rows, &row, &row_end);
    windows_at(x, g.kernel[1], g.stride[1], g.pad[1], g.columns, &column, &column_end);
    float sum[V];
#pragma unroll
    for (int j = 0; j < V; j++)
        sum[j] = 0.0f;
    for (int r = row; r < row_end; r++)
        for (int k = column; k < column_end; k++) {
            const int64_t at = ((image * g.rows + r) * g.columns + k) * g.channels + c;
            const int tap = (y + g.pad[0] - r * g.stride[0]) * g.kernel[1] + x + g.pad[1] - k * g.stride[1];
            const tap_pack<V> from = *(const tap_pack<V> *)(const void *)(taps + at);
            float v[V];
            mfc_load<T, V>(dy + at, v);
#pragma unroll
            for (int j = 0; j < V; j++)
                sum[j] += from.at[j] == tap ? v[j] : 0.0f;
        }
    mfc_store<T, V>(out + pixel * g.channels + c, sum);
}

static int supports_maxpool(const mf_stream *s, const mf_op *op) {
    const int64_t *dim = op->input[0].dim;
    return supports_compute(s, op) && (int64_t)op->attrs.kernel[0] * op->attrs.kernel[1] <= 65536 && dim[1] < 1 << 30 &&
           dim[2] < 1 << 30;
}

static mf_status prepare_maxpool(mf_kernel *k, mf_kernel_info *info) {
    info->scratch_bytes = mfc_round_up((size_t)mf_operand_count(&k->op.input[1]) * sizeof(uint16_t));
    return 0;
}

template <typename T, int V>
static mf_status launch_maxpool(mf_kernel *k, const windows *g, const T *x, const T *dy, T *out, uint16_t *taps) {
    const int64_t groups = g->images * (g->channels / V);
    mf_status status =
        mfc_launch(k->s, find_maxima<T, V>, grid_of(groups * g->rows * g->columns), THREADS, 0, x, *g, taps);
    if (status)
        return status;
    return mfc_launch(k->s, collect_maxima<T, V>, grid_of(groups * g->height * g->width), THREADS, 0,
                      (const uint16_t *)taps, dy, *g, out);
}

template <typename T> static mf_status run_maxpool_of(mf_kernel *k, const T *x, const T *dy, T *out, uint16_t *taps) {
    const int64_t *dim = k->op.input[0].dim, *to = k->op.input[1].dim;
    const mf_attrs *a = &k->op.attrs;
    const windows g = {dim[0],
                       dim[3],
                       (int)dim[1],
                       (int)dim[2],
                       (int)to[1],
                       (int)to[2],
                       {a->kernel[0], a->kernel[1]},
                       {a->stride[0], a->stride[1]},
                       {a->pad[0], a->pad[1]}};
    if (g.channels % mfc_wide<T>::V == 0 && mfc_aligned(x) && mfc_aligned(dy) && mfc_aligned(out) && mfc_aligned(taps))
        return launch_maxpool<T, mfc_wide<T>::V>(k, &g, x, dy, out, taps);
    return launch_maxpool<T, 1>(k, &g, x, dy, out, taps);
}

static mf_status run_maxpool(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    MFC_TYPED(k->s->compute,
              return run_maxpool_of<T>(k, (const T *)in[0], (const T *)in[1], (T *)out, (uint16_t *)scratch));
}

const mfc_ops mfc_op_maxpool_grad = {supports_maxpool, prepare_maxpool, NULL, run_maxpool, NULL};

/* ---- CHANNEL_MAX_GRAD ---- */

/* 1: a at place i comes before b at place j: larger or a NaN, of equals the first.  No place is -1. */
static __device__ __forceinline__ int is_before(float a, int i, float b, int j) {
    if (i < 0 || j < 0)
        return i >= 0;
    if (a != a || b != b)
        return a != a && (b == b || i < j);
    return a > b || (a == b && i < j);
}

template <typename T, int V>
static __global__ void __launch_bounds__(THREADS)
    channel_max_grad(const T *x, const T *dy, T *out, int64_t rows, int channels) {
    const int64_t row = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / MFC_WARP;
    const int64_t at = (row < rows ? row : rows - 1) * channels; /* all lanes take part in the shuffles */
    const int lane = (int)threadIdx.x % MFC_WARP;
    float most = 0.0f, v[V];
    int place = -1;
    for (int c = lane * V; c < channels; c += MFC_WARP * V) {
        mfc_load<T, V>(x + at + c, v);
#pragma unroll
        for (int j = 0; j < V; j++)
            if (is_before(v[j], c + j, most, place)) {
                most = v[j];
                place = c + j;
            }
    }
#pragma unroll
    for (int step = MFC_WARP / 2; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, most, step);
        const int other_place = __shfl_xor_sync(0xffffffffu, place, step);
        if (is_before(other, other_place, most, place)) {
            most = other;
            place = other_place;
        }
    }
    if (row >= rows)
        return;
    const float g = mfc_float(dy[row]);
    for (int c = lane * V; c < channels; c += MFC_WARP * V) {
#pragma unroll
        for (int j = 0; j < V; j++)
            v[j] = c + j == place ? g : 0.0f;
        mfc_store<T, V>(out + at + c, v);
    }
}

template <typename T> static mf_status run_channel_max_of(mf_kernel *k, const T *x, const T *dy, T *out) {
    const int64_t rows = mf_operand_rows(&k->op.input[0]);
    const int channels = (int)mf_operand_last(&k->op.input[0]);
    const int wide = channels % mfc_wide<T>::V == 0 && mfc_aligned(x) && mfc_aligned(out);
    return mfc_launch(k->s, wide ? channel_max_grad<T, mfc_wide<T>::V> : channel_max_grad<T, 1>,
                      grid_of(rows * MFC_WARP), THREADS, 0, x, dy, out, rows, channels);
}

static int supports_channel_max(const mf_stream *s, const mf_op *op) {
    return supports_compute(s, op) && mf_operand_last(&op->input[0]) < 1 << 30;
}

static mf_status run_channel_max(mf_kernel *k, const void *const *in, void *out, void *) {
    MFC_TYPED(k->s->compute, return run_channel_max_of<T>(k, (const T *)in[0], (const T *)in[1], (T *)out));
}

const mfc_ops mfc_op_channel_max_grad = {supports_channel_max, NULL, NULL, run_channel_max, NULL};
