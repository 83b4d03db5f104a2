/* What the gradients of the two kinds of attention share: op_attention_grad.cu (linear, and the operation),
 * attention_softmax_grad.cu.
 *
 * A block is 16 x 16 threads and belongs to one head of one image.  Tiles of TILE tokens lie in shared memory as f32,
 * padded with zeros from the head's d channels to D = 16 R, so that the loops have no borders, and with one float a
 * row, so that rows and columns are both read without conflicts of banks.  Thread (i, j) has elements i, i + 16 .. and
 * j, j + 16 .. of what is computed: for n x m elements of its own it reads n + m values a step. */
#ifndef MFRGN_BACKENDS_CUDA_ATTENTION_GRAD_H
#define MFRGN_BACKENDS_CUDA_ATTENTION_GRAD_H

#include "backends/cuda/attention.h"

enum { MFC_SIDE = 16, MFC_TILE = 32, MFC_NARROW = 2, MFC_BROAD = 8 }; /* values of R: d <= 32, d <= 128 */

struct mfc_attend {
    mfc_heads h;
    const void *q, *k, *v, *dout;
    void *dq, *dk, *dv;
};

/* Where the rows of a head begin in q or k. */
static __device__ __forceinline__ int64_t mfc_head_at(const mfc_heads &h, int64_t head, int64_t rows) {
    return head / h.heads * rows * h.channels + head % h.heads * h.width;
}

/* MFC_TILE rows from `first` on of a head, of `rows`; elu: of elu(x) + 1, 0 for what does not exist. */
template <typename T, int D, int ELU>
static __device__ __forceinline__ void mfc_tile(const T *from, const mfc_heads &h, int64_t first, int64_t rows,
                                                float *tile) {
    mfc_stage<T, 1>(from + first * h.channels, h.channels, rows - first, h.width, MFC_TILE, D,
                    [=](int r, int c, float x, int exists) {
                        if (ELU && exists)
                            x = x > 0.0f ? x + 1.0f : expf(x);
                        tile[r * (D + 1) + c] = x;
                    });
}

/* The sum, the maximum over the 16 lanes of a row of threads, given to each. */
static __device__ __forceinline__ float mfc_side_sum(float x) {
#pragma unroll
    for (int lane = MFC_SIDE / 2; lane > 0; lane /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

static __device__ __forceinline__ float mfc_side_max(float x) {
#pragma unroll
    for (int lane = MFC_SIDE / 2; lane > 0; lane /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}

/* attention_softmax_grad.cu */
size_t mfc_softmax_grad_bytes(const mfc_heads *h); /* of scratch */
size_t mfc_softmax_grad_shared(int64_t width);     /* of shared memory */
mf_status mfc_softmax_grad(mf_kernel *k, const mfc_attend *a, void *scratch);

#endif
