/* Which operations oneDNN computes, and which the common kernels, though both could.
 *
 * Only the instruction set and the shape decide, never a measurement at run time: the same session computes the same
 * bits every time.  Figures: time of the common kernel / time of oneDNN (above 1: oneDNN is faster) of
 *
 *     bench_onednn -t 1 -p                                      AVX-512; DNNL_MAX_CPU_ISA=AVX2 .. -i avx2: AVX2
 *
 * on a Sapphire Rapids core shared with others (processor time, fastest of many runs; +- 0.04).  Peak of one core about
 * 185 GFLOP/s (AVX-512) and 120 (AVX2).  In brackets oneDNN's GFLOP/s on 2 quiet cores.
 *
 *                                        AVX-512: 2.6.3        3.2           AVX2: 2.6.3      3.2
 *     4096 x 128 -> 512 GELU             0.87-0.90 (268)   0.91-0.97 (306)     0.97 (189)   0.98 (169)
 *     1024 x 256 -> 1024 GELU            0.85-0.88 (312)   0.90-0.96 (346)     1.02 (221)   0.99 (187)
 *     256 x 512 -> 2048 GELU             0.95-1.02 (345)   1.00-1.07 (352)     0.99 (234)   0.99 (203)
 *     64 x 1024 -> 4096 GELU             1.05-1.11 (334)   1.04-1.17 (344)     1.23 (225)   1.10 (213)
 *     batch 8 of these four              0.94-0.96         0.98-1.02           1.10
 *                                        0.97-1.00         0.99-1.02           1.08
 *                                        0.95-0.97         0.95-1.00           1.03
 *                                        1.14-1.15         1.15-1.20           1.22
 *     96 .. 384 inputs, GELU             0.85-0.98         0.91-0.99
 *     4096 x 512 -> 128 residual         1.01 (369)        1.04 (381)          1.04 (238)   0.98 (217)
 *     1024 x 1024 -> 256 residual        1.05 (367)        1.04 (390)          1.08 (248)   0.93 (221)
 *     256 x 2048 -> 512 residual         1.09 (384)        1.06 (377)          1.08 (247)   0.94 (219)
 *     64 x 4096 -> 1024 residual         1.07 (348)        1.05 (339)          1.15 (232)   1.02 (215)
 *     batch 8 of these four              1.03-1.08         1.02-1.08           1.02-1.15
 *     head: 958 x 128 -> 128, 1024       1.00, 1.03        1.02, 1.05          1.06, 1.16
 *     1 x 1024 -> 256; 8 x 1024 -> 1024  0.67; 1.34        0.66; 1.35          1.39; 1.10
 *     stem 4x4s4                         1.51 (361)        1.48 (374)          1.53 (217)
 *     2x2s2 128, 256, 512 inputs         1.04 1.17 1.42    1.05 1.09 1.40      0.81 0.92 0.96
 *     3x3 64; 256; s2                    1.18 1.47 1.10    1.16 1.42 1.12      1.09 1.19 0.99
 *     7x7s2 3 -> 64; 1x1s2; 5x1          1.40 1.08 1.11    1.37 1.07 1.11      1.36 1.05 1.07
 *     depthwise 7x7 + norm, 4 stages     0.75 0.78 0.73 0.65                   1.09 1.17 1.24 1.51
 *
 * The columns of 3.2 with AVX2 are of its first choice, brgconv_1x1; product.c asks for jit_1x1, which is 4 to 15 %
 * faster.
 *
 * Rule.  oneDNN computes convolutions and products with constant f32 weights, but not
 *   - below 2 MFLOP: making the primitive costs 0.3 to 3 ms, and the gain is microseconds;
 *   - a product with GELU and fewer than 512 inputs, with AVX-512: its GELU costs more than the common kernels';
 *   - a patch convolution (stride = kernel, no padding) of 16 channels or more, with AVX2: the gather and GEMM of the
 *     common kernels wins;
 *   - depthwise convolutions: with AVX-512 the common kernel wins, and has the norm in it; with AVX2 oneDNN's jit_dw
 * and then the common norm would save 0.5 % of an embedding, and on 3.2 (brdgmm_dw) nothing;
 *   - weights stored in 16 bits, a scale, a sigmoid: the post-ops and kernels for these are not here;
 *   - on any other instruction set (SSE4.1; oneDNN's Arm kernels are not measured). */
