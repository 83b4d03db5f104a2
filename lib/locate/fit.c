/* Fitting a calibration: the temperature by a search along its logarithm, the logistic model by Newton's method. */
#include <math.h>
#include <string.h>

#include "locate/locate.h"

static int takes_part(size_t i, size_t folds, size_t leave) {
    return !folds || i % folds != leave;
}

/* ---- temperature ---- */

static double loss_at(const mf_trial *trial, size_t n, size_t folds, size_t leave, uint32_t pool, double log_t) {
    double t = exp(log_t), off = log_t - log(MFRGN_DEFAULT_TEMPERATURE);
    double loss = 0.5 * off * off; /* as much as a query or two: a set without an error has no finite optimum */
    for (size_t i = 0; i < n; i++) {
        const mf_trial *q = &trial[i];
        double sum = 0;
        if (!takes_part(i, folds, leave) || q->truth >= pool || q->truth >= q->count)
            continue;
        for (size_t k = 0; k < q->count && k < pool; k++)
            sum += exp(((double)q->hits[k].score - q->hits[0].score) / t);
        loss += log(sum) - ((double)q->hits[q->truth].score - q->hits[0].score) / t;
    }
    return loss;
}

/* Golden section: the loss is convex in 1 / t, and has one minimum along log t. */
static double fit_temperature(const mf_trial *trial, size_t n, size_t folds, size_t leave, uint32_t pool) {
    const double golden = 0.61803398874989484820;
    double a = log(1e-4), b = log(10);
    double x = b - golden * (b - a), y = a + golden * (b - a);
    double fx = loss_at(trial, n, folds, leave, pool, x), fy = loss_at(trial, n, folds, leave, pool, y);
    while (b - a > 1e-4) {
        if (fx <= fy) {
            b = y, y = x, fy = fx;
            x = b - golden * (b - a);
            fx = loss_at(trial, n, folds, leave, pool, x);
        } else {
            a = x, x = y, fx = fy;
            y = a + golden * (b - a);
            fy = loss_at(trial, n, folds, leave, pool, y);
        }
    }
    return exp((a + b) / 2);
}

static double fit_reach(const mf_trial *trial, size_t n, size_t folds, size_t leave, uint32_t pool) {
    double found = 0.5, all = 1;
    for (size_t i = 0; i < n; i++) {
        if (!takes_part(i, folds, leave))
            continue;
        if (trial[i].count < pool) /* every tile is compared */
            return 1;
        found += trial[i].truth < pool;
        all += 1;
    }
    return found / all;
}

/* ---- in the gallery? ---- */

typedef struct moments {
    double mean[2], deviation[2];
} moments;

/* Forecast i of 2 n: the query with its tiles, then without; 0: it takes no part. */
static int example(const mf_trial *trial, size_t i, size_t folds, size_t leave, double *x) {
    const mf_trial *q = &trial[i / 2];
    int no = i % 2;
    if (!takes_part(i / 2, folds, leave) || (no && isnan(q->no_best)))
        return 0;
    x[0] = no ? q->no_best : q->best;
    x[1] = no ? q->no_margin : q->margin;
    return 1;
}

static moments measure(const mf_trial *trial, size_t n, size_t folds, size_t leave) {
    moments m = {{0, 0}, {0, 0}};
    double x[2], count = 0;
    for (size_t i = 0; i < 2 * n; i++)
        if (example(trial, i, folds, leave, x)) {
            count += 1;
            for (int k = 0; k < 2; k++) {
                double before = x[k] - m.mean[k];
                m.mean[k] += before / count;
                m.deviation[k] += before * (x[k] - m.mean[k]);
            }
        }
    for (int k = 0; k < 2; k++)
        m.deviation[k] = m.deviation[k] > 0 ? sqrt(m.deviation[k] / count) : 1;
    return m;
}

/* Solves a x = b, a being symmetric and positive definite, into b. */
static void solve(double a[3][3], double *b) {
    for (int i = 0; i < 3; i++)
        for (int j = i + 1; j < 3; j++) {
            double f = a[j][i] / a[i][i];
            for (int k = i; k < 3; k++)
                a[j][k] -= f * a[i][k];
            b[j] -= f * b[i];
        }
    for (int i = 2; i >= 0; i--) {
        for (int k = i + 1; k < 3; k++)
            b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
}

/* One step of Newton's method; returns its length.  The ridge keeps weights finite where the examples can be told apart
 * without an error. */
static double newton(const mf_trial *trial, size_t n, size_t folds, size_t leave, const moments *m, double *w) {
    const double ridge = 0.1;
    double h[3][3] = {{1e-6, 0, 0}, {0, ridge, 0}, {0, 0, ridge}}, g[3] = {0, -ridge * w[1], -ridge * w[2]}, x[2];
    for (size_t i = 0; i < 2 * n; i++) {
        if (!example(trial, i, folds, leave, x))
            continue;
        double f[3] = {1, (x[0] - m->mean[0]) / m->deviation[0], (x[1] - m->mean[1]) / m->deviation[1]};
        double p = 1 / (1 + exp(-(w[0] + w[1] * f[1] + w[2] * f[2])));
        for (int r = 0; r < 3; r++) {
            g[r] += ((i % 2 == 0) - p) * f[r];
            for (int c = 0; c < 3; c++)
                h[r][c] += p * (1 - p) * f[r] * f[c];
        }
    }
    solve(h, g);
    double length = sqrt(g[0] * g[0] + g[1] * g[1] + g[2] * g[2]), scale = length > 2 ? 2 / length : 1;
    for (int r = 0; r < 3; r++)
        w[r] += scale * g[r];
    return length;
}

void mf_fit(const mf_trial *trial, size_t n, size_t folds, size_t leave, mf_calibration *c) {
    double w[3] = {0, 0, 0};
    c->temperature = fit_temperature(trial, n, folds, leave, c->pool);
    c->reach = fit_reach(trial, n, folds, leave, c->pool);
    moments m = measure(trial, n, folds, leave);
    for (int i = 0; i < 200 && newton(trial, n, folds, leave, &m, w) > 1e-9; i++)
        ;
    c->score_weight = w[1] / m.deviation[0];
    c->margin_weight = w[2] / m.deviation[1];
    c->bias = w[0] - c->score_weight * m.mean[0] - c->margin_weight * m.mean[1];
    c->fitted = 1;
}

double mf_ece(const double *forecast, const unsigned char *came_true, size_t n) {
    double said[10] = {0}, was[10] = {0}, error = 0;
    for (size_t i = 0; i < n; i++) {
        int bin = (int)(forecast[i] * 10);
        bin = bin < 0 ? 0 : bin > 9 ? 9 : bin;
        said[bin] += forecast[i];
        was[bin] += came_true[i];
    }
    for (int bin = 0; bin < 10; bin++)
        error += fabs(said[bin] - was[bin]);
    return n ? error / (double)n : NAN;
}
