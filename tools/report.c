/* SPDX-License-Identifier: Apache-2.0 */
/* A report in one HTML file: nothing is loaded from elsewhere. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "query.h"

static const char style[] =
    "body{font:15px/1.45 system-ui,sans-serif;color:#202428;max-width:1180px;margin:2em auto;padding:0 1.2em}"
    "h1{font-size:1.5em;margin:0 0 .2em}h2{font-size:1.15em;margin:2.2em 0 .4em;padding-top:1em;border-top:1px solid "
    "#d9dde1}"
    "p{margin:.3em 0}.note{color:#6a737d}.big{font-size:1.15em;font-weight:600}img{max-width:100%;margin:.6em 0}"
    "table{border-collapse:collapse;margin:.6em 0;font-size:.93em}td,th{padding:.2em .8em .2em 0;text-align:right}"
    "td:last-child,th:last-child{text-align:left}th{color:#6a737d;font-weight:500;border-bottom:1px solid #d9dde1}"
    "tr.y td{color:#1a7a37;font-weight:600}.plots{display:flex;flex-wrap:wrap;gap:12px}"
    ".plots>svg{max-width:100%;height:auto}"
    "svg text{font:12px system-ui,sans-serif;fill:#4a525a}svg .t{font-size:14px;font-weight:600;fill:#202428}"
    ".f{fill:#fafbfc;stroke:#c4c9cf}.g line{stroke:#dfe3e7}.g text{font-size:11px}.l{fill:#fff;opacity:.85}"
    ".b{fill:none;stroke:#202428;stroke-width:1.5}.e{fill:#2b6cb0;fill-opacity:.08;stroke:#2b6cb0;stroke-dasharray:4 3}"
    ".p{stroke:#2b6cb0;stroke-width:1.5}.w{fill:none;stroke:#0b7a2e;stroke-width:3}.o{fill:none;stroke:#fff;stroke-"
    "width:7}.c{fill:#5b7083}.y{fill:#1a9641}"
    ".n{fill:#d7301f}circle{fill-opacity:.85;stroke:#fff}svg "
    ".r{fill:#fff;font-size:11px;font-weight:600;text-anchor:middle}"
    ".h{stroke:#8a5a44;stroke-opacity:.35}";

static void write_base64(FILE *file, const unsigned char *data, size_t size) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        unsigned v = (unsigned)data[i] << 16 | (i + 1 < size ? (unsigned)data[i + 1] << 8 : 0) |
                     (i + 2 < size ? data[i + 2] : 0);
        fputc(letters[v >> 18], file);
        fputc(letters[v >> 12 & 63], file);
        fputc(i + 1 < size ? letters[v >> 6 & 63] : '=', file);
        fputc(i + 2 < size ? letters[v & 63] : '=', file);
    }
}

static void write_estimate(FILE *file, const query_answer *a) {
    const mfrgn_estimate *e = &a->estimate;
    if (!e->located) {
        fprintf(file, "<p>No position.</p>\n");
        return;
    }
    fprintf(file, "<p><span class='big'>%.6f, %.6f</span> &plusmn; %.0f m east, %.0f m north", e->latitude,
            e->longitude, sqrt(e->east_m2), sqrt(e->north_m2));
    if (e->has_heading)
        fprintf(file, ", heading %.0f&deg;", e->heading);
    fprintf(file, "</p>\n<p class='note'>");
    if (a->has_truth)
        fprintf(file, "Error %.0f m. ", mfrgn_distance_m(e->latitude, e->longitude, a->latitude, a->longitude));
    if (isnan(e->in_gallery))
        fprintf(file,
                "Not calibrated: probabilities are a softmax at temperature %g, orders rather than frequencies; "
                "whether the place is in the gallery is not known.</p>\n",
                e->temperature);
    else
        fprintf(file, "In the gallery: %.0f %%. Calibrated, temperature %.4g.</p>\n", 100 * e->in_gallery,
                e->temperature);
}

static void write_table(FILE *file, const mfrgn_index *index, const query_answer *a) {
    fprintf(file, "<table><tr><th>rank<th>score<th>probability<th>latitude<th>longitude<th>tile</tr>\n");
    for (size_t i = 0; i < a->shown; i++) {
        mfrgn_tile t = query_tile(index, a->candidate[i].tile);
        fprintf(file, "<tr%s><td>%zu<td>%.4f<td>%.1f %%", query_is_true(a, &t) == 1 ? " class='y'" : "", i + 1,
                (double)a->candidate[i].score, 100 * a->candidate[i].probability);
        if (t.located)
            fprintf(file, "<td>%.6f<td>%.6f<td>", t.latitude, t.longitude);
        else
            fprintf(file, "<td>&ndash;<td>&ndash;<td>");
        report_text(file, t.id);
        fprintf(file, "</tr>\n");
    }
    fprintf(file, "</table>\n");
}

static int write_answer(FILE *file, const query_pictures *p, const query_answer *a) {
    size_t size;
    unsigned char *png = mosaic_make(p, a, 1, 0, &size);
    if (!png)
        return 0;
    fprintf(file, "<h2>");
    report_text(file, query_name(a->path));
    fprintf(file, "</h2>\n");
    write_estimate(file, a);
    fprintf(file, "<img alt='the query and its best tiles' src='data:image/png;base64,");
    write_base64(file, png, size);
    fprintf(file, "'>\n");
    free(png);
    write_table(file, p->index, a);
    if (!a->estimate.located)
        return 1;
    fprintf(file, "<div class='plots'>\n");
    plot_candidates(file, p->index, a);
    plot_posterior(file, p->index, a);
    fprintf(file, "</div>\n");
    return 1;
}

int report_write(FILE *file, const query_pictures *p, const query_answer *answers, size_t count) {
    mfrgn_index_info info = {.struct_size = sizeof info};
    mfrgn_index_get_info(p->index, &info);
    fprintf(file,
            "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
            "content='width=device-width'><title>mfrgn locate</title><style>%s</style></head><body>\n<h1>Where was it "
            "taken?</h1>\n<p class='note'>%zu quer%s; a gallery of %s tiles, ",
            style, count, count == 1 ? "y" : "ies", tool_thousands(info.count));
    report_text(file, query_name(p->index_path));
    fprintf(file, "; model ");
    report_text(file, info.model);
    fprintf(file,
            "</p>\n<p class='note'>In the plots: blue cross and ellipse, the estimate and one standard deviation; "
            "green cross, the truth where it is known; north is up.</p>\n");
    for (size_t i = 0; i < count; i++)
        if (!write_answer(file, p, &answers[i]))
            return 0;
    fprintf(file, "</body></html>\n");
    return 1;
}
