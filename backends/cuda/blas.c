/* Products of matrices over cuBLASLt 12 or 13.
 *
 * cuBLASLt thinks in columns.  A row-major [m, n] is a column-major [n, m], and out^T = op(w)^T op(a)^T, so w is its A,
 * a its B, n its rows and m its columns; the bias lies along its rows, as its epilogue wants it.
 *
 * The same bits in every run: sums that are split along k meet in the workspace and are added by a second kernel
 * (CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE), never by atomics in the output (INPLACE). */
#include "backends/cuda/blas.h"

#include <cublasLt.h>
#include <stdio.h>
#include <string.h>

#include "backends/cuda/cuda.h"
#include "backends/cuda/tuning.h"

enum { CANDIDATES = 8, RUNS = 5, WARNING = 1 };
enum { WHOLE, REST, CALLS };               /* m; rest */
enum { ALIGNED, ELEMENTWISE, ALIGNMENTS }; /* pointers of 16 bytes; of an element */

struct mfc_blas {
    const mf_host *host;
    cublasLtHandle_t lt;
    cudaStream_t queue;
    mfc_tuning *tuning; /* or NULL */
    unsigned long long version;
    size_t workspace; /* the most that is asked for */
    char device[64];
};

typedef struct choice {
    int known;
    cublasLtMatmulAlgo_t algo;
} choice;

struct mfc_gemm_plan {
    mfc_blas *blas;
    mfc_gemm gemm;
    cublasLtMatmulDescOpaque_t desc;
    cublasLtMatrixLayoutOpaque_t w, a[CALLS], out[CALLS];
    choice chosen[CALLS][ALIGNMENTS];
    size_t workspace;
};

static mf_status failed(const mfc_blas *b, const char *what, cublasStatus_t status) {
    return b->host->fail(b->host->context, MFC_BACKEND, "%s: cuBLASLt: %s", what, cublasLtGetStatusString(status));
}

/* ---- the handle ---- */

mfc_blas *mfc_blas_create(const mf_host *host, cudaStream_t queue, const char *tuning) {
    struct cudaDeviceProp device;
    int ordinal;
    mfc_blas *b = host->alloc(host->context, sizeof(*b));
    if (!b)
        return NULL;
    *b = (mfc_blas){.host = host, .queue = queue, .version = cublasLtGetVersion()};
    cudaError_t error = cudaGetDevice(&ordinal);
    if (error == cudaSuccess)
        error = cudaGetDeviceProperties(&device, ordinal);
    if (error != cudaSuccess) {
        host->fail(host->context, MFC_BACKEND, "a device's properties: %s", cudaGetErrorString(error));
        mfc_blas_free(b);
        return NULL;
    }
    snprintf(b->device, sizeof(b->device), "%.60s", device.name);
    b->workspace = (size_t)(device.major >= 9 ? 32 : 4) << 20; /* what NVIDIA advises */
    cublasStatus_t status = cublasLtCreate(&b->lt);
    if (status != CUBLAS_STATUS_SUCCESS) {
        b->lt = NULL;
        failed(b, "a handle", status);
        mfc_blas_free(b);
        return NULL;
    }
    if (tuning && !(b->tuning = mfc_tuning_open(host, tuning))) {
        mfc_blas_free(b);
        return NULL;
    }
    return b;
}

void mfc_blas_free(mfc_blas *b) {
    if (!b)
        return;
    mfc_tuning_free(b->tuning);
    if (b->lt)
        cublasLtDestroy(b->lt);
    b->host->free(b->host->context, b);
}

/* ---- descriptions ---- */

static cudaDataType_t type_of(mf_dtype t) {
    return t == MF_F16 ? CUDA_R_16F : t == MF_BF16 ? CUDA_R_16BF : t == MF_I8 ? CUDA_R_8F_E4M3 : CUDA_R_32F;
}

