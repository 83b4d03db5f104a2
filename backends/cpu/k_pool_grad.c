/* Gradients of maxima and of the gated mean. */
#include "backends/cpu/vec.h"

MF_INLINE vf at(const float *x, int64_t j, int64_t c) {
    return j + VL <= c ? v_load(x + j) : v_load_n(x + j, (int)(c - j));
}

MF_INLINE void put(float *y, int64_t j, int64_t c, vf v) {
    if (j + VL <= c)
        v_store(y + j, v);
    else
        v_store_n(y + j, v, (int)(c - j));
}

/* The window is gone through twice: for the index of the first largest, and to add dy there. */
void MF_FN(maxpool_grad)(const float *x, const float *dy, float *dx, const int64_t *place, int taps, int64_t n) {
    for (int64_t j = 0; j < n; j += VL) {
        vf best = at(x + place[0], j, n), g = at(dy, j, n);
        vi which = {0};
        for (int t = 1; t < taps; t++) {
            vf v = at(x + place[t], j, n);
            vi more = v > best;
            best = v_select(more, v, best);
            which = (more & t) | (~more & which);
        }
        for (int t = 0; t < taps; t++) {
            vf add = v_select(which == t, g, (vf){0});
            put(dx + place[t], j, n, at(dx + place[t], j, n) + add);
        }
    }
}

void MF_FN(channel_max_grad)(const float *x, const float *dy, float *dx, int64_t rows, int64_t c) {
    for (int64_t i = 0; i < rows; i++, x += c, dx += c) {
        float top = x[0];
        for (int64_t j = 1; j < c; j++)
            top = x[j] > top ? x[j] : top;
        int64_t where = 0;
        while (where + 1 < c && x[where] != top)
            where++;
        memset(dx, 0, (size_t)c * sizeof(float));
        dx[where] = dy[i];
    }
}

void MF_FN(gated_mean_grad)(const float *s, const float *ch, const float *sp, const float *dy, float *ds, float *dsp,
                            int64_t rows, int64_t c, float scale) {
    for (int64_t i = 0; i < rows; i++, s += c, ds += c) {
        vf dot = {0};
        for (int64_t j = 0; j < c; j += VL) {
            vf g = at(dy, j, c) * scale, gate = at(ch, j, c);
            dot += at(s, j, c) * (gate * g);
            put(ds, j, c, (gate * sp[i] + 1.0f) * g);
        }
        dsp[i] = v_sum(dot);
    }
}

void MF_FN(gated_channels)(const float *s, const float *sp, const float *dy, float *out, int64_t t, int64_t c,
                           int64_t n, float scale) {
    for (int64_t j = 0; j < n; j += VL) {
        vf total = {0};
        for (int64_t i = 0; i < t;) {
            vf part = {0}; /* of 16 positions: the error grows with t / 16 */
            for (int64_t end = mf_min64(i + 16, t); i < end; i++)
                part += at(s + i * c, j, n) * sp[i];
            total += part;
        }
        put(out, j, n, total * (at(dy, j, n) * scale));
    }
}
