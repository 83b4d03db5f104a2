/* Works out constants: weights converted, literals, folds.  Large ones are done in rows by several threads, since this
 * is most of the time between opening a file and the first descriptor. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/graph.h"
#include "io/weights.h"

typedef struct evaluation {
    const mf_graph *g;
    mf_parameter_source source;
    void *user;
} evaluation;

static size_t row_elements(const mf_tensor *t) {
    return t->ndim ? mf_tensor_elements(t) / (size_t)t->dim[0] : 1;
}

/* A vector as doubles, to be freed; *values stays NULL for an absent one. */
static mfrgn_status vector(const evaluation *e, mf_value v, double **values) {
    *values = NULL;
    if (v < 0)
        return MFRGN_OK;
    size_t n = mf_tensor_elements(&e->g->tensor[v]);
    double *out = mf_alloc(e->g->context, n * sizeof(double));
    if (!out)
        return mf_fail_memory(e->g->context, n * sizeof(double), "a folded constant");
    mfrgn_status status = mf_constant_evaluate(e->g, v, e->source, e->user, MF_F64, out);
    if (status != MFRGN_OK)
        mf_free(e->g->context, out);
    else
        *values = out;
    return status;
}

/* gamma / sqrt(var + eps), beta - mean s + s bias */
static mfrgn_status evaluate_batchnorm(const evaluation *e, const mf_tensor *t, double *out) {
    double *x[MF_FOLD_SOURCES] = {NULL};
    mfrgn_status status = MFRGN_OK;
    for (int i = 0; i < MF_FOLD_SOURCES && status == MFRGN_OK; i++)
        status = vector(e, t->source[i], &x[i]);
    for (size_t i = 0, n = mf_tensor_elements(t); i < n && status == MFRGN_OK; i++) {
        if (t->fold == MF_FOLD_BN_SCALE)
            out[i] = x[0][i] / sqrt(x[1][i] + t->eps);
        else
            out[i] = x[0][i] - x[1][i] * x[2][i] + (x[3] ? x[3][i] * x[2][i] : 0);
    }
    for (int i = 0; i < MF_FOLD_SOURCES; i++)
        mf_free(e->g->context, x[i]);
    return status;
}

/* ---- rows of weights, several threads ---- */

typedef struct rows_job {
    mf_dtype from, to;
    const char *weights; /* rows x columns */
    size_t rows, columns;
    const double *scale; /* a value for each row */
    char *out;
    float *buffer; /* columns values a task */
    int tasks;
} rows_job;

/* A row of the weights as f32 (exact for f16 and bf16), or where it lies. */
static const float *weight_row(const rows_job *j, size_t row, float *buffer) {
    const char *at = j->weights + row * j->columns * mf_dtype_size(j->from);
    if (j->from == MF_F32 && ((uintptr_t)at & 3) == 0)
        return (const float *)(const void *)at;
    mf_convert(MF_F32, buffer, j->from, at, j->columns);
    return buffer;
}

static void scale_row(const rows_job *j, size_t row, const float *w) {
    double scale = j->scale[row];
    void *out = j->out + row * j->columns * mf_dtype_size(j->to);
    if (j->to == MF_F64)
        for (size_t i = 0; i < j->columns; i++)
            ((double *)out)[i] = w[i] * scale;
    else
        for (size_t i = 0; i < j->columns; i++)
            ((float *)out)[i] = w[i] * (float)scale;
}

static void rows_task(void *arg, int index) {
    const rows_job *j = arg;
    size_t begin = j->rows * (size_t)index / (size_t)j->tasks, end = j->rows * (size_t)(index + 1) / (size_t)j->tasks;
    float *buffer = j->buffer + (size_t)index * j->columns;
    for (size_t row = begin; row < end; row++)
        scale_row(j, row, weight_row(j, row, buffer));
}

/* The weights under a fold: stored ones where they lie, folded ones (a fold of a fold) worked out. */
static mfrgn_status fold_weights(const evaluation *e, mf_value v, rows_job *j, void **made) {
    const mf_tensor *w = &e->g->tensor[v];
    j->rows = (size_t)w->dim[0];
    j->columns = row_elements(w);
    if (w->parameter >= 0) {
        mf_stored stored = e->source(e->user, w->parameter);
        if (stored.dtype != MF_F64) {
            j->from = stored.dtype;
            j->weights = stored.data;
            return MFRGN_OK;
        }
    }
    *made = mf_alloc(e->g->context, mf_tensor_elements(w) * sizeof(float));
    if (!*made)
        return mf_fail_memory(e->g->context, mf_tensor_elements(w) * sizeof(float), "a folded constant");
    j->from = MF_F32;
    j->weights = *made;
    return mf_constant_evaluate(e->g, v, e->source, e->user, MF_F32, *made);
}

