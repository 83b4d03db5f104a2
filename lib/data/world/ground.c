/* What the ground looks like: carriageways and their markings, pavements, and each kind of block within. */
#include "data/world/lots.h"

typedef struct spot {
    mf_scene *s;
    const mf_block *b;
    const mf_edge *e; /* the nearest street */
    float x, y;       /* in the scene */
    float u, v;       /* from the seed, along the block's axes */
    float width;      /* averaged over */
    float in;         /* metres from the carriageway; negative on it */
    float along;
    float wet;
} spot;

/* 1 where `x` is less than `half` from 0; the edge as soft as the averaging. */
static float line(const spot *p, float x, float half) {
    float soft = p->width > 0.05f ? p->width : 0.05f, a = (half + soft / 2 - fabsf(x)) / soft;
    a = mf_clamp(a, 0, 1);
    float most = 2 * half / soft;
    return most < 1 ? a * most : a;
}

/* -period/2 .. period/2 */
static float wrap(float x, float period) {
    return x - period * mf_floor(x / period + 0.5f);
}

/* Lattice noise of so many metres a cell; 1/8, 1/4, .. 64. */
static float noise(const spot *p, float cell, int salt) {
    float scale = 1 / cell;
    return mf_noise(p->x * scale, p->y * scale, (int32_t)((float)p->s->ox * scale) + salt * 7919,
                    (int32_t)((float)p->s->oy * scale));
}

static float fine(const spot *p, float cell, int salt, float strength) {
    float fade = 1 - mf_rise(p->width, cell * 0.5f, cell * 2);
    return fade > 0 ? 1 + strength * fade * (noise(p, cell, salt) * 2 - 1) : 1;
}

static const mf_rgb white = {.62f, .62f, .60f}, yellow = {.60f, .42f, .06f};

/* ---- streets ---- */

static mf_rgb markings(const spot *p, mf_rgb c) {
    const mf_style *s = p->s->style;
    const mf_edge *e = p->e;
    float d = p->in + e->half, end = p->along - e->s0, other = e->s1 - p->along, gone = 1 - mf_rise(p->width, 0.8f, 4);
    float reach = end < other ? end : other, junction = mf_junction(s);
    if (gone <= 0 || e->s1 - e->s0 < 2 * junction + 6 || reach < junction)
        return c;
    int near_start = end < other;
    if (mf_unit(e->hash, 30 + near_start) < 0.65f && reach < junction + 3.6f) { /* zebra */
        if (reach > junction + 0.6f)
            c = mf_blend(c, white, gone * line(p, wrap(d + 0.5f, 1.0f), 0.25f) * mf_rise(e->half - d, 0.1f, 0.4f));
        return c;
    }
    if (reach > junction + 4.4f && reach < junction + 5.0f) {
        if (near_start == e->side)
            c = mf_blend(c, white, gone * mf_rise(e->half - d, 0.2f, 0.4f));
        return c;
    }
    if (reach < junction + 5)
        return c;
    int kind = mf_pick(e->hash, 34, 3);
    float dash = kind ? mf_rise(fabsf(wrap(p->along, 6)), 1.4f, 1.6f) : 0;
    if (mf_street_has(e, MF_STREET_MEDIAN)) {
        mf_rgb grass = mf_scale(s->grass, fine(p, 1, 3, 0.3f));
        c = d < 1.5f ? grass : d < 1.75f ? s->paving : c;
    } else if (e->major || mf_unit(e->hash, 35) < 0.55f) {
        float two = e->major && s->yellow ? line(p, d - 0.16f, 0.07f) : line(p, d, 0.08f);
        c = mf_blend(c, s->yellow ? yellow : white, gone * two * (e->major && s->yellow ? 1 : 1 - dash));
    }
    if (e->half > 6)
        c = mf_blend(c, white,
                     gone * line(p, d - e->half * 0.5f, 0.07f) * mf_rise(fabsf(wrap(p->along, 9)), 2.9f, 3.1f));
    if (mf_street_has(e, MF_STREET_TRAM))
        for (int k = 0; k < 2; k++)
            c = mf_blend(c, (mf_rgb){.03f, .03f, .035f}, gone * line(p, d - 0.9f - 1.43f * (float)k, 0.07f));
    if (mf_street_has(e, MF_STREET_BIKES) && d > e->half - 1.7f) {
        mf_rgb paint = mf_unit(e->hash, 36) < 0.5f ? (mf_rgb){.32f, .10f, .07f} : (mf_rgb){.10f, .26f, .13f};
        c = mf_blend(c, paint, 0.8f);
        c = mf_blend(c, white, gone * line(p, d - e->half + 1.7f, 0.06f));
    }
    if (mf_street_has(e, MF_STREET_PARKING) && d > e->half - 2.3f) {
        c = mf_scale(c, 1.22f);
        float stall = line(p, wrap(p->along - e->s0 - mf_junction(s) - 4 + 2.9f, 5.8f), 0.06f);
        c = mf_blend(c, white, gone * (stall > 0 ? stall : line(p, d - e->half + 2.3f, 0.05f)) * 0.8f);
    }
    return c;
}

