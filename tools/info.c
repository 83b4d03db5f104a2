/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn info: a network, a weights file, this installation. */
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "json_out.h"

typedef struct info_options {
    int tensors, graph, dot, view_given;
    mfrgn_view view;
} info_options;

static const tool_option own_options[] = {
    {"tensors", 0, NULL, "list the tensors: name, shape, stored type"},
    {"graph", 0, NULL, "print a view's graph; with --backend: as that backend runs it"},
    {"dot", 0, NULL, "the same for Graphviz"},
    {"view", 0, "VIEW", "of --graph and --dot: ground or aerial (aerial)"},
    {NULL, 0, NULL, NULL},
};

static int take(void *user, const char *name, const char *value) {
    info_options *info = user;
    if (!strcmp(name, "tensors"))
        info->tensors = 1;
    else if (!strcmp(name, "graph"))
        info->graph = 1;
    else if (!strcmp(name, "dot"))
        info->dot = 1;
    else {
        info->view_given = 1;
        return tool_view(value, &info->view) ? 0 : TOOL_USAGE;
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------- backends ------ */

static void backends_json(mfrgn_context *context, json_out *json) {
    json_array(json, "backends");
    for (int i = 0; i < mfrgn_backend_count(context); i++) {
        mfrgn_backend_info info = {.struct_size = sizeof info};
        if (mfrgn_backend_get_info(context, i, &info) != MFRGN_OK)
            continue;
        json_object(json, NULL);
        json_string(json, "name", info.name);
        json_bool(json, "available", info.available);
        json_string(json, "detail", info.detail);
        json_close(json);
    }
    json_close(json);
}

static void backends_text(mfrgn_context *context) {
    printf("backends, in the order in which 'auto' tries them\n");
    for (int i = 0; i < mfrgn_backend_count(context); i++) {
        mfrgn_backend_info info = {.struct_size = sizeof info};
        if (mfrgn_backend_get_info(context, i, &info) == MFRGN_OK)
            printf("  %-16s %-4s %s\n", info.name, info.available ? "yes" : "no", info.detail ? info.detail : "");
    }
}

/* ---------------------------------------------------------------------------------------------- presets ------- */

static int list_presets(mfrgn_context *context, const tool_options *options) {
    json_out json;
    if (options->json) {
        json_begin(&json, stdout);
        json_object(&json, NULL);
        json_string(&json, "version", mfrgn_version_string());
        json_array(&json, "presets");
    } else {
        printf("libmfrgn %s\n\n%-20s %-14s %-8s %-8s %s\n", mfrgn_version_string(), "presets", "backbone", "aerial",
               "ground", "sources (global, local)");
    }
    for (int i = 0; mfrgn_preset_name(i); i++) {
        const char *name = mfrgn_preset_name(i);
        mfrgn_config *config = NULL;
        mfrgn_status status = mfrgn_config_create(context, name, &config);
        if (status != MFRGN_OK)
            return tool_failed(context, status, name);
        if (options->json)
            json_string(&json, NULL, name);
        else if (!strcmp(mfrgn_config_get(config, MFRGN_CONFIG_SAMPLE4GEO), "1"))
            printf("  %-18s %-14s %-8s %-8s mean of the last stage\n", name,
                   mfrgn_config_get(config, MFRGN_CONFIG_BACKBONE), mfrgn_config_get(config, MFRGN_CONFIG_AERIAL_SIZE),
                   mfrgn_config_get(config, MFRGN_CONFIG_GROUND_SIZE));
        else
            printf("  %-18s %-14s %-8s %-8s %s, %s\n", name, mfrgn_config_get(config, MFRGN_CONFIG_BACKBONE),
                   mfrgn_config_get(config, MFRGN_CONFIG_AERIAL_SIZE),
                   mfrgn_config_get(config, MFRGN_CONFIG_GROUND_SIZE),
                   mfrgn_config_get(config, MFRGN_CONFIG_GLOBAL_SOURCE),
                   mfrgn_config_get(config, MFRGN_CONFIG_LOCAL_SOURCE));
        mfrgn_config_free(config);
    }
    if (options->json) {
        json_close(&json);
        backends_json(context, &json);
        json_close(&json);
        json_end(&json);
    } else {
        printf("\n");
        backends_text(context);
    }
    return TOOL_OK;
}

/* ---------------------------------------------------------------------------------------------- a network ----- */

static const mfrgn_view views[] = {MFRGN_VIEW_AERIAL, MFRGN_VIEW_GROUND};

/* Values that are not learnt. */
static size_t statistics(const mfrgn_model *model) {
    size_t sum = 0;
    for (size_t i = 0; i < mfrgn_model_tensor_count(model); i++) {
        mfrgn_tensor_info info = {.struct_size = sizeof info};
        if (mfrgn_model_tensor_get_info(model, i, &info) != MFRGN_OK || info.learnt)
            continue;
        size_t count = 1;
        for (int d = 0; d < info.dims; d++)
            count *= info.shape[d];
        sum += count;
    }
    return sum;
}

static int model_json(mfrgn_context *context, const mfrgn_model *model, const tool_options *options,
                      const info_options *info) {
    json_out json;
    const mfrgn_config *config = mfrgn_model_config(model);
    json_begin(&json, stdout);
    json_object(&json, NULL);
    json_string(&json, "version", mfrgn_version_string());
    json_string(&json, "file", options->model);
    json_object(&json, "config");
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++)
        json_string(&json, mfrgn_config_key_name((mfrgn_config_key)key),
                    mfrgn_config_get(config, (mfrgn_config_key)key));
    json_close(&json);
    json_integer(&json, "parameters", mfrgn_model_parameter_count(model));
    json_integer(&json, "running_statistics", statistics(model));
    json_integer(&json, "tensor_count", mfrgn_model_tensor_count(model));
    json_integer(&json, "weights_bytes", tool_weights_bytes(model));
    json_integer(&json, "descriptor_size", mfrgn_model_descriptor_size(model));
    json_object(&json, "views");
    for (int i = 0; i < 2; i++) {
        int width = 0, height = 0;
        mfrgn_model_input_size(model, views[i], &width, &height);
        json_object(&json, tool_view_name(views[i]));
        json_integer(&json, "width", (unsigned)width);
        json_integer(&json, "height", (unsigned)height);
        json_number(&json, "flops", mfrgn_model_flops(model, views[i]), 15);
        json_close(&json);
    }
    json_close(&json);
    if (info->tensors) {
        json_array(&json, "tensors");
        for (size_t i = 0; i < mfrgn_model_tensor_count(model); i++) {
            mfrgn_tensor_info tensor = {.struct_size = sizeof tensor};
            if (mfrgn_model_tensor_get_info(model, i, &tensor) != MFRGN_OK)
                continue;
            json_object(&json, NULL);
            json_string(&json, "name", tensor.name);
            json_array(&json, "shape");
            for (int d = 0; d < tensor.dims; d++)
                json_integer(&json, NULL, tensor.shape[d]);
            json_close(&json);
            json_string(&json, "dtype", tool_dtype_name(tensor.dtype));
            json_bool(&json, "learnt", tensor.learnt);
            json_close(&json);
        }
        json_close(&json);
    }
    backends_json(context, &json);
    json_close(&json);
    json_end(&json);
    return TOOL_OK;
}

static void tensors_text(const mfrgn_model *model) {
    printf("\ntensors\n");
    for (size_t i = 0; i < mfrgn_model_tensor_count(model); i++) {
        mfrgn_tensor_info tensor = {.struct_size = sizeof tensor};
        if (mfrgn_model_tensor_get_info(model, i, &tensor) != MFRGN_OK)
            continue;
        char shape[96] = "scalar";
        int used = 0;
        for (int d = 0; d < tensor.dims; d++)
            used += snprintf(shape + used, sizeof shape - (size_t)used, "%s%zu", d ? " x " : "", tensor.shape[d]);
        printf("  %-60s %-22s %s%s\n", tensor.name, shape, tool_dtype_name(tensor.dtype),
               tensor.learnt ? "" : "  running statistics");
    }
}

static int model_text(mfrgn_context *context, const mfrgn_model *model, const tool_options *options,
                      const info_options *info) {
    const mfrgn_config *config = mfrgn_model_config(model);
    printf("%s\n", options->model ? options->model : options->preset ? options->preset : "cvusa");
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++)
        printf("  %-16s %s\n", mfrgn_config_key_name((mfrgn_config_key)key),
               mfrgn_config_get(config, (mfrgn_config_key)key));
    printf("\nsize\n  %-16s %s learnt, %s running statistics\n", "parameters",
           tool_thousands(mfrgn_model_parameter_count(model)), tool_thousands(statistics(model)));
    printf("  %-16s %zu%s%s\n", "tensors", mfrgn_model_tensor_count(model), options->model ? ", as stored " : "",
           options->model ? tool_bytes((double)tool_weights_bytes(model)) : "");
    printf("  %-16s %zu values\n", "descriptor", mfrgn_model_descriptor_size(model));
    for (int i = 0; i < 2; i++) {
        int width = 0, height = 0;
        char size[32];
        mfrgn_model_input_size(model, views[i], &width, &height);
        snprintf(size, sizeof size, "%dx%d", height, width);
        printf("  %-16s %-9s %8.2f GFLOP an image\n", tool_view_name(views[i]), size,
               mfrgn_model_flops(model, views[i]) * 1e-9);
    }
    if (info->tensors)
        tensors_text(model);
    printf("\n");
    backends_text(context);
    return TOOL_OK;
}

