/* Which pairs share a batch: a plain shuffle, or hard negatives (TRAINING: "Hard negatives", after Sample4Geo). */
#ifndef MFRGN_TRAIN_SAMPLER_H
#define MFRGN_TRAIN_SAMPLER_H

#include "train/draw.h"
#include "train/pairs.h"

/* Neighbours of each row, nearest first: labels.  A row is a label, or (`by_pair`) a pair. */
typedef struct mf_neighbours {
    uint32_t *label; /* rows x range; UINT32_MAX: no more; NULL: there are none */
    size_t rows, range;
    int by_pair;
} mf_neighbours;

void mf_neighbours_free(mfrgn_context *context, mf_neighbours *n);

/* The `range` nearest labels of each by great-circle distance, without its own; ties by number. ARGUMENT: a label's
 * place is not known. */
mfrgn_status mf_neighbours_by_place(const mf_train_pairs *pairs, size_t range, mf_neighbours *out);
/* The `range` labels of each pair whose aerial descriptors are most similar to the ground one's, without its own.
 * ground_row, aerial_row: the descriptors' rows of the sets' rows, UINT32_MAX: none; NULL: the same. */
typedef struct mf_descriptors {
    const float *data;
    size_t count, size;
    const uint32_t *row;
} mf_descriptors;
mfrgn_status mf_neighbours_by_similarity(const mf_train_pairs *pairs, const mf_descriptors *ground,
                                         const mf_descriptors *aerial, size_t range, const mfrgn_progress *progress,
                                         mf_neighbours *out);

typedef struct mf_batches {
    uint32_t *pair; /* count x size */
    size_t count, size;
} mf_batches;

/* The full batches of an epoch: no pair twice, no two pairs of a label, of a semi-positive or of a second true picture
 * in one batch.  Each seed of a batch brings `select` of its neighbours: the nearest half, the rest at random.
 * ARGUMENT: no batch can be filled. */
mfrgn_status mf_batches_make(const mf_train_pairs *pairs, const mf_neighbours *neighbours, size_t size, size_t select,
                             uint64_t seed, uint64_t epoch, mf_batches *out);
void mf_batches_free(mfrgn_context *context, mf_batches *b);

/* 1: `pair` may stand beside the `n` pairs. */
int mf_pair_fits(const mf_train_pairs *pairs, const uint32_t *batch, size_t n, uint32_t pair);

#endif
