#include "train/sampler.h"

enum { REFUSALS = 1024 };

typedef struct sampler {
    const mf_train_pairs *pairs;
    const mf_neighbours *neighbours;
    size_t size, select;
    mf_draw draw;
    uint32_t *pool; /* pairs to come, a ring */
    size_t head, waiting;
    unsigned char *used; /* of each pair */
    uint32_t *taken;     /* of each label: the last batch that holds it, + 1 */
    uint32_t *forbidden; /* of each label: the last batch that has it as a semi-positive or second truth, + 1 */
    uint32_t *left;      /* of each label: pairs that are not used yet */
    uint32_t *rest;      /* `range` neighbours, to be shuffled */
    uint32_t batch;      /* that is filled now, + 1 */
    uint32_t *out;
    size_t filled;
} sampler;

/* Labels that may not stand beside this pair, but for its own. */
static size_t relatives(const mf_relation *r, uint32_t ground, const uint32_t **row) {
    *row = r->row + r->first[ground];
    return r->first[ground + 1] - r->first[ground];
}

static int clashes(const sampler *s, const mf_relation *r, const mf_train_pair *p) {
    const uint32_t *row;
    size_t n = relatives(r, p->ground, &row);
    for (size_t i = 0; i < n; i++) {
        uint32_t label = s->pairs->label_of[row[i]];
        if (label != UINT32_MAX && s->taken[label] == s->batch)
            return 1;
    }
    return 0;
}

static int fits(const sampler *s, uint32_t pair) {
    const mf_train_pair *p = &s->pairs->item[pair];
    return s->taken[p->label] != s->batch && s->forbidden[p->label] != s->batch && !clashes(s, s->pairs->truth, p) &&
           !clashes(s, s->pairs->semi, p);
}

static void forbid(sampler *s, const mf_relation *r, const mf_train_pair *p) {
    const uint32_t *row;
    size_t n = relatives(r, p->ground, &row);
    for (size_t i = 0; i < n; i++) {
        uint32_t label = s->pairs->label_of[row[i]];
        if (label != UINT32_MAX && label != p->label)
            s->forbidden[label] = s->batch;
    }
}

static void take(sampler *s, uint32_t pair) {
    const mf_train_pair *p = &s->pairs->item[pair];
    s->out[s->filled++] = pair;
    s->used[pair] = 1;
    s->left[p->label]--;
    s->taken[p->label] = s->batch;
    forbid(s, s->pairs->truth, p);
    forbid(s, s->pairs->semi, p);
}

/* One of the label's pairs that are not used, at random. */
static uint32_t pick(sampler *s, uint32_t label) {
    size_t skip = s->left[label] > 1 ? (size_t)mf_draw_below(&s->draw, s->left[label]) : 0;
    for (uint32_t k = s->pairs->first[label];; k++) {
        uint32_t pair = s->pairs->of_label[k];
        if (!s->used[pair] && skip-- == 0)
            return pair;
    }
}

static void try_label(sampler *s, uint32_t label) {
    if (s->filled == s->size || !s->left[label])
        return;
    uint32_t pair = pick(s, label);
    if (fits(s, pair))
        take(s, pair);
}

/* From the first `range` neighbours the nearest half of `select`, and as many of the rest at random. */
static void add_neighbours(sampler *s, uint32_t pair) {
    const mf_neighbours *n = s->neighbours;
    if (!n || !n->label)
        return;
    const uint32_t *label = n->label + (n->by_pair ? pair : s->pairs->item[pair].label) * n->range;
    size_t count = 0, half = s->select / 2;
    while (count < n->range && label[count] != UINT32_MAX)
        count++;
    half = half < count ? half : count;
    for (size_t i = 0; i < half; i++)
        try_label(s, label[i]);
    memcpy(s->rest, label + half, (count - half) * sizeof(*label));
    mf_draw_shuffle(&s->draw, s->rest, count - half);
    for (size_t i = 0; i < half && i < count - half; i++)
        try_label(s, s->rest[i]);
}

