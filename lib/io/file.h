/* Files: mapped for reading, written under a temporary name and renamed. */
#ifndef MFRGN_IO_FILE_H
#define MFRGN_IO_FILE_H

#include "base/base.h"

/* A file mapped read-only.  Its pages are the page cache's: they are counted once however many processes map it. */
typedef struct mf_file {
    const unsigned char *data; /* NULL for an empty file */
    size_t size;
} mf_file;

mfrgn_status mf_file_map(mfrgn_context *context, const char *path, mf_file *file);
void mf_file_unmap(mf_file *file);
/* The bytes will not be needed soon: their whole pages leave this process (and come back from the cache if touched).
 * Only of mapped files: pages of the heap would be lost. */
void mf_file_let_go(const void *data, size_t bytes);

/* A file being written: nothing is seen under `path` before mf_out_commit(), which syncs and renames. */
typedef struct mf_out mf_out;
mfrgn_status mf_out_open(mfrgn_context *context, const char *path, mf_out **out);
mfrgn_status mf_out_write(mf_out *out, const void *data, size_t bytes);
/* The same at a place of its own; mf_out_write() goes on where it was. */
mfrgn_status mf_out_write_at(mf_out *out, uint64_t offset, const void *data, size_t bytes);
mfrgn_status mf_out_commit(mf_out *out); /* frees `out`, whether it succeeds or not */
void mf_out_discard(mf_out *out);        /* removes the temporary file and frees `out`; NULL is fine */

#endif
