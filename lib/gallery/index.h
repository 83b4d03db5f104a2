/* Galleries: what the files of lib/gallery/ share. */
#ifndef MFRGN_GALLERY_INDEX_H
#define MFRGN_GALLERY_INDEX_H

#include "gallery/format.h"
#include "io/file.h"
#include "model/session.h"

struct mfrgn_index {
    mfrgn_context *context;
    char *path;
    mf_file file;
    mf_index_header header;
    const char *model, *preparation, *processing; /* in NAMES */
    const unsigned char *tiles;
    const char *strings;
    const float *norm, *scale, *residual; /* NULL: absent */
    const void *codes;                    /* f16 or int8, or NULL */
    const float *f32;                     /* or NULL */
    float norm_max;                       /* of norm + residual */
};

/* Bytes that the calibration of probabilities keeps in a gallery; NULL and 0: none.  Valid while the index is open. */
const void *mf_index_calibration(const mfrgn_index *index, size_t *bytes);
/* Writes the gallery anew with these (bytes 0: without), under its own name.  `index` stays as it was opened. */
mfrgn_status mf_index_set_calibration(const mfrgn_index *index, const void *data, size_t bytes);

static inline const void *mf_index_section(const mfrgn_index *index, mf_section_kind kind) {
    const mf_section *s = &index->header.section[kind];
    return s->bytes ? index->file.data + s->offset : NULL;
}

/* ---- what the descriptors were made with ---- */
typedef struct mf_maker {
    uint64_t model, preparation;            /* hashes */
    char *model_name, *preparation_name;    /* with the hash of the model */
} mf_maker;
mfrgn_status mf_maker_of(const mfrgn_session *session, mf_maker *maker);
void mf_maker_free(mfrgn_context *context, mf_maker *maker);

/* ---- rows: lib/gallery/row.c ---- */
/* A descriptor in every form that a gallery may keep. */
typedef struct mf_row {
    const float *f32;  /* NULL: not kept */
    const void *codes; /* NULL: not kept */
    float norm, scale, residual;
} mf_row;
/* codes: room for size f16 or int8.  The norm is of what the storage holds. */
void mf_row_make(const float *values, size_t size, mfrgn_index_storage storage, void *codes, mf_row *row);
float mf_norm_up(const float *values, size_t size); /* the length, rounded up */
void mf_row_of(const mfrgn_index *index, size_t tile, mf_row *row);

/* ---- writing: lib/gallery/assemble.c ---- */
/* Where rows and tiles of a new gallery come from, one after the other. */
typedef struct mf_part {
    size_t count;
    void *user;
    mfrgn_status (*tile)(void *user, size_t index, mfrgn_tile *tile);
    /* in the storage of the new gallery; codes: room for one row */
    mfrgn_status (*row)(void *user, size_t index, void *codes, mf_row *row);
} mf_part;

typedef struct mf_assembly {
    mfrgn_index_storage storage;
    uint32_t size;
    uint64_t model, preparation;
    const char *model_name, *preparation_name, *processing;
    mf_source_range source;
    const void *calibration;
    size_t calibration_bytes;
    const mf_part *part;
    size_t parts;
    const mfrgn_progress *progress; /* or NULL: rows */
} mf_assembly;

mfrgn_status mf_assemble(mfrgn_context *context, const char *path, const mf_assembly *what);
/* Every tile is sound and none is there twice; *strings: the bytes of their ids and paths. */
mfrgn_status mf_check_ids(mfrgn_context *context, const char *path, const mf_part *part, size_t parts,
                          uint64_t *strings);
/* A part that is an open gallery of the same storage. */
mf_part mf_part_of(const mfrgn_index *index);

/* ---- building: lib/gallery/build.c ---- */
/* Tiles to embed: mfrgn_tiles, or a test's own.  `load` is called by several threads. */
typedef struct mf_tile_source {
    void *user;
    size_t count;
    mfrgn_status (*get)(void *user, size_t index, mfrgn_tile *tile);
    mfrgn_status (*load)(void *user, size_t index, mfrgn_bitmap **bitmap);
    const char *processing; /* what is done to pictures before the network's own preparation, or "" */
} mf_tile_source;

/* add: to the gallery at `path`; build NULL: the defaults. */
mfrgn_status mf_index_build(mfrgn_session *session, const mf_tile_source *source, const char *path,
                            const mfrgn_index_build *build, int add);

/* ---- the exact score ---- */
/* The product of a query with a stored row: f32 products, which are exact in double, added in double in one order on every
 * machine, rounded to f32 once.  All that a search returns are such scores. */
float mf_score(const mfrgn_index *index, const float *query, size_t tile);
float mf_product(const float *query, const float *row, size_t size); /* the same of a plain row */

#endif
