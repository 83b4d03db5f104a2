/* Whether the emulator shows what it is there to show: kernels that are wrong on purpose. */
#include "backends/cuda/launch.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "backends/cuda/device.h"

static char last[1024];
static int failures;

static void *host_alloc(void *, size_t bytes) {
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}
static void host_free(void *, void *p) {
    free(p);
}
static void host_parallel(void *, int tasks, mf_task task, void *arg) {
    for (int i = 0; i < tasks; i++)
        task(arg, i);
}
static mf_status host_fail(void *, mf_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(last, sizeof(last), format, args);
    va_end(args);
    return status;
}
static void host_log(void *, int, const char *, ...) {
}
static const mf_host host = {sizeof(mf_host), NULL, host_alloc, host_free, host_parallel, host_fail, host_log};

static void expect(int good, const char *what) {
    if (good)
        return;
    printf("FAIL %s: %s\n", what, last);
    failures++;
}

static int says(mf_status status, const char *words) {
    return status && strstr(last, words);
}

/* ---- kernels ---- */

/* A block's values in reverse, by shared memory. */
template <int barrier> static __global__ void reverse(float *x) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
    if (barrier)
        __syncthreads();
    x[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];
}

static __global__ void some_wait(float *x) {
    if (threadIdx.x < 10)
        __syncthreads();
    x[threadIdx.x] = 1;
}

static __global__ void sum(float *x) {
    __shared__ float room[32];
    float all = mfc_block_sum(x[threadIdx.x], room);
    x[threadIdx.x] = all;
}

static __global__ void uninitialised(float *x) {
    __shared__ float room[64];
    if (threadIdx.x < 32)
        room[threadIdx.x] = 0;
    __syncthreads();
    x[threadIdx.x] = room[threadIdx.x];
}

static __global__ void beside(float *x, int n) {
    MFC_SHARED(float, room);
    for (int i = (int)threadIdx.x; i <= n; i += (int)blockDim.x)
        room[i] = 0;
    x[threadIdx.x] = room[0];
}

static __global__ void lanes_missing(float *x) {
    float v = x[threadIdx.x];
    if (threadIdx.x % 2)
        v = __shfl_xor_sync(0xffffffffu, v, 1);
    x[threadIdx.x] = v;
}

/* ---- checks ---- */

typedef struct bench {
    mf_device *device;
    mf_stream *s;
    float *x; /* 128 values on the device */
    float host[128];
} bench;

static void put(bench *b) {
    for (int i = 0; i < 128; i++)
        b->host[i] = (float)i;
    expect(!mfc_memory_put(b->s, b->x, b->host, sizeof(b->host)), "memory_put");
    memset(b->host, 0xFF, sizeof(b->host)); /* it may be written again */
}

static mf_status get(bench *b) {
    return mfc_memory_get(b->s, b->host, b->x, sizeof(b->host));
}

static void check_barriers(bench *b, const char *order) {
    int right = 1;
    setenv("MFC_EMULATE_ORDER", order, 1);
    put(b);
    expect(!mfc_launch(b->s, reverse<1>, dim3(2), 64, 0, b->x) && !get(b), "reverse");
    for (int i = 0; i < 128; i++)
        right &= b->host[i] == (float)(i / 64 * 64 + 63 - i % 64);
    expect(right, "reverse gives other values");
    put(b);
    expect(!mfc_launch(b->s, reverse<0>, dim3(2), 64, 0, b->x) && !get(b), "reverse without its barrier");
    for (int i = right = 0; i < 128; i++)
        right += b->host[i] == (float)(i / 64 * 64 + 63 - i % 64);
    expect(right < 128, "a missing barrier does not show");
    put(b);
    expect(!mfc_launch(b->s, sum, dim3(1), 128, 0, b->x) && !get(b) && b->host[5] == 127 * 64, "sum of a block");
    (void)mfc_launch(b->s, some_wait, dim3(1), 64, 0, b->x);
    expect(says(get(b), "a barrier that not every thread reaches"), "a barrier that some reach");
    (void)mfc_launch(b->s, lanes_missing, dim3(1), 64, 0, b->x);
    expect(says(get(b), "a barrier that not every thread reaches"), "a shuffle that some lanes reach");
    (void)mfc_launch(b->s, sum, dim3(1), 40, 0, b->x);
    expect(says(get(b), "in a warp of 8 threads"), "a shuffle in a partial warp");
    unsetenv("MFC_EMULATE_ORDER");
}

static void check_shared(bench *b) {
    put(b);
    expect(!mfc_launch(b->s, uninitialised, dim3(1), 64, 0, b->x) && !get(b), "shared memory");
    expect(b->host[31] == 0 && b->host[32] != b->host[32], "shared memory that nobody wrote does not show");
    expect(!mfc_launch(b->s, beside, dim3(1), 64, 101 * sizeof(float), b->x, 100) && !get(b), "dynamic shared memory");
    (void)mfc_launch(b->s, beside, dim3(1), 64, 100 * sizeof(float), b->x, 100);
    expect(says(get(b), "beside its dynamic shared memory"), "a write beside the shared memory");
    expect(says(mfc_launch(b->s, sum, dim3(1, 70000), 128, 0, b->x), "not allowed"), "a grid that is too large");
    expect(says(mfc_launch(b->s, sum, dim3(1), 2048, 0, b->x), "not allowed"), "a block that is too large");
    expect(says(mfc_launch(b->s, sum, dim3(0), 128, 0, b->x), "not allowed"), "an empty grid");
}

