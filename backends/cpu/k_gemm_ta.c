/* C = from + A^T B over many rows: the gradient of a weight, dW = dy^T x.
 *
 * Blocks: for kc rows, for mc columns of A (packed in panels of MR, in L2), for each panel of B (kc x NR, packed), for
 * each tile.  Both operands lie as the tile reads them, a step of k being a row, so packing only gathers lines; C,
 * which is small, is where the sums of the blocks meet.  Rows are far apart and no prefetcher follows them across
 * pages: while the first panel of a block is multiplied the next block of A is fetched, while the second is, that of B.
 *
 * Measured on a Zen 4, two threads, peak 236 GFLOP/s: 8192 rows to 384 x 96 207, 2048 to 768 x 192 212, 512 to
 * 1536 x 384 222, 128 to 3072 x 768 223; the same added in place.  bench_train 2 dw */
#include "backends/cpu/k_tile.h"

enum { GROUP = 8, ROWS_AHEAD = 12 };

TILE_TABLE(packed_tile, 1)

typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));

/* Panels of A: panel i, step p holds a[p lda + i MR ..].  Eight values at a time where six are wanted: the two too many
 * are the next step's, and are written over by it (the last step has none after it).  GROUP panels at a time, which
 * are whole lines of a row: in the order of the panels the lines of a power of two of bytes from row to row would have
 * left L1 before the next panel reads them. */
static void pack_a(const float *a, int64_t lda, int64_t k, int64_t m, float *to) {
    int64_t full = m / MR;
    for (int64_t i0 = 0; i0 < full; i0 += GROUP) {
        int64_t n = mf_min64(GROUP, full - i0);
        const float *from = a + i0 * MR;
        float *at = to + i0 * k * MR;
        for (int64_t p = 0; p < k - 1; p++, from += lda, at += MR) {
            for (int64_t j = 0; j < n * MR; j += 16)
                __builtin_prefetch(from + ROWS_AHEAD * lda + j, 0, 3);
            for (int64_t i = 0; i < n; i++)
                *(v8 *)(at + i * k * MR) = *(const v8 *)(from + i * MR);
        }
        for (int64_t i = 0; i < n; i++)
            memcpy(at + i * k * MR, from + i * MR, MR * sizeof(float));
    }
    for (int64_t p = 0; full * MR < m && p < k; p++)
        for (int r = 0; r < MR; r++)
            to[(full * k + p) * MR + r] = full * MR + r < m ? a[p * lda + full * MR + r] : 0;
}

/* One panel of B by all rows m0 .. m1 - 1, k of the block. */
static void multiply_ta(const mf_gemm_ta *g, const float *pa, const float *pb, int64_t k, int first, int64_t m0,
                        int64_t m1, int64_t n0, int64_t cols, int64_t width, const ahead *next) {
    const float *from = first ? g->from : g->c;
    float buffer[MR * NR] __attribute__((aligned(64)));
    tile t = {
        .k = k, .b = pb, .ldfrom = g->ldc, .ldto = g->ldc, .run = next->run, .jump = next->stride - next->run * 64};
    int64_t runs = mf_max64(1, k / next->run), row = 0;
    for (int64_t i = m0; i < m1; i += MR, pa += k * MR, row += runs) {
        int mr = (int)mf_min64(MR, m1 - i);
        int64_t c = i * g->ldc + n0;
        t.a = pa;
        t.to = g->c + c;
        t.from = from ? from + c : NULL;
        t.next = row < next->rows ? next->from + row * next->stride : (const char *)pb;
        if (width != cols) {
            for (int r = 0; from && r < mr; r++)
                for (int64_t j = 0; j < width; j++)
                    buffer[r * width + j] = j < cols ? from[c + r * g->ldc + j] : 0;
            t.from = from ? buffer : NULL;
            t.to = buffer;
            t.ldfrom = t.ldto = width;
        }
        packed_tiles[width / VL - 1][mr - 1](&t);
        if (width != cols)
            for (int r = 0; r < mr; r++)
                memcpy(g->c + c + r * g->ldc, buffer + r * width, (size_t)cols * sizeof(float));
    }
}

/* `rows` rows of `cols` values */
MF_INLINE ahead rows_ahead(const float *from, int64_t ld, int64_t rows, int64_t cols) {
    int64_t run = mf_div_up(cols * (int64_t)sizeof(float), 64);
    return (ahead){(const char *)from, rows, (run + 1) / 2 * 2, ld * (int64_t)sizeof(float)};
}

/* While the first panel of a block is multiplied, the next block of A is fetched, while the second is, that of B. */
void MF_FN(gemm_ta)(const mf_gemm_ta *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *scratch) {
    int64_t kc = mf_min64(g->kc, g->k), mc = mf_round_up(mf_min64(g->mc, m1 - m0), MR);
    float *pa = scratch, *pb = pa + mf_round_up(mc * kc + 8, 16), *rows = pb + kc * NR;
    for (int64_t k0 = 0, k; k0 < g->k; k0 += k) {
        k = mf_min64(kc, g->k - k0);
        int64_t left = mf_min64(kc, g->k - k0 - k); /* of the next block */
        const float *b = g->b + k0 * g->ldb + n0;
        int64_t ldb = g->ldb;
        if (g->gather) {
            g->gather(g, g->row0 + k0, k, n0, n1, rows);
            b = rows;
            ldb = n1 - n0;
        }
        for (int64_t i = m0; i < m1; i += mc) {
            int64_t end = mf_min64(i + mc, m1);
            pack_a(g->a + k0 * g->lda + i, g->lda, k, end - i, pa);
            for (int64_t n = n0; n < n1; n += NR) {
                int64_t cols = mf_min64(NR, n1 - n), width = mf_round_up(cols, VL);
                ahead next = {NULL, 0, k + 1, 0};
                if (n == n0 && end < m1)
                    next = rows_ahead(g->a + k0 * g->lda + end, g->lda, k, mf_min64(mc, m1 - end));
                else if (n == n0)
                    next = rows_ahead(g->a + (k0 + k) * g->lda + m0, g->lda, left, mf_min64(mc, m1 - m0));
                else if (n == n0 + NR && end == m1 && !g->gather)
                    next = rows_ahead(g->b + (k0 + k) * g->ldb + n0, g->ldb, left, n1 - n0);
                pack_b(b + n - n0, ldb, k, cols, width, pb);
                multiply_ta(g, pa, pb, k, k0 == 0, i, end, n, cols, width, &next);
            }
        }
    }
}
