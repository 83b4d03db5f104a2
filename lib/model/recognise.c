/* The configuration of a weights file: from its metadata, or worked out from the names and shapes of its tensors.
 *
 * What names and shapes cannot tell: the attention's kind and heads (the defaults are taken), and whether a network
 * with SCAM prompts its local flow with f_g or with the initial features (f_g, as published). */
#include <stdio.h>
#include <string.h>

#include "model/config.h"

typedef struct recogniser {
    mfrgn_context *context;
    const char *path;
    const mf_weights *weights;
    mfrgn_config *config;
} recogniser;

static const mf_weight *tensor(const recogniser *r, const char *format, ...) MF_PRINTF(2, 3);

static const mf_weight *tensor(const recogniser *r, const char *format, ...) {
    char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    return mf_weights_find(r->weights, name);
}

static mfrgn_status set_int(recogniser *r, mfrgn_config_key key, int64_t value) {
    return mfrgn_config_set_int(r->config, key, (long)value);
}

static int count_blocks(const recogniser *r, const char *prefix, int resnet, int stage) {
    int n = 0;
    while (n < 256 && (resnet ? tensor(r, "%slayer%d.%d.conv1.weight", prefix, stage + 1, n)
                              : tensor(r, "%sstages.%d.blocks.%d.conv_dw.weight", prefix, stage, n)))
        n++;
    return n;
}

static mfrgn_status find_backbone(recogniser *r, const char *prefix) {
    const mf_weight *stem = tensor(r, "%sstem.0.weight", prefix);
    int resnet = !stem && tensor(r, "%sconv1.weight", prefix);
    int bottleneck = tensor(r, "%slayer1.0.conv3.weight", prefix) != NULL;
    for (const mf_backbone *b = mf_backbones; b->name; b++) {
        int same = b->resnet == resnet && b->bottleneck == (resnet && bottleneck) &&
                   (resnet || (stem && stem->ndim == 4 && stem->dim[0] == b->dim[0]));
        for (int stage = 0; stage < 4; stage++)
            same = same && count_blocks(r, prefix, resnet, stage) == b->depth[stage];
        if (same)
            return mfrgn_config_set(r->config, MFRGN_CONFIG_BACKBONE, b->name);
    }
    return mf_fail(r->context, MFRGN_ERROR_MISMATCH,
                   "%s: no backbone of this library has its tensors (looked for %sstem.0.weight and %sconv1.weight, "
                   "and the blocks of each stage)",
                   r->path, prefix, prefix);
}

static int count_layers(const recogniser *r, const char *suffix, const char *which) {
    int n = 0;
    while (n < 64 && tensor(r, "transformer%s_%s.layers.%d.norm1.weight", suffix, which, n))
        n++;
    return n;
}

static mfrgn_status find_global(recogniser *r, const char *suffix) {
    const mf_weight *proj = tensor(r, "proj%s.weight", suffix);
    if (!proj)
        return mfrgn_config_set(r->config, MFRGN_CONFIG_GLOBAL_SOURCE, "none");
    MF_TRY(set_int(r, MFRGN_CONFIG_DIM_G, proj->ndim > 0 ? proj->dim[0] : 0));
    MF_TRY(set_int(r, MFRGN_CONFIG_A, count_layers(r, suffix, "H")));
    MF_TRY(set_int(r, MFRGN_CONFIG_B, count_layers(r, suffix, "L")));
    const mf_weight *mlp = tensor(r, "transformer%s_H.layers.0.mlp.0.weight", suffix);
    if (!mlp)
        mlp = tensor(r, "transformer%s_L.layers.0.mlp.0.weight", suffix);
    return mlp && mlp->ndim > 0 ? set_int(r, MFRGN_CONFIG_FFN, mlp->dim[0]) : MFRGN_OK;
}

static mfrgn_status find_local(recogniser *r, const char *suffix) {
    const mf_weight *proj = tensor(r, "proj_local%s.weight", suffix);
    if (!proj)
        return mfrgn_config_set(r->config, MFRGN_CONFIG_LOCAL_SOURCE, "none");
    const char *source = "means";
    if (tensor(r, "proj_gl%s.0.0.weight", suffix))
        source = mf_config_int(r->config, MFRGN_CONFIG_GLOBAL_SOURCE) == MF_GLOBAL_SCAM ? "prompt" : "initial";
    else if (proj->ndim > 1 && proj->dim[1] == mf_config_backbone(r->config)->dim[3])
        source = "last";
    MF_TRY(set_int(r, MFRGN_CONFIG_DIM_L, proj->ndim > 0 ? proj->dim[0] : 0));
    return mfrgn_config_set(r->config, MFRGN_CONFIG_LOCAL_SOURCE, source);
}

