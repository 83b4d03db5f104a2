/* Images of 8 bits in device memory to the network's input: INTER_AREA to the result's size, x / 255, minus mean, over
 * std, with exactly the arithmetic of lib/io/resize.c and prepare.c, which are OpenCV's: the same values are added in
 * the same order and width, and the same scales decide which of the filters is taken.  See resize.c for what they are.
 *
 * A thread makes a pixel of the result, three channels.  It finds the spans of its column and row by itself, in double:
 * a few operations beside the reads.  What resize.c shares between pixels (rows that are summed once for a whole row of
 * results) is summed again; the order within a pixel is the same, so the bits are.
 *
 * No product may be fused with the sum that follows: resize.c does not, hence mul() and add() below. */
#include "backends/cuda/forward.h"

#ifdef MFC_EMULATE
static inline float mul(float a, float b) {
    return a * b;
}
static inline float add(float a, float b) {
    return a + b;
}
static inline double mul_wide(double a, double b) {
    return a * b;
}
static inline double add_wide(double a, double b) {
    return a + b;
}
#else
static __device__ __forceinline__ float mul(float a, float b) {
    return __fmul_rn(a, b);
}
static __device__ __forceinline__ float add(float a, float b) {
    return __fadd_rn(a, b);
}
static __device__ __forceinline__ double mul_wide(double a, double b) {
    return __dmul_rn(a, b);
}
static __device__ __forceinline__ double add_wide(double a, double b) {
    return __dadd_rn(a, b);
}
#endif

enum filter { COPY, WHOLE, AREA, LINEAR };

struct image_job {
    const unsigned char *pixels;
    int64_t count, row_bytes, image_bytes;
    int filter, channels, swap;
    int width, height, out_width, out_height;
    int across, down;            /* WHOLE: source pixels of a result pixel */
    double scale_x, scale_y;     /* source over result */
    double inverse_x, inverse_y; /* LINEAR: result over source */
    float mean[3], std[3];
};

struct rgb {
    float at[3];
};

static __device__ __forceinline__ rgb zero_pixel() {
    rgb p;
    p.at[0] = p.at[1] = p.at[2] = 0.0f;
    return p;
}

static __device__ __forceinline__ rgb read_pixel(const image_job &j, const unsigned char *image, int y, int x) {
    const unsigned char *p = image + y * j.row_bytes + (int64_t)x * j.channels;
    rgb v;
    if (j.channels == 1) {
        v.at[0] = v.at[1] = v.at[2] = (float)p[0];
        return v;
    }
    v.at[0] = (float)p[j.swap ? 2 : 0];
    v.at[1] = (float)p[1];
    v.at[2] = (float)p[j.swap ? 0 : 2];
    return v;
}

static __device__ __forceinline__ void add_weighted(rgb *sum, const rgb &v, float weight) {
#pragma unroll
    for (int c = 0; c < 3; c++)
        sum->at[c] = add(sum->at[c], mul(v.at[c], weight));
}

/* Halves to even, as resize.c rounds. */
static __device__ __forceinline__ float round_even(float x) {
    return add(add(x, 12582912.0f), -12582912.0f);
}

/* ---- whole ---- */

/* The columns' sums are whole numbers, but of any size: added in resize.c's order all the same. */
static __device__ __forceinline__ rgb whole_pixel(const image_job &j, const unsigned char *image, int y, int x) {
    const float part = 1.0f / (float)mul_wide((double)j.across, (double)j.down);
    rgb v = zero_pixel();
    for (int k = 0; k < j.across; k++) {
        rgb column = zero_pixel();
        for (int i = 0; i < j.down; i++)
            add_weighted(&column, read_pixel(j, image, y * j.down + i, x * j.across + k), 1.0f);
        add_weighted(&v, column, 1.0f);
    }
#pragma unroll
    for (int c = 0; c < 3; c++) {
        v.at[c] = mul(v.at[c], part);
        if (j.across == 2 && j.down == 2)
            v.at[c] = (float)(int)add(v.at[c], 0.5f);
        else
            v.at[c] = round_even(v.at[c]);
    }
    return v;
}

