/* Runs one operation on one backend, with guards around what it may write. */
#include "area.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "graph/graph.h"

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

static double from_bits16(uint16_t bits, mf_dtype type) {
    if (type == MF_BF16) {
        uint32_t wide = (uint32_t)bits << 16;
        float f;
        memcpy(&f, &wide, sizeof(f));
        return (double)f;
    }
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const double value = exponent == 31 ? (mantissa ? NAN : INFINITY)
                         : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                                        : ldexp(mantissa, -24);
    return bits & 0x8000 ? -value : value;
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
        if (type == MF_F64)
            to[i] = ((const double *)from)[i];
        else if (type == MF_F32)
            to[i] = (double)((const float *)from)[i];
        else
            to[i] = from_bits16(((const uint16_t *)from)[i], type);
}

int ops_is_key(const mf_op *op, int input) {
    return op->kind == MF_OP_DROPOUT && input == 1;
}

/* ---- a run ---- */

typedef struct state {
    const ops_backend *backend;
    const mf_backend *table;
    area_owner owner;
    ops_job *job;
    mf_stream *stream;
    mf_kernel *kernel;
    mf_kernel_info info;
    char *plain[MF_MAX_INPUTS]; /* in the type that the kernel reads */
    char *packed[MF_MAX_INPUTS];
    const void *input[MF_MAX_INPUTS];
    size_t out_bytes;
} state;

static ops_result failed(state *s, const char *what) {
    const char *text = mfrgn_context_last_error(s->backend->context);
    snprintf(s->job->why, sizeof(s->job->why), "%s%s%s", what, text && *text ? ": " : "", text ? text : "");
    return OPS_FAILED;
}

mf_dtype ops_type(const mf_op *op, int slot, mf_dtype compute, int wide) {
    if (op->kind == MF_OP_CAST && (slot < 0) != wide)
        return MF_F32; /* from f32 where wide, to f32 where not */
    return mf_operand_type(op, slot, compute, wide);
}

static void set_types(ops_job *job) {
    job->op.output.dtype = ops_type(&job->op, -1, job->compute, job->wide);
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        job->op.input[i].dtype = ops_type(&job->op, i, job->compute, job->wide);
    if (job->weight == MF_F16 || job->weight == MF_BF16)
        job->op.input[MF_IN_W].dtype = job->weight;
}

/* The type of an input that is not packed. */
static mf_dtype plain_type(const ops_job *job, int i) {
    return ops_type(&job->op, i, job->compute, job->wide);
}

static size_t plain_bytes(const ops_job *job, int i) {
    return (size_t)mf_operand_count(&job->op.input[i]) * mf_dtype_size(plain_type(job, i));
}

/* Packs input i from a copy that is gone afterwards. */
static ops_result pack(state *s, int i) {
    const mf_operand *o = &s->job->op.input[i];
    const int64_t count = mf_operand_count(o);
    const size_t bytes = (size_t)count * mf_dtype_size(o->dtype);
    void *stored = area_host(bytes);
    store(s->job->inputs[i], count, o->dtype, stored);
    s->packed[i] = area_new(&s->owner, s->info.pack_bytes[i], 0x11);
    int status = s->packed[i] ? s->table->pack(s->kernel, i, stored, s->packed[i]) : 1;
    memset(stored, 0xFF, bytes);
    free(stored);
    s->input[i] = s->packed[i];
    if (status)
        return failed(s, "pack");
    return area_intact(&s->owner, s->packed[i], s->info.pack_bytes[i]) ? OPS_DONE
                                                                       : failed(s, "pack writes beside its buffer");
}

/* Fills input i with the job's values, or with the same in reverse. */
static ops_result fill(state *s, int i, int reversed) {
    const int64_t count = mf_operand_count(&s->job->op.input[i]);
    const size_t bytes = plain_bytes(s->job, i), size = mf_dtype_size(plain_type(s->job, i));
    char *image = area_host(bytes);
    store(s->job->inputs[i], count, plain_type(s->job, i), image);
    for (int64_t j = 0; reversed && j < count / 2; j++) {
        char keep[8];
        memcpy(keep, image + (size_t)j * size, size);
        memcpy(image + (size_t)j * size, image + (size_t)(count - 1 - j) * size, size);
        memcpy(image + (size_t)(count - 1 - j) * size, keep, size);
    }
    int status = area_put(&s->owner, s->plain[i], image, bytes);
    memset(image, 0x99, bytes); /* it may be written again at once */
    free(image);
    return status ? failed(s, "memory_put") : OPS_DONE;
}

