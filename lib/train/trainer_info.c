/* Settings of a trainer, and questions to it. */
#include <math.h>

#include "train/trainer.h"

mfrgn_status mf_train_read(const mfrgn_trainer *t, const void *from, double *value) {
    double read[1];
    MF_TRY(mf_engine_get(&t->engine, read, from, mf_train_value_size(t)));
    mf_convert(MF_F64, value, t->engine.wide, read, 1);
    return MFRGN_OK;
}

mfrgn_status mfrgn_trainer_set_learning_rate(mfrgn_trainer *t, double rate) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!(rate >= 0 && rate <= 10))
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "a learning rate of %g: 0 to 10 are possible", rate);
    t->rate = rate;
    return MFRGN_OK;
}

mfrgn_status mfrgn_trainer_set_progress(mfrgn_trainer *t, const mfrgn_progress *progress) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (progress && (progress->struct_size < sizeof(*progress) || !progress->update))
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_progress: struct_size or update is not set");
    t->progress = progress ? *progress : (mfrgn_progress){0};
    return MFRGN_OK;
}

mfrgn_status mfrgn_trainer_get_info(const mfrgn_trainer *t, mfrgn_trainer_info *info) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!info || info->struct_size < sizeof(*info))
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_trainer_get_info: info or struct_size is not set");
    int index = mf_parameters_find(&t->model->parameters, "logit_scale");
    double logit_scale;
    mf_engine_begin(&t->engine);
    mfrgn_status status = mf_train_read(t, t->slot[index], &logit_scale);
    mf_engine_end(&t->engine);
    MF_TRY(status);
    size_t arrays = 1;
    for (int s = 0; s < MF_STATE_COUNT; s++)
        arrays += t->state[s] != NULL;
    info->backend = t->engine.backend->name;
    info->step = t->step;
    info->loss = t->last_loss;
    info->gradient_norm = t->last_norm;
    info->temperature = exp(logit_scale);
    info->learning_rate = t->last_rate;
    info->flops = t->last_flops;
    info->arena_bytes = t->arena_bytes;
    info->state_bytes = arrays * t->start[t->model->parameters.count] * mf_train_value_size(t);
    return MFRGN_OK;
}

/* Values of the engine's memory as f32. */
static mfrgn_status read_values(const mfrgn_trainer *t, const void *from, float *values, size_t count) {
    size_t bytes = count * mf_train_value_size(t);
    void *room = mf_alloc(t->context, bytes);
    if (!room)
        return mf_fail_memory(t->context, bytes, "a copy of weights");
    mf_engine_begin(&t->engine);
    mfrgn_status status = mf_engine_get(&t->engine, room, from, bytes);
    mf_engine_end(&t->engine);
    if (status == MFRGN_OK)
        mf_convert(MF_F32, values, t->engine.wide, room, count);
    mf_free(t->context, room);
    return status;
}

typedef struct filler {
    const mfrgn_trainer *trainer;
    void *array;
} filler;

static int give_values(void *user, const char *name, const size_t *shape, int dims, float *values) {
    const filler *f = user;
    const mf_parameters *table = &f->trainer->model->parameters;
    int index = mf_parameters_find(table, name);
    (void)shape;
    (void)dims;
    return index < 0 || read_values(f->trainer, mf_train_at(f->trainer, f->array, (size_t)index), values,
                                    mf_parameter_elements(&table->item[index])) != MFRGN_OK;
}

mfrgn_status mfrgn_trainer_model(const mfrgn_trainer *t, int average, mfrgn_model **model) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!model || (average && !t->state[MF_STATE_AVERAGE]))
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_trainer_model: no model, or no average is kept (ema)");
    filler f = {t, t->state[average ? MF_STATE_AVERAGE : MF_STATE_VALUE]};
    return mfrgn_model_create_filled(t->context, t->model->config, give_values, &f, model);
}

mfrgn_status mfrgn_trainer_gradient(const mfrgn_trainer *t, const char *name, float *values, size_t count) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    int index = name ? mf_parameters_find(&t->model->parameters, name) : -1;
    if (index < 0 || !values || count != mf_parameter_elements(&t->model->parameters.item[index]) || !t->learnt[index])
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_trainer_gradient: no tensor \"%s\" of %zu values has a gradient", name ? name : "",
                       count);
    MF_TRY(read_values(t, t->slot[t->model->parameters.count + (size_t)index], values, count));
    for (size_t i = 0; i < count && t->last_scale != 1; i++)
        values[i] /= (float)t->last_scale;
    return MFRGN_OK;
}
