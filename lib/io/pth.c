/* Reads what torch.save() writes.
 *
 * zip form (since 1.6): ARCHIVE/data.pkl, a pickle whose tensors name their storages by keys; ARCHIVE/data/KEY, the
 * values.  Legacy form: four pickles (magic number, protocol, facts of the system, the object), a fifth with the list
 * of keys, then for each key the number of values (8 bytes) and the values. */
#include <stdio.h>

#include "io/pickle.h"
#include "io/zip.h"

typedef struct checkpoint {
    mf_reader *r;
    mf_arena scratch; /* of the reading's lifetime */
    mf_zip *zip;      /* NULL: the legacy form */
    char prefix[264]; /* "ARCHIVE/" */
    size_t prefix_size;
    size_t copied; /* bytes of strided views made dense */
} checkpoint;

/* ---- tensors ---- */

static int key_of(const mf_py_storage *s, const char **text) {
    *text = s->key.as.text;
    return MF_SHOW(s->key.size);
}

static mfrgn_status find_storage(checkpoint *c, const char *name, const mf_py_storage *s, const unsigned char **data) {
    char path[512];
    const char *key;
    int show = key_of(s, &key);
    size_t bytes, need;
    *data = s->data;
    if (!c->zip)
        return *data ? MFRGN_OK
                     : mf_reader_fail(c->r, MFRGN_ERROR_FORMAT, "tensor \"%.160s\": no values for storage \"%.*s\"",
                                      name, show, key);
    int length = snprintf(path, sizeof(path), "%.*sdata/%.*s", (int)c->prefix_size, c->prefix, show, key);
    const mf_zip_entry *e = mf_zip_find(c->zip, path, (size_t)length);
    if (!e || (size_t)show != s->key.size)
        return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT, "tensor \"%.160s\": there is no zip entry \"%s\"", name, path);
    MF_TRY(mf_zip_data(c->r, c->zip, e, data, &bytes));
    if (!mf_weight_bytes(s->dtype, 1, &s->count, &need) || bytes < need)
        return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT,
                              "tensor \"%.160s\": zip entry \"%s\" holds %zu bytes, %lld values of %s need more", name,
                              path, bytes, (long long)s->count, mf_dtype_name(s->dtype));
    return MFRGN_OK;
}

typedef struct view {
    int64_t stride[MF_WEIGHT_DIMS];
    int64_t offset;
} view;

static int read_integers(const mf_py_list *list, int64_t *value) {
    for (size_t i = 0; i < list->count; i++) {
        if (list->item[i].kind != MF_PY_INT || list->item[i].as.i < 0)
            return 0;
        value[i] = list->item[i].as.i;
    }
    return 1;
}

/* Shape and strides, which must not reach past the storage. */
static mfrgn_status read_view(checkpoint *c, const mf_py_tensor *p, mf_weight *t, view *v) {
    size_t n = p->shape->count;
    char shape[256];
    if (n > MF_WEIGHT_DIMS)
        return mf_reader_fail(c->r, MFRGN_ERROR_UNSUPPORTED, "tensor \"%.160s\": %zu dimensions, at most %d are read",
                              t->name, n, MF_WEIGHT_DIMS);
    if (p->stride->count != n || p->offset < 0 || !read_integers(p->shape, t->dim) ||
        !read_integers(p->stride, v->stride))
        return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT, "tensor \"%.160s\": bad offset, shape or strides", t->name);
    t->dtype = p->storage->dtype;
    t->ndim = (int)n;
    v->offset = p->offset;
    mf_weight_describe(shape, sizeof(shape), t->dtype, t->ndim, t->dim);
    if (!mf_weight_bytes(t->dtype, t->ndim, t->dim, &t->bytes))
        return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT, "tensor \"%.160s\": %s is larger than memory", t->name, shape);
    int64_t last = p->offset, reach;
    int overflow = 0;
    for (int i = 0; i < t->ndim && t->bytes; i++) {
        overflow |= __builtin_mul_overflow(t->dim[i] - 1, v->stride[i], &reach);
        overflow |= __builtin_add_overflow(last, reach, &last);
    }
    if (overflow || (t->bytes && last >= p->storage->count))
        return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT,
                              "tensor \"%.160s\": %s from offset %lld reaches past the %lld values of its storage",
                              t->name, shape, (long long)p->offset, (long long)p->storage->count);
    return MFRGN_OK;
}

