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

/* Weights as PyTorch stores them, [n][k] in f32: this is most of the time between a file and the first descriptor.
 * Up to 64 values of k of every row at a time: four lines in a row are fetched ahead by the hardware, 64 rows at once
 * are not, and what is written meanwhile stays in L1. */
static void transpose_rows(const mf_panel_source *s, int64_t n0, int64_t width, float *to) {
    const float *src = (const float *)s->src + n0 * s->sn;
    for (int64_t at = 0; at < s->k1; at += 64) {
        int64_t end = mf_min64(at + 64, s->k1);
        for (int64_t j = 0; j < width; j += 4)
            for (int64_t p = at; p < end; p += 4)
                mf_transpose4(src + j * s->sn + p, s->sn, to + p * width + j, width);
    }
}

static int is_plain_rows(const mf_panel_source *s, int64_t n0, int64_t width) {
    return s->dtype == MF_F32 && s->k0 == 1 && s->s1 == 1 && s->k1 % 16 == 0 && width % 4 == 0 && n0 + width <= s->n;
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

/* NaN and infinity are the values whose exponent is all ones.  A read in order like this one also brings the rows of a
 * panel into L2, which the packing then reads across: checking costs next to nothing. */
static int all_finite(const void *values, int64_t count, mf_dtype dtype) {
    uint32_t bad = 0;
    if (dtype == MF_F32) {
        const uint32_t *v = values;
        for (int64_t i = 0; i < count; i++)
            bad |= (v[i] & 0x7f800000u) == 0x7f800000u;
    } else {
        const uint16_t *v = values;
        const uint16_t mask = dtype == MF_F16 ? 0x7c00 : 0x7f80;
        for (int64_t i = 0; i < count; i++)
            bad |= (v[i] & mask) == mask;
    }
    return !bad;
}

typedef struct packing {
    const struct mf_cpu_isa *isa;
    const mf_panel_source *source;
    char *packed;
    int check, bad; /* bad: atomic */
} packing;

static void pack_chunk(void *arg, int64_t panel, int slot) {
    packing *p = arg;
    const mf_panel_source *s = p->source;
    size_t size = mf_dtype_size(s->dtype);
    int64_t n0 = panel * p->isa->nr;
    int64_t width = mf_min64(p->isa->nr, mf_round_up(s->n - n0, p->isa->vl));
    char *to = p->packed + (size_t)(n0 * s->k0 * s->k1) * size;
    (void)slot;
    if (p->check &&
        !all_finite((const char *)s->src + (size_t)(n0 * s->sn) * size, mf_min64(width, s->n - n0) * s->sn, s->dtype))
        __atomic_store_n(&p->bad, 1, __ATOMIC_RELAXED);
    if (s->k0 == 1 && s->sn == 1)
        copy_rows(s, n0, width, to);
    else if (is_plain_rows(s, n0, width))
        transpose_rows(s, n0, width, (float *)(void *)to);
    else if (size == 4)
        pack_panel(s, n0, width, 4, to);
    else
        pack_panel(s, n0, width, 2, to);
}

static int pack_all(const mf_cpu *cpu, const mf_panel_source *s, void *packed, int check) {
    packing p = {cpu->isa, s, packed, check, 0};
    int slots = mf_cpu_slots(cpu, (double)s->n * (double)s->k0 * (double)s->k1);
    mf_cpu_for(cpu, slots, mf_div_up(s->n, cpu->isa->nr), pack_chunk, &p);
    return !p.bad;
}

void mf_panel_pack(const mf_cpu *cpu, const mf_panel_source *s, void *packed) {
    pack_all(cpu, s, packed, 0);
}

int mf_panel_pack_checked(const mf_cpu *cpu, const mf_panel_source *s, void *packed) {
    return pack_all(cpu, s, packed, 1);
}

uint64_t mf_panel_key(const struct mf_cpu_isa *isa, uint64_t layout, mf_dtype t) {
    return (uint64_t)0x6d66 << 48 | layout << 32 | (uint64_t)isa->vl << 24 | (uint64_t)isa->nr << 8 | (uint64_t)t;
}
