/* Presets of recipes: the published ones, the paper's ablations, and small ones that a machine without a GPU trains. */
#include <stdio.h>
#include <string.h>

#include "train/recipe.h"

typedef struct preset {
    const char *name, *network;
    const char *about;
    const char *const *change; /* "name", "value", ..; ends with NULL */
} preset;

/* The table's defaults are the published recipe. */
static const char *const none[] = {NULL};
static const char *const vigor[] = {"run.epochs", "70", NULL};
static const char *const u1652[] = {"run.epochs",
                                    "3",
                                    "run.batch",
                                    "96",
                                    "run.evaluate_every",
                                    "1",
                                    "train.learning_rate",
                                    "5e-4",
                                    "schedule.warmup",
                                    "0.1",
                                    "augment.ground",
                                    "picture",
                                    "augment.rotate",
                                    "0",
                                    "augment.turn_aerial",
                                    "1",
                                    NULL};
static const char *const plus_cvact[] = {
    "sampler.kind", "gps+dss", "sampler.select", "32", "sampler.range", "64", "data.precrop", "1", NULL};
static const char *const plus_cvusa[] = {"sampler.kind", "gps+dss", "sampler.select", "64", "sampler.range",
                                         "128",          NULL};
static const char *const plus_vigor[] = {
    "run.epochs", "70", "sampler.kind", "gps+dss", "sampler.select", "64", "sampler.range", "128", NULL};
static const char *const sampling[] = {"sampler.kind", "gps+dss", "sampler.select", "32", "sampler.range", "64", NULL};
static const char *const precrop[] = {"data.precrop", "1", NULL};
static const char *const full_attention[] = {"network.attention", "full", NULL};

/* Small inputs and the smallest ConvNeXt, from scratch. */
static const char *const demo[] = {"network.backbone",
                                   "convnext_atto",
                                   "network.sat_size",
                                   "128x128",
                                   "network.grd_size",
                                   "64x256",
                                   "network.shared",
                                   "1",
                                   "network.pps",
                                   "0",
                                   "run.epochs",
                                   "12",
                                   "run.batch",
                                   "32",
                                   "run.evaluate_every",
                                   "3",
                                   "train.learning_rate",
                                   "8e-4",
                                   "train.weight_decay",
                                   "0.05",
                                   "train.dropout",
                                   "0.1",
                                   "augment.jpeg",
                                   "0",
                                   "augment.dropout",
                                   "0",
                                   "augment.sharpness",
                                   "0.1",
                                   NULL};
static const char *const u1652_mini[] = {"network.backbone",
                                         "convnext_atto",
                                         "network.sat_size",
                                         "128x128",
                                         "network.grd_size",
                                         "128x128",
                                         "network.shared",
                                         "1",
                                         "network.pps",
                                         "0",
                                         "run.epochs",
                                         "30",
                                         "run.batch",
                                         "32",
                                         "run.evaluate_every",
                                         "5",
                                         "train.learning_rate",
                                         "5e-4",
                                         "train.weight_decay",
                                         "0.05",
                                         "augment.ground",
                                         "picture",
                                         "augment.rotate",
                                         "0",
                                         "augment.turn_aerial",
                                         "1",
                                         "augment.turn_ground",
                                         "1",
                                         "augment.jpeg",
                                         "0",
                                         "augment.sharpness",
                                         "0",
                                         "augment.dropout",
                                         "0",
                                         "augment.crop",
                                         "0.8",
                                         "augment.crop_area",
                                         "0.6",
                                         "augment.colour",
                                         "0.8",
                                         "augment.brightness",
                                         "0.3",
                                         "augment.contrast",
                                         "0.3",
                                         "augment.saturation",
                                         "0.3",
                                         "augment.hue",
                                         "0.05",
                                         "augment.cutout",
                                         "0.5",
                                         NULL};

