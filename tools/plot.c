/* SPDX-License-Identifier: Apache-2.0 */
/* SVG: candidates on a grid of coordinates, and the probabilities of tiles. */
#include <math.h>

#include "query.h"

enum { SIDE = 460, PAD = 46 };

/* From metres round the estimate to pixels; north is up. */
typedef struct frame {
    double latitude, longitude;
    double west, south, metres; /* what is seen is a square */
} frame;

static double px(const frame *f, double east) {
    return PAD + (east - f->west) / f->metres * SIDE;
}

static double py(const frame *f, double north) {
    return PAD + SIDE - (north - f->south) / f->metres * SIDE;
}

static void widen(double *low, double *high, double value) {
    *low = fmin(*low, value);
    *high = fmax(*high, value);
}

/* Whatever has coordinates among the first `n`, the estimate and the truth, with a margin. */
static frame frame_of(const mfrgn_index *index, const query_answer *a, size_t n) {
    frame f = {.latitude = a->estimate.latitude, .longitude = a->estimate.longitude};
    double w = 0, e = 0, s = 0, t = 0, x, y, largest = 40;
    for (size_t i = 0; i < n; i++) {
        mfrgn_tile tile = query_tile(index, a->candidate[i].tile);
        if (!tile.located)
            continue;
        query_metres(f.latitude, f.longitude, tile.latitude, tile.longitude, &x, &y);
        widen(&w, &e, x);
        widen(&s, &t, y);
        largest = fmax(largest, fmax(tile.width_m, tile.height_m));
    }
    widen(&w, &e, -sqrt(a->estimate.east_m2));
    widen(&w, &e, sqrt(a->estimate.east_m2));
    widen(&s, &t, -sqrt(a->estimate.north_m2));
    widen(&s, &t, sqrt(a->estimate.north_m2));
    if (a->has_truth) {
        query_metres(f.latitude, f.longitude, a->latitude, a->longitude, &x, &y);
        widen(&w, &e, x);
        widen(&s, &t, y);
    }
    f.metres = fmax(e - w, t - s) * 1.08 + 1.2 * largest;
    f.west = (w + e - f.metres) / 2;
    f.south = (s + t - f.metres) / 2;
    return f;
}

/* 1, 2 or 5 times a power of ten. */
static double round_down(double value) {
    double power = pow(10, floor(log10(value))), digit = value / power;
    return power * (digit >= 5 ? 5 : digit >= 2 ? 2 : 1);
}

static int decimals(double step) {
    int n = (int)ceil(-log10(step) - 1e-9);
    return n < 0 ? 0 : n;
}

static void grid_lines(FILE *file, const frame *f, int along) {
    double east, north;
    query_metres(f->latitude, f->longitude, f->latitude + 1e-3, f->longitude + 1e-3, &east, &north);
    double degrees = f->metres / (along ? north : east) * 1e-3, step = round_down(degrees / 3);
    double middle = along ? f->latitude : f->longitude,
           from = (along ? f->south / north : f->west / east) * 1e-3 + middle;
    for (double at = ceil(from / step) * step; at < from + degrees; at += step) {
        query_metres(f->latitude, f->longitude, along ? at : f->latitude, along ? f->longitude : at, &east, &north);
        double p = along ? py(f, north) : px(f, east);
        if (along)
            fprintf(file,
                    "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f'/><text x='%d' y='%.1f' "
                    "transform='rotate(-90 %d %.1f)' text-anchor='middle'>%.*f</text>\n",
                    PAD, PAD + SIDE, p, p, PAD - 8, p, PAD - 8, p, decimals(step), at);
        else
            fprintf(
                file,
                "<line y1='%d' y2='%d' x1='%.1f' x2='%.1f'/><text x='%.1f' y='%d' text-anchor='middle'>%.*f</text>\n",
                PAD, PAD + SIDE, p, p, p, PAD + SIDE + 18, decimals(step), at);
    }
}

static void begin(FILE *file, const frame *f, const char *title) {
    fprintf(file,
            "<svg viewBox='0 0 %d %d' width='%d' xmlns='http://www.w3.org/2000/svg'>\n<text class='t' x='%d' "
            "y='28'>%s</text>\n<rect class='f' x='%d' y='%d' width='%d' height='%d'/>\n<g class='g'>\n",
            SIDE + 2 * PAD, SIDE + 2 * PAD, SIDE + 2 * PAD, PAD, title, PAD, PAD, SIDE, SIDE);
    grid_lines(file, f, 0);
    grid_lines(file, f, 1);
    fprintf(file, "</g>\n");
}

static void scale_bar(FILE *file, const frame *f) {
    double metres = round_down(f->metres / 4), length = metres / f->metres * SIDE;
    int y = PAD + SIDE - 14, x = PAD + 14;
    fprintf(file, "<rect class='l' x='%d' y='%d' width='%.1f' height='26'/>", x - 7, y - 17, length + 14);
    fprintf(file, "<path class='b' d='M%d %d v5 h%.1f v-5'/><text x='%.1f' y='%d' text-anchor='middle'>", x, y - 3,
            length, x + length / 2, y - 5);
    if (metres >= 1000)
        fprintf(file, "%g km</text>\n", metres / 1000);
    else
        fprintf(file, "%g m</text>\n", metres);
}

static void truth_mark(FILE *file, const frame *f, const query_answer *a) {
    double x, y;
    if (!a->has_truth)
        return;
    query_metres(f->latitude, f->longitude, a->latitude, a->longitude, &x, &y);
    for (int i = 0; i < 2; i++)
        fprintf(file,
                "<path class='%s' d='M%.1f %.1f m-8 -8 l16 16 m0 -16 l-16 16'><title>truth %.6f, %.6f</title></path>\n",
                i ? "w" : "o", px(f, x), py(f, y), a->latitude, a->longitude);
}

