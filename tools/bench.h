/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MFRGN_TOOLS_BENCH_H
#define MFRGN_TOOLS_BENCH_H

#include "common.h"

/* To be called first of all in main(). */
void bench_note_start(void);

/* bench_train.c: the exit code. */
int bench_train(mfrgn_context *context, mfrgn_model *model, const tool_options *options, long repeat, int recompute);

#endif
