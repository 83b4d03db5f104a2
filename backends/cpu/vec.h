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
#define MF_UNROLL _Pragma("clang loop unroll(full)")
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

/* Values j .. j + VL - 1 of a row of c, zero behind its end; nothing is read or written there. */
MF_INLINE vf v_at(const float *x, int64_t j, int64_t c) {
    return j + VL <= c ? v_load(x + j) : v_load_n(x + j, (int)(c - j));
}

MF_INLINE void v_put(float *y, int64_t j, int64_t c, vf v) {
    if (j + VL <= c)
        v_store(y + j, v);
    else
        v_store_n(y + j, v, (int)(c - j));
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
#if defined(__AVX512F__)
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
#elif defined(__AVX2__)
    __m256 a = (__m256)v;
#endif
#if defined(__AVX2__)
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
#else
    return (v[0] + v[2]) + (v[1] + v[3]);
#endif
}

MF_INLINE vf v_sqrt(vf a) {
#if defined(__AVX512F__)
    return (vf)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX2__)
    return (vf)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE2__)
    return (vf)_mm_sqrt_ps((__m128)a);
#elif defined(__ARM_NEON)
    return (vf)vsqrtq_f32((float32x4_t)a);
#else
    for (int i = 0; i < VL; i++)
        a[i] = sqrtf(a[i]);
    return a;
#endif
}

MF_INLINE float v_reduce_max(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#else
    float m = v[0];
    for (int i = 1; i < VL; i++)
        m = m > v[i] ? m : v[i];
    return m;
#endif
}

/* The largest of c > 0 values. */
MF_INLINE float v_largest(const float *x, int64_t c) {
    int64_t j = c < VL ? 0 : VL;
    float top = x[0];
    if (j) {
        vf v = v_load(x);
        for (; j + VL <= c; j += VL)
            v = v_max(v, v_load(x + j));
        top = v_reduce_max(v);
    }
    for (; j < c; j++)
        top = top > x[j] ? top : x[j];
    return top;
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
#if defined(__AVX512F__)
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    /* n may be 128: two steps keep the scale finite */
    vi e = (vi)t - (vi)magic;
    vi half = e >> 1;
    return p * (vf)((half + 127) << 23) * (vf)((e - half + 127) << 23);
#endif
}

MF_INLINE vf v_sigmoid(vf x) {
    return 1.0f / (1.0f + v_exp(-x));
}

/* GELU: x (1 + erf(x / sqrt 2)) / 2 = max(x, 0) - a Q(a) with a = |x| and Q(a) = erfc(a / sqrt 2) / 2, both of which
 * are small where x is large, so that an absolute error stays one.
 *
 * AVX-512: Q by a cubic in each of 32 pieces, whose coefficients are picked from registers: 13 operations a vector,
 * absolute error 2e-7.  Elsewhere a polynomial of degree 15 on 0 .. 5.4: 20 operations, 2.4e-7 (2.9e-7 without fused
 * multiply-add). */
#if defined(__AVX512F__)
static const float v_gelu_q[4][32] __attribute__((aligned(64), unused)) = {
    {0.5f,
     0.430695772f,
     0.363467306f,
     0.300205648f,
     0.242459729f,
     0.191327363f,
     0.147407219f,
     0.110811904f,
     0.0812331066f,
     0.0580415912f,
     0.0404027104f,
     0.0273888465f,
     0.0180748738f,
     0.0116085615f,
     0.00725372555f,
     0.00440874137f,
     0.00260580285f,
     0.00149745797f,
     0.000836518419f,
     0.00045418588f,
     0.000239643341f,
     0.000122860773f,
     6.11962969e-05f,
     2.96110484e-05f,
     1.39173389e-05f,
     6.35320885e-06f,
     2.81662346e-06f,
     1.21263577e-06f,
     5.06953199e-07f,
     2.05784943e-07f,
     8.1103984e-08f,
     3.10334585e-08f},
    {-0.39894259f,     -0.392907083f,    -0.375344336f,    -0.347800255f,    -0.312600672f,    -0.272527218f,
     -0.230456993f,    -0.189029619f,    -0.150393754f,    -0.116061904f,    -0.0868779421f,   -0.0630796552f,
     -0.044425156f,    -0.0303478949f,   -0.0201088861f,   -0.0129243098f,   -0.00805724412f,  -0.00487220474f,
     -0.00285775028f,  -0.00162585883f,  -0.000897224527f, -0.000480262999f, -0.000249354256f, -0.000125578168f,
     -6.13438533e-05f, -2.90661555e-05f, -1.33586827e-05f, -5.95523943e-06f, -2.57510078e-06f, -1.08006202e-06f,
     -4.39402527e-07f, -1.73394653e-07f},
    {1.55299658e-05f, 0.0342368111f,  0.0654166788f,   0.0909330472f,   0.108988136f,    0.118791342f,
     0.120569758f,    0.115407571f,   0.104966842f,    0.0911606327f,   0.0758480281f,   0.0606028698f,
     0.0465816334f,   0.0344894715f,  0.0246239509f,   0.0169661846f,   0.0112889325f,   0.00725769112f,
     0.00451040454f,  0.00271060807f, 0.0015757595f,   0.000886344933f, 0.000482510048f, 0.000254266051f,
     0.000129725493f, 6.4089123e-05f, 3.06636939e-05f, 1.42101408e-05f, 6.37900166e-06f, 2.77414642e-06f,
     1.16886918e-06f, 4.77195329e-07f},
    {0.0662768632f,    0.0634003431f,   0.0548608601f,    0.0420225784f,    0.0266789626f,    0.0108245444f,
     -0.00370165147f,  -0.0155020505f,  -0.0237819795f,   -0.028370643f,    -0.0296220351f,   -0.0282408036f,
     -0.0250860061f,   -0.0209983308f,  -0.0166791938f,   -0.0126305996f,   -0.00914850552f,  -0.0063531762f,
     -0.00423769793f,  -0.0027187888f,  -0.00167961384f,  -0.00100004952f,  -0.000574289996f, -0.000318276579f,
     -0.000170319981f, -8.8044937e-05f, -4.39829528e-05f, -2.12396353e-05f, -9.91780598e-06f, -4.47917682e-06f,
     -1.95699795e-06f, -8.27326119e-07f},
};

