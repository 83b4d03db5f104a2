/* Towns: handles, the pictures taken in them. */
#include "data/world/world.h"

#include <string.h>

#include "data/geo.h"

const char *mfrgn_world_city(int index) {
    return index >= 0 && index < mf_style_count ? mf_styles[index].name : NULL;
}

const char *mfrgn_world_summary(int index) {
    return index >= 0 && index < mf_style_count ? mf_styles[index].summary : NULL;
}

static mfrgn_status no_city(mfrgn_context *context, const char *city) {
    char names[512] = "";
    for (int k = 0; k < mf_style_count; k++) {
        strncat(names, k ? ", " : "", sizeof(names) - strlen(names) - 1);
        strncat(names, mf_styles[k].name, sizeof(names) - strlen(names) - 1);
    }
    return mf_fail(context, MFRGN_ERROR_ARGUMENT, "there is no city \"%.100s\"; there are %s", city ? city : "(NULL)",
                   names);
}

mfrgn_status mfrgn_world_create(mfrgn_context *context, const char *city, unsigned long seed, mfrgn_world **world) {
    const mf_style *style = NULL;
    if (!context)
        return MFRGN_ERROR_ARGUMENT;
    for (int k = 0; city && k < mf_style_count; k++)
        if (!strcmp(mf_styles[k].name, city))
            style = &mf_styles[k];
    if (!style)
        return no_city(context, city);
    if (!world || seed > 4294967295u)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_world_create: world is NULL, or the seed %lu above 2^32 - 1", seed);
    mfrgn_world *w = mf_calloc(context, 1, sizeof(*w));
    if (!w)
        return mf_fail_memory(context, sizeof(*w), "a town");
    w->context = mf_context_ref(context);
    w->style = style;
    w->hash = mf_mix(mf_hash(city, strlen(city), 0) ^ mf_mix(seed));
    w->latitude = style->latitude + (mf_unit(w->hash, 0) - 0.5) * 0.4;
    w->longitude = style->longitude + (mf_unit(w->hash, 1) - 0.5) * 0.4;
    *world = w;
    return MFRGN_OK;
}

void mfrgn_world_free(mfrgn_world *world) {
    if (!world)
        return;
    mfrgn_context *context = world->context;
    mf_free(context, world);
    mfrgn_context_free(context);
}

mfrgn_status mfrgn_world_point(const mfrgn_world *world, double east, double north, double *latitude,
                               double *longitude) {
    if (!world)
        return MFRGN_ERROR_ARGUMENT;
    if (!latitude || !longitude || !(fabs(east) <= 1e6) || !(fabs(north) <= 1e6))
        return mf_fail(world->context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_world_point: NULL, or farther than 1000 km from the town's origin");
    mf_point p = mf_geo_move((mf_point){world->latitude, world->longitude}, east, north);
    *latitude = p.latitude;
    *longitude = p.longitude;
    return MFRGN_OK;
}

static mfrgn_status check(const mfrgn_world *w, mfrgn_view view, const mfrgn_shot *s, const mfrgn_bitmap *b) {
    mfrgn_context *c = w->context;
    if (!s || s->struct_size < sizeof(*s) || !b)
        return mf_fail(c, MFRGN_ERROR_ARGUMENT, "mfrgn_world_render: NULL, or struct_size is not set");
    if (b->width < 8 || b->height < 8 || b->width > 4096 || b->height > 4096)
        return mf_fail(c, MFRGN_ERROR_ARGUMENT, "mfrgn_world_render: a bitmap of %d x %d; 8 .. 4096 pixels a side",
                       b->width, b->height);
    if (!(fabs(s->east) <= 1e6) || !(fabs(s->north) <= 1e6))
        return mf_fail(c, MFRGN_ERROR_ARGUMENT, "mfrgn_world_render: farther than 1000 km from the town's origin");
    if (view == MFRGN_VIEW_AERIAL) {
        if (!(s->size_m >= 10 && s->size_m <= 1000))
            return mf_fail(c, MFRGN_ERROR_ARGUMENT, "mfrgn_world_render: a tile of %g m; 10 .. 1000", s->size_m);
    } else if (view != MFRGN_VIEW_GROUND) {
        return mf_fail(c, MFRGN_ERROR_ARGUMENT, "mfrgn_world_render: there is no view %d", (int)view);
    } else if (!(fabs(s->heading) <= 1e6) || !(s->fov == 0 || (s->fov >= 10 && s->fov <= 360))) {
        return mf_fail(c, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_world_render: a heading of %g, a field of view of %g degrees; 10 .. 360", s->heading,
                       s->fov);
    }
    return MFRGN_OK;
}

mfrgn_status mfrgn_world_render(const mfrgn_world *world, mfrgn_view view, const mfrgn_shot *shot,
                                mfrgn_bitmap *bitmap) {
    mf_scene scene;
    mf_look look;
    if (!world)
        return MFRGN_ERROR_ARGUMENT;
    MF_TRY(check(world, view, shot, bitmap));
    int aerial = view == MFRGN_VIEW_AERIAL;
    float high = (float)bitmap->height / (float)bitmap->width;
    float radius = aerial ? (float)shot->size_m * 0.5f * (1 + high) * 0.75f + 30 : 190;
    mf_look_make(&look, world->style, mf_mix2(world->hash, (int64_t)shot->day, 77), aerial);
    MF_TRY(mf_scene_open(&scene, world, shot->east, shot->north, radius, &look));
    float x = (float)(shot->east - scene.ox), y = (float)(shot->north - scene.oy);
    mfrgn_status status;
    if (aerial) {
        status = mf_render_aerial(&scene, x, y, (float)shot->size_m, bitmap);
    } else {
        double heading = shot->heading - 360 * floor(shot->heading / 360);
        status = mf_render_ground(&scene, x, y, mf_between(look.hash, 90, 1.9f, 2.5f), (float)heading,
                                  shot->fov > 0 ? (float)shot->fov : 360, bitmap);
    }
    mf_scene_close(&scene);
    return status;
}
