/* From weighted points to an estimate. */
#include <math.h>

#include "gallery/geodesy.h"
#include "locate/locate.h"

mf_place mf_place_of(const mfrgn_tile *tile, double weight) {
    double w = tile->width_m > 0 ? tile->width_m : 50, h = tile->height_m > 0 ? tile->height_m : 50;
    return (mf_place){tile->latitude, tile->longitude, w / sqrt(12), h / sqrt(12), weight};
}

/* A point that has much weight around it would serve better than the heaviest one, but the heaviest is the answer that
 * retrieval is judged by; what lies around it refines it. */
static const mf_place *heaviest(const mf_place *place, size_t n) {
    const mf_place *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (place[i].weight > 0 && (!best || place[i].weight > best->weight))
            best = &place[i];
    return best;
}

int mf_places_estimate(const mf_place *place, size_t n, double reach_m, mfrgn_estimate *e) {
    const mf_place *best = heaviest(place, n);
    double sum = 0, east = 0, north = 0, all = 0, ee = 0, nn = 0, en = 0;
    if (!best)
        return 0;
    for (size_t i = 0; i < n; i++) {
        double x, y;
        mf_enu_from_degrees(best->latitude, best->longitude, place[i].latitude, place[i].longitude, &x, &y);
        if (x * x + y * y > reach_m * reach_m)
            continue;
        sum += place[i].weight;
        east += place[i].weight * x;
        north += place[i].weight * y;
    }
    mf_degrees_from_enu(best->latitude, best->longitude, east / sum, north / sum, &e->latitude, &e->longitude);
    for (size_t i = 0; i < n; i++) {
        double x, y;
        const mf_place *p = &place[i];
        mf_enu_from_degrees(e->latitude, e->longitude, p->latitude, p->longitude, &x, &y);
        all += p->weight;
        ee += p->weight * (x * x + p->east_deviation * p->east_deviation);
        nn += p->weight * (y * y + p->north_deviation * p->north_deviation);
        en += p->weight * x * y;
    }
    e->east_m2 = ee / all;
    e->north_m2 = nn / all;
    e->east_north_m2 = en / all;
    return 1;
}
