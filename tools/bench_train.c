/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn bench --train: a training step, how far it is from what the machine can do, and its memory. */
#include <mfrgn/train.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "fill.h"
#include "json_out.h"
#include "machine.h"

typedef struct train_result {
    double minimum, median, fma_peak; /* seconds a step; operations a second */
    const char *fma_how;
    size_t peak_rss, runs, batch;
    mfrgn_trainer_info trainer;
} train_result;

typedef struct batch_of_pairs {
    size_t count;
    unsigned char *pixels[2];
    mfrgn_image *image[2];
} batch_of_pairs;

static int make_batch(batch_of_pairs *b, const mfrgn_model *model, size_t count) {
    b->count = count;
    for (int view = 0; view < 2; view++) {
        int width, height;
        mfrgn_model_input_size(model, (mfrgn_view)view, &width, &height);
        size_t size = (size_t)width * (size_t)height * 3;
        b->pixels[view] = malloc(size * count);
        b->image[view] = calloc(count, sizeof *b->image[view]);
        if (!b->pixels[view] || !b->image[view])
            return 0;
        for (size_t i = 0; i < count; i++) {
            fill_picture(view ? "img.sat" : "img.grd", i, width, height, b->pixels[view] + i * size);
            b->image[view][i] =
                (mfrgn_image){sizeof(mfrgn_image), b->pixels[view] + i * size, width, height, 0, MFRGN_PIXEL_RGB8};
        }
    }
    return 1;
}

