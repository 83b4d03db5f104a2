/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common.h"

enum { BAR = 24 };

void progress_begin(progress_bar *bar, const char *unit, size_t total, int wanted) {
    const char *terminal = getenv("TERM");
    memset(bar, 0, sizeof *bar);
    bar->unit = unit;
    bar->total = total;
    bar->start = tool_seconds();
    bar->active = wanted && total > 1 && isatty(STDERR_FILENO) && !(terminal && !strcmp(terminal, "dumb"));
}

void progress_duration(char *text, size_t size, double seconds) {
    if (seconds < 60)
        snprintf(text, size, "%.0f s", seconds);
    else if (seconds < 3600)
        snprintf(text, size, "%d min %02d s", (int)(seconds / 60), (int)seconds % 60);
    else
        snprintf(text, size, "%d h %02d min", (int)(seconds / 3600), (int)(seconds / 60) % 60);
}

void progress_update(progress_bar *bar, size_t done) {
    if (!bar->active)
        return;
    double now = tool_seconds();
    if (bar->shown > 0 && now - bar->shown < 0.1 && done < bar->total)
        return;
    bar->shown = now;
    bar->visible = 1;

    char cells[BAR + 1], left[40] = "", line[224];
    size_t full = bar->total ? done * BAR / bar->total : 0;
    for (size_t i = 0; i < BAR; i++)
        cells[i] = i < full ? '#' : '.';
    cells[BAR] = 0;
    double seconds = now - bar->start, rate = seconds > 0 ? (double)done / seconds : 0;
    if (rate > 0 && done)
        progress_duration(left, sizeof left, (double)(bar->total - done) / rate);
    if (*bar->note)
        snprintf(line, sizeof line, "[%s] %zu/%zu %s  %s", cells, done, bar->total, bar->unit, bar->note);
    else
        snprintf(line, sizeof line, "[%s] %zu/%zu %s  %.1f/s%s%s", cells, done, bar->total, bar->unit, rate,
                 *left ? "  left " : "", left);
    struct winsize window;
    int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col ? window.ws_col - 1 : 79;
    fprintf(stderr, "\r%.*s\033[K", width, line);
    fflush(stderr);
}

void progress_clear(progress_bar *bar) {
    if (bar->visible)
        fputs("\r\033[K", stderr);
    bar->visible = 0;
}

void progress_end(progress_bar *bar) {
    progress_clear(bar);
    bar->active = 0;
}
