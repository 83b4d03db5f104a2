/* What the sources of tiles share. */
#ifndef MFRGN_DATA_TILES_H
#define MFRGN_DATA_TILES_H

#include "io/folder.h"
#include "io/image.h"
#include "mfrgn/gallery.h"

typedef struct mf_mbtiles mf_mbtiles;

typedef struct mf_tile {
    const char *id, *path;
    int located;
    double latitude, longitude, width_m, height_m, metres_per_pixel;
    int zoom, column, row;   /* of slippy maps, rows counted from the north; zoom -1: another source */
    int x, y, width, height; /* the part that is cut out; width 0: the whole picture */
    size_t line;             /* of the CSV; 0: none */
} mf_tile;

struct mfrgn_tiles {
    mfrgn_context *context;
    mf_arena memory; /* ids and paths */
    const char *path;
    const char *processing; /* "polar HxW" or "" */
    mf_tile *item;
    size_t count, room;
    int polar_height, polar_width; /* 0: no polar transformation */
    mf_mbtiles *mbtiles;           /* NULL: pictures are files */
};

mfrgn_status mf_tiles_add(mfrgn_tiles *tiles, const mf_tile *tile);

/* The sources, a file each. */
mfrgn_status mf_tiles_from_csv(mfrgn_tiles *tiles, const char *path, const mfrgn_tiles_options *options);
mfrgn_status mf_tiles_from_names(mfrgn_tiles *tiles, const char *folder, int located);
mfrgn_status mf_tiles_from_xyz(mfrgn_tiles *tiles, const char *folder, int zoom);
mfrgn_status mf_tiles_from_mbtiles(mfrgn_tiles *tiles, const char *path, int zoom);

/* Coordinates in a file's name: "satellite_{lat}_{lon}.png", "lat,lon,..". 1: read; -1: out of range; 0: none. */
int mf_name_point(const char *path, double *latitude, double *longitude);
/* A folder of z/x/y.png? */
int mf_is_xyz(mfrgn_context *context, const char *folder);
/* Sets centre, footprint and resolution of a slippy-map tile; pixels: of a side. */
void mf_tile_locate(mf_tile *tile, int pixels);

/* tiles_cut.c: smaller tiles out of each; and what pictures leave open about their resolution or footprint. */
mfrgn_status mf_tiles_cut(mfrgn_tiles *tiles, double size, double overlap);
mfrgn_status mf_tiles_resolve(mfrgn_tiles *tiles, double metres_per_pixel);

/* tiles_mbtiles.c */
mfrgn_status mf_mbtiles_size(mf_mbtiles *db, const mf_tile *tile, int *width, int *height);
mfrgn_status mf_mbtiles_load(mf_mbtiles *db, const mf_tile *tile, mfrgn_bitmap **bitmap);
void mf_mbtiles_close(mf_mbtiles *db);

/* polar.c: the polar transformation of a square aerial picture. */
mfrgn_status mf_polar(mfrgn_context *context, const mfrgn_image *image, int height, int width, mfrgn_bitmap **out);

#endif
