/* Types of a graph that computes in 16 bits.
 *
 * Feature maps have the compute type, and so have the weights of products.  What is small and decides accuracy stays
 * f32: vectors (biases, scales, norms, statistics), weights of depthwise convolutions, the descriptor and its length,
 * the loss, the gradients of weights, and all that lies in slots.  Where the two meet a CAST is put in.
 * Source: mixed precision training, Micikevicius et al., ICLR 2018, and what PyTorch's autocast keeps in f32. */
#include <string.h>

#include "graph/graph.h"

/* Operations whose operands all have one type: the compute type, or f32. */
static int is_uniform(mf_op_kind kind) {
    switch (kind) {
    case MF_OP_RESHAPE:
    case MF_OP_SLICE:
    case MF_OP_CONCAT:
    case MF_OP_TRANSPOSE:
    case MF_OP_PAD:
    case MF_OP_ADD:
    case MF_OP_MUL:
    case MF_OP_ACT:
    case MF_OP_ACT_GRAD:
    case MF_OP_DROPOUT:
    case MF_OP_ROW_SCALE:
    case MF_OP_ROW_DOT:
    case MF_OP_COLUMN_SUM:
        return 1;
    default:
        return 0;
    }
}

/* Operations that compute in f32 alone. */
static int is_wide(mf_op_kind kind) {
    return kind == MF_OP_L2NORM || kind == MF_OP_L2NORM_GRAD || kind == MF_OP_INFONCE || kind == MF_OP_INFONCE_GRAD ||
           kind == MF_OP_LERP;
}

/* Inputs that are vectors or the like; bit i: input i. */
static unsigned wide_inputs(mf_op_kind kind) {
    switch (kind) {
    case MF_OP_MATMUL:
    case MF_OP_CONV2D:
        return 1u << MF_IN_BIAS | 1u << MF_IN_SCALE;
    case MF_OP_MLP:
        return 1u << MF_IN_BIAS | 1u << MF_IN_SCALE | 1u << MF_IN_FIRST_BIAS;
    case MF_OP_DWCONV2D:
        return 1u << MF_IN_W | 1u << MF_IN_BIAS | 1u << MF_IN_GAMMA | 1u << MF_IN_BETA;
    case MF_OP_LAYERNORM:
    case MF_OP_GROUPNORM:
    case MF_OP_BATCHNORM:
        return ~1u;
    case MF_OP_LAYERNORM_GRAD:
    case MF_OP_GROUPNORM_GRAD:
    case MF_OP_ROW_SCALE:
    case MF_OP_DWCONV2D_GRAD_INPUT:
        return 1u << 1;
    case MF_OP_BATCHNORM_GRAD_AFFINE:
        return 1u << 1 | 1u << 2;
    case MF_OP_BATCHNORM_GRAD:
        return 1u << 1 | 1u << 2 | 1u << 3 | 1u << 5;
    default:
        return 0;
    }
}

static int has_wide_result(const mf_op *op) {
    switch (op->kind) {
    case MF_OP_COLUMN_SUM:
    case MF_OP_ROW_DOT:
    case MF_OP_LAYERNORM_GRAD_AFFINE:
    case MF_OP_GROUPNORM_GRAD_AFFINE:
    case MF_OP_BATCH_STATS:
    case MF_OP_BATCHNORM_GRAD_AFFINE:
    case MF_OP_CONV2D_GRAD_WEIGHT:
    case MF_OP_DWCONV2D_GRAD_WEIGHT:
        return 1;
    default:
        return is_wide(op->kind) || mf_op_is_weight_gradient(op);
    }
}

mf_dtype mf_operand_type(const mf_op *op, int slot, mf_dtype compute, int wide) {
    if (op->kind == MF_OP_DROPOUT && slot == 1)
        return MF_I64;
    if (!mf_dtype_is_16_bit(compute))
        return compute;
    if (slot < 0 ? has_wide_result(op) : (is_wide(op->kind) || wide_inputs(op->kind) >> slot & 1))
        return MF_F32;
    if (slot == MF_IN_RESIDUAL && mf_op_is_weight_gradient(op))
        return MF_F32;
    return is_uniform(op->kind) && wide ? MF_F32 : compute;
}

/* ---- the pass ---- */

typedef struct typer {
    mf_graph *g;
    mf_dtype compute;
    size_t *other; /* a value: 1 + the value that holds it in the other type already */
    mf_node *node; /* the new list */
    size_t count, room;
} typer;

static mfrgn_status append(typer *t, const mf_node *n) {
    if (t->count == t->room)
        return mf_fail(t->g->context, MFRGN_ERROR_INTERNAL, "graph: more casts than operands");
    t->g->tensor[n->output].node = (int)t->count;
    t->node[t->count++] = *n;
    return MFRGN_OK;
}

