/* Evaluation within a run, and the neighbours by similarity. */
#include "gallery/embed_set.h"
#include "train/run.h"

void mf_run_skipped(void *user, const char *path, const char *why) {
    mfrgn_run *run = user;
    __atomic_add_fetch(&run->skipped, 1, __ATOMIC_RELAXED);
    if (run->options.skipped)
        run->options.skipped(run->options.user, path, why);
    else
        mf_log(run->context, MFRGN_LOG_WARNING, "%s: its pair is skipped", why);
}

static void pass_stage(void *user, const char *name, size_t total) {
    const mfrgn_run *run = user;
    if (run->options.stage)
        run->options.stage(run->options.user, name, total);
}

static mfrgn_evaluate_options evaluate_options(mfrgn_run *run) {
    mf_recipe_key key;
    long threads = 0;
    mf_recipe_key_find("train.threads", 13, &key);
    mf_read_int(mf_recipe_text(run->recipe, &key), &threads);
    return (mfrgn_evaluate_options){.struct_size = sizeof(mfrgn_evaluate_options),
                                    .threads = (int)threads,
                                    .progress = run->options.progress,
                                    .stage = pass_stage,
                                    .skipped = mf_run_skipped,
                                    .user = run};
}

/* A session on the weights as they are now. */
static mfrgn_status open_session(const mfrgn_run *run, mfrgn_session **session) {
    static const struct {
        mfrgn_option_key key;
        const char *name;
    } taken[] = {{MFRGN_OPTION_BACKEND, "train.backend"},
                 {MFRGN_OPTION_THREADS, "train.threads"},
                 {MFRGN_OPTION_PRECISION, "train.precision"},
                 {MFRGN_OPTION_DEVICE, "train.device"},
                 {MFRGN_OPTION_TUNING, "train.tuning"},
                 {MFRGN_OPTION_BATCH, "run.evaluate_batch"},
                 {MFRGN_OPTION_PRECROP, "data.precrop"}};
    mfrgn_options *options;
    mfrgn_model *model = NULL;
    MF_TRY(mfrgn_options_create(run->context, &options));
    mfrgn_status status = MFRGN_OK;
    for (size_t i = 0; i < MF_COUNT(taken) && status == MFRGN_OK; i++)
        status = mfrgn_options_set(options, taken[i].key, mfrgn_recipe_get(run->recipe, taken[i].name));
    if (status == MFRGN_OK)
        status = mfrgn_run_model(run, &model);
    if (status == MFRGN_OK)
        status = mfrgn_session_create(model, options, session);
    mfrgn_model_free(model);
    mfrgn_options_free(options);
    return status;
}

mfrgn_status mf_run_evaluate(mfrgn_run *run) {
    mfrgn_session *session;
    mfrgn_evaluate_options o = evaluate_options(run);
    mfrgn_session_info info = {.struct_size = sizeof(info)};
    MF_TRY(open_session(run, &session));
    for (int i = 0; i < MF_RUN_TASKS; i++)
        run->result[i].struct_size = sizeof(run->result[i]);
    mfrgn_status status =
        mfrgn_evaluate(session, run->options.validation, &o, run->result, MF_RUN_TASKS, &run->results);
    if (status == MFRGN_OK && mfrgn_session_get_info(session, &info) == MFRGN_OK)
        run->evaluation_bytes = info.arena_bytes + info.packed_bytes;
    mfrgn_session_free(session);
    return status;
}

/* The loader has told of it, or will. */
static void pass_over(void *user, const char *path, const char *why) {
    (void)user, (void)path, (void)why;
}

static mfrgn_status find_similar(mfrgn_run *run, mfrgn_session *session, mf_embedded e[2], mf_neighbours *found) {
    mfrgn_evaluate_options o = evaluate_options(run);
    const mf_sample_set *set[2];
    mf_descriptors d[2];
    o.skipped = pass_over;
    set[MFRGN_VIEW_GROUND] = run->pairs.ground;
    set[MFRGN_VIEW_AERIAL] = run->pairs.aerial;
    for (int view = 0; view < 2; view++) {
        MF_TRY(mf_embed_set(session, set[view], &o, NULL, &e[view]));
        d[view] = (mf_descriptors){e[view].matrix.data, e[view].matrix.count, e[view].matrix.size, e[view].row};
    }
    pass_stage(run, "similarities", run->pairs.count);
    return mf_neighbours_by_similarity(&run->pairs, &d[MFRGN_VIEW_GROUND], &d[MFRGN_VIEW_AERIAL],
                                       (size_t)mf_recipe_int(run->recipe, MF_RECIPE_RANGE), run->options.progress,
                                       found);
}

mfrgn_status mf_run_find_similar(mfrgn_run *run) {
    mfrgn_session *session;
    mf_embedded e[2];
    mf_neighbours found;
    memset(e, 0, sizeof(e));
    MF_TRY(open_session(run, &session));
    mfrgn_status status = find_similar(run, session, e, &found);
    mf_embedded_free(run->context, &e[0]);
    mf_embedded_free(run->context, &e[1]);
    mfrgn_session_free(session);
    if (status != MFRGN_OK)
        return status;
    mf_neighbours_free(run->context, &run->similar);
    run->similar = found;
    run->at.similar_epoch = run->at.epoch + 1;
    return MFRGN_OK;
}
