/* CONV2D by the product [N Ho Wo, kh kw C] x [kh kw C, O] with its epilogue.
 *
 * Rows of the left matrix are gathered block by block into the scratch of the thread that multiplies them (im2col that
 * never leaves L2); a pointwise convolution is the product itself.  From one channel to one, as the position gates
 * have it, 1 / 16 of a vector would be used: such planes are convolved directly, along the longer axis. */
#include "backends/cpu/kernel.h"

enum { VIA_PRODUCT, VIA_ROWS, VIA_PLANE };

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim == 4 && op->input[1].ndim == 4 && mf_gemm_takes(&op->input[MF_IN_W]) &&
           op->input[MF_IN_W].dim[1] == op->input[0].dim[3];
}

static int is_pointwise(const mf_op *op) {
    const mf_attrs *a = &op->attrs;
    return a->kernel[0] == 1 && a->kernel[1] == 1 && a->stride[0] == 1 && a->stride[1] == 1 && !a->pad[0] && !a->pad[1];
}

static int is_plane(const mf_op *op) {
    const mf_attrs *a = &op->attrs;
    return op->input[MF_IN_W].dim[0] == 1 && op->input[MF_IN_W].dim[1] == 1 && a->stride[0] == 1 && a->stride[1] == 1 &&
           op->input[MF_IN_W].dtype == MF_F32 && !mf_operand_present(&op->input[MF_IN_SCALE]);
}

/* W [o][C][kh][kw] as B [(kh kw) C][o] */
static mf_panel_source source(const mf_cpu_kernel *k, const void *w) {
    const mf_attrs *a = &k->op.attrs;
    int64_t taps = (int64_t)a->kernel[0] * a->kernel[1], c = k->op.input[0].dim[3];
    return (mf_panel_source){w, k->gemm.btype, k->gemm.n, taps, c, taps * c, 1, taps};
}

/* ---- planes ---- */
static mf_plane plane_of(const mf_cpu_kernel *k) {
    return mf_plane_of(k->cpu->isa, &k->op.attrs, k->op.input[0].dim, k->op.output.dim, 0);
}

typedef struct plane_job {
    const mf_cpu_kernel *k;
    mf_plane p;
    const float *x, *w;
    mf_gemm g;
    char *scratch;
} plane_job;

static void plane_chunk(void *arg, int64_t image, int slot) {
    const plane_job *j = arg;
    const mf_plane *p = &j->p;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    float *padded = (float *)(void *)(j->scratch + (size_t)slot * j->k->slot_bytes);
    mf_plane_pad(p, j->x + image * p->h * p->w, padded);
    isa->conv_plane(padded, p->ld, j->w, p->kh, p->kw, j->g.c + image * p->oh * p->ow, p->oh, p->ow);
    if (j->g.bias || j->g.residual || j->g.act != MF_ACT_NONE) {
        float bias = j->g.bias ? j->g.bias[0] : 0, *y = j->g.c + image * p->oh * p->ow;
        isa->add_scalar(y, bias, y, p->oh * p->ow, j->g.act);
        if (j->g.residual)
            isa->add(y, j->g.residual + image * p->oh * p->ow, y, p->oh * p->ow, MF_ACT_NONE);
    }
}

/* ---- rows ---- */
typedef struct rows_job {
    const mf_op *op;
    const float *x;
} rows_job;

