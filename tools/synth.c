/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn synth: a data set of a synthetic world. */
#include "synth.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const tool_option own_options[] = {
    {"out", 'o', "DIR", "the data set's folder (needed)"},
    {"city", 'c', "NAMES", "cities, with commas between; all: every one (aldergate; for vigor four)"},
    {"pairs", 'n', "N", "pairs a city for training (100)"},
    {"test-pairs", 0, "N", "pairs a city for testing, of another part of the town (0)"},
    {"seed", 's', "N", "another seed is another town of the same style (1)"},
    {"day", 0, "N", "another day is other light, weather, season and cars in the same town (0)"},
    {"layout", 'l', "LAYOUT", "pairs (default), cvusa, vigor: as the readers of these data sets want it"},
    {"aerial-size", 0, "HxW", "pixels of tiles (256x256)"},
    {"ground-size", 0, "HxW", "pixels of panoramas (128x512)"},
    {"size", 0, "METRES", "width of a tile (80)"},
    {"spacing", 0, "METRES", "between two places at least (60)"},
    {"offset", 0, "METRES", "of the camera from its tile's centre, east and north, at most (0)"},
    {"heading", 0, "HEADING", "north (default): the middle column looks north; random: anywhere"},
    {"fov", 0, "DEGREES", "that the columns of a panorama cover (360)"},
    {"threads", 't', "N", "threads; 0: one a core (0)"},
    {"resume", 0, NULL, "leaves pictures that are there"},
    {"list", 0, NULL, "lists the cities and ends"},
    {NULL, 0, NULL, NULL},
};

static int take_real(const char *option, const char *text, double least, double most, double *value) {
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    if (end == text || *end || errno || !(*value >= least && *value <= most))
        return tool_usage("--%s takes a number from %g to %g, not '%s'", option, least, most, text);
    return 0;
}

static int take_size(const char *option, const char *text, int *height, int *width) {
    char *end;
    long h = strtol(text, &end, 10), w = *end == 'x' ? strtol(end + 1, &end, 10) : 0;
    if (*end || *text < '0' || *text > '9' || h < 8 || w < 8 || h > 4096 || w > 4096)
        return tool_usage("--%s takes HxW, such as 128x512, each 8 .. 4096, not '%s'", option, text);
    *height = (int)h;
    *width = (int)w;
    return 0;
}

static int take_long(const char *option, const char *text, long least, long most, long *value) {
    char name[32];
    snprintf(name, sizeof name, "--%s", option);
    return tool_number(name, text, least, most, value) ? 0 : TOOL_USAGE;
}

static int take_cities(synth_options *o, const char *text) {
    free(o->cities);
    o->city_count = 0;
    o->cities = strdup(text);
    if (!strcmp(text, "all")) {
        for (; mfrgn_world_city(o->city_count) && o->city_count < SYNTH_CITIES; o->city_count++)
            o->city[o->city_count] = mfrgn_world_city(o->city_count);
        return 0;
    }
    for (char *at = o->cities; at;) {
        char *comma = strchr(at, ',');
        int known = 0;
        if (comma)
            *comma++ = 0;
        for (int k = 0; mfrgn_world_city(k); k++)
            known |= !strcmp(mfrgn_world_city(k), at);
        if (!known)
            return tool_usage("--city: there is no '%s'; 'mfrgn synth --list' lists the cities", at);
        for (int k = 0; k < o->city_count; k++)
            if (!strcmp(o->city[k], at))
                return tool_usage("--city: '%s' is named twice", at);
        if (o->city_count == SYNTH_CITIES)
            return tool_usage("--city takes at most %d cities", SYNTH_CITIES);
        o->city[o->city_count++] = at;
        at = comma;
    }
    return 0;
}

static int take_layout(synth_options *o, const char *value) {
    static const char *const names[] = {"pairs", "cvusa", "vigor"};
    for (int k = 0; k < 3; k++)
        if (!strcmp(names[k], value)) {
            o->layout = (synth_layout)k;
            return 0;
        }
    return tool_usage("--layout takes pairs, cvusa or vigor, not '%s'", value);
}

