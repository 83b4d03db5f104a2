/* The cases of the operations of training.  Nothing is constant here but where a frozen weight may be. */
#include <math.h>
#include <stdlib.h>

#include "case.h"

static const int64_t map_sizes[][3] = {{1, 1, 2}, {3, 7, 5}, {1, 7, 63}, {2, 15, 15}};
static const int widths[] = {3, 40, 96, 128};

/* Infers the output, and visits. */
static __attribute__((format(printf, 3, 4))) void grad(const maker *m, ops_case *c, const char *format, ...) {
    char text[100], why[120];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (int i = 0; i < c->op.input_count; i++)
        c->op.input[i].dtype = MF_F32;
    if (!mf_op_infer(&c->op, why, sizeof(why))) {
        printf("FAIL %s %s: %s\n", mf_op_name(c->op.kind), text, why);
        exit(1);
    }
    finish(m, c, "%s", text);
}

/* ---- rows and columns ---- */

static void all_rows(const maker *m) {
    static const int64_t form[][2] = {{1, 1}, {1, 40}, {3, 5}, {63, 83}, {128, 37}, {622, 96}};
    for (size_t f = 0; f < MF_COUNT(form); f++) {
        const int rows = (int)form[f][0], columns = (int)form[f][1];
        for (int kind = MF_OP_TRANSPOSE; kind <= MF_OP_ROW_SCALE; kind++)
            for (int second = 0; second < (kind == MF_OP_COLUMN_SUM ? 2 : 1); second++) {
                ops_case c = start((mf_op_kind)kind, kind == MF_OP_TRANSPOSE ? 1 : 2);
                c.op.input[0] = matrix(rows, columns);
                if (kind == MF_OP_ROW_DOT || second)
                    c.op.input[1] = c.op.input[0];
                if (kind == MF_OP_ROW_SCALE)
                    c.op.input[1] = shape(1, rows, 0, 0, 0);
                if (kind == MF_OP_COLUMN_SUM)
                    c.fill[0].offset = 0.5;
                grad(m, &c, "%d x %d, second %d", rows, columns, second);
            }
    }
    ops_case c = start(MF_OP_TRANSPOSE, 1);
    c.op.input[0] = tokens(3, 15, 40);
    c.batched = 1;
    grad(m, &c, "of 3 dimensions");
    c.op.input[0] = map(2, 3, 7, 5);
    grad(m, &c, "of 4 dimensions");
    c = start(MF_OP_COLUMN_SUM, 1);
    c.op.input[0] = map(2, 7, 9, 17);
    grad(m, &c, "of a map");
    c = start(MF_OP_ROW_DOT, 2);
    c.op.input[0] = c.op.input[1] = map(40, 5, 3, 3);
    grad(m, &c, "of weights");
    c = start(MF_OP_ROW_SCALE, 2);
    c.op.input[0] = map(40, 5, 3, 3);
    c.op.input[1] = shape(1, 40, 0, 0, 0);
    grad(m, &c, "of weights");
}

/* ---- element by element ---- */

static void act_grad(const maker *m, mf_operand x, mf_act act, double scale) {
    ops_case c = start(MF_OP_ACT_GRAD, 2);
    c.op.input[0] = c.op.input[1] = x;
    c.op.attrs.act = act;
    c.fill[0].scale = scale;
    c.batched = 3;
    grad(m, &c, "%d elements, %d dimensions, act %d, scale %g", (int)mf_operand_count(&x), x.ndim, (int)act, scale);
}

static void dropout(const maker *m, mf_operand x, double rate, int id) {
    ops_case c = start(MF_OP_DROPOUT, 2);
    c.op.input[0] = x;
    c.op.input[1] = shape(1, 3, 0, 0, 0);
    c.op.attrs.rate = rate;
    c.op.attrs.id = id;
    grad(m, &c, "%d elements, %d dimensions, rate %g, id %d", (int)mf_operand_count(&x), x.ndim, rate, id);
}

