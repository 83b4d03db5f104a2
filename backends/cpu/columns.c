/* Sums over rows: fixed blocks of rows by pieces of columns, their results added up in double, block by block. */
#include "backends/cpu/kernel.h"

enum { BLOCK = 128, PIECE = 256 };

mf_columns mf_columns_plan(const mf_cpu *cpu, int64_t rows, int64_t c, int outputs, int whole) {
    mf_columns p = {.rows = rows, .c = c, .block = BLOCK, .piece = PIECE, .outputs = outputs};
    (void)cpu;
    if (whole) { /* as many values in a block, whatever the columns */
        p.piece = mf_max64(c, 1);
        p.block = mf_max64(16, mf_min64(BLOCK, mf_round_up(BLOCK * 128 / p.piece, 8)));
    }
    p.blocks = mf_div_up(rows, p.block);
    p.pieces = mf_div_up(c, p.piece);
    return p;
}

size_t mf_columns_scratch(const mf_columns *p) {
    return (size_t)(p->blocks * p->outputs * p->c) * sizeof(float);
}

typedef struct job {
    const mf_columns *p;
    mf_columns_fn fn;
    const void *arg;
    float *part, *out;
    double scale;
} job;

static void run_chunk(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    const mf_columns *p = j->p;
    int64_t block = chunk / p->pieces, row = block * p->block, c = chunk % p->pieces * p->piece;
    (void)slot;
    j->fn(j->arg, row, mf_min64(p->block, p->rows - row), c, mf_min64(p->piece, p->c - c),
          j->part + block * p->outputs * p->c);
}

enum { SUMS = 64 }; /* columns that are added up at a time */

static void add_up(void *arg, int64_t chunk, int slot) {
    const job *j = arg;
    int64_t width = j->p->outputs * j->p->c, from = chunk * SUMS, n = mf_min64(SUMS, width - from);
    double sum[SUMS] = {0};
    (void)slot;
    for (int64_t b = 0; b < j->p->blocks; b++)
        for (int64_t i = 0; i < n; i++)
            sum[i] += (double)j->part[b * width + from + i];
    for (int64_t i = 0; i < n; i++)
        j->out[from + i] = (float)(sum[i] * j->scale);
}

void mf_columns_run(const mf_cpu *cpu, int slots, const mf_columns *p, mf_columns_fn fn, const void *arg, float *out,
                    double scale, void *scratch) {
    job j = {p, fn, arg, scratch, out, scale};
    int64_t width = p->outputs * p->c;
    mf_cpu_for(cpu, slots, p->blocks * p->pieces, run_chunk, &j);
    mf_cpu_for(cpu, p->blocks * width < MF_CPU_SMALL * 4 ? 1 : slots, mf_div_up(width, SUMS), add_up, &j);
}
