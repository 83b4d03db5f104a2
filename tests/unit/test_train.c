/* The trainer on `ref`: gradients of whole networks by differences, chunks, recomputation, state. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "training.h"

static size_t state_values(const mfrgn_trainer *t) {
    return t->start[t->model->parameters.count];
}

/* ---- gradients ---- */

typedef struct moved {
    const mfrgn_model *from;
    double sign;
} moved;

/* Each weight moved along its own random direction, by up to 2e-6. */
static int move(void *user, const char *name, const size_t *shape, int dims, float *values) {
    const moved *m = user;
    int index = mf_parameters_find(&m->from->parameters, name);
    const mf_parameter *p = &m->from->parameters.item[index];
    size_t count = mf_parameter_elements(p);
    uint64_t z = mf_hash(name, strlen(name), 5);
    (void)shape;
    (void)dims;
    mf_convert(MF_F32, values, p->stored.dtype, p->stored.data, count);
    for (size_t i = 0; i < count && p->learnt; i++) {
        double u = (double)(mf_mix64(z + i * 0x9e3779b97f4a7c15u) >> 11) * 0x1p-52 - 1;
        values[i] += (float)(m->sign * 2e-6 * u);
    }
    return 0;
}

static double loss_of(mfrgn_model *model, const setting *more) {
    mfrgn_trainer *t = trainer_of(model, "f64", more);
    step(t, 3, 1);
    double loss = t->last_loss;
    mfrgn_trainer_free(t);
    return loss;
}

/* The change of the loss between two sets of weights, against the gradient in the middle times their difference: what
 * is left is of third order. */
static void check_differences(mfrgn_config *config, const setting *more) {
    mfrgn_model *model = filled_model(config), *plus, *minus;
    OK(mfrgn_model_create_filled(context, config, move, &(moved){model, 1}, &plus));
    OK(mfrgn_model_create_filled(context, config, move, &(moved){model, -1}, &minus));
    mfrgn_trainer *t = trainer_of(model, "f64", more);
    step(t, 3, 1);
    const mf_parameters *table = &model->parameters;
    double expected = 0;
    for (size_t i = 0; i < table->count; i++) {
        const float *a = plus->parameters.item[i].stored.data, *b = minus->parameters.item[i].stored.data;
        const double *g = mf_train_at(t, t->gradient, i);
        for (size_t k = 0; k < mf_parameter_elements(&table->item[i]) && t->learnt[i]; k++)
            expected += g[k] * ((double)a[k] - (double)b[k]);
    }
    double got = loss_of(plus, more) - loss_of(minus, more);
    ck_assert_msg(fabs(got - expected) < 2e-3 * fabs(expected) && fabs(expected) > 1e-8,
                  "%g by differences, %g by rule", got, expected);
    mfrgn_trainer_free(t);
    mfrgn_model_free(model);
    mfrgn_model_free(plus);
    mfrgn_model_free(minus);
    mfrgn_config_free(config);
}

static const char *const presets[] = {"cvusa",           "u1652",      "mbaseline", "mbaseline+l-ini",
                                      "mbaseline+g+l-p", "sample4geo", "baseline"};

START_TEST(gradients_by_differences) {
    open_context();
    mfrgn_config *config = small_config(presets[_i], "convnext_atto");
    check_differences(config, NULL);
    close_context();
}
END_TEST

START_TEST(gradients_of_full_attention) {
    open_context();
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    OK(mfrgn_config_set(config, MFRGN_CONFIG_ATTENTION, "full"));
    OK(mfrgn_config_set(config, MFRGN_CONFIG_PPS, "0"));
    check_differences(config, (const setting[]){{MFRGN_TRAIN_RECOMPUTE, "1"}, {0, NULL}});
    close_context();
}
END_TEST

START_TEST(gradients_of_resnet) {
    open_context();
    mfrgn_config *config = small_config("mbaseline", "resnet18");
    check_differences(config, NULL);
    close_context();
}
END_TEST

/* ---- the same step in other ways ---- */

