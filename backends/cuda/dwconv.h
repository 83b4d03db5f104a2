/* Depthwise convolution, shared by DWCONV2D (op_dwconv.cu) and the gradient of its input (op_dwconv_grad.cu), which is
 * the same convolution with the kernel turned by half a turn.
 *
 * Taps: the weights as the kernels read them, f32 [kh kw][C], in device memory; both operations have x (dy) in slot
 * MF_IN_X and w [C, 1, kh, kw] in slot MF_IN_W, and state the kernel's size in attrs.kernel. */
#ifndef MFRGN_BACKENDS_CUDA_DWCONV_H
#define MFRGN_BACKENDS_CUDA_DWCONV_H

#include "backends/cuda/cuda.h"

/* Bytes of the taps: of the scratch, where the weights are not constant. */
size_t mfc_dwconv_taps_bytes(const mf_op *op);

/* w, f32 [C][kh kw] in device memory, to taps; flip: turned by half a turn (GRAD_INPUT). */
mf_status mfc_dwconv_taps(mf_kernel *k, const float *w, int flip, float *taps);

/* `pack`: w, f32 [C][kh kw] of the host, to taps in device memory; waits for the copy. */
mf_status mfc_dwconv_pack(mf_kernel *k, const float *w, int flip, void *taps);

/* y = the convolution of x with the taps + bias; then, where op.attrs.norm of a DWCONV2D says so, layer normalisation
 * over the channels with gamma and beta.  bias, gamma, beta: f32 [C] or NULL.  x and y have the output's type. */
mf_status mfc_dwconv_run(mf_kernel *k, const void *x, const float *taps, const float *bias, const float *gamma,
                         const float *beta, void *y);

#endif
