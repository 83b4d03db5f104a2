#ifndef MFRGN_MODEL_MODEL_H
#define MFRGN_MODEL_MODEL_H

#include <pthread.h>

#include "model/engine.h"
#include "model/network.h"

/* A constant in the form that a backend reads, shared by all that ask for the same. */
typedef struct mf_packed {
    char *key;
    const mf_loaded *backend; /* whose memory `data` is */
    void *data;
    size_t bytes;
    int references;
    int ready; /* 0 while the first one to ask makes it; -1: that failed */
    struct mf_packed *link;
} mf_packed;

struct mfrgn_model {
    mfrgn_context *context;
    int references;
    mfrgn_config *config;
    mf_parameters parameters;
    mf_weights *weights; /* what the values lie in: a file, */
    void *memory;        /* or memory of our own */
    double flops[2];
    pthread_mutex_t lock; /* the list below */
    pthread_cond_t made;
    mf_packed *packed;
    uint64_t digest; /* mf_model_digest(), 0: not yet made */
};

mfrgn_model *mf_model_ref(mfrgn_model *model);

/* 1: the shapes are the same but for ones at their ends: timm's small ConvNeXts store linear layers as 1x1
 * convolutions, torchvision's layer_scale is [C, 1, 1], a scalar may be [1]. */
int mf_parameter_fits(const mf_parameter *p, const mf_weight *w);

/* Finds the constant `key` or makes it: `make` fills `bytes` bytes of the engine's memory.  Given back with
 * mf_packed_release. */
typedef mfrgn_status (*mf_make)(void *user, void *data);
mfrgn_status mf_packed_get(mfrgn_model *model, const mf_engine *engine, const char *key, size_t bytes, mf_make make,
                           void *user, mf_packed **packed);
void mf_packed_release(mfrgn_model *model, mf_packed *packed);

/* lib/model/digest.c: a hash of the configuration and of every parameter's stored values, made when first asked for;
 * the same for the same model in files of either format. */
mfrgn_status mf_model_digest(mfrgn_model *model, int threads, uint64_t *digest);

/* lib/model/initialise.c: values of all parameters from a seed, as the published code initialises. */
void mf_initialise(const mf_parameters *parameters, uint64_t seed, float *values);

#endif
