/* The record of a calibration in a gallery: little-endian, MF_CALIBRATION_BYTES.
 *
 *      0  "MFRGNCAL"   8  u32 version   12  u32 tiles of the softmax   16  u32 yaw steps   20  u32 precrop
 *     24  doubles: field of view, temperature, reach, bias, weight of the score, weight of the margin
 *     72  zeros */
#include <math.h>
#include <string.h>

#include "locate/locate.h"

enum { VERSION = 1 };

static const char magic[] = "MFRGNCAL";

void mf_calibration_encode(const mf_calibration *c, unsigned char *to) {
    const double values[] = {c->fov, c->temperature, c->reach, c->bias, c->score_weight, c->margin_weight};
    memset(to, 0, MF_CALIBRATION_BYTES);
    memcpy(to, magic, 8);
    mf_put32(to + 8, VERSION);
    mf_put32(to + 12, c->pool);
    mf_put32(to + 16, c->yaw_steps);
    mf_put32(to + 20, c->precrop);
    for (size_t i = 0; i < MF_COUNT(values); i++) {
        uint64_t bits;
        memcpy(&bits, &values[i], 8);
        mf_put64(to + 24 + 8 * i, bits);
    }
}

static mfrgn_status decode(const mfrgn_index *index, const unsigned char *from, size_t bytes, mf_calibration *c) {
    double *values[] = {&c->fov, &c->temperature, &c->reach, &c->bias, &c->score_weight, &c->margin_weight};
    int good = bytes == MF_CALIBRATION_BYTES && memcmp(from, magic, 8) == 0;
    if (good && mf_get32(from + 8) != VERSION)
        return mf_fail(index->context, MFRGN_ERROR_UNSUPPORTED, "%s: a calibration of version %u; calibrate it again",
                       index->path, mf_get32(from + 8));
    for (size_t i = 0; good && i < MF_COUNT(values); i++) {
        uint64_t bits = mf_get64(from + 24 + 8 * i);
        memcpy(values[i], &bits, 8);
        good = isfinite(*values[i]);
    }
    if (good) {
        c->pool = mf_get32(from + 12);
        c->yaw_steps = mf_get32(from + 16);
        c->precrop = mf_get32(from + 20);
        c->fitted = 1;
    }
    if (!good || c->pool < 1 || c->pool > MF_MAX_K || !(c->temperature > 0) || !(c->reach >= 0 && c->reach <= 1))
        return mf_fail(index->context, MFRGN_ERROR_FORMAT, "%s: its calibration contradicts itself; calibrate it again",
                       index->path);
    return MFRGN_OK;
}

double mf_camera_fov(const mfrgn_locate_options *o) {
    return !o->camera ? 0 : o->camera->fov > 0 ? o->camera->fov : -1;
}

mfrgn_status mf_calibration_of(const mfrgn_index *index, const mfrgn_locate_options *o, mf_calibration *c) {
    mf_calibration none = {.pool = MF_POOL, .temperature = MFRGN_DEFAULT_TEMPERATURE, .reach = 1}, stored = none;
    size_t bytes;
    const void *data = mf_index_calibration(index, &bytes);
    *c = none;
    if (!data)
        return MFRGN_OK;
    MF_TRY(decode(index, data, bytes, &stored));
    if ((int)stored.yaw_steps == o->yaw_steps && (int)stored.precrop == o->precrop && stored.fov == mf_camera_fov(o))
        *c = stored;
    return MFRGN_OK;
}

void mf_softmax(const mfrgn_hit *hits, size_t n, const mf_calibration *c, double *probability) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        int counts = i < c->pool && hits[i].tile != SIZE_MAX;
        probability[i] = counts ? exp(((double)hits[i].score - hits[0].score) / c->temperature) : 0;
        sum += probability[i];
    }
    for (size_t i = 0; i < n && sum > 0; i++)
        probability[i] *= c->reach / sum;
}

double mf_in_gallery(const mf_calibration *c, double best, double margin) {
    return 1 / (1 + exp(-(c->bias + c->score_weight * best + c->margin_weight * margin)));
}
