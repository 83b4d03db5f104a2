/* The gradients of CONV2D as products (gemm.h).
 *
 * CONV2D_GRAD_INPUT: an image at a time, columns[Ho Wo, kh kw C] = dy w, then each pixel of dx collects its own from
 * the windows that hold it (a gather: no two threads write to one place).
 * CONV2D_GRAD_WEIGHT: [kh kw C, O] = windows(x)^T dy over all positions of the batch, then turned to [O, C, kh, kw]. */
#include "backends/ref/gemm.h"

enum { BLOCK = 64 };

/* The map x, the map of the windows, and the weight. */
typedef struct form {
    const mf_attrs *attrs;
    int64_t images, height, width, channels, out_height, out_width, outputs, taps;
} form;

static form form_of(const mf_op *op) {
    const int to_input = op->kind == MF_OP_CONV2D_GRAD_INPUT;
    const int64_t *x = to_input ? op->output.dim : op->input[0].dim,
                  *y = to_input ? op->input[0].dim : op->input[1].dim;
    return (form){
        &op->attrs, x[0], x[1], x[2], x[3], y[1], y[2], y[3], (int64_t)op->attrs.kernel[0] * op->attrs.kernel[1]};
}

/* ---- of the input ---- */

typedef struct input_job {
    form f;
    const real *w;
    real *panels, *columns, *out;
} input_job;

static size_t columns_bytes(const form *f) {
    return (size_t)(f->out_height * f->out_width * f->taps * f->channels) * sizeof(real);
}

size_t REF(conv2d_grad_input_scratch)(const mf_kernel *kernel) {
    const form f = form_of(&kernel->op);
    return ref_round_up(REF(gemm_panel_bytes)(f.taps * f.channels, f.outputs)) + ref_round_up(columns_bytes(&f)) +
           REF(gemm_scratch)(kernel, f.outputs);
}

/* Panels of w as [O][tap][C]. */
static void pack_weight(void *arg, int task, int64_t begin, int64_t end) {
    const input_job *j = arg;
    const form *f = &j->f;
    (void)task;
    for (int64_t p = begin; p < end; p++)
        for (int64_t i = 0; i < GEMM_NR; i++) {
            const int64_t at = p * GEMM_NR + i, tap = at / f->channels, c = at % f->channels;
            real *to = j->panels + p * f->outputs * GEMM_NR + i;
            for (int64_t o = 0; o < f->outputs; o++)
                to[o * GEMM_NR] = tap < f->taps ? j->w[(o * f->channels + c) * f->taps + tap] : 0;
        }
}

static void fill_rows(const mf_kernel *kernel, const void *source, int64_t row, int64_t rows, real *tile) {
    const int64_t k = mf_operand_last(&kernel->op.input[0]);
    if (rows < GEMM_MR)
        memset(tile, 0, (size_t)(k * GEMM_MR) * sizeof(real));
    for (int64_t i = 0; i < rows; i++) {
        const real *a = (const real *)source + (row + i) * k;
        for (int64_t p = 0; p < k; p++)
            tile[p * GEMM_MR + i] = a[p];
    }
}

/* The window that has `at` under its tap, along one side; -1: none. */
static int64_t window_at(int64_t at, int tap, int stride, int pad, int64_t count) {
    const int64_t from = at + pad - tap;
    return from < 0 || from % stride || from / stride >= count ? -1 : from / stride;
}

static void collect(const input_job *j, int64_t y, int64_t x, int64_t first, int64_t block, double *sum) {
    const form *f = &j->f;
    const mf_attrs *a = f->attrs;
    memset(sum, 0, BLOCK * sizeof(*sum));
    for (int i = 0; i < a->kernel[0]; i++) {
        const int64_t oy = window_at(y, i, a->stride[0], a->pad[0], f->out_height);
        for (int k = 0; oy >= 0 && k < a->kernel[1]; k++) {
            const int64_t ox = window_at(x, k, a->stride[1], a->pad[1], f->out_width);
            if (ox < 0)
                continue;
            const int64_t window = oy * f->out_width + ox, tap = (int64_t)i * a->kernel[1] + k;
            const real *from = j->columns + (window * f->taps + tap) * f->channels + first;
            for (int64_t c = 0; c < block; c++)
                sum[c] += (double)from[c];
        }
    }
}

static void collect_pixels(void *arg, int task, int64_t begin, int64_t end) {
    const input_job *j = arg;
    const int64_t channels = j->f.channels;
    double sum[BLOCK];
    (void)task;
    for (int64_t p = begin; p < end; p++)
        for (int64_t first = 0; first < channels; first += BLOCK) {
            const int64_t block = ref_min(channels - first, BLOCK);
            collect(j, p / j->f.width, p % j->f.width, first, block, sum);
            for (int64_t c = 0; c < block; c++)
                j->out[p * channels + first + c] = (real)sum[c];
        }
}

