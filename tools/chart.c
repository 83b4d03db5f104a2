/* SPDX-License-Identifier: Apache-2.0 */
#include "chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "canvas.h"
#include "common.h"
#include "out.h"
#include "png.h"

enum { WIDTH = 960, HEIGHT = 620, LEFT = 64, RIGHT = 24, TOP = 44, GAP = 56, BOTTOM = 36 };
enum {
    WHITE = 0xffffff,
    INK = 0x333333,
    GRID = 0xdddddd,
    PALE = 0x9ec5e8,
    BLUE = 0x1f6fb4,
    RED = 0xc8372d,
    AMBER = 0xe09f3e
};

int chart_add(chart_series *s, double x, double y) {
    if (s->count == s->room) {
        size_t room = s->room ? 2 * s->room : 256;
        double *nx = realloc(s->x, room * sizeof *nx), *ny = nx ? realloc(s->y, room * sizeof *ny) : NULL;
        s->x = nx ? nx : s->x;
        s->y = ny ? ny : s->y;
        if (!ny) {
            tool_error("not enough memory for a plot");
            return 0;
        }
        s->room = room;
    }
    s->x[s->count] = x;
    s->y[s->count++] = y;
    return 1;
}

void chart_free(chart_series *s) {
    free(s->x);
    free(s->y);
    *s = (chart_series){NULL, NULL, 0, 0};
}

/* A box of the picture with axes. */
typedef struct panel {
    canvas *canvas;
    int x, y, width, height;
    double right, low, high; /* values at the edges; the left one is 0 */
} panel;

static int at_x(const panel *p, double x) {
    return p->x + (int)lrint(x / p->right * p->width);
}

static int at_y(const panel *p, double y) {
    return p->y + p->height - (int)lrint((y - p->low) / (p->high - p->low) * p->height);
}

static void line(canvas *c, int x0, int y0, int x1, int y1, int thick, unsigned colour) {
    int steps = abs(x1 - x0) > abs(y1 - y0) ? abs(x1 - x0) : abs(y1 - y0);
    for (int i = 0; i <= steps; i++)
        canvas_box(c, x0 + (int)lrint((double)(x1 - x0) * i / (steps ? steps : 1)),
                   y0 + (int)lrint((double)(y1 - y0) * i / (steps ? steps : 1)), thick, thick, colour);
}

/* 1, 2 or 5 times a power of ten, at most `count` of which fill the range. */
static double tick(double range, int count) {
    double power = pow(10, floor(log10(range / count))), digit = range / count / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

static void axes(const panel *p, const char *title) {
    char text[32];
    double step = tick(p->high - p->low, 6), column = tick(p->right, 10);
    for (double v = ceil(p->low / step) * step; v <= p->high + 1e-9; v += step) {
        snprintf(text, sizeof text, "%g", fabs(v) < 1e-12 ? 0 : v);
        canvas_box(p->canvas, p->x, at_y(p, v), p->width, 1, GRID);
        canvas_text(p->canvas, p->x - 44, at_y(p, v) - 4, 1, INK, 42, text);
    }
    for (double v = 0; v <= p->right + 1e-9; v += column) {
        snprintf(text, sizeof text, "%g", v);
        canvas_box(p->canvas, at_x(p, v), p->y, 1, p->height, GRID);
        canvas_text(p->canvas, at_x(p, v) - 3, p->y + p->height + 6, 1, INK, 40, text);
    }
    canvas_frame(p->canvas, p->x, p->y, p->width, p->height, 1, INK);
    canvas_text(p->canvas, p->x, p->y - 14, 1, INK, p->width, title);
}

static void draw(const panel *p, const chart_series *s, int thick, unsigned colour) {
    for (size_t i = 1; i < s->count; i++)
        line(p->canvas, at_x(p, s->x[i - 1]), at_y(p, s->y[i - 1]), at_x(p, s->x[i]), at_y(p, s->y[i]), thick, colour);
}

static void dots(const panel *p, const chart_series *s, unsigned colour) {
    for (size_t i = 0; i < s->count; i++)
        canvas_box(p->canvas, at_x(p, s->x[i]) - 2, at_y(p, s->y[i]) - 2, 5, 5, colour);
}

/* Means over windows of about a hundredth of the axis. */
static int smooth(const chart_series *s, double width, chart_series *out) {
    for (size_t i = 0; i < s->count;) {
        double x = 0, y = 0, begin = s->x[i];
        size_t n = 0;
        for (; i < s->count && (n == 0 || s->x[i] < begin + width); i++, n++) {
            x += s->x[i];
            y += s->y[i];
        }
        if (!chart_add(out, x / (double)n, y / (double)n))
            return 0;
    }
    return 1;
}

static int draw_loss(canvas *c, const chart *plot, int height) {
    chart_series mean = {NULL, NULL, 0, 0};
    panel p = {c, LEFT, TOP, WIDTH - LEFT - RIGHT, height, plot->epochs, 0, 1};
    for (size_t i = 0; i < plot->loss.count; i++)
        p.high = fmax(p.high, plot->loss.y[i]);
    axes(&p, "loss");
    draw(&p, &plot->loss, 1, PALE);
    int fine = smooth(&plot->loss, plot->epochs / 100, &mean);
    draw(&p, &mean, 2, BLUE);
    chart_free(&mean);
    return fine;
}

static void draw_recall(canvas *c, const chart *plot, int height) {
    char title[128];
    panel p = {c, LEFT, TOP + height + GAP, WIDTH - LEFT - RIGHT, height, plot->epochs, 0, 100};
    snprintf(title, sizeof title, "R@1 (red) and R@10, %%, %s", plot->task ? plot->task : "");
    axes(&p, title);
    draw(&p, &plot->recall_10, 2, AMBER);
    dots(&p, &plot->recall_10, AMBER);
    draw(&p, &plot->recall_1, 2, RED);
    dots(&p, &plot->recall_1, RED);
}

int chart_write(const chart *plot, const char *path) {
    canvas c;
    out_file file;
    size_t size;
    int height = (HEIGHT - TOP - GAP - BOTTOM) / 2, fine;
    if (!canvas_open(&c, WIDTH, HEIGHT, WHITE))
        return 0;
    canvas_text(&c, LEFT, 10, 1, INK, WIDTH - LEFT - RIGHT, plot->title);
    fine = draw_loss(&c, plot, height);
    draw_recall(&c, plot, height);
    canvas_text(&c, WIDTH - RIGHT - 36, HEIGHT - 14, 1, INK, 60, "epoch");
    unsigned char *png = fine ? png_encode(c.pixels, c.width, c.height, &size) : NULL;
    canvas_free(&c);
    if (!png || !out_open(&file, path)) {
        free(png);
        return 0;
    }
    fine = fwrite(png, 1, size, file.file) == size;
    free(png);
    if (fine)
        return out_commit(&file);
    tool_error("%s: cannot be written", path);
    out_discard(&file);
    return 0;
}
