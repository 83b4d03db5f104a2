/* A ring of batches.  Threads claim one place of one batch at a time, oldest batch first; who finishes a batch's last
 * place replaces its unreadable pairs, place by place, by pairs drawn from (seed, epoch, batch): so what is in a batch
 * depends on neither the number of threads nor their order. */
#include "train/loader.h"

#include <pthread.h>
#include <time.h>

enum { MAX_LOADERS = 64, ATTEMPTS = 256 };

typedef struct slot {
    size_t batch;
    size_t claimed, done;
    int ready;
    mfrgn_status status;
    char *error;
    size_t replaced;
    unsigned char *pixels[2];
    mfrgn_image *image[2];
    uint32_t *pair;
    unsigned char *broken;
} slot;

typedef struct worker {
    struct mf_loader *loader;
    mf_augment_work *work;
    pthread_t thread;
} worker;

struct mf_loader {
    mfrgn_context *context;
    mf_loader_plan plan;
    mf_augment augment;
    size_t bytes[2]; /* of a picture */
    slot *slot;
    size_t room;
    worker worker[MAX_LOADERS];
    int threads;
    pthread_mutex_t lock; /* everything below, and the slots' claimed, done, ready */
    pthread_cond_t changed;
    size_t next; /* batch to be taken */
    size_t held; /* 1: the batch before it is the caller's */
    int stop;
    unsigned char *told[2]; /* the plan's, or own_told */
    unsigned char *own_told[2];
    size_t replaced;
    double waited;
};

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- a pair ---- */

static void tell(mf_loader *l, int view, uint32_t row, const char *path) {
    const char *why = mfrgn_context_last_error(l->context);
    pthread_mutex_lock(&l->lock);
    int known = l->told[view][row];
    l->told[view][row] = 1;
    if (!known && l->plan.skipped)
        l->plan.skipped(l->plan.user, path, why);
    pthread_mutex_unlock(&l->lock);
}

/* 1: made; 0: a picture cannot be read or worked on; -1: no memory. */
static int make_pair(mf_loader *l, mf_augment_work *work, uint32_t number, unsigned char *out[2]) {
    const mf_train_pairs *pairs = l->plan.pairs;
    const mf_train_pair *p = &pairs->item[number];
    const mf_sample *sample[2];
    uint32_t row[2];
    mfrgn_bitmap *bitmap[2] = {NULL, NULL};
    mfrgn_image source[2];
    int made = 1;
    sample[MFRGN_VIEW_GROUND] = &pairs->ground->item[row[MFRGN_VIEW_GROUND] = p->ground];
    sample[MFRGN_VIEW_AERIAL] = &pairs->aerial->item[row[MFRGN_VIEW_AERIAL] = p->aerial];
    for (int view = 0; view < 2 && made == 1; view++) {
        mfrgn_status status = mfrgn_bitmap_load(l->context, sample[view]->path, &bitmap[view]);
        if (status != MFRGN_OK) {
            bitmap[view] = NULL;
            made = status == MFRGN_ERROR_MEMORY ? -1 : 0;
            if (made == 0)
                tell(l, view, row[view], sample[view]->path);
            continue;
        }
        source[view].struct_size = sizeof(mfrgn_image);
        mfrgn_bitmap_image(bitmap[view], &source[view]);
    }
    if (made == 1) {
        mfrgn_status status = mf_augment_pair(work, &l->augment, source, l->plan.seed, l->plan.epoch, number, out);
        made = status == MFRGN_OK ? 1 : status == MFRGN_ERROR_MEMORY ? -1 : 0;
        if (made == 0)
            tell(l, MFRGN_VIEW_GROUND, row[MFRGN_VIEW_GROUND], sample[MFRGN_VIEW_GROUND]->path);
    }
    mfrgn_bitmap_free(bitmap[0]);
    mfrgn_bitmap_free(bitmap[1]);
    return made;
}

static void place_of(const mf_loader *l, const slot *s, size_t place, unsigned char *out[2]) {
    for (int view = 0; view < 2; view++)
        out[view] = s->pixels[view] + place * l->bytes[view];
}

/* Another pair that fits the rest of the batch and can be read. */
static int replace(mf_loader *l, mf_augment_work *work, slot *s, size_t place) {
    const mf_train_pairs *pairs = l->plan.pairs;
    mf_draw d = mf_draw_begin(l->plan.seed, l->plan.epoch, s->batch * l->plan.batches->size + place, MF_DRAW_REPLACE);
    unsigned char *out[2];
    place_of(l, s, place, out);
    uint32_t lost = s->pair[place];
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        uint32_t candidate = (uint32_t)mf_draw_below(&d, pairs->count);
        /* the lost pair stays in the list while it is compared: its own label is refused too */
        if (!mf_pair_fits(pairs, s->pair, l->plan.batches->size, candidate))
            continue;
        int made = make_pair(l, work, candidate, out);
        if (made < 0)
            return -1;
        if (made) {
            s->pair[place] = candidate;
            s->replaced++;
            return 1;
        }
    }
    s->pair[place] = lost;
    mf_fail(l->context, MFRGN_ERROR_IO,
            "batch %zu of epoch %llu: %s or %s cannot be read, and no other pair was found in %d attempts", s->batch,
            (unsigned long long)l->plan.epoch, pairs->ground->item[pairs->item[lost].ground].path,
            pairs->aerial->item[pairs->item[lost].aerial].path, ATTEMPTS);
    return 0;
}

