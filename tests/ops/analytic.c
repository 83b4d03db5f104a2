/* Small examples that were done by hand, so that `ref` is held to something other than itself. */
#include "ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define E 2.71828182845904523536
#define LN2 0.69314718055994530942

static const ops_example examples[] = {
    {"matmul, every option",
     5,
     0,
     MF_OP_MATMUL,
     {.act = MF_ACT_RELU, .tb = 1},
     {{2, {2, 3}, {1, 2, 3, 4, 5, 6}},
      {2, {2, 3}, {1, 0, -1, 2, 1, 0}},
      {1, {2}, {1, -1}},
      {1, {2}, {2, 0.5}},
      {2, {2, 2}, {10, 20, 30, 40}}},
     {2, {2, 2}, {10, 21.5, 30, 46}}},
    {"matmul, b as [K, N]",
     2,
     0,
     MF_OP_MATMUL,
     {.tb = 0},
     {{2, {2, 3}, {1, 2, 3, 4, 5, 6}}, {2, {3, 2}, {1, 2, 0, 1, -1, 0}}},
     {2, {2, 2}, {-2, 4, -2, 13}}},
    {"matmul, a transposed, a batch of two",
     2,
     0,
     MF_OP_MATMUL,
     {.ta = 1, .tb = 1},
     {{3, {2, 3, 2}, {1, 4, 2, 5, 3, 6, 1, 0, 0, 1, 0, 0}}, {2, {2, 3}, {1, 0, -1, 2, 1, 0}}},
     {3, {2, 2, 2}, {-2, 4, -2, 13, 1, 2, 0, 1}}},
    {"conv2d, 2x2",
     2,
     0,
     MF_OP_CONV2D,
     {.kernel = {2, 2}, .stride = {1, 1}},
     {{4, {1, 3, 3, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 10}}, {4, {1, 1, 2, 2}, {1, 0, 0, -1}}},
     {4, {1, 2, 2, 1}, {-4, -4, -4, -5}}},
    {"conv2d, 1x2, two channels, stride and padding along the row",
     2,
     0,
     MF_OP_CONV2D,
     {.kernel = {1, 2}, .stride = {1, 2}, .pad = {0, 1}},
     {{4, {1, 2, 2, 2}, {1, 10, 2, 20, 3, 30, 4, 40}}, {4, {1, 2, 1, 2}, {1, 2, 0.125, 0.25}}},
     {4, {1, 2, 2, 1}, {4.5, 4.5, 13.5, 9}}},
    {"dwconv2d",
     3,
     0,
     MF_OP_DWCONV2D,
     {.kernel = {1, 3}, .stride = {1, 1}, .pad = {0, 1}},
     {{4, {1, 1, 3, 2}, {1, 10, 2, 20, 3, 30}}, {4, {2, 1, 1, 3}, {1, 2, 4, 0, 0, 1}}, {1, {2}, {0, 1}}},
     {4, {1, 1, 3, 2}, {10, 21, 17, 31, 8, 1}}},
    {"dwconv2d with norm",
     5,
     0,
     MF_OP_DWCONV2D,
     {.kernel = {1, 3}, .stride = {1, 1}, .pad = {0, 1}, .norm = 1, .eps = 12.75},
     {{4, {1, 1, 3, 2}, {1, 10, 2, 20, 3, 30}},
      {4, {2, 1, 1, 3}, {1, 2, 4, 0, 0, 1}},
      {1, {2}, {0, 1}},
      {1, {2}, {2, 3}},
      {1, {2}, {0, 1}}},
     /* halves of the differences: 5.5, 7, -3.5; 3.5 / sqrt(12.25 + 12.75) = 0.7 */
     {4, {1, 1, 3, 2}, {-1.6774842736586515, 3.5162264104879775, -1.7815973363321778, 3.6723960044982666, 1.4, -1.1}}},
    {"layernorm",
     3,
     0,
     MF_OP_LAYERNORM,
     {.eps = 0.75},
     {{2, {1, 4}, {1, 2, 3, 4}}, {1, {4}, {1, 1, 1, 2}}, {1, {4}, {0, 0, 0, 1}}},
     {2, {1, 4}, {-1.0606601717798213, -0.35355339059327376, 0.35355339059327376, 3.1213203435596426}}},
    {"groupnorm, two groups of two channels",
     3,
     0,
     MF_OP_GROUPNORM,
     {.eps = 4, .groups = 2},
     {{4, {1, 1, 2, 4}, {1, 3, 10, 20, 5, 7, 10, 40}}, {1, {4}, {1, 1, 1, 2}}, {1, {4}, {0, 0, 0, 1}}},
     {4, {1, 1, 2, 4}, {-1, -1.0 / 3, -0.80582296402538028, 1, 1.0 / 3, 1, -0.80582296402538028, 4.2232918561015211}}},
    {"batchnorm",
     5,
     0,
     MF_OP_BATCHNORM,
     {.eps = 1, .act = MF_ACT_RELU},
     {{2, {2, 2}, {3, 0, -3, 2}}, {1, {2}, {5, 1}}, {1, {2}, {-1, 0}}, {1, {2}, {1, 1}}, {1, {2}, {3, 0}}},
     {2, {2, 2}, {4, 0, 0, 1}}},
    {"gelu",
     1,
     0,
     MF_OP_ACT,
     {.act = MF_ACT_GELU},
     {{1, {5}, {1, -1, 0, 2, -5}}},
     {1, {5}, {0.84134474606854293, -0.15865525393145707, 0, 1.9544997361036416, -1.4332578593959697e-6}}},
    {"gelu by tanh",
     1,
     0,
     MF_OP_ACT,
     {.act = MF_ACT_GELU_TANH},
     {{1, {7}, {1, -1, 0, 2, -5, -1e6, 1e30}}},
     {1, {7}, {0.8411919906082768, -0.15880800939172326, 0, 1.9545976940877752, -2.2917961966295044e-07, 0, 1e30}}},
    {"sigmoid",
     1,
     0,
     MF_OP_ACT,
     {.act = MF_ACT_SIGMOID},
     {{1, {4}, {0, 2, -2, 200}}},
     {1, {4}, {0.5, 0.88079707797788243, 0.11920292202211757, 1}}},
    {"relu", 1, 0, MF_OP_ACT, {.act = MF_ACT_RELU}, {{1, {3}, {-1, 0, 2}}}, {1, {3}, {0, 0, 2}}},
    {"add, b repeats",
     2,
     0,
     MF_OP_ADD,
     {0},
     {{2, {2, 3}, {1, 2, 3, 4, 5, 6}}, {1, {3}, {10, 20, 30}}},
     {2, {2, 3}, {11, 22, 33, 14, 25, 36}}},
    {"mul, b repeats, relu",
     2,
     0,
     MF_OP_MUL,
     {.act = MF_ACT_RELU},
     {{2, {2, 3}, {1, 2, 3, 4, 5, 6}}, {1, {3}, {10, -20, 30}}},
     {2, {2, 3}, {10, 0, 90, 40, 0, 180}}},
    {"pyramid pool, 5x7 to 1x1 and 2x3",
     1,
     0,
     MF_OP_PYRAMID_POOL,
     {.level_count = 2, .levels = {{1, 1}, {2, 3}}},
     {{4, {1, 5, 7, 1}, {0,  1,  2,  3,  4,  5,  6,  10, 11, 12, 13, 14, 15, 16, 20, 21, 22, 23,
                         24, 25, 26, 30, 31, 32, 33, 34, 35, 36, 40, 41, 42, 43, 44, 45, 46}}},
     {3, {1, 7, 1}, {23, 11, 13, 15, 31, 33, 35}}},
    {"pyramid pool, 1x2 to 1x3, two channels",
     1,
     0,
     MF_OP_PYRAMID_POOL,
     {.level_count = 1, .levels = {{1, 3}}},
     {{4, {1, 1, 2, 2}, {1, 10, 3, 30}}},
     {3, {1, 3, 2}, {1, 10, 2, 20, 3, 30}}},
    {"maxpool, padding is minus infinity",
     1,
     0,
     MF_OP_MAXPOOL,
     {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}},
     {{4, {1, 3, 3, 1}, {-1, -2, -3, -4, -5, -6, -7, -8, -9}}},
     {4, {1, 2, 2, 1}, {-1, -2, -4, -5}}},
    {"concat along 1",
     2,
     0,
     MF_OP_CONCAT,
     {.axis = 1},
     {{3, {2, 1, 2}, {1, 2, 3, 4}}, {3, {2, 2, 2}, {5, 6, 7, 8, 9, 10, 11, 12}}},
     {3, {2, 3, 2}, {1, 2, 5, 6, 7, 8, 3, 4, 9, 10, 11, 12}}},
    {"slice along 1",
     1,
     0,
     MF_OP_SLICE,
     {.axis = 1, .begin = 1, .end = 3},
     {{3, {2, 3, 2}, {1, 2, 5, 6, 7, 8, 3, 4, 9, 10, 11, 12}}},
     {3, {2, 2, 2}, {5, 6, 7, 8, 9, 10, 11, 12}}},
    {"linear attention, two heads of one channel",
     3,
     0,
     MF_OP_ATTENTION,
     {.attention = MF_ATTENTION_LINEAR, .heads = 2, .eps = 1},
     {{3, {1, 1, 2}, {0, 1}}, {3, {1, 2, 2}, {1, 0, -1, 3}}, {3, {1, 2, 2}, {3, 7, 5, 2}}},
     /* head 0: Q 1; K 2, 1 / e; v 3, 5.  head 1: Q 2; K 1, 4; v 7, 2 */
     {3, {1, 1, 2}, {(2 * 3 + 5 / E) / (2 + 1 / E + 1), 2 * (1 * 7 + 4 * 2) / (2 * 5 + 1.0)}}},
    {"linear attention, one head of two channels",
     3,
     0,
     MF_OP_ATTENTION,
     {.attention = MF_ATTENTION_LINEAR, .heads = 1},
     {{3, {1, 1, 2}, {0, 1}}, {3, {1, 2, 2}, {1, 0, 2, 3}}, {3, {1, 2, 2}, {3, 7, 5, 2}}},
     /* Q (1, 2); K (2, 1), (3, 4): weights 4, 11 of 15 */
     {3, {1, 1, 2}, {(4 * 3 + 11 * 5) / 15.0, (4 * 7 + 11 * 2) / 15.0}}},
    {"softmax attention, one head of four channels",
     3,
     0,
     MF_OP_ATTENTION,
     {.attention = MF_ATTENTION_SOFTMAX, .heads = 1},
     {{3, {1, 2, 4}, {2, 0, 0, 0, 0, 0, 0, 0}},
      {3, {1, 2, 4}, {LN2, 5, 6, 7, 0, 1, 2, 3}},
      {3, {1, 2, 4}, {3, 0, 1, 9, 6, 3, 1, 0}}},
     /* token 0: weights 2 / 3, 1 / 3; token 1: halves */
     {3, {1, 2, 4}, {4, 1, 1, 6, 4.5, 1.5, 1, 4.5}}},
    {"channel max", 1, 0, MF_OP_CHANNEL_MAX, {0}, {{2, {2, 3}, {1, 5, 2, -3, -1, -2}}}, {2, {2, 1}, {5, -1}}},
    {"channel max of NaN",
     1,
     1,
     MF_OP_CHANNEL_MAX,
     {0},
     {{2, {3, 3}, {NAN, 5, 2, -3, NAN, -2, 1, 2, NAN}}},
     {2, {3, 1}, {NAN, NAN, NAN}}},
    {"maxpool of NaN",
     1,
     1,
     MF_OP_MAXPOOL,
     {.kernel = {1, 2}, .stride = {1, 2}},
     {{4, {1, 1, 4, 1}, {NAN, 1, 1, NAN}}},
     {4, {1, 1, 2, 1}, {NAN, NAN}}},
    {"relu of NaN", 1, 1, MF_OP_ACT, {.act = MF_ACT_RELU}, {{1, {2}, {NAN, -1}}}, {1, {2}, {NAN, 0}}},
    {"gated mean",
     3,
     0,
     MF_OP_GATED_MEAN,
     {0},
     {{3, {1, 2, 2}, {1, 2, 3, 4}}, {3, {1, 1, 2}, {0.5, 1}}, {3, {1, 2, 1}, {1, 0.5}}},
     {3, {1, 1, 2}, {2.625, 5}}},
    {"l2norm",
     1,
     0,
     MF_OP_L2NORM,
     {.eps = 1},
     {{2, {3, 2}, {3, 4, 0, 0, 0.25, 0.5}}},
     {2, {3, 2}, {0.6, 0.8, 0, 0, 0.25, 0.5}}},
};

