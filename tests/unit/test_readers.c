/* Decimal numbers, CSV, MATLAB files, .npy. */
#include "unit.h"

#include <locale.h>
#include <math.h>

#include "files.h"
#include "io/csv.h"
#include "io/matlab.h"
#include "io/npy.h"
#include "matlab.h"

static mfrgn_context *context;

static void setup(void) {
    ck_assert_int_eq(mfrgn_context_create(NULL, &context), MFRGN_OK);
    folder_make();
}

static void teardown(void) {
    folder_remove();
    mfrgn_context_free(context);
}

/* ---- numbers ---- */

START_TEST(test_numbers) {
    static const char *const good[] = {"0",
                                       "-0.0",
                                       "1",
                                       "+1",
                                       "1.",
                                       ".5",
                                       "-122.419415513",
                                       "44.750410252126471",
                                       "-121.224477921547162",
                                       "1e3",
                                       "9007199254740993",
                                       "9007199254740993.00000000000000000001",
                                       "4.9406564584124654e-324",
                                       "2.4703282292062328e-324",
                                       "2.2250738585072011e-308",
                                       "1.7976931348623157e308",
                                       "1e-400",
                                       "0.1e1",
                                       "1E+2",
                                       "179769313486231580793728971405301e276",
                                       "0.000000000000000000000000000000000000000000000000001e51"};
    static const char *const bad[] = {"",     ".",  "-",  "1e",  "e5",  "nan",   "inf",   "0x10",
                                      "1,5",  " 1", "1 ", "1..", "--1", "1e999", "1e+-2", "1.7976931348623159e308",
                                      "12abc"};
    double value;
    for (size_t i = 0; i < MF_COUNT(good); i++) {
        ck_assert_msg(mf_read_double(good[i], &value), "%s", good[i]);
        double wanted = strtod(good[i], NULL);
        ck_assert_msg(memcmp(&value, &wanted, sizeof(value)) == 0, "%s: %.17g, not %.17g", good[i], value, wanted);
    }
    for (size_t i = 0; i < MF_COUNT(bad); i++)
        ck_assert_msg(!mf_read_double(bad[i], &value), "%s", bad[i]);
}
END_TEST

START_TEST(test_numbers_are_rounded) {
    uint64_t state = 1;
    char text[64];
    for (int i = 0; i < 20000; i++) {
        double wanted, value;
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = state ^ state >> 29;
        memcpy(&wanted, &bits, sizeof(wanted));
        if (!isfinite(wanted))
            continue;
        snprintf(text, sizeof(text), "%.*e", 5 + (int)(state >> 60), wanted);
        wanted = strtod(text, NULL);
        if (isfinite(wanted))
            ck_assert_msg(mf_read_double(text, &value) && value == wanted, "%s", text);
    }
}
END_TEST

START_TEST(test_numbers_in_a_locale) {
    double value;
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "de_DE"))
        return; /* no such locale here */
    ck_assert(mf_read_double("1.5", &value) && value == 1.5);
    ck_assert(!mf_read_double("1,5", &value));
}
END_TEST

/* ---- CSV ---- */

static void expect_record(mf_csv *csv, size_t line, size_t count, const char *const *field) {
    int more;
    ck_assert_int_eq(mf_csv_next(csv, 0, &more), MFRGN_OK);
    ck_assert_int_eq(more, 1);
    ck_assert_uint_eq(csv->line, line);
    ck_assert_uint_eq(csv->count, count);
    for (size_t i = 0; i < count; i++)
        ck_assert_str_eq(csv->field[i], field[i]);
}

