/* Fusion of two linear layers into an MLP: when, and when not. */
#include "session.h"

enum { ROWS = 3, IN = 4, HIDDEN = 5, OUT = 4 };

typedef enum layout {
    WHOLE,
    TWO_READERS,
    TAPPED,
    BOUND,
    SECOND_ACT,
    NOT_AS_STORED,
    NO_ACT,
    NO_SCALE,
    REFUSED,
    LAYOUTS
} layout;

static const char *const names[LAYOUTS] = {"whole",
                                           "two readers",
                                           "tapped",
                                           "bound",
                                           "an activation after the second",
                                           "the second's weight [K, N]",
                                           "no activation between",
                                           "a backend without scale",
                                           "a backend without MLP"};

typedef struct built {
    mf_value x, first_w, first_bias, w, bias, scale;
} built;

static mf_value constant(mf_graph *g, int ndim, int64_t a, int64_t b) {
    static const double values[IN * HIDDEN] = {1};
    const int64_t dim[2] = {a, b};
    return mf_graph_literal(g, NULL, values, ndim, dim);
}

/* out = x + scale (act(x first_w^T + first_bias) w^T + bias), or nearly */
static mf_graph *build(layout l, built *b) {
    mf_graph *g = mf_graph_create(context);
    const int64_t dim[2] = {ROWS, IN};
    int tb = l != NOT_AS_STORED;
    b->x = mf_graph_input(g, "image", 2, dim);
    b->first_w = constant(g, 2, HIDDEN, IN);
    b->first_bias = constant(g, 1, HIDDEN, 0);
    b->w = tb ? constant(g, 2, OUT, HIDDEN) : constant(g, 2, HIDDEN, OUT);
    b->bias = constant(g, 1, OUT, 0);
    b->scale = constant(g, 1, OUT, 0);
    mf_value hidden = mf_matmul(g, b->x, b->first_w, b->first_bias, 0, 1);
    if (l != NO_ACT)
        hidden = mf_activate(g, hidden, MF_ACT_GELU);
    if (l == TAPPED)
        mf_graph_tap(g, hidden, "hidden");
    if (l == BOUND)
        mf_graph_bind(g, hidden, 0);
    mf_value y = mf_matmul(g, hidden, b->w, b->bias, 0, tb);
    if (l == SECOND_ACT)
        y = mf_activate(g, y, MF_ACT_RELU);
    else
        y = mf_mul(g, y, b->scale);
    y = mf_add(g, b->x, y);
    if (l == TWO_READERS)
        y = mf_add(g, y, mf_matmul(g, hidden, b->w, -1, 0, 1));
    g->output = y;
    OK(g->status);
    return g;
}

static int supports(void *user, const mf_op *op) {
    layout l = *(const layout *)user;
    if (l == NO_SCALE && mf_op_is_product(op->kind) && mf_operand_present(&op->input[MF_IN_SCALE]))
        return 0;
    return l != REFUSED || op->kind != MF_OP_MLP;
}

static const mf_node *find(const mf_graph *g, mf_op_kind kind, int *count) {
    const mf_node *found = NULL;
    *count = 0;
    for (size_t i = 0; i < g->node_count; i++)
        if (g->node[i].kind == kind) {
            found = &g->node[i];
            ++*count;
        }
    return found;
}

static int is_folded_from(const mf_graph *g, mf_value v, mf_value a, mf_value b) {
    const mf_tensor *t = &g->tensor[v];
    return t->fold == MF_FOLD_ROWS && t->source[0] == a && t->source[1] == b;
}

static void check_operands(const mf_graph *g, const mf_node *n, const built *b, layout l) {
    ck_assert_int_eq(n->attrs.act, MF_ACT_GELU);
    ck_assert_int_eq(n->input[MF_IN_X], b->x);
    ck_assert_int_eq(n->input[MF_IN_RESIDUAL], b->x);
    ck_assert_int_eq(n->input[MF_IN_FIRST_W], b->first_w);
    ck_assert_int_eq(n->input[MF_IN_FIRST_BIAS], b->first_bias);
    if (l == NO_SCALE) {
        ck_assert_int_eq(n->input[MF_IN_SCALE], -1);
        ck_assert(is_folded_from(g, n->input[MF_IN_W], b->w, b->scale));
        ck_assert(is_folded_from(g, n->input[MF_IN_BIAS], b->bias, b->scale));
    } else {
        ck_assert_int_eq(n->input[MF_IN_SCALE], b->scale);
        ck_assert_int_eq(n->input[MF_IN_W], b->w);
        ck_assert_int_eq(n->input[MF_IN_BIAS], b->bias);
    }
}

START_TEST(linear_layers_fuse) {
    layout l = (layout)_i;
    built b;
    int count, products;
    open_context();
    mf_graph *g = build(l, &b);
    for (size_t v = 0; v < g->tensor_count; v++)
        g->tensor[v].dtype = MF_F64;
    OK(mf_graph_optimise(g, &(mf_target){supports, &l}));
    const mf_node *n = find(g, MF_OP_MLP, &count);
    (void)find(g, MF_OP_MATMUL, &products);
    int all = l == WHOLE || l == NO_SCALE; /* into one node */
    ck_assert_msg(count == (all || l == SECOND_ACT), "%s: %d MLPs", names[l], count);
    ck_assert_msg(count ? !products : products >= 2, "%s: %d products", names[l], products);
    if (all) {
        ck_assert_uint_eq(g->node_count, 1);
        check_operands(g, n, &b, l);
    }
    if (l == SECOND_ACT) { /* an MLP's activation is the one inside: the other stays what it is */
        ck_assert_int_eq(n->attrs.act, MF_ACT_GELU);
        n = find(g, MF_OP_ACT, &count);
        ck_assert(count == 1 && n->attrs.act == MF_ACT_RELU);
    }
    mf_graph_free(g);
    close_context();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("fuse");
    TCase *c = tcase_create("fuse");
    tcase_add_loop_test(c, linear_layers_fuse, 0, LAYOUTS);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
