/* SPDX-License-Identifier: Apache-2.0
 *
 * Galleries of aerial tiles, search, localisation, evaluation.  Conventions as in mfrgn.h.
 *
 * Coordinates are WGS84 degrees; local distances are metres east and north on the ellipsoid at the point of interest.
 * Headings are degrees clockwise from north.
 */
#ifndef MFRGN_GALLERY_H
#define MFRGN_GALLERY_H

#include "mfrgn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Tiles to be put into a gallery: where their pixels are, and where on Earth they lie. */
typedef struct mfrgn_tiles mfrgn_tiles;
/** A gallery on disk, opened: descriptors and tiles.  Immutable; shared by threads. */
typedef struct mfrgn_index mfrgn_index;
/** Threads and a backend for searching without a model.  One thread at a time. */
typedef struct mfrgn_searcher mfrgn_searcher;
/** The belief of a moving robot about where it is.  One thread at a time. */
typedef struct mfrgn_tracker mfrgn_tracker;

/* ---------------------------------------------------------------------------------------------- tiles --------- */

/** One tile. */
typedef struct mfrgn_tile {
    size_t struct_size; /**< sizeof(mfrgn_tile), set by the caller */
    const char *id;     /**< unique in its gallery; valid while its owner lives */
    const char *path;   /**< of its picture, or a description ("file.mbtiles 17/70406/42987") */
    int located;        /**< 0: nothing below is known */
    double latitude;    /**< of its centre, degrees */
    double longitude;
    double width_m;  /**< footprint, metres east; 0: unknown */
    double height_m; /**< footprint, metres north; 0: unknown */
    double metres_per_pixel; /**< at the centre; 0: unknown */
} mfrgn_tile;

typedef enum mfrgn_tiles_kind {
    MFRGN_TILES_AUTO = 0,
    MFRGN_TILES_CSV = 1,     /**< a CSV (path, latitude, longitude, ..) beside its pictures */
    MFRGN_TILES_NAMES = 2,   /**< a folder whose file names carry coordinates (VIGOR's, "lat,lon,..") */
    MFRGN_TILES_XYZ = 3,     /**< a slippy-map tree z/x/y.png */
    MFRGN_TILES_MBTILES = 4, /**< an MBTiles file (SQLite; rows counted from the south) */
    MFRGN_TILES_FOLDER = 5   /**< a folder of pictures without coordinates */
} mfrgn_tiles_kind;

typedef struct mfrgn_tiles_options {
    size_t struct_size; /**< sizeof(mfrgn_tiles_options) */
    mfrgn_tiles_kind kind;
    int zoom;               /**< XYZ, MBTiles: this zoom level; -1: the deepest */
    double tile_size_m;     /**< > 0: cut tiles of this side from larger pictures (needs their resolution) */
    double overlap_m;       /**< of tiles that are cut */
    double metres_per_pixel; /**< of pictures that do not tell; 0: unknown */
    int polar_height, polar_width; /**< > 0: the polar transformation of each tile, to this size */
} mfrgn_tiles_options;

/** Lists the tiles of a source, sorted by id.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_tiles_open(mfrgn_context *context, const char *path, const mfrgn_tiles_options *options,
                                        mfrgn_tiles **tiles);
MFRGN_API void mfrgn_tiles_free(mfrgn_tiles *tiles);
MFRGN_API size_t mfrgn_tiles_count(const mfrgn_tiles *tiles);
MFRGN_API mfrgn_status mfrgn_tiles_get(const mfrgn_tiles *tiles, size_t index, mfrgn_tile *tile);
/** Decodes a tile's picture.  May be called by several threads at once. */
MFRGN_API mfrgn_status mfrgn_tiles_load(const mfrgn_tiles *tiles, size_t index, mfrgn_bitmap **bitmap);

/** What is done to pictures before the network's own preparation ("polar 112x616"), or "".  Part of what a gallery
 *  remembers.  Valid while the tiles live.  @since 0.1 */
MFRGN_API const char *mfrgn_tiles_processing(const mfrgn_tiles *tiles);

/* ---------------------------------------------------------------------------------------------- index --------- */

/** How descriptors are stored.  A sidecar is scanned first and its best are ranked again in f32: answers are exact. */
typedef enum mfrgn_index_storage {
    MFRGN_INDEX_F32 = 0,
    MFRGN_INDEX_F32_F16 = 1, /**< with an f16 sidecar */
    MFRGN_INDEX_F32_I8 = 2,  /**< with an int8 sidecar */
    MFRGN_INDEX_F16 = 3,     /**< approximate */
    MFRGN_INDEX_I8 = 4       /**< approximate */
} mfrgn_index_storage;

typedef struct mfrgn_index_build {
    size_t struct_size; /**< sizeof(mfrgn_index_build) */
    mfrgn_index_storage storage;
    int shard, shards; /**< this machine's part: 0 .. shards - 1 of shards; 0, 0 and 0, 1: all */
    int resume;        /**< 1: goes on where a killed build stopped */
    const mfrgn_progress *progress; /**< or NULL */
    /** Called for each tile whose picture cannot be read, which is left out; NULL: the first such tile is an error. */
    void (*skipped)(void *user, const mfrgn_tile *tile, const char *why);
    void *skipped_user;
} mfrgn_index_build;

