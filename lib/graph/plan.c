/* The memory plan: one arena, every value's place in it.
 *
 * A value lives from the node that computes it to the last that reads it.  Some values share a root's memory:
 *   - a reshape is its input;
 *   - an elementwise result takes its input's place when the input dies there, a product its residual's;
 *   - a concatenation along the outermost dimension (of size > 1) is its inputs, planned side by side, and a slice
 *     along it is a part of its input: at batch 1 the paper's concat and flatten cost nothing.
 * Roots and scratch are then placed largest first, each at the lowest offset that is free through its whole life. */
#include "graph/graph.h"

#include <stdlib.h>

typedef struct place {
    mf_value root; /* whose memory this is part of; itself for a root */
    size_t inside; /* bytes from the root's start */
} place;

typedef struct interval {
    size_t bytes, offset;
    int first, last; /* nodes, both inclusive */
    size_t *result;
} interval;

typedef struct planner {
    const mf_graph *g;
    const mf_need *need;
    place *place;
    int *last; /* the last node that reads each root, through all that share it */
} planner;

static size_t tensor_bytes(const planner *p, mf_value v) {
    return mf_tensor_bytes(&p->g->tensor[v]);
}

static int in_arena(const planner *p, mf_value v) {
    return v >= 0 && p->g->tensor[v].role != MF_ROLE_CONSTANT && p->g->tensor[v].slot < 0;
}

static void find_lives(planner *p) {
    for (size_t v = 0; v < p->g->tensor_count; v++)
        p->last[v] = p->g->tensor[v].node;
    for (size_t i = 0; i < p->g->node_count; i++)
        for (int k = 0; k < p->g->node[i].input_count; k++)
            if (in_arena(p, p->g->node[i].input[k]))
                p->last[p->g->node[i].input[k]] = (int)i;
    for (size_t v = 0; v < p->g->tensor_count; v++)
        if ((mf_value)v == p->g->output || (p->g->keep_taps && p->g->tensor[v].name))
            p->last[v] = (int)p->g->node_count;
}

/* v becomes part of `root`, and all that is part of v with it. */
static void join(planner *p, mf_value v, mf_value root, size_t inside) {
    for (size_t k = 0; k < p->g->tensor_count; k++) {
        place *x = &p->place[k];
        if (x->root == v && (mf_value)k != v) {
            x->root = root;
            x->inside += inside;
        }
    }
    p->place[v].root = root;
    p->place[v].inside = inside;
    if (p->last[v] > p->last[root])
        p->last[root] = p->last[v];
}

static void share(planner *p, mf_value v, mf_value with, size_t inside) {
    const place *w = &p->place[with];
    join(p, v, w->root, w->inside + inside);
}

static size_t outer_count(const mf_tensor *t, int axis) {
    size_t n = 1;
    for (int i = 0; i < axis; i++)
        n *= (size_t)t->dim[i];
    return n;
}

/* Inputs that fill a root of their own are planned inside the result; others are copied there by the kernel. */
static void place_concat(planner *p, const mf_node *n) {
    size_t inside = 0;
    if (outer_count(&p->g->tensor[n->output], n->attrs.axis) != 1 || !in_arena(p, n->output))
        return;
    for (int i = 0; i < n->input_count; i++) {
        mf_value root = p->place[n->input[i]].root;
        size_t bytes = tensor_bytes(p, n->input[i]);
        if (p->g->tensor[root].role == MF_ROLE_RESULT && in_arena(p, root) && tensor_bytes(p, root) == bytes &&
            p->place[root].root == root && root != n->output)
            join(p, root, n->output, inside);
        inside += bytes;
    }
}

static void place_slice(planner *p, const mf_node *n) {
    const mf_tensor *x = &p->g->tensor[n->input[0]];
    if (outer_count(x, n->attrs.axis) == 1 && x->role == MF_ROLE_RESULT && in_arena(p, n->output))
        share(p, n->output, n->input[0],
              tensor_bytes(p, n->output) / (size_t)(n->attrs.end - n->attrs.begin) * (size_t)n->attrs.begin);
}

/* The input whose place the result may take: of the same size, a whole root, read for the last time here. */
static void place_over(planner *p, const mf_node *n, int index, mf_value over) {
    if (!in_arena(p, over) || p->g->tensor[over].role != MF_ROLE_RESULT || !in_arena(p, n->output))
        return;
    mf_value root = p->place[over].root;
    if (!in_arena(p, root) || p->last[root] != index || tensor_bytes(p, over) != tensor_bytes(p, n->output) ||
        tensor_bytes(p, root) != tensor_bytes(p, over) || p->place[n->output].root != n->output)
        return;
    for (int k = 0, seen = 0; k < n->input_count; k++)
        if (in_arena(p, n->input[k]) && p->place[n->input[k]].root == root && seen++)
            return; /* also read otherwise */
    share(p, n->output, over, 0);
}

static void place_shared(planner *p) {
    for (size_t i = 0; i < p->g->node_count; i++) {
        const mf_node *n = &p->g->node[i];
        if (n->kind == MF_OP_RESHAPE)
            share(p, n->output, n->input[0], 0);
        else if (n->kind == MF_OP_CONCAT)
            place_concat(p, n);
        else if (n->kind == MF_OP_SLICE)
            place_slice(p, n);
    }
    for (size_t i = 0; i < p->g->node_count; i++) {
        const mf_node *n = &p->g->node[i];
        if (n->kind == MF_OP_ADD || n->kind == MF_OP_MUL || n->kind == MF_OP_ACT || n->kind == MF_OP_BATCHNORM ||
            n->kind == MF_OP_DROPOUT || n->kind == MF_OP_LERP)
            place_over(p, n, (int)i, n->input[0]);
        else if (n->kind == MF_OP_ACT_GRAD)
            place_over(p, n, (int)i, n->input[1]);
        else if (mf_op_is_product(n->kind) && p->need[i].residual_in_place)
            place_over(p, n, (int)i, n->input[MF_IN_RESIDUAL]);
    }
}

