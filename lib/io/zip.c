/* APPNOTE.TXT 6.3: the end record at the end of the file, with zip64 a locator and a larger end record before it; the
 * central directory that it points to; a local header before each entry's bytes. */
#include "io/zip.h"

enum {
    END_SIZE = 22,
    LOCATOR_SIZE = 20,
    END64_SIZE = 56,
    CENTRAL_SIZE = 46,
    LOCAL_SIZE = 30,
    COMMENT_MAX = 65535,
    ENCRYPTED = 1
};

static int has_signature(const unsigned char *p, unsigned a, unsigned b) {
    return p[0] == 'P' && p[1] == 'K' && p[2] == a && p[3] == b;
}

typedef struct directory {
    uint64_t offset, size, count, disks;
} directory;

/* The end record: the last that its comment's length places at the end of the file. */
static mfrgn_status find_end(const mf_reader *r, size_t *at) {
    size_t lowest = r->size > END_SIZE + COMMENT_MAX ? r->size - END_SIZE - COMMENT_MAX : 0;
    for (size_t i = r->size < END_SIZE ? 0 : r->size - END_SIZE + 1; i-- > lowest;)
        if (has_signature(r->data + i, 5, 6) && mf_le16(r->data + i + 20) == r->size - i - END_SIZE) {
            *at = i;
            return MFRGN_OK;
        }
    return mf_reader_fail(r, MFRGN_ERROR_FORMAT,
                          "begins as a zip archive but has no central directory at its end (file cut short?)");
}

static mfrgn_status read_end(const mf_reader *r, directory *d) {
    size_t at = 0;
    MF_TRY(find_end(r, &at));
    const unsigned char *end = r->data + at;
    *d = (directory){mf_le32(end + 16), mf_le32(end + 12), mf_le16(end + 10),
                     (uint64_t)mf_le16(end + 4) | mf_le16(end + 6)};
    if (at >= LOCATOR_SIZE && has_signature(end - LOCATOR_SIZE, 6, 7)) {
        uint64_t end64 = mf_le64(end - LOCATOR_SIZE + 8);
        if (at < LOCATOR_SIZE + END64_SIZE || end64 > at - LOCATOR_SIZE - END64_SIZE ||
            !has_signature(r->data + end64, 6, 6))
            return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "byte %zu: the zip64 locator points to no end record",
                                  at - LOCATOR_SIZE);
        const unsigned char *p = r->data + end64;
        *d =
            (directory){mf_le64(p + 48), mf_le64(p + 40), mf_le64(p + 32), (uint64_t)mf_le32(p + 16) | mf_le32(p + 20)};
    }
    if (d->disks)
        return mf_reader_fail(r, MFRGN_ERROR_UNSUPPORTED, "is one part of a zip archive in several");
    if (d->offset > at || d->size > at - d->offset)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "the zip directory, %llu bytes at %llu, lies outside the file",
                              (unsigned long long)d->size, (unsigned long long)d->offset);
    if (d->count > d->size / CENTRAL_SIZE)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "%llu zip entries do not fit a directory of %llu bytes",
                              (unsigned long long)d->count, (unsigned long long)d->size);
    return MFRGN_OK;
}

/* zip64: sizes and offset that do not fit 32 bits stand in an extra field, in this order, only those needed. */
static int read_extra64(const unsigned char *extra, size_t size, mf_zip_entry *e) {
    uint64_t *const field[] = {&e->size, &e->packed, &e->offset};
    int needed = 0;
    for (size_t i = 0; i < MF_COUNT(field); i++)
        needed |= *field[i] == UINT32_MAX;
    while (needed && size >= 4) {
        size_t bytes = mf_le16(extra + 2);
        if (bytes > size - 4)
            return 0;
        if (mf_le16(extra) == 1) {
            const unsigned char *p = extra + 4;
            for (size_t i = 0; i < MF_COUNT(field); i++)
                if (*field[i] == UINT32_MAX) {
                    if (bytes < 8)
                        return 0;
                    *field[i] = mf_le64(p);
                    p += 8;
                    bytes -= 8;
                }
            return 1;
        }
        extra += 4 + bytes;
        size -= 4 + bytes;
    }
    return 1; /* a size of exactly 2^32 - 1 is none of zip64's */
}

