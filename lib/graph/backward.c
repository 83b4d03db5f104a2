/* Reverse-mode differentiation: from the last node to the first, each operation's rule appends the operations that
 * carry its output's gradient on to its inputs.  A backend that has the operations can train.
 *
 * Rules ask for values of the forward pass through again(): what is cheap to compute is computed a second time there,
 * in place of being kept from the forward pass.  Gradients that meet are added; where one of them comes from a product,
 * fusion makes the sum the product's residual, so that weights' gradients of two views accumulate for nothing. */
#include "graph/graph.h"

#include <string.h>

typedef struct tape {
    mf_graph *g;
    mf_recompute recompute;
    size_t forward, nodes; /* values and nodes before the backward pass */
    mf_value *gradient, *copy;
    char *needed; /* depends on a variable whose gradient is wanted */
} tape;

#define OP(t, kind, attrs, ...)                                                                                        \
    mf_operation((t)->g, kind, attrs, (int)MF_COUNT(((const mf_value[]){__VA_ARGS__})), (const mf_value[]){__VA_ARGS__})

static const mf_attrs plain;

static mf_tensor tensor(const tape *t, mf_value v) {
    return t->g->tensor[v];
}

static int64_t elements(const tape *t, mf_value v) {
    return (int64_t)mf_tensor_elements(&t->g->tensor[v]);
}

static int64_t last_of(const tape *t, mf_value v) {
    const mf_tensor *x = &t->g->tensor[v];
    return x->ndim ? x->dim[x->ndim - 1] : 1;
}

static int needs(const tape *t, mf_value v) {
    return v >= 0 && (size_t)v < t->forward && t->needed[v];
}

/* ---- recomputation ---- */

/* Nothing is computed, and mostly nothing is copied: worth doing again only where what is under it is. */
static int is_part(mf_op_kind kind) {
    return kind == MF_OP_RESHAPE || kind == MF_OP_SLICE;
}

static int is_cheap(mf_op_kind kind) {
    return kind == MF_OP_ACT || kind == MF_OP_LAYERNORM || kind == MF_OP_GROUPNORM || kind == MF_OP_BATCHNORM ||
           kind == MF_OP_DROPOUT || is_part(kind);
}

/* The residual stream: sums, fused or not. */
static int is_stream(const mf_node *n) {
    return n->kind == MF_OP_ADD ||
           (mf_op_is_product(n->kind) && n->input_count > MF_IN_RESIDUAL && n->input[MF_IN_RESIDUAL] >= 0);
}

static int is_recomputed(const tape *t, mf_value v) {
    const mf_tensor *x = &t->g->tensor[v];
    if (x->role != MF_ROLE_RESULT || x->keep || x->slot >= 0 || t->recompute == MF_RECOMPUTE_NONE)
        return 0;
    const mf_node *n = &t->g->node[x->node];
    return is_cheap(n->kind) || (t->recompute == MF_RECOMPUTE_ALL && !is_stream(n));
}

/* A value of the forward pass, for the backward pass. */
static mf_value again(tape *t, mf_value v) {
    if (t->g->status != MFRGN_OK || v < 0 || (size_t)v >= t->forward || !is_recomputed(t, v))
        return v;
    if (t->copy[v] >= 0)
        return t->copy[v];
    mf_node n = t->g->node[t->g->tensor[v].node];
    mf_tensor like = tensor(t, v);
    for (int i = 0; i < n.input_count; i++)
        n.input[i] = again(t, n.input[i]);
    if (is_part(n.kind) && n.input[0] == t->g->node[like.node].input[0])
        return v; /* nothing under it is computed again */
    mf_value copy =
        n.kind == MF_OP_RESHAPE ? mf_reshape(t->g, n.input[0], like.ndim, like.dim) : mf_graph_node(t->g, &n);
    return t->copy[v] = copy;
}

/* ---- gradients ---- */

