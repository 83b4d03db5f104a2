/* SPDX-License-Identifier: Apache-2.0 */
/* Three steps of training against a golden file: each loss, the gradients of the first step, the weights after the
 * third.  Gradients that vanish in exact arithmetic (a bias before a BatchNorm) are noise in f32 and are left out. */
#include <math.h>
#include <mfrgn/train.h>
#include <stdlib.h>
#include <string.h>

#include "fill.h"
#include "selftest.h"

enum { STEPS = 3, VALUES = 18 };

/* Of the losses of the steps, relative; of gradients, relative to their tensor's norm; of weights. */
typedef struct bounds {
    double loss[STEPS], gradient, norm, value;
} bounds;
static const bounds strict = {{1e-5, 1e-5, 1e-5}, 1e-4, 1e-5, 1e-5};
/* A ReLU has a step in its gradient.  In f32 an input of a ResNet's last stage is off by some 4e-6, and of its 32,768
 * one or two lie that near to zero: whether the gradient of such a one goes on is rounding, and AdamW makes full steps
 * of what follows.  `ref`, which sums in f64, is held to the strict bounds. */
static const bounds relu = {{1e-5, 2e-4, 5e-4}, 3e-3, 1e-3, 2e-3};
/* Of products and feature maps in fewer bits: what a training run lives with, not what is promised of f32. */
static const bounds tf32 = {{1e-3, 2e-3, 5e-3}, 2e-2, 1e-2, 1e-2};
static const bounds half = {{1e-2, 2e-2, 5e-2}, 0.2, 2e-2, 2e-2};
/* A sum that cancels to this part of the whole gradient's norm (a gate's bias, one number) is rounding in f32: no
 * tensor's norm counts as less. */
static const double least_norm = 1e-6;

typedef struct training {
    selftest *test;
    const golden *file;
    case_result *result;
    mfrgn_model *model;
    mfrgn_trainer *trainer;
    size_t batch;
    double rate[STEPS];
    unsigned char *pixels[2];
    mfrgn_image *images[2]; /* ground, aerial */
    float *values;          /* room for the largest tensor */
    char *unsure;           /* a tensor's 16 samples: 1: its gradient is so small that AdamW may go either way */
    bounds bound;
    double worst[3]; /* loss, gradient, weights: in parts of what is right */
    char where[3][96];
} training;

static int is_noise(const char *name) {
    const char *ending = ".0.bias";
    size_t length = strlen(name), tail = strlen(ending);
    return strncmp(name, "proj_gl", 7) == 0 && length > tail && strcmp(name + length - tail, ending) == 0;
}

static void note(training *t, int what, double part, const char *name) {
    if (part > t->worst[what] || part != part) {
        t->worst[what] = part == part ? part : (double)INFINITY;
        snprintf(t->where[what], sizeof t->where[what], "%s", name);
    }
}

static double norm_of(const float *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)values[i] * (double)values[i];
    return sqrt(sum);
}

static size_t sample_stride(size_t count) {
    return count / 16 > 1 ? count / 16 : 1;
}

/* ---- the run ---- */

static int read_numbers(const char *text, double *values, int count) {
    for (int i = 0; i < count; i++) {
        char *end;
        values[i] = text ? strtod(text, &end) : 0;
        if (!text || end == text)
            return 0;
        text = *end == ',' ? end + 1 : end;
    }
    return 1;
}

static int make_images(training *t, uint64_t seed) {
    for (int view = 0; view < 2; view++) {
        int width, height;
        mfrgn_model_input_size(t->model, (mfrgn_view)view, &width, &height);
        size_t size = (size_t)width * (size_t)height * 3;
        t->pixels[view] = malloc(size * t->batch);
        t->images[view] = calloc(t->batch, sizeof *t->images[view]);
        if (!t->pixels[view] || !t->images[view])
            return 0;
        for (size_t i = 0; i < t->batch; i++) {
            char name[32];
            snprintf(name, sizeof name, "img.%s.%zu", view == MFRGN_VIEW_AERIAL ? "sat" : "grd", i);
            fill_picture(name, seed, width, height, t->pixels[view] + i * size);
            t->images[view][i] =
                (mfrgn_image){sizeof(mfrgn_image), t->pixels[view] + i * size, width, height, 0, MFRGN_PIXEL_RGB8};
        }
    }
    return 1;
}

