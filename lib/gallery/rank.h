/* Ranks of the truth among all references, counted in one stream: the matrix of scores is never held. */
#ifndef MFRGN_GALLERY_RANK_H
#define MFRGN_GALLERY_RANK_H

#include "data/dataset.h"

/* n descriptors of `size` values, row after row. */
typedef struct mf_matrix {
    const float *data;
    size_t count, size;
    double *length; /* L2, of each row; mf_matrix_check() */
} mf_matrix;

/* Lengths of the rows; a value that is not finite is MFRGN_ERROR_NUMERIC, `name` says of what. */
mfrgn_status mf_matrix_check(mfrgn_context *context, const char *name, mf_matrix *m);
void mf_matrix_free(mfrgn_context *context, mf_matrix *m);

/* The inner product in f64, in one fixed order.  A product of two f32 is exact in f64, so that it does not matter
 * whether the compiler fuses it with the sum: the same on every machine, and the same for (a, b) and (b, a). */
double mf_dot(const float *a, const float *b, size_t size);

/* What is asked of the rows of one matrix. */
typedef struct mf_rank {
    const mf_relation *truth; /* of each row: rows of the other matrix */
    uint32_t *above; /* [out] of each true pair, in the relation's order: how many rows of the other matrix have a
                        score strictly above that pair's */
    uint32_t *best;  /* [out] of each row: the row of the highest score, the first among equals */
} mf_rank;

/* Counts for the queries and, if `reverse` is not NULL, for the references in the same stream.  Scores are those of
 * mf_dot(); most are decided in f32 with a proven bound of its error. */
mfrgn_status mf_count_ranks(mfrgn_context *context, const mf_matrix *queries, const mf_matrix *references, int threads,
                            const mfrgn_progress *progress, mf_rank *forward, mf_rank *reverse);

#endif
