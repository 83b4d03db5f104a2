/* Decoding: every kind of file, every orientation, and files that are cut short, damaged or hostile. */
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/image.h"
#include "io/picture.h"
#include "pictures.h"

/* An allocator that counts, and can fail. */
static struct {
    size_t largest, live;
    int left; /* allocations that succeed; -1: all */
} memory;

static void *take(void *user, size_t size, size_t alignment) {
    (void)user;
    void *p = NULL;
    if (size > memory.largest)
        memory.largest = size;
    if (memory.left == 0 || posix_memalign(&p, alignment, size))
        return NULL;
    memory.left -= memory.left > 0;
    memory.live++;
    return p;
}

static void give(void *user, void *p) {
    (void)user;
    memory.live--;
    free(p);
}

static const mfrgn_allocator allocator = {sizeof(allocator), NULL, take, give};
static mfrgn_context *context;

static void setup(void) {
    memset(&memory, 0, sizeof(memory));
    memory.left = -1;
    ck_assert_int_eq(mfrgn_context_create(&allocator, &context), MFRGN_OK);
}

static void teardown(void) {
    mfrgn_context_free(context);
    ck_assert_uint_eq(memory.live, 0);
}

#define FILE_OF(name) name, sizeof(name)

/* NULL: this build has no decoder for it */
static mfrgn_bitmap *decoded(const unsigned char *data, size_t size) {
    mfrgn_bitmap *bitmap = NULL;
    mfrgn_status status = mfrgn_bitmap_decode(context, data, size, &bitmap);
    if (status == MFRGN_ERROR_UNSUPPORTED) {
        ck_assert_ptr_nonnull(strstr(mfrgn_context_last_error(context), "enabled"));
        return NULL;
    }
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    return bitmap;
}

/* ---- files without loss ---- */

enum { SHOWS_RGB, SHOWS_GRAY, SHOWS_GRAY1, SHOWS_GRAY4, SHOWS_INDEX, SHOWS_INDEX_8, SHOWS_TURNED };

static const struct {
    const char *name;
    const unsigned char *data;
    size_t size;
    int shows;
} lossless[] = {
#define ROW(name, shows)                                                                                               \
    { #name, name, sizeof(name), shows }
    ROW(png_rgb8, SHOWS_RGB),
    ROW(png_rgb8_interlaced, SHOWS_RGB),
    ROW(png_rgb16, SHOWS_RGB),
    ROW(png_rgba8, SHOWS_RGB),
    ROW(png_rgba16_interlaced, SHOWS_RGB),
    ROW(png_gray8, SHOWS_GRAY),
    ROW(png_gray1, SHOWS_GRAY1),
    ROW(png_gray4_interlaced, SHOWS_GRAY4),
    ROW(png_graya8, SHOWS_GRAY),
    ROW(png_graya16, SHOWS_GRAY),
    ROW(png_palette4, SHOWS_INDEX),
    ROW(png_palette8_interlaced, SHOWS_INDEX),
    ROW(png_palette_past_end, SHOWS_INDEX_8),
    ROW(png_exif6, SHOWS_TURNED),
    ROW(bmp_rgb, SHOWS_RGB),
    ROW(bmp_palette, SHOWS_INDEX),
    ROW(tga_rgb, SHOWS_RGB),
    ROW(tga_rgb_rle, SHOWS_RGB),
    ROW(tga_palette, SHOWS_INDEX),
    ROW(gif_palette, SHOWS_INDEX),
    ROW(ppm_rgb, SHOWS_RGB),
};

static void pattern(int x, int y, int shows, int rgb[3]) {
    static const int index_mask = 15;
    int value = -1;
    switch (shows) {
    case SHOWS_INDEX:
        x &= index_mask;
        y = 0;
        break;
    case SHOWS_INDEX_8: /* past the palette's end: black */
        x = x % 16 + 8 < 16 ? x % 16 + 8 : 0;
        y = 0;
        break;
    case SHOWS_TURNED: /* orientation 6: stored rows run from right to left */
        value = x;
        x = y;
        y = 12 - value;
        value = -1;
        break;
    case SHOWS_GRAY:
        value = 12 * x & 255;
        break;
    case SHOWS_GRAY1:
        value = (x + y) & 1 ? 255 : 0;
        break;
    case SHOWS_GRAY4:
        value = x % 16 * 17;
        break;
    default:
        break;
    }
    rgb[0] = value >= 0 ? value : 12 * x & 255;
    rgb[1] = value >= 0 ? value : 19 * y & 255;
    rgb[2] = value >= 0 ? value : (7 * x + 9 * y) & 255;
}

START_TEST(lossless_files) {
    mfrgn_bitmap *bitmap = decoded(lossless[_i].data, lossless[_i].size);
    if (!bitmap)
        return;
    int turned = lossless[_i].shows == SHOWS_TURNED;
    ck_assert_int_eq(bitmap->width, turned ? 13 : 21);
    ck_assert_int_eq(bitmap->height, turned ? 21 : 13);
    for (int y = 0; y < bitmap->height; y++)
        for (int x = 0; x < bitmap->width; x++) {
            const unsigned char *p = bitmap->pixels + (y * bitmap->width + x) * 3;
            int rgb[3];
            pattern(x, y, lossless[_i].shows, rgb);
            ck_assert_msg(p[0] == rgb[0] && p[1] == rgb[1] && p[2] == rgb[2], "%s at %d, %d: %d %d %d, not %d %d %d",
                          lossless[_i].name, x, y, p[0], p[1], p[2], rgb[0], rgb[1], rgb[2]);
        }
    mfrgn_bitmap_free(bitmap);
}
END_TEST

START_TEST(pnm_depths) {
    static const unsigned char shallow[] = "P5 # a comment\n2 1\n#another\n3\n\1\3";
    static const unsigned char deep[] = "P6\n1 1\n65535\n\x12\x34\xff\xff\x00\x80";
    mfrgn_bitmap *bitmap = decoded(shallow, sizeof(shallow) - 1);
    ck_assert_int_eq(bitmap->pixels[0], 85);
    ck_assert_int_eq(bitmap->pixels[5], 255);
    mfrgn_bitmap_free(bitmap);
    bitmap = decoded(deep, sizeof(deep) - 1);
    ck_assert_int_eq(bitmap->pixels[0], 0x12);
    ck_assert_int_eq(bitmap->pixels[1], 0xff);
    ck_assert_int_eq(bitmap->pixels[2], 0);
    mfrgn_bitmap_free(bitmap);
}
END_TEST

/* ---- JPEG ---- */

static const unsigned char colors[4][3] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 255}};

