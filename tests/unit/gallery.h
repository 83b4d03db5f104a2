/* A folder, a small model, and tiles from a rule, for tests of galleries. */
#ifndef MFRGN_TESTS_GALLERY_H
#define MFRGN_TESTS_GALLERY_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gallery/index.h"
#include "gallery/partial.h"
#include "session.h"

/* ---- a folder, a model, pictures from a rule ---- */

static char folder[64];
static mfrgn_model *model;
static mfrgn_session *session;

static inline const char *at(const char *name) {
    static char path[8][512];
    static int next;
    next = (next + 1) % 8;
    snprintf(path[next], sizeof(path[next]), "%s/%s", folder, name);
    return path[next];
}

static inline void open_session(void) {
    open_context();
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    OK(mfrgn_config_set(config, MFRGN_CONFIG_AERIAL_SIZE, "32x32"));
    OK(mfrgn_config_set(config, MFRGN_CONFIG_GROUND_SIZE, "32x64"));
    model = filled_model(config);
    /* These tests are of files, not of descriptors: the quicker backend, if it is built.  (Not oneDNN's, whose OpenMP
     * does not survive a fork.) */
    session = session_on("openblas", model, "f32", 4);
    if (!session)
        session = session_of(model, "f32", 4);
    mfrgn_config_free(config);
}

static inline void close_session(void) {
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    close_context();
}

static inline void setup(void) {
    snprintf(folder, sizeof(folder), "%s/mfrgn-index-XXXXXX", mf_scratch());
    ck_assert(mkdtemp(folder));
    open_session();
}

static inline void teardown(void) {
    close_session();
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        unlink(at(e->d_name));
    closedir(d);
    ck_assert_int_eq(rmdir(folder), 0);
}

enum { TILES = 11 };

typedef struct fake {
    size_t first; /* number of its first tile */
    size_t broken; /* a tile that cannot be read, or SIZE_MAX */
    size_t deadly; /* loading this one kills the process, or SIZE_MAX */
} fake;

static inline mfrgn_status fake_get(void *user, size_t i, mfrgn_tile *tile) {
    static char text[200][2][64];
    const fake *f = user;
    size_t n = f->first + i;
    snprintf(text[n][0], sizeof(text[n][0]), "tile %03zu", n);
    snprintf(text[n][1], sizeof(text[n][1]), n % 2 ? "a, \"b\"/%zu.png" : "%zu.png", n);
    tile->id = text[n][0];
    tile->path = text[n][1];
    tile->located = n % 5 != 4;
    tile->latitude = tile->located ? 51.5 + (double)n / 1000 : 0;
    tile->longitude = tile->located ? -0.125 - (double)n / 4096 : 0;
    tile->width_m = tile->height_m = n % 2 ? 76.25 : 0;
    tile->metres_per_pixel = n % 2 ? 0.119140625 : 0;
    return MFRGN_OK;
}

static inline mfrgn_status fake_load(void *user, size_t i, mfrgn_bitmap **bitmap) {
    const fake *f = user;
    size_t n = f->first + i;
    if (n == f->deadly) { /* when the first batch is written, but maybe not synced */
        struct stat s;
        while (stat(at("a.mfi.partial"), &s) || s.st_size < 128 + 4 * (24 + 4 * 2048))
            usleep(1000);
        raise(SIGKILL);
    }
    if (n == f->broken)
        return mf_fail(context, MFRGN_ERROR_FORMAT, "no picture at all");
    MF_TRY(mfrgn_bitmap_create(context, 40, 30, bitmap));
    fill_picture("img.test", n, 40, 30, mfrgn_bitmap_pixels(*bitmap));
    return MFRGN_OK;
}

static __attribute__((unused)) fake plain = {0, SIZE_MAX, SIZE_MAX};

static inline mf_tile_source source_of(fake *f, size_t count) {
    return (mf_tile_source){f, count, fake_get, fake_load, ""};
}

static inline mfrgn_status build(fake *f, size_t count, const char *path, mfrgn_index_build b, int add) {
    mf_tile_source source = source_of(f, count);
    b.struct_size = sizeof(b);
    return mf_index_build(session, &source, path, &b, add);
}

static inline unsigned char *slurp(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *data = malloc(*size + 1);
    ck_assert_uint_eq(fread(data, 1, *size, file), *size);
    fclose(file);
    data[*size] = 0;
    return data;
}

static inline void spill(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    ck_assert(file && fwrite(data, 1, size, file) == size);
    fclose(file);
}

static inline void same_files(const char *a, const char *b) {
    size_t n, m;
    unsigned char *x = slurp(a, &n), *y = slurp(b, &m);
    ck_assert_msg(n == m && memcmp(x, y, n) == 0, "%s and %s differ", a, b);
    free(x);
    free(y);
}

static inline int exists(const char *path) {
    return access(path, F_OK) == 0;
}

#endif
