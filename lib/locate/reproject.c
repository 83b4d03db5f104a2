/* Pinhole pictures in panoramas; turned panoramas. */
#include <math.h>
#include <string.h>

#include "io/image.h"
#include "locate/locate.h"

#define RADIANS 0.017453292519943295769

/* x: right, y: ahead, z: up, as seen from the panorama's middle column. */
typedef struct vector {
    double x, y, z;
} vector;

typedef struct lens {
    double fx, fy, cx, cy; /* pixels */
    vector ahead, right, up;
    double vertical; /* of the panorama, radians */
} lens;

static vector mix(vector a, double s, vector b, double t) {
    return (vector){a.x * s + b.x * t, a.y * s + b.y * t, a.z * s + b.z * t};
}

static double dot(vector a, vector b) {
    return a.x * b.x + a.y * b.y + a.z * b.z;
}

static mfrgn_status check(mfrgn_context *context, const mfrgn_camera *c) {
    if (!c || c->struct_size < sizeof(*c))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_camera: NULL, or struct_size is not set");
    if (c->fov != 0 ? !(c->fov > 0 && c->fov < 180) : !(c->fx > 0 && c->fx < 1e9 && c->fy >= 0 && c->fy < 1e9))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_camera: a field of view of %g degrees, or a focal length of %g, %g pixels; 0 < fov < 180",
                       c->fov, c->fx, c->fy);
    if (!isfinite(c->cx) || !isfinite(c->cy) || !isfinite(c->yaw) || !isfinite(c->pitch) || !isfinite(c->roll))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_camera: a centre or an angle is not finite");
    if (!(c->vertical_fov >= 0 && c->vertical_fov <= 180))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_camera: vertical_fov is %g; 0 .. 180 degrees",
                       c->vertical_fov);
    return MFRGN_OK;
}

static lens make_lens(const mfrgn_camera *c, int width, int height, int canvas_width, int canvas_height) {
    lens l;
    double half = width / 2.0;
    double y = c->yaw * RADIANS, p = c->pitch * RADIANS, r = c->roll * RADIANS;
    vector ahead = {sin(y), cos(y), 0}, right = {cos(y), -sin(y), 0}, up = {0, 0, 1};
    l.fx = c->fov > 0 ? half / tan(c->fov / 2 * RADIANS) : c->fx;
    l.fy = c->fov > 0 || c->fy <= 0 ? l.fx : c->fy;
    l.cx = c->cx == 0 && c->cy == 0 ? half : c->cx;
    l.cy = c->cx == 0 && c->cy == 0 ? height / 2.0 : c->cy;
    l.ahead = mix(ahead, cos(p), up, sin(p));
    up = mix(up, cos(p), ahead, -sin(p));
    l.right = mix(right, cos(r), up, -sin(r));
    l.up = mix(up, cos(r), right, sin(r));
    l.vertical = c->vertical_fov > 0 ? c->vertical_fov : 360.0 * canvas_height / canvas_width;
    l.vertical = (l.vertical < 180 ? l.vertical : 180) * RADIANS;
    return l;
}

/* Rows of RGB8 of a size that the canvas can take in: an INTER_AREA copy, which is fine also where the size stays. */
static mfrgn_status shrink(mfrgn_context *context, const mfrgn_image *image, lens *l, int canvas_width,
                           mfrgn_bitmap **small) {
    double radian = canvas_width / (2 * 3.14159265358979323846); /* pixels of the canvas */
    double scale = radian / l->fx < 1 ? radian / l->fx : 1, w = image->width * scale, h = image->height * scale;
    int width = w < 1 ? 1 : (int)(w + 0.5), height = h < 1 ? 1 : (int)(h + 0.5);
    MF_TRY(mfrgn_bitmap_create(context, width, height, small));
    double x = (double)width / image->width, y = (double)height / image->height;
    l->fx *= x;
    l->cx *= x;
    l->fy *= y;
    l->cy *= y;
    mfrgn_status status = mfrgn_image_resize(context, image, *small);
    if (status != MFRGN_OK)
        mfrgn_bitmap_free(*small);
    return status;
}

