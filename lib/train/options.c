#include "train/options.h"

static const char *const backends[] = {"auto", "cuda", "onednn", "openblas", "ref", NULL};
static const char *const precisions[] = {"f32", "f64", "tf32", "bf16", "f16", NULL};

static const mf_setting spec[MFRGN_TRAIN_KEY_COUNT] = {
    [MFRGN_TRAIN_BACKEND] = {.name = "backend", .kind = MF_SETTING_CHOICE, .choices = backends, .initial = "auto"},
    [MFRGN_TRAIN_THREADS] = {.name = "threads", .kind = MF_SETTING_INT, .maximum = 256, .initial = "0"},
    [MFRGN_TRAIN_PRECISION] = {.name = "precision", .kind = MF_SETTING_CHOICE, .choices = precisions, .initial = "f32"},
    [MFRGN_TRAIN_SEED] = {.name = "seed", .kind = MF_SETTING_INT, .maximum = 2147483647, .initial = "0"},
    [MFRGN_TRAIN_CHUNK] = {.name = "chunk", .kind = MF_SETTING_INT, .maximum = 65536, .initial = "0"},
    [MFRGN_TRAIN_RECOMPUTE] = {.name = "recompute", .kind = MF_SETTING_INT, .maximum = 1, .initial = "0"},
    [MFRGN_TRAIN_DROPOUT] = {.name = "dropout", .kind = MF_SETTING_REAL, .initial = "0.3", .most = 0.9},
    [MFRGN_TRAIN_LABEL_SMOOTHING] = {.name = "label_smoothing", .kind = MF_SETTING_REAL, .initial = "0.1", .most = 1},
    [MFRGN_TRAIN_LEARNING_RATE] = {.name = "learning_rate", .kind = MF_SETTING_REAL, .initial = "1e-4", .most = 10},
    [MFRGN_TRAIN_BACKBONE_FACTOR] = {.name = "backbone_factor", .kind = MF_SETTING_REAL, .initial = "1", .most = 100},
    [MFRGN_TRAIN_WEIGHT_DECAY] = {.name = "weight_decay", .kind = MF_SETTING_REAL, .initial = "0.01", .most = 10},
    [MFRGN_TRAIN_DECAY_ALL] = {.name = "decay_all", .kind = MF_SETTING_INT, .maximum = 1, .initial = "1"},
    [MFRGN_TRAIN_BETA1] = {.name = "beta1", .kind = MF_SETTING_REAL, .initial = "0.9", .most = 0.999999},
    [MFRGN_TRAIN_BETA2] = {.name = "beta2", .kind = MF_SETTING_REAL, .initial = "0.999", .most = 0.99999999},
    [MFRGN_TRAIN_EPSILON] = {.name = "epsilon", .kind = MF_SETTING_REAL, .initial = "1e-8", .least = 1e-30, .most = 1},
    [MFRGN_TRAIN_CLIP_VALUE] = {.name = "clip_value", .kind = MF_SETTING_REAL, .initial = "100", .most = 1e30},
    [MFRGN_TRAIN_CLIP_NORM] = {.name = "clip_norm", .kind = MF_SETTING_REAL, .initial = "0", .most = 1e30},
    [MFRGN_TRAIN_EMA] = {.name = "ema", .kind = MF_SETTING_REAL, .initial = "0", .most = 0.9999999},
    [MFRGN_TRAIN_DEVICE] = {.name = "device", .kind = MF_SETTING_INT, .maximum = 1023, .initial = "0"},
    [MFRGN_TRAIN_TUNING] = {.name = "tuning", .kind = MF_SETTING_PATH, .initial = ""},
    [MFRGN_TRAIN_LOSS_SCALE] = {.name = "loss_scale", .kind = MF_SETTING_REAL, .initial = "0", .most = 16777216},
};

mfrgn_status mfrgn_train_options_create(mfrgn_context *context, mfrgn_train_options **out) {
    if (!context || !out)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_train_options_create: NULL argument");
    mfrgn_train_options *options = mf_calloc(context, 1, sizeof(*options));
    if (!options)
        return mf_fail_memory(context, sizeof(*options), "training options");
    mfrgn_status status = mf_settings_init(&options->settings, mf_context_ref(context), spec, MFRGN_TRAIN_KEY_COUNT);
    if (status != MFRGN_OK)
        mfrgn_train_options_free(options);
    else
        *out = options;
    return status;
}

void mfrgn_train_options_free(mfrgn_train_options *options) {
    if (!options)
        return;
    mfrgn_context *context = options->settings.context;
    mf_free(context, options);
    mfrgn_context_free(context);
}

const char *mfrgn_train_key_name(mfrgn_train_key key) {
    return (unsigned)key < MFRGN_TRAIN_KEY_COUNT ? spec[key].name : NULL;
}

mfrgn_status mfrgn_train_options_set(mfrgn_train_options *options, mfrgn_train_key key, const char *value) {
    return options ? mf_settings_set(&options->settings, (int)key, value) : MFRGN_ERROR_ARGUMENT;
}

const char *mfrgn_train_options_get(const mfrgn_train_options *options, mfrgn_train_key key) {
    return options ? mf_settings_get(&options->settings, (int)key) : NULL;
}
