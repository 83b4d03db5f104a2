/* DWCONV2D_GRAD_WEIGHT: dw[ky, kx, c] = sum over the pixels i, j of dy[i, j, c] x[i + ky - ph, j + kx - pw, c]. */
#include "backends/cpu/vec.h"

void MF_FN(dwconv_weight)(const mf_dwconv *p, const float *x, const float *dy, float *dw, int64_t c0, int64_t y0,
                          int64_t y1) {
    const int64_t c = p->c, w = p->w;
    const int n = (int)mf_min64(VL, c - c0);
    for (int64_t i = y0; i < y1; i++)
        for (int ky = 0; ky < p->kh; ky++) {
            int64_t y = i + ky - p->ph;
            if (y < 0 || y >= p->h)
                continue;
            for (int kx = 0; kx < p->kw; kx++) {
                int64_t j0 = mf_max64(0, p->pw - kx), j1 = mf_min64(w, w + p->pw - kx);
                const float *a = x + (y * w + kx - p->pw) * c + c0, *g = dy + i * w * c + c0;
                vf s = {0};
                for (int64_t j = j0; j < j1; j++)
                    s += v_load_n(a + j * c, n) * v_load_n(g + j * c, n);
                float *to = dw + (ky * p->kw + kx) * VL;
                v_store(to, v_load(to) + s);
            }
        }
}
