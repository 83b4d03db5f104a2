/* Saving and restoring everything: a safetensors file with each parameter's value, moments and average, and the rest as
 * metadata. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/trainer.h"

static const char *const prefix[MF_STATE_COUNT] = {"value.", "m.", "v.", "average."};

static int state_count(const mfrgn_trainer *t) {
    return t->state[MF_STATE_AVERAGE] ? MF_STATE_COUNT : MF_STATE_AVERAGE;
}

typedef struct names {
    char text[MF_STATE_COUNT][MF_NAME + 16];
} names;

static mfrgn_status give_array(void *user, size_t index, void *data) {
    const mfrgn_trainer *t = user;
    size_t count = t->model->parameters.count, i = index % count;
    mf_engine_begin(&t->engine);
    mfrgn_status status = mf_engine_get(&t->engine, data, mf_train_at(t, t->state[index / count], i),
                                        mf_parameter_elements(&t->model->parameters.item[i]) * mf_train_value_size(t));
    mf_engine_end(&t->engine);
    return status;
}

/* What of the network must be the same. */
static size_t list_config(const mfrgn_trainer *t, mf_metadata *metadata) {
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++)
        metadata[key] = (mf_metadata){mfrgn_config_key_name((mfrgn_config_key)key),
                                      mfrgn_config_get(t->model->config, (mfrgn_config_key)key)};
    return MFRGN_CONFIG_KEY_COUNT;
}

enum { METADATA = MFRGN_CONFIG_KEY_COUNT + MFRGN_TRAIN_KEY_COUNT + 10 };

static mfrgn_status save(const mfrgn_trainer *t, const char *path, mf_weight *tensor, names *name) {
    const mf_parameters *table = &t->model->parameters;
    mf_metadata metadata[METADATA];
    char step[32], rate[40], scale[40], since[32], option[MFRGN_TRAIN_KEY_COUNT][48];
    size_t count = list_config(t, metadata);
    for (int key = 0; key < MFRGN_TRAIN_KEY_COUNT; key++) {
        snprintf(option[key], sizeof(option[key]), "train.%s", mfrgn_train_key_name((mfrgn_train_key)key));
        metadata[count++] = (mf_metadata){option[key], mfrgn_train_options_get(&t->options, (mfrgn_train_key)key)};
    }
    snprintf(step, sizeof(step), "%lu", t->step);
    snprintf(rate, sizeof(rate), "%.17g", t->rate);
    metadata[count++] = (mf_metadata){"step", step};
    metadata[count++] = (mf_metadata){"rate", rate};
    snprintf(scale, sizeof(scale), "%.17g", t->scale);
    snprintf(since, sizeof(since), "%lu", t->since_scale);
    metadata[count++] = (mf_metadata){"scale", scale};
    metadata[count++] = (mf_metadata){"since_scale", since};
    metadata[count++] = (mf_metadata){"format", "mfrgn-trainer"};
    for (size_t i = 0; i < table->count; i++)
        for (int s = 0; s < state_count(t); s++) {
            mf_weight *w = &tensor[(size_t)s * table->count + i];
            const mf_parameter *p = &table->item[i];
            snprintf(name[i].text[s], sizeof(name[i].text[s]), "%s%s", prefix[s], p->name);
            *w = (mf_weight){.name = name[i].text[s], .dtype = t->engine.wide, .ndim = p->ndim};
            memcpy(w->dim, p->dim, sizeof(p->dim));
            w->bytes = mf_parameter_elements(p) * mf_train_value_size(t);
        }
    mf_weights_out out = {
        tensor, table->count * (size_t)state_count(t), metadata, count, give_array, (void *)(uintptr_t)t, NULL};
    return mf_safetensors_save(t->context, path, &out);
}

mfrgn_status mfrgn_trainer_save(const mfrgn_trainer *t, const char *path) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!path)
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_trainer_save: no path");
    size_t count = t->model->parameters.count;
    mf_weight *tensor = mf_calloc(t->context, count * MF_STATE_COUNT, sizeof(*tensor));
    names *name = mf_calloc(t->context, count, sizeof(*name));
    mfrgn_status status = tensor && name ? save(t, path, tensor, name)
                                         : mf_fail_memory(t->context, count * sizeof(*name), "a list of tensors");
    mf_free(t->context, tensor);
    mf_free(t->context, name);
    return status;
}

/* ---- restoring ---- */

