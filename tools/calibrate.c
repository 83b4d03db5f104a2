/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn index calibrate: fits a gallery's probabilities to pictures whose tiles are known. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <mfrgn/evaluate.h>

#include "json_out.h"
#include "progress.h"
#include "query.h"

typedef struct calibrate_options {
    query_options query;
    const char *pairs, *split;
} calibrate_options;

static const tool_option own_options[] = {
    {"pairs", 0, "FILE.csv", "pictures and their tiles: ground, aerial, and latitude, longitude (needed)"},
    {"split", 0, "NAME", "only the rows of this word in the column \"split\""},
    QUERY_YAW,
    QUERY_CAMERA,
    {NULL, 0, NULL, NULL},
};

typedef struct calibrate_work {
    mfrgn_context *context;
    mfrgn_index *index;
    mfrgn_dataset *pairs;
    mfrgn_session *session;
    const tool_options *options;
    const calibrate_options *calibrate;
    mfrgn_locate_options locate;
    float *queries;
    size_t *truth;
    size_t count, size, unmatched, skipped;
} calibrate_work;

static int take(void *user, const char *name, const char *value) {
    calibrate_options *c = user;
    int code = query_take(&c->query, name, value);
    if (code >= 0)
        return code;
    if (!strcmp(name, "pairs"))
        c->pairs = value;
    else
        c->split = value;
    return 0;
}

/* The gallery's tile that a pair names: by its id, or by the path that has the most parts in common with the pair's, if it
 * is one tile's alone ("z/x/y.png" has many of one name); else the one whose middle is the nearest to the picture. */
static int find_named(const calibrate_work *w, size_t count, const mfrgn_sample *aerial, size_t *tile) {
    size_t most = 0, with_most = 0;
    for (size_t i = 0; i < count; i++) {
        mfrgn_tile t = query_tile(w->index, i);
        if (!strcmp(t.id, aerial->id)) {
            *tile = i;
            return 1;
        }
        size_t common = query_common(t.path, aerial->path);
        if (common > most)
            *tile = i;
        with_most = common > most ? 1 : with_most + (common == most);
        most = common > most ? common : most;
    }
    return most > 0 && with_most == 1;
}

static int find_tile(const calibrate_work *w, const mfrgn_sample *aerial, const mfrgn_sample *ground, size_t *tile) {
    mfrgn_index_info info = {.struct_size = sizeof info};
    double nearest = INFINITY;
    mfrgn_index_get_info(w->index, &info);
    if (find_named(w, info.count, aerial, tile))
        return 1;
    for (size_t i = 0; ground->located && i < info.count; i++) {
        query_answer place = {.has_truth = 1, .latitude = ground->latitude, .longitude = ground->longitude};
        mfrgn_tile t = query_tile(w->index, i);
        double distance =
            t.located ? mfrgn_distance_m(t.latitude, t.longitude, place.latitude, place.longitude) : INFINITY;
        if (distance < nearest && query_is_true(&place, &t) == 1) {
            nearest = distance;
            *tile = i;
        }
    }
    return nearest < INFINITY;
}

/* 0: stop */
static int add_query(calibrate_work *w, size_t query) {
    mfrgn_sample ground = {.struct_size = sizeof ground}, aerial = {.struct_size = sizeof aerial};
    mfrgn_image image = {.struct_size = sizeof image};
    const unsigned *truth, *semi;
    size_t truths, semis;
    mfrgn_dataset_get_sample(w->pairs, 0, query, &ground);
    if (mfrgn_dataset_get_truth(w->pairs, 0, query, &truth, &truths, &semi, &semis) != MFRGN_OK || !truths)
        return 1;
    mfrgn_dataset_get_sample(w->pairs, 1, truth[0], &aerial);
    if (!find_tile(w, &aerial, &ground, &w->truth[w->count])) {
        w->unmatched++;
        return 1;
    }
    mfrgn_bitmap *bitmap = query_picture(w->context, ground.path);
    if (!bitmap) {
        w->skipped++;
        return 1;
    }
    mfrgn_bitmap_image(bitmap, &image);
    mfrgn_status status = mfrgn_locate_embed(w->session, &image, 1, &w->locate,
                                             w->queries + w->count * w->size * (size_t)w->locate.yaw_steps);
    mfrgn_bitmap_free(bitmap);
    if (status != MFRGN_OK)
        tool_failed(w->context, status, ground.path);
    w->count++;
    return status == MFRGN_OK;
}

static int embed_all(calibrate_work *w) {
    mfrgn_set_info set = {.struct_size = sizeof set};
    progress_bar bar;
    int good = 1;
    mfrgn_dataset_get_set(w->pairs, 0, &set);
    w->queries = calloc(set.count + 1, w->size * (size_t)w->locate.yaw_steps * sizeof(float));
    w->truth = calloc(set.count + 1, sizeof *w->truth);
    if (!w->queries || !w->truth) {
        tool_error("not enough memory for the descriptors of %zu pictures", set.count);
        return 0;
    }
    progress_begin(&bar, "pictures", set.count, !w->options->quiet);
    for (size_t i = 0; good && i < set.count; i++) {
        good = add_query(w, i) && !tool_stopped();
        progress_update(&bar, i + 1);
    }
    progress_end(&bar);
    if (w->unmatched)
        tool_error("%zu pairs have no tile in the gallery and were left out", w->unmatched);
    return good;
}

