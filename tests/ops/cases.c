/* The cases: every operation over shapes that are odd, small or the network's own, with every attribute and every
 * combination of optional inputs. */
#include "case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void finish_stored(const maker *m, ops_case *c) {
    c->weight = MF_F16;
    visit_as(m, c, 1, "| f16 weight");
    c->weight = MF_BF16;
    visit_as(m, c, 1, "| bf16 weight");
}

/* ---- products ---- */

enum { BIAS = 1, SCALE = 2, RESIDUAL = 4 };

static void epilogue(ops_case *c, int options, mf_act act) {
    const int64_t n = mf_operand_last(&c->op.output);
    c->op.attrs.act = act;
    if (options & BIAS)
        vector(c, MF_IN_BIAS, n, 0);
    if (options & SCALE)
        vector(c, MF_IN_SCALE, n, 0.5);
    if (options & RESIDUAL)
        c->op.input[MF_IN_RESIDUAL] = c->op.output;
    if (options & RESIDUAL && c->batched)
        c->batched |= 1u << MF_IN_RESIDUAL;
}

static void matmul(const maker *m, int64_t batch, const int64_t mnk[3], int ta, int tb, int options, mf_act act) {
    const int64_t rows = mnk[0], n = mnk[1], k = mnk[2];
    ops_case c = start(MF_OP_MATMUL, 5);
    c.op.input[MF_IN_X] = batch ? tokens(batch, ta ? k : rows, ta ? rows : k) : matrix(ta ? k : rows, ta ? rows : k);
    c.op.output = batch ? tokens(batch, rows, n) : matrix(rows, n);
    c.op.attrs.ta = ta;
    c.op.attrs.tb = tb;
    c.batched = batch > 0;
    parameter(&c, MF_IN_W, tb ? matrix(n, k) : matrix(k, n), 0, 1 / sqrt((double)k));
    epilogue(&c, options, act);
    finish(m, &c, "batch %d, %dx%dx%d, ta %d, tb %d, options %d, act %d", (int)batch, (int)rows, (int)n, (int)k, ta, tb,
           options, (int)act);
    if (!ta && tb && (options == 0 || act == MF_ACT_GELU))
        finish_stored(m, &c);
}

static void matmul_of_map(const maker *m, int64_t batch, int64_t h, int64_t w, int64_t k, int64_t n) {
    ops_case c = start(MF_OP_MATMUL, 5);
    c.op.input[MF_IN_X] = map(batch, h, w, k);
    c.op.output = map(batch, h, w, n);
    c.op.attrs.tb = 1;
    c.batched = 1;
    parameter(&c, MF_IN_W, matrix(n, k), 0, 1 / sqrt((double)k));
    epilogue(&c, BIAS | RESIDUAL, MF_ACT_NONE);
    finish(m, &c, "of a map %dx%dx%dx%d to %d", (int)batch, (int)h, (int)w, (int)k, (int)n);
}

