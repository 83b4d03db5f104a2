/* Checkpoints.  last.json, written last and renamed into place, names the files that belong to it; files of the
 * checkpoint before are removed only after that.  So a run that is killed, or finds the disk full, at any point has one
 * whole checkpoint. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/checksum.h"
#include "io/json.h"
#include "train/run.h"

enum { FORMAT = 1 };

/* ---- neighbours: a header of eight 64-bit numbers, then the labels ---- */

typedef struct similar_header {
    char magic[8];
    uint64_t rows, range, by_pair, checksum, zero[3];
} similar_header;

static mfrgn_status save_similar(mfrgn_run *run, const char *path) {
    const mf_neighbours *n = &run->similar;
    size_t bytes = n->rows * n->range * sizeof(*n->label);
    similar_header h = {"mfrgn-nb", n->rows, n->range, (uint64_t)n->by_pair, mf_checksum(n->label, bytes), {0}};
    mf_out *out;
    MF_TRY(mf_out_open(run->context, path, &out));
    mfrgn_status status = mf_out_write(out, &h, sizeof(h));
    if (status == MFRGN_OK)
        status = mf_out_write(out, n->label, bytes);
    if (status == MFRGN_OK)
        return mf_out_commit(out);
    mf_out_discard(out);
    return status;
}

static mfrgn_status take_similar(mfrgn_run *run, const char *path, const mf_file *file) {
    similar_header h;
    mfrgn_context *context = run->context;
    if (file->size < sizeof(h))
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: cut short", path);
    memcpy(&h, file->data, sizeof(h));
    size_t bytes = file->size - sizeof(h);
    if (memcmp(h.magic, "mfrgn-nb", 8) != 0 || h.rows != run->pairs.count || h.range == 0 ||
        h.range > run->pairs.labels || bytes != h.rows * h.range * sizeof(uint32_t) ||
        h.checksum != mf_checksum(file->data + sizeof(h), bytes))
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: not the neighbours of this run's pairs, or damaged", path);
    uint32_t *label = mf_alloc(context, bytes);
    if (!label)
        return mf_fail_memory(context, bytes, "a list of neighbours");
    memcpy(label, file->data + sizeof(h), bytes);
    for (size_t i = 0; i < h.rows * h.range; i++)
        if (label[i] >= run->pairs.labels)
            label[i] = UINT32_MAX;
    mf_neighbours_free(context, &run->similar);
    run->similar = (mf_neighbours){label, h.rows, h.range, h.by_pair != 0};
    return MFRGN_OK;
}

static mfrgn_status load_similar(mfrgn_run *run, const char *path) {
    mf_file file;
    MF_TRY(mf_file_map(run->context, path, &file));
    mfrgn_status status = take_similar(run, path, &file);
    mf_file_unmap(&file);
    return status;
}

/* ---- last.json ---- */

static void put_hash(mf_bytes *b, const char *name, uint64_t hash) {
    char text[32];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)hash);
    mf_put_text(b, name, text);
}

static mfrgn_status save_position(mfrgn_run *run, const char *path) {
    const mf_run_position *at = &run->at;
    mf_bytes b = {.context = run->context};
    mf_bytes_text(&b, "{");
    mf_put_number(&b, "format", FORMAT, 9);
    mf_put_text(&b, "library", mfrgn_version_string());
    mf_put_number(&b, "step", (double)at->step, 17);
    mf_put_number(&b, "epoch", (double)at->epoch, 17);
    mf_put_number(&b, "batch", (double)at->batch, 17);
    mf_put_number(&b, "evaluated", at->evaluated, 9);
    mf_put_number(&b, "loss_sum", at->loss_sum, 17);
    mf_put_number(&b, "best_recall", at->best_recall, 17);
    mf_put_number(&b, "best_epoch", (double)at->best_epoch, 17);
    mf_put_number(&b, "metrics_bytes", (double)at->metrics_bytes, 17);
    mf_put_number(&b, "similar_epoch", (double)at->similar_epoch, 17);
    put_hash(&b, "train", run->train_hash);
    put_hash(&b, "validation", run->validation_hash);
    mf_bytes_text(&b, "}\n");
    return mf_bytes_save(&b, path);
}

typedef struct saved {
    mf_run_position at;
    uint64_t train_hash, validation_hash;
    double format;
    int seen;
} saved;

static int read_number(mf_json *j, double *value) {
    char text[64];
    const char *number;
    size_t size;
    if (!mf_json_number(j, &number, &size) || size >= sizeof(text))
        return 0;
    memcpy(text, number, size);
    text[size] = 0;
    return mf_read_double(text, value);
}

