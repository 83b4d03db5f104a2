/* Galleries on disk: everything that can be wrong with a file, and what is written for other programs. */
#include "gallery.h"

/* ---- damage ---- */

/* What opening and verifying say of a file with these bytes. */
static mfrgn_status judge(const void *data, size_t size) {
    mfrgn_index *index = NULL;
    spill(at("bad.mfi"), data, size);
    mfrgn_status status = mfrgn_index_open(context, at("bad.mfi"), &index);
    if (status == MFRGN_OK)
        status = mfrgn_index_verify(index, NULL);
    mfrgn_index_free(index);
    return status;
}

START_TEST(damaged) {
    size_t size;
    OK(build(&plain, 3, at("a.mfi"), (mfrgn_index_build){.storage = MFRGN_INDEX_F32_I8}, 0));
    unsigned char *data = slurp(at("a.mfi"), &size);
    mf_index_header h;
    OK(mf_index_header_decode(context, "a", data, size, &h));
    ck_assert_int_eq(judge(data, size), MFRGN_OK);
    for (size_t i = 0; i < size; i += i < 2048 && !MF_SHORT ? 1 : 97) {
        data[i] ^= (unsigned char)(1 << i % 8);
        ck_assert_msg(judge(data, size) == MFRGN_ERROR_FORMAT, "byte %zu: %s", i, mfrgn_context_last_error(context));
        data[i] ^= (unsigned char)(1 << i % 8);
    }
    for (int s = 0; s < MF_SECTION_COUNT; s++)
        for (int k = -1; k <= 1; k++) {
            size_t begin = h.section[s].offset + (size_t)k, end = begin + h.section[s].bytes;
            ck_assert_int_eq(judge(data, begin), MFRGN_ERROR_FORMAT);
            if (end < size)
                ck_assert_int_eq(judge(data, end), MFRGN_ERROR_FORMAT);
        }
    static const size_t cuts[] = {0, 1, 7, 8, 15, 16, 100, 1023};
    for (size_t i = 0; i < MF_COUNT(cuts); i++)
        ck_assert_int_eq(judge(data, cuts[i]), MFRGN_ERROR_FORMAT);
    unsigned char *more = calloc(size + 1, 1);
    memcpy(more, data, size);
    ck_assert_int_eq(judge(more, size + 1), MFRGN_ERROR_FORMAT);
    free(more);
    free(data);
}
END_TEST

/* Headers that are lies with a checksum that fits. */
START_TEST(hostile) {
    size_t size;
    OK(build(&plain, 3, at("a.mfi"), (mfrgn_index_build){.storage = MFRGN_INDEX_F32_F16}, 0));
    unsigned char *data = slurp(at("a.mfi"), &size), good[MF_INDEX_HEADER];
    memcpy(good, data, sizeof(good));
    for (size_t i = 8; i < 400; i += 4)
        for (int k = 0; k < 6; k++) {
            static const uint32_t value[] = {0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff};
            memcpy(data, good, sizeof(good));
            mf_put32(data + i, value[k]);
            mf_put64(data + MF_INDEX_HEADER - 8, mf_checksum(data, MF_INDEX_HEADER - 8));
            mfrgn_status status = judge(data, size); /* no crash, no huge allocation: ASan and rlimits see to it */
            int hash = i >= 40 && i < 88; /* hashes and the place in the list are any */
            ck_assert_msg(hash || status != MFRGN_OK || memcmp(data, good, MF_INDEX_HEADER) == 0, "word at %zu", i);
        }
    memcpy(data, good, sizeof(good));
    mf_put32(data + 8, 2);
    mf_put64(data + MF_INDEX_HEADER - 8, mf_checksum(data, MF_INDEX_HEADER - 8));
    ck_assert_int_eq(judge(data, size), MFRGN_ERROR_UNSUPPORTED);
    ck_assert(strstr(mfrgn_context_last_error(context), "version 2"));
    free(data);
}
END_TEST

/* ---- exports ---- */

START_TEST(exported) {
    mfrgn_index *index;
    size_t size;
    OK(build(&plain, 6, at("a.mfi"), (mfrgn_index_build){.storage = _i ? MFRGN_INDEX_I8 : MFRGN_INDEX_F32}, 0));
    OK(mfrgn_index_open(context, at("a.mfi"), &index));
    OK(mfrgn_index_export(index, MFRGN_EXPORT_NPY_CSV, at("out")));
    OK(mfrgn_index_export(index, MFRGN_EXPORT_GEOJSON, at("out.geojson")));
    unsigned char *npy = slurp(at("out.npy"), &size);
    ck_assert_uint_eq(size, 128 + 6 * index->header.size * 4);
    ck_assert(memcmp(npy, "\x93NUMPY\x01\x00", 8) == 0 && npy[127] == '\n' && strstr((char *)npy + 10, "(6, 2048)"));
    float *row = malloc(index->header.size * 4);
    OK(mfrgn_index_descriptor(index, 5, row));
    ck_assert_int_eq(memcmp(row, npy + 128 + 5 * index->header.size * 4, index->header.size * 4), 0);
    free(row);
    char *csv = (char *)slurp(at("out.csv"), &size);
    static const char start[] = "tile,id,path,latitude,longitude,width_m,height_m,metres_per_pixel\r\n"
                                "0,tile 000,0.png,51.5,-0.125,,,\r\n"
                                "1,tile 001,\"a, \"\"b\"\"/1.png\",51.501,-0.125244141,76.25,76.25,0.119140625\r\n";
    ck_assert_msg(strncmp(csv, start, strlen(start)) == 0, "%s", csv);
    ck_assert(strstr(csv, "4,tile 004,4.png,,,,,\r\n"));
    char *json = (char *)slurp(at("out.geojson"), &size);
    ck_assert(strstr(json, "\"coordinates\": [-0.125244141, 51.501]"));
    ck_assert(strstr(json, "\"path\": \"a, \\\"b\\\"/1.png\"") && strstr(json, "\"geometry\": null"));
    FAILS(mfrgn_index_export(index, MFRGN_EXPORT_GEOJSON, at("no/such")), MFRGN_ERROR_IO, "no/such");
    free(csv);
    free(json);
    free(npy);
    mfrgn_index_free(index);
}
END_TEST

START_TEST(checksums) {
    /* the published test vectors of XXH64: "" and a fox */
    ck_assert_uint_eq(mf_checksum("", 0), 0xef46db3751d8e999u);
    ck_assert_uint_eq(mf_checksum("a", 1), 0xd24ec4f1a98c6e5bu);
    ck_assert_uint_eq(mf_checksum("abc", 3), 0x44bc2cf5ad770999u);
    unsigned char data[200];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i * 7);
    for (size_t a = 0; a <= sizeof(data); a += 3)
        for (size_t b = a; b <= sizeof(data); b += 11) {
            mf_checksum_state s;
            mf_checksum_begin(&s);
            mf_checksum_add(&s, data, a);
            mf_checksum_add(&s, data + a, b - a);
            mf_checksum_add(&s, data + b, sizeof(data) - b);
            ck_assert_uint_eq(mf_checksum_end(&s), mf_checksum(data, sizeof(data)));
        }
}
END_TEST

int main(void) {
    Suite *s = suite_create("index files");
    TCase *t = tcase_create("index files");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 500);
    tcase_add_test(t, damaged);
    tcase_add_test(t, hostile);
    tcase_add_loop_test(t, exported, 0, 2);
    tcase_add_test(t, checksums);
    suite_add_tcase(s, t);
    return mf_run_suite(s);
}
