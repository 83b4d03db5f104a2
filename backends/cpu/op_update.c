/* The optimiser over all tensors: they are taken as one row of values, cut into pieces of a fixed size; a piece may
 * hold the end of one tensor and the beginning of others. */
#include "backends/cpu/kernel.h"

enum { PIECE = 32768, SUMS = 512 };

typedef struct job {
    const mf_cpu *cpu;
    const mf_update *u;
    int64_t total, piece;
    double sum[SUMS];
} job;

static job job_of(const mf_cpu *cpu, const mf_update *u) {
    job j = {.cpu = cpu, .u = u};
    for (size_t i = 0; i < u->count; i++)
        j.total += u->item[i].count;
    return j;
}

/* Values chunk piece .. of the row. */
static void run_piece(void *arg, int64_t chunk, int sums) {
    job *j = arg;
    int64_t at = chunk * j->piece, end = mf_min64(at + j->piece, j->total), first = 0;
    double sum = 0;
    for (size_t i = 0; i < j->u->count && first < end; i++) {
        const mf_update_item *item = &j->u->item[i];
        int64_t begin = mf_max64(at - first, 0), n = mf_min64(end - first, item->count) - begin;
        first += item->count;
        if (n <= 0)
            continue;
        const float *g = (const float *)item->gradient + begin;
        if (sums)
            sum += j->cpu->isa->dot(g, g, n);
        else
            j->cpu->isa->update(j->u, item, begin, n);
    }
    if (sums)
        j->sum[chunk] = sum;
}

static void update_piece(void *arg, int64_t chunk, int slot) {
    (void)slot;
    run_piece(arg, chunk, 0);
}

static void square_piece(void *arg, int64_t chunk, int slot) {
    (void)slot;
    run_piece(arg, chunk, 1);
}

mf_status mf_cpu_update(const mf_cpu *cpu, const mf_update *u) {
    job j = job_of(cpu, u);
    j.piece = PIECE;
    mf_cpu_for(cpu, mf_cpu_slots(cpu, (double)j.total), mf_div_up(j.total, j.piece), update_piece, &j);
    return 0;
}

mf_status mf_cpu_sum_squares(const mf_cpu *cpu, const mf_update *u, double *sum) {
    job j = job_of(cpu, u);
    j.piece = mf_max64(PIECE, mf_div_up(j.total, SUMS));
    int64_t pieces = mf_div_up(j.total, j.piece);
    mf_cpu_for(cpu, mf_cpu_slots(cpu, (double)j.total), pieces, square_piece, &j);
    double all = 0;
    for (int64_t i = 0; i < pieces; i++)
        all += j.sum[i];
    *sum = all;
    return 0;
}
