/* The scan of a gallery: rows in chunks over the threads, lists joined at the end. */
#include "backends/cpu/kernel.h"

enum {
    FEW = 4,        /* queries that are done by scan_dot */
    DOT_ROWS = 128, /* of a chunk of it */
    PAD = 16,       /* values between copied rows: at a stride of 2 KB they would share a few sets of the L1 */
    GROUP = 512     /* queries that a block of rows meets at a time: its scores stay in L2 */
};

/* The unit roundoff times the length of the longest sum, and a few for the scale and the tree. */
float mf_cpu_scan_error(const mf_cpu *cpu, mf_dtype dtype, int64_t size) {
    int64_t few = mf_div_up(size, cpu->isa->vl) + 2 * cpu->isa->vl + 8;
    int64_t many = mf_min64(size, MF_SCAN_KC) + mf_div_up(size, MF_SCAN_KC) + 2;
    (void)dtype;
    return (float)mf_max64(few, many) * 0x1.01p-24f;
}

typedef struct scan_work {
    const mf_cpu *cpu;
    const mf_scan *s;
    int slots, copies;
    int64_t padded;
    const float *norm;   /* of the queries, padded */
    const float *panels; /* of the queries */
    mf_scan_lists *lists;
    char *slot;          /* slot_bytes each: rows and scores of a block */
    size_t slot_bytes;
} scan_work;

static int64_t padded_queries(const mf_cpu *cpu, const mf_scan *s) {
    return s->n <= FEW ? s->n : mf_round_up(s->n, cpu->isa->vl);
}

/* Rows of a block.  Many queries: a block of MF_SCAN_KC values of them, its scores and a panel fill 1 MB of L2, and the
 * queries pass by once for 192 rows.  Few: memory decides, and short runs of rows are read in a better order. */
static int64_t block_rows(const mf_scan *s) {
    return s->n > 64 ? 192 : 48;
}

/* f32 rows are multiplied where they lie if that saves more than the copy costs. */
static int copies(const mf_scan *s) {
    return s->list || s->dtype != MF_F32 || s->n > 64;
}

static size_t slot_bytes(const mf_cpu *cpu, const mf_scan *s) {
    if (s->n <= FEW)
        return mf_cpu_align(DOT_ROWS * FEW * sizeof(float));
    size_t rows = (size_t)block_rows(s), group = (size_t)mf_min64(GROUP, padded_queries(cpu, s));
    return mf_cpu_align(rows * group * sizeof(float)) + mf_cpu_align(rows * (MF_SCAN_KC + PAD) * sizeof(float));
}

static int slots_of(const mf_cpu *cpu, const mf_scan *s) {
    return mf_cpu_slots(cpu, (double)s->count * (double)s->size * (double)s->n / 4);
}

size_t mf_cpu_scan_scratch(const mf_cpu *cpu, const mf_scan *s) {
    int64_t padded = padded_queries(cpu, s);
    size_t slots = (size_t)slots_of(cpu, s);
    return slots * (mf_scan_lists_bytes(s, padded) + slot_bytes(cpu, s) + sizeof(mf_scan_lists)) + MF_ALIGN +
           mf_cpu_align((size_t)padded * sizeof(float)) +
           (s->n <= FEW ? 0 : (size_t)(padded * s->size) * sizeof(float));
}

/* ---- few queries ---- */
static void dot_chunk(void *arg, int64_t chunk, int slot) {
    const scan_work *w = arg;
    const mf_scan *s = w->s;
    mf_scan_lists *l = &w->lists[slot];
    float *score = (float *)(void *)(w->slot + (size_t)slot * w->slot_bytes);
    int64_t begin = chunk * DOT_ROWS, end = mf_min64(begin + DOT_ROWS, s->count);
    w->cpu->isa->scan_dot(s, begin, end, score);
    for (int64_t i = begin; i < end; i++) {
        uint32_t row = mf_scan_row(s, i);
        float width = mf_scan_width(s, l->error, row);
        for (int64_t q = 0; q < s->n; q++)
            mf_scan_offer(l, q, row, *score++, width);
    }
}

