/* CONV2D: out[n, y, x, o] = residual + scale[o] act(bias[o] +
 *             sum over i, j, c of x[n, y sh + i - ph, x sw + j - pw, c] w[o, c, i, j]), zeros outside the map.
 *
 * A product (gemm.h) of the gathered windows, [N Ho Wo, kh kw C], and the weight, laid out in panels in the order
 * (i, j, c), in which the channels of a pixel lie side by side. */
#include "backends/ref/gemm.h"

static int64_t depth(const mf_op *op) {
    const mf_operand *w = &op->input[MF_IN_W];
    return w->dim[1] * w->dim[2] * w->dim[3];
}

size_t REF(conv2d_pack_bytes)(const mf_kernel *kernel, int input) {
    (void)input;
    return REF(gemm_panel_bytes)(kernel->op.input[MF_IN_W].dim[0], depth(&kernel->op));
}

size_t REF(conv2d_scratch)(const mf_kernel *kernel) {
    size_t panels = kernel->packed ? 0 : ref_round_up(REF(conv2d_pack_bytes)(kernel, MF_IN_W));
    return panels + REF(gemm_scratch)(kernel, depth(&kernel->op));
}

typedef struct pack_job {
    const mf_operand *operand;
    const real *w;
    real *panels;
} pack_job;

static void pack_panels(void *arg, int task, int64_t begin, int64_t end) {
    const pack_job *j = arg;
    const int64_t n = j->operand->dim[0], channels = j->operand->dim[1];
    const int64_t taps = j->operand->dim[2] * j->operand->dim[3], k = channels * taps;
    (void)task;
    for (int64_t p = begin; p < end; p++) {
        real *to = j->panels + p * k * GEMM_NR;
        for (int64_t tap = 0; tap < taps; tap++)
            for (int64_t c = 0; c < channels; c++, to += GEMM_NR)
                for (int64_t i = 0; i < GEMM_NR; i++) {
                    int64_t o = p * GEMM_NR + i;
                    to[i] = o < n ? j->w[(o * channels + c) * taps + tap] : 0;
                }
    }
}

void REF(conv2d_pack)(const mf_kernel *kernel, int input, const void *plain, void *packed) {
    (void)input;
    const mf_operand *w = &kernel->op.input[MF_IN_W];
    pack_job j = {w, plain, packed};
    ref_parallel(kernel, (w->dim[0] + GEMM_NR - 1) / GEMM_NR, (double)(GEMM_NR * depth(&kernel->op)), pack_panels, &j);
}

/* The window of output position `row`, into column i of the tile. */
static void gather(const mf_op *op, const real *x, int64_t row, real *tile) {
    const mf_operand *in = &op->input[MF_IN_X], *out = &op->output;
    const mf_attrs *a = &op->attrs;
    const int64_t height = in->dim[1], width = in->dim[2], channels = in->dim[3];
    const int64_t ox = row % out->dim[2], oy = row / out->dim[2] % out->dim[1];
    x += row / out->dim[2] / out->dim[1] * height * width * channels;
    for (int i = 0; i < a->kernel[0]; i++)
        for (int j = 0; j < a->kernel[1]; j++, tile += channels * GEMM_MR) {
            int64_t iy = oy * a->stride[0] + i - a->pad[0], ix = ox * a->stride[1] + j - a->pad[1];
            if (iy < 0 || iy >= height || ix < 0 || ix >= width) {
                for (int64_t c = 0; c < channels; c++)
                    tile[c * GEMM_MR] = 0;
                continue;
            }
            const real *pixel = x + (iy * width + ix) * channels;
            for (int64_t c = 0; c < channels; c++)
                tile[c * GEMM_MR] = pixel[c];
        }
}

static void fill(const mf_kernel *kernel, const void *source, int64_t row, int64_t rows, real *tile) {
    if (rows < GEMM_MR)
        memset(tile, 0, (size_t)(depth(&kernel->op) * GEMM_MR) * sizeof(real));
    for (int64_t i = 0; i < rows; i++)
        gather(&kernel->op, source, row + i, tile + i);
}

MF_REF_RUN(conv2d) {
    const mf_op *op = &kernel->op;
    gemm g = {
        .m = mf_operand_rows(&op->output),
        .n = mf_operand_last(&op->output),
        .k = depth(op),
        .fill = fill,
        .source = inputs[MF_IN_X],
        .panels = inputs[MF_IN_W],
        .bias = ref_input(kernel, inputs, MF_IN_BIAS),
        .scale = ref_input(kernel, inputs, MF_IN_SCALE),
        .residual = ref_input(kernel, inputs, MF_IN_RESIDUAL),
        .out = output,
        .act = op->attrs.act,
        .scratch = scratch,
    };
    if (!kernel->packed) {
        REF(conv2d_pack)(kernel, MF_IN_W, inputs[MF_IN_W], scratch);
        g.panels = scratch;
        g.scratch = (char *)scratch + ref_round_up(REF(conv2d_pack_bytes)(kernel, MF_IN_W));
    }
    REF(gemm)(kernel, &g);
}
