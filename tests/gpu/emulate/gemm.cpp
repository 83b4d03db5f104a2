/* Stands in for blas.c: the products of blas.h by plain loops, as work of the queue.  It refuses a bias where cuBLASLt may:
 * of a single column in 16 bits, and GELU of an odd number of columns, so that what is done then is tested. */
#include "backends/cuda/blas.h"
#include "backends/cuda/launch.h"

#include <cuda_fp8.h>
#include <vector>

#include "tests/gpu/emulate/runtime.h"

struct mfc_blas {
    const mf_host *host;
};

struct mfc_gemm_plan {
    const mf_host *host;
    mfc_gemm g;
};

extern "C" mfc_blas *mfc_blas_create(const mf_host *host, cudaStream_t, const char *) {
    mfc_blas *b = (mfc_blas *)host->alloc(host->context, sizeof(*b));
    if (b)
        b->host = host;
    return b;
}

extern "C" void mfc_blas_free(mfc_blas *b) {
    if (b)
        b->host->free(b->host->context, b);
}

static float to_tf32(float x) { /* nearest, ties to even, 10 bits of mantissa */
    unsigned u = __float_as_uint(x);
    if ((u & 0x7f800000u) == 0x7f800000u)
        return x;
    u += 0xfffu + (u >> 13 & 1);
    return __uint_as_float(u & ~0x1fffu);
}

static float read(const void *p, int64_t i, mf_dtype type, int tf32) {
    switch (type) {
    case MF_F16:
        return __half2float(((const __half *)p)[i]);
    case MF_BF16:
        return __bfloat162float(((const __nv_bfloat16 *)p)[i]);
    case MF_I8:
        return __half2float(__half(__nv_cvt_fp8_to_halfraw(((const __nv_fp8_storage_t *)p)[i], __NV_E4M3)));
    default:
        return tf32 ? to_tf32(((const float *)p)[i]) : ((const float *)p)[i];
    }
}

static void write(void *p, int64_t i, mf_dtype type, float x) {
    if (type == MF_F16)
        ((__half *)p)[i] = __float2half_rn(x);
    else if (type == MF_BF16)
        ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn(x);
    else
        ((float *)p)[i] = x;
}

/* One matrix, `rows` of it: row by row, sums in f32 along k. */
static void multiply(const mfc_gemm *g, int64_t rows, int64_t b, const void *a, const void *w, const void *bias,
                     const void *c, void *out, float scale) {
    std::vector<float> wide((size_t)(g->k * g->n));
    std::vector<double> row((size_t)g->n);
    for (int64_t k = 0; k < g->k; k++)
        for (int64_t n = 0; n < g->n; n++)
            wide[(size_t)(k * g->n + n)] =
                read(w, b * g->step_w + (g->tw ? n * g->ldw + k : k * g->ldw + n), g->type, g->tf32);
    for (int64_t m = 0; m < rows; m++) {
        std::fill(row.begin(), row.end(), 0.0);
        for (int64_t k = 0; k < g->k; k++) {
            const double x = read(a, b * g->step_a + (g->ta ? k * g->lda + m : m * g->lda + k), g->type, g->tf32);
            const float *from = wide.data() + k * g->n;
            for (int64_t n = 0; n < g->n; n++)
                row[(size_t)n] += x * (double)from[n];
        }
        for (int64_t n = 0; n < g->n; n++) {
            const int64_t at = b * g->step_o + m * g->ldo + n;
            float x = (float)(scale * row[(size_t)n]) + (g->bias ? read(bias, n, g->out, 0) : 0.0f);
            x = g->gelu ? mfc_act(x, MF_ACT_GELU_TANH) : x;
            write(out, at, g->out, x + (c && g->beta != 0 ? g->beta * read(c, at, g->out, 0) : 0.0f));
        }
    }
}

extern "C" mf_status mfc_gemm_prepare(mfc_blas *b, const mfc_gemm *g, mfc_gemm_plan **plan, size_t *workspace_bytes) {
    if (g->gelu && g->n % 2)
        return b->host->fail(b->host->context, MFC_UNSUPPORTED, "no GELU of an odd number of columns");
    if (g->bias && g->n == 1 && g->out != MF_F32)
        return b->host->fail(b->host->context, MFC_UNSUPPORTED, "no product of one column with a bias");
    mfc_gemm_plan *p = (mfc_gemm_plan *)b->host->alloc(b->host->context, sizeof(*p));
    if (!p)
        return MFC_MEMORY;
    p->host = b->host;
    p->g = *g;
    *plan = p;
    *workspace_bytes = 1000; /* what is not a multiple of anything is to be rounded up by who asks */
    return 0;
}

extern "C" mf_status mfc_gemm_run(mfc_gemm_plan *plan, cudaStream_t queue, int64_t rows, const void *a, const void *w,
                                  const void *bias, const void *c, void *out, const float *scale_a,
                                  const float *scale_w, void *workspace) {
    const mfc_gemm g = plan->g;
    if (rows != g.m && rows != g.rest)
        return plan->host->fail(plan->host->context, MFC_BACKEND, "a product of %lld rows was not prepared",
                                (long long)rows);
    if (((size_t)bias & 15) || ((size_t)workspace & 63) ||
        (g.type == MF_I8 && (((size_t)a | (size_t)w | (size_t)c | (size_t)out) & 15)))
        return plan->host->fail(plan->host->context, MFC_BACKEND, "operands of a product are not aligned");
    cudaError_t error = mfc_emulate_enqueue(queue, [=] {
        const float scale = g.alpha * (scale_a ? *scale_a : 1.0f) * (scale_w ? *scale_w : 1.0f);
        memset(workspace, 0xFF, 1000);
        for (int64_t b = 0; b < g.batch; b++)
            multiply(&g, rows, b, a, w, bias, c, out, scale);
        return cudaSuccess;
    });
    return error == cudaSuccess
               ? 0
               : plan->host->fail(plan->host->context, MFC_BACKEND, "a product: %s", cudaGetErrorString(error));
}

extern "C" void mfc_gemm_release(mfc_gemm_plan *plan) {
    if (plan)
        plan->host->free(plan->host->context, plan);
}
