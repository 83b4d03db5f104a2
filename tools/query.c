/* SPDX-License-Identifier: Apache-2.0 */
#include "query.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void query_begin(query_options *q) {
    memset(q, 0, sizeof *q);
    q->k = 5;
    q->yaw = 1;
    q->camera.struct_size = sizeof q->camera;
}

int query_number(const char *option, const char *text, double minimum, double maximum, double *value) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !(number >= minimum && number <= maximum)) {
        tool_usage("%s takes a number from %g to %g, not '%s'", option, minimum, maximum, text);
        return 0;
    }
    *value = number;
    return 1;
}

/* Exactly n numbers with commas between them. */
static int take_list(const char *text, int n, double *v) {
    for (int i = 0; i < n; i++) {
        char *end;
        v[i] = strtod(text, &end);
        if (end == text || *end != (i < n - 1 ? ',' : 0) || !isfinite(v[i]))
            return 0;
        text = end + 1;
    }
    return 1;
}

static int take_intrinsics(query_options *q, const char *text) {
    double v[4];
    if (!take_list(text, 4, v) || !(v[0] > 0 && v[1] > 0 && v[0] < 1e9 && v[1] < 1e9))
        return tool_usage("--intrinsics takes FX,FY,CX,CY (pixels; FX and FY above 0), not '%s'", text);
    q->has_intrinsics = 1;
    q->camera.fx = v[0];
    q->camera.fy = v[1];
    q->camera.cx = v[2];
    q->camera.cy = v[3];
    return 0;
}

static int take_prior(query_options *q, const char *text) {
    double v[3];
    if (!take_list(text, 3, v))
        return tool_usage("--prior takes LAT,LON,RADIUS (degrees, degrees, metres), not '%s'", text);
    if (!(fabs(v[0]) <= 90))
        return tool_usage("--prior: the latitude is %g; it must be within -90 .. 90", v[0]);
    if (!(fabs(v[1]) <= 180))
        return tool_usage("--prior: the longitude is %g; it must be within -180 .. 180", v[1]);
    if (!(v[2] > 0))
        return tool_usage("--prior: the radius is %g m; it must be more than 0", v[2]);
    q->prior = 1;
    q->latitude = v[0];
    q->longitude = v[1];
    q->radius = v[2];
    return 0;
}

int query_take(query_options *q, const char *name, const char *value) {
    if (!strcmp(name, "index")) {
        q->index = value;
        return 0;
    }
    if (!strcmp(name, "k"))
        return tool_number("-k", value, 1, 1024, &q->k) ? 0 : TOOL_USAGE;
    if (!strcmp(name, "yaw"))
        return tool_number("--yaw", value, 1, 360, &q->yaw) ? 0 : TOOL_USAGE;
    if (!strcmp(name, "prior"))
        return take_prior(q, value);
    if (!strcmp(name, "fov")) {
        q->has_fov = 1;
        return query_number("--fov", value, 1, 179, &q->camera.fov) ? 0 : TOOL_USAGE;
    }
    if (!strcmp(name, "intrinsics"))
        return take_intrinsics(q, value);
    if (!strcmp(name, "no-verify")) {
        q->unverified = 1;
        return 0;
    }
    if (!strcmp(name, "pitch")) {
        q->has_pose = 1;
        return query_number("--pitch", value, -90, 90, &q->camera.pitch) ? 0 : TOOL_USAGE;
    }
    if (!strcmp(name, "roll")) {
        q->has_pose = 1;
        return query_number("--roll", value, -180, 180, &q->camera.roll) ? 0 : TOOL_USAGE;
    }
    return -1;
}

int query_check(const query_options *q, const tool_options *options) {
    if (!q->index)
        return tool_usage("--index FILE is needed: a gallery");
    if (q->has_fov && q->has_intrinsics)
        return tool_usage("--fov and --intrinsics exclude each other");
    if (q->has_pose && !q->has_fov && !q->has_intrinsics)
        return tool_usage("--pitch and --roll go with --fov or --intrinsics");
    int code = tool_need_model(options);
    if (code >= 0 || options->quiet)
        return code;
    if (q->has_fov)
        fprintf(stderr, "mfrgn %s: a field of view of %g degrees is outside what the paper trained (whole panoramas)\n",
                tool_name(), q->camera.fov);
    if (q->has_intrinsics)
        fprintf(stderr, "mfrgn %s: a pinhole camera is outside what the paper trained (whole panoramas)\n", tool_name());
    return code;
}

mfrgn_index *query_open(mfrgn_context *context, const query_options *q) {
    mfrgn_index *index = NULL;
    mfrgn_progress stop = {sizeof stop, NULL, tool_progress_stop};
    mfrgn_status status = mfrgn_index_open(context, q->index, &index);
    if (status == MFRGN_OK && !q->unverified)
        status = mfrgn_index_verify(index, &stop);
    if (status == MFRGN_OK)
        return index;
    tool_failed(context, status, "");
    mfrgn_index_free(index);
    return NULL;
}

mfrgn_locate_options query_locate(const query_options *q, const tool_options *options) {
    mfrgn_locate_options o = {.struct_size = sizeof o, .k = (size_t)q->k, .yaw_steps = (int)q->yaw};
    if (q->prior) {
        o.latitude = q->latitude;
        o.longitude = q->longitude;
        o.radius_m = q->radius;
    }
    if (q->has_fov || q->has_intrinsics)
        o.camera = &q->camera;
    o.precrop = options->precrop;
    return o;
}

mfrgn_bitmap *query_picture(mfrgn_context *context, const char *path) {
    mfrgn_bitmap *bitmap = NULL;
    if (mfrgn_bitmap_load(context, path, &bitmap) == MFRGN_OK)
        return bitmap;
    const char *why = mfrgn_context_last_error(context);
    if (strstr(why, path))
        tool_error("%s: skipped", why);
    else
        tool_error("%s: %s: skipped", path, why);
    return NULL;
}

/* ---- answers ---- */

void query_metres(double latitude0, double longitude0, double latitude, double longitude, double *east, double *north) {
    const double radian = 0.017453292519943295769, a = 6378137.0, e2 = 0.0066943799901413165;
    double s = sin(latitude0 * radian), w = 1 - e2 * s * s;
    *east = remainder(longitude - longitude0, 360) * radian * a / sqrt(w) * cos(latitude0 * radian);
    *north = (latitude - latitude0) * radian * a * (1 - e2) / (w * sqrt(w));
}

int query_is_true(const query_answer *answer, const mfrgn_tile *tile) {
    double east, north;
    if (!answer->has_truth || !tile->located)
        return -1;
    query_metres(tile->latitude, tile->longitude, answer->latitude, answer->longitude, &east, &north);
    if (tile->width_m > 0 && tile->height_m > 0)
        return fabs(east) <= tile->width_m / 2 && fabs(north) <= tile->height_m / 2;
    return hypot(east, north) <= 25;
}

mfrgn_tile query_tile(const mfrgn_index *index, size_t tile) {
    mfrgn_tile t;
    memset(&t, 0, sizeof t);
    t.struct_size = sizeof t;
    if (mfrgn_index_tile(index, tile, &t) != MFRGN_OK || !t.id)
        t.id = t.path = "?";
    return t;
}

const char *query_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

size_t query_common(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b), parts = 0;
    while (n && m && a[n - 1] == b[m - 1]) {
        n--;
        m--;
        parts += a[n] == '/';
    }
    int whole_a = !n || a[n - 1] == '/', whole_b = !m || b[m - 1] == '/';
    return parts + (whole_a && whole_b && a[n] != '/');
}
