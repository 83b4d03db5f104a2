/* The OpenBLAS backend: products where the rule of product.c says so, everything else by the common CPU kernels.
 *
 * Threads are the host's alone.  OpenBLAS's number of threads is one for the process (so is, in builds with threads,
 * openblas_set_num_threads_local): it is 1 while any stream of ours runs, and what it was before when the last one
 * ends.  A program that calls OpenBLAS meanwhile from threads of its own gets one thread a call.  OpenMP builds
 * serialise calls that come from several threads and keep a second set of threads: they are refused.
 *
 * Memory.  OpenBLAS allocates its packing buffers itself (some 32 MB a calling thread), not by the host's allocator. */
#include <cblas.h>
#include <pthread.h>
#include <stdio.h>

#include "backends/openblas/openblas.h"

/* mfrgn_status of the public header, which a backend does not see. */
enum { STATUS_MEMORY = 2, STATUS_UNSUPPORTED = 6, STATUS_BACKEND = 7 };

struct mf_kernel {
    mf_stream *stream;
    mf_cpu_kernel *cpu; /* NULL: product */
    mf_blas_product product;
    int present[MF_MAX_INPUTS];
};

/* OpenBLAS's own state, and so the only one that is not a device's or a stream's. */
static struct {
    pthread_mutex_t lock;
    int running, before;
} threads = {PTHREAD_MUTEX_INITIALIZER, 0, 0};

static mf_status open_device(const mf_host *host, mf_device **device) {
    int parallel = openblas_get_parallel();
    if (parallel == 2)
        return host->fail(
            host->context, STATUS_BACKEND,
            "this OpenBLAS is built with OpenMP, which serialises calls from several threads: install the "
            "pthread or the serial build (Debian: libopenblas0-pthread)");
    mf_device *d = host->alloc(host->context, sizeof(*d));
    if (!d)
        return STATUS_MEMORY;
    mf_cpu cpu;
    mf_cpu_init(&cpu, host, 1, NULL, NULL);
    d->host = host;
    d->serial = parallel == 0;
    /* "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY SkylakeX MAX_THREADS=64" */
    const char *config = openblas_get_config();
    int length = (int)strlen(config);
    while (length > 0 && config[length - 1] == ' ')
        length--;
    snprintf(d->text, sizeof(d->text), "%.*s, %s kernels", length < 180 ? length : 180, config, mf_cpu_isa_name(&cpu));
    *device = d;
    return 0;
}

static void close_device(mf_device *d) {
    if (d)
        d->host->free(d->host->context, d);
}

static const char *describe(mf_device *d) {
    return d->text;
}

static mf_status stream_open(mf_device *d, const mf_stream_params *params, mf_stream **stream) {
    if (params->compute != MF_F32)
        return d->host->fail(d->host->context, STATUS_UNSUPPORTED, "the openblas backend computes in f32 only");
    mf_stream *s = d->host->alloc(d->host->context, sizeof(*s));
    if (!s)
        return STATUS_MEMORY;
    s->device = d;
    s->takes = mf_openblas_takes;
    mf_cpu_init(&s->cpu, d->host, params->threads, NULL, NULL);
    *stream = s;
    return 0;
}

static void stream_close(mf_stream *s) {
    if (s)
        s->device->host->free(s->device->host->context, s);
}

static void stream_begin(mf_stream *s) {
    if (s->device->serial)
        return;
    pthread_mutex_lock(&threads.lock);
    if (threads.running++ == 0) {
        threads.before = openblas_get_num_threads();
        if (threads.before != 1)
            openblas_set_num_threads(1);
    }
    pthread_mutex_unlock(&threads.lock);
}

static void stream_end(mf_stream *s) {
    if (s->device->serial)
        return;
    pthread_mutex_lock(&threads.lock);
    if (--threads.running == 0 && threads.before != 1)
        openblas_set_num_threads(threads.before);
    pthread_mutex_unlock(&threads.lock);
}

static int supports(mf_stream *s, const mf_op *op) {
    return mf_cpu_supports(&s->cpu, op);
}

static mf_status prepare(mf_stream *s, const mf_op *op, mf_kernel **kernel, mf_kernel_info *info) {
    const mf_host *host = s->device->host;
    mf_kernel *k = host->alloc(host->context, sizeof(*k));
    if (!k)
        return STATUS_MEMORY;
    memset(k, 0, sizeof(*k));
    memset(info, 0, sizeof(*info));
    k->stream = s;
    mf_status status = 0;
    if (s->takes(&s->cpu, op)) {
        mf_openblas_plan(&s->cpu, op, &k->product);
        for (int i = 0; i < op->input_count; i++)
            k->present[i] = mf_operand_present(&op->input[i]);
    } else {
        status = mf_cpu_prepare(&s->cpu, op, &k->cpu, info);
    }
    if (status)
        host->free(host->context, k);
    else
        *kernel = k;
    return status;
}

static mf_status pack(mf_kernel *k, int input, const void *plain, void *packed) {
    return mf_cpu_pack(k->cpu, input, plain, packed);
}

static mf_status run(mf_kernel *k, const void *const *inputs, void *output, void *scratch) {
    if (k->cpu)
        return mf_cpu_run(k->cpu, inputs, output, scratch);
    const void *in[MF_MAX_INPUTS] = {0};
    for (int i = 0; i < k->product.input_count; i++)
        in[i] = k->present[i] ? inputs[i] : NULL;
    mf_openblas_run(&k->product, in, output);
    return 0;
}

static void release(mf_kernel *k) {
    if (!k)
        return;
    mf_cpu_release(k->cpu);
    k->stream->device->host->free(k->stream->device->host->context, k);
}

static float scan_error(mf_stream *s, mf_dtype dtype, int64_t size) {
    return mf_cpu_scan_error(&s->cpu, dtype, size);
}

static size_t scan_scratch(mf_stream *s, const mf_scan *scan) {
    return mf_cpu_scan_scratch(&s->cpu, scan);
}

static mf_status scan(mf_stream *s, const mf_scan *what, void *scratch) {
    return mf_cpu_scan(&s->cpu, what, scratch);
}

static mf_status update(mf_stream *s, const mf_update *what) {
    return mf_cpu_update(&s->cpu, what);
}

static mf_status sum_squares(mf_stream *s, const mf_update *what, double *sum) {
    return mf_cpu_sum_squares(&s->cpu, what, sum);
}

const mf_backend *mf_backend_openblas_table(void) {
    static const mf_backend table = {
        .abi = MF_BACKEND_ABI,
        .struct_size = sizeof(mf_backend),
        .name = "openblas",
        .open = open_device,
        .close = close_device,
        .describe = describe,
        .stream_open = stream_open,
        .stream_close = stream_close,
        .stream_begin = stream_begin,
        .stream_end = stream_end,
        .supports = supports,
        .prepare = prepare,
        .pack = pack,
        .run = run,
        .release = release,
        .scan_error = scan_error,
        .scan_scratch = scan_scratch,
        .scan = scan,
        .update = update,
        .sum_squares = sum_squares,
    };
    return &table;
}
