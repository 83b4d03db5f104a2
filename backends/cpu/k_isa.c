/* The table of one instruction set. */
#include "backends/cpu/vec.h"

#if VL == 16 || defined(__aarch64__)
#define NV 4
#else
#define NV 2
#endif

static int available(void) {
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
#elif defined(__AVX2__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}

#if defined(__ARM_NEON)
#define NAME "neon"
#else
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define NAME TEXT(MF_ISA)
#endif

const struct mf_cpu_isa MF_CAT(mfrgn_cpu_isa, MF_ISA) = {
    .name = NAME,
    .vl = VL,
    .mr = 6,
    .nr = NV * VL,
    .available = available,
#define ENTRY(name) .name = MF_FN(name),
    MF_KERNELS(ENTRY)
};
