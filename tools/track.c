/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn track: pictures with odometry in, a track out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "csv_in.h"
#include "json_out.h"
#include "progress.h"
#include "query.h"

typedef struct track_options {
    query_options query;
    int geojson, has_heading;
    double heading, heading_error;
} track_options;

static const tool_option own_options[] = {
    QUERY_INDEX,
    QUERY_YAW,
    {"prior", 0, "LAT,LON,RADIUS", "the start: a position and its standard deviation in metres"},
    {"heading", 0, "DEG[,ERROR]", "the start's heading and its standard deviation (10)"},
    QUERY_CAMERA,
    QUERY_VERIFY,
    {"geojson", 0, NULL, "print GeoJSON"},
    {NULL, 0, NULL, NULL},
};

typedef struct track_point {
    const char *path;
    mfrgn_estimate estimate;
    int has_truth;
    double latitude, longitude;
} track_point;

typedef struct track_work {
    mfrgn_context *context;
    mfrgn_session *session;
    mfrgn_index *index;
    mfrgn_tracker *tracker;
    const tool_options *options;
    const track_options *track;
    csv_in csv;
    int path, distance, turn, latitude, longitude;
    track_point *point;
    size_t points, skipped;
} track_work;

static int take_heading(track_options *t, const char *text) {
    char *end;
    t->has_heading = 1;
    t->heading_error = 10;
    t->heading = strtod(text, &end);
    if (end != text && *end == ',') {
        text = end + 1;
        t->heading_error = strtod(text, &end);
    }
    if (end == text || *end || !(fabs(t->heading) <= 360) || !(t->heading_error > 0 && t->heading_error <= 180))
        return tool_usage("--heading takes degrees, and after a comma their standard deviation, not '%s'", text);
    return 0;
}

static int take(void *user, const char *name, const char *value) {
    track_options *t = user;
    int code = query_take(&t->query, name, value);
    if (code >= 0)
        return code;
    if (!strcmp(name, "heading"))
        return take_heading(t, value);
    t->geojson = 1;
    return 0;
}

static int read_csv(track_work *w, const char *path) {
    if (!csv_in_read(&w->csv, path))
        return 0;
    w->path = csv_in_column(&w->csv, "path|image|file|ground");
    w->distance = csv_in_column(&w->csv, "distance_m|distance");
    w->turn = csv_in_column(&w->csv, "turn_deg|turn");
    w->latitude = csv_in_column(&w->csv, "latitude|lat");
    w->longitude = csv_in_column(&w->csv, "longitude|lon|lng|long");
    if (w->path < 0 || w->distance < 0 || w->turn < 0) {
        tool_error("%s: the first line must name the columns path, distance_m and turn_deg", path);
        return 0;
    }
    w->point = calloc(w->csv.rows, sizeof *w->point);
    if (!w->point)
        tool_error("not enough memory");
    return w->point != NULL;
}

/* Paths are taken from the CSV's folder. */
static int see(track_work *w, const char *name) {
    const char *slash = strrchr(w->csv.path, '/');
    char *path = tool_format("%.*s%s", slash && *name != '/' ? (int)(slash - w->csv.path) + 1 : 0, w->csv.path, name);
    mfrgn_locate_options o = query_locate(&w->track->query, w->options);
    mfrgn_bitmap *bitmap = path ? query_picture(w->context, path) : NULL;
    mfrgn_image image = {.struct_size = sizeof image};
    mfrgn_status status = MFRGN_OK;
    o.radius_m = 0; /* the prior is the start's */
    if (bitmap) {
        mfrgn_bitmap_image(bitmap, &image);
        status = mfrgn_tracker_update_image(w->tracker, w->session, &image, &o);
        if (status != MFRGN_OK)
            tool_failed(w->context, status, path);
    } else {
        w->skipped++;
    }
    mfrgn_bitmap_free(bitmap);
    free(path);
    return status == MFRGN_OK;
}

