/* device.cu, as table.cu sees it. */
#ifndef MFRGN_BACKENDS_CUDA_DEVICE_H
#define MFRGN_BACKENDS_CUDA_DEVICE_H

#include "backends/cuda/blas.h"
#include "backends/cuda/cuda.h"

/* The least compute capability that there are kernels for; from which on cuBLASLt multiplies E4M3. */
enum { MFC_CAPABILITY = 80, MFC_CAPABILITY_FP8 = 89, MFC_ARGUMENT = 1 };

typedef struct mfc_allocation mfc_allocation;

mf_status mfc_open(const mf_host *host, mf_device **device);
void mfc_close(mf_device *d);
const char *mfc_describe(mf_device *d);

/* Makes a device the thread's current one; gives back which one was. */
int mfc_enter(int ordinal);
/* The same before cuBLASLt is called: it takes the thread's context, and a new thread has none until a function of the
 * runtime needs one. */
int mfc_enter_context(int ordinal);
void mfc_leave(int ordinal, int before);

mf_status mfc_stream_open(mf_device *d, const mf_stream_params *p, mf_stream **stream);
void mfc_stream_close(mf_stream *s);
void mfc_stream_begin(mf_stream *s);
void mfc_stream_end(mf_stream *s);

mf_status mfc_memory_alloc(mf_stream *s, size_t bytes, void **memory);
void mfc_memory_free(mf_device *d, mf_stream *s, void *memory);
mf_status mfc_memory_put(mf_stream *s, void *to, const void *from, size_t bytes);
mf_status mfc_memory_get(mf_stream *s, void *to, const void *from, size_t bytes);
mf_status mfc_memory_copy(mf_stream *s, void *to, const void *from, size_t bytes);
mf_status mfc_memory_zero(mf_stream *s, void *memory, size_t bytes);
mf_status mfc_memory_finish(mf_stream *s);

mf_status mfc_record_begin(mf_stream *s);
mf_status mfc_record_end(mf_stream *s, void **recording);
mf_status mfc_record_play(mf_stream *s, void *recording);
void mfc_record_free(mf_stream *s, void *recording);

#endif