static int is_dense(const mf_weight *t, const view *v) {
    int64_t expected = 1;
    for (int i = t->ndim; i-- > 0; expected *= t->dim[i])
        if (t->dim[i] != 1 && v->stride[i] != expected)
            return 0;
    return 1;
}

#define COPY(type)                                                                                                     \
    for (int64_t i = 0; i < inner; i++)                                                                                \
    memcpy(to + (size_t)i * sizeof(type), from + (size_t)(i * step) * sizeof(type), sizeof(type))

static void copy_row(unsigned char *to, const unsigned char *from, int64_t inner, int64_t step, size_t size) {
    if (size == 1)
        COPY(uint8_t);
    else if (size == 2)
        COPY(uint16_t);
    else if (size == 4)
        COPY(uint32_t);
    else
        COPY(uint64_t);
}

/* A strided view made dense.  All is inside the storage: read_view() has seen to it. */
static void copy_view(unsigned char *to, const unsigned char *from, const mf_weight *t, const view *v) {
    size_t size = mf_dtype_size(t->dtype);
    int64_t index[MF_WEIGHT_DIMS] = {0}, inner = t->dim[t->ndim - 1], step = v->stride[t->ndim - 1];
    for (;;) {
        int64_t at = 0;
        for (int d = 0; d + 1 < t->ndim; d++)
            at += index[d] * v->stride[d];
        copy_row(to, from + (size_t)at * size, inner, step, size);
        to += (size_t)inner * size;
        int d = t->ndim - 2;
        while (d >= 0 && ++index[d] == t->dim[d])
            index[d--] = 0;
        if (d < 0)
            return;
    }
}

static mfrgn_status place(checkpoint *c, const mf_py_tensor *p, mf_weight *t) {
    const unsigned char *data;
    view v;
    MF_TRY(read_view(c, p, t, &v));
    MF_TRY(find_storage(c, t->name, p->storage, &data));
    if (!t->bytes) {
        t->data = data;
        return MFRGN_OK;
    }
    data += (size_t)v.offset * mf_dtype_size(t->dtype);
    if (is_dense(t, &v)) {
        t->data = data;
        return MFRGN_OK;
    }
    /* Strides of 0, or many views of one storage, could ask a small file for any amount of memory. */
    if (t->bytes / 8 > c->r->size || c->copied + t->bytes > 8 * c->r->size)
        return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT,
                              "tensor \"%.160s\": strided views of %zu bytes in all, more than 8 times the file",
                              t->name, c->copied + t->bytes);
    c->copied += t->bytes;
    unsigned char *copy = mf_reader_alloc(c->r, t->bytes, "a strided tensor");
    if (!copy)
        return MFRGN_ERROR_MEMORY;
    copy_view(copy, data, t, &v);
    t->data = copy;
    return MFRGN_OK;
}

/* ---- the state dict ---- */

static int holds_tensors(const mf_py *value) {
    return value->kind == MF_PY_DICT && value->as.list->tensors > 0;
}

/* The dictionary whose tensors are meant, or NULL and why. */
static const mf_py_list *choose(const mf_py *top, const char **why) {
    static const char *const usual[] = {"model_state_dict", "state_dict", "model"};
    const mf_py_list *found = NULL, *list = top->as.list;
    *why = "holds no dictionary of tensors";
    if (top->kind != MF_PY_DICT)
        return NULL;
    for (size_t u = 0; u < MF_COUNT(usual); u++)
        for (size_t i = 0; i + 1 < list->count; i += 2)
            if (mf_py_is(&list->item[i], usual[u]) && holds_tensors(&list->item[i + 1]))
                return list->item[i + 1].as.list;
    if (list->tensors)
        return list;
    for (size_t i = 1; i < list->count; i += 2)
        if (holds_tensors(&list->item[i])) {
            if (found && found != list->item[i].as.list) {
                *why =
                    "holds several dictionaries of tensors, and none is called model_state_dict, state_dict or model";
                return NULL;
            }
            found = list->item[i].as.list;
        }
    return found;
}

static int shares_prefix(const mf_py_list *dict, const char *prefix) {
    size_t n = strlen(prefix);
    for (size_t i = 0; i + 1 < dict->count; i += 2) {
        const mf_py *key = &dict->item[i];
        if (dict->item[i + 1].kind == MF_PY_TENSOR &&
            (key->kind != MF_PY_STRING || key->size <= n || memcmp(key->as.text, prefix, n) != 0))
            return 0;
    }
    return 1;
}

