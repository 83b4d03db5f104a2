/* The CUDA backend: what its files share.  Host code (C++ as nvcc compiles it, but written as C), seen by every file.
 *
 *   device.cu    driver and devices, streams, memory, recordings      table.cu  operations to files
 *   product.h    MATMUL, CONV2D and their gradients, over blas.h      blas.c    cuBLASLt; tuning.c its tuning file
 *   op_*.cu      one operation or a family each: kernels, then `supports`, `prepare`, `run`
 *   update.cu    AdamW        scan.cu  search        images.cu  pictures to inputs
 *
 * Types.  T: the stream's compute type (f32, f16, bf16), that of feature maps; arithmetic and sums are f32 always.
 * graph/types.c says which operands have T and which f32 (vectors, statistics, gradients of weights, the loss).
 *
 * Rules for `run`: everything goes to s->queue by mfc_launch or the runtime's Async calls; nothing is allocated, nothing
 * is waited for, nothing is read back.  Kernels use no atomics, so that the same run gives the same bits, and an image's
 * place in the batch changes none.
 *
 * Alignment.  Operands of a graph begin at multiples of 64 bytes, or of their element where the memory plan made them
 * parts of others: 16-byte accesses need mfc_aligned() of every pointer and a row length that is a multiple.
 *
 * The kernels also compile as plain C++, where tests/gpu/emulate runs them thread by thread: so they use only what is
 * listed in launch.h, and no <<< >>>. */
#ifndef MFRGN_BACKENDS_CUDA_H
#define MFRGN_BACKENDS_CUDA_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <pthread.h>

#include "backends/backend.h"

/* mfrgn_status of the public header, which a backend does not see. */
enum { MFC_MEMORY = 2, MFC_UNSUPPORTED = 6, MFC_BACKEND = 7 };

struct mfc_blas; /* blas.h */

/* Pinned memory of a stream: its first half is for whoever waits before it returns, the second belongs to memory_put. */
enum { MFC_STAGING_BYTES = 1 << 18 };

struct mf_device {
    const mf_host *host;
    int count; /* of CUDA devices */
    char text[256];
    pthread_mutex_t lock; /* of the list */
    struct mfc_allocation *allocations;
};

struct mf_stream {
    mf_device *device;
    int ordinal, before;      /* the CUDA device; the caller's, put back by stream_end */
    int multiprocessors, major;
    size_t shared_limit;      /* shared memory that a block may ask for, with what its kernel declares, in bytes */
    mf_dtype compute;
    mf_math math;
    int calibrating;
    cudaStream_t queue;       /* where work goes now: `main`, or `recorder` while a run is recorded */
    cudaStream_t main, recorder;
    int owns_main;
    size_t limit, used;       /* of memory_alloc, bytes */
    char *staging;            /* pinned memory of the host, MFC_STAGING_BYTES, for small copies */
    size_t staged;            /* of its second half, since the last time that all copies were done */
    struct mfc_blas *blas;
    void *reduce;             /* update.cu: partial sums, in device memory */
    void *scan;               /* scan.cu: its buffers */
    struct mfc_fp8 *fp8;      /* fp8.cu: the kernels that have a form in E4M3 */
};

typedef struct mfc_ops {
    /* may look at shapes and types alone */
    int (*supports)(const mf_stream *s, const mf_op *op);
    mf_status (*prepare)(mf_kernel *k, mf_kernel_info *info); /* NULL: nothing to prepare */
    mf_status (*pack)(mf_kernel *k, int input, const void *plain, void *packed);
    mf_status (*run)(mf_kernel *k, const void *const *in, void *out, void *scratch); /* absent inputs are NULL */
    void (*release)(mf_kernel *k);
} mfc_ops;

struct mf_kernel {
    mf_stream *s;
    const mfc_ops *ops;
    mf_op op;
    int present[MF_MAX_INPUTS];
    void *data; /* the operation's own: host->alloc in prepare, host->free in release */
};

/* Every operation, by its kind and the name of its mfc_ops: `const mfc_ops mfc_op_layernorm = {supports, NULL, NULL, run, NULL};`
 */
