/* MBTiles: a map in an SQLite file, rows counted from the south.  SQLite allocates by itself, not through the
 * context's allocator. */
#include "data/tiles.h"

#ifdef MF_HAVE_SQLITE
#include <pthread.h>
#include <sqlite3.h>

#include "io/file.h"

struct mf_mbtiles {
    mfrgn_context *context;
    const char *path;
    sqlite3 *db;
    sqlite3_stmt *picture; /* one thread at a time; decoding goes on beside it */
    pthread_mutex_t lock;
};

static mfrgn_status fail_sql(const mf_mbtiles *m, const char *what) {
    return mf_fail(m->context, MFRGN_ERROR_FORMAT, "%s: %s: %s", m->path, what, sqlite3_errmsg(m->db));
}

/* A path as an URI: "immutable" reads without locks and leaves no file beside it, from read-only folders too. */
static char *make_uri(mfrgn_context *context, const char *path) {
    size_t length = strlen(path);
    char *uri = mf_alloc(context, 3 * length + 64), *to = uri;
    if (!uri)
        return NULL;
    to += strlen(strcpy(to, "file:"));
    for (size_t i = 0; i < length; i++) {
        static const char digits[] = "0123456789ABCDEF";
        unsigned char c = (unsigned char)path[i];
        int plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("/._-", c);
        if (plain) {
            *to++ = (char)c;
        } else {
            *to++ = '%';
            *to++ = digits[c >> 4];
            *to++ = digits[c & 15];
        }
    }
    strcpy(to, "?mode=ro&immutable=1");
    return uri;
}

static int has_table(mf_mbtiles *m, const char *name) {
    sqlite3_stmt *s = NULL;
    int found = sqlite3_prepare_v2(m->db, "SELECT 1 FROM sqlite_master WHERE name = ?", -1, &s, NULL) == SQLITE_OK &&
                sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;
    sqlite3_finalize(s);
    return found;
}

static mfrgn_status check_metadata(mf_mbtiles *m) {
    sqlite3_stmt *s = NULL;
    if (!has_table(m, "metadata"))
        return mf_fail(m->context, MFRGN_ERROR_FORMAT, "%s: no MBTiles file: it has no table \"metadata\"", m->path);
    if (!has_table(m, "tiles"))
        return mf_fail(m->context, MFRGN_ERROR_FORMAT, "%s: no MBTiles file: it has no table \"tiles\"", m->path);
    if (sqlite3_prepare_v2(m->db, "SELECT value FROM metadata WHERE name = 'format'", -1, &s, NULL) != SQLITE_OK)
        return fail_sql(m, "the table \"metadata\" cannot be read");
    mfrgn_status status = MFRGN_OK;
    if (sqlite3_step(s) == SQLITE_ROW) {
        const char *format = (const char *)sqlite3_column_text(s, 0);
        if (format && (strcmp(format, "pbf") == 0 || strcmp(format, "webp") == 0))
            status = mf_fail(m->context, MFRGN_ERROR_UNSUPPORTED, "%s: its tiles are %s; PNG and JPEG are read",
                             m->path, format);
    }
    sqlite3_finalize(s);
    return status;
}

static mfrgn_status open_file(mf_mbtiles *m) {
    mf_file file;
    MF_TRY(mf_file_map(m->context, m->path, &file));
    int is_sqlite = file.size >= 16 && memcmp(file.data, "SQLite format 3", 16) == 0;
    mf_file_unmap(&file);
    if (!is_sqlite)
        return mf_fail(m->context, MFRGN_ERROR_FORMAT, "%s: no MBTiles file: it is not SQLite's", m->path);
    char *uri = make_uri(m->context, m->path);
    if (!uri)
        return mf_fail_memory(m->context, strlen(m->path), "a path");
    int code = sqlite3_open_v2(uri, &m->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
    mf_free(m->context, uri);
    if (code != SQLITE_OK)
        return fail_sql(m, "cannot be opened");
    MF_TRY(check_metadata(m));
    if (sqlite3_prepare_v2(m->db,
                           "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?", -1,
                           &m->picture, NULL) != SQLITE_OK)
        return fail_sql(m, "the table \"tiles\" cannot be read");
    return MFRGN_OK;
}

static mfrgn_status deepest(mf_mbtiles *m, int *zoom) {
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(m->db, "SELECT max(zoom_level) FROM tiles", -1, &s, NULL) != SQLITE_OK)
        return fail_sql(m, "the table \"tiles\" cannot be read");
    int code = sqlite3_step(s);
    *zoom = code == SQLITE_ROW && sqlite3_column_type(s, 0) == SQLITE_INTEGER ? sqlite3_column_int(s, 0) : -1;
    sqlite3_finalize(s);
    if (code != SQLITE_ROW)
        return fail_sql(m, "the table \"tiles\" cannot be read");
    return *zoom >= 0 && *zoom <= 30 ? MFRGN_OK
                                     : mf_fail(m->context, MFRGN_ERROR_FORMAT, "%s: there is no tile in it", m->path);
}

static mfrgn_status add(mfrgn_tiles *tiles, const sqlite3_stmt *row, int zoom, int *pixels) {
    mf_mbtiles *m = tiles->mbtiles;
    sqlite3_stmt *s = (sqlite3_stmt *)(uintptr_t)row;
    sqlite3_int64 column = sqlite3_column_int64(s, 0), south = sqlite3_column_int64(s, 1),
                  side = (sqlite3_int64)1 << zoom;
    if (column < 0 || south < 0 || column >= side || south >= side)
        return mf_fail(m->context, MFRGN_ERROR_FORMAT,
                       "%s: a tile at column %lld, row %lld of zoom level %d, which has %lld", m->path,
                       (long long)column, (long long)south, zoom, (long long)side);
    mf_tile t = {.zoom = zoom, .column = (int)column, .row = (int)(side - 1 - south)};
    t.id = mf_arena_format(&tiles->memory, "%d/%d/%d", zoom, t.column, t.row);
    t.path = mf_arena_format(&tiles->memory, "%s %d/%d/%d", m->path, zoom, t.column, t.row);
    int height;
    if (!*pixels && t.path) /* all tiles of a map are of one size */
        MF_TRY(mf_mbtiles_size(m, &t, pixels, &height));
    mf_tile_locate(&t, *pixels);
    return mf_tiles_add(tiles, &t);
}

