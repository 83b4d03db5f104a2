/* CONV2D_GRAD_INPUT: the product [N Ho Wo, O] x [O, kh kw C] with a scatter behind it (col2im), block by block of rows
 * in the scratch of the thread.  Patches (stride = kernel, no padding) do not overlap: their blocks are copied, and go
 * to the threads as they come; where windows overlap a chunk is an image, whose rows are added in order.
 *
 * CONV2D_GRAD_WEIGHT: dy^T [O, N Ho Wo] x im2col(x) [N Ho Wo, kh kw C], gathered block by block (gemm_ta.c), and the
 * transposition of each [kh kw, C] to the state dict's [C, kh kw]. */
#include "backends/cpu/kernel.h"

enum { ROWS = 96 };
enum { VIA_ROWS, VIA_PRODUCT, VIA_PLANE };

/* From one channel to one: k_pool.c's convolution, with the kernel turned round for dx, with dy as the kernel for dw.
 */
static int is_plane(const mf_attrs *a, const int64_t *x, const int64_t *y) {
    return x[3] == 1 && y[3] == 1 && a->stride[0] == 1 && a->stride[1] == 1 && a->pad[0] < a->kernel[0] &&
           a->pad[1] < a->kernel[1];
}

static int is_pointwise(const mf_attrs *a) {
    return a->kernel[0] == 1 && a->kernel[1] == 1 && a->stride[0] == 1 && a->stride[1] == 1 && !a->pad[0] && !a->pad[1];
}

static int is_patches(const mf_attrs *a) {
    return a->stride[0] >= a->kernel[0] && a->stride[1] >= a->kernel[1] && !a->pad[0] && !a->pad[1];
}

static int64_t taps_of(const mf_attrs *a) {
    return (int64_t)a->kernel[0] * a->kernel[1];
}

/* Of output row `row`: the first input row and column, and the columns inside, left .. right - 1. */
typedef struct window {
    int64_t image, y0, x0, left, right;
} window;

static window window_of(const mf_attrs *a, const int64_t *d, const int64_t *o, int64_t row) {
    window w = {row / o[2] / o[1], row / o[2] % o[1] * a->stride[0] - a->pad[0], row % o[2] * a->stride[1] - a->pad[1],
                0, 0};
    w.left = mf_min64(a->kernel[1], mf_max64(0, -w.x0));
    w.right = mf_max64(w.left, mf_min64(a->kernel[1], d[2] - w.x0));
    return w;
}

typedef struct plane_job {
    const mf_cpu_kernel *k;
    mf_plane p;
    const float *x, *w;
    float *y;
    char *scratch;
} plane_job;

/* ---- input ---- */
/* As a convolution of dy. */
static mf_plane input_plane(const mf_cpu_kernel *k) {
    mf_attrs a = k->op.attrs;
    for (int i = 0; i < 2; i++)
        a.pad[i] = a.kernel[i] - 1 - a.pad[i];
    return mf_plane_of(k->cpu->isa, &a, k->op.input[0].dim, k->op.output.dim, 0);
}

static void input_plane_chunk(void *arg, int64_t image, int slot) {
    const plane_job *j = arg;
    const mf_plane *p = &j->p;
    float *padded = (float *)(void *)(j->scratch + (size_t)slot * j->k->slot_bytes);
    mf_plane_pad(p, j->x + image * p->h * p->w, padded);
    j->k->cpu->isa->conv_plane(padded, p->ld, j->w, p->kh, p->kw, j->y + image * p->oh * p->ow, p->oh, p->ow);
}

static void run_input_plane(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    int64_t taps = taps_of(&k->op.attrs);
    const float *w = in[1];
    float *turned = scratch;
    for (int64_t i = 0; i < taps; i++)
        turned[i] = w[taps - 1 - i];
    plane_job j = {k, input_plane(k), in[0], turned, out, mf_cpu_slot_scratch(k, scratch, 0)};
    mf_cpu_for(k->cpu, k->slots, k->op.input[0].dim[0], input_plane_chunk, &j);
}

