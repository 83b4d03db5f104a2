/* What cuBLASLt's epilogue does not do: out = residual + scale act(from + bias), element by element, or that in E4M3
 * for the product that reads it.
 *
 * GELU is the exact one (erf), as the network was trained with it, unless the session wants cuBLASLt's tanh form.  The
 * kernel moves 16 bytes at a time, and is given chunks of rows that the product has just written and that still lie in
 * the L2 (product.cu): then it costs a write to memory, and erff, about 30 instructions a value, hides behind that. */
#include "backends/cuda/forward.h"
#include "backends/cuda/fp8.h"
#include "backends/cuda/product.h"

enum { THREADS = 256, BLOCKS = 4096 };

/* With `rounded` the result goes there, in E4M3: divided by *range. */
template <typename T, int V, int ROUND>
static __global__ void mfc_epilogue_kernel(unsigned count, mfc_divisor columns, int act, const T *from, const T *bias,
                                           const float *scale, const T *residual, T *out, const float *range,
                                           unsigned char *rounded) {
    const float inverse = ROUND ? 1.0f / *range : 0;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        float x[V];
        mfc_load<T, V>(from + (size_t)i * V, x);
        const int64_t column = bias || scale ? (int64_t)(i - mfc_divide(i, columns) * columns.by) * V : 0;
        if (bias) {
            float b[V];
            mfc_load<T, V>(bias + column, b);
#pragma unroll
            for (int j = 0; j < V; j++)
                x[j] += b[j];
        }
#pragma unroll
        for (int j = 0; j < V; j++)
            x[j] = mfc_act(x[j], act);
        if (scale) {
            float s[V];
            mfc_vector_or<V>(scale, column, 1.0f, s);
#pragma unroll
            for (int j = 0; j < V; j++)
                x[j] *= s[j];
        }
        if (residual) {
            float r[V];
            mfc_load<T, V>(residual + (size_t)i * V, r);
#pragma unroll
            for (int j = 0; j < V; j++)
                x[j] += r[j];
        }
        if (ROUND)
            mfc_store_fp8<V>(rounded + (size_t)i * V, x, inverse);
        else
            mfc_store<T, V>(out + (size_t)i * V, x);
    }
}

/* count: of groups of V values, below 2^31, so that i of the loop does not overflow */
template <typename T, int V, int ROUND>
static mf_status part(const mf_stream *s, const mfc_after *a, int64_t row, int64_t rows) {
    const int64_t count = rows * a->n / V, blocks = mfc_min(mfc_div_up(count, THREADS), BLOCKS), at = row * a->n;
    return mfc_launch(s, mfc_epilogue_kernel<T, V, ROUND>, dim3((unsigned)blocks), THREADS, 0, (unsigned)count,
                      mfc_divisor_of(a->n / V), a->act, (const T *)a->from + at, (const T *)a->bias, a->scale,
                      a->residual ? (const T *)a->residual + at : NULL, (T *)a->out + at,
                      ROUND ? mfc_fp8_scale(a->range) : NULL, ROUND ? (unsigned char *)a->rounded + at : NULL);
}

template <typename T> static mf_status run(const mf_stream *s, const mfc_after *a) {
    const int wide = mfc_wide<T>::V;
    const int64_t most = mfc_max(1, ((int64_t)1 << 30) / a->n); /* rows of a launch */
    const int by_vectors = a->n % wide == 0 && mfc_aligned(a->from) && mfc_aligned(a->bias) &&
                           mfc_aligned(a->residual) && mfc_aligned(a->out);
    mf_status status = 0;
    for (int64_t row = 0; row < a->rows && !status; row += most) {
        const int64_t some = mfc_min(most, a->rows - row);
        status = a->range     ? part<T, mfc_wide<T>::V, 1>(s, a, row, some)
                 : by_vectors ? part<T, mfc_wide<T>::V, 0>(s, a, row, some)
                              : part<T, 1, 0>(s, a, row, some);
    }
    return status;
}

mf_status mfc_epilogue(const mf_stream *s, const mfc_after *after) {
    mf_status status = 0;
    MFC_TYPED(after->type, status = run<T>(s, after));
    return status;
}

template <typename T> static __global__ void mfc_convert_kernel(unsigned n, const float *from, T *to) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        to[i] = mfc_from<T>(from[i]);
}

mf_status mfc_convert_vector(const mf_stream *s, mf_dtype type, int64_t n, const float *from, void *to) {
    mf_status status = 0;
    MFC_TYPED(type, status = mfc_launch(s, mfc_convert_kernel<T>, dim3((unsigned)mfc_div_up(n, THREADS)), THREADS, 0,
                                        (unsigned)n, from, (T *)to));
    return status;
}
