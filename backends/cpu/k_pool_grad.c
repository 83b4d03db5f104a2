/* Gradients of maxima and of the gated mean. */
#include "backends/cpu/vec.h"

/* The window is gone through twice: for the index of the first largest, and to add dy there. */
void MF_FN(maxpool_grad)(const float *x, const float *dy, float *dx, const int64_t *place, int taps, int64_t n) {
    for (int64_t j = 0; j < n; j += VL) {
        vf best = v_at(x + place[0], j, n), g = v_at(dy, j, n);
        vi which = {0};
        for (int t = 1; t < taps; t++) {
            vf v = v_at(x + place[t], j, n);
            vi more = v > best;
            best = v_select(more, v, best);
            which = (more & t) | (~more & which);
        }
        for (int t = 0; t < taps; t++) {
            vf add = v_select(which == t, g, (vf){0});
            v_put(dx + place[t], j, n, v_at(dx + place[t], j, n) + add);
        }
    }
}

void MF_FN(channel_max_grad)(const float *x, const float *dy, float *dx, int64_t rows, int64_t c) {
    for (int64_t i = 0; i < rows; i++, x += c, dx += c) {
        float top = v_largest(x, c);
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
            vf g = v_at(dy, j, c) * scale, gate = v_at(ch, j, c);
            dot += v_at(s, j, c) * (gate * g);
            v_put(ds, j, c, (gate * sp[i] + 1.0f) * g);
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
                part += v_at(s + i * c, j, n) * sp[i];
            total += part;
        }
        v_put(out, j, n, total * (v_at(dy, j, n) * scale));
    }
}
