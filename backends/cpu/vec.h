/* Vectors of f32 for the kernels that are written once and compiled once an instruction set.
 *
 * MF_ISA names the build and MF_FN its symbols: mfrgn_f32_gemm__avx512.  Everything here is static: a function with
 * external linkage in a header would leak AVX-512 code into the portable build through the linker. */
#ifndef MFRGN_CPU_VEC_H
#define MFRGN_CPU_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "backends/cpu/kernel.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX2__)
#define VL 8
#else
#define VL 4
#endif

#define MF_CAT_(a, b) a##__##b
#define MF_CAT(a, b) MF_CAT_(a, b)
#define MF_FN(name) MF_CAT(mfrgn_f32_##name, MF_ISA)

#define MF_INLINE static inline __attribute__((always_inline, unused))
#if defined(__clang__)
#define MF_UNROLL _Pragma("unroll")
#else
#define MF_UNROLL _Pragma("GCC unroll 64")
#endif

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef float vfu __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef uint16_t vh __attribute__((vector_size(VL * 2)));
typedef uint16_t vhu __attribute__((vector_size(VL * 2), aligned(2), may_alias));

MF_INLINE vf v_load(const float *p) {
    return *(const vfu *)p;
}

MF_INLINE void v_store(float *p, vf v) {
    *(vfu *)p = v;
}

MF_INLINE vf v_set(float x) {
    return x - (vf){0};
}

/* The first n of VL values, 0 <= n <= VL; the others are zero. */
MF_INLINE vf v_load_n(const float *p, int n) {
#if defined(__AVX512F__)
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
    float t[VL] = {0};
    for (int i = 0; i < n; i++)
        t[i] = p[i];
    return v_load(t);
#endif
}

MF_INLINE void v_store_n(float *p, vf v, int n) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    float t[VL];
    v_store(t, v);
    for (int i = 0; i < n; i++)
        p[i] = t[i];
#endif
}

MF_INLINE vf v_select(vi mask, vf yes, vf no) {
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

MF_INLINE vf v_max(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vf)_mm_max_ps((__m128)a, (__m128)b);
#elif defined(__ARM_NEON)
    return (vf)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
#else
    return v_select(a > b, a, b);
#endif
}

MF_INLINE vf v_min(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vf)_mm_min_ps((__m128)a, (__m128)b);
#elif defined(__ARM_NEON)
    return (vf)vminq_f32((float32x4_t)a, (float32x4_t)b);
#else
    return v_select(a < b, a, b);
#endif
}

MF_INLINE vf v_abs(vf a) {
    return (vf)((vi)a & 0x7fffffff);
}

/* In halves, so that the order of the sum is a tree. */
MF_INLINE float v_sum(vf v) {
    float t[VL];
    v_store(t, v);
    for (int n = VL / 2; n; n /= 2)
        for (int i = 0; i < n; i++)
            t[i] += t[i + n];
    return t[0];
}

MF_INLINE float v_reduce_max(vf v) {
    float t[VL];
    v_store(t, v);
    for (int n = VL / 2; n; n /= 2)
        for (int i = 0; i < n; i++)
            t[i] = t[i] > t[i + n] ? t[i] : t[i + n];
    return t[0];
}

/* e^x to about 1 ulp: x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial of degree 6 in r (Cephes), n into the exponent.
 * Below -87.3 the result is about 1e-38, above 88.3 about 2e38. */