static mf_rgb carriageway(const spot *p) {
    const mf_style *s = p->s->style;
    float tone = mf_between(p->e->hash, 37, 0.82f, 1.25f), end = p->along - p->e->s0, other = p->e->s1 - p->along;
    float junction = mf_rise(end < other ? end : other, mf_junction(s) - 0.5f, mf_junction(s) + 0.5f);
    float wear = noise(p, 8, 1) * 0.2f + 0.9f;
    mf_rgb c = mf_scale(s->asphalt, (1 + (tone - 1) * junction) * wear * fine(p, 0.125f, 2, 0.2f));
    if (noise(p, 16, 5) > 0.74f) /* patches */
        c = mf_scale(c, 0.82f);
    return markings(p, c);
}

static mf_rgb pavement(const spot *p) {
    const mf_style *s = p->s->style;
    mf_rgb c = mf_scale(s->paving, mf_between(p->b->hash, 38, 0.85f, 1.1f) * (0.92f + 0.16f * noise(p, 4, 6)));
    float joints = 1 - mf_rise(p->width, 0.1f, 0.5f);
    if (joints > 0)
        c = mf_scale(c, 1 - 0.25f * joints * line(p, wrap(p->along, 1.5f), 0.03f));
    if (p->in < 0.22f)
        c = mf_scale(c, 1.15f);
    return c;
}

static mf_rgb lawn(const spot *p, float lush) {
    const mf_style *s = p->s->style;
    float big = noise(p, 8, 8), mid = noise(p, 2, 9), dry = mf_clamp(p->s->look.dry + (1 - lush) * 0.4f, 0, 1);
    mf_rgb c = mf_blend(s->grass, mf_blend(s->grass, s->soil, 0.5f), mf_clamp(dry * 0.55f + (big - 0.6f) * 0.6f, 0, 1));
    return mf_scale(c, (0.8f + 0.25f * mid + 0.15f * big) * fine(p, 0.25f, 10, 0.3f));
}

/* ---- within blocks ---- */

