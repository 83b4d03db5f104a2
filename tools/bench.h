/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MFRGN_TOOLS_BENCH_H
#define MFRGN_TOOLS_BENCH_H

/* To be called first of all in main(). */
void bench_note_start(void);

#endif
