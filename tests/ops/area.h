/* Memory between guards, where a backend wants its operands: in its own memory, or in the host's. */
#ifndef MFRGN_TESTS_AREA_H
#define MFRGN_TESTS_AREA_H

#include "ops.h"

/* Where memory is taken from. */
typedef struct area_owner {
    const mf_backend *table;
    mf_device *device;
    mf_stream *stream;
} area_owner;

/* `bytes` between two guards, filled with `value`; NULL: the backend refuses. */
char *area_new(const area_owner *o, size_t bytes, int value);
void area_free(const area_owner *o, char *p); /* NULL: nothing */
/* Copies from and to the host; put and get give the backend's status. */
mf_status area_put(const area_owner *o, char *to, const void *from, size_t bytes);
mf_status area_get(const area_owner *o, void *to, const char *from, size_t bytes);
/* 1: the guards are what they were */
int area_intact(const area_owner *o, const char *p, size_t bytes);

void *area_host(size_t bytes); /* memory of the host, aligned; ends the program if there is none */

#endif
