/* A strict reader of CSV (RFC 4180): quoted fields, line ends LF or CRLF, commas.  What is not that is an error with
 * its line.  Lists whose columns stand apart by white space are read by the same functions. */
#ifndef MFRGN_IO_CSV_H
#define MFRGN_IO_CSV_H

#include "io/file.h"

typedef struct mf_csv {
    mfrgn_context *context;
    const char *path; /* for messages; the caller's */
    mf_file file;
    const char *data; /* the file's, or text in memory */
    size_t size, at;
    size_t line;  /* of the record read last, from 1 */
    size_t next;  /* the line that comes next */
    int words;    /* columns stand apart by spaces and tabs; nothing is quoted */
    char **field; /* of the record read last; valid until the next is read */
    size_t count, field_room;
    char *text;
    size_t text_room;
} mf_csv;

mfrgn_status mf_csv_open(mfrgn_context *context, const char *path, mf_csv *csv);
/* The same of text in memory, which must live as long; `name` stands for its path. */
void mf_csv_open_memory(mfrgn_context *context, const char *name, const void *data, size_t size, mf_csv *csv);
void mf_csv_close(mf_csv *csv);

/* Reads the next record; *more = 0 at the end.  Empty lines are left out, but with `keep_empty` they are records of one
 * empty field. */
mfrgn_status mf_csv_next(mf_csv *csv, int keep_empty, int *more);
/* "path, line 17: text" */
mfrgn_status mf_csv_fail(const mf_csv *csv, mfrgn_status status, const char *format, ...) MF_PRINTF(3, 4);

/* The column whose name in the record just read is one of `names` ("lat|latitude|y"; case does not matter), or -1.
 * The first of the names that occurs is taken. */
int mf_csv_column(const mf_csv *csv, const char *names);
/* A field of the record just read; "" for column -1. */
const char *mf_csv_field(const mf_csv *csv, int column);
/* The number in a field within bounds; an error with its line otherwise. `what` names it. */
mfrgn_status mf_csv_number(const mf_csv *csv, int column, const char *what, double minimum, double maximum,
                           double *value);

#endif
