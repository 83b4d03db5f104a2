/* Models: parameters, recognition, files of every kind, errors, threads. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "session.h"

static char folder[] = "/tmp/mfrgn-test-XXXXXX";

static const char *in_folder(const char *name) {
    static char path[2][256];
    static int turn;
    char *p = path[turn++ % 2];
    snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
    return p;
}

/* The paper's and the specification's count, without the unused head.norm. */
START_TEST(parameter_count_is_the_published_one) {
    mfrgn_config *config;
    OK(mfrgn_config_create(context, "cvusa", &config));
    mf_parameters table = {.context = context};
    size_t learnt = 0, statistics = 0;
    for (int view = 0; view < 2; view++) {
        mf_graph *g;
        OK(mf_network_build(context, config, &table, (mfrgn_view)view, 1, &g));
        mf_graph_free(g);
    }
    for (size_t i = 0; i < table.count; i++)
        *(table.item[i].learnt ? &learnt : &statistics) += mf_parameter_elements(&table.item[i]);
    ck_assert_uint_eq(learnt, 97874557);
    ck_assert_uint_eq(statistics, 9728);
    mf_free(context, table.item);
    mfrgn_config_free(config);
}
END_TEST

static void same_descriptor(mfrgn_model *a, mfrgn_model *b, double tolerance) {
    size_t size = mfrgn_model_descriptor_size(a);
    ck_assert_uint_eq(size, mfrgn_model_descriptor_size(b));
    float *x = malloc(size * sizeof(float)), *y = malloc(size * sizeof(float));
    mfrgn_session *s = session_of(a, "f32", 1), *t = session_of(b, "f32", 1);
    for (int view = 0; view < 2; view++) {
        embed(s, (mfrgn_view)view, 1, x);
        embed(t, (mfrgn_view)view, 1, y);
        double sum = 0;
        for (size_t i = 0; i < size; i++)
            sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        ck_assert_msg(sqrt(sum) <= tolerance, "view %d: %g", view, sqrt(sum));
    }
    mfrgn_session_free(s);
    mfrgn_session_free(t);
    free(x);
    free(y);
}

/* Saved with metadata and without, loaded again: the same network, every preset. */
START_TEST(saved_and_loaded) {
    const char *preset = mfrgn_preset_name(_i);
    mfrgn_config *config = small_config(preset, "convnext_atto");
    mfrgn_model *model = filled_model(config), *loaded;
    const char *path = in_folder("model.safetensors");
    OK(mfrgn_model_save(model, path, MFRGN_DTYPE_F32, NULL));
    OK(mfrgn_model_load(context, path, NULL, &loaded));
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++)
        ck_assert_str_eq(mfrgn_config_get(config, (mfrgn_config_key)key),
                         mfrgn_config_get(mfrgn_model_config(loaded), (mfrgn_config_key)key));
    same_descriptor(model, loaded, 0);
    mfrgn_model_free(loaded);

    /* .pth has no metadata: sizes are given, the rest is recognised; but what prompts the local flow cannot be. */
    path = in_folder("model.pth");
    OK(mfrgn_model_save(model, path, MFRGN_DTYPE_F32, NULL));
    mfrgn_load_options options = {sizeof(options), strstr(preset, "l-ini") ? preset : NULL,
                                  mfrgn_config_get(config, MFRGN_CONFIG_AERIAL_SIZE),
                                  mfrgn_config_get(config, MFRGN_CONFIG_GROUND_SIZE), NULL};
    /* "paper"'s pooling levels are recognised by its own ground size only */
    if (strcmp(preset, "paper") == 0)
        options.preset = preset;
    OK(mfrgn_model_load(context, path, &options, &loaded));
    same_descriptor(model, loaded, 0);
    mfrgn_model_free(loaded);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}
END_TEST

