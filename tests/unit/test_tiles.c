/* Tiles: sources, places, cutting, the polar transformation, bad input. */
#include "unit.h"

#include <math.h>
#include <pthread.h>

#ifdef MF_HAVE_SQLITE
#include <sqlite3.h>
#endif

#include "data/geo.h"
#include "data/tiles.h"
#include "files.h"

static mfrgn_context *context;

static void setup(void) {
    ck_assert_int_eq(mfrgn_context_create(NULL, &context), MFRGN_OK);
    folder_make();
}

static void teardown(void) {
    folder_remove();
    mfrgn_context_free(context);
}

static mfrgn_tiles *open_tiles(const char *path, const mfrgn_tiles_options *options) {
    mfrgn_tiles *tiles = NULL;
    mfrgn_status status = mfrgn_tiles_open(context, path, options, &tiles);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    return tiles;
}

static mfrgn_tile get(const mfrgn_tiles *tiles, size_t index) {
    mfrgn_tile tile = {.struct_size = sizeof(tile)};
    ck_assert_int_eq(mfrgn_tiles_get(tiles, index, &tile), MFRGN_OK);
    return tile;
}

static void refused(const char *path, const mfrgn_tiles_options *options, const char *why) {
    mfrgn_tiles *tiles = NULL;
    ck_assert_msg(mfrgn_tiles_open(context, path, options, &tiles) != MFRGN_OK, "%s: %s", path, why);
    ck_assert_msg(strstr(mfrgn_context_last_error(context), why) != NULL, "\"%s\" does not say \"%s\"",
                  mfrgn_context_last_error(context), why);
    ck_assert_ptr_null(tiles);
}

static void close_to(double value, double wanted, double error) {
    ck_assert_msg(fabs(value - wanted) <= error, "%.12g, not %.12g", value, wanted);
}

/* ---- geometry: against figures found by integrating the ellipsoid numerically (tests/unit/geometry.py) ---- */

START_TEST(test_geometry) {
    close_to(mf_geo_meridian(45), 4984944.37798, 1e-4);
    close_to(mf_geo_meridian(90), 10001965.72931, 1e-4);
    mf_point p = mf_geo_utm(55, 1, 693716.5791, 6093825.0189);
    close_to(p.latitude, -35.28, 1e-8);
    close_to(p.longitude, 149.13, 1e-8);
    p = mf_geo_move((mf_point){51.5, 179.9999}, 100, 200);
    close_to(p.latitude, 51.5017976260, 1e-9);
    close_to(p.longitude, 179.9999 + 0.0014401381 - 360, 1e-9);
}
END_TEST

/* ---- CSV ---- */

START_TEST(test_csv) {
    file_picture("pictures/b.ppm", 40, 20, 0);
    file_picture("pictures/a 1.ppm", 10, 10, 0);
    file_picture("pictures/c.ppm", 10, 10, 0);
    const char *path = file_text("tiles.csv", "Lon,tile_id,FILE,lat,width_m,heading\r\n"
                                              "-0.5,zz,pictures/b.ppm,51.25,80,1\r\n"
                                              "1e1,\"a,\"\"q\",\"pictures/a 1.ppm\",-33,,\r\n"
                                              ",c,pictures/c.ppm,,,\r\n");
    mfrgn_tiles *tiles = open_tiles(path, NULL);
    ck_assert_uint_eq(mfrgn_tiles_count(tiles), 3);
    mfrgn_tile t = get(tiles, 0);
    ck_assert_str_eq(t.id, "a,\"q");
    ck_assert_str_eq(t.path, in_folder("pictures/a 1.ppm"));
    ck_assert(t.located && t.latitude == -33 && t.longitude == 10 && t.width_m == 0 && t.metres_per_pixel == 0);
    t = get(tiles, 1);
    ck_assert(!t.located && strcmp(t.id, "c") == 0);
    t = get(tiles, 2);
    ck_assert(t.latitude == 51.25 && t.width_m == 80 && t.height_m == 40 && t.metres_per_pixel == 2);
    ck_assert_str_eq(mfrgn_tiles_processing(tiles), "");
    mfrgn_tiles_free(tiles);
    tiles = open_tiles(test_folder, NULL); /* the folder's only CSV */
    ck_assert_uint_eq(mfrgn_tiles_count(tiles), 3);
    mfrgn_tiles_free(tiles);
    tiles = open_tiles(file_text("bare.csv", "pictures/b.ppm,1.5,2.5\npictures/c.ppm,-1,3\n"), NULL);
    ck_assert(get(tiles, 0).latitude == 1.5 && get(tiles, 1).longitude == 3);
    mfrgn_tiles_free(tiles);
}
END_TEST

