/* Products and convolutions with constant weights, as oneDNN convolutions.
 *
 *     out = residual + act(a b^T + bias)        a [M, K], b [N, K]
 *
 * A product is a 1x1 convolution over M pixels: channels last is the token matrix, and only the convolution has
 * kernels that read packed f32 weights on every instruction set (brgconv_1x1 with AVX-512, jit_1x1 with AVX2; matmul
 * and inner product fall to a GEMM that packs in every run there).  The epilogue is post-ops: the sum reads the
 * destination, so the residual is there before the kernel starts: the memory plan lets both be one buffer, else it is
 * copied.  With an activation the sum comes after it, which jit_1x1 of 2.6.3 does not take (the
 * common kernels then stand in); brgconv does.
 *
 * Kernels of one shape share a plan: primitive descriptor, primitive and memory objects.  The weights' layout is
 * oneDNN's choice and depends on M (with AVX-512 blocks of 48 or 64 outputs).  So that a model has one packed copy
 * for its batch sizes and views, the rows are cut into up to 8 images where that leads to the layout that 4,096 rows
 * get.  Counted for 14 values of M from 64 up, the 8 products of convnext_base, 1 to 16 threads, AVX-512: 79 % have
 * that layout as they are, 96 % with the cut.
 *
 * Threads: a primitive is made for the number of threads that OpenMP has at that moment, and runs under the same. */
#include "backends/onednn/onednn.h"

enum { CANONICAL_ROWS = 4096, MAX_CUT = 8, SHARED_WEIGHTS = 65536 };

/* What makes two plans the same. */
typedef struct mf_plan_key {
    mf_dnn_conv conv;
    mf_act act;
    int sum;
} mf_plan_key;

struct mf_plan {
    mf_plan *next;
    int references;
    mf_plan_key key;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    dnnl_primitive_t reorder; /* of the weights: made by the first pack */
    dnnl_memory_t src, weights, bias, dst, scratch, plain;
    size_t scratch_bytes;
    mf_dnn_layout layout; /* of the weights */
};

static mf_status fail(const mf_stream *s, const mf_plan_key *k, const char *call, dnnl_status_t status) {
    const mf_host *host = s->device->host;
    const mf_dnn_conv *c = &k->conv;
    static const char *const act[MF_ACT_COUNT] = {"", " + GELU", " + ReLU", " + sigmoid", " + tanh GELU"};
    const dnnl_dim_t *w = c->weights + (c->groups ? 1 : 0);
    return host->fail(host->context, status == dnnl_out_of_memory ? MF_DNN_MEMORY : MF_DNN_BACKEND,
                      "oneDNN: %s: %s; %s %lldx%lldx%lldx%lld (NHWC), weights %lldx%lldx%lldx%lld%s%s, %d threads",
                      call, dnnl_status2str(status), c->groups ? "depthwise convolution" : "convolution",
                      (long long)c->src[0], (long long)c->src[2], (long long)c->src[3], (long long)c->src[1],
                      (long long)(c->groups ? c->weights[0] : w[0]), (long long)w[1], (long long)w[2], (long long)w[3],
                      act[k->act], k->sum ? " + residual" : "", s->threads);
}

/* ---- geometry ---- */

static void matmul_conv(const mf_op *op, int64_t images, mf_dnn_conv *c) {
    int64_t rows = mf_operand_rows(&op->output), n = mf_operand_last(&op->output), k = op->input[MF_IN_W].dim[1];
    const dnnl_dims_t src = {images, k, 1, rows / images}, dst = {images, n, 1, rows / images}, weights = {n, k, 1, 1};
    memcpy(c->src, src, sizeof(src));
    memcpy(c->dst, dst, sizeof(dst));
    memcpy(c->weights, weights, sizeof(weights));
    c->stride[0] = c->stride[1] = 1;
}

static void swap(dnnl_dim_t *a) {
    dnnl_dim_t t = a[0];
    a[0] = a[1];
    a[1] = t;
}

