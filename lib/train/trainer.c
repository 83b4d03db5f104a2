/* The trainer: its memory, and a step. */
#include <math.h>
#include <string.h>

#include "train/trainer.h"

/* ---- creation ---- */

static size_t round_up(size_t values) {
    return (values + 15) / 16 * 16;
}

static mfrgn_status zeros(mfrgn_trainer *t, size_t bytes, const char *what, void **memory) {
    MF_TRY(mf_engine_alloc(&t->engine, bytes, what, memory));
    return mf_engine_zero(&t->engine, *memory, bytes);
}

static mfrgn_status allocate(mfrgn_trainer *t, void **array) {
    return zeros(t, t->start[t->model->parameters.count] * mf_train_value_size(t), "weights in training", array);
}

static size_t statistics_bytes(const mfrgn_trainer *t) {
    const mf_parameters *table = &t->model->parameters;
    size_t values = 1; /* some, so that there is something to allocate */
    for (size_t i = 0; i < table->count; i++)
        values += table->item[i].learnt ? 0 : mf_parameter_elements(&table->item[i]);
    return values * mf_train_value_size(t);
}

static size_t largest_parameter(const mfrgn_trainer *t) {
    size_t most = 0;
    for (size_t i = 0; i < t->model->parameters.count; i++) {
        size_t n = mf_parameter_elements(&t->model->parameters.item[i]);
        most = n > most ? n : most;
    }
    return most * sizeof(double);
}

/* The model's values to the slots; room: of the largest, in the host's memory. */
static mfrgn_status copy_values(mfrgn_trainer *t, void *room) {
    const mf_parameters *table = &t->model->parameters;
    for (size_t i = 0; i < table->count; i++) {
        const mf_parameter *p = &table->item[i];
        size_t n = mf_parameter_elements(p), bytes = n * mf_train_value_size(t);
        t->slot[i] = mf_train_at(t, t->state[MF_STATE_VALUE], i);
        t->slot[table->count + i] = mf_train_at(t, t->gradient, i);
        mf_convert(t->engine.wide, room, p->stored.dtype, p->stored.data, n);
        size_t bad = mf_find_nonfinite(t->engine.wide, room, n);
        if (bad < n)
            return mf_fail(t->context, MFRGN_ERROR_NUMERIC, "tensor \"%s\": the value at %zu is NaN or infinite",
                           p->name, bad);
        MF_TRY(mf_engine_put(&t->engine, t->slot[i], room, bytes));
        if (t->state[MF_STATE_AVERAGE])
            MF_TRY(mf_engine_put(&t->engine, mf_train_at(t, t->state[MF_STATE_AVERAGE], i), room, bytes));
    }
    return MFRGN_OK;
}

static mfrgn_status create_state(mfrgn_trainer *t) {
    const mf_parameters *table = &t->model->parameters;
    size_t count = table->count;
    t->start = mf_calloc(t->context, count + 1, sizeof(*t->start));
    t->learnt = mf_calloc(t->context, count + 1, 1);
    t->item = mf_calloc(t->context, count + 1, sizeof(*t->item));
    t->slot = mf_calloc(t->context, 2 * count + MF_SLOT_EXTRA, sizeof(*t->slot));
    if (!t->start || !t->learnt || !t->item || !t->slot)
        return mf_fail_memory(t->context, count * sizeof(*t->item), "a trainer");
    for (size_t i = 0; i < count; i++)
        t->start[i + 1] = t->start[i] + round_up(mf_parameter_elements(&table->item[i]));
    int states = mf_train_real(t, MFRGN_TRAIN_EMA) > 0 ? MF_STATE_COUNT : MF_STATE_AVERAGE;
    for (int s = 0; s < states; s++)
        MF_TRY(allocate(t, &t->state[s]));
    MF_TRY(allocate(t, &t->gradient));
    MF_TRY(zeros(t, statistics_bytes(t), "running statistics", &t->statistics));
    MF_TRY(zeros(t, 3 * sizeof(int64_t), "a key", &t->key));
    MF_TRY(zeros(t, sizeof(double), "a loss", &t->loss));
    MF_TRY(zeros(t, sizeof(double), "a seed", &t->seed));
    void *room = mf_alloc(t->context, largest_parameter(t));
    if (!room)
        return mf_fail_memory(t->context, largest_parameter(t), "a weight");
    mfrgn_status status = copy_values(t, room);
    mf_free(t->context, room);
    t->slot[2 * count + MF_SLOT_KEY] = t->key;
    t->slot[2 * count + MF_SLOT_LOSS] = t->loss;
    t->slot[2 * count + MF_SLOT_SEED] = t->seed;
    return status;
}