static int step(track_work *w, size_t row) {
    track_point *p = &w->point[w->points];
    mfrgn_motion motion = {.struct_size = sizeof motion};
    const char *name = csv_in_field(&w->csv, row, w->path);
    if ((*csv_in_field(&w->csv, row, w->distance) &&
         !csv_in_number(&w->csv, row, w->distance, -1e5, 1e5, &motion.distance_m)) ||
        (*csv_in_field(&w->csv, row, w->turn) && !csv_in_number(&w->csv, row, w->turn, -3600, 3600, &motion.turn)))
        return 0;
    if (*csv_in_field(&w->csv, row, w->latitude)) {
        p->has_truth = 1;
        if (!csv_in_number(&w->csv, row, w->latitude, -90, 90, &p->latitude) || w->longitude < 0 ||
            !csv_in_number(&w->csv, row, w->longitude, -180, 180, &p->longitude))
            return 0;
    }
    mfrgn_status status =
        motion.distance_m != 0 || motion.turn != 0 ? mfrgn_tracker_move(w->tracker, &motion) : MFRGN_OK;
    if (status == MFRGN_OK && *name && !see(w, name))
        return 0;
    p->path = name;
    p->estimate.struct_size = sizeof p->estimate;
    if (status == MFRGN_OK)
        status = mfrgn_tracker_estimate(w->tracker, &p->estimate);
    if (status != MFRGN_OK)
        tool_failed(w->context, status, "");
    w->points++;
    return status == MFRGN_OK;
}

/* ---- output ---- */

static double error_of(const track_point *p) {
    return mfrgn_distance_m(p->estimate.latitude, p->estimate.longitude, p->latitude, p->longitude);
}

static void print_table(const track_work *w) {
    printf("%5s  %11s  %12s  %7s  %7s  %7s  %s\n", "step", "latitude", "longitude", "+- m", "heading", "error",
           "picture");
    for (size_t i = 0; i < w->points; i++) {
        const track_point *p = &w->point[i];
        const mfrgn_estimate *e = &p->estimate;
        char heading[16] = "-", error[16] = "-";
        if (e->has_heading)
            snprintf(heading, sizeof heading, "%.0f", e->heading);
        if (p->has_truth)
            snprintf(error, sizeof error, "%.0f", error_of(p));
        printf("%5zu  %11.7f  %12.7f  %7.0f  %7s  %7s  %s\n", i + 1, e->latitude, e->longitude,
               sqrt(e->east_m2 + e->north_m2), heading, error, p->path);
    }
}

static void json_values(json_out *json, const track_point *p, size_t i) {
    const mfrgn_estimate *e = &p->estimate;
    json_integer(json, "step", i + 1);
    json_string(json, "file", *p->path ? p->path : NULL);
    json_number(json, "east_m2", e->east_m2, 8);
    json_number(json, "north_m2", e->north_m2, 8);
    json_number(json, "east_north_m2", e->east_north_m2, 8);
    json_number(json, "heading", e->has_heading ? e->heading : NAN, 6);
    if (p->has_truth)
        json_number(json, "error_m", error_of(p), 8);
}

static void print_json(const track_work *w) {
    json_out json;
    json_begin(&json, stdout);
    json_array(&json, NULL);
    for (size_t i = 0; i < w->points; i++) {
        json_object(&json, NULL);
        json_number(&json, "latitude", w->point[i].estimate.latitude, 12);
        json_number(&json, "longitude", w->point[i].estimate.longitude, 12);
        json_values(&json, &w->point[i], i);
        json_close(&json);
    }
    json_close(&json);
    json_end(&json);
}

static void json_position(json_out *json, const mfrgn_estimate *e) {
    json_number(json, NULL, e->longitude, 12);
    json_number(json, NULL, e->latitude, 12);
}