static mf_value new_value(mf_graph *g, mf_value like, mf_dtype dtype) {
    size_t v = g->tensor_count++; /* there is room: see mf_graph_set_types */
    g->tensor[v] = g->tensor[like];
    g->tensor[v].dtype = dtype;
    return (mf_value)v;
}

/* `v` in another type: a constant becomes another constant, all else is cast, once. */
static mfrgn_status in_type(typer *t, mf_value v, mf_dtype type, mf_value *out) {
    mf_graph *g = t->g;
    size_t *known = &t->other[v];
    if (*known) {
        *out = (mf_value)(*known - 1);
        return MFRGN_OK;
    }
    *out = new_value(g, v, type);
    *known = (size_t)*out + 1;
    if (g->tensor[v].role == MF_ROLE_CONSTANT)
        return MFRGN_OK;
    mf_tensor *x = &g->tensor[*out];
    x->role = MF_ROLE_RESULT;
    x->slot = -1;
    x->name = NULL;
    mf_node cast = {.kind = MF_OP_CAST, .input_count = 1, .output = *out};
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        cast.input[i] = i ? -1 : v;
    return append(t, &cast);
}

static int is_float(mf_dtype t) {
    return t == MF_F32 || t == MF_F16 || t == MF_BF16 || t == MF_F64;
}

/* Whether an operation that can do either computes in f32: its result lies in a slot, or its first operand that has a
 * type already is f32. */
static int is_wide_here(const typer *t, const mf_node *n) {
    const mf_graph *g = t->g;
    if (g->tensor[n->output].slot >= 0)
        return 1;
    mf_value first = n->input[0];
    if (g->tensor[first].role == MF_ROLE_CONSTANT && n->input_count > 1 && n->input[1] >= 0)
        first = n->input[1];
    return g->tensor[first].role != MF_ROLE_CONSTANT && g->tensor[first].dtype == MF_F32;
}

static mfrgn_status type_node(typer *t, const mf_node *old) {
    mf_graph *g = t->g;
    mf_node n = *old;
    mf_op op;
    mf_graph_op(g, &n, &op);
    int wide = is_wide_here(t, &n);
    for (int i = 0; i < n.input_count; i++) {
        mf_value v = n.input[i];
        mf_dtype type = mf_operand_type(&op, i, t->compute, wide);
        if (v < 0 || g->tensor[v].dtype == type || !is_float(g->tensor[v].dtype))
            continue;
        MF_TRY(in_type(t, v, type, &n.input[i]));
    }
    mf_tensor *out = &g->tensor[n.output];
    out->dtype = mf_operand_type(&op, -1, t->compute, wide);
    if (out->slot >= 0 && out->dtype != MF_F32)
        return mf_fail(g->context, MFRGN_ERROR_INTERNAL, "graph: a %s in 16 bits lies in a slot", mf_op_name(n.kind));
    return append(t, &n);
}

mfrgn_status mf_graph_set_types(mf_graph *g, mf_dtype compute) {
    if (!mf_dtype_is_16_bit(compute)) {
        for (size_t v = 0; v < g->tensor_count; v++)
            if (is_float(g->tensor[v].dtype) && g->tensor[v].role != MF_ROLE_CONSTANT)
                g->tensor[v].dtype = compute;
        return MFRGN_OK;
    }
    size_t extra = g->tensor_count; /* every value is cast at most once: there are two types */
    typer t = {.g = g, .compute = compute, .room = g->node_count + extra};
    mf_tensor *tensor = mf_calloc(g->context, g->tensor_count + extra, sizeof(*tensor));
    t.node = mf_calloc(g->context, t.room, sizeof(*t.node));
    t.other = mf_calloc(g->context, g->tensor_count + extra, sizeof(*t.other));
    mfrgn_status status = MFRGN_OK;
    if (!tensor || !t.node || !t.other)
        status = mf_fail_memory(g->context, t.room * sizeof(*t.node), "types of a graph");
    if (status == MFRGN_OK) {
        memcpy(tensor, g->tensor, g->tensor_count * sizeof(*tensor));
        mf_free(g->context, g->tensor);
        g->tensor = tensor;
        g->tensor_room = g->tensor_count + extra;
        tensor = NULL;
        for (size_t v = 0; v < g->tensor_count; v++)
            if (is_float(g->tensor[v].dtype))
                g->tensor[v].dtype = MF_F32;
        for (size_t i = 0; i < g->node_count && status == MFRGN_OK; i++)
            status = type_node(&t, &g->node[i]);
    }
    if (status == MFRGN_OK) {
        mf_free(g->context, g->node);
        g->node = t.node;
        g->node_count = t.count;
        g->node_room = t.room;
        t.node = NULL;
    }
    mf_free(g->context, tensor);
    mf_free(g->context, t.node);
    mf_free(g->context, t.other);
    return status;
}
