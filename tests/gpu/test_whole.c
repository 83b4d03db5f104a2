/* test_whole [--all]
 *
 * Sessions and trainers on the CUDA backend, with `ref` as the truth: recordings, memory, types, loss scaling, state.
 * A step of training takes the emulator half a minute: without --all a few of them are done. */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/training.h"

typedef struct fixture {
    mfrgn_config *config;
    mfrgn_model *model;
    size_t size;
} fixture;

static fixture set_up_with(const char *ground_size) {
    fixture f;
    f.config = small_config("cvusa", "convnext_atto");
    OK(mfrgn_config_set(f.config, MFRGN_CONFIG_AERIAL_SIZE, "36x33")); /* smaller still: emulated threads are slow */
    OK(mfrgn_config_set(f.config, MFRGN_CONFIG_GROUND_SIZE, ground_size));
    f.model = filled_model(f.config);
    f.size = mfrgn_model_descriptor_size(f.model);
    return f;
}

static fixture set_up(void) {
    return set_up_with("32x47");
}

static void tear_down(fixture *f) {
    mfrgn_model_free(f->model);
    mfrgn_config_free(f->config);
}

static mfrgn_session *cuda_session(const fixture *f, const char *precision, int batch) {
    mfrgn_session *s = session_on("cuda", f->model, precision, batch);
    ck_assert_msg(s != NULL, "%s", mfrgn_context_last_error(context));
    return s;
}

static double distance(const float *a, const float *b, size_t n) {
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(squares);
}

/* Run as it is, recorded, played: the same bits; other pictures in the played run: other descriptors, the right ones.
 */
START_TEST(runs_are_recorded_and_played) {
    fixture f = set_up();
    static unsigned char pixels[MOST_PIXELS * 3];
    float *out[4];
    for (int i = 0; i < 4; i++)
        out[i] = malloc(f.size * sizeof(float));
    mfrgn_session *s = cuda_session(&f, _i ? "bf16" : "f32", 1), *ref = session_of(f.model, "f32", 1);
    for (int i = 0; i < 3; i++)
        embed(s, MFRGN_VIEW_GROUND, 1, out[i]);
    ck_assert_ptr_nonnull(s->view[MFRGN_VIEW_GROUND].program.recording);
    ck_assert(!memcmp(out[0], out[1], f.size * sizeof(float)) && !memcmp(out[0], out[2], f.size * sizeof(float)));
    int width, height;
    mfrgn_model_input_size(f.model, MFRGN_VIEW_GROUND, &width, &height);
    fill_picture("img.other", 9, width, height, pixels);
    mfrgn_image other = {sizeof(other), pixels, width, height, 0, MFRGN_PIXEL_RGB8};
    OK(mfrgn_embed(s, MFRGN_VIEW_GROUND, &other, 1, out[1]));
    OK(mfrgn_embed(ref, MFRGN_VIEW_GROUND, &other, 1, out[2]));
    ck_assert_double_gt(distance(out[0], out[1], f.size), 1e-3);
    ck_assert_double_lt(distance(out[1], out[2], f.size), _i ? 0.05 : 5e-6);
    mfrgn_session_free(s);
    mfrgn_session_free(ref);
    for (int i = 0; i < 4; i++)
        free(out[i]);
    tear_down(&f);
}
END_TEST

