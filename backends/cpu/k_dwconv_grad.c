/* DWCONV2D_GRAD_WEIGHT: dw[ky, kx, c] = sum over the pixels i, j of dy[i, j, c] x[i + ky - ph, j + kx - pw, c].
 *
 * For one vector of channels, and COLS columns of a row of dy that stay in registers: for each ky the kw sums are taken
 * from memory (L1), a row of x goes by, each of its vectors taking part in up to kw sums, and the sums go back.  That
 * is COLS kw multiply-adds for COLS + 3 kw loads and stores, so the multiply-adds are the bound.  Columns that touch
 * the border skip the inputs outside; the others have no test in them.
 *
 * Measured on a Zen 4, two threads, peak 236 GFLOP/s: 7x7 over 8 maps of 32x32x96 207, 16x16x192 208, 8x8x384 170
 * (counted with the border's zeros); one sum at a time 60 to 90.  bench_train 2 dwconv_grad_weight */
#include "backends/cpu/vec.h"

#if VL == 16 || defined(__aarch64__)
enum { COLS = 16 };
#else
enum { COLS = 4 };
#endif

typedef struct dw_strip {
    const mf_dwconv *p;
    const float *x, *dy; /* the image, at the first channel of the vector */
    float *dw;           /* [kh kw][VL] */
    int64_t i, j;        /* first output */
    int n;               /* channels of the vector */
} dw_strip;

MF_INLINE vf load(const dw_strip *t, const float *p, const int edge) {
    return edge && t->n < VL ? v_load_n(p, t->n) : v_load(p);
}

MF_INLINE void add_strip(const dw_strip *t, const int kw, const int cols, const int edge) {
    const mf_dwconv *p = t->p;
    const int64_t c = p->c, w = p->w, j0 = t->j - p->pw;
    vf g[COLS];
    const float *dy = t->dy + (t->i * w + t->j) * c;
    MF_UNROLL
    for (int o = 0; o < cols; o++)
        g[o] = edge && t->j + o >= w ? (vf){0} : load(t, dy + o * c, edge);
    for (int ky = 0; ky < p->kh; ky++) {
        int64_t y = t->i + ky - p->ph;
        if (y < 0 || y >= p->h)
            continue;
        const float *in = t->x + (y * w + j0) * c;
        float *sums = t->dw + ky * kw * VL;
        vf s[7];
        MF_UNROLL
        for (int kx = 0; kx < kw; kx++)
            s[kx] = v_load(sums + kx * VL);
        MF_UNROLL
        for (int q = 0; q < cols + kw - 1; q++) {
            if (edge && (j0 + q < 0 || j0 + q >= w))
                continue;
            vf v = load(t, in + q * c, edge);
            MF_UNROLL
            for (int kx = 0; kx < kw; kx++)
                if (q - kx >= 0 && q - kx < cols)
                    s[kx] += v * g[q - kx];
        }
        MF_UNROLL
        for (int kx = 0; kx < kw; kx++)
            v_store(sums + kx * VL, s[kx]);
    }
}

/* Any width of kernel. */
static void add_row(const dw_strip *t) {
    const mf_dwconv *p = t->p;
    const int64_t c = p->c, w = p->w;
    for (int ky = 0; ky < p->kh; ky++) {
        int64_t y = t->i + ky - p->ph;
        if (y < 0 || y >= p->h)
            continue;
        for (int kx = 0; kx < p->kw; kx++) {
            int64_t j0 = mf_max64(0, p->pw - kx), j1 = mf_min64(w, w + p->pw - kx);
            const float *a = t->x + (y * w + kx - p->pw) * c, *g = t->dy + t->i * w * c;
            vf s = {0};
            for (int64_t j = j0; j < j1; j++)
                s += v_load_n(a + j * c, t->n) * v_load_n(g + j * c, t->n);
            float *to = t->dw + (ky * p->kw + kx) * VL;
            v_store(to, v_load(to) + s);
        }
    }
}

#define KERNEL(kw)                                                                                                     \
    static void inner_##kw(const dw_strip *t) {                                                                        \
        add_strip(t, kw, COLS, 0);                                                                                     \
    }                                                                                                                  \
    static void edge_##kw(const dw_strip *t) {                                                                         \
        add_strip(t, kw, COLS, 1);                                                                                     \
    }                                                                                                                  \
    static void short_##kw(const dw_strip *t) {                                                                        \
        add_strip(t, kw, COLS / 2, 1);                                                                                 \
    }
KERNEL(3)
KERNEL(5)
KERNEL(7)

typedef void (*strip_fn)(const dw_strip *t);

void MF_FN(dwconv_weight)(const mf_dwconv *p, const float *x, const float *dy, float *dw, int64_t c0, int64_t y0,
                          int64_t y1) {
    static const strip_fn fns[3][3] = {
        {edge_3, inner_3, short_3}, {edge_5, inner_5, short_5}, {edge_7, inner_7, short_7}};
    const int n = (int)mf_min64(VL, p->c - c0);
    dw_strip t = {p, x + c0, dy + c0, dw, 0, 0, n};
    for (t.i = y0; t.i < y1; t.i++) {
        if (p->kw != 3 && p->kw != 5 && p->kw != 7) {
            add_row(&t);
            continue;
        }
        const strip_fn *fn = fns[p->kw / 2 - 1];
        for (t.j = 0; t.j < p->w; t.j += COLS) {
            int inside = n == VL && t.j >= p->pw && t.j - p->pw + COLS + p->kw - 1 <= p->w && t.j + COLS <= p->w;
            if (!inside && p->w - t.j <= COLS / 2) {
                fn[2](&t);
                break;
            }
            fn[inside](&t);
        }
    }
}
