/* Folders: what lies in them, sorted. */
#ifndef MFRGN_IO_FOLDER_H
#define MFRGN_IO_FOLDER_H

#include "io/reader.h"

typedef struct mf_names {
    mfrgn_context *context;
    char **name;
    size_t count, room;
    mf_arena memory;
} mf_names;

typedef enum mf_entry_kind { MF_ENTRY_NONE, MF_ENTRY_FILE, MF_ENTRY_FOLDER, MF_ENTRY_OTHER } mf_entry_kind;
/* What a path is; links are followed. */
mf_entry_kind mf_entry(const char *path);

/* The names of a folder's files or folders (links are followed), without hidden ones, sorted by their bytes. */
mfrgn_status mf_folder_list(mfrgn_context *context, const char *folder, mf_entry_kind kind, mf_names *names);
/* Paths, relative to `folder`, of the pictures in it and below it, by their names' endings, sorted by their bytes. */
mfrgn_status mf_folder_pictures(mfrgn_context *context, const char *folder, mf_names *names);
void mf_names_free(mf_names *names);
int mf_names_find(const mf_names *names, const char *name); /* 1: it is there */

int mf_has_ending(const char *name, const char *ending); /* case does not matter */
int mf_is_picture_name(const char *name);
/* The length of a name without the ending of a picture, if it has one. */
size_t mf_picture_stem(const char *name);

/* `text` formatted into the arena; NULL without memory. */
char *mf_arena_format(mf_arena *arena, const char *format, ...) MF_PRINTF(2, 3);
/* "folder/name", or `name` if that is an absolute path. */
char *mf_arena_join(mf_arena *arena, const char *folder, const char *name);

#endif
