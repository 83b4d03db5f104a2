/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn train: trains a network by a recipe. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "training.h"

enum { MAX_SETS = 96 };

typedef struct train_options {
    training_data data;
    const char *preset, *config, *out, *backbone, *init;
    struct {
        const char *name, *value; /* name NULL: value is "name=value" */
    } set[MAX_SETS];
    int sets, resume, settings;
} train_options;

static const tool_option own_options[] = {
    {"dataset", 'd', "NAME", "cvusa, cvact, vigor, u1652, pairs"},
    {"root", 'r', "DIR", "its folder (pairs: the folder of pairs.csv, or the CSV)"},
    {"out", 'o', "DIR", "the run's folder: recipe, checkpoints, metrics.jsonl, plot.png"},
    {"preset", 'p', "NAME", "the recipe: --settings lists them (cvusa)"},
    {"config", 'c', "FILE", "a recipe as JSON, over the preset"},
    {"set", 0, "NAME=VALUE", "a setting, over both; may be repeated"},
    {"epochs", 0, "N", "as --set run.epochs=N"},
    {"batch", 'n', "N", "pairs in a step, as --set run.batch=N"},
    {"rate", 0, "X", "learning rate, as --set train.learning_rate=X"},
    {"seed", 0, "N", "as --set run.seed=N"},
    {"backend", 'b', "NAME", "as --set train.backend=NAME"},
    {"threads", 't', "N", "as --set train.threads=N"},
    {"backbone-weights", 0, "FILE", "ImageNet's: timm's or torchvision's names; .safetensors, .pth"},
    {"init", 0, "FILE", "begin with these weights: MFRGN's, or Sample4Geo's as the backbone"},
    {"resume", 0, NULL, "go on from the last checkpoint in --out, with the same bits"},
    {"train-split", 0, "NAME", "what is trained on (train)"},
    {"split", 's', "NAME", "what is evaluated: val (cvusa, cvact), test; pairs: all rows but train"},
    {"protocol", 0, "NAME", "vigor: same, cross; u1652: published, plain"},
    {"corrected", 0, NULL, "vigor: the lists in splits__corrected"},
    {"settings", 0, NULL, "list presets and every setting with its value, and end"},
    {NULL, 0, NULL, NULL},
};

static int add_set(train_options *t, const char *name, const char *value) {
    if (t->sets == MAX_SETS)
        return tool_usage("more than %d settings", MAX_SETS);
    t->set[t->sets].name = name;
    t->set[t->sets++].value = value;
    return 0;
}