static void all_elements(const maker *m) {
    for (int act = 0; act < MF_ACT_COUNT; act++) {
        if (!mf_act_has_gradient((mf_act)act))
            continue;
        for (size_t s = 0; s < MF_COUNT(map_sizes); s++)
            act_grad(m, map(map_sizes[s][0], map_sizes[s][1], map_sizes[s][2], 40), (mf_act)act, 3);
        act_grad(m, matrix(1, 1), (mf_act)act, 1);
        act_grad(m, matrix(7, 1003), (mf_act)act, 30);
    }
    for (int id = 0; id < 3; id++) {
        static const double rates[] = {0.3, 0, 0.875};
        dropout(m, tokens(3, 62, 128), rates[id], id);
        dropout(m, map(2, 7, 5, 3), rates[id], 7 * id);
        dropout(m, matrix(5, 1), rates[id], id);
        dropout(m, matrix(1, 10007), rates[id], id);
    }
    for (int i = 0; i < 3; i++) {
        ops_case c = start(MF_OP_LERP, 2);
        c.op.input[0] = c.op.input[1] = shape(1, i ? 96 * i + 1 : 1, 0, 0, 0);
        c.op.attrs.rate = i == 2 ? 1 : 0.1;
        grad(m, &c, "%d", i);
    }
}

/* ---- norms ---- */

/* x, its gradient's slot, [C] of the gradient's operation */
static ops_case norm(mf_op_kind kind, mf_operand x, int inputs, int dy) {
    ops_case c = start(kind, inputs);
    c.op.input[0] = c.op.input[dy] = x;
    c.fill[0] = (ops_fill){1, 2, OPS_SIGNED};
    c.op.attrs.eps = 1e-5;
    c.batched = 1u | 1u << dy;
    return c;
}

static void plain_vector(ops_case *c, int slot, int64_t count, double offset, ops_values values) {
    c->op.input[slot] = shape(1, count, 0, 0, 0);
    c->fill[slot] = (ops_fill){offset, 0.3, values};
}

static void layernorm_grad(const maker *m, mf_operand x) {
    const int64_t channels = mf_operand_last(&x);
    for (int gamma = 0; gamma < 2; gamma++) {
        ops_case c = norm(MF_OP_LAYERNORM_GRAD, x, 3, 2);
        if (gamma)
            plain_vector(&c, 1, channels, 1, OPS_SIGNED);
        c.tolerance = channels < 16 ? 2e-5 : c.tolerance;
        grad(m, &c, "%d of %d, %d dimensions, gamma %d", (int)mf_operand_rows(&x), (int)channels, x.ndim, gamma);
    }
    ops_case c = norm(MF_OP_LAYERNORM_GRAD_AFFINE, x, 2, 1);
    c.batched = 0;
    c.tolerance = channels < 16 ? 2e-5 : c.tolerance;
    grad(m, &c, "%d of %d, %d dimensions", (int)mf_operand_rows(&x), (int)channels, x.ndim);
}

static void groupnorm_grad(const maker *m, mf_operand x, int groups) {
    const int64_t size = x.dim[1] * x.dim[2] * x.dim[3] / groups;
    ops_case c = norm(MF_OP_GROUPNORM_GRAD, x, 3, 2);
    plain_vector(&c, 1, x.dim[3], 1, OPS_SIGNED);
    c.op.attrs.groups = groups;
    c.tolerance = size < 16 ? 2e-5 : c.tolerance;
    grad(m, &c, "%dx%dx%dx%d, %d groups", (int)x.dim[0], (int)x.dim[1], (int)x.dim[2], (int)x.dim[3], groups);
    c = norm(MF_OP_GROUPNORM_GRAD_AFFINE, x, 2, 1);
    c.batched = 0;
    c.op.attrs.groups = groups;
    c.tolerance = size < 16 ? 2e-5 : c.tolerance;
    grad(m, &c, "%dx%dx%dx%d, %d groups", (int)x.dim[0], (int)x.dim[1], (int)x.dim[2], (int)x.dim[3], groups);
}

