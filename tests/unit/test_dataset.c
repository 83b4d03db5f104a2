/* Readers of data sets, on small ones made here and on the real ones where they are; metrics by hand. */
#include "unit.h"

#include <math.h>

#include "data/dataset.h"
#include "files.h"
#include "io/npy.h"
#include "matlab.h"
#include "mfrgn/gallery.h"

static mfrgn_context *context;

static void setup(void) {
    ck_assert_int_eq(mfrgn_context_create(NULL, &context), MFRGN_OK);
    folder_make();
}

static void teardown(void) {
    folder_remove();
    mfrgn_context_free(context);
}

static mfrgn_dataset *open_set(const char *name, const char *root, const char *split, const char *protocol) {
    mfrgn_dataset_options o = {sizeof(o), split, protocol, 0};
    mfrgn_dataset *d = NULL;
    mfrgn_status status = mfrgn_dataset_open(context, name, root, &o, &d);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    return d;
}

static void refused(const char *name, const char *split, const char *protocol, const char *why) {
    mfrgn_dataset_options o = {sizeof(o), split, protocol, 0};
    mfrgn_dataset *d = NULL;
    ck_assert_int_ne(mfrgn_dataset_open(context, name, test_folder, &o, &d), MFRGN_OK);
    ck_assert_msg(strstr(mfrgn_context_last_error(context), why) != NULL, "\"%s\" does not say \"%s\"",
                  mfrgn_context_last_error(context), why);
}

static size_t size_of(const mfrgn_dataset *d, int set) {
    mfrgn_set_info info = {.struct_size = sizeof(info)};
    ck_assert_int_eq(mfrgn_dataset_get_set(d, set, &info), MFRGN_OK);
    return info.count;
}

static mfrgn_sample sample_of(const mfrgn_dataset *d, int set, size_t index) {
    mfrgn_sample s = {.struct_size = sizeof(s)};
    ck_assert_int_eq(mfrgn_dataset_get_sample(d, set, index, &s), MFRGN_OK);
    return s;
}

static size_t missing_of(const mfrgn_dataset *d) {
    mfrgn_dataset_info info = {.struct_size = sizeof(info)};
    ck_assert_int_eq(mfrgn_dataset_get_info(d, &info), MFRGN_OK);
    return info.missing;
}

static size_t queries_of(const mfrgn_dataset *d, int task) {
    mfrgn_task_info info = {.struct_size = sizeof(info)};
    ck_assert_int_eq(mfrgn_dataset_get_task(d, task, &info), MFRGN_OK);
    return info.queries;
}

