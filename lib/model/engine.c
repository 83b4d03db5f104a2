#include "model/engine.h"

#include <string.h>

#include "graph/graph.h"

const char *const mf_precisions[] = {"f32", "f64", "tf32", "bf16", "f16", "fp8", NULL};

static void set_types(const char *precision, mf_engine *e) {
    for (int i = 0; mf_precisions[i]; i++)
        if (strcmp(mf_precisions[i], precision) == 0)
            e->precision = mf_precisions[i];
    e->math = strcmp(precision, "tf32") == 0  ? MF_MATH_TF32
              : strcmp(precision, "fp8") == 0 ? MF_MATH_FP8
                                              : MF_MATH_STRICT;
    e->compute = strcmp(precision, "f64") == 0                                     ? MF_F64
                 : strcmp(precision, "f16") == 0                                   ? MF_F16
                 : strcmp(precision, "bf16") == 0 || strcmp(precision, "fp8") == 0 ? MF_BF16
                                                                                   : MF_F32;
    e->wide = e->compute == MF_F64 ? MF_F64 : MF_F32;
}

/* "auto" takes the one that computes so, where only one does. */
static const char *choose(const char *name, const char *precision) {
    if (strcmp(name, "auto") != 0 || strcmp(precision, "f32") == 0 || strcmp(precision, "tf32") == 0)
        return name;
    return strcmp(precision, "f64") == 0 ? "ref" : "cuda";
}

mfrgn_status mf_engine_open(mfrgn_context *context, const mf_engine_params *p, mf_engine *e, char **passed_over) {
    char *why = NULL;
    *e = (mf_engine){.context = context, .device = (int)p->device};
    set_types(p->precision, e);
    e->threads = p->threads ? (int)p->threads : mf_core_count();
    MF_TRY(mf_backend_open(context, choose(p->backend, p->precision), &e->backend, &why));
    if (passed_over)
        *passed_over = why;
    else
        mf_free(context, why);
    mf_stream_params params = {.struct_size = sizeof(params),
                               .threads = e->threads,
                               .compute = e->compute,
                               .math = e->math,
                               .device = (int)p->device,
                               .native = p->native,
                               .memory_limit = p->memory_limit,
                               .tuning = p->tuning && *p->tuning ? p->tuning : NULL};
    if (mf_engine_is_host(e) && (p->native || p->device))
        return mf_fail(context, MFRGN_ERROR_UNSUPPORTED,
                       "backend %s has one device, number 0, and takes no stream of the caller's", e->backend->name);
    mfrgn_status status = (mfrgn_status)e->backend->table->stream_open(e->backend->device, &params, &e->stream);
    if (status != MFRGN_OK)
        return mf_fail_in(context, status, "backend %s, precision %s", e->backend->name, p->precision);
    return MFRGN_OK;
}

void mf_engine_close(mf_engine *e) {
    if (e->stream)
        e->backend->table->stream_close(e->stream);
    e->stream = NULL;
}

void mf_engine_begin(const mf_engine *e) {
    e->backend->table->stream_begin(e->stream);
}

void mf_engine_end(const mf_engine *e) {
    e->backend->table->stream_end(e->stream);
}

/* In 16 bits the graph gets its types after the passes: the operands are asked for as they will be. */
int mf_engine_supports(void *user, const mf_op *op) {
    const mf_engine *e = user;
    mf_op typed = *op;
    if (e->compute != e->wide) {
        for (int i = 0; i < typed.input_count; i++)
            typed.input[i].dtype = mf_operand_type(op, i, e->compute, 0);
        typed.output.dtype = mf_operand_type(op, -1, e->compute, 0);
    }
    return e->backend->table->supports(e->stream, &typed);
}

/* By itself: where it cannot be a part of another operation, it is one of its own. */
mfrgn_status mf_engine_check_act(const mf_engine *e, mf_act act, const char *option) {
    mf_op op = {.kind = MF_OP_ACT, .attrs = {.act = act}, .input_count = 1};
    op.input[0] = op.output = (mf_operand){.dtype = e->wide, .ndim = 2, .dim = {64, 64}};
    if (mf_engine_supports((void *)(uintptr_t)e, &op))
        return MFRGN_OK;
    return mf_fail(e->context, MFRGN_ERROR_UNSUPPORTED, "backend %s does not compute option %s", e->backend->name,
                   option);
}

/* ---- memory ---- */

int mf_engine_is_host(const mf_engine *e) {
    return e->backend->table->memory_alloc == NULL;
}

static mfrgn_status told(const mf_engine *e, mf_status status, const char *what) {
    if (status)
        return mf_fail_in(e->context, (mfrgn_status)status, "backend %s, %s", e->backend->name, what);
    return MFRGN_OK;
}

mfrgn_status mf_engine_alloc(const mf_engine *e, size_t bytes, const char *what, void **memory) {
    if (!mf_engine_is_host(e))
        return told(e, e->backend->table->memory_alloc(e->stream, bytes, memory), what);
    *memory = mf_alloc_huge(e->context, bytes);
    return *memory ? MFRGN_OK : mf_fail_memory(e->context, bytes, what);
}

void mf_engine_free(const mf_engine *e, void *memory) {
    if (memory && e->backend && !mf_engine_is_host(e))
        e->backend->table->memory_free(e->backend->device, e->stream, memory);
    else
        mf_free(e->context, memory);
}

void mf_engine_free_later(mfrgn_context *context, const mf_loaded *backend, void *memory) {
    mf_engine_free(&(mf_engine){.context = context, .backend = backend}, memory);
}

mfrgn_status mf_engine_put(const mf_engine *e, void *to, const void *from, size_t bytes) {
    if (!mf_engine_is_host(e))
        return told(e, e->backend->table->memory_put(e->stream, to, from, bytes), "copy to the device");
    memcpy(to, from, bytes);
    return MFRGN_OK;
}

mfrgn_status mf_engine_get(const mf_engine *e, void *to, const void *from, size_t bytes) {
    if (!mf_engine_is_host(e))
        return told(e, e->backend->table->memory_get(e->stream, to, from, bytes), "copy from the device");
    memcpy(to, from, bytes);
    return MFRGN_OK;
}

mfrgn_status mf_engine_copy(const mf_engine *e, void *to, const void *from, size_t bytes) {
    if (!mf_engine_is_host(e))
        return told(e, e->backend->table->memory_copy(e->stream, to, from, bytes), "copy");
    memcpy(to, from, bytes);
    return MFRGN_OK;
}

mfrgn_status mf_engine_zero(const mf_engine *e, void *memory, size_t bytes) {
    if (!mf_engine_is_host(e))
        return told(e, e->backend->table->memory_zero(e->stream, memory, bytes), "zeros");
    memset(memory, 0, bytes);
    return MFRGN_OK;
}

mfrgn_status mf_engine_finish(const mf_engine *e) {
    return mf_engine_is_host(e) ? MFRGN_OK : told(e, e->backend->table->memory_finish(e->stream), "run");
}
