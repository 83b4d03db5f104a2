#include "model/config.h"

#include <string.h>

const mf_backbone mf_backbones[] = {
    {"convnext_atto", 0, 0, 1, {2, 2, 6, 2}, {40, 80, 160, 320}},
    {"convnext_femto", 0, 0, 1, {2, 2, 6, 2}, {48, 96, 192, 384}},
    {"convnext_pico", 0, 0, 1, {2, 2, 6, 2}, {64, 128, 256, 512}},
    {"convnext_nano", 0, 0, 1, {2, 2, 8, 2}, {80, 160, 320, 640}},
    {"convnext_tiny", 0, 0, 0, {3, 3, 9, 3}, {96, 192, 384, 768}},
    {"convnext_small", 0, 0, 0, {3, 3, 27, 3}, {96, 192, 384, 768}},
    {"convnext_base", 0, 0, 0, {3, 3, 27, 3}, {128, 256, 512, 1024}},
    {"convnext_large", 0, 0, 0, {3, 3, 27, 3}, {192, 384, 768, 1536}},
    {"resnet18", 1, 0, 0, {2, 2, 2, 2}, {64, 128, 256, 512}},
    {"resnet34", 1, 0, 0, {3, 4, 6, 3}, {64, 128, 256, 512}},
    {"resnet50", 1, 1, 0, {3, 4, 6, 3}, {256, 512, 1024, 2048}},
    {NULL, 0, 0, 0, {0}, {0}},
};

/* The same names in the same order. */
static const char *const backbone_names[] = {"convnext_atto", "convnext_femto", "convnext_pico", "convnext_nano",
                                             "convnext_tiny", "convnext_small", "convnext_base", "convnext_large",
                                             "resnet18",      "resnet34",       "resnet50",      NULL};
static const char *const attention_names[] = {"linear", "full", NULL};
static const char *const global_names[] = {"none", "scam", NULL};
static const char *const local_names[] = {"none", "last", "means", "initial", "prompt", NULL};

static const mf_setting spec[MFRGN_CONFIG_KEY_COUNT] = {
    [MFRGN_CONFIG_BACKBONE] = {"backbone", MF_SETTING_CHOICE, 0, 0, backbone_names, "convnext_base"},
    [MFRGN_CONFIG_AERIAL_SIZE] = {"sat_size", MF_SETTING_PAIRS, 1, 1, NULL, "256x256"},
    [MFRGN_CONFIG_GROUND_SIZE] = {"grd_size", MF_SETTING_PAIRS, 1, 1, NULL, "128x512"},
    [MFRGN_CONFIG_PPS] = {"pps", MF_SETTING_INT, 0, 1, NULL, "1"},
    [MFRGN_CONFIG_SHARED] = {"shared", MF_SETTING_INT, 0, 1, NULL, "0"},
    [MFRGN_CONFIG_FFN] = {"ffn", MF_SETTING_INT, 1, 65536, NULL, "1024"},
    [MFRGN_CONFIG_ATTENTION] = {"attention", MF_SETTING_CHOICE, 0, 0, attention_names, "linear"},
    [MFRGN_CONFIG_A] = {"a", MF_SETTING_INT, 0, 64, NULL, "2"},
    [MFRGN_CONFIG_B] = {"b", MF_SETTING_INT, 0, 64, NULL, "1"},
    [MFRGN_CONFIG_HEADS] = {"heads", MF_SETTING_INT, 1, MF_EMBED, NULL, "4"},
    [MFRGN_CONFIG_DIM_G] = {"dim_g", MF_SETTING_INT, 1, 4096, NULL, "14"},
    [MFRGN_CONFIG_DIM_L] = {"dim_l", MF_SETTING_INT, 1, 65536, NULL, "256"},
    [MFRGN_CONFIG_GLOBAL_SOURCE] = {"global_source", MF_SETTING_CHOICE, 0, 0, global_names, "scam"},
    [MFRGN_CONFIG_LOCAL_SOURCE] = {"local_source", MF_SETTING_CHOICE, 0, 0, local_names, "prompt"},
    [MFRGN_CONFIG_SAMPLE4GEO] = {"sample4geo", MF_SETTING_INT, 0, 1, NULL, "0"},
    [MFRGN_CONFIG_PPS_AERIAL] = {"pps_sat", MF_SETTING_PAIRS, 1, MF_PAIRS, NULL, "1x1,6x6,12x12,21x21"},
    [MFRGN_CONFIG_PPS_GROUND] = {"pps_grd", MF_SETTING_PAIRS, 1, MF_PAIRS, NULL, "1x1,3x12,6x24,7x63"},
};

