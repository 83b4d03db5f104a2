/* Where a scan's rows come from.
 *
 * The gallery that was scanned last stays in device memory as far as there is room (four fifths of what is free, and
 * the stream's limit), in pieces of 64 MB.  The interface does not say when rows change, so a piece is believed while
 * the address, the type, the size, the first bytes of its first row and the norm of every row that is asked for are
 * those that were copied.  What is not there is copied through two pinned buffers on a queue of its own, so that the
 * copy of a block overlaps the products of the one before; of a list, the host gathers the rows.
 *
 * Rows of a list that are in a piece are gathered by the device.  A list never fills pieces: a search near a place
 * would copy the whole gallery for it. */
#include "backends/cuda/scan_state.h"

#include "backends/scan.h"

static const mf_host *host_of(const mf_stream *s) {
    return s->device->host;
}

int64_t mfc_scan_piece_rows(mf_dtype dtype, int64_t size) { /* a power of two */
    int64_t rows = 1;
    while (2 * rows * size * (int64_t)mf_dtype_size(dtype) <= MFC_SCAN_PIECE)
        rows *= 2;
    return rows;
}

/* ---- the gallery ---- */

static void drop_piece(mf_stream *s, mfc_scan_piece *p) {
    if (p->rows)
        mfc_free(s, p->rows);
    host_of(s)->free(host_of(s)->context, p->norm);
    memset(p, 0, sizeof(*p));
}

void mfc_scan_forget(mf_stream *s, mfc_scan_state *state) {
    mfc_scan_gallery *g = &state->gallery;
    for (int64_t i = 0; i < g->count; i++)
        drop_piece(s, &g->piece[i]);
    host_of(s)->free(host_of(s)->context, g->piece);
    memset(g, 0, sizeof(*g));
}

static size_t budget_of(const mf_stream *s) {
    size_t available = 0, total = 0;
    if (cudaMemGetInfo(&available, &total) != cudaSuccess) {
        (void)cudaGetLastError();
        return 0;
    }
    if (s->limit && available > s->limit - mfc_min((int64_t)s->used, (int64_t)s->limit))
        available = s->limit - (size_t)mfc_min((int64_t)s->used, (int64_t)s->limit);
    return available / 5 * 4;
}

/* Room for `count` pieces; those that are there stay. */
static mf_status grow(mf_stream *s, mfc_scan_gallery *g, int64_t count) {
    const mf_host *host = host_of(s);
    if (count <= g->count)
        return 0;
    mfc_scan_piece *more = (mfc_scan_piece *)host->alloc(host->context, (size_t)count * sizeof(*more));
    if (!more)
        return MFC_MEMORY;
    memset(more, 0, (size_t)count * sizeof(*more));
    if (g->count)
        memcpy(more, g->piece, (size_t)g->count * sizeof(*more));
    host->free(host->context, g->piece);
    g->piece = more;
    g->count = count;
    return 0;
}

static size_t row_bytes(const mf_scan *scan) {
    return (size_t)scan->size * mf_dtype_size(scan->dtype);
}

static void read_sample(const mf_scan *scan, int64_t row, unsigned char sample[64]) {
    memset(sample, 0, 64);
    memcpy(sample, (const char *)scan->rows + (size_t)row * row_bytes(scan),
           row_bytes(scan) < 64 ? row_bytes(scan) : 64);
}

/* Whether rows begin .. end - 1, all of piece i, are there and are still those. */
static int holds(const mfc_scan_gallery *g, const mf_scan *scan, int64_t i, int64_t begin, int64_t end) {
    unsigned char sample[64];
    if (i >= g->count || !g->piece[i].filled)
        return 0;
    const mfc_scan_piece *p = &g->piece[i];
    const int64_t start = i * g->piece_rows;
    const int64_t last = scan->list ? (int64_t)scan->list[end - 1] : end - 1;
    if (last - start >= p->filled)
        return 0;
    read_sample(scan, start, sample);
    if (memcmp(sample, p->sample, sizeof(sample)))
        return 0;
    if (!scan->list)
        return !memcmp(p->norm + (begin - start), scan->norm + begin, (size_t)(end - begin) * sizeof(float));
    for (int64_t r = begin; r < end; r++)
        if (memcmp(p->norm + (scan->list[r] - start), scan->norm + scan->list[r], sizeof(float)))
            return 0;
    return 1;
}

