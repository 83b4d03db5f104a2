/* The schema: every setting of a run.  Help, bounds, defaults, the JSON's groups and their order fall out of this
 * table. */
#include <string.h>

#include "train/recipe.h"

#define WHOLE(NAME, LEAST, MOST, INITIAL, AFFECTS, HELP)                                                               \
    { NAME, LEAST, MOST, MF_RECIPE_WHOLE, #LEAST " .. " #MOST, INITIAL, AFFECTS, HELP }
#define REAL(NAME, LEAST, MOST, INITIAL, HELP)                                                                         \
    { NAME, LEAST, MOST, MF_RECIPE_REAL, #LEAST " .. " #MOST, INITIAL, 1, HELP }
#define SHARE(NAME, INITIAL, HELP) REAL(NAME, 0, 1, INITIAL, HELP)
#define CHOICE(NAME, WORDS, INITIAL, HELP)                                                                             \
    { NAME, 0, 0, MF_RECIPE_CHOICE, WORDS, INITIAL, 1, HELP }

const mf_recipe_spec mf_recipe_specs[MF_RECIPE_OWN] = {
    [MF_RECIPE_EPOCHS] = WHOLE("run.epochs", 1, 100000, "50", 1, "times that the pairs are gone through"),
    [MF_RECIPE_BATCH] = WHOLE("run.batch", 2, 65536, "64", 1, "pairs in a step"),
    [MF_RECIPE_SEED] = WHOLE("run.seed", 0, 2147483647, "1", 1, "of weights, order, augmentation, dropout"),
    [MF_RECIPE_EVALUATE_EVERY] = WHOLE("run.evaluate_every", 0, 100000, "4", 1,
                                       "epochs from an evaluation to the next, and after the last; 0: never"),
    [MF_RECIPE_EVALUATE_BATCH] = WHOLE("run.evaluate_batch", 1, 4096, "16", 0, "images embedded together then"),
    [MF_RECIPE_CHECKPOINT_EPOCHS] =
        WHOLE("run.checkpoint_epochs", 1, 100000, "1", 0, "epochs from a checkpoint to the next"),
    [MF_RECIPE_CHECKPOINT_STEPS] = WHOLE("run.checkpoint_steps", 0, 1000000000, "0", 0,
                                         "and steps from one to the next; 0: none but those of epochs"),

    [MF_RECIPE_SCHEDULE] = CHOICE("schedule.kind", "cosine, polynomial, constant", "cosine",
                                  "of the learning rate after the warm-up; polynomial: power 1.5"),
    [MF_RECIPE_WARMUP] = REAL("schedule.warmup", 0, 100000, "1", "epochs of linear warm-up"),
    SHARE("schedule.end", "0", "polynomial: the rate at the end, as a share of train.learning_rate"),

    [MF_RECIPE_SAMPLER] =
        CHOICE("sampler.kind", "shuffle, gps, dss, gps+dss", "shuffle",
               "neighbours in a batch: none, by place, by similarity after each evaluation, both in turn"),
    [MF_RECIPE_SELECT] = WHOLE("sampler.select", 0, 4096, "64", 1, "neighbours that a pair brings into its batch"),
    [MF_RECIPE_RANGE] = WHOLE("sampler.range", 1, 4096, "128", 1, "neighbours that they are taken from"),

    [MF_RECIPE_PRECROP] = WHOLE("data.precrop", 0, 1, "0", 1, "CVACT: ground pictures cut to rows H/4 .. 3H/4"),
    [MF_RECIPE_LOADER_THREADS] = WHOLE("data.loader_threads", 0, 64, "0", 0, "that decode and augment; 0: by cores"),
    [MF_RECIPE_AHEAD] = WHOLE("data.ahead", 1, 64, "3", 0, "batches made ahead of the step"),

    [MF_RECIPE_GROUND] =
        CHOICE("augment.ground", "panorama, picture", "panorama",
               "a joint rotation rolls a panorama, and turns a picture (a drone's) like the aerial one"),
    SHARE("augment.flip", "0.5", "both pictures mirrored left and right"),
    SHARE("augment.jpeg", "0.5", "compressed as JPEG and decoded"),
    [MF_RECIPE_JPEG_LOW] = WHOLE("augment.jpeg_low", 1, 100, "90", 1, "lowest quality of that"),
    [MF_RECIPE_JPEG_HIGH] = WHOLE("augment.jpeg_high", 1, 100, "100", 1, "highest quality of that"),
    SHARE("augment.crop", "0", "a part of the picture stretched to the whole"),
    [MF_RECIPE_CROP_AREA] = REAL("augment.crop_area", 0.01, 1, "0.5", "least area of that part"),
    [MF_RECIPE_CROP_ASPECT] = REAL("augment.crop_aspect", 1, 10, "1.2", "largest change of its aspect"),
    SHARE("augment.shift", "0", "moved, edges reflected"),
    SHARE("augment.shift_share", "0.1", "of the side, at most, each way"),
    SHARE("augment.colour", "0.5", "brightness, contrast, saturation, hue in an order that is drawn"),
    SHARE("augment.brightness", "0.15", "largest change"),
    SHARE("augment.contrast", "0.15", "largest change"),
    SHARE("augment.saturation", "0.15", "largest change"),
    [MF_RECIPE_HUE] = REAL("augment.hue", 0, 0.5, "0.15", "largest change, in turns"),
    SHARE("augment.grey", "0", "colours taken away"),
    SHARE("augment.sharpness", "0.3", "blurred or sharpened"),
    SHARE("augment.dropout", "0.3", "a grid or holes blacked out"),
    SHARE("augment.grid_aerial", "0.4", "side of the grid's holes, share of its cell"),
    SHARE("augment.grid_ground", "0.5", "side of the grid's holes, share of its cell"),
    [MF_RECIPE_HOLES_LOW] = WHOLE("augment.holes_low", 0, 1000, "10", 1, "least number of holes"),
    [MF_RECIPE_HOLES_HIGH] = WHOLE("augment.holes_high", 0, 1000, "25", 1, "largest number of holes"),
    SHARE("augment.hole_low", "0.1", "least side of a hole, share of the shorter side"),
    SHARE("augment.hole_high", "0.2", "largest side of a hole"),
    SHARE("augment.cutout", "0", "one square blacked out"),
    SHARE("augment.cutout_low", "0.2", "least side of it, share of the shorter side"),
    SHARE("augment.cutout_high", "0.4", "largest side of it"),
    SHARE("augment.rotate", "0.75", "both pictures by the same 1, 2 or 3 quarter turns"),
    SHARE("augment.turn_aerial", "0", "the aerial picture alone by 0 to 3 quarter turns"),
    SHARE("augment.turn_ground", "0", "the ground picture alone by 0 to 3 quarter turns"),
};

/* What the network's keys are, for the help; in the order of mfrgn_config_key. */
static const char *const network_help[MFRGN_CONFIG_KEY_COUNT] = {"backbone",
                                                                 "aerial input, HxW",
                                                                 "ground input, HxW",
                                                                 "pyramid pooling sampling",
                                                                 "one head for both",
                                                                 "width of the MLPs",
                                                                 "linear or full",
                                                                 "layers that update F_H",
                                                                 "layers that update F_L",
                                                                 "attention heads",
                                                                 "global values a channel",
                                                                 "local values",
                                                                 "none or scam",
                                                                 "none, last, means, initial or prompt",
                                                                 "the Sample4Geo network",
                                                                 "pooling levels, aerial",
                                                                 "pooling levels, ground"};

static const struct {
    const char *help;
    int affects;
} train_help[MFRGN_TRAIN_KEY_COUNT] = {
    [MFRGN_TRAIN_BACKEND] = {"auto, cuda, onednn, openblas, ref", 0},
    [MFRGN_TRAIN_THREADS] = {"of the steps; 0: one a core", 0},
    [MFRGN_TRAIN_PRECISION] = {"f32; f64 with backend ref; tf32, bf16, f16 with backend cuda", 1},
    [MFRGN_TRAIN_SEED] = {"", 1},
    [MFRGN_TRAIN_CHUNK] = {"pairs embedded at a time, 0: the whole batch; the loss is of the whole batch", 1},
    [MFRGN_TRAIN_RECOMPUTE] = {"1: less memory, more time", 0},
    [MFRGN_TRAIN_DROPOUT] = {"in the attention layers", 1},
    [MFRGN_TRAIN_LABEL_SMOOTHING] = {"of the loss", 1},
    [MFRGN_TRAIN_LEARNING_RATE] = {"at the end of the warm-up", 1},
    [MFRGN_TRAIN_BACKBONE_FACTOR] = {"times the learning rate, for the backbone; 0: frozen", 1},
    [MFRGN_TRAIN_WEIGHT_DECAY] = {"decoupled", 1},
    [MFRGN_TRAIN_DECAY_ALL] = {"1: also of biases, norms and the temperature", 1},
    [MFRGN_TRAIN_BETA1] = {"AdamW's", 1},
    [MFRGN_TRAIN_BETA2] = {"AdamW's", 1},
    [MFRGN_TRAIN_EPSILON] = {"AdamW's", 1},
    [MFRGN_TRAIN_CLIP_VALUE] = {"gradients are clipped to it; 0: not", 1},
    [MFRGN_TRAIN_CLIP_NORM] = {"their norm is; 0: not", 1},
    [MFRGN_TRAIN_EMA] = {"decay of an average of the weights, which is then evaluated; 0: none", 1},
    [MFRGN_TRAIN_DEVICE] = {"which GPU, from 0", 0},
    [MFRGN_TRAIN_TUNING] = {"a file of algorithms measured on the GPU; \"\": none", 0},
    [MFRGN_TRAIN_LOSS_SCALE] = {"of the backward pass; 0: as the precision needs", 1},
};

/* Full names of the two other groups, made at compile time by hand: the tables below must follow the enums. */
#define NET(X) "network." X
static const char *const network_names[MFRGN_CONFIG_KEY_COUNT] = {NET("backbone"),
                                                                  NET("sat_size"),
                                                                  NET("grd_size"),
                                                                  NET("pps"),
                                                                  NET("shared"),
                                                                  NET("ffn"),
                                                                  NET("attention"),
                                                                  NET("a"),
                                                                  NET("b"),
                                                                  NET("heads"),
                                                                  NET("dim_g"),
                                                                  NET("dim_l"),
                                                                  NET("global_source"),
                                                                  NET("local_source"),
                                                                  NET("sample4geo"),
                                                                  NET("pps_sat"),
                                                                  NET("pps_grd")};
#define TRAIN(X) "train." X
static const char *const train_names[MFRGN_TRAIN_KEY_COUNT] = {TRAIN("backend"),       TRAIN("threads"),
                                                               TRAIN("precision"),     TRAIN("seed"),
                                                               TRAIN("chunk"),         TRAIN("recompute"),
                                                               TRAIN("dropout"),       TRAIN("label_smoothing"),
                                                               TRAIN("learning_rate"), TRAIN("backbone_factor"),
                                                               TRAIN("weight_decay"),  TRAIN("decay_all"),
                                                               TRAIN("beta1"),         TRAIN("beta2"),
                                                               TRAIN("epsilon"),       TRAIN("clip_value"),
                                                               TRAIN("clip_norm"),     TRAIN("ema"),
                                                               TRAIN("device"),        TRAIN("tuning"),
                                                               TRAIN("loss_scale")};

/* In the order: run, network, train, schedule, .. */
enum { RUN_KEYS = MF_RECIPE_SCHEDULE };

/* The seed of the dropout is the run's: no setting of its own. */
static int train_id(int index) {
    return index < MFRGN_TRAIN_SEED ? index : index + 1;
}

int mf_recipe_key_at(int index, mf_recipe_key *key) {
    *key = (mf_recipe_key){.info = {.struct_size = sizeof(mfrgn_recipe_key), .affects = 1}};
    if (index < 0)
        return 0;
    if (index >= RUN_KEYS && index < RUN_KEYS + MFRGN_CONFIG_KEY_COUNT) {
        key->group = MF_RECIPE_GROUP_NETWORK;
        key->id = index - RUN_KEYS;
        key->info.name = network_names[key->id];
        key->info.help = network_help[key->id];
        key->info.takes = "as mfrgn_config_set()";
        return 1;
    }
    if (index >= RUN_KEYS)
        index -= MFRGN_CONFIG_KEY_COUNT;
    if (index >= RUN_KEYS && index < RUN_KEYS + MFRGN_TRAIN_KEY_COUNT - 1) {
        key->group = MF_RECIPE_GROUP_TRAIN;
        key->id = train_id(index - RUN_KEYS);
        key->info.name = train_names[key->id];
        key->info.help = train_help[key->id].help;
        key->info.takes = "as mfrgn_train_options_set()";
        key->info.affects = train_help[key->id].affects;
        return 1;
    }
    if (index >= RUN_KEYS)
        index -= MFRGN_TRAIN_KEY_COUNT - 1;
    if (index >= MF_RECIPE_OWN)
        return 0;
    const mf_recipe_spec *s = &mf_recipe_specs[index];
    key->id = index;
    key->info.name = s->name;
    key->info.help = s->help;
    key->info.takes = s->takes;
    key->info.affects = s->affects;
    return 1;
}

int mf_recipe_key_find(const char *name, size_t length, mf_recipe_key *key) {
    mf_recipe_key k;
    int found = 0;
    for (int i = 0; mf_recipe_key_at(i, &k); i++) {
        const char *full = k.info.name, *ending = strchr(full, '.') + 1;
        if (strlen(full) == length && memcmp(full, name, length) == 0) {
            *key = k;
            return 1;
        }
        if (strlen(ending) == length && memcmp(ending, name, length) == 0) {
            *key = k;
            found++;
        }
    }
    return found == 1;
}

mfrgn_status mfrgn_recipe_get_key(int index, mfrgn_recipe_key *info) {
    mf_recipe_key key;
    if (!info || info->struct_size < sizeof(*info) || !mf_recipe_key_at(index, &key))
        return MFRGN_ERROR_ARGUMENT;
    key.info.struct_size = info->struct_size;
    *info = key.info;
    return MFRGN_OK;
}
