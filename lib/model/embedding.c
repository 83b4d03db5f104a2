/* The embedding shared by the views: S1..S3 to 128 channels, S4 from S3, position encoding (paper, section 3.2). */
#include <math.h>
#include <stdio.h>

#include "model/network.h"

/* LoFTR's encoding in its corrected form, positions from 1, d = 128: for k = 0 .. d/4 - 1, w_k = exp(-2k ln(10000) /
 * (d/2)); channel 4k = sin(x w_k), 4k+1 = cos(x w_k), 4k+2 = sin(y w_k), 4k+3 = cos(y w_k). */
static void encode(int64_t position, int k, double *sine, double *cosine) {
    double frequency = exp(-2.0 * k * log(10000.0) / (MF_EMBED / 2));
    *sine = sin((double)position * frequency);
    *cosine = cos((double)position * frequency);
}

static mf_value position_encoding(mf_net *net, int64_t h, int64_t w) {
    double *values = mf_alloc(net->g->context, (size_t)(h * w) * MF_EMBED * sizeof(double));
    double sine, cosine;
    if (!values)
        return mf_graph_fail(net->g, MFRGN_ERROR_MEMORY, "out of memory: a position encoding");
    for (int k = 0; k < MF_EMBED / 4; k++) {
        double *at = values + 4 * k;
        for (int64_t x = 0; x < w; x++) {
            encode(x + 1, k, &sine, &cosine);
            for (int64_t y = 0; y < h; y++) {
                at[(y * w + x) * MF_EMBED] = sine;
                at[(y * w + x) * MF_EMBED + 1] = cosine;
            }
        }
        for (int64_t y = 0; y < h; y++) {
            encode(y + 1, k, &sine, &cosine);
            for (int64_t x = 0; x < w; x++) {
                at[(y * w + x) * MF_EMBED + 2] = sine;
                at[(y * w + x) * MF_EMBED + 3] = cosine;
            }
        }
    }
    int64_t dim[] = {h, w, MF_EMBED};
    mf_value v = mf_graph_literal(net->g, "position", values, 3, dim);
    mf_free(net->g->context, values);
    return v;
}

/* 1x1 (scales 1 to 3) or 3x3 stride 2 (scale 4) convolution, GroupNorm. */
static mf_value project(mf_net *net, int i, mf_value s, int64_t channels) {
    int64_t kernel = i == 3 ? 3 : 1;
    mf_layer l = mf_net_layer(net, MF_SHAPE(MF_EMBED, channels, kernel, kernel), 1, "embed.input_proj.%d.0", i);
    mf_layer n = mf_net_norm(net, MF_EMBED, "embed.input_proj.%d.1", i);
    mf_value x = i == 3 ? mf_conv2d(net->g, s, l.weight, l.bias, 2, 1, 1)
                        : mf_matmul(net->g, s, mf_net_matrix(net, l.weight), l.bias, 0, 1);
    return mf_groupnorm(net->g, x, n.weight, n.bias, 32, 1e-5);
}

void mf_build_embedding(mf_net *net, const mf_value s[3], int first, mf_value e[4], mf_value *s4) {
    for (int i = first ? 0 : 3; i < 4; i++) {
        int from = i < 3 ? i : 2;
        mf_value x = project(net, i, s[from], net->view.channels[from]);
        if (i == 3)
            *s4 = x;
        e[i] = mf_add(net->g, x, position_encoding(net, net->view.scale[i][0], net->view.scale[i][1]));
    }
}
