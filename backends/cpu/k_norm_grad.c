/* Gradients of the norms: those by row (LAYERNORM, L2NORM), and the two halves of those by column (GROUPNORM,
 * BATCHNORM): sums over rows, and an affine map of x and dy.
 *
 * Rows of up to 12 vectors stay in registers between the passes, longer ones in L1.  Measured on a Zen 4, two threads,
 * out of L2 and L3: layernorm_grad 87 to 112 GB/s, layernorm_grad_affine 76 to 87, column_sum 141 to 178.  bench_train
 * 2 */
#include "backends/cpu/vec.h"

/* lanes beyond the row must not count where a mean has been taken off */
MF_INLINE vf inside(vf v, int64_t j, int64_t c) {
    if (j + VL <= c)
        return v;
    float t[VL];
    v_store(t, v);
    return v_load_n(t, (int)(c - j));
}

typedef struct moments {
    float mean, r;
} moments;

/* Two-pass: the mean, and 1 / sqrt(variance + eps). */
MF_INLINE moments moments_in(const float *x, int64_t c, float eps, const int whole) {
    vf s[4] = {{0}, {0}, {0}, {0}};
    int64_t j = 0;
    for (; j + 4 * VL <= c; j += 4 * VL) {
        MF_UNROLL
        for (int q = 0; q < 4; q++)
            s[q] += v_load(x + j + q * VL);
    }
    for (; j < c; j += VL)
        s[0] += whole ? v_load(x + j) : v_at(x, j, c);
    float mean = v_sum((s[0] + s[1]) + (s[2] + s[3])) / (float)c;
    s[0] = s[1] = s[2] = s[3] = (vf){0};
    for (j = 0; j + 4 * VL <= c; j += 4 * VL) {
        MF_UNROLL
        for (int q = 0; q < 4; q++) {
            vf d = v_load(x + j + q * VL) - mean;
            s[q] += d * d;
        }
    }
    for (; j < c; j += VL) {
        vf d = whole ? v_load(x + j) - mean : inside(v_at(x, j, c) - mean, j, c);
        s[0] += d * d;
    }
    return (moments){mean, 1 / sqrtf(v_sum((s[0] + s[1]) + (s[2] + s[3])) / (float)c + eps)};
}

MF_INLINE moments moments_of(const float *x, int64_t c, float eps) {
    return c % VL == 0 ? moments_in(x, c, eps, 1) : moments_in(x, c, eps, 0);
}

/* Of a row of nv vectors: x - mean in its place, and r. */
MF_INLINE float centre(vf *x, float eps, const int nv) {
    vf s[4] = {{0}, {0}, {0}, {0}};
    float c = (float)(nv * VL);
    MF_UNROLL
    for (int j = 0; j < nv; j++)
        s[j % 4] += x[j];
    float mean = v_sum((s[0] + s[1]) + (s[2] + s[3])) / c;
    s[0] = s[1] = s[2] = s[3] = (vf){0};
    MF_UNROLL
    for (int j = 0; j < nv; j++) {
        x[j] -= mean;
        s[j % 4] += x[j] * x[j];
    }
    return 1 / sqrtf(v_sum((s[0] + s[1]) + (s[2] + s[3])) / c + eps);
}

/* layernorm_grad of a row of nv vectors that stays in registers */
MF_INLINE void short_grad(const float *x, const float *dy, float *dx, float eps, const float *gamma, const int nv) {
    vf v[12], g[12], sum[2] = {{0}, {0}}, dot[2] = {{0}, {0}};
    float c = (float)(nv * VL);
    MF_UNROLL
    for (int j = 0; j < nv; j++) {
        v[j] = v_load(x + j * VL);
        g[j] = gamma ? v_load(dy + j * VL) * v_load(gamma + j * VL) : v_load(dy + j * VL);
    }
    float r = centre(v, eps, nv);
    MF_UNROLL
    for (int j = 0; j < nv; j++) {
        sum[j % 2] += g[j];
        dot[j % 2] += g[j] * v[j];
    }
    float a = v_sum(sum[0] + sum[1]) / c, b = v_sum(dot[0] + dot[1]) / c * r * r;
    MF_UNROLL
    for (int j = 0; j < nv; j++)
        v_store(dx + j * VL, (g[j] - a - v[j] * b) * r);
}

