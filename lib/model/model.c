/* A network and its weights. */
#include "model/model.h"

#include <string.h>

static void model_destroy(mfrgn_model *model) {
    mfrgn_context *context = model->context;
    mfrgn_config_free(model->config);
    mf_weights_free(model->weights);
    mf_free(context, model->parameters.item);
    mf_free(context, model->memory);
    pthread_mutex_destroy(&model->lock);
    pthread_cond_destroy(&model->made);
    mf_free(context, model);
    mfrgn_context_free(context);
}

mfrgn_model *mf_model_ref(mfrgn_model *model) {
    __atomic_add_fetch(&model->references, 1, __ATOMIC_RELAXED);
    return model;
}

void mfrgn_model_free(mfrgn_model *model) {
    if (model && __atomic_sub_fetch(&model->references, 1, __ATOMIC_ACQ_REL) == 0)
        model_destroy(model);
}

static double graph_flops(const mf_graph *g) {
    double flops = 0;
    for (size_t i = 0; i < g->node_count; i++) {
        mf_op op;
        mf_graph_op(g, &g->node[i], &op);
        flops += mf_op_flops(&op);
    }
    return flops;
}

/* Builds both views once: that declares every parameter. */
static mfrgn_status declare_parameters(mfrgn_model *model) {
    for (int view = 1; view >= 0; view--) {
        model->parameters.context = model->context;
        mf_graph *g;
        MF_TRY(mf_network_build(model->context, model->config, &model->parameters, (mfrgn_view)view, 1, &g));
        model->flops[view] = graph_flops(g);
        mf_graph_free(g);
    }
    return MFRGN_OK;
}

/* A model with a table of parameters and no values yet. Takes a copy of the configuration. */
static mfrgn_status model_start(mfrgn_context *context, const mfrgn_config *config, mfrgn_model **out) {
    MF_TRY(mfrgn_config_validate(config));
    mfrgn_model *model = mf_calloc(context, 1, sizeof(*model));
    if (!model)
        return mf_fail_memory(context, sizeof(*model), "a model");
    model->context = mf_context_ref(context);
    model->references = 1;
    pthread_mutex_init(&model->lock, NULL);
    pthread_cond_init(&model->made, NULL);
    mfrgn_status status = mfrgn_config_copy(config, &model->config);
    if (status == MFRGN_OK)
        status = declare_parameters(model);
    if (status != MFRGN_OK)
        model_destroy(model);
    else
        *out = model;
    return status;
}

/* ---- values of our own ---- */

static size_t total_elements(const mf_parameters *table) {
    size_t n = 0;
    for (size_t i = 0; i < table->count; i++)
        n += mf_parameter_elements(&table->item[i]);
    return n;
}

static mfrgn_status model_memory(mfrgn_model *model) {
    size_t bytes = total_elements(&model->parameters) * sizeof(float);
    float *values = model->memory = mf_alloc_huge(model->context, bytes);
    if (!values)
        return mf_fail_memory(model->context, bytes, "the weights");
    for (size_t i = 0; i < model->parameters.count; i++) {
        mf_parameter *p = &model->parameters.item[i];
        p->stored = (mf_stored){MF_F32, values};
        values += mf_parameter_elements(p);
    }
    return MFRGN_OK;
}

mfrgn_status mfrgn_model_create(mfrgn_context *context, const mfrgn_config *config, unsigned long seed,
                                mfrgn_model **out) {
    if (!context || !config || !out)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_model_create: NULL argument");
    mfrgn_model *model;
    MF_TRY(model_start(context, config, &model));
    mfrgn_status status = model_memory(model);
    if (status != MFRGN_OK) {
        mfrgn_model_free(model);
        return status;
    }
    mf_initialise(&model->parameters, seed, model->memory);
    *out = model;
    return MFRGN_OK;
}

static mfrgn_status fill_all(mfrgn_model *model, mfrgn_fill fill, void *user) {
    for (size_t i = 0; i < model->parameters.count; i++) {
        mf_parameter *p = &model->parameters.item[i];
        size_t shape[MF_MAX_DIMS] = {0};
        for (int k = 0; k < p->ndim; k++)
            shape[k] = (size_t)p->dim[k];
        if (fill(user, p->name, shape, p->ndim, (float *)(uintptr_t)p->stored.data))
            return mf_fail(model->context, MFRGN_ERROR_CANCELLED, "the caller's fill function refused tensor \"%s\"",
                           p->name);
    }
    return MFRGN_OK;
}

