/* A training run, piece by piece: steps, evaluations, ends of epochs. */
#include "train/run.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/folder.h"

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

char *mf_run_path(const mfrgn_run *run, const char *format, ...) {
    char name[64];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    char *path = mf_format(run->context, "%s/%s", run->options.folder, name);
    if (!path)
        mf_fail_memory(run->context, strlen(run->options.folder) + sizeof(name), "a path");
    return path;
}

/* ---- creation ---- */

static mfrgn_status make_folder(mfrgn_context *context, const char *folder) {
    if (mkdir(folder, 0777) != 0 && (errno != EEXIST || mf_entry(folder) != MF_ENTRY_FOLDER))
        return mf_fail(context, MFRGN_ERROR_IO, "%s: the folder cannot be made: %s", folder, strerror(errno));
    return MFRGN_OK;
}

/* A folder that holds a run is gone on with, by the same recipe, or left alone. */
static mfrgn_status check_folder(mfrgn_run *run) {
    char *path = mf_run_path(run, "recipe.json");
    mfrgn_recipe *old = NULL;
    if (!path)
        return MFRGN_ERROR_MEMORY;
    mfrgn_status status = MFRGN_OK;
    if (access(path, F_OK) == 0 && !run->options.resume)
        status = mf_fail(run->context, MFRGN_ERROR_ARGUMENT,
                         "%s: the folder holds a run: go on with it by resuming, or take another folder",
                         run->options.folder);
    else if (access(path, F_OK) == 0) {
        status = mfrgn_recipe_create(run->context, NULL, &old);
        if (status == MFRGN_OK)
            status = mfrgn_recipe_read(old, path);
        if (status == MFRGN_OK)
            status = mf_recipe_compare(old, run->recipe, path);
    }
    mfrgn_recipe_free(old);
    mf_free(run->context, path);
    return status;
}

static mfrgn_status check_model(const mfrgn_run *run) {
    const mfrgn_config *has = mfrgn_model_config(run->options.model), *wants = run->recipe->network;
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++) {
        const char *a = mfrgn_config_get(has, (mfrgn_config_key)key);
        const char *b = mfrgn_config_get(wants, (mfrgn_config_key)key);
        if (strcmp(a, b) != 0)
            return mf_fail(run->context, MFRGN_ERROR_MISMATCH, "the model to begin with has %s %s, the recipe %s",
                           mfrgn_config_key_name((mfrgn_config_key)key), a, b);
    }
    return MFRGN_OK;
}

static mfrgn_status make_trainer(mfrgn_run *run) {
    mfrgn_model *seeded = NULL, *model = run->options.model;
    unsigned long seed = (unsigned long)mf_recipe_number(run->recipe, MF_RECIPE_SEED);
    MF_TRY(mfrgn_train_options_set(run->recipe->train, MFRGN_TRAIN_SEED, run->recipe->value[MF_RECIPE_SEED].text));
    if (model)
        MF_TRY(check_model(run));
    else
        MF_TRY(mfrgn_model_create(run->context, run->recipe->network, seed, &seeded));
    model = model ? model : seeded;
    for (int view = 0; view < 2; view++)
        mfrgn_model_input_size(model, (mfrgn_view)view, &run->size[view].width, &run->size[view].height);
    mfrgn_status status = mfrgn_trainer_create(model, run->recipe->train, &run->trainer);
    mfrgn_model_free(seeded);
    return status;
}

static mfrgn_status check_sampler(const mfrgn_run *run) {
    int kind = mf_recipe_int(run->recipe, MF_RECIPE_SAMPLER);
    if (run->options.validation || (kind != MF_SAMPLER_DSS && kind != MF_SAMPLER_GPS_DSS))
        return MFRGN_OK;
    return mf_fail(run->context, MFRGN_ERROR_ARGUMENT,
                   "sampler.kind is %s: neighbours by similarity are found after evaluations, and there are no "
                   "validation pictures",
                   run->recipe->value[MF_RECIPE_SAMPLER].text);
}

