/* What the products share: MATMUL, CONV2D and its gradients, E4M3.
 *
 *   product.cu    the product with its epilogue, in chunks of rows     matmul.cu     MATMUL
 *   epilogue.cu   what cuBLASLt's epilogue does not do                 conv.cu       CONV2D
 *   gather.cu     windows to rows and back, weights reordered          conv_grad.cu  its gradients
 *   pack.cu       constants, converted on the host                     fp8.cu        ranges and rounding to E4M3 */
#ifndef MFRGN_BACKENDS_CUDA_PRODUCT_H
#define MFRGN_BACKENDS_CUDA_PRODUCT_H

#include <string.h>

#include "backends/cuda/blas.h"
#include "backends/cuda/launch.h"

/* Bytes of a chunk of rows: of the output that epilogue.cu goes over again, of a in E4M3, of gathered windows, of the
 * columns of CONV2D_GRAD_INPUT; and what the rows of a chunk are a multiple of.  The emulator's are small, so that
 * tests see several chunks, and shorter last ones. */
#ifdef MFC_EMULATE
enum {
    MFC_OUTPUT_CHUNK = 8 << 10,
    MFC_FP8_CHUNK = 4 << 10,
    MFC_WINDOW_CHUNK = 16 << 10,
    MFC_COLUMN_CHUNK = 64 << 10,
    MFC_TILE = 16
};
#else
enum {
    MFC_OUTPUT_CHUNK = 16 << 20,
    MFC_FP8_CHUNK = 16 << 20,
    MFC_WINDOW_CHUNK = 32 << 20,
    MFC_COLUMN_CHUNK = 64 << 20,
    MFC_TILE = 256
};
#endif

/* Division of numbers below 2^31 by one that is known at launch: a product and a shift (Granlund and Montgomery, 1994).
 */
typedef struct mfc_divisor {
    unsigned by, factor, shift;
} mfc_divisor;

static inline mfc_divisor mfc_divisor_of(int64_t by) {
    mfc_divisor d = {(unsigned)by, 0, 0};
    while ((1ull << d.shift) < d.by)
        d.shift++;
    d.factor = (unsigned)((((1ull << d.shift) - d.by) << 32) / d.by + 1);
    return d;
}

static __device__ __forceinline__ unsigned mfc_divide(unsigned x, mfc_divisor d) {
    return ((unsigned)((unsigned long long)x * d.factor >> 32) + x) >> d.shift;
}

/* ---- epilogue.cu ---- */
/* out = residual + scale act(from + bias), [rows, n] each but bias, scale [n]; scale is f32, all else has one type; bias,
 * scale, residual may be NULL; from, residual and out may be the same memory. */
mf_status mfc_epilogue(const mf_stream *s, mf_dtype type, int act, int64_t rows, int64_t n, const void *from,
                       const void *bias, const float *scale, const void *residual, void *out);
/* A vector of f32 in another type. */
mf_status mfc_convert_vector(const mf_stream *s, mf_dtype type, int64_t n, const float *from, void *to);

/* ---- product.cu ---- */
/* out = residual + scale act(a w + bias) with the bias in cuBLASLt's epilogue and, where that is all, the residual too;
 * the rest in a pass of our own.  Rows go in chunks of gemm.m. */
typedef struct mfc_product {
    mfc_gemm gemm;
    mfc_gemm_plan *plan;
    int64_t rows; /* of all chunks */
    int act, has_scale, has_residual, has_bias;
    int own;         /* act or scale, or a bias that cuBLASLt does not add: our pass follows */
    int aside;       /* the product goes to scratch: the residual may lie where the output will */
    int packed_bias; /* it has the output's type */
    size_t bias_at, aside_at, workspace_at;
} mfc_product;

/* gemm: m is the number of all rows.  most: rows that the caller wants in a chunk at most; 0: no bound.  scratch: in:
 * what the caller uses of it; out: what is used then. */
mf_status mfc_product_prepare(mf_kernel *k, mfc_product *p, const mfc_gemm *gemm, int64_t most, size_t *scratch);
void mfc_product_release(mfc_product *p);
/* Before the chunks of a run: what *bias is from now on. */
mf_status mfc_product_begin(mf_kernel *k, const mfc_product *p, const void *const *in, void *scratch,
                            const void **bias);
