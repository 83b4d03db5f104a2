/* ops [options] [backend ..]        compares backends (default: all that load) with `ref` in f64; cpu:avx2,
 *                                   cpu:portable .. are the common kernels of one instruction set
 *     --verbose; --every=N: every Nth case; --short: every 13th, for sanitizers and emulators; --type=f32|f64|f16|bf16;
 *     --only=TEXT: cases with TEXT in their names
 * ops --dump FOLDER                 writes the cases, and what `ref` makes of them, for torch_check.py
 * ops --finite                      the gradients of `ref` against finite differences
 * ops --bench [threads] [backend]   measures
 *
 * Of each case: the error against `ref` in f64; two runs give the same bits (with other rubbish in the scratch); one
 * and two threads agree; equal images of a batch give equal bits; nothing is written beside output and scratch. Exit
 * status: 0; 1: a case failed, or a backend that was named does not load. */
#include "graph/graph.h"
#include "ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_bits(uint64_t *state) { /* SplitMix64 */
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* The sum of four uniform numbers, of variance 1: close enough to normal. */
static double normal(uint64_t *state) {
    const uint64_t a = random_bits(state), b = random_bits(state);
    const double sum = (double)(a >> 32) + (double)(a & 0xFFFFFFFF) + (double)(b >> 32) + (double)(b & 0xFFFFFFFF);
    return (ldexp(sum, -32) - 2) * sqrt(3);
}

void ops_make_inputs(const ops_case *c, double *inputs[MF_MAX_INPUTS]) {
    uint64_t state = mf_hash(c->name, strcspn(c->name, "|"), 0);
    for (int i = 0; i < MF_MAX_INPUTS; i++) {
        inputs[i] = NULL;
        if (i >= c->op.input_count || !mf_operand_present(&c->op.input[i]))
            continue;
        const int64_t count = mf_operand_count(&c->op.input[i]);
        const ops_fill *f = &c->fill[i];
        inputs[i] = malloc((size_t)count * sizeof(double));
        if (!inputs[i])
            exit(2);
        for (int64_t j = 0; j < count; j++) {
            if (ops_is_key(&c->op, i)) {
                inputs[i][j] = (double)(random_bits(&state) >> 11) - 0x1p52;
                continue;
            }
            double z = normal(&state);
            z = f->offset + f->scale * (f->values == OPS_POSITIVE ? fabs(z) : z);
            z = f->values == OPS_WHOLE ? nearbyint(z) : z;
            inputs[i][j] = ops_round(z, i == MF_IN_W && c->weight != MF_F32 ? c->weight : MF_F32);
        }
    }
}

void ops_free_inputs(double *inputs[MF_MAX_INPUTS]) {
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        free(inputs[i]);
}

/* ---- comparison ---- */

typedef struct error {
    double l2;      /* |got - expected| / |expected| */
    double maximum; /* the largest difference, in units of the largest expected value */
} error;

static error compare(const double *got, const double *expected, int64_t count) {
    double squares = 0, norm = 0, maximum = 0, largest = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = fabs(got[i] - expected[i]);
        if (!(d < INFINITY))
            return (error){INFINITY, INFINITY};
        squares += d * d;
        norm += expected[i] * expected[i];
        maximum = fmax(maximum, d);
        largest = fmax(largest, fabs(expected[i]));
    }
    if (squares == 0)
        return (error){0, 0};
    return (error){sqrt(squares / norm), maximum / largest};
}

enum { TYPES = MF_BF16 + 1 }; /* MF_F32, MF_F64, MF_F16, MF_BF16 */

typedef struct tally {
    int cases, skipped, failures;
    error worst;
} tally;

typedef struct suite {
    ops_backend ref, backend;
    mf_dtype compute; /* the type in hand */
    int wide;         /* see ops_job */
    unsigned types;   /* bit t: the backend has type t, and it is wanted */
    int verbose, stride; /* every `stride`th case is run */
    const char *only;
    size_t seen;
    tally tallies[TYPES][MF_OP_COUNT];
} suite;

