/* What is not there on another day: cars; and lamps. */
#include "data/world/lots.h"

static void car(mf_scene *s, float x, float y, float ax, float ay, uint64_t h) {
    static const mf_rgb colour[] = {{.7f, .7f, .7f},    {.35f, .36f, .38f}, {.05f, .05f, .06f}, {.4f, .05f, .04f},
                                    {.06f, .12f, .32f}, {.6f, .6f, .58f},   {.16f, .17f, .18f}, {.1f, .2f, .12f}};
    mf_rgb c = colour[mf_pick(h, 0, 8)];
    int van = mf_unit(h, 1) < 0.12f;
    float length = van ? 2.6f : mf_between(h, 2, 1.9f, 2.3f), width = van ? 1 : 0.88f;
    mf_object body = {.object = MF_BOX,
                      .style = 2,
                      .x = x,
                      .y = y,
                      .ax = ax,
                      .ay = ay,
                      .hx = length,
                      .hy = width,
                      .wall = c,
                      .top = c};
    body.z0 = 0.3f;
    body.z1 = body.zr = van ? 2.2f : 0.85f;
    mf_scene_add(s, &body);
    if (van)
        return;
    body.x -= ax * 0.25f;
    body.y -= ay * 0.25f;
    body.hx = length * 0.56f;
    body.hy = width * 0.86f;
    body.z0 = 0.85f;
    body.z1 = body.zr = 1.42f;
    body.style = 3;
    mf_scene_add(s, &body);
}

static void on_street(mf_scene *s, const mf_block *b, const mf_edge *e) {
    const mf_style *style = s->style;
    float end = mf_junction(style) + 4;
    int parked = mf_street_has(e, MF_STREET_PARKING), n = 0;
    float taken = mf_between(e->hash, 80 + e->side, 0.25f, 0.8f);
    for (float at = e->s0 + end; at < e->s1 - end; at += 5.8f, n++) {
        uint64_t place = mf_mix2(e->hash, n, 81 + e->side), now = mf_mix2(s->look.hash, (int64_t)(place & 0xffffff), 1);
        uint64_t h = mf_unit(place, 3) < 0.3f ? place : now; /* some are there day and night */
        float sign = e->side ? 1.0f : -1.0f;
        for (int moving = 0; moving < 2; moving++) {
            float in = moving ? e->half * 0.45f : e->half - 1.15f;
            if (moving ? mf_unit(now, 5) > 0.06f : !parked || mf_unit(h, 4) > taken)
                continue;
            float along = at + mf_between(h, 6, -0.4f, 0.4f);
            car(s, b->x + e->mx + e->tx * along + e->nx * in, b->y + e->my + e->ty * along + e->ny * in, e->tx * sign,
                e->ty * sign, mf_mix(moving ? now : h));
        }
    }
    n = 0;
    for (float at = e->s0 + end; at < e->s1 - end; at += 26, n++) { /* lamps */
        mf_object o = {
            .object = MF_POLE, .ax = 1, .hx = 0.09f, .z1 = 7, .zr = 7, .wall = {.2f, .2f, .2f}, .top = {.2f, .2f, .2f}};
        float in = e->half + 0.4f;
        if ((n + e->side) % 2)
            continue;
        o.x = b->x + e->mx + e->tx * (at + 3) + e->nx * in;
        o.y = b->y + e->my + e->ty * (at + 3) + e->ny * in;
        mf_scene_add(s, &o);
    }
}

static int under_roof(const mf_scene *s, size_t first, float x, float y) {
    for (size_t k = first; k < s->objects; k++)
        if (s->object[k].object == MF_BUILDING && fabsf(s->object[k].x - x) + fabsf(s->object[k].y - y) < 60) {
            const mf_object *o = &s->object[k];
            float dx = x - o->x, dy = y - o->y;
            if (fabsf(dx * o->ax + dy * o->ay) < o->hx + 3 && fabsf(-dx * o->ay + dy * o->ax) < o->hy + 3)
                return 1;
        }
    return 0;
}

/* Rows of stalls 2.5 m wide, 5 m deep, along the block's axis, a lane of 6 m between two rows (ground.c paints them).
 */
static void in_stalls(mf_scene *s, const mf_block *b, size_t first) {
    float taken = mf_between(b->hash, 82, 0.2f, 0.7f);
    int reach = (int)(b->inner * 1.5f / 2.5f);
    for (int row = -6; row <= 6; row++)
        for (int column = -reach; column <= reach; column++) {
            float v = (float)(row >> 1) * 16 + (row & 1 ? 13.5f : 2.5f), u = ((float)column + 0.5f) * 2.5f;
            float x = b->x + b->ax * u - b->ay * v, y = b->y + b->ay * u + b->ax * v;
            uint64_t place = mf_mix2(b->hash, column, 1000 + row),
                     now = mf_mix2(s->look.hash, (int64_t)(place & 0xffffff), 2);
            if (mf_unit(now, 0) > taken || mf_clear(b, x, y) < s->style->walk + s->style->verge + 3 ||
                under_roof(s, first, x, y))
                continue;
            car(s, x, y, -b->ay, b->ax, mf_mix(now));
        }
}

void mf_props_fill(mf_scene *s, const mf_block *b) {
    size_t first = s->objects > 400 ? s->objects - 400 : 0;
    for (int k = 0; k < b->edges; k++)
        on_street(s, b, &b->edge[k]);
    if (b->kind == MF_PARKING)
        in_stalls(s, b, first);
}
