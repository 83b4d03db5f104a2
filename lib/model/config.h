/* The description of a network. */
#ifndef MFRGN_MODEL_CONFIG_H
#define MFRGN_MODEL_CONFIG_H

#include "base/settings.h"
#include "io/weights.h"

struct mfrgn_config {
    mf_settings settings; /* keys: mfrgn_config_key */
};

enum { MF_ATTENTION_KIND_LINEAR = 0, MF_ATTENTION_KIND_FULL = 1 };
enum { MF_GLOBAL_NONE = 0, MF_GLOBAL_SCAM = 1 };
enum { MF_LOCAL_NONE = 0, MF_LOCAL_LAST = 1, MF_LOCAL_MEANS = 2, MF_LOCAL_INITIAL = 3, MF_LOCAL_PROMPT = 4 };

/* Channels of the embedded maps, fixed by the published network. */
enum { MF_EMBED = 128 };

typedef struct mf_backbone {
    const char *name;
    int resnet;     /* 0: ConvNeXt */
    int bottleneck; /* ResNet-50 */
    int conv_mlp;   /* timm stores this size's MLPs as 1x1 convolutions */
    int depth[4], dim[4];
} mf_backbone;

static inline long mf_config_int(const mfrgn_config *c, mfrgn_config_key key) {
    return c->settings.value[key].number;
}
const mf_backbone *mf_config_backbone(const mfrgn_config *c);
extern const mf_backbone mf_backbones[]; /* ends with a NULL name */

/* What follows from a configuration for one view. */
typedef struct mf_view_config {
    int height, width;
    int scale[4][2]; /* rows and columns of S1 .. S4 */
    int channels[4]; /* of S1 .. S4 */
    int pps;         /* pyramid pooling: levels below */
    int level_count;
    int levels[MF_PAIRS][2];
    int64_t tokens_low;  /* of F_L */
    int64_t tokens_high; /* of F_H */
    const char *suffix;  /* of the head's names: "_sat", "_grd", or "" when shared */
    int ground;          /* 1: the ground view's kernels and norm */
} mf_view_config;
void mf_config_view(const mfrgn_config *c, mfrgn_view view, mf_view_config *v);
int mf_config_descriptor_size(const mfrgn_config *c);

/* The configuration of a file: its metadata; else recognised from the names and shapes of its tensors. */
mfrgn_status mf_config_from_weights(mfrgn_context *context, const char *path, const mf_weights *weights,
                                    const mfrgn_load_options *options, mfrgn_config **config);

#endif
