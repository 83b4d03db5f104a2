/* AdamW of many tensors, and the sum of the squares of their gradients (backends/backend.h); in double between the
 * loads and the stores.  Threads: the values of all tensors in a row are cut into parts.  The sum of squares is always
 * that of PARTS parts, so that its bits do not depend on the threads. */
#include "backends/ref/real.h"

enum { PARTS = 64 };

typedef struct job {
    const mf_update *update;
    int64_t total;
    double *part; /* [PARTS] */
} job;

static int64_t total_of(const mf_update *u) {
    int64_t total = 0;
    for (size_t i = 0; i < u->count; i++)
        total += u->item[i].count;
    return total;
}

static void update_range(const mf_update *u, const mf_update_item *t, int64_t begin, int64_t end) {
    real *value = t->value, *m = t->m, *v = t->v, *average = t->average;
    const real *gradient = t->gradient;
    const double clip = u->clip_value > 0 ? u->clip_value : INFINITY, keep = u->average_decay;
    for (int64_t i = begin; i < end; i++) {
        double g = u->gradient_scale * (double)gradient[i];
        g = g > clip ? clip : g < -clip ? -clip : g; /* a NaN stays one */
        const double first = u->beta1 * (double)m[i] + (1 - u->beta1) * g;
        const double second = u->beta2 * (double)v[i] + (1 - u->beta2) * g * g;
        double p = (double)value[i] * (1 - t->rate * t->decay);
        p -= t->rate * (first / u->correction1) / (sqrt(second / u->correction2) + u->eps);
        m[i] = (real)first;
        v[i] = (real)second;
        value[i] = (real)p;
        if (average)
            average[i] = (real)(keep * (double)average[i] + (1 - keep) * (double)value[i]);
    }
}

static double squares_of(const real *x, int64_t begin, int64_t end) {
    double sum = 0;
    for (int64_t i = begin; i < end; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static void update_part(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    int64_t first = 0; /* of the tensor, among all values */
    (void)task;
    for (size_t i = 0; i < j->update->count && first < end; i++) {
        const mf_update_item *t = &j->update->item[i];
        if (first + t->count > begin)
            update_range(j->update, t, begin > first ? begin - first : 0, ref_min(end - first, t->count));
        first += t->count;
    }
}

static void square_parts(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t p = begin; p < end; p++) {
        const int64_t from = j->total * p / PARTS, to = j->total * (p + 1) / PARTS;
        int64_t first = 0;
        j->part[p] = 0;
        for (size_t i = 0; i < j->update->count && first < to; i++) {
            const mf_update_item *t = &j->update->item[i];
            if (first + t->count > from)
                j->part[p] += squares_of(t->gradient, from > first ? from - first : 0, ref_min(to - first, t->count));
            first += t->count;
        }
    }
}

void REF(update)(const mf_kernel *kernel, const mf_update *update) {
    job j = {update, total_of(update), NULL};
    ref_parallel(kernel, j.total, 5, update_part, &j);
}

double REF(sum_squares)(const mf_kernel *kernel, const mf_update *update) {
    double part[PARTS], sum = 0;
    job j = {update, total_of(update), part};
    ref_parallel(kernel, PARTS, (double)j.total / PARTS, square_parts, &j);
    for (int i = 0; i < PARTS; i++)
        sum += part[i];
    return sum;
}
