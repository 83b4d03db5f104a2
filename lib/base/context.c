#include "base/context.h"

#include <stdlib.h>
#include <string.h>

static void *default_allocate(void *user, size_t size, size_t alignment) {
    void *memory = NULL;
    (void)user;
    return posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

static void default_release(void *user, void *memory) {
    (void)user;
    free(memory);
}

static const mfrgn_allocator default_allocator = {sizeof(mfrgn_allocator), NULL, default_allocate, default_release};

mfrgn_status mfrgn_context_create(const mfrgn_allocator *allocator, mfrgn_context **out) {
    if (!out)
        return MFRGN_ERROR_ARGUMENT;
    if (!allocator)
        allocator = &default_allocator;
    if (allocator->struct_size < sizeof(mfrgn_allocator) || !allocator->allocate || !allocator->release)
        return MFRGN_ERROR_ARGUMENT;
    mfrgn_context *context = allocator->allocate(allocator->user, sizeof(*context), 64);
    if (!context)
        return MFRGN_ERROR_MEMORY;
    memset(context, 0, sizeof(*context));
    context->allocator = *allocator;
    context->references = 1;
    pthread_mutex_init(&context->lock, NULL);
    pthread_mutex_init(&context->log_lock, NULL);
    *out = context;
    return MFRGN_OK;
}

mfrgn_context *mf_context_ref(mfrgn_context *context) {
    __atomic_add_fetch(&context->references, 1, __ATOMIC_RELAXED);
    return context;
}

void mfrgn_context_free(mfrgn_context *context) {
    if (!context || __atomic_sub_fetch(&context->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    mf_registry_free(context, context->backends);
    mf_pool_free(context, context->pool);
    mf_free(context, context->backend_path);
    pthread_mutex_destroy(&context->lock);
    pthread_mutex_destroy(&context->log_lock);
    mfrgn_allocator allocator = context->allocator;
    allocator.release(allocator.user, context);
}

mfrgn_status mfrgn_context_set_log(mfrgn_context *context, const mfrgn_log *log) {
    if (!context)
        return MFRGN_ERROR_ARGUMENT;
    if (log && (log->struct_size < sizeof(*log) || !log->message))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_log: struct_size or message is not set");
    pthread_mutex_lock(&context->log_lock);
    if (log)
        context->log = *log;
    else
        memset(&context->log, 0, sizeof(context->log));
    pthread_mutex_unlock(&context->log_lock);
    return MFRGN_OK;
}

mfrgn_status mfrgn_context_set_parallel(mfrgn_context *context, const mfrgn_parallel *parallel) {
    if (!context)
        return MFRGN_ERROR_ARGUMENT;
    if (parallel && (parallel->struct_size < sizeof(*parallel) || !parallel->run))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_parallel: struct_size or run is not set");
    if (parallel)
        context->parallel = *parallel;
    else
        memset(&context->parallel, 0, sizeof(context->parallel));
    return MFRGN_OK;
}

mfrgn_status mfrgn_context_set_backend_path(mfrgn_context *context, const char *path) {
    if (!context)
        return MFRGN_ERROR_ARGUMENT;
    char *copy = NULL;
    if (path && !(copy = mf_strdup(context, path)))
        return mf_fail_memory(context, strlen(path) + 1, "a path");
    pthread_mutex_lock(&context->lock);
    char *old = context->backend_path;
    context->backend_path = copy;
    pthread_mutex_unlock(&context->lock);
    mf_free(context, old);
    return MFRGN_OK;
}

const char *mfrgn_status_string(mfrgn_status status) {
    static const char *const text[] = {
        "success",
        "bad argument",
        "out of memory",
        "input or output failed",
        "damaged or malformed file",
        "does not fit the network",
        "not supported",
        "backend failed",
        "cancelled",
        "not a finite number",
        "internal error",
    };
    return (unsigned)status < MF_COUNT(text) ? text[status] : "unknown status";
}

int mfrgn_version(void) {
    return MFRGN_VERSION;
}

#define MF_TEXT2(x) #x
#define MF_TEXT(x) MF_TEXT2(x)

const char *mfrgn_version_string(void) {
    return MF_TEXT(MFRGN_VERSION_MAJOR) "." MF_TEXT(MFRGN_VERSION_MINOR) "." MF_TEXT(MFRGN_VERSION_PATCH);
}
