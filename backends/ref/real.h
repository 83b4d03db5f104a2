/* The head of every file that is compiled twice: with -DMF_REAL=float -DMF_REF_TYPE=f32 and with double and f64.
 * `real` is the type of storage; sums are kept in double where they are long. */
#ifndef MFRGN_BACKENDS_REF_REAL_H
#define MFRGN_BACKENDS_REF_REAL_H

#include <math.h>
#include <string.h>

#include "backends/ref/ref.h"

typedef MF_REAL real;

#define MF_REF_PASTE2(name, type) ref_##name##_##type
#define MF_REF_PASTE(name, type) MF_REF_PASTE2(name, type)
#define REF(name) MF_REF_PASTE(name, MF_REF_TYPE)

#define MF_REF_RUN(name) void REF(name)(const mf_kernel *kernel, const void *const *inputs, void *output, void *scratch)

static inline real real_exp(real x) {
    return sizeof(real) == sizeof(float) ? (real)expf((float)x) : (real)exp((double)x);
}

/* x (1 + erf(x / sqrt 2)) / 2, by erfc: 1 + erf cancels where x is far below zero. */
static inline real real_gelu(real x) {
    real z = -x * (real)0.70710678118654752440;
    return (real)0.5 * x * (sizeof(real) == sizeof(float) ? (real)erfcf((float)z) : (real)erfc((double)z));
}

/* By the logistic function of which it is x times: 1 + tanh cancels where x is far below zero.  e^(-2 u) may be
 * infinite. */
static inline real real_gelu_tanh(real x) {
    real u = (real)0.79788456080286535588 * (x + (real)0.044715 * x * x * x);
    return x / (1 + real_exp(-2 * u));
}

static inline real real_act(mf_act act, real x) {
    switch (act) {
    case MF_ACT_GELU:
        return real_gelu(x);
    case MF_ACT_RELU:
        return x < 0 ? 0 : x; /* a NaN stays one */
    case MF_ACT_SIGMOID:
        return 1 / (1 + real_exp(-x));
    case MF_ACT_GELU_TANH:
        return real_gelu_tanh(x);
    case MF_ACT_NONE:
    case MF_ACT_COUNT:
        break;
    }
    return x;
}

/* Layer normalisation of a row in place or not; layernorm.c */
void REF(layernorm_row)(const real *x, int64_t count, const real *gamma, const real *beta, double eps, real *out);

MF_REF_RUN(matmul);
MF_REF_RUN(conv2d);
MF_REF_RUN(mlp);
MF_REF_RUN(dwconv2d);
MF_REF_RUN(layernorm);
MF_REF_RUN(groupnorm);
MF_REF_RUN(batchnorm);
MF_REF_RUN(act);
MF_REF_RUN(add);
MF_REF_RUN(mul);
MF_REF_RUN(pyramid_pool);
MF_REF_RUN(maxpool);
MF_REF_RUN(concat);
MF_REF_RUN(slice);
MF_REF_RUN(attention);
MF_REF_RUN(channel_max);
MF_REF_RUN(gated_mean);
MF_REF_RUN(l2norm);

MF_REF_RUN(transpose);
MF_REF_RUN(column_sum);
MF_REF_RUN(row_dot);
MF_REF_RUN(row_scale);
MF_REF_RUN(act_grad);
MF_REF_RUN(norm_grad);
MF_REF_RUN(norm_grad_affine);
MF_REF_RUN(batch_stats);
MF_REF_RUN(batchnorm_grad_affine);
MF_REF_RUN(batchnorm_grad);
MF_REF_RUN(conv2d_grad_input);
MF_REF_RUN(conv2d_grad_weight);
MF_REF_RUN(dwconv2d_grad_weight);
MF_REF_RUN(pyramid_pool_grad);
MF_REF_RUN(maxpool_grad);
MF_REF_RUN(pad);
MF_REF_RUN(attention_grad);
MF_REF_RUN(channel_max_grad);
MF_REF_RUN(gated_mean_grad);
MF_REF_RUN(l2norm_grad);
MF_REF_RUN(dropout);
MF_REF_RUN(lerp);
MF_REF_RUN(infonce);
MF_REF_RUN(infonce_grad);

size_t REF(matmul_scratch)(const mf_kernel *kernel);
size_t REF(conv2d_scratch)(const mf_kernel *kernel);
size_t REF(mlp_scratch)(const mf_kernel *kernel);
size_t REF(dwconv2d_scratch)(const mf_kernel *kernel);
size_t REF(batchnorm_scratch)(const mf_kernel *kernel);
size_t REF(attention_scratch)(const mf_kernel *kernel);
size_t REF(norm_grad_affine_scratch)(const mf_kernel *kernel);
size_t REF(batchnorm_grad_scratch)(const mf_kernel *kernel);
size_t REF(conv2d_grad_input_scratch)(const mf_kernel *kernel);
size_t REF(conv2d_grad_weight_scratch)(const mf_kernel *kernel);
size_t REF(maxpool_grad_scratch)(const mf_kernel *kernel);
size_t REF(attention_grad_scratch)(const mf_kernel *kernel);
size_t REF(infonce_scratch)(const mf_kernel *kernel);

size_t REF(matmul_pack_bytes)(const mf_kernel *kernel, int input);
size_t REF(conv2d_pack_bytes)(const mf_kernel *kernel, int input);
size_t REF(mlp_pack_bytes)(const mf_kernel *kernel, int input);
size_t REF(dwconv2d_pack_bytes)(const mf_kernel *kernel, int input);

void REF(matmul_pack)(const mf_kernel *kernel, int input, const void *plain, void *packed);
void REF(conv2d_pack)(const mf_kernel *kernel, int input, const void *plain, void *packed);
void REF(mlp_pack)(const mf_kernel *kernel, int input, const void *plain, void *packed);
void REF(dwconv2d_pack)(const mf_kernel *kernel, int input, const void *plain, void *packed);

#endif
