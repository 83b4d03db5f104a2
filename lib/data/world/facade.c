/* Walls: windows, doors, shops. */
#include "data/world/world.h"

typedef struct wall {
    const mf_object *o;
    float u, z, width; /* along from the left corner, above the ground, averaged over */
    float length, height;
    uint64_t hash;
    float glass;
} wall;

static const mf_rgb pane = {.045f, .06f, .075f};

static float in_box(float x, float centre, float half, float soft) {
    return mf_clamp((half - fabsf(x - centre)) / soft + 0.5f, 0, 1);
}

static uint64_t window_hash(const wall *w, int bay, int floor) {
    return mf_mix2(w->hash, bay, floor);
}

/* Windows in a wall: bays of about `bay` metres, floors of 3.1. */
static mf_rgb punched(wall *w, float bay, float part_u, float part_z) {
    int bays = (int)(w->length / bay + 0.5f), floor = (int)mf_floor(w->z / 3.1f);
    mf_rgb c = w->o->wall;
    bays = bays < 1 ? 1 : bays;
    bay = w->length / (float)bays;
    int column = (int)mf_floor(w->u / bay);
    float u = w->u / bay - (float)column - 0.5f, z = w->z / 3.1f - (float)floor - 0.52f;
    float blur = mf_rise(w->width, 1.2f, 4), soft = w->width + 0.04f;
    if ((float)floor * 3.1f + 2.4f > w->height) /* gables */
        return c;
    float inside = in_box(u * bay, 0, part_u * bay / 2, soft) * in_box(z * 3.1f, 0, part_z * 1.55f, soft);
    float frame =
        in_box(u * bay, 0, part_u * bay / 2 + 0.14f, soft) * in_box(z * 3.1f, 0, part_z * 1.55f + 0.14f, soft);
    uint64_t h = window_hash(w, column, floor);
    mf_rgb g = pane;
    if (mf_unit(h, 0) < 0.25f) /* curtains */
        g = mf_blend(g, (mf_rgb){.5f, .47f, .4f}, 0.6f);
    c = mf_blend(c, mf_unit(w->o->hash, 5) < 0.6f ? (mf_rgb){.66f, .65f, .62f} : mf_scale(c, 0.6f), frame * (1 - blur));
    c = mf_blend(c, g, inside * (1 - blur));
    c = mf_blend(c, mf_blend(w->o->wall, pane, part_u * part_z), blur);
    w->glass = inside * (1 - blur) + blur * part_u * part_z;
    return c;
}

static mf_rgb ribbons(wall *w) {
    float z = mf_fraction(w->z / 3.4f), blur = mf_rise(w->width, 1, 4), soft = (w->width + 0.04f) / 3.4f;
    float glass = in_box(z, 0.55f, 0.27f, soft), post = mf_fraction(w->u / 1.6f) < 0.07f && w->width < 0.3f ? 0.5f : 1;
    glass = (glass * (1 - blur) + blur * 0.54f) * post;
    w->glass = glass;
    return mf_blend(w->o->wall, mf_blend(pane, (mf_rgb){.08f, .12f, .14f}, mf_unit(w->o->hash, 6)), glass);
}

static mf_rgb curtain(wall *w) {
    mf_rgb tint = mf_blend((mf_rgb){.05f, .09f, .13f}, (mf_rgb){.07f, .12f, .10f}, mf_unit(w->o->hash, 7));
    float u = mf_fraction(w->u / 1.8f), z = mf_fraction(w->z / 3.4f), gone = 1 - mf_rise(w->width, 0.6f, 2.5f);
    float bars = u < 0.06f || z < 0.05f ? 1.0f : z < 0.25f ? 0.35f : 0.0f;
    float cell = mf_unit(window_hash(w, (int)(w->u / 1.8f), (int)(w->z / 3.4f)), 0);
    bars = bars * gone + 0.12f * (1 - gone);
    w->glass = 1 - bars;
    return mf_blend(mf_scale(tint, 1 + (cell - 0.5f) * gone), w->o->wall, bars);
}

