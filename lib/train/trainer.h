/* Weights in training. */
#ifndef MFRGN_TRAIN_TRAINER_H
#define MFRGN_TRAIN_TRAINER_H

#include <string.h>

#include "model/input.h"
#include "model/model.h"
#include "model/program.h"
#include "train/options.h"

/* Slots of the programs: the values of all parameters, then their gradients, then these; those of two are a view's. */
enum {
    MF_SLOT_IMAGE = 0,
    MF_SLOT_DESCRIPTOR = 2,
    MF_SLOT_DESCRIPTOR_GRADIENT = 4,
    MF_SLOT_KEY = 6,
    MF_SLOT_LOSS = 7,
    MF_SLOT_SEED = 8,
    MF_SLOT_EXTRA = 9
};

/* The arrays that a parameter has, in the order in which they lie in memory and in files. */
typedef enum mf_state { MF_STATE_VALUE, MF_STATE_M, MF_STATE_V, MF_STATE_AVERAGE, MF_STATE_COUNT } mf_state;

/* A literal in the backend's form. */
typedef struct mf_train_constant {
    struct mf_train_constant *link;
    void *data;
} mf_train_constant;

/* A batch of n pairs, planned.  Where a chunk is smaller than the batch, [0] is for whole chunks, [1] for what is left:
 * all chunks are embedded, the loss of the whole batch gives the descriptors' gradients, and each chunk is embedded
 * once more with its backward pass (GradCache, Gao et al., RepL4NLP 2021). */
typedef struct mf_train_plan {
    size_t n, chunk;
    mf_program whole; /* both views, loss, backward pass: where the chunk is the batch; else: */
    mf_program embed[2][2], backward[2][2], loss;
    mf_train_constant *constants;
    size_t arena_bytes; /* that the largest of the programs needs */
    double flops;
    struct mf_train_plan *link;
} mf_train_plan;

enum { MF_TRAIN_PLANS = 4 };

struct mfrgn_trainer {
    mfrgn_context *context;
    mfrgn_model *model; /* for its configuration and its table of parameters */
    mfrgn_train_options options;
    mf_engine engine;
    int frozen; /* the backbone */
    int joint;  /* a step of the whole batch computes the backbone of both views together */
    mfrgn_progress progress;

    size_t *start; /* of a parameter in each array, in values; [count]: all */
    void *state[MF_STATE_COUNT], *gradient; /* these, and all that slots point at, are the engine's memory */
    char *learnt;     /* a parameter: 1: it has a gradient */
    void *statistics; /* running ones, as they were before the step */
    mf_update_item *item;
    void **slot;

    mf_train_plan *plans;
    void *arena, *image[2], *descriptor[2], *descriptor_gradient[2];
    size_t arena_bytes, batch_room; /* pairs that the buffers of images and descriptors hold */
    mf_input_scratch scratch;
    float *staging; /* the host's memory for a view's images, where the engine's is not */
    void *key, *loss, *seed;
    double scale;             /* of the loss, so that gradients in f16 do not vanish; 1: none */
    unsigned long since_scale; /* steps since it changed */

    unsigned long step;
    double rate, last_rate, last_loss, last_norm, last_flops, last_scale;
};

static inline double mf_train_real(const mfrgn_trainer *t, mfrgn_train_key key) {
    return mf_train_option(&t->options, key)->real;
}

static inline size_t mf_train_value_size(const mfrgn_trainer *t) {
    return mf_dtype_size(t->engine.wide);
}

/* Parameter i in one of the arrays. */
static inline void *mf_train_at(const mfrgn_trainer *t, void *array, size_t i) {
    return (char *)array + t->start[i] * mf_train_value_size(t);
}

static inline int mf_train_is_backbone(const char *name) {
    return strncmp(name, "backbone.", 9) == 0 || strncmp(name, "model.", 6) == 0;
}

/* lib/train/trainer_info.c: one value of the engine's memory; between begin and end of the engine */
mfrgn_status mf_train_read(const mfrgn_trainer *trainer, const void *from, double *value);

/* lib/train/plan.c */
mfrgn_status mf_train_plan_get(mfrgn_trainer *trainer, size_t n, mf_train_plan **plan);
void mf_train_plan_free(mfrgn_trainer *trainer, mf_train_plan *plan);

#endif
