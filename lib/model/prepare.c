/* Plans a view of a session: graph, passes, kernels, memory, constants. */
#include <string.h>

#include "model/session.h"

/* Constants have the compute type; but weights of 16 bits stay so where the kernel that reads them converts them
 * itself: that halves the memory. */
static void assign_types(mfrgn_session *s, mf_graph *g) {
    const mf_engine *e = &s->engine;
    for (size_t v = 0; v < g->tensor_count; v++)
        if (g->tensor[v].role != MF_ROLE_CONSTANT || !mf_dtype_is_16_bit(g->tensor[v].dtype) ||
            mf_dtype_is_16_bit(e->compute))
            g->tensor[v].dtype = e->wide;
    for (size_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i].input_count; k++) {
            mf_value v = g->node[i].input[k];
            mf_op op;
            if (v < 0 || !mf_dtype_is_16_bit(g->tensor[v].dtype))
                continue;
            mf_graph_op(g, &g->node[i], &op);
            if (!mf_op_is_product(op.kind) || k != MF_IN_W || !e->backend->table->supports(e->stream, &op))
                g->tensor[v].dtype = e->wide;
        }
}

/* ---- constants ---- */

typedef struct maker {
    mfrgn_session *session;
    const mf_graph *g;
    mf_value v;
    mf_kernel *kernel; /* NULL: the plain form */
    int input;
    int checked_by_kernel;
} maker;

static mf_stored stored_parameter(void *user, int parameter) {
    const mfrgn_model *model = user;
    return model->parameters.item[parameter].stored;
}

typedef struct scan {
    const mf_parameter *p;
    size_t count, chunk;
    size_t bad; /* atomic: any of the bad places, or SIZE_MAX */
} scan;

static void scan_task(void *arg, int index) {
    scan *s = arg;
    size_t begin = s->chunk * (size_t)index, n = s->count - begin < s->chunk ? s->count - begin : s->chunk;
    const char *data = (const char *)s->p->stored.data + begin * mf_dtype_size(s->p->stored.dtype);
    size_t bad = mf_find_nonfinite(s->p->stored.dtype, data, n);
    if (bad < n)
        __atomic_store_n(&s->bad, begin + bad, __ATOMIC_RELAXED);
}

static mfrgn_status check_finite(mfrgn_model *model, mf_parameter *p, int threads) {
    if (__atomic_load_n(&p->finite, __ATOMIC_RELAXED))
        return MFRGN_OK;
    scan s = {p, mf_parameter_elements(p), 0, SIZE_MAX};
    int tasks = s.count > 65536 ? threads : 1;
    s.chunk = (s.count + (size_t)tasks - 1) / (size_t)tasks;
    mf_parallel(model->context, tasks, scan_task, &s);
    if (s.bad != SIZE_MAX)
        return mf_fail(model->context, MFRGN_ERROR_NUMERIC, "tensor \"%s\": the value at %zu is NaN or infinite",
                       p->name, s.bad);
    __atomic_store_n(&p->finite, 1, __ATOMIC_RELAXED);
    return MFRGN_OK;
}

/* Every parameter that the constant is made from: names the one that is not finite. */
static mfrgn_status check_sources(const maker *m, mf_value v) {
    const mf_tensor *t = &m->g->tensor[v];
    if (t->parameter >= 0)
        return check_finite(m->session->model, &m->session->model->parameters.item[t->parameter],
                            m->session->engine.threads);
    for (int i = 0; t->fold && i < MF_FOLD_SOURCES; i++)
        if (t->source[i] >= 0)
            MF_TRY(check_sources(m, t->source[i]));
    return MFRGN_OK;
}

/* Weights that are read now and not again: their pages go back to the page cache. */
static void let_go(const maker *m, mf_value v) {
    const mf_tensor *t = &m->g->tensor[v];
    if (t->parameter >= 0 && m->session->model->weights) {
        const mf_weights *weights = m->session->model->weights;
        mf_weights_let_go(weights, mf_weights_find(weights, m->session->model->parameters.item[t->parameter].name));
    }
    for (int i = 0; t->fold && i < MF_FOLD_SOURCES; i++)
        if (t->source[i] >= 0)
            let_go(m, t->source[i]);
}

/* The values in the operand's type. */
static mfrgn_status evaluate(const maker *m, void *out) {
    return mf_constant_evaluate(m->g, m->v, stored_parameter, m->session->model, m->g->tensor[m->v].dtype, out);
}