/* Its derivative on the left, E(a) = Q(a) - a phi(a), in the same pieces: absolute error 9e-7. */
static const float v_gelu_e[4][32] __attribute__((aligned(64), unused)) = {
    {0.5f,
     0.36209324f,
     0.232395187f,
     0.118025221f,
     0.0241361335f,
     -0.0465926155f,
     -0.0940234512f,
     -0.120224006f,
     -0.128840595f,
     -0.124341443f,
     -0.111289084f,
     -0.0937643424f,
     -0.0750066265f,
     -0.0572765432f,
     -0.0419014916f,
     -0.0294407587f,
     -0.0199034009f,
     -0.0129645262f,
     -0.00814500358f,
     -0.00493954262f,
     -0.00289352005f,
     -0.00163809885f,
     -0.000896635524f,
     -0.000474690401f,
     -0.000243139235f,
     -0.000120520541f,
     -5.78260806e-05f,
     -2.68611802e-05f,
     -1.20819295e-05f,
     -5.26283247e-06f,
     -2.22039057e-06f,
     -9.07432025e-07f},
    {-0.797883451f,   -0.773835242f,   -0.704916835f,   -0.600172162f,   -0.47272107f,    -0.337346435f,
     -0.207986757f,   -0.0956823453f,  -0.00735170068f, 0.0544775426f,   0.0911022425f,   0.10653124f,
     0.106177196f,    0.095662199f,    0.0799392909f,   0.0628048107f,   0.0467684269f,   0.0331825428f,
     0.0225122701f,   0.0146418894f,   0.00914686825f,  0.00549641578f,  0.00318064936f,  0.00177410187f,
     0.00095453352f,  0.000495701912f, 0.000248593482f, 0.000120444602f, 5.63993781e-05f, 2.55322648e-05f,
     1.11777081e-05f, 4.73336377e-06f},
    {0.0f,
     0.135775343f,
     0.253459871f,
     0.338498384f,
     0.382509202f,
     0.384404331f,
     0.349829108f,
     0.289229035f,
     0.215184286f,
     0.1397558f,
     0.0724579245f,
     0.0191939976f,
     -0.017826207f,
     -0.039418418f,
     -0.0483603291f,
     -0.0482826754f,
     -0.0427681319f,
     -0.0347788893f,
     -0.0264144111f,
     -0.0189240389f,
     -0.0128699224f,
     -0.00834425446f,
     -0.00517339585f,
     -0.00307414657f,
     -0.00175382814f,
     -0.000961953017f,
     -0.000507806777f,
     -0.000258230284f,
     -0.000126590079f,
     -5.98610713e-05f,
     -2.73192854e-05f,
     -1.20384193e-05f},
    {0.265391558f,   0.247511059f,    0.197401866f,   0.124754429f,   0.0429816321f,  -0.033997491f,  -0.0948133543f,
     -0.132729486f,  -0.146323577f,   -0.138804451f,  -0.11638882f,   -0.0863462985f, -0.0552822351f, -0.0280255675f,
     -0.0072283023f, 0.00643809279f,  0.0137266032f,  0.0161524694f,  0.0154175982f,  0.0130215185f,  0.0100733154f,
     0.00726327579f, 0.00493123475f,  0.0031729436f,  0.00194347498f, 0.00113681238f, 0.0006365382f,  0.000341806881f,
     0.00017627285f, 8.74065881e-05f, 4.1713065e-05f, 1.91740874e-05f},
};