static void all_matmul(const maker *m) {
    static const int64_t mnk[][3] = {
        {1, 1, 1},      {1, 3, 40},     {7, 40, 3},    {3, 80, 96},    {15, 1, 128},    {225, 96, 80},  {622, 128, 128},
        {128, 14, 958}, {441, 33, 131}, {1, 128, 128}, {2, 256, 1003}, {63, 128, 4096}, {17, 1000, 65}, {64, 513, 40},
    };
    static const int64_t small[3] = {15, 40, 33}, single[3] = {1, 96, 80};
    for (size_t i = 0; i < MF_COUNT(mnk); i++)
        for (int t = 0; t < 4; t++) {
            matmul(m, 0, mnk[i], t & 1, t >> 1, 0, MF_ACT_NONE);
            matmul(m, 3, mnk[i], t & 1, t >> 1, BIAS, MF_ACT_GELU);
        }
    for (int options = 0; options < 8; options++)
        for (int act = 0; act < MF_ACT_COUNT; act++)
            for (int t = 0; t < 4; t++) {
                matmul(m, 3, small, t & 1, t >> 1, options, (mf_act)act);
                matmul(m, 1, single, t & 1, t >> 1, options, (mf_act)act);
            }
    /* as in training: several blocks of k, many rows, sums in place */
    static const int64_t gradients[][3] = {{70, 50, 4101}, {400, 200, 300}, {7, 130, 9000}};
    static const int64_t blocks[][3] = {{200, 500, 1100}, {645, 130, 520}};
    for (size_t i = 0; i < MF_COUNT(gradients); i++)
        for (int options = 0; options <= RESIDUAL; options += RESIDUAL)
            matmul(m, 0, gradients[i], 1, 0, options, MF_ACT_NONE);
    for (size_t i = 0; i < MF_COUNT(blocks); i++)
        for (int tb = 0; tb < 2; tb++) {
            matmul(m, 0, blocks[i], 0, tb, BIAS | RESIDUAL, MF_ACT_NONE);
            matmul(m, 0, blocks[i], 0, tb, BIAS | SCALE | RESIDUAL, MF_ACT_GELU);
        }
    matmul_of_map(m, 1, 1, 1, 96, 96);
    matmul_of_map(m, 3, 7, 63, 40, 160);
    matmul_of_map(m, 3, 15, 15, 128, 3);
    matmul_of_map(m, 1, 20, 83, 80, 320);
}

static void mlp(const maker *m, int64_t batch, int64_t rows, const int64_t knh[3], int first_bias, int options,
                mf_act act) {
    const int64_t k = knh[0], n = knh[1], hidden = knh[2];
    ops_case c = start(MF_OP_MLP, MF_MLP_INPUTS);
    c.op.input[MF_IN_X] = batch ? tokens(batch, rows, k) : matrix(rows, k);
    c.op.output = batch ? tokens(batch, rows, n) : matrix(rows, n);
    c.batched = batch > 0;
    parameter(&c, MF_IN_W, matrix(n, hidden), 0, 1 / sqrt((double)hidden));
    parameter(&c, MF_IN_FIRST_W, matrix(hidden, k), 0, 1 / sqrt((double)k));
    if (first_bias)
        vector(&c, MF_IN_FIRST_BIAS, hidden, 0);
    epilogue(&c, options, act);
    finish(m, &c, "batch %d, %dx%d to %d to %d, first bias %d, options %d, act %d", (int)batch, (int)rows, (int)k,
           (int)hidden, (int)n, first_bias, options, (int)act);
    if (act == MF_ACT_GELU)
        finish_stored(m, &c);
}

static void all_mlp(const maker *m) {
    static const int64_t knh[][3] = {{1, 1, 1}, {40, 40, 160}, {64, 128, 256}, {33, 7, 65}, {96, 48, 16}};
    static const int64_t rows[] = {1, 7, 64, 131};
    for (size_t i = 0; i < MF_COUNT(knh); i++)
        for (size_t r = 0; r < MF_COUNT(rows); r++) {
            mlp(m, r ? 3 : 0, rows[r], knh[i], 1, BIAS | SCALE | RESIDUAL, MF_ACT_GELU);
            mlp(m, r == 1 ? 0 : 2, rows[r], knh[i], r & 1, 0, MF_ACT_RELU);
        }
    for (int options = 0; options < 8; options++)
        for (int act = MF_ACT_GELU; act < MF_ACT_COUNT; act++)
            mlp(m, 2, 19, knh[3], options & 1, options, (mf_act)act);
}

