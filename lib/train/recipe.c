#include "train/recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- one setting ---- */

static int word_number(const char *words, const char *word) {
    size_t length = strlen(word);
    int n = 0;
    for (const char *at = words; at; at = strchr(at, ','), at = at ? at + 2 : NULL, n++)
        if (length && strncmp(at, word, length) == 0 && (at[length] == ',' || !at[length]))
            return n;
    return -1;
}

static mfrgn_status put_own(mfrgn_recipe *r, int id, const char *text) {
    const mf_recipe_spec *s = &mf_recipe_specs[id];
    mf_recipe_value v = {0};
    if (s->kind == MF_RECIPE_CHOICE) {
        int n = word_number(s->takes, text);
        if (n < 0)
            return mf_fail(r->context, MFRGN_ERROR_ARGUMENT, "%s: \"%.60s\" is none of %s", s->name, text, s->takes);
        v.number = n;
    } else if (strlen(text) >= sizeof(v.text) || !mf_read_double(text, &v.number) ||
               !(v.number >= s->least && v.number <= s->most) ||
               (s->kind == MF_RECIPE_WHOLE && v.number != floor(v.number))) {
        return mf_fail(r->context, MFRGN_ERROR_ARGUMENT, "%s: \"%.60s\" is not a %snumber of %s", s->name, text,
                       s->kind == MF_RECIPE_WHOLE ? "whole " : "", s->takes);
    }
    snprintf(v.text, sizeof(v.text), "%s", text);
    r->value[id] = v;
    return MFRGN_OK;
}

mfrgn_status mf_recipe_put(mfrgn_recipe *r, const mf_recipe_key *key, const char *value) {
    if (!value)
        return mf_fail(r->context, MFRGN_ERROR_ARGUMENT, "%s: no value", key->info.name);
    mfrgn_status status = key->group == MF_RECIPE_GROUP_OWN       ? put_own(r, key->id, value)
                          : key->group == MF_RECIPE_GROUP_NETWORK ? mfrgn_config_set(r->network, key->id, value)
                                                                  : mfrgn_train_options_set(r->train, key->id, value);
    /* the two others name the setting without its group */
    return status == MFRGN_OK || key->group == MF_RECIPE_GROUP_OWN
               ? status
               : mf_fail_in(r->context, status, "%.*s", (int)strcspn(key->info.name, "."), key->info.name);
}

const char *mf_recipe_text(const mfrgn_recipe *r, const mf_recipe_key *key) {
    return key->group == MF_RECIPE_GROUP_OWN       ? r->value[key->id].text
           : key->group == MF_RECIPE_GROUP_NETWORK ? mfrgn_config_get(r->network, key->id)
                                                   : mfrgn_train_options_get(r->train, key->id);
}

mfrgn_status mfrgn_recipe_set(mfrgn_recipe *r, const char *name, const char *value) {
    mf_recipe_key key;
    if (!r)
        return MFRGN_ERROR_ARGUMENT;
    if (!name || !mf_recipe_key_find(name, strlen(name), &key))
        return mf_fail(r->context, MFRGN_ERROR_ARGUMENT,
                       "\"%.60s\": no setting of a recipe, or one of several groups; \"group.name\" is needed",
                       name ? name : "");
    return mf_recipe_put(r, &key, value);
}

const char *mfrgn_recipe_get(const mfrgn_recipe *r, const char *name) {
    mf_recipe_key key;
    return r && name && mf_recipe_key_find(name, strlen(name), &key) ? mf_recipe_text(r, &key) : NULL;
}

/* ---- the whole ---- */

mfrgn_status mfrgn_recipe_create(mfrgn_context *context, const char *preset, mfrgn_recipe **out) {
    if (!context || !out)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_recipe_create: NULL argument");
    mfrgn_recipe *r = mf_calloc(context, 1, sizeof(*r));
    if (!r)
        return mf_fail_memory(context, sizeof(*r), "a recipe");
    r->context = mf_context_ref(context);
    mfrgn_status status = mf_recipe_apply_preset(r, preset ? preset : "cvusa");
    if (status != MFRGN_OK)
        mfrgn_recipe_free(r);
    else
        *out = r;
    return status;
}

