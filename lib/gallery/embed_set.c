#include "gallery/embed_set.h"

/* Pictures that are decoded together, each on a thread, and then embedded. */
typedef struct chunk {
    mfrgn_context *context;
    const mf_sample *sample;
    size_t count;
    mfrgn_bitmap **bitmap;
    char **why; /* of those that could not be decoded */
    mfrgn_image *image;
} chunk;

static void decode_task(void *arg, int index) {
    const chunk *c = arg;
    c->bitmap[index] = NULL;
    c->why[index] = NULL;
    if (mfrgn_bitmap_load(c->context, c->sample[index].path, &c->bitmap[index]) != MFRGN_OK) {
        c->bitmap[index] = NULL;
        c->why[index] = mf_strdup(c->context, mfrgn_context_last_error(c->context));
    }
}

static void empty(const chunk *c) {
    for (size_t i = 0; i < c->count; i++) {
        mfrgn_bitmap_free(c->bitmap[i]);
        mf_free(c->context, c->why[i]);
    }
}

/* The images that are there; the others are told of, or the first of them is the error. */
static mfrgn_status sort_out(const chunk *c, size_t first, const mfrgn_evaluate_options *o, mf_embedded *e,
                             size_t *images) {
    *images = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (c->bitmap[i]) {
            mfrgn_image *image = &c->image[*images];
            image->struct_size = sizeof(*image);
            mfrgn_bitmap_image(c->bitmap[i], image);
            e->row[first + i] = (uint32_t)(e->matrix.count + (*images)++);
            continue;
        }
        const char *why = c->why[i] ? c->why[i] : "out of memory";
        if (!o || !o->skipped)
            return mf_fail(c->context, MFRGN_ERROR_FORMAT, "%s", why);
        e->row[first + i] = UINT32_MAX;
        o->skipped(o->user, c->sample[i].path, why);
    }
    return MFRGN_OK;
}

static mfrgn_status embed_all(mfrgn_session *s, const mf_sample_set *set, const mfrgn_evaluate_options *o, chunk *c,
                              size_t most, mf_embedded *e) {
    const mfrgn_progress *progress = o ? o->progress : NULL;
    for (size_t i = 0, images; i < set->count; i += c->count) {
        MF_TRY(mf_progress(s->context, progress, i, set->count));
        c->sample = set->item + i;
        c->count = set->count - i < most ? set->count - i : most;
        mf_parallel(s->context, (int)c->count, decode_task, c);
        mfrgn_status status = sort_out(c, i, o, e, &images);
        if (status == MFRGN_OK)
            status = mfrgn_embed(s, set->view, c->image, images, e->memory + e->matrix.count * e->matrix.size);
        empty(c);
        MF_TRY(status);
        e->matrix.count += images;
    }
    return mf_progress(s->context, progress, set->count, set->count);
}

/* Without pictures left out the samples are the set's own, and no rows have moved. */
static mfrgn_status settle(mfrgn_context *context, const mf_sample_set *set, mf_embedded *e) {
    e->matrix.data = e->memory;
    if (e->matrix.count == set->count) {
        mf_free(context, e->row);
        e->row = NULL;
        return MFRGN_OK;
    }
    e->kept = mf_alloc(context, set->count * sizeof(*e->kept));
    if (!e->kept)
        return mf_fail_memory(context, set->count * sizeof(*e->kept), "a list of pictures");
    for (size_t i = 0; i < set->count; i++)
        if (e->row[i] != UINT32_MAX)
            e->kept[e->row[i]] = set->item[i];
    e->sample = e->kept;
    return MFRGN_OK;
}

static mfrgn_status compute(mfrgn_session *s, const mf_sample_set *set, const mfrgn_evaluate_options *o,
                            mf_embedded *e) {
    mfrgn_context *context = s->context;
    size_t most = (size_t)s->batch > 2 * (size_t)s->engine.threads ? (size_t)s->batch : 2 * (size_t)s->engine.threads, bytes;
    most = (most + (size_t)s->batch - 1) / (size_t)s->batch * (size_t)s->batch; /* batches are full */
    if (__builtin_mul_overflow(set->count, e->matrix.size * sizeof(float), &bytes))
        return mf_fail_memory(context, SIZE_MAX, "descriptors");
    chunk c = {.context = context,
               .bitmap = mf_calloc(context, most, sizeof(*c.bitmap)),
               .why = mf_calloc(context, most, sizeof(*c.why)),
               .image = mf_calloc(context, most, sizeof(*c.image))};
    e->memory = mf_alloc_huge(context, bytes);
    e->row = mf_alloc(context, set->count * sizeof(*e->row));
    mfrgn_status status = c.bitmap && c.why && c.image && e->memory && e->row
                              ? embed_all(s, set, o, &c, most, e)
                              : mf_fail_memory(context, bytes, "descriptors");
    mf_free(context, c.bitmap);
    mf_free(context, c.why);
    mf_free(context, c.image);
    return status == MFRGN_OK ? settle(context, set, e) : status;
}

mfrgn_status mf_embed_set(mfrgn_session *s, const mf_sample_set *set, const mfrgn_evaluate_options *o,
                          const char *cache_path, mf_embedded *out) {
    mf_embedded e = {.matrix = {.size = mfrgn_model_descriptor_size(s->model)}, .sample = set->item};
    if (o && o->stage)
        o->stage(o->user, set->name, set->count);
    mfrgn_status status = MFRGN_OK;
    if (cache_path && mf_cache_find(s->context, cache_path, set->count, e.matrix.size, &e.file)) {
        mf_log(s->context, MFRGN_LOG_INFO, "%s: descriptors of %zu pictures", cache_path, set->count);
        e.matrix.data = e.file.data;
        e.matrix.count = set->count;
    } else {
        status = compute(s, set, o, &e);
        if (status == MFRGN_OK && cache_path && !e.row && set->count)
            status = mf_npy_save(s->context, cache_path, e.memory, e.matrix.count, e.matrix.size);
    }
    if (status != MFRGN_OK)
        mf_embedded_free(s->context, &e);
    else
        *out = e;
    return status;
}

void mf_embedded_free(mfrgn_context *context, mf_embedded *e) {
    mf_matrix_free(context, &e->matrix);
    mf_free(context, e->memory);
    mf_free(context, e->kept);
    mf_free(context, e->row);
    mf_npy_unmap(&e->file);
    memset(e, 0, sizeof(*e));
}
