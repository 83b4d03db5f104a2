/* The register tile that the products of k_gemm.c and k_gemm_ta.c share, and what goes with it. */
#ifndef MFRGN_CPU_TILE_H
#define MFRGN_CPU_TILE_H

#include "backends/cpu/vec.h"

#define MR 6
#if VL == 16 || defined(__aarch64__)
#define NV 4
#else
#define NV 2
#endif
#define NR (NV * VL)
enum { STEPS = 2 };

typedef struct tile {
    int64_t k;
    const float *a;
    int64_t rs;
    const float *b;    /* the panel, as wide as the tile */
    const float *from; /* NULL, or what is added: the sum of the blocks before */
    int64_t ldfrom;
    float *to;
    int64_t ldto;
    const float *bias, *residual; /* NULL, or added in registers; residual has ldto */
    /* what is read after this panel, to be fetched into L2: a line each step, `run` lines (even) in a row, then `jump`
     * bytes on */
    const char *next;
    int64_t run, jump;
} tile;

/* One step over k: MR values of A with the stride rs. */
MF_INLINE void step(vf acc[MR][NV], const float *a, int64_t rs, const float *b, const int mr, const int nv) {
    vf row[NV];
    MF_UNROLL
    for (int j = 0; j < nv; j++)
        row[j] = v_load(b + j * VL);
    MF_UNROLL
    for (int i = 0; i < mr; i++) {
        float x = a[i * rs];
        MF_UNROLL
        for (int j = 0; j < nv; j++)
            acc[i][j] += x * row[j];
    }
}

/* packed: A is a panel too, MR values a step. */
MF_INLINE void multiply(const tile *t, const int mr, const int nv, const int packed) {
    vf acc[MR][NV];
    const float *a = t->a, *b = t->b;
    const char *next = t->next;
    const int64_t rs = packed ? 1 : t->rs, cs = packed ? MR : 1;
    int64_t k = t->k;
    MF_UNROLL
    for (int i = 0; i < mr; i++) {
        MF_UNROLL
        for (int j = 0; j < nv; j++) {
            acc[i][j] = (vf){0};
            if (VL == 16 || j % 2 == 0)
                __builtin_prefetch(t->to + i * t->ldto + j * VL, 1, 3);
        }
    }
    if (t->residual && t->residual != t->to) {
        MF_UNROLL
        for (int i = 0; i < mr; i++) {
            MF_UNROLL
            for (int j = 0; j < nv; j++)
                if (VL == 16 || j % 2 == 0)
                    __builtin_prefetch(t->residual + i * t->ldto + j * VL, 0, 3);
        }
    }
    /* Pointers move once in STEPS: each integer operation may take a multiply-add's place on its port. */
    while (k >= STEPS) {
        int64_t n = mf_min64(t->run, k / STEPS * STEPS);
        k -= n;
        for (; n > 0; n -= STEPS, a += STEPS * cs, b += STEPS * nv * VL, next += STEPS * 64) {
            MF_UNROLL
            for (int u = 0; u < STEPS; u++) {
                __builtin_prefetch(next + u * 64, 0, 2);
                step(acc, a + u * cs, rs, b + u * nv * VL, mr, nv);
            }
        }
        next += t->jump;
    }
    for (; k > 0; k--, a += cs, b += nv * VL)
        step(acc, a, rs, b, mr, nv);
    if (t->from) {
        MF_UNROLL
        for (int i = 0; i < mr; i++) {
            MF_UNROLL
            for (int j = 0; j < nv; j++)
                acc[i][j] += v_load(t->from + i * t->ldfrom + j * VL);
        }
    }
    if (t->bias) {
        MF_UNROLL
        for (int j = 0; j < nv; j++) {
            vf bias = v_load(t->bias + j * VL);
            MF_UNROLL
            for (int i = 0; i < mr; i++)
                acc[i][j] += bias;
        }
    }
    if (t->residual) {
        MF_UNROLL
        for (int i = 0; i < mr; i++) {
            MF_UNROLL
            for (int j = 0; j < nv; j++)
                acc[i][j] += v_load(t->residual + i * t->ldto + j * VL);
        }
    }
    MF_UNROLL
    for (int i = 0; i < mr; i++) {
        MF_UNROLL
        for (int j = 0; j < nv; j++)
            v_store(t->to + i * t->ldto + j * VL, acc[i][j]);
    }
}

typedef void (*tile_fn)(const tile *t);

/* Tables of tiles of up to MR rows and NV vectors: table[nv - 1][mr - 1]. */
#define TILE(name, packed, m, n)                                                                                       \
    static void name##_##m##_##n(const tile *t) {                                                                      \
        multiply(t, m, n, packed);                                                                                     \
    }
#define TILES(name, packed, n)                                                                                         \
    TILE(name, packed, 1, n)                                                                                           \
    TILE(name, packed, 2, n)                                                                                           \
    TILE(name, packed, 3, n)                                                                                           \
    TILE(name, packed, 4, n) TILE(name, packed, 5, n) TILE(name, packed, 6, n)
#define TILE_ROW(name, n)                                                                                              \
    { name##_1_##n, name##_2_##n, name##_3_##n, name##_4_##n, name##_5_##n, name##_6_##n }
#if NV == 4
#define TILE_TABLE(name, packed)                                                                                       \
    TILES(name, packed, 1)                                                                                             \
    TILES(name, packed, 2)                                                                                             \
    TILES(name, packed, 3)                                                                                             \
    TILES(name, packed, 4)                                                                                             \
    static const tile_fn name##s[NV][MR] = {TILE_ROW(name, 1), TILE_ROW(name, 2), TILE_ROW(name, 3), TILE_ROW(name, 4)};
#else
#define TILE_TABLE(name, packed)                                                                                       \
    TILES(name, packed, 1)                                                                                             \
    TILES(name, packed, 2)                                                                                             \
    static const tile_fn name##s[NV][MR] = {TILE_ROW(name, 1), TILE_ROW(name, 2)};
#endif

/* What to fetch while a panel is multiplied: `rows` runs of `run` lines, `stride` bytes from one to the next. */
typedef struct ahead {
    const char *from;
    int64_t rows, run, stride;
} ahead;

/* [k][width], columns beyond cols zero */
MF_INLINE void pack_b(const float *b, int64_t ldb, int64_t k, int64_t cols, int64_t width, float *to) {
    for (int64_t p = 0; p < k; p++, b += ldb, to += width)
        for (int64_t j = 0; j < width; j += VL)
            v_store(to + j, j + VL <= cols ? v_load(b + j) : v_load_n(b + j, (int)mf_min64(VL, cols - j)));
}

#endif
