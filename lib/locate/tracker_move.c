/* The two halves of a filter's step: motion, and what an image says. */
#include <math.h>
#include <string.h>

#include "locate/locate.h"

#define RADIANS 0.017453292519943295769

/* ---- motion ---- */

static float *plane(float *values, const mfrgn_tracker *t, int heading) {
    return values + (size_t)heading * t->tiles;
}

/* Part of a Gaussian round `mean` that lies between the two. */
static double mass(double mean, double deviation, double low, double high) {
    if (deviation < 1e-6)
        return mean >= low && mean < high;
    double s = 0.70710678118654752440 / deviation;
    return 0.5 * (erf((high - mean) * s) - erf((low - mean) * s));
}

/* Adds weight at a place, given as metres from a tile's centre; the mean of what is there moves along. */
static void put(mfrgn_tracker *t, int heading, size_t tile, double weight, double east, double north) {
    size_t at = (size_t)heading * t->tiles + tile;
    double sum = t->next[at] + weight;
    if (!(sum > 0))
        return;
    t->next_east[at] += (float)((east - t->next_east[at]) * weight / sum);
    t->next_north[at] += (float)((north - t->next_north[at]) * weight / sum);
    t->next[at] = (float)sum;
}

static void swap(mfrgn_tracker *t) {
    float *b = t->belief, *e = t->off_east, *n = t->off_north;
    t->belief = t->next, t->off_east = t->next_east, t->off_north = t->next_north;
    t->next = b, t->next_east = e, t->next_north = n;
}

static void clear(mfrgn_tracker *t) {
    size_t bytes = t->tiles * (size_t)t->headings * sizeof(float);
    memset(t->next, 0, bytes);
    memset(t->next_east, 0, bytes);
    memset(t->next_north, 0, bytes);
}

/* A turn: every direction goes to those round its new one. */
static void turn(mfrgn_tracker *t, double degrees, double error) {
    double bin = 360.0 / t->headings;
    clear(t);
    for (int from = 0; from < t->headings; from++)
        for (int to = 0; to < t->headings; to++) {
            double off = remainder(bin * (to - from) - degrees, 360),
                   weight = mass(0, error, off - bin / 2, off + bin / 2);
            if (weight < 1e-6)
                continue;
            for (size_t i = 0; i < t->tiles; i++) {
                size_t at = (size_t)from * t->tiles + i;
                if (t->belief[at] > 0)
                    put(t, to, i, weight * t->belief[at], t->off_east[at], t->off_north[at]);
            }
        }
    swap(t);
}

/* Clamped to the cell: what is at its edge belongs there as well as to the neighbour. */
static double inside(double offset, double half) {
    return offset < -half ? -half : offset > half ? half : offset;
}

typedef struct target {
    double east, north, deviation;
} target;

/* The tiles round a place; with `weight` 0 only their parts are added up. */
static double scatter(mfrgn_tracker *t, int heading, const target *p, double weight) {
    double reach = 3 * p->deviation + t->spacing, half = t->spacing / 2, sum = 0;
    double c0 = floor((p->east - reach - t->west) / t->spacing), c1 = floor((p->east + reach - t->west) / t->spacing);
    double r0 = floor((p->north - reach - t->south) / t->spacing),
           r1 = floor((p->north + reach - t->south) / t->spacing);
    for (double r = fmax(r0, 0); r <= r1 && r < (double)t->rows; r++)
        for (double c = fmax(c0, 0); c <= c1 && c < (double)t->columns; c++) {
            size_t cell = (size_t)r * t->columns + (size_t)c;
            for (uint32_t k = t->first[cell]; k < t->first[cell + 1]; k++) {
                size_t i = t->order[k];
                double x = p->east - t->east[i], y = p->north - t->north[i];
                double part = mass(x, p->deviation, -half, half) * mass(y, p->deviation, -half, half);
                if (part < 1e-5)
                    continue;
                sum += part;
                if (weight > 0)
                    put(t, heading, i, weight * part, inside(x, half), inside(y, half));
            }
        }
    return sum;
}

/* The direction's own error is half its bin, uniform; it is applied as an error of place across all directions. */
static void advance(mfrgn_tracker *t, double distance, double error) {
    double across = fabs(distance) * 360.0 / t->headings * RADIANS / sqrt(12);
    clear(t);
    for (int h = 0; h < t->headings; h++) {
        double angle = 360.0 * h / t->headings * RADIANS;
        const float *belief = plane(t->belief, t, h), *e = plane(t->off_east, t, h), *n = plane(t->off_north, t, h);
        for (size_t i = 0; i < t->tiles; i++) {
            if (!(belief[i] > 1e-12f))
                continue;
            target p = {t->east[i] + e[i] + distance * sin(angle), t->north[i] + n[i] + distance * cos(angle),
                        sqrt(error * error + across * across / 2)};
            double sum = scatter(t, h, &p, 0);
            if (sum > 1e-3) /* what leaves the gallery is lost; tiles that overlap share what is theirs */
                scatter(t, h, &p, belief[i] / (sum > 1 ? sum : 1));
        }
    }
    swap(t);
}

