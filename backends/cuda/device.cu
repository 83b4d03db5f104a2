/* Driver and devices, streams, memory, recordings. */
#include "backends/cuda/device.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct mfc_allocation {
    void *memory;
    size_t bytes;
    int ordinal;
    mf_stream *owner; /* NULL: its stream is gone */
    mfc_allocation *next;
};

mf_status mfc_check(const mf_stream *s, cudaError_t error, const char *what) {
    if (error == cudaSuccess)
        return 0;
    const mf_host *host = s->device->host;
    (void)cudaGetLastError(); /* or the next launch would report it again */
    return host->fail(host->context, error == cudaErrorMemoryAllocation ? MFC_MEMORY : MFC_BACKEND, "CUDA: %s: %s", what,
                      cudaGetErrorString(error));
}

/* ---- the driver and the devices ---- */

static int capability(int ordinal) { /* sm_80: 80 */
    int major = 0, minor = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal) != cudaSuccess)
        return 0;
    return 10 * major + minor;
}

/* A driver runs programs of its own major version and of older ones (CUDA Compatibility, "minor version"). */
static mf_status check_driver(const mf_host *host, int *driver, int *runtime) {
    *driver = *runtime = 0;
    cudaError_t error = cudaDriverGetVersion(driver);
    if (error != cudaSuccess || *driver == 0)
        return host->fail(host->context, MFC_BACKEND, "no NVIDIA driver is installed (libcuda.so.1 is not found)");
    (void)cudaRuntimeGetVersion(runtime);
    if (*driver / 1000 < *runtime / 1000)
        return host->fail(host->context, MFC_BACKEND,
                          "the NVIDIA driver is too old: it knows CUDA %d.%d, this backend was built with %d.%d",
                          *driver / 1000, *driver % 1000 / 10, *runtime / 1000, *runtime % 1000 / 10);
    return 0;
}

/* The first device that will do, or -1 and the error. */
static int find_device(const mf_host *host, int *count) {
    *count = 0;
    cudaError_t error = cudaGetDeviceCount(count);
    if (error != cudaSuccess || *count == 0) {
        (void)cudaGetLastError();
        host->fail(host->context, MFC_BACKEND, "no CUDA device: %s",
                   error != cudaSuccess ? cudaGetErrorString(error) : "there is none");
        return -1;
    }
    int best = 0;
    for (int i = 0; i < *count; i++) {
        const int c = capability(i);
        if (c >= MFC_CAPABILITY)
            return i;
        best = c > best ? c : best;
    }
    (void)cudaGetLastError();
    host->fail(host->context, MFC_BACKEND,
               "the CUDA device is too old: its compute capability is %d.%d, 8.0 (Ampere) is needed", best / 10,
               best % 10);
    return -1;
}

static void write_text(mf_device *d, int ordinal, int driver, int runtime) {
    struct cudaDeviceProp p;
    memset(&p, 0, sizeof(p));
    if (cudaGetDeviceProperties(&p, ordinal) != cudaSuccess)
        (void)cudaGetLastError();
    char more[32] = "";
    if (d->count > 1)
        snprintf(more, sizeof(more), ", %d devices", d->count);
    snprintf(d->text, sizeof(d->text), "%.100s (sm_%d, %.1f GiB)%s, CUDA %d.%d, driver for %d.%d", p.name,
             capability(ordinal), (double)p.totalGlobalMem / (1u << 30), more, runtime / 1000, runtime % 1000 / 10,
             driver / 1000, driver % 1000 / 10);
}

mf_status mfc_open(const mf_host *host, mf_device **device) {
    int driver, runtime, count;
    mf_status status = check_driver(host, &driver, &runtime);
    if (status)
        return status;
    const int first = find_device(host, &count);
    if (first < 0)
        return MFC_BACKEND;
    mf_device *d = (mf_device *)host->alloc(host->context, sizeof(*d));
    if (!d)
        return MFC_MEMORY;
    memset(d, 0, sizeof(*d));
    d->host = host;
    d->count = count;
    pthread_mutex_init(&d->lock, NULL);
    write_text(d, first, driver, runtime);
    *device = d;
    return 0;
}

