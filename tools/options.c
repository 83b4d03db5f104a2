/* SPDX-License-Identifier: Apache-2.0 */
/* The command line, by libc's getopt_long(). */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

enum { MAX_OPTIONS = 48, FIRST_CODE = 1000 };

typedef struct shared_option {
    unsigned group;
    tool_option option;
} shared_option;

static const shared_option shared[] = {
    {OPT_MODEL, {"model", 'm', "FILE", "weights: .safetensors, or PyTorch's .pth"}},
    {OPT_NETWORK, {"preset", 'p', "NAME", "the network (with --model: in place of what its file says)"}},
    {OPT_NETWORK, {"aerial-size", 0, "HxW", "input of the aerial view"}},
    {OPT_NETWORK, {"ground-size", 0, "HxW", "input of the ground view"}},
    {OPT_SET, {"set", 0, "KEY=VALUE", "another setting of the network; may be repeated"}},
    {OPT_SET, {"seed", 0, "N", "of the random weights where there is no --model (1)"}},
    {OPT_UNTRAINED, {"untrained", 0, NULL, "random weights in place of a file: to try things out"}},
    {OPT_SESSION, {"backend", 'b', "NAME", "auto, cuda, onednn, openblas, ref (auto)"}},
    {OPT_SESSION, {"threads", 't', "N", "threads; 0: one a core (0)"}},
    {OPT_SESSION, {"batch", 'n', "N", "images computed together (1)"}},
    {OPT_SESSION, {"precision", 0, "NAME", "f32; f64 with backend ref; tf32, bf16, f16, fp8 with cuda (f32)"}},
    {OPT_SESSION, {"gelu", 0, "FORM", "exact; tanh: its approximation, for GPUs (exact)"}},
    {OPT_SESSION, {"device", 0, "N", "which GPU, from 0 (0)"}},
    {OPT_SESSION, {"memory-limit", 0, "BYTES", "of the GPU's memory; 0: any (0)"}},
    {OPT_SESSION, {"tuning", 0, "FILE", "what was measured of the GPU: read, and written where it is new"}},
    {OPT_PRECROP, {"precrop", 0, NULL, "CVACT: cut ground images to rows H/4 .. 3H/4 first"}},
    {OPT_JSON, {"json", 'j', NULL, "print JSON"}},
    {OPT_QUIET, {"quiet", 'q', NULL, "no progress, notes and warnings"}},
    {OPT_QUIET, {"verbose", 'v', NULL, "tell what the library does"}},
    {~0u, {"help", 'h', NULL, "this text"}},
};

/* The options of a command, its own first. */
static int collect(const tool_command *command, const tool_option **list, int *own) {
    int count = 0;
    for (const tool_option *option = command->options; option && option->name; option++)
        list[count++] = option;
    *own = count;
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        if (shared[i].group & command->shared || shared[i].group == ~0u)
            list[count++] = &shared[i].option;
    return count;
}

void tool_print_help(const tool_command *command, FILE *file) {
    const tool_option *list[MAX_OPTIONS];
    int own, count = collect(command, list, &own);
    fprintf(file, "Usage: mfrgn %s %s\n\n%s\n\nOptions:\n", command->name, command->usage, command->help);
    for (int i = 0; i < count; i++) {
        char letter[8] = "    ", text[64];
        if (list[i]->letter)
            snprintf(letter, sizeof letter, "-%c, ", list[i]->letter);
        snprintf(text, sizeof text, "%s--%s%s%s", letter, list[i]->name, list[i]->argument ? " " : "",
                 list[i]->argument ? list[i]->argument : "");
        fprintf(file, "  %-26s %s\n", text, list[i]->help);
    }
    fprintf(file, "\nExamples:\n%s\n", command->examples);
    fprintf(file, "Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but some inputs were skipped.\n");
}

static int take_shared(tool_options *options, const char *name, const char *value) {
    const struct {
        const char *name;
        const char **text;
        int *flag;
    } known[] = {{"model", &options->model, NULL},
                 {"preset", &options->preset, NULL},
                 {"aerial-size", &options->aerial_size, NULL},
                 {"ground-size", &options->ground_size, NULL},
                 {"backend", &options->backend, NULL},
                 {"threads", &options->threads, NULL},
                 {"batch", &options->batch, NULL},
                 {"precision", &options->precision, NULL},
                 {"gelu", &options->gelu, NULL},
                 {"device", &options->device, NULL},
                 {"memory-limit", &options->memory_limit, NULL},
                 {"tuning", &options->tuning, NULL},
                 {"untrained", NULL, &options->untrained},
                 {"precrop", NULL, &options->precrop},
                 {"json", NULL, &options->json},
                 {"quiet", NULL, &options->quiet},
                 {"verbose", NULL, &options->verbose}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name)) {
            if (known[i].text)
                *known[i].text = value;
            else
                *known[i].flag = 1;
            return -1;
        }
    if (!strcmp(name, "seed")) {
        long seed;
        if (!tool_number("--seed", value, 0, LONG_MAX, &seed))
            return TOOL_USAGE;
        options->seed = (unsigned long)seed;
    } else if (!strcmp(name, "set")) {
        if (options->sets == TOOL_SETS)
            return tool_usage("--set is given more than %d times", TOOL_SETS);
        options->set[options->sets++] = value;
    }
    return -1;
}

