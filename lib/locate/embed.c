/* Descriptors of queries: panoramas, their rolls, pinhole pictures in the canvas of a panorama. */
#include <math.h>
#include <string.h>

#include "io/image.h"
#include "locate/locate.h"

static mfrgn_status bad(mfrgn_context *context, const char *what) {
    return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_locate_options: %s", what);
}

mfrgn_status mf_locate_options(mfrgn_context *context, const mfrgn_locate_options *given, mfrgn_locate_options *o) {
    if (given && given->struct_size < sizeof(*given))
        return bad(context, "struct_size is not set");
    memset(o, 0, sizeof(*o));
    if (given)
        *o = *given;
    o->struct_size = sizeof(*o);
    o->k = o->k ? o->k : 5;
    o->yaw_steps = o->yaw_steps ? o->yaw_steps : 1;
    o->precrop = o->precrop != 0;
    if (o->k > MF_MAX_K)
        return bad(context, "k must be 1 .. 1024");
    if (o->yaw_steps < 1 || o->yaw_steps > MF_MAX_YAW)
        return bad(context, "yaw_steps must be 1 .. 360");
    if (!(o->radius_m >= 0) || !isfinite(o->radius_m))
        return bad(context, "the radius of the prior must be a number of metres, 0 or more");
    if (o->radius_m > 0 && !(o->latitude >= -90 && o->latitude <= 90))
        return bad(context, "the latitude of the prior must be within -90 .. 90");
    if (o->radius_m > 0 && !(o->longitude >= -180 && o->longitude <= 180))
        return bad(context, "the longitude of the prior must be within -180 .. 180");
    if (o->camera && o->camera->struct_size < sizeof(*o->camera))
        return bad(context, "struct_size of the camera is not set");
    return MFRGN_OK;
}

/* A picture as the panorama that the network is to see, turned by `step` of the steps. */
static mfrgn_status make_view(mfrgn_session *s, const mfrgn_image *image, const mfrgn_locate_options *o, int step,
                              mfrgn_bitmap **out) {
    mfrgn_bitmap *bitmap = NULL;
    mfrgn_status status;
    if (o->camera) {
        mfrgn_camera camera = *o->camera;
        int width, height;
        mfrgn_model_input_size(s->model, MFRGN_VIEW_GROUND, &width, &height);
        if (s->precrop) /* it takes the middle half of the rows away again */
            height *= 2;
        camera.yaw -= 360.0 * step / o->yaw_steps;
        MF_TRY(mfrgn_bitmap_create(s->context, width, height, &bitmap));
        status = mfrgn_image_reproject(s->context, image, &camera, bitmap);
    } else {
        MF_TRY(mfrgn_bitmap_create(s->context, image->width, image->height, &bitmap));
        long columns = (long)((int64_t)image->width * step / o->yaw_steps);
        status = mfrgn_image_roll(s->context, image, columns, bitmap);
    }
    if (status != MFRGN_OK)
        mfrgn_bitmap_free(bitmap);
    else
        *out = bitmap;
    return status;
}

/* Views first .. first + count - 1 of n x yaw_steps. */
static mfrgn_status embed_chunk(mfrgn_session *s, const mfrgn_image *images, const mfrgn_locate_options *o,
                                size_t first, size_t count, mfrgn_bitmap **bitmap, mfrgn_image *view, float *out) {
    mfrgn_status status = MFRGN_OK;
    size_t made = 0, steps = (size_t)o->yaw_steps;
    for (; made < count; made++) {
        size_t at = first + made;
        status = mf_image_check(s->context, &images[at / steps]);
        if (status == MFRGN_OK)
            status = make_view(s, &images[at / steps], o, (int)(at % steps), &bitmap[made]);
        if (status != MFRGN_OK) {
            status = mf_fail_in(s->context, status, "image %zu", at / steps);
            break;
        }
        mfrgn_bitmap_image(bitmap[made], &view[made]);
    }
    if (status == MFRGN_OK)
        status = mfrgn_embed(s, MFRGN_VIEW_GROUND, view, count, out);
    for (size_t i = 0; i < made; i++)
        mfrgn_bitmap_free(bitmap[i]);
    return status;
}

mfrgn_status mfrgn_locate_embed(mfrgn_session *s, const mfrgn_image *images, size_t n,
                                const mfrgn_locate_options *given, float *descriptors) {
    mfrgn_locate_options o;
    if (!s)
        return MFRGN_ERROR_ARGUMENT;
    if (n && (!images || !descriptors))
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "mfrgn_locate_embed: images or descriptors is NULL");
    MF_TRY(mf_locate_options(s->context, given, &o));
    if (o.yaw_steps == 1 && !o.camera)
        return mfrgn_embed(s, MFRGN_VIEW_GROUND, images, n, descriptors);
    size_t views = n * (size_t)o.yaw_steps, size = mfrgn_model_descriptor_size(s->model), batch = (size_t)s->batch;
    mfrgn_bitmap **bitmap = mf_alloc(s->context, batch * sizeof(mfrgn_bitmap *));
    mfrgn_image *view = mf_alloc(s->context, batch * sizeof(*view));
    mfrgn_status status =
        bitmap && view ? MFRGN_OK : mf_fail_memory(s->context, batch * sizeof(*view), "views of a picture");
    for (size_t i = 0; i < views && status == MFRGN_OK; i += batch)
        status =
            embed_chunk(s, images, &o, i, views - i < batch ? views - i : batch, bitmap, view, descriptors + i * size);
    mf_free(s->context, bitmap);
    mf_free(s->context, view);
    return status;
}

mfrgn_status mf_session_searcher(mfrgn_session *s, mfrgn_searcher **searcher) {
    mfrgn_options *options;
    const mf_engine *e = &s->engine;
    MF_TRY(mfrgn_options_create(s->context, &options));
    mfrgn_status status = mfrgn_options_set_int(options, MFRGN_OPTION_THREADS, e->threads);
    if (status == MFRGN_OK && e->backend->table->scan)
        status = mfrgn_options_set(options, MFRGN_OPTION_BACKEND, e->backend->name);
    if (status == MFRGN_OK && e->backend->table->scan)
        status = mfrgn_options_set_int(options, MFRGN_OPTION_DEVICE, e->device);
    if (status == MFRGN_OK)
        status = mfrgn_searcher_create(s->context, options, searcher);
    mfrgn_options_free(options);
    return status;
}
