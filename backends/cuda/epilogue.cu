/* What cuBLASLt's epilogue does not do: out = residual + scale act(from + bias), element by element.
 *
 * GELU is the exact one (erf), as the network was trained with it; cuBLASLt has only the tanh form.  The kernel moves
 * 16 bytes at a time, and is given chunks of rows that the product has just written and that still lie in the L2
 * (product.cu): then it costs a write to memory, and erff, about 30 instructions a value, hides behind that. */
#include "backends/cuda/forward.h"
#include "backends/cuda/product.h"

enum { THREADS = 256, BLOCKS = 4096 };

template <typename T, int V>
static __global__ void mfc_epilogue_kernel(unsigned count, mfc_divisor columns, int act, const T *from,
                                           const T *bias, const float *scale, const T *residual, T *out) {
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
        mfc_store<T, V>(out + (size_t)i * V, x);
    }
}

/* count: of groups of V values, below 2^31, so that i of the loop does not overflow */
template <typename T, int V>
static mf_status part(const mf_stream *s, int act, int64_t rows, int64_t n, const void *from, const void *bias,
                      const float *scale, const void *residual, void *out) {
    int64_t count = rows * n / V, blocks = mfc_min(mfc_div_up(count, THREADS), BLOCKS);
    return mfc_launch(s, mfc_epilogue_kernel<T, V>, dim3((unsigned)blocks), THREADS, 0, (unsigned)count,
                      mfc_divisor_of(n / V), act, (const T *)from, (const T *)bias, scale, (const T *)residual, (T *)out);
}

template <typename T>
static mf_status run(const mf_stream *s, int act, int64_t rows, int64_t n, const void *from, const void *bias,
                     const float *scale, const void *residual, void *out) {
    const int wide = mfc_wide<T>::V;
    int64_t most = mfc_max(1, ((int64_t)1 << 30) / n); /* rows of a launch */
    int by_vectors = n % wide == 0 && mfc_aligned(from) && mfc_aligned(bias) && mfc_aligned(residual) && mfc_aligned(out);
    mf_status status = 0;
    for (int64_t row = 0; row < rows && !status; row += most) {
        int64_t some = mfc_min(most, rows - row);
        const T *f = (const T *)from + row * n, *r = residual ? (const T *)residual + row * n : NULL;
        T *o = (T *)out + row * n;
        status = by_vectors ? part<T, mfc_wide<T>::V>(s, act, some, n, f, bias, scale, r, o)
                            : part<T, 1>(s, act, some, n, f, bias, scale, r, o);
    }
    return status;
}

mf_status mfc_epilogue(const mf_stream *s, mf_dtype type, int act, int64_t rows, int64_t n, const void *from,
                       const void *bias, const float *scale, const void *residual, void *out) {
    mf_status status = 0;
    MFC_TYPED(type, status = run<T>(s, act, rows, n, from, bias, scale, residual, out));
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
