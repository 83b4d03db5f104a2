/* Sessions: creation, embedding, questions. */
#include "model/session.h"

#include <math.h>
#include <string.h>

/* ---- creation ---- */

mfrgn_status mfrgn_session_create(mfrgn_model *model, const mfrgn_options *options, mfrgn_session **out) {
    if (!model)
        return MFRGN_ERROR_ARGUMENT;
    if (!out)
        return mf_fail(model->context, MFRGN_ERROR_ARGUMENT, "mfrgn_session_create: NULL argument");
    mfrgn_options *defaults = NULL;
    if (!options) {
        MF_TRY(mfrgn_options_create(model->context, &defaults));
        options = defaults;
    }
    mfrgn_session *s = mf_calloc(model->context, 1, sizeof(*s));
    mfrgn_status status = MFRGN_ERROR_MEMORY;
    if (s) {
        mf_engine_params params = mf_options_engine(options);
        s->context = mf_context_ref(model->context);
        s->model = mf_model_ref(model);
        s->batch = (int)mf_option(options, MFRGN_OPTION_BATCH)->number;
        s->precrop = mf_option(options, MFRGN_OPTION_PRECROP)->number != 0;
        s->gelu = mf_option(options, MFRGN_OPTION_GELU)->number ? MF_ACT_GELU_TANH : MF_ACT_GELU;
        status = mf_engine_open(s->context, &params, &s->engine, &s->passed_over);
        if (status == MFRGN_OK && s->gelu != MF_ACT_GELU)
            status = mf_engine_check_act(&s->engine, s->gelu, "gelu=tanh");
    } else {
        mf_fail_memory(model->context, sizeof(*s), "a session");
    }
    mfrgn_options_free(defaults);
    if (status != MFRGN_OK)
        mfrgn_session_free(s);
    else
        *out = s;
    return status;
}

void mfrgn_session_free(mfrgn_session *s) {
    if (!s)
        return;
    mfrgn_context *context = s->context;
    if (s->engine.stream)
        (void)mfrgn_session_finish(s); /* what mfrgn_embed_device() asked for reads the weights that go now */
    for (int view = 0; view < 2; view++)
        mf_session_unplan(s, &s->view[view]);
    mf_engine_free(&s->engine, s->arena);
    mf_engine_close(&s->engine);
    mf_free(context, s->staging);
    mf_free(context, s->scratch.memory);
    mf_free(context, s->passed_over);
    mfrgn_model_free(s->model);
    mf_free(context, s);
    mfrgn_context_free(context);
}

static mfrgn_status check_view(mfrgn_session *s, mfrgn_view view) {
    if (view != MFRGN_VIEW_GROUND && view != MFRGN_VIEW_AERIAL)
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "view %d is neither ground nor aerial", (int)view);
    return MFRGN_OK;
}

mfrgn_status mfrgn_session_prepare(mfrgn_session *s, mfrgn_view view) {
    if (!s)
        return MFRGN_ERROR_ARGUMENT;
    MF_TRY(check_view(s, view));
    return mf_session_plan(s, view);
}

mfrgn_status mfrgn_session_set_progress(mfrgn_session *s, const mfrgn_progress *progress) {
    if (!s)
        return MFRGN_ERROR_ARGUMENT;
    if (progress && (progress->struct_size < sizeof(*progress) || !progress->update))
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "mfrgn_progress: struct_size or update is not set");
    if (progress)
        s->progress = *progress;
    else
        memset(&s->progress, 0, sizeof(s->progress));
    return MFRGN_OK;
}

static size_t packed_bytes(const mfrgn_session *s) {
    size_t bytes = 0;
    pthread_mutex_lock(&s->model->lock);
    for (const mf_packed *p = s->model->packed; p; p = p->link)
        bytes += p->bytes;
    pthread_mutex_unlock(&s->model->lock);
    return bytes;
}

mfrgn_status mfrgn_session_get_info(const mfrgn_session *s, mfrgn_session_info *info) {
    if (!s)
        return MFRGN_ERROR_ARGUMENT;
    if (!info || info->struct_size < sizeof(*info))
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "mfrgn_session_get_info: info or struct_size is not set");
    info->backend = s->engine.backend->name;
    info->detail = s->engine.backend->table->describe(s->engine.backend->device);
    info->passed_over = s->passed_over ? s->passed_over : "";
    info->threads = s->engine.threads;
    info->batch = s->batch;
    info->arena_bytes = s->arena_bytes;
    info->packed_bytes = packed_bytes(s);
    return MFRGN_OK;
}

