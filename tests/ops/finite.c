/* The gradients against finite differences: `ref` in f64, ops --finite.
 *
 * Of each rule, loss = sum of dy y with random dy is differentiated by each value of the inputs, by central differences
 * of the forward operation, and compared with what the operations of the gradient make of dy.  Inputs keep away from
 * kinks: random values meet none. */
#include "ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"

static const double step = 1e-5, tolerance = 2e-8; /* of the largest gradient of an input */

/* An operation of the gradient.  inputs: "0" .. "5" the forward operation's, "d" dy, "g" the output of the rule's first
 * such operation, "-" absent.  slots: of which inputs its output is the gradient, one after the other. */
typedef struct part {
    mf_op_kind kind;
    const char *inputs, *slots;
    int as_given; /* its attributes are `attrs`, not the forward operation's */
    mf_attrs attrs;
} part;

typedef struct rule {
    const char *name;
    mf_op_kind kind;
    mf_attrs attrs;
    struct {
        int ndim; /* 0: absent */
        int64_t dim[MF_MAX_DIMS];
        ops_fill fill;
    } input[6];
    part parts[3];
} rule;

/* clang-format off */
#define IN(ndim, ...) {ndim, {__VA_ARGS__}, {0, 1, OPS_SIGNED}}
#define ABOUT(offset, ndim, ...) {ndim, {__VA_ARGS__}, {offset, 0.3, OPS_SIGNED}}
#define ABOVE(offset, ndim, ...) {ndim, {__VA_ARGS__}, {offset, 1, OPS_POSITIVE}}
#define ABSENT {0, {0}, {0, 0, OPS_SIGNED}}
#define PART(kind, inputs, slots) {MF_OP_##kind, inputs, slots, 0, {0}}
#define PART_AS(kind, inputs, slots, ...) {MF_OP_##kind, inputs, slots, 1, {__VA_ARGS__}}
#define PRODUCT_PARTS {PART(CONV2D_GRAD_INPUT, "d1", "0"), PART(CONV2D_GRAD_WEIGHT, "0d", "1"), PART(COLUMN_SUM, "d", "2")}
#define DEPTHWISE_PARTS {PART(DWCONV2D_GRAD_INPUT, "d1", "0"), PART(DWCONV2D_GRAD_WEIGHT, "0d", "1"), PART(COLUMN_SUM, "d", "2")}
#define LAYERNORM_PARTS {PART(LAYERNORM_GRAD_AFFINE, "0d", "12"), PART(LAYERNORM_GRAD, "01d", "0")}
#define GROUPNORM_PARTS {PART(GROUPNORM_GRAD_AFFINE, "0d", "12"), PART(GROUPNORM_GRAD, "01d", "0")}
#define BATCHNORM_PARTS {PART(BATCHNORM_GRAD_AFFINE, "034d", "12"), PART(BATCHNORM_GRAD, "0134dg", "0")}
#define BATCHNORM_INPUTS(...) {ABOUT(1, __VA_ARGS__), ABOUT(1, 1, 3), ABOUT(0, 1, 3), ABOUT(1, 1, 3), ABOVE(0.5, 1, 3)}