static void batchnorm_grad(const maker *m, mf_operand x) {
    const int64_t channels = mf_operand_last(&x);
    const int rows = (int)mf_operand_rows(&x);
    ops_case c = start(MF_OP_BATCH_STATS, 1);
    c.op.input[0] = x;
    c.fill[0] = (ops_fill){1, 2, OPS_SIGNED};
    grad(m, &c, "%d of %d, %d dimensions", rows, (int)channels, x.ndim);
    c = norm(MF_OP_BATCHNORM_GRAD_AFFINE, x, 4, 3);
    c.batched = 0;
    plain_vector(&c, 1, channels, 0.5, OPS_SIGNED);
    plain_vector(&c, 2, channels, 0.1, OPS_POSITIVE);
    grad(m, &c, "%d of %d, %d dimensions", rows, (int)channels, x.ndim);
    for (int own = 0; own < 3; own++) { /* 2: with affine, which is not read */
        c = norm(MF_OP_BATCHNORM_GRAD, x, 6, 4);
        plain_vector(&c, 1, channels, 1, OPS_SIGNED);
        plain_vector(&c, 2, channels, 0.5, OPS_SIGNED);
        plain_vector(&c, 3, channels, 0.1, OPS_POSITIVE);
        if (own)
            c.op.input[5] = matrix(2, channels);
        c.fill[5].scale = rows;
        c.op.attrs.own = own == 1;
        grad(m, &c, "%d of %d, %d dimensions, own %d", rows, (int)channels, x.ndim, own);
    }
}

static void l2norm_grad(const maker *m, int64_t rows, int64_t channels, double eps) {
    ops_case c = start(MF_OP_L2NORM_GRAD, 2);
    c.op.input[0] = c.op.input[1] = matrix(rows, channels);
    c.op.attrs.eps = eps;
    c.batched = 3;
    c.tolerance = channels < 16 ? 2e-5 : c.tolerance;
    grad(m, &c, "%d x %d, eps %g", (int)rows, (int)channels, eps);
}

static void all_norms(const maker *m) {
    for (size_t w = 0; w < MF_COUNT(widths); w++) {
        layernorm_grad(m, tokens(3, 62, widths[w]));
        for (size_t s = 0; s < MF_COUNT(map_sizes); s++) {
            mf_operand x = map(map_sizes[s][0], map_sizes[s][1], map_sizes[s][2], widths[w]);
            batchnorm_grad(m, x);
            layernorm_grad(m, x);
            groupnorm_grad(m, x, widths[w] == 3 ? 1 : 8);
        }
    }
    layernorm_grad(m, matrix(1, 1536));
    layernorm_grad(m, matrix(5, 4097));
    layernorm_grad(m, map(1, 32, 32, 96));
    groupnorm_grad(m, map(2, 9, 9, 130), 2);
    groupnorm_grad(m, map(1, 16, 16, 128), 32);
    groupnorm_grad(m, map(3, 7, 5, 40), 40);
    batchnorm_grad(m, tokens(3, 62, 1));
    batchnorm_grad(m, map(4, 16, 64, 64));
    l2norm_grad(m, 3, 3, 1e-12);
    l2norm_grad(m, 5, 2048, 1e-12);
    l2norm_grad(m, 300, 40, 1e-12);
    l2norm_grad(m, 300, 40, 6.3); /* about half of the rows are longer */
    l2norm_grad(m, 3, 1792, 1e6);
}

/* ---- convolutions ---- */

static void conv2d_grad(const maker *m, mf_operand x, int64_t outputs, const window *w) {
    ops_case forward = start(MF_OP_CONV2D, 2);
    if (!slide(&forward, x, outputs, w))
        return;
    char text[100];
    const double taps = (double)(x.dim[3] * w->kernel[0] * w->kernel[1]);
    snprintf(text, sizeof(text), "%dx%dx%dx%d to %d, %dx%d / %d,%d pad %d,%d", (int)x.dim[0], (int)x.dim[1],
             (int)x.dim[2], (int)x.dim[3], (int)outputs, w->kernel[0], w->kernel[1], w->stride[0], w->stride[1],
             w->pad[0], w->pad[1]);
    ops_case c = start(MF_OP_CONV2D_GRAD_INPUT, 2);
    c.op.attrs = forward.op.attrs;
    c.op.attrs.size[0] = x.dim[1];
    c.op.attrs.size[1] = x.dim[2];
    c.op.input[0] = forward.op.output;
    c.batched = 1;
    parameter(&c, 1, map(outputs, x.dim[3], w->kernel[0], w->kernel[1]), 0, 1 / sqrt(taps));
    grad(m, &c, "%s", text);
    c = start(MF_OP_CONV2D_GRAD_WEIGHT, 2);
    c.op.attrs = forward.op.attrs;
    c.op.input[0] = x;
    c.op.input[1] = forward.op.output;
    grad(m, &c, "%s", text);
}

