#include <limits.h>
#include <string.h>

#include "base/base.h"

static int read_digits(const char *text, const char **end, long *value) {
    long n = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (n > (LONG_MAX - 9) / 10)
            return 0;
        n = n * 10 + (*c - '0');
    }
    *end = c;
    *value = n;
    return c != text;
}

int mf_read_int(const char *text, long *value) {
    const char *end;
    int negative = *text == '-';
    long n;
    if (!read_digits(text + negative, &end, &n) || *end)
        return 0;
    *value = negative ? -n : n;
    return 1;
}

int mf_read_size(const char *text, const char **end, long *height, long *width) {
    return read_digits(text, &text, height) && (*text == 'x' || *text == 'X') && read_digits(text + 1, end, width);
}

uint64_t mf_hash(const void *data, size_t bytes, uint64_t seed) {
    const unsigned char *c = data;
    uint64_t h = seed ? seed : 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ c[i]) * 0x100000001b3u;
    return h;
}
