/* The operations of one type. */
#include "backends/ref/real.h"

const ref_entry REF(table)[MF_OP_COUNT] = {
    [MF_OP_MATMUL] = {REF(matmul), REF(matmul_scratch), REF(matmul_pack_bytes), REF(matmul_pack)},
    [MF_OP_CONV2D] = {REF(conv2d), REF(conv2d_scratch), REF(conv2d_pack_bytes), REF(conv2d_pack)},
    [MF_OP_DWCONV2D] = {REF(dwconv2d), REF(dwconv2d_scratch), REF(dwconv2d_pack_bytes), REF(dwconv2d_pack)},
    [MF_OP_LAYERNORM] = {.run = REF(layernorm)},
    [MF_OP_GROUPNORM] = {.run = REF(groupnorm)},
    [MF_OP_BATCHNORM] = {.run = REF(batchnorm), .scratch = REF(batchnorm_scratch)},
    [MF_OP_ACT] = {.run = REF(act)},
    [MF_OP_ADD] = {.run = REF(add)},
    [MF_OP_MUL] = {.run = REF(mul)},
    [MF_OP_PYRAMID_POOL] = {.run = REF(pyramid_pool)},
    [MF_OP_MAXPOOL] = {.run = REF(maxpool)},
    [MF_OP_CONCAT] = {.run = REF(concat)},
    [MF_OP_SLICE] = {.run = REF(slice)},
    [MF_OP_ATTENTION] = {.run = REF(attention), .scratch = REF(attention_scratch)},
    [MF_OP_CHANNEL_MAX] = {.run = REF(channel_max)},
    [MF_OP_GATED_MEAN] = {.run = REF(gated_mean)},
    [MF_OP_L2NORM] = {.run = REF(l2norm)},
};
