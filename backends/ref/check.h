/* What the checks of shapes share. */
#ifndef MFRGN_BACKENDS_REF_CHECK_H
#define MFRGN_BACKENDS_REF_CHECK_H

#include "backends/ref/ref.h"

static inline int ref_is_vector(const mf_op *op, int slot, int64_t count) {
    const mf_operand *o = ref_operand(op, slot);
    return o && mf_operand_count(o) == count;
}

static inline int ref_is_vector_or_absent(const mf_op *op, int slot, int64_t count) {
    return !ref_operand(op, slot) || ref_is_vector(op, slot, count);
}

static inline int ref_same_shape(const mf_operand *a, const mf_operand *b) {
    if (a->ndim != b->ndim)
        return 0;
    for (int i = 0; i < a->ndim; i++)
        if (a->dim[i] != b->dim[i])
            return 0;
    return 1;
}

static inline int ref_is_map(const mf_operand *o) {
    return o->ndim == 4;
}

/* check_grad.c: the operations of training; NULL at the others. */
typedef const char *(*ref_checker)(const mf_op *op);
extern const ref_checker ref_check_training[MF_OP_COUNT];

#endif
