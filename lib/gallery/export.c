/* Galleries for other programs: .npy and CSV (FAISS, pgvector, Qdrant), GeoJSON (maps). */
#include <stdio.h>
#include <string.h>

#include "gallery/index.h"
#include "io/reader.h"

/* Text that is collected and written in pieces. */
typedef struct text_out {
    mf_out *out;
    mfrgn_status status;
    size_t used;
    char buffer[1 << 16];
} text_out;

static void flush(text_out *t) {
    if (t->status == MFRGN_OK && t->used)
        t->status = mf_out_write(t->out, t->buffer, t->used);
    t->used = 0;
}

static void put(text_out *t, const char *text, size_t bytes) {
    while (bytes) {
        size_t n = sizeof(t->buffer) - t->used;
        n = n < bytes ? n : bytes;
        memcpy(t->buffer + t->used, text, n);
        t->used += n;
        text += n;
        bytes -= n;
        if (t->used == sizeof(t->buffer))
            flush(t);
    }
}

static void put_text(text_out *t, const char *text) {
    put(t, text, strlen(text));
}

static void put_number(text_out *t, uint64_t n) {
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
    put(t, digits, (size_t)length);
}

/* To 1e-9: a tenth of a millimetre in degrees.  By integers: printf's point follows the locale. */
static void put_decimal(text_out *t, double v) {
    char digits[32];
    int64_t whole = (int64_t)(v * 1e9 + (v < 0 ? -0.5 : 0.5));
    uint64_t most = whole < 0 ? (uint64_t)-whole : (uint64_t)whole;
    int n = snprintf(digits, sizeof(digits), "%s%llu.%09llu", whole < 0 ? "-" : "",
                     (unsigned long long)(most / 1000000000u), (unsigned long long)(most % 1000000000u));
    while (digits[n - 1] == '0')
        n--;
    if (digits[n - 1] == '.')
        n--;
    put(t, digits, (size_t)n);
}

static void open_text(text_out *t, mf_out *out) {
    t->out = out;
    t->status = MFRGN_OK;
    t->used = 0;
}

static void get_tile(const mfrgn_index *x, size_t i, mfrgn_tile *tile) {
    *tile = (mfrgn_tile){.struct_size = sizeof(*tile)};
    (void)mfrgn_index_tile(x, i, tile);
}

/* ---- CSV: RFC 4180 ---- */

static void put_field(text_out *t, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        put_text(t, text);
        return;
    }
    put_text(t, "\"");
    for (const char *quote; (quote = strchr(text, '"')); text = quote + 1) {
        put(t, text, (size_t)(quote - text));
        put_text(t, "\"\"");
    }
    put_text(t, text);
    put_text(t, "\"");
}

static mfrgn_status write_csv(const mfrgn_index *x, text_out *t) {
    put_text(t, "tile,id,path,latitude,longitude,width_m,height_m,metres_per_pixel\r\n");
    for (size_t i = 0; i < x->header.count && t->status == MFRGN_OK; i++) {
        mfrgn_tile tile;
        get_tile(x, i, &tile);
        put_number(t, i);
        put_text(t, ",");
        put_field(t, tile.id);
        put_text(t, ",");
        put_field(t, tile.path);
        const double value[] = {tile.latitude, tile.longitude, tile.width_m, tile.height_m, tile.metres_per_pixel};
        for (size_t k = 0; k < MF_COUNT(value); k++) {
            put_text(t, ",");
            if (tile.located && (k < 2 || value[k] > 0)) /* unknown: empty */
                put_decimal(t, value[k]);
        }
        put_text(t, "\r\n");
    }
    flush(t);
    return t->status;
}

/* ---- GeoJSON: RFC 7946 ---- */

static void put_json(text_out *t, const char *text) {
    const unsigned char *c = (const unsigned char *)text, *end = c + strlen(text);
    put_text(t, "\"");
    while (c < end) {
        size_t n = mf_utf8_sequence(c, (size_t)(end - c));
        char escape[8];
        if (!n) {
            put_text(t, "\xef\xbf\xbd"); /* not UTF-8: the replacement character */
            n = 1;
        } else if (*c < 0x20 || *c == 0x7f) {
            snprintf(escape, sizeof(escape), "\\u%04x", *c);
            put_text(t, escape);
        } else {
            if (*c == '"' || *c == '\\')
                put_text(t, "\\");
            put(t, (const char *)c, n);
        }
        c += n;
    }
    put_text(t, "\"");
}

