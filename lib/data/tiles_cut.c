/* Tiles cut with overlap out of larger pictures; sizes on the ground from sizes in pixels and back. */
#include "data/tiles.h"

#include <math.h>

#include "data/geo.h"

static mfrgn_status picture_size(const mfrgn_tiles *tiles, const mf_tile *t, int *width, int *height) {
    return tiles->mbtiles ? mf_mbtiles_size(tiles->mbtiles, t, width, height)
                          : mf_picture_file_size(tiles->context, t->path, width, height);
}

mfrgn_status mf_tiles_resolve(mfrgn_tiles *tiles, double metres_per_pixel) {
    for (size_t i = 0; i < tiles->count; i++) {
        mf_tile *t = &tiles->item[i];
        int width, height;
        if (t->metres_per_pixel == 0 && t->width_m == 0 && t->height_m == 0)
            t->metres_per_pixel = metres_per_pixel;
        /* Only where one follows from the other: looking into every picture takes a while. */
        int known = (t->metres_per_pixel > 0) + (t->width_m > 0) + (t->height_m > 0);
        if (known == 0 || known == 3)
            continue;
        MF_TRY(picture_size(tiles, t, &width, &height));
        if (t->metres_per_pixel == 0)
            t->metres_per_pixel = t->width_m > 0 ? t->width_m / width : t->height_m / height;
        if (t->width_m == 0)
            t->width_m = t->metres_per_pixel * width;
        if (t->height_m == 0)
            t->height_m = t->metres_per_pixel * height;
    }
    return MFRGN_OK;
}

/* ---- cutting ---- */

/* Where tiles begin along a side: `step` apart, the last one flush with the end. */
typedef struct side {
    int length, tile, step, count;
} side;

static side divide(int length, double pixels, double step) {
    side s = {length, length, 1, 1};
    if (pixels < length) {
        s.tile = pixels < 1 ? 1 : (int)lround(pixels);
        s.step = step < 1 ? 1 : (int)lround(step);
    }
    if (s.tile < length)
        s.count = (length - s.tile + s.step - 1) / s.step + 1;
    return s;
}

static int begin_of(const side *s, int i) {
    int begin = i * s->step, last = s->length - s->tile;
    return begin < last ? begin : last;
}

/* Centre and footprint of the part that `cut` names. */
static void locate(mf_tile *cut, const mf_tile *whole, int width, int height) {
    double x = (cut->x + cut->width / 2.0) / width, y = (cut->y + cut->height / 2.0) / height;
    double part_x = (double)cut->width / width, part_y = (double)cut->height / height;
    if (whole->zoom >= 0) {
        double scale = ldexp(1, -whole->zoom), mx = (whole->column + x) * scale, my = (whole->row + y) * scale;
        mf_point p = mf_mercator_point(mx, my);
        cut->latitude = p.latitude;
        cut->longitude = p.longitude;
        mf_mercator_footprint(mx, my, part_x * scale, part_y * scale, &cut->width_m, &cut->height_m);
        cut->metres_per_pixel = cut->width_m / cut->width;
        return;
    }
    cut->width_m = whole->width_m * part_x;
    cut->height_m = whole->height_m * part_y;
    if (whole->located) {
        mf_point from = {whole->latitude, whole->longitude};
        mf_point p = mf_geo_move(from, (x - 0.5) * whole->width_m, (0.5 - y) * whole->height_m);
        cut->latitude = p.latitude;
        cut->longitude = p.longitude;
    }
}

static mfrgn_status cut_one(mfrgn_tiles *tiles, const mf_tile *whole, double size, double overlap) {
    int width, height;
    if (whole->width_m <= 0 || whole->height_m <= 0)
        return mf_fail(tiles->context, MFRGN_ERROR_ARGUMENT,
                       "%s: tiles of %g m cannot be cut: the picture's ground resolution is unknown (give metres a "
                       "pixel, or a column metres_per_pixel or width_m)",
                       whole->path, size);
    MF_TRY(picture_size(tiles, whole, &width, &height));
    double east = width / whole->width_m, north = height / whole->height_m; /* pixels a metre */
    side across = divide(width, size * east, (size - overlap) * east);
    side down = divide(height, size * north, (size - overlap) * north);
    for (int r = 0; r < down.count; r++)
        for (int c = 0; c < across.count; c++) {
            mf_tile cut = *whole;
            cut.x = begin_of(&across, c);
            cut.y = begin_of(&down, r);
            cut.width = across.tile;
            cut.height = down.tile;
            cut.id = mf_arena_format(&tiles->memory, "%s#%d_%d", whole->id, r, c);
            locate(&cut, whole, width, height);
            MF_TRY(mf_tiles_add(tiles, &cut));
        }
    return MFRGN_OK;
}

mfrgn_status mf_tiles_cut(mfrgn_tiles *tiles, double size, double overlap) {
    mf_tile *whole = tiles->item;
    size_t count = tiles->count;
    tiles->item = NULL;
    tiles->count = tiles->room = 0;
    mfrgn_status status = MFRGN_OK;
    for (size_t i = 0; status == MFRGN_OK && i < count; i++)
        status = cut_one(tiles, &whole[i], size, overlap);
    mf_free(tiles->context, whole);
    return status;
}