/* Adds to v's gradient; the shape may differ, the number of values may not. */
static void give(tape *t, mf_value v, mf_value gradient) {
    if (!needs(t, v) || t->g->status != MFRGN_OK || gradient < 0)
        return;
    gradient = mf_reshape_like(t->g, gradient, v);
    t->gradient[v] = t->gradient[v] < 0 ? gradient : mf_add(t->g, t->gradient[v], gradient);
}

static mf_value rows(tape *t, mf_value v, int64_t channels) {
    if (t->g->status != MFRGN_OK || v < 0)
        return -1;
    return mf_reshape(t->g, v, 2, (const int64_t[]){elements(t, v) / channels, channels});
}

static mf_value column_sum(tape *t, mf_value x, mf_value y) {
    return y < 0 ? OP(t, MF_OP_COLUMN_SUM, &plain, x) : OP(t, MF_OP_COLUMN_SUM, &plain, x, y);
}

/* Rows 0 and 1 of [2, C]: gamma's and beta's gradients. */
static void give_affine(tape *t, mf_value affine, mf_value gamma, mf_value beta) {
    if (needs(t, gamma))
        give(t, gamma, mf_slice(t->g, affine, 0, 0, 1));
    if (needs(t, beta))
        give(t, beta, mf_slice(t->g, affine, 0, 1, 2));
}

/* The parts of a flat gradient, in the order of the inputs. */
static void give_parts(tape *t, mf_value flat, int count, const mf_value *inputs) {
    int64_t at = 0;
    for (int i = 0; i < count && t->g->status == MFRGN_OK; i++) {
        int64_t n = elements(t, inputs[i]);
        if (needs(t, inputs[i]))
            give(t, inputs[i], mf_slice(t->g, flat, 0, at, at + n));
        at += n;
    }
}

/* ---- products ----
 * y = residual + s (x W^T + b), s a value a row of W.  With G = dy^T x, which does not know s:
 *   dW = s G;  ds = <W, G> a row + b sum(dy);  db = s sum(dy);  dx = dy (s W)
 * so that neither x W^T nor s dy is ever stored. */

static mf_value product_weight(tape *t, const mf_node *n, mf_value x, mf_value dy) {
    if (n->kind == MF_OP_CONV2D)
        return OP(t, MF_OP_CONV2D_GRAD_WEIGHT, &n->attrs, x, dy);
    mf_value x2 = rows(t, x, last_of(t, x)), dy2 = rows(t, dy, last_of(t, dy));
    return n->attrs.tb ? mf_matmul(t->g, dy2, x2, -1, 1, 0) : mf_matmul(t->g, x2, dy2, -1, 1, 0);
}

static mf_value product_input(tape *t, const mf_node *n, mf_value w, mf_value dy) {
    if (n->kind == MF_OP_MATMUL)
        return mf_matmul(t->g, dy, w, -1, 0, !n->attrs.tb);
    mf_attrs attrs = n->attrs;
    mf_tensor x = tensor(t, n->input[MF_IN_X]);
    attrs.size[0] = x.dim[1];
    attrs.size[1] = x.dim[2];
    return OP(t, MF_OP_CONV2D_GRAD_INPUT, &attrs, dy, w);
}

/* W's gradient from G, which may have W's shape or that of a matrix. */
static void give_weight(tape *t, const mf_node *n, mf_value x, mf_value dy, mf_value bias_sum) {
    mf_value w = n->input[MF_IN_W], scale = n->input[MF_IN_SCALE], bias = n->input[MF_IN_BIAS];
    mf_value g = mf_reshape_like(t->g, product_weight(t, n, x, dy), w);
    give(t, w, scale < 0 ? g : OP(t, MF_OP_ROW_SCALE, &plain, g, scale));
    if (!needs(t, scale))
        return;
    give(t, scale, OP(t, MF_OP_ROW_DOT, &plain, w, g));
    if (bias >= 0)
        give(t, scale, mf_mul(t->g, bias, bias_sum));
}

