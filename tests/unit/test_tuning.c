/* The tuning file of the CUDA backend: what is written is read, damage costs a line and no more. */
#include <string.h>
#include <sys/stat.h>

#include "backends/cuda/tuning.h"
#include "unit.h"

static int warnings;

static void *host_alloc(void *context, size_t bytes) {
    (void)context;
    return malloc(bytes);
}

static void host_free(void *context, void *p) {
    (void)context;
    free(p);
}

static void host_log(void *context, int level, const char *format, ...) {
    (void)context;
    (void)level;
    ck_assert(format != NULL);
    warnings++;
}

static const mf_host host = {.struct_size = sizeof(mf_host), .alloc = host_alloc, .free = host_free, .log = host_log};

static char path[200];

static void fresh(const char *name) {
    snprintf(path, sizeof(path), "%s/mfrgn-tuning-%d-%s", mf_scratch(), (int)getpid(), name);
    unlink(path);
    warnings = 0;
}

static void words(uint64_t seed, uint64_t word[MFC_TUNING_WORDS]) {
    for (uint64_t i = 0; i < MFC_TUNING_WORDS; i++)
        word[i] = (seed + i) * 0x9e3779b97f4a7c15u;
}

static void note(mfc_tuning *t, const char *key, uint64_t seed) {
    uint64_t word[MFC_TUNING_WORDS];
    words(seed, word);
    ck_assert_int_eq(mfc_tuning_note(t, key, word), 0);
}

static int has(const mfc_tuning *t, const char *key, uint64_t seed) {
    uint64_t word[MFC_TUNING_WORDS], expected[MFC_TUNING_WORDS];
    words(seed, expected);
    return mfc_tuning_find(t, key, word) && !memcmp(word, expected, sizeof(word));
}

static size_t slurp(char *text, size_t room) {
    FILE *f = fopen(path, "r");
    ck_assert(f != NULL);
    size_t n = fread(text, 1, room - 1, f);
    fclose(f);
    text[n] = 0;
    return n;
}

static void spill(const char *text, size_t n) {
    FILE *f = fopen(path, "w");
    ck_assert(f != NULL);
    ck_assert(fwrite(text, 1, n, f) == n);
    fclose(f);
}

START_TEST(round_trip) {
    char key[MFC_TUNING_KEY + 1];
    uint64_t word[MFC_TUNING_WORDS];
    fresh("round");
    mfc_tuning *t = mfc_tuning_open(&host, path);
    ck_assert(t != NULL);
    ck_assert(!mfc_tuning_find(t, "a", word));
    for (int i = 0; i < 150; i++) { /* more than the first room */
        snprintf(key, sizeof(key), "NVIDIA H100 80GB|130000|%d 64 64", i);
        note(t, key, (uint64_t)i);
    }
    note(t, key, 7000);
    ck_assert(has(t, key, 7000));
    mfc_tuning_free(t);
    t = mfc_tuning_open(&host, path);
    for (int i = 0; i < 149; i++) {
        snprintf(key, sizeof(key), "NVIDIA H100 80GB|130000|%d 64 64", i);
        ck_assert(has(t, key, (uint64_t)i));
    }
    ck_assert(has(t, "NVIDIA H100 80GB|130000|149 64 64", 7000));
    /* what cannot be a key is not noted, and breaks nothing */
    memset(key, 'x', sizeof(key) - 1);
    key[sizeof(key) - 1] = 0;
    words(1, word);
    ck_assert_int_eq(mfc_tuning_note(t, key, word), 0);
    ck_assert_int_eq(mfc_tuning_note(t, "a\tb", word), 0);
    ck_assert(!mfc_tuning_find(t, key, word));
    ck_assert(!mfc_tuning_find(t, "a\tb", word));
    key[MFC_TUNING_KEY - 1] = 0;
    note(t, key, 3);
    mfc_tuning_free(t);
    t = mfc_tuning_open(&host, path);
    ck_assert(has(t, key, 3));
    mfc_tuning_free(t);
    ck_assert_int_eq(warnings, 0);
    unlink(path);
}
END_TEST

