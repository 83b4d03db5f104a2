/* The operations of the graph, as a backend sees them.
 *
 * This header and backends/backend.h are all that a backend knows: operations, operands and buffers, nothing of
 * MFRGN.  Every tensor is dense and row-major.  A feature map is N x H x W x C and thereby already the token
 * matrix N x T x C with T = H W.  Weights keep the shape and order of the state dict (PyTorch's).  Inputs and output
 * never overlap, but for what mf_kernel_info.residual_in_place says. */
#ifndef MFRGN_GRAPH_OP_H
#define MFRGN_GRAPH_OP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#define MF_EVERYWHERE static inline __host__ __device__
#else
#define MF_EVERYWHERE static inline
#endif

typedef enum mf_dtype {
    MF_F32 = 0,
    MF_F64 = 1,
    MF_F16 = 2,
    MF_BF16 = 3,
    MF_U8 = 4,
    MF_I8 = 5,
    MF_I16 = 6,
    MF_I32 = 7,
    MF_I64 = 8,
    MF_BOOL = 9,
    MF_DTYPE_COUNT = 10
} mf_dtype;

enum { MF_MAX_DIMS = 4, MF_MAX_INPUTS = 8, MF_MAX_OUTPUTS = 1, MF_MAX_LEVELS = 8 };

/* Each line: inputs -> output.  "?" marks an optional input: its slot stays, marked absent (ndim < 0).
 * v, r: values in the epilogue of a product. */
