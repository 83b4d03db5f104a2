/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#define MACHINE_X86 1
#endif

/* ---------------------------------------------------------------------------------------------- kernels ------- */

/* Each runs `steps` rounds of independent multiply-adds, enough of them to hide the latency (4 or 5 cycles, two a
 * cycle), and returns a value that depends on all. */
typedef float (*fma_kernel)(long steps);

typedef struct fma_variant {
    const char *name;
    fma_kernel run;
    double flops; /* of a step */
} fma_variant;

enum { PORTABLE = 64 };

static float fma_portable(long steps) {
    float sums[PORTABLE];
    for (int i = 0; i < PORTABLE; i++)
        sums[i] = (float)i;
    for (long step = 0; step < steps; step++)
        for (int i = 0; i < PORTABLE; i++)
            sums[i] = sums[i] * 0.999f + 0.001f;
    float total = 0;
    for (int i = 0; i < PORTABLE; i++)
        total += sums[i];
    return total;
}

#ifdef MACHINE_X86
#define TIMES_12(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)
#define TIMES_24(f) TIMES_12(f) f(12) f(13) f(14) f(15) f(16) f(17) f(18) f(19) f(20) f(21) f(22) f(23)

__attribute__((target("avx2,fma"))) static float fma_avx2(long steps) {
    __m256 scale = _mm256_set1_ps(0.999f), offset = _mm256_set1_ps(0.001f);
#define START(i) __m256 sum##i = _mm256_set1_ps((float)i);
#define STEP(i) sum##i = _mm256_fmadd_ps(sum##i, scale, offset);
#define ADD(i) total = _mm256_add_ps(total, sum##i);
    TIMES_12(START)
    for (long step = 0; step < steps; step++) {
        TIMES_12(STEP)
    }
    __m256 total = _mm256_setzero_ps();
    TIMES_12(ADD)
#undef START
#undef STEP
#undef ADD
    return _mm256_cvtss_f32(total);
}

__attribute__((target("avx512f"))) static float fma_avx512(long steps) {
    __m512 scale = _mm512_set1_ps(0.999f), offset = _mm512_set1_ps(0.001f);
#define START(i) __m512 sum##i = _mm512_set1_ps((float)i);
#define STEP(i) sum##i = _mm512_fmadd_ps(sum##i, scale, offset);
#define ADD(i) total = _mm512_add_ps(total, sum##i);
    TIMES_24(START)
    for (long step = 0; step < steps; step++) {
        TIMES_24(STEP)
    }
    __m512 total = _mm512_setzero_ps();
    TIMES_24(ADD)
#undef START
#undef STEP
#undef ADD
    return _mm512_cvtss_f32(total);
}
#endif

static const fma_variant *pick(void) {
    static const fma_variant portable = {"compiled C", fma_portable, 2.0 * PORTABLE};
#ifdef MACHINE_X86
    static const fma_variant avx2 = {"AVX2 and FMA", fma_avx2, 2.0 * 12 * 8};
    static const fma_variant avx512 = {"AVX-512", fma_avx512, 2.0 * 24 * 16};
    if (__builtin_cpu_supports("avx512f"))
        return &avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &avx2;
#endif
    return &portable;
}

/* ---------------------------------------------------------------------------------------------- threads ------- */

typedef struct worker {
    pthread_t thread;
    struct crew *crew;
    int index;
    double start, end; /* of its own work */
    double amount;
} worker;

typedef struct crew {
    pthread_barrier_t barrier;
    const fma_variant *fma;
    double span; /* seconds that each works */
    char *memory;
    size_t bytes; /* a thread's share */
    worker *workers;
    int count;
} crew;

static volatile float float_sink; /* so that results are used */
static volatile uint64_t word_sink;

static void *work_fma(void *argument) {
    worker *self = argument;
    const fma_variant *fma = self->crew->fma;
    const long steps = 20000;
    float_sink = fma->run(steps); /* the clock of the core settles */
    pthread_barrier_wait(&self->crew->barrier);
    self->start = tool_seconds();
    do {
        float_sink = fma->run(steps);
        self->amount += fma->flops * (double)steps;
        self->end = tool_seconds();
    } while (self->end - self->start < self->crew->span);
    return NULL;
}

