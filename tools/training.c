/* SPDX-License-Identifier: Apache-2.0 */
#include "training.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "common.h"
#include "progress.h"

enum { SHOWN = 10 };

/* ---------------------------------------------------------------------------------------------- data ---------- */

int training_is_dataset(const char *name) {
    int i = 0;
    while (mfrgn_dataset_name(i) && strcmp(mfrgn_dataset_name(i), name))
        i++;
    if (mfrgn_dataset_name(i))
        return 1;
    tool_usage("--dataset takes cvusa, cvact, vigor, u1652 or pairs, not '%s'", name);
    return 0;
}

static int open_split(mfrgn_context *context, training_data *data, const char *split, mfrgn_dataset **dataset) {
    mfrgn_dataset_options o = {sizeof o, split, data->protocol, data->corrected};
    mfrgn_dataset_info info = {.struct_size = sizeof info};
    mfrgn_status status = mfrgn_dataset_open(context, data->dataset, data->root, &o, dataset);
    if (status != MFRGN_OK) {
        *dataset = NULL;
        tool_failed(context, status, "");
        return 0;
    }
    mfrgn_dataset_get_info(*dataset, &info);
    data->missing += info.missing;
    for (size_t i = 0; i < info.missing && i < SHOWN; i++)
        tool_error("%s: not there; its pair is left out", mfrgn_dataset_missing(*dataset, i));
    if (info.missing > SHOWN)
        tool_error("and %zu more", info.missing - SHOWN);
    return 1;
}

int training_open(mfrgn_context *context, training_data *data, int evaluate) {
    if (open_split(context, data, data->train_split ? data->train_split : "train", &data->train) &&
        (!evaluate || open_split(context, data, data->split, &data->validation)))
        return 1;
    training_close(data);
    return 0;
}

void training_close(training_data *data) {
    mfrgn_dataset_free(data->train);
    mfrgn_dataset_free(data->validation);
    data->train = data->validation = NULL;
}

/* ---------------------------------------------------------------------------------------------- progress ------ */

typedef struct work {
    training_job *job;
    progress_bar bar;
    int bar_is_on;
    pthread_mutex_t lock; /* of the bar: messages come from the loader's threads too */
    chart chart;
} work;

static void begin_bar(work *w, const char *unit, size_t total) {
    if (w->bar_is_on)
        progress_end(&w->bar);
    progress_begin(&w->bar, unit, total, !w->job->quiet);
    w->bar_is_on = 1;
}

static void stage(void *user, const char *name, size_t total) {
    work *w = user;
    pthread_mutex_lock(&w->lock);
    begin_bar(w, name, total);
    pthread_mutex_unlock(&w->lock);
}

static int update(void *user, size_t done, size_t total) {
    work *w = user;
    (void)total;
    pthread_mutex_lock(&w->lock);
    if (w->bar_is_on)
        progress_update(&w->bar, done);
    pthread_mutex_unlock(&w->lock);
    return tool_stopped();
}

static void skipped(void *user, const char *path, const char *why) {
    work *w = user;
    pthread_mutex_lock(&w->lock);
    progress_clear(&w->bar);
    if (strstr(why, path))
        tool_error("%s: skipped", why);
    else
        tool_error("%s: %s: skipped", path, why);
    pthread_mutex_unlock(&w->lock);
}

static void show_step(work *w, const mfrgn_run_event *e) {
    char left[40] = "?";
    if (e->seconds_left >= 0)
        progress_duration(left, sizeof left, e->seconds_left);
    pthread_mutex_lock(&w->lock);
    if (!w->bar_is_on || strcmp(w->bar.unit, "steps"))
        begin_bar(w, "steps", e->epochs * e->batches);
    /* what matters most first: a terminal may cut the rest */
    snprintf(w->bar.note, sizeof w->bar.note, "loss %.3f  %.1f pairs/s  left %s  epoch %lu/%lu  rate %.1e", e->loss,
             e->pairs_per_second, left, e->epoch, e->epochs, e->learning_rate);
    progress_update(&w->bar, (e->epoch - 1) * e->batches + e->batch);
    pthread_mutex_unlock(&w->lock);
}

/* ---------------------------------------------------------------------------------------------- plot ---------- */

static double number_after(const char *line, const char *name) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\": ", name);
    const char *at = strstr(line, quoted);
    return at ? strtod(at + strlen(quoted), NULL) : NAN;
}

/* What a resumed run did before. */
static void read_history(work *w) {
    char *path = tool_format("%s/metrics.jsonl", w->job->folder), line[4096];
    FILE *file = path ? fopen(path, "r") : NULL;
    while (file && fgets(line, sizeof line, file)) {
        double epoch = number_after(line, "epoch");
        if (strstr(line, "\"kind\": \"step\"")) {
            double batch = number_after(line, "batch"), batches = number_after(line, "batches");
            if (!chart_add(&w->chart.loss, epoch - 1 + batch / batches, number_after(line, "loss")))
                break;
        } else if (strstr(line, "\"kind\": \"evaluation\"") &&
                   (!chart_add(&w->chart.recall_1, epoch, number_after(line, "recall@1")) ||
                    !chart_add(&w->chart.recall_10, epoch, number_after(line, "recall@10")))) {
            break;
        }
    }
    if (file)
        fclose(file);
    free(path);
}

