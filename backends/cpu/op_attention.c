/* ATTENTION: keys first, a chunk being one head of one image; then queries, a chunk being MF_ATTENTION_ROWS queries of
 * one head. */
#include "backends/cpu/kernel.h"

static int supports(const mf_cpu *cpu, const mf_op *op) {
    (void)cpu;
    return op->input[0].ndim == 3 && op->input[1].ndim == 3 && op->input[2].ndim == 3 && op->attrs.heads > 0 &&
           op->input[0].dim[2] % op->attrs.heads == 0 && op->input[1].dim[1] > 0;
}

typedef struct job {
    const mf_cpu_kernel *k;
    mf_attention_head head;
    const float *q, *key, *value;
    float *out, *kept;
    char *scratch;
    int64_t heads, keep, second, blocks; /* second: where the other half of what a head keeps begins */
} job;

static job job_of(const mf_cpu_kernel *k) {
    const int64_t *q = k->op.input[0].dim, vl = k->cpu->isa->vl;
    job j = {.k = k, .heads = k->op.attrs.heads};
    j.head = (mf_attention_head){q[1], k->op.input[1].dim[1], q[2] / j.heads, q[2], (float)k->op.attrs.eps};
    int64_t dp = mf_round_up(j.head.d, vl);
    if (k->op.attrs.attention == MF_ATTENTION_LINEAR) {
        j.second = mf_round_up(j.head.d * dp, 16);
        j.keep = mf_round_up(j.second + dp, 16);
    } else {
        j.second = mf_round_up(j.head.d * mf_round_up(j.head.s, vl), 16);
        j.keep = mf_round_up(j.second + j.head.s * dp, 16);
    }
    j.blocks = mf_div_up(j.head.t, MF_ATTENTION_ROWS);
    return j;
}

static mf_status prepare(mf_cpu_kernel *k) {
    job j = job_of(k);
    int64_t vl = k->cpu->isa->vl, dp = mf_round_up(j.head.d, vl);
    k->slots = mf_cpu_slots(k->cpu, (double)k->op.input[0].dim[0] * (double)j.head.s * (double)j.head.c);
    k->shared_bytes = (size_t)(k->op.input[0].dim[0] * j.heads * j.keep) * sizeof(float);
    int64_t slot = k->op.attrs.attention == MF_ATTENTION_LINEAR
                       ? (2 * MF_ATTENTION_ROWS + j.head.d) * dp
                       : MF_ATTENTION_ROWS * (mf_round_up(j.head.s, vl) + dp);
    k->slot_bytes = (size_t)slot * sizeof(float);
    return 0;
}

static void run_keys(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    int64_t at = chunk / j->heads * j->head.s * j->head.c + chunk % j->heads * j->head.d;
    float *kept = j->kept + chunk * j->keep;
    if (j->k->op.attrs.attention == MF_ATTENTION_LINEAR)
        isa->linear_keys(&j->head, j->key + at, j->value + at, kept, kept + j->second,
                         (float *)(void *)(j->scratch + (size_t)slot * j->k->slot_bytes));
    else
        isa->softmax_keys(&j->head, j->key + at, j->value + at, kept, kept + j->second);
}

static void run_queries(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const struct mf_cpu_isa *isa = j->k->cpu->isa;
    int64_t head = chunk / j->blocks, q0 = chunk % j->blocks * MF_ATTENTION_ROWS;
    int64_t q1 = mf_min64(q0 + MF_ATTENTION_ROWS, j->head.t);
    int64_t at = head / j->heads * j->head.t * j->head.c + head % j->heads * j->head.d;
    const float *kept = j->kept + head * j->keep;
    float *scratch = (float *)(void *)(j->scratch + (size_t)slot * j->k->slot_bytes);
    if (j->k->op.attrs.attention == MF_ATTENTION_LINEAR)
        isa->linear_queries(&j->head, j->q + at, kept, kept + j->second, j->out + at, q0, q1, scratch);
    else
        isa->softmax_queries(&j->head, j->q + at, kept, kept + j->second, j->out + at, q0, q1, scratch);
}

static mf_status run(const mf_cpu_kernel *k, const void *const *in, void *out, void *scratch) {
    job j = job_of(k);
    j.q = in[0];
    j.key = in[1];
    j.value = in[2];
    j.out = out;
    j.kept = scratch;
    j.scratch = mf_cpu_slot_scratch(k, scratch, 0);
    int64_t heads = k->op.input[0].dim[0] * j.heads;
    mf_cpu_for(k->cpu, k->slots, heads, run_keys, &j);
    mf_cpu_for(k->cpu, k->slots, heads * j.blocks, run_queries, &j);
    return 0;
}

const mf_cpu_ops mf_cpu_attention = {supports, prepare, NULL, run};
