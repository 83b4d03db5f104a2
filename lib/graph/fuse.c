/* Fusion: an operation that only one other reads becomes part of it, where the backend can do both at once.
 *
 * The fused node takes the place of the reader, so that every input is there when it runs. */
#include "graph/graph.h"

int mf_graph_reader(const mf_graph *g, mf_value v, int *count) {
    int reader = -1;
    *count = 0;
    for (size_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i].input_count; k++)
            if (g->node[i].input[k] == v) {
                reader = (int)i;
                ++*count;
            }
    if (v == g->output || (g->tensor[v].slot >= 0 && g->tensor[v].role == MF_ROLE_RESULT))
        *count += 2;
    return reader;
}

/* The node that computes v, if nobody but one input of one node reads it and it is not tapped. */
static mf_node *sole_producer(mf_graph *g, mf_value v) {
    int readers;
    if (v < 0 || g->tensor[v].node < 0 || g->tensor[v].name)
        return NULL;
    mf_graph_reader(g, v, &readers);
    return readers == 1 ? &g->node[g->tensor[v].node] : NULL;
}

static int is_vector_of(const mf_graph *g, mf_value v, int64_t n) {
    const mf_tensor *t = &g->tensor[v];
    return t->role != MF_ROLE_RESULT && t->ndim == 1 && t->dim[0] == n;
}

static int64_t channels_of(const mf_graph *g, mf_value v) {
    return g->tensor[v].dim[g->tensor[v].ndim - 1];
}

static int same_elements(const mf_graph *g, mf_value a, mf_value b) {
    return mf_tensor_elements(&g->tensor[a]) == mf_tensor_elements(&g->tensor[b]);
}

/* Replaces `reader` by `fused`, which computes the reader's result and takes in `producer`. */
static int replace(mf_graph *g, const mf_target *target, mf_node *producer, mf_node *reader, mf_node fused) {
    mf_op op;
    fused.output = reader->output;
    mf_graph_op(g, &fused, &op);
    if (!target->supports(target->user, &op))
        return 0;
    *producer = (mf_node){.kind = MF_OP_NONE, .output = -1};
    *reader = fused;
    return 1;
}

/* Of a product's result; an MLP's is inside. */
static int has_act(const mf_node *n) {
    return n->attrs.act != MF_ACT_NONE && n->kind != MF_OP_MLP;
}

/* product -> act; add, mul or batch norm -> act */
static int fuse_act(mf_graph *g, const mf_target *target, mf_node *reader) {
    mf_node *p = sole_producer(g, reader->input[0]);
    if (!p || p->attrs.act != MF_ACT_NONE)
        return 0;
    mf_node fused = *p;
    fused.attrs.act = reader->attrs.act;
    if ((p->kind == MF_OP_MATMUL || p->kind == MF_OP_CONV2D) && p->input[MF_IN_SCALE] < 0 &&
        p->input[MF_IN_RESIDUAL] < 0)
        return replace(g, target, p, reader, fused);
    if (p->kind == MF_OP_ADD || p->kind == MF_OP_MUL || p->kind == MF_OP_BATCHNORM)
        return replace(g, target, p, reader, fused);
    return 0;
}

/* product -> mul by a vector: the layer scale */
static int fuse_scale(mf_graph *g, const mf_target *target, mf_node *reader) {
    mf_node *p = sole_producer(g, reader->input[0]);
    if (!p || !mf_op_is_product(p->kind) || reader->attrs.act || p->input[MF_IN_SCALE] >= 0 ||
        p->input[MF_IN_RESIDUAL] >= 0 || !is_vector_of(g, reader->input[1], channels_of(g, reader->output)))
        return 0;
    mf_node fused = *p;
    fused.input[MF_IN_SCALE] = reader->input[1];
    if (replace(g, target, p, reader, fused))
        return 1;
    /* A backend without the vector: fold.c can put it into the weights if they are of the compute type. */
    if (has_act(p) || g->tensor[p->input[MF_IN_W]].role != MF_ROLE_CONSTANT ||
        g->tensor[p->input[MF_IN_W]].dtype != g->tensor[reader->output].dtype)
        return 0;
    const mf_value rows[] = {p->input[MF_IN_W], reader->input[1], -1, -1};
    const mf_value bias[] = {p->input[MF_IN_BIAS], reader->input[1], -1, -1};
    fused.input[MF_IN_SCALE] = -1;
    fused.input[MF_IN_W] = mf_graph_folded(g, MF_FOLD_ROWS, rows, 0);
    if (bias[0] >= 0)
        fused.input[MF_IN_BIAS] = mf_graph_folded(g, MF_FOLD_ROWS, bias, 0);
    if (g->status != MFRGN_OK)
        return 0;
    return replace(g, target, p, reader, fused);
}

