/* The scan of a gallery (docs/decisions/0013-exact-search.md).
 *
 * Block by block of rows: scores [queries, rows] = queries rows^T, whatever the stream's type, and lists of the rows
 * that may matter (scan_kernels.cu), which stay on the device until the end; then the host joins them as it does those
 * of threads.
 *
 * f32 and int8 rows: in strict f32; int8 rows are widened first, exactly, into a buffer that stays in the L2.  A sum of
 * m products in any order, fused or not, is off by at most m u / (1 - m u) sum |q x|, u = 2^-24; and one more for the
 * scale.
 *
 * f16 rows: by tensor cores, twice: a query is high + low in f16, times a power of two.  Products of f16 are exact in
 * f32. NVIDIA documents no more of the sums than that they are f32; measured (Fasi, Higham, Mikaitis, Pranesh,
 * Numerical behavior of NVIDIA tensor cores, PeerJ CS 2021) they are of a few terms each, aligned to the largest and
 * cut off, so that each is off by less than 2^-22 of the largest magnitude in it.  We take 2^-22 sum |q x| for each of
 * at most m + 64 sums.  What the two parts leave out: 2^-22 |q_i|, or 2^-25 where the low part is subnormal and the
 * largest |q_i| is at least 1/2: together at most (2^-22 + sqrt(m) 2^-24) |q| |x|. */
#include "backends/cuda/scan_state.h"

#include "backends/scan.h"

float mfc_scan_error(mf_stream *s, mf_dtype dtype, int64_t size) {
    (void)s;
    if (dtype == MF_F16)
        return 1.01f * ((float)(size + 64) * 0x1p-22f + sqrtf((float)size) * 0x1p-24f + 0x1p-21f);
    return (float)(size + 16) * 1.01f * 0x1p-24f;
}

/* ---- sizes ---- */

static int64_t group_of(const mf_scan *scan) {
    return mfc_max(1, mfc_min(scan->n, MFC_SCAN_GROUP));
}

static int64_t list_places(const mf_scan *scan) {
    return (scan->kind == MF_SCAN_TOP ? 2 * scan->room : scan->room) + MFC_SCAN_THREADS;
}

/* Lists of each query: enough blocks of threads to fill a device. */
static int64_t segments_of(const mf_scan *scan) {
    const int64_t n = group_of(scan);
    int64_t most = MFC_SCAN_LISTS / (n * list_places(scan) * (int64_t)sizeof(mfc_scan_item));
    return mfc_max(1, mfc_min(most, mfc_min(16, 512 / n)));
}

/* Rows of a block, a power of two: products are prepared for it alone. */
static int64_t block_rows(const mf_scan *scan) {
    const int64_t most = mfc_scan_piece_rows(scan->dtype, scan->size);
    int64_t rows = 1;
    while (rows < scan->count && 2 * rows <= most && 2 * rows * scan->size * 4 <= MFC_SCAN_WIDE &&
           2 * rows * group_of(scan) * 4 <= MFC_SCAN_SCORES)
        rows *= 2;
    return rows;
}

size_t mfc_scan_scratch(mf_stream *s, const mf_scan *scan) {
    (void)s;
    mf_scan group = *scan;
    const size_t segments = (size_t)segments_of(scan);
    group.n = group_of(scan);
    return mf_scan_align(segments * sizeof(mf_scan_lists)) +
           segments * mf_scan_align(mf_scan_lists_bytes(&group, group.n)) + MF_ALIGN;
}

/* Device memory of a scan, one allocation that only grows. */
typedef struct layout {
    float *queries, *norm, *floor, *wide, *scores;
    __half *part[2]; /* high, low: of f16 rows */
    float *unscale;
    mfc_scan_lists lists;
    mfc_scan_result result;
    void *workspace;
    size_t bytes;
} layout;

static void *carve(char *base, layout *l, size_t bytes) {
    void *at = base ? base + l->bytes : NULL;
    l->bytes += mfc_round_up(bytes);
    return at;
}

