/* AdamW of many tensors, and the sum of the squares of their gradients (backends/backend.h); f32 arrays.
 *
 * All tensors go in one launch (one for every LAUNCH_ITEMS): a block takes a chunk of 4096 values of a tensor, which it
 * finds in a table in device memory, four values an access.  The table holds what rarely changes, pointers and lengths,
 * and is sent again when the host's list differs from the one that it was made of; rate and decay change every step and
 * are parameters of the kernel.
 *
 * f32 with the steps written as differences, m += (1 - beta1) (g - m), p -= (rate decay) p, so that factors like 0.999
 * or 1 - 5e-6 are not rounded near 1, where they would lose the digits that count.
 *
 * The squares are summed in double: per thread, over a block by a tree in shared memory, then the chunks by one block:
 * always in the same order. */
#include <string.h>

#include "backends/cuda/launch.h"

enum { THREADS = 256, CHUNK = 4096, WIDTH = 4, LAUNCH_ITEMS = 256, LAST_THREADS = 512 };

typedef struct tensor {
    float *value, *m, *v, *average; /* average: or NULL */
    const float *gradient;
    int64_t count;
    int64_t wide; /* 1: all are multiples of 16 bytes */
} tensor;

typedef struct chunk {
    int32_t item, index;
} chunk;

/* s->reduce.  In device memory, one after the other: tensors, chunks, a double of each chunk, their sum. */
typedef struct update_table {
    tensor *tensors; /* of the host: what the device has */
    size_t count;
    int64_t chunks;
    void *memory;
    size_t bytes;
} update_table;

typedef struct step {
    float scale, clip;                              /* clip: infinity for none */
    float first, second;                            /* 1 - beta1, 1 - beta2 */
    float root, eps;                                /* root: 1 / sqrt(correction2) */
    float blend;                                    /* 1 - average_decay */
    int base;                                       /* the first item of this launch */
    float rate[LAUNCH_ITEMS], shrink[LAUNCH_ITEMS]; /* rate / correction1, rate decay */
} step;

static __device__ __forceinline__ void adam(const step &u, float rate, float shrink, float gradient, float *value,
                                            float *m, float *v) {
    float g = u.scale * gradient;
    g = g > u.clip ? u.clip : g < -u.clip ? -u.clip : g; /* a NaN stays one */
    *m = fmaf(u.first, g - *m, *m);
    *v = fmaf(u.second, fmaf(g, g, -*v), *v);
    const float p = fmaf(-shrink, *value, *value);
    *value = p - rate * *m / fmaf(sqrtf(*v), u.root, u.eps);
}

static __device__ __forceinline__ void update_four(const tensor &t, const step &u, float rate, float shrink,
                                                   int64_t i) {
    float g[WIDTH], p[WIDTH], m[WIDTH], v[WIDTH], a[WIDTH];
    mfc_load<float, WIDTH>(t.gradient + i, g);
    mfc_load<float, WIDTH>(t.value + i, p);
    mfc_load<float, WIDTH>(t.m + i, m);
    mfc_load<float, WIDTH>(t.v + i, v);
    if (t.average)
        mfc_load<float, WIDTH>(t.average + i, a);
#pragma unroll
    for (int k = 0; k < WIDTH; k++) {
        adam(u, rate, shrink, g[k], &p[k], &m[k], &v[k]);
        if (t.average)
            a[k] = fmaf(u.blend, p[k] - a[k], a[k]);
    }
    mfc_store<float, WIDTH>(t.value + i, p);
    mfc_store<float, WIDTH>(t.m + i, m);
    mfc_store<float, WIDTH>(t.v + i, v);
    if (t.average)
        mfc_store<float, WIDTH>(t.average + i, a);
}

static __device__ __forceinline__ void update_one(const tensor &t, const step &u, float rate, float shrink, int64_t i) {
    float p = t.value[i], m = t.m[i], v = t.v[i];
    adam(u, rate, shrink, t.gradient[i], &p, &m, &v);
    t.value[i] = p;
    t.m[i] = m;
    t.v[i] = v;
    if (t.average)
        t.average[i] = fmaf(u.blend, p - t.average[i], t.average[i]);
}

static __global__ void __launch_bounds__(THREADS) mfc_adamw(const tensor *tensors, const chunk *chunks, step u) {
    const chunk place = chunks[blockIdx.x];
    const tensor t = tensors[place.item];
    const float rate = u.rate[place.item - u.base], shrink = u.shrink[place.item - u.base];
    const int64_t begin = (int64_t)place.index * CHUNK, end = begin + CHUNK < t.count ? begin + CHUNK : t.count;
    if (t.wide && end == begin + CHUNK) {
        for (int64_t i = begin + threadIdx.x * WIDTH; i < end; i += THREADS * WIDTH)
            update_four(t, u, rate, shrink, i);
        return;
    }
    for (int64_t i = begin + threadIdx.x; i < end; i += THREADS)
        update_one(t, u, rate, shrink, i);
}