/* Whether piece i can take rows from `begin` on: memory is there or is to be had, and what is before them is filled. */
static int takes(mf_stream *s, mfc_scan_gallery *g, const mf_scan *scan, int64_t i, int64_t begin) {
    const mf_host *host = host_of(s);
    const size_t bytes = (size_t)g->piece_rows * row_bytes(scan);
    mfc_scan_piece *p = &g->piece[i];
    const int64_t at = begin - i * g->piece_rows;
    if (p->rows && p->filled >= at) {
        p->filled = at; /* what follows is copied again */
        return 1;
    }
    if (p->rows || at || g->used + bytes > g->budget)
        return 0;
    p->norm = (float *)host->alloc(host->context, (size_t)g->piece_rows * sizeof(float));
    if (!p->norm || mfc_alloc(s, bytes, &p->rows)) {
        p->rows = NULL;
        drop_piece(s, p);
        g->budget = g->used; /* it is full: nobody asks again */
        return 0;
    }
    g->used += bytes;
    return 1;
}

static mf_status open_gallery(mf_stream *s, mfc_scan_state *state, const mf_scan *scan, int64_t block) {
    mfc_scan_gallery *g = &state->gallery;
    if (g->key != scan->rows || g->dtype != scan->dtype || g->size != scan->size || g->piece_rows % block) {
        mfc_scan_forget(s, state);
        g->key = scan->rows;
        g->dtype = scan->dtype;
        g->size = scan->size;
        g->piece_rows = mfc_scan_piece_rows(scan->dtype, scan->size);
        if (!scan->list) /* a small gallery is one small piece */
            while (g->piece_rows > block && g->piece_rows / 2 >= scan->count)
                g->piece_rows /= 2;
        g->budget = budget_of(s);
    }
    const int64_t last = scan->list ? (int64_t)scan->list[scan->count - 1] : scan->count - 1;
    return grow(s, g, last / g->piece_rows + 1);
}

/* ---- slots ---- */

static void close_slots(mf_stream *s, mfc_scan_state *state) {
    for (int i = 0; i < MFC_SCAN_SLOTS; i++) {
        mfc_scan_slot *slot = &state->slot[i];
        if (slot->pinned)
            (void)cudaFreeHost(slot->pinned);
        if (slot->landing)
            mfc_free(s, slot->landing);
        slot->pinned = slot->landing = NULL;
    }
    state->slot_bytes = 0;
}

/* Both queues are idle here: a scan ends by waiting for them. */
static mf_status open_slots(mf_stream *s, mfc_scan_state *state, const mf_scan *scan, int64_t block) {
    const size_t numbers = mfc_round_up((size_t)block * sizeof(float));
    state->width_at = mfc_round_up((size_t)block * row_bytes(scan));
    state->scale_at = state->width_at + numbers;
    state->list_at = state->scale_at + numbers;
    const size_t bytes = state->list_at + numbers;
    mf_status status = 0;
    if (bytes <= state->slot_bytes)
        return 0;
    close_slots(s, state);
    for (int i = 0; i < MFC_SCAN_SLOTS && !status; i++) {
        mfc_scan_slot *slot = &state->slot[i];
        status = mfc_alloc(s, bytes, (void **)&slot->landing);
        if (!status)
            status = mfc_check(s, cudaMallocHost((void **)&slot->pinned, bytes), "pinned memory of a scan");
        if (!status && !slot->copied)
            status = mfc_check(s, cudaEventCreateWithFlags(&slot->copied, cudaEventDisableTiming), "an event");
        if (!status && !slot->used)
            status = mfc_check(s, cudaEventCreateWithFlags(&slot->used, cudaEventDisableTiming), "an event");
    }
    if (!status && !state->copies)
        status = mfc_check(s, cudaStreamCreateWithFlags(&state->copies, cudaStreamNonBlocking), "a queue for copies");
    if (!status)
        state->slot_bytes = bytes;
    else
        close_slots(s, state);
    return status;
}

mf_status mfc_scan_open_rows(mf_stream *s, mfc_scan_state *state, const mf_scan *scan, int64_t block, float error) {
    (void)error;
    mf_status status = open_slots(s, state, scan, block);
    state->block = block;
    state->size = scan->size;
    state->turn = 0;
    return status ? status : open_gallery(s, state, scan, block);
}

void mfc_scan_close_rows(mf_stream *s, mfc_scan_state *state) {
    mfc_scan_forget(s, state);
    close_slots(s, state);
    for (int i = 0; i < MFC_SCAN_SLOTS; i++) {
        if (state->slot[i].copied)
            (void)cudaEventDestroy(state->slot[i].copied);
        if (state->slot[i].used)
            (void)cudaEventDestroy(state->slot[i].used);
    }
    if (state->copies)
        (void)cudaStreamDestroy(state->copies);
}

/* ---- blocks ---- */

/* A block does not cross the end of a piece. */
static int64_t block_end(const mfc_scan_state *state, const mf_scan *scan, int64_t begin) {
    const int64_t rows = state->gallery.piece_rows;
    int64_t end = mfc_min(begin + state->block, scan->count);
    if (!scan->list) /* blocks begin at multiples of their size, and pieces are multiples of it */
        return end;
    const int64_t stop = (scan->list[begin] / rows + 1) * rows;
    while (scan->list[end - 1] >= stop)
        end--;
    return end;
}

