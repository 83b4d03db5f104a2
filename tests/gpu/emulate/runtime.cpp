/* What the backend uses of CUDA's runtime library, on the CPU.
 *
 * A queue (stream) keeps its work until something waits for it: the latest moment a GPU could do it.  So a buffer of the host that is
 * changed too early, or read too early, shows.  While a queue is captured its work goes into a graph instead, and calls
 * that may not be made meanwhile fail as they do on a GPU.  Device memory is NaN when it is new, and ends at a page
 * that may not be touched.
 *   MFC_EMULATE_DEVICES=n   devices (1)          MFC_EMULATE_MEMORY=bytes   of a device (16 GiB)
 *   MFC_EMULATE_DRIVER=v    its version (the toolkit's; 0: none)            MFC_EMULATE_CAPABILITY=major*10+minor (90) */
#include "backends/cuda/launch.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/gpu/emulate/runtime.h"

typedef std::function<cudaError_t()> work;

struct CUstream_st {
    std::list<work> waiting;
    int capturing, invalid;
    std::thread::id capturer;
    std::vector<work> captured;
    cudaError_t failed; /* of work that was done; told by what waits next */
};

struct CUgraph_st {
    std::vector<work> nodes;
};
struct CUgraphExec_st {
    std::vector<work> nodes;
};
struct CUevent_st {
    cudaStream_t queue;
    long asked, done; /* how often it was put into a queue, and came to pass */
    struct timespec time;
};

typedef struct region {
    size_t bytes; /* that were asked for */
    void *map;    /* what was mapped */
    size_t mapped;
} region;

static std::recursive_mutex lock; /* of all below */
static CUstream_st default_queue;
static std::set<cudaStream_t> queues = {&default_queue};
static std::map<char *, region> device_memory, pinned_memory;
static size_t device_used;
static int current_device;
static cudaError_t last_error;
static std::string said;

typedef std::lock_guard<std::recursive_mutex> held;

/* ---- errors ---- */

void mfc_emulate_say(const std::string &text) {
    held h(lock);
    said = text;
}

static cudaError_t give(cudaError_t error) {
    if (error != cudaSuccess)
        last_error = error;
    return error;
}

static cudaError_t refuse(cudaError_t error, const char *why) {
    mfc_emulate_say(std::string("emulator: ") + why);
    return give(error);
}

extern "C" const char *cudaGetErrorString(cudaError_t error) {
    static std::string text;
    held h(lock);
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    default:
        text = said.empty() ? "error " + std::to_string((int)error) : said;
        return text.c_str();
    }
}

extern "C" const char *cudaGetErrorName(cudaError_t error) {
    return error == cudaSuccess ? "cudaSuccess" : "cudaError";
}