mfrgn_status mfrgn_model_create_filled(mfrgn_context *context, const mfrgn_config *config, mfrgn_fill fill, void *user,
                                       mfrgn_model **out) {
    if (!context || !config || !fill || !out)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_model_create_filled: NULL argument");
    mfrgn_model *model;
    MF_TRY(model_start(context, config, &model));
    mfrgn_status status = model_memory(model);
    if (status == MFRGN_OK)
        status = fill_all(model, fill, user);
    if (status != MFRGN_OK)
        mfrgn_model_free(model);
    else
        *out = model;
    return status;
}

/* ---- values of a file ---- */

int mf_parameter_fits(const mf_parameter *p, const mf_weight *w) {
    int n = p->ndim, m = w->ndim;
    while (n > 1 && p->dim[n - 1] == 1)
        n--;
    while (m > 1 && w->dim[m - 1] == 1)
        m--;
    if (n == 0 || m == 0) /* a scalar may be stored as [1] */
        return (n == 0 || (n == 1 && p->dim[0] == 1)) && (m == 0 || (m == 1 && w->dim[0] == 1));
    return n == m && memcmp(p->dim, w->dim, (size_t)n * sizeof(p->dim[0])) == 0;
}

static char *shape_text(mfrgn_context *context, int ndim, const int64_t *dim) {
    char *text = mf_strdup(context, "[");
    for (int i = 0; i < ndim && text; i++) {
        char *more = mf_format(context, "%s%s%lld", text, i ? ", " : "", (long long)dim[i]);
        mf_free(context, text);
        text = more;
    }
    char *done = text ? mf_format(context, "%s]", text) : NULL;
    mf_free(context, text);
    return done;
}

static mfrgn_status bad_shape(mfrgn_model *model, const char *path, const mf_parameter *p, const mf_weight *w) {
    mfrgn_context *context = model->context;
    char *has = shape_text(context, w->ndim, w->dim), *wants = shape_text(context, p->ndim, p->dim);
    int by_size = strncmp(p->name, "proj", 4) == 0 && !strstr(p->name, "_gl") && !strstr(p->name, "_local");
    mf_fail(context, MFRGN_ERROR_MISMATCH, "%s: tensor \"%s\" has shape %s, this network needs %s%s", path, p->name,
            has ? has : "?", wants ? wants : "?",
            by_size ? " (the input sizes decide it: give the aerial and the ground size it was trained with)" : "");
    mf_free(context, has);
    mf_free(context, wants);
    return MFRGN_ERROR_MISMATCH;
}

