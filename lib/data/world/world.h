/* The synthetic world: a town without end, made of hashes.
 *
 * Plan: blocks are the Voronoi cells of a lattice of seeds that is turned, staggered and jittered by the city's style;
 * streets run along the cells' edges.  A block knows its streets, its kind (houses, park, ..) and from these its
 * buildings, trees and the look of its ground, wherever it is looked at from.  A scene is what lies around a point, in
 * metres east (x) and north (y) of an origin that is a multiple of 64 m.  Both views are rendered from scenes. */
#ifndef MFRGN_DATA_WORLD_WORLD_H
#define MFRGN_DATA_WORLD_WORLD_H

#include "base/base.h"
#include "data/world/number.h"
#include "io/image.h"
#include "mfrgn/synth.h"

typedef enum mf_block_kind {
    MF_ROWS,   /* houses wall to wall around a yard */
    MF_HOUSES, /* detached, with gardens */
    MF_TOWERS, /* offices on a podium or a square */
    MF_PARK,
    MF_PLAZA,
    MF_PARKING, /* and a store */
    MF_FIELD,
    MF_WATER,
    MF_INDUSTRY,
    MF_SPORT,
    MF_SCRUB, /* open ground of the climate: desert, heath */
    MF_KINDS
} mf_block_kind;

enum { MF_FACADES = 8, MF_ROOFS = 6 };

typedef struct mf_palette {
    int facades, roofs;
    mf_rgb facade[MF_FACADES], roof[MF_ROOFS];
} mf_palette;

typedef struct mf_style {
    const char *name, *summary;
    double latitude, longitude;
    float pitch_x, pitch_y, turn;                      /* lattice: metres, turns */
    float stagger, line_jitter, free_jitter;           /* in pitches */
    float minor, major, walk;                          /* half widths of carriageways, width of pavements */
    int major_every;                                   /* about one street line in so many is major */
    unsigned char centre[MF_KINDS], outside[MF_KINDS]; /* weights of kinds */
    float lot, depth, setback, gap;                    /* houses, metres */
    int floors_min, floors_max, tower_floors;
    unsigned char roof[3]; /* weights: flat, gabled, hipped */
    const mf_palette *palette;
    float street_trees, garden_trees; /* chances */
    unsigned char species[3];         /* weights: round, cone, palm */
    mf_rgb asphalt, paving, grass, soil, leaf, water;
    int yellow;               /* centre lines */
    float verge;              /* width of grass between carriageway and pavement */
    float haze, autumn, snow; /* haze: 0 .. 1; chances of seasons */
    float sun_low, sun_high;  /* elevation, turns */
} mf_style;

extern const mf_style mf_styles[];
extern const int mf_style_count;

enum { MF_EDGES = 12 };

/* A street along a block, seen from the block. */
typedef struct mf_edge {
    float nx, ny; /* unit, into the block */
    float mx, my; /* on the centre line, from the seed; along is 0 there */
    float tx, ty; /* along; the same from both sides of the street */
    float s0, s1; /* its ends, along */
    float half;
    uint64_t hash; /* the same from both sides */
    int side, major;
    unsigned features; /* bits MF_STREET_.. */
    int lots;          /* so many, each lot_width wide, from lot_from on */
    float lot_from, lot_width;
} mf_edge;

/* A shape on the ground of a block, from its seed, along its axes: a pond, a pitch. */
typedef struct mf_patch {
    float x, y, rx, ry;
} mf_patch;

typedef struct mf_block {
    int i, j;
    mf_block_kind kind;
    uint64_t hash;
    float x, y;   /* the seed in the scene */
    float ax, ay; /* its main direction */
    float inner;  /* the largest distance from the seed to all pavements */
    mf_patch patch;
    int edges;
    mf_edge edge[MF_EDGES];
} mf_block;

typedef enum mf_object_kind { MF_BUILDING, MF_BOX, MF_CROWN, MF_CONE, MF_PALM, MF_POLE } mf_object_kind;
typedef enum mf_roof { MF_FLAT, MF_GABLED, MF_HIPPED } mf_roof;

typedef struct mf_object {
    unsigned char object, roof, style; /* style: of facades */
    unsigned char front;               /* buildings: shops in the ground floor */
    float x, y, ax, ay, hx, hy;        /* centre, unit axis of the first half size, half sizes; round ones: radius hx */
    float z0, z1, zr;                  /* bottom, eaves, ridge */
    mf_rgb wall, top;
    uint32_t hash;
    float distance; /* of its centre to the viewer */
} mf_object;

