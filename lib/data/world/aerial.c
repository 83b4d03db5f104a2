/* The view from above: an orthographic picture, north up, 2 x 2 samples a pixel. */
#include "data/world/world.h"

enum { FINE = 2 };

typedef struct canvas {
    int width, height; /* samples */
    float step, west, north;
    float *z;
    int32_t *object; /* -1: the ground */
} canvas;

static void draw(canvas *c, const mf_object *o, int32_t index) {
    float r = o->object == MF_BUILDING || o->object == MF_BOX ? 0.0f : o->hx;
    float ex = r > 0 ? r : fabsf(o->ax) * o->hx + fabsf(o->ay) * o->hy;
    float ey = r > 0 ? r : fabsf(o->ay) * o->hx + fabsf(o->ax) * o->hy;
    int x0 = (int)mf_floor((o->x - ex - c->west) / c->step), x1 = (int)mf_floor((o->x + ex - c->west) / c->step);
    int y0 = (int)mf_floor((c->north - o->y - ey) / c->step), y1 = (int)mf_floor((c->north - o->y + ey) / c->step);
    x0 = x0 < 0 ? 0 : x0;
    y0 = y0 < 0 ? 0 : y0;
    x1 = x1 >= c->width ? c->width - 1 : x1;
    y1 = y1 >= c->height ? c->height - 1 : y1;
    for (int y = y0; y <= y1; y++)
        for (int x = x0; x <= x1; x++) {
            int k = y * c->width + x;
            float z =
                mf_object_height(o, c->west + ((float)x + 0.5f) * c->step, c->north - ((float)y + 0.5f) * c->step);
            if (z > c->z[k]) {
                c->z[k] = z;
                c->object[k] = index;
            }
        }
}

static mf_rgb shade(mf_scene *s, const canvas *c, int k, float lit) {
    const mf_look *l = &s->look;
    float normal[3] = {0, 0, 1}, wet = 0, x = c->west + ((float)(k % c->width) + 0.5f) * c->step;
    float y = c->north - ((float)(k / c->width) + 0.5f) * c->step;
    mf_rgb albedo;
    if (c->object[k] >= 0)
        albedo = mf_object_top(s, &s->object[c->object[k]], x, y, c->step * FINE, normal);
    else
        albedo = mf_ground(s, x, y, c->step * 1.2f, &wet);
    if (lit < 0)
        lit = mf_shade_lit(s, x, y, c->z[k]);
    mf_rgb light = mf_light(l, albedo, normal[0], normal[1], normal[2], lit, 1);
    if (wet > 0)
        light = mf_blend(light, l->zenith, wet * 0.35f);
    return light;
}

/* All samples where objects meet; where there is one thing alone, the two on a diagonal, and the light of one. */
static void pixel(mf_scene *s, const canvas *c, int px, int py, unsigned char *to) {
    mf_rgb sum = {0, 0, 0}, veil = mf_scale(s->look.horizon, 0.03f);
    int first = py * FINE * c->width + px * FINE, at[4] = {first, first + c->width + 1, first + 1, first + c->width};
    const int32_t *o = c->object;
    int alone = o[at[0]] == o[at[1]] && o[at[0]] == o[at[2]] && o[at[0]] == o[at[3]], samples = alone ? 2 : 4;
    float lit = -1;
    if (alone)
        lit = mf_shade_lit(s, c->west + (float)(px * FINE + 1) * c->step, c->north - (float)(py * FINE + 1) * c->step,
                           c->z[at[0]]);
    for (int k = 0; k < samples; k++) {
        mf_rgb one = shade(s, c, at[k], lit);
        sum.r += one.r, sum.g += one.g, sum.b += one.b;
    }
    sum = mf_scale(sum, 0.97f / (float)samples);
    mf_develop(&s->look, (mf_rgb){sum.r + veil.r, sum.g + veil.g, sum.b + veil.b}, to);
}

mfrgn_status mf_render_aerial(mf_scene *s, float x, float y, float side, mfrgn_bitmap *bitmap) {
    mfrgn_context *context = s->world->context;
    canvas c = {.width = bitmap->width * FINE, .height = bitmap->height * FINE};
    size_t samples = (size_t)c.width * (size_t)c.height;
    c.step = side / (float)c.width;
    c.west = x - side / 2;
    c.north = y + c.step * (float)c.height / 2;
    c.z = mf_calloc(context, samples, sizeof(float));
    c.object = mf_alloc(context, samples * sizeof(*c.object));
    mfrgn_status status = c.z && c.object ? mf_shade_make(s, x, y, (int)((side + 48) / 0.5f), 0.5f)
                                          : mf_fail_memory(context, samples * 8, "an aerial picture");
    if (status == MFRGN_OK) {
        for (size_t k = 0; k < samples; k++)
            c.object[k] = -1;
        for (size_t k = 0; k < s->objects; k++)
            draw(&c, &s->object[k], (int32_t)k);
        for (int py = 0; py < bitmap->height; py++)
            for (int px = 0; px < bitmap->width; px++)
                pixel(s, &c, px, py, bitmap->pixels + 3 * ((size_t)py * (size_t)bitmap->width + (size_t)px));
    }
    mf_free(context, c.z);
    mf_free(context, c.object);
    return status;
}
