/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn ablate: the paper's tables 4 and 5, trained with one budget. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common.h"
#include "json_out.h"
#include "out.h"
#include "paper.h"
#include "progress.h"
#include "training.h"

enum { MAX_SETS = 64, RECALLS = 4, MAX_SEEDS = 16 };

/* A variant's figures, summed over its seeds. */
typedef struct figures {
    int runs, trained; /* trained: here and now, not found finished: only of these is it known what training takes */
    double here[RECALLS], there[RECALLS]; /* R@1, R@5, R@10, R@1 % */
    double multiply_adds;                 /* of one view, the mean of both */
    double embedding, training;           /* bytes */
} figures;

typedef struct ablate_options {
    training_data data;
    const char *other_dataset, *other_root, *out, *only, *weights;
    const char *set[MAX_SETS];
    int sets;
    long seeds;
    mfrgn_context *context;
    mfrgn_dataset *other;
    int quiet, skipped;
    progress_bar bar;
} ablate_options;

static const tool_option own_options[] = {
    {"dataset", 'd', "NAME", "cvusa, cvact, vigor, u1652, pairs"},
    {"root", 'r', "DIR", "its folder"},
    {"other-dataset", 0, "NAME", "evaluated too, never trained on: the generalisation"},
    {"other-root", 0, "DIR", "its folder"},
    {"out", 'o', "DIR", "a folder a run in it; runs that are there are gone on with"},
    {"set", 0, "NAME=VALUE", "a setting of every run; may be repeated"},
    {"epochs", 0, "N", "as --set run.epochs=N"},
    {"batch", 'n', "N", "pairs in a step"},
    {"backend", 'b', "NAME", "as --set train.backend=NAME"},
    {"threads", 't', "N", "as --set train.threads=N"},
    {"seeds", 0, "N", "runs of each with seeds 1 .. N, of which means are printed (1)"},
    {"only", 0, "NAMES", "some of the variants, with commas between"},
    {"backbone-weights", 0, "FILE", "as in train"},
    {"train-split", 0, "NAME", "what is trained on (train)"},
    {"split", 's', "NAME", "what is evaluated"},
    {"protocol", 0, "NAME", "vigor: same, cross; u1652: published, plain"},
    {NULL, 0, NULL, NULL},
};

static int add_set(ablate_options *a, const char *format, const char *value) {
    char *text = tool_format(format, value);
    if (a->sets == MAX_SETS || !text)
        return tool_usage("more than %d settings", MAX_SETS);
    a->set[a->sets++] = text;
    return 0;
}

