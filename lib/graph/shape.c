/* What each operation's output looks like, what it costs, what it is called. */
#include <stdio.h>
#include <string.h>

#include "graph/graph.h"

const char *mf_op_name(mf_op_kind kind) {
    static const char *const name[MF_OP_COUNT] = {"none",
                                                  "matmul",
                                                  "conv2d",
                                                  "mlp",
                                                  "dwconv2d",
                                                  "layernorm",
                                                  "groupnorm",
                                                  "batchnorm",
                                                  "act",
                                                  "add",
                                                  "mul",
                                                  "pyramid_pool",
                                                  "maxpool",
                                                  "concat",
                                                  "slice",
                                                  "attention",
                                                  "channel_max",
                                                  "gated_mean",
                                                  "l2norm",
                                                  "reshape",
                                                  "cast",
                                                  "transpose",
                                                  "column_sum",
                                                  "row_dot",
                                                  "row_scale",
                                                  "act_grad",
                                                  "layernorm_grad",
                                                  "layernorm_grad_affine",
                                                  "groupnorm_grad",
                                                  "groupnorm_grad_affine",
                                                  "batch_stats",
                                                  "batchnorm_grad_affine",
                                                  "batchnorm_grad",
                                                  "conv2d_grad_input",
                                                  "conv2d_grad_weight",
                                                  "dwconv2d_grad_input",
                                                  "dwconv2d_grad_weight",
                                                  "pyramid_pool_grad",
                                                  "maxpool_grad",
                                                  "pad",
                                                  "attention_grad",
                                                  "channel_max_grad",
                                                  "gated_mean_grad",
                                                  "l2norm_grad",
                                                  "dropout",
                                                  "lerp",
                                                  "infonce",
                                                  "infonce_grad"};
    return (unsigned)kind < MF_OP_COUNT ? name[kind] : "unknown";
}

const char *mf_act_name(mf_act act) {
    static const char *const name[MF_ACT_COUNT] = {"none", "gelu", "relu", "sigmoid", "gelu_tanh"};
    return (unsigned)act < MF_ACT_COUNT ? name[act] : "unknown";
}

typedef struct check {
    mf_op *op;
    char *text;
    size_t room;
} check;

static int fail(check *c, const char *what) {
    snprintf(c->text, c->room, "%s", what);
    return 0;
}

static mf_operand *in(check *c, int i) {
    return &c->op->input[i];
}

static int present(check *c, int i) {
    return i < c->op->input_count && mf_operand_present(in(c, i));
}

/* An optional vector of n values. */
static int vector_fits(check *c, int i, int64_t n) {
    return !present(c, i) || mf_operand_count(in(c, i)) == n;
}

static int same_shape(const mf_operand *a, const mf_operand *b) {
    return a->ndim == b->ndim && memcmp(a->dim, b->dim, (size_t)a->ndim * sizeof(a->dim[0])) == 0;
}

static int epilogue_fits(check *c, int64_t channels) {
    if (!vector_fits(c, MF_IN_BIAS, channels) || !vector_fits(c, MF_IN_SCALE, channels))
        return fail(c, "bias or scale does not have one value an output channel");
    if (present(c, MF_IN_RESIDUAL) && mf_operand_count(in(c, MF_IN_RESIDUAL)) != mf_operand_count(&c->op->output))
        return fail(c, "the residual does not have the output's shape");
    return 1;
}

static int infer_matmul(check *c) {
    const mf_operand *a = in(c, 0), *b = in(c, 1);
    const mf_attrs *at = &c->op->attrs;
    mf_operand *out = &c->op->output;
    if (a->ndim < 2 || b->ndim != 2)
        return fail(c, "a has fewer than 2 dimensions, or b not 2");
    int64_t k = at->ta ? a->dim[a->ndim - 2] : a->dim[a->ndim - 1];
    int64_t m = at->ta ? a->dim[a->ndim - 1] : a->dim[a->ndim - 2];
    if (k != b->dim[at->tb ? 1 : 0])
        return fail(c, "the inner dimensions differ");
    *out = *a;
    out->dim[a->ndim - 2] = m;
    out->dim[a->ndim - 1] = b->dim[at->tb ? 0 : 1];
    return epilogue_fits(c, out->dim[a->ndim - 1]);
}

