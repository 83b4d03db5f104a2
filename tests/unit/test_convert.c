/* Conversions against an oracle that knows nothing of bits: the nearest value in a table of all values of the type,
 * each made with ldexp(). */
#include <math.h>
#include <string.h>

#include "io/weights.h"
#include "unit.h"

/* ck_assert() leaves a mark in a file each time, which is slow a million times. */
#define EXPECT(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)

typedef struct kind {
    mf_dtype dtype;
    int mantissa, bias; /* bits of the mantissa; the exponent's bias */
    unsigned infinity;  /* bits of +infinity: one more than the largest value */
} kind;

static const kind kinds[] = {{MF_F16, 10, 15, 0x7c00}, {MF_BF16, 7, 127, 0x7f80}};

static double tables[2][0x8000];

/* The value of bits below infinity.  Infinity itself gets the value that would come next: rounding knows no end. */
static double value_of(const kind *k, unsigned bits) {
    int exponent = (int)(bits >> k->mantissa);
    double mantissa = bits & ((1u << k->mantissa) - 1);
    if (exponent > 0)
        mantissa += 1u << k->mantissa;
    return ldexp(mantissa, (exponent ? exponent : 1) - k->bias - k->mantissa);
}

static void make_table(const kind *k) {
    double *table = tables[k - kinds];
    for (unsigned b = 0; b <= k->infinity; b++)
        table[b] = value_of(k, b);
}

static unsigned nearest(const kind *k, double x) {
    const double *table = tables[k - kinds];
    unsigned sign = signbit(x) ? 0x8000 : 0, low = 0, high = k->infinity;
    x = fabs(x);
    if (x >= table[high])
        return sign | high;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (table[middle] <= x)
            low = middle;
        else
            high = middle;
    }
    double below = x - table[low], above = table[high] - x; /* exact: near each other, or x is tiny */
    return sign | (below < above || (below == above && low % 2 == 0) ? low : high);
}

static uint64_t random_state = 88172645463325252u;

