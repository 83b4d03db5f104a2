/* The gradients of the norms whose statistics run over positions.  xhat = (x - mean) / sqrt(var + eps).
 *
 * GROUPNORM_GRAD: x [N, H, W, C], gamma, dy -> dx;  g = dy gamma, means over the positions and channels of a group:
 *   dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(var + eps)
 * GROUPNORM_GRAD_AFFINE, BATCHNORM_GRAD_AFFINE: -> [2, C]: sum dy xhat, sum dy over all rows.
 * BATCHNORM_GRAD: dx = gamma / sqrt(var + eps) (dy - dbeta / n - xhat dgamma / n), or its first term alone where mean
 * and var are constants.
 *
 * All is sums of columns (columns.h), those of a group norm for each image, and then one pass over the map,
 *   dx = a dy - b - (x - m) d
 * with a, b, m, d of each channel (and image) from small kernels.  So a map is read in whole lines, however narrow its
 * groups are. */
#include "backends/cuda/column_stats.h"

/* ---- sum dy xhat, sum dy ---- */

namespace {
template <typename T> struct map_affine_sum {
    enum { K = 2 };
    const T *x, *dy;
    const float *mean, *spread; /* [C], or [segments][2][C]: then spread is 1 / sqrt(var + eps), else var */
    int64_t channels;
    int grouped;
    float eps;
    template <int V> __device__ void begin(int64_t segment, int64_t c, float (&m)[V], float (&scale)[V]) const {
        const int64_t at = (grouped ? segment * 2 * channels : 0) + c;
#pragma unroll
        for (int i = 0; i < V; i++) {
            m[i] = mean[at + i];
            scale[i] = grouped ? spread[at + i] : 1.0f / sqrtf(spread[at + i] + eps);
        }
    }
    template <int V>
    __device__ void add(int64_t row, int64_t c, const float (&m)[V], const float (&scale)[V],
                        float (&sum)[2][V]) const {
        float v[V], g[V];
        mfc_load<T, V>(x + row * channels + c, v);
        mfc_load<T, V>(dy + row * channels + c, g);
#pragma unroll
        for (int i = 0; i < V; i++) {
            sum[0][i] = fmaf(g[i], (v[i] - m[i]) * scale[i], sum[0][i]);
            sum[1][i] += g[i];
        }
    }
};
} // namespace

/* ---- the pass over the map: line [segment][4][C] holds a, b, m, d ---- */