START_TEST(test_csv_refused) {
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"path,lat,lon\na.ppm,x1,2\n", "t.csv, line 2: latitude \"x1\" is not a number"},
        {"path,lat,lon\na.ppm,1,2\nb.ppm,90.01,2\n", "t.csv, line 3: latitude 90.01 is out of range"},
        {"path,lat,lon\na.ppm,1,-181\n", "line 2: longitude -181 is out of range"},
        {"path,lat,lon\na.ppm,nan,2\n", "not a number"},
        {"path,lat,lon\na.ppm,1,\n", "line 2: longitude is missing"},
        {"path,lat,lon\nnone.ppm,1,2\n", "none.ppm: there is no such file"},
        {"path,lat,lon,id\na.ppm,1,2,x\nb.ppm,1,2,y\nb.ppm,1,3,x\n", "line 4: the id \"x\" is on line 2 already"},
        {"path,lat,lon\na.ppm,1\n", "line 2: 2 fields, where the first record has 3"},
        {"path,lat\na.ppm,1\n", "not both"},
        {"path,lat,lon,width_m\na.ppm,1,2,0\n", "line 2: width_m must be above 0"},
        {"name,where\na.ppm,here\n", "line 1: neither a header"},
        {"path,lat,lon\n\"a.ppm,1,2\n", "line 2: a quote is opened"},
        {"path,lat,lon\n,1,2\n", "line 2: the path is missing"},
        {"path,lat,lon\n", "there is no tile"},
        {"", "empty"},
    };
    file_picture("a.ppm", 4, 4, 0);
    file_picture("b.ppm", 4, 4, 0);
    for (size_t i = 0; i < MF_COUNT(bad); i++)
        refused(file_text("t.csv", bad[i].text), NULL, bad[i].why);
    refused(in_folder("nothing"), NULL, "there is no such file");
    refused(file_text("notes.txt", "x"), NULL, "neither a folder");
}
END_TEST

/* ---- names ---- */

START_TEST(test_names) {
    file_picture("satellite_37.75_-122.5.ppm", 4, 4, 0);
    file_picture("below/51.5092003,-0.0872971,12.11.ppm", 4, 4, 0);
    mfrgn_tiles *tiles = open_tiles(test_folder, NULL);
    ck_assert_uint_eq(mfrgn_tiles_count(tiles), 2);
    mfrgn_tile t = get(tiles, 0);
    ck_assert_str_eq(t.id, "below/51.5092003,-0.0872971,12.11.ppm");
    ck_assert(t.located && t.latitude == 51.5092003 && t.longitude == -0.0872971);
    t = get(tiles, 1);
    ck_assert(t.latitude == 37.75 && t.longitude == -122.5);
    mfrgn_tiles_free(tiles);
    /* one without: a plain folder, unless names are asked for */
    file_picture("other_20_30.ppm", 4, 4, 0);
    tiles = open_tiles(test_folder, NULL);
    ck_assert_uint_eq(mfrgn_tiles_count(tiles), 3);
    ck_assert(!get(tiles, 0).located);
    mfrgn_tiles_free(tiles);
    mfrgn_tiles_options o = {.struct_size = sizeof(o), .kind = MFRGN_TILES_NAMES};
    refused(test_folder, &o, "other_20_30.ppm: its name carries no coordinates");
    remove(in_folder("other_20_30.ppm"));
    file_picture("satellite_91.5_3.5.ppm", 4, 4, 0);
    refused(test_folder, &o, "satellite_91.5_3.5.ppm: latitude 91.5");
    o.kind = MFRGN_TILES_AUTO; /* not taken for a folder whose names say nothing */
    refused(test_folder, &o, "satellite_91.5_3.5.ppm: latitude 91.5");
    o.kind = MFRGN_TILES_NAMES;
    file_text("empty/notes.txt", "x");
    refused(in_folder("empty"), NULL, "there is no tile");
}
END_TEST

