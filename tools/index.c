/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn index: galleries of tiles on disk, built, extended, joined, looked at, exported. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <mfrgn/gallery.h>

#include "common.h"
#include "files.h"
#include "json_out.h"
#include "progress.h"

/* ---------------------------------------------------------------------------------------------- options ------- */

typedef struct index_options {
    const char *out, *tiles;
    mfrgn_index_build build;
    mfrgn_tiles_options source;
    int polar;
    progress_bar bar;
    size_t skipped;
} index_options;

static const tool_option build_options[] = {
    {"tiles", 't', "SOURCE", "a CSV, a folder or an .mbtiles file (needed)"},
    {"output", 'o', "FILE", "the gallery (needed)"},
    {"storage", 0, "TYPE", "f32, f32+f16 (default), f32+i8; f16 or i8: smaller and approximate"},
    {"shard", 0, "I/N", "only part I of N, 1 .. N, to be joined by 'mfrgn index merge'"},
    {"resume", 0, NULL, "goes on with a build that was stopped"},
    {"kind", 0, "KIND", "of SOURCE: csv, names, xyz, mbtiles, folder (told by its look)"},
    {"zoom", 0, "Z", "of slippy maps and .mbtiles: this level (the deepest)"},
    {"tile-size", 0, "METRES", "cuts square tiles of this side out of larger pictures"},
    {"overlap", 0, "METRES", "of such tiles"},
    {"resolution", 0, "METRES", "of a pixel, where the source does not tell"},
    {"polar", 0, NULL, "the polar transformation of each tile, to the network's aerial size"},
    {NULL, 0, NULL, NULL},
};

/* The same without what the gallery decides. */
static const tool_option add_options[] = {
    {"tiles", 't', "SOURCE", "a CSV, a folder or an .mbtiles file (needed)"},
    {"output", 'o', "FILE", "the gallery that is extended (needed)"},
    {"resume", 0, NULL, "goes on with an addition that was stopped"},
    {"kind", 0, "KIND", "of SOURCE: csv, names, xyz, mbtiles, folder (told by its look)"},
    {"zoom", 0, "Z", "of slippy maps and .mbtiles: this level (the deepest)"},
    {"tile-size", 0, "METRES", "cuts square tiles of this side out of larger pictures"},
    {"overlap", 0, "METRES", "of such tiles"},
    {"resolution", 0, "METRES", "of a pixel, where the source does not tell"},
    {"polar", 0, NULL, "the polar transformation of each tile, to the network's aerial size"},
    {NULL, 0, NULL, NULL},
};

static const tool_option out_options[] = {
    {"output", 'o', "FILE", "what is written (needed)"},
    {NULL, 0, NULL, NULL},
};

static const char *const storages[] = {"f32", "f32+f16", "f32+i8", "f16", "i8"};
static const char *const kinds[] = {"auto", "csv", "names", "xyz", "mbtiles", "folder"};

/* The place of `text` in a list; a message and -1 otherwise. */
static int choose(const char *option, const char *text, const char *const *list, int count) {
    for (int i = 0; i < count; i++)
        if (!strcmp(list[i], text))
            return i;
    tool_usage("--%s: there is no '%s'", option, text);
    return -1;
}

static int metres(const char *option, const char *text, double *value) {
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    if (end == text || *end || errno || !(*value > 0 && *value < 1e7)) {
        tool_usage("--%s takes metres above 0, not '%s'", option, text);
        return 0;
    }
    return 1;
}

static int take_shard(index_options *o, const char *value) {
    const char *slash = strchr(value, '/');
    char first[16];
    long shard, shards;
    if (!slash || slash == value || (size_t)(slash - value) >= sizeof first)
        return tool_usage("--shard takes I/N, such as 1/4, not '%s'", value);
    memcpy(first, value, (size_t)(slash - value));
    first[slash - value] = 0;
    if (!tool_number("--shard", slash + 1, 1, 1000000, &shards) || !tool_number("--shard", first, 1, shards, &shard))
        return TOOL_USAGE;
    o->build.shard = (int)shard - 1;
    o->build.shards = (int)shards;
    return 0;
}

