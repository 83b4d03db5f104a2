/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn bench: how fast a view is embedded here, how far that is from what the machine can do, how much memory and
 * start it takes.
 *
 * The order matters: nothing is measured before the first descriptor, so that its time is that of a program that does
 * just this; the peak of the cores is taken before and after the timed runs, and the higher one counts; the buffer that
 * the bandwidth is measured with comes after the peak memory was read. */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "fill.h"
#include "json_out.h"
#include "machine.h"

typedef struct bench_options {
    int view_given, dtype_given, train, recompute;
    mfrgn_view view;
    mfrgn_dtype dtype;
    long repeat; /* 0: as many as fit into 3 s, at least 5 */
} bench_options;

typedef struct bench_result {
    double minimum_ms, median_ms; /* an image */
    double load_ms, first_ms;
    double flops; /* an image */
    double fma_peak, read_rate;
    const char *fma_how;
    size_t peak_rss, weights;
    size_t runs;
    mfrgn_session_info session;
} bench_result;

static const tool_option own_options[] = {
    {"view", 0, "VIEW", "ground or aerial (aerial)"},
    {"repeat", 'r', "N", "timed runs (as many as fit into 3 s, at least 5)"},
    {"dtype", 'd', "TYPE", "store the random weights as f32, f16 or bf16 (f32)"},
    {"train", 0, NULL, "a training step in place of an embedding; --batch: pairs (8)"},
    {"recompute", 0, NULL, "with --train: less memory, more time"},
    {NULL, 0, NULL, NULL},
};

static int take(void *user, const char *name, const char *value) {
    bench_options *bench = user;
    if (!strcmp(name, "view")) {
        bench->view_given = 1;
        return tool_view(value, &bench->view) ? 0 : TOOL_USAGE;
    }
    if (!strcmp(name, "train"))
        return bench->train = 1, 0;
    if (!strcmp(name, "recompute"))
        return bench->recompute = 1, 0;
    if (!strcmp(name, "dtype")) {
        bench->dtype_given = 1;
        return tool_dtype(value, &bench->dtype) ? 0 : TOOL_USAGE;
    }
    return tool_number("--repeat", value, 1, 1000000, &bench->repeat) ? 0 : TOOL_USAGE;
}

/* ---------------------------------------------------------------------------------------------- start --------- */

static double start_time;

/* When the process began: now, less the time that it has computed so far (the dynamic linker's).  The kernel's own note
 * of the start is good to 10 ms only. */
void bench_note_start(void) {
    struct timespec used;
    start_time = tool_seconds();
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0)
        start_time -= (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

/* ---------------------------------------------------------------------------------------------- weights ------- */

/* Makes random weights and writes them to `path`: in a process of its own, so that neither its time nor its memory
 * counts as that of the program which then loads them. */
static int write_weights(const tool_options *options, mfrgn_dtype dtype, const char *path) {
    double begin = tool_seconds();
    int state = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        mfrgn_context *context = tool_context(options);
        mfrgn_model *model = context ? tool_model(context, options) : NULL;
        mfrgn_status status = model ? mfrgn_model_save(model, path, dtype, NULL) : MFRGN_ERROR_INTERNAL;
        if (model && status != MFRGN_OK)
            tool_failed(context, status, "");
        _exit(status == MFRGN_OK ? TOOL_OK : TOOL_FAILED);
    }
    if (child < 0) {
        tool_error("%s", strerror(errno));
        return 0;
    }
    while (waitpid(child, &state, 0) < 0 && errno == EINTR)
        ;
    start_time += tool_seconds() - begin;
    return WIFEXITED(state) && WEXITSTATUS(state) == TOOL_OK;
}