static void conv2d(const maker *m, mf_operand x, int64_t outputs, const window *w, int options, mf_act act) {
    ops_case c = start(MF_OP_CONV2D, 5);
    if (!slide(&c, x, outputs, w))
        return;
    const double taps = (double)(x.dim[3] * w->kernel[0] * w->kernel[1]);
    parameter(&c, MF_IN_W, map(outputs, x.dim[3], w->kernel[0], w->kernel[1]), 0, 1 / sqrt(taps));
    epilogue(&c, options, act);
    finish(m, &c, "%dx%dx%dx%d to %d, %dx%d / %d,%d pad %d,%d, options %d, act %d", (int)x.dim[0], (int)x.dim[1],
           (int)x.dim[2], (int)x.dim[3], (int)outputs, w->kernel[0], w->kernel[1], w->stride[0], w->stride[1],
           w->pad[0], w->pad[1], options, (int)act);
    if (options == 0 || act == MF_ACT_GELU)
        finish_stored(m, &c);
}

static void all_conv2d(const maker *m) {
    static const window w[] = {
        {{1, 1}, {1, 1}, {0, 0}}, {{2, 2}, {2, 2}, {0, 0}}, {{3, 3}, {1, 1}, {1, 1}},  {{3, 3}, {2, 2}, {1, 1}},
        {{4, 4}, {4, 4}, {0, 0}}, {{7, 7}, {2, 2}, {3, 3}}, {{5, 1}, {1, 1}, {2, 0}},  {{1, 1}, {2, 2}, {0, 0}},
        {{5, 5}, {1, 1}, {2, 2}}, {{9, 9}, {1, 1}, {4, 4}}, {{7, 13}, {1, 1}, {3, 6}}, {{3, 2}, {1, 3}, {0, 1}},
    };
    static const window column[] = {{{81, 1}, {1, 1}, {40, 0}}, {{91, 1}, {1, 1}, {45, 0}}, {{5, 1}, {1, 1}, {2, 0}}};
    for (size_t i = 0; i < MF_COUNT(w); i++) {
        conv2d(m, map(1, 1, 1, 3), 40, &w[i], BIAS, MF_ACT_NONE);
        conv2d(m, map(3, 7, 63, 1), 1, &w[i], BIAS, MF_ACT_SIGMOID);
        conv2d(m, map(3, 15, 15, 3), 80, &w[i], BIAS, MF_ACT_GELU);
        conv2d(m, map(3, 15, 15, 40), 96, &w[i], 0, MF_ACT_NONE);
        conv2d(m, map(1, 20, 83, 3), 128, &w[i], BIAS, MF_ACT_RELU);
        if (i < 9)
            conv2d(m, map(1, 15, 15, 128), 128, &w[i], BIAS | RESIDUAL, MF_ACT_NONE);
    }
    for (size_t i = 0; i < MF_COUNT(column); i++)
        conv2d(m, map(3, 622, 1, 1), 1, &column[i], BIAS, MF_ACT_SIGMOID);
    conv2d(m, map(1, 622, 1, 128), 128, &column[2], BIAS, MF_ACT_NONE);
    for (int options = 0; options < 8; options++)
        for (int act = 0; act < MF_ACT_COUNT; act++)
            for (int i = 0; i < 6; i++)
                conv2d(m, map(3, 9, 11, 5), 13, &w[i], options, (mf_act)act);
}

static void dwconv2d(const maker *m, mf_operand x, int kh, int kw, int options) {
    const window w = {{kh, kw}, {1, 1}, {kh / 2, kw / 2}};
    const int64_t channels = x.dim[3];
    const int norm = options >> 1 & 1;
    ops_case c = start(MF_OP_DWCONV2D, 5);
    slide(&c, x, channels, &w);
    parameter(&c, MF_IN_W, map(channels, 1, kh, kw), 0, 1 / sqrt((double)kh * kw));
    if (options & 1)
        vector(&c, MF_IN_BIAS, channels, 0);
    if (options & 4)
        vector(&c, MF_IN_GAMMA, channels, 1);
    if (options & 8)
        vector(&c, MF_IN_BETA, channels, 0);
    c.op.attrs.norm = norm;
    c.op.attrs.eps = 1e-6;
    /* Two or three channels that happen to be close are normalised to the difference of near equals. */
    if (norm && channels < 16)
        c.tolerance = 2e-5;
    if (norm && channels == 1) /* y = beta */
        c.op.attrs.eps = 1e-2;
    finish(m, &c, "%dx%dx%dx%d, %dx%d, options %d", (int)x.dim[0], (int)x.dim[1], (int)x.dim[2], (int)channels, kh, kw,
           options);
}

