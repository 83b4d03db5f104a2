/* The graph: what the network computes, written down once.
 *
 * A graph is a list of values (tensors) and of nodes (operations) in an order in which they can be run.  Values are
 * inputs, constants (weights, literals, and constants folded from others) or results.  The builder functions infer
 * the output's shape, check their arguments, and give back a value; after a first error they give back -1 and do
 * nothing, so that a network is written without checks and the error asked for once, at the end. */
#ifndef MFRGN_GRAPH_H
#define MFRGN_GRAPH_H

#include "base/base.h"
#include "graph/op.h"

typedef struct mf_graph mf_graph;
typedef int mf_value; /* -1: none, or after an error */

/* A variable lies in memory of the runner's, by its slot: a weight in training, a seed.  A result may be bound to a slot
 * too: it is then computed there (a gradient, a running statistic that is updated). */
typedef enum mf_role { MF_ROLE_INPUT, MF_ROLE_CONSTANT, MF_ROLE_RESULT, MF_ROLE_VARIABLE } mf_role;

/* How a folded constant is made; arithmetic in double.  Source: each rule is the algebra of the two operations. */
typedef enum mf_fold {
    MF_FOLD_NONE,
    MF_FOLD_ROWS,     /* a[o, ..] * b[o] */
    MF_FOLD_BN_SCALE, /* a / sqrt(b + eps): gamma, variance */
    MF_FOLD_BN_BIAS   /* a - b c + (d c)?: beta, mean, scale, bias or none */
} mf_fold;

enum { MF_FOLD_SOURCES = 4 };

typedef struct mf_tensor {
    mf_role role;
    mf_dtype dtype; /* of a weight: as stored; of results: the graph's compute type, set when it is planned */
    int ndim;
    int64_t dim[MF_MAX_DIMS];
    const char *name; /* of weights, inputs and tapped results; else NULL */
    int node;         /* that computes it, or -1 */
    int slot;         /* of a variable or of a result that is bound; else -1 */
    int keep;         /* 1: never computed again for the backward pass */
    /* constants: one of */
    int parameter;         /* index in the model's table, or -1 */
    const double *literal; /* or NULL */
    mf_fold fold;
    mf_value source[MF_FOLD_SOURCES];
    double eps;
} mf_tensor;

static inline size_t mf_tensor_elements(const mf_tensor *t) {
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= (size_t)t->dim[i];
    return n;
}

static inline size_t mf_tensor_bytes(const mf_tensor *t) {
    return mf_tensor_elements(t) * mf_dtype_size(t->dtype);
}

typedef struct mf_node {
    mf_op_kind kind;
    mf_attrs attrs;
    int input_count;
    mf_value input[MF_MAX_INPUTS]; /* -1: absent */
    mf_value output;
} mf_node;

struct mf_graph {
    mfrgn_context *context;
    mfrgn_status status; /* the first error */
    size_t tensor_count, tensor_room;
    mf_tensor *tensor;
    size_t node_count, node_room;
    mf_node *node;
    mf_value input, output;
    int keep_taps; /* named results live to the end of a run, for tests */
    struct mf_block *blocks; /* names and literals */
};

mf_graph *mf_graph_create(mfrgn_context *context);
void mf_graph_free(mf_graph *graph);
mf_graph *mf_graph_copy(const mf_graph *graph); /* NULL: out of memory */
/* Records an error (the first stays) and gives -1. */
mf_value mf_graph_fail(mf_graph *graph, mfrgn_status status, const char *format, ...) MF_PRINTF(3, 4);
void *mf_graph_alloc(mf_graph *graph, size_t bytes); /* lives as long as the graph */

