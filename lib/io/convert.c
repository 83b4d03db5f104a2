/* Values of one type to another, correctly rounded (to nearest, ties to even), and the search for NaN and infinity. */
#include <assert.h>
#include <string.h>

#include "io/weights.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define HAVE_F16C 1
#endif

/* Types that may lie at any address. */
#define ACCESS(name, type)                                                                                             \
    typedef type any_##name __attribute__((aligned(1), may_alias));                                                    \
    static inline type load_##name(const void *p, size_t i) {                                                          \
        return ((const any_##name *)p)[i];                                                                             \
    }                                                                                                                  \
    static inline __attribute__((unused)) void store_##name(void *p, size_t i, type v) {                               \
        ((any_##name *)p)[i] = v;                                                                                      \
    }

ACCESS(u16, uint16_t)
ACCESS(u32, uint32_t)
ACCESS(u64, uint64_t)
ACCESS(f32, float)
ACCESS(f64, double)
ACCESS(u8, uint8_t)
ACCESS(i8, int8_t)
ACCESS(i16, int16_t)
ACCESS(i32, int32_t)
ACCESS(i64, int64_t)

static inline float as_f32(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof(f));
    return f;
}

static inline uint32_t as_u32(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    return u;
}

/* ---- one value ----
 * After F. Giesen, "Half to float done quic(k)" and "float->half variants": subnormals go through one floating
 * addition that lets the hardware shift and round.  NaNs keep the upper part of their payload and become quiet, as
 * the instructions of F16C do it. */

static inline uint32_t f16_bits(uint16_t h) {
    uint32_t em = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t normal = em + (112u << 23);
    uint32_t special = em + (224u << 23);
    uint32_t quiet = em > (31u << 23) ? 1u << 22 : 0;
    uint32_t small = as_u32(as_f32(em + (113u << 23)) - as_f32(113u << 23));
    uint32_t u = em < (1u << 23) ? small : em < (31u << 23) ? normal : special | quiet;
    return u | sign;
}

static inline uint16_t f32_to_f16(uint32_t u) {
    uint32_t sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    uint32_t magic = 126u << 23; /* the ulp of 0.5 is 2^-24, the smallest f16 */
    uint32_t small = as_u32(as_f32(a < (113u << 23) ? a : 0) + as_f32(magic)) - magic;
    uint32_t normal = (a - (112u << 23) + 0xfff + (a >> 13 & 1)) >> 13;
    uint32_t special = a > 0x7f800000 ? 0x7e00 | (a >> 13 & 0x3ff) : 0x7c00;
    uint32_t h = a < (113u << 23) ? small : a < (143u << 23) ? normal : special;
    return (uint16_t)(h | sign);
}

static inline uint32_t bf16_bits(uint16_t b) {
    uint32_t u = (uint32_t)b << 16;
    return (u & 0x7fffffff) > 0x7f800000 ? u | 1u << 22 : u;
}

static inline uint16_t f32_to_bf16(uint32_t u) {
    uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16, nan = u >> 16 | 0x40;
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

/* Rounded to odd: what is cut off leaves its trace in the last bit, so that a second rounding to a type with at least
 * two bits less is right (Boldo and Melquiond 2008). */
static inline uint32_t f64_to_f32_odd(double d) {
    uint32_t u = as_u32((float)d);
    double back = as_f32(u);
    if (back == d || back != back)
        return u;
    /* Towards zero, then the last bit. */
    if ((back < 0 ? -back : back) > (d < 0 ? -d : d))
        u--;
    return u | 1;
}

static inline double i64_to_f64_odd(int64_t v) {
    enum { CUT = 0x7ff };
    int64_t limit = (int64_t)1 << 53;
    if ((v > limit || v < -limit) && (v & CUT))
        v = (v & ~(int64_t)CUT) | (CUT + 1);
    return (double)v;
}

/* ---- arrays ---- */

#if HAVE_F16C
/* __builtin_cpu_supports() knows whether the system keeps AVX registers, but clang's does not know F16C.  In a virtual
 * machine the question itself takes microseconds: short arrays go without. */
static int use_f16c(size_t count) {
    unsigned a, b, c, d;
    return count >= 1024 && __builtin_cpu_supports("avx") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

__attribute__((target("avx,f16c"))) static size_t f16_to_f32_f16c(void *dst, const void *src, size_t count) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps((float *)((char *)dst + 4 * i),
                         _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const char *)src + 2 * i))));
    return i;
}

__attribute__((target("avx,f16c"))) static size_t f32_to_f16_f16c(void *dst, const void *src, size_t count) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128(
            (__m128i *)((char *)dst + 2 * i),
            _mm256_cvtps_ph(_mm256_loadu_ps((const float *)((const char *)src + 4 * i)), _MM_FROUND_TO_NEAREST_INT));
    return i;
}
#endif

static void f16_to_f32_all(void *restrict dst, const void *restrict src, size_t count) {
    size_t i = 0;
#if HAVE_F16C
    if (use_f16c(count))
        i = f16_to_f32_f16c(dst, src, count);
#endif
    for (; i < count; i++)
        store_u32(dst, i, f16_bits(load_u16(src, i)));
}

static void f32_to_f16_all(void *restrict dst, const void *restrict src, size_t count) {
    size_t i = 0;
#if HAVE_F16C
    if (use_f16c(count))
        i = f32_to_f16_f16c(dst, src, count);
#endif
    for (; i < count; i++)
        store_u16(dst, i, f32_to_f16(load_u32(src, i)));
}