/* ---- slippy maps ---- */

static void check_london(const mfrgn_tiles *tiles, size_t index, int pixels) {
    mfrgn_tile t = get(tiles, index);
    ck_assert_str_eq(t.id, "17/65504/43583");
    /* a centimetre is 9e-8 degrees of latitude, 1.4e-7 of longitude */
    close_to(t.latitude, 51.509597181, 5e-9);
    close_to(t.longitude, -0.086517334, 5e-9);
    close_to(t.width_m, 190.6840, 1e-3);
    close_to(t.height_m, 190.1875, 1e-3);
    close_to(t.metres_per_pixel, 190.6840 / pixels, 1e-5);
}

START_TEST(test_xyz) {
    file_picture("map/17/65504/43583.ppm", 64, 64, 1);
    file_picture("map/17/65504/43584.ppm", 64, 64, 2);
    file_picture("map/14/14979/9909.ppm", 64, 64, 3);
    file_text("map/17/65504/notes.txt", "x");
    mfrgn_tiles *tiles = open_tiles(in_folder("map"), NULL);
    ck_assert_uint_eq(mfrgn_tiles_count(tiles), 2);
    check_london(tiles, 0, 64);
    mfrgn_tiles_free(tiles);
    mfrgn_tiles_options o = {.struct_size = sizeof(o), .kind = MFRGN_TILES_XYZ, .zoom = 14};
    tiles = open_tiles(in_folder("map"), &o);
    mfrgn_tile t = get(tiles, 0);
    close_to(t.latitude, -35.272531757, 5e-9);
    close_to(t.longitude, 149.139404297, 5e-9);
    close_to(t.width_m, 1999.1703, 1e-2);
    close_to(t.height_m, 1990.2300, 1e-2);
    mfrgn_tiles_free(tiles);
    o.zoom = 15;
    refused(in_folder("map"), &o, "no zoom level 15; the deepest is 17");
    file_picture("bad/3/4/9.ppm", 8, 8, 0);
    refused(in_folder("bad"), NULL, "zoom level 3 has columns and rows 0 .. 7 only");
    file_picture("twice/3/4/2.ppm", 8, 8, 0);
    file_write("twice/3/4/2.pnm", "P6 1 1 255 abc", 14);
    refused(in_folder("twice"), NULL, "two tiles have the id \"3/4/2\"");
    refused(in_folder("map/17/65504"), &(mfrgn_tiles_options){.struct_size = sizeof(o), .kind = MFRGN_TILES_XYZ},
            "no folder of a zoom level");
}
END_TEST

#ifdef MF_HAVE_SQLITE
static const char *make_mbtiles(const char *name, const char *sql) {
    static unsigned char ppm[64 * 64 * 3 + 32];
    const char *path = in_folder("%s", name);
    sqlite3 *db;
    sqlite3_stmt *s;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, "INSERT INTO tiles VALUES (17, 65504, ?, ?)", -1, &s, NULL) == SQLITE_OK)
        for (int i = 0; i < 2; i++) {
            size_t size = ppm_make(ppm, sizeof(ppm), 64, 64, i + 1);
            sqlite3_bind_int(s, 1, 87488 - i); /* 2^17 - 1 - 43583, and one to the south */
            sqlite3_bind_blob(s, 2, ppm, (int)size, SQLITE_TRANSIENT);
            ck_assert_int_eq(sqlite3_step(s), SQLITE_DONE);
            sqlite3_reset(s);
        }
    sqlite3_finalize(s);
    sqlite3_close(db);
    return path;
}

