/* A gallery on disk, opened: mapped, looked through, asked. */
#include "gallery/index.h"

#include <math.h>
#include <string.h>

#include "gallery/partial.h"
#include "io/weights.h"

static const char *const section_name[MF_SECTION_COUNT] = {
    "names", "tiles", "strings", "calibration", "norms", "scales", "residuals", "codes", "descriptors"};

static mfrgn_status damaged(const mfrgn_index *x, const char *what) {
    return mf_fail(x->context, MFRGN_ERROR_FORMAT, "%s: damaged: %s", x->path, what);
}

/* ---- opening ---- */

/* The gap before a section, or the checksum of the section itself. */
static mfrgn_status check_section(const mfrgn_index *x, int kind) {
    const mf_section *s = &x->header.section[kind], *before = kind ? s - 1 : NULL;
    uint64_t gap = before ? before->offset + before->bytes : MF_INDEX_HEADER;
    for (; gap < s->offset; gap++)
        if (x->file.data[gap])
            return mf_fail(x->context, MFRGN_ERROR_FORMAT, "%s: damaged: byte %llu, before the %s, is not zero", x->path,
                           (unsigned long long)gap, section_name[kind]);
    if (kind < MF_SECTION_CODES && mf_checksum(x->file.data + s->offset, s->bytes) != s->checksum)
        return mf_fail(x->context, MFRGN_ERROR_FORMAT, "%s: damaged: the checksum of its %s does not fit", x->path,
                       section_name[kind]);
    return MFRGN_OK;
}

static mfrgn_status read_names(mfrgn_index *x) {
    const char *at = mf_index_section(x, MF_SECTION_NAMES);
    size_t left = x->header.section[MF_SECTION_NAMES].bytes;
    const char **name[] = {&x->model, &x->preparation, &x->processing};
    for (size_t i = 0; i < MF_COUNT(name); i++) {
        const char *end = left ? memchr(at, 0, left) : NULL;
        if (!end)
            return damaged(x, "its names are cut short");
        *name[i] = at;
        left -= (size_t)(end + 1 - at);
        at = end + 1;
    }
    return left ? damaged(x, "something follows its names") : MFRGN_OK;
}

static mfrgn_status read_tiles(mfrgn_index *x) {
    size_t bytes = x->header.section[MF_SECTION_STRINGS].bytes;
    x->tiles = mf_index_section(x, MF_SECTION_TILES);
    x->strings = mf_index_section(x, MF_SECTION_STRINGS);
    if (!bytes || x->strings[bytes - 1])
        return damaged(x, "its strings do not end");
    for (size_t i = 0; i < x->header.count; i++) {
        mfrgn_tile tile = {sizeof(tile), NULL, NULL, 0, 0, 0, 0, 0, 0};
        uint64_t id, path;
        mf_tile_decode(x->tiles + i * MF_INDEX_TILE, &tile, &id, &path);
        if (id >= bytes || path >= bytes)
            return damaged(x, "a tile's id or path lies outside its strings");
        tile.id = x->strings + id;
        const char *fault = mf_tile_fault(&tile);
        if (fault)
            return mf_fail(x->context, MFRGN_ERROR_FORMAT, "%s: damaged: tile %zu: %s", x->path, i, fault);
    }
    return MFRGN_OK;
}

static mfrgn_status read_rows(mfrgn_index *x) {
    x->norm = mf_index_section(x, MF_SECTION_NORM);
    x->scale = mf_index_section(x, MF_SECTION_SCALE);
    x->residual = mf_index_section(x, MF_SECTION_RESIDUAL);
    x->codes = mf_index_section(x, MF_SECTION_CODES);
    x->f32 = mf_index_section(x, MF_SECTION_F32);
    for (size_t i = 0; i < x->header.count; i++) {
        float norm = x->norm[i] + (x->residual ? x->residual[i] : 0);
        if (!(x->norm[i] >= 0) || !(norm < INFINITY) || (x->residual && !(x->residual[i] >= 0)) ||
            (x->scale && !(x->scale[i] >= 0 && x->scale[i] < INFINITY)))
            return mf_fail(x->context, MFRGN_ERROR_FORMAT, "%s: damaged: the norm of descriptor %zu", x->path, i);
        if (norm > x->norm_max)
            x->norm_max = norm;
    }
    return MFRGN_OK;
}