static mfrgn_model *model_of(const char *preset) {
    mfrgn_config *config = small_config(preset, "convnext_atto");
    mfrgn_model *model = filled_model(config);
    mfrgn_config_free(config);
    return model;
}

/* The largest difference of gradients, in units of the largest gradient. */
static double gradients_apart(const mfrgn_trainer *a, const mfrgn_trainer *b) {
    const double *x = a->gradient, *y = b->gradient;
    double largest = 0, apart = 0;
    for (size_t i = 0; i < state_values(a); i++) {
        largest = fmax(largest, fabs(x[i]));
        apart = fmax(apart, fabs(x[i] - y[i]));
    }
    return apart / largest;
}

START_TEST(chunks_give_the_gradients_of_the_batch) {
    open_context();
    mfrgn_model *model = model_of("mbaseline+g"); /* with dropout, without BatchNorm */
    mfrgn_trainer *whole = trainer_of(model, "f64", NULL);
    mfrgn_trainer *chunks = trainer_of(model, "f64", (const setting[]){{MFRGN_TRAIN_CHUNK, "2"}, {0, NULL}});
    for (int i = 0; i < 2; i++) {
        step(whole, PAIRS, 1);
        step(chunks, PAIRS, 1);
        ck_assert(fabs(whole->last_loss - chunks->last_loss) < 1e-12);
        ck_assert_msg(gradients_apart(whole, chunks) < 1e-10, "%g", gradients_apart(whole, chunks));
    }
    mfrgn_trainer_free(whole);
    mfrgn_trainer_free(chunks);
    mfrgn_model_free(model);
    close_context();
}
END_TEST

/* ---- the backbone of both views together ---- */

typedef struct joint_case {
    const char *preset, *backbone, *precision;
    double tolerance;
    int alike; /* the views' maps */
    setting more;
} joint_case;

static const joint_case joint_cases[] = {
    {"cvusa", "convnext_atto", "f64", 1e-10, 0, {0}},
    {"u1652", "convnext_atto", "f64", 1e-10, 1, {0}},
    {"cvusa", "convnext_atto", "f64", 1e-10, 0, {MFRGN_TRAIN_RECOMPUTE, "1"}},
    {"cvusa", "convnext_atto", "f64", 1e-10, 0, {MFRGN_TRAIN_BACKBONE_FACTOR, "0"}},
    {"sample4geo", "convnext_atto", "f64", 1e-10, 0, {0}},
    {"mbaseline", "resnet18", "f64", 1e-10, 0, {0}},
    {"cvusa", "convnext_atto", "f32", 1e-3, 0, {0}},
    {"u1652", "convnext_atto", "f32", 1e-3, 1, {0}},
};

/* The largest difference of two arrays of a trainer, in units of the first's largest value. */
static double arrays_apart(const mfrgn_trainer *t, const void *a, const void *b) {
    size_t n = state_values(t);
    double *x = malloc(2 * n * sizeof(*x)), *y = x + n, largest = 0, apart = 0;
    ck_assert_ptr_nonnull(x);
    mf_convert(MF_F64, x, t->engine.wide, a, n);
    mf_convert(MF_F64, y, t->engine.wide, b, n);
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(x[i]));
        apart = fmax(apart, fabs(x[i] - y[i]));
    }
    free(x);
    ck_assert(largest > 0);
    return apart / largest;
}

/* Operations of a kind that read a parameter. */
static int count_readers(const mfrgn_trainer *t, mf_op_kind kind, const char *name) {
    const mf_graph *g = t->plans->whole.graph;
    int count = 0;
    for (size_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i].input_count; k++) {
            mf_value v = g->node[i].input[k];
            count += g->node[i].kind == kind && v >= 0 && g->tensor[v].name && !strcmp(g->tensor[v].name, name);
        }
    return count;
}

/* Linear layers with that weight, fused with the next one or not. */
static int count_linear(const mfrgn_trainer *t, const char *name) {
    return count_readers(t, MF_OP_MATMUL, name) + count_readers(t, MF_OP_MLP, name);
}