START_TEST(recognised_at_published_sizes) {
    static const char *const presets[] = {"cvusa", "vigor", "u1652", "paper", "baseline", "mbaseline+g"};
    const char *preset = presets[_i];
    mfrgn_config *config;
    mfrgn_model *model, *loaded;
    OK(mfrgn_config_create(context, preset, &config));
    OK(mfrgn_config_set(config, MFRGN_CONFIG_BACKBONE, _i % 2 ? "resnet18" : "convnext_atto"));
    OK(mfrgn_model_create(context, config, 1, &model));
    OK(mfrgn_model_save(model, in_folder("published.pth"), MFRGN_DTYPE_F16, NULL));
    OK(mfrgn_model_load(context, in_folder("published.pth"), NULL, &loaded));
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++)
        ck_assert_str_eq(mfrgn_config_get(config, (mfrgn_config_key)key),
                         mfrgn_config_get(mfrgn_model_config(loaded), (mfrgn_config_key)key));
    mfrgn_model_free(loaded);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}
END_TEST

START_TEST(sixteen_bits_are_close) {
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    mfrgn_model *model = filled_model(config), *loaded;
    OK(mfrgn_model_save(model, in_folder("half.safetensors"), _i ? MFRGN_DTYPE_BF16 : MFRGN_DTYPE_F16, NULL));
    OK(mfrgn_model_load(context, in_folder("half.safetensors"), NULL, &loaded));
    same_descriptor(model, loaded, _i ? 1e-2 : 1e-3);
    mfrgn_model_free(loaded);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}
END_TEST

/* ---- files that do not fit ---- */

typedef struct edit {
    const mfrgn_model *model;
    size_t poisoned; /* this tensor's first value becomes NaN; SIZE_MAX: none */
    size_t offset;   /* the first tensor that is written */
} edit;

static mfrgn_status edited_tensor(void *user, size_t index, void *data) {
    const edit *e = user;
    const mf_parameter *p = &e->model->parameters.item[index + e->offset];
    memcpy(data, p->stored.data, mf_parameter_elements(p) * sizeof(float));
    if (index + e->offset == e->poisoned)
        ((float *)data)[0] = NAN;
    return MFRGN_OK;
}

/* The model's tensors from `e->offset` on, with one name or shape changed. */
static void save_edited(const mfrgn_model *model, const char *path, edit e, const char *rename, int misshape) {
    static const char extra[] = "extra.weight";
    mf_weight tensor[1024];
    mf_metadata metadata[MFRGN_CONFIG_KEY_COUNT];
    size_t count = model->parameters.count - e.offset;
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++)
        metadata[key] = (mf_metadata){mfrgn_config_key_name((mfrgn_config_key)key),
                                      mfrgn_config_get(model->config, (mfrgn_config_key)key)};
    for (size_t i = 0; i < count; i++) {
        const mf_parameter *p = &model->parameters.item[i + e.offset];
        tensor[i] = (mf_weight){p->name, MF_F32, p->ndim, {0}, NULL, mf_parameter_elements(p) * sizeof(float)};
        for (int k = 0; k < p->ndim; k++)
            tensor[i].dim[k] = p->dim[k];
        if (rename && !strcmp(p->name, rename))
            tensor[i].name = extra;
        if (misshape && !strcmp(p->name, "proj_sat.weight")) {
            tensor[i].dim[0] = p->dim[1];
            tensor[i].dim[1] = p->dim[0];
        }
    }
    mf_weights_out out = {tensor, count, metadata, MF_COUNT(metadata), edited_tensor, &e, NULL};
    OK(mf_safetensors_save(context, path, &out));
}

