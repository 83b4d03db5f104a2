/* Galleries on disk: building, resuming, shards, adding. */
#include "gallery.h"

/* ---- what is built is what is read ---- */

static int skipped_count;
static char skipped_text[256];

static void note_skipped(void *user, const mfrgn_tile *tile, const char *why) {
    (void)user;
    skipped_count++;
    snprintf(skipped_text, sizeof(skipped_text), "%s: %s", tile->id, why);
}

START_TEST(built_and_read) {
    mfrgn_index_storage storage = (mfrgn_index_storage)_i;
    mfrgn_index *index;
    OK(build(&plain, TILES, at("a.mfi"), (mfrgn_index_build){.storage = storage}, 0));
    ck_assert(!exists(at("a.mfi.partial")));
    OK(mfrgn_index_open(context, at("a.mfi"), &index));
    OK(mfrgn_index_verify(index, NULL));
    mfrgn_index_info info = {.struct_size = sizeof(info)};
    OK(mfrgn_index_get_info(index, &info));
    ck_assert_uint_eq(info.count, TILES);
    ck_assert_uint_eq(info.size, mfrgn_model_descriptor_size(model));
    ck_assert_int_eq(info.storage, storage);
    ck_assert_int_eq(info.exact, storage <= MFRGN_INDEX_F32_I8);
    ck_assert(strstr(info.model, "convnext_atto") && strstr(info.preparation, "32x32") && !info.calibrated);
    float *expected = malloc(TILES * info.size * sizeof(float)), *got = malloc(info.size * sizeof(float));
    mfrgn_bitmap *bitmap[TILES];
    mfrgn_image image[TILES];
    for (size_t i = 0; i < TILES; i++) {
        image[i].struct_size = sizeof(image[i]);
        OK(fake_load(&plain, i, &bitmap[i]));
        OK(mfrgn_bitmap_image(bitmap[i], &image[i]));
    }
    OK(mfrgn_embed(session, MFRGN_VIEW_AERIAL, image, TILES, expected));
    for (size_t i = 0; i < TILES; i++) {
        mfrgn_tile t = {.struct_size = sizeof(t)}, f = {.struct_size = sizeof(f)};
        OK(mfrgn_index_tile(index, i, &t));
        fake_get(&plain, i, &f);
        ck_assert_str_eq(t.id, f.id);
        ck_assert_str_eq(t.path, f.path);
        ck_assert(t.located == f.located && t.latitude == f.latitude && t.longitude == f.longitude);
        ck_assert(!t.located || (t.width_m == f.width_m && t.metres_per_pixel == f.metres_per_pixel));
        OK(mfrgn_index_descriptor(index, i, got));
        double off = 0;
        for (size_t k = 0; k < info.size; k++)
            off += pow((double)expected[i * info.size + k] - got[k], 2);
        ck_assert(info.exact ? off == 0 : sqrt(off) < (storage == MFRGN_INDEX_F16 ? 3e-4 : 0.03));
        if (storage == MFRGN_INDEX_F32_I8) /* the residual is no less than what the codes are off */
            ck_assert(index->residual[i] > 0 && index->residual[i] < 0.03);
        mfrgn_bitmap_free(bitmap[i]);
    }
    ck_assert_int_eq(mfrgn_index_tile(index, TILES, &(mfrgn_tile){.struct_size = sizeof(mfrgn_tile)}),
                     MFRGN_ERROR_ARGUMENT);
    free(expected);
    free(got);
    mfrgn_index_free(index);
}
END_TEST

START_TEST(another_model_is_refused) {
    mfrgn_index *index;
    mfrgn_model *other;
    OK(build(&plain, 3, at("a.mfi"), (mfrgn_index_build){0}, 0));
    OK(mfrgn_index_open(context, at("a.mfi"), &index));
    OK(mfrgn_index_check_model(index, session));
    OK(mfrgn_model_create(context, mfrgn_model_config(model), 77, &other));
    mfrgn_session *theirs = session_of(other, "f32", 1);
    FAILS(mfrgn_index_check_model(index, theirs), MFRGN_ERROR_MISMATCH, index->model);
    mf_maker maker;
    OK(mf_maker_of(theirs, &maker));
    ck_assert(strstr(mfrgn_context_last_error(context), maker.model_name));
    mf_maker_free(context, &maker);
    mf_tile_source source = source_of(&plain, 3);
    FAILS(mf_index_build(theirs, &source, at("a.mfi"), NULL, 1), MFRGN_ERROR_MISMATCH, "convnext_atto");
    /* the hash is of the values, not of the file */
    uint64_t first, again;
    mfrgn_model *loaded;
    OK(mf_model_digest(model, 3, &first));
    const char *const names[] = {"m.safetensors", "m.pth"};
    for (int i = 0; i < 2; i++) {
        OK(mfrgn_model_save(model, at(names[i]), MFRGN_DTYPE_F32, NULL));
        mfrgn_load_options sizes = {.struct_size = sizeof(sizes), .preset = "cvusa", .aerial_size = "32x32",
                                    .ground_size = "32x64"};
        OK(mfrgn_model_load(context, at(names[i]), &sizes, &loaded));
        OK(mf_model_digest(loaded, 1, &again));
        ck_assert_uint_eq(first, again);
        mfrgn_model_free(loaded);
    }
    mfrgn_session_free(theirs);
    mfrgn_model_free(other);
    mfrgn_index_free(index);
}
END_TEST

