/* ATTENTION of one head: linear (elu + 1 feature map) and softmax.
 *
 * linear:  kv [d, d] = sum over s of K_s v_s^T with K = elu(k) + 1, ksum = sum of K_s; out = Q kv / (Q . ksum + eps).
 * softmax: out = softmax(q k^T / sqrt d) v for a block of queries: all its scores are kept, so the maximum is known
 * before the first exponential.
 *
 * The products are the plain tiles of this file, not those of k_gemm.c: their operands are strided pieces of rows of
 * C channels, copied once into dense, padded ones that stay in L1 or L2. */
#include "backends/cpu/k_attention.h"

/* Keys in blocks whose products are added up: the error grows with the number of blocks.
 * scratch: 2 x MF_ATTENTION_ROWS x dp + d x dp */
void MF_FN(linear_keys)(const mf_attention_head *p, const float *k, const float *v, float *kv, float *ksum,
                        float *scratch) {
    int64_t dp = mf_round_up(p->d, VL);
    float *kb = scratch, *vb = kb + MF_ATTENTION_ROWS * dp, *part = vb + MF_ATTENTION_ROWS * dp;
    memset(kv, 0, (size_t)(p->d * dp) * sizeof(float));
    memset(ksum, 0, (size_t)dp * sizeof(float));
    for (int64_t s = 0; s < p->s; s += MF_ATTENTION_ROWS) {
        int64_t rows = mf_min64(MF_ATTENTION_ROWS, p->s - s);
        copy_head(k + s * p->c, rows, p->c, p->d, dp, kb, 1);
        copy_head(v + s * p->c, rows, p->c, p->d, dp, vb, 0);
        product(kb, dp, 1, p->d, rows, vb, dp, part);
        for (int64_t j = 0; j < p->d * dp; j += VL)
            v_store(kv + j, v_load(kv + j) + v_load(part + j));
        for (int64_t j = 0; j < dp; j += VL) {
            vf sum = {0};
            for (int64_t i = 0; i < rows; i++)
                sum += v_load(kb + i * dp + j);
            v_store(ksum + j, v_load(ksum + j) + sum);
        }
    }
}

/* scratch: 2 x MF_ATTENTION_ROWS x dp */
void MF_FN(linear_queries)(const mf_attention_head *p, const float *q, const float *kv, const float *ksum, float *out,
                           int64_t q0, int64_t q1, float *scratch) {
    int64_t dp = mf_round_up(p->d, VL);
    float *qb = scratch, *ob = qb + MF_ATTENTION_ROWS * dp;
    will_write(out + q0 * p->c, q1 - q0, p->c, p->d);
    copy_head(q + q0 * p->c, q1 - q0, p->c, p->d, dp, qb, 1);
    product(qb, dp, 0, q1 - q0, p->d, kv, dp, ob);
    for (int64_t i = 0; i < q1 - q0; i++) {
        vf dot = {0};
        for (int64_t j = 0; j < dp; j += VL)
            dot += v_load(qb + i * dp + j) * v_load(ksum + j);
        float z = 1 / (v_sum(dot) + p->eps);
        for (int64_t j = 0; j < p->d; j += VL)
            v_store_n(out + (q0 + i) * p->c + j, v_load(ob + i * dp + j) * z, (int)mf_min64(VL, p->d - j));
    }
}

void MF_FN(softmax_keys)(const mf_attention_head *p, const float *k, const float *v, float *kt, float *vp) {
    int64_t sp = mf_round_up(p->s, VL);
    for (int64_t j = 0; j < p->d; j++)
        for (int64_t s = 0; s < sp; s++)
            kt[j * sp + s] = s < p->s ? k[s * p->c + j] : 0;
    copy_head(v, p->s, p->c, p->d, mf_round_up(p->d, VL), vp, 0);
}

/* scratch: MF_ATTENTION_ROWS x (sp + dp) */
void MF_FN(softmax_queries)(const mf_attention_head *p, const float *q, const float *kt, const float *vp, float *out,
                            int64_t q0, int64_t q1, float *scratch) {
    int64_t sp = mf_round_up(p->s, VL), dp = mf_round_up(p->d, VL), rows = q1 - q0;
    float *score = scratch, *ob = score + MF_ATTENTION_ROWS * sp, sum[MF_ATTENTION_ROWS];
    float scale = 1 / sqrtf((float)p->d);
    product(q + q0 * p->c, p->c, 0, rows, p->d, kt, sp, score);
    for (int64_t i = 0; i < rows; i++) {
        float *x = score + i * sp;
        vf top = v_set(x[0]), total = {0};
        for (int64_t j = 0; j + VL <= p->s; j += VL)
            top = v_max(top, v_load(x + j));
        float m = v_reduce_max(top);
        for (int64_t j = p->s / VL * VL; j < p->s; j++)
            m = m > x[j] ? m : x[j];
        for (int64_t j = 0; j < sp; j += VL) {
            vf e = v_exp((v_load(x + j) - m) * scale);
            v_store(x + j, e);
            total += j + VL <= p->s ? e : v_load_n(x + j, (int)(p->s - j));
        }
        sum[i] = v_sum(total);
    }
    product(score, sp, 0, rows, p->s, vp, dp, ob);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < p->d; j += VL)
            v_store_n(out + (q0 + i) * p->c + j, v_load(ob + i * dp + j) * (1 / sum[i]), (int)mf_min64(VL, p->d - j));
}
