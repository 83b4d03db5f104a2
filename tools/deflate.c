/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 1950 and 1951: blocks with Huffman codes of their own; of matches only runs of one byte (distance 1), which is
 * what the filters of PNG leave of even areas. */
#include "deflate.h"

#include <stdint.h>
#include <string.h>

enum { BLOCK = 1 << 15, LITERALS = 286, END = 256, LONGEST = 15, RUN = 258 };

typedef struct bits {
    unsigned char *to;
    uint64_t held;
    unsigned count;
} bits;

static void put(bits *b, uint32_t value, unsigned count) {
    b->held |= (uint64_t)value << b->count;
    b->count += count;
    while (b->count >= 8) {
        *b->to++ = (unsigned char)b->held;
        b->held >>= 8;
        b->count -= 8;
    }
}

/* ---- codes ---- */

typedef struct code {
    unsigned char length[LITERALS];
    uint16_t bits[LITERALS]; /* as they are written: first bit lowest */
} code;

/* Depths of the symbols in a Huffman tree; the deepest is returned. */
static int grow(const uint32_t *frequency, int symbols, unsigned char *length) {
    uint32_t weight[2 * LITERALS];
    int parent[2 * LITERALS], order[LITERALS], used = 0, deepest = 0;
    for (int s = 0; s < symbols; s++) {
        if (!frequency[s])
            continue;
        int at = used++;
        for (; at > 0 && frequency[order[at - 1]] > frequency[s]; at--)
            order[at] = order[at - 1];
        order[at] = s;
    }
    for (int k = 0; k < used; k++)
        weight[k] = frequency[order[k]];
    int leaf = 0, node = used, made = used;
    for (; made < 2 * used - 1; made++) { /* the two lightest of two sorted rows */
        int two[2];
        for (int k = 0; k < 2; k++)
            two[k] = leaf < used && (node >= made || weight[leaf] <= weight[node]) ? leaf++ : node++;
        weight[made] = weight[two[0]] + weight[two[1]];
        parent[two[0]] = parent[two[1]] = made;
    }
    memset(length, 0, (size_t)symbols);
    int depth[2 * LITERALS];
    depth[made - 1] = 0;
    for (int k = made - 2; k >= 0; k--)
        depth[k] = depth[parent[k]] + 1;
    for (int k = 0; k < used; k++) {
        int d = used == 1 ? 1 : depth[k];
        length[order[k]] = (unsigned char)d;
        deepest = d > deepest ? d : deepest;
    }
    return deepest;
}

static void make_code(uint32_t *frequency, int symbols, code *c) {
    uint32_t next[LONGEST + 2] = {0}, count[LONGEST + 1] = {0};
    while (grow(frequency, symbols, c->length) > LONGEST) /* flatter, until it fits */
        for (int s = 0; s < symbols; s++)
            frequency[s] = frequency[s] ? frequency[s] / 2 + 1 : 0;
    for (int s = 0; s < symbols; s++)
        count[c->length[s]] += c->length[s] > 0;
    for (int l = 1; l <= LONGEST; l++)
        next[l + 1] = (next[l] + count[l]) << 1;
    for (int s = 0; s < symbols; s++) {
        uint32_t value = next[c->length[s]], turned = 0;
        if (!c->length[s])
            continue;
        next[c->length[s]]++;
        for (int k = 0; k < c->length[s]; k++)
            turned |= (value >> k & 1) << (c->length[s] - 1 - k);
        c->bits[s] = (uint16_t)turned;
    }
}

/* ---- blocks ---- */

/* Lengths of 3 .. 258: their symbol, and the bits that follow it. */
static int length_symbol(int length, uint32_t *extra, unsigned *extra_bits) {
    static const unsigned short base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                          31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const unsigned char more[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                         2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    int k = 28;
    while (base[k] > length)
        k--;
    *extra = (uint32_t)(length - base[k]);
    *extra_bits = more[k];
    return 257 + k;
}

/* Symbols of a block: literals, and 512 + length for a run. */
static size_t find_runs(const unsigned char *data, size_t size, int before, uint16_t *symbol) {
    size_t count = 0;
    for (size_t at = 0; at < size;) {
        size_t run = 0;
        while (before >= 0 && at + run < size && run < RUN && data[at + run] == before)
            run++;
        if (run >= 4) {
            symbol[count++] = (uint16_t)(512 + run);
            at += run;
        } else {
            before = data[at];
            symbol[count++] = data[at++];
        }
    }
    return count;
}

static void write_codes(bits *b, const code *c) {
    static const unsigned char order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    put(b, LITERALS - 257, 5);
    put(b, 0, 5); /* one distance code */
    put(b, 15, 4);
    for (int k = 0; k < 19; k++)
        put(b, order[k] < 16 ? 4 : 0, 3); /* lengths 0 .. 15 in four bits each */
    for (int s = 0; s <= LITERALS; s++) {
        unsigned l = s < LITERALS ? c->length[s] : 1, turned = (l & 1) << 3 | (l & 2) << 1 | (l & 4) >> 1 | l >> 3;
        put(b, turned, 4);
    }
}

static void write_block(bits *b, const uint16_t *symbol, size_t count, int last) {
    uint32_t frequency[LITERALS] = {0}, extra;
    unsigned extra_bits;
    code c;
    frequency[END] = 1;
    for (size_t k = 0; k < count; k++)
        frequency[symbol[k] < 512 ? symbol[k] : length_symbol(symbol[k] - 512, &extra, &extra_bits)]++;
    make_code(frequency, LITERALS, &c);
    put(b, (uint32_t)last | 2 << 1, 3);
    write_codes(b, &c);
    for (size_t k = 0; k < count; k++) {
        if (symbol[k] < 512) {
            put(b, c.bits[symbol[k]], c.length[symbol[k]]);
            continue;
        }
        int s = length_symbol(symbol[k] - 512, &extra, &extra_bits);
        put(b, c.bits[s], c.length[s]);
        put(b, extra, extra_bits + 1); /* and the distance, one bit: 0 */
    }
    put(b, c.bits[END], c.length[END]);
}

static uint32_t adler(const unsigned char *data, size_t size) {
    uint32_t a = 1, b = 0;
    while (size) {
        size_t n = size < 5552 ? size : 5552;
        for (size_t k = 0; k < n; k++) {
            a += data[k];
            b += a;
        }
        a %= 65521;
        b %= 65521;
        data += n;
        size -= n;
    }
    return b << 16 | a;
}

size_t deflate_bound(size_t size) {
    return size * 2 + (size / BLOCK + 1) * 256 + 64; /* a literal takes 15 bits at most */
}

size_t deflate_fast(const unsigned char *data, size_t size, unsigned char *out) {
    uint16_t symbol[BLOCK];
    bits b = {out, 0, 0};
    uint32_t sum = adler(data, size);
    put(&b, 0x0178, 16);
    for (size_t at = 0; at < size || at == 0;) {
        size_t n = size - at < BLOCK ? size - at : BLOCK;
        size_t count = find_runs(data + at, n, at ? data[at - 1] : -1, symbol);
        at += n;
        write_block(&b, symbol, count, at == size);
        if (!n)
            break;
    }
    put(&b, 0, (8 - b.count) & 7);
    for (int k = 0; k < 4; k++)
        *b.to++ = (unsigned char)(sum >> (24 - 8 * k));
    return (size_t)(b.to - out);
}