/* In the host's memory, to be freed. */
static mfrgn_status evaluate_plain(const maker *m, size_t bytes, void **out) {
    *out = mf_alloc_huge(m->session->context, bytes);
    if (!*out)
        return mf_fail_memory(m->session->context, bytes, "weights to be prepared");
    mfrgn_status status = evaluate(m, *out);
    if (status != MFRGN_OK)
        mf_free(m->session->context, *out);
    return status;
}

/* Packed from where it lies, if it lies well and is not folded; else from a copy in the operand's type. */
static mfrgn_status pack_constant(const maker *m, void *data) {
    mfrgn_context *context = m->session->context;
    const mf_backend *table = m->session->engine.backend->table;
    const mf_tensor *t = &m->g->tensor[m->v];
    void *plain;
    if (t->parameter >= 0) {
        mf_stored stored = stored_parameter(m->session->model, t->parameter);
        if (stored.dtype == t->dtype && (uintptr_t)stored.data % mf_dtype_size(t->dtype) == 0)
            return (mfrgn_status)table->pack(m->kernel, m->input, stored.data, data);
    }
    MF_TRY(evaluate_plain(m, mf_tensor_bytes(t), &plain));
    mfrgn_status status = (mfrgn_status)table->pack(m->kernel, m->input, plain, data);
    mf_free(context, plain);
    return status;
}

/* As it is, in the engine's memory; there when this returns, as sessions with streams of their own may read it. */
static mfrgn_status copy_constant(const maker *m, void *data) {
    const mf_tensor *t = &m->g->tensor[m->v];
    size_t bytes = mf_tensor_bytes(t);
    void *plain;
    if (mf_engine_is_host(&m->session->engine))
        return evaluate(m, data);
    MF_TRY(evaluate_plain(m, bytes, &plain));
    mfrgn_status status = mf_engine_put(&m->session->engine, data, plain, bytes);
    mf_free(m->session->context, plain);
    return status == MFRGN_OK ? mf_engine_finish(&m->session->engine) : status;
}

static mfrgn_status make_constant(void *user, void *data) {
    const maker *m = user;
    if (!m->checked_by_kernel)
        MF_TRY(check_sources(m, m->v));
    if (!m->kernel)
        return copy_constant(m, data);
    mfrgn_status status = pack_constant(m, data);
    if (status == MFRGN_ERROR_NUMERIC)
        MF_TRY(check_sources(m, m->v));
    return status;
}

/* Plain constants in the host's memory are every backend's; to be freed. */
static char *make_key(const maker *m, const mf_kernel_info *info) {
    const mf_engine *e = &m->session->engine;
    const char *type = mf_dtype_name(m->g->tensor[m->v].dtype);
    char *name = mf_constant_key(m->g, m->v), *key = NULL;
    int is_packed = info->pack_bytes[m->input] > 0;
    if (name && !is_packed && mf_engine_is_host(e))
        key = mf_format(e->context, "%s %s", name, type);
    else if (name)
        key = mf_format(e->context, "%s %s %s %d %016llx", name, type, e->backend->name, e->device,
                        is_packed ? (unsigned long long)info->pack_key[m->input] : 0);
    mf_free(e->context, name);
    return key;
}

static mfrgn_status get_constant(maker *m, const mf_kernel_info *info, mf_packed **packed) {
    const mf_tensor *t = &m->g->tensor[m->v];
    mfrgn_context *context = m->session->context;
    int is_packed = info->pack_bytes[m->input] > 0;
    size_t bytes = is_packed ? info->pack_bytes[m->input] : mf_tensor_bytes(t);
    char *key = make_key(m, info);
    if (!is_packed)
        m->kernel = NULL;
    m->checked_by_kernel = m->checked_by_kernel && is_packed;
    mfrgn_status status =
        key ? mf_packed_get(m->session->model, &m->session->engine, key, bytes, make_constant, m, packed)
            : mf_fail_memory(context, 256, "a key");
    mf_free(context, key);
    return status;
}

typedef struct constants_of {
    mfrgn_session *session;
    mf_view_plan *plan;
    const mf_graph *g;
} constants_of;