static mfrgn_status check_pairs(const mfrgn_run *run) {
    size_t batch = (size_t)mf_recipe_int(run->recipe, MF_RECIPE_BATCH);
    if (batch > run->pairs.labels)
        return mf_fail(
            run->context, MFRGN_ERROR_ARGUMENT,
            "run.batch is %zu, and the data set has pairs of %zu places: of one place only one pair may be in "
            "a batch",
            batch, run->pairs.labels);
    return MFRGN_OK;
}

static mfrgn_status begin_files(mfrgn_run *run) {
    int found = 0;
    MF_TRY(mf_run_open_metrics(run));
    if (run->options.resume)
        MF_TRY(mf_run_restore(run, &found));
    if (!found)
        MF_TRY(mf_run_cut_metrics(run, 0));
    char *path = mf_run_path(run, "recipe.json");
    mfrgn_status status = path ? mfrgn_recipe_write(run->recipe, path) : MFRGN_ERROR_MEMORY;
    mf_free(run->context, path);
    if (status == MFRGN_OK && !found) /* else it says how the run began */
        status = mf_run_write_origin(run);
    return status;
}

static mfrgn_status set_up(mfrgn_run *run, const mfrgn_recipe *recipe, const mfrgn_run_options *options) {
    mfrgn_context *context = run->context;
    run->options = *options;
    run->options.folder = mf_strdup(context, options->folder);
    run->options.origin = options->origin ? mf_strdup(context, options->origin) : NULL;
    if (!run->options.folder || (options->origin && !run->options.origin))
        return mf_fail_memory(context, strlen(options->folder), "a path");
    MF_TRY(mfrgn_recipe_validate(recipe));
    MF_TRY(mfrgn_recipe_copy(recipe, &run->recipe));
    MF_TRY(mf_train_pairs_make(context, options->train, &run->pairs));
    MF_TRY(check_pairs(run));
    MF_TRY(check_sampler(run));
    run->told[MFRGN_VIEW_GROUND] = mf_calloc(context, run->pairs.ground->count + 1, 1);
    run->told[MFRGN_VIEW_AERIAL] = mf_calloc(context, run->pairs.aerial->count + 1, 1);
    if (!run->told[0] || !run->told[1])
        return mf_fail_memory(context, run->pairs.count, "a training run");
    run->train_hash = mf_dataset_hash(options->train);
    run->validation_hash = options->validation ? mf_dataset_hash(options->validation) : 0;
    mf_recipe_schedule(run->recipe, &run->schedule);
    mf_recipe_augment(run->recipe, &run->augment);
    if (run->augment.jpeg > 0 && !mf_have_jpeg_encoder())
        mf_log(context, MFRGN_LOG_WARNING, "augment.jpeg is left out: this build cannot compress JPEG");
    MF_TRY(make_folder(context, run->options.folder));
    MF_TRY(check_folder(run));
    MF_TRY(make_trainer(run));
    return begin_files(run);
}

mfrgn_status mfrgn_run_create(mfrgn_context *context, const mfrgn_recipe *recipe, const mfrgn_run_options *options,
                              mfrgn_run **out) {
    if (!context || !recipe || !options || !out)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_run_create: NULL argument");
    if (options->struct_size < sizeof(*options) || !options->train || !options->folder)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_run_create: struct_size, the training data or the folder is not set");
    mfrgn_run *run = mf_calloc(context, 1, sizeof(*run));
    if (!run)
        return mf_fail_memory(context, sizeof(*run), "a training run");
    run->context = mf_context_ref(context);
    run->metrics = -1;
    run->saved_step = ULONG_MAX;
    run->at.best_recall = -1;
    run->begin = seconds();
    mfrgn_status status = set_up(run, recipe, options);
    if (status != MFRGN_OK)
        mfrgn_run_free(run);
    else
        *out = run;
    return status;
}

