/* What the files of the oneDNN backend share.
 *
 *   onednn.c    the table: device, stream, and which kernel an operation gets
 *   rules.c     the rule: which convolutions and products oneDNN computes, and the figures behind it
 *   product.c   those, as oneDNN convolutions with packed weights and post-ops
 *   compat.h    oneDNN 2 and 3 from one source */
#ifndef MFRGN_BACKENDS_ONEDNN_H
#define MFRGN_BACKENDS_ONEDNN_H

#include "backends/backend.h"
#include "backends/cpu/cpu.h"
#include "backends/onednn/compat.h"

/* mfrgn_status of the public header, which a backend does not see. */
enum { MF_DNN_MEMORY = 2, MF_DNN_BACKEND = 7 };

/* The OpenMP runtime that oneDNN itself runs on, found by name when the device is opened: linking one of our own
 * choice could bring a second runtime, and with it a second set of threads, into the process. */
typedef struct mf_omp {
    int (*get_max_threads)(void);
    void (*set_num_threads)(int threads);
    /* the entry that `#pragma omp parallel` compiles to; libgomp, libomp and libiomp5 have it */
    void (*parallel)(void (*body)(void *), void *arg, unsigned threads, unsigned flags);
} mf_omp;

struct mf_device {
    const mf_host *host;
    dnnl_engine_t engine;
    mf_omp omp;
    int on_omp;   /* oneDNN runs on OpenMP, and omp is filled in */
    int parallel; /* oneDNN uses more than one thread */
    char text[192];
};

typedef struct mf_plan mf_plan;

struct mf_stream {
    mf_device *device;
    int threads;
    mf_cpu cpu;
    dnnl_stream_t stream;
    mf_plan *plans;     /* those in use, each shared by the kernels of one shape */
    int caller_threads; /* OpenMP's setting, to be given back by stream_end */
};

static inline int mf_onednn_present(const mf_op *op, int slot) {
    return slot < op->input_count && mf_operand_present(&op->input[slot]);
}

/* ---- rules.c ---- */
typedef enum mf_isa { MF_ISA_OTHER, MF_ISA_AVX2, MF_ISA_AVX512 } mf_isa;
mf_isa mf_onednn_isa(void);
const char *mf_onednn_isa_name(void);
/* 1 if product.c can compute it at all */
int mf_onednn_able(const mf_op *op);
/* 1 if it is also to: faster there than by the common kernels */
int mf_onednn_takes(mf_isa isa, const mf_op *op);

/* ---- product.c ---- */
typedef struct mf_product {
    mf_stream *stream;
    mf_plan *plan;
    int has_bias, has_residual;
    size_t output_bytes;
} mf_product;

/* MF_PRODUCT_NONE: oneDNN has no optimised implementation (no error is set). */
enum { MF_PRODUCT_NONE = -1 };
int mf_product_prepare(mf_stream *stream, const mf_op *op, mf_product *product, mf_kernel_info *info);
mf_status mf_product_pack(mf_product *product, const void *plain, void *packed);
mf_status mf_product_run(mf_product *product, const void *const *inputs, void *output, void *scratch);
void mf_product_release(mf_product *product);
/* oneDNN's name of the implementation */
const char *mf_product_implementation(const mf_product *product);

/* ---- onednn.c ---- */
/* Sets OpenMP's thread number to the stream's; the value returned goes to mf_stream_leave. */
int mf_stream_enter(mf_stream *stream);
void mf_stream_leave(mf_stream *stream, int before);
const mf_backend *mf_backend_onednn_table(void);

#endif
