/* Products: blocks, chunks and threads.
 *
 * A thread reads each weight once: where C is tall (m >= n) chunks are rows, and all of B is read by each thread while
 * A is read once; where it is wide, chunks are panels.  Either way chunks are a few times as many as threads. */
#include "backends/cpu/kernel.h"

enum { KC = 512, A_BLOCK = 512 << 10, GATHER_BLOCK = 512 << 10, B_BLOCK = 512 << 10, PLAIN_ROWS = 640 };

int mf_gemm_takes(const mf_operand *w) {
    if (w->constant)
        return w->dtype == MF_F32 || w->dtype == MF_F16 || w->dtype == MF_BF16;
    return w->dtype == MF_F32;
}

static int64_t panels(const struct mf_cpu_isa *isa, const mf_gemm *g) {
    return mf_div_up(g->n, isa->nr);
}

size_t mf_gemm_scratch(const struct mf_cpu_isa *isa, const mf_gemm *g, int gathers) {
    size_t bytes = g->btype == MF_F32 ? 0 : (size_t)(mf_min64(g->kc, g->k) * isa->nr) * sizeof(float);
    if (gathers)
        bytes += (size_t)(mf_min64(g->mc, g->m) * g->k) * sizeof(float);
    return bytes;
}

/* chunk[0]: rows, chunk[1]: panels */
void mf_gemm_plan(mf_cpu_kernel *k, int64_t batch, int gathers) {
    const struct mf_cpu_isa *isa = k->cpu->isa;
    mf_gemm *g = &k->gemm;
    g->kc = g->k <= KC ? mf_max64(g->k, 1) : mf_round_up(mf_div_up(g->k, mf_div_up(g->k, KC)), 8);
    int64_t row = (gathers ? g->k : g->kc) * (int64_t)sizeof(float);
    g->mc = mf_max64((gathers ? GATHER_BLOCK : A_BLOCK) / row / isa->mr, 4) * isa->mr;
    if (!gathers && g->k <= g->kc &&
        g->n * row <= B_BLOCK) /* all of B stays in L2: C row by row, in the order of memory */
        g->mc = mf_min64(g->mc, 16 * isa->mr);

    int64_t all = panels(isa, g);
    k->slots = mf_cpu_slots(k->cpu, (double)g->m * (double)g->n * (double)g->k * (double)batch / 16);
    k->chunk[0] = mf_max64(g->m, 1);
    k->chunk[1] = all;
    int64_t want = k->slots == 1 ? 1 : mf_div_up(4 * k->slots, batch);
    if (want > 1) {
        int64_t tall = mf_max64(1, mf_min64(want, g->m / (8 * isa->mr))); /* row chunks of 8 tiles at least */
        if (g->m >= g->n && tall >= mf_min64(want, k->slots)) {
            k->chunk[0] = mf_round_up(mf_div_up(g->m, tall), isa->mr);
        } else {
            k->chunk[1] = mf_max64(1, all / want);
            int64_t wide = mf_div_up(all, k->chunk[1]);
            if (wide < k->slots)
                k->chunk[0] = mf_round_up(mf_div_up(g->m, mf_div_up(want, wide)), isa->mr);
        }
    }
    k->slot_bytes = mf_gemm_scratch(isa, g, gathers);
}

/* All rows are in one chunk, and are so few that packing each panel once for them is no small part of the work. */
int mf_gemm_plan_plain(mf_cpu_kernel *k) {
    const mf_gemm *g = &k->gemm;
    if (g->btype != MF_F32 || g->m > PLAIN_ROWS || k->chunk[0] < g->m)
        return 0;
    k->slot_bytes = (size_t)(mf_min64(g->kc, g->k) * k->cpu->isa->nr) * sizeof(float);
    return 1;
}

int mf_gemm_in_place(const mf_cpu_kernel *k) {
    return k->gemm.k <= k->gemm.kc || (k->gemm.act == MF_ACT_NONE && !mf_operand_present(&k->op.input[MF_IN_SCALE]));
}

typedef struct product {
    const mf_cpu_kernel *k;
    const mf_gemm *g;
    int64_t tall, wide, stride_a, stride_c;
    char *scratch;
} product;

static void run_chunk(void *arg, int64_t chunk, int slot) {
    const product *p = arg;
    const mf_cpu_kernel *k = p->k;
    mf_gemm g = *p->g;
    int64_t column = chunk % p->wide, row = chunk / p->wide % p->tall, image = chunk / p->wide / p->tall;
    g.a += image * p->stride_a;
    g.c += image * p->stride_c;
    if (g.residual)
        g.residual += image * p->stride_c;
    int64_t m0 = row * k->chunk[0], p0 = column * k->chunk[1];
    (g.plain ? k->cpu->isa->gemm_plain : k->cpu->isa->gemm)(&g, m0, mf_min64(m0 + k->chunk[0], g.m), p0,
                                                            mf_min64(p0 + k->chunk[1], panels(k->cpu->isa, &g)),
                                                            p->scratch + (size_t)slot * k->slot_bytes);
}

void mf_gemm_run(const mf_cpu_kernel *k, const mf_gemm *g, int64_t batch, int64_t stride_a, int64_t stride_c,
                 void *slots_scratch) {
    product p = {k,
                 g,
                 mf_div_up(g->m, k->chunk[0]),
                 mf_div_up(panels(k->cpu->isa, g), k->chunk[1]),
                 stride_a,
                 stride_c,
                 slots_scratch};
    mf_cpu_for(k->cpu, k->slots, batch * p.tall * p.wide, run_chunk, &p);
}