extern "C" cudaError_t cudaGetLastError(void) {
    held h(lock);
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

extern "C" cudaError_t cudaPeekAtLastError(void) {
    return last_error;
}

/* ---- queues ---- */

static cudaStream_t real(cudaStream_t queue) {
    return queue == NULL || queue == cudaStreamLegacy || queue == cudaStreamPerThread ? &default_queue : queue;
}

static int known(cudaStream_t queue) {
    return queues.count(real(queue)) != 0;
}

/* A call that may not be made while this thread captures: it spoils the capture. */
static int spoils_capture(void) {
    int spoilt = 0;
    for (cudaStream_t q : queues)
        if (q->capturing && q->capturer == std::this_thread::get_id())
            spoilt = q->invalid = 1;
    return spoilt;
}

static void do_one(cudaStream_t q) {
    work w = q->waiting.front();
    q->waiting.pop_front();
    cudaError_t error = w();
    if (error != cudaSuccess && q->failed == cudaSuccess)
        q->failed = error;
}

static cudaError_t flush(cudaStream_t queue) {
    cudaStream_t q = real(queue);
    while (!q->waiting.empty())
        do_one(q);
    cudaError_t error = q->failed;
    q->failed = cudaSuccess;
    return error;
}

static cudaError_t flush_all(void) {
    cudaError_t error = cudaSuccess;
    for (cudaStream_t q : queues) {
        cudaError_t e = flush(q);
        error = error == cudaSuccess ? e : error;
    }
    return error;
}

cudaError_t mfc_emulate_enqueue(cudaStream_t queue, work w) {
    held h(lock);
    cudaStream_t q = real(queue);
    if (!known(queue))
        return refuse(cudaErrorInvalidResourceHandle, "a queue that does not exist");
    if (q->capturing && q->invalid)
        return refuse(cudaErrorStreamCaptureInvalidated, "the capture was spoilt before");
    if (q->capturing)
        q->captured.push_back(w);
    else
        q->waiting.push_back(w);
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamCreateWithFlags(cudaStream_t *queue, unsigned) {
    held h(lock);
    *queue = new CUstream_st();
    queues.insert(*queue);
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamCreate(cudaStream_t *queue) {
    return cudaStreamCreateWithFlags(queue, 0);
}

extern "C" cudaError_t cudaStreamDestroy(cudaStream_t queue) {
    held h(lock);
    if (!known(queue) || real(queue) == &default_queue)
        return refuse(cudaErrorInvalidResourceHandle, "cudaStreamDestroy of no queue");
    cudaError_t error = flush(queue);
    queues.erase(queue);
    delete queue;
    return give(error);
}

extern "C" cudaError_t cudaStreamSynchronize(cudaStream_t queue) {
    held h(lock);
    if (!known(queue))
        return refuse(cudaErrorInvalidResourceHandle, "cudaStreamSynchronize of no queue");
    if (real(queue)->capturing) {
        real(queue)->invalid = 1;
        return refuse(cudaErrorStreamCaptureUnsupported, "cudaStreamSynchronize while the queue is captured");
    }
    return give(flush(queue));
}

extern "C" cudaError_t cudaStreamQuery(cudaStream_t queue) {
    return cudaStreamSynchronize(queue);
}

extern "C" cudaError_t cudaDeviceSynchronize(void) {
    held h(lock);
    if (spoils_capture())
        return refuse(cudaErrorStreamCaptureUnsupported, "cudaDeviceSynchronize while a queue is captured");
    return give(flush_all());
}

/* ---- events ---- */

extern "C" cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    *event = new CUevent_st();
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventCreate(cudaEvent_t *event) {
    return cudaEventCreateWithFlags(event, 0);
}

extern "C" cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t queue) {
    event->queue = real(queue);
    event->asked++;
    return mfc_emulate_enqueue(queue, [event] {
        event->done++;
        clock_gettime(CLOCK_MONOTONIC, &event->time);
        return cudaSuccess;
    });
}

extern "C" cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    return event->queue ? cudaStreamSynchronize(event->queue) : cudaSuccess;
}

extern "C" cudaError_t cudaEventQuery(cudaEvent_t event) {
    return cudaEventSynchronize(event);
}

extern "C" cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
    *ms = (float)(1e3 * (double)(to->time.tv_sec - from->time.tv_sec) +
                  1e-6 * (double)(to->time.tv_nsec - from->time.tv_nsec));
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamWaitEvent(cudaStream_t queue, cudaEvent_t event, unsigned) {
    cudaStream_t other = event->queue;
    const long turn = event->asked;
    if (!other || other == real(queue))
        return cudaSuccess;
    /* no more of the other queue than that: it may be waiting for this one further on */
    return mfc_emulate_enqueue(queue, [event, other, turn] {
        while (event->done < turn && !other->waiting.empty())
            do_one(other);
        return cudaSuccess;
    });
}

/* ---- capture, graphs ---- */

extern "C" cudaError_t cudaStreamBeginCapture(cudaStream_t queue, enum cudaStreamCaptureMode) {
    held h(lock);
    if (!known(queue) || real(queue) == &default_queue || queue->capturing)
        return refuse(cudaErrorStreamCaptureUnsupported, "this queue cannot be captured");
    queue->capturing = 1;
    queue->invalid = 0;
    queue->capturer = std::this_thread::get_id();
    queue->captured.clear();
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamEndCapture(cudaStream_t queue, cudaGraph_t *graph) {
    held h(lock);
    *graph = NULL;
    if (!known(queue) || !queue->capturing)
        return refuse(cudaErrorIllegalState, "cudaStreamEndCapture without a capture");
    queue->capturing = 0;
    if (queue->invalid)
        return refuse(cudaErrorStreamCaptureInvalidated, "something was called that may not be captured");
    *graph = new CUgraph_st();
    (*graph)->nodes.swap(queue->captured);
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamIsCapturing(cudaStream_t queue, enum cudaStreamCaptureStatus *status) {
    held h(lock);
    *status = !real(queue)->capturing ? cudaStreamCaptureStatusNone
              : real(queue)->invalid  ? cudaStreamCaptureStatusInvalidated
                                      : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    *exec = new CUgraphExec_st();
    (*exec)->nodes = graph->nodes;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t queue) {
    for (const work &w : exec->nodes) {
        cudaError_t error = mfc_emulate_enqueue(queue, w);
        if (error != cudaSuccess)
            return error;
    }
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}

/* ---- devices ---- */

static long long setting(const char *name, long long otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtoll(text, NULL, 10) : otherwise;
}

static size_t device_bytes(void) {
    return (size_t)setting("MFC_EMULATE_MEMORY", 1ll << 34);
}

extern "C" cudaError_t cudaDriverGetVersion(int *version) {
    *version = (int)setting("MFC_EMULATE_DRIVER", CUDART_VERSION);
    return cudaSuccess;
}

extern "C" cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGetDeviceCount(int *count) {
    *count = (int)setting("MFC_EMULATE_DEVICES", 1);
    if (setting("MFC_EMULATE_DRIVER", CUDART_VERSION) / 1000 < CUDART_VERSION / 1000)
        return give(cudaErrorInsufficientDriver);
    return *count ? cudaSuccess : give(cudaErrorNoDevice);
}

extern "C" cudaError_t cudaGetDevice(int *device) {
    *device = current_device;
    return cudaSuccess;
}

extern "C" cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= setting("MFC_EMULATE_DEVICES", 1))
        return refuse(cudaErrorInvalidDevice, "there is no such device");
    current_device = device;
    return cudaSuccess;
}

extern "C" cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int) {
    const int capability = (int)setting("MFC_EMULATE_CAPABILITY", 90);
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
        *value = capability / 10;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = capability % 10;
        return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
        *value = 4;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = 227 * 1024;
        return cudaSuccess;
    default:
        return refuse(cudaErrorInvalidValue, "an attribute that it does not know");
    }
}

