/* The builder: one function an operation. */
#include <string.h>

#include "graph/graph.h"

static mf_node start(mf_op_kind kind, int inputs, const mf_value *input) {
    mf_node n = {.kind = kind, .input_count = inputs, .output = -1};
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        n.input[i] = i < inputs ? input[i] : -1;
    return n;
}

#define START(kind, ...) start(kind, (int)MF_COUNT(((const mf_value[]){__VA_ARGS__})), (const mf_value[]){__VA_ARGS__})

/* Products keep slots for the scale and the residual that fusion may put there. */
mf_value mf_matmul(mf_graph *g, mf_value a, mf_value b, mf_value bias, int ta, int tb) {
    mf_node n = START(MF_OP_MATMUL, a, b, bias, -1, -1);
    n.attrs.ta = ta;
    n.attrs.tb = tb;
    return mf_graph_node(g, &n);
}

mf_value mf_conv2d(mf_graph *g, mf_value x, mf_value w, mf_value bias, int stride, int pad_rows, int pad_columns) {
    mf_node n = START(MF_OP_CONV2D, x, w, bias, -1, -1);
    if (g->status != MFRGN_OK)
        return -1;
    for (int i = 0; i < 2; i++) {
        n.attrs.kernel[i] = (int)g->tensor[w].dim[2 + i];
        n.attrs.stride[i] = stride;
    }
    n.attrs.pad[0] = pad_rows;
    n.attrs.pad[1] = pad_columns;
    return mf_graph_node(g, &n);
}

mf_value mf_dwconv2d(mf_graph *g, mf_value x, mf_value w, mf_value bias) {
    mf_node n = START(MF_OP_DWCONV2D, x, w, bias, -1, -1);
    if (g->status != MFRGN_OK)
        return -1;
    for (int i = 0; i < 2; i++) {
        n.attrs.kernel[i] = (int)g->tensor[w].dim[2 + i];
        n.attrs.stride[i] = 1;
        n.attrs.pad[i] = n.attrs.kernel[i] / 2;
    }
    return mf_graph_node(g, &n);
}

mf_value mf_layernorm(mf_graph *g, mf_value x, mf_value gamma, mf_value beta, double eps) {
    mf_node n = START(MF_OP_LAYERNORM, x, gamma, beta);
    n.attrs.eps = eps;
    return mf_graph_node(g, &n);
}

mf_value mf_groupnorm(mf_graph *g, mf_value x, mf_value gamma, mf_value beta, int groups, double eps) {
    mf_node n = START(MF_OP_GROUPNORM, x, gamma, beta);
    n.attrs.groups = groups;
    n.attrs.eps = eps;
    return mf_graph_node(g, &n);
}

mf_value mf_batchnorm(mf_graph *g, mf_value x, const mf_value parameters[4], double eps, int own) {
    mf_node n = START(MF_OP_BATCHNORM, x, parameters[0], parameters[1], parameters[2], parameters[3]);
    n.attrs.eps = eps;
    n.attrs.own = own;
    return mf_graph_node(g, &n);
}

mf_value mf_activate(mf_graph *g, mf_value x, mf_act act) {
    mf_node n = START(MF_OP_ACT, x);
    n.attrs.act = act;
    return mf_graph_node(g, &n);
}

mf_value mf_add(mf_graph *g, mf_value a, mf_value b) {
    mf_node n = START(MF_OP_ADD, a, b);
    return mf_graph_node(g, &n);
}

mf_value mf_mul(mf_graph *g, mf_value a, mf_value b) {
    mf_node n = START(MF_OP_MUL, a, b);
    return mf_graph_node(g, &n);
}

mf_value mf_pyramid_pool(mf_graph *g, mf_value x, const int (*levels)[2], int count) {
    mf_node n = START(MF_OP_PYRAMID_POOL, x);
    if (count < 1 || count > MF_MAX_LEVELS)
        return mf_graph_fail(g, MFRGN_ERROR_ARGUMENT, "%d pooling levels, 1 to %d are possible", count, MF_MAX_LEVELS);
    n.attrs.level_count = count;
    memcpy(n.attrs.levels, levels, (size_t)count * sizeof(*levels));
    return mf_graph_node(g, &n);
}

mf_value mf_maxpool(mf_graph *g, mf_value x, int kernel, int stride, int pad) {
    mf_node n = START(MF_OP_MAXPOOL, x);
    for (int i = 0; i < 2; i++) {
        n.attrs.kernel[i] = kernel;
        n.attrs.stride[i] = stride;
        n.attrs.pad[i] = pad;
    }
    return mf_graph_node(g, &n);
}

mf_value mf_concat(mf_graph *g, const mf_value *values, int count, int axis) {
    mf_node n = start(MF_OP_CONCAT, count, values);
    n.attrs.axis = axis;
    return mf_graph_node(g, &n);
}

