/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn selftest: does this installation compute right on this machine?  Weights and pictures come from a rule
 * (fill.c); the results are compared with values that are built in, with the reference backend in f64, or with golden
 * files. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "fill.h"
#include "selftest.h"

enum { SAMPLES = 32, SETTINGS = 10 };

typedef struct expected_case {
    const char *name;
    float value[2][SAMPLES]; /* aerial, ground */
} expected_case;

#include "expected.h"

/* Small networks that between them use every operation there is. */
typedef struct builtin_case {
    const char *name, *preset;
    const char *setting[SETTINGS];
} builtin_case;

static const builtin_case builtin[] = {
    {"convnext", "cvusa", {"backbone=convnext_atto", "sat_size=64x64", "grd_size=32x128"}},
    {"convnext-odd-full",
     "u1652",
     {"backbone=convnext_atto", "sat_size=61x67", "grd_size=61x67", "pps=0", "attention=full", "local_source=initial"}},
    {"resnet", "cvusa", {"backbone=resnet18", "sat_size=64x64", "grd_size=32x128", "a=1", "b=2", "heads=8"}},
    {"means", "mbaseline+g", {"backbone=convnext_atto", "sat_size=64x64", "grd_size=32x128"}},
    {"sample4geo", "sample4geo", {"backbone=convnext_atto", "sat_size=64x64", "grd_size=32x128"}},
};
enum { BUILTIN = sizeof builtin / sizeof *builtin };

/* Bounds of the relative L2 error of a descriptor. */
static const double bound_f32 = 5e-6, bound_ref = 2e-6, bound_f16_weights = 1e-3, bound_tanh = 1e-3;

/* Relative L2 of descriptors.  Those of fewer bits are ours: bf16's 0.14 is a cosine of 0.99. */
static double bound_of(const char *precision, const char *backend) {
    static const struct {
        const char *precision;
        double bound;
    } known[] = {{"f64", 2e-7}, {"tf32", 1e-2}, {"f16", 2e-2}, {"bf16", 0.14}, {"fp8", 0.3}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(precision, known[i].precision))
            return known[i].bound;
    return strcmp(backend, "ref") ? bound_f32 : bound_ref;
}

static const mfrgn_view views[2] = {MFRGN_VIEW_AERIAL, MFRGN_VIEW_GROUND};
static const char *const short_names[2] = {"sat", "grd"};

static const tool_option own_options[] = {
    {"golden", 'g', "DIR", "a folder of golden cases (*.safetensors), or one file; else the built-in cases"},
    {"case", 0, "TEXT", "only the cases whose name contains TEXT"},
    {"max-parameters", 0, "N", "leave out golden cases with more values than this"},
    {"dtype", 'd', "TYPE", "store the weights as f32 or f16 first, and load that file"},
    {"print-expected", 0, NULL, "print the built-in values anew (tools/expected.h)"},
    {NULL, 0, NULL, NULL},
};

