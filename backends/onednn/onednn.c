/* The oneDNN backend: what rules.c gives to oneDNN of the convolutions and products with constant f32 weights, and
 * everything else by the common CPU kernels.
 *
 * Threads.  With a oneDNN that runs on OpenMP (Debian's) the common kernels run on the same OpenMP threads, so that
 * one set of threads is busy; the caller's thread number is put back after every run.  With any other runtime they run
 * on the host's pool: a oneDNN on TBB takes its threads from TBB whatever the session's number is; one without threads
 * computes only where the session has one thread.  `describe` says which.
 *
 * Memory.  Scratch is the host's (scratchpad mode "user").  oneDNN itself allocates, not by the host's allocator:
 * descriptors, primitives and the machine code they generate, its cache of primitives (process-wide), a map of
 * arguments in every execute. */
#include "backends/onednn/onednn.h"

#include <dlfcn.h>
#include <stdio.h>

struct mf_kernel {
    mf_stream *stream;
    mf_cpu_kernel *cpu; /* NULL: product */
    mf_product product;
};

/* ---- OpenMP ---- */

/* oneDNN's runtime is among our dependencies' dependencies, so the default scope has it. 1: complete */
static int omp_find(mf_omp *omp) {
    *(void **)&omp->get_max_threads = dlsym(RTLD_DEFAULT, "omp_get_max_threads");
    *(void **)&omp->set_num_threads = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    *(void **)&omp->parallel = dlsym(RTLD_DEFAULT, "GOMP_parallel");
    return omp->get_max_threads && omp->set_num_threads && omp->parallel;
}

typedef struct mf_team {
    mf_task task;
    void *arg;
    int tasks, next;
} mf_team;

static void team_body(void *arg) {
    mf_team *t = arg;
    for (;;) {
        int i = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED);
        if (i >= t->tasks)
            return;
        t->task(t->arg, i);
    }
}

/* Always the whole team: libgomp ends the threads that a smaller one leaves over, and starts them anew.  Tasks are
 * handed out one by one, so it is no matter how many threads come. */
static void omp_parallel(void *user, int tasks, mf_task task, void *arg) {
    const mf_stream *s = user;
    if (tasks > 1 && s->threads > 1) {
        mf_team team = {task, arg, tasks, 0};
        s->device->omp.parallel(team_body, &team, (unsigned)s->threads, 0);
    } else {
        for (int i = 0; i < tasks; i++)
            task(arg, i);
    }
}

static void host_parallel(void *user, int tasks, mf_task task, void *arg) {
    const mf_host *host = ((const mf_stream *)user)->device->host;
    host->parallel(host->context, tasks, task, arg);
}

int mf_stream_enter(mf_stream *s) {
    const mf_device *d = s->device;
    if (!d->on_omp)
        return 0;
    int before = d->omp.get_max_threads();
    if (before != s->threads)
        d->omp.set_num_threads(s->threads);
    return before;
}

void mf_stream_leave(mf_stream *s, int before) {
    if (s->device->on_omp && before != s->threads)
        s->device->omp.set_num_threads(before);
}

/* ---- device ---- */

static mf_status fail(const mf_host *host, const char *call, dnnl_status_t status) {
    return host->fail(host->context, status == dnnl_out_of_memory ? MF_DNN_MEMORY : MF_DNN_BACKEND, "oneDNN: %s: %s",
                      call, dnnl_status2str(status));
}

static void device_describe(mf_device *d) {
    const dnnl_version_t *v = dnnl_version();
    const char *threads = "no threads: products of one-thread sessions only";
    if (d->on_omp)
        threads = "OpenMP";
    else if (v->cpu_runtime == DNNL_RUNTIME_OMP)
        threads = "an OpenMP that is not reachable; other kernels on the session's threads";
    else if (v->cpu_runtime == DNNL_RUNTIME_TBB)
        threads = "TBB with as many threads as it likes; other kernels on the session's threads";
    snprintf(d->text, sizeof(d->text), "oneDNN %d.%d.%d (%s), %s", v->major, v->minor, v->patch, mf_onednn_isa_name(),
             threads);
}

