/* JPEG by libjpeg-turbo, with its defaults (ISLOW, smooth upsampling), which are OpenCV's and Pillow's too.  What it
 * warns of and then paints over in grey is an error here. */
#include <setjmp.h>
#include <stdio.h>

#include <jerror.h>
#include <jpeglib.h>

#include "io/picture.h"

enum {
    MAX_SCANS = 500
}; /* a progressive file has about 10; each scan of a hostile one costs a walk over the picture */

typedef struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf leave;
    mfrgn_status status;
    char text[JMSG_LENGTH_MAX];
} decoder;

static _Noreturn void leave(j_common_ptr jpeg, mfrgn_status status) {
    decoder *d = jpeg->client_data;
    d->status = status;
    jpeg->err->format_message(jpeg, d->text);
    longjmp(d->leave, 1);
}

static void on_error(j_common_ptr jpeg) {
    int code = jpeg->err->msg_code;
    leave(jpeg, code == JERR_OUT_OF_MEMORY ? MFRGN_ERROR_MEMORY : MFRGN_ERROR_FORMAT);
}

static void on_message(j_common_ptr jpeg, int level) {
    if (level >= 0)
        return; /* a trace */
    switch (jpeg->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC:
        leave(jpeg, MFRGN_ERROR_FORMAT);
    default:
        break; /* odd, but the pixels are all there */
    }
}

static void on_output(j_common_ptr jpeg) {
    (void)jpeg;
}

static void on_progress(j_common_ptr jpeg) {
    decoder *d = jpeg->client_data;
    if (d->jpeg.input_scan_number > MAX_SCANS) {
        jpeg->err->msg_code = JERR_BAD_PROGRESSION;
        leave(jpeg, MFRGN_ERROR_FORMAT);
    }
}

/* Adobe's files hold the inks inverted. */
static void from_cmyk(const unsigned char *from, unsigned char *to, int width, int inverted) {
    for (int x = 0; x < width; x++, from += 4, to += 3)
        for (int c = 0; c < 3; c++) {
            unsigned paper = inverted ? from[c] : 255u - from[c], light = inverted ? from[3] : 255u - from[3];
            to[c] = (unsigned char)((paper * light + 127) / 255);
        }
}

static void read_rows(decoder *d, mfrgn_bitmap *bitmap) {
    struct jpeg_decompress_struct *jpeg = &d->jpeg;
    int cmyk = jpeg->out_color_space == JCS_CMYK;
    JSAMPARRAY inks = NULL;
    jpeg_start_decompress(jpeg);
    if ((int)jpeg->output_width != bitmap->width || (int)jpeg->output_height != bitmap->height ||
        jpeg->output_components != (cmyk ? 4 : 3))
        ERREXIT(jpeg, JERR_BAD_DCT_COEF); /* cannot be: the look ahead read the same header */
    if (cmyk)
        inks = jpeg->mem->alloc_sarray((j_common_ptr)jpeg, JPOOL_IMAGE, jpeg->output_width * 4, 1);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = bitmap->pixels + (size_t)jpeg->output_scanline * (size_t)bitmap->width * 3;
        if (cmyk) {
            jpeg_read_scanlines(jpeg, inks, 1);
            from_cmyk(inks[0], row, bitmap->width, jpeg->saw_Adobe_marker);
        } else {
            jpeg_read_scanlines(jpeg, &row, 1);
        }
    }
    jpeg_finish_decompress(jpeg);
}

static void run(decoder *d, const mf_picture *picture, mfrgn_bitmap *bitmap) {
    if (setjmp(d->leave)) {
        jpeg_destroy_decompress(&d->jpeg);
        return;
    }
    jpeg_create_decompress(&d->jpeg);
    d->progress.progress_monitor = on_progress;
    d->jpeg.progress = &d->progress;
    jpeg_mem_src(&d->jpeg, picture->data, (unsigned long)picture->size);
    jpeg_read_header(&d->jpeg, TRUE);
    d->jpeg.out_color_space = d->jpeg.num_components == 4 ? JCS_CMYK : JCS_RGB;
    read_rows(d, bitmap);
    jpeg_destroy_decompress(&d->jpeg);
}

mfrgn_status mf_decode_jpeg(mfrgn_context *context, const mf_picture *picture, mfrgn_bitmap *bitmap) {
    decoder d = {.status = MFRGN_OK};
    d.jpeg.err = jpeg_std_error(&d.errors);
    d.errors.error_exit = on_error;
    d.errors.emit_message = on_message;
    d.errors.output_message = on_output;
    d.jpeg.client_data = &d;
    run(&d, picture, bitmap);
    return d.status == MFRGN_OK ? MFRGN_OK : mf_fail(context, d.status, "JPEG: %s", d.text);
}