static void product(tape *t, const mf_node *n, mf_value dy) {
    mf_value x = n->input[MF_IN_X], w = n->input[MF_IN_W], bias = n->input[MF_IN_BIAS], scale = n->input[MF_IN_SCALE];
    give(t, n->input[MF_IN_RESIDUAL], dy);
    if (n->attrs.act || (scale >= 0 && n->kind == MF_OP_MATMUL && !n->attrs.tb)) {
        mf_graph_fail(t->g, MFRGN_ERROR_INTERNAL, "graph: no gradient of a fused %s", mf_op_name(n->kind));
        return;
    }
    mf_value bias_sum = -1;
    if (needs(t, bias) || (needs(t, scale) && bias >= 0))
        bias_sum = column_sum(t, dy, -1);
    if (needs(t, w) || needs(t, scale)) {
        mf_value again_x = again(t, x);
        give_weight(t, n, n->attrs.ta ? mf_transpose(t->g, again_x) : again_x, dy, bias_sum);
    }
    if (needs(t, bias))
        give(t, bias, scale < 0 ? bias_sum : mf_mul(t->g, bias_sum, scale));
    if (needs(t, x)) {
        mf_value dx = product_input(t, n, scale < 0 ? w : OP(t, MF_OP_ROW_SCALE, &plain, w, scale), dy);
        give(t, x, n->attrs.ta ? mf_transpose(t->g, dx) : dx);
    }
}

static void dwconv2d(tape *t, const mf_node *n, mf_value dy) {
    mf_value x = n->input[MF_IN_X], w = n->input[MF_IN_W], bias = n->input[MF_IN_BIAS];
    if (n->attrs.norm) {
        mf_graph_fail(t->g, MFRGN_ERROR_INTERNAL, "graph: no gradient of a fused dwconv2d");
        return;
    }
    if (needs(t, bias))
        give(t, bias, column_sum(t, dy, -1));
    if (needs(t, w))
        give(t, w, OP(t, MF_OP_DWCONV2D_GRAD_WEIGHT, &n->attrs, again(t, x), dy));
    if (needs(t, x))
        give(t, x, OP(t, MF_OP_DWCONV2D_GRAD_INPUT, &n->attrs, dy, w));
}

/* ---- norms ---- */

static void layernorm(tape *t, const mf_node *n, mf_value dy) {
    int group = n->kind == MF_OP_GROUPNORM;
    mf_value x = n->input[0], gamma = n->input[1], beta = n->input[2], seen = again(t, x);
    if (needs(t, gamma) || needs(t, beta))
        give_affine(t, OP(t, group ? MF_OP_GROUPNORM_GRAD_AFFINE : MF_OP_LAYERNORM_GRAD_AFFINE, &n->attrs, seen, dy),
                    gamma, beta);
    if (needs(t, x))
        give(t, x, OP(t, group ? MF_OP_GROUPNORM_GRAD : MF_OP_LAYERNORM_GRAD, &n->attrs, seen, gamma, dy));
}

static void batchnorm(tape *t, const mf_node *n, mf_value dy) {
    mf_value x = n->input[0], gamma = n->input[1], mean = n->input[3], var = n->input[4], seen = again(t, x);
    mf_value affine = OP(t, MF_OP_BATCHNORM_GRAD_AFFINE, &n->attrs, seen, mean, var, dy);
    give_affine(t, affine, gamma, n->input[2]);
    if (needs(t, x))
        give(t, x, OP(t, MF_OP_BATCHNORM_GRAD, &n->attrs, seen, gamma, mean, var, dy, affine));
}

/* ---- elementwise ---- */

/* dy summed over what b repeats over; y: times it */
static mf_value reduce_to(tape *t, mf_value b, mf_value dy, mf_value y) {
    int64_t n = elements(t, b);
    if (n == elements(t, dy))
        return y < 0 ? dy : mf_mul(t->g, dy, y);
    return column_sum(t, rows(t, dy, n), y < 0 ? -1 : rows(t, y, n));
}