static mfrgn_status make_trainer(training *t) {
    const tool_options *asked = &t->test->options;
    const char *betas = golden_metadata(t->file, "betas");
    double beta[2];
    char text[2][40];
    if (!read_numbers(betas, beta, 2))
        beta[0] = 0.9, beta[1] = 0.999;
    for (int i = 0; i < 2; i++)
        snprintf(text[i], sizeof text[i], "%.17g", beta[i]);
    const struct {
        mfrgn_train_key key;
        const char *value;
    } set[] = {{MFRGN_TRAIN_BACKEND, asked->backend},
               {MFRGN_TRAIN_THREADS, asked->threads},
               {MFRGN_TRAIN_PRECISION, asked->precision},
               {MFRGN_TRAIN_DEVICE, asked->device},
               {MFRGN_TRAIN_TUNING, asked->tuning},
               {MFRGN_TRAIN_DROPOUT, "0"},
               {MFRGN_TRAIN_LABEL_SMOOTHING, golden_metadata(t->file, "label_smoothing")},
               {MFRGN_TRAIN_WEIGHT_DECAY, golden_metadata(t->file, "weight_decay")},
               {MFRGN_TRAIN_EPSILON, golden_metadata(t->file, "eps")},
               {MFRGN_TRAIN_CLIP_VALUE, golden_metadata(t->file, "clip_value")},
               {MFRGN_TRAIN_BETA1, text[0]},
               {MFRGN_TRAIN_BETA2, text[1]}};
    mfrgn_train_options *options = NULL;
    mfrgn_status status = mfrgn_train_options_create(t->test->context, &options);
    for (size_t i = 0; status == MFRGN_OK && i < sizeof set / sizeof *set; i++)
        if (set[i].value)
            status = mfrgn_train_options_set(options, set[i].key, set[i].value);
    if (status == MFRGN_OK)
        status = mfrgn_trainer_create(t->model, options, &t->trainer);
    mfrgn_train_options_free(options);
    return status;
}

/* ---- comparisons ---- */

/* Each gradient's norm and samples; notes which samples are too small to steer AdamW. */
static int compare_gradients(training *t) {
    mfrgn_trainer_info whole = {.struct_size = sizeof whole};
    int compared = 0;
    if (mfrgn_trainer_get_info(t->trainer, &whole) != MFRGN_OK)
        return 0;
    double least = least_norm * whole.gradient_norm;
    for (size_t i = 0; i < mfrgn_model_tensor_count(t->model); i++) {
        mfrgn_tensor_info info = {.struct_size = sizeof info};
        char name[160];
        size_t count = 1;
        mfrgn_model_tensor_get_info(t->model, i, &info);
        for (int d = 0; d < info.dims; d++)
            count *= info.shape[d];
        snprintf(name, sizeof name, "grad.%s", info.name);
        const golden_tensor *wanted = golden_find(t->file, name);
        if (!wanted || is_noise(info.name))
            continue;
        if (mfrgn_trainer_gradient(t->trainer, info.name, t->values, count) != MFRGN_OK)
            return 0;
        double norm = (double)golden_value(wanted, 0), floor = norm > least ? norm : least;
        note(t, 1, fabs(norm_of(t->values, count) - norm) / floor / t->bound.gradient, info.name);
        for (size_t k = 0, stride = sample_stride(count); k + 2 < wanted->count && k * stride < count; k++) {
            double value = (double)t->values[k * stride];
            note(t, 1, fabs(value - (double)golden_value(wanted, k + 2)) / floor / t->bound.gradient, info.name);
            t->unsure[i * 16 + k] = fabs(value) < 1e-4 * norm / sqrt((double)count);
        }
        compared++;
    }
    return compared;
}

static int compare_weights(training *t) {
    mfrgn_model *after = NULL;
    int compared = 0;
    double rates = 0;
    for (int i = 0; i < STEPS; i++)
        rates += t->rate[i];
    if (mfrgn_trainer_model(t->trainer, 0, &after) != MFRGN_OK)
        return 0;
    for (size_t i = 0; i < mfrgn_model_tensor_count(after); i++) {
        mfrgn_tensor_info info = {.struct_size = sizeof info};
        char name[160];
        size_t count = 1;
        mfrgn_model_tensor_get_info(after, i, &info);
        for (int d = 0; d < info.dims; d++)
            count *= info.shape[d];
        snprintf(name, sizeof name, "after.%s", info.name);
        const golden_tensor *wanted = golden_find(t->file, name);
        if (!wanted || is_noise(info.name) || mfrgn_model_tensor_read(after, i, t->values, count) != MFRGN_OK)
            continue;
        double norm = (double)golden_value(wanted, 0);
        note(t, 2, fabs(norm_of(t->values, count) - norm) / norm / t->bound.norm, info.name);
        for (size_t k = 0, stride = sample_stride(count); k + 2 < wanted->count && k * stride < count; k++) {
            double bound = t->bound.value + (t->unsure[i * 16 + k] ? 2 * rates : 0);
            note(t, 2, fabs((double)t->values[k * stride] - (double)golden_value(wanted, k + 2)) / bound, info.name);
        }
        compared++;
    }
    mfrgn_model_free(after);
    return compared;
}

