/* The reference backend: portable C, the truth that the others are held to.
 *
 * Every operation in float and in double, one file an operation, each compiled twice (real.h).  Results do not depend
 * on the number of threads nor on the place in the batch. */
#include "backends/ref/ref.h"
#include "backends/ref/scan.h"

#include <string.h>

/* Mirrors of mfrgn_status. */
enum { REF_OK = 0, REF_ARGUMENT = 1, REF_MEMORY = 2, REF_UNSUPPORTED = 6 };

const mf_backend *mf_backend_ref_table(void);

static mf_status ref_open(const mf_host *host, mf_device **device) {
    mf_device *d = host->alloc(host->context, sizeof(*d));
    if (!d)
        return REF_MEMORY;
    d->host = host;
    *device = d;
    return REF_OK;
}

static void ref_close(mf_device *device) {
    device->host->free(device->host->context, device);
}

static const char *ref_describe(mf_device *device) {
    (void)device;
    return "portable C, f32 and f64";
}

static mf_status ref_stream_open(mf_device *device, const mf_stream_params *params, mf_stream **stream) {
    const mf_host *host = device->host;
    if (params->threads < 1 || (params->compute != MF_F32 && params->compute != MF_F64))
        return host->fail(host->context, REF_ARGUMENT, "ref: %d threads, compute type %d; at least 1, f32 or f64",
                          params->threads, (int)params->compute);
    mf_stream *s = host->alloc(host->context, sizeof(*s));
    if (!s)
        return REF_MEMORY;
    *s = (mf_stream){host, params->threads, params->compute};
    *stream = s;
    return REF_OK;
}

static void ref_stream_close(mf_stream *stream) {
    stream->host->free(stream->host->context, stream);
}

static void ref_stream_mark(mf_stream *stream) {
    (void)stream;
}

/* Why `op` cannot be done, or NULL. */
static const char *find_fault(const mf_stream *stream, const mf_op *op) {
    const char *wrong = ref_check(op);
    if (wrong)
        return wrong;
    for (int i = -1; i < op->input_count; i++) {
        const mf_operand *o = i < 0 ? &op->output : &op->input[i];
        const mf_dtype type = op->kind == MF_OP_DROPOUT && i == 1 ? MF_I64 : stream->compute;
        if (mf_operand_present(o) && o->dtype != type)
            return "an operand is not of the compute type";
    }
    return NULL;
}

static int ref_supports(mf_stream *stream, const mf_op *op) {
    return !find_fault(stream, op);
}

static mf_status ref_prepare(mf_stream *stream, const mf_op *op, mf_kernel **kernel, mf_kernel_info *info) {
    const mf_host *host = stream->host;
    const char *wrong = find_fault(stream, op);
    if (wrong)
        return host->fail(host->context, REF_UNSUPPORTED, "ref: operation %d: %s", (int)op->kind, wrong);
    mf_kernel *k = host->alloc(host->context, sizeof(*k));
    if (!k)
        return REF_MEMORY;
    const ref_entry *entry = (stream->compute == MF_F32 ? ref_table_f32 : ref_table_f64) + op->kind;
    *k = (mf_kernel){host, stream->threads, 0, entry, *op};
    memset(info, 0, sizeof(*info));
    info->residual_in_place = 1;
    for (int i = 0; i < op->input_count; i++) {
        if (!entry->pack || !op->input[i].constant || (i != MF_IN_W && (i != MF_IN_FIRST_W || op->kind != MF_OP_MLP)))
            continue;
        k->packed |= 1 << i;
        info->pack_bytes[i] = entry->pack_bytes(k, i);
        /* The form follows from the operation, its type, which way round the weight lies, and the weight's shape. */
        info->pack_key[i] =
            (uint64_t)op->kind << 8 | (uint64_t)stream->compute << 1 | (op->kind == MF_OP_MATMUL && op->attrs.tb);
    }
    if (entry->scratch)
        info->scratch_bytes = entry->scratch(k);
    *kernel = k;
    return REF_OK;
}

static mf_status ref_pack(mf_kernel *kernel, int input, const void *plain, void *packed) {
    if (!(kernel->packed >> input & 1))
        return kernel->host->fail(kernel->host->context, REF_ARGUMENT, "ref: input %d is not packed", input);
    kernel->entry->pack(kernel, input, plain, packed);
    return REF_OK;
}

static mf_status ref_run(mf_kernel *kernel, const void *const *inputs, void *output, void *scratch) {
    kernel->entry->run(kernel, inputs, output, scratch);
    return REF_OK;
}

static void ref_release(mf_kernel *kernel) {
    if (kernel)
        kernel->host->free(kernel->host->context, kernel);
}

typedef struct share {
    ref_body body;
    void *arg;
    int64_t items;
    int tasks;
} share;

static void run_share(void *arg, int task) {
    const share *s = arg;
    s->body(s->arg, task, s->items * task / s->tasks, s->items * (task + 1) / s->tasks);
}

void ref_parallel(const mf_kernel *kernel, int64_t items, double cost, ref_body body, void *arg) {
    const double least = 20e3; /* ns a task: waking a thread takes some 5 us */
    double tasks = (double)items * cost / least;
    int limit = (int)ref_min(items, kernel->threads);
    share s = {body, arg, items, tasks < 1 ? 1 : tasks < limit ? (int)tasks : limit};
    if (s.tasks == 1)
        body(arg, 0, 0, items);
    else
        kernel->host->parallel(kernel->host->context, s.tasks, run_share, &s);
}

static mf_kernel all_threads(const mf_stream *stream) {
    return (mf_kernel){.host = stream->host, .threads = stream->threads};
}

static mf_status ref_update(mf_stream *stream, const mf_update *update) {
    const mf_kernel kernel = all_threads(stream);
    (stream->compute == MF_F32 ? ref_update_f32 : ref_update_f64)(&kernel, update);
    return REF_OK;
}

static mf_status ref_sum_squares(mf_stream *stream, const mf_update *update, double *sum) {
    const mf_kernel kernel = all_threads(stream);
    *sum = (stream->compute == MF_F32 ? ref_sum_squares_f32 : ref_sum_squares_f64)(&kernel, update);
    return REF_OK;
}

const mf_backend *mf_backend_ref_table(void) {
    static const mf_backend table = {
        .abi = MF_BACKEND_ABI,
        .struct_size = sizeof(mf_backend),
        .name = "ref",
        .open = ref_open,
        .close = ref_close,
        .describe = ref_describe,
        .stream_open = ref_stream_open,
        .stream_close = ref_stream_close,
        .stream_begin = ref_stream_mark,
        .stream_end = ref_stream_mark,
        .supports = ref_supports,
        .prepare = ref_prepare,
        .pack = ref_pack,
        .run = ref_run,
        .release = ref_release,
        .scan_error = ref_scan_error,
        .scan_scratch = ref_scan_scratch,
        .scan = ref_scan,
        .update = ref_update,
        .sum_squares = ref_sum_squares,
    };
    return &table;
}
