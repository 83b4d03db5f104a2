/* MATMUL with MF_MATH_FP8: in 16 bits until calibrated, then in E4M3, as far off as that is and no farther.
 * test_fp8 [backend]; exit status 77: it does not load, or the device has no E4M3. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/registry.h"
#include "mfrgn/mfrgn.h"

enum { M = 150, N = 48, K = 64 };

static mfrgn_context *context;
static const mf_backend *table;
static int failures;

static void check(int good, const char *what) {
    if (!good)
        printf("FAIL %s: %s\n", what, mfrgn_context_last_error(context));
    failures += !good;
}

static double noise(void) {
    static uint64_t state = 9;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-52 - 1;
}

static uint16_t to_bf16(float x) { /* cut off: a value of the type is all that is wanted */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (uint16_t)(bits >> 16);
}

static float from_bf16(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static mf_operand operand(mf_dtype dtype, int64_t rows, int64_t cols, int constant) {
    return (mf_operand){dtype, 2, {rows, cols}, constant};
}

typedef struct product {
    mf_stream *stream;
    mf_kernel *kernel;
    mf_kernel_info info;
    void *in[MF_MAX_INPUTS], *out, *scratch;
    uint16_t a[M * K], got[M * N], residual[M * N];
    float w[N * K], bias[N];
    double expected[M * N];
    int tb, options;
} product;

static void *device(product *p, size_t bytes, const void *from, size_t offset) {
    void *memory = NULL;
    check(!table->memory_alloc(p->stream, bytes + 64, &memory), "memory_alloc");
    if (from)
        check(!table->memory_put(p->stream, (char *)memory + offset, from, bytes), "memory_put");
    return (char *)memory + offset;
}

static void run(product *p) {
    table->stream_begin(p->stream);
    check(!table->run(p->kernel, (const void *const *)p->in, p->out, p->scratch), "run");
    table->stream_end(p->stream);
    check(!table->memory_get(p->stream, p->got, p->out, sizeof(p->got)), "memory_get");
}

static double error(const product *p) {
    double off = 0, all = 0;
    for (int i = 0; i < M * N; i++) {
        off += pow(from_bf16(p->got[i]) - p->expected[i], 2);
        all += pow(p->expected[i], 2);
    }
    return sqrt(off / all);
}

static void make(product *p) {
    for (int i = 0; i < M * K; i++)
        p->a[i] = to_bf16((float)(3 * noise()));
    for (int i = 0; i < N * K; i++)
        p->w[i] = from_bf16(to_bf16((float)noise() / 8));
    for (int i = 0; i < N; i++)
        p->bias[i] = from_bf16(to_bf16((float)noise()));
    for (int i = 0; i < M * N; i++)
        p->residual[i] = to_bf16((float)noise());
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double sum = p->options & 1 ? p->bias[n] : 0;
            for (int k = 0; k < K; k++)
                sum += (double)from_bf16(p->a[m * K + k]) * p->w[p->tb ? n * K + k : k * N + n];
            sum = p->options & 2 ? sum * (1 + erf(sum / sqrt(2))) / 2 : sum;
            p->expected[m * N + n] = sum + (p->options & 4 ? from_bf16(p->residual[m * N + n]) : 0);
        }
}

