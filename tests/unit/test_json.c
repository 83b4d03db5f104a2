#include <string.h>

#include "io/json.h"
#include "unit.h"

static mf_json json(const char *text) {
    return (mf_json){text, strlen(text), 0, NULL};
}

START_TEST(strings) {
    char text[64];
    mf_json_string s;
    mf_json j = json(" \"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\uD83D\\uDDFA\xc3\xa4\" ");
    ck_assert_msg(mf_json_text(&j, &s), "%s", j.error);
    ck_assert_uint_eq(s.size, 17);
    mf_json_decode(&s, text);
    ck_assert_str_eq(text, "a\"\\/\b\f\n\r\t\xc3\xa4\xf0\x9f\x97\xba\xc3\xa4");
    ck_assert(mf_json_end(&j));
}
END_TEST

static const char *const bad_string[] = {"\"",
                                         "\"a",
                                         "a\"",
                                         "\"\\x\"",
                                         "\"\\u12\"",
                                         "\"\\u12g4\"",
                                         "\"\\ud800\"",
                                         "\"\\ud800\\u0041\"",
                                         "\"\\udc00\"",
                                         "\"\\u0000\"",
                                         "\"\n\"",
                                         "\"\xff\"",
                                         "\"\xc3\"",
                                         "\"\xc0\xaf\"",
                                         "\"\xed\xa0\x80\"",
                                         "\"\xf4\x90\x80\x80\"",
                                         "",
                                         "\"\\",
                                         "\"\\u123",
                                         "\"\xe0\x80\x80\""};

START_TEST(bad_strings) {
    mf_json_string s;
    mf_json j = json(bad_string[_i]);
    ck_assert(!mf_json_text(&j, &s));
    ck_assert_ptr_nonnull(j.error);
    ck_assert(!mf_json_open(&j, '{') && !mf_json_end(&j) && !mf_json_more(&j, '}', 0)); /* the error stays */
}
END_TEST

START_TEST(integers) {
    uint64_t v;
    mf_json j = json("18446744073709551615");
    ck_assert(mf_json_u64(&j, &v) && v == UINT64_MAX);
    static const char *const bad[] = {"18446744073709551616", "-1", "-0", "1.0", "1e3", "01", "+1", "", "x", "."};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        j = json(bad[i]);
        ck_assert_msg(!mf_json_u64(&j, &v) && j.at == 0, "%s", bad[i]);
    }
}
END_TEST

START_TEST(numbers) {
    static const char *const good[] = {"0", "-0", "12", "1.5", "-1.25e-3", "1E+9", "0e1"};
    static const char *const bad[] = {"-", "1.", ".5", "1e", "1e+", "00", "-01", "Infinity", "NaN"};
    const char *text;
    size_t size;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        mf_json j = json(good[i]);
        ck_assert_msg(mf_json_number(&j, &text, &size) && size == strlen(good[i]) && mf_json_end(&j), "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        mf_json j = json(bad[i]);
        ck_assert_msg(!mf_json_number(&j, &text, &size), "%s", bad[i]);
    }
}
END_TEST

/* {"a": [1, 2], "b": {}} and what is nearly that */
static int walk(const char *text) {
    mf_json j = json(text);
    mf_json_string key;
    uint64_t v;
    mf_json_open(&j, '{');
    for (size_t i = 0; mf_json_more(&j, '}', i); i++) {
        mf_json_key(&j, &key);
        char open = j.at < j.size && strchr(j.text + j.at, '[') ? '[' : '{';
        mf_json_open(&j, open);
        for (size_t k = 0; mf_json_more(&j, open == '[' ? ']' : '}', k); k++)
            mf_json_u64(&j, &v);
    }
    return mf_json_end(&j);
}

START_TEST(structure) {
    ck_assert(walk("{\"a\": [1, 2], \"b\" :{ } } \n"));
    ck_assert(walk("{}"));
    static const char *const bad[] = {
        "{\"a\": [1, 2,]}", "{\"a\": [1 2]}", "{\"a\" [1]}",  "{\"a\": [1]", "{,}", "{\"a\": [1]} x", "[", "",
        "{\"a\": [1],}",    "{a: [1]}",       "{\"a\": [,1]}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        ck_assert_msg(!walk(bad[i]), "%s", bad[i]);
}
END_TEST

START_TEST(any_value) {
    static const char *const good[] = {
        "{\"a\": [1, -2.5e3, \"x\", {}], \"b\": null}", "[]", "true", "false", "null", "3"};
    static const char *const bad[] = {"", "tru", "nul", "[1,]", "{\"a\" 1}", "}", "[[1]", "\"a", "{\"a\": nothing}"};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        mf_json j = json(good[i]);
        ck_assert_msg(mf_json_skip(&j) && mf_json_end(&j), "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        mf_json j = json(bad[i]);
        ck_assert_msg(!mf_json_skip(&j) && j.error, "%s", bad[i]);
    }
    char deep[201];
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    deep[200] = 0;
    mf_json j = json(deep);
    ck_assert(!mf_json_skip(&j) && j.error);
    int flag = -1;
    j = json(" true");
    ck_assert(mf_json_next_kind(&j) == 't' && mf_json_flag(&j, &flag) && flag == 1);
    j = json("1");
    ck_assert(mf_json_next_kind(&j) == '0' && !mf_json_flag(&j, &flag));
}
END_TEST

int main(void) {
    Suite *s = suite_create("json");
    TCase *t = tcase_create("json");
    suite_add_tcase(s, t);
    tcase_add_test(t, strings);
    tcase_add_loop_test(t, bad_strings, 0, (int)(sizeof(bad_string) / sizeof(*bad_string)));
    tcase_add_test(t, integers);
    tcase_add_test(t, numbers);
    tcase_add_test(t, structure);
    tcase_add_test(t, any_value);
    return mf_run_suite(s);
}
