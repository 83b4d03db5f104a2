/* The trainer: its memory, and a step. */
#include <math.h>
#include <string.h>

#include "train/trainer.h"

/* ---- creation ---- */

static size_t round_up(size_t values) {
    return (values + 15) / 16 * 16;
}

static mfrgn_status allocate(mfrgn_trainer *t, void **array) {
    size_t bytes = t->start[t->model->parameters.count] * mf_train_value_size(t);
    *array = mf_alloc_huge(t->context, bytes);
    if (!*array)
        return mf_fail_memory(t->context, bytes, "weights in training");
    memset(*array, 0, bytes);
    return MFRGN_OK;
}

static size_t statistics_bytes(const mfrgn_trainer *t) {
    const mf_parameters *table = &t->model->parameters;
    size_t values = 0;
    for (size_t i = 0; i < table->count; i++)
        values += table->item[i].learnt ? 0 : mf_parameter_elements(&table->item[i]);
    return values * mf_train_value_size(t);
}

static mfrgn_status create_state(mfrgn_trainer *t) {
    const mf_parameters *table = &t->model->parameters;
    size_t count = table->count;
    t->start = mf_calloc(t->context, count + 1, sizeof(*t->start));
    t->learnt = mf_calloc(t->context, count + 1, 1);
    t->item = mf_calloc(t->context, count + 1, sizeof(*t->item));
    t->slot = mf_calloc(t->context, 2 * count + MF_SLOT_EXTRA, sizeof(*t->slot));
    t->statistics = mf_alloc(t->context, statistics_bytes(t));
    if (!t->start || !t->learnt || !t->item || !t->slot || !t->statistics)
        return mf_fail_memory(t->context, count * sizeof(*t->item), "a trainer");
    for (size_t i = 0; i < count; i++)
        t->start[i + 1] = t->start[i] + round_up(mf_parameter_elements(&table->item[i]));
    int states = mf_train_real(t, MFRGN_TRAIN_EMA) > 0 ? MF_STATE_COUNT : MF_STATE_AVERAGE;
    for (int s = 0; s < states; s++)
        MF_TRY(allocate(t, &t->state[s]));
    MF_TRY(allocate(t, &t->gradient));
    for (size_t i = 0; i < count; i++) {
        const mf_parameter *p = &table->item[i];
        size_t n = mf_parameter_elements(p);
        t->slot[i] = mf_train_at(t, t->state[MF_STATE_VALUE], i);
        t->slot[count + i] = mf_train_at(t, t->gradient, i);
        mf_convert(t->compute, t->slot[i], p->stored.dtype, p->stored.data, n);
        size_t bad = mf_find_nonfinite(t->compute, t->slot[i], n);
        if (bad < n)
            return mf_fail(t->context, MFRGN_ERROR_NUMERIC, "tensor \"%s\": the value at %zu is NaN or infinite",
                           p->name, bad);
        if (t->state[MF_STATE_AVERAGE])
            mf_convert(t->compute, mf_train_at(t, t->state[MF_STATE_AVERAGE], i), t->compute, t->slot[i], n);
    }
    t->slot[2 * count + MF_SLOT_KEY] = t->key;
    t->slot[2 * count + MF_SLOT_LOSS] = t->loss;
    t->slot[2 * count + MF_SLOT_SEED] = t->seed;
    return MFRGN_OK;
}

static void store_one(const mfrgn_trainer *t, double *to, double value) {
    if (t->compute == MF_F64)
        *to = value;
    else
        *(float *)to = (float)value;
}

static double read_one(const mfrgn_trainer *t, const double *from) {
    return t->compute == MF_F64 ? *from : (double)*(const float *)from;
}

