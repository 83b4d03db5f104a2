/* ConvNeXt (Liu et al., CVPR 2022), names as timm's. */
#include <stdio.h>
#include <string.h>

#include "model/network.h"

static const double eps = 1e-6;
static const mf_init weights = {MF_INIT_TRUNCATED_NORMAL, 0.02}, zero = {MF_INIT_CONSTANT, 0};

/* timm's initialisation: truncated normal, biases zero. */
static mf_layer layer(mf_net *net, mf_shape shape, const char *name) {
    mf_layer l;
    l.weight = mf_net_parameter(net, shape, 1, weights, "%s.weight", name);
    l.bias = mf_net_parameter(net, MF_SHAPE(shape.dim[0]), 1, zero, "%s.bias", name);
    return l;
}

static mf_value linear(mf_net *net, mf_value x, int64_t in, int64_t out, int as_convolution, const char *name) {
    mf_layer l = layer(net, as_convolution ? MF_SHAPE(out, in, 1, 1) : MF_SHAPE(out, in), name);
    return mf_matmul(net->g, x, mf_net_matrix(net, l.weight), l.bias, 0, 1);
}

/* x + gamma * fc2(GELU(fc1(LN(depthwise 7x7(x))))) */
static mf_value block(mf_net *net, mf_value x, int64_t channels, int conv_mlp, int stage, int index) {
    char at[MF_NAME / 2], name[MF_NAME];
    snprintf(at, sizeof(at), "stages.%d.blocks.%d", stage, index);
    snprintf(name, sizeof(name), "%s.conv_dw", at);
    mf_layer dw = layer(net, MF_SHAPE(channels, 1, 7, 7), name);
    mf_value y = mf_dwconv2d(net->g, x, dw.weight, dw.bias);
    snprintf(name, sizeof(name), "%s.norm", at);
    y = mf_net_layernorm(net, y, eps, name);
    snprintf(name, sizeof(name), "%s.mlp.fc1", at);
    y = mf_activate(net->g, linear(net, y, channels, 4 * channels, conv_mlp, name), MF_ACT_GELU);
    snprintf(name, sizeof(name), "%s.mlp.fc2", at);
    y = linear(net, y, 4 * channels, channels, conv_mlp, name);
    mf_value gamma = mf_net_parameter(net, MF_SHAPE(channels), 1, (mf_init){MF_INIT_CONSTANT, 1e-6}, "%s.gamma", at);
    return mf_add(net->g, x, mf_mul(net->g, y, gamma));
}

static mf_value downsample(mf_net *net, mf_value x, const mf_backbone *b, int stage) {
    char name[MF_NAME];
    snprintf(name, sizeof(name), "stages.%d.downsample.0", stage);
    x = mf_net_layernorm(net, x, eps, name);
    snprintf(name, sizeof(name), "stages.%d.downsample.1", stage);
    mf_layer l = layer(net, MF_SHAPE(b->dim[stage], b->dim[stage - 1], 2, 2), name);
    return mf_conv2d(net->g, x, l.weight, l.bias, 2, 0, 0);
}

void mf_build_convnext(mf_net *net, mf_value x, mf_value s[3]) {
    const mf_backbone *b = mf_config_backbone(net->config);
    mf_layer stem = layer(net, MF_SHAPE(b->dim[0], 3, 4, 4), "stem.0");
    x = mf_conv2d(net->g, x, stem.weight, stem.bias, 4, 0, 0);
    x = mf_net_layernorm(net, x, eps, "stem.1");
    for (int stage = 0; stage < 4; stage++) {
        if (stage > 0)
            x = downsample(net, x, b, stage);
        for (int i = 0; i < b->depth[stage]; i++)
            x = block(net, x, b->dim[stage], b->conv_mlp, stage, i);
        if (stage > 0)
            s[stage - 1] = x;
    }
}