static const rule rules[] = {
    {"matmul, b as [N, K]", MF_OP_MATMUL, {.tb = 1}, {IN(2, 5, 7), IN(2, 6, 7), IN(1, 6)},
     {PART_AS(MATMUL, "d1", "0", .tb = 0), PART_AS(MATMUL, "d0", "1", .ta = 1), PART(COLUMN_SUM, "d", "2")}},
    {"matmul, b as [K, N]", MF_OP_MATMUL, {.tb = 0}, {IN(2, 5, 7), IN(2, 7, 6)},
     {PART_AS(MATMUL, "d1", "0", .tb = 1), PART_AS(MATMUL, "0d", "1", .ta = 1)}},
    {"conv2d 3x3", MF_OP_CONV2D, {.kernel = {3, 3}, .stride = {1, 1}, .pad = {1, 1}},
     {IN(4, 2, 4, 5, 3), IN(4, 5, 3, 3, 3), IN(1, 5)}, PRODUCT_PARTS},
    {"conv2d 3x2, strides and paddings that differ", MF_OP_CONV2D, {.kernel = {3, 2}, .stride = {1, 3}, .pad = {0, 1}},
     {IN(4, 2, 5, 7, 2), IN(4, 3, 2, 3, 2), IN(1, 3)}, PRODUCT_PARTS},
    {"conv2d 2x2, the last row in no window", MF_OP_CONV2D, {.kernel = {2, 2}, .stride = {2, 2}},
     {IN(4, 1, 5, 4, 3), IN(4, 4, 3, 2, 2), IN(1, 4)}, PRODUCT_PARTS},
    {"conv2d 7x7 on a small map", MF_OP_CONV2D, {.kernel = {7, 7}, .stride = {2, 2}, .pad = {3, 3}},
     {IN(4, 1, 4, 3, 2), IN(4, 2, 2, 7, 7), IN(1, 2)}, PRODUCT_PARTS},
    {"conv2d 1x1, stride 2", MF_OP_CONV2D, {.kernel = {1, 1}, .stride = {2, 2}},
     {IN(4, 2, 3, 4, 3), IN(4, 5, 3, 1, 1), IN(1, 5)}, PRODUCT_PARTS},
    {"dwconv2d 3x3", MF_OP_DWCONV2D, {.kernel = {3, 3}, .stride = {1, 1}, .pad = {1, 1}},
     {IN(4, 2, 4, 5, 3), IN(4, 3, 1, 3, 3), IN(1, 3)}, DEPTHWISE_PARTS},
    {"dwconv2d 7x5, wider than the map", MF_OP_DWCONV2D, {.kernel = {7, 5}, .stride = {1, 1}, .pad = {3, 2}},
     {IN(4, 1, 2, 3, 18), IN(4, 18, 1, 7, 5), IN(1, 18)}, DEPTHWISE_PARTS},
    {"layernorm", MF_OP_LAYERNORM, {.eps = 1e-2}, {ABOUT(1, 3, 2, 3, 7), ABOUT(1, 1, 7), IN(1, 7)}, LAYERNORM_PARTS},
    {"layernorm without gamma and beta", MF_OP_LAYERNORM, {.eps = 1e-5}, {IN(2, 5, 19)},
     {PART(LAYERNORM_GRAD, "0-d", "0")}},
    {"groupnorm", MF_OP_GROUPNORM, {.eps = 1e-2, .groups = 2}, {IN(4, 2, 2, 3, 6), ABOUT(1, 1, 6), IN(1, 6)},
     GROUPNORM_PARTS},
    {"groupnorm, groups of one channel", MF_OP_GROUPNORM, {.eps = 1e-2, .groups = 3},
     {IN(4, 2, 3, 2, 3), ABOUT(1, 1, 3), IN(1, 3)}, GROUPNORM_PARTS},
    {"batchnorm, statistics that are constants", MF_OP_BATCHNORM, {.eps = 1e-2}, BATCHNORM_INPUTS(3, 2, 5, 3),
     BATCHNORM_PARTS},
    {"batchnorm, x's own statistics", MF_OP_BATCHNORM, {.eps = 1e-2, .own = 1}, BATCHNORM_INPUTS(4, 2, 2, 3, 3),
     BATCHNORM_PARTS},
    {"gelu", MF_OP_ACT, {.act = MF_ACT_GELU}, {{1, {60}, {0, 2, OPS_SIGNED}}}, {PART(ACT_GRAD, "0d", "0")}},
    {"relu", MF_OP_ACT, {.act = MF_ACT_RELU}, {IN(1, 60)}, {PART(ACT_GRAD, "0d", "0")}},
    {"sigmoid", MF_OP_ACT, {.act = MF_ACT_SIGMOID}, {{1, {60}, {0, 3, OPS_SIGNED}}}, {PART(ACT_GRAD, "0d", "0")}},
    {"no activation", MF_OP_ACT, {.act = MF_ACT_NONE}, {IN(1, 6)}, {PART(ACT_GRAD, "0d", "0")}},
    {"add, b repeats", MF_OP_ADD, {0}, {IN(2, 4, 5), IN(1, 5)}, {PART(COLUMN_SUM, "d", "1")}},
    {"mul", MF_OP_MUL, {0}, {IN(2, 4, 5), IN(2, 4, 5)}, {PART(MUL, "d1", "0"), PART(MUL, "d0", "1")}},
    {"mul, b repeats", MF_OP_MUL, {0}, {IN(2, 4, 5), IN(1, 5)}, {PART(MUL, "d1", "0"), PART(COLUMN_SUM, "d0", "1")}},
    {"pyramid pool", MF_OP_PYRAMID_POOL, {.level_count = 4, .levels = {{1, 1}, {2, 3}, {6, 4}, {5, 9}}},
     {IN(4, 2, 5, 7, 3)}, {PART(PYRAMID_POOL_GRAD, "d", "0")}},
    {"maxpool", MF_OP_MAXPOOL, {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}, {IN(4, 2, 5, 6, 3)},
     {PART(MAXPOOL_GRAD, "0d", "0")}},
    {"maxpool, windows that leave gaps", MF_OP_MAXPOOL, {.kernel = {2, 1}, .stride = {1, 3}, .pad = {1, 0}},
     {IN(4, 1, 4, 8, 2)}, {PART(MAXPOOL_GRAD, "0d", "0")}},
    {"concat", MF_OP_CONCAT, {.axis = 1}, {IN(3, 2, 1, 3), IN(3, 2, 4, 3)},
     {PART_AS(SLICE, "d", "0", .axis = 1, .begin = 0, .end = 1), PART_AS(SLICE, "d", "1", .axis = 1, .begin = 1, .end = 5)}},
    {"slice", MF_OP_SLICE, {.axis = 1, .begin = 1, .end = 4}, {IN(3, 2, 6, 3)}, {PART(PAD, "d", "0")}},
    {"pad", MF_OP_PAD, {.axis = 2, .begin = 2, .end = 9}, {IN(3, 2, 4, 3)}, {PART(SLICE, "d", "0")}},
    {"linear attention", MF_OP_ATTENTION, {.heads = 2, .eps = 1e-6}, {IN(3, 2, 3, 6), IN(3, 2, 5, 6), IN(3, 2, 5, 6)},
     {PART(ATTENTION_GRAD, "012d", "012")}},
    {"linear attention, eps that counts", MF_OP_ATTENTION, {.heads = 1, .eps = 3},
     {IN(3, 1, 4, 5), IN(3, 1, 2, 5), IN(3, 1, 2, 5)}, {PART(ATTENTION_GRAD, "012d", "012")}},
    {"softmax attention", MF_OP_ATTENTION, {.attention = MF_ATTENTION_SOFTMAX, .heads = 2},
     {IN(3, 2, 3, 6), IN(3, 2, 5, 6), IN(3, 2, 5, 6)}, {PART(ATTENTION_GRAD, "012d", "012")}},
    {"softmax attention, one source", MF_OP_ATTENTION, {.attention = MF_ATTENTION_SOFTMAX, .heads = 1},
     {IN(3, 2, 3, 4), IN(3, 2, 1, 4), IN(3, 2, 1, 4)}, {PART(ATTENTION_GRAD, "012d", "012")}},
    {"channel max", MF_OP_CHANNEL_MAX, {0}, {IN(4, 2, 3, 3, 5)}, {PART(CHANNEL_MAX_GRAD, "0d", "0")}},
    {"gated mean", MF_OP_GATED_MEAN, {0}, {IN(4, 2, 2, 3, 37), ABOVE(0.1, 3, 2, 1, 37), ABOVE(0.1, 3, 2, 6, 1)},
     {PART(GATED_MEAN_GRAD, "012d", "012")}},
    {"l2norm", MF_OP_L2NORM, {.eps = 1e-12}, {IN(2, 4, 9)}, {PART(L2NORM_GRAD, "0d", "0")}},
    {"l2norm of rows that are too short", MF_OP_L2NORM, {.eps = 100}, {IN(2, 4, 9)}, {PART(L2NORM_GRAD, "0d", "0")}},
    {"transpose", MF_OP_TRANSPOSE, {0}, {IN(3, 2, 3, 5)}, {PART(TRANSPOSE, "d", "0")}},
    {"row dot", MF_OP_ROW_DOT, {0}, {IN(3, 3, 2, 5), IN(3, 3, 2, 5)},
     {PART(ROW_SCALE, "1d", "0"), PART(ROW_SCALE, "0d", "1")}},
    {"row scale", MF_OP_ROW_SCALE, {0}, {IN(3, 3, 2, 5), IN(1, 3)},
     {PART(ROW_SCALE, "d1", "0"), PART(ROW_DOT, "d0", "1")}},
    {"dropout", MF_OP_DROPOUT, {.rate = 0.3, .id = 5}, {IN(3, 3, 4, 5), IN(1, 3)}, {PART(DROPOUT, "d1", "0")}},
    {"infonce", MF_OP_INFONCE, {.rate = 0.1}, {IN(2, 5, 7), IN(2, 5, 7), ABOUT(0.5, 1, 1)},
     {PART(INFONCE_GRAD, "012d", "012")}},
    {"infonce, sharp, without smoothing", MF_OP_INFONCE, {.rate = 0}, {ABOUT(0, 2, 6, 9), ABOUT(0, 2, 6, 9), ABOUT(2.66, 1, 1)},
     {PART(INFONCE_GRAD, "012d", "012")}},
};
/* clang-format on */

