/* MATMUL: out = residual + scale act(a b + bias).
 *
 * A constant b is packed once, in the type it is stored in; another is packed into scratch by every run, panel by panel
 * on all threads, before the product.  A transposed a is turned block by block in the scratch of the thread. */
#include "backends/cpu/kernel.h"

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

static mf_status prepare(mf_cpu_kernel *k) {
    const mf_op *op = &k->op;
    const mf_operand *a = &op->input[MF_IN_X], *w = &op->input[MF_IN_W];
    mf_gemm *g = &k->gemm;
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
    size_t bytes = mf_panel_bytes(k->cpu->isa, g->n, g->k, g->btype);
    if (w->constant) {
        k->info.pack_bytes[MF_IN_W] = bytes;
        k->info.pack_key[MF_IN_W] = mf_panel_key(k->cpu->isa, op->attrs.tb ? 1 : 2, g->btype);
    } else {
        k->shared_bytes = bytes;
    }
    return 0;
}

static mf_status pack(const mf_cpu_kernel *k, int input, const void *plain, void *packed) {
    (void)input;
    mf_panel_source s = source(k, plain);
    mf_panel_pack(k->cpu->isa, &s, 0, mf_div_up(s.n, k->cpu->isa->nr), packed);
    return 0;
}

typedef struct packing {
    const mf_cpu_kernel *k;
    mf_panel_source source;
    void *packed;
} packing;

static void pack_chunk(void *arg, int64_t chunk, int slot) {
    const packing *p = arg;
    (void)slot;
    mf_panel_pack(p->k->cpu->isa, &p->source, chunk, chunk + 1, p->packed);
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
    mf_gemm g = k->gemm;
    g.a = in[MF_IN_X];
    g.b = in[MF_IN_W];
    g.bias = in[MF_IN_BIAS];
    g.scale = in[MF_IN_SCALE];
    g.residual = in[MF_IN_RESIDUAL];
    g.c = out;
    g.gather = k->op.attrs.ta ? gather : NULL;
    if (!k->op.input[MF_IN_W].constant) {
        packing p = {k, source(k, in[MF_IN_W]), scratch};
        mf_cpu_for(k->cpu, k->slots, mf_div_up(g.n, k->cpu->isa->nr), pack_chunk, &p);
        g.b = scratch;
    }
    mf_gemm_run(k, &g, k->batch, g.m * g.k, g.m * g.n, mf_cpu_slot_scratch(k, scratch, 0));
    return 0;
}

const mf_cpu_ops mf_cpu_matmul = {supports, prepare, pack, run};