static void add(tape *t, const mf_node *n, mf_value dy) {
    give(t, n->input[0], dy);
    if (needs(t, n->input[1]))
        give(t, n->input[1], reduce_to(t, n->input[1], dy, -1));
}

static void mul(tape *t, const mf_node *n, mf_value dy) {
    if (needs(t, n->input[0]))
        give(t, n->input[0], mf_mul(t->g, dy, again(t, n->input[1])));
    if (needs(t, n->input[1]))
        give(t, n->input[1], reduce_to(t, n->input[1], dy, again(t, n->input[0])));
}

/* ---- shapes, pools, gates ---- */

static void concat(tape *t, const mf_node *n, mf_value dy) {
    int64_t at = 0;
    for (int i = 0; i < n->input_count; i++) {
        int64_t length = t->g->tensor[n->input[i]].dim[n->attrs.axis];
        if (needs(t, n->input[i]))
            give(t, n->input[i], mf_slice(t->g, dy, n->attrs.axis, at, at + length));
        at += length;
    }
}

static int is_slice_of(const mf_node *n, mf_value x) {
    return n->kind == MF_OP_SLICE && n->input[0] == x;
}

static void give_padded(tape *t, const mf_node *n) {
    mf_attrs attrs = {.axis = n->attrs.axis, .begin = n->attrs.begin};
    attrs.end = t->g->tensor[n->input[0]].dim[attrs.axis];
    give(t, n->input[0], OP(t, MF_OP_PAD, &attrs, t->gradient[n->output]));
}

/* The gradients of x's slices if these are, one behind the other in the order of the nodes, all of x; else 0. */
static int list_parts(const tape *t, mf_value x, int axis, mf_value part[MF_MAX_INPUTS]) {
    int count = 0;
    int64_t at = 0;
    for (size_t i = 0; i < t->nodes; i++) {
        const mf_node *n = &t->g->node[i];
        if (!is_slice_of(n, x))
            continue;
        if (count == MF_MAX_INPUTS || n->attrs.axis != axis || n->attrs.begin != at || t->gradient[n->output] < 0)
            return 0;
        part[count++] = t->gradient[n->output];
        at = n->attrs.end;
    }
    return at == t->g->tensor[x].dim[axis] ? count : 0;
}

/* All slices of a value at once, when the pass is at the first of them, which may have no gradient: by then the others'
 * gradients are complete.  Parts of a whole give it one concatenation, which costs nothing where the memory plan makes
 * it of its inputs; others give it their gradients one by one, each with zeros around. */
static void slices(tape *t, size_t first) {
    mf_value x = t->g->node[first].input[0], part[MF_MAX_INPUTS];
    int axis = t->g->node[first].attrs.axis;
    if (!needs(t, x))
        return;
    for (size_t i = 0; i < first; i++)
        if (is_slice_of(&t->g->node[i], x))
            return;
    int count = list_parts(t, x, axis, part);
    if (count > 0) {
        give(t, x, mf_concat(t->g, part, count, axis));
        return;
    }
    for (size_t i = t->nodes; i-- > first;) {
        mf_node n = t->g->node[i];
        if (is_slice_of(&n, x) && t->gradient[n.output] >= 0)
            give_padded(t, &n);
    }
}

static void pyramid_pool(tape *t, const mf_node *n, mf_value dy) {
    mf_attrs attrs = n->attrs;
    mf_tensor x = tensor(t, n->input[0]);
    attrs.size[0] = x.dim[1];
    attrs.size[1] = x.dim[2];
    give(t, n->input[0], OP(t, MF_OP_PYRAMID_POOL_GRAD, &attrs, dy));
}

