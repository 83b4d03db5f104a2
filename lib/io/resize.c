/* OpenCV's INTER_AREA, to the bit for 8-bit pictures: each sum is taken in the order and width in which OpenCV takes
 * it. It is three filters, and which one is taken depends on the scales (source over result, a double):
 *
 *   whole    both scales are whole numbers: the mean of the cell, halves to even; 2 x 2: halves up
 *   area     both are at least 1: the part of each source pixel that a result pixel covers is its weight; f32, columns
 *            first, then rows; parts below 1e-3 of a pixel are left out
 *   linear   one is below 1: two by two pixels, the weight of the second being the part of the result pixel that lies
 *            past the source pixel's end; 8 bit: weights of 11 bits, 4 bits dropped between columns and rows
 *
 * A row of the source is first widened to f32, so that a pixel is one unaligned load of four lanes (the fourth belongs
 * to the next pixel and is thrown away); with 8-bit loads the unpacking would be done per use.  1664 x 832 RGB8 to 512
 * x 128 on one core without -march: see tests/bench/bench_image.c. */
#include "io/resize.h"

#include <math.h>
#include <string.h>

typedef float f4 __attribute__((vector_size(16)));

enum { PAD = 8 }; /* floats past the end of a row, zero: loads and stores of whole vectors reach them */

