/* SPDX-License-Identifier: Apache-2.0
 *
 * Where was this photograph taken?  One answer from pictures and a gallery, its calibration, and the track of a moving
 * camera.  Conventions as in mfrgn.h, coordinates as in gallery.h.
 *
 * The heading of a panorama is that of its middle column, in degrees clockwise from north.
 */
#ifndef MFRGN_LOCATE_H
#define MFRGN_LOCATE_H

#include "gallery.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Answers of mfrgn_locate(): an estimate and candidates for each query.  Immutable; shared by threads. */
typedef struct mfrgn_location mfrgn_location;

/* ---------------------------------------------------------------------------------------------- images -------- */

/** A pinhole camera and how it is held. */
typedef struct mfrgn_camera {
    size_t struct_size;  /**< sizeof(mfrgn_camera) */
    double fov;          /**< horizontal field of view, degrees, 0 < fov < 180; 0: fx .. cy say it */
    double fx, fy;       /**< focal lengths, pixels; fy 0: as fx */
    double cx, cy;       /**< the principal point, pixels from the picture's upper left corner; 0, 0: its middle */
    double yaw;          /**< degrees clockwise from the panorama's middle column */
    double pitch;        /**< degrees, up is positive */
    double roll;         /**< degrees, clockwise seen from behind the camera is positive */
    double vertical_fov; /**< of the panorama, degrees, the horizon in its middle; 0: 360 * height / width */
} mfrgn_camera;

/**
 * Draws a pinhole picture into the canvas of an equirectangular panorama, bilinearly.  What the camera does not see
 * gets the mean colour of the network's normalisation.  A picture finer than the canvas is brought to about its
 * resolution first (INTER_AREA).
 * @param image  [in] any format
 * @param camera [in]
 * @param bitmap [in,out] of the canvas' size (mfrgn_bitmap_create()); untouched on failure
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT, MFRGN_ERROR_MEMORY
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_image_reproject(mfrgn_context *context, const mfrgn_image *image,
                                             const mfrgn_camera *camera, mfrgn_bitmap *bitmap);

/**
 * Turns a panorama: column x of the result is column (x + columns) mod width of the image.
 * @param image   [in] RGB8, BGR8, RGBA8 or GRAY8
 * @param columns [in] any number, also negative
 * @param bitmap  [in,out] of the image's size
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT, MFRGN_ERROR_UNSUPPORTED (MFRGN_PIXEL_RGB_F32)
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_image_roll(mfrgn_context *context, const mfrgn_image *image, long columns,
                                        mfrgn_bitmap *bitmap);

/* ---------------------------------------------------------------------------------------------- locating ------ */

/** The temperature of the softmax over scores where a gallery is not calibrated: that with which training begins. */
#define MFRGN_DEFAULT_TEMPERATURE 0.07

typedef struct mfrgn_locate_options {
    size_t struct_size; /**< sizeof(mfrgn_locate_options) */
    size_t k;           /**< candidates of an answer, 1 .. 1024; 0: 5 */
    int yaw_steps;      /**< 1 .. 360: the panorama is rolled so many times, and the best is kept; 0: 1 */
    double latitude, longitude, radius_m; /**< radius_m > 0: only tiles whose centre lies within the radius */
    const mfrgn_camera *camera;           /**< or NULL: pictures are panoramas */
    int precrop; /**< mfrgn_locate_descriptors(): how the queries were made; else the session's is taken */
} mfrgn_locate_options;

/** A tile of an answer. */
typedef struct mfrgn_candidate {
    size_t struct_size; /**< sizeof(mfrgn_candidate), set by the caller */
    size_t tile;        /**< in the gallery */
    float score;        /**< cosine similarity */
    double probability; /**< that the place is in this tile, if it is in the gallery; 0 past those that are compared */
} mfrgn_candidate;

