/* C = from + A^T B over many rows, as the gradients of weights are: blocks, chunks and threads.
 *
 * A chunk is a rectangle of C and goes through all of k, so that no sum is split over threads: its order is the
 * blocks' one after the other, whatever the threads.  A chunk packs its part of A and of B block by block; few chunks
 * mean little packing, so there are as many as threads, or twice that where C is large. */
#include "backends/cpu/kernel.h"

enum { KC = 256, A_BLOCK = 384 << 10 };

size_t mf_gemm_ta_scratch(const struct mf_cpu_isa *isa, const mf_gemm_ta *g) {
    int64_t kc = mf_min64(g->kc, g->k), mc = mf_round_up(mf_min64(g->mc, g->m), isa->mr);
    int64_t floats = mf_round_up(mc * kc + 8, 16) + kc * isa->nr;
    if (g->gather)
        floats += kc * mf_round_up(g->n, isa->nr);
    return (size_t)floats * sizeof(float);
}

void mf_gemm_ta_plan(mf_cpu_kernel *k, mf_gemm_ta *g) {
    const struct mf_cpu_isa *isa = k->cpu->isa;
    g->kc = mf_max64(1, mf_div_up(g->k, mf_max64(1, mf_div_up(g->k, KC))));
    g->mc = A_BLOCK / (g->kc * (int64_t)sizeof(float)) / isa->mr * isa->mr;
    k->slots = mf_cpu_slots(k->cpu, (double)g->m * (double)g->n * (double)g->k / 16);
    int64_t want = k->slots == 1 ? 1 : g->m * g->n >= 256 * 1024 ? 2 * k->slots : k->slots;
    int64_t tiles = mf_div_up(g->m, isa->mr), panels = mf_div_up(g->n, isa->nr);
    /* the longer side is cut first */
    int64_t tall = g->m >= g->n ? mf_min64(want, tiles) : 1;
    int64_t wide = g->m >= g->n ? mf_min64(mf_div_up(want, tall), panels) : mf_min64(want, panels);
    if (tall * wide < want)
        tall = mf_min64(tiles, mf_div_up(want, wide));
    k->chunk[0] = mf_div_up(tiles, mf_max64(tall, 1)) * isa->mr;
    k->chunk[1] = mf_div_up(panels, mf_max64(wide, 1)) * isa->nr;
    k->slot_bytes = mf_gemm_ta_scratch(isa, g);
}

typedef struct job {
    const mf_cpu_kernel *k;
    const mf_gemm_ta *g;
    int64_t wide;
    char *scratch;
} job;

static void run_chunk(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const mf_cpu_kernel *k = j->k;
    int64_t m0 = chunk / j->wide * k->chunk[0], n0 = chunk % j->wide * k->chunk[1];
    k->cpu->isa->gemm_ta(j->g, m0, mf_min64(m0 + k->chunk[0], j->g->m), n0, mf_min64(n0 + k->chunk[1], j->g->n),
                         j->scratch + (size_t)slot * k->slot_bytes);
}

void mf_gemm_ta_run(const mf_cpu_kernel *k, const mf_gemm_ta *g, void *slots_scratch) {
    if (g->m < 1 || g->n < 1)
        return;
    job j = {k, g, mf_div_up(g->n, k->chunk[1]), slots_scratch};
    mf_cpu_for(k->cpu, k->slots, mf_div_up(g->m, k->chunk[0]) * j.wide, run_chunk, &j);
}
