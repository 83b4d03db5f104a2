/* JPEG re-compression. */
#include "train/augment.h"

#ifdef MF_HAVE_JPEG
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include "io/picture.h"

typedef struct encoder {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    jmp_buf leave;
    unsigned char *data; /* libjpeg's malloc() */
    unsigned long size;
    char text[JMSG_LENGTH_MAX];
} encoder;

static void on_error(j_common_ptr jpeg) {
    encoder *e = jpeg->client_data;
    jpeg->err->format_message(jpeg, e->text);
    longjmp(e->leave, 1);
}

static void on_message(j_common_ptr jpeg, int level) {
    (void)jpeg, (void)level;
}

static void on_output(j_common_ptr jpeg) {
    (void)jpeg;
}

static int encode(encoder *e, mf_raster r, int quality) {
    if (setjmp(e->leave)) {
        jpeg_destroy_compress(&e->jpeg);
        return 0;
    }
    jpeg_create_compress(&e->jpeg);
    jpeg_mem_dest(&e->jpeg, &e->data, &e->size);
    e->jpeg.image_width = (JDIMENSION)r.width;
    e->jpeg.image_height = (JDIMENSION)r.height;
    e->jpeg.input_components = 3;
    e->jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&e->jpeg);
    jpeg_set_quality(&e->jpeg, quality, TRUE);
    jpeg_start_compress(&e->jpeg, TRUE);
    while (e->jpeg.next_scanline < e->jpeg.image_height) {
        JSAMPROW row = r.pixels + 3 * (size_t)e->jpeg.next_scanline * (size_t)r.width;
        jpeg_write_scanlines(&e->jpeg, &row, 1);
    }
    jpeg_finish_compress(&e->jpeg);
    jpeg_destroy_compress(&e->jpeg);
    return 1;
}

mfrgn_status mf_raster_jpeg(mfrgn_context *context, mf_raster r, int quality) {
    encoder *e = mf_calloc(context, 1, sizeof(*e));
    if (!e)
        return mf_fail_memory(context, sizeof(*e), "compressing a picture");
    e->jpeg.err = jpeg_std_error(&e->errors);
    e->errors.error_exit = on_error;
    e->errors.emit_message = on_message;
    e->errors.output_message = on_output;
    e->jpeg.client_data = e;
    mfrgn_status status = MFRGN_OK;
    if (!encode(e, r, quality))
        status = mf_fail(context, MFRGN_ERROR_UNSUPPORTED, "JPEG: %s", e->text);
    if (status == MFRGN_OK) {
        mf_picture picture = {.kind = MF_PICTURE_JPEG, .data = e->data, .size = e->size};
        mfrgn_bitmap view = {context, r.width, r.height, r.pixels};
        status = mf_decode_jpeg(context, &picture, &view);
    }
    free(e->data);
    mf_free(context, e);
    return status;
}

int mf_have_jpeg_encoder(void) {
    return 1;
}

#else

mfrgn_status mf_raster_jpeg(mfrgn_context *context, mf_raster r, int quality) {
    (void)r, (void)quality;
    return mf_fail(context, MFRGN_ERROR_UNSUPPORTED, "this build of libmfrgn cannot compress JPEG");
}

int mf_have_jpeg_encoder(void) {
    return 0;
}

#endif