/* Operations that the memory plan does not make views. */
static int count_steps(const mfrgn_trainer *t) {
    const mf_program *p = &t->plans->whole;
    int count = 0;
    for (size_t i = 0; i < p->step_count; i++)
        count += p->step[i].kernel != NULL;
    return count;
}

/* Of `one`, which is joint, and `two`. */
static void check_counts(const mfrgn_trainer *one, const mfrgn_trainer *two, int alike) {
    const char *fc1 = "backbone.backbone.stages.2.blocks.1.mlp.fc1.weight";
    const char *dw = "backbone.backbone.stages.2.blocks.1.conv_dw.weight";
    const char *down = "backbone.backbone.stages.1.downsample.1.weight";
    int times = alike ? 2 : 1;
    ck_assert_int_ge(count_linear(one, fc1), 1);
    ck_assert_int_ge(count_readers(two, MF_OP_DWCONV2D, dw), 2);
    ck_assert_int_ge(count_readers(two, MF_OP_CONV2D, down), 2);
    ck_assert_int_eq(count_linear(two, fc1), 2 * count_linear(one, fc1));
    ck_assert_int_eq(count_readers(two, MF_OP_DWCONV2D, dw), times * count_readers(one, MF_OP_DWCONV2D, dw));
    ck_assert_int_eq(count_readers(two, MF_OP_CONV2D, down), times * count_readers(one, MF_OP_CONV2D, down));
    ck_assert_int_lt(count_steps(one), count_steps(two));
}

START_TEST(views_together_give_the_same_step) {
    const joint_case *c = &joint_cases[_i];
    open_context();
    mfrgn_config *config = small_config(c->preset, c->backbone);
    mfrgn_model *model = filled_model(config);
    const setting more[] = {c->more, {0, NULL}};
    mfrgn_trainer *one = trainer_of(model, c->precision, more), *two = trainer_of(model, c->precision, more);
    one->joint = 1;
    two->joint = 0;
    for (int i = 0; i < 2; i++) {
        step(one, 3, (uint64_t)i);
        step(two, 3, (uint64_t)i);
        ck_assert_msg(fabs(one->last_loss / two->last_loss - 1) < c->tolerance, "step %d: %.17g, %.17g", i,
                      one->last_loss, two->last_loss);
        double gradients = arrays_apart(two, two->gradient, one->gradient);
        ck_assert_msg(gradients < c->tolerance, "step %d: gradients %g apart", i, gradients);
        for (int s = 0; s < MF_STATE_AVERAGE; s++) {
            double apart = arrays_apart(two, two->state[s], one->state[s]);
            ck_assert_msg(apart < c->tolerance, "step %d: state %d is %g apart", i, s, apart);
        }
    }
    if (strcmp(c->preset, "sample4geo") && !strcmp(c->backbone, "convnext_atto"))
        check_counts(one, two, c->alike);
    mfrgn_trainer_free(one);
    mfrgn_trainer_free(two);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    close_context();
}
END_TEST

/* Weights after two steps, bit by bit. */
static void check_same_bits(const setting *one, const setting *other, int is_smaller) {
    open_context();
    mfrgn_model *model = model_of("cvusa");
    mfrgn_trainer *a = trainer_of(model, "f32", one), *b = trainer_of(model, "f32", other);
    for (int i = 0; i < 2; i++) {
        step(a, 3, 1);
        step(b, 3, 1);
    }
    for (int s = 0; s < MF_STATE_AVERAGE; s++)
        ck_assert_int_eq(memcmp(a->state[s], b->state[s], state_values(a) * sizeof(float)), 0);
    if (is_smaller)
        ck_assert_uint_lt(b->arena_bytes, a->arena_bytes);
    mfrgn_trainer_free(a);
    mfrgn_trainer_free(b);
    mfrgn_model_free(model);
    close_context();
}

START_TEST(recomputing_changes_memory_alone) {
    check_same_bits(NULL, (const setting[]){{MFRGN_TRAIN_RECOMPUTE, "1"}, {0, NULL}}, 1);
}
END_TEST