static int clamp(int i, int n) {
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

static void sample(const mfrgn_bitmap *from, double x, double y, unsigned char *to) {
    int x0 = (int)floor(x), y0 = (int)floor(y);
    double u = x - x0, v = y - y0;
    const unsigned char *p[2][2];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            p[i][j] = from->pixels + 3 * ((size_t)clamp(y0 + i, from->height) * (size_t)from->width +
                                          (size_t)clamp(x0 + j, from->width));
    for (int c = 0; c < 3; c++) {
        double upper = p[0][0][c] * (1 - u) + p[0][1][c] * u, lower = p[1][0][c] * (1 - u) + p[1][1][c] * u;
        to[c] = (unsigned char)(upper * (1 - v) + lower * v + 0.5);
    }
}

static void draw(const mfrgn_bitmap *from, const lens *l, mfrgn_bitmap *canvas) {
    const double turn = 2 * 3.14159265358979323846;
    for (int row = 0; row < canvas->height; row++) {
        double elevation = (0.5 - (row + 0.5) / canvas->height) * l->vertical;
        for (int column = 0; column < canvas->width; column++) {
            unsigned char *to = canvas->pixels + 3 * ((size_t)row * (size_t)canvas->width + (size_t)column);
            double azimuth = ((column + 0.5) / canvas->width - 0.5) * turn;
            vector d = {sin(azimuth) * cos(elevation), cos(azimuth) * cos(elevation), sin(elevation)};
            double depth = dot(d, l->ahead);
            double x = depth > 1e-6 ? l->cx + l->fx * dot(d, l->right) / depth : -1;
            double y = depth > 1e-6 ? l->cy - l->fy * dot(d, l->up) / depth : -1;
            if (x >= 0 && x <= from->width && y >= 0 && y <= from->height)
                sample(from, x - 0.5, y - 0.5, to);
            else
                for (int c = 0; c < 3; c++)
                    to[c] = (unsigned char)(mf_image_mean[c] * 255 + 0.5f);
        }
    }
}

mfrgn_status mfrgn_image_reproject(mfrgn_context *context, const mfrgn_image *image, const mfrgn_camera *camera,
                                   mfrgn_bitmap *bitmap) {
    mfrgn_bitmap *small = NULL;
    if (!context)
        return MFRGN_ERROR_ARGUMENT;
    if (!bitmap)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_image_reproject: bitmap is NULL");
    MF_TRY(mf_image_check(context, image));
    MF_TRY(check(context, camera));
    lens l = make_lens(camera, image->width, image->height, bitmap->width, bitmap->height);
    MF_TRY(shrink(context, image, &l, bitmap->width, &small));
    draw(small, &l, bitmap);
    mfrgn_bitmap_free(small);
    return MFRGN_OK;
}

/* ---- rolling ---- */

static void copy_pixel(const unsigned char *from, mfrgn_pixel format, unsigned char *to) {
    int swapped = format == MFRGN_PIXEL_BGR8, gray = format == MFRGN_PIXEL_GRAY8;
    to[0] = from[swapped ? 2 : 0];
    to[1] = from[gray ? 0 : 1];
    to[2] = from[gray || swapped ? 0 : 2];
}

mfrgn_status mfrgn_image_roll(mfrgn_context *context, const mfrgn_image *image, long columns, mfrgn_bitmap *bitmap) {
    static const unsigned char bytes[] = {3, 3, 4, 1};
    if (!context)
        return MFRGN_ERROR_ARGUMENT;
    MF_TRY(mf_image_check(context, image));
    if (!bitmap || bitmap->width != image->width || bitmap->height != image->height)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_image_roll: the bitmap must have the image's size, %d x %d", image->width, image->height);
    if (image->format == MFRGN_PIXEL_RGB_F32)
        return mf_fail(context, MFRGN_ERROR_UNSUPPORTED, "mfrgn_image_roll: pictures of 8 bits only");
    size_t width = (size_t)image->width, size = bytes[image->format];
    size_t first = (size_t)((columns % image->width + image->width) % image->width);
    ptrdiff_t stride = image->stride ? image->stride : (ptrdiff_t)(width * size);
    for (int y = 0; y < image->height; y++) {
        const unsigned char *from = (const unsigned char *)image->pixels + y * stride;
        unsigned char *to = bitmap->pixels + (size_t)y * width * 3;
        for (size_t x = 0; x < width; x++)
            copy_pixel(from + (x + first) % width * size, image->format, to + 3 * x);
    }
    return MFRGN_OK;
}
