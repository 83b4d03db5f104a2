/* ResNet-18/34/50 (He et al., CVPR 2016), names as torchvision's; the bottleneck is v1.5: the stride is in the 3x3. */
#include <math.h>
#include <stdio.h>

#include "model/network.h"

/* Convolution without bias, then BatchNorm.  Kaiming normal, fan out. */
static mf_value conv_bn(mf_net *net, mf_value x, int64_t in, int64_t out, int kernel, int stride, const char *conv,
                        const char *bn) {
    mf_init init = {MF_INIT_NORMAL, sqrt(2.0 / ((double)out * kernel * kernel))};
    mf_value w = mf_net_parameter(net, MF_SHAPE(out, in, kernel, kernel), 1, init, "%s.weight", conv);
    return mf_net_batchnorm(net, mf_conv2d(net->g, x, w, -1, stride, kernel / 2, kernel / 2), "%s", bn);
}

typedef struct unit {
    int64_t in, mid, out;
    int stride;
    char at[MF_NAME / 2]; /* "layerL.I." */
} unit;

static mf_value conv(mf_net *net, mf_value x, const unit *u, int number, int64_t in, int64_t out, int kernel,
                     int stride) {
    char name[MF_NAME], bn[MF_NAME];
    snprintf(name, sizeof(name), "%sconv%d", u->at, number);
    snprintf(bn, sizeof(bn), "%sbn%d", u->at, number);
    return conv_bn(net, x, in, out, kernel, stride, name, bn);
}

static mf_value residual_unit(mf_net *net, mf_value x, const unit *u, int bottleneck) {
    mf_value identity = x, y;
    if (u->stride != 1 || u->in != u->out) {
        char name[MF_NAME], bn[MF_NAME];
        snprintf(name, sizeof(name), "%sdownsample.0", u->at);
        snprintf(bn, sizeof(bn), "%sdownsample.1", u->at);
        identity = conv_bn(net, x, u->in, u->out, 1, u->stride, name, bn);
    }
    if (bottleneck) {
        y = mf_activate(net->g, conv(net, x, u, 1, u->in, u->mid, 1, 1), MF_ACT_RELU);
        y = mf_activate(net->g, conv(net, y, u, 2, u->mid, u->mid, 3, u->stride), MF_ACT_RELU);
        y = conv(net, y, u, 3, u->mid, u->out, 1, 1);
    } else {
        y = mf_activate(net->g, conv(net, x, u, 1, u->in, u->out, 3, u->stride), MF_ACT_RELU);
        y = conv(net, y, u, 2, u->out, u->out, 3, 1);
    }
    return mf_activate(net->g, mf_add(net->g, identity, y), MF_ACT_RELU);
}

void mf_build_resnet(mf_net *net, mf_value x, mf_value s[3]) {
    const mf_backbone *b = mf_config_backbone(net->config);
    unit u = {.in = 64};
    x = mf_activate(net->g, conv_bn(net, x, 3, 64, 7, 2, "conv1", "bn1"), MF_ACT_RELU);
    x = mf_maxpool(net->g, x, 3, 2, 1);
    for (int stage = 0; stage < 4; stage++) {
        u.out = b->dim[stage];
        u.mid = u.out / 4;
        for (int i = 0; i < b->depth[stage]; i++) {
            u.stride = stage > 0 && i == 0 ? 2 : 1;
            snprintf(u.at, sizeof(u.at), "layer%d.%d.", stage + 1, i);
            x = residual_unit(net, x, &u, b->bottleneck);
            u.in = u.out;
        }
        if (stage > 0)
            s[stage - 1] = x;
    }
}