START_TEST(threads_change_no_bit) {
    check_same_bits((const setting[]){{MFRGN_TRAIN_THREADS, "1"}, {0, NULL}},
                    (const setting[]){{MFRGN_TRAIN_THREADS, "3"}, {0, NULL}}, 0);
}
END_TEST

START_TEST(dropout_depends_on_the_seed) {
    open_context();
    mfrgn_model *model = model_of("cvusa");
    mfrgn_trainer *a = trainer_of(model, "f32", NULL);
    mfrgn_trainer *b = trainer_of(model, "f32", (const setting[]){{MFRGN_TRAIN_SEED, "8"}, {0, NULL}});
    ck_assert(step(a, 3, 1) != step(b, 3, 1));
    mfrgn_trainer_free(a);
    mfrgn_trainer_free(b);
    mfrgn_model_free(model);
    close_context();
}
END_TEST

/* ---- learning ---- */

START_TEST(the_loss_falls) {
    open_context();
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    mfrgn_model *model, *after;
    OK(mfrgn_model_create(context, config, 1, &model));
    mfrgn_trainer *t = trainer_of(
        model, "f32", (const setting[]){{MFRGN_TRAIN_EMA, "0.5"}, {MFRGN_TRAIN_LEARNING_RATE, "1e-3"}, {0, NULL}});
    float first = step(t, 4, 1), last = first;
    for (int i = 0; i < 10; i++)
        last = step(t, 4, 1);
    ck_assert_msg(last < 0.8f * first, "%g, then %g", (double)first, (double)last);
    OK(mfrgn_trainer_model(t, 1, &after));
    mfrgn_model_free(after);
    mfrgn_trainer_free(t);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    close_context();
}
END_TEST

START_TEST(a_frozen_backbone_stays) {
    open_context();
    mfrgn_config *config = small_config("cvusa", "resnet18");
    mfrgn_model *model = filled_model(config);
    mfrgn_trainer *t = trainer_of(model, "f32", (const setting[]){{MFRGN_TRAIN_BACKBONE_FACTOR, "0"}, {0, NULL}});
    step(t, 3, 1);
    int moved_count = 0;
    for (size_t i = 0; i < model->parameters.count; i++) {
        const mf_parameter *p = &model->parameters.item[i];
        int same = memcmp(p->stored.data, t->slot[i], mf_parameter_elements(p) * sizeof(float)) == 0;
        ck_assert_msg(same || !mf_train_is_backbone(p->name), "%s", p->name);
        moved_count += !same;
    }
    ck_assert_int_gt(moved_count, 20);
    mfrgn_trainer_free(t);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    close_context();
}
END_TEST

/* ---- state ---- */

static int cancel_half_way(void *user, size_t done, size_t total) {
    (void)user;
    return done > total / 2;
}

/* BatchNorm's running statistics too, which move within the step. */
START_TEST(a_failed_step_changes_nothing) {
    open_context();
    mfrgn_config *config = small_config("mbaseline", "resnet18");
    mfrgn_model *model = filled_model(config);
    mfrgn_trainer *t = trainer_of(model, "f32", NULL);
    step(t, 2, 1);
    size_t bytes = state_values(t) * sizeof(float);
    void *before = malloc(bytes);
    memcpy(before, t->state[MF_STATE_VALUE], bytes);
    OK(mfrgn_trainer_set_progress(t, &(mfrgn_progress){sizeof(mfrgn_progress), NULL, cancel_half_way}));
    ck_assert_int_eq(try_step(t, 2, 1, NULL), MFRGN_ERROR_CANCELLED);
    ck_assert_int_eq(memcmp(before, t->state[MF_STATE_VALUE], bytes), 0);
    ck_assert_uint_eq(t->step, 1);
    OK(mfrgn_trainer_set_progress(t, NULL));
    step(t, 2, 1);
    ck_assert_int_ne(memcmp(before, t->state[MF_STATE_VALUE], bytes), 0);
    free(before);
    mfrgn_trainer_free(t);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    close_context();
}
END_TEST

static char path[64];