static layout layout_of(const mf_scan *g, int64_t segments, int64_t block, size_t workspace, char *base) {
    layout l;
    const size_t n = (size_t)g->n, lists = n * (size_t)segments;
    memset(&l, 0, sizeof(l));
    l.queries = (float *)carve(base, &l, n * (size_t)g->size * sizeof(float));
    for (int i = 0; i < 2 && g->dtype == MF_F16; i++)
        l.part[i] = (__half *)carve(base, &l, n * (size_t)g->size * sizeof(__half));
    l.unscale = (float *)carve(base, &l, n * sizeof(float));
    l.lists.unscale = g->dtype == MF_F16 ? l.unscale : NULL;
    l.norm = (float *)carve(base, &l, n * sizeof(float));
    l.floor = (float *)carve(base, &l, n * sizeof(float));
    l.wide = (float *)carve(base, &l, (size_t)(block * g->size) * sizeof(float));
    l.scores = (float *)carve(base, &l, n * (size_t)block * sizeof(float));
    l.lists.n = (int)g->n;
    l.lists.segments = (int)segments;
    l.lists.kind = g->kind;
    l.lists.k = (int)g->k;
    l.lists.room = (int)g->room;
    l.lists.cap = (int)list_places(g);
    l.lists.floor = (float *)carve(base, &l, lists * sizeof(float));
    l.lists.found = (int *)carve(base, &l, lists * sizeof(int));
    l.lists.above = (long long *)carve(base, &l, lists * sizeof(long long));
    l.lists.item = (mfc_scan_item *)carve(base, &l, lists * (size_t)list_places(g) * sizeof(mfc_scan_item));
    l.lists.norm = l.norm;
    l.result.floor = (float *)carve(base, &l, lists * sizeof(float));
    l.result.found = (int64_t *)carve(base, &l, lists * sizeof(int64_t));
    l.result.above = (int64_t *)carve(base, &l, lists * sizeof(int64_t));
    l.result.item = (mf_scan_item *)carve(base, &l, lists * (size_t)g->room * sizeof(mf_scan_item));
    l.workspace = carve(base, &l, workspace);
    return l;
}

/* ---- state ---- */

static mfc_scan_state *state_of(mf_stream *s) {
    const mf_host *host = s->device->host;
    if (!s->scan) {
        s->scan = host->alloc(host->context, sizeof(mfc_scan_state));
        if (s->scan)
            memset(s->scan, 0, sizeof(mfc_scan_state));
    }
    return (mfc_scan_state *)s->scan;
}

static void forget_plans(mfc_scan_state *state) {
    for (int i = 0; i < 2; i++) {
        mfc_gemm_release(state->plan[i]);
        state->plan[i] = NULL;
    }
}

void mfc_scan_close(mf_stream *s) {
    mfc_scan_state *state = (mfc_scan_state *)s->scan;
    if (!state)
        return;
    mfc_scan_close_rows(s, state);
    forget_plans(state);
    if (state->memory)
        mfc_free(s, state->memory);
    s->device->host->free(s->device->host->context, state);
    s->scan = NULL;
}

static mf_status plan_product(mf_stream *s, mfc_scan_state *state, const mf_scan *scan, int64_t block) {
    const mf_dtype type = scan->dtype == MF_F16 ? MF_F16 : MF_F32;
    mf_status status = 0;
    mfc_gemm g;
    if (state->plan[0] && state->gemm.m == scan->n && state->gemm.n == block && state->gemm.k == scan->size &&
        state->gemm.type == type)
        return 0;
    forget_plans(state);
    memset(&g, 0, sizeof(g));
    g.m = scan->n;
    g.n = g.ldo = block;
    g.k = g.lda = g.ldw = scan->size;
    g.batch = 1;
    g.tw = 1;
    g.type = type;
    g.out = MF_F32;
    g.alpha = 1;
    g.quick = 1; /* another number of queries comes with every call */
    state->gemm = g;
    state->workspace = 0;
    for (int i = 0; i < (type == MF_F16 ? 2 : 1) && !status; i++) {
        size_t workspace = 0;
        g.beta = (float)i;
        status = mfc_gemm_prepare(s->blas, &g, &state->plan[i], &workspace);
        state->workspace = workspace > state->workspace ? workspace : state->workspace;
    }
    if (status)
        forget_plans(state);
    return status;
}

