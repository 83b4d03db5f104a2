/* ATTENTION: q [N, T, C], k and v [N, S, C] -> [N, T, C]; head h holds channels h d .. (h + 1) d - 1, d = C / heads.
 *
 * linear:  Q = elu(q) + 1, K = elu(k) + 1;  out = Q (K^T v) / (Q . sum_s K_s + eps)
 * softmax: out = softmax(q k^T / sqrt d) v
 *
 * Everything between the loads and the stores is double.  Threads: parts of the N heads (linear), of the N heads T
 * rows (softmax). */
#include "backends/ref/real.h"

typedef struct job {
    const real *q, *k, *v;
    real *out;
    int64_t tokens, sources, channels, heads, width; /* T, S, C, heads, d */
    double eps;
    double *scratch;
    size_t task_doubles;
} job;

/* Of a task.  linear: K^T v [d, d], sum of K [d], a row of the sums [d]; softmax: weights [S], a row [d]. */
static size_t task_doubles(const mf_op *op) {
    size_t d = (size_t)(op->output.dim[2] / op->attrs.heads), sources = (size_t)op->input[1].dim[1];
    size_t doubles = op->attrs.attention == MF_ATTENTION_LINEAR ? d * d + 2 * d : sources + d;
    return ref_round_up(doubles * sizeof(double)) / sizeof(double);
}

size_t REF(attention_scratch)(const mf_kernel *kernel) {
    return (size_t)kernel->threads * task_doubles(&kernel->op) * sizeof(double);
}

static double elu1(real x) {
    return x > 0 ? (double)x + 1 : exp((double)x);
}

/* kv[i, j] = sum_s K[s, i] v[s, j]; total[i] = sum_s K[s, i] */
static void linear_sums(const job *j, const real *k, const real *v, double *kv, double *total) {
    const int64_t d = j->width;
    memset(kv, 0, (size_t)(d * d) * sizeof(*kv));
    memset(total, 0, (size_t)d * sizeof(*total));
    for (int64_t s = 0; s < j->sources; s++, k += j->channels, v += j->channels)
        for (int64_t a = 0; a < d; a++) {
            const double weight = elu1(k[a]);
            total[a] += weight;
            for (int64_t b = 0; b < d; b++)
                kv[a * d + b] += weight * (double)v[b];
        }
}

static void linear_heads(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const int64_t d = j->width;
    double *kv = j->scratch + (size_t)task * j->task_doubles, *total = kv + d * d, *row = total + d;
    for (int64_t i = begin; i < end; i++) {
        const int64_t first = i % j->heads * d, image = i / j->heads;
        const int64_t from = image * j->sources * j->channels + first, to = image * j->tokens * j->channels + first;
        linear_sums(j, j->k + from, j->v + from, kv, total);
        for (int64_t t = 0; t < j->tokens; t++) {
            const real *q = j->q + to + t * j->channels;
            double norm = j->eps;
            memset(row, 0, (size_t)d * sizeof(*row));
            for (int64_t a = 0; a < d; a++) {
                const double weight = elu1(q[a]);
                norm += weight * total[a];
                for (int64_t b = 0; b < d; b++)
                    row[b] += weight * kv[a * d + b];
            }
            for (int64_t b = 0; b < d; b++)
                j->out[to + t * j->channels + b] = (real)(row[b] / norm);
        }
    }
}

/* weight[s] = exp(q . k_s / sqrt d - maximum); returns their sum */
static double softmax_weights(const job *j, const real *q, const real *k, double *weight) {
    const double scale = 1 / sqrt((double)j->width);
    double maximum = -INFINITY, sum = 0;
    for (int64_t s = 0; s < j->sources; s++, k += j->channels) {
        double dot = 0;
        for (int64_t a = 0; a < j->width; a++)
            dot += (double)q[a] * (double)k[a];
        weight[s] = dot * scale;
        maximum = weight[s] > maximum ? weight[s] : maximum;
    }
    for (int64_t s = 0; s < j->sources; s++)
        sum += weight[s] = exp(weight[s] - maximum);
    return sum;
}

static void softmax_rows(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const int64_t d = j->width;
    double *weight = j->scratch + (size_t)task * j->task_doubles, *row = weight + j->sources;
    for (int64_t i = begin; i < end; i++) {
        const int64_t first = i / j->tokens % j->heads * d, image = i / j->tokens / j->heads;
        const int64_t from = image * j->sources * j->channels + first;
        const int64_t to = (image * j->tokens + i % j->tokens) * j->channels + first;
        const double sum = softmax_weights(j, j->q + to, j->k + from, weight);
        const real *v = j->v + from;
        memset(row, 0, (size_t)d * sizeof(*row));
        for (int64_t s = 0; s < j->sources; s++, v += j->channels)
            for (int64_t b = 0; b < d; b++)
                row[b] += weight[s] * (double)v[b];
        for (int64_t b = 0; b < d; b++)
            j->out[to + b] = (real)(row[b] / sum);
    }
}

MF_REF_RUN(attention) {
    const mf_op *op = &kernel->op;
    const int64_t *dim = op->output.dim;
    job j = {.q = inputs[0],
             .k = inputs[1],
             .v = inputs[2],
             .out = output,
             .tokens = dim[1],
             .sources = op->input[1].dim[1],
             .channels = dim[2],
             .heads = op->attrs.heads,
             .width = dim[2] / op->attrs.heads,
             .eps = op->attrs.eps,
             .scratch = scratch,
             .task_doubles = task_doubles(op)};
    if (op->attrs.attention == MF_ATTENTION_LINEAR)
        ref_parallel(kernel, dim[0] * j.heads, (double)((j.tokens + j.sources) * j.width * j.width), linear_heads, &j);
    else
        ref_parallel(kernel, dim[0] * j.heads * j.tokens, 2.0 * (double)(j.sources * j.width), softmax_rows, &j);
}
