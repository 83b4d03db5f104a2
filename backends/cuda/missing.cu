/* Stands for operations whose files do not exist yet: the linker takes the others' definitions where there are some. */
#include "backends/cuda/device.h"

#define MFC_WEAK __attribute__((weak))

static int supports(const mf_stream *, const mf_op *) {
    return 0;
}

#define MFC_MISSING(kind, name) extern const mfc_ops MFC_WEAK mfc_op_##name = {supports, NULL, NULL, NULL, NULL};
MFC_EACH_OP(MFC_MISSING)

static mf_status missing(const mf_stream *s) {
    return s->device->host->fail(s->device->host->context, MFC_UNSUPPORTED, "not in this build of the cuda backend");
}

MFC_WEAK mf_status mfc_update(mf_stream *s, const mf_update *) {
    return missing(s);
}
MFC_WEAK mf_status mfc_sum_squares(mf_stream *s, const mf_update *, double *) {
    return missing(s);
}
MFC_WEAK void mfc_update_close(mf_stream *) {
}
MFC_WEAK float mfc_scan_error(mf_stream *, mf_dtype, int64_t) {
    return 1;
}
MFC_WEAK size_t mfc_scan_scratch(mf_stream *, const mf_scan *) {
    return 0;
}
MFC_WEAK mf_status mfc_scan(mf_stream *s, const mf_scan *, void *) {
    return missing(s);
}
MFC_WEAK void mfc_scan_close(mf_stream *) {
}
MFC_WEAK mf_status mfc_images(mf_stream *s, const mf_images *, float *) {
    return missing(s);
}
MFC_WEAK mf_status mfc_calibrate(mf_stream *s, int) {
    return missing(s);
}

extern "C" {
MFC_WEAK mfc_blas *mfc_blas_create(const mf_host *, cudaStream_t, const char *) {
    return (mfc_blas *)(void *)&missing;
}
MFC_WEAK void mfc_blas_free(mfc_blas *) {
}
}
