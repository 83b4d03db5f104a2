/* Helpers of the tests of weights: an allocator that counts, tensors to save, files in a folder of the test's own. */
#ifndef MFRGN_TESTS_WEIGHTS_H
#define MFRGN_TESTS_WEIGHTS_H

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/reader.h"
#include "unit.h"

/* ---- an allocator that counts, and fails when told to ---- */

typedef struct counter {
    size_t live, calls, largest;
    size_t fail_at; /* the call that fails; 0: none */
} counter;

static inline void *counted_allocate(void *user, size_t size, size_t alignment) {
    counter *c = user;
    void *memory = NULL;
    if (++c->calls == c->fail_at)
        return NULL;
    if (size > c->largest)
        c->largest = size;
    if (posix_memalign(&memory, alignment, size))
        return NULL;
    c->live++;
    return memory;
}

static inline void counted_release(void *user, void *memory) {
    counter *c = user;
    c->live--;
    free(memory);
}

static inline mfrgn_context *counted_context(counter *c) {
    mfrgn_context *context;
    mfrgn_allocator allocator = {sizeof(allocator), c, counted_allocate, counted_release};
    memset(c, 0, sizeof(*c));
    ck_assert_int_eq(mfrgn_context_create(&allocator, &context), MFRGN_OK);
    return context;
}

static inline mfrgn_context *plain_context(void) {
    mfrgn_context *context;
    ck_assert_int_eq(mfrgn_context_create(NULL, &context), MFRGN_OK);
    return context;
}

#define ck_assert_says(context, text)                                                                                  \
    ck_assert_msg(strstr(mfrgn_context_last_error(context), text) != NULL, "says: %s",                                 \
                  mfrgn_context_last_error(context))

/* ---- files ---- */

typedef struct blob {
    unsigned char *data;
    size_t size;
} blob;

static inline blob read_blob(const char *path) {
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s cannot be opened", path);
    fseek(f, 0, SEEK_END);
    blob b = {NULL, (size_t)ftell(f)};
    rewind(f);
    b.data = malloc(b.size + 1);
    ck_assert_uint_eq(fread(b.data, 1, b.size, f), b.size);
    fclose(f);
    return b;
}

static inline char *scratch_folder(void) {
    const char *base = getenv("TMPDIR");
    char *folder = malloc(256);
    snprintf(folder, 256, "%.200s/mfrgn-XXXXXX", base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    return folder;
}

/* Removes the folder; returns how many files it held. */
static inline int remove_folder(char *folder) {
    int files = 0;
    char path[1024];
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        unlink(path);
        files++;
    }
    closedir(d);
    rmdir(folder);
    free(folder);
    return files;
}

/* ---- tensors to save: one of every type, and odd shapes ---- */

enum { SAMPLES = MF_DTYPE_COUNT + 3 };

typedef struct samples {
    mf_weight tensor[SAMPLES];
    char name[SAMPLES][40];
    unsigned char value[SAMPLES][256];
    mf_weights_out out;
} samples;

static inline mfrgn_status sample_source(void *user, size_t index, void *data) {
    samples *s = user;
    memcpy(data, s->value[index], s->tensor[index].bytes);
    return MFRGN_OK;
}

static inline samples *make_samples(void) {
    static const mf_metadata metadata[] = {{"format", "pt"}, {"odd \"key\"\n\t\\", "Zürich \xf0\x9f\x97\xba \x01"}};
    samples *s = calloc(1, sizeof(*s));
    for (int i = 0; i < SAMPLES; i++) {
        mf_weight *t = &s->tensor[i];
        t->dtype = i < MF_DTYPE_COUNT ? (mf_dtype)i : MF_F32;
        t->ndim = i < MF_DTYPE_COUNT ? 2 : i == MF_DTYPE_COUNT ? 0 : i == MF_DTYPE_COUNT + 1 ? 3 : 8;
        static const int64_t shape[8] = {2, 3, 1, 1, 1, 2, 1, 1};
        for (int d = 0; d < t->ndim; d++)
            t->dim[d] = i == MF_DTYPE_COUNT + 1 && d == 1 ? 0 : shape[d];
        ck_assert(mf_weight_bytes(t->dtype, t->ndim, t->dim, &t->bytes));
        /* Not in the order of names: the reader sorts. */
        snprintf(s->name[i], sizeof(s->name[i]), "layer.%d.w\"\xc3\xa4\\%d", (i * 7) % SAMPLES, i);
        t->name = s->name[i];
        for (size_t b = 0; b < t->bytes; b++)
            s->value[i][b] = t->dtype == MF_BOOL ? b % 2 : (unsigned char)(b * 37 + (size_t)i * 11 + 1);
    }
    s->out = (mf_weights_out){s->tensor, SAMPLES, metadata, MF_COUNT(metadata), sample_source, s, NULL};
    return s;
}

static inline void check_samples(const samples *s, const mf_weights *w) {
    ck_assert_uint_eq(w->count, SAMPLES);
    for (int i = 0; i < SAMPLES; i++) {
        const mf_weight *t = mf_weights_find(w, s->name[i]);
        ck_assert_msg(t != NULL, "%s is lost", s->name[i]);
        ck_assert_int_eq(t->dtype, s->tensor[i].dtype);
        ck_assert_int_eq(t->ndim, s->tensor[i].ndim);
        ck_assert_mem_eq(t->dim, s->tensor[i].dim, sizeof(t->dim));
        ck_assert_uint_eq(t->bytes, s->tensor[i].bytes);
        if (t->bytes)
            ck_assert_mem_eq(t->data, s->value[i], t->bytes);
    }
}

/* Saves the samples and returns the file's bytes. */
static inline blob saved_blob(mfrgn_context *context, int pth) {
    samples *s = make_samples();
    char *folder = scratch_folder(), path[300];
    snprintf(path, sizeof(path), "%s/w", folder);
    ck_assert_int_eq((pth ? mf_pth_save : mf_safetensors_save)(context, path, &s->out), MFRGN_OK);
    blob b = read_blob(path);
    ck_assert_int_eq(remove_folder(folder), 1);
    free(s);
    return b;
}

/* Loads from a block of exactly `size` bytes, so that a sanitizer sees the first byte read past it, and reads every
 * byte of every tensor. */
static inline mfrgn_status load_blob(mfrgn_context *context, const void *data, size_t size) {
    mf_weights *w = NULL;
    unsigned char *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    mfrgn_status status = mf_weights_load_memory(context, "memory", copy, size, &w);
    volatile unsigned sum = 0;
    for (size_t i = 0; w && i < w->count; i++)
        for (size_t b = 0; b < w->tensor[i].bytes; b++)
            sum += ((const unsigned char *)w->tensor[i].data)[b];
    (void)sum;
    mf_weights_free(w);
    free(copy);
    return status;
}

#endif
