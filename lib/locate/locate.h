/* Locating: what the files of lib/locate/ share. */
#ifndef MFRGN_LOCATE_LOCATE_H
#define MFRGN_LOCATE_LOCATE_H

#include "gallery/search.h"
#include "mfrgn/locate.h"

enum {
    MF_POOL = 128, /* tiles that the softmax goes over */
    MF_MAX_K = 1024,
    MF_MAX_YAW = 360
};

/* ---- options ---- */
/* A checked copy with the defaults filled in; a camera's intrinsics are left to mfrgn_image_reproject(). */
mfrgn_status mf_locate_options(mfrgn_context *context, const mfrgn_locate_options *given, mfrgn_locate_options *o);
/* A searcher with the session's threads. */
mfrgn_status mf_session_searcher(mfrgn_session *session, mfrgn_searcher **searcher);
/* The best of a picture's rolls: its hits, and the roll. room: yaw_steps x k hits. */
mfrgn_status mf_search_rolls(const mfrgn_index *index, mfrgn_searcher *searcher, const float *queries, int yaw_steps,
                             size_t k, const mfrgn_filter *filter, mfrgn_hit *room, const mfrgn_hit **hits, int *step);

/* ---- calibration.c: the record in a gallery ---- */
typedef struct mf_calibration {
    int fitted;    /* 0: the defaults */
    uint32_t pool; /* tiles that the softmax goes over */
    uint32_t yaw_steps, precrop;
    double fov; /* of the camera; 0: panoramas; -1: given by intrinsics */
    double temperature, reach;
    double bias, score_weight, margin_weight;
} mf_calibration;

enum { MF_CALIBRATION_BYTES = 96 };

void mf_calibration_encode(const mf_calibration *c, unsigned char *bytes);
/* That of the gallery if it holds for these options, else the defaults. */
mfrgn_status mf_calibration_of(const mfrgn_index *index, const mfrgn_locate_options *o, mf_calibration *c);
double mf_camera_fov(const mfrgn_locate_options *o);
/* Softmax over the first of `pool` hits that are there, times reach; 0 for the others. Sorted, best first. */
void mf_softmax(const mfrgn_hit *hits, size_t n, const mf_calibration *c, double *probability);
double mf_in_gallery(const mf_calibration *c, double best, double margin);

/* ---- fit.c: fitting ---- */
/* A query of the validation set: its hits, and the rank of its true tile (SIZE_MAX: not among them). */
typedef struct mf_trial {
    const mfrgn_hit *hits;
    size_t count, truth;
    double best, margin;       /* of all hits */
    double no_best, no_margin; /* without the tiles that show its place; no_best NaN: no other tile */
} mf_trial;
/* Fits to the trials for which fold_of(i) != leave, the i-th being in fold i % folds; folds 0: to all. */
void mf_fit(const mf_trial *trial, size_t n, size_t folds, size_t leave, mf_calibration *c);
/* Expected calibration error of n forecasts, ten bins. */
double mf_ece(const double *forecast, const unsigned char *came_true, size_t n);

/* ---- place.c: from weighted points to an estimate ---- */
typedef struct mf_place {
    double latitude, longitude;
    double east_deviation, north_deviation; /* within the tile, metres */
    double weight;
} mf_place;
/* Sets position and covariance; weights need not sum to 1.  0: there is no weight. reach_m: what lies around the best.
 */
int mf_places_estimate(const mf_place *place, size_t n, double reach_m, mfrgn_estimate *e);
/* Of a tile's footprint: a uniform distribution; unknown ones count as 50 m. */
mf_place mf_place_of(const mfrgn_tile *tile, double weight);

/* ---- tracking ---- */
struct mfrgn_tracker {
    mfrgn_context *context;
    const mfrgn_index *index;
    size_t tiles;
    int headings;
    double temperature, lost;
    int temperature_given;        /* by the caller */
    double spacing;               /* metres between neighbouring tiles */
    double latitude0, longitude0; /* of the plane that positions lie in */
    double *east, *north;         /* of the tiles' centres */
    float *belief;                /* [headings x tiles], sums to 1 */
    float *off_east, *off_north;  /* where in its cell the belief's mean lies, metres from the centre */
    float *next, *next_east, *next_north;
    /* tiles by cells of a grid, `spacing` wide: those of cell i are order[first[i]] .. order[first[i + 1] - 1] */
    double west, south;
    size_t columns, rows;
    uint32_t *first, *order;
};
/* The belief's sum becomes 1; where nothing is left of it, it is everywhere. */
void mf_tracker_normalise(mfrgn_tracker *t);

#endif
