/* Data sets: opening, questions, and what the readers share. */
#include "data/dataset.h"

typedef struct reader {
    const char *name;
    const char *splits;    /* the default first */
    const char *protocols; /* the default first; "": there is only one */
    mfrgn_status (*read)(mfrgn_dataset *d, const mf_dataset_request *request);
} reader;

static const reader readers[] = {
    {"cvusa", "val|train", "", mf_read_cvusa},
    {"cvact", "val|train|test", "", mf_read_cvact},
    {"vigor", "test|train", "same|cross", mf_read_vigor},
    {"u1652", "test|train", "published|plain", mf_read_u1652},
    {"pairs", NULL, "", mf_read_pairs},
};

const char *mfrgn_dataset_name(int index) {
    return index >= 0 && (size_t)index < MF_COUNT(readers) ? readers[index].name : NULL;
}

mfrgn_status mf_dataset_memory(const mfrgn_dataset *d) {
    return mf_fail_memory(d->context, 4096, "a data set");
}

/* ---- for the readers ---- */

int mf_dataset_add_set(mfrgn_dataset *d, const char *name, mfrgn_view view) {
    d->set[d->sets] = (mf_sample_set){.name = name, .view = view};
    return d->sets++;
}

mfrgn_status mf_dataset_add(mfrgn_dataset *d, int set, const mf_sample *sample, uint32_t *row) {
    mf_sample_set *s = &d->set[set];
    if (!sample->path || !sample->id)
        return mf_dataset_memory(d);
    if (s->count >= UINT32_MAX - 1)
        return mf_fail(d->context, MFRGN_ERROR_UNSUPPORTED, "more than %zu pictures", s->count);
    MF_TRY(mf_reserve(d->context, (void **)&s->item, &s->room, s->count + 1, sizeof(*sample)));
    *row = (uint32_t)s->count;
    s->item[s->count++] = *sample;
    return MFRGN_OK;
}

int mf_dataset_have(mfrgn_dataset *d, const char *path) {
    if (!path || mf_entry(path) == MF_ENTRY_FILE)
        return path != NULL;
    mfrgn_status status =
        mf_reserve(d->context, (void **)&d->missing, &d->missing_room, d->missing_count + 1, sizeof(*d->missing));
    if (status == MFRGN_OK)
        d->missing[d->missing_count++] = path;
    else
        d->missing_status = status;
    return 0;
}

mfrgn_status mf_link_add(mfrgn_dataset *d, mf_links *links, uint32_t query, uint32_t reference) {
    MF_TRY(mf_reserve(d->context, (void **)&links->item, &links->room, links->count + 1, sizeof(*links->item)));
    links->item[links->count++] = (mf_link){query, reference};
    return MFRGN_OK;
}

mfrgn_status mf_relation_make(mf_arena *arena, const mf_links *links, size_t queries, int transposed, mf_relation *r) {
    size_t bytes = (queries + 2) * sizeof(*r->first);
    r->queries = queries;
    r->first = mf_arena_alloc(arena, bytes);
    r->row = mf_arena_alloc(arena, (links->count + 1) * sizeof(*r->row));
    if (!r->first || !r->row)
        return mf_fail_memory(arena->context, bytes, "the truth of a data set");
    memset(r->first, 0, bytes);
    /* Counting sort: first[i + 2] counts, becomes the place to write, and ends as where i + 1 begins. */
    for (size_t i = 0; i < links->count; i++)
        r->first[(transposed ? links->item[i].reference : links->item[i].query) + 2]++;
    for (size_t i = 0; i < queries; i++)
        r->first[i + 2] += r->first[i + 1];
    for (size_t i = 0; i < links->count; i++) {
        mf_link l = links->item[i];
        r->row[r->first[(transposed ? l.reference : l.query) + 1]++] = transposed ? l.query : l.reference;
    }
    return MFRGN_OK;
}

mfrgn_status mf_dataset_add_task(mfrgn_dataset *d, const char *name, int query, int reference, const mf_links *truth,
                                 const mf_links *semi, int transposed) {
    mf_task_data *t = &d->task[d->tasks];
    *t = (mf_task_data){.name = name, .query = query, .reference = reference};
    MF_TRY(mf_relation_make(&d->memory, truth, d->set[query].count, transposed, &t->truth));
    MF_TRY(mf_relation_make(&d->memory, semi, d->set[query].count, transposed, &t->semi));
    d->tasks++;
    return MFRGN_OK;
}