static mf_status reserve(mf_stream *s, mfc_scan_state *state, size_t bytes) {
    if (bytes <= state->bytes)
        return 0;
    if (state->memory)
        mfc_free(s, state->memory);
    state->memory = NULL;
    state->bytes = 0;
    mf_status status = mfc_alloc(s, bytes, (void **)&state->memory);
    if (status && state->gallery.used) { /* rows that are kept are worth less than an answer */
        mfc_scan_forget(s, state);
        status = mfc_alloc(s, bytes, (void **)&state->memory);
    }
    state->bytes = status ? 0 : bytes;
    return status;
}

/* ---- a group of queries ---- */

static mf_status put(mf_stream *s, void *to, const void *from, size_t bytes) {
    return mfc_check(s, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, s->queue), "queries of a scan");
}

static mf_status get(mf_stream *s, void *to, const void *from, size_t bytes) {
    return mfc_check(s, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, s->queue), "results of a scan");
}

/* The rows of a block as the products read them. */
static mf_status ready_rows(mf_stream *s, const layout *l, const mf_scan *g, const mfc_scan_source *b,
                            const void **rows) {
    const int gathers = !b->gathered;
    *rows = b->rows;
    if (g->dtype == MF_I8 || (gathers && g->dtype == MF_F32)) {
        *rows = l->wide;
        return mfc_scan_widen(s, g->dtype, b->end - b->begin, g->size, b->rows, gathers ? b->list : NULL, b->first,
                              l->wide);
    }
    if (!gathers)
        return 0;
    *rows = l->wide;
    return mfc_scan_gather(s, b->end - b->begin, g->size, b->rows, b->list, b->first, l->wide);
}

/* The product is that of a whole block: what lies behind the last rows is memory too, and its scores are not read. */
static mf_status score(mf_stream *s, const mfc_scan_state *state, const layout *l, const mf_scan *g, const void *rows) {
    if (g->dtype != MF_F16)
        return mfc_gemm_run(state->plan[0], s->queue, g->n, l->queries, rows, NULL, NULL, l->scores, NULL, NULL,
                            l->workspace);
    mf_status status =
        mfc_gemm_run(state->plan[0], s->queue, g->n, l->part[0], rows, NULL, NULL, l->scores, NULL, NULL, l->workspace);
    return status ? status
                  : mfc_gemm_run(state->plan[1], s->queue, g->n, l->part[1], rows, NULL, l->scores, l->scores, NULL,
                                 NULL, l->workspace);
}

static mf_status scan_block(mf_stream *s, mfc_scan_state *state, const layout *l, const mf_scan *g, float error,
                            int64_t begin, int64_t *end) {
    mfc_scan_source b;
    const void *rows = NULL;
    mf_status status = mfc_scan_next_rows(s, state, g, error, begin, &b);
    *end = b.end;
    if (!status)
        status = ready_rows(s, l, g, &b, &rows);
    if (!status)
        status = score(s, state, l, g, rows);
    if (!status) {
        const mfc_scan_block scored = {b.end - begin, state->block, l->scores,      b.width,
                                       b.scale,       b.list,       (uint32_t)begin};
        status = mfc_scan_select(s, &l->lists, &scored);
    }
    return status ? status : mfc_check(s, cudaEventRecord(b.slot->used, s->queue), "an event");
}

