/* SPDX-License-Identifier: Apache-2.0 */
/* A training run from the command line, for `train` and `ablate`. */
#ifndef MFRGN_TOOLS_TRAINING_H
#define MFRGN_TOOLS_TRAINING_H

#include <mfrgn/recipe.h>

/* What is trained on. */
typedef struct training_data {
    const char *dataset, *root, *train_split, *split, *protocol; /* NULL: the data set's own */
    int corrected;
    mfrgn_dataset *train, *validation; /* training_open() */
    size_t missing;
} training_data;

int training_is_dataset(const char *name); /* 0 after a message */
/* Opens both splits; the validation only if `evaluate`. 0 after a message. */
int training_open(mfrgn_context *context, training_data *data, int evaluate);
void training_close(training_data *data);

typedef struct training_job {
    mfrgn_context *context;
    const training_data *data;
    const mfrgn_recipe *recipe;
    mfrgn_model *model; /* to begin with, or NULL */
    const char *origin, *folder;
    int resume, quiet;
    /* what came out */
    mfrgn_metrics metrics[4]; /* of the last evaluation; recall_1 of best is the first's best */
    int tasks;
    double best_recall;
    unsigned long best_epoch;
    double loss;
    size_t skipped;
    mfrgn_run_cost cost;
} training_job;

/* Runs to the end, or until a signal. TOOL_OK, TOOL_FAILED after a message, TOOL_SKIPPED. */
int training_run(training_job *job);

#endif
