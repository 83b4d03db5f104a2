/* The test of the operations: every backend against `ref` in f64, and `ref` against sums done by hand. */
#ifndef MFRGN_TESTS_OPS_H
#define MFRGN_TESTS_OPS_H

#include "backends/backend.h"
#include "backends/registry.h"

/* How the values of an input are made: offset + scale z, z normal; or |z| in place of z; or the whole number next to
 * it, so that equal values come up.  A key of MF_I64 is any number. */
typedef enum ops_values { OPS_SIGNED = 0, OPS_POSITIVE = 1, OPS_WHOLE = 2 } ops_values;

typedef struct ops_fill {
    double offset, scale;
    ops_values values;
} ops_fill;

typedef struct ops_case {
    char name[160];
    mf_op op;         /* the types of its operands are set when it is run */
    unsigned batched; /* bit i: the first dimension of input i is the batch */
    unsigned params;  /* bit i: input i is a weight: run once as a constant, once not */
    mf_dtype weight;  /* MF_F16, MF_BF16: the type in which MF_IN_W is stored; else MF_F32 */
    double tolerance; /* relative L2 error in f32 */
    ops_fill fill[MF_MAX_INPUTS];
} ops_case;

typedef void (*ops_visit)(void *arg, const ops_case *c);
void ops_each_case(ops_visit visit, void *arg); /* cases.c */

typedef struct ops_backend {
    mfrgn_context *context;
    const mf_loaded *loaded;
} ops_backend;

typedef enum ops_result { OPS_DONE, OPS_SKIPPED, OPS_FAILED } ops_result;

/* isa.c: the common CPU kernels of one instruction set, "cpu:avx2".  0: another name, or the machine lacks it */
int ops_open_isa(mfrgn_context *context, const char *name, ops_backend *backend);

/* run.c: runs `op` in `compute`, twice, and checks that both runs give the same bits, as do a recording that is played
 * and a run whose output takes an input's place, and that nothing is written beside the output and the scratch.  Values go in and out as double.  `weight`: see ops_case.  On failure `why` has the
 * reason. */
typedef struct ops_job {
    mf_op op;
    mf_dtype compute, weight;
    int wide; /* see mf_operand_type(); of CAST: 1: from f32, 0: to f32 */
    int threads;
    const double *const *inputs;
    double *output;
    char why[256];
    double seconds; /* > 0 on entry: repeat for so long, and give the seconds of the best run back */
} ops_job;

ops_result ops_run(const ops_backend *backend, ops_job *job);

double ops_round(double value, mf_dtype type); /* the nearest value of a type */
int ops_is_key(const mf_op *op, int input);    /* of MF_I64, whatever the compute type */
mf_dtype ops_type(const mf_op *op, int slot, mf_dtype compute, int wide); /* of an operand; -1: the output */

/* The inputs of a case, each its own malloc; the same for the same case. */
void ops_make_inputs(const ops_case *c, double *inputs[MF_MAX_INPUTS]);
void ops_free_inputs(double *inputs[MF_MAX_INPUTS]);

/* An example that was done by hand. */
typedef struct ops_example {
    const char *name;
    int input_count;
    int ref_only; /* asks more than the contract of the operation */
    mf_op_kind kind;
    mf_attrs attrs;
    struct {
        int ndim; /* 0: absent */
        int64_t dim[MF_MAX_DIMS];
        double value[36];
    } input[6], output;
} ops_example;

extern const ops_example ops_training_examples[]; /* analytic_grad.c */
extern const size_t ops_training_example_count;

int ops_analytic(const ops_backend *backend);             /* analytic.c: how many failed */
int ops_dump(const ops_backend *ref, const char *folder); /* dump.c: 0, or 1 if it cannot be written */
int ops_training(const ops_backend *backend);             /* training.c: the same */
int ops_finite(const ops_backend *ref);                   /* finite.c: how many failed */
int ops_bench(const ops_backend *backend, int threads);   /* bench.c */

#endif