static mfrgn_status store_one(const mfrgn_trainer *t, void *to, double value) {
    float f = (float)value;
    return mf_engine_put(&t->engine, to, t->engine.wide == MF_F64 ? (const void *)&value : (const void *)&f,
                         mf_train_value_size(t));
}

static const char *text(const mfrgn_trainer *t, mfrgn_train_key key) {
    return mf_train_option(&t->options, key)->text;
}

static long number(const mfrgn_trainer *t, mfrgn_train_key key) {
    return mf_train_option(&t->options, key)->number;
}

static mfrgn_status set_up(mfrgn_trainer *t) {
    mf_engine_params params = {.backend = text(t, MFRGN_TRAIN_BACKEND),
                               .precision = text(t, MFRGN_TRAIN_PRECISION),
                               .threads = number(t, MFRGN_TRAIN_THREADS),
                               .device = number(t, MFRGN_TRAIN_DEVICE),
                               .tuning = text(t, MFRGN_TRAIN_TUNING)};
    t->frozen = mf_train_real(t, MFRGN_TRAIN_BACKBONE_FACTOR) == 0;
    t->rate = mf_train_real(t, MFRGN_TRAIN_LEARNING_RATE);
    MF_TRY(mf_engine_open(t->context, &params, &t->engine, NULL));
    t->joint = !mf_engine_is_host(&t->engine); /* docs/decisions/0020 */
    t->scale = mf_train_real(t, MFRGN_TRAIN_LOSS_SCALE);
    if (t->scale == 0)
        t->scale = t->engine.compute == MF_F16 ? 65536 : 1;
    if (!t->engine.backend->table->update || !t->engine.backend->table->sum_squares)
        return mf_fail(t->context, MFRGN_ERROR_UNSUPPORTED, "backend %s does not train", t->engine.backend->name);
    mf_engine_begin(&t->engine);
    mfrgn_status status = create_state(t);
    mf_engine_end(&t->engine);
    return status;
}

mfrgn_status mfrgn_trainer_create(mfrgn_model *model, const mfrgn_train_options *options, mfrgn_trainer **out) {
    if (!model)
        return MFRGN_ERROR_ARGUMENT;
    if (!out)
        return mf_fail(model->context, MFRGN_ERROR_ARGUMENT, "mfrgn_trainer_create: NULL argument");
    mfrgn_train_options *defaults = NULL;
    if (!options) {
        MF_TRY(mfrgn_train_options_create(model->context, &defaults));
        options = defaults;
    }
    mfrgn_trainer *t = mf_calloc(model->context, 1, sizeof(*t));
    mfrgn_status status = MFRGN_ERROR_MEMORY;
    if (t) {
        t->context = mf_context_ref(model->context);
        t->model = mf_model_ref(model);
        t->options = *options;
        t->options.settings.context = t->context; /* the options' own may go before the trainer */
        status = set_up(t);
    } else {
        mf_fail_memory(model->context, sizeof(*t), "a trainer");
    }
    mfrgn_train_options_free(defaults);
    if (status != MFRGN_OK)
        mfrgn_trainer_free(t);
    else
        *out = t;
    return status;
}

static void free_batch(mfrgn_trainer *t) {
    mf_free(t->context, t->staging);
    t->staging = NULL;
    for (int view = 0; view < 2; view++) {
        mf_engine_free(&t->engine, t->image[view]);
        mf_engine_free(&t->engine, t->descriptor[view]);
        mf_engine_free(&t->engine, t->descriptor_gradient[view]);
        t->image[view] = t->descriptor[view] = t->descriptor_gradient[view] = NULL;
    }
    t->batch_room = 0;
}

void mfrgn_trainer_free(mfrgn_trainer *t) {
    if (!t)
        return;
    mfrgn_context *context = t->context;
    for (mf_train_plan *p = t->plans, *next; p; p = next) {
        next = p->link;
        mf_train_plan_free(t, p);
    }
    free_batch(t);
    void *own[] = {t->gradient, t->statistics, t->key, t->loss, t->seed, t->arena};
    for (size_t i = 0; i < MF_COUNT(own); i++)
        mf_engine_free(&t->engine, own[i]);
    for (int s = 0; s < MF_STATE_COUNT; s++)
        mf_engine_free(&t->engine, t->state[s]);
    mf_engine_close(&t->engine);
    mf_free(context, t->start);
    mf_free(context, t->learnt);
    mf_free(context, t->item);
    mf_free(context, t->slot);
    mf_free(context, t->scratch.memory);
    mfrgn_model_free(t->model);
    mf_free(context, t);
    mfrgn_context_free(context);
}

