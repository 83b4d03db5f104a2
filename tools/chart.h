/* SPDX-License-Identifier: Apache-2.0 */
/* The loss and the recall of a training run as one PNG. */
#ifndef MFRGN_TOOLS_CHART_H
#define MFRGN_TOOLS_CHART_H

#include <stddef.h>

typedef struct chart_series {
    double *x, *y;
    size_t count, room;
} chart_series;

int chart_add(chart_series *s, double x, double y); /* 0 after a message */
void chart_free(chart_series *s);

typedef struct chart {
    const char *title;
    double epochs;                    /* the axis ends there */
    chart_series loss;                /* x: epochs */
    chart_series recall_1, recall_10; /* percent */
    const char *task;                 /* that the recalls are of */
} chart;

int chart_write(const chart *plot, const char *path); /* 0 after a message */

#endif