/* A cubic in each piece, and a = |x| cut off where it no longer matters. */
MF_INLINE vf v_pieces(vf x, const float table[4][32], vf *cut) {
    /* pieces centred on n w, w = 5.5 / 31.5; n in the low bits of t */
    const vf magic = v_set(12582912.0f);
    vf a = (vf)_mm512_range_ps((__m512)x, (__m512)v_set(5.49f), 2 | 2 << 2); /* the smaller absolute value, sign 0 */
    vf t = a * 5.72727258f + magic;
    vf r = a - (t - magic) * 0.174603179f;
    vf p[4];
    MF_UNROLL
    for (int i = 0; i < 4; i++)
        p[i] = (vf)_mm512_permutex2var_ps(_mm512_load_ps(table[i]), (__m512i)t, _mm512_load_ps(table[i] + 16));
    *cut = a;
    return ((p[3] * r + p[2]) * r + p[1]) * r + p[0];
}

MF_INLINE vf v_gelu(vf x) {
    vf a, q = v_pieces(x, v_gelu_q, &a);
    return v_max(x, (vf){0}) - a * q;
}

/* Phi(x) + x phi(x): E(|x|) on the left, 1 - E(|x|) on the right. */
MF_INLINE vf v_gelu_grad(vf x) {
    vf a, e = v_pieces(x, v_gelu_e, &a);
    return v_select(x > 0.0f, 1.0f - e, e);
}
#else
/* Q(a), and a = |x| cut off where Q no longer matters. */
MF_INLINE vf v_gelu_tail(vf x, vf *cut) {
    static const float q[16] = {0.0034669661f,  -0.0281370953f, 0.102558896f,   -0.215001404f,
                                0.267248183f,   -0.154958308f,  -0.0716283545f, 0.211644515f,
                                -0.136374012f,  -0.0479902588f, 0.122202583f,   -0.0365550667f,
                                -0.0439194404f, 0.026552923f,   0.00644520018f, -0.00555531681f};
    vf a = v_min(v_abs(x), v_set(5.4f));
    vf t = a * (2 / 5.4f) - 1.0f;
    vf p = v_set(q[15]);
    MF_UNROLL
    for (int i = 14; i >= 0; i--)
        p = p * t + q[i];
    *cut = a;
    return p;
}
MF_INLINE vf v_gelu(vf x) {
    vf a, q = v_gelu_tail(x, &a);
    return v_max(x, (vf){0}) - a * q;
}

/* Its derivative: Phi(x) + x phi(x), with Phi(x) = 1 - Q(|x|) on the right and Q(|x|) on the left. */
MF_INLINE vf v_gelu_grad(vf x) {
    vf a, q = v_gelu_tail(x, &a);
    vf phi = v_exp(x * x * -0.5f) * 0.39894228f;
    return v_select(x > 0.0f, 1.0f - q, q) + x * phi;
}
#endif

/* The tanh form of GELU, as x times a logistic function.  Below -10 it is 0 to every digit, so that minus infinity is
 * cut off there; a NaN stays one (v_max gives its second argument then). */
MF_INLINE vf v_gelu_tanh(vf x) {
    x = v_max(v_set(-10.0f), x);
    return x / (1.0f + v_exp(x * (x * x * -0.0713548163f - 1.59576912f)));
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
    case MF_ACT_GELU_TANH:
        return v_gelu_tanh(x);
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
    X(gemm)                                                                                                            \
    X(epilogue)                                                                                                        \
    X(dwconv)                                                                                                          \
    X(conv_plane)                                                                                                      \
    X(layernorm)                                                                                                       \
    X(l2norm) X(column_sums) X(affine) X(act) X(add) X(mul) X(add_scalar) X(mul_scalar) X(sum_strided) X(max_into)     \
        X(channel_max) X(gated_mean) X(linear_keys) X(linear_queries) X(softmax_keys) X(softmax_queries) X(gemm_plain) \
            X(gemm_ta) X(transpose) X(act_grad) X(lerp) X(dropout) X(axpy) X(dot) X(update) X(softmax_row)             \
                X(column_dots) X(affine_grad) X(layernorm_grad) X(layernorm_columns) X(l2norm_grad) X(maxpool_grad)    \
                    X(channel_max_grad) X(gated_mean_grad) X(gated_channels) X(dwconv_weight) X(linear_grad)           \
                        X(softmax_grad) X(scan_dot) X(scan_widen) X(scan_panel) X(scan_pick)
#define MF_DECLARE(name) __typeof__(*((struct mf_cpu_isa *)0)->name) MF_FN(name);
MF_KERNELS(MF_DECLARE)

#endif
