/* The header of a gallery and its tile records.
 *
 *      0  "MFRGNGAL"           8  u32 version         12  u32 bytes of the header
 *     16  u64 bytes of the file   24  u64 tiles       32  u32 values of a descriptor   36  u32 storage
 *     40  u64 hash of the model   48  u64 hash of the preparation
 *     56  u64 hash of the list of tiles; u64 first, last (exclusive), total of it
 *     88  u32 sections  92  u32 0   96  sections: u32 kind, u32 0, u64 offset, u64 bytes, u64 checksum
 *   1016  u64 checksum of bytes 0 .. 1015 */
#include "gallery/format.h"

#include <math.h>
#include <string.h>

enum { AT_SECTIONS = 96, SECTION_RECORD = 32, AT_CHECKSUM = MF_INDEX_HEADER - 8 };

static const char magic[] = "MFRGNGAL";

const char *mf_storage_name(mfrgn_index_storage s) {
    static const char *const name[] = {"f32", "f32+f16", "f32+i8", "f16", "i8"};
    return (unsigned)s < MF_COUNT(name) ? name[s] : "unknown";
}

int mf_index_layout(mf_index_header *h) {
    uint64_t count = h->count, values = count * h->size;
    if (count == 0 || count > UINT32_MAX || h->size == 0 || h->size > MF_INDEX_MAX_SIZE ||
        (unsigned)h->storage > MFRGN_INDEX_I8)
        return 0;
    int codes = mf_storage_has_codes(h->storage), small = codes && mf_storage_code(h->storage) == MF_I8;
    int both = codes && mf_storage_has_f32(h->storage);
    h->section[MF_SECTION_TILES].bytes = count * MF_INDEX_TILE;
    h->section[MF_SECTION_NORM].bytes = count * 4;
    h->section[MF_SECTION_SCALE].bytes = small ? count * 4 : 0;
    h->section[MF_SECTION_RESIDUAL].bytes = both ? count * 4 : 0;
    h->section[MF_SECTION_CODES].bytes = codes ? values * (small ? 1 : 2) : 0;
    h->section[MF_SECTION_F32].bytes = mf_storage_has_f32(h->storage) ? values * 4 : 0;
    uint64_t at = MF_INDEX_HEADER;
    for (int i = 0; i < MF_SECTION_COUNT; i++) {
        if (h->section[i].bytes > (uint64_t)1 << 60)
            return 0;
        if (h->section[i].bytes) /* nothing follows the last value */
            at = (at + 63) / 64 * 64;
        h->section[i].offset = at;
        at += h->section[i].bytes;
    }
    h->file_bytes = at;
    return 1;
}

void mf_index_header_encode(const mf_index_header *h, unsigned char *to) {
    memset(to, 0, MF_INDEX_HEADER);
    memcpy(to, magic, 8);
    mf_put32(to + 8, MF_INDEX_VERSION);
    mf_put32(to + 12, MF_INDEX_HEADER);
    mf_put64(to + 16, h->file_bytes);
    mf_put64(to + 24, h->count);
    mf_put32(to + 32, h->size);
    mf_put32(to + 36, (uint32_t)h->storage);
    mf_put64(to + 40, h->model);
    mf_put64(to + 48, h->preparation);
    mf_put64(to + 56, h->source.hash);
    mf_put64(to + 64, h->source.first);
    mf_put64(to + 72, h->source.last);
    mf_put64(to + 80, h->source.total);
    mf_put32(to + 88, MF_SECTION_COUNT);
    for (int i = 0; i < MF_SECTION_COUNT; i++) {
        unsigned char *s = to + AT_SECTIONS + i * SECTION_RECORD;
        mf_put32(s, (uint32_t)i);
        mf_put64(s + 8, h->section[i].offset);
        mf_put64(s + 16, h->section[i].bytes);
        mf_put64(s + 24, h->section[i].checksum);
    }
    mf_put64(to + AT_CHECKSUM, mf_checksum(to, AT_CHECKSUM));
}

static mfrgn_status check_start(mfrgn_context *context, const char *path, const unsigned char *data, size_t size) {
    if (size < 16 || memcmp(data, magic, 8) != 0)
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: is not a gallery of mfrgn", path);
    uint32_t version = mf_get32(data + 8);
    if (version != MF_INDEX_VERSION) {
        /* One flipped bit is not another version: a whole header tells. */
        int whole = size >= MF_INDEX_HEADER && mf_get64(data + AT_CHECKSUM) == mf_checksum(data, AT_CHECKSUM);
        return mf_fail(context, whole ? MFRGN_ERROR_UNSUPPORTED : MFRGN_ERROR_FORMAT,
                       "%s: a gallery of version %u; this library reads version %d%s", path, version,
                       MF_INDEX_VERSION, whole ? ": build it again, or use the library that made it" : " (or damaged)");
    }
    if (size < MF_INDEX_HEADER)
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: cut short: %zu bytes, its header has %d", path, size,
                       MF_INDEX_HEADER);
    if (mf_get64(data + AT_CHECKSUM) != mf_checksum(data, AT_CHECKSUM))
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: damaged: the checksum of its header does not fit", path);
    return MFRGN_OK;
}