static int take(void *user, const char *name, const char *value) {
    selftest *test = user;
    if (!strcmp(name, "golden"))
        test->golden = value;
    else if (!strcmp(name, "case"))
        test->filter = value;
    else if (!strcmp(name, "print-expected"))
        test->print_expected = 1;
    else if (!strcmp(name, "max-parameters"))
        return tool_number("--max-parameters", value, 1, 2000000000, &test->max_parameters) ? 0 : TOOL_USAGE;
    else {
        test->dtype_given = 1;
        if (!tool_dtype(value, &test->dtype))
            return TOOL_USAGE;
        if (test->dtype == MFRGN_DTYPE_BF16)
            return tool_usage("--dtype takes f32 or f16 here: there is no bound for bf16");
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------- a case -------- */

void selftest_fail(case_result *result, const char *format, ...) {
    va_list args;
    va_start(args, format);
    result->outcome = FAILED;
    vsnprintf(result->message, sizeof result->message, format, args);
    va_end(args);
}

void selftest_fail_status(const selftest *test, case_result *result, mfrgn_status status) {
    const char *text = mfrgn_context_last_error(test->context);
    selftest_fail(result, "%s", *text ? text : mfrgn_status_string(status));
}

static int key_of(const char *name) {
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++)
        if (!strcmp(mfrgn_config_key_name((mfrgn_config_key)key), name))
            return key;
    return -1;
}

static int matches(const selftest *test, const char *name) {
    return !test->filter || strstr(name, test->filter);
}

/* All values, the running statistics with them. */
static size_t value_count(const mfrgn_model *model) {
    size_t sum = 0;
    for (size_t i = 0; i < mfrgn_model_tensor_count(model); i++) {
        mfrgn_tensor_info info = {.struct_size = sizeof info};
        if (mfrgn_model_tensor_get_info(model, i, &info) != MFRGN_OK)
            continue;
        size_t count = 1;
        for (int d = 0; d < info.dims; d++)
            count *= info.shape[d];
        sum += count;
    }
    return sum;
}

/* The descriptor of picture 0 of a view; to be freed.  NULL after fail(). */
static float *embed_one(const selftest *test, const mfrgn_model *model, mfrgn_session *session, int which,
                        uint64_t seed, case_result *result) {
    int width = 0, height = 0;
    char name[16];
    mfrgn_model_input_size(model, views[which], &width, &height);
    unsigned char *pixels = malloc((size_t)width * (size_t)height * 3 + 1);
    float *descriptor = malloc((mfrgn_model_descriptor_size(model) + 1) * sizeof *descriptor);
    mfrgn_status status = MFRGN_ERROR_MEMORY;
    if (pixels && descriptor) {
        snprintf(name, sizeof name, "img.%s.0", short_names[which]);
        fill_picture(name, seed, width, height, pixels);
        mfrgn_image image = {sizeof image, pixels, width, height, 0, MFRGN_PIXEL_RGB8};
        status = mfrgn_embed(session, views[which], &image, 1, descriptor);
    }
    free(pixels);
    if (status == MFRGN_OK)
        return descriptor;
    selftest_fail_status(test, result, status);
    free(descriptor);
    return NULL;
}

/* A session as the command line asks for, or of ref in f64. */
static mfrgn_session *open_session(selftest *test, mfrgn_model *model, int reference, case_result *result) {
    tool_options options = test->options;
    const char *names[] = {options.backend, options.threads, options.precision, options.batch,
                           options.device,  options.tuning,  options.gelu};
    const mfrgn_option_key keys[] = {MFRGN_OPTION_BACKEND, MFRGN_OPTION_THREADS, MFRGN_OPTION_PRECISION,
                                     MFRGN_OPTION_BATCH,   MFRGN_OPTION_DEVICE,  MFRGN_OPTION_TUNING,
                                     MFRGN_OPTION_GELU};
    mfrgn_options *settings = NULL;
    mfrgn_session *session = NULL;
    mfrgn_status status = mfrgn_options_create(test->context, &settings);
    if (reference) {
        names[0] = "ref";
        names[2] = "f64";
        names[3] = names[4] = names[6] = NULL;
    }
    for (int i = 0; status == MFRGN_OK && i < 7; i++)
        if (names[i])
            status = mfrgn_options_set(settings, keys[i], names[i]);
    if (status == MFRGN_OK)
        status = mfrgn_session_create(model, settings, &session);
    mfrgn_options_free(settings);
    if (status != MFRGN_OK) {
        selftest_fail_status(test, result, status);
        return NULL;
    }
    mfrgn_session_info info = {.struct_size = sizeof info};
    if (!reference && mfrgn_session_get_info(session, &info) == MFRGN_OK) {
        snprintf(test->backend, sizeof test->backend, "%s", info.backend);
        result->bound = bound_of(options.precision ? options.precision : "f32", info.backend);
        if (test->dtype_given && test->dtype == MFRGN_DTYPE_F16 && result->bound < bound_f16_weights)
            result->bound = bound_f16_weights;
        if (options.gelu && !strcmp(options.gelu, "tanh") && result->bound < bound_tanh)
            result->bound = bound_tanh;
    }
    return session;
}

/* The filled model, through a file if --dtype says so.  NULL after fail(). */
static mfrgn_model *make_model(selftest *test, const mfrgn_config *config, uint64_t seed, case_result *result) {
    mfrgn_model *model = NULL;
    mfrgn_status status = mfrgn_model_create_filled(test->context, config, fill_tensor, &seed, &model);
    if (status != MFRGN_OK) {
        selftest_fail_status(test, result, status);
        return NULL;
    }
    if (test->dtype_given) {
        mfrgn_model *stored = tool_restore(test->context, model, test->dtype);
        mfrgn_model_free(model);
        if (!stored)
            selftest_fail(result, "the weights could not be stored and loaded");
        return stored;
    }
    return model;
}

static void judge(case_result *result, int which, double square_error, double square) {
    result->error[which] = sqrt(square_error / square);
    if (!(result->error[which] <= result->bound)) { /* NaN too */
        char text[MESSAGE];
        snprintf(text, sizeof text, "%s descriptor: relative error %.2g, at most %.2g is right",
                 tool_view_name(views[which]), result->error[which], result->bound);
        selftest_fail(result, "%s", text);
    }
}

/* ---------------------------------------------------------------------------------------------- golden -------- */

mfrgn_model *selftest_golden_model(selftest *test, const golden *file, uint64_t seed, case_result *result) {
    mfrgn_config *config = NULL;
    mfrgn_model *model = NULL;
    int known = 0;
    const char *parameters = golden_metadata(file, "parameters");
    if (test->max_parameters && parameters && strtoll(parameters, NULL, 10) > test->max_parameters) {
        result->outcome = SKIPPED;
        snprintf(result->message, sizeof result->message, "%s values", tool_thousands(strtoull(parameters, NULL, 10)));
        return NULL;
    }
    mfrgn_status status = mfrgn_config_create(test->context, NULL, &config);
    for (size_t i = 0; status == MFRGN_OK && i < file->pairs; i++) {
        int key = key_of(file->pair[i].key);
        if (key < 0)
            continue;
        known++;
        status = mfrgn_config_set(config, (mfrgn_config_key)key, file->pair[i].value);
    }
    if (status == MFRGN_OK)
        status = mfrgn_config_validate(config);
    if (status != MFRGN_OK)
        selftest_fail_status(test, result, status);
    else if (!known)
        selftest_fail(result, "the file's metadata holds no configuration");
    else
        model = make_model(test, config, seed, result);
    mfrgn_config_free(config);
    if (model && parameters && value_count(model) != strtoull(parameters, NULL, 10)) {
        char has[32];
        snprintf(has, sizeof has, "%s", tool_thousands(value_count(model)));
        selftest_fail(result, "the network has %s values, the file says %s", has,
                      tool_thousands(strtoull(parameters, NULL, 10)));
        mfrgn_model_free(model);
        model = NULL;
    }
    return model;
}

static uint64_t seed_of(const golden *file) {
    const char *text = golden_metadata(file, "weight_seed");
    return text ? strtoull(text, NULL, 10) : 1;
}

static void run_golden(selftest *test, const golden *file, case_result *result) {
    uint64_t seed = seed_of(file);
    mfrgn_model *model = selftest_golden_model(test, file, seed, result);
    mfrgn_session *session = model ? open_session(test, model, 0, result) : NULL;

    int compared = 0;
    for (int which = 0; session && which < 2 && result->outcome != FAILED; which++) {
        char name[32];
        snprintf(name, sizeof name, "descriptor.%s", short_names[which]);
        const golden_tensor *wanted = golden_find(file, name);
        if (!wanted)
            continue;
        if (wanted->count != mfrgn_model_descriptor_size(model)) {
            selftest_fail(result, "the descriptor in the file has another size");
            break;
        }
        float *got = embed_one(test, model, session, which, seed, result);
        double square = 0, square_error = 0;
        for (size_t i = 0; got && i < wanted->count; i++) {
            double value = (double)golden_value(wanted, i), difference = (double)got[i] - value;
            square += value * value;
            square_error += difference * difference;
        }
        if (got) {
            judge(result, which, square_error, square);
            compared++;
        }
        free(got);
    }
    if (session && !compared && result->outcome != FAILED)
        selftest_fail(result, "the file holds no descriptor");
    mfrgn_session_free(session);
    mfrgn_model_free(model);
}

/* ---------------------------------------------------------------------------------------------- built in ------ */

static mfrgn_config *builtin_config(const selftest *test, const builtin_case *what, case_result *result) {
    mfrgn_config *config = NULL;
    mfrgn_status status = mfrgn_config_create(test->context, what->preset, &config);
    for (int i = 0; status == MFRGN_OK && i < SETTINGS && what->setting[i]; i++) {
        char key[32];
        const char *equals = strchr(what->setting[i], '=');
        snprintf(key, sizeof key, "%.*s", (int)(equals - what->setting[i]), what->setting[i]);
        status = mfrgn_config_set(config, (mfrgn_config_key)key_of(key), equals + 1);
    }
    if (status == MFRGN_OK)
        return config;
    selftest_fail_status(test, result, status);
    mfrgn_config_free(config);
    return NULL;
}

static const expected_case *find_expected(const char *name) {
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (expected[i].name && !strcmp(expected[i].name, name))
            return &expected[i];
    return NULL;
}

/* Against ref in f64 here and now, all values; and against the built-in ones. */
static void compare_builtin(const builtin_case *what, case_result *result, int which, const float *got,
                            const float *reference, size_t size) {
    double square = 0, square_error = 0;
    for (size_t i = 0; i < size; i++) {
        double difference = (double)got[i] - (double)reference[i];
        square += (double)reference[i] * (double)reference[i];
        square_error += difference * difference;
    }
    if (!(fabs(square - 1) < 1e-5)) {
        selftest_fail(result, "the descriptor's length is not 1");
        return;
    }
    judge(result, which, square_error, square);
    const expected_case *wanted = find_expected(what->name);
    if (!wanted) {
        selftest_fail(result, "no expected values are built in (mfrgn selftest --print-expected)");
        return;
    }
    square = square_error = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        double value = (double)wanted->value[which][i], difference = (double)got[i * size / SAMPLES] - value;
        square += value * value;
        square_error += difference * difference;
    }
    /* a few values scatter more than all of them */
    double error = sqrt(square_error / square);
    if (result->outcome != FAILED && !(error <= 4 * result->bound)) {
        char text[MESSAGE];
        snprintf(text, sizeof text, "%s descriptor: %.2g off the built-in values", tool_view_name(views[which]), error);
        selftest_fail(result, "%s", text);
    }
}