/* ---- squares ---- */

/* Thread 0 gets the sum of a block of N threads, a power of two. */
template <int N> static __device__ __forceinline__ double tree_sum(double x, double *room) {
    room[threadIdx.x] = x;
    __syncthreads();
    for (int half = N / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half)
            room[threadIdx.x] += room[threadIdx.x + half];
        __syncthreads();
    }
    return room[0];
}

static __global__ void __launch_bounds__(THREADS)
    mfc_squares(const tensor *tensors, const chunk *chunks, double *partial) {
    __shared__ double room[THREADS];
    const chunk place = chunks[blockIdx.x];
    const tensor t = tensors[place.item];
    const int64_t begin = (int64_t)place.index * CHUNK, end = begin + CHUNK < t.count ? begin + CHUNK : t.count;
    double sum = 0;
    if (t.wide && end == begin + CHUNK) {
        for (int64_t i = begin + threadIdx.x * WIDTH; i < end; i += THREADS * WIDTH) {
            float g[WIDTH];
            mfc_load<float, WIDTH>(t.gradient + i, g);
#pragma unroll
            for (int k = 0; k < WIDTH; k++)
                sum += (double)g[k] * (double)g[k];
        }
    } else {
        for (int64_t i = begin + threadIdx.x; i < end; i += THREADS)
            sum += (double)t.gradient[i] * (double)t.gradient[i];
    }
    sum = tree_sum<THREADS>(sum, room);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(LAST_THREADS)
    mfc_squares_last(const double *partial, int64_t count, double *out) {
    __shared__ double room[LAST_THREADS];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < count; i += LAST_THREADS)
        sum += partial[i];
    sum = tree_sum<LAST_THREADS>(sum, room);
    if (threadIdx.x == 0)
        *out = sum;
}

/* ---- the table ---- */

static tensor tensor_of(const mf_update_item *item) {
    tensor t;
    memset(&t, 0, sizeof(t));
    t.value = (float *)item->value;
    t.m = (float *)item->m;
    t.v = (float *)item->v;
    t.average = (float *)item->average;
    t.gradient = (const float *)item->gradient;
    t.count = item->count;
    t.wide = mfc_aligned(t.value) && mfc_aligned(t.m) && mfc_aligned(t.v) && mfc_aligned(t.average) &&
             mfc_aligned(t.gradient);
    return t;
}

static int64_t chunks_of(const tensor *t, size_t count) {
    int64_t chunks = 0;
    for (size_t i = 0; i < count; i++)
        chunks += mfc_div_up(t[i].count, CHUNK);
    return chunks;
}

static size_t tensors_bytes(const update_table *t) {
    return mfc_round_up(t->count * sizeof(tensor));
}

static size_t chunks_bytes(const update_table *t) {
    return mfc_round_up((size_t)t->chunks * sizeof(chunk));
}

static const tensor *tensors_at(const update_table *t) {
    return (const tensor *)t->memory;
}

static const chunk *chunks_at(const update_table *t) {
    return (const chunk *)((char *)t->memory + tensors_bytes(t));
}

static double *partial_at(const update_table *t) {
    return (double *)((char *)t->memory + tensors_bytes(t) + chunks_bytes(t));
}

static int is_same(const update_table *t, const mf_update *update) {
    if (t->count != update->count || !t->memory)
        return 0;
    for (size_t i = 0; i < t->count; i++) {
        const tensor now = tensor_of(&update->item[i]);
        if (memcmp(&now, &t->tensors[i], sizeof(now)))
            return 0;
    }
    return 1;
}

static mf_status send(mf_stream *s, void *to, const void *from, size_t bytes) {
    return mfc_check(s, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, s->queue), "the optimiser's table");
}

static mf_status send_table(mf_stream *s, update_table *t) {
    const mf_host *host = s->device->host;
    chunk *chunks = (chunk *)host->alloc(host->context, (size_t)t->chunks * sizeof(chunk)), *next = chunks;
    if (!chunks)
        return MFC_MEMORY;
    for (size_t i = 0; i < t->count; i++)
        for (int64_t c = 0; c < mfc_div_up(t->tensors[i].count, CHUNK); c++) {
            next->item = (int32_t)i;
            next++->index = (int32_t)c;
        }
    mf_status status = send(s, t->memory, t->tensors, t->count * sizeof(tensor));
    if (!status)
        status = send(s, (char *)t->memory + tensors_bytes(t), chunks, (size_t)t->chunks * sizeof(chunk));
    /* the caller's allocator may give pinned memory, which is read when the copy runs */
    const cudaError_t done = cudaStreamSynchronize(s->queue);
    host->free(host->context, chunks);
    return status ? status : mfc_check(s, done, "the optimiser's table");
}