static int infer_mlp(check *c) {
    const mf_operand *x = in(c, MF_IN_X), *first = in(c, MF_IN_FIRST_W), *w = in(c, MF_IN_W);
    mf_operand *out = &c->op->output;
    if (!present(c, MF_IN_FIRST_W) || x->ndim < 2 || first->ndim != 2 || w->ndim != 2)
        return fail(c, "x has fewer than 2 dimensions, or the weights not 2");
    if (first->dim[1] != x->dim[x->ndim - 1] || w->dim[1] != first->dim[0])
        return fail(c, "the inner dimensions differ");
    if (!vector_fits(c, MF_IN_FIRST_BIAS, first->dim[0]))
        return fail(c, "the first bias does not have one value a hidden channel");
    *out = *x;
    out->dim[x->ndim - 1] = w->dim[0];
    return epilogue_fits(c, w->dim[0]);
}

static int64_t window_count(int64_t length, int kernel, int stride, int pad) {
    int64_t room = length + 2 * (int64_t)pad - kernel;
    return room < 0 ? 0 : room / stride + 1;
}

static int infer_window(check *c, int64_t channels) {
    const mf_operand *x = in(c, 0);
    const mf_attrs *at = &c->op->attrs;
    mf_operand *out = &c->op->output;
    if (x->ndim != 4)
        return fail(c, "x is not a map");
    *out = *x;
    out->dim[3] = channels;
    for (int i = 0; i < 2; i++) {
        if (at->kernel[i] < 1 || at->stride[i] < 1 || at->pad[i] < 0)
            return fail(c, "bad kernel, stride or padding");
        out->dim[1 + i] = window_count(x->dim[1 + i], at->kernel[i], at->stride[i], at->pad[i]);
        if (out->dim[1 + i] < 1)
            return fail(c, "the map is smaller than the kernel");
    }
    return 1;
}

static int infer_conv2d(check *c) {
    const mf_operand *x = in(c, 0), *w = in(c, 1);
    const mf_attrs *at = &c->op->attrs;
    if (x->ndim != 4 || w->ndim != 4 || w->dim[1] != x->dim[3] || w->dim[2] != at->kernel[0] ||
        w->dim[3] != at->kernel[1])
        return fail(c, "the weights do not fit the map");
    return infer_window(c, w->dim[0]) && epilogue_fits(c, w->dim[0]);
}

static int infer_dwconv2d(check *c) {
    const mf_operand *x = in(c, 0), *w = in(c, 1);
    if (x->ndim != 4 || w->ndim != 4 || w->dim[0] != x->dim[3] || w->dim[1] != 1)
        return fail(c, "the weights do not fit the map");
    for (int i = MF_IN_BIAS; i <= MF_IN_BETA; i++)
        if (!vector_fits(c, i, w->dim[0]))
            return fail(c, "bias, gamma or beta does not have one value a channel");
    return infer_window(c, w->dim[0]);
}

static int infer_norm(check *c) {
    for (int i = 1; i < c->op->input_count; i++)
        if (!vector_fits(c, i, mf_operand_last(in(c, 0))))
            return fail(c, "a parameter does not have one value a channel");
    c->op->output = *in(c, 0);
    return 1;
}

static int infer_groupnorm(check *c) {
    int groups = c->op->attrs.groups;
    if (in(c, 0)->ndim != 4 || groups < 1 || in(c, 0)->dim[3] % groups)
        return fail(c, "the groups do not divide the channels");
    return infer_norm(c);
}

static int infer_broadcast(check *c) {
    const mf_operand *a = in(c, 0), *b = in(c, 1);
    int skip = 0;
    while (skip < b->ndim && b->dim[skip] == 1)
        skip++;
    int n = b->ndim - skip;
    if (n > a->ndim || memcmp(a->dim + a->ndim - n, b->dim + skip, (size_t)n * sizeof(a->dim[0])))
        return fail(c, "b's shape is not the end of a's");
    c->op->output = *a;
    return 1;
}

static int infer_pyramid(check *c) {
    const mf_operand *x = in(c, 0);
    int64_t tokens = 0;
    if (x->ndim != 4)
        return fail(c, "x is not a map");
    for (int i = 0; i < c->op->attrs.level_count; i++) {
        const int *level = c->op->attrs.levels[i];
        if (level[0] < 1 || level[1] < 1)
            return fail(c, "a level is empty");
        tokens += (int64_t)level[0] * level[1];
    }
    c->op->output = (mf_operand){.ndim = 3, .dim = {x->dim[0], tokens, x->dim[3]}};
    return 1;
}

