/* University-1652: a folder a building.  A satellite picture and drone pictures of one id show one place. */
#include "data/dataset.h"

/* Adds the pictures of `folder`/ID/; of ids that are not in `only`, if given, none. */
static mfrgn_status add_folder(mfrgn_dataset *d, const char *folder, mfrgn_view view, const mf_names *only, int *set) {
    mf_names ids, files;
    *set = mf_dataset_add_set(d, strrchr(folder, '/') + 1, view);
    const char *root = mf_arena_join(&d->memory, d->root, folder);
    if (!root)
        return mf_dataset_memory(d);
    MF_TRY(mf_folder_list(d->context, root, MF_ENTRY_FOLDER, &ids));
    mfrgn_status status = MFRGN_OK;
    for (size_t i = 0; status == MFRGN_OK && i < ids.count; i++) {
        if (only && !mf_names_find(only, ids.name[i]))
            continue;
        const char *id = mf_arena_format(&d->memory, "%s", ids.name[i]);
        const char *path = mf_arena_join(&d->memory, root, ids.name[i]);
        status = path ? mf_folder_pictures(d->context, path, &files) : mf_dataset_memory(d);
        if (status != MFRGN_OK)
            break;
        for (size_t k = 0; status == MFRGN_OK && k < files.count; k++) {
            mf_sample s = {.id = id, .path = mf_arena_join(&d->memory, path, files.name[k])};
            uint32_t row;
            status = mf_dataset_add(d, *set, &s, &row);
        }
        mf_names_free(&files);
    }
    mf_names_free(&ids);
    return status;
}

/* Links what has the same id; both sets are sorted by id. */
static mfrgn_status link_ids(mfrgn_dataset *d, int query, int reference, mf_links *links) {
    const mf_sample_set *q = &d->set[query], *r = &d->set[reference];
    size_t begin = 0;
    for (size_t i = 0; i < q->count; i++) {
        while (begin < r->count && strcmp(r->item[begin].id, q->item[i].id) < 0)
            begin++;
        for (size_t k = begin; k < r->count && strcmp(r->item[k].id, q->item[i].id) == 0; k++)
            MF_TRY(mf_link_add(d, links, (uint32_t)i, (uint32_t)k));
    }
    return MFRGN_OK;
}

static mfrgn_status add_task(mfrgn_dataset *d, const char *name, const char *queries, mfrgn_view query_view,
                             const char *references, mfrgn_view reference_view, int published) {
    int query, reference;
    mf_names ids;
    mf_links links = {NULL, 0, 0}, none = {NULL, 0, 0};
    MF_TRY(add_folder(d, queries, query_view, NULL, &query));
    const char *folder = mf_arena_join(&d->memory, d->root, queries);
    if (!folder)
        return mf_dataset_memory(d);
    MF_TRY(mf_folder_list(d->context, folder, MF_ENTRY_FOLDER, &ids));
    mfrgn_status status = add_folder(d, references, reference_view, published ? &ids : NULL, &reference);
    mf_names_free(&ids);
    if (status == MFRGN_OK)
        status = link_ids(d, query, reference, &links);
    if (status == MFRGN_OK)
        status = mf_dataset_add_task(d, name, query, reference, &links, &none, 0);
    mf_free(d->context, links.item);
    return status;
}

mfrgn_status mf_read_u1652(mfrgn_dataset *d, const mf_dataset_request *request) {
    int published = strcmp(request->protocol, "published") == 0;
    if (strcmp(request->split, "train") == 0)
        return add_task(d, "drone->satellite", "train/drone", MFRGN_VIEW_GROUND, "train/satellite", MFRGN_VIEW_AERIAL,
                        0);
    MF_TRY(add_task(d, "drone->satellite", "test/query_drone", MFRGN_VIEW_GROUND, "test/gallery_satellite",
                    MFRGN_VIEW_AERIAL, published));
    return add_task(d, "satellite->drone", "test/query_satellite", MFRGN_VIEW_AERIAL, "test/gallery_drone",
                    MFRGN_VIEW_GROUND, published);
}