static int supports_input(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim == 4 && op->input[1].ndim == 4 && op->input[1].dtype == MF_F32 && op->output.ndim == 4;
}

static mf_status prepare_input(mf_cpu_kernel *k) {
    const mf_op *op = &k->op;
    const mf_attrs *a = &op->attrs;
    mf_gemm *g = &k->gemm;
    if (is_plane(a, op->output.dim, op->input[0].dim)) {
        mf_plane p = input_plane(k);
        k->direct = VIA_PLANE;
        k->slots = mf_cpu_slots(k->cpu, (double)(mf_operand_count(&op->output) * taps_of(a)) / 16);
        k->shared_bytes = (size_t)taps_of(a) * sizeof(float);
        k->slot_bytes = (size_t)(p.rows * p.ld) * sizeof(float);
        return 0;
    }
    g->m = mf_operand_rows(&op->input[0]);
    g->k = g->rs = mf_operand_last(&op->input[0]);
    g->n = g->ldc = taps_of(a) * op->output.dim[3];
    g->btype = MF_F32;
    mf_gemm_plan(k, 1, 0);
    k->direct = is_pointwise(a) ? VIA_PRODUCT : VIA_ROWS;
    if (k->direct == VIA_PRODUCT && mf_gemm_plan_plain(k)) {
        g->ldb = g->n;
        return 0;
    }
    k->shared_bytes = mf_cpu_align(mf_panel_bytes(k->cpu->isa, g->n, g->k, MF_F32));
    if (k->direct == VIA_ROWS) {
        k->shared_bytes += (size_t)(g->n * g->k) * sizeof(float);
        k->slot_bytes = mf_cpu_align(k->slot_bytes) + (size_t)(ROWS * g->n) * sizeof(float);
        int64_t chunks = mf_round_up(mf_max64(mf_div_up(g->m, ROWS), 1), k->slots);
        k->chunk[0] = is_patches(a) ? mf_max64(mf_div_up(g->m, chunks), 1) : op->input[0].dim[1] * op->input[0].dim[2];
    }
    return 0;
}

typedef struct input_job {
    const mf_cpu_kernel *k;
    mf_gemm g;
    const float *w;
    float *turned, *dx;
    char *scratch;
    int add;
} input_job;

/* [C][taps] of one output channel -> [taps][C] */
static void turn_weight(void *arg, int64_t o, int slot) {
    const input_job *j = arg;
    int64_t taps = taps_of(&j->k->op.attrs), c = j->k->op.output.dim[3];
    (void)slot;
    j->k->cpu->isa->transpose(j->w + o * taps * c, taps, j->turned + o * taps * c, c, c, taps);
}

static void scatter(const input_job *j, int64_t row, const float *from) {
    const mf_attrs *a = &j->k->op.attrs;
    const int64_t *d = j->k->op.output.dim, c = d[3];
    window w = window_of(a, d, j->k->op.input[0].dim, row);
    int64_t n = (w.right - w.left) * c;
    for (int ky = 0; ky < a->kernel[0]; ky++, from += a->kernel[1] * c) {
        int64_t y = w.y0 + ky;
        if (y < 0 || y >= d[1])
            continue;
        float *to = j->dx + ((w.image * d[1] + y) * d[2] + w.x0 + w.left) * c;
        if (j->add)
            j->k->cpu->isa->axpy(to, from + w.left * c, n, 1);
        else
            memcpy(to, from + w.left * c, (size_t)n * sizeof(float));
    }
}

static void input_chunk(void *arg, int64_t chunk, int slot) {
    const input_job *j = arg;
    const mf_cpu_kernel *k = j->k;
    const struct mf_cpu_isa *isa = k->cpu->isa;
    const int64_t *d = k->op.output.dim;
    mf_gemm g = j->g;
    char *scratch = j->scratch + (size_t)slot * k->slot_bytes;
    float *block = (float *)(void *)(scratch + mf_cpu_align(mf_gemm_scratch(isa, &g, 0)));
    int64_t end = mf_min64((chunk + 1) * k->chunk[0], g.m);
    if (j->add)
        memset(j->dx + chunk * d[1] * d[2] * d[3], 0, (size_t)(d[1] * d[2] * d[3]) * sizeof(float));
    for (int64_t row = chunk * k->chunk[0], rows; row < end; row += rows) {
        rows = mf_min64(ROWS, end - row);
        g.a = j->g.a + row * g.rs;
        g.c = block;
        isa->gemm(&g, 0, rows, 0, mf_div_up(g.n, isa->nr), scratch);
        for (int64_t r = 0; r < rows; r++)
            scatter(j, row + r, block + r * g.n);
    }
}