template <typename T, int V>
static __global__ void __launch_bounds__(MFC_COLUMN_THREADS)
    apply(const T *x, const T *dy, const float *line, T *out, mfc_tiles g, int reads_x) {
    const mfc_place p = mfc_place_of<V>(g);
    if (!p.live)
        return;
    float a[V], b[V], m[V], d[V];
    line += p.segment * 4 * g.channels + p.c;
#pragma unroll
    for (int i = 0; i < V; i++) {
        a[i] = line[i];
        b[i] = line[g.channels + i];
        m[i] = line[2 * g.channels + i];
        d[i] = line[3 * g.channels + i];
    }
#pragma unroll 2
    for (int64_t r = p.first; r < p.end; r += g.row_lanes) {
        const int64_t at = (p.segment * g.rows + r) * g.channels + p.c;
        float v[V], to[V];
        mfc_load<T, V>(dy + at, to);
        if (reads_x)
            mfc_load<T, V>(x + at, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            to[i] = reads_x ? a[i] * to[i] - b[i] - (v[i] - m[i]) * d[i] : a[i] * to[i];
        mfc_store<T, V>(out + at, to);
    }
}

/* ---- a group's statistics and sums: a block for each group of each image ---- */

enum { GROUP_THREADS = 128 };

/* The channels' means and variances, [image][3][C] -> [image][2][C]: the group's mean and 1 / sqrt(var + eps). */
static __global__ void __launch_bounds__(GROUP_THREADS)
    group_stats(const float *stats, int64_t channels, int64_t groups, float eps, float *table) {
    __shared__ float room[MFC_WARP];
    const int64_t width = channels / groups, image = blockIdx.x / groups, first = blockIdx.x % groups * width;
    const float *mean = stats + image * 3 * channels + first, *var = mean + channels;
    const float origin = mean[0];
    float sum = 0.0f, squares = 0.0f;
    for (int64_t c = threadIdx.x; c < width; c += GROUP_THREADS)
        sum += mean[c] - origin;
    const float centre = origin + mfc_block_sum(sum, room) / (float)width;
    for (int64_t c = threadIdx.x; c < width; c += GROUP_THREADS)
        squares += var[c] + (mean[c] - centre) * (mean[c] - centre);
    const float scale = 1.0f / sqrtf(mfc_block_sum(squares, room) / (float)width + eps);
    table += image * 2 * channels + first;
    for (int64_t c = threadIdx.x; c < width; c += GROUP_THREADS) {
        table[c] = centre;
        table[channels + c] = scale;
    }
}

/* sums [image][2][C] of dy xhat and dy -> line */
static __global__ void __launch_bounds__(GROUP_THREADS)
    group_line(const float *sums, const float *table, const float *gamma, int64_t positions, int64_t channels,
               int64_t groups, float *line) {
    __shared__ float room[MFC_WARP];
    const int64_t width = channels / groups, image = blockIdx.x / groups, first = blockIdx.x % groups * width;
    const float *product = sums + image * 2 * channels + first, *plain = product + channels;
    const float mean = table[image * 2 * channels + first], scale = table[(image * 2 + 1) * channels + first];
    const float count = (float)(positions * width);
    float a = 0.0f, b = 0.0f;
    for (int64_t c = threadIdx.x; c < width; c += GROUP_THREADS) {
        a = fmaf(gamma[first + c], plain[c], a);
        b = fmaf(gamma[first + c], product[c], b);
    }
    a = mfc_block_sum(a, room) / count;
    b = mfc_block_sum(b, room) / count;
    line += image * 4 * channels + first;
    for (int64_t c = threadIdx.x; c < width; c += GROUP_THREADS) {
        line[c] = scale * gamma[first + c];
        line[channels + c] = scale * a;
        line[2 * channels + c] = mean;
        line[3 * channels + c] = scale * scale * b;
    }
}

static __global__ void batch_line(const float *gamma, const float *mean, const float *var, const float *affine,
                                  float rows, int64_t channels, float eps, float *line) {
    const int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels)
        return;
    const float scale = 1.0f / sqrtf(var[c] + eps), a = gamma[c] * scale;
    line[c] = a;
    line[channels + c] = affine ? a * (affine[channels + c] / rows) : 0.0f;
    line[2 * channels + c] = mean[c];
    line[3 * channels + c] = affine ? a * (affine[c] / rows * scale) : 0.0f;
}

/* ---- group norm ---- */

typedef struct group_scratch {
    float *stats, *table, *sums, *line; /* [N][3][C], [N][2][C], [N][2][C], [N][4][C] */
    void *parts;
} group_scratch;

/* The bytes; `to`, where it is not NULL, is set. */
static size_t split_scratch(const mf_op *op, void *scratch, group_scratch *to) {
    const mf_operand *x = &op->input[0];
    const size_t row = (size_t)(x->dim[0] * x->dim[3]) * sizeof(float);
    const int gradient = op->kind == MF_OP_GROUPNORM_GRAD;
    char *at = (char *)scratch;
    size_t bytes[5] = {mfc_round_up(3 * row), mfc_round_up(2 * row), gradient ? mfc_round_up(2 * row) : 0,
                       gradient ? mfc_round_up(4 * row) : 0,
                       mfc_columns_bytes(x->dim[0], x->dim[1] * x->dim[2], x->dim[3], 2)};
    if (to) {
        to->stats = (float *)at;
        to->table = (float *)(at + bytes[0]);
        to->sums = (float *)(at + bytes[0] + bytes[1]);
        to->line = (float *)(at + bytes[0] + bytes[1] + bytes[2]);
        to->parts = at + bytes[0] + bytes[1] + bytes[2] + bytes[3];
    }
    return bytes[0] + bytes[1] + bytes[2] + bytes[3] + bytes[4];
}