START_TEST(a_restored_run_goes_on_with_the_same_bits) {
    open_context();
    const setting more[] = {{MFRGN_TRAIN_EMA, "0.9"}, {0, NULL}};
    mfrgn_model *model = model_of("cvusa");
    mfrgn_trainer *a = trainer_of(model, "f32", more), *b = trainer_of(model, "f32", more);
    OK(mfrgn_trainer_set_learning_rate(a, 3e-4));
    step(a, 3, 1);
    OK(mfrgn_trainer_save(a, path));
    step(a, 3, 2);
    step(b, 3, 5);
    OK(mfrgn_trainer_restore(b, path));
    step(b, 3, 2);
    ck_assert_uint_eq(a->step, b->step);
    for (int s = 0; s < MF_STATE_COUNT; s++)
        ck_assert_int_eq(memcmp(a->state[s], b->state[s], state_values(a) * sizeof(float)), 0);
    mfrgn_trainer_free(a);
    mfrgn_trainer_free(b);
    mfrgn_model_free(model);
    close_context();
}
END_TEST

START_TEST(faults) {
    open_context();
    mfrgn_model *model = model_of("mbaseline"), *other = model_of("baseline");
    mfrgn_trainer *t = trainer_of(model, "f32", NULL), *u = trainer_of(other, "f32", NULL);
    mfrgn_image none = {0};
    FAILS(mfrgn_train_step(t, &none, &none, 1, NULL), MFRGN_ERROR_ARGUMENT, "at least 2");
    FAILS(mfrgn_trainer_restore(t, "/nonexistent/state.safetensors"), MFRGN_ERROR_IO, "nonexistent");
    OK(mfrgn_trainer_save(u, path));
    FAILS(mfrgn_trainer_restore(t, path), MFRGN_ERROR_MISMATCH, "local_source");
    FAILS(mfrgn_trainer_set_learning_rate(t, NAN), MFRGN_ERROR_ARGUMENT, "learning rate");
    /* a weight that is not finite: the step names itself and changes nothing */
    ((float *)t->slot[1])[0] = INFINITY;
    static unsigned char pixels[80 * 131 * 3];
    mfrgn_image two[2] = {{sizeof(mfrgn_image), pixels, 131, 49, 0, MFRGN_PIXEL_RGB8},
                          {sizeof(mfrgn_image), pixels, 131, 49, 0, MFRGN_PIXEL_RGB8}};
    FAILS(mfrgn_train_step(t, two, two, 2, NULL), MFRGN_ERROR_NUMERIC, "step 1");
    ck_assert_uint_eq(t->step, 0);
    mfrgn_trainer_free(t);
    mfrgn_trainer_free(u);
    mfrgn_model_free(model);
    mfrgn_model_free(other);
    close_context();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("train");
    TCase *c = tcase_create("train");
    snprintf(path, sizeof(path), "/tmp/mfrgn-train-%ld.safetensors", (long)getpid());
    tcase_set_timeout(c, 300);
    if (!MF_SHORT) { /* the same code with other numbers, or what tests/golden does too */
        tcase_add_loop_test(c, gradients_by_differences, 0, (int)MF_COUNT(presets));
        tcase_add_test(c, gradients_of_full_attention);
        tcase_add_test(c, gradients_of_resnet);
        tcase_add_test(c, threads_change_no_bit);
        tcase_add_test(c, recomputing_changes_memory_alone);
        tcase_add_test(c, dropout_depends_on_the_seed);
        tcase_add_test(c, the_loss_falls);
    }
    tcase_add_test(c, chunks_give_the_gradients_of_the_batch);
    /* short: the one with slices that are taken again */
    tcase_add_loop_test(c, views_together_give_the_same_step, MF_SHORT ? 2 : 0,
                        MF_SHORT ? 3 : (int)MF_COUNT(joint_cases));
    tcase_add_test(c, a_frozen_backbone_stays);
    tcase_add_test(c, a_failed_step_changes_nothing);
    tcase_add_test(c, a_restored_run_goes_on_with_the_same_bits);
    tcase_add_test(c, faults);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    remove(path);
    return failed != 0;
}