mfrgn_status mf_tiles_from_mbtiles(mfrgn_tiles *tiles, const char *path, int zoom) {
    mf_mbtiles *m = mf_calloc(tiles->context, 1, sizeof(*m));
    if (!m)
        return mf_fail_memory(tiles->context, sizeof(*m), "an MBTiles file");
    tiles->mbtiles = m;
    m->context = tiles->context;
    m->path = tiles->path;
    pthread_mutex_init(&m->lock, NULL);
    (void)path;
    MF_TRY(open_file(m));
    int found = -1, pixels = 0, code;
    MF_TRY(deepest(m, &found));
    if (zoom < 0)
        zoom = found;
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(m->db, "SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ?", -1, &s, NULL) !=
        SQLITE_OK)
        return fail_sql(m, "the table \"tiles\" cannot be read");
    sqlite3_bind_int(s, 1, zoom);
    mfrgn_status status = MFRGN_OK;
    while ((code = sqlite3_step(s)) == SQLITE_ROW && status == MFRGN_OK)
        status = add(tiles, s, zoom, &pixels);
    if (status == MFRGN_OK && code != SQLITE_DONE)
        status = fail_sql(m, "the table \"tiles\" cannot be read");
    sqlite3_finalize(s);
    if (status == MFRGN_OK && !tiles->count)
        return mf_fail(m->context, MFRGN_ERROR_FORMAT, "%s: has no zoom level %d; the deepest is %d", path, zoom,
                       found);
    return status;
}

/* The picture's bytes, copied: SQLite's own are gone with its next step. */
static mfrgn_status read_picture(mf_mbtiles *m, const mf_tile *t, unsigned char **data, size_t *size) {
    sqlite3_stmt *s = m->picture;
    mfrgn_status status = MFRGN_OK;
    sqlite3_reset(s);
    sqlite3_bind_int(s, 1, t->zoom);
    sqlite3_bind_int(s, 2, t->column);
    sqlite3_bind_int(s, 3, (int)(((int64_t)1 << t->zoom) - 1 - t->row));
    if (sqlite3_step(s) != SQLITE_ROW) {
        status = mf_fail(m->context, MFRGN_ERROR_FORMAT, "%s: cannot be read: %s", t->path, sqlite3_errmsg(m->db));
    } else {
        const void *blob = sqlite3_column_blob(s, 0);
        *size = (size_t)sqlite3_column_bytes(s, 0);
        *data = mf_alloc(m->context, *size);
        if (!*data)
            status = mf_fail_memory(m->context, *size, "a tile");
        else if (*size)
            memcpy(*data, blob, *size);
    }
    sqlite3_reset(s);
    return status;
}

static mfrgn_status read_locked(mf_mbtiles *m, const mf_tile *t, unsigned char **data, size_t *size) {
    pthread_mutex_lock(&m->lock);
    mfrgn_status status = read_picture(m, t, data, size);
    pthread_mutex_unlock(&m->lock);
    return status;
}

mfrgn_status mf_mbtiles_size(mf_mbtiles *m, const mf_tile *t, int *width, int *height) {
    unsigned char *data;
    size_t size;
    MF_TRY(read_locked(m, t, &data, &size));
    mfrgn_status status = mf_picture_size(m->context, data, size, width, height);
    mf_free(m->context, data);
    return status == MFRGN_OK ? status : mf_fail_in(m->context, status, "%s", t->path);
}

mfrgn_status mf_mbtiles_load(mf_mbtiles *m, const mf_tile *t, mfrgn_bitmap **bitmap) {
    unsigned char *data;
    size_t size;
    MF_TRY(read_locked(m, t, &data, &size));
    mfrgn_status status = mfrgn_bitmap_decode(m->context, data, size, bitmap);
    mf_free(m->context, data);
    return status == MFRGN_OK ? status : mf_fail_in(m->context, status, "%s", t->path);
}

void mf_mbtiles_close(mf_mbtiles *m) {
    if (!m)
        return;
    sqlite3_finalize(m->picture);
    sqlite3_close(m->db);
    pthread_mutex_destroy(&m->lock);
    mf_free(m->context, m);
}

#else

mfrgn_status mf_tiles_from_mbtiles(mfrgn_tiles *tiles, const char *path, int zoom) {
    (void)zoom;
    return mf_fail(tiles->context, MFRGN_ERROR_UNSUPPORTED,
                   "%s: this build of libmfrgn cannot read MBTiles: build it with -Dsqlite=enabled", path);
}

mfrgn_status mf_mbtiles_size(mf_mbtiles *m, const mf_tile *t, int *width, int *height) {
    (void)m, (void)t, (void)width, (void)height;
    return MFRGN_ERROR_UNSUPPORTED;
}

mfrgn_status mf_mbtiles_load(mf_mbtiles *m, const mf_tile *t, mfrgn_bitmap **bitmap) {
    (void)m, (void)t, (void)bitmap;
    return MFRGN_ERROR_UNSUPPORTED;
}

void mf_mbtiles_close(mf_mbtiles *m) {
    (void)m;
}

#endif