static void print_found(const calibrate_work *w, const mfrgn_calibration *c) {
    if (w->options->json) {
        json_out json;
        json_begin(&json, stdout);
        json_object(&json, NULL);
        json_string(&json, "gallery", w->calibrate->query.index);
        json_integer(&json, "queries", c->queries);
        json_integer(&json, "found", c->found);
        json_integer(&json, "folds", (unsigned long long)c->folds);
        json_number(&json, "accuracy", c->accuracy, 6);
        json_number(&json, "temperature", c->temperature, 8);
        json_number(&json, "reach", c->reach, 6);
        json_number(&json, "bias", c->bias, 8);
        json_number(&json, "score_weight", c->score_weight, 8);
        json_number(&json, "margin_weight", c->margin_weight, 8);
        json_number(&json, "ece_before", c->ece_before, 6);
        json_number(&json, "ece_after", c->ece_after, 6);
        json_number(&json, "loss_before", c->loss_before, 6);
        json_number(&json, "loss_after", c->loss_after, 6);
        json_number(&json, "ece_in_gallery", c->ece_in_gallery, 6);
        json_close(&json);
        json_end(&json);
        return;
    }
    printf("%s: calibrated with %zu queries, %.1f %% of which have the true tile first\n", w->calibrate->query.index,
           c->queries, 100 * c->accuracy);
    printf("  temperature                     %.5f (before %.5f)\n", c->temperature, MFRGN_DEFAULT_TEMPERATURE);
    printf("  true tile among those compared  %.1f %%\n", 100 * c->reach);
    printf("  in the gallery                  1 / (1 + exp(-(%.3f + %.3f score + %.3f margin)))\n", c->bias,
           c->score_weight, c->margin_weight);
    printf("  errors of queries left out, %d folds:\n", c->folds);
    printf("    calibration error of the best tile  %.4f -> %.4f\n", c->ece_before, c->ece_after);
    printf("    -log probability of the true tile   %.4f -> %.4f\n", c->loss_before, c->loss_after);
    printf("    calibration error of \"in the gallery\"  %.4f\n", c->ece_in_gallery);
    if (c->queries < 500)
        printf("  %zu queries are few: the errors themselves are off by some %.2f\n", c->queries,
               1 / sqrt((double)c->queries));
}

static int fit(calibrate_work *w) {
    mfrgn_calibration found = {.struct_size = sizeof found};
    mfrgn_searcher *searcher = NULL;
    mfrgn_status status = mfrgn_searcher_create(w->context, NULL, &searcher);
    if (status == MFRGN_OK)
        status = mfrgn_index_calibrate(w->index, searcher, w->queries, w->truth, w->count, &w->locate, &found);
    mfrgn_searcher_free(searcher);
    if (status != MFRGN_OK)
        return tool_failed(w->context, status, "");
    print_found(w, &found);
    return w->skipped || w->unmatched ? TOOL_SKIPPED : TOOL_OK;
}

static int work_on(calibrate_work *w) {
    mfrgn_dataset_options d = {sizeof d, w->calibrate->split, NULL, 0};
    mfrgn_model *model = NULL;
    int code = TOOL_FAILED;
    mfrgn_status status = MFRGN_OK;
    w->index = query_open(w->context, &w->calibrate->query);
    if (w->index)
        status = mfrgn_dataset_open(w->context, "pairs", w->calibrate->pairs, &d, &w->pairs);
    if (status != MFRGN_OK) {
        tool_failed(w->context, status, "");
    } else if (w->index && (model = tool_model(w->context, w->options)) &&
               (w->session = tool_session(w->context, model, w->options))) {
        w->size = mfrgn_model_descriptor_size(model);
        status = mfrgn_index_check_model(w->index, w->session);
        if (status != MFRGN_OK)
            tool_failed(w->context, status, "");
        else if (embed_all(w))
            code = fit(w);
    }
    free(w->queries);
    free(w->truth);
    mfrgn_session_free(w->session);
    mfrgn_model_free(model);
    mfrgn_dataset_free(w->pairs);
    mfrgn_index_free(w->index);
    return code;
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    calibrate_options calibrate;
    int first;
    memset(&calibrate, 0, sizeof calibrate);
    query_begin(&calibrate.query);
    int code = tool_parse(command, argc, argv, &options, take, &calibrate, &first);
    if (code >= 0)
        return code;
    if (argc - first != 1)
        return tool_usage("one gallery is needed");
    calibrate.query.index = argv[first];
    if (!calibrate.pairs)
        return tool_usage("--pairs FILE.csv is needed");
    code = query_check(&calibrate.query, &options);
    if (code >= 0)
        return code;
    tool_catch_signals();
    calibrate_work work = {.context = tool_context(&options),
                           .options = &options,
                           .calibrate = &calibrate,
                           .locate = query_locate(&calibrate.query, &options)};
    code = work.context ? work_on(&work) : TOOL_FAILED;
    mfrgn_context_free(work.context);
    return code;
}

const tool_command command_index_calibrate = {
    "index calibrate",
    "fit a gallery's probabilities to known places",
    "--model FILE --pairs FILE.csv [OPTIONS] GALLERY",
    "Embeds pictures whose tiles are known, and fits the temperature of the probabilities of tiles and a model of "
    "\"the\n"
    "place is in the gallery at all\"; both are kept in the gallery and hold for queries that are made in the same "
    "way\n"
    "(--yaw, --fov or --intrinsics, --precrop).  The errors told are those of pictures that took no part in fitting.",
    "  mfrgn index calibrate --model vigor.pth --pairs validation.csv london.mfg\n"
    "  mfrgn index calibrate -m vigor.pth --pairs validation.csv --yaw 16 london.mfg\n",
    OPT_MODEL | OPT_NETWORK | OPT_SET | OPT_UNTRAINED | OPT_SESSION | OPT_PRECROP | OPT_JSON | OPT_QUIET,
    own_options,
    run,
};
