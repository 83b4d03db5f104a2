/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a CSV whose first line names the columns; all of it is kept. */
#ifndef MFRGN_TOOLS_CSV_IN_H
#define MFRGN_TOOLS_CSV_IN_H

#include <stddef.h>

typedef struct csv_in {
    const char *path;
    char *text;
    char ***row; /* row[0]: the names; each ends with NULL */
    size_t *line;
    size_t rows;
} csv_in;

/* 0 after a message. */
int csv_in_read(csv_in *csv, const char *path);
void csv_in_free(csv_in *csv);
/* The column with one of these names ("lat|latitude"; case does not matter), or -1. */
int csv_in_column(const csv_in *csv, const char *names);
/* "" for column -1 and past the end of a row. */
const char *csv_in_field(const csv_in *csv, size_t row, int column);
/* 0 after a message. */
int csv_in_number(const csv_in *csv, size_t row, int column, double minimum, double maximum, double *value);

#endif