static void fill_batches(sampler *s, mf_batches *b) {
    size_t n = s->pairs->count, refused = 0;
    s->batch = 1;
    s->out = b->pair;
    while (s->waiting && refused < REFUSALS) {
        uint32_t pair = s->pool[s->head];
        s->head = (s->head + 1) % n;
        s->waiting--;
        if (s->used[pair])
            continue; /* came in as somebody's neighbour */
        if (!fits(s, pair)) {
            s->pool[(s->head + s->waiting++) % n] = pair;
            refused++;
            continue;
        }
        refused = 0;
        take(s, pair);
        if (s->filled < s->size)
            add_neighbours(s, pair);
        if (s->filled == s->size) {
            b->count++;
            s->out += s->size;
            s->filled = 0;
            s->batch++;
        }
    }
}

static mfrgn_status prepare(sampler *s, mf_batches *b) {
    mfrgn_context *context = s->pairs->context;
    size_t n = s->pairs->count, labels = s->pairs->labels;
    s->pool = mf_alloc(context, n * sizeof(*s->pool));
    s->used = mf_calloc(context, n, 1);
    s->taken = mf_calloc(context, labels, sizeof(*s->taken));
    s->forbidden = mf_calloc(context, labels, sizeof(*s->forbidden));
    s->left = mf_calloc(context, labels, sizeof(*s->left));
    s->rest = mf_alloc(context, (s->neighbours ? s->neighbours->range : 0) * sizeof(*s->rest) + 1);
    b->pair = mf_alloc(context, (n + s->size) * sizeof(*b->pair)); /* the last one may stay unfilled */
    if (!s->pool || !s->used || !s->taken || !s->forbidden || !s->left || !s->rest || !b->pair)
        return mf_fail_memory(context, n * sizeof(*s->pool), "the order of an epoch");
    for (size_t i = 0; i < n; i++) {
        s->pool[i] = (uint32_t)i;
        s->left[s->pairs->item[i].label]++;
    }
    s->waiting = n;
    return MFRGN_OK;
}

mfrgn_status mf_batches_make(const mf_train_pairs *pairs, const mf_neighbours *neighbours, size_t size, size_t select,
                             uint64_t seed, uint64_t epoch, mf_batches *out) {
    mfrgn_context *context = pairs->context;
    sampler s = {.pairs = pairs, .neighbours = neighbours, .size = size, .select = select};
    mf_batches b = {NULL, 0, size};
    mfrgn_status status = prepare(&s, &b);
    if (status == MFRGN_OK) {
        mf_draw shuffle = mf_draw_begin(seed, epoch, 0, MF_DRAW_SHUFFLE);
        mf_draw_shuffle(&shuffle, s.pool, pairs->count);
        s.draw = mf_draw_begin(seed, epoch, 0, MF_DRAW_NEIGHBOURS);
        fill_batches(&s, &b);
        if (!b.count)
            status = mf_fail(context, MFRGN_ERROR_ARGUMENT,
                             "batch: no batch of %zu pairs can be filled from %zu pairs of %zu places", size,
                             pairs->count, pairs->labels);
    }
    mf_free(context, s.pool);
    mf_free(context, s.used);
    mf_free(context, s.taken);
    mf_free(context, s.forbidden);
    mf_free(context, s.left);
    mf_free(context, s.rest);
    if (status != MFRGN_OK)
        mf_batches_free(context, &b);
    else
        *out = b;
    return status;
}

void mf_batches_free(mfrgn_context *context, mf_batches *b) {
    mf_free(context, b->pair);
    memset(b, 0, sizeof(*b));
}

/* ---- a pair that stands in for another ---- */

static int related(const mf_relation *r, uint32_t ground, uint32_t aerial) {
    const uint32_t *row;
    size_t n = relatives(r, ground, &row);
    for (size_t i = 0; i < n; i++)
        if (row[i] == aerial)
            return 1;
    return 0;
}

int mf_pair_fits(const mf_train_pairs *pairs, const uint32_t *batch, size_t n, uint32_t pair) {
    const mf_train_pair *p = &pairs->item[pair];
    for (size_t i = 0; i < n; i++) {
        const mf_train_pair *q = &pairs->item[batch[i]];
        if (q->label == p->label || related(pairs->truth, p->ground, q->aerial) ||
            related(pairs->truth, q->ground, p->aerial) || related(pairs->semi, p->ground, q->aerial) ||
            related(pairs->semi, q->ground, p->aerial))
            return 0;
    }
    return 1;
}
