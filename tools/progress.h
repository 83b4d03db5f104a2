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
    char note[96]; /* shown in place of rate and time left, if there is one */
} progress_bar;

void progress_begin(progress_bar *bar, const char *unit, size_t total, int wanted);
void progress_update(progress_bar *bar, size_t done);
/* "12 s", "3 min 05 s", "2 h 10 min" */
void progress_duration(char *text, size_t size, double seconds);
void progress_clear(progress_bar *bar); /* before a message; the next update draws it again */
void progress_end(progress_bar *bar);

#endif
