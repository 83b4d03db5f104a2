/* What the files of backends/cpu/ share: a prepared kernel, the table of one instruction set, the split over threads.
 *
 * op_*.c: one operation each, compiled once: shapes, partition, scratch.
 * k_*.c:  the loops over numbers, compiled once an instruction set and reached through struct mf_cpu_isa. */
#ifndef MFRGN_CPU_KERNEL_H
#define MFRGN_CPU_KERNEL_H

#include <string.h>

#include "backends/cpu/cpu.h"
#include "backends/scan.h"

enum { MF_CPU_MAX_SLOTS = 256 };

/* Elements below which an operation runs on the caller: waking a thread costs about 10 us. */
#define MF_CPU_SMALL 20000

/* C[m, n] = residual + scale act(A B + bias), A by strides, B in panels (mf_panel_*). */
typedef struct mf_gemm {
    int64_t m, n, k;
    const float *a;
    int64_t rs; /* A[i, p] = a[i rs + p] */
    /* NULL, or makes rows row0 .. row0 + rows - 1 of A, each of k values (im2col) */
    void (*gather)(const struct mf_gemm *g, int64_t row0, int64_t rows, float *to);
    const void *gather_arg;
    const void *b;
    mf_dtype btype; /* of the panels: MF_F32, MF_F16, MF_BF16 */
    /* gemm_plain reads B as it lies, in f32: B[p, j] = plain[p ldb + j], with tb plain[j ldb + p] */
    const float *plain;
    int64_t ldb;
    int tb;
    float *c;
    int64_t ldc;
    const float *bias, *scale, *residual; /* NULL: absent; residual has ldc too */
    mf_act act;
    int64_t kc, mc; /* blocks: kc depends on k alone, so that sums do not depend on m */
} mf_gemm;

/* out rows of a depthwise convolution */
typedef struct mf_dwconv {
    int64_t h, w, c;
    int kh, kw, ph, pw;
    const float *weight; /* [ceil(c / vl)][kh kw][vl] */
    const float *bias, *gamma, *beta;
    int norm;
    float eps;
} mf_dwconv;

/* C[m, n] = from + A^T B with A [k, m] and B [k, n], both by rows: the gradient of a weight (k_gemm.c, gemm_ta). */
typedef struct mf_gemm_ta {
    int64_t m, n, k;
    const float *a, *b;
    int64_t lda, ldb;
    int64_t row0; /* what `gather` counts from */
    /* NULL, or makes columns n0 .. n1 - 1 of rows row0 .. row0 + rows - 1 of B, dense (im2col) */
    void (*gather)(const struct mf_gemm_ta *g, int64_t row0, int64_t rows, int64_t n0, int64_t n1, float *to);
    const void *gather_arg;
    float *c;
    const float *from; /* NULL, or what is added; may be c */
    int64_t ldc;       /* of both */
    int64_t kc, mc;    /* blocks */
    int64_t parts;     /* that k is cut into, by the shape alone */
} mf_gemm_ta;

typedef struct mf_attention_head {
    int64_t t, s, d, c; /* queries, keys, channels of the head, channels of a row */
    float eps;
} mf_attention_head;

struct mf_cpu_isa {
    const char *name;
    int vl;     /* values of a vector */
    int mr, nr; /* rows and columns of the register tile; nr: width of a panel */
    int (*available)(void);

    /* rows m0 .. m1 - 1, panels p0 .. p1 - 1; scratch: mf_gemm_scratch bytes */
    void (*gemm)(const mf_gemm *g, int64_t m0, int64_t m1, int64_t p0, int64_t p1, void *scratch);
    /* the same with B as it lies; scratch: min(kc, k) max(nr, 64) values */
    void (*gemm_plain)(const mf_gemm *g, int64_t m0, int64_t m1, int64_t p0, int64_t p1, void *scratch);
    /* rows m0 .. m1 - 1 (a multiple of mr), columns n0 .. n1 - 1 (a multiple of nr); mf_gemm_ta_scratch bytes */
    void (*gemm_ta)(const mf_gemm_ta *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void *scratch);
    /* one block of C, m0 .. m1 - 1 by n0 .. n1 - 1, in place: v = act(C + bias); C = residual + scale v */
    void (*epilogue)(const mf_gemm *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1);
    /* x, y: one image; rows y0 .. y1 - 1 of it */
    void (*dwconv)(const mf_dwconv *p, const float *x, float *y, int64_t y0, int64_t y1);
    /* one channel, padded input with rows of ld values, at least vl more of them than are used */
    void (*conv_plane)(const float *x, int64_t ld, const float *w, int kh, int kw, float *y, int64_t h, int64_t wd);

