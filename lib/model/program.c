/* From a graph to steps: kernels are prepared, memory is planned, constants are found; then it runs. */
#include "model/program.h"

#include <string.h>

mfrgn_status mf_open_stream(mfrgn_context *context, const char *name, int threads, mf_dtype compute,
                            const mf_loaded **backend, mf_stream **stream, char **passed_over) {
    if (compute == MF_F64 && strcmp(name, "auto") == 0)
        name = "ref"; /* the one that computes in f64 */
    MF_TRY(mf_backend_open(context, name, backend, passed_over));
    mf_stream_params params = {sizeof(params), threads, compute};
    mfrgn_status status = (mfrgn_status)(*backend)->table->stream_open((*backend)->device, &params, stream);
    if (status != MFRGN_OK)
        return mf_fail_in(context, status, "backend %s", (*backend)->name);
    return MFRGN_OK;
}

int mf_program_supports(void *user, const mf_op *op) {
    const mf_program *p = user;
    return p->backend->table->supports(p->stream, op);
}

static size_t value_bytes(const mf_tensor *t) {
    size_t n = mf_dtype_size(t->dtype);
    for (int i = 0; i < t->ndim; i++)
        n *= (size_t)t->dim[i];
    return n;
}

static int same_place(mf_address a, mf_address b) {
    return a.slot == b.slot && a.offset == b.offset;
}

static mf_address place_of(const mf_program *p, mf_value v) {
    return v < 0 ? (mf_address){-1, SIZE_MAX} : (mf_address){p->memory->slot[v], p->memory->offset[v]};
}

/* 1 if all that the operation would do is done by the memory plan. */
static int is_view(const mf_program *p, const mf_node *n) {
    mf_address at = place_of(p, n->output);
    if (n->kind == MF_OP_RESHAPE)
        return 1;
    if (n->kind == MF_OP_SLICE) {
        size_t outer = 1, row = value_bytes(&p->graph->tensor[n->output]) / (size_t)(n->attrs.end - n->attrs.begin);
        mf_address from = place_of(p, n->input[0]);
        for (int i = 0; i < n->attrs.axis; i++)
            outer *= (size_t)p->graph->tensor[n->input[0]].dim[i];
        from.offset += row * (size_t)n->attrs.begin;
        return outer == 1 && p->graph->tensor[n->input[0]].role == MF_ROLE_RESULT && same_place(from, at);
    }
    if (n->kind != MF_OP_CONCAT)
        return 0;
    for (int i = 0; i < n->input_count; i++) {
        if (!same_place(place_of(p, n->input[i]), at))
            return 0;
        at.offset += value_bytes(&p->graph->tensor[n->input[i]]);
    }
    return 1;
}

static mfrgn_status prepare_kernels(mf_program *p, mf_kernel_info *info, mf_need *need) {
    for (size_t i = 0; i < p->step_count; i++) {
        mf_op op;
        if (p->graph->node[i].kind == MF_OP_RESHAPE)
            continue;
        mf_graph_op(p->graph, &p->graph->node[i], &op);
        mfrgn_status status = (mfrgn_status)p->backend->table->prepare(p->stream, &op, &p->step[i].kernel, &info[i]);
        if (status != MFRGN_OK)
            return mf_fail_in(p->context, status, "backend %s, %s", p->backend->name, mf_op_name(op.kind));
        need[i] = (mf_need){info[i].scratch_bytes, info[i].residual_in_place};
    }
    return MFRGN_OK;
}

static void place_operands(mf_program *p, size_t i) {
    const mf_node *n = &p->graph->node[i];
    mf_step *step = &p->step[i];
    for (int k = 0; k < MF_MAX_INPUTS; k++)
        step->input[k] = place_of(p, k < n->input_count ? n->input[k] : -1);
    step->output = place_of(p, n->output);
    step->scratch = p->memory->scratch_offset[i];
}

/* A bound sum that is a product's residual is computed over it. */
static int overwrites_residual(const mf_step *step, const mf_node *n, const mf_kernel_info *info) {
    return (n->kind == MF_OP_MATMUL || n->kind == MF_OP_CONV2D) && !info->residual_in_place && step->output.slot >= 0 &&
           n->input_count > MF_IN_RESIDUAL && n->input[MF_IN_RESIDUAL] >= 0 &&
           same_place(step->input[MF_IN_RESIDUAL], step->output);
}

