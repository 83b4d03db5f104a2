/* Zip archives whose entries are stored as they are: what PyTorch writes. */
#ifndef MFRGN_IO_ZIP_H
#define MFRGN_IO_ZIP_H

#include "io/reader.h"
#include "io/writer.h"

typedef struct mf_zip_entry {
    const char *name; /* not terminated */
    size_t name_size;
    uint64_t size, packed; /* bytes of the entry, and as they lie in the file */
    uint64_t offset;       /* of the local header */
    int method, flags;
} mf_zip_entry;

typedef struct mf_zip {
    mf_zip_entry *entry; /* sorted by name */
    size_t count;
    const char *first; /* the name of the file's first entry, which begins with the archive's name */
    size_t first_size;
    size_t directory; /* where the central directory begins: entries end before it */
} mf_zip;

/* Reads the central directory.  What it allocates lives in `arena`. */
mfrgn_status mf_zip_open(const mf_reader *r, mf_arena *arena, mf_zip *zip);
const mf_zip_entry *mf_zip_find(const mf_zip *zip, const char *name, size_t name_size); /* NULL: none */
/* Where an entry's bytes lie in the file; a compressed or encrypted one is MFRGN_ERROR_UNSUPPORTED. */
mfrgn_status mf_zip_data(const mf_reader *r, const mf_zip *zip, const mf_zip_entry *entry, const unsigned char **data,
                         size_t *bytes);

/* lib/io/zip_out.c: writes entries whose data begin at multiples of 64, so that they can be mapped and used. */
typedef struct mf_zip_out {
    mf_out *out;
    mf_bytes directory;
    uint64_t at, count;
    uint32_t crc[8][256]; /* tables of the checksum: here because the library has no globals that change */
} mf_zip_out;

void mf_zip_out_begin(mf_zip_out *zip, mfrgn_context *context, mf_out *out);
mfrgn_status mf_zip_out_add(mf_zip_out *zip, const char *name, const void *data, size_t bytes);
mfrgn_status mf_zip_out_end(mf_zip_out *zip); /* writes the central directory */
void mf_zip_out_free(mf_zip_out *zip);

#endif
