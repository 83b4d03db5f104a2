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

/* ---- views side by side ----
 * What works on rows (products, norms, sums) sees those of all views behind each other, as one value [rows, C]; what
 * knows a map's shape works on each view's part.  A single map is its own rows. */

typedef struct maps {
    int count;
    mf_value map[MF_VIEWS]; /* [N, H, W, C] */
} maps;

static mf_value join(mf_net *net, const maps *m) {
    mf_value rows[MF_VIEWS];
    if (m->count == 1 || net->g->status != MFRGN_OK)
        return m->map[0];
    for (int i = 0; i < m->count; i++) {
        const int64_t *d = mf_graph_tensor(net->g, m->map[i])->dim;
        rows[i] = mf_reshape(net->g, m->map[i], 2, (const int64_t[]){d[0] * d[1] * d[2], d[3]});
    }
    return mf_concat(net->g, rows, m->count, 0);
}

/* The parts of x, of shapes as m's maps but for the channels. */
static maps split(mf_net *net, mf_value x, const maps *m) {
    maps parts = {m->count, {x}};
    int64_t at = 0;
    if (m->count == 1 || net->g->status != MFRGN_OK)
        return parts;
    for (int i = 0; i < m->count && net->g->status == MFRGN_OK; i++) {
        mf_tensor t = *mf_graph_tensor(net->g, m->map[i]);
        int64_t rows = t.dim[0] * t.dim[1] * t.dim[2];
        parts.map[i] = mf_slice(net->g, x, 0, at, at + rows);
        at += rows;
        t.dim[3] = mf_graph_tensor(net->g, x)->dim[1];
        parts.map[i] = mf_reshape(net->g, parts.map[i], 4, t.dim);
    }
    return parts;
}

static int are_alike(mf_net *net, const maps *m) {
    for (int i = 1; i < m->count && net->g->status == MFRGN_OK; i++)
        if (memcmp(mf_graph_tensor(net->g, m->map[i])->dim, mf_graph_tensor(net->g, m->map[0])->dim,
                   sizeof(int64_t[4])) != 0)
            return 0;
    return net->g->status == MFRGN_OK;
}

/* ---- the network ---- */

/* x + gamma * fc2(GELU(fc1(LN(depthwise 7x7(x))))); x: the rows of maps like m's */
static mf_value block(mf_net *net, mf_value x, const maps *m, int64_t channels, int conv_mlp, int stage, int index) {
    char at[MF_NAME / 2], name[MF_NAME];
    snprintf(at, sizeof(at), "stages.%d.blocks.%d", stage, index);
    snprintf(name, sizeof(name), "%s.conv_dw", at);
    mf_layer dw = layer(net, MF_SHAPE(channels, 1, 7, 7), name);
    maps each = split(net, x, m);
    for (int i = 0; i < each.count; i++)
        each.map[i] = mf_dwconv2d(net->g, each.map[i], dw.weight, dw.bias);
    snprintf(name, sizeof(name), "%s.norm", at);
    mf_value y = mf_net_layernorm(net, join(net, &each), eps, name);
    snprintf(name, sizeof(name), "%s.mlp.fc1", at);
    y = mf_activate(net->g, linear(net, y, channels, 4 * channels, conv_mlp, name), MF_ACT_GELU);
    snprintf(name, sizeof(name), "%s.mlp.fc2", at);
    y = linear(net, y, 4 * channels, channels, conv_mlp, name);
    mf_value gamma = mf_net_parameter(net, MF_SHAPE(channels), 1, (mf_init){MF_INIT_CONSTANT, 1e-6}, "%s.gamma", at);
    return mf_add(net->g, x, mf_mul(net->g, y, gamma));
}

/* x, the rows of m's maps -> the next stage's maps */
static maps downsample(mf_net *net, mf_value x, const maps *m, const mf_backbone *b, int stage) {
    char name[MF_NAME];
    snprintf(name, sizeof(name), "stages.%d.downsample.0", stage);
    x = mf_net_layernorm(net, x, eps, name);
    snprintf(name, sizeof(name), "stages.%d.downsample.1", stage);
    mf_layer l = layer(net, MF_SHAPE(b->dim[stage], b->dim[stage - 1], 2, 2), name);
    maps each = split(net, x, m);
    for (int i = 0; i < each.count; i++)
        each.map[i] = mf_conv2d(net->g, each.map[i], l.weight, l.bias, 2, 0, 0);
    return each;
}

/* The stem's maps -> each one's S1, S2, S3 */
static void build_stages(mf_net *net, maps m, mf_value (*s)[3]) {
    const mf_backbone *b = mf_config_backbone(net->config);
    mf_value x = mf_net_layernorm(net, join(net, &m), eps, "stem.1");
    for (int stage = 0; stage < 4; stage++) {
        if (stage > 0) {
            m = downsample(net, x, &m, b, stage);
            x = join(net, &m);
        }
        for (int i = 0; i < b->depth[stage]; i++)
            x = block(net, x, &m, b->dim[stage], b->conv_mlp, stage, i);
        if (stage == 0)
            continue;
        maps each = split(net, x, &m);
        for (int i = 0; i < each.count; i++)
            s[i][stage - 1] = each.map[i];
    }
}

/* Maps of one shape are a larger batch. */
static void build_batch(mf_net *net, const maps *m, mf_value (*s)[3]) {
    maps all = {1, {mf_concat(net->g, m->map, m->count, 0)}};
    mf_value joint[1][3] = {{-1, -1, -1}};
    build_stages(net, all, joint);
    for (int i = 0; i < m->count; i++)
        for (int k = 0; k < 3; k++)
            s[i][k] = mf_slice(net->g, joint[0][k], 0, i * net->batch, (i + 1) * net->batch);
}

void mf_build_convnext(mf_net *net, int count, const mf_value *image, mf_value (*s)[3]) {
    const mf_backbone *b = mf_config_backbone(net->config);
    mf_layer stem = layer(net, MF_SHAPE(b->dim[0], 3, 4, 4), "stem.0");
    maps m = {.count = count};
    for (int i = 0; i < count; i++)
        m.map[i] = mf_conv2d(net->g, image[i], stem.weight, stem.bias, 4, 0, 0);
    if (count > 1 && are_alike(net, &m))
        build_batch(net, &m, s);
    else
        build_stages(net, m, s);
}
