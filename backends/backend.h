/* The interface between the library and a backend: one table, found by one symbol.
 *
 * A backend is built into the library (`ref`) or is a plug-in: a shared object that exports
 * `mfrgn_backend_table` and links nothing of the library.  It is handed a host table, so that it allocates, logs,
 * reports errors and runs tasks through the context that opened it, and keeps no state of its own but what hangs on
 * the device and the stream below.
 *
 *   device   once a context: what the backend knows of the machine
 *   stream   once a session: its threads and precision; one thread at a time
 *   kernel   one prepared operation of a stream: shapes are fixed, weights may be packed
 *
 * Life of a kernel: prepare -> pack (each constant operand that asked for it) -> run, many times -> release.
 * `run` never allocates: what it needs beside its operands is the scratch that `prepare` asked for.
 *
 * Where a backend has memory of its own (a GPU's), every operand, packed form and scratch lies there; the plain values
 * that `pack` reads, and all that `scan` is given, are the host's.  `run` may then return before the work is done: work
 * is done in the order of the calls of one stream, and memory_get and memory_finish wait for it.
 *
 * In training the weights are operands that are not constant: they change from run to run, and lie where the host put
 * them, as do the gradients. */
#ifndef MFRGN_BACKENDS_BACKEND_H
#define MFRGN_BACKENDS_BACKEND_H

#include "graph/op.h"

#define MF_BACKEND_ABI 2u
#define MF_BACKEND_SYMBOL "mfrgn_backend_table"

/* Alignment of every buffer that the host hands to a kernel. */
#define MF_ALIGN 64u

/* Mirrors mfrgn_status: 0 is success. */
typedef int mf_status;

typedef void (*mf_task)(void *arg, int index);

typedef struct mf_host {
    uint32_t struct_size;
    void *context;
    /* memory of the caller's allocator, aligned to MF_ALIGN, or NULL (the error is set) */
    void *(*alloc)(void *context, size_t bytes);
    void (*free)(void *context, void *p);
    /* runs task(arg, 0 .. tasks - 1), each once, on up to `tasks` threads; returns when all are done */
    void (*parallel)(void *context, int tasks, mf_task task, void *arg);
    /* sets the calling thread's error text and returns `status` */
    mf_status (*fail)(void *context, mf_status status, const char *format, ...);
    void (*log)(void *context, int level, const char *format, ...);
} mf_host;

typedef struct mf_device mf_device; /* defined by each backend */
typedef struct mf_stream mf_stream;
typedef struct mf_kernel mf_kernel;

/* How products are computed from operands of the compute type. */
typedef enum mf_math {
    MF_MATH_STRICT = 0, /* in that type, sums in f32 or better */
    MF_MATH_TF32 = 1,   /* f32 operands are rounded to 10 bits of mantissa */
    MF_MATH_FP8 = 2     /* constant weights and what they multiply are rounded to E4M3, by scales from calibration */
} mf_math;

typedef struct mf_stream_params {
    uint32_t struct_size;
    int threads;      /* at least 1 */
    mf_dtype compute; /* MF_F32, MF_F64, MF_F16, MF_BF16; what operands have: mf_operand_type() in graph/graph.h */
    mf_math math;
    int device;          /* which of the backend's devices */
    void *native;        /* the caller's own queue (a cudaStream_t), which outlives the stream; NULL: one of ours */
    size_t memory_limit; /* bytes that memory_alloc may hold at a time; 0: none */
    const char *tuning;  /* a file of choices measured once, read and written; NULL: none is kept */
} mf_stream_params;

typedef struct mf_kernel_info {
    size_t scratch_bytes;
    /* bytes of the backend's own form of constant input i; 0: it reads the plain form, dense in the compute type.
     * An input that is packed is given to `pack` in the type that its operand states. */
    size_t pack_bytes[MF_MAX_INPUTS];
    /* names that form: equal keys of equal constants are interchangeable between kernels, sessions and shapes */
    uint64_t pack_key[MF_MAX_INPUTS];
    /* 1: `pack` looks at the values while it has them, and refuses NaN and infinity with MFRGN_ERROR_NUMERIC */
    int pack_checks[MF_MAX_INPUTS];
    /* MATMUL, CONV2D, MLP: 1 if the output may be the residual's own memory.  (The output of ACT, ADD, MUL, BATCHNORM,
     * DROPOUT and LERP may always be their first input's, that of ACT_GRAD its dy's; nothing else is ever shared.) */
    int residual_in_place;
} mf_kernel_info;