/* ---- a step ---- */

static size_t image_values(const mfrgn_trainer *t, int view) {
    int width, height;
    mfrgn_model_input_size(t->model, (mfrgn_view)view, &width, &height);
    return (size_t)width * (size_t)height * 3;
}

/* Of a view, n images. */
static mfrgn_status reserve_view(mfrgn_trainer *t, int view, size_t n) {
    size_t bytes = n * mfrgn_model_descriptor_size(t->model) * mf_train_value_size(t);
    MF_TRY(mf_engine_alloc(&t->engine, n * image_values(t, view) * mf_train_value_size(t), "a batch of images",
                           &t->image[view]));
    MF_TRY(mf_engine_alloc(&t->engine, bytes, "descriptors", &t->descriptor[view]));
    return mf_engine_alloc(&t->engine, bytes, "gradients of descriptors", &t->descriptor_gradient[view]);
}

static mfrgn_status reserve_batch(mfrgn_trainer *t, size_t n) {
    if (n <= t->batch_room)
        return MFRGN_OK;
    free_batch(t);
    for (int view = 0; view < 2; view++)
        MF_TRY(reserve_view(t, view, n));
    if (!mf_engine_is_host(&t->engine)) {
        size_t a = image_values(t, 0), b = image_values(t, 1), bytes = n * (a > b ? a : b) * sizeof(float);
        t->staging = mf_alloc_huge(t->context, bytes);
        if (!t->staging)
            return mf_fail_memory(t->context, bytes, "a batch of images");
    }
    t->batch_room = n;
    return MFRGN_OK;
}

/* Kept from plan to plan: they run one after the other. */
static mfrgn_status reserve_arena(mfrgn_trainer *t, size_t bytes) {
    if (bytes <= t->arena_bytes)
        return MFRGN_OK;
    mf_engine_free(&t->engine, t->arena);
    t->arena = NULL;
    t->arena_bytes = 0;
    MF_TRY(mf_engine_alloc(&t->engine, bytes, "activations of a training step", &t->arena));
    t->arena_bytes = bytes;
    return MFRGN_OK;
}

static mfrgn_status fill_images(mfrgn_trainer *t, mfrgn_view view, const mfrgn_image *images, size_t n) {
    int width, height;
    size_t values = n * image_values(t, (int)view);
    float *to = t->staging ? t->staging : t->image[view];
    mfrgn_model_input_size(t->model, view, &width, &height);
    MF_TRY(mf_input_fill(t->context, t->engine.threads, images, n, height, width, 0, to, &t->scratch));
    if (t->engine.wide == MF_F64)
        mf_input_widen(to, values);
    return t->staging ? mf_engine_put(&t->engine, t->image[view], to, values * sizeof(float)) : MFRGN_OK;
}

/* Points the slots at image `first` of the batch. */
static mfrgn_status point_at(mfrgn_trainer *t, size_t first) {
    size_t extra = 2 * t->model->parameters.count, value = mf_train_value_size(t);
    size_t row = first * mfrgn_model_descriptor_size(t->model) * value;
    for (int view = 0; view < 2; view++) {
        size_t slot = extra + (size_t)view;
        t->slot[slot + MF_SLOT_IMAGE] = (char *)t->image[view] + first * image_values(t, view) * value;
        t->slot[slot + MF_SLOT_DESCRIPTOR] = (char *)t->descriptor[view] + row;
        t->slot[slot + MF_SLOT_DESCRIPTOR_GRADIENT] = (char *)t->descriptor_gradient[view] + row;
    }
    int64_t key[] = {number(t, MFRGN_TRAIN_SEED), (int64_t)t->step, (int64_t)first};
    mf_engine_begin(&t->engine);
    mfrgn_status status = mf_engine_put(&t->engine, t->key, key, sizeof(key));
    mf_engine_end(&t->engine);
    return status;
}

static mfrgn_status run(mfrgn_trainer *t, mf_program *program) {
    return mf_program_run(program, t->arena, t->slot, &t->progress);
}

static mfrgn_status run_chunks(mfrgn_trainer *t, const mf_train_plan *plan, mf_program *const programs[2]) {
    for (size_t first = 0; first < plan->n; first += plan->chunk) {
        MF_TRY(point_at(t, first));
        MF_TRY(run(t, programs[plan->n - first < plan->chunk]));
    }
    return MFRGN_OK;
}