static tally *tally_of(suite *s, const ops_case *c) {
    return &s->tallies[s->compute][c->op.kind];
}

static const char *const type_names[TYPES] = {"f32", "f64", "f16", "bf16"};

static const char *type_name(mf_dtype type) {
    return type_names[type];
}

static int is_16_bit(mf_dtype type) {
    return type == MF_F16 || type == MF_BF16;
}

/* ---- tolerances ----
 * The inputs are what their types hold, and all arithmetic is in f32: so what a 16-bit type adds is the rounding of the
 * result, of half a unit in the last place (2^-9 of it in bf16, 2^-12 in f16), and of what an operation may leave in that
 * type on the way.  How many roundings that is: */
static double roundings(const mf_op *op) {
    switch (op->kind) {
    case MF_OP_MATMUL: /* the product, activation and scale, the residual */
    case MF_OP_CONV2D:
        return 3;
    case MF_OP_MLP: /* the hidden values twice, and those three */
        return 5;
    case MF_OP_CONV2D_GRAD_INPUT: /* each of the products that are summed, in any of its kh kw places */
        return 3;
    case MF_OP_ATTENTION: /* the weights or K V, their sum, the quotient */
        return 4;
    case MF_OP_ATTENTION_GRAD: /* the same again, and differences of them */
        return 8;
    default:
        return 1;
    }
}

static double tolerance_of(const suite *s, const ops_case *c) {
    if (s->compute == MF_F64)
        return 1e-12;
    if (!is_16_bit(ops_type(&c->op, -1, s->compute, s->wide)))
        return c->op.kind == MF_OP_CAST ? 0 : c->tolerance;
    if (c->op.kind == MF_OP_CAST)
        return 0; /* nothing but the rounding, to even: as that of what is expected */
    /* one rounding is 0.6 of half a unit in the mean square; twice that, for values at the lower end of a binade */
    return fmax(c->tolerance, roundings(&c->op) * (s->compute == MF_BF16 ? 0x1p-8 : 0x1p-11));
}

static void report(suite *s, const ops_case *c, const char *what) {
    tally_of(s, c)->failures++;
    printf("FAIL %s %s: %s: %s\n", s->backend.loaded->name, type_name(s->compute), c->name, what);
}

static void report_error(suite *s, const ops_case *c, const char *what, error e, double tolerance) {
    char text[160];
    snprintf(text, sizeof(text), "%s: relative error %.3g, maximum %.3g, tolerance %.3g", what, e.l2, e.maximum,
             tolerance);
    report(s, c, text);
}

static double *values(int64_t count) {
    double *p = malloc((size_t)count * sizeof(*p));
    if (!p)
        exit(2);
    return p;
}

static ops_job job_of(const suite *s, const ops_case *c, const double *const *inputs, double *output) {
    return (ops_job){.op = c->op,
                     .compute = s->compute,
                     .weight = is_16_bit(s->compute) ? MF_F32 : c->weight,
                     .wide = s->wide,
                     .threads = 2,
                     .inputs = inputs,
                     .output = output};
}

/* Runs and compares; 1: it went on as far as to compare. */
static int check_values(suite *s, const ops_case *c, const double *const *inputs, const double *expected, int threads,
                        double *got) {
    const double tolerance = tolerance_of(s, c);
    ops_job job = job_of(s, c, inputs, got);
    job.threads = threads;
    ops_result r = ops_run(&s->backend, &job);
    if (r == OPS_FAILED)
        report(s, c, job.why);
    if (r == OPS_SKIPPED && threads > 1)
        report(s, c, "supported by one thread only");
    if (r != OPS_DONE)
        return 0;
    error e = compare(got, expected, mf_operand_count(&c->op.output));
    tally *t = tally_of(s, c);
    t->worst.l2 = fmax(t->worst.l2, e.l2);
    t->worst.maximum = fmax(t->worst.maximum, e.maximum);
    if (!(e.l2 <= tolerance && e.maximum <= 5 * tolerance))
        report_error(s, c, threads > 1 ? "2 threads" : "1 thread", e, tolerance);
    if (s->verbose && threads == 1)
        printf("%s %s %s: %.2e, maximum %.2e\n", s->backend.loaded->name, type_name(s->compute), c->name, e.l2,
               e.maximum);
    return 1;
}