static void dwconv2d_grad(const maker *m, mf_operand x, int kh, int kw) {
    const window w = {{kh, kw}, {1, 1}, {kh / 2, kw / 2}};
    ops_case c = start(MF_OP_DWCONV2D_GRAD_INPUT, 2);
    slide(&c, x, x.dim[3], &w);
    parameter(&c, 1, map(x.dim[3], 1, kh, kw), 0, 1 / sqrt((double)kh * kw));
    grad(m, &c, "%dx%dx%dx%d, %dx%d", (int)x.dim[0], (int)x.dim[1], (int)x.dim[2], (int)x.dim[3], kh, kw);
    c = start(MF_OP_DWCONV2D_GRAD_WEIGHT, 2);
    slide(&c, x, x.dim[3], &w);
    c.op.input[1] = x;
    c.batched = 0;
    grad(m, &c, "%dx%dx%dx%d, %dx%d", (int)x.dim[0], (int)x.dim[1], (int)x.dim[2], (int)x.dim[3], kh, kw);
}

static void all_convolutions(const maker *m) {
    static const window w[] = {{{1, 1}, {1, 1}, {0, 0}}, {{2, 2}, {2, 2}, {0, 0}}, {{3, 3}, {1, 1}, {1, 1}},
                               {{3, 3}, {2, 2}, {1, 1}}, {{4, 4}, {4, 4}, {0, 0}}, {{7, 7}, {2, 2}, {3, 3}},
                               {{5, 1}, {1, 1}, {2, 0}}, {{1, 1}, {2, 2}, {0, 0}}, {{9, 9}, {1, 1}, {4, 4}},
                               {{3, 2}, {1, 3}, {0, 1}}, {{2, 3}, {3, 1}, {1, 0}}};
    static const window column[] = {{{81, 1}, {1, 1}, {40, 0}}, {{5, 1}, {1, 1}, {2, 0}}};
    for (size_t i = 0; i < MF_COUNT(w); i++) {
        conv2d_grad(m, map(1, 1, 1, 3), 5, &w[i]);
        conv2d_grad(m, map(3, 7, 11, 1), 1, &w[i]);
        conv2d_grad(m, map(2, 15, 15, 3), 17, &w[i]);
        conv2d_grad(m, map(1, 9, 13, 40), 24, &w[i]);
    }
    conv2d_grad(m, map(1, 622, 1, 1), 1, &column[0]);
    conv2d_grad(m, map(2, 62, 1, 40), 40, &column[1]);
    conv2d_grad(m, map(2, 32, 32, 3), 96, &w[4]);  /* stem */
    conv2d_grad(m, map(2, 8, 8, 96), 192, &w[1]);  /* downsampling */
    conv2d_grad(m, map(1, 14, 14, 64), 64, &w[2]); /* ResNet */
    conv2d_grad(m, map(2, 48, 48, 8), 24, &w[2]);  /* many rows */
    for (size_t s = 0; s < MF_COUNT(map_sizes); s++) {
        const int64_t *size = map_sizes[s];
        dwconv2d_grad(m, map(size[0], size[1], size[2], 3), 3, 3);
        dwconv2d_grad(m, map(size[0], size[1], size[2], 40), 7, 7);
        dwconv2d_grad(m, map(size[0], size[1], size[2], 21), 5, 1);
    }
    dwconv2d_grad(m, map(1, 3, 5, 96), 7, 13);
    dwconv2d_grad(m, map(2, 16, 16, 96), 7, 7);
    dwconv2d_grad(m, map(1, 62, 1, 3), 81, 1);
}

/* ---- pools and copies ---- */

