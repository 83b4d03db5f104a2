#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* strerror() may share one buffer among threads; strerror_r() exists in two forms. */
static const char *error_text(int code, char *buffer, size_t size) {
#if defined(__GLIBC__)
    return strerror_r(code, buffer, size);
#else
    return strerror_r(code, buffer, size) == 0 ? buffer : "unknown error";
#endif
}

static mfrgn_status fail_io(mfrgn_context *context, const char *path, const char *what, int code) {
    char buffer[128];
    return mf_fail(context, MFRGN_ERROR_IO, "%s: cannot %s: %s", path, what, error_text(code, buffer, sizeof(buffer)));
}

/* ---- reading ---- */

static mfrgn_status map_descriptor(mfrgn_context *context, const char *path, int fd, mf_file *file) {
    struct stat info;
    if (fstat(fd, &info))
        return fail_io(context, path, "read", errno);
    if (!S_ISREG(info.st_mode))
        return mf_fail(context, MFRGN_ERROR_IO, "%s: is %s, not a regular file", path,
                       S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
    if ((uintmax_t)info.st_size > SIZE_MAX / 2)
        return mf_fail(context, MFRGN_ERROR_IO, "%s: %jd bytes are too many to map", path, (intmax_t)info.st_size);
    void *data = NULL;
    if (info.st_size > 0) {
        data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            return fail_io(context, path, "map", errno);
    }
    *file = (mf_file){data, (size_t)info.st_size};
    return MFRGN_OK;
}

mfrgn_status mf_file_map(mfrgn_context *context, const char *path, mf_file *file) {
    /* O_NONBLOCK: opening a pipe must not wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_io(context, path, "open", errno);
    mfrgn_status status = map_descriptor(context, path, fd, file);
    close(fd);
    return status;
}

void mf_file_unmap(mf_file *file) {
    if (file->data)
        munmap((void *)file->data, file->size);
    *file = (mf_file){NULL, 0};
}

void mf_file_let_go(const void *data, size_t bytes) {
    long page_size = sysconf(_SC_PAGESIZE);
    uintptr_t page = page_size > 0 ? (uintptr_t)page_size : 4096;
    uintptr_t begin = ((uintptr_t)data + page - 1) / page * page, end = ((uintptr_t)data + bytes) / page * page;
    if (data && begin < end)
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

/* ---- writing ---- */

struct mf_out {
    mfrgn_context *context;
    char *path, *temporary;
    int fd;
};

/* The folder of `path`, with its slash; "" is the current one. */
static int folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path) + 1 : 0;
}

/* A file that nobody has, beside `path` so that the rename stays within a file system.  The name is not made from
 * path's, which may already be as long as names can be. */
static mfrgn_status create_temporary(mf_out *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = mf_hash(&now, sizeof(now), 0) ^ (uint64_t)getpid() << 32 ^ (uintptr_t)out;
    for (int attempt = 0; attempt < 100; attempt++) {
        seed = mf_hash(&attempt, sizeof(attempt), seed | 1);
        out->temporary = mf_format(out->context, "%.*s.mfrgn-%016llx.tmp", folder_length(out->path), out->path,
                                   (unsigned long long)seed);
        if (!out->temporary)
            return mf_fail_memory(out->context, strlen(out->path) + 32, "a path");
        out->fd = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (out->fd >= 0)
            return MFRGN_OK;
        int code = errno;
        mf_free(out->context, out->temporary);
        out->temporary = NULL;
        if (code != EEXIST)
            return fail_io(out->context, out->path, "create a file in its folder", code);
    }
    return fail_io(out->context, out->path, "create a file in its folder", EEXIST);
}

mfrgn_status mf_out_open(mfrgn_context *context, const char *path, mf_out **result) {
    struct stat info;
    /* A rename would put a file in the place of /dev/null. */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return mf_fail(context, MFRGN_ERROR_IO, "%s: is %s and cannot be replaced by a file", path,
                       S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
    mf_out *out = mf_calloc(context, 1, sizeof(*out));
    if (!out)
        return mf_fail_memory(context, sizeof(*out), "a file");
    out->context = context;
    out->fd = -1;
    out->path = mf_strdup(context, path);
    mfrgn_status status = out->path ? create_temporary(out) : mf_fail_memory(context, strlen(path) + 1, "a path");
    if (status != MFRGN_OK) {
        mf_out_discard(out);
        return status;
    }
    *result = out;
    return MFRGN_OK;
}

mfrgn_status mf_out_write(mf_out *out, const void *data, size_t bytes) {
    enum { PIECE = 1 << 30 }; /* Linux writes at most 2 GiB at once */
    const char *at = data;
    while (bytes) {
        ssize_t n = write(out->fd, at, bytes < PIECE ? bytes : PIECE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_io(out->context, out->path, "write", n < 0 ? errno : ENOSPC);
        at += n;
        bytes -= (size_t)n;
    }
    return MFRGN_OK;
}

mfrgn_status mf_out_write_at(mf_out *out, uint64_t offset, const void *data, size_t bytes) {
    enum { PIECE = 1 << 30 };
    const char *at = data;
    while (bytes) {
        ssize_t n = pwrite(out->fd, at, bytes < PIECE ? bytes : PIECE, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_io(out->context, out->path, "write", n < 0 ? errno : ENOSPC);
        at += n;
        offset += (size_t)n;
        bytes -= (size_t)n;
    }
    return MFRGN_OK;
}

/* The rename is on disk only when its folder is.  Best effort: some file systems cannot. */
static void sync_folder(mf_out *out) {
    char *folder = mf_format(out->context, "%.*s.", folder_length(out->path), out->path);
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    mf_free(out->context, folder);
}

static mfrgn_status finish(mf_out *out) {
    if (fsync(out->fd) && errno != EINVAL && errno != ENOSYS)
        return fail_io(out->context, out->path, "write", errno);
    int fd = out->fd;
    out->fd = -1;
    if (close(fd) && errno != EINTR)
        return fail_io(out->context, out->path, "write", errno);
    if (rename(out->temporary, out->path))
        return fail_io(out->context, out->path, "rename the finished file to it", errno);
    mf_free(out->context, out->temporary);
    out->temporary = NULL;
    sync_folder(out);
    return MFRGN_OK;
}

mfrgn_status mf_out_commit(mf_out *out) {
    mfrgn_status status = finish(out);
    mf_out_discard(out); /* after a success only the memory is left */
    return status;
}

void mf_out_discard(mf_out *out) {
    if (!out)
        return;
    if (out->fd >= 0)
        close(out->fd);
    if (out->temporary)
        unlink(out->temporary);
    mf_free(out->context, out->temporary);
    mf_free(out->context, out->path);
    mf_free(out->context, out);
}