START_TEST(unreadable_tiles) {
    fake broken = {0, 6, SIZE_MAX};
    FAILS(build(&broken, TILES, at("a.mfi"), (mfrgn_index_build){0}, 0), MFRGN_ERROR_FORMAT, "tile 006: no picture");
    skipped_count = 0;
    mfrgn_index_build b = {.skipped = note_skipped};
    OK(build(&broken, TILES, at("a.mfi"), b, 0));
    ck_assert_int_eq(skipped_count, 1);
    ck_assert_str_eq(skipped_text, "tile 006: no picture at all");
    mfrgn_index *index;
    mfrgn_tile tile = {.struct_size = sizeof(tile)};
    OK(mfrgn_index_open(context, at("a.mfi"), &index));
    ck_assert_uint_eq(index->header.count, TILES - 1);
    OK(mfrgn_index_tile(index, 6, &tile));
    ck_assert_str_eq(tile.id, "tile 007");
    mfrgn_index_free(index);
    broken = (fake){6, 6, SIZE_MAX};
    FAILS(build(&broken, 1, at("b.mfi"), b, 0), MFRGN_ERROR_ARGUMENT, "none of the 1");
    FAILS(build(&plain, 0, at("b.mfi"), b, 0), MFRGN_ERROR_ARGUMENT, "no tile");
    ck_assert(!exists(at("b.mfi")));
}
END_TEST

/* ---- shards, killed builds ---- */

START_TEST(shards_make_one) {
    mfrgn_index_storage storage = (mfrgn_index_storage)_i;
    fake broken = {0, 2, SIZE_MAX};
    mfrgn_index_build b = {.storage = storage, .skipped = note_skipped};
    OK(build(&broken, TILES, at("one.mfi"), b, 0));
    for (int n = 2; n <= 5; n += 3) {
        char part[5][128];
        const char *path[5];
        for (int i = 0; i < n; i++) {
            b.shard = i;
            b.shards = n;
            snprintf(part[i], sizeof(part[i]), "%s/part-%d.mfi", folder, i);
            OK(build(&broken, TILES, part[i], b, 0));
            path[(i + 2) % n] = part[i]; /* in another order */
        }
        OK(mfrgn_index_merge(context, path, (size_t)n, at("all.mfi")));
        same_files(at("one.mfi"), at("all.mfi"));
        if (n < 5)
            continue;
        const char *some[] = {part[2], part[0]}, *two[] = {part[1], part[0]}, *same[] = {part[1], part[1]};
        FAILS(mfrgn_index_merge(context, some, 2, at("all.mfi")), MFRGN_ERROR_MISMATCH, "missing");
        FAILS(mfrgn_index_merge(context, same, 2, at("all.mfi")), MFRGN_ERROR_MISMATCH, "overlap");
        same_files(at("one.mfi"), at("all.mfi"));
        OK(mfrgn_index_merge(context, two, 2, at("half.mfi")));
        const char *rest[] = {part[4], at("half.mfi"), part[3], part[2]};
        OK(mfrgn_index_merge(context, rest, 4, at("all.mfi")));
        same_files(at("one.mfi"), at("all.mfi"));
        FAILS(mfrgn_index_merge(context, (const char *const[]){at("one.mfi"), at("one.mfi")}, 2, at("all.mfi")),
              MFRGN_ERROR_ARGUMENT, "twice");
    }
    b.shard = 20;
    b.shards = 21;
    FAILS(build(&plain, 3, at("b.mfi"), (mfrgn_index_build){.shard = 0, .shards = 20}, 0), MFRGN_ERROR_ARGUMENT,
          "leave it empty");
}
END_TEST