static mf_status scan_rows(mf_stream *s, mfc_scan_state *state, const layout *l, const mf_scan *g, float error) {
    const size_t n = (size_t)g->n;
    mf_status status = put(s, l->queries, g->queries, n * (size_t)g->size * sizeof(float));
    if (!status)
        status = put(s, l->norm, g->query_norm, n * sizeof(float));
    if (!status)
        status = put(s, l->floor, g->floor, n * sizeof(float));
    if (!status && g->dtype == MF_F16)
        status = mfc_scan_split(s, g->n, g->size, l->queries, l->part[0], l->part[1], l->unscale);
    if (!status)
        status = mfc_scan_start(s, &l->lists, l->floor);
    for (int64_t at = 0; at < g->count && !status;)
        status = scan_block(s, state, l, g, error, at, &at);
    return status ? status : mfc_scan_finish(s, &l->lists, &l->result);
}

/* The lists come to where the host's own would be. */
static mf_status fetch(mf_stream *s, const layout *l, const mf_scan *g, mf_scan_lists *lists, int64_t segment) {
    const size_t n = (size_t)g->n, at = (size_t)segment * n;
    mf_status status = get(s, lists->floor, l->result.floor + at, n * sizeof(float));
    if (!status)
        status = get(s, lists->found, l->result.found + at, n * sizeof(int64_t));
    if (!status)
        status = get(s, lists->above, l->result.above + at, n * sizeof(int64_t));
    if (!status)
        status = get(s, lists->item, l->result.item + at * (size_t)g->room, n * (size_t)g->room * sizeof(mf_scan_item));
    return status;
}

static mf_status scan_group(mf_stream *s, mfc_scan_state *state, const mf_scan *g, int64_t segments, int64_t block,
                            void *scratch) {
    const float error = mfc_scan_error(s, g->dtype, g->size);
    mf_scan_lists *lists = (mf_scan_lists *)scratch;
    char *at = (char *)scratch + mf_scan_align((size_t)segments * sizeof(*lists));
    mf_status status = plan_product(s, state, g, block);
    if (!status)
        status = reserve(s, state, layout_of(g, segments, block, state->workspace, NULL).bytes);
    if (!status)
        status = mfc_scan_open_rows(s, state, g, block, error);
    if (status)
        return status;
    const layout l = layout_of(g, segments, block, state->workspace, state->memory);
    status = scan_rows(s, state, &l, g, error);
    for (int64_t i = 0; i < segments; i++) {
        mf_scan_lists_init(&lists[i], g, error, g->n, at + (size_t)i * mf_scan_align(mf_scan_lists_bytes(g, g->n)));
        if (!status)
            status = fetch(s, &l, g, &lists[i], i);
    }
    /* Nothing is under way when it ends, well or not. */
    mf_status copied = mfc_check(s, cudaStreamSynchronize(state->copies), "copies of a scan"),
              done = mfc_check(s, cudaStreamSynchronize(s->queue), "a scan");
    status = status ? status : copied ? copied : done;
    if (status)
        mfc_scan_forget(s, state);
    for (int64_t q = 0; q < g->n && !status; q++)
        mf_scan_join(lists, (int)segments, q);
    return status;
}

mf_status mfc_scan(mf_stream *s, const mf_scan *scan, void *scratch) {
    mfc_scan_state *state = state_of(s);
    const int64_t segments = segments_of(scan), block = block_rows(scan);
    mf_status status = state ? 0 : MFC_MEMORY;
    for (int64_t q = 0; q < scan->n && !scan->count; q++)
        scan->found[q] = 0;
    for (int64_t q = 0; q < scan->n && scan->count && !status; q += MFC_SCAN_GROUP) {
        mf_scan g = *scan;
        g.n = mfc_min(MFC_SCAN_GROUP, scan->n - q);
        g.queries += q * g.size;
        g.query_norm += q;
        g.floor += q;
        g.item += q * g.room;
        g.found += q;
        if (g.above)
            g.above += q;
        status = scan_group(s, state, &g, segments, block, scratch);
    }
    return status;
}