static void all_dwconv2d(const maker *m) {
    static const int kernel[][2] = {{1, 1}, {3, 3}, {5, 5}, {7, 7}, {9, 9}, {7, 13}, {5, 1}, {81, 1}};
    static const int channels[] = {1, 3, 40, 80, 96, 128, 321};
    for (size_t k = 0; k < MF_COUNT(kernel); k++)
        for (size_t i = 0; i < MF_COUNT(channels); i++) {
            dwconv2d(m, map(3, 7, 9, channels[i]), kernel[k][0], kernel[k][1], 1);
            if (channels[i] > 1 && kernel[k][0] < 80)
                dwconv2d(m, map(1, 15, 15, channels[i]), kernel[k][0], kernel[k][1], 15);
        }
    for (int options = 0; options < 16; options++)
        if (options & 2 || !(options & 12)) {
            dwconv2d(m, map(3, 1, 1, 40), 7, 7, options);
            dwconv2d(m, map(3, 2, 5, 80), 7, 7, options);
        }
    dwconv2d(m, map(1, 7, 63, 96), 7, 7, 15);
    dwconv2d(m, map(1, 20, 83, 128), 7, 7, 15);
    dwconv2d(m, map(1, 622, 1, 3), 81, 1, 1);
    dwconv2d(m, map(3, 2, 9, 1026), 3, 3, 15); /* more channels than some kernels normalise at a time */
    dwconv2d(m, map(3, 2, 9, 2048), 7, 7, 15);
}

/* ---- norms ---- */

static const int64_t map_sizes[][3] = {{1, 1, 1}, {3, 1, 1}, {1, 7, 63}, {3, 15, 15}, {1, 20, 83}};
static const int widths[] = {1, 3, 40, 80, 96, 128};

static void layernorm(const maker *m, mf_operand x, int options) {
    ops_case c = start(MF_OP_LAYERNORM, 3);
    const int64_t channels = mf_operand_last(&x);
    c.op.input[0] = c.op.output = x;
    c.fill[0] = (ops_fill){1, 2, OPS_SIGNED};
    c.batched = 1;
    c.op.attrs.eps = options & 4 ? 1e-6 : 1e-5;
    if (options & 1)
        vector(&c, 1, channels, 1);
    if (options & 2)
        vector(&c, 2, channels, 0);
    /* A few values that happen to be close are normalised to the difference of near equals; one alone to its beta. */
    c.tolerance = channels < 16 ? 2e-5 : c.tolerance;
    if (channels == 1)
        c.op.attrs.eps = 1e-2;
    finish(m, &c, "%d of %d, %d dimensions, options %d", (int)mf_operand_rows(&x), (int)channels, x.ndim, options);
}

static void all_layernorm(const maker *m) {
    for (size_t w = 0; w < MF_COUNT(widths); w++)
        for (int options = 0; options < 8; options++) {
            if (widths[w] == 1 && !(options & 2))
                continue;
            layernorm(m, tokens(3, 622, widths[w]), options);
            layernorm(m, map(3, 7, 5, widths[w]), options);
        }
    for (size_t s = 0; s < MF_COUNT(map_sizes); s++)
        layernorm(m, map(map_sizes[s][0], map_sizes[s][1], map_sizes[s][2], 96), 7);
    layernorm(m, matrix(3, 1000), 7);
    layernorm(m, matrix(1, 1536), 7);
    layernorm(m, matrix(5, 4097), 7);
}