/* The operation; the weights (what follows the first input of a product or norm) constant or not. */
static mf_op make(const ops_example *e, int constant) {
    mf_op op = {.kind = e->kind, .attrs = e->attrs, .input_count = e->input_count};
    op.output.ndim = e->output.ndim;
    memcpy(op.output.dim, e->output.dim, sizeof(op.output.dim));
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        op.input[i].ndim = -1;
    for (int i = 0; i < (int)MF_COUNT(e->input) && i < e->input_count; i++) {
        op.input[i].ndim = e->input[i].ndim ? e->input[i].ndim : -1;
        memcpy(op.input[i].dim, e->input[i].dim, sizeof(op.input[i].dim));
        op.input[i].constant = constant && i > 0 && i != MF_IN_RESIDUAL && e->kind <= MF_OP_BATCHNORM;
    }
    return op;
}

static int check(const ops_backend *b, const ops_example *e, mf_dtype type, int constant) {
    double got[36];
    const double *inputs[MF_MAX_INPUTS] = {NULL};
    ops_job job = {.op = make(e, constant), .compute = type, .threads = 1, .inputs = inputs, .output = got};
    for (int i = 0; i < e->input_count; i++)
        inputs[i] = e->input[i].value;
    ops_result r = ops_run(b, &job);
    const char *name = b->loaded->name, *text = type == MF_F64 ? "f64" : "f32";
    if (r == OPS_FAILED)
        printf("FAIL %s %s: by hand: %s: %s\n", name, text, e->name, job.why);
    if (r != OPS_DONE)
        return r == OPS_FAILED;
    /* GELU is bounded absolutely (vec.h): far below zero it is the difference of nearly equal numbers. */
    const double least = e->attrs.act == MF_ACT_GELU && type == MF_F32 ? 0.3 : 1e-3;
    for (int64_t i = 0; i < mf_operand_count(&job.op.output); i++) {
        const double want = e->output.value[i], d = fabs(got[i] - want);
        if (isnan(want) ? isnan(got[i]) : d <= (type == MF_F64 ? 1e-14 : 1e-6) * fmax(fabs(want), least))
            continue;
        printf("FAIL %s %s: by hand: %s: element %d is %.17g, should be %.17g\n", name, text, e->name, (int)i, got[i],
               want);
        return 1;
    }
    return 0;
}

