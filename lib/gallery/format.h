/* The file of a gallery, version 1.  Little-endian.
 *
 *   header, 1024 bytes: see format.c; its last 8 bytes are a checksum of the others
 *   sections in the order below, each at the next multiple of 64 bytes, the gaps filled with zeros
 *
 * Nothing in it depends on when, where or in how many pieces it was made: the same tiles, model and storage give the same
 * bytes.  Every section has a checksum of its own; those of the tables are compared when a gallery is opened, those of the
 * descriptors by mfrgn_index_verify(). */
#ifndef MFRGN_GALLERY_FORMAT_H
#define MFRGN_GALLERY_FORMAT_H

#include "base/base.h"
#include "base/checksum.h"
#include "graph/op.h"
#include "mfrgn/gallery.h"

enum {
    MF_INDEX_VERSION = 1,
    MF_INDEX_HEADER = 1024,
    MF_INDEX_TILE = 64, /* bytes of a tile's record */
    MF_INDEX_MAX_SIZE = 65536,
    MF_INDEX_MAX_CALIBRATION = 1 << 20
};

/* All but the last two are read whole when a gallery is opened. */
typedef enum mf_section_kind {
    MF_SECTION_NAMES = 0,   /* model, preparation, processing: three strings, each with its NUL */
    MF_SECTION_TILES,       /* records, see mf_tile_encode() */
    MF_SECTION_STRINGS,     /* ids and paths, each with its NUL */
    MF_SECTION_CALIBRATION, /* or nothing */
    MF_SECTION_NORM,        /* f32 [count]: lengths of the true descriptors, rounded up */
    MF_SECTION_SCALE,       /* f32 [count], int8 alone: value = scale * integer */
    MF_SECTION_RESIDUAL,    /* f32 [count], with a sidecar: distance of its row from the true one, rounded up */
    MF_SECTION_CODES,       /* f16 or int8 [count x size] */
    MF_SECTION_F32,         /* f32 [count x size] */
    MF_SECTION_COUNT
} mf_section_kind;

typedef struct mf_section {
    uint64_t offset, bytes, checksum;
} mf_section;

/* Which tiles of a list of tiles a gallery holds; what was left out because it could not be read counts as held. */
typedef struct mf_source_range {
    uint64_t hash; /* of the list */
    uint64_t first, last, total;
} mf_source_range;

typedef struct mf_index_header {
    uint64_t file_bytes, count;
    uint32_t size;
    mfrgn_index_storage storage;
    uint64_t model, preparation; /* hashes */
    mf_source_range source;
    mf_section section[MF_SECTION_COUNT];
} mf_index_header;

static inline int mf_storage_has_f32(mfrgn_index_storage s) {
    return s <= MFRGN_INDEX_F32_I8;
}

static inline int mf_storage_has_codes(mfrgn_index_storage s) {
    return s != MFRGN_INDEX_F32;
}

static inline mf_dtype mf_storage_code(mfrgn_index_storage s) {
    return s == MFRGN_INDEX_F32_I8 || s == MFRGN_INDEX_I8 ? MF_I8 : MF_F16;
}

const char *mf_storage_name(mfrgn_index_storage s);

/* Sets the sections' places and the file's size from count, size, storage, and the bytes of NAMES, STRINGS, CALIBRATION.
 * 0: too large. */
int mf_index_layout(mf_index_header *h);
void mf_index_header_encode(const mf_index_header *h, unsigned char *bytes);
/* Checks all that the header says against the file's size. */
mfrgn_status mf_index_header_decode(mfrgn_context *context, const char *path, const unsigned char *data, size_t size,
                                    mf_index_header *h);

/* id, path: offsets in STRINGS */
void mf_tile_encode(const mfrgn_tile *tile, uint64_t id, uint64_t path, unsigned char *record);
void mf_tile_decode(const unsigned char *record, mfrgn_tile *tile, uint64_t *id, uint64_t *path);
/* What is wrong with a tile, or NULL. */
const char *mf_tile_fault(const mfrgn_tile *tile);
/* Adds what makes a tile itself to a hash: all but its path, which differs between machines. */
void mf_tile_digest(mf_checksum_state *state, const mfrgn_tile *tile);

static inline void mf_put32(unsigned char *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

static inline void mf_put64(unsigned char *p, uint64_t v) {
    mf_put32(p, (uint32_t)v);
    mf_put32(p + 4, (uint32_t)(v >> 32));
}

static inline uint32_t mf_get32(const unsigned char *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t mf_get64(const unsigned char *p) {
    return mf_get32(p) | (uint64_t)mf_get32(p + 4) << 32;
}

#endif
