/* Element by element: ACT, ADD, MUL, LERP, ACT_GRAD, CAST, and image by image: DROPOUT, ROW_SCALE.
 *
 *   ACT       act(a)                    LERP       a + rate (b - a), f32
 *   ADD, MUL  act(a + b), act(a b); element i of a meets element i mod count(b)
 *   ACT_GRAD  dy act'(x)                CAST       the nearest value of the output's type
 *   DROPOUT   x / (1 - rate) where mf_dropout_keep() says so, else 0          ROW_SCALE  a[n, ..] s[n]
 *
 * All are bound by memory: a thread moves 16 bytes at a time in a grid-stride loop, and which operation it is is asked
 * at run time, by a branch that a whole grid takes alike, so that few kernels are compiled.  A thread reads what it
 * writes over before it writes, and nothing else: the output may be an input's memory, hence no __restrict__. */
#include "backends/cuda/forward.h"

/* ---- two operands, one result ---- */

struct element_job {
    int kind, act;
    int64_t vectors; /* of the output */
    int64_t period;  /* vectors of b */
    float rate;
};

/* act'(x) */
static __device__ __forceinline__ float slope(float x, int act) {
    if (act == MF_ACT_GELU) /* the normal distribution, and x times its density */
        return 0.5f * erfcf(-x * 0.70710678118654752f) + x * 0.39894228040143268f * expf(-0.5f * x * x);
    if (act == MF_ACT_RELU)
        return x <= 0.0f ? 0.0f : 1.0f;
    if (act == MF_ACT_SIGMOID) {
        const float e = expf(-fabsf(x));
        return e / ((1.0f + e) * (1.0f + e));
    }
    return 1.0f;
}

static __device__ __forceinline__ float combine(const element_job &j, float a, float b) {
    switch (j.kind) {
    case MF_OP_ADD:
        return mfc_act(a + b, j.act);
    case MF_OP_MUL:
        return mfc_act(a * b, j.act);
    case MF_OP_LERP:
        return a + j.rate * (b - a);
    case MF_OP_ACT_GRAD:
        return b * slope(a, j.act);
    default:
        return mfc_act(a, j.act);
    }
}

template <typename T, int V> static __global__ void mfc_element(element_job j, const T *a, const T *b, T *out) {
    for (int64_t i = mfc_first(); i < j.vectors; i += mfc_step()) {
        float x[V], y[V];
        mfc_load<T, V>(a + i * V, x);
        if (b) {
            int64_t at = i;
            if (j.period != j.vectors)
                mfc_divide(i, j.period, &at);
            mfc_load<T, V>(b + at * V, y);
        } else {
#pragma unroll
            for (int e = 0; e < V; e++)
                y[e] = 0.0f;
        }
#pragma unroll
        for (int e = 0; e < V; e++)
            x[e] = combine(j, x[e], y[e]);
        mfc_store<T, V>(out + i * V, x);
    }
}

template <typename T, int V>
static mf_status launch_element(mf_kernel *k, const void *const *in, void *out, int64_t period) {
    element_job j;
    j.kind = (int)k->op.kind;
    j.act = (int)k->op.attrs.act;
    j.vectors = mf_operand_count(&k->op.output) / V;
    j.period = period / V;
    j.rate = (float)k->op.attrs.rate;
    const void *b = k->op.kind == MF_OP_ACT ? NULL : in[1];
    return mfc_launch(k->s, mfc_element<T, V>, mfc_blocks(k->s, j.vectors), MFC_THREADS, 0, j, (const T *)in[0],
                      (const T *)b, (T *)out);
}

template <typename T> static mf_status element_of(mf_kernel *k, const void *const *in, void *out) {
    const int64_t period = mf_operand_count(&k->op.input[k->op.kind == MF_OP_ACT ? 0 : 1]);
    const int b_aligned = k->op.kind == MF_OP_ACT || mfc_aligned(in[1]);
    if (b_aligned && period % mfc_wide<T>::V == 0 && mfc_vectors<T, mfc_wide<T>::V>(period, in[0], out))
        return launch_element<T, mfc_wide<T>::V>(k, in, out, period);
    return launch_element<T, 1>(k, in, out, period);
}

static mf_status run_element(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    (void)scratch;
    MFC_TYPED(k->op.output.dtype, return element_of<T>(k, in, out));
    return 0;
}

static int supports_element(const mf_stream *s, const mf_op *op) {
    if (!mfc_uniform(s, op))
        return 0;
    if (op->kind == MF_OP_ACT)
        return 1;
    if (op->kind == MF_OP_ACT_GRAD && !mf_act_has_gradient(op->attrs.act))
        return 0;
    const mf_operand *b = mfc_operand(op, 1);
    return b && mf_operand_count(&op->input[0]) % mf_operand_count(b) == 0;
}

static int supports_lerp(const mf_stream *s, const mf_op *op) {
    return op->output.dtype == MF_F32 && supports_element(s, op);
}

const mfc_ops mfc_op_act = {supports_element, NULL, NULL, run_element, NULL};
const mfc_ops mfc_op_add = {supports_element, NULL, NULL, run_element, NULL};
const mfc_ops mfc_op_mul = {supports_element, NULL, NULL, run_element, NULL};
const mfc_ops mfc_op_act_grad = {supports_element, NULL, NULL, run_element, NULL};
const mfc_ops mfc_op_lerp = {supports_lerp, NULL, NULL, run_element, NULL};

/* ---- CAST ---- */

template <typename From, typename To, int V>
static __global__ void mfc_cast(const From *__restrict__ x, To *__restrict__ out, int64_t vectors) {
    for (int64_t i = mfc_first(); i < vectors; i += mfc_step()) {
        float v[V];
        mfc_load<From, V>(x + i * V, v);
        mfc_store<To, V>(out + i * V, v);
    }
}

