/* safetensors: the length of a JSON header (8 bytes), the header, the tensors' bytes without gaps.
 * https://github.com/huggingface/safetensors#format */
#include <stdio.h>

#include "io/json.h"
#include "io/reader.h"
#include "io/writer.h"

enum { HEADER_MAX = 100000000, ALIGNMENT = 64 };

static mfrgn_status json_error(const mf_reader *r, const mf_json *j) {
    return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "byte %zu, in the header: %s", 8 + j->at, j->error);
}

static mfrgn_status copy_text(mf_reader *r, const mf_json_string *string, const char **text) {
    char *copy = mf_reader_alloc(r, string->size + 1, "a name");
    if (!copy)
        return MFRGN_ERROR_MEMORY;
    mf_json_decode(string, copy);
    *text = copy;
    return MFRGN_OK;
}

static int by_key(const void *a, const void *b) {
    return strcmp(((const mf_metadata *)a)->key, ((const mf_metadata *)b)->key);
}

static mfrgn_status read_metadata(mf_reader *r, mf_json *j) {
    mf_json_string key, value;
    mf_json_open(j, '{');
    for (size_t i = 0; mf_json_more(j, '}', i); i++) {
        const char *k, *v;
        if (!mf_json_key(j, &key) || !mf_json_text(j, &value))
            break;
        MF_TRY(copy_text(r, &key, &k));
        MF_TRY(copy_text(r, &value, &v));
        MF_TRY(mf_reader_add_metadata(r, k, v));
    }
    if (j->error)
        return json_error(r, j);
    mf_weights *w = r->weights;
    mf_sort(w->metadata, w->metadata_count, sizeof(*w->metadata), by_key);
    for (size_t i = 1; i < w->metadata_count; i++)
        if (by_key(&w->metadata[i - 1], &w->metadata[i]) == 0)
            return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "metadata \"%.160s\" occurs twice", w->metadata[i].key);
    return MFRGN_OK;
}

static mfrgn_status read_dtype(mf_reader *r, mf_json *j, mf_weight *t) {
    mf_json_string name;
    if (!mf_json_text(j, &name))
        return json_error(r, j);
    for (int d = 0; d < MF_DTYPE_COUNT; d++)
        if (mf_json_equals(&name, mf_dtype_name((mf_dtype)d))) {
            t->dtype = (mf_dtype)d;
            return MFRGN_OK;
        }
    return mf_reader_fail(r, MFRGN_ERROR_UNSUPPORTED,
                          "tensor \"%.160s\": dtype \"%.*s\" is not supported; F64, F32, F16, BF16, I64, I32, I16, I8, "
                          "U8 and BOOL are",
                          t->name, MF_SHOW(name.raw_size), name.raw);
}

static mfrgn_status read_shape(mf_reader *r, mf_json *j, mf_weight *t) {
    mf_json_open(j, '[');
    for (size_t i = 0; mf_json_more(j, ']', i); i++) {
        uint64_t n;
        if (!mf_json_u64(j, &n))
            break;
        if (n > INT64_MAX)
            return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "tensor \"%.160s\": dimension %llu is too large", t->name,
                                  (unsigned long long)n);
        if (i == MF_WEIGHT_DIMS)
            return mf_reader_fail(r, MFRGN_ERROR_UNSUPPORTED, "tensor \"%.160s\": more than %d dimensions", t->name,
                                  MF_WEIGHT_DIMS);
        t->dim[i] = (int64_t)n;
        t->ndim = (int)i + 1;
    }
    return j->error ? json_error(r, j) : MFRGN_OK;
}

static mfrgn_status read_offsets(mf_reader *r, mf_json *j, uint64_t offset[2]) {
    size_t i = 0;
    mf_json_open(j, '[');
    for (; mf_json_more(j, ']', i); i++)
        if (i == 2)
            j->error = "expected two data_offsets";
        else
            mf_json_u64(j, &offset[i]);
    if (!j->error && i != 2)
        j->error = "expected two data_offsets";
    return j->error ? json_error(r, j) : MFRGN_OK;
}

