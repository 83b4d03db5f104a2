/* SPDX-License-Identifier: Apache-2.0 */
#include "npy.h"

#include <string.h>

/* Magic, version, length of the header, header padded with spaces to a multiple of 64 and ended by a newline.  128
 * bytes hold any two 64-bit numbers, so that the header can be written again when the number of rows is known. */
enum { NPY_HEADER = 128 };

static int write_header(npy_file *npy) {
    unsigned char header[NPY_HEADER];
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = NPY_HEADER - 10;
    header[9] = 0;
    char text[NPY_HEADER];
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    const char *type = ">f4";
#else
    const char *type = "<f4";
#endif
    int length = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (%zu, %zu), }", type,
                          npy->rows, npy->columns);
    if (length < 0 || length > NPY_HEADER - 11)
        return 0;
    memcpy(header + 10, text, (size_t)length);
    header[NPY_HEADER - 1] = '\n';
    return fwrite(header, sizeof header, 1, npy->out.file) == 1;
}

int npy_open(npy_file *npy, const char *path, size_t columns) {
    memset(npy, 0, sizeof *npy);
    npy->columns = columns;
    if (!out_open(&npy->out, path))
        return 0;
    write_header(npy);
    return 1;
}

int npy_write(npy_file *npy, const float *values, size_t rows) {
    npy->rows += rows;
    return fwrite(values, npy->columns * sizeof *values, rows, npy->out.file) == rows;
}

int npy_commit(npy_file *npy) {
    if (!ferror(npy->out.file) && fseek(npy->out.file, 0, SEEK_SET) == 0)
        write_header(npy);
    else if (!ferror(npy->out.file)) {
        fprintf(stderr, "mfrgn: a .npy file must be a file that can be seeked\n");
        out_discard(&npy->out);
        return 0;
    }
    return out_commit(&npy->out);
}

void npy_discard(npy_file *npy) {
    out_discard(&npy->out);
}