static mfrgn_status plan_steps(mf_program *p, mf_dtype compute, mf_constants constants, void *user,
                               const mfrgn_progress *progress, mf_kernel_info *info, mf_need *need) {
    MF_TRY(prepare_kernels(p, info, need));
    MF_TRY(mf_plan_create(p->graph, compute, need, &p->memory));
    for (size_t i = 0; i < p->step_count; i++) {
        const mf_node *n = &p->graph->node[i];
        mf_step *step = &p->step[i];
        place_operands(p, i);
        if (is_view(p, n)) {
            if (step->kernel)
                p->backend->table->release(step->kernel);
            step->kernel = NULL;
            continue;
        }
        if (overwrites_residual(step, n, &info[i]))
            return mf_fail(p->context, MFRGN_ERROR_UNSUPPORTED, "backend %s cannot add to a gradient in its place",
                           p->backend->name);
        MF_TRY(mf_progress(p->context, progress, i, p->step_count));
        MF_TRY(constants(user, n, step, &info[i]));
    }
    return MFRGN_OK;
}

mfrgn_status mf_program_create(const mf_loaded *backend, mf_stream *stream, mf_graph *graph, mf_dtype compute,
                               mf_constants constants, void *user, const mfrgn_progress *progress, mf_program *p) {
    mfrgn_context *context = graph->context;
    size_t n = graph->node_count;
    *p = (mf_program){.context = mf_context_ref(context), .backend = backend, .stream = stream, .graph = graph};
    p->step = mf_calloc(context, n + 1, sizeof(*p->step));
    mf_kernel_info *info = mf_calloc(context, n + 1, sizeof(*info));
    mf_need *need = mf_calloc(context, n + 1, sizeof(*need));
    mfrgn_status status = MFRGN_ERROR_MEMORY;
    if (p->step && info && need) {
        p->step_count = n;
        status = plan_steps(p, compute, constants, user, progress, info, need);
    } else {
        mf_fail_memory(context, n * sizeof(*info), "a plan");
    }
    mf_free(context, info);
    mf_free(context, need);
    return status;
}

void mf_program_free(mf_program *p) {
    if (!p->context)
        return;
    for (size_t i = 0; i < p->step_count; i++)
        if (p->step[i].kernel)
            p->backend->table->release(p->step[i].kernel);
    mf_free(p->context, p->step);
    mf_plan_free(p->memory);
    mf_graph_free(p->graph);
    mfrgn_context_free(p->context);
    memset(p, 0, sizeof(*p));
}

static void *address(mf_address at, char *arena, void *const *slots) {
    if (at.offset == SIZE_MAX)
        return NULL;
    return (at.slot < 0 ? arena : (char *)slots[at.slot]) + at.offset;
}

static mfrgn_status run_steps(const mf_program *p, char *arena, void *const *slots, const mfrgn_progress *progress) {
    for (size_t i = 0; i < p->step_count; i++) {
        const mf_step *step = &p->step[i];
        const void *input[MF_MAX_INPUTS];
        if (!step->kernel)
            continue;
        MF_TRY(mf_progress(p->context, progress, i, p->step_count));
        for (int k = 0; k < MF_MAX_INPUTS; k++)
            input[k] = step->constant[k] ? step->constant[k] : address(step->input[k], arena, slots);
        mf_status status =
            p->backend->table->run(step->kernel, input, address(step->output, arena, slots), arena + step->scratch);
        if (status)
            return mf_fail_in(p->context, (mfrgn_status)status, "backend %s, %s", p->backend->name,
                              mf_op_name(p->graph->node[i].kind));
    }
    return MFRGN_OK;
}

mfrgn_status mf_program_run(const mf_program *p, void *arena, void *const *slots, const mfrgn_progress *progress) {
    p->backend->table->stream_begin(p->stream);
    mfrgn_status status = run_steps(p, arena, slots, progress);
    p->backend->table->stream_end(p->stream);
    return status;
}