/* Input i with every image of the batch the first one. */
static double *repeat_first(const ops_case *c, const double *input, int i) {
    const int64_t batch = c->op.output.dim[0], count = mf_operand_count(&c->op.input[i]), size = count / batch;
    double *copy = values(count);
    memcpy(copy, input, (size_t)count * sizeof(double));
    for (int64_t n = 1; c->batched >> i & 1 && n < batch; n++)
        memcpy(copy + n * size, copy, (size_t)size * sizeof(double));
    return copy;
}

/* Equal images: all results must have the same bits. */
static void check_batch(suite *s, const ops_case *c, const double *const *inputs) {
    const int64_t batch = c->op.output.dim[0], count = mf_operand_count(&c->op.output);
    double *got = values(count), *copies[MF_MAX_INPUTS] = {NULL};
    const double *in[MF_MAX_INPUTS];
    for (int i = 0; i < c->op.input_count; i++)
        if (inputs[i])
            copies[i] = repeat_first(c, inputs[i], i);
    memcpy(in, copies, sizeof(in));
    ops_job job = job_of(s, c, in, got);
    ops_result r = ops_run(&s->backend, &job);
    if (r == OPS_FAILED)
        report(s, c, job.why);
    for (int64_t n = 1; r == OPS_DONE && n < batch; n++)
        if (memcmp(got, got + n * (count / batch), (size_t)(count / batch) * sizeof(double))) {
            report(s, c, "the place in the batch changes bits");
            break;
        }
    free(got);
    ops_free_inputs(copies);
}

/* What a cast gives: `ref` has one type only. */
static double *expect_cast(const suite *s, const ops_case *c, const double *input) {
    const int64_t count = mf_operand_count(&c->op.output);
    double *expected = values(count);
    for (int64_t i = 0; i < count; i++)
        expected[i] = ops_round(input[i], ops_type(&c->op, -1, s->compute, s->wide));
    return expected;
}

/* What `ref` computes in f64, or NULL. */
static double *expect(suite *s, const ops_case *c, const double *const *inputs) {
    if (c->op.kind == MF_OP_CAST)
        return expect_cast(s, c, inputs[0]);
    double *expected = values(mf_operand_count(&c->op.output));
    ops_job job = {
        .op = c->op, .compute = MF_F64, .weight = MF_F32, .threads = 1, .inputs = inputs, .output = expected};
    if (ops_run(&s->ref, &job) == OPS_DONE)
        return expected;
    printf("FAIL ref f64: %s: %s\n", c->name, job.why[0] ? job.why : "not supported");
    tally_of(s, c)->failures++;
    free(expected);
    return NULL;
}

/* One and two threads.  `ref` promises the same bits, the others the same values; a GPU does not ask. */
static int check_threads(suite *s, const ops_case *c, const double *const *inputs, const double *expected) {
    const int64_t count = mf_operand_count(&c->op.output);
    double *one = values(count), *two = values(count);
    int done = check_values(s, c, inputs, expected, 1, one);
    if (done && !s->backend.loaded->table->memory_alloc && check_values(s, c, inputs, expected, 2, two) &&
        s->backend.loaded == s->ref.loaded && memcmp(one, two, (size_t)count * sizeof(double)))
        report(s, c, "the number of threads changes bits");
    free(one);
    free(two);
    return done;
}

static void check_type(suite *s, const ops_case *c, const double *const *inputs, const double *expected) {
    tally *t = tally_of(s, c);
    const int failures = t->failures;
    t->cases++;
    if (check_threads(s, c, inputs, expected)) {
        if (c->batched && c->op.output.dim[0] > 1)
            check_batch(s, c, inputs);
    } else if (t->failures == failures) {
        t->skipped++;
        if (s->verbose)
            printf("%s %s %s: skipped\n", s->backend.loaded->name, type_name(s->compute), c->name);
    }
}

