#include "base/base.h"

mfrgn_status mfrgn_similarity(mfrgn_context *context, const float *queries, size_t n, const float *references, size_t m,
                              size_t size, float *scores) {
    if (!context)
        return MFRGN_ERROR_ARGUMENT;
    if (!queries || !references || !scores || size == 0)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_similarity: NULL argument, or size is 0");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < m; k++) {
            const float *q = queries + i * size, *r = references + k * size;
            double sum = 0; /* the sum of 2048 products, exact enough to order near duplicates */
            for (size_t c = 0; c < size; c++)
                sum += (double)q[c] * r[c];
            scores[i * m + k] = (float)sum;
        }
    return MFRGN_OK;
}