static void all_groupnorm(const maker *m) {
    static const int form[][2] = {{1, 1}, {3, 1}, {3, 3}, {40, 8}, {80, 5}, {96, 32}, {128, 32}, {128, 128}, {130, 2}};
    for (size_t s = 0; s < MF_COUNT(map_sizes); s++)
        for (size_t f = 0; f < MF_COUNT(form); f++) {
            ops_case c = start(MF_OP_GROUPNORM, 3);
            const int64_t *size = map_sizes[s];
            const int64_t group = size[1] * size[2] * form[f][0] / form[f][1];
            c.op.input[0] = c.op.output = map(size[0], size[1], size[2], form[f][0]);
            c.fill[0] = (ops_fill){1, 2, OPS_SIGNED};
            c.op.attrs.groups = form[f][1];
            c.op.attrs.eps = group > 1 ? 1e-5 : 1e-2;
            c.batched = 1;
            c.tolerance = group < 16 ? 2e-5 : c.tolerance;
            vector(&c, 1, form[f][0], 1);
            vector(&c, 2, form[f][0], 0.5);
            finish(m, &c, "%dx%dx%dx%d, %d groups", (int)size[0], (int)size[1], (int)size[2], form[f][0], form[f][1]);
        }
}

static void batchnorm(const maker *m, mf_operand x, mf_act act) {
    ops_case c = start(MF_OP_BATCHNORM, 5);
    const int64_t channels = mf_operand_last(&x);
    c.op.input[0] = c.op.output = x;
    c.op.attrs.act = act;
    c.op.attrs.eps = 1e-5;
    c.batched = 1;
    vector(&c, 1, channels, 1);
    vector(&c, 2, channels, 0.5);
    vector(&c, 3, channels, 0.5);
    vector(&c, 4, channels, 0.1);
    c.fill[4].values = OPS_POSITIVE;
    finish(m, &c, "%d of %d, %d dimensions, act %d", (int)mf_operand_rows(&x), (int)channels, x.ndim, (int)act);
}

static void all_batchnorm(const maker *m) {
    for (int act = 0; act < MF_ACT_COUNT; act++)
        for (size_t w = 0; w < MF_COUNT(widths); w++) {
            batchnorm(m, tokens(3, 622, widths[w]), (mf_act)act);
            batchnorm(m, map(1, 7, 63, widths[w]), (mf_act)act);
            batchnorm(m, map(3, 15, 15, widths[w]), (mf_act)act);
        }
}

static void all_l2norm(const maker *m) {
    static const int64_t form[][2] = {{1, 1}, {3, 3}, {622, 128}, {1, 2048}, {3, 2047}, {5, 1792}, {300, 40}};
    for (size_t f = 0; f < MF_COUNT(form); f++) {
        ops_case c = start(MF_OP_L2NORM, 1);
        c.op.input[0] = c.op.output = matrix(form[f][0], form[f][1]);
        c.op.attrs.eps = 1e-12;
        c.batched = 1;
        finish(m, &c, "%dx%d", (int)form[f][0], (int)form[f][1]);
    }
}

/* ---- element by element ---- */

static void elementwise(const maker *m, mf_op_kind kind, mf_operand a, mf_operand b, mf_act act, double scale) {
    ops_case c = start(kind, kind == MF_OP_ACT ? 1 : 2);
    c.op.input[0] = c.op.output = a;
    c.op.attrs.act = act;
    c.batched = 1;
    c.fill[0].scale = scale;
    if (kind != MF_OP_ACT) {
        c.op.input[1] = b;
        if (b.ndim == a.ndim && b.dim[0] == a.dim[0])
            c.batched |= 2;
        else
            c.params |= 2;
    }
    finish(m, &c, "%d elements, %d dimensions, b %d, act %d, scale %g", (int)mf_operand_count(&a), a.ndim,
           (int)mf_operand_count(&b), (int)act, scale);
}

