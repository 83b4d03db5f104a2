/* Which tiles a search looks at. */
#include <math.h>
#include <string.h>

#include "gallery/search.h"

typedef struct prior {
    int round, box;
    double latitude, longitude, radius;
    double south, west, north, east;
    double reach; /* degrees of latitude that the radius spans at most */
} prior;

static mfrgn_status read_prior(mfrgn_context *context, const mfrgn_filter *f, prior *p) {
    p->round = f->radius_m > 0;
    p->box = f->north > f->south;
    if (!(f->radius_m >= 0) || (p->round && !(f->latitude >= -90 && f->latitude <= 90 && isfinite(f->longitude))))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "filter: a position %g, %g with a radius of %g m", f->latitude,
                       f->longitude, f->radius_m);
    if (!(f->north >= f->south) ||
        (p->box && !(f->south >= -90 && f->north <= 90 && isfinite(f->west) && isfinite(f->east))))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "filter: a box from %g, %g to %g, %g; north must not lie below south",
                       f->south, f->west, f->north, f->east);
    p->latitude = f->latitude;
    p->longitude = f->longitude;
    p->radius = f->radius_m;
    p->reach = f->radius_m / 110000; /* a degree of latitude is at least 110,574 m */
    p->south = f->south;
    p->north = f->north;
    p->west = f->west;
    p->east = f->east;
    return MFRGN_OK;
}

static double within_turn(double degrees) {
    double d = fmod(degrees, 360);
    return d < 0 ? d + 360 : d;
}

static int lets_through(const prior *p, const mfrgn_tile *t) {
    if (!p->round && !p->box)
        return 1;
    if (!t->located)
        return 0;
    if (p->box) {
        double span = p->east - p->west, to = within_turn(t->longitude - p->west);
        if (t->latitude < p->south || t->latitude > p->north)
            return 0;
        if (fabs(span) < 360 && to > within_turn(span))
            return 0;
    }
    if (p->round) {
        if (fabs(t->latitude - p->latitude) > p->reach)
            return 0;
        return mfrgn_distance_m(p->latitude, p->longitude, t->latitude, t->longitude) <= p->radius;
    }
    return 1;
}

static mfrgn_status mark_tiles(mfrgn_context *context, const mfrgn_index *index, const mfrgn_filter *f,
                               unsigned char *mark) {
    if (!f->tiles) {
        memset(mark, 1, index->header.count);
        return MFRGN_OK;
    }
    memset(mark, 0, index->header.count);
    for (size_t i = 0; i < f->tile_count; i++) {
        if (f->tiles[i] >= index->header.count)
            return mf_fail(context, MFRGN_ERROR_ARGUMENT, "filter: tile %zu; the gallery has %llu", f->tiles[i],
                           (unsigned long long)index->header.count);
        mark[f->tiles[i]] = 1;
    }
    return MFRGN_OK;
}

mfrgn_status mf_filter_tiles(const mfrgn_index *index, mfrgn_context *context, const mfrgn_filter *f, uint32_t **out,
                             size_t *count) {
    prior p = {0};
    size_t all = index->header.count, n = 0;
    *out = NULL;
    *count = all;
    if (!f)
        return MFRGN_OK;
    if (f->struct_size < sizeof(*f))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_filter: struct_size is not set");
    MF_TRY(read_prior(context, f, &p));
    if (!p.round && !p.box && !f->tiles)
        return MFRGN_OK;
    unsigned char *mark = mf_alloc(context, all);
    uint32_t *list = mf_alloc(context, all * sizeof(*list));
    mfrgn_status status = mark && list ? mark_tiles(context, index, f, mark)
                                       : mf_fail_memory(context, all * 5, "a filter");
    for (size_t i = 0; status == MFRGN_OK && i < all; i++) {
        mfrgn_tile tile = {sizeof(tile), NULL, NULL, 0, 0, 0, 0, 0, 0};
        uint64_t id, path;
        if (!mark[i])
            continue;
        mf_tile_decode(index->tiles + i * MF_INDEX_TILE, &tile, &id, &path);
        if (lets_through(&p, &tile))
            list[n++] = (uint32_t)i;
    }
    mf_free(context, mark);
    if (status != MFRGN_OK || n == all) {
        mf_free(context, list);
        return status;
    }
    *out = list;
    *count = n;
    return MFRGN_OK;
}
