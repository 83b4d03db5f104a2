/* Tiles: the public functions, and which source a path is. */
#include "data/tiles.h"

#include "io/file.h"

mfrgn_status mf_tiles_add(mfrgn_tiles *tiles, const mf_tile *tile) {
    if (!tile->id || !tile->path)
        return mf_fail_memory(tiles->context, 256, "the list of tiles");
    MF_TRY(mf_reserve(tiles->context, (void **)&tiles->item, &tiles->room, tiles->count + 1, sizeof(*tile)));
    tiles->item[tiles->count++] = *tile;
    return MFRGN_OK;
}

/* ---- which kind ---- */

static int begins_with(const char *path, const char *magic) {
    mf_file file;
    if (mf_file_map(NULL, path, &file) != MFRGN_OK)
        return 0;
    int same = file.size >= strlen(magic) && memcmp(file.data, magic, strlen(magic)) == 0;
    mf_file_unmap(&file);
    return same;
}

/* A folder: its CSV ("tiles.csv", or the only one), the way its pictures are named. */
static mfrgn_status guess_folder(mfrgn_tiles *tiles, const char **path, mfrgn_tiles_kind *kind) {
    mf_names files, pictures;
    const char *csv = NULL;
    size_t csvs = 0;
    MF_TRY(mf_folder_list(tiles->context, *path, MF_ENTRY_FILE, &files));
    for (size_t i = 0; i < files.count; i++)
        if (mf_has_ending(files.name[i], ".csv") && (!csvs++ || strcmp(files.name[i], "tiles.csv") == 0))
            csv = files.name[i];
    if (csv && (csvs == 1 || strcmp(csv, "tiles.csv") == 0)) {
        csv = mf_arena_join(&tiles->memory, *path, csv);
        mf_names_free(&files);
        *kind = MFRGN_TILES_CSV;
        *path = csv;
        return csv ? MFRGN_OK : mf_fail_memory(tiles->context, 256, "a path");
    }
    mf_names_free(&files);
    *kind = MFRGN_TILES_XYZ;
    if (mf_is_xyz(tiles->context, *path))
        return MFRGN_OK;
    MF_TRY(mf_folder_pictures(tiles->context, *path, &pictures));
    double latitude, longitude;
    *kind = MFRGN_TILES_NAMES;
    for (size_t i = 0; i < pictures.count && *kind == MFRGN_TILES_NAMES; i++)
        if (mf_name_point(pictures.name[i], &latitude, &longitude) == 0) /* out of range: an error, not a reason to guess */
            *kind = MFRGN_TILES_FOLDER;
    mf_names_free(&pictures);
    return MFRGN_OK;
}

static mfrgn_status guess(mfrgn_tiles *tiles, const char **path, mfrgn_tiles_kind *kind) {
    mf_entry_kind entry = mf_entry(*path);
    if (entry == MF_ENTRY_NONE)
        return mf_fail(tiles->context, MFRGN_ERROR_IO, "%s: there is no such file or folder", *path);
    if (entry == MF_ENTRY_FOLDER)
        return *kind == MFRGN_TILES_AUTO || *kind == MFRGN_TILES_CSV ? guess_folder(tiles, path, kind) : MFRGN_OK;
    if (*kind != MFRGN_TILES_AUTO)
        return MFRGN_OK;
    if (mf_has_ending(*path, ".mbtiles") || begins_with(*path, "SQLite format 3"))
        *kind = MFRGN_TILES_MBTILES;
    else if (mf_has_ending(*path, ".csv"))
        *kind = MFRGN_TILES_CSV;
    else
        return mf_fail(tiles->context, MFRGN_ERROR_UNSUPPORTED,
                       "%s: neither a folder of tiles nor a CSV (.csv) nor an MBTiles file (.mbtiles)", *path);
    return MFRGN_OK;
}

/* ---- opening ---- */

static mfrgn_status read_source(mfrgn_tiles *tiles, const char *path, const mfrgn_tiles_options *o) {
    mfrgn_tiles_kind kind = o->kind;
    MF_TRY(guess(tiles, &path, &kind));
    if (o->kind == MFRGN_TILES_CSV && kind != MFRGN_TILES_CSV)
        return mf_fail(tiles->context, MFRGN_ERROR_IO, "%s: this folder has neither a tiles.csv nor one .csv alone",
                       path);
    switch (kind) {
    case MFRGN_TILES_CSV:
        return mf_tiles_from_csv(tiles, path, o);
    case MFRGN_TILES_NAMES:
        return mf_tiles_from_names(tiles, path, 1);
    case MFRGN_TILES_FOLDER:
        return mf_tiles_from_names(tiles, path, 0);
    case MFRGN_TILES_XYZ:
        return mf_tiles_from_xyz(tiles, path, o->zoom);
    case MFRGN_TILES_MBTILES:
        return mf_tiles_from_mbtiles(tiles, path, o->zoom);
    default:
        return mf_fail(tiles->context, MFRGN_ERROR_ARGUMENT, "mfrgn_tiles_open: unknown kind %d", (int)kind);
    }
}

