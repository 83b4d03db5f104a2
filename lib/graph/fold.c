/* Folding: BatchNorm into the product before it.  Layer scales are fuse.c's, since most kernels apply them for nothing.
 *
 * Where it would be wrong: after the last BatchNorm of a prompt stand a mean and a maximum, and before it a GELU.  The
 * affine part of a LayerNorm is left where it is: docs/decisions/0010. */
#include "graph/graph.h"

static int can_fold_weights(const mf_graph *g, const mf_node *n) {
    mf_value w = n->input[MF_IN_W];
    return (n->kind == MF_OP_CONV2D || (n->kind == MF_OP_MATMUL && n->attrs.tb)) &&
           g->tensor[w].role == MF_ROLE_CONSTANT && g->tensor[w].dtype == g->tensor[n->output].dtype;
}

static mf_value fold(mf_graph *g, mf_fold kind, mf_value a, mf_value b, mf_value c, mf_value d, double eps) {
    const mf_value source[MF_FOLD_SOURCES] = {a, b, c, d};
    return mf_graph_folded(g, kind, source, eps);
}

/* BN(a b + bias) = (s a) b + (beta - mean s + s bias), s = gamma / sqrt(var + eps) */
static int fold_batchnorm(mf_graph *g, const mf_target *target, mf_node *bn) {
    int readers;
    mf_value x = bn->input[0];
    mf_node *p = g->tensor[x].node >= 0 ? &g->node[g->tensor[x].node] : NULL;
    mf_graph_reader(g, x, &readers);
    if (!p || readers != 1 || g->tensor[x].name || !can_fold_weights(g, p) || p->attrs.act || p->attrs.ta ||
        p->input[MF_IN_SCALE] >= 0 || p->input[MF_IN_RESIDUAL] >= 0)
        return 0;
    mf_node fused = *p;
    mf_value s = fold(g, MF_FOLD_BN_SCALE, bn->input[1], bn->input[4], -1, -1, bn->attrs.eps);
    fused.input[MF_IN_W] = fold(g, MF_FOLD_ROWS, p->input[MF_IN_W], s, -1, -1, 0);
    fused.input[MF_IN_BIAS] = fold(g, MF_FOLD_BN_BIAS, bn->input[2], bn->input[3], s, p->input[MF_IN_BIAS], 0);
    fused.attrs.act = bn->attrs.act;
    fused.output = bn->output;
    mf_op op;
    mf_graph_op(g, &fused, &op);
    if (g->status != MFRGN_OK || !target->supports(target->user, &op))
        return 0;
    *p = (mf_node){.kind = MF_OP_NONE, .output = -1};
    *bn = fused;
    return 1;
}

mfrgn_status mf_graph_fold(mf_graph *g, const mf_target *target) {
    for (size_t i = 0; i < g->node_count && g->status == MFRGN_OK; i++) {
        mf_node *n = &g->node[i];
        if (n->kind == MF_OP_BATCHNORM && fold_batchnorm(g, target, n))
            g->tensor[n->output].node = (int)i;
    }
    mf_graph_sweep(g);
    return g->status;
}

/* Batch norms go into their products first, since a residual can be fused only into a product. */
mfrgn_status mf_graph_optimise(mf_graph *g, const mf_target *target) {
    MF_TRY(mf_graph_fold(g, target));
    return mf_graph_fuse(g, target, MF_FUSE_ALL);
}