static void all_elementwise(const maker *m) {
    for (int act = 0; act < MF_ACT_COUNT; act++) {
        for (size_t s = 0; s < MF_COUNT(map_sizes); s++)
            for (size_t w = 0; w < MF_COUNT(widths); w++) {
                const int64_t *size = map_sizes[s];
                mf_operand a = map(size[0], size[1], size[2], widths[w]), none = {.ndim = -1};
                mf_operand one_map = shape(3, size[1], size[2], widths[w], 0), one = shape(1, widths[w], 0, 0, 0);
                elementwise(m, MF_OP_ACT, a, none, (mf_act)act, 3);
                elementwise(m, MF_OP_ADD, a, a, (mf_act)act, 1);
                elementwise(m, MF_OP_ADD, a, one_map, (mf_act)act, 1);
                elementwise(m, MF_OP_MUL, a, one, (mf_act)act, 1);
                if (w % 2 == 0)
                    elementwise(m, MF_OP_ADD, a, one, (mf_act)act, 1);
                else
                    elementwise(m, MF_OP_MUL, a, a, (mf_act)act, 1);
            }
        elementwise(m, MF_OP_ACT, matrix(1, 1000), (mf_operand){.ndim = -1}, (mf_act)act, 30);
    }
    elementwise(m, MF_OP_ADD, tokens(3, 622, 128), matrix(622, 128), MF_ACT_NONE, 1);
}

/* ---- pools, copies, reductions ---- */

static void pyramid(const maker *m, mf_operand x, int count, const int levels[][2]) {
    ops_case c = start(MF_OP_PYRAMID_POOL, 1);
    int64_t cells = 0;
    char text[80] = "";
    for (int i = 0; i < count; i++) {
        size_t used = strlen(text);
        c.op.attrs.levels[i][0] = levels[i][0];
        c.op.attrs.levels[i][1] = levels[i][1];
        cells += (int64_t)levels[i][0] * levels[i][1];
        snprintf(text + used, sizeof(text) - used, " %dx%d", levels[i][0], levels[i][1]);
    }
    c.op.attrs.level_count = count;
    c.op.input[0] = x;
    c.op.output = tokens(x.dim[0], cells, x.dim[3]);
    c.batched = 1;
    c.fill[0].offset = 0.5;
    finish(m, &c, "%dx%dx%dx%d to%s", (int)x.dim[0], (int)x.dim[1], (int)x.dim[2], (int)x.dim[3], text);
}

static void all_pyramid(const maker *m) {
    static const int aerial[][2] = {{1, 1}, {6, 6}, {12, 12}, {21, 21}};
    static const int ground[][2] = {{1, 1}, {3, 12}, {6, 24}, {7, 63}};
    static const int one[][2] = {{1, 1}}, odd[][2] = {{2, 3}, {15, 1}, {1, 20}, {9, 4}, {1, 1}, {3, 3}, {5, 2}, {7, 7}};
    for (size_t s = 0; s < MF_COUNT(map_sizes); s++)
        for (size_t w = 0; w < MF_COUNT(widths); w++) {
            mf_operand x = map(map_sizes[s][0], map_sizes[s][1], map_sizes[s][2], widths[w]);
            pyramid(m, x, 4, aerial);
            pyramid(m, x, 4, ground);
            pyramid(m, x, 1, one);
            pyramid(m, x, 8, odd);
        }
    pyramid(m, map(1, 32, 32, 128), 4, aerial);
    pyramid(m, map(3, 16, 64, 128), 4, ground);
    pyramid(m, map(1, 16, 64, 256), 4, ground);
}

