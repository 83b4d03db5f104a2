/* The steps of the augmentation that move pixels. */
#include <string.h>

#include "train/augment.h"

static unsigned char *at(mf_raster r, int x, int y) {
    return r.pixels + 3 * ((size_t)y * (size_t)r.width + (size_t)x);
}

static void copy_pixel(unsigned char *restrict to, const unsigned char *restrict from) {
    to[0] = from[0];
    to[1] = from[1];
    to[2] = from[2];
}

void mf_raster_flip(mf_raster r) {
    for (int y = 0; y < r.height; y++)
        for (int x = 0; x < r.width / 2; x++) {
            unsigned char *a = at(r, x, y), *b = at(r, r.width - 1 - x, y), t[3];
            copy_pixel(t, a);
            copy_pixel(a, b);
            copy_pixel(b, t);
        }
}

static void reverse(unsigned char *row, int from, int to) {
    for (; from < to - 1; from++, to--) {
        unsigned char *a = row + 3 * (size_t)from, *b = row + 3 * (size_t)(to - 1), t[3];
        copy_pixel(t, a);
        copy_pixel(a, b);
        copy_pixel(b, t);
    }
}

/* A rotation of a row is three reversals. */
void mf_raster_roll(mf_raster r, int left) {
    left = (left % r.width + r.width) % r.width;
    for (int y = 0; y < r.height && left; y++) {
        unsigned char *row = at(r, 0, y);
        reverse(row, 0, left);
        reverse(row, left, r.width);
        reverse(row, 0, r.width);
    }
}

void mf_raster_turn(mf_raster r, int k, unsigned char *scratch) {
    k &= 3;
    if (k == 0 || (r.width != r.height && k != 2))
        return;
    mf_raster from = {scratch, r.width, r.height};
    memcpy(scratch, r.pixels, (size_t)r.width * (size_t)r.height * 3);
    int w = r.width - 1, h = r.height - 1;
    for (int y = 0; y < r.height; y++)
        for (int x = 0; x < r.width; x++)
            copy_pixel(at(r, x, y), k == 1 ? at(from, w - y, x) : k == 2 ? at(from, w - x, h - y) : at(from, y, h - x));
}

/* ..2 1 | 0 1 2 .. n-1 | n-2 .. */
static int reflect(int i, int n) {
    if (n == 1)
        return 0;
    int period = 2 * (n - 1);
    i = (i % period + period) % period;
    return i < n ? i : period - i;
}

void mf_raster_shift(mf_raster r, int right, int down, unsigned char *scratch) {
    mf_raster from = {scratch, r.width, r.height};
    memcpy(scratch, r.pixels, (size_t)r.width * (size_t)r.height * 3);
    for (int y = 0; y < r.height; y++)
        for (int x = 0; x < r.width; x++)
            copy_pixel(at(r, x, y), at(from, reflect(x - right, r.width), reflect(y - down, r.height)));
}

void mf_raster_black(mf_raster r, int x, int y, int width, int height) {
    int left = x < 0 ? 0 : x, right = x + width < r.width ? x + width : r.width;
    for (int row = y < 0 ? 0 : y; row < y + height && row < r.height && right > left; row++)
        memset(at(r, left, row), 0, 3 * (size_t)(right - left));
}

/* ---- kernels ---- */

static unsigned char to_byte(float v) {
    return (unsigned char)(v <= 0 ? 0 : v >= 255 ? 255 : (int)(v + 0.5f));
}

enum { BLUR_RADIUS = 3, BLUR_TAPS = 2 * BLUR_RADIUS + 1 };

static void gaussian(double sigma, float tap[BLUR_TAPS]) {
    double sum = 0, value[BLUR_TAPS];
    for (int i = 0; i < BLUR_TAPS; i++)
        sum += value[i] = __builtin_exp(-0.5 * (i - BLUR_RADIUS) * (i - BLUR_RADIUS) / (sigma * sigma));
    for (int i = 0; i < BLUR_TAPS; i++)
        tap[i] = (float)(value[i] / sum);
}

void mf_raster_blur(mf_raster r, double sigma_x, double sigma_y, float *scratch) {
    float tx[BLUR_TAPS], ty[BLUR_TAPS];
    size_t stride = 3 * (size_t)r.width;
    gaussian(sigma_x, tx);
    gaussian(sigma_y, ty);
    for (int y = 0; y < r.height; y++)
        for (int x = 0; x < r.width; x++) {
            float sum[3] = {0, 0, 0};
            for (int k = 0; k < BLUR_TAPS; k++) {
                const unsigned char *p = at(r, reflect(x + k - BLUR_RADIUS, r.width), y);
                for (int c = 0; c < 3; c++)
                    sum[c] += tx[k] * (float)p[c];
            }
            memcpy(scratch + (size_t)y * stride + 3 * (size_t)x, sum, sizeof(sum));
        }
    for (int y = 0; y < r.height; y++) {
        const float *row[BLUR_TAPS];
        unsigned char *out = at(r, 0, y);
        for (int k = 0; k < BLUR_TAPS; k++)
            row[k] = scratch + (size_t)reflect(y + k - BLUR_RADIUS, r.height) * stride;
        for (size_t i = 0; i < stride; i++) {
            float sum = 0;
            for (int k = 0; k < BLUR_TAPS; k++)
                sum += ty[k] * row[k][i];
            out[i] = to_byte(sum);
        }
    }
}

void mf_raster_sharpen(mf_raster r, double alpha, double lightness, unsigned char *scratch) {
    mf_raster from = {scratch, r.width, r.height};
    memcpy(scratch, r.pixels, (size_t)r.width * (size_t)r.height * 3);
    float middle = (float)(1 - alpha + alpha * (8 + lightness)), round = (float)-alpha;
    for (int y = 0; y < r.height; y++)
        for (int x = 0; x < r.width; x++) {
            int sum[3] = {0, 0, 0};
            for (int dy = -1; dy <= 1; dy++)
                for (int dx = -1; dx <= 1; dx++) {
                    const unsigned char *p = at(from, reflect(x + dx, r.width), reflect(y + dy, r.height));
                    for (int c = 0; c < 3 && (dx || dy); c++)
                        sum[c] += p[c];
                }
            unsigned char *out = at(r, x, y);
            for (int c = 0; c < 3; c++)
                out[c] = to_byte(middle * (float)out[c] + round * (float)sum[c]);
        }
}
