/* Typed settings behind the public key enums: one table of what each key takes serves configurations, session options
 * and file metadata. */
#ifndef MFRGN_BASE_SETTINGS_H
#define MFRGN_BASE_SETTINGS_H

#include "base/base.h"

typedef enum mf_setting_kind {
    MF_SETTING_INT,    /* minimum .. maximum */
    MF_SETTING_CHOICE, /* one of choices */
    MF_SETTING_REAL,   /* least .. most */
    MF_SETTING_PATH,   /* any text, "" for none */
    MF_SETTING_PAIRS   /* "HxW", up to `maximum` of them with commas between, each number 1 .. 65535 */
} mf_setting_kind;

typedef struct mf_setting {
    const char *name;
    mf_setting_kind kind;
    long minimum, maximum;
    const char *const *choices; /* ends with NULL */
    const char *initial;
    double least, most; /* REAL */
} mf_setting;

enum { MF_SETTINGS = 24, MF_PAIRS = 8, MF_SETTING_TEXT = 512 };

typedef struct mf_setting_value {
    long number; /* INT; CHOICE: its index; PAIRS: how many */
    double real; /* REAL */
    int pair[MF_PAIRS][2];
    char text[MF_SETTING_TEXT];
} mf_setting_value;

typedef struct mf_settings {
    mfrgn_context *context;
    const mf_setting *spec;
    int count;
    mf_setting_value value[MF_SETTINGS];
} mf_settings;

mfrgn_status mf_settings_init(mf_settings *s, mfrgn_context *context, const mf_setting *spec, int count);
/* The index of a name, or -1. */
int mf_settings_find(const mf_settings *s, const char *name);
mfrgn_status mf_settings_set(mf_settings *s, int key, const char *text);
mfrgn_status mf_settings_set_int(mf_settings *s, int key, long value);
const char *mf_settings_get(const mf_settings *s, int key); /* NULL: no such key */

#endif
