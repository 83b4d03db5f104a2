/* DWCONV2D_GRAD_INPUT: dy, w -> dx, the convolution with the kernel turned by half a turn (dwconv.h).
 *
 * DWCONV2D_GRAD_WEIGHT: x, dy -> dw [C, 1, kh, kw], f32:
 *   dw[c, i, j] = sum over n, y, x of x[n, y + i - ph, x + j - pw, c] dy[n, y, x, c]
 *
 * A thread has V channels and J neighbouring taps of a row i of the kernel, which it sums in registers over the rows of
 * a strip of the images.  Along a row it keeps the J values of x under its taps, so that a step to the right loads one
 * value of x and one of dy for J products: 4 channels of 7 taps are 28 sums and 28 values of x, 28 products for 2
 * loads. The threads of a block are a tile of channels by rows of the kernel: they read the same lines, from L1 but for
 * the first.  Strips are so many that the device is full, and so few that their sums, [strip][kh kw][C] in the scratch,
 * stay small beside the maps; a second kernel adds them in order and turns them to the state dict's layout. */
#include "backends/cuda/columns.h"
#include "backends/cuda/dwconv.h"

enum { STRIP_THREADS = 256, STRIPS_WANTED = 65536 /* threads in all */ };

/* ---- DWCONV2D_GRAD_WEIGHT ---- */

typedef struct strips {
    int64_t rows, channels; /* rows of all images */
    int height, width, kh, kw, ph, pw;
    int chunks, tap_rows;       /* J taps each, of a row of the kernel; of all rows */
    int lanes, block_tap_rows;  /* threads of a block: along the channels, along tap_rows */
    int64_t tiles, tap_blocks;  /* blocks along the channels, along tap_rows */
    int64_t strip_rows, strips; /* rows of a strip; how many */
} strips;

static strips strips_of(const mf_op *op, int V, int J) {
    const int64_t *dim = op->input[0].dim, groups = mfc_div_up(dim[3], V);
    strips g;
    g.rows = dim[0] * dim[1];
    g.channels = dim[3];
    g.height = (int)dim[1];
    g.width = (int)dim[2];
    g.kh = op->attrs.kernel[0];
    g.kw = op->attrs.kernel[1];
    g.ph = op->attrs.pad[0];
    g.pw = op->attrs.pad[1];
    g.chunks = (int)mfc_div_up(g.kw, J);
    g.tap_rows = g.kh * g.chunks;
    g.tiles = mfc_div_up(groups, MFC_WARP);
    g.lanes = (int)mfc_div_up(groups, g.tiles);
    g.block_tap_rows = (int)mfc_min(g.tap_rows, STRIP_THREADS / g.lanes);
    g.tap_blocks = mfc_div_up(g.tap_rows, g.block_tap_rows);
    g.strips = mfc_min(g.rows, mfc_max(1, STRIPS_WANTED / (groups * g.tap_rows)));
    g.strip_rows = mfc_div_up(g.rows, g.strips);
    g.strips = mfc_div_up(g.rows, g.strip_rows);
    return g;
}

template <typename T, int V>
static __device__ __forceinline__ void load_inside(const T *row, int64_t x, int width, int64_t channels, float to[V]) {
    if (x >= 0 && x < width)
        mfc_load<T, V>(row + x * channels, to);
    else
#pragma unroll
        for (int i = 0; i < V; i++)
            to[i] = 0.0f;
}

/* Adds a row: x, dy at their first pixel; left: the pixel of x under the first tap at the first pixel of dy.
 * The value of x at pixel left + p is in seen[p % J]. */
template <typename T, int V, int J>
static __device__ __forceinline__ void add_row(const T *x, const T *dy, int left, int width, int64_t channels,
                                               float (&sum)[J][V]) {
    float seen[J][V];
#pragma unroll
    for (int j = 0; j + 1 < J; j++)
        load_inside<T, V>(x, left + j, width, channels, seen[j]);
    for (int p = 0; p < width; p += J) {
#pragma unroll
        for (int s = 0; s < J; s++) {
            float g[V];
            load_inside<T, V>(x, left + p + s + J - 1, width, channels, seen[(s + J - 1) % J]);
            load_inside<T, V>(dy, p + s, width, channels, g); /* zeros after the last */
#pragma unroll
            for (int j = 0; j < J; j++)
#pragma unroll
                for (int i = 0; i < V; i++)
                    sum[j][i] = fmaf(seen[(s + j) % J][i], g[i], sum[j][i]);
        }
    }
}