static inline f4 load4(const float *p) {
    f4 v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void store4(float *p, f4 v) {
    memcpy(p, &v, sizeof(v));
}

static inline f4 all4(float x) {
    return (f4){x, x, x, x};
}

/* The source pixels that a result pixel covers: `first` (if > 0) weighs the one at `at`, `last` (if > 0) the last one,
 * `weight` each of the `inner` between. */
typedef struct span {
    int at, inner;
    float first, weight, last;
} span;

/* The two source pixels of a result pixel. */
typedef struct tap {
    int at;
    float a, b;
} tap;

typedef union cell {
    span area;
    tap linear;
} cell;

typedef struct work {
    const mfrgn_image *image;
    int height, width;       /* of the result */
    double scale_x, scale_y; /* source over result */
    int exact;               /* 8-bit source: results are whole numbers */
    float *source, *columns; /* rows of the source: widened, summed */
    float *row[2], *result;  /* rows of the result's width */
    cell *cells;             /* one a column of the result */
    mf_row_sink sink;
    void *arg;
} work;

/* ---- rows of the source ---- */

static const unsigned char *source_row(const mfrgn_image *image, int y) {
    static const unsigned char bytes[] = {3, 3, 4, 1, 12};
    ptrdiff_t stride = image->stride ? image->stride : (ptrdiff_t)image->width * bytes[image->format];
    return (const unsigned char *)image->pixels + y * stride;
}

static void widen_row(const mfrgn_image *image, int y, float *restrict out) {
    const unsigned char *restrict from = source_row(image, y);
    int n = image->width;
    switch (image->format) {
    case MFRGN_PIXEL_RGB8:
        for (int i = 0; i < 3 * n; i++)
            out[i] = from[i];
        break;
    case MFRGN_PIXEL_BGR8:
        for (int i = 0; i < n; i++) {
            out[3 * i] = from[3 * i + 2];
            out[3 * i + 1] = from[3 * i + 1];
            out[3 * i + 2] = from[3 * i];
        }
        break;
    case MFRGN_PIXEL_RGBA8:
        for (int i = 0; i < n; i++) {
            out[3 * i] = from[4 * i];
            out[3 * i + 1] = from[4 * i + 1];
            out[3 * i + 2] = from[4 * i + 2];
        }
        break;
    case MFRGN_PIXEL_GRAY8:
        for (int i = 0; i < n; i++)
            out[3 * i] = out[3 * i + 1] = out[3 * i + 2] = from[i];
        break;
    case MFRGN_PIXEL_RGB_F32: /* the caller's floats need not be aligned */
        memcpy(out, from, (size_t)n * 3 * sizeof(float));
        break;
    }
    memset(out + 3 * n, 0, PAD * sizeof(float));
}

/* Rounds as the machine does, halves to even, without a call: adding 1.5 * 2^23 leaves no bits below one. */
static void round_row(float *row, int n) {
    const float shift = 12582912.0f;
    for (int i = 0; i < n; i++) {
        float v = row[i] + shift;
        row[i] = v - shift;
    }
}

/* ---- whole ---- */

static void shrink_whole(work *w) {
    int across = (int)lrint(w->scale_x), down = (int)lrint(w->scale_y), n = 3 * w->image->width;
    float part = 1.0f / (float)((double)across * down);
    float *restrict sum = w->columns, *restrict source = w->source;
    for (int y = 0; y < w->height; y++) {
        widen_row(w->image, y * down, sum);
        for (int k = 1; k < down; k++) {
            widen_row(w->image, y * down + k, source);
            for (int i = 0; i < n; i++)
                sum[i] += source[i];
        }
        for (int x = 0; x < w->width; x++) {
            const float *from = sum + (size_t)3 * across * x;
            f4 v = load4(from);
            for (int k = 1; k < across; k++)
                v += load4(from + 3 * k);
            store4(w->result + 3 * x, v * all4(part));
        }
        if (w->exact && across == 2 && down == 2)
            for (int i = 0; i < 3 * w->width; i++)
                w->result[i] = (float)(int)(w->result[i] + 0.5f);
        else if (w->exact)
            round_row(w->result, 3 * w->width);
        w->sink(w->arg, y, w->result, w->width);
    }
}

/* ---- area ---- */

static span area_span(int i, int size, double scale) {
    const double least = 1e-3;
    double from = i * scale, to = from + scale;
    double covered = scale < size - from ? scale : size - from;
    int begin = (int)ceil(from), end = (int)floor(to);
    end = end < size - 1 ? end : size - 1;
    begin = begin < end ? begin : end;
    span s = {begin, end - begin, 0, (float)(1.0 / covered), 0};
    if (begin - from > least) {
        s.at = begin - 1;
        s.first = (float)((begin - from) / covered);
    }
    if (to - end > least) {
        double part = to - end < 1.0 ? to - end : 1.0;
        s.last = (float)((part < covered ? part : covered) / covered);
    }
    return s;
}

static void shrink_columns(const work *w, const float *restrict from, float *restrict to) {
    for (int x = 0; x < w->width; x++) {
        const span *s = &w->cells[x].area;
        const float *p = from + 3 * (size_t)s->at;
        f4 sum = all4(0.0f), weight = all4(s->weight);
        if (s->first > 0) {
            sum = load4(p) * all4(s->first);
            p += 3;
        }
        for (int k = 0; k < s->inner; k++, p += 3)
            sum += load4(p) * weight;
        if (s->last > 0)
            sum += load4(p) * all4(s->last);
        store4(to + 3 * x, sum);
    }
}

static void add_row(float *restrict sum, const float *restrict row, float weight, int n, int begin) {
    if (begin)
        for (int i = 0; i < n; i++)
            sum[i] = row[i] * weight;
    else
        for (int i = 0; i < n; i++)
            sum[i] += row[i] * weight;
}

static void shrink_area(work *w) {
    int n = 3 * w->width, have = -1;
    for (int x = 0; x < w->width; x++)
        w->cells[x].area = area_span(x, w->image->width, w->scale_x);
    for (int y = 0; y < w->height; y++) {
        span s = area_span(y, w->image->height, w->scale_y);
        int head = s.first > 0, rows = head + s.inner + (s.last > 0);
        for (int k = 0; k < rows; k++) {
            if (have != s.at + k) { /* a row that two results share is not summed again */
                have = s.at + k;
                widen_row(w->image, have, w->source);
                shrink_columns(w, w->source, w->row[0]);
            }
            float weight = k < head ? s.first : k < head + s.inner ? s.weight : s.last;
            add_row(w->result, w->row[0], weight, n, k == 0);
        }
        if (w->exact)
            round_row(w->result, n);
        w->sink(w->arg, y, w->result, w->width);
    }
}

/* ---- linear ---- */

enum { WEIGHT_ONE = 1 << 11 };

static tap linear_tap(int i, double scale, double inverse, int exact) {
    tap t;
    t.at = (int)floor(i * scale);
    float second = (float)((i + 1) - (t.at + 1) * inverse);
    second = second <= 0 ? 0.0f : second - floorf(second);
    t.a = 1.0f - second;
    t.b = second;
    if (exact) {
        t.a = rintf(t.a * WEIGHT_ONE);
        t.b = rintf(t.b * WEIGHT_ONE);
    }
    return t;
}

static void linear_columns(const work *w, int y, float *restrict to) {
    widen_row(w->image, y, w->source);
    for (int x = 0; x < w->width; x++) {
        const tap *t = &w->cells[x].linear;
        const float *p = w->source + 3 * (size_t)t->at;
        store4(to + 3 * x, load4(p) * all4(t->a) + load4(p + 3) * all4(t->b));
    }
}

/* 8 bit: the columns' results are whole numbers below 2^20, so that f32 has held them exactly. */
static void linear_rows(const float *restrict a, const float *restrict b, tap t, float *restrict to, int n, int exact) {
    if (!exact) {
        for (int i = 0; i < n; i++)
            to[i] = a[i] * t.a + b[i] * t.b;
        return;
    }
    int wa = (int)t.a, wb = (int)t.b;
    for (int i = 0; i < n; i++) {
        int sum = ((wa * ((int)a[i] >> 4)) >> 16) + ((wb * ((int)b[i] >> 4)) >> 16);
        to[i] = (float)((sum + 2) >> 2);
    }
}

static void stretch_linear(work *w) {
    int last_x = w->image->width - 1, last_y = w->image->height - 1, have[2] = {-1, -1};
    double inverse_x = (double)w->width / w->image->width, inverse_y = (double)w->height / w->image->height;
    for (int x = 0; x < w->width; x++) {
        tap t = linear_tap(x, w->scale_x, inverse_x, w->exact);
        if (t.at >= last_x)
            t = (tap){last_x, w->exact ? WEIGHT_ONE : 1.0f, 0.0f};
        w->cells[x].linear = t;
    }
    for (int y = 0; y < w->height; y++) {
        tap t = linear_tap(y, w->scale_y, inverse_y, w->exact);
        int upper = t.at < last_y ? t.at : last_y, lower = t.at < last_y ? t.at + 1 : last_y;
        if (have[0] != upper && have[1] == upper) { /* the lower row of the result before */
            float *row = w->row[0];
            w->row[0] = w->row[1];
            w->row[1] = row;
            have[1] = have[0];
            have[0] = upper;
        }
        if (have[0] != upper)
            linear_columns(w, have[0] = upper, w->row[0]);
        if (lower != upper && have[1] != lower)
            linear_columns(w, have[1] = lower, w->row[1]);
        linear_rows(w->row[0], lower == upper ? w->row[0] : w->row[1], t, w->result, 3 * w->width, w->exact);
        w->sink(w->arg, y, w->result, w->width);
    }
}

/* ---- which ---- */

static size_t row_bytes(int width) {
    return (((size_t)width * 3 + PAD) * sizeof(float) + 63) & ~(size_t)63;
}

size_t mf_resize_scratch(int source_width, int width) {
    return 2 * row_bytes(source_width) + 3 * row_bytes(width) + (size_t)width * sizeof(cell);
}

static int is_whole(double scale) {
    return fabs(scale - rint(scale)) < 2.220446049250313e-16;
}

void mf_resize(const mfrgn_image *image, int height, int width, void *scratch, mf_row_sink sink, void *arg) {
    work w = {.image = image, .height = height, .width = width, .sink = sink, .arg = arg};
    unsigned char *at = scratch;
    float **rows[] = {&w.source, &w.columns, &w.row[0], &w.row[1], &w.result};
    for (size_t i = 0; i < MF_COUNT(rows); i++) {
        *rows[i] = (float *)(void *)at;
        at += row_bytes(i < 2 ? image->width : width);
    }
    w.cells = (cell *)(void *)at;
    w.exact = image->format != MFRGN_PIXEL_RGB_F32;
    /* Twice the reciprocal, as OpenCV computes it: the last bit decides where a cell ends. */
    w.scale_x = 1.0 / ((double)width / image->width);
    w.scale_y = 1.0 / ((double)height / image->height);
    if (width == image->width && height == image->height) {
        for (int y = 0; y < height; y++) {
            widen_row(image, y, w.source);
            sink(arg, y, w.source, width);
        }
    } else if (w.scale_x < 1.0 || w.scale_y < 1.0) {
        stretch_linear(&w);
    } else if (is_whole(w.scale_x) && is_whole(w.scale_y)) {
        shrink_whole(&w);
    } else {
        shrink_area(&w);
    }
}
