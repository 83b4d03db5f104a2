/* The product behind MATMUL and CONV2D; compiled twice (real.h).
 *
 * out[m, n] = residual + scale[n] act(sum_k A[m, k] B[k, n] + bias[n])
 *
 * A is read through `fill`, B comes in panels of GEMM_NR columns, [ceil(n / NR)][k][NR], zeros past the last column. */
#ifndef MFRGN_BACKENDS_REF_GEMM_H
#define MFRGN_BACKENDS_REF_GEMM_H

#include "backends/ref/real.h"

/* A tile of the output is MR x NR: 8 registers of 16 bytes hold it, whatever the type. */
enum { GEMM_MR = 4, GEMM_LANES = 16 / (int)sizeof(real), GEMM_NR = 2 * GEMM_LANES };

typedef struct gemm {
    int64_t m, n, k;
    /* writes rows row .. row + rows - 1 of A (rows <= MR) as tile[k][MR], zeros in the columns past `rows` */
    void (*fill)(const mf_kernel *kernel, const void *source, int64_t row, int64_t rows, real *tile);
    const void *source;
    const real *panels;
    const real *bias, *scale, *residual; /* or NULL */
    real *out;
    mf_act act;
    void *scratch; /* gemm_scratch bytes */
} gemm;

size_t REF(gemm_panel_bytes)(int64_t n, int64_t k);
size_t REF(gemm_scratch)(const mf_kernel *kernel, int64_t k);
void REF(gemm)(const mf_kernel *kernel, const gemm *g);

#endif
