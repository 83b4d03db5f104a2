/* Follows a camera that drives straight on, a picture every DISTANCE metres:  track MODEL GALLERY DISTANCE PICTURE.. */
#include <mfrgn/locate.h>
#include <stdio.h>
#include <stdlib.h>

static mfrgn_context *context;

static void check(mfrgn_status status) {
    if (status != MFRGN_OK) {
        fprintf(stderr, "%s\n", mfrgn_context_last_error(context));
        exit(1);
    }
}

int main(int argc, char **argv) {
    mfrgn_model *model;
    mfrgn_session *session;
    mfrgn_index *index;
    mfrgn_tracker *tracker;
    mfrgn_motion motion = {.struct_size = sizeof motion};
    mfrgn_estimate now = {.struct_size = sizeof now};
    /* a compass is not needed: eight rolls of each panorama are compared */
    mfrgn_locate_options options = {.struct_size = sizeof options, .yaw_steps = 8};
    if (argc < 5)
        return 2;
    motion.distance_m = atof(argv[3]);
    check(mfrgn_context_create(NULL, &context));
    check(mfrgn_model_load(context, argv[1], NULL, &model));
    check(mfrgn_session_create(model, NULL, &session));
    check(mfrgn_index_open(context, argv[2], &index));
    check(mfrgn_tracker_create(index, NULL, &tracker));
    for (int i = 4; i < argc; i++) {
        mfrgn_bitmap *bitmap;
        mfrgn_image image = {.struct_size = sizeof image};
        if (i > 4)
            check(mfrgn_tracker_move(tracker, &motion));
        check(mfrgn_bitmap_load(context, argv[i], &bitmap));
        check(mfrgn_bitmap_image(bitmap, &image));
        check(mfrgn_tracker_update_image(tracker, session, &image, &options));
        check(mfrgn_tracker_estimate(tracker, &now));
        printf("%.6f %.6f %.0f m^2 east, %.0f m^2 north\n", now.latitude, now.longitude, now.east_m2, now.north_m2);
        mfrgn_bitmap_free(bitmap);
    }
    mfrgn_tracker_free(tracker);
    mfrgn_index_free(index);
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    mfrgn_context_free(context);
    return 0;
}