static mf_rgb garden(spot *p) {
    const mf_style *s = p->s->style;
    float from = p->e->lot_from, width = p->e->lot_width, in = p->in - s->walk - s->verge;
    int count = p->e->lots, rows = p->b->kind == MF_ROWS;
    int n = (int)mf_floor((p->along - from) / width);
    int k = (int)(p->e - p->b->edge);
    if (n < 0 || n >= count)
        return rows && in < s->setback + 2 ? mf_scale(s->paving, 0.9f) : lawn(p, 1);
    uint64_t h = mf_mix2(p->b->hash, 100 + k, n);
    float at = p->along - from - width * (float)n, tone = mf_between(h, 70, 0.75f, 1.2f);
    if (rows) {
        if (in < s->setback + s->depth)
            return mf_scale(s->paving, tone);
        float yard = mf_unit(p->b->hash, 71);
        if (yard < 0.35f) /* a paved yard */
            return mf_scale(mf_blend(s->paving, s->asphalt, 0.5f), 0.9f * fine(p, 1, 11, 0.1f));
        if (in > s->setback + s->depth + 9)
            return lawn(p, 1);
        return mf_unit(h, 72) < 0.35f ? mf_scale(s->paving, tone * 0.9f) : mf_scale(lawn(p, 1), 0.7f + 0.4f * tone);
    }
    float drive = fabsf(at - width + 2.4f);
    if (drive < 1.6f && in < s->setback + 6 && mf_unit(h, 73) < 0.75f)
        return mf_scale(mf_unit(h, 74) < 0.5f ? s->paving : s->asphalt, tone);
    if (fabsf(at - width / 2) < 0.6f && in < s->setback + 2)
        return mf_scale(s->paving, tone);
    float px = at - width * 0.5f - mf_between(h, 75, -2, 2), py = in - s->setback - s->depth - 6;
    if (mf_unit(h, 76) < 0.16f && fabsf(px) < 3.2f && fabsf(py) < 1.9f) { /* a pool */
        if (fabsf(px) > 2.7f || fabsf(py) > 1.5f)
            return s->paving;
        p->wet = 0.25f;
        return (mf_rgb){.10f, .36f, .44f};
    }
    return mf_scale(lawn(p, mf_unit(h, 77)), 0.65f + 0.45f * tone);
}

static mf_rgb park(spot *p) {
    const mf_style *s = p->s->style;
    mf_patch q = p->b->patch;
    float u = (p->u - q.x) / q.rx, v = (p->v - q.y) / q.ry, r = sqrtf(u * u + v * v);
    float bend = (noise(p, 16, 12) - 0.5f) * 8;
    mf_rgb gravel = mf_scale(mf_blend(s->paving, s->soil, 0.5f), fine(p, 0.5f, 13, 0.12f));
    if (mf_unit(p->b->hash, 78) < 0.55f) {
        if (r < 1) {
            p->wet = 0.35f;
            return mf_scale(s->water, 0.8f + 0.4f * noise(p, 4, 14));
        }
        if (r < 1.12f)
            return mf_scale(s->soil, 0.7f);
    } else if (r < 0.7f && mf_unit(p->b->hash, 79) < 0.5f) /* a playground */
        return mf_unit(p->b->hash, 80) < 0.5f ? (mf_rgb){.56f, .46f, .30f} : (mf_rgb){.36f, .13f, .09f};
    float ring = (r - 1.45f) * (q.rx < q.ry ? q.rx : q.ry);
    float path = line(p, ring, 1.1f), a = line(p, p->u - q.x + bend, 1.2f), b = line(p, p->v - q.y - bend, 1.2f);
    a = a > b ? a : b;
    if (r > 1.2f)
        path = path > a ? path : a;
    return mf_blend(lawn(p, 1), gravel, path);
}

static mf_rgb plaza(spot *p) {
    const mf_style *s = p->s->style;
    mf_patch q = p->b->patch;
    float du = p->u - q.x, dv = p->v - q.y, r = sqrtf(du * du + dv * dv), period = mf_between(p->b->hash, 81, 3, 7);
    mf_rgb light = mf_scale(s->paving, 1.15f),
           dark = mf_times(s->paving,
                           mf_unit(p->b->hash, 82) < 0.5f ? (mf_rgb){.6f, .6f, .62f} : (mf_rgb){.75f, .5f, .4f});
    if (r < q.rx) {
        p->wet = r < q.rx - 0.5f ? 0.3f : 0;
        return p->wet > 0 ? mf_scale(s->water, 1.6f) : mf_scale(s->paving, 0.8f);
    }
    int pattern = mf_pick(p->b->hash, 83, 3);
    float t = pattern == 0   ? line(p, wrap(r, period), period / 4)
              : pattern == 1 ? fabsf(line(p, wrap(p->u, period), period / 4) - line(p, wrap(p->v, period), period / 4))
              : line(p, wrap(p->v, period), 0.4f) > 0 ? 1
                                                      : line(p, wrap(p->u, period), 0.4f);
    return mf_scale(mf_blend(light, dark, t), 0.94f + 0.12f * noise(p, 2, 15));
}