typedef struct trial {
    const ops_backend *ref;
    const rule *rule;
    ops_case c;
    double *inputs[MF_MAX_INPUTS], *dy, *y, *first; /* first: what the first part gave */
    double worst;
    int failures;
} trial;

static double *values(int64_t count) {
    double *p = malloc((size_t)count * sizeof(*p));
    if (!p)
        exit(2);
    return p;
}

static void complain(trial *t, const char *what) {
    printf("FAIL gradient of %s: %s\n", t->rule->name, what);
    t->failures++;
}

static int run(trial *t, const mf_op *op, const double *const *inputs, double *output) {
    ops_job job = {.op = *op, .compute = MF_F64, .threads = 1, .inputs = inputs, .output = output};
    if (ops_run(t->ref, &job) == OPS_DONE)
        return 1;
    complain(t, job.why[0] ? job.why : mf_op_name(op->kind));
    return 0;
}

static int infer(trial *t, mf_op *op) {
    char why[100];
    if (mf_op_infer(op, why, sizeof(why)))
        return 1;
    complain(t, why);
    return 0;
}

/* x's own statistics, into the inputs 3 and 4. */
static int refresh_statistics(trial *t) {
    mf_op op = {.kind = MF_OP_BATCH_STATS, .input_count = 1};
    const double *in[MF_MAX_INPUTS] = {t->inputs[0]};
    op.input[0] = t->c.op.input[0];
    if (!infer(t, &op))
        return 0;
    const int64_t channels = mf_operand_last(&op.input[0]);
    double *stats = values(3 * channels);
    int done = run(t, &op, in, stats);
    memcpy(t->inputs[3], stats, (size_t)channels * sizeof(double));
    memcpy(t->inputs[4], stats + channels, (size_t)channels * sizeof(double));
    free(stats);
    return done;
}