extern "C" cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int) {
    memset(p, 0, sizeof(*p));
    snprintf(p->name, sizeof(p->name), "emulated on the CPU");
    p->major = (int)setting("MFC_EMULATE_CAPABILITY", 90) / 10;
    p->minor = (int)setting("MFC_EMULATE_CAPABILITY", 90) % 10;
    p->totalGlobalMem = device_bytes();
    p->multiProcessorCount = 4;
    p->sharedMemPerBlockOptin = 227 * 1024;
    return cudaSuccess;
}

extern "C" cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    held h(lock);
    *total = device_bytes();
    *available = *total > device_used ? *total - device_used : 0;
    return cudaSuccess;
}

extern "C" cudaError_t cudaDeviceGetLimit(size_t *value, enum cudaLimit) {
    *value = 1024;
    return cudaSuccess;
}

extern "C" cudaError_t cudaFuncSetAttribute(const void *, enum cudaFuncAttribute, int) {
    return cudaSuccess;
}

/* ---- memory ---- */

/* `bytes`, rounded to the 256 that CUDA aligns to, right before a page that may not be touched. */
static void *map_guarded(size_t bytes, region *r) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + 255) / 256 * 256;
    r->bytes = bytes;
    r->mapped = (room + page - 1) / page * page + page;
    r->map = mmap(NULL, r->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->map == MAP_FAILED)
        return NULL;
    char *end = (char *)r->map + r->mapped - page;
    mprotect(end, page, PROT_NONE);
    memset(end - room, 0xFF, room);
    return end - room;
}

static cudaError_t allocate(std::map<char *, region> *list, void **memory, size_t bytes) {
    region r;
    *memory = NULL;
    if (!bytes)
        return cudaSuccess;
    void *p = map_guarded(bytes, &r);
    if (!p)
        return give(cudaErrorMemoryAllocation);
    (*list)[(char *)p] = r;
    *memory = p;
    return cudaSuccess;
}

static cudaError_t release(std::map<char *, region> *list, void *memory, const char *what) {
    if (!memory)
        return cudaSuccess;
    auto at = list->find((char *)memory);
    if (at == list->end())
        return refuse(cudaErrorInvalidValue, what);
    munmap(at->second.map, at->second.mapped);
    list->erase(at);
    return cudaSuccess;
}

extern "C" cudaError_t cudaMalloc(void **memory, size_t bytes) {
    held h(lock);
    if (spoils_capture())
        return refuse(cudaErrorStreamCaptureUnsupported, "cudaMalloc while a queue is captured");
    if (bytes > device_bytes() || device_used > device_bytes() - bytes)
        return give(cudaErrorMemoryAllocation);
    cudaError_t error = allocate(&device_memory, memory, bytes);
    device_used += error == cudaSuccess ? bytes : 0;
    return error;
}

extern "C" cudaError_t cudaFree(void *memory) {
    held h(lock);
    if (spoils_capture())
        return refuse(cudaErrorStreamCaptureUnsupported, "cudaFree while a queue is captured");
    cudaError_t error = flush_all();
    auto at = device_memory.find((char *)memory);
    device_used -= at == device_memory.end() ? 0 : at->second.bytes;
    cudaError_t freed = release(&device_memory, memory, "cudaFree of what cudaMalloc did not give");
    return give(error == cudaSuccess ? freed : error);
}