static int overlap(const interval *a, const interval *b) {
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset at which `x` meets nobody that lives with it; `placed` is in the order of offsets. */
static size_t find_room(interval *const *placed, size_t count, const interval *x) {
    size_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        const interval *y = placed[i];
        if (!overlap(x, y) || y->offset + y->bytes <= offset)
            continue;
        if (offset + x->bytes <= y->offset)
            break;
        offset = y->offset + y->bytes;
    }
    return offset;
}

static int by_size(const void *a, const void *b) {
    const interval *x = *(interval *const *)a, *y = *(interval *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y; /* a total order: the same plan everywhere */
}

/* sorted, placed: room for `count` each. */
static size_t place_all(interval *list, size_t count, interval **sorted, interval **placed) {
    size_t arena = 0;
    for (size_t i = 0; i < count; i++)
        sorted[i] = &list[i];
    qsort(sorted, count, sizeof(*sorted), by_size);
    for (size_t done = 0; done < count; done++) {
        interval *x = sorted[done];
        size_t k = done;
        x->offset = find_room(placed, done, x);
        for (; k > 0 && placed[k - 1]->offset > x->offset; k--)
            placed[k] = placed[k - 1];
        placed[k] = x;
        *x->result = x->offset;
        if (x->offset + x->bytes > arena)
            arena = x->offset + x->bytes;
    }
    return arena;
}

static size_t round_up(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static size_t list_intervals(planner *p, mf_plan *plan, interval *list) {
    const mf_graph *g = p->g;
    size_t count = 0;
    for (size_t v = 0; v < g->tensor_count; v++) {
        const mf_tensor *t = &g->tensor[v];
        plan->offset[v] = SIZE_MAX;
        if (p->place[v].root != (mf_value)v || !in_arena(p, (mf_value)v) || (t->role == MF_ROLE_RESULT && t->node < 0))
            continue;
        interval x = {.bytes = round_up(tensor_bytes(p, (mf_value)v)), .first = t->node, .last = p->last[v]};
        /* A root lives from the first of all that share it. */
        for (size_t k = 0; k < g->tensor_count; k++)
            if (p->place[k].root == (mf_value)v && g->tensor[k].node < x.first)
                x.first = g->tensor[k].node;
        x.result = &plan->offset[v];
        list[count++] = x;
    }
    for (size_t i = 0; i < g->node_count; i++) {
        plan->scratch_offset[i] = 0;
        if (p->need[i].scratch_bytes)
            list[count++] = (interval){.bytes = round_up(p->need[i].scratch_bytes),
                                       .first = (int)i,
                                       .last = (int)i,
                                       .result = &plan->scratch_offset[i]};
    }
    return count;
}

static mfrgn_status plan_values(planner *p, mf_plan *plan) {
    mfrgn_context *context = p->g->context;
    size_t room = p->g->tensor_count + p->g->node_count;
    interval *list = mf_calloc(context, room, sizeof(*list) + 2 * sizeof(interval *));
    interval **sorted = (interval **)(list + room);
    if (!list)
        return mf_fail_memory(context, room * sizeof(*list), "a memory plan");
    find_lives(p);
    for (size_t v = 0; v < p->g->tensor_count; v++)
        p->place[v].root = (mf_value)v;
    place_shared(p);
    size_t count = list_intervals(p, plan, list);
    plan->arena_bytes = place_all(list, count, sorted, sorted + room);
    for (size_t v = 0; v < p->g->tensor_count; v++) {
        plan->slot[v] = p->g->tensor[p->place[v].root].slot;
        if (plan->slot[v] >= 0)
            plan->offset[p->place[v].root] = 0;
    }
    for (size_t v = 0; v < p->g->tensor_count; v++) {
        const place *x = &p->place[v];
        if (x->root != (mf_value)v && plan->offset[x->root] != SIZE_MAX)
            plan->offset[v] = plan->offset[x->root] + x->inside;
    }
    mf_free(context, list);
    return MFRGN_OK;
}

mfrgn_status mf_plan_create(const mf_graph *g, const mf_need *need, mf_plan **out) {
    mfrgn_context *context = g->context;
    mf_plan *plan = mf_calloc(context, 1, sizeof(*plan));
    planner p = {g, need, mf_calloc(context, g->tensor_count, sizeof(place)),
                 mf_calloc(context, g->tensor_count, sizeof(int))};
    mfrgn_status status = MFRGN_ERROR_MEMORY;
    if (plan) {
        plan->context = context;
        plan->offset = mf_calloc(context, g->tensor_count, sizeof(size_t));
        plan->slot = mf_calloc(context, g->tensor_count, sizeof(int));
        plan->scratch_offset = mf_calloc(context, g->node_count + 1, sizeof(size_t));
    }
    if (!plan || !p.place || !p.last || !plan->offset || !plan->slot || !plan->scratch_offset)
        mf_fail_memory(context, g->tensor_count * sizeof(place), "a memory plan");
    else
        status = plan_values(&p, plan);
    mf_free(context, p.place);
    mf_free(context, p.last);
    if (status != MFRGN_OK)
        mf_plan_free(plan);
    else
        *out = plan;
    return status;
}

void mf_plan_free(mf_plan *plan) {
    if (!plan)
        return;
    mfrgn_context *context = plan->context;
    mf_free(context, plan->offset);
    mf_free(context, plan->slot);
    mf_free(context, plan->scratch_offset);
    mf_free(context, plan);
}
