/* A strict reader of JSON (RFC 8259) that allocates nothing: the caller walks the text, value by value.
 *
 *     mf_json j = {text, size};
 *     if (mf_json_open(&j, '{'))
 *         for (size_t i = 0; mf_json_more(&j, '}', i); i++) {
 *             mf_json_string key;
 *             if (mf_json_key(&j, &key)) ...
 *         }
 *     if (j.error) ... at byte j.at
 *
 * After the first error every function returns 0 and the position stays. */
#ifndef MFRGN_IO_JSON_H
#define MFRGN_IO_JSON_H

#include <stddef.h>
#include <stdint.h>

typedef struct mf_json {
    const char *text;
    size_t size;
    size_t at;
    const char *error; /* what was wrong or expected; NULL: nothing yet */
} mf_json;

/* A string as it stands between its quotes; checked, not decoded. */
typedef struct mf_json_string {
    const char *raw;
    size_t raw_size;
    size_t size; /* bytes when decoded, without a final NUL */
} mf_json_string;

int mf_json_open(mf_json *j, char bracket); /* '{' or '[' */
int mf_json_more(mf_json *j, char bracket,
                 size_t index);                       /* 1: member `index` follows; 0: `bracket` closed, or an error */
int mf_json_key(mf_json *j, mf_json_string *key);     /* a string and its colon */
int mf_json_text(mf_json *j, mf_json_string *string); /* valid UTF-8, without NUL */
int mf_json_u64(mf_json *j, uint64_t *value);         /* an integer, neither negative nor with a fraction */
int mf_json_number(mf_json *j, const char **text, size_t *size); /* any number, as it stands */
int mf_json_flag(mf_json *j, int *flag);                         /* true or false */
char mf_json_next_kind(mf_json *j); /* of the next value: { [ " 0 (a number) t (true, false) n (null); else '?' */
int mf_json_skip(mf_json *j);       /* a whole value, whatever it is */
int mf_json_end(mf_json *j);                                     /* only white space is left */

void mf_json_decode(const mf_json_string *string, char *text); /* size + 1 bytes */
int mf_json_equals(const mf_json_string *string, const char *text);

#endif
