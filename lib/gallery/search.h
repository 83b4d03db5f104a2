/* Searching: a searcher, and what the files of the search share. */
#ifndef MFRGN_GALLERY_SEARCH_H
#define MFRGN_GALLERY_SEARCH_H

#include "gallery/index.h"
#include "model/engine.h"

struct mfrgn_searcher {
    mfrgn_context *context;
    mf_engine engine;
    void *scratch; /* of the backend, grown */
    size_t scratch_bytes;
};

/* The tiles that a filter lets through, ascending, to be freed; *list NULL: all of them. */
mfrgn_status mf_filter_tiles(const mfrgn_index *index, mfrgn_context *context, const mfrgn_filter *filter,
                             uint32_t **list, size_t *count);

/* Runs the backend's scan. */
mfrgn_status mf_searcher_scan(mfrgn_searcher *s, mf_scan *scan);
/* Lengths of the queries, with what the proof asks for. NUMERIC: one is not finite. */
mfrgn_status mf_query_norms(mfrgn_searcher *s, const float *queries, size_t n, size_t size, float *norms);

/* How many of the rows have a product with query i that is greater than floor[i], added to above[i].  Products are those of
 * mf_product(), so the counts are exact: rows that the scan cannot tell apart from the floor are looked at one by one.
 * norms: mf_norm_up() of the rows.  May be called block by block. */
mfrgn_status mf_count_above(mfrgn_searcher *s, const float *rows, const float *norms, size_t count, size_t size,
                            const float *queries, size_t n, const float *floor, int64_t *above);

#endif
