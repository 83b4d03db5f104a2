/* What training asks of a backend beside operations' values: AdamW, the sum of squares, the masks of dropout. */
#include "area.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"

static int expect(const ops_backend *b, int good, const char *what) {
    if (!good)
        printf("FAIL %s: %s\n", b->loaded->name, what);
    return !good;
}

/* ---- the optimiser ---- */

enum { TENSORS = 5, ARRAYS = 5, GUARD = 16, STEPS = 3 };

typedef enum array { VALUE, M, V, AVERAGE, GRADIENT } array;

/* Lengths that no vector divides, one beyond any block. */
static const int64_t lengths[TENSORS] = {1, 7, 1000, 64, 70001};

/* What a backend with memory of its own works on, guards and all. */
typedef struct mirror {
    area_owner owner;
    char *memory[TENSORS][ARRAYS];
    mf_update_item item[TENSORS];
    mf_update update;
} mirror;

/* What the backend updates, and beside it what a few lines of scalar code make of the same. */
typedef struct model {
    mf_dtype type;
    char *memory[TENSORS][ARRAYS]; /* GUARD values before and after */
    double *wanted[TENSORS][ARRAYS];
    mf_update_item item[TENSORS];
    mf_update update;
} model;

static void put(mf_dtype type, void *to, int64_t i, double value) {
    if (type == MF_F64)
        ((double *)to)[i] = value;
    else
        ((float *)to)[i] = (float)value;
}

static double take(mf_dtype type, const void *from, int64_t i) {
    return type == MF_F64 ? ((const double *)from)[i] : (double)((const float *)from)[i];
}

static void *get(size_t bytes) {
    void *p;
    if (posix_memalign(&p, MF_ALIGN, bytes))
        exit(2);
    return p;
}

static void *data(const model *m, int t, int a) {
    return m->memory[t][a] + GUARD * mf_dtype_size(m->type);
}

static uint64_t random_bits(int t, int a, int64_t i) {
    return mf_mix64((uint64_t)(i * TENSORS * ARRAYS + t * ARRAYS + a + 1) * 0x9e3779b97f4a7c15u);
}

/* Values of tensor 1 start at zero, so that they consist of updates alone; gradients reach beyond the clipping. */
static double first_value(int t, int a, int64_t i) {
    double z = (double)(random_bits(t, a, i) >> 11) * 0x1p-52 - 1;
    return a == M || a == V || (t == 1 && a != GRADIENT) ? 0 : a == GRADIENT ? 3 * z * fabs(z) : z;
}

static void make_model(model *m, mf_dtype type) {
    *m = (model){.type = type};
    for (int t = 0; t < TENSORS; t++) {
        const int64_t count = lengths[t];
        for (int a = 0; a < ARRAYS; a++) {
            m->memory[t][a] = get((size_t)(count + 2 * GUARD) * mf_dtype_size(type));
            m->wanted[t][a] = get((size_t)count * sizeof(double));
            memset(m->memory[t][a], 0x5A, (size_t)(count + 2 * GUARD) * mf_dtype_size(type));
            for (int64_t i = 0; i < count; i++) {
                put(type, data(m, t, a), i, first_value(t, a, i));
                m->wanted[t][a][i] = take(type, data(m, t, a), i);
            }
        }
        m->item[t] = (mf_update_item){.value = data(m, t, VALUE),
                                      .m = data(m, t, M),
                                      .v = data(m, t, V),
                                      .gradient = data(m, t, GRADIENT),
                                      .average = t == 2 ? NULL : data(m, t, AVERAGE),
                                      .count = count,
                                      .rate = 1e-2 / (t + 1),
                                      .decay = t % 2 ? 0.05 : 0};
    }
    m->update = (mf_update){.struct_size = sizeof(mf_update),
                            .item = m->item,
                            .count = TENSORS,
                            .beta1 = 0.9,
                            .beta2 = 0.999,
                            .eps = 1e-8,
                            .gradient_scale = 0.5,
                            .clip_value = 1,
                            .average_decay = 0.75};
}

static void free_model(model *m) {
    for (int t = 0; t < TENSORS; t++)
        for (int a = 0; a < ARRAYS; a++) {
            free(m->memory[t][a]);
            free(m->wanted[t][a]);
        }
}

static double rounded(const model *m, double value) {
    return m->type == MF_F64 ? value : (double)(float)value;
}