void mfc_close(mf_device *d) {
    if (!d)
        return;
    while (d->allocations)
        mfc_memory_free(d, NULL, d->allocations->memory);
    pthread_mutex_destroy(&d->lock);
    d->host->free(d->host->context, d);
}

const char *mfc_describe(mf_device *d) {
    return d->text;
}

/* ---- the current device ---- */

int mfc_enter(int ordinal) {
    int before = ordinal;
    if (cudaGetDevice(&before) != cudaSuccess || before != ordinal)
        (void)cudaSetDevice(ordinal);
    return before;
}

int mfc_enter_context(int ordinal) {
    size_t any;
    const int before = mfc_enter(ordinal);
    if (cudaDeviceGetLimit(&any, cudaLimitStackSize) != cudaSuccess)
        (void)cudaGetLastError(); /* whoever goes on meets it again */
    return before;
}

void mfc_leave(int ordinal, int before) {
    if (before != ordinal)
        (void)cudaSetDevice(before);
}

void mfc_stream_begin(mf_stream *s) {
    s->before = mfc_enter_context(s->ordinal);
}

void mfc_stream_end(mf_stream *s) {
    mfc_leave(s->ordinal, s->before);
}

/* ---- streams ---- */

static mf_status check_params(mf_device *d, const mf_stream_params *p) {
    const mf_host *host = d->host;
    if (p->compute != MF_F32 && p->compute != MF_F16 && p->compute != MF_BF16)
        return host->fail(host->context, MFC_UNSUPPORTED,
                          "the cuda backend computes in f32, f16 or bf16; f64 is the ref backend's");
    if (p->device < 0 || p->device >= d->count)
        return host->fail(host->context, MFC_ARGUMENT, "CUDA device %d: there %s %d, counted from 0", p->device,
                          d->count == 1 ? "is" : "are", d->count);
    const int c = capability(p->device);
    if (c < MFC_CAPABILITY)
        return host->fail(host->context, MFC_UNSUPPORTED,
                          "CUDA device %d has compute capability %d.%d, 8.0 (Ampere) is needed", p->device, c / 10,
                          c % 10);
    if (p->math == MF_MATH_FP8 && c < MFC_CAPABILITY_FP8)
        return host->fail(host->context, MFC_UNSUPPORTED,
                          "fp8 needs compute capability 8.9 (Ada) or newer, CUDA device %d has %d.%d", p->device, c / 10,
                          c % 10);
    return 0;
}

static mf_status read_limits(mf_stream *s) {
    int shared = 0;
    cudaError_t error = cudaDeviceGetAttribute(&s->major, cudaDevAttrComputeCapabilityMajor, s->ordinal);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&s->multiprocessors, cudaDevAttrMultiProcessorCount, s->ordinal);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, s->ordinal);
    s->shared_limit = (size_t)shared;
    return mfc_check(s, error, "the device's limits");
}

/* The queues do not wait for the default stream, which is the caller's. */
static mf_status make_queues(mf_stream *s, const mf_stream_params *p) {
    cudaError_t error = cudaSuccess;
    if (p->native)
        s->main = (cudaStream_t)p->native;
    else
        error = cudaStreamCreateWithFlags(&s->main, cudaStreamNonBlocking);
    s->owns_main = !p->native && error == cudaSuccess;
    if (error == cudaSuccess)
        error = cudaStreamCreateWithFlags(&s->recorder, cudaStreamNonBlocking);
    if (error == cudaSuccess)
        error = cudaMallocHost((void **)&s->staging, MFC_STAGING_BYTES);
    s->queue = s->main;
    return mfc_check(s, error, "a stream");
}

