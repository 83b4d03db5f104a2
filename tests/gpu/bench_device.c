/* bench_device [--backend NAME] [--precision NAME] [--preset NAME] [--backbone NAME] [--batch N] [--repeat N]
 *              [--gelu NAME] [--tuning FILE] [--calibrate]
 *
 * Embedding as an application on a GPU does it: images of 8 bits in device memory, descriptors left there.  Prints
 * JSON: latency_ms, the median of runs that are waited for one by one; images_per_second, of `repeat` runs that are
 * waited for once at the end.  The weights are random. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/session.h"

typedef struct arguments {
    const char *backend, *precision, *preset, *backbone, *gelu, *tuning;
    long batch, repeat;
    int calibrate;
} arguments;

typedef struct bench {
    mfrgn_context *context;
    mfrgn_session *session;
    mfrgn_device_images images;
    unsigned char *pixels; /* the host's copy */
    void *device, *descriptors;
    double *times;
} bench;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int read_arguments(int argc, char **argv, arguments *a) {
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--calibrate")) {
            a->calibrate = 1;
            continue;
        }
        if (!value)
            return 0;
        if (!strcmp(argv[i], "--backend"))
            a->backend = value;
        else if (!strcmp(argv[i], "--precision"))
            a->precision = value;
        else if (!strcmp(argv[i], "--preset"))
            a->preset = value;
        else if (!strcmp(argv[i], "--backbone"))
            a->backbone = value;
        else if (!strcmp(argv[i], "--gelu"))
            a->gelu = value;
        else if (!strcmp(argv[i], "--tuning"))
            a->tuning = value;
        else if (!strcmp(argv[i], "--batch") && mf_read_int(value, &a->batch) && a->batch > 0)
            ;
        else if (!strcmp(argv[i], "--repeat") && mf_read_int(value, &a->repeat) && a->repeat > 0)
            ;
        else
            return 0;
        i++;
    }
    return 1;
}

static mfrgn_status open_session(bench *b, const arguments *a) {
    mfrgn_config *config = NULL;
    mfrgn_model *model = NULL;
    mfrgn_options *options = NULL;
    mfrgn_status status = mfrgn_config_create(b->context, a->preset, &config);
    if (status == MFRGN_OK && a->backbone)
        status = mfrgn_config_set(config, MFRGN_CONFIG_BACKBONE, a->backbone);
    if (status == MFRGN_OK)
        status = mfrgn_model_create(b->context, config, 1, &model);
    if (status == MFRGN_OK)
        status = mfrgn_options_create(b->context, &options);
    if (status == MFRGN_OK)
        status = mfrgn_options_set(options, MFRGN_OPTION_BACKEND, a->backend);
    if (status == MFRGN_OK)
        status = mfrgn_options_set(options, MFRGN_OPTION_PRECISION, a->precision);
    if (status == MFRGN_OK)
        status = mfrgn_options_set(options, MFRGN_OPTION_GELU, a->gelu);
    if (status == MFRGN_OK)
        status = mfrgn_options_set(options, MFRGN_OPTION_TUNING, a->tuning);
    if (status == MFRGN_OK)
        status = mfrgn_options_set_int(options, MFRGN_OPTION_BATCH, a->batch);
    if (status == MFRGN_OK)
        status = mfrgn_session_create(model, options, &b->session);
    mfrgn_options_free(options);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    return status;
}

static mfrgn_status make_images(bench *b, const arguments *a) {
    const mf_engine *e = &b->session->engine;
    int width, height;
    mfrgn_model_input_size(b->session->model, MFRGN_VIEW_AERIAL, &width, &height);
    size_t bytes = (size_t)a->batch * (size_t)width * (size_t)height * 3;
    b->pixels = malloc(bytes);
    if (!b->pixels)
        return MFRGN_ERROR_MEMORY;
    for (size_t i = 0; i < bytes; i++)
        b->pixels[i] = (unsigned char)(i * 2654435761u >> 24);
    mf_engine_begin(e);
    mfrgn_status status = mf_engine_alloc(e, bytes, "images", &b->device);
    if (status == MFRGN_OK)
        status = mf_engine_put(e, b->device, b->pixels, bytes);
    if (status == MFRGN_OK)
        status = mf_engine_alloc(e, (size_t)a->batch * mfrgn_model_descriptor_size(b->session->model) * sizeof(float),
                                 "descriptors", &b->descriptors);
    mf_engine_end(e);
    b->images = (mfrgn_device_images){.struct_size = sizeof(b->images),
                                      .pixels = b->device,
                                      .count = (size_t)a->batch,
                                      .width = width,
                                      .height = height,
                                      .format = MFRGN_PIXEL_RGB8};
    return status;
}