/* layernorm_columns of rows of nv vectors, the sums in registers */
MF_INLINE void short_columns(const float *x, const float *dy, int64_t rows, float eps, float *out, const int nv) {
    const int64_t c = nv * VL;
    vf s[8], d[8];
    MF_UNROLL
    for (int j = 0; j < nv; j++)
        s[j] = d[j] = (vf){0};
    for (int64_t i = 0; i < rows; i++, x += c, dy += c) {
        vf v[8];
        MF_UNROLL
        for (int j = 0; j < nv; j++)
            v[j] = v_load(x + j * VL);
        float r = centre(v, eps, nv);
        MF_UNROLL
        for (int j = 0; j < nv; j++) {
            vf g = v_load(dy + j * VL);
            d[j] += g * (v[j] * r);
            s[j] += g;
        }
    }
    MF_UNROLL
    for (int j = 0; j < nv; j++) {
        v_store(out + j * VL, d[j]);
        v_store(out + c + j * VL, s[j]);
    }
}

/* With h = (x - mean) r and g = gamma dy:  dx = r (g - mean(g) - h mean(g h)).
 * A row is taken from memory once and from L1 twice more for the moments, once for the sums, once for the result. */
#define SHORT_GRAD(nv)                                                                                                 \
    case nv:                                                                                                           \
        for (int64_t i = 0; i < rows; i++, x += c, dy += c, dx += c)                                                   \
            short_grad(x, dy, dx, eps, gamma, nv);                                                                     \
        return

void MF_FN(layernorm_grad)(const float *x, const float *dy, float *dx, int64_t rows, int64_t c, float eps,
                           const float *gamma) {
    switch (c % VL ? 0 : c / VL) {
        SHORT_GRAD(4);
        SHORT_GRAD(5);
        SHORT_GRAD(6);
        SHORT_GRAD(8);
        SHORT_GRAD(12);
    default:
        break;
    }
    for (int64_t i = 0; i < rows; i++, x += c, dy += c, dx += c) {
        moments m = moments_of(x, c, eps);
        vf sum = {0}, dot = {0};
        for (int64_t j = 0; j < c; j += VL) {
            vf g = v_at(dy, j, c);
            if (gamma)
                g *= v_at(gamma, j, c);
            sum += g;
            dot += g * (v_at(x, j, c) - m.mean);
        }
        float a = v_sum(sum) / (float)c, b = v_sum(dot) / (float)c * m.r * m.r;
        for (int64_t j = 0; j < c; j += VL) {
            vf g = v_at(dy, j, c);
            if (gamma)
                g *= v_at(gamma, j, c);
            v_put(dx, j, c, (g - a - (v_at(x, j, c) - m.mean) * b) * m.r);
        }
    }
}

/* Eight rows at a time: their moments first, then column by column. */
void MF_FN(layernorm_columns)(const float *x, const float *dy, int64_t rows, int64_t c, float eps, float *out) {
    switch (c % VL ? 0 : c / VL) {
    case 4:
        short_columns(x, dy, rows, eps, out, 4);
        return;
    case 5:
        short_columns(x, dy, rows, eps, out, 5);
        return;
    case 6:
        short_columns(x, dy, rows, eps, out, 6);
        return;
    case 8:
        short_columns(x, dy, rows, eps, out, 8);
        return;
    default:
        break;
    }
    memset(out, 0, (size_t)(2 * c) * sizeof(float));
    for (int64_t i0 = 0; i0 < rows; i0 += 8, x += 8 * c, dy += 8 * c) {
        moments m[8];
        int n = (int)mf_min64(8, rows - i0);
        for (int i = 0; i < n; i++)
            m[i] = moments_of(x + i * c, c, eps);
        for (int64_t j = 0; j < c; j += VL) {
            vf s[2] = {{0}, {0}}, d[2] = {{0}, {0}};
            if (n == 8) {
                MF_UNROLL
                for (int i = 0; i < 8; i++) {
                    vf g = v_at(dy + i * c, j, c);
                    d[i % 2] += g * ((v_at(x + i * c, j, c) - m[i].mean) * m[i].r);
                    s[i % 2] += g;
                }
            } else {
                for (int i = 0; i < n; i++) {
                    vf g = v_at(dy + i * c, j, c);
                    d[0] += g * ((v_at(x + i * c, j, c) - m[i].mean) * m[i].r);
                    s[0] += g;
                }
            }
            v_put(out, j, c, v_at(out, j, c) + (d[0] + d[1]));
            v_put(out + c, j, c, v_at(out + c, j, c) + (s[0] + s[1]));
        }
    }
}

