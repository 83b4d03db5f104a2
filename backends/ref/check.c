/* Whether the shapes of an operation fit each other, as lib/graph/op.h states them. */
#include "backends/ref/check.h"

static const char *check_epilogue(const mf_op *op) {
    int64_t n = mf_operand_last(&op->output);
    if (!ref_is_vector_or_absent(op, MF_IN_BIAS, n) || !ref_is_vector_or_absent(op, MF_IN_SCALE, n))
        return "bias or scale is not [N]";
    if (!ref_is_vector_or_absent(op, MF_IN_RESIDUAL, mf_operand_count(&op->output)))
        return "the residual has not the shape of the output";
    return NULL;
}

static const char *check_matmul(const mf_op *op) {
    const mf_operand *a = &op->input[MF_IN_X], *b = ref_operand(op, MF_IN_W), *out = &op->output;
    if (a->ndim < (op->attrs.ta ? 2 : 1) || !b || b->ndim != 2 || out->ndim < 1)
        return "a is not [.., M, K] or b is not [N, K]";
    int64_t k = op->attrs.ta ? a->dim[a->ndim - 2] : mf_operand_last(a);
    int64_t n = b->dim[op->attrs.tb ? 0 : 1];
    if (b->dim[op->attrs.tb ? 1 : 0] != k)
        return "K differs between a and b";
    if (mf_operand_last(out) != n || mf_operand_rows(out) != mf_operand_count(a) / k)
        return "the output is not [.., M, N]";
    return check_epilogue(op);
}

static const char *check_mlp(const mf_op *op) {
    const mf_operand *first = ref_operand(op, MF_IN_FIRST_W), *w = ref_operand(op, MF_IN_W);
    if (op->input_count < MF_MLP_INPUTS || op->attrs.ta)
        return "an input is missing, or x is transposed";
    if (!first || first->ndim != 2 || !w || w->ndim != 2 || w->dim[1] != first->dim[0])
        return "the weights are not [H, K] and [N, H]";
    if (!ref_is_vector_or_absent(op, MF_IN_FIRST_BIAS, first->dim[0]))
        return "the first bias is not [H]";
    if (op->input[MF_IN_X].ndim < 1 || op->output.ndim < 1 || mf_operand_last(&op->input[MF_IN_X]) != first->dim[1] ||
        mf_operand_last(&op->output) != w->dim[0] ||
        mf_operand_rows(&op->output) != mf_operand_rows(&op->input[MF_IN_X]))
        return "x is not [.., K] or the output not [.., N]";
    return check_epilogue(op);
}

static int64_t windows(int64_t length, int kernel, int stride, int pad) {
    return length + 2 * pad < kernel ? 0 : (length + 2 * pad - kernel) / stride + 1;
}

/* Output [N, Ho, Wo, channels] of a window that slides over x. */
static const char *check_windows(const mf_op *op, int64_t channels) {
    const mf_operand *x = &op->input[0], *out = &op->output;
    if (!ref_is_map(x) || !ref_is_map(out) || out->dim[0] != x->dim[0] || out->dim[3] != channels)
        return "x or the output is not [N, H, W, C]";
    for (int i = 0; i < 2; i++) {
        const int kernel = op->attrs.kernel[i], stride = op->attrs.stride[i], pad = op->attrs.pad[i];
        if (kernel < 1 || stride < 1 || pad < 0 || out->dim[1 + i] != windows(x->dim[1 + i], kernel, stride, pad))
            return "kernel, stride and padding do not lead from the input's size to the output's";
    }
    return NULL;
}

static const char *check_conv2d(const mf_op *op) {
    const mf_operand *x = &op->input[MF_IN_X], *w = ref_operand(op, MF_IN_W);
    if (!w || w->ndim != 4 || !ref_is_map(x) || w->dim[1] != x->dim[3] || w->dim[2] != op->attrs.kernel[0] ||
        w->dim[3] != op->attrs.kernel[1])
        return "w is not [O, C, kh, kw]";
    const char *wrong = check_windows(op, w->dim[0]);
    return wrong ? wrong : check_epilogue(op);
}

