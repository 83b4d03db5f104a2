/* INFONCE: L = exp(t) q r^T, q and r [N, D];  loss = (CE(L) + CE(L^T)) / 2, where a row i of CE is
 *   lse_i - sum_j T_ij L_ij,  T_ij = (1 - rate) [i = j] + rate / N,  and the mean is over the rows.
 * INFONCE_GRAD: dL = dloss / (2 N) (softmax over rows + softmax over columns - 2 T);
 *   dq = exp(t) dL r;  dr = exp(t) dL^T q;  dt = sum dL L.
 * The logits lie in the scratch in double, and so does everything else; each softmax with its maximum taken off.
 * Threads: parts of the rows or columns; what is left is summed in order. */
#include "backends/ref/real.h"

typedef struct job {
    const real *q, *r;
    real *dq, *dr;
    int64_t n, size;
    double scale, rate, gradient; /* exp(t); dloss / (2 N) */
    double *logits;               /* [N, N] */
    double *row, *column;         /* [N]: log of the sums of exp */
    double *part;                 /* [N]: what each row adds to the loss, or to dt */
} job;

size_t REF(infonce_scratch)(const mf_kernel *kernel) {
    const size_t n = (size_t)kernel->op.input[0].dim[0];
    return (n * n + 3 * n) * sizeof(double);
}

static job make_job(const mf_kernel *kernel, const void *const *inputs, void *scratch) {
    const mf_op *op = &kernel->op;
    job j = {.q = inputs[0], .r = inputs[1], .n = op->input[0].dim[0], .size = op->input[0].dim[1]};
    j.scale = exp((double)*(const real *)inputs[2]);
    j.rate = op->attrs.rate;
    j.logits = scratch;
    j.row = j.logits + j.n * j.n;
    j.column = j.row + j.n;
    j.part = j.column + j.n;
    return j;
}

static double dot(const real *a, const real *b, int64_t size) {
    double sum[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= size; i += 4)
        for (int k = 0; k < 4; k++)
            sum[k] += (double)a[i + k] * (double)b[i + k];
    for (; i < size; i++)
        sum[0] += (double)a[i] * (double)b[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* log sum exp of n values, `step` apart */
static double log_sum(const double *x, int64_t n, int64_t step) {
    double maximum = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        maximum = x[i * step] > maximum ? x[i * step] : maximum;
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i * step] - maximum);
    return maximum + log(sum);
}

static void logit_rows(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t k = 0; k < j->n; k++)
            j->logits[i * j->n + k] = j->scale * dot(j->q + i * j->size, j->r + k * j->size, j->size);
        j->row[i] = log_sum(j->logits + i * j->n, j->n, 1);
    }
}

/* A row's and the like column's part of the loss, from differences so that large logits cancel before the sum. */
static void loss_rows(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const double smooth = j->rate / (double)j->n;
    (void)task;
    for (int64_t i = begin; i < end; i++) {
        j->column[i] = log_sum(j->logits + i, j->n, j->n);
        double all = 0;
        for (int64_t k = 0; k < j->n; k++)
            all += (j->row[i] - j->logits[i * j->n + k]) + (j->column[i] - j->logits[k * j->n + i]);
        j->part[i] = (1 - j->rate) * (j->row[i] + j->column[i] - 2 * j->logits[i * j->n + i]) + smooth * all;
    }
}

static void sum_logits(const mf_kernel *kernel, job *j) {
    ref_parallel(kernel, j->n, 0.5 * (double)(j->n * j->size), logit_rows, j);
    ref_parallel(kernel, j->n, 20.0 * (double)j->n, loss_rows, j);
}

MF_REF_RUN(infonce) {
    job j = make_job(kernel, inputs, scratch);
    double loss = 0;
    sum_logits(kernel, &j);
    for (int64_t i = 0; i < j.n; i++)
        loss += j.part[i];
    *(real *)output = (real)(loss / (2 * (double)j.n));
}

/* The logits become dL; part: what a row adds to dt. */
static void gradient_rows(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    const double smooth = j->rate / (double)j->n;
    (void)task;
    for (int64_t i = begin; i < end; i++) {
        double sum = 0;
        for (int64_t k = 0; k < j->n; k++) {
            double *at = j->logits + i * j->n + k, logit = *at;
            const double target = smooth + (i == k ? 1 - j->rate : 0);
            *at = j->gradient * ((exp(logit - j->row[i]) - target) + (exp(logit - j->column[k]) - target));
            sum += *at * logit;
        }
        j->part[i] = sum;
    }
}

/* out[size] = scale sum_k weight[k step] x[k, size]; CHUNK values at a time in double. */
static void mix(const job *j, const double *weight, int64_t step, const real *x, real *out) {
    enum { CHUNK = 256 };
    for (int64_t first = 0; first < j->size; first += CHUNK) {
        const int64_t count = ref_min(j->size - first, CHUNK);
        double sum[CHUNK] = {0};
        for (int64_t k = 0; k < j->n; k++)
            for (int64_t c = 0; c < count; c++)
                sum[c] += weight[k * step] * (double)x[k * j->size + first + c];
        for (int64_t c = 0; c < count; c++)
            out[first + c] = (real)(j->scale * sum[c]);
    }
}

static void mix_rows(void *arg, int task, int64_t begin, int64_t end) {
    const job *j = arg;
    (void)task;
    for (int64_t i = begin; i < end; i++) {
        mix(j, j->logits + i * j->n, 1, j->r, j->dq + i * j->size);
        mix(j, j->logits + i, j->n, j->q, j->dr + i * j->size);
    }
}

MF_REF_RUN(infonce_grad) {
    job j = make_job(kernel, inputs, scratch);
    double sum = 0;
    j.gradient = (double)*(const real *)inputs[3] / (2 * (double)j.n);
    j.dq = output;
    j.dr = j.dq + j.n * j.size;
    sum_logits(kernel, &j);
    ref_parallel(kernel, j.n, 20.0 * (double)j.n, gradient_rows, &j);
    for (int64_t i = 0; i < j.n; i++)
        sum += j.part[i];
    j.dr[j.n * j.size] = (real)sum;
    ref_parallel(kernel, j.n, (double)(j.n * j.size), mix_rows, &j);
}
