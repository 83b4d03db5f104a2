/* Runs one operation on one backend, with guards around what it may write. */
#include "ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GUARD = 64, GUARD_BYTE = 0xA5 };

/* ---- numbers ---- */

static double round_to(double value, int digits, int least) {
    int exponent;
    frexp(value, &exponent);
    int quantum = exponent - digits < least ? least : exponent - digits;
    return ldexp(nearbyint(ldexp(value, -quantum)), quantum);
}

double ops_round(double value, mf_dtype type) {
    if (type == MF_F32)
        return (double)(float)value;
    if (type == MF_F16)
        return round_to(value, 11, -24);
    return type == MF_BF16 ? round_to(value, 8, -133) : value;
}

/* Of a value that is one of the type's, not subnormal in bf16. */
static uint16_t bits16(double value, mf_dtype type) {
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    if (type == MF_BF16)
        return (uint16_t)(bits >> 16);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (fabs(value) < ldexp(1, -14))
        return (uint16_t)(sign | (uint32_t)ldexp(fabs(value), 24));
    return (uint16_t)(sign | ((magnitude >> 13) - ((127 - 15) << 10)));
}

static void store(const double *from, int64_t count, mf_dtype type, void *to) {
    for (int64_t i = 0; i < count; i++)
        if (type == MF_F64)
            ((double *)to)[i] = from[i];
        else if (type == MF_F32)
            ((float *)to)[i] = (float)from[i];
        else if (type == MF_I64)
            ((int64_t *)to)[i] = (int64_t)from[i];
        else
            ((uint16_t *)to)[i] = bits16(from[i], type);
}

static void load(const void *from, int64_t count, mf_dtype type, double *to) {
    for (int64_t i = 0; i < count; i++)
        to[i] = type == MF_F64 ? ((const double *)from)[i] : (double)((const float *)from)[i];
}

int ops_is_key(const mf_op *op, int input) {
    return op->kind == MF_OP_DROPOUT && input == 1;
}

/* ---- buffers ---- */

static void *get(size_t bytes) {
    void *p;
    if (posix_memalign(&p, MF_ALIGN, bytes ? bytes : 1)) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    return p;
}

/* `bytes` between two guards, filled with `value`. */
static char *guarded(size_t bytes, int value) {
    char *p = get(bytes + 2 * GUARD);
    memset(p, GUARD_BYTE, GUARD);
    memset(p + GUARD, value, bytes);
    memset(p + GUARD + bytes, GUARD_BYTE, GUARD);
    return p + GUARD;
}

static int intact(const char *p, size_t bytes) {
    for (int i = 1; i <= GUARD; i++)
        if ((unsigned char)p[-i] != GUARD_BYTE || (unsigned char)p[bytes + (size_t)i - 1] != GUARD_BYTE)
            return 0;
    return 1;
}

static void release(char *p) {
    if (p)
        free(p - GUARD);
}

/* ---- a run ---- */

typedef struct state {
    const ops_backend *backend;
    const mf_backend *table;
    ops_job *job;
    mf_stream *stream;
    mf_kernel *kernel;
    mf_kernel_info info;
    void *plain[MF_MAX_INPUTS]; /* in the compute type */
    char *packed[MF_MAX_INPUTS];
    const void *input[MF_MAX_INPUTS];
    size_t out_bytes;
} state;

static ops_result failed(state *s, const char *what) {
    const char *text = mfrgn_context_last_error(s->backend->context);
    snprintf(s->job->why, sizeof(s->job->why), "%s%s%s", what, text && *text ? ": " : "", text ? text : "");
    return OPS_FAILED;
}

static void set_types(ops_job *job) {
    job->op.output.dtype = job->compute;
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        job->op.input[i].dtype = ops_is_key(&job->op, i) ? MF_I64 : job->compute;
    if (job->weight == MF_F16 || job->weight == MF_BF16)
        job->op.input[MF_IN_W].dtype = job->weight;
}

/* The type of an input that is not packed. */
static mf_dtype plain_type(const ops_job *job, int i) {
    return ops_is_key(&job->op, i) ? MF_I64 : job->compute;
}

/* Packs input i from a copy that is gone afterwards. */
static ops_result pack(state *s, int i) {
    const mf_operand *o = &s->job->op.input[i];
    const int64_t count = mf_operand_count(o);
    const size_t bytes = (size_t)count * mf_dtype_size(o->dtype);
    void *stored = get(bytes);
    store(s->job->inputs[i], count, o->dtype, stored);
    s->packed[i] = guarded(s->info.pack_bytes[i], 0x11);
    int status = s->table->pack(s->kernel, i, stored, s->packed[i]);
    memset(stored, 0xFF, bytes);
    free(stored);
    s->input[i] = s->packed[i];
    if (status)
        return failed(s, "pack");
    return intact(s->packed[i], s->info.pack_bytes[i]) ? OPS_DONE : failed(s, "pack writes beside its buffer");
}

static ops_result make_inputs(state *s) {
    for (int i = 0; i < s->job->op.input_count; i++) {
        const mf_operand *o = &s->job->op.input[i];
        if (!mf_operand_present(o))
            continue;
        if (s->info.pack_bytes[i]) {
            if (!o->constant)
                return failed(s, "asks to pack an input that is not constant");
            ops_result r = pack(s, i);
            if (r != OPS_DONE)
                return r;
            continue;
        }
        s->plain[i] = get((size_t)mf_operand_count(o) * mf_dtype_size(plain_type(s->job, i)));
        store(s->job->inputs[i], mf_operand_count(o), plain_type(s->job, i), s->plain[i]);
        s->input[i] = s->plain[i];
    }
    return OPS_DONE;
}

