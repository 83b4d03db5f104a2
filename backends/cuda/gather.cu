/* Windows of a map to rows of a matrix (im2col), rows to a map (col2im), and weights in the order of such rows.
 *
 * A row of a window, kw c values, is one run of the map's memory: the gather copies runs, by vectors where every run
 * begins at a multiple of one; a vector is then wholly inside the map or wholly outside, where zeros stand.  The
 * collection adds, for each pixel, the windows that hold it, in the order of the taps: no two threads write to one
 * place. */
#include "backends/cuda/product.h"

enum { THREADS = 256 };

mfc_windows mfc_windows_of(const mf_attrs *a, const int64_t *x, const int64_t *out, mf_dtype type) {
    mfc_windows w = {x[0],         x[1],         x[2],         x[3],      out[1],    out[2], a->kernel[0],
                     a->kernel[1], a->stride[0], a->stride[1], a->pad[0], a->pad[1], 0,      0};
    int64_t wide = 16 / (int64_t)mf_dtype_size(type);
    w.k = (int64_t)w.kh * w.kw * w.c;
    w.row = mfc_div_up(w.k, wide) * wide; /* tensor cores want rows of 16 bytes */
    return w;
}

int mfc_windows_fit(const mfc_windows *w) {
    int64_t most = (int64_t)1 << 28;
    return w->c > 0 && w->kh > 0 && w->kw > 0 && w->sh > 0 && w->sw > 0 && w->oh > 0 && w->ow > 0 && w->h > 0 &&
           w->w > 0 && w->oh < most / w->ow && w->row < most && w->h < most / w->w && w->w < most / w->c &&
           w->h < 4 * most / (w->w * w->c) && w->ph >= 0 && w->pw >= 0 && w->ph < most && w->pw < most / w->c &&
           w->sw < most / w->c && w->ow < most / (w->sw * w->c) && w->oh < most / w->sh;
}

int mfc_is_pointwise(const mf_attrs *a) {
    return a->kernel[0] == 1 && a->kernel[1] == 1 && a->stride[0] == 1 && a->stride[1] == 1 && !a->pad[0] && !a->pad[1];
}

/* ---- gather ---- */

typedef struct gather_form {
    mfc_divisor row, run, windows, columns; /* vectors of a row, of a run; windows of an image, of a line of it */
    unsigned count, first;                  /* vectors; the first window within its image */
    int64_t image;                          /* the first image */
    int h, line, sh, ph;                    /* line: values of a line of the map */
    int step, pad;                          /* stride and padding of columns, in values */
    int kh;
} gather_form;

/* T: of the size of the values; nothing is computed */
template <typename T, int V> static __global__ void mfc_gather_kernel(gather_form f, const T *x, T *to) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < f.count; i += gridDim.x * blockDim.x) {
        const unsigned r = mfc_divide(i, f.row), e = i - r * f.row.by;
        const unsigned ky = mfc_divide(e, f.run), at = e - ky * f.run.by;
        const unsigned g = f.first + r, n = mfc_divide(g, f.windows), p = g - n * f.windows.by;
        const unsigned oy = mfc_divide(p, f.columns), ox = p - oy * f.columns.by;
        const int y = (int)oy * f.sh - f.ph + (int)ky, t = (int)ox * f.step - f.pad + (int)at * V;
        mfc_pack<T, V> v;
        if ((int)ky < f.kh && y >= 0 && y < f.h && t >= 0 && t < f.line) {
            v = *(const mfc_pack<T, V> *)(const void *)(x + ((f.image + n) * f.h + y) * (int64_t)f.line + t);
        } else {
#pragma unroll
            for (int j = 0; j < V; j++)
                v.at[j] = 0;
        }
        *(mfc_pack<T, V> *)(void *)(to + (size_t)i * V) = v;
    }
}

