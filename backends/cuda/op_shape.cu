/* CONCAT, SLICE, PAD along attrs.axis: an operand is `outer` runs of the axis and all after it.  The output's run is
 * made of segments, each from one input's run or of zeros; a thread finds the segment of what it writes.  One launch
 * whatever the number of inputs, and one kernel for the three. TRANSPOSE: x [.., A, B] -> [.., B, A], by tiles in
 * shared memory, so that reads and writes both are whole lines.
 *
 * All move bits, whatever their type: in units of 16 bytes where every run and pointer is a multiple of 16, else in
 * units of an element. */
#include "backends/cuda/forward.h"

/* ---- copies of runs ---- */

enum { SEGMENTS = MF_MAX_INPUTS + 1 };

struct segments {
    int64_t total, run;         /* units of the output, of one of its runs */
    int64_t begin[SEGMENTS];    /* where it begins in the output's run; past its end: not there */
    int64_t step[SEGMENTS];     /* of the input from a run to the next */
    const void *from[SEGMENTS]; /* its first unit in run 0; NULL: zeros */
};

template <typename U> static __device__ __forceinline__ U zero_unit();
template <> __device__ __forceinline__ unsigned short zero_unit<unsigned short>() {
    return 0;
}
template <> __device__ __forceinline__ unsigned zero_unit<unsigned>() {
    return 0;
}
template <> __device__ __forceinline__ uint4 zero_unit<uint4>() {
    return make_uint4(0, 0, 0, 0);
}

template <typename U> static __global__ void mfc_segments(segments s, U *__restrict__ out) {
    for (int64_t i = mfc_first(); i < s.total; i += mfc_step()) {
        int64_t at;
        const int64_t r = mfc_divide(i, s.run, &at);
        const U *from = (const U *)s.from[0];
        int64_t begin = 0, step = s.step[0];
#pragma unroll
        for (int k = 1; k < SEGMENTS; k++)
            if (at >= s.begin[k]) {
                from = (const U *)s.from[k];
                begin = s.begin[k];
                step = s.step[k];
            }
        out[i] = from ? from[r * step + at - begin] : zero_unit<U>();
    }
}

/* Elements of a run of `o`. */
static int64_t run_of(const mf_operand *o, int axis) {
    int64_t n = 1;
    for (int i = axis; i < o->ndim; i++)
        n *= o->dim[i];
    return n;
}

/* In elements, with `count` segments; then in bytes by `size`. */
static int widest_unit(const segments *s, int count, int size, const void *out) {
    const int64_t unit = 16 / size;
    int wide = mfc_aligned(out) && s->run % unit == 0;
    for (int k = 0; k < count; k++)
        wide = wide && s->begin[k] % unit == 0 && s->step[k] % unit == 0 && mfc_aligned(s->from[k]);
    return wide ? 16 : size;
}

template <typename U> static mf_status copy_by(mf_kernel *k, segments s, int count, int elements, void *out) {
    s.total /= elements;
    s.run /= elements;
    for (int i = 0; i < SEGMENTS; i++) {
        s.begin[i] = i < count ? s.begin[i] / elements : s.run;
        s.step[i] = i < count ? s.step[i] / elements : 0;
        s.from[i] = i < count ? s.from[i] : NULL;
    }
    return mfc_launch(k->s, mfc_segments<U>, mfc_blocks(k->s, s.total), MFC_THREADS, 0, s, (U *)out);
}

static mf_status copy(mf_kernel *k, segments *s, int count, void *out) {
    const int size = (int)mf_dtype_size(k->op.output.dtype);
    s->total = mf_operand_count(&k->op.output);
    s->run = run_of(&k->op.output, k->op.attrs.axis);
    if (widest_unit(s, count, size, out) == 16)
        return copy_by<uint4>(k, *s, count, 16 / size, out);
    return size == 4 ? copy_by<unsigned>(k, *s, count, 1, out) : copy_by<unsigned short>(k, *s, count, 1, out);
}

static mf_status run_concat(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    segments s;
    int64_t begin = 0;
    (void)scratch;
    for (int i = 0; i < k->op.input_count; i++) {
        s.begin[i] = begin;
        s.step[i] = run_of(&k->op.input[i], k->op.attrs.axis);
        s.from[i] = in[i];
        begin += s.step[i];
    }
    return copy(k, &s, k->op.input_count, out);
}

