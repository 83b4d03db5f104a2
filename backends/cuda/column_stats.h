/* Mean and variance of each channel over the rows of [segments, rows, C]: BATCH_STATS, and the group norm's gradients.
 *
 * As columns.h has it, in one reading: a thread takes its first value off those that follow and so gets the mean and
 * the sum of squared distances (M2) of its few rows without cancellation worth naming; means and M2s are then merged by
 *   mean = sum n_i mean_i / n;  M2 = sum M2_i + n_i (mean_i - mean)^2
 * (Chan, Golub, LeVeque 1979), over the threads of a block and over the blocks. */
#ifndef MFRGN_BACKENDS_CUDA_COLUMN_STATS_H
#define MFRGN_BACKENDS_CUDA_COLUMN_STATS_H

#include "backends/cuda/columns.h"

/* partial: [segment][block][2][C], mean and M2. */
template <typename T, int V>
static __global__ void __launch_bounds__(MFC_COLUMN_THREADS) mfc_stats_blocks(const T *x, mfc_tiles g, float *partial) {
    __shared__ float room[2 * MFC_COLUMN_THREADS * V];
    const mfc_place p = mfc_place_of<V>(g);
    const int width = g.lanes * V;
    float base[V], sum[V], squares[V];
#pragma unroll
    for (int i = 0; i < V; i++)
        base[i] = sum[i] = squares[i] = 0.0f;
    int64_t count = 0;
    if (p.live && p.first < p.end) {
        const T *from = x + p.segment * g.rows * g.channels + p.c;
        mfc_load<T, V>(from + p.first * g.channels, base);
        count = (p.end - p.first + g.row_lanes - 1) / g.row_lanes;
#pragma unroll 4
        for (int64_t r = p.first + g.row_lanes; r < p.end; r += g.row_lanes) {
            float v[V];
            mfc_load<T, V>(from + r * g.channels, v);
#pragma unroll
            for (int i = 0; i < V; i++) {
                v[i] -= base[i];
                sum[i] += v[i];
                squares[i] = fmaf(v[i], v[i], squares[i]);
            }
        }
    }
    if (p.row_lane < g.row_lanes) {
        const float n = count ? (float)count : 1.0f;
#pragma unroll
        for (int i = 0; i < V; i++) {
            room[p.row_lane * width + p.lane * V + i] = base[i] + sum[i] / n;
            room[(g.row_lanes + p.row_lane) * width + p.lane * V + i] = squares[i] - sum[i] * (sum[i] / n);
        }
    }
    __syncthreads();
    const int64_t begin = p.block * g.block_rows, rows = p.end - begin;
    for (int j = (int)threadIdx.x; j < width; j += MFC_COLUMN_THREADS) {
        const int64_t c = p.tile * width + j;
        const float origin = room[j]; /* row lane 0 has a row */
        float mean = 0.0f, m2 = 0.0f;
        for (int r = 0; r < g.row_lanes && r < rows; r++)
            mean = fmaf((float)((rows - r + g.row_lanes - 1) / g.row_lanes), room[r * width + j] - origin, mean);
        mean = origin + mean / (float)rows;
        for (int r = 0; r < g.row_lanes && r < rows; r++) {
            const float d = room[r * width + j] - mean;
            m2 += room[(g.row_lanes + r) * width + j] + (float)((rows - r + g.row_lanes - 1) / g.row_lanes) * (d * d);
        }
        if (c < g.channels) {
            float *to = partial + (p.segment * g.blocks + p.block) * 2 * g.channels + c;
            to[0] = mean;
            to[g.channels] = m2;
        }
    }
}

/* -> out [segment][3][C]: mean, M2 / n, M2 / (n - 1), or 0 of one row */
static __global__ void __launch_bounds__(MFC_FINISH_COLUMNS *MFC_FINISH_LANES)
    mfc_stats_finish(const float *partial, mfc_tiles g, float *out) {
    __shared__ float room[MFC_FINISH_LANES][MFC_FINISH_COLUMNS];
    const int column = (int)threadIdx.x % MFC_FINISH_COLUMNS, lane = (int)threadIdx.x / MFC_FINISH_COLUMNS;
    const int64_t at = (int64_t)blockIdx.x * MFC_FINISH_COLUMNS + column;
    const int live = at < g.segments * g.channels;
    const int64_t segment = live ? at / g.channels : 0, c = live ? at % g.channels : 0;
    const float *from = partial + segment * g.blocks * 2 * g.channels + c;
    const float origin = from[0];
    float sum = 0.0f;
    for (int64_t b = lane; b < g.blocks; b += MFC_FINISH_LANES) {
        const int64_t rows = b + 1 < g.blocks ? g.block_rows : g.rows - b * g.block_rows;
        sum = fmaf((float)rows, from[b * 2 * g.channels] - origin, sum);
    }
    room[lane][column] = sum;
    __syncthreads();
    float mean = 0.0f;
    for (int i = 0; i < MFC_FINISH_LANES; i++)
        mean += room[i][column];
    mean = origin + mean / (float)g.rows;
    sum = 0.0f;
    for (int64_t b = lane; b < g.blocks; b += MFC_FINISH_LANES) {
        const int64_t rows = b + 1 < g.blocks ? g.block_rows : g.rows - b * g.block_rows;
        const float d = from[b * 2 * g.channels] - mean;
        sum += from[(b * 2 + 1) * g.channels] + (float)rows * (d * d);
    }
    __syncthreads();
    room[lane][column] = sum;
    __syncthreads();
    if (lane == 0 && live) {
        for (int i = 1; i < MFC_FINISH_LANES; i++)
            sum += room[i][column];
        sum = sum < 0.0f ? 0.0f : sum; /* rounding of equal values; a NaN stays one */
        out[(segment * 3 + 0) * g.channels + c] = mean;
        out[(segment * 3 + 1) * g.channels + c] = sum / (float)g.rows;
        out[(segment * 3 + 2) * g.channels + c] = sum / (float)(g.rows > 1 ? g.rows - 1 : 1);
    }
}

/* scratch: mfc_columns_bytes(.., 2) */
template <typename T, int V>
static inline mf_status mfc_column_stats(const mf_stream *s, const T *x, int64_t segments, int64_t rows,
                                         int64_t channels, void *scratch, float *out) {
    const mfc_tiles g = mfc_tiles_of(segments, rows, channels, V);
    mf_status status =
        mfc_launch(s, mfc_stats_blocks<T, V>, mfc_tiles_grid(&g), MFC_COLUMN_THREADS, 0, x, g, (float *)scratch);
    if (status)
        return status;
    return mfc_launch(s, mfc_stats_finish, dim3((unsigned)mfc_div_up(segments * channels, MFC_FINISH_COLUMNS)),
                      MFC_FINISH_COLUMNS * MFC_FINISH_LANES, 0, (const float *)scratch, g, out);
}

#endif