static int read_member(mf_json *j, saved *s) {
    mf_json_string key, string;
    double value = 0;
    char text[64];
    if (!mf_json_key(j, &key))
        return 0;
    if (mf_json_next_kind(j) == '"') {
        if (!mf_json_text(j, &string) || string.size >= sizeof(text))
            return 0;
        mf_json_decode(&string, text);
        if (mf_json_equals(&key, "train"))
            s->train_hash = strtoull(text, NULL, 16);
        else if (mf_json_equals(&key, "validation"))
            s->validation_hash = strtoull(text, NULL, 16);
        return 1;
    }
    const struct {
        const char *name;
        unsigned long *whole;
        double *real;
    } known[] = {{"step", &s->at.step, NULL},
                 {"epoch", &s->at.epoch, NULL},
                 {"batch", &s->at.batch, NULL},
                 {"best_epoch", &s->at.best_epoch, NULL},
                 {"similar_epoch", &s->at.similar_epoch, NULL},
                 {"loss_sum", NULL, &s->at.loss_sum},
                 {"best_recall", NULL, &s->at.best_recall},
                 {"format", NULL, &s->format}};
    if (!read_number(j, &value))
        return 0;
    if (mf_json_equals(&key, "evaluated"))
        s->at.evaluated = value != 0;
    else if (mf_json_equals(&key, "metrics_bytes") && value >= 0 && value < 9e15)
        s->at.metrics_bytes = (uint64_t)value;
    for (size_t i = 0; i < MF_COUNT(known); i++)
        if (mf_json_equals(&key, known[i].name)) {
            if (known[i].real)
                *known[i].real = value;
            else if (value >= 0 && value < 9e15)
                *known[i].whole = (unsigned long)value;
            s->seen |= 1 << i;
        }
    return 1;
}

static mfrgn_status load_position(mfrgn_run *run, const char *path, saved *s) {
    mf_file file;
    MF_TRY(mf_file_map(run->context, path, &file));
    mf_json j = {(const char *)file.data, file.size, 0, NULL};
    int good = mf_json_open(&j, '{');
    for (size_t i = 0; good && mf_json_more(&j, '}', i); i++)
        good = read_member(&j, s);
    good = good && !j.error && mf_json_end(&j) && s->seen == 0xff && s->format == FORMAT;
    mf_file_unmap(&file);
    return good ? MFRGN_OK
                : mf_fail(run->context, MFRGN_ERROR_FORMAT, "%s: not a checkpoint of this library, or damaged", path);
}

/* ---- the whole ---- */

static char *trainer_path(const mfrgn_run *run, unsigned long step) {
    return mf_run_path(run, "last-%lu.safetensors", step);
}

static char *similar_path(const mfrgn_run *run, unsigned long epoch) {
    return mf_run_path(run, "last-similar-%lu", epoch);
}

static void drop(const mfrgn_run *run, char *path) {
    if (path)
        unlink(path);
    mf_free(run->context, path);
}

static mfrgn_status save_files(mfrgn_run *run) {
    mfrgn_status status = MFRGN_OK;
    char *trainer = trainer_path(run, run->at.step), *similar = similar_path(run, run->at.similar_epoch);
    char *position = mf_run_path(run, "last.json");
    if (!trainer || !similar || !position)
        status = MFRGN_ERROR_MEMORY;
    if (status == MFRGN_OK && run->saved_step != run->at.step)
        status = mfrgn_trainer_save(run->trainer, trainer);
    if (status == MFRGN_OK && run->at.similar_epoch && run->saved_similar != run->at.similar_epoch)
        status = save_similar(run, similar);
    if (status == MFRGN_OK)
        status = save_position(run, position);
    mf_free(run->context, trainer);
    mf_free(run->context, similar);
    mf_free(run->context, position);
    return status;
}

mfrgn_status mf_run_save(mfrgn_run *run) {
    MF_TRY(save_files(run));
    if (run->saved_step != ULONG_MAX && run->saved_step != run->at.step)
        drop(run, trainer_path(run, run->saved_step));
    if (run->saved_similar && run->saved_similar != run->at.similar_epoch)
        drop(run, similar_path(run, run->saved_similar));
    run->saved_step = run->at.step;
    run->saved_similar = run->at.similar_epoch;
    return MFRGN_OK;
}

static mfrgn_status restore_files(mfrgn_run *run, const saved *s) {
    char *trainer = trainer_path(run, s->at.step), *similar = similar_path(run, s->at.similar_epoch);
    mfrgn_status status = trainer && similar ? mfrgn_trainer_restore(run->trainer, trainer) : MFRGN_ERROR_MEMORY;
    if (status == MFRGN_OK && s->at.similar_epoch)
        status = load_similar(run, similar);
    mf_free(run->context, trainer);
    mf_free(run->context, similar);
    return status;
}

mfrgn_status mf_run_restore(mfrgn_run *run, int *found) {
    char *path = mf_run_path(run, "last.json");
    if (!path)
        return MFRGN_ERROR_MEMORY;
    saved s;
    memset(&s, 0, sizeof(s));
    *found = access(path, F_OK) == 0;
    mfrgn_status status = *found ? load_position(run, path, &s) : MFRGN_OK;
    if (status == MFRGN_OK && *found && s.train_hash != run->train_hash)
        status =
            mf_fail(run->context, MFRGN_ERROR_MISMATCH, "%s: the training pictures are others than this run's", path);
    if (status == MFRGN_OK && *found && s.validation_hash != run->validation_hash)
        status =
            mf_fail(run->context, MFRGN_ERROR_MISMATCH, "%s: the validation pictures are others than this run's", path);
    if (status == MFRGN_OK && *found)
        status = restore_files(run, &s);
    if (status == MFRGN_OK && *found) {
        run->at = s.at;
        run->saved_step = s.at.step;
        run->saved_similar = s.at.similar_epoch;
        status = mf_run_cut_metrics(run, s.at.metrics_bytes);
    }
    mf_free(run->context, path);
    return status;
}
