/* Panels of B: the order in which the micro-kernel of k_gemm.c reads a weight. */
#include "backends/cpu/kernel.h"

/* One panel, 16 steps of k at a time, so that either order of the source is read in pieces of cache lines. */
static inline void pack_panel(const mf_panel_source *s, int64_t n0, int64_t width, const size_t size, char *to) {
    int64_t cols = mf_min64(width, s->n - n0), step = s->s1 * (int64_t)size;
    for (int64_t o = 0; o < s->k0; o++)
        for (int64_t at = 0; at < s->k1; at += 16) {
            int64_t count = mf_min64(16, s->k1 - at);
            char *strip = to + (size_t)((o * s->k1 + at) * width) * size;
            for (int64_t j = 0; j < width; j++) {
                char *d = strip + (size_t)j * size;
                if (j >= cols) {
                    for (int64_t p = 0; p < count; p++, d += (size_t)width * size)
                        memset(d, 0, size);
                    continue;
                }
                const char *from = (const char *)s->src + (o * s->s0 + at * s->s1 + (n0 + j) * s->sn) * (int64_t)size;
                for (int64_t p = 0; p < count; p++, d += (size_t)width * size, from += step)
                    memcpy(d, from, size);
            }
        }
}

/* The common case in training: rows of the source are rows of the panel. */
static void copy_rows(const mf_panel_source *s, int64_t n0, int64_t width, char *to) {
    size_t size = mf_dtype_size(s->dtype);
    int64_t cols = mf_min64(width, s->n - n0);
    for (int64_t p = 0; p < s->k1; p++) {
        char *d = to + (size_t)(p * width) * size;
        memcpy(d, (const char *)s->src + (size_t)(p * s->s1 + n0) * size, (size_t)cols * size);
        memset(d + (size_t)cols * size, 0, (size_t)(width - cols) * size);
    }
}

void mf_panel_pack(const struct mf_cpu_isa *isa, const mf_panel_source *s, int64_t p0, int64_t p1, void *packed) {
    size_t size = mf_dtype_size(s->dtype);
    for (int64_t p = p0; p < p1; p++) {
        int64_t n0 = p * isa->nr;
        int64_t width = mf_min64(isa->nr, mf_round_up(s->n - n0, isa->vl));
        char *to = (char *)packed + (size_t)(n0 * s->k0 * s->k1) * size;
        if (s->k0 == 1 && s->sn == 1)
            copy_rows(s, n0, width, to);
        else if (size == 4)
            pack_panel(s, n0, width, 4, to);
        else
            pack_panel(s, n0, width, 2, to);
    }
}

uint64_t mf_panel_key(const struct mf_cpu_isa *isa, uint64_t layout, mf_dtype t) {
    return (uint64_t)0x6d66 << 48 | layout << 32 | (uint64_t)isa->vl << 24 | (uint64_t)isa->nr << 8 | (uint64_t)t;
}