/* ---- area ---- */

struct span {
    int at, inner;
    float first, weight, last;
};

static __device__ __forceinline__ span area_span(int i, int size, double scale) {
    const double least = 1e-3;
    const double from = mul_wide((double)i, scale), to = add_wide(from, scale);
    const double rest = add_wide((double)size, -from), covered = scale < rest ? scale : rest;
    int begin = (int)ceil(from), end = (int)floor(to);
    end = end < size - 1 ? end : size - 1;
    begin = begin < end ? begin : end;
    span s;
    s.at = begin;
    s.inner = end - begin;
    s.first = s.last = 0.0f;
    s.weight = (float)(1.0 / covered);
    const double before = add_wide((double)begin, -from), after = add_wide(to, -(double)end);
    if (before > least) {
        s.at = begin - 1;
        s.first = (float)(before / covered);
    }
    if (after > least) {
        const double part = after < 1.0 ? after : 1.0;
        s.last = (float)((part < covered ? part : covered) / covered);
    }
    return s;
}

static __device__ __forceinline__ rgb area_columns(const image_job &j, const unsigned char *image, int y,
                                                   const span &s) {
    rgb sum = zero_pixel();
    int x = s.at;
    if (s.first > 0.0f)
        add_weighted(&sum, read_pixel(j, image, y, x++), s.first);
    for (int k = 0; k < s.inner; k++)
        add_weighted(&sum, read_pixel(j, image, y, x++), s.weight);
    if (s.last > 0.0f)
        add_weighted(&sum, read_pixel(j, image, y, x), s.last);
    return sum;
}

static __device__ __forceinline__ rgb area_pixel(const image_job &j, const unsigned char *image, int y, int x) {
    const span columns = area_span(x, j.width, j.scale_x), rows = area_span(y, j.height, j.scale_y);
    const int head = rows.first > 0.0f, count = head + rows.inner + (rows.last > 0.0f);
    rgb sum = zero_pixel();
    for (int k = 0; k < count; k++) {
        const float weight = k < head ? rows.first : k < head + rows.inner ? rows.weight : rows.last;
        add_weighted(&sum, area_columns(j, image, rows.at + k, columns), weight);
    }
#pragma unroll
    for (int c = 0; c < 3; c++)
        sum.at[c] = round_even(sum.at[c]);
    return sum;
}

/* ---- linear: 11 bits of weight ---- */

struct tap {
    int at;
    float a, b; /* whole numbers, 2^11 together */
};

static __device__ __forceinline__ tap linear_tap(int i, double scale, double inverse) {
    tap t;
    t.at = (int)floor(mul_wide((double)i, scale));
    float second = (float)add_wide((double)(i + 1), -mul_wide((double)(t.at + 1), inverse));
    second = second <= 0.0f ? 0.0f : add(second, -floorf(second));
    t.a = rintf(mul(add(1.0f, -second), 2048.0f));
    t.b = rintf(mul(second, 2048.0f));
    return t;
}

static __device__ __forceinline__ rgb linear_columns(const image_job &j, const unsigned char *image, int y,
                                                     const tap &t) {
    rgb sum = zero_pixel();
    add_weighted(&sum, read_pixel(j, image, y, t.at), t.a);
    if (t.at + 1 < j.width) /* else its weight is 0 */
        add_weighted(&sum, read_pixel(j, image, y, t.at + 1), t.b);
    return sum;
}

