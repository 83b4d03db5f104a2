/* SPDX-License-Identifier: Apache-2.0 */
/* The simplest way to match views, to compare with: colour histograms.
 *
 *     histogram PAIRS.csv SPLIT OUT
 *
 * Reads the rows of a pairs file (columns ground, aerial, split) whose split is SPLIT, and writes OUT-ground.npy and
 * OUT-aerial.npy, a row a picture, and OUT-labels.csv, for
 *
 *     mfrgn eval --descriptors OUT-ground.npy OUT-aerial.npy --labels OUT-labels.csv
 *
 * A row holds the square roots of the shares of 8 x 8 x 8 colours, of the lower half of a ground picture (the upper one
 * is sky): the inner product of two rows is the Bhattacharyya coefficient of their histograms. */
#include <math.h>
#include <mfrgn/mfrgn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS = 8, SIZE = LEVELS * LEVELS * LEVELS, LINE = 4096, MOST = 1 << 20 };

static mfrgn_context *context;

static int histogram(const char *path, int lower_half, float *row) {
    mfrgn_bitmap *bitmap;
    mfrgn_image image = {.struct_size = sizeof image};
    if (mfrgn_bitmap_load(context, path, &bitmap) != MFRGN_OK || mfrgn_bitmap_image(bitmap, &image) != MFRGN_OK) {
        fprintf(stderr, "%s\n", mfrgn_context_last_error(context));
        return 0;
    }
    const unsigned char *pixels = mfrgn_bitmap_pixels(bitmap);
    int first = lower_half ? image.height / 2 : 0;
    float share = 1.0f / ((float)image.width * (float)(image.height - first));
    memset(row, 0, SIZE * sizeof *row);
    for (int i = first * image.width; i < image.height * image.width; i++) {
        const unsigned char *p = pixels + 3 * (size_t)i;
        row[(p[0] / 32 * LEVELS + p[1] / 32) * LEVELS + p[2] / 32] += share;
    }
    for (int i = 0; i < SIZE; i++)
        row[i] = sqrtf(row[i]);
    mfrgn_bitmap_free(bitmap);
    return 1;
}

/* Column `index` of a line without quotes, into `out`. */
static int column(const char *line, int index, char *out) {
    while (index-- > 0) {
        line = strchr(line, ',');
        if (!line++)
            return 0;
    }
    size_t length = strcspn(line, ",\r\n");
    memcpy(out, line, length);
    out[length] = 0;
    return 1;
}

static int find_column(const char *header, const char *name) {
    char text[LINE];
    for (int i = 0; column(header, i, text); i++)
        if (!strcmp(text, name))
            return i;
    return -1;
}

/* Little-endian machines only, as all that the library is built for. */
static int write_npy(const char *path, const float *rows, size_t count) {
    char header[128];
    FILE *file = fopen(path, "wb");
    int length = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %d), }",
                          count, (int)SIZE);
    if (!file)
        return 0;
    fprintf(file, "\x93NUMPY%c%c%c%c", 1, 0, 118, 0);
    fprintf(file, "%s%*s\n", header, 117 - length, "");
    int good = fwrite(rows, sizeof *rows * SIZE, count, file) == count;
    return fclose(file) == 0 && good;
}

static int run(const char *pairs, const char *split, const char *out) {
    static const char *const names[3] = {"ground", "aerial", "split"};
    char line[LINE], text[LINE], path[2 * LINE];
    float *rows[2] = {malloc((size_t)SIZE * sizeof(float)), malloc((size_t)SIZE * sizeof(float))};
    int index[3];
    size_t count = 0;
    const char *slash = strrchr(pairs, '/');
    FILE *file = fopen(pairs, "r");
    if (!file || !fgets(line, sizeof line, file)) {
        fprintf(stderr, "%s: cannot be read\n", pairs);
        return 1;
    }
    for (int i = 0; i < 3; i++)
        if ((index[i] = find_column(line, names[i])) < 0) {
            fprintf(stderr, "%s: no column \"%s\"\n", pairs, names[i]);
            return 1;
        }
    while (fgets(line, sizeof line, file) && count < MOST) {
        if (!column(line, index[2], text) || strcmp(text, split) != 0)
            continue;
        for (int view = 0; view < 2; view++) {
            float *more = realloc(rows[view], (count + 1) * SIZE * sizeof(float));
            column(line, index[view], text);
            snprintf(path, sizeof path, "%.*s%s", slash ? (int)(slash - pairs) + 1 : 0, pairs, text);
            if (!more || !histogram(path, view == 0, (rows[view] = more) + count * SIZE))
                return 1;
        }
        count++;
    }
    fclose(file);
    for (int view = 0; view < 2; view++) {
        snprintf(path, sizeof path, "%s-%s.npy", out, names[view]);
        if (!write_npy(path, rows[view], count)) {
            fprintf(stderr, "%s: cannot be written\n", path);
            return 1;
        }
        free(rows[view]);
    }
    snprintf(path, sizeof path, "%s-labels.csv", out);
    FILE *labels = fopen(path, "w");
    for (size_t i = 0; labels && i < count; i++)
        fprintf(labels, "%zu\n", i);
    if (!labels || fclose(labels) != 0) {
        fprintf(stderr, "%s: cannot be written\n", path);
        return 1;
    }
    printf("%zu pairs\n", count);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: histogram PAIRS.csv SPLIT OUT\n");
        return 2;
    }
    if (mfrgn_context_create(NULL, &context) != MFRGN_OK)
        return 1;
    int code = run(argv[1], argv[2], argv[3]);
    mfrgn_context_free(context);
    return code;
}
