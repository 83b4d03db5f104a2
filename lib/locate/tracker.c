/* A histogram filter over the tiles of a gallery and the directions of travel.
 *
 * The belief of a tile and a direction keeps, beside its weight, where its mean lies within the tile's cell: small
 * motions add up there, where a plain histogram would either lose them or smear the belief over neighbours at each
 * step. */
#include <math.h>
#include <string.h>

#include "gallery/geodesy.h"
#include "locate/locate.h"

static double wrapped(double degrees) {
    return remainder(degrees, 360);
}

void mfrgn_tracker_free(mfrgn_tracker *t) {
    if (!t)
        return;
    mfrgn_context *context = t->context;
    void *const memory[] = {t->east, t->north,     t->belief,     t->off_east, t->off_north,
                            t->next, t->next_east, t->next_north, t->first,    t->order};
    for (size_t i = 0; i < MF_COUNT(memory); i++)
        mf_free(context, memory[i]);
    mf_free(context, t);
    mfrgn_context_free(context);
}

/* ---- where the tiles are ---- */

static mfrgn_status place_tiles(mfrgn_tracker *t) {
    double widths = 0;
    size_t known = 0;
    for (size_t i = 0; i < t->tiles; i++) {
        mfrgn_tile tile = {.struct_size = sizeof(tile)};
        mfrgn_index_tile(t->index, i, &tile);
        if (!tile.located)
            return mf_fail(t->context, MFRGN_ERROR_ARGUMENT,
                           "%s: tile \"%s\" has no coordinates: it cannot be tracked over", t->index->path, tile.id);
        if (!i) {
            t->latitude0 = tile.latitude;
            t->longitude0 = tile.longitude;
        }
        mf_enu_from_degrees(t->latitude0, t->longitude0, tile.latitude, tile.longitude, &t->east[i], &t->north[i]);
        widths += tile.width_m > 0 ? tile.width_m : 0;
        known += tile.width_m > 0;
    }
    t->spacing = known ? widths / (double)known : 50;
    return MFRGN_OK;
}

static void bounds(const mfrgn_tracker *t, double *east, double *north) {
    double w = INFINITY, s = INFINITY, e = -INFINITY, n = -INFINITY;
    for (size_t i = 0; i < t->tiles; i++) {
        w = fmin(w, t->east[i]);
        e = fmax(e, t->east[i]);
        s = fmin(s, t->north[i]);
        n = fmax(n, t->north[i]);
    }
    east[0] = w, east[1] = e, north[0] = s, north[1] = n;
}

static size_t cell_of(const mfrgn_tracker *t, double east, double north) {
    size_t c = (size_t)((east - t->west) / t->spacing), r = (size_t)((north - t->south) / t->spacing);
    return (r < t->rows ? r : t->rows - 1) * t->columns + (c < t->columns ? c : t->columns - 1);
}

/* Cells are as wide as tiles stand apart; wider where the gallery is spread so thin that they would be too many. */
static mfrgn_status make_grid(mfrgn_tracker *t) {
    double east[2], north[2];
    bounds(t, east, north);
    double width = east[1] - east[0], height = north[1] - north[0];
    double dense = sqrt((width + t->spacing) * (height + t->spacing) / (double)t->tiles);
    if (dense < t->spacing) /* tiles overlap: a cell is what belongs to one */
        t->spacing = dense > 1 ? dense : 1;
    t->west = east[0] - t->spacing / 2;
    t->south = north[0] - t->spacing / 2;
    double columns = floor(width / t->spacing) + 2, rows = floor(height / t->spacing) + 2;
    if (columns * rows > 1e8)
        return mf_fail(t->context, MFRGN_ERROR_UNSUPPORTED,
                       "%s: its tiles lie %.0f km apart: too far to track over all of them", t->index->path,
                       fmax(width, height) / 1000);
    t->columns = (size_t)columns;
    t->rows = (size_t)rows;
    t->first = mf_calloc(t->context, t->columns * t->rows + 2, sizeof(*t->first));
    t->order = mf_alloc(t->context, t->tiles * sizeof(*t->order));
    if (!t->first || !t->order)
        return mf_fail_memory(t->context, t->columns * t->rows * sizeof(*t->first), "a grid");
    for (size_t i = 0; i < t->tiles; i++)
        t->first[cell_of(t, t->east[i], t->north[i]) + 2]++;
    for (size_t i = 2; i < t->columns * t->rows + 2; i++)
        t->first[i] += t->first[i - 1];
    for (size_t i = 0; i < t->tiles; i++)
        t->order[t->first[cell_of(t, t->east[i], t->north[i]) + 1]++] = (uint32_t)i;
    return MFRGN_OK;
}

