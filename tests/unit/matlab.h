/* Writes MATLAB 5 files, for tests: either byte order, compressed or not. */
#ifndef MFRGN_TESTS_MATLAB_H
#define MFRGN_TESTS_MATLAB_H

#include <stdint.h>
#include <string.h>

#ifdef MF_HAVE_ZLIB
#include <zlib.h>
#endif

typedef struct mat {
    unsigned char data[1 << 16];
    size_t size;
    int big; /* byte order */
} mat;

static inline void mat_int(mat *m, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        m->data[m->size++] = (unsigned char)(value >> 8 * (m->big ? bytes - 1 - i : i));
}

static inline void mat_begin(mat *m, int big) {
    memset(m, 0, sizeof(*m));
    m->big = big;
    memcpy(m->data, "MATLAB 5.0 MAT-file, made by a test", 35);
    m->size = 124;
    mat_int(m, 0x0100, 2);
    mat_int(m, 'M' << 8 | 'I', 2);
}

/* An element of `count` integers of `bytes` each; small ones in their own form. */
static inline void mat_element(mat *m, int type, int bytes, const int64_t *value, size_t count) {
    size_t size = count * (size_t)bytes;
    if (size <= 4 && size > 0) {
        mat_int(m, (uint64_t)size << 16 | (uint64_t)type, 4);
    } else {
        mat_int(m, (uint64_t)type, 4);
        mat_int(m, size, 4);
    }
    for (size_t i = 0; i < count; i++)
        mat_int(m, (uint64_t)value[i], bytes);
    while (m->size % 8)
        m->data[m->size++] = 0;
}

static inline void mat_bytes(mat *m, int type, const char *text, size_t size) {
    int64_t value[512];
    for (size_t i = 0; i < size; i++)
        value[i] = (unsigned char)text[i];
    mat_element(m, type, 1, value, size);
}

/* The head of an array; returns where it begins, for mat_end(). */
static inline size_t mat_array(mat *m, int class, int rows, int columns, const char *name) {
    size_t begin = m->size;
    int64_t flags[2] = {class, 0}, dims[2] = {rows, columns};
    mat_int(m, 14, 4);
    mat_int(m, 0, 4);
    mat_element(m, 6, 4, flags, 2);
    mat_element(m, 5, 4, dims, 2);
    mat_bytes(m, 1, name, strlen(name));
    return begin;
}

static inline void mat_end(mat *m, size_t begin) {
    size_t end = m->size;
    m->size = begin + 4;
    mat_int(m, end - begin - 8, 4);
    m->size = end;
}

/* An array of numbers of a class (6: double), stored as `type` of `bytes`. */
static inline void mat_numbers(mat *m, const char *name, int class, int type, int bytes, int rows, int columns,
                               const int64_t *value) {
    size_t begin = mat_array(m, class, rows, columns, name);
    mat_element(m, type, bytes, value, (size_t)rows * (size_t)columns);
    mat_end(m, begin);
}

static inline void mat_doubles(mat *m, const char *name, int rows, int columns, const double *value) {
    int64_t bits[512];
    memcpy(bits, value, (size_t)rows * (size_t)columns * 8);
    mat_numbers(m, name, 6, 9, 8, rows, columns, bits);
}

/* A row of text, as UTF-16 (type 17), UTF-8 (16) or plain 16-bit numbers (4). */
static inline void mat_text(mat *m, const char *name, int type, const char *text) {
    size_t begin = mat_array(m, 4, 1, (int)strlen(text), name);
    int64_t value[512];
    for (size_t i = 0; i < strlen(text); i++)
        value[i] = (unsigned char)text[i];
    mat_element(m, type, type == 16 ? 1 : 2, value, strlen(text));
    mat_end(m, begin);
}

/* A cell array with texts in turn of each type. */
static inline void mat_cells(mat *m, const char *name, const char *const *text, int count) {
    static const int types[] = {17, 16, 4};
    size_t begin = mat_array(m, 1, count, 1, name);
    for (int i = 0; i < count; i++)
        mat_text(m, "", types[i % 3], text[i]);
    mat_end(m, begin);
}

/* A struct with the fields "num" and `second`, a list of indices stored in one byte each. */
static inline void mat_split(mat *m, const char *name, const char *second, const int64_t *index, int count) {
    char names[64] = "num";
    size_t begin = mat_array(m, 2, 1, 1, name);
    int64_t length = 32, number = count;
    strcpy(names + 32, second);
    mat_element(m, 5, 4, &length, 1);
    mat_bytes(m, 1, names, 64);
    mat_numbers(m, "", 6, 2, 1, 1, 1, &number);
    mat_numbers(m, "", 6, 2, 1, count, 1, index);
    mat_end(m, begin);
}

#ifdef MF_HAVE_ZLIB
/* The same file with every variable compressed. */
static inline void mat_compress(const mat *from, mat *to) {
    mat_begin(to, from->big);
    for (size_t at = 128; at < from->size;) {
        size_t size = 8;
        for (int i = 0; i < 4; i++)
            size += (size_t)from->data[at + 4 + (size_t)i] << 8 * (from->big ? 3 - i : i);
        uLongf packed = (uLongf)(sizeof(to->data) - to->size - 8);
        size_t begin = to->size;
        mat_int(to, 15, 4);
        mat_int(to, 0, 4);
        compress2(to->data + to->size, &packed, from->data + at, (uLong)size, 9);
        to->size += packed;
        size_t end = to->size;
        to->size = begin + 4;
        mat_int(to, packed, 4);
        to->size = end;
        at += size;
    }
}
#endif

#endif