/* The types that graphs in f32 and f64 do not change: one expected result for both. */
static void check_plain(suite *s, const ops_case *c, const double *const *inputs) {
    s->compute = MF_F32;
    s->wide = 0;
    double *expected = expect(s, c, inputs);
    for (int type = MF_F32; expected && type <= MF_F64; type++) {
        s->compute = (mf_dtype)type;
        if (s->types >> type & 1)
            check_type(s, c, inputs, expected);
    }
    free(expected);
}

/* In 16 bits, with inputs that are of their types, and `wide` or not where that is a choice. */
static void check_16_bit(suite *s, const ops_case *c, const double *const *inputs, mf_dtype compute, int wide) {
    const double *in[MF_MAX_INPUTS];
    double *rounded[MF_MAX_INPUTS] = {NULL};
    int differs = !wide;
    s->compute = compute;
    s->wide = wide;
    for (int i = -1; i < c->op.input_count; i++)
        differs |= ops_type(&c->op, i, compute, 0) != ops_type(&c->op, i, compute, 1);
    for (int i = 0; i < c->op.input_count; i++) {
        if (!inputs[i])
            continue;
        const int64_t count = mf_operand_count(&c->op.input[i]);
        rounded[i] = values(count);
        for (int64_t j = 0; j < count; j++)
            rounded[i][j] = ops_is_key(&c->op, i) ? inputs[i][j]
                                                  : ops_round(inputs[i][j], ops_type(&c->op, i, compute, wide));
    }
    memcpy(in, rounded, sizeof(in));
    double *expected = differs ? expect(s, c, in) : NULL;
    if (expected)
        check_type(s, c, in, expected);
    free(expected);
    ops_free_inputs(rounded);
}

static void check_case(void *arg, const ops_case *c) {
    suite *s = arg;
    double *inputs[MF_MAX_INPUTS];
    const double *in[MF_MAX_INPUTS];
    if ((s->only && !strstr(c->name, s->only)) || s->seen++ % (size_t)s->stride)
        return;
    ops_make_inputs(c, inputs);
    memcpy(in, inputs, sizeof(in));
    if (s->types & (1u << MF_F32 | 1u << MF_F64) && c->op.kind != MF_OP_CAST)
        check_plain(s, c, in);
    for (int type = MF_F16; type <= MF_BF16; type++)
        for (int wide = 0; wide < 2 && c->weight == MF_F32; wide++)
            if (s->types >> type & 1)
                check_16_bit(s, c, in, (mf_dtype)type, wide);
    ops_free_inputs(inputs);
}

/* ---- backends ---- */

static int summarise(const suite *s, mf_dtype type) {
    tally all = {0};
    const char *name = s->backend.loaded->name, *text = type_name(type);
    for (int k = 0; k < MF_OP_COUNT; k++) {
        const tally *t = &s->tallies[type][k];
        const char *kind = mf_op_name((mf_op_kind)k);
        all.cases += t->cases;
        all.skipped += t->skipped;
        all.failures += t->failures;
        if (t->cases > t->skipped)
            printf("%-8s %s %-21s %4d cases, worst relative error %.2e, maximum %.2e\n", name, text, kind,
                   t->cases - t->skipped, t->worst.l2, t->worst.maximum);
        if (t->skipped)
            printf("%-8s %s %-21s %4d cases skipped: not supported\n", name, text, kind, t->skipped);
    }
    printf("%s %s: %d cases, %d skipped, %d failures\n", name, text, all.cases, all.skipped, all.failures);
    return all.failures;
}

typedef struct settings {
    int verbose, stride;
    unsigned types;
    const char *only; /* part of the names of the cases that are run; NULL: all */
} settings;