mfrgn_status mf_dataset_add_both(mfrgn_dataset *d) {
    MF_TRY(mf_dataset_add_task(d, "ground->aerial", 0, 1, &d->truth, &d->semi, 0));
    return mf_dataset_add_task(d, "aerial->ground", 1, 0, &d->truth, &d->semi, 1);
}

/* ---- opening ---- */

static int in_list(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; at && length; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
        if (strncmp(at, word, length) == 0 && (at[length] == '|' || !at[length]))
            return 1;
    return 0;
}

/* The word asked for, or the list's first; an error if the list has it not. */
static mfrgn_status choose(mfrgn_dataset *d, const char *what, const char *list, const char *asked, const char **word) {
    if (asked && (list ? !in_list(list, asked) : !*asked))
        return list && !*list
                   ? mf_fail(d->context, MFRGN_ERROR_ARGUMENT, "data set %s has no %s to choose", d->name, what)
                   : mf_fail(d->context, MFRGN_ERROR_ARGUMENT, "data set %s: the %s is one of %s, not \"%.60s\"",
                             d->name, what, list ? list : "its words", asked);
    *word = asked  ? mf_arena_format(&d->memory, "%s", asked)
            : list ? mf_arena_format(&d->memory, "%.*s", (int)strcspn(list, "|"), list)
                   : "";
    return *word ? MFRGN_OK : mf_dataset_memory(d);
}

static mfrgn_status read(mfrgn_dataset *d, const reader *r, const char *root, const mfrgn_dataset_options *o) {
    mf_dataset_request request = {NULL, NULL, o && o->corrected};
    d->name = r->name;
    d->root = mf_arena_format(&d->memory, "%s", root);
    if (!d->root)
        return mf_dataset_memory(d);
    MF_TRY(choose(d, "split", r->splits, o ? o->split : NULL, &request.split));
    MF_TRY(choose(d, "protocol", r->protocols, o ? o->protocol : NULL, &request.protocol));
    if (request.corrected && strcmp(r->name, "vigor") != 0)
        return mf_fail(d->context, MFRGN_ERROR_ARGUMENT, "only vigor has corrected lists");
    d->split = request.split;
    d->protocol = request.protocol;
    if (mf_entry(root) == MF_ENTRY_NONE)
        return mf_fail(d->context, MFRGN_ERROR_IO, "%s: there is no such folder", root);
    MF_TRY(r->read(d, &request));
    if (d->missing_status != MFRGN_OK)
        return mf_dataset_memory(d);
    size_t pairs = 0;
    for (int i = 0; i < d->tasks; i++)
        pairs += d->task[i].truth.first[d->task[i].truth.queries];
    if (pairs)
        return MFRGN_OK;
    if (d->missing_count)
        return mf_fail(d->context, MFRGN_ERROR_IO, "%s: no pair is left: %zu pictures are missing, %s the first", root,
                       d->missing_count, d->missing[0]);
    return mf_fail(d->context, MFRGN_ERROR_FORMAT, "%s: there is no pair in split \"%s\"", root, d->split);
}

mfrgn_status mfrgn_dataset_open(mfrgn_context *context, const char *name, const char *root,
                                const mfrgn_dataset_options *options, mfrgn_dataset **out) {
    if (!context || !name || !root || !out || (options && options->struct_size < sizeof(*options)))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_dataset_open: an argument is NULL or has no struct_size");
    const reader *r = NULL;
    for (size_t i = 0; i < MF_COUNT(readers); i++)
        if (strcmp(readers[i].name, name) == 0)
            r = &readers[i];
    if (!r)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT,
                       "there is no data set \"%.60s\": they are cvusa, cvact, vigor, u1652, pairs", name);
    mfrgn_dataset *d = mf_calloc(context, 1, sizeof(*d));
    if (!d)
        return mf_fail_memory(context, sizeof(*d), "a data set");
    d->context = d->memory.context = mf_context_ref(context);
    mfrgn_status status = read(d, r, root, options);
    if (status != MFRGN_OK)
        mfrgn_dataset_free(d);
    else
        *out = d;
    return status;
}