static mf_status make_table(mf_stream *s, update_table *t, const mf_update *update) {
    const mf_host *host = s->device->host;
    tensor *tensors = (tensor *)host->alloc(host->context, update->count * sizeof(tensor));
    if (!tensors)
        return MFC_MEMORY;
    if (t->tensors)
        host->free(host->context, t->tensors);
    t->tensors = tensors;
    t->count = update->count;
    for (size_t i = 0; i < t->count; i++)
        tensors[i] = tensor_of(&update->item[i]);
    t->chunks = chunks_of(tensors, t->count);
    const size_t bytes = tensors_bytes(t) + chunks_bytes(t) + (size_t)(t->chunks + 1) * sizeof(double);
    mf_status status = 0;
    if (bytes > t->bytes) {
        mfc_free(s, t->memory);
        t->memory = NULL;
        t->bytes = 0;
        status = mfc_alloc(s, bytes, &t->memory);
        t->bytes = status ? 0 : bytes;
    }
    if (!status && t->chunks)
        status = send_table(s, t);
    if (status)
        t->count = (size_t)-1; /* like no list */
    return status;
}

/* The table of this list. */
static mf_status get_table(mf_stream *s, const mf_update *update, update_table **table) {
    const mf_host *host = s->device->host;
    if (!s->reduce) {
        s->reduce = host->alloc(host->context, sizeof(update_table));
        if (!s->reduce)
            return MFC_MEMORY;
        memset(s->reduce, 0, sizeof(update_table));
    }
    *table = (update_table *)s->reduce;
    return is_same(*table, update) ? 0 : make_table(s, *table, update);
}

/* ---- what the table of the backend has ---- */

static void fill_step(step *to, const mf_update *u, size_t first, size_t count) {
    to->scale = (float)u->gradient_scale;
    to->clip = u->clip_value > 0 ? (float)u->clip_value : INFINITY;
    to->first = (float)(1 - u->beta1);
    to->second = (float)(1 - u->beta2);
    to->root = (float)(1 / sqrt(u->correction2));
    to->eps = (float)u->eps;
    to->blend = (float)(1 - u->average_decay);
    to->base = (int)first;
    for (size_t i = 0; i < count; i++) {
        to->rate[i] = (float)(u->item[first + i].rate / u->correction1);
        to->shrink[i] = (float)(u->item[first + i].rate * u->item[first + i].decay);
    }
}

mf_status mfc_update(mf_stream *s, const mf_update *update) {
    update_table *table;
    step u;
    mf_status status = update->count ? get_table(s, update, &table) : 0;
    int64_t done = 0; /* chunks */
    memset(&u, 0, sizeof(u));
    for (size_t first = 0; first < update->count && !status; first += LAUNCH_ITEMS) {
        const size_t count = (size_t)mfc_min((int64_t)(update->count - first), LAUNCH_ITEMS);
        const int64_t chunks = chunks_of(table->tensors + first, count);
        if (!chunks)
            continue;
        fill_step(&u, update, first, count);
        status =
            mfc_launch(s, mfc_adamw, dim3((unsigned)chunks), THREADS, 0, tensors_at(table), chunks_at(table) + done, u);
        done += chunks;
    }
    return status;
}

mf_status mfc_sum_squares(mf_stream *s, const mf_update *update, double *sum) {
    update_table *table;
    double got = 0;
    mf_status status = update->count ? get_table(s, update, &table) : 0;
    if (status)
        return status;
    if (update->count && table->chunks) {
        double *partial = partial_at(table), *total = partial + table->chunks;
        status = mfc_launch(s, mfc_squares, dim3((unsigned)table->chunks), THREADS, 0, tensors_at(table),
                            chunks_at(table), partial);
        if (!status)
            status = mfc_launch(s, mfc_squares_last, dim3(1), LAST_THREADS, 0, (const double *)partial, table->chunks,
                                total);
        if (!status)
            status = mfc_check(s, cudaMemcpyAsync(&got, total, sizeof(got), cudaMemcpyDeviceToHost, s->queue),
                               "the sum of squares");
        if (!status)
            status = mfc_check(s, cudaStreamSynchronize(s->queue), "the sum of squares");
    }
    if (!status)
        *sum = got;
    return status;
}

void mfc_update_close(mf_stream *s) {
    update_table *t = (update_table *)s->reduce;
    const mf_host *host = s->device->host;
    if (!t)
        return;
    mfc_free(s, t->memory);
    if (t->tensors)
        host->free(host->context, t->tensors);
    host->free(host->context, t);
    s->reduce = NULL;
}
