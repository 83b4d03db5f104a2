/* Recipes, their JSON, the schedule; backbones from files. */
#include "unit.h"

#include <math.h>

#include "files.h"
#include "io/weights.h"
#include "train/recipe.h"

static mfrgn_context *context;

static void setup(void) {
    ck_assert_int_eq(mfrgn_context_create(NULL, &context), MFRGN_OK);
    folder_make();
}

static void teardown(void) {
    folder_remove();
    mfrgn_context_free(context);
}

static mfrgn_recipe *recipe_of(const char *preset) {
    mfrgn_recipe *r = NULL;
    mfrgn_status status = mfrgn_recipe_create(context, preset, &r);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    return r;
}

static void says(const char *what) {
    ck_assert_msg(strstr(mfrgn_context_last_error(context), what) != NULL, "\"%s\" does not say \"%s\"",
                  mfrgn_context_last_error(context), what);
}

/* ---- schedule ---- */

START_TEST(schedules) {
    mf_schedule s = {MF_SCHEDULE_COSINE, 1e-3, 0, 2, 12};
    for (int step = 0; step <= 1200; step++) {
        double at = step / 100.0, rate = mf_schedule_rate(&s, at);
        double wanted = step < 200 ? 1e-3 * step / 200 : 5e-4 * (1 + cos(3.14159265358979 * (step - 200) / 1000));
        ck_assert_msg(fabs(rate - wanted) < 1e-12, "step %d: %g, not %g", step, rate, wanted);
    }
    s.kind = MF_SCHEDULE_POLYNOMIAL;
    s.end = 0.1;
    ck_assert_double_eq_tol(mf_schedule_rate(&s, 7), 1e-3 * (0.1 + 0.9 * pow(0.5, 1.5)), 1e-15);
    ck_assert_double_eq_tol(mf_schedule_rate(&s, 12), 1e-4, 1e-15);
    s.kind = MF_SCHEDULE_CONSTANT;
    ck_assert_double_eq(mf_schedule_rate(&s, 11.9), 1e-3);
    ck_assert_double_eq_tol(mf_schedule_rate(&s, 1), 5e-4, 1e-15);
    s = (mf_schedule){MF_SCHEDULE_COSINE, 1, 0, 0, 1};
    ck_assert(mf_schedule_rate(&s, 0) == 1 && mf_schedule_rate(&s, 1) < 1e-15);
}
END_TEST

/* ---- settings ---- */

START_TEST(every_preset) {
    for (int i = 0; mfrgn_recipe_preset_name(i); i++) {
        mfrgn_recipe *r = recipe_of(mfrgn_recipe_preset_name(i));
        ck_assert_ptr_nonnull(mfrgn_recipe_preset_about(i));
        ck_assert_msg(mfrgn_recipe_validate(r) == MFRGN_OK, "%s: %s", mfrgn_recipe_preset_name(i),
                      mfrgn_context_last_error(context));
        mfrgn_recipe_free(r);
    }
    ck_assert_ptr_null(mfrgn_recipe_preset_about(1000));
    mfrgn_recipe *r = NULL;
    ck_assert_int_eq(mfrgn_recipe_create(context, "cvusb", &r), MFRGN_ERROR_ARGUMENT);
    says("mfrgn+");
}
END_TEST

/* The published figures, as TRAINING has them. */
START_TEST(published) {
    static const char *const wanted[][2] = {{"epochs", "50"},
                                            {"run.batch", "64"},
                                            {"learning_rate", "1e-4"},
                                            {"weight_decay", "0.01"},
                                            {"schedule.kind", "cosine"},
                                            {"warmup", "1"},
                                            {"clip_value", "100"},
                                            {"label_smoothing", "0.1"},
                                            {"train.dropout", "0.3"},
                                            {"evaluate_every", "4"},
                                            {"flip", "0.5"},
                                            {"jpeg_low", "90"},
                                            {"rotate", "0.75"},
                                            {"sharpness", "0.3"},
                                            {"augment.dropout", "0.3"},
                                            {"grid_ground", "0.5"},
                                            {"holes_high", "25"},
                                            {"network.pps", "1"},
                                            {"sampler.kind", "shuffle"}};
    mfrgn_recipe *r = recipe_of(NULL);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
        ck_assert_str_eq(mfrgn_recipe_get(r, wanted[i][0]), wanted[i][1]);
    mfrgn_recipe_free(r);
    r = recipe_of("mfrgn+");
    ck_assert_str_eq(mfrgn_recipe_get(r, "sampler.select"), "32");
    ck_assert_str_eq(mfrgn_recipe_get(r, "precrop"), "1");
    mfrgn_recipe_free(r);
}
END_TEST

