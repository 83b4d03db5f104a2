#include "io/npy.h"

#include <stdio.h>
#include <string.h>

#include "io/reader.h"

typedef struct header {
    const char *at, *end;
    int has_type, has_order, has_shape;
    size_t rows, columns;
} header;

static void skip_space(header *h) {
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n'))
        h->at++;
}

static int take(header *h, const char *text) {
    size_t length = strlen(text);
    skip_space(h);
    if ((size_t)(h->end - h->at) < length || memcmp(h->at, text, length))
        return 0;
    h->at += length;
    return 1;
}

static int take_size(header *h, size_t *value) {
    size_t n = 0;
    skip_space(h);
    const char *begin = h->at;
    for (; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++)
        if (__builtin_mul_overflow(n, (size_t)10, &n) || __builtin_add_overflow(n, (size_t)(*h->at - '0'), &n))
            return 0;
    *value = n;
    return h->at != begin;
}

/* {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }: Python's literal, as NumPy writes it.  NULL, or what is
 * wrong. */
static const char *read_header(header *h) {
    if (!take(h, "{"))
        return "its header is no dictionary";
    while (!take(h, "}")) {
        if (take(h, "'descr'") && !h->has_type++) {
            if (!take(h, ":") || !take(h, "'<f4'"))
                return "its values are not little-endian float32 ('<f4')";
        } else if (take(h, "'fortran_order'") && !h->has_order++) {
            if (!take(h, ":") || !take(h, "False"))
                return "it is in Fortran's order";
        } else if (take(h, "'shape'") && !h->has_shape++) {
            if (!take(h, ":") || !take(h, "(") || !take_size(h, &h->rows) || !take(h, ",") ||
                !take_size(h, &h->columns) || (take(h, ","), !take(h, ")")))
                return "its shape is not that of a matrix, (rows, columns)";
        } else {
            return "its header is malformed";
        }
        if (!take(h, ",")) {
            if (!take(h, "}"))
                return "its header is malformed";
            break;
        }
    }
    skip_space(h);
    if (h->at != h->end || !h->has_type || !h->has_order || !h->has_shape)
        return "its header is malformed";
    return h->rows && h->columns ? NULL : "it is empty";
}

static const char *parse(mf_npy *npy) {
    const unsigned char *d = npy->file.data;
    size_t size = npy->file.size, prefix, length, bytes;
    if (size < 10 || memcmp(d, "\x93NUMPY", 6))
        return "it does not begin as a .npy file does";
    if (d[6] == 1) {
        prefix = 10;
        length = mf_le16(d + 8);
    } else if (d[6] == 2 || d[6] == 3) {
        prefix = 12;
        if (size < prefix)
            return "it is cut short";
        length = mf_le32(d + 8);
    } else {
        return "its version is unknown";
    }
    if (length > size - prefix)
        return "it is cut short";
    header h = {.at = (const char *)d + prefix, .end = (const char *)d + prefix + length};
    const char *wrong = read_header(&h);
    if (wrong)
        return wrong;
    if (__builtin_mul_overflow(h.rows, h.columns, &bytes) || __builtin_mul_overflow(bytes, sizeof(float), &bytes) ||
        bytes > size - prefix - length)
        return "it is cut short: its shape needs more bytes";
    if (bytes < size - prefix - length)
        return "bytes follow its last row";
    if ((prefix + length) % sizeof(float))
        return "its rows are not aligned";
    npy->data = (const float *)(const void *)(d + prefix + length);
    npy->rows = h.rows;
    npy->columns = h.columns;
    return NULL;
}

mfrgn_status mf_npy_map(mfrgn_context *context, const char *path, mf_npy *out) {
    mf_npy npy = {{NULL, 0}, NULL, 0, 0};
    MF_TRY(mf_file_map(context, path, &npy.file));
    const char *wrong = parse(&npy);
    if (wrong) {
        mf_file_unmap(&npy.file);
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: not a .npy matrix of float32: %s", path, wrong);
    }
    *out = npy;
    return MFRGN_OK;
}

void mf_npy_unmap(mf_npy *npy) {
    mf_file_unmap(&npy->file);
    *npy = (mf_npy){{NULL, 0}, NULL, 0, 0};
}

mfrgn_status mf_npy_save(mfrgn_context *context, const char *path, const float *data, size_t rows, size_t columns) {
    enum { HEADER = 128 };
    char head[HEADER];
    mf_out *out;
    memset(head, ' ', HEADER);
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10); /* 0x76: 128 - 10 */
    int length = snprintf(head + 10, HEADER - 11, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }",
                          rows, columns);
    head[10 + length] = ' '; /* snprintf()'s NUL */
    head[HEADER - 1] = '\n';
    MF_TRY(mf_out_open(context, path, &out));
    mfrgn_status status = mf_out_write(out, head, HEADER);
    if (status == MFRGN_OK)
        status = mf_out_write(out, data, rows * columns * sizeof(float));
    if (status == MFRGN_OK)
        return mf_out_commit(out);
    mf_out_discard(out);
    return status;
}
