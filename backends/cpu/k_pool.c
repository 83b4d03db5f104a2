/* Sums and maxima over positions: PYRAMID_POOL, MAXPOOL, CHANNEL_MAX, GATED_MEAN; and the one-channel convolution. */
#include "backends/cpu/vec.h"

void MF_FN(sum_strided)(const float *x, int64_t stride, int64_t n, float *y, int64_t count, float scale) {
    int64_t j = 0;
    for (; j + 4 * VL <= count; j += 4 * VL) {
        vf s[4] = {{0}, {0}, {0}, {0}};
        for (int64_t i = 0; i < n; i++) {
            MF_UNROLL
            for (int q = 0; q < 4; q++)
                s[q] += v_load(x + i * stride + j + q * VL);
        }
        MF_UNROLL
        for (int q = 0; q < 4; q++)
            v_store(y + j + q * VL, s[q] * scale);
    }
    for (; j < count; j += VL) {
        int m = (int)mf_min64(VL, count - j);
        vf s = {0};
        for (int64_t i = 0; i < n; i++)
            s += v_load_n(x + i * stride + j, m);
        v_store_n(y + j, s * scale, m);
    }
}

void MF_FN(max_into)(float *y, const float *x, int64_t count) {
    int64_t j = 0;
    for (; j + VL <= count; j += VL)
        v_store(y + j, v_max(v_load(y + j), v_load(x + j)));
    for (; j < count; j++)
        y[j] = y[j] > x[j] ? y[j] : x[j];
}

void MF_FN(channel_max)(const float *x, float *y, int64_t rows, int64_t c) {
    for (int64_t i = 0; i < rows; i++, x += c)
        y[i] = v_largest(x, c);
}

void MF_FN(gated_mean)(const float *s, const float *ch, const float *sp, float *out, int64_t t, int64_t c, int64_t n) {
    for (int64_t j = 0; j < n; j += VL) {
        int m = (int)mf_min64(VL, n - j);
        vf total = {0}, gate = v_load_n(ch + j, m);
        for (int64_t i = 0; i < t;) {
            vf part = {0}; /* of 16 positions: the error grows with t / 16 */
            for (int64_t end = mf_min64(i + 16, t); i < end; i++) {
                vf v = m == VL ? v_load(s + i * c + j) : v_load_n(s + i * c + j, m);
                part += v * (gate * sp[i]) + v;
            }
            total += part;
        }
        v_store_n(out + j, total / (float)t, m);
    }
}

void MF_FN(conv_plane)(const float *x, int64_t ld, const float *w, int kh, int kw, float *y, int64_t h, int64_t wd) {
    for (int64_t i = 0; i < h; i++, y += wd)
        for (int64_t j = 0; j < wd; j += VL) {
            vf s[2] = {{0}, {0}};
            for (int ky = 0; ky < kh; ky++) {
                const float *in = x + (i + ky) * ld + j, *k = w + ky * kw;
                int kx = 0;
                for (; kx + 2 <= kw; kx += 2) {
                    s[0] += v_load(in + kx) * k[kx];
                    s[1] += v_load(in + kx + 1) * k[kx + 1];
                }
                if (kx < kw)
                    s[0] += v_load(in + kx) * k[kx];
            }
            v_store_n(y + j, s[0] + s[1], (int)mf_min64(VL, wd - j));
        }
}
