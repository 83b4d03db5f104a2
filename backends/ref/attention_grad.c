/* ATTENTION_GRAD: q, k, v, dout -> [dq | dk | dv]; head h holds channels h d .. (h + 1) d - 1.
 *
 * linear, with Q = elu(q) + 1, K = elu(k) + 1, M = K^T v, s = sum K, z = Q . s + eps, out = Q M / z:
 *   G = dout / z;  dz = -(G . out);  dQ = G M^T + dz s;  dM = Q^T G;  ds = sum dz Q
 *   dK = v dM^T + ds;  dv = K dM;  dq = dQ elu'(q), dk = dK elu'(k)
 * softmax, with P the weights:  dv = P^T dout;  dP = dout v^T;  D = P (dP - sum P dP) / sqrt d;  dq = D k;  dk = D^T q
 *
 * Everything between the loads and the stores is double.  Threads: parts of the N heads. */
#include "backends/ref/real.h"

typedef struct job {
    const real *q, *k, *v, *dout;
    real *dq, *dk, *dv;
    int64_t tokens, sources, channels, heads, width; /* T, S, C, heads, d */
    double eps;
    double *scratch;
    size_t task_doubles;
} job;

/* Of a task.  linear: M, dM [d, d], s, ds, two rows [d]; softmax: P, dP [S], a row [d], dk, dv [S, d]. */
static size_t task_doubles(const mf_op *op) {
    size_t d = (size_t)(op->input[0].dim[2] / op->attrs.heads), sources = (size_t)op->input[1].dim[1];
    size_t doubles = op->attrs.attention == MF_ATTENTION_LINEAR ? 2 * d * d + 4 * d : 2 * sources + d + 2 * sources * d;
    return ref_round_up(doubles * sizeof(double)) / sizeof(double);
}

size_t REF(attention_grad_scratch)(const mf_kernel *kernel) {
    return (size_t)kernel->threads * task_doubles(&kernel->op) * sizeof(double);
}

static double elu1(real x) {
    return x > 0 ? (double)x + 1 : exp((double)x);
}

static double elu_slope(real x) {
    return x > 0 ? 1 : exp((double)x);
}

/* ---- linear ---- */

typedef struct sums {
    double *m, *dm, *s, *ds, *g, *row;
} sums;

static void add_outer(int64_t d, double *m, const double *a, const double *b) {
    for (int64_t i = 0; i < d; i++)
        for (int64_t k = 0; k < d; k++)
            m[i * d + k] += a[i] * b[k];
}

static void linear_forward_sums(const job *j, int64_t from, const sums *s) {
    const int64_t d = j->width;
    for (int64_t t = 0; t < j->sources; t++, from += j->channels) {
        for (int64_t a = 0; a < d; a++) {
            s->row[a] = elu1(j->k[from + a]);
            s->s[a] += s->row[a];
            s->g[a] = (double)j->v[from + a];
        }
        add_outer(d, s->m, s->row, s->g);
    }
}

/* dq of every token; dM and ds. */
static void linear_tokens(const job *j, int64_t to, const sums *s) {
    const int64_t d = j->width;
    for (int64_t t = 0; t < j->tokens; t++, to += j->channels) {
        double z = j->eps, dz = 0;
        for (int64_t a = 0; a < d; a++) {
            s->row[a] = elu1(j->q[to + a]);
            z += s->row[a] * s->s[a];
        }
        for (int64_t b = 0; b < d; b++)
            s->g[b] = (double)j->dout[to + b] / z;
        for (int64_t a = 0; a < d; a++) {
            double dot = 0;
            for (int64_t b = 0; b < d; b++)
                dot += s->m[a * d + b] * s->g[b];
            dz -= s->row[a] * dot / z; /* G . out, out = Q M / z */
        }
        add_outer(d, s->dm, s->row, s->g);
        for (int64_t a = 0; a < d; a++) {
            double dot = dz * s->s[a];
            for (int64_t b = 0; b < d; b++)
                dot += s->m[a * d + b] * s->g[b];
            s->ds[a] += dz * s->row[a];
            j->dq[to + a] = (real)(dot * elu_slope(j->q[to + a]));
        }
    }
}

/* dk and dv of every source. */
static void linear_sources(const job *j, int64_t from, const sums *s) {
    const int64_t d = j->width;
    for (int64_t t = 0; t < j->sources; t++, from += j->channels) {
        memset(s->row, 0, (size_t)d * sizeof(double));
        for (int64_t a = 0; a < d; a++) {
            const double weight = elu1(j->k[from + a]);
            double dot = s->ds[a];
            for (int64_t b = 0; b < d; b++) {
                dot += s->dm[a * d + b] * (double)j->v[from + b];
                s->row[b] += s->dm[a * d + b] * weight;
            }
            j->dk[from + a] = (real)(dot * elu_slope(j->k[from + a]));
        }
        for (int64_t b = 0; b < d; b++)
            j->dv[from + b] = (real)s->row[b];
    }
}