void mfrgn_dataset_free(mfrgn_dataset *d) {
    if (!d)
        return;
    mfrgn_context *context = d->context;
    for (int i = 0; i < MF_SETS; i++)
        mf_free(context, d->set[i].item);
    mf_free(context, d->missing);
    mf_free(context, d->truth.item);
    mf_free(context, d->semi.item);
    mf_arena_free(&d->memory);
    mf_free(context, d);
    mfrgn_context_free(context);
}

/* ---- questions ---- */

static mfrgn_status bad(const mfrgn_dataset *d, const char *function) {
    return mf_fail(d->context, MFRGN_ERROR_ARGUMENT, "%s: no such number, or struct_size is not set", function);
}

mfrgn_status mfrgn_dataset_get_info(const mfrgn_dataset *d, mfrgn_dataset_info *info) {
    if (!d)
        return MFRGN_ERROR_ARGUMENT;
    if (!info || info->struct_size < sizeof(*info))
        return bad(d, "mfrgn_dataset_get_info");
    *info =
        (mfrgn_dataset_info){info->struct_size, d->name, d->split, d->protocol, d->sets, d->tasks, d->missing_count};
    return MFRGN_OK;
}

const char *mfrgn_dataset_missing(const mfrgn_dataset *d, size_t index) {
    return d && index < d->missing_count ? d->missing[index] : NULL;
}

mfrgn_status mfrgn_dataset_get_set(const mfrgn_dataset *d, int set, mfrgn_set_info *info) {
    if (!d)
        return MFRGN_ERROR_ARGUMENT;
    if (set < 0 || set >= d->sets || !info || info->struct_size < sizeof(*info))
        return bad(d, "mfrgn_dataset_get_set");
    *info = (mfrgn_set_info){info->struct_size, d->set[set].name, d->set[set].view, d->set[set].count};
    return MFRGN_OK;
}

mfrgn_status mfrgn_dataset_get_sample(const mfrgn_dataset *d, int set, size_t index, mfrgn_sample *sample) {
    if (!d)
        return MFRGN_ERROR_ARGUMENT;
    if (set < 0 || set >= d->sets || index >= d->set[set].count || !sample || sample->struct_size < sizeof(*sample))
        return bad(d, "mfrgn_dataset_get_sample");
    const mf_sample *s = &d->set[set].item[index];
    *sample = (mfrgn_sample){sample->struct_size, s->path,      s->id,       s->located,
                             s->latitude,         s->longitude, s->directed, s->heading};
    return MFRGN_OK;
}

mfrgn_status mfrgn_dataset_get_task(const mfrgn_dataset *d, int task, mfrgn_task_info *info) {
    if (!d)
        return MFRGN_ERROR_ARGUMENT;
    if (task < 0 || task >= d->tasks || !info || info->struct_size < sizeof(*info))
        return bad(d, "mfrgn_dataset_get_task");
    const mf_task_data *t = &d->task[task];
    size_t queries = 0;
    for (size_t i = 0; i < t->truth.queries; i++)
        queries += t->truth.first[i + 1] > t->truth.first[i];
    *info = (mfrgn_task_info){info->struct_size, t->name, t->query, t->reference, queries};
    return MFRGN_OK;
}

mfrgn_status mfrgn_dataset_get_truth(const mfrgn_dataset *d, int task, size_t query, const unsigned **truth,
                                     size_t *truth_count, const unsigned **semi, size_t *semi_count) {
    if (!d)
        return MFRGN_ERROR_ARGUMENT;
    if (task < 0 || task >= d->tasks || query >= d->task[task].truth.queries || !truth || !truth_count || !semi ||
        !semi_count)
        return bad(d, "mfrgn_dataset_get_truth");
    const mf_relation *t = &d->task[task].truth, *s = &d->task[task].semi;
    *truth = t->row + t->first[query];
    *truth_count = t->first[query + 1] - t->first[query];
    *semi = s->row + s->first[query];
    *semi_count = s->first[query + 1] - s->first[query];
    return MFRGN_OK;
}