/* Places a tensor in the `room` bytes behind the header. */
static mfrgn_status place(mf_reader *r, mf_weight *t, const uint64_t offset[2], size_t begin) {
    size_t room = r->size - begin, bytes;
    char shape[256];
    mf_weight_describe(shape, sizeof(shape), t->dtype, t->ndim, t->dim);
    if (offset[0] > offset[1] || offset[1] > room)
        return mf_reader_fail(
            r, MFRGN_ERROR_FORMAT,
            "tensor \"%.160s\": data_offsets %llu..%llu do not lie in the %zu bytes of data (file cut "
            "short?)",
            t->name, (unsigned long long)offset[0], (unsigned long long)offset[1], room);
    if (!mf_weight_bytes(t->dtype, t->ndim, t->dim, &bytes))
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "tensor \"%.160s\": %s is larger than memory", t->name, shape);
    if (bytes != offset[1] - offset[0])
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT,
                              "tensor \"%.160s\": data_offsets %llu..%llu hold %llu bytes, %s needs %zu", t->name,
                              (unsigned long long)offset[0], (unsigned long long)offset[1],
                              (unsigned long long)(offset[1] - offset[0]), shape, bytes);
    t->data = r->data + begin + offset[0];
    t->bytes = bytes;
    return mf_reader_add(r, t);
}

static mfrgn_status read_tensor(mf_reader *r, mf_json *j, const char *name, size_t begin) {
    static const char *const field[] = {"dtype", "shape", "data_offsets"};
    mf_weight t = {name, MF_F32, 0, {0}, NULL, 0};
    uint64_t offset[2] = {0, 0};
    unsigned seen = 0;
    mf_json_open(j, '{');
    for (size_t i = 0; mf_json_more(j, '}', i); i++) {
        mf_json_string key;
        unsigned f = 0;
        if (!mf_json_key(j, &key))
            break;
        while (f < MF_COUNT(field) && !mf_json_equals(&key, field[f]))
            f++;
        if (f == MF_COUNT(field) || (seen & 1u << f))
            return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "tensor \"%.160s\": \"%.*s\" is %s", name,
                                  MF_SHOW(key.raw_size), key.raw, f == MF_COUNT(field) ? "unknown" : "given twice");
        seen |= 1u << f;
        MF_TRY(f == 0 ? read_dtype(r, j, &t) : f == 1 ? read_shape(r, j, &t) : read_offsets(r, j, offset));
    }
    if (j->error)
        return json_error(r, j);
    for (unsigned f = 0; f < MF_COUNT(field); f++)
        if (!(seen & 1u << f))
            return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "tensor \"%.160s\": \"%s\" is missing", name, field[f]);
    return place(r, &t, offset, begin);
}

static int by_place(const void *a, const void *b) {
    const mf_weight *x = a, *y = b;
    if (x->data != y->data)
        return (const char *)x->data < (const char *)y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Every byte behind the header belongs to one tensor: a file in which data hides, or is shared, is refused. */
static mfrgn_status check_cover(mf_reader *r, size_t begin) {
    mf_weights *w = r->weights;
    const unsigned char *at = r->data + begin;
    mf_sort(w->tensor, w->count, sizeof(*w->tensor), by_place);
    for (size_t i = 0; i < w->count; i++) {
        const mf_weight *t = &w->tensor[i];
        if (t->data != at)
            return mf_reader_fail(
                r, MFRGN_ERROR_FORMAT, "tensor \"%.160s\" begins at data byte %zu, expected %zu: %s", t->name,
                (size_t)((const unsigned char *)t->data - r->data) - begin, (size_t)(at - r->data) - begin,
                (const unsigned char *)t->data < at ? "it overlaps another" : "a hole lies before it");
        at += t->bytes;
    }
    if (at != r->data + r->size)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "%zu bytes after the last tensor belong to none",
                              (size_t)(r->data + r->size - at));
    return MFRGN_OK;
}

mfrgn_status mf_safetensors_read(mf_reader *r) {
    if (r->size < 8)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "%zu bytes are too few for a safetensors file", r->size);
    uint64_t length = mf_le64(r->data);
    if (length > HEADER_MAX)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "byte 0: a header of %llu bytes, the format allows %d",
                              (unsigned long long)length, HEADER_MAX);
    if (length > r->size - 8)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "a header of %llu bytes, but only %zu follow (file cut short?)",
                              (unsigned long long)length, r->size - 8);
    mf_json j = {(const char *)r->data + 8, (size_t)length, 0, NULL};
    size_t begin = 8 + j.size;
    int metadata_seen = 0;
    mf_json_open(&j, '{');
    for (size_t i = 0; mf_json_more(&j, '}', i); i++) {
        mf_json_string key;
        const char *name;
        if (!mf_json_key(&j, &key))
            break;
        MF_TRY(copy_text(r, &key, &name));
        if (strcmp(name, "__metadata__") != 0)
            MF_TRY(read_tensor(r, &j, name, begin));
        else if (metadata_seen++)
            return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "__metadata__ occurs twice");
        else
            MF_TRY(read_metadata(r, &j));
    }
    if (!mf_json_end(&j))
        return json_error(r, &j);
    return check_cover(r, begin);
}