/* y = x / max(|x|, eps):  dx = (dy - y (y . dy)) / |x|, or dy / eps where the norm is not above eps. */
void MF_FN(l2norm_grad)(const float *x, const float *dy, float *dx, int64_t rows, int64_t c, float eps) {
    for (int64_t i = 0; i < rows; i++, x += c, dy += c, dx += c) {
        vf square = {0}, dot = {0};
        for (int64_t j = 0; j < c; j += VL) {
            vf v = v_at(x, j, c);
            square += v * v;
            dot += v * v_at(dy, j, c);
        }
        float norm = sqrtf(v_sum(square)), r = 1 / (norm > eps ? norm : eps);
        float b = norm > eps ? v_sum(dot) * r * r : 0;
        for (int64_t j = 0; j < c; j += VL)
            v_put(dx, j, c, (v_at(dy, j, c) - v_at(x, j, c) * b) * r);
    }
}

/* ---- by column ---- */
MF_INLINE vf column_term(const float *x, const float *y, vf m, int64_t j, int64_t n) {
    vf d = v_at(x, j, n) - m;
    return y ? d * v_at(y, j, n) : d;
}

/* Eight rows at a time, added up in pairs, onto sums that stay in L1: rows come in as streams. */
MF_INLINE void column_sums_of(const float *x, const float *y, const float *mean, int64_t rows, int64_t ld, int64_t n,
                              float *out) {
    int64_t i = 0;
    for (; i + 8 <= rows; i += 8, x += 8 * ld, y = y ? y + 8 * ld : NULL)
        for (int64_t j = 0; j < n; j += VL) {
            vf m = mean ? v_at(mean, j, n) : (vf){0}, s[8];
            MF_UNROLL
            for (int r = 0; r < 8; r++)
                s[r] = column_term(x + r * ld, y ? y + r * ld : NULL, m, j, n);
            vf sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
            v_put(out, j, n, i ? v_at(out, j, n) + sum : sum);
        }
    for (; i < rows; i++, x += ld, y = y ? y + ld : NULL)
        for (int64_t j = 0; j < n; j += VL) {
            vf v = column_term(x, y, mean ? v_at(mean, j, n) : (vf){0}, j, n);
            v_put(out, j, n, i ? v_at(out, j, n) + v : v);
        }
}

void MF_FN(column_dots)(const float *x, const float *y, const float *mean, int64_t rows, int64_t ld, int64_t n,
                        float *out) {
    if (mean && y)
        column_sums_of(x, y, mean, rows, ld, n, out);
    else if (y)
        column_sums_of(x, y, NULL, rows, ld, n, out);
    else
        column_sums_of(x, NULL, mean, rows, ld, n, out);
}

void MF_FN(affine_grad)(const float *x, const float *dy, float *y, int64_t rows, int64_t c, const float *mean,
                        const float *a, const float *b, const float *s) {
    for (int64_t i = 0; i < rows; i++, x += c, dy += c, y += c)
        for (int64_t j = 0; j < c; j += VL)
            v_put(y, j, c,
                  v_at(a, j, c) * v_at(dy, j, c) + v_at(b, j, c) * (v_at(x, j, c) - v_at(mean, j, c)) + v_at(s, j, c));
}
