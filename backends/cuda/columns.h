/* Sums over the rows of [segments, rows, C] for each channel: what COLUMN_SUM, BATCH_STATS, the gradients of affine
 * parameters, the group norm's gradient and the gated mean's share.  Seen by .cu files alone.
 *
 * Two steps, in an order that the shapes fix.  A block of the first takes a tile of channels and a block of the rows of
 * a segment: each thread V neighbouring channels and every row_lanes-th row, with its sums in registers; the threads of
 * a channel are then added through shared memory and the block's sums go to the scratch, [segment][block][K][C].  The
 * second step adds the blocks, each column by 32 threads.  Every value is read once, in accesses of 16 bytes where
 * pointers and C allow it, neighbours in a row by neighbouring threads; rows of few channels lie side by side, so a
 * warp takes several.
 *
 * What is summed is a struct F by value:
 *   enum { K }                         sums of a channel
 *   begin(segment, c, a, b)            loads what channels c .. c + V - 1 need, into registers
 *   add(row, c, a, b, sum)             adds the row, which counts over all segments */
#ifndef MFRGN_BACKENDS_CUDA_COLUMNS_H
#define MFRGN_BACKENDS_CUDA_COLUMNS_H

#include "backends/cuda/launch.h"

enum { MFC_COLUMN_THREADS = 256, MFC_COLUMN_BLOCKS = 1024, MFC_FINISH_COLUMNS = 8, MFC_FINISH_LANES = 32 };

typedef struct mfc_tiles {
    int64_t segments, rows, channels;
    int64_t tiles, blocks, block_rows; /* of the channels; of the rows of a segment */
    int lanes, row_lanes;              /* threads along the channels of a tile, along the rows of a block */
} mfc_tiles;

/* A thread takes `least` rows, or more where there would be too many blocks. */
static inline mfc_tiles mfc_tiles_of(int64_t segments, int64_t rows, int64_t channels, int V) {
    const int64_t groups = mfc_div_up(channels, V), least = 16;
    mfc_tiles g;
    g.segments = segments;
    g.rows = rows;
    g.channels = channels;
    g.tiles = mfc_div_up(groups, MFC_WARP);
    g.lanes = (int)mfc_div_up(groups, g.tiles);
    g.row_lanes = MFC_COLUMN_THREADS / g.lanes;
    g.block_rows = mfc_max(g.row_lanes * least, mfc_div_up(rows, mfc_max(1, MFC_COLUMN_BLOCKS / g.tiles)));
    g.blocks = mfc_div_up(rows, g.block_rows);
    return g;
}

static inline dim3 mfc_tiles_grid(const mfc_tiles *g) {
    return dim3((unsigned)(g->segments * g->blocks * g->tiles));
}

/* Scratch for K sums of each channel, whatever V turns out to be. */
static inline size_t mfc_columns_bytes(int64_t segments, int64_t rows, int64_t channels, int sums) {
    size_t most = 0;
    for (int V = 1; V <= 8; V *= 2) {
        const mfc_tiles g = mfc_tiles_of(segments, rows, channels, V);
        const size_t bytes = (size_t)(segments * g.blocks * sums * channels) * sizeof(float);
        most = bytes > most ? bytes : most;
    }
    return mfc_round_up(most);
}

/* Where a thread of a block of tiles works. */
typedef struct mfc_place {
    int64_t segment, block, tile;
    int64_t c;          /* its first channel */
    int64_t first, end; /* its rows within the segment: first, first + row_lanes, .. */
    int lane, row_lane;
    int live; /* 0: it has no channels */
} mfc_place;

template <int V> static __device__ __forceinline__ mfc_place mfc_place_of(const mfc_tiles &g) {
    mfc_place p;
    const int64_t b = blockIdx.x;
    p.tile = b % g.tiles;
    p.block = b / g.tiles % g.blocks;
    p.segment = b / g.tiles / g.blocks;
    p.lane = (int)threadIdx.x % g.lanes;
    p.row_lane = (int)threadIdx.x / g.lanes;
    p.c = (p.tile * g.lanes + p.lane) * V;
    p.live = p.row_lane < g.row_lanes && p.c < g.channels;
    p.first = p.block * g.block_rows + p.row_lane;
    p.end = (p.block + 1) * g.block_rows;
    p.end = p.end < g.rows ? p.end : g.rows;
    return p;
}