static void gather(const mf_gemm *g, int64_t row0, int64_t rows, float *to) {
    const rows_job *j = g->gather_arg;
    const mf_attrs *a = &j->op->attrs;
    const int64_t *d = j->op->input[0].dim, *o = j->op->output.dim;
    const int64_t h = d[1], w = d[2], c = d[3], kw = a->kernel[1];
    int64_t ox = row0 % o[2], oy = row0 / o[2] % o[1], n = row0 / o[2] / o[1];
    for (int64_t r = 0; r < rows; r++) {
        int64_t x0 = ox * a->stride[1] - a->pad[1], y0 = oy * a->stride[0] - a->pad[0];
        int64_t left = mf_min64(kw, mf_max64(0, -x0)), right = mf_max64(left, mf_min64(kw, w - x0));
        for (int ky = 0; ky < a->kernel[0]; ky++, to += kw * c) {
            int64_t y = y0 + ky;
            if (y < 0 || y >= h) {
                memset(to, 0, (size_t)(kw * c) * sizeof(float));
                continue;
            }
            memset(to, 0, (size_t)(left * c) * sizeof(float));
            memcpy(to + left * c, j->x + ((n * h + y) * w + x0 + left) * c,
                   (size_t)((right - left) * c) * sizeof(float));
            memset(to + right * c, 0, (size_t)((kw - right) * c) * sizeof(float));
        }
        if (++ox == o[2]) {
            ox = 0;
            if (++oy == o[1]) {
                oy = 0;
                n++;
            }
        }
    }
}

static mf_status prepare(mf_cpu_kernel *k) {
    const mf_op *op = &k->op;
    const mf_operand *w = &op->input[MF_IN_W];
    mf_gemm *g = &k->gemm;
    g->m = mf_operand_rows(&op->output);
    g->n = mf_operand_last(&op->output);
    g->k = w->dim[1] * w->dim[2] * w->dim[3];
    g->rs = g->k;
    g->ldc = g->n;
    g->btype = w->dtype;
    g->act = op->attrs.act;
    k->direct = is_plane(op) ? VIA_PLANE : is_pointwise(op) ? VIA_PRODUCT : VIA_ROWS;
    if (k->direct == VIA_PLANE) {
        mf_plane p = plane_of(k);
        k->slots = mf_cpu_slots(k->cpu, (double)g->m * (double)g->k / 16);
        k->slot_bytes = (size_t)(p.rows * p.ld) * sizeof(float);
        return 0;
    }
    mf_gemm_plan(k, 1, k->direct == VIA_ROWS);
    k->info.residual_in_place = mf_gemm_in_place(k);
    size_t bytes = mf_panel_bytes(k->cpu->isa, g->n, g->k, g->btype);
    if (w->constant) {
        mf_panel_source s = source(k, NULL);
        k->info.pack_bytes[MF_IN_W] = bytes;
        k->info.pack_checks[MF_IN_W] = mf_panel_checkable(&s);
        /* a pointwise weight has the panels of MATMUL's with tb */
        k->info.pack_key[MF_IN_W] = mf_panel_key(k->cpu->isa, w->dim[2] * w->dim[3] == 1 ? 1 : 3, g->btype);
    } else if (k->direct == VIA_PRODUCT && mf_gemm_plan_plain(k)) {
        g->ldb = g->k;
        g->tb = 1;
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

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    mf_gemm g = k->gemm;
    rows_job rows = {&k->op, in[MF_IN_X]};
    g.a = in[MF_IN_X];
    g.b = in[MF_IN_W];
    g.bias = in[MF_IN_BIAS];
    g.scale = in[MF_IN_SCALE];
    g.residual = in[MF_IN_RESIDUAL];
    g.c = out;
    char *slots = mf_cpu_slot_scratch(k, scratch, 0);
    if (k->direct == VIA_PLANE) {
        plane_job j = {k, plane_of(k), in[MF_IN_X], in[MF_IN_W], g, slots};
        mf_cpu_for(k->cpu, k->slots, k->op.input[0].dim[0], plane_chunk, &j);
        return 0;
    }
    if (g.ldb) {
        g.plain = in[MF_IN_W];
    } else if (!k->op.input[MF_IN_W].constant) {
        mf_panel_source s = source(k, in[MF_IN_W]);
        mf_panel_pack(k->cpu, &s, scratch);
        g.b = scratch;
    }
    if (k->direct == VIA_ROWS) {
        g.gather = gather;
        g.gather_arg = &rows;
    }
    mf_gemm_run(k, &g, 1, 0, 0, slots);
    return 0;
}

const mf_cpu_ops mf_cpu_conv2d = {supports, prepare, pack, run};
