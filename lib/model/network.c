/* The whole network: a backbone of one view or of both, and a head a view. */
#include "model/network.h"

#include <stdio.h>
#include <string.h>

static mf_value mean_over_map(mf_net *net, mf_value x) {
    const int one[1][2] = {{1, 1}};
    return mf_pyramid_pool(net->g, x, one, 1);
}

static mf_value tapped(mf_net *net, mf_value v, const char *name) {
    if (!net->training)
        mf_graph_tap(net->g, v, name);
    return v;
}

void mf_build_backbone(mf_net *net, int count, const mf_value *image, mf_value (*s)[3]) {
    snprintf(net->prefix, sizeof(net->prefix), "%s",
             mf_config_int(net->config, MFRGN_CONFIG_SAMPLE4GEO) ? "model." : "backbone.backbone.");
    if (!mf_config_backbone(net->config)->resnet)
        mf_build_convnext(net, count, image, s);
    else
        for (int i = 0; i < count; i++)
            mf_build_resnet(net, image[i], s[i]);
    net->prefix[0] = 0;
}

/* Sample4Geo (Deuser et al., ICCV 2023): the mean of the last stage, normalised. */
static mf_value build_sample4geo(mf_net *net, const mf_value s[3]) {
    return mf_net_layernorm(net, mean_over_map(net, s[2]), 1e-6, "model.head.norm");
}

/* The prompts' tokens: of f_g, or of the embedded maps as they are. */
static void initial_prompts(mf_net *net, const mf_value e[4], mf_value low, mf_value p[4]) {
    p[0] = low;
    for (int i = 1; i < 4; i++)
        p[i] = mf_as_tokens(net->g, e[i]);
}

static void sliced_prompts(mf_net *net, mf_value low, mf_value high, mf_value p[4]) {
    int64_t at = 0;
    p[0] = low;
    for (int i = 1; i < 4; i++) {
        int64_t count = (int64_t)net->view.scale[i][0] * net->view.scale[i][1];
        p[i] = mf_slice(net->g, high, 1, at, at + count);
        at += count;
    }
}

static mf_value build_local(mf_net *net, int source, const mf_value s[4], const mf_value prompt[4]) {
    mf_value f[4];
    int first = source == MF_LOCAL_LAST ? 2 : 0, last = source == MF_LOCAL_LAST ? 3 : 4;
    int64_t values = 0;
    for (int i = first; i < last; i++) {
        values += net->view.channels[i];
        f[i] = source == MF_LOCAL_MEANS || source == MF_LOCAL_LAST ? mean_over_map(net, s[i])
                                                                   : mf_build_gpab(net, i, s[i], prompt[i]);
    }
    mf_value all = last - first > 1 ? mf_concat(net->g, f + first, last - first, 2) : f[first];
    mf_layer l = mf_net_layer(net, MF_SHAPE(mf_config_int(net->config, MFRGN_CONFIG_DIM_L), values), 1, "proj_local%s",
                              net->view.suffix);
    return mf_matmul(net->g, tapped(net, all, "f_local"), l.weight, l.bias, 0, 1);
}

static mf_value build_mfrgn(mf_net *net, const mf_value maps[3]) {
    int global = (int)mf_config_int(net->config, MFRGN_CONFIG_GLOBAL_SOURCE) == MF_GLOBAL_SCAM;
    int local = (int)mf_config_int(net->config, MFRGN_CONFIG_LOCAL_SOURCE);
    int gated = local == MF_LOCAL_INITIAL || local == MF_LOCAL_PROMPT;
    mf_value s[4] = {maps[0], maps[1], maps[2], -1}, e[4], prompt[4], part[2], low = -1, high = -1;
    int parts = 0;
    tapped(net, s[0], "S1");
    tapped(net, s[1], "S2");
    tapped(net, s[2], "S3");
    /* Beside the product that reads S1 too, so that one of them finds it in a cache. */
    mf_value s1 = gated ? mf_build_gpab_map(net, s[0]) : s[0];
    if (global || local == MF_LOCAL_MEANS || gated)
        mf_build_embedding(net, s, global || gated, e, &s[3]);
    if (s[3] >= 0)
        tapped(net, s[3], "S4");
    if (global || gated)
        low = tapped(net, mf_build_low_tokens(net, e[0]), "F_L");
    if (local == MF_LOCAL_INITIAL)
        initial_prompts(net, e, low, prompt);
    if (global) {
        mf_build_scam(net, e, &low, &high);
        tapped(net, low, "F_L_out");
        tapped(net, high, "F_H_out");
        part[parts++] = mf_build_global(net, mf_concat(net->g, (mf_value[]){low, high}, 2, 1));
    }
    if (local == MF_LOCAL_PROMPT)
        sliced_prompts(net, low, high, prompt);
    s[0] = s1;
    if (local != MF_LOCAL_NONE)
        part[parts++] = build_local(net, local, s, prompt);
    return parts > 1 ? mf_concat(net->g, part, parts, 2) : part[0];
}

mf_value mf_build_head(mf_net *net, const mf_value s[3]) {
    mf_value d = mf_config_int(net->config, MFRGN_CONFIG_SAMPLE4GEO) ? build_sample4geo(net, s) : build_mfrgn(net, s);
    d = mf_reshape(net->g, tapped(net, d, "desc_unnormalised"), 2,
                   (int64_t[]){net->batch, mf_config_descriptor_size(net->config)});
    return tapped(net, mf_l2norm(net->g, d, 1e-12), "descriptor");
}

mfrgn_status mf_network_build(mfrgn_context *context, const mfrgn_config *config, mf_parameters *parameters,
                              mfrgn_view view, int64_t batch, mf_graph **graph) {
    mf_graph *g = mf_graph_create(context);
    if (!g)
        return mf_fail_memory(context, sizeof(*g), "a graph");
    mf_net net = {.g = g, .config = config, .parameters = parameters, .batch = batch};
    mf_config_view(config, view, &net.view);
    /* Learnt with the loss; no descriptor depends on it.  Declared first, as in the state dict. */
    mf_net_parameter(&net, (mf_shape){0, {0}}, 1, (mf_init){MF_INIT_CONSTANT, 2.6592600369327779}, "logit_scale");
    mf_value image = mf_graph_input(g, "image", 4, (int64_t[]){batch, net.view.height, net.view.width, 3});
    mf_value s[1][3] = {{-1, -1, -1}};
    mf_build_backbone(&net, 1, &image, s);
    g->output = mf_build_head(&net, s[0]);
    mfrgn_status status = g->status;
    if (status != MFRGN_OK)
        mf_graph_free(g);
    else
        *graph = g;
    return status;
}