static int take(void *user, const char *name, const char *value) {
    index_options *o = user;
    int chosen;
    long number;
    if (!strcmp(name, "output"))
        o->out = value;
    else if (!strcmp(name, "tiles"))
        o->tiles = value;
    else if (!strcmp(name, "resume"))
        o->build.resume = 1;
    else if (!strcmp(name, "polar"))
        o->polar = 1;
    else if (!strcmp(name, "shard"))
        return take_shard(o, value);
    else if (!strcmp(name, "storage")) {
        if ((chosen = choose(name, value, storages, 5)) < 0)
            return TOOL_USAGE;
        o->build.storage = (mfrgn_index_storage)chosen;
    } else if (!strcmp(name, "kind")) {
        if ((chosen = choose(name, value, kinds, 6)) < 0)
            return TOOL_USAGE;
        o->source.kind = (mfrgn_tiles_kind)chosen;
    } else if (!strcmp(name, "zoom")) {
        if (!tool_number("--zoom", value, 0, 30, &number))
            return TOOL_USAGE;
        o->source.zoom = (int)number;
    } else if (!metres(name, value,
                       !strcmp(name, "tile-size") ? &o->source.tile_size_m
                       : !strcmp(name, "overlap") ? &o->source.overlap_m
                                                  : &o->source.metres_per_pixel))
        return TOOL_USAGE;
    return 0;
}

/* ---------------------------------------------------------------------------------------------- build, add ---- */

static int show(void *user, size_t done, size_t total) {
    progress_bar *bar = user;
    bar->total = total;
    progress_update(bar, done);
    return tool_stopped();
}

static void tell_skipped(void *user, const mfrgn_tile *tile, const char *why) {
    index_options *o = user;
    progress_clear(&o->bar);
    tool_error("%s: %s; skipped", tile->id, why);
    o->skipped++;
}

static int build_all(mfrgn_context *context, const tool_options *options, index_options *o, int add) {
    mfrgn_model *model = tool_model(context, options);
    mfrgn_session *session = model ? tool_session(context, model, options) : NULL;
    mfrgn_tiles *tiles = NULL;
    int code = TOOL_FAILED;
    mfrgn_status status = MFRGN_OK;
    if (o->polar)
        mfrgn_model_input_size(model, MFRGN_VIEW_AERIAL, &o->source.polar_width, &o->source.polar_height);
    if (session)
        status = mfrgn_tiles_open(context, o->tiles, &o->source, &tiles);
    if (status != MFRGN_OK)
        tool_failed(context, status, o->tiles);
    if (tiles) {
        mfrgn_progress progress = {sizeof progress, &o->bar, show};
        o->build.progress = &progress;
        o->build.skipped = tell_skipped;
        o->build.skipped_user = o;
        progress_begin(&o->bar, "tiles", mfrgn_tiles_count(tiles), !options->quiet);
        status = add ? mfrgn_index_add(session, tiles, o->out, &o->build)
                     : mfrgn_index_create(session, tiles, o->out, &o->build);
        progress_end(&o->bar);
        if (status != MFRGN_OK)
            tool_failed(context, status, o->out);
        else
            code = o->skipped ? TOOL_SKIPPED : TOOL_OK;
    }
    if (code == TOOL_SKIPPED)
        tool_error("%zu of %zu tiles were skipped", o->skipped, mfrgn_tiles_count(tiles));
    mfrgn_tiles_free(tiles);
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    return code;
}

