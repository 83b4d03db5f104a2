/* A backbone from a file of its own: names of timm (which are ours), torchvision and ConvNeXt's authors. */
#include <stdio.h>
#include <string.h>

#include "mfrgn/recipe.h"
#include "io/reader.h"
#include "model/model.h"

typedef enum name_style { NAMING_TIMM, NAMING_TORCHVISION, NAMING_AUTHORS, NAMING_COUNT } name_style;

static const char *const prefixes[] = {"", "backbone.backbone.", "model.", "backbone.", "module."};

/* "stages.2.blocks.5.mlp.fc1.weight" -> the parts; 0: not of that form */
static int block_of(const char *name, int *stage, int *block, const char **rest) {
    int length = 0;
    if (sscanf(name, "stages.%d.blocks.%d.%n", stage, block, &length) != 2 || !length)
        return 0;
    *rest = name + length;
    return 1;
}

static int downsample_of(const char *name, int *stage, int *part, const char **rest) {
    int length = 0;
    if (sscanf(name, "stages.%d.downsample.%d.%n", stage, part, &length) != 2 || !length)
        return 0;
    *rest = name + length;
    return 1;
}

/* "mlp.fc1.weight" -> replaced beginning; NULL: not in the table */
static const char *replace_part(const char *rest, const char *const (*table)[2], char *out, size_t size) {
    for (; (*table)[0]; table++) {
        size_t n = strlen((*table)[0]);
        if (strncmp(rest, (*table)[0], n) == 0 && (rest[n] == '.' || !rest[n])) {
            snprintf(out, size, "%s%s", (*table)[1], rest + n);
            return out;
        }
    }
    return NULL;
}

/* A ConvNeXt's name in torchvision: features.2i holds what shrinks the map before stage i, features.2i + 1 its blocks.
 */
static int torchvision_name(const char *name, char *out, size_t size) {
    static const char *const parts[][2] = {{"conv_dw", "block.0"}, {"norm", "block.2"},      {"mlp.fc1", "block.3"},
                                           {"mlp.fc2", "block.5"}, {"gamma", "layer_scale"}, {NULL, NULL}};
    int stage, number;
    const char *rest;
    char part[MF_NAME];
    if (strncmp(name, "stem.", 5) == 0)
        snprintf(out, size, "features.0.%s", name + 5);
    else if (downsample_of(name, &stage, &number, &rest))
        snprintf(out, size, "features.%d.%d.%s", 2 * stage, number, rest);
    else if (block_of(name, &stage, &number, &rest) && replace_part(rest, parts, part, sizeof(part)))
        snprintf(out, size, "features.%d.%d.%s", 2 * stage + 1, number, part);
    else
        return 0;
    return 1;
}

/* In the authors' own files. */
static int authors_name(const char *name, char *out, size_t size) {
    static const char *const parts[][2] = {{"conv_dw", "dwconv"},  {"norm", "norm"},   {"mlp.fc1", "pwconv1"},
                                           {"mlp.fc2", "pwconv2"}, {"gamma", "gamma"}, {NULL, NULL}};
    int stage, number;
    const char *rest;
    char part[MF_NAME];
    if (strncmp(name, "stem.", 5) == 0)
        snprintf(out, size, "downsample_layers.0.%s", name + 5);
    else if (downsample_of(name, &stage, &number, &rest))
        snprintf(out, size, "downsample_layers.%d.%d.%s", stage, number, rest);
    else if (block_of(name, &stage, &number, &rest) && replace_part(rest, parts, part, sizeof(part)))
        snprintf(out, size, "stages.%d.%d.%s", stage, number, part);
    else
        return 0;
    return 1;
}

static const mf_weight *find(const mf_weights *weights, const char *prefix, name_style naming, const char *name) {
    char other[MF_NAME], full[2 * MF_NAME];
    if (naming == NAMING_TIMM)
        snprintf(other, sizeof(other), "%s", name);
    else if (!(naming == NAMING_TORCHVISION ? torchvision_name : authors_name)(name, other, sizeof(other)))
        return NULL;
    snprintf(full, sizeof(full), "%s%s", prefix, other);
    return mf_weights_find(weights, full);
}

