/* A training run: where it stands, and the parts that its files share. */
#ifndef MFRGN_TRAIN_RUN_H
#define MFRGN_TRAIN_RUN_H

#include "io/writer.h"
#include "train/loader.h"
#include "train/recipe.h"

enum { MF_RUN_TASKS = MF_TASKS };

/* What a checkpoint holds beside the trainer and the neighbours. */
typedef struct mf_run_position {
    unsigned long step;  /* done in all */
    unsigned long epoch; /* whole ones */
    unsigned long batch; /* done of the one that is under way */
    int evaluated;       /* 1: it has been evaluated */
    double loss_sum;     /* of its steps */
    double best_recall;  /* < 0: none yet */
    unsigned long best_epoch;
    uint64_t metrics_bytes;      /* of metrics.jsonl */
    unsigned long similar_epoch; /* after which epoch the neighbours by similarity were found; 0: there are none */
} mf_run_position;

struct mfrgn_run {
    mfrgn_context *context;
    mfrgn_recipe *recipe;
    mfrgn_run_options options; /* folder and origin are copies */
    mf_train_pairs pairs;
    mf_schedule schedule;
    mf_augment augment;
    mf_augment_size size[2];
    mfrgn_trainer *trainer;
    uint64_t train_hash, validation_hash;
    int metrics; /* the file */

    mf_run_position at;
    mf_neighbours near, similar;
    mf_batches batches; /* of the epoch under way; count 0: not made yet */
    mf_loader *loader;
    unsigned long saved_step; /* of the last checkpoint; ULONG_MAX: there is none */
    unsigned long saved_similar;
    int failed;

    mfrgn_metrics result[MF_RUN_TASKS];
    int results;
    size_t evaluation_bytes;
    size_t skipped;             /* atomic */
    unsigned char *told[2];     /* of each training picture: 1: it was told of as unreadable */
    double begin, step_seconds; /* smoothed; 0: no step yet */
    double last_wait;
};

/* "folder/name", formatted; to be freed with mf_free(); NULL after an error text. */
char *mf_run_path(const mfrgn_run *run, const char *format, ...) MF_PRINTF(2, 3);

/* run_state.c */
mfrgn_status mf_run_save(mfrgn_run *run);
/* *found 0: the folder has no checkpoint */
mfrgn_status mf_run_restore(mfrgn_run *run, int *found);

/* run_log.c */
mfrgn_status mf_run_open_metrics(mfrgn_run *run);
mfrgn_status mf_run_cut_metrics(mfrgn_run *run, uint64_t bytes);
mfrgn_status mf_run_log_step(mfrgn_run *run, const mfrgn_run_event *event);
mfrgn_status mf_run_log_evaluation(mfrgn_run *run, const mfrgn_run_event *event);
mfrgn_status mf_run_log_epoch(mfrgn_run *run, const mfrgn_run_event *event);
mfrgn_status mf_run_write_origin(mfrgn_run *run);
/* A JSON member: ", " before all but the first. */
void mf_put_number(mf_bytes *b, const char *name, double value, int digits);
void mf_put_text(mf_bytes *b, const char *name, const char *text);

/* run_evaluate.c */
mfrgn_status mf_run_evaluate(mfrgn_run *run);
mfrgn_status mf_run_find_similar(mfrgn_run *run);
/* Counts and passes on. */
void mf_run_skipped(void *user, const char *path, const char *why);

#endif
