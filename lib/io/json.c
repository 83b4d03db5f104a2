#include "io/json.h"

#include <string.h>

#include "io/reader.h"

static int fail(mf_json *j, const char *error) {
    if (!j->error)
        j->error = error;
    return 0;
}

/* The next byte that is not white space; 0 at the end. */
static char peek(mf_json *j) {
    while (j->at < j->size &&
           (j->text[j->at] == ' ' || j->text[j->at] == '\n' || j->text[j->at] == '\r' || j->text[j->at] == '\t'))
        j->at++;
    return j->at < j->size ? j->text[j->at] : 0;
}

int mf_json_open(mf_json *j, char bracket) {
    if (j->error)
        return 0;
    if (peek(j) != bracket)
        return fail(j, bracket == '{' ? "expected an object, '{'" : "expected an array, '['");
    j->at++;
    return 1;
}

int mf_json_more(mf_json *j, char bracket, size_t index) {
    if (j->error)
        return 0;
    char c = peek(j);
    if (c == bracket) {
        j->at++;
        return 0;
    }
    if (index == 0)
        return 1;
    if (c != ',')
        return fail(j, bracket == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
    j->at++;
    return 1;
}

/* ---- strings ---- */

static int hex4(const char *text, unsigned *value) {
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        if (c >= '0' && c <= '9')
            v = v * 16 + (unsigned)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            v = v * 16 + (unsigned)((c | 32) - 'a') + 10;
        else
            return 0;
    }
    *value = v;
    return 1;
}

/* Reads what follows a backslash. 0: it is none; else bytes taken, and the character. */
static size_t read_escape(const char *text, size_t room, unsigned *character) {
    static const char plain[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";
    unsigned high, low;
    if (!room)
        return 0;
    const char *p = memchr(plain, text[0], sizeof(plain) - 1);
    if (p) {
        *character = (unsigned char)meaning[p - plain];
        return 1;
    }
    if (text[0] != 'u' || room < 5 || !hex4(text + 1, &high))
        return 0;
    *character = high;
    if (high < 0xd800 || high > 0xdfff)
        return high ? 5 : 0;
    /* Beyond the 16-bit plane: a pair of surrogates. */
    if (high > 0xdbff || room < 11 || text[5] != '\\' || text[6] != 'u' || !hex4(text + 7, &low) || low < 0xdc00 ||
        low > 0xdfff)
        return 0;
    *character = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return 11;
}

static size_t utf8_size(unsigned character) {
    return character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
}

int mf_json_text(mf_json *j, mf_json_string *string) {
    if (j->error)
        return 0;
    if (peek(j) != '"')
        return fail(j, "expected a string");
    size_t begin = ++j->at, decoded = 0;
    while (j->at < j->size && j->text[j->at] != '"') {
        unsigned character;
        size_t n;
        if (j->text[j->at] == '\\') {
            n = read_escape(j->text + j->at + 1, j->size - j->at - 1, &character);
            if (!n)
                return fail(j, "bad escape in a string");
            decoded += utf8_size(character);
            n++;
        } else {
            if ((unsigned char)j->text[j->at] < 0x20)
                return fail(j, "control character in a string");
            n = mf_utf8_sequence((const unsigned char *)j->text + j->at, j->size - j->at);
            if (!n)
                return fail(j, "a string is not UTF-8");
            decoded += n;
        }
        j->at += n;
    }
    if (j->at >= j->size)
        return fail(j, "a string does not end");
    *string = (mf_json_string){j->text + begin, j->at - begin, decoded};
    j->at++;
    return 1;
}

int mf_json_key(mf_json *j, mf_json_string *key) {
    if (!mf_json_text(j, key))
        return 0;
    if (peek(j) != ':')
        return fail(j, "expected ':'");
    j->at++;
    return 1;
}

static size_t put_utf8(char *out, unsigned c) {
    size_t n = utf8_size(c);
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(n == 1 ? c : lead[n] | c);
    return n;
}

void mf_json_decode(const mf_json_string *string, char *text) {
    for (size_t i = 0; i < string->raw_size;) {
        unsigned character;
        if (string->raw[i] == '\\') {
            i += 1 + read_escape(string->raw + i + 1, string->raw_size - i - 1, &character);
            text += put_utf8(text, character);
        } else {
            *text++ = string->raw[i++];
        }
    }
    *text = 0;
}

int mf_json_equals(const mf_json_string *string, const char *text) {
    return string->raw_size == strlen(text) && memcmp(string->raw, text, string->raw_size) == 0;
}

/* ---- numbers ---- */

static size_t digits(const mf_json *j, size_t at) {
    size_t n = 0;
    while (at + n < j->size && j->text[at + n] >= '0' && j->text[at + n] <= '9')
        n++;
    return n;
}

int mf_json_number(mf_json *j, const char **text, size_t *size) {
    if (j->error)
        return 0;
    char c = peek(j);
    if (c != '-' && (c < '0' || c > '9'))
        return fail(j, "expected a number");
    size_t at = j->at + (c == '-'), n = digits(j, at);
    if (n == 0 || (n > 1 && j->text[at] == '0'))
        return fail(j, "bad number");
    at += n;
    if (at < j->size && j->text[at] == '.') {
        n = digits(j, at + 1);
        if (n == 0)
            return fail(j, "bad number");
        at += 1 + n;
    }
    if (at < j->size && (j->text[at] | 32) == 'e') {
        at += at + 1 < j->size && (j->text[at + 1] == '+' || j->text[at + 1] == '-') ? 2 : 1;
        n = digits(j, at);
        if (n == 0)
            return fail(j, "bad number");
        at += n;
    }
    *text = j->text + j->at;
    *size = at - j->at;
    j->at = at;
    return 1;
}

int mf_json_u64(mf_json *j, uint64_t *value) {
    size_t begin, size;
    const char *text;
    uint64_t v = 0;
    peek(j);
    begin = j->at;
    if (!mf_json_number(j, &text, &size))
        return 0;
    for (size_t i = 0; i < size; i++) {
        int bad = text[i] < '0' || text[i] > '9';
        if (bad || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(text[i] - '0'), &v)) {
            j->at = begin;
            return fail(j, bad ? "expected an integer that is not negative" : "integer too large");
        }
    }
    *value = v;
    return 1;
}