static mf_status run_input(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    const mf_op *op = &k->op;
    const mf_attrs *a = &op->attrs;
    const int64_t *d = op->output.dim, *o = op->input[0].dim;
    if (k->direct == VIA_PLANE) {
        run_input_plane(k, in, out, scratch);
        return 0;
    }
    input_job j = {k, k->gemm, in[1], NULL, out, mf_cpu_slot_scratch(k, scratch, 0), !is_patches(a)};
    mf_panel_source s = {in[1], MF_F32, j.g.n, 1, j.g.k, 1, 0, j.g.n};
    j.g.a = in[0];
    j.g.b = scratch;
    j.g.c = out;
    if (k->direct == VIA_PRODUCT) {
        if (j.g.ldb)
            j.g.plain = in[1];
        else
            mf_panel_pack(k->cpu, &s, scratch);
        mf_gemm_run(k, &j.g, 1, 0, 0, j.scratch);
        return 0;
    }
    j.turned = (float *)(void *)((char *)scratch + mf_cpu_align(mf_panel_bytes(k->cpu->isa, j.g.n, j.g.k, MF_F32)));
    mf_cpu_for(k->cpu, k->slots, j.g.k, turn_weight, &j);
    s.src = j.turned;
    mf_panel_pack(k->cpu, &s, scratch);
    if (!j.add && (d[1] != o[1] * a->kernel[0] || d[2] != o[2] * a->kernel[1])) /* pixels that no patch has */
        memset(out, 0, (size_t)mf_operand_count(&op->output) * sizeof(float));
    mf_cpu_for(k->cpu, k->slots, mf_div_up(j.g.m, k->chunk[0]), input_chunk, &j);
    return 0;
}

/* ---- weight ---- */
static int supports_weight(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim == 4 && op->input[1].ndim == 4;
}

/* Columns n0 .. n1 - 1 of rows of im2col(x): tap by tap, channels within. */
static void gather(const mf_gemm_ta *g, int64_t row0, int64_t rows, int64_t n0, int64_t n1, float *to) {
    const mf_op *op = g->gather_arg;
    const mf_attrs *a = &op->attrs;
    const int64_t *d = op->input[0].dim, *o = op->input[1].dim, c = d[3], line = a->kernel[1] * c;
    for (int64_t r = 0; r < rows; r++, to += n1 - n0) {
        window w = window_of(a, d, o, row0 + r);
        for (int ky = (int)(n0 / line); ky * line < n1; ky++) {
            /* of this row of taps: columns b .. e - 1, of which l .. h - 1 lie inside */
            int64_t b = mf_max64(n0 - ky * line, 0), e = mf_min64(n1 - ky * line, line), y = w.y0 + ky;
            int64_t l = mf_min64(e, mf_max64(b, w.left * c)), h = mf_max64(l, mf_min64(e, w.right * c));
            float *at = to + ky * line - n0;
            if (y < 0 || y >= d[1])
                l = h = e;
            memset(at + b, 0, (size_t)(l - b) * sizeof(float));
            memcpy(at + l, g->b + ((w.image * d[1] + y) * d[2] + w.x0) * c + l, (size_t)(h - l) * sizeof(float));
            memset(at + h, 0, (size_t)(e - h) * sizeof(float));
        }
    }
}

static mf_plane weight_plane(const mf_cpu_kernel *k) {
    return mf_plane_of(k->cpu->isa, &k->op.attrs, k->op.input[0].dim, k->op.input[1].dim, 1);
}

