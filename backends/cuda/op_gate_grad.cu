/* GATED_MEAN_GRAD: s [N, T, C], channel gate ch [N, 1, C], position gate sp [N, T, 1], dy [N, 1, C]
 *   -> [ds | dch | dsp]:  ds = dy / T (ch sp + 1);  dch = dy / T sum_t s sp;  dsp = 1 / T sum_c s ch dy
 *
 * ds and dsp by rows: a row is a warp's, s is read once and ds written once; dch by columns of each image (columns.h),
 * into the scratch in f32, and then times dy / T. */
#include "backends/cuda/columns.h"

enum { THREADS = 256 };

template <typename T, int V>
static __global__ void __launch_bounds__(THREADS)
    gate_rows(const T *s, const T *channel, const T *position, const T *dy, T *ds, T *dposition, int64_t rows,
              int64_t tokens, int64_t channels) {
    const int64_t row = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / MFC_WARP;
    const int64_t r = row < rows ? row : rows - 1; /* all lanes take part in the shuffles */
    const int64_t at = r * channels, image = r / tokens * channels;
    const float gate = mfc_float(position[r]), count = (float)tokens;
    float sum = 0.0f;
    for (int64_t c = (int64_t)(threadIdx.x % MFC_WARP) * V; c < channels; c += MFC_WARP * V) {
        float v[V], ch[V], g[V];
        mfc_load<T, V>(s + at + c, v);
        mfc_load<T, V>(channel + image + c, ch);
        mfc_load<T, V>(dy + image + c, g);
#pragma unroll
        for (int i = 0; i < V; i++) {
            g[i] /= count;
            sum = fmaf(v[i] * ch[i], g[i], sum);
            v[i] = g[i] * fmaf(ch[i], gate, 1.0f);
        }
        if (row < rows)
            mfc_store<T, V>(ds + at + c, v);
    }
    sum = mfc_warp_sum(sum);
    if (row < rows && threadIdx.x % MFC_WARP == 0)
        dposition[row] = mfc_from<T>(sum);
}

namespace {

template <typename T> struct gated_sum {
    enum { K = 1 };
    const T *s, *position;
    int64_t channels;
    template <int V> __device__ void begin(int64_t, int64_t, float (&)[V], float (&)[V]) const {
    }
    template <int V>
    __device__ void add(int64_t row, int64_t c, const float (&)[V], const float (&)[V], float (&sum)[1][V]) const {
        const float gate = mfc_float(position[row]);
        float v[V];
        mfc_load<T, V>(s + row * channels + c, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            sum[0][i] = fmaf(v[i], gate, sum[0][i]);
    }
};

} // namespace

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    gate_channels(const float *sums, const T *dy, T *dchannel, int64_t count, float tokens) {
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count)
        dchannel[i] = mfc_from<T>(sums[i] * (mfc_float(dy[i]) / tokens));
}

static size_t sums_bytes(const mf_op *op) {
    return mfc_round_up((size_t)(op->input[0].dim[0] * mf_operand_last(&op->input[0])) * sizeof(float));
}

static mf_status prepare(mf_kernel *k, mf_kernel_info *info) {
    const mf_operand *s = &k->op.input[0];
    const int64_t images = s->dim[0], tokens = mf_operand_rows(s) / images;
    info->scratch_bytes = sums_bytes(&k->op) + mfc_columns_bytes(images, tokens, mf_operand_last(s), 1);
    return 0;
}

template <typename T, int V> static mf_status run_by(mf_kernel *k, const T *const *in, T *out, char *scratch) {
    const mf_operand *o = &k->op.input[0];
    const int64_t images = o->dim[0], rows = mf_operand_rows(o), channels = mf_operand_last(o), tokens = rows / images;
    T *dchannel = out + rows * channels, *dposition = dchannel + images * channels;
    float *sums = (float *)scratch;
    mf_status status = mfc_launch(k->s, gate_rows<T, V>, dim3((unsigned)mfc_div_up(rows, THREADS / MFC_WARP)), THREADS,
                                  0, in[0], in[1], in[2], in[3], out, dposition, rows, tokens, channels);
    if (status)
        return status;
    const gated_sum<T> f = {in[0], in[2], channels};
    status = mfc_sum_columns<V>(k->s, f, images, tokens, channels, 0, scratch + sums_bytes(&k->op), sums);
    if (status)
        return status;
    return mfc_launch(k->s, gate_channels<T>, dim3((unsigned)mfc_div_up(images * channels, THREADS)), THREADS, 0,
                      (const float *)sums, in[3], dchannel, images * channels, (float)tokens);
}

template <typename T> static mf_status run_of(mf_kernel *k, const void *const *in, T *out, char *scratch) {
    const T *const typed[4] = {(const T *)in[0], (const T *)in[1], (const T *)in[2], (const T *)in[3]};
    if (mf_operand_last(&k->op.input[0]) % mfc_wide<T>::V == 0 && mfc_aligned(in[0]) && mfc_aligned(in[1]) &&
        mfc_aligned(in[3]) && mfc_aligned(out))
        return run_by<T, mfc_wide<T>::V>(k, typed, out, scratch);
    return run_by<T, 1>(k, typed, out, scratch);
}

static int supports(const mf_stream *s, const mf_op *op) {
    return op->input[0].dtype == s->compute && mfc_uniform(s, op);
}

static mf_status run(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    MFC_TYPED(k->s->compute, return run_of<T>(k, in, (T *)out, (char *)scratch));
}

const mfc_ops mfc_op_gated_mean_grad = {supports, prepare, NULL, run, NULL};
