/* Evaluation: descriptors of a data set, ranks, metrics. */
#include "gallery/embed_set.h"
#include "gallery/metrics.h"

/* A direction with its relations as the rows of its matrices are. */
typedef struct direction {
    mf_ranked ranked;
    mf_relation truth, semi;
} direction;

/* ---- ranks and metrics ---- */

static mfrgn_status make_rank(mfrgn_context *context, mf_ranked *t) {
    size_t pairs = t->truth->first[t->truth->queries];
    t->rank.truth = t->truth;
    t->rank.above = mf_calloc(context, pairs + 1, sizeof(uint32_t));
    t->rank.best = mf_calloc(context, t->queries->count + 1, sizeof(uint32_t));
    return t->rank.above && t->rank.best ? MFRGN_OK : mf_fail_memory(context, (pairs + 1) * 4, "ranks");
}

/* Ranks of one direction, or of both in one stream: then `back` is the other. */
static mfrgn_status rank(mfrgn_context *context, const mfrgn_evaluate_options *o, mf_ranked *t, mf_ranked *back,
                         mfrgn_metrics *metrics) {
    mfrgn_status status = make_rank(context, t);
    if (status == MFRGN_OK && back)
        status = make_rank(context, back);
    if (status == MFRGN_OK && o && o->stage)
        o->stage(o->user, "ranks", t->references->count);
    if (status == MFRGN_OK)
        status = mf_count_ranks(context, t->queries, t->references, o ? o->threads : 0, o ? o->progress : NULL,
                                &t->rank, back ? &back->rank : NULL);
    if (status == MFRGN_OK)
        status = mf_metrics(context, t, &metrics[0]);
    if (status == MFRGN_OK && back)
        status = mf_metrics(context, back, &metrics[1]);
    mf_free(context, t->rank.above);
    mf_free(context, t->rank.best);
    if (back) {
        mf_free(context, back->rank.above);
        mf_free(context, back->rank.best);
    }
    return status;
}

static mfrgn_status check_arguments(mfrgn_context *context, const mfrgn_evaluate_options *o,
                                    const mfrgn_metrics *metrics, int room, const int *count, int tasks) {
    if ((o && o->struct_size < sizeof(*o)) || !metrics || !count)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "evaluation: an argument is NULL or has no struct_size");
    if (room < tasks)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "evaluation: there are %d directions, and room for %d", tasks,
                       room);
    for (int i = 0; i < tasks; i++)
        if (metrics[i].struct_size < sizeof(*metrics))
            return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_metrics: struct_size is not set");
    return MFRGN_OK;
}

/* ---- data sets ---- */

/* A relation after pictures were left out on either side. */
static mfrgn_status keep(mf_arena *arena, const mf_relation *from, const mf_embedded *q, const mf_embedded *r,
                         mf_relation *to) {
    *to = *from;
    if (!q->row && !r->row)
        return MFRGN_OK;
    mf_links links = {.item = mf_arena_alloc(arena, (from->first[from->queries] + 1) * sizeof(mf_link))};
    if (!links.item)
        return mf_fail_memory(arena->context, from->first[from->queries] * sizeof(mf_link), "the truth of a data set");
    for (size_t i = 0; i < from->queries; i++)
        for (size_t k = from->first[i]; k < from->first[i + 1]; k++) {
            uint32_t query = q->row ? q->row[i] : (uint32_t)i;
            uint32_t reference = r->row ? r->row[from->row[k]] : from->row[k];
            if (query != UINT32_MAX && reference != UINT32_MAX)
                links.item[links.count++] = (mf_link){query, reference};
        }
    return mf_relation_make(arena, &links, q->matrix.count, 0, to);
}

static mfrgn_status make_direction(mf_arena *arena, const mf_task_data *task, const mf_embedded *e, direction *d) {
    const mf_embedded *q = &e[task->query], *r = &e[task->reference];
    MF_TRY(keep(arena, &task->truth, q, r, &d->truth));
    MF_TRY(keep(arena, &task->semi, q, r, &d->semi));
    d->ranked = (mf_ranked){.name = task->name,
                            .queries = &q->matrix,
                            .references = &r->matrix,
                            .truth = &d->truth,
                            .semi = &d->semi,
                            .query_sample = q->sample,
                            .reference_sample = r->sample};
    if (!d->truth.first[d->truth.queries])
        return mf_fail(arena->context, MFRGN_ERROR_FORMAT, "%s: no pair is left: its pictures cannot be read",
                       task->name);
    return MFRGN_OK;
}

