#include "train/pairs.h"

#include "base/checksum.h"

static mfrgn_status no_memory(const mf_train_pairs *p, size_t count) {
    return mf_fail_memory(p->context, count * sizeof(mf_train_pair), "the pairs of a data set");
}

/* Labels are numbered in the order of the aerial pictures. */
static mfrgn_status number_labels(mf_train_pairs *p) {
    const mf_relation *t = p->truth;
    size_t links = t->first[t->queries];
    p->label_of = mf_alloc(p->context, p->aerial->count * sizeof(uint32_t));
    p->aerial_of = mf_alloc(p->context, links * sizeof(uint32_t));
    if (!p->label_of || !p->aerial_of)
        return no_memory(p, links);
    memset(p->label_of, 0xff, p->aerial->count * sizeof(uint32_t));
    for (size_t i = 0; i < links; i++)
        p->label_of[t->row[i]] = 0;
    for (size_t i = 0; i < p->aerial->count; i++)
        if (p->label_of[i] != UINT32_MAX) {
            p->aerial_of[p->labels] = (uint32_t)i;
            p->label_of[i] = (uint32_t)p->labels++;
        }
    return MFRGN_OK;
}

static mfrgn_status list_pairs(mf_train_pairs *p) {
    const mf_relation *t = p->truth;
    p->count = t->first[t->queries];
    p->item = mf_alloc(p->context, p->count * sizeof(*p->item));
    p->first = mf_calloc(p->context, p->labels + 2, sizeof(uint32_t));
    p->of_label = mf_alloc(p->context, p->count * sizeof(uint32_t));
    if (!p->item || !p->first || !p->of_label)
        return no_memory(p, p->count);
    size_t n = 0;
    for (size_t q = 0; q < t->queries; q++)
        for (size_t k = t->first[q]; k < t->first[q + 1]; k++) {
            uint32_t label = p->label_of[t->row[k]];
            p->item[n++] = (mf_train_pair){(uint32_t)q, t->row[k], label};
            p->first[label + 2]++;
        }
    for (size_t i = 0; i < p->labels; i++)
        p->first[i + 2] += p->first[i + 1];
    for (size_t i = 0; i < n; i++)
        p->of_label[p->first[p->item[i].label + 1]++] = (uint32_t)i;
    return MFRGN_OK;
}

/* The first task whose queries are of the ground view. */
static const mf_task_data *find_task(const mfrgn_dataset *d) {
    for (int i = 0; i < d->tasks; i++)
        if (d->set[d->task[i].query].view == MFRGN_VIEW_GROUND && d->task[i].truth.first[d->task[i].truth.queries])
            return &d->task[i];
    return NULL;
}

mfrgn_status mf_train_pairs_make(mfrgn_context *context, const mfrgn_dataset *d, mf_train_pairs *out) {
    const mf_task_data *task = find_task(d);
    if (!task)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "%s: split \"%s\" has no pair of a ground and an aerial picture",
                       d->root, d->split);
    mf_train_pairs p = {.context = context,
                        .dataset = d,
                        .ground = &d->set[task->query],
                        .aerial = &d->set[task->reference],
                        .truth = &task->truth,
                        .semi = &task->semi};
    if (task->truth.first[task->truth.queries] >= UINT32_MAX)
        return mf_fail(context, MFRGN_ERROR_UNSUPPORTED, "more than %u pairs", UINT32_MAX - 1);
    mfrgn_status status = number_labels(&p);
    if (status == MFRGN_OK)
        status = list_pairs(&p);
    if (status == MFRGN_OK && p.labels < 2)
        status = mf_fail(context, MFRGN_ERROR_ARGUMENT, "%s: split \"%s\" shows %zu place: training needs two or more",
                         d->root, d->split, p.labels);
    if (status != MFRGN_OK)
        mf_train_pairs_free(&p);
    else
        *out = p;
    return status;
}

void mf_train_pairs_free(mf_train_pairs *p) {
    mf_free(p->context, p->item);
    mf_free(p->context, p->label_of);
    mf_free(p->context, p->aerial_of);
    mf_free(p->context, p->first);
    mf_free(p->context, p->of_label);
    memset(p, 0, sizeof(*p));
}

/* ---- what the data are ---- */

static void add_relation(mf_checksum_state *s, const mf_relation *r) {
    for (size_t i = 0; i <= r->queries; i++) {
        uint64_t at = r->first[i];
        mf_checksum_add(s, &at, sizeof(at));
    }
    mf_checksum_add(s, r->row, r->first[r->queries] * sizeof(*r->row));
}

uint64_t mf_dataset_hash(const mfrgn_dataset *d) {
    mf_checksum_state s;
    size_t root = strlen(d->root);
    mf_checksum_begin(&s);
    for (int i = 0; i < d->sets; i++)
        for (size_t k = 0; k < d->set[i].count; k++) {
            const mf_sample *sample = &d->set[i].item[k];
            const char *path = sample->path;
            double place[2] = {sample->located ? sample->latitude : 1000, sample->located ? sample->longitude : 1000};
            if (strncmp(path, d->root, root) == 0)
                path += root;
            mf_checksum_add(&s, path, strlen(path) + 1);
            mf_checksum_add(&s, sample->id, strlen(sample->id) + 1);
            mf_checksum_add(&s, place, sizeof(place));
        }
    for (int i = 0; i < d->tasks; i++) {
        add_relation(&s, &d->task[i].truth);
        add_relation(&s, &d->task[i].semi);
    }
    return mf_checksum_end(&s);
}