static int infer_concat(check *c) {
    int axis = c->op->attrs.axis;
    mf_operand *out = &c->op->output;
    *out = *in(c, 0);
    if (axis < 0 || axis >= out->ndim)
        return fail(c, "no such axis");
    for (int i = 1; i < c->op->input_count; i++) {
        const mf_operand *x = in(c, i);
        if (x->ndim != out->ndim)
            return fail(c, "the inputs differ in dimensions");
        for (int k = 0; k < x->ndim; k++)
            if (k != axis && x->dim[k] != out->dim[k])
                return fail(c, "the inputs differ beside the axis");
        out->dim[axis] += x->dim[axis];
    }
    return 1;
}

static int infer_slice(check *c) {
    const mf_attrs *at = &c->op->attrs;
    const mf_operand *x = in(c, 0);
    if (at->axis < 0 || at->axis >= x->ndim || at->begin < 0 || at->begin >= at->end || at->end > x->dim[at->axis])
        return fail(c, "the slice is not inside");
    c->op->output = *x;
    c->op->output.dim[at->axis] = at->end - at->begin;
    return 1;
}

static int infer_attention(check *c) {
    const mf_operand *q = in(c, 0), *k = in(c, 1), *v = in(c, 2);
    int heads = c->op->attrs.heads;
    if (q->ndim != 3 || k->ndim != 3 || !same_shape(k, v) || q->dim[0] != k->dim[0] || q->dim[2] != k->dim[2])
        return fail(c, "q, k and v do not fit");
    if (heads < 1 || q->dim[2] % heads)
        return fail(c, "the heads do not divide the channels");
    c->op->output = *q;
    return 1;
}

static int infer_gated_mean(check *c) {
    const mf_operand *s = in(c, 0);
    int64_t n = s->dim[0], channels = mf_operand_last(s);
    if (mf_operand_count(in(c, 1)) != n * channels || mf_operand_count(in(c, 2)) != mf_operand_rows(s))
        return fail(c, "the gates do not fit the map");
    c->op->output = (mf_operand){.ndim = 3, .dim = {n, 1, channels}};
    return 1;
}

/* ---- training ---- */

/* Input i has the shape of input 0, which is the output's too. */
static int infer_like_first(check *c, int i) {
    c->op->output = *in(c, 0);
    return same_shape(in(c, 0), in(c, i)) ? 1 : fail(c, "the gradient does not have x's shape");
}

static int infer_columns(check *c, int64_t rows, int like) {
    int64_t channels = mf_operand_last(in(c, 0));
    if (like > 0 && present(c, like) && !same_shape(in(c, 0), in(c, like)))
        return fail(c, "the inputs differ in shape");
    c->op->output = (mf_operand){.ndim = rows ? 2 : 1, .dim = {rows ? rows : channels, channels}};
    return 1;
}

static int infer_transpose(check *c) {
    const mf_operand *x = in(c, 0);
    if (x->ndim < 2)
        return fail(c, "x has fewer than 2 dimensions");
    c->op->output = *x;
    c->op->output.dim[x->ndim - 2] = x->dim[x->ndim - 1];
    c->op->output.dim[x->ndim - 1] = x->dim[x->ndim - 2];
    return 1;
}

static int infer_rows(check *c) {
    const mf_operand *a = in(c, 0);
    if (a->ndim < 1 || (c->op->kind == MF_OP_ROW_DOT ? !same_shape(a, in(c, 1)) : !vector_fits(c, 1, a->dim[0])))
        return fail(c, "the second input does not fit the first");
    c->op->output = c->op->kind == MF_OP_ROW_DOT ? (mf_operand){.ndim = 1, .dim = {a->dim[0]}} : *a;
    return 1;
}

static int infer_batchnorm_grad(check *c) {
    int64_t channels = mf_operand_last(in(c, 0));
    int affine = c->op->kind == MF_OP_BATCHNORM_GRAD_AFFINE;
    for (int i = 1; i < (affine ? 3 : 4); i++)
        if (!vector_fits(c, i, channels))
            return fail(c, "a parameter does not have one value a channel");
    if (affine)
        return infer_columns(c, 2, 3);
    if (!vector_fits(c, 5, 2 * channels))
        return fail(c, "the affine gradients are not [2, C]");
    return infer_like_first(c, 4);
}