/* ---- sums ---- */

template <typename F, int V>
static __global__ void __launch_bounds__(MFC_COLUMN_THREADS) mfc_columns(F f, mfc_tiles g, float *partial) {
    __shared__ float room[F::K * MFC_COLUMN_THREADS * V];
    const mfc_place p = mfc_place_of<V>(g);
    float sum[F::K][V], a[V], b[V];
#pragma unroll
    for (int k = 0; k < F::K; k++)
#pragma unroll
        for (int i = 0; i < V; i++)
            sum[k][i] = 0.0f;
    if (p.live) {
        f.begin(p.segment, p.c, a, b);
#pragma unroll 4
        for (int64_t r = p.first; r < p.end; r += g.row_lanes)
            f.add(p.segment * g.rows + r, p.c, a, b, sum);
    }
    const int width = g.lanes * V;
    if (p.row_lane < g.row_lanes)
#pragma unroll
        for (int k = 0; k < F::K; k++)
#pragma unroll
            for (int i = 0; i < V; i++)
                room[(k * g.row_lanes + p.row_lane) * width + p.lane * V + i] = sum[k][i];
    __syncthreads();
    for (int i = (int)threadIdx.x; i < F::K * width; i += MFC_COLUMN_THREADS) {
        const int k = i / width, j = i % width;
        const int64_t c = p.tile * width + j;
        float total = 0.0f;
        for (int r = 0; r < g.row_lanes; r++)
            total += room[(k * g.row_lanes + r) * width + j];
        if (c < g.channels)
            partial[((p.segment * g.blocks + p.block) * F::K + k) * g.channels + c] = total;
    }
}

/* partial [segments][blocks][columns] -> out [segments][columns]; where `turned` is not 0, there is one segment, its
 * columns are [columns / turned][turned], and out has them the other way round. */
static __global__ void __launch_bounds__(MFC_FINISH_COLUMNS *MFC_FINISH_LANES)
    mfc_columns_finish(const float *partial, int64_t segments, int64_t blocks, int64_t columns, int64_t turned,
                       float *out) {
    __shared__ float room[MFC_FINISH_LANES][MFC_FINISH_COLUMNS];
    const int column = (int)threadIdx.x % MFC_FINISH_COLUMNS, lane = (int)threadIdx.x / MFC_FINISH_COLUMNS;
    const int64_t at = (int64_t)blockIdx.x * MFC_FINISH_COLUMNS + column;
    const int live = at < segments * columns;
    float sum = 0.0f;
    if (live) {
        const float *from = partial + at / columns * blocks * columns + at % columns;
#pragma unroll 4
        for (int64_t b = lane; b < blocks; b += MFC_FINISH_LANES)
            sum += from[b * columns];
    }
    room[lane][column] = sum;
    __syncthreads();
    if (lane == 0 && live) {
        for (int i = 1; i < MFC_FINISH_LANES; i++)
            sum += room[i][column];
        out[turned ? at % turned * (columns / turned) + at / turned : at] = sum;
    }
}

static inline mf_status mfc_finish_columns(const mf_stream *s, const float *partial, int64_t segments, int64_t blocks,
                                           int64_t columns, int64_t turned, float *out) {
    return mfc_launch(s, mfc_columns_finish, dim3((unsigned)mfc_div_up(segments * columns, MFC_FINISH_COLUMNS)),
                      MFC_FINISH_COLUMNS * MFC_FINISH_LANES, 0, partial, segments, blocks, columns, turned, out);
}

/* out [segments][K][C], or with `merge` [K][C] over all segments; scratch: mfc_columns_bytes(). */
template <int V, typename F>
static inline mf_status mfc_sum_columns(const mf_stream *s, F f, int64_t segments, int64_t rows, int64_t channels,
                                        int merge, void *scratch, float *out) {
    const mfc_tiles g = mfc_tiles_of(segments, rows, channels, V);
    const int64_t parts = merge ? segments * g.blocks : g.blocks;
    float *partial = parts == 1 ? out : (float *)scratch;
    mf_status status = mfc_launch(s, mfc_columns<F, V>, mfc_tiles_grid(&g), MFC_COLUMN_THREADS, 0, f, g, partial);
    if (status || parts == 1)
        return status;
    return mfc_finish_columns(s, partial, merge ? 1 : segments, parts, F::K * channels, 0, out);
}

#endif