/* torch.optim.AdamW after torch.nn.utils.clip_grad_value_. */
static void step_by_hand(model *m, int t, int64_t i) {
    const mf_update *u = &m->update;
    const mf_update_item *item = &m->item[t];
    double *p = &m->wanted[t][VALUE][i], *first = &m->wanted[t][M][i], *second = &m->wanted[t][V][i];
    double g = m->wanted[t][GRADIENT][i] * u->gradient_scale;
    if (u->clip_value > 0)
        g = fmin(fmax(g, -u->clip_value), u->clip_value);
    *first = rounded(m, u->beta1 * *first + (1 - u->beta1) * g);
    *second = rounded(m, u->beta2 * *second + (1 - u->beta2) * g * g);
    *p -= item->rate * item->decay * *p;
    *p -= item->rate * *first / u->correction1 / (sqrt(*second / u->correction2) + u->eps);
    *p = rounded(m, *p);
    if (item->average)
        m->wanted[t][AVERAGE][i] =
            rounded(m, u->average_decay * m->wanted[t][AVERAGE][i] + (1 - u->average_decay) * *p);
}

static size_t guarded_bytes(const model *m, int t) {
    return (size_t)(lengths[t] + 2 * GUARD) * mf_dtype_size(m->type);
}

/* The update of the model's arrays in the backend's memory; or of the arrays themselves where it has none. */
static int mirror_open(mirror *r, const ops_backend *b, mf_stream *stream, const model *m) {
    int good = 1;
    *r = (mirror){.owner = {b->loaded->table, b->loaded->device, stream}, .update = m->update};
    memcpy(r->item, m->item, sizeof(r->item));
    if (!b->loaded->table->memory_alloc)
        return 1;
    r->update.item = r->item;
    for (int t = 0; t < TENSORS; t++)
        for (int a = 0; a < ARRAYS; a++) {
            r->memory[t][a] = area_new(&r->owner, guarded_bytes(m, t), 0);
            good &= r->memory[t][a] && !area_put(&r->owner, r->memory[t][a], m->memory[t][a], guarded_bytes(m, t));
        }
    for (int t = 0; t < TENSORS && good; t++) {
        void **const field[ARRAYS] = {&r->item[t].value, &r->item[t].m, &r->item[t].v, &r->item[t].average, NULL};
        for (int a = 0; a < ARRAYS; a++)
            if (field[a] && *field[a])
                *field[a] = r->memory[t][a] + GUARD * mf_dtype_size(m->type);
        r->item[t].gradient = r->memory[t][GRADIENT] + GUARD * mf_dtype_size(m->type);
    }
    return good;
}

/* Brings back what there is now, if `m` is not NULL. */
static int mirror_close(mirror *r, model *m) {
    int good = 1;
    for (int t = 0; t < TENSORS; t++)
        for (int a = 0; a < ARRAYS; a++) {
            if (r->memory[t][a] && m)
                good &= !area_get(&r->owner, m->memory[t][a], r->memory[t][a], guarded_bytes(m, t));
            area_free(&r->owner, r->memory[t][a]);
        }
    return good;
}

static int run_steps(const ops_backend *b, model *m, int threads, int first, int count) {
    mf_stream_params params = {sizeof(params), threads, m->type};
    mf_stream *stream;
    int status = b->loaded->table->stream_open(b->loaded->device, &params, &stream);
    if (status)
        return status;
    mirror r;
    status = !mirror_open(&r, b, stream, m);
    for (int s = first; s < first + count && !status; s++) {
        m->update.correction1 = r.update.correction1 = 1 - pow(m->update.beta1, s);
        m->update.correction2 = r.update.correction2 = 1 - pow(m->update.beta2, s);
        b->loaded->table->stream_begin(stream);
        status = b->loaded->table->update(stream, &r.update);
        b->loaded->table->stream_end(stream);
        for (int t = 0; t < TENSORS; t++)
            for (int64_t i = 0; i < lengths[t]; i++)
                step_by_hand(m, t, i);
    }
    status |= !mirror_close(&r, m);
    b->loaded->table->stream_close(stream);
    return status;
}

