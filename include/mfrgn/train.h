/* SPDX-License-Identifier: Apache-2.0
 *
 * libmfrgn: training.  A trainer holds a copy of a model's weights, its optimiser and its random state; a step takes a
 * batch of pairs.  Loss: symmetric InfoNCE with label smoothing and a learnt temperature; optimiser: AdamW (the
 * published recipe, after Sample4Geo's; docs/guide.md).
 *
 * Errors, ownership and silence are as mfrgn.h says.  A trainer is used by one thread at a time.
 */
#ifndef MFRGN_TRAIN_H
#define MFRGN_TRAIN_H

#include "mfrgn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Weights in training: values, gradients, moments, step, random state.  One thread at a time. */
typedef struct mfrgn_trainer mfrgn_trainer;
/** Settings of a trainer. */
typedef struct mfrgn_train_options mfrgn_train_options;

/** What can be set of a trainer.  In brackets the name of the key. */
typedef enum mfrgn_train_key {
    MFRGN_TRAIN_BACKEND = 0,   /**< [backend] as MFRGN_OPTION_BACKEND */
    MFRGN_TRAIN_THREADS = 1,   /**< [threads] as MFRGN_OPTION_THREADS */
    MFRGN_TRAIN_PRECISION = 2, /**< [precision] f32; f64 (backend ref); tf32, bf16, f16 (backend cuda): of feature maps and
                                    products; weights, moments and the loss are f32 */
    MFRGN_TRAIN_SEED = 3,      /**< [seed] 0 .. 2^31 - 1: of dropout */
    MFRGN_TRAIN_CHUNK = 4,     /**< [chunk] pairs embedded at a time, 0: the whole batch.  The loss is always of the
                                    whole batch (GradCache: embed all, loss, embed again in chunks) */
    MFRGN_TRAIN_RECOMPUTE = 5, /**< [recompute] 0 or 1: keep only the residual stream for the backward pass */
    MFRGN_TRAIN_DROPOUT = 6,   /**< [dropout] 0 .. 0.9, default 0.3: in the attention layers */
    MFRGN_TRAIN_LABEL_SMOOTHING = 7, /**< [label_smoothing] 0 .. 1, default 0.1 */
    MFRGN_TRAIN_LEARNING_RATE = 8,   /**< [learning_rate] default 1e-4 */
    MFRGN_TRAIN_BACKBONE_FACTOR = 9, /**< [backbone_factor] times the learning rate, for the backbone; 0: frozen */
    MFRGN_TRAIN_WEIGHT_DECAY = 10,   /**< [weight_decay] default 0.01 */
    MFRGN_TRAIN_DECAY_ALL = 11,      /**< [decay_all] 1 (default): also of biases, norms and the temperature */
    MFRGN_TRAIN_BETA1 = 12,          /**< [beta1] default 0.9 */
    MFRGN_TRAIN_BETA2 = 13,          /**< [beta2] default 0.999 */
    MFRGN_TRAIN_EPSILON = 14,        /**< [epsilon] default 1e-8 */
    MFRGN_TRAIN_CLIP_VALUE = 15,     /**< [clip_value] default 100; 0: none */
    MFRGN_TRAIN_CLIP_NORM = 16,      /**< [clip_norm] default 0: none */
    MFRGN_TRAIN_EMA = 17,            /**< [ema] 0 (default): none; else the decay of an average of the weights */
    MFRGN_TRAIN_DEVICE = 18,         /**< [device] as MFRGN_OPTION_DEVICE */
    MFRGN_TRAIN_TUNING = 19,         /**< [tuning] as MFRGN_OPTION_TUNING */
    MFRGN_TRAIN_LOSS_SCALE = 20,     /**< [loss_scale] what the loss is multiplied by for the backward pass; 0 (default): 1,
                                          but with f16 65536 at first, halved (and the step done again) where a gradient
                                          overflows, doubled after 2000 steps without */
    MFRGN_TRAIN_KEY_COUNT = 21
} mfrgn_train_key;

/** Creates the published recipe's options.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_train_options_create(mfrgn_context *context, mfrgn_train_options **options);
/** Frees options.  @since 0.1 */
MFRGN_API void mfrgn_train_options_free(mfrgn_train_options *options);
/** The name of a key, NULL for an unknown one.  @since 0.1 */
MFRGN_API const char *mfrgn_train_key_name(mfrgn_train_key key);
/** Sets a key from text, whatever its type.  @return MFRGN_OK, MFRGN_ERROR_ARGUMENT  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_train_options_set(mfrgn_train_options *options, mfrgn_train_key key, const char *value);
/** A key's value as text, valid until it is set or the options freed.  @since 0.1 */
MFRGN_API const char *mfrgn_train_options_get(const mfrgn_train_options *options, mfrgn_train_key key);