static void *load_all(void *arg) {
    const mfrgn_tiles *tiles = arg;
    for (int i = 0; i < 50; i++) {
        mfrgn_bitmap *bitmap = NULL;
        if (mfrgn_tiles_load(tiles, (size_t)i % 2, &bitmap) != MFRGN_OK || mfrgn_bitmap_pixels(bitmap)[2] != i % 2 + 1)
            return arg;
        mfrgn_bitmap_free(bitmap);
    }
    return NULL;
}

START_TEST(test_mbtiles) {
    static const char tables[] = "CREATE TABLE metadata (name text, value text);"
                                 "INSERT INTO metadata VALUES ('name', 'a map'), ('format', 'png');"
                                 "CREATE TABLE tiles (zoom_level integer, tile_column integer, tile_row integer, "
                                 "tile_data blob);";
    const char *path = make_mbtiles("a map?&100%.mbtiles", tables);
    mfrgn_tiles *tiles = open_tiles(path, NULL);
    ck_assert_uint_eq(mfrgn_tiles_count(tiles), 2);
    check_london(tiles, 0, 64);
    ck_assert_str_eq(get(tiles, 1).id, "17/65504/43584");
    ck_assert(strstr(get(tiles, 0).path, "100%.mbtiles 17/65504/43583") != NULL);
    pthread_t thread[4];
    void *failed;
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, load_all, tiles);
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], &failed);
        ck_assert_ptr_null(failed);
    }
    mfrgn_tiles_free(tiles);
    ck_assert_msg(access(in_folder("a map?&100%.mbtiles-wal"), F_OK) != 0, "left a file");
    refused(make_mbtiles("m1.mbtiles", "CREATE TABLE tiles (a, b, c, d);"), NULL, "no table \"metadata\"");
    refused(make_mbtiles("m2.mbtiles", "CREATE TABLE metadata (name text, value text);"), NULL, "no table \"tiles\"");
    refused(make_mbtiles("m3.mbtiles", "CREATE TABLE metadata (name text, value text); CREATE TABLE tiles (a);"), NULL,
            "cannot be read");
    refused(make_mbtiles("m4.mbtiles", "CREATE TABLE metadata (name text, value text);"
                                       "INSERT INTO metadata VALUES ('format', 'pbf');"
                                       "CREATE TABLE tiles (zoom_level, tile_column, tile_row, tile_data);"),
            NULL, "its tiles are pbf");
    mfrgn_tiles_options o = {.struct_size = sizeof(o), .zoom = 4};
    refused(path, &o, "no zoom level 4; the deepest is 17");
    refused(file_text("text.mbtiles", "not a database"), NULL, "it is not SQLite's");
    refused(file_text("cut.mbtiles", "SQLite format 3"), NULL, "SQLite");
}
END_TEST
#endif

/* ---- cutting ---- */

