/* PYRAMID_POOL: x [N, H, W, C] -> [N, T, C], the cells of every level one after the other, row-major; cell i of n over
 * a length L averages floor(i L / n) .. ceil((i + 1) L / n) - 1.
 * MAXPOOL: x [N, H, W, C] -> [N, Ho, Wo, C], the maximum of each window; a NaN in a window is its maximum.
 * Threads: parts of the output's positions. */
#include "backends/ref/real.h"

enum { BLOCK = 64 }; /* channels summed at a time */

typedef struct job {
    const mf_op *op;
    const real *x;
    real *out;
} job;

/* Rows y .. y_end - 1 and columns x .. x_end - 1 of a map. */
typedef struct area {
    int64_t y, y_end, x, x_end;
} area;

static area find_cell(const mf_op *op, int64_t token) {
    const int64_t height = op->input[0].dim[1], width = op->input[0].dim[2];
    const int(*level)[2] = op->attrs.levels;
    for (; token >= (int64_t)(*level)[0] * (*level)[1]; level++)
        token -= (int64_t)(*level)[0] * (*level)[1];
    const int64_t rows = (*level)[0], columns = (*level)[1], i = token / columns, j = token % columns;
    return (area){i * height / rows, ((i + 1) * height + rows - 1) / rows, j * width / columns,
                  ((j + 1) * width + columns - 1) / columns};
}

static void average(const real *map, int64_t width, int64_t channels, area a, real *out) {
    const double count = (double)((a.y_end - a.y) * (a.x_end - a.x));
    for (int64_t first = 0; first < channels; first += BLOCK) {
        const int64_t block = ref_min(channels - first, BLOCK);
        double sum[BLOCK] = {0};
        for (int64_t y = a.y; y < a.y_end; y++)
            for (int64_t x = a.x; x < a.x_end; x++)
                for (int64_t c = 0; c < block; c++)
                    sum[c] += (double)map[(y * width + x) * channels + first + c];
        for (int64_t c = 0; c < block; c++)
            out[first + c] = (real)(sum[c] / count);
    }
}

static void average_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const int64_t *dim = j->op->input[0].dim, tokens = mf_operand_rows(&j->op->output) / dim[0];
    (void)task;
    for (int64_t t = begin; t < end; t++)
        average(j->x + t / tokens * dim[1] * dim[2] * dim[3], dim[2], dim[3], find_cell(j->op, t % tokens),
                j->out + t * dim[3]);
}

MF_REF_RUN(pyramid_pool) {
    const mf_op *op = &kernel->op;
    job j = {op, inputs[0], output};
    double reads = (double)mf_operand_count(&op->input[0]) * op->attrs.level_count;
    int64_t tokens = mf_operand_rows(&op->output);
    (void)scratch;
    ref_parallel(kernel, tokens, reads / (double)tokens, average_part, &j);
}

static area find_window(const mf_op *op, int64_t oy, int64_t ox) {
    const mf_attrs *a = &op->attrs;
    const int64_t height = op->input[0].dim[1], width = op->input[0].dim[2];
    int64_t y = oy * a->stride[0] - a->pad[0], x = ox * a->stride[1] - a->pad[1];
    return (area){y < 0 ? 0 : y, ref_min(y + a->kernel[0], height), x < 0 ? 0 : x, ref_min(x + a->kernel[1], width)};
}

static void maximum_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const int64_t *dim = j->op->input[0].dim, *to = j->op->output.dim, channels = dim[3];
    (void)task;
    for (int64_t p = begin; p < end; p++) {
        const real *map = j->x + p / (to[1] * to[2]) * dim[1] * dim[2] * channels;
        real *out = j->out + p * channels;
        area a = find_window(j->op, p / to[2] % to[1], p % to[2]);
        for (int64_t c = 0; c < channels; c++)
            out[c] = -(real)INFINITY;
        for (int64_t y = a.y; y < a.y_end; y++)
            for (int64_t x = a.x; x < a.x_end; x++)
                for (int64_t c = 0; c < channels; c++) {
                    real v = map[(y * dim[2] + x) * channels + c];
                    if (v > out[c] || v != v)
                        out[c] = v;
                }
    }
}

MF_REF_RUN(maxpool) {
    const mf_op *op = &kernel->op;
    job j = {op, inputs[0], output};
    double cost = (double)op->output.dim[3] * op->attrs.kernel[0] * op->attrs.kernel[1];
    (void)scratch;
    ref_parallel(kernel, mf_operand_rows(&op->output), cost, maximum_part, &j);
}
