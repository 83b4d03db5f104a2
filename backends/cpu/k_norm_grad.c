/* Gradients of the norms: those by row (LAYERNORM, L2NORM), and the two halves of those by column (GROUPNORM,
 * BATCHNORM): sums over rows, and an affine map of x and dy. */
#include "backends/cpu/vec.h"

/* x of a row of c values at j, zero behind its end */
MF_INLINE vf at(const float *x, int64_t j, int64_t c) {
    return j + VL <= c ? v_load(x + j) : v_load_n(x + j, (int)(c - j));
}

MF_INLINE void put(float *y, int64_t j, int64_t c, vf v) {
    if (j + VL <= c)
        v_store(y + j, v);
    else
        v_store_n(y + j, v, (int)(c - j));
}

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
MF_INLINE moments moments_of(const float *x, int64_t c, float eps) {
    vf s[2] = {{0}, {0}};
    for (int64_t j = 0; j < c; j += 2 * VL) {
        s[0] += at(x, j, c);
        if (j + VL < c)
            s[1] += at(x, j + VL, c);
    }
    float mean = v_sum(s[0] + s[1]) / (float)c;
    s[0] = s[1] = (vf){0};
    for (int64_t j = 0; j < c; j += 2 * VL) {
        vf d = inside(at(x, j, c) - mean, j, c);
        s[0] += d * d;
        if (j + VL < c) {
            d = inside(at(x, j + VL, c) - mean, j + VL, c);
            s[1] += d * d;
        }
    }
    return (moments){mean, 1 / sqrtf(v_sum(s[0] + s[1]) / (float)c + eps)};
}

/* With h = (x - mean) r and g = gamma dy:  dx = r (g - mean(g) - h mean(g h)).
 * A row is taken from memory once and from L1 twice more for the moments, once for the sums, once for the result. */
void MF_FN(layernorm_grad)(const float *x, const float *dy, float *dx, int64_t rows, int64_t c, float eps,
                           const float *gamma) {
    for (int64_t i = 0; i < rows; i++, x += c, dy += c, dx += c) {
        moments m = moments_of(x, c, eps);
        vf sum = {0}, dot = {0};
        for (int64_t j = 0; j < c; j += VL) {
            vf g = at(dy, j, c);
            if (gamma)
                g *= at(gamma, j, c);
            sum += g;
            dot += g * (at(x, j, c) - m.mean);
        }
        float a = v_sum(sum) / (float)c, b = v_sum(dot) / (float)c * m.r * m.r;
        for (int64_t j = 0; j < c; j += VL) {
            vf g = at(dy, j, c);
            if (gamma)
                g *= at(gamma, j, c);
            put(dx, j, c, (g - a - (at(x, j, c) - m.mean) * b) * m.r);
        }
    }
}

/* Up to 16 rows at a time: their moments first, then column by column. */
void MF_FN(layernorm_columns)(const float *x, const float *dy, int64_t rows, int64_t c, float eps, float *out) {
    memset(out, 0, (size_t)(2 * c) * sizeof(float));
    for (int64_t i0 = 0; i0 < rows; i0 += 16) {
        int n = (int)mf_min64(16, rows - i0);
        moments m[16];
        const float *a = x + i0 * c, *b = dy + i0 * c;
        for (int i = 0; i < n; i++)
            m[i] = moments_of(a + i * c, c, eps);
        for (int64_t j = 0; j < c; j += VL) {
            vf s = {0}, d = {0};
            for (int i = 0; i < n; i++) {
                vf g = at(b + i * c, j, c);
                d += g * ((at(a + i * c, j, c) - m[i].mean) * m[i].r);
                s += g;
            }
            put(out, j, c, at(out, j, c) + d);
            put(out + c, j, c, at(out + c, j, c) + s);
        }
    }
}

/* y = x / max(|x|, eps):  dx = (dy - y (y . dy)) / |x|, or dy / eps where the norm is not above eps. */
void MF_FN(l2norm_grad)(const float *x, const float *dy, float *dx, int64_t rows, int64_t c, float eps) {
    for (int64_t i = 0; i < rows; i++, x += c, dy += c, dx += c) {
        vf square = {0}, dot = {0};
        for (int64_t j = 0; j < c; j += VL) {
            vf v = at(x, j, c);
            square += v * v;
            dot += v * at(dy, j, c);
        }
        float norm = sqrtf(v_sum(square)), r = 1 / (norm > eps ? norm : eps);
        float b = norm > eps ? v_sum(dot) * r * r : 0;
        for (int64_t j = 0; j < c; j += VL)
            put(dx, j, c, (at(dy, j, c) - at(x, j, c) * b) * r);
    }
}

/* ---- by column ---- */
/* Partial sums of 16 rows each, so that the error grows with rows / 16. */
void MF_FN(column_dots)(const float *x, const float *y, const float *mean, int64_t rows, int64_t ld, int64_t n,
                        float *out) {
    for (int64_t j = 0; j < n; j += VL) {
        vf total = {0}, m = mean ? at(mean, j, n) : (vf){0};
        for (int64_t i = 0; i < rows;) {
            vf part = {0};
            for (int64_t end = mf_min64(i + 16, rows); i < end; i++) {
                vf d = at(x + i * ld, j, n) - m;
                part += y ? d * at(y + i * ld, j, n) : d;
            }
            total += part;
        }
        put(out, j, n, total);
    }
}

void MF_FN(affine_grad)(const float *x, const float *dy, float *y, int64_t rows, int64_t c, const float *mean,
                        const float *a, const float *b, const float *s) {
    for (int64_t i = 0; i < rows; i++, x += c, dy += c, y += c)
        for (int64_t j = 0; j < c; j += VL)
            put(y, j, c, at(a, j, c) * at(dy, j, c) + at(b, j, c) * (at(x, j, c) - at(mean, j, c)) + at(s, j, c));
}
