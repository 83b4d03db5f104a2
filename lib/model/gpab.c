/* The local flow: GPAB, channel and position gates of a map from its prompt (paper, section 3.4, Eq. 2 to 4). */
#include "model/network.h"

/* The prompt's tokens through two convolutions along the token axis: seen as a map T x 1. */
static mf_value prompt_map(mf_net *net, int scale, mf_value tokens) {
    const char *suffix = net->view.suffix;
    int64_t channels = net->view.channels[scale];
    if (net->g->status != MFRGN_OK)
        return -1;
    mf_value x = mf_as_map(net->g, tokens, mf_graph_tensor(net->g, tokens)->dim[1], 1);
    for (int step = 0; step < 2; step++) {
        int64_t out = step ? channels : MF_EMBED;
        mf_layer l = mf_net_layer(net, MF_SHAPE(out, MF_EMBED, 5), 1, "proj_gl%s.%d.%d", suffix, scale, 2 * step);
        if (net->g->status != MFRGN_OK)
            return -1;
        mf_tensor *w = &net->g->tensor[l.weight];
        w->ndim = 4; /* [O, I, 5] as a kernel of 5 x 1 */
        w->dim[3] = 1;
        x = mf_conv2d(net->g, x, l.weight, l.bias, 1, 2, 0);
        if (step)
            x = mf_activate(net->g, x, MF_ACT_GELU);
        x = mf_net_batchnorm(net, x, "proj_gl%s.%d.%d", suffix, scale, step ? 4 : 1);
    }
    return x;
}

/* Kernel of the position gate, rows x columns. */
static void gate_kernel(const mf_net *net, int scale, int64_t kernel[2]) {
    static const int aerial[4] = {9, 7, 5, 3};
    int column = scale == 0 && net->view.pps; /* the prompt stays a column of tokens */
    kernel[0] = column ? (net->view.ground ? 91 : 81) : net->view.ground ? 7 : aerial[scale];
    kernel[1] = column ? 1 : net->view.ground ? 13 : aerial[scale];
}

mf_value mf_build_gpab_map(mf_net *net, mf_value s1) {
    return net->view.pps ? mf_pyramid_pool(net->g, s1, (const int(*)[2])net->view.levels, net->view.level_count) : s1;
}

mf_value mf_build_gpab(mf_net *net, int scale, mf_value map, mf_value prompt) {
    const char *suffix = net->view.suffix;
    int64_t channels = net->view.channels[scale], kernel[2];
    const int one[1][2] = {{1, 1}};
    mf_value p = prompt_map(net, scale, prompt);
    if (scale > 0 || !net->view.pps)
        p = mf_as_map(net->g, mf_as_tokens(net->g, p), net->view.scale[scale][0], net->view.scale[scale][1]);

    mf_layer ch = mf_net_layer(net, MF_SHAPE(channels, channels, 1, 1), 1, "ch%s.%d", suffix, scale);
    mf_value gate = mf_pyramid_pool(net->g, p, one, 1); /* the mean over positions */
    gate = mf_matmul(net->g, gate, mf_net_matrix(net, ch.weight), ch.bias, 0, 1);
    gate = mf_activate(net->g, gate, MF_ACT_SIGMOID);

    gate_kernel(net, scale, kernel);
    mf_layer sp = mf_net_layer(net, MF_SHAPE(1, 1, kernel[0], kernel[1]), 1, "sp%s.%d", suffix, scale);
    mf_value position =
        mf_conv2d(net->g, mf_channel_max(net->g, p), sp.weight, sp.bias, 1, (int)kernel[0] / 2, (int)kernel[1] / 2);
    position = mf_activate(net->g, position, MF_ACT_SIGMOID);
    return mf_gated_mean(net->g, map, gate, position);
}
