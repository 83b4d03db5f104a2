/* Inner products of queries with rows of a gallery, in two regimes.
 *
 * Up to four queries the scan is bound by memory: scan_dot goes through the rows once, lanes along the values, and 16-bit
 * and 8-bit rows are widened on the way into the multiply-add.
 * More queries: lanes are queries.  scan_panel multiplies a block of rows (A, values broadcast) with a panel of queries
 * (B, nv vectors wide, packed once a scan): MR x NV accumulators, as in k_gemm.c; with fewer than three vectors eight rows
 * are needed to cover the latency of the multiply-add.  scan_pick compares a block's scores with the floors, one
 * vector of queries at a time, while they are in L1.
 *
 * Sums: scan_dot: size / VL steps and a tree; scan_panel: MF_SCAN_KC steps, then one addition a block.  mf_cpu_scan_error
 * bounds both. */
#include "backends/cpu/vec.h"

#if VL == 16 || defined(__aarch64__)
#define NV 4
#else
#define NV 2
#endif
#define WIDE_MR 6
#define SLIM_MR 8

MF_INLINE vf load_as(const void *p, int64_t i, const mf_dtype dtype) {
    if (dtype == MF_F16)
        return v_from_f16((const uint16_t *)p + i);
    if (dtype == MF_I8)
        return v_from_i8((const int8_t *)p + i);
    return v_load((const float *)p + i);
}

MF_INLINE float value_as(const void *p, int64_t i, const mf_dtype dtype) {
    if (dtype == MF_I8)
        return ((const int8_t *)p)[i];
    return mf_to_f32(p, i, dtype);
}

/* ---- few queries ---- */
/* One row against nq queries.  Accumulators: at least 8, so that the latency is covered. */
MF_INLINE void dot(const char *row, const float *queries, int64_t size, const mf_dtype dtype, const int nq,
                   float *score) {
    const int u = nq == 1 ? 8 : nq == 2 ? 4 : 2;
    const int bytes = dtype == MF_F32 ? 4 : dtype == MF_F16 ? 2 : 1;
    vf acc[4][8];
    int64_t i = 0;
    MF_UNROLL
    for (int q = 0; q < nq; q++) {
        MF_UNROLL
        for (int k = 0; k < u; k++)
            acc[q][k] = (vf){0};
    }
    for (; i + u * VL <= size; i += u * VL) {
        MF_UNROLL
        for (int k = 0; k < u; k++) {
            vf x = load_as(row, i + k * VL, dtype);
            if (k * VL * bytes % 64 == 0)
                __builtin_prefetch(row + (i + k * VL) * bytes + MF_SCAN_AHEAD, 0, 3);
            MF_UNROLL
            for (int q = 0; q < nq; q++)
                acc[q][k] += x * v_load(queries + q * size + i + k * VL);
        }
    }
    for (; i + VL <= size; i += VL) {
        vf x = load_as(row, i, dtype);
        MF_UNROLL
        for (int q = 0; q < nq; q++)
            acc[q][0] += x * v_load(queries + q * size + i);
    }
    float rest[4] = {0};
    for (; i < size; i++)
        for (int q = 0; q < nq; q++)
            rest[q] += value_as(row, i, dtype) * queries[q * size + i];
    MF_UNROLL
    for (int q = 0; q < nq; q++) {
        MF_UNROLL
        for (int k = u / 2; k; k /= 2) {
            MF_UNROLL
            for (int j = 0; j < k; j++)
                acc[q][j] += acc[q][j + k];
        }
        score[q] = v_sum(acc[q][0]) + rest[q];
    }
}

#define DOT(nq, type)                                                                                                  \
    static void dot_##nq##_##type(const char *row, const float *queries, int64_t size, float *score) {                 \
        dot(row, queries, size, type, nq, score);                                                                      \
    }
#define DOTS(type) DOT(1, type) DOT(2, type) DOT(3, type) DOT(4, type)
DOTS(MF_F32)
DOTS(MF_F16)
DOTS(MF_I8)
#define DOT_ROW(type) {dot_1_##type, dot_2_##type, dot_3_##type, dot_4_##type}

void MF_FN(scan_dot)(const mf_scan *s, int64_t begin, int64_t end, float *score) {
    static void (*const table[3][4])(const char *, const float *, int64_t, float *) = {
        DOT_ROW(MF_F32), DOT_ROW(MF_F16), DOT_ROW(MF_I8)};
    int type = s->dtype == MF_F32 ? 0 : s->dtype == MF_F16 ? 1 : 2;
    size_t bytes = (size_t)s->size * (s->dtype == MF_I8 ? 1 : mf_dtype_size(s->dtype));
    for (int64_t i = begin; i < end; i++) {
        int64_t row = s->list ? s->list[i] : i;
        float *to = score + (i - begin) * s->n;
        table[type][s->n - 1]((const char *)s->rows + (size_t)row * bytes, s->queries, s->size, to);
        if (s->scale)
            for (int64_t q = 0; q < s->n; q++)
                to[q] *= s->scale[row];
    }
}