static mfrgn_status prepare_constants(void *user, const mf_node *n, mf_step *step, const mf_kernel_info *info) {
    const constants_of *c = user;
    mf_view_plan *plan = c->plan;
    maker m = {c->session, c->g, -1, NULL, 0, 0};
    for (int k = 0; k < n->input_count; k++) {
        if (n->input[k] < 0 || c->g->tensor[n->input[k]].role != MF_ROLE_CONSTANT)
            continue;
        m = (maker){c->session, c->g, n->input[k], step->kernel, k, info->pack_checks[k]};
        MF_TRY(get_constant(&m, info, &plan->packed[plan->packed_count]));
        step->constant[k] = plan->packed[plan->packed_count++]->data;
    }
    for (int k = 0; k < n->input_count; k++)
        if (step->constant[k])
            let_go(&m, n->input[k]);
    return MFRGN_OK;
}

/* ---- the plan ---- */

static mfrgn_status grow(const mf_engine *e, size_t bytes, const char *what, void **memory, size_t *has) {
    if (bytes <= *has)
        return MFRGN_OK;
    mf_engine_free(e, *memory);
    *memory = NULL;
    *has = 0;
    MF_TRY(mf_engine_alloc(e, bytes, what, memory));
    *has = bytes;
    return MFRGN_OK;
}

/* The arena; where it is not the host's, also room for the images and descriptors of a batch. */
static mfrgn_status reserve(mfrgn_session *s, const mf_program *p) {
    size_t in = mf_tensor_bytes(&p->graph->tensor[p->graph->input]);
    size_t out = mf_tensor_bytes(&p->graph->tensor[p->graph->output]);
    MF_TRY(grow(&s->engine, p->memory->arena_bytes, "the session's activations", &s->arena, &s->arena_bytes));
    size_t staging = in > out ? in : out;
    if (mf_engine_is_host(&s->engine) || staging <= s->staging_bytes)
        return MFRGN_OK;
    mf_free(s->context, s->staging);
    s->staging_bytes = 0;
    s->staging = mf_alloc_huge(s->context, staging);
    if (!s->staging)
        return mf_fail_memory(s->context, staging, "the images of a batch");
    s->staging_bytes = staging;
    return MFRGN_OK;
}

/* The network is written down with the exact GELU, which training keeps. */
static void choose_gelu(mf_graph *g, mf_act gelu) {
    for (size_t i = 0; i < g->node_count; i++)
        if (g->node[i].attrs.act == MF_ACT_GELU)
            g->node[i].attrs.act = gelu;
}

static mfrgn_status plan_graph(mfrgn_session *s, mfrgn_view view, mf_view_plan *plan) {
    mf_graph *g;
    MF_TRY(mf_network_build(s->context, s->model->config, &s->model->parameters, view, s->batch, &g));
    g->keep_taps = s->keep_taps;
    choose_gelu(g, s->gelu);
    assign_types(s, g);
    mfrgn_status status = s->no_passes ? MFRGN_OK : mf_graph_optimise(g, &(mf_target){mf_engine_supports, &s->engine});
    if (status == MFRGN_OK)
        status = mf_graph_set_types(g, s->engine.compute);
    if (status == MFRGN_OK) {
        plan->packed = mf_calloc(s->context, g->node_count * MF_MAX_INPUTS, sizeof(*plan->packed));
        if (!plan->packed)
            status = mf_fail_memory(s->context, sizeof(*plan->packed), "a plan");
    }
    if (status != MFRGN_OK) {
        mf_graph_free(g);
        return status;
    }
    constants_of finder = {s, plan, g};
    MF_TRY(mf_program_create(&s->engine, g, prepare_constants, &finder, &s->progress, &plan->program));
    return reserve(s, &plan->program);
}

void mf_session_unplan(mfrgn_session *s, mf_view_plan *plan) {
    mf_program_free(&plan->program);
    for (size_t i = 0; i < plan->packed_count; i++)
        mf_packed_release(s->model, plan->packed[i]);
    mf_free(s->context, plan->packed);
    memset(plan, 0, sizeof(*plan));
}

mfrgn_status mf_session_plan(mfrgn_session *s, mfrgn_view view) {
    mf_view_plan *plan = &s->view[view];
    int planned = plan->program.graph != NULL;
    mf_engine_begin(&s->engine);
    /* the arena is gone where it could not grow for the other view */
    mfrgn_status status = planned ? reserve(s, &plan->program) : plan_graph(s, view, plan);
    mf_engine_end(&s->engine);
    if (status != MFRGN_OK && !planned)
        mf_session_unplan(s, plan);
    return status;
}
