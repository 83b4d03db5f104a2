/* The steps of the augmentation that change colours: as in common image libraries, factors of brightness, contrast
 * (about the mean grey) and saturation (about each pixel's grey), and a turn of the hue. */
#include <math.h>

#include "train/augment.h"

static size_t values(mf_raster r) {
    return 3 * (size_t)r.width * (size_t)r.height;
}

static unsigned char to_byte(float v) {
    return (unsigned char)(v <= 0 ? 0 : v >= 255 ? 255 : (int)(v + 0.5f));
}

/* ITU-R BT.601 */
static float grey(const unsigned char *p) {
    return 0.299f * (float)p[0] + 0.587f * (float)p[1] + 0.114f * (float)p[2];
}

/* about + factor (v - about), by a table. */
static void scale(mf_raster r, float about, float factor) {
    unsigned char table[256];
    for (int i = 0; i < 256; i++)
        table[i] = to_byte(about + factor * ((float)i - about));
    for (size_t i = 0; i < values(r); i++)
        r.pixels[i] = table[r.pixels[i]];
}

void mf_raster_brightness(mf_raster r, double factor) {
    scale(r, 0, (float)factor);
}

void mf_raster_contrast(mf_raster r, double factor) {
    double sum = 0;
    for (size_t i = 0; i < values(r); i += 3)
        sum += grey(r.pixels + i);
    scale(r, (float)(sum / ((double)r.width * r.height)), (float)factor);
}

void mf_raster_saturation(mf_raster r, double factor) {
    float f = (float)factor;
    for (size_t i = 0; i < values(r); i += 3) {
        unsigned char *p = r.pixels + i;
        float g = (1 - f) * grey(p);
        for (int c = 0; c < 3; c++)
            p[c] = to_byte(f * (float)p[c] + g);
    }
}

/* In the hexagon of hues: value and chroma stay. */
void mf_raster_hue(mf_raster r, double turns) {
    float turn = (float)(6 * (turns - floor(turns)));
    for (size_t i = 0; i < values(r); i += 3) {
        unsigned char *p = r.pixels + i;
        float red = p[0], green = p[1], blue = p[2];
        float most = fmaxf(red, fmaxf(green, blue)), least = fminf(red, fminf(green, blue)), chroma = most - least;
        if (chroma == 0)
            continue;
        float hue = most == red     ? (green - blue) / chroma
                    : most == green ? 2 + (blue - red) / chroma
                                    : 4 + (red - green) / chroma;
        hue += turn;
        for (int c = 0; c < 3; c++) { /* red is full round 0, green round 2, blue round 4 */
            float away = fabsf(hue - 2 * (float)c);
            away = fmodf(away, 6);
            away = away > 3 ? 6 - away : away;
            float share = 2 - away;
            share = share < 0 ? 0 : share > 1 ? 1 : share;
            p[c] = to_byte(least + chroma * share);
        }
    }
}