static mfrgn_status open_index(mfrgn_index *x, const char *path) {
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    return mf_fail(x->context, MFRGN_ERROR_UNSUPPORTED, "%s: galleries need a little-endian machine", path);
#endif
    x->path = mf_strdup(x->context, path);
    if (!x->path)
        return mf_fail_memory(x->context, strlen(path) + 1, "a path");
    MF_TRY(mf_file_map(x->context, path, &x->file));
    MF_TRY(mf_index_header_decode(x->context, path, x->file.data, x->file.size, &x->header));
    for (int kind = 0; kind < MF_SECTION_COUNT; kind++)
        MF_TRY(check_section(x, kind));
    MF_TRY(read_names(x));
    MF_TRY(read_tiles(x));
    return read_rows(x);
}

mfrgn_status mfrgn_index_open(mfrgn_context *context, const char *path, mfrgn_index **out) {
    if (!context)
        return MFRGN_ERROR_ARGUMENT;
    if (!path || !out)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_open: NULL argument");
    mfrgn_index *x = mf_calloc(context, 1, sizeof(*x));
    if (!x)
        return mf_fail_memory(context, sizeof(*x), "a gallery");
    x->context = mf_context_ref(context);
    mfrgn_status status = open_index(x, path);
    if (status != MFRGN_OK)
        mfrgn_index_free(x);
    else
        *out = x;
    return status;
}

void mfrgn_index_free(mfrgn_index *x) {
    if (!x)
        return;
    mfrgn_context *context = x->context;
    mf_file_unmap(&x->file);
    mf_free(context, x->path);
    mf_free(context, x);
    mfrgn_context_free(context);
}

/* ---- verifying ---- */

mfrgn_status mfrgn_index_verify(const mfrgn_index *x, const mfrgn_progress *progress) {
    enum { PIECE = 8 << 20 };
    if (!x)
        return MFRGN_ERROR_ARGUMENT;
    for (int kind = 0; kind < MF_SECTION_COUNT; kind++) {
        const mf_section *s = &x->header.section[kind];
        mf_checksum_state state;
        mf_checksum_begin(&state);
        for (size_t at = 0; at < s->bytes; at += PIECE) {
            MF_TRY(mf_progress(x->context, progress, s->offset + at, x->file.size));
            mf_checksum_add(&state, x->file.data + s->offset + at, s->bytes - at < PIECE ? s->bytes - at : PIECE);
        }
        if (mf_checksum_end(&state) != s->checksum)
            return mf_fail(x->context, MFRGN_ERROR_FORMAT, "%s: damaged: the checksum of its %s does not fit", x->path,
                           section_name[kind]);
    }
    return mf_progress(x->context, progress, x->file.size, x->file.size);
}

/* ---- questions ---- */

