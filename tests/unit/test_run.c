/* Training runs: killed and resumed they give the same bits; what is refused, and what is kept when something fails. */
#include "unit.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include "files.h"
#include "io/file.h"
#include "train/run.h"
#include "train/trainer.h"

enum { PAIRS = 12, VALID = 5 };

static mfrgn_context *context;
static mfrgn_dataset *train, *valid;
static mfrgn_recipe *recipe;

static void set(const char *name, const char *value) {
    ck_assert_msg(mfrgn_recipe_set(recipe, name, value) == MFRGN_OK, "%s", mfrgn_context_last_error(context));
}

static mfrgn_dataset *open_split(const char *split) {
    mfrgn_dataset *d = NULL;
    mfrgn_dataset_options o = {sizeof(o), split, NULL, 0};
    ck_assert_int_eq(mfrgn_dataset_open(context, "pairs", in_folder("pairs.csv"), &o, &d), MFRGN_OK);
    return d;
}

static void setup(void) {
    char csv[4000];
    size_t at = (size_t)sprintf(csv, "ground,aerial,split\n");
    ck_assert_int_eq(mfrgn_context_create(NULL, &context), MFRGN_OK);
    folder_make();
    for (int i = 0; i < PAIRS + VALID; i++) {
        char name[32];
        snprintf(name, sizeof(name), "g%d.ppm", i);
        file_picture(name, 40 + i, 36, 10 * i);
        snprintf(name, sizeof(name), "a%d.ppm", i);
        file_picture(name, 36, 36 + i, 15 * i);
        at += (size_t)sprintf(csv + at, "g%d.ppm,a%d.ppm,%s\n", i, i, i < PAIRS ? "train" : "val");
    }
    file_text("pairs.csv", csv);
    train = open_split("train");
    valid = open_split("val");
    ck_assert_int_eq(mfrgn_recipe_create(context, "baseline", &recipe), MFRGN_OK);
    static const char *const small[][2] = {{"backbone", "convnext_atto"},
                                           {"sat_size", "32x32"},
                                           {"grd_size", "32x32"},
                                           {"dim_l", "32"},
                                           {"epochs", "2"},
                                           {"run.batch", "4"},
                                           {"evaluate_every", "1"},
                                           {"checkpoint_steps", "2"},
                                           {"warmup", "0"},
                                           {"sampler.kind", "dss"},
                                           {"select", "2"},
                                           {"range", "4"},
                                           {"train.backend", "ref"},
                                           {"train.threads", "1"},
                                           {"loader_threads", "2"},
                                           {"learning_rate", "1e-3"}};
    for (size_t i = 0; i < sizeof(small) / sizeof(*small); i++)
        set(small[i][0], small[i][1]);
}

static void teardown(void) {
    mfrgn_recipe_free(recipe);
    mfrgn_dataset_free(train);
    mfrgn_dataset_free(valid);
    folder_remove();
    mfrgn_context_free(context);
}

static mfrgn_run_options options_of(const char *folder, int resume) {
    return (mfrgn_run_options){.struct_size = sizeof(mfrgn_run_options),
                               .train = train,
                               .validation = valid,
                               .folder = in_folder("%s", folder),
                               .resume = resume};
}

static mfrgn_run *run_of(const char *folder, int resume) {
    mfrgn_run_options o = options_of(folder, resume);
    mfrgn_run *run = NULL;
    mfrgn_status status = mfrgn_run_create(context, recipe, &o, &run);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    return run;
}

static void refused(const mfrgn_run_options *o, mfrgn_status wanted, const char *why) {
    mfrgn_run *run = NULL;
    mfrgn_status status = mfrgn_run_create(context, recipe, o, &run);
    ck_assert_msg(status == wanted && !run, "status %d: %s", status, mfrgn_context_last_error(context));
    ck_assert_msg(strstr(mfrgn_context_last_error(context), why) != NULL, "\"%s\" does not say \"%s\"",
                  mfrgn_context_last_error(context), why);
}