static const char *check_dwconv2d(const mf_op *op) {
    const mf_operand *x = &op->input[MF_IN_X], *w = ref_operand(op, MF_IN_W);
    const mf_attrs *a = &op->attrs;
    if (!ref_is_map(x) || !ref_same_shape(x, &op->output))
        return "x is not [N, H, W, C] or the output has another shape";
    const int64_t channels = x->dim[3];
    if (!w || w->ndim != 4 || w->dim[0] != channels || w->dim[1] != 1 || w->dim[2] != a->kernel[0] ||
        w->dim[3] != a->kernel[1])
        return "w is not [C, 1, kh, kw]";
    for (int i = 0; i < 2; i++)
        if (a->stride[i] != 1 || a->kernel[i] % 2 == 0 || a->pad[i] != a->kernel[i] / 2)
            return "not stride 1, an odd kernel and \"same\" padding";
    if (!ref_is_vector_or_absent(op, MF_IN_BIAS, channels))
        return "bias is not [C]";
    if (!ref_is_vector_or_absent(op, MF_IN_GAMMA, channels) || !ref_is_vector_or_absent(op, MF_IN_BETA, channels))
        return "gamma or beta is not [C]";
    if (!a->norm && (ref_operand(op, MF_IN_GAMMA) || ref_operand(op, MF_IN_BETA)))
        return "gamma or beta without norm";
    return NULL;
}

/* Norms: inputs 1 .. vectors are [C]. */
static const char *check_norm(const mf_op *op) {
    const int64_t channels = mf_operand_last(&op->input[0]);
    const int vectors = op->kind == MF_OP_BATCHNORM ? 4 : op->kind == MF_OP_L2NORM ? 0 : 2;
    if (op->input[0].ndim < 1 || !ref_same_shape(&op->input[0], &op->output))
        return "the output has another shape than x";
    for (int i = 1; i <= vectors; i++)
        if (!(op->kind == MF_OP_LAYERNORM ? ref_is_vector_or_absent(op, i, channels) : ref_is_vector(op, i, channels)))
            return "a parameter is not [C]";
    if (op->kind == MF_OP_GROUPNORM &&
        (!ref_is_map(&op->input[0]) || op->attrs.groups < 1 || channels % op->attrs.groups))
        return "x is not [N, H, W, C] with C a multiple of the groups";
    return NULL;
}

static const char *check_elementwise(const mf_op *op) {
    const mf_operand *a = &op->input[0], *b = ref_operand(op, 1);
    if (!ref_same_shape(a, &op->output))
        return "the output has another shape than a";
    if (op->kind == MF_OP_ACT)
        return NULL;
    if (!b)
        return "b is missing";
    int lead = 0;
    while (lead < b->ndim && b->dim[lead] == 1)
        lead++;
    for (int i = b->ndim - 1, j = a->ndim - 1; i >= lead; i--, j--)
        if (j < 0 || b->dim[i] != a->dim[j])
            return "b's shape is not a suffix of a's";
    return NULL;
}

static const char *check_pyramid(const mf_op *op) {
    const mf_operand *x = &op->input[0];
    int64_t tokens = 0;
    if (op->attrs.level_count < 1 || op->attrs.level_count > MF_MAX_LEVELS)
        return "no levels, or more than MF_MAX_LEVELS";
    for (int i = 0; i < op->attrs.level_count; i++) {
        if (op->attrs.levels[i][0] < 1 || op->attrs.levels[i][1] < 1)
            return "a level is empty";
        tokens += (int64_t)op->attrs.levels[i][0] * op->attrs.levels[i][1];
    }
    if (!ref_is_map(x) || op->output.ndim != 3 || op->output.dim[0] != x->dim[0] || op->output.dim[1] != tokens ||
        op->output.dim[2] != x->dim[3])
        return "x is not [N, H, W, C] or the output is not [N, the cells of all levels, C]";
    return NULL;
}

static const char *check_maxpool(const mf_op *op) {
    for (int i = 0; i < 2; i++)
        if (op->attrs.pad[i] >= op->attrs.kernel[i])
            return "a window could lie outside the map";
    return check_windows(op, mf_operand_last(&op->input[0]));
}

static const char *check_concat(const mf_op *op) {
    const int axis = op->attrs.axis;
    int64_t length = 0;
    if (axis < 0 || axis >= op->output.ndim)
        return "axis is none of the output's";
    for (int i = 0; i < op->input_count; i++) {
        mf_operand o = op->input[i];
        if (o.ndim != op->output.ndim)
            return "the number of dimensions differs";
        length += o.dim[axis];
        o.dim[axis] = op->output.dim[axis];
        if (!ref_same_shape(&o, &op->output))
            return "the inputs differ beside the axis";
    }
    return length == op->output.dim[axis] ? NULL : "the output's axis is not the sum of the inputs'";
}