void mfrgn_run_free(mfrgn_run *run) {
    if (!run)
        return;
    mfrgn_context *context = run->context;
    mf_loader_stop(run->loader);
    mf_batches_free(context, &run->batches);
    mf_neighbours_free(context, &run->near);
    mf_neighbours_free(context, &run->similar);
    mfrgn_trainer_free(run->trainer);
    if (run->pairs.context)
        mf_train_pairs_free(&run->pairs);
    mfrgn_recipe_free(run->recipe);
    if (run->metrics >= 0)
        close(run->metrics);
    mf_free(context, run->told[0]);
    mf_free(context, run->told[1]);
    mf_free(context, (char *)(uintptr_t)run->options.folder);
    mf_free(context, (char *)(uintptr_t)run->options.origin);
    mf_free(context, run);
    mfrgn_context_free(context);
}

/* ---- an epoch begins ---- */

static unsigned long epochs(const mfrgn_run *run) {
    return (unsigned long)mf_recipe_number(run->recipe, MF_RECIPE_EPOCHS);
}

static mfrgn_status choose_neighbours(mfrgn_run *run, const mf_neighbours **chosen) {
    int kind = mf_recipe_int(run->recipe, MF_RECIPE_SAMPLER);
    *chosen = NULL;
    if (run->similar.label) {
        *chosen = &run->similar;
    } else if (kind == MF_SAMPLER_GPS || kind == MF_SAMPLER_GPS_DSS) {
        if (!run->near.label)
            MF_TRY(
                mf_neighbours_by_place(&run->pairs, (size_t)mf_recipe_int(run->recipe, MF_RECIPE_RANGE), &run->near));
        *chosen = &run->near;
    }
    return MFRGN_OK;
}

static mfrgn_status begin_epoch(mfrgn_run *run) {
    const mf_neighbours *neighbours;
    uint64_t seed = (uint64_t)mf_recipe_number(run->recipe, MF_RECIPE_SEED);
    MF_TRY(choose_neighbours(run, &neighbours));
    MF_TRY(mf_batches_make(&run->pairs, neighbours, (size_t)mf_recipe_int(run->recipe, MF_RECIPE_BATCH),
                           (size_t)mf_recipe_int(run->recipe, MF_RECIPE_SELECT), seed, run->at.epoch + 1,
                           &run->batches));
    if (run->at.batch >= run->batches.count)
        return MFRGN_OK; /* resumed at its end */
    mf_loader_plan plan = {.pairs = &run->pairs,
                           .batches = &run->batches,
                           .augment = &run->augment,
                           .size = {run->size[0], run->size[1]},
                           .seed = seed,
                           .epoch = run->at.epoch + 1,
                           .first = run->at.batch,
                           .threads = mf_recipe_int(run->recipe, MF_RECIPE_LOADER_THREADS),
                           .ahead = mf_recipe_int(run->recipe, MF_RECIPE_AHEAD),
                           .told = {run->told[0], run->told[1]},
                           .skipped = mf_run_skipped,
                           .user = run};
    run->last_wait = 0;
    mfrgn_status status = mf_loader_start(run->context, &plan, &run->loader);
    if (status != MFRGN_OK)
        mf_batches_free(run->context, &run->batches);
    return status;
}

/* ---- what is told ---- */

static void begin_event(const mfrgn_run *run, mfrgn_run_event *e, mfrgn_run_stage stage) {
    size_t size = e->struct_size;
    *e = (mfrgn_run_event){.struct_size = size, .stage = stage};
    e->epoch = run->at.epoch + 1;
    e->epochs = epochs(run);
    e->batch = run->at.batch;
    e->batches = run->batches.count;
    e->step = run->at.step;
    e->seconds = seconds() - run->begin;
    e->seconds_left = -1;
    if (run->step_seconds > 0 && run->at.epoch < e->epochs) {
        double left = (double)(e->epochs - run->at.epoch) * (double)e->batches - (double)run->at.batch;
        e->pairs_per_second = mf_recipe_number(run->recipe, MF_RECIPE_BATCH) / run->step_seconds;
        e->seconds_left = left * run->step_seconds;
    }
    e->best_recall = run->at.best_recall;
    e->best_epoch = run->at.best_epoch;
    e->skipped = (unsigned long)__atomic_load_n(&run->skipped, __ATOMIC_RELAXED);
}

/* ---- a step ---- */