/* ---- writing ---- */

static void put_string(mf_bytes *b, const char *text) {
    mf_bytes_text(b, "\"");
    for (; *text; text++) {
        char escape[8];
        if (*text == '"' || *text == '\\')
            mf_bytes_text(b, "\\");
        if ((unsigned char)*text < 0x20) {
            snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)*text);
            mf_bytes_text(b, escape);
        } else {
            mf_bytes_put(b, text, 1);
        }
    }
    mf_bytes_text(b, "\"");
}

static void put_number(mf_bytes *b, const char *before, uint64_t number) {
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    mf_bytes_text(b, before);
    mf_bytes_text(b, text);
}

static void put_header(mf_bytes *b, const mf_weights_out *what) {
    uint64_t offset = 0;
    mf_bytes_text(b, "{");
    if (what->metadata_count)
        mf_bytes_text(b, "\"__metadata__\":{");
    for (size_t i = 0; i < what->metadata_count; i++) {
        mf_bytes_text(b, i ? "," : "");
        put_string(b, what->metadata[i].key);
        mf_bytes_text(b, ":");
        put_string(b, what->metadata[i].value);
    }
    if (what->metadata_count)
        mf_bytes_text(b, what->count ? "}," : "}");
    for (size_t i = 0; i < what->count; i++) {
        const mf_weight *t = &what->tensor[i];
        mf_bytes_text(b, i ? "," : "");
        put_string(b, t->name);
        mf_bytes_text(b, ":{\"dtype\":\"");
        mf_bytes_text(b, mf_dtype_name(t->dtype));
        mf_bytes_text(b, "\",\"shape\":[");
        for (int d = 0; d < t->ndim; d++)
            put_number(b, d ? "," : "", (uint64_t)t->dim[d]);
        put_number(b, "],\"data_offsets\":[", offset);
        put_number(b, ",", offset + t->bytes);
        mf_bytes_text(b, "]}");
        offset += t->bytes;
    }
    mf_bytes_text(b, "}");
    mf_bytes_fill(b, ' ', (ALIGNMENT - (8 + b->size) % ALIGNMENT) % ALIGNMENT);
}

typedef struct saver {
    const mf_weights_out *what;
    mf_out *out;
} saver;

static mfrgn_status put_tensor(void *user, size_t index, const void *data) {
    saver *s = user;
    return mf_out_write(s->out, data, s->what->tensor[index].bytes);
}

static mfrgn_status save(mfrgn_context *context, const char *path, const mf_weights_out *what, mf_out *out) {
    mf_bytes header = {context, NULL, 0, 0, MFRGN_OK}, length = header;
    put_header(&header, what);
    mf_bytes_le(&length, header.size, 8);
    mfrgn_status status = header.status != MFRGN_OK ? header.status : length.status;
    if (status == MFRGN_OK && header.size > HEADER_MAX)
        status = mf_fail(context, MFRGN_ERROR_ARGUMENT, "%s: a header of %zu bytes, the format allows %d", path,
                         header.size, HEADER_MAX);
    if (status == MFRGN_OK)
        status = mf_out_write(out, length.data, length.size);
    if (status == MFRGN_OK)
        status = mf_out_write(out, header.data, header.size);
    mf_bytes_free(&header);
    mf_bytes_free(&length);
    saver s = {what, out};
    return status == MFRGN_OK ? mf_writer_stream(context, path, what, put_tensor, &s) : status;
}

mfrgn_status mf_safetensors_save(mfrgn_context *context, const char *path, const mf_weights_out *what) {
    mf_out *out;
    MF_TRY(mf_writer_check(context, path, what));
    MF_TRY(mf_out_open(context, path, &out));
    mfrgn_status status = save(context, path, what, out);
    if (status == MFRGN_OK)
        return mf_out_commit(out);
    mf_out_discard(out);
    return status;
}
