/* VIGOR: four cities; a panorama has one positive tile and three semi-positive ones.  The gallery of a split is every
 * tile of its cities.  Pictures lie as released, {city}/panorama and {city}/satellite, or as the published code has
 * them, ground/{city} and satellite/{city}. */
#include "data/dataset.h"
#include "data/tiles.h"

typedef struct city_lists {
    const char *city, *splits;   /* the folder of the lists */
    const char *ground, *aerial; /* of the pictures */
    const char *labels;
    mf_lookup tiles; /* name -> row; of all cities read so far */
} city_lists;

static const char *picture_folder(mfrgn_dataset *d, const char *city, const char *released, const char *published) {
    const char *folder = mf_arena_format(&d->memory, "%s/%s/%s", d->root, city, released);
    if (folder && mf_entry(folder) == MF_ENTRY_FOLDER)
        return folder;
    return mf_arena_format(&d->memory, "%s/%s/%s", d->root, published, city);
}

static mfrgn_status locate(const mf_csv *csv, const char *name, mf_sample *s) {
    s->located = mf_name_point(name, &s->latitude, &s->longitude) == 1;
    if (s->located)
        return MFRGN_OK;
    return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "the name \"%.120s\" carries no latitude and longitude", name);
}

static mfrgn_status add_tile(mfrgn_dataset *d, city_lists *l, const mf_csv *csv) {
    mf_sample s = {.id = mf_arena_format(&d->memory, "%s", csv->field[0]),
                   .path = mf_arena_join(&d->memory, l->aerial, csv->field[0])};
    uint32_t row = UINT32_MAX, found;
    int added;
    if (csv->count != 1)
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "%zu columns, where one tile is expected", csv->count);
    if (!s.id || !s.path)
        return mf_dataset_memory(d);
    MF_TRY(locate(csv, csv->field[0], &s));
    if (mf_dataset_have(d, s.path))
        MF_TRY(mf_dataset_add(d, 1, &s, &row));
    /* A tile that is listed and not there keeps its name: its panoramas are then left out, not refused. */
    MF_TRY(mf_lookup_add(&l->tiles, s.id, row, &found, &added));
    return added ? MFRGN_OK : mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "the tile \"%.120s\" is listed twice", s.id);
}

static mfrgn_status find_tile(const city_lists *l, const mf_csv *csv, size_t column, uint32_t *row) {
    if (mf_lookup_find(&l->tiles, csv->field[column], row))
        return MFRGN_OK;
    return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "the tile \"%.120s\" is not in satellite_list.txt", csv->field[column]);
}

static mfrgn_status add_panorama(mfrgn_dataset *d, city_lists *l, const mf_csv *csv) {
    enum { COLUMNS = 13 }; /* name; then a tile and two offsets, four times */
    mf_sample s = {.id = mf_arena_format(&d->memory, "%s", csv->field[0]),
                   .path = mf_arena_join(&d->memory, l->ground, csv->field[0])};
    uint32_t truth, semi, query;
    if (csv->count != COLUMNS)
        return mf_csv_fail(csv, MFRGN_ERROR_FORMAT, "%zu columns, where a panorama and four tiles take %d", csv->count,
                           COLUMNS);
    MF_TRY(locate(csv, csv->field[0], &s));
    MF_TRY(find_tile(l, csv, 1, &truth));
    if (!mf_dataset_have(d, s.path) || truth == UINT32_MAX)
        return s.path ? MFRGN_OK : mf_dataset_memory(d);
    MF_TRY(mf_dataset_add(d, 0, &s, &query));
    MF_TRY(mf_link_add(d, &d->truth, query, truth));
    for (size_t column = 4; column <= 10; column += 3) {
        MF_TRY(find_tile(l, csv, column, &semi));
        if (semi != UINT32_MAX)
            MF_TRY(mf_link_add(d, &d->semi, query, semi));
    }
    return MFRGN_OK;
}

static mfrgn_status read_list(mfrgn_dataset *d, city_lists *l, const char *file,
                              mfrgn_status (*take)(mfrgn_dataset *, city_lists *, const mf_csv *)) {
    mf_csv csv;
    int more = 1;
    const char *path = mf_arena_format(&d->memory, "%s/%s/%s/%s", d->root, l->splits, l->city, file);
    if (!path)
        return mf_dataset_memory(d);
    MF_TRY(mf_csv_open(d->context, path, &csv));
    csv.words = 1;
    mfrgn_status status = MFRGN_OK;
    while (status == MFRGN_OK && (status = mf_csv_next(&csv, 0, &more)) == MFRGN_OK && more)
        status = take(d, l, &csv);
    mf_csv_close(&csv);
    return status;
}

mfrgn_status mf_read_vigor(mfrgn_dataset *d, const mf_dataset_request *request) {
    static const char *const cities[] = {"NewYork", "Seattle", "SanFrancisco", "Chicago"};
    int cross = strcmp(request->protocol, "cross") == 0, train = strcmp(request->split, "train") == 0;
    size_t first = cross && !train ? 2 : 0, end = cross && train ? 2 : 4;
    city_lists l = {.splits = request->corrected ? "splits__corrected" : "splits", .tiles = {.context = d->context}};
    l.labels = cross   ? "pano_label_balanced.txt"
               : train ? "same_area_balanced_train.txt"
                       : "same_area_balanced_test.txt";
    mf_dataset_add_set(d, "ground", MFRGN_VIEW_GROUND);
    mf_dataset_add_set(d, "aerial", MFRGN_VIEW_AERIAL);
    mfrgn_status status = MFRGN_OK;
    for (size_t i = first; status == MFRGN_OK && i < end; i++) {
        l.city = cities[i];
        l.ground = picture_folder(d, l.city, "panorama", "ground");
        l.aerial = picture_folder(d, l.city, "satellite", "satellite");
        status = l.ground && l.aerial ? read_list(d, &l, "satellite_list.txt", add_tile) : mf_dataset_memory(d);
        if (status == MFRGN_OK)
            status = read_list(d, &l, l.labels, add_panorama);
    }
    mf_lookup_free(&l.tiles);
    return status == MFRGN_OK ? mf_dataset_add_both(d) : status;
}
