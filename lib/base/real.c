/* Decimal numbers to doubles, correctly rounded whatever the number of digits, in every locale.
 *
 * strtod() follows the locale's decimal sign, and strtod_l() needs a locale object, which the C library allocates: so
 * this is our own.  Coordinates have up to 17 digits and a small exponent; most take the fast path (both factors are
 * exact doubles: one rounding).  The rest is a quotient of two big integers, taken bit by bit: slow, short, exact. */
#include <math.h>
#include <string.h>

#include "base/base.h"

enum {
    DIGITS = 800, /* as many as any double's half-way point has; more only tell "a bit above" */
    LIMBS = 200   /* of 32 bits: 10^(DIGITS + 345) times 2 fits, and so does a shift by 64 */
};

typedef struct decimal {
    unsigned char digit[DIGITS + 1];
    int count;
    long exponent; /* value = 0.digits... as an integer of `count` digits times 10^exponent */
} decimal;

static int is_digit(char c) {
    return c >= '0' && c <= '9';
}

static void add_digit(decimal *d, int digit, int after_point) {
    if (d->count == 0 && digit == 0) {
        d->exponent -= after_point;
        return;
    }
    if (d->count < DIGITS) {
        d->digit[d->count++] = (unsigned char)digit;
        d->exponent -= after_point;
        return;
    }
    d->exponent += !after_point;
    if (digit && d->count == DIGITS)
        d->digit[d->count++] = 1, d->exponent--; /* sticky: the value lies a bit above the digits kept */
}

static int read_exponent(const char **text, long *exponent) {
    const char *c = *text;
    int negative = *c == '-';
    long n = 0;
    c += *c == '-' || *c == '+';
    if (!is_digit(*c))
        return 0;
    for (; is_digit(*c); c++)
        n = n < 100000 ? n * 10 + (*c - '0') : n;
    *exponent = negative ? -n : n;
    *text = c;
    return 1;
}

static int read_decimal(const char *c, decimal *d) {
    int digits = 0;
    long exponent = 0;
    d->count = 0;
    d->exponent = 0;
    for (; is_digit(*c); c++, digits++)
        add_digit(d, *c - '0', 0);
    if (*c == '.')
        for (c++; is_digit(*c); c++, digits++)
            add_digit(d, *c - '0', 1);
    if (!digits)
        return 0;
    if (*c == 'e' || *c == 'E') {
        c++;
        if (!read_exponent(&c, &exponent))
            return 0;
    }
    d->exponent += exponent;
    return *c == 0;
}

/* ---- big integers ---- */

typedef struct big {
    uint32_t limb[LIMBS];
    int count;
} big;

static void multiply_add(big *b, uint32_t factor, uint32_t add) {
    uint64_t carry = add;
    for (int i = 0; i < b->count; i++) {
        carry += (uint64_t)b->limb[i] * factor;
        b->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry && b->count < LIMBS)
        b->limb[b->count++] = (uint32_t)carry;
}

static void multiply_power_of_ten(big *b, long power) {
    for (; power >= 9; power -= 9)
        multiply_add(b, 1000000000u, 0);
    for (; power > 0; power--)
        multiply_add(b, 10, 0);
}

static int bits_of(const big *b) {
    return b->count ? 32 * b->count - __builtin_clz(b->limb[b->count - 1]) : 0;
}

static void shift_left(big *b, int bits) {
    int words = bits / 32;
    memmove(b->limb + words, b->limb, (size_t)b->count * sizeof(uint32_t));
    memset(b->limb, 0, (size_t)words * sizeof(uint32_t));
    b->count += words;
    if (bits % 32)
        multiply_add(b, 1u << bits % 32, 0);
}

static int compare(const big *a, const big *b) {
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    for (int i = a->count - 1; i >= 0; i--)
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

static void subtract(big *a, const big *b) {
    int64_t borrow = 0;
    for (int i = 0; i < a->count; i++) {
        borrow += (int64_t)a->limb[i] - (i < b->count ? b->limb[i] : 0);
        a->limb[i] = (uint32_t)borrow;
        borrow >>= 32;
    }
    while (a->count && a->limb[a->count - 1] == 0)
        a->count--;
}

/* numerator / denominator, not 0, as a double. */
static double divide(big *numerator, big *denominator) {
    int exponent = bits_of(numerator) - bits_of(denominator);
    shift_left(exponent < 0 ? numerator : denominator, exponent < 0 ? -exponent : exponent);
    if (compare(numerator, denominator) < 0) {
        shift_left(numerator, 1);
        exponent--;
    }
    /* Now the quotient is in [1, 2) times 2^exponent.  Subnormal numbers have fewer bits. */
    int bits = exponent < -1022 ? 53 + (exponent + 1022) : 53;
    uint64_t quotient = 0;
    if (bits < 0)
        return 0;
    for (int i = 0; i < bits; i++) {
        quotient <<= 1;
        if (compare(numerator, denominator) >= 0) {
            subtract(numerator, denominator);
            quotient |= 1;
        }
        shift_left(numerator, 1);
    }
    int rest = compare(numerator, denominator); /* against half a unit of the last place */
    if (rest > 0 || (rest == 0 && quotient & 1))
        quotient++;
    return ldexp((double)quotient, exponent - bits + 1);
}

static double exact(const decimal *d) {
    big numerator = {{0}, 0}, denominator = {{1}, 1};
    numerator.count = 1;
    for (int i = 0; i < d->count; i++)
        multiply_add(&numerator, 10, d->digit[i]);
    multiply_power_of_ten(d->exponent > 0 ? &numerator : &denominator, d->exponent > 0 ? d->exponent : -d->exponent);
    return divide(&numerator, &denominator);
}

int mf_read_double(const char *text, double *value) {
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    decimal d;
    int negative = *text == '-';
    if (!read_decimal(text + (*text == '-' || *text == '+'), &d))
        return 0;
    double result = 0;
    if (d.count && d.count + d.exponent > 310)
        return 0;
    if (d.count && d.count <= 15 && d.exponent >= -22 && d.exponent <= 22) {
        for (int i = 0; i < d.count; i++)
            result = result * 10 + d.digit[i];
        result = d.exponent < 0 ? result / power[-d.exponent] : result * power[d.exponent];
    } else if (d.count && d.count + d.exponent > -330) {
        result = exact(&d);
    }
    if (!isfinite(result))
        return 0;
    *value = negative ? -result : result;
    return 1;
}