static mfrgn_run_event next(mfrgn_run *run) {
    mfrgn_run_event e = {.struct_size = sizeof(e)};
    mfrgn_status status = mfrgn_run_next(run, &e);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    return e;
}

static void same_file(const char *a, const char *b) {
    mf_file x, y;
    ck_assert_int_eq(mf_file_map(context, in_folder("%s", a), &x), MFRGN_OK);
    ck_assert_int_eq(mf_file_map(context, in_folder("%s", b), &y), MFRGN_OK);
    ck_assert_msg(x.size == y.size && memcmp(x.data, y.data, x.size) == 0, "%s and %s differ", a, b);
    mf_file_unmap(&x);
    mf_file_unmap(&y);
}

/* metrics.jsonl without what is measured in seconds. */
static void same_metrics(const char *a, const char *b) {
    char x[1024], y[1024];
    FILE *f = fopen(in_folder("%s/metrics.jsonl", a), "r"), *g = fopen(in_folder("%s/metrics.jsonl", b), "r");
    int lines = 0;
    ck_assert(f && g);
    while (fgets(x, sizeof(x), f)) {
        ck_assert_ptr_nonnull(fgets(y, sizeof(y), g));
        char *cut = strstr(x, "\"pairs_per_second"), *other = strstr(y, "\"pairs_per_second");
        ck_assert((cut == NULL) == (other == NULL));
        if (cut)
            *cut = *other = 0;
        ck_assert_str_eq(x, y);
        lines++;
    }
    ck_assert_ptr_null(fgets(y, sizeof(y), g));
    ck_assert_int_eq(lines, 6 + 2 + 2);
    fclose(f);
    fclose(g);
}

/* ---- resuming ---- */

static void whole_run(const char *folder) {
    static const mfrgn_run_stage stages[] = {MFRGN_RUN_STEP,       MFRGN_RUN_STEP,     MFRGN_RUN_STEP,
                                             MFRGN_RUN_EVALUATION, MFRGN_RUN_EPOCH,    MFRGN_RUN_STEP,
                                             MFRGN_RUN_STEP,       MFRGN_RUN_STEP,     MFRGN_RUN_EVALUATION,
                                             MFRGN_RUN_EPOCH,      MFRGN_RUN_FINISHED, MFRGN_RUN_FINISHED};
    mfrgn_run *run = run_of(folder, 0);
    for (size_t i = 0; i < sizeof(stages) / sizeof(*stages); i++) {
        mfrgn_run_event e = next(run);
        ck_assert_int_eq(e.stage, stages[i]);
        ck_assert_uint_eq(e.epochs, 2);
        if (e.stage == MFRGN_RUN_STEP)
            ck_assert(isfinite(e.loss) && e.loss > 0 && e.batches == 3 && e.learning_rate > 0);
        if (e.stage == MFRGN_RUN_EVALUATION)
            ck_assert(e.tasks == 2 && e.metrics[0].queries == VALID && e.best_recall >= 0);
    }
    mfrgn_run_cost cost = {.struct_size = sizeof(cost)};
    ck_assert_int_eq(mfrgn_run_get_cost(run, &cost), MFRGN_OK);
    ck_assert_str_eq(cost.backend, "ref");
    ck_assert(cost.flops > 0 && cost.arena_bytes > 0 && cost.evaluation_bytes > 0);
    mfrgn_run_free(run);
}

