/* Matrix product with everything behind it: C = residual + scale act(A B + bias).
 *
 * The register tile is MR rows by NV vectors; B comes in panels NR = NV VL wide whose rows lie one after the other, so
 * that a step over k loads NV vectors of B, broadcasts MR values of A and does MR NV multiply-adds.  With AVX-512 that
 * is 6 x 64: 24 accumulators, 4 vectors of B and one of A use 29 of 32 registers, 64 divides every width of the
 * network, and six rows of A need no packing (taller tiles do: at rows 4 KB apart twelve of them fill a set of the L1).
 *
 * Blocks: for mc rows, for kc of k (a block of A is in L2), for each panel (kc x NR, in L2, its rows streaming through
 * L1), for each tile.  Sums of the kc blocks meet in C.  Panels stored in 16 bits are widened block by block into a
 * buffer that stays in L2: each value once per mc rows.
 *
 * A result is the sum over k in order, block by block, whatever tile it falls in: it does not depend on m or the
 * threads. Bias and residual are added in the registers; an activation works on the tile while it is in L1.  The next
 * panel is fetched into L2 during this one: at 64 rows that is the difference between 146 and 173 GFLOP/s.
 *
 * Measured on one thread of a busy Sapphire Rapids whose peak was then 190 to 205 GFLOP/s: 512x128->512 176 (with GELU
 * 162), 256x256->1024 174 (165), 128x512->1024 180 (173), 64x1024->1024 174 (171); AVX2 102 to 111 of 115.  Panels of
 * 16 bits cost 0 to 4 %, and gain up to 10 % where weights come from memory (64 rows).  bench_cpu 1 matmul
 *
 * Weights that change from run to run, as in training, are packed beforehand where there are many rows, else panel by
 * panel as they are used (gemm_plain).  On a Zen 4, two threads, peak 236 GFLOP/s: 8192x96->384 186 to 207,
 * 2048x192->768 218, 512x384->1536 224, 128x768->3072 214 (packed beforehand 160).  bench_train 2 forward */
#include "backends/cpu/k_tile.h"

TILE_TABLE(tile, 0)

/* ---- epilogue ---- */
/* rows of `cols` values: from -> c, column n0 of the result on */
MF_INLINE void finish(const mf_gemm *g, const mf_act act, const float *from, int64_t ldfrom, int64_t m0, int rows,
                      int64_t n0, int64_t cols) {
    const float *bias = g->bias ? g->bias + n0 : NULL, *scale = g->scale ? g->scale + n0 : NULL;
    for (int i = 0; i < rows; i++) {
        int64_t at = (m0 + i) * g->ldc + n0, j = 0;
        const float *residual = g->residual ? g->residual + at : NULL, *x = from + i * ldfrom;
        float *c = g->c + at;
        for (; j + VL <= cols; j += VL) {
            vf v = v_load(x + j);
            if (bias)
                v += v_load(bias + j);
            v = v_act(v, act);
            if (scale)
                v *= v_load(scale + j);
            if (residual)
                v += v_load(residual + j);
            v_store(c + j, v);
        }
        if (j < cols) {
            int n = (int)(cols - j);
            vf v = v_load_n(x + j, n);
            if (bias)
                v += v_load_n(bias + j, n);
            v = v_act(v, act);
            if (scale)
                v *= v_load_n(scale + j, n);
            if (residual)
                v += v_load_n(residual + j, n);
            v_store_n(c + j, v, n);
        }
    }
}

static void finish_tile(const mf_gemm *g, const float *from, int64_t ldfrom, int64_t m0, int rows, int64_t n0,
                        int64_t cols) {
    switch (g->act) {
    case MF_ACT_GELU:
        finish(g, MF_ACT_GELU, from, ldfrom, m0, rows, n0, cols);
        break;
    case MF_ACT_RELU:
        finish(g, MF_ACT_RELU, from, ldfrom, m0, rows, n0, cols);
        break;
    case MF_ACT_SIGMOID:
        finish(g, MF_ACT_SIGMOID, from, ldfrom, m0, rows, n0, cols);
        break;
    case MF_ACT_GELU_TANH:
        finish(g, MF_ACT_GELU_TANH, from, ldfrom, m0, rows, n0, cols);
        break;
    default:
        finish(g, MF_ACT_NONE, from, ldfrom, m0, rows, n0, cols);
    }
}

void MF_FN(epilogue)(const mf_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
    for (int64_t m = m0; m < m1; m++)
        finish_tile(g, g->c + m * g->ldc + n0, g->ldc, m, 1, n0, n1 - n0);
}

/* ---- blocks ---- */
static void widen(const void *from, mf_dtype type, float *to, int64_t count) {
    const uint16_t *x = from;
    if (type == MF_F16)
        for (int64_t i = 0; i < count; i += VL)
            v_store(to + i, v_from_f16(x + i));
    else
        for (int64_t i = 0; i < count; i += VL)
            v_store(to + i, v_from_bf16(x + i));
}

