/* The graphs of a training step: both views, the loss, the backward pass. */
#include <string.h>

#include "train/trainer.h"

/* What is built for one program. */
typedef struct builder {
    mfrgn_trainer *trainer;
    mf_train_plan *plan;
    mf_graph *g;
    mf_training training;
    mf_value *variable; /* a parameter's value before the running statistics move on */
    size_t parameters;
} builder;

static int extra(const builder *b, int slot) {
    return (int)(2 * b->parameters) + slot;
}

static mfrgn_status start(builder *b, mfrgn_trainer *t, mf_train_plan *plan, int update) {
    b->trainer = t;
    b->plan = plan;
    b->parameters = t->model->parameters.count;
    b->g = mf_graph_create(t->context);
    b->variable = mf_alloc(t->context, b->parameters * sizeof(*b->variable));
    if (!b->g || !b->variable)
        return mf_fail_memory(t->context, b->parameters * sizeof(*b->variable), "a training graph");
    for (size_t i = 0; i < b->parameters; i++)
        b->variable[i] = -1;
    int64_t three = 3;
    b->training = (mf_training){.variable = b->variable,
                                .key = mf_graph_variable(b->g, "key", extra(b, MF_SLOT_KEY), MF_I64, 1, &three),
                                .dropout = mf_train_real(t, MFRGN_TRAIN_DROPOUT),
                                .update = update,
                                .momentum = 0.1,
                                .frozen = t->frozen ? "backbone." : NULL};
    return b->g->status;
}

static void end(builder *b) {
    mf_graph_free(b->g);
    mf_free(b->trainer->context, b->variable);
}

static mf_net net_of(builder *b, mfrgn_view view, size_t n) {
    mf_net net = {.g = b->g,
                  .config = b->trainer->model->config,
                  .parameters = &b->trainer->model->parameters,
                  .batch = (int64_t)n,
                  .training = &b->training};
    mf_config_view(net.config, view, &net.view);
    return net;
}

/* The descriptors of n images a view, [the view], of views whose backbone is computed together.  The masks of dropout
 * are a view's, however the views share graphs. */
static void build_views(builder *b, int count, const mfrgn_view *view, size_t n, mf_value *descriptor) {
    mf_net net[MF_VIEWS];
    mf_value image[MF_VIEWS], s[MF_VIEWS][3] = {{-1, -1, -1}, {-1, -1, -1}};
    for (int i = 0; i < count; i++) {
        net[i] = net_of(b, view[i], n);
        int64_t dim[] = {(int64_t)n, net[i].view.height, net[i].view.width, 3};
        image[i] = mf_graph_variable(b->g, NULL, extra(b, MF_SLOT_IMAGE + (int)view[i]), MF_F32, 4, dim);
    }
    mf_build_backbone(&net[0], count, image, s);
    for (int i = 0; i < count; i++) {
        b->training.next_id = 1000 * (int)view[i];
        descriptor[view[i]] = mf_build_head(&net[i], s[i]);
    }
}

static mf_value build_view(builder *b, mfrgn_view view, size_t n) {
    mf_value descriptor[MF_VIEWS];
    build_views(b, 1, &view, n, descriptor);
    return descriptor[view];
}

static mf_value one_value(builder *b, int slot) {
    int64_t one = 1;
    return mf_graph_variable(b->g, NULL, extra(b, slot), MF_F32, 1, &one);
}

static mf_value build_loss(builder *b, const mf_value descriptor[2], mf_value *logit_scale) {
    int index = mf_parameters_find(&b->trainer->model->parameters, "logit_scale");
    *logit_scale = mf_graph_variable(b->g, "logit_scale", index, MF_F32, 0, NULL);
    mf_value loss = mf_infonce(b->g, descriptor[MFRGN_VIEW_GROUND], descriptor[MFRGN_VIEW_AERIAL], *logit_scale,
                               mf_train_real(b->trainer, MFRGN_TRAIN_LABEL_SMOOTHING));
    mf_graph_bind(b->g, loss, extra(b, MF_SLOT_LOSS));
    return loss;
}

