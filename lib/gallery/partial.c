/* The file of an unfinished build.
 *
 *   header, 128 bytes: "MFRGNPRT", u32 version, u32 values, u64 model, preparation, processing, list hash, first, last,
 *   total; zeros; u64 checksum of the 120 bytes before
 *   record: u64 number of the tile, u64 state, f32 values (zeros if skipped), u64 checksum */
#include "gallery/partial.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 128, VERSION = 1, BEFORE = 16, SYNC_BYTES = 64 << 20 };

static const char magic[] = "MFRGNPRT";

static mfrgn_status fail_errno(const mf_partial *p, const char *what) {
    char buffer[128];
    int code = errno;
#if defined(__GLIBC__)
    const char *text = strerror_r(code, buffer, sizeof(buffer));
#else
    const char *text = strerror_r(code, buffer, sizeof(buffer)) == 0 ? buffer : "unknown error";
#endif
    return mf_fail(p->context, MFRGN_ERROR_IO, "%s: cannot %s: %s", p->path, what, text);
}

static mfrgn_status write_all(mf_partial *p, const void *data, size_t bytes, uint64_t at) {
    const char *from = data;
    while (bytes) {
        ssize_t n = pwrite(p->fd, from, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return fail_errno(p, "write");
        from += n;
        at += (size_t)n;
        bytes -= (size_t)n;
    }
    return MFRGN_OK;
}

/* 0: the end of the file comes first */
static int read_all(mf_partial *p, void *data, size_t bytes, uint64_t at) {
    char *to = data;
    while (bytes) {
        ssize_t n = pread(p->fd, to, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        to += n;
        at += (size_t)n;
        bytes -= (size_t)n;
    }
    return 1;
}

static void encode_header(const mf_partial_what *what, unsigned char *h) {
    memset(h, 0, HEADER);
    memcpy(h, magic, 8);
    mf_put32(h + 8, VERSION);
    mf_put32(h + 12, what->size);
    mf_put64(h + 16, what->model);
    mf_put64(h + 24, what->preparation);
    mf_put64(h + 32, what->processing);
    mf_put64(h + 40, what->source.hash);
    mf_put64(h + 48, what->source.first);
    mf_put64(h + 56, what->source.last);
    mf_put64(h + 64, what->source.total);
    mf_put64(h + HEADER - 8, mf_checksum(h, HEADER - 8));
}

/* ---- opening ---- */

static mfrgn_status busy(const mf_partial *p) {
    return mf_fail(p->context, MFRGN_ERROR_IO, "%s: another process is writing this gallery", p->path);
}

/* The last owner may have removed the file between our open and our lock: then the lock is on a file without a name. */
static mfrgn_status lock_file(mf_partial *p) {
    for (int attempt = 0; attempt < 100; attempt++) {
        struct stat ours, named;
        p->fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (p->fd < 0)
            return fail_errno(p, "open");
        if (flock(p->fd, LOCK_EX | LOCK_NB)) {
            if (errno == EWOULDBLOCK)
                return busy(p);
            return fail_errno(p, "lock");
        }
        if (fstat(p->fd, &ours) == 0 && stat(p->path, &named) == 0 && ours.st_ino == named.st_ino &&
            ours.st_dev == named.st_dev)
            return S_ISREG(ours.st_mode) ? MFRGN_OK
                                         : mf_fail(p->context, MFRGN_ERROR_IO, "%s: is not a regular file", p->path);
        close(p->fd);
        p->fd = -1;
    }
    return busy(p);
}

/* What differs between the header of the file and ours, or NULL. */
static const char *difference(const unsigned char *theirs, const unsigned char *ours) {
    if (memcmp(theirs, magic, 8) != 0 || mf_get64(theirs + HEADER - 8) != mf_checksum(theirs, HEADER - 8))
        return "it is damaged";
    if (mf_get32(theirs + 8) != VERSION)
        return "another version of this library wrote it";
    if (memcmp(theirs + 12, ours + 12, 4 + 8) != 0)
        return "it was made with another model";
    if (memcmp(theirs + 24, ours + 24, 16) != 0)
        return "its pictures were prepared otherwise";
    return memcmp(theirs + 40, ours + 40, 32) != 0 ? "it is of other tiles, or of another shard" : NULL;
}

static int record_is_whole(mf_partial *p, size_t i) {
    unsigned char *r = p->record;
    return read_all(p, r, p->record_bytes, HEADER + (uint64_t)i * p->record_bytes) &&
           mf_get64(r) == p->what.source.first + i && mf_get64(r + 8) <= MF_RECORD_SKIPPED &&
           mf_get64(r + p->record_bytes - 8) == mf_checksum(r, p->record_bytes - 8);
}

static mfrgn_status take_up(mf_partial *p, int resume) {
    unsigned char ours[HEADER], theirs[HEADER];
    encode_header(&p->what, ours);
    if (resume && read_all(p, theirs, sizeof(theirs), 0)) {
        const char *why = difference(theirs, ours);
        if (why)
            return mf_fail(p->context, MFRGN_ERROR_MISMATCH, "%s: cannot be resumed: %s; build without resuming to start anew",
                           p->path, why);
        while (p->records < p->what.source.last - p->what.source.first && record_is_whole(p, p->records))
            p->records++;
    }
    /* What comes after the last whole record was being written when the build ended. */
    if (ftruncate(p->fd, p->records ? (off_t)(HEADER + p->records * p->record_bytes) : 0))
        return fail_errno(p, "shorten");
    return write_all(p, ours, sizeof(ours), 0);
}

/* Locked; `what` NULL: nothing is going to be built. */
static mfrgn_status make(mfrgn_context *context, const char *path, const mf_partial_what *what, mf_partial **out) {
    mf_partial *p = mf_calloc(context, 1, sizeof(*p));
    if (!p)
        return mf_fail_memory(context, sizeof(*p), "a build");
    p->context = context;
    p->fd = -1;
    if (what)
        p->what = *what;
    p->record_bytes = BEFORE + (size_t)p->what.size * 4 + 8;
    p->path = mf_format(context, "%s.partial", path);
    p->record = mf_alloc(context, p->record_bytes);
    mfrgn_status status =
        p->path && p->record ? lock_file(p) : mf_fail_memory(context, p->record_bytes, "a build");
    if (status != MFRGN_OK)
        mf_partial_close(p, 0);
    else
        *out = p;
    return status;
}

mfrgn_status mf_partial_open(mfrgn_context *context, const char *path, const mf_partial_what *what, int resume,
                             mf_partial **out) {
    mf_partial *p = NULL;
    MF_TRY(make(context, path, what, &p));
    mfrgn_status status = take_up(p, resume);
    if (status != MFRGN_OK)
        mf_partial_close(p, 0);
    else
        *out = p;
    return status;
}

mfrgn_status mf_partial_hold(mfrgn_context *context, const char *path, mf_partial **hold) {
    return make(context, path, NULL, hold);
}

void mf_partial_release(mf_partial *hold) {
    struct stat info;
    if (hold)
        mf_partial_close(hold, fstat(hold->fd, &info) == 0 && info.st_size == 0);
}

void mf_partial_close(mf_partial *p, int done) {
    if (!p)
        return;
    mf_file_unmap(&p->file);
    if (done)
        unlink(p->path); /* while it is locked: nobody else's */
    if (p->fd >= 0)
        close(p->fd);
    mf_free(p->context, p->record);
    mf_free(p->context, p->path);
    mf_free(p->context, p);
}

/* ---- records ---- */

mfrgn_status mf_partial_append(mf_partial *p, const float *values) {
    unsigned char *r = p->record;
    size_t bytes = (size_t)p->what.size * 4;
    mf_put64(r, p->what.source.first + p->records);
    mf_put64(r + 8, values ? MF_RECORD_EMBEDDED : MF_RECORD_SKIPPED);
    if (values)
        memcpy(r + BEFORE, values, bytes);
    else
        memset(r + BEFORE, 0, bytes);
    mf_put64(r + p->record_bytes - 8, mf_checksum(r, p->record_bytes - 8));
    MF_TRY(write_all(p, r, p->record_bytes, HEADER + (uint64_t)p->records * p->record_bytes));
    p->records++;
    p->unsynced += p->record_bytes;
    if (p->unsynced >= SYNC_BYTES) {
        if (fdatasync(p->fd) && errno != EINVAL && errno != ENOSYS)
            return fail_errno(p, "write");
        p->unsynced = 0;
    }
    return MFRGN_OK;
}

mfrgn_status mf_partial_map(mf_partial *p) {
    if (p->file.data)
        return MFRGN_OK;
    return mf_file_map(p->context, p->path, &p->file);
}

static const unsigned char *record_at(const mf_partial *p, size_t i) {
    return p->file.data + HEADER + i * p->record_bytes;
}

mf_record_state mf_partial_state(const mf_partial *p, size_t i) {
    return (mf_record_state)mf_get64(record_at(p, i) + 8);
}

const float *mf_partial_values(const mf_partial *p, size_t i) {
    return (const float *)(const void *)(record_at(p, i) + BEFORE); /* 8-aligned */
}