static void bf16_to_f32_all(void *restrict dst, const void *restrict src, size_t count) {
    for (size_t i = 0; i < count; i++)
        store_u32(dst, i, bf16_bits(load_u16(src, i)));
}

static void f32_to_bf16_all(void *restrict dst, const void *restrict src, size_t count) {
    for (size_t i = 0; i < count; i++)
        store_u16(dst, i, f32_to_bf16(load_u32(src, i)));
}

static void f32_to_f64_all(void *restrict dst, const void *restrict src, size_t count) {
    for (size_t i = 0; i < count; i++)
        store_f64(dst, i, load_f32(src, i));
}

static void f64_to_f32_all(void *restrict dst, const void *restrict src, size_t count) {
    for (size_t i = 0; i < count; i++)
        store_f32(dst, i, (float)load_f64(src, i));
}

#define EACH(expression)                                                                                               \
    for (size_t i = 0; i < count; i++)                                                                                 \
        dst[i] = (expression);                                                                                         \
    break

/* Exact, but for long integers: `odd` rounds those for a second rounding. */
static void to_f64(double *dst, mf_dtype from, const void *src, size_t count, int odd) {
    switch (from) {
    case MF_F32:
        EACH(load_f32(src, i));
    case MF_F64:
        EACH(load_f64(src, i));
    case MF_F16:
        EACH(as_f32(f16_bits(load_u16(src, i))));
    case MF_BF16:
        EACH(as_f32(bf16_bits(load_u16(src, i))));
    case MF_U8:
        EACH(load_u8(src, i));
    case MF_I8:
        EACH(load_i8(src, i));
    case MF_I16:
        EACH(load_i16(src, i));
    case MF_I32:
        EACH(load_i32(src, i));
    case MF_I64:
        EACH(odd ? i64_to_f64_odd(load_i64(src, i)) : (double)load_i64(src, i));
    case MF_BOOL:
        EACH(load_u8(src, i) != 0);
    case MF_DTYPE_COUNT:
        break;
    }
}

static void from_f64(mf_dtype to, void *dst, const double *src, size_t count) {
    if (to == MF_F32)
        f64_to_f32_all(dst, src, count);
    else if (to == MF_F64)
        memcpy(dst, src, count * sizeof(*src));
    else if (to == MF_F16)
        for (size_t i = 0; i < count; i++)
            store_u16(dst, i, f32_to_f16(f64_to_f32_odd(src[i])));
    else if (to == MF_BF16)
        for (size_t i = 0; i < count; i++)
            store_u16(dst, i, f32_to_bf16(f64_to_f32_odd(src[i])));
}

#define PAIR(to, from) ((to)*MF_DTYPE_COUNT + (from))

void mf_convert(mf_dtype to, void *dst, mf_dtype from, const void *src, size_t count) {
    enum { PIECE = 256 };
    double piece[PIECE];
    assert(to == from || to <= MF_BF16);
    if (to == from) {
        if (count)
            memcpy(dst, src, count * mf_dtype_size(to));
        return;
    }
    switch (PAIR((int)to, (int)from)) {
    case PAIR(MF_F32, MF_F16):
        f16_to_f32_all(dst, src, count);
        return;
    case PAIR(MF_F16, MF_F32):
        f32_to_f16_all(dst, src, count);
        return;
    case PAIR(MF_F32, MF_BF16):
        bf16_to_f32_all(dst, src, count);
        return;
    case PAIR(MF_BF16, MF_F32):
        f32_to_bf16_all(dst, src, count);
        return;
    case PAIR(MF_F64, MF_F32):
        f32_to_f64_all(dst, src, count);
        return;
    case PAIR(MF_F32, MF_F64):
        f64_to_f32_all(dst, src, count);
        return;
    }
    for (size_t i = 0; i < count; i += PIECE) {
        size_t n = count - i < PIECE ? count - i : PIECE;
        to_f64(piece, from, (const char *)src + i * mf_dtype_size(from), n, to != MF_F64);
        from_f64(to, (char *)dst + i * mf_dtype_size(to), piece, n);
    }
}

/* ---- the search ----
 * NaN and infinity are the values whose exponent is all ones.  A block is reduced without a branch, which compilers
 * vectorise; only a block that holds one is looked at value by value. */
#define FIND(name, access, type, mask)                                                                                 \
    static size_t name(const void *data, size_t count) {                                                               \
        enum { BLOCK = 2048 };                                                                                         \
        for (size_t begin = 0; begin < count; begin += BLOCK) {                                                        \
            size_t end = count - begin < BLOCK ? count : begin + BLOCK;                                                \
            type bad = 0;                                                                                              \
            for (size_t i = begin; i < end; i++)                                                                       \
                bad |= (load_##access(data, i) & (mask)) == (mask) ? (type)-1 : (type)0;                               \
            for (size_t i = begin; bad && i < end; i++)                                                                \
                if ((load_##access(data, i) & (mask)) == (mask))                                                       \
                    return i;                                                                                          \
        }                                                                                                              \
        return count;                                                                                                  \
    }

FIND(find_f16, u16, uint16_t, 0x7c00)
FIND(find_bf16, u16, uint16_t, 0x7f80)
FIND(find_f32, u32, uint32_t, 0x7f800000u)
FIND(find_f64, u64, uint64_t, 0x7ff0000000000000u)

size_t mf_find_nonfinite(mf_dtype dtype, const void *data, size_t count) {
    switch (dtype) {
    case MF_F32:
        return find_f32(data, count);
    case MF_F64:
        return find_f64(data, count);
    case MF_F16:
        return find_f16(data, count);
    case MF_BF16:
        return find_bf16(data, count);
    default:
        return count; /* integers are finite */
    }
}