static mfrgn_status embed_sets(mfrgn_session *s, const mfrgn_dataset *d, const mfrgn_evaluate_options *o,
                               mf_embedded *e) {
    uint64_t model = 0;
    if (o && o->cache)
        MF_TRY(mf_model_digest(s->model, s->engine.threads, &model));
    for (int i = 0; i < d->sets; i++) {
        char *path = NULL;
        if (o && o->cache)
            MF_TRY(mf_cache_path(s, model, o->cache, d->name, &d->set[i], &path));
        mfrgn_status status = mf_embed_set(s, &d->set[i], o, path, &e[i]);
        mf_free(s->context, path);
        MF_TRY(status);
        MF_TRY(mf_matrix_check(s->context, d->set[i].name, &e[i].matrix));
    }
    return MFRGN_OK;
}

static mfrgn_status evaluate(mfrgn_session *s, const mfrgn_dataset *d, const mfrgn_evaluate_options *o, mf_arena *arena,
                             mf_embedded *e, mfrgn_metrics *metrics) {
    direction dir[MF_TASKS];
    MF_TRY(embed_sets(s, d, o, e));
    for (int i = 0; i < d->tasks; i++)
        MF_TRY(make_direction(arena, &d->task[i], e, &dir[i]));
    if (d->tasks == 2 && d->task[0].query == d->task[1].reference && d->task[1].query == d->task[0].reference)
        return rank(s->context, o, &dir[0].ranked, &dir[1].ranked, metrics);
    for (int i = 0; i < d->tasks; i++)
        MF_TRY(rank(s->context, o, &dir[i].ranked, NULL, &metrics[i]));
    return MFRGN_OK;
}

mfrgn_status mfrgn_evaluate(mfrgn_session *s, const mfrgn_dataset *d, const mfrgn_evaluate_options *o,
                            mfrgn_metrics *metrics, int room, int *count) {
    if (!s)
        return MFRGN_ERROR_ARGUMENT;
    if (!d)
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "mfrgn_evaluate: dataset is NULL");
    MF_TRY(check_arguments(s->context, o, metrics, room, count, d->tasks));
    mf_arena arena = {s->context, NULL};
    mf_embedded e[MF_SETS];
    memset(e, 0, sizeof(e));
    mfrgn_status status = evaluate(s, d, o, &arena, e, metrics);
    for (int i = 0; i < d->sets; i++)
        mf_embedded_free(s->context, &e[i]);
    mf_arena_free(&arena);
    if (status == MFRGN_OK)
        *count = d->tasks;
    return status;
}

/* ---- files ---- */

typedef struct files {
    mf_npy q, r;
    mf_matrix queries, references;
    mf_arena arena;
    mf_links truth, semi;
    mf_relation relation[4]; /* truth and semi, forth and back */
} files;

static mfrgn_status add_label(mfrgn_context *context, mf_links *to, uint32_t query, uint32_t reference) {
    MF_TRY(mf_reserve(context, (void **)&to->item, &to->room, to->count + 1, sizeof(*to->item)));
    to->item[to->count++] = (mf_link){query, reference};
    return MFRGN_OK;
}

static mfrgn_status read_line(mfrgn_context *context, const mf_csv *csv, size_t query, int all_true, files *f) {
    size_t first = f->truth.count, first_semi = f->semi.count;
    if (query >= f->q.rows)
        return mf_csv_fail(csv, MFRGN_ERROR_MISMATCH, "a label for query %zu, but there are %zu queries", query,
                           f->q.rows);
    for (size_t i = 0; i < csv->count; i++) {
        const char *text = csv->field[i] + strspn(csv->field[i], " ");
        long row;
        if (!*text && i)
            continue; /* lines may be filled up with commas */
        if (!mf_read_int(text, &row) || row < 0)
            return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "\"%.60s\" is no row of the references (0 .. %zu)", text,
                               f->r.rows - 1);
        if ((size_t)row >= f->r.rows)
            return mf_csv_fail(csv, MFRGN_ERROR_MISMATCH, "row %ld, but there are %zu references", row, f->r.rows);
        for (size_t k = first; k < f->truth.count; k++)
            if (f->truth.item[k].reference == (uint32_t)row)
                return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "row %ld is named twice", row);
        for (size_t k = first_semi; k < f->semi.count; k++)
            if (f->semi.item[k].reference == (uint32_t)row)
                return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "row %ld is named twice", row);
        MF_TRY(add_label(context, i && !all_true ? &f->semi : &f->truth, (uint32_t)query, (uint32_t)row));
    }
    return MFRGN_OK;
}