static mf_status run_slice(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const mf_attrs *a = &k->op.attrs;
    const mf_operand *x = &k->op.input[0];
    segments s;
    (void)scratch;
    s.begin[0] = 0;
    s.step[0] = run_of(x, a->axis);
    s.from[0] = (const char *)in[0] + s.step[0] / x->dim[a->axis] * a->begin * (int64_t)mf_dtype_size(x->dtype);
    return copy(k, &s, 1, out);
}

static mf_status run_pad(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    const mf_attrs *a = &k->op.attrs;
    const int64_t run = run_of(&k->op.output, a->axis);
    segments s;
    (void)scratch;
    s.step[0] = s.step[2] = 0;
    s.from[0] = s.from[2] = NULL;
    s.step[1] = run_of(&k->op.input[0], a->axis);
    s.from[1] = in[0];
    s.begin[0] = 0;
    s.begin[1] = run / k->op.output.dim[a->axis] * a->begin;
    s.begin[2] = s.begin[1] + s.step[1];
    return copy(k, &s, 3, out);
}

static int supports_copy(const mf_stream *s, const mf_op *op) {
    return op->attrs.axis >= 0 && op->attrs.axis < op->output.ndim && mfc_uniform(s, op);
}

const mfc_ops mfc_op_concat = {supports_copy, NULL, NULL, run_concat, NULL};
const mfc_ops mfc_op_slice = {supports_copy, NULL, NULL, run_slice, NULL};
const mfc_ops mfc_op_pad = {supports_copy, NULL, NULL, run_pad, NULL};

/* ---- TRANSPOSE ---- */

enum { SIDE = 64, ROWS = MFC_THREADS / SIDE };

/* A block a tile of SIDE x SIDE: rows of 128 or 256 bytes both ways; a column of padding keeps banks apart. */
template <typename U>
static __global__ void mfc_transpose(int64_t rows, int64_t columns, int64_t tiles_down, int64_t tiles_across,
                                     const U *__restrict__ x, U *__restrict__ out) {
    __shared__ U tile[SIDE][SIDE + (sizeof(U) == 2 ? 2 : 1)];
    int64_t rest, across;
    const int64_t matrix = mfc_divide(blockIdx.x, tiles_down * tiles_across, &rest);
    const int64_t down = mfc_divide(rest, tiles_across, &across);
    const int64_t row0 = down * SIDE, column0 = across * SIDE;
    const int lane = (int)threadIdx.x % SIDE, first = (int)threadIdx.x / SIDE;
    x += matrix * rows * columns;
    out += matrix * rows * columns;
    for (int i = first; i < SIDE; i += ROWS)
        if (row0 + i < rows && column0 + lane < columns)
            tile[i][lane] = x[(row0 + i) * columns + column0 + lane];
    __syncthreads();
    for (int i = first; i < SIDE; i += ROWS)
        if (column0 + i < columns && row0 + lane < rows)
            out[(column0 + i) * rows + row0 + lane] = tile[lane][i];
}

template <typename U> static mf_status transpose_by(mf_kernel *k, const void *x, void *out) {
    const mf_operand *o = &k->op.input[0];
    const int64_t rows = o->dim[o->ndim - 2], columns = o->dim[o->ndim - 1];
    const int64_t down = mfc_div_up(rows, SIDE), across = mfc_div_up(columns, SIDE);
    const int64_t matrices = mf_operand_count(o) / (rows * columns);
    return mfc_launch(k->s, mfc_transpose<U>, mfc_grid(matrices * down * across), MFC_THREADS, 0, rows, columns, down,
                      across, (const U *)x, (U *)out);
}

static mf_status run_transpose(mf_kernel *k, const void *const *in, void *out, void *scratch) {
    (void)scratch;
    if (mf_dtype_size(k->op.output.dtype) == 4)
        return transpose_by<unsigned>(k, in[0], out);
    return transpose_by<unsigned short>(k, in[0], out);
}

static int supports_transpose(const mf_stream *s, const mf_op *op) {
    return op->input[0].ndim >= 2 && mfc_uniform(s, op);
}

const mfc_ops mfc_op_transpose = {supports_transpose, NULL, NULL, run_transpose, NULL};