template <typename From, typename To> static mf_status cast_to(mf_kernel *k, const void *x, void *out) {
    enum { V = 16 / (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To)) };
    const int64_t count = mf_operand_count(&k->op.output);
    if (mfc_vectors<To, V>(count, x, out))
        return mfc_launch(k->s, mfc_cast<From, To, V>, mfc_blocks(k->s, count / V), MFC_THREADS, 0, (const From *)x,
                          (To *)out, count / V);
    return mfc_launch(k->s, mfc_cast<From, To, 1>, mfc_blocks(k->s, count), MFC_THREADS, 0, (const From *)x, (To *)out,
                      count);
}

template <typename From> static mf_status cast_from(mf_kernel *k, const void *x, void *out) {
    MFC_TYPED(k->op.output.dtype, return (cast_to<From, T>(k, x, out)));
    return 0;
}

static mf_status run_cast(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    (void)scratch;
    MFC_TYPED(k->op.input[0].dtype, return cast_from<T>(k, in[0], out));
    return 0;
}

static int supports_cast(const mf_stream *s, const mf_op *op) {
    (void)s;
    return mfc_is_float_type(op->input[0].dtype) && mfc_is_float_type(op->output.dtype);
}

const mfc_ops mfc_op_cast = {supports_cast, NULL, NULL, run_cast, NULL};

/* ---- image by image: a block keeps to a part of one image, so that what an image has of its own is taken once ---- */

struct image_job {
    int64_t vectors; /* of an image */
    int parts;       /* blocks an image */
    float keep;      /* DROPOUT: 1 - rate */
    uint32_t threshold;
    int id;
};

template <typename T, int V>
static __global__ void mfc_dropout(image_job j, const T *x, const int64_t *__restrict__ key, T *out) {
    const int64_t image = blockIdx.x / (unsigned)j.parts, part = blockIdx.x % (unsigned)j.parts;
    const uint64_t base = mf_dropout_base(key, j.id, image);
    const T *from = x + image * j.vectors * V;
    T *to = out + image * j.vectors * V;
    for (int64_t i = part * blockDim.x + threadIdx.x; i < j.vectors; i += (int64_t)j.parts * blockDim.x) {
        float v[V];
        mfc_load<T, V>(from + i * V, v);
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] = mf_dropout_keep(base, (uint32_t)(i * V + e), j.threshold) ? v[e] / j.keep : 0.0f;
        mfc_store<T, V>(to + i * V, v);
    }
}

template <typename T, int V>
static __global__ void mfc_row_scale(image_job j, const T *__restrict__ x, const float *__restrict__ scale,
                                     T *__restrict__ out) {
    const int64_t image = blockIdx.x / (unsigned)j.parts, part = blockIdx.x % (unsigned)j.parts;
    const float factor = scale[image];
    const T *from = x + image * j.vectors * V;
    T *to = out + image * j.vectors * V;
    for (int64_t i = part * blockDim.x + threadIdx.x; i < j.vectors; i += (int64_t)j.parts * blockDim.x) {
        float v[V];
        mfc_load<T, V>(from + i * V, v);
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] *= factor;
        mfc_store<T, V>(to + i * V, v);
    }
}

template <typename T, int V> static mf_status launch_images(mf_kernel *k, const void *const *in, void *out) {
    const mf_operand *x = &k->op.input[0];
    const int64_t images = x->dim[0];
    image_job j;
    j.vectors = mf_operand_count(x) / images / V;
    j.parts = (int)mfc_max(1, mfc_min(mfc_div_up(j.vectors, 4 * MFC_THREADS), 1024));
    j.keep = (float)(1.0 - k->op.attrs.rate);
    j.threshold = mf_dropout_threshold(k->op.attrs.rate);
    j.id = k->op.attrs.id;
    const dim3 grid = mfc_grid(images * j.parts);
    if (k->op.kind == MF_OP_DROPOUT)
        return mfc_launch(k->s, mfc_dropout<T, V>, grid, MFC_THREADS, 0, j, (const T *)in[0], (const int64_t *)in[1],
                          (T *)out);
    return mfc_launch(k->s, mfc_row_scale<T, V>, grid, MFC_THREADS, 0, j, (const T *)in[0], (const float *)in[1],
                      (T *)out);
}

template <typename T> static mf_status images_of(mf_kernel *k, const void *const *in, void *out) {
    const int64_t size = mf_operand_count(&k->op.input[0]) / k->op.input[0].dim[0];
    if (mfc_vectors<T, mfc_wide<T>::V>(size, in[0], out))
        return launch_images<T, mfc_wide<T>::V>(k, in, out);
    return launch_images<T, 1>(k, in, out);
}

static mf_status run_images(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    (void)scratch;
    MFC_TYPED(k->op.output.dtype, return images_of<T>(k, in, out));
    return 0;
}

static int supports_images(const mf_stream *s, const mf_op *op) {
    const mf_dtype t = op->output.dtype;
    const mf_operand *second = mfc_operand(op, 1);
    if (op->input[0].ndim < 1 || op->input[0].dtype != t || (t != MF_F32 && t != s->compute) || !mfc_is_float_type(t))
        return 0;
    return second && second->dtype == (op->kind == MF_OP_DROPOUT ? MF_I64 : MF_F32);
}

const mfc_ops mfc_op_dropout = {supports_images, NULL, NULL, run_images, NULL};
const mfc_ops mfc_op_row_scale = {supports_images, NULL, NULL, run_images, NULL};