/* ---- values ---- */
mf_value mf_graph_input(mf_graph *g, const char *name, int ndim, const int64_t *dim);
mf_value mf_graph_weight(mf_graph *g, const char *name, int parameter, mf_dtype stored, int ndim, const int64_t *dim);
mf_value mf_graph_literal(mf_graph *g, const char *name, const double *values, int ndim, const int64_t *dim);
mf_value mf_graph_variable(mf_graph *g, const char *name, int slot, mf_dtype dtype, int ndim, const int64_t *dim);
void mf_graph_bind(mf_graph *g, mf_value result, int slot); /* computed in a slot's memory */
mf_value mf_graph_folded(mf_graph *g, mf_fold fold, const mf_value *source, double eps);
mf_value mf_graph_node(mf_graph *g, const mf_node *node); /* infers the shape; the one door for every operation */
const mf_tensor *mf_graph_tensor(const mf_graph *g, mf_value v); /* v must be valid */
void mf_graph_tap(mf_graph *g, mf_value v, const char *name);    /* names a result: kept through the passes */
mf_value mf_graph_find(const mf_graph *g, const char *name);     /* a tapped result or an input, or -1 */

/* ---- operations; op.h says what each computes ---- */
mf_value mf_matmul(mf_graph *g, mf_value a, mf_value b, mf_value bias, int ta, int tb);
mf_value mf_conv2d(mf_graph *g, mf_value x, mf_value w, mf_value bias, int stride, int pad_rows, int pad_columns);
mf_value mf_dwconv2d(mf_graph *g, mf_value x, mf_value w, mf_value bias);
mf_value mf_layernorm(mf_graph *g, mf_value x, mf_value gamma, mf_value beta, double eps);
mf_value mf_groupnorm(mf_graph *g, mf_value x, mf_value gamma, mf_value beta, int groups, double eps);
mf_value mf_batchnorm(mf_graph *g, mf_value x, const mf_value parameters[4], double eps, int own);
mf_value mf_activate(mf_graph *g, mf_value x, mf_act act);
mf_value mf_add(mf_graph *g, mf_value a, mf_value b);
mf_value mf_mul(mf_graph *g, mf_value a, mf_value b);
mf_value mf_pyramid_pool(mf_graph *g, mf_value x, const int (*levels)[2], int count);
mf_value mf_maxpool(mf_graph *g, mf_value x, int kernel, int stride, int pad);
mf_value mf_concat(mf_graph *g, const mf_value *values, int count, int axis);
mf_value mf_slice(mf_graph *g, mf_value x, int axis, int64_t begin, int64_t end);
mf_value mf_attend(mf_graph *g, mf_value q, mf_value k, mf_value v, int heads, mf_attention kind, double eps);
mf_value mf_channel_max(mf_graph *g, mf_value x);
mf_value mf_gated_mean(mf_graph *g, mf_value s, mf_value channel, mf_value position);
mf_value mf_l2norm(mf_graph *g, mf_value x, double eps);
mf_value mf_reshape(mf_graph *g, mf_value x, int ndim, const int64_t *dim);
mf_value mf_as_tokens(mf_graph *g, mf_value x);                     /* [N, H, W, C] -> [N, H W, C] */
mf_value mf_as_map(mf_graph *g, mf_value x, int64_t h, int64_t w);  /* [N, T, C] -> [N, h, w, C] */

/* of training */
mf_value mf_transpose(mf_graph *g, mf_value x);
mf_value mf_dropout(mf_graph *g, mf_value x, mf_value key, double rate, int id);
mf_value mf_batch_stats(mf_graph *g, mf_value x);
mf_value mf_lerp(mf_graph *g, mf_value a, mf_value b, double rate);
mf_value mf_infonce(mf_graph *g, mf_value q, mf_value r, mf_value logit_scale, double smoothing);
/* Any operation by its attributes. */
mf_value mf_operation(mf_graph *g, mf_op_kind kind, const mf_attrs *attrs, int count, const mf_value *inputs);
mf_value mf_reshape_like(mf_graph *g, mf_value x, mf_value like);

/* ---- lib/graph/backward.c: reverse-mode differentiation ---- */
/* What of the forward pass is computed again for the backward pass, instead of being kept. */
typedef enum mf_recompute {
    MF_RECOMPUTE_NONE,
    MF_RECOMPUTE_CHEAP, /* activations, norms, dropout: little work, much memory */
    MF_RECOMPUTE_ALL    /* all but the residual stream and what mf_tensor.keep marks */
} mf_recompute;

/* A variable whose gradient is wanted in a slot. */
typedef struct mf_wanted {
    mf_value variable;
    int slot;
    int onto; /* 1: added to what the slot holds; 0: in its place */
} mf_wanted;

