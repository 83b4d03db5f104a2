/* SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 256 << 20, MAX_HEADER = 16 << 20, MAX_ITEMS = 1 << 16 };

/* ---------------------------------------------------------------------------------------------- JSON ---------- */

/* As much of it as a safetensors header has: objects of strings, and of objects of strings and arrays of numbers. */
typedef struct reader {
    const char *at, *end;
    int bad;
} reader;

static void skip_space(reader *in) {
    while (in->at < in->end && strchr(" \t\r\n", *in->at) && *in->at)
        in->at++;
}

static int next_is(reader *in, char wanted) {
    skip_space(in);
    if (in->bad || in->at == in->end || *in->at != wanted)
        return 0;
    in->at++;
    return 1;
}

static void expect(reader *in, char wanted) {
    if (!next_is(in, wanted))
        in->bad = 1;
}

static int hex4(reader *in, unsigned *value) {
    *value = 0;
    for (int i = 0; i < 4; i++, in->at++) {
        const char *digits = "0123456789abcdef", *found;
        if (in->at == in->end || !*in->at || !(found = strchr(digits, *in->at | 0x20)))
            return 0;
        *value = *value * 16 + (unsigned)(found - digits);
    }
    return 1;
}

static size_t put_utf8(char *out, unsigned code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    out[0] = (char)(0xe0 | code >> 12);
    out[1] = (char)(0x80 | (code >> 6 & 0x3f));
    out[2] = (char)(0x80 | (code & 0x3f));
    return 3;
}

/* A string, to be freed; NULL if it is none. */
static char *string(reader *in) {
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    expect(in, '"');
    char *text = in->bad ? NULL : malloc((size_t)(in->end - in->at) + 4);
    size_t used = 0;
    while (text && in->at < in->end && *in->at != '"') {
        char c = *in->at++;
        if (c != '\\') {
            text[used++] = c;
            continue;
        }
        const char *found = in->at < in->end && *in->at ? strchr(escapes, *in->at) : NULL;
        unsigned code;
        if (found) {
            text[used++] = meant[found - escapes];
            in->at++;
        } else if (in->at < in->end && *in->at == 'u') {
            in->at++;
            if (!hex4(in, &code) || !code)
                break;
            used += put_utf8(text + used, code);
        } else
            break;
    }
    if (!text || in->at == in->end || *in->at != '"') {
        in->bad = 1;
        free(text);
        return NULL;
    }
    in->at++;
    text[used] = 0;
    char *fitting = realloc(text, used + 1);
    return fitting ? fitting : text;
}

static uint64_t number(reader *in) {
    uint64_t value = 0;
    skip_space(in);
    if (in->at == in->end || *in->at < '0' || *in->at > '9')
        in->bad = 1;
    while (!in->bad && in->at < in->end && *in->at >= '0' && *in->at <= '9') {
        if (value > (UINT64_MAX - 9) / 10)
            in->bad = 1;
        value = value * 10 + (uint64_t)(*in->at++ - '0');
    }
    return value;
}

/* Up to `most` numbers; their count. */
static int numbers(reader *in, uint64_t *values, int most) {
    int count = 0;
    expect(in, '[');
    if (next_is(in, ']'))
        return 0;
    do {
        uint64_t value = number(in);
        if (count == most)
            in->bad = 1;
        else
            values[count++] = value;
    } while (!in->bad && next_is(in, ','));
    expect(in, ']');
    return count;
}

/* ---------------------------------------------------------------------------------------------- header -------- */

static void *grow(reader *in, void *list, size_t count, size_t size) {
    if (count % 64)
        return list;
    void *grown = count < MAX_ITEMS ? realloc(list, (count + 64) * size) : NULL;
    if (!grown)
        in->bad = 1;
    return grown ? grown : list;
}

static void read_metadata(reader *in, golden *file) {
    expect(in, '{');
    if (next_is(in, '}'))
        return;
    do {
        file->pair = grow(in, file->pair, file->pairs, sizeof *file->pair);
        if (in->bad)
            return;
        golden_pair *pair = &file->pair[file->pairs];
        pair->key = string(in);
        expect(in, ':');
        pair->value = in->bad ? NULL : string(in);
        file->pairs++;
    } while (!in->bad && next_is(in, ','));
    expect(in, '}');
}