static int inputs_intact(state *s) {
    for (int i = 0; i < s->job->op.input_count; i++) {
        const int64_t count = mf_operand_count(&s->job->op.input[i]);
        if (s->packed[i] && !intact(s->packed[i], s->info.pack_bytes[i]))
            return 0;
        if (!s->plain[i])
            continue;
        const size_t bytes = (size_t)count * mf_dtype_size(plain_type(s->job, i));
        void *again = get(bytes);
        store(s->job->inputs[i], count, plain_type(s->job, i), again);
        int same = !memcmp(again, s->plain[i], bytes);
        free(again);
        if (!same)
            return 0;
    }
    return 1;
}

/* One run into `out` with a scratch full of `value`. */
static ops_result run_once(state *s, char *out, int value) {
    char *scratch = guarded(s->info.scratch_bytes, value);
    s->table->stream_begin(s->stream);
    int status = s->table->run(s->kernel, s->input, out, scratch);
    s->table->stream_end(s->stream);
    int scratch_intact = intact(scratch, s->info.scratch_bytes);
    release(scratch);
    if (status)
        return failed(s, "run");
    if (!intact(out, s->out_bytes))
        return failed(s, "writes beside the output");
    if (!scratch_intact)
        return failed(s, "writes beside the scratch");
    return inputs_intact(s) ? OPS_DONE : failed(s, "writes into an input");
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void time_runs(state *s, char *out) {
    char *scratch = guarded(s->info.scratch_bytes, 0);
    double best = INFINITY, end = now() + s->job->seconds;
    for (double t = now(); t < end;) {
        s->table->stream_begin(s->stream);
        (void)s->table->run(s->kernel, s->input, out, scratch);
        s->table->stream_end(s->stream);
        double after = now();
        best = after - t < best ? after - t : best;
        t = after;
    }
    release(scratch);
    s->job->seconds = best;
}

/* The input whose memory the output may be, or -1 (mf_kernel_info.residual_in_place). */
static int shared_input(const state *s) {
    const mf_op *op = &s->job->op;
    int i = -1;
    switch (op->kind) {
    case MF_OP_ACT:
    case MF_OP_ADD:
    case MF_OP_MUL:
    case MF_OP_BATCHNORM:
    case MF_OP_DROPOUT:
    case MF_OP_LERP:
        i = 0;
        break;
    case MF_OP_ACT_GRAD:
        i = 1;
        break;
    case MF_OP_MATMUL:
    case MF_OP_CONV2D:
        i = s->info.residual_in_place ? MF_IN_RESIDUAL : -1;
        break;
    default:
        break;
    }
    return i >= 0 && i < op->input_count && s->plain[i] ? i : -1;
}

/* Once more with the output in that input's place: the same bits. */
static ops_result run_in_place(state *s, const char *expected) {
    int i = shared_input(s);
    if (i < 0)
        return OPS_DONE;
    char *out = guarded(s->out_bytes, 0);
    memcpy(out, s->plain[i], s->out_bytes);
    s->input[i] = out;
    ops_result r = run_once(s, out, 0x77);
    if (r == OPS_DONE && memcmp(out, expected, s->out_bytes))
        r = failed(s, "the bits differ when the output takes an input's place");
    s->input[i] = s->plain[i];
    release(out);
    return r;
}

static ops_result run_twice(state *s) {
    const int64_t count = mf_operand_count(&s->job->op.output);
    s->out_bytes = (size_t)count * mf_dtype_size(s->job->compute);
    char *first = guarded(s->out_bytes, 0xFF), *second = guarded(s->out_bytes, 0x3C);
    ops_result r = run_once(s, first, 0xFF);
    if (r == OPS_DONE)
        r = run_once(s, second, 0x3C);
    if (r == OPS_DONE && memcmp(first, second, s->out_bytes))
        r = failed(s, "two runs differ in their bits");
    if (r == OPS_DONE)
        r = run_in_place(s, first);
    if (r == OPS_DONE && s->job->output)
        load(first, count, s->job->compute, s->job->output);
    if (r == OPS_DONE && s->job->seconds > 0)
        time_runs(s, first);
    release(first);
    release(second);
    return r;
}

static ops_result prepare_and_run(state *s) {
    if (!s->table->supports(s->stream, &s->job->op))
        return OPS_SKIPPED;
    if (s->table->prepare(s->stream, &s->job->op, &s->kernel, &s->info))
        return failed(s, "supports says yes, prepare fails");
    ops_result r = make_inputs(s);
    if (r == OPS_DONE)
        r = run_twice(s);
    s->table->release(s->kernel);
    for (int i = 0; i < MF_MAX_INPUTS; i++) {
        free(s->plain[i]);
        release(s->packed[i]);
    }
    return r;
}

ops_result ops_run(const ops_backend *backend, ops_job *job) {
    state s = {.backend = backend, .table = backend->loaded->table, .job = job};
    mf_stream_params params = {sizeof(params), job->threads, job->compute};
    job->why[0] = 0;
    set_types(job);
    if (s.table->stream_open(backend->loaded->device, &params, &s.stream))
        return job->compute == MF_F64 ? OPS_SKIPPED : failed(&s, "stream_open");
    ops_result r = prepare_and_run(&s);
    s.table->stream_close(s.stream);
    return r;
}
