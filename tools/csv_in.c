/* SPDX-License-Identifier: Apache-2.0 */
#include "csv_in.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common.h"

static char *read_all(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t room = 0;
    *size = 0;
    while (file && !ferror(file) && !feof(file)) {
        char *more = realloc(text, (room = *size + (1 << 16)) + 1);
        if (!more)
            break;
        text = more;
        *size += fread(text + *size, 1, room - *size, file);
    }
    if (!file || ferror(file) || !feof(file)) {
        tool_error("%s: %s", path, strerror(errno));
        free(text);
        text = NULL;
    }
    if (file)
        fclose(file);
    if (text)
        text[*size] = 0;
    return text;
}

/* Splits a record in place; returns what follows it, or NULL after a message. */
static char *split(csv_in *csv, char *at, size_t *line) {
    size_t fields = 0, first = *line;
    char **list = NULL;
    for (int more = 1; more;) {
        char *to = at, *begin = at, **grown = realloc(list, (fields + 2) * sizeof *list);
        int quoted = *at == '"';
        if (!grown) {
            tool_error("not enough memory");
            free(list);
            return NULL;
        }
        list = grown;
        for (at += quoted; *at && (quoted || (*at != ',' && *at != '\n')); at++) {
            if (quoted && *at == '"' && *++at != '"') {
                quoted = 0;
                at--;
                continue;
            }
            *line += *at == '\n';
            *to++ = *at;
        }
        if (quoted) {
            tool_error("%s, line %zu: a quote is opened and not closed", csv->path, first);
            free(list);
            return NULL;
        }
        more = *at == ',';
        *line += *at == '\n';
        at += *at != 0;
        if (!more && to > begin && to[-1] == '\r')
            to--;
        *to = 0;
        list[fields++] = begin;
        list[fields] = NULL;
    }
    csv->row[csv->rows] = list;
    csv->line[csv->rows++] = first;
    return at;
}

int csv_in_read(csv_in *csv, const char *path) {
    size_t size, line = 1;
    memset(csv, 0, sizeof *csv);
    csv->path = path;
    csv->text = read_all(path, &size);
    if (!csv->text)
        return 0;
    if (strlen(csv->text) != size) {
        tool_error("%s: is not a text file", path);
        csv_in_free(csv);
        return 0;
    }
    char *at = csv->text + (strncmp(csv->text, "\xef\xbb\xbf", 3) ? 0 : 3);
    while (at && *at) {
        if (*at == '\n' || (*at == '\r' && at[1] == '\n')) {
            at += *at == '\r' ? 2 : 1;
            line++;
            continue;
        }
        char ***rows = realloc(csv->row, (csv->rows + 1) * sizeof *rows);
        if (rows)
            csv->row = rows;
        size_t *lines = realloc(csv->line, (csv->rows + 1) * sizeof *lines);
        if (lines)
            csv->line = lines;
        at = rows && lines ? split(csv, at, &line) : NULL;
    }
    if (at && csv->rows)
        return 1;
    if (at)
        tool_error("%s: the file is empty", path);
    csv_in_free(csv);
    return 0;
}

void csv_in_free(csv_in *csv) {
    for (size_t i = 0; i < csv->rows; i++)
        free(csv->row[i]);
    free(csv->row);
    free(csv->line);
    free(csv->text);
    memset(csv, 0, sizeof *csv);
}

int csv_in_column(const csv_in *csv, const char *names) {
    while (*names) {
        size_t length = strcspn(names, "|");
        for (int i = 0; csv->row[0][i]; i++)
            if (strlen(csv->row[0][i]) == length && !strncasecmp(csv->row[0][i], names, length))
                return i;
        names += length + (names[length] == '|');
    }
    return -1;
}

const char *csv_in_field(const csv_in *csv, size_t row, int column) {
    for (int i = 0; column >= 0 && csv->row[row][i]; i++)
        if (i == column)
            return csv->row[row][i];
    return "";
}

int csv_in_number(const csv_in *csv, size_t row, int column, double minimum, double maximum, double *value) {
    const char *text = csv_in_field(csv, row, column);
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !(number >= minimum && number <= maximum)) {
        tool_error("%s, line %zu: %s: '%s' is not a number from %g to %g", csv->path, csv->line[row],
                   csv->row[0][column], text, minimum, maximum);
        return 0;
    }
    *value = number;
    return 1;
}
