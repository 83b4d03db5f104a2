/* Slippy maps: a tree z/x/y.png of Web-Mercator tiles, rows counted from the north. */
#include "data/tiles.h"

#include <math.h>

#include "data/geo.h"

void mf_tile_locate(mf_tile *t, int pixels) {
    double scale = ldexp(1, -t->zoom), x = (t->column + 0.5) * scale, y = (t->row + 0.5) * scale;
    mf_point p = mf_mercator_point(x, y);
    t->located = 1;
    t->latitude = p.latitude;
    t->longitude = p.longitude;
    mf_mercator_footprint(x, y, scale, scale, &t->width_m, &t->height_m);
    t->metres_per_pixel = pixels ? t->width_m / pixels : 0;
}

/* A folder or file named by a number from 0 to below 2^zoom. */
static int read_number(const char *name, int *value) {
    char text[16];
    size_t length = mf_picture_stem(name);
    long n;
    if (length == 0 || length >= sizeof(text))
        return 0;
    memcpy(text, name, length);
    text[length] = 0;
    if (!mf_read_int(text, &n) || n < 0 || n > INT32_MAX / 2 || (text[0] == '0' && text[1]))
        return 0;
    *value = (int)n;
    return 1;
}

/* The deepest zoom level among a folder's folders, -1 without one. */
static mfrgn_status deepest(mfrgn_context *context, const char *folder, int *zoom) {
    mf_names names;
    MF_TRY(mf_folder_list(context, folder, MF_ENTRY_FOLDER, &names));
    *zoom = -1;
    for (size_t i = 0; i < names.count; i++) {
        int n;
        if (read_number(names.name[i], &n) && n <= 30 && n > *zoom)
            *zoom = n;
    }
    mf_names_free(&names);
    return MFRGN_OK;
}

int mf_is_xyz(mfrgn_context *context, const char *folder) {
    mf_arena memory = {context, NULL};
    int zoom = -1, column = -1;
    if (deepest(context, folder, &zoom) == MFRGN_OK && zoom >= 0) {
        const char *below = mf_arena_format(&memory, "%s/%d", folder, zoom);
        mf_names names;
        if (below && mf_folder_list(context, below, MF_ENTRY_FOLDER, &names) == MFRGN_OK) {
            if (names.count && !read_number(names.name[0], &column))
                column = -1;
            mf_names_free(&names);
        }
    }
    mf_arena_free(&memory);
    return column >= 0;
}

static mfrgn_status add_column(mfrgn_tiles *tiles, const char *folder, int zoom, int column, int *pixels) {
    mf_names names;
    const char *path = mf_arena_format(&tiles->memory, "%s/%d/%d", folder, zoom, column);
    if (!path)
        return mf_fail_memory(tiles->context, 256, "a path");
    MF_TRY(mf_folder_list(tiles->context, path, MF_ENTRY_FILE, &names));
    mfrgn_status status = MFRGN_OK;
    for (size_t i = 0; status == MFRGN_OK && i < names.count; i++) {
        mf_tile t = {.zoom = zoom, .column = column};
        int height;
        if (!mf_is_picture_name(names.name[i]) || !read_number(names.name[i], &t.row))
            continue;
        t.path = mf_arena_join(&tiles->memory, path, names.name[i]);
        t.id = mf_arena_format(&tiles->memory, "%d/%d/%d", zoom, column, t.row);
        if (t.row >> zoom || column >> zoom)
            status = mf_fail(tiles->context, MFRGN_ERROR_FORMAT, "%s: zoom level %d has columns and rows 0 .. %d only",
                             t.path, zoom, (1 << zoom) - 1);
        /* All tiles of a map are of one size. */
        if (status == MFRGN_OK && !*pixels && t.path)
            status = mf_picture_file_size(tiles->context, t.path, pixels, &height);
        mf_tile_locate(&t, *pixels);
        if (status == MFRGN_OK)
            status = mf_tiles_add(tiles, &t);
    }
    mf_names_free(&names);
    return status;
}

mfrgn_status mf_tiles_from_xyz(mfrgn_tiles *tiles, const char *folder, int zoom) {
    int found, pixels = 0;
    mf_names columns;
    MF_TRY(deepest(tiles->context, folder, &found));
    if (found < 0)
        return mf_fail(tiles->context, MFRGN_ERROR_FORMAT, "%s: no folder of a zoom level (z/x/y.png) in it", folder);
    if (zoom < 0)
        zoom = found;
    const char *path = mf_arena_format(&tiles->memory, "%s/%d", folder, zoom);
    if (!path)
        return mf_fail_memory(tiles->context, 256, "a path");
    if (mf_entry(path) != MF_ENTRY_FOLDER)
        return mf_fail(tiles->context, MFRGN_ERROR_IO, "%s: has no zoom level %d; the deepest is %d", folder, zoom,
                       found);
    MF_TRY(mf_folder_list(tiles->context, path, MF_ENTRY_FOLDER, &columns));
    mfrgn_status status = MFRGN_OK;
    for (size_t i = 0; status == MFRGN_OK && i < columns.count; i++) {
        int column;
        if (read_number(columns.name[i], &column))
            status = add_column(tiles, folder, zoom, column, &pixels);
    }
    mf_names_free(&columns);
    return status;
}
