/* Embeds tiles into a gallery.
 *
 * Pictures are decoded ahead, embedded a batch at a time (an image's place in a batch changes no bit) and appended to
 * PATH.partial; when all are there the gallery is written beside PATH and renamed.  So nothing that is killed or fails
 * touches the old file, and what was embedded is not lost. */
#include <string.h>

#include "gallery/ahead.h"
#include "gallery/index.h"
#include "gallery/partial.h"

typedef struct builder {
    mfrgn_context *context;
    mfrgn_session *session;
    const mf_tile_source *source;
    const mfrgn_index_build *build;
    const char *path;
    int add;
    mfrgn_index *extend; /* add: the gallery that is there, opened under the lock */
    mf_maker maker;
    size_t size;
    size_t first, last; /* of the source */
    mf_partial *partial;
    size_t *kept; /* records with a descriptor */
    size_t kept_count;
} builder;

static mfrgn_status get_tile(const builder *b, size_t i, mfrgn_tile *tile) {
    memset(tile, 0, sizeof(*tile));
    tile->struct_size = sizeof(*tile);
    return b->source->get(b->source->user, i, tile);
}

static mfrgn_status list_hash(const builder *b, uint64_t *hash) {
    mf_checksum_state state;
    mf_checksum_begin(&state);
    for (size_t i = 0; i < b->source->count; i++) {
        mfrgn_tile tile;
        MF_TRY(get_tile(b, i, &tile));
        const char *fault = mf_tile_fault(&tile);
        if (fault)
            return mf_fail(b->context, MFRGN_ERROR_ARGUMENT, "tile %zu (%s): %s", i, tile.id ? tile.id : "", fault);
        mf_tile_digest(&state, &tile);
    }
    *hash = mf_checksum_end(&state);
    return MFRGN_OK;
}

/* ---- embedding ---- */

typedef struct batch {
    mf_picture *picture;
    mfrgn_image *image;
    float *values;
    size_t room, count, good;
} batch;

static void batch_clear(builder *b, batch *t) {
    for (size_t i = 0; i < t->count; i++) {
        mfrgn_bitmap_free(t->picture[i].bitmap);
        mf_free(b->context, t->picture[i].error);
    }
    t->count = t->good = 0;
}

/* A picture that cannot be read is the caller's to judge; anything else that fails ends the build. */
static mfrgn_status judge(builder *b, const mf_picture *p) {
    mfrgn_tile tile;
    const char *why = p->error && *p->error ? p->error : mfrgn_status_string(p->status);
    int of_picture = p->status == MFRGN_ERROR_IO || p->status == MFRGN_ERROR_FORMAT ||
                     p->status == MFRGN_ERROR_UNSUPPORTED;
    MF_TRY(get_tile(b, p->index, &tile));
    if (!of_picture || !b->build->skipped)
        return mf_fail(b->context, p->status, "tile %s: %s", tile.id, why);
    b->build->skipped(b->build->skipped_user, &tile, why);
    return MFRGN_OK;
}

static mfrgn_status batch_fill(builder *b, batch *t, mf_ahead *ahead, size_t want) {
    while (t->count < want) {
        mf_picture *p = &t->picture[t->count++];
        mf_ahead_next(ahead, p);
        if (!p->bitmap) {
            MF_TRY(judge(b, p));
            continue;
        }
        t->image[t->good].struct_size = sizeof(t->image[0]);
        MF_TRY(mfrgn_bitmap_image(p->bitmap, &t->image[t->good++]));
    }
    return MFRGN_OK;
}

static mfrgn_status batch_embed(builder *b, batch *t) {
    size_t next = 0;
    if (t->good)
        MF_TRY(mfrgn_embed(b->session, MFRGN_VIEW_AERIAL, t->image, t->good, t->values));
    for (size_t i = 0; i < t->count; i++)
        MF_TRY(mf_partial_append(b->partial, t->picture[i].bitmap ? t->values + next++ * b->size : NULL));
    return MFRGN_OK;
}

static mfrgn_status embed_rest(builder *b, batch *t, mf_ahead *ahead) {
    size_t total = b->last - b->first;
    while (b->partial->records < total) {
        MF_TRY(mf_progress(b->context, b->build->progress, b->partial->records, total));
        size_t left = total - b->partial->records;
        mfrgn_status status = batch_fill(b, t, ahead, left < t->room ? left : t->room);
        if (status == MFRGN_OK)
            status = batch_embed(b, t);
        batch_clear(b, t);
        MF_TRY(status);
    }
    return mf_progress(b->context, b->build->progress, total, total);
}

