/* A ring of pictures: threads fill the slots in the order of the tiles, the build takes them in that order. */
#include "gallery/ahead.h"

#include <pthread.h>
#include <string.h>

enum { MAX_THREADS = 32 };

typedef struct slot {
    mf_picture picture;
    int ready;
} slot;

struct mf_ahead {
    mfrgn_context *context;
    const mf_tile_source *source;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t claim, take, last; /* the next tile to decode, the next to hand out, the end */
    int stop;
    size_t room;
    slot *slots;
    int threads;
    pthread_t thread[MAX_THREADS];
};

static void decode(mf_ahead *a, mf_picture *p) {
    p->bitmap = NULL;
    p->error = NULL;
    p->status = a->source->load(a->source->user, p->index, &p->bitmap);
    if (p->status != MFRGN_OK) {
        p->bitmap = NULL;
        /* the text is this thread's: it is carried over to the one that asks */
        p->error = mf_strdup(a->context, mfrgn_context_last_error(a->context));
    }
}

static void *work(void *arg) {
    mf_ahead *a = arg;
    pthread_mutex_lock(&a->lock);
    while (!a->stop && a->claim < a->last) {
        if (a->claim >= a->take + a->room) {
            pthread_cond_wait(&a->changed, &a->lock);
            continue;
        }
        mf_picture p = {.index = a->claim++};
        pthread_mutex_unlock(&a->lock);
        decode(a, &p);
        pthread_mutex_lock(&a->lock);
        a->slots[p.index % a->room] = (slot){p, 1};
        pthread_cond_broadcast(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

mfrgn_status mf_ahead_start(mfrgn_context *context, const mf_tile_source *source, size_t first, size_t last, int threads,
                            size_t room, mf_ahead **out) {
    mf_ahead *a = mf_calloc(context, 1, sizeof(*a));
    if (!a || !(a->slots = mf_calloc(context, room, sizeof(*a->slots)))) {
        mf_free(context, a);
        return mf_fail_memory(context, room * sizeof(slot), "pictures to come");
    }
    a->context = context;
    a->source = source;
    a->claim = a->take = first;
    a->last = last;
    a->room = room;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    threads = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
    while (a->threads < threads && pthread_create(&a->thread[a->threads], NULL, work, a) == 0)
        a->threads++;
    *out = a; /* without a thread mf_ahead_next() decodes by itself */
    return MFRGN_OK;
}

void mf_ahead_next(mf_ahead *a, mf_picture *picture) {
    slot *s = &a->slots[a->take % a->room];
    if (!a->threads) {
        *picture = (mf_picture){.index = a->take++};
        decode(a, picture);
        return;
    }
    pthread_mutex_lock(&a->lock);
    while (!s->ready)
        pthread_cond_wait(&a->changed, &a->lock);
    *picture = s->picture;
    s->ready = 0;
    a->take++;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

void mf_ahead_stop(mf_ahead *a) {
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->stop = 1;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    for (int i = 0; i < a->threads; i++)
        pthread_join(a->thread[i], NULL);
    for (size_t i = 0; i < a->room; i++)
        if (a->slots[i].ready) {
            mfrgn_bitmap_free(a->slots[i].picture.bitmap);
            mf_free(a->context, a->slots[i].picture.error);
        }
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    mf_free(a->context, a->slots);
    mf_free(a->context, a);
}