static void pyramid_grad(const maker *m, mf_operand x, int count, const int levels[][2]) {
    ops_case c = start(MF_OP_PYRAMID_POOL_GRAD, 1);
    int64_t cells = 0;
    c.op.attrs.level_count = count;
    c.op.attrs.size[0] = x.dim[1];
    c.op.attrs.size[1] = x.dim[2];
    for (int i = 0; i < count; i++) {
        memcpy(c.op.attrs.levels[i], levels[i], sizeof(levels[i]));
        cells += (int64_t)levels[i][0] * levels[i][1];
    }
    c.op.input[0] = tokens(x.dim[0], cells, x.dim[3]);
    c.batched = 1;
    grad(m, &c, "%dx%dx%dx%d from %d cells", (int)x.dim[0], (int)x.dim[1], (int)x.dim[2], (int)x.dim[3], (int)cells);
}

/* whole: values that are often equal, as after a ReLU */
static void maxpool_grad(const maker *m, mf_operand x, const window *w, int whole) {
    ops_case c = start(MF_OP_MAXPOOL_GRAD, 2);
    if (!slide(&c, x, x.dim[3], w))
        return;
    c.op.input[1] = c.op.output;
    c.batched = 3;
    c.fill[0] = (ops_fill){-2, 1, whole ? OPS_WHOLE : OPS_SIGNED};
    grad(m, &c, "%dx%dx%dx%d, %dx%d, whole %d", (int)x.dim[0], (int)x.dim[1], (int)x.dim[2], (int)x.dim[3],
         w->kernel[0], w->kernel[1], whole);
}

static void channel_max_grad(const maker *m, mf_operand x, int whole) {
    ops_case c = start(MF_OP_CHANNEL_MAX_GRAD, 2);
    c.op.input[0] = c.op.input[1] = x;
    c.op.input[1].dim[x.ndim - 1] = 1;
    c.batched = 3;
    c.fill[0] = (ops_fill){-3, 1, whole ? OPS_WHOLE : OPS_SIGNED};
    grad(m, &c, "%d of %d, %d dimensions, whole %d", (int)mf_operand_rows(&x), (int)mf_operand_last(&x), x.ndim, whole);
}

static void pad(const maker *m, mf_operand x, int axis, int64_t begin, int64_t end) {
    ops_case c = start(MF_OP_PAD, 1);
    c.op.input[0] = x;
    c.op.attrs.axis = axis;
    c.op.attrs.begin = begin;
    c.op.attrs.end = end;
    c.batched = axis > 0;
    grad(m, &c, "%d elements, axis %d, from %d of %d", (int)mf_operand_count(&x), axis, (int)begin, (int)end);
}

static void all_pools(const maker *m) {
    static const int aerial[][2] = {{1, 1}, {6, 6}, {12, 12}, {21, 21}}, one[][2] = {{1, 1}};
    static const int ground[][2] = {{1, 1}, {3, 12}, {6, 24}, {7, 63}};
    static const int odd[][2] = {{2, 3}, {15, 1}, {1, 20}, {9, 4}, {1, 1}, {3, 3}, {5, 2}, {7, 7}};
    static const window w[] = {
        {{3, 3}, {2, 2}, {1, 1}}, {{2, 2}, {2, 2}, {0, 0}}, {{3, 5}, {1, 3}, {1, 2}}, {{1, 1}, {1, 1}, {0, 0}}};
    for (size_t s = 0; s < MF_COUNT(map_sizes); s++)
        for (size_t i = 0; i < MF_COUNT(widths); i++) {
            mf_operand x = map(map_sizes[s][0], map_sizes[s][1], map_sizes[s][2], widths[i]);
            if (i % 2)
                pyramid_grad(m, x, 4, s % 2 ? aerial : ground);
            else
                pyramid_grad(m, x, 8, odd);
            for (size_t k = 0; k < MF_COUNT(w); k++)
                maxpool_grad(m, x, &w[k], (int)(i + k) % 2);
            channel_max_grad(m, x, (int)i % 2);
        }
    pyramid_grad(m, map(2, 8, 8, 128), 4, aerial);
    pyramid_grad(m, map(2, 4, 16, 128), 4, ground);
    pyramid_grad(m, map(2, 5, 7, 1), 1, one);
    channel_max_grad(m, tokens(3, 62, 1), 0);
    for (int64_t n = 1; n <= 3; n += 2) {
        pad(m, tokens(n, 64, 40), 1, 62, 195);
        pad(m, tokens(n, 15, 7), 2, 0, 9);
        pad(m, map(n, 3, 5, 2), 1, 2, 5);
        pad(m, tokens(2, 5, n), 0, n, 7);
        pad(m, shape(1, 100 * n, 0, 0, 0), 0, 17, 1000);
    }
}