static void map_conv(const mf_op *op, mf_dnn_conv *c) {
    const int64_t *x = op->input[MF_IN_X].dim, *w = op->input[MF_IN_W].dim, *y = op->output.dim;
    int depthwise = op->kind == MF_OP_DWCONV2D;
    const dnnl_dims_t src = {x[0], x[3], x[1], x[2]}, dst = {y[0], y[3], y[1], y[2]};
    const dnnl_dims_t dense = {w[0], w[1], w[2], w[3]}, grouped = {w[0], 1, 1, w[2], w[3]};
    memcpy(c->src, src, sizeof(src));
    memcpy(c->dst, dst, sizeof(dst));
    memcpy(c->weights, depthwise ? grouped : dense, sizeof(dense));
    c->groups = depthwise;
    for (int i = 0; i < 2; i++) {
        int64_t in = src[2 + i], out = dst[2 + i], kernel = w[2 + i];
        c->stride[i] = depthwise ? 1 : op->attrs.stride[i];
        c->pad_begin[i] = depthwise ? kernel / 2 : op->attrs.pad[i];
        c->pad_end[i] = (out - 1) * c->stride[i] + kernel - in - c->pad_begin[i]; /* may be negative: rows unread */
    }
    /* A column of pixels, and a kernel that is a column: as rows, which the kernels go along (5x1 over 958 pixels: 3
     * times as fast), in the same memory. */
    if (src[3] == 1 && w[3] == 1 && c->stride[1] == 1 && !c->pad_begin[1] && !c->pad_end[1]) {
        swap(c->src + 2);
        swap(c->dst + 2);
        swap(c->weights + (depthwise ? 3 : 2));
        swap(c->stride);
        swap(c->pad_begin);
        swap(c->pad_end);
    }
}

/* ---- plans ---- */

/* 1 if the implementation is one of the optimised ones: not the reference, nor a GEMM behind im2col. */
static int optimised(const_dnnl_primitive_desc_t pd) {
    return mf_dnn_pd_is(pd, "brg") || mf_dnn_pd_is(pd, "brdgmm") || mf_dnn_pd_is(pd, "jit");
}

/* 3.x has two AVX2 kernels for 1x1 and would take the other (rules.c). */
static int wants_jit_1x1(const mf_plan_key *k) {
    return !k->conv.groups && k->conv.weights[2] == 1 && k->conv.weights[3] == 1 && mf_onednn_isa() == MF_ISA_AVX2;
}

static dnnl_status_t make_pd(const mf_stream *s, const mf_plan_key *k, dnnl_primitive_desc_t *pd) {
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t r = dnnl_primitive_attr_create(&attr);
    if (r == dnnl_success)
        r = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (r == dnnl_success)
        r = dnnl_post_ops_create(&ops);
    if (r == dnnl_success && k->act != MF_ACT_NONE)
        r = mf_dnn_post_eltwise(ops, k->act == MF_ACT_GELU ? dnnl_eltwise_gelu_erf : dnnl_eltwise_relu);
    if (r == dnnl_success && k->sum)
        r = mf_dnn_post_sum(ops);
    if (r == dnnl_success)
        r = dnnl_primitive_attr_set_post_ops(attr, ops);
    if (r == dnnl_success)
        r = mf_dnn_conv_pd(pd, s->device->engine, &k->conv, attr);
    if (r == dnnl_success && wants_jit_1x1(k) && !mf_dnn_pd_next(*pd, "jit_1x1:avx2")) {
        dnnl_primitive_desc_destroy(*pd);
        *pd = NULL;
        r = mf_dnn_conv_pd(pd, s->device->engine, &k->conv, attr);
    }
    if (ops)
        dnnl_post_ops_destroy(ops);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    if (r == dnnl_success && !optimised(*pd)) {
        dnnl_primitive_desc_destroy(*pd);
        *pd = NULL;
        r = dnnl_unimplemented;
    }
    return r;
}