typedef struct block {
    const mf_gemm *g;
    int64_t m0, rows;  /* of C */
    const float *a;    /* its first value */
    int64_t rs, k;     /* k: of this block */
    int first, last;   /* of the blocks of k */
    const float *from; /* NULL, or a residual that the first block adds: C may be its memory */
} block;

static void multiply_panel(const block *q, const float *b, int64_t n0, int64_t cols, const ahead *next) {
    const mf_gemm *g = q->g;
    const float *from = q->first ? q->from : g->c;
    int64_t width = mf_round_up(cols, VL);
    int nv = (int)(width / VL);
    /* straight from the registers, or by way of a buffer in L1 and finish_tile */
    int plain = width == cols && !(q->last && (g->scale || g->act != MF_ACT_NONE));
    int64_t count = mf_div_up(q->rows, MR);
    float buffer[MR * NR] __attribute__((aligned(64)));
    tile t = {
        .k = q->k, .rs = q->rs, .b = b, .ldfrom = g->ldc, .run = next->run, .jump = next->stride - next->run * 64};
    int64_t runs = mf_max64(1, q->k / next->run); /* of a tile */
    if (plain && q->last && g->bias)
        t.bias = g->bias + n0;
    for (int64_t i = 0; i < count; i++) {
        int64_t r0 = q->rows * i / count;
        int mr = (int)(q->rows * (i + 1) / count - r0);
        float *c = g->c + (q->m0 + r0) * g->ldc + n0;
        t.a = q->a + r0 * q->rs;
        if (plain && q->last && g->residual)
            t.residual = g->residual + (q->m0 + r0) * g->ldc + n0;
        t.next = i * runs < next->rows ? next->from + i * runs * next->stride : (const char *)b;
        t.to = plain ? c : buffer;
        t.ldto = plain ? g->ldc : width;
        const float *before = from ? from + (q->m0 + r0) * g->ldc + n0 : NULL;
        if (before && width == cols) {
            t.from = before;
        } else if (before) {
            for (int r = 0; r < mr; r++)
                for (int64_t j = 0; j < width; j++)
                    buffer[r * width + j] = j < cols ? before[r * g->ldc + j] : 0;
            t.from = buffer;
            t.ldfrom = width;
        }
        tiles[nv - 1][mr - 1](&t);
        if (!plain && q->last)
            finish_tile(g, buffer, width, q->m0 + r0, mr, n0, cols);
        else if (!plain)
            for (int r = 0; r < mr; r++)
                memcpy(c + r * g->ldc, buffer + r * width, (size_t)cols * sizeof(float));
    }
}

void MF_FN(gemm)(const mf_gemm *whole, int64_t m0, int64_t m1, int64_t p0, int64_t p1, void *scratch) {
    mf_gemm local = *whole;
    const mf_gemm *g = &local;
    float *wide = scratch;
    float *rows = wide + (g->btype == MF_F32 ? 0 : mf_min64(g->kc, g->k) * NR);
    size_t size = mf_dtype_size(g->btype);
    block q = {.g = g, .rs = g->rs};
    if (g->k > g->kc && g->act == MF_ACT_NONE && !g->scale) {
        q.from = g->residual;
        local.residual = NULL;
    }
    for (q.m0 = m0; q.m0 < m1; q.m0 += q.rows) {
        q.rows = mf_min64(g->mc, m1 - q.m0);
        const float *a = g->a + q.m0 * g->rs;
        if (g->gather) {
            g->gather(g, q.m0, q.rows, rows);
            a = rows;
            q.rs = g->k;
        }
        for (int64_t k0 = 0; k0 < g->k; k0 += q.k) {
            q.k = mf_min64(g->kc, g->k - k0);
            q.a = a + k0;
            q.first = k0 == 0;
            q.last = k0 + q.k == g->k;
            for (int64_t p = p0; p < p1; p++) {
                int64_t n0 = p * NR, cols = mf_min64(NR, g->n - n0), width = mf_round_up(cols, VL);
                const char *b = (const char *)g->b + (size_t)(n0 * g->k + k0 * width) * size;
                const float *panel = (const float *)(const void *)b;
                if (g->btype != MF_F32) {
                    widen(b, g->btype, wide, q.k * width);
                    panel = wide;
                }
                /* the next panel of this block, or the first of the next block */
                ahead next = {b, 0, (q.k + 1) / 2 * 2, 0};
                if (p + 1 < p1) {
                    next.from = b + (size_t)(NR * g->k) * size;
                    next.rows = q.k * NR * (int64_t)size;
                } else if (!q.last) {
                    next.from = (const char *)g->b + (size_t)(p0 * NR * g->k + (k0 + q.k) * NR) * size;
                    next.rows = mf_min64(g->kc, g->k - k0 - q.k) * NR * (int64_t)size;
                }
                next.stride = next.run * 64;
                next.rows = mf_div_up(next.rows, next.stride);
                multiply_panel(&q, panel, n0, cols, &next);
            }
        }
    }
}

