/* Joins galleries.  Shards of one build are put in order and give the file of a build in one piece; others follow one
 * another as they are named. */
#include <string.h>

#include "gallery/index.h"
#include "gallery/partial.h"
#include "io/reader.h"

typedef struct merge {
    mfrgn_context *context;
    size_t count;
    mfrgn_index **index;
    mf_part *part;
} merge;

static mfrgn_status check_pair(const mfrgn_index *a, const mfrgn_index *b) {
    if (a->header.model != b->header.model)
        return mf_fail(a->context, MFRGN_ERROR_MISMATCH, "%s was built with the model %s, %s with %s", a->path, a->model,
                       b->path, b->model);
    if (a->header.preparation != b->header.preparation || strcmp(a->processing, b->processing) != 0)
        return mf_fail(a->context, MFRGN_ERROR_MISMATCH, "the pictures of %s were prepared as %s (%s), those of %s as %s (%s)",
                       a->path, a->preparation, a->processing, b->path, b->preparation, b->processing);
    if (a->header.storage != b->header.storage || a->header.size != b->header.size)
        return mf_fail(a->context, MFRGN_ERROR_MISMATCH, "%s stores %u values as %s, %s stores %u as %s", a->path,
                       a->header.size, mf_storage_name(a->header.storage), b->path, b->header.size,
                       mf_storage_name(b->header.storage));
    return MFRGN_OK;
}

static int by_place(const void *a, const void *b) {
    const mfrgn_index *x = *(mfrgn_index *const *)a, *y = *(mfrgn_index *const *)b;
    return (x->header.source.first > y->header.source.first) - (x->header.source.first < y->header.source.first);
}

/* 1: parts of one list of tiles, none of which is all of it */
static int are_shards(const merge *m) {
    for (size_t i = 0; i < m->count; i++) {
        const mf_source_range *s = &m->index[i]->header.source, *of = &m->index[0]->header.source;
        if (s->hash != of->hash || s->total != of->total || s->last - s->first == s->total)
            return 0;
    }
    return m->count > 1;
}

static mfrgn_status join_shards(merge *m, mf_source_range *range) {
    mf_sort(m->index, m->count, sizeof(*m->index), by_place);
    *range = m->index[0]->header.source;
    for (size_t i = 1; i < m->count; i++) {
        const mf_source_range *next = &m->index[i]->header.source;
        if (next->first != range->last)
            return mf_fail(m->context, MFRGN_ERROR_MISMATCH, "%s ends before tile %llu of the build, %s begins at %llu: %s",
                           m->index[i - 1]->path, (unsigned long long)range->last, m->index[i]->path,
                           (unsigned long long)next->first,
                           next->first > range->last ? "a shard between them is missing" : "they overlap");
        range->last = next->last;
    }
    return MFRGN_OK;
}

/* Galleries that have nothing to do with each other. */
static void join_lists(const merge *m, mf_source_range *range) {
    mf_checksum_state state;
    mf_checksum_begin(&state);
    range->first = range->total = 0;
    for (size_t i = 0; i < m->count; i++) {
        const mf_source_range *s = &m->index[i]->header.source;
        mf_checksum_add(&state, &s->hash, sizeof(s->hash));
        range->total += s->last - s->first;
    }
    range->hash = mf_checksum_end(&state);
    range->last = range->total;
}

static mfrgn_status merge_opened(merge *m, const char *path) {
    const mfrgn_index *first = m->index[0];
    mf_assembly what = {.storage = first->header.storage,
                        .size = first->header.size,
                        .model = first->header.model,
                        .preparation = first->header.preparation,
                        .model_name = first->model,
                        .preparation_name = first->preparation,
                        .processing = first->processing,
                        .source = first->header.source,
                        .part = m->part,
                        .parts = m->count};
    for (size_t i = 1; i < m->count; i++)
        MF_TRY(check_pair(first, m->index[i]));
    if (are_shards(m))
        MF_TRY(join_shards(m, &what.source));
    else if (m->count > 1)
        join_lists(m, &what.source);
    for (size_t i = 0; i < m->count; i++) {
        MF_TRY(mfrgn_index_verify(m->index[i], NULL)); /* damage must not be handed on under a new checksum */
        m->part[i] = mf_part_of(m->index[i]);
    }
    return mf_assemble(m->context, path, &what);
}

mfrgn_status mfrgn_index_merge(mfrgn_context *context, const char *const *paths, size_t count, const char *path) {
    if (!context)
        return MFRGN_ERROR_ARGUMENT;
    if (!paths || !count || !path)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_merge: no galleries, or no path");
    for (size_t i = 0; i < count; i++)
        if (!paths[i])
            return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_merge: path %zu is NULL", i);
    merge m = {context, 0, mf_calloc(context, count, sizeof(*m.index)), mf_calloc(context, count, sizeof(*m.part))};
    mf_partial *hold = NULL;
    mfrgn_status status =
        m.index && m.part ? MFRGN_OK : mf_fail_memory(context, count * sizeof(*m.part), "galleries");
    if (status == MFRGN_OK)
        status = mf_partial_hold(context, path, &hold); /* before opening: `path` may be one of them */
    for (size_t i = 0; i < count && status == MFRGN_OK; i++) {
        status = mfrgn_index_open(context, paths[i], &m.index[i]);
        m.count += status == MFRGN_OK;
    }
    if (status == MFRGN_OK)
        status = merge_opened(&m, path);
    for (size_t i = 0; i < m.count; i++)
        mfrgn_index_free(m.index[i]);
    mf_partial_release(hold);
    mf_free(context, m.index);
    mf_free(context, m.part);
    return status;
}
