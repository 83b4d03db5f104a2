/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of mfrgn selftest share. */
#ifndef MFRGN_TOOLS_SELFTEST_H
#define MFRGN_TOOLS_SELFTEST_H

#include <stdint.h>

#include "common.h"
#include "golden.h"
#include "json_out.h"

enum { MESSAGE = 512 };

typedef enum outcome { PASSED, FAILED, SKIPPED } outcome;

typedef struct case_result {
    outcome outcome;
    double error[2]; /* aerial, ground; negative: not computed */
    double bound, seconds;
    char message[MESSAGE];
} case_result;

typedef struct selftest {
    const char *golden, *filter;
    int print_expected, dtype_given;
    mfrgn_dtype dtype;
    long max_parameters; /* 0: any */
    tool_options options;
    mfrgn_context *context;
    char backend[64]; /* that ran */
    json_out json;
    size_t count[3]; /* an outcome each */
    double worst;
} selftest;

void selftest_fail(case_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
void selftest_fail_status(const selftest *test, case_result *result, mfrgn_status status);
/* The network of a golden file with the weights of the rule; NULL after selftest_fail(). */
mfrgn_model *selftest_golden_model(selftest *test, const golden *file, uint64_t seed, case_result *result);

/* selftest_train.c: three steps of training against a golden file. */
void selftest_train(selftest *test, const golden *file, case_result *result);

#endif
