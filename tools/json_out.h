/* SPDX-License-Identifier: Apache-2.0 */
/* Writes JSON: commas, indentation, escapes; numbers the same in every locale; NaN and infinity as null. */
#ifndef MFRGN_TOOLS_JSON_OUT_H
#define MFRGN_TOOLS_JSON_OUT_H

#include <stddef.h>
#include <stdio.h>

enum { JSON_DEPTH = 16 };

typedef struct json_out {
    FILE *file;
    int depth;
    int count[JSON_DEPTH]; /* members written so far, at each depth */
    int array[JSON_DEPTH]; /* 1: an array */
} json_out;

void json_begin(json_out *json, FILE *file);
void json_end(json_out *json); /* a line end */

/* `key` is NULL inside arrays and at the top. */
void json_object(json_out *json, const char *key);
void json_array(json_out *json, const char *key);
void json_close(json_out *json); /* the innermost object or array */

void json_string(json_out *json, const char *key, const char *value); /* NULL: null */
void json_integer(json_out *json, const char *key, unsigned long long value);
void json_number(json_out *json, const char *key, double value, int digits); /* significant digits */
void json_bool(json_out *json, const char *key, int value);
void json_floats(json_out *json, const char *key, const float *values, size_t count); /* on one line, exact */

#endif