mfrgn_status mfrgn_index_get_info(const mfrgn_index *x, mfrgn_index_info *info) {
    if (!x)
        return MFRGN_ERROR_ARGUMENT;
    if (!info || info->struct_size < sizeof(*info))
        return mf_fail(x->context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_get_info: info or struct_size is not set");
    info->count = x->header.count;
    info->size = x->header.size;
    info->storage = x->header.storage;
    info->exact = x->f32 != NULL;
    info->model = x->model;
    info->preparation = x->preparation;
    info->processing = x->processing;
    info->first = x->header.source.first;
    info->last = x->header.source.last;
    info->total = x->header.source.total;
    info->calibrated = x->header.section[MF_SECTION_CALIBRATION].bytes > 0;
    info->bytes = x->file.size;
    return MFRGN_OK;
}

mfrgn_status mfrgn_index_tile(const mfrgn_index *x, size_t tile, mfrgn_tile *info) {
    uint64_t id, path;
    if (!x)
        return MFRGN_ERROR_ARGUMENT;
    if (!info || info->struct_size < sizeof(*info) || tile >= x->header.count)
        return mf_fail(x->context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_tile: bad tile %zu, info or struct_size", tile);
    mf_tile_decode(x->tiles + tile * MF_INDEX_TILE, info, &id, &path);
    info->id = x->strings + id;
    info->path = x->strings + path;
    return MFRGN_OK;
}

mfrgn_status mfrgn_index_descriptor(const mfrgn_index *x, size_t tile, float *values) {
    if (!x)
        return MFRGN_ERROR_ARGUMENT;
    if (!values || tile >= x->header.count)
        return mf_fail(x->context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_descriptor: bad tile %zu or values", tile);
    size_t size = x->header.size;
    mf_row row;
    mf_row_of(x, tile, &row);
    if (row.f32)
        memcpy(values, row.f32, size * sizeof(float));
    else if (mf_storage_code(x->header.storage) == MF_F16)
        mf_convert(MF_F32, values, MF_F16, row.codes, size);
    else
        for (size_t i = 0; i < size; i++)
            values[i] = row.scale * (float)((const int8_t *)row.codes)[i];
    return MFRGN_OK;
}

/* ---- calibration ---- */

const void *mf_index_calibration(const mfrgn_index *x, size_t *bytes) {
    *bytes = x->header.section[MF_SECTION_CALIBRATION].bytes;
    return mf_index_section(x, MF_SECTION_CALIBRATION);
}

/* Nobody has added to the file, or built another, since it was opened. */
static mfrgn_status check_unchanged(const mfrgn_index *x) {
    mfrgn_index *now;
    MF_TRY(mfrgn_index_open(x->context, x->path, &now));
    const mf_index_header *a = &x->header, *b = &now->header;
    int same = a->count == b->count && a->size == b->size && a->storage == b->storage && a->model == b->model &&
               a->preparation == b->preparation && memcmp(&a->source, &b->source, sizeof(a->source)) == 0;
    for (int kind = 0; same && kind < MF_SECTION_COUNT; kind++)
        same = kind == MF_SECTION_CALIBRATION || (a->section[kind].checksum == b->section[kind].checksum &&
                                                  a->section[kind].bytes == b->section[kind].bytes);
    mfrgn_index_free(now);
    return same ? MFRGN_OK
                : mf_fail(x->context, MFRGN_ERROR_MISMATCH,
                          "%s: has been changed since it was opened: calibrate the new one", x->path);
}

mfrgn_status mf_index_set_calibration(const mfrgn_index *x, const void *data, size_t bytes) {
    if (bytes > MF_INDEX_MAX_CALIBRATION)
        return mf_fail(x->context, MFRGN_ERROR_ARGUMENT, "%s: a calibration of %zu bytes; at most %d", x->path, bytes,
                       MF_INDEX_MAX_CALIBRATION);
    mf_part part = mf_part_of(x);
    mf_assembly what = {.storage = x->header.storage,
                        .size = x->header.size,
                        .model = x->header.model,
                        .preparation = x->header.preparation,
                        .model_name = x->model,
                        .preparation_name = x->preparation,
                        .processing = x->processing,
                        .source = x->header.source,
                        .calibration = data,
                        .calibration_bytes = bytes,
                        .part = &part,
                        .parts = 1};
    mf_partial *hold;
    MF_TRY(mf_partial_hold(x->context, x->path, &hold));
    mfrgn_status status = check_unchanged(x);
    if (status == MFRGN_OK)
        status = mf_assemble(x->context, x->path, &what);
    mf_partial_release(hold);
    return status;
}