static int layout_of(const_dnnl_primitive_desc_t pd, mf_dnn_layout *l) {
    return mf_dnn_md_layout(mf_dnn_pd_md(pd, dnnl_query_weights_md), l);
}

static int has_layout(const_dnnl_primitive_desc_t pd, const mf_dnn_layout *wanted) {
    mf_dnn_layout l;
    return layout_of(pd, &l) && memcmp(&l, wanted, sizeof(l)) == 0;
}

static uint64_t layout_key(const mf_dnn_layout *layout) {
    const unsigned char *p = (const unsigned char *)layout;
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < sizeof(*layout); i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h;
}

/* The descriptor of a product whose weights have the layout that CANONICAL_ROWS rows get, or else the first one. */
static dnnl_status_t make_product_pd(const mf_stream *s, const mf_op *op, const mf_plan_key *k,
                                     dnnl_primitive_desc_t *pd) {
    int64_t rows = k->conv.src[3], weights = k->conv.weights[0] * k->conv.weights[1];
    dnnl_status_t r = make_pd(s, k, pd);
    if (r != dnnl_success || rows == CANONICAL_ROWS || weights < SHARED_WEIGHTS)
        return r;
    mf_plan_key other = *k;
    dnnl_primitive_desc_t trial = NULL;
    other.conv.src[3] = other.conv.dst[3] = CANONICAL_ROWS;
    if (make_pd(s, &other, &trial) != dnnl_success)
        return r;
    mf_dnn_layout wanted;
    int blocked = layout_of(trial, &wanted);
    dnnl_primitive_desc_destroy(trial);
    for (int64_t images = 2; images <= MAX_CUT && blocked && !has_layout(*pd, &wanted); images++) {
        if (rows % images)
            continue;
        matmul_conv(op, images, &other.conv);
        if (make_pd(s, &other, &trial) != dnnl_success)
            continue;
        if (has_layout(trial, &wanted)) {
            dnnl_primitive_desc_destroy(*pd);
            *pd = trial;
        } else {
            dnnl_primitive_desc_destroy(trial);
        }
    }
    return r;
}

static void plan_free(mf_plan *p, const mf_host *host) {
    dnnl_memory_t memory[] = {p->src, p->weights, p->bias, p->dst, p->scratch, p->plain};
    for (size_t i = 0; i < sizeof(memory) / sizeof(memory[0]); i++)
        if (memory[i])
            dnnl_memory_destroy(memory[i]);
    if (p->reorder)
        dnnl_primitive_destroy(p->reorder);
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    if (p->pd)
        dnnl_primitive_desc_destroy(p->pd);
    host->free(host->context, p);
}

/* Everything but the descriptor. *call: what failed. */
static dnnl_status_t plan_fill(const mf_stream *s, mf_plan *p, const char **call) {
    dnnl_engine_t engine = s->device->engine;
    mf_dnn_md_ref weights = mf_dnn_pd_md(p->pd, dnnl_query_weights_md);
    mf_dnn_md_ref scratch = mf_dnn_pd_md(p->pd, dnnl_query_scratchpad_md);
    mf_dnn_md bias = {0};
    const dnnl_dims_t outputs = {p->key.conv.dst[1]};
    p->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    *call = "dnnl_primitive_create";
    dnnl_status_t r = dnnl_primitive_create(&p->primitive, p->pd);
    if (r == dnnl_success) {
        *call = "dnnl_memory_create";
        r = dnnl_memory_create(&p->weights, weights, engine, DNNL_MEMORY_NONE);
    }
    if (r == dnnl_success)
        r = dnnl_memory_create(&p->src, mf_dnn_pd_md(p->pd, dnnl_query_src_md), engine, DNNL_MEMORY_NONE);
    if (r == dnnl_success)
        r = dnnl_memory_create(&p->dst, mf_dnn_pd_md(p->pd, dnnl_query_dst_md), engine, DNNL_MEMORY_NONE);
    if (r == dnnl_success)
        r = dnnl_memory_create(&p->scratch, scratch, engine, DNNL_MEMORY_NONE);
    if (r == dnnl_success)
        r = mf_dnn_md_create(&bias, 1, outputs, dnnl_a);
    if (r == dnnl_success)
        r = dnnl_memory_create(&p->bias, mf_dnn_md_get(&bias), engine, DNNL_MEMORY_NONE);
    mf_dnn_md_destroy(&bias);
    return r;
}

