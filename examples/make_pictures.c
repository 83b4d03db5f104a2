/* SPDX-License-Identifier: Apache-2.0 */
/* Writes pictures to try things out with, of a world that does not exist: K aerial tiles (aerial-0.ppm ..) and, from
 * the middle of each, the panorama that one would see there (ground-0.ppm ..), north in its middle.
 *
 *     make_pictures FOLDER [K]
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { AERIAL = 512, GROUND_WIDTH = 1024, GROUND_HEIGHT = 256 };

typedef struct colour {
    double r, g, b;
} colour;

static double noise_at(uint32_t seed, int x, int y) {
    uint32_t h = seed * 0x9e3779b1u + (uint32_t)x * 0x85ebca6bu + (uint32_t)y * 0xc2b2ae35u;
    h = (h ^ h >> 15) * 0x2c1b3c6du;
    h = (h ^ h >> 12) * 0x297a2d39u;
    return (double)(h ^ h >> 15) / 4294967295.0;
}

/* Values at the corners of a grid, and a smooth surface between them. */
static double noise(uint32_t seed, double x, double y) {
    int left = (int)floor(x), top = (int)floor(y);
    double u = x - left, v = y - top;
    u = u * u * (3 - 2 * u);
    v = v * v * (3 - 2 * v);
    double upper = noise_at(seed, left, top) * (1 - u) + noise_at(seed, left + 1, top) * u;
    double lower = noise_at(seed, left, top + 1) * (1 - u) + noise_at(seed, left + 1, top + 1) * u;
    return upper * (1 - v) + lower * v;
}

/* What lies at a point of the ground, in metres from the middle of the tile. */
static colour ground_at(uint32_t place, double x, double y) {
    double texture = noise(place + 3, x, y), wood = noise(place, x / 40, y / 40);
    double bend = 25 * (noise(place + 1, y / 60, 7) - 0.5), lane = 25 * (noise(place + 2, x / 60, 3) - 0.5);
    colour paint = {0.35 + 0.1 * texture, 0.50 + 0.1 * texture, 0.25 + 0.05 * texture}; /* grass */
    if (wood > 0.62)
        paint = (colour){0.10 + 0.1 * texture, 0.25 + 0.15 * texture, 0.10 + 0.05 * texture};
    if (fabs(x - bend) < 5 || fabs(y - lane) < 4)
        paint = (colour){0.45 + 0.05 * texture, 0.45 + 0.05 * texture, 0.47 + 0.05 * texture};
    if (fabs(x - bend) < 0.4)
        paint = (colour){0.9, 0.9, 0.85};
    return paint;
}

static void put(FILE *file, colour paint) {
    const double parts[3] = {paint.r, paint.g, paint.b};
    for (int c = 0; c < 3; c++) {
        double value = parts[c] < 0 ? 0 : parts[c] > 1 ? 1 : parts[c];
        fputc((int)(value * 255 + 0.5), file);
    }
}

static void aerial(FILE *file, uint32_t place) {
    fprintf(file, "P6\n%d %d\n255\n", AERIAL, AERIAL);
    for (int row = 0; row < AERIAL; row++)
        for (int column = 0; column < AERIAL; column++)
            put(file, ground_at(place, (column - AERIAL / 2) * 0.2, (row - AERIAL / 2) * 0.2));
}

static void panorama(FILE *file, uint32_t place) {
    const double pi = 3.14159265358979;
    fprintf(file, "P6\n%d %d\n255\n", GROUND_WIDTH, GROUND_HEIGHT);
    for (int row = 0; row < GROUND_HEIGHT; row++)
        for (int column = 0; column < GROUND_WIDTH; column++) {
            double heading = ((double)column / GROUND_WIDTH - 0.5) * 2 * pi; /* 0: north, that is up in the tile */
            double down = ((double)row / GROUND_HEIGHT - 0.5) * pi / 2;
            double skyline = -0.12 * noise(place + 9, heading * 5, 1);
            if (down < skyline) {
                put(file, (colour){0.55 - down * 0.2, 0.7 - down * 0.1, 0.95});
                continue;
            }
            if (down < 0.03) {
                put(file, (colour){0.20, 0.32, 0.20});
                continue;
            }
            double distance = 2.5 / tan(down);
            put(file, ground_at(place, distance * sin(heading), -distance * cos(heading)));
        }
}

static int write_one(const char *folder, const char *name, int number, void (*draw)(FILE *file, uint32_t place)) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s-%d.ppm", folder, name, number);
    FILE *file = fopen(path, "wb");
    if (!file) {
        perror(path);
        return 0;
    }
    draw(file, (uint32_t)number * 16 + 1);
    int good = !ferror(file);
    if (fclose(file) || !good) {
        perror(path);
        return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    int count = argc > 2 ? atoi(argv[2]) : 4;
    if (argc < 2 || argc > 3 || count < 1 || count > 10000) {
        fprintf(stderr, "usage: make_pictures FOLDER [1 .. 10000]\n");
        return 2;
    }
    for (int i = 0; i < count; i++)
        if (!write_one(argv[1], "aerial", i, aerial) || !write_one(argv[1], "ground", i, panorama))
            return 1;
    return 0;
}
