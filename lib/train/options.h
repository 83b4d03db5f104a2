#ifndef MFRGN_TRAIN_OPTIONS_H
#define MFRGN_TRAIN_OPTIONS_H

#include "base/settings.h"
#include "mfrgn/train.h"

struct mfrgn_train_options {
    mf_settings settings; /* keys: mfrgn_train_key */
};

static inline const mf_setting_value *mf_train_option(const mfrgn_train_options *o, mfrgn_train_key key) {
    return &o->settings.value[key];
}

#endif