/* What a preset changes of the defaults above, which are "cvusa". */
static const struct {
    const char *name;
    struct {
        mfrgn_config_key key;
        const char *value;
    } change[6];
} presets[] = {
    {"cvusa", {{0}}},
    {"cvact", {{0}}},
    {"vigor", {{MFRGN_CONFIG_AERIAL_SIZE, "320x320"}, {MFRGN_CONFIG_GROUND_SIZE, "320x640"}}},
    {"u1652",
     {{MFRGN_CONFIG_AERIAL_SIZE, "384x384"}, {MFRGN_CONFIG_GROUND_SIZE, "384x384"}, {MFRGN_CONFIG_SHARED, "1"}}},
    {"paper",
     {{MFRGN_CONFIG_GROUND_SIZE, "128x256"},
      {MFRGN_CONFIG_FFN, "2048"},
      {MFRGN_CONFIG_PPS_GROUND, "1x1,3x12,6x24,7x36"}}},
    {"sample4geo", {{MFRGN_CONFIG_SAMPLE4GEO, "1"}}},
    {"baseline",
     {{MFRGN_CONFIG_PPS, "0"},
      {MFRGN_CONFIG_GLOBAL_SOURCE, "none"},
      {MFRGN_CONFIG_LOCAL_SOURCE, "last"},
      {MFRGN_CONFIG_DIM_L, "2048"}}},
    {"mbaseline",
     {{MFRGN_CONFIG_PPS, "0"},
      {MFRGN_CONFIG_GLOBAL_SOURCE, "none"},
      {MFRGN_CONFIG_LOCAL_SOURCE, "means"},
      {MFRGN_CONFIG_DIM_L, "2048"}}},
    {"mbaseline+l-ini",
     {{MFRGN_CONFIG_PPS, "0"},
      {MFRGN_CONFIG_GLOBAL_SOURCE, "none"},
      {MFRGN_CONFIG_LOCAL_SOURCE, "initial"},
      {MFRGN_CONFIG_DIM_L, "2048"}}},
    {"mbaseline+g", {{MFRGN_CONFIG_PPS, "0"}, {MFRGN_CONFIG_LOCAL_SOURCE, "means"}}},
    {"mbaseline+g+l-ini", {{MFRGN_CONFIG_PPS, "0"}, {MFRGN_CONFIG_LOCAL_SOURCE, "initial"}}},
    {"mbaseline+g+l-p", {{MFRGN_CONFIG_PPS, "0"}}},
};

const char *mfrgn_preset_name(int index) {
    return index >= 0 && (size_t)index < MF_COUNT(presets) ? presets[index].name : NULL;
}

const char *mfrgn_config_key_name(mfrgn_config_key key) {
    return (unsigned)key < MFRGN_CONFIG_KEY_COUNT ? spec[key].name : NULL;
}

static mfrgn_status apply_preset(mfrgn_config *config, const char *name) {
    for (size_t p = 0; p < MF_COUNT(presets); p++) {
        if (strcmp(presets[p].name, name) != 0)
            continue;
        for (size_t i = 0; i < MF_COUNT(presets[p].change) && presets[p].change[i].value; i++)
            MF_TRY(mf_settings_set(&config->settings, presets[p].change[i].key, presets[p].change[i].value));
        return MFRGN_OK;
    }
    char list[512] = "";
    for (size_t p = 0, at = 0; p < MF_COUNT(presets); p++) {
        size_t n = strlen(presets[p].name);
        memcpy(list + at, presets[p].name, n);
        memcpy(list + at + n, ", ", 3);
        at += p + 1 < MF_COUNT(presets) ? n + 2 : n;
        list[at] = 0;
    }
    return mf_fail(config->settings.context, MFRGN_ERROR_ARGUMENT, "preset \"%s\": none of %s", name, list);
}

