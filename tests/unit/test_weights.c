/* Files of weights: round trips, the golden checkpoints of PyTorch, saving that fails half-way. */
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include "io/json.h"
#include "test_weights.h"

static int is_multiple_of_64(const mf_weights *w, const mf_weight *t) {
    return ((const unsigned char *)t->data - w->file.data) % 64 == 0;
}

START_TEST(round_trip) {
    counter c;
    mfrgn_context *context = counted_context(&c);
    samples *s = make_samples();
    char *folder = scratch_folder(), path[300];
    mf_weights *w = NULL;
    snprintf(path, sizeof(path), "%s/weights", folder);
    ck_assert_int_eq((_i ? mf_pth_save : mf_safetensors_save)(context, path, &s->out), MFRGN_OK);
    ck_assert_msg(mf_weights_load(context, path, &w) == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    check_samples(s, w);
    for (size_t i = 0; i < w->count; i++) {
        const unsigned char *data = w->tensor[i].data;
        ck_assert(data >= w->file.data && data + w->tensor[i].bytes <= w->file.data + w->file.size);
        if (_i)
            ck_assert(is_multiple_of_64(w, &w->tensor[i]));
        mf_weights_let_go(w, &w->tensor[i]);
    }
    if (_i == 0) {
        ck_assert(is_multiple_of_64(w, mf_weights_find(w, s->name[0])));
        ck_assert_uint_eq(w->metadata_count, 2);
        ck_assert_str_eq(mf_weights_metadata(w, "format"), "pt");
        ck_assert_str_eq(mf_weights_metadata(w, s->out.metadata[1].key), s->out.metadata[1].value);
    }
    ck_assert_ptr_null(mf_weights_metadata(w, "absent"));
    ck_assert_ptr_null(mf_weights_find(w, "absent"));
    check_samples(s, w); /* pages that were let go come back */
    mf_weights_free(w);
    /* Over an existing file, and only one file remains. */
    ck_assert_int_eq((_i ? mf_pth_save : mf_safetensors_save)(context, path, &s->out), MFRGN_OK);
    ck_assert_int_eq(remove_folder(folder), 1);
    mfrgn_context_free(context);
    ck_assert_uint_eq(c.live, 0);
    free(s);
}
END_TEST

START_TEST(no_tensors) {
    mfrgn_context *context = plain_context();
    char *folder = scratch_folder(), path[300];
    mf_weights_out none = {NULL, 0, NULL, 0, sample_source, NULL, NULL};
    mf_weights *w;
    snprintf(path, sizeof(path), "%s/w", folder);
    ck_assert_int_eq(mf_safetensors_save(context, path, &none), MFRGN_OK);
    ck_assert_int_eq(mf_weights_load(context, path, &w), MFRGN_OK);
    ck_assert_uint_eq(w->count, 0);
    ck_assert_ptr_null(mf_weights_find(w, "a"));
    mf_weights_free(w);
    remove_folder(folder);
    mfrgn_context_free(context);
}
END_TEST

START_TEST(parallel_prefix) {
    mfrgn_context *context = plain_context();
    char *folder = scratch_folder(), path[300];
    mf_weight t[2] = {{"module.a", MF_F32, 0, {0}, NULL, 4}, {"module.b", MF_F32, 0, {0}, NULL, 4}};
    samples s = {{{0}}};
    mf_weights_out out = {t, 2, NULL, 0, sample_source, &s, NULL};
    mf_weights *w;
    s.tensor[0].bytes = s.tensor[1].bytes = 4;
    snprintf(path, sizeof(path), "%s/w", folder);
    ck_assert_int_eq(mf_pth_save(context, path, &out), MFRGN_OK);
    ck_assert_int_eq(mf_weights_load(context, path, &w), MFRGN_OK);
    ck_assert_ptr_nonnull(mf_weights_find(w, "a"));
    ck_assert_ptr_nonnull(mf_weights_find(w, "b"));
    mf_weights_free(w);
    t[0].name = "other"; /* not shared by all: it belongs to the names */
    ck_assert_int_eq(mf_pth_save(context, path, &out), MFRGN_OK);
    ck_assert_int_eq(mf_weights_load(context, path, &w), MFRGN_OK);
    ck_assert_ptr_nonnull(mf_weights_find(w, "module.b"));
    mf_weights_free(w);
    remove_folder(folder);
    mfrgn_context_free(context);
}
END_TEST

/* ---- golden ---- */

static const char *const golden_file[] = {"state_dict.pth", "state_dict_legacy.pth", "nested.pth"};

static mf_dtype torch_dtype(const mf_json_string *name) {
    static const struct {
        const char *name;
        mf_dtype dtype;
    } table[] = {
        {"float32", MF_F32}, {"float16", MF_F16}, {"bfloat16", MF_BF16}, {"float64", MF_F64}, {"int64", MF_I64}};
    for (size_t i = 0; i < MF_COUNT(table); i++)
        if (mf_json_equals(name, table[i].name))
            return table[i].dtype;
    ck_abort_msg("expected.json: unknown dtype");
    return MF_F32;
}

/* One member of expected.json against the tensor of its name. */
static void check_member(mf_json *j, const mf_weight *t, const char *name) {
    mf_json_string key, text;
    double values[64];
    ck_assert_msg(t != NULL, "%s is missing", name);
    mf_convert(MF_F64, values, t->dtype, t->data, t->bytes / mf_dtype_size(t->dtype));
    mf_json_open(j, '{');
    for (size_t i = 0; mf_json_more(j, '}', i); i++) {
        ck_assert(mf_json_key(j, &key));
        if (mf_json_equals(&key, "dtype")) {
            ck_assert(mf_json_text(j, &text));
            ck_assert_int_eq(t->dtype, torch_dtype(&text));
            continue;
        }
        int shape = mf_json_equals(&key, "shape");
        size_t n = 0;
        const char *number;
        size_t size;
        mf_json_open(j, '[');
        for (; mf_json_more(j, ']', n); n++) {
            ck_assert(mf_json_number(j, &number, &size));
            double expected = strtod(number, NULL);
            ck_assert_msg((shape ? (double)t->dim[n] : values[n]) == expected, "%s, %s %zu: %g, expected %g", name,
                          shape ? "dimension" : "value", n, shape ? (double)t->dim[n] : values[n], expected);
        }
        ck_assert_uint_eq(n, shape ? (size_t)t->ndim : t->bytes / mf_dtype_size(t->dtype));
    }
}

START_TEST(golden) {
    char path[1024];
    mfrgn_context *context = plain_context();
    mf_weights *w = NULL;
    snprintf(path, sizeof(path), "%s/pth/expected.json", MF_GOLDEN_DIR);
    blob expected = read_blob(path);
    snprintf(path, sizeof(path), "%s/pth/%s", MF_GOLDEN_DIR, golden_file[_i]);
    ck_assert_msg(mf_weights_load(context, path, &w) == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    mf_json j = {(const char *)expected.data, expected.size, 0, NULL};
    size_t count = 0;
    mf_json_open(&j, '{');
    for (; mf_json_more(&j, '}', count); count++) {
        mf_json_string key;
        char name[64];
        ck_assert(mf_json_key(&j, &key) && key.size < sizeof(name));
        mf_json_decode(&key, name);
        check_member(&j, mf_weights_find(w, name), name);
    }
    ck_assert_msg(mf_json_end(&j), "expected.json, byte %zu: %s", j.at, j.error);
    ck_assert_uint_eq(count, w->count);
    ck_assert_uint_eq(count, 11);
    mf_weights_free(w);
    free(expected.data);
    mfrgn_context_free(context);
}
END_TEST

START_TEST(malicious) {
    char path[1024];
    mfrgn_context *context = plain_context();
    mf_weights *w = (mf_weights *)&path;
    snprintf(path, sizeof(path), "%s/pth/malicious.pth", MF_GOLDEN_DIR);
    ck_assert_int_eq(mf_weights_load(context, path, &w), MFRGN_ERROR_FORMAT);
    ck_assert_says(context, "malicious.pth: byte ");
    ck_assert_says(context, "refuses to run posix.system");
    ck_assert_ptr_eq(w, &path); /* untouched */
    ck_assert_int_ne(access("mfrgn_was_here", F_OK), 0);
    mfrgn_context_free(context);
}
END_TEST

START_TEST(golden_safetensors) {
    char path[1024];
    mfrgn_context *context = plain_context();
    mf_weights *w;
    snprintf(path, sizeof(path), "%s/tiny-cvusa.safetensors", MF_GOLDEN_DIR);
    ck_assert_msg(mf_weights_load(context, path, &w) == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    ck_assert_uint_gt(w->count, 0);
    mf_weights_free(w);
    mfrgn_context_free(context);
}
END_TEST

/* ---- saving that fails ---- */

START_TEST(cannot_read) {
    mfrgn_context *context = plain_context();
    mf_weights *w;
    ck_assert_int_eq(mf_weights_load(context, "/nonexistent/w.pth", &w), MFRGN_ERROR_IO);
    ck_assert_says(context, "/nonexistent/w.pth: cannot open: No such file or directory");
    ck_assert_int_eq(mf_weights_load(context, "/tmp", &w), MFRGN_ERROR_IO);
    ck_assert_says(context, "/tmp: is a folder");
    ck_assert_int_eq(mf_weights_load(context, "/dev/zero", &w), MFRGN_ERROR_IO);
    ck_assert_says(context, "/dev/zero: is a device");
    mfrgn_context_free(context);
}
END_TEST

START_TEST(cannot_write) {
    mfrgn_context *context = plain_context();
    samples *s = make_samples();
    mfrgn_status (*save)(mfrgn_context *, const char *, const mf_weights_out *) =
        _i ? mf_pth_save : mf_safetensors_save;
    ck_assert_int_eq(save(context, "/nonexistent/w", &s->out), MFRGN_ERROR_IO);
    ck_assert_says(context, "/nonexistent/w: cannot create a file in its folder: No such file or directory");
    ck_assert_int_eq(save(context, "/proc/w", &s->out), MFRGN_ERROR_IO);
    ck_assert_says(context, "/proc/w: cannot create");
    ck_assert_int_eq(save(context, "/dev/null", &s->out), MFRGN_ERROR_IO);
    ck_assert_says(context, "/dev/null: is a device");
    ck_assert_int_eq(save(context, "/tmp", &s->out), MFRGN_ERROR_IO);
    if (geteuid() != 0) { /* root may write anywhere */
        ck_assert_int_eq(save(context, "/w", &s->out), MFRGN_ERROR_IO);
        ck_assert_says(context, "/w: cannot create");
    }
    free(s);
    mfrgn_context_free(context);
}
END_TEST

/* The disk is full: here a limit on the size of files, which fails the same write. */
START_TEST(disk_full) {
    mfrgn_context *context = plain_context();
    samples *s = make_samples();
    char *folder = scratch_folder(), path[300];
    struct rlimit limit = {512, 512};
    snprintf(path, sizeof(path), "%s/w", folder);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq((_i ? mf_pth_save : mf_safetensors_save)(context, path, &s->out), MFRGN_ERROR_IO);
    ck_assert_says(context, "w: cannot write: ");
    ck_assert_int_eq(remove_folder(folder), 0);
    free(s);
    mfrgn_context_free(context);
}
END_TEST

typedef struct canceller {
    size_t calls, stop_at, last_done, last_total;
} canceller;

static int cancel(void *user, size_t done, size_t total) {
    canceller *c = user;
    c->last_done = done;
    c->last_total = total;
    return c->calls++ == c->stop_at;
}

START_TEST(cancelled) {
    mfrgn_context *context = plain_context();
    samples *s = make_samples();
    char *folder = scratch_folder(), path[300];
    canceller c = {0, 5, 0, 0};
    mfrgn_progress progress = {sizeof(progress), &c, cancel};
    s->out.progress = &progress;
    snprintf(path, sizeof(path), "%s/w", folder);
    ck_assert_int_eq((_i ? mf_pth_save : mf_safetensors_save)(context, path, &s->out), MFRGN_ERROR_CANCELLED);
    ck_assert_uint_eq(c.calls, 6);
    ck_assert_int_eq(remove_folder(folder), 0);
    folder = scratch_folder();
    snprintf(path, sizeof(path), "%s/w", folder);
    c = (canceller){0, 1000, 0, 0};
    ck_assert_int_eq((_i ? mf_pth_save : mf_safetensors_save)(context, path, &s->out), MFRGN_OK);
    ck_assert_uint_eq(c.calls, SAMPLES + 1);
    ck_assert_uint_eq(c.last_done, c.last_total);
    ck_assert_int_eq(remove_folder(folder), 1);
    free(s);
    mfrgn_context_free(context);
}
END_TEST

START_TEST(bad_requests) {
    mfrgn_context *context = plain_context();
    samples *s = make_samples();
    mfrgn_status (*save)(mfrgn_context *, const char *, const mf_weights_out *) =
        _i ? mf_pth_save : mf_safetensors_save;
    const char *name = s->tensor[1].name;
    s->tensor[1].name = s->tensor[0].name;
    ck_assert_int_eq(save(context, "/tmp/x", &s->out), MFRGN_ERROR_ARGUMENT);
    ck_assert_says(context, "is given twice");
    s->tensor[1].name = "\xff";
    ck_assert_int_eq(save(context, "/tmp/x", &s->out), MFRGN_ERROR_ARGUMENT);
    s->tensor[1].name = name;
    s->tensor[1].bytes--;
    ck_assert_int_eq(save(context, "/tmp/x", &s->out), MFRGN_ERROR_ARGUMENT);
    ck_assert_says(context, "47 bytes are not those of F64 [2, 3]");
    free(s);
    mfrgn_context_free(context);
}
END_TEST

/* ---- every allocation may fail ---- */

START_TEST(out_of_memory) {
    counter c;
    mfrgn_context *context = counted_context(&c);
    blob b = saved_blob(context, _i);
    size_t before = c.live;
    mfrgn_status status = MFRGN_ERROR_MEMORY;
    for (size_t n = 1; status != MFRGN_OK; n++) {
        c.calls = 0;
        c.fail_at = n;
        status = load_blob(context, b.data, b.size);
        ck_assert(status == MFRGN_OK || status == MFRGN_ERROR_MEMORY);
        ck_assert_uint_eq(c.live, before);
        ck_assert_uint_lt(n, 1000);
    }
    samples *s = make_samples();
    status = MFRGN_ERROR_MEMORY;
    for (size_t n = 1; status != MFRGN_OK; n++) {
        char *folder = scratch_folder(), path[300];
        snprintf(path, sizeof(path), "%s/w", folder);
        c.calls = 0;
        c.fail_at = n;
        status = (_i ? mf_pth_save : mf_safetensors_save)(context, path, &s->out);
        ck_assert(status == MFRGN_OK || status == MFRGN_ERROR_MEMORY);
        ck_assert_uint_eq(c.live, before);
        /* Syncing the folder is best effort: only there may a failure go unseen. */
        ck_assert_int_eq(remove_folder(folder), status == MFRGN_OK);
    }
    free(s);
    free(b.data);
    c.fail_at = 0;
    mfrgn_context_free(context);
}
END_TEST

int main(void) {
    Suite *s = suite_create("weights");
    TCase *t = tcase_create("files");
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, round_trip, 0, 2);
    tcase_add_test(t, no_tensors);
    tcase_add_test(t, parallel_prefix);
    tcase_add_test(t, cannot_read);
    tcase_add_loop_test(t, cannot_write, 0, 2);
    tcase_add_loop_test(t, disk_full, 0, 2);
    tcase_add_loop_test(t, cancelled, 0, 2);
    tcase_add_loop_test(t, bad_requests, 0, 2);
    tcase_add_loop_test(t, out_of_memory, 0, 2);
    if (access(MF_GOLDEN_DIR "/pth/expected.json", R_OK) == 0) {
        tcase_add_loop_test(t, golden, 0, MF_COUNT(golden_file));
        tcase_add_test(t, malicious);
        tcase_add_test(t, golden_safetensors);
    } else {
        printf("skipped: the golden checkpoints are not in " MF_GOLDEN_DIR "/pth\n");
    }
    return mf_run_suite(s);
}