static void run_builtin(selftest *test, const builtin_case *what, case_result *result) {
    uint64_t seed = 1;
    mfrgn_config *config = builtin_config(test, what, result);
    mfrgn_model *model = config ? make_model(test, config, seed, result) : NULL;
    mfrgn_model *exact = model && test->dtype_given ? NULL : model;
    if (model && !exact && mfrgn_model_create_filled(test->context, config, fill_tensor, &seed, &exact) != MFRGN_OK)
        selftest_fail(result, "not enough memory");
    mfrgn_session *session = exact ? open_session(test, model, 0, result) : NULL;
    mfrgn_session *reference = session ? open_session(test, exact, 1, result) : NULL;
    for (int which = 0; reference && which < 2 && result->outcome != FAILED; which++) {
        float *got = embed_one(test, model, session, which, seed, result);
        float *wanted = got ? embed_one(test, exact, reference, which, seed, result) : NULL;
        if (wanted)
            compare_builtin(what, result, which, got, wanted, mfrgn_model_descriptor_size(model));
        free(got);
        free(wanted);
    }
    mfrgn_session_free(reference);
    mfrgn_session_free(session);
    if (exact != model)
        mfrgn_model_free(exact);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
}

static int print_expected(selftest *test) {
    printf("/* SPDX-License-Identifier: Apache-2.0 */\n"
           "/* Made by `mfrgn selftest --print-expected`: %d values of each descriptor of the built-in cases, from "
           "backend\n * ref in f64. */\n"
           "static const expected_case expected[] = {\n",
           (int)SAMPLES);
    for (int i = 0; i < BUILTIN; i++) {
        uint64_t seed = 1;
        case_result result = {.outcome = PASSED};
        mfrgn_config *config = builtin_config(test, &builtin[i], &result);
        mfrgn_model *model = config ? make_model(test, config, seed, &result) : NULL;
        mfrgn_session *session = model ? open_session(test, model, 1, &result) : NULL;
        if (session)
            printf("    {\"%s\",\n     {", builtin[i].name);
        for (int which = 0; session && which < 2; which++) {
            float *got = embed_one(test, model, session, which, seed, &result);
            size_t size = mfrgn_model_descriptor_size(model);
            printf("{");
            for (size_t k = 0; got && k < SAMPLES; k++)
                printf("%s%.8ef", k == 0 ? "" : k % 6 ? ", " : ",\n       ", (double)got[k * size / SAMPLES]);
            printf(which ? "}}},\n" : "},\n      ");
            free(got);
        }
        mfrgn_session_free(session);
        mfrgn_model_free(model);
        mfrgn_config_free(config);
        if (result.outcome == FAILED) {
            tool_error("%s: %s", builtin[i].name, result.message);
            return TOOL_FAILED;
        }
    }
    printf("};\n");
    return TOOL_OK;
}