/* Results have the type of their first input when they are built; until the passes are done, all floating values have
 * the type of those in slots. */
static void assign_types(builder *b) {
    for (size_t v = 0; v < b->g->tensor_count; v++)
        if (b->g->tensor[v].dtype != MF_I64)
            b->g->tensor[v].dtype = b->trainer->engine.wide;
}

static mfrgn_status fuse(builder *b, int what) {
    assign_types(b);
    MF_TRY(b->g->status);
    return mf_graph_fuse(b->g, &(mf_target){mf_engine_supports, &b->trainer->engine}, what);
}

/* The layer scale becomes the products' before the backward pass, whose rule for it stores neither the product nor the
 * scaled gradient. */
static mfrgn_status append_backward(builder *b, mf_value of, mf_value seed, mf_value logit_scale, int onto) {
    mfrgn_trainer *t = b->trainer;
    const mf_parameters *table = &t->model->parameters;
    mf_recompute recompute =
        mf_train_option(&t->options, MFRGN_TRAIN_RECOMPUTE)->number ? MF_RECOMPUTE_ALL : MF_RECOMPUTE_CHEAP;
    size_t wanted_count = 0;
    b->g->output = of; /* nothing reads it yet */
    MF_TRY(fuse(b, MF_FUSE_SCALE | MF_FUSE_RESIDUAL));
    b->g->output = -1;
    mf_wanted *wanted = mf_calloc(t->context, b->parameters + 1, sizeof(*wanted));
    if (!wanted)
        return mf_fail_memory(t->context, b->parameters * sizeof(*wanted), "a list of gradients");
    for (size_t i = 0; i < b->parameters; i++)
        if (b->variable[i] >= 0 && table->item[i].learnt && !(t->frozen && mf_train_is_backbone(table->item[i].name)))
            wanted[wanted_count++] = (mf_wanted){b->variable[i], (int)(b->parameters + i), onto};
    if (logit_scale >= 0)
        wanted[wanted_count++] = (mf_wanted){logit_scale, (int)b->parameters + b->g->tensor[logit_scale].slot, onto};
    mfrgn_status status = mf_graph_backward(b->g, 1, &of, &seed, wanted_count, wanted, recompute);
    mf_free(t->context, wanted);
    MF_TRY(status);
    return fuse(b, MF_FUSE_ALL);
}

/* ---- programs ---- */

/* A literal in the engine's memory. */
static mfrgn_status make_constant(builder *b, mf_value v, void **data) {
    const mf_engine *e = &b->trainer->engine;
    const mf_tensor *x = &b->g->tensor[v];
    size_t bytes = mf_tensor_bytes(x);
    void *values = mf_alloc(e->context, bytes);
    if (!values)
        return mf_fail_memory(e->context, bytes, "a constant");
    mfrgn_status status = mf_constant_evaluate(b->g, v, NULL, NULL, x->dtype, values);
    if (status == MFRGN_OK)
        status = mf_engine_alloc(e, bytes, "a constant", data);
    if (status == MFRGN_OK)
        status = mf_engine_put(e, *data, values, bytes);
    mf_free(e->context, values);
    return status;
}

/* Literals, in the form that the kernel reads. */
static mfrgn_status find_constants(void *user, const mf_node *n, mf_step *step, const mf_kernel_info *info) {
    builder *b = user;
    mfrgn_trainer *t = b->trainer;
    for (int k = 0; k < n->input_count; k++) {
        if (n->input[k] < 0 || b->g->tensor[n->input[k]].role != MF_ROLE_CONSTANT)
            continue;
        if (info->pack_bytes[k])
            return mf_fail(t->context, MFRGN_ERROR_INTERNAL, "a training graph packs nothing");
        mf_train_constant *c = mf_calloc(t->context, 1, sizeof(*c));
        if (!c)
            return mf_fail_memory(t->context, sizeof(*c), "a constant");
        c->link = b->plan->constants;
        b->plan->constants = c;
        MF_TRY(make_constant(b, n->input[k], &c->data));
        step->constant[k] = c->data;
    }
    return MFRGN_OK;
}