static mfrgn_status zero_gradients(mfrgn_trainer *t) {
    mf_engine_begin(&t->engine);
    mfrgn_status status =
        mf_engine_zero(&t->engine, t->gradient, t->start[t->model->parameters.count] * mf_train_value_size(t));
    mf_engine_end(&t->engine);
    return status;
}

static mfrgn_status run_plan(mfrgn_trainer *t, mf_train_plan *plan) {
    MF_TRY(point_at(t, 0));
    if (plan->whole.graph)
        return run(t, &plan->whole);
    MF_TRY(zero_gradients(t));
    for (int view = 1; view >= 0; view--)
        MF_TRY(run_chunks(t, plan, (mf_program *const[]){&plan->embed[view][0], &plan->embed[view][1]}));
    MF_TRY(point_at(t, 0));
    MF_TRY(run(t, &plan->loss));
    for (int view = 1; view >= 0; view--)
        MF_TRY(run_chunks(t, plan, (mf_program *const[]){&plan->backward[view][0], &plan->backward[view][1]}));
    return MFRGN_OK;
}

static int has_decay(const mfrgn_trainer *t, const mf_parameter *p) {
    return mf_train_option(&t->options, MFRGN_TRAIN_DECAY_ALL)->number || p->ndim > 1;
}

static size_t list_items(mfrgn_trainer *t) {
    const mf_parameters *table = &t->model->parameters;
    double factor = mf_train_real(t, MFRGN_TRAIN_BACKBONE_FACTOR), decay = mf_train_real(t, MFRGN_TRAIN_WEIGHT_DECAY);
    size_t count = 0;
    for (size_t i = 0; i < table->count; i++) {
        const mf_parameter *p = &table->item[i];
        if (!t->learnt[i])
            continue;
        t->item[count++] = (mf_update_item){
            .value = t->slot[i],
            .m = mf_train_at(t, t->state[MF_STATE_M], i),
            .v = mf_train_at(t, t->state[MF_STATE_V], i),
            .gradient = t->slot[table->count + i],
            .average = t->state[MF_STATE_AVERAGE] ? mf_train_at(t, t->state[MF_STATE_AVERAGE], i) : NULL,
            .count = (int64_t)mf_parameter_elements(p),
            .rate = t->rate * (mf_train_is_backbone(p->name) ? factor : 1),
            .decay = has_decay(t, p) ? decay : 0};
    }
    return count;
}

/* Running statistics are no parameters: their average is what they are. */
static mfrgn_status copy_statistics(mfrgn_trainer *t) {
    const mf_parameters *table = &t->model->parameters;
    for (size_t i = 0; t->state[MF_STATE_AVERAGE] && i < table->count; i++)
        if (!table->item[i].learnt)
            MF_TRY(mf_engine_copy(&t->engine, mf_train_at(t, t->state[MF_STATE_AVERAGE], i), t->slot[i],
                                  mf_parameter_elements(&table->item[i]) * mf_train_value_size(t)));
    return MFRGN_OK;
}

static mf_update start_update(mfrgn_trainer *t) {
    double beta1 = mf_train_real(t, MFRGN_TRAIN_BETA1), beta2 = mf_train_real(t, MFRGN_TRAIN_BETA2);
    double next = (double)(t->step + 1);
    return (mf_update){.struct_size = sizeof(mf_update),
                       .item = t->item,
                       .count = list_items(t),
                       .beta1 = beta1,
                       .beta2 = beta2,
                       .eps = mf_train_real(t, MFRGN_TRAIN_EPSILON),
                       .correction1 = 1 - pow(beta1, next),
                       .correction2 = 1 - pow(beta2, next),
                       .gradient_scale = 1 / t->scale,
                       .clip_value = mf_train_real(t, MFRGN_TRAIN_CLIP_VALUE),
                       .average_decay = mf_train_real(t, MFRGN_TRAIN_EMA)};
}

/* *overflow: 1 where the scaled gradients are not finite, but those of a smaller scale might be. */
static mfrgn_status update(mfrgn_trainer *t, mf_train_plan *plan, int *overflow) {
    mf_update u = start_update(t);
    double most = mf_train_real(t, MFRGN_TRAIN_CLIP_NORM), squares, loss;
    MF_TRY(mf_train_read(t, t->loss, &loss));
    if (!isfinite(loss))
        return mf_fail(t->context, MFRGN_ERROR_NUMERIC, "step %lu: the loss is not finite", t->step + 1);
    MF_TRY((mfrgn_status)t->engine.backend->table->sum_squares(t->engine.stream, &u, &squares));
    if (!isfinite(squares)) {
        *overflow = t->scale > 1;
        return mf_fail(t->context, MFRGN_ERROR_NUMERIC, "step %lu: a gradient is not finite (the loss is %g)",
                       t->step + 1, loss);
    }
    t->last_norm = sqrt(squares) / t->scale;
    if (most > 0 && t->last_norm > most)
        u.gradient_scale = most / (t->last_norm + 1e-6) / t->scale; /* as PyTorch's */
    MF_TRY((mfrgn_status)t->engine.backend->table->update(t->engine.stream, &u));
    MF_TRY(copy_statistics(t));
    t->last_loss = loss;
    t->last_rate = t->rate;
    t->last_flops = plan->flops;
    t->last_scale = t->scale;
    t->step++;
    return MFRGN_OK;
}

