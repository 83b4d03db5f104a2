/* Images to a network's input. */
#ifndef MFRGN_MODEL_INPUT_H
#define MFRGN_MODEL_INPUT_H

#include "base/base.h"

/* Memory for resizing, kept from call to call. */
typedef struct mf_input_scratch {
    void *memory;
    size_t bytes;
} mf_input_scratch;

mfrgn_status mf_input_check(mfrgn_context *context, const mfrgn_image *images, size_t count);
/* Resizes and normalises checked images to `out` [count, height, width, 3]; precrop: rows H/4 .. 3H/4 of each. */
mfrgn_status mf_input_fill(mfrgn_context *context, int threads, const mfrgn_image *images, size_t count, int height,
                           int width, int precrop, float *out, mf_input_scratch *scratch);
/* f32 to f64 in place. */
void mf_input_widen(void *values, size_t count);

#endif
