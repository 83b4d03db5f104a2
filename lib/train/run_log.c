/* What a run writes for people and plots: metrics.jsonl and run.json. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "train/run.h"

/* ---- JSON ---- */

static void separate(mf_bytes *b) {
    if (b->size && b->data[b->size - 1] != '{' && b->data[b->size - 1] != '[')
        mf_bytes_text(b, ", ");
}

static void put_string(mf_bytes *b, const char *text) {
    mf_bytes_text(b, "\"");
    for (const char *p = text; *p; p++) {
        char escaped[8] = {*p, 0};
        if (*p == '"' || *p == '\\')
            snprintf(escaped, sizeof(escaped), "\\%c", *p);
        else if ((unsigned char)*p < 0x20)
            snprintf(escaped, sizeof(escaped), "\\u%04x", (unsigned)*p);
        mf_bytes_text(b, escaped);
    }
    mf_bytes_text(b, "\"");
}

void mf_put_text(mf_bytes *b, const char *name, const char *text) {
    separate(b);
    put_string(b, name);
    mf_bytes_text(b, ": ");
    put_string(b, text);
}

void mf_put_number(mf_bytes *b, const char *name, double value, int digits) {
    char text[40];
    separate(b);
    put_string(b, name);
    snprintf(text, sizeof(text), "%.*g", digits, value);
    for (char *p = text; *p; p++) /* the locale's comma */
        if (*p == ',')
            *p = '.';
    mf_bytes_text(b, ": ");
    mf_bytes_text(b, isfinite(value) ? text : "null");
}

/* ---- metrics.jsonl ---- */

static mfrgn_status io_error(const mfrgn_run *run, const char *what) {
    return mf_fail(run->context, MFRGN_ERROR_IO, "%s/metrics.jsonl: %s: %s", run->options.folder, what,
                   strerror(errno));
}

