/* Instruction set, table of operations, and the split over threads. */
#include "backends/cpu/kernel.h"

/* mfrgn_status of the public header, which a backend does not see. */
enum { MF_CPU_MEMORY = 2, MF_CPU_UNSUPPORTED = 6 };

static const struct mf_cpu_isa *const isas[] = {
#if defined(__x86_64__)
    &mfrgn_cpu_isa__avx512,
    &mfrgn_cpu_isa__avx2,
#endif
    &mfrgn_cpu_isa__portable,
};

static const mf_cpu_ops *const ops[MF_OP_COUNT] = {
    [MF_OP_MATMUL] = &mf_cpu_matmul,
    [MF_OP_CONV2D] = &mf_cpu_conv2d,
    [MF_OP_DWCONV2D] = &mf_cpu_dwconv2d,
    [MF_OP_LAYERNORM] = &mf_cpu_layernorm,
    [MF_OP_GROUPNORM] = &mf_cpu_groupnorm,
    [MF_OP_BATCHNORM] = &mf_cpu_batchnorm,
    [MF_OP_ACT] = &mf_cpu_act,
    [MF_OP_ADD] = &mf_cpu_binary,
    [MF_OP_MUL] = &mf_cpu_binary,
    [MF_OP_PYRAMID_POOL] = &mf_cpu_pyramid_pool,
    [MF_OP_MAXPOOL] = &mf_cpu_maxpool,
    [MF_OP_CONCAT] = &mf_cpu_concat,
    [MF_OP_SLICE] = &mf_cpu_slice,
    [MF_OP_ATTENTION] = &mf_cpu_attention,
    [MF_OP_CHANNEL_MAX] = &mf_cpu_channel_max,
    [MF_OP_GATED_MEAN] = &mf_cpu_gated_mean,
    [MF_OP_L2NORM] = &mf_cpu_l2norm,
    [MF_OP_TRANSPOSE] = &mf_cpu_transpose,
    [MF_OP_COLUMN_SUM] = &mf_cpu_column_sum,
    [MF_OP_ROW_DOT] = &mf_cpu_row_dot,
    [MF_OP_ROW_SCALE] = &mf_cpu_row_scale,
    [MF_OP_ACT_GRAD] = &mf_cpu_act_grad,
    [MF_OP_LAYERNORM_GRAD] = &mf_cpu_layernorm_grad,
    [MF_OP_LAYERNORM_GRAD_AFFINE] = &mf_cpu_layernorm_grad_affine,
    [MF_OP_GROUPNORM_GRAD] = &mf_cpu_groupnorm_grad,
    [MF_OP_GROUPNORM_GRAD_AFFINE] = &mf_cpu_groupnorm_grad_affine,
    [MF_OP_BATCH_STATS] = &mf_cpu_batch_stats,
    [MF_OP_BATCHNORM_GRAD_AFFINE] = &mf_cpu_batchnorm_grad_affine,
    [MF_OP_BATCHNORM_GRAD] = &mf_cpu_batchnorm_grad,
    [MF_OP_CONV2D_GRAD_INPUT] = &mf_cpu_conv2d_grad_input,
    [MF_OP_CONV2D_GRAD_WEIGHT] = &mf_cpu_conv2d_grad_weight,
    [MF_OP_DWCONV2D_GRAD_INPUT] = &mf_cpu_dwconv2d,
    [MF_OP_DWCONV2D_GRAD_WEIGHT] = &mf_cpu_dwconv2d_grad_weight,
    [MF_OP_PYRAMID_POOL_GRAD] = &mf_cpu_pyramid_pool_grad,
    [MF_OP_MAXPOOL_GRAD] = &mf_cpu_maxpool_grad,
    [MF_OP_PAD] = &mf_cpu_pad,
    [MF_OP_ATTENTION_GRAD] = &mf_cpu_attention_grad,
    [MF_OP_CHANNEL_MAX_GRAD] = &mf_cpu_channel_max_grad,
    [MF_OP_GATED_MEAN_GRAD] = &mf_cpu_gated_mean_grad,
    [MF_OP_L2NORM_GRAD] = &mf_cpu_l2norm_grad,
    [MF_OP_DROPOUT] = &mf_cpu_dropout,
    [MF_OP_LERP] = &mf_cpu_lerp,
    [MF_OP_INFONCE] = &mf_cpu_infonce,
    [MF_OP_INFONCE_GRAD] = &mf_cpu_infonce_grad,
};

static void host_parallel(void *user, int tasks, mf_task task, void *arg) {
    const mf_host *host = user;
    host->parallel(host->context, tasks, task, arg);
}

void mf_cpu_init(mf_cpu *cpu, const mf_host *host, int threads,
                 void (*parallel)(void *user, int tasks, mf_task task, void *arg), void *user) {
    cpu->host = host;
    cpu->threads = threads < 1 ? 1 : threads > MF_CPU_MAX_SLOTS ? MF_CPU_MAX_SLOTS : threads;
    cpu->parallel = parallel ? parallel : host_parallel;
    cpu->user = parallel ? user : (void *)(uintptr_t)host;
    cpu->isa = &mfrgn_cpu_isa__portable;
    for (size_t i = 0; i < sizeof(isas) / sizeof(*isas); i++)
        if (isas[i]->available()) {
            cpu->isa = isas[i];
            break;
        }
}

const char *mf_cpu_isa_name(const mf_cpu *cpu) {
    return cpu->isa->name;
}