static mfrgn_status set_up(mfrgn_trainer *t) {
    const mfrgn_train_options *o = &t->options;
    long threads = mf_train_option(o, MFRGN_TRAIN_THREADS)->number;
    char *passed_over = NULL;
    t->threads = threads ? (int)threads : mf_core_count();
    t->compute = mf_train_option(o, MFRGN_TRAIN_PRECISION)->number ? MF_F64 : MF_F32;
    t->frozen = mf_train_real(t, MFRGN_TRAIN_BACKBONE_FACTOR) == 0;
    t->rate = mf_train_real(t, MFRGN_TRAIN_LEARNING_RATE);
    store_one(t, t->seed, 1);
    mfrgn_status status = mf_open_stream(t->context, mf_train_option(o, MFRGN_TRAIN_BACKEND)->text, t->threads,
                                         t->compute, &t->backend, &t->stream, &passed_over);
    mf_free(t->context, passed_over);
    MF_TRY(status);
    if (!t->backend->table->update || !t->backend->table->sum_squares)
        return mf_fail(t->context, MFRGN_ERROR_UNSUPPORTED, "backend %s does not train", t->backend->name);
    return create_state(t);
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
    for (int view = 0; view < 2; view++) {
        mf_free(t->context, t->image[view]);
        mf_free(t->context, t->descriptor[view]);
        mf_free(t->context, t->descriptor_gradient[view]);
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
    if (t->stream)
        t->backend->table->stream_close(t->stream);
    free_batch(t);
    for (int s = 0; s < MF_STATE_COUNT; s++)
        mf_free(context, t->state[s]);
    mf_free(context, t->gradient);
    mf_free(context, t->statistics);
    mf_free(context, t->start);
    mf_free(context, t->learnt);
    mf_free(context, t->item);
    mf_free(context, t->slot);
    mf_free(context, t->arena);
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

static mfrgn_status reserve_batch(mfrgn_trainer *t, size_t n) {
    size_t size = mfrgn_model_descriptor_size(t->model), value = mf_train_value_size(t);
    if (n <= t->batch_room)
        return MFRGN_OK;
    free_batch(t);
    for (int view = 0; view < 2; view++) {
        size_t image_bytes = n * image_values(t, view) * value, bytes = n * size * value;
        t->image[view] = mf_alloc_huge(t->context, image_bytes);
        t->descriptor[view] = mf_alloc(t->context, bytes);
        t->descriptor_gradient[view] = mf_alloc(t->context, bytes);
        if (!t->image[view] || !t->descriptor[view] || !t->descriptor_gradient[view])
            return mf_fail_memory(t->context, image_bytes + 2 * bytes, "a batch of images");
    }
    t->batch_room = n;
    return MFRGN_OK;
}

/* Kept from plan to plan: they run one after the other. */
static mfrgn_status reserve_arena(mfrgn_trainer *t, size_t bytes) {
    if (bytes <= t->arena_bytes)
        return MFRGN_OK;
    mf_free(t->context, t->arena);
    t->arena_bytes = 0;
    t->arena = mf_alloc_huge(t->context, bytes);
    if (!t->arena)
        return mf_fail_memory(t->context, bytes, "activations of a training step");
    t->arena_bytes = bytes;
    return MFRGN_OK;
}

static mfrgn_status fill_images(mfrgn_trainer *t, mfrgn_view view, const mfrgn_image *images, size_t n) {
    int width, height;
    mfrgn_model_input_size(t->model, view, &width, &height);
    mfrgn_status status =
        mf_input_fill(t->context, t->threads, images, n, height, width, 0, t->image[view], &t->scratch);
    if (status == MFRGN_OK && t->compute == MF_F64)
        mf_input_widen(t->image[view], n * image_values(t, (int)view));
    return status;
}

/* Points the slots at image `first` of the batch. */
static void point_at(mfrgn_trainer *t, size_t first) {
    size_t extra = 2 * t->model->parameters.count, value = mf_train_value_size(t);
    size_t row = first * mfrgn_model_descriptor_size(t->model) * value;
    for (int view = 0; view < 2; view++) {
        size_t slot = extra + (size_t)view;
        t->slot[slot + MF_SLOT_IMAGE] = (char *)t->image[view] + first * image_values(t, view) * value;
        t->slot[slot + MF_SLOT_DESCRIPTOR] = (char *)t->descriptor[view] + row;
        t->slot[slot + MF_SLOT_DESCRIPTOR_GRADIENT] = (char *)t->descriptor_gradient[view] + row;
    }
    t->key[0] = mf_train_option(&t->options, MFRGN_TRAIN_SEED)->number;
    t->key[1] = (int64_t)t->step;
    t->key[2] = (int64_t)first;
}

static mfrgn_status run(mfrgn_trainer *t, const mf_program *program) {
    return mf_program_run(program, t->arena, t->slot, &t->progress);
}

static mfrgn_status run_chunks(mfrgn_trainer *t, const mf_train_plan *plan, mf_program *const programs[2]) {
    for (size_t first = 0; first < plan->n; first += plan->chunk) {
        point_at(t, first);
        MF_TRY(run(t, programs[plan->n - first < plan->chunk]));
    }
    return MFRGN_OK;
}

static mfrgn_status run_plan(mfrgn_trainer *t, mf_train_plan *plan) {
    point_at(t, 0);
    if (plan->whole.graph)
        return run(t, &plan->whole);
    memset(t->gradient, 0, t->start[t->model->parameters.count] * mf_train_value_size(t));
    for (int view = 1; view >= 0; view--)
        MF_TRY(run_chunks(t, plan, (mf_program *const[]){&plan->embed[view][0], &plan->embed[view][1]}));
    point_at(t, 0);
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
static void copy_statistics(mfrgn_trainer *t) {
    const mf_parameters *table = &t->model->parameters;
    for (size_t i = 0; t->state[MF_STATE_AVERAGE] && i < table->count; i++)
        if (!table->item[i].learnt)
            memcpy(mf_train_at(t, t->state[MF_STATE_AVERAGE], i), t->slot[i],
                   mf_parameter_elements(&table->item[i]) * mf_train_value_size(t));
}

static mfrgn_status update(mfrgn_trainer *t, mf_train_plan *plan) {
    double beta1 = mf_train_real(t, MFRGN_TRAIN_BETA1), beta2 = mf_train_real(t, MFRGN_TRAIN_BETA2);
    double most = mf_train_real(t, MFRGN_TRAIN_CLIP_NORM), squares, loss = read_one(t, t->loss);
    double next = (double)(t->step + 1);
    mf_update u = {.struct_size = sizeof(u),
                   .item = t->item,
                   .count = list_items(t),
                   .beta1 = beta1,
                   .beta2 = beta2,
                   .eps = mf_train_real(t, MFRGN_TRAIN_EPSILON),
                   .correction1 = 1 - pow(beta1, next),
                   .correction2 = 1 - pow(beta2, next),
                   .gradient_scale = 1,
                   .clip_value = mf_train_real(t, MFRGN_TRAIN_CLIP_VALUE),
                   .average_decay = mf_train_real(t, MFRGN_TRAIN_EMA)};
    if (!isfinite(loss))
        return mf_fail(t->context, MFRGN_ERROR_NUMERIC, "step %lu: the loss is not finite", t->step + 1);
    MF_TRY((mfrgn_status)t->backend->table->sum_squares(t->stream, &u, &squares));
    if (!isfinite(squares))
        return mf_fail(t->context, MFRGN_ERROR_NUMERIC, "step %lu: a gradient is not finite (the loss is %g)",
                       t->step + 1, loss);
    t->last_norm = sqrt(squares);
    if (most > 0 && t->last_norm > most)
        u.gradient_scale = most / (t->last_norm + 1e-6); /* as PyTorch's */
    MF_TRY((mfrgn_status)t->backend->table->update(t->stream, &u));
    copy_statistics(t);
    t->last_loss = loss;
    t->last_rate = t->rate;
    t->last_flops = plan->flops;
    t->step++;
    return MFRGN_OK;
}

/* The graphs move the running statistics before it is known whether the step can be taken: where it cannot, they are
 * put back. */
static void keep_statistics(mfrgn_trainer *t, int back) {
    const mf_parameters *table = &t->model->parameters;
    char *kept = t->statistics;
    for (size_t i = 0; i < table->count; i++) {
        size_t bytes = mf_parameter_elements(&table->item[i]) * mf_train_value_size(t);
        if (table->item[i].learnt)
            continue;
        memcpy(back ? t->slot[i] : kept, back ? kept : t->slot[i], bytes);
        kept += bytes;
    }
}

static mfrgn_status run_step(mfrgn_trainer *t, mf_train_plan *plan) {
    MF_TRY(run_plan(t, plan));
    t->backend->table->stream_begin(t->stream);
    mfrgn_status status = update(t, plan);
    t->backend->table->stream_end(t->stream);
    return status;
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
    MF_TRY(reserve_arena(t, plan->arena_bytes));
    MF_TRY(reserve_batch(t, n));
    MF_TRY(fill_images(t, MFRGN_VIEW_GROUND, ground, n));
    MF_TRY(fill_images(t, MFRGN_VIEW_AERIAL, aerial, n));
    keep_statistics(t, 0);
    mfrgn_status status = run_step(t, plan);
    if (status != MFRGN_OK)
        keep_statistics(t, 1);
    else if (loss)
        *loss = (float)t->last_loss;
    return status;
}

/* ---- settings and questions ---- */

mfrgn_status mfrgn_trainer_set_learning_rate(mfrgn_trainer *t, double rate) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!(rate >= 0 && rate <= 10))
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "a learning rate of %g: 0 to 10 are possible", rate);
    t->rate = rate;
    return MFRGN_OK;
}