static void note_gradients(builder *b, double *flops) {
    for (size_t i = 0; i < b->g->node_count; i++) {
        mf_op op;
        int slot = b->g->tensor[b->g->node[i].output].slot;
        mf_graph_op(b->g, &b->g->node[i], &op);
        *flops += mf_op_flops(&op);
        if (slot >= (int)b->parameters && slot < (int)(2 * b->parameters))
            b->trainer->learnt[slot - (int)b->parameters] = 1;
    }
}

/* Takes the builder's graph. */
static mfrgn_status make_program(builder *b, double *flops, mf_program *program) {
    mfrgn_trainer *t = b->trainer;
    mf_graph *g = b->g;
    MF_TRY(mf_graph_set_types(g, t->engine.compute));
    note_gradients(b, flops);
    mf_engine_begin(&t->engine);
    mfrgn_status status = mf_program_create(&t->engine, g, find_constants, b, &t->progress, program);
    mf_engine_end(&t->engine);
    b->g = NULL;
    MF_TRY(status);
    if (program->memory->arena_bytes > b->plan->arena_bytes)
        b->plan->arena_bytes = program->memory->arena_bytes;
    return MFRGN_OK;
}

/* Aerial before ground: a BatchNorm that the views share is updated in this order. */
static mfrgn_status build_whole(builder *b, mf_train_plan *plan) {
    static const mfrgn_view views[MF_VIEWS] = {MFRGN_VIEW_AERIAL, MFRGN_VIEW_GROUND};
    mf_value descriptor[MF_VIEWS], logit_scale;
    int together = b->trainer->joint ? MF_VIEWS : 1;
    for (int i = 0; i < MF_VIEWS; i += together)
        build_views(b, together, &views[i], plan->n, descriptor);
    mf_value loss = build_loss(b, descriptor, &logit_scale), seed = one_value(b, MF_SLOT_SEED);
    for (int view = 0; view < 2; view++)
        mf_graph_bind(b->g, descriptor[view], extra(b, MF_SLOT_DESCRIPTOR + view));
    MF_TRY(append_backward(b, loss, seed, logit_scale, 0));
    return make_program(b, &plan->flops, &plan->whole);
}

static mf_value descriptors(builder *b, int slot, size_t n) {
    int64_t dim[] = {(int64_t)n, mf_config_descriptor_size(b->trainer->model->config)};
    return mf_graph_variable(b->g, NULL, extra(b, slot), MF_F32, 2, dim);
}

static mfrgn_status build_embed(builder *b, mfrgn_view view, size_t n, double *flops, mf_program *program) {
    mf_graph_bind(b->g, build_view(b, view, n), extra(b, MF_SLOT_DESCRIPTOR + (int)view));
    MF_TRY(fuse(b, MF_FUSE_ALL));
    return make_program(b, flops, program);
}

static mfrgn_status build_backward(builder *b, mfrgn_view view, size_t n, double *flops, mf_program *program) {
    mf_value descriptor = build_view(b, view, n), seed = descriptors(b, MF_SLOT_DESCRIPTOR_GRADIENT + (int)view, n);
    MF_TRY(append_backward(b, descriptor, seed, -1, 1));
    return make_program(b, flops, program);
}

/* The descriptors of the whole batch -> their gradients: the seam where those of several workers would be gathered. */
static mfrgn_status build_batch_loss(builder *b, mf_train_plan *plan) {
    mf_value descriptor[2], logit_scale, seed = one_value(b, MF_SLOT_SEED);
    mf_wanted wanted[3];
    for (int view = 0; view < 2; view++) {
        descriptor[view] = descriptors(b, MF_SLOT_DESCRIPTOR + view, plan->n);
        wanted[view] = (mf_wanted){descriptor[view], extra(b, MF_SLOT_DESCRIPTOR_GRADIENT + view), 0};
    }
    mf_value loss = build_loss(b, descriptor, &logit_scale);
    MF_TRY(b->g->status);
    wanted[2] = (mf_wanted){logit_scale, (int)b->parameters + b->g->tensor[logit_scale].slot, 1};
    assign_types(b);
    MF_TRY(mf_graph_backward(b->g, 1, &loss, &seed, 3, wanted, MF_RECOMPUTE_NONE));
    MF_TRY(fuse(b, MF_FUSE_ALL));
    return make_program(b, &plan->flops, &plan->loss);
}