static void attention(tape *t, const mf_node *n, mf_value dy) {
    mf_value q = again(t, n->input[0]), k = again(t, n->input[1]), v = again(t, n->input[2]);
    give_parts(t, OP(t, MF_OP_ATTENTION_GRAD, &n->attrs, q, k, v, dy), 3, n->input);
}

static void gated_mean(tape *t, const mf_node *n, mf_value dy) {
    mf_value s = again(t, n->input[0]), channel = again(t, n->input[1]), position = again(t, n->input[2]);
    give_parts(t, OP(t, MF_OP_GATED_MEAN_GRAD, &n->attrs, s, channel, position, dy), 3, n->input);
}

static void infonce(tape *t, const mf_node *n, mf_value dy) {
    give_parts(t, OP(t, MF_OP_INFONCE_GRAD, &n->attrs, n->input[0], n->input[1], n->input[2], dy), 3, n->input);
}

/* An operation of one input whose gradient reads x and dy. */
static void unary(tape *t, const mf_node *n, mf_op_kind kind, mf_value dy) {
    if (needs(t, n->input[0]))
        give(t, n->input[0], OP(t, kind, &n->attrs, again(t, n->input[0]), dy));
}

static void differentiate(tape *t, const mf_node *n, mf_value dy) {
    switch (n->kind) {
    case MF_OP_MATMUL:
    case MF_OP_CONV2D:
        product(t, n, dy);
        break;
    case MF_OP_DWCONV2D:
        dwconv2d(t, n, dy);
        break;
    case MF_OP_LAYERNORM:
    case MF_OP_GROUPNORM:
        layernorm(t, n, dy);
        break;
    case MF_OP_BATCHNORM:
        batchnorm(t, n, dy);
        break;
    case MF_OP_ACT:
        unary(t, n, MF_OP_ACT_GRAD, dy);
        break;
    case MF_OP_ADD:
        add(t, n, dy);
        break;
    case MF_OP_MUL:
        mul(t, n, dy);
        break;
    case MF_OP_PYRAMID_POOL:
        pyramid_pool(t, n, dy);
        break;
    case MF_OP_MAXPOOL:
        unary(t, n, MF_OP_MAXPOOL_GRAD, dy);
        break;
    case MF_OP_CONCAT:
        concat(t, n, dy);
        break;
    case MF_OP_ATTENTION:
        attention(t, n, dy);
        break;
    case MF_OP_CHANNEL_MAX:
        unary(t, n, MF_OP_CHANNEL_MAX_GRAD, dy);
        break;
    case MF_OP_GATED_MEAN:
        gated_mean(t, n, dy);
        break;
    case MF_OP_L2NORM:
        unary(t, n, MF_OP_L2NORM_GRAD, dy);
        break;
    case MF_OP_RESHAPE:
        give(t, n->input[0], dy);
        break;
    case MF_OP_TRANSPOSE:
        give(t, n->input[0], mf_transpose(t->g, dy));
        break;
    case MF_OP_DROPOUT:
        give(t, n->input[0], mf_dropout(t->g, dy, n->input[1], n->attrs.rate, n->attrs.id));
        break;
    case MF_OP_INFONCE:
        infonce(t, n, dy);
        break;
    default:
        mf_graph_fail(t->g, MFRGN_ERROR_INTERNAL, "graph: %s has no gradient", mf_op_name(n->kind));
    }
}

/* ---- the whole ---- */

static int has_activation(const mf_node *n) {
    return n->kind != MF_OP_ACT && n->attrs.act != MF_ACT_NONE;
}

static void mark_needed(tape *t, size_t wanted_count, const mf_wanted *wanted) {
    for (size_t i = 0; i < wanted_count; i++)
        t->needed[wanted[i].variable] = 1;
    for (size_t i = 0; i < t->g->node_count; i++) {
        const mf_node *n = &t->g->node[i];
        int is_needed = 0;
        for (int k = 0; k < n->input_count; k++)
            is_needed |= n->input[k] >= 0 && t->needed[n->input[k]];
        if (n->kind != MF_OP_BATCH_STATS && n->kind != MF_OP_LERP && n->output >= 0)
            t->needed[n->output] = (char)is_needed;
    }
}

