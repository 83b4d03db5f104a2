/* The view from the street: an equirectangular panorama, 2 x 2 samples a pixel.
 *
 * Every surface is vertical, level or a roof, so a column of samples is a problem in a plane: each object is met at
 * known distances and covers a span of tangents of the elevation.  A column's objects, nearest first, paint what is
 * free yet; then the ground and the sky fill the rest. */
#include "data/world/world.h"

#include <stdlib.h>
#include <string.h>

enum { FINE = 2, HITS = 256 };

typedef struct hit {
    const mf_object *o;
    float d0, d1; /* where the ray enters and leaves */
    float order;
    float off; /* round objects: the axis passes so far to the left */
    int face;
} hit;

typedef struct view {
    mf_scene *s;
    float x, y, eye;
    int columns, rows;         /* samples */
    float turn, fov, vertical; /* turns */
    float *tangent, *tall;     /* of each row; metres a row covers at 1 m */
    int *first, *list;         /* objects of each column */
    /* the column */
    float dx, dy;
    mf_rgb *light;
    unsigned char *full; /* weight of the sample; 0: not painted */
    int odd;             /* of the column */
    mf_rgb *sky;
    unsigned char *have_sky;
} view;

/* ---- which objects a column meets ---- */

static int by_distance(const void *a, const void *b) {
    const mf_object *x = a, *y = b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static float reach_of(const mf_object *o) {
    return o->object == MF_BUILDING || o->object == MF_BOX ? sqrtf(o->hx * o->hx + o->hy * o->hy) : o->hx;
}

/* The columns that an object may cover: from *from, so many; 0: none. */
static int columns_of(const view *v, const mf_object *o, int *from) {
    float r = reach_of(o) + 0.05f, d = o->distance;
    int near_car = o->object != MF_BUILDING && d < r + 2.2f;
    *from = 0;
    if (near_car && (o->object == MF_BOX || o->object == MF_POLE || d < r))
        return 0;
    if (d <= r * 1.02f)
        return v->columns;
    float sine = r / d, half = mf_atan(sine / sqrtf(1 - sine * sine)) + 1e-4f;
    float middle = mf_azimuth(o->x - v->x, o->y - v->y) - v->turn;
    middle -= mf_floor(middle + 0.5f);
    float scale = (float)v->columns / v->fov;
    int a = (int)mf_floor((middle - half) * scale + (float)v->columns / 2 - 0.5f);
    int b = (int)mf_floor((middle + half) * scale + (float)v->columns / 2 + 0.5f);
    *from = a;
    return b - a + 1;
}

/* Calls for each column in the picture; a full turn wraps. */
static int wrap_column(const view *v, int column) {
    if (v->fov >= 0.9999f) {
        column %= v->columns;
        return column < 0 ? column + v->columns : column;
    }
    return column >= 0 && column < v->columns ? column : -1;
}

static mfrgn_status sort_out(view *v) {
    mf_scene *s = v->s;
    size_t total = 0;
    int from, kept = 0;
    for (size_t k = 0; k < s->objects; k++) {
        mf_object *o = &s->object[k];
        o->distance = sqrtf((o->x - v->x) * (o->x - v->x) + (o->y - v->y) * (o->y - v->y));
    }
    qsort(s->object, s->objects, sizeof(*s->object), by_distance);
    memset(v->first, 0, ((size_t)v->columns + 1) * sizeof(*v->first));
    for (int pass = 0; pass < 2; pass++) {
        if (pass) {
            for (int c = 0; c < v->columns; c++)
                total += (size_t)v->first[c];
            v->list = mf_alloc(s->world->context, (total + 1) * sizeof(*v->list));
            if (!v->list)
                return mf_fail_memory(s->world->context, total * sizeof(*v->list), "a panorama");
            int at = 0;
            for (int c = 0; c <= v->columns; c++) {
                int n = c < v->columns ? v->first[c] : 0;
                v->first[c] = at;
                at += n;
            }
        }
        for (size_t k = 0; k < s->objects; k++) {
            int n = columns_of(v, &s->object[k], &from);
            n = n > v->columns ? v->columns : n;
            for (int c = from; c < from + n; c++) {
                int at = wrap_column(v, c);
                if (at >= 0 && pass)
                    v->list[v->first[at]++] = (int)k;
                else if (at >= 0)
                    v->first[at]++;
            }
        }
    }
    for (int c = v->columns; c > 0; c--)
        v->first[c] = v->first[c - 1];
    v->first[0] = 0;
    (void)kept;
    return MFRGN_OK;
}

static int meet_box(const view *v, const mf_object *o, hit *h) {
    float px = v->x - o->x, py = v->y - o->y;
    float p[2] = {px * o->ax + py * o->ay, -px * o->ay + py * o->ax};
    float d[2] = {v->dx * o->ax + v->dy * o->ay, -v->dx * o->ay + v->dy * o->ax}, half[2] = {o->hx, o->hy};
    float enter = -1e9f, leave = 1e9f;
    for (int k = 0; k < 2; k++) {
        if (fabsf(d[k]) < 1e-7f) {
            if (fabsf(p[k]) > half[k])
                return 0;
            continue;
        }
        float a = (-half[k] - p[k]) / d[k], b = (half[k] - p[k]) / d[k];
        int face = 2 * k + (d[k] > 0);
        float low = a < b ? a : b, high = a < b ? b : a;
        if (low > enter)
            enter = low, h->face = face;
        leave = high < leave ? high : leave;
    }
    h->o = o;
    h->d0 = enter;
    h->d1 = leave;
    return enter < leave && enter > 0.05f;
}

static int meet_round(const view *v, const mf_object *o, hit *h) {
    float px = o->x - v->x, py = o->y - v->y, along = px * v->dx + py * v->dy, off = px * v->dy - py * v->dx;
    float half = o->hx * o->hx - off * off;
    if (half <= 0 || along < 0.3f)
        return 0;
    half = sqrtf(half);
    *h = (hit){o, along - half, along + half, 0, off, 0};
    if (o->object != MF_CROWN)
        h->d0 = along - half * 0.3f;
    return h->d0 > 0.05f;
}

/* ---- painting ---- */

static int row_of(const view *v, float tangent) {
    float r = (0.5f - mf_atan(tangent) / v->vertical) * (float)v->rows;
    return r < 0 ? 0 : r > (float)v->rows ? v->rows : (int)(r + 0.5f);
}

static void put(view *v, int row, mf_rgb c, float distance) {
    float f = distance / (distance + v->s->look.haze);
    v->light[row] = mf_blend(c, v->s->look.horizon, f);
    v->full[row] = 1;
}

static void paint_wall(view *v, const hit *h, float top) {
    const mf_object *o = h->o;
    const mf_look *l = &v->s->look;
    float x = v->x + v->dx * h->d0, y = v->y + v->dy * h->d0, dx = x - o->x, dy = y - o->y;
    float sign = h->face & 1 ? -1.0f : 1.0f, nx = sign * (h->face < 2 ? o->ax : -o->ay),
          ny = sign * (h->face < 2 ? o->ay : o->ax);
    float along = h->face < 2 ? -dx * o->ay + dy * o->ax : dx * o->ax + dy * o->ay, glass;
    float facing = nx * l->sun_x + ny * l->sun_y, slant = fabsf(nx * v->dx + ny * v->dy) + 0.08f;
    int r0 = row_of(v, (top - v->eye) / h->d0), r1 = row_of(v, (o->z0 - v->eye) / h->d0);
    for (int r = r0; r < r1; r++) {
        if (v->full[r])
            continue;
        float z = v->eye + h->d0 * v->tangent[r], width = h->d0 * v->tall[r] * (0.5f + 0.5f / slant);
        mf_rgb c = mf_object_wall(v->s, o, h->face, along, z, width, &glass);
        float lit = facing > 0 ? mf_shade_lit(v->s, x + nx * 0.8f, y + ny * 0.8f, z) : 0;
        c = mf_light(l, c, nx, ny, 0, lit, 0.75f + 0.25f * mf_rise(z, 0, 4));
        if (glass > 0) {
            float up = mf_clamp(v->tangent[r] * 0.8f + 0.3f, 0, 1);
            mf_rgb mirrored = mf_blend(mf_scale(l->horizon, 0.6f), l->zenith, up);
            c = mf_blend(c, mirrored, glass * (o->style == 2 ? 0.45f : 0.22f));
        }
        put(v, r, c, h->d0);
    }
}

/* The piece of a roof between two distances, seen where it rises. */
static void paint_roof(view *v, const hit *h, float da, float za, float db, float zb) {
    float ta = (za - v->eye) / da, tb = (zb - v->eye) / db, k = (zb - za) / (db - da), normal[3];
    if (tb <= ta)
        return;
    int r0 = row_of(v, tb), r1 = row_of(v, ta);
    for (int r = r0; r < r1; r++) {
        if (v->full[r])
            continue;
        float d = (za - v->eye - k * da) / (v->tangent[r] - k);
        d = mf_clamp(d, da, db);
        float x = v->x + v->dx * d, y = v->y + v->dy * d, z = v->eye + d * v->tangent[r];
        mf_rgb c = mf_object_top(v->s, h->o, x, y, d * v->tall[r] * 2, normal);
        c = mf_light(&v->s->look, c, normal[0], normal[1], normal[2], mf_shade_lit(v->s, x, y, z + 0.2f), 1);
        put(v, r, c, d);
    }
}

static float top_at(const view *v, const hit *h, float d) {
    const mf_object *o = h->o;
    float dx = v->x + v->dx * d - o->x, dy = v->y + v->dy * d - o->y;
    float u = mf_clamp(dx * o->ax + dy * o->ay, -o->hx, o->hx), w = mf_clamp(-dx * o->ay + dy * o->ax, -o->hy, o->hy);
    float x = o->x + (o->ax * u - o->ay * w) * 0.9999f, y = o->y + (o->ay * u + o->ax * w) * 0.9999f;
    return mf_object_height(o, x, y);
}

/* The largest tangent that was painted solid from the ground up. */
static float paint_box(view *v, const hit *h) {
    const mf_object *o = h->o;
    float d = h->d0, z = o->roof == MF_FLAT ? o->z1 : top_at(v, h, d), most = (z - v->eye) / d;
    paint_wall(v, h, z);
    if (o->roof == MF_FLAT) {
        if (o->z1 < v->eye)
            paint_roof(v, h, h->d0, o->z1, h->d1, o->z1);
        return o->z1 < v->eye ? (o->z1 - v->eye) / h->d1 : most;
    }
    enum { PIECES = 8 };
    for (int k = 1; k <= PIECES; k++) {
        float next = h->d0 + (h->d1 - h->d0) * (float)k / PIECES, zn = top_at(v, h, next);
        paint_roof(v, h, d, z, next, zn);
        float t = (zn - v->eye) / next;
        most = t > most ? t : most;
        d = next;
        z = zn;
    }
    return most;
}

static void paint_crown(view *v, const hit *h) {
    const mf_object *o = h->o;
    const mf_look *l = &v->s->look;
    float half = (o->z1 - o->z0) / 2, zc = o->z0 + half, dc = (h->d0 + h->d1) / 2, chord = (h->d1 - h->d0) / 2;
    float b = half * chord / o->hx, q = v->eye - zc;
    int32_t salt = (int32_t)(o->hash & 0xffff);
    int r0 = row_of(v, (zc + b * 1.02f - v->eye) / h->d0), r1 = row_of(v, (zc - b * 1.02f - v->eye) / h->d0);
    if (zc + b < v->eye)
        r0 = row_of(v, (zc + b - v->eye) / h->d1);
    if (zc - b > v->eye)
        r1 = row_of(v, (zc - b - v->eye) / h->d1);
    for (int r = r0; r < r1; r++) {
        if (v->full[r])
            continue;
        /* ((d - dc) / chord)^2 + ((q + d t) / b)^2 = 1 */
        float t = v->tangent[r], ia = 1 / (chord * chord), ib = 1 / (b * b);
        float A = ia + t * t * ib, B = -dc * ia + q * t * ib, C = dc * dc * ia + q * q * ib - 1, D = B * B - A * C;
        if (D <= 0)
            continue;
        float d = (-B - sqrtf(D)) / A, z = v->eye + d * t, lx = (d - dc) / o->hx, lz = (z - zc) / half,
              ly = h->off / o->hx;
        float rim = sqrtf(D) / (A * chord); /* 0 at the outline */
        float su = (lx * 0.7f + ly) * o->hx * 1.7f, sv = z * 1.7f;
        float leaf = mf_noise(su, sv, salt, 0), small = mf_noise(su * 2.7f, sv * 2.7f, 0, salt);
        if (rim < 0.55f && leaf * 0.6f + small * 0.4f < 0.68f - rim * 1.1f)
            continue;
        float nx = lx * v->dx + ly * v->dy, ny = lx * v->dy - ly * v->dx;
        nx = -nx * -1;
        mf_rgb c = mf_scale(mf_times(o->wall, l->leaf_tint), 0.3f + 0.95f * leaf * leaf + 0.7f * small);
        float lit = mf_shade_lit(v->s, v->x + v->dx * d + nx, v->y + v->dy * d + ny, z + 1);
        put(v, r, mf_light(l, c, nx * 0.8f, ny * 0.8f, lz * 0.7f + 0.25f, lit, 0.7f + 0.3f * lz), d);
    }
}

static void paint_flat(view *v, const hit *h) {
    const mf_object *o = h->o;
    const mf_look *l = &v->s->look;
    float side = h->off / o->hx, d = (h->d0 + h->d1) / 2, top = o->z1, low = o->z0;
    int32_t salt = (int32_t)(o->hash & 0xffff);
    if (o->object == MF_CONE)
        top = o->z1 - (o->z1 - o->z0) * fabsf(side);
    int r0 = row_of(v, (top - v->eye) / d), r1 = row_of(v, (low - v->eye) / d);
    float nx = -side * v->dy - v->dx * 0.6f, ny = side * v->dx - v->dy * 0.6f;
    for (int r = r0; r < r1; r++) {
        if (v->full[r])
            continue;
        float z = v->eye + d * v->tangent[r], leaf = 1;
        if (o->object == MF_CONE) {
            float tier = mf_fraction((z - o->z0) * 0.9f + fabsf(side));
            leaf = mf_noise(h->off * 3, z * 3, salt, 0);
            if (top - z < 0.5f && leaf < 0.45f)
                continue;
            leaf = 0.5f + 0.6f * leaf + (tier < 0.3f ? -0.25f : 0.1f);
        } else if (o->object == MF_PALM) {
            float a = side, b = (z - (o->z1 - 0.8f)) / 0.9f, rr = sqrtf(a * a + b * b);
            float fan = fabsf(mf_fraction(mf_azimuth(a, b + 0.3f) * 11) - 0.5f) * 2;
            if (rr > 1 || (fan > 0.55f && rr > 0.25f) || b < -0.9f + 0.3f * a * a)
                continue;
            leaf = 0.7f + 0.6f * fan;
        }
        mf_rgb c = o->object == MF_POLE ? o->wall : mf_times(mf_scale(o->wall, leaf), l->leaf_tint);
        if (o->object == MF_CONE && l->snow > 0)
            c = mf_blend(c, (mf_rgb){.75f, .77f, .8f}, l->snow * 0.5f * mf_rise(leaf, 0.8f, 1.1f));
        float lit = mf_shade_lit(v->s, v->x + v->dx * d - v->dx, v->y + v->dy * d - v->dy, z + 1);
        put(v, r, mf_light(l, c, nx, ny, 0.3f, lit, 0.8f), d);
    }
}

/* Of the ground every second sample, chequered, counts double. */
static void paint_ground(view *v, int r) {
    const mf_look *l = &v->s->look;
    if ((r + v->odd) & 1)
        return;
    float t = v->tangent[r], d = v->eye / -t, deep = v->tall[r] * (1 + t * t) * d / -t,
          across = d * v->fov * 6.2831853f / (float)v->columns;
    float wet, x = v->x + v->dx * d, y = v->y + v->dy * d;
    deep = deep > 400 ? 400 : deep;
    mf_rgb c = mf_ground(v->s, x, y, sqrtf(deep * across), &wet);
    c = mf_light(l, c, 0, 0, 1, mf_shade_lit(v->s, x, y, 0), 1);
    if (wet > 0)
        c = mf_blend(c, mf_blend(l->horizon, l->zenith, 0.3f), mf_clamp(wet * 1.6f, 0, 0.75f));
    put(v, r, c, d);
    v->full[r] = 2;
}

static void paint_rest(view *v) {
    for (int r = 0; r < v->rows; r++) {
        if (v->full[r])
            continue;
        if (v->tangent[r] < -1e-3f && v->eye / -v->tangent[r] < 2500) {
            paint_ground(v, r);
            continue;
        }
        int k = r / FINE; /* the sky is smooth: a sample a pixel */
        if (!v->have_sky[k]) {
            v->sky[k] = mf_sky(v->s, v->dx, v->dy, v->tangent[r]);
            v->have_sky[k] = 1;
        }
        v->light[r] = v->sky[k];
        v->full[r] = 1;
    }
}

static void paint_column(view *v, int column) {
    hit hits[HITS];
    int n = 0;
    float turn = v->turn + (((float)column + 0.5f) / (float)v->columns - 0.5f) * v->fov, solid = -1e9f;
    mf_sincos(turn, &v->dx, &v->dy);
    memset(v->full, 0, (size_t)v->rows);
    v->odd = column & 1;
    for (int k = v->first[column]; k < v->first[column + 1] && n < HITS; k++) {
        const mf_object *o = &v->s->object[v->list[k]];
        hit h = {0};
        if (!(o->object == MF_BUILDING || o->object == MF_BOX ? meet_box(v, o, &h) : meet_round(v, o, &h)))
            continue;
        /* what stands on something below the eye is nearer than the top of that */
        h.order = o->object == MF_BOX && o->z0 > 0.5f && o->z0 < v->eye ? h.d0 - 2.5f : h.d0;
        int at = n++;
        for (; at > 0 && hits[at - 1].order > h.order; at--)
            hits[at] = hits[at - 1];
        hits[at] = h;
    }
    for (int k = 0; k < n; k++) {
        const mf_object *o = hits[k].o;
        float d = o->zr > v->eye ? hits[k].d0 : hits[k].d1;
        if ((o->zr - v->eye) / d <= solid)
            continue;
        if (o->object == MF_BUILDING || o->object == MF_BOX) {
            float top = paint_box(v, &hits[k]);
            if (o->z0 == 0 && top > solid)
                solid = top;
        } else if (o->object == MF_CROWN) {
            paint_crown(v, &hits[k]);
        } else {
            paint_flat(v, &hits[k]);
        }
    }
    paint_rest(v);
}

/* ---- the picture ---- */

static void make_rows(view *v) {
    for (int r = 0; r < v->rows; r++) {
        float s, c;
        mf_sincos((0.5f - ((float)r + 0.5f) / (float)v->rows) * v->vertical, &s, &c);
        c = c < 1e-4f ? 1e-4f : c;
        v->tangent[r] = s / c;
        v->tall[r] = v->vertical * 6.2831853f / (float)v->rows;
    }
}

static void render(view *v, mfrgn_bitmap *bitmap) {
    mf_rgb *light = v->light;
    unsigned char *full = v->full;
    for (int column = 0; column < bitmap->width; column++) {
        memset(v->have_sky, 0, (size_t)bitmap->height);
        for (int k = 0; k < FINE; k++) {
            v->light = light + k * v->rows;
            v->full = full + k * v->rows;
            paint_column(v, column * FINE + k);
        }
        v->light = light;
        v->full = full;
        for (int y = 0; y < bitmap->height; y++) {
            mf_rgb sum = {0, 0, 0};
            float weight = 0;
            for (int k = 0; k < FINE * FINE; k++) {
                int at = (k / FINE) * v->rows + y * FINE + k % FINE;
                float w = (float)full[at];
                weight += w;
                sum.r += w * light[at].r, sum.g += w * light[at].g, sum.b += w * light[at].b;
            }
            mf_develop(&v->s->look, mf_scale(sum, 1 / weight),
                       bitmap->pixels + 3 * ((size_t)y * (size_t)bitmap->width + (size_t)column));
        }
    }
}

mfrgn_status mf_render_ground(mf_scene *s, float x, float y, float eye, float heading, float fov,
                              mfrgn_bitmap *bitmap) {
    mfrgn_context *context = s->world->context;
    view v = {.s = s, .x = x, .y = y, .eye = eye, .turn = heading / 360, .fov = fov / 360};
    v.columns = bitmap->width * FINE;
    v.rows = bitmap->height * FINE;
    v.vertical = v.fov * (float)bitmap->height / (float)bitmap->width;
    v.vertical = v.vertical > 0.5f ? 0.5f : v.vertical;
    size_t rows = (size_t)v.rows,
           bytes = rows * (2 * sizeof(float) + FINE * sizeof(mf_rgb) + FINE + sizeof(mf_rgb) + 1) +
                   ((size_t)v.columns + 1) * sizeof(int);
    char *memory = mf_alloc(context, bytes);
    if (!memory)
        return mf_fail_memory(context, bytes, "a panorama");
    v.light = (mf_rgb *)memory;
    v.sky = v.light + FINE * rows;
    v.tangent = (float *)(v.sky + rows);
    v.tall = v.tangent + rows;
    v.first = (int *)(v.tall + rows);
    v.full = (unsigned char *)(v.first + v.columns + 1);
    v.have_sky = v.full + FINE * rows;
    make_rows(&v);
    mfrgn_status status = mf_shade_make(s, x, y, 400, 0.5f);
    if (status == MFRGN_OK)
        status = sort_out(&v);
    if (status == MFRGN_OK)
        render(&v, bitmap);
    mf_free(context, v.list);
    mf_free(context, memory);
    return status;
}
