/* Images to a network's input: the evaluation transform of several images by several threads. */
#include "model/input.h"

#include "io/image.h"

typedef struct job {
    const mfrgn_image *images;
    size_t count, scratch;
    int height, width, crop, tasks;
    char *memory;
    float *out;
} job;

/* The view that is resized: CVACT's pre-crop takes the rows H/4 .. 3H/4. */
static mfrgn_image cropped(const mfrgn_image *image, int crop) {
    mfrgn_image part = *image;
    if (crop && image->height >= 4)
        (void)mfrgn_image_crop(NULL, image, 0, image->height / 4, image->width,
                               image->height * 3 / 4 - image->height / 4, &part);
    return part;
}

static void fill_task(void *arg, int index) {
    const job *j = arg;
    size_t size = (size_t)j->height * (size_t)j->width * 3;
    for (size_t i = (size_t)index; i < j->count; i += (size_t)j->tasks) {
        mfrgn_image part = cropped(&j->images[i], j->crop);
        mf_image_prepare(&part, j->height, j->width, j->out + i * size, j->memory + (size_t)index * j->scratch);
    }
}

mfrgn_status mf_input_check(mfrgn_context *context, const mfrgn_image *images, size_t count) {
    for (size_t i = 0; i < count; i++) {
        mfrgn_status status = mf_image_check(context, &images[i]);
        if (status != MFRGN_OK)
            return mf_fail_in(context, status, "image %zu", i);
    }
    return MFRGN_OK;
}

mfrgn_status mf_input_fill(mfrgn_context *context, int threads, const mfrgn_image *images, size_t count, int height,
                           int width, int precrop, float *out, mf_input_scratch *scratch) {
    job j = {images, count, 0, height, width, precrop, 1, NULL, out};
    for (size_t i = 0; i < count; i++) {
        mfrgn_image part = cropped(&images[i], precrop);
        size_t need = (mf_image_scratch(&part, height, width) + 63) / 64 * 64;
        if (need > j.scratch)
            j.scratch = need;
    }
    j.tasks = (size_t)threads < count ? threads : (int)count;
    size_t bytes = j.scratch * (size_t)j.tasks;
    if (bytes > scratch->bytes) {
        mf_free(context, scratch->memory);
        scratch->bytes = 0;
        scratch->memory = mf_alloc(context, bytes);
        if (!scratch->memory)
            return mf_fail_memory(context, bytes, "resizing pictures");
        scratch->bytes = bytes;
    }
    j.memory = scratch->memory;
    mf_parallel(context, j.tasks, fill_task, &j);
    return MFRGN_OK;
}

/* From the end, so that nothing is overwritten before it is read. */
void mf_input_widen(void *values, size_t count) {
    const float *from = values;
    double *to = values;
    for (size_t i = count; i-- > 0;)
        to[i] = from[i];
}
