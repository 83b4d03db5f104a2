/* The CUDA backend's kernels as plain C++ on the CPU: `g++ -x c++ -DMFC_EMULATE`.  What launch.h lists, and no more.
 *
 * A block's threads are fibers (fiber.h) of the one thread that works off a queue: each runs until it ends or waits at a barrier
 * (block.cpp).  What a GPU would let pass by chance is made to show:
 *   shared memory, static and dynamic, is full of NaN when a block begins; bytes beside the dynamic part are checked
 *   a barrier that some thread of the block, or lane of the warp, does not reach is an error with the launch's line
 *   a queue works only when something waits for it, as late as a GPU might (runtime.cpp)
 *   MFC_EMULATE_ORDER=forward|backward|NUMBER: the order of blocks, and of threads between barriers; a number shuffles
 * The toolkit's own headers are used, in their host mode; its library is not: runtime.cpp and gemm.cpp stand in.
 *
 * `__shared__` is thread_local, and nothing else of the plug-in is: so the whole of its TLS segment is shared memory. */
#ifndef MFRGN_TESTS_GPU_EMULATE_H
#define MFRGN_TESTS_GPU_EMULATE_H

#include <cstring>
#include <cmath>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#undef __shared__
#define __shared__ static thread_local
#undef __launch_bounds__
#define __launch_bounds__(...)

#define MFC_SHARED(T, name) T *name = (T *)mfc_emulate_shared()

/* ---- block.cpp ---- */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

void *mfc_emulate_shared(void);
void __syncthreads(void);
void __syncwarp(unsigned mask = 0xffffffffu);
/* Lane `lane` of the warp gives `value`, and gets the 32 values of all. */
const unsigned long long *mfc_emulate_exchange(unsigned mask, unsigned long long value, const char *what);

typedef struct mfc_emulate_place {
    const char *file;
    int line;
    const char *text;
} mfc_emulate_place;

mf_status mfc_emulate_launch(const mf_stream *s, mfc_emulate_place place, dim3 grid, int threads, size_t shared,
                             std::function<void()> thread);
/* runtime.cpp: puts work into a queue: it is done when something waits for the queue, or recorded. */
cudaError_t mfc_emulate_enqueue(cudaStream_t queue, std::function<cudaError_t()> work);

template <typename... Params, typename... Args>
static inline mf_status mfc_emulate_launch_at(const char *file, int line, const char *text, const mf_stream *s,
                                              void (*kernel)(Params...), dim3 grid, int threads, size_t shared,
                                              Args... args) {
    static_assert(sizeof...(Params) == sizeof...(Args), "a kernel's parameters");
    std::tuple<std::decay_t<Params>...> values(static_cast<Params>(args)...);
    return mfc_emulate_launch(s, {file, line, text}, grid, threads, shared,
                              [kernel, values] { std::apply(kernel, values); });
}
#define mfc_launch(...) mfc_emulate_launch_at(__FILE__, __LINE__, #__VA_ARGS__, __VA_ARGS__)

/* ---- shuffles, votes ---- */
template <typename T> static inline T mfc_emulate_shuffle(unsigned mask, T x, int from, const char *what) {
    static_assert(sizeof(T) <= 8, "what is shuffled");
    unsigned long long bits = 0;
    std::memcpy(&bits, &x, sizeof(T));
    bits = mfc_emulate_exchange(mask, bits, what)[from];
    std::memcpy(&x, &bits, sizeof(T));
    return x;
}

static inline int mfc_emulate_lane(void) {
    return (int)(threadIdx.x % 32);
}

/* A lane outside its part of `width` lanes: the lane's own. */
static inline int mfc_emulate_within(int from, int width) {
    int lane = mfc_emulate_lane();
    return from >= 0 && from < 32 && from / width == lane / width ? from : lane;
}

template <typename T> static inline T __shfl_sync(unsigned mask, T x, int from, int width = 32) {
    return mfc_emulate_shuffle(mask, x, mfc_emulate_lane() / width * width + (from & (width - 1)), "__shfl_sync");
}
template <typename T> static inline T __shfl_xor_sync(unsigned mask, T x, int with, int width = 32) {
    return mfc_emulate_shuffle(mask, x, mfc_emulate_within(mfc_emulate_lane() ^ with, width), "__shfl_xor_sync");
}
template <typename T> static inline T __shfl_down_sync(unsigned mask, T x, unsigned by, int width = 32) {
    return mfc_emulate_shuffle(mask, x, mfc_emulate_within(mfc_emulate_lane() + (int)by, width), "__shfl_down_sync");
}
template <typename T> static inline T __shfl_up_sync(unsigned mask, T x, unsigned by, int width = 32) {
    return mfc_emulate_shuffle(mask, x, mfc_emulate_within(mfc_emulate_lane() - (int)by, width), "__shfl_up_sync");
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    const unsigned long long *all = mfc_emulate_exchange(mask, predicate != 0, "__ballot_sync");
    unsigned bits = 0;
    for (int i = 0; i < 32; i++)
        bits |= (unsigned)all[i] << i;
    return bits;
}
static inline int __any_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, predicate) != 0;
}
static inline int __all_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, predicate) == 0xffffffffu;
}

/* ---- numbers that CUDA has and math.h has not ---- */
static inline float rsqrtf(float x) {
    return 1.0f / sqrtf(x);
}
static inline float __fsqrt_rn(float x) {
    return sqrtf(x);
}
static inline float __fdiv_rn(float x, float y) {
    return x / y;
}
static inline float __fmul_rn(float x, float y) {
    return x * y;
}
static inline float __fadd_rn(float x, float y) {
    return x + y;
}
static inline float __fmaf_rn(float x, float y, float z) {
    return fmaf(x, y, z);
}
template <typename To, typename From> static inline To mfc_emulate_bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "sizes");
    To y;
    std::memcpy(&y, &x, sizeof(y));
    return y;
}
static inline int __float_as_int(float x) {
    return mfc_emulate_bits<int>(x);
}
static inline unsigned __float_as_uint(float x) {
    return mfc_emulate_bits<unsigned>(x);
}
static inline float __int_as_float(int x) {
    return mfc_emulate_bits<float>(x);
}
static inline float __uint_as_float(unsigned x) {
    return mfc_emulate_bits<float>(x);
}
static inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
static inline int __ffs(int x) {
    return __builtin_ffs(x);
}
static inline int __clz(int x) {
    return x ? __builtin_clz((unsigned)x) : 32;
}
static inline unsigned __umulhi(unsigned x, unsigned y) {
    return (unsigned)((unsigned long long)x * y >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned long long)((unsigned __int128)x * y >> 64);
}
template <typename T> static inline T __ldg(const T *p) {
    return *p;
}
static inline int min(int a, int b) {
    return a < b ? a : b;
}
static inline int max(int a, int b) {
    return a > b ? a : b;
}
static inline long min(long a, long b) {
    return a < b ? a : b;
}
static inline long max(long a, long b) {
    return a > b ? a : b;
}
static inline void __threadfence(void) {
}
static inline void __threadfence_block(void) {
}

#endif
