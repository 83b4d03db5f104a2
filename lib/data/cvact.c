/* CVACT: ACT_data.mat holds panoIds, utm and the structs trainSet and valSet, whose second field is a list of 1-based
 * indices.  The test set is all pairs in ANU_data_test. */
#include "data/dataset.h"
#include "data/geo.h"
#include "io/matlab.h"

enum { CANBERRA_ZONE = 55 }; /* UTM, southern half */

typedef struct lists {
    mf_matlab file;
    const mf_mat *ids, *utm;
    const char *path;
} lists;

static mfrgn_status fail(const mfrgn_dataset *d, const lists *l, const char *what) {
    return mf_fail(d->context, MFRGN_ERROR_FORMAT, "%s: %s", l->path, what);
}

static mfrgn_status open_lists(mfrgn_dataset *d, lists *l) {
    l->path = mf_arena_join(&d->memory, d->root, "ACT_data.mat");
    if (!l->path)
        return mf_dataset_memory(d);
    MF_TRY(mf_matlab_load(d->context, l->path, &l->file));
    l->ids = mf_matlab_find(&l->file, "panoIds");
    l->utm = mf_matlab_find(&l->file, "utm");
    if (!l->ids || !mf_mat_string_count(l->ids))
        return fail(d, l, "has no list of names \"panoIds\"");
    if (l->utm &&
        (l->utm->class != MF_MAT_NUMBER || l->utm->columns != 2 || l->utm->rows != mf_mat_string_count(l->ids)))
        return fail(d, l, "\"utm\" does not have a row of two numbers for each of \"panoIds\"");
    return MFRGN_OK;
}

static void locate(const lists *l, size_t index, mf_sample *s) {
    if (!l->utm || !l->utm->number)
        return;
    double easting = l->utm->number[index], northing = l->utm->number[l->utm->rows + index];
    if (!(easting > 1e5 && easting < 9e5 && northing > 0 && northing < 1e7))
        return; /* not metres of a UTM zone */
    mf_point p = mf_geo_utm(CANBERRA_ZONE, 1, easting, northing);
    s->located = 1;
    s->latitude = p.latitude;
    s->longitude = p.longitude;
}

static mfrgn_status add_pair(mfrgn_dataset *d, const lists *l, const char *folder, const char *id, size_t index) {
    mf_sample s = {.id = mf_arena_format(&d->memory, "%s", id)};
    const char *ground = mf_arena_format(&d->memory, "%s/%s/streetview/%s_grdView.jpg", d->root, folder, id);
    const char *aerial = mf_arena_format(&d->memory, "%s/%s/satview_polish/%s_satView_polish.jpg", d->root, folder, id);
    int have_ground = mf_dataset_have(d, ground), have_aerial = mf_dataset_have(d, aerial);
    if (!ground || !aerial)
        return mf_dataset_memory(d);
    if (!have_ground || !have_aerial)
        return MFRGN_OK;
    if (index != SIZE_MAX)
        locate(l, index, &s);
    uint32_t query, reference;
    s.path = ground;
    MF_TRY(mf_dataset_add(d, 0, &s, &query));
    s.path = aerial;
    MF_TRY(mf_dataset_add(d, 1, &s, &reference));
    return mf_link_add(d, &d->truth, query, reference);
}

static mfrgn_status read_split(mfrgn_dataset *d, const lists *l, const char *name) {
    const mf_mat *set = mf_matlab_find(&l->file, name);
    if (!set || set->class != MF_MAT_STRUCT || set->fields < 2 || set->rows * set->columns < 1)
        return mf_fail(d->context, MFRGN_ERROR_FORMAT, "%s: has no struct \"%s\" of two fields", l->path, name);
    const mf_mat *indices = &set->child[1];
    size_t ids = mf_mat_string_count(l->ids), count = indices->rows * indices->columns;
    if (indices->class != MF_MAT_NUMBER)
        return mf_fail(d->context, MFRGN_ERROR_FORMAT, "%s: \"%s.%s\" is no list of numbers", l->path, name,
                       set->field[1]);
    for (size_t i = 0; i < count; i++) {
        double n = indices->number[i];
        if (!(n >= 1 && n <= (double)ids) || n != (double)(size_t)n)
            return mf_fail(d->context, MFRGN_ERROR_FORMAT, "%s: \"%s.%s\", number %zu: %g is none of 1 .. %zu", l->path,
                           name, set->field[1], i + 1, n, ids);
        const char *id = mf_mat_string(l->ids, (size_t)n - 1);
        if (!id || !*id)
            return mf_fail(d->context, MFRGN_ERROR_FORMAT, "%s: \"panoIds\", number %g, is no name", l->path, n);
        MF_TRY(add_pair(d, l, "ANU_data_small", id, (size_t)n - 1));
    }
    return MFRGN_OK;
}

/* The test set has no list: what lies in its folders counts. */
static mfrgn_status read_test(mfrgn_dataset *d, const lists *l) {
    static const char ending[] = "_grdView.jpg";
    mf_lookup index = {.context = d->context};
    mf_names names;
    const char *folder = mf_arena_join(&d->memory, d->root, "ANU_data_test/streetview");
    if (!folder)
        return mf_dataset_memory(d);
    MF_TRY(mf_folder_list(d->context, folder, MF_ENTRY_FILE, &names));
    mfrgn_status status = MFRGN_OK;
    for (size_t i = 0; status == MFRGN_OK && i < mf_mat_string_count(l->ids); i++) {
        const char *id = mf_mat_string(l->ids, i);
        uint32_t found;
        int added;
        if (id)
            status = mf_lookup_add(&index, id, (uint32_t)i, &found, &added);
    }
    for (size_t i = 0; status == MFRGN_OK && i < names.count; i++) {
        if (!mf_has_ending(names.name[i], ending))
            continue;
        uint32_t row;
        names.name[i][strlen(names.name[i]) - strlen(ending)] = 0;
        int known = mf_lookup_find(&index, names.name[i], &row);
        status = add_pair(d, l, "ANU_data_test", names.name[i], known ? row : SIZE_MAX);
    }
    mf_lookup_free(&index);
    mf_names_free(&names);
    return status;
}

mfrgn_status mf_read_cvact(mfrgn_dataset *d, const mf_dataset_request *request) {
    lists l = {.path = NULL};
    mf_dataset_add_set(d, "ground", MFRGN_VIEW_GROUND);
    mf_dataset_add_set(d, "aerial", MFRGN_VIEW_AERIAL);
    mfrgn_status status = open_lists(d, &l);
    if (status == MFRGN_OK)
        status = strcmp(request->split, "test") == 0
                     ? read_test(d, &l)
                     : read_split(d, &l, strcmp(request->split, "train") == 0 ? "trainSet" : "valSet");
    mf_matlab_free(&l.file);
    return status == MFRGN_OK ? mf_dataset_add_both(d) : status;
}
