#ifndef MFRGN_MODEL_OPTIONS_H
#define MFRGN_MODEL_OPTIONS_H

#include "base/settings.h"
#include "model/engine.h"

struct mfrgn_options {
    mf_settings settings; /* keys: mfrgn_option_key */
    void *native;         /* the caller's stream, or NULL */
};

static inline const mf_setting_value *mf_option(const mfrgn_options *o, mfrgn_option_key key) {
    return &o->settings.value[key];
}

mf_engine_params mf_options_engine(const mfrgn_options *options); /* valid while the options are */

#endif
