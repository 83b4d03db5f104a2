/* Constants: converted by the host's threads into the type and order that the products read, checked, and sent to the
 * device.  A weight is stored in f32, f16 or bf16; what is NaN or infinite, or becomes so in the new type, is refused.
 */
#include "backends/cuda/product.h"

#include <cuda_fp8.h>
#include <math.h>

enum { NUMERIC = 9, TASKS = 8, SMALL = 1 << 18 }; /* NUMERIC: mirrors mfrgn_status */

uint64_t mfc_pack_key(int form, mf_dtype from, mf_dtype to) {
    return (uint64_t)0x6375 << 48 | (uint64_t)form << 32 | (uint64_t)from << 8 | (uint64_t)to; /* "cu" */
}

/* ---- values ---- */

static float read_value(const void *p, int64_t i, mf_dtype type) {
    if (type == MF_F16)
        return __half2float(((const __half *)p)[i]);
    if (type == MF_BF16)
        return __bfloat162float(((const __nv_bfloat16 *)p)[i]);
    return ((const float *)p)[i];
}

/* What was written, as f32 */
static float write_value(void *p, int64_t i, mf_dtype type, float x) {
    if (type == MF_F16)
        ((__half *)p)[i] = __float2half_rn(x);
    else if (type == MF_BF16)
        ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn(x);
    else
        ((float *)p)[i] = x;
    return read_value(p, i, type);
}

typedef struct packing_job {
    const mfc_packing *p;
    const void *plain;
    char *to;
    int turn, tasks;
    float scale;
    int bad[TASKS];    /* of each task */
    float most[TASKS]; /* the largest magnitude */
} packing_job;

static void pack_rows(void *arg, int task) {
    packing_job *j = (packing_job *)arg;
    const mfc_packing *p = j->p;
    for (int64_t o = p->outputs * task / j->tasks; o < p->outputs * (task + 1) / j->tasks; o++) {
        const int64_t from = o * p->channels * p->taps, to = o * p->row;
        for (int64_t c = 0; c < p->channels; c++)
            for (int64_t t = 0; t < p->taps; t++) {
                float x = read_value(j->plain, from + c * p->taps + t, p->from);
                j->bad[task] |= !isfinite(write_value(j->to, to + t * p->channels + c, p->to, x));
            }
        for (int64_t i = p->channels * p->taps; i < p->row; i++)
            write_value(j->to, to + i, p->to, 0);
    }
}

static int64_t fp8_place(const packing_job *j, int64_t o, int64_t c) {
    return j->turn ? c * j->p->outputs + o : o * j->p->row + c;
}

static void find_most(void *arg, int task) {
    packing_job *j = (packing_job *)arg;
    const mfc_packing *p = j->p;
    const int64_t count = p->outputs * p->row;
    for (int64_t i = count * task / j->tasks; i < count * (task + 1) / j->tasks; i++)
        j->most[task] = fmaxf(j->most[task], fabsf(read_value(j->plain, i, p->from)));
}

static void pack_fp8_rows(void *arg, int task) {
    packing_job *j = (packing_job *)arg;
    const mfc_packing *p = j->p;
    for (int64_t o = p->outputs * task / j->tasks; o < p->outputs * (task + 1) / j->tasks; o++)
        for (int64_t c = 0; c < p->row; c++)
            j->to[o * p->row + c] = (char)__nv_cvt_float_to_fp8(
                read_value(j->plain, fp8_place(j, o, c), p->from) / j->scale, __NV_SATFINITE, __NV_E4M3);
}

/* ---- jobs ---- */

static packing_job job_of(const mfc_packing *p, const void *plain, void *to) {
    packing_job j;
    memset(&j, 0, sizeof(j));
    j.p = p;
    j.plain = plain;
    j.to = (char *)to;
    j.tasks = p->outputs * p->row < SMALL || p->outputs < TASKS ? 1 : TASKS;
    return j;
}

static void do_job(const mf_stream *s, mf_task task, packing_job *j) {
    const mf_host *host = s->device->host;
    if (j->tasks == 1)
        task(j, 0);
    else
        host->parallel(host->context, j->tasks, task, j);
}

static mf_status send(const mf_stream *s, void *packed, const void *from, size_t bytes) {
    mf_status status =
        mfc_check(s, cudaMemcpyAsync(packed, from, bytes, cudaMemcpyHostToDevice, s->queue), "copy of a weight");
    return status ? status : mfc_check(s, cudaStreamSynchronize(s->queue), "copy of a weight");
}

mf_status mfc_pack_weight(const mf_stream *s, const mfc_packing *p, const void *plain, void *packed) {
    const mf_host *host = s->device->host;
    const size_t bytes = (size_t)(p->outputs * p->row) * mf_dtype_size(p->to);
    void *room = host->alloc(host->context, bytes);
    if (!room)
        return MFC_MEMORY;
    packing_job j = job_of(p, plain, room);
    do_job(s, pack_rows, &j);
    int bad = 0;
    for (int i = 0; i < j.tasks; i++)
        bad |= j.bad[i];
    mf_status status = bad ? host->fail(host->context, NUMERIC,
                                        p->to == MF_F16 ? "a weight holds NaN, infinity or more than f16 does"
                                                        : "a weight holds NaN or infinity")
                           : send(s, packed, room, bytes);
    host->free(host->context, room);
    return status;
}

mf_status mfc_pack_fp8(const mf_stream *s, const mfc_packing *p, int turn, const void *plain, void *packed) {
    const mf_host *host = s->device->host;
    const size_t bytes = 256 + (size_t)(p->outputs * p->row);
    char *room = (char *)host->alloc(host->context, bytes);
    if (!room)
        return MFC_MEMORY;
    packing_job j = job_of(p, plain, room + 256);
    j.turn = turn;
    do_job(s, find_most, &j);
    float most = 0;
    for (int i = 0; i < j.tasks; i++)
        most = fmaxf(most, j.most[i]);
    j.scale = fmaxf(most / 448, 1e-12f); /* 448: E4M3's largest */
    memset(room, 0, 256);
    memcpy(room, &j.scale, sizeof(j.scale));
    do_job(s, pack_fp8_rows, &j);
    mf_status status = send(s, packed, room, bytes);
    host->free(host->context, room);
    return status;
}

/* A bias goes with the weight: where that is no constant, as in training, nothing is packed. */
int mfc_packs_bias(const mf_op *op) {
    const mf_operand *bias = mfc_operand(op, MF_IN_BIAS);
    return bias && bias->constant && op->input[MF_IN_W].constant;
}

mf_status mfc_pack_bias(const mf_stream *s, const mf_op *op, const void *plain, void *packed) {
    const int64_t n = mf_operand_count(&op->input[MF_IN_BIAS]);
    const mfc_packing p = {op->input[MF_IN_BIAS].dtype, op->output.dtype, 1, n, 1, n};
    return mfc_pack_weight(s, &p, plain, packed);
}