static int take(void *user, const char *name, const char *value) {
    train_options *t = user;
    const struct {
        const char *name, **text;
    } texts[] = {{"dataset", &t->data.dataset},
                 {"root", &t->data.root},
                 {"split", &t->data.split},
                 {"train-split", &t->data.train_split},
                 {"protocol", &t->data.protocol},
                 {"preset", &t->preset},
                 {"config", &t->config},
                 {"out", &t->out},
                 {"init", &t->init},
                 {"backbone-weights", &t->backbone}};
    static const char *const settings[][2] = {{"epochs", "run.epochs"},     {"batch", "run.batch"},
                                              {"seed", "run.seed"},         {"rate", "train.learning_rate"},
                                              {"backend", "train.backend"}, {"threads", "train.threads"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(texts[i].name, name))
            *texts[i].text = value;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (!strcmp(settings[i][0], name))
            return add_set(t, settings[i][1], value);
    if (!strcmp(name, "set"))
        return strchr(value, '=') ? add_set(t, NULL, value) : tool_usage("--set takes NAME=VALUE, not '%s'", value);
    if (!strcmp(name, "resume"))
        t->resume = 1;
    else if (!strcmp(name, "settings"))
        t->settings = 1;
    else if (!strcmp(name, "corrected"))
        t->data.corrected = 1;
    else if (!strcmp(name, "dataset") && !training_is_dataset(value))
        return TOOL_USAGE;
    return 0;
}

/* ---------------------------------------------------------------------------------------------- recipe -------- */

static int apply_sets(mfrgn_context *context, const train_options *t, mfrgn_recipe *recipe) {
    for (int i = 0; i < t->sets; i++) {
        const char *name = t->set[i].name, *value = t->set[i].value;
        char text[128];
        if (!name) {
            size_t length = strcspn(value, "=");
            if (length >= sizeof text) {
                tool_usage("--set %s: no setting has so long a name", value);
                return 0;
            }
            memcpy(text, value, length);
            text[length] = 0;
            name = text;
            value += length + 1;
        }
        if (mfrgn_recipe_set(recipe, name, value) != MFRGN_OK) {
            tool_usage("%s", mfrgn_context_last_error(context));
            return 0;
        }
    }
    return 1;
}

/* --preset, --config, or what the resumed run has; then --set. NULL after a message, *code the exit code. */
static mfrgn_recipe *make_recipe(mfrgn_context *context, const train_options *t, int *code) {
    mfrgn_recipe *recipe = NULL;
    char *old = t->out ? tool_format("%s/recipe.json", t->out) : NULL;
    const char *file = t->config;
    if (!file && !t->preset && t->resume && old && access(old, F_OK) == 0)
        file = old;
    *code = TOOL_FAILED;
    mfrgn_status status = mfrgn_recipe_create(context, t->preset, &recipe);
    if (status != MFRGN_OK)
        *code = tool_usage("--preset: %s", mfrgn_context_last_error(context));
    if (status == MFRGN_OK && file && (status = mfrgn_recipe_read(recipe, file)) != MFRGN_OK)
        tool_failed(context, status, file);
    if (status == MFRGN_OK && !apply_sets(context, t, recipe)) {
        status = MFRGN_ERROR_ARGUMENT;
        *code = TOOL_USAGE;
    }
    free(old);
    if (status != MFRGN_OK) {
        mfrgn_recipe_free(recipe);
        return NULL;
    }
    return recipe;
}

static int list_settings(const mfrgn_recipe *recipe) {
    mfrgn_recipe_key key = {.struct_size = sizeof key};
    printf("Presets:\n");
    for (int i = 0; mfrgn_recipe_preset_name(i); i++)
        printf("  %-22s %s\n", mfrgn_recipe_preset_name(i), mfrgn_recipe_preset_about(i));
    printf("\nSettings of this recipe:\n");
    for (int i = 0; mfrgn_recipe_get_key(i, &key) == MFRGN_OK; i++)
        printf("  %-24s %-22s %s (%s)\n", key.name, mfrgn_recipe_get(recipe, key.name), key.help, key.takes);
    return TOOL_OK;
}

/* ---------------------------------------------------------------------------------------------- weights ------- */

/* A checkpoint to begin with.  Its network is the recipe's from now on; a Sample4Geo one gives its backbone. */
static mfrgn_status load_init(mfrgn_context *context, const train_options *t, mfrgn_recipe *recipe,
                              mfrgn_model **model) {
    mfrgn_model *loaded = NULL;
    mfrgn_status status = mfrgn_model_load(context, t->init, NULL, &loaded);
    if (status != MFRGN_OK)
        return status;
    const mfrgn_config *has = mfrgn_model_config(loaded), *wants = mfrgn_recipe_network(recipe);
    if (!strcmp(mfrgn_config_get(has, MFRGN_CONFIG_SAMPLE4GEO), "1") &&
        strcmp(mfrgn_config_get(wants, MFRGN_CONFIG_SAMPLE4GEO), "1")) {
        mfrgn_model_free(loaded);
        return mfrgn_model_create_from_backbone(context, wants, strtoul(mfrgn_recipe_get(recipe, "run.seed"), NULL, 10),
                                                t->init, model);
    }
    status = mfrgn_recipe_set_network(recipe, has);
    if (status == MFRGN_OK)
        *model = loaded;
    else
        mfrgn_model_free(loaded);
    return status;
}

static int load_weights(mfrgn_context *context, const train_options *t, mfrgn_recipe *recipe, mfrgn_model **model) {
    mfrgn_status status = MFRGN_OK;
    if (t->init)
        status = load_init(context, t, recipe, model);
    else if (t->backbone)
        status = mfrgn_model_create_from_backbone(context, mfrgn_recipe_network(recipe),
                                                  strtoul(mfrgn_recipe_get(recipe, "run.seed"), NULL, 10), t->backbone,
                                                  model);
    if (status == MFRGN_OK)
        return 1;
    tool_failed(context, status, t->init ? t->init : t->backbone);
    return 0;
}

/* ---------------------------------------------------------------------------------------------- work ---------- */

static int train(mfrgn_context *context, train_options *t, mfrgn_recipe *recipe, int quiet) {
    training_job job = {.context = context,
                        .data = &t->data,
                        .recipe = recipe,
                        .origin = t->init ? t->init : t->backbone,
                        .folder = t->out,
                        .resume = t->resume,
                        .quiet = quiet};
    if (!load_weights(context, t, recipe, &job.model))
        return TOOL_FAILED;
    int code = TOOL_FAILED;
    if (training_open(context, &t->data, strcmp(mfrgn_recipe_get(recipe, "run.evaluate_every"), "0") != 0)) {
        code = training_run(&job);
        if (code != TOOL_FAILED && job.best_recall >= 0)
            printf("best R@1 %.2f after epoch %lu: %s/best.safetensors\n", job.best_recall, job.best_epoch, t->out);
        training_close(&t->data);
    }
    mfrgn_model_free(job.model);
    return code;
}

static int check(const train_options *t, int arguments) {
    if (arguments)
        return tool_usage("there are no arguments, only options");
    if (t->settings)
        return -1;
    if (!t->data.dataset || !t->data.root || !t->out)
        return tool_usage("--dataset NAME, --root DIR and --out DIR are needed");
    if (t->init && t->backbone)
        return tool_usage("--init and --backbone-weights exclude each other");
    return -1;
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    train_options t;
    int first;
    memset(&t, 0, sizeof t);
    int code = tool_parse(command, argc, argv, &options, take, &t, &first);
    if (code < 0)
        code = check(&t, argc - first);
    if (code >= 0)
        return code;
    tool_catch_signals();
    mfrgn_context *context = tool_context(&options);
    mfrgn_recipe *recipe = context ? make_recipe(context, &t, &code) : NULL;
    if (recipe)
        code = t.settings ? list_settings(recipe) : train(context, &t, recipe, options.quiet);
    mfrgn_recipe_free(recipe);
    mfrgn_context_free(context);
    return context ? code : TOOL_FAILED;
}

const tool_command command_train = {
    "train",
    "train a network on a data set",
    "--dataset NAME --root DIR --out RUN [--preset NAME] [OPTIONS]",
    "Trains by a recipe: the published one by default.  The run's folder gets recipe.json (every setting), run.json "
    "(data\n"
    "and library), metrics.jsonl (a line a step, an evaluation, an epoch), plot.png, best.safetensors, "
    "last.safetensors\n"
    "and a checkpoint, from which --resume goes on with the same bits.  A signal (Ctrl-C) ends the step under way, "
    "and\n"
    "writes a checkpoint; a second one ends the program at once.  Pictures that cannot be read are told and replaced;\n"
    "the exit code is then 3.",
    "  mfrgn train --dataset cvact --root CVACT --preset cvact --out run --backbone-weights convnext_base.pth\n"
    "  mfrgn train --dataset cvact --root CVACT --out run --resume\n"
    "  mfrgn train --dataset u1652 --root University-1652 --preset u1652-mini --out small --epochs 30\n"
    "  mfrgn train --dataset pairs --root mine/pairs.csv --init cvact.safetensors --rate 1e-5 --out tuned\n"
    "  mfrgn train --preset mfrgn+ --settings\n",
    OPT_QUIET,
    own_options,
    run,
};
