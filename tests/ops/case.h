/* Making the cases: shared by cases.c and cases_grad.c. */
#ifndef MFRGN_TESTS_CASE_H
#define MFRGN_TESTS_CASE_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "graph/graph.h"
#include "ops.h"

typedef struct maker {
    ops_visit visit;
    void *arg;
} maker;

/* ---- making a case ---- */

static inline ops_case start(mf_op_kind kind, int inputs) {
    ops_case c = {.op = {.kind = kind, .input_count = inputs}, .weight = MF_F32, .tolerance = 2e-6};
    for (int i = 0; i < MF_MAX_INPUTS; i++) {
        c.op.input[i].ndim = -1;
        c.fill[i] = (ops_fill){0, 1, OPS_SIGNED};
    }
    return c;
}

static inline mf_operand shape(int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
    return (mf_operand){.ndim = ndim, .dim = {a, b, c, d}};
}

static inline mf_operand map(int64_t n, int64_t h, int64_t w, int64_t c) {
    return shape(4, n, h, w, c);
}

static inline mf_operand tokens(int64_t n, int64_t t, int64_t c) {
    return shape(3, n, t, c, 0);
}

static inline mf_operand matrix(int64_t rows, int64_t columns) {
    return shape(2, rows, columns, 0, 0);
}

static inline void parameter(ops_case *c, int slot, mf_operand o, double offset, double scale) {
    c->op.input[slot] = o;
    c->params |= 1u << slot;
    c->fill[slot] = (ops_fill){offset, scale, OPS_SIGNED};
}

static inline void vector(ops_case *c, int slot, int64_t count, double offset) {
    parameter(c, slot, shape(1, count, 0, 0, 0), offset, 0.3);
}

static inline void visit_as(const maker *m, const ops_case *c, int constant, const char *suffix) {
    ops_case v = *c;
    size_t length = strlen(v.name);
    snprintf(v.name + length, sizeof(v.name) - length, "%s", suffix);
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        v.op.input[i].constant = constant && c->params >> i & 1;
    m->visit(m->arg, &v);
}

/* The text after "|" tells variants apart that share their values. */
static inline __attribute__((format(printf, 3, 4))) void finish(const maker *m, ops_case *c, const char *format, ...) {
    int length = snprintf(c->name, sizeof(c->name), "%s ", mf_op_name(c->op.kind));
    va_list args;
    va_start(args, format);
    vsnprintf(c->name + length, sizeof(c->name) - (size_t)length, format, args);
    va_end(args);
    visit_as(m, c, 1, "");
    if (c->params)
        visit_as(m, c, 0, "| variable");
}

typedef struct window {
    int kernel[2], stride[2], pad[2];
} window;

static inline int64_t steps(int64_t length, const window *w, int i) {
    return (length + 2 * w->pad[i] - w->kernel[i]) / w->stride[i] + 1;
}

/* 0: the window does not fit in the map */
static inline int slide(ops_case *c, mf_operand x, int64_t channels, const window *w) {
    for (int i = 0; i < 2; i++) {
        if (x.dim[1 + i] + 2 * w->pad[i] < w->kernel[i])
            return 0;
        c->op.attrs.kernel[i] = w->kernel[i];
        c->op.attrs.stride[i] = w->stride[i];
        c->op.attrs.pad[i] = w->pad[i];
    }
    c->op.input[0] = x;
    c->op.output = map(x.dim[0], steps(x.dim[1], w, 0), steps(x.dim[2], w, 1), channels);
    c->batched = 1;
    return 1;
}

void ops_each_gradient_case(const maker *m); /* cases_grad.c */

#endif
