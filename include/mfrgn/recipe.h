/* SPDX-License-Identifier: Apache-2.0
 *
 * libmfrgn: recipes of training, and training runs by them.  A recipe holds every setting of a run: network, optimiser,
 * schedule, sampling, augmentation.  A run trains on a data set, evaluates, keeps the best and the last weights in its
 * folder, and goes on from there after any stop with the same bits.
 *
 * Errors, ownership and silence are as mfrgn.h says.  A recipe and a run are used by one thread at a time.
 */
#ifndef MFRGN_RECIPE_H
#define MFRGN_RECIPE_H

#include "evaluate.h"
#include "mfrgn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Every setting of a run. */
typedef struct mfrgn_recipe mfrgn_recipe;
/** A training run and its folder. */
typedef struct mfrgn_run mfrgn_run;

/* ---------------------------------------------------------------------------------------------- recipe -------- */

/** The name of preset `index`: cvusa, cvact, vigor, u1652, mfrgn+, ..; NULL past the last.  @since 0.3 */
MFRGN_API const char *mfrgn_recipe_preset_name(int index);
/** A line about preset `index`; NULL past the last.  @since 0.3 */
MFRGN_API const char *mfrgn_recipe_preset_about(int index);

/**
 * Creates a preset's recipe.
 * @param preset [in] of mfrgn_recipe_preset_name(); NULL: "cvusa", the published recipe
 * @param recipe [out] to be freed with mfrgn_recipe_free()
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT (the message lists the presets), MFRGN_ERROR_MEMORY
 * @since 0.3
 */
MFRGN_API mfrgn_status mfrgn_recipe_create(mfrgn_context *context, const char *preset, mfrgn_recipe **recipe);
/** A copy.  @since 0.3 */
MFRGN_API mfrgn_status mfrgn_recipe_copy(const mfrgn_recipe *recipe, mfrgn_recipe **copy);
/** Frees a recipe.  @since 0.3 */
MFRGN_API void mfrgn_recipe_free(mfrgn_recipe *recipe);

/** What is known of a setting. */
typedef struct mfrgn_recipe_key {
    size_t struct_size; /**< sizeof(mfrgn_recipe_key), set by the caller */
    const char *name;   /**< "group.name"; the texts are constants */
    const char *takes;  /**< "0 .. 1", "shuffle, gps, dss, gps+dss", "as in mfrgn_config_set()" */
    const char *help;   /**< a line */
    int affects;        /**< 0: how fast a run is (threads); 1: what comes out of it */
} mfrgn_recipe_key;
/** Tells of setting `index`; MFRGN_ERROR_ARGUMENT past the last.  @since 0.3 */
MFRGN_API mfrgn_status mfrgn_recipe_get_key(int index, mfrgn_recipe_key *key);

/**
 * Sets a setting from text, whatever its type.
 * @param name [in] "group.name", or the name alone where one group only has it
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT (the message names the setting and what it takes)
 * @since 0.3
 */
MFRGN_API mfrgn_status mfrgn_recipe_set(mfrgn_recipe *recipe, const char *name, const char *value);
/** A setting as text, valid until it is set or the recipe freed; NULL for an unknown one.  @since 0.3 */
MFRGN_API const char *mfrgn_recipe_get(const mfrgn_recipe *recipe, const char *name);

/**
 * Sets what a JSON file says: an object of groups, each an object of settings; numbers, texts, true and false.  A
 * "preset" beside the groups comes first, wherever it stands.  On failure the recipe is as before.
 * @return MFRGN_OK, MFRGN_ERROR_IO, MFRGN_ERROR_FORMAT (with the line), MFRGN_ERROR_ARGUMENT (names the setting)
 * @since 0.3
 */
MFRGN_API mfrgn_status mfrgn_recipe_read(mfrgn_recipe *recipe, const char *path);
/** Writes every setting as mfrgn_recipe_read() reads them, under a temporary name, and renames.  @since 0.3 */
MFRGN_API mfrgn_status mfrgn_recipe_write(const mfrgn_recipe *recipe, const char *path);

/** Takes a model's network into the recipe, to train that model on.  @since 0.3 */
MFRGN_API mfrgn_status mfrgn_recipe_set_network(mfrgn_recipe *recipe, const mfrgn_config *config);
/** The recipe's network, valid until a setting of it changes or the recipe is freed.  @since 0.3 */
MFRGN_API const mfrgn_config *mfrgn_recipe_network(const mfrgn_recipe *recipe);

/** Checks that the settings fit each other.  @return MFRGN_OK, MFRGN_ERROR_ARGUMENT (names both)  @since 0.3 */
MFRGN_API mfrgn_status mfrgn_recipe_validate(const mfrgn_recipe *recipe);

/* ---------------------------------------------------------------------------------------------- run ----------- */

/** A piece of a run's work. */
typedef enum mfrgn_run_stage {
    MFRGN_RUN_STEP = 0,       /**< a step was done */
    MFRGN_RUN_EVALUATION = 1, /**< the validation pictures were evaluated */
    MFRGN_RUN_EPOCH = 2,      /**< an epoch is over */
    MFRGN_RUN_FINISHED = 3    /**< nothing is left to do */
} mfrgn_run_stage;

