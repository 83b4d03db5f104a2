/* Trains a model further on pairs of one's own.  finetune MODEL PAIRS.csv FOLDER [GROUP.SETTING=VALUE ..] */
#include <mfrgn/recipe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mfrgn_context *context;

static void check(mfrgn_status status) {
    if (status != MFRGN_OK) {
        fprintf(stderr, "%s\n", mfrgn_context_last_error(context));
        exit(1);
    }
}

static void set(mfrgn_recipe *recipe, char *setting) {
    char *value = strchr(setting, '=');
    if (value)
        *value++ = 0;
    check(mfrgn_recipe_set(recipe, setting, value ? value : ""));
}

static void train(mfrgn_run *run) {
    mfrgn_run_event event = {.struct_size = sizeof event};
    do {
        check(mfrgn_run_next(run, &event));
        if (event.stage == MFRGN_RUN_EPOCH)
            printf("epoch %lu of %lu: loss %.3f\n", event.epoch, event.epochs, event.loss);
        else if (event.stage == MFRGN_RUN_EVALUATION)
            printf("epoch %lu of %lu: R@1 %.1f %%%s\n", event.epoch, event.epochs, event.metrics[0].recall_1,
                   event.best ? ", the best" : "");
    } while (event.stage != MFRGN_RUN_FINISHED);
}

int main(int argc, char **argv) {
    mfrgn_dataset *pairs = NULL, *held_out = NULL;
    mfrgn_model *model = NULL;
    mfrgn_recipe *recipe = NULL;
    mfrgn_run *run = NULL;
    mfrgn_dataset_options split = {sizeof split, "train", NULL, 0};
    if (argc < 4)
        return 2;
    check(mfrgn_context_create(NULL, &context));
    check(mfrgn_model_load(context, argv[1], NULL, &model));
    check(mfrgn_dataset_open(context, "pairs", argv[2], &split, &pairs));
    check(mfrgn_dataset_open(context, "pairs", argv[2], NULL, &held_out)); /* rows that are not for training */
    check(mfrgn_recipe_create(context, NULL, &recipe));
    check(mfrgn_recipe_set_network(recipe, mfrgn_model_config(model)));
    check(mfrgn_recipe_set(recipe, "train.learning_rate", "1e-5"));
    for (int i = 4; i < argc; i++)
        set(recipe, argv[i]);
    mfrgn_run_options options = {.struct_size = sizeof options,
                                 .train = pairs,
                                 .validation = held_out,
                                 .folder = argv[3],
                                 .model = model,
                                 .resume = 1};
    check(mfrgn_run_create(context, recipe, &options, &run));
    train(run);
    mfrgn_run_free(run);
    mfrgn_recipe_free(recipe);
    mfrgn_dataset_free(pairs);
    mfrgn_dataset_free(held_out);
    mfrgn_model_free(model);
    mfrgn_context_free(context);
    return 0;
}
