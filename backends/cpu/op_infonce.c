/* INFONCE and INFONCE_GRAD.  With s = exp(logit scale), L = s q r^T [N, N], T = (1 - rate) I + rate / N:
 *
 *   loss = (CE(L) + CE(L^T)) / 2, CE(L) = mean over rows of log sum exp(L_i) - T_i . L_i
 *   G = dloss / 2N (softmax by rows + softmax by columns - 2 T);  dq = s G r;  dr = s G^T q;  dlogit = sum of G L
 *
 * L is held whole, twice (and once more for the gradient): N is the batch.  Rows go to the threads; each leaves one
 * number in double, and the caller adds them up in order. */
#include <math.h>

#include "backends/cpu/kernel.h"

enum { ROWS = 8 }; /* of a chunk */

static int is_grad(const mf_op *op) {
    return op->kind == MF_OP_INFONCE_GRAD;
}

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim == 2 && op->input[1].ndim == 2 && op->input[0].dim[0] > 0 &&
           mf_operand_count(&op->input[2]) == 1 && (!is_grad(op) || mf_operand_count(&op->input[3]) == 1);
}

/* The products, each a kernel of its own. */
typedef struct parts {
    mf_cpu_kernel logits, dq, dr;
    size_t panels, slots; /* bytes */
} parts;

static mf_cpu_kernel product(const mf_cpu_kernel *k, int64_t m, int64_t n, int64_t depth) {
    mf_cpu_kernel p = {.cpu = k->cpu, .slots = 1};
    p.gemm = (mf_gemm){.m = m, .n = n, .k = depth, .rs = depth, .ldc = n, .btype = MF_F32};
    mf_gemm_plan(&p, 1, 0);
    p.slot_bytes = mf_cpu_align(p.slot_bytes);
    return p;
}

static parts parts_of(const mf_cpu_kernel *k) {
    int64_t n = k->op.input[0].dim[0], d = k->op.input[0].dim[1];
    const struct mf_cpu_isa *isa = k->cpu->isa;
    parts p = {.logits = product(k, n, n, d), .dq = product(k, n, d, n), .dr = {.cpu = k->cpu, .slots = 1}};
    p.dr.ta = (mf_gemm_ta){.m = n, .n = d, .k = n, .lda = n, .ldb = d, .ldc = d};
    mf_gemm_ta_plan(&p.dr, &p.dr.ta, 0);
    p.dr.slot_bytes = mf_cpu_align(p.dr.slot_bytes);
    size_t a = mf_panel_bytes(isa, n, d, MF_F32), b = mf_panel_bytes(isa, d, n, MF_F32);
    p.panels = mf_cpu_align(a > b ? a : b);
    p.slots = p.logits.slot_bytes > p.dq.slot_bytes ? p.logits.slot_bytes : p.dq.slot_bytes;
    if (p.dr.slot_bytes > p.slots)
        p.slots = p.dr.slot_bytes;
    if ((size_t)n * sizeof(float) > p.slots)
        p.slots = mf_cpu_align((size_t)n * sizeof(float));
    return p;
}

static size_t square_bytes(const mf_cpu_kernel *k) {
    int64_t n = k->op.input[0].dim[0];
    return mf_cpu_align((size_t)(n * n) * sizeof(float));
}

static mf_status prepare(mf_cpu_kernel *k) {
    parts p = parts_of(k);
    int64_t n = k->op.input[0].dim[0];
    k->slots = k->cpu->threads;
    k->slot_bytes = p.slots;
    k->shared_bytes = p.panels + 3 * square_bytes(k) + (size_t)(2 * n) * sizeof(double);
    return 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    int64_t n;
    float *logits, *turned, *other; /* [n][n]: L / s, its transpose, G s */
    double *sum;                    /* [2 n]: a number of each row */
    char *slots;
    double scale, dloss;
    int turn; /* the rows are those of `turned` */
} job;

static void loss_row(const job *j, int64_t i) {
    const float *x = (j->turn ? j->turned : j->logits) + i * j->n;
    double rate = j->k->op.attrs.rate, total = 0;
    for (int64_t c = 0; c < j->n; c++)
        total += (double)x[c];
    j->sum[(j->turn ? j->n : 0) + i] = j->k->cpu->isa->softmax_row(x, NULL, j->n, (float)j->scale) -
                                       j->scale * ((1 - rate) * (double)x[i] + rate / (double)j->n * total);
}

