/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn locate: pictures in, places out. */
#include <stdlib.h>
#include <string.h>

#include "csv_in.h"
#include "files.h"
#include "out.h"
#include "progress.h"
#include "query.h"

enum { POOL = 128 }; /* candidates that a report shows as a heat map */

typedef struct locate_options {
    query_options query;
    query_format format;
    int formats; /* how many were given */
    const char *mosaic, *report, *truth, *tiles, *output;
    mfrgn_tiles_options source; /* of tiles */
} locate_options;

static const tool_option own_options[] = {
    QUERY_INDEX,
    {"k", 'k', "N", "candidates of an answer (5)"},
    QUERY_YAW,
    QUERY_PRIOR,
    QUERY_CAMERA,
    QUERY_VERIFY,
    {"geojson", 0, NULL, "print GeoJSON"},
    {"kml", 0, NULL, "print KML"},
    {"csv", 0, NULL, "print CSV, a line a candidate"},
    {"output", 'o', "FILE", "write the answers there instead of stdout"},
    {"truth", 0, "FILE.csv", "where pictures were taken: path (or ground), latitude, longitude"},
    {"mosaic", 0, "FILE.png", "a picture of the queries and their best tiles"},
    {"report", 0, "FILE.html", "a report with pictures and plots, in one file"},
    {"tiles", 0, "SOURCE", "where tiles' pictures are, if their paths are no files (MBTiles, cut tiles)"},
    {"zoom", 0, "Z", "with --tiles, as for index build; also the next three"},
    {"tile-size", 0, "METRES", "of cut tiles"},
    {"overlap", 0, "METRES", "of cut tiles"},
    {"resolution", 0, "METRES", "of a pixel"},
    {NULL, 0, NULL, NULL},
};

typedef struct locate_work {
    mfrgn_context *context;
    mfrgn_session *session;
    mfrgn_index *index;
    mfrgn_tiles *tiles;
    const tool_options *options;
    const locate_options *locate;
    query_answer *answer;
    size_t answers, skipped;
    csv_in truth;
    int truth_path, truth_latitude, truth_longitude;
} locate_work;

static int take(void *user, const char *name, const char *value) {
    locate_options *l = user;
    const struct {
        const char *name;
        const char **text;
    } texts[] = {{"mosaic", &l->mosaic},
                 {"report", &l->report},
                 {"truth", &l->truth},
                 {"tiles", &l->tiles},
                 {"output", &l->output}};
    static const struct {
        const char *name;
        query_format format;
    } formats[] = {{"geojson", QUERY_GEOJSON}, {"kml", QUERY_KML}, {"csv", QUERY_CSV}};
    int code = query_take(&l->query, name, value);
    if (code >= 0)
        return code;
    struct {
        const char *name;
        double *value;
    } metres[] = {{"--tile-size", &l->source.tile_size_m},
                  {"--overlap", &l->source.overlap_m},
                  {"--resolution", &l->source.metres_per_pixel}};
    for (size_t i = 0; i < sizeof metres / sizeof *metres; i++)
        if (!strcmp(name, metres[i].name + 2))
            return query_number(metres[i].name, value, 1e-6, 1e6, metres[i].value) ? 0 : TOOL_USAGE;
    if (!strcmp(name, "zoom")) {
        long zoom = 0;
        if (!tool_number("--zoom", value, 0, 30, &zoom))
            return TOOL_USAGE;
        l->source.zoom = (int)zoom;
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(name, texts[i].name))
            *texts[i].text = value;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(name, formats[i].name)) {
            l->format = formats[i].format;
            l->formats++;
        }
    return 0;
}

/* ---- the truth ---- */

static int read_truth(locate_work *w) {
    if (!w->locate->truth)
        return 1;
    if (!csv_in_read(&w->truth, w->locate->truth))
        return 0;
    w->truth_path = csv_in_column(&w->truth, "path|file|image|ground|query");
    w->truth_latitude = csv_in_column(&w->truth, "latitude|lat");
    w->truth_longitude = csv_in_column(&w->truth, "longitude|lon|lng|long");
    if (w->truth_path >= 0 && w->truth_latitude >= 0 && w->truth_longitude >= 0)
        return 1;
    tool_error("%s: the first line must name the columns path (or ground), latitude and longitude", w->locate->truth);
    return 0;
}