/* ---- many queries ---- */
/* scores of a block of rows and a group of queries, panel by panel: c [panel][rows][width] */
static void multiply_group(const scan_work *w, int64_t begin, int64_t end, int64_t q0, int64_t q1, float *c, float *copy) {
    const mf_scan *s = w->s;
    const struct mf_cpu_isa *isa = w->cpu->isa;
    for (int64_t k = 0; k < s->size; k += MF_SCAN_KC) {
        int64_t count = mf_min64(MF_SCAN_KC, s->size - k), lda = s->size;
        const float *a = (const float *)s->rows + begin * s->size + k;
        if (w->copies) {
            a = copy;
            lda = MF_SCAN_KC + PAD;
            for (int64_t i = begin; i < end; i++)
                isa->scan_widen(s, mf_scan_row(s, i), k, count, copy + (i - begin) * lda);
        }
        for (int64_t q = q0; q < q1; q += isa->nr) {
            int64_t width = mf_min64(isa->nr, q1 - q);
            isa->scan_panel(a, lda, end - begin, w->panels + q * s->size + k * width, count, width,
                            c + (q - q0) * (end - begin), k == 0);
        }
    }
}

static void panel_chunk(void *arg, int64_t chunk, int slot) {
    const scan_work *w = arg;
    int64_t rows = block_rows(w->s), begin = chunk * rows, end = mf_min64(begin + rows, w->s->count);
    float *copy = (float *)(void *)(w->slot + (size_t)slot * w->slot_bytes);
    float *c = copy + rows * (MF_SCAN_KC + PAD);
    for (int64_t q0 = 0; q0 < w->padded; q0 += GROUP) {
        int64_t q1 = mf_min64(q0 + GROUP, w->padded), nr = w->cpu->isa->nr;
        multiply_group(w, begin, end, q0, q1, c, copy);
        for (int64_t q = q0; q < q1; q += nr)
            w->cpu->isa->scan_pick(&w->lists[slot], c + (q - q0) * (end - begin), begin, end, q, mf_min64(nr, q1 - q),
                                   w->norm);
    }
}

static void join_chunk(void *arg, int64_t q, int slot) {
    const scan_work *w = arg;
    /* The room for selecting is a thread's own: queries are joined by several at once. */
    mf_scan_lists l[MF_CPU_MAX_SLOTS];
    memcpy(l, w->lists, (size_t)w->slots * sizeof(*l));
    l[0].select = w->lists[slot].select;
    mf_scan_join(l, w->slots, q);
}

static char *carve(char **at, size_t bytes) {
    char *piece = *at;
    *at += mf_cpu_align(bytes);
    return piece;
}

mf_status mf_cpu_scan(const mf_cpu *cpu, const mf_scan *s, void *scratch) {
    int few = s->n <= FEW;
    scan_work w = {.cpu = cpu, .s = s, .slots = slots_of(cpu, s), .padded = padded_queries(cpu, s)};
    char *at = scratch;
    float error = mf_cpu_scan_error(cpu, s->dtype, s->size);
    w.copies = copies(s);
    w.slot_bytes = slot_bytes(cpu, s);
    w.lists = (mf_scan_lists *)(void *)carve(&at, (size_t)w.slots * sizeof(*w.lists));
    float *norm = (float *)(void *)carve(&at, (size_t)w.padded * sizeof(float));
    for (int64_t q = 0; q < w.padded; q++)
        norm[q] = q < s->n ? s->query_norm[q] : 0;
    w.norm = norm;
    for (int i = 0; i < w.slots; i++)
        mf_scan_lists_init(&w.lists[i], s, error, w.padded, carve(&at, mf_scan_lists_bytes(s, w.padded)));
    w.slot = carve(&at, (size_t)w.slots * w.slot_bytes);
    w.panels = (const float *)(void *)at;
    if (!few) {
        mf_panel_source queries = {s->queries, MF_F32, s->n, 1, s->size, s->size, 0, 1};
        mf_panel_pack(cpu, &queries, at);
    }
    mf_cpu_for(cpu, w.slots, mf_div_up(s->count, few ? DOT_ROWS : block_rows(s)), few ? dot_chunk : panel_chunk, &w);
    mf_cpu_for(cpu, w.slots, s->n, join_chunk, &w);
    return 0;
}