/* Gone without a word after 1, 2, .. pieces of work; with a checkpoint before going in every second case. */
START_TEST(same_bits) {
    whole_run("straight");
    for (int resumes = 0, done = 0; !done; resumes++) {
        mfrgn_run *run = run_of("broken", 1);
        for (int i = 0; i <= resumes && !done; i++)
            done = next(run).stage == MFRGN_RUN_FINISHED;
        if (resumes % 2 && !done)
            ck_assert_int_eq(mfrgn_run_checkpoint(run), MFRGN_OK);
        mfrgn_run_free(run);
        ck_assert_int_lt(resumes, 20);
    }
    same_file("straight/last-6.safetensors", "broken/last-6.safetensors");
    same_file("straight/last.safetensors", "broken/last.safetensors");
    same_file("straight/best.safetensors", "broken/best.safetensors");
    same_file("straight/last-similar-1", "broken/last-similar-1");
    same_metrics("straight", "broken");
    ck_assert_int_ne(access(in_folder("broken/last-4.safetensors"), F_OK), 0); /* old checkpoints go */
}
END_TEST

/* ---- what is refused ---- */

START_TEST(other_settings) {
    mfrgn_run *run = run_of("run", 0);
    next(run);
    next(run);
    mfrgn_run_options o = options_of("run", 1);
    refused(&o, MFRGN_ERROR_ARGUMENT, "another process"); /* or this one */
    mfrgn_run_free(run);
    o.resume = 0;
    refused(&o, MFRGN_ERROR_ARGUMENT, "holds a run");
    o.resume = 1;
    set("flip", "0.25");
    refused(&o, MFRGN_ERROR_MISMATCH, "augment.flip");
    set("flip", "0.5");
    set("dim_l", "64");
    refused(&o, MFRGN_ERROR_MISMATCH, "network.dim_l");
    set("dim_l", "32");
    o.train = valid;
    set("run.batch", "4");
    refused(&o, MFRGN_ERROR_MISMATCH, "training pictures");
    o.train = train;
    o.validation = train;
    refused(&o, MFRGN_ERROR_MISMATCH, "validation pictures");
    o.validation = NULL;
    refused(&o, MFRGN_ERROR_ARGUMENT, "sampler.kind");
    o.validation = valid;
    set("train.threads", "2"); /* how fast it is may change */
    mfrgn_run_free(run_of("run", 1));
    file_text("run/last.json", "{\"format\": 1, \"step\": 2");
    refused(&o, MFRGN_ERROR_FORMAT, "last.json");
}
END_TEST

START_TEST(bad_input) {
    mfrgn_run_options o = options_of("run", 0);
    set("run.batch", "13");
    refused(&o, MFRGN_ERROR_ARGUMENT, "run.batch");
    set("run.batch", "4");
    set("warmup", "3");
    refused(&o, MFRGN_ERROR_ARGUMENT, "schedule.warmup");
    set("warmup", "0");
    set("evaluate_every", "0");
    refused(&o, MFRGN_ERROR_ARGUMENT, "run.evaluate_every");
    set("evaluate_every", "1");
    set("sampler.kind", "gps"); /* there are no places */
    mfrgn_run *run = run_of("gps", 0);
    mfrgn_run_event e = {.struct_size = sizeof(e)};
    ck_assert_int_eq(mfrgn_run_next(run, &e), MFRGN_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mfrgn_context_last_error(context), "place"));
    mfrgn_run_free(run);
    set("sampler.kind", "shuffle");
    mfrgn_model *model;
    mfrgn_config *config;
    ck_assert_int_eq(mfrgn_config_copy(mfrgn_recipe_network(recipe), &config), MFRGN_OK);
    ck_assert_int_eq(mfrgn_config_set(config, MFRGN_CONFIG_DIM_L, "48"), MFRGN_OK);
    ck_assert_int_eq(mfrgn_model_create(context, config, 1, &model), MFRGN_OK);
    o = options_of("other", 0);
    o.model = model;
    refused(&o, MFRGN_ERROR_MISMATCH, "dim_l");
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    o = options_of("no/such/folder", 0);
    refused(&o, MFRGN_ERROR_IO, "no/such/folder");
}
END_TEST

/* ---- what fails on the way ---- */