START_TEST(every_key) {
    mfrgn_recipe *r = recipe_of(NULL);
    mfrgn_recipe_key key = {.struct_size = sizeof(key)}, other = key;
    int count = 0;
    for (; mfrgn_recipe_get_key(count, &key) == MFRGN_OK; count++) {
        const char *value = mfrgn_recipe_get(r, key.name);
        ck_assert_msg(value && *key.help && *key.takes, "%s", key.name);
        ck_assert_int_eq(mfrgn_recipe_set(r, key.name, value), MFRGN_OK);
        for (int k = 0; k < count; k++) {
            mfrgn_recipe_get_key(k, &other);
            ck_assert_str_ne(other.name, key.name);
        }
    }
    ck_assert_int_eq(count, MF_RECIPE_OWN + MFRGN_CONFIG_KEY_COUNT + MFRGN_TRAIN_KEY_COUNT - 1);
    for (int k = 0; k < MFRGN_CONFIG_KEY_COUNT; k++) { /* the names are those of the network and the trainer */
        char name[64];
        snprintf(name, sizeof(name), "network.%s", mfrgn_config_key_name((mfrgn_config_key)k));
        ck_assert_str_eq(mfrgn_recipe_get(r, name), mfrgn_config_get(mfrgn_recipe_network(r), (mfrgn_config_key)k));
    }
    for (int k = 0; k < MFRGN_TRAIN_KEY_COUNT; k++) {
        char name[64];
        snprintf(name, sizeof(name), "train.%s", mfrgn_train_key_name((mfrgn_train_key)k));
        ck_assert(k == MFRGN_TRAIN_SEED || mfrgn_recipe_get(r, name) != NULL);
    }
    mfrgn_recipe_free(r);
}
END_TEST

START_TEST(refused_values) {
    static const char *const bad[][3] = {{"epochs", "0", "run.epochs"},
                                         {"epochs", "ten", "run.epochs"},
                                         {"epochs", "1.5", "run.epochs"},
                                         {"run.batch", "1", "run.batch"},
                                         {"flip", "1.1", "augment.flip"},
                                         {"flip", "nan", "augment.flip"},
                                         {"schedule.kind", "linear", "cosine"},
                                         {"sampler.kind", "", "shuffle"},
                                         {"network.backbone", "vgg", "network"},
                                         {"learning_rate", "-1", "train"},
                                         {"dropout", "0.1", "dropout"},
                                         {"nothing", "1", "nothing"},
                                         {"augment.epochs", "1", "augment.epochs"}};
    mfrgn_recipe *r = recipe_of(NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        ck_assert_msg(mfrgn_recipe_set(r, bad[i][0], bad[i][1]) == MFRGN_ERROR_ARGUMENT, "%s = %s", bad[i][0],
                      bad[i][1]);
        says(bad[i][2]);
    }
    ck_assert_str_eq(mfrgn_recipe_get(r, "epochs"), "50");
    mfrgn_recipe_free(r);
}
END_TEST