typedef enum mf_op_kind {
    MF_OP_NONE = 0,
    /* a [.. , M, K] (ta: [.. , K, M]); b [N, K] (tb = 1) or [K, N] (tb = 0), shared by the batch; bias [N]?; scale
     * [N]?; residual [.. , M, N]?  ->  [.. , M, N].   v = act(a b + bias); out = residual + scale v. Without ta,
     * everything before the last dimension of a is rows: a map may be multiplied as it is. */
    MF_OP_MATMUL,
    /* x [N, H, W, C]; w [O, C, kh, kw]; bias [O]?; scale [O]?; residual? -> [N, Ho, Wo, O], the same epilogue */
    MF_OP_CONV2D,
    /* x [.. , K]; w [N, H]; bias [N]?; scale [N]?; residual [.. , N]?; first w [H, K]; first bias [H]? -> [.. , N]:
     * MATMUL (tb) of act(x first_w^T + first bias), which nobody else reads and nobody needs to store whole */
    MF_OP_MLP,
    /* x [N, H, W, C]; w [C, 1, kh, kw]; bias [C]?; gamma [C]?; beta [C]? -> same shape as x ("same" padding).
     * With attrs.norm: layer normalisation over C of the result (eps), then gamma and beta where present */
    MF_OP_DWCONV2D,
    /* x [.. , C]; gamma [C]?; beta [C]? */
    MF_OP_LAYERNORM,
    /* x [N, H, W, C]; gamma [C]; beta [C]; attrs.groups */
    MF_OP_GROUPNORM,
    /* x [.. , C]; gamma; beta; mean; var: with running statistics (inference); attrs.act on the result */
    MF_OP_BATCHNORM,
    /* x -> act(x) */
    MF_OP_ACT,
    /* a, b -> a + b, a * b: b repeats over a (the number of elements of b divides a's, b's shape is a suffix of a's);
     * attrs.act on the result */
    MF_OP_ADD,
    MF_OP_MUL,
    /* x [N, H, W, C] -> [N, sum of h w over attrs.levels, C]: adaptive average pools, each flattened row-major.
     * Cell i of n over a length L averages floor(i L / n) .. ceil((i + 1) L / n) - 1 */
    MF_OP_PYRAMID_POOL,
    /* x [N, H, W, C]; kernel, stride, padding (padding counts as minus infinity) */
    MF_OP_MAXPOOL,
    /* up to MF_MAX_INPUTS tensors, equal but for attrs.axis */
    MF_OP_CONCAT,
    /* x; attrs.axis, begin, end */
    MF_OP_SLICE,
    /* q [N, T, C]; k [N, S, C]; v [N, S, C] -> [N, T, C]; attrs.heads of C / heads channels each.
     * linear:  Q = elu(q) + 1, K = elu(k) + 1;  out = Q (K^T v) / (Q . sum_s K_s + eps)
     * softmax: out = softmax(q k^T / sqrt(C / heads)) v */
    MF_OP_ATTENTION,
    /* x [.. , C] -> [.. , 1], the maximum over C */
    MF_OP_CHANNEL_MAX,
    /* s [N, T, C] (or a map); channel gate [N, 1, C]; position gate [N, T, 1] -> [N, 1, C]:
     * the mean over T of s * ch * sp + s */
    MF_OP_GATED_MEAN,
    /* x [.. , C] -> x / max(norm of the row, eps) */
    MF_OP_L2NORM,
    /* x -> the same values in another shape.  Never reaches a backend: the memory plan makes it a view */
    MF_OP_RESHAPE,

    /* x -> the nearest values of the output's type */
    MF_OP_CAST,

    /* ---- training.  dy: the gradient of the loss in y; a gradient of an operation is named after it.
     * An operation with several gradients has one flat output [dx | dy | ..], each part dense in its operand's shape:
     * slices of it are views. ---- */
    /* x [.. , A, B] -> [.. , B, A] */
    MF_OP_TRANSPOSE,
    /* x [.. , C]; y of x's shape? -> [C]: the sum over the rows of x, or of x y */
    MF_OP_COLUMN_SUM,
    /* a [N, ..]; b of a's shape -> [N]: the inner product of each row */
    MF_OP_ROW_DOT,
    /* a [N, ..]; s [N] -> a[n, ..] s[n] */
    MF_OP_ROW_SCALE,
    /* x; dy -> dy act'(x) */
    MF_OP_ACT_GRAD,
    /* x [.. , C]; gamma [C]?; dy -> dx; attrs.eps */
    MF_OP_LAYERNORM_GRAD,
    /* x; dy -> [2, C]: of gamma, of beta */
    MF_OP_LAYERNORM_GRAD_AFFINE,
    /* x [N, H, W, C]; gamma [C]; dy -> dx; attrs.groups, eps */
    MF_OP_GROUPNORM_GRAD,
    MF_OP_GROUPNORM_GRAD_AFFINE, /* x; dy -> [2, C] */
    /* x [.. , C] -> [3, C]: over the rows, the mean, the variance (divided by n), the variance divided by n - 1 */
    MF_OP_BATCH_STATS,
    /* x; mean [C]; var [C]; dy -> [2, C] */
    MF_OP_BATCHNORM_GRAD_AFFINE,
    /* x; gamma; mean; var; dy; affine [2, C] (what BATCHNORM_GRAD_AFFINE gives) -> dx.  With attrs.own mean and var are
     * x's own (BATCH_STATS) and pass gradients on; else they are constants, and `affine` is not read */
    MF_OP_BATCHNORM_GRAD,
    /* dy [N, Ho, Wo, O]; w [O, C, kh, kw] -> [N, attrs.size, C] */
    MF_OP_CONV2D_GRAD_INPUT,
    /* x; dy -> [O, C, kh, kw] */
    MF_OP_CONV2D_GRAD_WEIGHT,
    MF_OP_DWCONV2D_GRAD_INPUT,  /* dy; w [C, 1, kh, kw] -> dx */
    MF_OP_DWCONV2D_GRAD_WEIGHT, /* x; dy -> [C, 1, kh, kw] */
    /* dy [N, T, C] -> [N, attrs.size, C] */
    MF_OP_PYRAMID_POOL_GRAD,
    /* x; dy -> dx: to the first largest of each window, in row-major order */
    MF_OP_MAXPOOL_GRAD,
    /* x -> zeros but for x at attrs.begin of attrs.axis, which is attrs.end long: SLICE's gradient */
    MF_OP_PAD,
    /* q; k; v; dout -> flat [dq | dk | dv]; attrs as ATTENTION's */
    MF_OP_ATTENTION_GRAD,
    /* x [.. , C]; dy [.. , 1] -> dx: to the first largest of each row */
    MF_OP_CHANNEL_MAX_GRAD,
    /* s; channel gate; position gate; dy [N, 1, C] -> flat [ds | dchannel | dposition] */
    MF_OP_GATED_MEAN_GRAD,
    MF_OP_L2NORM_GRAD, /* x; dy -> dx */
    /* x [N, ..]; key [3] of MF_I64 -> x, each value kept with probability 1 - attrs.rate and divided by it, else 0.
     * Its own gradient.  mf_dropout_keep() says which are kept */
    MF_OP_DROPOUT,
    /* a; b of a's shape -> a + attrs.rate (b - a) */
    MF_OP_LERP,
    /* q [N, D]; r [N, D]; logit scale [] -> [1]: symmetric InfoNCE with label smoothing attrs.rate.
     * L = exp(logit scale) q r^T; loss = (CE(L) + CE(L^T)) / 2, CE the mean over rows against the target
     * (1 - rate) on the diagonal + rate / N everywhere */
    MF_OP_INFONCE,
    /* q; r; logit scale; dloss [1] -> flat [dq | dr | dlogit_scale] */
    MF_OP_INFONCE_GRAD,
    MF_OP_COUNT
} mf_op_kind;

