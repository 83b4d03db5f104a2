/* What the unit tests share. */
#ifndef MFRGN_TESTS_UNIT_H
#define MFRGN_TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

static inline int mf_run_suite(Suite *s) {
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