/* Which of the colours a corner shows; -1: none */
static int corner(const mfrgn_bitmap *b, int right, int bottom) {
    const unsigned char *p = b->pixels + ((bottom ? b->height - 2 : 1) * b->width + (right ? b->width - 2 : 1)) * 3;
    for (int k = 0; k < 4; k++)
        if (abs(p[0] - colors[k][0]) < 8 && abs(p[1] - colors[k][1]) < 8 && abs(p[2] - colors[k][2]) < 8)
            return k;
    return -1;
}

static void check_corners(const unsigned char *data, size_t size, int width, const char *expected) {
    mfrgn_bitmap *bitmap = decoded(data, size);
    if (!bitmap)
        return;
    ck_assert_int_eq(bitmap->width, width);
    ck_assert_int_eq(bitmap->height, 48 - width);
    for (int k = 0; k < 4; k++)
        ck_assert_int_eq(corner(bitmap, k & 1, k >> 1), expected[k] - '0');
    mfrgn_bitmap_free(bitmap);
}

START_TEST(jpeg_kinds) {
    check_corners(FILE_OF(jpeg_420), 32, "0123");
    check_corners(FILE_OF(jpeg_progressive), 32, "0123");
    check_corners(FILE_OF(jpeg_restart), 32, "0123");
    check_corners(FILE_OF(jpeg_cmyk), 32, "0123");
    mfrgn_bitmap *bitmap = decoded(FILE_OF(jpeg_gray));
    if (!bitmap)
        return;
    ck_assert(abs(bitmap->pixels[0] - 76) < 3 && bitmap->pixels[1] == bitmap->pixels[0]);
    mfrgn_bitmap_free(bitmap);
}
END_TEST

/* Where the orientation's value lies: after its tag, type and count. */
static size_t find_orientation(const unsigned char *data, size_t size, int big) {
    static const unsigned char tags[2][8] = {{0x12, 0x01, 3, 0, 1, 0, 0, 0}, {0x01, 0x12, 0, 3, 0, 0, 0, 1}};
    for (size_t i = 0; i + 10 < size; i++)
        if (memcmp(data + i, tags[big], 8) == 0)
            return i + 8 + (size_t)big;
    ck_abort_msg("no orientation in the test's own file");
    return 0;
}

