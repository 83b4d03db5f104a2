/* Small models and sessions for tests. */
#ifndef MFRGN_TESTS_SESSION_H
#define MFRGN_TESTS_SESSION_H

#include "model/session.h"
#include "tools/fill.h"
#include "unit.h"

/* Each test makes its own. */
static mfrgn_context *context;

static void open_context(void) {
    ck_assert_int_eq(mfrgn_context_create(NULL, &context), MFRGN_OK);
}

static void close_context(void) {
    mfrgn_context_free(context);
}

#define OK(call) ck_assert_msg((call) == MFRGN_OK, "%s: %s", #call, mfrgn_context_last_error(context))
#define FAILS(call, status, word)                                                                                      \
    do {                                                                                                               \
        ck_assert_int_eq((call), (status));                                                                            \
        ck_assert_msg(strstr(mfrgn_context_last_error(context), word), "\"%s\" does not say \"%s\"",                   \
                      mfrgn_context_last_error(context), word);                                                        \
    } while (0)

/* A preset with a small backbone and small views. */
static inline mfrgn_config *small_config(const char *preset, const char *backbone) {
    mfrgn_config *config;
    OK(mfrgn_config_create(context, preset, &config));
    OK(mfrgn_config_set(config, MFRGN_CONFIG_BACKBONE, backbone));
    OK(mfrgn_config_set(config, MFRGN_CONFIG_AERIAL_SIZE, "75x70"));
    OK(mfrgn_config_set(config, MFRGN_CONFIG_GROUND_SIZE,
                        mf_config_int(config, MFRGN_CONFIG_SHARED) ? "75x70" : "49x131"));
    return config;
}

static inline mfrgn_model *filled_model(const mfrgn_config *config) {
    static uint64_t seed = 3;
    mfrgn_model *model;
    OK(mfrgn_model_create_filled(context, config, fill_tensor, &seed, &model));
    return model;
}

/* NULL: the backend cannot be used here. */
static inline mfrgn_session *session_on(const char *backend, mfrgn_model *model, const char *precision, int batch) {
    mfrgn_options *options;
    mfrgn_session *session = NULL;
    OK(mfrgn_options_create(context, &options));
    OK(mfrgn_options_set(options, MFRGN_OPTION_BACKEND, backend));
    OK(mfrgn_options_set(options, MFRGN_OPTION_PRECISION, precision));
    OK(mfrgn_options_set_int(options, MFRGN_OPTION_BATCH, batch));
    (void)mfrgn_session_create(model, options, &session);
    mfrgn_options_free(options);
    return session;
}

static inline mfrgn_session *session_of(mfrgn_model *model, const char *precision, int batch) {
    mfrgn_session *session = session_on("ref", model, precision, batch);
    ck_assert_msg(session != NULL, "%s", mfrgn_context_last_error(context));
    return session;
}

enum { MOST_PICTURES = 4, MOST_PIXELS = 80 * 131 };

static inline void embed(mfrgn_session *session, mfrgn_view view, int n, float *out) {
    static unsigned char pixels[MOST_PICTURES][MOST_PIXELS * 3];
    mfrgn_image image[MOST_PICTURES];
    int width, height;
    mfrgn_model_input_size(session->model, view, &width, &height);
    for (int i = 0; i < n; i++) {
        fill_picture("img.test", (uint64_t)i, width, height, pixels[i]);
        image[i] = (mfrgn_image){sizeof(mfrgn_image), pixels[i], width, height, 0, MFRGN_PIXEL_RGB8};
    }
    OK(mfrgn_embed(session, view, image, (size_t)n, out));
}

#endif