static void print_geojson(const track_work *w) {
    json_out json;
    json_begin(&json, stdout);
    json_object(&json, NULL);
    json_string(&json, "type", "FeatureCollection");
    json_array(&json, "features");
    for (size_t i = 0; i <= w->points; i++) { /* the track as a line, then its points */
        if (!i && w->points < 2)
            continue;
        json_object(&json, NULL);
        json_string(&json, "type", "Feature");
        json_object(&json, "geometry");
        json_string(&json, "type", i ? "Point" : "LineString");
        json_array(&json, "coordinates");
        if (i)
            json_position(&json, &w->point[i - 1].estimate);
        for (size_t k = 0; !i && k < w->points; k++) {
            json_array(&json, NULL);
            json_position(&json, &w->point[k].estimate);
            json_close(&json);
        }
        json_close(&json);
        json_close(&json);
        json_object(&json, "properties");
        if (i)
            json_values(&json, &w->point[i - 1], i - 1);
        json_close(&json);
        json_close(&json);
    }
    json_close(&json);
    json_close(&json);
    json_end(&json);
}

/* ---- run ---- */

static int open_all(track_work *w, mfrgn_model **model) {
    const query_options *q = &w->track->query;
    mfrgn_tracker_options o = {.struct_size = sizeof o};
    if (q->prior)
        o.latitude = q->latitude, o.longitude = q->longitude, o.radius_m = q->radius;
    if (w->track->has_heading)
        o.heading = w->track->heading, o.heading_error = w->track->heading_error;
    w->index = query_open(w->context, q);
    mfrgn_status status = w->index ? mfrgn_tracker_create(w->index, &o, &w->tracker) : MFRGN_OK;
    if (!w->index)
        return 0;
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

static int track_all(track_work *w) {
    mfrgn_progress stop = {sizeof stop, NULL, tool_progress_stop};
    progress_bar bar;
    int good = 1;
    mfrgn_session_set_progress(w->session, &stop);
    progress_begin(&bar, "steps", w->csv.rows - 1, !w->options->quiet);
    for (size_t row = 1; good && row < w->csv.rows; row++) {
        good = step(w, row) && !tool_stopped();
        progress_update(&bar, row);
    }
    progress_end(&bar);
    return good;
}

static int work_on(track_work *w, const char *path) {
    mfrgn_model *model = NULL;
    int code = TOOL_FAILED;
    if (read_csv(w, path) && open_all(w, &model) && track_all(w)) {
        if (w->track->geojson)
            print_geojson(w);
        else if (w->options->json)
            print_json(w);
        else
            print_table(w);
        code = w->skipped ? TOOL_SKIPPED : TOOL_OK;
    }
    free(w->point);
    mfrgn_tracker_free(w->tracker);
    mfrgn_session_free(w->session);
    mfrgn_model_free(model);
    mfrgn_index_free(w->index);
    csv_in_free(&w->csv);
    return code;
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    track_options track;
    int first;
    memset(&track, 0, sizeof track);
    query_begin(&track.query);
    int code = tool_parse(command, argc, argv, &options, take, &track, &first);
    if (code >= 0)
        return code;
    if (argc - first != 1)
        return tool_usage("one CSV of pictures and motions is needed");
    if (track.geojson && options.json)
        return tool_usage("--json and --geojson exclude each other");
    code = query_check(&track.query, &options);
    if (code >= 0)
        return code;
    tool_catch_signals();
    track_work work = {.context = tool_context(&options), .options = &options, .track = &track};
    code = work.context ? work_on(&work, argv[first]) : TOOL_FAILED;
    mfrgn_context_free(work.context);
    return code;
}

const tool_command command_track = {
    "track",
    "follow a moving camera over a gallery",
    "--model FILE --index FILE [OPTIONS] STEPS.csv",
    "Reads a CSV with a line a step: path (a picture, or empty), distance_m and turn_deg (how far the camera has gone "
    "and\n"
    "turned clockwise since the line before: first the turn), and if known latitude and longitude, for the error.  "
    "Paths\n"
    "are relative to the CSV's folder.  The track is that of a histogram filter over the gallery's tiles.",
    "  mfrgn track --model vigor.pth --index town.mfg drive.csv\n"
    "  mfrgn track -m vigor.pth -i town.mfg --prior 51.51,-0.09,200 --heading 90,15 --geojson drive.csv > track.json\n",
    OPT_MODEL | OPT_NETWORK | OPT_SET | OPT_UNTRAINED | OPT_SESSION | OPT_PRECROP | OPT_JSON | OPT_QUIET,
    own_options,
    run,
};
