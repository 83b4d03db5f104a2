/* The lists of a scan, for the backends that run on a CPU: each thread keeps its own, and they are joined at the end.
 *
 * TOP: a list takes every row whose upper bound (score + slack) reaches a floor, and when it is full it is pruned: the
 * k-th largest lower bound becomes the floor.  So a row costs one comparison, and a selection is paid for by a few
 * hundred rows that were taken.  A list that stays nearly full has too many rows that nobody can tell apart; it is
 * given up (found = -1), and the caller scans exactly. */
#ifndef MFRGN_BACKENDS_SCAN_H
#define MFRGN_BACKENDS_SCAN_H

#include <math.h>
#include <string.h>

#include "backends/backend.h"

#define MF_SCAN_TINY 2e-38f /* what is lost to underflow, see the proof */

/* One thread's lists; the arrays are `padded` queries long, those past n never take anything. */
typedef struct mf_scan_lists {
    const mf_scan *scan;
    float error;
    float *floor;
    int64_t *found;
    int64_t *above;
    mf_scan_item *item;
    float *select; /* room values */
} mf_scan_lists;

static inline size_t mf_scan_align(size_t bytes) {
    return (bytes + MF_ALIGN - 1) / MF_ALIGN * MF_ALIGN;
}

static inline size_t mf_scan_lists_bytes(const mf_scan *s, int64_t padded) {
    return mf_scan_align((size_t)padded * sizeof(float)) + 2 * mf_scan_align((size_t)padded * sizeof(int64_t)) +
           mf_scan_align((size_t)(s->n * s->room) * sizeof(mf_scan_item)) +
           mf_scan_align((size_t)s->room * sizeof(float));
}

static inline void mf_scan_lists_init(mf_scan_lists *l, const mf_scan *s, float error, int64_t padded, void *memory) {
    char *at = (char *)memory;
    l->scan = s;
    l->error = error;
    l->floor = (float *)(void *)at;
    at += mf_scan_align((size_t)padded * sizeof(float));
    l->found = (int64_t *)(void *)at;
    at += mf_scan_align((size_t)padded * sizeof(int64_t));
    l->above = (int64_t *)(void *)at;
    at += mf_scan_align((size_t)padded * sizeof(int64_t));
    l->item = (mf_scan_item *)(void *)at;
    at += mf_scan_align((size_t)(s->n * s->room) * sizeof(mf_scan_item));
    l->select = (float *)(void *)at;
    for (int64_t q = 0; q < padded; q++) {
        l->floor[q] = q < s->n ? s->floor[q] : INFINITY;
        l->found[q] = l->above[q] = 0;
    }
}

/* w of a row: slack(q, row) = query_norm[q] w + MF_SCAN_TINY.  8 u: rounding of the bounds and of the exact score. */
static inline float mf_scan_width(const mf_scan *s, float error, uint32_t row) {
    float norm = s->norm[row], residual = s->residual ? s->residual[row] : 0;
    return (residual * (1 + error) + (error + 0x1p-21f) * (norm + residual)) * (1 + 0x1p-20f);
}

static inline uint32_t mf_scan_row(const mf_scan *s, int64_t i) {
    return s->list ? s->list[i] : (uint32_t)i;
}

/* The k-th largest of n values, 1 <= k <= n, which are reordered (Hoare's selection, middle of three). */
static inline float mf_scan_select(float *v, int64_t n, int64_t k) {
    int64_t begin = 0, end = n - 1, want = k - 1;
    while (begin < end) {
        float a = v[begin], b = v[begin + (end - begin) / 2], c = v[end];
        float pivot = a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
        int64_t i = begin, j = end;
        while (i <= j) {
            while (v[i] > pivot)
                i++;
            while (v[j] < pivot)
                j--;
            if (i <= j) {
                float t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (want <= j)
            end = j;
        else if (want >= i)
            begin = i;
        else
            break;
    }
    return v[want];
}

/* Drops what cannot be among the k best, and raises the floor.  A list that is still `full` is given up. */
static inline void mf_scan_prune(mf_scan_lists *l, int64_t q, int64_t full) {
    const mf_scan *s = l->scan;
    mf_scan_item *item = l->item + q * s->room;
    int64_t n = l->found[q], kept = 0;
    if (n >= s->k) {
        for (int64_t i = 0; i < n; i++)
            l->select[i] =
                item[i].score - (s->query_norm[q] * mf_scan_width(s, l->error, item[i].row) + MF_SCAN_TINY);
        float low = mf_scan_select(l->select, n, s->k);
        if (low > l->floor[q])
            l->floor[q] = low;
    }
    for (int64_t i = 0; i < n; i++) {
        float slack = s->query_norm[q] * mf_scan_width(s, l->error, item[i].row) + MF_SCAN_TINY;
        if (item[i].score + slack >= l->floor[q])
            item[kept++] = item[i];
    }
    l->found[q] = kept;
    if (kept >= full) {
        l->found[q] = -1;
        l->floor[q] = INFINITY;
    }
}

/* Takes a row whose bounds say that it may matter. */
static inline void mf_scan_take(mf_scan_lists *l, int64_t q, uint32_t row, float score) {
    const mf_scan *s = l->scan;
    int64_t n = l->found[q];
    if (n < 0)
        return;
    if (n == s->room) {
        if (s->kind == MF_SCAN_COUNT) {
            l->found[q] = -1;
            return;
        }
        mf_scan_prune(l, q, s->room - s->room / 8);
        n = l->found[q];
        if (n < 0)
            return;
    }
    l->item[q * s->room + n] = (mf_scan_item){score, row};
    l->found[q] = n + 1;
}

/* The scalar form of the comparison. */
static inline void mf_scan_offer(mf_scan_lists *l, int64_t q, uint32_t row, float score, float width) {
    float slack = l->scan->query_norm[q] * width + MF_SCAN_TINY;
    if (l->scan->kind == MF_SCAN_TOP) {
        if (score + slack >= l->floor[q])
            mf_scan_take(l, q, row, score);
    } else if (score - slack > l->floor[q]) {
        l->above[q]++;
    } else if (score + slack > l->floor[q]) {
        mf_scan_take(l, q, row, score);
    }
}

/* Joins the lists of all threads for query q into the scan's results; l[0] is worked in. */
static inline void mf_scan_join(mf_scan_lists *l, int threads, int64_t q) {
    const mf_scan *s = l[0].scan;
    int64_t found = 0;
    for (int t = 0; t < threads; t++)
        if (l[t].found[q] < 0)
            found = -1;
    for (int t = 0; found == 0 && s->kind == MF_SCAN_COUNT && t < threads; t++)
        s->above[q] += l[t].above[q];
    for (int t = 1; found == 0 && t < threads; t++) {
        if (l[t].floor[q] > l[0].floor[q] && s->kind == MF_SCAN_TOP)
            l[0].floor[q] = l[t].floor[q];
        for (int64_t i = 0; i < l[t].found[q]; i++) {
            const mf_scan_item *item = l[t].item + q * s->room + i;
            mf_scan_take(&l[0], q, item->row, item->score);
        }
    }
    if (found == 0 && s->kind == MF_SCAN_TOP && l[0].found[q] >= 0)
        mf_scan_prune(&l[0], q, s->room + 1);
    found = found < 0 ? -1 : l[0].found[q];
    if (found > 0)
        memcpy(s->item + q * s->room, l[0].item + q * s->room, (size_t)found * sizeof(mf_scan_item));
    s->found[q] = found;
    if (found >= 0 && s->kind == MF_SCAN_TOP)
        s->floor[q] = l[0].floor[q];
}

#endif