mfrgn_status mf_run_open_metrics(mfrgn_run *run) {
    char *path = mf_run_path(run, "metrics.jsonl");
    if (!path)
        return MFRGN_ERROR_MEMORY;
    run->metrics = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    mf_free(run->context, path);
    if (run->metrics < 0)
        return io_error(run, "cannot be opened");
    if (flock(run->metrics, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return mf_fail(run->context, MFRGN_ERROR_ARGUMENT, "%s: another process trains in this folder",
                       run->options.folder);
    return MFRGN_OK;
}

mfrgn_status mf_run_cut_metrics(mfrgn_run *run, uint64_t bytes) {
    off_t size = lseek(run->metrics, 0, SEEK_END);
    if (size < 0 || (uint64_t)size < bytes)
        return mf_fail(run->context, MFRGN_ERROR_FORMAT,
                       "%s/metrics.jsonl: shorter than it was at the checkpoint (%lld bytes of %llu)",
                       run->options.folder, (long long)size, (unsigned long long)bytes);
    if (ftruncate(run->metrics, (off_t)bytes) != 0 || lseek(run->metrics, (off_t)bytes, SEEK_SET) < 0)
        return io_error(run, "cannot be cut");
    run->at.metrics_bytes = bytes;
    return MFRGN_OK;
}

/* Ends the line and writes it. */
static mfrgn_status write_line(mfrgn_run *run, mf_bytes *b) {
    mf_bytes_text(b, "}\n");
    mfrgn_status status = b->status;
    for (size_t done = 0; done < b->size && status == MFRGN_OK;) {
        ssize_t n = write(run->metrics, b->data + done, b->size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            status = io_error(run, "cannot be written");
        else
            done += (size_t)n;
    }
    if (status == MFRGN_OK)
        run->at.metrics_bytes += b->size;
    else if (ftruncate(run->metrics, (off_t)run->at.metrics_bytes) == 0) /* no half of a line stays */
        lseek(run->metrics, (off_t)run->at.metrics_bytes, SEEK_SET);
    mf_bytes_free(b);
    return status;
}

static mf_bytes begin_line(const mfrgn_run *run, const char *kind, const mfrgn_run_event *e) {
    mf_bytes b = {.context = run->context};
    mf_bytes_text(&b, "{");
    mf_put_text(&b, "kind", kind);
    mf_put_number(&b, "step", (double)e->step, 15);
    mf_put_number(&b, "epoch", (double)e->epoch, 15);
    return b;
}

mfrgn_status mf_run_log_step(mfrgn_run *run, const mfrgn_run_event *e) {
    mf_bytes b = begin_line(run, "step", e);
    mf_put_number(&b, "batch", (double)e->batch, 15);
    mf_put_number(&b, "batches", (double)e->batches, 15);
    mf_put_number(&b, "loss", e->loss, 9);
    mf_put_number(&b, "rate", e->learning_rate, 9);
    mf_put_number(&b, "temperature", e->temperature, 9);
    mf_put_number(&b, "gradient_norm", e->gradient_norm, 9);
    mf_put_number(&b, "pairs_per_second", e->pairs_per_second, 5);
    mf_put_number(&b, "waited", e->wait_seconds, 3);
    return write_line(run, &b);
}

static void put_metrics(mf_bytes *b, const mfrgn_metrics *m) {
    separate(b);
    mf_bytes_text(b, "{");
    mf_put_text(b, "task", m->task);
    mf_put_number(b, "queries", (double)m->queries, 15);
    mf_put_number(b, "references", (double)m->references, 15);
    mf_put_number(b, "recall@1", m->recall_1, 9);
    mf_put_number(b, "recall@5", m->recall_5, 9);
    mf_put_number(b, "recall@10", m->recall_10, 9);
    mf_put_number(b, "recall@1%", m->recall_percent, 9);
    mf_put_number(b, "hit_rate", m->hit_rate, 9);
    mf_put_number(b, "ap", m->ap, 9);
    if (m->located)
        mf_put_number(b, "median_m", m->median_m, 9);
    mf_bytes_text(b, "}");
}

mfrgn_status mf_run_log_evaluation(mfrgn_run *run, const mfrgn_run_event *e) {
    mf_bytes b = begin_line(run, "evaluation", e);
    mf_put_number(&b, "best", e->best, 1);
    mf_bytes_text(&b, ", \"tasks\": [");
    for (int i = 0; i < e->tasks; i++)
        put_metrics(&b, &e->metrics[i]);
    mf_bytes_text(&b, "]");
    return write_line(run, &b);
}

mfrgn_status mf_run_log_epoch(mfrgn_run *run, const mfrgn_run_event *e) {
    mf_bytes b = begin_line(run, "epoch", e);
    mf_put_number(&b, "loss", e->loss, 9);
    mf_put_number(&b, "skipped", (double)e->skipped, 15);
    return write_line(run, &b);
}

/* ---- run.json ---- */

static void put_dataset(mf_bytes *b, const char *name, const mfrgn_dataset *d, uint64_t hash) {
    char text[32];
    if (!d)
        return;
    separate(b);
    mf_bytes_text(b, "\n  \"");
    mf_bytes_text(b, name);
    mf_bytes_text(b, "\": {");
    mf_put_text(b, "dataset", d->name);
    mf_put_text(b, "root", d->root);
    mf_put_text(b, "split", d->split);
    mf_put_text(b, "protocol", d->protocol);
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)hash);
    mf_put_text(b, "hash", text);
    mf_put_number(b, "missing", (double)d->missing_count, 15);
    for (int i = 0; i < d->sets; i++)
        mf_put_number(b, d->set[i].name, (double)d->set[i].count, 15);
    mf_bytes_text(b, "}");
}

mfrgn_status mf_run_write_origin(mfrgn_run *run) {
    mf_bytes b = {.context = run->context};
    mfrgn_trainer_info info = {.struct_size = sizeof(info)};
    MF_TRY(mfrgn_trainer_get_info(run->trainer, &info));
    char *path = mf_run_path(run, "run.json");
    if (!path)
        return MFRGN_ERROR_MEMORY;
    mf_bytes_text(&b, "{");
    mf_put_text(&b, "library", mfrgn_version_string());
    mf_put_text(&b, "backend", info.backend);
    mf_put_text(&b, "weights", run->options.origin ? run->options.origin : run->options.model ? "given" : "seeded");
    mf_put_number(&b, "pairs", (double)run->pairs.count, 15);
    mf_put_number(&b, "places", (double)run->pairs.labels, 15);
    put_dataset(&b, "train", run->options.train, run->train_hash);
    put_dataset(&b, "validation", run->options.validation, run->validation_hash);
    mf_bytes_text(&b, "\n}\n");
    mfrgn_status status = mf_bytes_save(&b, path);
    mf_free(run->context, path);
    return status;
}