static mf_rgb stalls(const spot *p) {
    const mf_style *s = p->s->style;
    mf_rgb c = mf_scale(s->asphalt, mf_between(p->b->hash, 84, 0.9f, 1.5f) * (0.92f + 0.16f * noise(p, 8, 16)) *
                                        fine(p, 0.25f, 2, 0.1f));
    float v = p->v - 16 * mf_floor(p->v / 16), gone = 1 - mf_rise(p->width, 0.8f, 4);
    float row = v < 5 ? v : v >= 11 ? v - 11 : -1;
    if (row >= 0)
        c = mf_blend(c, white, gone * 0.9f * line(p, wrap(p->u, 2.5f), 0.06f));
    if (v < 0.1f)
        c = mf_blend(c, white, gone * 0.9f);
    return c;
}

static mf_rgb field(const spot *p) {
    const mf_style *s = p->s->style;
    static const mf_rgb crop[] = {{.16f, .22f, .05f}, {.42f, .34f, .13f}, {.24f, .17f, .11f},
                                  {.10f, .19f, .05f}, {.50f, .42f, .06f}, {.20f, .24f, .10f}};
    float part = mf_between(p->b->hash, 85, -0.3f, 0.3f) * p->b->inner;
    int which = mf_pick(p->b->hash, 86 + (p->v > part), 6);
    mf_rgb c = mf_blend(crop[which], s->soil, 0.15f + 0.3f * p->s->look.dry * noise(p, 16, 17));
    float along = p->v > part ? p->u : p->v, gone = 1 - mf_rise(p->width, 0.5f, 2);
    c = mf_scale(c, 0.9f + 0.2f * noise(p, 8, 18));
    c = mf_blend(c, mf_scale(s->soil, 0.8f), gone * 0.55f * line(p, wrap(along, 1.6f), 0.4f));
    c = mf_blend(c, mf_scale(s->soil, 0.9f), line(p, wrap(along, 24), 0.5f) * 0.8f);
    return p->in < s->walk + s->verge + 2.5f ? lawn(p, 0.6f) : c;
}

static mf_rgb water(spot *p) {
    const mf_style *s = p->s->style;
    float in = p->in - s->walk - s->verge;
    if (in < 0.8f)
        return mf_scale(s->paving, in < 0.4f ? 1.05f : 0.5f);
    p->wet = 0.45f;
    return mf_scale(s->water, 0.75f + 0.35f * noise(p, 8, 19) + 0.15f * noise(p, 1, 20));
}

static mf_rgb yard(const spot *p) {
    const mf_style *s = p->s->style;
    mf_rgb c = mf_blend(s->paving, s->asphalt, mf_unit(p->b->hash, 88));
    c = mf_blend(c, s->soil, mf_rise(noise(p, 8, 21), 0.5f, 0.8f) * 0.6f);
    return mf_scale(c, (0.85f + 0.2f * noise(p, 4, 22)) * fine(p, 0.5f, 23, 0.1f));
}