/* Light, season and camera of one picture. */
typedef struct mf_look {
    uint64_t hash;
    float sun_x, sun_y, sun_z;        /* unit, to the sun */
    mf_rgb sun, sky, zenith, horizon; /* light; colours of the sky */
    mf_rgb gain;                      /* exposure and white balance */
    float haze;                       /* metres to half */
    mf_rgb leaf_tint;
    float autumn, dry, snow; /* 0 .. 1 */
    float cloud;
} mf_look;

/* Heights above the ground and of the tops of shadows, on a grid. */
typedef struct mf_shade {
    int size;         /* cells a side */
    float cell, x, y; /* metres; its south-west corner */
    float *height, *top;
} mf_shade;

typedef struct mf_scene {
    const struct mfrgn_world *world;
    const mf_style *style;
    mf_look look;
    int32_t ox, oy; /* the origin, metres, multiples of 64 */
    int i0, j0, ni, nj;
    mf_block *block;      /* ni x nj of the lattice */
    const mf_block *last; /* where the ground was looked at last */
    mf_object *object;
    size_t objects, object_room;
    mf_shade shade;
    mfrgn_status status;
} mf_scene;

struct mfrgn_world {
    mfrgn_context *context;
    const mf_style *style;
    uint64_t hash;
    double latitude, longitude; /* of its origin */
};

/* ---- plan.c ---- */
void mf_plan_seed(const mfrgn_world *w, int i, int j, double *x, double *y);
/* The lattice cell around a point (of the seeds; the block may be a neighbour). */
void mf_plan_cell(const mfrgn_world *w, double x, double y, int *i, int *j);
/* Everything of a block except its place in a scene. */
void mf_plan_block(const mfrgn_world *w, int i, int j, mf_block *b);
/* The block in which a point lies, made anew; x, y are set from the point: it is at (0, 0). */
void mf_plan_find(const mfrgn_world *w, double x, double y, mf_block *b);

/* ---- scene.c ---- */
mfrgn_status mf_scene_open(mf_scene *s, const mfrgn_world *w, double x, double y, float radius, const mf_look *look);
void mf_scene_close(mf_scene *s);
mf_object *mf_scene_add(mf_scene *s, const mf_object *o);
/* The block at a point of the scene; NULL beyond it. */
const mf_block *mf_scene_block(mf_scene *s, float x, float y);

/* ---- lots.c, props.c ---- */
void mf_lots_fill(mf_scene *s, const mf_block *b);
void mf_props_fill(mf_scene *s, const mf_block *b);

/* What follows from a block's streets and kind: features, lots, the patch. */
void mf_lots_prepare(const mf_style *style, mf_block *b);

/* ---- ground.c ---- */
/* The reflectance of the ground at a point; `width`: metres that are to be averaged; *wet: share of mirrored sky. */
mf_rgb mf_ground(mf_scene *s, float x, float y, float width, float *wet);

/* ---- objects.c ---- */
float mf_object_height(const mf_object *o, float x, float y); /* -1: beside it */
mf_rgb mf_object_top(const mf_scene *s, const mf_object *o, float x, float y, float width, float normal[3]);
mf_rgb mf_object_wall(const mf_scene *s, const mf_object *o, int face, float u, float z, float width, float *glass);

/* ---- light.c ---- */
void mf_look_make(mf_look *l, const mf_style *style, uint64_t hash, int aerial);
mf_rgb mf_light(const mf_look *l, mf_rgb albedo, float nx, float ny, float nz, float lit, float open);
mf_rgb mf_sky(const mf_scene *s, float dx, float dy, float tangent);
void mf_develop(const mf_look *l, mf_rgb light, unsigned char *to);

/* ---- shade.c ---- */
mfrgn_status mf_shade_make(mf_scene *s, float x, float y, int size, float cell);
float mf_shade_lit(const mf_scene *s, float x, float y, float z); /* 0: in shadow, 1: in the sun */

/* ---- aerial.c, panorama.c ---- */
mfrgn_status mf_render_aerial(mf_scene *s, float x, float y, float side, mfrgn_bitmap *bitmap);
mfrgn_status mf_render_ground(mf_scene *s, float x, float y, float eye, float heading, float fov, mfrgn_bitmap *bitmap);

#endif