/* What is not refused though `op` cannot be. */
static int accepted(const ops_backend *b, mf_stream *stream, const char *name, const mf_op *op, const char *what) {
    if (!b->loaded->table->supports(stream, op))
        return 0;
    printf("FAIL %s: %s: %s is not refused\n", b->loaded->name, name, what);
    return 1;
}

static void set_type(mf_op *op) {
    for (int i = 0; i < MF_MAX_INPUTS; i++)
        op->input[i].dtype = ops_is_key(op, i) ? MF_I64 : MF_F32;
    op->output.dtype = MF_F32;
}

static int is_optional(const mf_op *op, int input) {
    return (op->kind == MF_OP_COLUMN_SUM && input == 1) || (op->kind == MF_OP_LAYERNORM_GRAD && input == 1) ||
           (op->kind == MF_OP_BATCHNORM_GRAD && input == 5 && !op->attrs.own);
}

/* Inputs that do not fit; of the operations of training, where none repeats or may have another shape. */
static int check_input_refusals(const ops_backend *b, mf_stream *stream, const ops_example *e) {
    int failures = 0;
    for (int i = 1; i < e->input_count; i++) {
        mf_op op = make(e, 0);
        set_type(&op);
        if (!b->loaded->table->supports(stream, &op)) {
            printf("FAIL %s: %s is refused\n", b->loaded->name, e->name);
            failures++;
        }
        for (int d = 0; d < op.input[i].ndim; d++) {
            op.input[i].dim[d]++;
            failures += accepted(b, stream, e->name, &op, "an input of the wrong shape");
            op.input[i].dim[d]--;
        }
        op.input[i].dtype = MF_F64;
        failures += accepted(b, stream, e->name, &op, "an input of another type");
        op.input[i].dtype = MF_F32;
        op.input[i].ndim = -1;
        if (!is_optional(&op, i))
            failures += accepted(b, stream, e->name, &op, "a missing input");
    }
    return failures;
}

