/* What the kernels of attention and of its gradient share: small products, the feature map, heads as dense rows. */
#ifndef MFRGN_CPU_ATTENTION_H
#define MFRGN_CPU_ATTENTION_H

#include "backends/cpu/vec.h"

#if VL == 16 || defined(__aarch64__)
enum { TILE = 6, WIDE = 4 };
#else
enum { TILE = 6, WIDE = 2 };
#endif

typedef struct product_tile {
    const float *a;
    int64_t ld, k;
    const float *b;
    float *to;
    int64_t dp;
} product_tile;

/* rows x nv vectors: a[i ld + p], or turned a[p ld + i] */
MF_INLINE void product_rows(const product_tile *t, const int turned, const int rows, const int nv) {
    vf acc[TILE][WIDE];
    const float *a = t->a, *b = t->b;
    const int64_t ld = t->ld, dp = t->dp;
    MF_UNROLL
    for (int i = 0; i < rows; i++) {
        MF_UNROLL
        for (int j = 0; j < nv; j++)
            acc[i][j] = (vf){0};
    }
    for (int64_t p = 0; p < t->k; p++, a += turned ? ld : 1, b += dp) {
        vf v[WIDE];
        MF_UNROLL
        for (int j = 0; j < nv; j++)
            v[j] = v_load(b + j * VL);
        MF_UNROLL
        for (int i = 0; i < rows; i++) {
            float x = turned ? a[i] : a[i * ld];
            MF_UNROLL
            for (int j = 0; j < nv; j++)
                acc[i][j] += x * v[j];
        }
    }
    MF_UNROLL
    for (int i = 0; i < rows; i++) {
        MF_UNROLL
        for (int j = 0; j < nv; j++)
            v_store(t->to + i * dp + j * VL, acc[i][j]);
    }
}

#define PRODUCT(rows, nv)                                                                                              \
    __attribute__((unused)) static void product_##rows##_##nv(const product_tile *t) {                                 \
        product_rows(t, 0, rows, nv);                                                                                  \
    }                                                                                                                  \
    __attribute__((unused)) static void turned_##rows##_##nv(const product_tile *t) {                                  \
        product_rows(t, 1, rows, nv);                                                                                  \
    }
#define PRODUCTS(nv) PRODUCT(1, nv) PRODUCT(2, nv) PRODUCT(3, nv) PRODUCT(4, nv) PRODUCT(5, nv) PRODUCT(6, nv)
#define PRODUCT_ROW(name, nv)                                                                                          \
    { name##_1_##nv, name##_2_##nv, name##_3_##nv, name##_4_##nv, name##_5_##nv, name##_6_##nv }
PRODUCTS(1)
PRODUCTS(2)
typedef void (*product_fn)(const product_tile *t);
#if VL == 16 || defined(__aarch64__)
PRODUCTS(3)
PRODUCTS(4)
static const product_fn products[2][WIDE][TILE] = {
    {PRODUCT_ROW(product, 1), PRODUCT_ROW(product, 2), PRODUCT_ROW(product, 3), PRODUCT_ROW(product, 4)},
    {PRODUCT_ROW(turned, 1), PRODUCT_ROW(turned, 2), PRODUCT_ROW(turned, 3), PRODUCT_ROW(turned, 4)}};
#else
static const product_fn products[2][WIDE][TILE] = {{PRODUCT_ROW(product, 1), PRODUCT_ROW(product, 2)},
                                                   {PRODUCT_ROW(turned, 1), PRODUCT_ROW(turned, 2)}};
#endif

/* Rows of d channels that will be written. */
MF_INLINE void will_write(float *x, int64_t rows, int64_t c, int64_t d) {
    for (int64_t i = 0; i < rows; i++, x += c)
        for (int64_t j = 0; j < d; j += 16)
            __builtin_prefetch(x + j, 1, 3);
}

/* to[m][dp] = a b with b [k][dp], dp a multiple of VL; a[i ld + p], or turned a[p ld + i] */
__attribute__((unused)) static void product(const float *a, int64_t ld, int turned, int64_t m, int64_t k,
                                            const float *b, int64_t dp, float *to) {
    int64_t tiles = mf_div_up(m, TILE);
    for (int64_t n = 0, nv; n < dp; n += nv * VL) {
        nv = mf_min64(WIDE, (dp - n) / VL);
        for (int64_t i = 0; i < tiles; i++) {
            int64_t r0 = m * i / tiles, rows = m * (i + 1) / tiles - r0;
            product_tile t = {a + (turned ? r0 : r0 * ld), ld, k, b + n, to + r0 * dp + n, dp};
            products[turned][nv - 1][rows - 1](&t);
        }
    }
}

MF_INLINE vf feature(vf x) {
    return v_select(x > 0.0f, x + 1.0f, v_exp(x));
}

/* d channels of rows of c -> rows of dp, the rest zero; mapped or not.  A head is a narrow piece of long rows, which no
 * prefetcher foresees: asked for 16 rows ahead. */
MF_INLINE void copy_head(const float *x, int64_t rows, int64_t c, int64_t d, int64_t dp, float *to, const int mapped) {
    for (int64_t i = 0; i < rows; i++, x += c, to += dp)
        for (int64_t j = 0; j < dp; j += VL) {
            int n = (int)mf_min64(VL, d - j);
            __builtin_prefetch(x + 16 * c + j, 0, 3);
            if (n == VL) {
                vf v = v_load(x + j);
                v_store(to + j, mapped ? feature(v) : v);
            } else {
                vf v = v_load_n(x + j, n);
                v_store(to + j, (vf){0});
                v_store_n(to + j, mapped ? feature(v) : v, n);
            }
        }
}

#endif
