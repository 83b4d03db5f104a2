/* Damaged and hostile files: refused with a message that says where, in little memory, and nothing is run. */
#include "io/zip.h"
#include "test_weights.h"

/* ---- safetensors ---- */

typedef struct header_case {
    const char *header;
    size_t data; /* bytes behind it */
    mfrgn_status status;
    const char *says;
} header_case;

#define T(name, dtype, shape, offsets)                                                                                 \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const header_case headers[] = {
    {"{" T("a", "F32", "[2,3]", "[0,24]") "}", 24, MFRGN_OK, ""},
    {" {" T("a", "F32", "[]", "[0,4]") "}", 4, MFRGN_ERROR_FORMAT, "begins neither"},
    {"{" T("a.b", "F32", "[2,3]", "[0,10]") "}", 10, MFRGN_ERROR_FORMAT,
     "memory: tensor \"a.b\": data_offsets 0..10 hold 10 bytes, F32 [2, 3] needs 24"},
    {"{" T("a", "F32", "[2]", "[0,8]") "}", 9, MFRGN_ERROR_FORMAT, "1 bytes after the last tensor belong to none"},
    {"{" T("a", "F32", "[2]", "[4,12]") "}", 12, MFRGN_ERROR_FORMAT, "expected 0: a hole lies before it"},
    {"{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[2]", "[4,12]") "}", 12, MFRGN_ERROR_FORMAT,
     "tensor \"b\" begins at data byte 4, expected 8: it overlaps another"},
    {"{" T("a", "F32", "[2]", "[0,8]") "," T("a", "F32", "[2]", "[8,16]") "}", 16, MFRGN_ERROR_FORMAT,
     "tensor \"a\" occurs twice"},
    {"{" T("a", "F32", "[2]", "[8,0]") "}", 8, MFRGN_ERROR_FORMAT, "do not lie in the 8 bytes"},
    {"{" T("a", "F32", "[2]", "[0,16]") "}", 8, MFRGN_ERROR_FORMAT, "do not lie in the 8 bytes"},
    {"{" T("a", "F32", "[2]", "[0,18446744073709551615]") "}", 8, MFRGN_ERROR_FORMAT, "do not lie in the 8 bytes"},
    {"{" T("a", "F32", "[2]", "[0,18446744073709551616]") "}", 8, MFRGN_ERROR_FORMAT, "integer too large"},
    {"{" T("a", "F32", "[4611686018427387904,2]", "[0,0]") "}", 0, MFRGN_ERROR_FORMAT, "is larger than memory"},
    {"{" T("a", "F32", "[4611686018427387905]", "[0,4]") "}", 4, MFRGN_ERROR_FORMAT, "is larger than memory"},
    {"{" T("a", "F32", "[1000000000000]", "[0,4000000000000]") "}", 4, MFRGN_ERROR_FORMAT, "cut short?"},
    {"{" T("a", "F32", "[9223372036854775808]", "[0,4]") "}", 4, MFRGN_ERROR_FORMAT, "is too large"},
    {"{" T("a", "F32", "[0,9223372036854775807,9223372036854775807]", "[0,0]") "}", 0, MFRGN_OK, ""},
    {"{" T("a", "F32", "[-1]", "[0,4]") "}", 4, MFRGN_ERROR_FORMAT, "integer that is not negative"},
    {"{" T("a", "F32", "[1.0]", "[0,4]") "}", 4, MFRGN_ERROR_FORMAT, "byte 37, in the header: expected an integer"},
    {"{" T("a", "F32", "[1e0]", "[0,4]") "}", 4, MFRGN_ERROR_FORMAT, "expected an integer"},
    {"{" T("a", "F32", "[1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, MFRGN_OK, ""},
    {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, MFRGN_ERROR_UNSUPPORTED, "more than 8 dimensions"},
    {"{" T("a", "F8_E4M3", "[4]", "[0,4]") "}", 4, MFRGN_ERROR_UNSUPPORTED, "dtype \"F8_E4M3\" is not supported"},
    {"{" T("a", "F32", "[1]", "[0,4,8]") "}", 4, MFRGN_ERROR_FORMAT, "expected two data_offsets"},
    {"{" T("a", "F32", "[1]", "[0]") "}", 4, MFRGN_ERROR_FORMAT, "expected two data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, MFRGN_ERROR_FORMAT, "\"data_offsets\" is missing"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 4, MFRGN_ERROR_FORMAT, "\"dtype\" is given twice"},
    {"{\"a\":{\"colour\":1}}", 4, MFRGN_ERROR_FORMAT, "tensor \"a\": \"colour\" is unknown"},
    {"{\"a\":[]}", 0, MFRGN_ERROR_FORMAT, "byte 13, in the header: expected an object"},
    {"{\"a\\u0000\":{}}", 0, MFRGN_ERROR_FORMAT, "bad escape"},
    {"{\"\xff\":{}}", 0, MFRGN_ERROR_FORMAT, "not UTF-8"},
    {"{\"__metadata__\":{\"k\":1}}", 0, MFRGN_ERROR_FORMAT, "expected a string"},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, MFRGN_ERROR_FORMAT, "metadata \"k\" occurs twice"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, MFRGN_ERROR_FORMAT, "__metadata__ occurs twice"},
    {"{\"__metadata__\":{\"k\":{\"k\":{}}}}", 0, MFRGN_ERROR_FORMAT, "expected a string"},
    {"{} x", 0, MFRGN_ERROR_FORMAT, "expected nothing more"},
    {"{", 0, MFRGN_ERROR_FORMAT, "byte 9, in the header: expected a string"},
    {"{\"__metadata__\":{}", 0, MFRGN_ERROR_FORMAT, "expected ',' or '}'"},
};

