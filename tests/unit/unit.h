/* What the unit tests share. */
#ifndef MFRGN_TESTS_UNIT_H
#define MFRGN_TESTS_UNIT_H

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void mf_assert_failed(const char *file, int line, const char *text, const char *format, ...) {
    char more[1024] = "";
    va_list args;
    va_start(args, format);
    if (format)
        vsnprintf(more, sizeof(more), format, args);
    va_end(args);
    ck_abort_msg("%s:%d: Assertion '%s' failed%s%s", file, line, text, format ? ": " : "", more);
}

/* Check's own sends its place to the parent at every assertion that holds: a write each, which took more time than the
 * tests.  All its other assertions are made of this one. */
#undef ck_assert_msg
#define ck_assert_msg(expr, ...)                                                                                       \
    ((expr) ? (void)0 : mf_assert_failed(__FILE__, __LINE__, #expr, __VA_ARGS__))

/* A folder for files that tests make: in memory where that is, since files are synced when they are written. */
static inline const char *mf_scratch(void) {
    return access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
}

static inline int mf_run_suite(Suite *s) {
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
