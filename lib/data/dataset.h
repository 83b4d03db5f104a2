/* Data sets: what the readers fill and evaluation and training read. */
#ifndef MFRGN_DATA_DATASET_H
#define MFRGN_DATA_DATASET_H

#include "io/csv.h"
#include "io/folder.h"
#include "mfrgn/evaluate.h"

enum { MF_SETS = 4, MF_TASKS = 2 };

typedef struct mf_sample {
    const char *path, *id;
    int located, directed;
    double latitude, longitude, heading;
} mf_sample;

typedef struct mf_sample_set {
    const char *name;
    mfrgn_view view;
    mf_sample *item;
    size_t count, room;
} mf_sample_set;

/* A pair of rows: a query and a reference. */
typedef struct mf_link {
    uint32_t query, reference;
} mf_link;

typedef struct mf_links {
    mf_link *item;
    size_t count, room;
} mf_links;

/* The references of each query: those of query i are row[first[i]] .. row[first[i + 1] - 1]. */
typedef struct mf_relation {
    size_t queries;
    size_t *first;
    uint32_t *row;
} mf_relation;

/* A direction in which references are searched for queries.  Queries without a true reference take no part. */
typedef struct mf_task_data {
    const char *name;
    int query, reference; /* sets */
    mf_relation truth, semi;
} mf_task_data;

struct mfrgn_dataset {
    mfrgn_context *context;
    mf_arena memory;
    const char *name, *root, *split, *protocol;
    mf_sample_set set[MF_SETS];
    int sets;
    mf_task_data task[MF_TASKS];
    int tasks;
    const char **missing;
    size_t missing_count, missing_room;
    mfrgn_status missing_status; /* of keeping that list */
    mf_links truth, semi; /* of the first task, while the data set is read */
};

/* ---- for the readers ---- */
typedef struct mf_dataset_request {
    const char *split, *protocol; /* never NULL: the default is filled in */
    int corrected;
} mf_dataset_request;

int mf_dataset_add_set(mfrgn_dataset *d, const char *name, mfrgn_view view);
/* Adds a sample; *row is its number. */
mfrgn_status mf_dataset_add(mfrgn_dataset *d, int set, const mf_sample *sample, uint32_t *row);
/* 1: the file is there; 0: it is not and has been noted; or its path could not be allocated, and is NULL. */
int mf_dataset_have(mfrgn_dataset *d, const char *path);
mfrgn_status mf_link_add(mfrgn_dataset *d, mf_links *links, uint32_t query, uint32_t reference);
/* Makes a task of links; transposed: references search for queries. */
mfrgn_status mf_dataset_add_task(mfrgn_dataset *d, const char *name, int query, int reference, const mf_links *truth,
                                 const mf_links *semi, int transposed);
/* "ground->aerial" and back, of sets 0 and 1 and the links in `d`. */
mfrgn_status mf_dataset_add_both(mfrgn_dataset *d);
mfrgn_status mf_dataset_memory(const mfrgn_dataset *d);

/* `links` as a relation in `arena`, sorted by query, else in their order. */
mfrgn_status mf_relation_make(mf_arena *arena, const mf_links *links, size_t queries, int transposed, mf_relation *r);

mfrgn_status mf_read_cvusa(mfrgn_dataset *d, const mf_dataset_request *request);
mfrgn_status mf_read_cvact(mfrgn_dataset *d, const mf_dataset_request *request);
mfrgn_status mf_read_vigor(mfrgn_dataset *d, const mf_dataset_request *request);
mfrgn_status mf_read_u1652(mfrgn_dataset *d, const mf_dataset_request *request);
mfrgn_status mf_read_pairs(mfrgn_dataset *d, const mf_dataset_request *request);

/* ---- text to row, for looking names up ---- */
typedef struct mf_lookup {
    mfrgn_context *context;
    uint64_t *slot; /* row + 1, 0: free; open addressing */
    const char **key;
    size_t size, count;
} mf_lookup;
/* The row of `key`, which is added with `row` if it is new (*added = 1).  Keys are not copied. */
mfrgn_status mf_lookup_add(mf_lookup *l, const char *key, uint32_t row, uint32_t *found, int *added);
int mf_lookup_find(const mf_lookup *l, const char *key, uint32_t *row);
void mf_lookup_free(mf_lookup *l);

#endif