/* The line whose path has the most parts in common with the picture's. 0 after a message. */
static int find_truth(const locate_work *w, query_answer *a) {
    size_t most = 0, found = 0;
    for (size_t row = 1; row < w->truth.rows; row++) {
        size_t common = query_common(csv_in_field(&w->truth, row, w->truth_path), a->path);
        if (common <= most)
            continue;
        most = common;
        found = row;
    }
    if (!found)
        return 1;
    a->has_truth = 1;
    return csv_in_number(&w->truth, found, w->truth_latitude, -90, 90, &a->latitude) &&
           csv_in_number(&w->truth, found, w->truth_longitude, -180, 180, &a->longitude);
}

/* ---- one after the other ---- */

static mfrgn_status keep(query_answer *a, const mfrgn_location *location, size_t shown) {
    a->estimate.struct_size = sizeof a->estimate;
    mfrgn_status status = mfrgn_location_get(location, 0, &a->estimate);
    a->count = a->estimate.candidates;
    a->shown = a->count < shown ? a->count : shown;
    a->candidate = calloc(a->count + 1, sizeof *a->candidate);
    if (!a->candidate)
        return MFRGN_ERROR_MEMORY;
    for (size_t i = 0; status == MFRGN_OK && i < a->count; i++) {
        a->candidate[i].struct_size = sizeof a->candidate[i];
        status = mfrgn_location_candidate(location, 0, i, &a->candidate[i]);
    }
    return status;
}

static int locate_one(locate_work *w, const char *path) {
    mfrgn_locate_options o = query_locate(&w->locate->query, w->options);
    mfrgn_bitmap *bitmap = query_picture(w->context, path);
    mfrgn_image image = {.struct_size = sizeof image};
    mfrgn_location *location = NULL;
    query_answer *a = &w->answer[w->answers];
    if (!bitmap) {
        w->skipped++;
        return 1;
    }
    if (w->locate->report && o.k < POOL)
        o.k = POOL;
    mfrgn_bitmap_image(bitmap, &image);
    memset(a, 0, sizeof *a);
    a->path = path;
    mfrgn_status status = mfrgn_locate(w->index, w->session, &image, 1, &o, &location);
    if (status == MFRGN_OK)
        status = keep(a, location, (size_t)w->locate->query.k);
    mfrgn_location_free(location);
    mfrgn_bitmap_free(bitmap);
    w->answers++;
    if (status != MFRGN_OK)
        tool_failed(w->context, status, path);
    return status == MFRGN_OK && find_truth(w, a);
}

static int locate_all(locate_work *w, const file_list *files) {
    progress_bar bar;
    mfrgn_progress stop = {sizeof stop, NULL, tool_progress_stop};
    int good = 1;
    w->answer = calloc(files->count, sizeof *w->answer);
    if (!w->answer) {
        tool_error("not enough memory");
        return 0;
    }
    mfrgn_session_set_progress(w->session, &stop);
    progress_begin(&bar, "pictures", files->count, !w->options->quiet);
    for (size_t i = 0; good && i < files->count; i++) {
        good = locate_one(w, files->path[i]) && !tool_stopped();
        progress_update(&bar, i + 1);
    }
    progress_end(&bar);
    if (good && !w->answers) {
        tool_error("no picture could be read");
        good = 0;
    }
    return good;
}

/* ---- what comes out ---- */

static int write_mosaic(const locate_work *w, const query_pictures *p) {
    size_t size;
    out_file file;
    unsigned char *png = mosaic_make(p, w->answer, w->answers, 1, &size);
    if (!png || !out_open(&file, w->locate->mosaic)) {
        free(png);
        return 0;
    }
    fwrite(png, 1, size, file.file);
    free(png);
    return out_commit(&file);
}

static int write_report(const locate_work *w, const query_pictures *p) {
    out_file file;
    if (!out_open(&file, w->locate->report))
        return 0;
    if (!report_write(file.file, p, w->answer, w->answers)) {
        out_discard(&file);
        return 0;
    }
    return out_commit(&file);
}

static int write_all(const locate_work *w) {
    query_pictures p = {w->context, w->index, w->locate->query.index, w->tiles, w->options->model};
    query_format format = w->options->json ? QUERY_JSON : w->locate->format;
    if (w->locate->output) {
        out_file file;
        if (!out_open(&file, w->locate->output))
            return 0;
        query_print(file.file, format, w->index, w->answer, w->answers);
        if (!out_commit(&file))
            return 0;
    } else {
        query_print(stdout, format, w->index, w->answer, w->answers);
    }
    return (!w->locate->mosaic || write_mosaic(w, &p)) && (!w->locate->report || write_report(w, &p));
}