/* A process of its own that dies at a tile. */
static void build_and_die(fake *f, const char *path, mfrgn_index_build b) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        open_session(); /* threads do not survive a fork: its own */
        (void)build(f, TILES, path, b, 0);
        _exit(1);
    }
    ck_assert(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

START_TEST(killed_and_resumed) {
    static const size_t deaths[] = {10, 5, 9};
    fake f = {0, 3, SIZE_MAX};
    mfrgn_index_build b = {.storage = MFRGN_INDEX_F32_F16, .skipped = note_skipped};
    OK(build(&f, TILES, at("whole.mfi"), b, 0));
    spill(at("a.mfi"), "old", 3);
    f.deadly = deaths[_i];
    build_and_die(&f, at("a.mfi"), b);
    size_t size, partial;
    unsigned char *data = slurp(at("a.mfi"), &size), *rest = slurp(at("a.mfi.partial"), &partial);
    ck_assert(size == 3 && memcmp(data, "old", 3) == 0);
    /* nothing, half a record, a damaged record more */
    if (_i == 1)
        spill(at("a.mfi.partial"), rest, partial - 1000);
    if (_i == 2) {
        rest[partial - 500] ^= 4;
        spill(at("a.mfi.partial"), rest, partial);
    }
    free(data);
    free(rest);
    f.deadly = SIZE_MAX;
    b.resume = 1;
    /* tiles of another list are not taken for these */
    FAILS(build(&f, TILES - 1, at("a.mfi"), b, 0), MFRGN_ERROR_MISMATCH, "other tiles");
    skipped_count = 0;
    OK(build(&f, TILES, at("a.mfi"), b, 0));
    ck_assert_int_eq(skipped_count, 1);
    same_files(at("whole.mfi"), at("a.mfi"));
    ck_assert(!exists(at("a.mfi.partial")));
    OK(build(&f, TILES, at("a.mfi"), b, 0)); /* nothing to resume: from the start */
    same_files(at("whole.mfi"), at("a.mfi"));
}
END_TEST

static int stop_after(void *user, size_t done, size_t total) {
    (void)total;
    return done >= *(size_t *)user;
}

START_TEST(cancelled) {
    size_t limit = 5;
    mfrgn_progress progress = {sizeof(progress), &limit, stop_after};
    OK(build(&plain, TILES, at("whole.mfi"), (mfrgn_index_build){0}, 0));
    mfrgn_index_build b = {.progress = &progress};
    FAILS(build(&plain, TILES, at("a.mfi"), b, 0), MFRGN_ERROR_CANCELLED, "8 of 11");
    ck_assert(!exists(at("a.mfi")) && exists(at("a.mfi.partial")));
    OK(build(&plain, TILES, at("a.mfi"), (mfrgn_index_build){.resume = 1}, 0));
    same_files(at("whole.mfi"), at("a.mfi"));
}
END_TEST

START_TEST(two_writers) {
    mf_partial *held;
    mf_partial_what what = {.size = 4};
    OK(mf_partial_open(context, at("a.mfi"), &what, 0, &held));
    FAILS(build(&plain, TILES, at("a.mfi"), (mfrgn_index_build){0}, 0), MFRGN_ERROR_IO, "another process");
    mf_partial_close(held, 0);
    OK(build(&plain, TILES, at("a.mfi"), (mfrgn_index_build){0}, 0));
    /* those that need no session are writers as well */
    mfrgn_index *index;
    const char *one = at("a.mfi");
    OK(build(&plain, 3, at("b.mfi"), (mfrgn_index_build){0}, 0));
    OK(mfrgn_index_open(context, at("b.mfi"), &index));
    OK(mf_partial_open(context, at("b.mfi"), &what, 0, &held));
    FAILS(mfrgn_index_merge(context, &one, 1, at("b.mfi")), MFRGN_ERROR_IO, "another process");
    FAILS(mf_index_set_calibration(index, "sigmoid", 7), MFRGN_ERROR_IO, "another process");
    mf_partial_close(held, 0);
    OK(mf_index_set_calibration(index, "sigmoid", 7));
    OK(mf_index_set_calibration(index, "sigmoid", 7));
    ck_assert(exists(at("b.mfi.partial"))); /* an unfinished build's: not theirs to remove */
    unlink(at("b.mfi.partial"));
    /* nothing that was added meanwhile is lost */
    fake more = {3, SIZE_MAX, SIZE_MAX};
    OK(build(&more, 2, at("b.mfi"), (mfrgn_index_build){0}, 1));
    FAILS(mf_index_set_calibration(index, "sigmoid", 7), MFRGN_ERROR_MISMATCH, "has been changed");
    mfrgn_index_free(index);
    OK(mfrgn_index_open(context, at("b.mfi"), &index));
    ck_assert_uint_eq(index->header.count, 5);
    ck_assert(!exists(at("b.mfi.partial")));
    mfrgn_index_free(index);
}
END_TEST

/* Files may not grow beyond `bytes`, as on a full disk. */
static int on_full_disk(rlim_t bytes, int merging) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {bytes, bytes};
        open_session();
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        const char *one = at("one.mfi");
        mfrgn_status got = merging ? mfrgn_index_merge(context, &one, 1, at("a.mfi"))
                                   : build(&plain, TILES, at("a.mfi"), (mfrgn_index_build){0}, 0);
        _exit(got == MFRGN_ERROR_IO && strstr(mfrgn_context_last_error(context), "cannot write") ? 0 : 1);
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

START_TEST(full_disk) {
    OK(build(&plain, TILES, at("one.mfi"), (mfrgn_index_build){0}, 0));
    spill(at("a.mfi"), "old", 3);
    static const rlim_t limits[] = {0, 100, 1000, 5000, 50000};
    for (size_t i = 0; i < MF_COUNT(limits); i++)
        for (int merging = 0; merging < 2; merging++) {
            size_t size;
            ck_assert_msg(on_full_disk(limits[i], merging), "%d bytes", (int)limits[i]);
            unsigned char *data = slurp(at("a.mfi"), &size);
            ck_assert(size == 3 && memcmp(data, "old", 3) == 0);
            free(data);
        }
    OK(build(&plain, TILES, at("a.mfi"), (mfrgn_index_build){.resume = 1}, 0));
    same_files(at("one.mfi"), at("a.mfi"));
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        ck_assert_msg(!strstr(e->d_name, ".tmp"), "%s is left", e->d_name);
    closedir(d);
}
END_TEST

START_TEST(added) {
    fake more = {5, SIZE_MAX, SIZE_MAX}, overlap = {4, SIZE_MAX, SIZE_MAX};
    mfrgn_index *index;
    OK(build(&plain, 5, at("a.mfi"), (mfrgn_index_build){.storage = MFRGN_INDEX_F32_I8}, 0));
    FAILS(build(&overlap, 6, at("a.mfi"), (mfrgn_index_build){0}, 1), MFRGN_ERROR_ARGUMENT, "\"tile 004\" would be");
    OK(build(&more, 6, at("a.mfi"), (mfrgn_index_build){.resume = 0}, 1));
    OK(mfrgn_index_open(context, at("a.mfi"), &index));
    OK(mfrgn_index_verify(index, NULL));
    OK(build(&plain, TILES, at("whole.mfi"), (mfrgn_index_build){.storage = MFRGN_INDEX_F32_I8}, 0));
    mfrgn_index *whole;
    OK(mfrgn_index_open(context, at("whole.mfi"), &whole));
    ck_assert_uint_eq(index->header.count, TILES);
    ck_assert_int_eq(memcmp(index->f32, whole->f32, TILES * index->header.size * 4), 0);
    ck_assert_int_eq(memcmp(index->codes, whole->codes, TILES * index->header.size), 0);
    ck_assert_int_eq(memcmp(index->tiles, whole->tiles, TILES * MF_INDEX_TILE), 0);
    mfrgn_index_free(whole);
    mfrgn_index_free(index);
    FAILS(build(&more, 6, at("none.mfi"), (mfrgn_index_build){0}, 1), MFRGN_ERROR_IO, "none.mfi");
    ck_assert(!exists(at("none.mfi.partial")));
}
END_TEST

START_TEST(calibrated) {
    mfrgn_index *index;
    size_t bytes;
    OK(build(&plain, 3, at("a.mfi"), (mfrgn_index_build){.storage = MFRGN_INDEX_I8}, 0));
    OK(build(&plain, 3, at("b.mfi"), (mfrgn_index_build){.storage = MFRGN_INDEX_I8}, 0));
    OK(mfrgn_index_open(context, at("a.mfi"), &index));
    ck_assert(!mf_index_calibration(index, &bytes) && bytes == 0);
    OK(mf_index_set_calibration(index, "sigmoid 1 2", 12));
    mfrgn_index_free(index);
    OK(mfrgn_index_open(context, at("a.mfi"), &index));
    OK(mfrgn_index_verify(index, NULL));
    ck_assert_str_eq(mf_index_calibration(index, &bytes), "sigmoid 1 2");
    ck_assert_uint_eq(bytes, 12);
    OK(mf_index_set_calibration(index, NULL, 0));
    mfrgn_index_free(index);
    same_files(at("a.mfi"), at("b.mfi"));
}
END_TEST

int main(void) {
    Suite *s = suite_create("index");
    TCase *t = tcase_create("index");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 500);
    tcase_add_loop_test(t, built_and_read, 0, MF_SHORT ? 2 : 5);
    tcase_add_test(t, another_model_is_refused);
    tcase_add_test(t, unreadable_tiles);
    tcase_add_loop_test(t, shards_make_one, 0, MF_SHORT ? 1 : 5);
    tcase_add_loop_test(t, killed_and_resumed, 0, MF_SHORT ? 1 : 3);
    tcase_add_test(t, cancelled);
    tcase_add_test(t, two_writers);
    tcase_add_test(t, full_disk);
    tcase_add_test(t, added);
    tcase_add_test(t, calibrated);
    suite_add_tcase(s, t);
    return mf_run_suite(s);
}