/* The truth and the semi-positives of a query as text: "3 | 1 2". */
static const char *truth_of(const mfrgn_dataset *d, int task, size_t query) {
    static char text[200];
    const unsigned *truth, *semi;
    size_t truths, semis, at = 0;
    ck_assert_int_eq(mfrgn_dataset_get_truth(d, task, query, &truth, &truths, &semi, &semis), MFRGN_OK);
    text[0] = 0;
    for (size_t i = 0; i < truths; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%u ", truth[i]);
    at += (size_t)snprintf(text + at, sizeof(text) - at, "|");
    for (size_t i = 0; i < semis; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, " %u", semi[i]);
    return text;
}

static void picture(const char *name) {
    file_write(name, "P6 1 1 255 abc", 14);
}

/* ---- CVUSA ---- */

START_TEST(test_cvusa) {
    file_text("splits/val-19zl.csv", "bingmap/19/0000002.jpg,streetview/panos/0000002.jpg,x.png\n"
                                     "bingmap/19/0000003.jpg,streetview/panos/0000003.jpg,x.png\n"
                                     "bingmap/19/0000009.jpg,streetview/panos/0000009.jpg,x.png\n");
    file_text("split_locations/all.csv", "1.5,2.5,0,0,0\n44.750410252126471,-121.224477921547162,0,0,0\n-3,4,0,0,0\n");
    picture("bingmap/19/0000002.jpg");
    picture("streetview/panos/0000002.jpg");
    picture("bingmap/19/0000003.jpg");
    picture("bingmap/19/0000009.jpg");
    picture("streetview/panos/0000009.jpg");
    mfrgn_dataset *d = open_set("cvusa", test_folder, NULL, NULL);
    ck_assert(size_of(d, 0) == 2 && size_of(d, 1) == 2 && missing_of(d) == 1);
    ck_assert(strstr(mfrgn_dataset_missing(d, 0), "panos/0000003.jpg") && !mfrgn_dataset_missing(d, 1));
    mfrgn_sample s = sample_of(d, 1, 0);
    ck_assert(s.located && s.latitude == 44.750410252126471 && s.longitude == -121.224477921547162);
    ck_assert_str_eq(s.id, "2");
    ck_assert_str_eq(s.path, in_folder("bingmap/19/0000002.jpg"));
    ck_assert(!sample_of(d, 0, 1).located); /* row 9 of three */
    ck_assert_str_eq(truth_of(d, 0, 1), "1 |");
    ck_assert_str_eq(truth_of(d, 1, 0), "0 |");
    mfrgn_dataset_free(d);
    refused("cvusa", "train", NULL, "train-19zl.csv");
    refused("cvusa", "test", NULL, "the split is one of val|train, not \"test\"");
    refused("cvusa", NULL, "plain", "no protocol");
    file_text("split_locations/all.csv", "1.5,2.5\n91,3\n");
    refused("cvusa", NULL, NULL, "all.csv, line 2: latitude 91 is out of range");
    remove(in_folder("split_locations/all.csv"));
    file_text("splits/val-19zl.csv", "a/b.jpg,c.jpg,x\n");
    refused("cvusa", NULL, NULL, "line 1: the aerial file");
    file_text("splits/val-19zl.csv", "a/77.jpg,c.jpg,x\n");
    refused("cvusa", NULL, NULL, "no pair is left: 2 pictures are missing");
    refused("mars", NULL, NULL, "there is no data set \"mars\"");
}
END_TEST

/* ---- CVACT ---- */

static void act_data(int big, int compressed) {
    static const char *const ids[] = {"first", "second", "third", "fourth"};
    static const double utm[] = {693000, 693716.5791, 693100, 0, 6093000, 6093825.0189, 6093100, 0};
    static const int64_t train[] = {1, 3}, val[] = {2, 4};
    static mat m, packed;
    mat_begin(&m, big);
    mat_cells(&m, "panoIds", ids, 4);
    mat_doubles(&m, "utm", 4, 2, utm);
    mat_split(&m, "trainSet", "trainInd", train, 2);
    mat_split(&m, "valSet", "valInd", val, 2);
#ifdef MF_HAVE_ZLIB
    if (compressed)
        mat_compress(&m, &packed);
#endif
    const mat *out = compressed && packed.size ? &packed : &m;
    file_write("ACT_data.mat", out->data, out->size);
}

START_TEST(test_cvact) {
    for (int i = 0; i < 4; i++) {
        static const char *const ids[] = {"first", "second", "third", "fourth"};
        char name[200];
        for (int k = 0; k < 2 && i < 3; k++) {
            snprintf(name, sizeof(name), "ANU_data_%s/streetview/%s_grdView.jpg", k ? "test" : "small", ids[i]);
            picture(name);
            snprintf(name, sizeof(name), "ANU_data_%s/satview_polish/%s_satView_polish.jpg", k ? "test" : "small",
                     ids[i]);
            picture(name);
        }
    }
    picture("ANU_data_test/streetview/other_grdView.jpg");
    picture("ANU_data_test/satview_polish/other_satView_polish.jpg");
    act_data(_i & 1, _i >> 1);
    mfrgn_dataset *d = open_set("cvact", test_folder, NULL, NULL);
    ck_assert(size_of(d, 0) == 1 && missing_of(d) == 2);
    mfrgn_sample s = sample_of(d, 0, 0);
    ck_assert_str_eq(s.id, "second");
    ck_assert(s.located && fabs(s.latitude + 35.28) < 1e-8 && fabs(s.longitude - 149.13) < 1e-8);
    mfrgn_dataset_free(d);
    d = open_set("cvact", test_folder, "train", NULL);
    ck_assert(size_of(d, 0) == 2 && missing_of(d) == 0);
    ck_assert_str_eq(sample_of(d, 1, 1).id, "third");
    mfrgn_dataset_free(d);
    d = open_set("cvact", test_folder, "test", NULL);
    ck_assert(size_of(d, 0) == 4 && missing_of(d) == 0);
    ck_assert(!sample_of(d, 0, 1).located && sample_of(d, 0, 2).located);
    mfrgn_dataset_free(d);
    static const int64_t far[] = {5};
    static const char *const one[] = {"first"};
    static mat m;
    mat_begin(&m, 0);
    mat_cells(&m, "panoIds", one, 1);
    mat_split(&m, "valSet", "valInd", far, 1);
    file_write("ACT_data.mat", m.data, m.size);
    refused("cvact", NULL, NULL, "\"valSet.valInd\", number 1: 5 is none of 1 .. 1");
    refused("cvact", "train", NULL, "no struct \"trainSet\"");
}
END_TEST

/* ---- VIGOR ---- */

static void city(const char *name, int layout, const char *splits, int number) {
    char path[200], text[1000];
    size_t at = 0;
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof(path),
                 layout ? "satellite/%s/satellite_%d.5_%d.25.png" : "%s/satellite/satellite_%d.5_%d.25.png", name,
                 number, i);
        if (!(number == 2 && i == 4))
            picture(path);
        at += (size_t)snprintf(text + at, sizeof(text) - at, "satellite_%d.5_%d.25.png\n", number, i);
    }
    snprintf(path, sizeof(path), "%s/%s/satellite_list.txt", splits, name);
    file_text(path, text);
    for (int list = 0; list < 3; list++) {
        static const char *const names[] = {"same_area_balanced_train", "same_area_balanced_test",
                                            "pano_label_balanced"};
        at = 0;
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof(path), layout ? "ground/%s/p%d%d,%d.5,%d.0,.jpg" : "%s/panorama/p%d%d,%d.5,%d.0,.jpg",
                     name, list, i, number, i);
            picture(path);
            at += (size_t)snprintf(text + at, sizeof(text) - at, "p%d%d,%d.5,%d.0,.jpg", list, i, number, i);
            for (int k = 0; k < 4; k++) /* the truth is tile list + i; then the next ones */
                at += (size_t)snprintf(text + at, sizeof(text) - at, " satellite_%d.5_%d.25.png  1.5 -2.5", number,
                                       (list + i + k) % 5);
            at += (size_t)snprintf(text + at, sizeof(text) - at, "\r\n");
        }
        snprintf(path, sizeof(path), "%s/%s/%s.txt", splits, name, names[list]);
        file_text(path, text);
    }
}

