/* Places on streets, from a town's origin outwards: at most one a square of side `spacing`, and of two that are too
 * close the one with the lower hash gives way.  So a place depends on its neighbourhood alone. */
#include "data/world/lots.h"

#include <stdlib.h>
#include <string.h>

enum { TRIES = 3, GUARD = 150 };

typedef struct candidate {
    float x, y; /* from the square's south-west corner */
    uint64_t hash;
    int there;
} candidate;

typedef struct square {
    int i, j, ring;
    uint64_t hash;
} square;

typedef struct search {
    const mfrgn_world *w;
    double side;
    int reach; /* squares -reach .. reach - 1 */
    candidate *at;
} search;

/* A point in a lane of the street nearest to a random point of the square. */
static candidate make(const search *s, int i, int j) {
    candidate c = {0};
    c.hash = mf_mix2(s->w->hash ^ 8, i, j) ^ (uint64_t)(s->side * 16);
    for (int k = 0; k < TRIES && !c.there; k++) {
        mf_block b;
        float u = mf_unit(c.hash, 2 * k) * (float)s->side, v = mf_unit(c.hash, 2 * k + 1) * (float)s->side;
        mf_plan_find(s->w, i * s->side + (double)u, j * s->side + (double)v, &b);
        const mf_edge *e = NULL;
        float in = 1e9f;
        for (int n = 0; n < b.edges; n++) {
            const mf_edge *f = &b.edge[n];
            float d = (-b.x - f->mx) * f->nx + (-b.y - f->my) * f->ny - f->half;
            if (d < in)
                in = d, e = f;
        }
        if (!e)
            continue;
        float along = (-b.x - e->mx) * e->tx + (-b.y - e->my) * e->ty;
        float to = e->half * (mf_street_has(e, MF_STREET_MEDIAN) ? 0.6f : 0.4f) - e->half - in;
        c.x = u + e->nx * to;
        c.y = v + e->ny * to;
        c.there =
            c.x >= 0 && c.y >= 0 && c.x < (float)s->side && c.y < (float)s->side && along > e->s0 && along < e->s1;
    }
    return c;
}

static const candidate *get(const search *s, int i, int j) {
    int n = 2 * s->reach;
    return i < -s->reach || j < -s->reach || i >= s->reach || j >= s->reach
               ? NULL
               : &s->at[(size_t)(j + s->reach) * (size_t)n + (size_t)(i + s->reach)];
}

static int stands(const search *s, int i, int j) {
    const candidate *c = get(s, i, j);
    if (!c->there)
        return 0;
    for (int dj = -1; dj <= 1; dj++)
        for (int di = -1; di <= 1; di++) {
            const candidate *o = get(s, i + di, j + dj);
            if (!o || o == c || !o->there || o->hash < c->hash)
                continue;
            double x = (double)o->x + di * s->side - (double)c->x, y = (double)o->y + dj * s->side - (double)c->y;
            if (x * x + y * y < s->side * s->side)
                return 0;
        }
    return 1;
}

static int in_part(mfrgn_world_part part, double east) {
    return part == MFRGN_WORLD_ALL || (part == MFRGN_WORLD_TRAIN ? east <= -GUARD : east >= GUARD);
}

static int by_ring(const void *a, const void *b) {
    const square *x = a, *y = b;
    if (x->ring != y->ring)
        return x->ring < y->ring ? -1 : 1;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static void fill(const search *s, const square *q, mfrgn_place *p) {
    const candidate *c = get(s, q->i, q->j);
    p->east = q->i * s->side + (double)c->x;
    p->north = q->j * s->side + (double)c->y;
    mfrgn_world_point(s->w, p->east, p->north, &p->latitude, &p->longitude);
}

/* The places within `reach` squares; *found: how many, up to `count`. */
static mfrgn_status look(search *s, mfrgn_world_part part, size_t count, size_t stride, mfrgn_place *places,
                         size_t *found) {
    size_t n = 2 * (size_t)s->reach, many = 0;
    mfrgn_context *context = s->w->context;
    s->at = mf_alloc(context, n * n * sizeof(*s->at));
    square *q = mf_alloc(context, n * n * sizeof(*q));
    if (!s->at || !q) {
        mf_free(context, s->at);
        mf_free(context, q);
        return mf_fail_memory(context, n * n * (sizeof(*q) + sizeof(*s->at)), "places of a town");
    }
    for (size_t k = 0; k < n * n; k++) {
        int i = (int)(k % n) - s->reach, j = (int)(k / n) - s->reach;
        int skip = part == MFRGN_WORLD_TRAIN ? (i - 1) * s->side > -GUARD
                                             : part == MFRGN_WORLD_TEST && (i + 2) * s->side < GUARD;
        s->at[k] = skip ? (candidate){0} : make(s, i, j);
    }
    for (size_t k = 0; k < n * n; k++) { /* the outermost squares do not know all their neighbours */
        int i = (int)(k % n) - s->reach, j = (int)(k / n) - s->reach;
        int a = i < 0 ? -i : i + 1, b = j < 0 ? -j : j + 1, ring = a > b ? a : b;
        if (ring < s->reach && stands(s, i, j) && in_part(part, i * s->side + (double)get(s, i, j)->x))
            q[many++] = (square){i, j, ring, get(s, i, j)->hash};
    }
    qsort(q, many, sizeof(*q), by_ring);
    *found = many < count ? many : count;
    for (size_t k = 0; k < *found && many >= count; k++)
        fill(s, &q[k], (mfrgn_place *)(void *)((char *)places + k * stride));
    mf_free(context, s->at);
    mf_free(context, q);
    return MFRGN_OK;
}

mfrgn_status mfrgn_world_places(const mfrgn_world *world, mfrgn_world_part part, double spacing_m, size_t count,
                                mfrgn_place *places) {
    if (!world)
        return MFRGN_ERROR_ARGUMENT;
    if (!places || !count || count > 1000000 || places->struct_size < sizeof(*places))
        return mf_fail(world->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_world_places: NULL, a count of %zu (1 .. 1,000,000), or struct_size is not set", count);
    if (!(spacing_m >= 10 && spacing_m <= 1000) || (int)part < 0 || part > MFRGN_WORLD_TEST)
        return mf_fail(world->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_world_places: a spacing of %g m (10 .. 1000), part %d", spacing_m, (int)part);
    search s = {.w = world, .side = spacing_m, .reach = 8 + (int)sqrt((double)count) + (int)(GUARD / spacing_m)};
    for (size_t found = 0; found < count; s.reach += 8 + s.reach / 3)
        MF_TRY(look(&s, part, count, places->struct_size, places, &found));
    return MFRGN_OK;
}