static void note_failure(mf_loader *l, slot *s, mfrgn_status status) {
    if (s->status == MFRGN_OK) {
        s->status = status;
        s->error = mf_strdup(l->context, mfrgn_context_last_error(l->context));
    }
}

static void make_place(mf_loader *l, mf_augment_work *work, slot *s, size_t place) {
    unsigned char *out[2];
    place_of(l, s, place, out);
    int made = make_pair(l, work, s->pair[place], out);
    s->broken[place] = made == 0;
    if (made < 0) {
        pthread_mutex_lock(&l->lock);
        note_failure(l, s, MFRGN_ERROR_MEMORY);
        pthread_mutex_unlock(&l->lock);
    }
}

static void repair(mf_loader *l, mf_augment_work *work, slot *s) {
    for (size_t i = 0; i < l->plan.batches->size && s->status == MFRGN_OK; i++)
        if (s->broken[i]) {
            int made = replace(l, work, s, i);
            if (made != 1)
                note_failure(l, s, made ? MFRGN_ERROR_MEMORY : MFRGN_ERROR_IO);
        }
}

/* ---- the ring ---- */

static void begin_batch(mf_loader *l, slot *s, size_t batch) {
    size_t n = l->plan.batches->size;
    s->batch = batch;
    s->claimed = s->done = s->replaced = 0;
    s->ready = 0;
    s->status = MFRGN_OK;
    memset(s->broken, 0, n);
    if (batch < l->plan.batches->count)
        memcpy(s->pair, l->plan.batches->pair + batch * n, n * sizeof(*s->pair));
    else
        s->claimed = n; /* the epoch has no more */
}

/* The oldest batch with an unclaimed place. */
static slot *find_work(mf_loader *l) {
    for (size_t i = 0; i < l->room; i++) {
        slot *s = &l->slot[(l->next + i) % l->room];
        if (s->batch == l->next + i && s->claimed < l->plan.batches->size)
            return s;
    }
    return NULL;
}

/* Makes one place; under the lock, which is given up meanwhile. */
static void do_place(mf_loader *l, mf_augment_work *work, slot *s) {
    size_t place = s->claimed++, n = l->plan.batches->size;
    pthread_mutex_unlock(&l->lock);
    make_place(l, work, s, place);
    pthread_mutex_lock(&l->lock);
    if (++s->done < n)
        return;
    pthread_mutex_unlock(&l->lock); /* all places are done: the batch is this thread's alone */
    repair(l, work, s);
    pthread_mutex_lock(&l->lock);
    s->ready = 1;
    pthread_cond_broadcast(&l->changed);
}

