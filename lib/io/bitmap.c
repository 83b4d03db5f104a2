/* Bitmaps and views: the public functions. */
#include <string.h>

#include "io/file.h"
#include "io/picture.h"

static size_t pixel_bytes(mfrgn_pixel format) {
    switch (format) {
    case MFRGN_PIXEL_RGB8:
    case MFRGN_PIXEL_BGR8:
        return 3;
    case MFRGN_PIXEL_RGBA8:
        return 4;
    case MFRGN_PIXEL_GRAY8:
        return 1;
    case MFRGN_PIXEL_RGB_F32:
        return 3 * sizeof(float);
    }
    return 0;
}

mfrgn_status mf_image_check(mfrgn_context *context, const mfrgn_image *image) {
    if (!image)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "the image is NULL");
    if (image->struct_size < sizeof(*image))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_image: struct_size is %zu, not sizeof(mfrgn_image), %zu",
                       image->struct_size, sizeof(*image));
    if (!image->pixels)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_image: pixels is NULL");
    if (image->width < 1 || image->width > MF_PICTURE_SIDE || image->height < 1 || image->height > MF_PICTURE_SIDE)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_image: %d x %d pixels; each side must be 1 .. %d",
                       image->width, image->height, MF_PICTURE_SIDE);
    size_t bytes = pixel_bytes(image->format);
    if (!bytes)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_image: unknown pixel format %d", (int)image->format);
    ptrdiff_t row = (ptrdiff_t)((size_t)image->width * bytes);
    if (image->stride && image->stride < row && image->stride > -row)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_image: a stride of %td bytes is less than a row of %d pixels (%td bytes)", image->stride,
                       image->width, row);
    return MFRGN_OK;
}

mfrgn_status mf_bitmap_new(mfrgn_context *context, int width, int height, mfrgn_bitmap **out) {
    size_t bytes = (size_t)width * (size_t)height * 3;
    mfrgn_bitmap *bitmap = mf_alloc(context, sizeof(*bitmap));
    unsigned char *pixels = bitmap ? mf_alloc(context, bytes) : NULL;
    if (!pixels) {
        mf_free(context, bitmap);
        return mf_fail_memory(context, bytes, "a bitmap");
    }
    bitmap->context = mf_context_ref(context);
    bitmap->width = width;
    bitmap->height = height;
    bitmap->pixels = pixels;
    *out = bitmap;
    return MFRGN_OK;
}

mfrgn_status mfrgn_bitmap_create(mfrgn_context *context, int width, int height, mfrgn_bitmap **bitmap) {
    if (!context || !bitmap)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_bitmap_create: bitmap is NULL");
    if (width < 1 || width > MF_PICTURE_SIDE || height < 1 || height > MF_PICTURE_SIDE)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_bitmap_create: %d x %d pixels; each side must be 1 .. %d",
                       width, height, MF_PICTURE_SIDE);
    MF_TRY(mf_bitmap_new(context, width, height, bitmap));
    memset((*bitmap)->pixels, 0, (size_t)width * (size_t)height * 3);
    return MFRGN_OK;
}

void mfrgn_bitmap_free(mfrgn_bitmap *bitmap) {
    if (!bitmap)
        return;
    mfrgn_context *context = bitmap->context;
    mf_free(context, bitmap->pixels);
    mf_free(context, bitmap);
    mfrgn_context_free(context);
}

mfrgn_status mfrgn_bitmap_image(const mfrgn_bitmap *bitmap, mfrgn_image *image) {
    if (!bitmap || !image)
        return mf_fail(bitmap ? bitmap->context : NULL, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_bitmap_image: an argument is NULL");
    *image = (mfrgn_image){sizeof(*image),  bitmap->pixels, bitmap->width, bitmap->height, (ptrdiff_t)bitmap->width * 3,
                           MFRGN_PIXEL_RGB8};
    return MFRGN_OK;
}

unsigned char *mfrgn_bitmap_pixels(mfrgn_bitmap *bitmap) {
    return bitmap ? bitmap->pixels : NULL;
}

mfrgn_status mfrgn_image_crop(mfrgn_context *context, const mfrgn_image *image, int x, int y, int width, int height,
                              mfrgn_image *part) {
    if (!part)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_image_crop: part is NULL");
    MF_TRY(mf_image_check(context, image));
    if (x < 0 || y < 0 || width < 1 || height < 1 || width > image->width - x || height > image->height - y)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT,
                       "mfrgn_image_crop: %d x %d pixels from column %d, row %d, are not inside %d x %d", width, height,
                       x, y, image->width, image->height);
    size_t bytes = pixel_bytes(image->format);
    ptrdiff_t stride = image->stride ? image->stride : (ptrdiff_t)((size_t)image->width * bytes);
    const unsigned char *pixels = image->pixels;
    *part = (mfrgn_image){sizeof(*part), pixels + y * stride + (ptrdiff_t)((size_t)x * bytes), width, height, stride,
                          image->format};
    return MFRGN_OK;
}