/**
 * Creates a trainer from a model, whose weights are copied.
 * @param model   [in] its configuration fixes the network and the sizes of the views
 * @param options [in] copied; NULL: the defaults
 * @param trainer [out] to be freed with mfrgn_trainer_free()
 * @return MFRGN_OK, MFRGN_ERROR_BACKEND, MFRGN_ERROR_MEMORY, MFRGN_ERROR_UNSUPPORTED, MFRGN_ERROR_NUMERIC (a weight that
 *         is not finite: the message names it)
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_trainer_create(mfrgn_model *model, const mfrgn_train_options *options,
                                            mfrgn_trainer **trainer);

/** Frees a trainer.  @since 0.1 */
MFRGN_API void mfrgn_trainer_free(mfrgn_trainer *trainer);

/**
 * One step: embeds both views in training mode, loss, gradients, clipping, AdamW.  A batch size that is new is planned
 * first; after that nothing is allocated.
 * @param ground, aerial [in] n images each, of any sizes and formats (resized and normalised as in mfrgn_embed());
 *                            pair i is ground[i] with aerial[i]
 * @param n    [in] pairs, at least 2
 * @param loss [out] of this batch, before the update; or NULL
 * @return MFRGN_OK; MFRGN_ERROR_ARGUMENT (fewer than 2 pairs, a bad image); MFRGN_ERROR_NUMERIC (the loss or a gradient
 *         is not finite); MFRGN_ERROR_MEMORY, MFRGN_ERROR_BACKEND, MFRGN_ERROR_CANCELLED.  After any of them the weights,
 *         running statistics and moments are as before the step
 * @since 0.1.  Source: the paper, section 3.5.
 */
MFRGN_API mfrgn_status mfrgn_train_step(mfrgn_trainer *trainer, const mfrgn_image *ground, const mfrgn_image *aerial,
                                        size_t n, float *loss);

/** Sets the learning rate of the steps that follow (a schedule's business is the caller's).  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_trainer_set_learning_rate(mfrgn_trainer *trainer, double rate);

/** Sets (NULL: removes) the callback that mfrgn_train_step() calls between operations.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_trainer_set_progress(mfrgn_trainer *trainer, const mfrgn_progress *progress);

/** What a trainer knows of its last step and of itself. */
typedef struct mfrgn_trainer_info {
    size_t struct_size;   /**< sizeof(mfrgn_trainer_info), set by the caller */
    const char *backend;  /**< valid while the trainer lives */
    unsigned long step;   /**< steps done */
    double loss;          /**< of the last step */
    double gradient_norm; /**< L2, of all gradients, before clipping */
    double temperature;   /**< exp(logit_scale) */
    double learning_rate; /**< that the last step used */
    double flops;         /**< floating-point operations of the last step's products, forward and backward */
    size_t arena_bytes;   /**< activations and scratch */
    size_t state_bytes;   /**< weights, gradients, moments, average */
} mfrgn_trainer_info;

/** Tells of a trainer.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_trainer_get_info(const mfrgn_trainer *trainer, mfrgn_trainer_info *info);

/**
 * A model with the weights as they are now.
 * @param average [in] 1: the exponential average of the weights (MFRGN_TRAIN_EMA)
 * @param model   [out] independent of the trainer; to be freed with mfrgn_model_free()
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_trainer_model(const mfrgn_trainer *trainer, int average, mfrgn_model **model);

/**
 * Reads a gradient of the last step as f32, before clipping.
 * @param name  [in] the tensor's name in the state dict
 * @param count [in] values that `values` holds; must be the tensor's
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_trainer_gradient(const mfrgn_trainer *trainer, const char *name, float *values,
                                              size_t count);

/**
 * Saves everything: weights, moments, average, step, random state, options; written under a temporary name and
 * renamed.  A trainer that is restored goes on with the same bits.
 * @param path [in] a safetensors file
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_trainer_save(const mfrgn_trainer *trainer, const char *path);

/**
 * Restores what mfrgn_trainer_save() wrote, but for the options: the bits are the same with the same options.  On failure
 * the trainer is as before.
 * @return MFRGN_OK, MFRGN_ERROR_IO, MFRGN_ERROR_FORMAT, MFRGN_ERROR_MISMATCH (of another network: the message says
 *         where they differ)
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_trainer_restore(mfrgn_trainer *trainer, const char *path);

#ifdef __cplusplus
}
#endif

#endif
