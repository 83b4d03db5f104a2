/* SPDX-License-Identifier: Apache-2.0
 *
 * Data sets of ground and aerial pictures, and the published metrics.  Conventions as in mfrgn.h, coordinates as in
 * gallery.h.
 */
#ifndef MFRGN_EVALUATE_H
#define MFRGN_EVALUATE_H

#include "mfrgn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A data set on disk: lists of pictures, and which shows the place of which.  Immutable; shared by threads. */
typedef struct mfrgn_dataset mfrgn_dataset;

/* ---------------------------------------------------------------------------------------------- data sets ----- */

typedef struct mfrgn_dataset_options {
    size_t struct_size;   /**< sizeof(mfrgn_dataset_options) */
    const char *split;    /**< cvusa, cvact: train, val; cvact: test; vigor, u1652: train, test; pairs: any word of the
                               column "split".  NULL: the one that is evaluated (pairs: all rows but "train") */
    const char *protocol; /**< vigor: same, cross (NULL: same); u1652: published, which leaves out gallery pictures whose
                               id is no query's, or plain (NULL: published) */
    int corrected;        /**< vigor: 1: the lists in splits__corrected */
} mfrgn_dataset_options;

/** The name of data set `index`: cvusa, cvact, vigor, u1652, pairs; NULL past the last.  @since 0.1 */
MFRGN_API const char *mfrgn_dataset_name(int index);

/**
 * Reads the lists of a data set.  A pair with a picture that is not there is left out and counted.
 * @param name    [in] of mfrgn_dataset_name()
 * @param root    [in] its folder; pairs: the folder of pairs.csv, or the CSV
 * @param options [in] or NULL
 * @param dataset [out] to be freed with mfrgn_dataset_free()
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT, MFRGN_ERROR_IO, MFRGN_ERROR_FORMAT (names file and line),
 *         MFRGN_ERROR_UNSUPPORTED, MFRGN_ERROR_MEMORY
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_dataset_open(mfrgn_context *context, const char *name, const char *root,
                                          const mfrgn_dataset_options *options, mfrgn_dataset **dataset);
MFRGN_API void mfrgn_dataset_free(mfrgn_dataset *dataset);

typedef struct mfrgn_dataset_info {
    size_t struct_size;   /**< sizeof(mfrgn_dataset_info), set by the caller */
    const char *name;     /**< the texts are valid while the data set lives */
    const char *split;
    const char *protocol; /**< "" if there is only one */
    int sets;             /**< lists of pictures */
    int tasks;            /**< directions in which one list is searched for another */
    size_t missing;       /**< pictures that the lists name and that are not there */
} mfrgn_dataset_info;
MFRGN_API mfrgn_status mfrgn_dataset_get_info(const mfrgn_dataset *dataset, mfrgn_dataset_info *info);
/** The path of a picture that is not there; NULL past the last.  @since 0.1 */
MFRGN_API const char *mfrgn_dataset_missing(const mfrgn_dataset *dataset, size_t index);

typedef struct mfrgn_set_info {
    size_t struct_size; /**< sizeof(mfrgn_set_info), set by the caller */
    const char *name;   /**< "ground", "aerial"; u1652: "query_drone", .. */
    mfrgn_view view;
    size_t count;
} mfrgn_set_info;
MFRGN_API mfrgn_status mfrgn_dataset_get_set(const mfrgn_dataset *dataset, int set, mfrgn_set_info *info);

typedef struct mfrgn_sample {
    size_t struct_size; /**< sizeof(mfrgn_sample), set by the caller */
    const char *path;
    const char *id;
    int located; /**< 0: latitude and longitude are not known */
    double latitude;
    double longitude;
    int directed;   /**< 0: the heading is not known */
    double heading; /**< degrees clockwise from north, of a panorama's middle column */
} mfrgn_sample;
MFRGN_API mfrgn_status mfrgn_dataset_get_sample(const mfrgn_dataset *dataset, int set, size_t index,
                                                mfrgn_sample *sample);