/* ---- decoding ---- */

static mfrgn_status no_decoder(mfrgn_context *context, mf_picture_kind kind) {
    if (kind == MF_PICTURE_JPEG)
        return mf_fail(context, MFRGN_ERROR_UNSUPPORTED,
                       "this build of libmfrgn cannot decode JPEG: build it with -Djpeg=enabled (libjpeg-turbo) or "
                       "-Dstb=enabled (stb_image)");
    return mf_fail(context, MFRGN_ERROR_UNSUPPORTED,
                   "this build of libmfrgn cannot decode %s: build it with -Dstb=enabled (stb_image)",
                   mf_picture_name(kind));
}

static mfrgn_status run_decoder(mfrgn_context *context, const mf_picture *picture, mfrgn_bitmap *bitmap) {
    if (picture->kind == MF_PICTURE_PNM)
        return mf_decode_pnm(context, picture, bitmap);
#ifdef MF_HAVE_JPEG
    if (picture->kind == MF_PICTURE_JPEG)
        return mf_decode_jpeg(context, picture, bitmap);
#endif
#ifdef MF_HAVE_STB
    return mf_decode_stb(context, picture, bitmap);
#else
    return no_decoder(context, picture->kind);
#endif
}

static int have_decoder(mf_picture_kind kind) {
#ifdef MF_HAVE_STB
    return kind != MF_PICTURE_UNKNOWN;
#else
#ifdef MF_HAVE_JPEG
    if (kind == MF_PICTURE_JPEG)
        return 1;
#endif
    return kind == MF_PICTURE_PNM;
#endif
}

static mfrgn_status decode(mfrgn_context *context, const unsigned char *data, size_t size, mfrgn_bitmap **out) {
    mf_picture picture = {.kind = mf_picture_sniff(data, size), .data = data, .size = size, .orientation = 1};
    if (picture.kind == MF_PICTURE_UNKNOWN)
        return mf_fail(context, MFRGN_ERROR_FORMAT,
                       size ? "not a picture: neither JPEG, PNG, BMP, TGA, GIF nor PNM" : "not a picture: no data");
    if (!have_decoder(picture.kind))
        return no_decoder(context, picture.kind);
    MF_TRY(mf_picture_probe(context, &picture));
    mfrgn_bitmap *bitmap = NULL;
    MF_TRY(mf_bitmap_new(context, picture.width, picture.height, &bitmap));
    mfrgn_status status = run_decoder(context, &picture, bitmap);
    if (status == MFRGN_OK)
        status = mf_bitmap_upright(bitmap, picture.orientation);
    if (status != MFRGN_OK) {
        mfrgn_bitmap_free(bitmap);
        return status;
    }
    *out = bitmap;
    return MFRGN_OK;
}

mfrgn_status mfrgn_bitmap_decode(mfrgn_context *context, const void *data, size_t size, mfrgn_bitmap **bitmap) {
    if (!context || !bitmap || (!data && size))
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_bitmap_decode: data or bitmap is NULL");
    return decode(context, data, size, bitmap);
}

mfrgn_status mfrgn_bitmap_load(mfrgn_context *context, const char *path, mfrgn_bitmap **bitmap) {
    if (!context || !path || !bitmap)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_bitmap_load: path or bitmap is NULL");
    mf_file file;
    MF_TRY(mf_file_map(context, path, &file));
    mfrgn_status status = decode(context, file.data, file.size, bitmap);
    mf_file_unmap(&file);
    return status == MFRGN_OK ? status : mf_fail_in(context, status, "%s", path);
}
