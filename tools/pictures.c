/* SPDX-License-Identifier: Apache-2.0 */
#include "pictures.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"

typedef struct chunk {
    mfrgn_bitmap **bitmap;
    mfrgn_image *image;
    char **path;
    float *descriptors;
    size_t count;
} chunk;

static void empty(chunk *now) {
    for (size_t i = 0; i < now->count; i++)
        mfrgn_bitmap_free(now->bitmap[i]);
    now->count = 0;
}

static int flush(pictures *work, chunk *now) {
    if (!now->count)
        return 1;
    mfrgn_status status = mfrgn_embed(work->session, work->view, now->image, now->count, now->descriptors);
    if (status != MFRGN_OK) {
        if (work->bar)
            progress_clear(work->bar);
        tool_failed(work->context, status, now->count == 1 ? now->path[0] : "");
        empty(now);
        return 0;
    }
    int good = work->take(work->user, now->path, now->count, now->descriptors);
    empty(now);
    return good;
}

/* A picture that cannot be read costs itself only; a fault of the machine ends the work. */
static int load(pictures *work, chunk *now, char *path) {
    mfrgn_bitmap *bitmap = NULL;
    mfrgn_status status = mfrgn_bitmap_load(work->context, path, &bitmap);
    if (status != MFRGN_OK) {
        if (work->bar)
            progress_clear(work->bar);
        const char *reason = mfrgn_context_last_error(work->context);
        if (strstr(reason, path))
            tool_error("%s: skipped", reason);
        else
            tool_error("%s: %s: skipped", path, reason);
        work->skipped++;
        return status != MFRGN_ERROR_INTERNAL;
    }
    mfrgn_image *image = &now->image[now->count];
    memset(image, 0, sizeof *image);
    image->struct_size = sizeof *image;
    mfrgn_bitmap_image(bitmap, image);
    now->bitmap[now->count] = bitmap;
    now->path[now->count++] = path;
    return 1;
}

int pictures_embed(pictures *work, char *const *paths, size_t count) {
    mfrgn_progress stop = {sizeof stop, NULL, tool_progress_stop};
    mfrgn_session_info info = {.struct_size = sizeof info};
    mfrgn_session_get_info(work->session, &info);
    mfrgn_session_set_progress(work->session, &stop);
    work->batch = info.batch > 0 ? (size_t)info.batch : 1;
    chunk now = {calloc(work->batch, sizeof *now.bitmap), calloc(work->batch, sizeof *now.image),
                 calloc(work->batch, sizeof *now.path), calloc(work->batch, work->size * sizeof *now.descriptors), 0};
    int good = now.bitmap && now.image && now.path && now.descriptors;
    if (!good)
        tool_error("not enough memory");
    for (size_t i = 0; good && i < count; i++) {
        good = load(work, &now, paths[i]);
        if (good && now.count == work->batch)
            good = flush(work, &now);
        if (work->bar)
            progress_update(work->bar, i + 1);
        good = good && !tool_stopped();
    }
    good = good && flush(work, &now);
    empty(&now);
    free(now.bitmap);
    free(now.image);
    free(now.path);
    free(now.descriptors);
    mfrgn_session_set_progress(work->session, NULL);
    return good;
}
