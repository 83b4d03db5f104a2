/* SPDX-License-Identifier: Apache-2.0 */
/* What the paper reports. */
#ifndef MFRGN_TOOLS_PAPER_H
#define MFRGN_TOOLS_PAPER_H

typedef struct paper_row {
    const char *dataset;  /* that is evaluated */
    const char *protocol; /* or NULL: any */
    const char *task;
    const char *method;
    double recall[4];    /* R@1, R@5, R@10, R@1 %; -1: not reported */
    double hit_rate, ap; /* -1: not reported */
} paper_row;

extern const paper_row paper_rows[];
extern const int paper_row_count;

#endif
