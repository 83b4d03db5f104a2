/* Random numbers by counting: a stream is named by what it is for (seed, epoch, pair, step of the augmentation), and so
 * the same whatever ran before it, in whichever thread.  Generator: splitmix64 (Steele et al., 2014). */
#ifndef MFRGN_TRAIN_DRAW_H
#define MFRGN_TRAIN_DRAW_H

#include <stddef.h>
#include <stdint.h>

typedef struct mf_draw {
    uint64_t base, counter;
} mf_draw;

/* The streams of a run. */
typedef enum mf_draw_use {
    MF_DRAW_SHUFFLE = 1,
    MF_DRAW_NEIGHBOURS = 2,
    MF_DRAW_REPLACE = 3,
    MF_DRAW_AUGMENT = 16 /* and those after it: a step of the augmentation each */
} mf_draw_use;

static inline uint64_t mf_draw_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline mf_draw mf_draw_begin(uint64_t seed, uint64_t epoch, uint64_t item, uint64_t use) {
    uint64_t h = mf_draw_mix(mf_draw_mix(mf_draw_mix(mf_draw_mix(seed) ^ epoch) ^ item) ^ use);
    return (mf_draw){h, 0};
}

static inline uint64_t mf_draw_bits(mf_draw *d) {
    return mf_draw_mix(d->base + d->counter++ * 0x9e3779b97f4a7c15u);
}

/* In [0, 1). */
static inline double mf_draw_unit(mf_draw *d) {
    return (double)(mf_draw_bits(d) >> 11) * 0x1p-53;
}

static inline double mf_draw_between(mf_draw *d, double low, double high) {
    return low + (high - low) * mf_draw_unit(d);
}

/* 0 .. n - 1; n >= 1 */
static inline uint64_t mf_draw_below(mf_draw *d, uint64_t n) {
    return (uint64_t)(((unsigned __int128)mf_draw_bits(d) * n) >> 64);
}

static inline int mf_draw_chance(mf_draw *d, double p) {
    return mf_draw_unit(d) < p;
}

/* Fisher and Yates's shuffle. */
static inline void mf_draw_shuffle(mf_draw *d, uint32_t *item, size_t n) {
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)mf_draw_below(d, i);
        uint32_t t = item[i - 1];
        item[i - 1] = item[k];
        item[k] = t;
    }
}

#endif
