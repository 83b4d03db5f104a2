/* Batches decoded and augmented ahead of the steps, by threads of their own. */
#ifndef MFRGN_TRAIN_LOADER_H
#define MFRGN_TRAIN_LOADER_H

#include "train/augment.h"
#include "train/sampler.h"

typedef struct mf_loader mf_loader;

typedef struct mf_loader_plan {
    const mf_train_pairs *pairs;
    const mf_batches *batches; /* both must outlive the loader */
    const mf_augment *augment; /* copied */
    mf_augment_size size[2];   /* inputs of the views */
    uint64_t seed, epoch;
    size_t first; /* the batch to begin with */
    int threads;  /* 0: as many as make sense on this machine */
    int ahead;    /* batches that are ready or being made, 1 or more */
    /* Of each picture: 1: it was told of as unreadable; kept from loader to loader.  NULL: told of once a loader. */
    unsigned char *told[2];
    /* Told of each picture that cannot be read, once; from any thread, one at a time.  Or NULL. */
    void (*skipped)(void *user, const char *path, const char *why);
    void *user;
} mf_loader_plan;

typedef struct mf_loaded_batch {
    const mfrgn_image *image[2]; /* views of `count` pictures each */
    size_t count;
    const uint32_t *pair; /* what is in it, after pairs with unreadable pictures were replaced */
} mf_loaded_batch;

mfrgn_status mf_loader_start(mfrgn_context *context, const mf_loader_plan *plan, mf_loader **loader);
/* The next batch, waited for; valid until the next call.  IO: no pair could be found in place of an unreadable one. */
mfrgn_status mf_loader_next(mf_loader *loader, mf_loaded_batch *batch);
/* Pairs that were replaced in the batches taken so far, and seconds spent waiting for them. */
size_t mf_loader_replaced(const mf_loader *loader);
double mf_loader_waited(const mf_loader *loader);
void mf_loader_stop(mf_loader *loader); /* NULL is fine */

#endif