START_TEST(test_csv) {
    static const char text[] = "\xef\xbb\xbf"
                               "path,Lat,\"the \"\"name\"\"\"\r\n"
                               "\n"
                               "\"a, b.png\",1.5,\"two\nlines\"\r\n"
                               ",,\n"
                               "\"\",x,\"\"\"\"";
    mf_csv csv;
    int more;
    double value;
    mf_csv_open_memory(context, "t.csv", text, sizeof(text) - 1, &csv);
    expect_record(&csv, 1, 3, (const char *[]){"path", "Lat", "the \"name\""});
    ck_assert_int_eq(mf_csv_column(&csv, "latitude|lat"), 1);
    ck_assert_int_eq(mf_csv_column(&csv, "latitude|la"), -1);
    expect_record(&csv, 3, 3, (const char *[]){"a, b.png", "1.5", "two\nlines"});
    ck_assert_int_eq(mf_csv_number(&csv, 1, "latitude", -90, 90, &value), MFRGN_OK);
    ck_assert(value == 1.5);
    expect_record(&csv, 5, 3, (const char *[]){"", "", ""});
    ck_assert_int_eq(mf_csv_number(&csv, 1, "latitude", -90, 90, &value), MFRGN_ERROR_FORMAT);
    ck_assert_str_eq(mfrgn_context_last_error(context), "t.csv, line 5: latitude is missing");
    expect_record(&csv, 6, 3, (const char *[]){"", "x", "\""});
    ck_assert_int_eq(mf_csv_number(&csv, 1, "latitude", -90, 90, &value), MFRGN_ERROR_FORMAT);
    ck_assert_str_eq(mfrgn_context_last_error(context), "t.csv, line 6: latitude \"x\" is not a number");
    ck_assert_int_eq(mf_csv_next(&csv, 0, &more), MFRGN_OK);
    ck_assert_int_eq(more, 0);
    mf_csv_close(&csv);
}
END_TEST

START_TEST(test_csv_refused) {
    static const struct {
        const char *text, *why;
        size_t size;
    } bad[] = {
        {"a,b\n\"open,c\nd", "line 2: a quote is opened", 0},
        {"a,b\"c\n", "line 1: a quote inside field 2", 0},
        {"\"a\"b,c\n", "line 1: text follows the closing quote of field 1", 0},
        {"a\rb\n", "line 1: a carriage return", 0},
        {"ok\na\0b\n", "line 2: a NUL byte", 7},
    };
    for (size_t i = 0; i < MF_COUNT(bad); i++) {
        mf_csv csv;
        int more = 1;
        mfrgn_status status = MFRGN_OK;
        mf_csv_open_memory(context, "t.csv", bad[i].text, bad[i].size ? bad[i].size : strlen(bad[i].text), &csv);
        while (status == MFRGN_OK && more)
            status = mf_csv_next(&csv, 0, &more);
        ck_assert_int_eq(status, MFRGN_ERROR_FORMAT);
        ck_assert_msg(strstr(mfrgn_context_last_error(context), bad[i].why) != NULL, "%s",
                      mfrgn_context_last_error(context));
        mf_csv_close(&csv);
    }
}
END_TEST

START_TEST(test_csv_words) {
    static const char text[] = "  one\ttwo  three\"\r\n\nfour \n";
    mf_csv csv;
    mf_csv_open_memory(context, "list", text, sizeof(text) - 1, &csv);
    csv.words = 1;
    expect_record(&csv, 1, 3, (const char *[]){"one", "two", "three\""});
    expect_record(&csv, 3, 1, (const char *[]){"four"});
    mf_csv_close(&csv);
}
END_TEST

/* ---- MATLAB ---- */

static void fill(mat *m) {
    const double pi[] = {3.14159, -2, 0.5, 1e300, 0, 7};
    const int64_t small[] = {1, -2, 127}, wide[] = {-5000000000, 3};
    const char *const words[] = {"one", "", "three  "};
    const int64_t index[] = {1, 3, 200};
    const int64_t accents[] = {'Z', 0xfc, 'r', 0xd83d, 0xde00}; /* a letter of two bytes, a pair of surrogates */
    const int64_t rows[] = {'a', 'x', 'b', ' ', 'c', ' '};
    mat_doubles(m, "doubles", 2, 3, pi);
    mat_numbers(m, "small", 6, 1, 1, 3, 1, small);
    mat_numbers(m, "wide", 14, 12, 8, 1, 2, wide);
    mat_cells(m, "words", words, 3);
    mat_split(m, "trainSet", "trainInd", index, 3);
    size_t begin = mat_array(m, 4, 1, 5, "accents");
    mat_element(m, 17, 2, accents, 5);
    mat_end(m, begin);
    begin = mat_array(m, 4, 2, 3, "rows");
    mat_element(m, 4, 2, rows, 6);
    mat_end(m, begin);
    begin = mat_array(m, 5, 0, 0, "sparse");
    mat_end(m, begin);
    mat_numbers(m, "nothing", 6, 9, 8, 0, 0, NULL);
}