static void free_batch(batch_of_pairs *b) {
    for (int view = 0; view < 2; view++) {
        free(b->pixels[view]);
        free(b->image[view]);
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The first step plans and is not counted. */
static mfrgn_status time_steps(mfrgn_trainer *trainer, const batch_of_pairs *b, long repeat, train_result *result) {
    double *times = malloc((size_t)repeat * sizeof *times);
    mfrgn_status status = times ? MFRGN_OK : MFRGN_ERROR_MEMORY;
    for (long i = -1; i < repeat && status == MFRGN_OK; i++) {
        double begin = tool_seconds();
        status = mfrgn_train_step(trainer, b->image[MFRGN_VIEW_GROUND], b->image[MFRGN_VIEW_AERIAL], b->count, NULL);
        if (i >= 0)
            times[i] = tool_seconds() - begin;
    }
    if (status == MFRGN_OK) {
        qsort(times, (size_t)repeat, sizeof *times, by_value);
        result->minimum = times[0];
        result->median = times[repeat / 2];
        result->runs = (size_t)repeat;
    }
    free(times);
    return status;
}

static mfrgn_status make_trainer(mfrgn_context *context, mfrgn_model *model, const tool_options *asked, int recompute,
                                 mfrgn_trainer **trainer) {
    const char *value[] = {asked->backend, asked->threads, asked->precision,
                           asked->device,  asked->tuning,  recompute ? "1" : NULL};
    const mfrgn_train_key key[] = {MFRGN_TRAIN_BACKEND, MFRGN_TRAIN_THREADS, MFRGN_TRAIN_PRECISION,
                                   MFRGN_TRAIN_DEVICE,  MFRGN_TRAIN_TUNING,  MFRGN_TRAIN_RECOMPUTE};
    mfrgn_train_options *options;
    mfrgn_status status = mfrgn_train_options_create(context, &options);
    if (status != MFRGN_OK)
        return status;
    for (int i = 0; i < 6 && status == MFRGN_OK; i++)
        if (value[i])
            status = mfrgn_train_options_set(options, key[i], value[i]);
    if (status == MFRGN_OK)
        status = mfrgn_trainer_create(model, options, trainer);
    mfrgn_train_options_free(options);
    return status;
}

static void print_json(const mfrgn_model *model, int threads, const train_result *r) {
    json_out json;
    double rate = r->trainer.flops / r->minimum;
    json_begin(&json, stdout);
    json_object(&json, NULL);
    json_string(&json, "backbone", mfrgn_config_get(mfrgn_model_config(model), MFRGN_CONFIG_BACKBONE));
    json_string(&json, "backend", r->trainer.backend);
    json_integer(&json, "threads", (unsigned)threads);
    json_integer(&json, "batch", r->batch);
    json_integer(&json, "runs", r->runs);
    json_number(&json, "step_ms_min", r->minimum * 1e3, 6);
    json_number(&json, "step_ms_median", r->median * 1e3, 6);
    json_number(&json, "pairs_per_second", (double)r->batch / r->median, 5);
    json_number(&json, "gflop_per_step", r->trainer.flops * 1e-9, 6);
    json_number(&json, "gflops", rate * 1e-9, 6);
    json_number(&json, "fma_peak_gflops", r->fma_peak * 1e-9, 6);
    json_number(&json, "fma_fraction", r->fma_peak > 0 ? rate / r->fma_peak : 0, 4);
    json_integer(&json, "state_bytes", r->trainer.state_bytes);
    json_integer(&json, "arena_bytes", r->trainer.arena_bytes);
    json_integer(&json, "peak_rss_bytes", r->peak_rss);
    json_close(&json);
    json_end(&json);
}

static void print_text(const mfrgn_model *model, int threads, const train_result *r) {
    double rate = r->trainer.flops / r->minimum;
    const mfrgn_config *config = mfrgn_model_config(model);
    printf("training, %s, aerial %s, ground %s\n", mfrgn_config_get(config, MFRGN_CONFIG_BACKBONE),
           mfrgn_config_get(config, MFRGN_CONFIG_AERIAL_SIZE), mfrgn_config_get(config, MFRGN_CONFIG_GROUND_SIZE));
    printf("  %-18s %s, %d threads, batch %zu\n", "backend", r->trainer.backend, threads, r->batch);
    printf("  %-18s %.1f ms at best, %.1f ms median of %zu (%.2f pairs/s)\n", "a step", r->minimum * 1e3,
           r->median * 1e3, r->runs, (double)r->batch / r->median);
    printf("  %-18s %.1f GFLOP/s, %.0f %% of the peak of %.1f (%s); %.1f GFLOP a step\n", "speed", rate * 1e-9,
           r->fma_peak > 0 ? 100 * rate / r->fma_peak : 0, r->fma_peak * 1e-9, r->fma_how, r->trainer.flops * 1e-9);
    printf("  %-18s %s: weights, gradients, moments %s, activations %s\n", "planned memory",
           tool_bytes((double)(r->trainer.state_bytes + r->trainer.arena_bytes)),
           tool_bytes((double)r->trainer.state_bytes), tool_bytes((double)r->trainer.arena_bytes));
    printf("  %-18s %s resident\n", "peak memory", tool_bytes((double)r->peak_rss));
}

int bench_train(mfrgn_context *context, mfrgn_model *model, const tool_options *options, long repeat, int recompute) {
    mfrgn_trainer *trainer = NULL;
    batch_of_pairs pairs = {0};
    train_result r = {.batch = options->batch ? strtoul(options->batch, NULL, 10) : 8};
    int threads = options->threads ? atoi(options->threads) : 0;
    if (threads < 1)
        threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (r.batch < 2 || r.batch > 4096)
        return tool_usage("--train takes a --batch from 2 to 4096 pairs");
    mfrgn_status status = make_trainer(context, model, options, recompute, &trainer);
    if (status == MFRGN_OK && !make_batch(&pairs, model, r.batch))
        status = MFRGN_ERROR_MEMORY;
    r.fma_peak = machine_fma_peak(threads, &r.fma_how);
    if (status == MFRGN_OK)
        status = time_steps(trainer, &pairs, repeat ? repeat : 5, &r);
    if (status == MFRGN_OK) {
        const char *how;
        double again = machine_fma_peak(threads, &how);
        r.fma_peak = again > r.fma_peak ? again : r.fma_peak;
        r.peak_rss = machine_peak_rss();
        r.trainer.struct_size = sizeof r.trainer;
        status = mfrgn_trainer_get_info(trainer, &r.trainer);
    }
    if (status != MFRGN_OK)
        tool_failed(context, status, "");
    else if (options->json)
        print_json(model, threads, &r);
    else
        print_text(model, threads, &r);
    free_batch(&pairs);
    mfrgn_trainer_free(trainer);
    return status == MFRGN_OK ? TOOL_OK : TOOL_FAILED;
}