static cublasStatus_t describe_product(mfc_gemm_plan *p) {
    const mfc_gemm *g = &p->gemm;
    int fast = g->type == MF_F32 && g->tf32;
    cublasLtEpilogue_t epilogue = !g->gelu  ? CUBLASLT_EPILOGUE_BIAS
                                  : g->bias ? CUBLASLT_EPILOGUE_GELU_BIAS
                                            : CUBLASLT_EPILOGUE_GELU;
    int32_t bias_type = (int32_t)type_of(g->out);
    int32_t w = g->tw ? CUBLAS_OP_T : CUBLAS_OP_N, a = g->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t s =
        cublasLtMatmulDescInit(&p->desc, fast ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulDescSetAttribute(&p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &w, sizeof(w));
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulDescSetAttribute(&p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &a, sizeof(a));
    if (s != CUBLAS_STATUS_SUCCESS || (!g->bias && !g->gelu))
        return s;
    s = cublasLtMatmulDescSetAttribute(&p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof(epilogue));
    if (s == CUBLAS_STATUS_SUCCESS && g->bias)
        s = cublasLtMatmulDescSetAttribute(&p->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type,
                                           sizeof(bias_type));
    return s;
}

/* One column-major matrix, or a row of them. */
static cublasStatus_t describe_matrix(cublasLtMatrixLayoutOpaque_t *layout, mf_dtype type, int64_t rows, int64_t cols,
                                      int64_t ld, int64_t batch, int64_t step) {
    int32_t count = (int32_t)batch;
    cublasStatus_t s = cublasLtMatrixLayoutInit(layout, type_of(type), (uint64_t)rows, (uint64_t)cols, ld);
    if (s != CUBLAS_STATUS_SUCCESS || batch == 1)
        return s;
    s = cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count));
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof(step));
    return s;
}

static cublasStatus_t describe_matrices(mfc_gemm_plan *p) {
    const mfc_gemm *g = &p->gemm;
    cublasStatus_t s =
        describe_matrix(&p->w, g->type, g->tw ? g->k : g->n, g->tw ? g->n : g->k, g->ldw, g->batch, g->step_w);
    for (int call = WHOLE; call < CALLS && s == CUBLAS_STATUS_SUCCESS; call++) {
        int64_t m = call == REST ? g->rest : g->m;
        if (!m)
            continue;
        s = describe_matrix(&p->a[call], g->type, g->ta ? m : g->k, g->ta ? g->k : m, g->lda, g->batch, g->step_a);
        if (s == CUBLAS_STATUS_SUCCESS)
            s = describe_matrix(&p->out[call], g->out, g->n, m, g->ldo, g->batch, g->step_o);
    }
    return s;
}

static void point_at(mfc_gemm_plan *p, const void *bias, const float *scale_a, const float *scale_w) {
    if (p->gemm.bias)
        (void)cublasLtMatmulDescSetAttribute(&p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof(bias));
    if (p->gemm.type != MF_I8)
        return;
    (void)cublasLtMatmulDescSetAttribute(&p->desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &scale_w, sizeof(scale_w));
    (void)cublasLtMatmulDescSetAttribute(&p->desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &scale_a, sizeof(scale_a));
}

/* cuBLASLt takes from a bias' address how it is aligned, and may choose otherwise where there are scales: so a choice
 * is made with addresses that promise no more than those of runs.  They are not read. */
static void point_nowhere(mfc_gemm_plan *p) {
    const float *somewhere = (const float *)(size_t)16;
    point_at(p, somewhere, somewhere, somewhere);
}

/* ---- choice ---- */

/* The bytes that every matrix of a batch is aligned to, where the first is aligned to `base`. */
static uint32_t alignment(int64_t batch, int64_t step, mf_dtype type, size_t base) {
    size_t bytes = base;
    while (batch > 1 && bytes > 1 && (size_t)step * mf_dtype_size(type) % bytes)
        bytes /= 2;
    return (uint32_t)bytes;
}

static cublasStatus_t set_preference(cublasLtMatmulPreferenceOpaque_t *pref, cublasLtMatmulPreferenceAttributes_t what,
                                     const void *value, size_t bytes, cublasStatus_t before) {
    return before == CUBLAS_STATUS_SUCCESS ? cublasLtMatmulPreferenceSetAttribute(pref, what, value, bytes) : before;
}