static int plan_get(mf_stream *s, const mf_op *op, const mf_plan_key *key, mf_plan **out) {
    const mf_host *host = s->device->host;
    for (mf_plan *p = s->plans; p; p = p->next)
        if (memcmp(&p->key, key, sizeof(*key)) == 0) {
            p->references++;
            *out = p;
            return 0;
        }
    mf_plan *p = host->alloc(host->context, sizeof(*p));
    if (!p)
        return MF_DNN_MEMORY;
    memset(p, 0, sizeof(*p));
    memcpy(&p->key, key, sizeof(*key));
    p->references = 1;
    const char *call = "convolution primitive descriptor";
    dnnl_status_t r = op->kind == MF_OP_MATMUL ? make_product_pd(s, op, key, &p->pd) : make_pd(s, key, &p->pd);
    if (r == dnnl_success)
        r = layout_of(p->pd, &p->layout) ? plan_fill(s, p, &call) : dnnl_unimplemented;
    if (r != dnnl_success) {
        plan_free(p, host);
        return r == dnnl_unimplemented || r == dnnl_invalid_arguments ? MF_PRODUCT_NONE : fail(s, key, call, r);
    }
    p->next = s->plans;
    s->plans = p;
    *out = p;
    return 0;
}

/* ---- kernels ---- */

int mf_product_prepare(mf_stream *s, const mf_op *op, mf_product *product, mf_kernel_info *info) {
    mf_plan_key key;
    memset(&key, 0, sizeof(key)); /* compared as bytes */
    if (op->kind == MF_OP_MATMUL)
        matmul_conv(op, 1, &key.conv);
    else
        map_conv(op, &key.conv);
    int dense = op->kind != MF_OP_DWCONV2D;
    key.conv.bias = mf_onednn_present(op, MF_IN_BIAS);
    key.act = dense ? op->attrs.act : MF_ACT_NONE;
    key.sum = dense && mf_onednn_present(op, MF_IN_RESIDUAL);
    int before = mf_stream_enter(s), r = plan_get(s, op, &key, &product->plan);
    mf_stream_leave(s, before);
    if (r != 0)
        return r;
    product->stream = s;
    product->has_bias = key.conv.bias;
    product->has_residual = key.sum;
    product->output_bytes = (size_t)mf_operand_count(&op->output) * sizeof(float);
    memset(info, 0, sizeof(*info));
    info->residual_in_place = 1;
    info->scratch_bytes = product->plan->scratch_bytes;
    info->pack_bytes[MF_IN_W] = (size_t)product->plan->layout.bytes;
    info->pack_key[MF_IN_W] = layout_key(&product->plan->layout);
    return 0;
}

void mf_product_release(mf_product *product) {
    mf_plan *p = product->plan;
    if (!p || --p->references > 0)
        return;
    mf_plan **link = &product->stream->plans;
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
    plan_free(p, product->stream->device->host);
}

static dnnl_status_t reorder_create(const mf_stream *s, mf_plan *p) {
    dnnl_primitive_desc_t pd = NULL;
    dnnl_engine_t engine = s->device->engine;
    mf_dnn_md plain = {0};
    int groups = p->key.conv.groups;
    dnnl_status_t r = mf_dnn_md_create(&plain, groups ? 5 : 4, p->key.conv.weights, groups ? dnnl_goihw : dnnl_oihw);
    if (r == dnnl_success && !p->plain)
        r = dnnl_memory_create(&p->plain, mf_dnn_md_get(&plain), engine, DNNL_MEMORY_NONE);
    if (r == dnnl_success)
        r = dnnl_reorder_primitive_desc_create(&pd, mf_dnn_md_get(&plain), engine,
                                               mf_dnn_pd_md(p->pd, dnnl_query_weights_md), engine, NULL);
    if (r == dnnl_success)
        r = dnnl_primitive_create(&p->reorder, pd);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    mf_dnn_md_destroy(&plain);
    return r;
}

