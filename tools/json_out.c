/* SPDX-License-Identifier: Apache-2.0 */
#include "json_out.h"

#include <math.h>
#include <string.h>

void json_begin(json_out *json, FILE *file) {
    memset(json, 0, sizeof *json);
    json->file = file;
    json->array[0] = 1;
}

void json_end(json_out *json) {
    fputc('\n', json->file);
}

/* Length of the UTF-8 sequence at `text` (RFC 3629), 0 if it is none. */
static int utf8_length(const unsigned char *text) {
    unsigned c = text[0];
    int length = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    for (int i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && text[1] < 0xa0) || (c == 0xed && text[1] > 0x9f) || (c == 0xf0 && text[1] < 0x90) ||
        (c == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

static void write_string(FILE *file, const char *value) {
    fputc('"', file);
    for (const unsigned char *text = (const unsigned char *)value; *text;) {
        int length = utf8_length(text);
        if (length == 0) {
            fputs("\\ufffd", file); /* not UTF-8: the replacement character */
            text++;
            continue;
        }
        if (length > 1)
            fwrite(text, 1, (size_t)length, file);
        else if (*text == '"' || *text == '\\')
            fprintf(file, "\\%c", *text);
        else if (*text == '\n')
            fputs("\\n", file);
        else if (*text == '\t')
            fputs("\\t", file);
        else if (*text < 0x20 || *text == 0x7f)
            fprintf(file, "\\u%04x", *text);
        else
            fputc(*text, file);
        text += length;
    }
    fputc('"', file);
}

static void indent(json_out *json) {
    fputc('\n', json->file);
    for (int i = 0; i < json->depth; i++)
        fputs("  ", json->file);
}

static void member(json_out *json, const char *key) {
    if (json->count[json->depth]++)
        fputc(',', json->file);
    if (json->depth)
        indent(json);
    if (key) {
        write_string(json->file, key);
        fputs(": ", json->file);
    }
}

static void begin(json_out *json, const char *key, int array) {
    member(json, key);
    fputc(array ? '[' : '{', json->file);
    if (json->depth + 1 < JSON_DEPTH)
        json->depth++;
    json->count[json->depth] = 0;
    json->array[json->depth] = array;
}

void json_object(json_out *json, const char *key) {
    begin(json, key, 0);
}

void json_array(json_out *json, const char *key) {
    begin(json, key, 1);
}

void json_close(json_out *json) {
    int array = json->array[json->depth], any = json->count[json->depth];
    json->depth--;
    if (any)
        indent(json);
    fputc(array ? ']' : '}', json->file);
}

void json_string(json_out *json, const char *key, const char *value) {
    member(json, key);
    if (value)
        write_string(json->file, value);
    else
        fputs("null", json->file);
}

void json_integer(json_out *json, const char *key, unsigned long long value) {
    member(json, key);
    fprintf(json->file, "%llu", value);
}

static void write_number(FILE *file, double value, int digits) {
    char text[40];
    if (!isfinite(value)) {
        fputs("null", file);
        return;
    }
    snprintf(text, sizeof text, "%.*g", digits, value);
    for (char *c = text; *c; c++) /* the locale's decimal sign */
        if (!strchr("0123456789+-eE.", *c))
            *c = '.';
    fputs(text, file);
}

void json_number(json_out *json, const char *key, double value, int digits) {
    member(json, key);
    write_number(json->file, value, digits);
}

void json_bool(json_out *json, const char *key, int value) {
    member(json, key);
    fputs(value ? "true" : "false", json->file);
}

void json_floats(json_out *json, const char *key, const float *values, size_t count) {
    member(json, key);
    fputc('[', json->file);
    for (size_t i = 0; i < count; i++) {
        if (i)
            fputs(", ", json->file);
        write_number(json->file, (double)values[i], 9);
    }
    fputc(']', json->file);
}
