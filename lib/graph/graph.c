#include "graph/graph.h"

#include <string.h>

typedef struct mf_block {
    struct mf_block *link;
    double data[]; /* aligned for anything that a graph stores */
} mf_block;

mf_graph *mf_graph_create(mfrgn_context *context) {
    mf_graph *g = mf_calloc(context, 1, sizeof(*g));
    if (!g)
        return NULL;
    g->context = mf_context_ref(context);
    g->input = g->output = -1;
    return g;
}

void mf_graph_free(mf_graph *g) {
    if (!g)
        return;
    mfrgn_context *context = g->context;
    for (mf_block *b = g->blocks, *next; b; b = next) {
        next = b->link;
        mf_free(context, b);
    }
    mf_free(context, g->tensor);
    mf_free(context, g->node);
    mf_free(context, g);
    mfrgn_context_free(context);
}

void *mf_graph_alloc(mf_graph *g, size_t bytes) {
    mf_block *b = mf_alloc(g->context, sizeof(*b) + bytes);
    if (!b) {
        mf_graph_fail(g, MFRGN_ERROR_MEMORY, "out of memory: %zu bytes for a graph", bytes);
        return NULL;
    }
    b->link = g->blocks;
    g->blocks = b;
    return b->data;
}

static const char *keep_text(mf_graph *g, const char *text) {
    char *copy = text ? mf_graph_alloc(g, strlen(text) + 1) : NULL;
    return copy ? strcpy(copy, text) : NULL;
}

static const double *keep_values(mf_graph *g, const double *values, size_t count) {
    double *copy = mf_graph_alloc(g, count * sizeof(double));
    return copy ? memcpy(copy, values, count * sizeof(double)) : NULL;
}

static size_t tensor_elements(const mf_tensor *t) {
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= (size_t)t->dim[i];
    return n;
}

mf_graph *mf_graph_copy(const mf_graph *g) {
    mf_graph *copy = mf_graph_create(g->context);
    if (!copy)
        return NULL;
    void *tensors = NULL, *nodes = NULL;
    if (mf_reserve(g->context, &tensors, &copy->tensor_room, g->tensor_count, sizeof(mf_tensor)) ||
        mf_reserve(g->context, &nodes, &copy->node_room, g->node_count, sizeof(mf_node)))
        copy->status = MFRGN_ERROR_MEMORY;
    copy->tensor = tensors;
    copy->node = nodes;
    if (copy->status == MFRGN_OK) {
        copy->tensor_count = g->tensor_count;
        copy->node_count = g->node_count;
        copy->input = g->input;
        copy->output = g->output;
        copy->keep_taps = g->keep_taps;
        memcpy(copy->tensor, g->tensor, g->tensor_count * sizeof(mf_tensor));
        memcpy(copy->node, g->node, g->node_count * sizeof(mf_node));
        for (size_t i = 0; i < copy->tensor_count; i++) {
            mf_tensor *t = &copy->tensor[i];
            t->name = keep_text(copy, t->name);
            if (t->literal)
                t->literal = keep_values(copy, t->literal, tensor_elements(t));
        }
    }
    if (copy->status != MFRGN_OK) {
        mf_graph_free(copy);
        return NULL;
    }
    return copy;
}

mf_value mf_graph_fail(mf_graph *g, mfrgn_status status, const char *format, ...) {
    if (g->status == MFRGN_OK) {
        va_list args;
        va_start(args, format);
        g->status = mf_vfail(g->context, status, format, args);
        va_end(args);
    }
    return -1;
}

static mf_value add_tensor(mf_graph *g, mf_role role, const char *name, int ndim, const int64_t *dim) {
    if (g->status != MFRGN_OK)
        return -1;
    void *items = g->tensor;
    mfrgn_status status = mf_reserve(g->context, &items, &g->tensor_room, g->tensor_count + 1, sizeof(mf_tensor));
    g->tensor = items;
    if (status != MFRGN_OK) {
        g->status = status;
        return -1;
    }
    mf_tensor t = {.role = role, .ndim = ndim, .node = -1, .slot = -1, .parameter = -1};
    for (int i = 0; i < ndim; i++)
        t.dim[i] = dim[i];
    for (int i = 0; i < MF_FOLD_SOURCES; i++)
        t.source[i] = -1;
    t.name = keep_text(g, name);
    g->tensor[g->tensor_count] = t;
    return (mf_value)g->tensor_count++;
}

mf_value mf_graph_input(mf_graph *g, const char *name, int ndim, const int64_t *dim) {
    return g->input = add_tensor(g, MF_ROLE_INPUT, name, ndim, dim);
}