mf_status mfc_stream_open(mf_device *d, const mf_stream_params *p, mf_stream **stream) {
    mf_status status = check_params(d, p);
    if (status)
        return status;
    mf_stream *s = (mf_stream *)d->host->alloc(d->host->context, sizeof(*s));
    if (!s)
        return MFC_MEMORY;
    memset(s, 0, sizeof(*s));
    s->device = d;
    s->ordinal = p->device;
    s->compute = p->compute;
    s->math = p->math;
    s->limit = p->memory_limit;
    const int before = mfc_enter(s->ordinal);
    status = read_limits(s);
    if (!status)
        status = make_queues(s, p);
    if (!status && !(s->blas = mfc_blas_create(d->host, s->main, p->tuning)))
        status = MFC_BACKEND;
    mfc_leave(s->ordinal, before);
    if (status)
        mfc_stream_close(s);
    else
        *stream = s;
    return status;
}

/* What the stream allocated and others may still use is nobody's from now on. */
static void disown(mf_stream *s) {
    pthread_mutex_lock(&s->device->lock);
    for (mfc_allocation *a = s->device->allocations; a; a = a->next)
        if (a->owner == s)
            a->owner = NULL;
    pthread_mutex_unlock(&s->device->lock);
}

void mfc_stream_close(mf_stream *s) {
    if (!s)
        return;
    const mf_host *host = s->device->host;
    const int before = mfc_enter(s->ordinal);
    if (s->owns_main || s->queue) /* a caller's own queue may be the default one, NULL */
        (void)cudaStreamSynchronize(s->main);
    mfc_update_close(s);
    mfc_scan_close(s);
    mfc_blas_free(s->blas);
    if (s->staging)
        (void)cudaFreeHost(s->staging);
    if (s->recorder)
        (void)cudaStreamDestroy(s->recorder);
    if (s->owns_main)
        (void)cudaStreamDestroy(s->main);
    (void)cudaGetLastError();
    mfc_leave(s->ordinal, before);
    disown(s);
    host->free(host->context, s);
}

/* ---- memory ---- */

static mf_status beyond_limit(const mf_stream *s, size_t bytes) {
    return s->device->host->fail(
        s->device->host->context, MFC_MEMORY,
        "CUDA: %zu bytes are needed: of the limit of %zu bytes %zu are left (a smaller batch needs less)", bytes,
        s->limit, s->used < s->limit ? s->limit - s->used : 0);
}

static mf_status out_of_memory(const mf_stream *s, size_t bytes) {
    size_t available = 0, total = 0;
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&available, &total);
    return s->device->host->fail(
        s->device->host->context, MFC_MEMORY,
        "CUDA: out of memory: %zu bytes are needed, %zu of %zu are free (a smaller batch needs less)", bytes, available,
        total);
}

/* Counts the bytes of the stream; 0: they would be more than its limit. */
static int count(mf_stream *s, size_t bytes) {
    pthread_mutex_lock(&s->device->lock);
    const int fits = !s->limit || (s->used <= s->limit && bytes <= s->limit - s->used);
    s->used += fits ? bytes : 0;
    pthread_mutex_unlock(&s->device->lock);
    return fits;
}

static void uncount(mf_stream *s, size_t bytes) {
    pthread_mutex_lock(&s->device->lock);
    s->used -= bytes;
    pthread_mutex_unlock(&s->device->lock);
}

static mf_status allocate(mf_stream *s, size_t bytes, void **memory) {
    const int before = mfc_enter(s->ordinal);
    cudaError_t error = cudaMalloc(memory, bytes);
    mf_status status = error == cudaErrorMemoryAllocation ? out_of_memory(s, bytes) : mfc_check(s, error, "memory");
    mfc_leave(s->ordinal, before);
    return status;
}

