/* Element by element and row by row, for training: ACT_GRAD, LERP, DROPOUT, TRANSPOSE, inner products, softmax.
 *
 * Each is bound by memory.  GELU's derivative is a cubic in pieces (vec.h); by way of an exponential it took twice as
 * long as memory.  Measured on a Zen 4, two threads, out of the L3: gelu_grad 81 to 100 GB/s, dropout 105, transpose 54
 * to 138.  bench_train 2 */
#include "backends/cpu/vec.h"

/* ---- transposition, in squares of 4 ---- */
/* In blocks of 64 x 8, so that what is written meanwhile stays in L1: 8 rows of y, that may all be of one set. */
void MF_FN(transpose)(const float *x, int64_t ldx, float *y, int64_t ldy, int64_t rows, int64_t cols) {
    int64_t r4 = rows / 4 * 4, c4 = cols / 4 * 4;
    for (int64_t i0 = 0; i0 < r4; i0 += 64)
        for (int64_t j0 = 0; j0 < c4; j0 += 8)
            for (int64_t i = i0; i < mf_min64(i0 + 64, r4); i += 4)
                for (int64_t j = j0; j < mf_min64(j0 + 8, c4); j += 4)
                    mf_transpose4(x + i * ldx + j, ldx, y + j * ldy + i, ldy);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = i < r4 ? c4 : 0; j < cols; j++)
            y[j * ldy + i] = x[i * ldx + j];
}

/* ---- element by element ---- */
MF_INLINE vf act_grad(vf x, vf dy, const mf_act act) {
    if (act == MF_ACT_GELU)
        return dy * v_gelu_grad(x);
    if (act == MF_ACT_RELU)
        return v_select(x > 0.0f, dy, (vf){0});
    if (act == MF_ACT_SIGMOID) {
        vf s = v_sigmoid(x);
        return dy * s * (1.0f - s);
    }
    return dy;
}

MF_INLINE void act_grad_loop(const float *x, const float *dy, float *dx, int64_t count, const mf_act act) {
    int64_t i = 0;
    for (; i + VL <= count; i += VL)
        v_store(dx + i, act_grad(v_load(x + i), v_load(dy + i), act));
    if (i < count) {
        int n = (int)(count - i);
        v_store_n(dx + i, act_grad(v_load_n(x + i, n), v_load_n(dy + i, n), act), n);
    }
}

void MF_FN(act_grad)(const float *x, const float *dy, float *dx, int64_t count, mf_act act) {
    if (act == MF_ACT_GELU)
        act_grad_loop(x, dy, dx, count, MF_ACT_GELU);
    else if (act == MF_ACT_RELU)
        act_grad_loop(x, dy, dx, count, MF_ACT_RELU);
    else if (act == MF_ACT_SIGMOID)
        act_grad_loop(x, dy, dx, count, MF_ACT_SIGMOID);
    else
        act_grad_loop(x, dy, dx, count, MF_ACT_NONE);
}

void MF_FN(lerp)(const float *a, const float *b, float *y, int64_t count, float t) {
    int64_t i = 0;
    for (; i + VL <= count; i += VL) {
        vf x = v_load(a + i);
        v_store(y + i, x + t * (v_load(b + i) - x));
    }
    if (i < count) {
        int n = (int)(count - i);
        vf x = v_load_n(a + i, n);
        v_store_n(y + i, x + t * (v_load_n(b + i, n) - x), n);
    }
}

void MF_FN(axpy)(float *y, const float *x, int64_t count, float s) {
    int64_t i = 0;
    for (; i + VL <= count; i += VL)
        v_store(y + i, v_load(y + i) + s * v_load(x + i));
    if (i < count) {
        int n = (int)(count - i);
        v_store_n(y + i, v_load_n(y + i, n) + s * v_load_n(x + i, n), n);
    }
}

/* mf_dropout_keep of VL elements in a row: all ones or zero. */
typedef uint32_t vu __attribute__((vector_size(VL * 4)));

MF_INLINE vi keep(vu element, uint64_t base, uint32_t threshold) {
    vu x = element * 0x9e3779b9u + (uint32_t)base;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) + (uint32_t)(base >> 32);
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return (vi)(x >= threshold);
}

void MF_FN(dropout)(const float *x, float *y, int64_t count, uint32_t first, uint64_t base, uint32_t threshold,
                    float scale) {
    vu at;
    for (int i = 0; i < VL; i++)
        at[i] = first + (uint32_t)i;
    int64_t i = 0;
    for (; i + VL <= count; i += VL, at += VL)
        v_store(y + i, v_select(keep(at, base, threshold), v_load(x + i) * scale, (vf){0}));
    if (i < count) {
        int n = (int)(count - i);
        v_store_n(y + i, v_select(keep(at, base, threshold), v_load_n(x + i, n) * scale, (vf){0}), n);
    }
}

/* ---- rows ---- */
/* Blocks of 4096 products in f32, their sums in double. */
double MF_FN(dot)(const float *a, const float *b, int64_t count) {
    double sum = 0;
    int64_t i = 0;
    for (int64_t end; i + VL <= count; i = end) {
        vf s[4] = {{0}, {0}, {0}, {0}};
        end = mf_min64(i + 4096, count / VL * VL);
        int64_t k = i;
        for (; k + 4 * VL <= end; k += 4 * VL) {
            MF_UNROLL
            for (int q = 0; q < 4; q++)
                s[q] += v_load(a + k + q * VL) * v_load(b + k + q * VL);
        }
        for (; k < end; k += VL)
            s[0] += v_load(a + k) * v_load(b + k);
        sum += (double)v_sum((s[0] + s[1]) + (s[2] + s[3]));
    }
    for (; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Sums of 16 vectors in f32, those in double. */
double MF_FN(softmax_row)(const float *x, float *y, int64_t n, float scale) {
    float top = v_largest(x, n);
    double sum = 0;
    for (int64_t i = 0; i < n;) {
        vf part = {0};
        for (int64_t end = mf_min64(i + 16 * VL, n); i < end; i += VL) {
            vf e = v_exp((v_at(x, i, n) - top) * scale);
            if (y)
                v_put(y, i, n, e);
            if (i + VL > n) {
                float t[VL];
                v_store(t, e);
                e = v_load_n(t, (int)(n - i));
            }
            part += e;
        }
        sum += (double)v_sum(part);
    }
    float r = (float)(1 / sum);
    for (int64_t i = 0; y && i < n; i += VL)
        v_put(y, i, n, v_at(y, i, n) * r);
    return (double)top * (double)scale + log(sum);
}