mfrgn_status mfrgn_recipe_copy(const mfrgn_recipe *from, mfrgn_recipe **out) {
    mfrgn_recipe *r;
    mf_recipe_key key;
    if (!from || !out)
        return MFRGN_ERROR_ARGUMENT;
    MF_TRY(mfrgn_recipe_create(from->context, NULL, &r));
    mfrgn_status status = MFRGN_OK;
    for (int i = 0; mf_recipe_key_at(i, &key) && status == MFRGN_OK; i++)
        status = mf_recipe_put(r, &key, mf_recipe_text(from, &key));
    memcpy(r->preset, from->preset, sizeof(r->preset));
    if (status != MFRGN_OK)
        mfrgn_recipe_free(r);
    else
        *out = r;
    return status;
}

void mfrgn_recipe_free(mfrgn_recipe *r) {
    if (!r)
        return;
    mfrgn_context *context = r->context;
    mfrgn_config_free(r->network);
    mfrgn_train_options_free(r->train);
    mf_free(context, r);
    mfrgn_context_free(context);
}

mfrgn_status mfrgn_recipe_set_network(mfrgn_recipe *r, const mfrgn_config *config) {
    mfrgn_config *copy;
    if (!r || !config)
        return MFRGN_ERROR_ARGUMENT;
    MF_TRY(mfrgn_config_copy(config, &copy));
    mfrgn_config_free(r->network);
    r->network = copy;
    return MFRGN_OK;
}

const mfrgn_config *mfrgn_recipe_network(const mfrgn_recipe *r) {
    return r ? r->network : NULL;
}

/* ---- what fits what ---- */

static int is_square(const mfrgn_recipe *r, mfrgn_config_key size) {
    const char *end;
    long height = 0, width = 1;
    mf_read_size(mfrgn_config_get(r->network, size), &end, &height, &width);
    return height == width;
}

static mfrgn_status check_order(const mfrgn_recipe *r, mf_recipe_id low, mf_recipe_id high) {
    if (r->value[low].number <= r->value[high].number)
        return MFRGN_OK;
    return mf_fail(r->context, MFRGN_ERROR_ARGUMENT, "%s is %s, more than %s, %s", mf_recipe_specs[low].name,
                   r->value[low].text, mf_recipe_specs[high].name, r->value[high].text);
}

static mfrgn_status check_square(const mfrgn_recipe *r, mf_recipe_id id, mfrgn_config_key size) {
    if (r->value[id].number == 0 || is_square(r, size))
        return MFRGN_OK;
    return mf_fail(r->context, MFRGN_ERROR_ARGUMENT, "%s: quarter turns need a square picture, network.%s is %s",
                   mf_recipe_specs[id].name, mfrgn_config_key_name(size), mfrgn_config_get(r->network, size));
}

mfrgn_status mfrgn_recipe_validate(const mfrgn_recipe *r) {
    if (!r)
        return MFRGN_ERROR_ARGUMENT;
    mfrgn_status status = mfrgn_config_validate(r->network);
    if (status != MFRGN_OK)
        return mf_fail_in(r->context, status, "network");
    MF_TRY(check_order(r, MF_RECIPE_WARMUP, MF_RECIPE_EPOCHS));
    MF_TRY(check_order(r, MF_RECIPE_SELECT, MF_RECIPE_RANGE));
    MF_TRY(check_order(r, MF_RECIPE_JPEG_LOW, MF_RECIPE_JPEG_HIGH));
    MF_TRY(check_order(r, MF_RECIPE_HOLES_LOW, MF_RECIPE_HOLES_HIGH));
    MF_TRY(check_order(r, MF_RECIPE_HOLE_LOW, MF_RECIPE_HOLE_HIGH));
    MF_TRY(check_order(r, MF_RECIPE_CUTOUT_LOW, MF_RECIPE_CUTOUT_HIGH));
    MF_TRY(check_square(r, MF_RECIPE_ROTATE, MFRGN_CONFIG_AERIAL_SIZE));
    MF_TRY(check_square(r, MF_RECIPE_TURN_AERIAL, MFRGN_CONFIG_AERIAL_SIZE));
    MF_TRY(check_square(r, MF_RECIPE_TURN_GROUND, MFRGN_CONFIG_GROUND_SIZE));
    int kind = mf_recipe_int(r, MF_RECIPE_SAMPLER);
    if ((kind == MF_SAMPLER_DSS || kind == MF_SAMPLER_GPS_DSS) && r->value[MF_RECIPE_EVALUATE_EVERY].number == 0)
        return mf_fail(r->context, MFRGN_ERROR_ARGUMENT,
                       "sampler.kind is %s: neighbours by similarity are found after evaluations, and "
                       "run.evaluate_every is 0",
                       r->value[MF_RECIPE_SAMPLER].text);
    if (mf_recipe_int(r, MF_RECIPE_GROUND) == 1)
        MF_TRY(check_square(r, MF_RECIPE_ROTATE, MFRGN_CONFIG_GROUND_SIZE));
    return MFRGN_OK;
}

