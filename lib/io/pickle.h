/* A restricted unpickler: it builds what state dicts are made of and runs nothing.
 *
 * A pickle is a program for a stack machine that may call any Python function.  Here the only callables are the few
 * that torch.save() uses for tensors and ordered dictionaries, and each is a plain construction of a value; every
 * other is refused by its name. */
#ifndef MFRGN_IO_PICKLE_H
#define MFRGN_IO_PICKLE_H

#include "io/reader.h"

typedef enum mf_py_kind {
    MF_PY_MARK,   /* on the machine's stack only */
    MF_PY_OTHER,  /* None, a float, bytes, an integer beyond 64 bits: of no use here */
    MF_PY_BOOL,   /* i */
    MF_PY_INT,    /* i */
    MF_PY_STRING, /* text, size */
    MF_PY_TUPLE,  /* list */
    MF_PY_LIST,   /* list */
    MF_PY_DICT,   /* list: key, value, key, value.. */
    MF_PY_GLOBAL, /* i: a row of the table of known globals */
    MF_PY_STORAGE,
    MF_PY_TENSOR
} mf_py_kind;

typedef struct mf_py {
    mf_py_kind kind;
    uint32_t size;
    union {
        int64_t i;
        const char *text; /* in the file; not terminated */
        struct mf_py_list *list;
        struct mf_py_storage *storage;
        struct mf_py_tensor *tensor;
    } as;
} mf_py;

typedef struct mf_py_list {
    mf_py *item;
    size_t count, room;
    size_t tensors; /* values of a dictionary that are tensors */
} mf_py_list;

typedef struct mf_py_storage {
    mf_dtype dtype;
    mf_py key;                  /* a string: the name of the entry, or the number, that holds the values */
    int64_t count;              /* values */
    const unsigned char *data;  /* set by the reader of the legacy form */
    struct mf_py_storage *next; /* all that the pickle names */
} mf_py_storage;

typedef struct mf_py_tensor {
    mf_py_storage *storage;
    int64_t offset; /* values before the first */
    const mf_py_list *shape, *stride;
} mf_py_tensor;

typedef struct mf_pickle {
    mf_py value;
    mf_py_storage *storages;
    size_t storage_count;
} mf_pickle;

/* Reads the pickle that begins at byte *at of the file and ends before `end`; *at moves behind it.  The values live
 * in `arena`, strings in the file. */
mfrgn_status mf_unpickle(const mf_reader *r, mf_arena *arena, size_t *at, size_t end, mf_pickle *pickle);
int mf_py_is(const mf_py *value, const char *text); /* the string `text` */

#endif
