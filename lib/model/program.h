/* A graph made ready to run on a backend: kernels, memory plan, constants. */
#ifndef MFRGN_MODEL_PROGRAM_H
#define MFRGN_MODEL_PROGRAM_H

#include "backends/registry.h"
#include "graph/graph.h"

/* Where an operand lies: in the arena, in a slot of the runner's, or nowhere. */
typedef struct mf_address {
    int slot;      /* -1: the arena */
    size_t offset; /* SIZE_MAX: absent */
} mf_address;

/* One operation, ready to run. */
typedef struct mf_step {
    mf_kernel *kernel;                   /* NULL: nothing to do, the memory plan makes it a view */
    const void *constant[MF_MAX_INPUTS]; /* or NULL: */
    mf_address input[MF_MAX_INPUTS];
    mf_address output;
    size_t scratch;
} mf_step;

typedef struct mf_program {
    mfrgn_context *context;
    const mf_loaded *backend;
    mf_stream *stream;
    mf_graph *graph; /* after the passes; NULL: there is none */
    mf_plan *memory;
    mf_step *step;
    size_t step_count;
} mf_program;

/* Finds the constant operands of a node: fills constant[] of its step. */
typedef mfrgn_status (*mf_constants)(void *user, const mf_node *node, mf_step *step, const mf_kernel_info *info);

/* Takes the graph, whose values have their types, also when it fails.  `constants` is called a node.  The result is
 * freed with mf_program_free() in any case. */
mfrgn_status mf_program_create(const mf_loaded *backend, mf_stream *stream, mf_graph *graph, mf_dtype compute,
                               mf_constants constants, void *user, const mfrgn_progress *progress, mf_program *program);
void mf_program_free(mf_program *program);

/* slots: the memory of variables and of what is bound; NULL where the graph has none. */
mfrgn_status mf_program_run(const mf_program *program, void *arena, void *const *slots, const mfrgn_progress *progress);

/* A stream of the backend `name`; passed_over: why "auto" took none before it, to be freed. */
mfrgn_status mf_open_stream(mfrgn_context *context, const char *name, int threads, mf_dtype compute,
                            const mf_loaded **backend, mf_stream **stream, char **passed_over);

/* The backend's answer for the passes; user: an mf_program of which backend and stream are set. */
int mf_program_supports(void *user, const mf_op *op);

#endif