/* Every byte of the file in turn: the other lines stay, the damaged one is passed over or gone. */
START_TEST(damage) {
    char text[2000], bad[2000];
    fresh("damage");
    mfc_tuning *t = mfc_tuning_open(&host, path);
    note(t, "first", 1);
    note(t, "second", 2);
    note(t, "third", 3);
    mfc_tuning_free(t);
    size_t n = slurp(text, sizeof(text));
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, text, n);
        bad[i] ^= 5;
        spill(bad, n);
        t = mfc_tuning_open(&host, path);
        ck_assert(t != NULL);
        ck_assert_int_ge(has(t, "first", 1) + has(t, "second", 2) + has(t, "third", 3), text[i] == '\n' ? 1 : 2);
        uint64_t word[MFC_TUNING_WORDS];
        ck_assert(!mfc_tuning_find(t, "first", word) || has(t, "first", 1));
        ck_assert(!mfc_tuning_find(t, "third", word) || has(t, "third", 3));
        mfc_tuning_free(t);
    }
    for (size_t i = 0; i < n; i += 7) { /* cut off */
        spill(text, i);
        t = mfc_tuning_open(&host, path);
        ck_assert(t != NULL && !has(t, "third", 3));
        note(t, "fourth", 4);
        mfc_tuning_free(t);
        t = mfc_tuning_open(&host, path);
        ck_assert(has(t, "fourth", 4));
        mfc_tuning_free(t);
    }
    memset(bad, 'z', sizeof(bad)); /* one long line, then a good one */
    spill(bad, sizeof(bad));
    FILE *f = fopen(path, "a");
    fprintf(f, "\n%s", text);
    fclose(f);
    warnings = 0;
    t = mfc_tuning_open(&host, path);
    ck_assert(has(t, "first", 1) && has(t, "third", 3));
    ck_assert_int_eq(warnings, 1);
    mfc_tuning_free(t);
    unlink(path);
}
END_TEST

/* Two streams write in turn: neither loses what the other wrote. */
START_TEST(two_writers) {
    fresh("two");
    mfc_tuning *a = mfc_tuning_open(&host, path), *b = mfc_tuning_open(&host, path);
    note(a, "a1", 1);
    note(b, "b1", 2);
    note(a, "a2", 3);
    note(b, "a1", 9); /* the last one counts */
    mfc_tuning_free(a);
    mfc_tuning_free(b);
    a = mfc_tuning_open(&host, path);
    ck_assert(has(a, "b1", 2) && has(a, "a2", 3) && has(a, "a1", 9));
    mfc_tuning_free(a);
    unlink(path);
}
END_TEST

START_TEST(not_writable) {
    fresh("none/there");
    mfc_tuning *t = mfc_tuning_open(&host, path);
    ck_assert(t != NULL);
    note(t, "a", 1);
    ck_assert(has(t, "a", 1));
    ck_assert_int_eq(warnings, 1);
    mfc_tuning_free(t);
}
END_TEST

START_TEST(fastest) {
    float times[4][3] = {{3, 9, 3.1f}, {-1, 1, 1}, {2, 2, 50}, {1.99f, 60, 1.99f}};
    float ties[2][2] = {{4, 4}, {1, 7}}, failed[2][1] = {{-1}, {-1}}, one[1][1] = {{0}};
    ck_assert_int_eq(mfc_tuning_fastest(&times[0][0], 4, 3), 2); /* the last is faster by less than 1 % */
    ck_assert_int_eq(mfc_tuning_fastest(&ties[0][0], 2, 2), 0);
    ck_assert_int_eq(mfc_tuning_fastest(&failed[0][0], 2, 1), -1);
    ck_assert_int_eq(mfc_tuning_fastest(&one[0][0], 1, 1), 0);
    ck_assert_int_eq(mfc_tuning_fastest(NULL, 0, 3), -1);
}
END_TEST

int main(void) {
    Suite *s = suite_create("tuning");
    TCase *t = tcase_create("tuning");
    tcase_add_test(t, round_trip);
    tcase_add_test(t, damage);
    tcase_add_test(t, two_writers);
    tcase_add_test(t, not_writable);
    tcase_add_test(t, fastest);
    suite_add_tcase(s, t);
    return mf_run_suite(s);
}