/* Those that were left out before the build was interrupted. */
static mfrgn_status tell_skipped(builder *b) {
    if (!b->partial->records)
        return MFRGN_OK;
    MF_TRY(mf_partial_map(b->partial));
    for (size_t i = 0; i < b->partial->records; i++) {
        mfrgn_tile tile;
        if (mf_partial_state(b->partial, i) == MF_RECORD_EMBEDDED)
            continue;
        MF_TRY(get_tile(b, b->first + i, &tile));
        if (!b->build->skipped)
            return mf_fail(b->context, MFRGN_ERROR_FORMAT,
                           "tile %s: could not be read before the build was interrupted", tile.id);
        b->build->skipped(b->build->skipped_user, &tile, "could not be read before the build was interrupted");
    }
    mf_file_unmap(&b->partial->file); /* it grows */
    return MFRGN_OK;
}

static mfrgn_status embed_tiles(builder *b) {
    size_t done = b->partial->records, room = (size_t)b->session->batch;
    batch t = {mf_calloc(b->context, room, sizeof(*t.picture)), mf_calloc(b->context, room, sizeof(*t.image)),
               mf_alloc(b->context, room * b->size * sizeof(float)), room, 0, 0};
    mf_ahead *ahead = NULL;
    mfrgn_status status = tell_skipped(b);
    if (status == MFRGN_OK && (!t.picture || !t.image || !t.values))
        status = mf_fail_memory(b->context, room * b->size * sizeof(float), "a batch");
    if (status == MFRGN_OK && b->first + done < b->last) {
        /* A core decodes some 300 tiles a second and embeds a few: a GPU wants them all. */
        int cores = mf_core_count(), threads = cores > 4 ? cores / 2 : cores;
        size_t slots = 2 * room > 2 * (size_t)threads ? 2 * room : 2 * (size_t)threads;
        status = mfrgn_session_prepare(b->session, MFRGN_VIEW_AERIAL);
        if (status == MFRGN_OK)
            status = mf_ahead_start(b->context, b->source, b->first + done, b->last, threads, slots, &ahead);
    }
    if (status == MFRGN_OK)
        status = embed_rest(b, &t, ahead);
    mf_ahead_stop(ahead);
    mf_free(b->context, t.picture);
    mf_free(b->context, t.image);
    mf_free(b->context, t.values);
    return status;
}

/* ---- writing ---- */

static mfrgn_status kept_tile(void *user, size_t i, mfrgn_tile *tile) {
    const builder *b = user;
    return get_tile(b, b->first + b->kept[i], tile);
}

static mfrgn_status kept_row(void *user, size_t i, void *codes, mf_row *row) {
    const builder *b = user;
    mfrgn_index_storage storage = b->extend ? b->extend->header.storage : b->build->storage;
    mf_row_make(mf_partial_values(b->partial, b->kept[i]), b->size, storage, codes, row);
    return MFRGN_OK;
}

static mfrgn_status list_kept(builder *b) {
    MF_TRY(mf_partial_map(b->partial));
    b->kept = mf_alloc(b->context, b->partial->records * sizeof(*b->kept));
    if (!b->kept)
        return mf_fail_memory(b->context, b->partial->records * sizeof(*b->kept), "a gallery");
    for (size_t i = 0; i < b->partial->records; i++)
        if (mf_partial_state(b->partial, i) == MF_RECORD_EMBEDDED)
            b->kept[b->kept_count++] = i;
    if (!b->kept_count)
        return mf_fail(b->context, MFRGN_ERROR_ARGUMENT, "%s: none of the %zu tiles could be read", b->path,
                       b->partial->records);
    return MFRGN_OK;
}

static mf_source_range range_of(const builder *b, uint64_t hash) {
    return (mf_source_range){hash, b->first, b->last, b->source->count};
}

/* The old gallery's list and then ours. */
static mf_source_range extended_range(const builder *b, const mf_source_range *ours) {
    const mf_source_range *old = &b->extend->header.source;
    uint64_t both[2] = {old->hash, ours->hash}, total = old->last - old->first + ours->last - ours->first;
    return (mf_source_range){mf_checksum(both, sizeof(both)), 0, total, total};
}

static mfrgn_status write_gallery(builder *b) {
    mf_part part[2];
    size_t parts = 0;
    const mfrgn_index *old = b->extend;
    MF_TRY(list_kept(b));
    if (old)
        part[parts++] = mf_part_of(old);
    part[parts++] = (mf_part){b->kept_count, b, kept_tile, kept_row};
    mf_source_range ours = b->partial->what.source;
    mf_assembly what = {.storage = old ? old->header.storage : b->build->storage,
                        .size = (uint32_t)b->size,
                        .model = b->maker.model,
                        .preparation = b->maker.preparation,
                        .model_name = b->maker.model_name,
                        .preparation_name = b->maker.preparation_name,
                        .processing = b->source->processing,
                        .source = old ? extended_range(b, &ours) : ours,
                        .part = part,
                        .parts = parts};
    return mf_assemble(b->context, b->path, &what);
}

