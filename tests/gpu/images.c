/* images BACKEND     its `images` against mf_image_prepare(): every filter of io/resize.c, every number of channels,
 * rows and images that are not dense, two images a call: the same bits.  Exit status: 0; 1: a case failed; 2: no
 * backend. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/registry.h"
#include "io/image.h"

enum { COUNT = 2, PADDING = 5, GUARD = 64 };

typedef struct form {
    int width, height, out_width, out_height;
} form;

typedef struct room {
    const mf_backend *table;
    mf_device *device;
    mf_stream *stream;
} room;

/* Memory of the host. */
static void *get(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) {
        printf("out of memory\n");
        exit(2);
    }
    return p;
}

/* What the backend makes of the images, with a guard behind it; 0: it failed. */
static int run(const room *r, const mf_images *images, const void *pixels, size_t bytes, float *out, size_t values) {
    void *from = NULL, *to = NULL;
    mf_images there = *images;
    const size_t size = values * sizeof(float) + GUARD;
    memset(out, 0xA5, size);
    int done = !r->table->memory_alloc(r->stream, bytes, &from) && !r->table->memory_alloc(r->stream, size, &to) &&
               !r->table->memory_put(r->stream, from, pixels, bytes) && !r->table->memory_put(r->stream, to, out, size);
    there.pixels = from;
    if (done) {
        r->table->stream_begin(r->stream);
        done = !r->table->images(r->stream, &there, to);
        r->table->stream_end(r->stream);
    }
    done = done && !r->table->memory_get(r->stream, out, to, size);
    r->table->memory_free(r->device, r->stream, from);
    r->table->memory_free(r->device, r->stream, to);
    return done;
}

static int check(const room *r, const form *f, int channels, int swap) {
    const int64_t row = (int64_t)f->width * channels + PADDING, image = row * f->height + 3 * PADDING;
    const size_t bytes = (size_t)(COUNT * image), values = (size_t)f->out_width * (size_t)f->out_height * 3;
    unsigned char *pixels = get(bytes);
    float *expected = get(COUNT * values * sizeof(float)), *got = get(COUNT * values * sizeof(float) + GUARD);
    unsigned state = 1;
    for (size_t i = 0; i < bytes; i++)
        pixels[i] = (unsigned char)((state = state * 1664525u + 1013904223u) >> 24);
    for (int i = 0; i < COUNT; i++) {
        const mfrgn_image view = {sizeof(view),
                                  pixels + i * image,
                                  f->width,
                                  f->height,
                                  (ptrdiff_t)row,
                                  channels == 1   ? MFRGN_PIXEL_GRAY8
                                  : channels == 4 ? MFRGN_PIXEL_RGBA8
                                  : swap          ? MFRGN_PIXEL_BGR8
                                                  : MFRGN_PIXEL_RGB8};
        void *scratch = get(mf_image_scratch(&view, f->out_height, f->out_width));
        mf_image_prepare(&view, f->out_height, f->out_width, expected + (size_t)i * values, scratch);
        free(scratch);
    }
    mf_images images = {.struct_size = sizeof(images), .count = COUNT, .width = f->width, .height = f->height};
    images.row_bytes = row;
    images.image_bytes = image;
    images.channels = channels;
    images.swap = swap;
    images.out_width = f->out_width;
    images.out_height = f->out_height;
    memcpy(images.mean, mf_image_mean, sizeof(images.mean));
    memcpy(images.std, mf_image_std, sizeof(images.std));
    const char *why = NULL;
    if (!run(r, &images, pixels, bytes, got, COUNT * values))
        why = "fails";
    else if (memcmp(got, expected, COUNT * values * sizeof(float)))
        why = "other bits than mf_image_prepare()";
    for (size_t i = 0; !why && i < GUARD; i++)
        if (((unsigned char *)(got + COUNT * values))[i] != 0xA5)
            why = "writes past the end";
    if (why)
        printf("FAIL %dx%d to %dx%d, %d channels, swap %d: %s\n", f->width, f->height, f->out_width, f->out_height,
               channels, swap, why);
    free(pixels);
    free(expected);
    free(got);
    return why != NULL;
}

int main(int argc, char **argv) {
    static const form forms[] = {
        {9, 7, 9, 7},     {64, 32, 16, 16}, {64, 32, 32, 16}, {66, 30, 22, 6},  {65, 33, 20, 11},
        {104, 52, 32, 8}, {67, 41, 66, 40}, {16, 9, 33, 20},  {30, 40, 31, 12}, {40, 30, 12, 31},
        {1, 1, 5, 3},     {5, 3, 1, 1},     {2, 17, 1, 3},    {52, 91, 12, 91},
    };
    mfrgn_context *context;
    const mf_loaded *loaded;
    char *passed_over = NULL;
    if (argc != 2 || mfrgn_context_create(NULL, &context))
        return 2;
    if (mf_backend_open(context, argv[1], &loaded, &passed_over)) {
        printf("%s: not available: %s\n", argv[1], mfrgn_context_last_error(context));
        mfrgn_context_free(context);
        return 2;
    }
    mf_free(context, passed_over);
    room r = {loaded->table, loaded->device, NULL};
    const mf_stream_params params = {.struct_size = sizeof(params), .threads = 1, .compute = MF_F32};
    if (!r.table->images || r.table->stream_open(loaded->device, &params, &r.stream)) {
        printf("%s: no images, or no stream\n", argv[1]);
        mfrgn_context_free(context);
        return 2;
    }
    int failures = 0, cases = 0;
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++)
        for (int kind = 0; kind < 4; kind++, cases++)
            failures += check(&r, &forms[i], kind == 0 ? 1 : kind == 3 ? 4 : 3, kind == 2);
    r.table->stream_close(r.stream);
    mfrgn_context_free(context);
    printf("%s: images: %d cases, %d failures\n", argv[1], cases, failures);
    return failures != 0;
}
