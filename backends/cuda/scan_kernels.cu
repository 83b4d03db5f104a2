/* The lists of a scan (backends/scan.h) on the device.
 *
 * A block of threads works on one list: it goes over its part of the query's scores THREADS at a time; those that may
 * matter are written behind the list in the order of the rows, by a prefix sum.  When a list has less room than a whole
 * step, it is pruned: the k-th largest lower bound becomes the floor.  It is found bit by bit: 32 counts over the list.
 * Nothing is done by atomics, so the lists are the same in every run. */
#include "backends/cuda/scan_state.h"

#include "backends/scan.h"

enum { THREADS = MFC_SCAN_THREADS, WARPS = THREADS / MFC_WARP };

/* ---- rows to f32 ---- */

static __device__ __forceinline__ float widen_value(float x) {
    return x;
}
static __device__ __forceinline__ float widen_value(__half x) {
    return __half2float(x);
}
static __device__ __forceinline__ float widen_value(signed char x) {
    return (float)x;
}

/* V: 16 bytes of S, or 1.  A warp does a row. */
template <typename S, int V>
static __global__ void mfc_widen_kernel(int64_t count, int64_t size, const S *rows, const uint32_t *list,
                                        uint32_t first, float *to) {
    const int64_t warps = (int64_t)gridDim.x * WARPS;
    for (int64_t i = (int64_t)blockIdx.x * WARPS + threadIdx.x / MFC_WARP; i < count; i += warps) {
        const S *from = rows + (list ? (int64_t)(list[i] - first) : i) * size;
        float *row = to + i * size;
        for (int64_t c = (int64_t)(threadIdx.x % MFC_WARP) * V; c < size; c += MFC_WARP * V) {
            const mfc_pack<S, V> p = *(const mfc_pack<S, V> *)(const void *)(from + c);
            float x[V];
#pragma unroll
            for (int j = 0; j < V; j++)
                x[j] = widen_value(p.at[j]);
            if (V == 1) {
                row[c] = x[0];
            } else {
#pragma unroll
                for (int j = 0; j + 4 <= V; j += 4)
                    mfc_store<float, 4>(row + c + j, x + j);
            }
        }
    }
}

template <typename S>
static mf_status widen(const mf_stream *s, int64_t count, int64_t size, const void *rows, const uint32_t *list,
                       uint32_t first, float *to) {
    enum { V = 16 / sizeof(S) };
    const dim3 grid((unsigned)mfc_min(mfc_div_up(count, WARPS), 4096));
    if (size % V == 0 && mfc_aligned(rows) && mfc_aligned(to))
        return mfc_launch(s, mfc_widen_kernel<S, V>, grid, THREADS, 0, count, size, (const S *)rows, list, first, to);
    return mfc_launch(s, mfc_widen_kernel<S, 1>, grid, THREADS, 0, count, size, (const S *)rows, list, first, to);
}

mf_status mfc_scan_widen(const mf_stream *s, mf_dtype dtype, int64_t count, int64_t size, const void *rows,
                         const uint32_t *list, uint32_t first, float *to) {
    if (dtype == MF_F16)
        return widen<__half>(s, count, size, rows, list, first, to);
    if (dtype == MF_I8)
        return widen<signed char>(s, count, size, rows, list, first, to);
    return widen<float>(s, count, size, rows, list, first, to);
}

/* V: 16 bytes, or 1.  A warp does a row. */
template <int V>
static __global__ void mfc_gather_kernel(int64_t count, int64_t size, const __half *rows, const uint32_t *list,
                                         uint32_t first, __half *to) {
    const int64_t warps = (int64_t)gridDim.x * WARPS;
    for (int64_t i = (int64_t)blockIdx.x * WARPS + threadIdx.x / MFC_WARP; i < count; i += warps) {
        const __half *from = rows + (int64_t)(list[i] - first) * size;
        for (int64_t c = (int64_t)(threadIdx.x % MFC_WARP) * V; c < size; c += MFC_WARP * V)
            *(mfc_pack<__half, V> *)(void *)(to + i * size + c) =
                *(const mfc_pack<__half, V> *)(const void *)(from + c);
    }
}