mf_status mfc_memory_alloc(mf_stream *s, size_t bytes, void **memory) {
    mf_device *d = s->device;
    bytes = bytes ? bytes : 1;
    if (!count(s, bytes))
        return beyond_limit(s, bytes);
    mfc_allocation *a = (mfc_allocation *)d->host->alloc(d->host->context, sizeof(*a));
    mf_status status = a ? allocate(s, bytes, &a->memory) : MFC_MEMORY;
    if (status) {
        uncount(s, bytes);
        d->host->free(d->host->context, a);
        return status;
    }
    a->bytes = bytes;
    a->ordinal = s->ordinal;
    a->owner = s;
    pthread_mutex_lock(&d->lock);
    a->next = d->allocations;
    d->allocations = a;
    pthread_mutex_unlock(&d->lock);
    *memory = a->memory;
    return 0;
}

/* Takes it off the list; NULL: it is not there. */
static mfc_allocation *take(mf_device *d, void *memory) {
    pthread_mutex_lock(&d->lock);
    mfc_allocation **at = &d->allocations, *a;
    while (*at && (*at)->memory != memory)
        at = &(*at)->next;
    a = *at;
    if (a) {
        *at = a->next;
        if (a->owner)
            a->owner->used -= a->bytes;
    }
    pthread_mutex_unlock(&d->lock);
    return a;
}

/* Nothing that still runs may read what is freed.  cudaFree waits for the device, but is only said to be likely to. */
void mfc_memory_free(mf_device *d, mf_stream *s, void *memory) {
    mfc_allocation *a = memory ? take(d, memory) : NULL;
    if (!a)
        return;
    const int before = mfc_enter(a->ordinal);
    if (s)
        (void)cudaStreamSynchronize(s->main);
    (void)cudaFree(a->memory);
    (void)cudaGetLastError(); /* or the next launch would report it */
    mfc_leave(a->ordinal, before);
    d->host->free(d->host->context, a);
}

mf_status mfc_alloc(mf_stream *s, size_t bytes, void **memory) {
    return mfc_memory_alloc(s, bytes, memory);
}

void mfc_free(mf_stream *s, void *memory) {
    mfc_memory_free(s->device, s, memory);
}

static mf_status refuse_recording(const mf_stream *s, const char *what) {
    if (s->queue == s->main)
        return 0;
    return s->device->host->fail(s->device->host->context, MFC_BACKEND, "CUDA: %s while a run is recorded", what);
}

/* Small values go by way of pinned memory, so that nobody waits for what the queue has still to do. */
static cudaError_t put_staged(mf_stream *s, void *to, const void *from, size_t bytes) {
    const size_t room = MFC_STAGING_BYTES / 2, step = mfc_round_up(bytes);
    if (step > room - s->staged) {
        cudaError_t error = cudaStreamSynchronize(s->main);
        if (error != cudaSuccess)
            return error;
        s->staged = 0;
    }
    char *place = s->staging + room + s->staged;
    s->staged += step;
    memcpy(place, from, bytes);
    return cudaMemcpyAsync(to, place, bytes, cudaMemcpyHostToDevice, s->main);
}

mf_status mfc_memory_put(mf_stream *s, void *to, const void *from, size_t bytes) {
    mf_status status = refuse_recording(s, "memory_put");
    if (status || !bytes)
        return status;
    const int before = mfc_enter(s->ordinal);
    cudaError_t error;
    if (bytes <= MFC_STAGING_BYTES / 8) {
        error = put_staged(s, to, from, bytes);
    } else {
        error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, s->main);
        if (error == cudaSuccess)
            error = cudaStreamSynchronize(s->main);
    }
    mfc_leave(s->ordinal, before);
    return mfc_check(s, error, "a copy to the device");
}

mf_status mfc_memory_get(mf_stream *s, void *to, const void *from, size_t bytes) {
    mf_status status = refuse_recording(s, "memory_get");
    if (status)
        return status;
    const int before = mfc_enter(s->ordinal);
    cudaError_t error = cudaSuccess;
    if (bytes)
        error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, s->main);
    if (error == cudaSuccess)
        error = cudaStreamSynchronize(s->main);
    mfc_leave(s->ordinal, before);
    return mfc_check(s, error, "what ran before, or a copy from the device");
}