int mf_cpu_use(mf_cpu *cpu, const char *name) {
    for (size_t i = 0; i < sizeof(isas) / sizeof(*isas); i++)
        if (strcmp(isas[i]->name, name) == 0 && isas[i]->available()) {
            cpu->isa = isas[i];
            return 1;
        }
    return 0;
}

/* Types that every operation asks for: the results and what is not constant in f32 (but for DROPOUT's key). */
static int plain_types(const mf_op *op) {
    if (op->output.dtype != MF_F32)
        return 0;
    for (int i = 0; i < op->input_count; i++)
        if (mf_operand_present(&op->input[i]) && !op->input[i].constant && op->input[i].dtype != MF_F32 &&
            !(op->kind == MF_OP_DROPOUT && i == 1))
            return 0;
    return 1;
}

int mf_cpu_supports(const mf_cpu *cpu, const mf_op *op) {
    if ((unsigned)op->kind >= MF_OP_COUNT || !ops[op->kind] || op->input_count < 1 || op->input_count > MF_MAX_INPUTS)
        return 0;
    if ((unsigned)op->attrs.act >= MF_ACT_COUNT)
        return 0;
    mf_op whole = *op;
    for (int i = op->input_count; i < MF_MAX_INPUTS; i++) /* optional inputs that the builder left out at the end */
        whole.input[i].ndim = -1;
    return plain_types(op) && mf_operand_present(&op->input[0]) && ops[op->kind]->supports(cpu, &whole);
}

mf_status mf_cpu_prepare(const mf_cpu *cpu, const mf_op *op, mf_cpu_kernel **kernel, mf_kernel_info *info) {
    if (!mf_cpu_supports(cpu, op))
        return cpu->host->fail(cpu->host->context, MF_CPU_UNSUPPORTED, "the CPU kernels have no operation %d like this",
                               (int)op->kind);
    mf_cpu_kernel *k = cpu->host->alloc(cpu->host->context, sizeof(*k));
    if (!k)
        return MF_CPU_MEMORY;
    memset(k, 0, sizeof(*k));
    k->cpu = cpu;
    k->op = *op;
    for (int i = op->input_count; i < MF_MAX_INPUTS; i++)
        k->op.input[i].ndim = -1;
    k->ops = ops[op->kind];
    k->slots = 1;
    mf_status status = k->ops->prepare(k);
    if (status) {
        cpu->host->free(cpu->host->context, k);
        return status;
    }
    k->shared_bytes = mf_cpu_align(k->shared_bytes);
    k->slot_bytes = mf_cpu_align(k->slot_bytes);
    k->info.scratch_bytes = k->shared_bytes + (size_t)k->slots * k->slot_bytes;
    *kernel = k;
    *info = k->info;
    return 0;
}

mf_status mf_cpu_pack(mf_cpu_kernel *k, int input, const void *plain, void *packed) {
    return k->ops->pack(k, input, plain, packed);
}

mf_status mf_cpu_run(mf_cpu_kernel *k, const void *const *inputs, void *output, void *scratch) {
    const void *in[MF_MAX_INPUTS] = {0};
    for (int i = 0; i < k->op.input_count; i++)
        in[i] = mf_operand_present(&k->op.input[i]) ? inputs[i] : NULL;
    return k->ops->run(k, in, output, scratch);
}

void mf_cpu_release(mf_cpu_kernel *k) {
    if (k)
        k->cpu->host->free(k->cpu->host->context, k);
}

mf_status mf_cpu_not_finite(const mf_cpu *cpu) {
    enum { NUMERIC = 9 }; /* mirrors mfrgn_status */
    return cpu->host->fail(cpu->host->context, NUMERIC, "a weight holds NaN or infinity");
}

/* ---- threads ---- */
int mf_cpu_slots(const mf_cpu *cpu, double elements) {
    return elements < MF_CPU_SMALL ? 1 : cpu->threads;
}

void mf_cpu_plan_rows(mf_cpu_kernel *k, int64_t rows, int64_t width, double cost) {
    double elements = (double)rows * (double)width * cost;
    k->slots = mf_cpu_slots(k->cpu, elements);
    int64_t chunks = k->slots == 1 ? 1 : mf_max64(k->slots, mf_min64(64 * k->slots, (int64_t)(elements / 16384)));
    k->chunk[0] = mf_max64(1, mf_div_up(rows, chunks));
}

typedef struct split {
    mf_chunk_fn fn;
    void *arg;
    int slots;
    int64_t chunks;
    struct {
        int64_t next; /* atomic */
        char apart[56];
    } part[MF_CPU_MAX_SLOTS];
} split;

static void run_slot(void *arg, int slot) {
    split *s = arg;
    for (int i = 0; i < s->slots; i++) {
        int part = (slot + i) % s->slots;
        int64_t end = s->chunks * (part + 1) / s->slots, chunk;
        while ((chunk = __atomic_fetch_add(&s->part[part].next, 1, __ATOMIC_RELAXED)) < end)
            s->fn(s->arg, chunk, slot);
    }
}

void mf_cpu_for(const mf_cpu *cpu, int slots, int64_t chunks, mf_chunk_fn fn, void *arg) {
    if (slots > chunks)
        slots = (int)chunks;
    if (slots <= 1) {
        for (int64_t i = 0; i < chunks; i++)
            fn(arg, i, 0);
        return;
    }
    split s;
    s.fn = fn;
    s.arg = arg;
    s.slots = slots;
    s.chunks = chunks;
    for (int i = 0; i < slots; i++)
        s.part[i].next = chunks * i / slots;
    cpu->parallel(cpu->user, slots, run_slot, &s);
}
