/* What the two kinds of attention share: op_attention.cu (linear, and the operation), attention_softmax.cu. */
#ifndef MFRGN_BACKENDS_CUDA_ATTENTION_H
#define MFRGN_BACKENDS_CUDA_ATTENTION_H

#include "backends/cuda/forward.h"

/* q and out [N, T, C], k and v [N, S, C]; head h holds channels h d .. (h + 1) d - 1, d = C / heads. */
struct mfc_heads {
    int64_t images, tokens, sources, channels, heads, width; /* N, T, S, C, heads, d */
    float eps;
};

static inline mfc_heads mfc_heads_of(const mf_op *op) {
    mfc_heads h;
    h.images = op->output.dim[0];
    h.tokens = op->output.dim[1];
    h.sources = op->input[1].dim[1];
    h.channels = op->output.dim[2];
    h.heads = op->attrs.heads;
    h.width = h.channels / h.heads;
    h.eps = (float)op->attrs.eps;
    return h;
}

/* Rows row .. of a block of `count` rows of `width` f32 in shared memory, from channels of T: vectors of V, `stride`
 * floats from a row to the next; what lies past `rows` rows or `valid` channels becomes 0.  By all threads of the
 * block; nothing waits. */
template <typename T, int V, typename F>
static __device__ __forceinline__ void mfc_stage(const T *from, int64_t channels, int64_t rows, int64_t valid,
                                                 int count, int width, const F &put) {
    const int vectors = width / V;
    for (int i = (int)threadIdx.x; i < count * vectors; i += (int)blockDim.x) {
        const int r = i / vectors, c = i % vectors * V;
        float v[V];
        if (r < rows && c < valid) {
            mfc_load<T, V>(from + r * channels + c, v);
        } else {
#pragma unroll
            for (int e = 0; e < V; e++)
                v[e] = 0.0f;
        }
#pragma unroll
        for (int e = 0; e < V; e++)
            put(r, c + e, v[e], r < rows && c < valid);
    }
}

/* Vectors of V may be read from every row of every head. */
template <typename T, int V>
static inline int mfc_heads_aligned(const mfc_heads &h, const void *q, const void *k, const void *v, const void *out) {
    return h.width % V == 0 && mfc_aligned(q) && mfc_aligned(k) && mfc_aligned(v) && mfc_aligned(out);
}

/* attention_softmax.cu */
mf_status mfc_attention_softmax(mf_kernel *k, const void *q, const void *key, const void *value, void *out);

#endif