/* ---- the belief ---- */

void mf_tracker_normalise(mfrgn_tracker *t) {
    size_t n = t->tiles * (size_t)t->headings;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += t->belief[i];
    if (sum > 1e-30)
        for (size_t i = 0; i < n; i++)
            t->belief[i] = (float)(t->belief[i] / sum);
    else
        for (size_t i = 0; i < n; i++) {
            t->belief[i] = (float)(1 / (double)n);
            t->off_east[i] = t->off_north[i] = 0;
        }
}

static void begin(mfrgn_tracker *t, const mfrgn_tracker_options *o) {
    double east = 0, north = 0;
    if (o->radius_m > 0)
        mf_enu_from_degrees(t->latitude0, t->longitude0, o->latitude, o->longitude, &east, &north);
    for (int h = 0; h < t->headings; h++) {
        double off = wrapped(360.0 * h / t->headings - o->heading), wide = 180.0 / t->headings;
        double error = sqrt(o->heading_error * o->heading_error + wide * wide / 3);
        double facing = o->heading_error > 0 ? exp(-0.5 * off * off / (error * error)) : 1;
        for (size_t i = 0; i < t->tiles; i++) {
            double x = t->east[i] - east, y = t->north[i] - north;
            double error2 = o->radius_m * o->radius_m + t->spacing * t->spacing / 12;
            double there = o->radius_m > 0 ? exp(-0.5 * (x * x + y * y) / error2) : 1;
            t->belief[(size_t)h * t->tiles + i] = (float)(facing * there);
        }
    }
    mf_tracker_normalise(t);
}

static mfrgn_status make(mfrgn_tracker *t) {
    size_t n = t->tiles * (size_t)t->headings;
    float **const floats[] = {&t->belief, &t->off_east, &t->off_north, &t->next, &t->next_east, &t->next_north};
    t->east = mf_alloc(t->context, t->tiles * sizeof(double));
    t->north = mf_alloc(t->context, t->tiles * sizeof(double));
    if (!t->east || !t->north)
        return mf_fail_memory(t->context, t->tiles * sizeof(double), "a tracker");
    for (size_t i = 0; i < MF_COUNT(floats); i++)
        if (!(*floats[i] = mf_calloc(t->context, n, sizeof(float))))
            return mf_fail_memory(t->context, n * sizeof(float), "a tracker");
    MF_TRY(place_tiles(t));
    return make_grid(t);
}

static mfrgn_status check(mfrgn_context *context, const mfrgn_tracker_options *o) {
    if (!(o->radius_m >= 0) || !isfinite(o->radius_m) ||
        (o->radius_m > 0 && !(o->latitude >= -90 && o->latitude <= 90 && o->longitude >= -180 && o->longitude <= 180)))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_tracker_options: a start at %g, %g within %g m",
                       o->latitude, o->longitude, o->radius_m);
    if (!isfinite(o->heading) || !(o->heading_error >= 0) || (o->headings && (o->headings < 4 || o->headings > 360)))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_tracker_options: a heading of %g within %g degrees, %d directions (4 .. 360)", o->heading,
                       o->heading_error, o->headings);
    if (!(o->temperature >= 0) || !isfinite(o->temperature) || !(o->lost >= 0 && o->lost <= 1))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_tracker_options: a temperature of %g, lost %g (0 .. 1)",
                       o->temperature, o->lost);
    return MFRGN_OK;
}