/* An operation whose shapes do not fit is refused. */
static int check_refusals(const ops_backend *b, const ops_example *list, size_t count) {
    mf_stream_params params = {sizeof(params), 1, MF_F32};
    mf_stream *stream;
    int failures = 0;
    if (b->loaded->table->stream_open(b->loaded->device, &params, &stream))
        return 1;
    for (size_t i = 0; i < count; i++) {
        for (int d = 0; d < list[i].output.ndim; d++) {
            mf_op op = make(&list[i], 1);
            set_type(&op);
            op.output.dim[d]++;
            failures += accepted(b, stream, list[i].name, &op, "an output of the wrong shape");
        }
        if (list[i].kind > MF_OP_RESHAPE)
            failures += check_input_refusals(b, stream, &list[i]);
    }
    mf_op op = make(&examples[0], 1);
    op.input[MF_IN_W].dim[1]++;
    failures += accepted(b, stream, examples[0].name, &op, "a weight of the wrong shape");
    op = make(&examples[0], 1);
    op.input[MF_IN_W].dtype = MF_F64;
    failures += accepted(b, stream, examples[0].name, &op, "a weight of another type");
    b->loaded->table->stream_close(stream);
    return failures;
}

static int check_list(const ops_backend *b, const ops_example *list, size_t count, int is_ref) {
    int failures = is_ref ? check_refusals(b, list, count) : 0;
    for (size_t i = 0; i < count; i++)
        for (int type = MF_F32; type <= MF_F64; type++)
            for (int constant = 0; constant < 2; constant++)
                if (is_ref || !list[i].ref_only)
                    failures += check(b, &list[i], (mf_dtype)type, constant);
    return failures;
}

int ops_analytic(const ops_backend *b) {
    const int is_ref = !strcmp(b->loaded->name, "ref");
    int failures = check_list(b, examples, MF_COUNT(examples), is_ref) +
                   check_list(b, ops_training_examples, ops_training_example_count, is_ref);
    printf("%s: %d examples by hand, %d failures\n", b->loaded->name,
           (int)(MF_COUNT(examples) + ops_training_example_count), failures);
    return failures;
}