START_TEST(test_vigor) {
    static const char *const names[] = {"NewYork", "Seattle", "SanFrancisco", "Chicago"};
    for (int i = 0; i < 4; i++)
        city(names[i], _i, "splits", i);
    mfrgn_dataset *d = open_set("vigor", test_folder, NULL, NULL); /* same area, test: list 1 */
    ck_assert(size_of(d, 0) == 8 && size_of(d, 1) == 19 && missing_of(d) == 1);
    ck_assert_str_eq(truth_of(d, 0, 0), "1 | 2 3 4");
    ck_assert_str_eq(truth_of(d, 0, 3), "7 | 8 9 5");
    ck_assert_str_eq(truth_of(d, 0, 4), "11 | 12 13"); /* a semi-positive that is not there */
    ck_assert_str_eq(truth_of(d, 1, 2), "1 | 0");
    ck_assert(queries_of(d, 0) == 8 && queries_of(d, 1) == 8);
    mfrgn_sample s = sample_of(d, 1, 6);
    ck_assert(s.located && s.latitude == 1.5 && s.longitude == 1.25);
    s = sample_of(d, 0, 7);
    ck_assert(s.located && s.latitude == 3.5 && s.longitude == 1.0);
    mfrgn_dataset_free(d);
    d = open_set("vigor", test_folder, "train", "cross"); /* New York and Seattle, list 2 */
    ck_assert(size_of(d, 0) == 4 && size_of(d, 1) == 10);
    ck_assert_str_eq(truth_of(d, 0, 1), "3 | 4 0 1");
    mfrgn_dataset_free(d);
    d = open_set("vigor", test_folder, "test", "cross");
    ck_assert(size_of(d, 0) == 4 && size_of(d, 1) == 9 && missing_of(d) == 1);
    mfrgn_dataset_free(d);
    d = open_set("vigor", test_folder, "train", "same");
    ck_assert(size_of(d, 0) == 8 && size_of(d, 1) == 19);
    mfrgn_dataset_free(d);
    mfrgn_dataset_options o = {sizeof(o), NULL, NULL, 1};
    ck_assert_int_eq(mfrgn_dataset_open(context, "vigor", test_folder, &o, &d), MFRGN_ERROR_IO);
    for (int i = 0; i < 4; i++)
        city(names[i], _i, "splits__corrected", i);
    ck_assert_int_eq(mfrgn_dataset_open(context, "vigor", test_folder, &o, &d), MFRGN_OK);
    mfrgn_dataset_free(d);
    file_text("splits/Seattle/same_area_balanced_test.txt", "p,1.5,2.5,.jpg satellite_9.5_9.5.png 1 2\n");
    refused("vigor", NULL, NULL, "same_area_balanced_test.txt, line 1: 4 columns");
    file_text("splits/NewYork/satellite_list.txt", "satellite_0.5_1.25.png\nsatellite_0.5_1.25.png\n");
    refused("vigor", NULL, NULL, "satellite_list.txt, line 2: the tile \"satellite_0.5_1.25.png\" is listed twice");
    file_text("splits/NewYork/satellite_list.txt", "satellite_0.5_4.25.png\n");
    refused("vigor", NULL, NULL, "line 1: the tile \"satellite_0.5_1.25.png\" is not in satellite_list.txt");
}
END_TEST

