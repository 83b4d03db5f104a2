/* A CSV beside its pictures: path, latitude, longitude, and optional columns.  The header's names decide; without a
 * header the columns are path, latitude, longitude. */
#include "data/tiles.h"

#include "io/csv.h"

typedef struct columns {
    int path, latitude, longitude, id, width, height, resolution;
} columns;

static const char *const known_path = "path|file|filename|file_name|image|picture|tile|aerial|satellite|reference";

/* Reads the header if there is one; `*have` tells whether the first record is a tile already. */
static mfrgn_status read_header(mf_csv *csv, columns *c, int *have) {
    int more;
    MF_TRY(mf_csv_next(csv, 0, &more));
    *have = 0;
    if (!more)
        return mf_fail(csv->context, MFRGN_ERROR_FORMAT, "%s: the file is empty", csv->path);
    *c = (columns){mf_csv_column(csv, known_path),
                   mf_csv_column(csv, "latitude|lat|y"),
                   mf_csv_column(csv, "longitude|lon|lng|long|x"),
                   mf_csv_column(csv, "id|tile_id|name"),
                   mf_csv_column(csv, "width_m|width"),
                   mf_csv_column(csv, "height_m|height"),
                   mf_csv_column(csv, "metres_per_pixel|meters_per_pixel|resolution|gsd|mpp")};
    if (c->path >= 0)
        return (c->latitude >= 0) == (c->longitude >= 0)
                   ? MFRGN_OK
                   : mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "the header has a latitude or a longitude, but not both");
    double number;
    if (csv->count < 3 || !mf_read_double(csv->field[1], &number) || !mf_read_double(csv->field[2], &number))
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT,
                           "neither a header with a column \"path\" nor a tile (path, latitude, longitude)");
    *c = (columns){0, 1, 2, -1, -1, -1, -1};
    *have = 1;
    return MFRGN_OK;
}

/* An optional length: an empty field is unknown. */
static mfrgn_status read_length(const mf_csv *csv, int column, const char *what, double *value) {
    if (!*mf_csv_field(csv, column))
        return MFRGN_OK;
    MF_TRY(mf_csv_number(csv, column, what, 0, 1e8, value));
    return *value > 0 ? MFRGN_OK : mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "%s must be above 0", what);
}

static mfrgn_status read_tile(mfrgn_tiles *tiles, const mf_csv *csv, const columns *c, const char *folder) {
    mf_tile t = {.zoom = -1, .line = csv->line};
    const char *path = mf_csv_field(csv, c->path), *id = mf_csv_field(csv, c->id);
    if (!*path)
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "the path is missing");
    t.path = mf_arena_join(&tiles->memory, folder, path);
    t.id = mf_arena_format(&tiles->memory, "%s", *id ? id : path);
    if (!t.path)
        return mf_fail_memory(tiles->context, 256, "the list of tiles");
    if (*mf_csv_field(csv, c->latitude) || *mf_csv_field(csv, c->longitude)) {
        MF_TRY(mf_csv_number(csv, c->latitude, "latitude", -90, 90, &t.latitude));
        MF_TRY(mf_csv_number(csv, c->longitude, "longitude", -180, 180, &t.longitude));
        t.located = 1;
    }
    MF_TRY(read_length(csv, c->width, "width_m", &t.width_m));
    MF_TRY(read_length(csv, c->height, "height_m", &t.height_m));
    MF_TRY(read_length(csv, c->resolution, "metres_per_pixel", &t.metres_per_pixel));
    if (mf_entry(t.path) != MF_ENTRY_FILE)
        return mf_csv_fail(csv, MFRGN_ERROR_IO, "%s: there is no such file", t.path);
    return mf_tiles_add(tiles, &t);
}

static mfrgn_status read_all(mfrgn_tiles *tiles, mf_csv *csv, const char *folder) {
    columns c = {-1, -1, -1, -1, -1, -1, -1};
    int more = 1, have = 0;
    MF_TRY(read_header(csv, &c, &have));
    size_t width = csv->count;
    for (;; have = 0) {
        if (!have)
            MF_TRY(mf_csv_next(csv, 0, &more));
        if (!more)
            return MFRGN_OK;
        if (csv->count != width)
            return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "%zu fields, where the first record has %zu", csv->count,
                               width);
        MF_TRY(read_tile(tiles, csv, &c, folder));
    }
}

mfrgn_status mf_tiles_from_csv(mfrgn_tiles *tiles, const char *path, const mfrgn_tiles_options *options) {
    (void)options;
    mf_csv csv;
    const char *slash = strrchr(path, '/');
    const char *folder = mf_arena_format(&tiles->memory, "%.*s", slash ? (int)(slash - path) + 1 : 0, path);
    if (!folder)
        return mf_fail_memory(tiles->context, 256, "a path");
    MF_TRY(mf_csv_open(tiles->context, path, &csv));
    mfrgn_status status = read_all(tiles, &csv, folder);
    mf_csv_close(&csv);
    return status;
}