mf_value mf_graph_weight(mf_graph *g, const char *name, int parameter, mf_dtype stored, int ndim, const int64_t *dim) {
    mf_value v = add_tensor(g, MF_ROLE_CONSTANT, name, ndim, dim);
    if (v >= 0) {
        g->tensor[v].parameter = parameter;
        g->tensor[v].dtype = stored;
    }
    return v;
}

mf_value mf_graph_literal(mf_graph *g, const char *name, const double *values, int ndim, const int64_t *dim) {
    mf_value v = add_tensor(g, MF_ROLE_CONSTANT, name, ndim, dim);
    if (v >= 0)
        g->tensor[v].literal = keep_values(g, values, tensor_elements(&g->tensor[v]));
    return v;
}

mf_value mf_graph_variable(mf_graph *g, const char *name, int slot, mf_dtype dtype, int ndim, const int64_t *dim) {
    mf_value v = add_tensor(g, MF_ROLE_VARIABLE, name, ndim, dim);
    if (v >= 0) {
        g->tensor[v].dtype = dtype;
        g->tensor[v].slot = slot;
    }
    return v;
}

/* The memory is that under the reshapes. */
void mf_graph_bind(mf_graph *g, mf_value v, int slot) {
    if (g->status != MFRGN_OK || v < 0)
        return;
    while (g->tensor[v].node >= 0 && g->node[g->tensor[v].node].kind == MF_OP_RESHAPE)
        v = g->node[g->tensor[v].node].input[0];
    if (g->tensor[v].role != MF_ROLE_RESULT || g->tensor[v].slot >= 0)
        mf_graph_fail(g, MFRGN_ERROR_INTERNAL, "graph: value %d cannot be bound to slot %d", v, slot);
    else
        g->tensor[v].slot = slot;
}

/* The shape and type are the first source's. */
mf_value mf_graph_folded(mf_graph *g, mf_fold fold, const mf_value *source, double eps) {
    if (g->status != MFRGN_OK)
        return -1;
    mf_tensor like = g->tensor[source[0]];
    mf_value v = add_tensor(g, MF_ROLE_CONSTANT, NULL, like.ndim, like.dim);
    if (v >= 0) {
        g->tensor[v].dtype = like.dtype;
        g->tensor[v].fold = fold;
        g->tensor[v].eps = eps;
        for (int i = 0; i < MF_FOLD_SOURCES; i++)
            g->tensor[v].source[i] = source[i];
    }
    return v;
}

const mf_tensor *mf_graph_tensor(const mf_graph *g, mf_value v) {
    return &g->tensor[v];
}

void mf_graph_tap(mf_graph *g, mf_value v, const char *name) {
    if (g->status == MFRGN_OK && v >= 0)
        g->tensor[v].name = keep_text(g, name);
}

mf_value mf_graph_find(const mf_graph *g, const char *name) {
    for (size_t i = 0; i < g->tensor_count; i++)
        if (g->tensor[i].role != MF_ROLE_CONSTANT && g->tensor[i].name && strcmp(g->tensor[i].name, name) == 0)
            return (mf_value)i;
    return -1;
}

static mf_operand operand_of(const mf_tensor *t) {
    mf_operand o = {t->dtype, t->ndim, {0}, t->role == MF_ROLE_CONSTANT};
    for (int i = 0; i < t->ndim; i++)
        o.dim[i] = t->dim[i];
    return o;
}

void mf_graph_op(const mf_graph *g, const mf_node *node, mf_op *op) {
    memset(op, 0, sizeof(*op));
    op->kind = node->kind;
    op->attrs = node->attrs;
    op->input_count = node->input_count;
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        op->input[i] = (mf_operand){.ndim = -1};
    for (int i = 0; i < node->input_count; i++)
        if (node->input[i] >= 0)
            op->input[i] = operand_of(&g->tensor[node->input[i]]);
    if (node->output >= 0)
        op->output = operand_of(&g->tensor[node->output]);
}

mf_value mf_graph_node(mf_graph *g, const mf_node *node) {
    char text[256];
    mf_op op;
    if (g->status != MFRGN_OK)
        return -1;
    mf_graph_op(g, node, &op);
    if (!mf_op_infer(&op, text, sizeof(text)))
        return mf_graph_fail(g, MFRGN_ERROR_INTERNAL, "graph: %s: %s", mf_op_name(node->kind), text);
    void *items = g->node;
    g->status = mf_reserve(g->context, &items, &g->node_room, g->node_count + 1, sizeof(mf_node));
    g->node = items;
    mf_value v = add_tensor(g, MF_ROLE_RESULT, NULL, op.output.ndim, op.output.dim);
    if (v < 0)
        return -1;
    g->tensor[v].node = (int)g->node_count;
    g->node[g->node_count] = *node;
    g->node[g->node_count].output = v;
    g->node_count++;
    return v;
}
