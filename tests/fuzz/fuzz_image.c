/* mfrgn_bitmap_decode() on any bytes, and what it gives through a resize.
 *
 * With libFuzzer:  CC=clang meson setup b -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false \
 *                      -Dc_args=-fsanitize=fuzzer-no-link && ninja -C b && b/tests/fuzz_image CORPUS
 * Without, as a test: a fixed number of damaged copies of the unit tests' files, the same every time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mfrgn_context *context;
    mfrgn_bitmap *bitmap = NULL, *small = NULL;
    mfrgn_image image;
    if (mfrgn_context_create(NULL, &context) != MFRGN_OK)
        return 0;
    mfrgn_status status = mfrgn_bitmap_decode(context, data, size, &bitmap);
    if ((status == MFRGN_OK) != (bitmap != NULL) || (status != MFRGN_OK && !mfrgn_context_last_error(context)[0]))
        abort();
    if (bitmap && mfrgn_bitmap_create(context, 7, 5, &small) == MFRGN_OK) {
        mfrgn_bitmap_image(bitmap, &image);
        if (mfrgn_image_resize(context, &image, small) != MFRGN_OK)
            abort();
    }
    mfrgn_bitmap_free(bitmap);
    mfrgn_bitmap_free(small);
    mfrgn_context_free(context);
    return 0;
}

#ifndef MF_LIBFUZZER
#include "../unit/pictures.h"

static const struct {
    const unsigned char *data;
    size_t size;
} seeds[] = {
#define SEED(name)                                                                                                     \
    { name, sizeof(name) }
    SEED(jpeg_exif),
    SEED(jpeg_exif_big),
    SEED(jpeg_420),
    SEED(jpeg_progressive),
    SEED(jpeg_gray),
    SEED(jpeg_cmyk),
    SEED(jpeg_restart),
    SEED(png_rgb8),
    SEED(png_rgb8_interlaced),
    SEED(png_rgb16),
    SEED(png_rgba8),
    SEED(png_gray8),
    SEED(png_gray1),
    SEED(png_gray4_interlaced),
    SEED(png_graya8),
    SEED(png_graya16),
    SEED(png_palette4),
    SEED(png_palette8_interlaced),
    SEED(png_palette_past_end),
    SEED(png_exif6),
    SEED(bmp_rgb),
    SEED(bmp_palette),
    SEED(tga_rgb),
    SEED(tga_rgb_rle),
    SEED(tga_palette),
    SEED(gif_palette),
    SEED(ppm_rgb),
    SEED(png_rgba16_interlaced),
};

static uint64_t state = 1;

static size_t draw(size_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(state >> 33) % below;
}

/* PNG's checksums would stop every damaged copy at the door. */
static void mend_png(unsigned char *data, size_t size) {
    for (size_t at = 8; at + 12 <= size;) {
        size_t length = (size_t)data[at] << 24 | (size_t)data[at + 1] << 16 | (size_t)data[at + 2] << 8 | data[at + 3];
        if (length > size - at - 12)
            return;
        uint32_t c = ~0u;
        for (size_t i = at + 4; i < at + 8 + length; i++) {
            c ^= data[i];
            for (int k = 0; k < 8; k++)
                c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
        }
        for (int i = 0; i < 4; i++)
            data[at + 8 + length + (size_t)i] = (unsigned char)(~c >> (24 - 8 * i));
        at += length + 12;
    }
}

int main(int argc, char **argv) {
    long rounds = argc > 1 ? atol(argv[1]) : 2000;
    for (size_t s = 0; s < sizeof(seeds) / sizeof(seeds[0]); s++)
        for (long i = 0; i < rounds; i++) {
            size_t size = seeds[s].size;
            unsigned char *copy = malloc(size);
            memcpy(copy, seeds[s].data, size);
            for (size_t n = 1 + draw(8); n > 0; n--)
                copy[draw(n % 2       ? size
                          : size < 64 ? size
                                      : 64)] = (unsigned char)(draw(3) ? draw(256) : (size_t)(draw(2) ? 0 : 255));
            if (draw(8) == 0)
                size = 1 + draw(size);
            if (copy[0] == 0x89 && draw(8))
                mend_png(copy, size);
            unsigned char *exact = malloc(size); /* for the sanitizer: nothing behind the data */
            memcpy(exact, copy, size);
            LLVMFuzzerTestOneInput(exact, size);
            free(exact);
            free(copy);
        }
    printf("%ld damaged copies of each of %zu files\n", rounds, sizeof(seeds) / sizeof(seeds[0]));
    return 0;
}
#endif
