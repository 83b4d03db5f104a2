/* SPDX-License-Identifier: Apache-2.0 */
/* Answers as a table, JSON, GeoJSON, KML, CSV. */
#include <math.h>
#include <string.h>

#include "json_out.h"
#include "query.h"

static void print_estimate(FILE *file, const query_answer *a) {
    const mfrgn_estimate *e = &a->estimate;
    fprintf(file, "%s\n", a->path);
    if (!e->located) {
        fprintf(file, "  no position: %s\n", e->candidates ? "its candidates have no coordinates" : "no tile is there");
        return;
    }
    fprintf(file, "  %.7f, %.7f   +- %.0f m east, %.0f m north", e->latitude, e->longitude, sqrt(e->east_m2),
            sqrt(e->north_m2));
    if (e->has_heading)
        fprintf(file, "   heading %.0f", e->heading);
    if (a->has_truth)
        fprintf(file, "   error %.0f m", mfrgn_distance_m(e->latitude, e->longitude, a->latitude, a->longitude));
    fputc('\n', file);
    if (isnan(e->in_gallery))
        fprintf(file, "  whether the place is in the gallery is not known: the gallery is not calibrated for this\n");
    else
        fprintf(file, "  in the gallery: %.0f %%\n", 100 * e->in_gallery);
}

static void print_table(FILE *file, const mfrgn_index *index, const query_answer *a) {
    print_estimate(file, a);
    if (a->shown)
        fprintf(file, "  %4s  %7s  %11s  %11s  %12s  %s\n", "rank", "score", "probability", "latitude", "longitude",
                "tile");
    for (size_t i = 0; i < a->shown; i++) {
        mfrgn_tile t = query_tile(index, a->candidate[i].tile);
        fprintf(file, "  %4zu  %7.4f  %9.1f %%  ", i + 1, (double)a->candidate[i].score,
                100 * a->candidate[i].probability);
        if (t.located)
            fprintf(file, "%11.7f  %12.7f  ", t.latitude, t.longitude);
        else
            fprintf(file, "%11s  %12s  ", "-", "-");
        fprintf(file, "%s%s\n", t.id, query_is_true(a, &t) == 1 ? "  (true)" : "");
    }
}

/* ---- JSON ---- */

static void json_estimate(json_out *json, const query_answer *a) {
    const mfrgn_estimate *e = &a->estimate;
    json_bool(json, "calibrated", e->calibrated);
    json_number(json, "temperature", e->temperature, 6);
    json_number(json, "in_gallery", e->in_gallery, 6);
    if (e->has_heading)
        json_number(json, "heading", e->heading, 6);
    if (e->located) {
        json_object(json, "covariance");
        json_number(json, "east_m2", e->east_m2, 8);
        json_number(json, "north_m2", e->north_m2, 8);
        json_number(json, "east_north_m2", e->east_north_m2, 8);
        json_close(json);
    }
    if (a->has_truth && e->located)
        json_number(json, "error_m", mfrgn_distance_m(e->latitude, e->longitude, a->latitude, a->longitude), 8);
}

static void json_candidate(json_out *json, const query_answer *a, size_t i, const mfrgn_tile *t) {
    int is_true = query_is_true(a, t);
    json_integer(json, "rank", i + 1);
    json_string(json, "tile", t->id);
    json_number(json, "score", (double)a->candidate[i].score, 9);
    json_number(json, "probability", a->candidate[i].probability, 6);
    if (is_true >= 0)
        json_bool(json, "true", is_true);
}

static void print_json(FILE *file, const mfrgn_index *index, const query_answer *answers, size_t count) {
    json_out json;
    json_begin(&json, file);
    json_array(&json, NULL);
    for (size_t q = 0; q < count; q++) {
        const query_answer *a = &answers[q];
        json_object(&json, NULL);
        json_string(&json, "file", a->path);
        json_number(&json, "latitude", a->estimate.located ? a->estimate.latitude : NAN, 12);
        json_number(&json, "longitude", a->estimate.located ? a->estimate.longitude : NAN, 12);
        json_estimate(&json, a);
        json_array(&json, "candidates");
        for (size_t i = 0; i < a->shown; i++) {
            mfrgn_tile t = query_tile(index, a->candidate[i].tile);
            json_object(&json, NULL);
            json_candidate(&json, a, i, &t);
            json_number(&json, "latitude", t.located ? t.latitude : NAN, 12);
            json_number(&json, "longitude", t.located ? t.longitude : NAN, 12);
            json_close(&json);
        }
        json_close(&json);
        json_close(&json);
    }
    json_close(&json);
    json_end(&json);
}

/* ---- GeoJSON: RFC 7946, longitude first ---- */

static void begin_point(json_out *json, double latitude, double longitude) {
    json_object(json, NULL);
    json_string(json, "type", "Feature");
    json_object(json, "geometry");
    json_string(json, "type", "Point");
    json_array(json, "coordinates");
    json_number(json, NULL, longitude, 12);
    json_number(json, NULL, latitude, 12);
    json_close(json);
    json_close(json);
    json_object(json, "properties");
}