START_TEST(test_cut) {
    file_picture("big.ppm", 100, 60, 7);
    const char *path = file_text("t.csv", "path,lat,lon,metres_per_pixel\nbig.ppm,51.5,0,2\n"); /* 200 m x 120 m */
    mfrgn_tiles_options o = {.struct_size = sizeof(o), .zoom = -1, .tile_size_m = 80, .overlap_m = 20};
    mfrgn_tiles *tiles = open_tiles(path, &o); /* 40 pixels, 30 apart: columns at 0, 30, 60; rows at 0, 20 */
    ck_assert_uint_eq(mfrgn_tiles_count(tiles), 6);
    static const char *const ids[] = {"big.ppm#0_0", "big.ppm#0_1", "big.ppm#0_2",
                                      "big.ppm#1_0", "big.ppm#1_1", "big.ppm#1_2"};
    static const int x0[] = {0, 30, 60}, y0[] = {0, 20};
    for (size_t i = 0; i < 6; i++) {
        mfrgn_tile t = get(tiles, i);
        mfrgn_bitmap *bitmap;
        mfrgn_image image = {.struct_size = sizeof(image)};
        ck_assert_str_eq(t.id, ids[i]);
        ck_assert(t.width_m == 80 && t.height_m == 80 && t.metres_per_pixel == 2);
        ck_assert_int_eq(mfrgn_tiles_load(tiles, i, &bitmap), MFRGN_OK);
        mfrgn_bitmap_image(bitmap, &image);
        const unsigned char *pixel = image.pixels;
        ck_assert(image.width == 40 && image.height == 40);
        ck_assert(pixel[0] == x0[i % 3] && pixel[1] == y0[i / 3] && pixel[2] == 7);
        mfrgn_bitmap_free(bitmap);
        /* the centre, in metres from the picture's */
        double east = 2 * (x0[i % 3] + 20 - 50), north = -2 * (y0[i / 3] + 20 - 30);
        mf_point middle = {51.5, 0}, here = {t.latitude, t.longitude};
        close_to(mfrgn_distance_m(middle.latitude, middle.longitude, here.latitude, here.longitude), hypot(east, north), 2e-3);
        close_to(mf_geo_meridian(t.latitude) - mf_geo_meridian(51.5), north, 1e-6);
    }
    mfrgn_tiles_free(tiles);
    o.tile_size_m = 1000; /* larger than the picture: the picture */
    o.overlap_m = 0;
    tiles = open_tiles(path, &o);
    ck_assert(mfrgn_tiles_count(tiles) == 1 && get(tiles, 0).width_m == 200 && get(tiles, 0).height_m == 120);
    mfrgn_tiles_free(tiles);
    o.overlap_m = 1000;
    refused(path, &o, "overlap of 1000 m must be less");
    o.overlap_m = 10;
    refused(file_text("u.csv", "path,lat,lon\nbig.ppm,51.5,0\n"), &o, "ground resolution is unknown");
    o.metres_per_pixel = 0.5;
    o.tile_size_m = 20;
    tiles = open_tiles(in_folder("u.csv"), &o);
    ck_assert(get(tiles, 0).width_m == 20 && get(tiles, 0).metres_per_pixel == 0.5);
    mfrgn_tiles_free(tiles);
}
END_TEST

START_TEST(test_cut_mercator) {
    /* Halves of a slippy-map tile are tiles of the next zoom level. */
    file_picture("map/13/4094/2723.ppm", 64, 64, 0);
    file_picture("deeper/14/8188/5446.ppm", 32, 32, 0);
    mfrgn_tiles *one = open_tiles(in_folder("deeper"), NULL);
    mfrgn_tile wanted = get(one, 0);
    mfrgn_tiles_options o = {.struct_size = sizeof(o), .zoom = -1, .tile_size_m = wanted.width_m};
    mfrgn_tiles *tiles = open_tiles(in_folder("map"), &o);
    mfrgn_tile t = get(tiles, 0);
    ck_assert_str_eq(t.id, "13/4094/2723#0_0");
    close_to(t.latitude, wanted.latitude, 1e-12);
    close_to(t.longitude, wanted.longitude, 1e-12);
    close_to(t.width_m, wanted.width_m, 1e-6);
    close_to(t.height_m, wanted.height_m, 1e-6);
    close_to(t.metres_per_pixel, wanted.metres_per_pixel, 1e-9);
    mfrgn_tiles_free(tiles);
    mfrgn_tiles_free(one);
}
END_TEST

/* ---- polar ---- */

