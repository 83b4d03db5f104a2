/* Loads backends.  `ref` is built in; the others are plug-ins in one folder named after the plug-in ABI, looked for in
 * no other place.  A plug-in is never unloaded: OpenMP's threads and C++ statics outlive it. */
#include "backends/registry.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/context.h"

#ifndef MF_PLUGIN_DIR
#define MF_PLUGIN_DIR ""
#endif

const mf_backend *mf_backend_ref_table(void);
#ifdef MF_BUILTIN_OPENBLAS
const mf_backend *mf_backend_openblas_table(void);
#endif
#ifdef MF_BUILTIN_ONEDNN
const mf_backend *mf_backend_onednn_table(void);
#endif

/* In the order of "auto". */
static const struct {
    const char *name;
    mf_backend_entry builtin; /* NULL: a plug-in */
} known[] = {
    {"cuda", NULL},
#ifdef MF_BUILTIN_ONEDNN
    {"onednn", mf_backend_onednn_table},
#else
    {"onednn", NULL},
#endif
#ifdef MF_BUILTIN_OPENBLAS
    {"openblas", mf_backend_openblas_table},
#else
    {"openblas", NULL},
#endif
    {"ref", mf_backend_ref_table},
};

typedef struct mf_registry {
    pthread_mutex_t lock;
    mf_host host;
    mf_loaded loaded[MF_COUNT(known)];
} mf_registry;

static void *host_alloc(void *context, size_t bytes) {
    void *memory = mf_alloc_huge(context, bytes);
    if (!memory)
        mf_fail_memory(context, bytes, "a backend");
    return memory;
}

static void host_free(void *context, void *memory) {
    mf_free(context, memory);
}

static void host_parallel(void *context, int tasks, mf_task task, void *arg) {
    mf_parallel(context, tasks, task, arg);
}

static MF_PRINTF(3, 4) mf_status host_fail(void *context, mf_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    mf_vfail(context, (mfrgn_status)status, format, args);
    va_end(args);
    return status;
}

static MF_PRINTF(3, 4) void host_log(void *context, int level, const char *format, ...) {
    va_list args;
    va_start(args, format);
    mf_vlog(context, (mfrgn_log_level)level, format, args);
    va_end(args);
}

static mf_registry *get_registry(mfrgn_context *context) {
    pthread_mutex_lock(&context->lock);
    mf_registry *r = context->backends;
    if (!r && (r = mf_calloc(context, 1, sizeof(*r)))) {
        pthread_mutex_init(&r->lock, NULL);
        r->host = (mf_host){sizeof(mf_host), context, host_alloc, host_free, host_parallel, host_fail, host_log};
        context->backends = r;
    }
    pthread_mutex_unlock(&context->lock);
    return r;
}

void mf_registry_free(mfrgn_context *context, mf_registry *registry) {
    if (!registry)
        return;
    for (size_t i = 0; i < MF_COUNT(known); i++) {
        mf_loaded *l = &registry->loaded[i];
        if (l->device)
            l->table->close(l->device);
        mf_free(context, l->reason);
    }
    pthread_mutex_destroy(&registry->lock);
    mf_free(context, registry);
}

/* The folder of the plug-ins, to be freed. */
static char *plugin_folder(mfrgn_context *context) {
    pthread_mutex_lock(&context->lock);
    char *folder = context->backend_path ? mf_strdup(context, context->backend_path) : NULL;
    pthread_mutex_unlock(&context->lock);
    const char *from_environment = getenv("MFRGN_BACKEND_PATH");
    if (!folder && from_environment && *from_environment)
        folder = mf_strdup(context, from_environment);
    return folder ? folder : mf_strdup(context, MF_PLUGIN_DIR);
}

