/* What the files of the OpenBLAS backend share. */
#ifndef MFRGN_BACKENDS_OPENBLAS_H
#define MFRGN_BACKENDS_OPENBLAS_H

#include "backends/cpu/kernel.h"

struct mf_device {
    const mf_host *host;
    int serial; /* a build without threads: nothing to save and restore */
    char text[256];
};

struct mf_stream {
    mf_device *device;
    mf_cpu cpu;
    int (*takes)(const mf_cpu *cpu, const mf_op *op); /* the rule; tests put mf_openblas_able here */
};

/* One product C = residual + scale act(A B + bias) by cblas_sgemm, in slices. */
typedef struct mf_blas_product {
    const mf_cpu *cpu;
    mf_gemm gemm;
    int ta, tb, slots;
    int adds; /* a residual is added by sgemm, and C may be its memory */
    int64_t images;        /* the rows of C are split image by image, each alike */
    int64_t rows, columns; /* of a slice */
    int input_count;
} mf_blas_product;

const mf_backend *mf_backend_openblas_table(void);
int mf_openblas_able(const mf_cpu *cpu, const mf_op *op);
int mf_openblas_takes(const mf_cpu *cpu, const mf_op *op);
void mf_openblas_plan(const mf_cpu *cpu, const mf_op *op, mf_blas_product *p);
void mf_openblas_run(const mf_blas_product *p, const void *const *in, void *out);

#endif
