/* Operations to files, and the one symbol of the plug-in. */
#include "backends/cuda/device.h"

#include <string.h>

const mfc_ops *mfc_ops_of(mf_op_kind kind) {
    switch (kind) {
#define MFC_CASE(kind, name)                                                                                           \
    case MF_OP_##kind:                                                                                                 \
        return &mfc_op_##name;
        MFC_EACH_OP(MFC_CASE)
#undef MFC_CASE
    default:
        return NULL;
    }
}

static int supports(mf_stream *s, const mf_op *op) {
    const mfc_ops *ops = mfc_ops_of(op->kind);
    return ops && mfc_operand(op, 0) && ops->supports(s, op);
}

static mf_status prepare(mf_stream *s, const mf_op *op, mf_kernel **kernel, mf_kernel_info *info) {
    const mf_host *host = s->device->host;
    if (!supports(s, op))
        return host->fail(host->context, MFC_UNSUPPORTED, "the cuda backend does not have operation %d with these operands",
                          (int)op->kind);
    mf_kernel *k = (mf_kernel *)host->alloc(host->context, sizeof(*k));
    if (!k)
        return MFC_MEMORY;
    memset(k, 0, sizeof(*k));
    memset(info, 0, sizeof(*info));
    k->s = s;
    k->ops = mfc_ops_of(op->kind);
    k->op = *op;
    for (int i = 0; i < op->input_count; i++)
        k->present[i] = mfc_operand(op, i) != NULL;
    const int before = mfc_enter_context(s->ordinal);
    mf_status status = k->ops->prepare ? k->ops->prepare(k, info) : 0;
    mfc_leave(s->ordinal, before);
    if (status)
        host->free(host->context, k);
    else
        *kernel = k;
    return status;
}

/* Waits: the plain values may go, and other streams may use the packed ones. */
static mf_status pack(mf_kernel *k, int input, const void *plain, void *packed) {
    mf_stream *s = k->s;
    const int before = mfc_enter(s->ordinal);
    mf_status status = k->ops->pack(k, input, plain, packed);
    cudaError_t error = cudaStreamSynchronize(s->main);
    mfc_leave(s->ordinal, before);
    return status ? status : mfc_check(s, error, "packing");
}

static mf_status run(mf_kernel *k, const void *const *inputs, void *output, void *scratch) {
    const void *in[MF_MAX_INPUTS];
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        in[i] = k->present[i] ? inputs[i] : NULL;
    return k->ops->run(k, in, output, scratch);
}

static void release(mf_kernel *k) {
    if (!k)
        return;
    const mf_host *host = k->s->device->host;
    const int before = mfc_enter(k->s->ordinal);
    if (k->ops->release)
        k->ops->release(k);
    mfc_leave(k->s->ordinal, before);
    host->free(host->context, k);
}

/* ---- with the device current, whoever calls ---- */

static mf_status scan(mf_stream *s, const mf_scan *what, void *scratch) {
    const int before = mfc_enter_context(s->ordinal);
    mf_status status = mfc_scan(s, what, scratch);
    mfc_leave(s->ordinal, before);
    return status;
}

static mf_status images(mf_stream *s, const mf_images *what, float *input) {
    const int before = mfc_enter(s->ordinal);
    mf_status status = mfc_images(s, what, input);
    mfc_leave(s->ordinal, before);
    return status;
}

static mf_status calibrate(mf_stream *s, int on) {
    const int before = mfc_enter(s->ordinal);
    mf_status status = mfc_calibrate(s, on);
    mfc_leave(s->ordinal, before);
    return status;
}

static mf_status update(mf_stream *s, const mf_update *what) {
    const int before = mfc_enter(s->ordinal);
    mf_status status = mfc_update(s, what);
    mfc_leave(s->ordinal, before);
    return status;
}

static mf_status sum_squares(mf_stream *s, const mf_update *what, double *sum) {
    const int before = mfc_enter(s->ordinal);
    mf_status status = mfc_sum_squares(s, what, sum);
    mfc_leave(s->ordinal, before);
    return status;
}

/* In the order of mf_backend: C++17 has no names here. */
static const mf_backend table = {
    MF_BACKEND_ABI,
    sizeof(mf_backend),
    "cuda",
    mfc_open,
    mfc_close,
    mfc_describe,
    mfc_stream_open,
    mfc_stream_close,
    mfc_stream_begin,
    mfc_stream_end,
    supports,
    prepare,
    pack,
    run,
    release,
    mfc_scan_error,
    mfc_scan_scratch,
    scan,
    mfc_memory_alloc,
    mfc_memory_free,
    mfc_memory_put,
    mfc_memory_get,
    mfc_memory_copy,
    mfc_memory_zero,
    mfc_memory_finish,
    mfc_record_begin,
    mfc_record_end,
    mfc_record_play,
    mfc_record_free,
    images,
    calibrate,
    update,
    sum_squares,
};

extern "C" __attribute__((visibility("default"))) const mf_backend *mfrgn_backend_table(void) {
    return &table;
}
