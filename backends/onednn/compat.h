/* oneDNN 2 and 3 from one source: the only place that tests DNNL_VERSION_MAJOR.
 *
 * They differ in nearly every creation call (2: a struct that `_desc_init` fills, then dnnl_primitive_desc_create;
 * 3: one call an operation), in what a memory descriptor is (2: a struct by value; 3: a handle), in the signatures of
 * the post-ops, and silently in the values of the enums.  Hence mf_dnn_check_version: a plug-in built with one major
 * must not run with the other.
 *
 * Every function returns oneDNN's status; none allocates but in oneDNN. */
#ifndef MFRGN_BACKENDS_ONEDNN_COMPAT_H
#define MFRGN_BACKENDS_ONEDNN_COMPAT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <dnnl.h>
#include <dnnl_debug.h>

/* An owned descriptor of a tensor (2: the struct itself; 3: a handle) and a borrowed one. */
typedef struct mf_dnn_md {
    dnnl_memory_desc_t md;
} mf_dnn_md;
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t mf_dnn_md_ref;
#else
typedef const dnnl_memory_desc_t *mf_dnn_md_ref;
#endif

/* Geometry of a convolution; f32, channels last.  Weights o, i, kh, kw; dilation is not used. */
typedef struct mf_dnn_conv {
    dnnl_dims_t src, weights, dst; /* n c h w; o i kh kw or g o i kh kw; n o h w */
    int groups;                    /* weights have the leading dimension g */
    int bias;
    dnnl_dims_t stride, pad_begin, pad_end; /* h, w */
} mf_dnn_conv;

/* The values are sets of bits on both majors. */
#define MF_DNN_ISA_HAS(isa, wanted) (((isa) & (unsigned)(wanted)) == (unsigned)(wanted))

static inline int mf_dnn_check_version(void) {
    return dnnl_version()->major == DNNL_VERSION_MAJOR;
}

static inline mf_dnn_md_ref mf_dnn_md_get(const mf_dnn_md *d) {
#if DNNL_VERSION_MAJOR >= 3
    return d->md;
#else
    return &d->md;
#endif
}

static inline dnnl_status_t mf_dnn_md_create(mf_dnn_md *d, int ndims, const dnnl_dims_t dims, dnnl_format_tag_t tag) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_tag(&d->md, ndims, dims, dnnl_f32, tag);
#else
    return dnnl_memory_desc_init_by_tag(&d->md, ndims, dims, dnnl_f32, tag);
#endif
}

/* d: made by mf_dnn_md_create, or zeroed. */
static inline void mf_dnn_md_destroy(mf_dnn_md *d) {
#if DNNL_VERSION_MAJOR >= 3
    if (d->md)
        dnnl_memory_desc_destroy(d->md);
#endif
    memset(d, 0, sizeof(*d));
}

/* All that a blocked layout consists of. */
typedef struct mf_dnn_layout {
    int64_t ndims, blocks;
    dnnl_dims_t dims, padded, strides;
    dnnl_dims_t block, index; /* of the inner blocks: size, dimension */
    uint64_t bytes;
} mf_dnn_layout;

/* 1: it is a blocked layout.  No byte of *l is left unset, so layouts compare and hash as bytes. */
static inline int mf_dnn_md_layout(mf_dnn_md_ref d, mf_dnn_layout *l) {
    memset(l, 0, sizeof(*l));
    l->bytes = dnnl_memory_desc_get_size(d);
#if DNNL_VERSION_MAJOR >= 3
    dnnl_format_kind_t kind = dnnl_format_kind_undef;
    int32_t ndims = 0, blocks = 0;
    dnnl_dims_t *dims = NULL, *padded = NULL, *strides = NULL, *block = NULL, *index = NULL;
    if (dnnl_memory_desc_query(d, dnnl_query_format_kind, &kind) != dnnl_success || kind != dnnl_blocked ||
        dnnl_memory_desc_query(d, dnnl_query_ndims_s32, &ndims) != dnnl_success ||
        dnnl_memory_desc_query(d, dnnl_query_dims, &dims) != dnnl_success ||
        dnnl_memory_desc_query(d, dnnl_query_padded_dims, &padded) != dnnl_success ||
        dnnl_memory_desc_query(d, dnnl_query_strides, &strides) != dnnl_success ||
        dnnl_memory_desc_query(d, dnnl_query_inner_nblks_s32, &blocks) != dnnl_success ||
        dnnl_memory_desc_query(d, dnnl_query_inner_blks, &block) != dnnl_success ||
        dnnl_memory_desc_query(d, dnnl_query_inner_idxs, &index) != dnnl_success)
        return 0;
#else
    if (d->format_kind != dnnl_blocked)
        return 0;
    int ndims = d->ndims, blocks = d->format_desc.blocking.inner_nblks;
    const dnnl_dims_t *dims = &d->dims, *padded = &d->padded_dims, *strides = &d->format_desc.blocking.strides;
    const dnnl_dims_t *block = &d->format_desc.blocking.inner_blks, *index = &d->format_desc.blocking.inner_idxs;
#endif
    size_t outer = (size_t)ndims * sizeof(dnnl_dim_t), inner = (size_t)blocks * sizeof(dnnl_dim_t);
    l->ndims = ndims;
    l->blocks = blocks;
    memcpy(l->dims, *dims, outer);
    memcpy(l->padded, *padded, outer);
    memcpy(l->strides, *strides, outer);
    if (inner) {
        memcpy(l->block, *block, inner);
        memcpy(l->index, *index, inner);
    }
    return 1;
}

