/* The common CPU kernels of one instruction set as a backend, so that each is tested, not only the machine's best:
 * names "cpu:portable", "cpu:avx2", "cpu:avx512", "cpu:neon". */
#include "ops.h"

#include <stdlib.h>
#include <string.h>

#include "backends/cpu/cpu.h"

struct mf_stream {
    mf_cpu cpu;
};

struct mf_kernel {
    mf_cpu_kernel *cpu;
};

struct mf_device {
    mf_host host;
    const char *isa;
};

static void *host_alloc(void *context, size_t bytes) {
    void *p = NULL;
    (void)context;
    return posix_memalign(&p, MF_ALIGN, bytes ? bytes : 1) ? NULL : p;
}

static void host_free(void *context, void *p) {
    (void)context;
    free(p);
}

static void host_parallel(void *context, int tasks, mf_task task, void *arg) {
    mf_parallel(context, tasks, task, arg);
}

static mf_status host_fail(void *context, mf_status status, const char *format, ...) {
    (void)context;
    (void)format;
    return status;
}

static mf_status stream_open(mf_device *d, const mf_stream_params *params, mf_stream **stream) {
    if (params->compute != MF_F32)
        return 1;
    *stream = calloc(1, sizeof(**stream));
    if (!*stream)
        return 1;
    mf_cpu_init(&(*stream)->cpu, &d->host, params->threads, NULL, NULL);
    return !mf_cpu_use(&(*stream)->cpu, d->isa);
}

static void stream_close(mf_stream *s) {
    free(s);
}

static void stream_mark(mf_stream *s) {
    (void)s;
}

static int supports(mf_stream *s, const mf_op *op) {
    return mf_cpu_supports(&s->cpu, op);
}

static mf_status prepare(mf_stream *s, const mf_op *op, mf_kernel **kernel, mf_kernel_info *info) {
    mf_cpu_kernel *k = NULL;
    memset(info, 0, sizeof(*info));
    mf_status status = mf_cpu_prepare(&s->cpu, op, &k, info);
    *kernel = status ? NULL : calloc(1, sizeof(**kernel));
    if (*kernel)
        (*kernel)->cpu = k;
    return status;
}

static mf_status pack(mf_kernel *k, int input, const void *plain, void *packed) {
    return mf_cpu_pack(k->cpu, input, plain, packed);
}

static mf_status run(mf_kernel *k, const void *const *inputs, void *output, void *scratch) {
    return mf_cpu_run(k->cpu, inputs, output, scratch);
}

static void release(mf_kernel *k) {
    mf_cpu_release(k->cpu);
    free(k);
}

static mf_status update(mf_stream *s, const mf_update *what) {
    return mf_cpu_update(&s->cpu, what);
}

static mf_status sum_squares(mf_stream *s, const mf_update *what, double *sum) {
    return mf_cpu_sum_squares(&s->cpu, what, sum);
}

static const mf_backend table = {.abi = MF_BACKEND_ABI,
                                 .struct_size = sizeof(mf_backend),
                                 .name = "cpu",
                                 .stream_open = stream_open,
                                 .stream_close = stream_close,
                                 .stream_begin = stream_mark,
                                 .stream_end = stream_mark,
                                 .supports = supports,
                                 .prepare = prepare,
                                 .pack = pack,
                                 .run = run,
                                 .release = release,
                                 .update = update,
                                 .sum_squares = sum_squares};

int ops_open_isa(mfrgn_context *context, const char *name, ops_backend *backend) {
    static mf_device device;
    static mf_loaded loaded;
    mf_cpu cpu;
    if (strncmp(name, "cpu:", 4))
        return 0;
    device.host = (mf_host){sizeof(mf_host), context, host_alloc, host_free, host_parallel, host_fail, NULL};
    device.isa = name + 4;
    loaded = (mf_loaded){name, &table, &device, NULL, 1};
    *backend = (ops_backend){context, &loaded};
    mf_cpu_init(&cpu, &device.host, 1, NULL, NULL);
    return mf_cpu_use(&cpu, device.isa);
}