mfrgn_status mfrgn_tracker_move(mfrgn_tracker *t, const mfrgn_motion *m) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!m || m->struct_size < sizeof(*m))
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_tracker_move: NULL, or struct_size is not set");
    if (!(fabs(m->distance_m) <= 1e6) || !(m->distance_error >= 0 && m->distance_error <= 1e6) ||
        !(fabs(m->turn) <= 1e6) || !(m->turn_error >= 0 && m->turn_error <= 1e6))
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_tracker_move: %g m (error %g), a turn by %g degrees (error %g)", m->distance_m,
                       m->distance_error, m->turn, m->turn_error);
    double distance_error = m->distance_error > 0 ? m->distance_error : 0.1 * fabs(m->distance_m) + 0.5;
    double turn_error = m->turn_error > 0 ? m->turn_error : 0.1 * fabs(m->turn) + 1;
    turn(t, m->turn, turn_error);
    advance(t, m->distance_m, distance_error);
    mf_tracker_normalise(t);
    return MFRGN_OK;
}

/* ---- an image ---- */

/* The roll that fits a direction of travel best: roll i is right where the panorama's middle faces -360 i / steps. */
static int roll_of(const mfrgn_tracker *t, int heading, int steps) {
    double turns = 1 - (double)heading / t->headings;
    return (int)(turns * steps + 0.5) % steps;
}

mfrgn_status mfrgn_tracker_update(mfrgn_tracker *t, const float *scores, int steps) {
    float best = -INFINITY;
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!scores || steps < 1 || steps > MF_MAX_YAW)
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_tracker_update: scores is NULL, or %d rolls (1 .. %d)",
                       steps, MF_MAX_YAW);
    for (size_t i = 0; i < t->tiles * (size_t)steps; i++) {
        if (!isfinite(scores[i]))
            return mf_fail(t->context, MFRGN_ERROR_NUMERIC, "mfrgn_tracker_update: score %zu is not finite", i);
        best = scores[i] > best ? scores[i] : best;
    }
    /* A softmax over everything, mixed with the chance that the image says nothing at all. */
    double sum = 0, all = (double)t->tiles * steps;
    for (size_t i = 0; i < t->tiles * (size_t)steps; i++)
        sum += exp(((double)scores[i] - best) / t->temperature);
    for (int h = 0; h < t->headings; h++) {
        const float *s = scores + (size_t)roll_of(t, h, steps) * t->tiles;
        float *belief = plane(t->belief, t, h);
        for (size_t i = 0; i < t->tiles; i++) {
            double said = exp(((double)s[i] - best) / t->temperature) / sum;
            belief[i] = (float)(belief[i] * ((1 - t->lost) * said * all + t->lost));
        }
    }
    mf_tracker_normalise(t);
    return MFRGN_OK;
}

typedef struct scoring {
    const mfrgn_tracker *tracker;
    const float *queries;
    int steps, tasks;
    float *scores;
} scoring;

static void score_task(void *arg, int task) {
    const scoring *s = arg;
    size_t tiles = s->tracker->tiles, size = s->tracker->index->header.size;
    for (size_t i = (size_t)task; i < tiles; i += (size_t)s->tasks)
        for (int step = 0; step < s->steps; step++)
            s->scores[(size_t)step * tiles + i] = mf_score(s->tracker->index, s->queries + (size_t)step * size, i);
}

static mfrgn_status see(mfrgn_tracker *t, mfrgn_session *session, const mfrgn_image *image,
                        const mfrgn_locate_options *o) {
    size_t size = t->index->header.size, steps = (size_t)o->yaw_steps;
    float *queries = mf_alloc(t->context, steps * size * sizeof(float));
    float *scores = mf_alloc(t->context, steps * t->tiles * sizeof(float));
    mfrgn_status status = queries && scores ? mfrgn_locate_embed(session, image, 1, o, queries)
                                            : mf_fail_memory(t->context, steps * t->tiles * sizeof(float), "scores");
    if (status == MFRGN_OK) {
        scoring s = {t, queries, o->yaw_steps, session->engine.threads, scores};
        mf_parallel(t->context, s.tasks, score_task, &s);
        status = mfrgn_tracker_update(t, scores, o->yaw_steps);
    } else if (queries && scores && session->context != t->context) {
        mf_fail(t->context, status, "%s", mfrgn_context_last_error(session->context));
    }
    mf_free(t->context, queries);
    mf_free(t->context, scores);
    return status;
}

mfrgn_status mfrgn_tracker_update_image(mfrgn_tracker *t, mfrgn_session *session, const mfrgn_image *image,
                                        const mfrgn_locate_options *options) {
    mfrgn_locate_options o;
    mf_calibration c;
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!session || !image)
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_tracker_update_image: NULL argument");
    MF_TRY(mf_locate_options(t->context, options, &o));
    o.precrop = session->precrop;
    MF_TRY(mfrgn_index_check_model(t->index, session));
    MF_TRY(mf_calibration_of(t->index, &o, &c));
    if (!t->temperature_given) /* a calibration holds for queries that are made like its own */
        t->temperature = c.temperature;
    return see(t, session, image, &o);
}
