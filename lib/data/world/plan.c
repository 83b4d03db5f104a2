/* The plan of a town: blocks are Voronoi cells of a turned, staggered and jittered lattice. */
#include "data/world/world.h"

#include <string.h>

enum { CORNERS = 24, REACH = 2 };

typedef struct polygon {
    int count;
    float x[CORNERS], y[CORNERS];
    int id[CORNERS]; /* of the side that begins at the corner */
} polygon;

static void directions(const mf_style *s, double *c, double *n) {
    float sine, cosine;
    mf_sincos(s->turn, &sine, &cosine);
    *c = (double)cosine;
    *n = (double)sine;
}

void mf_plan_seed(const mfrgn_world *w, int i, int j, double *x, double *y) {
    const mf_style *s = w->style;
    uint64_t own = mf_mix2(w->hash, i, j), column = mf_mix2(w->hash ^ 1, i, 0), row = mf_mix2(w->hash ^ 2, 0, j);
    double a = i + (double)(j & 1) * 0.5 * s->stagger + s->line_jitter * (mf_unit(column, 0) - 0.5) +
               s->free_jitter * (mf_unit(own, 1) - 0.5);
    double b = j + s->line_jitter * (mf_unit(row, 0) - 0.5) + s->free_jitter * (mf_unit(own, 2) - 0.5);
    double c, n;
    directions(s, &c, &n);
    a *= s->pitch_x;
    b *= s->pitch_y;
    *x = a * c - b * n;
    *y = a * n + b * c;
}

void mf_plan_cell(const mfrgn_world *w, double x, double y, int *i, int *j) {
    const mf_style *s = w->style;
    double c, n;
    directions(s, &c, &n);
    *j = (int)floor((y * c - x * n) / s->pitch_y + 0.5);
    *i = (int)floor((x * c + y * n) / s->pitch_x - (double)(*j & 1) * 0.5 * s->stagger + 0.5);
}

/* Keeps the part of `p` nearer to the seed than to (dx, dy). */
static void cut(polygon *p, float dx, float dy, int id) {
    polygon q = {0};
    float half = (dx * dx + dy * dy) / 2;
    for (int k = 0; k < p->count; k++) {
        int next = k + 1 < p->count ? k + 1 : 0;
        float a = p->x[k] * dx + p->y[k] * dy - half, b = p->x[next] * dx + p->y[next] * dy - half;
        float t = a / (a - b);
        if (a <= 0) {
            q.x[q.count] = p->x[k];
            q.y[q.count] = p->y[k];
            q.id[q.count++] = p->id[k];
        }
        if ((a <= 0) != (b <= 0)) {
            q.x[q.count] = p->x[k] + (p->x[next] - p->x[k]) * t;
            q.y[q.count] = p->y[k] + (p->y[next] - p->y[k]) * t;
            q.id[q.count++] = a <= 0 ? id : p->id[k];
        }
    }
    *p = q;
}

/* One about every so many lines of streets is major; a street that follows no line, half as often. */
static int is_major(const mfrgn_world *w, int i, int j, int di, int dj) {
    int every = w->style->major_every;
    if (dj == 0)
        return mf_pick(mf_mix2(w->hash ^ 3, di > 0 ? i : i - 1, 0), 0, every) == 0;
    if (di == 0 || w->style->stagger > 0)
        return mf_pick(mf_mix2(w->hash ^ 4, 0, dj > 0 ? j : j - 1), 0, every) == 0;
    return 0;
}

static void make_edge(const mfrgn_world *w, const mf_block *b, int di, int dj, float dx, float dy, float x0, float y0,
                      float x1, float y1, mf_edge *e) {
    float length = sqrtf(dx * dx + dy * dy);
    int first = dj > 0 || (dj == 0 && di > 0);
    int i = first ? b->i : b->i + di, j = first ? b->j : b->j + dj;
    memset(e, 0, sizeof(*e));
    e->nx = -dx / length;
    e->ny = -dy / length;
    e->mx = dx / 2;
    e->my = dy / 2;
    e->tx = first ? e->ny : -e->ny;
    e->ty = first ? -e->nx : e->nx;
    float a = (x0 - e->mx) * e->tx + (y0 - e->my) * e->ty, c = (x1 - e->mx) * e->tx + (y1 - e->my) * e->ty;
    e->s0 = a < c ? a : c;
    e->s1 = a < c ? c : a;
    e->side = !first;
    e->hash = mf_mix2(w->hash ^ 5, mf_mix2(7, i, j) & 0xffffffff, first ? 4 * di + dj : -4 * di - dj);
    e->major = is_major(w, b->i, b->j, di, dj);
    e->half = e->major ? w->style->major : w->style->minor;
}