static int by_id(const void *a, const void *b) {
    return strcmp(((const mf_tile *)a)->id, ((const mf_tile *)b)->id);
}

static mfrgn_status sort(mfrgn_tiles *tiles) {
    mf_sort(tiles->item, tiles->count, sizeof(*tiles->item), by_id);
    for (size_t i = 1; i < tiles->count; i++) {
        const mf_tile *a = &tiles->item[i - 1], *b = &tiles->item[i];
        if (strcmp(a->id, b->id))
            continue;
        if (a->line)
            return mf_fail(tiles->context, MFRGN_ERROR_FORMAT, "%s, line %zu: the id \"%.200s\" is on line %zu already",
                           tiles->path, a->line > b->line ? a->line : b->line, a->id,
                           a->line > b->line ? b->line : a->line);
        return mf_fail(tiles->context, MFRGN_ERROR_FORMAT, "%s: two tiles have the id \"%.200s\": %.300s and %.300s",
                       tiles->path, a->id, a->path, b->path);
    }
    return MFRGN_OK;
}

static mfrgn_status check_options(mfrgn_context *context, const mfrgn_tiles_options *o) {
    if (o->struct_size < sizeof(*o))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_tiles_options: struct_size is not set");
    if (o->zoom < -1 || o->zoom > 30)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "a zoom level is 0 .. 30 (-1: the deepest), not %d", o->zoom);
    if (!(o->tile_size_m >= 0 && o->tile_size_m < 1e7))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "a tile size of %g m", o->tile_size_m);
    if (!(o->overlap_m >= 0) || (o->overlap_m > 0 && o->overlap_m >= o->tile_size_m))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "an overlap of %g m must be less than the tile size, %g m",
                       o->overlap_m, o->tile_size_m);
    if (!(o->metres_per_pixel >= 0 && o->metres_per_pixel < 1e6))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "a resolution of %g m a pixel", o->metres_per_pixel);
    if ((o->polar_height > 0) != (o->polar_width > 0) || o->polar_height < 0 || o->polar_width < 0 ||
        o->polar_height > 65535 || o->polar_width > 65535)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "a polar transformation to %d x %d pixels", o->polar_height,
                       o->polar_width);
    return MFRGN_OK;
}

static mfrgn_status fill(mfrgn_tiles *tiles, const char *path, const mfrgn_tiles_options *o) {
    tiles->path = mf_arena_format(&tiles->memory, "%s", path);
    if (!tiles->path)
        return mf_fail_memory(tiles->context, strlen(path) + 1, "a path");
    tiles->polar_height = o->polar_height;
    tiles->polar_width = o->polar_width;
    tiles->processing =
        o->polar_height ? mf_arena_format(&tiles->memory, "polar %dx%d", o->polar_height, o->polar_width) : "";
    if (!tiles->processing)
        return mf_fail_memory(tiles->context, 32, "the list of tiles");
    MF_TRY(read_source(tiles, path, o));
    if (!tiles->count)
        return mf_fail(tiles->context, MFRGN_ERROR_FORMAT, "%s: there is no tile in it", path);
    MF_TRY(mf_tiles_resolve(tiles, o->metres_per_pixel));
    MF_TRY(sort(tiles));
    if (o->tile_size_m > 0) {
        MF_TRY(mf_tiles_cut(tiles, o->tile_size_m, o->overlap_m));
        MF_TRY(sort(tiles));
    }
    return MFRGN_OK;
}

mfrgn_status mfrgn_tiles_open(mfrgn_context *context, const char *path, const mfrgn_tiles_options *options,
                              mfrgn_tiles **out) {
    static const mfrgn_tiles_options defaults = {.struct_size = sizeof(defaults), .zoom = -1};
    if (!context || !path || !out)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_tiles_open: path or tiles is NULL");
    if (!options)
        options = &defaults;
    MF_TRY(check_options(context, options));
    mfrgn_tiles *tiles = mf_calloc(context, 1, sizeof(*tiles));
    if (!tiles)
        return mf_fail_memory(context, sizeof(*tiles), "the list of tiles");
    tiles->context = tiles->memory.context = mf_context_ref(context);
    mfrgn_status status = fill(tiles, path, options);
    if (status != MFRGN_OK)
        mfrgn_tiles_free(tiles);
    else
        *out = tiles;
    return status;
}

