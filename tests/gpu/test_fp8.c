/* MATMUL and MLP with MF_MATH_FP8: in 16 bits until calibrated, then in E4M3, as far off as that is and no farther.
 * test_fp8 [backend]; exit status 77: it does not load, or the device has no E4M3. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/registry.h"
#include "mfrgn/mfrgn.h"

enum { M = 150, N = 48, K = 64, H = 96 }; /* H: of an MLP */
enum { BIAS = 1, GELU = 2, RESIDUAL = 4, MLP = 8 };

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
    float w[N * H], bias[N], first_w[H * K], first_bias[H];
    double hidden[M * H], expected[M * N];
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

static void fill(float *to, int count, double scale) {
    for (int i = 0; i < count; i++)
        to[i] = from_bf16(to_bf16((float)(scale * noise())));
}

static double gelu(double x) {
    return x * (1 + erf(x / sqrt(2))) / 2;
}

/* What the last product reads: a, or of an MLP the hidden values. */
static double read_by_last(const product *p, int m, int k) {
    return p->options & MLP ? p->hidden[m * H + k] : from_bf16(p->a[m * K + k]);
}

static int depth_of_last(const product *p) {
    return p->options & MLP ? H : K;
}

static void expect(product *p) {
    const int depth = depth_of_last(p), inside = p->options & MLP;
    for (int m = 0; m < M && inside; m++)
        for (int h = 0; h < H; h++) {
            double sum = p->first_bias[h];
            for (int k = 0; k < K; k++)
                sum += (double)from_bf16(p->a[m * K + k]) * p->first_w[h * K + k];
            p->hidden[m * H + h] = p->options & GELU ? gelu(sum) : fmax(sum, 0);
        }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double sum = p->options & BIAS ? p->bias[n] : 0;
            for (int k = 0; k < depth; k++)
                sum += read_by_last(p, m, k) * p->w[p->tb ? n * depth + k : k * N + n];
            sum = p->options & GELU && !inside ? gelu(sum) : sum;
            p->expected[m * N + n] = sum + (p->options & RESIDUAL ? from_bf16(p->residual[m * N + n]) : 0);
        }
}

static void make(product *p) {
    for (int i = 0; i < M * K; i++)
        p->a[i] = to_bf16((float)(3 * noise()));
    for (int i = 0; i < M * N; i++)
        p->residual[i] = to_bf16((float)noise());
    fill(p->w, N * H, 0.125);
    fill(p->bias, N, 1);
    fill(p->first_w, H * K, 0.125);
    fill(p->first_bias, H, 1);
    expect(p);
}

static mf_op op_of(const product *p) {
    const int inside = p->options & MLP, depth = depth_of_last(p);
    mf_op op = {.kind = inside ? MF_OP_MLP : MF_OP_MATMUL, .input_count = inside ? MF_MLP_INPUTS : MF_IN_RESIDUAL + 1};
    op.attrs.tb = p->tb;
    op.attrs.act = p->options & GELU ? MF_ACT_GELU : inside ? MF_ACT_RELU : MF_ACT_NONE;
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        op.input[i].ndim = -1;
    op.input[MF_IN_X] = operand(MF_BF16, M, K, 0);
    op.input[MF_IN_W] = p->tb ? operand(MF_F32, N, depth, 1) : operand(MF_F32, depth, N, 1);
    if (p->options & BIAS)
        op.input[MF_IN_BIAS] = (mf_operand){MF_F32, 1, {N}, 1};
    if (p->options & RESIDUAL)
        op.input[MF_IN_RESIDUAL] = operand(MF_BF16, M, N, 0);
    if (inside) {
        op.input[MF_IN_FIRST_W] = operand(MF_F32, H, K, 1);
        op.input[MF_IN_FIRST_BIAS] = (mf_operand){MF_F32, 1, {H}, 1};
    }
    op.output = operand(MF_BF16, M, N, 0);
    return op;
}

static void pack(product *p, int input, const void *plain) {
    p->in[input] = device(p, p->info.pack_bytes[input], NULL, 0);
    check(!table->pack(p->kernel, input, plain, p->in[input]), "pack");
}

static void open_product(product *p, mf_stream *s, int tb, int options, size_t offset) {
    p->stream = s;
    p->tb = tb;
    p->options = options;
    make(p);
    const mf_op op = op_of(p);
    check(table->supports(s, &op), "supports");
    check(!table->prepare(s, &op, &p->kernel, &p->info), "prepare");
    p->in[MF_IN_X] = device(p, sizeof(p->a), p->a, offset);
    pack(p, MF_IN_W, p->w);
    if (options & BIAS)
        pack(p, MF_IN_BIAS, p->bias);
    if (options & MLP) {
        pack(p, MF_IN_FIRST_W, p->first_w);
        pack(p, MF_IN_FIRST_BIAS, p->first_bias);
    }
    if (options & RESIDUAL)
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
    open_product(p, s, tb, options, 0);
    open_product(odd, s, tb, options, 2); /* not aligned: stays in 16 bits */
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
    /* of an MLP the second product's are: they are its own */
    check(options & MLP ? error(odd) > 5e-3 && error(odd) < 5e-2 : error(odd) < 4e-3, "operands that are not aligned");
    open_product(late, s, tb, options, 0);
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
    for (int options = 0; options < 16; options++)
        for (int tb = options & MLP ? 1 : 0; tb < 2; tb++)
            check_product(backend, s, tb, options);
    table->stream_close(s);
    mfrgn_context_free(context);
    return failures != 0;
}
