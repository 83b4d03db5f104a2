/* A graph for people: one line an operation, or Graphviz. */
#include <stdio.h>
#include <string.h>

#include "graph/graph.h"

typedef struct printer {
    const mf_graph *g;
    mf_write write;
    void *user;
    int stopped;
} printer;

static MF_PRINTF(2, 3) void put(printer *p, const char *format, ...) {
    char text[512];
    va_list args;
    if (p->stopped)
        return;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t length = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    p->stopped = p->write(p->user, text, length);
}

static void put_shape(printer *p, const mf_tensor *t) {
    put(p, "[");
    for (int i = 0; i < t->ndim; i++)
        put(p, "%s%lld", i ? "x" : "", (long long)t->dim[i]);
    put(p, "]");
}

static void put_constant(printer *p, mf_value v) {
    static const char *const fold_name[] = {"", "rows", "bn_scale", "bn_bias"};
    const mf_tensor *t = &p->g->tensor[v];
    if (!t->fold) {
        put(p, "%s", t->name ? t->name : "literal");
        return;
    }
    put(p, "%s(", fold_name[t->fold]);
    for (int i = 0, first = 1; i < MF_FOLD_SOURCES; i++) {
        if (t->source[i] < 0)
            continue;
        put(p, first ? "" : ", ");
        put_constant(p, t->source[i]);
        first = 0;
    }
    put(p, ")");
}

static void put_value(printer *p, mf_value v) {
    if (v < 0)
        put(p, "-");
    else if (p->g->tensor[v].role == MF_ROLE_CONSTANT)
        put_constant(p, v);
    else
        put(p, "%%%d", v);
}

static void put_attrs(printer *p, const mf_node *n) {
    const mf_attrs *a = &n->attrs;
    if (n->kind == MF_OP_CONV2D || n->kind == MF_OP_DWCONV2D || n->kind == MF_OP_MAXPOOL)
        put(p, " kernel=%dx%d stride=%d pad=%d,%d", a->kernel[0], a->kernel[1], a->stride[0], a->pad[0], a->pad[1]);
    if (n->kind == MF_OP_MATMUL && a->ta)
        put(p, " transposed");
    if (n->kind == MF_OP_GROUPNORM)
        put(p, " groups=%d", a->groups);
    if (n->kind == MF_OP_ATTENTION)
        put(p, " %s heads=%d", a->attention == MF_ATTENTION_LINEAR ? "linear" : "softmax", a->heads);
    if (n->kind == MF_OP_CONCAT)
        put(p, " axis=%d", a->axis);
    if (n->kind == MF_OP_SLICE)
        put(p, " axis=%d %lld..%lld", a->axis, (long long)a->begin, (long long)a->end);
    for (int i = 0; n->kind == MF_OP_PYRAMID_POOL && i < a->level_count; i++)
        put(p, "%s%dx%d", i ? "," : " levels=", a->levels[i][0], a->levels[i][1]);
    if (a->norm)
        put(p, " +layernorm");
    if (a->act)
        put(p, " %s%s", n->kind == MF_OP_ACT ? "" : "+", mf_act_name(a->act));
    if (a->eps > 0)
        put(p, " eps=%g", a->eps);
}

static void put_text(printer *p) {
    const mf_graph *g = p->g;
    double flops = 0;
    put(p, "%%%d = input ", g->input);
    put_shape(p, &g->tensor[g->input]);
    put(p, "\n");
    for (size_t i = 0; i < g->node_count; i++) {
        const mf_node *n = &g->node[i];
        mf_op op;
        mf_graph_op(g, n, &op);
        flops += mf_op_flops(&op);
        put(p, "%%%d = %s(", n->output, mf_op_name(n->kind));
        int last = n->input_count;
        while (last > 0 && n->input[last - 1] < 0)
            last--;
        for (int k = 0; k < last; k++) {
            put(p, k ? ", " : "");
            put_value(p, n->input[k]);
        }
        put(p, ")");
        put_attrs(p, n);
        put(p, " -> ");
        put_shape(p, &g->tensor[n->output]);
        if (g->tensor[n->output].name)
            put(p, "  # %s", g->tensor[n->output].name);
        put(p, "\n");
    }
    put(p, "# %zu operations, %.2f GFLOP, output %%%d\n", g->node_count, flops * 1e-9, g->output);
}

/* Weights are left out of the picture: it shows how maps and tokens flow. */
static void put_dot(printer *p) {
    const mf_graph *g = p->g;
    put(p, "digraph mfrgn {\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n");
    put(p, "  v%d [label=\"input\\n", g->input);
    put_shape(p, &g->tensor[g->input]);
    put(p, "\", shape=oval];\n");
    for (size_t i = 0; i < g->node_count; i++) {
        const mf_node *n = &g->node[i];
        put(p, "  v%d [label=\"%s", n->output, mf_op_name(n->kind));
        put_attrs(p, n);
        if (g->tensor[n->output].name)
            put(p, "\\n%s", g->tensor[n->output].name);
        put(p, "\\n");
        put_shape(p, &g->tensor[n->output]);
        put(p, "\"%s];\n", n->output == g->output ? ", shape=oval" : "");
        for (int k = 0; k < n->input_count; k++)
            if (n->input[k] >= 0 && g->tensor[n->input[k]].role != MF_ROLE_CONSTANT)
                put(p, "  v%d -> v%d;\n", n->input[k], n->output);
    }
    put(p, "}\n");
}

mfrgn_status mf_graph_print(const mf_graph *g, mfrgn_graph_format format, mf_write write, void *user) {
    printer p = {g, write, user, 0};
    if (format == MFRGN_GRAPH_DOT)
        put_dot(&p);
    else
        put_text(&p);
    return p.stopped ? mf_fail(g->context, MFRGN_ERROR_CANCELLED, "the graph's writer asked to stop") : MFRGN_OK;
}
