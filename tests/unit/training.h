/* Small trainers for tests. */
#ifndef MFRGN_TESTS_TRAINING_H
#define MFRGN_TESTS_TRAINING_H

#include "session.h"
#include "train/trainer.h"

enum { PAIRS = 5, MOST_SETTINGS = 8 };

typedef struct setting {
    mfrgn_train_key key;
    const char *value;
} setting;

static inline mfrgn_trainer *trainer_on(const char *backend, mfrgn_model *model, const char *precision,
                                        const setting *more) {
    mfrgn_train_options *options;
    mfrgn_trainer *trainer;
    OK(mfrgn_train_options_create(context, &options));
    OK(mfrgn_train_options_set(options, MFRGN_TRAIN_BACKEND, backend));
    OK(mfrgn_train_options_set(options, MFRGN_TRAIN_PRECISION, precision));
    OK(mfrgn_train_options_set(options, MFRGN_TRAIN_SEED, "7"));
    for (; more && more->value; more++)
        OK(mfrgn_train_options_set(options, more->key, more->value));
    OK(mfrgn_trainer_create(model, options, &trainer));
    mfrgn_train_options_free(options);
    return trainer;
}

static inline mfrgn_trainer *trainer_of(mfrgn_model *model, const char *precision, const setting *more) {
    return trainer_on("ref", model, precision, more);
}

static inline mfrgn_status try_step(mfrgn_trainer *trainer, int n, uint64_t seed, float *loss) {
    static unsigned char pixels[2][PAIRS][MOST_PIXELS * 3];
    mfrgn_image image[2][PAIRS];
    for (int view = 0; view < 2; view++) {
        int width, height;
        mfrgn_model_input_size(trainer->model, (mfrgn_view)view, &width, &height);
        for (int i = 0; i < n; i++) {
            fill_picture(view ? "img.sat" : "img.grd", seed + (uint64_t)i, width, height, pixels[view][i]);
            image[view][i] = (mfrgn_image){sizeof(mfrgn_image), pixels[view][i], width, height, 0, MFRGN_PIXEL_RGB8};
        }
    }
    return mfrgn_train_step(trainer, image[0], image[1], (size_t)n, loss);
}

static inline float step(mfrgn_trainer *trainer, int n, uint64_t seed) {
    float loss = 0;
    OK(try_step(trainer, n, seed, &loss));
    return loss;
}

#endif
