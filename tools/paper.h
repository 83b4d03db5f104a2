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

/* Tables 4 and 5: trained on CVACT, evaluated there and on CVUSA.  PPS is off but for the last. */
typedef struct paper_ablation {
    const char *preset, *name; /* of the recipe; in table 4 */
    int component;             /* 1: a row of table 4 */
    double here[4], there[4];  /* R@1, R@5, R@10, R@1 %; -1: not reported */
    const char *cost_name;     /* in table 5; NULL: not there */
    double giga, memory;       /* multiply-adds of one view; MB */
} paper_ablation;

extern const paper_ablation paper_ablations[];
extern const int paper_ablation_count;

extern const paper_row paper_rows[];
extern const int paper_row_count;

#endif
