/* Feeds a fuzz target with mutations of the files in a folder: smoke COUNT FOLDER.  The same mutations in every run. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEEDS_MAX = 64 };

static uint64_t state = 0x9e3779b97f4a7c15u;

/* xorshift64* */
static uint64_t next(uint64_t below) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545f4914f6cdd1du >> 11) % below;
}

typedef struct seed {
    char name[256];
    uint8_t *data;
    size_t size;
} seed;

static int by_name(const void *a, const void *b) {
    return strcmp(((const seed *)a)->name, ((const seed *)b)->name);
}

static int read_seed(const char *folder, const char *name, seed *s) {
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        return 0;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->data = malloc((size_t)size + 1);
    s->size = fread(s->data, 1, (size_t)size, f);
    fclose(f);
    return 1;
}

static size_t read_seeds(const char *folder, seed *seeds) {
    size_t count = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && count < SEEDS_MAX && read_seed(folder, e->d_name, &seeds[count]))
            count++;
    if (d)
        closedir(d);
    qsort(seeds, count, sizeof(*seeds), by_name); /* the order of a folder is any */
    return count;
}

static void mutate(uint8_t *data, size_t *size, size_t room) {
    static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '}', '[', ']', '(', '.', 'R', 'c', 'q', 't'};
    size_t n = *size, at, length;
    if (!n)
        return;
    at = next(n);
    length = 1 + next(n - at < 16 ? n - at : 16);
    switch (next(6)) {
    case 0:
        data[at] ^= (uint8_t)(1u << next(8));
        break;
    case 1:
        data[at] = odd[next(sizeof(odd))];
        break;
    case 2:
        *size = at;
        break;
    case 3: /* a piece is lost */
        memmove(data + at, data + at + length, n - at - length);
        *size = n - length;
        break;
    case 4: /* a piece comes twice */
        if (n + length <= room) {
            memmove(data + at + length, data + at, n - at);
            *size = n + length;
        }
        break;
    default: /* a piece goes elsewhere */
        memmove(data + next(n - length + 1), data + at, length);
    }
}

int main(int argc, char **argv) {
    static seed seeds[SEEDS_MAX];
    long runs = argc == 3 ? strtol(argv[1], NULL, 10) : 0;
    size_t count = argc == 3 ? read_seeds(argv[2], seeds) : 0;
    if (!count || runs < 1) {
        fprintf(stderr, "usage: %s COUNT FOLDER-WITH-SEEDS\n", argv[0]);
        return 1;
    }
    for (long run = 0; run < runs; run++) {
        const seed *s = &seeds[(size_t)run % count];
        size_t size = s->size, room = size + 256;
        uint8_t *scratch = malloc(room), *data;
        memcpy(scratch, s->data, size);
        for (uint64_t i = (size_t)run < count ? 0 : 1 + next(8); i > 0; i--)
            mutate(scratch, &size, room);
        data = malloc(size ? size : 1); /* exactly as large: a sanitizer sees the first byte past it */
        memcpy(data, scratch, size);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
        free(scratch);
    }
    printf("%ld inputs from %zu seeds\n", runs, count);
    for (size_t i = 0; i < count; i++)
        free(seeds[i].data);
    return 0;
}