/* product, x -> add */
static int fuse_residual(mf_graph *g, const mf_target *target, mf_node *reader) {
    if (reader->attrs.act || !same_elements(g, reader->input[0], reader->input[1]))
        return 0;
    for (int side = 1; side >= 0; side--) {
        mf_node *p = sole_producer(g, reader->input[side]);
        mf_value other = reader->input[1 - side];
        if (!p || !mf_op_is_product(p->kind) || p->input[MF_IN_RESIDUAL] >= 0 ||
            g->tensor[other].role == MF_ROLE_CONSTANT)
            continue;
        mf_node fused = *p;
        fused.input[MF_IN_RESIDUAL] = other;
        if (replace(g, target, p, reader, fused))
            return 1;
    }
    return 0;
}

/* depthwise convolution -> layer norm */
static int fuse_norm(mf_graph *g, const mf_target *target, mf_node *reader) {
    mf_node *p = sole_producer(g, reader->input[0]);
    if (!p || p->kind != MF_OP_DWCONV2D || p->attrs.norm)
        return 0;
    mf_node fused = *p;
    fused.attrs.norm = 1;
    fused.attrs.eps = reader->attrs.eps;
    fused.input[MF_IN_GAMMA] = reader->input[1];
    fused.input[MF_IN_BETA] = reader->input[2];
    return replace(g, target, p, reader, fused);
}

static int is_linear(const mf_node *n) {
    return n->kind == MF_OP_MATMUL && n->attrs.tb && !n->attrs.ta;
}

/* linear layer with an activation -> linear layer */
static int fuse_mlp(mf_graph *g, const mf_target *target, mf_node *reader) {
    mf_node *p = is_linear(reader) && !reader->attrs.act ? sole_producer(g, reader->input[MF_IN_X]) : NULL;
    if (!p || !is_linear(p) || !p->attrs.act || p->input[MF_IN_SCALE] >= 0 || p->input[MF_IN_RESIDUAL] >= 0)
        return 0;
    mf_node fused = *reader;
    fused.kind = MF_OP_MLP;
    fused.attrs.act = p->attrs.act;
    fused.input_count = MF_MLP_INPUTS;
    fused.input[MF_IN_X] = p->input[MF_IN_X];
    fused.input[MF_IN_FIRST_W] = p->input[MF_IN_W];
    fused.input[MF_IN_FIRST_BIAS] = p->input[MF_IN_BIAS];
    return replace(g, target, p, reader, fused);
}

mfrgn_status mf_graph_fuse(mf_graph *g, const mf_target *target, int what) {
    for (size_t i = 0; i < g->node_count; i++) {
        mf_node *n = &g->node[i];
        int fused = 0;
        if (n->kind == MF_OP_ACT && what & MF_FUSE_ACT)
            fused = fuse_act(g, target, n);
        else if (n->kind == MF_OP_MUL && what & MF_FUSE_SCALE)
            fused = fuse_scale(g, target, n);
        else if (n->kind == MF_OP_ADD && what & MF_FUSE_RESIDUAL)
            fused = fuse_residual(g, target, n);
        else if (n->kind == MF_OP_LAYERNORM && what & MF_FUSE_NORM)
            fused = fuse_norm(g, target, n);
        else if (n->kind == MF_OP_MATMUL && what & MF_FUSE_MLP)
            fused = fuse_mlp(g, target, n);
        if (fused)
            g->tensor[n->output].node = (int)i;
    }
    mf_graph_sweep(g);
    return g->status;
}

void mf_graph_sweep(mf_graph *g) {
    /* Backwards: a node is needed if its result is. */
    for (size_t i = g->node_count; i-- > 0;) {
        mf_node *n = &g->node[i];
        int readers = 0;
        if (n->output >= 0)
            mf_graph_reader(g, n->output, &readers);
        if (!readers)
            *n = (mf_node){.kind = MF_OP_NONE, .output = -1};
    }
    size_t kept = 0;
    for (size_t v = 0; v < g->tensor_count; v++)
        g->tensor[v].node = -1;
    for (size_t i = 0; i < g->node_count; i++) {
        if (g->node[i].kind == MF_OP_NONE)
            continue;
        g->node[kept] = g->node[i];
        g->tensor[g->node[kept].output].node = (int)kept;
        kept++;
    }
    g->node_count = kept;
}
