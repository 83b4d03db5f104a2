/* SPDX-License-Identifier: Apache-2.0
 *
 * A world to train and test in: towns that are made of hashes, seen from the street and from above.  Conventions as in
 * mfrgn.h.
 *
 * A town has no end and is the same whenever it is made: a city's name and a seed determine every street, building and
 * tree.  Places are metres east and north of the town's origin, or WGS84 degrees.  Pictures have the same bytes on every
 * machine that computes in IEEE 754 single precision, whatever the number of threads.
 *
 * Aerial tiles are orthographic, north up.  Panoramas are equirectangular: the middle column looks along the heading,
 * columns go clockwise, the middle row is the horizon; pixels are as wide as they are high, in degrees (where that would be
 * more than from pole to pole: just that).
 */
#ifndef MFRGN_SYNTH_H
#define MFRGN_SYNTH_H

#include "mfrgn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A town.  Immutable; shared by threads. */
typedef struct mfrgn_world mfrgn_world;

/** The name of city `index`: aldergate, rosenfeld, ..; NULL past the last.  @since 0.2 */
MFRGN_API const char *mfrgn_world_city(int index);
/** A line about city `index`; NULL past the last.  @since 0.2 */
MFRGN_API const char *mfrgn_world_summary(int index);

/**
 * Makes a town.
 * @param city  [in] one of mfrgn_world_city()
 * @param seed  [in] another seed is another town of the same style, elsewhere; 0 .. 4294967295
 * @param world [out] to be freed with mfrgn_world_free()
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT (no such city; the message lists them), MFRGN_ERROR_MEMORY
 * @since 0.2
 */
MFRGN_API mfrgn_status mfrgn_world_create(mfrgn_context *context, const char *city, unsigned long seed,
                                          mfrgn_world **world);
/** Frees a town.  @since 0.2 */
MFRGN_API void mfrgn_world_free(mfrgn_world *world);

/** Latitude and longitude, degrees, of a point in metres from the town's origin.  @since 0.2 */
MFRGN_API mfrgn_status mfrgn_world_point(const mfrgn_world *world, double east, double north, double *latitude,
                                         double *longitude);

/** Parts of a town that have no place in common. */
typedef enum mfrgn_world_part {
    MFRGN_WORLD_ALL = 0,
    MFRGN_WORLD_TRAIN = 1, /**< west of the origin, 150 m and more */
    MFRGN_WORLD_TEST = 2   /**< east of it, 150 m and more */
} mfrgn_world_part;

/** A point on a street. */
typedef struct mfrgn_place {
    size_t struct_size; /**< sizeof(mfrgn_place), set by the caller in the first of an array */
    double east, north; /**< metres from the town's origin */
    double latitude, longitude;
} mfrgn_place;

/**
 * The first `count` places of a part, from the town's origin outwards.  A longer list begins with the shorter one.
 * @param spacing_m [in] the least distance between two places, 10 .. 1000 metres
 * @param count     [in] 1 .. 1,000,000
 * @param places    [out] `count` of them; places[0].struct_size is set
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT, MFRGN_ERROR_MEMORY
 * @since 0.2
 */
MFRGN_API mfrgn_status mfrgn_world_places(const mfrgn_world *world, mfrgn_world_part part, double spacing_m,
                                          size_t count, mfrgn_place *places);

/** Where a picture is taken, and on which day. */
typedef struct mfrgn_shot {
    size_t struct_size; /**< sizeof(mfrgn_shot), set by the caller */
    double east, north; /**< of the camera, or of the tile's centre: metres from the town's origin */
    unsigned long day;  /**< sun, weather, season, exposure, cars; the town itself does not depend on it */
    double size_m;      /**< aerial: width of the tile, 10 .. 1000 metres */
    double heading;     /**< ground: of the middle column, degrees clockwise from north */
    double fov;         /**< ground: degrees that the columns cover, 10 .. 360; 0: 360 */
} mfrgn_shot;

/**
 * Renders a picture.  May be called by several threads at once.
 * @param view   [in] MFRGN_VIEW_AERIAL or MFRGN_VIEW_GROUND
 * @param bitmap [in,out] of the size wanted, 8 .. 4096 pixels a side
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT, MFRGN_ERROR_MEMORY
 * @since 0.2
 */
MFRGN_API mfrgn_status mfrgn_world_render(const mfrgn_world *world, mfrgn_view view, const mfrgn_shot *shot,
                                          mfrgn_bitmap *bitmap);

#ifdef __cplusplus
}
#endif

#endif
