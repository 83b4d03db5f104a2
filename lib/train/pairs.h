/* The pairs of a data set's training split, and what may stand beside what in a batch. */
#ifndef MFRGN_TRAIN_PAIRS_H
#define MFRGN_TRAIN_PAIRS_H

#include "data/dataset.h"

/* A ground picture with one of its aerial ones. A label is an aerial picture that has pairs: two pairs of one label
 * show the same place (University-1652's drones of a building, VIGOR's panoramas of a tile). */
typedef struct mf_train_pair {
    uint32_t ground, aerial; /* rows of the sets */
    uint32_t label;
} mf_train_pair;

typedef struct mf_train_pairs {
    mfrgn_context *context;
    const mfrgn_dataset *dataset;
    const mf_sample_set *ground, *aerial;
    const mf_relation *truth, *semi; /* of the ground pictures: rows of the aerial ones */
    mf_train_pair *item;
    size_t count;
    uint32_t *label_of;  /* of each aerial row; UINT32_MAX: it has no pair */
    uint32_t *aerial_of; /* of each label */
    size_t labels;
    uint32_t *first; /* the pairs of label i are of_label[first[i]] .. of_label[first[i + 1] - 1] */
    uint32_t *of_label;
} mf_train_pairs;

/* The data set must outlive the pairs. ARGUMENT: fewer than two labels. */
mfrgn_status mf_train_pairs_make(mfrgn_context *context, const mfrgn_dataset *dataset, mf_train_pairs *pairs);
void mf_train_pairs_free(mf_train_pairs *pairs);

/* A hash of the pictures' ids and places, and of who belongs to whom; not of the folder they lie in. */
uint64_t mf_dataset_hash(const mfrgn_dataset *dataset);

#endif