static void check_file(const mat *m) {
    mf_matlab file;
    mfrgn_status status = mf_matlab_decode(context, "t.mat", m->data, m->size, &file);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    const mf_mat *v = mf_matlab_find(&file, "doubles");
    ck_assert(v && v->class == MF_MAT_NUMBER && v->rows == 2 && v->columns == 3);
    ck_assert(v->number[0] == 3.14159 && v->number[1] == -2 && v->number[3] == 1e300);
    v = mf_matlab_find(&file, "small");
    ck_assert(v && v->rows == 3 && v->number[0] == 1 && v->number[1] == -2 && v->number[2] == 127);
    v = mf_matlab_find(&file, "wide");
    ck_assert(v && v->number[0] == -5000000000.0 && v->number[1] == 3);
    v = mf_matlab_find(&file, "words");
    ck_assert(v && mf_mat_string_count(v) == 3);
    ck_assert_str_eq(mf_mat_string(v, 0), "one");
    ck_assert_str_eq(mf_mat_string(v, 1), "");
    ck_assert_str_eq(mf_mat_string(v, 2), "three");
    v = mf_matlab_find(&file, "trainSet");
    ck_assert(v && v->class == MF_MAT_STRUCT && v->fields == 2);
    ck_assert_str_eq(v->field[1], "trainInd");
    ck_assert(v->child[0].number[0] == 3 && v->child[1].rows == 3 && v->child[1].number[2] == 200);
    v = mf_matlab_find(&file, "accents");
    ck_assert_str_eq(mf_mat_string(v, 0), "Z\xc3\xbcr\xf0\x9f\x98\x80");
    v = mf_matlab_find(&file, "rows");
    ck_assert_uint_eq(mf_mat_string_count(v), 2);
    ck_assert_str_eq(mf_mat_string(v, 0), "abc");
    ck_assert_str_eq(mf_mat_string(v, 1), "x");
    ck_assert(mf_matlab_find(&file, "nothing") && !mf_matlab_find(&file, "missing"));
    mf_matlab_free(&file);
}

START_TEST(test_matlab) {
    static mat plain, packed;
    mat_begin(&plain, _i);
    fill(&plain);
    check_file(&plain);
#ifdef MF_HAVE_ZLIB
    mat_compress(&plain, &packed);
    check_file(&packed);
#else
    (void)packed;
#endif
}
END_TEST

static void refused(const void *data, size_t size, mfrgn_status wanted, const char *why) {
    mf_matlab file;
    ck_assert_int_eq(mf_matlab_decode(context, "t.mat", data, size, &file), wanted);
    ck_assert_msg(strstr(mfrgn_context_last_error(context), why) != NULL, "%s", mfrgn_context_last_error(context));
    ck_assert_msg(strstr(mfrgn_context_last_error(context), "t.mat") != NULL, "%s", mfrgn_context_last_error(context));
}

