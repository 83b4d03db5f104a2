/* What the products share: MATMUL, CONV2D and its gradients, E4M3.
 *
 *   product.cu    the product with its epilogue, in chunks of rows     linear.cu     a product in 16 bits or E4M3
 *   epilogue.cu   what cuBLASLt's epilogue does not do                 matmul.cu     MATMUL and MLP
 *   gather.cu     windows to rows and back, weights reordered          conv.cu       CONV2D
 *   pack.cu       constants, converted on the host                     conv_grad.cu  its gradients
 *                                                                      fp8.cu        ranges and rounding to E4M3 */
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
struct mfc_fp8;

/* out = residual + scale act(from + bias), [rows, n] each but bias, scale [n]; scale is f32, all else has `type`; bias,
 * scale, residual may be NULL; from, residual and out may be the same memory.  With a range the result goes to
 * `rounded` instead, in E4M3: n is a multiple of 16 then, and all is aligned. */
typedef struct mfc_after {
    mf_dtype type;
    int act;
    int64_t rows, n;
    const void *from, *bias;
    const float *scale;
    const void *residual;
    void *out;
    const struct mfc_fp8 *range;
    void *rounded;
} mfc_after;

mf_status mfc_epilogue(const mf_stream *s, const mfc_after *after);
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

/* The bytes of a chunk of rows bound it to this many, where a second pass follows the product. */
int64_t mfc_product_most(int64_t n, mf_dtype type);
/* op: has the epilogue's operands in their slots.  gemm: m is the number of all rows.  most: rows that the caller wants
 * in a chunk at most; 0: no bound.  scratch: in: what the caller uses of it; out: what is used then. */
mf_status mfc_product_prepare(const mf_stream *s, const mf_op *op, const mfc_gemm *gemm, int64_t most, size_t *scratch,
                              mfc_product *p);
void mfc_product_release(mfc_product *p);
/* Before the chunks of a run: what *bias is from now on. */
mf_status mfc_product_begin(const mf_stream *s, const mfc_product *p, const void *const *in, void *scratch,
                            const void **bias);

/* Rows row .. row + count - 1 of a product: a points at the first of them; scales: of E4M3, or NULL; range and rounded:
 * see mfc_after. */
typedef struct mfc_rows {
    int64_t row, count;
    const void *a, *w, *bias;
    const float *scale_a, *scale_w;
    const struct mfc_fp8 *range;
    void *rounded;
} mfc_rows;

static inline mfc_rows mfc_rows_of(int64_t row, int64_t count, const void *a, const void *w, const void *bias) {
    mfc_rows r = {};
    r.row = row;
    r.count = count;
    r.a = a;
    r.w = w;
    r.bias = bias;
    return r;
}

/* in and out are the operation's. */
mf_status mfc_product_chunk(const mf_stream *s, const mfc_product *p, const mfc_rows *r, const void *const *in,
                            void *out, void *scratch);

/* ---- pack.cu ---- */
/* to[o][tap][channel] = from[o][channel][tap], rows of `row` values, the rest of a row is 0. */
typedef struct mfc_packing {
    mf_dtype from, to;
    int64_t outputs, channels, taps, row;
} mfc_packing;

/* packed: device memory.  NaN, infinity, and what is infinite in the new type is refused. */
mf_status mfc_pack_weight(const mf_stream *s, const mfc_packing *p, const void *plain, void *packed);
/* The same rows in E4M3 behind one scale for all: scale (f32, at packed), values at packed + 256.  turn: from is
 * [row][outputs]
 */
mf_status mfc_pack_fp8(const mf_stream *s, const mfc_packing *p, int turn, const void *plain, void *packed);
/* MATMUL's and CONV2D's constant bias, [n], in the output's type; and whether there is one to be packed. */
mf_status mfc_pack_bias(const mf_stream *s, const mf_op *op, const void *plain, void *packed);
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
static inline const float *mfc_fp8_scale(const mfc_fp8 *f) {
    return f->memory;
}
void mfc_fp8_close(mfc_fp8 *f);
/* Takes the largest magnitude of n values into account. */
mf_status mfc_fp8_observe(const mfc_fp8 *f, mf_dtype type, int64_t n, const void *from);
/* to = E4M3(from / scale); 16-byte aligned, n a multiple of 16 */
mf_status mfc_fp8_round(const mfc_fp8 *f, mf_dtype type, int64_t n, const void *from, void *to);

/* ---- linear.cu ---- */
/* A MATMUL in the stream's type and, with MF_MATH_FP8 and a constant weight, in E4M3 too. */
typedef struct mfc_linear {
    mfc_product wide;
    int fp8; /* 1: there is the other form */
    mfc_product narrow;
    mfc_fp8 range;                /* of a */
    size_t narrow_at, rounded_at; /* in the packed form: scale, values; in scratch */
} mfc_linear;

int mfc_linear_supports(const mf_stream *s, const mf_op *op);
/* most, scratch: as mfc_product_prepare's; with `most` both forms have chunks of the same rows. */
mf_status mfc_linear_prepare(mf_stream *s, const mf_op *op, int64_t most, size_t *scratch, mfc_linear *d);
void mfc_linear_release(mfc_linear *d);
/* What is packed of its weight and bias, which are the kernel's inputs `weight` and `bias`. */
void mfc_linear_packs(const mf_op *op, const mfc_linear *d, int weight, int bias, mf_kernel_info *info);
mf_status mfc_linear_pack_weight(const mf_stream *s, const mf_op *op, const mfc_linear *d, const void *plain,
                                 void *packed);

/* A run: the form it takes, and its operands. */
typedef struct mfc_linear_run {
    const mfc_linear *linear;
    const mfc_product *product;
    const void *const *in;
    void *out;
    char *scratch;
    const void *bias;
    int narrow;
} mfc_linear_run;

/* in, out: the MATMUL's, all rows; x counts for its alignment alone. */
mf_status mfc_linear_begin(const mf_stream *s, const mfc_linear *d, const void *const *in, void *out, void *scratch,
                           mfc_linear_run *run);
/* Rows row .. row + count - 1, a at the first of them; rounded: a is E4M3 already.  to: a linear layer that reads the
 * result alone; if it runs in E4M3, the result goes to `values` rounded for it, else to out. */
mf_status mfc_linear_chunk(const mf_stream *s, const mfc_linear_run *run, int64_t row, int64_t count, const void *a,
                           int rounded, const mfc_linear_run *to, void *values);

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