static mfrgn_status evaluate_rows(const evaluation *e, const mf_tensor *t, mf_dtype to, void *out) {
    mfrgn_context *context = e->g->context;
    rows_job j = {.to = to, .out = out};
    void *made = NULL;
    double *scale = NULL;
    mfrgn_status status = fold_weights(e, t->source[0], &j, &made);
    if (status == MFRGN_OK)
        status = vector(e, t->source[1], &scale);
    if (status == MFRGN_OK) {
        j.scale = scale;
        j.tasks = j.rows * j.columns < 65536 ? 1 : mf_core_count() < 8 ? mf_core_count() : 8;
        size_t bytes = (size_t)j.tasks * j.columns * sizeof(float);
        j.buffer = mf_alloc(context, bytes);
        if (j.buffer)
            mf_parallel(context, j.tasks, rows_task, &j);
        else
            status = mf_fail_memory(context, bytes, "a folded constant");
        mf_free(context, j.buffer);
    }
    mf_free(context, made);
    mf_free(context, scale);
    return status;
}

static mfrgn_status evaluate_rounded(const evaluation *e, mf_value v, mf_dtype to, void *out) {
    size_t n = mf_tensor_elements(&e->g->tensor[v]);
    float *values = mf_alloc_huge(e->g->context, n * sizeof(float));
    if (!values)
        return mf_fail_memory(e->g->context, n * sizeof(float), "a constant to be rounded");
    mfrgn_status status = mf_constant_evaluate(e->g, v, e->source, e->user, MF_F32, values);
    if (status == MFRGN_OK)
        mf_convert(to, out, MF_F32, values, n);
    mf_free(e->g->context, values);
    return status;
}

mfrgn_status mf_constant_evaluate(const mf_graph *g, mf_value v, mf_parameter_source source, void *user, mf_dtype to,
                                  void *out) {
    const evaluation e = {g, source, user};
    const mf_tensor *t = &g->tensor[v];
    size_t n = mf_tensor_elements(t);
    if (mf_dtype_is_16_bit(to) && !(t->parameter >= 0 && source(user, t->parameter).dtype == to))
        return evaluate_rounded(&e, v, to, out);
    if (t->parameter >= 0) {
        mf_stored stored = source(user, t->parameter);
        mf_convert(to, out, stored.dtype, stored.data, n);
        return MFRGN_OK;
    }
    if (t->literal) {
        mf_convert(to, out, MF_F64, t->literal, n);
        return MFRGN_OK;
    }
    if (t->fold == MF_FOLD_ROWS)
        return evaluate_rows(&e, t, to, out);
    double *values = mf_alloc(g->context, n * sizeof(double));
    if (!values)
        return mf_fail_memory(g->context, n * sizeof(double), "a folded constant");
    mfrgn_status status = evaluate_batchnorm(&e, t, values);
    if (status == MFRGN_OK)
        mf_convert(to, out, MF_F64, values, n);
    mf_free(g->context, values);
    return status;
}

char *mf_constant_key(const mf_graph *g, mf_value v) {
    const mf_tensor *t = &g->tensor[v];
    if (t->parameter >= 0)
        return mf_format(g->context, "p%d", t->parameter);
    if (t->literal)
        return mf_format(g->context, "l%016llx",
                         (unsigned long long)mf_hash(t->literal, mf_tensor_elements(t) * sizeof(double), 0));
    char *key = mf_format(g->context, "f%d/%.17g", (int)t->fold, t->eps);
    for (int i = 0; i < MF_FOLD_SOURCES && key; i++) {
        char *part = t->source[i] >= 0 ? mf_constant_key(g, t->source[i]) : mf_strdup(g->context, "-");
        char *joined = part ? mf_format(g->context, "%s(%s)", key, part) : NULL;
        mf_free(g->context, part);
        mf_free(g->context, key);
        key = joined;
    }
    return key;
}
