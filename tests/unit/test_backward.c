/* Rules of differentiation that look at more than one node: the slices of a value. */
#include <math.h>

#include "session.h"

enum { ROWS = 4, COLUMNS = 6, VALUES = ROWS * COLUMNS, MOST = 5 };
enum { SLOT_X, SLOT_GRADIENT, SLOT_SEED, SLOTS = SLOT_SEED + MOST };

typedef struct part {
    int axis, begin, end;
    int is_read;
} part;

typedef struct layout {
    const char *name;
    part part[MOST];
    int pads, concats; /* of the backward pass */
} layout;

static const layout layouts[] = {
    {"rows", {{0, 0, 1, 1}, {0, 1, 4, 1}}, 0, 1},
    {"columns", {{1, 0, 2, 1}, {1, 2, 3, 1}, {1, 3, 6, 1}}, 0, 1},
    {"all", {{0, 0, 4, 1}}, 0, 1},
    {"an overlap", {{0, 0, 2, 1}, {0, 1, 4, 1}}, 2, 0},
    {"an overlap of the right length", {{0, 0, 3, 1}, {0, 2, 3, 1}}, 2, 0},
    {"a gap", {{0, 0, 1, 1}, {0, 2, 4, 1}}, 2, 0},
    {"none at the start", {{1, 1, 3, 1}, {1, 3, 6, 1}}, 2, 0},
    {"none at the end", {{1, 0, 3, 1}, {1, 3, 5, 1}}, 2, 0},
    {"another order", {{0, 2, 4, 1}, {0, 0, 2, 1}}, 2, 0},
    {"twice", {{0, 0, 4, 1}, {0, 0, 4, 1}}, 2, 0},
    {"two axes", {{0, 0, 2, 1}, {1, 0, 3, 1}, {0, 2, 4, 1}, {1, 3, 6, 1}}, 4, 0},
    {"two axes that look like one", {{0, 0, 2, 1}, {1, 2, 4, 1}}, 2, 0},
    {"the first has no gradient", {{0, 0, 2, 0}, {0, 2, 4, 1}}, 1, 0},
    {"the last has no gradient", {{0, 0, 2, 1}, {0, 2, 4, 0}}, 1, 0},
};

static int length(const part *p) {
    return p->end - p->begin;
}

static int is_in(const part *p, int row, int column) {
    int at = p->axis ? column : row;
    return p->begin <= at && at < p->end;
}

/* A slice's seed at its own place: a number that no other place has. */
static double seed_of(int k, const part *p, int row, int column) {
    row -= p->axis ? 0 : p->begin;
    column -= p->axis ? p->begin : 0;
    return 1 + k + 0.1 * row + 0.01 * column;
}

/* y = part * part for every part that is read -> x's gradient */
static mf_graph *build(const layout *l) {
    mf_graph *g = mf_graph_create(context);
    int64_t dim[2] = {ROWS, COLUMNS};
    mf_value x = mf_graph_variable(g, "x", SLOT_X, MF_F64, 2, dim), of[MOST], seed[MOST];
    int count = 0;
    for (int k = 0; k < MOST && length(&l->part[k]); k++) {
        const part *p = &l->part[k];
        mf_value s = mf_slice(g, x, p->axis, p->begin, p->end), y = mf_mul(g, s, s);
        if (!p->is_read)
            continue;
        of[count] = y;
        seed[count++] = mf_graph_variable(g, NULL, SLOT_SEED + k, MF_F64, 2, mf_graph_tensor(g, y)->dim);
    }
    OK(mf_graph_backward(g, count, of, seed, 1, &(mf_wanted){x, SLOT_GRADIENT, 0}, MF_RECOMPUTE_CHEAP));
    return g;
}

static int count_of(const mf_graph *g, mf_op_kind kind) {
    int count = 0;
    for (size_t i = 0; i < g->node_count; i++)
        count += g->node[i].kind == kind;
    return count;
}

static mfrgn_status no_constants(void *user, const mf_node *n, mf_step *step, const mf_kernel_info *info) {
    (void)user;
    (void)n;
    (void)step;
    (void)info;
    return MFRGN_OK;
}

/* Takes the graph. */
static void run(mf_graph *g, void *const *slots) {
    mf_engine engine;
    mf_program program;
    OK(mf_engine_open(context, &(mf_engine_params){.backend = "ref", .precision = "f64", .threads = 1}, &engine, NULL));
    OK(mf_graph_set_types(g, MF_F64));
    OK(mf_program_create(&engine, g, no_constants, NULL, &(mfrgn_progress){0}, &program));
    void *arena = mf_alloc(context, program.memory->arena_bytes + 1);
    ck_assert_ptr_nonnull(arena);
    OK(mf_program_run(&program, arena, slots, &(mfrgn_progress){0}));
    mf_free(context, arena);
    mf_program_free(&program);
    mf_engine_close(&engine);
}

START_TEST(slices_give_their_gradients) {
    const layout *l = &layouts[_i];
    double x[VALUES], gradient[VALUES], seed[MOST][VALUES];
    void *slots[SLOTS] = {x, gradient};
    open_context();
    for (int i = 0; i < VALUES; i++)
        x[i] = 0.3 * i - 2;
    for (int k = 0; k < MOST; k++) {
        slots[SLOT_SEED + k] = seed[k];
        for (int i = 0, n = 0; i < VALUES; i++)
            if (is_in(&l->part[k], i / COLUMNS, i % COLUMNS))
                seed[k][n++] = seed_of(k, &l->part[k], i / COLUMNS, i % COLUMNS);
    }
    mf_graph *g = build(l);
    ck_assert_msg(count_of(g, MF_OP_PAD) == l->pads && count_of(g, MF_OP_CONCAT) == l->concats,
                  "%s: %d pads, %d concats", l->name, count_of(g, MF_OP_PAD), count_of(g, MF_OP_CONCAT));
    run(g, slots);
    for (int i = 0; i < VALUES; i++) {
        double expected = 0;
        for (int k = 0; k < MOST; k++)
            if (l->part[k].is_read && is_in(&l->part[k], i / COLUMNS, i % COLUMNS))
                expected += 2 * x[i] * seed_of(k, &l->part[k], i / COLUMNS, i % COLUMNS);
        ck_assert_msg(fabs(gradient[i] - expected) < 1e-12, "%s: value %d: %g, not %g", l->name, i, gradient[i],
                      expected);
    }
    close_context();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("backward");
    TCase *c = tcase_create("backward");
    tcase_add_loop_test(c, slices_give_their_gradients, 0, (int)MF_COUNT(layouts));
    suite_add_tcase(suite, c);
    return mf_run_suite(suite);
}
