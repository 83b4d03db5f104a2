/* MLP: out = residual + scale (act(x first_w^T + first bias) w^T + bias): two products (matmul.c) of some rows at a
 * time, so that the hidden values stay in the cache. */
#include "backends/ref/real.h"

enum { HIDDEN_BYTES = 512 << 10, LEAST_ROWS = 64 };

typedef struct parts {
    mf_kernel first, second;
} parts;

static parts split(const mf_kernel *kernel, int64_t rows) {
    parts p = {*kernel, *kernel};
    mf_mlp_parts(&kernel->op, rows, &p.first.op, &p.second.op);
    p.first.packed = kernel->packed & 1 << MF_IN_FIRST_W;
    p.second.packed = kernel->packed & 1 << MF_IN_W;
    return p;
}

static size_t hidden_bytes(const mf_kernel *kernel, int64_t rows) {
    return ref_round_up((size_t)(rows * mf_operand_last(&kernel->op.input[MF_IN_W])) * sizeof(real));
}

static int64_t chunk_rows(const mf_kernel *kernel) {
    const int64_t fit = HIDDEN_BYTES / (int64_t)hidden_bytes(kernel, 1), least = (int64_t)LEAST_ROWS * kernel->threads;
    return ref_min(mf_operand_rows(&kernel->op.output), fit > least ? fit : least);
}

size_t REF(mlp_scratch)(const mf_kernel *kernel) {
    const int64_t rows = chunk_rows(kernel);
    const parts p = split(kernel, rows);
    const size_t a = REF(matmul_scratch)(&p.first), b = REF(matmul_scratch)(&p.second);
    return hidden_bytes(kernel, rows) + (a > b ? a : b);
}

size_t REF(mlp_pack_bytes)(const mf_kernel *kernel, int input) {
    const parts p = split(kernel, 1);
    return REF(matmul_pack_bytes)(input == MF_IN_W ? &p.second : &p.first, MF_IN_W);
}

void REF(mlp_pack)(const mf_kernel *kernel, int input, const void *plain, void *packed) {
    const parts p = split(kernel, 1);
    REF(matmul_pack)(input == MF_IN_W ? &p.second : &p.first, MF_IN_W, plain, packed);
}

MF_REF_RUN(mlp) {
    const int64_t k = mf_operand_last(&kernel->op.input[MF_IN_X]), n = mf_operand_last(&kernel->op.output);
    const int64_t rows = mf_operand_rows(&kernel->op.output), chunk = chunk_rows(kernel);
    const real *x = inputs[MF_IN_X], *residual = ref_input(kernel, inputs, MF_IN_RESIDUAL);
    real *hidden = scratch;
    char *work = (char *)scratch + hidden_bytes(kernel, chunk);
    for (int64_t row = 0; row < rows; row += chunk) {
        const parts p = split(kernel, ref_min(chunk, rows - row));
        const void *first[MF_MAX_INPUTS] = {x + row * k, inputs[MF_IN_FIRST_W], inputs[MF_IN_FIRST_BIAS]};
        const void *second[MF_MAX_INPUTS] = {hidden, inputs[MF_IN_W], inputs[MF_IN_BIAS], inputs[MF_IN_SCALE],
                                             residual ? residual + row * n : NULL};
        REF(matmul)(&p.first, first, hidden, work);
        REF(matmul)(&p.second, second, (real *)output + row * n, work);
    }
}