/* ---- B as it lies ---- */
/* to[p][width] = b[p + j ldb], 64 steps of k at a time, so that what is written stays in L1 */
static void pack_turned(const float *b, int64_t ldb, int64_t k, int64_t cols, int64_t width, float *to) {
    int64_t j4 = cols / 4 * 4, k4 = k / 4 * 4;
    for (int64_t p0 = 0; p0 < k4; p0 += 64)
        for (int64_t j = 0; j < j4; j += 4)
            for (int64_t p = p0; p < mf_min64(p0 + 64, k4); p += 4)
                mf_transpose4(b + j * ldb + p, ldb, to + p * width + j, width);
    for (int64_t p = 0; p < k; p++)
        for (int64_t j = p < k4 ? j4 : 0; j < width; j++)
            to[p * width + j] = j < cols ? b[p + j * ldb] : 0;
}

/* Panels that are packed together: with narrow ones a row of a single panel would be a line by itself. */
enum { TOGETHER = NR >= 64 ? 1 : 64 / NR };

/* Where the source of block k0 of panels p .. end - 1 begins; what there is of it. */
MF_INLINE ahead source_of(const mf_gemm *g, int64_t p, int64_t end, int64_t k0) {
    int64_t k = mf_min64(g->kc, g->k - k0), cols = mf_min64(end * NR, g->n) - p * NR;
    int64_t line = g->ldb * (int64_t)sizeof(float);
    const char *from = (const char *)(g->plain + (g->tb ? p * NR * g->ldb + k0 : k0 * g->ldb + p * NR));
    int64_t run = mf_div_up((g->tb ? k : cols) * (int64_t)sizeof(float), 64);
    return (ahead){from, g->tb ? cols : k, (run + 1) / 2 * 2, line};
}

/* k steps of panels p .. end - 1, one after the other; all but the last are NR wide */
static void pack_plain(const mf_gemm *g, int64_t p, int64_t end, int64_t k0, int64_t k, float *to) {
    int64_t cols = mf_min64(end * NR, g->n) - p * NR;
    if (g->tb) {
        for (int64_t n = 0; n < cols; n += NR, to += k * NR) {
            int64_t some = mf_min64(NR, cols - n);
            pack_turned(g->plain + (p * NR + n) * g->ldb + k0, g->ldb, k, some, mf_round_up(some, VL), to);
        }
        return;
    }
    const float *from = g->plain + k0 * g->ldb + p * NR;
    if (TOGETHER == 1 || cols < TOGETHER * NR) {
        for (int64_t n = 0; n < cols; n += NR, to += k * NR) {
            int64_t some = mf_min64(NR, cols - n);
            pack_b(from + n, g->ldb, k, some, mf_round_up(some, VL), to);
        }
        return;
    }
    for (int64_t i = 0; i < k; i++, from += g->ldb, to += NR) {
        MF_UNROLL
        for (int t = 0; t < TOGETHER; t++) {
            MF_UNROLL
            for (int j = 0; j < NV; j++)
                v_store(to + t * k * NR + j * VL, v_load(from + t * NR + j * VL));
        }
    }
}

/* Panels are packed block by block into a buffer in L2, and multiplied by all the rows at once: for weights that change
 * from run to run and few rows, where packing beforehand would write them to memory and read them again.  The source
 * of the next block is fetched meanwhile. */
void MF_FN(gemm_plain)(const mf_gemm *whole, int64_t m0, int64_t m1, int64_t p0, int64_t p1, void *scratch) {
    mf_gemm local = *whole;
    const mf_gemm *g = &local;
    block q = {.g = g, .m0 = m0, .rows = m1 - m0, .rs = g->rs};
    if (g->k > g->kc && g->act == MF_ACT_NONE && !g->scale) {
        q.from = g->residual;
        local.residual = NULL;
    }
    for (int64_t p = p0, end; p < p1; p = end) {
        end = mf_min64(p + TOGETHER, p1);
        for (int64_t k0 = 0; k0 < g->k; k0 += q.k) {
            q.k = mf_min64(g->kc, g->k - k0);
            q.a = g->a + m0 * g->rs + k0;
            q.first = k0 == 0;
            q.last = k0 + q.k == g->k;
            pack_plain(g, p, end, k0, q.k, scratch);
            ahead next = {scratch, 0, (q.k + 1) / 2 * 2, 0};
            if (!q.last)
                next = source_of(g, p, end, k0 + q.k);
            else if (end < p1)
                next = source_of(g, end, mf_min64(end + TOGETHER, p1), 0);
            for (int64_t i = p; i < end; i++) {
                int64_t n0 = i * NR, cols = mf_min64(NR, g->n - n0);
                multiply_panel(&q, (const float *)scratch + (i - p) * q.k * NR, n0, cols, &next);
                next.rows = 0;
            }
        }
    }
}