#include "backends/onednn/onednn.h"

/* oneDNN's own view of the machine, DNNL_MAX_CPU_ISA included: the rule is about its kernels. */
mf_isa mf_onednn_isa(void) {
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    if (MF_DNN_ISA_HAS(isa, dnnl_cpu_isa_avx512_core))
        return MF_ISA_AVX512;
    return MF_DNN_ISA_HAS(isa, dnnl_cpu_isa_avx2) ? MF_ISA_AVX2 : MF_ISA_OTHER;
}

const char *mf_onednn_isa_name(void) {
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } known[] = {
        {dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
        {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
        {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
        {dnnl_cpu_isa_avx512_core, "avx512_core"},
        {dnnl_cpu_isa_avx2_vnni, "avx2_vnni"},
        {dnnl_cpu_isa_avx2, "avx2"},
        {dnnl_cpu_isa_avx, "avx"},
        {dnnl_cpu_isa_sse41, "sse41"},
    };
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (MF_DNN_ISA_HAS(isa, known[i].isa))
            return known[i].name;
    return "no x86 extension";
}

static int is_f32(const mf_operand *o) {
    return o->dtype == MF_F32 && o->ndim >= 0 && mf_operand_count(o) > 0;
}

int mf_onednn_able(const mf_op *op) {
    const mf_operand *x = &op->input[MF_IN_X], *w = &op->input[MF_IN_W];
    if (op->kind != MF_OP_MATMUL && op->kind != MF_OP_CONV2D && op->kind != MF_OP_DWCONV2D)
        return 0;
    if (!is_f32(x) || !is_f32(w) || !is_f32(&op->output) || !w->constant)
        return 0;
    if (mf_onednn_present(op, MF_IN_BIAS) && !is_f32(&op->input[MF_IN_BIAS]))
        return 0;
    if (op->kind == MF_OP_DWCONV2D)
        return !op->attrs.norm && w->ndim == 4 && w->dim[2] % 2 && w->dim[3] % 2;
    if (mf_onednn_present(op, MF_IN_SCALE))
        return 0;
    if (mf_onednn_present(op, MF_IN_RESIDUAL) && !is_f32(&op->input[MF_IN_RESIDUAL]))
        return 0;
    if (op->attrs.act != MF_ACT_NONE && op->attrs.act != MF_ACT_GELU && op->attrs.act != MF_ACT_RELU)
        return 0;
    if (op->kind == MF_OP_MATMUL)
        return !op->attrs.ta && op->attrs.tb && w->ndim == 2;
    return w->ndim == 4 && x->ndim == 4 && op->output.ndim == 4;
}

static double flops(const mf_op *op) {
    const mf_operand *w = &op->input[MF_IN_W];
    return 2.0 * (double)mf_operand_count(&op->output) * (double)mf_operand_count(w) / (double)w->dim[0];
}

static int is_patches(const mf_op *op) {
    const mf_attrs *a = &op->attrs;
    const int64_t *w = op->input[MF_IN_W].dim;
    return op->kind == MF_OP_CONV2D && a->stride[0] == w[2] && a->stride[1] == w[3] && !a->pad[0] && !a->pad[1];
}

int mf_onednn_takes(mf_isa isa, const mf_op *op) {
    if (isa == MF_ISA_OTHER || !mf_onednn_able(op) || op->kind == MF_OP_DWCONV2D || flops(op) < 2e6)
        return 0;
    if (isa == MF_ISA_AVX512)
        return op->kind != MF_OP_MATMUL || op->attrs.act != MF_ACT_GELU || op->input[MF_IN_W].dim[1] >= 512;
    return !is_patches(op) || op->input[MF_IN_W].dim[1] < 16;
}