/* The descriptor's own: valid as long as pd. */
static inline mf_dnn_md_ref mf_dnn_pd_md(const_dnnl_primitive_desc_t pd, dnnl_query_t what) {
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

static inline dnnl_status_t mf_dnn_post_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_eltwise(ops, kind, 0.0f, 0.0f);
#else
    return dnnl_post_ops_append_eltwise(ops, 1.0f, kind, 0.0f, 0.0f);
#endif
}

static inline dnnl_status_t mf_dnn_post_sum(dnnl_post_ops_t ops) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
#else
    return dnnl_post_ops_append_sum(ops, 1.0f);
#endif
}

/* 1: the implementation's name begins with `name`. */
static inline int mf_dnn_pd_is(const_dnnl_primitive_desc_t pd, const char *name) {
    const char *is = NULL;
    return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &is) == dnnl_success && is &&
           strncmp(is, name, strlen(name)) == 0;
}

/* Goes on to the implementation of that name; 0: it is not among the next ones, and pd is to be made anew.  (2 has no
 * second choice that is wanted.  A copy made by dnnl_primitive_desc_clone cannot go on.) */
static inline int mf_dnn_pd_next(dnnl_primitive_desc_t pd, const char *name) {
    int found = mf_dnn_pd_is(pd, name);
#if DNNL_VERSION_MAJOR >= 3
    for (int i = 0; i < 3 && !found && dnnl_primitive_desc_next_impl(pd) == dnnl_success; i++)
        found = mf_dnn_pd_is(pd, name);
#endif
    return found;
}

/* Channels last in and out, weights as the implementation likes them best. */
static inline dnnl_status_t mf_dnn_conv_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const mf_dnn_conv *c,
                                           const_dnnl_primitive_attr_t attr) {
    const dnnl_dims_t none = {0, 0};
    mf_dnn_md src = {0}, weights = {0}, bias = {0}, dst = {0};
    dnnl_dims_t bias_dims = {c->dst[1]};
    dnnl_status_t s = mf_dnn_md_create(&src, 4, c->src, dnnl_nhwc);
    if (s == dnnl_success)
        s = mf_dnn_md_create(&weights, c->groups ? 5 : 4, c->weights, dnnl_format_tag_any);
    if (s == dnnl_success)
        s = mf_dnn_md_create(&dst, 4, c->dst, dnnl_nhwc);
    if (s == dnnl_success && c->bias)
        s = mf_dnn_md_create(&bias, 1, bias_dims, dnnl_a);
    if (s == dnnl_success) {
        mf_dnn_md_ref bias_ref = c->bias ? mf_dnn_md_get(&bias) : NULL;
#if DNNL_VERSION_MAJOR >= 3
        s = dnnl_convolution_forward_primitive_desc_create(
            pd, engine, dnnl_forward_inference, dnnl_convolution_direct, mf_dnn_md_get(&src), mf_dnn_md_get(&weights),
            bias_ref, mf_dnn_md_get(&dst), c->stride, none, c->pad_begin, c->pad_end, attr);
#else
        dnnl_convolution_desc_t desc;
        s = dnnl_dilated_convolution_forward_desc_init(&desc, dnnl_forward_inference, dnnl_convolution_direct,
                                                       mf_dnn_md_get(&src), mf_dnn_md_get(&weights), bias_ref,
                                                       mf_dnn_md_get(&dst), c->stride, none, c->pad_begin, c->pad_end);
        if (s == dnnl_success)
            s = dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
#endif
    }
    mf_dnn_md_destroy(&src);
    mf_dnn_md_destroy(&weights);
    mf_dnn_md_destroy(&bias);
    mf_dnn_md_destroy(&dst);
    return s;
}

#endif
