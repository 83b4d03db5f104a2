/* Whether the shapes of an operation of training fit each other.  A gradient fits if the operation that it is the
 * gradient of would. */
#include "backends/ref/check.h"

/* The operation of `kind` with the attributes of `op`. */
static const char *check_forward(const mf_op *op, mf_op_kind kind, int count, const mf_operand *const *inputs,
                                 const mf_operand *output) {
    mf_op forward = {.kind = kind, .attrs = op->attrs, .input_count = count};
    forward.output = *output;
    for (int i = 0; i < count; i++) {
        if (!inputs[i])
            return "an input is missing";
        forward.input[i] = *inputs[i];
    }
    return ref_check(&forward);
}

/* The output is input 0's shape, and so is the input of slot `gradient`. */
static const char *check_like_first(const mf_op *op, int gradient) {
    const mf_operand *x = &op->input[0], *dy = ref_operand(op, gradient);
    if (!ref_same_shape(x, &op->output))
        return "the output has another shape than the first input";
    return dy && ref_same_shape(x, dy) ? NULL : "the gradient is missing or has another shape";
}

static const char *check_transpose(const mf_op *op) {
    mf_operand o = op->input[0];
    if (o.ndim < 2)
        return "x is not [.., A, B]";
    o.dim[o.ndim - 2] = op->input[0].dim[o.ndim - 1];
    o.dim[o.ndim - 1] = op->input[0].dim[o.ndim - 2];
    return ref_same_shape(&o, &op->output) ? NULL : "the output is not [.., B, A]";
}

/* [C] or [rows, C] from x and others of its shape. */
static const char *check_columns(const mf_op *op, int64_t rows, int other, int optional) {
    const mf_operand *x = &op->input[0], *y = ref_operand(op, other), *out = &op->output;
    const int64_t channels = mf_operand_last(x);
    if (x->ndim < 1 || (y ? !ref_same_shape(x, y) : !optional))
        return "an input is missing or has another shape than x";
    if (mf_operand_last(out) != channels || mf_operand_count(out) != rows * channels)
        return "the output is not one row a sum, of C";
    return NULL;
}

static const char *check_column_sum(const mf_op *op) {
    return check_columns(op, 1, 1, 1);
}

static const char *check_batch_stats(const mf_op *op) {
    return check_columns(op, 3, 0, 0);
}

static const char *check_row_dot(const mf_op *op) {
    const mf_operand *a = &op->input[0], *b = ref_operand(op, 1);
    if (a->ndim < 1 || !b || !ref_same_shape(a, b))
        return "a and b differ in shape";
    return op->output.ndim == 1 && op->output.dim[0] == a->dim[0] ? NULL : "the output is not [N]";
}

static const char *check_row_scale(const mf_op *op) {
    const mf_operand *a = &op->input[0];
    if (a->ndim < 1 || !ref_same_shape(a, &op->output))
        return "the output has another shape than a";
    return ref_is_vector(op, 1, a->dim[0]) ? NULL : "s is not [N]";
}

static const char *check_second_like_first(const mf_op *op) {
    return check_like_first(op, 1);
}

static const char *check_act_grad(const mf_op *op) {
    return mf_act_has_gradient(op->attrs.act) ? check_second_like_first(op) : "the activation has no gradient";
}

static const char *check_groups(const mf_op *op) {
    const mf_operand *x = &op->input[0];
    if (!ref_is_map(x) || op->attrs.groups < 1 || x->dim[3] % op->attrs.groups)
        return "x is not [N, H, W, C] with C a multiple of the groups";
    return NULL;
}

static const char *check_norm_grad(const mf_op *op) {
    const int64_t channels = mf_operand_last(&op->input[0]);
    const int groups = op->kind == MF_OP_GROUPNORM_GRAD;
    if (op->input[0].ndim < 1)
        return "x is not [.., C]";
    if (groups && check_groups(op))
        return check_groups(op);
    if (groups ? !ref_is_vector(op, 1, channels) : !ref_is_vector_or_absent(op, 1, channels))
        return "gamma is not [C]";
    return check_like_first(op, 2);
}