static int run_build(const tool_command *command, int argc, char **argv) {
    tool_options options;
    int add = !strcmp(command->name, "index add");
    index_options o = {.build = {.struct_size = sizeof o.build, .storage = MFRGN_INDEX_F32_F16},
                       .source = {.struct_size = sizeof o.source, .zoom = -1}};
    int first, code = tool_parse(command, argc, argv, &options, take, &o, &first);
    if (code >= 0)
        return code;
    if (first != argc)
        return tool_usage("'%s' is not an option; tiles are given by --tiles", argv[first]);
    if (!o.tiles || !o.out)
        return tool_usage("%s is needed", o.tiles ? "--output" : "--tiles");
    code = tool_need_model(&options);
    if (code >= 0)
        return code;
    if (!options.batch)
        options.batch = "8";
    tool_catch_signals();
    mfrgn_context *context = tool_context(&options);
    code = context ? build_all(context, &options, &o, add) : TOOL_FAILED;
    mfrgn_context_free(context);
    return code;
}

/* ---------------------------------------------------------------------------------------------- the others ---- */

typedef struct index_work {
    const tool_options *options;
    index_options own;
    char **file; /* what follows the options */
    int files;
    int (*work)(mfrgn_context *context, struct index_work *job);
    int (*check)(const struct index_work *job); /* NULL, or -1 or TOOL_USAGE after a message */
} index_work;

static int run_job(const tool_command *command, int argc, char **argv, index_work *job, int needs_output, int least, int most) {
    tool_options options;
    int first, code = tool_parse(command, argc, argv, &options, take, &job->own, &first);
    if (code >= 0)
        return code;
    job->options = &options;
    job->file = argv + first;
    job->files = argc - first;
    if (job->files < least || job->files > most)
        return tool_usage(most == 1 ? "one gallery is needed" : "galleries are needed");
    if (needs_output && !job->own.out)
        return tool_usage("--output is needed");
    if (job->check && (code = job->check(job)) >= 0)
        return code;
    tool_catch_signals();
    mfrgn_context *context = tool_context(&options);
    code = context ? job->work(context, job) : TOOL_FAILED;
    mfrgn_context_free(context);
    return code;
}

static int merge(mfrgn_context *context, index_work *job) {
    mfrgn_status status =
        mfrgn_index_merge(context, (const char *const *)job->file, (size_t)job->files, job->own.out);
    return status == MFRGN_OK ? TOOL_OK : tool_failed(context, status, job->own.out);
}

static int run_merge(const tool_command *command, int argc, char **argv) {
    index_work job = {.work = merge};
    return run_job(command, argc, argv, &job, 1, 1, 1000000);
}

static void print_info(const mfrgn_index_info *info, size_t located) {
    printf("tiles        %s", tool_thousands(info->count));
    if (info->last - info->first < info->total)
        printf(" (a shard: tiles %zu .. %zu of a build of %s)", info->first, info->last - 1,
               tool_thousands(info->total));
    printf("\nlocated      %s\ndescriptors  %zu values as %s, %s\n", tool_thousands(located), info->size,
           storages[info->storage], info->exact ? "exact" : "approximate");
    printf("model        %s\npreparation  %s%s%s\n", info->model, *info->processing ? info->processing : "",
           *info->processing ? ", " : "", info->preparation);
    printf("calibrated   %s\nfile         %s\n", info->calibrated ? "yes" : "no", tool_bytes((double)info->bytes));
}

static void json_info(const char *path, const mfrgn_index_info *info, size_t located) {
    json_out json;
    json_begin(&json, stdout);
    json_object(&json, NULL);
    json_string(&json, "file", path);
    json_integer(&json, "tiles", info->count);
    json_integer(&json, "located", located);
    json_integer(&json, "size", info->size);
    json_string(&json, "storage", storages[info->storage]);
    json_bool(&json, "exact", info->exact);
    json_string(&json, "model", info->model);
    json_string(&json, "preparation", info->preparation);
    json_string(&json, "processing", info->processing);
    json_integer(&json, "first", info->first);
    json_integer(&json, "last", info->last);
    json_integer(&json, "total", info->total);
    json_bool(&json, "calibrated", info->calibrated);
    json_integer(&json, "bytes", info->bytes);
    json_close(&json);
    json_end(&json);
}

