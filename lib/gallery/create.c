/* The public face of building: tiles of lib/data as a source. */
#include <string.h>

#include "gallery/index.h"

static mfrgn_status tiles_get(void *user, size_t i, mfrgn_tile *tile) {
    return mfrgn_tiles_get(user, i, tile);
}

static mfrgn_status tiles_load(void *user, size_t i, mfrgn_bitmap **bitmap) {
    return mfrgn_tiles_load(user, i, bitmap);
}

static mfrgn_status build_from(mfrgn_session *session, const mfrgn_tiles *tiles, const char *path,
                               const mfrgn_index_build *build, int add) {
    mf_tile_source source = {(void *)(uintptr_t)tiles, mfrgn_tiles_count(tiles), tiles_get, tiles_load,
                             mfrgn_tiles_processing(tiles)};
    return mf_index_build(session, &source, path, build, add);
}

mfrgn_status mfrgn_index_create(mfrgn_session *session, const mfrgn_tiles *tiles, const char *path,
                                const mfrgn_index_build *build) {
    if (!session)
        return MFRGN_ERROR_ARGUMENT;
    if (!tiles || !path)
        return mf_fail(session->context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_create: tiles or path is NULL");
    return build_from(session, tiles, path, build, 0);
}

mfrgn_status mfrgn_index_add(mfrgn_session *session, const mfrgn_tiles *tiles, const char *path,
                             const mfrgn_index_build *build) {
    if (!session)
        return MFRGN_ERROR_ARGUMENT;
    if (!tiles || !path)
        return mf_fail(session->context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_add: tiles or path is NULL");
    return build_from(session, tiles, path, build, 1);
}