static void open_product(product *p, const mf_loaded *backend, mf_stream *s, int tb, int options, size_t offset) {
    mf_op op = {.kind = MF_OP_MATMUL, .input_count = 5};
    p->stream = s;
    p->tb = tb;
    p->options = options;
    (void)backend;
    make(p);
    op.attrs.tb = tb;
    op.attrs.act = options & 2 ? MF_ACT_GELU : MF_ACT_NONE;
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        op.input[i].ndim = -1;
    op.input[MF_IN_X] = operand(MF_BF16, M, K, 0);
    op.input[MF_IN_W] = tb ? operand(MF_F32, N, K, 1) : operand(MF_F32, K, N, 1);
    if (options & 1)
        op.input[MF_IN_BIAS] = (mf_operand){MF_F32, 1, {N}, 1};
    if (options & 4)
        op.input[MF_IN_RESIDUAL] = operand(MF_BF16, M, N, 0);
    op.output = operand(MF_BF16, M, N, 0);
    check(table->supports(s, &op), "supports");
    check(!table->prepare(s, &op, &p->kernel, &p->info), "prepare");
    p->in[MF_IN_X] = device(p, sizeof(p->a), p->a, offset);
    p->in[MF_IN_W] = device(p, p->info.pack_bytes[MF_IN_W], NULL, 0);
    check(!table->pack(p->kernel, MF_IN_W, p->w, p->in[MF_IN_W]), "pack");
    if (options & 1) {
        p->in[MF_IN_BIAS] = device(p, p->info.pack_bytes[MF_IN_BIAS], NULL, 0);
        check(!table->pack(p->kernel, MF_IN_BIAS, p->bias, p->in[MF_IN_BIAS]), "pack of a bias");
    }
    if (options & 4)
        p->in[MF_IN_RESIDUAL] = device(p, sizeof(p->residual), p->residual, 0);
    p->out = device(p, sizeof(p->got), NULL, 0);
    p->scratch = device(p, p->info.scratch_bytes, NULL, 0);
}

static void close_product(const mf_loaded *backend, product *p, size_t offset) {
    table->release(p->kernel);
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        if (p->in[i])
            table->memory_free(backend->device, p->stream, (char *)p->in[i] - (i ? 0 : offset));
    table->memory_free(backend->device, p->stream, p->out);
    table->memory_free(backend->device, p->stream, p->scratch);
}

static void check_product(const mf_loaded *backend, mf_stream *s, int tb, int options) {
    uint16_t wide[M * N];
    product *p = calloc(1, sizeof(*p)), *odd = calloc(1, sizeof(*odd)), *late = calloc(1, sizeof(*late));
    open_product(p, backend, s, tb, options, 0);
    open_product(odd, backend, s, tb, options, 2); /* not aligned: stays in 16 bits */
    run(p);
    check(error(p) < 4e-3, "in 16 bits");
    memcpy(wide, p->got, sizeof(wide));
    check(!table->calibrate(s, 1), "calibrate");
    run(p);
    run(odd);
    check(!memcmp(wide, p->got, sizeof(wide)), "calibration computes as before");
    check(!table->calibrate(s, 0), "end of calibration");
    run(p);
    check(error(p) > 5e-3 && error(p) < 5e-2, "in E4M3");
    memcpy(wide, p->got, sizeof(wide));
    run(p);
    check(!memcmp(wide, p->got, sizeof(wide)), "twice the same bits");
    run(odd);
    check(error(odd) < 4e-3, "operands that are not aligned");
    open_product(late, backend, s, tb, options, 0);
    run(late);
    check(error(late) < 4e-3, "a kernel that was not calibrated");
    close_product(backend, p, 0);
    close_product(backend, odd, 2);
    close_product(backend, late, 0);
    free(p);
    free(odd);
    free(late);
}

int main(int argc, char **argv) {
    const mf_loaded *backend;
    char *passed_over = NULL;
    mf_stream_params params = {.struct_size = sizeof(params), .threads = 1, .compute = MF_BF16, .math = MF_MATH_FP8};
    mf_stream *s;
    if (mfrgn_context_create(NULL, &context))
        return 2;
    if (mf_backend_open(context, argc > 1 ? argv[1] : "cuda", &backend, &passed_over) ||
        backend->table->stream_open(backend->device, &params, &s)) {
        printf("skipped: %s\n", mfrgn_context_last_error(context));
        mfrgn_context_free(context);
        return 77;
    }
    table = backend->table;
    for (int tb = 0; tb < 2; tb++)
        for (int options = 0; options < 8; options++)
            check_product(backend, s, tb, options);
    table->stream_close(s);
    mfrgn_context_free(context);
    return failures != 0;
}
