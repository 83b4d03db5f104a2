/* What stands on a block: buildings, their gardens, trees. */
#include "data/world/lots.h"

typedef struct filler {
    mf_scene *s;
    const mf_block *b;
    size_t first; /* of the block's buildings */
    float margin; /* pavement and verge */
} filler;

static unsigned features_of(const mf_style *s, const mf_edge *e) {
    int trees = mf_unit(e->hash, 20 + 8 * e->side) < s->street_trees;
    int bikes = e->half > 3.6f && mf_unit(e->hash, 21) < 0.25f;
    int tram = e->major && mf_unit(e->hash, 22) < 0.25f;
    int median = e->major && e->half > 6 && mf_unit(e->hash, 23) < 0.45f && !tram;
    int parking = e->half > 3.5f && !bikes && mf_unit(e->hash, 40 + e->side) < 0.5f;
    return (unsigned)(trees << MF_STREET_TREES | bikes << MF_STREET_BIKES | tram << MF_STREET_TRAM |
                      median << MF_STREET_MEDIAN | parking << MF_STREET_PARKING);
}

static mf_patch patch_of(const mf_block *b) {
    uint64_t h = b->hash;
    float r = b->inner;
    mf_patch p = {mf_between(h, 30, -0.3f, 0.3f) * r, mf_between(h, 31, -0.3f, 0.3f) * r, 0, 0};
    if (b->kind == MF_PARK) {
        p.rx = mf_between(h, 32, 0.25f, 0.55f) * r;
        p.ry = mf_between(h, 33, 0.2f, 0.4f) * r;
    } else if (b->kind == MF_PLAZA || b->kind == MF_TOWERS) {
        p.rx = p.ry = mf_between(h, 32, 0.1f, 0.2f) * r;
        p.x *= 0.3f;
        p.y *= 0.3f;
    } else if (b->kind == MF_SPORT) {
        p = (mf_patch){0, 0, r * 0.9f, r * 0.62f};
    }
    return p;
}

static void divide(const mf_style *s, const mf_block *b, mf_edge *e) {
    float inset = e->half + 2, length = e->s1 - e->s0 - 2 * inset;
    float lot = s->lot * (b->kind == MF_ROWS && s->gap > 0 ? 0.75f : 1);
    if (b->kind == MF_HOUSES && s->gap < 3)
        lot = s->lot + 7;
    e->lots = length >= lot ? (int)(length / lot) : 0;
    e->lot_from = e->s0 + inset;
    e->lot_width = e->lots ? length / (float)e->lots : 1;
}

void mf_lots_prepare(const mf_style *style, mf_block *b) {
    b->patch = patch_of(b);
    for (int k = 0; k < b->edges; k++) {
        b->edge[k].features = features_of(style, &b->edge[k]);
        divide(style, b, &b->edge[k]);
    }
}

/* ---- buildings ---- */

static int apart(const mf_object *a, const mf_object *b) {
    const mf_object *pair[2] = {a, b};
    float dx = b->x - a->x, dy = b->y - a->y;
    for (int k = 0; k < 4; k++) {
        const mf_object *o = pair[k / 2];
        float ux = k % 2 ? -o->ay : o->ax, uy = k % 2 ? o->ax : o->ay;
        float reach = 0;
        for (int m = 0; m < 2; m++) {
            const mf_object *p = pair[m];
            reach += p->hx * fabsf(p->ax * ux + p->ay * uy) + p->hy * fabsf(-p->ay * ux + p->ax * uy);
        }
        if (fabsf(dx * ux + dy * uy) > reach - 0.15f)
            return 1;
    }
    return 0;
}

static int fits(const filler *f, const mf_object *o) {
    for (int k = 0; k < 4; k++) {
        float u = k & 1 ? o->hx : -o->hx, v = k & 2 ? o->hy : -o->hy;
        if (mf_clear(f->b, o->x + o->ax * u - o->ay * v, o->y + o->ay * u + o->ax * v) < f->margin + 0.1f)
            return 0;
    }
    for (size_t k = f->first; k < f->s->objects; k++)
        if (f->s->object[k].object == MF_BUILDING && f->s->object[k].z0 == 0 && !apart(&f->s->object[k], o))
            return 0;
    return 1;
}

