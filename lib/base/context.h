#ifndef MFRGN_BASE_CONTEXT_H
#define MFRGN_BASE_CONTEXT_H

#include <pthread.h>

#include "base/base.h"

enum { MF_ERROR_SLOTS = 32, MF_ERROR_TEXT = 1024 };

typedef struct mf_error_slot {
    pthread_t thread;
    uint64_t used; /* 0: free; else when, for the oldest to be given away */
    char text[MF_ERROR_TEXT];
} mf_error_slot;

typedef struct mf_pool mf_pool;

struct mfrgn_context {
    mfrgn_allocator allocator;
    int references;
    pthread_mutex_t lock; /* everything below */
    mfrgn_log log;
    pthread_mutex_t log_lock;
    mfrgn_parallel parallel;
    mf_pool *pool; /* made when first needed */
    char *backend_path;
    struct mf_registry *backends; /* backends/registry.c */
    uint64_t error_clock;
    mf_error_slot errors[MF_ERROR_SLOTS];
};

/* lib/base/pool.c */
void mf_pool_free(mfrgn_context *context, mf_pool *pool);
/* backends/registry.c */
void mf_registry_free(mfrgn_context *context, struct mf_registry *registry);

#endif