START_TEST(orientations) {
    /* The corners as they are to be seen: top left, top right, bottom left, bottom right.  TIFF 6, Orientation. */
    static const char *const seen[10] = {"0123", "0123", "1032", "3210", "2301",
                                         "0213", "2031", "3120", "1302", "0123"};
    unsigned char little[sizeof(jpeg_exif)], big[sizeof(jpeg_exif_big)];
    memcpy(little, jpeg_exif, sizeof(little));
    memcpy(big, jpeg_exif_big, sizeof(big));
    little[find_orientation(FILE_OF(little), 0)] = (unsigned char)_i;
    big[find_orientation(FILE_OF(big), 1)] = (unsigned char)_i;
    int swapped = _i >= 5 && _i <= 8;
    check_corners(FILE_OF(little), swapped ? 16 : 32, seen[_i]);
    check_corners(FILE_OF(big), swapped ? 16 : 32, seen[_i]);
}
END_TEST

START_TEST(bad_exif) {
    static const unsigned char good[] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3,
                                         0,   1,   0,  0, 0, 6, 0, 0, 0, 0, 0,    0, 0};
    unsigned char bad[sizeof(good)];
    ck_assert_int_eq(mf_exif_orientation(good, sizeof(good)), 6);
    for (size_t n = 0; n < sizeof(good) - 4; n++) { /* exact blocks, for the sanitizer */
        unsigned char *cut = malloc(n + 1);
        memcpy(cut, good, n);
        cut = realloc(cut, n ? n : 1);
        ck_assert_int_eq(mf_exif_orientation(cut, n), 1);
        free(cut);
    }
    for (size_t i = 0; i < sizeof(good); i++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(bad, good, sizeof(good));
            bad[i] ^= (unsigned char)(1 << bit);
            int k = mf_exif_orientation(bad, sizeof(bad));
            ck_assert(k >= 1 && k <= 8);
        }
}
END_TEST

/* ---- damage ---- */

