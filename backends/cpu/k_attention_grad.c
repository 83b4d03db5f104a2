/* ATTENTION_GRAD of one head of one image.
 *
 * linear, with Q = elu(q) + 1, K = elu(k) + 1, kv = K^T v, z = sum of K, den = Q . z + eps, out = Q kv / den, g = dout:
 *   n = g / den;  e = - (g . out) / den;  dQ = n kv^T + e z;  dkv = Q^T n;  dz = sum of e Q
 *   dK = v dkv^T + dz;  dv = K dkv;  dq = dQ min(Q, 1), dk likewise: the derivative of elu + 1 is its value, at most 1
 * softmax, with P = softmax(s q k^T), s = 1 / sqrt d:
 *   dP = g v^T;  dS = s P (dP - row sums of P dP);  dq = dS k;  dk = dS^T q;  dv = P^T g
 *
 * Queries and keys go by in blocks of MF_ATTENTION_ROWS, dense in L1; a head is one chunk, so that no sum is split
 * over threads.  Measured on a Zen 4, two threads, peak 236 GFLOP/s, 84 queries and 286 keys, 8 x 4 heads of 32
 * channels: linear 157, softmax 145.  bench_train 2 attention_grad */
#include "backends/cpu/k_attention.h"

enum { R = MF_ATTENTION_ROWS };

MF_INLINE float row_dot(const float *a, const float *b, int64_t dp) {
    vf s = {0};
    for (int64_t j = 0; j < dp; j += VL)
        s += v_load(a + j) * v_load(b + j);
    return v_sum(s);
}

static void add_to(float *to, const float *x, int64_t count) {
    for (int64_t j = 0; j < count; j += VL)
        v_store(to + j, v_load(to + j) + v_load(x + j));
}

/* [d][dp] of a [d][dp] whose first d columns count */
static void turn(const float *x, int64_t d, int64_t dp, float *to) {
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < dp; j++)
            to[i * dp + j] = j < d ? x[j * dp + i] : 0;
}

typedef struct linear {
    int64_t dp;
    float *kb, *vb, *part, *ob, *kv, *kvt, *dkv, *dkvt, *ksum, *dz;
} linear;

/* scratch: 3 x R x dp + 5 x d x dp + 2 x dp */
static linear linear_of(const mf_attention_head *p, float *scratch) {
    linear l = {.dp = mf_round_up(p->d, VL)};
    int64_t rows = R * l.dp, square = p->d * l.dp;
    l.kb = scratch;
    l.vb = l.kb + rows;
    l.part = l.vb + rows;
    l.ob = l.part + square;
    l.kv = l.ob + rows;
    l.kvt = l.kv + square;
    l.dkv = l.kvt + square;
    l.dkvt = l.dkv + square;
    l.ksum = l.dkvt + square;
    l.dz = l.ksum + l.dp;
    return l;
}

/* One block of queries: dq, and its part of dkv and dz. */
static void linear_queries(const mf_attention_head *p, const linear *l, const float *q, const float *dout, float *dq,
                           int64_t rows) {
    const int64_t dp = l->dp, d = p->d, c = p->c;
    float e[R];
    will_write(dq, rows, c, d);
    copy_head(q, rows, c, d, dp, l->kb, 1);
    copy_head(dout, rows, c, d, dp, l->vb, 0);
    product(l->kb, dp, 0, rows, d, l->kv, dp, l->ob);
    for (int64_t i = 0; i < rows; i++) {
        const float *qb = l->kb + i * dp;
        float *g = l->vb + i * dp, r = 1 / (row_dot(qb, l->ksum, dp) + p->eps);
        e[i] = -row_dot(g, l->ob + i * dp, dp) * r * r;
        for (int64_t j = 0; j < dp; j += VL) {
            v_store(g + j, v_load(g + j) * r);
            v_store(l->dz + j, v_load(l->dz + j) + e[i] * v_load(qb + j));
        }
    }
    product(l->kb, dp, 1, d, rows, l->vb, dp, l->part);
    add_to(l->dkv, l->part, d * dp);
    product(l->vb, dp, 0, rows, d, l->kvt, dp, l->ob);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < dp; j += VL)
            v_put(dq + i * c, j, d,
                  (v_load(l->ob + i * dp + j) + e[i] * v_load(l->ksum + j)) *
                      v_min(v_load(l->kb + i * dp + j), v_set(1)));
}