static mf_status device_open(const mf_host *host, mf_device **device) {
    const dnnl_version_t *v = dnnl_version();
    if (!mf_dnn_check_version())
        return host->fail(host->context, MF_DNN_BACKEND,
                          "made for oneDNN %d.x, but oneDNN %d.%d.%d was loaded: build the plug-in against the library "
                          "that it runs with",
                          DNNL_VERSION_MAJOR, v->major, v->minor, v->patch);
    if (v->cpu_runtime != DNNL_RUNTIME_OMP && v->cpu_runtime != DNNL_RUNTIME_TBB &&
        v->cpu_runtime != DNNL_RUNTIME_SEQ && v->cpu_runtime != DNNL_RUNTIME_THREADPOOL)
        return host->fail(
            host->context, MF_DNN_BACKEND,
            "oneDNN %d.%d.%d was built for SYCL on the CPU (runtime %#x), which is not supported: use one "
            "built for OpenMP",
            v->major, v->minor, v->patch, v->cpu_runtime);
    mf_device *d = host->alloc(host->context, sizeof(*d));
    if (!d)
        return MF_DNN_MEMORY;
    memset(d, 0, sizeof(*d));
    d->host = host;
    dnnl_status_t r = dnnl_engine_create(&d->engine, dnnl_cpu, 0);
    if (r != dnnl_success) {
        host->free(host->context, d);
        return fail(host, "dnnl_engine_create", r);
    }
    d->on_omp = v->cpu_runtime == DNNL_RUNTIME_OMP && omp_find(&d->omp);
    d->parallel = v->cpu_runtime == DNNL_RUNTIME_OMP || v->cpu_runtime == DNNL_RUNTIME_TBB;
    device_describe(d);
    *device = d;
    return 0;
}

static void device_close(mf_device *d) {
    if (!d)
        return;
    dnnl_engine_destroy(d->engine);
    d->host->free(d->host->context, d);
}

static const char *device_text(mf_device *d) {
    return d->text;
}

/* ---- stream ---- */

static mf_status stream_open(mf_device *d, const mf_stream_params *params, mf_stream **stream) {
    const mf_host *host = d->host;
    mf_stream *s = host->alloc(host->context, sizeof(*s));
    if (!s)
        return MF_DNN_MEMORY;
    memset(s, 0, sizeof(*s));
    s->device = d;
    s->threads = params->threads > 0 ? params->threads : 1;
    mf_cpu_init(&s->cpu, host, s->threads, d->on_omp ? omp_parallel : host_parallel, s);
    dnnl_status_t r = dnnl_stream_create(&s->stream, d->engine, dnnl_stream_default_flags);
    if (r != dnnl_success) {
        host->free(host->context, s);
        return fail(host, "dnnl_stream_create", r);
    }
    *stream = s;
    return 0;
}

static void stream_close(mf_stream *s) {
    if (!s)
        return;
    dnnl_stream_destroy(s->stream);
    s->device->host->free(s->device->host->context, s);
}

static void stream_begin(mf_stream *s) {
    s->caller_threads = mf_stream_enter(s);
}

static void stream_end(mf_stream *s) {
    mf_stream_leave(s, s->caller_threads);
}

/* ---- kernels ---- */

static int takes(const mf_stream *s, const mf_op *op) {
    return (s->device->parallel || s->threads == 1) && mf_onednn_takes(mf_onednn_isa(), op);
}

/* What oneDNN takes the common kernels compute as well: when it has no optimised implementation they stand in. */
static int supports(mf_stream *s, const mf_op *op) {
    return mf_cpu_supports(&s->cpu, op);
}

static mf_status prepare(mf_stream *s, const mf_op *op, mf_kernel **kernel, mf_kernel_info *info) {
    const mf_host *host = s->device->host;
    mf_kernel *k = host->alloc(host->context, sizeof(*k));
    if (!k)
        return MF_DNN_MEMORY;
    memset(k, 0, sizeof(*k));
    k->stream = s;
    int r = takes(s, op) ? mf_product_prepare(s, op, &k->product, info) : MF_PRODUCT_NONE;
    if (r == MF_PRODUCT_NONE)
        r = mf_cpu_prepare(&s->cpu, op, &k->cpu, info);
    if (r != 0) {
        host->free(host->context, k);
        return r;
    }
    *kernel = k;
    return 0;
}

static mf_status pack(mf_kernel *k, int input, const void *plain, void *packed) {
    return k->cpu ? mf_cpu_pack(k->cpu, input, plain, packed) : mf_product_pack(&k->product, plain, packed);
}

static mf_status run(mf_kernel *k, const void *const *inputs, void *output, void *scratch) {
    return k->cpu ? mf_cpu_run(k->cpu, inputs, output, scratch) : mf_product_run(&k->product, inputs, output, scratch);
}

static void release(mf_kernel *k) {
    if (!k)
        return;
    const mf_host *host = k->stream->device->host;
    if (k->cpu)
        mf_cpu_release(k->cpu);
    else
        mf_product_release(&k->product);
    host->free(host->context, k);
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

static const mf_backend table = {
    .abi = MF_BACKEND_ABI,
    .struct_size = sizeof(mf_backend),
    .name = "onednn",
    .open = device_open,
    .close = device_close,
    .describe = device_text,
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

const mf_backend *mf_backend_onednn_table(void) {
    return &table;
}