mfrgn_status mfrgn_trainer_set_progress(mfrgn_trainer *t, const mfrgn_progress *progress) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (progress && (progress->struct_size < sizeof(*progress) || !progress->update))
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_progress: struct_size or update is not set");
    t->progress = progress ? *progress : (mfrgn_progress){0};
    return MFRGN_OK;
}

mfrgn_status mfrgn_trainer_get_info(const mfrgn_trainer *t, mfrgn_trainer_info *info) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!info || info->struct_size < sizeof(*info))
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_trainer_get_info: info or struct_size is not set");
    int index = mf_parameters_find(&t->model->parameters, "logit_scale");
    double logit_scale;
    mf_convert(MF_F64, &logit_scale, t->compute, t->slot[index], 1);
    size_t arrays = 1;
    for (int s = 0; s < MF_STATE_COUNT; s++)
        arrays += t->state[s] != NULL;
    info->backend = t->backend->name;
    info->step = t->step;
    info->loss = t->last_loss;
    info->gradient_norm = t->last_norm;
    info->temperature = exp(logit_scale);
    info->learning_rate = t->last_rate;
    info->flops = t->last_flops;
    info->arena_bytes = t->arena_bytes;
    info->state_bytes = arrays * t->start[t->model->parameters.count] * mf_train_value_size(t);
    return MFRGN_OK;
}

