/* The network's parts, as builders of the graph.  Each declares its parameters as it goes: the table of names, shapes
 * and initialisations falls out of the network and is written nowhere else.  Source: the paper, section 3, and the
 * published implementation's state dict. */
#ifndef MFRGN_MODEL_NETWORK_H
#define MFRGN_MODEL_NETWORK_H

#include "graph/graph.h"
#include "model/config.h"

typedef enum mf_init_kind {
    MF_INIT_CONSTANT,         /* value */
    MF_INIT_TRUNCATED_NORMAL, /* standard deviation `value`, cut at two of it */
    MF_INIT_UNIFORM,          /* +- value */
    MF_INIT_NORMAL            /* standard deviation `value` */
} mf_init_kind;

typedef struct mf_init {
    mf_init_kind kind;
    double value;
} mf_init;

enum { MF_NAME = 96, MF_VIEWS = 2 };

typedef struct mf_parameter {
    char name[MF_NAME];
    int ndim;
    int64_t dim[MF_MAX_DIMS];
    int learnt; /* 0: a running statistic */
    mf_init init;
    mf_stored stored; /* its values; data NULL while there are none */
    int finite;       /* atomic; 1: the values have been looked through, none is NaN or infinite */
} mf_parameter;

typedef struct mf_parameters {
    mfrgn_context *context;
    size_t count, room;
    mf_parameter *item;
} mf_parameters;

int mf_parameters_find(const mf_parameters *table, const char *name); /* -1: not there */
static inline size_t mf_parameter_elements(const mf_parameter *p) {
    size_t n = 1;
    for (int i = 0; i < p->ndim; i++)
        n *= (size_t)p->dim[i];
    return n;
}

/* What a network in training has beside its parameters.  Each parameter is one variable of the graph, on the slot of
 * its index, whichever view asks for it; running statistics are updated where `update` says so. */
typedef struct mf_training {
    mf_value *variable; /* a parameter: its value, or -1 */
    mf_value key;       /* dropout's */
    double dropout;
    int next_id; /* of a dropout; */
    int update;  /* 1: running statistics are updated, from ... */
    double momentum;
    const char *frozen; /* parameters whose names begin so are not learnt; or NULL */
} mf_training;

/* What a builder works on. */
typedef struct mf_net {
    mf_graph *g;
    const mfrgn_config *config;
    mf_view_config view;
    mf_parameters *parameters;
    int64_t batch;
    char prefix[MF_NAME];  /* put before every parameter's name */
    mf_training *training; /* NULL: inference */
    size_t next;           /* where the table is searched first: a network asks in the order in which it declared */
} mf_net;

/* ---- parameters: names are printf formats; shapes in the state dict's order ---- */
typedef struct mf_shape {
    int ndim;
    int64_t dim[MF_MAX_DIMS];
} mf_shape;
#define MF_SHAPE(...) ((mf_shape){(int)MF_COUNT(((const int64_t[]){__VA_ARGS__})), {__VA_ARGS__}})

/* A parameter of the table as a constant of the graph; declared when it is new. */
mf_value mf_net_parameter(mf_net *net, mf_shape shape, int learnt, mf_init init, const char *format, ...)
    MF_PRINTF(5, 6);
/* name.weight and name.bias of a layer in PyTorch's default initialisation: uniform, 1 / sqrt(fan in) */
typedef struct mf_layer {
    mf_value weight, bias;
} mf_layer;
mf_layer mf_net_layer(mf_net *net, mf_shape weight, int has_bias, const char *format, ...) MF_PRINTF(4, 5);
mf_layer mf_net_norm(mf_net *net, int64_t channels, const char *format, ...) MF_PRINTF(3, 4);

mf_value mf_net_layernorm(mf_net *net, mf_value x, double eps, const char *name);
/* BatchNorm, eps 1e-5: with running statistics, in training with the batch's own */
mf_value mf_net_batchnorm(mf_net *net, mf_value x, const char *format, ...) MF_PRINTF(3, 4);
/* In training; else x. */
mf_value mf_net_dropout(mf_net *net, mf_value x);
/* A weight of 1x1 kernels seen as a matrix [O, I]. */
mf_value mf_net_matrix(mf_net *net, mf_value weight);

/* ---- the parts ---- */
/* images [N, H, W, 3] of `count` views -> S1, S2, S3 of each; with sample4geo only S3 is used */
void mf_build_convnext(mf_net *net, int count, const mf_value *image, mf_value (*s)[3]);
void mf_build_resnet(mf_net *net, mf_value x, mf_value s[3]);
/* The one that is configured.  A ConvNeXt computes the views together, a ResNet one after the other: its BatchNorms
 * take each view's statistics. */
void mf_build_backbone(mf_net *net, int count, const mf_value *image, mf_value (*s)[3]);
/* S1..S3 -> E1..E4 with position encoding, and S4 = E4 without; `first`: E1..E3 are needed */
void mf_build_embedding(mf_net *net, const mf_value s[3], int first, mf_value e[4], mf_value *s4);
/* E1 -> F_L as it enters SCAM: pooled and normalised, or E1's tokens */
mf_value mf_build_low_tokens(mf_net *net, mf_value e1);
/* F_L, E2..E4 -> F_L, F_H after SCAM */
void mf_build_scam(mf_net *net, const mf_value e[4], mf_value *low, mf_value *high);
/* tokens f_g [N, T, 128] -> [N, 128 dim_g] */
mf_value mf_build_global(mf_net *net, mf_value tokens);
/* S1 as its GPAB reads it: pooled where there is PPS */
mf_value mf_build_gpab_map(mf_net *net, mf_value s1);
/* a map S_i, its prompt's tokens P_i -> f_i [N, 1, C_i] */
mf_value mf_build_gpab(mf_net *net, int scale, mf_value map, mf_value prompt);

/* A view's descriptors [N, D], each of length 1, from its S1, S2, S3; net's view is set. */
mf_value mf_build_head(mf_net *net, const mf_value s[3]);
/* The whole, for one view and batch; input "image", output "descriptor". */
mfrgn_status mf_network_build(mfrgn_context *context, const mfrgn_config *config, mf_parameters *parameters,
                              mfrgn_view view, int64_t batch, mf_graph **graph);

#endif