static void paint(const filler *f, mf_object *o, uint64_t h) {
    const mf_palette *p = f->s->style->palette;
    int own = mf_unit(h, 0) < 0.45f; /* the others follow their block */
    uint64_t from = own ? h : f->b->hash;
    int facade = mf_pick(from, 10, p->facades), roof = mf_pick(from, 11, p->roofs);
    float tone = mf_between(h, 2, 0.82f, 1.12f);
    o->wall = mf_scale(p->facade[facade], tone);
    o->top = mf_scale(p->roof[roof], mf_between(h, 3, 0.7f, 1.1f));
    if (o->roof == MF_FLAT) /* gravel and felt take a little of the walls' colour */
        o->top = mf_blend(o->top, o->wall, 0.25f);
    o->hash = (uint32_t)(h >> 20);
}

/* Chimneys, stairheads, air conditioning. */
static void crown_roof(const filler *f, const mf_object *o, uint64_t h) {
    int n = o->roof == MF_FLAT ? 1 + mf_pick(h, 20, o->hx > 9 ? 5 : 2) : mf_pick(h, 20, 2);
    for (int k = 0; k < n; k++) {
        mf_object p = {.object = MF_BOX, .ax = o->ax, .ay = o->ay};
        float u = mf_between(h, 21 + 4 * k, -0.7f, 0.7f) * o->hx, v = mf_between(h, 22 + 4 * k, -0.65f, 0.65f) * o->hy;
        if (o->roof == MF_FLAT) {
            p.hx = mf_between(h, 23 + 4 * k, 0.7f, 2.4f);
            p.hy = mf_between(h, 24 + 4 * k, 0.7f, 1.8f);
            p.z0 = o->z1;
            p.z1 = p.zr = o->z1 + p.hy * 1.1f;
            p.wall = p.top = mf_scale((mf_rgb){.5f, .5f, .5f}, mf_between(h, 60 + k, 0.5f, 1.3f));
        } else {
            p.hx = p.hy = 0.4f;
            v *= 0.4f;
            p.z0 = o->z1;
            p.z1 = p.zr = o->zr + 0.7f;
            p.wall = p.top = mf_blend(o->wall, (mf_rgb){.25f, .14f, .1f}, 0.6f);
        }
        p.x = o->x + o->ax * u - o->ay * v;
        p.y = o->y + o->ay * u + o->ax * v;
        mf_scene_add(f->s, &p);
    }
}

/* A building of so many floors; hx, hy may change places so that ridges run along the longer side.  0: no room. */
static int build(filler *f, mf_object *o, uint64_t h, int floors, int style) {
    const mf_style *s = f->s->style;
    int total = s->roof[0] + s->roof[1] + s->roof[2], draw = mf_pick(h, 5, total);
    o->object = MF_BUILDING;
    o->style = (unsigned char)style;
    o->roof = draw < s->roof[0] ? MF_FLAT : draw < s->roof[0] + s->roof[1] ? MF_GABLED : MF_HIPPED;
    if (style == 1 || style == 2 || (floors > 6 && o->roof != MF_FLAT))
        o->roof = MF_FLAT;
    if (style == 3)
        o->roof = mf_unit(h, 6) < 0.5f ? MF_FLAT : MF_GABLED;
    if (o->roof != MF_FLAT && o->hx < o->hy * (f->b->kind == MF_ROWS ? 0.45f : 1)) {
        float t = o->hx;
        o->hx = o->hy;
        o->hy = t;
        t = o->ax;
        o->ax = -o->ay;
        o->ay = t;
    }
    o->z1 = (float)floors * (style == 3 ? 4.2f : 3.1f) + (style == 4 ? 0.3f : 0.8f);
    if (style == 3 && o->hx < 4) /* a garage */
        o->z1 = 2.7f;
    float pitch = style == 3 ? 0.25f : mf_between(f->b->hash, 40, 0.55f, 0.95f);
    o->zr = o->z1 + (o->roof == MF_FLAT ? 0 : o->hy * pitch);
    if (!fits(f, o))
        return 0;
    paint(f, o, h);
    if (mf_scene_add(f->s, o))
        crown_roof(f, o, h);
    return 1;
}

