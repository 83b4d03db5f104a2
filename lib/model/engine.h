/* A backend's stream and its memory: what sessions, trainers and programs compute on. */
#ifndef MFRGN_MODEL_ENGINE_H
#define MFRGN_MODEL_ENGINE_H

#include "backends/registry.h"

typedef struct mf_engine {
    mfrgn_context *context; /* the owner's */
    const mf_loaded *backend;
    mf_stream *stream;
    mf_dtype compute; /* of feature maps */
    mf_math math;
    mf_dtype wide; /* of what is in slots, and of vectors: f32 where `compute` has 16 bits, else the same */
    const char *precision;
    int threads, device;
} mf_engine;

typedef struct mf_engine_params {
    const char *backend, *precision; /* f32, f64, tf32, bf16, f16, fp8 */
    long threads;                    /* 0: one a core */
    long device;
    size_t memory_limit;
    const char *tuning; /* "" or NULL: none */
    void *native;       /* the caller's own queue; NULL: none */
} mf_engine_params;

extern const char *const mf_precisions[]; /* for settings; ends with NULL */

/* passed_over: why "auto" took none before the one it took, to be freed; or NULL. */
mfrgn_status mf_engine_open(mfrgn_context *context, const mf_engine_params *params, mf_engine *engine,
                            char **passed_over);
void mf_engine_close(mf_engine *engine);

/* Around every use of the stream; calls do not nest. */
void mf_engine_begin(const mf_engine *engine);
void mf_engine_end(const mf_engine *engine);

/* The backend's answer for the passes; user: an mf_engine. */
int mf_engine_supports(void *user, const mf_op *op);
/* Whether the backend computes an activation that a session's option asks for: MFRGN_ERROR_UNSUPPORTED if not. */
mfrgn_status mf_engine_check_act(const mf_engine *engine, mf_act act, const char *option);

/* ---- memory, between begin and end: the backend's own, or the host's ---- */
int mf_engine_is_host(const mf_engine *engine); /* 1: the backend has none of its own */
/* what: for the message, "the weights" */
mfrgn_status mf_engine_alloc(const mf_engine *engine, size_t bytes, const char *what, void **memory);
void mf_engine_free(const mf_engine *engine, void *memory);
/* When the engine is gone, or was another one of the backend. */
void mf_engine_free_later(mfrgn_context *context, const mf_loaded *backend, void *memory);
mfrgn_status mf_engine_put(const mf_engine *engine, void *to, const void *from, size_t bytes);  /* host to engine */
mfrgn_status mf_engine_get(const mf_engine *engine, void *to, const void *from, size_t bytes);  /* engine to host */
mfrgn_status mf_engine_copy(const mf_engine *engine, void *to, const void *from, size_t bytes); /* within it */
mfrgn_status mf_engine_zero(const mf_engine *engine, void *memory, size_t bytes);
mfrgn_status mf_engine_finish(const mf_engine *engine); /* waits for all that was asked */

#endif