/* other: the softmax by columns -> G s */
static void grad_row(const job *j, int64_t i, float *p) {
    const float *x = j->logits + i * j->n;
    float *g = j->other + i * j->n;
    double rate = j->k->op.attrs.rate, even = 2 * rate / (double)j->n, total = 0;
    double factor = j->dloss * j->scale / (double)(2 * j->n);
    j->k->cpu->isa->softmax_row(x, p, j->n, (float)j->scale);
    for (int64_t c = 0; c < j->n; c++) {
        double v = factor * ((double)p[c] + (double)g[c] - even - (c == i ? 2 * (1 - rate) : 0));
        total += v * (double)x[c];
        g[c] = (float)v;
    }
    j->sum[i] = total;
}

static void run_loss(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    (void)slot;
    for (int64_t i = chunk * ROWS; i < mf_min64((chunk + 1) * ROWS, j->n); i++)
        loss_row(j, i);
}

static void run_softmax(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    (void)slot;
    for (int64_t i = chunk * ROWS; i < mf_min64((chunk + 1) * ROWS, j->n); i++)
        j->k->cpu->isa->softmax_row(j->turned + i * j->n, j->turned + i * j->n, j->n, (float)j->scale);
}

static void run_grad(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    for (int64_t i = chunk * ROWS; i < mf_min64((chunk + 1) * ROWS, j->n); i++)
        grad_row(j, i, (float *)(void *)(j->slots + (size_t)slot * j->k->slot_bytes));
}

/* c = a b^T (tb) or a b, b by way of its panels */
static void multiply(const mf_cpu_kernel *k, const float *a, const float *b, int tb, float *c, void *panels,
                     void *slots) {
    mf_gemm g = k->gemm;
    mf_panel_source s = {b, MF_F32, g.n, 1, g.k, tb ? g.k : 1, 0, tb ? 1 : g.n};
    mf_panel_pack(k->cpu, &s, panels);
    g.a = a;
    g.b = panels;
    g.c = c;
    mf_gemm_run(k, &g, 1, 0, 0, slots);
}

static double sum_of(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

static void gradient(job *j, const parts *p, const float *q, const float *r, float *out, void *panels) {
    const mf_cpu *cpu = j->k->cpu;
    int64_t n = j->n, d = j->k->op.input[0].dim[1], chunks = mf_div_up(n, ROWS);
    int slots = mf_cpu_slots(cpu, (double)(n * n) * 4);
    mf_cpu_for(cpu, slots, chunks, run_softmax, j);
    cpu->isa->transpose(j->turned, n, j->other, n, n, n);
    mf_cpu_for(cpu, slots, chunks, run_grad, j);
    multiply(&p->dq, j->other, r, 0, out, panels, j->slots);
    mf_gemm_ta g = p->dr.ta;
    g.a = j->other;
    g.b = q;
    g.c = out + n * d;
    mf_gemm_ta_run(&p->dr, &g, NULL, j->slots);
    out[2 * n * d] = (float)sum_of(j->sum, n);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    parts p = parts_of(k);
    job j = {.k = k, .n = k->op.input[0].dim[0], .slots = mf_cpu_slot_scratch(k, scratch, 0)};
    size_t square = square_bytes(k);
    char *at = (char *)scratch + p.panels;
    j.logits = (float *)(void *)at;
    j.turned = (float *)(void *)(at + square);
    j.other = (float *)(void *)(at + 2 * square);
    j.sum = (double *)(void *)(at + 3 * square);
    j.scale = exp((double)*(const float *)in[2]);
    multiply(&p.logits, in[0], in[1], 1, j.logits, scratch, j.slots);
    k->cpu->isa->transpose(j.logits, j.n, j.turned, j.n, j.n, j.n);
    if (is_grad(&k->op)) {
        j.dloss = (double)*(const float *)in[3];
        gradient(&j, &p, in[0], in[1], out, scratch);
        return 0;
    }
    int slots = mf_cpu_slots(k->cpu, (double)(j.n * j.n) * 4);
    for (j.turn = 0; j.turn < 2; j.turn++)
        mf_cpu_for(k->cpu, slots, mf_div_up(j.n, ROWS), run_loss, &j);
    *(float *)out = (float)(sum_of(j.sum, 2 * j.n) / (double)(2 * j.n));
    return 0;
}

const mf_cpu_ops mf_cpu_infonce = {supports, prepare, NULL, run};
const mf_cpu_ops mf_cpu_infonce_grad = {supports, prepare, NULL, run};