static int take(void *user, const char *name, const char *value) {
    ablate_options *a = user;
    const struct {
        const char *name, **text;
    } texts[] = {{"dataset", &a->data.dataset},         {"root", &a->data.root},         {"split", &a->data.split},
                 {"train-split", &a->data.train_split}, {"protocol", &a->data.protocol}, {"out", &a->out},
                 {"other-dataset", &a->other_dataset},  {"other-root", &a->other_root},  {"only", &a->only},
                 {"backbone-weights", &a->weights}};
    static const char *const settings[][2] = {{"set", "%s"},
                                              {"epochs", "run.epochs=%s"},
                                              {"batch", "run.batch=%s"},
                                              {"backend", "train.backend=%s"},
                                              {"threads", "train.threads=%s"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(texts[i].name, name))
            *texts[i].text = value;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (!strcmp(settings[i][0], name))
            return add_set(a, settings[i][1], value);
    if (!strcmp(name, "seeds"))
        return tool_number("--seeds", value, 1, MAX_SEEDS, &a->seeds) ? 0 : TOOL_USAGE;
    if ((!strcmp(name, "dataset") || !strcmp(name, "other-dataset")) && !training_is_dataset(value))
        return TOOL_USAGE;
    return 0;
}

static int is_wanted(const ablate_options *a, const char *name) {
    size_t length = strlen(name);
    for (const char *at = a->only; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!strncmp(at, name, length) && (at[length] == ',' || !at[length]))
            return 1;
    return !a->only;
}

/* ---------------------------------------------------------------------------------------------- a run --------- */

static mfrgn_recipe *make_recipe(const ablate_options *a, const char *preset, long seed) {
    mfrgn_recipe *recipe = NULL;
    char name[64], text[24];
    mfrgn_status status = mfrgn_recipe_create(a->context, preset, &recipe);
    for (int i = 0; i < a->sets && status == MFRGN_OK; i++) {
        size_t length = strcspn(a->set[i], "=");
        snprintf(name, sizeof name, "%.*s", (int)(length < 63 ? length : 63), a->set[i]);
        status = mfrgn_recipe_set(recipe, name, a->set[i][length] ? a->set[i] + length + 1 : "");
    }
    snprintf(text, sizeof text, "%ld", seed);
    if (status == MFRGN_OK)
        status = mfrgn_recipe_set(recipe, "run.seed", text);
    if (status == MFRGN_OK)
        return recipe;
    tool_failed(a->context, status, preset);
    mfrgn_recipe_free(recipe);
    return NULL;
}

static void stage(void *user, const char *name, size_t total) {
    ablate_options *a = user;
    progress_end(&a->bar);
    progress_begin(&a->bar, name, total, !a->quiet);
}

static int update(void *user, size_t done, size_t total) {
    ablate_options *a = user;
    (void)total;
    progress_update(&a->bar, done);
    return tool_stopped();
}

static void skipped(void *user, const char *path, const char *why) {
    ablate_options *a = user;
    (void)path, (void)why; /* told by the run */
    a->skipped = 1;
}

static int evaluate(ablate_options *a, mfrgn_model *model, const mfrgn_recipe *recipe, const mfrgn_dataset *dataset,
                    double sum[RECALLS], double *bytes) {
    static const char *const taken[][2] = {{"backend", "train.backend"},
                                           {"threads", "train.threads"},
                                           {"batch", "run.evaluate_batch"},
                                           {"precrop", "data.precrop"}};
    mfrgn_options *options = NULL;
    mfrgn_session *session = NULL;
    mfrgn_progress progress = {sizeof progress, a, update};
    mfrgn_evaluate_options o = {sizeof o, 0, NULL, &progress, stage, skipped, a, 0};
    mfrgn_session_info info = {.struct_size = sizeof info};
    mfrgn_metrics metrics[4];
    int count = 0;
    mfrgn_status status = mfrgn_options_create(a->context, &options);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        for (int key = 0; key < MFRGN_OPTION_KEY_COUNT && status == MFRGN_OK; key++)
            if (!strcmp(mfrgn_option_key_name((mfrgn_option_key)key), taken[i][0]))
                status = mfrgn_options_set(options, (mfrgn_option_key)key, mfrgn_recipe_get(recipe, taken[i][1]));
    for (int i = 0; i < 4; i++)
        metrics[i].struct_size = sizeof metrics[i];
    if (status == MFRGN_OK)
        status = mfrgn_session_create(model, options, &session);
    if (status == MFRGN_OK)
        status = mfrgn_evaluate(session, dataset, &o, metrics, 4, &count);
    if (status == MFRGN_OK)
        status = mfrgn_session_get_info(session, &info);
    progress_end(&a->bar);
    mfrgn_session_free(session);
    mfrgn_options_free(options);
    if (status != MFRGN_OK) {
        tool_failed(a->context, status, "");
        return 0;
    }
    const double recall[RECALLS] = {metrics[0].recall_1, metrics[0].recall_5, metrics[0].recall_10,
                                    metrics[0].recall_percent};
    for (int i = 0; i < RECALLS; i++)
        sum[i] += recall[i];
    *bytes = (double)(info.arena_bytes + info.packed_bytes);
    return 1;
}

/* Its best weights on both data sets, and what it costs. */
static int measure(ablate_options *a, const training_job *job, figures *f) {
    char *path = tool_format("%s/best.safetensors", job->folder);
    mfrgn_model *model = NULL;
    mfrgn_status status = path ? mfrgn_model_load(a->context, path, NULL, &model) : MFRGN_ERROR_MEMORY;
    double bytes = 0, other = 0;
    int fine = status == MFRGN_OK;
    if (!fine)
        tool_failed(a->context, status, path);
    fine = fine && evaluate(a, model, job->recipe, a->data.validation, f->here, &bytes) &&
           (!a->other || evaluate(a, model, job->recipe, a->other, f->there, &other));
    if (fine) {
        f->runs++;
        f->multiply_adds +=
            (mfrgn_model_flops(model, MFRGN_VIEW_GROUND) + mfrgn_model_flops(model, MFRGN_VIEW_AERIAL)) / 4;
        f->embedding += bytes;
        if (job->cost.arena_bytes) {
            f->trained++;
            f->training += (double)(job->cost.arena_bytes + job->cost.state_bytes);
        }
    }
    mfrgn_model_free(model);
    free(path);
    return fine;
}

static int run_one(ablate_options *a, const char *preset, long seed, figures *f) {
    char *folder = a->seeds > 1 ? tool_format("%s/%s.%ld", a->out, preset, seed) : tool_format("%s/%s", a->out, preset);
    mfrgn_recipe *recipe = folder ? make_recipe(a, preset, seed) : NULL;
    training_job job = {.context = a->context,
                        .data = &a->data,
                        .recipe = recipe,
                        .folder = folder,
                        .resume = 1,
                        .quiet = a->quiet,
                        .origin = a->weights};
    int code = TOOL_FAILED;
    if (recipe && a->weights) {
        mfrgn_status status = mfrgn_model_create_from_backbone(a->context, mfrgn_recipe_network(recipe),
                                                               (unsigned long)seed, a->weights, &job.model);
        if (status != MFRGN_OK) {
            tool_failed(a->context, status, a->weights);
            mfrgn_recipe_free(recipe);
            recipe = NULL;
        }
    }
    if (recipe) {
        printf("%s, seed %ld\n", preset, seed);
        fflush(stdout);
        code = training_run(&job);
        if (code != TOOL_FAILED && !measure(a, &job, f))
            code = TOOL_FAILED;
    }
    mfrgn_model_free(job.model);
    mfrgn_recipe_free(recipe);
    free(folder);
    return code;
}

/* ---------------------------------------------------------------------------------------------- tables -------- */

static void means(figures *f) {
    double n = f->runs ? f->runs : 1;
    for (int i = 0; i < RECALLS; i++) {
        f->here[i] /= n;
        f->there[i] /= n;
    }
    f->multiply_adds /= n;
    f->embedding /= n;
    f->training /= f->trained ? f->trained : 1;
}

static void recalls(const double *recall) {
    for (int i = 0; i < RECALLS; i++)
        if (recall && recall[i] >= 0)
            printf(" %6.2f", recall[i]);
        else
            printf("      -");
}

static void print_components(const ablate_options *a, const figures *f) {
    printf("\nTable 4: components.  R@1, R@5, R@10, R@1%% on %s; then on %s, never trained on.  The paper: on CVACT, "
           "then on CVUSA.\n",
           a->data.dataset, a->other_dataset ? a->other_dataset : "nothing else");
    for (int i = 0; i < paper_ablation_count; i++) {
        const paper_ablation *p = &paper_ablations[i];
        if (!p->component || !f[i].runs)
            continue;
        printf("%-18s here ", p->name);
        recalls(f[i].here);
        printf("   ");
        recalls(a->other ? f[i].there : NULL);
        printf("\n%-18s paper", "");
        recalls(p->here);
        printf("   ");
        recalls(p->there);
        putchar('\n');
    }
}

static void print_costs(const ablate_options *a, const figures *f) {
    printf(
        "\nTable 5: linear attention (LA) and pooling (PPS).  R@1 here and there; G multiply-adds of one view; memory "
        "in MB\nof embedding and of training (the paper's is its GPU's).\n%-18s       %7s %7s %8s %9s %9s\n",
        "", "here", "there", "G", "embedding", "training");
    for (int i = 0; i < paper_ablation_count; i++) {
        const paper_ablation *p = &paper_ablations[i];
        if (!f[i].runs)
            continue;
        printf("%-18s here  %7.2f ", p->cost_name ? p->cost_name : p->name, f[i].here[0]);
        if (a->other)
            printf("%7.2f", f[i].there[0]);
        else
            printf("%7s", "-");
        printf(" %8.3f %9.1f", f[i].multiply_adds / 1e9, f[i].embedding / 1e6);
        if (f[i].trained)
            printf(" %9.1f\n", f[i].training / 1e6);
        else
            printf(" %9s\n", "-");
        if (p->cost_name)
            printf("%-18s paper %7.2f %7.2f %8.2f %9.0f %9s\n", "", p->here[0], p->there[0], p->giga, p->memory, "-");
    }
}

static void json_recalls(json_out *json, const char *name, const double *recall) {
    json_array(json, name);
    for (int i = 0; i < RECALLS; i++)
        json_number(json, NULL, recall[i], 6);
    json_close(json);
}

static int write_json(const ablate_options *a, const figures *f) {
    char *path = tool_format("%s/ablation.json", a->out);
    out_file file;
    json_out json;
    if (!path || !out_open(&file, path)) {
        free(path);
        return 0;
    }
    json_begin(&json, file.file);
    json_object(&json, NULL);
    json_string(&json, "dataset", a->data.dataset);
    json_string(&json, "other", a->other_dataset ? a->other_dataset : "");
    json_array(&json, "variants");
    for (int i = 0; i < paper_ablation_count; i++) {
        const paper_ablation *p = &paper_ablations[i];
        if (!f[i].runs)
            continue;
        json_object(&json, NULL);
        json_string(&json, "recipe", p->preset);
        json_integer(&json, "seeds", (unsigned long long)f[i].runs);
        json_recalls(&json, "here", f[i].here);
        if (a->other)
            json_recalls(&json, "there", f[i].there);
        json_recalls(&json, "paper_here", p->here);
        json_recalls(&json, "paper_there", p->there);
        json_number(&json, "multiply_adds", f[i].multiply_adds, 9);
        json_number(&json, "embedding_bytes", f[i].embedding, 12);
        if (f[i].trained)
            json_number(&json, "training_bytes", f[i].training, 12);
        json_close(&json);
    }
    json_close(&json);
    json_close(&json);
    json_end(&json);
    free(path);
    return out_commit(&file);
}

/* ---------------------------------------------------------------------------------------------- work ---------- */

static int open_other(ablate_options *a) {
    mfrgn_dataset_options o = {sizeof o, NULL, NULL, 0};
    mfrgn_status status =
        a->other_dataset ? mfrgn_dataset_open(a->context, a->other_dataset, a->other_root, &o, &a->other) : MFRGN_OK;
    if (status == MFRGN_OK)
        return 1;
    tool_failed(a->context, status, "");
    return 0;
}

static int run_all(ablate_options *a, figures *f) {
    int code = TOOL_OK;
    mkdir(a->out, 0777); /* what is wrong with it, the first run tells */
    for (int i = 0; i < paper_ablation_count; i++) {
        for (long seed = 1; is_wanted(a, paper_ablations[i].preset) && seed <= a->seeds; seed++) {
            int one = run_one(a, paper_ablations[i].preset, seed, &f[i]);
            if (one == TOOL_FAILED)
                return one;
            code = one == TOOL_OK ? code : one;
        }
        means(&f[i]);
    }
    print_components(a, f);
    print_costs(a, f);
    return write_json(a, f) ? code : TOOL_FAILED;
}

static int check(const ablate_options *a, int arguments) {
    if (arguments)
        return tool_usage("there are no arguments, only options");
    if (!a->data.dataset || !a->data.root || !a->out)
        return tool_usage("--dataset NAME, --root DIR and --out DIR are needed");
    if (!a->other_dataset != !a->other_root)
        return tool_usage("--other-dataset and --other-root go together");
    for (const char *at = a->only; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        int length = (int)strcspn(at, ","), found = 0;
        for (int i = 0; i < paper_ablation_count; i++)
            found |= (int)strlen(paper_ablations[i].preset) == length &&
                     !strncmp(paper_ablations[i].preset, at, (size_t)length);
        if (!found)
            return tool_usage("--only: there is no variant '%.*s'", length, at);
    }
    return -1;
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    ablate_options a;
    figures *f = calloc((size_t)paper_ablation_count, sizeof *f);
    int first;
    memset(&a, 0, sizeof a);
    a.seeds = 1;
    int code = tool_parse(command, argc, argv, &options, take, &a, &first);
    if (code < 0)
        code = check(&a, argc - first);
    if (code < 0) {
        code = TOOL_FAILED;
        a.quiet = options.quiet;
        tool_catch_signals();
        a.context = f ? tool_context(&options) : NULL;
        if (a.context && training_open(a.context, &a.data, 1) && open_other(&a))
            code = run_all(&a, f);
        mfrgn_dataset_free(a.other);
        training_close(&a.data);
        mfrgn_context_free(a.context);
    }
    for (int i = 0; i < a.sets; i++)
        free((char *)(size_t)a.set[i]);
    free(f);
    return code;
}

const tool_command command_ablate = {
    "ablate",
    "train the paper's ablations, and print its tables",
    "--dataset NAME --root DIR --out DIR [--other-dataset NAME --other-root DIR] [OPTIONS]",
    "Trains baseline, mbaseline, its variants with the local and the global flow, full attention and the whole "
    "network\n"
    "with one budget, and prints the paper's tables 4 and 5 with the figures measured here: recalls on the data set "
    "and\n"
    "on another one that was never trained on, multiply-adds, memory.  A run that was stopped is gone on with by the "
    "same\n"
    "command.",
    "  mfrgn ablate --dataset cvact --root CVACT --other-dataset cvusa --other-root CVUSA --out ablation \\\n"
    "      --backbone-weights convnext_base.pth\n"
    "  mfrgn ablate --dataset pairs --root town/pairs.csv --out small --epochs 10 --batch 16 --seeds 3 \\\n"
    "      --set backbone=convnext_atto --set sat_size=128x128 --set grd_size=64x256 --set shared=1\n",
    OPT_QUIET,
    own_options,
    run,
};
