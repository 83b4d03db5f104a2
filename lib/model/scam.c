/* The global flow: SCAM, attention between the low-level tokens F_L and the high-level ones F_H (paper, section 3.3).
 */
#include <math.h>
#include <stdio.h>

#include "model/network.h"

mf_value mf_build_low_tokens(mf_net *net, mf_value e1) {
    if (!net->view.pps)
        return mf_as_tokens(net->g, e1);
    const int(*levels)[2] = (const int(*)[2])net->view.levels;
    mf_value pooled = mf_pyramid_pool(net->g, e1, levels, net->view.level_count);
    return mf_net_layernorm(net, pooled, 1e-5, net->view.ground ? "norm2" : "norm1");
}

/* query, key and value: Xavier uniform weights, zero biases. */
static mf_value attention_projection(mf_net *net, mf_value x, const char *at, const char *which) {
    mf_init xavier = {MF_INIT_UNIFORM, sqrt(6.0 / (MF_EMBED + MF_EMBED))};
    mf_value w = mf_net_parameter(net, MF_SHAPE(MF_EMBED, MF_EMBED), 1, xavier, "%s.%s_proj.weight", at, which);
    mf_value b =
        mf_net_parameter(net, MF_SHAPE(MF_EMBED), 1, (mf_init){MF_INIT_CONSTANT, 0}, "%s.%s_proj.bias", at, which);
    return mf_matmul(net->g, x, w, b, 0, 1);
}

static mf_value plain_linear(mf_net *net, mf_value x, int64_t in, int64_t out, const char *at, const char *which) {
    mf_layer l = mf_net_layer(net, MF_SHAPE(out, in), 0, "%s.%s", at, which);
    return mf_matmul(net->g, x, l.weight, -1, 0, 1);
}

/* One layer of the linear transformer encoder, post-norm:
 * x = LN(q + merge(attention)); x = LN(x + mlp(x)); dropout on both branches and
 * within the MLP */
static mf_value encoder_layer(mf_net *net, mf_value q, mf_value kv, const char *at) {
    char name[MF_NAME];
    int heads = (int)mf_config_int(net->config, MFRGN_CONFIG_HEADS);
    int64_t ffn = mf_config_int(net->config, MFRGN_CONFIG_FFN);
    mf_attention kind = mf_config_int(net->config, MFRGN_CONFIG_ATTENTION) == MF_ATTENTION_KIND_FULL
                            ? MF_ATTENTION_SOFTMAX
                            : MF_ATTENTION_LINEAR;
    mf_value query = attention_projection(net, q, at, "query");
    mf_value key = attention_projection(net, kv, at, "key");
    mf_value value = attention_projection(net, kv, at, "value");
    mf_value x = mf_attend(net->g, query, key, value, heads, kind, kind == MF_ATTENTION_LINEAR ? 1e-6 : 0);
    x = mf_add(net->g, q, mf_net_dropout(net, plain_linear(net, x, MF_EMBED, MF_EMBED, at, "merge")));
    snprintf(name, sizeof(name), "%s.norm1", at);
    x = mf_net_layernorm(net, x, 1e-5, name);
    mf_value y = mf_activate(net->g, plain_linear(net, x, MF_EMBED, ffn, at, "mlp.0"), MF_ACT_GELU);
    y = plain_linear(net, mf_net_dropout(net, y), ffn, MF_EMBED, at, "mlp.3");
    x = mf_add(net->g, x, mf_net_dropout(net, y));
    snprintf(name, sizeof(name), "%s.norm2", at);
    return mf_net_layernorm(net, x, 1e-5, name);
}

void mf_build_scam(mf_net *net, const mf_value e[4], mf_value *low, mf_value *high) {
    char at[MF_NAME / 2];
    mf_value maps[3] = {mf_as_tokens(net->g, e[1]), mf_as_tokens(net->g, e[2]), mf_as_tokens(net->g, e[3])};
    mf_value f_low = *low, f_high = mf_concat(net->g, maps, 3, 1);
    if (!net->training)
        mf_graph_tap(net->g, f_high, "F_H");
    for (int i = 0; i < mf_config_int(net->config, MFRGN_CONFIG_A); i++) {
        snprintf(at, sizeof(at), "transformer%s_H.layers.%d", net->view.suffix, i);
        f_high = encoder_layer(net, f_high, mf_concat(net->g, (mf_value[]){f_low, f_high}, 2, 1), at);
    }
    for (int i = 0; i < mf_config_int(net->config, MFRGN_CONFIG_B); i++) {
        snprintf(at, sizeof(at), "transformer%s_L.layers.%d", net->view.suffix, i);
        f_low = encoder_layer(net, f_low, mf_concat(net->g, (mf_value[]){f_low, f_high}, 2, 1), at);
    }
    *low = f_low;
    *high = f_high;
}

/* g[c dim_g + k] = b[k] + sum_t W[k, t] f_g[t, c] */
mf_value mf_build_global(mf_net *net, mf_value tokens) {
    int64_t dim = mf_config_int(net->config, MFRGN_CONFIG_DIM_G);
    int64_t count = net->view.tokens_low + net->view.tokens_high;
    mf_layer l = mf_net_layer(net, MF_SHAPE(dim, count), 1, "proj%s", net->view.suffix);
    mf_value g = mf_matmul(net->g, tokens, l.weight, l.bias, 1, 1);
    return mf_reshape(net->g, g, 3, (int64_t[]){net->batch, 1, MF_EMBED * dim});
}
