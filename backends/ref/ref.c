/* The reference backend: the truth that the others are held to.  Skeleton: to be filled. */
#include "backends/backend.h"

const mf_backend *mf_backend_ref_table(void);
const mf_backend *mf_backend_ref_table(void) {
    return NULL;
}
