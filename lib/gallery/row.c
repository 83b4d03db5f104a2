/* Descriptors in the forms that a gallery keeps, and their exact products. */
#include <math.h>
#include <string.h>

#include "gallery/index.h"
#include "io/weights.h"

static float up(double v) {
    /* 1e-6 is more than all rounding here, and that of the sum in double. */
    return (float)(v * (1 + 1e-6));
}

static double length_of(const float *v, size_t n) {
    double sum[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++)
            sum[k] += (double)v[i + k] * v[i + k];
    for (; i < n; i++)
        sum[0] += (double)v[i] * v[i];
    return sqrt(((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7])));
}

float mf_norm_up(const float *values, size_t size) {
    return up(length_of(values, size));
}

static void make_f16(const float *values, size_t size, uint16_t *codes) {
    mf_convert(MF_F16, codes, MF_F32, values, size);
    for (size_t i = 0; i < size; i++)
        if ((codes[i] & 0x7fff) == 0x7c00) /* beyond f16: its largest; the residual tells how far off */
            codes[i]--;
}

static float make_i8(const float *values, size_t size, int8_t *codes) {
    float most = 0;
    for (size_t i = 0; i < size; i++)
        most = fmaxf(most, fabsf(values[i]));
    float scale = most / 127;
    if (!(scale > 0)) {
        memset(codes, 0, size);
        return 0;
    }
    for (size_t i = 0; i < size; i++) {
        float v = values[i] / scale;
        int n = (int)(v + (v < 0 ? -0.5f : 0.5f));
        codes[i] = (int8_t)(n > 127 ? 127 : n < -127 ? -127 : n);
    }
    return scale;
}

enum { PIECE = 512 };

/* Values of a row as they are stored in codes, exact in double. */
static void decode(mf_dtype type, const void *codes, float scale, size_t at, size_t n, double *out) {
    float f[PIECE];
    if (type == MF_I8) {
        for (size_t i = 0; i < n; i++)
            out[i] = (double)scale * ((const int8_t *)codes)[at + i];
        return;
    }
    mf_convert(MF_F32, f, MF_F16, (const uint16_t *)codes + at, n);
    for (size_t i = 0; i < n; i++)
        out[i] = f[i];
}

void mf_row_make(const float *values, size_t size, mfrgn_index_storage storage, void *codes, mf_row *row) {
    *row = (mf_row){.f32 = mf_storage_has_f32(storage) ? values : NULL};
    row->norm = mf_norm_up(values, size);
    if (!mf_storage_has_codes(storage))
        return;
    mf_dtype type = mf_storage_code(storage);
    double v[PIECE], residual = 0, norm = 0;
    row->codes = codes;
    if (type == MF_I8)
        row->scale = make_i8(values, size, codes);
    else
        make_f16(values, size, codes);
    for (size_t at = 0; at < size; at += PIECE) {
        size_t n = size - at < PIECE ? size - at : PIECE;
        decode(type, codes, row->scale, at, n, v);
        for (size_t i = 0; i < n; i++) {
            residual += (values[at + i] - v[i]) * (values[at + i] - v[i]);
            norm += v[i] * v[i];
        }
    }
    if (row->f32)
        row->residual = up(sqrt(residual));
    else
        row->norm = up(sqrt(norm));
}

void mf_row_of(const mfrgn_index *index, size_t tile, mf_row *row) {
    size_t size = index->header.size;
    *row = (mf_row){.norm = index->norm[tile],
                    .scale = index->scale ? index->scale[tile] : 0,
                    .residual = index->residual ? index->residual[tile] : 0};
    if (index->f32)
        row->f32 = index->f32 + tile * size;
    if (index->codes)
        row->codes = (const char *)index->codes +
                     tile * size * (mf_storage_code(index->header.storage) == MF_I8 ? 1 : 2);
}

/* Sixteen sums, value i in sum i % 16, joined in halves. */
typedef struct sums {
    double lane[16];
} sums;

static inline __attribute__((always_inline)) void add_products_body(sums *s, const float *query, const float *row,
                                                                    size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++)
            s->lane[k] += (double)query[i + k] * row[i + k];
    for (int k = 0; i < n; i++, k++)
        s->lane[k] += (double)query[i] * row[i];
}

static void add_products_portable(sums *s, const float *query, const float *row, size_t n) {
    add_products_body(s, query, row, n);
}

#if defined(__x86_64__)
/* The same bits: a product of two f32 is exact in double, fused with its sum or not. */
__attribute__((target("avx2,fma"))) static void add_products_avx2(sums *s, const float *query, const float *row,
                                                                  size_t n) {
    add_products_body(s, query, row, n);
}
#endif

static void add_products(sums *s, const float *query, const float *row, size_t n) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        add_products_avx2(s, query, row, n);
        return;
    }
#endif
    add_products_portable(s, query, row, n);
}

static double join(sums *s) {
    for (int n = 8; n; n /= 2)
        for (int k = 0; k < n; k++)
            s->lane[k] += s->lane[k + n];
    return s->lane[0];
}

float mf_product(const float *query, const float *row, size_t size) {
    sums s = {{0}};
    add_products(&s, query, row, size);
    return (float)join(&s);
}

float mf_score(const mfrgn_index *index, const float *query, size_t tile) {
    size_t size = index->header.size;
    sums s = {{0}};
    float scale = 1;
    if (index->f32)
        return mf_product(query, index->f32 + tile * size, size);
    mf_dtype type = mf_storage_code(index->header.storage);
    for (size_t at = 0; at < size; at += PIECE) { /* PIECE is a multiple of 16: the order stays */
        float v[PIECE];
        size_t n = size - at < PIECE ? size - at : PIECE;
        if (type == MF_F16)
            mf_convert(MF_F32, v, MF_F16, (const uint16_t *)index->codes + tile * size + at, n);
        else
            for (size_t i = 0; i < n; i++)
                v[i] = ((const int8_t *)index->codes)[tile * size + at + i];
        add_products(&s, query + at, v, n);
    }
    if (type == MF_I8)
        scale = index->scale[tile];
    return (float)(join(&s) * scale);
}