/* Keeps what the library said, with the place before it and the way back after it. */
static mfrgn_status step_failed(mfrgn_run *run, mfrgn_status status) {
    char *why = mf_strdup(run->context, mfrgn_context_last_error(run->context));
    run->failed = 1;
    if (run->saved_step == ULONG_MAX)
        mf_fail(run->context, status, "epoch %lu, batch %lu, step %lu: %s; there is no checkpoint before it",
                run->at.epoch + 1, run->at.batch + 1, run->at.step + 1, why ? why : "");
    else
        mf_fail(run->context, status, "epoch %lu, batch %lu, step %lu: %s; the checkpoint of step %lu is whole",
                run->at.epoch + 1, run->at.batch + 1, run->at.step + 1, why ? why : "", run->saved_step);
    mf_free(run->context, why);
    return status;
}

static mfrgn_status step(mfrgn_run *run, mfrgn_run_event *event) {
    mf_loaded_batch batch;
    float loss = 0;
    double begin = seconds();
    double at = (double)run->at.epoch + (double)run->at.batch / (double)run->batches.count;
    mfrgn_trainer_info info = {.struct_size = sizeof(info)};
    MF_TRY(mf_loader_next(run->loader, &batch));
    MF_TRY(mfrgn_trainer_set_learning_rate(run->trainer, mf_schedule_rate(&run->schedule, at)));
    mfrgn_status status = mfrgn_train_step(run->trainer, batch.image[MFRGN_VIEW_GROUND], batch.image[MFRGN_VIEW_AERIAL],
                                           batch.count, &loss);
    if (status == MFRGN_OK && !isfinite(loss))
        status = mf_fail(run->context, MFRGN_ERROR_NUMERIC, "the loss is not finite");
    if (status != MFRGN_OK)
        return step_failed(run, status);
    run->at.step++;
    run->at.batch++;
    run->at.loss_sum += (double)loss;
    double took = seconds() - begin;
    run->step_seconds = run->step_seconds > 0 ? 0.9 * run->step_seconds + 0.1 * took : took;
    MF_TRY(mfrgn_trainer_get_info(run->trainer, &info));
    begin_event(run, event, MFRGN_RUN_STEP);
    event->loss = (double)loss;
    event->learning_rate = info.learning_rate;
    event->temperature = info.temperature;
    event->gradient_norm = info.gradient_norm;
    event->wait_seconds = mf_loader_waited(run->loader) - run->last_wait;
    run->last_wait = mf_loader_waited(run->loader);
    MF_TRY(mf_run_log_step(run, event));
    unsigned long every = (unsigned long)mf_recipe_number(run->recipe, MF_RECIPE_CHECKPOINT_STEPS);
    return every && run->at.step % every == 0 ? mf_run_save(run) : MFRGN_OK;
}

/* ---- evaluation ---- */

static int evaluation_is_due(const mfrgn_run *run) {
    unsigned long every = (unsigned long)mf_recipe_number(run->recipe, MF_RECIPE_EVALUATE_EVERY);
    unsigned long done = run->at.epoch + 1;
    return run->options.validation && every && (done % every == 0 || done == epochs(run));
}

static mfrgn_status save_model(const mfrgn_run *run, const char *name) {
    mfrgn_model *model;
    char *path = mf_run_path(run, "%s", name);
    mfrgn_status status = path ? mfrgn_run_model(run, &model) : MFRGN_ERROR_MEMORY;
    if (status == MFRGN_OK) {
        status = mfrgn_model_save(model, path, MFRGN_DTYPE_F32, NULL);
        mfrgn_model_free(model);
    }
    mf_free(run->context, path);
    return status;
}

static mfrgn_status evaluate(mfrgn_run *run, mfrgn_run_event *event) {
    if (run->saved_step != run->at.step)
        MF_TRY(mf_run_save(run)); /* it may take long */
    MF_TRY(mf_run_evaluate(run));
    int best = run->result[0].recall_1 > run->at.best_recall;
    if (best) {
        MF_TRY(save_model(run, "best.safetensors"));
        run->at.best_recall = run->result[0].recall_1;
        run->at.best_epoch = run->at.epoch + 1;
    }
    run->at.evaluated = 1;
    begin_event(run, event, MFRGN_RUN_EVALUATION);
    event->metrics = run->result;
    event->tasks = run->results;
    event->best = best;
    return mf_run_log_evaluation(run, event);
}

