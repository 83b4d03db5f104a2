/* What the files of the reference backend share, whatever the type of the numbers. */
#ifndef MFRGN_BACKENDS_REF_H
#define MFRGN_BACKENDS_REF_H

#include "backends/backend.h"

struct mf_device {
    const mf_host *host;
};

struct mf_stream {
    const mf_host *host;
    int threads;
    mf_dtype compute;
};

/* How one operation is done in one type. */
typedef struct ref_entry {
    void (*run)(const mf_kernel *kernel, const void *const *inputs, void *output, void *scratch);
    size_t (*scratch)(const mf_kernel *kernel); /* bytes; NULL: none */
    size_t (*pack_bytes)(const mf_kernel *kernel,
                         int input); /* of a packed weight; NULL: weights are read as they are */
    void (*pack)(const mf_kernel *kernel, int input, const void *plain, void *packed);
} ref_entry;

struct mf_kernel {
    const mf_host *host;
    int threads;
    int packed; /* bit i: input i comes packed; else `run` packs it into its scratch, where the operation packs at all
                 */
    const ref_entry *entry;
    mf_op op;
};

extern const ref_entry ref_table_f32[MF_OP_COUNT], ref_table_f64[MF_OP_COUNT]; /* table.c, indexed by mf_op_kind */

/* update.c; the kernel has no operation */
void ref_update_f32(const mf_kernel *kernel, const mf_update *update);
void ref_update_f64(const mf_kernel *kernel, const mf_update *update);
double ref_sum_squares_f32(const mf_kernel *kernel, const mf_update *update);
double ref_sum_squares_f64(const mf_kernel *kernel, const mf_update *update);

/* Why the shapes of `op` do not fit each other, or NULL if they do. */
const char *ref_check(const mf_op *op);

typedef void (*ref_body)(void *arg, int task, int64_t begin, int64_t end);

/* Runs body over 0 .. items - 1 in at most kernel->threads contiguous parts, `task` counting them.  cost: about the
 * nanoseconds of an item, so that short work stays on one thread. */
void ref_parallel(const mf_kernel *kernel, int64_t items, double cost, ref_body body, void *arg);

/* The operand of a slot, NULL where it is absent. */
static inline const mf_operand *ref_operand(const mf_op *op, int slot) {
    return slot < op->input_count && op->input[slot].ndim >= 0 ? &op->input[slot] : NULL;
}

static inline const void *ref_input(const mf_kernel *kernel, const void *const *inputs, int slot) {
    return ref_operand(&kernel->op, slot) ? inputs[slot] : NULL;
}

static inline int64_t ref_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline size_t ref_round_up(size_t bytes) {
    return (bytes + MF_ALIGN - 1) / MF_ALIGN * MF_ALIGN;
}

#endif
