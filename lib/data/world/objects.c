/* Objects as heights and as seen from above. */
#include "data/world/world.h"

static float roof_height(const mf_object *o, float u, float v) {
    float a = o->hy - fabsf(v), b = o->hx - fabsf(u);
    if (o->roof == MF_FLAT)
        return o->z1;
    if (o->roof == MF_HIPPED && b < a)
        a = b;
    a /= o->hy;
    return o->z1 + (o->zr - o->z1) * (a < 1 ? a : 1);
}

float mf_object_height(const mf_object *o, float x, float y) {
    float dx = x - o->x, dy = y - o->y, u = dx * o->ax + dy * o->ay, v = -dx * o->ay + dy * o->ax;
    switch (o->object) {
    case MF_BUILDING:
    case MF_BOX:
        return fabsf(u) <= o->hx && fabsf(v) <= o->hy ? roof_height(o, u, v) : -1;
    case MF_CROWN: {
        float r2 = (dx * dx + dy * dy) / (o->hx * o->hx), half = (o->z1 - o->z0) / 2;
        return r2 < 1 ? o->z0 + half + half * sqrtf(1 - r2) : -1;
    }
    case MF_CONE: {
        float r = sqrtf(dx * dx + dy * dy) / o->hx;
        return r < 1 ? o->z1 + (o->z0 - o->z1) * r : -1;
    }
    case MF_PALM: {
        float r = sqrtf(dx * dx + dy * dy) / o->hx;
        return r < 1 ? o->z1 - 1.6f * r * r : -1;
    }
    default:
        return dx * dx + dy * dy < o->hx * o->hx ? o->z1 : -1;
    }
}

static mf_rgb leaves(const mf_scene *s, const mf_object *o, float x, float y, float width, float normal[3]) {
    float dx = (x - o->x) / o->hx, dy = (y - o->y) / o->hx, r2 = dx * dx + dy * dy;
    int32_t salt = (int32_t)(o->hash & 0xffff);
    float leaf = mf_noise((x - o->x) * 1.6f, (y - o->y) * 1.6f, salt, 0);
    if (width < 0.6f)
        leaf = leaf * 0.6f + 0.4f * mf_noise((x - o->x) * 4, (y - o->y) * 4, 0, salt);
    mf_rgb c = mf_scale(mf_times(o->top, s->look.leaf_tint), 0.55f + leaf * 0.95f);
    float flat = o->object == MF_CONE ? 0.75f : 0.4f;
    normal[0] = dx * 0.9f + (leaf - 0.5f) * 0.5f;
    normal[1] = dy * 0.9f;
    normal[2] = sqrtf(r2 < 1 ? 1 - r2 : 0) * 0.8f + flat;
    if (o->object == MF_PALM) { /* fronds */
        float turn = mf_azimuth(dx, dy) * 9 + (float)salt / 9999;
        float gap = fabsf(mf_fraction(turn) - 0.5f) * 2;
        c = mf_scale(c, gap > 0.62f && r2 > 0.12f ? 0.35f : 1.1f);
    }
    float n = 1 / sqrtf(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]);
    for (int k = 0; k < 3; k++)
        normal[k] *= n;
    if (s->look.snow > 0 && o->object == MF_CONE)
        c = mf_blend(c, (mf_rgb){.75f, .77f, .8f}, s->look.snow * mf_rise(leaf, 0.35f, 0.6f) * 0.6f);
    return c;
}

static mf_rgb flat_roof(const mf_object *o, float u, float v, float width) {
    float rim = o->hx - fabsf(u) < o->hy - fabsf(v) ? o->hx - fabsf(u) : o->hy - fabsf(v);
    mf_rgb c = o->top;
    if (o->object == MF_BUILDING && rim < 0.45f + width * 0.3f) /* the parapet has the walls' colour */
        return mf_scale(o->wall, 1.1f);
    if (o->style == 3 && o->object == MF_BUILDING)
        c = mf_scale(c, mf_fraction(u / 3) < 0.12f ? 0.85f : 1);
    return mf_scale(c, 0.9f + 0.2f * mf_noise(u * 0.4f, v * 0.4f, (int32_t)(o->hash & 0xffff), 1));
}

static mf_rgb slope(const mf_object *o, float u, float v, float width, float normal[3]) {
    float rise = (o->zr - o->z1) / o->hy, along = 0, across = v > 0 ? rise : -rise;
    if (o->roof == MF_HIPPED && o->hx - fabsf(u) < o->hy - fabsf(v)) {
        along = u > 0 ? rise : -rise;
        across = 0;
    }
    float n = 1 / sqrtf(1 + rise * rise);
    normal[0] = (along * o->ax - across * o->ay) * n;
    normal[1] = (along * o->ay + across * o->ax) * n;
    normal[2] = n;
    float rows = width < 0.35f ? mf_fraction((across != 0 ? v : u) * 2) < 0.3f ? 0.88f : 1.03f : 1;
    float age = 0.86f + 0.28f * mf_noise(u * 0.7f, v * 0.7f, (int32_t)(o->hash & 0xffff), 2);
    mf_rgb c = mf_scale(o->top, rows * age);
    if (o->object == MF_BUILDING && o->style != 3 && mf_unit(o->hash, 1) < 0.25f && along == 0 &&
        width < 0.8f) { /* roof lights */
        float a = u - 4 * mf_floor(u / 4 + 0.5f);
        if (fabsf(a) < 0.5f && fabsf(fabsf(v) - o->hy * 0.5f) < 0.6f && fabsf(u) < o->hx - 1)
            c = (mf_rgb){.12f, .16f, .2f};
    }
    return c;
}

mf_rgb mf_object_top(const mf_scene *s, const mf_object *o, float x, float y, float width, float normal[3]) {
    float dx = x - o->x, dy = y - o->y, u = dx * o->ax + dy * o->ay, v = -dx * o->ay + dy * o->ax;
    mf_rgb c;
    normal[0] = normal[1] = 0;
    normal[2] = 1;
    if (o->object == MF_CROWN || o->object == MF_CONE || o->object == MF_PALM)
        return leaves(s, o, x, y, width, normal);
    if (o->object == MF_BOX && o->style == 1) /* a hedge */
        return mf_scale(o->top, 0.7f + 0.6f * mf_noise(x * 3, y * 3, 0, 0));
    if (o->roof == MF_FLAT)
        c = flat_roof(o, u, v, width);
    else
        c = slope(o, u, v, width, normal);
    if (s->look.snow > 0 && o->object == MF_BUILDING)
        c = mf_blend(
            c, (mf_rgb){.8f, .82f, .86f},
            mf_rise(s->look.snow * (0.5f + mf_noise(u * 0.3f, v * 0.3f, (int32_t)(o->hash >> 8), 3)), 0.2f, 0.5f));
    return c;
}
