/* Planes: one channel, padded with zeros so that the kernel of k_pool.c tests nothing. */
#include "backends/cpu/kernel.h"

mf_plane mf_plane_of(const struct mf_cpu_isa *isa, const mf_attrs *a, const int64_t *x, const int64_t *y, int grad) {
    int turn = x[2] == 1 && y[2] == 1 && a->kernel[1] == 1;
    int r = turn ? 1 : 0, c = turn ? 0 : 1;
    mf_plane p = {x[1 + r], x[1 + c], y[1 + r], y[1 + c], a->kernel[r], a->kernel[c], a->pad[r], a->pad[c], 0, 0};
    p.rows = p.oh + p.kh - 1;
    /* outputs in whole vectors, and as many values beyond them as the kernel is wide */
    p.ld = (grad ? mf_round_up(p.kw, isa->vl) + p.ow : mf_round_up(p.ow, isa->vl) + p.kw) - 1 + isa->vl;
    return p;
}

void mf_plane_pad(const mf_plane *p, const float *x, float *padded) {
    int64_t wide = mf_min64(p->w, p->ow + p->kw - 1 - p->pw);
    memset(padded, 0, (size_t)(p->rows * p->ld) * sizeof(float));
    for (int64_t y = 0; y < p->h && y + p->ph < p->rows; y++)
        memcpy(padded + (y + p->ph) * p->ld + p->pw, x + y * p->w, (size_t)wide * sizeof(float));
}
