/* DWCONV2D: out[n, y, x, c] = bias[c] + sum over i, j of x[n, y + i - ph, x + j - pw, c] w[c, 0, i, j], zeros outside
 * the map; then, with attrs.norm, layer normalisation over c.
 *
 * DWCONV2D_GRAD_INPUT, dy and w -> dx, is the same with the kernel turned by half a turn: with "same" padding of an odd
 * kernel, dx[y, x] = sum over i, j of dy[y - i + ph, x - j + pw] w[i, j].
 *
 * The weight is turned to [kh kw][C], so that channels are innermost everywhere.  BLOCK channels of a position are
 * summed in registers, DEPTH taps at most in `real`, the rest in double.  Threads: parts of the rows of all maps. */
#include "backends/ref/real.h"

enum { BLOCK = 16, DEPTH = 32 };

size_t REF(dwconv2d_pack_bytes)(const mf_kernel *kernel, int input) {
    (void)input;
    return (size_t)mf_operand_count(&kernel->op.input[MF_IN_W]) * sizeof(real);
}

size_t REF(dwconv2d_scratch)(const mf_kernel *kernel) {
    return kernel->packed ? 0 : REF(dwconv2d_pack_bytes)(kernel, MF_IN_W);
}

void REF(dwconv2d_pack)(const mf_kernel *kernel, int input, const void *plain, void *packed) {
    (void)input;
    const mf_operand *w = &kernel->op.input[MF_IN_W];
    const int turned = kernel->op.kind == MF_OP_DWCONV2D_GRAD_INPUT;
    const int64_t channels = w->dim[0], taps = w->dim[2] * w->dim[3];
    for (int64_t c = 0; c < channels; c++)
        for (int64_t t = 0; t < taps; t++)
            ((real *)packed)[t * channels + c] = ((const real *)plain)[c * taps + (turned ? taps - 1 - t : t)];
}

typedef struct job {
    const mf_op *op;
    const real *x, *w, *bias, *gamma, *beta;
    real *out;
    int norm;
} job;

/* The taps of one position: rows i .. i_end - 1 and columns j .. j_end - 1 of the kernel lie inside the map. */
typedef struct window {
    const real *x;      /* the pixel under tap (0, 0), which may lie outside */
    int64_t row, pixel; /* steps to the next row and pixel */
    int i, i_end, j, j_end, width;
} window;

static inline void sum_block(const window *v, const real *w, int64_t channels, int64_t block, double *sum) {
    real acc[BLOCK] = {0};
    int depth = 0;
    for (int i = v->i; i < v->i_end; i++)
        for (int j = v->j; j < v->j_end; j++) {
            const real *x = v->x + i * v->row + j * v->pixel;
            const real *tap = w + (int64_t)(i * v->width + j) * channels;
            for (int64_t c = 0; c < block; c++)
                acc[c] += x[c] * tap[c];
            if (++depth % DEPTH)
                continue;
            for (int64_t c = 0; c < block; c++) {
                sum[c] += (double)acc[c];
                acc[c] = 0;
            }
        }
    for (int64_t c = 0; c < block; c++)
        sum[c] += (double)acc[c];
}

static void position(const job *j, window v, int64_t channels, real *out) {
    const real *x = v.x;
    for (int64_t c = 0; c < channels; c += BLOCK) {
        int64_t block = ref_min(channels - c, BLOCK);
        double sum[BLOCK] = {0};
        for (int64_t i = 0; j->bias && i < block; i++)
            sum[i] = (double)j->bias[c + i];
        v.x = x + c;
        if (block == BLOCK)
            sum_block(&v, j->w + c, channels, BLOCK, sum);
        else
            sum_block(&v, j->w + c, channels, block, sum);
        for (int64_t i = 0; i < block; i++)
            out[c + i] = (real)sum[i];
    }
    if (j->norm)
        REF(layernorm_row)(out, channels, j->gamma, j->beta, j->op->attrs.eps, out);
}

static int clip(int64_t value, int end) {
    return value < 0 ? 0 : value > end ? end : (int)value;
}

static void rows(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const mf_attrs *a = &j->op->attrs;
    const int64_t *dim = j->op->input[MF_IN_X].dim, channels = dim[3];
    (void)task;
    for (int64_t r = begin; r < end; r++) {
        int64_t y = r % dim[1] - a->pad[0];
        window v = {.row = dim[2] * channels, .pixel = channels, .width = a->kernel[1]};
        v.i = clip(-y, a->kernel[0]);
        v.i_end = clip(dim[1] - y, a->kernel[0]);
        for (int64_t x = 0; x < dim[2]; x++) {
            v.j = clip(a->pad[1] - x, a->kernel[1]);
            v.j_end = clip(dim[2] + a->pad[1] - x, a->kernel[1]);
            v.x = j->x + (r - a->pad[0]) * v.row + (x - a->pad[1]) * v.pixel;
            position(j, v, channels, j->out + (r * dim[2] + x) * channels);
        }
    }
}

MF_REF_RUN(dwconv2d) {
    const mf_op *op = &kernel->op;
    const int64_t *dim = op->input[MF_IN_X].dim;
    job j = {op,
             inputs[MF_IN_X],
             inputs[MF_IN_W],
             ref_input(kernel, inputs, MF_IN_BIAS),
             ref_input(kernel, inputs, MF_IN_GAMMA),
             ref_input(kernel, inputs, MF_IN_BETA),
             output,
             op->kind == MF_OP_DWCONV2D && op->attrs.norm};
    if (!kernel->packed) {
        REF(dwconv2d_pack)(kernel, MF_IN_W, inputs[MF_IN_W], scratch);
        j.w = scratch;
    }
    double cost = (double)(dim[2] * dim[3]) * op->attrs.kernel[0] * op->attrs.kernel[1];
    ref_parallel(kernel, dim[0] * dim[1], cost, rows, &j);
}
