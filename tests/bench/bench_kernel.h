/* What the benchmarks of the common CPU kernels share: a host, the machine's peak, and the measuring of one operation.
 */
#ifndef MFRGN_TESTS_BENCH_KERNEL_H
#define MFRGN_TESTS_BENCH_KERNEL_H

#include "backends/cpu/kernel.h"
#include "base/base.h"

typedef struct bench {
    char name[80];
    mf_op op;
    double work; /* floating point operations, or 0: bytes are counted */
} bench;

extern mf_host bench_host;

/* 1: what bench_now tells is the thread's processor time, for a machine that is busy with other things */
extern int bench_processor;
double bench_now(void);
/* GFLOP/s of multiply-adds of that instruction set */
double bench_peak(const char *isa, int threads);
/* Seconds of the best repetition, and of the median; 0: not supported */
typedef struct bench_time {
    double best, median;
} bench_time;
bench_time bench_run(const mf_cpu *cpu, const bench *b, double seconds);
/* Bytes of the operands and the result */
double bench_bytes(const bench *b);
/* Prints a line. */
void bench_print(const mf_cpu *cpu, const bench *b, double top, bench_time t);

#endif
