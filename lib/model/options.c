#include "model/options.h"

#include <limits.h>

static const char *const backends[] = {"auto", "cuda", "onednn", "openblas", "ref", NULL};

static const char *const gelus[] = {"exact", "tanh", NULL};

static const mf_setting spec[MFRGN_OPTION_KEY_COUNT] = {
    [MFRGN_OPTION_BACKEND] = {"backend", MF_SETTING_CHOICE, 0, 0, backends, "auto"},
    [MFRGN_OPTION_THREADS] = {"threads", MF_SETTING_INT, 0, 256, NULL, "0"},
    [MFRGN_OPTION_PRECISION] = {"precision", MF_SETTING_CHOICE, 0, 0, mf_precisions, "f32"},
    [MFRGN_OPTION_BATCH] = {"batch", MF_SETTING_INT, 1, 4096, NULL, "1"},
    [MFRGN_OPTION_PRECROP] = {"precrop", MF_SETTING_INT, 0, 1, NULL, "0"},
    [MFRGN_OPTION_DEVICE] = {"device", MF_SETTING_INT, 0, 1023, NULL, "0"},
    [MFRGN_OPTION_MEMORY_LIMIT] = {"memory_limit", MF_SETTING_INT, 0, LONG_MAX, NULL, "0"},
    [MFRGN_OPTION_TUNING] = {"tuning", MF_SETTING_PATH, 0, 0, NULL, ""},
    [MFRGN_OPTION_GELU] = {"gelu", MF_SETTING_CHOICE, 0, 0, gelus, "exact"},
};

mfrgn_status mfrgn_options_create(mfrgn_context *context, mfrgn_options **out) {
    if (!context || !out)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_options_create: NULL argument");
    mfrgn_options *options = mf_calloc(context, 1, sizeof(*options));
    if (!options)
        return mf_fail_memory(context, sizeof(*options), "session options");
    mfrgn_status status = mf_settings_init(&options->settings, mf_context_ref(context), spec, MFRGN_OPTION_KEY_COUNT);
    if (status != MFRGN_OK)
        mfrgn_options_free(options);
    else
        *out = options;
    return status;
}

void mfrgn_options_free(mfrgn_options *options) {
    if (!options)
        return;
    mfrgn_context *context = options->settings.context;
    mf_free(context, options);
    mfrgn_context_free(context);
}

const char *mfrgn_option_key_name(mfrgn_option_key key) {
    return (unsigned)key < MFRGN_OPTION_KEY_COUNT ? spec[key].name : NULL;
}

mfrgn_status mfrgn_options_set(mfrgn_options *options, mfrgn_option_key key, const char *value) {
    return options ? mf_settings_set(&options->settings, (int)key, value) : MFRGN_ERROR_ARGUMENT;
}

mfrgn_status mfrgn_options_set_int(mfrgn_options *options, mfrgn_option_key key, long value) {
    return options ? mf_settings_set_int(&options->settings, (int)key, value) : MFRGN_ERROR_ARGUMENT;
}

const char *mfrgn_options_get(const mfrgn_options *options, mfrgn_option_key key) {
    return options ? mf_settings_get(&options->settings, (int)key) : NULL;
}

mfrgn_status mfrgn_options_bounds(mfrgn_option_key key, long *minimum, long *maximum) {
    if ((unsigned)key >= MFRGN_OPTION_KEY_COUNT || spec[key].kind != MF_SETTING_INT || !minimum || !maximum)
        return MFRGN_ERROR_ARGUMENT;
    *minimum = spec[key].minimum;
    *maximum = spec[key].maximum;
    return MFRGN_OK;
}

mfrgn_status mfrgn_options_set_stream(mfrgn_options *options, void *stream) {
    if (!options)
        return MFRGN_ERROR_ARGUMENT;
    options->native = stream;
    return MFRGN_OK;
}

mf_engine_params mf_options_engine(const mfrgn_options *o) {
    return (mf_engine_params){.backend = mf_option(o, MFRGN_OPTION_BACKEND)->text,
                              .precision = mf_option(o, MFRGN_OPTION_PRECISION)->text,
                              .threads = mf_option(o, MFRGN_OPTION_THREADS)->number,
                              .device = mf_option(o, MFRGN_OPTION_DEVICE)->number,
                              .memory_limit = (size_t)mf_option(o, MFRGN_OPTION_MEMORY_LIMIT)->number,
                              .tuning = mf_option(o, MFRGN_OPTION_TUNING)->text,
                              .native = o->native};
}
