#include "io/writer.h"

void mf_bytes_put(mf_bytes *b, const void *data, size_t size) {
    if (b->status != MFRGN_OK || !size)
        return;
    if (size > SIZE_MAX - b->size)
        b->status = mf_fail_memory(b->context, SIZE_MAX, "a file's header");
    else
        b->status = mf_reserve(b->context, (void **)&b->data, &b->room, b->size + size, 1);
    if (b->status != MFRGN_OK)
        return;
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void mf_bytes_text(mf_bytes *b, const char *text) {
    mf_bytes_put(b, text, strlen(text));
}

void mf_bytes_le(mf_bytes *b, uint64_t value, int bytes) {
    unsigned char le[8];
    for (int i = 0; i < bytes; i++)
        le[i] = (unsigned char)(value >> 8 * i);
    mf_bytes_put(b, le, (size_t)bytes);
}

void mf_bytes_fill(mf_bytes *b, char value, size_t count) {
    for (size_t i = 0; i < count; i++)
        mf_bytes_put(b, &value, 1);
}

void mf_bytes_free(mf_bytes *b) {
    mf_free(b->context, b->data);
    b->data = NULL;
    b->size = b->room = 0;
}

mfrgn_status mf_bytes_save(mf_bytes *b, const char *path) {
    mf_out *out;
    mfrgn_status status = b->status;
    if (status == MFRGN_OK)
        status = mf_out_open(b->context, path, &out);
    if (status == MFRGN_OK) {
        status = mf_out_write(out, b->data, b->size);
        if (status == MFRGN_OK)
            status = mf_out_commit(out);
        else
            mf_out_discard(out);
    }
    mf_bytes_free(b);
    return status;
}

static int by_pointed(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static mfrgn_status check_unique(mfrgn_context *context, const char *path, const mf_weights_out *what) {
    const char **names = mf_calloc(context, what->count, sizeof(*names));
    if (!names)
        return mf_fail_memory(context, what->count * sizeof(*names), "a list of names");
    for (size_t i = 0; i < what->count; i++)
        names[i] = what->tensor[i].name;
    mf_sort(names, what->count, sizeof(*names), by_pointed);
    mfrgn_status status = MFRGN_OK;
    for (size_t i = 1; i < what->count && status == MFRGN_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            status = mf_fail(context, MFRGN_ERROR_ARGUMENT, "%s: tensor \"%s\" is given twice", path, names[i]);
    mf_free(context, names);
    return status;
}

static mfrgn_status check_tensor(mfrgn_context *context, const char *path, const mf_weight *t) {
    char shape[256];
    size_t bytes;
    if (!t->name || !*t->name || !mf_utf8_valid(t->name, strlen(t->name)) || strcmp(t->name, "__metadata__") == 0)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "%s: a tensor's name is empty, not UTF-8 or __metadata__", path);
    if ((unsigned)t->dtype >= MF_DTYPE_COUNT || t->ndim < 0 || t->ndim > MF_WEIGHT_DIMS)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "%s: tensor \"%s\": bad dtype %d or number of dimensions %d",
                       path, t->name, (int)t->dtype, t->ndim);
    if (!mf_weight_bytes(t->dtype, t->ndim, t->dim, &bytes) || bytes != t->bytes)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "%s: tensor \"%s\": %zu bytes are not those of %s", path, t->name,
                       t->bytes, mf_weight_describe(shape, sizeof(shape), t->dtype, t->ndim, t->dim));
    return MFRGN_OK;
}

mfrgn_status mf_writer_check(mfrgn_context *context, const char *path, const mf_weights_out *what) {
    for (size_t i = 0; i < what->count; i++)
        MF_TRY(check_tensor(context, path, &what->tensor[i]));
    for (size_t i = 0; i < what->metadata_count; i++) {
        const mf_metadata *m = &what->metadata[i];
        if (!mf_utf8_valid(m->key, strlen(m->key)) || !mf_utf8_valid(m->value, strlen(m->value)))
            return mf_fail(context, MFRGN_ERROR_ARGUMENT, "%s: metadata \"%s\" is not UTF-8", path, m->key);
        for (size_t k = 0; k < i; k++)
            if (strcmp(what->metadata[k].key, m->key) == 0)
                return mf_fail(context, MFRGN_ERROR_ARGUMENT, "%s: metadata \"%s\" is given twice", path, m->key);
    }
    return check_unique(context, path, what);
}

mfrgn_status mf_writer_stream(mfrgn_context *context, const char *path, const mf_weights_out *what, mf_tensor_sink sink,
                              void *user) {
    size_t largest = 0, total = 0, done = 0;
    for (size_t i = 0; i < what->count; i++) {
        largest = what->tensor[i].bytes > largest ? what->tensor[i].bytes : largest;
        total += what->tensor[i].bytes;
    }
    void *data = mf_alloc(context, largest);
    if (!data) {
        mf_fail_memory(context, largest, "the largest tensor");
        return mf_fail_in(context, MFRGN_ERROR_MEMORY, "%s", path);
    }
    mfrgn_status status = mf_progress(context, what->progress, 0, total);
    for (size_t i = 0; i < what->count && status == MFRGN_OK; i++) {
        status = what->source(what->user, i, data);
        if (status == MFRGN_OK)
            status = sink(user, i, data);
        done += what->tensor[i].bytes;
        if (status == MFRGN_OK)
            status = mf_progress(context, what->progress, done, total);
    }
    mf_free(context, data);
    return status;
}
