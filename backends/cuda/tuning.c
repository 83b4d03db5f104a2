/* See tuning.h. */
#include "backends/cuda/tuning.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WARNING = 1, LINE = MFC_TUNING_KEY + 18 * (MFC_TUNING_WORDS + 1) };

static const char head[] = "# mfrgn: algorithms of cuBLASLt, measured. May be deleted.\n";

typedef struct entry {
    char key[MFC_TUNING_KEY];
    uint64_t word[MFC_TUNING_WORDS];
} entry;

struct mfc_tuning {
    const mf_host *host;
    char *path;
    entry *item;
    size_t count, room;
};

/* ---- lines ---- */

static uint64_t checksum(const char *text) { /* FNV-1a */
    uint64_t h = 0xcbf29ce484222325u;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h;
}

static void format_line(const entry *e, char line[LINE]) {
    char body[LINE];
    size_t used = (size_t)snprintf(body, sizeof(body), "%s", e->key);
    for (int i = 0; i < MFC_TUNING_WORDS; i++)
        used += (size_t)snprintf(body + used, sizeof(body) - used, "\t%016llx", (unsigned long long)e->word[i]);
    snprintf(line, LINE, "%016llx\t%.*s", (unsigned long long)checksum(body), LINE - 18, body);
}

/* Exactly 16 digits; NULL: they are none. */
static const char *read_word(const char *at, uint64_t *word) {
    char digits[17];
    if (strspn(at, "0123456789abcdef") != 16)
        return NULL;
    memcpy(digits, at, 16);
    digits[16] = 0;
    *word = strtoull(digits, NULL, 16);
    return at + 16;
}

static int parse_line(const char *line, entry *e) {
    uint64_t sum;
    const char *body = read_word(line, &sum), *at;
    if (!body || *body++ != '\t' || sum != checksum(body))
        return 0;
    size_t length = strcspn(body, "\t");
    if (!length || length >= MFC_TUNING_KEY)
        return 0;
    memcpy(e->key, body, length);
    e->key[length] = 0;
    at = body + length;
    for (int i = 0; i < MFC_TUNING_WORDS; i++)
        if (*at++ != '\t' || !(at = read_word(at, &e->word[i])))
            return 0;
    return *at == 0;
}

/* ---- entries ---- */

static entry *lookup(const mfc_tuning *t, const char *key) {
    for (size_t i = 0; i < t->count; i++)
        if (!strcmp(t->item[i].key, key))
            return &t->item[i];
    return NULL;
}

static int put(mfc_tuning *t, const entry *e) {
    entry *there = lookup(t, e->key);
    if (there) {
        *there = *e;
        return 0;
    }
    if (t->count == t->room) {
        size_t room = t->room ? 2 * t->room : 64;
        entry *more = t->host->alloc(t->host->context, room * sizeof(*more));
        if (!more)
            return -1;
        if (t->count)
            memcpy(more, t->item, t->count * sizeof(*more));
        t->host->free(t->host->context, t->item);
        t->item = more;
        t->room = room;
    }
    t->item[t->count++] = *e;
    return 0;
}

/* What the file has; entries that are known stay as they are. */
static int read_file(mfc_tuning *t) {
    char line[LINE + 2];
    int number = 0, status = 0;
    FILE *f = fopen(t->path, "r");
    if (!f) {
        if (errno != ENOENT)
            t->host->log(t->host->context, WARNING, "%s: not read: %s", t->path, strerror(errno));
        return 0;
    }
    while (!status && fgets(line, sizeof(line), f)) {
        entry e;
        size_t length = strlen(line);
        number++;
        if (length && line[length - 1] == '\n') {
            line[length - 1] = 0;
        } else { /* too long, or cut off: what is left of it is no line */
            for (int c = 0; c != EOF && c != '\n';)
                c = fgetc(f);
            line[0] = '?';
        }
        if (line[0] == '#' || !line[0])
            continue;
        if (!parse_line(line, &e))
            t->host->log(t->host->context, WARNING, "%s: line %d is damaged and passed over", t->path, number);
        else if (!lookup(t, e.key))
            status = put(t, &e);
    }
    fclose(f);
    return status;
}

/* ---- writing ---- */

static int write_all(const mfc_tuning *t, const char *name, int fd) {
    char line[LINE];
    FILE *f = fdopen(fd, "w");
    if (!f) {
        close(fd);
        return -1;
    }
    int bad = fputs(head, f) < 0;
    for (size_t i = 0; i < t->count && !bad; i++) {
        format_line(&t->item[i], line);
        bad = fprintf(f, "%s\n", line) < 0;
    }
    bad |= fclose(f) != 0;
    return bad || rename(name, t->path) ? -1 : 0;
}

static void write_file(mfc_tuning *t) {
    const mf_host *host = t->host;
    size_t length = strlen(t->path);
    char *name = host->alloc(host->context, length + 8);
    if (!name)
        return;
    memcpy(name, t->path, length);
    memcpy(name + length, ".XXXXXX", 8);
    int fd = mkstemp(name), bad = fd < 0 || write_all(t, name, fd);
    if (bad) {
        host->log(host->context, WARNING, "%s: not written: %s", t->path, strerror(errno));
        if (fd >= 0)
            unlink(name);
    }
    host->free(host->context, name);
}

/* ---- the interface ---- */

mfc_tuning *mfc_tuning_open(const mf_host *host, const char *path) {
    mfc_tuning *t = host->alloc(host->context, sizeof(*t));
    if (!t)
        return NULL;
    *t = (mfc_tuning){.host = host};
    t->path = host->alloc(host->context, strlen(path) + 1);
    if (t->path)
        memcpy(t->path, path, strlen(path) + 1);
    if (!t->path || read_file(t)) {
        mfc_tuning_free(t);
        return NULL;
    }
    return t;
}

void mfc_tuning_free(mfc_tuning *t) {
    if (!t)
        return;
    const mf_host *host = t->host;
    host->free(host->context, t->item);
    host->free(host->context, t->path);
    host->free(host->context, t);
}

int mfc_tuning_find(const mfc_tuning *t, const char *key, uint64_t word[MFC_TUNING_WORDS]) {
    const entry *e = lookup(t, key);
    if (e)
        memcpy(word, e->word, sizeof(e->word));
    return e != NULL;
}

int mfc_tuning_note(mfc_tuning *t, const char *key, const uint64_t word[MFC_TUNING_WORDS]) {
    entry e = {.key = ""};
    size_t length = strlen(key);
    if (!length || length >= sizeof(e.key) || strpbrk(key, "\t\n"))
        return 0;
    memcpy(e.key, key, length + 1);
    memcpy(e.word, word, sizeof(e.word));
    if (put(t, &e) || read_file(t)) /* what others have written meanwhile is kept */
        return -1;
    write_file(t);
    return 0;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int mfc_tuning_fastest(float *times, int candidates, int runs) {
    int best = -1;
    float least = 0;
    for (int i = 0; i < candidates; i++, times += runs) {
        int failed = runs < 1;
        for (int r = 0; r < runs; r++)
            failed |= !(times[r] >= 0);
        if (failed)
            continue;
        qsort(times, (size_t)runs, sizeof(*times), by_value);
        float median = (times[(runs - 1) / 2] + times[runs / 2]) / 2;
        if (best < 0 || median < 0.99f * least) {
            best = i;
            least = median;
        }
    }
    return best;
}