void mfrgn_tiles_free(mfrgn_tiles *tiles) {
    if (!tiles)
        return;
    mfrgn_context *context = tiles->context;
    mf_mbtiles_close(tiles->mbtiles);
    mf_free(context, tiles->item);
    mf_arena_free(&tiles->memory);
    mf_free(context, tiles);
    mfrgn_context_free(context);
}

size_t mfrgn_tiles_count(const mfrgn_tiles *tiles) {
    return tiles ? tiles->count : 0;
}

const char *mfrgn_tiles_processing(const mfrgn_tiles *tiles) {
    return tiles ? tiles->processing : "";
}

static mfrgn_status check_index(const mfrgn_tiles *tiles, size_t index) {
    if (index >= tiles->count)
        return mf_fail(tiles->context, MFRGN_ERROR_ARGUMENT, "there is no tile %zu: there are %zu", index,
                       tiles->count);
    return MFRGN_OK;
}

mfrgn_status mfrgn_tiles_get(const mfrgn_tiles *tiles, size_t index, mfrgn_tile *tile) {
    if (!tiles)
        return MFRGN_ERROR_ARGUMENT;
    if (!tile || tile->struct_size < sizeof(*tile))
        return mf_fail(tiles->context, MFRGN_ERROR_ARGUMENT, "mfrgn_tiles_get: tile or struct_size is not set");
    MF_TRY(check_index(tiles, index));
    const mf_tile *t = &tiles->item[index];
    tile->id = t->id;
    tile->path = t->path;
    tile->located = t->located;
    tile->latitude = t->latitude;
    tile->longitude = t->longitude;
    tile->width_m = t->width_m;
    tile->height_m = t->height_m;
    tile->metres_per_pixel = t->metres_per_pixel;
    return MFRGN_OK;
}

/* ---- pictures ---- */

static mfrgn_status cut_out(mfrgn_context *context, const mf_tile *t, mfrgn_bitmap **bitmap) {
    mfrgn_image image = {.struct_size = sizeof(image)}, part = image;
    mfrgn_bitmap *small;
    mfrgn_bitmap_image(*bitmap, &image);
    MF_TRY(mfrgn_image_crop(context, &image, t->x, t->y, t->width, t->height, &part));
    MF_TRY(mfrgn_bitmap_create(context, t->width, t->height, &small));
    size_t row = (size_t)t->width * 3;
    for (int y = 0; y < t->height; y++)
        memcpy(small->pixels + (size_t)y * row, (const unsigned char *)part.pixels + y * part.stride, row);
    mfrgn_bitmap_free(*bitmap);
    *bitmap = small;
    return MFRGN_OK;
}

static mfrgn_status to_polar(const mfrgn_tiles *tiles, mfrgn_bitmap **bitmap) {
    mfrgn_image image = {.struct_size = sizeof(image)};
    mfrgn_bitmap *polar;
    mfrgn_bitmap_image(*bitmap, &image);
    MF_TRY(mf_polar(tiles->context, &image, tiles->polar_height, tiles->polar_width, &polar));
    mfrgn_bitmap_free(*bitmap);
    *bitmap = polar;
    return MFRGN_OK;
}

mfrgn_status mfrgn_tiles_load(const mfrgn_tiles *tiles, size_t index, mfrgn_bitmap **out) {
    if (!tiles)
        return MFRGN_ERROR_ARGUMENT;
    if (!out)
        return mf_fail(tiles->context, MFRGN_ERROR_ARGUMENT, "mfrgn_tiles_load: bitmap is NULL");
    MF_TRY(check_index(tiles, index));
    const mf_tile *t = &tiles->item[index];
    mfrgn_bitmap *bitmap = NULL;
    if (tiles->mbtiles)
        MF_TRY(mf_mbtiles_load(tiles->mbtiles, t, &bitmap));
    else
        MF_TRY(mfrgn_bitmap_load(tiles->context, t->path, &bitmap));
    mfrgn_status status = t->width ? cut_out(tiles->context, t, &bitmap) : MFRGN_OK;
    if (status == MFRGN_OK && tiles->polar_height)
        status = to_polar(tiles, &bitmap);
    if (status != MFRGN_OK) {
        mfrgn_bitmap_free(bitmap);
        return mf_fail_in(tiles->context, status, "%s", t->path);
    }
    *out = bitmap;
    return MFRGN_OK;
}