static int infer_conv2d_grad_input(check *c) {
    const mf_operand *dy = in(c, 0), *w = in(c, 1);
    const mf_attrs *at = &c->op->attrs;
    if (dy->ndim != 4 || w->ndim != 4 || w->dim[0] != dy->dim[3] || w->dim[2] != at->kernel[0] ||
        w->dim[3] != at->kernel[1])
        return fail(c, "the weights do not fit the gradient");
    c->op->output = (mf_operand){.ndim = 4, .dim = {dy->dim[0], at->size[0], at->size[1], w->dim[1]}};
    for (int i = 0; i < 2; i++)
        if (window_count(at->size[i], at->kernel[i], at->stride[i], at->pad[i]) != dy->dim[1 + i])
            return fail(c, "the size does not lead to the gradient's");
    return 1;
}

static int infer_grad_weight(check *c) {
    const mf_operand *x = in(c, 0), *dy = in(c, 1);
    const mf_attrs *at = &c->op->attrs;
    int depthwise = c->op->kind == MF_OP_DWCONV2D_GRAD_WEIGHT;
    if (x->ndim != 4 || dy->ndim != 4 || x->dim[0] != dy->dim[0] || (depthwise && !same_shape(x, dy)))
        return fail(c, "x and the gradient do not fit");
    for (int i = 0; i < 2; i++)
        if (at->kernel[i] < 1 || at->stride[i] < 1 ||
            window_count(x->dim[1 + i], at->kernel[i], at->stride[i], at->pad[i]) != dy->dim[1 + i])
            return fail(c, "kernel, stride and padding do not lead from x to the gradient");
    c->op->output =
        (mf_operand){.ndim = 4, .dim = {dy->dim[3], depthwise ? 1 : x->dim[3], at->kernel[0], at->kernel[1]}};
    return 1;
}

static int infer_pyramid_grad(check *c) {
    const mf_operand *dy = in(c, 0);
    const mf_attrs *at = &c->op->attrs;
    int64_t tokens = 0;
    for (int i = 0; i < at->level_count; i++)
        tokens += (int64_t)at->levels[i][0] * at->levels[i][1];
    if (dy->ndim != 3 || dy->dim[1] != tokens || at->size[0] < 1 || at->size[1] < 1)
        return fail(c, "the gradient does not have the levels' cells");
    c->op->output = (mf_operand){.ndim = 4, .dim = {dy->dim[0], at->size[0], at->size[1], dy->dim[2]}};
    return 1;
}

static int infer_pad(check *c) {
    const mf_attrs *at = &c->op->attrs;
    const mf_operand *x = in(c, 0);
    if (at->axis < 0 || at->axis >= x->ndim || at->begin < 0 || at->begin + x->dim[at->axis] > at->end)
        return fail(c, "x does not lie inside");
    c->op->output = *x;
    c->op->output.dim[at->axis] = at->end;
    return 1;
}

/* A flat output for the gradients of inputs 0 .. count - 1. */
static int infer_flat(check *c, int count) {
    int64_t n = 0;
    for (int i = 0; i < count; i++)
        n += mf_operand_count(in(c, i));
    c->op->output = (mf_operand){.ndim = 1, .dim = {n}};
    return 1;
}

static int infer_attention_grad(check *c) {
    if (!infer_attention(c) || !same_shape(in(c, 0), in(c, 3)))
        return fail(c, "q, k, v and the gradient do not fit");
    return infer_flat(c, 3);
}

static int infer_gated_mean_grad(check *c) {
    if (!infer_gated_mean(c) || mf_operand_count(in(c, 3)) != mf_operand_count(&c->op->output))
        return fail(c, "the gradient does not fit the map");
    return infer_flat(c, 3);
}

static int infer_infonce(check *c) {
    const mf_operand *q = in(c, 0);
    if (q->ndim != 2 || !same_shape(q, in(c, 1)) || mf_operand_count(in(c, 2)) != 1)
        return fail(c, "q and r are not [N, D], or the logit scale not one value");
    if (c->op->kind == MF_OP_INFONCE_GRAD)
        return mf_operand_count(in(c, 3)) == 1 ? infer_flat(c, 3) : fail(c, "dloss is not one value");
    c->op->output = (mf_operand){.ndim = 1, .dim = {1}};
    return 1;
}

