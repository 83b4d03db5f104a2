/* The table of parameters, and the small layers that declare them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/network.h"

int mf_parameters_find(const mf_parameters *table, const char *name) {
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->item[i].name, name) == 0)
            return (int)i;
    return -1;
}

static int find_next(mf_net *net, const char *name) {
    const mf_parameters *table = net->parameters;
    int index = net->next < table->count && strcmp(table->item[net->next].name, name) == 0
                    ? (int)net->next
                    : mf_parameters_find(table, name);
    if (index >= 0)
        net->next = (size_t)index + 1;
    return index;
}

static int declare(mf_net *net, const char *name, mf_shape shape, int learnt, mf_init init) {
    mf_parameters *table = net->parameters;
    void *items = table->item;
    net->g->status = mf_reserve(table->context, &items, &table->room, table->count + 1, sizeof(mf_parameter));
    table->item = items;
    if (net->g->status != MFRGN_OK)
        return -1;
    mf_parameter p = {.ndim = shape.ndim, .learnt = learnt, .init = init, .stored = {MF_F32, NULL}};
    memcpy(p.name, name, strlen(name) + 1); /* the caller has measured it */
    memcpy(p.dim, shape.dim, sizeof(p.dim));
    table->item[table->count] = p;
    return (int)table->count++;
}

/* The one value of a parameter in a graph that learns. */
static mf_value variable(mf_net *net, int index, const char *name, mf_shape shape) {
    mf_value *v = &net->training->variable[index];
    if (*v < 0)
        *v = mf_graph_variable(net->g, name, index, MF_F32, shape.ndim, shape.dim);
    return *v;
}

static mf_value parameter(mf_net *net, mf_shape shape, int learnt, mf_init init, const char *name, const char *ending) {
    char full[3 * MF_NAME];
    if (net->g->status != MFRGN_OK)
        return -1;
    int length = snprintf(full, sizeof(full), "%s%s%s", net->prefix, name, ending);
    if (length < 0 || length >= MF_NAME)
        return mf_graph_fail(net->g, MFRGN_ERROR_INTERNAL, "the name %s is too long", full);
    int index = find_next(net, full);
    if (index < 0 && (index = declare(net, full, shape, learnt, init)) < 0)
        return -1;
    if (net->training)
        return variable(net, index, full, shape);
    return mf_graph_weight(net->g, full, index, net->parameters->item[index].stored.dtype, shape.ndim, shape.dim);
}

mf_value mf_net_parameter(mf_net *net, mf_shape shape, int learnt, mf_init init, const char *format, ...) {
    char name[MF_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    return parameter(net, shape, learnt, init, name, "");
}

mf_layer mf_net_layer(mf_net *net, mf_shape weight, int has_bias, const char *format, ...) {
    char name[MF_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    double fan_in = 1;
    for (int i = 1; i < weight.ndim; i++)
        fan_in *= (double)weight.dim[i];
    mf_init init = {MF_INIT_UNIFORM, 1 / sqrt(fan_in)};
    mf_layer layer = {parameter(net, weight, 1, init, name, ".weight"), -1};
    if (has_bias)
        layer.bias = parameter(net, MF_SHAPE(weight.dim[0]), 1, init, name, ".bias");
    return layer;
}

static mf_layer norm(mf_net *net, int64_t channels, const char *name) {
    mf_layer layer;
    layer.weight = parameter(net, MF_SHAPE(channels), 1, (mf_init){MF_INIT_CONSTANT, 1}, name, ".weight");
    layer.bias = parameter(net, MF_SHAPE(channels), 1, (mf_init){MF_INIT_CONSTANT, 0}, name, ".bias");
    return layer;
}

mf_layer mf_net_norm(mf_net *net, int64_t channels, const char *format, ...) {
    char name[MF_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    return norm(net, channels, name);
}

static int64_t last_dimension(mf_net *net, mf_value x) {
    const mf_tensor *t = mf_graph_tensor(net->g, x);
    return t->dim[t->ndim - 1];
}

mf_value mf_net_layernorm(mf_net *net, mf_value x, double eps, const char *name) {
    if (net->g->status != MFRGN_OK)
        return -1;
    mf_layer n = norm(net, last_dimension(net, x), name);
    return mf_layernorm(net->g, x, n.weight, n.bias, eps);
}

static int is_frozen(const mf_net *net, const char *name) {
    const char *frozen = net->training->frozen;
    char full[3 * MF_NAME];
    snprintf(full, sizeof(full), "%s%s", net->prefix, name);
    return frozen && strncmp(full, frozen, strlen(frozen)) == 0;
}

/* The running statistic `v` moves towards the batch's; a second view's batch moves it on from there. */
static void update_statistic(mf_net *net, mf_value v, mf_value of_batch) {
    if (net->g->status != MFRGN_OK)
        return;
    int slot = net->g->tensor[v].slot;
    mf_value next = mf_lerp(net->g, v, of_batch, net->training->momentum);
    mf_graph_bind(net->g, next, slot);
    net->training->variable[slot] = next;
}

/* p[2], p[3]: from the running mean and variance to x's own. */
static void use_batch_statistics(mf_net *net, mf_value x, int64_t channels, mf_value p[4]) {
    mf_value stats = mf_batch_stats(net->g, x), row[3];
    for (int i = 0; i < 3; i++)
        row[i] = mf_reshape(net->g, mf_slice(net->g, stats, 0, i, i + 1), 1, &channels);
    if (net->training->update) {
        update_statistic(net, p[2], row[0]);
        update_statistic(net, p[3], row[2]); /* unbiased, as PyTorch's */
    }
    p[2] = row[0];
    p[3] = row[1];
}

mf_value mf_net_batchnorm(mf_net *net, mf_value x, const char *format, ...) {
    char name[MF_NAME];
    va_list args;
    if (net->g->status != MFRGN_OK)
        return -1;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    int64_t channels = last_dimension(net, x);
    mf_layer n = norm(net, channels, name);
    mf_value p[4] = {n.weight, n.bias, -1, -1};
    p[2] = parameter(net, MF_SHAPE(channels), 0, (mf_init){MF_INIT_CONSTANT, 0}, name, ".running_mean");
    p[3] = parameter(net, MF_SHAPE(channels), 0, (mf_init){MF_INIT_CONSTANT, 1}, name, ".running_var");
    int is_own = net->training && !is_frozen(net, name);
    if (is_own)
        use_batch_statistics(net, x, channels, p);
    return mf_batchnorm(net->g, x, p, 1e-5, is_own);
}

mf_value mf_net_dropout(mf_net *net, mf_value x) {
    mf_training *t = net->training;
    return t && t->dropout > 0 ? mf_dropout(net->g, x, t->key, t->dropout, t->next_id++) : x;
}

mf_value mf_net_matrix(mf_net *net, mf_value weight) {
    if (net->g->status != MFRGN_OK)
        return -1;
    mf_tensor *t = &net->g->tensor[weight];
    t->ndim = 2; /* the trailing ones are dropped: the values are the same */
    return weight;
}