static void linear_heads(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const int64_t d = j->width;
    double *m = j->scratch + (size_t)task * j->task_doubles;
    const sums s = {m, m + d * d, m + 2 * d * d, m + 2 * d * d + d, m + 2 * d * d + 2 * d, m + 2 * d * d + 3 * d};
    for (int64_t i = begin; i < end; i++) {
        const int64_t first = i % j->heads * d, image = i / j->heads;
        const int64_t from = image * j->sources * j->channels + first, to = image * j->tokens * j->channels + first;
        memset(m, 0, (size_t)(2 * d * d + 2 * d) * sizeof(double));
        linear_forward_sums(j, from, &s);
        linear_tokens(j, to, &s);
        linear_sources(j, from, &s);
    }
}

/* ---- softmax ---- */

/* p: the weights of a token; dp: D, the gradient before the softmax. */
static void softmax_row(const job *j, int64_t to, int64_t from, double *p, double *dp) {
    const double scale = 1 / sqrt((double)j->width);
    double maximum = -INFINITY, sum = 0, mean = 0;
    for (int64_t s = 0; s < j->sources; s++, from += j->channels) {
        double dot = 0, gradient = 0;
        for (int64_t a = 0; a < j->width; a++) {
            dot += (double)j->q[to + a] * (double)j->k[from + a];
            gradient += (double)j->dout[to + a] * (double)j->v[from + a];
        }
        p[s] = dot * scale;
        dp[s] = gradient;
        maximum = p[s] > maximum ? p[s] : maximum;
    }
    for (int64_t s = 0; s < j->sources; s++)
        sum += p[s] = exp(p[s] - maximum);
    for (int64_t s = 0; s < j->sources; s++) {
        p[s] /= sum;
        mean += p[s] * dp[s];
    }
    for (int64_t s = 0; s < j->sources; s++)
        dp[s] = p[s] * (dp[s] - mean) * scale;
}

static void softmax_head(const job *j, int64_t to, int64_t from, double *scratch) {
    const int64_t d = j->width;
    double *p = scratch, *dp = p + j->sources, *row = dp + j->sources, *dk = row + d, *dv = dk + j->sources * d;
    memset(dk, 0, (size_t)(2 * j->sources * d) * sizeof(double));
    for (int64_t t = 0; t < j->tokens; t++, to += j->channels) {
        softmax_row(j, to, from, p, dp);
        memset(row, 0, (size_t)d * sizeof(double));
        for (int64_t s = 0; s < j->sources; s++)
            for (int64_t a = 0; a < d; a++) {
                row[a] += dp[s] * (double)j->k[from + s * j->channels + a];
                dk[s * d + a] += dp[s] * (double)j->q[to + a];
                dv[s * d + a] += p[s] * (double)j->dout[to + a];
            }
        for (int64_t a = 0; a < d; a++)
            j->dq[to + a] = (real)row[a];
    }
    for (int64_t s = 0; s < j->sources; s++)
        for (int64_t a = 0; a < d; a++) {
            j->dk[from + s * j->channels + a] = (real)dk[s * d + a];
            j->dv[from + s * j->channels + a] = (real)dv[s * d + a];
        }
}

static void softmax_heads(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t i = begin; i < end; i++) {
        const int64_t first = i % j->heads * j->width, image = i / j->heads;
        softmax_head(j, image * j->tokens * j->channels + first, image * j->sources * j->channels + first,
                     j->scratch + (size_t)task * j->task_doubles);
    }
}

MF_REF_RUN(attention_grad) {
    const mf_op *op = &kernel->op;
    const int64_t *dim = op->input[0].dim, sources = op->input[1].dim[1];
    job j = {.q = inputs[0],
             .k = inputs[1],
             .v = inputs[2],
             .dout = inputs[3],
             .dq = output,
             .tokens = dim[1],
             .sources = sources,
             .channels = dim[2],
             .heads = op->attrs.heads,
             .width = dim[2] / op->attrs.heads,
             .eps = op->attrs.eps,
             .scratch = scratch,
             .task_doubles = task_doubles(op)};
    j.dk = j.dq + dim[0] * dim[1] * dim[2];
    j.dv = j.dk + dim[0] * sources * dim[2];
    if (op->attrs.attention == MF_ATTENTION_LINEAR)
        ref_parallel(kernel, dim[0] * j.heads, 3.0 * (double)((j.tokens + sources) * j.width * j.width), linear_heads,
                     &j);
    else
        ref_parallel(kernel, dim[0] * j.heads, 5.0 * (double)(j.tokens * sources * j.width), softmax_heads, &j);
}
