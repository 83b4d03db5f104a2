/* GROUPNORM: the channels of x [N, H, W, C] in groups of C / groups; y = (x - mean) / sqrt(var + eps) gamma + beta with
 * the mean and variance of a group over all positions.
 * BATCHNORM: y = act((x - mean) / sqrt(var + eps) gamma + beta), all four given, over the last dimension.
 *
 * A group is a narrow column of the map, so that a block for it would use a part of each line that it reads.  Instead a
 * block reads a part of an image's rows with all their channels (up to 256 vectors of them), and each thread keeps to
 * its vector of channels:
 *   1  mean and squared deviations of each channel over a part, by Welford's recurrence, merged over the threads of the
 *      block in their order (Chan, Golub and LeVeque 1983)           -> scratch [N][parts][C][2]
 *   2  a warp for each group merges its channels and parts           -> scratch [N][groups][2]
 *   3  the same walk normalises; BATCHNORM is this step alone
 * So x is read twice.  How rows are cut into parts depends on the shape of an image alone. */
#include "backends/cuda/forward.h"

enum { PART_VALUES = 1 << 13 };

/* How a block walks over rows [rows, C]: `tile` vectors of channels by `lanes` rows at a time. */
struct walk {
    int64_t rows, columns; /* of an image; vectors of a row */
    int tile, lanes;       /* tile * lanes <= MFC_THREADS */
    int tiles, parts;      /* blocks of an image */
    int64_t part_rows;     /* rows of a part */
};

static walk make_walk(int64_t rows, int64_t columns, int v) {
    walk w;
    w.rows = rows;
    w.columns = columns;
    w.tile = (int)mfc_min(columns, MFC_THREADS);
    w.lanes = MFC_THREADS / w.tile;
    w.tiles = (int)mfc_div_up(columns, w.tile);
    const int64_t steps = mfc_max(1, PART_VALUES / ((int64_t)w.tile * v * w.lanes));
    w.part_rows = steps * w.lanes;
    w.parts = (int)mfc_div_up(rows, w.part_rows);
    return w;
}

/* What of it this thread does. */
struct place {
    int64_t image, part, begin, end, column; /* rows begin, begin + lanes .. of the image */
    int lane, active;
};

static __device__ __forceinline__ place find_place(const walk &w) {
    place p;
    int64_t tile;
    p.image = mfc_divide(blockIdx.x, (int64_t)w.tiles * w.parts, &p.part);
    p.part = mfc_divide(p.part, w.tiles, &tile);
    p.lane = (int)threadIdx.x / w.tile;
    p.column = tile * w.tile + (int)threadIdx.x % w.tile;
    p.active = p.lane < w.lanes && p.column < w.columns;
    const int64_t last = (p.part + 1) * w.part_rows;
    p.begin = p.part * w.part_rows + p.lane;
    p.end = last < w.rows ? last : w.rows;
    return p;
}

/* Count, mean and squared deviations of two sets together. */
static __device__ __forceinline__ void merge(float *n, float *mean, float *squares, float n2, float mean2,
                                             float squares2) {
    if (n2 == 0.0f)
        return;
    const float total = *n + n2, delta = mean2 - *mean, share = n2 / total;
    *mean += delta * share;
    *squares += squares2 + delta * delta * *n * share;
    *n = total;
}

/* ---- step 1 ---- */

template <typename T, int V>
static __global__ void mfc_group_parts(walk w, const T *__restrict__ x, float *__restrict__ partial) {
    __shared__ float means[MFC_THREADS * V], squares[MFC_THREADS * V];
    const place p = find_place(w);
    const int64_t channels = w.columns * V;
    float mean[V], m2[V], v[V];
    int count = 0;
#pragma unroll
    for (int e = 0; e < V; e++)
        mean[e] = m2[e] = 0.0f;
    if (p.active) {
        x += p.image * w.rows * channels + p.column * V;
        for (int64_t r = p.begin; r < p.end; r += w.lanes) {
            mfc_load<T, V>(x + r * channels, v);
            const float share = 1.0f / (float)++count;
#pragma unroll
            for (int e = 0; e < V; e++) {
                const float delta = v[e] - mean[e];
                mean[e] += delta * share;
                m2[e] += delta * (v[e] - mean[e]);
            }
        }
    }
#pragma unroll
    for (int e = 0; e < V; e++) {
        means[e * MFC_THREADS + threadIdx.x] = mean[e];
        squares[e * MFC_THREADS + threadIdx.x] = m2[e];
    }
    __syncthreads();
    if (!p.active || p.lane)
        return;
    partial += ((p.image * w.parts + p.part) * channels + p.column * V) * 2;
    for (int e = 0; e < V; e++) {
        float n = 0.0f, m = 0.0f, s = 0.0f;
        for (int l = 0; l < w.lanes; l++) {
            const int at = e * MFC_THREADS + l * w.tile + (int)threadIdx.x;
            const int64_t first = p.begin + l; /* this thread's lane is 0 */
            const int64_t rows = first < p.end ? (p.end - first + w.lanes - 1) / w.lanes : 0;
            merge(&n, &m, &s, (float)rows, means[at], squares[at]);
        }
        partial[2 * e] = m;
        partial[2 * e + 1] = s;
    }
}

