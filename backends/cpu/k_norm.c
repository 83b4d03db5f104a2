/* Normalisations: rows (LAYERNORM, L2NORM) and the two halves of those by column (GROUPNORM, BATCHNORM).
 *
 * Sums over a row run in four vectors and end in a tree; means and variances are two-pass.  Each takes a row three
 * times, the first from memory, the others from L1. */
#include "backends/cpu/vec.h"

/* sum over the row of (x - mean), squared or not */
MF_INLINE float row_sum(const float *x, int64_t c, float mean, const int square) {
    vf s[4] = {{0}, {0}, {0}, {0}};
    int64_t j = 0;
    for (; j + 4 * VL <= c; j += 4 * VL) {
        MF_UNROLL
        for (int q = 0; q < 4; q++) {
            vf d = v_load(x + j + q * VL) - mean;
            s[q] += square ? d * d : d;
        }
    }
    for (; j + VL <= c; j += VL) {
        vf d = v_load(x + j) - mean;
        s[0] += square ? d * d : d;
    }
    float rest = 0;
    for (; j < c; j++) {
        float d = x[j] - mean;
        rest += square ? d * d : d;
    }
    return v_sum((s[0] + s[1]) + (s[2] + s[3])) + rest;
}

MF_INLINE void scale_row(const float *x, float *y, int64_t c, float mean, float r, const float *gamma,
                         const float *beta) {
    int64_t j = 0;
    for (; j + VL <= c; j += VL) {
        vf v = (v_load(x + j) - mean) * r;
        if (gamma)
            v *= v_load(gamma + j);
        if (beta)
            v += v_load(beta + j);
        v_store(y + j, v);
    }
    if (j < c) {
        int n = (int)(c - j);
        vf v = (v_load_n(x + j, n) - mean) * r;
        if (gamma)
            v *= v_load_n(gamma + j, n);
        if (beta)
            v += v_load_n(beta + j, n);
        v_store_n(y + j, v, n);
    }
}

/* A row of nv vectors that stays in registers. */
MF_INLINE void short_row(const float *x, float *y, float eps, const float *gamma, const float *beta, const int nv) {
    vf v[12], s[4] = {{0}, {0}, {0}, {0}};
    float c = (float)(nv * VL);
    MF_UNROLL
    for (int j = 0; j < nv; j++) {
        v[j] = v_load(x + j * VL);
        s[j % 4] += v[j];
    }
    float mean = v_sum((s[0] + s[1]) + (s[2] + s[3])) / c;
    MF_UNROLL
    for (int j = 0; j < 4; j++)
        s[j] = (vf){0};
    MF_UNROLL
    for (int j = 0; j < nv; j++) {
        v[j] -= mean;
        s[j % 4] += v[j] * v[j];
    }
    float r = 1 / sqrtf(v_sum((s[0] + s[1]) + (s[2] + s[3])) / c + eps);
    MF_UNROLL
    for (int j = 0; j < nv; j++) {
        vf out = v[j] * r;
        if (gamma)
            out *= v_load(gamma + j * VL);
        if (beta)
            out += v_load(beta + j * VL);
        v_store(y + j * VL, out);
    }
}

#define SHORT_ROWS(nv)                                                                                                 \
    case nv:                                                                                                           \
        for (int64_t i = 0; i < rows; i++, x += c, y += c)                                                             \
            short_row(x, y, eps, gamma, beta, nv);                                                                     \
        return

/* With AVX-512: 96, 128, 192 channels, as in the first stages and in a LTE. */
void MF_FN(layernorm)(const float *x, float *y, int64_t rows, int64_t c, float eps, const float *gamma,
                      const float *beta) {
    switch (c % VL ? 0 : c / VL) {
        SHORT_ROWS(4);
        SHORT_ROWS(5);
        SHORT_ROWS(6);
        SHORT_ROWS(8);
        SHORT_ROWS(12);
    default:
        break;
    }
    for (int64_t i = 0; i < rows; i++, x += c, y += c) {
        float mean = row_sum(x, c, 0, 0) / (float)c;
        float variance = row_sum(x, c, mean, 1) / (float)c;
        scale_row(x, y, c, mean, 1 / sqrtf(variance + eps), gamma, beta);
    }
}

void MF_FN(l2norm)(const float *x, float *y, int64_t rows, int64_t c, float eps) {
    for (int64_t i = 0; i < rows; i++, x += c, y += c) {
        float norm = sqrtf(row_sum(x, c, 0, 1));
        scale_row(x, y, c, 0, 1 / (norm > eps ? norm : eps), NULL, NULL);
    }
}

/* Partial sums of 16 rows each, so that the error grows with rows / 16. */
void MF_FN(column_sums)(const float *x, int64_t rows, int64_t c, const float *mean, int square, float *out) {
    for (int64_t j = 0; j < c; j += VL) {
        int n = (int)mf_min64(VL, c - j);
        vf total = {0}, m = mean ? v_load_n(mean + j, n) : (vf){0};
        for (int64_t i = 0; i < rows;) {
            vf part = {0};
            for (int64_t end = mf_min64(i + 16, rows); i < end; i++) {
                vf d = (n == VL ? v_load(x + i * c + j) : v_load_n(x + i * c + j, n)) - m;
                part += square ? d * d : d;
            }
            total += part;
        }
        v_store_n(out + j, total, n);
    }
}

void MF_FN(affine)(const float *x, float *y, int64_t rows, int64_t c, const float *mean, const float *scale,
                   const float *shift, mf_act act) {
    for (int64_t i = 0; i < rows; i++, x += c, y += c) {
        int64_t j = 0;
        for (; j + VL <= c; j += VL)
            v_store(y + j, v_act((v_load(x + j) - v_load(mean + j)) * v_load(scale + j) + v_load(shift + j), act));
        if (j < c) {
            int n = (int)(c - j);
            vf v = (v_load_n(x + j, n) - v_load_n(mean + j, n)) * v_load_n(scale + j, n) + v_load_n(shift + j, n);
            v_store_n(y + j, v_act(v, act), n);
        }
    }
}