void MF_FN(linear_grad)(const mf_attention_head *p, const float *q, const float *k, const float *v, const float *dout,
                        float *dq, float *dk, float *dv, float *scratch) {
    const linear l = linear_of(p, scratch);
    const int64_t dp = l.dp, d = p->d, c = p->c;
    MF_FN(linear_keys)(p, k, v, l.kv, l.ksum, scratch);
    turn(l.kv, d, dp, l.kvt);
    memset(l.dkv, 0, (size_t)(d * dp) * sizeof(float));
    memset(l.dz, 0, (size_t)dp * sizeof(float));
    for (int64_t t = 0; t < p->t; t += R)
        linear_queries(p, &l, q + t * c, dout + t * c, dq + t * c, mf_min64(R, p->t - t));
    turn(l.dkv, d, dp, l.dkvt);
    for (int64_t s = 0; s < p->s; s += R) {
        int64_t rows = mf_min64(R, p->s - s);
        will_write(dk + s * c, rows, c, d);
        will_write(dv + s * c, rows, c, d);
        copy_head(k + s * c, rows, c, d, dp, l.kb, 1);
        copy_head(v + s * c, rows, c, d, dp, l.vb, 0);
        product(l.kb, dp, 0, rows, d, l.dkv, dp, l.ob);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < dp; j += VL)
                v_put(dv + (s + i) * c, j, d, v_load(l.ob + i * dp + j));
        product(l.vb, dp, 0, rows, d, l.dkvt, dp, l.ob);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < dp; j += VL)
                v_put(dk + (s + i) * c, j, d,
                      (v_load(l.ob + i * dp + j) + v_load(l.dz + j)) * v_min(v_load(l.kb + i * dp + j), v_set(1)));
    }
}

/* ---- softmax ---- */
typedef struct softmax {
    int64_t sp, dp;
    float *kt, *vt, *kp, *dk, *dv, *part, *score, *ds, *qb, *gb, *ob;
} softmax;

/* scratch: 2 x d x sp + 4 x s x dp + R x (2 x sp + 3 x dp) */
static softmax softmax_of(const mf_attention_head *p, float *scratch) {
    softmax x = {.sp = mf_round_up(p->s, VL), .dp = mf_round_up(p->d, VL)};
    int64_t turned = p->d * x.sp, keys = p->s * x.dp;
    x.kt = scratch;
    x.vt = x.kt + turned;
    x.kp = x.vt + turned;
    x.dk = x.kp + keys;
    x.dv = x.dk + keys;
    x.part = x.dv + keys;
    x.score = x.part + keys;
    x.ds = x.score + R * x.sp;
    x.qb = x.ds + R * x.sp;
    x.gb = x.qb + R * x.dp;
    x.ob = x.gb + R * x.dp;
    return x;
}

/* score -> P, ds -> dS; zeros behind the last key */
static void softmax_row(const mf_attention_head *p, float *score, float *ds, int64_t sp) {
    const float scale = 1 / sqrtf((float)p->d);
    float top = v_largest(score, p->s);
    vf total = {0}, dot = {0};
    for (int64_t j = 0; j < sp; j += VL) {
        vf e = v_exp((v_load(score + j) - top) * scale);
        if (j + VL > p->s) {
            v_store(score + j, e);
            e = v_load_n(score + j, (int)(p->s - j));
        }
        v_store(score + j, e);
        total += e;
        dot += e * v_load(ds + j);
    }
    float r = 1 / v_sum(total), mean = v_sum(dot) * r;
    for (int64_t j = 0; j < sp; j += VL) {
        vf e = v_load(score + j) * r;
        v_store(score + j, e);
        v_store(ds + j, e * (v_load(ds + j) - mean) * scale);
    }
}

void MF_FN(softmax_grad)(const mf_attention_head *p, const float *q, const float *k, const float *v, const float *dout,
                         float *dq, float *dk, float *dv, float *scratch) {
    const softmax x = softmax_of(p, scratch);
    const int64_t sp = x.sp, dp = x.dp, d = p->d, c = p->c;
    MF_FN(softmax_keys)(p, k, v, x.kt, x.part);
    MF_FN(softmax_keys)(p, v, k, x.vt, x.kp);
    memset(x.dk, 0, (size_t)(2 * p->s * dp) * sizeof(float));
    for (int64_t t = 0; t < p->t; t += R) {
        int64_t rows = mf_min64(R, p->t - t);
        copy_head(q + t * c, rows, c, d, dp, x.qb, 0);
        copy_head(dout + t * c, rows, c, d, dp, x.gb, 0);
        product(x.qb, dp, 0, rows, d, x.kt, sp, x.score);
        product(x.gb, dp, 0, rows, d, x.vt, sp, x.ds);
        for (int64_t i = 0; i < rows; i++)
            softmax_row(p, x.score + i * sp, x.ds + i * sp, sp);
        product(x.ds, sp, 0, rows, p->s, x.kp, dp, x.ob);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < dp; j += VL)
                v_put(dq + (t + i) * c, j, d, v_load(x.ob + i * dp + j));
        product(x.ds, sp, 1, p->s, rows, x.qb, dp, x.part);
        add_to(x.dk, x.part, p->s * dp);
        product(x.score, sp, 1, p->s, rows, x.gb, dp, x.part);
        add_to(x.dv, x.part, p->s * dp);
    }
    for (int64_t i = 0; i < p->s; i++)
        for (int64_t j = 0; j < dp; j += VL) {
            v_put(dk + i * c, j, d, v_load(x.dk + i * dp + j));
            v_put(dv + i * c, j, d, v_load(x.dv + i * dp + j));
        }
}
