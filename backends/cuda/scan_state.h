/* What the files of the scan share.
 *
 *   scan.cu           a scan: blocks of rows, products, lists, the end
 *   scan_rows.cu      where rows come from: kept in device memory, or copied block by block
 *   scan_kernels.cu   rows to f32, and the lists */
#ifndef MFRGN_BACKENDS_CUDA_SCAN_STATE_H
#define MFRGN_BACKENDS_CUDA_SCAN_STATE_H

#include <string.h>

#include "backends/cuda/blas.h"
#include "backends/cuda/launch.h"

enum { MFC_SCAN_THREADS = 256, MFC_SCAN_SLOTS = 2 };

/* Queries at a time; bytes of a piece of a gallery, of a block of rows in f32, of a block's scores, of all lists.  The
 * emulator's are small, so that tests see several of each. */
#ifdef MFC_EMULATE
enum {
    MFC_SCAN_GROUP = 48,
    MFC_SCAN_PIECE = 64 << 10,
    MFC_SCAN_WIDE = 32 << 10,
    MFC_SCAN_SCORES = 64 << 10,
    MFC_SCAN_LISTS = 2 << 20
};
#else
enum {
    MFC_SCAN_GROUP = 1024,
    MFC_SCAN_PIECE = 64 << 20,
    MFC_SCAN_WIDE = 32 << 20,
    MFC_SCAN_SCORES = 64 << 20,
    MFC_SCAN_LISTS = 256 << 20
};
#endif

/* ---- scan_kernels.cu ---- */
/* Lists of the device: `segments` of each query, each of its part of every block; list q segments + g. */
typedef struct mfc_scan_item {
    float score, slack;
    uint32_t row;
} mfc_scan_item;

typedef struct mfc_scan_lists {
    int n, segments, kind;
    int k, room, cap; /* cap: places of a list, room for a whole step of the block beyond what is pruned */
    float *floor;     /* [list] */
    int *found;       /* -1: given up */
    long long *above;
    mfc_scan_item *item;  /* [list][cap] */
    const float *norm;    /* [n], of the queries */
    const float *unscale; /* [n], what scores are multiplied by, or NULL: 1 */
} mfc_scan_lists;

/* A block of rows whose scores are known. */
typedef struct mfc_scan_block {
    int64_t count, step; /* step: from a query's scores to the next one's */
    const float *scores;
    const float *width;   /* of each row: mf_scan_width() */
    const float *scale;   /* or NULL */
    const uint32_t *list; /* numbers of the rows, or NULL: first .. */
    uint32_t first;
} mfc_scan_block;

/* What the host gets, [segment][query], as struct mf_scan_lists has it. */
typedef struct mfc_scan_result {
    float *floor;
    int64_t *found, *above;
    mf_scan_item *item; /* [segment][query][room] */
} mfc_scan_result;

mf_status mfc_scan_start(const mf_stream *s, const mfc_scan_lists *l, const float *floor);
mf_status mfc_scan_select(const mf_stream *s, const mfc_scan_lists *l, const mfc_scan_block *b);
mf_status mfc_scan_finish(const mf_stream *s, const mfc_scan_lists *l, const mfc_scan_result *r);
/* to[i] = rows[list ? list[i] - first : i] in f32; rows: of `dtype`, dense, `size` values each */
mf_status mfc_scan_widen(const mf_stream *s, mf_dtype dtype, int64_t count, int64_t size, const void *rows,
                         const uint32_t *list, uint32_t first, float *to);
/* to[i] = rows[list[i] - first], f16 */
mf_status mfc_scan_gather(const mf_stream *s, int64_t count, int64_t size, const void *rows, const uint32_t *list,
                          uint32_t first, void *to);
/* Each query q as (high + low) unscale: unscale a power of two, so that the largest |high| is in 1/2 .. 1 */
mf_status mfc_scan_split(const mf_stream *s, int64_t n, int64_t size, const float *queries, __half *high, __half *low,
                         float *unscale);

/* ---- scan_rows.cu ---- */
typedef struct mfc_scan_piece {
    void *rows;               /* in device memory, or NULL */
    int64_t filled;           /* how many of them are there */
    float *norm;              /* the host's copy: while it is equal, the rows are taken to be those that were copied */
    unsigned char sample[64]; /* of the first row */
} mfc_scan_piece;

/* Rows that stay in device memory, in pieces; of the gallery that was scanned last. */
typedef struct mfc_scan_gallery {
    const void *key;
    mf_dtype dtype;
    int64_t size, piece_rows, count; /* count: of pieces */
    mfc_scan_piece *piece;
    size_t budget, used;
} mfc_scan_gallery;

/* Of a block: pinned memory, and device memory of the same layout. */
typedef struct mfc_scan_slot {
    char *pinned, *landing;
    cudaEvent_t copied, used; /* pinned may be written again; landing may */
} mfc_scan_slot;

typedef struct mfc_scan_state {
    mfc_scan_gallery gallery;
    mfc_scan_slot slot[MFC_SCAN_SLOTS];
    cudaStream_t copies;
    int64_t block, size; /* rows of a slot, values of a row */
    size_t width_at, scale_at, list_at, slot_bytes;
    int64_t turn;
    char *memory; /* of the products and the lists */
    size_t bytes;
    mfc_gemm gemm;
    mfc_gemm_plan *plan[2]; /* the second adds to what the first has made: the low part of split queries */
    size_t workspace;
} mfc_scan_state;

/* A block on the device, when s->queue comes to it. */
typedef struct mfc_scan_source {
    int64_t begin, end; /* of scan->list, or of the rows */
    const void *rows;   /* of the gallery's type: those of the block, or those that `list` numbers from `first` on */
    const float *width, *scale;
    const uint32_t *list; /* numbers of the rows, or NULL */
    int gathered;         /* 1: `rows` are those of the list already */
    uint32_t first;       /* the number of rows[0], where they are not gathered */
    mfc_scan_slot *slot;  /* slot->used is to be recorded when the block is done with */
} mfc_scan_source;

int64_t mfc_scan_piece_rows(mf_dtype dtype, int64_t size);
/* Makes slots for blocks of `block` rows, and looks which rows of those that are kept still hold. */
mf_status mfc_scan_open_rows(mf_stream *s, mfc_scan_state *state, const mf_scan *scan, int64_t block, float error);
mf_status mfc_scan_next_rows(mf_stream *s, mfc_scan_state *state, const mf_scan *scan, float error, int64_t begin,
                             mfc_scan_source *source);
void mfc_scan_forget(mf_stream *s, mfc_scan_state *state); /* the gallery */
void mfc_scan_close_rows(mf_stream *s, mfc_scan_state *state);

#endif