/* sum of dy y */
static double loss(trial *t) {
    double sum = 0;
    if (t->c.op.attrs.own && !refresh_statistics(t))
        return NAN;
    if (!run(t, &t->c.op, (const double *const *)t->inputs, t->y))
        return NAN;
    for (int64_t i = 0; i < mf_operand_count(&t->c.op.output); i++)
        sum += t->dy[i] * t->y[i];
    return sum;
}

static void compare(trial *t, int slot, const double *gradient) {
    const int64_t count = mf_operand_count(&t->c.op.input[slot]);
    double *x = t->inputs[slot], largest = 0, worst = 0;
    for (int64_t i = 0; i < count && !t->failures; i++) {
        const double at = x[i];
        x[i] = at + step;
        const double above = loss(t);
        x[i] = at - step;
        const double below = loss(t);
        x[i] = at;
        largest = fmax(largest, fabs(gradient[i]));
        const double off = fabs(gradient[i] - (above - below) / (2 * step));
        worst = off < INFINITY ? fmax(worst, off) : INFINITY;
    }
    worst /= fmax(largest, 1e-3);
    t->worst = fmax(t->worst, worst);
    if (t->failures || (worst <= tolerance))
        return;
    char text[100];
    snprintf(text, sizeof(text), "input %d is %.3g off, of its largest value", slot, worst);
    complain(t, text);
}

