/* What tells one model from another. */
#include <string.h>

#include "base/checksum.h"
#include "model/model.h"

typedef struct digest_job {
    mfrgn_model *model;
    uint64_t *tensor; /* of each parameter */
    size_t next;      /* atomic */
} digest_job;

static void digest_task(void *arg, int task) {
    digest_job *j = arg;
    const mf_parameters *table = &j->model->parameters;
    size_t i;
    (void)task;
    while ((i = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED)) < table->count) {
        const mf_parameter *p = &table->item[i];
        size_t bytes = mf_parameter_elements(p) * mf_dtype_size(p->stored.dtype);
        j->tensor[i] = mf_checksum(p->stored.data, bytes);
        /* the pages that reading brought in are the file's: let them go */
        if (j->model->weights)
            mf_weights_let_go(j->model->weights, mf_weights_find(j->model->weights, p->name));
    }
}

static uint64_t combine(const mfrgn_model *model, const uint64_t *tensor) {
    mf_checksum_state state;
    mf_checksum_begin(&state);
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++) {
        const char *value = mfrgn_config_get(model->config, (mfrgn_config_key)key);
        mf_checksum_add(&state, value ? value : "", strlen(value ? value : "") + 1);
    }
    for (size_t i = 0; i < model->parameters.count; i++) {
        const mf_parameter *p = &model->parameters.item[i];
        int32_t type = (int32_t)p->stored.dtype;
        mf_checksum_add(&state, p->name, strlen(p->name) + 1);
        mf_checksum_add(&state, &type, sizeof(type));
        mf_checksum_add(&state, p->dim, (size_t)p->ndim * sizeof(p->dim[0]));
        mf_checksum_add(&state, &tensor[i], sizeof(tensor[i]));
    }
    uint64_t digest = mf_checksum_end(&state);
    return digest ? digest : 1;
}

mfrgn_status mf_model_digest(mfrgn_model *model, int threads, uint64_t *digest) {
    uint64_t known = __atomic_load_n(&model->digest, __ATOMIC_RELAXED);
    if (!known) {
        size_t bytes = model->parameters.count * sizeof(uint64_t);
        digest_job j = {model, mf_alloc(model->context, bytes), 0};
        if (!j.tensor)
            return mf_fail_memory(model->context, bytes, "the model's hash");
        mf_parallel(model->context, threads < 1 ? 1 : threads, digest_task, &j);
        known = combine(model, j.tensor);
        mf_free(model->context, j.tensor);
        __atomic_store_n(&model->digest, known, __ATOMIC_RELAXED); /* two threads would find the same */
    }
    *digest = known;
    return MFRGN_OK;
}