int mf_json_end(mf_json *j) {
    if (j->error)
        return 0;
    peek(j);
    return j->at == j->size ? 1 : fail(j, "expected nothing more");
}

/* ---- any value ---- */

static int word(mf_json *j, const char *text) {
    size_t n = strlen(text);
    if (j->size - j->at < n || memcmp(j->text + j->at, text, n) != 0)
        return 0;
    j->at += n;
    return 1;
}

int mf_json_flag(mf_json *j, int *flag) {
    if (j->error)
        return 0;
    peek(j);
    if (word(j, "true"))
        *flag = 1;
    else if (word(j, "false"))
        *flag = 0;
    else
        return fail(j, "expected true or false");
    return 1;
}

char mf_json_next_kind(mf_json *j) {
    char c = j->error ? 0 : peek(j);
    if (c == '{' || c == '[' || c == '"' || c == 'n')
        return c;
    if (c == '-' || (c >= '0' && c <= '9'))
        return '0';
    return c == 't' || c == 'f' ? 't' : '?';
}

enum { DEEPEST = 32 };

static int skip(mf_json *j, int depth) {
    mf_json_string string;
    const char *number;
    size_t size;
    int flag;
    char kind = mf_json_next_kind(j), closing = kind == '{' ? '}' : ']';
    switch (kind) {
    case '"':
        return mf_json_text(j, &string);
    case '0':
        return mf_json_number(j, &number, &size);
    case 't':
        return mf_json_flag(j, &flag);
    case 'n':
        return word(j, "null") ? 1 : fail(j, "expected null");
    case '{':
    case '[':
        if (depth == DEEPEST)
            return fail(j, "nested too deeply");
        mf_json_open(j, kind);
        for (size_t i = 0; mf_json_more(j, closing, i); i++)
            if ((kind == '{' && !mf_json_key(j, &string)) || !skip(j, depth + 1))
                return 0;
        return !j->error;
    default:
        return fail(j, "expected a value");
    }
}

int mf_json_skip(mf_json *j) {
    return skip(j, 0);
}