static const preset presets[] = {
    {"cvusa", "cvusa", "the published recipe", none},
    {"cvact", "cvact", "the published recipe", none},
    {"vigor", "vigor", "the published recipe: 320x320 and 320x640, 70 epochs", vigor},
    {"u1652", "u1652", "the published recipe: one head, rate 5e-4, 3 epochs of 96 pairs", u1652},
    {"mfrgn+", "cvact", "CVACT with pre-crop and hard negatives (32 of 64 neighbours)", plus_cvact},
    {"mfrgn+cvusa", "cvusa", "CVUSA with hard negatives (64 of 128 neighbours)", plus_cvusa},
    {"mfrgn+vigor", "vigor", "VIGOR with hard negatives (64 of 128 neighbours)", plus_vigor},
    {"cvact-precrop", "cvact", "CVACT with pre-crop alone", precrop},
    {"cvact-sampling", "cvact", "CVACT with hard negatives alone", sampling},
    {"baseline", "baseline", "ablation: the backbone's last map", none},
    {"mbaseline", "mbaseline", "ablation: the means of three maps", none},
    {"mbaseline+l-ini", "mbaseline+l-ini", "ablation: local prompts of the initial features", none},
    {"mbaseline+g", "mbaseline+g", "ablation: the global flow (SCAM)", none},
    {"mbaseline+g+l-ini", "mbaseline+g+l-ini", "ablation: global flow and initial local prompts", none},
    {"mbaseline+g+l-p", "mbaseline+g+l-p", "ablation: global flow and its prompts, without PPS", none},
    {"mbaseline+g+l-p-full", "mbaseline+g+l-p", "ablation: the same with full attention", full_attention},
    {"demo", "cvusa", "128x128 and 64x256, convnext_atto, one head: an hour on two cores", demo},
    {"u1652-mini", "u1652", "128x128, convnext_atto: some hundred pairs from scratch", u1652_mini},
};

const char *mfrgn_recipe_preset_name(int index) {
    return index >= 0 && (size_t)index < MF_COUNT(presets) ? presets[index].name : NULL;
}

const char *mfrgn_recipe_preset_about(int index) {
    return index >= 0 && (size_t)index < MF_COUNT(presets) ? presets[index].about : NULL;
}

static mfrgn_status no_preset(mfrgn_context *context, const char *name) {
    char list[512] = "";
    size_t at = 0;
    for (size_t i = 0; i < MF_COUNT(presets) && at < sizeof(list); i++)
        at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i ? ", " : "", presets[i].name);
    return mf_fail(context, MFRGN_ERROR_ARGUMENT, "recipe \"%.60s\": none of %s", name, list);
}

static mfrgn_status defaults(mfrgn_recipe *r, const char *network) {
    mfrgn_config *config = NULL;
    mfrgn_train_options *train = NULL;
    MF_TRY(mfrgn_config_create(r->context, network, &config));
    mfrgn_status status = mfrgn_train_options_create(r->context, &train);
    if (status != MFRGN_OK) {
        mfrgn_config_free(config);
        return status;
    }
    mfrgn_config_free(r->network);
    mfrgn_train_options_free(r->train);
    r->network = config;
    r->train = train;
    for (int id = 0; id < MF_RECIPE_OWN; id++) {
        mf_recipe_key key = {MF_RECIPE_GROUP_OWN, id, {sizeof(key.info), mf_recipe_specs[id].name, "", "", 1}};
        MF_TRY(mf_recipe_put(r, &key, mf_recipe_specs[id].initial));
    }
    return MFRGN_OK;
}

mfrgn_status mf_recipe_apply_preset(mfrgn_recipe *r, const char *name) {
    for (size_t p = 0; p < MF_COUNT(presets); p++) {
        if (strcmp(presets[p].name, name) != 0)
            continue;
        MF_TRY(defaults(r, presets[p].network));
        snprintf(r->preset, sizeof(r->preset), "%s", name);
        for (const char *const *c = presets[p].change; *c; c += 2)
            MF_TRY(mfrgn_recipe_set(r, c[0], c[1]));
        return MFRGN_OK;
    }
    return no_preset(r->context, name);
}
