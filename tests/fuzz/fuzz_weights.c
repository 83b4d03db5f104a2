/* Files of weights from memory: whatever the bytes are, reading fails cleanly or gives tensors that can be read. */
#include "io/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mfrgn_context *context;
    mf_weights *w;
    if (mfrgn_context_create(NULL, &context) != MFRGN_OK)
        return 0;
    if (mf_weights_load_memory(context, "fuzz", data, size, &w) == MFRGN_OK) {
        volatile unsigned sum = 0;
        for (size_t i = 0; i < w->count; i++) {
            const mf_weight *t = &w->tensor[i];
            if (mf_weights_find(w, t->name) != t)
                __builtin_trap();
            for (size_t b = 0; b < t->bytes; b++)
                sum += ((const unsigned char *)t->data)[b];
            (void)mf_find_nonfinite(t->dtype, t->data, t->bytes / mf_dtype_size(t->dtype));
        }
        (void)sum;
        mf_weights_free(w);
    }
    mfrgn_context_free(context);
    return 0;
}
