/* What the kernels of the forward operations share beside launch.h: grids, and indices without 64-bit division. */
#ifndef MFRGN_BACKENDS_CUDA_FORWARD_H
#define MFRGN_BACKENDS_CUDA_FORWARD_H

#include "backends/cuda/launch.h"

/* At most this many threads a block: the compiler may give each 65536 / threads registers. */
#ifdef MFC_EMULATE
#define MFC_BOUNDS(threads)
#else
#define MFC_BOUNDS(threads) __launch_bounds__(threads)
#endif

enum { MFC_THREADS = 256 }; /* of a block, where nothing else is said */

/* Blocks of a grid-stride loop over `items`: enough to fill the device some times over.  For work whose bits do not
 * depend on who does it. */
static inline dim3 mfc_blocks(const mf_stream *s, int64_t items) {
    const int64_t most = (int64_t)s->multiprocessors * 16;
    return dim3((unsigned)mfc_max(1, mfc_min(mfc_div_up(items, MFC_THREADS), most)));
}

/* A grid of exactly `blocks` blocks; more than 2^31 - 1 are refused by the launch. */
static inline dim3 mfc_grid(int64_t blocks) {
    return dim3((unsigned)mfc_min(blocks, 0xffffffffll));
}

/* 1: rows of `count` elements of T may be read by vectors of V, where these pointers begin them */
template <typename T, int V> static inline int mfc_vectors(int64_t count, const void *a, const void *b) {
    return count % V == 0 && mfc_aligned(a) && mfc_aligned(b);
}

/* a / b and a % b of numbers that are not negative: by 32 bits where they fit, which is many times cheaper. */
static __device__ __forceinline__ int64_t mfc_divide(int64_t a, int64_t b, int64_t *rest) {
    int64_t q;
    if (((uint64_t)a | (uint64_t)b) >> 32)
        q = a / b;
    else
        q = (int64_t)((uint32_t)a / (uint32_t)b);
    *rest = a - q * b;
    return q;
}

/* The place of the thread in a grid-stride loop, and the stride. */
static __device__ __forceinline__ int64_t mfc_first() {
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

static __device__ __forceinline__ int64_t mfc_step() {
    return (int64_t)gridDim.x * blockDim.x;
}

/* V parameters from a multiple of V, `otherwise` where there are none: by 16 bytes where they are aligned, which a
 * whole grid finds alike (value by value, V loads would each touch every line). */
template <int V>
static __device__ __forceinline__ void mfc_vector_or(const float *p, int64_t at, float otherwise, float to[V]) {
    enum { WIDE = V % 4 ? V : 4 };
    if (!p) {
#pragma unroll
        for (int i = 0; i < V; i++)
            to[i] = otherwise;
    } else if (V % 4 == 0 && ((size_t)p & 15) == 0) {
#pragma unroll
        for (int i = 0; i < V; i += WIDE)
            mfc_load<float, WIDE>(p + at + i, to + i);
    } else {
#pragma unroll
        for (int i = 0; i < V; i++)
            to[i] = p[at + i];
    }
}

#endif