template <typename T, int V>
static mf_status gather_part(const mf_stream *s, const mfc_windows *w, const void *x, int64_t row, int64_t count,
                             void *to) {
    const int64_t windows = w->oh * w->ow;
    gather_form f = {mfc_divisor_of(w->row / V),
                     mfc_divisor_of(w->kw * w->c / V),
                     mfc_divisor_of(windows),
                     mfc_divisor_of(w->ow),
                     (unsigned)(count * w->row / V),
                     (unsigned)(row % windows),
                     row / windows,
                     (int)w->h,
                     (int)(w->w * w->c),
                     w->sh,
                     w->ph,
                     (int)(w->sw * w->c),
                     (int)(w->pw * w->c),
                     w->kh};
    return mfc_launch(s, mfc_gather_kernel<T, V>, dim3((unsigned)mfc_min(mfc_div_up(f.count, THREADS), 8192)), THREADS,
                      0, f, (const T *)x, (T *)to);
}

/* 1: every run begins and ends at a multiple of v values */
static int runs_of(const mfc_windows *w, int64_t v, size_t size, const void *x, const void *to) {
    return w->w * w->c % v == 0 && w->sw * w->c % v == 0 && w->pw * w->c % v == 0 && w->kw * w->c % v == 0 &&
           w->row % v == 0 && ((size_t)x | (size_t)to) % ((size_t)v * size) == 0;
}

template <typename T>
static mf_status gather(const mf_stream *s, const mfc_windows *w, const void *x, int64_t row, int64_t count, void *to) {
    enum { V = 16 / sizeof(T) };
    if (runs_of(w, V, sizeof(T), x, to))
        return gather_part<T, V>(s, w, x, row, count, to);
    if (runs_of(w, V / 2, sizeof(T), x, to))
        return gather_part<T, V / 2>(s, w, x, row, count, to);
    return gather_part<T, 1>(s, w, x, row, count, to);
}

mf_status mfc_gather(const mf_stream *s, const mfc_windows *w, mf_dtype type, const void *x, int64_t row, int64_t count,
                     void *to) {
    const int64_t most = mfc_max(1, ((int64_t)1 << 29) / w->row); /* rows of a launch: what an unsigned counts */
    const size_t size = mf_dtype_size(type);
    mf_status status = 0;
    for (int64_t at = 0; at < count && !status; at += most) {
        int64_t some = mfc_min(most, count - at);
        void *there = mfc_at(to, at * w->row, type);
        status = size == 4 ? gather<unsigned>(s, w, x, row + at, some, there)
                           : gather<unsigned short>(s, w, x, row + at, some, there);
    }
    return status;
}

/* ---- collection ---- */

typedef struct collect_form {
    mfc_divisor channels, width, height; /* channels: vectors of a pixel */
    unsigned count;
    int oh, ow, kh, kw, sh, sw, ph, pw, c;
    int64_t row;
} collect_form;

template <typename S, typename T, int V>
static __global__ void mfc_collect_kernel(collect_form f, const S *from, T *x) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < f.count; i += gridDim.x * blockDim.x) {
        const unsigned pixel = mfc_divide(i, f.channels), c = (i - pixel * f.channels.by) * V;
        const unsigned line = mfc_divide(pixel, f.width), n = mfc_divide(line, f.height);
        const int y = (int)(line - n * f.height.by) + f.ph, column = (int)(pixel - line * f.width.by) + f.pw;
        float sum[V] = {0};
        /* tap i of window oy lies on y where oy sh + i = y: with i by steps of sh, oy falls by 1 */
        for (int ky = y % f.sh; ky < f.kh; ky += f.sh) {
            const int oy = (y - ky) / f.sh;
            if (y < ky || oy >= f.oh)
                continue;
            for (int kx = column % f.sw; kx < f.kw; kx += f.sw) {
                const int ox = (column - kx) / f.sw;
                if (column < kx || ox >= f.ow)
                    continue;
                float v[V];
                mfc_load<S, V>(
                    from + (((int64_t)n * f.oh + oy) * f.ow + ox) * f.row + (ky * f.kw + kx) * (int64_t)f.c + c, v);
#pragma unroll
                for (int j = 0; j < V; j++)
                    sum[j] += v[j];
            }
        }
        mfc_store<T, V>(x + (size_t)i * V, sum);
    }
}

