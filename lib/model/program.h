/* A graph made ready to run on a backend: kernels, memory plan, constants. */
#ifndef MFRGN_MODEL_PROGRAM_H
#define MFRGN_MODEL_PROGRAM_H

#include "graph/graph.h"
#include "model/engine.h"

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
    const mf_engine *engine; /* the owner's */
    mf_graph *graph;         /* after the passes; NULL: there is none */
    mf_plan *memory;
    mf_step *step;
    size_t step_count;
    /* where the backend records runs: one is run as it is, the next with the same addresses is recorded, and from then
     * on played */
    void *recording;
    uint64_t last, recorded; /* the addresses of the last run and of the recording */
    int unrecordable;        /* how often it failed */
} mf_program;

/* Finds the constant operands of a node: fills constant[] of its step. */
typedef mfrgn_status (*mf_constants)(void *user, const mf_node *node, mf_step *step, const mf_kernel_info *info);

/* Takes the graph, whose values have their types, also when it fails.  `constants` is called a node.  Between begin and
 * end of the engine.  The result is freed with mf_program_free() in any case. */
mfrgn_status mf_program_create(const mf_engine *engine, mf_graph *graph, mf_constants constants, void *user,
                               const mfrgn_progress *progress, mf_program *program);
void mf_program_free(mf_program *program);

/* slots: the memory of variables and of what is bound; NULL where the graph has none.  A backend that has memory of its
 * own may still be at work when this returns.  A run that is played from a recording is cancelled before or after. */
mfrgn_status mf_program_run(mf_program *program, void *arena, void *const *slots, const mfrgn_progress *progress);
/* Lets a recording go: what it would play has changed. */
void mf_program_forget(mf_program *program);

#endif