/* ---- run ---- */

static int open_all(locate_work *w, mfrgn_model **model) {
    mfrgn_status status = MFRGN_OK;
    w->index = query_open(w->context, &w->locate->query);
    if (!w->index)
        return 0;
    if (w->locate->tiles)
        status = mfrgn_tiles_open(w->context, w->locate->tiles, &w->locate->source, &w->tiles);
    if (status != MFRGN_OK) {
        tool_failed(w->context, status, "");
        return 0;
    }
    *model = tool_model(w->context, w->options);
    w->session = *model ? tool_session(w->context, *model, w->options) : NULL;
    status = w->session ? mfrgn_index_check_model(w->index, w->session) : MFRGN_OK;
    if (status != MFRGN_OK)
        tool_failed(w->context, status, "");
    return w->session && status == MFRGN_OK;
}

static int work_on(locate_work *w, const file_list *files) {
    mfrgn_model *model = NULL;
    int code = TOOL_FAILED;
    if (read_truth(w) && open_all(w, &model) && locate_all(w, files) && write_all(w))
        code = w->skipped || files->unreadable ? TOOL_SKIPPED : TOOL_OK;
    if (code == TOOL_SKIPPED)
        tool_error("%zu of %zu inputs were skipped", w->skipped + files->unreadable, files->count + files->unreadable);
    for (size_t i = 0; i < w->answers; i++)
        free(w->answer[i].candidate);
    free(w->answer);
    csv_in_free(&w->truth);
    mfrgn_tiles_free(w->tiles);
    mfrgn_session_free(w->session);
    mfrgn_model_free(model);
    mfrgn_index_free(w->index);
    return code;
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    locate_options locate;
    int first;
    memset(&locate, 0, sizeof locate);
    locate.source.struct_size = sizeof locate.source;
    locate.source.zoom = -1;
    query_begin(&locate.query);
    int code = tool_parse(command, argc, argv, &options, take, &locate, &first);
    if (code >= 0)
        return code;
    if (first == argc)
        return tool_usage("no picture is given");
    if (locate.formats + options.json > 1)
        return tool_usage("--json, --geojson, --kml and --csv exclude each other");
    code = query_check(&locate.query, &options);
    if (code >= 0)
        return code;
    file_list files = {0};
    for (int i = first; i < argc; i++)
        if (!files_add(&files, argv[i])) {
            files_free(&files);
            return TOOL_FAILED;
        }
    tool_catch_signals();
    locate_work work = {.context = tool_context(&options), .options = &options, .locate = &locate};
    code = work.context ? work_on(&work, &files) : TOOL_FAILED;
    mfrgn_context_free(work.context);
    files_free(&files);
    return code;
}

const tool_command command_locate = {
    "locate",
    "tell where photographs were taken",
    "--model FILE --index FILE [OPTIONS] PICTURES...",
    "Searches a gallery for the place of each picture (files, or folders with all the pictures below them): the\n"
    "position with its standard deviation, the best tiles, their probabilities, and how probable it is that the place\n"
    "is in the gallery at all.  Probabilities hold once the gallery is calibrated ('mfrgn index calibrate').  A "
    "picture\n"
    "that cannot be read is told on stderr and left out; the exit code is then 3.",
    "  mfrgn locate --model vigor.pth --index london.mfg street.jpg\n"
    "  mfrgn locate -m cvusa.safetensors -i town.mfg --yaw 16 --prior 51.51,-0.09,2000 --geojson photos/ > "
    "answers.json\n"
    "  mfrgn locate -m vigor.pth -i london.mfg --truth pairs.csv --report report.html --mosaic all.png photos/\n"
    "  mfrgn locate -m vigor.pth -i london.mfg --fov 70 --pitch 5 --yaw 24 phone.jpg\n"
    "  mfrgn locate -m vigor.pth -i london.mfg --intrinsics 1050,1050,960,540 --yaw 24 phone.jpg\n",
    OPT_MODEL | OPT_NETWORK | OPT_SET | OPT_UNTRAINED | OPT_SESSION | OPT_PRECROP | OPT_JSON | OPT_QUIET,
    own_options,
    run,
};