static void read_tensor(reader *in, golden *file, char *name, const unsigned char *data, size_t size) {
    uint64_t shape[8], offsets[2] = {0, 0}, count = 1;
    int is_f32 = 0, dims = 0, have_offsets = 0;
    file->tensor = grow(in, file->tensor, file->tensors, sizeof *file->tensor);
    if (in->bad) {
        free(name);
        return;
    }
    golden_tensor *tensor = &file->tensor[file->tensors++];
    memset(tensor, 0, sizeof *tensor);
    tensor->name = name;
    expect(in, '{');
    do {
        char *key = string(in);
        expect(in, ':');
        if (!in->bad && !strcmp(key, "dtype")) {
            char *type = string(in);
            is_f32 = type && !strcmp(type, "F32");
            free(type);
        } else if (!in->bad && !strcmp(key, "shape"))
            dims = numbers(in, shape, 8);
        else if (!in->bad && !strcmp(key, "data_offsets"))
            have_offsets = numbers(in, offsets, 2) == 2;
        else
            in->bad = 1;
        free(key);
    } while (!in->bad && next_is(in, ','));
    expect(in, '}');
    for (int i = 0; i < dims; i++) {
        if (shape[i] > MAX_FILE || count > MAX_FILE)
            in->bad = 1;
        count *= in->bad ? 0 : shape[i];
    }
    if (in->bad || !have_offsets || offsets[0] > offsets[1] || offsets[1] > size) {
        in->bad = 1;
        return;
    }
    if (is_f32 && offsets[1] - offsets[0] == count * 4) {
        tensor->data = data + offsets[0];
        tensor->count = (size_t)count;
    } else if (is_f32)
        in->bad = 1;
}

static int read_header(golden *file, size_t header, size_t size) {
    reader in = {(const char *)file->bytes + 8, (const char *)file->bytes + 8 + header, 0};
    const unsigned char *data = file->bytes + 8 + header;
    expect(&in, '{');
    do {
        char *name = string(&in);
        expect(&in, ':');
        if (in.bad)
            free(name);
        else if (!strcmp(name, "__metadata__")) {
            free(name);
            read_metadata(&in, file);
        } else
            read_tensor(&in, file, name, data, size - 8 - header);
    } while (!in.bad && next_is(&in, ','));
    expect(&in, '}');
    return !in.bad;
}

const char *golden_open(const char *path, golden *file) {
    memset(file, 0, sizeof *file);
    FILE *stream = fopen(path, "rb");
    if (!stream)
        return "cannot be opened";
    const char *wrong = NULL;
    long size = fseek(stream, 0, SEEK_END) ? -1 : ftell(stream);
    uint64_t header = 0;
    if (size < 10 || size > MAX_FILE)
        wrong = "is not a safetensors file";
    else if (!(file->bytes = malloc((size_t)size)))
        wrong = "does not fit into memory";
    else if (fseek(stream, 0, SEEK_SET) || fread(file->bytes, 1, (size_t)size, stream) != (size_t)size)
        wrong = "cannot be read";
    fclose(stream);
    if (!wrong) {
        for (int i = 7; i >= 0; i--)
            header = header << 8 | file->bytes[i];
        if (header > MAX_HEADER || header > (uint64_t)size - 8 || !read_header(file, (size_t)header, (size_t)size))
            wrong = "is not a sound safetensors file";
    }
    if (wrong)
        golden_free(file);
    return wrong;
}

void golden_free(golden *file) {
    for (size_t i = 0; i < file->pairs; i++) {
        free(file->pair[i].key);
        free(file->pair[i].value);
    }
    for (size_t i = 0; i < file->tensors; i++)
        free(file->tensor[i].name);
    free(file->pair);
    free(file->tensor);
    free(file->bytes);
    memset(file, 0, sizeof *file);
}

const char *golden_metadata(const golden *file, const char *key) {
    for (size_t i = 0; i < file->pairs; i++)
        if (!strcmp(file->pair[i].key, key))
            return file->pair[i].value;
    return NULL;
}

const golden_tensor *golden_find(const golden *file, const char *name) {
    for (size_t i = 0; i < file->tensors; i++)
        if (!strcmp(file->tensor[i].name, name))
            return file->tensor[i].data ? &file->tensor[i] : NULL;
    return NULL;
}

float golden_value(const golden_tensor *tensor, size_t index) {
    const unsigned char *at = tensor->data + 4 * index;
    uint32_t bits = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