/* The weights of --model, or random ones through a file that is gone before this returns. */
static mfrgn_model *bench_model(mfrgn_context *context, const tool_options *options, mfrgn_dtype dtype,
                                double *load_ms) {
    char *directory = NULL, *path = NULL;
    tool_options file = *options;
    if (!options->model) {
        path = tool_temporary("model.safetensors", &directory);
        if (!path || !write_weights(options, dtype, path)) {
            tool_remove(path, directory);
            return NULL;
        }
        file = (tool_options){.model = path, .quiet = options->quiet};
    }
    double start = tool_seconds();
    mfrgn_model *model = tool_model(context, &file);
    *load_ms = (tool_seconds() - start) * 1e3;
    tool_remove(path, directory); /* the mapping stays */
    return model;
}

/* ---------------------------------------------------------------------------------------------- pictures ------ */

typedef struct picture_batch {
    unsigned char *pixels;
    mfrgn_image *image;
    float *descriptors;
    size_t count;
} picture_batch;

static void batch_free(picture_batch *batch) {
    free(batch->pixels);
    free(batch->image);
    free(batch->descriptors);
}

/* As many different pictures of the view's size as a batch holds. */
static int batch_make(picture_batch *batch, const mfrgn_model *model, mfrgn_view view, size_t count) {
    int width = 0, height = 0;
    mfrgn_model_input_size(model, view, &width, &height);
    size_t bytes = (size_t)width * (size_t)height * 3;
    batch->count = count;
    batch->pixels = malloc(count * bytes);
    batch->image = calloc(count, sizeof *batch->image);
    batch->descriptors = malloc(count * mfrgn_model_descriptor_size(model) * sizeof *batch->descriptors);
    if (!batch->pixels || !batch->image || !batch->descriptors) {
        tool_error("not enough memory");
        batch_free(batch);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        char name[40];
        snprintf(name, sizeof name, "img.%s.%zu", view == MFRGN_VIEW_AERIAL ? "sat" : "grd", i);
        fill_picture(name, 1, width, height, batch->pixels + i * bytes);
        batch->image[i] =
            (mfrgn_image){sizeof(mfrgn_image), batch->pixels + i * bytes, width, height, 0, MFRGN_PIXEL_RGB8};
    }
    return 1;
}

/* ---------------------------------------------------------------------------------------------- measure ------- */

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static int timed_runs(mfrgn_context *context, mfrgn_session *session, const bench_options *bench, picture_batch *batch,
                      bench_result *result) {
    enum { AT_MOST = 1000 };
    size_t capacity = bench->repeat ? (size_t)bench->repeat : AT_MOST, runs = 0;
    double *times = malloc(capacity * sizeof *times), begin = tool_seconds();
    if (!times) {
        tool_error("not enough memory");
        return 0;
    }
    while (runs < capacity && (bench->repeat || runs < 5 || tool_seconds() - begin < 3)) {
        double start = tool_seconds();
        mfrgn_status status = mfrgn_embed(session, bench->view, batch->image, batch->count, batch->descriptors);
        times[runs++] = (tool_seconds() - start) * 1e3 / (double)batch->count;
        if (status != MFRGN_OK) {
            tool_failed(context, status, "");
            free(times);
            return 0;
        }
    }
    qsort(times, runs, sizeof *times, ascending);
    result->runs = runs;
    result->minimum_ms = times[0];
    result->median_ms = runs % 2 ? times[runs / 2] : (times[runs / 2 - 1] + times[runs / 2]) / 2;
    free(times);
    return 1;
}

static int measure(mfrgn_context *context, mfrgn_session *session, const mfrgn_model *model, const bench_options *bench,
                   bench_result *result) {
    picture_batch batch;
    result->session.struct_size = sizeof result->session;
    mfrgn_status status = mfrgn_session_get_info(session, &result->session);
    if (status != MFRGN_OK) {
        tool_failed(context, status, "");
        return 0;
    }
    if (!batch_make(&batch, model, bench->view, result->session.batch > 0 ? (size_t)result->session.batch : 1))
        return 0;
    status = mfrgn_embed(session, bench->view, batch.image, batch.count, batch.descriptors);
    result->first_ms = (tool_seconds() - start_time) * 1e3;
    int good = status == MFRGN_OK;
    if (!good)
        tool_failed(context, status, "");
    int threads = result->session.threads > 0 ? result->session.threads : 1;
    if (good) {
        result->fma_peak = machine_fma_peak(threads, &result->fma_how);
        good = timed_runs(context, session, bench, &batch, result);
    }
    if (good) {
        const char *how;
        result->peak_rss = machine_peak_rss();
        double again = machine_fma_peak(threads, &how);
        result->fma_peak = again > result->fma_peak ? again : result->fma_peak;
        result->read_rate = machine_read_bandwidth(threads);
        mfrgn_session_get_info(session, &result->session); /* the view is planned now */
        result->flops = mfrgn_model_flops(model, bench->view);
        result->weights = tool_weights_bytes(model);
    }
    batch_free(&batch);
    return good;
}

