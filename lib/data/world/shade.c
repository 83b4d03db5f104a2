/* Shadows: a map of heights and, swept away from the sun over it, of the tops of the shadows. */
#include "data/world/world.h"

static void raise(mf_shade *m, const mf_object *o) {
    float r = o->hx + o->hy + 0.1f;
    if (o->object == MF_CROWN || o->object == MF_CONE || o->object == MF_PALM || o->object == MF_POLE)
        r = o->hx;
    int x0 = (int)mf_floor((o->x - r - m->x) / m->cell), x1 = (int)mf_floor((o->x + r - m->x) / m->cell) + 1;
    int y0 = (int)mf_floor((o->y - r - m->y) / m->cell), y1 = (int)mf_floor((o->y + r - m->y) / m->cell) + 1;
    x0 = x0 < 0 ? 0 : x0;
    y0 = y0 < 0 ? 0 : y0;
    x1 = x1 >= m->size ? m->size - 1 : x1;
    y1 = y1 >= m->size ? m->size - 1 : y1;
    for (int y = y0; y <= y1; y++)
        for (int x = x0; x <= x1; x++) {
            float *h = &m->height[y * m->size + x];
            float z = mf_object_height(o, m->x + ((float)x + 0.5f) * m->cell, m->y + ((float)y + 0.5f) * m->cell);
            if (z > *h)
                *h = z;
        }
}

/* The top of the shadow over a cell is that of the point one step towards the sun, less what a step descends. */
static void sweep(mf_shade *m, const mf_look *l) {
    float ax = fabsf(l->sun_x), ay = fabsf(l->sun_y), major = ax > ay ? ax : ay;
    int along_x = ax > ay, n = m->size, forward = (along_x ? l->sun_x : l->sun_y) < 0;
    float drop = l->sun_z / major * m->cell, slope = (along_x ? l->sun_y : l->sun_x) / major;
    int du = along_x ? 1 : n, dv = along_x ? n : 1, back = forward ? -1 : 1;
    for (int k = 0; k < n; k++) {
        int u = forward ? k : n - 1 - k;
        for (int v = 0; v < n; v++) {
            float *to = &m->top[u * du + v * dv];
            float at = (float)v + slope, low = mf_floor(at), f = at - low;
            int v0 = (int)low, from = (u + back) * du;
            *to = 0;
            if (k == 0 || v0 < 0 || v0 + 1 >= n)
                continue;
            int p = from + v0 * dv, q = p + dv;
            float a = m->height[p] > m->top[p] ? m->height[p] : m->top[p];
            float b = m->height[q] > m->top[q] ? m->height[q] : m->top[q];
            float top = a + (b - a) * f - drop;
            *to = top > 0 ? top : 0;
        }
    }
}

mfrgn_status mf_shade_make(mf_scene *s, float x, float y, int size, float cell) {
    mf_shade *m = &s->shade;
    mfrgn_context *context = s->world->context;
    *m = (mf_shade){.size = size, .cell = cell, .x = x - (float)size * cell / 2, .y = y - (float)size * cell / 2};
    m->height = mf_calloc(context, (size_t)size * (size_t)size, sizeof(float));
    m->top = mf_calloc(context, (size_t)size * (size_t)size, sizeof(float));
    if (!m->height || !m->top)
        return mf_fail_memory(context, (size_t)size * (size_t)size * sizeof(float), "shadows");
    for (size_t k = 0; k < s->objects; k++)
        raise(m, &s->object[k]);
    sweep(m, &s->look);
    return MFRGN_OK;
}

float mf_shade_lit(const mf_scene *s, float x, float y, float z) {
    const mf_shade *m = &s->shade;
    float u = (x - m->x) / m->cell - 0.5f, v = (y - m->y) / m->cell - 0.5f;
    if (!(u >= 0 && v >= 0 && u < (float)(m->size - 2) && v < (float)(m->size - 2)))
        return 0.85f;
    int i = (int)u, j = (int)v;
    float fu = u - (float)i, fv = v - (float)j;
    const float *t = &m->top[j * m->size + i];
    float a = t[0] + (t[1] - t[0]) * fu, b = t[m->size] + (t[m->size + 1] - t[m->size]) * fu;
    return 1 - mf_rise(a + (b - a) * fv - z, 0.15f, 0.9f);
}