typedef enum part { WHOLE, EMBED, BACKWARD, LOSS } part;

static mfrgn_status build(mfrgn_trainer *t, mf_train_plan *plan, part what, mfrgn_view view, int rest) {
    builder b = {0};
    mfrgn_status status = start(&b, t, plan, what == WHOLE || what == EMBED);
    size_t n = rest ? plan->n % plan->chunk : plan->chunk;
    double once = 0;
    if (status != MFRGN_OK)
        ;
    else if (what == WHOLE)
        status = build_whole(&b, plan);
    else if (what == EMBED)
        status = build_embed(&b, view, n, &once, &plan->embed[view][rest]);
    else if (what == BACKWARD)
        status = build_backward(&b, view, n, &once, &plan->backward[view][rest]);
    else
        status = build_batch_loss(&b, plan);
    plan->flops += once * (rest ? 1 : (double)(plan->n / plan->chunk));
    end(&b);
    return status;
}

static mfrgn_status build_chunks(mfrgn_trainer *t, mf_train_plan *plan) {
    for (int view = 0; view < 2; view++)
        for (int rest = 0; rest < (plan->n % plan->chunk ? 2 : 1); rest++) {
            MF_TRY(build(t, plan, EMBED, (mfrgn_view)view, rest));
            MF_TRY(build(t, plan, BACKWARD, (mfrgn_view)view, rest));
        }
    return build(t, plan, LOSS, MFRGN_VIEW_GROUND, 0);
}

void mf_train_plan_free(mfrgn_trainer *t, mf_train_plan *plan) {
    if (!plan)
        return;
    mf_program_free(&plan->whole);
    mf_program_free(&plan->loss);
    for (int view = 0; view < 2; view++)
        for (int rest = 0; rest < 2; rest++) {
            mf_program_free(&plan->embed[view][rest]);
            mf_program_free(&plan->backward[view][rest]);
        }
    for (mf_train_constant *c = plan->constants, *next; c; c = next) {
        next = c->link;
        mf_engine_free(&t->engine, c->data);
        mf_free(t->context, c);
    }
    mf_free(t->context, plan);
}

/* The plan that was made last comes first; the oldest goes when there are too many. */
static void keep(mfrgn_trainer *t, mf_train_plan *plan) {
    mf_train_plan **link = &t->plans;
    plan->link = t->plans;
    t->plans = plan;
    for (int i = 0; *link; i++) {
        if (i < MF_TRAIN_PLANS) {
            link = &(*link)->link;
            continue;
        }
        mf_train_plan *old = *link;
        *link = old->link;
        mf_train_plan_free(t, old);
    }
}

mfrgn_status mf_train_plan_get(mfrgn_trainer *t, size_t n, mf_train_plan **out) {
    for (mf_train_plan *p = t->plans; p; p = p->link)
        if (p->n == n) {
            *out = p;
            return MFRGN_OK;
        }
    mf_train_plan *plan = mf_calloc(t->context, 1, sizeof(*plan));
    if (!plan)
        return mf_fail_memory(t->context, sizeof(*plan), "a training plan");
    size_t chunk = (size_t)mf_train_option(&t->options, MFRGN_TRAIN_CHUNK)->number;
    plan->n = n;
    plan->chunk = chunk && chunk < n ? chunk : n;
    mfrgn_status status = plan->chunk == n ? build(t, plan, WHOLE, MFRGN_VIEW_GROUND, 0) : build_chunks(t, plan);
    if (status != MFRGN_OK) {
        mf_train_plan_free(t, plan);
        return status;
    }
    keep(t, plan);
    *out = plan;
    return MFRGN_OK;
}