START_TEST(test_matlab_refused) {
    static mat m;
    mat_begin(&m, 0);
    refused(m.data, 127, MFRGN_ERROR_FORMAT, "not a MATLAB 5 file");
    m.data[125] = 2;
    refused(m.data, m.size, MFRGN_ERROR_UNSUPPORTED, "7.3");
    mat_begin(&m, 0);
    fill(&m);
    for (size_t size = 129; size < m.size; size += 7) { /* cut short, wherever: an error or the variables before */
        mf_matlab file;
        if (mf_matlab_decode(context, "t.mat", m.data, size, &file) == MFRGN_OK)
            mf_matlab_free(&file);
    }
    mat_begin(&m, 0);
    size_t begin = mat_array(&m, 6, 1 << 30, 1 << 30, "huge");
    mat_end(&m, begin);
    refused(m.data, m.size, MFRGN_ERROR_FORMAT, "too large");
    mat_begin(&m, 0);
    begin = mat_array(&m, 1, 1 << 20, 1, "cells");
    mat_end(&m, begin);
    refused(m.data, m.size, MFRGN_ERROR_FORMAT, "more elements than there are bytes");
    mat_begin(&m, 0);
    size_t deep[20];
    for (int i = 0; i < 20; i++)
        deep[i] = mat_array(&m, 1, 1, 1, "");
    for (int i = 20; i-- > 0;)
        mat_end(&m, deep[i]);
    refused(m.data, m.size, MFRGN_ERROR_FORMAT, "deep");
#ifdef MF_HAVE_ZLIB
    static mat packed;
    mat_begin(&m, 0);
    fill(&m);
    mat_compress(&m, &packed);
    packed.data[150] ^= 0x55;
    refused(packed.data, packed.size, MFRGN_ERROR_FORMAT, "damaged");
#endif
}
END_TEST

/* ---- .npy ---- */

static mfrgn_status read_npy(const char *header, size_t values) {
    unsigned char data[1024] = "\x93NUMPY\x01\x00";
    size_t length = strlen(header), padded = (10 + length + 1 + 63) / 64 * 64;
    mf_npy npy;
    memset(data + 10, ' ', padded - 10);
    memcpy(data + 10, header, length);
    data[padded - 1] = '\n';
    data[8] = (unsigned char)(padded - 10);
    mfrgn_status status = mf_npy_map(context, file_write("t.npy", data, padded + 4 * values), &npy);
    if (status == MFRGN_OK)
        mf_npy_unmap(&npy);
    return status;
}

START_TEST(test_npy) {
    static const float values[6] = {1, 2, 3, 4, 5, -6.5f};
    const char *path = in_folder("m.npy");
    mf_npy npy;
    ck_assert_int_eq(mf_npy_save(context, path, values, 2, 3), MFRGN_OK);
    ck_assert_int_eq(mf_npy_map(context, path, &npy), MFRGN_OK);
    ck_assert(npy.rows == 2 && npy.columns == 3 && npy.data[5] == -6.5f);
    mf_npy_unmap(&npy);
    ck_assert_int_eq(read_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 6), MFRGN_OK);
    ck_assert_int_eq(read_npy("{'shape': (2,3), 'fortran_order': False, 'descr': '<f4'}", 6), MFRGN_OK);
    static const char *const bad[] = {
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 1), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (6148914691236517206, 3), }",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f4', 'fortran_order': False, }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } x",
        "",
    };
    for (size_t i = 0; i < MF_COUNT(bad); i++)
        ck_assert_msg(read_npy(bad[i], 6) == MFRGN_ERROR_FORMAT, "%s", bad[i]);
    ck_assert_int_eq(mf_npy_map(context, file_text("t.npy", "\x93NUM"), &npy), MFRGN_ERROR_FORMAT);
    ck_assert_int_eq(mf_npy_map(context, in_folder("none.npy"), &npy), MFRGN_ERROR_IO);
}
END_TEST

int main(void) {
    Suite *s = suite_create("readers");
    TCase *t = tcase_create("readers");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_numbers);
    tcase_add_test(t, test_numbers_are_rounded);
    tcase_add_test(t, test_numbers_in_a_locale);
    tcase_add_test(t, test_csv);
    tcase_add_test(t, test_csv_refused);
    tcase_add_test(t, test_csv_words);
    tcase_add_loop_test(t, test_matlab, 0, 2);
    tcase_add_test(t, test_matlab_refused);
    tcase_add_test(t, test_npy);
    suite_add_tcase(s, t);
    return mf_run_suite(s);
}