/* ---------------------------------------------------------------------------------------------- report -------- */

static void report(selftest *test, const char *name, const case_result *result) {
    static const char *const words[] = {"ok", "failed", "skipped"};
    test->count[result->outcome]++;
    for (int which = 0; which < 2; which++)
        if (result->error[which] > test->worst)
            test->worst = result->error[which];
    if (test->options.json) {
        json_out *json = &test->json;
        json_object(json, NULL);
        json_string(json, "name", name);
        json_string(json, "result", words[result->outcome]);
        for (int which = 0; which < 2; which++)
            json_number(json, which ? "error_ground" : "error_aerial",
                        result->error[which] >= 0 ? result->error[which] : (double)NAN, 4);
        json_number(json, "bound", result->bound > 0 ? result->bound : (double)NAN, 4);
        json_number(json, "seconds", result->seconds, 4);
        json_string(json, "message", *result->message ? result->message : NULL);
        json_close(json);
        return;
    }
    char errors[2][16];
    for (int which = 0; which < 2; which++)
        snprintf(errors[which], sizeof errors[which], result->error[which] >= 0 ? "%.1e" : "-", result->error[which]);
    printf("%-26s aerial %-8s ground %-8s ", name, errors[0], errors[1]);
    if (result->outcome == SKIPPED)
        printf("skipped (%s)\n", result->message);
    else if (result->outcome == FAILED)
        printf("FAILED %6.2f s  %s\n", result->seconds, result->message);
    else
        printf("ok     %6.2f s\n", result->seconds);
    fflush(stdout);
}

