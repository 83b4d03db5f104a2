/* DROPOUT: x [N, ..] -> x / (1 - rate) where mf_dropout_keep() says so, else 0.  Threads: parts of the images' rows of
 * BLOCK elements, so that one image is cut too. */
#include "backends/ref/real.h"

enum { BLOCK = 4096 };

typedef struct job {
    const real *x;
    const int64_t *key;
    real *out;
    int64_t size, blocks; /* of an image */
    double rate;
    int id;
} job;

static void blocks(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const uint32_t threshold = mf_dropout_threshold(j->rate);
    (void)task;
    for (int64_t b = begin; b < end; b++) {
        const int64_t image = b / j->blocks, first = b % j->blocks * BLOCK;
        const int64_t last = ref_min(first + BLOCK, j->size);
        const uint64_t base = mf_dropout_base(j->key, j->id, image);
        const real *x = j->x + image * j->size;
        real *out = j->out + image * j->size;
        for (int64_t i = first; i < last; i++)
            out[i] = mf_dropout_keep(base, (uint32_t)i, threshold) ? (real)((double)x[i] / (1 - j->rate)) : 0;
    }
}

MF_REF_RUN(dropout) {
    const mf_op *op = &kernel->op;
    const int64_t images = op->input[0].dim[0], size = mf_operand_count(&op->input[0]) / images;
    job j = {inputs[0], inputs[1], output, size, (size + BLOCK - 1) / BLOCK, op->attrs.rate, op->attrs.id};
    (void)scratch;
    ref_parallel(kernel, images * j.blocks, 3.0 * (double)ref_min(size, BLOCK), blocks, &j);
}
