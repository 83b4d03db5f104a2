/* How alike are a ground and an aerial photograph?  embed MODEL GROUND AERIAL */
#include <mfrgn/mfrgn.h>
#include <stdio.h>
#include <stdlib.h>

static mfrgn_context *context;

static void check(mfrgn_status status) {
    if (status != MFRGN_OK) {
        fprintf(stderr, "%s\n", mfrgn_context_last_error(context));
        exit(1);
    }
}

static void embed(mfrgn_session *session, mfrgn_view view, const char *path, float *descriptor) {
    mfrgn_bitmap *bitmap;
    mfrgn_image image = {.struct_size = sizeof image};
    check(mfrgn_bitmap_load(context, path, &bitmap));
    check(mfrgn_bitmap_image(bitmap, &image));
    check(mfrgn_embed(session, view, &image, 1, descriptor));
    mfrgn_bitmap_free(bitmap);
}

int main(int argc, char **argv) {
    mfrgn_model *model;
    mfrgn_session *session;
    float similarity;
    if (argc != 4)
        return 2;
    check(mfrgn_context_create(NULL, &context));
    check(mfrgn_model_load(context, argv[1], NULL, &model));
    check(mfrgn_session_create(model, NULL, &session));
    size_t size = mfrgn_model_descriptor_size(model);
    float ground[size], aerial[size];
    embed(session, MFRGN_VIEW_GROUND, argv[2], ground);
    embed(session, MFRGN_VIEW_AERIAL, argv[3], aerial);
    check(mfrgn_similarity(context, ground, 1, aerial, 1, size, &similarity));
    printf("similarity %.4f\n", (double)similarity);
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    mfrgn_context_free(context);
    return 0;
}
