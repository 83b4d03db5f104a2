/* What descriptors were made with: a model and the preparation of its aerial pictures. */
#include <string.h>

#include "gallery/index.h"

/* Bumped whenever lib/io/resize.c or prepare.c computes other values. */
#define PREPARATION "RGB, INTER_AREA 1, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"

void mf_maker_free(mfrgn_context *context, mf_maker *maker) {
    mf_free(context, maker->model_name);
    mf_free(context, maker->preparation_name);
    memset(maker, 0, sizeof(*maker));
}

mfrgn_status mf_maker_of(const mfrgn_session *session, mf_maker *maker) {
    mfrgn_context *context = session->context;
    const mfrgn_config *config = session->model->config;
    mf_view_config view;
    memset(maker, 0, sizeof(*maker));
    MF_TRY(mf_model_digest(session->model, session->engine.threads, &maker->model));
    mf_config_view(config, MFRGN_VIEW_AERIAL, &view);
    maker->model_name = mf_format(context, "%s aerial %s ground %s [%016llx]",
                                  mfrgn_config_get(config, MFRGN_CONFIG_BACKBONE),
                                  mfrgn_config_get(config, MFRGN_CONFIG_AERIAL_SIZE),
                                  mfrgn_config_get(config, MFRGN_CONFIG_GROUND_SIZE),
                                  (unsigned long long)maker->model);
    maker->preparation_name = mf_format(context, "%dx%d " PREPARATION, view.height, view.width);
    if (!maker->model_name || !maker->preparation_name) {
        mf_maker_free(context, maker);
        return mf_fail_memory(context, 256, "the model's name");
    }
    maker->preparation = mf_checksum(maker->preparation_name, strlen(maker->preparation_name));
    return MFRGN_OK;
}

mfrgn_status mfrgn_index_check_model(const mfrgn_index *index, const mfrgn_session *session) {
    if (!index)
        return MFRGN_ERROR_ARGUMENT;
    if (!session)
        return mf_fail(index->context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_check_model: the session is NULL");
    mf_maker maker;
    mfrgn_status status = mf_maker_of(session, &maker);
    if (status != MFRGN_OK)
        return mf_fail(index->context, status, "%s", mfrgn_context_last_error(session->context));
    if (maker.model != index->header.model)
        status = mf_fail(index->context, MFRGN_ERROR_MISMATCH,
                         "%s: was built with the model %s; this one is %s: use that model, or build the gallery again",
                         index->path, index->model, maker.model_name);
    else if (maker.preparation != index->header.preparation)
        status = mf_fail(index->context, MFRGN_ERROR_MISMATCH,
                         "%s: its pictures were prepared as %s; this library does %s: build the gallery again",
                         index->path, index->preparation, maker.preparation_name);
    mf_maker_free(session->context, &maker);
    return status;
}