mf_value mf_slice(mf_graph *g, mf_value x, int axis, int64_t begin, int64_t end) {
    mf_node n = START(MF_OP_SLICE, x);
    n.attrs.axis = axis;
    n.attrs.begin = begin;
    n.attrs.end = end;
    return mf_graph_node(g, &n);
}

mf_value mf_attend(mf_graph *g, mf_value q, mf_value k, mf_value v, int heads, mf_attention kind, double eps) {
    mf_node n = START(MF_OP_ATTENTION, q, k, v);
    n.attrs.heads = heads;
    n.attrs.attention = kind;
    n.attrs.eps = eps;
    return mf_graph_node(g, &n);
}

mf_value mf_channel_max(mf_graph *g, mf_value x) {
    mf_node n = START(MF_OP_CHANNEL_MAX, x);
    return mf_graph_node(g, &n);
}

mf_value mf_gated_mean(mf_graph *g, mf_value s, mf_value channel, mf_value position) {
    mf_node n = START(MF_OP_GATED_MEAN, s, channel, position);
    return mf_graph_node(g, &n);
}

mf_value mf_l2norm(mf_graph *g, mf_value x, double eps) {
    mf_node n = START(MF_OP_L2NORM, x);
    n.attrs.eps = eps;
    return mf_graph_node(g, &n);
}

/* The new shape has no place in the attributes: it is written over the inferred one. */
mf_value mf_reshape(mf_graph *g, mf_value x, int ndim, const int64_t *dim) {
    mf_node n = START(MF_OP_RESHAPE, x);
    int64_t after = 1;
    mf_value v = mf_graph_node(g, &n);
    if (v < 0)
        return -1;
    mf_tensor *t = &g->tensor[v];
    const int64_t before = (int64_t)mf_tensor_elements(t);
    for (int i = 0; i < ndim; i++)
        after *= dim[i];
    if (before != after)
        return mf_graph_fail(g, MFRGN_ERROR_INTERNAL, "graph: reshape of %lld values to %lld", (long long)before,
                             (long long)after);
    t->ndim = ndim;
    memcpy(t->dim, dim, (size_t)ndim * sizeof(*dim));
    return v;
}

mf_value mf_as_tokens(mf_graph *g, mf_value x) {
    if (g->status != MFRGN_OK)
        return -1;
    const int64_t *d = g->tensor[x].dim;
    return mf_reshape(g, x, 3, (const int64_t[]){d[0], d[1] * d[2], d[3]});
}

mf_value mf_as_map(mf_graph *g, mf_value x, int64_t h, int64_t w) {
    if (g->status != MFRGN_OK)
        return -1;
    const int64_t *d = g->tensor[x].dim;
    return mf_reshape(g, x, 4, (const int64_t[]){d[0], h, w, d[2]});
}

mf_value mf_operation(mf_graph *g, mf_op_kind kind, const mf_attrs *attrs, int count, const mf_value *inputs) {
    mf_node n = start(kind, count, inputs);
    n.attrs = *attrs;
    return mf_graph_node(g, &n);
}

mf_value mf_reshape_like(mf_graph *g, mf_value x, mf_value like) {
    if (g->status != MFRGN_OK)
        return -1;
    mf_tensor t = g->tensor[like];
    if (t.ndim == g->tensor[x].ndim && memcmp(t.dim, g->tensor[x].dim, (size_t)t.ndim * sizeof(t.dim[0])) == 0)
        return x;
    return mf_reshape(g, x, t.ndim, t.dim);
}

/* ---- training ---- */

mf_value mf_transpose(mf_graph *g, mf_value x) {
    mf_node n = START(MF_OP_TRANSPOSE, x);
    return mf_graph_node(g, &n);
}

mf_value mf_dropout(mf_graph *g, mf_value x, mf_value key, double rate, int id) {
    mf_node n = START(MF_OP_DROPOUT, x, key);
    n.attrs.rate = rate;
    n.attrs.id = id;
    return mf_graph_node(g, &n);
}

mf_value mf_batch_stats(mf_graph *g, mf_value x) {
    mf_node n = START(MF_OP_BATCH_STATS, x);
    return mf_graph_node(g, &n);
}

mf_value mf_lerp(mf_graph *g, mf_value a, mf_value b, double rate) {
    mf_node n = START(MF_OP_LERP, a, b);
    n.attrs.rate = rate;
    return mf_graph_node(g, &n);
}

mf_value mf_infonce(mf_graph *g, mf_value q, mf_value r, mf_value logit_scale, double smoothing) {
    mf_node n = START(MF_OP_INFONCE, q, r, logit_scale);
    n.attrs.rate = smoothing;
    return mf_graph_node(g, &n);
}
