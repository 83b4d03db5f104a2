/* Folders of pictures: coordinates from the files' names, or none. */
#include "data/tiles.h"

#include <math.h>

/* A decimal number with a fraction between separators: "37.7749" of "satellite_37.7749_-122.4194.png".  Whole numbers
 * are counters and dates more often than degrees. */
static int read_piece(const char *begin, size_t length, double *value) {
    char text[64];
    if (length >= sizeof(text) || !memchr(begin, '.', length))
        return 0;
    memcpy(text, begin, length);
    text[length] = 0;
    return mf_read_double(text, value);
}

int mf_name_point(const char *path, double *latitude, double *longitude) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *end = name + mf_picture_stem(name);
    double last = NAN, value;
    while (name < end) {
        size_t length = strcspn(name, ",_@ ");
        if (length > (size_t)(end - name))
            length = (size_t)(end - name);
        int number = read_piece(name, length, &value);
        if (number && !isnan(last)) {
            *latitude = last;
            *longitude = value;
            return fabs(last) <= 90 && fabs(value) <= 180 ? 1 : -1;
        }
        last = number ? value : NAN;
        name += length + 1;
    }
    return 0;
}

static mfrgn_status add(mfrgn_tiles *tiles, const char *folder, const char *name, int located) {
    mf_tile t = {.zoom = -1, .located = located};
    t.id = mf_arena_format(&tiles->memory, "%s", name);
    t.path = mf_arena_join(&tiles->memory, folder, name);
    int found = located ? mf_name_point(name, &t.latitude, &t.longitude) : 1;
    if (found == 0)
        return mf_fail(tiles->context, MFRGN_ERROR_FORMAT,
                       "%s/%s: its name carries no coordinates (\"satellite_LAT_LON.png\" or \"LAT,LON,...png\", with "
                       "decimal points)",
                       folder, name);
    if (found < 0)
        return mf_fail(tiles->context, MFRGN_ERROR_FORMAT,
                       "%s/%s: latitude %g or longitude %g of its name is beyond 90 or 180 (if names are no coordinates, "
                       "open the folder as kind \"folder\")",
                       folder, name, t.latitude, t.longitude);
    return mf_tiles_add(tiles, &t);
}

mfrgn_status mf_tiles_from_names(mfrgn_tiles *tiles, const char *folder, int located) {
    mf_names names;
    MF_TRY(mf_folder_pictures(tiles->context, folder, &names));
    mfrgn_status status = MFRGN_OK;
    for (size_t i = 0; status == MFRGN_OK && i < names.count; i++)
        status = add(tiles, folder, names.name[i], located);
    mf_names_free(&names);
    return status;
}