mfrgn_status mf_index_header_decode(mfrgn_context *context, const char *path, const unsigned char *data, size_t size,
                                    mf_index_header *h) {
    MF_TRY(check_start(context, path, data, size));
    mf_index_header said;
    memset(&said, 0, sizeof(said));
    said.file_bytes = mf_get64(data + 16);
    said.count = mf_get64(data + 24);
    said.size = mf_get32(data + 32);
    said.storage = (mfrgn_index_storage)mf_get32(data + 36);
    said.model = mf_get64(data + 40);
    said.preparation = mf_get64(data + 48);
    said.source = (mf_source_range){mf_get64(data + 56), mf_get64(data + 64), mf_get64(data + 72), mf_get64(data + 80)};
    int good = mf_get32(data + 12) == MF_INDEX_HEADER && mf_get32(data + 88) == MF_SECTION_COUNT;
    for (int i = 0; i < MF_SECTION_COUNT; i++) {
        const unsigned char *s = data + AT_SECTIONS + i * SECTION_RECORD;
        good &= mf_get32(s) == (uint32_t)i;
        said.section[i] = (mf_section){mf_get64(s + 8), mf_get64(s + 16), mf_get64(s + 24)};
    }
    unsigned char again[MF_INDEX_HEADER];
    mf_index_header_encode(&said, again); /* what no field is made of must be as we write it */
    good = good && memcmp(again, data, MF_INDEX_HEADER) == 0;
    mf_index_header must = said;
    /* What can be computed must be as computed: no section lies elsewhere, none overlaps another. */
    good = good && mf_index_layout(&must) && must.file_bytes == said.file_bytes;
    for (int i = 0; good && i < MF_SECTION_COUNT; i++)
        good = must.section[i].offset == said.section[i].offset && must.section[i].bytes == said.section[i].bytes;
    good = good && said.section[MF_SECTION_CALIBRATION].bytes <= MF_INDEX_MAX_CALIBRATION &&
           said.source.first <= said.source.last && said.source.last <= said.source.total;
    if (!good)
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: its header contradicts itself", path);
    if (said.file_bytes != size)
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: %s: %zu bytes, its header says %llu", path,
                       size < said.file_bytes ? "cut short" : "too long", size, (unsigned long long)said.file_bytes);
    *h = said;
    return MFRGN_OK;
}

/* ---- tiles ---- */

static void put_double(unsigned char *p, double v) {
    uint64_t bits;
    v += 0.0; /* one zero */
    memcpy(&bits, &v, 8);
    mf_put64(p, bits);
}

static double get_double(const unsigned char *p) {
    uint64_t bits = mf_get64(p);
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

void mf_tile_encode(const mfrgn_tile *t, uint64_t id, uint64_t path, unsigned char *record) {
    memset(record, 0, MF_INDEX_TILE);
    mf_put64(record, id);
    mf_put64(record + 8, path);
    mf_put32(record + 16, t->located != 0);
    if (!t->located)
        return;
    put_double(record + 24, t->latitude);
    put_double(record + 32, t->longitude);
    put_double(record + 40, t->width_m);
    put_double(record + 48, t->height_m);
    put_double(record + 56, t->metres_per_pixel);
}

void mf_tile_decode(const unsigned char *record, mfrgn_tile *t, uint64_t *id, uint64_t *path) {
    *id = mf_get64(record);
    *path = mf_get64(record + 8);
    t->located = mf_get32(record + 16) != 0;
    t->latitude = get_double(record + 24);
    t->longitude = get_double(record + 32);
    t->width_m = get_double(record + 40);
    t->height_m = get_double(record + 48);
    t->metres_per_pixel = get_double(record + 56);
}

const char *mf_tile_fault(const mfrgn_tile *t) {
    if (!t->id || !*t->id)
        return "it has no id";
    if (!t->located)
        return NULL;
    if (!(t->latitude >= -90 && t->latitude <= 90))
        return "its latitude is not within -90 .. 90";
    if (!(t->longitude >= -180 && t->longitude <= 180))
        return "its longitude is not within -180 .. 180";
    if (!(t->width_m >= 0 && t->width_m < 1e8 && t->height_m >= 0 && t->height_m < 1e8))
        return "its footprint is negative or larger than the Earth";
    if (!(t->metres_per_pixel >= 0 && t->metres_per_pixel < 1e8))
        return "its resolution is negative or no number";
    return NULL;
}

void mf_tile_digest(mf_checksum_state *state, const mfrgn_tile *t) {
    unsigned char record[MF_INDEX_TILE];
    mf_tile_encode(t, 0, 0, record);
    mf_checksum_add(state, t->id, strlen(t->id) + 1);
    mf_checksum_add(state, record, sizeof(record));
}