/* Appends the gradients of the `count` values `of`, whose own gradients are `seed`. */
mfrgn_status mf_graph_backward(mf_graph *g, int count, const mf_value *of, const mf_value *seed, size_t wanted_count,
                               const mf_wanted *wanted, mf_recompute recompute);

/* ---- lib/graph/shape.c ---- */
/* The output of an operation whose inputs are known; 0 if they do not fit, with what is wrong in `text`. */
int mf_op_infer(mf_op *op, char *text, size_t room);
/* The operation of a node, operands and all. */
void mf_graph_op(const mf_graph *g, const mf_node *node, mf_op *op);
/* Two for each multiply-add of products, convolutions and attention. */
double mf_op_flops(const mf_op *op);
const char *mf_op_name(mf_op_kind kind);
const char *mf_act_name(mf_act act);

/* ---- lib/graph/print.c ---- */
typedef int (*mf_write)(void *user, const char *text, size_t length);
mfrgn_status mf_graph_print(const mf_graph *g, mfrgn_graph_format format, mf_write write, void *user);

/* ---- lib/graph/constant.c ---- */
/* A parameter's stored values. */
typedef struct mf_stored {
    mf_dtype dtype;
    const void *data;
} mf_stored;
typedef mf_stored (*mf_parameter_source)(void *user, int parameter);
/* The constant's values in type `to`; those of 16 bits by way of f32, unless they are stored so. */
mfrgn_status mf_constant_evaluate(const mf_graph *g, mf_value v, mf_parameter_source source, void *user, mf_dtype to,
                                  void *out);
/* A text that is the same for equal constants of one model; to be freed with mf_free. */
char *mf_constant_key(const mf_graph *g, mf_value v);

/* ---- passes: lib/graph/fuse.c, fold.c, clean.c ---- */
/* What a backend can do: asked before anything is fused. */
typedef struct mf_target {
    int (*supports)(void *user, const mf_op *op);
    void *user;
} mf_target;
/* All of the passes for inference, in their order. */
mfrgn_status mf_graph_optimise(mf_graph *g, const mf_target *target);
enum { MF_FUSE_ACT = 1, MF_FUSE_SCALE = 2, MF_FUSE_RESIDUAL = 4, MF_FUSE_NORM = 8, MF_FUSE_MLP = 16, MF_FUSE_ALL = 31 };
mfrgn_status mf_graph_fuse(mf_graph *g, const mf_target *target, int what);
mfrgn_status mf_graph_fold(mf_graph *g, const mf_target *target);
void mf_graph_sweep(mf_graph *g); /* removes nodes whose results nobody reads */
/* Who reads v; *count how many times. -1: nobody, or the graph's output does too (then *count is at least 2). */
int mf_graph_reader(const mf_graph *g, mf_value v, int *count);

/* ---- lib/graph/types.c ---- */
/* The type of operand `slot` (-1: the output) of an operation in a graph that computes in `compute`; its shapes are set.
 * wide: for operations whose operands may be of the compute type or all f32, says which. */
mf_dtype mf_operand_type(const mf_op *op, int slot, mf_dtype compute, int wide);
/* Gives every value its type, and puts casts where two meet: after all other passes.  Constants of graphs that do not
 * compute in 16 bits keep the type that they have. */
mfrgn_status mf_graph_set_types(mf_graph *g, mf_dtype compute);

/* ---- lib/graph/plan.c ---- */
/* Where each value lies in one arena. */
typedef struct mf_plan {
    mfrgn_context *context;
    size_t arena_bytes;
    size_t *offset;         /* a value: bytes from the arena's start, or from its slot's; SIZE_MAX: nowhere */
    int *slot;              /* a value: whose memory it lies in, or -1: the arena */
    size_t *scratch_offset; /* a node */
} mf_plan;
/* What the plan must know of a node's kernel. */
typedef struct mf_need {
    size_t scratch_bytes;  /* beside its operands */
    int residual_in_place; /* the output may lie where the residual does */
} mf_need;
mfrgn_status mf_plan_create(const mf_graph *g, const mf_need *need, mf_plan **plan);
void mf_plan_free(mf_plan *plan);

#endif
