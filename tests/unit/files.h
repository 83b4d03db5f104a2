/* Files made by tests, in a folder of their own that goes away with them. */
#ifndef MFRGN_TESTS_FILES_H
#define MFRGN_TESTS_FILES_H

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

static char test_folder[64];

static inline void folder_make(void) {
    snprintf(test_folder, sizeof(test_folder), "%s/mfrgn-test-XXXXXX", mf_scratch());
    ck_assert_ptr_nonnull(mkdtemp(test_folder));
}

static inline int folder_remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk) {
    (void)info, (void)flag, (void)walk;
    return remove(path);
}

static inline void folder_remove(void) {
    nftw(test_folder, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path in the folder; the last 8 are kept. */
static inline const char *in_folder(const char *format, ...) {
    static char texts[8][512];
    static int next;
    char *text = texts[next = (next + 1) % 8];
    int length = snprintf(text, sizeof(texts[0]), "%s/", test_folder);
    va_list args;
    va_start(args, format);
    vsnprintf(text + length, sizeof(texts[0]) - (size_t)length, format, args);
    va_end(args);
    return text;
}

/* Writes a file and the folders above it. */
static inline const char *file_write(const char *name, const void *data, size_t size) {
    const char *path = in_folder("%s", name);
    char above[512];
    snprintf(above, sizeof(above), "%s", path);
    for (char *slash = strchr(above + strlen(test_folder) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(above, 0777);
        *slash = '/';
    }
    FILE *file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "%s", path);
    ck_assert_uint_eq(fwrite(data, 1, size, file), size);
    fclose(file);
    return path;
}

static inline const char *file_text(const char *name, const char *text) {
    return file_write(name, text, strlen(text));
}

/* The bytes of a PPM: a pixel at column x, row y is (x, y, third). */
static inline size_t ppm_make(unsigned char *out, size_t room, int width, int height, int third) {
    size_t at = (size_t)snprintf((char *)out, room, "P6\n%d %d\n255\n", width, height);
    ck_assert_uint_le(at + (size_t)width * (size_t)height * 3, room);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            out[at++] = (unsigned char)x;
            out[at++] = (unsigned char)y;
            out[at++] = (unsigned char)third;
        }
    return at;
}

static inline const char *file_picture(const char *name, int width, int height, int third) {
    static unsigned char data[256 * 256 * 3 + 32];
    return file_write(name, data, ppm_make(data, sizeof(data), width, height, third));
}

#endif
