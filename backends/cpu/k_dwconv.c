/* Depthwise convolution, NHWC, stride 1, with layer normalisation behind it.
 *
 * y[i, j, c] = bias[c] + sum over ky, kx of w[ky, kx, c] x[i + ky - ph, j + kx - pw, c]; with norm each pixel of y is
 * then normalised over c.
 *
 * A tile is ROWS x COLS outputs of one vector of channels, in registers together with the weights of the kernel rows in
 * use: an input vector is loaded once and takes part in up to ROWS kw sums, so the tile is bound by multiply-adds and not
 * by L2, where its inputs come from (a vector is a whole line with AVX-512, and pixels are C floats apart).  Tiles that
 * touch the border skip the inputs outside; the others have no test in them.  The order of a sum is ky, kx whatever the
 * tile.  The layer norm takes its pixels while the rows are in L1 or L2; its variance is the two-pass one. */
#include "backends/cpu/vec.h"

#if VL == 16 || defined(__aarch64__)
enum { ROWS = 2, COLS = 8 };
#elif VL == 8
enum { ROWS = 1, COLS = 6 };
#else
enum { ROWS = 1, COLS = 4 };
#endif

typedef struct dw_tile {
    const mf_dwconv *p;
    const float *x; /* the image, at the first channel of the vector */
    float *y;
    const float *weight; /* [kh kw][VL] */
    vf bias;
    int64_t i, j; /* first output */
    int n;        /* channels of the vector */
} dw_tile;

/* Input row `in` (from input column j - pw on) into output rows a .. b - 1; row r with kernel row top - r. */
MF_INLINE void add_row(vf acc[ROWS][COLS], const dw_tile *t, const float *in, int top, const int a, const int b,
                       const int kw, const int edge) {
    const int64_t c = t->p->c, w = t->p->w, j0 = t->j - t->p->pw;
    vf k[ROWS][7];
    MF_UNROLL
    for (int r = a; r < b; r++) {
        MF_UNROLL
        for (int kx = 0; kx < kw; kx++)
            k[r][kx] = v_load(t->weight + ((top - r) * kw + kx) * VL);
    }
    MF_UNROLL
    for (int q = 0; q < COLS + kw - 1; q++) {
        if (edge && (j0 + q < 0 || j0 + q >= w))
            continue;
        vf v = edge && t->n < VL ? v_load_n(in + q * c, t->n) : v_load(in + q * c);
        MF_UNROLL
        for (int o = 0; o < COLS; o++) {
            if (q - o < 0 || q - o >= kw)
                continue;
            MF_UNROLL
            for (int r = a; r < b; r++)
                acc[r][o] += v * k[r][q - o];
        }
    }
}

MF_INLINE void run_tile(const dw_tile *t, const int rows, const int kw, const int edge) {
    const mf_dwconv *p = t->p;
    const int64_t c = p->c, line = p->w * c;
    vf acc[ROWS][COLS];
    MF_UNROLL
    for (int r = 0; r < rows; r++) {
        MF_UNROLL
        for (int o = 0; o < COLS; o++)
            acc[r][o] = t->bias;
    }
    const float *in = t->x + (t->i - p->ph) * line + (t->j - p->pw) * c;
    int64_t first = t->i - p->ph; /* input row of q = 0 */
    for (int q = 0; q < p->kh + rows - 1; q++, in += line) {
        if (first + q < 0 || first + q >= p->h)
            continue;
        if (rows == 1 || (q > 0 && q < p->kh))
            add_row(acc, t, in, q, 0, rows, kw, edge);
        else if (q == 0)
            add_row(acc, t, in, q, 0, 1, kw, edge);
        else
            add_row(acc, t, in, q, rows - 1, rows, kw, edge);
    }
    MF_UNROLL
    for (int r = 0; r < rows; r++) {
        MF_UNROLL
        for (int o = 0; o < COLS; o++) {
            float *y = t->y + (t->i + r) * line + (t->j + o) * c;
            if (!edge)
                v_store(y, acc[r][o]);
            else if (t->j + o < p->w)
                v_store_n(y, acc[r][o], t->n);
        }
    }
}

/* Any width of kernel: one output at a time. */
static void any_pixel(const dw_tile *t, int64_t j) {
    const mf_dwconv *p = t->p;
    vf acc = t->bias;
    for (int ky = 0; ky < p->kh; ky++) {
        int64_t y = t->i + ky - p->ph;
        if (y < 0 || y >= p->h)
            continue;
        for (int kx = 0; kx < p->kw; kx++) {
            int64_t x = j + kx - p->pw;
            if (x >= 0 && x < p->w)
                acc += v_load_n(t->x + (y * p->w + x) * p->c, t->n) * v_load(t->weight + (ky * p->kw + kx) * VL);
        }
    }
    v_store_n(t->y + (t->i * p->w + j) * p->c, acc, t->n);
}

#define KERNEL(kw)                                                                                                     \
    static void inner_2_##kw(const dw_tile *t) {                                                                       \
        run_tile(t, ROWS, kw, 0);                                                                                      \
    }                                                                                                                  \
    static void edge_2_##kw(const dw_tile *t) {                                                                        \
        run_tile(t, ROWS, kw, 1);                                                                                      \
    }                                                                                                                  \
    static void inner_1_##kw(const dw_tile *t) {                                                                       \
        run_tile(t, 1, kw, 0);                                                                                         \
    }                                                                                                                  \
    static void edge_1_##kw(const dw_tile *t) {                                                                        \
        run_tile(t, 1, kw, 1);                                                                                         \
    }
KERNEL(3)
KERNEL(5)
KERNEL(7)

typedef void (*tile_fn)(const dw_tile *t);

/* Output rows t->i .. t->i + rows - 1 of one vector of channels. */
static void run_line(dw_tile *t, int rows) {
    static const tile_fn fns[3][2][2] = {{{edge_1_3, inner_1_3}, {edge_2_3, inner_2_3}},
                                         {{edge_1_5, inner_1_5}, {edge_2_5, inner_2_5}},
                                         {{edge_1_7, inner_1_7}, {edge_2_7, inner_2_7}}};
    const mf_dwconv *p = t->p;
    if (p->kw != 3 && p->kw != 5 && p->kw != 7) {
        for (int r = 0; r < rows; r++, t->i++)
            for (int64_t j = 0; j < p->w; j++)
                any_pixel(t, j);
        t->i -= rows;
        return;
    }
    const tile_fn *fn = fns[p->kw / 2 - 1][rows - 1];
    for (t->j = 0; t->j < p->w; t->j += COLS) {
        int inside = t->n == VL && t->j >= p->pw && t->j - p->pw + COLS + p->kw - 1 <= p->w && t->j + COLS <= p->w;
        fn[inside](t);
    }
}

void MF_FN(dwconv)(const mf_dwconv *p, const float *x, float *y, int64_t y0, int64_t y1) {
    int rows;
    for (int64_t i = y0; i < y1; i += rows) {
        rows = y1 - i >= ROWS ? ROWS : 1;
        for (int64_t c = 0; c < p->c; c += VL) {
            int n = (int)mf_min64(VL, p->c - c);
            dw_tile t = {p, x + c, y + c, p->weight + c * p->kh * p->kw, (vf){0}, i, 0, n};
            if (p->bias)
                t.bias = v_load_n(p->bias + c, n);
            run_line(&t, rows);
        }
        if (p->norm)
            MF_FN(layernorm)(y + i * p->w * p->c, y + i * p->w * p->c, rows * p->w, p->c, p->eps, p->gamma, p->beta);
    }
}