static int compare_model(const ops_backend *b, const model *m) {
    static const char *const name[ARRAYS] = {"values", "m", "v", "average", "gradients"};
    const double tolerance = m->type == MF_F64 ? 1e-14 : 5e-7;
    int failures = 0;
    for (int t = 0; t < TENSORS; t++)
        for (int a = 0; a < ARRAYS; a++) {
            double squares = 0, norm = 0;
            for (int64_t i = 0; i < lengths[t]; i++) {
                double d = take(m->type, data(m, t, a), i) - m->wanted[t][a][i];
                squares += d * d;
                norm += m->wanted[t][a][i] * m->wanted[t][a][i];
            }
            if (squares <= tolerance * tolerance * norm)
                continue;
            printf("FAIL %s %s: update: %s of tensor %d: relative error %.3g\n", b->loaded->name,
                   m->type == MF_F64 ? "f64" : "f32", name[a], t, sqrt(squares / norm));
            failures++;
        }
    return failures;
}

static int guards_intact(const model *m) {
    for (int t = 0; t < TENSORS; t++)
        for (int a = 0; a < ARRAYS; a++) {
            const size_t guard = GUARD * mf_dtype_size(m->type);
            const char *end = m->memory[t][a] + guard + (size_t)lengths[t] * mf_dtype_size(m->type);
            for (size_t i = 0; i < guard; i++)
                if (m->memory[t][a][i] != 0x5A || end[i] != 0x5A)
                    return 0;
        }
    return 1;
}

static int same_bits(const model *one, const model *two) {
    int same = 1;
    for (int t = 0; t < TENSORS; t++)
        for (int a = 0; a < ARRAYS; a++)
            same &= !memcmp(data(one, t, a), data(two, t, a), (size_t)lengths[t] * mf_dtype_size(one->type));
    return same;
}

static int check_update(const ops_backend *b, mf_dtype type) {
    model one, two;
    int failures = 0;
    make_model(&one, type);
    make_model(&two, type);
    if (expect(b, !run_steps(b, &one, 1, 1, STEPS) && !run_steps(b, &two, 2, 1, STEPS), "update fails"))
        failures++;
    failures += compare_model(b, &one);
    failures += expect(b, same_bits(&one, &two), "update: the number of threads changes bits");
    one.update.clip_value = 0;
    one.update.gradient_scale = 2;
    one.update.beta1 = 0.5;
    failures += expect(b, !run_steps(b, &one, 2, STEPS + 1, 1), "update fails without clipping");
    failures += compare_model(b, &one);
    failures += expect(b, guards_intact(&one), "update writes beside the values");
    one.update.count = 0;
    failures += expect(b, !run_steps(b, &one, 1, 1, 1), "update of nothing fails");
    free_model(&one);
    free_model(&two);
    return failures;
}

static int sum_squares(const ops_backend *b, const model *m, int threads, double *sum) {
    mf_stream_params params = {sizeof(params), threads, m->type};
    mf_stream *stream;
    if (b->loaded->table->stream_open(b->loaded->device, &params, &stream))
        return 0;
    mirror r;
    int status = !mirror_open(&r, b, stream, m);
    b->loaded->table->stream_begin(stream);
    if (!status)
        status = b->loaded->table->sum_squares(stream, &r.update, sum);
    b->loaded->table->stream_end(stream);
    mirror_close(&r, NULL);
    b->loaded->table->stream_close(stream);
    return !status;
}

static int check_sum_squares(const ops_backend *b, mf_dtype type) {
    model m;
    double sum = 0, one = -1, two = -1, bad = 0, none = -1;
    int failures = 0;
    make_model(&m, type);
    for (int t = 0; t < TENSORS; t++)
        for (int64_t i = 0; i < lengths[t]; i++)
            sum += m.wanted[t][GRADIENT][i] * m.wanted[t][GRADIENT][i];
    failures += expect(b, sum_squares(b, &m, 1, &one) && sum_squares(b, &m, 2, &two), "sum_squares fails");
    /* A norm to clip by: products of f32 will do, in all but `ref`. */
    const double tolerance = strcmp(b->loaded->name, "ref") ? 1e-6 : 1e-12;
    failures += expect(b, fabs(one - sum) <= tolerance * sum, "sum_squares is wrong");
    failures += expect(b, one == two, "sum_squares: the number of threads changes bits");
    put(type, data(&m, 3, GRADIENT), 63, NAN);
    failures += expect(b, sum_squares(b, &m, 2, &bad) && isnan(bad), "sum_squares hides a NaN");
    m.update.count = 0;
    failures += expect(b, sum_squares(b, &m, 1, &none) && none == 0, "the sum of no squares is not 0");
    free_model(&m);
    return failures;
}

/* ---- dropout ---- */

enum { IMAGES = 4, SIZE = 10007 };