static const char *check_norm_grad_affine(const mf_op *op) {
    if (op->kind == MF_OP_GROUPNORM_GRAD_AFFINE && check_groups(op))
        return check_groups(op);
    return check_columns(op, 2, 1, 0);
}

static const char *check_batchnorm_grad_affine(const mf_op *op) {
    const int64_t channels = mf_operand_last(&op->input[0]);
    if (!ref_is_vector(op, 1, channels) || !ref_is_vector(op, 2, channels))
        return "mean or var is not [C]";
    return check_columns(op, 2, 3, 0);
}

static const char *check_batchnorm_grad(const mf_op *op) {
    const int64_t channels = mf_operand_last(&op->input[0]);
    for (int i = 1; i <= 3; i++)
        if (!ref_is_vector(op, i, channels))
            return "gamma, mean or var is not [C]";
    if (op->attrs.own ? !ref_is_vector(op, 5, 2 * channels) : !ref_is_vector_or_absent(op, 5, 2 * channels))
        return "the gradients of gamma and beta are not [2, C]";
    return op->input[0].ndim < 1 ? "x is not [.., C]" : check_like_first(op, 4);
}

/* dy; w -> dx */
static const char *check_conv_grad_input(const mf_op *op) {
    const int depthwise = op->kind == MF_OP_DWCONV2D_GRAD_INPUT;
    const mf_operand *inputs[] = {&op->output, ref_operand(op, 1)};
    for (int i = 0; i < 2 && !depthwise; i++)
        if (op->output.ndim != 4 || op->output.dim[1 + i] != op->attrs.size[i])
            return "the output is not [N, attrs.size, C]";
    return check_forward(op, depthwise ? MF_OP_DWCONV2D : MF_OP_CONV2D, 2, inputs, &op->input[0]);
}

/* x; dy -> dw */
static const char *check_conv_grad_weight(const mf_op *op) {
    const mf_operand *inputs[] = {&op->input[0], &op->output}, *dy = ref_operand(op, 1);
    if (!dy)
        return "the gradient is missing";
    return check_forward(op, op->kind == MF_OP_DWCONV2D_GRAD_WEIGHT ? MF_OP_DWCONV2D : MF_OP_CONV2D, 2, inputs, dy);
}

static const char *check_pyramid_grad(const mf_op *op) {
    const mf_operand *inputs[] = {&op->output};
    for (int i = 0; i < 2; i++)
        if (op->output.ndim != 4 || op->output.dim[1 + i] != op->attrs.size[i])
            return "the output is not [N, attrs.size, C]";
    return check_forward(op, MF_OP_PYRAMID_POOL, 1, inputs, &op->input[0]);
}

/* MAXPOOL_GRAD, CHANNEL_MAX_GRAD: x; dy -> dx */
static const char *check_maximum_grad(const mf_op *op) {
    const mf_operand *inputs[] = {&op->input[0]}, *dy = ref_operand(op, 1);
    if (!dy || !ref_same_shape(&op->input[0], &op->output))
        return "the gradient is missing, or the output has another shape than x";
    return check_forward(op, op->kind == MF_OP_MAXPOOL_GRAD ? MF_OP_MAXPOOL : MF_OP_CHANNEL_MAX, 1, inputs, dy);
}

static const char *check_pad(const mf_op *op) {
    const mf_attrs *a = &op->attrs;
    mf_operand o = op->input[0];
    if (a->axis < 0 || a->axis >= o.ndim || a->begin < 0 || a->begin + o.dim[a->axis] > a->end)
        return "x does not lie inside the axis";
    o.dim[a->axis] = a->end;
    return ref_same_shape(&o, &op->output) ? NULL : "the output is not x with a longer axis";
}

/* The output: the gradients of inputs 0 .. count - 1, one after the other. */
static const char *check_flat(const mf_op *op, int count) {
    int64_t n = 0;
    for (int i = 0; i < count; i++)
        n += mf_operand_count(&op->input[i]);
    return op->output.ndim == 1 && op->output.dim[0] == n ? NULL : "the output is not all gradients in a row";
}