static void run_file(selftest *test, const char *path) {
    const char *slash = strrchr(path, '/');
    char name[256];
    golden file;
    case_result result = {.outcome = PASSED, .error = {-1, -1}};
    snprintf(name, sizeof name, "%s", slash ? slash + 1 : path);
    if (files_has_ending(name, ".safetensors"))
        name[strlen(name) - strlen(".safetensors")] = 0;
    if (!matches(test, name))
        return;
    double start = tool_seconds();
    const char *wrong = golden_open(path, &file);
    if (wrong) {
        snprintf(result.message, sizeof result.message, "the file %s", wrong);
        result.outcome = FAILED;
    } else if (golden_metadata(&file, "lr")) {
        selftest_train(test, &file, &result);
    } else
        run_golden(test, &file, &result);
    if (!wrong)
        golden_free(&file);
    result.seconds = tool_seconds() - start;
    report(test, name, &result);
}

static int run_cases(selftest *test) {
    if (test->golden) {
        file_list files = {0};
        if (files_has_ending(test->golden, ".safetensors"))
            run_file(test, test->golden);
        else if (!files_with_ending(&files, test->golden, ".safetensors"))
            return 0;
        for (size_t i = 0; i < files.count && !tool_stopped(); i++)
            run_file(test, files.path[i]);
        files_free(&files);
        return 1;
    }
    for (int i = 0; i < BUILTIN && !tool_stopped(); i++) {
        case_result result = {.outcome = PASSED, .error = {-1, -1}};
        double start = tool_seconds();
        if (!matches(test, builtin[i].name))
            continue;
        run_builtin(test, &builtin[i], &result);
        result.seconds = tool_seconds() - start;
        report(test, builtin[i].name, &result);
    }
    return 1;
}

