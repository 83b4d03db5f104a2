/* PYRAMID_POOL_GRAD: each pixel collects, from the cells that hold it, their gradient over their size.
 * MAXPOOL_GRAD: the place of each window's maximum first (the first largest, or a NaN: as the forward pass and PyTorch
 * have it), then each pixel collects from the windows whose maximum it is.
 * CHANNEL_MAX_GRAD: dy at the first largest of a row, zeros elsewhere.
 * Sums in double.  Threads: parts of the pixels, of the windows, of the rows. */
#include "backends/ref/real.h"

enum { BLOCK = 64 };

/* ---- PYRAMID_POOL_GRAD ---- */

typedef struct pyramid_job {
    const mf_op *op;
    const real *dy;
    real *out;
    int64_t tokens;
} pyramid_job;

/* The cells of `count` over a length that hold place `at`: first .. end - 1. */
static void cells_at(int64_t at, int64_t length, int64_t count, int64_t *first, int64_t *end) {
    *first = at * count / length;
    *end = ((at + 1) * count + length - 1) / length;
}

static int64_t cell_size(int64_t i, int64_t length, int64_t count) {
    return ((i + 1) * length + count - 1) / count - i * length / count;
}

/* Adds what one level gives the channels first .. first + block - 1 of pixel (y, x). */
static void add_level(const pyramid_job *j, const int *level, const real *dy, int64_t y, int64_t x, int64_t block,
                      double *sum) {
    const int64_t *dim = j->op->output.dim;
    int64_t row, row_end, column, column_end;
    cells_at(y, dim[1], level[0], &row, &row_end);
    cells_at(x, dim[2], level[1], &column, &column_end);
    for (int64_t r = row; r < row_end; r++)
        for (int64_t k = column; k < column_end; k++) {
            const double size = (double)(cell_size(r, dim[1], level[0]) * cell_size(k, dim[2], level[1]));
            const real *from = dy + (r * level[1] + k) * dim[3];
            for (int64_t c = 0; c < block; c++)
                sum[c] += (double)from[c] / size;
        }
}

static void pyramid_pixels(void *arg, int task, int64_t begin, int64_t end) {
    const pyramid_job *j = arg;
    const int64_t *dim = j->op->output.dim, channels = dim[3];
    (void)task;
    for (int64_t p = begin; p < end; p++)
        for (int64_t first = 0; first < channels; first += BLOCK) {
            const int64_t block = ref_min(channels - first, BLOCK), image = p / (dim[1] * dim[2]);
            const real *dy = j->dy + image * j->tokens * channels + first;
            double sum[BLOCK] = {0};
            for (int i = 0; i < j->op->attrs.level_count; i++) {
                const int *level = j->op->attrs.levels[i];
                add_level(j, level, dy, p / dim[2] % dim[1], p % dim[2], block, sum);
                dy += (int64_t)level[0] * level[1] * channels;
            }
            for (int64_t c = 0; c < block; c++)
                j->out[p * channels + first + c] = (real)sum[c];
        }
}

MF_REF_RUN(pyramid_pool_grad) {
    const mf_op *op = &kernel->op;
    pyramid_job j = {op, inputs[0], output, op->input[0].dim[1]};
    (void)scratch;
    ref_parallel(kernel, mf_operand_rows(&op->output), 4.0 * (double)op->output.dim[3] * op->attrs.level_count,
                 pyramid_pixels, &j);
}

/* ---- MAXPOOL_GRAD ---- */

typedef struct max_job {
    const mf_op *op;
    const real *x, *dy;
    int32_t *place; /* of each element of dy: the pixel of the map */
    real *out;
} max_job;

size_t REF(maxpool_grad_scratch)(const mf_kernel *kernel) {
    return (size_t)mf_operand_count(&kernel->op.input[1]) * sizeof(int32_t);
}