typedef enum mf_act {
    MF_ACT_NONE = 0,
    MF_ACT_GELU = 1, /* exact: x (1 + erf(x / sqrt 2)) / 2 */
    MF_ACT_RELU = 2,
    MF_ACT_SIGMOID = 3,
    /* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, within 5e-4 of GELU.  Source: Hendrycks and Gimpel, 2016.  For
     * inference: it has no gradient */
    MF_ACT_GELU_TANH = 4,
    MF_ACT_COUNT = 5
} mf_act;

/* Whether ACT_GRAD knows it. */
static inline int mf_act_has_gradient(mf_act act) {
    return (unsigned)act < MF_ACT_COUNT && act != MF_ACT_GELU_TANH;
}

typedef enum mf_attention { MF_ATTENTION_LINEAR = 0, MF_ATTENTION_SOFTMAX = 1 } mf_attention;

typedef struct mf_attrs {
    mf_act act;
    int ta, tb;                       /* MATMUL */
    int kernel[2], stride[2], pad[2]; /* rows, columns: CONV2D, DWCONV2D, MAXPOOL */
    int norm;                         /* DWCONV2D */
    double eps;                       /* norms, linear attention, L2NORM */
    int groups;                       /* GROUPNORM */
    int heads;                        /* ATTENTION */
    mf_attention attention;
    int axis;                     /* CONCAT, SLICE */
    int64_t begin, end;           /* SLICE */
    int own;                      /* BATCHNORM, BATCHNORM_GRAD: mean and var are x's own */
    double rate;                  /* DROPOUT, LERP, INFONCE */
    int id;                       /* DROPOUT: tells the masks of one run apart */
    int64_t size[2];              /* rows and columns of the result: CONV2D_GRAD_INPUT, PYRAMID_POOL_GRAD */
    int level_count;              /* PYRAMID_POOL */
    int levels[MF_MAX_LEVELS][2]; /* rows, columns */
} mf_attrs;

/* What is known of an operand before there is data. */
typedef struct mf_operand {
    mf_dtype dtype;
    int ndim; /* -1: an absent optional input */
    int64_t dim[MF_MAX_DIMS];
    int constant; /* 1: known when the kernel is prepared and the same in every run: may be packed */
} mf_operand;

typedef struct mf_op {
    mf_op_kind kind;
    mf_attrs attrs;
    int input_count;
    mf_operand input[MF_MAX_INPUTS];
    mf_operand output;
} mf_op;

/* Slots of the inputs of products and norms. */
enum {
    MF_IN_X = 0,
    MF_IN_W = 1,
    MF_IN_BIAS = 2,
    MF_IN_SCALE = 3,      /* products */
    MF_IN_RESIDUAL = 4,   /* products */
    MF_IN_GAMMA = 3,      /* DWCONV2D */
    MF_IN_BETA = 4,       /* DWCONV2D */
    MF_IN_FIRST_W = 5,    /* MLP */
    MF_IN_FIRST_BIAS = 6, /* MLP */
    MF_MLP_INPUTS = 7
};

/* Has the epilogue of a product: bias, scale, residual in their slots. */
static inline int mf_op_is_product(mf_op_kind kind) {
    return kind == MF_OP_MATMUL || kind == MF_OP_CONV2D || kind == MF_OP_MLP;
}

static inline int mf_operand_present(const mf_operand *o) {
    return o->ndim >= 0;
}

static inline int64_t mf_operand_count(const mf_operand *o) {
    int64_t n = 1;
    for (int i = 0; i < o->ndim; i++)
        n *= o->dim[i];
    return o->ndim < 0 ? 0 : n;
}

