/* E4M3: 448 is its largest value, so what a product reads is divided by scale = largest magnitude / 448.
 *
 * While the stream is calibrated, a kernel that has a form in E4M3 runs in 16 bits and notes the largest magnitude that
 * it reads: blocks take the maximum of their part, one block the maximum of those and of what was seen before.  When
 * calibration ends, the scales are set; a kernel that has seen nothing goes on in 16 bits.  The scale is one number a
 * tensor: the input's values beyond what was seen are clamped.
 *
 * A recording keeps the way that its kernels ran: who records is to record again after a calibration. */
#include "backends/cuda/fp8.h"
#include "backends/cuda/product.h"

enum { THREADS = 256, PARTS = 512, SCALE = 0, MOST = 1, PART = 32 }; /* places in mfc_fp8.memory */

mf_status mfc_fp8_open(mf_stream *s, mfc_fp8 *f) {
    void *memory = NULL;
    memset(f, 0, sizeof(*f));
    mf_status status = mfc_alloc(s, (PART + PARTS) * sizeof(float), &memory);
    if (!status)
        status = mfc_check(s, cudaMemsetAsync(memory, 0, (PART + PARTS) * sizeof(float), s->queue), "a range");
    if (status) {
        if (memory)
            mfc_free(s, memory);
        return status;
    }
    f->stream = s;
    f->memory = (float *)memory;
    f->next = s->fp8;
    s->fp8 = f;
    return 0;
}

void mfc_fp8_close(mfc_fp8 *f) {
    for (mfc_fp8 **at = &f->stream->fp8; *at; at = &(*at)->next)
        if (*at == f) {
            *at = f->next;
            break;
        }
    mfc_free(f->stream, f->memory);
}

/* ---- ranges ---- */

/* The maximum over a block of THREADS threads, given to thread 0. */
static __device__ float block_most(float x) {
    __shared__ float room[THREADS / MFC_WARP];
    x = mfc_warp_max(x);
    if (threadIdx.x % MFC_WARP == 0)
        room[threadIdx.x / MFC_WARP] = x;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int i = 1; i < THREADS / MFC_WARP; i++)
            x = fmaxf(x, room[i]);
    return x;
}

template <typename T, int V> static __global__ void mfc_range_parts(int64_t count, const T *from, float *part) {
    float most = 0;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (int64_t)gridDim.x * blockDim.x) {
        float x[V];
        mfc_load<T, V>(from + i * V, x);
#pragma unroll
        for (int j = 0; j < V; j++)
            most = fmaxf(most, fabsf(x[j]));
    }
    most = block_most(most);
    if (threadIdx.x == 0)
        part[blockIdx.x] = most;
}

static __global__ void mfc_range_join(int parts, const float *part, float *most) {
    float x = 0;
    for (int i = (int)threadIdx.x; i < parts; i += THREADS)
        x = fmaxf(x, part[i]);
    x = block_most(x);
    if (threadIdx.x == 0)
        *most = fmaxf(*most, x);
}

mf_status mfc_fp8_observe(const mfc_fp8 *f, mf_dtype type, int64_t n, const void *from) {
    const int by_vectors = mfc_aligned(from) && n % 8 == 0;
    const int64_t count = by_vectors ? n / 8 : n;
    const int parts = (int)mfc_min(mfc_div_up(count, THREADS), PARTS);
    mf_status status = 0;
    if (type == MF_F32)
        return 0; /* there is no such kernel */
    if (type == MF_F16)
        status = by_vectors ? mfc_launch(f->stream, mfc_range_parts<__half, 8>, dim3((unsigned)parts), THREADS, 0,
                                         count, (const __half *)from, f->memory + PART)
                            : mfc_launch(f->stream, mfc_range_parts<__half, 1>, dim3((unsigned)parts), THREADS, 0,
                                         count, (const __half *)from, f->memory + PART);
    else
        status = by_vectors ? mfc_launch(f->stream, mfc_range_parts<__nv_bfloat16, 8>, dim3((unsigned)parts), THREADS,
                                         0, count, (const __nv_bfloat16 *)from, f->memory + PART)
                            : mfc_launch(f->stream, mfc_range_parts<__nv_bfloat16, 1>, dim3((unsigned)parts), THREADS,
                                         0, count, (const __nv_bfloat16 *)from, f->memory + PART);
    if (status)
        return status;
    return mfc_launch(f->stream, mfc_range_join, dim3(1), THREADS, 0, parts, (const float *)(f->memory + PART),
                      f->memory + MOST);
}

/* ---- rounding ---- */

template <typename T>
static __global__ void mfc_fp8_round_kernel(int64_t count, const float *scale, const T *from, unsigned char *to) {
    const float inverse = 1.0f / *scale;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (int64_t)gridDim.x * blockDim.x) {
        float x[8];
        mfc_load<T, 8>(from + i * 8, x);
        mfc_store_fp8<8>(to + i * 8, x, inverse);
    }
}

mf_status mfc_fp8_round(const mfc_fp8 *f, mf_dtype type, int64_t n, const void *from, void *to) {
    const dim3 grid((unsigned)mfc_min(mfc_div_up(n / 8, THREADS), 8192));
    if (type == MF_F16)
        return mfc_launch(f->stream, mfc_fp8_round_kernel<__half>, grid, THREADS, 0, n / 8, mfc_fp8_scale(f),
                          (const __half *)from, (unsigned char *)to);
    return mfc_launch(f->stream, mfc_fp8_round_kernel<__nv_bfloat16>, grid, THREADS, 0, n / 8, mfc_fp8_scale(f),
                      (const __nv_bfloat16 *)from, (unsigned char *)to);
}

/* ---- calibration ---- */

/* A kernel that does not run meanwhile, of the other view, keeps its scale. */
static mf_status forget(mfc_fp8 *f) {
    return mfc_check(f->stream, cudaMemsetAsync(f->memory + MOST, 0, sizeof(float), f->stream->queue), "a range");
}

static mf_status settle(mfc_fp8 *f) {
    const mf_stream *s = f->stream;
    float most = 0;
    mf_status status = mfc_check(
        s, cudaMemcpyAsync(&most, f->memory + MOST, sizeof(most), cudaMemcpyDeviceToHost, s->queue), "a range");
    if (!status)
        status = mfc_check(s, cudaStreamSynchronize(s->queue), "a range");
    if (status || !(most > 0) || !(most < INFINITY))
        return status;
    const float scale = fmaxf(most / 448, 1e-12f);
    status = mfc_check(s, cudaMemcpyAsync(f->memory + SCALE, &scale, sizeof(scale), cudaMemcpyHostToDevice, s->queue),
                       "a scale");
    if (!status)
        status = mfc_check(s, cudaStreamSynchronize(s->queue), "a scale");
    f->ready = !status;
    return status;
}

mf_status mfc_calibrate(mf_stream *s, int on) {
    mf_status status = 0;
    if (s->math != MF_MATH_FP8 || s->calibrating == !!on)
        return 0;
    s->calibrating = !!on;
    for (mfc_fp8 *f = s->fp8; f && !status; f = f->next)
        status = on ? forget(f) : settle(f);
    return status;
}