static mfrgn_status write_geojson(const mfrgn_index *x, text_out *t) {
    put_text(t, "{\"type\": \"FeatureCollection\", \"features\": [");
    for (size_t i = 0; i < x->header.count && t->status == MFRGN_OK; i++) {
        mfrgn_tile tile;
        get_tile(x, i, &tile);
        put_text(t, i ? ",\n{\"type\": \"Feature\", \"geometry\": " : "\n{\"type\": \"Feature\", \"geometry\": ");
        if (tile.located) {
            put_text(t, "{\"type\": \"Point\", \"coordinates\": [");
            put_decimal(t, tile.longitude);
            put_text(t, ", ");
            put_decimal(t, tile.latitude);
            put_text(t, "]}");
        } else {
            put_text(t, "null");
        }
        put_text(t, ", \"properties\": {\"tile\": ");
        put_number(t, i);
        put_text(t, ", \"id\": ");
        put_json(t, tile.id);
        put_text(t, ", \"path\": ");
        put_json(t, tile.path);
        const char *const name[] = {"width_m", "height_m", "metres_per_pixel"};
        const double value[] = {tile.width_m, tile.height_m, tile.metres_per_pixel};
        for (size_t k = 0; k < MF_COUNT(value); k++)
            if (tile.located && value[k] > 0) {
                put_text(t, ", ");
                put_json(t, name[k]);
                put_text(t, ": ");
                put_decimal(t, value[k]);
            }
        put_text(t, "}}");
    }
    put_text(t, "\n]}\n");
    flush(t);
    return t->status;
}

/* ---- .npy, version 1.0 ---- */

static mfrgn_status write_npy(const mfrgn_index *x, mf_out *out) {
    char header[128];
    float *row = mf_alloc(x->context, x->header.size * sizeof(*row));
    if (!row)
        return mf_fail_memory(x->context, x->header.size * sizeof(*row), "a descriptor");
    memset(header, ' ', sizeof(header));
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10); /* 0x76: 118 bytes follow */
    char text[118];
    int n = snprintf(text, sizeof(text), "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %u), }",
                     (unsigned long long)x->header.count, x->header.size);
    memcpy(header + 10, text, (size_t)n);
    header[127] = '\n';
    mfrgn_status status = mf_out_write(out, header, sizeof(header));
    if (x->f32 && status == MFRGN_OK)
        status = mf_out_write(out, x->f32, x->header.count * x->header.size * sizeof(*row));
    for (size_t i = 0; !x->f32 && i < x->header.count && status == MFRGN_OK; i++) {
        status = mfrgn_index_descriptor(x, i, row);
        if (status == MFRGN_OK)
            status = mf_out_write(out, row, x->header.size * sizeof(*row));
    }
    mf_free(x->context, row);
    return status;
}

static mfrgn_status export_text(const mfrgn_index *x, const char *path,
                                mfrgn_status (*write)(const mfrgn_index *, text_out *)) {
    mf_out *out;
    text_out *t = mf_alloc(x->context, sizeof(*t));
    if (!t)
        return mf_fail_memory(x->context, sizeof(*t), "text");
    mfrgn_status status = mf_out_open(x->context, path, &out);
    if (status == MFRGN_OK) {
        open_text(t, out);
        status = write(x, t);
        if (status == MFRGN_OK)
            status = mf_out_commit(out);
        else
            mf_out_discard(out);
    }
    mf_free(x->context, t);
    return status;
}

static mfrgn_status export_npy(const mfrgn_index *x, const char *path) {
    mf_out *out;
    MF_TRY(mf_out_open(x->context, path, &out));
    mfrgn_status status = write_npy(x, out);
    if (status == MFRGN_OK)
        return mf_out_commit(out);
    mf_out_discard(out);
    return status;
}

mfrgn_status mfrgn_index_export(const mfrgn_index *x, mfrgn_export format, const char *path) {
    if (!x)
        return MFRGN_ERROR_ARGUMENT;
    if (!path || (format != MFRGN_EXPORT_NPY_CSV && format != MFRGN_EXPORT_GEOJSON))
        return mf_fail(x->context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_export: the path is NULL, or there is no format %d",
                       (int)format);
    if (format == MFRGN_EXPORT_GEOJSON)
        return export_text(x, path, write_geojson);
    char *npy = mf_format(x->context, "%s.npy", path), *csv = mf_format(x->context, "%s.csv", path);
    mfrgn_status status = npy && csv ? export_text(x, csv, write_csv) : mf_fail_memory(x->context, 64, "a path");
    if (status == MFRGN_OK)
        status = export_npy(x, npy);
    mf_free(x->context, npy);
    mf_free(x->context, csv);
    return status;
}