/* ---------------------------------------------------------------------------------------------- results ------- */

static void print_json(const tool_options *options, const bench_options *bench, const mfrgn_model *model,
                       const bench_result *result) {
    double gflops = result->flops / result->minimum_ms * 1e-6;
    json_out json;
    json_begin(&json, stdout);
    json_object(&json, NULL);
    json_string(&json, "preset", options->model ? NULL : options->preset ? options->preset : "cvusa");
    json_string(&json, "model", options->model);
    json_string(&json, "backbone", mfrgn_config_get(mfrgn_model_config(model), MFRGN_CONFIG_BACKBONE));
    json_string(&json, "view", tool_view_name(bench->view));
    json_string(&json, "backend", result->session.backend);
    json_string(&json, "backend_detail", result->session.detail);
    json_string(&json, "precision", options->precision ? options->precision : "f32");
    json_string(&json, "gelu", options->gelu ? options->gelu : "exact");
    json_integer(&json, "threads", (unsigned)result->session.threads);
    json_integer(&json, "batch", (unsigned)result->session.batch);
    json_integer(&json, "runs", result->runs);
    json_integer(&json, "parameters", mfrgn_model_parameter_count(model));
    json_integer(&json, "weights_bytes", result->weights);
    json_number(&json, "gflop_per_image", result->flops * 1e-9, 6);
    json_number(&json, "ms_per_image_min", result->minimum_ms, 6);
    json_number(&json, "ms_per_image_median", result->median_ms, 6);
    json_number(&json, "gflops", gflops, 6);
    json_number(&json, "fma_peak_gflops", result->fma_peak * 1e-9, 6);
    json_number(&json, "fma_fraction", result->fma_peak > 0 ? gflops * 1e9 / result->fma_peak : 0, 4);
    json_string(&json, "fma_instructions", result->fma_how);
    json_number(&json, "read_gbps", result->read_rate * 1e-9, 5);
    json_integer(&json, "planned_bytes", result->session.arena_bytes + result->session.packed_bytes);
    json_integer(&json, "arena_bytes", result->session.arena_bytes);
    json_integer(&json, "packed_bytes", result->session.packed_bytes);
    json_integer(&json, "peak_rss_bytes", result->peak_rss);
    json_number(&json, "load_ms", result->load_ms, 6);
    json_number(&json, "first_descriptor_ms", result->first_ms, 6);
    json_close(&json);
    json_end(&json);
}