/* Rows of a [rows, C] view of an operand whose last dimension is C. */
static inline int64_t mf_operand_rows(const mf_operand *o) {
    int64_t n = 1;
    for (int i = 0; i + 1 < o->ndim; i++)
        n *= o->dim[i];
    return n;
}

static inline int64_t mf_operand_last(const mf_operand *o) {
    return o->ndim > 0 ? o->dim[o->ndim - 1] : 1;
}

/* A product of two matrices [K, M], [K, N] sums over the rows of a map: the gradient of a weight, f32 whatever it reads. */
static inline int mf_op_is_weight_gradient(const mf_op *op) {
    return op->kind == MF_OP_MATMUL && op->attrs.ta && op->output.ndim == 2;
}

/* The same values as rows of a matrix. */
static inline mf_operand mf_operand_matrix(const mf_operand *like, int64_t rows, int64_t columns) {
    mf_operand o = *like;
    o.ndim = like->ndim < 0 ? -1 : 2;
    o.dim[0] = rows;
    o.dim[1] = columns;
    return o;
}

/* The two products of an MLP, of `rows` of its rows: x [rows, K] to the hidden values [rows, H], those to [rows, N]. */
static inline void mf_mlp_parts(const mf_op *mlp, int64_t rows, mf_op *first, mf_op *second) {
    const int64_t n = mf_operand_last(&mlp->output);
    *first = *mlp;
    first->kind = MF_OP_MATMUL;
    first->attrs.tb = 1;
    first->input_count = MF_IN_RESIDUAL + 1;
    *second = *first;
    first->input[MF_IN_X] = mf_operand_matrix(&mlp->input[MF_IN_X], rows, mf_operand_last(&mlp->input[MF_IN_X]));
    first->input[MF_IN_W] = mlp->input[MF_IN_FIRST_W];
    first->input[MF_IN_BIAS] = mlp->input[MF_IN_FIRST_BIAS];
    first->input[MF_IN_SCALE].ndim = first->input[MF_IN_RESIDUAL].ndim = -1;
    first->output = mf_operand_matrix(&mlp->output, rows, mf_operand_last(&mlp->input[MF_IN_W]));
    second->attrs.act = MF_ACT_NONE;
    second->input[MF_IN_X] = first->output;
    second->input[MF_IN_RESIDUAL] = mf_operand_matrix(&mlp->input[MF_IN_RESIDUAL], rows, n);
    second->output = mf_operand_matrix(&mlp->output, rows, n);
}

/* DROPOUT's mask, the same on every backend: SplitMix64's finaliser over a counter.  key: seed, step, and the place in
 * the whole batch of the first image, so that the masks of a batch do not depend on how it is cut.
 * element: the index within the image. */
MF_EVERYWHERE uint64_t mf_mix64(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Of one image of a run: taken once, outside the loop over its elements. */
MF_EVERYWHERE uint64_t mf_dropout_base(const int64_t key[3], int id, int64_t image) {
    uint64_t z = mf_mix64((uint64_t)key[0] + 0x9e3779b97f4a7c15u);
    z = mf_mix64(z + (uint64_t)key[1] * 0x9e3779b97f4a7c15u + (uint64_t)(unsigned)id);
    return mf_mix64(z + (uint64_t)(key[2] + image) * 0xd1342543de82ef95u);
}

/* rate as a threshold of 32 bits */
static inline uint32_t mf_dropout_threshold(double rate) {
    return (uint32_t)(rate * 4294967296.0);
}

/* 32 bits an element (a cheap mix of 32 bits, so that it vectorises); kept if they are not below the threshold */
MF_EVERYWHERE int mf_dropout_keep(uint64_t base, uint32_t element, uint32_t threshold) {
    uint32_t x = element * 0x9e3779b9u + (uint32_t)base;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) + (uint32_t)(base >> 32);
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x >= threshold;
}

static inline int mf_dtype_is_16_bit(mf_dtype t) {
    return t == MF_F16 || t == MF_BF16;
}

static inline size_t mf_dtype_size(mf_dtype t) {
    static const unsigned char size[MF_DTYPE_COUNT] = {4, 8, 2, 2, 1, 1, 2, 4, 8, 1};
    return (unsigned)t < MF_DTYPE_COUNT ? size[t] : 0;
}

#endif