mf_status mfc_scan_gather(const mf_stream *s, int64_t count, int64_t size, const void *rows, const uint32_t *list,
                          uint32_t first, void *to) {
    const dim3 grid((unsigned)mfc_min(mfc_div_up(count, WARPS), 4096));
    const __half *from = (const __half *)rows;
    if (size % 8 == 0 && mfc_aligned(rows) && mfc_aligned(to))
        return mfc_launch(s, mfc_gather_kernel<8>, grid, THREADS, 0, count, size, from, list, first, (__half *)to);
    return mfc_launch(s, mfc_gather_kernel<1>, grid, THREADS, 0, count, size, from, list, first, (__half *)to);
}

/* ---- queries in two parts ---- */

/* A block does a query: the largest magnitude, then its parts.  A query of zeros, or one that is not finite (its score
 * is not used), is left as it is. */
static __global__ void mfc_split_kernel(int64_t size, const float *queries, __half *high, __half *low, float *unscale) {
    __shared__ float most[WARPS];
    const int64_t q = (int64_t)blockIdx.x;
    float m = 0;
    for (int64_t c = threadIdx.x; c < size; c += THREADS)
        m = fmaxf(m, fabsf(queries[q * size + c]));
    m = mfc_warp_max(m);
    if (threadIdx.x % MFC_WARP == 0)
        most[threadIdx.x / MFC_WARP] = m;
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        m = fmaxf(m, most[i]);
    int exponent = 0;
    if (m > 0 && m < INFINITY)
        (void)frexpf(m, &exponent);
    exponent = exponent < -120 ? -120 : exponent; /* so that both powers are normal numbers */
    const float scale = ldexpf(1, -exponent);
    for (int64_t c = threadIdx.x; c < size; c += THREADS) {
        const float x = queries[q * size + c] * scale;
        const __half h = __float2half_rn(x);
        high[q * size + c] = h;
        low[q * size + c] = __float2half_rn(x - __half2float(h));
    }
    if (threadIdx.x == 0)
        unscale[q] = ldexpf(1, exponent);
}

mf_status mfc_scan_split(const mf_stream *s, int64_t n, int64_t size, const float *queries, __half *high, __half *low,
                         float *unscale) {
    return mfc_launch(s, mfc_split_kernel, dim3((unsigned)n), THREADS, 0, size, queries, high, low, unscale);
}

/* ---- the lists ---- */

static __global__ void mfc_start_kernel(mfc_scan_lists l, const float *floor) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= l.n * l.segments)
        return;
    l.floor[i] = floor[i / l.segments];
    l.found[i] = 0;
    l.above[i] = 0;
}

/* How many threads before this one have `one`, and of the whole block.  room: WARPS, shared */
static __device__ int rank_in_block(int one, int *room, int *total) {
    const int lane = (int)threadIdx.x % MFC_WARP, warp = (int)threadIdx.x / MFC_WARP;
    int sum = one;
#pragma unroll
    for (int d = 1; d < MFC_WARP; d *= 2) {
        const int before = __shfl_sync(0xffffffffu, sum, (lane - d) & (MFC_WARP - 1));
        sum += lane >= d ? before : 0;
    }
    if (lane == MFC_WARP - 1)
        room[warp] = sum;
    __syncthreads();
    int before = 0, all = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++) {
        before += i < warp ? room[i] : 0;
        all += room[i];
    }
    __syncthreads();
    *total = all;
    return before + sum - one;
}

