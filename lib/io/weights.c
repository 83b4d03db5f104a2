#include "io/weights.h"

#include <string.h>

#include "io/reader.h"

/* The formats are told apart by their first bytes; a path may end as it likes. */
static mfrgn_status read_any(mf_reader *r) {
    const unsigned char *d = r->data;
    if (r->size == 0)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "is an empty file");
    if (r->size >= 4 && d[0] == 'P' && d[1] == 'K' && ((d[2] == 3 && d[3] == 4) || (d[2] == 5 && d[3] == 6)))
        return mf_pth_read_zip(r);
    if (r->size >= 2 && d[0] == 0x80 && d[1] >= 2 && d[1] <= 5 && (r->size < 9 || d[8] != '{'))
        return mf_pth_read_legacy(r);
    if (r->size < 9 || d[8] == '{')
        return mf_safetensors_read(r);
    if (r->size > 262 && memcmp(d + 257, "ustar", 5) == 0)
        return mf_reader_fail(r, MFRGN_ERROR_UNSUPPORTED, "is a tar archive, as PyTorch 0.1 wrote it, or another's");
    return mf_reader_fail(r, MFRGN_ERROR_FORMAT,
                          "begins neither as safetensors (byte 8 is '{') nor as a PyTorch checkpoint (zip or pickle)");
}

static mfrgn_status load(mfrgn_context *context, const char *name, mf_file *file, int owned, mf_weights **weights) {
    mf_weights *w = mf_calloc(context, 1, sizeof(*w));
    if (!w) {
        if (owned)
            mf_file_unmap(file);
        return mf_fail_memory(context, sizeof(*w), "a list of weights");
    }
    mf_reader r = {.context = context,
                   .name = name,
                   .data = file->data,
                   .size = file->size,
                   .memory = {context, NULL},
                   .weights = w};
    w->context = context;
    if (owned)
        w->file = *file;
    mfrgn_status status = read_any(&r);
    if (status == MFRGN_OK)
        status = mf_reader_finish(&r);
    w->memory = r.memory.blocks;
    if (status == MFRGN_OK)
        *weights = w;
    else
        mf_weights_free(w);
    return status;
}

mfrgn_status mf_weights_load(mfrgn_context *context, const char *path, mf_weights **weights) {
    mf_file file;
    MF_TRY(mf_file_map(context, path, &file));
    return load(context, path, &file, 1, weights);
}

mfrgn_status mf_weights_load_memory(mfrgn_context *context, const char *name, const void *data, size_t size,
                                    mf_weights **weights) {
    mf_file file = {data, size};
    return load(context, name, &file, 0, weights);
}

void mf_weights_free(mf_weights *weights) {
    if (!weights)
        return;
    mfrgn_context *context = weights->context;
    mf_arena memory = {context, weights->memory};
    mf_arena_free(&memory);
    mf_free(context, weights->tensor);
    mf_free(context, weights->metadata);
    mf_file_unmap(&weights->file);
    mf_free(context, weights);
}

const mf_weight *mf_weights_find(const mf_weights *weights, const char *name) {
    size_t low = 0, high = weights->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, weights->tensor[middle].name);
        if (order == 0)
            return &weights->tensor[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *mf_weights_metadata(const mf_weights *weights, const char *key) {
    for (size_t i = 0; i < weights->metadata_count; i++)
        if (strcmp(weights->metadata[i].key, key) == 0)
            return weights->metadata[i].value;
    return NULL;
}

void mf_weights_let_go(const mf_weights *weights, const mf_weight *tensor) {
    uintptr_t begin = (uintptr_t)weights->file.data, at = (uintptr_t)tensor->data;
    if (begin && at >= begin && at - begin < weights->file.size)
        mf_file_let_go(tensor->data, tensor->bytes);
}
