#include "area.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64, GUARD_BYTE = 0xA5 };

void *area_host(size_t bytes) {
    void *p;
    if (posix_memalign(&p, MF_ALIGN, bytes ? bytes : 1)) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    return p;
}

char *area_new(const area_owner *o, size_t bytes, int value) {
    char *image = area_host(bytes + 2 * GUARD);
    memset(image, GUARD_BYTE, GUARD);
    memset(image + GUARD, value, bytes);
    memset(image + GUARD + bytes, GUARD_BYTE, GUARD);
    if (!o->table->memory_alloc)
        return image + GUARD;
    void *memory = NULL;
    mf_status status = o->table->memory_alloc(o->stream, bytes + 2 * GUARD, &memory);
    if (!status)
        status = o->table->memory_put(o->stream, memory, image, bytes + 2 * GUARD);
    free(image);
    if (!status)
        return (char *)memory + GUARD;
    o->table->memory_free(o->device, o->stream, memory);
    return NULL;
}

void area_free(const area_owner *o, char *p) {
    if (p && o->table->memory_alloc)
        o->table->memory_free(o->device, o->stream, p - GUARD);
    else if (p)
        free(p - GUARD);
}

mf_status area_put(const area_owner *o, char *to, const void *from, size_t bytes) {
    if (o->table->memory_put)
        return o->table->memory_put(o->stream, to, from, bytes);
    memcpy(to, from, bytes);
    return 0;
}

mf_status area_get(const area_owner *o, void *to, const char *from, size_t bytes) {
    if (o->table->memory_get)
        return o->table->memory_get(o->stream, to, from, bytes);
    memcpy(to, from, bytes);
    return 0;
}

int area_intact(const area_owner *o, const char *p, size_t bytes) {
    unsigned char before[GUARD], after[GUARD];
    if (area_get(o, before, p - GUARD, GUARD) || area_get(o, after, p + bytes, GUARD))
        return 0;
    for (int i = 0; i < GUARD; i++)
        if (before[i] != GUARD_BYTE || after[i] != GUARD_BYTE)
            return 0;
    return 1;
}
