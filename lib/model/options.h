#ifndef MFRGN_MODEL_OPTIONS_H
#define MFRGN_MODEL_OPTIONS_H

#include "base/settings.h"

struct mfrgn_options {
    mf_settings settings; /* keys: mfrgn_option_key */
};

enum { MF_PRECISION_F32 = 0, MF_PRECISION_F64 = 1 };

static inline const mf_setting_value *mf_option(const mfrgn_options *o, mfrgn_option_key key) {
    return &o->settings.value[key];
}

#endif