static __device__ __forceinline__ rgb linear_pixel(const image_job &j, const unsigned char *image, int y, int x) {
    const int last_x = j.width - 1, last_y = j.height - 1;
    tap column = linear_tap(x, j.scale_x, j.inverse_x);
    if (column.at >= last_x) {
        column.at = last_x;
        column.a = 2048.0f;
        column.b = 0.0f;
    }
    const tap row = linear_tap(y, j.scale_y, j.inverse_y);
    const int upper = row.at < last_y ? row.at : last_y, lower = row.at < last_y ? row.at + 1 : last_y;
    const rgb a = linear_columns(j, image, upper, column), b = linear_columns(j, image, lower, column);
    const int wa = (int)row.a, wb = (int)row.b;
    rgb v;
#pragma unroll
    for (int c = 0; c < 3; c++) {
        const int sum = ((wa * ((int)a.at[c] >> 4)) >> 16) + ((wb * ((int)b.at[c] >> 4)) >> 16);
        v.at[c] = (float)((sum + 2) >> 2);
    }
    return v;
}

/* ---- all ---- */

static __global__ void mfc_image_pixels(image_job j, float *__restrict__ out) {
    const int64_t total = j.count * j.out_height * j.out_width;
    for (int64_t i = mfc_first(); i < total; i += mfc_step()) {
        int64_t x, y;
        const int64_t row = mfc_divide(i, j.out_width, &x), n = mfc_divide(row, j.out_height, &y);
        const unsigned char *image = j.pixels + n * j.image_bytes;
        rgb v;
        if (j.filter == COPY)
            v = read_pixel(j, image, (int)y, (int)x);
        else if (j.filter == WHOLE)
            v = whole_pixel(j, image, (int)y, (int)x);
        else if (j.filter == AREA)
            v = area_pixel(j, image, (int)y, (int)x);
        else
            v = linear_pixel(j, image, (int)y, (int)x);
#pragma unroll
        for (int c = 0; c < 3; c++)
            out[i * 3 + c] = add(v.at[c] / 255.0f, -j.mean[c]) / j.std[c];
    }
}

static int is_whole(double scale) {
    return fabs(scale - rint(scale)) < 2.220446049250313e-16;
}

static int filter_of(const image_job *j) {
    if (j->width == j->out_width && j->height == j->out_height)
        return COPY;
    if (j->scale_x < 1.0 || j->scale_y < 1.0)
        return LINEAR;
    return is_whole(j->scale_x) && is_whole(j->scale_y) ? WHOLE : AREA;
}

mf_status mfc_images(mf_stream *s, const mf_images *images, float *input) {
    const mf_host *host = s->device->host;
    const int64_t most = 1 << 24, sizes[] = {images->width, images->height, images->out_width, images->out_height};
    for (int i = 0; i < 4; i++)
        if (sizes[i] < 1 || sizes[i] > most)
            return host->fail(host->context, MFC_UNSUPPORTED, "cuda: images of a side of %lld pixels, 1 to %lld can be",
                              (long long)sizes[i], (long long)most);
    if (images->channels != 1 && images->channels != 3 && images->channels != 4)
        return host->fail(host->context, MFC_UNSUPPORTED, "cuda: images of %d channels, 1, 3 or 4 can be",
                          images->channels);
    if (images->count < 1)
        return 0;
    image_job j;
    j.pixels = (const unsigned char *)images->pixels;
    j.count = images->count;
    j.row_bytes = images->row_bytes;
    j.image_bytes = images->image_bytes;
    j.channels = images->channels;
    j.swap = images->swap;
    j.width = (int)images->width;
    j.height = (int)images->height;
    j.out_width = (int)images->out_width;
    j.out_height = (int)images->out_height;
    /* Twice the reciprocal, as resize.c and OpenCV compute it: the last bit decides where a cell ends. */
    j.inverse_x = (double)j.out_width / j.width;
    j.inverse_y = (double)j.out_height / j.height;
    j.scale_x = 1.0 / j.inverse_x;
    j.scale_y = 1.0 / j.inverse_y;
    j.across = (int)rint(j.scale_x);
    j.down = (int)rint(j.scale_y);
    for (int c = 0; c < 3; c++) {
        j.mean[c] = images->mean[c];
        j.std[c] = images->std[c];
    }
    j.filter = filter_of(&j);
    return mfc_launch(s, mfc_image_pixels, mfc_blocks(s, j.count * j.out_height * j.out_width), MFC_THREADS, 0, j,
                      input);
}