/* ---- University-1652 ---- */

START_TEST(test_u1652) {
    picture("test/query_drone/0001/a.jpg");
    picture("test/query_drone/0001/b.jpg");
    picture("test/query_drone/0003/a.jpg");
    picture("test/gallery_satellite/0001/0001.jpg");
    picture("test/gallery_satellite/0002/0002.jpg"); /* no query has it */
    picture("test/gallery_satellite/0003/0003.jpg");
    picture("test/query_satellite/0001/0001.jpg");
    picture("test/gallery_drone/0001/a.jpg");
    picture("test/gallery_drone/0001/b.jpg");
    picture("test/gallery_drone/0005/a.jpg");
    picture("train/drone/0009/a.jpg");
    picture("train/drone/0009/b.jpg");
    picture("train/satellite/0009/0009.jpg");
    mfrgn_dataset *d = open_set("u1652", test_folder, NULL, NULL);
    ck_assert(size_of(d, 0) == 3 && size_of(d, 1) == 2 && size_of(d, 2) == 1 && size_of(d, 3) == 2);
    ck_assert_str_eq(truth_of(d, 0, 1), "0 |");
    ck_assert_str_eq(truth_of(d, 0, 2), "1 |");
    ck_assert_str_eq(truth_of(d, 1, 0), "0 1 |");
    mfrgn_dataset_free(d);
    d = open_set("u1652", test_folder, NULL, "plain");
    ck_assert(size_of(d, 1) == 3 && size_of(d, 3) == 3);
    ck_assert_str_eq(truth_of(d, 0, 2), "2 |");
    mfrgn_dataset_free(d);
    d = open_set("u1652", test_folder, "train", NULL);
    ck_assert(size_of(d, 0) == 2 && size_of(d, 1) == 1);
    ck_assert_str_eq(truth_of(d, 0, 1), "0 |");
    mfrgn_dataset_free(d);
    refused("u1652", NULL, "other", "published|plain");
}
END_TEST

/* ---- pairs ---- */

START_TEST(test_pairs) {
    picture("g/1.jpg");
    picture("g/2.jpg");
    picture("g/3.jpg");
    picture("a/1.jpg");
    picture("a/2.jpg");
    file_text("pairs.csv", "ground,aerial,latitude,longitude,heading,split\n"
                           "g/1.jpg,a/1.jpg,51.5,-0.25,12.5,test\n"
                           "g/2.jpg,a/1.jpg,51.5001,-0.25,,test\n"
                           ",a/2.jpg,51.6,-0.25,,test\n"
                           "g/3.jpg,a/2.jpg,51.6,-0.25,,train\n"
                           "g/none.jpg,a/2.jpg,51.6,-0.25,,test\n");
    mfrgn_dataset *d = open_set("pairs", test_folder, NULL, NULL);
    ck_assert(size_of(d, 0) == 2 && size_of(d, 1) == 2 && missing_of(d) == 1);
    ck_assert_str_eq(truth_of(d, 1, 0), "0 1 |");
    ck_assert_str_eq(truth_of(d, 1, 1), "|");
    ck_assert(queries_of(d, 0) == 2 && queries_of(d, 1) == 1);
    ck_assert(sample_of(d, 0, 0).directed && sample_of(d, 0, 0).heading == 12.5 && !sample_of(d, 0, 1).directed);
    ck_assert(sample_of(d, 0, 1).latitude == 51.5001 && sample_of(d, 1, 0).latitude == 51.5);
    mfrgn_dataset_free(d);
    d = open_set("pairs", in_folder("pairs.csv"), "train", NULL);
    ck_assert(size_of(d, 0) == 1 && size_of(d, 1) == 1);
    mfrgn_dataset_free(d);
    refused("pairs", "nothing", NULL, "no pair in split \"nothing\"");
    file_text("pairs.csv", "ground,aerial,latitude,longitude\ng/1.jpg,a/1.jpg,95,2\n");
    refused("pairs", NULL, NULL, "pairs.csv, line 2: latitude 95 is out of range");
    refused("pairs", "test", NULL, "no column \"split\"");
    file_text("pairs.csv", "ground,aerial,latitude,longitude\ng/1.jpg,a/1.jpg,1,2\ng/2.jpg,a/1.jpg,3,2\n");
    refused("pairs", NULL, NULL, "line 3: the tile \"a/1.jpg\" is far from");
    file_text("pairs.csv", "a,b\n");
    refused("pairs", NULL, NULL, "columns \"ground\" and \"aerial\"");
}
END_TEST

