/* Pictures decoded ahead of the network by threads of their own. */
#ifndef MFRGN_GALLERY_AHEAD_H
#define MFRGN_GALLERY_AHEAD_H

#include "gallery/index.h"

typedef struct mf_ahead mf_ahead;

typedef struct mf_picture {
    size_t index;         /* of the tile in its source */
    mfrgn_bitmap *bitmap; /* NULL: could not be read; owned by the caller */
    mfrgn_status status;
    char *error; /* to be freed with mf_free() */
} mf_picture;

/* Decodes first .. last - 1 in order, at most `room` ahead of mf_ahead_next(). */
mfrgn_status mf_ahead_start(mfrgn_context *context, const mf_tile_source *source, size_t first, size_t last, int threads,
                            size_t room, mf_ahead **ahead);
/* The next picture, waited for. */
void mf_ahead_next(mf_ahead *ahead, mf_picture *picture);
void mf_ahead_stop(mf_ahead *ahead); /* frees what was not taken; NULL is fine */

#endif