/* Rows row .. row + count - 1: a points at the first of them; in and out are the operation's. */
mf_status mfc_product_chunk(mf_kernel *k, const mfc_product *p, int64_t row, int64_t count, const void *a,
                            const void *w, const void *bias, const void *const *in, void *out, void *scratch,
                            const float *scale_a, const float *scale_w);

/* ---- pack.cu ---- */
/* to[o][tap][channel] = from[o][channel][tap], rows of `row` values, the rest of a row is 0. */
typedef struct mfc_packing {
    mf_dtype from, to;
    int64_t outputs, channels, taps, row;
} mfc_packing;

/* packed: device memory.  NaN, infinity, and what is infinite in the new type is refused. */
mf_status mfc_pack_weight(mf_kernel *k, const mfc_packing *p, const void *plain, void *packed);
/* The same rows in E4M3 behind one scale for all: scale (f32, at packed), values at packed + 256.  turn: from is
 * [row][outputs]
 */
mf_status mfc_pack_fp8(mf_kernel *k, const mfc_packing *p, int turn, const void *plain, void *packed);
/* MATMUL's and CONV2D's constant bias, [n], in the output's type; and whether there is one to be packed. */
mf_status mfc_pack_bias(mf_kernel *k, const void *plain, void *packed);
int mfc_packs_bias(const mf_op *op);
uint64_t mfc_pack_key(int form, mf_dtype from, mf_dtype to);

/* ---- fp8.cu ---- */
/* What a kernel knows of the range of its input; all of a stream hang on mf_stream.fp8. */
typedef struct mfc_fp8 {
    mf_stream *stream;
    struct mfc_fp8 *next;
    float *memory; /* the device's: scale, largest magnitude seen, room for partial results */
    int ready;     /* the scale is set */
} mfc_fp8;

mf_status mfc_fp8_open(mf_stream *s, mfc_fp8 *f);
void mfc_fp8_close(mfc_fp8 *f);
/* Takes the largest magnitude of n values into account. */
mf_status mfc_fp8_observe(const mfc_fp8 *f, mf_dtype type, int64_t n, const void *from);
/* to = E4M3(from / scale); 16-byte aligned, n a multiple of 16 */
mf_status mfc_fp8_round(const mfc_fp8 *f, mf_dtype type, int64_t n, const void *from, void *to);

/* ---- gather.cu ---- */
/* A convolution's windows: the map x, the map of the windows, and rows of k = kh kw c values, `row` with what pads
 * them. */
typedef struct mfc_windows {
    int64_t images, h, w, c, oh, ow;
    int kh, kw, sh, sw, ph, pw;
    int64_t k, row;
} mfc_windows;

/* x: dimensions [n, h, w, c]; out: of the map of the windows */
mfc_windows mfc_windows_of(const mf_attrs *a, const int64_t *x, const int64_t *out, mf_dtype type);
int mfc_windows_fit(const mfc_windows *w); /* 0: more than the kernels can count */
int mfc_is_pointwise(const mf_attrs *a);
/* Rows of windows row .. row + count - 1 (counted over the batch) to `to` */
mf_status mfc_gather(const mf_stream *s, const mfc_windows *w, mf_dtype type, const void *x, int64_t row, int64_t count,
                     void *to);
/* The other way: a pixel is the sum of what the windows that hold it have for it; `images` of them; from: f32 or `type`
 */
mf_status mfc_collect(const mf_stream *s, const mfc_windows *w, mf_dtype from_type, mf_dtype type, int64_t images,
                      const void *from, void *x);
/* w [o, c, taps] as [o, taps, c], rows of w->row values; and back, f32 */
mf_status mfc_weight_rows(const mf_stream *s, const mfc_windows *w, mf_dtype type, int64_t outputs, const void *from,
                          void *to);
mf_status mfc_weight_back(const mf_stream *s, const mfc_windows *w, int64_t outputs, const float *from, float *to);

/* ---- small things ---- */
static inline char *mfc_at(const void *base, int64_t elements, mf_dtype type) {
    return (char *)base + elements * (int64_t)mf_dtype_size(type);
}

static inline size_t mfc_take(size_t *scratch, size_t bytes) { /* a part of the scratch */
    size_t at = *scratch;
    *scratch += mfc_round_up(bytes);
    return at;
}

static inline int mfc_has_values(const mf_op *op) {
    return mf_operand_count(&op->output) > 0 && mf_operand_count(&op->input[0]) > 0;
}

#endif
