/* MATMUL: out = residual + scale act(a b + bias).
 *
 * A constant b is packed once, in the type it is stored in; another is packed into scratch by every run, panel by panel
 * on all threads, before the product.  A transposed a is turned block by block in the scratch of the thread, but where
 * it is one matrix and b is no weight, as in the gradient of one: that is gemm_ta.c's. */
#include "backends/cpu/kernel.h"

enum { VIA_PANELS, VIA_PLAIN, VIA_GRADIENT };

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return mf_gemm_takes(&op->input[MF_IN_W]);
}

static int64_t rows_of(const mf_op *op) {
    const mf_operand *a = &op->input[MF_IN_X];
    return op->attrs.ta ? mf_operand_last(a) : mf_operand_rows(a);
}

static mf_panel_source source(const mf_cpu_kernel *k, const void *b) {
    const mf_gemm *g = &k->gemm;
    int tb = k->op.attrs.tb;
    return (mf_panel_source){b, g->btype, g->n, 1, g->k, tb ? g->k : 1, 0, tb ? 1 : g->n};
}

static int is_gradient(const mf_op *op) {
    return op->attrs.ta && !op->attrs.tb && op->input[MF_IN_X].ndim == 2 && !op->input[MF_IN_W].constant &&
           op->attrs.act == MF_ACT_NONE && !mf_operand_present(&op->input[MF_IN_BIAS]) &&
           !mf_operand_present(&op->input[MF_IN_SCALE]);
}

static void prepare_gradient(mf_cpu_kernel *k) {
    mf_gemm_ta *g = &k->ta;
    g->k = k->op.input[MF_IN_X].dim[0];
    g->m = g->lda = k->op.input[MF_IN_X].dim[1];
    g->n = g->ldb = g->ldc = k->op.input[MF_IN_W].dim[1];
    k->direct = VIA_GRADIENT;
    k->info.residual_in_place = 1;
    mf_gemm_ta_plan(k, g, 1);
    k->shared_bytes = mf_gemm_ta_shared(g);
}

static mf_status prepare(mf_cpu_kernel *k) {
    const mf_op *op = &k->op;
    const mf_operand *a = &op->input[MF_IN_X], *w = &op->input[MF_IN_W];
    mf_gemm *g = &k->gemm;
    if (is_gradient(op)) {
        prepare_gradient(k);
        return 0;
    }
    k->batch = 1;
    g->m = rows_of(op);
    g->n = mf_operand_last(&op->output);
    if (op->attrs.ta) {
        g->k = a->ndim > 1 ? a->dim[a->ndim - 2] : 1;
        k->batch = g->k && g->m ? mf_operand_count(a) / (g->k * g->m) : 1;
    } else {
        g->k = mf_operand_last(a);
    }
    g->rs = g->k;
    g->ldc = g->n;
    g->btype = w->dtype;
    g->act = op->attrs.act;
    mf_gemm_plan(k, k->batch, op->attrs.ta);
    k->info.residual_in_place = mf_gemm_in_place(k);
    size_t bytes = mf_panel_bytes(k->cpu->isa, g->n, g->k, g->btype);
    if (w->constant) {
        mf_panel_source s = source(k, NULL);
        k->info.pack_bytes[MF_IN_W] = bytes;
        k->info.pack_checks[MF_IN_W] = mf_panel_checkable(&s);
        k->info.pack_key[MF_IN_W] = mf_panel_key(k->cpu->isa, op->attrs.tb ? 1 : 2, g->btype);
    } else if (!op->attrs.ta && mf_gemm_plan_plain(k)) {
        k->direct = VIA_PLAIN;
        g->ldb = op->attrs.tb ? g->k : g->n;
        g->tb = op->attrs.tb;
    } else {
        k->shared_bytes = bytes;
    }
    return 0;
}

static mf_status pack(const mf_cpu_kernel *k, int input, const void *plain, void *packed) {
    (void)input;
    mf_panel_source s = source(k, plain);
    if (!k->info.pack_checks[MF_IN_W]) {
        mf_panel_pack(k->cpu, &s, packed);
        return 0;
    }
    return mf_panel_pack_checked(k->cpu, &s, packed) ? 0 : mf_cpu_not_finite(k->cpu);
}

/* Rows of the transpose of a [k, m]. */
static void gather(const mf_gemm *g, int64_t row0, int64_t rows, float *to) {
    for (int64_t at = 0; at < g->k; at += 16) {
        int64_t end = mf_min64(at + 16, g->k);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t p = at; p < end; p++)
                to[r * g->k + p] = g->a[p * g->m + row0 + r];
    }
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    if (k->direct == VIA_GRADIENT) {
        mf_gemm_ta ta = k->ta;
        ta.a = in[MF_IN_X];
        ta.b = in[MF_IN_W];
        ta.from = in[MF_IN_RESIDUAL];
        ta.c = out;
        mf_gemm_ta_run(k, &ta, scratch, mf_cpu_slot_scratch(k, scratch, 0));
        return 0;
    }
    mf_gemm g = k->gemm;
    g.a = in[MF_IN_X];
    g.b = in[MF_IN_W];
    g.bias = in[MF_IN_BIAS];
    g.scale = in[MF_IN_SCALE];
    g.residual = in[MF_IN_RESIDUAL];
    g.c = out;
    g.gather = k->op.attrs.ta ? gather : NULL;
    if (k->direct == VIA_PLAIN) {
        g.plain = in[MF_IN_W];
    } else if (!k->op.input[MF_IN_W].constant) {
        mf_panel_source s = source(k, in[MF_IN_W]);
        mf_panel_pack(k->cpu, &s, scratch);
        g.b = scratch;
    }
    mf_gemm_run(k, &g, k->batch, g.m * g.k, g.m * g.n, mf_cpu_slot_scratch(k, scratch, 0));
    return 0;
}

const mf_cpu_ops mf_cpu_matmul = {supports, prepare, pack, run};
