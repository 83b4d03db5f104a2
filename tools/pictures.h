/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures to descriptors, a batch at a time; what cannot be read is told and left out. */
#ifndef MFRGN_TOOLS_PICTURES_H
#define MFRGN_TOOLS_PICTURES_H

#include <stddef.h>

#include <mfrgn/mfrgn.h>

#include "progress.h"

typedef struct pictures {
    mfrgn_context *context;
    mfrgn_session *session;
    mfrgn_view view;
    size_t size;       /* of a descriptor */
    size_t batch;      /* the session's */
    progress_bar *bar; /* or NULL */
    size_t skipped;
    /* Takes the descriptors of `count` pictures, in their order; 0 to stop. */
    int (*take)(void *user, char *const *paths, size_t count, const float *descriptors);
    void *user;
} pictures;

/* 0 after a message, also when a signal or take() stopped it. */
int pictures_embed(pictures *work, char *const *paths, size_t count);

#endif