/* Floats in the order of unsigned numbers. */
static __device__ __forceinline__ unsigned order_of(float x) {
    unsigned u;
    memcpy(&u, &x, sizeof(u));
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

static __device__ __forceinline__ float value_of(unsigned order) {
    const unsigned u = order & 0x80000000u ? order & 0x7fffffffu : ~order;
    float x;
    memcpy(&x, &u, sizeof(x));
    return x;
}

/* The k-th largest lower bound of n >= k items: the largest number that k of them reach. */
static __device__ float kth_low(const mfc_scan_item *item, int n, int k, float *sums) {
    unsigned best = 0;
    for (int bit = 31; bit >= 0; bit--) {
        const unsigned candidate = best | 1u << bit;
        int reach = 0;
        for (int i = (int)threadIdx.x; i < n; i += THREADS)
            reach += order_of(item[i].score - item[i].slack) >= candidate;
        if (mfc_block_sum((float)reach, sums) >= (float)k) /* exact: below 2^24 */
            best = candidate;
    }
    return value_of(best);
}

/* Raises the floor, drops what does not reach it; every thread is given how many are left. */
static __device__ int prune(mfc_scan_item *item, int n, int k, float *floor, int *room, float *sums) {
    int kept = 0;
    __syncthreads(); /* the items are there */
    if (n >= k)
        *floor = fmaxf(*floor, kth_low(item, n, k, sums));
    for (int base = 0; base < n; base += THREADS) {
        const int i = base + (int)threadIdx.x;
        mfc_scan_item mine = {0, 0, 0};
        if (i < n)
            mine = item[i];
        const int keep = i < n && mine.score + mine.slack >= *floor;
        int total;
        const int place = rank_in_block(keep, room, &total); /* has waited: everybody has read */
        if (keep)
            item[kept + place] = mine;
        kept += total;
    }
    __syncthreads();
    return kept;
}

static __global__ void mfc_select_kernel(mfc_scan_lists l, mfc_scan_block b, int64_t part) {
    __shared__ int room[WARPS];
    __shared__ float sums[MFC_WARP];
    const int list = (int)blockIdx.x, q = list / l.segments, full = l.cap - THREADS;
    const int64_t begin = list % l.segments * part, end = begin + part < b.count ? begin + part : b.count;
    mfc_scan_item *item = l.item + (int64_t)list * l.cap;
    float floor = l.floor[list];
    int found = l.found[list], above = 0;
    if (found < 0)
        return;
    for (int64_t base = begin; base < end && found >= 0; base += THREADS) {
        const int64_t i = base + threadIdx.x;
        int take = 0, total;
        mfc_scan_item mine = {0, 0, 0};
        if (i < end) {
            mine.score = b.scores[q * b.step + i] * (b.scale ? b.scale[i] : l.unscale ? l.unscale[q] : 1.0f);
            mine.slack = l.norm[q] * b.width[i] + MF_SCAN_TINY;
            mine.row = b.list ? b.list[i] : b.first + (uint32_t)i;
            if (l.kind == MF_SCAN_TOP) {
                take = mine.score + mine.slack >= floor;
            } else if (mine.score - mine.slack > floor) {
                above++;
            } else {
                take = mine.score + mine.slack > floor;
            }
        }
        const int place = rank_in_block(take, room, &total);
        if (take)
            item[found + place] = mine; /* found <= full: there is room for a step */
        found += total;
        if (found > full && l.kind == MF_SCAN_TOP)
            found = prune(item, found, l.k, &floor, room, sums);
        if (found > full)
            found = -1;
    }
    const float counted = mfc_block_sum((float)above, sums);
    if (threadIdx.x == 0) {
        l.floor[list] = floor;
        l.found[list] = found;
        l.above[list] += (long long)counted; /* of a part of a block: below 2^24 */
    }
}

static __global__ void mfc_finish_kernel(mfc_scan_lists l, mfc_scan_result r) {
    __shared__ int room[WARPS];
    __shared__ float sums[MFC_WARP];
    const int list = (int)blockIdx.x, q = list / l.segments, to = list % l.segments * l.n + q;
    mfc_scan_item *item = l.item + (int64_t)list * l.cap;
    float floor = l.floor[list];
    int found = l.found[list];
    if (found > 0 && l.kind == MF_SCAN_TOP)
        found = prune(item, found, l.k, &floor, room, sums);
    if (found > l.room)
        found = -1;
    for (int i = (int)threadIdx.x; i < found; i += THREADS) {
        mf_scan_item *out = r.item + (int64_t)to * l.room + i;
        out->score = item[i].score;
        out->row = item[i].row;
    }
    if (threadIdx.x == 0) {
        r.floor[to] = floor;
        r.found[to] = found;
        r.above[to] = l.above[list];
    }
}

mf_status mfc_scan_start(const mf_stream *s, const mfc_scan_lists *l, const float *floor) {
    return mfc_launch(s, mfc_start_kernel, dim3((unsigned)mfc_div_up(l->n * l->segments, THREADS)), THREADS, 0, *l,
                      floor);
}

mf_status mfc_scan_select(const mf_stream *s, const mfc_scan_lists *l, const mfc_scan_block *b) {
    const int64_t part = mfc_div_up(mfc_div_up(b->count, l->segments), THREADS) * THREADS;
    return mfc_launch(s, mfc_select_kernel, dim3((unsigned)(l->n * l->segments)), THREADS, 0, *l, *b, part);
}

mf_status mfc_scan_finish(const mf_stream *s, const mfc_scan_lists *l, const mfc_scan_result *r) {
    return mfc_launch(s, mfc_finish_kernel, dim3((unsigned)(l->n * l->segments)), THREADS, 0, *l, *r);
}
