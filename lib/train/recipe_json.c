/* Recipes as JSON: an object of groups.  See mfrgn_recipe_read(). */
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/writer.h"
#include "train/recipe.h"

enum { MAX_TEXT = 128 };

typedef struct reader {
    mfrgn_recipe *recipe;
    const char *path;
    mf_json json;
    mfrgn_status status; /* of a setting */
} reader;

static unsigned line_of(const reader *r) {
    unsigned line = 1;
    for (size_t i = 0; i < r->json.at && i < r->json.size; i++)
        line += r->json.text[i] == '\n';
    return line;
}

static mfrgn_status fail(reader *r, const char *what, const char *which) {
    r->status = mf_fail(r->recipe->context, MFRGN_ERROR_FORMAT, "%s:%u: %s%s", r->path, line_of(r), what, which);
    return r->status;
}

/* A text, a number, or true and false as 1 and 0. */
static int read_value(reader *r, char text[MAX_TEXT]) {
    mf_json *j = &r->json;
    mf_json_string string;
    const char *number;
    size_t size;
    int flag;
    switch (mf_json_next_kind(j)) {
    case '"':
        if (!mf_json_text(j, &string) || string.size >= MAX_TEXT)
            return 0;
        mf_json_decode(&string, text);
        return 1;
    case 't':
        if (!mf_json_flag(j, &flag))
            return 0;
        snprintf(text, MAX_TEXT, "%d", flag);
        return 1;
    default:
        if (!mf_json_number(j, &number, &size) || size >= MAX_TEXT)
            return 0;
        memcpy(text, number, size);
        text[size] = 0;
        return 1;
    }
}

static int read_setting(reader *r, const char *name) {
    char text[MAX_TEXT];
    if (!read_value(r, text)) {
        fail(r, "a text, a number, true or false is expected for ", name);
        return 0;
    }
    r->status = mfrgn_recipe_set(r->recipe, name, text);
    if (r->status != MFRGN_OK)
        mf_fail_in(r->recipe->context, r->status, "%s:%u", r->path, line_of(r));
    return r->status == MFRGN_OK;
}

static int read_group(reader *r, const char *group) {
    mf_json_string key;
    if (!mf_json_open(&r->json, '{'))
        return 0;
    for (size_t i = 0; mf_json_more(&r->json, '}', i); i++) {
        char name[MAX_TEXT];
        if (!mf_json_key(&r->json, &key))
            return 0;
        int length = snprintf(name, sizeof(name), "%s.", group);
        if ((size_t)length + key.size >= sizeof(name)) {
            fail(r, "a name is too long", "");
            return 0;
        }
        mf_json_decode(&key, name + length);
        if (!read_setting(r, name))
            return 0;
    }
    return !r->json.error;
}

/* first: only "preset" is looked at. */
static int read_member(reader *r, int first) {
    mf_json_string key;
    char name[MAX_TEXT], text[MAX_TEXT];
    if (!mf_json_key(&r->json, &key))
        return 0;
    if (key.size >= sizeof(name)) {
        fail(r, "a name is too long", "");
        return 0;
    }
    mf_json_decode(&key, name);
    if (strcmp(name, "preset") == 0) {
        if (!mf_json_text(&r->json, &key) || key.size >= sizeof(text))
            return 0;
        mf_json_decode(&key, text);
        if (first && (r->status = mf_recipe_apply_preset(r->recipe, text)) != MFRGN_OK)
            mf_fail_in(r->recipe->context, r->status, "%s:%u", r->path, line_of(r));
        return r->status == MFRGN_OK;
    }
    if (first)
        return mf_json_skip(&r->json);
    return mf_json_next_kind(&r->json) == '{' ? read_group(r, name) : read_setting(r, name);
}

static mfrgn_status read_pass(reader *r, const mf_file *file, int first) {
    r->json = (mf_json){(const char *)file->data, file->size, 0, NULL};
    if (mf_json_open(&r->json, '{'))
        for (size_t i = 0; mf_json_more(&r->json, '}', i); i++)
            if (!read_member(r, first))
                break;
    if (r->status == MFRGN_OK && (r->json.error || !mf_json_end(&r->json)))
        fail(r, r->json.error ? r->json.error : "expected nothing more", "");
    return r->status;
}

mfrgn_status mfrgn_recipe_read(mfrgn_recipe *recipe, const char *path) {
    mf_file file;
    mfrgn_recipe *copy;
    if (!recipe)
        return MFRGN_ERROR_ARGUMENT;
    if (!path)
        return mf_fail(recipe->context, MFRGN_ERROR_ARGUMENT, "mfrgn_recipe_read: path is NULL");
    MF_TRY(mf_file_map(recipe->context, path, &file));
    mfrgn_status status = mfrgn_recipe_copy(recipe, &copy);
    if (status == MFRGN_OK) {
        reader r = {copy, path, {0}, MFRGN_OK};
        status = read_pass(&r, &file, 1);
        if (status == MFRGN_OK)
            status = read_pass(&r, &file, 0);
        if (status == MFRGN_OK) {
            mfrgn_recipe whole = *recipe;
            *recipe = *copy;
            *copy = whole;
        }
        mfrgn_recipe_free(copy);
    }
    mf_file_unmap(&file);
    return status;
}

/* ---- writing ---- */

/* Numbers go without quotes. */
static void put_value(mf_bytes *b, const char *text) {
    mf_json j = {text, strlen(text), 0, NULL};
    const char *number;
    size_t size;
    if (mf_json_number(&j, &number, &size) && mf_json_end(&j)) {
        mf_bytes_text(b, text);
        return;
    }
    mf_bytes_text(b, "\"");
    mf_bytes_text(b, text); /* choices and sizes: nothing to escape */
    mf_bytes_text(b, "\"");
}

mfrgn_status mfrgn_recipe_write(const mfrgn_recipe *r, const char *path) {
    if (!r)
        return MFRGN_ERROR_ARGUMENT;
    if (!path)
        return mf_fail(r->context, MFRGN_ERROR_ARGUMENT, "mfrgn_recipe_write: path is NULL");
    mf_bytes b = {.context = r->context};
    mf_recipe_key key;
    char group[32] = "";
    mf_bytes_text(&b, "{\n  \"preset\": ");
    put_value(&b, r->preset);
    for (int i = 0; mf_recipe_key_at(i, &key); i++) {
        const char *ending = strchr(key.info.name, '.') + 1;
        size_t length = (size_t)(ending - key.info.name) - 1;
        if (strlen(group) != length || memcmp(group, key.info.name, length) != 0) {
            mf_bytes_text(&b, *group ? "\n  },\n  \"" : ",\n  \"");
            snprintf(group, sizeof(group), "%.*s", (int)length, key.info.name);
            mf_bytes_text(&b, group);
            mf_bytes_text(&b, "\": {\n    \"");
        } else {
            mf_bytes_text(&b, ",\n    \"");
        }
        mf_bytes_text(&b, ending);
        mf_bytes_text(&b, "\": ");
        put_value(&b, mf_recipe_text(r, &key));
    }
    mf_bytes_text(&b, "\n  }\n}\n");
    return mf_bytes_save(&b, path);
}