static void along_edge(const mf_block *b, const mf_edge *e, float along, float in, mf_object *o) {
    float d = e->half + in;
    o->x = b->x + e->mx + e->tx * along + e->nx * d;
    o->y = b->y + e->my + e->ty * along + e->ny * d;
    o->ax = e->tx;
    o->ay = e->ty;
}

static void fence(filler *f, const mf_edge *e, uint64_t h, float along, float in0, float in1) {
    mf_object o = {.object = MF_BOX, .hx = 0.35f, .hy = (in1 - in0) / 2};
    int hedge = mf_unit(h, 0) < 0.6f;
    along_edge(f->b, e, along, (in0 + in1) / 2, &o);
    o.z1 = o.zr = hedge ? 1.5f : 1.3f;
    o.hx = hedge ? 0.4f : 0.08f;
    o.wall = o.top = hedge ? mf_scale(f->s->style->leaf, 1.2f)
                           : mf_blend((mf_rgb){.4f, .3f, .2f}, (mf_rgb){.7f, .7f, .68f}, mf_unit(h, 1));
    o.style = (unsigned char)(hedge ? 1 : 0);
    if (mf_clear(f->b, o.x + e->nx * o.hy, o.y + e->ny * o.hy) >= f->margin)
        mf_scene_add(f->s, &o);
}

static void lots(filler *f, int rows) {
    const mf_style *s = f->s->style;
    int base = s->floors_min + mf_pick(f->b->hash, 41, s->floors_max - s->floors_min + 1);
    for (int k = 0; k < f->b->edges; k++) {
        const mf_edge *e = &f->b->edge[k];
        float from = e->lot_from, width = e->lot_width;
        for (int n = 0; n < e->lots; n++) {
            uint64_t h = mf_mix2(f->b->hash, 100 + k, n);
            float setback = rows ? (s->gap > 0 ? 1 : s->setback) : s->setback > 2 ? s->setback : 5;
            float gap = rows ? 0 : s->gap > 2 ? s->gap : 5, depth = s->depth * mf_between(h, 30, 0.85f, 1.15f);
            int floors = rows ? base + (mf_unit(h, 31) < 0.3f) - (mf_unit(h, 32) < 0.2f) : 1 + (mf_unit(h, 31) < 0.55f);
            mf_object o = {.hx = (width - gap * mf_between(h, 33, 0.8f, 1.2f)) / 2, .hy = depth / 2};
            if (mf_unit(h, 34) < (rows ? 0.06f : 0.08f)) /* an empty lot */
                continue;
            floors = floors < 1 ? 1 : floors > s->floors_max ? s->floors_max : floors;
            along_edge(f->b, e, from + width * ((float)n + 0.5f) + (rows ? 0 : mf_between(h, 35, -1, 1)),
                       f->margin + setback + depth / 2, &o);
            o.front = rows && (f->b->kind == MF_ROWS) && mf_unit(f->b->hash, 42 + k) < 0.35f;
            build(f, &o, h, floors, rows ? 0 : 4);
            if (!rows && mf_unit(h, 36) < 0.55f)
                fence(f, e, h, from + width * (float)n, f->margin + 1, f->margin + setback + depth + 5);
            if (!rows && mf_unit(h, 37) < 0.4f && width > 13) { /* a garage */
                mf_object g = {.hx = 1.8f, .hy = 3};
                along_edge(f->b, e, from + width * ((float)n + 0.5f) + width / 2 - 2.4f, f->margin + setback + 4, &g);
                build(f, &g, mf_mix(h), 1, 3);
            }
        }
    }
}