MF_REF_RUN(conv2d_grad_input) {
    input_job j = {.f = form_of(&kernel->op), .w = inputs[1], .panels = scratch};
    const form *f = &j.f;
    const int64_t n = f->taps * f->channels, m = f->out_height * f->out_width, pixels = f->height * f->width;
    const real *dy = inputs[0];
    j.columns = (real *)(void *)((char *)scratch + ref_round_up(REF(gemm_panel_bytes)(n, f->outputs)));
    gemm g = {.m = m, .n = n, .k = f->outputs, .fill = fill_rows, .panels = j.panels, .out = j.columns};
    g.scratch = (char *)j.columns + ref_round_up(columns_bytes(f));
    ref_parallel(kernel, (n + GEMM_NR - 1) / GEMM_NR, (double)(GEMM_NR * f->outputs), pack_weight, &j);
    for (int64_t i = 0; i < f->images; i++) {
        g.source = dy + i * m * f->outputs;
        j.out = (real *)output + i * pixels * f->channels;
        REF(gemm)(kernel, &g);
        ref_parallel(kernel, pixels, (double)n, collect_pixels, &j);
    }
}

/* ---- of the weight ---- */

typedef struct weight_job {
    form f;
    const real *dy, *product;
    real *panels, *out;
} weight_job;

static int64_t positions(const form *f) {
    return f->images * f->out_height * f->out_width;
}

size_t REF(conv2d_grad_weight_scratch)(const mf_kernel *kernel) {
    const form f = form_of(&kernel->op);
    return ref_round_up(REF(gemm_panel_bytes)(f.outputs, positions(&f))) +
           ref_round_up((size_t)mf_operand_count(&kernel->op.output) * sizeof(real)) +
           REF(gemm_scratch)(kernel, positions(&f));
}

static void pack_gradient(void *arg, int task, int64_t begin, int64_t end) {
    const weight_job *j = arg;
    const int64_t k = positions(&j->f), n = j->f.outputs;
    (void)task;
    for (int64_t p = begin; p < end; p++) {
        real *to = j->panels + p * k * GEMM_NR;
        for (int64_t m = 0; m < k; m++, to += GEMM_NR)
            for (int64_t i = 0; i < GEMM_NR; i++)
                to[i] = p * GEMM_NR + i < n ? j->dy[m * n + p * GEMM_NR + i] : 0;
    }
}

/* Rows are taps and channels, columns the windows of the batch. */
static void fill_windows(const mf_kernel *kernel, const void *source, int64_t row, int64_t rows, real *tile) {
    const form f = form_of(&kernel->op);
    const mf_attrs *a = f.attrs;
    if (rows < GEMM_MR)
        memset(tile, 0, (size_t)(positions(&f) * GEMM_MR) * sizeof(real));
    for (int64_t i = 0; i < rows; i++) {
        const int64_t tap = (row + i) / f.channels, c = (row + i) % f.channels;
        const int64_t down = tap / a->kernel[1] - a->pad[0], right = tap % a->kernel[1] - a->pad[1];
        real *to = tile + i;
        for (int64_t image = 0; image < f.images; image++)
            for (int64_t oy = 0; oy < f.out_height; oy++) {
                const int64_t y = oy * a->stride[0] + down;
                const int outside = y < 0 || y >= f.height;
                const real *line =
                    (const real *)source + (outside ? 0 : (image * f.height + y) * f.width * f.channels) + c;
                for (int64_t ox = 0; ox < f.out_width; ox++, to += GEMM_MR) {
                    const int64_t x = ox * a->stride[1] + right;
                    *to = outside || x < 0 || x >= f.width ? 0 : line[x * f.channels];
                }
            }
    }
}

static void turn(void *arg, int task, int64_t begin, int64_t end) {
    const weight_job *j = arg;
    const form *f = &j->f;
    (void)task;
    for (int64_t o = begin; o < end; o++)
        for (int64_t c = 0; c < f->channels; c++)
            for (int64_t tap = 0; tap < f->taps; tap++)
                j->out[(o * f->channels + c) * f->taps + tap] = j->product[(tap * f->channels + c) * f->outputs + o];
}

MF_REF_RUN(conv2d_grad_weight) {
    weight_job j = {.f = form_of(&kernel->op), .dy = inputs[1], .panels = scratch, .out = output};
    const form *f = &j.f;
    const int64_t rows = f->taps * f->channels, k = positions(f), panels = (f->outputs + GEMM_NR - 1) / GEMM_NR;
    real *product = (real *)(void *)((char *)scratch + ref_round_up(REF(gemm_panel_bytes)(f->outputs, k)));
    gemm g = {.m = rows, .n = f->outputs, .k = k, .fill = fill_windows, .source = inputs[0], .panels = j.panels};
    g.out = product;
    g.scratch = (char *)product + ref_round_up((size_t)(rows * f->outputs) * sizeof(real));
    j.product = product;
    ref_parallel(kernel, panels, (double)(GEMM_NR * k), pack_gradient, &j);
    REF(gemm)(kernel, &g);
    ref_parallel(kernel, f->outputs, 2.0 * (double)rows, turn, &j);
}
