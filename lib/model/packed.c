/* Constants in the backends' forms, one copy for all sessions of a model. */
#include <string.h>

#include "model/model.h"

static mf_packed *find(mfrgn_model *model, const char *key) {
    for (mf_packed *p = model->packed; p; p = p->link)
        if (strcmp(p->key, key) == 0)
            return p;
    return NULL;
}

static void destroy(mfrgn_model *model, mf_packed *p) {
    if (!p)
        return;
    mf_free(model->context, p->key);
    mf_engine_free_later(model->context, p->backend, p->data);
    mf_free(model->context, p);
}

static mfrgn_status create(mfrgn_model *model, const mf_engine *engine, const char *key, size_t bytes,
                           mf_packed **out) {
    mf_packed *p = mf_calloc(model->context, 1, sizeof(*p));
    mfrgn_status status = MFRGN_ERROR_MEMORY;
    if (p) {
        p->key = mf_strdup(model->context, key);
        p->backend = engine->backend;
        p->bytes = bytes;
    }
    if (!p || !p->key)
        mf_fail_memory(model->context, strlen(key), "prepared weights");
    else
        status = mf_engine_alloc(engine, bytes, "prepared weights", &p->data);
    if (status != MFRGN_OK)
        destroy(model, p);
    else
        *out = p;
    return status;
}

static void unlink_packed(mfrgn_model *model, mf_packed *p) {
    mf_packed **link = &model->packed;
    while (*link != p)
        link = &(*link)->link;
    *link = p->link;
}

/* Under the lock. The caller's reference is given back. */
static void release(mfrgn_model *model, mf_packed *p) {
    if (--p->references > 0)
        return;
    unlink_packed(model, p);
    destroy(model, p);
}

mfrgn_status mf_packed_get(mfrgn_model *model, const mf_engine *engine, const char *key, size_t bytes, mf_make make,
                           void *user, mf_packed **out) {
    pthread_mutex_lock(&model->lock);
    mf_packed *p = find(model, key);
    if (p) {
        p->references++;
        while (p->ready == 0)
            pthread_cond_wait(&model->made, &model->lock);
        int ready = p->ready > 0;
        if (!ready)
            release(model, p);
        pthread_mutex_unlock(&model->lock);
        if (ready) {
            *out = p;
            return MFRGN_OK;
        }
        return mf_fail(model->context, MFRGN_ERROR_INTERNAL, "another session failed to prepare the same weights");
    }
    mfrgn_status status = create(model, engine, key, bytes, &p);
    if (status != MFRGN_OK) {
        pthread_mutex_unlock(&model->lock);
        return status;
    }
    p->references = 1;
    p->link = model->packed;
    model->packed = p;
    pthread_mutex_unlock(&model->lock);

    status = make(user, p->data);

    pthread_mutex_lock(&model->lock);
    p->ready = status == MFRGN_OK ? 1 : -1;
    pthread_cond_broadcast(&model->made);
    if (status != MFRGN_OK)
        release(model, p);
    pthread_mutex_unlock(&model->lock);
    if (status == MFRGN_OK)
        *out = p;
    return status;
}

void mf_packed_release(mfrgn_model *model, mf_packed *p) {
    if (!p)
        return;
    pthread_mutex_lock(&model->lock);
    release(model, p);
    pthread_mutex_unlock(&model->lock);
}