static cublasStatus_t preference(const mfc_gemm_plan *p, int aligned, cublasLtMatmulPreferenceOpaque_t *pref) {
    const mfc_gemm *g = &p->gemm;
    size_t most = p->blas->workspace, in = aligned ? 16 : mf_dtype_size(g->type),
           out = aligned ? 16 : mf_dtype_size(g->out);
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; /* or none */
    uint32_t a = alignment(g->batch, g->step_w, g->type, in), b = alignment(g->batch, g->step_a, g->type, in),
             c = alignment(g->batch, g->step_o, g->out, out);
    cublasStatus_t s = cublasLtMatmulPreferenceInit(pref);
    s = set_preference(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof(most), s);
    s = set_preference(pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof(schemes), s);
    s = set_preference(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a, sizeof(a), s);
    s = set_preference(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b, sizeof(b), s);
    s = set_preference(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &c, sizeof(c), s);
    return set_preference(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &c, sizeof(c), s);
}

/* How many candidates the heuristics give, best first. */
static int candidates(mfc_gemm_plan *p, int call, int aligned, int most, cublasLtMatmulHeuristicResult_t *found) {
    cublasLtMatmulPreferenceOpaque_t pref;
    int count = 0, good = 0;
    point_nowhere(p);
    cublasStatus_t s = preference(p, aligned, &pref);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulAlgoGetHeuristic(p->blas->lt, &p->desc, &p->w, &p->a[call], &p->out[call], &p->out[call],
                                           &pref, most, found, &count);
    for (int i = 0; s == CUBLAS_STATUS_SUCCESS && i < count; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS && found[i].workspaceSize <= p->blas->workspace)
            found[good++] = found[i];
    return good;
}

static void take(mfc_gemm_plan *p, int call, int alignment_kind, const cublasLtMatmulAlgo_t *algo, size_t workspace) {
    p->chosen[call][alignment_kind] = (choice){1, *algo};
    p->workspace = workspace > p->workspace ? workspace : p->workspace;
}

/* 1: the algorithm computes this, in the workspace that there is. */
static int try_algorithm(mfc_gemm_plan *p, int call, int alignment_kind, const cublasLtMatmulAlgo_t *algo) {
    cublasLtMatmulHeuristicResult_t r = {.state = CUBLAS_STATUS_SUCCESS}; /* not among what it promises to fill */
    point_nowhere(p);
    if (cublasLtMatmulAlgoCheck(p->blas->lt, &p->desc, &p->w, &p->a[call], &p->out[call], &p->out[call], algo, &r) !=
            CUBLAS_STATUS_SUCCESS ||
        r.state != CUBLAS_STATUS_SUCCESS || r.workspaceSize > p->blas->workspace)
        return 0;
    take(p, call, alignment_kind, algo, r.workspaceSize);
    return 1;
}

static int choose_first(mfc_gemm_plan *p, int call, int alignment_kind) {
    cublasLtMatmulHeuristicResult_t found[1];
    if (!candidates(p, call, alignment_kind == ALIGNED, 1, found))
        return 0;
    take(p, call, alignment_kind, &found[0].algo, found[0].workspaceSize);
    return 1;
}

/* ---- measurement ---- */

/* Memory that products are timed on. */
typedef struct bench {
    void *a, *w, *out, *bias, *workspace;
    float *scale;
    cudaEvent_t begin, end;
} bench;

static size_t extent(int64_t rows, int64_t ld, int64_t batch, int64_t step, mf_dtype type) {
    return (size_t)(rows * ld + (batch - 1) * step) * mf_dtype_size(type);
}

/* Bytes of 0x3c: small numbers in every type, E4M3 too. */
static cudaError_t get(void **p, size_t bytes, cudaStream_t queue, cudaError_t before) {
    cudaError_t e = before == cudaSuccess ? cudaMalloc(p, bytes) : before;
    return e == cudaSuccess ? cudaMemsetAsync(*p, 0x3c, bytes, queue) : e;
}

