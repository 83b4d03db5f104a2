/* MATLAB files from memory: whatever the bytes are, an error or a tree that can be walked. */
#include "io/matlab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile double sum;

static void walk(const mf_mat *m) {
    size_t count = m->rows * m->columns;
    for (size_t i = 0; m->number && i < count; i++)
        sum += m->number[i];
    for (size_t i = 0; i < mf_mat_string_count(m); i++) {
        const char *text = mf_mat_string(m, i);
        if (text && *text && !mf_utf8_valid(text, strlen(text)))
            __builtin_trap();
    }
    size_t children = m->class == MF_MAT_STRUCT ? count * m->fields : count;
    for (size_t i = 0; m->child && i < children; i++)
        walk(&m->child[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mfrgn_context *context;
    mf_matlab file;
    if (mfrgn_context_create(NULL, &context) != MFRGN_OK)
        return 0;
    mfrgn_status status = mf_matlab_decode(context, "fuzz", data, size, &file);
    if (status == MFRGN_OK) {
        for (size_t i = 0; i < file.count; i++)
            walk(&file.variable[i]);
        mf_matlab_free(&file);
    } else if (!strstr(mfrgn_context_last_error(context), "fuzz") && status != MFRGN_ERROR_MEMORY) {
        __builtin_trap();
    }
    mfrgn_context_free(context);
    return 0;
}