START_TEST(misfits_are_named) {
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    mfrgn_model *model = filled_model(config), *loaded = NULL;
    const char *path = in_folder("edited.safetensors");
    save_edited(model, path, (edit){model, SIZE_MAX, 1}, NULL, 0);
    FAILS(mfrgn_model_load(context, path, NULL, &loaded), MFRGN_ERROR_MISMATCH, "\"logit_scale\" is missing");
    save_edited(model, path, (edit){model, SIZE_MAX, 0}, "norm1.bias", 0);
    FAILS(mfrgn_model_load(context, path, NULL, &loaded), MFRGN_ERROR_MISMATCH, "\"norm1.bias\" is missing");
    save_edited(model, path, (edit){model, SIZE_MAX, 0}, NULL, 1);
    FAILS(mfrgn_model_load(context, path, NULL, &loaded), MFRGN_ERROR_MISMATCH, "\"proj_sat.weight\" has shape");
    ck_assert_ptr_null(loaded);

    /* of another model: an extra tensor is named too */
    OK(mfrgn_config_set(config, MFRGN_CONFIG_LOCAL_SOURCE, "means"));
    mfrgn_model *other = filled_model(config);
    OK(mfrgn_model_save(model, in_folder("a.pth"), MFRGN_DTYPE_F32, NULL));
    mfrgn_load_options options = {sizeof(options), "mbaseline+g", "75x70", "49x131", NULL};
    FAILS(mfrgn_model_load(context, in_folder("a.pth"), &options, &loaded), MFRGN_ERROR_MISMATCH, "tensor \"");
    mfrgn_model_free(other);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}
END_TEST

START_TEST(nan_weights_are_named) {
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    mfrgn_model *model = filled_model(config), *loaded;
    float descriptor[2048];
    size_t poisoned = (size_t)mf_parameters_find(&model->parameters, "proj_local_grd.weight");
    save_edited(model, in_folder("nan.safetensors"), (edit){model, poisoned, 0}, NULL, 0);
    OK(mfrgn_model_load(context, in_folder("nan.safetensors"), NULL, &loaded));
    mfrgn_session *session = session_of(loaded, "f32", 1);
    FAILS(mfrgn_session_prepare(session, MFRGN_VIEW_GROUND), MFRGN_ERROR_NUMERIC, "proj_local_grd.weight");
    FAILS(mfrgn_session_prepare(session, MFRGN_VIEW_GROUND), MFRGN_ERROR_NUMERIC, "proj_local_grd.weight");
    embed(session, MFRGN_VIEW_AERIAL, 1, descriptor); /* the other view does not read it */
    FAILS(mfrgn_model_save(loaded, in_folder("b.pth"), MFRGN_DTYPE_F32, NULL), MFRGN_ERROR_NUMERIC, "not finite");
    ck_assert_int_ne(access(in_folder("b.pth"), F_OK), 0);
    mfrgn_session_free(session);
    mfrgn_model_free(loaded);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}
END_TEST

/* ---- threads, cancelling, memory ---- */

typedef struct worker {
    mfrgn_model *model;
    float out[2048];
} worker;

static void *work(void *arg) {
    worker *w = arg;
    unsigned char pixels[49 * 131 * 3];
    mfrgn_options *options;
    mfrgn_session *session;
    fill_picture("img.test", 0, 131, 49, pixels);
    mfrgn_image image = {sizeof(image), pixels, 131, 49, 0, MFRGN_PIXEL_RGB8};
    mfrgn_options_create(w->model->context, &options);
    mfrgn_options_set(options, MFRGN_OPTION_BACKEND, "ref");
    mfrgn_options_set_int(options, MFRGN_OPTION_THREADS, 2);
    for (int i = 0; i < 3; i++) {
        if (mfrgn_session_create(w->model, options, &session) != MFRGN_OK ||
            mfrgn_embed(session, MFRGN_VIEW_GROUND, &image, 1, w->out) != MFRGN_OK)
            w->out[0] = NAN;
        mfrgn_session_free(session);
    }
    mfrgn_options_free(options);
    return NULL;
}

START_TEST(sessions_in_threads) {
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    worker w[4];
    pthread_t thread[4];
    mfrgn_model *model = filled_model(config);
    for (int i = 0; i < 4; i++) {
        w[i].model = model;
        pthread_create(&thread[i], NULL, work, &w[i]);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < 4; i++)
        ck_assert(!isnan(w[i].out[0]) && !memcmp(w[i].out, w[0].out, sizeof(w[0].out)));
    ck_assert_ptr_null(model->packed); /* all given back */
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}
END_TEST

static int stop_after(void *user, size_t done, size_t total) {
    (void)total;
    return done >= *(size_t *)user;
}

