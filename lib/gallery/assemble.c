/* Writes a gallery from parts, row by row: two open galleries and a build that is just finished are the same to it.  Nothing
 * is kept but the tables of norms (12 bytes a tile) and the pointers to the ids, which must be unique. */
#include <string.h>

#include "gallery/index.h"
#include "io/reader.h"

enum { ROWS = 128 }; /* written at once */

typedef struct writer {
    mfrgn_context *context;
    const char *path;
    const mf_assembly *what;
    mf_out *out;
    mf_index_header header;
    mf_checksum_state sum[MF_SECTION_COUNT];
    uint64_t done[MF_SECTION_COUNT]; /* bytes */
} writer;

static mfrgn_status put(writer *w, mf_section_kind kind, const void *data, size_t bytes) {
    if (!bytes)
        return MFRGN_OK;
    MF_TRY(mf_out_write_at(w->out, w->header.section[kind].offset + w->done[kind], data, bytes));
    mf_checksum_add(&w->sum[kind], data, bytes);
    w->done[kind] += bytes;
    return MFRGN_OK;
}

static mfrgn_status get_tile(const mf_part *part, size_t index, mfrgn_tile *tile) {
    memset(tile, 0, sizeof(*tile));
    tile->struct_size = sizeof(*tile);
    return part->tile(part->user, index, tile);
}

/* ---- ids ---- */

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The ids of all parts, and the bytes of their strings. */
static mfrgn_status list_ids(mfrgn_context *context, const mf_part *part, size_t parts, const char **id,
                             uint64_t *strings) {
    *strings = 0;
    for (size_t p = 0; p < parts; p++)
        for (size_t i = 0; i < part[p].count; i++) {
            mfrgn_tile tile;
            MF_TRY(get_tile(&part[p], i, &tile));
            const char *fault = mf_tile_fault(&tile);
            if (fault)
                return mf_fail(context, MFRGN_ERROR_ARGUMENT, "tile %zu (%s): %s", i, tile.id ? tile.id : "", fault);
            *strings += strlen(tile.id) + 1 + strlen(tile.path ? tile.path : "") + 1;
            *id++ = tile.id;
        }
    return MFRGN_OK;
}

mfrgn_status mf_check_ids(mfrgn_context *context, const char *path, const mf_part *part, size_t parts,
                          uint64_t *strings) {
    size_t n = 0;
    for (size_t p = 0; p < parts; p++)
        n += part[p].count;
    const char **id = mf_alloc(context, n * sizeof(*id));
    if (!id)
        return mf_fail_memory(context, n * sizeof(*id), "the tiles' ids");
    mfrgn_status status = list_ids(context, part, parts, id, strings);
    if (status == MFRGN_OK)
        mf_sort(id, n, sizeof(*id), by_text);
    for (size_t i = 1; status == MFRGN_OK && i < n; i++)
        if (strcmp(id[i - 1], id[i]) == 0)
            status = mf_fail(context, MFRGN_ERROR_ARGUMENT, "%s: the tile \"%.200s\" would be in it twice", path,
                             id[i]);
    mf_free(context, id);
    return status;
}

/* ---- tables ---- */

static mfrgn_status write_tiles(writer *w) {
    uint64_t at = 0;
    for (size_t p = 0; p < w->what->parts; p++)
        for (size_t i = 0; i < w->what->part[p].count; i++) {
            unsigned char record[MF_INDEX_TILE];
            mfrgn_tile tile;
            MF_TRY(get_tile(&w->what->part[p], i, &tile));
            const char *path = tile.path ? tile.path : "";
            size_t id_bytes = strlen(tile.id) + 1, path_bytes = strlen(path) + 1;
            mf_tile_encode(&tile, at, at + id_bytes, record);
            at += id_bytes + path_bytes;
            MF_TRY(put(w, MF_SECTION_TILES, record, sizeof(record)));
            MF_TRY(put(w, MF_SECTION_STRINGS, tile.id, id_bytes));
            MF_TRY(put(w, MF_SECTION_STRINGS, path, path_bytes));
        }
    return MFRGN_OK;
}

static mfrgn_status write_names(writer *w) {
    const char *name[] = {w->what->model_name, w->what->preparation_name, w->what->processing};
    for (size_t i = 0; i < MF_COUNT(name); i++)
        MF_TRY(put(w, MF_SECTION_NAMES, name[i], strlen(name[i]) + 1));
    return put(w, MF_SECTION_CALIBRATION, w->what->calibration, w->what->calibration_bytes);
}

/* ---- rows ---- */

typedef struct row_buffer {
    float *f32;
    char *codes;
    float norm[ROWS], scale[ROWS], residual[ROWS];
    size_t count;
} row_buffer;

static mfrgn_status flush(writer *w, row_buffer *b) {
    size_t size = w->header.size, n = b->count;
    int codes = mf_storage_has_codes(w->what->storage), small = codes && mf_storage_code(w->what->storage) == MF_I8;
    int both = codes && mf_storage_has_f32(w->what->storage);
    MF_TRY(put(w, MF_SECTION_NORM, b->norm, n * 4));
    MF_TRY(put(w, MF_SECTION_SCALE, b->scale, small ? n * 4 : 0));
    MF_TRY(put(w, MF_SECTION_RESIDUAL, b->residual, both ? n * 4 : 0));
    MF_TRY(put(w, MF_SECTION_CODES, b->codes, codes ? n * size * (small ? 1 : 2) : 0));
    MF_TRY(put(w, MF_SECTION_F32, b->f32, mf_storage_has_f32(w->what->storage) ? n * size * 4 : 0));
    b->count = 0;
    return MFRGN_OK;
}

