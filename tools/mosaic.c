/* SPDX-License-Identifier: Apache-2.0 */
/* The queries and their best tiles as one picture. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "canvas.h"
#include "png.h"
#include "query.h"

enum { TILE = 192, QUERY = 384, GAP = 14, HEAD = 44, FOOT = 62, MOST = 10 };
enum {
    WHITE = 0xffffff,
    INK = 0x202428,
    FAINT = 0x6a737d,
    GREEN = 0x1a9641,
    RED = 0xd7301f,
    GRAY = 0xc4c9cf,
    PALE = 0xeef0f2
};

/* "..#ROW_COLUMN": a part of the picture that its path names, and how large a part is not known here. */
static int is_cut(const mfrgn_tile *tile) {
    const char *mark = strrchr(tile->id, '#');
    size_t digits = mark ? strspn(mark + 1, "0123456789") : 0;
    return digits && mark[1 + digits] == '_' && mark[2 + digits] &&
           !mark[2 + digits + strspn(mark + 2 + digits, "0123456789")];
}

/* A tile's picture: from its source, or the file that its path names, as it is or beside the gallery. */
static mfrgn_bitmap *tile_picture(const query_pictures *p, const mfrgn_tile *tile) {
    mfrgn_bitmap *bitmap = NULL;
    for (size_t i = 0; p->tiles && i < mfrgn_tiles_count(p->tiles); i++) {
        mfrgn_tile t = {.struct_size = sizeof t};
        if (mfrgn_tiles_get(p->tiles, i, &t) == MFRGN_OK && !strcmp(t.id, tile->id))
            return mfrgn_tiles_load(p->tiles, i, &bitmap) == MFRGN_OK ? bitmap : NULL;
    }
    if (is_cut(tile))
        return NULL;
    if (mfrgn_bitmap_load(p->context, tile->path, &bitmap) == MFRGN_OK)
        return bitmap;
    const char *slash = strrchr(p->index_path, '/');
    char *beside = slash && tile->path[0] != '/'
                       ? tool_format("%.*s/%s", (int)(slash - p->index_path), p->index_path, tile->path)
                       : NULL;
    int found = beside && mfrgn_bitmap_load(p->context, beside, &bitmap) == MFRGN_OK;
    free(beside);
    return found ? bitmap : NULL;
}

/* Fitted into the box, in its middle. */
static void put_picture(const query_pictures *p, canvas *c, mfrgn_bitmap *bitmap, int x, int y, int width, int height) {
    mfrgn_image image = {.struct_size = sizeof image};
    if (!bitmap) {
        canvas_box(c, x, y, width, height, PALE);
        canvas_text(c, x + width / 2 - 5 * CANVAS_LETTER, y + height / 2 - 4, 1, FAINT, width, "no picture");
        return;
    }
    mfrgn_bitmap_image(bitmap, &image);
    double scale = fmin((double)width / image.width, (double)height / image.height);
    int w = (int)fmax(1, image.width * scale), h = (int)fmax(1, image.height * scale);
    canvas_image(c, p->context, &image, x + (width - w) / 2, y + (height - h) / 2, w, h);
}

static void put_candidate(const query_pictures *p, canvas *c, const query_answer *a, size_t i, int x, int y) {
    mfrgn_tile tile = query_tile(p->index, a->candidate[i].tile);
    mfrgn_bitmap *bitmap = tile_picture(p, &tile);
    int is_true = query_is_true(a, &tile);
    char text[80];
    put_picture(p, c, bitmap, x, y, TILE, TILE);
    mfrgn_bitmap_free(bitmap);
    canvas_frame(c, x, y, TILE, TILE, is_true < 0 ? 1 : 4, is_true < 0 ? GRAY : is_true ? GREEN : RED);
    snprintf(text, sizeof text, "%zu  %.3f", i + 1, (double)a->candidate[i].score);
    canvas_text(c, x, y + TILE + 9, 2, INK, TILE, text);
    snprintf(text, sizeof text, "%.1f%%", 100 * a->candidate[i].probability);
    canvas_text(c, x + TILE - (int)strlen(text) * CANVAS_LETTER, y + TILE + 13, 1, FAINT, TILE, text);
    canvas_text(c, x, y + TILE + 29, 1, FAINT, TILE, tile.id);
}

static void put_heading(canvas *c, const query_answer *a, int y) {
    const mfrgn_estimate *e = &a->estimate;
    char text[160] = "no position";
    canvas_text(c, GAP, y + 2, 2, INK, c->width - 2 * GAP, query_name(a->path));
    if (e->located) {
        int n = snprintf(text, sizeof text, "%.6f, %.6f  +- %.0f m", e->latitude, e->longitude,
                         sqrt(e->east_m2 + e->north_m2));
        if (e->has_heading)
            n += snprintf(text + n, sizeof text - (size_t)n, "  heading %.0f", e->heading);
        if (!isnan(e->in_gallery))
            n += snprintf(text + n, sizeof text - (size_t)n, "  in the gallery %.0f%%", 100 * e->in_gallery);
        else
            n += snprintf(text + n, sizeof text - (size_t)n, "  (not calibrated)");
        if (a->has_truth)
            snprintf(text + n, sizeof text - (size_t)n, "  error %.0f m",
                     mfrgn_distance_m(e->latitude, e->longitude, a->latitude, a->longitude));
    }
    canvas_text(c, GAP, y + 24, 1, FAINT, c->width - 2 * GAP, text);
}

static void put_answer(const query_pictures *p, canvas *c, const query_answer *a, int y) {
    mfrgn_bitmap *bitmap = NULL;
    if (mfrgn_bitmap_load(p->context, a->path, &bitmap) != MFRGN_OK)
        bitmap = NULL;
    put_picture(p, c, bitmap, GAP, y, QUERY, TILE);
    mfrgn_bitmap_free(bitmap);
    for (size_t i = 0; i < a->shown && i < MOST; i++)
        put_candidate(p, c, a, i, GAP + QUERY + GAP + 4 + (int)i * (TILE + GAP), y);
}

unsigned char *mosaic_make(const query_pictures *p, const query_answer *answers, size_t count, int headings,
                           size_t *size) {
    const int head = headings ? HEAD : 4, row = head + TILE + FOOT, rows = 60000 / row;
    size_t most = 1;
    canvas c;
    for (size_t i = 0; i < count; i++)
        most = answers[i].shown > most ? answers[i].shown : most;
    most = most < MOST ? most : MOST;
    if (count > (size_t)rows) {
        tool_error("a mosaic of %zu queries would be too tall; %d are the most", count, rows);
        return NULL;
    }
    if (!canvas_open(&c, GAP + QUERY + GAP + 4 + (int)most * (TILE + GAP), GAP + (int)count * row, WHITE))
        return NULL;
    for (size_t i = 0; i < count; i++) {
        int y = GAP + (int)i * row;
        if (i)
            canvas_box(&c, GAP, y - 14, c.width - 2 * GAP, 1, GRAY);
        if (headings)
            put_heading(&c, &answers[i], y);
        put_answer(p, &c, &answers[i], y + head);
    }
    unsigned char *png = png_encode(c.pixels, c.width, c.height, size);
    canvas_free(&c);
    if (!png)
        tool_error("not enough memory for a picture");
    return png;
}