static int write_piece(void *user, const char *text, size_t length) {
    return fwrite(text, 1, length, user) != length;
}

static int print_graph(mfrgn_context *context, mfrgn_model *model, const tool_options *options,
                       const info_options *info) {
    mfrgn_session *session = NULL;
    mfrgn_status status = MFRGN_OK;
    if (options->backend || options->precision || options->gelu || options->batch || options->threads) {
        session = tool_session(context, model, options);
        if (!session)
            return TOOL_FAILED;
        status = mfrgn_session_prepare(session, info->view);
    }
    if (status == MFRGN_OK)
        status = mfrgn_model_print_graph(model, info->view, session, info->dot ? MFRGN_GRAPH_DOT : MFRGN_GRAPH_TEXT,
                                         write_piece, stdout);
    mfrgn_session_free(session);
    if (status != MFRGN_OK && !ferror(stdout)) /* what stdout has to say is said at the end */
        return tool_failed(context, status, "");
    return TOOL_OK;
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    info_options info = {.view = MFRGN_VIEW_AERIAL};
    int first, code = tool_parse(command, argc, argv, &options, take, &info, &first);
    if (code >= 0)
        return code;
    if (first < argc)
        return tool_usage("'%s' is not expected here (a weights file is given by --model)", argv[first]);
    int graph = info.graph || info.dot;
    if (info.graph && info.dot)
        return tool_usage("--graph and --dot exclude each other");
    if (graph && (options.json || info.tensors))
        return tool_usage("--graph and --dot go with neither --json nor --tensors");
    if (!graph &&
        (info.view_given || options.backend || options.threads || options.batch || options.precision || options.gelu))
        return tool_usage("--view, --backend, --threads, --batch, --precision and --gelu belong to --graph or --dot");

    mfrgn_context *context = tool_context(&options);
    if (!context)
        return TOOL_FAILED;
    if (!options.model && !options.preset && !options.aerial_size && !options.ground_size && !options.sets &&
        !info.tensors && !graph) {
        code = list_presets(context, &options);
        mfrgn_context_free(context);
        return code;
    }
    mfrgn_model *model = options.model ? tool_model(context, &options) : tool_empty_model(context, &options);
    if (!model)
        code = TOOL_FAILED;
    else if (graph)
        code = print_graph(context, model, &options, &info);
    else if (options.json)
        code = model_json(context, model, &options, &info);
    else
        code = model_text(context, model, &options, &info);
    mfrgn_model_free(model);
    mfrgn_context_free(context);
    return code;
}

const tool_command command_info = {
    "info",
    "show a network, a weights file, the presets and backends",
    "[--model FILE | --preset NAME] [OPTIONS]",
    "Shows the configuration of a network, its tensors, parameters, FLOPs and descriptor, and which backends work\n"
    "on this machine.  Without a model or preset: the presets and the backends.",
    "  mfrgn info\n"
    "  mfrgn info --preset vigor\n"
    "  mfrgn info --model cvusa.pth --tensors\n"
    "  mfrgn info --preset cvusa --dot --backend onednn --view ground | dot -Tsvg > graph.svg\n",
    OPT_MODEL | OPT_NETWORK | OPT_SET | OPT_SESSION | OPT_JSON | OPT_QUIET,
    own_options,
    run,
};