START_TEST(cancelled_between_operations) {
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    mfrgn_model *model = filled_model(config);
    mfrgn_session *session = session_of(model, "f32", 1);
    float descriptor[2048];
    size_t limit = 5;
    mfrgn_progress progress = {sizeof(progress), &limit, stop_after};
    embed(session, MFRGN_VIEW_GROUND, 1, descriptor);
    OK(mfrgn_session_set_progress(session, &progress));
    unsigned char pixel[3] = {1, 2, 3};
    mfrgn_image image = {sizeof(image), pixel, 1, 1, 0, MFRGN_PIXEL_RGB8};
    FAILS(mfrgn_embed(session, MFRGN_VIEW_GROUND, &image, 1, descriptor), MFRGN_ERROR_CANCELLED, "cancelled");
    FAILS(mfrgn_session_prepare(session, MFRGN_VIEW_AERIAL), MFRGN_ERROR_CANCELLED, "cancelled");
    OK(mfrgn_session_set_progress(session, NULL));
    embed(session, MFRGN_VIEW_AERIAL, 1, descriptor);
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}
END_TEST

/* Handles keep what they stand on alive: freed in the wrong order, nothing is lost or leaked. */
typedef struct counter {
    int calls, fail_at, live;
} counter;

static void *counted_allocate(void *user, size_t size, size_t alignment) {
    counter *c = user;
    void *memory = NULL;
    if (__atomic_add_fetch(&c->calls, 1, __ATOMIC_RELAXED) == c->fail_at)
        return NULL;
    if (posix_memalign(&memory, alignment, size))
        return NULL;
    __atomic_add_fetch(&c->live, 1, __ATOMIC_RELAXED);
    return memory;
}

static void counted_release(void *user, void *memory) {
    __atomic_sub_fetch(&((counter *)user)->live, 1, __ATOMIC_RELAXED);
    free(memory);
}

static mfrgn_status whole_life(counter *c, float *descriptor) {
    const mfrgn_allocator allocator = {sizeof(allocator), c, counted_allocate, counted_release};
    mfrgn_context *own = NULL;
    mfrgn_config *config = NULL;
    mfrgn_model *model = NULL;
    mfrgn_session *session = NULL;
    mfrgn_options *options = NULL;
    unsigned char pixel[3] = {100, 150, 200};
    mfrgn_image image = {sizeof(image), pixel, 1, 1, 0, MFRGN_PIXEL_RGB8};
    mfrgn_status status = mfrgn_context_create(&allocator, &own);
    if (status == MFRGN_OK)
        status = mfrgn_config_create(own, "sample4geo", &config);
    if (status == MFRGN_OK)
        status = mfrgn_config_set(config, MFRGN_CONFIG_BACKBONE, "convnext_atto");
    if (status == MFRGN_OK)
        status = mfrgn_config_set(config, MFRGN_CONFIG_GROUND_SIZE, "32x32");
    if (status == MFRGN_OK)
        status = mfrgn_model_create(own, config, 1, &model);
    if (status == MFRGN_OK)
        status = mfrgn_options_create(own, &options);
    if (status == MFRGN_OK)
        status = mfrgn_options_set(options, MFRGN_OPTION_BACKEND, "ref");
    mfrgn_context_free(own);
    mfrgn_config_free(config);
    if (status == MFRGN_OK)
        status = mfrgn_session_create(model, options, &session);
    mfrgn_model_free(model);
    mfrgn_options_free(options);
    if (status == MFRGN_OK)
        status = mfrgn_embed(session, MFRGN_VIEW_GROUND, &image, 1, descriptor);
    mfrgn_session_free(session);
    return status;
}

/* Every allocation fails once: an error each time, nothing leaks, nothing crashes. */
START_TEST(every_allocation_may_fail) {
    float descriptor[320];
    counter c = {0, 0, 0};
    ck_assert_int_eq(whole_life(&c, descriptor), MFRGN_OK);
    ck_assert_int_eq(c.live, 0);
    int calls = c.calls, step = calls / 200 > 0 ? calls / 200 : 1;
    for (int at = 1; at <= calls; at += MF_SHORT ? 23 : at < 400 ? 1 : step) {
        c = (counter){0, at, 0};
        mfrgn_status status = whole_life(&c, descriptor);
        /* A thread or a message may do without its memory; then the work succeeds. */
        ck_assert_msg(status == MFRGN_ERROR_MEMORY || status == MFRGN_OK, "allocation %d: status %d", at, status);
        ck_assert_msg(c.live == 0, "allocation %d: %d left", at, c.live);
    }
}
END_TEST

