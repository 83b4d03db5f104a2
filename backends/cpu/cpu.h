/* The common CPU kernels: every operation of the graph, once, for the backends that run on a CPU.
 *
 * A backend embeds an mf_cpu in its stream and gives the operations that it has no better kernel for to these
 * functions, which mirror those of backends/backend.h.  The kernels are compiled once an instruction set (portable,
 * AVX2, AVX-512; NEON is the portable build on 64-bit Arm) and chosen at run time. */
#ifndef MFRGN_BACKENDS_CPU_H
#define MFRGN_BACKENDS_CPU_H

#include "backends/backend.h"

struct mf_cpu_isa; /* one instruction set's table of kernels */

typedef struct mf_cpu {
    const mf_host *host;
    int threads;
    /* runs task(arg, 0 .. tasks - 1): the host's pool, or OpenMP */
    void (*parallel)(void *user, int tasks, mf_task task, void *arg);
    void *user;
    const struct mf_cpu_isa *isa;
} mf_cpu;

typedef struct mf_cpu_kernel mf_cpu_kernel;

/* Chooses the instruction set. parallel NULL: the host's. */
void mf_cpu_init(mf_cpu *cpu, const mf_host *host, int threads,
                 void (*parallel)(void *user, int tasks, mf_task task, void *arg), void *user);
/* For tests: another instruction set, by name. 1: the machine has it */
int mf_cpu_use(mf_cpu *cpu, const char *isa);
const char *mf_cpu_isa_name(const mf_cpu *cpu); /* "avx512", "avx2", "neon", "portable" */

int mf_cpu_supports(const mf_cpu *cpu, const mf_op *op);
/* `cpu` must outlive the kernel. */
mf_status mf_cpu_prepare(const mf_cpu *cpu, const mf_op *op, mf_cpu_kernel **kernel, mf_kernel_info *info);
mf_status mf_cpu_pack(mf_cpu_kernel *kernel, int input, const void *plain, void *packed);
mf_status mf_cpu_run(mf_cpu_kernel *kernel, const void *const *inputs, void *output, void *scratch);
void mf_cpu_release(mf_cpu_kernel *kernel);

mf_status mf_cpu_update(const mf_cpu *cpu, const mf_update *update);
mf_status mf_cpu_sum_squares(const mf_cpu *cpu, const mf_update *update, double *sum);

float mf_cpu_scan_error(const mf_cpu *cpu, mf_dtype dtype, int64_t size);
size_t mf_cpu_scan_scratch(const mf_cpu *cpu, const mf_scan *scan);
mf_status mf_cpu_scan(const mf_cpu *cpu, const mf_scan *scan, void *scratch);

#endif