START_TEST(header) {
    const header_case *h = &headers[_i];
    mfrgn_context *context = plain_context();
    unsigned char file[1024] = {0};
    size_t n = strlen(h->header);
    file[0] = (unsigned char)n;
    file[1] = (unsigned char)(n >> 8);
    memcpy(file + 8, h->header, n);
    mfrgn_status status = load_blob(context, file, 8 + n + h->data);
    ck_assert_msg(status == h->status, "%d: %s", status, mfrgn_context_last_error(context));
    ck_assert_says(context, h->says);
    mfrgn_context_free(context);
}
END_TEST

START_TEST(claims) {
    counter c;
    mfrgn_context *context = counted_context(&c);
    static const unsigned char terabytes[16] = {0, 0, 0, 0, 0, 4, 0, 0, '{', '}'};
    static const unsigned char megabytes[16] = {0, 0xe1, 0xf5, 5, 0, 0, 0, 0, '{', '}'};
    ck_assert_int_eq(load_blob(context, terabytes, 16), MFRGN_ERROR_FORMAT);
    ck_assert_says(context, "a header of 4398046511104 bytes, the format allows 100000000");
    ck_assert_int_eq(load_blob(context, megabytes, 16), MFRGN_ERROR_FORMAT);
    ck_assert_says(context, "a header of 100000000 bytes, but only 8 follow");
    ck_assert_int_eq(load_blob(context, "", 0), MFRGN_ERROR_FORMAT);
    ck_assert_says(context, "memory: is an empty file");
    ck_assert_int_eq(load_blob(context, "<!DOCTYPE html>", 15), MFRGN_ERROR_FORMAT);
    ck_assert_says(context, "begins neither as safetensors");
    ck_assert_uint_lt(c.largest, 65536);
    mfrgn_context_free(context);
    ck_assert_uint_eq(c.live, 0);
}
END_TEST

/* ---- pickles, in an archive with one storage "0" of 24 bytes ---- */

#define DICT "\x80\x02}"
#define STORAGE(count)                                                                                                 \
    "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"                                                                 \
    "0X\3\0\0\0cpuK" count "tQ"