static uint64_t read_all(const char *memory, size_t bytes) {
    const uint64_t *words = (const uint64_t *)(const void *)memory;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i + 8 <= bytes / sizeof *words; i += 8)
        for (int k = 0; k < 8; k++)
            sums[k] += words[i + k];
    return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

static void *work_read(void *argument) {
    worker *self = argument;
    char *mine = self->crew->memory + (size_t)self->index * self->crew->bytes;
    memset(mine, 1 + self->index, self->crew->bytes); /* pages near the thread */
    pthread_barrier_wait(&self->crew->barrier);
    self->start = tool_seconds();
    do {
        word_sink = read_all(mine, self->crew->bytes);
        self->amount += (double)self->crew->bytes;
        self->end = tool_seconds();
    } while (self->end - self->start < self->crew->span);
    return NULL;
}

/* Runs `work` on all threads; the amount a second, counted from the first start to the last end. */
static double run_crew(crew *all, void *(*work)(void *)) {
    int started = 0;
    all->workers = calloc((size_t)all->count, sizeof *all->workers);
    if (!all->workers)
        return 0;
    if (pthread_barrier_init(&all->barrier, NULL, (unsigned)all->count)) {
        free(all->workers);
        return 0;
    }
    for (int i = 0; i < all->count; i++) {
        all->workers[i].crew = all;
        all->workers[i].index = i;
    }
    for (int i = 1; i < all->count; i++, started++)
        if (pthread_create(&all->workers[i].thread, NULL, work, &all->workers[i]))
            break;
    double rate = 0;
    if (started == all->count - 1) {
        work(&all->workers[0]);
        double start = all->workers[0].start, end = all->workers[0].end, amount = 0;
        for (int i = 0; i < all->count; i++) {
            const worker *now = &all->workers[i];
            if (i)
                pthread_join(now->thread, NULL);
            start = now->start < start ? now->start : start;
            end = now->end > end ? now->end : end;
            amount += now->amount;
        }
        rate = end > start ? amount / (end - start) : 0;
        pthread_barrier_destroy(&all->barrier);
        free(all->workers);
    } else {
        /* Too few threads: those that started wait at the barrier. */
        for (int i = 1; i <= started; i++) {
            pthread_cancel(all->workers[i].thread);
            pthread_detach(all->workers[i].thread);
        }
        all->workers = NULL;
    }
    return rate;
}

double machine_fma_peak(int threads, const char **how) {
    crew all = {.fma = pick(), .span = 0.05, .count = threads};
    double best = 0;
    *how = all.fma->name;
    for (int attempt = 0; attempt < 4; attempt++) {
        double rate = run_crew(&all, work_fma);
        best = rate > best ? rate : best;
    }
    return best;
}

/* Four times the last-level cache, 256 MB to 1 GB, a quarter of the free memory at most. */
static size_t buffer_bytes(void) {
    size_t cache = 0, bytes;
#ifdef _SC_LEVEL3_CACHE_SIZE
    long level3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    cache = level3 > 0 ? (size_t)level3 : 0;
#endif
    bytes = 4 * cache;
    if (bytes < (size_t)256 << 20)
        bytes = (size_t)256 << 20;
    if (bytes > (size_t)1 << 30)
        bytes = (size_t)1 << 30;
    long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0 && bytes > (size_t)pages / 4 * (size_t)page)
        bytes = (size_t)pages / 4 * (size_t)page;
    return bytes;
}

double machine_read_bandwidth(int threads) {
    crew all = {.span = 0.15, .count = threads};
    all.bytes = buffer_bytes() / (size_t)threads & ~(size_t)4095;
    if (all.bytes < (size_t)1 << 20)
        return 0;
    size_t bytes = all.bytes * (size_t)threads;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 0;
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    all.memory = memory;
    double best = 0;
    for (int attempt = 0; attempt < 3; attempt++) {
        double rate = run_crew(&all, work_read);
        best = rate > best ? rate : best;
    }
    munmap(memory, bytes);
    return best;
}

size_t machine_peak_rss(void) {
    /* VmHWM is of this program alone; ru_maxrss also remembers what forked it, before exec. */
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long kilobytes = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lu kB", &kilobytes) == 1)
            break;
    if (file)
        fclose(file);
    if (!kilobytes) {
        struct rusage usage;
        if (getrusage(RUSAGE_SELF, &usage) == 0)
            kilobytes = (unsigned long)usage.ru_maxrss;
    }
    return (size_t)kilobytes * 1024;
}