static void *run(void *arg) {
    worker *w = arg;
    mf_loader *l = w->loader;
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        slot *s = find_work(l);
        if (s)
            do_place(l, w->work, s);
        else
            pthread_cond_wait(&l->changed, &l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- outside ---- */

static mfrgn_status make_slot(mf_loader *l, slot *s) {
    size_t n = l->plan.batches->size, bytes = n * (l->bytes[0] + l->bytes[1]);
    s->pair = mf_alloc(l->context, n * sizeof(*s->pair));
    s->broken = mf_alloc(l->context, n);
    int whole = s->pair && s->broken;
    for (int view = 0; view < 2; view++) {
        s->pixels[view] = mf_alloc(l->context, n * l->bytes[view]);
        s->image[view] = mf_alloc(l->context, n * sizeof(mfrgn_image));
        whole = whole && s->pixels[view] && s->image[view];
    }
    if (!whole)
        return mf_fail_memory(l->context, bytes, "batches of pictures");
    for (int view = 0; view < 2; view++)
        for (size_t i = 0; i < n; i++)
            s->image[view][i] =
                (mfrgn_image){sizeof(mfrgn_image),       s->pixels[view] + i * l->bytes[view], l->plan.size[view].width,
                              l->plan.size[view].height, l->plan.size[view].width * 3,         MFRGN_PIXEL_RGB8};
    return MFRGN_OK;
}

/* All cores but one, which the step needs. */
static int count_threads(int wanted) {
    int cores = mf_core_count();
    int threads = wanted > 0 ? wanted : cores <= 2 ? 1 : cores <= 9 ? cores - 1 : 8;
    return threads < MAX_LOADERS ? threads : MAX_LOADERS;
}

static mfrgn_status prepare(mf_loader *l) {
    const mf_train_pairs *pairs = l->plan.pairs;
    for (int view = 0; view < 2; view++)
        l->bytes[view] = (size_t)l->plan.size[view].width * (size_t)l->plan.size[view].height * 3;
    for (int view = 0; view < 2; view++) {
        const mf_sample_set *set = view == MFRGN_VIEW_GROUND ? pairs->ground : pairs->aerial;
        if (!l->plan.told[view])
            l->own_told[view] = mf_calloc(l->context, set->count + 1, 1);
        l->told[view] = l->plan.told[view] ? l->plan.told[view] : l->own_told[view];
    }
    l->room = (size_t)(l->plan.ahead < 1 ? 1 : l->plan.ahead) + 1; /* and the one the caller holds */
    l->slot = mf_calloc(l->context, l->room, sizeof(*l->slot));
    if (!l->told[0] || !l->told[1] || !l->slot)
        return mf_fail_memory(l->context, l->room * sizeof(*l->slot), "batches of pictures");
    for (size_t i = 0; i < l->room; i++)
        MF_TRY(make_slot(l, &l->slot[i]));
    l->next = l->plan.first;
    for (size_t i = 0; i < l->room; i++)
        begin_batch(l, &l->slot[(l->next + i) % l->room], l->next + i);
    return MFRGN_OK;
}

mfrgn_status mf_loader_start(mfrgn_context *context, const mf_loader_plan *plan, mf_loader **out) {
    mf_loader *l = mf_calloc(context, 1, sizeof(*l));
    if (!l)
        return mf_fail_memory(context, sizeof(*l), "a loader");
    l->context = mf_context_ref(context);
    l->plan = *plan;
    l->augment = *plan->augment;
    l->plan.augment = &l->augment;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    mfrgn_status status = prepare(l);
    int threads = count_threads(plan->threads);
    for (int i = 0; i < threads && status == MFRGN_OK; i++) {
        worker *w = &l->worker[i];
        w->loader = l;
        status = mf_augment_work_create(context, plan->size, &w->work);
        if (status != MFRGN_OK)
            break;
        if (pthread_create(&w->thread, NULL, run, w) != 0) {
            mf_augment_work_free(w->work);
            w->work = NULL;
            if (i == 0)
                status = mf_fail(context, MFRGN_ERROR_MEMORY, "no thread can be started to read pictures");
            break;
        }
        l->threads++;
    }
    if (status != MFRGN_OK)
        mf_loader_stop(l);
    else
        *out = l;
    return status;
}

mfrgn_status mf_loader_next(mf_loader *l, mf_loaded_batch *batch) {
    double begin = seconds();
    pthread_mutex_lock(&l->lock);
    if (l->next >= l->plan.batches->count) {
        pthread_mutex_unlock(&l->lock);
        return mf_fail(l->context, MFRGN_ERROR_INTERNAL, "a batch after the epoch's last");
    }
    if (l->held) { /* what the caller had makes room */
        size_t before = l->next - 1;
        begin_batch(l, &l->slot[before % l->room], before + l->room);
        pthread_cond_broadcast(&l->changed);
        l->held = 0;
    }
    slot *s = &l->slot[l->next % l->room];
    while (!s->ready)
        pthread_cond_wait(&l->changed, &l->lock);
    if (s->status == MFRGN_OK) {
        l->next++;
        l->held = 1;
        l->replaced += s->replaced;
    }
    pthread_mutex_unlock(&l->lock);
    l->waited += seconds() - begin;
    if (s->status != MFRGN_OK)
        return mf_fail(l->context, s->status, "%s", s->error ? s->error : "out of memory");
    *batch = (mf_loaded_batch){{s->image[0], s->image[1]}, l->plan.batches->size, s->pair};
    return MFRGN_OK;
}

size_t mf_loader_replaced(const mf_loader *l) {
    return l->replaced;
}

double mf_loader_waited(const mf_loader *l) {
    return l->waited;
}

void mf_loader_stop(mf_loader *l) {
    if (!l)
        return;
    mfrgn_context *context = l->context;
    pthread_mutex_lock(&l->lock);
    l->stop = 1;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->threads; i++)
        pthread_join(l->worker[i].thread, NULL);
    for (int i = 0; i < MAX_LOADERS; i++)
        mf_augment_work_free(l->worker[i].work);
    for (size_t i = 0; l->slot && i < l->room; i++) {
        slot *s = &l->slot[i];
        for (int view = 0; view < 2; view++) {
            mf_free(context, s->pixels[view]);
            mf_free(context, s->image[view]);
        }
        mf_free(context, s->pair);
        mf_free(context, s->broken);
        mf_free(context, s->error);
    }
    mf_free(context, l->slot);
    mf_free(context, l->own_told[0]);
    mf_free(context, l->own_told[1]);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    mf_free(context, l);
    mfrgn_context_free(context);
}