/* ---- many queries ---- */
MF_INLINE void widen(const void *row, float *to, int64_t size, const mf_dtype dtype) {
    int64_t i = 0;
    for (; i + VL <= size; i += VL)
        v_store(to + i, load_as(row, i, dtype));
    for (; i < size; i++)
        to[i] = value_as(row, i, dtype);
}

void MF_FN(scan_widen)(const mf_scan *s, int64_t row, int64_t k0, int64_t count, float *to) {
    const char *rows = s->rows;
    size_t at = (size_t)(row * s->size + k0);
    if (s->dtype == MF_F16)
        widen(rows + at * 2, to, count, MF_F16);
    else if (s->dtype == MF_I8)
        widen(rows + at, to, count, MF_I8);
    else
        widen(rows + at * 4, to, count, MF_F32);
}

/* mr rows times a panel of nv vectors, k values: c = (first ? 0 : c) + a b */
MF_INLINE void multiply(const float *a, int64_t lda, const float *b, int64_t k, float *c, int first, const int mr,
                        const int nv) {
    vf acc[SLIM_MR][NV];
    MF_UNROLL
    for (int i = 0; i < mr; i++) {
        MF_UNROLL
        for (int j = 0; j < nv; j++)
            acc[i][j] = (vf){0};
    }
    for (; k > 0; k--, a++, b += nv * VL) {
        vf row[NV];
        MF_UNROLL
        for (int j = 0; j < nv; j++)
            row[j] = v_load(b + j * VL);
        MF_UNROLL
        for (int i = 0; i < mr; i++) {
            float x = a[i * lda];
            MF_UNROLL
            for (int j = 0; j < nv; j++)
                acc[i][j] += x * row[j];
        }
    }
    MF_UNROLL
    for (int i = 0; i < mr; i++) {
        MF_UNROLL
        for (int j = 0; j < nv; j++) {
            float *to = c + (i * nv + j) * VL;
            v_store(to, first ? acc[i][j] : acc[i][j] + v_load(to));
        }
    }
}

#define PANEL(nv, mr)                                                                                                  \
    static void panel_##nv(const float *a, int64_t lda, int64_t rows, const float *b, int64_t k, float *c,             \
                           int first) {                                                                                \
        int64_t i = 0;                                                                                                 \
        for (; i + mr <= rows; i += mr)                                                                                \
            multiply(a + i * lda, lda, b, k, c + i * nv * VL, first, mr, nv);                                          \
        for (; i < rows; i++)                                                                                          \
            multiply(a + i * lda, lda, b, k, c + i * nv * VL, first, 1, nv);                                           \
    }
PANEL(1, SLIM_MR)
#if NV == 4
PANEL(2, SLIM_MR)
PANEL(3, WIDE_MR)
PANEL(4, WIDE_MR)
#else
PANEL(2, WIDE_MR)
#endif

void MF_FN(scan_panel)(const float *a, int64_t lda, int64_t rows, const float *b, int64_t k, int64_t width, float *c,
                       int first) {
    switch (width / VL) {
    case 1:
        panel_1(a, lda, rows, b, k, c, first);
        break;
    case 2:
        panel_2(a, lda, rows, b, k, c, first);
        break;
#if NV == 4
    case 3:
        panel_3(a, lda, rows, b, k, c, first);
        break;
    default:
        panel_4(a, lda, rows, b, k, c, first);
#endif
    }
}

/* ---- what is near the top ---- */
MF_INLINE void take(mf_scan_lists *l, unsigned mask, int64_t q, const float *score, float scale, uint32_t row) {
    for (; mask; mask &= mask - 1) {
        int lane = __builtin_ctz(mask);
        mf_scan_take(l, q + lane, row, score[lane] * scale);
    }
}

/* Rows begin .. end - 1 of the scan, queries q0 .. q0 + width - 1; norm: the queries' norms, padded */
void MF_FN(scan_pick)(mf_scan_lists *l, const float *c, int64_t begin, int64_t end, int64_t q0, int64_t width,
                      const float *norm) {
    const mf_scan *s = l->scan;
    for (int64_t i = begin; i < end; i++, c += width) {
        uint32_t row = mf_scan_row(s, i);
        float scale = s->scale ? s->scale[row] : 1;
        vf w = v_set(mf_scan_width(s, l->error, row));
        for (int64_t j = 0; j < width; j += VL) {
            vf score = v_load(c + j) * scale, slack = v_load(norm + q0 + j) * w + MF_SCAN_TINY;
            vf floor = v_load(l->floor + q0 + j);
            if (s->kind == MF_SCAN_TOP) {
                unsigned mask = v_mask(score + slack >= floor);
                if (__builtin_expect(mask != 0, 0))
                    take(l, mask, q0 + j, c + j, scale, row);
            } else {
                vi sure = score - slack > floor;
                unsigned mask = v_mask((score + slack > floor) & ~sure);
                for (int k = 0; k < VL; k++)
                    l->above[q0 + j + k] -= sure[k];
                if (mask)
                    take(l, mask, q0 + j, c + j, scale, row);
            }
        }
    }
}