/* The plug-in's table, or NULL and why. */
static const mf_backend *load_plugin(mfrgn_context *context, const char *name, char **reason) {
    char *folder = plugin_folder(context);
    char *path = folder ? mf_format(context, "%s/libmfrgn-%s.so", folder, name) : NULL;
    const mf_backend *table = NULL;
    void *object = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) : NULL;
    if (!path) {
        *reason = NULL;
    } else if (!object) {
        const char *text = dlerror();
        *reason = mf_strdup(context, text ? text : "cannot be loaded");
    } else {
        mf_backend_entry entry;
        *(void **)&entry = dlsym(object, MF_BACKEND_SYMBOL);
        table = entry ? entry() : NULL;
        if (!table)
            *reason = mf_format(context, "%s: has no symbol %s", path, MF_BACKEND_SYMBOL);
        else if (table->abi != MF_BACKEND_ABI || table->struct_size != sizeof(mf_backend))
            *reason = mf_format(context, "%s: made for plug-in ABI %u, this library has %u", path, table->abi,
                                MF_BACKEND_ABI);
        if (table && *reason)
            table = NULL;
    }
    mf_free(context, path);
    mf_free(context, folder);
    return table;
}

static mf_loaded *load(mfrgn_context *context, mf_registry *r, size_t i) {
    mf_loaded *l = &r->loaded[i];
    pthread_mutex_lock(&r->lock);
    if (!l->tried) {
        l->tried = 1;
        l->name = known[i].name;
        const mf_backend *table =
            known[i].builtin ? known[i].builtin() : load_plugin(context, known[i].name, &l->reason);
        mf_status status = table ? table->open(&r->host, &l->device) : 0;
        if (table && status == 0)
            l->table = table;
        else if (table && status != MFRGN_ERROR_MEMORY)
            l->reason = mf_strdup(context, mfrgn_context_last_error(context));
        if (!l->table && !l->reason)
            l->tried = 0; /* out of memory: another time it may work */
    }
    pthread_mutex_unlock(&r->lock);
    return l;
}

static const char *reason_of(const mf_loaded *l) {
    return l->reason ? l->reason : "out of memory";
}

const char *mf_backend_name(int index) {
    return index >= 0 && (size_t)index < MF_COUNT(known) ? known[index].name : NULL;
}

mfrgn_status mf_backend_open(mfrgn_context *context, const char *name, const mf_loaded **backend,
                             char **passed_over) {
    mf_registry *r = get_registry(context);
    if (!r)
        return mf_fail_memory(context, sizeof(*r), "the backends");
    int any = strcmp(name, "auto") == 0;
    char *why = NULL;
    for (size_t i = 0; i < MF_COUNT(known); i++) {
        if (!any && strcmp(name, known[i].name) != 0)
            continue;
        mf_loaded *l = load(context, r, i);
        if (l->table) {
            *backend = l;
            *passed_over = why;
            return MFRGN_OK;
        }
        if (!l->reason) {
            mf_free(context, why);
            return mf_fail_memory(context, sizeof(mf_loaded), "a backend");
        }
        if (!any)
            return mf_fail(context, MFRGN_ERROR_BACKEND, "backend %s: %s", name, l->reason);
        char *more = mf_format(context, "%s%s%s: %s", why ? why : "", why ? "; " : "", l->name, l->reason);
        mf_free(context, why);
        why = more;
    }
    if (!any)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "backend %s: unknown; one of auto, cuda, onednn, openblas, ref",
                       name);
    mf_fail(context, MFRGN_ERROR_BACKEND, "no backend: %s", why ? why : "out of memory");
    mf_free(context, why);
    return MFRGN_ERROR_BACKEND;
}

int mfrgn_backend_count(mfrgn_context *context) {
    (void)context;
    return (int)MF_COUNT(known);
}

mfrgn_status mfrgn_backend_get_info(mfrgn_context *context, int index, mfrgn_backend_info *info) {
    if (!context)
        return MFRGN_ERROR_ARGUMENT;
    if (!info || info->struct_size < sizeof(*info) || !mf_backend_name(index))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_backend_get_info: bad index %d, info or struct_size",
                       index);
    mf_registry *r = get_registry(context);
    if (!r)
        return mf_fail_memory(context, sizeof(*r), "the backends");
    const mf_loaded *l = load(context, r, (size_t)index);
    info->name = l->name;
    info->available = l->table != NULL;
    info->detail = l->table ? l->table->describe(l->device) : reason_of(l);
    return MFRGN_OK;
}