/* Tries places in the block, along its axes. */
static int scatter(filler *f, uint64_t h, int tries, float least, float most, int floors, int style) {
    const mf_block *b = f->b;
    int built = 0;
    for (int k = 0; k < tries; k++) {
        uint64_t t = mf_mix2(h, k, 5);
        mf_object o = {.ax = b->ax, .ay = b->ay};
        float u = mf_between(t, 0, -1.2f, 1.2f) * (b->inner + 6), v = mf_between(t, 1, -0.9f, 0.9f) * b->inner;
        o.hx = mf_between(t, 2, least, most);
        o.hy = o.hx * mf_between(t, 3, 0.5f, 0.9f);
        o.x = b->x + b->ax * u - b->ay * v;
        o.y = b->y + b->ay * u + b->ax * v;
        o.front = style == 1 || style == 2;
        built += build(f, &o, t, floors > 1 ? 1 + (int)((float)floors * mf_between(t, 4, 0.35f, 1)) : 1, style);
    }
    return built;
}

static void towers(filler *f) {
    uint64_t h = f->b->hash;
    int floors = f->s->style->tower_floors, style = 1 + mf_pick(h, 43, 2);
    for (int q = 0; q < 4; q++) { /* one a quarter of the block, some left free */
        mf_object o = {.ax = f->b->ax, .ay = f->b->ay};
        uint64_t t = mf_mix2(h, q, 44);
        if (mf_unit(t, 0) < 0.2f)
            continue;
        o.hx = f->b->inner * mf_between(t, 1, 0.38f, 0.62f);
        o.hy = f->b->inner * mf_between(t, 2, 0.3f, 0.44f);
        float u = (q & 1 ? 1 : -1) * f->b->inner * 0.62f, v = (q & 2 ? 1 : -1) * f->b->inner * 0.48f;
        o.x = f->b->x + o.ax * u - o.ay * v;
        o.y = f->b->y + o.ay * u + o.ax * v;
        o.front = 1;
        int n = 3 + (int)((float)floors * mf_unit(t, 3) * mf_unit(t, 4)), own = mf_unit(t, 5) < 0.3f ? 0 : style;
        if (build(f, &o, t, n, own) && n > 9 && mf_unit(t, 6) < 0.4f) { /* set back above */
            mf_object up = f->s->object[f->s->objects - 1];
            for (size_t k = f->s->objects; k-- > f->first;)
                if (f->s->object[k].object == MF_BUILDING) {
                    up = f->s->object[k];
                    break;
                }
            up.z0 = up.z1;
            up.z1 = up.zr = up.z0 * 1.35f;
            up.hx *= 0.65f;
            up.hy *= 0.65f;
            mf_scene_add(f->s, &up);
        }
    }
}

/* ---- trees ---- */