    void (*layernorm)(const float *x, float *y, int64_t rows, int64_t c, float eps, const float *gamma,
                      const float *beta);
    void (*l2norm)(const float *x, float *y, int64_t rows, int64_t c, float eps);
    /* sums over rows of x - mean (mean NULL: 0), or of its square: out [c] */
    void (*column_sums)(const float *x, int64_t rows, int64_t c, const float *mean, int square, float *out);
    /* y = act((x - mean) scale + shift) by channel */
    void (*affine)(const float *x, float *y, int64_t rows, int64_t c, const float *mean, const float *scale,
                   const float *shift, mf_act act);

    void (*act)(const float *x, float *y, int64_t count, mf_act act);
    void (*add)(const float *a, const float *b, float *y, int64_t count, mf_act act);
    void (*mul)(const float *a, const float *b, float *y, int64_t count, mf_act act);
    void (*add_scalar)(const float *a, float b, float *y, int64_t count, mf_act act);
    void (*mul_scalar)(const float *a, float b, float *y, int64_t count, mf_act act);

    /* y[j] = scale sum over i < n of x[i stride + j], j < count */
    void (*sum_strided)(const float *x, int64_t stride, int64_t n, float *y, int64_t count, float scale);
    void (*max_into)(float *y, const float *x, int64_t count);
    void (*channel_max)(const float *x, float *y, int64_t rows, int64_t c);
    /* out [n]: mean over t of s (ch sp + 1), channels of a row of c */
    void (*gated_mean)(const float *s, const float *ch, const float *sp, float *out, int64_t t, int64_t c, int64_t n);

    /* linear attention. keys -> kv [d][dp], ksum [d]; queries q0 .. q1 - 1 -> out.  dp: d rounded up to vl */
    void (*linear_keys)(const mf_attention_head *p, const float *k, const float *v, float *kv, float *ksum,
                        float *scratch);
    void (*linear_queries)(const mf_attention_head *p, const float *q, const float *kv, const float *ksum, float *out,
                           int64_t q0, int64_t q1, float *scratch);
    /* softmax attention. keys -> kt [d][sp], vp [s][dp]; sp: s rounded up to vl */
    void (*softmax_keys)(const mf_attention_head *p, const float *k, const float *v, float *kt, float *vp);
    void (*softmax_queries)(const mf_attention_head *p, const float *q, const float *kt, const float *vp, float *out,
                            int64_t q0, int64_t q1, float *scratch);

    /* ---- training ---- */
    /* y[j ldy + i] = x[i ldx + j], i < rows, j < cols */
    void (*transpose)(const float *x, int64_t ldx, float *y, int64_t ldy, int64_t rows, int64_t cols);
    void (*act_grad)(const float *x, const float *dy, float *dx, int64_t count, mf_act act);
    void (*lerp)(const float *a, const float *b, float *y, int64_t count, float t);
    /* elements `first` on of an image */
    void (*dropout)(const float *x, float *y, int64_t count, uint32_t first, uint64_t base, uint32_t threshold,
                    float scale);
    void (*axpy)(float *y, const float *x, int64_t count, float s); /* y += s x */
    double (*dot)(const float *a, const float *b, int64_t count);
    void (*update)(const mf_update *u, const mf_update_item *item, int64_t begin, int64_t count);
    /* one row of n logits scale x: log of the sum of exponentials; y (may be x): the softmax, or NULL */
    double (*softmax_row)(const float *x, float *y, int64_t n, float scale);
    /* sums over rows of ld values, columns 0 .. n - 1: out[j] = sum of (x - mean) y, of x - mean without y, of x y
     * without mean */
    void (*column_dots)(const float *x, const float *y, const float *mean, int64_t rows, int64_t ld, int64_t n,
                        float *out);
    /* y = a dy + b (x - mean) + s by channel */
    void (*affine_grad)(const float *x, const float *dy, float *y, int64_t rows, int64_t c, const float *mean,
                        const float *a, const float *b, const float *s);
    void (*layernorm_grad)(const float *x, const float *dy, float *dx, int64_t rows, int64_t c, float eps,
                           const float *gamma);
    /* out [2][c]: sums over the rows of dy (x - mean) / deviation, of dy */
    void (*layernorm_columns)(const float *x, const float *dy, int64_t rows, int64_t c, float eps, float *out);
    void (*l2norm_grad)(const float *x, const float *dy, float *dx, int64_t rows, int64_t c, float eps);
    /* one window of up to `taps` pixels x[at[i]] of n channels: dx[at[i]] += dy where x is the first largest */
    void (*maxpool_grad)(const float *x, const float *dy, float *dx, const int64_t *at, int taps, int64_t n);
    void (*channel_max_grad)(const float *x, const float *dy, float *dx, int64_t rows, int64_t c);
    /* ds = (ch sp + 1) dy / t; dsp = sum over c of s ch dy / t */
    void (*gated_mean_grad)(const float *s, const float *ch, const float *sp, const float *dy, float *ds, float *dsp,
                            int64_t rows, int64_t c, float scale);
    /* out[j] = scale dy[j] sum over t of s[t c + j] sp[t], j < n */
    void (*gated_channels)(const float *s, const float *sp, const float *dy, float *out, int64_t t, int64_t c,
                           int64_t n, float scale);
    /* one vector of channels c0 .. : rows y0 .. y1 - 1 of dy of one image, added to dw [kh kw][vl] */
    void (*dwconv_weight)(const mf_dwconv *p, const float *x, const float *dy, float *dw, int64_t c0, int64_t y0,
                          int64_t y1);
    void (*linear_grad)(const mf_attention_head *p, const float *q, const float *k, const float *v, const float *dout,
                        float *dq, float *dk, float *dv, float *scratch);
    void (*softmax_grad)(const mf_attention_head *p, const float *q, const float *k, const float *v, const float *dout,
                         float *dq, float *dk, float *dv, float *scratch);