static int ends_with(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

/* In published state dicts, and read by nothing. */
static int is_unused(const char *name) {
    return ends_with(name, ".num_batches_tracked") || strncmp(name, "backbone.backbone.head.", 23) == 0 ||
           strncmp(name, "backbone.backbone.fc.", 21) == 0 || strncmp(name, "model.head.fc.", 14) == 0;
}

static mfrgn_status take_weights(mfrgn_model *model, const char *path, const mfrgn_progress *progress) {
    mf_parameters *table = &model->parameters;
    const mf_weights *weights = model->weights;
    for (size_t i = 0; i < table->count; i++) {
        mf_parameter *p = &table->item[i];
        const mf_weight *w = mf_weights_find(weights, p->name);
        MF_TRY(mf_progress(model->context, progress, i, table->count));
        if (!w)
            return mf_fail(model->context, MFRGN_ERROR_MISMATCH, "%s: tensor \"%s\" is missing", path, p->name);
        if (w->dtype != MF_F32 && w->dtype != MF_F16 && w->dtype != MF_BF16 && w->dtype != MF_F64)
            return mf_fail(model->context, MFRGN_ERROR_MISMATCH,
                           "%s: tensor \"%s\" is %s, weights are f32, f64, f16 or bf16", path, p->name,
                           mf_dtype_name(w->dtype));
        if (!mf_parameter_fits(p, w))
            return bad_shape(model, path, p, w);
        p->stored = (mf_stored){w->dtype, w->data};
    }
    for (size_t i = 0; i < weights->count; i++)
        if (mf_parameters_find(table, weights->tensor[i].name) < 0 && !is_unused(weights->tensor[i].name))
            return mf_fail(model->context, MFRGN_ERROR_MISMATCH, "%s: tensor \"%s\" is not part of this network", path,
                           weights->tensor[i].name);
    return mf_progress(model->context, progress, table->count, table->count);
}

mfrgn_status mfrgn_model_load(mfrgn_context *context, const char *path, const mfrgn_load_options *options,
                              mfrgn_model **out) {
    if (!context || !path || !out || (options && options->struct_size < sizeof(*options)))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_model_load: NULL argument, or options.struct_size");
    mf_weights *weights;
    mfrgn_config *config = NULL;
    mfrgn_model *model = NULL;
    MF_TRY(mf_weights_load(context, path, &weights));
    mfrgn_status status = mf_config_from_weights(context, path, weights, options, &config);
    if (status == MFRGN_OK)
        status = model_start(context, config, &model);
    mfrgn_config_free(config);
    if (status != MFRGN_OK) {
        mf_weights_free(weights);
        return status;
    }
    model->weights = weights;
    status = take_weights(model, path, options ? options->progress : NULL);
    if (status != MFRGN_OK)
        mfrgn_model_free(model);
    else
        *out = model;
    return status;
}

/* ---- questions ---- */

const mfrgn_config *mfrgn_model_config(const mfrgn_model *model) {
    return model ? model->config : NULL;
}

size_t mfrgn_model_tensor_count(const mfrgn_model *model) {
    return model ? model->parameters.count : 0;
}

static mfrgn_dtype public_dtype(mf_dtype dtype) {
    switch (dtype) {
    case MF_F64:
        return MFRGN_DTYPE_F64;
    case MF_F16:
        return MFRGN_DTYPE_F16;
    case MF_BF16:
        return MFRGN_DTYPE_BF16;
    default:
        return MFRGN_DTYPE_F32;
    }
}

mfrgn_status mfrgn_model_tensor_get_info(const mfrgn_model *model, size_t index, mfrgn_tensor_info *info) {
    if (!model)
        return MFRGN_ERROR_ARGUMENT;
    if (!info || info->struct_size < sizeof(*info) || index >= model->parameters.count)
        return mf_fail(model->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_model_tensor_get_info: bad index %zu, info or struct_size", index);
    const mf_parameter *p = &model->parameters.item[index];
    info->name = p->name;
    info->dtype = public_dtype(p->stored.dtype);
    info->dims = p->ndim;
    for (int i = 0; i < 4; i++)
        info->shape[i] = i < p->ndim ? (size_t)p->dim[i] : 0;
    info->learnt = p->learnt;
    return MFRGN_OK;
}

mfrgn_status mfrgn_model_tensor_read(const mfrgn_model *model, size_t index, float *values, size_t count) {
    if (!model)
        return MFRGN_ERROR_ARGUMENT;
    if (!values || index >= model->parameters.count || count != mf_parameter_elements(&model->parameters.item[index]))
        return mf_fail(model->context, MFRGN_ERROR_ARGUMENT, "mfrgn_model_tensor_read: bad index %zu, values or count",
                       index);
    const mf_stored *stored = &model->parameters.item[index].stored;
    mf_convert(MF_F32, values, stored->dtype, stored->data, count);
    return MFRGN_OK;
}

size_t mfrgn_model_parameter_count(const mfrgn_model *model) {
    size_t n = 0;
    for (size_t i = 0; model && i < model->parameters.count; i++)
        if (model->parameters.item[i].learnt)
            n += mf_parameter_elements(&model->parameters.item[i]);
    return n;
}

double mfrgn_model_flops(const mfrgn_model *model, mfrgn_view view) {
    return model && (unsigned)view < 2 ? model->flops[view] : 0;
}

size_t mfrgn_model_descriptor_size(const mfrgn_model *model) {
    return model ? (size_t)mf_config_descriptor_size(model->config) : 0;
}

void mfrgn_model_input_size(const mfrgn_model *model, mfrgn_view view, int *width, int *height) {
    mf_view_config v = {0};
    if (model && (unsigned)view < 2)
        mf_config_view(model->config, view, &v);
    if (width)
        *width = v.width;
    if (height)
        *height = v.height;
}