static void tree(filler *f, float x, float y, uint64_t h, float size) {
    const mf_style *s = f->s->style;
    int total = s->species[0] + s->species[1] + s->species[2], draw = mf_pick(h, 50, total);
    mf_object o = {.x = x, .y = y, .ax = 1, .hash = (uint32_t)h};
    float r = mf_between(h, 51, 1.7f, 3.9f) * size, tone = mf_between(h, 52, 0.75f, 1.3f);
    mf_rgb leaf = {s->leaf.r * tone * mf_between(h, 53, 0.8f, 1.4f), s->leaf.g * tone, s->leaf.b * tone};
    if (mf_unit(h, 54) < 0.06f)
        leaf = mf_times(leaf, (mf_rgb){2.4f, 0.6f, 1.2f}); /* a copper beech */
    o.wall = o.top = leaf;
    mf_object trunk = {
        .object = MF_POLE, .x = x, .y = y, .ax = 1, .wall = {.11f, .08f, .06f}, .top = {.11f, .08f, .06f}};
    if (draw < s->species[0]) {
        o.object = MF_CROWN;
        o.hx = r;
        o.z0 = mf_between(h, 55, 1.6f, 2.6f);
        o.z1 = o.zr = o.z0 + r * mf_between(h, 56, 1.7f, 2.5f);
        trunk.z1 = trunk.zr = (o.z0 + o.z1) / 2;
        trunk.hx = 0.1f + r * 0.05f;
    } else if (draw < s->species[0] + s->species[1]) {
        o.object = MF_CONE;
        o.hx = r * 0.72f;
        o.z0 = 0.8f;
        o.z1 = o.zr = o.z0 + o.hx * mf_between(h, 56, 2.8f, 4.5f);
        trunk.z1 = trunk.zr = 1.2f;
        trunk.hx = 0.2f;
    } else {
        o.object = MF_PALM;
        o.hx = mf_between(h, 51, 1.7f, 2.7f);
        o.z1 = o.zr = mf_between(h, 56, 5, 11);
        o.z0 = o.z1 - 1.6f;
        trunk.z1 = trunk.zr = o.z1 - 0.5f;
        trunk.hx = 0.19f;
        trunk.wall = (mf_rgb){.24f, .19f, .14f};
    }
    mf_scene_add(f->s, &trunk);
    mf_scene_add(f->s, &o);
}

static int free_of_buildings(const filler *f, float x, float y, float room) {
    for (size_t k = f->first; k < f->s->objects; k++) {
        const mf_object *o = &f->s->object[k];
        float dx = x - o->x, dy = y - o->y;
        if (o->object == MF_BUILDING && fabsf(dx * o->ax + dy * o->ay) < o->hx + room &&
            fabsf(-dx * o->ay + dy * o->ax) < o->hy + room)
            return 0;
    }
    return 1;
}

static int in_patch(const mf_block *b, float x, float y, float room) {
    mf_patch p = b->patch;
    float dx = x - b->x, dy = y - b->y, u = dx * b->ax + dy * b->ay - p.x, v = -dx * b->ay + dy * b->ax - p.y;
    if (p.rx <= 0 || b->kind == MF_TOWERS)
        return 0;
    u /= p.rx + room;
    v /= p.ry + room;
    return b->kind == MF_SPORT ? fabsf(u) < 1 && fabsf(v) < 1 : u * u + v * v < 1;
}

static void grove(filler *f, int tries, float size, float edge) {
    const mf_block *b = f->b;
    for (int k = 0; k < tries; k++) {
        uint64_t h = mf_mix2(b->hash, k, 60);
        float u = mf_between(h, 0, -1.5f, 1.5f) * b->inner, v = mf_between(h, 1, -1.5f, 1.5f) * b->inner;
        float x = b->x + u, y = b->y + v;
        if (mf_clear(b, x, y) > f->margin + edge && free_of_buildings(f, x, y, 1.6f) && !in_patch(b, x, y, 1.5f))
            tree(f, x, y, h, size);
    }
}

static void street_trees(filler *f) {
    const mf_style *s = f->s->style;
    for (int k = 0; k < f->b->edges; k++) {
        const mf_edge *e = &f->b->edge[k];
        int median = !e->side && mf_street_has(e, MF_STREET_MEDIAN), trees = mf_street_has(e, MF_STREET_TREES);
        float step = mf_between(e->hash, 61, 8, 14), end = mf_junction(s) + 2.5f;
        if (!median && !trees)
            continue;
        int n = 0;
        for (float at = e->s0 + end; at < e->s1 - end; at += step, n++) {
            mf_object o = {0};
            uint64_t h = mf_mix2(e->hash, n, 62 + e->side);
            if (trees && mf_unit(h, 1) > 0.15f) {
                along_edge(f->b, e, at, s->verge > 0 ? s->verge * 0.6f : 0.9f, &o);
                tree(f, o.x, o.y, h, mf_between(e->hash, 63, 0.6f, 0.95f));
            }
            if (median && mf_unit(h, 2) > 0.25f) {
                along_edge(f->b, e, at + step / 2, -e->half, &o);
                tree(f, o.x, o.y, mf_mix(h), 0.7f);
            }
        }
    }
}

