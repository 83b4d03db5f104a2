/* Numbers that are the same on every machine: integer hashing for every decision, and functions made of + - * / sqrt
 * and floor alone, which IEEE 754 rounds in one way.  (Built with -ffp-contract=off; libm's sine differs between
 * libraries in the last bit, and a picture has a hundred thousand chances to show it.) */
#ifndef MFRGN_DATA_WORLD_NUMBER_H
#define MFRGN_DATA_WORLD_NUMBER_H

#include <math.h>
#include <stdint.h>

typedef struct mf_rgb {
    float r, g, b;
} mf_rgb;

/* splitmix64's finaliser (Steele, Lea, Flood 2014). */
static inline uint64_t mf_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static inline uint64_t mf_mix2(uint64_t seed, int64_t a, int64_t b) {
    return mf_mix(mf_mix(seed ^ (uint64_t)a * 0xd6e8feb86659fd93u) ^ (uint64_t)b * 0xa0761d6478bd642fu);
}

/* The k-th number of a hash, 0 <= x < 1. */
static inline float mf_unit(uint64_t hash, int k) {
    return (float)(mf_mix(hash + (uint64_t)k * 0x632be59bd9b4e019u) >> 40) * (1.0f / 16777216.0f);
}

static inline float mf_between(uint64_t hash, int k, float low, float high) {
    return low + (high - low) * mf_unit(hash, k);
}

/* 0 .. n - 1 */
static inline int mf_pick(uint64_t hash, int k, int n) {
    return (int)((mf_mix(hash + (uint64_t)k * 0x632be59bd9b4e019u) >> 32) * (uint64_t)n >> 32);
}

/* Of numbers below 2^31. */
static inline float mf_floor(float x) {
    float whole = (float)(int32_t)x;
    return whole > x ? whole - 1 : whole;
}

static inline float mf_clamp(float x, float low, float high) {
    return x < low ? low : x > high ? high : x;
}

static inline float mf_rise(float x, float from, float to) {
    x = mf_clamp((x - from) / (to - from), 0, 1);
    return x * x * (3 - 2 * x);
}

static inline float mf_fraction(float x) {
    return x - mf_floor(x);
}

static inline uint32_t mf_mix32(int32_t x, int32_t y) {
    uint32_t h = (uint32_t)x * 0x9e3779b1u ^ (uint32_t)y * 0x85ebca77u;
    h = (h ^ h >> 15) * 0x2c1b3c6du;
    h = (h ^ h >> 12) * 0x297a2d39u;
    return h ^ h >> 15;
}

/* Value noise on a lattice of side 1, 0 .. 1; (ix, iy) is added to the lattice point. */
static inline float mf_noise(float x, float y, int32_t ix, int32_t iy) {
    float fx = mf_floor(x), fy = mf_floor(y), u = x - fx, v = y - fy;
    ix += (int32_t)fx;
    iy += (int32_t)fy;
    u = u * u * (3 - 2 * u);
    v = v * v * (3 - 2 * v);
    const float scale = 1.0f / 65536.0f;
    float a = (float)(mf_mix32(ix, iy) >> 16), b = (float)(mf_mix32(ix + 1, iy) >> 16);
    float c = (float)(mf_mix32(ix, iy + 1) >> 16), d = (float)(mf_mix32(ix + 1, iy + 1) >> 16);
    float top = a + (b - a) * u, low = c + (d - c) * u;
    return (top + (low - top) * v) * scale;
}

/* Sine and cosine of an angle in turns; 2e-6. */
static inline void mf_sincos(float turns, float *sine, float *cosine) {
    float quarter = mf_floor(turns * 4 + 0.5f), x = (turns * 4 - quarter) * 1.57079633f, x2 = x * x;
    float s = x * (1 + x2 * (-0.16666667f + x2 * (0.0083333310f - x2 * 0.00019840874f)));
    float c = 1 + x2 * (-0.5f + x2 * (0.041666638f + x2 * (-0.0013888378f + x2 * 0.000024433157f)));
    switch ((int)(quarter - 4 * mf_floor(quarter / 4))) {
    case 0:
        *sine = s, *cosine = c;
        break;
    case 1:
        *sine = c, *cosine = -s;
        break;
    case 2:
        *sine = -s, *cosine = -c;
        break;
    default:
        *sine = -c, *cosine = s;
    }
}

/* atan(x) in turns, for any x; 2e-6 (after Abramowitz and Stegun 4.4.49). */
static inline float mf_atan(float x) {
    float a = x < 0 ? -x : x, y = a > 1 ? 1 / a : a, y2 = y * y;
    float t =
        y * (0.15915132f +
             y2 * (-0.05293867f + y2 * (0.0308034f + y2 * (-0.01853087f + y2 * (0.00838003f - y2 * 0.00186549f)))));
    t = a > 1 ? 0.25f - t : t;
    return x < 0 ? -t : t;
}

/* The direction (x, y), y: north, clockwise from north in turns, -0.5 .. 0.5. */
static inline float mf_azimuth(float x, float y) {
    float ax = x < 0 ? -x : x, ay = y < 0 ? -y : y, t;
    if (ax == 0 && ay == 0)
        return 0;
    t = ax > ay ? 0.25f - mf_atan(ay / ax) : mf_atan(ax / ay);
    t = y < 0 ? 0.5f - t : t;
    return x < 0 ? -t : t;
}

static inline mf_rgb mf_blend(mf_rgb a, mf_rgb b, float t) {
    return (mf_rgb){a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

static inline mf_rgb mf_scale(mf_rgb a, float s) {
    return (mf_rgb){a.r * s, a.g * s, a.b * s};
}

static inline mf_rgb mf_times(mf_rgb a, mf_rgb b) {
    return (mf_rgb){a.r * b.r, a.g * b.g, a.b * b.b};
}

#endif
