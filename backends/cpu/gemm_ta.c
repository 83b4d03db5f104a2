/* C = from + A^T B over many rows, as the gradients of weights are: blocks, chunks and threads.
 *
 * Two splits.  Where C is small and there are many rows (C of 384 x 96 from 8192 rows), the rows are cut into parts, as
 * many as the shape says, each of which makes a C of its own in the scratch; those are added up in order.  So every
 * value of A and B is packed once, and the bits do not depend on the threads.  Where C is large, a chunk is a rectangle
 * of it and goes through all rows; it packs its part of A and of B anew, so there are few: one or two a thread. */
#include "backends/cpu/kernel.h"

enum { KC = 256, A_BLOCK = 384 << 10, SMALL_C = 128 << 10, PART_ROWS = 2048, MOST_PARTS = 8 };

size_t mf_gemm_ta_scratch(const struct mf_cpu_isa *isa, const mf_gemm_ta *g) {
    int64_t kc = mf_min64(g->kc, g->k), mc = mf_round_up(mf_min64(g->mc, g->m), isa->mr);
    int64_t floats = mf_round_up(mc * kc + 8, 16) + kc * isa->nr;
    if (g->gather)
        floats += kc * mf_round_up(g->n, isa->nr);
    return (size_t)floats * sizeof(float);
}

size_t mf_gemm_ta_shared(const mf_gemm_ta *g) {
    return g->parts > 1 ? mf_cpu_align((size_t)(g->parts * g->m * g->n) * sizeof(float)) : 0;
}

/* chunk[0] x chunk[1] of C, about `want` of them, the longer side being cut first */
static void cut(mf_cpu_kernel *k, const mf_gemm_ta *g, int64_t want) {
    const struct mf_cpu_isa *isa = k->cpu->isa;
    int64_t tiles = mf_div_up(g->m, isa->mr), panels = mf_div_up(g->n, isa->nr);
    int64_t tall = g->m >= g->n ? mf_min64(want, tiles) : 1;
    int64_t wide = g->m >= g->n ? mf_min64(mf_div_up(want, mf_max64(tall, 1)), panels) : mf_min64(want, panels);
    if (tall * wide < want)
        tall = mf_min64(tiles, mf_div_up(want, mf_max64(wide, 1)));
    k->chunk[0] = mf_div_up(tiles, mf_max64(tall, 1)) * isa->mr;
    k->chunk[1] = mf_div_up(panels, mf_max64(wide, 1)) * isa->nr;
}

void mf_gemm_ta_plan(mf_cpu_kernel *k, mf_gemm_ta *g, int may_part) {
    g->parts = may_part && g->m * g->n <= SMALL_C ? mf_max64(1, mf_min64(MOST_PARTS, g->k / PART_ROWS)) : 1;
    int64_t rows = mf_div_up(g->k, g->parts);
    g->kc = mf_max64(1, mf_div_up(rows, mf_max64(1, mf_div_up(rows, KC))));
    g->mc = A_BLOCK / (g->kc * (int64_t)sizeof(float)) / k->cpu->isa->mr * k->cpu->isa->mr;
    k->slots = mf_cpu_slots(k->cpu, (double)g->m * (double)g->n * (double)g->k / 16);
    int64_t want = k->slots == 1 ? 1 : g->m * g->n >= 2 * SMALL_C ? 2 * k->slots : k->slots;
    if (g->parts > 1 && k->slots > 1)
        want = mf_div_up(2 * k->slots, g->parts);
    cut(k, g, want);
    k->slot_bytes = mf_gemm_ta_scratch(k->cpu->isa, g);
}

typedef struct job {
    const mf_cpu_kernel *k;
    const mf_gemm_ta *g;
    int64_t tall, wide;
    float *part;
    char *scratch;
} job;

static void run_chunk(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const mf_cpu_kernel *k = j->k;
    mf_gemm_ta g = *j->g;
    int64_t part = chunk / j->wide / j->tall;
    int64_t m0 = chunk / j->wide % j->tall * k->chunk[0], n0 = chunk % j->wide * k->chunk[1];
    if (g.parts > 1) {
        int64_t begin = j->g->k * part / g.parts, end = j->g->k * (part + 1) / g.parts;
        g.a += begin * g.lda;
        g.b += g.gather ? 0 : begin * g.ldb;
        g.row0 = begin;
        g.k = end - begin;
        g.c = j->part + part * g.m * g.n;
        g.from = NULL;
        g.ldc = g.n;
    }
    k->cpu->isa->gemm_ta(&g, m0, mf_min64(m0 + k->chunk[0], g.m), n0, mf_min64(n0 + k->chunk[1], g.n),
                         j->scratch + (size_t)slot * k->slot_bytes);
}

/* A row of C: its parts, added up in order. */
static void add_parts(void *arg, int64_t row, int slot) {
    const job *j = arg;
    const mf_gemm_ta *g = j->g;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    const float *from = j->part + row * g->n;
    float *to = g->c + row * g->ldc;
    (void)slot;
    if (g->from)
        isa->add(g->from + row * g->ldc, from, to, g->n, MF_ACT_NONE);
    else
        memcpy(to, from, (size_t)g->n * sizeof(float));
    for (int64_t p = 1; p < g->parts; p++)
        isa->axpy(to, from + p * g->m * g->n, g->n, 1);
}

void mf_gemm_ta_run(const mf_cpu_kernel *k, const mf_gemm_ta *g, void *shared, void *slots_scratch) {
    if (g->m < 1 || g->n < 1)
        return;
    job j = {k, g, mf_div_up(g->m, k->chunk[0]), mf_div_up(g->n, k->chunk[1]), shared, slots_scratch};
    mf_cpu_for(k->cpu, k->slots, g->parts * j.tall * j.wide, run_chunk, &j);
    if (g->parts > 1)
        mf_cpu_for(k->cpu, mf_cpu_slots(k->cpu, (double)(g->parts * g->m * g->n)), g->m, add_parts, &j);
}
