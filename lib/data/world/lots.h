/* What the files that furnish blocks share. */
#ifndef MFRGN_DATA_WORLD_LOTS_H
#define MFRGN_DATA_WORLD_LOTS_H

#include "data/world/world.h"

/* A shape on the ground of a block, from its seed, along its axes: a pond, a pitch, a store. */
typedef struct mf_patch {
    float x, y, rx, ry;
} mf_patch;

mf_patch mf_block_patch(const mf_block *b);

/* Junctions reach so far in from the ends of a street. */
static inline float mf_junction(const mf_style *s) {
    return s->major + 1.5f;
}

/* From the carriageways of a block, metres; negative on one. */
static inline float mf_clear(const mf_block *b, float x, float y) {
    float least = 1e9f;
    for (int k = 0; k < b->edges; k++) {
        const mf_edge *e = &b->edge[k];
        float d = (x - b->x - e->mx) * e->nx + (y - b->y - e->my) * e->ny - e->half;
        least = d < least ? d : least;
    }
    return least;
}

/* Features of a street; `side` tells its sides apart. */
enum { MF_STREET_TREES, MF_STREET_BIKES, MF_STREET_TRAM, MF_STREET_MEDIAN, MF_STREET_PARKING, MF_STREET_CROSSING };
int mf_street_has(const mf_style *s, const mf_edge *e, int feature);

#endif