/* 1 if the projection over tokens has the columns that the configuration gives this view. */
static int tokens_fit(const recogniser *r, const mfrgn_config *config, mfrgn_view view) {
    mf_view_config v;
    mf_config_view(config, view, &v);
    const mf_weight *proj = tensor(r, "proj%s.weight", v.suffix);
    return !proj || (proj->ndim > 1 && proj->dim[1] == v.tokens_low + v.tokens_high);
}

/* A checkpoint is tied to its input sizes through the projection over tokens: the first preset whose sizes and
 * pooling levels fit is taken. */
static mfrgn_status find_sizes(recogniser *r) {
    static const mfrgn_config_key keys[] = {MFRGN_CONFIG_AERIAL_SIZE, MFRGN_CONFIG_GROUND_SIZE, MFRGN_CONFIG_PPS_AERIAL,
                                            MFRGN_CONFIG_PPS_GROUND};
    for (int p = 0; mfrgn_preset_name(p); p++) {
        mfrgn_config *preset = NULL;
        mfrgn_status status = mfrgn_config_create(r->context, mfrgn_preset_name(p), &preset);
        for (size_t i = 0; i < MF_COUNT(keys) && status == MFRGN_OK; i++)
            status = mfrgn_config_set(r->config, keys[i], mfrgn_config_get(preset, keys[i]));
        mfrgn_config_free(preset);
        MF_TRY(status);
        if (tokens_fit(r, r->config, MFRGN_VIEW_AERIAL) && tokens_fit(r, r->config, MFRGN_VIEW_GROUND))
            return MFRGN_OK;
    }
    return MFRGN_OK; /* the caller's sizes may fit; else the tensor's error says what to give */
}

static mfrgn_status recognise(recogniser *r) {
    if (tensor(r, "model.stem.0.weight")) {
        MF_TRY(mfrgn_config_set_int(r->config, MFRGN_CONFIG_SAMPLE4GEO, 1));
        return find_backbone(r, "model.");
    }
    int shared = tensor(r, "proj_local.weight") || tensor(r, "proj.weight");
    const char *suffix = shared ? "" : "_sat";
    MF_TRY(find_backbone(r, "backbone.backbone."));
    MF_TRY(set_int(r, MFRGN_CONFIG_SHARED, shared));
    MF_TRY(set_int(r, MFRGN_CONFIG_PPS, tensor(r, "norm1.weight") != NULL));
    MF_TRY(find_global(r, suffix));
    MF_TRY(find_local(r, suffix));
    return find_sizes(r);
}

static mfrgn_status from_metadata(recogniser *r) {
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++) {
        const char *name = mfrgn_config_key_name((mfrgn_config_key)key);
        const char *value = mf_weights_metadata(r->weights, name);
        if (value && mfrgn_config_set(r->config, (mfrgn_config_key)key, value) != MFRGN_OK)
            return mf_fail_in(r->context, MFRGN_ERROR_FORMAT, "%s: metadata", r->path);
    }
    return MFRGN_OK;
}

static mfrgn_status override_sizes(recogniser *r, const mfrgn_load_options *options) {
    if (options && options->aerial_size)
        MF_TRY(mfrgn_config_set(r->config, MFRGN_CONFIG_AERIAL_SIZE, options->aerial_size));
    if (options && options->ground_size)
        MF_TRY(mfrgn_config_set(r->config, MFRGN_CONFIG_GROUND_SIZE, options->ground_size));
    return MFRGN_OK;
}

mfrgn_status mf_config_from_weights(mfrgn_context *context, const char *path, const mf_weights *weights,
                                    const mfrgn_load_options *options, mfrgn_config **out) {
    recogniser r = {context, path, weights, NULL};
    const char *preset = options ? options->preset : NULL;
    MF_TRY(mfrgn_config_create(context, preset, &r.config));
    mfrgn_status status = MFRGN_OK;
    if (!preset)
        status = mf_weights_metadata(weights, mfrgn_config_key_name(MFRGN_CONFIG_BACKBONE)) ? from_metadata(&r)
                                                                                            : recognise(&r);
    else if (!mf_config_int(r.config, MFRGN_CONFIG_SAMPLE4GEO)) /* a preset leaves the backbone open */
        status = find_backbone(&r, "backbone.backbone.");
    else
        status = find_backbone(&r, "model.");
    if (status == MFRGN_OK)
        status = override_sizes(&r, options);
    if (status != MFRGN_OK)
        mfrgn_config_free(r.config);
    else
        *out = r.config;
    return status;
}