/* ---- an epoch ends ---- */

static mfrgn_status end_epoch(mfrgn_run *run, mfrgn_run_event *event) {
    int kind = mf_recipe_int(run->recipe, MF_RECIPE_SAMPLER);
    if ((kind == MF_SAMPLER_DSS || kind == MF_SAMPLER_GPS_DSS) && run->at.evaluated && run->at.epoch + 1 < epochs(run))
        MF_TRY(mf_run_find_similar(run));
    unsigned long every = (unsigned long)mf_recipe_number(run->recipe, MF_RECIPE_CHECKPOINT_EPOCHS);
    int save = (run->at.epoch + 1) % every == 0 || run->at.epoch + 1 == epochs(run);
    if (save)
        MF_TRY(save_model(run, "last.safetensors"));
    begin_event(run, event, MFRGN_RUN_EPOCH);
    event->loss = run->batches.count ? run->at.loss_sum / (double)run->batches.count : 0;
    MF_TRY(mf_run_log_epoch(run, event));
    mf_loader_stop(run->loader);
    run->loader = NULL;
    mf_batches_free(run->context, &run->batches);
    run->at.epoch++;
    run->at.batch = 0;
    run->at.evaluated = 0;
    run->at.loss_sum = 0;
    return save ? mf_run_save(run) : MFRGN_OK;
}

mfrgn_status mfrgn_run_next(mfrgn_run *run, mfrgn_run_event *event) {
    if (!run)
        return MFRGN_ERROR_ARGUMENT;
    if (!event || event->struct_size < sizeof(*event))
        return mf_fail(run->context, MFRGN_ERROR_ARGUMENT, "mfrgn_run_next: event or its struct_size is not set");
    if (run->failed)
        return mf_fail(run->context, MFRGN_ERROR_NUMERIC, "the run has failed: resume it from its checkpoint");
    if (run->at.epoch >= epochs(run)) {
        begin_event(run, event, MFRGN_RUN_FINISHED);
        event->epoch = event->epochs;
        return MFRGN_OK;
    }
    if (!run->batches.count)
        MF_TRY(begin_epoch(run));
    if (run->at.batch < run->batches.count)
        return step(run, event);
    if (evaluation_is_due(run) && !run->at.evaluated)
        return evaluate(run, event);
    return end_epoch(run, event);
}

mfrgn_status mfrgn_run_checkpoint(mfrgn_run *run) {
    if (!run)
        return MFRGN_ERROR_ARGUMENT;
    if (run->failed)
        return mf_fail(run->context, MFRGN_ERROR_NUMERIC,
                       "the run has failed: its last checkpoint is kept in place of what it holds now");
    return mf_run_save(run);
}

mfrgn_status mfrgn_run_model(const mfrgn_run *run, mfrgn_model **model) {
    double decay = 0;
    if (!run)
        return MFRGN_ERROR_ARGUMENT;
    mf_read_double(mfrgn_train_options_get(run->recipe->train, MFRGN_TRAIN_EMA), &decay);
    return mfrgn_trainer_model(run->trainer, decay > 0, model);
}

mfrgn_status mfrgn_run_get_cost(const mfrgn_run *run, mfrgn_run_cost *cost) {
    mfrgn_trainer_info info = {.struct_size = sizeof(info)};
    if (!run)
        return MFRGN_ERROR_ARGUMENT;
    if (!cost || cost->struct_size < sizeof(*cost))
        return mf_fail(run->context, MFRGN_ERROR_ARGUMENT, "mfrgn_run_get_cost: cost or its struct_size is not set");
    MF_TRY(mfrgn_trainer_get_info(run->trainer, &info));
    *cost = (mfrgn_run_cost){cost->struct_size, info.backend,     info.flops,
                             info.arena_bytes,  info.state_bytes, run->evaluation_bytes};
    return MFRGN_OK;
}