static mfrgn_status add_tensors(checkpoint *c, const mf_py *top) {
    static const char parallel[] = "module."; /* what torch.nn.DataParallel puts before every name */
    const char *why;
    const mf_py_list *dict = choose(top, &why);
    if (!dict)
        return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT, "%s", why);
    size_t skip = shares_prefix(dict, parallel) ? sizeof(parallel) - 1 : 0;
    for (size_t i = 0; i + 1 < dict->count; i += 2) {
        const mf_py *key = &dict->item[i], *value = &dict->item[i + 1];
        if (value->kind != MF_PY_TENSOR)
            continue;
        if (key->kind != MF_PY_STRING || !mf_utf8_valid(key->as.text, key->size))
            return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT, "tensor %zu of the dictionary: its key is no UTF-8 string",
                                  i / 2);
        char *name = mf_reader_alloc(c->r, key->size - skip + 1, "a name");
        if (!name)
            return MFRGN_ERROR_MEMORY;
        memcpy(name, key->as.text + skip, key->size - skip);
        name[key->size - skip] = 0;
        mf_weight t = {name, MF_F32, 0, {0}, NULL, 0};
        MF_TRY(place(c, value->as.tensor, &t));
        MF_TRY(mf_reader_add(c->r, &t));
    }
    return MFRGN_OK;
}

/* ---- the zip form ---- */

static const mf_zip_entry *find_entry(const checkpoint *c, const char *name) {
    char path[512];
    int length = snprintf(path, sizeof(path), "%.*s%s", (int)c->prefix_size, c->prefix, name);
    return mf_zip_find(c->zip, path, (size_t)length);
}

static mfrgn_status read_zip(checkpoint *c) {
    const unsigned char *data;
    size_t bytes;
    MF_TRY(mf_zip_open(c->r, &c->scratch, c->zip));
    const char *slash = memchr(c->zip->first, '/', c->zip->first_size);
    size_t n = slash ? (size_t)(slash - c->zip->first) + 1 : 0;
    if (n >= sizeof(c->prefix))
        return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT, "the archive's name has %zu bytes, expected at most %zu", n,
                              sizeof(c->prefix) - 1);
    memcpy(c->prefix, c->zip->first, n);
    c->prefix_size = n;
    const mf_zip_entry *order = find_entry(c, "byteorder"), *object = find_entry(c, "data.pkl");
    if (!object)
        return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT, "a zip archive without \"%.*sdata.pkl\": not from torch.save",
                              MF_SHOW(n), c->prefix);
    if (order) {
        MF_TRY(mf_zip_data(c->r, c->zip, order, &data, &bytes));
        if (bytes != 6 || memcmp(data, "little", 6) != 0)
            return mf_reader_fail(c->r, MFRGN_ERROR_UNSUPPORTED, "byte order \"%.*s\"; only \"little\" is supported",
                                  MF_SHOW(bytes), (const char *)data);
    }
    MF_TRY(mf_zip_data(c->r, c->zip, object, &data, &bytes));
    size_t at = (size_t)(data - c->r->data);
    mf_pickle pickle;
    MF_TRY(mf_unpickle(c->r, &c->scratch, &at, at + bytes, &pickle));
    return add_tensors(c, &pickle.value);
}

mfrgn_status mf_pth_read_zip(mf_reader *r) {
    mf_zip zip = {NULL, 0, NULL, 0, 0};
    checkpoint c = {.r = r, .scratch = {r->context, NULL}, .zip = &zip};
    mfrgn_status status = read_zip(&c);
    mf_arena_free(&c.scratch);
    return status;
}

/* ---- the legacy form ---- */

static int compare_keys(const mf_py *a, const mf_py *b) {
    int order = memcmp(a->as.text, b->as.text, a->size < b->size ? a->size : b->size);
    return order ? order : a->size < b->size ? -1 : a->size > b->size;
}

static int by_key(const void *a, const void *b) {
    return compare_keys(&(*(mf_py_storage *const *)a)->key, &(*(mf_py_storage *const *)b)->key);
}