typedef struct filler {
    const mfrgn_trainer *trainer;
    void *array;
} filler;

static int give_values(void *user, const char *name, const size_t *shape, int dims, float *values) {
    const filler *f = user;
    const mf_parameters *table = &f->trainer->model->parameters;
    int index = mf_parameters_find(table, name);
    (void)shape;
    (void)dims;
    if (index < 0)
        return 1;
    mf_convert(MF_F32, values, f->trainer->compute, mf_train_at(f->trainer, f->array, (size_t)index),
               mf_parameter_elements(&table->item[index]));
    return 0;
}

mfrgn_status mfrgn_trainer_model(const mfrgn_trainer *t, int average, mfrgn_model **model) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    if (!model || (average && !t->state[MF_STATE_AVERAGE]))
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT, "mfrgn_trainer_model: no model, or no average is kept (ema)");
    filler f = {t, t->state[average ? MF_STATE_AVERAGE : MF_STATE_VALUE]};
    return mfrgn_model_create_filled(t->context, t->model->config, give_values, &f, model);
}

mfrgn_status mfrgn_trainer_gradient(const mfrgn_trainer *t, const char *name, float *values, size_t count) {
    if (!t)
        return MFRGN_ERROR_ARGUMENT;
    int index = name ? mf_parameters_find(&t->model->parameters, name) : -1;
    if (index < 0 || !values || count != mf_parameter_elements(&t->model->parameters.item[index]) || !t->learnt[index])
        return mf_fail(t->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_trainer_gradient: no tensor \"%s\" of %zu values has a gradient", name ? name : "",
                       count);
    mf_convert(MF_F32, values, t->compute, t->slot[t->model->parameters.count + (size_t)index], count);
    return MFRGN_OK;
}
