/* A checksum of 64 bits: XXH64 (Y. Collet, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md) with seed 0,
 * about as fast as memory is read.  Against damage, not against forgery. */
#ifndef MFRGN_BASE_CHECKSUM_H
#define MFRGN_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

typedef struct mf_checksum_state {
    uint64_t lane[4];
    uint64_t bytes;
    unsigned char rest[32]; /* bytes % 32 of them */
} mf_checksum_state;

void mf_checksum_begin(mf_checksum_state *s);
void mf_checksum_add(mf_checksum_state *s, const void *data, size_t bytes);
uint64_t mf_checksum_end(const mf_checksum_state *s);
uint64_t mf_checksum(const void *data, size_t bytes);

#endif