static mfrgn_status read_labels(mfrgn_context *context, const char *path, int all_true, files *f) {
    mf_csv csv;
    int more;
    size_t query = 0;
    MF_TRY(mf_csv_open(context, path, &csv));
    mfrgn_status status;
    while ((status = mf_csv_next(&csv, 1, &more)) == MFRGN_OK && more &&
           (status = read_line(context, &csv, query, all_true, f)) == MFRGN_OK)
        query++;
    mf_csv_close(&csv);
    if (status == MFRGN_OK && query != f->q.rows)
        return mf_fail(context, MFRGN_ERROR_MISMATCH, "%s: labels of %zu queries, but there are %zu queries", path,
                       query, f->q.rows);
    return status;
}

static mfrgn_status relate(files *f) {
    for (int back = 0; back < 2; back++) {
        size_t n = back ? f->r.rows : f->q.rows;
        MF_TRY(mf_relation_make(&f->arena, &f->truth, n, back, &f->relation[2 * back]));
        MF_TRY(mf_relation_make(&f->arena, &f->semi, n, back, &f->relation[2 * back + 1]));
    }
    return MFRGN_OK;
}

static mfrgn_status evaluate_files(mfrgn_context *context, const char *queries, const char *references,
                                   const char *labels, const mfrgn_evaluate_options *o, files *f,
                                   mfrgn_metrics *metrics) {
    MF_TRY(mf_npy_map(context, queries, &f->q));
    MF_TRY(mf_npy_map(context, references, &f->r));
    if (f->q.columns != f->r.columns)
        return mf_fail(context, MFRGN_ERROR_MISMATCH, "%s has descriptors of %zu values, %s of %zu", queries,
                       f->q.columns, references, f->r.columns);
    if (f->q.rows >= UINT32_MAX || f->r.rows >= UINT32_MAX)
        return mf_fail(context, MFRGN_ERROR_UNSUPPORTED, "more than %u descriptors", UINT32_MAX - 1);
    MF_TRY(read_labels(context, labels, o && o->all_true, f));
    MF_TRY(relate(f));
    f->queries = (mf_matrix){f->q.data, f->q.rows, f->q.columns, NULL};
    f->references = (mf_matrix){f->r.data, f->r.rows, f->r.columns, NULL};
    MF_TRY(mf_matrix_check(context, queries, &f->queries));
    MF_TRY(mf_matrix_check(context, references, &f->references));
    mf_ranked forward = {.name = "ground->aerial",
                         .queries = &f->queries,
                         .references = &f->references,
                         .truth = &f->relation[0],
                         .semi = &f->relation[1]};
    mf_ranked back = {.name = "aerial->ground",
                      .queries = &f->references,
                      .references = &f->queries,
                      .truth = &f->relation[2],
                      .semi = &f->relation[3]};
    return rank(context, o, &forward, &back, metrics);
}

mfrgn_status mfrgn_evaluate_files(mfrgn_context *context, const char *queries, const char *references,
                                  const char *labels, const mfrgn_evaluate_options *o, mfrgn_metrics *metrics, int room,
                                  int *count) {
    if (!context || !queries || !references || !labels)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_evaluate_files: an argument is NULL");
    MF_TRY(check_arguments(context, o, metrics, room, count, 2));
    files f;
    memset(&f, 0, sizeof(f));
    f.arena.context = context;
    mfrgn_status status = evaluate_files(context, queries, references, labels, o, &f, metrics);
    mf_matrix_free(context, &f.queries);
    mf_matrix_free(context, &f.references);
    mf_free(context, f.truth.item);
    mf_free(context, f.semi.item);
    mf_arena_free(&f.arena);
    mf_npy_unmap(&f.q);
    mf_npy_unmap(&f.r);
    if (status == MFRGN_OK)
        *count = 2;
    return status;
}