mfrgn_status mfrgn_model_print_graph(const mfrgn_model *model, mfrgn_view view, mfrgn_session *session,
                                     mfrgn_graph_format format,
                                     int (*write)(void *user, const char *text, size_t length), void *user) {
    if (!model)
        return MFRGN_ERROR_ARGUMENT;
    if (!write || (unsigned)view > 1 || (session && session->model != model))
        return mf_fail(model->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_model_print_graph: no writer, no such view, or a session of another model");
    if (session) {
        MF_TRY(mf_session_plan(session, view));
        return mf_graph_print(session->view[view].program.graph, format, write, user);
    }
    mf_parameters *table = (mf_parameters *)(uintptr_t)&model->parameters; /* complete: nothing is declared */
    mf_graph *g;
    MF_TRY(mf_network_build(model->context, model->config, table, view, 1, &g));
    mfrgn_status status = mf_graph_print(g, format, write, user);
    mf_graph_free(g);
    return status;
}

/* ---- images to inputs ---- */

static size_t image_values(const mf_program *plan) {
    const mf_tensor *t = &plan->graph->tensor[plan->graph->input];
    return (size_t)(t->dim[1] * t->dim[2] * t->dim[3]);
}

static void *place(const mfrgn_session *s, const mf_program *plan, mf_value v) {
    return (char *)s->arena + plan->memory->offset[v];
}

static mfrgn_status fill_input(mfrgn_session *s, mfrgn_view view, const mfrgn_image *images, size_t count) {
    const mf_program *plan = &s->view[view].program;
    const mf_tensor *t = &plan->graph->tensor[plan->graph->input];
    size_t size = image_values(plan), all = (size_t)s->batch * size;
    int on_host = mf_engine_is_host(&s->engine);
    float *input = on_host ? place(s, plan, plan->graph->input) : s->staging;
    MF_TRY(mf_input_fill(s->context, s->engine.threads, images, count, (int)t->dim[1], (int)t->dim[2],
                         s->precrop && view == MFRGN_VIEW_GROUND, input, &s->scratch));
    memset(input + count * size, 0, (all - count * size) * sizeof(float));
    if (s->engine.compute == MF_F64)
        mf_input_widen(input, all);
    return on_host ? MFRGN_OK
                   : mf_engine_put(&s->engine, place(s, plan, plan->graph->input), input, all * sizeof(float));
}

/* ---- descriptors ---- */

static mfrgn_status read_output(mfrgn_session *s, mfrgn_view view, size_t first, size_t count, float *out) {
    const mf_program *plan = &s->view[view].program;
    const void *result = place(s, plan, plan->graph->output);
    size_t size = mfrgn_model_descriptor_size(s->model);
    if (!mf_engine_is_host(&s->engine)) {
        MF_TRY(mf_engine_get(&s->engine, s->staging, result, count * size * mf_dtype_size(s->engine.wide)));
        result = s->staging;
    }
    size_t bad = mf_find_nonfinite(s->engine.wide, result, count * size);
    if (bad < count * size)
        return mf_fail(s->context, MFRGN_ERROR_NUMERIC,
                       "image %zu: its descriptor is not finite: the picture or the weights hold values out of range",
                       first + bad / size);
    mf_convert(MF_F32, out, s->engine.wide, result, count * size);
    return MFRGN_OK;
}

static mfrgn_status embed_batch(mfrgn_session *s, mfrgn_view view, const mfrgn_image *images, size_t first,
                                size_t count, float *descriptors) {
    mf_engine_begin(&s->engine);
    mfrgn_status status = fill_input(s, view, images + first, count);
    mf_engine_end(&s->engine);
    MF_TRY(status);
    MF_TRY(mf_program_run(&s->view[view].program, s->arena, NULL, &s->progress));
    mf_engine_begin(&s->engine);
    status = read_output(s, view, first, count, descriptors + first * mfrgn_model_descriptor_size(s->model));
    mf_engine_end(&s->engine);
    return status;
}

enum { CALIBRATION = 64 };

mfrgn_status mfrgn_embed(mfrgn_session *s, mfrgn_view view, const mfrgn_image *images, size_t n, float *descriptors) {
    if (!s)
        return MFRGN_ERROR_ARGUMENT;
    if (n && (!images || !descriptors))
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "mfrgn_embed: images or descriptors is NULL");
    MF_TRY(check_view(s, view));
    MF_TRY(mf_input_check(s->context, images, n));
    MF_TRY(mf_session_plan(s, view));
    if (s->engine.math == MF_MATH_FP8 && !s->view[view].calibrated && n)
        MF_TRY(mfrgn_session_calibrate(s, view, images, n < CALIBRATION ? n : CALIBRATION));
    for (size_t i = 0; i < n; i += (size_t)s->batch) {
        size_t count = n - i < (size_t)s->batch ? n - i : (size_t)s->batch;
        MF_TRY(embed_batch(s, view, images, i, count, descriptors));
    }
    return MFRGN_OK;
}

mfrgn_status mf_session_tap(mfrgn_session *s, mfrgn_view view, const char *name, double *out, size_t room,
                            size_t *count) {
    const mf_program *plan = &s->view[view].program;
    mf_value v = plan->graph ? mf_graph_find(plan->graph, name) : -1;
    if (v < 0 || plan->memory->offset[v] == SIZE_MAX)
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "no tapped value \"%s\"", name);
    const mf_tensor *t = &plan->graph->tensor[v];
    *count = mf_tensor_elements(t);
    if (*count > room)
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "\"%s\" has %zu values", name, *count);
    size_t bytes = *count * mf_dtype_size(t->dtype);
    if (mf_engine_is_host(&s->engine)) {
        mf_convert(MF_F64, out, t->dtype, place(s, plan, v), *count);
        return MFRGN_OK;
    }
    void *copy = mf_alloc(s->context, bytes);
    if (!copy)
        return mf_fail_memory(s->context, bytes, "a tapped value");
    mf_engine_begin(&s->engine);
    mfrgn_status status = mf_engine_get(&s->engine, copy, place(s, plan, v), bytes);
    mf_engine_end(&s->engine);
    if (status == MFRGN_OK)
        mf_convert(MF_F64, out, t->dtype, copy, *count);
    mf_free(s->context, copy);
    return status;
}