static mf_block_kind draw_kind(const mfrgn_world *w, uint64_t hash, double x, double y) {
    const mf_style *s = w->style;
    int32_t shift = (int32_t)(w->hash & 0xffff);
    float centre = mf_noise((float)(x / 420), (float)(y / 420), shift, 0) * 0.75f +
                   mf_noise((float)(x / 130), (float)(y / 130), 0, shift) * 0.25f;
    const unsigned char *weight = mf_rise(centre, 0.34f, 0.62f) > mf_unit(hash, 3) ? s->centre : s->outside;
    int total = 0, kind = 0;
    for (int k = 0; k < MF_KINDS; k++)
        total += weight[k];
    for (int at = mf_pick(hash, 4, total); at >= weight[kind]; kind++)
        at -= weight[kind];
    return (mf_block_kind)kind;
}

static void measure(const mf_style *style, mf_block *b) {
    float longest = -1;
    b->inner = 1e9f;
    for (int k = 0; k < b->edges; k++) {
        const mf_edge *e = &b->edge[k];
        float length = e->s1 - e->s0, free = -(e->nx * e->mx + e->ny * e->my) - e->half - style->walk - style->verge;
        b->inner = free < b->inner ? free : b->inner;
        if (length > longest) {
            longest = length;
            b->ax = e->tx;
            b->ay = e->ty;
        }
    }
}

void mf_plan_block(const mfrgn_world *w, int i, int j, mf_block *b) {
    double x, y, u, v;
    float far = (w->style->pitch_x + w->style->pitch_y) * 2;
    polygon p = {4, {-far, far, far, -far}, {-far, -far, far, far}, {-1, -1, -1, -1}};
    float dx[(2 * REACH + 1) * (2 * REACH + 1)], dy[(2 * REACH + 1) * (2 * REACH + 1)];
    memset(b, 0, sizeof(*b));
    mf_plan_seed(w, i, j, &x, &y);
    b->i = i;
    b->j = j;
    b->hash = mf_mix2(w->hash ^ 6, i, j);
    b->kind = draw_kind(w, b->hash, x, y);
    for (int k = 0; k < (int)MF_COUNT(dx); k++) {
        int di = k % (2 * REACH + 1) - REACH, dj = k / (2 * REACH + 1) - REACH;
        mf_plan_seed(w, i + di, j + dj, &u, &v);
        dx[k] = (float)(u - x);
        dy[k] = (float)(v - y);
        if (di || dj)
            cut(&p, dx[k], dy[k], k);
    }
    for (int k = 0; k < p.count && b->edges < MF_EDGES; k++) {
        int next = k + 1 < p.count ? k + 1 : 0, id = p.id[k];
        if (id < 0 || fabsf(p.x[k] - p.x[next]) + fabsf(p.y[k] - p.y[next]) < 0.05f)
            continue;
        make_edge(w, b, id % (2 * REACH + 1) - REACH, id / (2 * REACH + 1) - REACH, dx[id], dy[id], p.x[k], p.y[k],
                  p.x[next], p.y[next], &b->edge[b->edges++]);
    }
    measure(w->style, b);
    mf_lots_prepare(w->style, b);
}

void mf_plan_find(const mfrgn_world *w, double x, double y, mf_block *b) {
    int i, j, besti = 0, bestj = 0;
    double best = 1e300, u, v, bx = 0, by = 0;
    mf_plan_cell(w, x, y, &i, &j);
    for (int dj = -1; dj <= 1; dj++)
        for (int di = -1; di <= 1; di++) {
            mf_plan_seed(w, i + di, j + dj, &u, &v);
            double d = (u - x) * (u - x) + (v - y) * (v - y);
            if (d < best)
                best = d, besti = i + di, bestj = j + dj, bx = u, by = v;
        }
    mf_plan_block(w, besti, bestj, b);
    b->x = (float)(bx - x);
    b->y = (float)(by - y);
}