typedef struct mask {
    double key[3];
    int id, images;
    double rate;
} mask;

/* Dropout of ones. */
static ops_result drop(const ops_backend *b, const mask *m, double *out) {
    ops_job job = {.compute = MF_F32, .threads = 1, .output = out};
    double *ones = get(IMAGES * SIZE * sizeof(double));
    const double *inputs[MF_MAX_INPUTS] = {ones, m->key};
    for (int i = 0; i < IMAGES * SIZE; i++)
        ones[i] = 1;
    job.op = (mf_op){.kind = MF_OP_DROPOUT, .attrs = {.rate = m->rate, .id = m->id}, .input_count = 2};
    job.op.input[0] = job.op.output = (mf_operand){.ndim = 3, .dim = {m->images, 1, SIZE}};
    job.op.input[1] = (mf_operand){.ndim = 1, .dim = {3}};
    job.inputs = inputs;
    ops_result r = ops_run(b, &job);
    if (r == OPS_FAILED)
        printf("FAIL %s: dropout: %s\n", b->loaded->name, job.why);
    free(ones);
    return r;
}

/* Of how many of n values both are kept, or both not. */
static double agreement(const double *a, const double *b, int n) {
    int equal = 0;
    for (int i = 0; i < n; i++)
        equal += (a[i] != 0) == (b[i] != 0);
    return (double)equal / n;
}

/* Independent masks of rate 0.3 agree in 0.58 of their places; 5 standard deviations of 10,000 are 0.025. */
static int independent(const double *a, const double *b, int n) {
    return fabs(agreement(a, b, n) - 0.58) < 0.025;
}

static int check_share(const ops_backend *b, const double *out) {
    int kept = 0, others = 0;
    for (int i = 0; i < IMAGES * SIZE; i++) {
        kept += out[i] != 0;
        others += out[i] != 0 && fabs(out[i] * 0.7 - 1) > 1e-6;
    }
    return expect(b, !others, "dropout: what is kept is not divided by 1 - rate") +
           expect(b, fabs((double)kept / (IMAGES * SIZE) - 0.7) < 0.0115, "dropout: the share that is kept is not 0.7");
}

/* Masks of other images, other places, other steps, seeds and operations. */
static int check_independence(const ops_backend *b, const mask *base, const double *out, double *other) {
    static const char *const what[] = {"seed", "step", "place in the batch"};
    int failures = expect(b, independent(out, out + SIZE, SIZE), "dropout: two images have like masks") +
                   expect(b, independent(out, out + 1, SIZE - 1), "dropout: neighbours are not independent") +
                   expect(b, independent(out, out + 64, SIZE - 64), "dropout: places are not independent");
    for (int i = 0; i < 4; i++) {
        mask m = *base;
        if (i < 3)
            m.key[i]++;
        else
            m.id++;
        if (drop(b, &m, other) == OPS_DONE && independent(out, other, SIZE))
            continue;
        printf("FAIL %s: dropout: the mask does not depend on the %s\n", b->loaded->name, i < 3 ? what[i] : "id");
        failures++;
    }
    return failures;
}

/* The images one by one, and all but the first together: the masks of the whole batch. */
static int check_cuts(const ops_backend *b, const mask *base, const double *out, double *other) {
    int failures = 0;
    for (int i = 0; i < IMAGES; i++) {
        mask m = *base;
        m.images = i == 1 ? IMAGES - 1 : 1;
        m.key[2] += i;
        failures += expect(b,
                           drop(b, &m, other) == OPS_DONE &&
                               !memcmp(out + i * SIZE, other, (size_t)(m.images * SIZE) * sizeof(double)),
                           "dropout: the mask depends on how the batch is cut");
    }
    return failures;
}

/* Masks are part of what a run's bits depend on: they stay what they are. */
static int check_known(const ops_backend *b, const double *out) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i++)
        bits |= (uint64_t)(out[SIZE + i] != 0) << i;
    if (bits == UINT64_C(0xb35703cfaf7ff7ec))
        return 0;
    printf("FAIL %s: dropout: the mask begins with %016llx\n", b->loaded->name, (unsigned long long)bits);
    return 1;
}

