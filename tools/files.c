/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "common.h"

enum { MAX_DEPTH = 32 };

static const char *const extensions[] = {".jpg", ".jpeg", ".png", ".bmp", ".tga", ".gif", ".ppm", ".pgm", ".pnm"};

int files_has_ending(const char *path, const char *ending) {
    size_t length = strlen(path), tail = strlen(ending);
    return length > tail && !strcasecmp(path + length - tail, ending);
}

static int is_picture(const char *name) {
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++)
        if (files_has_ending(name, extensions[i]))
            return 1;
    return 0;
}

static int append(file_list *list, char *path) {
    if (path && list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        char **grown = realloc(list->path, capacity * sizeof *grown);
        if (!grown) {
            free(path);
            path = NULL;
        } else {
            list->path = grown;
            list->capacity = capacity;
        }
    }
    if (!path) {
        tool_error("not enough memory for the list of files");
        return 0;
    }
    list->path[list->count++] = path;
    return 1;
}

void files_free(file_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->path[i]);
    free(list->path);
    memset(list, 0, sizeof *list);
}

static int compare(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* The names in a folder, sorted, hidden ones left out; -1 if it cannot be read. */
static int read_folder(const char *folder, file_list *names) {
    DIR *directory = opendir(folder);
    if (!directory)
        return -1;
    int good = 1;
    struct dirent *entry;
    while (good && (entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.')
            good = append(names, strdup(entry->d_name));
    closedir(directory);
    if (names->count)
        qsort(names->path, names->count, sizeof *names->path, compare);
    return good;
}

static char *join(const char *folder, const char *name) {
    size_t length = strlen(folder);
    return tool_format("%s%s%s", folder, length && folder[length - 1] == '/' ? "" : "/", name);
}

static int add_folder(file_list *list, const char *folder, int depth) {
    file_list names = {0};
    int good = read_folder(folder, &names);
    if (good < 0) {
        tool_error("%s: %s: skipped", folder, strerror(errno));
        list->unreadable++;
        return 1;
    }
    for (size_t i = 0; good && i < names.count; i++) {
        struct stat about;
        char *path = join(folder, names.path[i]);
        if (!path)
            good = append(list, NULL);
        else if (lstat(path, &about) == 0 && S_ISDIR(about.st_mode)) {
            if (depth < MAX_DEPTH)
                good = add_folder(list, path, depth + 1);
            free(path);
        } else if (is_picture(path))
            good = append(list, path);
        else
            free(path);
    }
    files_free(&names);
    return good;
}

int files_add(file_list *list, const char *path) {
    struct stat about;
    if (stat(path, &about) != 0 || !S_ISDIR(about.st_mode))
        return append(list, strdup(path)); /* what is wrong with it shows when it is read */
    size_t before = list->count, unreadable = list->unreadable;
    if (!add_folder(list, path, 0))
        return 0;
    if (list->count == before && list->unreadable == unreadable) {
        tool_error("%s: no picture in this folder", path);
        list->unreadable++;
    }
    return 1;
}

int files_with_ending(file_list *list, const char *folder, const char *ending) {
    file_list names = {0};
    int good = read_folder(folder, &names);
    if (good < 0)
        tool_error("%s: %s", folder, strerror(errno));
    for (size_t i = 0; good > 0 && i < names.count; i++)
        if (files_has_ending(names.path[i], ending))
            good = append(list, join(folder, names.path[i]));
    files_free(&names);
    return good > 0;
}
