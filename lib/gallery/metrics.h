/* The published metrics from ranks. */
#ifndef MFRGN_GALLERY_METRICS_H
#define MFRGN_GALLERY_METRICS_H

#include "gallery/rank.h"

/* One direction, ranked. */
typedef struct mf_ranked {
    const char *name;
    const mf_matrix *queries, *references;
    const mf_relation *truth, *semi;
    mf_rank rank;
    const mf_sample *query_sample, *reference_sample; /* or NULL: no places */
} mf_ranked;

mfrgn_status mf_metrics(mfrgn_context *context, const mf_ranked *task, mfrgn_metrics *metrics);

#endif
