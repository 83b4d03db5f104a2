#include "io/zip.h"

enum { ALIGNMENT = 64, UTF8_NAMES = 0x0800, JANUARY_1980 = 0x0021, VERSION = 20, VERSION_64 = 45 };

/* From here on 32 bits do not do. */
#ifndef MF_ZIP_LIMIT
#define MF_ZIP_LIMIT UINT32_MAX
#endif

/* ---- CRC-32, eight bytes a step (Kounavis and Berry, "slicing-by-8") ---- */

static void make_crc(uint32_t table[8][256]) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
        table[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++)
            table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 0xff];
}

static uint32_t crc32_of(uint32_t table[8][256], const unsigned char *p, size_t bytes) {
    uint32_t c = UINT32_MAX;
    for (; bytes >= 8; bytes -= 8, p += 8) {
        uint32_t a = mf_le32(p) ^ c, b = mf_le32(p + 4);
        c = table[7][a & 0xff] ^ table[6][a >> 8 & 0xff] ^ table[5][a >> 16 & 0xff] ^ table[4][a >> 24] ^
            table[3][b & 0xff] ^ table[2][b >> 8 & 0xff] ^ table[1][b >> 16 & 0xff] ^ table[0][b >> 24];
    }
    for (; bytes; bytes--, p++)
        c = c >> 8 ^ table[0][(c ^ *p) & 0xff];
    return ~c;
}

/* ---- records ---- */

void mf_zip_out_begin(mf_zip_out *zip, mfrgn_context *context, mf_out *out) {
    zip->out = out;
    zip->directory = (mf_bytes){context, NULL, 0, 0, MFRGN_OK};
    zip->at = zip->count = 0;
    make_crc(zip->crc);
}

void mf_zip_out_free(mf_zip_out *zip) {
    mf_bytes_free(&zip->directory);
}

static uint64_t limit32(uint64_t value) {
    return value >= MF_ZIP_LIMIT ? UINT32_MAX : value;
}

/* What local and central headers share, from the version on. */
static void put_common(mf_bytes *b, int version, uint32_t crc, uint64_t bytes, size_t name) {
    mf_bytes_le(b, (uint64_t)version, 2);
    mf_bytes_le(b, UTF8_NAMES, 2);
    mf_bytes_le(b, 0, 4); /* stored; midnight */
    mf_bytes_le(b, JANUARY_1980, 2);
    mf_bytes_le(b, crc, 4);
    mf_bytes_le(b, limit32(bytes), 4);
    mf_bytes_le(b, limit32(bytes), 4);
    mf_bytes_le(b, name, 2);
}

static void put_local(mf_bytes *b, const mf_zip_out *zip, const char *name, uint32_t crc, uint64_t bytes) {
    size_t large = bytes >= MF_ZIP_LIMIT ? 20 : 0, head = 30 + strlen(name) + large + 4;
    size_t fill = (size_t)(ALIGNMENT - (zip->at + head) % ALIGNMENT) % ALIGNMENT;
    mf_bytes_le(b, 0x04034b50, 4);
    put_common(b, large ? VERSION_64 : VERSION, crc, bytes, strlen(name));
    mf_bytes_le(b, large + 4 + fill, 2);
    mf_bytes_text(b, name);
    if (large) {
        mf_bytes_le(b, 1, 2);
        mf_bytes_le(b, 16, 2);
        mf_bytes_le(b, bytes, 8);
        mf_bytes_le(b, bytes, 8);
    }
    mf_bytes_text(b, "FB"); /* PyTorch's own field for the same end */
    mf_bytes_le(b, fill, 2);
    mf_bytes_fill(b, 'Z', fill);
}

static void put_central(mf_zip_out *zip, const char *name, uint32_t crc, uint64_t bytes) {
    mf_bytes *b = &zip->directory;
    int large = bytes >= MF_ZIP_LIMIT, far = zip->at >= MF_ZIP_LIMIT;
    uint64_t extra = (uint64_t)(16 * large + 8 * far);
    mf_bytes_le(b, 0x02014b50, 4);
    mf_bytes_le(b, VERSION_64, 2);
    put_common(b, extra ? VERSION_64 : VERSION, crc, bytes, strlen(name));
    mf_bytes_le(b, extra ? extra + 4 : 0, 2);
    mf_bytes_le(b, 0, 8); /* no comment, disk 0, no attributes.. */
    mf_bytes_le(b, 0, 2); /* ..at all */
    mf_bytes_le(b, limit32(zip->at), 4);
    mf_bytes_text(b, name);
    if (extra) {
        mf_bytes_le(b, 1, 2);
        mf_bytes_le(b, extra, 2);
    }
    if (large) {
        mf_bytes_le(b, bytes, 8);
        mf_bytes_le(b, bytes, 8);
    }
    if (far)
        mf_bytes_le(b, zip->at, 8);
}

mfrgn_status mf_zip_out_add(mf_zip_out *zip, const char *name, const void *data, size_t bytes) {
    mf_bytes local = {zip->directory.context, NULL, 0, 0, MFRGN_OK};
    uint32_t crc = crc32_of(zip->crc, data, bytes);
    put_local(&local, zip, name, crc, bytes);
    put_central(zip, name, crc, bytes);
    mfrgn_status status = local.status != MFRGN_OK ? local.status : zip->directory.status;
    if (status == MFRGN_OK)
        status = mf_out_write(zip->out, local.data, local.size);
    if (status == MFRGN_OK)
        status = mf_out_write(zip->out, data, bytes);
    zip->at += local.size + bytes;
    zip->count++;
    mf_bytes_free(&local);
    return status;
}

/* The zip64 records are always there, as in PyTorch's files. */
mfrgn_status mf_zip_out_end(mf_zip_out *zip) {
    mf_bytes *b = &zip->directory;
    uint64_t offset = zip->at, size = b->size, count16 = zip->count >= UINT16_MAX ? UINT16_MAX : zip->count;
    mf_bytes_le(b, 0x06064b50, 4);
    mf_bytes_le(b, 44, 8);
    mf_bytes_le(b, VERSION_64, 2);
    mf_bytes_le(b, VERSION_64, 2);
    mf_bytes_le(b, 0, 8); /* disks */
    mf_bytes_le(b, zip->count, 8);
    mf_bytes_le(b, zip->count, 8);
    mf_bytes_le(b, size, 8);
    mf_bytes_le(b, offset, 8);
    mf_bytes_le(b, 0x07064b50, 4);
    mf_bytes_le(b, 0, 4);
    mf_bytes_le(b, offset + size, 8);
    mf_bytes_le(b, 1, 4);
    mf_bytes_le(b, 0x06054b50, 4);
    mf_bytes_le(b, 0, 4);
    mf_bytes_le(b, count16, 2);
    mf_bytes_le(b, count16, 2);
    mf_bytes_le(b, limit32(size), 4);
    mf_bytes_le(b, limit32(offset), 4);
    mf_bytes_le(b, 0, 2);
    MF_TRY(b->status);
    return mf_out_write(zip->out, b->data, b->size);
}
