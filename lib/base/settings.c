#include "base/settings.h"

#include <stdio.h>
#include <string.h>

mfrgn_status mf_settings_init(mf_settings *s, mfrgn_context *context, const mf_setting *spec, int count) {
    s->context = context;
    s->spec = spec;
    s->count = count;
    for (int key = 0; key < count; key++)
        MF_TRY(mf_settings_set(s, key, spec[key].initial));
    return MFRGN_OK;
}

int mf_settings_find(const mf_settings *s, const char *name) {
    for (int key = 0; key < s->count; key++)
        if (strcmp(s->spec[key].name, name) == 0)
            return key;
    return -1;
}

static mfrgn_status bad_choice(mf_settings *s, const mf_setting *spec, const char *text) {
    char list[512] = "";
    size_t at = 0;
    for (int i = 0; spec->choices[i] && at < sizeof(list); i++)
        at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i ? ", " : "", spec->choices[i]);
    return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "%s: \"%s\" is none of %s", spec->name, text, list);
}

static int read_pairs(const char *text, long most, mf_setting_value *v) {
    long h, w;
    v->number = 0;
    for (;;) {
        if (v->number == most || !mf_read_size(text, &text, &h, &w) || h < 1 || w < 1 || h > 65535 || w > 65535)
            return 0;
        v->pair[v->number][0] = (int)h;
        v->pair[v->number][1] = (int)w;
        v->number++;
        if (*text == 0)
            return 1;
        if (*text++ != ',')
            return 0;
    }
}

mfrgn_status mf_settings_set(mf_settings *s, int key, const char *text) {
    if (key < 0 || key >= s->count)
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "no setting has the key %d", key);
    const mf_setting *spec = &s->spec[key];
    if (!text || strlen(text) >= MF_SETTING_TEXT)
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "%s: no value, or one of %d characters or more", spec->name,
                       MF_SETTING_TEXT);
    mf_setting_value v = {0};
    if (spec->kind == MF_SETTING_INT) {
        if (!mf_read_int(text, &v.number) || v.number < spec->minimum || v.number > spec->maximum)
            return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "%s: \"%s\" is not a number from %ld to %ld", spec->name,
                           text, spec->minimum, spec->maximum);
    } else if (spec->kind == MF_SETTING_REAL) {
        if (!mf_read_double(text, &v.real) || v.real < spec->least || v.real > spec->most)
            return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "%s: \"%s\" is not a number from %g to %g", spec->name,
                           text, spec->least, spec->most);
    } else if (spec->kind == MF_SETTING_CHOICE) {
        while (spec->choices[v.number] && strcmp(spec->choices[v.number], text) != 0)
            v.number++;
        if (!spec->choices[v.number])
            return bad_choice(s, spec, text);
    } else if (spec->kind == MF_SETTING_PATH) {
        v.number = *text != 0;
    } else if (!read_pairs(text, spec->maximum, &v)) {
        return mf_fail(s->context, MFRGN_ERROR_ARGUMENT, "%s: \"%s\" is not %s", spec->name, text,
                       spec->maximum == 1 ? "HxW, height and width in pixels, each 1 to 65535"
                                          : "HxW,HxW,.. (up to 8 levels)");
    }
    snprintf(v.text, sizeof(v.text), "%s", text);
    s->value[key] = v;
    return MFRGN_OK;
}

mfrgn_status mf_settings_set_int(mf_settings *s, int key, long value) {
    char text[32];
    snprintf(text, sizeof(text), "%ld", value);
    return mf_settings_set(s, key, text);
}

const char *mf_settings_get(const mf_settings *s, int key) {
    return key >= 0 && key < s->count ? s->value[key].text : NULL;
}