static uint64_t random_bits(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

START_TEST(small_to_large) {
    const kind *k = &kinds[_i];
    static uint16_t all[65536];
    static float bulk[65536];
    static double wide[65536];
    for (unsigned b = 0; b < 65536; b++)
        all[b] = (uint16_t)b;
    mf_convert(MF_F32, bulk, k->dtype, all, 65536);
    mf_convert(MF_F64, wide, k->dtype, all, 65536);
    for (unsigned b = 0; b < 65536; b++) {
        float one;
        uint16_t back;
        unsigned magnitude = b & 0x7fff;
        double expected = magnitude == k->infinity ? INFINITY : magnitude < k->infinity ? value_of(k, magnitude) : NAN;
        mf_convert(MF_F32, &one, k->dtype, &all[b], 1); /* the tail of the bulk: the portable code */
        EXPECT(memcmp(&one, &bulk[b], 4) == 0, "%04x", b);
        mf_convert(k->dtype, &back, MF_F32, &bulk[b], 1);
        if (isnan(expected)) {
            EXPECT(isnan(bulk[b]) && isnan(wide[b]), "%04x", b);
            /* quiet, with its payload */
            EXPECT(back == (b | 1u << (k->mantissa - 1)), "%04x: %04x", b, back);
            continue;
        }
        EXPECT(fabs(bulk[b]) == expected && !signbit(bulk[b]) == (b < 0x8000), "%04x: %g", b, bulk[b]);
        EXPECT(fabs(wide[b]) == expected && !signbit(wide[b]) == (b < 0x8000), "%04x: %g", b, wide[b]);
        EXPECT(back == b, "%04x: %04x", b, back);
    }
}
END_TEST

enum { MANY = 1 << 17 };

/* Random bits, and the neighbourhood of every value and of every middle between two: where rounding goes wrong. */
START_TEST(large_to_small) {
    const kind *k = &kinds[_i];
    static float f[MANY];
    static double d[MANY];
    static uint16_t from_f[MANY], from_d[MANY];
    make_table(k);
    const double *table = tables[_i];
    for (int i = 0; i < MANY; i++) {
        unsigned b = (unsigned)(random_bits() % k->infinity);
        double x = random_bits() % 2 ? table[b] : (table[b] + table[b + 1]) / 2;
        int where = (int)(random_bits() % 4);
        if (where == 0) {
            uint32_t bits = (uint32_t)random_bits();
            memcpy(&f[i], &bits, 4);
            d[i] = f[i];
        } else {
            d[i] = where == 1 ? x : nextafter(x, where == 2 ? 0 : INFINITY);
            d[i] = random_bits() % 2 ? -d[i] : d[i];
            f[i] = where == 1 ? (float)d[i] : nextafterf((float)d[i], where == 2 ? 0 : INFINITY);
        }
    }
    mf_convert(k->dtype, from_f, MF_F32, f, MANY);
    mf_convert(k->dtype, from_d, MF_F64, d, MANY);
    for (int i = 0; i < MANY; i++) {
        uint16_t one;
        mf_convert(k->dtype, &one, MF_F32, &f[i], 1);
        EXPECT(one == from_f[i], "%a: %04x alone, %04x in bulk", f[i], one, from_f[i]);
        if (isnan(f[i])) {
            EXPECT((from_f[i] & 0x7fff) > k->infinity, "a NaN is lost");
            EXPECT((from_d[i] & 0x7fff) > k->infinity, "a NaN is lost");
            continue;
        }
        EXPECT(from_f[i] == nearest(k, f[i]), "%a: %04x, expected %04x", f[i], from_f[i], nearest(k, f[i]));
        EXPECT(from_d[i] == nearest(k, d[i]), "%a: %04x, expected %04x", d[i], from_d[i], nearest(k, d[i]));
    }
}
END_TEST

START_TEST(integers) {
    static const int64_t odd[] = {0,
                                  1,
                                  -1,
                                  65519,
                                  65520,
                                  65521,
                                  INT64_MAX,
                                  INT64_MIN,
                                  257,
                                  258,
                                  259,
                                  0x0101000000000001,
                                  0x0080800000000000 + 1,
                                  -0x0101000000000001,
                                  (1ll << 53) + 1,
                                  (1ll << 24) + 1};
    int64_t v[512];
    double d[512];
    float f[512];
    uint16_t h[512], b[512];
    for (size_t i = 0; i < 512; i++)
        v[i] = i < sizeof(odd) / sizeof(*odd) ? odd[i] : (int64_t)random_bits() >> (random_bits() % 64);
    mf_convert(MF_F64, d, MF_I64, v, 512);
    mf_convert(MF_F32, f, MF_I64, v, 512);
    mf_convert(MF_F16, h, MF_I64, v, 512);
    mf_convert(MF_BF16, b, MF_I64, v, 512);
    make_table(&kinds[0]);
    make_table(&kinds[1]);
    for (size_t i = 0; i < 512; i++) {
        ck_assert(d[i] == (double)v[i] && f[i] == (float)v[i]);
        ck_assert_uint_eq(h[i], nearest(&kinds[0], (double)v[i]));
        /* (double)v may round v to a middle between two bf16: then the last bits of v decide. */
        int64_t cut = v[i] & 0x7ff;
        double exact = (double)(v[i] - cut) + (cut ? 1024.0 : 0.0);
        ck_assert_uint_eq(b[i], nearest(&kinds[1], v[i] > 1ll << 53 || v[i] < -(1ll << 53) ? exact : (double)v[i]));
    }
}
END_TEST

START_TEST(others) {
    static const struct {
        mf_dtype from;
        unsigned char bytes[8];
        double value;
    } cases[] = {{MF_U8, {200}, 200},
                 {MF_I8, {200}, -56},
                 {MF_I16, {0, 128}, -32768},
                 {MF_I32, {0, 0, 0, 128}, -2147483648.0},
                 {MF_BOOL, {1}, 1},
                 {MF_BOOL, {7}, 1},
                 {MF_F32, {0, 0, 0x80, 0x3f}, 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        double d;
        float f;
        mf_convert(MF_F64, &d, cases[i].from, cases[i].bytes, 1);
        mf_convert(MF_F32, &f, cases[i].from, cases[i].bytes, 1);
        ck_assert_double_eq(d, cases[i].value);
        ck_assert_float_eq(f, (float)cases[i].value);
    }
    double d[2] = {1e300, 0.1};
    float f[2];
    mf_convert(MF_F32, f, MF_F64, d, 2);
    ck_assert(isinf(f[0]) && f[1] == 0.1f);
    mf_convert(MF_F32, f, MF_F32, f, 0);
}
END_TEST

START_TEST(unaligned) {
    char source[2 * 100 + 1], target[4 * 100 + 3];
    for (uint16_t i = 0; i < 100; i++)
        memcpy(source + 1 + 2 * i, (uint16_t[]){(uint16_t)(0x3c00 + i)}, 2);
    mf_convert(MF_F32, target + 3, MF_F16, source + 1, 100);
    for (int i = 0; i < 100; i++) {
        float f;
        memcpy(&f, target + 3 + 4 * i, 4);
        ck_assert_float_eq(f, (float)(1 + i / 1024.0));
    }
}
END_TEST

START_TEST(nonfinite) {
    enum { N = 5000 };
    static const size_t place[] = {0, 1, 2047, 2048, 2049, N - 1};
    static const mf_dtype types[] = {MF_F32, MF_F64, MF_F16, MF_BF16};
    static double d[N];
    static char data[8 * N + 1];
    for (size_t t = 0; t < 4; t++)
        for (size_t p = 0; p < 6; p++)
            for (int what = 0; what < 3; what++) {
                size_t size = mf_dtype_size(types[t]);
                for (size_t i = 0; i < N; i++)
                    d[i] = i % 2 ? 65504 : -0.0;
                mf_convert(types[t], data + 1, MF_F64, d, N);
                ck_assert_uint_eq(mf_find_nonfinite(types[t], data + 1, N), N);
                d[place[p]] = what == 0 ? NAN : what == 1 ? INFINITY : -INFINITY;
                d[N - 1] = NAN;
                mf_convert(types[t], data + 1, MF_F64, d, N);
                ck_assert_uint_eq(mf_find_nonfinite(types[t], data + 1, N), place[p]);
                ck_assert_uint_eq(mf_find_nonfinite(types[t], data + 1, place[p]), place[p]);
                ck_assert_uint_eq(mf_find_nonfinite(types[t], data + 1 + size * place[p], 1), 0);
            }
    memset(data, 0xff, sizeof(data));
    ck_assert_uint_eq(mf_find_nonfinite(MF_I64, data, N), N);
}
END_TEST

int main(void) {
    Suite *s = suite_create("convert");
    TCase *t = tcase_create("convert");
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, small_to_large, 0, 2);
    tcase_add_loop_test(t, large_to_small, 0, 2);
    tcase_add_test(t, integers);
    tcase_add_test(t, others);
    tcase_add_test(t, unaligned);
    tcase_add_test(t, nonfinite);
    return mf_run_suite(s);
}
