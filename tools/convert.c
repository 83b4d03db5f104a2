/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn convert: weights from one file form to another, either way. */
#include <string.h>

#include "common.h"
#include "files.h"
#include "progress.h"

typedef struct convert_options {
    int dtype_given;
    mfrgn_dtype dtype;
} convert_options;

static const tool_option own_options[] = {
    {"dtype", 'd', "TYPE", "of the stored values: f32, f16, bf16 (as in IN)"},
    {NULL, 0, NULL, NULL},
};

static int take(void *user, const char *name, const char *value) {
    convert_options *convert = user;
    (void)name;
    convert->dtype_given = 1;
    return tool_dtype(value, &convert->dtype) ? 0 : TOOL_USAGE;
}

/* The type that most matrices have; what is stored with more than 32 bits becomes f32. */
static mfrgn_dtype stored_type(const mfrgn_model *model) {
    size_t count[4] = {0, 0, 0, 0};
    for (size_t i = 0; i < mfrgn_model_tensor_count(model); i++) {
        mfrgn_tensor_info info = {.struct_size = sizeof info};
        if (mfrgn_model_tensor_get_info(model, i, &info) == MFRGN_OK && info.dims > 1 && (unsigned)info.dtype < 4)
            count[info.dtype]++;
    }
    mfrgn_dtype best = MFRGN_DTYPE_F32;
    if (count[MFRGN_DTYPE_F16] > count[MFRGN_DTYPE_F32] + count[MFRGN_DTYPE_F64])
        best = MFRGN_DTYPE_F16;
    if (count[MFRGN_DTYPE_BF16] > count[MFRGN_DTYPE_F32] + count[MFRGN_DTYPE_F64] &&
        count[MFRGN_DTYPE_BF16] > count[MFRGN_DTYPE_F16])
        best = MFRGN_DTYPE_BF16;
    return best;
}

static int show(void *user, size_t done, size_t total) {
    progress_bar *bar = user;
    bar->total = total;
    progress_update(bar, done);
    return tool_stopped();
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    convert_options convert = {0};
    int first, code = tool_parse(command, argc, argv, &options, take, &convert, &first);
    if (code >= 0)
        return code;
    if (options.sets && !options.untrained)
        return tool_usage("--set goes with --untrained");
    if (argc - first != 2 - options.untrained)
        return tool_usage(options.untrained ? "one file is needed with --untrained: OUT"
                                            : "two files are needed: IN and OUT");
    const char *in = options.untrained ? "" : argv[first], *out = argv[argc - 1];
    if (!files_has_ending(out, ".safetensors") && !files_has_ending(out, ".pth") && !files_has_ending(out, ".pt"))
        return tool_usage("%s: the name must end in .safetensors, .pth or .pt", out);

    tool_catch_signals();
    mfrgn_context *context = tool_context(&options);
    if (!context)
        return TOOL_FAILED;
    mfrgn_model *model = NULL;
    mfrgn_status status = MFRGN_OK;
    const char *what = in;
    if (!options.untrained)
        status = tool_load(context, in, &options, &model);
    else if (!(model = tool_model(context, &options))) {
        mfrgn_context_free(context);
        return TOOL_FAILED;
    }
    if (status == MFRGN_OK) {
        progress_bar bar;
        mfrgn_progress progress = {sizeof progress, &bar, show};
        progress_begin(&bar, "steps", 2, !options.quiet);
        if (!convert.dtype_given)
            convert.dtype = stored_type(model);
        what = out;
        status = mfrgn_model_save(model, out, convert.dtype, &progress);
        progress_end(&bar);
    }
    if (status != MFRGN_OK)
        code = tool_failed(context, status, what);
    else {
        if (!options.quiet)
            printf("%s: %zu tensors, %s learnt parameters, %s\n", out, mfrgn_model_tensor_count(model),
                   tool_thousands(mfrgn_model_parameter_count(model)), tool_dtype_name(convert.dtype));
        code = TOOL_OK;
    }
    mfrgn_model_free(model);
    mfrgn_context_free(context);
    return code;
}

const tool_command command_convert = {
    "convert",
    "convert weights between PyTorch's .pth and .safetensors",
    "IN OUT [OPTIONS] | --untrained OUT [OPTIONS]",
    "Reads the weights IN (a PyTorch checkpoint or safetensors; told by its content) and writes OUT (by its ending:\n"
    ".safetensors, .pth or .pt).  The network is recognised from the file; --preset and the sizes overrule that.\n"
    "OUT appears whole or not at all.  With --untrained there is no IN: random weights are written.",
    "  mfrgn convert published/cvusa.pth cvusa.safetensors\n"
    "  mfrgn convert --dtype f16 cvusa.safetensors cvusa-f16.safetensors\n"
    "  mfrgn convert cvusa.safetensors for-pytorch.pth\n"
    "  mfrgn convert --untrained --preset vigor --set backbone=convnext_tiny random.safetensors\n",
    OPT_NETWORK | OPT_SET | OPT_UNTRAINED | OPT_QUIET,
    own_options,
    run,
};