START_TEST(bad_arguments) {
    mfrgn_config *config;
    mfrgn_model *model = NULL;
    OK(mfrgn_config_create(context, NULL, &config));
    FAILS(mfrgn_config_set(config, MFRGN_CONFIG_BACKBONE, "vgg16"), MFRGN_ERROR_ARGUMENT, "convnext_base");
    FAILS(mfrgn_config_set(config, MFRGN_CONFIG_AERIAL_SIZE, "256"), MFRGN_ERROR_ARGUMENT, "HxW");
    FAILS(mfrgn_config_set(config, MFRGN_CONFIG_AERIAL_SIZE, "0x256"), MFRGN_ERROR_ARGUMENT, "HxW");
    FAILS(mfrgn_config_set_int(config, MFRGN_CONFIG_PPS, 2), MFRGN_ERROR_ARGUMENT, "0 to 1");
    OK(mfrgn_config_set(config, MFRGN_CONFIG_AERIAL_SIZE, "65535x65535"));
    FAILS(mfrgn_model_create(context, config, 1, &model), MFRGN_ERROR_ARGUMENT, "sat_size");
    OK(mfrgn_config_set(config, MFRGN_CONFIG_AERIAL_SIZE, "256x256"));
    OK(mfrgn_config_set(config, MFRGN_CONFIG_HEADS, "3"));
    FAILS(mfrgn_config_validate(config), MFRGN_ERROR_ARGUMENT, "heads");
    mfrgn_config_free(config);
    FAILS(mfrgn_config_create(context, "cvus", &config), MFRGN_ERROR_ARGUMENT, "mbaseline+g+l-p");
    FAILS(mfrgn_model_load(context, "/nowhere/model.pth", NULL, &model), MFRGN_ERROR_IO, "/nowhere/model.pth");
    ck_assert_ptr_null(model);
}
END_TEST

START_TEST(missing_backend_is_told) {
    mfrgn_config *config = small_config("sample4geo", "convnext_atto");
    mfrgn_model *model = filled_model(config);
    mfrgn_options *options;
    mfrgn_session *session = NULL;
    OK(mfrgn_context_set_backend_path(context, "/nowhere"));
    OK(mfrgn_options_create(context, &options));
    OK(mfrgn_options_set(options, MFRGN_OPTION_BACKEND, "openblas"));
    if (mfrgn_session_create(model, options, &session) != MFRGN_OK) /* it may be built in */
        ck_assert_ptr_nonnull(strstr(mfrgn_context_last_error(context), "/nowhere/libmfrgn-openblas.so"));
    mfrgn_session_free(session);
    OK(mfrgn_options_set(options, MFRGN_OPTION_BACKEND, "auto"));
    OK(mfrgn_session_create(model, options, &session));
    mfrgn_session_info info = {.struct_size = sizeof(info)};
    OK(mfrgn_session_get_info(session, &info));
    ck_assert_ptr_nonnull(strstr(info.passed_over, "cuda: "));
    mfrgn_session_free(session);
    mfrgn_options_free(options);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}
END_TEST

static void remove_folder(void) {
    char command[64];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    if (system(command)) /* a test's own folder */
        perror(folder);
}

