/* ATTENTION_GRAD: a chunk is one head of one image (k_attention_grad.c). */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim == 3 && op->input[1].ndim == 3 && op->input[2].ndim == 3 && op->input[3].ndim == 3 &&
           op->attrs.heads > 0 && op->input[0].dim[2] % op->attrs.heads == 0 && op->input[1].dim[1] > 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    mf_attention_head head;
    const float *q, *key, *value, *dout;
    float *dq, *dkey, *dvalue;
    char *scratch;
    int64_t heads;
} job;

static job job_of(const mf_cpu_kernel *k) {
    const int64_t *q = k->op.input[0].dim;
    job j = {.k = k, .heads = k->op.attrs.heads};
    j.head = (mf_attention_head){q[1], k->op.input[1].dim[1], q[2] / j.heads, q[2], (float)k->op.attrs.eps};
    return j;
}

static mf_status prepare(mf_cpu_kernel *k) {
    job j = job_of(k);
    int64_t vl = k->cpu->isa->vl, d = j.head.d, s = j.head.s, dp = mf_round_up(d, vl), sp = mf_round_up(s, vl);
    int64_t floats = k->op.attrs.attention == MF_ATTENTION_LINEAR
                         ? 3 * MF_ATTENTION_ROWS * dp + 5 * d * dp + 2 * dp
                         : 2 * d * sp + 4 * s * dp + MF_ATTENTION_ROWS * (2 * sp + 3 * dp);
    k->slots = mf_cpu_slots(k->cpu, (double)k->op.input[0].dim[0] * (double)s * (double)j.head.c);
    k->slot_bytes = (size_t)floats * sizeof(float);
    return 0;
}

static void run_head(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    int64_t image = chunk / j->heads, c0 = chunk % j->heads * j->head.d;
    int64_t q = image * j->head.t * j->head.c + c0, k = image * j->head.s * j->head.c + c0;
    float *scratch = (float *)(void *)(j->scratch + (size_t)slot * j->k->slot_bytes);
    (j->k->op.attrs.attention == MF_ATTENTION_LINEAR ? isa->linear_grad : isa->softmax_grad)(
        &j->head, j->q + q, j->key + k, j->value + k, j->dout + q, j->dq + q, j->dkey + k, j->dvalue + k, scratch);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = job_of(k);
    j.q = in[0];
    j.key = in[1];
    j.value = in[2];
    j.dout = in[3];
    j.dq = out;
    j.dkey = j.dq + mf_operand_count(&k->op.input[0]);
    j.dvalue = j.dkey + mf_operand_count(&k->op.input[1]);
    j.scratch = mf_cpu_slot_scratch(k, scratch, 0);
    mf_cpu_for(k->cpu, k->slots, k->op.input[0].dim[0] * j.heads, run_head, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_attention_grad = {supports, prepare, NULL, run};
