/* A user's own pairs: a CSV whose header names the columns.
 *
 *     ground      path of a ground picture; empty: the tile belongs to the gallery alone
 *     aerial      path of its tile; several ground pictures may have the same
 *     latitude, longitude      of the ground picture, and of the tile's centre unless the next two are there
 *     aerial_latitude, aerial_longitude
 *     heading     degrees clockwise from north
 *     split       a word */
#include "data/dataset.h"

#include <math.h>

typedef struct columns {
    int ground, aerial, latitude, longitude, aerial_latitude, aerial_longitude, heading, split;
} columns;

static mfrgn_status read_header(const mf_csv *csv, columns *c) {
    *c = (columns){mf_csv_column(csv, "ground|query|panorama|street|drone"),
                   mf_csv_column(csv, "aerial|reference|satellite|tile"),
                   mf_csv_column(csv, "latitude|lat"),
                   mf_csv_column(csv, "longitude|lon|lng|long"),
                   mf_csv_column(csv, "aerial_latitude|aerial_lat|tile_latitude|tile_lat"),
                   mf_csv_column(csv, "aerial_longitude|aerial_lon|tile_longitude|tile_lon"),
                   mf_csv_column(csv, "heading|heading_degrees|yaw"),
                   mf_csv_column(csv, "split")};
    if (c->ground < 0 || c->aerial < 0)
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "the header must name the columns \"ground\" and \"aerial\"");
    if ((c->latitude < 0) != (c->longitude < 0) || (c->aerial_latitude < 0) != (c->aerial_longitude < 0))
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "the header has a latitude or a longitude, but not both");
    return MFRGN_OK;
}

static mfrgn_status read_place(const mf_csv *csv, int latitude, int longitude, mf_sample *s) {
    if (!*mf_csv_field(csv, latitude) && !*mf_csv_field(csv, longitude))
        return MFRGN_OK;
    MF_TRY(mf_csv_number(csv, latitude, "latitude", -90, 90, &s->latitude));
    MF_TRY(mf_csv_number(csv, longitude, "longitude", -180, 180, &s->longitude));
    s->located = 1;
    return MFRGN_OK;
}

/* The row of the tile, which is added when it is named first. */
static mfrgn_status add_tile(mfrgn_dataset *d, const mf_csv *csv, mf_lookup *tiles, const mf_sample *tile,
                             uint32_t *row) {
    int added;
    if (mf_lookup_find(tiles, tile->id, row)) {
        const mf_sample *first = *row == UINT32_MAX ? tile : &d->set[1].item[*row];
        if (first->located && tile->located &&
            (fabs(first->latitude - tile->latitude) > 1e-2 || fabs(first->longitude - tile->longitude) > 1e-2))
            return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "the tile \"%.120s\" is far from where an earlier line has it",
                               tile->id);
        return MFRGN_OK;
    }
    *row = UINT32_MAX;
    if (mf_dataset_have(d, tile->path))
        MF_TRY(mf_dataset_add(d, 1, tile, row));
    return mf_lookup_add(tiles, tile->id, *row, row, &added);
}

static mfrgn_status add_row(mfrgn_dataset *d, const mf_csv *csv, const columns *c, const char *folder,
                            mf_lookup *tiles) {
    const char *ground = mf_csv_field(csv, c->ground), *aerial = mf_csv_field(csv, c->aerial);
    mf_sample g = {.id = mf_arena_format(&d->memory, "%s", ground), .path = mf_arena_join(&d->memory, folder, ground)};
    mf_sample a = {.id = mf_arena_format(&d->memory, "%s", aerial), .path = mf_arena_join(&d->memory, folder, aerial)};
    uint32_t query, reference;
    if (!*aerial)
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "the path of the aerial picture is missing");
    if (!g.id || !g.path || !a.id || !a.path)
        return mf_dataset_memory(d);
    MF_TRY(read_place(csv, c->latitude, c->longitude, &g));
    if (c->aerial_latitude >= 0)
        MF_TRY(read_place(csv, c->aerial_latitude, c->aerial_longitude, &a));
    else
        a.located = g.located, a.latitude = g.latitude, a.longitude = g.longitude;
    if (*mf_csv_field(csv, c->heading)) {
        MF_TRY(mf_csv_number(csv, c->heading, "heading", -360, 360, &g.heading));
        g.directed = 1;
    }
    MF_TRY(add_tile(d, csv, tiles, &a, &reference));
    if (!*ground || !mf_dataset_have(d, g.path) || reference == UINT32_MAX)
        return MFRGN_OK;
    MF_TRY(mf_dataset_add(d, 0, &g, &query));
    return mf_link_add(d, &d->truth, query, reference);
}

/* No split asked for: all but the training pairs. */
static int wanted(const mf_dataset_request *request, const char *split) {
    return *request->split ? strcmp(split, request->split) == 0 : strcmp(split, "train") != 0;
}

static mfrgn_status read_rows(mfrgn_dataset *d, mf_csv *csv, const char *folder, const mf_dataset_request *request,
                              mf_lookup *tiles) {
    columns c = {-1, -1, -1, -1, -1, -1, -1, -1};
    int more = 0;
    MF_TRY(mf_csv_next(csv, 0, &more));
    if (!more)
        return mf_fail(csv->context, MFRGN_ERROR_FORMAT, "%s: the file is empty", csv->path);
    MF_TRY(read_header(csv, &c));
    if (*request->split && c.split < 0)
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "there is no column \"split\"");
    for (size_t fields = csv->count;;) {
        MF_TRY(mf_csv_next(csv, 0, &more));
        if (!more)
            return MFRGN_OK;
        if (csv->count != fields)
            return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "%zu fields, where the header has %zu", csv->count, fields);
        if (wanted(request, mf_csv_field(csv, c.split)))
            MF_TRY(add_row(d, csv, &c, folder, tiles));
    }
}

mfrgn_status mf_read_pairs(mfrgn_dataset *d, const mf_dataset_request *request) {
    mf_lookup tiles = {.context = d->context};
    mf_csv csv;
    int is_folder = mf_entry(d->root) == MF_ENTRY_FOLDER;
    const char *path = is_folder ? mf_arena_join(&d->memory, d->root, "pairs.csv") : d->root;
    const char *slash = path ? strrchr(path, '/') : NULL;
    const char *folder = path ? mf_arena_format(&d->memory, "%.*s", slash ? (int)(slash - path) + 1 : 0, path) : NULL;
    if (!folder)
        return mf_dataset_memory(d);
    mf_dataset_add_set(d, "ground", MFRGN_VIEW_GROUND);
    mf_dataset_add_set(d, "aerial", MFRGN_VIEW_AERIAL);
    MF_TRY(mf_csv_open(d->context, path, &csv));
    mfrgn_status status = read_rows(d, &csv, folder, request, &tiles);
    mf_csv_close(&csv);
    mf_lookup_free(&tiles);
    return status == MFRGN_OK ? mf_dataset_add_both(d) : status;
}