/* Where the backend's memory is the host's, device pointers are the host's. */
START_TEST(embeds_where_images_lie) {
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    mfrgn_model *model = filled_model(config);
    size_t size = mfrgn_model_descriptor_size(model);
    mfrgn_session *session = session_of(model, "f32", 2);
    enum { COUNT = 3, WIDTH = 50, HEIGHT = 40, ROW = 160, IMAGE = ROW * HEIGHT + 32 };
    unsigned char *pixels = malloc(COUNT * IMAGE);
    float *one = malloc(COUNT * size * sizeof(float)), *other = malloc(COUNT * size * sizeof(float));
    mfrgn_image image[COUNT];
    mfrgn_device_images images = {sizeof(images), pixels, COUNT, WIDTH, HEIGHT, ROW, IMAGE, MFRGN_PIXEL_BGR8};
    for (int i = 0; i < COUNT * IMAGE; i++)
        pixels[i] = (unsigned char)(i * 7 + i / 100 * 13);
    for (int i = 0; i < COUNT; i++)
        image[i] = (mfrgn_image){sizeof(*image), pixels + i * IMAGE, WIDTH, HEIGHT, ROW, MFRGN_PIXEL_BGR8};
    OK(mfrgn_embed(session, MFRGN_VIEW_AERIAL, image, COUNT, one));
    OK(mfrgn_embed_device(session, MFRGN_VIEW_AERIAL, &images, other));
    OK(mfrgn_session_finish(session));
    ck_assert(!memcmp(one, other, COUNT * size * sizeof(float)));
    images.row_bytes = 3 * WIDTH - 1;
    ck_assert_int_eq(mfrgn_embed_device(session, MFRGN_VIEW_AERIAL, &images, other), MFRGN_ERROR_ARGUMENT);
    images.row_bytes = 0;
    images.format = MFRGN_PIXEL_RGB_F32;
    ck_assert_int_eq(mfrgn_embed_device(session, MFRGN_VIEW_AERIAL, &images, other), MFRGN_ERROR_UNSUPPORTED);
    ck_assert_int_eq(mfrgn_session_calibrate(session, MFRGN_VIEW_AERIAL, image, COUNT), MFRGN_ERROR_UNSUPPORTED);
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    free(pixels);
    free(one);
    free(other);
}
END_TEST

/* What a backend cannot do is said, and the context goes on. */
START_TEST(precisions_and_devices_that_are_not_there) {
    static const struct {
        mfrgn_option_key key;
        const char *value;
    } bad[] = {{MFRGN_OPTION_PRECISION, "bf16"}, {MFRGN_OPTION_PRECISION, "fp8"}, {MFRGN_OPTION_DEVICE, "1"}};
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    mfrgn_model *model = filled_model(config);
    for (size_t i = 0; i < MF_COUNT(bad); i++) {
        mfrgn_options *options;
        mfrgn_session *session = NULL;
        OK(mfrgn_options_create(context, &options));
        OK(mfrgn_options_set(options, MFRGN_OPTION_BACKEND, "ref"));
        OK(mfrgn_options_set(options, bad[i].key, bad[i].value));
        ck_assert_int_ne(mfrgn_session_create(model, options, &session), MFRGN_OK);
        ck_assert_ptr_null(session);
        ck_assert_ptr_nonnull(strstr(mfrgn_context_last_error(context), "ref"));
        mfrgn_options_free(options);
    }
    mfrgn_session_free(session_of(model, "f32", 1));
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}
END_TEST

static mfrgn_session *session_with_gelu(const char *backend, mfrgn_model *model, const char *gelu) {
    mfrgn_options *options;
    mfrgn_session *session = NULL;
    OK(mfrgn_options_create(context, &options));
    ck_assert_str_eq(mfrgn_options_get(options, MFRGN_OPTION_GELU), "exact");
    OK(mfrgn_options_set(options, MFRGN_OPTION_BACKEND, backend));
    OK(mfrgn_options_set(options, MFRGN_OPTION_GELU, gelu));
    ck_assert_int_eq(mfrgn_options_set(options, MFRGN_OPTION_GELU, "erf"), MFRGN_ERROR_ARGUMENT);
    ck_assert_str_eq(mfrgn_options_get(options, MFRGN_OPTION_GELU), gelu);
    (void)mfrgn_session_create(model, options, &session);
    mfrgn_options_free(options);
    return session;
}

static double distance(const float *a, const float *b, size_t size) {
    double square = 0;
    for (size_t i = 0; i < size; i++)
        square += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(square);
}

