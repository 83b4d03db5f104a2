/* What the files that furnish blocks share. */
#ifndef MFRGN_DATA_WORLD_LOTS_H
#define MFRGN_DATA_WORLD_LOTS_H

#include "data/world/world.h"

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
enum { MF_STREET_TREES, MF_STREET_BIKES, MF_STREET_TRAM, MF_STREET_MEDIAN, MF_STREET_PARKING };
static inline int mf_street_has(const mf_edge *e, int feature) {
    return (int)(e->features >> feature & 1);
}

#endif