/* Values that are wrong whatever the model is. */
static int check(const tool_options *options) {
    static const struct {
        mfrgn_option_key key;
        const char *name;
    } numbers[] = {{MFRGN_OPTION_THREADS, "--threads"},
                   {MFRGN_OPTION_BATCH, "--batch"},
                   {MFRGN_OPTION_DEVICE, "--device"},
                   {MFRGN_OPTION_MEMORY_LIMIT, "--memory-limit"}};
    const char *values[] = {options->threads, options->batch, options->device, options->memory_limit};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        long minimum = 0, maximum = LONG_MAX, value;
        if (!values[i])
            continue;
        if (mfrgn_options_bounds(numbers[i].key, &minimum, &maximum) != MFRGN_OK)
            continue;
        if (!tool_number(numbers[i].name, values[i], minimum, maximum, &value))
            return TOOL_USAGE;
    }
    static const char *const precisions[] = {"f32", "f64", "tf32", "bf16", "f16", "fp8"};
    size_t precision = 0;
    while (options->precision && precision < sizeof precisions / sizeof *precisions &&
           strcmp(options->precision, precisions[precision]))
        precision++;
    if (precision == sizeof precisions / sizeof *precisions)
        return tool_usage("--precision takes f32, f64, tf32, bf16, f16 or fp8, not '%s'", options->precision);
    if (options->gelu && strcmp(options->gelu, "exact") && strcmp(options->gelu, "tanh"))
        return tool_usage("--gelu takes exact or tanh, not '%s'", options->gelu);
    if (options->quiet && options->verbose)
        return tool_usage("--quiet and --verbose exclude each other");
    if (options->model && options->sets)
        return tool_usage("--set goes with random weights, not with --model");
    if (options->preset) {
        int index = 0;
        while (mfrgn_preset_name(index) && strcmp(mfrgn_preset_name(index), options->preset))
            index++;
        if (!mfrgn_preset_name(index)) {
            tool_error("--preset: there is no '%s'; the presets are:", options->preset);
            for (index = 0; mfrgn_preset_name(index); index++)
                fprintf(stderr, "  %s\n", mfrgn_preset_name(index));
            return TOOL_USAGE;
        }
    }
    return -1;
}

int tool_parse(const tool_command *command, int argc, char **argv, tool_options *options,
               int (*own)(void *user, const char *name, const char *value), void *user, int *first) {
    const tool_option *list[MAX_OPTIONS];
    struct option names[MAX_OPTIONS + 1];
    char letters[2 * MAX_OPTIONS + 2] = ":";
    int owned, count = collect(command, list, &owned);
    size_t used = 1;
    memset(names, 0, sizeof names);
    for (int i = 0; i < count; i++) {
        names[i] =
            (struct option){list[i]->name, list[i]->argument ? required_argument : no_argument, NULL, FIRST_CODE + i};
        if (list[i]->letter) {
            letters[used++] = list[i]->letter;
            if (list[i]->argument)
                letters[used++] = ':';
        }
    }
    letters[used] = 0;
    memset(options, 0, sizeof *options);
    options->seed = 1;
    opterr = 0;
    optind = 1;
    for (;;) {
        int at = optind;
        int code = getopt_long(argc, argv, letters, names, NULL);
        if (code == -1)
            break;
        if (code == ':')
            return tool_usage("option '%s' needs a value", argv[optind - 1]);
        if (code == '?') {
            if (optopt >= FIRST_CODE)
                return tool_usage("option '--%s' takes no value", list[optopt - FIRST_CODE]->name);
            if (optopt)
                return tool_usage("unknown option '-%c'", optopt);
            return tool_usage("unknown option '%s'", argv[optind > at ? optind - 1 : at]);
        }
        int index = code - FIRST_CODE;
        if (code < FIRST_CODE)
            for (index = 0; list[index]->letter != code;)
                index++;
        if (!strcmp(list[index]->name, "help")) {
            tool_print_help(command, stdout);
            return TOOL_OK;
        }
        int result =
            index < owned ? own(user, list[index]->name, optarg) : take_shared(options, list[index]->name, optarg);
        if (result > 0)
            return result;
    }
    *first = optind;
    return check(options);
}

int tool_number(const char *option, const char *text, long minimum, long maximum, long *value) {
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end || isspace((unsigned char)*text) || errno || number < minimum || number > maximum) {
        if (maximum == LONG_MAX)
            tool_usage("%s takes a number from %ld on, not '%s'", option, minimum, text);
        else
            tool_usage("%s takes a number from %ld to %ld, not '%s'", option, minimum, maximum, text);
        return 0;
    }
    *value = number;
    return 1;
}

int tool_view(const char *text, mfrgn_view *view) {
    if (!strcmp(text, "ground") || !strcmp(text, "grd"))
        *view = MFRGN_VIEW_GROUND;
    else if (!strcmp(text, "aerial") || !strcmp(text, "sat"))
        *view = MFRGN_VIEW_AERIAL;
    else {
        tool_usage("--view takes ground or aerial, not '%s'", text);
        return 0;
    }
    return 1;
}

const char *tool_view_name(mfrgn_view view) {
    return view == MFRGN_VIEW_AERIAL ? "aerial" : "ground";
}
