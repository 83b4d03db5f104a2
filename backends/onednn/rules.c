/* Which operations oneDNN computes, and which the common kernels, though both could.
 *
 * Only the instruction set and the shape decide, never a measurement at run time: the same session computes the same
 * bits every time.  Figures: time of the common kernel / time of oneDNN (above 1: oneDNN is faster).
 *
 *     bench_onednn -t 1 -p                                 DNNL_MAX_CPU_ISA=AVX2 bench_onednn -i avx2 -t 1 -p
 *
 * Two cores of a Sapphire Rapids that others used too (load 4 to 6): one thread, processor time, the fastest of many
 * runs in one go; repetitions differed by about 0.05, so 0.95 to 1.05 is no difference.  In brackets: 2 threads, clock
 * time, one go at high priority on the same busy machine; only rows that it did not visibly disturb (left out: stem,
 * 958 rows).  Taken with the common kernels of commit f6ced82; later changes to them are not in here.
 *
 *                                   AVX-512: 2.6.3              3.2                     AVX2: 2.6.3
 *     4096 x 128 -> 512 GELU        0.81 (0.80)                 0.90                    1.05
 *     1024 x 256 -> 1024 GELU       0.89 (0.88)                 0.91                    1.00
 *     256 x 512 -> 2048 GELU        0.92 (0.92)                 0.87                    1.02
 *     64 x 1024 -> 4096 GELU        0.85 (0.92)                 0.82                    1.23
 *     the same, batch 8             0.89 0.88 0.87 0.99         1.01 0.96 0.90 1.04     1.10 1.12 1.04 1.18
 *     4096 x 512 -> 128 residual    0.97 (0.99)                 0.99                    0.95
 *     1024 x 1024 -> 256 residual   1.00 (1.00)                 1.00                    1.08
 *     256 x 2048 -> 512 residual    0.95 (1.00)                 0.94                    1.09
 *     64 x 4096 -> 1024 residual    0.86 (0.91)                 0.81                    1.07
 *     the same, batch 8             1.00 1.02 0.98 0.98         0.98 1.04 0.97 0.97     0.98 1.09 1.15 1.12
 *     widths 96 .. 768, GELU        0.78 0.87 0.89 0.93         0.85 0.96 0.92 0.90
 *     widths 96 .. 768, residual    1.04 1.01 0.99 0.93         1.04 1.02 0.95 0.85
 *     958 x 128 -> 128, 1024        0.99 0.93                   1.00 0.95               1.04 1.12
 *     stem 4x4s4; batch 8           1.42 1.35                   1.51 1.30               1.31 1.53
 *     2x2s2 of 128, 256, 512        1.01 1.00 1.08 (1.05 1.14 0.93) 1.01 1.00 0.89      0.77 0.88 0.90
 *     3x3 of 64; of 256; stride 2   1.14 1.16 1.12 (1.13 1.38 1.15) 1.15 1.16 1.10      1.14 1.14 0.96
 *     7x7s2 of 3; 5x1; 1x1s2        1.40 1.08 1.01 (1.45 1.12 1.03) 1.33 1.08 1.00      1.33 1.09 1.03
 *     depthwise 7x7 and norm, 4 stages of one image; oneDNN, then the common norm:
 *                                   0.77 0.75 0.70 0.70         -                       1.07 1.22 1.33 1.58
 *
 * On an idle machine oneDNN alone reached 328 to 384 GFLOP/s with 2 threads (AVX-512, no GELU); GELU made 4096 x 128 ->
 * 512 take 2.19 ms in place of 1.57 with 2.6.3.  The two were never compared on an idle machine.
 * With AVX2 3.x prefers brgconv_1x1; product.c asks for jit_1x1, as 2.6.3 has it.  Against brgconv_1x1 it is 7 to 19 %
 * faster with 3.2; with 3.7.2, 14 to 20 % with GELU, and from 9 % slower to 9 % faster with a residual.  All AVX2
 * figures are of this AVX-512 machine restricted to AVX2: a machine that has only AVX2 is not measured.
 *
 * Rule.  oneDNN computes what has constant f32 weights, 2 MFLOP or more and no scale, sigmoid or tanh GELU, of
 *   - convolutions other than products (1x1) and patches (stride = kernel, no padding; but of fewer than 16 channels,
 *     the stem, they are oneDNN's);
 *   - with AVX2, products as well.
 * Below 2 MFLOP making the primitive (0.3 to 3 ms, once a process) outweighs the gain.  Depthwise convolutions stay
 * with the common kernels, which have the norm in them.  With AVX2 oneDNN's jit_dw (2.6.3) would save some 2.5 ms of
 * the 440 that the products take there, by the sum of these figures; 3.2's brdgmm_dw is slower than jit_dw (101 against
 * 150 GFLOP/s).  On any other instruction set oneDNN computes nothing: neither SSE4.1 nor Arm is measured. */
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

/* Stride = kernel and no padding: patches, and 1x1 convolutions, which are products. */
static int is_patches(const mf_op *op) {
    const mf_attrs *a = &op->attrs;
    const int64_t *w = op->input[MF_IN_W].dim;
    return op->kind == MF_OP_CONV2D && a->stride[0] == w[2] && a->stride[1] == w[3] && !a->pad[0] && !a->pad[1];
}

int mf_onednn_takes(mf_isa isa, const mf_op *op) {
    const int64_t *w = op->input[MF_IN_W].dim;
    if (isa == MF_ISA_OTHER || !mf_onednn_able(op) || flops(op) < 2e6)
        return 0;
    if (op->kind == MF_OP_MATMUL || (is_patches(op) && w[2] == 1 && w[3] == 1))
        return isa == MF_ISA_AVX2;
    return op->kind == MF_OP_CONV2D && (!is_patches(op) || w[1] < 16);
}