static int take(void *user, const char *name, const char *value) {
    synth_options *o = user;
    if (!strcmp(name, "out"))
        o->out = value;
    else if (!strcmp(name, "city"))
        return take_cities(o, value);
    else if (!strcmp(name, "pairs"))
        return take_long(name, value, 0, 1000000, &o->pairs);
    else if (!strcmp(name, "test-pairs"))
        return take_long(name, value, 0, 1000000, &o->tests);
    else if (!strcmp(name, "seed"))
        return take_long(name, value, 0, 2147483647, &o->seed);
    else if (!strcmp(name, "day"))
        return take_long(name, value, 0, 1000, &o->day);
    else if (!strcmp(name, "layout"))
        return take_layout(o, value);
    else if (!strcmp(name, "aerial-size"))
        return take_size(name, value, &o->aerial_height, &o->aerial_width);
    else if (!strcmp(name, "ground-size"))
        return take_size(name, value, &o->ground_height, &o->ground_width);
    else if (!strcmp(name, "size"))
        return take_real(name, value, 10, 1000, &o->size);
    else if (!strcmp(name, "spacing"))
        return take_real(name, value, 10, 1000, &o->spacing);
    else if (!strcmp(name, "offset"))
        return take_real(name, value, 0, 500, &o->offset);
    else if (!strcmp(name, "fov"))
        return take_real(name, value, 10, 360, &o->fov);
    else if (!strcmp(name, "threads"))
        return take_long(name, value, 0, 256, &o->threads);
    else if (!strcmp(name, "resume"))
        o->resume = 1;
    else if (!strcmp(name, "list"))
        o->list = 1;
    else if (!strcmp(value, "north") || !strcmp(value, "random"))
        o->random_heading = !strcmp(value, "random");
    else
        return tool_usage("--heading takes north or random, not '%s'", value);
    return 0;
}

static int check(synth_options *o, int arguments) {
    if (arguments)
        return tool_usage("no argument beside the options is taken");
    if (!o->out)
        return tool_usage("--out is needed");
    if (!*o->out)
        return tool_usage("--out is empty");
    if (!o->pairs && !o->tests)
        return tool_usage("--pairs and --test-pairs are both 0");
    if (!o->city_count &&
        take_cities(o, o->layout == SYNTH_VIGOR ? "aldergate,rosenfeld,maplewood,portmere" : "aldergate"))
        return TOOL_USAGE;
    if (o->layout == SYNTH_VIGOR && o->city_count != 4)
        return tool_usage("--layout vigor takes four cities, which stand for the reader's NewYork, Seattle, "
                          "SanFrancisco and Chicago");
    if (o->layout == SYNTH_VIGOR && o->offset > 0)
        return tool_usage("--layout vigor has offsets of its own: --offset does not go with it");
    if (o->offset > o->size / 2)
        return tool_usage("--offset %g puts cameras beyond tiles of %g m", o->offset, o->size);
    return 0;
}

static int print_cities(void) {
    for (int k = 0; mfrgn_world_city(k); k++)
        printf("%-10s %s\n", mfrgn_world_city(k), mfrgn_world_summary(k));
    return TOOL_OK;
}

static int work_on(synth_plan *plan, int quiet) {
    const synth_options *o = plan->options;
    double start = tool_seconds();
    for (int k = 0; k < o->city_count; k++) {
        mfrgn_status status = mfrgn_world_create(plan->context, o->city[k], (unsigned long)o->seed, &plan->world[k]);
        if (status != MFRGN_OK)
            return tool_failed(plan->context, status, o->city[k]);
    }
    if (!synth_lay_out(plan, 0) || !synth_make(plan, quiet) || !synth_lay_out(plan, 1))
        return TOOL_FAILED;
    if (!quiet) {
        double seconds = tool_seconds() - start;
        fprintf(stderr, "%zu pictures in %.1f s, %.1f/s\n", plan->count, seconds, (double)plan->count / seconds);
    }
    return TOOL_OK;
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    int first;
    synth_options o = {.pairs = 100,
                       .seed = 1,
                       .aerial_width = 256,
                       .aerial_height = 256,
                       .ground_width = 512,
                       .ground_height = 128,
                       .size = 80,
                       .spacing = 60,
                       .fov = 360};
    int code = tool_parse(command, argc, argv, &options, take, &o, &first);
    if (code < 0 && o.list)
        code = print_cities();
    if (code < 0 && check(&o, argc - first))
        code = TOOL_USAGE;
    if (code < 0) {
        synth_plan plan = {.options = &o};
        tool_catch_signals();
        plan.context = tool_context(&options);
        code = plan.context ? work_on(&plan, options.quiet) : TOOL_FAILED;
        synth_free(&plan);
    }
    free(o.cities);
    return code;
}

const tool_command command_synth = {
    "synth",
    "make a data set of a synthetic town",
    "--out DIR [OPTIONS]",
    "Renders places of a procedural town twice: from above, and as a panorama from the street.  A city is a style; "
    "with\n"
    "a seed it is a town, the same on every machine.  Pairs for training lie west of the town's middle, those for "
    "testing\n"
    "east of it.  'mfrgn eval' and 'mfrgn train' read the folder: --dataset pairs, cvusa or vigor.",
    "  mfrgn synth --out town --city rosenfeld --pairs 2000 --test-pairs 500\n"
    "  mfrgn synth --out towns --city all --pairs 500 --aerial-size 128x128 --ground-size 64x256\n"
    "  mfrgn synth --out hard --city portmere --heading random --fov 90 --ground-size 128x128 --offset 15\n"
    "  mfrgn synth --out vigor --layout vigor --pairs 200 --test-pairs 50\n",
    OPT_QUIET,
    own_options,
    run,
};
