/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn synth: what its parts share. */
#ifndef MFRGN_TOOLS_SYNTH_H
#define MFRGN_TOOLS_SYNTH_H

#include <mfrgn/synth.h>

#include "common.h"

typedef enum synth_layout { SYNTH_PAIRS, SYNTH_CVUSA, SYNTH_VIGOR } synth_layout;

enum { SYNTH_CITIES = 16 };

typedef struct synth_options {
    const char *out;
    char *cities; /* the text that city[] points into */
    const char *city[SYNTH_CITIES];
    int city_count;
    long pairs, tests, seed, day, threads;
    int aerial_width, aerial_height, ground_width, ground_height;
    double size, spacing, offset, fov;
    int random_heading, resume, list;
    synth_layout layout;
} synth_options;

/* A picture to be made. */
typedef struct synth_picture {
    const mfrgn_world *world;
    mfrgn_view view;
    mfrgn_shot shot;
    char *path; /* whole */
} synth_picture;

typedef struct synth_plan {
    const synth_options *options;
    mfrgn_context *context;
    mfrgn_world *world[SYNTH_CITIES];
    synth_picture *picture;
    size_t count, room;
} synth_plan;

/* Lists the pictures and writes the data set's lists (after the pictures: `write`).  0 after a message. */
int synth_lay_out(synth_plan *plan, int write);
/* Makes the pictures.  0 after a message, or after a signal. */
int synth_make(synth_plan *plan, int quiet);
void synth_free(synth_plan *plan);

#endif