static const struct {
    const char *name;
    const unsigned char *data;
    size_t size;
} files[] = {
#define FILE_ROW(name)                                                                                                 \
    { #name, name, sizeof(name) }
    FILE_ROW(jpeg_exif),
    FILE_ROW(jpeg_420),
    FILE_ROW(jpeg_progressive),
    FILE_ROW(jpeg_cmyk),
    FILE_ROW(jpeg_restart),
    FILE_ROW(png_rgb8),
    FILE_ROW(png_rgba16_interlaced),
    FILE_ROW(png_palette4),
    FILE_ROW(png_exif6),
    FILE_ROW(bmp_rgb),
    FILE_ROW(bmp_palette),
    FILE_ROW(tga_rgb_rle),
    FILE_ROW(tga_palette),
    FILE_ROW(gif_palette),
    FILE_ROW(ppm_rgb),
};

START_TEST(cut_anywhere) {
    for (size_t n = 0; n < files[_i].size; n++) {
        unsigned char *cut = malloc(n ? n : 1);
        mfrgn_bitmap *bitmap = NULL;
        memcpy(cut, files[_i].data, n);
        mfrgn_status status = mfrgn_bitmap_decode(context, cut, n, &bitmap);
        free(cut);
        /* What follows the pixels is not needed: TGA's footer, GIF's trailer, what fills BMP's last row up. */
        size_t tail = strstr(files[_i].name, "tga")   ? 26
                      : strstr(files[_i].name, "bmp") ? 3
                      : strstr(files[_i].name, "gif") ? 1
                                                      : 0;
        if (status == MFRGN_OK && n + tail >= files[_i].size) {
            mfrgn_bitmap_free(bitmap);
            continue;
        }
        ck_assert_msg(status == MFRGN_ERROR_FORMAT || status == MFRGN_ERROR_UNSUPPORTED, "%s cut to %zu bytes: %s",
                      files[_i].name, n, mfrgn_status_string(status));
        ck_assert_ptr_null(bitmap);
    }
}
END_TEST

START_TEST(flipped_bits) {
    int png = strstr(files[_i].name, "png") != NULL, wrong = 0;
    unsigned char *bad = malloc(files[_i].size);
    for (size_t i = 0; i < files[_i].size; i++)
        for (int bit = 0; bit < 8; bit++) {
            mfrgn_bitmap *bitmap = NULL;
            memcpy(bad, files[_i].data, files[_i].size);
            bad[i] ^= (unsigned char)(1 << bit);
            mfrgn_status status = mfrgn_bitmap_decode(context, bad, files[_i].size, &bitmap);
            wrong += status == MFRGN_OK;
            ck_assert(status == MFRGN_OK || status == MFRGN_ERROR_FORMAT || status == MFRGN_ERROR_UNSUPPORTED ||
                      status == MFRGN_ERROR_MEMORY);
            ck_assert(status == MFRGN_OK || mfrgn_context_last_error(context)[0]);
            mfrgn_bitmap_free(bitmap);
        }
    free(bad);
    /* PNG has checksums: no flip goes unseen, but in what is not needed (EXIF: its name, length and body). */
    if (png)
        ck_assert_int_le(wrong, strstr(files[_i].name, "exif") ? 8 * 60 : 0);
}
END_TEST

static void put32(unsigned char *at, uint32_t v) {
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(v >> (24 - 8 * i));
}

static uint32_t crc(const unsigned char *data, size_t size) {
    uint32_t c = ~0u;
    for (size_t i = 0; i < size; i++) {
        c ^= data[i];
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
    }
    return ~c;
}

static void refuse(const unsigned char *data, size_t size, const char *why) {
    mfrgn_bitmap *bitmap = NULL;
    memory.largest = 0;
    mfrgn_status status = mfrgn_bitmap_decode(context, data, size, &bitmap);
    ck_assert_ptr_null(bitmap);
    ck_assert_uint_lt(memory.largest, 65536);
    if (status == MFRGN_ERROR_UNSUPPORTED && strstr(mfrgn_context_last_error(context), "enabled"))
        return;
    ck_assert_int_eq(status, MFRGN_ERROR_FORMAT);
    ck_assert_msg(strstr(mfrgn_context_last_error(context), why) != NULL, "'%s' not in '%s'", why,
                  mfrgn_context_last_error(context));
}

START_TEST(hostile_sizes) {
    unsigned char copy[4096];
    static const uint32_t side[] = {0, 0xffff, 0x7fffffff, 0xffffffff, 0x10000};
    for (size_t i = 0; i < MF_COUNT(side); i++) {
        memcpy(copy, png_rgb8, sizeof(png_rgb8));
        put32(copy + 16, side[i]);
        put32(copy + 20, side[i]);
        put32(copy + 29, crc(copy + 12, 17));
        refuse(copy, sizeof(png_rgb8), "PNG: ");
    }
    for (int k = 0; k < 2; k++) {
        size_t at = 0;
        memcpy(copy, jpeg_420, sizeof(jpeg_420));
        while (!(copy[at] == 0xff && copy[at + 1] == 0xc0))
            at++;
        memset(copy + at + 5, k ? 0xff : 0, 4);
        refuse(copy, sizeof(jpeg_420), k ? "cannot be in a file" : "empty picture");
        memcpy(copy, bmp_rgb, sizeof(bmp_rgb));
        put32(copy + 18, k ? 0xffff0000 : 0);
        put32(copy + 22, k ? 0xffff0000 : 0);
        refuse(copy, sizeof(bmp_rgb), "BMP: ");
        memcpy(copy, gif_palette, sizeof(gif_palette));
        memset(copy + 6, k ? 0xff : 0, 4);
        refuse(copy, sizeof(gif_palette), "GIF: ");
        memcpy(copy, tga_rgb, sizeof(tga_rgb));
        memset(copy + 12, 0xff, 4);
        refuse(copy, sizeof(tga_rgb), "TGA: ");
    }
    refuse((const unsigned char *)"P6\n65535 65535\n255\n0123456789", 29, "PNM: ");
    refuse((const unsigned char *)"P6\n999999999 999999999\n255\n0123456789", 37, "PNM: ");
    refuse((const unsigned char *)"", 0, "not a picture");
    refuse((const unsigned char *)"Once upon a time there was", 26, "not a picture");
}
END_TEST

START_TEST(png_chunk_that_is_not_known) {
    unsigned char copy[sizeof(png_exif6)];
    memcpy(copy, png_exif6, sizeof(copy));
    ck_assert_mem_eq(copy + 37, "eXIf", 4);
    copy[37] = 'E'; /* a capital: a reader must know it */
    put32(copy + 41 + copy[36], crc(copy + 37, 4 + (size_t)copy[36]));
    refuse(copy, sizeof(copy), "a chunk that PNG does not have");
}
END_TEST

START_TEST(no_memory) {
    for (int left = 0; left < 8; left++) {
        mfrgn_bitmap *bitmap = NULL;
        unsigned char turned[sizeof(jpeg_exif)];
        memcpy(turned, jpeg_exif, sizeof(turned));
        turned[find_orientation(FILE_OF(turned), 0)] = 6;
        memory.left = left;
        mfrgn_status status = mfrgn_bitmap_decode(context, turned, sizeof(turned), &bitmap);
        memory.left = -1;
        if (left < 3)
            ck_assert(status == MFRGN_ERROR_MEMORY || status == MFRGN_ERROR_UNSUPPORTED);
        mfrgn_bitmap_free(bitmap);
        bitmap = NULL;
        memory.left = left;
        status = mfrgn_bitmap_decode(context, FILE_OF(png_palette4), &bitmap);
        memory.left = -1;
        if (left < 3)
            ck_assert(status == MFRGN_ERROR_MEMORY || status == MFRGN_ERROR_UNSUPPORTED);
        mfrgn_bitmap_free(bitmap);
    }
}
END_TEST

START_TEST(files_on_disk) {
    char path[] = "/tmp/mfrgn-picture-XXXXXX";
    mfrgn_bitmap *bitmap = NULL;
    ck_assert_int_eq(mfrgn_bitmap_load(context, "/nowhere/at/all.jpg", &bitmap), MFRGN_ERROR_IO);
    ck_assert_ptr_nonnull(strstr(mfrgn_context_last_error(context), "/nowhere/at/all.jpg: "));
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(mfrgn_bitmap_load(context, path, &bitmap), MFRGN_ERROR_FORMAT); /* empty */
    ck_assert_msg(strncmp(mfrgn_context_last_error(context), path, strlen(path)) == 0, "%s",
                  mfrgn_context_last_error(context));
    ck_assert_int_eq(write(fd, ppm_rgb, sizeof(ppm_rgb)), (ssize_t)sizeof(ppm_rgb));
    ck_assert_int_eq(mfrgn_bitmap_load(context, path, &bitmap), MFRGN_OK);
    ck_assert_int_eq(bitmap->width, 21);
    mfrgn_bitmap_free(bitmap);
    bitmap = NULL;
    ck_assert_int_eq(ftruncate(fd, 100), 0);
    ck_assert_int_eq(mfrgn_bitmap_load(context, path, &bitmap), MFRGN_ERROR_FORMAT);
    ck_assert_msg(strncmp(mfrgn_context_last_error(context), path, strlen(path)) == 0, "%s",
                  mfrgn_context_last_error(context));
    close(fd);
    unlink(path);
    ck_assert_int_eq(mfrgn_bitmap_load(context, NULL, &bitmap), MFRGN_ERROR_ARGUMENT);
    ck_assert_int_eq(mfrgn_bitmap_load(context, path, NULL), MFRGN_ERROR_ARGUMENT);
    ck_assert_int_eq(mfrgn_bitmap_decode(context, NULL, 5, &bitmap), MFRGN_ERROR_ARGUMENT);
    ck_assert_int_eq(mfrgn_bitmap_decode(NULL, path, 5, &bitmap), MFRGN_ERROR_ARGUMENT);
    ck_assert_ptr_null(bitmap);
}
END_TEST

int main(void) {
    Suite *s = suite_create("picture");
    TCase *t = tcase_create("picture");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, lossless_files, 0, MF_COUNT(lossless));
    tcase_add_test(t, pnm_depths);
    tcase_add_test(t, jpeg_kinds);
    tcase_add_loop_test(t, orientations, 0, 10);
    tcase_add_test(t, bad_exif);
    tcase_add_loop_test(t, cut_anywhere, 0, MF_COUNT(files));
    tcase_add_loop_test(t, flipped_bits, 0, MF_COUNT(files));
    tcase_add_test(t, hostile_sizes);
    tcase_add_test(t, png_chunk_that_is_not_known);
    tcase_add_test(t, no_memory);
    tcase_add_test(t, files_on_disk);
    suite_add_tcase(s, t);
    return mf_run_suite(s);
}
