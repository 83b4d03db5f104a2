/* COLUMN_SUM: x [.., C] -> [C], the sum over the rows of x, or of x y.
 * BATCH_STATS: x [.., C] -> [3, C], the mean, the variance by n and by n - 1.
 * ROW_DOT: a, b [N, ..] -> [N], the inner product of each row.
 * All give f32.  The first two are columns.h's and column_stats.h's; a row of ROW_DOT is a block's: threads stride over
 * it in accesses of 16 bytes, and are added by shuffles. */
#include "backends/cuda/column_stats.h"

/* Inputs of one type, which is the stream's or f32; the result is f32. */
static int supports_wide(const mf_stream *s, const mf_op *op) {
    const mf_dtype t = op->input[0].dtype;
    return op->output.dtype == MF_F32 && (t == MF_F32 || t == s->compute) && mfc_is_float_type(t) &&
           (op->input_count < 2 || mfc_typed(op, 1, t));
}

/* ---- COLUMN_SUM ---- */

namespace {
template <typename T> struct plain_sum {
    enum { K = 1 };
    const T *x;
    int64_t channels;
    template <int V> __device__ void begin(int64_t, int64_t, float (&)[V], float (&)[V]) const {
    }
    template <int V>
    __device__ void add(int64_t row, int64_t c, const float (&)[V], const float (&)[V], float (&sum)[1][V]) const {
        float v[V];
        mfc_load<T, V>(x + row * channels + c, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            sum[0][i] += v[i];
    }
};
} // namespace

namespace {
template <typename T> struct product_sum {
    enum { K = 1 };
    const T *x, *y;
    int64_t channels;
    template <int V> __device__ void begin(int64_t, int64_t, float (&)[V], float (&)[V]) const {
    }
    template <int V>
    __device__ void add(int64_t row, int64_t c, const float (&)[V], const float (&)[V], float (&sum)[1][V]) const {
        float v[V], w[V];
        mfc_load<T, V>(x + row * channels + c, v);
        mfc_load<T, V>(y + row * channels + c, w);
#pragma unroll
        for (int i = 0; i < V; i++)
            sum[0][i] = fmaf(v[i], w[i], sum[0][i]);
    }
};
} // namespace

static mf_status prepare_columns(mf_kernel *k, mf_kernel_info *info) {
    const mf_operand *x = &k->op.input[0];
    info->scratch_bytes =
        mfc_columns_bytes(1, mf_operand_rows(x), mf_operand_last(x), k->op.kind == MF_OP_BATCH_STATS ? 2 : 1);
    return 0;
}

template <typename T, int V>
static mf_status sum_columns(mf_kernel *k, const T *x, const T *y, float *out, void *scratch) {
    const mf_operand *o = &k->op.input[0];
    const int64_t rows = mf_operand_rows(o), channels = mf_operand_last(o);
    if (y) {
        const product_sum<T> f = {x, y, channels};
        return mfc_sum_columns<V>(k->s, f, 1, rows, channels, 1, scratch, out);
    }
    const plain_sum<T> f = {x, channels};
    return mfc_sum_columns<V>(k->s, f, 1, rows, channels, 1, scratch, out);
}

template <typename T>
static mf_status run_column_sum_of(mf_kernel *k, const T *x, const T *y, float *out, void *scratch) {
    const int wide = mf_operand_last(&k->op.input[0]) % mfc_wide<T>::V == 0 && mfc_aligned(x) && mfc_aligned(y);
    return wide ? sum_columns<T, mfc_wide<T>::V>(k, x, y, out, scratch) : sum_columns<T, 1>(k, x, y, out, scratch);
}

static mf_status run_column_sum(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const void *y = mfc_operand(&k->op, 1) ? in[1] : NULL;
    MFC_TYPED(k->op.input[0].dtype,
              return run_column_sum_of<T>(k, (const T *)in[0], (const T *)y, (float *)out, scratch));
}

const mfc_ops mfc_op_column_sum = {supports_wide, prepare_columns, NULL, run_column_sum, NULL};

/* ---- BATCH_STATS ---- */

static int supports_stats(const mf_stream *s, const mf_op *op) {
    return op->input[0].dtype == s->compute && op->output.dtype == MF_F32;
}

template <typename T> static mf_status run_stats_of(mf_kernel *k, const T *x, float *out, void *scratch) {
    const mf_operand *o = &k->op.input[0];
    const int64_t rows = mf_operand_rows(o), channels = mf_operand_last(o);
    if (channels % mfc_wide<T>::V == 0 && mfc_aligned(x))
        return mfc_column_stats<T, mfc_wide<T>::V>(k->s, x, 1, rows, channels, scratch, out);
    return mfc_column_stats<T, 1>(k->s, x, 1, rows, channels, scratch, out);
}

static mf_status run_batch_stats(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    MFC_TYPED(k->op.input[0].dtype, return run_stats_of<T>(k, (const T *)in[0], (float *)out, scratch));
}

const mfc_ops mfc_op_batch_stats = {supports_stats, prepare_columns, NULL, run_batch_stats, NULL};

/* ---- ROW_DOT ---- */

template <typename T, int V> static __global__ void row_dot(const T *a, const T *b, int64_t length, float *out) {
    __shared__ float room[MFC_WARP];
    const int64_t at = (int64_t)blockIdx.x * length;
    float sum = 0.0f;
#pragma unroll 4
    for (int64_t i = (int64_t)threadIdx.x * V; i < length; i += (int64_t)blockDim.x * V) {
        float v[V], w[V];
        mfc_load<T, V>(a + at + i, v);
        mfc_load<T, V>(b + at + i, w);
#pragma unroll
        for (int j = 0; j < V; j++)
            sum = fmaf(v[j], w[j], sum);
    }
    sum = mfc_block_sum(sum, room);
    if (threadIdx.x == 0)
        out[blockIdx.x] = sum;
}

template <typename T, int V> static mf_status launch_row_dot(mf_kernel *k, const T *a, const T *b, float *out) {
    const int64_t rows = k->op.input[0].dim[0], length = mf_operand_count(&k->op.input[0]) / rows;
    const int64_t threads = mfc_div_up(mfc_div_up(length, V), MFC_WARP) * MFC_WARP;
    return mfc_launch(k->s, row_dot<T, V>, dim3((unsigned)rows), (int)mfc_min(threads, 256), 0, a, b, length, out);
}

template <typename T> static mf_status run_row_dot_of(mf_kernel *k, const T *a, const T *b, float *out) {
    const int64_t length = mf_operand_count(&k->op.input[0]) / k->op.input[0].dim[0];
    if (length % mfc_wide<T>::V == 0 && mfc_aligned(a) && mfc_aligned(b))
        return launch_row_dot<T, mfc_wide<T>::V>(k, a, b, out);
    return launch_row_dot<T, 1>(k, a, b, out);
}

static mf_status run_row_dot(mf_kernel *k, const void *const *in, void *out, void *) {
    MFC_TYPED(k->op.input[0].dtype, return run_row_dot_of<T>(k, (const T *)in[0], (const T *)in[1], (float *)out));
}

const mfc_ops mfc_op_row_dot = {supports_wide, NULL, NULL, run_row_dot, NULL};