/** Where a query was taken. */
typedef struct mfrgn_estimate {
    size_t struct_size; /**< sizeof(mfrgn_estimate), set by the caller */
    int located;        /**< 0: no tile was found, or none that has coordinates: nothing below but calibrated holds */
    double latitude;    /**< the mean of the most probable tile and of the candidates around it */
    double longitude;
    double east_m2, north_m2, east_north_m2; /**< covariance: squared error that is to be expected, over all candidates
                                                   and within tiles, if the place is in the gallery */
    int calibrated;     /**< 0: probabilities are those of the default temperature: orders, not frequencies */
    double temperature; /**< of the softmax over scores */
    double in_gallery;  /**< probability that the place is in the gallery at all; NaN: not known (not calibrated) */
    int has_heading;    /**< 1: yaw_steps > 1 */
    double heading;     /**< degrees, 0 .. 360 */
    int yaw_step;       /**< the roll that was the best: columns = yaw_step * width / yaw_steps */
    size_t candidates;  /**< at most k, less if fewer tiles are looked at */
} mfrgn_estimate;

/**
 * Where were pictures taken?  Embeds them as ground views, searches the gallery, weighs the best tiles.
 *
 * Probabilities are a softmax of score / temperature over the best 128 tiles.  A gallery's calibration holds for
 * queries made in the same way (yaw_steps, precrop, the camera's field of view); for others `calibrated` is 0.
 *
 * @param index    [in] built by the session's model
 * @param images   [in] n panoramas (or with a camera: pictures), any sizes and formats
 * @param options  [in] or NULL
 * @param location [out] to be freed with mfrgn_location_free()
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT, MFRGN_ERROR_MISMATCH (a gallery of another model: both are named), and those
 *         of mfrgn_embed() and mfrgn_index_search().  Messages are at the index' context.
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_locate(const mfrgn_index *index, mfrgn_session *session, const mfrgn_image *images,
                                    size_t n, const mfrgn_locate_options *options, mfrgn_location **location);

/**
 * The same from descriptors.
 * @param queries [in] n x yaw_steps x size f32, those of a picture's rolls together
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_locate_descriptors(const mfrgn_index *index, mfrgn_searcher *searcher,
                                                const float *queries, size_t n, const mfrgn_locate_options *options,
                                                mfrgn_location **location);

/**
 * The descriptors that mfrgn_locate() makes of pictures.
 * @param descriptors [out] n x yaw_steps x mfrgn_model_descriptor_size()
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_locate_embed(mfrgn_session *session, const mfrgn_image *images, size_t n,
                                          const mfrgn_locate_options *options, float *descriptors);

MFRGN_API void mfrgn_location_free(mfrgn_location *location);
/** The number of queries.  @since 0.1 */
MFRGN_API size_t mfrgn_location_count(const mfrgn_location *location);
MFRGN_API mfrgn_status mfrgn_location_get(const mfrgn_location *location, size_t query, mfrgn_estimate *estimate);
/** Candidate `rank` of a query, 0 being the best.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_location_candidate(const mfrgn_location *location, size_t query, size_t rank,
                                                mfrgn_candidate *candidate);

/* ---------------------------------------------------------------------------------------------- calibration --- */

/** What a calibration found.  Errors are of queries that took no part in fitting (cross-validation). */
typedef struct mfrgn_calibration {
    size_t struct_size; /**< sizeof(mfrgn_calibration), set by the caller */
    size_t queries;
    size_t found;       /**< queries whose true tile is among the tiles that are compared */
    int folds;          /**< of the cross-validation; 0: too few queries for one, errors are NaN */
    double temperature;
    double reach;       /**< probability that the true tile is among those that are compared, if it is in the gallery */
    double bias, score_weight, margin_weight; /**< P(in gallery) = 1 / (1 + exp(-(bias + score_weight * best score +
                                                   margin_weight * (best score - second)))) */
    double accuracy;       /**< share of queries whose best tile is the true one */
    double ece_before;     /**< expected calibration error of the best tile's probability, 10 bins: uncalibrated */
    double ece_after;      /**< calibrated */
    double loss_before;    /**< mean -log probability of the true tile, of the queries found */
    double loss_after;
    double ece_in_gallery; /**< expected calibration error of "the place is in the gallery" */
} mfrgn_calibration;

