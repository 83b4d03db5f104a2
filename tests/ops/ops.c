/* ops [--verbose|--short] [backend ..]      compares backends (default: all that load) with `ref` in f64; cpu:avx2,
 *                                   cpu:portable .. are the common kernels of one instruction set
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

typedef struct tally {
    int cases, skipped, failures;
    error worst;
} tally;

typedef struct suite {
    ops_backend ref, backend;
    mf_dtype compute, last; /* the type in hand; the last that the backend has */
    int verbose, stride;    /* every `stride`th case is run */
    size_t seen;
    tally tallies[2][MF_OP_COUNT]; /* MF_F32, MF_F64 */
} suite;

static tally *tally_of(suite *s, const ops_case *c) {
    return &s->tallies[s->compute][c->op.kind];
}

static const char *type_name(mf_dtype type) {
    return type == MF_F64 ? "f64" : "f32";
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

/* Runs and compares; 1: it went on as far as to compare. */
static int check_values(suite *s, const ops_case *c, const double *const *inputs, const double *expected, int threads,
                        double *got) {
    const double tolerance = s->compute == MF_F64 ? 1e-12 : c->tolerance;
    ops_job job = {
        .op = c->op, .compute = s->compute, .weight = c->weight, .threads = threads, .inputs = inputs, .output = got};
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
    ops_job job = {.op = c->op, .compute = s->compute, .weight = c->weight, .threads = 2, .inputs = in, .output = got};
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

/* What `ref` computes in f64, or NULL. */
static double *expect(suite *s, const ops_case *c, const double *const *inputs) {
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

/* One and two threads.  `ref` promises the same bits, the others the same values. */
static int check_threads(suite *s, const ops_case *c, const double *const *inputs, const double *expected) {
    const int64_t count = mf_operand_count(&c->op.output);
    double *one = values(count), *two = values(count);
    int done = check_values(s, c, inputs, expected, 1, one);
    if (done && check_values(s, c, inputs, expected, 2, two) && s->backend.loaded == s->ref.loaded &&
        memcmp(one, two, (size_t)count * sizeof(double)))
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

static void check_case(void *arg, const ops_case *c) {
    suite *s = arg;
    double *inputs[MF_MAX_INPUTS];
    const double *in[MF_MAX_INPUTS];
    if (s->seen++ % (size_t)s->stride)
        return;
    ops_make_inputs(c, inputs);
    memcpy(in, inputs, sizeof(in));
    s->compute = MF_F32;
    double *expected = expect(s, c, in);
    for (int type = MF_F32; expected && type <= (int)s->last; type++) {
        s->compute = (mf_dtype)type;
        check_type(s, c, in, expected);
    }
    free(expected);
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

/* Whether the backend has streams of this type at all. */
static int has_type(const ops_backend *b, mf_dtype type) {
    mf_stream_params params = {sizeof(params), 1, type};
    mf_stream *stream;
    if (b->loaded->table->stream_open(b->loaded->device, &params, &stream))
        return 0;
    b->loaded->table->stream_close(stream);
    return 1;
}

static int check_backend(const ops_backend *ref, const ops_backend *backend, int verbose, int stride) {
    int failures = ops_analytic(backend) + ops_training(backend);
    suite s = {.ref = *ref, .backend = *backend, .verbose = verbose, .stride = stride};
    s.last = has_type(backend, MF_F64) ? MF_F64 : MF_F32;
    ops_each_case(check_case, &s);
    for (int type = MF_F32; type <= (int)s.last; type++)
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

static int run_backends(const ops_backend *ref, char **names, int verbose, int stride) {
    int failures = 0;
    for (int i = 0; *names ? names[i] != NULL : mf_backend_name(i) != NULL; i++) {
        const char *name = *names ? names[i] : mf_backend_name(i);
        ops_backend backend;
        if (open_backend(ref->context, name, &backend)) {
            failures += check_backend(ref, &backend, verbose, stride);
        } else {
            printf("%s: not available: %s\n", name, mfrgn_context_last_error(ref->context));
            failures += *names != NULL;
        }
    }
    return failures;
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
        int verbose = *argv && !strcmp(*argv, "--verbose");
        int few = *argv && !strcmp(*argv, "--short"); /* for sanitizers and emulators */
        failures = run_backends(&ref, argv + verbose + few, verbose, few ? 13 : 1);
    }
    mfrgn_context_free(context);
    return failures != 0;
}