static int run_all(selftest *test) {
    json_out *json = &test->json;
    if (test->options.json) {
        json_begin(json, stdout);
        json_object(json, NULL);
        json_string(json, "version", mfrgn_version_string());
        json_array(json, "cases");
    }
    int listed = run_cases(test);
    size_t run = test->count[PASSED] + test->count[FAILED];
    if (listed && !run && !test->count[SKIPPED])
        tool_error("there is no case%s%s%s%s", test->golden ? " in " : "", test->golden ? test->golden : "",
                   test->filter ? " whose name contains " : "", test->filter ? test->filter : "");
    /* a run that checked nothing has shown nothing */
    int good = listed && run && !test->count[FAILED];
    if (test->options.json) {
        json_close(json);
        json_string(json, "backend", *test->backend ? test->backend : NULL);
        json_integer(json, "passed", test->count[PASSED]);
        json_integer(json, "failed", test->count[FAILED]);
        json_integer(json, "skipped", test->count[SKIPPED]);
        json_number(json, "worst_error", test->worst, 4);
        json_bool(json, "ok", good);
        json_close(json);
        json_end(json);
    } else if (listed && (run || test->count[SKIPPED]))
        printf("selftest%s%s: %zu passed, %zu failed, %zu skipped%s: %s\n", *test->backend ? " of " : "", test->backend,
               test->count[PASSED], test->count[FAILED], test->count[SKIPPED], run ? "" : " (nothing was checked)",
               good ? "ok" : "FAILED");
    return good ? TOOL_OK : TOOL_FAILED;
}

static int run(const tool_command *command, int argc, char **argv) {
    selftest test = {0};
    int first, code = tool_parse(command, argc, argv, &test.options, take, &test, &first);
    if (code >= 0)
        return code;
    if (first < argc)
        return tool_usage("'%s' is not expected here", argv[first]);
    if (test.max_parameters && !test.golden)
        return tool_usage("--max-parameters goes with --golden");
    tool_catch_signals();
    test.context = tool_context(&test.options);
    if (!test.context)
        return TOOL_FAILED;
    code = test.print_expected ? print_expected(&test) : run_all(&test);
    mfrgn_context_free(test.context);
    return code;
}

const tool_command command_selftest = {
    "selftest",
    "check that this installation computes right on this machine",
    "[--golden DIR] [OPTIONS]",
    "Runs small networks with weights and pictures that are computed from a rule, and compares the descriptors with\n"
    "values that are built in and with the reference backend in f64.  With --golden: every case of a folder.  One "
    "line\n"
    "a case, with the relative L2 error of each view.  Right is an error of at most 5e-6 (backend ref: 2e-6, in f64:\n"
    "2e-7; weights stored as f16, or --gelu tanh: 1e-3).",
    "  mfrgn selftest\n"
    "  mfrgn selftest --backend onednn --threads 2\n"
    "  mfrgn selftest --golden golden/ --backend ref --max-parameters 40000000\n",
    OPT_SESSION | OPT_JSON | OPT_QUIET,
    own_options,
    run,
};