/* ---- the scan of a gallery ----
 * The inner products of n queries with the rows of a gallery, in f32 arithmetic of any order, and of each query the few
 * rows that may matter.  A backend promises a bound of its rounding, the caller ranks what is left exactly; so answers
 * do not depend on the backend, its threads or its blocks.  docs/decisions/0013-exact-search.md has the proof.
 *
 * slack(q, r) = query_norm[q] ((1 + error) residual[r] + error norm[r]) + tiny bounds how far the score that is computed may lie
 * from the product of the query with the f32 row that the stored one stands for; error: scan_error(). */
typedef enum mf_scan_kind {
    MF_SCAN_TOP = 0,  /* rows whose score + slack reaches the k-th largest score - slack */
    MF_SCAN_COUNT = 1 /* rows whose score - slack > floor[q] are counted; the list: those that may or may not be above */
} mf_scan_kind;

typedef struct mf_scan_item {
    float score;
    uint32_t row;
} mf_scan_item;

typedef struct mf_scan {
    uint32_t struct_size;
    mf_scan_kind kind;
    const void *rows; /* dense, `size` values each */
    mf_dtype dtype;   /* MF_F32, MF_F16, MF_I8 */
    int64_t count, size;
    const uint32_t *list;     /* NULL: rows 0 .. count - 1; else these `count` rows, ascending */
    const float *scale;       /* MF_I8: value = scale[row] * integer */
    const float *norm;        /* of the rows, not below the true ones */
    const float *residual;    /* distance of the stored row from the true one, not below it; NULL: 0 */
    const float *queries;     /* n x size, dense */
    const float *query_norm;  /* not below the true ones; query_norm times norm and scale stays below 1e37 */
    int64_t n, k, room;       /* k: TOP; room: items of a list, TOP: at least 2 k + 64 */
    float *floor;             /* TOP: in: what a score + slack must reach; out: what is known now.  COUNT: in */
    int64_t *above;           /* COUNT: n, added to */
    mf_scan_item *item;       /* n x room, in any order; */
    int64_t *found;           /* how many; -1: they were more than the room */
} mf_scan;

/* ---- the optimiser ----
 * AdamW of many tensors in one call (Loshchilov and Hutter, ICLR 2019; as PyTorch's), t counting from 1:
 *   g = clamp(gradient_scale gradient, -clip_value, clip_value);  p *= 1 - rate decay
 *   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
 *   p -= rate (m / correction1) / (sqrt(v / correction2) + eps);  average = average_decay average + (1 - average_decay) p
 * Every array has the stream's compute type, but f32 where that has 16 bits.  Each value is computed in one fixed way: the bits do not depend on the
 * number of threads. */
typedef struct mf_update_item {
    void *value, *m, *v; /* count values each, updated */
    const void *gradient;
    void *average; /* or NULL */
    int64_t count;
    double rate, decay;
} mf_update_item;

typedef struct mf_update {
    uint32_t struct_size;
    const mf_update_item *item;
    size_t count;
    double beta1, beta2, eps;
    double correction1, correction2; /* 1 - beta1^t, 1 - beta2^t */
    double gradient_scale;
    double clip_value; /* 0: none; of the scaled gradient */
    double average_decay;
} mf_update;

/* ---- images in the backend's memory ---- */
typedef struct mf_images {
    uint32_t struct_size;
    const void *pixels; /* 8 bits a channel, row-major */
    int64_t count, width, height;
    int64_t row_bytes, image_bytes; /* from a row to the next, from an image to the next */
    int channels;                   /* 1 (grey), 3, 4 (the last is not read) */
    int swap;                       /* 1: blue comes first */
    int64_t out_width, out_height;
    float mean[3], std[3]; /* of values in 0 .. 1 */
} mf_images;