#define MFC_EACH_OP(X)                                                                                                 \
    X(MATMUL, matmul) X(MLP, mlp) X(CONV2D, conv2d) X(DWCONV2D, dwconv2d) X(LAYERNORM, layernorm)                      \
    X(GROUPNORM, groupnorm) X(BATCHNORM, batchnorm) X(ACT, act) X(ADD, add) X(MUL, mul)                                \
    X(PYRAMID_POOL, pyramid_pool)                                                                                      \
    X(MAXPOOL, maxpool) X(CONCAT, concat) X(SLICE, slice) X(ATTENTION, attention) X(CHANNEL_MAX, channel_max)          \
    X(GATED_MEAN, gated_mean) X(L2NORM, l2norm) X(CAST, cast) X(TRANSPOSE, transpose)                                  \
    X(COLUMN_SUM, column_sum) X(ROW_DOT, row_dot) X(ROW_SCALE, row_scale) X(ACT_GRAD, act_grad)                        \
    X(LAYERNORM_GRAD, layernorm_grad) X(LAYERNORM_GRAD_AFFINE, layernorm_grad_affine)                                  \
    X(GROUPNORM_GRAD, groupnorm_grad) X(GROUPNORM_GRAD_AFFINE, groupnorm_grad_affine)                                  \
    X(BATCH_STATS, batch_stats) X(BATCHNORM_GRAD_AFFINE, batchnorm_grad_affine)                                        \
    X(BATCHNORM_GRAD, batchnorm_grad) X(CONV2D_GRAD_INPUT, conv2d_grad_input)                                          \
    X(CONV2D_GRAD_WEIGHT, conv2d_grad_weight) X(DWCONV2D_GRAD_INPUT, dwconv2d_grad_input)                              \
    X(DWCONV2D_GRAD_WEIGHT, dwconv2d_grad_weight) X(PYRAMID_POOL_GRAD, pyramid_pool_grad)                              \
    X(MAXPOOL_GRAD, maxpool_grad) X(PAD, pad) X(ATTENTION_GRAD, attention_grad)                                        \
    X(CHANNEL_MAX_GRAD, channel_max_grad) X(GATED_MEAN_GRAD, gated_mean_grad) X(L2NORM_GRAD, l2norm_grad)              \
    X(DROPOUT, dropout) X(LERP, lerp) X(INFONCE, infonce) X(INFONCE_GRAD, infonce_grad)
#define MFC_DECLARE(kind, name) extern const mfc_ops mfc_op_##name;
MFC_EACH_OP(MFC_DECLARE)
#undef MFC_DECLARE

/* table.cu; NULL: there is no such operation */
const mfc_ops *mfc_ops_of(mf_op_kind kind);

/* ---- the rest of the table: update.cu, scan.cu, images.cu, fp8.cu ---- */
mf_status mfc_update(mf_stream *s, const mf_update *update);
mf_status mfc_sum_squares(mf_stream *s, const mf_update *update, double *sum);
void mfc_update_close(mf_stream *s); /* frees s->reduce */
float mfc_scan_error(mf_stream *s, mf_dtype dtype, int64_t size);
size_t mfc_scan_scratch(mf_stream *s, const mf_scan *scan);
mf_status mfc_scan(mf_stream *s, const mf_scan *scan, void *scratch);
void mfc_scan_close(mf_stream *s); /* frees s->scan */
mf_status mfc_images(mf_stream *s, const mf_images *images, float *input);
mf_status mfc_calibrate(mf_stream *s, int on);

/* ---- device.cu ---- */
/* As the table's memory_alloc: counted, held to the limit; the message of a failure has the bytes that were needed. */
mf_status mfc_alloc(mf_stream *s, size_t bytes, void **memory);
void mfc_free(mf_stream *s, void *memory);

/* ---- errors ---- */

/* Sets the error text: "what: CUDA's own words".  0 for cudaSuccess. */
mf_status mfc_check(const mf_stream *s, cudaError_t error, const char *what);

/* ---- operands ---- */

static inline const mf_operand *mfc_operand(const mf_op *op, int slot) {
    return slot < op->input_count && op->input[slot].ndim >= 0 ? &op->input[slot] : NULL;
}

static inline int mfc_is_float_type(mf_dtype t) {
    return t == MF_F32 || t == MF_F16 || t == MF_BF16;
}

/* 1: absent, or of this type */
static inline int mfc_typed(const mf_op *op, int slot, mf_dtype type) {
    const mf_operand *o = mfc_operand(op, slot);
    return !o || o->dtype == type;
}

/* 1: input 0 and the output have the stream's type, and inputs `first` .. are absent or f32 */
static inline int mfc_map_and_vectors(const mf_stream *s, const mf_op *op, int first) {
    for (int i = first; i < op->input_count; i++)
        if (!mfc_typed(op, i, MF_F32))
            return 0;
    return op->input[0].dtype == s->compute && op->output.dtype == s->compute;
}

/* 1: every input and the output has one type, which is a float's: the stream's, or f32 */
static inline int mfc_uniform(const mf_stream *s, const mf_op *op) {
    mf_dtype t = op->output.dtype;
    for (int i = 0; i < op->input_count; i++)
        if (!mfc_typed(op, i, t))
            return 0;
    return t == MF_F32 || t == s->compute;
}

static inline int mfc_aligned(const void *p) { /* NULL is */
    return ((size_t)p & 15) == 0;
}

static inline int64_t mfc_div_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static inline int64_t mfc_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t mfc_max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static inline size_t mfc_round_up(size_t bytes) { /* parts of a scratch begin at multiples of 256 bytes */
    return (bytes + 255) / 256 * 256;
}

/* Runs the statement with `T` the C++ type of a dtype: MFC_TYPED(k->op.output.dtype, run<T>(k, in, out)) */
#define MFC_TYPED(dtype, ...)                                                                                          \
    do {                                                                                                               \
        if ((dtype) == MF_F16) {                                                                                       \
            typedef __half T;                                                                                          \
            __VA_ARGS__;                                                                                               \
        } else if ((dtype) == MF_BF16) {                                                                               \
            typedef __nv_bfloat16 T;                                                                                   \
            __VA_ARGS__;                                                                                               \
        } else {                                                                                                       \
            typedef float T;                                                                                           \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
    } while (0)

#endif