static void print_geojson(FILE *file, const mfrgn_index *index, const query_answer *answers, size_t count) {
    json_out json;
    json_begin(&json, file);
    json_object(&json, NULL);
    json_string(&json, "type", "FeatureCollection");
    json_array(&json, "features");
    for (size_t q = 0; q < count; q++) {
        const query_answer *a = &answers[q];
        if (a->estimate.located) {
            begin_point(&json, a->estimate.latitude, a->estimate.longitude);
            json_string(&json, "file", a->path);
            json_string(&json, "kind", "estimate");
            json_estimate(&json, a);
            json_close(&json);
            json_close(&json);
        }
        for (size_t i = 0; i < a->shown; i++) {
            mfrgn_tile t = query_tile(index, a->candidate[i].tile);
            if (!t.located)
                continue;
            begin_point(&json, t.latitude, t.longitude);
            json_string(&json, "file", a->path);
            json_string(&json, "kind", "candidate");
            json_candidate(&json, a, i, &t);
            json_close(&json);
            json_close(&json);
        }
    }
    json_close(&json);
    json_close(&json);
    json_end(&json);
}

/* ---- KML ---- */

void report_text(FILE *file, const char *text) {
    for (; *text; text++)
        switch (*text) {
        case '&':
            fputs("&amp;", file);
            break;
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        case '"':
            fputs("&quot;", file);
            break;
        default:
            if ((unsigned char)*text >= 32)
                fputc(*text, file);
        }
}

static void print_kml(FILE *file, const mfrgn_index *index, const query_answer *answers, size_t count) {
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<kml xmlns=\"http://www.opengis.net/kml/2.2\">\n<Document>\n",
          file);
    for (size_t q = 0; q < count; q++) {
        const query_answer *a = &answers[q];
        fputs("<Folder><name>", file);
        report_text(file, query_name(a->path));
        fputs("</name>\n", file);
        if (a->estimate.located) {
            fputs("  <Placemark><name>", file);
            report_text(file, query_name(a->path));
            fprintf(file, "</name><description>+- %.0f m east, %.0f m north</description>", sqrt(a->estimate.east_m2),
                    sqrt(a->estimate.north_m2));
            fprintf(file, "<Point><coordinates>%.7f,%.7f</coordinates></Point></Placemark>\n", a->estimate.longitude,
                    a->estimate.latitude);
        }
        for (size_t i = 0; i < a->shown; i++) {
            mfrgn_tile t = query_tile(index, a->candidate[i].tile);
            if (!t.located)
                continue;
            fprintf(file, "  <Placemark><name>%zu: ", i + 1);
            report_text(file, t.id);
            fprintf(file, "</name><description>score %.4f, %.1f %%</description>", (double)a->candidate[i].score,
                    100 * a->candidate[i].probability);
            fprintf(file, "<Point><coordinates>%.7f,%.7f</coordinates></Point></Placemark>\n", t.longitude, t.latitude);
        }
        fputs("</Folder>\n", file);
    }
    fputs("</Document>\n</kml>\n", file);
}

/* ---- CSV ---- */

static void csv_text(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', file);
        fputc(*text, file);
    }
    fputc('"', file);
}

static void csv_value(FILE *file, int known, const char *format, double value) {
    fputc(',', file);
    if (known)
        fprintf(file, format, value);
}

static void print_csv(FILE *file, const mfrgn_index *index, const query_answer *answers, size_t count) {
    fputs(
        "file,latitude,longitude,east_m2,north_m2,east_north_m2,in_gallery,calibrated,heading,rank,tile,tile_latitude,"
        "tile_longitude,score,probability\n",
        file);
    for (size_t q = 0; q < count; q++)
        for (size_t i = 0; i < (answers[q].shown ? answers[q].shown : 1); i++) {
            const query_answer *a = &answers[q];
            const mfrgn_estimate *e = &a->estimate;
            csv_text(file, a->path);
            csv_value(file, e->located, "%.8f", e->latitude);
            csv_value(file, e->located, "%.8f", e->longitude);
            csv_value(file, e->located, "%.3f", e->east_m2);
            csv_value(file, e->located, "%.3f", e->north_m2);
            csv_value(file, e->located, "%.3f", e->east_north_m2);
            csv_value(file, !isnan(e->in_gallery), "%.6f", e->in_gallery);
            fprintf(file, ",%d", e->calibrated);
            csv_value(file, e->has_heading, "%.3f", e->heading);
            if (!a->shown) {
                fputs(",,,,,,\n", file);
                continue;
            }
            mfrgn_tile t = query_tile(index, a->candidate[i].tile);
            fprintf(file, ",%zu,", i + 1);
            csv_text(file, t.id);
            csv_value(file, t.located, "%.8f", t.latitude);
            csv_value(file, t.located, "%.8f", t.longitude);
            fprintf(file, ",%.7f,%.6f\n", (double)a->candidate[i].score, a->candidate[i].probability);
        }
}

void query_print(FILE *file, query_format format, const mfrgn_index *index, const query_answer *answers, size_t count) {
    switch (format) {
    case QUERY_JSON:
        print_json(file, index, answers, count);
        break;
    case QUERY_GEOJSON:
        print_geojson(file, index, answers, count);
        break;
    case QUERY_KML:
        print_kml(file, index, answers, count);
        break;
    case QUERY_CSV:
        print_csv(file, index, answers, count);
        break;
    case QUERY_TABLE:
        for (size_t q = 0; q < count; q++) {
            if (q)
                fputc('\n', file);
            print_table(file, index, &answers[q]);
        }
    }
}