static void print_text(const tool_options *options, const bench_options *bench, const mfrgn_model *model,
                       const bench_result *result) {
    double gflops = result->flops / result->minimum_ms * 1e-6;
    int width = 0, height = 0;
    mfrgn_model_input_size(model, bench->view, &width, &height);
    printf("%s, %s view %dx%d, %s\n",
           options->model    ? options->model
           : options->preset ? options->preset
                             : "cvusa",
           tool_view_name(bench->view), height, width,
           mfrgn_config_get(mfrgn_model_config(model), MFRGN_CONFIG_BACKBONE));
    printf("  %-18s %s (%s)\n", "backend", result->session.backend, result->session.detail);
    printf("  %-18s %d, batch %d, %s%s\n", "threads", result->session.threads, result->session.batch,
           options->precision ? options->precision : "f32",
           options->gelu && !strcmp(options->gelu, "tanh") ? ", tanh GELU" : "");
    printf("  %-18s %.2f ms at best, %.2f ms median of %zu runs\n", "an image", result->minimum_ms, result->median_ms,
           result->runs);
    printf("  %-18s %.1f GFLOP/s, %.0f %% of the peak (%.1f GFLOP an image)\n", "speed", gflops,
           result->fma_peak > 0 ? gflops * 1e11 / result->fma_peak : 0, result->flops * 1e-9);
    printf("  %-18s %.1f GFLOP/s (f32, %s), reads %.1f GB/s\n", "this machine", result->fma_peak * 1e-9,
           result->fma_how, result->read_rate * 1e-9);
    printf("  %-18s %s (%s learnt parameters)\n", "weights", tool_bytes((double)result->weights),
           tool_thousands(mfrgn_model_parameter_count(model)));
    printf("  %-18s %s: arena %s, packed weights %s\n", "planned memory",
           tool_bytes((double)(result->session.arena_bytes + result->session.packed_bytes)),
           tool_bytes((double)result->session.arena_bytes), tool_bytes((double)result->session.packed_bytes));
    printf("  %-18s %s resident\n", "peak memory", tool_bytes((double)result->peak_rss));
    printf("  %-18s weights loaded in %.1f ms, first descriptor %.1f ms after the start of the process\n", "start",
           result->load_ms, result->first_ms);
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    bench_options bench = {.view = MFRGN_VIEW_AERIAL};
    bench_result result = {0};
    int first, code = tool_parse(command, argc, argv, &options, take, &bench, &first);
    if (code >= 0)
        return code;
    if (first < argc)
        return tool_usage("'%s' is not expected here", argv[first]);
    if (bench.dtype_given && options.model)
        return tool_usage("--dtype is for random weights; 'mfrgn convert --dtype' changes a file");

    if (bench.train && bench.view_given)
        return tool_usage("--train takes both views");
    if (bench.train && options.gelu && strcmp(options.gelu, "exact"))
        return tool_usage("--train computes the exact GELU: --gelu is for embedding");

    mfrgn_context *context = tool_context(&options);
    if (!context)
        return TOOL_FAILED;
    mfrgn_model *model = bench_model(context, &options, bench.dtype, &result.load_ms);
    if (model && bench.train) {
        code = bench_train(context, model, &options, bench.repeat, bench.recompute);
        mfrgn_model_free(model);
        mfrgn_context_free(context);
        return code;
    }
    mfrgn_session *session = model ? tool_session(context, model, &options) : NULL;
    code = TOOL_FAILED;
    if (session && measure(context, session, model, &bench, &result)) {
        if (options.json)
            print_json(&options, &bench, model, &result);
        else
            print_text(&options, &bench, model, &result);
        code = TOOL_OK;
    }
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    mfrgn_context_free(context);
    return code;
}

const tool_command command_bench = {
    "bench",
    "measure speed and memory on this machine",
    "[--model FILE | --preset NAME] [OPTIONS]",
    "Measures the embedding of a view: time an image, GFLOP/s, the peak of the cores used and the read bandwidth of\n"
    "the memory (both measured in the same run), planned and peak memory, time to load and to the first descriptor.\n"
    "With --train: a training step of a batch of pairs.\n"
    "Needs no weights file: without one random weights are written to a temporary file by another process, so that\n"
    "start and memory are those of a program that loads its weights.",
    "  mfrgn bench\n"
    "  mfrgn bench --model cvusa.safetensors --backend onednn --threads 2 --json\n"
    "  mfrgn bench --preset vigor --view ground --batch 8 --repeat 20\n"
    "  mfrgn bench --train --set backbone=convnext_tiny --aerial-size 128x128 --ground-size 64x256 --batch 8\n",
    OPT_MODEL | OPT_NETWORK | OPT_SET | OPT_SESSION | OPT_JSON | OPT_QUIET,
    own_options,
    run,
};