static int info(mfrgn_context *context, index_work *job) {
    mfrgn_index *index;
    mfrgn_index_info what = {.struct_size = sizeof what};
    size_t located = 0;
    mfrgn_status status = mfrgn_index_open(context, job->file[0], &index);
    if (status != MFRGN_OK)
        return tool_failed(context, status, job->file[0]);
    mfrgn_index_get_info(index, &what);
    for (size_t i = 0; i < what.count; i++) {
        mfrgn_tile tile = {.struct_size = sizeof tile};
        mfrgn_index_tile(index, i, &tile);
        located += tile.located != 0;
    }
    if (job->options->json)
        json_info(job->file[0], &what, located);
    else
        print_info(&what, located);
    mfrgn_index_free(index);
    return TOOL_OK;
}

static int run_info(const tool_command *command, int argc, char **argv) {
    index_work job = {.work = info};
    return run_job(command, argc, argv, &job, 0, 1, 1);
}

static int verify(mfrgn_context *context, index_work *job) {
    int code = TOOL_OK;
    for (int i = 0; i < job->files && !tool_stopped(); i++) {
        mfrgn_index *index = NULL;
        progress_bar bar;
        mfrgn_progress progress = {sizeof progress, &bar, show};
        mfrgn_status status = mfrgn_index_open(context, job->file[i], &index);
        progress_begin(&bar, "bytes", 2, !job->options->quiet);
        if (status == MFRGN_OK)
            status = mfrgn_index_verify(index, &progress);
        progress_end(&bar);
        if (status != MFRGN_OK)
            code = tool_failed(context, status, job->file[i]);
        else if (!job->options->quiet)
            printf("%s: whole\n", job->file[i]);
        mfrgn_index_free(index);
    }
    return code;
}

static int run_verify(const tool_command *command, int argc, char **argv) {
    index_work job = {.work = verify};
    return run_job(command, argc, argv, &job, 0, 1, 1000000);
}

static int export_index(mfrgn_context *context, index_work *job) {
    mfrgn_index *index;
    const char *out = job->own.out;
    int geojson = files_has_ending(out, ".geojson") || files_has_ending(out, ".json");
    char *stem = tool_format("%.*s", (int)(strlen(out) - (geojson ? 0 : 4)), out);
    mfrgn_status status = mfrgn_index_open(context, job->file[0], &index);
    if (status != MFRGN_OK || !stem) {
        free(stem);
        return tool_failed(context, status, job->file[0]);
    }
    status = mfrgn_index_export(index, geojson ? MFRGN_EXPORT_GEOJSON : MFRGN_EXPORT_NPY_CSV, stem);
    mfrgn_index_free(index);
    free(stem);
    return status == MFRGN_OK ? TOOL_OK : tool_failed(context, status, out);
}

static int export_name(const index_work *job) {
    const char *out = job->own.out;
    if (files_has_ending(out, ".npy") || files_has_ending(out, ".geojson") || files_has_ending(out, ".json"))
        return -1;
    return tool_usage("--output %s: the name must end in .npy or .geojson", out);
}

static int run_export(const tool_command *command, int argc, char **argv) {
    index_work job = {.work = export_index, .check = export_name};
    return run_job(command, argc, argv, &job, 1, 1, 1);
}

/* ---------------------------------------------------------------------------------------------- table --------- */

#define BUILD_SHARED (OPT_MODEL | OPT_NETWORK | OPT_SET | OPT_UNTRAINED | OPT_SESSION | OPT_QUIET)

