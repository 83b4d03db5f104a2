/* SPDX-License-Identifier: Apache-2.0 */
/* A bar on stderr, if that is a terminal: done, rate, time left. */
#ifndef MFRGN_TOOLS_PROGRESS_H
#define MFRGN_TOOLS_PROGRESS_H

#include <stddef.h>

typedef struct progress_bar {
    const char *unit; /* "images" */
    size_t total;
    double start, shown;
    int active, visible;
} progress_bar;

void progress_begin(progress_bar *bar, const char *unit, size_t total, int wanted);
void progress_update(progress_bar *bar, size_t done);
void progress_clear(progress_bar *bar); /* before a message; the next update draws it again */
void progress_end(progress_bar *bar);

#endif
