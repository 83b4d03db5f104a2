/* From a graph to steps: kernels are prepared, memory is planned, constants are found; then it runs. */
#include "model/program.h"

#include <string.h>

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
        size_t outer = 1, row = mf_tensor_bytes(&p->graph->tensor[n->output]) / (size_t)(n->attrs.end - n->attrs.begin);
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
        at.offset += mf_tensor_bytes(&p->graph->tensor[n->input[i]]);
    }
    return 1;
}

static mfrgn_status prepare_kernels(mf_program *p, mf_kernel_info *info, mf_need *need) {
    for (size_t i = 0; i < p->step_count; i++) {
        mf_op op;
        if (p->graph->node[i].kind == MF_OP_RESHAPE)
            continue;
        mf_graph_op(p->graph, &p->graph->node[i], &op);
        mfrgn_status status =
            (mfrgn_status)p->engine->backend->table->prepare(p->engine->stream, &op, &p->step[i].kernel, &info[i]);
        if (status != MFRGN_OK)
            return mf_fail_in(p->context, status, "backend %s, %s", p->engine->backend->name, mf_op_name(op.kind));
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
    return mf_op_is_product(n->kind) && !info->residual_in_place && step->output.slot >= 0 &&
           n->input_count > MF_IN_RESIDUAL && n->input[MF_IN_RESIDUAL] >= 0 &&
           same_place(step->input[MF_IN_RESIDUAL], step->output);
}

static mfrgn_status plan_steps(mf_program *p, mf_constants constants, void *user, const mfrgn_progress *progress,
                               mf_kernel_info *info, mf_need *need) {
    MF_TRY(prepare_kernels(p, info, need));
    MF_TRY(mf_plan_create(p->graph, need, &p->memory));
    for (size_t i = 0; i < p->step_count; i++) {
        const mf_node *n = &p->graph->node[i];
        mf_step *step = &p->step[i];
        place_operands(p, i);
        if (is_view(p, n)) {
            if (step->kernel)
                p->engine->backend->table->release(step->kernel);
            step->kernel = NULL;
            continue;
        }
        if (overwrites_residual(step, n, &info[i]))
            return mf_fail(p->context, MFRGN_ERROR_UNSUPPORTED, "backend %s cannot add to a gradient in its place",
                           p->engine->backend->name);
        MF_TRY(mf_progress(p->context, progress, i, p->step_count));
        MF_TRY(constants(user, n, step, &info[i]));
    }
    return MFRGN_OK;
}

mfrgn_status mf_program_create(const mf_engine *engine, mf_graph *graph, mf_constants constants, void *user,
                               const mfrgn_progress *progress, mf_program *p) {
    mfrgn_context *context = graph->context;
    size_t n = graph->node_count;
    *p = (mf_program){.context = mf_context_ref(context), .engine = engine, .graph = graph};
    p->step = mf_calloc(context, n + 1, sizeof(*p->step));
    mf_kernel_info *info = mf_calloc(context, n + 1, sizeof(*info));
    mf_need *need = mf_calloc(context, n + 1, sizeof(*need));
    mfrgn_status status = MFRGN_ERROR_MEMORY;
    if (p->step && info && need) {
        p->step_count = n;
        status = plan_steps(p, constants, user, progress, info, need);
    } else {
        mf_fail_memory(context, n * sizeof(*info), "a plan");
    }
    mf_free(context, info);
    mf_free(context, need);
    return status;
}

void mf_program_forget(mf_program *p) {
    if (p->recording)
        p->engine->backend->table->record_free(p->engine->stream, p->recording);
    p->recording = NULL;
    p->last = p->recorded = 0;
}

void mf_program_free(mf_program *p) {
    if (!p->context)
        return;
    mf_program_forget(p);
    for (size_t i = 0; i < p->step_count; i++)
        if (p->step[i].kernel)
            p->engine->backend->table->release(p->step[i].kernel);
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
        mf_status status = p->engine->backend->table->run(step->kernel, input, address(step->output, arena, slots),
                                                          arena + step->scratch);
        if (status)
            return mf_fail_in(p->context, (mfrgn_status)status, "backend %s, %s", p->engine->backend->name,
                              mf_op_name(p->graph->node[i].kind));
    }
    return MFRGN_OK;
}

/* ---- recordings ---- */

static uint64_t mix(uint64_t h, mf_address at, const char *arena, void *const *slots) {
    if (at.offset == SIZE_MAX)
        return h;
    return mf_mix64(h ^ ((uint64_t)(uintptr_t)(at.slot < 0 ? arena : (const char *)slots[at.slot]) + at.offset));
}

/* Of all addresses that a run reads and writes. */
static uint64_t addresses(const mf_program *p, const char *arena, void *const *slots) {
    uint64_t h = 1;
    for (size_t i = 0; i < p->step_count; i++) {
        const mf_step *step = &p->step[i];
        for (int k = 0; k < MF_MAX_INPUTS; k++)
            if (!step->constant[k])
                h = mix(h, step->input[k], arena, slots);
        h = mix(h, step->output, arena, slots);
    }
    return h;
}

enum { ATTEMPTS = 3 };

/* What cannot be recorded is run as it is from then on.  But a call of another thread may have spoilt it (of CUDA, one
 * that waits for the whole device), so it is tried again. */
static void record(mf_program *p, char *arena, void *const *slots, uint64_t where) {
    const mf_backend *table = p->engine->backend->table;
    mf_program_forget(p);
    mf_status status = table->record_begin(p->engine->stream);
    if (status == 0) {
        mfrgn_status ran = run_steps(p, arena, slots, NULL);
        status = table->record_end(p->engine->stream, ran == MFRGN_OK ? &p->recording : NULL);
    }
    if (status == 0 && p->recording) {
        p->recorded = where;
        return;
    }
    p->unrecordable++;
    mf_log(p->context, MFRGN_LOG_WARNING, "backend %s: a run could not be recorded, and is not played: %s",
           p->engine->backend->name, mfrgn_context_last_error(p->context));
}

static mfrgn_status run(mf_program *p, char *arena, void *const *slots, const mfrgn_progress *progress) {
    const mf_backend *table = p->engine->backend->table;
    if (!table->record_begin || p->unrecordable >= ATTEMPTS)
        return run_steps(p, arena, slots, progress);
    uint64_t where = addresses(p, arena, slots);
    if (where == p->last && !(p->recording && p->recorded == where))
        record(p, arena, slots, where);
    p->last = where;
    if (!p->recording || p->recorded != where)
        return run_steps(p, arena, slots, progress);
    MF_TRY(mf_progress(p->context, progress, 0, p->step_count));
    mf_status status = table->record_play(p->engine->stream, p->recording);
    return status ? mf_fail_in(p->context, (mfrgn_status)status, "backend %s", p->engine->backend->name) : MFRGN_OK;
}

mfrgn_status mf_program_run(mf_program *p, void *arena, void *const *slots, const mfrgn_progress *progress) {
    mf_engine_begin(p->engine);
    mfrgn_status status = run(p, arena, slots, progress);
    mf_engine_end(p->engine);
    return status;
}
