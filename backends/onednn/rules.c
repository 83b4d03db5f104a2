/* Which operations oneDNN computes.  Figures and rule: below. */
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

int mf_onednn_takes(mf_isa isa, const mf_op *op) {
    return isa != MF_ISA_OTHER && mf_onednn_able(op) && op->kind != MF_OP_DWCONV2D;
}