static mf_rgb works(wall *w) {
    float ribs = 1 - mf_rise(w->width, 0.15f, 0.5f);
    mf_rgb c = mf_scale(w->o->wall, 1 - 0.18f * ribs * (mf_fraction(w->u / 0.6f) < 0.5f));
    if (w->length > 7 && w->z > w->height - 1.5f && w->z < w->height - 0.6f && mf_unit(w->hash, 8) < 0.5f) {
        w->glass = 0.8f;
        return pane;
    }
    float bay = w->u - 8 * mf_floor(w->u / 8) - 4;
    if (fabsf(bay) < 1.8f && w->z < 3 && mf_unit(window_hash(w, (int)(w->u / 8), 0), 1) < 0.5f)
        return mf_scale((mf_rgb){.3f, .3f, .31f}, mf_fraction(w->z * 2) < 0.2f ? 0.8f : 1.1f); /* a gate */
    if (w->z < 0.9f)
        return mf_scale(c, 0.7f);
    return c;
}

static mf_rgb shops(wall *w) {
    static const mf_rgb sign[] = {{.5f, .06f, .05f}, {.06f, .2f, .45f}, {.55f, .4f, .06f},
                                  {.07f, .3f, .15f}, {.6f, .6f, .58f},  {.08f, .08f, .09f}};
    int bays = (int)(w->length / 6 + 0.5f);
    float bay = w->length / (float)(bays < 1 ? 1 : bays);
    int n = (int)mf_floor(w->u / bay);
    uint64_t h = window_hash(w, n, 77);
    float u = w->u - bay * ((float)n + 0.5f);
    if (w->z > 2.7f && w->z < 3.5f && fabsf(u) < bay * 0.47f)
        return sign[mf_pick(h, 2, 6)];
    if (w->z > 0.4f && w->z < 2.6f && fabsf(u) < bay * 0.43f) {
        w->glass = 0.8f;
        return mf_blend(pane, (mf_rgb){.5f, .42f, .28f}, 0.35f * mf_unit(h, 3));
    }
    return mf_scale(w->o->wall, 0.7f);
}

static mf_rgb door(const wall *w, mf_rgb c) {
    float at = w->length * mf_between(w->o->hash, 9, 0.3f, 0.7f);
    if (w->z < 2.2f && fabsf(w->u - at) < 0.55f)
        return mf_scale((mf_rgb){.3f, .16f, .1f}, 0.5f + mf_unit(w->o->hash, 10));
    return c;
}

mf_rgb mf_object_wall(const mf_scene *s, const mf_object *o, int face, float u, float z, float width, float *glass) {
    wall w = {.o = o, .z = z, .width = width, .length = 2 * (face < 2 ? o->hy : o->hx), .height = o->z1};
    mf_rgb c = o->wall;
    *glass = 0;
    w.u = u + w.length / 2;
    w.hash = mf_mix2(o->hash, face, 3);
    if (o->object != MF_BUILDING) {
        if (o->style == 2) /* a car's body: wheels below */
            return z < 0.45f ? mf_scale(c, 0.35f) : c;
        if (o->style == 3 && z > 0.95f && z < 1.36f) {
            *glass = 0.7f;
            return pane;
        }
        return o->style == 1 ? mf_scale(c, 0.5f + 0.8f * mf_noise(u * 3, z * 3, (int32_t)(o->hash & 0xff), 0)) : c;
    }
    float dirt = 0.9f + 0.15f * mf_noise(u * 0.5f, z * 0.4f, (int32_t)(o->hash & 0xffff), 0);
    if (o->front && z < 3.6f && o->z0 == 0 && o->style != 3)
        c = shops(&w);
    else if (o->style == 0)
        c = punched(&w, mf_between(o->hash, 4, 2.4f, 3.6f), mf_between(o->hash, 11, 0.32f, 0.5f), 0.55f);
    else if (o->style == 1)
        c = ribbons(&w);
    else if (o->style == 2)
        c = curtain(&w);
    else if (o->style == 3)
        c = works(&w);
    else
        c = punched(&w, mf_between(o->hash, 4, 3.0f, 4.4f), 0.36f, 0.42f);
    if ((o->style == 0 || o->style == 4) && !o->front && face >= 2)
        c = door(&w, c);
    if (z < 0.5f && !o->front)
        c = mf_scale(c, 0.75f);
    *glass = w.glass;
    (void)s;
    return mf_scale(c, dirt);
}