/* Three images in batches of two, from the host and from the device. */
START_TEST(images_on_the_device) {
    fixture f = set_up();
    mfrgn_session *s = cuda_session(&f, "f32", 2);
    const mf_engine *e = &s->engine;
    enum { COUNT = 3, WIDTH = 91, HEIGHT = 83 };
    size_t bytes = (size_t)COUNT * WIDTH * HEIGHT * 3, values = COUNT * f.size;
    unsigned char *pixels = malloc(bytes);
    float *host = malloc(values * sizeof(float)), *device = malloc(values * sizeof(float));
    void *there, *descriptors;
    mfrgn_image image[COUNT];
    fill_picture("img.device", 1, WIDTH, HEIGHT * COUNT, pixels);
    for (int i = 0; i < COUNT; i++)
        image[i] =
            (mfrgn_image){sizeof(*image), pixels + (size_t)i * WIDTH * HEIGHT * 3, WIDTH, HEIGHT, 0, MFRGN_PIXEL_RGB8};
    OK(mfrgn_embed(s, MFRGN_VIEW_AERIAL, image, COUNT, host));
    OK(mf_engine_alloc(e, bytes, "images", &there));
    OK(mf_engine_alloc(e, values * sizeof(float), "descriptors", &descriptors));
    OK(mf_engine_put(e, there, pixels, bytes));
    mfrgn_device_images images = {sizeof(images), there, COUNT, WIDTH, HEIGHT, 0, 0, MFRGN_PIXEL_RGB8};
    OK(mfrgn_embed_device(s, MFRGN_VIEW_AERIAL, &images, descriptors));
    OK(mfrgn_session_finish(s));
    OK(mf_engine_get(e, device, descriptors, values * sizeof(float)));
    ck_assert_double_lt(distance(host, device, values), 1e-6);
    mf_engine_free(e, there);
    mf_engine_free(e, descriptors);
    mfrgn_session_free(s);
    free(pixels);
    free(host);
    free(device);
    tear_down(&f);
}
END_TEST

/* Memory that is not enough: the bytes are told, and what fits goes on. */
START_TEST(memory_is_limited) {
    fixture f = set_up();
    mfrgn_options *options;
    mfrgn_session *s;
    float *out = malloc(f.size * sizeof(float));
    OK(mfrgn_options_create(context, &options));
    OK(mfrgn_options_set(options, MFRGN_OPTION_BACKEND, "cuda"));
    OK(mfrgn_options_set(options, MFRGN_OPTION_MEMORY_LIMIT, "100000"));
    OK(mfrgn_session_create(f.model, options, &s));
    FAILS(mfrgn_session_prepare(s, MFRGN_VIEW_GROUND), MFRGN_ERROR_MEMORY, "bytes");
    FAILS(mfrgn_session_prepare(s, MFRGN_VIEW_GROUND), MFRGN_ERROR_MEMORY, "limit");
    mfrgn_session_free(s);
    OK(mfrgn_options_set(options, MFRGN_OPTION_MEMORY_LIMIT, "0"));
    OK(mfrgn_session_create(f.model, options, &s));
    embed(s, MFRGN_VIEW_GROUND, 1, out);
    mfrgn_session_free(s);
    mfrgn_options_free(options);
    free(out);
    tear_down(&f);
}
END_TEST

/* Two sessions of a model share its weights. */
START_TEST(weights_are_shared) {
    fixture f = set_up();
    mfrgn_session *a = cuda_session(&f, "f32", 1), *b = cuda_session(&f, "f32", 1);
    mfrgn_session_info info = {.struct_size = sizeof(info)};
    OK(mfrgn_session_prepare(a, MFRGN_VIEW_GROUND));
    OK(mfrgn_session_get_info(a, &info));
    size_t once = info.packed_bytes;
    ck_assert_uint_gt(once, 1000000);
    OK(mfrgn_session_prepare(b, MFRGN_VIEW_GROUND));
    OK(mfrgn_session_get_info(b, &info));
    ck_assert_uint_eq(info.packed_bytes, once);
    mfrgn_session_free(a);
    float *out = malloc(f.size * sizeof(float));
    embed(b, MFRGN_VIEW_GROUND, 1, out);
    free(out);
    mfrgn_session_free(b);
    tear_down(&f);
}
END_TEST

/* ---- training ---- */

static mfrgn_trainer *cuda_trainer(const fixture *f, const char *precision, const setting *more) {
    return trainer_on("cuda", f->model, precision, more);
}

static const setting plain[] = {{MFRGN_TRAIN_LEARNING_RATE, "1e-3"}, {MFRGN_TRAIN_CLIP_NORM, "1"}, {0, NULL}};
static const setting chunked[] = {{MFRGN_TRAIN_LEARNING_RATE, "1e-3"}, {MFRGN_TRAIN_CHUNK, "2"}, {0, NULL}};