static mf_attrs attrs_of(const rule *r, const part *p) {
    const int64_t *x = r->input[0].dim;
    mf_attrs a = p->as_given ? p->attrs : r->attrs;
    if (p->as_given)
        return a;
    a.size[0] = x[1];
    a.size[1] = x[2];
    if (p->kind == MF_OP_PAD)
        a.end = x[a.axis];
    if (p->kind == MF_OP_SLICE)
        a.end = a.begin + x[a.axis];
    return a;
}

static int make_part(trial *t, const part *p, mf_op *op, const double **in) {
    *op = (mf_op){.kind = p->kind, .attrs = attrs_of(t->rule, p), .input_count = (int)strlen(p->inputs)};
    for (int i = 0; i < op->input_count; i++) {
        const char from = p->inputs[i];
        const int slot = from - '0';
        op->input[i].ndim = -1;
        if (from == 'd' || from == 'g')
            op->input[i] =
                from == 'd' ? t->c.op.output : (mf_operand){.ndim = 1, .dim = {2 * t->rule->input[1].dim[0]}};
        else if (from != '-')
            op->input[i] = t->c.op.input[slot];
        in[i] = from == 'd' ? t->dy : from == 'g' ? t->first : from == '-' ? NULL : t->inputs[slot];
    }
    return infer(t, op);
}

static void check_part(trial *t, const part *p) {
    mf_op op;
    const double *in[MF_MAX_INPUTS] = {NULL};
    if (t->c.op.attrs.own && !refresh_statistics(t))
        return;
    if (!make_part(t, p, &op, in))
        return;
    double *gradient = values(mf_operand_count(&op.output)), *at = gradient;
    if (run(t, &op, in, gradient))
        for (const char *slot = p->slots; *slot; slot++) {
            compare(t, *slot - '0', at);
            at += mf_operand_count(&t->c.op.input[*slot - '0']);
        }
    if (!t->failures && at - gradient != mf_operand_count(&op.output))
        complain(t, "the gradients are not all that is written");
    if (t->first)
        free(gradient);
    else
        t->first = gradient;
}

static int make_case(trial *t) {
    const rule *r = t->rule;
    ops_case *c = &t->c;
    c->op = (mf_op){.kind = r->kind, .attrs = r->attrs};
    snprintf(c->name, sizeof(c->name), "%s", r->name);
    for (int i = 0; i < (int)MF_COUNT(r->input); i++) {
        c->op.input[i] = (mf_operand){.dtype = MF_F64, .ndim = r->input[i].ndim ? r->input[i].ndim : -1};
        memcpy(c->op.input[i].dim, r->input[i].dim, sizeof(r->input[i].dim));
        c->fill[i] = r->input[i].fill;
        if (r->input[i].ndim)
            c->op.input_count = i + 1;
    }
    return infer(t, &c->op);
}

static void make_gradient(trial *t) {
    ops_case c = {.op = {.input_count = 1}, .fill = {{0, 1, OPS_SIGNED}}};
    double *made[MF_MAX_INPUTS];
    snprintf(c.name, sizeof(c.name), "dy of %s", t->rule->name);
    c.op.input[0] = t->c.op.output;
    ops_make_inputs(&c, made);
    t->dy = made[0];
    t->y = values(mf_operand_count(&t->c.op.output));
}

static void check_rule(trial *t) {
    if (!make_case(t))
        return;
    ops_make_inputs(&t->c, t->inputs);
    make_gradient(t);
    for (size_t i = 0; i < MF_COUNT(t->rule->parts) && t->rule->parts[i].kind; i++)
        check_part(t, &t->rule->parts[i]);
    ops_free_inputs(t->inputs);
    free(t->dy);
    free(t->y);
    free(t->first);
}

int ops_finite(const ops_backend *ref) {
    int failures = 0;
    double worst = 0;
    for (size_t i = 0; i < MF_COUNT(rules); i++) {
        trial t = {.ref = ref, .rule = &rules[i]};
        check_rule(&t);
        printf("%-46s %.2e\n", rules[i].name, t.worst);
        worst = fmax(worst, t.worst);
        failures += t.failures;
    }
    printf("gradients against finite differences: %d rules, worst %.2e, %d failures\n", (int)MF_COUNT(rules), worst,
           failures);
    return failures;
}