/**
 * Embeds tiles into a new gallery file; the old file stays whole until the new one is complete.  What is embedded so
 * far lies in `path`.partial, locked; a build that failed or was killed leaves it for `resume`.
 * @param build [in] NULL: f32, all tiles, no progress
 * @return MFRGN_OK, MFRGN_ERROR_IO (also: another process builds this gallery), MFRGN_ERROR_MISMATCH (`resume`: what is
 *         there is of another model, preparation or list of tiles), MFRGN_ERROR_ARGUMENT (an id twice, a latitude beyond
 *         90, no tile), MFRGN_ERROR_CANCELLED, and those of mfrgn_embed()
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_index_create(mfrgn_session *session, const mfrgn_tiles *tiles, const char *path,
                                          const mfrgn_index_build *build);
/** A new gallery file at `path` with the tiles of the old one and more; build->storage is the old one's.  A calibration is
 *  dropped: it was of the smaller gallery.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_index_add(mfrgn_session *session, const mfrgn_tiles *tiles, const char *path,
                                       const mfrgn_index_build *build);
/** Joins galleries of one model into `path`, none of which may lack a tile between two shards; shards of one build, in
 *  any order, give the bytes of a build in one piece.  Each is verified; calibrations are dropped.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_index_merge(mfrgn_context *context, const char *const *paths, size_t count,
                                         const char *path);
/** Opens a gallery: memory-mapped, header and tables checked; descriptors by mfrgn_index_verify().  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_index_open(mfrgn_context *context, const char *path, mfrgn_index **index);
MFRGN_API void mfrgn_index_free(mfrgn_index *index);
/** Reads every byte and compares the checksums.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_index_verify(const mfrgn_index *index, const mfrgn_progress *progress);

typedef struct mfrgn_index_info {
    size_t struct_size; /**< sizeof(mfrgn_index_info), set by the caller */
    size_t count;       /**< tiles */
    size_t size;        /**< values in a descriptor */
    mfrgn_index_storage storage;
    int exact;              /**< 0: descriptors are stored in 16 or 8 bits alone */
    const char *model;      /**< name and hash of the model, valid while the index is open */
    const char *preparation; /**< name and hash of the pre-processing of aerial pictures */
    const char *processing;  /**< of pictures before that ("polar 112x616"), or "" */
    size_t first, last, total; /**< of the tiles of the build, those from first to before last: a shard's part */
    int calibrated;
    size_t bytes;           /**< of the file */
} mfrgn_index_info;
MFRGN_API mfrgn_status mfrgn_index_get_info(const mfrgn_index *index, mfrgn_index_info *info);
MFRGN_API mfrgn_status mfrgn_index_tile(const mfrgn_index *index, size_t tile, mfrgn_tile *info);
/** The descriptor of a tile as f32.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_index_descriptor(const mfrgn_index *index, size_t tile, float *values);

typedef enum mfrgn_export { MFRGN_EXPORT_NPY_CSV = 0, MFRGN_EXPORT_GEOJSON = 1 } mfrgn_export;
/** NPY_CSV writes `path`.npy and `path`.csv.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_index_export(const mfrgn_index *index, mfrgn_export format, const char *path);

/** MFRGN_OK if the index was built by the session's model with its preparation; else the error has both names. */
MFRGN_API mfrgn_status mfrgn_index_check_model(const mfrgn_index *index, const mfrgn_session *session);

/* ---------------------------------------------------------------------------------------------- search -------- */

/** Which tiles are looked at.  All that is set must hold. */
typedef struct mfrgn_filter {
    size_t struct_size; /**< sizeof(mfrgn_filter) */
    double latitude, longitude, radius_m; /**< radius_m > 0: tiles whose centre lies within the radius */
    double south, west, north, east; /**< north > south: centres inside the box; west > east crosses the 180th meridian */
    const size_t *tiles;             /**< or NULL: only these */
    size_t tile_count;
} mfrgn_filter;

typedef struct mfrgn_hit {
    size_t tile;
    float score; /**< inner product: cosine similarity */
} mfrgn_hit;

/** Options: backend and threads.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_searcher_create(mfrgn_context *context, const mfrgn_options *options,
                                             mfrgn_searcher **searcher);
MFRGN_API void mfrgn_searcher_free(mfrgn_searcher *searcher);

/**
 * The k tiles of the highest score for each query, best first, ties by tile number.  A score is the inner product of the
 * query and the stored descriptor in f64 in one order, rounded once: exact, and the same on every backend and storage
 * that keeps f32.  (With MFRGN_INDEX_F16 and I8 it is the exact product with what is stored.)
 * @param queries [in] n x size f32
 * @param k       [in] 1 .. 1024; may exceed the tiles that are looked at
 * @param filter  [in] or NULL: every tile
 * @param hits    [out] n x k; unused ones have tile (size_t)-1 and score -2
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT, MFRGN_ERROR_NUMERIC (a query is NaN or infinite), MFRGN_ERROR_MEMORY,
 *         MFRGN_ERROR_BACKEND
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_index_search(const mfrgn_index *index, mfrgn_searcher *searcher, const float *queries,
                                          size_t n, size_t k, const mfrgn_filter *filter, mfrgn_hit *hits);

/* ---------------------------------------------------------------------------------------------- geodesy ------- */

/** Metres between two points on the WGS84 ellipsoid (Vincenty; exact to a millimetre short of antipodes).  @since 0.1 */
MFRGN_API double mfrgn_distance_m(double latitude1, double longitude1, double latitude2, double longitude2);

#ifdef __cplusplus
}
#endif

#endif