static const char *check_slice(const mf_op *op) {
    const mf_attrs *a = &op->attrs;
    mf_operand o = op->input[0];
    if (a->axis < 0 || a->axis >= o.ndim || a->begin < 0 || a->begin >= a->end || a->end > o.dim[a->axis])
        return "begin .. end does not lie in the axis";
    o.dim[a->axis] = a->end - a->begin;
    return ref_same_shape(&o, &op->output) ? NULL : "the output is not the slice's shape";
}

static const char *check_attention(const mf_op *op) {
    const mf_operand *q = &op->input[0], *k = ref_operand(op, 1), *v = ref_operand(op, 2);
    if (q->ndim != 3 || !k || !v || k->ndim != 3 || !ref_same_shape(k, v) || !ref_same_shape(q, &op->output) ||
        k->dim[0] != q->dim[0] || k->dim[2] != q->dim[2])
        return "q and the output are not [N, T, C] or k and v not [N, S, C]";
    if (op->attrs.heads < 1 || q->dim[2] % op->attrs.heads)
        return "C is no multiple of the heads";
    return NULL;
}

static const char *check_channel_max(const mf_op *op) {
    const mf_operand *x = &op->input[0], *out = &op->output;
    if (x->ndim < 1 || mf_operand_last(out) != 1 || mf_operand_count(out) != mf_operand_rows(x))
        return "x is not [.., C] or the output not [.., 1]";
    return NULL;
}

static const char *check_gated_mean(const mf_op *op) {
    const mf_operand *s = &op->input[0], *out = &op->output;
    if (s->ndim < 3)
        return "s is not [N, T, C]";
    const int64_t images = s->dim[0], channels = mf_operand_last(s);
    if (!ref_is_vector(op, 1, images * channels) || !ref_is_vector(op, 2, mf_operand_rows(s)))
        return "the gates are not [N, 1, C] and [N, T, 1]";
    return mf_operand_count(out) == images * channels ? NULL : "the output is not [N, 1, C]";
}

static const char *check_sizes(const mf_op *op) {
    if (op->input_count < 1 || op->input_count > MF_MAX_INPUTS || op->input[0].ndim < 0)
        return "no input, or more than MF_MAX_INPUTS";
    for (int i = -1; i < op->input_count; i++) {
        const mf_operand *o = i < 0 ? &op->output : &op->input[i];
        if (o->ndim > MF_MAX_DIMS || (i < 0 && o->ndim < 0))
            return "more than MF_MAX_DIMS dimensions, or no output";
        for (int d = 0; d < o->ndim; d++)
            if (o->dim[d] < 1)
                return "an empty operand";
    }
    return (unsigned)op->attrs.act < MF_ACT_COUNT ? NULL : "unknown activation";
}

const char *ref_check(const mf_op *op) {
    static const ref_checker check[MF_OP_COUNT] = {
        [MF_OP_MATMUL] = check_matmul,         [MF_OP_MLP] = check_mlp,
        [MF_OP_CONV2D] = check_conv2d,         [MF_OP_DWCONV2D] = check_dwconv2d,
        [MF_OP_LAYERNORM] = check_norm,        [MF_OP_GROUPNORM] = check_norm,
        [MF_OP_BATCHNORM] = check_norm,        [MF_OP_ACT] = check_elementwise,
        [MF_OP_ADD] = check_elementwise,       [MF_OP_MUL] = check_elementwise,
        [MF_OP_PYRAMID_POOL] = check_pyramid,  [MF_OP_MAXPOOL] = check_maxpool,
        [MF_OP_CONCAT] = check_concat,         [MF_OP_SLICE] = check_slice,
        [MF_OP_ATTENTION] = check_attention,   [MF_OP_CHANNEL_MAX] = check_channel_max,
        [MF_OP_GATED_MEAN] = check_gated_mean, [MF_OP_L2NORM] = check_norm,
    };
    const char *wrong = check_sizes(op);
    if (wrong)
        return wrong;
    if ((unsigned)op->kind >= MF_OP_COUNT)
        return "no such operation";
    ref_checker found = check[op->kind] ? check[op->kind] : ref_check_training[op->kind];
    return found ? found(op) : "no such operation";
}
