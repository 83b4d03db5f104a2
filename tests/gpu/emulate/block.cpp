/* Runs a grid: block by block, each block's threads as fibers. */
#include "backends/cuda/launch.h"
#include "tests/gpu/emulate/fiber.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <link.h>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

#include "tests/gpu/emulate/runtime.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

enum { MAX_THREADS = 1024, WARP = 32, GUARD = 256, GUARD_BYTE = 0xA5, SHARED_LIMIT = 227 * 1024 };

typedef enum state { READY, AT_BLOCK, AT_WARP, ENDED } state;

typedef struct fibre {
    mfc_fiber *fiber; /* NULL: it did not begin, or has ended */
    state at;
} fibre;

typedef struct lanes {
    int arrived, phase;
    unsigned long long value[2][WARP]; /* of this exchange and of the last, which lanes may still read */
    const char *what;
} lanes;

static struct {
    std::mutex lock; /* one grid at a time */
    const std::function<void()> *body;
    const mfc_emulate_place *place;
    int threads, arrived, ended;
    fibre thread[MAX_THREADS];
    lanes warp[MAX_THREADS / WARP];
    std::vector<mfc_fiber *> spare;
    std::vector<int> order;
    std::string error;
    alignas(256) unsigned char shared[GUARD + SHARED_LIMIT + GUARD];
    size_t shared_bytes;
    unsigned long long random;
    int current; /* the thread that runs */
} grid;

/* ---- order ---- */

typedef enum order { FORWARD, BACKWARD, SHUFFLED } order;

static order order_wanted(void) {
    const char *text = getenv("MFC_EMULATE_ORDER");
    if (!text || !*text || !strcmp(text, "forward"))
        return FORWARD;
    if (!strcmp(text, "backward"))
        return BACKWARD;
    grid.random = strtoull(text, NULL, 10) * 2 + 1;
    return SHUFFLED;
}

static unsigned random_below(unsigned n) {
    grid.random = grid.random * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)((grid.random >> 33) % n);
}

static void set_order(order o) {
    if (o == SHUFFLED)
        for (int i = grid.threads - 1; i > 0; i--)
            std::swap(grid.order[(size_t)i], grid.order[random_below((unsigned)i + 1)]);
}

/* ---- shared memory ---- */

typedef struct segment {
    void *data;
    size_t bytes;
} segment;

thread_local char mfc_emulate_touch; /* so that the segment exists in this thread */

/* The TLS segment of the object that holds this function. */
static int find_segment(struct dl_phdr_info *info, size_t, void *arg) {
    const ElfW(Addr) here = (ElfW(Addr))&find_segment - info->dlpi_addr;
    int mine = 0;
    size_t bytes = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        if (h->p_type == PT_LOAD && here >= h->p_vaddr && here < h->p_vaddr + h->p_memsz)
            mine = 1;
        if (h->p_type == PT_TLS)
            bytes = h->p_memsz;
    }
    if (mine)
        *(segment *)arg = {info->dlpi_tls_data, bytes};
    return mine;
}

void *mfc_emulate_shared(void) {
    return grid.shared + GUARD;
}

static void spoil_shared(const segment *s) {
    memset(s->data, 0xFF, s->bytes);
    memset(grid.shared, GUARD_BYTE, GUARD);
    memset(grid.shared + GUARD, 0xFF, grid.shared_bytes);
    memset(grid.shared + GUARD + grid.shared_bytes, GUARD_BYTE, GUARD);
}

static int guards_intact(void) {
    for (int i = 0; i < GUARD; i++)
        if (grid.shared[i] != GUARD_BYTE || grid.shared[GUARD + grid.shared_bytes + (size_t)i] != GUARD_BYTE)
            return 0;
    return 1;
}

/* ---- threads ---- */

static __attribute__((format(printf, 1, 2))) void wrong(const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (grid.error.empty())
        grid.error = text;
}

static void leave(void) {
    mfc_fiber_leave(grid.thread[grid.current].fiber);
}

/* A fiber that ends stays in the pool: the next thread begins on it anew. */
static void thread_body(void *) {
    (*grid.body)();
    grid.thread[grid.current].at = ENDED;
    leave();
}

static void resume(int i) {
    fibre *t = &grid.thread[i];
    if (!t->fiber) {
        if (grid.spare.empty())
            grid.spare.push_back(mfc_fiber_create());
        t->fiber = grid.spare.back();
        grid.spare.pop_back();
        mfc_fiber_prime(t->fiber, thread_body, NULL);
    }
    grid.current = i;
    threadIdx = {(unsigned)i, 0, 0};
    mfc_fiber_enter(t->fiber);
    if (t->at == ENDED) {
        grid.ended++;
        grid.spare.push_back(t->fiber);
        t->fiber = NULL;
    }
}

void __syncthreads(void) {
    grid.thread[grid.current].at = AT_BLOCK;
    if (++grid.arrived == grid.threads) {
        grid.arrived = 0;
        for (int i = 0; i < grid.threads; i++)
            grid.thread[i].at = READY;
    }
    leave(); /* the last one too: the scheduler says who is next */
}