typedef struct mfrgn_task_info {
    size_t struct_size; /**< sizeof(mfrgn_task_info), set by the caller */
    const char *name;   /**< "ground->aerial", "drone->satellite" */
    int query_set;
    int reference_set;
    size_t queries; /**< pictures of the query set that have a true reference */
} mfrgn_task_info;
MFRGN_API mfrgn_status mfrgn_dataset_get_task(const mfrgn_dataset *dataset, int task, mfrgn_task_info *info);
/**
 * The references that show a query's place.
 * @param truth, semi [out] numbers in the reference set, valid while the data set lives; semi-positives are VIGOR's
 *                    neighbouring tiles
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_dataset_get_truth(const mfrgn_dataset *dataset, int task, size_t query,
                                               const unsigned **truth, size_t *truth_count, const unsigned **semi,
                                               size_t *semi_count);

/* ---------------------------------------------------------------------------------------------- metrics ------- */

/** The figures of one direction.  Shares are in percent. */
typedef struct mfrgn_metrics {
    size_t struct_size; /**< sizeof(mfrgn_metrics), set by the caller */
    const char *task;   /**< "ground->aerial"; valid while the data set lives, or a constant */
    size_t queries;
    size_t references;
    double recall_1, recall_5, recall_10; /**< queries with fewer than k references strictly above the true one */
    double recall_percent;                /**< k = 1 % of the references, rounded down */
    double hit_rate; /**< queries with no reference above the true one but for its semi-positives */
    double ap;       /**< mean average precision, by the trapezoid rule */
    int has_semi;    /**< 0: there are no semi-positives; the hit rate is R@1 */
    int multiple;    /**< 1: queries have several true references; recalls count the best of them */
    size_t located;  /**< queries for which the distance of the first answer is known */
    double median_m; /**< of that distance, metres */
    double within_25, within_50, within_100; /**< shares of the located queries */
} mfrgn_metrics;

typedef struct mfrgn_evaluate_options {
    size_t struct_size;             /**< sizeof(mfrgn_evaluate_options) */
    int threads;                    /**< for counting ranks; 0: one a core */
    const char *cache;              /**< a folder for descriptors, keyed by model and data; or NULL */
    const mfrgn_progress *progress; /**< or NULL */
    /** Called when a stage begins: "ground", "ranks"; then progress counts from 0. Or NULL. */
    void (*stage)(void *user, const char *name, size_t total);
    /** Called for each picture that cannot be decoded, which is left out; NULL: the first is an error. */
    void (*skipped)(void *user, const char *path, const char *why);
    void *user;
    int all_true; /**< mfrgn_evaluate_files(): 1: a line of the labels holds all true rows (University-1652) */
} mfrgn_evaluate_options;

/**
 * Embeds the pictures of a data set and computes the metrics of each of its tasks.  Ranks are counted in one stream over
 * blocks: memory beside the descriptors stays small.  Scores are compared as f64 products of the f32 descriptors.
 * @param options [in] or NULL
 * @param metrics [in,out] `room` of them, struct_size set
 * @param count   [out] tasks
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_evaluate(mfrgn_session *session, const mfrgn_dataset *dataset,
                                      const mfrgn_evaluate_options *options, mfrgn_metrics *metrics, int room,
                                      int *count);

/**
 * The same from descriptors on disk, in both directions.
 * @param queries, references [in] .npy matrices of f32, a descriptor a row; memory-mapped
 * @param labels [in] a CSV, a line a query: the 0-based row of its true reference, then of its semi-positives; with
 *               all_true: all its true rows.  References that no line names are gallery only.
 * @return MFRGN_OK, MFRGN_ERROR_IO, MFRGN_ERROR_FORMAT, MFRGN_ERROR_MISMATCH (sizes), MFRGN_ERROR_NUMERIC (a value is
 *         NaN or infinite), MFRGN_ERROR_MEMORY, MFRGN_ERROR_CANCELLED
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_evaluate_files(mfrgn_context *context, const char *queries, const char *references,
                                            const char *labels, const mfrgn_evaluate_options *options,
                                            mfrgn_metrics *metrics, int room, int *count);

#ifdef __cplusplus
}
#endif

#endif