    /* the scan of a gallery (op_scan.c). rows begin .. end - 1 by up to 4 queries -> score [rows][n] */
    void (*scan_dot)(const mf_scan *s, int64_t begin, int64_t end, float *score);
    /* values k0 .. k0 + count - 1 of a row as f32, without the scale of MF_I8 */
    void (*scan_widen)(const mf_scan *s, int64_t row, int64_t k0, int64_t count, float *to);
    /* c [rows][width] = (first ? 0 : c) + a [rows][k] b [k][width] */
    void (*scan_panel)(const float *a, int64_t lda, int64_t rows, const float *b, int64_t k, int64_t width, float *c,
                       int first);
    /* c: rows begin .. end - 1 by queries q0 .. q0 + width - 1, to the lists */
    void (*scan_pick)(mf_scan_lists *l, const float *c, int64_t begin, int64_t end, int64_t q0, int64_t width,
                      const float *norm);
};

/* Of the scan: values of a sum that are added in a row; bytes that the rows are asked for ahead. */
enum { MF_SCAN_KC = 512, MF_SCAN_AHEAD = 4096 };

extern const struct mf_cpu_isa mfrgn_cpu_isa__portable;
extern const struct mf_cpu_isa mfrgn_cpu_isa__avx2;
extern const struct mf_cpu_isa mfrgn_cpu_isa__avx512;

/* Queries that the attention kernels take at a time. */
enum { MF_ATTENTION_ROWS = 48 };

typedef struct mf_cpu_ops {
    /* prepare calls it too */
    int (*supports)(const mf_cpu *cpu, const mf_op *op);
    mf_status (*prepare)(mf_cpu_kernel *k);
    mf_status (*pack)(const mf_cpu_kernel *k, int input, const void *plain, void *packed); /* NULL: packs nothing */
    mf_status (*run)(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch);
} mf_cpu_ops;

struct mf_cpu_kernel {
    const mf_cpu *cpu;
    const mf_cpu_ops *ops;
    mf_op op;
    mf_kernel_info info;
    int slots;           /* threads that it uses, at most */
    size_t shared_bytes; /* of the scratch, common to all slots, before those of each slot */
    size_t slot_bytes;   /* a multiple of MF_ALIGN */
    int64_t chunk[3];    /* rows or elements of a chunk, by operation */
    mf_gemm gemm;        /* MATMUL, CONV2D: shapes and blocks */
    mf_gemm_ta ta;       /* gradients of weights */
    int64_t batch;       /* MATMUL with ta */
    int direct;          /* CONV2D: a variant */
};

/* ---- the split over threads ---- */
typedef void (*mf_chunk_fn)(void *arg, int64_t chunk, int slot);
/* fn(arg, 0 .. chunks - 1, slot) on up to `slots` threads.  Each slot begins with its own part of the chunks, so that a
 * thread finds in its cache what it wrote before, and then helps the others. */
void mf_cpu_for(const mf_cpu *cpu, int slots, int64_t chunks, mf_chunk_fn fn, void *arg);
/* 1 for small work, else the threads. */
int mf_cpu_slots(const mf_cpu *cpu, double elements);
/* Says that a weight holds NaN or infinity: MFRGN_ERROR_NUMERIC. */
mf_status mf_cpu_not_finite(const mf_cpu *cpu);