START_TEST(what_does_not_fit) {
    static const char *const bad[][3] = {{"warmup", "51", "schedule.warmup"},
                                         {"jpeg_low", "101", NULL},
                                         {"jpeg_high", "80", "augment.jpeg_low"},
                                         {"holes_low", "26", "augment.holes_low"},
                                         {"sat_size", "128x256", "augment.rotate"},
                                         {"turn_ground", "0.5", "augment.turn_ground"},
                                         {"augment.ground", "picture", "augment.rotate"},
                                         {"select", "200", "sampler.select"},
                                         {"heads", "7", "network"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        mfrgn_recipe *r = recipe_of(NULL);
        mfrgn_status status = mfrgn_recipe_set(r, bad[i][0], bad[i][1]);
        if (bad[i][2]) {
            ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
            ck_assert_msg(mfrgn_recipe_validate(r) == MFRGN_ERROR_ARGUMENT, "%s = %s", bad[i][0], bad[i][1]);
            says(bad[i][2]);
        } else {
            ck_assert_int_eq(status, MFRGN_ERROR_ARGUMENT);
        }
        mfrgn_recipe_free(r);
    }
}
END_TEST

/* ---- JSON ---- */

START_TEST(json_round_trip) {
    mfrgn_recipe *r = recipe_of("u1652-mini"), *back = recipe_of(NULL);
    mfrgn_recipe_key key = {.struct_size = sizeof(key)};
    ck_assert_int_eq(mfrgn_recipe_set(r, "epochs", "7"), MFRGN_OK);
    ck_assert_int_eq(mfrgn_recipe_write(r, in_folder("r.json")), MFRGN_OK);
    ck_assert_msg(mfrgn_recipe_read(back, in_folder("r.json")) == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    for (int i = 0; mfrgn_recipe_get_key(i, &key) == MFRGN_OK; i++)
        ck_assert_str_eq(mfrgn_recipe_get(r, key.name), mfrgn_recipe_get(back, key.name));
    ck_assert_int_eq(mf_recipe_compare(r, back, "x"), MFRGN_OK);
    ck_assert_int_eq(mfrgn_recipe_set(back, "train.threads", "3"), MFRGN_OK); /* affects nothing */
    ck_assert_int_eq(mfrgn_recipe_set(back, "warmup", "1.0"), MFRGN_OK);      /* the same number */
    ck_assert_int_eq(mf_recipe_compare(r, back, "x"), MFRGN_OK);
    ck_assert_int_eq(mfrgn_recipe_set(back, "flip", "0.25"), MFRGN_OK);
    ck_assert_int_eq(mf_recipe_compare(r, back, "x"), MFRGN_ERROR_MISMATCH);
    says("augment.flip");
    mfrgn_recipe_free(r);
    mfrgn_recipe_free(back);
}
END_TEST

START_TEST(json_by_hand) {
    mfrgn_recipe *r = recipe_of(NULL);
    file_text("r.json", "{\"network\": {\"shared\": true, \"sat_size\": \"128x128\", \"grd_size\": \"64x256\"},\n"
                        " \"epochs\": 3, \"augment.flip\": 0.125,\n \"train\": {\"learning_rate\": 5e-4},\n"
                        " \"preset\": \"mbaseline+g\"}");
    ck_assert_msg(mfrgn_recipe_read(r, in_folder("r.json")) == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    ck_assert_str_eq(mfrgn_recipe_get(r, "shared"), "1");
    ck_assert_str_eq(mfrgn_recipe_get(r, "local_source"), "means"); /* the preset came first */
    ck_assert_str_eq(mfrgn_recipe_get(r, "flip"), "0.125");
    ck_assert_str_eq(mfrgn_recipe_get(r, "learning_rate"), "5e-4");
    ck_assert_str_eq(mfrgn_recipe_get(r, "run.epochs"), "3");
    mfrgn_recipe_free(r);
}
END_TEST

START_TEST(bad_json) {
    static const char *const bad[][2] = {{"", "1"},
                                         {"[]", "{"},
                                         {"{\"run\": {\"epochs\": 3}", "1"},
                                         {"{\"run\":\n{\"epochs\": 0}}", "run.epochs"},
                                         {"{\"run\":\n\n{\"epoch\": 3}}", ":3"},
                                         {"{\"run\": {\"epochs\": [3]}}", "run.epochs"},
                                         {"{\"run\": {\"epochs\": null}}", "run.epochs"},
                                         {"{\"preset\": \"none\"}", "none"},
                                         {"{\"preset\": 3}", "string"},
                                         {"{\"epochs\": 3} x", "nothing more"},
                                         {"{\"wheels\": {\"epochs\": 3}}", "wheels.epochs"}};
    mfrgn_recipe *r = recipe_of(NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        file_text("bad.json", bad[i][0]);
        ck_assert_msg(mfrgn_recipe_read(r, in_folder("bad.json")) != MFRGN_OK, "%s", bad[i][0]);
        says("bad.json");
        says(bad[i][1]);
    }
    ck_assert_str_eq(mfrgn_recipe_get(r, "epochs"), "50");
    ck_assert_int_eq(mfrgn_recipe_read(r, in_folder("not-there.json")), MFRGN_ERROR_IO);
    mfrgn_recipe_free(r);
}
END_TEST

/* ---- backbones ---- */

typedef struct renamed {
    mfrgn_model *model;
    mf_weight weight[400];
    char name[400][128];
    size_t from[400], count;
    double add;
} renamed;

static mfrgn_status give(void *user, size_t index, void *data) {
    renamed *r = user;
    size_t count = r->weight[index].bytes / sizeof(float);
    mfrgn_status status = mfrgn_model_tensor_read(r->model, r->from[index], data, count);
    for (size_t i = 0; i < count; i++)
        ((float *)data)[i] += (float)r->add;
    return status;
}

static void add(renamed *r, size_t from, const char *name) {
    mfrgn_tensor_info info = {.struct_size = sizeof(info)};
    ck_assert_int_eq(mfrgn_model_tensor_get_info(r->model, from, &info), MFRGN_OK);
    mf_weight *w = &r->weight[r->count];
    snprintf(r->name[r->count], sizeof(r->name[0]), "%s", name);
    *w = (mf_weight){.name = r->name[r->count], .dtype = MF_F32, .ndim = info.dims, .bytes = sizeof(float)};
    for (int i = 0; i < info.dims; i++) {
        w->dim[i] = (int64_t)info.shape[i];
        w->bytes *= info.shape[i];
    }
    r->from[r->count++] = from;
}

/* The names of torchvision for a ConvNeXt, written down anew. */
static const char *torchvision(const char *name) {
    static char text[128];
    static const char *const part[][2] = {
        {"conv_dw.weight", "block.0.weight"}, {"conv_dw.bias", "block.0.bias"},     {"norm.weight", "block.2.weight"},
        {"norm.bias", "block.2.bias"},        {"mlp.fc1.weight", "block.3.weight"}, {"mlp.fc1.bias", "block.3.bias"},
        {"mlp.fc2.weight", "block.5.weight"}, {"mlp.fc2.bias", "block.5.bias"},     {"gamma", "layer_scale"}};
    int stage, n, used = 0;
    if (sscanf(name, "stem.%d.%n", &n, &used) == 1 && used)
        snprintf(text, sizeof(text), "features.0.%d.%s", n, name + used);
    else if (sscanf(name, "stages.%d.downsample.%d.%n", &stage, &n, &used) == 2 && used)
        snprintf(text, sizeof(text), "features.%d.%d.%s", 2 * stage, n, name + used);
    else if (sscanf(name, "stages.%d.blocks.%d.%n", &stage, &n, &used) == 2 && used)
        for (size_t i = 0; i < sizeof(part) / sizeof(*part); i++)
            if (strcmp(part[i][0], name + used) == 0)
                snprintf(text, sizeof(text), "features.%d.%d.%s", 2 * stage + 1, n, part[i][1]);
    return text;
}

static mfrgn_config *config_of(const char *backbone, const char *preset) {
    mfrgn_config *c;
    ck_assert_int_eq(mfrgn_config_create(context, preset, &c), MFRGN_OK);
    ck_assert_int_eq(mfrgn_config_set(c, MFRGN_CONFIG_BACKBONE, backbone), MFRGN_OK);
    ck_assert_int_eq(mfrgn_config_set(c, MFRGN_CONFIG_AERIAL_SIZE, "64x64"), MFRGN_OK);
    ck_assert_int_eq(mfrgn_config_set(c, MFRGN_CONFIG_GROUND_SIZE, "64x64"), MFRGN_OK);
    return c;
}

/* 0: timm; 1: torchvision; 2: as it is, in a whole checkpoint; 3: half of it missing. */
static void save_backbone(const char *path, const char *backbone, int kind, int skip) {
    static renamed r;
    mfrgn_config *config = config_of(backbone, "baseline");
    mfrgn_tensor_info info = {.struct_size = sizeof(info)};
    r.count = 0;
    r.add = 0.5;
    ck_assert_int_eq(mfrgn_model_create(context, config, 9, &r.model), MFRGN_OK);
    for (size_t i = 0; i < mfrgn_model_tensor_count(r.model); i++) {
        ck_assert_int_eq(mfrgn_model_tensor_get_info(r.model, i, &info), MFRGN_OK);
        if (strncmp(info.name, "backbone.backbone.", 18) != 0 || (int)i == skip)
            continue;
        add(&r, i, kind == 1 ? torchvision(info.name + 18) : kind == 2 ? info.name : info.name + 18);
    }
    mf_weights_out out = {r.weight, r.count, NULL, 0, give, &r, NULL};
    mfrgn_status status = mf_safetensors_save(context, path, &out);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    mfrgn_model_free(r.model);
    mfrgn_config_free(config);
}

/* Backbone tensors are the file's, all others the seed's. */
static void check_backbone(const char *path, const char *backbone) {
    mfrgn_config *config = config_of(backbone, "mbaseline+g");
    mfrgn_model *model = NULL, *seeded, *from;
    mfrgn_status status = mfrgn_model_create_from_backbone(context, config, 4, path, &model);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    ck_assert_int_eq(mfrgn_model_create(context, config, 4, &seeded), MFRGN_OK);
    ck_assert_int_eq(mfrgn_model_create(context, config, 9, &from), MFRGN_OK);
    for (size_t i = 0; i < mfrgn_model_tensor_count(model); i++) {
        mfrgn_tensor_info info = {.struct_size = sizeof(info)};
        size_t count = 1;
        ck_assert_int_eq(mfrgn_model_tensor_get_info(model, i, &info), MFRGN_OK);
        for (int d = 0; d < info.dims; d++)
            count *= info.shape[d];
        int is_backbone = strncmp(info.name, "backbone.backbone.", 18) == 0;
        float *has = malloc(count * sizeof(float)), *wanted = malloc(count * sizeof(float));
        ck_assert_int_eq(mfrgn_model_tensor_read(model, i, has, count), MFRGN_OK);
        ck_assert_int_eq(mfrgn_model_tensor_read(is_backbone ? from : seeded, i, wanted, count), MFRGN_OK);
        size_t same = 0;
        while (same < count && has[same] == wanted[same] + (is_backbone ? 0.5f : 0.0f))
            same++;
        ck_assert_msg(same == count, "%s, %zu", info.name, same);
        free(has);
        free(wanted);
    }
    mfrgn_model_free(model);
    mfrgn_model_free(seeded);
    mfrgn_model_free(from);
    mfrgn_config_free(config);
}

START_TEST(backbones) {
    for (int kind = 0; kind < 3; kind++) {
        save_backbone(in_folder("b.safetensors"), "convnext_atto", kind, -1);
        check_backbone(in_folder("b.safetensors"), "convnext_atto");
    }
    save_backbone(in_folder("r.safetensors"), "resnet18", 0, -1);
    check_backbone(in_folder("r.safetensors"), "resnet18");
}
END_TEST

START_TEST(bad_backbones) {
    mfrgn_config *config = config_of("convnext_atto", "cvusa");
    mfrgn_model *model = NULL;
    save_backbone(in_folder("b.safetensors"), "convnext_atto", 0, 20);
    ck_assert_int_eq(mfrgn_model_create_from_backbone(context, config, 1, in_folder("b.safetensors"), &model),
                     MFRGN_ERROR_MISMATCH);
    says("missing");
    save_backbone(in_folder("b.safetensors"), "convnext_femto", 0, -1);
    ck_assert_int_eq(mfrgn_model_create_from_backbone(context, config, 1, in_folder("b.safetensors"), &model),
                     MFRGN_ERROR_MISMATCH);
    says("convnext_atto");
    save_backbone(in_folder("b.safetensors"), "resnet18", 0, -1);
    ck_assert_int_eq(mfrgn_model_create_from_backbone(context, config, 1, in_folder("b.safetensors"), &model),
                     MFRGN_ERROR_MISMATCH);
    says("no backbone");
    ck_assert_int_eq(mfrgn_model_create_from_backbone(context, config, 1, in_folder("none.pth"), &model),
                     MFRGN_ERROR_IO);
    ck_assert_ptr_null(model);
    mfrgn_config_free(config);
}
END_TEST

int main(void) {
    Suite *s = suite_create("recipe");
    TCase *t = tcase_create("recipe");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    suite_add_tcase(s, t);
    tcase_add_test(t, schedules);
    tcase_add_test(t, every_preset);
    tcase_add_test(t, published);
    tcase_add_test(t, every_key);
    tcase_add_test(t, refused_values);
    tcase_add_test(t, what_does_not_fit);
    tcase_add_test(t, json_round_trip);
    tcase_add_test(t, json_by_hand);
    tcase_add_test(t, bad_json);
    tcase_add_test(t, backbones);
    tcase_add_test(t, bad_backbones);
    return mf_run_suite(s);
}
