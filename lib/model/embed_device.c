/* Embedding of images that lie in the memory of the session's backend. */
#include <string.h>

#include "io/image.h"
#include "model/session.h"

static int channels(mfrgn_pixel format) {
    return format == MFRGN_PIXEL_GRAY8 ? 1 : format == MFRGN_PIXEL_RGBA8 ? 4 : 3;
}

static mfrgn_status check(mfrgn_session *s, const mfrgn_device_images *x) {
    if (x->struct_size < sizeof(*x) || !x->pixels)
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "mfrgn_device_images: struct_size or pixels is not set");
    if (x->format < MFRGN_PIXEL_RGB8 || x->format > MFRGN_PIXEL_GRAY8)
        return mf_fail(s->context, MFRGN_ERROR_UNSUPPORTED, "mfrgn_device_images: format %d, not of 8 bits",
                       (int)x->format);
    if (x->width < 1 || x->height < 1 || x->width > 65535 || x->height > 65535)
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "mfrgn_device_images: %d x %d pixels", x->width, x->height);
    size_t row = (size_t)x->width * (size_t)channels(x->format);
    if ((x->row_bytes && x->row_bytes < row) ||
        (x->image_bytes && x->image_bytes < (x->row_bytes ? x->row_bytes : row) * (size_t)(x->height - 1) + row))
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_device_images: rows of %zu bytes, images of %zu: too short for %d x %d pixels",
                       x->row_bytes, x->image_bytes, x->width, x->height);
    return MFRGN_OK;
}

/* With its strides set. */
static mfrgn_device_images complete(const mfrgn_device_images *images) {
    mfrgn_device_images x = *images;
    if (!x.row_bytes)
        x.row_bytes = (size_t)x.width * (size_t)channels(x.format);
    if (!x.image_bytes)
        x.image_bytes = x.row_bytes * (size_t)x.height;
    return x;
}

/* The backend's memory is the host's: they are images as any others. */
static mfrgn_status embed_host(mfrgn_session *s, mfrgn_view view, const mfrgn_device_images *x, float *descriptors) {
    mfrgn_image *list = mf_calloc(s->context, x->count, sizeof(*list));
    if (!list)
        return mf_fail_memory(s->context, x->count * sizeof(*list), "a list of images");
    for (size_t i = 0; i < x->count; i++)
        list[i] = (mfrgn_image){
            sizeof(*list), (const char *)x->pixels + i * x->image_bytes, x->width, x->height, (ptrdiff_t)x->row_bytes,
            x->format};
    mfrgn_status status = mfrgn_embed(s, view, list, x->count, descriptors);
    mf_free(s->context, list);
    return status;
}

static mfrgn_status prepare_input(mfrgn_session *s, mfrgn_view view, const mfrgn_device_images *x, size_t first,
                                  size_t count) {
    const mf_backend *table = s->engine.backend->table;
    const mf_program *plan = &s->view[view].program;
    const mf_tensor *t = &plan->graph->tensor[plan->graph->input];
    int crop = s->precrop && view == MFRGN_VIEW_GROUND && x->height >= 4;
    int top = crop ? x->height / 4 : 0, bottom = crop ? x->height * 3 / 4 : x->height;
    float *input = (float *)(void *)((char *)s->arena + plan->memory->offset[plan->graph->input]);
    size_t size = (size_t)(t->dim[1] * t->dim[2] * t->dim[3]);
    mf_images images = {.struct_size = sizeof(images),
                        .pixels = (const char *)x->pixels + first * x->image_bytes + (size_t)top * x->row_bytes,
                        .count = (int64_t)count,
                        .width = x->width,
                        .height = bottom - top,
                        .row_bytes = (int64_t)x->row_bytes,
                        .image_bytes = (int64_t)x->image_bytes,
                        .channels = channels(x->format),
                        .swap = x->format == MFRGN_PIXEL_BGR8,
                        .out_width = t->dim[2],
                        .out_height = t->dim[1]};
    memcpy(images.mean, mf_image_mean, sizeof(images.mean));
    memcpy(images.std, mf_image_std, sizeof(images.std));
    mf_status status = table->images(s->engine.stream, &images, input);
    if (status)
        return mf_fail_in(s->context, (mfrgn_status)status, "backend %s, images", s->engine.backend->name);
    size_t rest = (size_t)s->batch - count;
    return rest ? mf_engine_zero(&s->engine, input + count * size, rest * size * sizeof(float)) : MFRGN_OK;
}

