/* SPDX-License-Identifier: Apache-2.0 */
#include "out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

static FILE *create(out_file *out) {
    for (unsigned attempt = 0; attempt < 100; attempt++) {
        free(out->temporary);
        out->temporary = tool_format("%s.%ld-%u.tmp", out->path, (long)getpid(), attempt);
        if (!out->temporary)
            return NULL;
        int fd = open(out->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) {
            FILE *file = fdopen(fd, "w+b");
            if (!file)
                close(fd);
            return file;
        }
        if (errno != EEXIST)
            break;
    }
    return NULL;
}

static void forget(out_file *out) {
    free(out->path);
    free(out->temporary);
    memset(out, 0, sizeof *out);
}

int out_open(out_file *out, const char *path) {
    struct stat about;
    memset(out, 0, sizeof *out);
    out->path = strdup(path);
    if (out->path && stat(path, &about) == 0 && S_ISDIR(about.st_mode)) {
        errno = EISDIR;
    } else if (out->path) {
        if (stat(path, &about) == 0 && !S_ISREG(about.st_mode))
            out->file = fopen(path, "wb");
        else
            out->file = create(out);
    }
    if (!out->file) {
        tool_error("%s: cannot be written: %s", path, strerror(errno));
        forget(out);
        return 0;
    }
    return 1;
}

int out_commit(out_file *out) {
    errno = 0;
    int failed = ferror(out->file) || fflush(out->file);
    if (!failed && out->temporary)
        failed = fsync(fileno(out->file));
    int reason = errno;
    if (fclose(out->file) && !failed) {
        failed = 1;
        reason = errno;
    }
    if (!failed && out->temporary && rename(out->temporary, out->path)) {
        failed = 1;
        reason = errno;
    }
    if (failed) {
        tool_error("%s: cannot be written: %s", out->path, reason ? strerror(reason) : "write error");
        if (out->temporary)
            unlink(out->temporary);
    }
    forget(out);
    return !failed;
}

void out_discard(out_file *out) {
    if (!out->file)
        return;
    fclose(out->file);
    if (out->temporary)
        unlink(out->temporary);
    forget(out);
}
