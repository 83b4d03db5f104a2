/* Rounding to E4M3 in kernels. */
#ifndef MFRGN_BACKENDS_CUDA_FP8_H
#define MFRGN_BACKENDS_CUDA_FP8_H

#include <cuda_fp8.h>

#include "backends/cuda/launch.h"

/* to = E4M3(x inverse), what is too large clamped; `to` is a multiple of V bytes */
template <int V>
static __device__ __forceinline__ void mfc_store_fp8(unsigned char *to, const float x[V], float inverse) {
    mfc_pack<unsigned char, V> rounded;
#pragma unroll
    for (int j = 0; j < V; j++)
        rounded.at[j] = (unsigned char)__nv_cvt_float_to_fp8(x[j] * inverse, __NV_SATFINITE, __NV_E4M3);
    *(mfc_pack<unsigned char, V> *)(void *)to = rounded;
}

#endif