/* A picture that cannot be written is told, and no reason to end a run. */
static void plot(work *w) {
    char *path = tool_format("%s/plot.png", w->job->folder);
    if (path)
        (void)chart_write(&w->chart, path);
    free(path);
}

/* ---------------------------------------------------------------------------------------------- events -------- */

static void tell_evaluation(work *w, const mfrgn_run_event *e) {
    for (int i = 0; i < e->tasks; i++) {
        const mfrgn_metrics *m = &e->metrics[i];
        printf("epoch %lu/%lu  %s  R@1 %.2f  R@5 %.2f  R@10 %.2f  R@1%% %.2f", e->epoch, e->epochs, m->task,
               m->recall_1, m->recall_5, m->recall_10, m->recall_percent);
        if (m->has_semi)
            printf("  hit %.2f", m->hit_rate);
        if (m->multiple)
            printf("  AP %.2f", m->ap);
        if (m->located)
            printf("  median %.1f m", m->median_m);
        printf("%s\n", i == 0 && e->best ? "  (best)" : "");
    }
    fflush(stdout);
    for (int i = 0; i < e->tasks && i < 4; i++)
        w->job->metrics[i] = e->metrics[i];
    w->job->tasks = e->tasks < 4 ? e->tasks : 4;
    w->chart.task = w->job->metrics[0].task;
}

static void clear_bar(work *w) {
    pthread_mutex_lock(&w->lock);
    progress_clear(&w->bar);
    pthread_mutex_unlock(&w->lock);
}

static int take_event(work *w, const mfrgn_run_event *e) {
    switch (e->stage) {
    case MFRGN_RUN_STEP:
        show_step(w, e);
        return chart_add(&w->chart.loss, (double)e->epoch - 1 + (double)e->batch / (double)e->batches, e->loss);
    case MFRGN_RUN_EVALUATION:
        clear_bar(w);
        tell_evaluation(w, e);
        return chart_add(&w->chart.recall_1, (double)e->epoch, e->metrics[0].recall_1) &&
               chart_add(&w->chart.recall_10, (double)e->epoch, e->metrics[0].recall_10);
    case MFRGN_RUN_EPOCH:
        clear_bar(w);
        printf("epoch %lu/%lu  loss %.4f  %.1f pairs/s\n", e->epoch, e->epochs, e->loss, e->pairs_per_second);
        fflush(stdout);
        w->job->loss = e->loss;
        plot(w);
        break;
    case MFRGN_RUN_FINISHED:
        break;
    }
    return 1;
}

/* After a signal: what was done is kept. */
static int stop(work *w, mfrgn_run *run, unsigned long step) {
    clear_bar(w);
    mfrgn_status status = mfrgn_run_checkpoint(run);
    if (status != MFRGN_OK)
        return tool_failed(w->job->context, status, "");
    tool_error("stopped after step %lu; %s holds a checkpoint: --resume goes on", step, w->job->folder);
    return TOOL_FAILED;
}

static int drive(work *w, mfrgn_run *run) {
    mfrgn_run_event e = {.struct_size = sizeof e};
    do {
        if (tool_stopped())
            return stop(w, run, e.step);
        mfrgn_status status = mfrgn_run_next(run, &e);
        if (status == MFRGN_ERROR_CANCELLED && tool_stopped())
            continue;
        if (status != MFRGN_OK) {
            clear_bar(w);
            return tool_failed(w->job->context, status, "");
        }
        w->chart.epochs = (double)e.epochs;
        if (!take_event(w, &e))
            return TOOL_FAILED;
    } while (e.stage != MFRGN_RUN_FINISHED);
    w->job->best_recall = e.best_recall;
    w->job->best_epoch = e.best_epoch;
    w->job->skipped = e.skipped;
    w->job->cost.struct_size = sizeof w->job->cost;
    mfrgn_run_get_cost(run, &w->job->cost);
    return TOOL_OK;
}

int training_run(training_job *job) {
    work w = {.job = job, .lock = PTHREAD_MUTEX_INITIALIZER, .chart = {.title = job->folder}};
    mfrgn_progress progress = {sizeof progress, &w, update};
    mfrgn_run_options o = {.struct_size = sizeof o,
                           .train = job->data->train,
                           .validation = job->data->validation,
                           .folder = job->folder,
                           .model = job->model,
                           .origin = job->origin,
                           .resume = job->resume,
                           .progress = &progress,
                           .stage = stage,
                           .skipped = skipped,
                           .user = &w};
    mfrgn_run *run = NULL;
    mfrgn_status status = mfrgn_run_create(job->context, job->recipe, &o, &run);
    if (status != MFRGN_OK)
        return tool_failed(job->context, status, "");
    pthread_mutex_init(&w.lock, NULL);
    if (job->resume)
        read_history(&w);
    int code = drive(&w, run);
    if (w.bar_is_on)
        progress_end(&w.bar);
    mfrgn_run_free(run);
    pthread_mutex_destroy(&w.lock);
    chart_free(&w.chart.loss);
    chart_free(&w.chart.recall_1);
    chart_free(&w.chart.recall_10);
    return code == TOOL_OK && (job->skipped || job->data->missing) ? TOOL_SKIPPED : code;
}