static void check_recordings(bench *b) {
    void *recording = NULL, *memory = NULL;
    put(b);
    expect(!mfc_record_begin(b->s) && !mfc_launch(b->s, sum, dim3(1), 128, 0, b->x), "record");
    expect(says(mfc_memory_put(b->s, b->x, b->host, 4), "while a run is recorded"), "memory_put in a recording");
    expect(!mfc_record_end(b->s, &recording) && !get(b) && b->host[5] == 5, "what is recorded is done");
    put(b);
    expect(!mfc_record_play(b->s, recording) && !get(b) && b->host[5] == 127 * 64, "play");
    mfc_record_free(b->s, recording);
    recording = NULL;
    expect(!mfc_record_begin(b->s) && says(mfc_memory_alloc(b->s, 4, &memory), "while a queue is captured"),
           "an allocation in a recording");
    expect(mfc_record_end(b->s, &recording) && !recording, "a spoilt recording is none");
    put(b);
    expect(!mfc_launch(b->s, sum, dim3(1), 128, 0, b->x) && !get(b) && b->host[5] == 127 * 64,
           "the stream after a spoilt recording");
    expect(!mfc_record_begin(b->s) && !mfc_record_end(b->s, NULL), "a recording that is given up");
    expect(!mfc_memory_finish(b->s), "the stream after a recording that was given up");
}

static void check_memory(bench *b) {
    void *memory = NULL, *more = NULL;
    mf_stream *limited = NULL;
    mf_stream_params p;
    memset(&p, 0, sizeof(p));
    p.struct_size = sizeof(p);
    p.threads = 1;
    p.memory_limit = 1000;
    expect(!mfc_stream_open(b->device, &p, &limited), "a stream with a limit");
    expect(!mfc_memory_alloc(limited, 600, &memory), "memory within the limit");
    expect(says(mfc_memory_alloc(limited, 600, &more), "600 bytes are needed: of the limit of 1000 bytes 400 are left"),
           "memory beyond the limit");
    mfc_memory_free(b->device, limited, memory);
    expect(!mfc_memory_alloc(limited, 1000, &memory), "memory that was given back");
    mfc_stream_close(limited);
    mfc_memory_free(b->device, NULL, memory);
    expect(says(mfc_memory_alloc(b->s, (size_t)1 << 50, &memory), "out of memory: 1125899906842624 bytes are needed"),
           "more memory than there is");
    p.memory_limit = 0;
    p.compute = MF_F64;
    expect(says(mfc_stream_open(b->device, &p, &limited), "f32, f16 or bf16"), "a stream of f64");
    p.compute = MF_F32;
    p.device = 1;
    expect(says(mfc_stream_open(b->device, &p, &limited), "there is 1"), "a device that is not there");
    p.device = 0;
    p.math = MF_MATH_FP8;
    setenv("MFC_EMULATE_CAPABILITY", "80", 1);
    expect(says(mfc_stream_open(b->device, &p, &limited), "fp8 needs compute capability 8.9"), "fp8 on sm_80");
    unsetenv("MFC_EMULATE_CAPABILITY");
    cudaStream_t own;
    p.math = MF_MATH_STRICT;
    expect(cudaStreamCreate(&own) == cudaSuccess, "a queue");
    p.native = own;
    expect(!mfc_stream_open(b->device, &p, &limited) && limited->main == own, "a stream on the caller's queue");
    mfc_stream_close(limited);
    expect(cudaStreamDestroy(own) == cudaSuccess, "the caller's queue is still there");
}

static void check_declines(const char *name, const char *value, const char *words) {
    mf_device *d = NULL;
    setenv(name, value, 1);
    expect(says(mfc_open(&host, &d), words), words);
    unsetenv(name);
}

int main() {
    bench b;
    mf_stream_params p;
    memset(&p, 0, sizeof(p));
    p.struct_size = sizeof(p);
    p.threads = 1;
    check_declines("MFC_EMULATE_DRIVER", "0", "no NVIDIA driver is installed");
    check_declines("MFC_EMULATE_DRIVER", "11040", "the NVIDIA driver is too old: it knows CUDA 11.4");
    check_declines("MFC_EMULATE_DEVICES", "0", "no CUDA device");
    check_declines("MFC_EMULATE_CAPABILITY", "75", "compute capability is 7.5");
    if (mfc_open(&host, &b.device) || mfc_stream_open(b.device, &p, &b.s) ||
        mfc_memory_alloc(b.s, sizeof(b.host), (void **)&b.x)) {
        printf("FAIL %s\n", last);
        return 1;
    }
    check_barriers(&b, "forward");
    check_barriers(&b, "backward");
    check_barriers(&b, "3");
    check_shared(&b);
    check_recordings(&b);
    check_memory(&b);
    mfc_memory_free(b.device, b.s, b.x);
    mfc_stream_close(b.s);
    mfc_close(b.device);
    printf("emulator: %d failures\n", failures);
    return failures != 0;
}