static mfrgn_status take(const mfrgn_model *model, const mf_parameter *p, const char *path, const mf_weight *w) {
    size_t count = mf_parameter_elements(p);
    if (w->dtype != MF_F32 && w->dtype != MF_F16 && w->dtype != MF_BF16 && w->dtype != MF_F64)
        return mf_fail(model->context, MFRGN_ERROR_MISMATCH,
                       "%s: tensor \"%s\" is %s, weights are f32, f64, f16 or bf16", path, w->name,
                       mf_dtype_name(w->dtype));
    if (!mf_parameter_fits(p, w)) {
        char has[128], wants[128];
        return mf_fail(model->context, MFRGN_ERROR_MISMATCH, "%s: tensor \"%s\" is %s, the backbone %s needs %s", path,
                       w->name, mf_weight_describe(has, sizeof(has), w->dtype, w->ndim, w->dim),
                       mf_config_backbone(model->config)->name,
                       mf_weight_describe(wants, sizeof(wants), MF_F32, p->ndim, p->dim));
    }
    mf_convert(MF_F32, (void *)(uintptr_t)p->stored.data, w->dtype, w->data, count);
    size_t bad = mf_find_nonfinite(MF_F32, p->stored.data, count);
    if (bad < count)
        return mf_fail(model->context, MFRGN_ERROR_NUMERIC, "%s: tensor \"%s\": the value at %zu is NaN or infinite",
                       path, w->name, bad);
    return MFRGN_OK;
}

/* The backbone's parameters begin with "backbone.backbone.", or "model." in a Sample4Geo network. */
static const char *backbone_part(const mfrgn_model *model, const mf_parameter *p) {
    const char *ours = mf_config_int(model->config, MFRGN_CONFIG_SAMPLE4GEO) ? "model." : "backbone.backbone.";
    return strncmp(p->name, ours, strlen(ours)) == 0 ? p->name + strlen(ours) : NULL;
}

static mfrgn_status take_all(const mfrgn_model *model, const char *path, const mf_weights *weights, const char *prefix,
                             name_style naming) {
    for (size_t i = 0; i < model->parameters.count; i++) {
        const mf_parameter *p = &model->parameters.item[i];
        const char *name = backbone_part(model, p);
        const mf_weight *w = name ? find(weights, prefix, naming, name) : NULL;
        if (name && !w)
            return mf_fail(model->context, MFRGN_ERROR_MISMATCH, "%s: tensor \"%s%s\" (or its like) is missing for %s",
                           path, prefix, name, mf_config_backbone(model->config)->name);
        if (w)
            MF_TRY(take(model, p, path, w));
    }
    return MFRGN_OK;
}

/* The names are told by the backbone's first tensor. */
static mfrgn_status take_backbone(const mfrgn_model *model, const char *path, const mf_weights *weights) {
    const char *first = NULL;
    for (size_t i = 0; i < model->parameters.count && !first; i++)
        first = backbone_part(model, &model->parameters.item[i]);
    for (size_t p = 0; p < MF_COUNT(prefixes); p++)
        for (int n = 0; n < NAMING_COUNT; n++)
            if (find(weights, prefixes[p], (name_style)n, first))
                return take_all(model, path, weights, prefixes[p], (name_style)n);
    return mf_fail(model->context, MFRGN_ERROR_MISMATCH,
                   "%s: no backbone in it: looked for \"%s\" in the names of timm, torchvision and ConvNeXt's authors",
                   path, first);
}

mfrgn_status mfrgn_model_create_from_backbone(mfrgn_context *context, const mfrgn_config *config, unsigned long seed,
                                              const char *path, mfrgn_model **out) {
    if (!context || !config || !path || !out)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_model_create_from_backbone: NULL argument");
    mf_weights *weights;
    mfrgn_model *model = NULL;
    MF_TRY(mf_weights_load(context, path, &weights));
    mfrgn_status status = mfrgn_model_create(context, config, seed, &model);
    if (status == MFRGN_OK)
        status = take_backbone(model, path, weights);
    mf_weights_free(weights);
    if (status != MFRGN_OK)
        mfrgn_model_free(model);
    else
        *out = model;
    return status;
}