static ops_result make_inputs(state *s) {
    for (int i = 0; i < s->job->op.input_count; i++) {
        const mf_operand *o = &s->job->op.input[i];
        ops_result r = OPS_DONE;
        if (!mf_operand_present(o))
            continue;
        if (s->info.pack_bytes[i] && !o->constant)
            return failed(s, "asks to pack an input that is not constant");
        if (s->info.pack_bytes[i]) {
            r = pack(s, i);
        } else {
            s->plain[i] = area_new(&s->owner, plain_bytes(s->job, i), 0x99);
            s->input[i] = s->plain[i];
            r = s->plain[i] ? fill(s, i, 0) : failed(s, "memory for an input");
        }
        if (r != OPS_DONE)
            return r;
    }
    return OPS_DONE;
}

static int inputs_intact(state *s) {
    int same = 1;
    for (int i = 0; i < s->job->op.input_count && same; i++) {
        if (s->packed[i] && !area_intact(&s->owner, s->packed[i], s->info.pack_bytes[i]))
            return 0;
        if (!s->plain[i])
            continue;
        const size_t bytes = plain_bytes(s->job, i);
        char *now = area_host(bytes), *then = area_host(bytes);
        store(s->job->inputs[i], mf_operand_count(&s->job->op.input[i]), plain_type(s->job, i), then);
        same = !area_get(&s->owner, now, s->plain[i], bytes) && !memcmp(now, then, bytes) &&
               area_intact(&s->owner, s->plain[i], bytes);
        free(now);
        free(then);
    }
    return same;
}

static int run_kernel(state *s, char *out, char *scratch) {
    s->table->stream_begin(s->stream);
    int status = s->table->run(s->kernel, s->input, out, scratch);
    s->table->stream_end(s->stream);
    return status;
}

/* Waits for what ran. */
static int finish(state *s) {
    return s->table->memory_finish ? s->table->memory_finish(s->stream) : 0;
}

/* One run into `out` with a scratch full of `value`. */
static ops_result run_once(state *s, char *out, int value) {
    char *scratch = area_new(&s->owner, s->info.scratch_bytes, value);
    if (!scratch)
        return failed(s, "memory for the scratch");
    int status = run_kernel(s, out, scratch);
    if (!status)
        status = finish(s);
    int scratch_intact = status || area_intact(&s->owner, scratch, s->info.scratch_bytes);
    area_free(&s->owner, scratch);
    if (status)
        return failed(s, "run");
    if (!area_intact(&s->owner, out, s->out_bytes))
        return failed(s, "writes beside the output");
    if (!scratch_intact)
        return failed(s, "writes beside the scratch");
    return OPS_DONE;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void time_runs(state *s, char *out) {
    char *scratch = area_new(&s->owner, s->info.scratch_bytes, 0);
    double best = INFINITY, end = now() + s->job->seconds;
    for (double t = now(); scratch && t < end;) {
        (void)run_kernel(s, out, scratch);
        (void)finish(s);
        double after = now();
        best = after - t < best ? after - t : best;
        t = after;
    }
    area_free(&s->owner, scratch);
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
    case MF_OP_MLP:
        i = s->info.residual_in_place ? MF_IN_RESIDUAL : -1;
        break;
    default:
        break;
    }
    return i >= 0 && i < op->input_count && s->plain[i] && plain_bytes(s->job, i) == s->out_bytes ? i : -1;
}

/* Whether the memory `p` holds these bits; 0 also if it cannot be read. */
static int holds(state *s, const char *p, const char *expected) {
    char *got = area_host(s->out_bytes);
    int same = !area_get(&s->owner, got, p, s->out_bytes) && !memcmp(got, expected, s->out_bytes);
    free(got);
    return same;
}

/* Once more with the output in that input's place: the same bits. */
static ops_result run_in_place(state *s, const char *expected) {
    int i = shared_input(s);
    if (i < 0)
        return OPS_DONE;
    ops_result r = run_once(s, s->plain[i], 0x77);
    if (r == OPS_DONE && !holds(s, s->plain[i], expected))
        r = failed(s, "the bits differ when the output takes an input's place");
    return r == OPS_DONE ? fill(s, i, 0) : r;
}

/* ---- recordings ---- */

static ops_result record(state *s, char *out, char *scratch, void **recording) {
    char *before = area_host(s->out_bytes);
    memset(before, 0x21, s->out_bytes);
    ops_result r = OPS_DONE;
    if (s->table->record_begin(s->stream)) {
        r = failed(s, "record_begin");
    } else {
        int status = run_kernel(s, out, scratch);
        if (s->table->record_end(s->stream, status ? NULL : recording) || status)
            r = failed(s, "a run cannot be recorded");
    }
    if (r == OPS_DONE && !holds(s, out, before))
        r = failed(s, "what is recorded is done");
    free(before);
    return r;
}

