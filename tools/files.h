/* SPDX-License-Identifier: Apache-2.0 */
/* Files and folders as given on the command line, as one list of pictures. */
#ifndef MFRGN_TOOLS_FILES_H
#define MFRGN_TOOLS_FILES_H

#include <stddef.h>

typedef struct file_list {
    char **path;
    size_t count, capacity;
    size_t unreadable; /* folders that could not be read, or hold no picture; told on stderr */
} file_list;

/* A file is taken whatever its name.  Of a folder: the pictures by their extensions, folders below it included, sorted
 * by name; hidden ones are left out.  0 after a message (memory). */
int files_add(file_list *list, const char *path);
void files_free(file_list *list);
/* Files of a folder with this ending, sorted, no folders below.  0 after a message. */
int files_with_ending(file_list *list, const char *folder, const char *ending);
int files_has_ending(const char *path, const char *ending); /* case does not matter */

#endif