static int check_dropout(const ops_backend *b) {
    const mask base = {{1234567, -5, 11}, 3, IMAGES, 0.3};
    mask none = base;
    double *out = get(IMAGES * SIZE * sizeof(double)), *other = get(IMAGES * SIZE * sizeof(double));
    int failures = 0;
    none.rate = 0;
    ops_result r = drop(b, &base, out);
    if (r == OPS_DONE) {
        failures += check_share(b, out) + check_known(b, out) + check_independence(b, &base, out, other);
        failures += check_cuts(b, &base, out, other);
        int whole = drop(b, &none, other) == OPS_DONE;
        for (int i = 0; i < IMAGES * SIZE && whole; i++)
            whole = other[i] == 1;
        failures += expect(b, whole, "dropout of rate 0 changes values");
    }
    free(out);
    free(other);
    return failures + (r == OPS_FAILED);
}

/* Whether the backend computes anything in this type. */
static int computes(const ops_backend *b, mf_dtype type) {
    mf_stream_params params = {sizeof(params), 1, type};
    mf_op op = {.kind = MF_OP_ACT, .attrs = {.act = MF_ACT_RELU}, .input_count = 1};
    mf_stream *stream;
    op.input[0] = op.output = (mf_operand){.dtype = type, .ndim = 1, .dim = {16}};
    if (b->loaded->table->stream_open(b->loaded->device, &params, &stream))
        return 0;
    int can = b->loaded->table->supports(stream, &op);
    b->loaded->table->stream_close(stream);
    return can;
}

/* What the key or the rate of dropout cannot be; `ref` alone looks so closely. */
static int check_dropout_refusals(const ops_backend *b) {
    mf_stream_params params = {sizeof(params), 1, MF_F32};
    mf_op good = {.kind = MF_OP_DROPOUT, .attrs = {.rate = 0.3}, .input_count = 2};
    mf_stream *stream;
    good.input[0] = good.output = (mf_operand){.dtype = MF_F32, .ndim = 2, .dim = {2, 3}};
    good.input[1] = (mf_operand){.dtype = MF_I64, .ndim = 1, .dim = {3}};
    mf_op bad[5] = {good, good, good, good, good};
    bad[0].input[1].dim[0] = 4;
    bad[1].input[1].dtype = MF_F32;
    bad[2].input_count = 1;
    bad[3].attrs.rate = 1;
    bad[4].output.dim[1] = 4;
    if (b->loaded->table->stream_open(b->loaded->device, &params, &stream))
        return 1;
    int failures = expect(b, b->loaded->table->supports(stream, &good), "dropout is refused");
    for (size_t i = 0; i < MF_COUNT(bad); i++)
        failures += expect(b, !b->loaded->table->supports(stream, &bad[i]), "a dropout that does not fit is accepted");
    b->loaded->table->stream_close(stream);
    return failures;
}

/* An activation of inference alone, and one that does not exist: no gradient, rather than that of another. */
static int check_act_refusals(const ops_backend *b) {
    mf_stream_params params = {sizeof(params), 1, MF_F32};
    static const mf_act bad[] = {MF_ACT_GELU_TANH, MF_ACT_COUNT};
    mf_op op = {.kind = MF_OP_ACT_GRAD, .attrs = {.act = MF_ACT_GELU}, .input_count = 2};
    mf_stream *stream;
    op.input[0] = op.input[1] = op.output = (mf_operand){.dtype = MF_F32, .ndim = 2, .dim = {2, 3}};
    if (b->loaded->table->stream_open(b->loaded->device, &params, &stream))
        return 1;
    int failures = expect(b, b->loaded->table->supports(stream, &op), "the gradient of GELU is refused");
    for (size_t i = 0; i < MF_COUNT(bad); i++) {
        op.attrs.act = bad[i];
        failures += expect(b, !b->loaded->table->supports(stream, &op), "an activation without gradient is accepted");
    }
    b->loaded->table->stream_close(stream);
    return failures;
}

int ops_training(const ops_backend *b) {
    const mf_backend *table = b->loaded->table;
    int failures = check_dropout(b) + check_act_refusals(b);
    if (!strcmp(b->loaded->name, "ref"))
        failures += check_dropout_refusals(b);
    for (int type = MF_F32; type <= MF_F64; type++) {
        if (!computes(b, (mf_dtype)type))
            continue;
        if (table->update)
            failures += check_update(b, (mf_dtype)type);
        if (table->sum_squares)
            failures += check_sum_squares(b, (mf_dtype)type);
    }
    printf("%s: dropout%s%s, %d failures\n", b->loaded->name, table->update ? ", AdamW" : "",
           table->sum_squares ? ", sums of squares" : "", failures);
    return failures;
}