extern "C" cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t) {
    return cudaMalloc(memory, bytes);
}

extern "C" cudaError_t cudaFreeAsync(void *memory, cudaStream_t) {
    return cudaFree(memory);
}

extern "C" cudaError_t cudaMallocHost(void **memory, size_t bytes) {
    held h(lock);
    return spoils_capture() ? refuse(cudaErrorStreamCaptureUnsupported, "cudaMallocHost while a queue is captured")
                            : allocate(&pinned_memory, memory, bytes);
}

extern "C" cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) {
    return cudaMallocHost(memory, bytes);
}

extern "C" cudaError_t cudaFreeHost(void *memory) {
    held h(lock);
    flush_all();
    return release(&pinned_memory, memory, "cudaFreeHost of what cudaMallocHost did not give");
}

/* The allocation that holds p, or NULL. */
static const region *holder(const std::map<char *, region> &list, const void *p, char **start) {
    auto at = list.upper_bound((char *)p);
    if (at == list.begin())
        return NULL;
    --at;
    *start = at->first;
    return (char *)p < at->first + at->second.bytes ? &at->second : NULL;
}

static int is_in(const std::map<char *, region> &list, const void *p) {
    char *start;
    return holder(list, p, &start) != NULL;
}

/* Whether `bytes` from p on lie in one allocation, if they begin in one. */
static int fits(const void *p, size_t bytes) {
    char *start;
    for (const auto *list : {&device_memory, &pinned_memory}) {
        const region *r = holder(*list, p, &start);
        if (r && (size_t)((char *)p - start) + bytes > r->bytes)
            return 0;
    }
    return 1;
}

static cudaError_t check_copy(const void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    const int to_device = is_in(device_memory, to), from_device = is_in(device_memory, from);
    const int wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const int wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind != cudaMemcpyDefault && (to_device != wants_to || from_device != wants_from))
        return refuse(cudaErrorInvalidValue, "cudaMemcpyAsync: the kind of copy is not that of the pointers");
    if (!fits(to, bytes) || !fits(from, bytes))
        return refuse(cudaErrorInvalidValue, "cudaMemcpyAsync beyond an allocation's end");
    return cudaSuccess;
}

extern "C" cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                       cudaStream_t queue) {
    held h(lock);
    if (!bytes)
        return cudaSuccess;
    cudaError_t error = check_copy(to, from, bytes, kind);
    if (error != cudaSuccess)
        return error;
    const int from_pageable = !is_in(device_memory, from) && !is_in(pinned_memory, from);
    const int to_pageable = !is_in(device_memory, to) && !is_in(pinned_memory, to);
    if (known(queue) && real(queue)->capturing && (from_pageable || to_pageable)) {
        real(queue)->invalid = 1;
        return refuse(cudaErrorStreamCaptureUnsupported, "a copy of pageable memory while the queue is captured");
    }
    if (from_pageable && !to_pageable) { /* staged before the call returns */
        auto staged = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
        return mfc_emulate_enqueue(queue, [=] {
            memcpy(to, staged->data(), bytes);
            return cudaSuccess;
        });
    }
    error = mfc_emulate_enqueue(queue, [=] {
        memmove(to, from, bytes);
        return cudaSuccess;
    });
    return error == cudaSuccess && to_pageable ? give(flush(queue)) : error;
}

extern "C" cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    held h(lock);
    if (spoils_capture())
        return refuse(cudaErrorStreamCaptureUnsupported, "cudaMemcpy while a queue is captured");
    flush_all();
    cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, NULL);
    return error == cudaSuccess ? give(flush(NULL)) : error;
}

extern "C" cudaError_t cudaMemcpy2DAsync(void *to, size_t to_step, const void *from, size_t from_step, size_t width,
                                         size_t height, enum cudaMemcpyKind kind, cudaStream_t queue) {
    for (size_t i = 0; i < height; i++) {
        cudaError_t error = cudaMemcpyAsync((char *)to + i * to_step, (const char *)from + i * from_step, width, kind,
                                            queue);
        if (error != cudaSuccess)
            return error;
    }
    return cudaSuccess;
}

extern "C" cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t queue) {
    held h(lock);
    if (!bytes)
        return cudaSuccess;
    if (!is_in(device_memory, memory) || !fits(memory, bytes))
        return refuse(cudaErrorInvalidValue, "cudaMemsetAsync of what is not device memory");
    return mfc_emulate_enqueue(queue, [=] {
        memset(memory, value, bytes);
        return cudaSuccess;
    });
}

extern "C" cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
    cudaError_t error = cudaMemsetAsync(memory, value, bytes, NULL);
    return error == cudaSuccess ? cudaStreamSynchronize(NULL) : error;
}