/* ---- step 2: a warp a group; lanes take (part, channel) pairs in turn, then fold ---- */

static __global__ void mfc_group_merge(walk w, int64_t all_groups, int64_t groups, int64_t channels, float eps,
                                       const float *__restrict__ partial, float *__restrict__ moments) {
    const int lane = (int)threadIdx.x % MFC_WARP;
    const int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / MFC_WARP;
    const int64_t id = at < all_groups ? at : all_groups - 1; /* all lanes reach the shuffles */
    const int64_t width = channels / groups;
    int64_t group, c;
    const int64_t image = mfc_divide(id, groups, &group);
    float n = 0.0f, mean = 0.0f, squares = 0.0f;
    for (int64_t i = lane; i < w.parts * width; i += MFC_WARP) {
        const int64_t part = mfc_divide(i, width, &c);
        const float *p = partial + ((image * w.parts + part) * channels + group * width + c) * 2;
        const int64_t left = w.rows - part * w.part_rows;
        merge(&n, &mean, &squares, (float)(left < w.part_rows ? left : w.part_rows), p[0], p[1]);
    }
#pragma unroll
    for (int step = MFC_WARP / 2; step > 0; step /= 2) {
        const float n2 = __shfl_down_sync(0xffffffffu, n, step), mean2 = __shfl_down_sync(0xffffffffu, mean, step);
        const float squares2 = __shfl_down_sync(0xffffffffu, squares, step);
        merge(&n, &mean, &squares, n2, mean2, squares2);
    }
    if (lane || at >= all_groups)
        return;
    moments[2 * id] = mean;
    moments[2 * id + 1] = 1.0f / sqrtf(squares / n + eps);
}

/* ---- step 3 ---- */

struct affine_job {
    walk w;
    int64_t groups, width; /* GROUPNORM: of moments; width: channels of a group */
    int act;
    float eps; /* BATCHNORM */
};

/* moments: [N][groups][2], or NULL: mean and var are given, a value a channel.  x and out may be the same. */
template <typename T, int V>
static __global__ void mfc_affine(affine_job j, const T *x, const float *__restrict__ gamma,
                                  const float *__restrict__ beta, const float *__restrict__ mean,
                                  const float *__restrict__ var, const float *__restrict__ moments, T *out) {
    const place p = find_place(j.w);
    if (!p.active)
        return;
    const int64_t channels = j.w.columns * V, at = p.image * j.w.rows * channels + p.column * V;
    float shift[V], scale[V], offset[V], v[V];
    mfc_vector_or<V>(gamma, p.column * V, 1.0f, scale);
    mfc_vector_or<V>(beta, p.column * V, 0.0f, offset);
    mfc_vector_or<V>(mean, p.column * V, 0.0f, shift);
    mfc_vector_or<V>(var, p.column * V, 0.0f, v);
#pragma unroll
    for (int e = 0; e < V; e++) {
        if (moments) {
            int64_t rest;
            const float *m = moments + 2 * (p.image * j.groups + mfc_divide(p.column * V + e, j.width, &rest));
            shift[e] = m[0];
            scale[e] *= m[1];
        } else {
            scale[e] /= sqrtf(v[e] + j.eps);
        }
    }
    for (int64_t r = p.begin; r < p.end; r += j.w.lanes) {
        mfc_load<T, V>(x + at + r * channels, v);
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] = mfc_act((v[e] - shift[e]) * scale[e] + offset[e], j.act);
        mfc_store<T, V>(out + at + r * channels, v);
    }
}

/* ---- the operations ---- */

static size_t moments_bytes(const mf_op *op) {
    return mfc_round_up((size_t)(op->input[0].dim[0] * op->attrs.groups) * 2 * sizeof(float));
}

