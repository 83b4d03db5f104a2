/* The size of a picture, without decoding it. */
#include "io/file.h"
#include "io/picture.h"

mfrgn_status mf_picture_size(mfrgn_context *context, const void *data, size_t size, int *width, int *height) {
    mf_picture picture = {.kind = mf_picture_sniff(data, size), .data = data, .size = size, .orientation = 1};
    if (picture.kind == MF_PICTURE_UNKNOWN)
        return mf_fail(context, MFRGN_ERROR_FORMAT, "not a picture");
    MF_TRY(mf_picture_probe(context, &picture));
    int turned = picture.orientation >= 5; /* EXIF: lies on its side */
    *width = turned ? picture.height : picture.width;
    *height = turned ? picture.width : picture.height;
    return MFRGN_OK;
}

mfrgn_status mf_picture_file_size(mfrgn_context *context, const char *path, int *width, int *height) {
    mf_file file;
    MF_TRY(mf_file_map(context, path, &file));
    mfrgn_status status = mf_picture_size(context, file.data, file.size, width, height);
    mf_file_unmap(&file);
    return status == MFRGN_OK ? status : mf_fail_in(context, status, "%s", path);
}