mfrgn_status mfrgn_tracker_create(const mfrgn_index *index, const mfrgn_tracker_options *options, mfrgn_tracker **out) {
    mfrgn_tracker_options o = {.struct_size = sizeof(o)};
    mfrgn_locate_options plain = {.struct_size = sizeof(plain), .yaw_steps = 1};
    mf_calibration c;
    if (!index)
        return MFRGN_ERROR_ARGUMENT;
    if (!out || (options && options->struct_size < sizeof(*options)))
        return mf_fail(index->context, MFRGN_ERROR_ARGUMENT, "mfrgn_tracker_create: NULL, or struct_size is not set");
    if (options)
        o = *options;
    MF_TRY(check(index->context, &o));
    MF_TRY(mf_calibration_of(index, &plain, &c));
    mfrgn_tracker *t = mf_calloc(index->context, 1, sizeof(*t));
    if (!t)
        return mf_fail_memory(index->context, sizeof(*t), "a tracker");
    t->context = mf_context_ref(index->context);
    t->index = index;
    t->tiles = index->header.count;
    t->headings = o.headings ? o.headings : 24;
    t->temperature = o.temperature > 0 ? o.temperature : c.temperature;
    t->temperature_given = o.temperature > 0;
    t->lost = o.lost > 0 ? o.lost : 0.01;
    mfrgn_status status = make(t);
    if (status != MFRGN_OK) {
        mfrgn_tracker_free(t);
        return status;
    }
    begin(t, &o);
    *out = t;
    return MFRGN_OK;
}

/* ---- questions ---- */

mfrgn_status mfrgn_tracker_belief(const mfrgn_tracker *t, double *probabilities) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!probabilities)
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_tracker_belief: NULL argument");
    memset(probabilities, 0, t->tiles * sizeof(double));
    for (int h = 0; h < t->headings; h++)
        for (size_t i = 0; i < t->tiles; i++)
            probabilities[i] += t->belief[(size_t)h * t->tiles + i];
    return MFRGN_OK;
}

static mf_place place_of(const mfrgn_tracker *t, size_t tile) {
    double weight = 0, east = 0, north = 0;
    mf_place p = {.east_deviation = t->spacing / sqrt(12), .north_deviation = t->spacing / sqrt(12)};
    for (int h = 0; h < t->headings; h++) {
        size_t at = (size_t)h * t->tiles + tile;
        weight += t->belief[at];
        east += t->belief[at] * t->off_east[at];
        north += t->belief[at] * t->off_north[at];
    }
    p.weight = weight;
    if (weight > 0)
        mf_degrees_from_enu(t->latitude0, t->longitude0, t->east[tile] + east / weight, t->north[tile] + north / weight,
                            &p.latitude, &p.longitude);
    return p;
}

mfrgn_status mfrgn_tracker_estimate(const mfrgn_tracker *t, mfrgn_estimate *out) {
    mfrgn_estimate e = {.struct_size = sizeof(e), .in_gallery = NAN};
    double s = 0, c = 0;
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!out || out->struct_size < sizeof(*out))
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_tracker_estimate: NULL, or struct_size is not set");
    mf_place *place = mf_alloc(t->context, t->tiles * sizeof(*place));
    if (!place)
        return mf_fail_memory(t->context, t->tiles * sizeof(*place), "an estimate");
    for (size_t i = 0; i < t->tiles; i++)
        place[i] = place_of(t, i);
    e.located = mf_places_estimate(place, t->tiles, 1.6 * t->spacing, &e);
    mf_free(t->context, place);
    for (int h = 0; h < t->headings; h++)
        for (size_t i = 0; i < t->tiles; i++) {
            double angle = 6.28318530717958647692 * h / t->headings, b = t->belief[(size_t)h * t->tiles + i];
            s += b * sin(angle);
            c += b * cos(angle);
        }
    e.has_heading = s * s + c * c > 0.01;
    e.heading = e.has_heading ? fmod(atan2(s, c) / 0.01745329251994329577 + 360, 360) : 0;
    e.temperature = t->temperature;
    *out = e;
    return MFRGN_OK;
}
