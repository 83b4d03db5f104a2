/* The file that a build writes as it goes, PATH.partial: a header that says what is being built, then a record a tile, in
 * order.  A build that was killed goes on after the last record that is whole.  The file is locked while it is written. */
#ifndef MFRGN_GALLERY_PARTIAL_H
#define MFRGN_GALLERY_PARTIAL_H

#include "gallery/format.h"
#include "io/file.h"

typedef struct mf_partial_what {
    uint64_t model, preparation, processing; /* hashes */
    mf_source_range source;
    uint32_t size;
} mf_partial_what;

typedef enum mf_record_state { MF_RECORD_EMBEDDED = 0, MF_RECORD_SKIPPED = 1 } mf_record_state;

typedef struct mf_partial {
    mfrgn_context *context;
    char *path;
    int fd;
    mf_partial_what what;
    size_t record_bytes, records, unsynced;
    unsigned char *record; /* room for one */
    mf_file file;          /* once mapped */
} mf_partial;

/* resume: keeps the records that are there, if they are of the same build. */
mfrgn_status mf_partial_open(mfrgn_context *context, const char *path, const mf_partial_what *what, int resume,
                             mf_partial **partial);
/* values NULL: skipped */
mfrgn_status mf_partial_append(mf_partial *p, const float *values);
/* The records for reading; no more are appended. */
mfrgn_status mf_partial_map(mf_partial *p);
mf_record_state mf_partial_state(const mf_partial *p, size_t record);
const float *mf_partial_values(const mf_partial *p, size_t record);
/* done: the file is removed.  NULL is fine. */
void mf_partial_close(mf_partial *p, int done);

/* Keeps the other writers of the gallery at `path` away, as a build does, until it is released.  An unfinished build's
 * records stay. */
mfrgn_status mf_partial_hold(mfrgn_context *context, const char *path, mf_partial **hold);
void mf_partial_release(mf_partial *hold); /* NULL is fine */

#endif