static size_t first_of_key(mf_py_storage *const *sorted, size_t count, const mf_py *key) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_keys(&sorted[middle]->key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The values of one key, for every storage that has it. */
static mfrgn_status read_values(checkpoint *c, mf_py_storage **sorted, size_t count, const mf_py *key, size_t *at) {
    const mf_reader *r = c->r;
    size_t i = first_of_key(sorted, count, key), need;
    int show = MF_SHOW(key->size);
    if (i == count || compare_keys(&sorted[i]->key, key) != 0 || sorted[i]->data)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "byte %zu: storage \"%.*s\" is %s", *at, show, key->as.text,
                              i < count && sorted[i]->data ? "listed twice" : "listed but not used");
    const mf_py_storage *s = sorted[i];
    if (r->size - *at < 8 || mf_le64(r->data + *at) != (uint64_t)s->count)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT,
                              "byte %zu: expected the number of values of storage \"%.*s\", %lld", *at, show,
                              key->as.text, (long long)s->count);
    *at += 8;
    if (!mf_weight_bytes(s->dtype, 1, &s->count, &need) || need > r->size - *at)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT,
                              "byte %zu: %lld values of %s of storage \"%.*s\" reach past the end (file cut short?)",
                              *at, (long long)s->count, mf_dtype_name(s->dtype), show, key->as.text);
    for (; i < count && compare_keys(&sorted[i]->key, key) == 0; i++) {
        if (sorted[i]->dtype != s->dtype || sorted[i]->count != s->count)
            return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "storage \"%.*s\" is used with two types or sizes", show,
                                  key->as.text);
        sorted[i]->data = r->data + *at;
    }
    *at += need;
    return MFRGN_OK;
}

static mfrgn_status read_storages(checkpoint *c, const mf_pickle *pickle, const mf_py *keys, size_t *at) {
    if (keys->kind != MF_PY_LIST)
        return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT, "byte %zu: expected the list of storages before it", *at);
    size_t count = 0, bytes = pickle->storage_count * sizeof(mf_py_storage *);
    mf_py_storage **sorted = mf_arena_alloc(&c->scratch, bytes);
    if (!sorted)
        return mf_fail_memory(c->r->context, bytes, "a list of storages");
    for (mf_py_storage *s = pickle->storages; s; s = s->next)
        sorted[count++] = s;
    mf_sort(sorted, count, sizeof(*sorted), by_key);
    for (size_t i = 0; i < keys->as.list->count; i++) {
        const mf_py *key = &keys->as.list->item[i];
        if (key->kind != MF_PY_STRING)
            return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT, "byte %zu: the list of storages before it holds no strings",
                                  *at);
        MF_TRY(read_values(c, sorted, count, key, at));
    }
    return MFRGN_OK;
}

/* {"protocol_version": 1001, "little_endian": True, "type_sizes": {..}} */
static mfrgn_status check_system(checkpoint *c, const mf_py *facts) {
    for (size_t i = 0; facts->kind == MF_PY_DICT && i + 1 < facts->as.list->count; i += 2) {
        const mf_py *item = facts->as.list->item + i;
        if (mf_py_is(&item[0], "little_endian") && item[1].kind == MF_PY_BOOL)
            return item[1].as.i ? MFRGN_OK
                                : mf_reader_fail(c->r, MFRGN_ERROR_UNSUPPORTED, "was written on a big-endian machine");
    }
    return mf_reader_fail(c->r, MFRGN_ERROR_FORMAT, "the third pickle does not say \"little_endian\"");
}

static mfrgn_status read_legacy(checkpoint *c) {
    static const unsigned char magic[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                          0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
    const mf_reader *r = c->r;
    mf_pickle protocol, facts, object, keys;
    size_t at = sizeof(magic);
    if (r->size < at || memcmp(r->data, magic, at) != 0)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT,
                              "begins as a pickle but not with PyTorch's magic number: save it with torch.save");
    MF_TRY(mf_unpickle(r, &c->scratch, &at, r->size, &protocol));
    if (protocol.value.kind != MF_PY_INT || protocol.value.as.i != 1001)
        return mf_reader_fail(r, MFRGN_ERROR_UNSUPPORTED, "byte %zu: PyTorch's protocol is not 1001", sizeof(magic));
    MF_TRY(mf_unpickle(r, &c->scratch, &at, r->size, &facts));
    MF_TRY(check_system(c, &facts.value));
    MF_TRY(mf_unpickle(r, &c->scratch, &at, r->size, &object));
    MF_TRY(mf_unpickle(r, &c->scratch, &at, r->size, &keys));
    MF_TRY(read_storages(c, &object, &keys.value, &at));
    return add_tensors(c, &object.value);
}

mfrgn_status mf_pth_read_legacy(mf_reader *r) {
    checkpoint c = {.r = r, .scratch = {r->context, NULL}};
    mfrgn_status status = read_legacy(&c);
    mf_arena_free(&c.scratch);
    return status;
}
