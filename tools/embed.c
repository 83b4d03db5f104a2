/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn embed: pictures in, descriptors out as .npy or JSON. */
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "files.h"
#include "json_out.h"
#include "npy.h"
#include "pictures.h"

typedef struct embed_options {
    const char *out;
    int view_given;
    mfrgn_view view;
} embed_options;

/* Where descriptors go: .npy with a list of files beside it, or JSON. */
typedef struct sink {
    int is_npy;
    npy_file npy;
    out_file list;
    out_file json_file;
    json_out json;
    size_t size, rows;
} sink;

static const tool_option own_options[] = {
    {"view", 0, "VIEW", "what the pictures show: ground or aerial (needed)"},
    {"output", 'o', "FILE", "out.npy (and out.txt, the files of its rows) or out.json; else JSON to stdout"},
    {NULL, 0, NULL, NULL},
};

static int take(void *user, const char *name, const char *value) {
    embed_options *embed = user;
    if (!strcmp(name, "output")) {
        embed->out = value;
        if (!files_has_ending(value, ".npy") && !files_has_ending(value, ".json"))
            return tool_usage("--output %s: the name must end in .npy or .json", value);
        return 0;
    }
    embed->view_given = 1;
    return tool_view(value, &embed->view) ? 0 : TOOL_USAGE;
}

static int sink_open(sink *to, const char *path, size_t size) {
    memset(to, 0, sizeof *to);
    to->size = size;
    to->is_npy = path && files_has_ending(path, ".npy");
    if (to->is_npy) {
        char *list = tool_format("%.*s.txt", (int)(strlen(path) - 4), path);
        int good = list && npy_open(&to->npy, path, size);
        if (good && !out_open(&to->list, list)) {
            npy_discard(&to->npy);
            good = 0;
        }
        free(list);
        return good;
    }
    if (path && !out_open(&to->json_file, path))
        return 0;
    return 1;
}

/* Nothing is written before there is something: work that fails at once leaves no half of an array. */
static void begin_list(sink *to) {
    if (to->rows > 0)
        return;
    json_begin(&to->json, to->json_file.file ? to->json_file.file : stdout);
    json_array(&to->json, NULL);
}

static int sink_take(void *user, char *const *paths, size_t count, const float *descriptors) {
    sink *to = user;
    if (!to->is_npy)
        begin_list(to);
    to->rows += count;
    if (to->is_npy) {
        for (size_t i = 0; i < count; i++)
            fprintf(to->list.file, "%s\n", paths[i]);
        return npy_write(&to->npy, descriptors, count) ? 1 : (npy_commit(&to->npy), 0);
    }
    for (size_t i = 0; i < count; i++) {
        json_object(&to->json, NULL);
        json_string(&to->json, "file", paths[i]);
        json_floats(&to->json, "descriptor", descriptors + i * to->size, to->size);
        json_close(&to->json);
    }
    return !ferror(to->json.file);
}

static int sink_commit(sink *to) {
    if (to->is_npy) {
        /* the list first: rows without their names would be worth little */
        if (out_commit(&to->list))
            return npy_commit(&to->npy);
        npy_discard(&to->npy);
        return 0;
    }
    begin_list(to);
    json_close(&to->json);
    json_end(&to->json);
    return to->json_file.file ? out_commit(&to->json_file) : 1;
}

static void sink_discard(sink *to) {
    npy_discard(&to->npy);
    out_discard(&to->list);
    out_discard(&to->json_file);
}

/* A line end in a name would shift the rows of the list. */
static int names_fit(const file_list *files, int is_npy) {
    for (size_t i = 0; is_npy && i < files->count; i++)
        if (strchr(files->path[i], '\n')) {
            tool_error("%s: a name with a line end cannot be listed beside a .npy file; use .json", files->path[i]);
            return 0;
        }
    return 1;
}

static int embed_all(mfrgn_context *context, const tool_options *options, const embed_options *embed,
                     const file_list *files) {
    int code = TOOL_FAILED;
    mfrgn_model *model = tool_model(context, options);
    mfrgn_session *session = model ? tool_session(context, model, options) : NULL;
    sink to;
    if (session && names_fit(files, embed->out && files_has_ending(embed->out, ".npy")) &&
        sink_open(&to, embed->out, mfrgn_model_descriptor_size(model))) {
        progress_bar bar;
        pictures work = {.context = context,
                         .session = session,
                         .view = embed->view,
                         .size = mfrgn_model_descriptor_size(model),
                         .bar = &bar,
                         .take = sink_take,
                         .user = &to};
        progress_begin(&bar, "pictures", files->count, !options->quiet);
        int good = pictures_embed(&work, files->path, files->count);
        progress_end(&bar);
        if (good && !to.rows) {
            tool_error("no picture could be read");
            good = 0;
            if (!embed->out) /* an empty list */
                sink_commit(&to);
        }
        if (good)
            good = sink_commit(&to);
        else
            sink_discard(&to);
        size_t skipped = work.skipped + files->unreadable;
        code = !good ? TOOL_FAILED : skipped ? TOOL_SKIPPED : TOOL_OK;
        if (good && skipped)
            tool_error("%zu of %zu inputs were skipped", skipped, files->count + files->unreadable);
    }
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    return code;
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    embed_options embed = {0};
    int first, code = tool_parse(command, argc, argv, &options, take, &embed, &first);
    if (code >= 0)
        return code;
    if (!embed.view_given)
        return tool_usage("--view is needed: ground or aerial");
    if (first == argc)
        return tool_usage("no picture is given");
    code = tool_need_model(&options);
    if (code >= 0)
        return code;

    file_list files = {0};
    for (int i = first; i < argc; i++)
        if (!files_add(&files, argv[i])) {
            files_free(&files);
            return TOOL_FAILED;
        }
    if (!files.count) {
        tool_error("there is no picture to embed");
        return TOOL_FAILED;
    }
    tool_catch_signals();
    mfrgn_context *context = tool_context(&options);
    code = context ? embed_all(context, &options, &embed, &files) : TOOL_FAILED;
    mfrgn_context_free(context);
    files_free(&files);
    return code;
}

const tool_command command_embed = {
    "embed",
    "make descriptors of pictures",
    "--model FILE --view ground|aerial [OPTIONS] PICTURES...",
    "Makes a descriptor of each picture: files, or folders with all the pictures below them, sorted by name.  The\n"
    "order of the output is that of the input.  A picture that cannot be read is told on stderr and left out; the\n"
    "exit code is then 3.",
    "  mfrgn embed --model cvusa.safetensors --view aerial -o tiles.npy tiles/\n"
    "  mfrgn embed -m cvusa.safetensors --view ground street.jpg > street.json\n"
    "  mfrgn embed -m vigor.pth --view ground --batch 8 --backend onednn -o queries.npy panoramas/ more.png\n",
    OPT_MODEL | OPT_NETWORK | OPT_SET | OPT_UNTRAINED | OPT_SESSION | OPT_PRECROP | OPT_QUIET,
    own_options,
    run,
};