mf_status mf_product_pack(mf_product *product, const void *plain, void *packed) {
    mf_stream *s = product->stream;
    mf_plan *p = product->plan;
    int before = mf_stream_enter(s);
    dnnl_status_t r = p->reorder ? dnnl_success : reorder_create(s, p);
    if (r == dnnl_success)
        r = dnnl_memory_set_data_handle(p->plain, (void *)(uintptr_t)plain);
    if (r == dnnl_success)
        r = dnnl_memory_set_data_handle(p->weights, packed);
    if (r == dnnl_success) {
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, p->plain}, {DNNL_ARG_TO, p->weights}};
        r = dnnl_primitive_execute(p->reorder, s->stream, 2, args);
    }
    if (r == dnnl_success)
        r = dnnl_stream_wait(s->stream);
    mf_stream_leave(s, before);
    return r == dnnl_success ? 0 : fail(s, &p->key, "reorder of the weights", r);
}

typedef struct mf_copy {
    const char *from;
    char *to;
    size_t bytes, part;
} mf_copy;

static void copy_part(void *arg, int i) {
    const mf_copy *c = arg;
    size_t at = (size_t)i * c->part;
    if (at < c->bytes)
        memcpy(c->to + at, c->from + at, c->bytes - at < c->part ? c->bytes - at : c->part);
}

mf_status mf_product_run(mf_product *product, const void *const *inputs, void *output, void *scratch) {
    mf_stream *s = product->stream;
    mf_plan *p = product->plan;
    if (product->has_residual && inputs[MF_IN_RESIDUAL] != output) {
        size_t bytes = product->output_bytes, part = (bytes / (size_t)s->threads + MF_ALIGN) & ~(size_t)(MF_ALIGN - 1);
        mf_copy copy = {inputs[MF_IN_RESIDUAL], output, bytes, part};
        s->cpu.parallel(s->cpu.user, s->threads, copy_part, &copy);
    }
    const struct {
        int arg;
        dnnl_memory_t memory;
        const void *data;
    } bind[] = {
        {DNNL_ARG_SRC, p->src, inputs[MF_IN_X]},
        {DNNL_ARG_WEIGHTS, p->weights, inputs[MF_IN_W]},
        {DNNL_ARG_DST, p->dst, output},
        {DNNL_ARG_SCRATCHPAD, p->scratch, scratch},
        {DNNL_ARG_BIAS, p->bias, product->has_bias ? inputs[MF_IN_BIAS] : NULL},
    };
    dnnl_exec_arg_t args[5];
    int count = product->has_bias ? 5 : 4;
    dnnl_status_t r = dnnl_success;
    for (int i = 0; i < count && r == dnnl_success; i++) {
        args[i] = (dnnl_exec_arg_t){bind[i].arg, bind[i].memory};
        r = dnnl_memory_set_data_handle(bind[i].memory, (void *)(uintptr_t)bind[i].data);
    }
    if (r == dnnl_success)
        r = dnnl_primitive_execute(p->primitive, s->stream, count, args);
    if (r == dnnl_success)
        r = dnnl_stream_wait(s->stream);
    return r == dnnl_success ? 0 : fail(s, &p->key, "dnnl_primitive_execute", r);
}

const char *mf_product_implementation(const mf_product *product) {
    const char *name = "";
    dnnl_primitive_desc_query(product->plan->pd, dnnl_query_impl_info_str, 0, &name);
    return name;
}