/* ---- real ones ---- */

static void check_real(const char *name, const char *folder, const char *split, size_t queries, size_t references,
                       size_t missing, int located) {
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", MF_REAL_DIR, folder);
    if (access(path, R_OK)) {
        printf("skipped: %s is not there\n", path);
        return;
    }
    mfrgn_dataset *d = open_set(name, path, split, NULL);
    ck_assert_uint_eq(size_of(d, 0), queries);
    ck_assert_uint_eq(size_of(d, 1), references);
    ck_assert_uint_eq(missing_of(d), missing);
    ck_assert_int_eq(sample_of(d, 0, 0).located, located);
    mfrgn_dataset_free(d);
}

START_TEST(test_real) {
    check_real("cvusa", "cvusa", "val", 10, 10, 0, 1);
    check_real("cvusa", "cvusa", "train", 10, 10, 0, 1);
#ifdef MF_HAVE_ZLIB
    check_real("cvact", "cvact", "val", 1, 1, 0, 1);
    check_real("cvact", "cvact", "train", 2, 2, 2, 1);
#endif
    check_real("u1652", "university1652-mini", "test", 70, 70, 0, 0);
    check_real("u1652", "university1652-mini", "train", 280, 280, 0, 0);
    check_real("pairs", "london", NULL, 10, 10, 0, 1);
}
END_TEST

/* ---- metrics by hand ---- */

static mfrgn_metrics metrics[2] = {{.struct_size = sizeof(mfrgn_metrics)}, {.struct_size = sizeof(mfrgn_metrics)}};

static void evaluate(const float *q, size_t queries, const float *r, size_t references, const char *labels,
                     int all_true) {
    mfrgn_evaluate_options o = {.struct_size = sizeof(o), .threads = 2, .all_true = all_true};
    int count = 0;
    ck_assert_int_eq(mf_npy_save(context, in_folder("q.npy"), q, queries, 1), MFRGN_OK);
    ck_assert_int_eq(mf_npy_save(context, in_folder("r.npy"), r, references, 1), MFRGN_OK);
    mfrgn_status status = mfrgn_evaluate_files(context, in_folder("q.npy"), in_folder("r.npy"),
                                               file_text("labels.csv", labels), &o, metrics, 2, &count);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    ck_assert_int_eq(count, 2);
}

