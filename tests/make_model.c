/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a model with random weights, for the tests:  make_model OUT [f32|f16|bf16] [KEY=VALUE...] */
#include <stdio.h>
#include <string.h>

#include <mfrgn/mfrgn.h>

static mfrgn_context *context;

static int failed(mfrgn_status status) {
    if (status == MFRGN_OK)
        return 0;
    fprintf(stderr, "make_model: %s\n", context ? mfrgn_context_last_error(context) : mfrgn_status_string(status));
    return 1;
}

static int set(mfrgn_config *config, const char *setting) {
    const char *equals = strchr(setting, '=');
    for (int key = 0; equals && key < MFRGN_CONFIG_KEY_COUNT; key++) {
        const char *name = mfrgn_config_key_name((mfrgn_config_key)key);
        if (strlen(name) == (size_t)(equals - setting) && !strncmp(name, setting, strlen(name)))
            return !failed(mfrgn_config_set(config, (mfrgn_config_key)key, equals + 1));
    }
    fprintf(stderr, "make_model: no such setting: %s\n", setting);
    return 0;
}

int main(int argc, char **argv) {
    mfrgn_config *config = NULL;
    mfrgn_model *model = NULL;
    mfrgn_dtype storage = MFRGN_DTYPE_F32;
    int good = argc > 1 && !failed(mfrgn_context_create(NULL, &context)) &&
               !failed(mfrgn_config_create(context, "cvusa", &config));
    for (int i = 2; good && i < argc; i++) {
        if (!strcmp(argv[i], "f16"))
            storage = MFRGN_DTYPE_F16;
        else if (!strcmp(argv[i], "bf16"))
            storage = MFRGN_DTYPE_BF16;
        else if (strcmp(argv[i], "f32"))
            good = set(config, argv[i]);
    }
    good = good && !failed(mfrgn_model_create(context, config, 1, &model)) &&
           !failed(mfrgn_model_save(model, argv[1], storage, NULL));
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    mfrgn_context_free(context);
    return !good;
}