/* ---- kinds ---- */

static void boxes(filler *f, int tries) { /* containers, boats */
    static const mf_rgb colour[] = {
        {.42f, .08f, .05f}, {.06f, .16f, .34f}, {.10f, .30f, .14f}, {.55f, .30f, .06f}, {.6f, .6f, .6f}};
    const mf_block *b = f->b;
    for (int k = 0; k < tries; k++) {
        uint64_t h = mf_mix2(b->hash, k, 70);
        int boat = b->kind == MF_WATER, turn = mf_unit(h, 5) < 0.4f;
        mf_object o = {.object = MF_BOX, .ax = turn ? -b->ay : b->ax, .ay = turn ? b->ax : b->ay, .hash = (uint32_t)h};
        o.x = b->x + mf_between(h, 0, -1.1f, 1.1f) * b->inner;
        o.y = b->y + mf_between(h, 1, -1.1f, 1.1f) * b->inner;
        o.hx = boat ? mf_between(h, 2, 3, 8) : 6;
        o.hy = boat ? o.hx * 0.3f : 1.25f;
        o.z1 = o.zr = boat ? 1.3f : 2.6f * (float)(1 + mf_pick(h, 3, 2));
        o.wall = o.top =
            mf_scale(boat ? (mf_rgb){.6f, .58f, .54f} : colour[mf_pick(h, 4, 5)], mf_between(h, 6, 0.6f, 1.2f));
        if (mf_clear(b, o.x, o.y) > f->margin + o.hx + 2 && free_of_buildings(f, o.x, o.y, o.hx))
            mf_scene_add(f->s, &o);
    }
}

void mf_lots_fill(mf_scene *s, const mf_block *b) {
    filler f = {s, b, s->objects, s->style->walk + s->style->verge};
    float area = b->inner * b->inner / 100;
    int trees = (int)(area * s->style->garden_trees * 2.2f);
    switch (b->kind) {
    case MF_ROWS:
        lots(&f, 1);
        grove(&f, trees, 0.8f, 12);
        break;
    case MF_HOUSES:
        lots(&f, 0);
        grove(&f, (int)((float)trees * 1.6f), 1, 2);
        break;
    case MF_TOWERS:
        towers(&f);
        grove(&f, trees / 2, 0.7f, 1.5f);
        break;
    case MF_PARK:
        grove(&f, (int)(area * mf_between(b->hash, 71, 2, 8)), 1.2f, 0.5f);
        break;
    case MF_PLAZA:
        scatter(&f, b->hash, 1, 5, 9, 2, 0);
        grove(&f, (int)(area * 1.2f), 0.7f, 2);
        break;
    case MF_PARKING:
        scatter(&f, b->hash, 4, 9, 15, 1, 3);
        grove(&f, (int)area, 0.6f, 0.6f);
        break;
    case MF_FIELD:
        if (mf_unit(b->hash, 72) < 0.35f)
            scatter(&f, b->hash, 3, 5, 9, 1, 3);
        grove(&f, (int)(area * 0.6f), 1.1f, 0.5f);
        break;
    case MF_WATER:
        boxes(&f, (int)(area * 0.9f));
        break;
    case MF_INDUSTRY:
        scatter(&f, b->hash, 6, 9, 20, 2, 3);
        scatter(&f, mf_mix(b->hash), 12, 4.5f, 9, 2, 3);
        boxes(&f, (int)(area * 2));
        break;
    case MF_SPORT:
        grove(&f, (int)(area * 3), 1, 0.5f);
        break;
    default:
        grove(&f, (int)(area * 3), 0.5f, 0.5f);
    }
    street_trees(&f);
}