/* Chunks of whole rows for row by row work: chunk[0] rows, about 16k elements, at least four chunks a thread if there
 * is that much. */
void mf_cpu_plan_rows(mf_cpu_kernel *k, int64_t rows, int64_t width, double cost);

static inline size_t mf_cpu_align(size_t bytes) {
    return (bytes + MF_ALIGN - 1) & ~(size_t)(MF_ALIGN - 1);
}

static inline char *mf_cpu_slot_scratch(const mf_cpu_kernel *k, void *scratch, int slot) {
    return (char *)scratch + k->shared_bytes + (size_t)slot * k->slot_bytes;
}

static inline int64_t mf_div_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static inline int64_t mf_round_up(int64_t a, int64_t b) {
    return mf_div_up(a, b) * b;
}

static inline int64_t mf_min64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t mf_max64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* ---- transposition ---- */
typedef float mf_v4 __attribute__((vector_size(16), aligned(4), may_alias));

/* 4 x 4 values: y[j ldy + i] = x[i ldx + j] */
static inline void mf_transpose4(const float *x, int64_t ldx, float *y, int64_t ldy) {
    mf_v4 a = *(const mf_v4 *)x, b = *(const mf_v4 *)(x + ldx);
    mf_v4 c = *(const mf_v4 *)(x + 2 * ldx), d = *(const mf_v4 *)(x + 3 * ldx);
    mf_v4 ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    mf_v4 cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(mf_v4 *)y = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
    *(mf_v4 *)(y + ldy) = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
    *(mf_v4 *)(y + 2 * ldy) = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
    *(mf_v4 *)(y + 3 * ldy) = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
}

/* ---- panels of B (panel.c) ----
 * Panel p holds columns p nr .. of all k rows, row by row; the last one is narrower, a multiple of vl, and filled up
 * with zeros. */
static inline size_t mf_panel_bytes(const struct mf_cpu_isa *isa, int64_t n, int64_t k, mf_dtype t) {
    return (size_t)(mf_round_up(n, isa->vl) * k) * mf_dtype_size(t);
}

/* B[p, j] = src[outer(p) + j sn], of type t as the panels: p runs over k0 x k1 values with strides s0, s1. */
typedef struct mf_panel_source {
    const void *src;
    mf_dtype dtype;
    int64_t n, k0, k1, sn, s0, s1;
} mf_panel_source;

/* By several threads if it is large. */
void mf_panel_pack(const mf_cpu *cpu, const mf_panel_source *s, void *packed);
/* Whether the source's columns lie one after the other, as weights do: then mf_panel_pack_checked can be had. */
static inline int mf_panel_checkable(const mf_panel_source *s) {
    return s->sn == s->k0 * s->k1;
}
/* The same, and 0 if a value is NaN or infinite. */
int mf_panel_pack_checked(const mf_cpu *cpu, const mf_panel_source *s, void *packed);
uint64_t mf_panel_key(const struct mf_cpu_isa *isa, uint64_t layout, mf_dtype t);

/* ---- planes (plane.c): convolutions from one channel to one, along the longer axis ---- */
typedef struct mf_plane {
    int64_t h, w, oh, ow; /* a column is turned into a row */
    int kh, kw, ph, pw;
    int64_t rows, ld; /* of the padded plane */
} mf_plane;
/* x, y: maps [N, H, W, 1].  grad: the plane that gives the weights' gradient, its outputs being kh x kw */
mf_plane mf_plane_of(const struct mf_cpu_isa *isa, const mf_attrs *a, const int64_t *x, const int64_t *y, int grad);
/* padded: rows x ld values */
void mf_plane_pad(const mf_plane *p, const float *x, float *padded);

/* ---- products (gemm.c) ---- */
/* Chooses blocks, slots and scratch for a batch of products g->m x g->n x g->k; `gather` bytes are those of im2col. */
void mf_gemm_plan(mf_cpu_kernel *k, int64_t batch, int gathers);
/* Then: 1 if B, which changes from run to run, is best packed piece by piece by the threads that use it: mf_gemm_run
 * with `plain` set instead of `b` (and `tb`, `ldb`). */