/* The graphs move the running statistics before it is known whether the step can be taken: where it cannot, they are
 * put back. */
static mfrgn_status keep_statistics(mfrgn_trainer *t, int back) {
    const mf_parameters *table = &t->model->parameters;
    char *kept = t->statistics;
    mfrgn_status status = MFRGN_OK;
    mf_engine_begin(&t->engine);
    for (size_t i = 0; i < table->count && status == MFRGN_OK; i++) {
        size_t bytes = mf_parameter_elements(&table->item[i]) * mf_train_value_size(t);
        if (table->item[i].learnt)
            continue;
        status = mf_engine_copy(&t->engine, back ? t->slot[i] : (void *)kept, back ? (void *)kept : t->slot[i], bytes);
        kept += bytes;
    }
    mf_engine_end(&t->engine);
    return status;
}

static mfrgn_status run_step(mfrgn_trainer *t, mf_train_plan *plan, int *overflow) {
    *overflow = 0;
    mf_engine_begin(&t->engine);
    mfrgn_status status = store_one(t, t->seed, t->scale);
    mf_engine_end(&t->engine);
    MF_TRY(status);
    MF_TRY(run_plan(t, plan));
    mf_engine_begin(&t->engine);
    status = update(t, plan, overflow);
    mf_engine_end(&t->engine);
    return status;
}

enum { SCALE_STEPS = 2000, SCALE_MOST = 1 << 24 };

/* Dynamic loss scaling (Micikevicius et al., ICLR 2018): halved, and the step done again, where a gradient overflows;
 * doubled after SCALE_STEPS steps without.  Powers of two change no bit of what does not overflow or vanish. */
static mfrgn_status run_scaled(mfrgn_trainer *t, mf_train_plan *plan) {
    int overflow, dynamic = t->engine.compute == MF_F16 && mf_train_real(t, MFRGN_TRAIN_LOSS_SCALE) == 0;
    mfrgn_status status;
    while ((status = run_step(t, plan, &overflow)) != MFRGN_OK && overflow && dynamic) {
        MF_TRY(keep_statistics(t, 1));
        t->scale /= 2;
        t->since_scale = 0;
    }
    if (status == MFRGN_OK && dynamic && ++t->since_scale == SCALE_STEPS && t->scale < SCALE_MOST) {
        t->scale *= 2;
        t->since_scale = 0;
    }
    return status;
}

static mfrgn_status prepare_step(mfrgn_trainer *t, const mfrgn_image *ground, const mfrgn_image *aerial, size_t n,
                                 const mf_train_plan *plan) {
    MF_TRY(reserve_arena(t, plan->arena_bytes));
    MF_TRY(reserve_batch(t, n));
    MF_TRY(fill_images(t, MFRGN_VIEW_GROUND, ground, n));
    return fill_images(t, MFRGN_VIEW_AERIAL, aerial, n);
}

mfrgn_status mfrgn_train_step(mfrgn_trainer *t, const mfrgn_image *ground, const mfrgn_image *aerial, size_t n,
                              float *loss) {
    mf_train_plan *plan;
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!ground || !aerial || n < 2)
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_train_step: images are NULL, or a batch of %zu pairs: at least 2 are needed", n);
    MF_TRY(mf_input_check(t->context, ground, n));
    MF_TRY(mf_input_check(t->context, aerial, n));
    MF_TRY(mf_train_plan_get(t, n, &plan));
    mf_engine_begin(&t->engine);
    mfrgn_status status = prepare_step(t, ground, aerial, n, plan);
    mf_engine_end(&t->engine);
    MF_TRY(status);
    MF_TRY(keep_statistics(t, 0));
    status = run_scaled(t, plan);
    if (status != MFRGN_OK)
        (void)keep_statistics(t, 1);
    else if (loss)
        *loss = (float)t->last_loss;
    return status;
}