MF_INLINE vf v_exp(vf x) {
    const vf magic = v_set(12582912.0f); /* 1.5 2^23: the integer part in the low bits */
    x = v_min(v_max(x, v_set(-87.3f)), v_set(88.3f));
    vf t = x * 1.44269504088896341f + magic;
    vf n = t - magic;
    vf r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    vf p = v_set(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    /* n may be 128: two steps keep the scale finite */
    vi e = (vi)t - (vi)magic;
    vi half = e >> 1;
    return p * (vf)((half + 127) << 23) * (vf)((e - half + 127) << 23);
}

MF_INLINE vf v_sigmoid(vf x) {
    return 1.0f / (1.0f + v_exp(-x));
}

/* x (1 + erf(x / sqrt 2)) / 2 = max(x, 0) - a Q(a), a = |x|, Q(a) = erfc(a / sqrt 2) / 2: a polynomial of degree 15 on
 * 0 .. 5.4, where a Q(a) is 2e-7, and constant beyond.  Absolute error 2.3e-7; 20 operations. */
MF_INLINE vf v_gelu(vf x) {
    static const float q[16] = {0.0034669661f,  -0.0281370953f, 0.102558896f,  -0.215001404f, 0.267248183f,  -0.154958308f,
                                -0.0716283545f, 0.211644515f,   -0.136374012f, -0.0479902588f, 0.122202583f, -0.0365550667f,
                                -0.0439194404f, 0.026552923f,   0.00644520018f, -0.00555531681f};
    vf a = v_min(v_abs(x), v_set(5.4f));
    vf t = a * (2 / 5.4f) - 1.0f;
    vf p = v_set(q[15]);
    MF_UNROLL
    for (int i = 14; i >= 0; i--)
        p = p * t + q[i];
    return v_max(x, (vf){0}) - a * p;
}

MF_INLINE vf v_relu(vf x) {
    return v_max(x, (vf){0});
}

MF_INLINE vf v_act(vf x, mf_act act) {
    switch (act) {
    case MF_ACT_GELU:
        return v_gelu(x);
    case MF_ACT_RELU:
        return v_relu(x);
    case MF_ACT_SIGMOID:
        return v_sigmoid(x);
    default:
        return x;
    }
}

/* VL values stored as f16 or bf16. */
MF_INLINE vf v_from_f16(const uint16_t *p) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
#elif defined(__AVX2__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
#elif defined(__ARM_NEON)
    return (vf)vcvt_f32_f16(vld1_f16((const float16_t *)(const void *)p));
#else
    float t[VL];
    for (int i = 0; i < VL; i++)
        t[i] = mf_f16_to_f32(p[i]);
    return v_load(t);
#endif
}

MF_INLINE vf v_from_bf16(const uint16_t *p) {
    return (vf)(__builtin_convertvector(*(const vhu *)p, vi) << 16);
}

/* VL small integers. */
MF_INLINE vf v_from_i8(const int8_t *p) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
#elif defined(__AVX2__)
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
#else
    typedef int8_t vb __attribute__((vector_size(VL)));
    vb t;
    memcpy(&t, p, VL);
    return __builtin_convertvector(t, vf);
#endif
}

/* Bit i: lane i of a comparison. */
MF_INLINE unsigned v_mask(vi truth) {
#if defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)truth);
#elif defined(__AVX2__)
    return (unsigned)_mm256_movemask_ps((__m256)truth);
#elif defined(__SSE2__)
    return (unsigned)_mm_movemask_ps((__m128)truth);
#else
    unsigned mask = 0;
    for (int i = 0; i < VL; i++)
        mask |= (unsigned)(truth[i] & 1) << i;
    return mask;
#endif
}

/* The kernels of one instruction set, declared with the types of the table that they stand in. */
#define MF_KERNELS(X)                                                                                                  \
    X(gemm) X(epilogue) X(dwconv) X(conv_plane) X(layernorm) X(l2norm) X(column_sums) X(affine) X(act) X(add) X(mul)   \
    X(add_scalar) X(mul_scalar) X(sum_strided) X(max_into) X(channel_max) X(gated_mean) X(linear_keys)                 \
    X(linear_queries) X(softmax_keys) X(softmax_queries) X(scan_dot) X(scan_widen) X(scan_panel) X(scan_pick)
#define MF_DECLARE(name) __typeof__(*((struct mf_cpu_isa *)0)->name) MF_FN(name);
MF_KERNELS(MF_DECLARE)

#endif
