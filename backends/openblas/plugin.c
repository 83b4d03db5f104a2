/* The one symbol of the plug-in. */
#include "backends/openblas/openblas.h"

__attribute__((visibility("default"))) const mf_backend *mfrgn_backend_table(void);

const mf_backend *mfrgn_backend_table(void) {
    return mf_backend_openblas_table();
}
