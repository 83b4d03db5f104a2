/* Light: the sun, the sky, and a camera's exposure. */
#include "data/world/world.h"

void mf_look_make(mf_look *l, const mf_style *style, uint64_t hash, int aerial) {
    uint64_t h = mf_mix(hash ^ (aerial ? 0x61657269 : 0x67726f75));
    float azimuth = mf_between(h, 0, 0.3f, 0.7f), elevation = mf_between(h, 1, style->sun_low, style->sun_high), c, s;
    *l = (mf_look){.hash = h};
    if (aerial) /* flown around noon */
        azimuth = mf_between(h, 0, 0.42f, 0.58f), elevation = elevation * 0.5f + style->sun_high * 0.5f;
    mf_sincos(elevation, &s, &c);
    l->sun_z = s;
    mf_sincos(azimuth, &l->sun_x, &l->sun_y);
    l->sun_x *= c;
    l->sun_y *= c;
    l->cloud = mf_rise(mf_unit(h, 2), aerial ? 0.8f : 0.55f, 1);
    float low = 1 - mf_rise(s, 0.15f, 0.75f), sun = 2.5f * (1 - 0.8f * l->cloud);
    l->sun = (mf_rgb){sun, sun * (0.95f - 0.13f * low), sun * (0.86f - 0.3f * low)};
    l->sky = mf_blend((mf_rgb){0.52f, 0.62f, 0.8f}, (mf_rgb){1.0f, 1.02f, 1.05f}, l->cloud);
    l->zenith = mf_blend((mf_rgb){0.16f, 0.34f, 0.78f}, (mf_rgb){0.72f, 0.75f, 0.8f}, l->cloud);
    l->horizon = mf_blend((mf_rgb){0.75f, 0.86f, 1.0f}, (mf_rgb){0.92f, 0.94f, 0.97f}, l->cloud);
    l->haze = mf_between(h, 3, 500, 1800) * (1.2f - style->haze);
    float exposure = mf_between(h, 4, 0.36f, 0.54f) * (1 + 0.8f * l->cloud), warm = mf_between(h, 5, -0.07f, 0.07f);
    l->gain = (mf_rgb){exposure * (1 + warm), exposure, exposure * (1 - warm)};
    float season = mf_unit(h, 6);
    l->autumn = season < style->autumn ? mf_between(h, 7, 0.3f, 1) : 0;
    float snow = aerial ? style->snow * 0.3f : style->snow; /* nobody flies surveys over snow if he can wait */
    l->snow = season > 1 - snow ? mf_between(h, 7, 0.35f, 0.9f) : 0;
    l->dry = mf_unit(h, 8) * 0.6f;
    l->leaf_tint = mf_blend((mf_rgb){1, 1, 1}, (mf_rgb){2.6f, 1.15f, 0.5f}, l->autumn * 0.6f);
    l->leaf_tint = mf_blend(l->leaf_tint, (mf_rgb){1.7f, 1.4f, 1.5f}, l->snow * 0.6f);
}

mf_rgb mf_light(const mf_look *l, mf_rgb albedo, float nx, float ny, float nz, float lit, float open) {
    float d = nx * l->sun_x + ny * l->sun_y + nz * l->sun_z;
    float direct = d > 0 ? d * lit : 0, ambient = (0.62f + 0.38f * nz) * open, bounce = 0.16f * (1 - nz) * l->sun.g;
    return (mf_rgb){albedo.r * (l->sun.r * direct + l->sky.r * ambient + bounce),
                    albedo.g * (l->sun.g * direct + l->sky.g * ambient + bounce * 0.97f),
                    albedo.b * (l->sun.b * direct + l->sky.b * ambient + bounce * 0.9f)};
}

/* Hills on the horizon, the same from everywhere in a town. */
static float hills(const mf_scene *s, float turn) {
    int32_t seed = (int32_t)(s->world->hash >> 40);
    float x = turn * 24;
    return 0.015f + s->style->haze * 0.03f +
           0.09f * (1 - s->style->haze) * mf_noise(x, 0.5f, seed, 0) * mf_noise(x / 4, 0.5f, seed, 9) +
           0.012f * mf_noise(x * 4, 0.5f, seed, 5);
}

mf_rgb mf_sky(const mf_scene *s, float dx, float dy, float tangent) {
    const mf_look *l = &s->look;
    float length = sqrtf(1 + tangent * tangent), dz = tangent / length, t = dz > 0 ? dz : 0;
    float turn = mf_azimuth(dx, dy);
    if (tangent < hills(s, turn + 0.5f))
        return mf_blend(l->horizon, mf_times((mf_rgb){0.10f, 0.14f, 0.14f}, l->sky),
                        0.45f * (1 - s->style->haze * 0.5f));
    mf_rgb c = mf_blend(l->horizon, l->zenith, mf_rise(t, -0.1f, 0.75f));
    float along = (dx * l->sun_x + dy * l->sun_y) / length + dz * l->sun_z;
    float glow = along > 0.93f ? (along - 0.93f) * 14 : 0;
    c = mf_blend(c, (mf_rgb){2, 1.9f, 1.6f}, glow * glow * glow * 0.6f * (1 - l->cloud));
    /* clouds on a plane overhead */
    float k = 3 / (dz + 0.16f), u = dx / length * k, v = dy / length * k;
    int32_t seed = (int32_t)(l->hash & 0xffff);
    float n = 0.55f * mf_noise(u, v, seed, 3) + 0.3f * mf_noise(u * 2.3f, v * 2.3f, 7, seed) +
              0.15f * mf_noise(u * 5, v * 5, seed, 11);
    float cover = mf_rise(n, 0.62f - 0.3f * mf_unit(l->hash, 9), 0.85f);
    return mf_blend(c, mf_scale((mf_rgb){1.25f, 1.25f, 1.27f}, 1 - 0.25f * l->cloud), cover * 0.75f);
}

/* Gain, a film's toe and shoulder, gamma 2. */
void mf_develop(const mf_look *l, mf_rgb light, unsigned char *to) {
    float c[3] = {light.r * l->gain.r, light.g * l->gain.g, light.b * l->gain.b};
    for (int k = 0; k < 3; k++) {
        float x = c[k], y = x * (2.3f * x + 0.06f) / (x * (2.1f * x + 0.75f) + 0.12f);
        to[k] = (unsigned char)(sqrtf(mf_clamp(y, 0, 1)) * 255 + 0.5f);
    }
}