static void all_maxpool(const maker *m) {
    static const window w[] = {
        {{3, 3}, {2, 2}, {1, 1}}, {{2, 2}, {2, 2}, {0, 0}}, {{3, 5}, {1, 3}, {1, 2}}, {{1, 1}, {1, 1}, {0, 0}}};
    for (size_t k = 0; k < MF_COUNT(w); k++)
        for (size_t s = 0; s < MF_COUNT(map_sizes); s++)
            for (size_t i = 0; i < MF_COUNT(widths); i++) {
                ops_case c = start(MF_OP_MAXPOOL, 1);
                const int64_t *size = map_sizes[s];
                if (!slide(&c, map(size[0], size[1], size[2], widths[i]), widths[i], &w[k]))
                    continue;
                c.fill[0].offset = -2; /* a padding of zeros would show */
                finish(m, &c, "%dx%dx%dx%d, %dx%d", (int)size[0], (int)size[1], (int)size[2], widths[i], w[k].kernel[0],
                       w[k].kernel[1]);
            }
}

static void concat(const maker *m, mf_operand x, int axis, int count, const int64_t *lengths) {
    ops_case c = start(MF_OP_CONCAT, count);
    c.op.output = x;
    c.op.output.dim[axis] = 0;
    for (int i = 0; i < count; i++) {
        c.op.input[i] = x;
        c.op.input[i].dim[axis] = lengths[i];
        c.op.output.dim[axis] += lengths[i];
        c.batched |= axis > 0 ? 1u << i : 0;
    }
    c.op.attrs.axis = axis;
    finish(m, &c, "%d of %d dimensions along %d, %d elements", count, x.ndim, axis,
           (int)mf_operand_count(&c.op.output));
}

static void slice(const maker *m, mf_operand x, int axis, int64_t begin, int64_t end) {
    ops_case c = start(MF_OP_SLICE, 1);
    c.op.input[0] = c.op.output = x;
    c.op.output.dim[axis] = end - begin;
    c.op.attrs.axis = axis;
    c.op.attrs.begin = begin;
    c.op.attrs.end = end;
    c.batched = axis > 0;
    finish(m, &c, "%d dimensions, %d elements, axis %d, %d to %d", x.ndim, (int)mf_operand_count(&x), axis, (int)begin,
           (int)end);
}

static void all_copies(const maker *m) {
    static const int64_t scales[] = {622, 256, 64, 16}, eight[] = {1, 2, 3, 4, 5, 6, 7, 8}, two[] = {1, 3};
    for (int64_t n = 1; n <= 3; n += 2) {
        concat(m, tokens(n, 1, 128), 1, 4, scales);
        concat(m, tokens(n, 1, 3), 1, 2, scales);
        concat(m, tokens(n, 15, 1), 2, 8, eight);
        concat(m, map(n, 7, 9, 1), 3, 8, eight);
        concat(m, map(n, 1, 9, 5), 1, 2, two);
        concat(m, map(n, 9, 1, 5), 2, 2, two);
        concat(m, matrix(n, 1), 1, 2, scales);
        concat(m, tokens(1, 5, (int)n), 0, 2, two);
        concat(m, tokens(n, 1, 40), 1, 1, scales);
        slice(m, tokens(n, 958, 128), 1, 622, 878);
        slice(m, tokens(n, 958, 40), 1, 0, 622);
        slice(m, tokens(n, 15, 83), 2, 3, 80);
        slice(m, map(n, 20, 83, 3), 2, 82, 83);
        slice(m, map(n, 7, 63, 3), 1, 6, 7);
        slice(m, map(n, 15, 15, 96), 3, 0, 96);
        slice(m, tokens(3, 5, 7), 0, 3 - n, 3);
    }
}

static void attention(const maker *m, int64_t n, int64_t t, int64_t s, int64_t channels, int heads, mf_attention kind) {
    ops_case c = start(MF_OP_ATTENTION, 3);
    c.op.input[0] = c.op.output = tokens(n, t, channels);
    c.op.input[1] = c.op.input[2] = tokens(n, s, channels);
    c.op.attrs.heads = heads;
    c.op.attrs.attention = kind;
    c.op.attrs.eps = 1e-6;
    c.batched = 7;
    finish(m, &c, "%s, %d: %d of %d, %d heads of %d", kind == MF_ATTENTION_LINEAR ? "linear" : "softmax", (int)n,
           (int)t, (int)s, heads, (int)channels / heads);
}