START_TEST(not_finite) {
    mfrgn_run_event e = {.struct_size = sizeof(e)};
    mfrgn_run *run = run_of("run", 0);
    next(run);
    next(run); /* step 2: a checkpoint */
    ((float *)run->trainer->state[MF_STATE_VALUE])[0] = NAN;
    ck_assert_int_eq(mfrgn_run_next(run, &e), MFRGN_ERROR_NUMERIC);
    const char *text = mfrgn_context_last_error(context);
    ck_assert_msg(strstr(text, "step 3") && strstr(text, "checkpoint of step 2"), "%s", text);
    ck_assert_int_eq(mfrgn_run_checkpoint(run), MFRGN_ERROR_NUMERIC);
    ck_assert_int_eq(mfrgn_run_next(run, &e), MFRGN_ERROR_NUMERIC);
    mfrgn_run_free(run);
    run = run_of("run", 1);
    ck_assert_uint_eq(next(run).step, 3);
    mfrgn_run_free(run);
}
END_TEST

START_TEST(full_disk) {
    mfrgn_run_event e = {.struct_size = sizeof(e)};
    struct rlimit old, limit;
    mfrgn_run *run = run_of("run", 0);
    next(run);
    next(run);
    next(run);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){1 << 20, old.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(mfrgn_run_checkpoint(run), MFRGN_ERROR_IO);
    ck_assert_int_eq(mfrgn_run_next(run, &e), MFRGN_ERROR_IO); /* the evaluation begins with one */
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    mfrgn_run_free(run);
    run = run_of("run", 1);
    ck_assert_uint_eq(next(run).step, 3); /* from the one of step 2 */
    mfrgn_run_free(run);
}
END_TEST

static int stop_now;

static int update(void *user, size_t done, size_t total) {
    (void)user, (void)done, (void)total;
    return stop_now;
}

static void count_skipped(void *user, const char *path, const char *why) {
    (void)path, (void)why;
    __atomic_add_fetch((int *)user, 1, __ATOMIC_RELAXED);
}

START_TEST(cancelled_and_broken) {
    int skipped = 0;
    mfrgn_run_event e = {.struct_size = sizeof(e)};
    mfrgn_progress progress = {sizeof(progress), NULL, update};
    mfrgn_run_options o = options_of("run", 0);
    mfrgn_run *run;
    o.progress = &progress;
    o.skipped = count_skipped;
    o.user = &skipped;
    file_text("g3.ppm", "P6 short");
    ck_assert_int_eq(mfrgn_run_create(context, recipe, &o, &run), MFRGN_OK);
    for (int i = 0; i < 3; i++)
        e = next(run);
    ck_assert(skipped == 1 && e.skipped == 1);
    stop_now = 1;
    ck_assert_int_eq(mfrgn_run_next(run, &e), MFRGN_ERROR_CANCELLED);
    stop_now = 0;
    ck_assert_int_eq(next(run).stage, MFRGN_RUN_EVALUATION);
    stop_now = 1;
    ck_assert_int_eq(mfrgn_run_next(run, &e), MFRGN_ERROR_CANCELLED); /* the similarities */
    stop_now = 0;
    ck_assert_int_eq(next(run).stage, MFRGN_RUN_EPOCH);
    for (int i = 0; i < 3; i++)
        e = next(run);
    ck_assert_uint_eq(e.epoch, 2);
    ck_assert_msg(skipped == 1 && e.skipped == 1, "%d", skipped); /* not once an epoch */
    mfrgn_model *model;
    ck_assert_int_eq(mfrgn_run_model(run, &model), MFRGN_OK);
    mfrgn_model_free(model);
    mfrgn_run_free(run);
}
END_TEST

int main(void) {
    Suite *s = suite_create("run");
    TCase *t = tcase_create("run");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 1200);
    suite_add_tcase(s, t);
    tcase_add_test(t, same_bits);
    tcase_add_test(t, other_settings);
    tcase_add_test(t, bad_input);
    tcase_add_test(t, not_finite);
    tcase_add_test(t, full_disk);
    tcase_add_test(t, cancelled_and_broken);
    return mf_run_suite(s);
}