template <typename S, typename T, int V>
static mf_status collect_part(const mf_stream *s, const mfc_windows *w, int64_t images, const void *from, void *x) {
    collect_form f = {mfc_divisor_of(w->c / V),
                      mfc_divisor_of(w->w),
                      mfc_divisor_of(w->h),
                      (unsigned)(images * w->h * w->w * w->c / V),
                      (int)w->oh,
                      (int)w->ow,
                      w->kh,
                      w->kw,
                      w->sh,
                      w->sw,
                      w->ph,
                      w->pw,
                      (int)w->c,
                      w->row};
    return mfc_launch(s, mfc_collect_kernel<S, T, V>, dim3((unsigned)mfc_min(mfc_div_up(f.count, THREADS), 8192)),
                      THREADS, 0, f, (const S *)from, (T *)x);
}

template <typename S, typename T>
static mf_status collect(const mf_stream *s, const mfc_windows *w, int64_t images, const void *from, void *x) {
    enum { V = 16 / sizeof(S) };
    if (w->c % V == 0 && w->row % V == 0 && mfc_aligned(from) && mfc_aligned(x))
        return collect_part<S, T, V>(s, w, images, from, x);
    return collect_part<S, T, 1>(s, w, images, from, x);
}

mf_status mfc_collect(const mf_stream *s, const mfc_windows *w, mf_dtype from_type, mf_dtype type, int64_t images,
                      const void *from, void *x) {
    const int64_t pixels = w->h * w->w * w->c, most = mfc_max(1, ((int64_t)1 << 30) / pixels);
    mf_status status = 0;
    for (int64_t n = 0; n < images && !status; n += most) {
        int64_t some = mfc_min(most, images - n);
        const void *rows = mfc_at(from, n * w->oh * w->ow * w->row, from_type);
        void *to = mfc_at(x, n * pixels, type);
        if (from_type == type)
            MFC_TYPED(type, (status = collect<T, T>(s, w, some, rows, to)));
        else
            MFC_TYPED(type, (status = collect<float, T>(s, w, some, rows, to)));
    }
    return status;
}

/* ---- weights ---- */

template <typename T>
static __global__ void mfc_weight_rows_kernel(int64_t count, int64_t row, int64_t channels, int64_t taps, const T *from,
                                              T *to) {
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (int64_t)gridDim.x * blockDim.x) {
        const int64_t o = i / row, e = i - o * row, tap = e / channels, c = e - tap * channels;
        to[i] = tap < taps ? from[(o * channels + c) * taps + tap] : (T)0;
    }
}

static __global__ void mfc_weight_back_kernel(int64_t count, int64_t row, int64_t channels, int64_t taps,
                                              const float *from, float *to) {
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (int64_t)gridDim.x * blockDim.x) {
        const int64_t tap = i % taps, oc = i / taps, o = oc / channels, c = oc - o * channels;
        to[i] = from[o * row + tap * channels + c];
    }
}

mf_status mfc_weight_rows(const mf_stream *s, const mfc_windows *w, mf_dtype type, int64_t outputs, const void *from,
                          void *to) {
    const int64_t count = outputs * w->row, taps = (int64_t)w->kh * w->kw;
    const dim3 grid((unsigned)mfc_min(mfc_div_up(count, THREADS), 8192));
    if (mf_dtype_size(type) == 4)
        return mfc_launch(s, mfc_weight_rows_kernel<unsigned>, grid, THREADS, 0, count, w->row, w->c, taps,
                          (const unsigned *)from, (unsigned *)to);
    return mfc_launch(s, mfc_weight_rows_kernel<unsigned short>, grid, THREADS, 0, count, w->row, w->c, taps,
                      (const unsigned short *)from, (unsigned short *)to);
}

mf_status mfc_weight_back(const mf_stream *s, const mfc_windows *w, int64_t outputs, const float *from, float *to) {
    const int64_t taps = (int64_t)w->kh * w->kw, count = outputs * w->c * taps;
    return mfc_launch(s, mfc_weight_back_kernel, dim3((unsigned)mfc_min(mfc_div_up(count, THREADS), 8192)), THREADS, 0,
                      count, w->row, w->c, taps, from, to);
}