mf_status mfc_memory_copy(mf_stream *s, void *to, const void *from, size_t bytes) {
    if (!bytes)
        return 0;
    const int before = mfc_enter(s->ordinal);
    cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, s->queue);
    mfc_leave(s->ordinal, before);
    return mfc_check(s, error, "a copy on the device");
}

mf_status mfc_memory_zero(mf_stream *s, void *memory, size_t bytes) {
    if (!bytes)
        return 0;
    const int before = mfc_enter(s->ordinal);
    cudaError_t error = cudaMemsetAsync(memory, 0, bytes, s->queue);
    mfc_leave(s->ordinal, before);
    return mfc_check(s, error, "zeroes on the device");
}

mf_status mfc_memory_finish(mf_stream *s) {
    mf_status status = refuse_recording(s, "memory_finish");
    if (status)
        return status;
    const int before = mfc_enter(s->ordinal);
    cudaError_t error = cudaStreamSynchronize(s->main);
    mfc_leave(s->ordinal, before);
    return mfc_check(s, error, "what ran on the device");
}

/* ---- recordings: CUDA graphs ----
 * Captured on a queue of its own, because the caller's may be the default one, which cannot be captured; thread-local, so
 * that what other threads do meanwhile does not spoil it. */
mf_status mfc_record_begin(mf_stream *s) {
    mf_status status = refuse_recording(s, "record_begin");
    if (status)
        return status;
    const int before = mfc_enter(s->ordinal);
    cudaError_t error = cudaStreamBeginCapture(s->recorder, cudaStreamCaptureModeThreadLocal);
    mfc_leave(s->ordinal, before);
    if (error == cudaSuccess)
        s->queue = s->recorder;
    return mfc_check(s, error, "a recording");
}

static cudaError_t instantiate(mf_stream *s, cudaGraph_t graph, void **recording) {
    cudaGraphExec_t exec = NULL;
    cudaError_t error = cudaGraphInstantiate(&exec, graph, 0);
    if (error != cudaSuccess)
        return error;
    error = cudaGraphUpload(exec, s->main); /* or the first launch would take longer */
    if (error == cudaSuccess)
        *recording = exec;
    else
        (void)cudaGraphExecDestroy(exec);
    return error;
}

mf_status mfc_record_end(mf_stream *s, void **recording) {
    if (s->queue == s->main)
        return s->device->host->fail(s->device->host->context, MFC_BACKEND, "CUDA: no run is recorded");
    const int before = mfc_enter(s->ordinal);
    cudaGraph_t graph = NULL;
    cudaError_t error = cudaStreamEndCapture(s->recorder, &graph);
    s->queue = s->main;
    if (error == cudaSuccess && recording)
        error = instantiate(s, graph, recording);
    if (graph)
        (void)cudaGraphDestroy(graph);
    mfc_leave(s->ordinal, before);
    if (recording)
        return mfc_check(s, error, "a recording");
    (void)cudaGetLastError(); /* the recording had failed: its error is known */
    return 0;
}

mf_status mfc_record_play(mf_stream *s, void *recording) {
    mf_status status = refuse_recording(s, "record_play");
    if (status)
        return status;
    const int before = mfc_enter(s->ordinal);
    cudaError_t error = cudaGraphLaunch((cudaGraphExec_t)recording, s->main);
    mfc_leave(s->ordinal, before);
    return mfc_check(s, error, "a recording that is played");
}

void mfc_record_free(mf_stream *s, void *recording) {
    if (!recording)
        return;
    const int before = mfc_enter(s->ordinal);
    (void)cudaStreamSynchronize(s->main);
    (void)cudaGraphExecDestroy((cudaGraphExec_t)recording);
    (void)cudaGetLastError();
    mfc_leave(s->ordinal, before);
}
