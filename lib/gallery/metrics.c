#include "gallery/metrics.h"

#include "mfrgn/gallery.h"

/* A true reference: its score and how many references lie strictly above it. */
typedef struct hit {
    double score;
    uint32_t above;
} hit;

typedef struct totals {
    size_t queries, in_1, in_5, in_10, in_percent, hits, semi, multiple;
    double precision;
    double *metres;
    size_t located;
} totals;

static int by_score(const void *a, const void *b) {
    double x = ((const hit *)a)->score, y = ((const hit *)b)->score;
    return x > y ? -1 : x < y;
}

static double score_of(const mf_ranked *t, size_t query, uint32_t reference) {
    return mf_dot(t->queries->data + query * t->queries->size, t->references->data + reference * t->references->size,
                  t->queries->size);
}

/* Area under precision over recall by the trapezoid rule, as University-1652's evaluation has it: behind the i-th hit
 * at place p the precision is (i + 1) / (p + 1), before it i / p.  Hits stand before others of the same score. */
static double average_precision(const hit *hits, size_t count) {
    double sum = 0;
    size_t higher = 0; /* hits strictly above */
    for (size_t i = 0; i < count; i++) {
        if (i && hits[i].score < hits[i - 1].score)
            higher = i;
        size_t place = hits[i].above - higher + i;
        double behind = (double)(i + 1) / (double)(place + 1), before = place ? (double)i / (double)place : 1;
        sum += (behind + before) / 2;
    }
    return sum / (double)count;
}

/* References above the best hit, without the semi-positives among them. */
static size_t others_above(const mf_ranked *t, size_t query, const hit *best) {
    size_t above = best->above;
    for (size_t k = t->semi->first[query]; k < t->semi->first[query + 1]; k++) {
        int again = 0; /* a list may name a tile twice */
        for (size_t m = t->semi->first[query]; m < k; m++)
            again |= t->semi->row[m] == t->semi->row[k];
        if (!again && score_of(t, query, t->semi->row[k]) > best->score)
            above--;
    }
    return above;
}

static void add_distance(const mf_ranked *t, size_t query, totals *sum) {
    if (!t->query_sample || !t->reference_sample)
        return;
    const mf_sample *q = &t->query_sample[query], *r = &t->reference_sample[t->rank.best[query]];
    if (!q->located || !r->located)
        return;
    sum->metres[sum->located++] = mfrgn_distance_m(q->latitude, q->longitude, r->latitude, r->longitude);
}

static void add_query(const mf_ranked *t, size_t query, hit *hits, totals *sum) {
    size_t first = t->truth->first[query], count = t->truth->first[query + 1] - first;
    for (size_t i = 0; i < count; i++)
        hits[i] = (hit){score_of(t, query, t->truth->row[first + i]), t->rank.above[first + i]};
    mf_sort(hits, count, sizeof(*hits), by_score);
    size_t rank = hits[0].above;
    sum->queries++;
    sum->in_1 += rank < 1;
    sum->in_5 += rank < 5;
    sum->in_10 += rank < 10;
    sum->in_percent += rank < t->references->count / 100;
    sum->hits += others_above(t, query, &hits[0]) == 0;
    sum->semi += t->semi->first[query + 1] > t->semi->first[query];
    sum->multiple += count > 1;
    sum->precision += average_precision(hits, count);
    add_distance(t, query, sum);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percent(size_t part, size_t whole) {
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static double share_within(const totals *sum, double limit) {
    size_t n = 0;
    while (n < sum->located && sum->metres[n] <= limit)
        n++;
    return percent(n, sum->located);
}

static void report(const mf_ranked *t, totals *sum, mfrgn_metrics *m) {
    size_t n = sum->located;
    mf_sort(sum->metres, n, sizeof(double), by_value);
    *m = (mfrgn_metrics){.struct_size = m->struct_size,
                         .task = t->name,
                         .queries = sum->queries,
                         .references = t->references->count,
                         .recall_1 = percent(sum->in_1, sum->queries),
                         .recall_5 = percent(sum->in_5, sum->queries),
                         .recall_10 = percent(sum->in_10, sum->queries),
                         .recall_percent = percent(sum->in_percent, sum->queries),
                         .hit_rate = percent(sum->hits, sum->queries),
                         .ap = sum->queries ? 100 * (sum->precision / (double)sum->queries) : 0,
                         .has_semi = sum->semi > 0,
                         .multiple = sum->multiple > 0,
                         .located = n,
                         .within_25 = share_within(sum, 25),
                         .within_50 = share_within(sum, 50),
                         .within_100 = share_within(sum, 100)};
    if (n)
        m->median_m = n % 2 ? sum->metres[n / 2] : (sum->metres[n / 2 - 1] + sum->metres[n / 2]) / 2;
}

mfrgn_status mf_metrics(mfrgn_context *context, const mf_ranked *t, mfrgn_metrics *metrics) {
    size_t most = 1;
    for (size_t i = 0; i < t->truth->queries; i++)
        if (t->truth->first[i + 1] - t->truth->first[i] > most)
            most = t->truth->first[i + 1] - t->truth->first[i];
    totals sum = {.metres = mf_alloc(context, t->truth->queries * sizeof(double))};
    hit *hits = mf_alloc(context, most * sizeof(*hits));
    mfrgn_status status = MFRGN_OK;
    if (!sum.metres || !hits)
        status = mf_fail_memory(context, t->truth->queries * sizeof(double), "metrics");
    for (size_t i = 0; status == MFRGN_OK && i < t->truth->queries; i++)
        if (t->truth->first[i + 1] > t->truth->first[i])
            add_query(t, i, hits, &sum);
    if (status == MFRGN_OK)
        report(t, &sum, metrics);
    mf_free(context, sum.metres);
    mf_free(context, hits);
    return status;
}
