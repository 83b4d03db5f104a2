/* SPDX-License-Identifier: Apache-2.0 */
/* The rule: element i of tensor NAME is offset + scale * pm1(NAME, seed, i), where pm1 is uniform on [-1, 1), from a
 * splitmix64 stream that begins at the FNV-1a hash of the name; offset and scale follow from the name and the shape.
 * A picture is a weighted sum of three such streams on blocks of 32, 8 and 1 pixels. */
#include "fill.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static uint64_t fnv1a(const char *name) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        hash = (hash ^ *c) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t splitmix(uint64_t x) {
    uint64_t z = x + UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint64_t base(const char *name, uint64_t seed) {
    return fnv1a(name) + seed * UINT64_C(0xd1342543de82ef95);
}

static int ends_with(const char *name, const char *ending) {
    size_t length = strlen(name), tail = strlen(ending);
    return length >= tail && !strcmp(name + length - tail, ending);
}

static void rule(const char *name, const size_t *shape, int dims, float *offset, float *scale) {
    *offset = 0;
    if (!strcmp(name, "logit_scale")) {
        *offset = 2.6592600f;
        *scale = 0;
    } else if (ends_with(name, ".running_var")) {
        *offset = 1;
        *scale = 0.5f;
    } else if (ends_with(name, ".running_mean")) {
        *scale = 0.1f;
    } else if (ends_with(name, ".gamma")) {
        *offset = 0.25f;
        *scale = 0.125f;
    } else if (ends_with(name, ".bias")) {
        *scale = 0.1f;
    } else if (dims == 1) {
        *offset = 1;
        *scale = 0.25f;
    } else {
        double fan_in = 1;
        for (int i = 1; i < dims; i++)
            fan_in *= (double)shape[i];
        *scale = (float)sqrt(3 / fan_in);
    }
}

int fill_tensor(void *user, const char *name, const size_t *shape, int dims, float *values) {
    uint64_t start = base(name, *(const uint64_t *)user);
    float offset, scale;
    size_t count = 1;
    rule(name, shape, dims, &offset, &scale);
    for (int i = 0; i < dims; i++)
        count *= shape[i];
    for (size_t i = 0; i < count; i++) {
        float pm1 = (float)(splitmix(start + i) >> 40) * 0x1p-23f - 1.0f; /* exact */
        values[i] = offset + scale * pm1;
    }
    return 0;
}

void fill_picture(const char *name, uint64_t seed, int width, int height, unsigned char *pixels) {
    static const int blocks[] = {32, 8, 1};
    static const unsigned weights[] = {5, 2, 1};
    uint64_t start[3];
    for (int k = 0; k < 3; k++) {
        char text[64];
        snprintf(text, sizeof text, "%.40s.%d", name, blocks[k]);
        start[k] = base(text, seed);
    }
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                uint64_t sum = 0;
                for (int k = 0; k < 3; k++) {
                    uint64_t cell = (uint64_t)(y / blocks[k]) * 65536 + (uint64_t)(x / blocks[k]);
                    sum += weights[k] * (splitmix(start[k] + cell * 3 + (uint64_t)c) >> 56);
                }
                *pixels++ = (unsigned char)(sum / 8);
            }
}