/* The ellipse of one standard deviation. */
static void ellipse(FILE *file, const frame *f, const mfrgn_estimate *e) {
    double mean = (e->east_m2 + e->north_m2) / 2, half = (e->east_m2 - e->north_m2) / 2;
    double root = sqrt(half * half + e->east_north_m2 * e->east_north_m2);
    double angle = 0.5 * atan2(e->east_north_m2, half) / 0.017453292519943295769;
    double scale = SIDE / f->metres;
    fprintf(file,
            "<ellipse class='e' cx='%.1f' cy='%.1f' rx='%.1f' ry='%.1f' transform='rotate(%.2f %.1f %.1f)'>"
            "<title>one standard deviation</title></ellipse>\n",
            px(f, 0), py(f, 0), sqrt(mean + root) * scale, sqrt(fmax(mean - root, 0)) * scale, -angle, px(f, 0),
            py(f, 0));
    fprintf(file, "<path class='p' d='M%.1f %.1f m-24 0 h48 m-24 -24 v48'/>\n", px(f, 0), py(f, 0));
}

void plot_candidates(FILE *file, const mfrgn_index *index, const query_answer *a) {
    frame f = frame_of(index, a, a->shown);
    begin(file, &f, "Candidates, best first");
    fprintf(file, "<svg x='%d' y='%d' width='%d' height='%d' viewBox='%d %d %d %d'>\n", PAD, PAD, SIDE, SIDE, PAD, PAD,
            SIDE, SIDE);
    ellipse(file, &f, &a->estimate);
    for (size_t i = a->shown; i-- > 0;) { /* the best on top */
        double x, y;
        mfrgn_tile t = query_tile(index, a->candidate[i].tile);
        if (!t.located)
            continue;
        query_metres(f.latitude, f.longitude, t.latitude, t.longitude, &x, &y);
        int is_true = query_is_true(a, &t);
        fprintf(file, "<circle class='%s' cx='%.1f' cy='%.1f' r='%.1f'><title>",
                is_true == 1   ? "y"
                : is_true == 0 ? "n"
                               : "c",
                px(&f, x), py(&f, y), 9 + 9 * sqrt(a->candidate[i].probability));
        report_text(file, t.id);
        fprintf(file, "</title></circle><text class='r' x='%.1f' y='%.1f'>%zu</text>\n", px(&f, x), py(&f, y) + 4,
                i + 1);
    }
    truth_mark(file, &f, a);
    fprintf(file, "</svg>\n");
    scale_bar(file, &f);
    fprintf(file, "</svg>\n");
}

/* White to dark red; square roots, so that small ones are seen. */
static void colour(FILE *file, double share) {
    static const double stop[5][3] = {{255, 247, 236}, {253, 212, 158}, {252, 141, 89}, {215, 48, 31}, {127, 0, 0}};
    double at = sqrt(share < 0 ? 0 : share > 1 ? 1 : share) * 4;
    int i = at >= 4 ? 3 : (int)at;
    double u = at - i;
    fprintf(file, "#%02x%02x%02x", (int)(stop[i][0] * (1 - u) + stop[i + 1][0] * u),
            (int)(stop[i][1] * (1 - u) + stop[i + 1][1] * u), (int)(stop[i][2] * (1 - u) + stop[i + 1][2] * u));
}

static void legend(FILE *file, double most) {
    int x = PAD + SIDE - 150, y = PAD - 26;
    for (int i = 0; i < 30; i++) {
        fprintf(file, "<rect x='%d' y='%d' width='5.2' height='9' fill='", x + 5 * i, y);
        colour(file, i / 29.0 * (i / 29.0));
        fprintf(file, "'/>");
    }
    fprintf(file, "<text x='%d' y='%d'>0</text><text x='%d' y='%d' text-anchor='end'>%.3g %%</text>\n", x, y + 21,
            x + 150, y + 21, 100 * most);
}

void plot_posterior(FILE *file, const mfrgn_index *index, const query_answer *a) {
    frame f = frame_of(index, a, a->count);
    double most = a->count ? a->candidate[0].probability : 1;
    begin(file, &f, "Probability of the tiles");
    legend(file, most);
    fprintf(file, "<svg x='%d' y='%d' width='%d' height='%d' viewBox='%d %d %d %d'>\n", PAD, PAD, SIDE, SIDE, PAD, PAD,
            SIDE, SIDE);
    for (size_t i = a->count; i-- > 0;) {
        double x, y, scale = SIDE / f.metres;
        mfrgn_tile t = query_tile(index, a->candidate[i].tile);
        if (!t.located)
            continue;
        query_metres(f.latitude, f.longitude, t.latitude, t.longitude, &x, &y);
        double w = fmax(t.width_m * scale, 11), h = fmax(t.height_m * scale, 11);
        fprintf(file, "<rect class='h' x='%.1f' y='%.1f' width='%.1f' height='%.1f' fill='", px(&f, x) - w / 2,
                py(&f, y) - h / 2, w, h);
        colour(file, a->candidate[i].probability / most);
        fprintf(file, "'><title>%.3g %%: ", 100 * a->candidate[i].probability);
        report_text(file, t.id);
        fprintf(file, "</title></rect>\n");
    }
    truth_mark(file, &f, a);
    fprintf(file, "</svg>\n");
    scale_bar(file, &f);
    fprintf(file, "</svg>\n");
}