const unsigned long long *mfc_emulate_exchange(unsigned mask, unsigned long long value, const char *what) {
    const int lane = grid.current % WARP, first = grid.current - lane;
    lanes *w = &grid.warp[grid.current / WARP];
    const int phase = w->phase;
    if (mask != 0xffffffffu)
        wrong("thread %d: %s without all lanes", grid.current, what);
    if (first + WARP > grid.threads)
        wrong("thread %d: %s in a warp of %d threads", grid.current, what, grid.threads - first);
    if (w->arrived && strcmp(w->what, what))
        wrong("thread %d: %s, while other lanes of its warp are at %s", grid.current, what, w->what);
    w->what = what;
    w->value[phase][lane] = value;
    grid.thread[grid.current].at = AT_WARP;
    if (!grid.error.empty())
        leave(); /* for good */
    if (++w->arrived < WARP) {
        leave();
    } else {
        w->arrived = 0;
        w->phase = !phase;
        for (int i = first; i < first + WARP; i++)
            grid.thread[i].at = READY;
    }
    return w->value[phase];
}

void __syncwarp(unsigned mask) {
    mfc_emulate_exchange(mask, 0, "__syncwarp");
}

/* Nobody can go on: says where they are. */
static void report_deadlock(void) {
    int count[4] = {0}, example[4] = {0};
    for (int i = grid.threads - 1; i >= 0; i--) {
        count[grid.thread[i].at]++;
        example[grid.thread[i].at] = i;
    }
    wrong("a barrier that not every thread reaches: of %d threads %d (first: %d) wait at __syncthreads, %d (first: %d) at a "
          "warp's operation, %d (first: %d) have ended",
          grid.threads, count[AT_BLOCK], example[AT_BLOCK], count[AT_WARP], example[AT_WARP], count[ENDED],
          example[ENDED]);
}

/* Threads of a block that was given up. */
static void abandon(void) {
    for (int i = 0; i < grid.threads; i++)
        if (grid.thread[i].fiber) {
            grid.spare.push_back(grid.thread[i].fiber);
            grid.thread[i].fiber = NULL;
        }
}

static void run_block(order o) {
    grid.arrived = grid.ended = 0;
    for (int i = 0; i < grid.threads; i++)
        grid.thread[i] = {NULL, READY};
    for (lanes &w : grid.warp)
        w.arrived = w.phase = 0;
    while (grid.ended < grid.threads && grid.error.empty()) {
        int ran = 0;
        set_order(o);
        for (int i = 0; i < grid.threads && grid.error.empty(); i++) {
            int t = grid.order[(size_t)i];
            if (grid.thread[t].at == READY) {
                resume(t);
                ran = 1;
            }
        }
        if (!ran && grid.error.empty())
            report_deadlock();
    }
    abandon();
    if (grid.error.empty() && !guards_intact())
        wrong("writes beside its dynamic shared memory of %zu bytes", grid.shared_bytes);
}

/* ---- the grid ---- */

static cudaError_t run_grid(dim3 size, const std::function<void()> &body) {
    const order o = order_wanted();
    const unsigned long long blocks = (unsigned long long)size.x * size.y * size.z;
    unsigned long long step = o == BACKWARD ? blocks - 1 : 1, at = o == FORWARD ? 0 : blocks - 1;
    if (o == SHUFFLED)
        for (step = 1 + random_below((unsigned)(blocks < 0x7fffffff ? blocks : 0x7fffffff)); std::gcd(step, blocks) != 1;)
            step++;
    segment shared = {NULL, 0};
    *(volatile char *)&mfc_emulate_touch = 0;
    dl_iterate_phdr(find_segment, &shared);
    grid.body = &body;
    grid.error.clear();
    grid.order.resize((size_t)grid.threads);
    std::iota(grid.order.begin(), grid.order.end(), 0);
    if (o == BACKWARD)
        std::reverse(grid.order.begin(), grid.order.end());
    gridDim = size;
    blockDim = dim3((unsigned)grid.threads);
    for (unsigned long long i = 0; i < blocks && grid.error.empty(); i++) {
        blockIdx = {(unsigned)(at % size.x), (unsigned)(at / size.x % size.y), (unsigned)(at / size.x / size.y)};
        at = (at + step) % blocks;
        spoil_shared(&shared);
        run_block(o);
    }
    return grid.error.empty() ? cudaSuccess : cudaErrorLaunchFailure;
}

static std::string where(const mfc_emulate_place *p) {
    return std::string(p->file) + ":" + std::to_string(p->line) + ": mfc_launch(" + p->text + "): ";
}

static cudaError_t run_launch(mfc_emulate_place place, dim3 size, int threads, size_t shared,
                              const std::function<void()> &body) {
    std::lock_guard<std::mutex> hold(grid.lock);
    grid.threads = threads;
    grid.shared_bytes = shared;
    cudaError_t error = run_grid(size, body);
    if (error != cudaSuccess)
        mfc_emulate_say(where(&place) + "block " + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " +
                        std::to_string(blockIdx.z) + ": " + grid.error);
    return error;
}

mf_status mfc_emulate_launch(const mf_stream *s, mfc_emulate_place place, dim3 size, int threads, size_t shared,
                             std::function<void()> body) {
    if (!size.x || !size.y || !size.z || size.x > 0x7fffffffu || size.y > 65535 || size.z > 65535 || threads < 1 ||
        threads > MAX_THREADS || shared > SHARED_LIMIT) {
        mfc_emulate_say(where(&place) + "grid " + std::to_string(size.x) + ", " + std::to_string(size.y) + ", " +
                        std::to_string(size.z) + ", " + std::to_string(threads) + " threads, " + std::to_string(shared) +
                        " bytes of shared memory: not allowed");
        return mfc_check(s, cudaErrorInvalidConfiguration, "launch of a kernel");
    }
    return mfc_check(s, mfc_emulate_enqueue(s->queue,
                                            [=] { return run_launch(place, size, threads, shared, body); }),
                     "launch of a kernel");
}
