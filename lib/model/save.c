/* Saving a model: safetensors with its configuration, or for PyTorch. */
#include <math.h>
#include <string.h>

#include "model/model.h"

static int has_ending(const char *path, const char *ending) {
    size_t n = strlen(path), m = strlen(ending);
    return n > m && strcmp(path + n - m, ending) == 0;
}

static mf_dtype storage_of(mfrgn_dtype dtype) {
    static const mf_dtype stored[] = {MF_F32, MF_F64, MF_F16, MF_BF16};
    return stored[dtype];
}

/* Vectors are a thousandth of the weights and steer the rest: they stay f32 beside 16-bit matrices. */
static mf_dtype storage_for(const mf_parameter *p, mf_dtype storage) {
    return p->ndim < 2 && (storage == MF_F16 || storage == MF_BF16) ? MF_F32 : storage;
}

typedef struct saver {
    const mfrgn_model *model;
    const mf_weight *tensor;
    const char *path;
} saver;

static mfrgn_status give_tensor(void *user, size_t index, void *data) {
    const saver *s = user;
    const mf_parameter *p = &s->model->parameters.item[index];
    size_t count = mf_parameter_elements(p);
    mf_convert(s->tensor[index].dtype, data, p->stored.dtype, p->stored.data, count);
    size_t bad = mf_find_nonfinite(s->tensor[index].dtype, data, count);
    if (bad < count)
        return mf_fail(s->model->context, MFRGN_ERROR_NUMERIC,
                       "%s: tensor \"%s\" has a value at %zu that is not finite as %s", s->path, p->name, bad,
                       mf_dtype_name(s->tensor[index].dtype));
    return MFRGN_OK;
}

static mfrgn_status save(const mfrgn_model *model, const char *path, mf_dtype storage, const mfrgn_progress *progress,
                         mf_weight *tensor) {
    mf_metadata metadata[MFRGN_CONFIG_KEY_COUNT + 1];
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++)
        metadata[key] = (mf_metadata){mfrgn_config_key_name((mfrgn_config_key)key),
                                      mfrgn_config_get(model->config, (mfrgn_config_key)key)};
    metadata[MFRGN_CONFIG_KEY_COUNT] = (mf_metadata){"format", "mfrgn"};
    for (size_t i = 0; i < model->parameters.count; i++) {
        const mf_parameter *p = &model->parameters.item[i];
        mf_weight *w = &tensor[i];
        w->name = p->name;
        w->dtype = storage_for(p, storage);
        w->ndim = p->ndim;
        memcpy(w->dim, p->dim, sizeof(p->dim));
        w->bytes = mf_parameter_elements(p) * mf_dtype_size(w->dtype);
    }
    saver s = {model, tensor, path};
    mf_weights_out out = {tensor, model->parameters.count, metadata, MF_COUNT(metadata), give_tensor, &s, progress};
    return has_ending(path, ".safetensors") ? mf_safetensors_save(model->context, path, &out)
                                            : mf_pth_save(model->context, path, &out);
}

mfrgn_status mfrgn_model_save(const mfrgn_model *model, const char *path, mfrgn_dtype storage,
                              const mfrgn_progress *progress) {
    if (!model)
        return MFRGN_ERROR_ARGUMENT;
    if (!path || (unsigned)storage > MFRGN_DTYPE_BF16)
        return mf_fail(model->context, MFRGN_ERROR_ARGUMENT, "mfrgn_model_save: no path, or an unknown storage type");
    if (!has_ending(path, ".safetensors") && !has_ending(path, ".pth") && !has_ending(path, ".pt"))
        return mf_fail(model->context, MFRGN_ERROR_ARGUMENT, "%s: must end in .safetensors, .pth or .pt", path);
    mf_weight *tensor = mf_calloc(model->context, model->parameters.count, sizeof(*tensor));
    if (!tensor)
        return mf_fail_memory(model->context, model->parameters.count * sizeof(*tensor), "a list of tensors");
    mfrgn_status status = save(model, path, storage_of(storage), progress, tensor);
    mf_free(model->context, tensor);
    return status;
}
