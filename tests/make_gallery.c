/* SPDX-License-Identifier: Apache-2.0 */
/* Builds a gallery for the tests:  make_gallery MODEL TILES OUT */
#include <stdio.h>

#include <mfrgn/gallery.h>

static mfrgn_context *context;

static int failed(mfrgn_status status) {
    if (status != MFRGN_OK)
        fprintf(stderr, "make_gallery: %s\n", mfrgn_context_last_error(context));
    return status != MFRGN_OK;
}

int main(int argc, char **argv) {
    mfrgn_model *model = NULL;
    mfrgn_session *session = NULL;
    mfrgn_tiles *tiles = NULL;
    mfrgn_options *options = NULL;
    int good = argc == 4 && mfrgn_context_create(NULL, &context) == MFRGN_OK &&
               !failed(mfrgn_options_create(context, &options)) &&
               !failed(mfrgn_options_set(options, MFRGN_OPTION_BACKEND, "ref")) &&
               !failed(mfrgn_model_load(context, argv[1], NULL, &model)) &&
               !failed(mfrgn_session_create(model, options, &session)) &&
               !failed(mfrgn_tiles_open(context, argv[2], NULL, &tiles)) &&
               !failed(mfrgn_index_create(session, tiles, argv[3], NULL));
    mfrgn_tiles_free(tiles);
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    mfrgn_options_free(options);
    mfrgn_context_free(context);
    return !good;
}