START_TEST(test_metrics) {
    /* Descriptors of one value: the scores of query 1 are the references, of query -1 their opposites. */
    static const float q[] = {1, -1}, r[] = {5, 4, 4, 3, 2, 1};
    evaluate(q, 2, r, 6, "1,0,3\n0,1\n", 0);
    /* query 0: truth 4, above it only 5, a semi-positive; the other 4 is a tie.  query 1: truth -5, five above it. */
    ck_assert(metrics[0].recall_1 == 0 && metrics[0].recall_5 == 50 && metrics[0].recall_10 == 100);
    ck_assert(metrics[0].recall_percent == 0 && metrics[0].hit_rate == 50 && metrics[0].has_semi);
    /* AP of one truth at place p > 0: (1 / (p + 1) + 0) / 2 */
    ck_assert_double_eq_tol(metrics[0].ap, 100 * (0.25 + 1.0 / 12) / 2, 1e-9);
    /* back: references 0 and 1 have queries; 0 asks for query 1 (score -5, 5 above it), 1 for query 0 (first) */
    ck_assert(metrics[1].queries == 2 && metrics[1].references == 2 && metrics[1].recall_1 == 50);
    evaluate(q, 1, r, 6, "2,0,5\n", 1);
    /* truths 5 (place 0), 4 (place 1, before its tie), 1 (place 5): (1 + 1)/2, (1 + 1)/2, (3/6 + 2/5)/2 */
    ck_assert_double_eq_tol(metrics[0].ap, 100 * (1 + 1 + 0.45) / 3, 1e-9);
    ck_assert(metrics[0].recall_1 == 100 && metrics[0].multiple && metrics[1].queries == 3);
}
END_TEST

/* ---- memory that runs out, wherever ---- */

static long allocations_left;

static void *scarce_allocate(void *user, size_t size, size_t alignment) {
    (void)user;
    return allocations_left-- > 0 ? aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment) : NULL;
}

static void scarce_release(void *user, void *memory) {
    (void)user;
    free(memory);
}

static mfrgn_status use_all(mfrgn_context *scarce) {
    mfrgn_evaluate_options o = {.struct_size = sizeof(o), .threads = 2};
    mfrgn_dataset *d = NULL;
    mfrgn_tiles *tiles = NULL;
    int count;
    mfrgn_status status = mfrgn_dataset_open(scarce, "cvact", test_folder, NULL, &d);
    mfrgn_dataset_free(d);
    d = NULL;
    if (status == MFRGN_OK)
        status = mfrgn_dataset_open(scarce, "pairs", test_folder, NULL, &d);
    mfrgn_dataset_free(d);
    if (status == MFRGN_OK)
        status = mfrgn_tiles_open(scarce, in_folder("pairs.csv"), NULL, &tiles);
    mfrgn_tiles_free(tiles);
    if (status == MFRGN_OK)
        status = mfrgn_evaluate_files(scarce, in_folder("q.npy"), in_folder("r.npy"), in_folder("labels.csv"), &o,
                                      metrics, 2, &count);
    return status;
}

START_TEST(test_memory_runs_out) {
    static const float q[] = {1, -1}, r[] = {5, 4, 4, 3, 2, 1};
    mfrgn_allocator allocator = {sizeof(allocator), NULL, scarce_allocate, scarce_release};
    act_data(0, 1);
    picture("ANU_data_small/streetview/second_grdView.jpg");
    picture("ANU_data_small/satview_polish/second_satView_polish.jpg");
    file_text("pairs.csv", "ground,aerial\nANU_data_small/streetview/second_grdView.jpg,"
                           "ANU_data_small/satview_polish/second_satView_polish.jpg\n");
    ck_assert_int_eq(mf_npy_save(context, in_folder("q.npy"), q, 2, 1), MFRGN_OK);
    ck_assert_int_eq(mf_npy_save(context, in_folder("r.npy"), r, 6, 1), MFRGN_OK);
    file_text("labels.csv", "1,0,3\n0,1\n");
    long n = 0;
    mfrgn_status status = MFRGN_ERROR_MEMORY;
    for (; status != MFRGN_OK; n++) {
        mfrgn_context *scarce = NULL;
        allocations_left = n;
        status = mfrgn_context_create(&allocator, &scarce);
        if (status == MFRGN_OK)
            status = use_all(scarce);
        ck_assert_msg(status == MFRGN_OK || status == MFRGN_ERROR_MEMORY, "allocation %ld: %s", n,
                      mfrgn_context_last_error(scarce));
        mfrgn_context_free(scarce);
    }
    ck_assert_int_gt(n, 30);
}
END_TEST

int main(void) {
    Suite *s = suite_create("dataset");
    TCase *t = tcase_create("dataset");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_cvusa);
    tcase_add_loop_test(t, test_cvact, 0, 4);
    tcase_add_loop_test(t, test_vigor, 0, 2);
    tcase_add_test(t, test_u1652);
    tcase_add_test(t, test_pairs);
    tcase_add_test(t, test_real);
    tcase_add_test(t, test_metrics);
    tcase_add_test(t, test_memory_runs_out);
    suite_add_tcase(s, t);
    return mf_run_suite(s);
}