static void judge(training *t, int gradients, int weights) {
    static const char *const what[3] = {"the loss", "a gradient", "the weights after step 3"};
    t->result->error[0] = t->worst[0] * t->bound.loss[0];
    t->result->error[1] = t->worst[1] * t->bound.gradient;
    if (!gradients || !weights)
        selftest_fail(t->result, "the file holds no gradients or no weights of this network");
    for (int i = 0; i < 3; i++)
        if (!(t->worst[i] <= 1) && t->result->outcome != FAILED)
            selftest_fail(t->result, "%s is off by %.2g of what is allowed (%s)", what[i], t->worst[i], t->where[i]);
    snprintf(t->result->message + strlen(t->result->message), sizeof t->result->message - strlen(t->result->message),
             "%sof the bounds: loss %.2g, gradients %.2g (%s), weights %.2g (%s)", *t->result->message ? "; " : "",
             t->worst[0], t->worst[1], t->where[1], t->worst[2], t->where[2]);
}

static void run_steps(training *t) {
    const golden_tensor *loss = golden_find(t->file, "loss");
    int gradients = 0;
    for (int step = 0; step < STEPS; step++) {
        float got;
        char name[32];
        mfrgn_status status = mfrgn_trainer_set_learning_rate(t->trainer, t->rate[step]);
        if (status == MFRGN_OK)
            status = mfrgn_train_step(t->trainer, t->images[MFRGN_VIEW_GROUND], t->images[MFRGN_VIEW_AERIAL], t->batch,
                                      &got);
        if (status != MFRGN_OK) {
            selftest_fail_status(t->test, t->result, status);
            return;
        }
        snprintf(name, sizeof name, "step %d", step + 1);
        note(t, 0, fabs((double)got / (double)golden_value(loss, (size_t)step) - 1) / t->bound.loss[step], name);
        if (step == 0)
            gradients = compare_gradients(t);
    }
    judge(t, gradients, compare_weights(t));
}

static size_t largest_tensor(const mfrgn_model *model) {
    size_t most = 1;
    for (size_t i = 0; i < mfrgn_model_tensor_count(model); i++) {
        mfrgn_tensor_info info = {.struct_size = sizeof info};
        size_t count = 1;
        mfrgn_model_tensor_get_info(model, i, &info);
        for (int d = 0; d < info.dims; d++)
            count *= info.shape[d];
        most = count > most ? count : most;
    }
    return most;
}

static void run(training *t, uint64_t seed) {
    double batch = 0;
    const golden_tensor *loss = golden_find(t->file, "loss");
    if (!read_numbers(golden_metadata(t->file, "lr"), t->rate, STEPS) ||
        !read_numbers(golden_metadata(t->file, "batch"), &batch, 1) || batch < 2 || batch > 1024 || !loss ||
        loss->count != STEPS) {
        selftest_fail(t->result, "the file lacks lr, batch or the losses of %d steps", (int)STEPS);
        return;
    }
    t->batch = (size_t)batch;
    t->values = malloc(largest_tensor(t->model) * sizeof *t->values);
    t->unsure = calloc(mfrgn_model_tensor_count(t->model), 16);
    if (!t->values || !t->unsure || !make_images(t, seed)) {
        selftest_fail(t->result, "not enough memory");
        return;
    }
    mfrgn_status status = make_trainer(t);
    if (status != MFRGN_OK) {
        selftest_fail_status(t->test, t->result, status);
        return;
    }
    mfrgn_trainer_info info = {.struct_size = sizeof info};
    if (mfrgn_trainer_get_info(t->trainer, &info) == MFRGN_OK)
        snprintf(t->test->backend, sizeof t->test->backend, "%s", info.backend);
    int has_relu = strncmp(mfrgn_config_get(mfrgn_model_config(t->model), MFRGN_CONFIG_BACKBONE), "resnet", 6) == 0;
    const char *precision = t->test->options.precision;
    t->bound = has_relu && strcmp(t->test->backend, "ref") != 0 ? relu : strict;
    if (precision && !strcmp(precision, "tf32"))
        t->bound = tf32;
    else if (precision && strcmp(precision, "f32") && strcmp(precision, "f64"))
        t->bound = half;
    run_steps(t);
}

void selftest_train(selftest *test, const golden *file, case_result *result) {
    const char *text = golden_metadata(file, "weight_seed");
    uint64_t seed = text ? strtoull(text, NULL, 10) : 1;
    training t = {.test = test, .file = file, .result = result};
    if (test->dtype_given) {
        result->outcome = SKIPPED;
        snprintf(result->message, sizeof result->message, "training starts from f32 weights");
        return;
    }
    t.model = selftest_golden_model(test, file, seed, result);
    if (t.model)
        run(&t, seed);
    for (int view = 0; view < 2; view++) {
        free(t.pixels[view]);
        free(t.images[view]);
    }
    free(t.values);
    free(t.unsure);
    mfrgn_trainer_free(t.trainer);
    mfrgn_model_free(t.model);
}
