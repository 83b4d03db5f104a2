#include "base/checksum.h"

#include <string.h>

#define P1 0x9e3779b185ebca87u
#define P2 0xc2b2ae3d27d4eb4fu
#define P3 0x165667b19e3779f9u
#define P4 0x85ebca77c2b2ae63u
#define P5 0x27d4eb2f165667c5u

static inline uint64_t rotate(uint64_t x, int by) {
    return x << by | x >> (64 - by);
}

static inline uint64_t read64(const unsigned char *p) {
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline uint32_t read32(const unsigned char *p) {
    uint32_t v;
    memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline uint64_t mix(uint64_t lane, uint64_t word) {
    return rotate(lane + word * P2, 31) * P1;
}

static void add_stripes(uint64_t lane[4], const unsigned char *p, size_t stripes) {
    uint64_t a = lane[0], b = lane[1], c = lane[2], d = lane[3];
    for (; stripes; stripes--, p += 32) {
        a = mix(a, read64(p));
        b = mix(b, read64(p + 8));
        c = mix(c, read64(p + 16));
        d = mix(d, read64(p + 24));
    }
    lane[0] = a;
    lane[1] = b;
    lane[2] = c;
    lane[3] = d;
}

void mf_checksum_begin(mf_checksum_state *s) {
    memset(s, 0, sizeof(*s));
    s->lane[0] = P1 + P2;
    s->lane[1] = P2;
    s->lane[3] = 0 - P1;
}

void mf_checksum_add(mf_checksum_state *s, const void *data, size_t bytes) {
    const unsigned char *p = data;
    size_t held = s->bytes % 32;
    if (!bytes)
        return;
    s->bytes += bytes;
    if (held) {
        size_t take = bytes < 32 - held ? bytes : 32 - held;
        memcpy(s->rest + held, p, take);
        p += take;
        bytes -= take;
        if (held + take < 32)
            return;
        add_stripes(s->lane, s->rest, 1);
    }
    add_stripes(s->lane, p, bytes / 32);
    memcpy(s->rest, p + bytes / 32 * 32, bytes % 32);
}

static uint64_t join_lanes(const uint64_t lane[4]) {
    uint64_t h = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
    for (int i = 0; i < 4; i++)
        h = (h ^ mix(0, lane[i])) * P1 + P4;
    return h;
}

uint64_t mf_checksum_end(const mf_checksum_state *s) {
    uint64_t h = s->bytes >= 32 ? join_lanes(s->lane) : P5;
    const unsigned char *p = s->rest;
    size_t left = s->bytes % 32;
    h += s->bytes;
    for (; left >= 8; left -= 8, p += 8)
        h = rotate(h ^ mix(0, read64(p)), 27) * P1 + P4;
    if (left >= 4) {
        h = rotate(h ^ read32(p) * P1, 23) * P2 + P3;
        left -= 4;
        p += 4;
    }
    for (; left; left--, p++)
        h = rotate(h ^ *p * P5, 11) * P1;
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}

uint64_t mf_checksum(const void *data, size_t bytes) {
    mf_checksum_state s;
    mf_checksum_begin(&s);
    mf_checksum_add(&s, data, bytes);
    return mf_checksum_end(&s);
}
