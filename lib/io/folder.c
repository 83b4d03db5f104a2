#include "io/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

enum { MAX_DEPTH = 32 };

static const char *const endings[] = {".jpg", ".jpeg", ".png", ".bmp", ".tga", ".gif", ".ppm", ".pgm", ".pnm"};

int mf_has_ending(const char *name, const char *ending) {
    size_t length = strlen(name), tail = strlen(ending);
    return length > tail && strcasecmp(name + length - tail, ending) == 0;
}

size_t mf_picture_stem(const char *name) {
    for (size_t i = 0; i < MF_COUNT(endings); i++)
        if (mf_has_ending(name, endings[i]))
            return strlen(name) - strlen(endings[i]);
    return strlen(name);
}

int mf_is_picture_name(const char *name) {
    return mf_picture_stem(name) != strlen(name);
}

mf_entry_kind mf_entry(const char *path) {
    struct stat info;
    if (stat(path, &info))
        return MF_ENTRY_NONE;
    return S_ISREG(info.st_mode) ? MF_ENTRY_FILE : S_ISDIR(info.st_mode) ? MF_ENTRY_FOLDER : MF_ENTRY_OTHER;
}

char *mf_arena_format(mf_arena *arena, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : mf_arena_alloc(arena, (size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

char *mf_arena_join(mf_arena *arena, const char *folder, const char *name) {
    size_t length = strlen(folder);
    if (*name == '/' || !length)
        return mf_arena_format(arena, "%s", name);
    return mf_arena_format(arena, "%s%s%s", folder, folder[length - 1] == '/' ? "" : "/", name);
}

/* ---- lists ---- */

static void begin(mfrgn_context *context, mf_names *names) {
    memset(names, 0, sizeof(*names));
    names->context = names->memory.context = context;
}

void mf_names_free(mf_names *names) {
    if (!names->context)
        return;
    mf_free(names->context, names->name);
    mf_arena_free(&names->memory);
    memset(names, 0, sizeof(*names));
}

static mfrgn_status add(mf_names *names, char *name) {
    if (!name)
        return mf_fail_memory(names->context, 256, "a list of files");
    MF_TRY(mf_reserve(names->context, (void **)&names->name, &names->room, names->count + 1, sizeof(*names->name)));
    names->name[names->count++] = name;
    return MFRGN_OK;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int mf_names_find(const mf_names *names, const char *name) {
    size_t low = 0, high = names->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(names->name[middle], name);
        if (order == 0)
            return 1;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}

/* The kind of an entry, asked from the file system only where the folder does not tell. */
static mf_entry_kind entry_kind(mf_arena *scratch, const char *folder, const struct dirent *entry) {
#ifdef DT_REG
    if (entry->d_type == DT_REG)
        return MF_ENTRY_FILE;
    if (entry->d_type == DT_DIR)
        return MF_ENTRY_FOLDER;
#endif
    char *path = mf_arena_join(scratch, folder, entry->d_name);
    return path ? mf_entry(path) : MF_ENTRY_NONE;
}

static mfrgn_status list_into(mf_names *names, const char *folder, const char *prefix, mf_entry_kind kind,
                              int pictures) {
    DIR *directory = opendir(folder);
    if (!directory) {
        int code = errno;
        return mf_fail(names->context, MFRGN_ERROR_IO, "%s: cannot read this folder: %s", folder,
                       code == ENOENT    ? "it is not there"
                       : code == ENOTDIR ? "it is no folder"
                                         : "access fails");
    }
    mfrgn_status status = MFRGN_OK;
    mf_arena scratch = {names->context, NULL};
    const struct dirent *entry;
    while (status == MFRGN_OK && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.' || (pictures && !mf_is_picture_name(entry->d_name)) ||
            entry_kind(&scratch, folder, entry) != kind)
            continue;
        status = add(names, mf_arena_join(&names->memory, prefix, entry->d_name));
    }
    mf_arena_free(&scratch);
    closedir(directory);
    return status;
}

mfrgn_status mf_folder_list(mfrgn_context *context, const char *folder, mf_entry_kind kind, mf_names *names) {
    begin(context, names);
    mfrgn_status status = list_into(names, folder, "", kind, 0);
    if (status != MFRGN_OK) {
        mf_names_free(names);
        return status;
    }
    mf_sort(names->name, names->count, sizeof(*names->name), by_bytes);
    return MFRGN_OK;
}

static mfrgn_status walk(mf_names *names, const char *folder, const char *prefix, int depth) {
    mf_names below;
    MF_TRY(list_into(names, folder, prefix, MF_ENTRY_FILE, 1));
    if (depth == MAX_DEPTH)
        return MFRGN_OK; /* a link to a folder above */
    MF_TRY(mf_folder_list(names->context, folder, MF_ENTRY_FOLDER, &below));
    mfrgn_status status = MFRGN_OK;
    for (size_t i = 0; status == MFRGN_OK && i < below.count; i++) {
        char *path = mf_arena_join(&below.memory, folder, below.name[i]);
        char *relative = mf_arena_join(&below.memory, prefix, below.name[i]);
        status = path && relative ? walk(names, path, relative, depth + 1)
                                  : mf_fail_memory(names->context, 256, "a list of files");
    }
    mf_names_free(&below);
    return status;
}

mfrgn_status mf_folder_pictures(mfrgn_context *context, const char *folder, mf_names *names) {
    begin(context, names);
    mfrgn_status status = walk(names, folder, "", 0);
    if (status != MFRGN_OK) {
        mf_names_free(names);
        return status;
    }
    mf_sort(names->name, names->count, sizeof(*names->name), by_bytes);
    return MFRGN_OK;
}
