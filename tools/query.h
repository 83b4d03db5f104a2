/* SPDX-License-Identifier: Apache-2.0 */
/* What locate, track and index calibrate share: how queries are made, where they are looked for, and their answers. */
#ifndef MFRGN_TOOLS_QUERY_H
#define MFRGN_TOOLS_QUERY_H

#include <mfrgn/locate.h>

#include "common.h"

typedef struct query_options {
    const char *index;
    long k, yaw;
    int prior;
    double latitude, longitude, radius;
    int has_fov, has_intrinsics, has_pose, unverified;
    mfrgn_camera camera;
} query_options;

/* Rows of a table of options. */
#define QUERY_INDEX                                                                                                    \
    { "index", 'i', "FILE", "the gallery (needed)" }
#define QUERY_YAW                                                                                                      \
    { "yaw", 0, "N", "unknown heading: roll the panorama N times, keep the best (1)" }
#define QUERY_PRIOR                                                                                                    \
    { "prior", 0, "LAT,LON,RADIUS", "look only within RADIUS metres of this position" }
#define QUERY_CAMERA                                                                                                   \
    {"fov", 0, "DEG", "a camera of this horizontal field of view (beyond what the paper trained)"},                    \
        {"intrinsics", 0, "FX,FY,CX,CY", "the same by focal lengths and centre, in pixels of the picture"},            \
        {"pitch", 0, "DEG", "of such a camera: it looks up by this (0)"}, {                                            \
        "roll", 0, "DEG", "of such a camera: it is turned clockwise by this (0)"                                       \
    }
#define QUERY_VERIFY                                                                                                   \
    { "no-verify", 0, NULL, "do not compare the gallery's checksums first" }

void query_begin(query_options *q);
/* 0, TOOL_USAGE after a message, or -1: not one of these options. */
int query_take(query_options *q, const char *name, const char *value);
/* -1, or TOOL_USAGE after a message. */
int query_check(const query_options *q, const tool_options *options);
/* The gallery, every checksum compared; NULL after a message. */
mfrgn_index *query_open(mfrgn_context *context, const query_options *q);
/* The library's options; they point into `q`. */
mfrgn_locate_options query_locate(const query_options *q, const tool_options *options);

/* A number within bounds; a message and 0 if it is not one. */
int query_number(const char *option, const char *text, double minimum, double maximum, double *value);

/* A picture; a message and NULL if it cannot be read. */
mfrgn_bitmap *query_picture(mfrgn_context *context, const char *path);

/* ---- answers ---- */
typedef struct query_answer {
    const char *path;
    mfrgn_estimate estimate;
    mfrgn_candidate *candidate; /* `count` of them; `shown` go into tables */
    size_t count, shown;
    int has_truth;
    double latitude, longitude; /* the truth */
} query_answer;

/* Metres east and north of a point. */
void query_metres(double latitude0, double longitude0, double latitude, double longitude, double *east, double *north);
/* 1: the truth lies in the tile; 0: it does not; -1: not known. */
int query_is_true(const query_answer *answer, const mfrgn_tile *tile);
mfrgn_tile query_tile(const mfrgn_index *index, size_t tile);
/* The last part of a path. */
const char *query_name(const char *path);
/* How many parts two paths have in common at their ends: 2 of "a/b/c.png" and "x/b/c.png". */
size_t query_common(const char *a, const char *b);

typedef enum query_format { QUERY_TABLE, QUERY_JSON, QUERY_GEOJSON, QUERY_KML, QUERY_CSV } query_format;
void query_print(FILE *file, query_format format, const mfrgn_index *index, const query_answer *answers, size_t count);

/* ---- pictures of answers ---- */
typedef struct query_pictures {
    mfrgn_context *context;
    const mfrgn_index *index;
    const char *index_path;
    const mfrgn_tiles *tiles; /* or NULL: tiles are files */
    const char *model;        /* for the report */
} query_pictures;

/* A PNG to be freed; NULL after a message.  headings: the names and positions above the pictures. */
unsigned char *mosaic_make(const query_pictures *p, const query_answer *answers, size_t count, int headings,
                           size_t *size);
/* 0 after a message. */
int report_write(FILE *file, const query_pictures *p, const query_answer *answers, size_t count);
/* SVG: the candidates on a grid of coordinates; the probabilities of tiles. */
void plot_candidates(FILE *file, const mfrgn_index *index, const query_answer *answer);
void plot_posterior(FILE *file, const mfrgn_index *index, const query_answer *answer);
/* Text for HTML, KML: & < > and quotes escaped. */
void report_text(FILE *file, const char *text);

#endif