mfrgn_status mfrgn_config_create(mfrgn_context *context, const char *preset, mfrgn_config **out) {
    if (!context || !out)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_config_create: NULL argument");
    mfrgn_config *config = mf_calloc(context, 1, sizeof(*config));
    if (!config)
        return mf_fail_memory(context, sizeof(*config), "a configuration");
    mfrgn_status status = mf_settings_init(&config->settings, mf_context_ref(context), spec, MFRGN_CONFIG_KEY_COUNT);
    if (status == MFRGN_OK)
        status = apply_preset(config, preset ? preset : "cvusa");
    if (status != MFRGN_OK)
        mfrgn_config_free(config);
    else
        *out = config;
    return status;
}

mfrgn_status mfrgn_config_copy(const mfrgn_config *config, mfrgn_config **copy) {
    if (!config || !copy)
        return MFRGN_ERROR_ARGUMENT;
    mfrgn_context *context = config->settings.context;
    mfrgn_config *made = mf_alloc(context, sizeof(*made));
    if (!made)
        return mf_fail_memory(context, sizeof(*made), "a configuration");
    *made = *config;
    mf_context_ref(context);
    *copy = made;
    return MFRGN_OK;
}

void mfrgn_config_free(mfrgn_config *config) {
    if (!config)
        return;
    mfrgn_context *context = config->settings.context;
    mf_free(context, config);
    mfrgn_context_free(context);
}

mfrgn_status mfrgn_config_set(mfrgn_config *config, mfrgn_config_key key, const char *value) {
    return config ? mf_settings_set(&config->settings, (int)key, value) : MFRGN_ERROR_ARGUMENT;
}

mfrgn_status mfrgn_config_set_int(mfrgn_config *config, mfrgn_config_key key, long value) {
    return config ? mf_settings_set_int(&config->settings, (int)key, value) : MFRGN_ERROR_ARGUMENT;
}

const char *mfrgn_config_get(const mfrgn_config *config, mfrgn_config_key key) {
    return config ? mf_settings_get(&config->settings, (int)key) : NULL;
}

mfrgn_status mfrgn_config_bounds(mfrgn_config_key key, long *minimum, long *maximum) {
    if ((unsigned)key >= MFRGN_CONFIG_KEY_COUNT || spec[key].kind != MF_SETTING_INT || !minimum || !maximum)
        return MFRGN_ERROR_ARGUMENT;
    *minimum = spec[key].minimum;
    *maximum = spec[key].maximum;
    return MFRGN_OK;
}

const mf_backbone *mf_config_backbone(const mfrgn_config *c) {
    return &mf_backbones[mf_config_int(c, MFRGN_CONFIG_BACKBONE)];
}

static int half_up(int n) {
    return (n + 1) / 2;
}

/* ConvNeXt's strides floor, ResNet's padded ones ceil; S4 is S3 by a padded 3x3 of stride 2. */
static void find_scales(const mf_backbone *b, mf_view_config *v) {
    for (int side = 0; side < 2; side++) {
        int n = side ? v->width : v->height;
        n = b->resnet ? half_up(half_up(n)) : n / 4;
        for (int i = 0; i < 3; i++) {
            n = b->resnet ? half_up(n) : n / 2;
            v->scale[i][side] = n;
        }
        v->scale[3][side] = half_up(n);
    }
    for (int i = 0; i < 3; i++)
        v->channels[i] = b->dim[i + 1];
    v->channels[3] = MF_EMBED;
}

