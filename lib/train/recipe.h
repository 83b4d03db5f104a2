/* Every setting of a run, as the table in recipe_keys.c has it. */
#ifndef MFRGN_TRAIN_RECIPE_H
#define MFRGN_TRAIN_RECIPE_H

#include "mfrgn/recipe.h"
#include "mfrgn/train.h"
#include "train/augment.h"
#include "train/schedule.h"

/* Settings of the recipe's own; those of the groups "network" and "train" are kept by mfrgn_config and
 * mfrgn_train_options. */
typedef enum mf_recipe_id {
    MF_RECIPE_EPOCHS,
    MF_RECIPE_BATCH,
    MF_RECIPE_SEED,
    MF_RECIPE_EVALUATE_EVERY,
    MF_RECIPE_EVALUATE_BATCH,
    MF_RECIPE_CHECKPOINT_EPOCHS,
    MF_RECIPE_CHECKPOINT_STEPS,
    MF_RECIPE_SCHEDULE,
    MF_RECIPE_WARMUP,
    MF_RECIPE_END,
    MF_RECIPE_SAMPLER,
    MF_RECIPE_SELECT,
    MF_RECIPE_RANGE,
    MF_RECIPE_PRECROP,
    MF_RECIPE_LOADER_THREADS,
    MF_RECIPE_AHEAD,
    MF_RECIPE_GROUND,
    MF_RECIPE_FLIP,
    MF_RECIPE_JPEG,
    MF_RECIPE_JPEG_LOW,
    MF_RECIPE_JPEG_HIGH,
    MF_RECIPE_CROP,
    MF_RECIPE_CROP_AREA,
    MF_RECIPE_CROP_ASPECT,
    MF_RECIPE_SHIFT,
    MF_RECIPE_SHIFT_SHARE,
    MF_RECIPE_COLOUR,
    MF_RECIPE_BRIGHTNESS,
    MF_RECIPE_CONTRAST,
    MF_RECIPE_SATURATION,
    MF_RECIPE_HUE,
    MF_RECIPE_GREY,
    MF_RECIPE_SHARPNESS,
    MF_RECIPE_DROPOUT,
    MF_RECIPE_GRID_AERIAL,
    MF_RECIPE_GRID_GROUND,
    MF_RECIPE_HOLES_LOW,
    MF_RECIPE_HOLES_HIGH,
    MF_RECIPE_HOLE_LOW,
    MF_RECIPE_HOLE_HIGH,
    MF_RECIPE_CUTOUT,
    MF_RECIPE_CUTOUT_LOW,
    MF_RECIPE_CUTOUT_HIGH,
    MF_RECIPE_ROTATE,
    MF_RECIPE_TURN_AERIAL,
    MF_RECIPE_TURN_GROUND,
    MF_RECIPE_OWN
} mf_recipe_id;

enum { MF_SAMPLER_SHUFFLE = 0, MF_SAMPLER_GPS = 1, MF_SAMPLER_DSS = 2, MF_SAMPLER_GPS_DSS = 3 };

typedef struct mf_recipe_spec {
    const char *name; /* "group.name" */
    double least, most;
    enum { MF_RECIPE_WHOLE, MF_RECIPE_REAL, MF_RECIPE_CHOICE } kind;
    const char *takes; /* CHOICE: "a, b, c": its number is the word's */
    const char *initial;
    int affects;
    const char *help;
} mf_recipe_spec;

typedef struct mf_recipe_value {
    double number;
    char text[32];
} mf_recipe_value;

struct mfrgn_recipe {
    mfrgn_context *context;
    char preset[32];
    mfrgn_config *network;
    mfrgn_train_options *train;
    mf_recipe_value value[MF_RECIPE_OWN];
};

extern const mf_recipe_spec mf_recipe_specs[MF_RECIPE_OWN];

/* A setting: of the table, of the network or of the trainer. */
typedef enum mf_recipe_group { MF_RECIPE_GROUP_OWN, MF_RECIPE_GROUP_NETWORK, MF_RECIPE_GROUP_TRAIN } mf_recipe_group;
typedef struct mf_recipe_key {
    mf_recipe_group group;
    int id;
    mfrgn_recipe_key info;
} mf_recipe_key;
/* Setting `index` of all; 0: past the last. */
int mf_recipe_key_at(int index, mf_recipe_key *key);
/* "group.name", or a name that one group only has. 0: none. */
int mf_recipe_key_find(const char *name, size_t length, mf_recipe_key *key);
const char *mf_recipe_text(const mfrgn_recipe *recipe, const mf_recipe_key *key);
mfrgn_status mf_recipe_put(mfrgn_recipe *recipe, const mf_recipe_key *key, const char *value);

static inline double mf_recipe_number(const mfrgn_recipe *r, mf_recipe_id id) {
    return r->value[id].number;
}
static inline int mf_recipe_int(const mfrgn_recipe *r, mf_recipe_id id) {
    return (int)r->value[id].number;
}

/* A preset over what `recipe` holds. */
mfrgn_status mf_recipe_apply_preset(mfrgn_recipe *recipe, const char *name);
void mf_recipe_augment(const mfrgn_recipe *recipe, mf_augment *augment);
void mf_recipe_schedule(const mfrgn_recipe *recipe, mf_schedule *schedule);
/* MISMATCH: a setting that affects the result differs; the message names it. */
mfrgn_status mf_recipe_compare(const mfrgn_recipe *old, const mfrgn_recipe *now, const char *path);

#endif
