/* A model planned on a backend. */
#ifndef MFRGN_MODEL_SESSION_H
#define MFRGN_MODEL_SESSION_H

#include "model/input.h"
#include "model/model.h"
#include "model/options.h"
#include "model/program.h"

/* A view planned for the session's batch. */
typedef struct mf_view_plan {
    mf_program program; /* its graph NULL: not planned yet */
    mf_packed **packed;
    size_t packed_count;
    int calibrated; /* fp8 */
} mf_view_plan;

struct mfrgn_session {
    mfrgn_context *context;
    mfrgn_model *model;
    mf_engine engine;
    char *passed_over;
    int batch, precrop;
    mf_act gelu; /* what every GELU of the network is computed as */
    mfrgn_progress progress;
    mf_view_plan view[2];
    void *arena; /* both views', since one runs at a time */
    size_t arena_bytes;
    void *staging; /* the host's memory for images and descriptors, where the arena is not the host's */
    size_t staging_bytes;
    mf_input_scratch scratch;
    int keep_taps, no_passes; /* for tests: set before a view is planned */
};

/* lib/model/prepare.c */
mfrgn_status mf_session_plan(mfrgn_session *session, mfrgn_view view);
void mf_session_unplan(mfrgn_session *session, mf_view_plan *plan);

/* For tests: a tapped value of the last run, as doubles; *count elements. The session keeps taps. */
mfrgn_status mf_session_tap(mfrgn_session *session, mfrgn_view view, const char *name, double *out, size_t room,
                            size_t *count);

#endif
