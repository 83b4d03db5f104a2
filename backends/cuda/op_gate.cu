/* GATED_MEAN: s [N, T, C], channel gate [N, 1, C], position gate [N, T, 1] -> [N, 1, C]: the mean over T of s ch sp +
 * s.
 *
 * A block takes 8 vectors of channels of an image, with 32 threads in T for each: every line of s is read once and
 * whole. A thread sums its rows in their order, then the 32 sums are added in order: by shared memory, as they lie in
 * the lanes of different warps. */
#include "backends/cuda/forward.h"

enum { COLUMNS = 8, ROWS = 32, THREADS = COLUMNS * ROWS };

template <typename T, int V>
static __global__ void mfc_gated_mean(int64_t tokens, int64_t columns, int64_t tiles, const T *__restrict__ s,
                                      const T *__restrict__ channel, const T *__restrict__ position,
                                      T *__restrict__ out) {
    __shared__ float room[ROWS][COLUMNS * V];
    int64_t tile;
    const int64_t image = mfc_divide(blockIdx.x, tiles, &tile), channels = columns * V;
    const int lane = (int)threadIdx.x % COLUMNS, row = (int)threadIdx.x / COLUMNS;
    const int64_t column = tile * COLUMNS + lane;
    float sum[V], gate[V], v[V];
#pragma unroll
    for (int e = 0; e < V; e++)
        sum[e] = 0.0f;
    if (column < columns) {
        mfc_load<T, V>(channel + image * channels + column * V, gate);
        const T *from = s + image * tokens * channels + column * V;
        for (int64_t t = row; t < tokens; t += ROWS) {
            const float at = mfc_float(position[image * tokens + t]);
            mfc_load<T, V>(from + t * channels, v);
#pragma unroll
            for (int e = 0; e < V; e++)
                sum[e] += v[e] * gate[e] * at + v[e];
        }
    }
#pragma unroll
    for (int e = 0; e < V; e++)
        room[row][e * COLUMNS + lane] = sum[e];
    __syncthreads();
    if (row || column >= columns)
        return;
#pragma unroll
    for (int e = 0; e < V; e++) {
        for (int r = 1; r < ROWS; r++)
            sum[e] += room[r][e * COLUMNS + lane];
        sum[e] /= (float)tokens;
    }
    mfc_store<T, V>(out + image * channels + column * V, sum);
}

template <typename T, int V> static mf_status launch(mf_kernel *k, const void *const *in, void *out) {
    const mf_operand *s = &k->op.input[0];
    const int64_t images = s->dim[0], columns = mf_operand_last(s) / V, tiles = mfc_div_up(columns, COLUMNS);
    return mfc_launch(k->s, mfc_gated_mean<T, V>, mfc_grid(images * tiles), THREADS, 0, mf_operand_rows(s) / images,
                      columns, tiles, (const T *)in[0], (const T *)in[1], (const T *)in[2], (T *)out);
}

template <typename T> static mf_status run_of(mf_kernel *k, const void *const *in, void *out) {
    enum { V = mfc_wide<T>::V };
    if (mfc_aligned(in[1]) && mfc_vectors<T, V>(mf_operand_last(&k->op.input[0]), in[0], out))
        return launch<T, V>(k, in, out);
    return launch<T, 1>(k, in, out);
}

static mf_status run(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    (void)scratch;
    MFC_TYPED(k->op.output.dtype, return run_of<T>(k, in, out));
    return 0;
}

static int supports(const mf_stream *s, const mf_op *op) {
    return op->input[0].ndim >= 2 && mfc_operand(op, 1) && mfc_operand(op, 2) && mfc_uniform(s, op);
}

const mfc_ops mfc_op_gated_mean = {supports, NULL, NULL, run, NULL};