static int infer_training(check *c) {
    mf_operand *out = &c->op->output;
    switch (c->op->kind) {
    case MF_OP_TRANSPOSE:
        return infer_transpose(c);
    case MF_OP_COLUMN_SUM:
        return infer_columns(c, 0, 1);
    case MF_OP_ROW_DOT:
    case MF_OP_ROW_SCALE:
        return infer_rows(c);
    case MF_OP_ACT_GRAD:
    case MF_OP_MAXPOOL_GRAD:
    case MF_OP_L2NORM_GRAD:
    case MF_OP_LERP:
        if (c->op->kind == MF_OP_MAXPOOL_GRAD) {
            *out = *in(c, 0);
            return 1;
        }
        return infer_like_first(c, 1);
    case MF_OP_LAYERNORM_GRAD:
    case MF_OP_GROUPNORM_GRAD:
        return vector_fits(c, 1, mf_operand_last(in(c, 0))) ? infer_like_first(c, 2) : fail(c, "gamma is not [C]");
    case MF_OP_LAYERNORM_GRAD_AFFINE:
    case MF_OP_GROUPNORM_GRAD_AFFINE:
        return infer_columns(c, 2, 1);
    case MF_OP_BATCH_STATS:
        return infer_columns(c, 3, 0);
    case MF_OP_BATCHNORM_GRAD_AFFINE:
    case MF_OP_BATCHNORM_GRAD:
        return infer_batchnorm_grad(c);
    case MF_OP_CONV2D_GRAD_INPUT:
        return infer_conv2d_grad_input(c);
    case MF_OP_CONV2D_GRAD_WEIGHT:
    case MF_OP_DWCONV2D_GRAD_WEIGHT:
        return infer_grad_weight(c);
    case MF_OP_PYRAMID_POOL_GRAD:
        return infer_pyramid_grad(c);
    case MF_OP_PAD:
        return infer_pad(c);
    case MF_OP_ATTENTION_GRAD:
        return infer_attention_grad(c);
    case MF_OP_GATED_MEAN_GRAD:
        return infer_gated_mean_grad(c);
    case MF_OP_INFONCE:
    case MF_OP_INFONCE_GRAD:
        return infer_infonce(c);
    case MF_OP_DWCONV2D_GRAD_INPUT:
    case MF_OP_CHANNEL_MAX_GRAD:
    case MF_OP_DROPOUT:
        *out = *in(c, 0);
        return 1;
    default:
        return fail(c, "no such operation");
    }
}

static int infer_kind(check *c) {
    mf_operand *out = &c->op->output;
    switch (c->op->kind) {
    case MF_OP_MATMUL:
        return infer_matmul(c);
    case MF_OP_CONV2D:
        return infer_conv2d(c);
    case MF_OP_MLP:
        return infer_mlp(c);
    case MF_OP_DWCONV2D:
        return infer_dwconv2d(c);
    case MF_OP_LAYERNORM:
    case MF_OP_BATCHNORM:
        return infer_norm(c);
    case MF_OP_GROUPNORM:
        return infer_groupnorm(c);
    case MF_OP_ADD:
    case MF_OP_MUL:
        return infer_broadcast(c);
    case MF_OP_PYRAMID_POOL:
        return infer_pyramid(c);
    case MF_OP_MAXPOOL:
        return infer_window(c, in(c, 0)->dim[3]);
    case MF_OP_CONCAT:
        return infer_concat(c);
    case MF_OP_SLICE:
        return infer_slice(c);
    case MF_OP_ATTENTION:
        return infer_attention(c);
    case MF_OP_GATED_MEAN:
        return infer_gated_mean(c);
    case MF_OP_CHANNEL_MAX:
        *out = *in(c, 0);
        out->dim[out->ndim - 1] = 1;
        return 1;
    case MF_OP_ACT:
    case MF_OP_L2NORM:
    case MF_OP_RESHAPE:
    case MF_OP_CAST:
        *out = *in(c, 0);
        return 1;
    default:
        return infer_training(c);
    }
}