/* The tanh form is another function, and nearly the same one; every backend here has it, and means the same by it. */
START_TEST(gelu_by_tanh_is_close) {
    enum { WIDTH = 70, HEIGHT = 75 };
    static const char *const backends[] = {"ref", "openblas", "onednn"};
    unsigned char pixels[3 * WIDTH * HEIGHT];
    for (size_t i = 0; i < sizeof(pixels); i++)
        pixels[i] = (unsigned char)(i * 7 + i / 100 * 13);
    mfrgn_image image = {sizeof(image), pixels, WIDTH, HEIGHT, 0, MFRGN_PIXEL_RGB8};
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    mfrgn_model *model = filled_model(config);
    size_t size = mfrgn_model_descriptor_size(model);
    float *exact = malloc(size * sizeof(float)), *first = malloc(size * sizeof(float)),
          *got = malloc(size * sizeof(float));
    for (size_t b = 0; b < MF_COUNT(backends); b++) {
        mfrgn_session *session = session_with_gelu(backends[b], model, "exact");
        if (!session)
            continue; /* not in this build */
        OK(mfrgn_embed(session, MFRGN_VIEW_AERIAL, &image, 1, exact));
        mfrgn_session_free(session);
        session = session_with_gelu(backends[b], model, "tanh");
        ck_assert_msg(session != NULL, "%s: %s", backends[b], mfrgn_context_last_error(context));
        OK(mfrgn_embed(session, MFRGN_VIEW_AERIAL, &image, 1, b ? got : first));
        mfrgn_session_free(session);
        double d = distance(exact, b ? got : first, size);
        ck_assert_msg(d > 2e-5 && d < 1e-3, "%s: %g", backends[b], d);
        if (b)
            ck_assert_double_le(distance(first, got, size), 5e-6);
    }
    free(exact);
    free(first);
    free(got);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}
END_TEST

static int computes_nothing(mf_stream *stream, const mf_op *op) {
    (void)stream, (void)op;
    return 0;
}

START_TEST(backend_without_an_activation_is_told) {
    const mf_backend table = {.supports = computes_nothing};
    const mf_loaded loaded = {.name = "abacus", .table = &table};
    const mf_engine engine = {.context = context, .backend = &loaded, .compute = MF_F32, .wide = MF_F32};
    FAILS(mf_engine_check_act(&engine, MF_ACT_GELU_TANH, "gelu=tanh"), MFRGN_ERROR_UNSUPPORTED, "abacus");
    FAILS(mf_engine_check_act(&engine, MF_ACT_GELU_TANH, "gelu=tanh"), MFRGN_ERROR_UNSUPPORTED, "gelu=tanh");
}
END_TEST

int main(void) {
    if (!mkdtemp(folder))
        return EXIT_FAILURE;
    Suite *suite = suite_create("model");
    TCase *cases = tcase_create("model");
    tcase_add_checked_fixture(cases, open_context, close_context);
    tcase_set_timeout(cases, 300);
    tcase_add_test(cases, embeds_where_images_lie);
    tcase_add_test(cases, precisions_and_devices_that_are_not_there);
    tcase_add_test(cases, gelu_by_tanh_is_close);
    tcase_add_test(cases, backend_without_an_activation_is_told);
    tcase_add_test(cases, parameter_count_is_the_published_one);
    tcase_add_loop_test(cases, saved_and_loaded, 0, MF_SHORT ? 4 : 12);
    tcase_add_loop_test(cases, recognised_at_published_sizes, 0, 6);
    tcase_add_loop_test(cases, sixteen_bits_are_close, 0, 2);
    tcase_add_test(cases, misfits_are_named);
    tcase_add_test(cases, nan_weights_are_named);
    tcase_add_test(cases, sessions_in_threads);
    tcase_add_test(cases, cancelled_between_operations);
    tcase_add_test(cases, every_allocation_may_fail);
    tcase_add_test(cases, bad_arguments);
    tcase_add_test(cases, missing_backend_is_told);
    suite_add_tcase(suite, cases);
    int failed = mf_run_suite(suite);
    remove_folder();
    return failed;
}
