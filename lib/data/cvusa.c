/* CVUSA: splits/{train,val}-19zl.csv (aerial path, ground path, annotation path); places in split_locations/all.csv,
 * row id - 1, where the id is the integer of the aerial file's name. */
#include "data/dataset.h"

typedef struct place {
    double latitude, longitude;
} place;

typedef struct places {
    place *item;
    size_t count, room;
} places;

static mfrgn_status read_places(mfrgn_dataset *d, places *all) {
    mf_csv csv;
    int more = 1;
    const char *path = mf_arena_join(&d->memory, d->root, "split_locations/all.csv");
    if (!path)
        return mf_dataset_memory(d);
    if (mf_entry(path) != MF_ENTRY_FILE)
        return MFRGN_OK; /* many copies of the data set lack it: no distances then */
    MF_TRY(mf_csv_open(d->context, path, &csv));
    mfrgn_status status = MFRGN_OK;
    while ((status = mf_csv_next(&csv, 0, &more)) == MFRGN_OK && more) {
        place p;
        status = mf_reserve(d->context, (void **)&all->item, &all->room, all->count + 1, sizeof(p));
        if (status == MFRGN_OK)
            status = mf_csv_number(&csv, 0, "latitude", -90, 90, &p.latitude);
        if (status == MFRGN_OK)
            status = mf_csv_number(&csv, 1, "longitude", -180, 180, &p.longitude);
        if (status != MFRGN_OK)
            break;
        all->item[all->count++] = p;
    }
    mf_csv_close(&csv);
    return status;
}

/* "bingmap/19/0000015.jpg" -> 15; -1: no number */
static long id_of(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char text[24];
    long id;
    size_t length = mf_picture_stem(name);
    if (length >= sizeof(text))
        return -1;
    memcpy(text, name, length);
    text[length] = 0;
    return mf_read_int(text, &id) ? id : -1;
}

static mfrgn_status add_pair(mfrgn_dataset *d, const mf_csv *csv, const places *all) {
    if (csv->count < 2)
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "an aerial path and a ground path are expected");
    long id = id_of(csv->field[0]);
    if (id < 0)
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "the aerial file \"%.100s\" is not named by a number",
                           csv->field[0]);
    mf_sample s = {.id = mf_arena_format(&d->memory, "%ld", id)};
    if (id >= 1 && (size_t)id <= all->count) {
        s.located = 1;
        s.latitude = all->item[id - 1].latitude;
        s.longitude = all->item[id - 1].longitude;
    }
    const char *aerial = mf_arena_join(&d->memory, d->root, csv->field[0]);
    const char *ground = mf_arena_join(&d->memory, d->root, csv->field[1]);
    int have_aerial = mf_dataset_have(d, aerial), have_ground = mf_dataset_have(d, ground);
    if (!aerial || !ground)
        return mf_dataset_memory(d);
    if (!have_aerial || !have_ground)
        return MFRGN_OK;
    uint32_t query, reference;
    s.path = ground;
    MF_TRY(mf_dataset_add(d, 0, &s, &query));
    s.path = aerial;
    MF_TRY(mf_dataset_add(d, 1, &s, &reference));
    return mf_link_add(d, &d->truth, query, reference);
}

mfrgn_status mf_read_cvusa(mfrgn_dataset *d, const mf_dataset_request *request) {
    places all = {NULL, 0, 0};
    mf_csv csv = {0};
    int more = 1;
    mf_dataset_add_set(d, "ground", MFRGN_VIEW_GROUND);
    mf_dataset_add_set(d, "aerial", MFRGN_VIEW_AERIAL);
    const char *path = mf_arena_format(&d->memory, "%s/splits/%s-19zl.csv", d->root, request->split);
    mfrgn_status status = path ? read_places(d, &all) : mf_dataset_memory(d);
    if (status == MFRGN_OK)
        status = mf_csv_open(d->context, path, &csv);
    while (status == MFRGN_OK && (status = mf_csv_next(&csv, 0, &more)) == MFRGN_OK && more)
        status = add_pair(d, &csv, &all);
    mf_csv_close(&csv);
    mf_free(d->context, all.item);
    return status == MFRGN_OK ? mf_dataset_add_both(d) : status;
}