static mf_rgb pitch(const spot *p) {
    const mf_style *s = p->s->style;
    mf_patch q = p->b->patch;
    int court = mf_unit(p->b->hash, 89) < 0.35f;
    float u = fabsf(p->u), v = fabsf(p->v), rx = q.rx - 3, ry = q.ry - 3, gone = 1 - mf_rise(p->width, 0.6f, 3);
    mf_rgb c = mf_scale(lawn(p, 1), mf_fraction(p->u / 10) < 0.5f ? 1.1f : 0.9f);
    if (u > q.rx || v > q.ry)
        return lawn(p, 0.8f);
    if (court) { /* hard courts, side by side */
        float cu = wrap(p->u, 17), cv = p->v;
        c = fabsf(cu) < 5.5f && v < 12 ? (mf_rgb){.10f, .20f, .34f} : (mf_rgb){.13f, .27f, .16f};
        float l =
            line(p, fabsf(cu) - 5.5f, 0.06f) + line(p, fabsf(cu) - 4.1f, 0.06f) + line(p, fabsf(cv) - 6.4f, 0.06f);
        return mf_blend(c, white, v < 12 ? gone * mf_clamp(l, 0, 1) : 0);
    }
    if (mf_unit(p->b->hash, 90) < 0.5f && (u > rx - 2 || v > ry - 2)) /* a running track */
        return mf_blend((mf_rgb){.40f, .12f, .07f}, white,
                        gone * 0.7f * line(p, wrap(u > rx - 2 ? u - rx : v - ry, 1.2f), 0.05f));
    rx -= 2.5f;
    ry -= 2.5f;
    float l =
        u < rx + 0.1f && v < ry + 0.1f ? line(p, u - rx, 0.07f) + line(p, v - ry, 0.07f) + line(p, p->u, 0.07f) : 0;
    float r = sqrtf(u * u + v * v);
    l += line(p, r - ry * 0.35f, 0.07f);
    if (v < ry * 0.5f)
        l += line(p, u - rx * 0.75f, 0.07f);
    (void)s;
    return mf_blend(c, white, gone * mf_clamp(l, 0, 1));
}

static mf_rgb scrub(const spot *p) {
    const mf_style *s = p->s->style;
    mf_rgb c = mf_blend(s->soil, s->grass, mf_rise(noise(p, 8, 24), 0.35f, 0.75f));
    return mf_scale(c, (0.75f + 0.4f * noise(p, 2, 25)) * fine(p, 0.25f, 26, 0.25f));
}

static mf_rgb within(spot *p) {
    switch (p->b->kind) {
    case MF_ROWS:
    case MF_HOUSES:
        return garden(p);
    case MF_TOWERS:
    case MF_PLAZA:
        return plaza(p);
    case MF_PARK:
        return park(p);
    case MF_PARKING:
        return stalls(p);
    case MF_FIELD:
        return field(p);
    case MF_WATER:
        return water(p);
    case MF_INDUSTRY:
        return yard(p);
    case MF_SPORT:
        return pitch(p);
    default:
        return scrub(p);
    }
}

static mf_rgb winter(const spot *p, mf_rgb c, float cleared) {
    float depth = p->s->look.snow * (0.6f + 0.7f * noise(p, 4, 27)) - cleared;
    return mf_blend(c, (mf_rgb){.80f, .82f, .86f}, mf_rise(depth, 0.15f, 0.45f));
}

mf_rgb mf_ground(mf_scene *s, float x, float y, float width, float *wet) {
    spot p = {.s = s, .b = mf_scene_block(s, x, y), .x = x, .y = y, .width = width, .in = 1e9f};
    mf_rgb c;
    *wet = 0;
    if (!p.b)
        return s->style->grass;
    float dx = x - p.b->x, dy = y - p.b->y;
    for (int k = 0; k < p.b->edges; k++) {
        const mf_edge *e = &p.b->edge[k];
        float in = (dx - e->mx) * e->nx + (dy - e->my) * e->ny - e->half;
        if (in < p.in) {
            p.in = in;
            p.e = e;
        }
    }
    p.along = (dx - p.e->mx) * p.e->tx + (dy - p.e->my) * p.e->ty;
    p.u = dx * p.b->ax + dy * p.b->ay;
    p.v = -dx * p.b->ay + dy * p.b->ax;
    float kerb = s->style->verge, walk = s->style->walk, cleared = 0;
    if (p.in < 0)
        c = carriageway(&p), cleared = 0.6f;
    else if (p.in < kerb)
        c = p.in < 0.22f ? pavement(&p) : lawn(&p, 0.8f);
    else if (p.in < kerb + walk)
        c = pavement(&p), cleared = 0.3f;
    else
        c = within(&p);
    *wet = p.wet;
    return s->look.snow > 0 && p.wet == 0 ? winter(&p, c, cleared) : c;
}