/* ATTENTION_GRAD, GATED_MEAN_GRAD: three inputs; dy -> three gradients */
static const char *check_three_grad(const mf_op *op) {
    const mf_operand *inputs[] = {&op->input[0], ref_operand(op, 1), ref_operand(op, 2)}, *dy = ref_operand(op, 3);
    if (!dy)
        return "the gradient is missing";
    const char *wrong =
        check_forward(op, op->kind == MF_OP_ATTENTION_GRAD ? MF_OP_ATTENTION : MF_OP_GATED_MEAN, 3, inputs, dy);
    return wrong ? wrong : check_flat(op, 3);
}

static const char *check_dropout(const mf_op *op) {
    const mf_operand *x = &op->input[0];
    if (x->ndim < 1 || !ref_same_shape(x, &op->output))
        return "the output has another shape than x";
    if (mf_operand_count(x) / x->dim[0] > UINT32_MAX)
        return "an image has more than 2^32 elements";
    if (!(op->attrs.rate >= 0 && op->attrs.rate < 1))
        return "the rate is not in 0 .. 1";
    return ref_is_vector(op, 1, 3) ? NULL : "the key is not [3]";
}

static const char *check_infonce(const mf_op *op) {
    const mf_operand *q = &op->input[0], *r = ref_operand(op, 1);
    if (q->ndim != 2 || !r || !ref_same_shape(q, r))
        return "q and r are not [N, D]";
    if (!ref_is_vector(op, 2, 1))
        return "the logit scale is not one value";
    if (op->kind == MF_OP_INFONCE)
        return mf_operand_count(&op->output) == 1 && op->output.ndim == 1 ? NULL : "the output is not [1]";
    return ref_is_vector(op, 3, 1) ? check_flat(op, 3) : "dloss is not [1]";
}

const ref_checker ref_check_training[MF_OP_COUNT] = {
    [MF_OP_TRANSPOSE] = check_transpose,
    [MF_OP_COLUMN_SUM] = check_column_sum,
    [MF_OP_ROW_DOT] = check_row_dot,
    [MF_OP_ROW_SCALE] = check_row_scale,
    [MF_OP_ACT_GRAD] = check_act_grad,
    [MF_OP_LAYERNORM_GRAD] = check_norm_grad,
    [MF_OP_LAYERNORM_GRAD_AFFINE] = check_norm_grad_affine,
    [MF_OP_GROUPNORM_GRAD] = check_norm_grad,
    [MF_OP_GROUPNORM_GRAD_AFFINE] = check_norm_grad_affine,
    [MF_OP_BATCH_STATS] = check_batch_stats,
    [MF_OP_BATCHNORM_GRAD_AFFINE] = check_batchnorm_grad_affine,
    [MF_OP_BATCHNORM_GRAD] = check_batchnorm_grad,
    [MF_OP_CONV2D_GRAD_INPUT] = check_conv_grad_input,
    [MF_OP_CONV2D_GRAD_WEIGHT] = check_conv_grad_weight,
    [MF_OP_DWCONV2D_GRAD_INPUT] = check_conv_grad_input,
    [MF_OP_DWCONV2D_GRAD_WEIGHT] = check_conv_grad_weight,
    [MF_OP_PYRAMID_POOL_GRAD] = check_pyramid_grad,
    [MF_OP_MAXPOOL_GRAD] = check_maximum_grad,
    [MF_OP_PAD] = check_pad,
    [MF_OP_ATTENTION_GRAD] = check_three_grad,
    [MF_OP_CHANNEL_MAX_GRAD] = check_maximum_grad,
    [MF_OP_GATED_MEAN_GRAD] = check_three_grad,
    [MF_OP_L2NORM_GRAD] = check_second_like_first,
    [MF_OP_DROPOUT] = check_dropout,
    [MF_OP_LERP] = check_second_like_first,
    [MF_OP_INFONCE] = check_infonce,
    [MF_OP_INFONCE_GRAD] = check_infonce,
};
