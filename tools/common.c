/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---------------------------------------------------------------------------------------------- messages ------ */

static const char *current = "";

void tool_set_name(const char *name) {
    current = name;
}

const char *tool_name(void) {
    return current;
}

static void message(const char *format, va_list arguments) {
    fflush(stdout);
    fprintf(stderr, "mfrgn%s%s: ", *current ? " " : "", current);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void tool_error(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    message(format, arguments);
    va_end(arguments);
}

int tool_usage(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    message(format, arguments);
    va_end(arguments);
    fprintf(stderr, "Try 'mfrgn%s%s --help'.\n", *current ? " " : "", current);
    return TOOL_USAGE;
}

int tool_failed(mfrgn_context *context, mfrgn_status status, const char *what) {
    const char *detail = mfrgn_context_last_error(context);
    if (!detail || !*detail)
        detail = mfrgn_status_string(status);
    if (status == MFRGN_ERROR_CANCELLED && tool_stopped())
        return TOOL_FAILED;
    /* Most messages name the file already. */
    if (what && *what && !strstr(detail, what))
        tool_error("%s: %s", what, detail);
    else
        tool_error("%s", detail);
    return TOOL_FAILED;
}

int tool_close_stdout(int code) {
    int failed = ferror(stdout);
    errno = 0;
    if (fflush(stdout))
        failed = 1;
    int reason = errno;
    if (failed) {
        fprintf(stderr, "mfrgn: cannot write the output: %s\n", reason ? strerror(reason) : "write error");
        return code == TOOL_OK || code == TOOL_SKIPPED ? TOOL_FAILED : code;
    }
    return code;
}

static volatile sig_atomic_t stop_signal;

static void note_signal(int number) {
    stop_signal = number;
}

void tool_catch_signals(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old, action;
        memset(&action, 0, sizeof action);
        action.sa_handler = note_signal;
        action.sa_flags = (int)SA_RESETHAND;
        sigemptyset(&action.sa_mask);
        /* nohup's SIG_IGN is to stay */
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

int tool_stopped(void) {
    return stop_signal != 0;
}

void tool_die_if_stopped(void) {
    if (!stop_signal)
        return;
    signal(stop_signal, SIG_DFL);
    raise(stop_signal);
}

int tool_progress_stop(void *user, size_t done, size_t total) {
    (void)user, (void)done, (void)total;
    return tool_stopped();
}

static void print_log(void *user, mfrgn_log_level level, const char *text) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    (void)user;
    fprintf(stderr, "mfrgn: %s: %s\n", (unsigned)level < 4 ? names[level] : "log", text);
}

/* ---------------------------------------------------------------------------------------------- library ------- */

mfrgn_context *tool_context(const tool_options *options) {
    mfrgn_context *context = NULL;
    mfrgn_status status = mfrgn_context_create(NULL, &context);
    if (status != MFRGN_OK) {
        tool_error("%s", mfrgn_status_string(status));
        return NULL;
    }
    mfrgn_log log = {sizeof log, NULL, options->verbose ? MFRGN_LOG_DEBUG : MFRGN_LOG_WARNING, print_log};
    if (!options->quiet)
        mfrgn_context_set_log(context, &log);
    return context;
}

static int find_key(const char *name, size_t length) {
    for (int key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++) {
        const char *known = mfrgn_config_key_name((mfrgn_config_key)key);
        if (known && strlen(known) == length && !memcmp(known, name, length))
            return key;
    }
    return -1;
}

static int set_one(mfrgn_context *context, mfrgn_config *config, const char *setting) {
    const char *equals = strchr(setting, '=');
    int key = equals ? find_key(setting, (size_t)(equals - setting)) : -1;
    if (key < 0) {
        fprintf(stderr, "mfrgn %s: --set %s: no such key; the keys are", current, setting);
        for (key = 0; key < MFRGN_CONFIG_KEY_COUNT; key++)
            fprintf(stderr, " %s", mfrgn_config_key_name((mfrgn_config_key)key));
        fputc('\n', stderr);
        return 0;
    }
    mfrgn_status status = mfrgn_config_set(config, (mfrgn_config_key)key, equals + 1);
    if (status != MFRGN_OK)
        tool_failed(context, status, "--set");
    return status == MFRGN_OK;
}

mfrgn_config *tool_config(mfrgn_context *context, const tool_options *options) {
    mfrgn_config *config = NULL;
    mfrgn_status status = mfrgn_config_create(context, options->preset, &config);
    if (status == MFRGN_OK && options->aerial_size)
        status = mfrgn_config_set(config, MFRGN_CONFIG_AERIAL_SIZE, options->aerial_size);
    if (status == MFRGN_OK && options->ground_size)
        status = mfrgn_config_set(config, MFRGN_CONFIG_GROUND_SIZE, options->ground_size);
    if (status != MFRGN_OK) {
        tool_failed(context, status, "");
        mfrgn_config_free(config);
        return NULL;
    }
    for (int i = 0; i < options->sets; i++)
        if (!set_one(context, config, options->set[i])) {
            mfrgn_config_free(config);
            return NULL;
        }
    status = mfrgn_config_validate(config);
    if (status != MFRGN_OK) {
        tool_failed(context, status, "");
        mfrgn_config_free(config);
        return NULL;
    }
    return config;
}

mfrgn_status tool_load(mfrgn_context *context, const char *path, const tool_options *options, mfrgn_model **model) {
    mfrgn_progress progress = {sizeof progress, NULL, tool_progress_stop};
    mfrgn_load_options load = {sizeof load, options->preset, options->aerial_size, options->ground_size, &progress};
    return mfrgn_model_load(context, path, &load, model);
}

mfrgn_model *tool_model(mfrgn_context *context, const tool_options *options) {
    mfrgn_model *model = NULL;
    if (options->model) {
        mfrgn_status status = tool_load(context, options->model, options, &model);
        if (status != MFRGN_OK)
            tool_failed(context, status, options->model);
        return status == MFRGN_OK ? model : NULL;
    }
    mfrgn_config *config = tool_config(context, options);
    if (!config)
        return NULL;
    mfrgn_status status = mfrgn_model_create(context, config, options->seed, &model);
    mfrgn_config_free(config);
    if (status != MFRGN_OK)
        tool_failed(context, status, "");
    return status == MFRGN_OK ? model : NULL;
}

static int fill_zero(void *user, const char *name, const size_t *shape, int dims, float *values) {
    (void)user, (void)name;
    size_t count = 1;
    for (int i = 0; i < dims; i++)
        count *= shape[i];
    memset(values, 0, count * sizeof *values);
    return 0;
}

mfrgn_model *tool_empty_model(mfrgn_context *context, const tool_options *options) {
    mfrgn_model *model = NULL;
    mfrgn_config *config = tool_config(context, options);
    if (!config)
        return NULL;
    mfrgn_status status = mfrgn_model_create_filled(context, config, fill_zero, NULL, &model);
    mfrgn_config_free(config);
    if (status != MFRGN_OK)
        tool_failed(context, status, "");
    return status == MFRGN_OK ? model : NULL;
}

mfrgn_session *tool_session(mfrgn_context *context, mfrgn_model *model, const tool_options *options) {
    const struct {
        mfrgn_option_key key;
        const char *value, *option;
    } given[] = {{MFRGN_OPTION_BACKEND, options->backend, "--backend"},
                 {MFRGN_OPTION_THREADS, options->threads, "--threads"},
                 {MFRGN_OPTION_PRECISION, options->precision, "--precision"},
                 {MFRGN_OPTION_DEVICE, options->device, "--device"},
                 {MFRGN_OPTION_MEMORY_LIMIT, options->memory_limit, "--memory-limit"},
                 {MFRGN_OPTION_TUNING, options->tuning, "--tuning"},
                 {MFRGN_OPTION_GELU, options->gelu, "--gelu"},
                 {MFRGN_OPTION_BATCH, options->batch, "--batch"},
                 {MFRGN_OPTION_PRECROP, options->precrop ? "1" : NULL, "--precrop"}};
    mfrgn_options *settings = NULL;
    mfrgn_session *session = NULL;
    const char *what = "";
    mfrgn_status status = mfrgn_options_create(context, &settings);
    for (size_t i = 0; status == MFRGN_OK && i < sizeof given / sizeof *given; i++)
        if (given[i].value) {
            status = mfrgn_options_set(settings, given[i].key, given[i].value);
            what = given[i].option;
        }
    if (status == MFRGN_OK) {
        what = "";
        status = mfrgn_session_create(model, settings, &session);
    }
    if (status != MFRGN_OK)
        tool_failed(context, status, what);
    mfrgn_options_free(settings);
    return status == MFRGN_OK ? session : NULL;
}

char *tool_temporary(const char *name, char **directory) {
    const char *folder = getenv("TMPDIR");
    char *path = NULL;
    *directory = tool_format("%s/mfrgn-XXXXXX", folder && *folder ? folder : "/tmp");
    if (*directory && mkdtemp(*directory))
        path = tool_format("%s/%s", *directory, name);
    if (!path)
        tool_error("%s: %s", *directory ? *directory : "memory", strerror(errno));
    return path;
}

void tool_remove(char *path, char *directory) {
    if (path)
        unlink(path);
    if (directory)
        rmdir(directory);
    free(path);
    free(directory);
}

mfrgn_model *tool_restore(mfrgn_context *context, mfrgn_model *model, mfrgn_dtype storage) {
    char *directory, *path = tool_temporary("model.safetensors", &directory);
    mfrgn_model *restored = NULL;
    mfrgn_progress progress = {sizeof progress, NULL, tool_progress_stop};
    mfrgn_status status = path ? mfrgn_model_save(model, path, storage, &progress) : MFRGN_ERROR_IO;
    if (status == MFRGN_OK)
        status = mfrgn_model_load(context, path, NULL, &restored);
    if (path && status != MFRGN_OK)
        tool_failed(context, status, path);
    tool_remove(path, directory); /* the mapping stays */
    return status == MFRGN_OK ? restored : NULL;
}

int tool_need_model(const tool_options *options) {
    if (options->model && options->untrained)
        return tool_usage("--model and --untrained exclude each other");
    if (options->model)
        return -1;
    if (!options->untrained)
        return tool_usage("--model FILE is needed (or --untrained, to try things out with random weights)");
    if (!options->quiet)
        fprintf(stderr, "mfrgn %s: the weights are untrained (random, seed %lu): the descriptors mean nothing\n",
                current, options->seed);
    return -1;
}

int tool_dtype(const char *text, mfrgn_dtype *dtype) {
    if (!strcmp(text, "f32"))
        *dtype = MFRGN_DTYPE_F32;
    else if (!strcmp(text, "f16"))
        *dtype = MFRGN_DTYPE_F16;
    else if (!strcmp(text, "bf16"))
        *dtype = MFRGN_DTYPE_BF16;
    else {
        tool_usage("--dtype takes f32, f16 or bf16, not '%s'", text);
        return 0;
    }
    return 1;
}

const char *tool_dtype_name(mfrgn_dtype dtype) {
    static const char *const names[] = {"f32", "f64", "f16", "bf16"};
    return (unsigned)dtype < 4 ? names[dtype] : "?";
}

size_t tool_dtype_bytes(mfrgn_dtype dtype) {
    return dtype == MFRGN_DTYPE_F32 ? 4 : dtype == MFRGN_DTYPE_F64 ? 8 : 2;
}

size_t tool_weights_bytes(const mfrgn_model *model) {
    size_t bytes = 0;
    for (size_t i = 0; i < mfrgn_model_tensor_count(model); i++) {
        mfrgn_tensor_info info = {.struct_size = sizeof info};
        if (mfrgn_model_tensor_get_info(model, i, &info) != MFRGN_OK)
            continue;
        size_t count = tool_dtype_bytes(info.dtype);
        for (int d = 0; d < info.dims; d++)
            count *= info.shape[d];
        bytes += count;
    }
    return bytes;
}

/* ---------------------------------------------------------------------------------------------- odds and ends - */

double tool_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static char *next_text(void) {
    static char texts[8][40];
    static int next;
    next = (next + 1) % 8;
    return texts[next];
}

const char *tool_thousands(unsigned long long number) {
    char digits[24];
    char *text = next_text();
    int length = snprintf(digits, sizeof digits, "%llu", number);
    int out = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            text[out++] = ',';
        text[out++] = digits[i];
    }
    text[out] = 0;
    return text;
}

const char *tool_bytes(double bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    int unit = 0;
    while (unit < 4 && bytes >= 1000) {
        bytes /= 1000;
        unit++;
    }
    char *text = next_text();
    snprintf(text, 40, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return text;
}

char *tool_format(const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : malloc((size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}
