/* How kernels are launched, and what they may use: seen by .cu files alone.
 *
 * A kernel uses threadIdx, blockIdx, blockDim, gridDim, __syncthreads(), __syncwarp(), __shfl_xor_sync and
 * __shfl_down_sync and __shfl_sync with all lanes, __shared__ arrays of fixed size, MFC_SHARED for dynamic ones, and
 * the numeric functions of math.h in float (expf, erff, sqrtf, fmaf, ..).  A block is one-dimensional.  Every thread of
 * a block reaches every __syncthreads(), every lane of a warp every shuffle. */
#ifndef MFRGN_BACKENDS_CUDA_LAUNCH_H
#define MFRGN_BACKENDS_CUDA_LAUNCH_H

#include "backends/cuda/cuda.h"

#ifdef MFC_EMULATE
#include "tests/gpu/emulate/emulate.h"
#else
/* T *name, the block's dynamic shared memory, 16-byte aligned */
#define MFC_SHARED(T, name)                                                                                            \
    extern __shared__ uint4 mfc_shared_memory[];                                                                       \
    T *name = (T *)(void *)mfc_shared_memory

/* Lets a kernel have this much dynamic shared memory: more than 48 KB, together with the arrays that it declares, is to
 * be asked for.  All there is, once, so that a launch of the same kernel with less takes nothing from one that another
 * thread, or a recording, has under way. */
static inline mf_status mfc_allow_shared(const mf_stream *s, const void *kernel, size_t shared) {
    cudaFuncAttributes now;
    cudaError_t error = cudaFuncGetAttributes(&now, kernel);
    if (error == cudaSuccess && (size_t)now.maxDynamicSharedSizeBytes < shared)
        error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     (int)(s->shared_limit - now.sharedSizeBytes));
    return mfc_check(s, error, "shared memory of a kernel");
}

/* kernel<<<grid, threads, shared, s->queue>>>(args ..), with the error of the launch.  A grid's y and z are at most
 * 65535.  A kernel with dynamic shared memory declares at most 16 KB of arrays beside it. */
template <typename... Params, typename... Args>
static inline mf_status mfc_launch(const mf_stream *s, void (*kernel)(Params...), dim3 grid, int threads, size_t shared,
                                   Args... args) {
    if (shared > 32 * 1024) {
        mf_status status = mfc_allow_shared(s, (const void *)kernel, shared);
        if (status)
            return status;
    }
    kernel<<<grid, (unsigned)threads, shared, s->queue>>>(static_cast<Params>(args)...);
    return mfc_check(s, cudaGetLastError(), "launch of a kernel");
}
#endif

enum { MFC_WARP = 32 };

/* ---- numbers ---- */
static __device__ __forceinline__ float mfc_float(float x) {
    return x;
}
static __device__ __forceinline__ float mfc_float(__half x) {
    return __half2float(x);
}
static __device__ __forceinline__ float mfc_float(__nv_bfloat16 x) {
    return __bfloat162float(x);
}

template <typename T> static __device__ __forceinline__ T mfc_from(float x);
template <> __device__ __forceinline__ float mfc_from<float>(float x) {
    return x;
}
template <> __device__ __forceinline__ __half mfc_from<__half>(float x) {
    return __float2half_rn(x);
}
template <> __device__ __forceinline__ __nv_bfloat16 mfc_from<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}

/* V consecutive values that are moved by one access: V sizeof(T) is 1, 2, 4, 8 or 16 bytes, the address a multiple; or
 * by several of 16 bytes, with the address a multiple of 16. */
template <typename T, int V> struct alignas(V * sizeof(T) < 16 ? V * sizeof(T) : 16) mfc_pack {
    T at[V];
};

template <typename T, int V> static __device__ __forceinline__ void mfc_load(const T *from, float to[V]) {
    const mfc_pack<T, V> p = *(const mfc_pack<T, V> *)(const void *)from;
#pragma unroll
    for (int i = 0; i < V; i++)
        to[i] = mfc_float(p.at[i]);
}

template <typename T, int V> static __device__ __forceinline__ void mfc_store(T *to, const float from[V]) {
    mfc_pack<T, V> p;
#pragma unroll
    for (int i = 0; i < V; i++)
        p.at[i] = mfc_from<T>(from[i]);
    *(mfc_pack<T, V> *)(void *)to = p;
}

/* How many values of T 16 bytes hold. */
template <typename T> struct mfc_wide {
    enum { V = 16 / sizeof(T) };
};

/* The sum, the maximum over a warp, given to every lane: always in the same order. */
static __device__ __forceinline__ float mfc_warp_sum(float x) {
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

static __device__ __forceinline__ float mfc_warp_max(float x) {
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}

/* The sum over a block of up to 1024 threads, a multiple of 32, given to every thread.  room: 32 floats, shared. */
static __device__ __forceinline__ float mfc_block_sum(float x, float *room) {
    const int warps = (int)blockDim.x / MFC_WARP, lane = (int)threadIdx.x % MFC_WARP;
    x = mfc_warp_sum(x);
    if (lane == 0)
        room[threadIdx.x / MFC_WARP] = x;
    __syncthreads();
    x = mfc_warp_sum(lane < warps ? room[lane] : 0.0f);
    __syncthreads();
    return x;
}

/* The activations of MF_ACT_*.  (1 + tanh(y)) / 2 = 1 / (1 + exp(-2 y)). */
static __device__ __forceinline__ float mfc_act(float x, int act) {
    if (act == MF_ACT_GELU)
        return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    if (act == MF_ACT_GELU_TANH)
        return x / (1.0f + expf(-1.59576912160573071f * x * (1.0f + 0.044715f * x * x)));
    if (act == MF_ACT_RELU)
        return x < 0.0f ? 0.0f : x; /* a NaN stays one */
    if (act == MF_ACT_SIGMOID)
        return 1.0f / (1.0f + expf(-x));
    return x;
}

#endif
