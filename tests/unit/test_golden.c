/* Inside the network: the intermediate results that golden cases hold, by name (S1 .. desc_unnormalised). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "session.h"

#ifndef MF_GOLDEN_DIR
#define MF_GOLDEN_DIR ""
#endif

enum { MOST = 1 << 20 };

static double golden_at(const mf_weight *w, size_t i) {
    float value;
    memcpy(&value, (const char *)w->data + i * sizeof(value), sizeof(value));
    return value;
}

/* Maps are stored C x H x W there and H x W x C here. */
static double relative_error(const mf_weight *w, const double *ours, size_t count) {
    size_t channels = w->ndim == 3 ? (size_t)w->dim[0] : 1, positions = count / channels;
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = w->ndim == 3 ? i % positions * channels + i / positions : i;
        double g = golden_at(w, i);
        difference += (g - ours[at]) * (g - ours[at]);
        norm += g * g;
    }
    return sqrt(difference / norm);
}

static void check_view(mfrgn_session *session, const mf_weights *golden, mfrgn_view view) {
    static const char *const names[] = {"S1",      "S2",      "S3",      "S4",                "F_L", "F_H",
                                        "F_L_out", "F_H_out", "f_local", "desc_unnormalised", "descriptor"};
    static double values[MOST];
    static unsigned char pixels[256 * 512 * 3];
    float descriptor[2048];
    const char *suffix = view == MFRGN_VIEW_AERIAL ? "sat" : "grd";
    char name[64];
    int width, height;
    mfrgn_model_input_size(session->model, view, &width, &height);
    snprintf(name, sizeof(name), "img.%s.0", suffix);
    fill_picture(name, 1, width, height, pixels);
    mfrgn_image image = {sizeof(image), pixels, width, height, 0, MFRGN_PIXEL_RGB8};
    OK(mfrgn_embed(session, view, &image, 1, descriptor));
    for (size_t i = 0; i < MF_COUNT(names); i++) {
        size_t count;
        snprintf(name, sizeof(name), "%s.%s", names[i], suffix);
        const mf_weight *w = mf_weights_find(golden, name);
        ck_assert_msg(w, "%s is not in the golden file", name);
        OK(mf_session_tap(session, view, names[i], values, MOST, &count));
        ck_assert_uint_eq(count * sizeof(float), w->bytes);
        double error = relative_error(w, values, count);
        ck_assert_msg(error < 2e-6, "%s: %g", name, error);
    }
}

START_TEST(intermediate_results) {
    mf_weights *golden;
    if (mf_weights_load(context, MF_GOLDEN_DIR "/tiny-cvusa.safetensors", &golden) != MFRGN_OK) {
        puts("skipped: no golden vectors at " MF_GOLDEN_DIR);
        return;
    }
    mfrgn_config *config;
    mfrgn_model *model;
    uint64_t seed = 1;
    OK(mfrgn_config_create(context, "cvusa", &config));
    OK(mfrgn_config_set(config, MFRGN_CONFIG_BACKBONE, "convnext_tiny"));
    OK(mfrgn_model_create_filled(context, config, fill_tensor, &seed, &model));
    mfrgn_session *session = session_of(model, "f32", 1);
    session->keep_taps = 1;
    check_view(session, golden, MFRGN_VIEW_AERIAL);
    check_view(session, golden, MFRGN_VIEW_GROUND);
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    mf_weights_free(golden);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("golden");
    TCase *cases = tcase_create("golden");
    tcase_add_checked_fixture(cases, open_context, close_context);
    tcase_set_timeout(cases, 300);
    tcase_add_test(cases, intermediate_results);
    suite_add_tcase(suite, cases);
    return mf_run_suite(suite);
}
