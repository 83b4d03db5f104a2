/* What the kernels of attention and of its gradient share: small products, the feature map, heads as dense rows. */
#ifndef MFRGN_CPU_ATTENTION_H
#define MFRGN_CPU_ATTENTION_H

#include "backends/cpu/vec.h"

enum { TILE = VL == 16 ? 6 : 4 };

/* to[rows][dp] = a[rows][k] b[k][dp], dp a multiple of VL; a by strides */
MF_INLINE void product_rows(const float *a, int64_t rs, int64_t cs, int64_t k, const float *b, int64_t dp, float *to,
                            const int rows, const int nv) {
    vf acc[TILE][4];
    MF_UNROLL
    for (int i = 0; i < rows; i++) {
        MF_UNROLL
        for (int j = 0; j < nv; j++)
            acc[i][j] = (vf){0};
    }
    for (int64_t p = 0; p < k; p++, a += cs, b += dp) {
        MF_UNROLL
        for (int i = 0; i < rows; i++) {
            MF_UNROLL
            for (int j = 0; j < nv; j++)
                acc[i][j] += a[i * rs] * v_load(b + j * VL);
        }
    }
    MF_UNROLL
    for (int i = 0; i < rows; i++) {
        MF_UNROLL
        for (int j = 0; j < nv; j++)
            v_store(to + i * dp + j * VL, acc[i][j]);
    }
}

__attribute__((unused)) static void product(const float *a, int64_t rs, int64_t cs, int64_t m, int64_t k,
                                            const float *b, int64_t dp, float *to) {
    for (int64_t n = 0; n < dp;) {
        int two = n + 2 * VL <= dp;
        for (int64_t i = 0; i < m;) {
            if (m - i >= TILE && two)
                product_rows(a + i * rs, rs, cs, k, b + n, dp, to + i * dp + n, TILE, 2);
            else if (m - i >= TILE)
                product_rows(a + i * rs, rs, cs, k, b + n, dp, to + i * dp + n, TILE, 1);
            else if (two)
                product_rows(a + i * rs, rs, cs, k, b + n, dp, to + i * dp + n, 1, 2);
            else
                product_rows(a + i * rs, rs, cs, k, b + n, dp, to + i * dp + n, 1, 1);
            i += m - i >= TILE ? TILE : 1;
        }
        n += two ? 2 * VL : VL;
    }
}

MF_INLINE vf feature(vf x) {
    return v_select(x > 0.0f, x + 1.0f, v_exp(x));
}

/* d channels of rows of c -> rows of dp, the rest zero; mapped or not */
MF_INLINE void copy_head(const float *x, int64_t rows, int64_t c, int64_t d, int64_t dp, float *to, const int mapped) {
    for (int64_t i = 0; i < rows; i++, x += c, to += dp)
        for (int64_t j = 0; j < dp; j += VL) {
            int n = (int)mf_min64(VL, d - j);
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
