/* The descriptors of a set of pictures. */
#ifndef MFRGN_GALLERY_EMBED_SET_H
#define MFRGN_GALLERY_EMBED_SET_H

#include "gallery/cache.h"
#include "gallery/rank.h"

typedef struct mf_embedded {
    mf_matrix matrix;
    float *memory; /* what the matrix lies in, or */
    mf_npy file;   /* a file of the cache */
    const mf_sample *sample;
    mf_sample *kept; /* where pictures were left out: the samples of the rows; else NULL */
    uint32_t *row;   /* and the row of each picture, UINT32_MAX: left out; else NULL */
} mf_embedded;

/* cache_path: NULL, or a file to take them from or to leave them in. */
mfrgn_status mf_embed_set(mfrgn_session *session, const mf_sample_set *set, const mfrgn_evaluate_options *options,
                          const char *cache_path, mf_embedded *out);
void mf_embedded_free(mfrgn_context *context, mf_embedded *e);

#endif