/**
 * Fits the probabilities to queries whose tiles are known, and keeps them in the gallery's file, which is written anew:
 * the temperature by maximum likelihood of the true tiles (with a weak prior round the default), and a logistic model of
 * "the place is in the gallery" from the best score and its margin.  Its negatives are the same queries without the
 * tiles that show their place.
 * @param index   [in] stays as it was opened; mfrgn_index_open() again takes the calibration up
 * @param queries [in] n x yaw_steps x size f32
 * @param truth   [in] n tile numbers
 * @param options [in] how the queries were made (yaw_steps, camera's field of view, precrop); or NULL
 * @param found   [in,out] or NULL
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT (also fewer than 5 queries, or no wrong tile to compare with),
 *         MFRGN_ERROR_NUMERIC, MFRGN_ERROR_IO (also another process that is writing the gallery), MFRGN_ERROR_MISMATCH
 *         (the gallery has been changed since it was opened), MFRGN_ERROR_MEMORY
 * @since 0.1.  Source: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (temperature, ECE).
 */
MFRGN_API mfrgn_status mfrgn_index_calibrate(const mfrgn_index *index, mfrgn_searcher *searcher, const float *queries,
                                             const size_t *truth, size_t n, const mfrgn_locate_options *options,
                                             mfrgn_calibration *found);

/* ---------------------------------------------------------------------------------------------- tracking ------ */

typedef struct mfrgn_tracker_options {
    size_t struct_size; /**< sizeof(mfrgn_tracker_options) */
    double latitude, longitude, radius_m; /**< radius_m > 0: the start lies within (a Gaussian of this deviation) */
    double heading, heading_error;        /**< heading_error > 0: the start's heading, degrees; else unknown */
    int headings;       /**< directions that are told apart, 4 .. 360; 0: 24 */
    double temperature; /**< > 0: of the scores; 0: the gallery's calibration, or MFRGN_DEFAULT_TEMPERATURE */
    double lost;        /**< probability, at each update, that the image says nothing, 0 .. 1; 0: 0.01 */
} mfrgn_tracker_options;

/** A motion: a turn on the spot, then straight on. */
typedef struct mfrgn_motion {
    size_t struct_size;    /**< sizeof(mfrgn_motion) */
    double distance_m;     /**< negative: backwards */
    double distance_error; /**< standard deviation, metres; 0: 10 % of the distance and 0.5 m */
    double turn;           /**< degrees clockwise */
    double turn_error;     /**< standard deviation, degrees; 0: 10 % of the turn and 1 degree */
} mfrgn_motion;

/**
 * A belief over the gallery's tiles and the directions of travel: a histogram filter.  All tiles must have coordinates.
 * @param options [in] or NULL: anywhere in the gallery, any heading
 * @param tracker [out] keeps the index' data in use: free it before the index
 * @since 0.1.  Source: S. Thrun et al., "Probabilistic Robotics", 2005, chapter 4.1.
 */
MFRGN_API mfrgn_status mfrgn_tracker_create(const mfrgn_index *index, const mfrgn_tracker_options *options,
                                            mfrgn_tracker **tracker);
MFRGN_API void mfrgn_tracker_free(mfrgn_tracker *tracker);
/** The camera has moved.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_tracker_move(mfrgn_tracker *tracker, const mfrgn_motion *motion);
/**
 * The camera has seen something.
 * @param scores    [in] yaw_steps x tiles: of each roll of the panorama with each tile
 * @param yaw_steps [in] 1: the panorama has been turned north, or says nothing of the heading
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_tracker_update(mfrgn_tracker *tracker, const float *scores, int yaw_steps);
/** The same from a picture.  Of the options yaw_steps and camera are taken.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_tracker_update_image(mfrgn_tracker *tracker, mfrgn_session *session,
                                                  const mfrgn_image *image, const mfrgn_locate_options *options);
/** Where the camera is.  in_gallery is NaN, candidates is 0; the heading is that of travel.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_tracker_estimate(const mfrgn_tracker *tracker, mfrgn_estimate *estimate);
/** The probability of each tile.  @param probabilities [out] a value a tile  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_tracker_belief(const mfrgn_tracker *tracker, double *probabilities);

#ifdef __cplusplus
}
#endif

#endif