static cudaError_t open_bench(const mfc_gemm_plan *p, bench *b) {
    const mfc_gemm *g = &p->gemm;
    cudaStream_t q = p->blas->queue;
    memset(b, 0, sizeof(*b));
    cudaError_t e = get(&b->a, extent(g->ta ? g->k : g->m, g->lda, g->batch, g->step_a, g->type), q, cudaSuccess);
    e = get(&b->w, extent(g->tw ? g->n : g->k, g->ldw, g->batch, g->step_w, g->type), q, e);
    e = get(&b->out, extent(g->m, g->ldo, g->batch, g->step_o, g->out), q, e);
    e = get(&b->bias, (size_t)g->n * mf_dtype_size(g->out), q, e);
    e = get(&b->workspace, p->blas->workspace, q, e);
    e = get((void **)&b->scale, sizeof(float), q, e);
    if (e == cudaSuccess)
        e = cudaEventCreate(&b->begin);
    return e == cudaSuccess ? cudaEventCreate(&b->end) : e;
}

static void close_bench(bench *b) {
    cudaFree(b->a);
    cudaFree(b->w);
    cudaFree(b->out);
    cudaFree(b->bias);
    cudaFree(b->workspace);
    cudaFree(b->scale);
    if (b->begin)
        cudaEventDestroy(b->begin);
    if (b->end)
        cudaEventDestroy(b->end);
    (void)cudaGetLastError();
}

static cublasStatus_t multiply(mfc_gemm_plan *p, cudaStream_t queue, int call, const cublasLtMatmulAlgo_t *algo,
                               const void *a, const void *w, const void *c, void *out, void *workspace) {
    float alpha = p->gemm.alpha, beta = c ? p->gemm.beta : 0;
    return cublasLtMatmul(p->blas->lt, &p->desc, &alpha, w, &p->w, a, &p->a[call], &beta, c ? c : out, &p->out[call],
                          out, &p->out[call], algo, workspace, p->workspace, queue);
}

/* Milliseconds of each run; -1: it failed. */
static void time_candidate(mfc_gemm_plan *p, const bench *b, const cublasLtMatmulAlgo_t *algo, float *ms) {
    cudaStream_t q = p->blas->queue;
    const void *c = p->gemm.beta != 0 ? b->out : NULL;
    for (int run = -1; run < RUNS; run++) { /* the first is not counted */
        float elapsed = -1;
        int good = cudaEventRecord(b->begin, q) == cudaSuccess &&
                   multiply(p, q, WHOLE, algo, b->a, b->w, c, b->out, b->workspace) == CUBLAS_STATUS_SUCCESS &&
                   cudaEventRecord(b->end, q) == cudaSuccess && cudaEventSynchronize(b->end) == cudaSuccess &&
                   cudaEventElapsedTime(&elapsed, b->begin, b->end) == cudaSuccess;
        if (run >= 0)
            ms[run] = good ? elapsed : -1;
    }
}

/* The fastest of several; 0: none was measured. */
static int choose_fastest(mfc_gemm_plan *p, const char *key) {
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    float ms[CANDIDATES * RUNS];
    uint64_t word[MFC_TUNING_WORDS];
    bench b;
    const mf_host *host = p->blas->host;
    int count = candidates(p, WHOLE, 1, CANDIDATES, found), best = -1;
    if (!count)
        return 0;
    cudaError_t error = open_bench(p, &b);
    if (error == cudaSuccess) {
        p->workspace = p->blas->workspace; /* for multiply() */
        point_at(p, b.bias, b.scale, b.scale);
        for (int i = 0; i < count; i++)
            time_candidate(p, &b, &found[i].algo, ms + i * RUNS);
        best = mfc_tuning_fastest(ms, count, RUNS);
        p->workspace = 0;
    } else {
        host->log(host->context, WARNING, "cuda: a product is not measured: %s", cudaGetErrorString(error));
    }
    close_bench(&b);
    if (best < 0)
        return 0;
    take(p, WHOLE, ALIGNED, &found[best].algo, found[best].workspaceSize);
    memcpy(word, found[best].algo.data, sizeof(word));
    mfc_tuning_note(p->blas->tuning, key, word);
    return 1;
}