static void find_places(void *arg, int task, int64_t begin, int64_t end) {
    const max_job *j = arg;
    const mf_attrs *a = &j->op->attrs;
    const int64_t *dim = j->op->input[0].dim, *to = j->op->input[1].dim, channels = dim[3];
    (void)task;
    for (int64_t p = begin; p < end; p++) {
        const real *map = j->x + p / (to[1] * to[2]) * dim[1] * dim[2] * channels;
        const int64_t top = p / to[2] % to[1] * a->stride[0] - a->pad[0], left = p % to[2] * a->stride[1] - a->pad[1];
        const int64_t y0 = top < 0 ? 0 : top, x0 = left < 0 ? 0 : left;
        int32_t *place = j->place + p * channels;
        for (int64_t c = 0; c < channels; c++)
            place[c] = (int32_t)(y0 * dim[2] + x0);
        for (int64_t y = y0; y < ref_min(top + a->kernel[0], dim[1]); y++)
            for (int64_t x = x0; x < ref_min(left + a->kernel[1], dim[2]); x++)
                for (int64_t c = 0; c < channels; c++) {
                    const real v = map[(y * dim[2] + x) * channels + c];
                    if (v > map[place[c] * channels + c] || v != v)
                        place[c] = (int32_t)(y * dim[2] + x);
                }
    }
}

/* The windows along one side that hold `at`: first .. end - 1. */
static void windows_at(int64_t at, int kernel, int stride, int pad, int64_t count, int64_t *first, int64_t *end) {
    const int64_t low = at + pad - kernel + 1;
    *first = low <= 0 ? 0 : (low + stride - 1) / stride;
    *end = ref_min((at + pad) / stride + 1, count);
}

static void max_pixels(void *arg, int task, int64_t begin, int64_t end) {
    const max_job *j = arg;
    const mf_attrs *a = &j->op->attrs;
    const int64_t *dim = j->op->input[0].dim, *to = j->op->input[1].dim, channels = dim[3];
    (void)task;
    for (int64_t p = begin; p < end; p++) {
        const int64_t image = p / (dim[1] * dim[2]), y = p / dim[2] % dim[1], x = p % dim[2];
        int64_t row, row_end, column, column_end;
        windows_at(y, a->kernel[0], a->stride[0], a->pad[0], to[1], &row, &row_end);
        windows_at(x, a->kernel[1], a->stride[1], a->pad[1], to[2], &column, &column_end);
        for (int64_t c = 0; c < channels; c++) {
            double sum = 0;
            for (int64_t r = row; r < row_end; r++)
                for (int64_t k = column; k < column_end; k++) {
                    const int64_t at = ((image * to[1] + r) * to[2] + k) * channels + c;
                    if (j->place[at] == y * dim[2] + x)
                        sum += (double)j->dy[at];
                }
            j->out[p * channels + c] = (real)sum;
        }
    }
}

MF_REF_RUN(maxpool_grad) {
    const mf_op *op = &kernel->op;
    max_job j = {op, inputs[0], inputs[1], scratch, output};
    const double area = (double)op->attrs.kernel[0] * op->attrs.kernel[1];
    ref_parallel(kernel, mf_operand_rows(&op->input[1]), area * (double)op->output.dim[3], find_places, &j);
    ref_parallel(kernel, mf_operand_rows(&op->output), 4.0 * (double)op->output.dim[3], max_pixels, &j);
}

/* ---- CHANNEL_MAX_GRAD ---- */

typedef struct row_job {
    const real *x, *dy;
    real *out;
    int64_t channels;
} row_job;

static void max_rows(void *arg, int task, int64_t begin, int64_t end) {
    const row_job *j = arg;
    (void)task;
    for (int64_t r = begin; r < end; r++) {
        const real *x = j->x + r * j->channels;
        real *out = j->out + r * j->channels;
        int64_t place = 0;
        for (int64_t c = 0; c < j->channels && x[place] == x[place]; c++) /* until a NaN */
            if (x[c] > x[place] || x[c] != x[c])
                place = c;
        memset(out, 0, (size_t)j->channels * sizeof(real));
        out[place] = j->dy[r];
    }
}

MF_REF_RUN(channel_max_grad) {
    row_job j = {inputs[0], inputs[1], output, mf_operand_last(&kernel->op.input[0])};
    (void)scratch;
    ref_parallel(kernel, mf_operand_rows(&kernel->op.input[0]), (double)j.channels, max_rows, &j);
}