/* One part more than there are for whole vectors or none: which path is taken is known only when it runs. */
static mf_status prepare_groupnorm(mf_kernel *k, mf_kernel_info *info) {
    const int64_t *d = k->op.input[0].dim;
    int64_t parts = 1;
    for (int v = 1; v <= 8; v *= 2)
        if (d[3] % v == 0)
            parts = mfc_max(parts, make_walk(d[1] * d[2], d[3] / v, v).parts);
    info->scratch_bytes = moments_bytes(&k->op) + (size_t)(d[0] * parts * d[3]) * 2 * sizeof(float);
    return 0;
}

template <typename T, int V>
static mf_status groupnorm_by(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const int64_t *d = k->op.input[0].dim;
    float *moments = (float *)scratch, *partial = (float *)((char *)scratch + moments_bytes(&k->op));
    affine_job j;
    j.w = make_walk(d[1] * d[2], d[3] / V, V);
    j.groups = k->op.attrs.groups;
    j.width = d[3] / j.groups;
    j.act = MF_ACT_NONE;
    j.eps = (float)k->op.attrs.eps;
    const int64_t all = d[0] * j.groups, blocks = d[0] * j.w.tiles * j.w.parts;
    mf_status status =
        mfc_launch(k->s, mfc_group_parts<T, V>, mfc_grid(blocks), MFC_THREADS, 0, j.w, (const T *)in[0], partial);
    if (!status)
        status = mfc_launch(k->s, mfc_group_merge, mfc_grid(mfc_div_up(all, MFC_THREADS / MFC_WARP)), MFC_THREADS, 0,
                            j.w, all, j.groups, d[3], j.eps, (const float *)partial, moments);
    if (!status)
        status = mfc_launch(k->s, mfc_affine<T, V>, mfc_grid(blocks), MFC_THREADS, 0, j, (const T *)in[0],
                            (const float *)in[1], (const float *)in[2], (const float *)NULL, (const float *)NULL,
                            (const float *)moments, (T *)out);
    return status;
}

template <typename T> static mf_status groupnorm_of(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    enum { V = mfc_wide<T>::V };
    if (mfc_vectors<T, V>(k->op.input[0].dim[3], in[0], out))
        return groupnorm_by<T, V>(k, in, out, scratch);
    return groupnorm_by<T, 1>(k, in, out, scratch);
}

static mf_status run_groupnorm(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    MFC_TYPED(k->op.output.dtype, return groupnorm_of<T>(k, in, out, scratch));
    return 0;
}

static int supports_groupnorm(const mf_stream *s, const mf_op *op) {
    return op->input[0].ndim == 4 && op->attrs.groups >= 1 && op->input[0].dim[3] % op->attrs.groups == 0 &&
           mfc_operand(op, 1) && mfc_operand(op, 2) && mfc_map_and_vectors(s, op, 1);
}

const mfc_ops mfc_op_groupnorm = {supports_groupnorm, prepare_groupnorm, NULL, run_groupnorm, NULL};

template <typename T, int V> static mf_status batchnorm_by(mf_kernel *k, const void *const *in, void *out) {
    const mf_operand *x = &k->op.input[0];
    affine_job j;
    j.w = make_walk(mf_operand_rows(x), mf_operand_last(x) / V, V); /* all rows as one image */
    j.groups = j.width = 1;
    j.act = (int)k->op.attrs.act;
    j.eps = (float)k->op.attrs.eps;
    return mfc_launch(k->s, mfc_affine<T, V>, mfc_grid((int64_t)j.w.tiles * j.w.parts), MFC_THREADS, 0, j,
                      (const T *)in[0], (const float *)in[1], (const float *)in[2], (const float *)in[3],
                      (const float *)in[4], (const float *)NULL, (T *)out);
}

template <typename T> static mf_status batchnorm_of(mf_kernel *k, const void *const *in, void *out) {
    enum { V = mfc_wide<T>::V };
    if (mfc_vectors<T, V>(mf_operand_last(&k->op.input[0]), in[0], out))
        return batchnorm_by<T, V>(k, in, out);
    return batchnorm_by<T, 1>(k, in, out);
}

static mf_status run_batchnorm(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    (void)scratch;
    MFC_TYPED(k->op.output.dtype, return batchnorm_of<T>(k, in, out));
    return 0;
}

static int supports_batchnorm(const mf_stream *s, const mf_op *op) {
    for (int i = 1; i <= 4; i++)
        if (!mfc_operand(op, i))
            return 0;
    return op->input[0].ndim >= 1 && mfc_map_and_vectors(s, op, 1);
}

const mfc_ops mfc_op_batchnorm = {supports_batchnorm, NULL, NULL, run_batchnorm, NULL};