START_TEST(test_polar) {
    /* A pixel is (x, y): so the value tells where it was taken from. */
    file_picture("p.ppm", 200, 200, 9);
    mfrgn_tiles_options o = {.struct_size = sizeof(o), .zoom = -1, .polar_height = 50, .polar_width = 80};
    mfrgn_tiles *tiles = open_tiles(test_folder, &o);
    mfrgn_bitmap *bitmap;
    mfrgn_image image = {.struct_size = sizeof(image)};
    ck_assert_str_eq(mfrgn_tiles_processing(tiles), "polar 50x80");
    ck_assert_int_eq(mfrgn_tiles_load(tiles, 0, &bitmap), MFRGN_OK);
    mfrgn_bitmap_image(bitmap, &image);
    ck_assert(image.width == 80 && image.height == 50);
    const unsigned char *p = image.pixels;
    static const struct {
        int row, column, x, y;
    } at[] = {
        {49, 0, 100, 100},  {49, 33, 100, 100}, /* the last row is the centre */
        {0, 0, 100, 2},                         /* north: straight up, 49/50 of the way */
        {0, 20, 198, 100},                      /* east */
        {0, 40, 100, 198},                      /* south */
        {0, 60, 2, 100},                        /* west */
        {24, 20, 150, 100}, {24, 10, 135, 65},  /* half way; north-east */
    };
    for (size_t i = 0; i < MF_COUNT(at); i++) {
        const unsigned char *pixel = p + (at[i].row * 80 + at[i].column) * 3;
        ck_assert_msg(pixel[0] == at[i].x && pixel[1] == at[i].y && pixel[2] == 9, "row %d column %d: %d %d", at[i].row,
                      at[i].column, pixel[0], pixel[1]);
    }
    mfrgn_bitmap_free(bitmap);
    mfrgn_tiles_free(tiles);
}
END_TEST

START_TEST(test_arguments) {
    file_picture("a.ppm", 4, 4, 0);
    mfrgn_tiles_options o = {.struct_size = 4};
    mfrgn_tiles *tiles = NULL;
    mfrgn_bitmap *bitmap = NULL;
    refused(test_folder, &o, "struct_size");
    o = (mfrgn_tiles_options){.struct_size = sizeof(o), .kind = (mfrgn_tiles_kind)17};
    refused(test_folder, &o, "unknown kind");
    o = (mfrgn_tiles_options){.struct_size = sizeof(o), .polar_height = 5};
    refused(test_folder, &o, "polar");
    o = (mfrgn_tiles_options){.struct_size = sizeof(o), .kind = MFRGN_TILES_CSV};
    refused(test_folder, &o, "neither a tiles.csv");
    ck_assert_int_eq(mfrgn_tiles_open(context, NULL, NULL, &tiles), MFRGN_ERROR_ARGUMENT);
    tiles = open_tiles(test_folder, NULL);
    ck_assert_int_eq(mfrgn_tiles_load(tiles, 1, &bitmap), MFRGN_ERROR_ARGUMENT);
    remove(in_folder("a.ppm"));
    ck_assert_int_eq(mfrgn_tiles_load(tiles, 0, &bitmap), MFRGN_ERROR_IO);
    mfrgn_tiles_free(tiles);
    mfrgn_tiles_free(NULL);
    ck_assert_uint_eq(mfrgn_tiles_count(NULL), 0);
}
END_TEST

START_TEST(test_london) {
    const char *path = MF_REAL_DIR "/london/pairs.csv";
    if (access(path, R_OK)) {
        printf("skipped: %s is not there\n", path);
        return;
    }
    mfrgn_tiles *tiles = open_tiles(path, NULL);
    ck_assert_uint_eq(mfrgn_tiles_count(tiles), 10);
    for (size_t i = 0; i < 10; i++) {
        mfrgn_bitmap *bitmap;
        mfrgn_tile t = get(tiles, i);
        ck_assert(t.located && fabs(t.latitude - 51.5) < 0.1);
        ck_assert_int_eq(mfrgn_tiles_load(tiles, i, &bitmap), MFRGN_OK);
        mfrgn_bitmap_free(bitmap);
    }
    mfrgn_tiles_free(tiles);
}
END_TEST

int main(void) {
    Suite *s = suite_create("tiles");
    TCase *t = tcase_create("tiles");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_geometry);
    tcase_add_test(t, test_csv);
    tcase_add_test(t, test_csv_refused);
    tcase_add_test(t, test_names);
    tcase_add_test(t, test_xyz);
#ifdef MF_HAVE_SQLITE
    tcase_add_test(t, test_mbtiles);
#endif
    tcase_add_test(t, test_cut);
    tcase_add_test(t, test_cut_mercator);
    tcase_add_test(t, test_polar);
    tcase_add_test(t, test_arguments);
    tcase_add_test(t, test_london);
    suite_add_tcase(s, t);
    return mf_run_suite(s);
}