static mfrgn_status read_entry(const mf_reader *r, size_t *at, size_t end, mf_zip_entry *e) {
    const unsigned char *p = r->data + *at;
    if (end - *at < CENTRAL_SIZE || !has_signature(p, 1, 2))
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "byte %zu: expected an entry of the zip directory", *at);
    size_t name = mf_le16(p + 28), extra = mf_le16(p + 30), comment = mf_le16(p + 32);
    if (name + extra + comment > end - *at - CENTRAL_SIZE)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "byte %zu: an entry reaches past the zip directory", *at);
    *e = (mf_zip_entry){(const char *)p + CENTRAL_SIZE,
                        name,
                        mf_le32(p + 24),
                        mf_le32(p + 20),
                        mf_le32(p + 42),
                        mf_le16(p + 10),
                        mf_le16(p + 8)};
    if (!read_extra64(p + CENTRAL_SIZE + name, extra, e))
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "byte %zu: a damaged zip64 field", *at + CENTRAL_SIZE + name);
    *at += CENTRAL_SIZE + name + extra + comment;
    return MFRGN_OK;
}

static int compare_names(const char *a, size_t a_size, const char *b, size_t b_size) {
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : a_size < b_size ? -1 : a_size > b_size;
}

static int by_name(const void *a, const void *b) {
    const mf_zip_entry *x = a, *y = b;
    return compare_names(x->name, x->name_size, y->name, y->name_size);
}

mfrgn_status mf_zip_open(const mf_reader *r, mf_arena *arena, mf_zip *zip) {
    directory d;
    MF_TRY(read_end(r, &d));
    if (d.count == 0)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "is an empty zip archive");
    /* At most 72 bytes for each 46 of the file: no overflow, no claim to be believed. */
    mf_zip_entry *entry = mf_arena_alloc(arena, (size_t)d.count * sizeof(*entry));
    if (!entry)
        return mf_fail_memory(r->context, (size_t)d.count * sizeof(*entry), "a zip directory");
    size_t at = (size_t)d.offset, end = at + (size_t)d.size, count = (size_t)d.count;
    for (size_t i = 0; i < count; i++)
        MF_TRY(read_entry(r, &at, end, &entry[i]));
    *zip = (mf_zip){entry, count, entry[0].name, entry[0].name_size, (size_t)d.offset};
    mf_sort(entry, count, sizeof(*entry), by_name);
    for (size_t i = 1; i < count; i++)
        if (by_name(&entry[i - 1], &entry[i]) == 0)
            return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "zip entry \"%.*s\" occurs twice", MF_SHOW(entry[i].name_size),
                                  entry[i].name);
    return MFRGN_OK;
}

const mf_zip_entry *mf_zip_find(const mf_zip *zip, const char *name, size_t name_size) {
    size_t low = 0, high = zip->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const mf_zip_entry *e = &zip->entry[middle];
        int order = compare_names(name, name_size, e->name, e->name_size);
        if (order == 0)
            return e;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

mfrgn_status mf_zip_data(const mf_reader *r, const mf_zip *zip, const mf_zip_entry *e, const unsigned char **data,
                         size_t *bytes) {
    int show = MF_SHOW(e->name_size);
    if (e->flags & ENCRYPTED)
        return mf_reader_fail(r, MFRGN_ERROR_UNSUPPORTED, "zip entry \"%.*s\" is encrypted", show, e->name);
    if (e->method != 0)
        return mf_reader_fail(r, MFRGN_ERROR_UNSUPPORTED,
                              "zip entry \"%.*s\" is compressed (method %d): only stored entries, as torch.save writes "
                              "them, can be read",
                              show, e->name, e->method);
    if (e->size != e->packed)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "zip entry \"%.*s\" is stored but has two sizes, %llu and %llu",
                              show, e->name, (unsigned long long)e->size, (unsigned long long)e->packed);
    if (zip->directory < LOCAL_SIZE || e->offset > zip->directory - LOCAL_SIZE ||
        !has_signature(r->data + e->offset, 3, 4))
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "zip entry \"%.*s\": no local header at byte %llu", show, e->name,
                              (unsigned long long)e->offset);
    const unsigned char *local = r->data + e->offset;
    size_t name = mf_le16(local + 26), extra = mf_le16(local + 28);
    size_t room = zip->directory - (size_t)e->offset - LOCAL_SIZE;
    if (name + extra > room || e->size > room - name - extra)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT,
                              "zip entry \"%.*s\": %llu bytes at byte %llu reach past the entries", show, e->name,
                              (unsigned long long)e->size, (unsigned long long)e->offset);
    if (compare_names((const char *)local + LOCAL_SIZE, name, e->name, e->name_size) != 0)
        return mf_reader_fail(r, MFRGN_ERROR_FORMAT,
                              "zip entry \"%.*s\": its local header, at byte %llu, has another name", show, e->name,
                              (unsigned long long)e->offset);
    *data = local + LOCAL_SIZE + name + extra;
    *bytes = (size_t)e->size;
    return MFRGN_OK;
}