typedef struct kind {
    const char *precision;
    const setting *settings;
    double tolerance; /* of the losses, relative */
    int alike;        /* the views' maps, which then are one batch */
} kind;

/* With dropout: the masks are the same.  The views of a whole batch are computed together here, and one after the other
 * on `ref`. */
START_TEST(losses_are_those_of_ref) {
    static const kind kinds[] = {{"f32", plain, 2e-4, 0},
                                 {"f16", plain, 0.01, 0},
                                 {"bf16", chunked, 0.05, 0},
                                 {"f32", chunked, 2e-4, 0},
                                 {"bf16", plain, 0.05, 1}};
    const kind *k = &kinds[_i];
    fixture f = set_up_with(k->alike ? "36x33" : "32x47");
    mfrgn_trainer *t = cuda_trainer(&f, k->precision, k->settings), *ref = trainer_of(f.model, "f32", k->settings);
    ck_assert(t->joint && !ref->joint);
    for (int i = 0; i < (_i == 0 ? 2 : 1); i++) {
        double got = (double)step(t, 3, (uint64_t)i), expected = (double)step(ref, 3, (uint64_t)i);
        ck_assert_msg(fabs(got / expected - 1) < k->tolerance, "step %d: %.8g, ref %.8g", i, got, expected);
    }
    ck_assert_double_lt(fabs(t->last_norm / ref->last_norm - 1), 20 * k->tolerance);
    mfrgn_trainer_free(t);
    mfrgn_trainer_free(ref);
    tear_down(&f);
}
END_TEST

/* A scale at which gradients overflow is halved until they do not, and no step is lost. */
START_TEST(an_overflow_lowers_the_scale) {
    fixture f = set_up();
    mfrgn_trainer *t = cuda_trainer(&f, "f16", plain);
    t->scale = 0x1p28;
    float loss = step(t, 2, 1);
    ck_assert(isfinite(loss));
    ck_assert_uint_eq(t->step, 1);
    ck_assert_double_lt(t->scale, 0x1p28);
    ck_assert(isfinite(t->last_norm));
    mfrgn_trainer_free(t);
    tear_down(&f);
}
END_TEST

START_TEST(a_trainer_goes_on_with_the_same_bits) {
    fixture f = set_up();
    char path[] = "/tmp/mfrgn-whole-XXXXXX";
    int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    mfrgn_trainer *a = cuda_trainer(&f, "bf16", plain), *b = cuda_trainer(&f, "bf16", plain);
    step(a, 2, 1);
    OK(mfrgn_trainer_save(a, path));
    OK(mfrgn_trainer_restore(b, path));
    float x = step(a, 2, 2), y = step(b, 2, 2);
    ck_assert(x == y);
    unlink(path);
    mfrgn_trainer_free(a);
    mfrgn_trainer_free(b);
    tear_down(&f);
}
END_TEST

int main(int argc, char **argv) {
    int all = argc > 1 && strcmp(argv[1], "--all") == 0;
    Suite *suite = suite_create("cuda");
    TCase *cases = tcase_create("whole");
    tcase_add_checked_fixture(cases, open_context, close_context);
    tcase_set_timeout(cases, 900);
    tcase_add_loop_test(cases, runs_are_recorded_and_played, 0, all ? 2 : 1);
    tcase_add_test(cases, images_on_the_device);
    tcase_add_test(cases, memory_is_limited);
    tcase_add_test(cases, weights_are_shared);
    tcase_add_loop_test(cases, losses_are_those_of_ref, all ? 0 : 2, all ? 5 : 3);
    if (all) {
        tcase_add_test(cases, an_overflow_lowers_the_scale);
        tcase_add_test(cases, a_trainer_goes_on_with_the_same_bits);
    }
    suite_add_tcase(suite, cases);
    return mf_run_suite(suite);
}