/* Rows, or numbers alone, into pinned memory. */
static void stage(const mfc_scan_state *state, const mf_scan *scan, const mfc_scan_source *b, int with_rows,
                  float error) {
    const size_t bytes = row_bytes(scan);
    char *pinned = b->slot->pinned;
    float *width = (float *)(void *)(pinned + state->width_at), *scale = (float *)(void *)(pinned + state->scale_at);
    uint32_t *list = (uint32_t *)(void *)(pinned + state->list_at);
    for (int64_t i = b->begin; i < b->end; i++) {
        const uint32_t row = mf_scan_row(scan, i);
        width[i - b->begin] = mf_scan_width(scan, error, row);
        if (scan->scale)
            scale[i - b->begin] = scan->scale[row];
        if (scan->list)
            list[i - b->begin] = row;
        if (with_rows && scan->list)
            memcpy(pinned + (size_t)(i - b->begin) * bytes, (const char *)scan->rows + row * bytes, bytes);
    }
    if (with_rows && !scan->list)
        memcpy(pinned, (const char *)scan->rows + (size_t)b->begin * bytes, (size_t)(b->end - b->begin) * bytes);
}

static mf_status copy(mf_stream *s, const mfc_scan_state *state, void *to, const void *from, size_t bytes) {
    return mfc_check(s, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, state->copies), "copy of a gallery");
}

/* To device memory; rows: where the rows go, or NULL. */
static mf_status send(mf_stream *s, const mfc_scan_state *state, const mf_scan *scan, const mfc_scan_source *b,
                      void *rows) {
    const mfc_scan_slot *slot = b->slot;
    const size_t count = (size_t)(b->end - b->begin), numbers = count * sizeof(float);
    mf_status status = mfc_check(s, cudaStreamWaitEvent(state->copies, slot->used, 0), "a wait");
    if (!status && rows)
        status = copy(s, state, rows, slot->pinned, count * row_bytes(scan));
    if (!status)
        status = copy(s, state, slot->landing + state->width_at, slot->pinned + state->width_at, numbers);
    if (!status && scan->scale)
        status = copy(s, state, slot->landing + state->scale_at, slot->pinned + state->scale_at, numbers);
    if (!status && scan->list)
        status = copy(s, state, slot->landing + state->list_at, slot->pinned + state->list_at, numbers);
    if (!status)
        status = mfc_check(s, cudaEventRecord(slot->copied, state->copies), "an event");
    return status ? status : mfc_check(s, cudaStreamWaitEvent(s->queue, slot->copied, 0), "a wait");
}

static void fill_piece(mfc_scan_gallery *g, const mf_scan *scan, int64_t i, int64_t begin, int64_t end) {
    mfc_scan_piece *p = &g->piece[i];
    const int64_t start = i * g->piece_rows;
    memcpy(p->norm + (begin - start), scan->norm + begin, (size_t)(end - begin) * sizeof(float));
    if (begin == start)
        read_sample(scan, start, p->sample);
    p->filled = end - start;
}

mf_status mfc_scan_next_rows(mf_stream *s, mfc_scan_state *state, const mf_scan *scan, float error, int64_t begin,
                             mfc_scan_source *b) {
    mfc_scan_gallery *g = &state->gallery;
    const int64_t i = mf_scan_row(scan, begin) / g->piece_rows, start = i * g->piece_rows;
    memset(b, 0, sizeof(*b));
    b->slot = &state->slot[state->turn++ % MFC_SCAN_SLOTS];
    b->begin = begin;
    b->end = block_end(state, scan, begin);
    mf_status status = mfc_check(s, cudaEventSynchronize(b->slot->copied), "copy of a gallery");
    if (status)
        return status;
    const int kept = holds(g, scan, i, begin, b->end), fills = !kept && !scan->list && takes(s, g, scan, i, begin);
    char *place = kept || fills ? (char *)g->piece[i].rows : b->slot->landing;
    if (!scan->list && (kept || fills))
        place += (size_t)(begin - start) * row_bytes(scan);
    stage(state, scan, b, !kept, error);
    status = send(s, state, scan, b, kept ? NULL : place);
    if (!status && fills)
        fill_piece(g, scan, i, begin, b->end);
    b->rows = place;
    b->width = (const float *)(const void *)(b->slot->landing + state->width_at);
    b->scale = scan->scale ? (const float *)(const void *)(b->slot->landing + state->scale_at) : NULL;
    b->list = scan->list ? (const uint32_t *)(const void *)(b->slot->landing + state->list_at) : NULL;
    b->gathered = !scan->list || !kept;
    b->first = (uint32_t)start;
    return status;
}