/** What a run has just done. */
typedef struct mfrgn_run_event {
    size_t struct_size; /**< sizeof(mfrgn_run_event), set by the caller */
    mfrgn_run_stage stage;
    unsigned long epoch, epochs;  /**< epoch: counted from 1 */
    unsigned long batch, batches; /**< done of this epoch's */
    unsigned long step;           /**< steps done in all */
    double loss;                  /**< STEP: of this step; EPOCH: its mean */
    double learning_rate;
    double temperature;
    double gradient_norm;
    double pairs_per_second; /**< of the last steps */
    double seconds;          /**< spent by this process on the run */
    double seconds_left;     /**< of all steps that are left, without evaluations; < 0: not known */
    double wait_seconds;     /**< STEP: spent waiting for pictures */
    const mfrgn_metrics *metrics; /**< EVALUATION: `tasks` of them, valid until the next call; else NULL */
    int tasks;
    int best;                     /**< EVALUATION: 1: the best so far, kept */
    double best_recall;           /**< the best R@1 of the first task so far, percent; < 0: none */
    unsigned long best_epoch;
    unsigned long skipped;        /**< pictures that could not be read, so far in this process */
} mfrgn_run_event;

/** What a run works on, and who is told of it. */
typedef struct mfrgn_run_options {
    size_t struct_size;               /**< sizeof(mfrgn_run_options) */
    const mfrgn_dataset *train;       /**< its first task from ground to aerial pictures gives the pairs */
    const mfrgn_dataset *validation;  /**< or NULL: nothing is evaluated */
    const char *folder;               /**< of the run; made if it is not there */
    mfrgn_model *model;               /**< to begin with, of the recipe's network; NULL: seeded weights */
    const char *origin;               /**< a note where that model is from, for run.json; or NULL */
    int resume;                       /**< 1: go on from the folder's last checkpoint, or begin if it has none */
    const mfrgn_progress *progress;   /**< of the long stages (evaluation, similarities); may cancel them; or NULL */
    /** Called when such a stage begins: "ground", "ranks", "similarities". Or NULL. */
    void (*stage)(void *user, const char *name, size_t total);
    /** Called, from any thread, for each picture that cannot be read: its pair is replaced.  Or NULL. */
    void (*skipped)(void *user, const char *path, const char *why);
    void *user;
} mfrgn_run_options;

/**
 * Creates a run.  What its folder then holds:
 *   recipe.json           every setting
 *   run.json              library, data sets (path, split, hash), where the weights come from
 *   metrics.jsonl         a line a step, an evaluation, an epoch
 *   best.safetensors      the weights of the best R@1 so far
 *   last.safetensors      the weights of the last whole epoch
 *   last.json, last-*     the checkpoint: all that a resumed run needs
 * @param recipe  [in] copied
 * @param options [in] the data sets, the model and the progress callback must live as long as the run
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT (a folder that holds another run, a batch of fewer than 2 pairs, too few pairs),
 *         MFRGN_ERROR_MISMATCH (`resume`: a checkpoint of another recipe, network or data set: the message says what
 *         differs), MFRGN_ERROR_IO, MFRGN_ERROR_MEMORY, MFRGN_ERROR_BACKEND
 * @since 0.3
 */
MFRGN_API mfrgn_status mfrgn_run_create(mfrgn_context *context, const mfrgn_recipe *recipe,
                                        const mfrgn_run_options *options, mfrgn_run **run);
/** Frees a run; its folder keeps the last checkpoint.  @since 0.3 */
MFRGN_API void mfrgn_run_free(mfrgn_run *run);

/**
 * Does the next piece of work: a step, an evaluation or the end of an epoch.  After MFRGN_RUN_FINISHED it does nothing.
 * @param event [out] what was done
 * @return MFRGN_OK; MFRGN_ERROR_NUMERIC (the loss is not finite: the message names the step; the folder's last checkpoint
 *         is from before it); MFRGN_ERROR_CANCELLED (by the progress callback: the work is done again by the next call);
 *         MFRGN_ERROR_IO (no room to save: the old checkpoint is whole); those of mfrgn_train_step() and mfrgn_evaluate()
 * @since 0.3
 */
MFRGN_API mfrgn_status mfrgn_run_next(mfrgn_run *run, mfrgn_run_event *event);

/** Writes a checkpoint now: to be called before a run is given up between two pieces of work.  @since 0.3 */
MFRGN_API mfrgn_status mfrgn_run_checkpoint(mfrgn_run *run);

/** The model with the weights as they are now (their average, if the recipe keeps one); to be freed.  @since 0.3 */
MFRGN_API mfrgn_status mfrgn_run_model(const mfrgn_run *run, mfrgn_model **model);

/** What training takes. */
typedef struct mfrgn_run_cost {
    size_t struct_size;       /**< sizeof(mfrgn_run_cost), set by the caller */
    const char *backend;      /**< valid while the run lives */
    double flops;             /**< of the last step's products */
    size_t arena_bytes;       /**< activations and scratch of training */
    size_t state_bytes;       /**< weights, gradients, moments */
    size_t evaluation_bytes;  /**< activations, scratch and packed weights of the last evaluation; 0: none yet */
} mfrgn_run_cost;
/** Tells of it; zeros before the first step of this process.  @since 0.3 */
MFRGN_API mfrgn_status mfrgn_run_get_cost(const mfrgn_run *run, mfrgn_run_cost *cost);

/* ---------------------------------------------------------------------------------------------- backbones ----- */

/**
 * A model with a backbone from a file and the rest from a seed: ImageNet weights in timm's names (ConvNeXt),
 * torchvision's (ConvNeXt, ResNet) or those of ConvNeXt's authors, with or without their classifier; the backbone of an
 * MFRGN or of a Sample4Geo checkpoint.
 * @param path [in] .safetensors or .pth
 * @return MFRGN_OK, MFRGN_ERROR_IO, MFRGN_ERROR_FORMAT, MFRGN_ERROR_MISMATCH (names the tensor), MFRGN_ERROR_MEMORY
 * @since 0.3
 */
MFRGN_API mfrgn_status mfrgn_model_create_from_backbone(mfrgn_context *context, const mfrgn_config *config,
                                                        unsigned long seed, const char *path, mfrgn_model **model);

#ifdef __cplusplus
}
#endif

#endif