/* ---- attention, gates, the loss ---- */

static void attention_grad(const maker *m, const int64_t nts[3], int64_t channels, int heads, mf_attention kind) {
    ops_case c = start(MF_OP_ATTENTION_GRAD, 4);
    c.op.input[0] = c.op.input[3] = tokens(nts[0], nts[1], channels);
    c.op.input[1] = c.op.input[2] = tokens(nts[0], nts[2], channels);
    c.op.attrs.heads = heads;
    c.op.attrs.attention = kind;
    c.op.attrs.eps = 1e-6;
    grad(m, &c, "%s, %d: %d of %d, %d heads of %d", kind == MF_ATTENTION_LINEAR ? "linear" : "softmax", (int)nts[0],
         (int)nts[1], (int)nts[2], heads, (int)channels / heads);
}

static void gated_mean_grad(const maker *m, mf_operand x) {
    const int64_t channels = mf_operand_last(&x), t = mf_operand_rows(&x) / x.dim[0];
    ops_case c = start(MF_OP_GATED_MEAN_GRAD, 4);
    c.op.input[0] = x;
    c.op.input[1] = c.op.input[3] = tokens(x.dim[0], 1, channels);
    c.op.input[2] = tokens(x.dim[0], t, 1);
    c.fill[0].offset = 0.5;
    c.fill[1] = c.fill[2] = (ops_fill){0.1, 0.3, OPS_POSITIVE};
    grad(m, &c, "%d x %d of %d, %d dimensions", (int)x.dim[0], (int)t, (int)channels, x.ndim);
}

static void infonce(const maker *m, int64_t n, int64_t size, double smoothing) {
    for (int gradient = 0; gradient < 2; gradient++) {
        ops_case c = start(gradient ? MF_OP_INFONCE_GRAD : MF_OP_INFONCE, 3 + gradient);
        c.op.input[0] = c.op.input[1] = matrix(n, size);
        c.op.input[2] = shape(0, 0, 0, 0, 0);
        c.op.input[3] = shape(gradient ? 1 : -1, 1, 0, 0, 0);
        c.fill[0].scale = c.fill[1].scale = 1 / sqrt((double)size);
        c.fill[2] = (ops_fill){2.66, 0.01, OPS_SIGNED}; /* ln(1 / 0.07) */
        c.op.attrs.rate = smoothing;
        c.tolerance = 1e-5; /* logits of f32 are as large as 1 / 0.07 */
        grad(m, &c, "%d x %d, smoothing %g", (int)n, (int)size, smoothing);
    }
}

static void all_heads(const maker *m) {
    static const int64_t form[][3] = {{1, 1, 2}, {3, 1, 7}, {2, 7, 3}, {2, 33, 41}, {1, 84, 150}};
    static const int channels[] = {8, 40, 96, 128};
    for (int kind = MF_ATTENTION_LINEAR; kind <= MF_ATTENTION_SOFTMAX; kind++)
        for (int heads = 1; heads <= 8; heads *= 2)
            for (size_t f = 0; f < MF_COUNT(form); f++)
                for (size_t i = 0; i < MF_COUNT(channels); i++)
                    if (form[f][1] < 20 || heads == 4 || (heads == 1 && i == 1))
                        attention_grad(m, form[f], channels[i], heads, (mf_attention)kind);
    for (size_t w = 0; w < MF_COUNT(widths); w++)
        for (size_t s = 0; s < MF_COUNT(map_sizes); s++)
            gated_mean_grad(m, map(map_sizes[s][0], map_sizes[s][1], map_sizes[s][2], widths[w]));
    gated_mean_grad(m, tokens(3, 62, 128));
    infonce(m, 2, 3, 0.1);
    infonce(m, 8, 2048, 0.1);
    infonce(m, 33, 70, 0);
    infonce(m, 64, 256, 0.1);
}

void ops_each_gradient_case(const maker *m) {
    all_rows(m);
    all_elements(m);
    all_norms(m);
    all_convolutions(m);
    all_pools(m);
    all_heads(m);
}