static mfrgn_status embed_batch(mfrgn_session *s, mfrgn_view view, const mfrgn_device_images *x, size_t first,
                                size_t count, float *descriptors) {
    mf_program *plan = &s->view[view].program;
    size_t size = mfrgn_model_descriptor_size(s->model);
    mf_engine_begin(&s->engine);
    mfrgn_status status = prepare_input(s, view, x, first, count);
    mf_engine_end(&s->engine);
    MF_TRY(status);
    MF_TRY(mf_program_run(plan, s->arena, NULL, &s->progress));
    mf_engine_begin(&s->engine);
    status = mf_engine_copy(&s->engine, descriptors + first * size,
                            (char *)s->arena + plan->memory->offset[plan->graph->output], count * size * sizeof(float));
    mf_engine_end(&s->engine);
    return status;
}

mfrgn_status mfrgn_embed_device(mfrgn_session *s, mfrgn_view view, const mfrgn_device_images *images,
                                float *descriptors) {
    if (!s)
        return MFRGN_ERROR_ARGUMENT;
    if (!images || !descriptors || (unsigned)view > 1)
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_embed_device: images or descriptors is NULL, or no such view");
    MF_TRY(check(s, images));
    mfrgn_device_images x = complete(images);
    if (mf_engine_is_host(&s->engine))
        return embed_host(s, view, &x, descriptors);
    if (!s->engine.backend->table->images)
        return mf_fail(s->context, MFRGN_ERROR_UNSUPPORTED, "backend %s does not prepare images",
                       s->engine.backend->name);
    MF_TRY(mf_session_plan(s, view));
    for (size_t i = 0; i < x.count; i += (size_t)s->batch) {
        size_t count = x.count - i < (size_t)s->batch ? x.count - i : (size_t)s->batch;
        MF_TRY(embed_batch(s, view, &x, i, count, descriptors));
    }
    return MFRGN_OK;
}

mfrgn_status mfrgn_session_finish(mfrgn_session *s) {
    if (!s)
        return MFRGN_ERROR_ARGUMENT;
    mf_engine_begin(&s->engine);
    mfrgn_status status = mf_engine_finish(&s->engine);
    mf_engine_end(&s->engine);
    return status;
}

/* What was recorded is another run from then on. */
static mfrgn_status calibrating(mfrgn_session *s, int on) {
    mf_engine_begin(&s->engine);
    mf_status status = s->engine.backend->table->calibrate(s->engine.stream, on);
    for (int view = 0; view < 2; view++)
        mf_program_forget(&s->view[view].program);
    mf_engine_end(&s->engine);
    return status ? mf_fail_in(s->context, (mfrgn_status)status, "backend %s, calibration", s->engine.backend->name)
                  : MFRGN_OK;
}

mfrgn_status mfrgn_session_calibrate(mfrgn_session *s, mfrgn_view view, const mfrgn_image *images, size_t n) {
    if (!s)
        return MFRGN_ERROR_ARGUMENT;
    if (!n || !images || (unsigned)view > 1)
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "mfrgn_session_calibrate: no images, or no such view");
    if (!s->engine.backend->table->calibrate)
        return mf_fail(s->context, MFRGN_ERROR_UNSUPPORTED, "backend %s has nothing to calibrate",
                       s->engine.backend->name);
    size_t bytes = n * mfrgn_model_descriptor_size(s->model) * sizeof(float);
    float *descriptors = mf_alloc(s->context, bytes);
    if (!descriptors)
        return mf_fail_memory(s->context, bytes, "descriptors");
    mfrgn_status status = mf_session_plan(s, view);
    if (status == MFRGN_OK)
        status = calibrating(s, 1);
    if (status == MFRGN_OK) {
        s->view[view].calibrated = 1;
        status = mfrgn_embed(s, view, images, n, descriptors);
        mfrgn_status off = calibrating(s, 0);
        status = status == MFRGN_OK ? off : status;
    }
    mf_free(s->context, descriptors);
    return status;
}