static mfrgn_status write_row(writer *w, row_buffer *b, const mf_part *part, size_t i) {
    size_t size = w->header.size, width = mf_storage_has_codes(w->what->storage)
                                              ? size * (mf_storage_code(w->what->storage) == MF_I8 ? 1 : 2)
                                              : 0;
    char *codes = b->codes + b->count * width;
    mf_row row;
    MF_TRY(part->row(part->user, i, codes, &row));
    if (row.codes && row.codes != codes)
        memcpy(codes, row.codes, width);
    if (row.f32)
        memcpy(b->f32 + b->count * size, row.f32, size * sizeof(float));
    b->norm[b->count] = row.norm;
    b->scale[b->count] = row.scale;
    b->residual[b->count] = row.residual;
    if (++b->count < ROWS)
        return MFRGN_OK;
    return flush(w, b);
}

static mfrgn_status write_all_rows(writer *w, row_buffer *b) {
    size_t done = 0;
    for (size_t p = 0; p < w->what->parts; p++)
        for (size_t i = 0; i < w->what->part[p].count; i++, done++) {
            if (done % ROWS == 0)
                MF_TRY(mf_progress(w->context, w->what->progress, done, w->header.count));
            MF_TRY(write_row(w, b, &w->what->part[p], i));
        }
    return flush(w, b);
}

static mfrgn_status write_rows(writer *w) {
    size_t values = (size_t)ROWS * w->header.size;
    row_buffer *b = mf_alloc(w->context, sizeof(*b) + 64 + values * 6);
    if (!b)
        return mf_fail_memory(w->context, values * 6, "rows of a gallery");
    b->count = 0;
    b->f32 = (float *)(void *)((char *)b + (sizeof(*b) + 63) / 64 * 64);
    b->codes = (char *)(b->f32 + values);
    mfrgn_status status = write_all_rows(w, b);
    mf_free(w->context, b);
    return status;
}

/* ---- the whole ---- */

static mfrgn_status write_file(writer *w) {
    unsigned char header[MF_INDEX_HEADER] = {0};
    MF_TRY(mf_out_write(w->out, header, sizeof(header)));
    MF_TRY(write_names(w));
    MF_TRY(write_tiles(w));
    MF_TRY(write_rows(w));
    for (int i = 0; i < MF_SECTION_COUNT; i++)
        if (w->done[i] != w->header.section[i].bytes)
            return mf_fail(w->context, MFRGN_ERROR_INTERNAL, "%s: its parts changed while they were read", w->path);
        else
            w->header.section[i].checksum = mf_checksum_end(&w->sum[i]);
    mf_index_header_encode(&w->header, header);
    return mf_out_write_at(w->out, 0, header, sizeof(header));
}

static mfrgn_status start(writer *w) {
    const mf_assembly *what = w->what;
    mf_index_header *h = &w->header;
    for (size_t p = 0; p < what->parts; p++)
        h->count += what->part[p].count;
    if (!h->count)
        return mf_fail(w->context, MFRGN_ERROR_ARGUMENT, "%s: there is no tile to put into it", w->path);
    h->size = what->size;
    h->storage = what->storage;
    h->model = what->model;
    h->preparation = what->preparation;
    h->source = what->source;
    MF_TRY(mf_check_ids(w->context, w->path, what->part, what->parts, &h->section[MF_SECTION_STRINGS].bytes));
    h->section[MF_SECTION_NAMES].bytes =
        strlen(what->model_name) + strlen(what->preparation_name) + strlen(what->processing) + 3;
    h->section[MF_SECTION_CALIBRATION].bytes = what->calibration_bytes;
    for (int i = 0; i < MF_SECTION_COUNT; i++)
        mf_checksum_begin(&w->sum[i]);
    if (!mf_index_layout(h))
        return mf_fail(w->context, MFRGN_ERROR_ARGUMENT, "%s: %llu tiles of %u values are too many", w->path,
                       (unsigned long long)h->count, h->size);
    return MFRGN_OK;
}

mfrgn_status mf_assemble(mfrgn_context *context, const char *path, const mf_assembly *what) {
    writer w;
    memset(&w, 0, sizeof(w));
    w.context = context;
    w.path = path;
    w.what = what;
    MF_TRY(start(&w));
    MF_TRY(mf_out_open(context, path, &w.out));
    mfrgn_status status = write_file(&w);
    if (status == MFRGN_OK)
        return mf_out_commit(w.out);
    mf_out_discard(w.out);
    return status;
}

/* ---- a gallery as a part ---- */

static mfrgn_status index_tile(void *user, size_t i, mfrgn_tile *tile) {
    return mfrgn_index_tile(user, i, tile);
}

static mfrgn_status index_row(void *user, size_t i, void *codes, mf_row *row) {
    (void)codes;
    mf_row_of(user, i, row);
    return MFRGN_OK;
}

mf_part mf_part_of(const mfrgn_index *index) {
    return (mf_part){index->header.count, (void *)(uintptr_t)index, index_tile, index_row};
}