int mf_gemm_plan_plain(mf_cpu_kernel *k);
size_t mf_gemm_scratch(const struct mf_cpu_isa *isa, const mf_gemm *g, int gathers);
/* 1 if C may be the residual: where C holds the sums between blocks of k, nothing but they may be in it. */
int mf_gemm_in_place(const mf_cpu_kernel *k);
/* g[i] for i < batch differ by these strides. */
void mf_gemm_run(const mf_cpu_kernel *k, const mf_gemm *g, int64_t batch, int64_t stride_a, int64_t stride_c,
                 void *slots_scratch);
/* The bytes that gemm_ta needs. */
size_t mf_gemm_ta_scratch(const struct mf_cpu_isa *isa, const mf_gemm_ta *g);
/* Chooses blocks, parts (where they may be), chunks (chunk[0] rows, chunk[1] columns of C), slots and their scratch. */
void mf_gemm_ta_plan(mf_cpu_kernel *k, mf_gemm_ta *g, int may_part);
/* bytes common to all slots, for the parts */
size_t mf_gemm_ta_shared(const mf_gemm_ta *g);
void mf_gemm_ta_run(const mf_cpu_kernel *k, const mf_gemm_ta *g, void *shared, void *slots_scratch);
/* Weight operands that the products take. */
int mf_gemm_takes(const mf_operand *w);

/* ---- sums over rows (columns.c) ----
 * Rows in blocks of a fixed size, columns in pieces: each writes its part of the scratch, and the parts are added up
 * in double in their order, whatever the threads. */
typedef struct mf_columns {
    int64_t rows, c;      /* of the operands */
    int64_t block, piece; /* rows, columns of a chunk */
    int64_t blocks, pieces;
    int outputs; /* vectors [c] that a chunk makes */
} mf_columns;
/* part: outputs x [c], of which the chunk writes columns c0 .. c0 + n - 1 */
typedef void (*mf_columns_fn)(const void *arg, int64_t row0, int64_t rows, int64_t c0, int64_t n, float *part);
/* whole: a chunk takes all columns */
mf_columns mf_columns_plan(const mf_cpu *cpu, int64_t rows, int64_t c, int outputs, int whole);
size_t mf_columns_scratch(const mf_columns *p); /* bytes, common to all threads */
/* `slots` threads; out: outputs x [c], each sum multiplied by scale */
void mf_columns_run(const mf_cpu *cpu, int slots, const mf_columns *p, mf_columns_fn fn, const void *arg, float *out,
                    double scale, void *scratch);

/* ---- 16-bit numbers ---- */
static inline float mf_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 0x3ffu;
    float f;
    if (e == 0) {
        f = (float)m * 5.9604644775390625e-8f; /* 2^-24 */
        return sign ? -f : f;
    }
    uint32_t bits = sign | (e == 31 ? 0x7f800000u | m << 13 : (e + 112) << 23 | m << 13);
    memcpy(&f, &bits, 4);
    return f;
}

static inline float mf_bf16_to_f32(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static inline float mf_to_f32(const void *p, int64_t i, mf_dtype t) {
    if (t == MF_F16)
        return mf_f16_to_f32(((const uint16_t *)p)[i]);
    if (t == MF_BF16)
        return mf_bf16_to_f32(((const uint16_t *)p)[i]);
    return ((const float *)p)[i];
}

extern const mf_cpu_ops mf_cpu_matmul, mf_cpu_conv2d, mf_cpu_dwconv2d, mf_cpu_layernorm, mf_cpu_groupnorm,
    mf_cpu_batchnorm, mf_cpu_act, mf_cpu_binary, mf_cpu_pyramid_pool, mf_cpu_maxpool, mf_cpu_concat, mf_cpu_slice,
    mf_cpu_attention, mf_cpu_channel_max, mf_cpu_gated_mean, mf_cpu_l2norm, mf_cpu_transpose, mf_cpu_column_sum,
    mf_cpu_row_dot, mf_cpu_row_scale, mf_cpu_act_grad, mf_cpu_layernorm_grad, mf_cpu_layernorm_grad_affine,
    mf_cpu_groupnorm_grad, mf_cpu_groupnorm_grad_affine, mf_cpu_batch_stats, mf_cpu_batchnorm_grad_affine,
    mf_cpu_batchnorm_grad, mf_cpu_conv2d_grad_input, mf_cpu_conv2d_grad_weight, mf_cpu_dwconv2d_grad_weight,
    mf_cpu_pyramid_pool_grad, mf_cpu_maxpool_grad, mf_cpu_pad, mf_cpu_attention_grad, mf_cpu_channel_max_grad,
    mf_cpu_gated_mean_grad, mf_cpu_l2norm_grad, mf_cpu_dropout, mf_cpu_lerp, mf_cpu_infonce, mf_cpu_infonce_grad;

#endif