/* Whether the backend has streams of this type at all. */
static int has_type(const ops_backend *b, mf_dtype type) {
    mf_stream_params params = {sizeof(params), 1, type};
    mf_stream *stream;
    if (b->loaded->table->stream_open(b->loaded->device, &params, &stream))
        return 0;
    b->loaded->table->stream_close(stream);
    return 1;
}

static int check_backend(const ops_backend *ref, const ops_backend *backend, const settings *wanted) {
    int failures = wanted->types & 1u << MF_F32 ? ops_analytic(backend) + ops_training(backend) : 0;
    suite s = {.ref = *ref, .backend = *backend, .verbose = wanted->verbose, .stride = wanted->stride, .only = wanted->only};
    for (int type = 0; type < TYPES; type++)
        if (wanted->types >> type & 1 && has_type(backend, (mf_dtype)type))
            s.types |= 1u << type;
    ops_each_case(check_case, &s);
    for (int type = 0; type < TYPES; type++)
        if (s.types >> type & 1)
            failures += summarise(&s, (mf_dtype)type);
    return failures;
}

static int open_backend(mfrgn_context *context, const char *name, ops_backend *backend) {
    char *passed_over = NULL;
    backend->context = context;
    if (ops_open_isa(context, name, backend))
        return 1;
    if (mf_backend_open(context, name, &backend->loaded, &passed_over))
        return 0;
    mf_free(context, passed_over);
    return 1;
}

static int run_backends(const ops_backend *ref, char **names, const settings *wanted) {
    int failures = 0;
    for (int i = 0; *names ? names[i] != NULL : mf_backend_name(i) != NULL; i++) {
        const char *name = *names ? names[i] : mf_backend_name(i);
        ops_backend backend;
        if (open_backend(ref->context, name, &backend)) {
            failures += check_backend(ref, &backend, wanted);
        } else {
            printf("%s: not available: %s\n", name, mfrgn_context_last_error(ref->context));
            failures += *names != NULL;
        }
    }
    return failures;
}

/* Options, up to the first name. */
static char **read_settings(char **argv, settings *s) {
    *s = (settings){.stride = 1, .types = (1u << TYPES) - 1};
    for (; *argv && !strncmp(*argv, "--", 2); argv++) {
        if (!strcmp(*argv, "--verbose"))
            s->verbose = 1;
        else if (!strcmp(*argv, "--short"))
            s->stride = 13;
        else if (!strncmp(*argv, "--every=", 8) && atoi(*argv + 8) > 0)
            s->stride = atoi(*argv + 8);
        else if (!strncmp(*argv, "--type=", 7)) {
            s->types = 0;
            for (int t = 0; t < TYPES; t++)
                s->types |= !strcmp(*argv + 7, type_names[t]) ? 1u << t : 0;
        } else if (!strncmp(*argv, "--only=", 7))
            s->only = *argv + 7;
        else
            printf("%s: unknown\n", *argv);
    }
    return argv;
}

int main(int argc, char **argv) {
    mfrgn_context *context;
    ops_backend ref, other;
    int failures = 0;
    (void)argc;
    if (mfrgn_context_create(NULL, &context) || !open_backend(context, "ref", &ref))
        return 2;
    argv++;
    if (*argv && !strcmp(*argv, "--dump") && argv[1]) {
        failures = ops_dump(&ref, argv[1]);
    } else if (*argv && !strcmp(*argv, "--finite")) {
        failures = ops_finite(&ref);
    } else if (*argv && !strcmp(*argv, "--bench")) {
        long threads = 1;
        argv += 1 + (argv[1] && mf_read_int(argv[1], &threads));
        other = ref;
        if (*argv && !open_backend(context, *argv, &other)) {
            printf("%s\n", mfrgn_context_last_error(context));
            failures = 1;
        } else {
            failures = ops_bench(&other, (int)threads);
        }
    } else {
        settings wanted;
        argv = read_settings(argv, &wanted);
        failures = run_backends(&ref, argv, &wanted);
    }
    mfrgn_context_free(context);
    return failures != 0;
}
