/* Products of matrices, over cuBLASLt: the one place that knows it.  C, so that blas.c is compiled by the C compiler, and
 * that tests/gpu/emulate can stand in for it. */
#ifndef MFRGN_BACKENDS_CUDA_BLAS_H
#define MFRGN_BACKENDS_CUDA_BLAS_H

#include <cuda_runtime_api.h>

#include "backends/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mfc_blas mfc_blas; /* a stream's handle, and what its tuning file holds */

/* Row-major:  out[b] = gelu?(alpha op(a[b]) op(w[b]) + bias) + beta c[b],  b = 0 .. batch - 1
 * op(a): [m, k]; a is stored [k, m] where ta.  op(w): [k, n]; w is stored [n, k] where tw. */
typedef struct mfc_gemm {
    int64_t m, n, k, batch;
    int ta, tw;
    int64_t lda, ldw, ldo;          /* elements from a stored row to the next; ldo: of out and c */
    int64_t step_a, step_w, step_o; /* elements from a matrix to the next; 0: the same for all */
    mf_dtype type;                  /* of a and w: MF_F32, MF_F16, MF_BF16, MF_I8 standing for E4M3 */
    mf_dtype out;                   /* of out and c: MF_F32, MF_F16, MF_BF16 */
    int bias;                       /* 1: [n] of out's type is added in f32: cuBLASLt's epilogue */
    int gelu;                       /* 1: GELU in the tanh form, in the same epilogue; beta is 0 then */
    int tf32;                       /* 1: MF_F32 operands may be rounded to TF32 */
    float alpha, beta;              /* beta: 0 or 1 */
    int64_t rest;                   /* m of calls that are shorter (the last of several); 0: there are none */
    int quick;                      /* 1: not worth timing */
} mfc_gemm;

typedef struct mfc_gemm_plan mfc_gemm_plan;

/* tuning: see mf_stream_params.  NULL: the error text is set. */
mfc_blas *mfc_blas_create(const mf_host *host, cudaStream_t queue, const char *tuning);
void mfc_blas_free(mfc_blas *blas);

/* Chooses an algorithm: the tuning file's, or what cuBLASLt's heuristics give first, or with a tuning file the fastest of
 * several, which is then written there.  Same shapes, library, device and tuning file: same algorithm, same bits.
 * `rest` gets the same algorithm, so that a row's bits do not depend on the call that it falls into.  Two choices are
 * made: for pointers that are multiples of 16 bytes, and for those that are only multiples of their element. */
mf_status mfc_gemm_prepare(mfc_blas *blas, const mfc_gemm *gemm, mfc_gemm_plan **plan, size_t *workspace_bytes);
/* rows: the plan's m or rest.  bias: a multiple of 16 bytes.  c: may be out; NULL: as if beta were 0.  scale_a, scale_w:
 * E4M3 alone: one f32 each in device memory, or NULL; E4M3 needs aligned pointers.  workspace: a multiple of 16 bytes. */
mf_status mfc_gemm_run(mfc_gemm_plan *plan, cudaStream_t queue, int64_t rows, const void *a, const void *w,
                       const void *bias, const void *c, void *out, const float *scale_a, const float *scale_w,
                       void *workspace);
void mfc_gemm_release(mfc_gemm_plan *plan); /* NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