typedef struct mf_backend {
    uint32_t abi; /* MF_BACKEND_ABI */
    uint32_t struct_size;
    const char *name;

    mf_status (*open)(const mf_host *host, mf_device **device);
    void (*close)(mf_device *device);
    /* one line for people: library, version, instruction set; valid while the device is open */
    const char *(*describe)(mf_device *device);

    mf_status (*stream_open)(mf_device *device, const mf_stream_params *params, mf_stream **stream);
    void (*stream_close)(mf_stream *stream);
    /* around every run of a graph: take and give back what is not ours (OpenMP's thread count, a CUDA device) */
    void (*stream_begin)(mf_stream *stream);
    void (*stream_end)(mf_stream *stream);

    /* 1 if `prepare` would succeed, but for memory.  Passes ask it before they fuse; a weight operand whose dtype is
     * MF_F16 or MF_BF16 asks whether the kernel computes from weights stored so. */
    int (*supports)(mf_stream *stream, const mf_op *op);
    mf_status (*prepare)(mf_stream *stream, const mf_op *op, mf_kernel **kernel, mf_kernel_info *info);
    /* packed: info.pack_bytes[input] bytes; called by the thread of the session that prepared the kernel */
    mf_status (*pack)(mf_kernel *kernel, int input, const void *plain, void *packed);
    mf_status (*run)(mf_kernel *kernel, const void *const *inputs, void *output, void *scratch);
    void (*release)(mf_kernel *kernel);

    /* of the arithmetic: |computed - exact| <= error |q| |row| for rows as they are stored */
    float (*scan_error)(mf_stream *stream, mf_dtype dtype, int64_t size);
    size_t (*scan_scratch)(mf_stream *stream, const mf_scan *scan); /* bytes; only shapes and types are looked at */
    mf_status (*scan)(mf_stream *stream, const mf_scan *scan, void *scratch);

    /* ---- memory of the backend's own; all NULL: its memory is the host's ---- */
    mf_status (*memory_alloc)(mf_stream *stream, size_t bytes, void **memory);
    /* of any stream of the device, also after the stream that allocated it is gone (then `stream` is NULL) */
    void (*memory_free)(mf_device *device, mf_stream *stream, void *memory);
    /* returns when `from`, memory of the host, may be written again */
    mf_status (*memory_put)(mf_stream *stream, void *to, const void *from, size_t bytes);
    /* returns when `to`, memory of the host, is filled */
    mf_status (*memory_get)(mf_stream *stream, void *to, const void *from, size_t bytes);
    mf_status (*memory_copy)(mf_stream *stream, void *to, const void *from, size_t bytes);
    mf_status (*memory_zero)(mf_stream *stream, void *memory, size_t bytes);
    /* waits for all that was asked of the stream, and says what of it failed */
    mf_status (*memory_finish)(mf_stream *stream);

    /* ---- runs that are recorded once and played again with the same buffers; all NULL: there are none ---- */
    mf_status (*record_begin)(mf_stream *stream);
    /* what ran since record_begin was not done, but recorded; also ends a recording that failed (then NULL is asked) */
    mf_status (*record_end)(mf_stream *stream, void **recording);
    mf_status (*record_play)(mf_stream *stream, void *recording);
    void (*record_free)(mf_stream *stream, void *recording);

    /* Images of 8 bits in the backend's memory to the network's input [count, height, width, 3] in f32, resized if need
     * be, scaled and normalised as mf_input_fill() does it; NULL: not done. */
    mf_status (*images)(mf_stream *stream, const mf_images *images, float *input);
    /* MF_MATH_FP8: while it is on, products note the range of what they read; when it goes off, scales are set */
    mf_status (*calibrate)(mf_stream *stream, int on);

    mf_status (*update)(mf_stream *stream, const mf_update *update);
    /* the sum of the squares of all gradients, in double; the same bits for any number of threads */
    mf_status (*sum_squares)(mf_stream *stream, const mf_update *update, double *sum);
} mf_backend;

typedef const mf_backend *(*mf_backend_entry)(void);

#endif