#define TENSOR(count, offset, shape, stride)                                                                           \
    "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE(count) offset "(" shape "t(" stride "t\x89"                         \
                                                                 "ccollections\nOrderedDict\n)RtR"
#define GOOD TENSOR("\6", "K\0", "K\2K\3", "K\3K\1")
#define KEY(n, text) "X" n "\0\0\0" text
#define A KEY("\1", "a")
#define B KEY("\1", "b")

typedef struct pickle_case {
    const char *pickle;
    size_t size;
    mfrgn_status status;
    const char *says;
    size_t count;
} pickle_case;

#define P(text, status, says, count)                                                                                   \
    { text, sizeof(text) - 1, status, says, count }
#define BAD(text, says) P(text, MFRGN_ERROR_FORMAT, says, 0)

static const pickle_case pickles[] = {
    P(DICT A GOOD "s.", MFRGN_OK, "", 1), P(DICT "(" A GOOD B "G\0\0\0\0\0\0\0\0u.", MFRGN_OK, "", 1),
    /* what is refused by name */
    BAD(DICT A "cposix\nsystem\nX\5\0\0\0touch\x85Rs.", "refuses to run posix.system"),
    BAD(DICT A "c__builtin__\neval\n.", "refuses to run __builtin__.eval"),
    BAD("\x80\x04"
        "\x8c\2os\x8c\6system\x93.",
        "refuses to run os.system"),
    BAD(DICT "(ios\nsystem\n.", "refuses to run os.system"),
    BAD(DICT A "cnumpy.core.multiarray\nscalar\n.", "refuses to run numpy.core.multiarray.scalar"),
    BAD(DICT "(ccollections\nOrderedDict\no.", "opcode 0x6f"),
    BAD(DICT "ccollections\nOrderedDict\n)\x81.", "opcode 0x81"), BAD(DICT "\x82\1.", "opcode 0x82"),
    BAD(DICT "Pid\n.", "opcode 0x50"), BAD(DICT "I1\n.", "opcode 0x49"),
    P(DICT A "ctorch\nComplexFloatStorage\n.", MFRGN_ERROR_UNSUPPORTED, "torch.ComplexFloatStorage is not supported",
      0),
    /* what is no value of its kind */
    BAD("", "ends within an opcode"), BAD(".", "too few values"), BAD("\x80\x02K\1.", "holds no dictionary of tensors"),
    BAD(DICT ".", "holds no dictionary of tensors"), BAD("(.", "too few values"), BAD("t.", "no mark"),
    BAD("0", "too few"), BAD("K\1R.", "too few"), BAD("K\1K\2R.", "a call of what is no function"),
    BAD("K\1b.", "too few"), BAD("K\1}b.", "attributes are set of what has none"), BAD("K\1Q.", "not given as"),
    BAD(")Q.", "not given as"), BAD("K\1K\2a.", "no list"), BAD("K\1K\2K\3s.", "no dictionary"),
    BAD("K\1(K\2e.", "no list"), BAD("K\1(K\2K\3u.", "no dictionary"), BAD("}(K\2u.", "a key has no value"),
    BAD("(K\2d.", "a key has no value"), BAD("h\0.", "never set"), BAD("j\xff\xff\xff\xff.", "never set"),
    BAD("}r\xff\xff\xff\xff.", "no pickler would give"), BAD("q\0.", "too few"), BAD("(q\0.", "too few"),
    BAD("K\1K\2\x93.", "no string"), BAD("\x86.", "too few"), BAD("(\x85.", "too few"),
    BAD("X\xff\xff\xff\xffxx", "ends within"),
    BAD("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
        "xx",
        "ends within"),
    BAD("\x8b\xff\xff\xff\xffxx", "ends within"), BAD("B\xff\xff\xff\x7fxx", "ends within"),
    BAD("cposix", "ends within"), BAD("ctorch\nSize\nK\1\x85R.", "torch.Size"),
    BAD("ctorch\nFloatStorage\n)R.", "a storage class is called"),
    BAD("ctorch._utils\n_rebuild_tensor_v2\n)R.", "_rebuild_tensor_v2 is not called"),
    BAD("ctorch._utils\n_rebuild_parameter\n)R.", "_rebuild_parameter is not called"),
    BAD("ccollections\nOrderedDict\n]\x85R.", "OrderedDict is called with something"),
    BAD(DICT A "(X\6\0\0\0module)tQs.", "a \"module\" is stored, which is no tensor"),
    BAD(DICT "K\1" GOOD "s.", "its key is no UTF-8 string"), BAD(DICT "X\1\0\0\0\xff" GOOD "s.", "its key is no UTF-8"),
    BAD(DICT "X\1\0\0\0\0" GOOD "s.", "its key is no UTF-8"),
    BAD(DICT A GOOD "s" A GOOD "s.", "tensor \"a\" occurs twice"),
    /* views */
    P(DICT A TENSOR("\6", "K\1", "K\2K\2", "K\1K\3") "s.", MFRGN_OK, "", 1),
    BAD(DICT A TENSOR("\6", "K\2", "K\2K\2", "K\1K\3") "s.", "F32 [2, 2] from offset 2 reaches past the 6 values"),
    BAD(DICT A TENSOR("\7", "K\0", "K\2K\3", "K\3K\1") "s.", "holds 24 bytes, 7 values of F32 need more"),
    BAD(DICT A TENSOR("\6", "J\xff\xff\xff\xff", "K\1", "K\1") "s.", "bad offset, shape or strides"),
    BAD(DICT A TENSOR("\6", "K\5", "K\2", "J\xff\xff\xff\xff") "s.", "bad offset, shape or strides"),
    BAD(DICT A TENSOR("\6", "K\0", "K\2", "K\1K\1") "s.", "bad offset, shape or strides"),
    BAD(DICT A TENSOR("\6", "K\0", "N", "K\1") "s.", "bad offset, shape or strides"),
    BAD(DICT A TENSOR("\6", "K\0", "K\3", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f") "s.", "reaches past"),
    BAD(DICT A TENSOR("\6", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", "K\2", "K\1") "s.", "reaches past"),
    BAD(DICT A TENSOR("\6", "K\0", "\x8a\x08\0\0\0\0\0\0\0\x40", "K\0") "s.", "is larger than memory"),
    BAD(DICT A TENSOR("\6", "K\0", "J\0\0\0\x10J\0\1\0\0", "K\0K\0") "s.", "strided views of 274877906944 bytes"),
    P(DICT A TENSOR("\6", "K\0", "K\0J\xff\xff\xff\x7f", "K\1K\1") "s.", MFRGN_OK, "", 1),
    P(DICT A TENSOR("\6", "K\0", "K\1K\1K\1K\1K\1K\1K\1K\1K\1", "K\1K\1K\1K\1K\1K\1K\1K\1K\1") "s.",
      MFRGN_ERROR_UNSUPPORTED, "9 dimensions, at most 8", 0),
    /* which dictionary */
    P(DICT "(" KEY("\5", "model") "}" A GOOD "s" KEY("\4", "loss") GOOD "u.", MFRGN_OK, "", 1),
    P(DICT "(" KEY("\5", "other") "}" A GOOD "s" B "}u.", MFRGN_OK, "", 1),
    P(DICT "(" KEY("\5", "other") "}q\1" A GOOD "s" B "h\1u.", MFRGN_OK, "", 1),
    BAD(DICT "(" A "}" A GOOD "s" B "}" A GOOD "su.", "several dictionaries of tensors"),
    P(DICT "q\0(" A "h\0" B GOOD "u.", MFRGN_OK, "", 1), /* a dictionary in itself */
};

/* An archive with `pickle` as its object, made with the library's own writer. */
static blob make_pth(mfrgn_context *context, const char *pickle, size_t size) {
    char *folder = scratch_folder(), path[300];
    mf_out *out;
    mf_zip_out *zip = malloc(sizeof(*zip));
    snprintf(path, sizeof(path), "%s/p", folder);
    ck_assert_int_eq(mf_out_open(context, path, &out), MFRGN_OK);
    mf_zip_out_begin(zip, context, out);
    ck_assert_int_eq(mf_zip_out_add(zip, "archive/data.pkl", pickle, size), MFRGN_OK);
    ck_assert_int_eq(mf_zip_out_add(zip, "archive/data/0", "abcdefghijklmnopqrstuvwx", 24), MFRGN_OK);
    ck_assert_int_eq(mf_zip_out_end(zip), MFRGN_OK);
    ck_assert_int_eq(mf_out_commit(out), MFRGN_OK);
    mf_zip_out_free(zip);
    free(zip);
    blob b = read_blob(path);
    remove_folder(folder);
    return b;
}

START_TEST(pickle) {
    counter c;
    mfrgn_context *context = counted_context(&c);
    const pickle_case *p = &pickles[_i];
    blob b = make_pth(context, p->pickle, p->size);
    mf_weights *w = NULL;
    size_t before = c.live;
    c.largest = 0;
    mfrgn_status status = mf_weights_load_memory(context, "memory", b.data, b.size, &w);
    ck_assert_msg(status == p->status, "%d: %s", status, mfrgn_context_last_error(context));
    ck_assert_says(context, p->says);
    ck_assert_uint_eq(w ? w->count : 0, p->count);
    ck_assert_uint_lt(c.largest, 1 << 20);
    mf_weights_free(w);
    ck_assert_uint_eq(c.live, before);
    free(b.data);
    mfrgn_context_free(context);
}
END_TEST

START_TEST(transposed) {
    static const char text[] = DICT A TENSOR("\6", "K\0", "K\3K\2", "K\1K\3") "s.";
    mfrgn_context *context = plain_context();
    blob b = make_pth(context, text, sizeof(text) - 1);
    mf_weights *w;
    ck_assert_int_eq(mf_weights_load_memory(context, "memory", b.data, b.size, &w), MFRGN_OK);
    ck_assert_mem_eq(w->tensor[0].data, "abcdmnopefghqrstijkluvwx", 24);
    mf_weights_let_go(w, &w->tensor[0]); /* a copy: it stays */
    ck_assert_mem_eq(w->tensor[0].data, "abcdmnopefghqrstijkluvwx", 24);
    mf_weights_free(w);
    free(b.data);
    mfrgn_context_free(context);
}
END_TEST

/* A hundred thousand lists in each other: no recursion, hence no stack to overflow. */
START_TEST(deep) {
    enum { DEPTH = 100000 };
    mfrgn_context *context = plain_context();
    char *text = malloc(2 * DEPTH + 1);
    memset(text, ']', DEPTH);
    memset(text + DEPTH, 'a', DEPTH);
    text[2 * DEPTH - 1] = '.';
    blob b = make_pth(context, text, 2 * DEPTH);
    ck_assert_int_eq(load_blob(context, b.data, b.size), MFRGN_ERROR_FORMAT);
    memset(text, '(', 2 * DEPTH);
    free(b.data);
    b = make_pth(context, text, 2 * DEPTH);
    ck_assert_int_eq(load_blob(context, b.data, b.size), MFRGN_ERROR_FORMAT);
    free(b.data);
    free(text);
    mfrgn_context_free(context);
}
END_TEST

/* ---- archives ---- */

/* Calls `change` on every entry of the central directory. */
static void each_central(blob *b, void (*change)(unsigned char *record)) {
    for (size_t i = 0; i + 46 < b->size; i++)
        if (memcmp(b->data + i, "PK\1\2", 4) == 0)
            change(b->data + i);
}

static void compress_it(unsigned char *record) {
    record[10] = 8;
}

static void encrypt_it(unsigned char *record) {
    record[8] = 1;
}

static void move_it(unsigned char *record) {
    record[42] ^= 1;
}

static void rename_it(unsigned char *record) {
    record[46] = 'b'; /* the local header still says "archive" */
}

static void enlarge_it(unsigned char *record) {
    record[22] = record[26] = 0x7f;
}

START_TEST(archive) {
    static const struct {
        void (*change)(unsigned char *);
        mfrgn_status status;
        const char *says;
    } cases[] = {{compress_it, MFRGN_ERROR_UNSUPPORTED, "zip entry \"archive/data.pkl\" is compressed (method 8)"},
                 {encrypt_it, MFRGN_ERROR_UNSUPPORTED, "is encrypted"},
                 {move_it, MFRGN_ERROR_FORMAT, "no local header at byte 1"},
                 {rename_it, MFRGN_ERROR_FORMAT, "has another name"},
                 {enlarge_it, MFRGN_ERROR_FORMAT, "reach past the entries"}};
    mfrgn_context *context = plain_context();
    blob b = make_pth(context, pickles[0].pickle, pickles[0].size);
    each_central(&b, cases[_i].change);
    ck_assert_int_eq(load_blob(context, b.data, b.size), cases[_i].status);
    ck_assert_says(context, cases[_i].says);
    free(b.data);
    mfrgn_context_free(context);
}
END_TEST

static void put(blob *b, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        b->data[b->size++] = (unsigned char)(i < 8 ? value >> 8 * i : 0);
}

/* The same archive with every size and offset in zip64's extra fields, as a file beyond 4 GiB has them. */
START_TEST(zip64) {
    mfrgn_context *context = plain_context();
    blob b = make_pth(context, pickles[0].pickle, pickles[0].size), z = {malloc(b.size + 4096), 0};
    size_t at = 0, count = 0;
    while (memcmp(b.data + at, "PK\1\2", 4) != 0)
        at++;
    memcpy(z.data, b.data, at);
    z.size = at;
    size_t begin = at;
    for (; memcmp(b.data + at, "PK\1\2", 4) == 0; count++) {
        size_t name = mf_le16(b.data + at + 28), size = mf_le32(b.data + at + 24), offset = mf_le32(b.data + at + 42);
        unsigned char *record = z.data + z.size;
        memcpy(record, b.data + at, 46 + name);
        memset(record + 20, 0xff, 8);
        memset(record + 42, 0xff, 4);
        record[30] = 34; /* another field, then zip64's */
        z.size += 46 + name;
        put(&z, 0x9902 | 2 << 16, 4);
        put(&z, 0, 2);
        put(&z, 1 | 24 << 16, 4);
        put(&z, size, 8);
        put(&z, size, 8);
        put(&z, offset, 8);
        at += 46 + name;
    }
    size_t size = z.size - begin, end = z.size;
    put(&z, 0x06064b50, 4);
    put(&z, 44, 8);
    put(&z, 0, 12);
    put(&z, count, 8);
    put(&z, count, 8);
    put(&z, size, 8);
    put(&z, begin, 8);
    put(&z, 0x07064b50, 8);
    put(&z, end, 8);
    put(&z, 1, 4);
    put(&z, 0x06054b50, 8);
    put(&z, UINT64_MAX, 8);
    put(&z, UINT64_MAX, 4);
    put(&z, 0, 2);
    mfrgn_status status = load_blob(context, z.data, z.size);
    ck_assert_msg(status == MFRGN_OK, "%s", mfrgn_context_last_error(context));
    z.data[end + 32] = 0xff; /* more entries than there is room for */
    ck_assert_int_eq(load_blob(context, z.data, z.size), MFRGN_ERROR_FORMAT);
    ck_assert_says(context, "do not fit a directory");
    free(b.data);
    free(z.data);
    mfrgn_context_free(context);
}
END_TEST

/* ---- every cut, every flipped bit ---- */

static const char *const small_golden[] = {"/pth/state_dict.pth", "/pth/state_dict_legacy.pth", "/pth/nested.pth"};

/* 0, 1: the library's own files; then the golden ones. */
static blob small_file(mfrgn_context *context, int which) {
    char path[1024];
    if (which < 2)
        return saved_blob(context, which);
    snprintf(path, sizeof(path), "%s%s", MF_GOLDEN_DIR, small_golden[which - 2]);
    return read_blob(path);
}

START_TEST(every_cut) {
    counter c;
    mfrgn_context *context = counted_context(&c);
    blob b = small_file(context, _i);
    size_t before = c.live;
    ck_assert_int_eq(load_blob(context, b.data, b.size), MFRGN_OK);
    for (size_t n = 0; n < b.size; n++) {
        mfrgn_status status = load_blob(context, b.data, n);
        ck_assert_msg(status == MFRGN_ERROR_FORMAT, "cut to %zu bytes: status %d", n, status);
        ck_assert_says(context, "memory: ");
        ck_assert_uint_eq(c.live, before);
    }
    free(b.data);
    mfrgn_context_free(context);
}
END_TEST

START_TEST(every_bit) {
    counter c;
    mfrgn_context *context = counted_context(&c);
    blob b = small_file(context, _i);
    size_t before = c.live;
    c.largest = 0;
    for (size_t bit = 0; bit < 8 * b.size; bit++) {
        b.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        mfrgn_status status = load_blob(context, b.data, b.size);
        int expected = status == MFRGN_OK || status == MFRGN_ERROR_FORMAT || status == MFRGN_ERROR_UNSUPPORTED;
        if (!expected || c.live != before) /* ck_assert() is slow a hundred thousand times */
            ck_abort_msg("bit %zu: status %d, %zu blocks of memory left", bit, status, c.live - before);
        b.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    ck_assert_uint_lt(c.largest, 100000);
    free(b.data);
    mfrgn_context_free(context);
}
END_TEST

int main(void) {
    Suite *s = suite_create("damaged weights");
    TCase *t = tcase_create("damaged");
    int files = access(MF_GOLDEN_DIR "/pth/nested.pth", R_OK) == 0 ? 2 + (int)MF_COUNT(small_golden) : 2;
    if (files == 2)
        printf("skipped: the golden checkpoints are not in " MF_GOLDEN_DIR "/pth\n");
    tcase_set_timeout(t, 100);
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, header, 0, MF_COUNT(headers));
    tcase_add_test(t, claims);
    tcase_add_loop_test(t, pickle, 0, MF_COUNT(pickles));
    tcase_add_test(t, transposed);
    tcase_add_test(t, deep);
    tcase_add_loop_test(t, archive, 0, 5);
    tcase_add_test(t, zip64);
    tcase_add_loop_test(t, every_cut, 0, files);
    tcase_add_loop_test(t, every_bit, 0, files);
    return mf_run_suite(s);
}
