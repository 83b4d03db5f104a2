/* SPDX-License-Identifier: Apache-2.0 */
/* Speed of searching a gallery, driven by search_faiss.py line by line, so that the two alternate in one run.
 *
 *   bench_search ROWS.npy QUERIES.npy STORAGE BACKEND THREADS
 *
 * builds a gallery in memory's file system ($TMPDIR), then reads from stdin:
 *   search N K   one search of the first N queries; prints the milliseconds
 *   answer N K   prints the tiles of the K best of each
 *   machine      prints GFLOP/s of the FMA peak and GB/s of reading, with these threads */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../tools/common.h"
#include "../../tools/machine.h"
#include "gallery/index.h"

double tool_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

typedef struct matrix {
    mf_file file;
    const float *values;
    size_t rows, columns;
} matrix;

static int read_npy(mfrgn_context *context, const char *path, matrix *m) {
    if (mf_file_map(context, path, &m->file) != MFRGN_OK || m->file.size < 128)
        return 0;
    size_t header = 10 + (size_t)m->file.data[8] + 256 * (size_t)m->file.data[9];
    char text[256];
    snprintf(text, sizeof(text), "%.*s", 245, (const char *)m->file.data + 10);
    const char *shape = strstr(text, "'shape': (");
    if (!shape || sscanf(shape, "'shape': (%zu, %zu)", &m->rows, &m->columns) != 2 || !strstr(text, "'<f4'"))
        return 0;
    m->values = (const float *)(const void *)(m->file.data + header);
    return m->file.size == header + m->rows * m->columns * 4;
}

static mfrgn_index_storage storage;

static mfrgn_status give_tile(void *user, size_t i, mfrgn_tile *tile) {
    static char name[32];
    (void)user;
    snprintf(name, sizeof(name), "%08zu", i);
    tile->id = strdup(name); /* a benchmark's leak: ids are compared while the gallery is written */
    return MFRGN_OK;
}

static mfrgn_status give_row(void *user, size_t i, void *codes, mf_row *row) {
    const matrix *m = user;
    mf_row_make(m->values + i * m->columns, m->columns, storage, codes, row);
    return MFRGN_OK;
}

static mfrgn_index *make_index(mfrgn_context *context, matrix *m) {
    char path[256];
    const char *folder = getenv("TMPDIR");
    mfrgn_index *index = NULL;
    snprintf(path, sizeof(path), "%s/bench-search-%d.mfi", folder ? folder : "/tmp", (int)getpid());
    mf_part part = {m->rows, m, give_tile, give_row};
    mf_assembly what = {.storage = storage, .size = (uint32_t)m->columns, .model_name = "", .preparation_name = "",
                        .processing = "", .part = &part, .parts = 1};
    if (mf_assemble(context, path, &what) == MFRGN_OK)
        (void)mfrgn_index_open(context, path, &index);
    unlink(path); /* it lives while it is mapped */
    return index;
}

static void answer(const mfrgn_hit *hits, size_t n, size_t k) {
    for (size_t i = 0; i < n * k; i++)
        printf("%zd%c", (ptrdiff_t)hits[i].tile, (i + 1) % k ? ' ' : '\n');
}

static int serve(mfrgn_searcher *searcher, const mfrgn_index *index, const matrix *queries, int threads) {
    char line[128], word[16];
    mfrgn_hit *hits = malloc(queries->rows * 1024 * sizeof(*hits));
    while (hits && fgets(line, sizeof(line), stdin)) {
        size_t n = 0, k = 0;
        const char *how;
        if (sscanf(line, "%15s %zu %zu", word, &n, &k) >= 1 && strcmp(word, "machine") == 0) {
            printf("%.1f %.2f\n", machine_fma_peak(threads, &how) / 1e9, machine_read_bandwidth(threads) / 1e9);
        } else if (n <= queries->rows && n && k) {
            double start = tool_seconds();
            if (mfrgn_index_search(index, searcher, queries->values, n, k, NULL, hits) != MFRGN_OK)
                return 1;
            double end = tool_seconds();
            if (strcmp(word, "answer") == 0)
                answer(hits, n, k);
            else
                printf("%.3f\n", 1e3 * (end - start));
        }
        fflush(stdout);
    }
    free(hits);
    return 0;
}

int main(int argc, char **argv) {
    mfrgn_context *context;
    mfrgn_options *options = NULL;
    mfrgn_searcher *searcher = NULL;
    matrix rows, queries;
    mfrgn_index *index = NULL;
    if (argc != 6 || mfrgn_context_create(NULL, &context) != MFRGN_OK)
        return 2;
    while (storage < MFRGN_INDEX_I8 && strcmp(mf_storage_name(storage), argv[3]) != 0)
        storage++;
    int code = 1;
    if (read_npy(context, argv[1], &rows) && read_npy(context, argv[2], &queries) &&
        mfrgn_options_create(context, &options) == MFRGN_OK &&
        mfrgn_options_set(options, MFRGN_OPTION_BACKEND, argv[4]) == MFRGN_OK &&
        mfrgn_options_set(options, MFRGN_OPTION_THREADS, argv[5]) == MFRGN_OK &&
        mfrgn_searcher_create(context, options, &searcher) == MFRGN_OK && (index = make_index(context, &rows)))
        code = serve(searcher, index, &queries, atoi(argv[5]));
    if (code)
        fprintf(stderr, "bench_search: %s\n", mfrgn_context_last_error(context));
    mfrgn_index_free(index);
    mfrgn_searcher_free(searcher);
    mfrgn_options_free(options);
    mfrgn_context_free(context);
    return code;
}