template <typename T, int V, int J>
static __global__ void __launch_bounds__(STRIP_THREADS)
    dwconv_grad_weight(const T *x, const T *dy, strips g, float *partial) {
    const int64_t tile = blockIdx.x % g.tiles, strip = blockIdx.x / g.tiles / g.tap_blocks;
    const int tap_lane = (int)threadIdx.x / g.lanes;
    const int64_t tap_row = blockIdx.x / g.tiles % g.tap_blocks * g.block_tap_rows + tap_lane;
    const int64_t c = (tile * g.lanes + (int)threadIdx.x % g.lanes) * V;
    if (tap_lane >= g.block_tap_rows || tap_row >= g.tap_rows || c >= g.channels)
        return;
    const int i = (int)tap_row / g.chunks, first = (int)tap_row % g.chunks * J, down = i - g.ph;
    const int64_t end = (strip + 1) * g.strip_rows < g.rows ? (strip + 1) * g.strip_rows : g.rows;
    const int64_t line = (int64_t)g.width * g.channels;
    float sum[J][V];
#pragma unroll
    for (int j = 0; j < J; j++)
#pragma unroll
        for (int v = 0; v < V; v++)
            sum[j][v] = 0.0f;
    for (int64_t r = strip * g.strip_rows; r < end; r++) {
        const int y = (int)(r % g.height) + down;
        if (y >= 0 && y < g.height)
            add_row<T, V, J>(x + (r + down) * line + c, dy + r * line + c, first - g.pw, g.width, g.channels, sum);
    }
#pragma unroll
    for (int j = 0; j < J; j++)
        if (first + j < g.kw)
            mfc_store<float, V>(partial + ((strip * g.kh + i) * g.kw + first + j) * g.channels + c, sum[j]);
}

enum { NARROW = 3, BROAD = 7, VECTOR = 4 };

static int taps_at_once(const mf_op *op) {
    return op->attrs.kernel[1] <= NARROW ? NARROW : BROAD;
}

static size_t strips_bytes(const mf_op *op, int V) {
    const strips g = strips_of(op, V, taps_at_once(op));
    return (size_t)(g.strips * g.kh * g.kw * g.channels) * sizeof(float);
}

static mf_status prepare_weight(mf_kernel *k, mf_kernel_info *info) {
    const size_t one = strips_bytes(&k->op, 1), wide = strips_bytes(&k->op, VECTOR);
    info->scratch_bytes = mfc_round_up(one > wide ? one : wide);
    return 0;
}

template <typename T, int V, int J>
static mf_status launch_weight(mf_kernel *k, const T *x, const T *dy, float *out, float *partial) {
    const strips g = strips_of(&k->op, V, J);
    const int64_t threads = mfc_div_up(g.lanes * g.block_tap_rows, MFC_WARP) * MFC_WARP;
    mf_status status =
        mfc_launch(k->s, dwconv_grad_weight<T, V, J>, dim3((unsigned)(g.tiles * g.tap_blocks * g.strips)), (int)threads,
                   0, x, dy, g, partial);
    if (status)
        return status;
    return mfc_finish_columns(k->s, partial, 1, g.strips, (int64_t)g.kh * g.kw * g.channels, g.channels, out);
}

template <typename T>
static mf_status run_weight_of(mf_kernel *k, const T *x, const T *dy, float *out, float *partial) {
    const int wide = k->op.input[0].dim[3] % VECTOR == 0 && mfc_aligned(x) && mfc_aligned(dy) && mfc_aligned(partial);
    if (taps_at_once(&k->op) == NARROW)
        return wide ? launch_weight<T, VECTOR, NARROW>(k, x, dy, out, partial)
                    : launch_weight<T, 1, NARROW>(k, x, dy, out, partial);
    return wide ? launch_weight<T, VECTOR, BROAD>(k, x, dy, out, partial)
                : launch_weight<T, 1, BROAD>(k, x, dy, out, partial);
}

static int supports_weight(const mf_stream *s, const mf_op *op) {
    const int64_t *dim = op->input[0].dim;
    return op->input[0].dtype == s->compute && mfc_typed(op, 1, s->compute) && op->output.dtype == MF_F32 &&
           dim[1] < 1 << 30 && dim[2] < 1 << 30;
}

static mf_status run_weight(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    MFC_TYPED(k->s->compute,
              return run_weight_of<T>(k, (const T *)in[0], (const T *)in[1], (float *)out, (float *)scratch));
}

const mfc_ops mfc_op_dwconv2d_grad_weight = {supports_weight, prepare_weight, NULL, run_weight, NULL};

/* ---- DWCONV2D_GRAD_INPUT ---- */

static int supports_input(const mf_stream *s, const mf_op *op) {
    return mfc_map_and_vectors(s, op, 1);
}

static mf_status prepare_input(mf_kernel *k, mf_kernel_info *info) {
    if (!k->op.input[MF_IN_W].constant) {
        info->scratch_bytes = mfc_round_up(mfc_dwconv_taps_bytes(&k->op));
        return 0;
    }
    info->pack_bytes[MF_IN_W] = mfc_dwconv_taps_bytes(&k->op);
    info->pack_key[MF_IN_W] = 0x64776772u; /* "dwgr": turned taps */
    return 0;
}

static mf_status pack_input(mf_kernel *k, int, const void *plain, void *packed) {
    return mfc_dwconv_pack(k, (const float *)plain, 1, packed);
}

static mf_status run_input(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const float *taps = (const float *)in[MF_IN_W];
    if (!k->op.input[MF_IN_W].constant) {
        mf_status status = mfc_dwconv_taps(k, taps, 1, (float *)scratch);
        if (status)
            return status;
        taps = (const float *)scratch;
    }
    return mfc_dwconv_run(k, in[0], taps, NULL, NULL, NULL, out);
}

const mfc_ops mfc_op_dwconv2d_grad_input = {supports_input, prepare_input, pack_input, run_input, NULL};
