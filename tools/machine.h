/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine can do at most, measured: f32 multiply-adds and reading of memory, on a number of threads. */
#ifndef MFRGN_TOOLS_MACHINE_H
#define MFRGN_TOOLS_MACHINE_H

#include <stddef.h>

/* Floating-point operations a second, two for each multiply-add; the best of a few spans of 50 ms in which all
 * threads run.  *how tells the instructions used.  0 if threads cannot be had. */
double machine_fma_peak(int threads, const char **how);
/* Bytes a second, reading a buffer well above the last-level cache.  0 if it cannot be measured. */
double machine_read_bandwidth(int threads);
/* The most memory that this process has had resident, in bytes; 0 if unknown. */
size_t machine_peak_rss(void);

#endif