static mfrgn_status calibrate(bench *b) {
    mfrgn_image image[64];
    size_t n = b->images.count < MF_COUNT(image) ? b->images.count : MF_COUNT(image);
    for (size_t i = 0; i < n; i++)
        image[i] = (mfrgn_image){sizeof(*image),
                                 b->pixels + i * (size_t)b->images.width * (size_t)b->images.height * 3,
                                 b->images.width,
                                 b->images.height,
                                 0,
                                 MFRGN_PIXEL_RGB8};
    return mfrgn_session_calibrate(b->session, MFRGN_VIEW_AERIAL, image, n);
}

static mfrgn_status embed(bench *b) {
    return mfrgn_embed_device(b->session, MFRGN_VIEW_AERIAL, &b->images, b->descriptors);
}

static mfrgn_status measure(bench *b, const arguments *a, double *latency, double *rate) {
    mfrgn_status status = MFRGN_OK;
    b->times = malloc((size_t)a->repeat * sizeof(double));
    if (!b->times)
        return MFRGN_ERROR_MEMORY;
    for (int i = 0; i < 5 && status == MFRGN_OK; i++) /* plans, records */
        status = embed(b);
    for (long i = 0; i < a->repeat && status == MFRGN_OK; i++) {
        double begin = now();
        status = embed(b);
        if (status == MFRGN_OK)
            status = mfrgn_session_finish(b->session);
        b->times[i] = now() - begin;
    }
    double begin = now();
    for (long i = 0; i < a->repeat && status == MFRGN_OK; i++)
        status = embed(b);
    if (status == MFRGN_OK)
        status = mfrgn_session_finish(b->session);
    *rate = (double)(a->batch * a->repeat) / (now() - begin);
    qsort(b->times, (size_t)a->repeat, sizeof(double), by_value);
    *latency = b->times[a->repeat / 2];
    return status;
}

static void close_bench(bench *b) {
    if (b->session) {
        mf_engine_free(&b->session->engine, b->device);
        mf_engine_free(&b->session->engine, b->descriptors);
    }
    mfrgn_session_free(b->session);
    mfrgn_context_free(b->context);
    free(b->pixels);
    free(b->times);
}

int main(int argc, char **argv) {
    arguments a = {"cuda", "bf16", "cvusa", NULL, "exact", "", 1, 50, 0};
    bench b = {0};
    double latency = 0, rate = 0;
    if (!read_arguments(argc, argv, &a)) {
        fprintf(stderr, "see the head of tests/gpu/bench_device.c\n");
        return 2;
    }
    mfrgn_status status = mfrgn_context_create(NULL, &b.context);
    if (status == MFRGN_OK)
        status = open_session(&b, &a);
    if (status == MFRGN_OK)
        status = make_images(&b, &a);
    if (status == MFRGN_OK && a.calibrate)
        status = calibrate(&b);
    if (status == MFRGN_OK)
        status = measure(&b, &a, &latency, &rate);
    if (status == MFRGN_OK)
        printf("{\"backend\": \"%s\", \"precision\": \"%s\", \"gelu\": \"%s\", \"batch\": %ld, \"repeat\": %ld, "
               "\"latency_ms\": %.6g, "
               "\"images_per_second\": %.6g, \"gflop_per_image\": %.6g, \"arena_bytes\": %zu}\n",
               a.backend, a.precision, a.gelu, a.batch, a.repeat, latency * 1e3, rate,
               mfrgn_model_flops(b.session->model, MFRGN_VIEW_AERIAL) * 1e-9, b.session->arena_bytes);
    else
        fprintf(stderr, "bench_device: %s\n", b.context ? mfrgn_context_last_error(b.context) : "no context");
    close_bench(&b);
    return status != MFRGN_OK;
}