static void weight_plane_chunk(void *arg, int64_t image, int slot) {
    const plane_job *j = arg;
    const mf_plane *p = &j->p;
    float *padded = (float *)(void *)(j->scratch + (size_t)slot * j->k->slot_bytes);
    mf_plane_pad(p, j->x + image * p->h * p->w, padded);
    j->k->cpu->isa->conv_plane(padded, p->ld, j->w + image * p->oh * p->ow, (int)p->oh, (int)p->ow,
                               j->y + image * p->kh * p->kw, p->kh, p->kw);
}

static void run_weight_plane(const mf_cpu_kernel *k, const void *const *in, float *out, void *scratch) {
    int64_t taps = taps_of(&k->op.attrs), images = k->op.input[0].dim[0];
    plane_job j = {k, weight_plane(k), in[0], in[1], scratch, mf_cpu_slot_scratch(k, scratch, 0)};
    mf_cpu_for(k->cpu, k->slots, images, weight_plane_chunk, &j);
    for (int64_t i = 0; i < taps; i++) {
        double sum = 0;
        for (int64_t n = 0; n < images; n++)
            sum += (double)j.y[n * taps + i];
        out[i] = (float)sum;
    }
}

static mf_status prepare_weight(mf_cpu_kernel *k) {
    const mf_op *op = &k->op;
    mf_gemm_ta *g = &k->ta;
    if (is_plane(&op->attrs, op->input[0].dim, op->input[1].dim)) {
        mf_plane p = weight_plane(k);
        int64_t taps = taps_of(&op->attrs);
        k->direct = VIA_PLANE;
        k->slots = mf_cpu_slots(k->cpu, (double)(mf_operand_count(&op->input[1]) * taps) / 16);
        k->shared_bytes = (size_t)(op->input[0].dim[0] * taps) * sizeof(float);
        k->slot_bytes = (size_t)(p.rows * p.ld) * sizeof(float);
        return 0;
    }
    k->direct = is_pointwise(&op->attrs) ? VIA_PRODUCT : VIA_ROWS;
    g->m = g->lda = mf_operand_last(&op->input[1]);
    g->n = g->ldb = g->ldc = taps_of(&op->attrs) * mf_operand_last(&op->input[0]);
    g->k = mf_operand_rows(&op->input[1]);
    g->gather = k->direct == VIA_PRODUCT ? NULL : gather;
    mf_gemm_ta_plan(k, g, 1);
    k->shared_bytes = mf_gemm_ta_shared(g);
    if (taps_of(&op->attrs) > 1)
        k->shared_bytes += (size_t)(g->m * g->n) * sizeof(float);
    return 0;
}

typedef struct turn_job {
    const mf_cpu_kernel *k;
    const float *from;
    float *to;
} turn_job;

/* [taps][C] of one output channel -> [C][taps] */
static void turn_gradient(void *arg, int64_t o, int slot) {
    const turn_job *j = arg;
    int64_t taps = taps_of(&j->k->op.attrs), c = j->k->op.input[0].dim[3];
    (void)slot;
    j->k->cpu->isa->transpose(j->from + o * taps * c, c, j->to + o * taps * c, taps, taps, c);
}

static mf_status run_weight(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    if (k->direct == VIA_PLANE) {
        run_weight_plane(k, in, out, scratch);
        return 0;
    }
    mf_gemm_ta g = k->ta;
    int turned = taps_of(&k->op.attrs) > 1;
    g.a = in[1];
    g.b = in[0];
    g.gather_arg = &k->op;
    float *plain = (float *)(void *)((char *)scratch + mf_gemm_ta_shared(&g));
    g.c = turned ? plain : out;
    mf_gemm_ta_run(k, &g, scratch, mf_cpu_slot_scratch(k, scratch, 0));
    if (turned) {
        turn_job j = {k, plain, out};
        mf_cpu_for(k->cpu, k->slots, g.m, turn_gradient, &j);
    }
    return 0;
}

const mf_cpu_ops mf_cpu_conv2d_grad_input = {supports_input, prepare_input, NULL, run_input};
const mf_cpu_ops mf_cpu_conv2d_grad_weight = {supports_weight, prepare_weight, NULL, run_weight};