static mf_status prepare_group(mf_kernel *k, mf_kernel_info *info) {
    info->scratch_bytes = split_scratch(&k->op, NULL, NULL);
    return 0;
}

template <typename T, int V>
static mf_status run_group_by(mf_kernel *k, const T *x, const float *gamma, const T *dy, void *out, void *scratch) {
    const int64_t *dim = k->op.input[0].dim, positions = dim[1] * dim[2], channels = dim[3];
    const int64_t groups = k->op.attrs.groups;
    const dim3 blocks((unsigned)(dim[0] * groups));
    const int gradient = k->op.kind == MF_OP_GROUPNORM_GRAD;
    group_scratch to;
    split_scratch(&k->op, scratch, &to);
    mf_status status = mfc_column_stats<T, V>(k->s, x, dim[0], positions, channels, to.parts, to.stats);
    if (!status)
        status = mfc_launch(k->s, group_stats, blocks, GROUP_THREADS, 0, (const float *)to.stats, channels, groups,
                            (float)k->op.attrs.eps, to.table);
    if (status)
        return status;
    const map_affine_sum<T> f = {x, dy, to.table, to.table + channels, channels, 1, 0.0f};
    status = mfc_sum_columns<V>(k->s, f, dim[0], positions, channels, !gradient, to.parts,
                                gradient ? to.sums : (float *)out);
    if (!status && gradient)
        status = mfc_launch(k->s, group_line, blocks, GROUP_THREADS, 0, (const float *)to.sums, (const float *)to.table,
                            gamma, positions, channels, groups, to.line);
    if (status || !gradient)
        return status;
    const mfc_tiles g = mfc_tiles_of(dim[0], positions, channels, V);
    return mfc_launch(k->s, apply<T, V>, mfc_tiles_grid(&g), MFC_COLUMN_THREADS, 0, x, dy, (const float *)to.line,
                      (T *)out, g, 1);
}

template <typename T>
static mf_status run_group_of(mf_kernel *k, const T *x, const float *gamma, const T *dy, void *out, void *scratch) {
    if (k->op.input[0].dim[3] % mfc_wide<T>::V == 0 && mfc_aligned(x) && mfc_aligned(dy) && mfc_aligned(out))
        return run_group_by<T, mfc_wide<T>::V>(k, x, gamma, dy, out, scratch);
    return run_group_by<T, 1>(k, x, gamma, dy, out, scratch);
}

static int supports_group_grad(const mf_stream *s, const mf_op *op) {
    return op->input[0].dtype == s->compute && op->output.dtype == s->compute && mfc_typed(op, 1, MF_F32) &&
           mfc_typed(op, 2, s->compute);
}

static mf_status run_group_grad(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    MFC_TYPED(k->s->compute,
              return run_group_of<T>(k, (const T *)in[0], (const float *)in[1], (const T *)in[2], out, scratch));
}

const mfc_ops mfc_op_groupnorm_grad = {supports_group_grad, prepare_group, NULL, run_group_grad, NULL};

static int supports_group_affine(const mf_stream *s, const mf_op *op) {
    return op->input[0].dtype == s->compute && mfc_typed(op, 1, s->compute) && op->output.dtype == MF_F32;
}

static mf_status run_group_affine(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    MFC_TYPED(k->s->compute, return run_group_of<T>(k, (const T *)in[0], NULL, (const T *)in[1], out, scratch));
}

const mfc_ops mfc_op_groupnorm_grad_affine = {supports_group_affine, prepare_group, NULL, run_group_affine, NULL};