/* Gradients are added to what their slots hold from the start, so that each sum stands right behind its product. */
static void start(tape *t, const mf_wanted *w) {
    mf_tensor x = tensor(t, w->variable);
    if (w->onto)
        t->gradient[w->variable] = mf_graph_variable(t->g, NULL, w->slot, x.dtype, x.ndim, x.dim);
}

/* Whether nothing but one node reads v and, where v is a reshape, what it reshapes: its memory may then be that of the
 * node's result. */
static int has_one_reader(const tape *t, mf_value v) {
    for (int readers;; v = t->g->node[t->g->tensor[v].node].input[0]) {
        mf_graph_reader(t->g, v, &readers);
        if (readers != 1)
            return 0;
        if (t->g->tensor[v].node < 0 || t->g->node[t->g->tensor[v].node].kind != MF_OP_RESHAPE)
            return 1;
    }
}

/* Binds a gradient to its slot, and the sums under it: each is computed over the one before. */
static void finish(tape *t, const mf_wanted *w) {
    for (mf_value v = t->gradient[w->variable]; v >= 0 && t->g->status == MFRGN_OK;) {
        const mf_tensor *x = &t->g->tensor[v];
        if (x->role != MF_ROLE_RESULT)
            return;
        mf_node n = t->g->node[x->node];
        mf_graph_bind(t->g, v, w->slot);
        if (n.kind != MF_OP_ADD || n.attrs.act || (size_t)n.input[0] < t->forward)
            return;
        v = has_one_reader(t, n.input[0]) ? n.input[0] : -1;
    }
}

static mfrgn_status run_backward(tape *t, int count, const mf_value *of, const mf_value *seed, size_t wanted_count,
                                 const mf_wanted *wanted) {
    mf_graph *g = t->g;
    mark_needed(t, wanted_count, wanted);
    for (size_t i = 0; i < wanted_count; i++)
        start(t, &wanted[i]);
    for (int i = 0; i < count; i++)
        give(t, of[i], seed[i]);
    for (size_t i = g->node_count; i-- > 0 && g->status == MFRGN_OK;) {
        mf_node n = g->node[i];
        if (n.kind == MF_OP_SLICE)
            slices(t, i);
        if (n.kind == MF_OP_SLICE || n.output < 0 || t->gradient[n.output] < 0 || !t->needed[n.output])
            continue;
        if (has_activation(&n))
            return mf_graph_fail(g, MFRGN_ERROR_INTERNAL, "graph: no gradient of a fused %s", mf_op_name(n.kind)),
                   g->status;
        differentiate(t, &n, t->gradient[n.output]);
    }
    for (size_t i = 0; i < wanted_count && g->status == MFRGN_OK; i++)
        finish(t, &wanted[i]);
    return g->status;
}

mfrgn_status mf_graph_backward(mf_graph *g, int count, const mf_value *of, const mf_value *seed, size_t wanted_count,
                               const mf_wanted *wanted, mf_recompute recompute) {
    if (g->status != MFRGN_OK)
        return g->status;
    size_t n = g->tensor_count, bytes = n * (2 * sizeof(mf_value) + 1);
    mf_value *memory = mf_alloc(g->context, bytes);
    if (!memory)
        return mf_graph_fail(g, MFRGN_ERROR_MEMORY, "out of memory: %zu bytes for a backward pass", bytes), g->status;
    tape t = {g, recompute, n, g->node_count, memory, memory + n, (char *)(memory + 2 * n)};
    for (size_t i = 0; i < 2 * n; i++)
        memory[i] = -1;
    memset(t.needed, 0, n);
    mfrgn_status status = run_backward(&t, count, of, seed, wanted_count, wanted);
    mf_free(g->context, memory);
    return status;
}
