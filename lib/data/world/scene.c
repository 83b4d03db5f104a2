/* Scenes: what lies around a point. */
#include "data/world/world.h"

#include <string.h>

mf_object *mf_scene_add(mf_scene *s, const mf_object *o) {
    if (s->status == MFRGN_OK)
        s->status = mf_reserve(s->world->context, (void **)&s->object, &s->object_room, s->objects + 1, sizeof(*o));
    if (s->status != MFRGN_OK)
        return NULL;
    s->object[s->objects] = *o;
    return &s->object[s->objects++];
}

static void place_block(mf_scene *s, int i, int j, mf_block *b) {
    double x, y;
    mf_plan_block(s->world, i, j, b);
    mf_plan_seed(s->world, i, j, &x, &y);
    b->x = (float)(x - s->ox);
    b->y = (float)(y - s->oy);
}

static void fill(mf_scene *s, float x, float y, float radius) {
    float far = radius + (s->style->pitch_x + s->style->pitch_y) / 2;
    for (int k = 0; k < s->ni * s->nj && s->status == MFRGN_OK; k++) {
        const mf_block *b = &s->block[k];
        if ((b->x - x) * (b->x - x) + (b->y - y) * (b->y - y) > far * far)
            continue;
        mf_lots_fill(s, b);
        mf_props_fill(s, b);
    }
}

mfrgn_status mf_scene_open(mf_scene *s, const mfrgn_world *w, double x, double y, float radius, const mf_look *look) {
    memset(s, 0, sizeof(*s));
    s->world = w;
    s->style = w->style;
    s->look = *look;
    s->ox = (int32_t)(floor(x / 64 + 0.5) * 64);
    s->oy = (int32_t)(floor(y / 64 + 0.5) * 64);
    float least = w->style->pitch_x < w->style->pitch_y ? w->style->pitch_x : w->style->pitch_y;
    int reach = (int)(radius / least) + 3, i, j;
    mf_plan_cell(w, x, y, &i, &j);
    s->i0 = i - reach;
    s->j0 = j - reach;
    s->ni = s->nj = 2 * reach + 1;
    s->block = mf_alloc(w->context, (size_t)s->ni * (size_t)s->nj * sizeof(*s->block));
    if (!s->block)
        return mf_fail_memory(w->context, (size_t)s->ni * (size_t)s->nj * sizeof(*s->block), "the blocks of a town");
    for (int k = 0; k < s->ni * s->nj; k++)
        place_block(s, s->i0 + k % s->ni, s->j0 + k / s->ni, &s->block[k]);
    fill(s, (float)(x - s->ox), (float)(y - s->oy), radius);
    if (s->status != MFRGN_OK)
        mf_scene_close(s);
    return s->status;
}

void mf_scene_close(mf_scene *s) {
    mfrgn_context *context = s->world->context;
    mf_free(context, s->block);
    mf_free(context, s->object);
    mf_free(context, s->shade.height);
    mf_free(context, s->shade.top);
    s->block = NULL;
    s->object = NULL;
    s->shade.height = s->shade.top = NULL;
}

static int inside(const mf_block *b, float x, float y) {
    for (int k = 0; k < b->edges; k++) {
        const mf_edge *e = &b->edge[k];
        if ((x - b->x - e->mx) * e->nx + (y - b->y - e->my) * e->ny < 0)
            return 0;
    }
    return 1;
}

const mf_block *mf_scene_block(mf_scene *s, float x, float y) {
    int i, j;
    float best = 1e30f;
    const mf_block *found = NULL;
    if (s->last && inside(s->last, x, y))
        return s->last;
    mf_plan_cell(s->world, (double)x + s->ox, (double)y + s->oy, &i, &j);
    for (int v = j - 1; v <= j + 1; v++)
        for (int u = i - 1; u <= i + 1; u++) {
            if (u < s->i0 || v < s->j0 || u >= s->i0 + s->ni || v >= s->j0 + s->nj)
                continue;
            const mf_block *b = &s->block[(v - s->j0) * s->ni + u - s->i0];
            float d = (b->x - x) * (b->x - x) + (b->y - y) * (b->y - y);
            if (d < best)
                best = d, found = b;
        }
    if (found)
        s->last = found;
    return found;
}