static int choose_tuned(mfc_gemm_plan *p) {
    const mfc_gemm *g = &p->gemm;
    char key[MFC_TUNING_KEY];
    uint64_t word[MFC_TUNING_WORDS];
    cublasLtMatmulAlgo_t algo;
    snprintf(key, sizeof(key), "%s|%llu|%lldx%lldx%lldx%lld|%d%d|%lld,%lld,%lld|%lld,%lld,%lld|%d>%d|%d%d%d%d",
             p->blas->device, p->blas->version, (long long)g->m, (long long)g->n, (long long)g->k, (long long)g->batch,
             g->ta, g->tw, (long long)g->lda, (long long)g->ldw, (long long)g->ldo, (long long)g->step_a,
             (long long)g->step_w, (long long)g->step_o, (int)g->type, (int)g->out, g->bias != 0, g->tf32 != 0,
             g->beta != 0, g->gelu != 0);
    if (mfc_tuning_find(p->blas->tuning, key, word)) {
        memcpy(algo.data, word, sizeof(word));
        if (try_algorithm(p, WHOLE, ALIGNED, &algo))
            return 1;
        p->blas->host->log(p->blas->host->context, WARNING, "cuda: a choice of the tuning file does not run: %s", key);
    }
    return choose_fastest(p, key);
}

/* ---- plans ---- */

static void choose_rest(mfc_gemm_plan *p, int alignment_kind) {
    const choice *whole = &p->chosen[WHOLE][alignment_kind];
    if (p->gemm.rest && whole->known && !try_algorithm(p, REST, alignment_kind, &whole->algo))
        choose_first(p, REST, alignment_kind);
}

/* Whether there is one for every call.  Without GELU odd pointers may have none: they are refused when they come. */
static int is_complete(const mfc_gemm_plan *p) {
    for (int kind = ALIGNED; kind <= (p->gemm.gelu ? ELEMENTWISE : ALIGNED); kind++)
        if (!p->chosen[WHOLE][kind].known || (p->gemm.rest && !p->chosen[REST][kind].known))
            return 0;
    return 1;
}

static mf_status choose(mfc_gemm_plan *p) {
    const mfc_gemm *g = &p->gemm;
    if (!(p->blas->tuning && !g->quick && choose_tuned(p)))
        choose_first(p, WHOLE, ALIGNED);
    if (g->type != MF_I8)
        choose_first(p, WHOLE, ELEMENTWISE);
    choose_rest(p, ALIGNED);
    choose_rest(p, ELEMENTWISE);
    if (is_complete(p))
        return 0;
    return p->blas->host->fail(p->blas->host->context, MFC_UNSUPPORTED,
                               "cuBLASLt has no algorithm for a product %lld (%lld) x %lld x %lld of type %d",
                               (long long)g->m, (long long)g->rest, (long long)g->n, (long long)g->k, (int)g->type);
}

mf_status mfc_gemm_prepare(mfc_blas *b, const mfc_gemm *gemm, mfc_gemm_plan **plan, size_t *workspace_bytes) {
    mfc_gemm_plan *p = b->host->alloc(b->host->context, sizeof(*p));
    if (!p)
        return MFC_MEMORY;
    memset(p, 0, sizeof(*p));
    p->blas = b;
    p->gemm = *gemm;
    cublasStatus_t s = describe_product(p);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = describe_matrices(p);
    mf_status status = s == CUBLAS_STATUS_SUCCESS ? choose(p) : failed(b, "description of a product", s);
    if (status) {
        mfc_gemm_release(p);
        return status;
    }
    *plan = p;
    *workspace_bytes = p->workspace;
    return 0;
}

mf_status mfc_gemm_run(mfc_gemm_plan *p, cudaStream_t queue, int64_t rows, const void *a, const void *w,
                       const void *bias, const void *c, void *out, const float *scale_a, const float *scale_w,
                       void *workspace) {
    int call = rows == p->gemm.m ? WHOLE : REST;
    size_t together = (size_t)a | (size_t)w | (size_t)c | (size_t)out;
    const choice *chosen = &p->chosen[call][together & 15 ? ELEMENTWISE : ALIGNED];
    if (!chosen->known)
        return p->blas->host->fail(p->blas->host->context, MFC_UNSUPPORTED,
                                   "cuBLASLt has no algorithm for a product of operands that are not aligned");
    point_at(p, bias, scale_a, scale_w);
    cublasStatus_t s = multiply(p, queue, call, &chosen->algo, a, w, c, out, workspace);
    return s == CUBLAS_STATUS_SUCCESS ? 0 : failed(p->blas, "a product", s);
}

void mfc_gemm_release(mfc_gemm_plan *p) {
    if (p)
        p->blas->host->free(p->blas->host->context, p);
}