void mf_config_view(const mfrgn_config *c, mfrgn_view view, mf_view_config *v) {
    const mf_setting_value *value = c->settings.value;
    int shared = mf_config_int(c, MFRGN_CONFIG_SHARED) != 0;
    int ground = view == MFRGN_VIEW_GROUND;
    const mf_setting_value *size = &value[ground ? MFRGN_CONFIG_GROUND_SIZE : MFRGN_CONFIG_AERIAL_SIZE];
    memset(v, 0, sizeof(*v));
    v->height = size->pair[0][0];
    v->width = size->pair[0][1];
    v->ground = ground && !shared;
    v->suffix = shared ? "" : ground ? "_grd" : "_sat";
    find_scales(mf_config_backbone(c), v);
    const mf_setting_value *levels = &value[v->ground ? MFRGN_CONFIG_PPS_GROUND : MFRGN_CONFIG_PPS_AERIAL];
    v->pps = mf_config_int(c, MFRGN_CONFIG_PPS) != 0;
    v->level_count = (int)levels->number;
    memcpy(v->levels, levels->pair, sizeof(v->levels));
    v->tokens_low = v->pps ? 0 : (int64_t)v->scale[0][0] * v->scale[0][1];
    for (int i = 0; v->pps && i < v->level_count; i++)
        v->tokens_low += (int64_t)v->levels[i][0] * v->levels[i][1];
    for (int i = 1; i < 4; i++)
        v->tokens_high += (int64_t)v->scale[i][0] * v->scale[i][1];
}

int mf_config_descriptor_size(const mfrgn_config *c) {
    if (mf_config_int(c, MFRGN_CONFIG_SAMPLE4GEO))
        return mf_config_backbone(c)->dim[3];
    int global = mf_config_int(c, MFRGN_CONFIG_GLOBAL_SOURCE) == MF_GLOBAL_SCAM;
    int local = mf_config_int(c, MFRGN_CONFIG_LOCAL_SOURCE) != MF_LOCAL_NONE;
    return (global ? MF_EMBED * (int)mf_config_int(c, MFRGN_CONFIG_DIM_G) : 0) +
           (local ? (int)mf_config_int(c, MFRGN_CONFIG_DIM_L) : 0);
}

mfrgn_status mfrgn_config_validate(const mfrgn_config *config) {
    if (!config)
        return MFRGN_ERROR_ARGUMENT;
    mfrgn_context *context = config->settings.context;
    mf_view_config view[2];
    for (int i = 0; i < 2; i++) {
        mf_config_view(config, (mfrgn_view)i, &view[i]);
        if (view[i].height < 32 || view[i].width < 32 || view[i].height > 8192 || view[i].width > 8192)
            return mf_fail(context, MFRGN_ERROR_ARGUMENT, "%s: %dx%d, each side must be 32 to 8192",
                           spec[i ? MFRGN_CONFIG_AERIAL_SIZE : MFRGN_CONFIG_GROUND_SIZE].name, view[i].height,
                           view[i].width);
        if (view[i].tokens_low > 65536 || view[i].tokens_high > 65536)
            return mf_fail(context, MFRGN_ERROR_ARGUMENT, "%lld + %lld tokens: at most 65536 of each are possible",
                           (long long)view[i].tokens_low, (long long)view[i].tokens_high);
    }
    if (mf_config_int(config, MFRGN_CONFIG_SAMPLE4GEO)) {
        if (mf_config_backbone(config)->resnet)
            return mf_fail(context, MFRGN_ERROR_ARGUMENT, "sample4geo: needs a ConvNeXt, backbone is %s",
                           mf_config_backbone(config)->name);
        return MFRGN_OK;
    }
    if (MF_EMBED % mf_config_int(config, MFRGN_CONFIG_HEADS))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "heads: %ld does not divide %d",
                       mf_config_int(config, MFRGN_CONFIG_HEADS), MF_EMBED);
    if (mf_config_descriptor_size(config) == 0)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "global_source and local_source are both none");
    int scam = mf_config_int(config, MFRGN_CONFIG_GLOBAL_SOURCE) == MF_GLOBAL_SCAM;
    if (!scam && mf_config_int(config, MFRGN_CONFIG_LOCAL_SOURCE) == MF_LOCAL_PROMPT)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "local_source prompt: needs global_source scam");
    if (scam && mf_config_int(config, MFRGN_CONFIG_SHARED) &&
        (view[0].tokens_low != view[1].tokens_low || view[0].tokens_high != view[1].tokens_high))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT,
                       "shared: one head needs equal token counts, sat_size gives %lld and grd_size %lld",
                       (long long)(view[1].tokens_low + view[1].tokens_high),
                       (long long)(view[0].tokens_low + view[0].tokens_high));
    return MFRGN_OK;
}
