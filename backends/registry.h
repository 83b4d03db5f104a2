/* Which backends there are, and how they are loaded. */
#ifndef MFRGN_BACKENDS_REGISTRY_H
#define MFRGN_BACKENDS_REGISTRY_H

#include "backends/backend.h"
#include "base/base.h"

/* A backend opened for a context; lives as long as the context. */
typedef struct mf_backend_entry_state {
    const char *name;
    const mf_backend *table; /* NULL: not available, for `reason` */
    mf_device *device;
    char *reason;
    int tried;
} mf_loaded;

/* `name`, or with "auto" the first that loads of cuda, onednn, openblas, ref.  *passed_over (to be freed) says why the
 * ones before it were not taken. */
mfrgn_status mf_backend_open(mfrgn_context *context, const char *name, const mf_loaded **backend, char **passed_over);
/* Known names in the order of "auto"; NULL past the last. */
const char *mf_backend_name(int index);

#endif