static ops_result play(state *s, void *recording, const char *out, const char *expected, const char *what) {
    if (s->table->record_play(s->stream, recording) || finish(s))
        return failed(s, "record_play");
    if (!holds(s, out, expected))
        return failed(s, what);
    return area_intact(&s->owner, out, s->out_bytes) ? OPS_DONE : failed(s, "a recording writes beside the output");
}

/* With other values in the buffer of an input: what a run makes of them. */
static ops_result play_other(state *s, void *recording, char *out, int input) {
    char *other = area_new(&s->owner, s->out_bytes, 0x44), *expected = area_host(s->out_bytes);
    ops_result r = other ? fill(s, input, 1) : failed(s, "memory");
    if (r == OPS_DONE)
        r = run_once(s, other, 0x44);
    if (r == OPS_DONE && area_get(&s->owner, expected, other, s->out_bytes))
        r = failed(s, "memory_get");
    if (r == OPS_DONE)
        r = play(s, recording, out, expected, "a recording does not see what its buffers hold now");
    ops_result back = fill(s, input, 0);
    free(expected);
    area_free(&s->owner, other);
    return r == OPS_DONE ? back : r;
}

/* Recorded, and played twice: the bits of a run. */
static ops_result run_recorded(state *s, const char *expected) {
    if (!s->table->record_begin)
        return OPS_DONE;
    char *out = area_new(&s->owner, s->out_bytes, 0x21);
    char *scratch = area_new(&s->owner, s->info.scratch_bytes, 0xFF);
    void *recording = NULL;
    ops_result r = out && scratch ? record(s, out, scratch, &recording) : failed(s, "memory");
    if (r == OPS_DONE)
        r = play(s, recording, out, expected, "a recording gives other bits than a run");
    int input = 0;
    while (input < s->job->op.input_count && (!s->plain[input] || ops_is_key(&s->job->op, input)))
        input++;
    if (r == OPS_DONE && input < s->job->op.input_count)
        r = play_other(s, recording, out, input);
    if (r == OPS_DONE)
        r = play(s, recording, out, expected, "a recording gives other bits the last time");
    if (recording)
        s->table->record_free(s->stream, recording);
    area_free(&s->owner, scratch);
    area_free(&s->owner, out);
    return r;
}

/* ---- all of it ---- */

static ops_result run_into(state *s, char *first, char *second, char *bits) {
    ops_result r = run_once(s, first, 0xFF);
    if (r == OPS_DONE && area_get(&s->owner, bits, first, s->out_bytes))
        r = failed(s, "memory_get");
    if (r == OPS_DONE)
        r = run_once(s, second, 0x3C);
    if (r == OPS_DONE && !holds(s, second, bits))
        r = failed(s, "two runs differ in their bits");
    if (r == OPS_DONE)
        r = run_in_place(s, bits);
    if (r == OPS_DONE)
        r = run_recorded(s, bits);
    if (r == OPS_DONE && !inputs_intact(s))
        r = failed(s, "writes into an input");
    if (r == OPS_DONE && s->job->seconds > 0)
        time_runs(s, first);
    return r;
}

static ops_result run_twice(state *s) {
    const mf_operand *o = &s->job->op.output;
    s->out_bytes = (size_t)mf_operand_count(o) * mf_dtype_size(o->dtype);
    char *first = area_new(&s->owner, s->out_bytes, 0xFF), *second = area_new(&s->owner, s->out_bytes, 0x3C);
    char *bits = area_host(s->out_bytes);
    ops_result r = first && second ? run_into(s, first, second, bits) : failed(s, "memory for the output");
    if (r == OPS_DONE && s->job->output)
        load(bits, mf_operand_count(o), o->dtype, s->job->output);
    free(bits);
    area_free(&s->owner, first);
    area_free(&s->owner, second);
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
        area_free(&s->owner, s->plain[i]);
        area_free(&s->owner, s->packed[i]);
    }
    return r;
}

ops_result ops_run(const ops_backend *backend, ops_job *job) {
    state s = {.backend = backend, .table = backend->loaded->table, .job = job};
    mf_stream_params params = {sizeof(params), job->threads, job->compute};
    job->why[0] = 0;
    set_types(job);
    if (s.table->stream_open(backend->loaded->device, &params, &s.stream))
        return job->compute != MF_F32 ? OPS_SKIPPED : failed(&s, "stream_open");
    s.owner = (area_owner){s.table, backend->loaded->device, s.stream};
    ops_result r = prepare_and_run(&s);
    s.table->stream_close(s.stream);
    return r;
}