static mfrgn_status check_config(const mfrgn_trainer *t, const char *path, const mf_weights *weights) {
    mf_metadata metadata[METADATA];
    size_t count = list_config(t, metadata);
    const char *format = mf_weights_metadata(weights, "format");
    if (!format || strcmp(format, "mfrgn-trainer") != 0)
        return mf_fail(t->context, MFRGN_ERROR_FORMAT, "%s: not the state of a trainer", path);
    for (size_t i = 0; i < count; i++) {
        const char *has = mf_weights_metadata(weights, metadata[i].key);
        if (!has || strcmp(has, metadata[i].value) != 0)
            return mf_fail(t->context, MFRGN_ERROR_MISMATCH, "%s: its network has %s %s, this trainer's %s", path,
                           metadata[i].key, has ? has : "(nothing)", metadata[i].value);
    }
    return MFRGN_OK;
}

/* All arrays are looked at before one is taken. */
static mfrgn_status find_arrays(const mfrgn_trainer *t, const char *path, const mf_weights *weights,
                                const mf_weight **found) {
    const mf_parameters *table = &t->model->parameters;
    for (size_t i = 0; i < table->count; i++)
        for (int s = 0; s < state_count(t); s++) {
            char name[MF_NAME + 16];
            const mf_parameter *p = &table->item[i];
            snprintf(name, sizeof(name), "%s%s", prefix[s], p->name);
            const mf_weight *w = mf_weights_find(weights, name);
            if (!w || w->dtype != t->engine.wide || w->bytes != mf_parameter_elements(p) * mf_train_value_size(t))
                return mf_fail(t->context, MFRGN_ERROR_MISMATCH,
                               "%s: tensor \"%s\" is missing, or of another type or shape", path, name);
            if (mf_find_nonfinite(w->dtype, w->data, mf_parameter_elements(p)) < mf_parameter_elements(p))
                return mf_fail(t->context, MFRGN_ERROR_NUMERIC, "%s: tensor \"%s\" holds NaN or infinity", path, name);
            found[(size_t)s * table->count + i] = w;
        }
    return MFRGN_OK;
}

/* The loss scale goes on from where it was; where this trainer has none of its own, or a fixed one, it stays. */
static mfrgn_status check_scale(const mfrgn_trainer *t, const char *path, const mf_weights *weights, double *scale,
                                long *since) {
    const char *s = mf_weights_metadata(weights, "scale"), *n = mf_weights_metadata(weights, "since_scale");
    *scale = t->scale;
    *since = 0;
    if (!s || !n || t->engine.compute != MF_F16 || mf_train_real(t, MFRGN_TRAIN_LOSS_SCALE) != 0)
        return MFRGN_OK;
    if (!mf_read_double(s, scale) || !(*scale >= 0x1p-24 && *scale <= 0x1p24) || !mf_read_int(n, since) || *since < 0)
        return mf_fail(t->context, MFRGN_ERROR_FORMAT, "%s: its loss scale is no number", path);
    return MFRGN_OK;
}

static mfrgn_status restore(mfrgn_trainer *t, const char *path, const mf_weights *weights, const mf_weight **found) {
    const mf_parameters *table = &t->model->parameters;
    const char *step = mf_weights_metadata(weights, "step"), *rate = mf_weights_metadata(weights, "rate");
    long steps, since;
    double r, scale;
    MF_TRY(check_config(t, path, weights));
    MF_TRY(find_arrays(t, path, weights, found));
    if (!step || !mf_read_int(step, &steps) || steps < 0 || !rate || !mf_read_double(rate, &r) || !(r >= 0 && r <= 10))
        return mf_fail(t->context, MFRGN_ERROR_FORMAT, "%s: its step or learning rate is no number", path);
    MF_TRY(check_scale(t, path, weights, &scale, &since));
    mf_engine_begin(&t->engine);
    mfrgn_status status = MFRGN_OK;
    for (size_t i = 0; i < table->count * (size_t)state_count(t) && status == MFRGN_OK; i++)
        status = mf_engine_put(&t->engine, mf_train_at(t, t->state[i / table->count], i % table->count), found[i]->data,
                               found[i]->bytes);
    mf_engine_end(&t->engine);
    MF_TRY(status);
    t->step = (unsigned long)steps;
    t->rate = r;
    t->scale = scale;
    t->since_scale = (unsigned long)since;
    return MFRGN_OK;
}

mfrgn_status mfrgn_trainer_restore(mfrgn_trainer *t, const char *path) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!path)
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_trainer_restore: no path");
    mf_weights *weights;
    MF_TRY(mf_weights_load(t->context, path, &weights));
    size_t count = t->model->parameters.count * MF_STATE_COUNT;
    const mf_weight **found = mf_calloc(t->context, count, sizeof(*found));
    mfrgn_status status = found ? restore(t, path, weights, found)
                                : mf_fail_memory(t->context, count * sizeof(*found), "a list of tensors");
    mf_free(t->context, (void *)(uintptr_t)found);
    mf_weights_free(weights);
    return status;
}
