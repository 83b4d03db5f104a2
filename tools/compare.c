/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn compare: how alike a ground picture and aerial pictures are. */
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "files.h"
#include "json_out.h"
#include "pictures.h"

typedef struct candidate {
    const char *path;
    float similarity;
} candidate;

typedef struct ranking {
    mfrgn_context *context;
    size_t size;
    float *query;
    candidate *list;
    size_t count;
} ranking;

static int take_query(void *user, char *const *paths, size_t count, const float *descriptors) {
    ranking *ranks = user;
    (void)paths, (void)count;
    memcpy(ranks->query, descriptors, ranks->size * sizeof *descriptors);
    return 1;
}

static int take_aerial(void *user, char *const *paths, size_t count, const float *descriptors) {
    ranking *ranks = user;
    for (size_t i = 0; i < count; i++) {
        candidate *now = &ranks->list[ranks->count++];
        now->path = paths[i];
        mfrgn_status status = mfrgn_similarity(ranks->context, ranks->query, 1, descriptors + i * ranks->size, 1,
                                               ranks->size, &now->similarity);
        if (status != MFRGN_OK) {
            tool_failed(ranks->context, status, paths[i]);
            return 0;
        }
    }
    return 1;
}

/* The most alike first; the order given where equal. */
static int by_similarity(const void *left, const void *right) {
    const candidate *a = left, *b = right;
    if (a->similarity > b->similarity || a->similarity < b->similarity)
        return a->similarity < b->similarity ? 1 : -1;
    return strcmp(a->path, b->path);
}

static void print_json(const char *ground, const ranking *ranks) {
    json_out json;
    json_begin(&json, stdout);
    json_object(&json, NULL);
    json_string(&json, "ground", ground);
    json_array(&json, "aerial");
    for (size_t i = 0; i < ranks->count; i++) {
        json_object(&json, NULL);
        json_integer(&json, "rank", i + 1);
        json_string(&json, "file", ranks->list[i].path);
        json_number(&json, "similarity", (double)ranks->list[i].similarity, 9);
        json_close(&json);
    }
    json_close(&json);
    json_close(&json);
    json_end(&json);
}

static int compare_all(mfrgn_context *context, const tool_options *options, char *ground, const file_list *files) {
    int code = TOOL_FAILED;
    mfrgn_model *model = tool_model(context, options);
    mfrgn_session *session = model ? tool_session(context, model, options) : NULL;
    size_t size = model ? mfrgn_model_descriptor_size(model) : 0;
    ranking ranks = {context, size, malloc((size + 1) * sizeof *ranks.query), calloc(files->count, sizeof *ranks.list),
                     0};
    progress_bar bar;
    progress_begin(&bar, "pictures", files->count, !options->quiet);
    if (session && ranks.query && ranks.list) {
        pictures work = {.context = context,
                         .session = session,
                         .view = MFRGN_VIEW_GROUND,
                         .size = size,
                         .take = take_query,
                         .user = &ranks};
        int good = pictures_embed(&work, &ground, 1) && !work.skipped;
        if (good) {
            work.view = MFRGN_VIEW_AERIAL;
            work.take = take_aerial;
            work.bar = &bar;
            good = pictures_embed(&work, files->path, files->count);
        }
        progress_end(&bar);
        if (good && ranks.count) {
            qsort(ranks.list, ranks.count, sizeof *ranks.list, by_similarity);
            if (options->json)
                print_json(ground, &ranks);
            else if (files->count == 1)
                printf("%.6f\n", (double)ranks.list[0].similarity);
            else
                for (size_t i = 0; i < ranks.count; i++)
                    printf("%5zu  %9.6f  %s\n", i + 1, (double)ranks.list[i].similarity, ranks.list[i].path);
            code = work.skipped || files->unreadable ? TOOL_SKIPPED : TOOL_OK;
        }
    }
    progress_end(&bar);
    free(ranks.query);
    free(ranks.list);
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    return code;
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    int first, code = tool_parse(command, argc, argv, &options, NULL, NULL, &first);
    if (code >= 0)
        return code;
    if (argc - first < 2)
        return tool_usage("a ground picture and at least one aerial picture are needed");
    code = tool_need_model(&options);
    if (code >= 0)
        return code;
    file_list files = {0};
    for (int i = first + 1; i < argc; i++)
        if (!files_add(&files, argv[i])) {
            files_free(&files);
            return TOOL_FAILED;
        }
    if (!files.count) {
        tool_error("there is no aerial picture to compare with");
        return TOOL_FAILED;
    }
    tool_catch_signals();
    mfrgn_context *context = tool_context(&options);
    code = context ? compare_all(context, &options, argv[first], &files) : TOOL_FAILED;
    mfrgn_context_free(context);
    files_free(&files);
    return code;
}

const tool_command command_compare = {
    "compare",
    "tell how alike a ground and an aerial picture are",
    "--model FILE [OPTIONS] GROUND AERIAL...",
    "Prints the cosine similarity (-1 .. 1) of the descriptors of a ground picture and an aerial one.  Several aerial\n"
    "pictures, or folders of them, are ranked: rank, similarity, file, the most alike first.",
    "  mfrgn compare --model cvusa.safetensors street.jpg tile.png\n"
    "  mfrgn compare --model cvusa.safetensors --batch 8 street.jpg tiles/ | head -5\n"
    "  mfrgn compare --model cvusa.safetensors --json street.jpg a.png b.png\n",
    OPT_MODEL | OPT_NETWORK | OPT_SET | OPT_UNTRAINED | OPT_SESSION | OPT_PRECROP | OPT_JSON | OPT_QUIET,
    NULL,
    run,
};