/* The inputs that must be there, by kind: the optional ones come after them. */
static int needed_inputs(const mf_op *op) {
    switch (op->kind) {
    case MF_OP_MATMUL:
    case MF_OP_CONV2D:
    case MF_OP_MLP:
    case MF_OP_DWCONV2D:
    case MF_OP_ADD:
    case MF_OP_MUL:
    case MF_OP_ROW_DOT:
    case MF_OP_ROW_SCALE:
    case MF_OP_ACT_GRAD:
    case MF_OP_LAYERNORM_GRAD_AFFINE:
    case MF_OP_GROUPNORM_GRAD_AFFINE:
    case MF_OP_CONV2D_GRAD_INPUT:
    case MF_OP_CONV2D_GRAD_WEIGHT:
    case MF_OP_DWCONV2D_GRAD_INPUT:
    case MF_OP_DWCONV2D_GRAD_WEIGHT:
    case MF_OP_MAXPOOL_GRAD:
    case MF_OP_CHANNEL_MAX_GRAD:
    case MF_OP_L2NORM_GRAD:
    case MF_OP_DROPOUT:
    case MF_OP_LERP:
        return 2;
    case MF_OP_GROUPNORM:
    case MF_OP_ATTENTION:
    case MF_OP_GATED_MEAN:
    case MF_OP_GROUPNORM_GRAD:
    case MF_OP_INFONCE:
        return 3;
    case MF_OP_BATCHNORM_GRAD_AFFINE:
    case MF_OP_ATTENTION_GRAD:
    case MF_OP_GATED_MEAN_GRAD:
    case MF_OP_INFONCE_GRAD:
        return 4;
    case MF_OP_BATCHNORM:
        return 5;
    case MF_OP_BATCHNORM_GRAD:
        return op->attrs.own ? 6 : 5;
    case MF_OP_CONCAT:
        return op->input_count;
    default:
        return 1;
    }
}

int mf_op_infer(mf_op *op, char *text, size_t room) {
    check c = {op, text, room};
    if (op->input_count < needed_inputs(op) || op->input_count > MF_MAX_INPUTS)
        return fail(&c, "the number of inputs is wrong");
    for (int i = 0; i < needed_inputs(op); i++)
        if (i >= op->input_count || !mf_operand_present(&op->input[i]))
            return fail(&c, "an input is missing");
    if (!infer_kind(&c))
        return 0;
    op->output.dtype = op->input[0].dtype;
    op->output.constant = 0;
    return 1;
}

double mf_op_flops(const mf_op *op) {
    double out = (double)mf_operand_count(&op->output);
    const mf_operand *x = &op->input[0];
    switch (op->kind) {
    case MF_OP_MATMUL:
        return 2 * out * (double)op->input[1].dim[op->attrs.tb ? 1 : 0];
    case MF_OP_CONV2D:
        return 2 * out * (double)op->input[1].dim[1] * op->attrs.kernel[0] * op->attrs.kernel[1];
    case MF_OP_MLP:
        return 2 * (out + (double)mf_operand_count(x)) * (double)op->input[1].dim[1];
    case MF_OP_DWCONV2D:
    case MF_OP_DWCONV2D_GRAD_INPUT:
        return 2 * out * op->attrs.kernel[0] * op->attrs.kernel[1];
    case MF_OP_CONV2D_GRAD_INPUT:
        return 2 * (double)mf_operand_count(x) * (double)op->input[1].dim[1] * op->attrs.kernel[0] *
               op->attrs.kernel[1];
    case MF_OP_CONV2D_GRAD_WEIGHT:
        return 2 * out * (double)mf_operand_rows(&op->input[1]);
    case MF_OP_DWCONV2D_GRAD_WEIGHT:
        return 2 * (double)mf_operand_count(x) * op->attrs.kernel[0] * op->attrs.kernel[1];
    case MF_OP_ATTENTION_GRAD:
    case MF_OP_ATTENTION: {
        double channels = (double)x->dim[2], head = channels / op->attrs.heads;
        double n = (double)x->dim[0], q = (double)x->dim[1], k = (double)op->input[1].dim[1];
        if (op->attrs.attention == MF_ATTENTION_LINEAR)
            return 2 * n * (q + k) * channels * head;
        return 4 * n * q * k * channels;
    }
    default:
        return 0;
    }
}