mfrgn_status mf_recipe_compare(const mfrgn_recipe *old, const mfrgn_recipe *now, const char *path) {
    mf_recipe_key key;
    for (int i = 0; mf_recipe_key_at(i, &key); i++) {
        const char *a = mf_recipe_text(old, &key), *b = mf_recipe_text(now, &key);
        double x, y;
        if (!key.info.affects || strcmp(a, b) == 0 || (mf_read_double(a, &x) && mf_read_double(b, &y) && x == y))
            continue;
        return mf_fail(now->context, MFRGN_ERROR_MISMATCH, "%s: this run has %s = %s, not %s", path, key.info.name, a,
                       b);
    }
    return MFRGN_OK;
}

/* ---- for the run ---- */

void mf_recipe_augment(const mfrgn_recipe *r, mf_augment *a) {
#define NUMBER(ID) mf_recipe_number(r, MF_RECIPE_##ID)
#define INT(ID) mf_recipe_int(r, MF_RECIPE_##ID)
    *a = (mf_augment){
        .precrop = INT(PRECROP),
        .panorama = INT(GROUND) == 0,
        .flip = NUMBER(FLIP),
        .jpeg = NUMBER(JPEG),
        .jpeg_quality = {INT(JPEG_LOW), INT(JPEG_HIGH)},
        .crop = NUMBER(CROP),
        .crop_area = NUMBER(CROP_AREA),
        .crop_aspect = NUMBER(CROP_ASPECT),
        .shift = NUMBER(SHIFT),
        .shift_share = NUMBER(SHIFT_SHARE),
        .colour = NUMBER(COLOUR),
        .brightness = NUMBER(BRIGHTNESS),
        .contrast = NUMBER(CONTRAST),
        .saturation = NUMBER(SATURATION),
        .hue = NUMBER(HUE),
        .grey = NUMBER(GREY),
        .sharpness = NUMBER(SHARPNESS),
        .dropout = NUMBER(DROPOUT),
        .grid = {[MFRGN_VIEW_AERIAL] = NUMBER(GRID_AERIAL), [MFRGN_VIEW_GROUND] = NUMBER(GRID_GROUND)},
        .holes = {INT(HOLES_LOW), INT(HOLES_HIGH)},
        .hole = {NUMBER(HOLE_LOW), NUMBER(HOLE_HIGH)},
        .cutout = NUMBER(CUTOUT),
        .cutout_side = {NUMBER(CUTOUT_LOW), NUMBER(CUTOUT_HIGH)},
        .rotate = NUMBER(ROTATE),
        .turn = {[MFRGN_VIEW_AERIAL] = NUMBER(TURN_AERIAL), [MFRGN_VIEW_GROUND] = NUMBER(TURN_GROUND)},
    };
#undef NUMBER
#undef INT
}

void mf_recipe_schedule(const mfrgn_recipe *r, mf_schedule *s) {
    double rate = 0;
    mf_read_double(mfrgn_train_options_get(r->train, MFRGN_TRAIN_LEARNING_RATE), &rate);
    *s = (mf_schedule){(mf_schedule_kind)mf_recipe_int(r, MF_RECIPE_SCHEDULE), rate, mf_recipe_number(r, MF_RECIPE_END),
                       mf_recipe_number(r, MF_RECIPE_WARMUP), mf_recipe_number(r, MF_RECIPE_EPOCHS)};
}