/* Between 16 bits and f32; of f16 also what is subnormal there. */
static void all_casts(const maker *m) {
    static const int64_t counts[] = {1, 7, 64, 1000, 70001};
    for (size_t i = 0; i < MF_COUNT(counts); i++)
        for (int small = 0; small < 2; small++) {
            ops_case c = start(MF_OP_CAST, 1);
            c.op.input[0] = c.op.output = matrix(1, counts[i]);
            c.fill[0].scale = small ? 1e-5 : 3;
            finish(m, &c, "%d%s", (int)counts[i], small ? ", small" : "");
        }
}

static void all_attention(const maker *m) {
    static const int64_t form[][3] = {{1, 1, 1}, {3, 1, 7}, {3, 7, 1}, {3, 63, 83}, {1, 336, 958}, {1, 622, 622}};
    static const int channels[] = {8, 40, 80, 96, 128};
    for (int kind = MF_ATTENTION_LINEAR; kind <= MF_ATTENTION_SOFTMAX; kind++)
        for (int heads = 1; heads <= 8; heads *= 2)
            for (size_t f = 0; f < MF_COUNT(form); f++)
                for (size_t i = 0; i < MF_COUNT(channels); i++)
                    if (form[f][1] < 300 || (channels[i] == 128 && heads == 4))
                        attention(m, form[f][0], form[f][1], form[f][2], channels[i], heads, (mf_attention)kind);
    for (int kind = MF_ATTENTION_LINEAR; kind <= MF_ATTENTION_SOFTMAX; kind++) {
        attention(m, 3, 35, 150, 256, 1, (mf_attention)kind);
        attention(m, 1, 3, 70, 396, 2, (mf_attention)kind);
    }
}

static void all_reductions(const maker *m) {
    for (size_t w = 0; w < MF_COUNT(widths); w++)
        for (size_t s = 0; s <= MF_COUNT(map_sizes); s++) {
            const int64_t *size = s < MF_COUNT(map_sizes) ? map_sizes[s] : NULL, channels = widths[w];
            mf_operand x = size ? map(size[0], size[1], size[2], channels) : tokens(3, 622, channels), gate = x;
            gate.dim[x.ndim - 1] = 1;
            ops_case c = start(MF_OP_CHANNEL_MAX, 1);
            c.op.input[0] = x;
            c.op.output = gate;
            c.batched = 1;
            c.fill[0].offset = -3;
            finish(m, &c, "%d of %d, %d dimensions", (int)mf_operand_rows(&x), (int)channels, x.ndim);

            c = start(MF_OP_GATED_MEAN, 3);
            c.op.input[0] = x;
            c.op.input[1] = c.op.output = tokens(x.dim[0], 1, channels);
            c.op.input[2] = tokens(x.dim[0], mf_operand_rows(&x) / x.dim[0], 1);
            c.fill[0].offset = 0.5;
            c.fill[1] = c.fill[2] = (ops_fill){0.1, 0.3, OPS_POSITIVE};
            c.batched = 7;
            finish(m, &c, "%d x %d of %d, %d dimensions", (int)x.dim[0], (int)(mf_operand_rows(&x) / x.dim[0]),
                   (int)channels, x.ndim);
        }
}

void ops_each_case(ops_visit visit, void *arg) {
    const maker m = {visit, arg};
    all_matmul(&m);
    all_mlp(&m);
    all_conv2d(&m);
    all_dwconv2d(&m);
    all_layernorm(&m);
    all_groupnorm(&m);
    all_batchnorm(&m);
    all_l2norm(&m);
    all_elementwise(&m);
    all_pyramid(&m);
    all_maxpool(&m);
    all_copies(&m);
    all_casts(&m);
    all_attention(&m);
    all_reductions(&m);
    ops_each_gradient_case(&m);
}
