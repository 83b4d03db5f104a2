#include "io/csv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

mfrgn_status mf_csv_fail(const mf_csv *csv, mfrgn_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    mf_vfail(csv->context, status, format, args);
    va_end(args);
    return mf_fail_in(csv->context, status, "%s, line %zu", csv->path, csv->line);
}

void mf_csv_open_memory(mfrgn_context *context, const char *name, const void *data, size_t size, mf_csv *csv) {
    memset(csv, 0, sizeof(*csv));
    csv->context = context;
    csv->path = name;
    csv->data = data;
    csv->size = size;
    csv->next = 1;
    if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) /* what spreadsheets begin with */
        csv->at = 3;
}

mfrgn_status mf_csv_open(mfrgn_context *context, const char *path, mf_csv *csv) {
    mf_file file;
    memset(csv, 0, sizeof(*csv));
    MF_TRY(mf_file_map(context, path, &file));
    mf_csv_open_memory(context, path, file.data, file.size, csv);
    csv->file = file;
    return MFRGN_OK;
}

void mf_csv_close(mf_csv *csv) {
    if (csv->context) {
        mf_free(csv->context, csv->field);
        mf_free(csv->context, csv->text);
    }
    mf_file_unmap(&csv->file);
    memset(csv, 0, sizeof(*csv));
}

/* ---- records ---- */

static mfrgn_status add_field(mf_csv *csv, char *begin) {
    MF_TRY(mf_reserve(csv->context, (void **)&csv->field, &csv->field_room, csv->count + 1, sizeof(*csv->field)));
    csv->field[csv->count++] = begin;
    return MFRGN_OK;
}

/* Where the record that begins at `at` ends: a line end outside quotes.  Its bytes bound the text of its fields. */
static size_t record_end(const mf_csv *csv) {
    int quoted = 0;
    size_t i = csv->at;
    if (csv->words) {
        const char *end = memchr(csv->data + i, '\n', csv->size - i);
        return end ? (size_t)(end - csv->data) : csv->size;
    }
    for (; i < csv->size && (quoted || csv->data[i] != '\n'); i++)
        quoted ^= csv->data[i] == '"';
    return i;
}

/* A field in quotes: "" stands for one. `*from` is behind the opening quote, then behind the closing one. */
static mfrgn_status quoted_field(mf_csv *csv, const char **from, const char *end, char **to) {
    const char *c = *from;
    for (;; c++) {
        if (c == end)
            return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "a quote is opened and not closed");
        if (*c == '"') {
            if (c + 1 == end || c[1] != '"')
                break;
            c++;
        }
        csv->next += *c == '\n';
        *(*to)++ = *c;
    }
    *from = c + 1;
    if (*from != end && **from != ',')
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "text follows the closing quote of field %zu", csv->count);
    return MFRGN_OK;
}

static mfrgn_status plain_field(mf_csv *csv, const char **from, const char *end, char **to) {
    const char *c = *from;
    for (; c != end && *c != ','; c++) {
        if (*c == '"')
            return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "a quote inside field %zu, which does not begin with one",
                               csv->count);
        if (*c == '\r')
            return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "a carriage return inside field %zu", csv->count);
        *(*to)++ = *c;
    }
    *from = c;
    return MFRGN_OK;
}

static mfrgn_status split_commas(mf_csv *csv, const char *from, const char *end) {
    char *to = csv->text;
    for (;;) {
        MF_TRY(add_field(csv, to));
        if (from != end && *from == '"') {
            from++;
            MF_TRY(quoted_field(csv, &from, end, &to));
        } else {
            MF_TRY(plain_field(csv, &from, end, &to));
        }
        *to++ = 0;
        if (from == end)
            return MFRGN_OK;
        from++; /* the comma */
    }
}

static mfrgn_status split_words(mf_csv *csv, const char *from, const char *end) {
    char *to = csv->text;
    while (from != end) {
        while (from != end && (*from == ' ' || *from == '\t'))
            from++;
        if (from == end)
            break;
        MF_TRY(add_field(csv, to));
        while (from != end && *from != ' ' && *from != '\t')
            *to++ = *from++;
        *to++ = 0;
    }
    return MFRGN_OK;
}

mfrgn_status mf_csv_next(mf_csv *csv, int keep_empty, int *more) {
    for (;;) {
        csv->count = 0;
        csv->line = csv->next;
        *more = csv->at < csv->size;
        if (!*more)
            return MFRGN_OK;
        size_t begin = csv->at, line_end = record_end(csv), end = line_end;
        if (end < csv->size && end > begin && csv->data[end - 1] == '\r')
            end--;
        csv->at = line_end < csv->size ? line_end + 1 : line_end;
        csv->next++;
        if (memchr(csv->data + begin, 0, end - begin))
            return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "a NUL byte: this is not a text file");
        if (begin == end && !keep_empty)
            continue;
        /* Every field takes at most its own bytes and its separator. */
        MF_TRY(mf_reserve(csv->context, (void **)&csv->text, &csv->text_room, end - begin + 2, 1));
        MF_TRY((csv->words ? split_words : split_commas)(csv, csv->data + begin, csv->data + end));
        if (csv->count || keep_empty)
            return MFRGN_OK;
    }
}

/* ---- columns ---- */

int mf_csv_column(const mf_csv *csv, const char *names) {
    while (*names) {
        size_t length = strcspn(names, "|");
        for (size_t i = 0; i < csv->count; i++)
            if (strlen(csv->field[i]) == length && strncasecmp(csv->field[i], names, length) == 0)
                return (int)i;
        names += length + (names[length] == '|');
    }
    return -1;
}

const char *mf_csv_field(const mf_csv *csv, int column) {
    return column >= 0 && (size_t)column < csv->count ? csv->field[column] : "";
}

mfrgn_status mf_csv_number(const mf_csv *csv, int column, const char *what, double minimum, double maximum,
                           double *value) {
    const char *text = mf_csv_field(csv, column);
    double number;
    while (*text == ' ')
        text++;
    if (!*text)
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "%s is missing", what);
    if (!mf_read_double(text, &number))
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "%s \"%.60s\" is not a number", what, text);
    if (number < minimum || number > maximum)
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "%s %.60s is out of range: %g .. %g", what, text, minimum, maximum);
    *value = number;
    return MFRGN_OK;
}