/* ---- batch norm ---- */

static int supports_batch_affine(const mf_stream *s, const mf_op *op) {
    return op->input[0].dtype == s->compute && mfc_typed(op, 1, MF_F32) && mfc_typed(op, 2, MF_F32) &&
           mfc_typed(op, 3, s->compute) && op->output.dtype == MF_F32;
}

static mf_status prepare_batch_affine(mf_kernel *k, mf_kernel_info *info) {
    const mf_operand *x = &k->op.input[0];
    info->scratch_bytes = mfc_columns_bytes(1, mf_operand_rows(x), mf_operand_last(x), 2);
    return 0;
}

template <typename T>
static mf_status run_batch_affine_of(mf_kernel *k, const void *const *in, float *out, void *scratch) {
    enum { V = mfc_wide<T>::V };
    const int64_t rows = mf_operand_rows(&k->op.input[0]), channels = mf_operand_last(&k->op.input[0]);
    const map_affine_sum<T> f = {(const T *)in[0],      (const T *)in[3], (const float *)in[1],
                                 (const float *)in[2],  channels,         0,
                                 (float)k->op.attrs.eps};
    if (channels % V == 0 && mfc_aligned(in[0]) && mfc_aligned(in[3]))
        return mfc_sum_columns<V>(k->s, f, 1, rows, channels, 1, scratch, out);
    return mfc_sum_columns<1>(k->s, f, 1, rows, channels, 1, scratch, out);
}

static mf_status run_batch_affine(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    MFC_TYPED(k->s->compute, return run_batch_affine_of<T>(k, in, (float *)out, scratch));
}

const mfc_ops mfc_op_batchnorm_grad_affine = {supports_batch_affine, prepare_batch_affine, NULL, run_batch_affine,
                                              NULL};

static int supports_batch_grad(const mf_stream *s, const mf_op *op) {
    for (int i = 1; i < 6; i++)
        if (!mfc_typed(op, i, i == 4 ? s->compute : MF_F32))
            return 0;
    return op->input[0].dtype == s->compute && op->output.dtype == s->compute;
}

static mf_status prepare_batch_grad(mf_kernel *k, mf_kernel_info *info) {
    info->scratch_bytes = mfc_round_up((size_t)mf_operand_last(&k->op.input[0]) * 4 * sizeof(float));
    return 0;
}

template <typename T> static mf_status run_batch_of(mf_kernel *k, const void *const *in, T *out, float *line) {
    enum { V = mfc_wide<T>::V };
    const int64_t rows = mf_operand_rows(&k->op.input[0]), channels = mf_operand_last(&k->op.input[0]);
    const int own = k->op.attrs.own;
    const T *x = (const T *)in[0], *dy = (const T *)in[4];
    mf_status status =
        mfc_launch(k->s, batch_line, dim3((unsigned)mfc_div_up(channels, 128)), 128, 0, (const float *)in[1],
                   (const float *)in[2], (const float *)in[3], own ? (const float *)in[5] : (const float *)NULL,
                   (float)rows, channels, (float)k->op.attrs.eps, line);
    if (status)
        return status;
    const int wide = channels % V == 0 && mfc_aligned(x) && mfc_aligned(dy) && mfc_aligned(out);
    const mfc_tiles g = mfc_tiles_of(1, rows, channels, wide ? (int)V : 1);
    return mfc_launch(k->s, wide ? apply<T, V> : apply<T, 1>, mfc_tiles_grid(&g), MFC_COLUMN_THREADS, 0, x, dy,
                      (const float *)line, out, g, own);
}

static mf_status run_batch_grad(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    MFC_TYPED(k->s->compute, return run_batch_of<T>(k, in, (T *)out, (float *)scratch));
}

const mfc_ops mfc_op_batchnorm_grad = {supports_batch_grad, prepare_batch_grad, NULL, run_batch_grad, NULL};