/* ---- the whole ---- */

static mfrgn_status open_extended(builder *b) {
    MF_TRY(mfrgn_index_open(b->context, b->path, &b->extend));
    const mfrgn_index *old = b->extend;
    MF_TRY(mfrgn_index_check_model(old, b->session));
    if (strcmp(old->processing, b->source->processing) != 0)
        return mf_fail(b->context, MFRGN_ERROR_MISMATCH, "%s: its tiles went through \"%s\" first, these through \"%s\"",
                       old->path, old->processing, b->source->processing);
    return mfrgn_index_verify(old, NULL);
}

static mfrgn_status check_arguments(builder *b) {
    const mfrgn_index_build *build = b->build;
    int shards = build->shards ? build->shards : 1;
    if ((unsigned)build->storage > MFRGN_INDEX_I8)
        return mf_fail(b->context, MFRGN_ERROR_ARGUMENT, "a gallery's storage cannot be %d", (int)build->storage);
    if (shards < 1 || build->shard < 0 || build->shard >= shards)
        return mf_fail(b->context, MFRGN_ERROR_ARGUMENT, "shard %d of %d: the first is 0", build->shard, build->shards);
    if (!b->source->count)
        return mf_fail(b->context, MFRGN_ERROR_ARGUMENT, "%s: there is no tile to build a gallery from", b->path);
    b->first = b->source->count / (size_t)shards * (size_t)build->shard +
               b->source->count % (size_t)shards * (size_t)build->shard / (size_t)shards;
    b->last = b->source->count / (size_t)shards * ((size_t)build->shard + 1) +
              b->source->count % (size_t)shards * ((size_t)build->shard + 1) / (size_t)shards;
    if (b->first == b->last)
        return mf_fail(b->context, MFRGN_ERROR_ARGUMENT, "shard %d of %d: %zu tiles leave it empty", build->shard,
                       shards, b->source->count);
    return MFRGN_OK;
}

static mfrgn_status source_tile(void *user, size_t i, mfrgn_tile *tile) {
    const builder *b = user;
    return get_tile(b, b->first + i, tile);
}

/* Told before hours of work, not after. */
static mfrgn_status check_tiles(builder *b) {
    mf_part part[2] = {{b->last - b->first, b, source_tile, NULL}};
    uint64_t strings;
    if (b->extend)
        part[1] = mf_part_of(b->extend);
    return mf_check_ids(b->context, b->path, part, b->extend ? 2 : 1, &strings);
}

static mfrgn_status run_build(builder *b) {
    uint64_t hash = 0;
    MF_TRY(check_arguments(b));
    MF_TRY(list_hash(b, &hash));
    MF_TRY(mf_maker_of(b->session, &b->maker));
    mf_partial_what what = {b->maker.model, b->maker.preparation,
                            mf_checksum(b->source->processing, strlen(b->source->processing)), range_of(b, hash),
                            (uint32_t)b->size};
    MF_TRY(mf_partial_open(b->context, b->path, &what, b->build->resume, &b->partial));
    if (b->add)
        MF_TRY(open_extended(b));
    MF_TRY(check_tiles(b));
    MF_TRY(embed_tiles(b));
    return write_gallery(b);
}

mfrgn_status mf_index_build(mfrgn_session *session, const mf_tile_source *source, const char *path,
                            const mfrgn_index_build *build, int add) {
    static const mfrgn_index_build plain = {sizeof(plain), MFRGN_INDEX_F32, 0, 0, 0, NULL, NULL, NULL};
    builder b = {.context = session->context,
                 .session = session,
                 .source = source,
                 .build = build ? build : &plain,
                 .path = path,
                 .add = add,
                 .size = mfrgn_model_descriptor_size(session->model)};
    if (b.build->struct_size < sizeof(plain))
        return mf_fail(b.context, MFRGN_ERROR_ARGUMENT, "mfrgn_index_build: struct_size is not set");
    mfrgn_status status = run_build(&b);
    /* what another try would find the same is not kept for it */
    int done = status == MFRGN_OK || status == MFRGN_ERROR_ARGUMENT || (b.partial && !b.partial->records);
    mf_partial_close(b.partial, done);
    mfrgn_index_free(b.extend);
    mf_maker_free(b.context, &b.maker);
    mf_free(b.context, b.kept);
    return status;
}
