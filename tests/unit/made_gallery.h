/* Galleries whose descriptors a test chooses. */
#ifndef MFRGN_TESTS_MADE_GALLERY_H
#define MFRGN_TESTS_MADE_GALLERY_H

#include <math.h>

#include "files.h"
#include "gallery/geodesy.h"
#include "gallery/index.h"

/* Even numbers in 0 .. 1, and numbers of a standard normal distribution. */
static uint64_t made_state = 1;
static inline double made_even(void) {
    made_state = made_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(made_state >> 11) / 9007199254740992.0;
}
static inline double made_normal(void) {
    double u = made_even(), v = made_even();
    return sqrt(-2 * log(u > 1e-300 ? u : 1e-300)) * cos(6.283185307179586 * v);
}
static inline void made_direction(float *values, size_t size) {
    double sum = 0;
    for (size_t i = 0; i < size; i++) {
        values[i] = (float)made_normal();
        sum += (double)values[i] * values[i];
    }
    for (size_t i = 0; i < size; i++)
        values[i] = (float)(values[i] / sqrt(sum));
}

/* A square grid of columns x rows tiles, `step` metres apart and `width` wide, the first in the south-west. */
typedef struct made_gallery {
    size_t columns, rows, size;
    double latitude, longitude, step, width;
    int unlocated;
    float *values; /* [columns x rows x size], filled with random directions where NULL */
    uint64_t model, preparation;
} made_gallery;

static inline mfrgn_status made_tile(void *user, size_t i, mfrgn_tile *tile) {
    static char ids[512][16]; /* the writer keeps pointers to them */
    char *id = ids[i];
    const made_gallery *g = user;
    ck_assert_uint_lt(i, 512);
    memset(tile, 0, sizeof(*tile));
    tile->struct_size = sizeof(*tile);
    snprintf(id, sizeof(ids[i]), "tile-%04u", (unsigned)i);
    tile->id = tile->path = id;
    if (g->unlocated)
        return MFRGN_OK;
    tile->located = 1;
    tile->width_m = tile->height_m = g->width;
    mf_degrees_from_enu(g->latitude, g->longitude, (double)(i % g->columns) * g->step,
                        (double)(i / g->columns) * g->step, &tile->latitude, &tile->longitude);
    return MFRGN_OK;
}

static inline mfrgn_status made_row(void *user, size_t i, void *codes, mf_row *row) {
    const made_gallery *g = user;
    mf_row_make(g->values + i * g->size, g->size, MFRGN_INDEX_F32, codes, row);
    return MFRGN_OK;
}

/* In the test's folder; values are to be freed. */
static inline mfrgn_index *made_open(mfrgn_context *in, made_gallery *g, const char *name) {
    mfrgn_index *index = NULL;
    size_t count = g->columns * g->rows;
    if (!g->values) {
        g->values = malloc(count * g->size * sizeof(float));
        for (size_t i = 0; i < count; i++)
            made_direction(g->values + i * g->size, g->size);
    }
    mf_part part = {count, g, made_tile, made_row};
    mf_assembly what = {.storage = MFRGN_INDEX_F32,
                        .size = (uint32_t)g->size,
                        .model = g->model,
                        .preparation = g->preparation,
                        .model_name = "made by a test",
                        .preparation_name = "none",
                        .processing = "",
                        .source = {0, 0, count, count},
                        .part = &part,
                        .parts = 1};
    mfrgn_status status = mf_assemble(in, in_folder("%s", name), &what);
    if (status == MFRGN_OK)
        status = mfrgn_index_open(in, in_folder("%s", name), &index);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(in));
    return index;
}

#endif