static const tool_command parts[] = {
    {"index build", "embed tiles into a new gallery", "--model FILE --tiles SOURCE -o GALLERY [OPTIONS]",
     "Embeds every tile of SOURCE.  The gallery appears whole or not at all; what is embedded so far lies in\n"
     "GALLERY.partial, and --resume goes on from there.  Tiles that cannot be read are told on stderr and left out;\n"
     "the exit code is then 3.",
     "  mfrgn index build -m vigor.safetensors --tiles seattle/ -o seattle.mfi\n"
     "  mfrgn index build -m cvact.safetensors --tiles map.mbtiles --zoom 19 --storage f32+i8 -o map.mfi\n"
     "  mfrgn index build -m cvact.safetensors --tiles photos.csv --tile-size 60 --overlap 30 -o photos.mfi\n"
     "  mfrgn index build -m vigor.safetensors --tiles seattle/ --shard 2/4 -o part-2.mfi\n",
     BUILD_SHARED, build_options, run_build},
    {"index add", "add tiles to a gallery", "--model FILE --tiles SOURCE -o GALLERY [OPTIONS]",
     "Embeds the tiles of SOURCE behind those that GALLERY has; the model must be the one it was built with.  A tile\n"
     "whose id is there already is an error.  A calibration is dropped: it was of the smaller gallery.",
     "  mfrgn index add -m vigor.safetensors --tiles more/ -o seattle.mfi\n", BUILD_SHARED, add_options, run_build},
    {"index merge", "join galleries of one model", "-o GALLERY GALLERIES...",
     "Shards of one build give the bytes of a build in one piece, in whatever order they are named.  Other galleries of one\n"
     "model follow each other as they are named.",
     "  mfrgn index merge -o seattle.mfi part-1.mfi part-2.mfi part-3.mfi part-4.mfi\n", OPT_QUIET, out_options,
     run_merge},
    {"index info", "tell of a gallery", "GALLERY [--json]", "Tells of a gallery: tiles, storage, model, size.",
     "  mfrgn index info seattle.mfi\n", OPT_JSON | OPT_QUIET, NULL, run_info},
    {"index verify", "compare every checksum of a gallery", "GALLERIES...",
     "Reads every byte and compares the checksums.", "  mfrgn index verify seattle.mfi\n", OPT_QUIET, NULL, run_verify},
    {"index export", "write a gallery for other programs", "GALLERY -o OUT.npy | OUT.geojson",
     "OUT.npy: the descriptors, and OUT.csv, the tile of each row (for FAISS, pgvector, Qdrant).  OUT.geojson: the\n"
     "tiles' centres, for maps.",
     "  mfrgn index export seattle.mfi -o seattle.npy\n  mfrgn index export seattle.mfi -o seattle.geojson\n",
     OPT_QUIET, out_options, run_export},
};
enum { PARTS = sizeof parts / sizeof *parts };

static void print_parts(FILE *file) {
    fprintf(file, "Usage: mfrgn index PART [OPTIONS]\n\nGalleries of tiles on disk.\n\nParts:\n");
    for (int i = 0; i < PARTS; i++)
        fprintf(file, "  %-9s %s\n", parts[i].name + strlen("index "), parts[i].summary);
    fprintf(file, "  %-9s %s\n", "calibrate", command_index_calibrate.summary);
    fprintf(file, "\n'mfrgn index PART --help' tells more, with examples.\n");
}

static const tool_command *find_part(const char *name) {
    if (!strcmp(name, "calibrate"))
        return &command_index_calibrate; /* calibrate.c */
    for (int i = 0; i < PARTS; i++)
        if (!strcmp(name, parts[i].name + strlen("index ")))
            return &parts[i];
    return NULL;
}

static int run(const tool_command *command, int argc, char **argv) {
    (void)command;
    if (argc < 2) {
        print_parts(stderr);
        return TOOL_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_parts(stdout);
        return TOOL_OK;
    }
    const tool_command *part = find_part(argv[1]);
    if (!part)
        return tool_usage("there is no 'index %s'", argv[1]);
    tool_set_name(part->name);
    return part->run(part, argc - 1, argv + 1);
}

const tool_command command_index = {
    "index",
    "build, extend, join, calibrate and export galleries of tiles",
    "build|add|merge|info|verify|export|calibrate [OPTIONS]",
    "Galleries of tiles on disk.  'mfrgn index PART --help' tells of each part.",
    "  mfrgn index build -m vigor.safetensors --tiles seattle/ -o seattle.mfi\n"
    "  mfrgn index info seattle.mfi\n",
    0,
    NULL,
    run,
};
