/* Writes what torch.load() reads, in the zip form: the pickle of an OrderedDict of tensors, each with a storage of its
 * own.  The pickle keeps to the opcodes and globals that torch.load(weights_only=True) allows. */
#include <stdio.h>

#include "io/zip.h"

/* Slots of the pickler's memo, for what is said once a tensor. */
enum { MEMO_DICT, MEMO_REBUILD, MEMO_STORAGE, MEMO_CPU, MEMO_CLASS, MEMO_COUNT = MEMO_CLASS + MF_DTYPE_COUNT };

typedef struct pickler {
    mf_bytes *b;
    unsigned char known[MEMO_COUNT];
} pickler;

static void put_op(pickler *p, char op) {
    mf_bytes_put(p->b, &op, 1);
}

static void put_string(pickler *p, const char *text) {
    put_op(p, 'X'); /* BINUNICODE */
    mf_bytes_le(p->b, strlen(text), 4);
    mf_bytes_text(p->b, text);
}

static void put_integer(pickler *p, uint64_t value) {
    if (value <= INT32_MAX) {
        put_op(p, 'J'); /* BININT */
        mf_bytes_le(p->b, value, 4);
    } else {
        put_op(p, (char)0x8a); /* LONG1: 8 bytes, of which the sign is never set */
        mf_bytes_le(p->b, 8, 1);
        mf_bytes_le(p->b, value, 8);
    }
}

/* From the memo (BINGET) if it is there.  1: else the caller writes it, and remember() */
static int recall(pickler *p, int slot) {
    if (!p->known[slot])
        return 1;
    put_op(p, 'h');
    mf_bytes_le(p->b, (uint64_t)slot, 1);
    return 0;
}

static void remember(pickler *p, int slot) {
    p->known[slot] = 1;
    put_op(p, 'q'); /* BINPUT */
    mf_bytes_le(p->b, (uint64_t)slot, 1);
}

static void put_global(pickler *p, int slot, const char *module, const char *name) {
    if (!recall(p, slot))
        return;
    put_op(p, 'c'); /* GLOBAL */
    mf_bytes_text(p->b, module);
    mf_bytes_text(p->b, "\n");
    mf_bytes_text(p->b, name);
    mf_bytes_text(p->b, "\n");
    remember(p, slot);
}

static void put_known_string(pickler *p, int slot, const char *text) {
    if (!recall(p, slot))
        return;
    put_string(p, text);
    remember(p, slot);
}

static void put_empty_dict(pickler *p) {
    put_global(p, MEMO_DICT, "collections", "OrderedDict");
    mf_bytes_text(p->b, ")R"); /* EMPTY_TUPLE, REDUCE */
}

/* persistent id: ("storage", torch.FloatStorage, "0", "cpu", count) */
static void put_storage(pickler *p, const mf_weight *t, size_t index) {
    static const char *const name[MF_DTYPE_COUNT] = {
        [MF_F32] = "FloatStorage", [MF_F64] = "DoubleStorage", [MF_F16] = "HalfStorage",  [MF_BF16] = "BFloat16Storage",
        [MF_U8] = "ByteStorage",   [MF_I8] = "CharStorage",    [MF_I16] = "ShortStorage", [MF_I32] = "IntStorage",
        [MF_I64] = "LongStorage",  [MF_BOOL] = "BoolStorage"};
    char key[24];
    snprintf(key, sizeof(key), "%zu", index);
    put_op(p, '('); /* MARK */
    put_known_string(p, MEMO_STORAGE, "storage");
    put_global(p, MEMO_CLASS + (int)t->dtype, "torch", name[t->dtype]);
    put_string(p, key);
    put_known_string(p, MEMO_CPU, "cpu");
    put_integer(p, t->bytes / mf_dtype_size(t->dtype));
    mf_bytes_text(p->b, "tQ"); /* TUPLE, BINPERSID */
}

/* _rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()) */
static void put_tensor(pickler *p, const mf_weight *t, size_t index) {
    uint64_t stride[MF_WEIGHT_DIMS], next = 1;
    for (int d = t->ndim; d-- > 0; next *= t->dim[d] > 1 ? (uint64_t)t->dim[d] : 1)
        stride[d] = next;
    put_string(p, t->name);
    put_global(p, MEMO_REBUILD, "torch._utils", "_rebuild_tensor_v2");
    put_op(p, '(');
    put_storage(p, t, index);
    put_integer(p, 0);
    put_op(p, '(');
    for (int d = 0; d < t->ndim; d++)
        put_integer(p, (uint64_t)t->dim[d]);
    mf_bytes_text(p->b, "t(");
    for (int d = 0; d < t->ndim; d++)
        put_integer(p, stride[d]);
    mf_bytes_text(p->b, "t\x89"); /* TUPLE, NEWFALSE */
    put_empty_dict(p);
    mf_bytes_text(p->b, "tR");
}

static void put_pickle(mf_bytes *b, const mf_weights_out *what) {
    pickler p = {b, {0}};
    mf_bytes_text(b, "\x80\x02"); /* PROTO 2 */
    put_empty_dict(&p);
    put_op(&p, '(');
    for (size_t i = 0; i < what->count; i++)
        put_tensor(&p, &what->tensor[i], i);
    mf_bytes_text(b, "u."); /* SETITEMS, STOP */
}

typedef struct saver {
    const mf_weights_out *what;
    mf_zip_out zip;
} saver;

static mfrgn_status put_data(void *user, size_t index, const void *data) {
    saver *s = user;
    char name[48];
    snprintf(name, sizeof(name), "archive/data/%zu", index);
    return mf_zip_out_add(&s->zip, name, data, s->what->tensor[index].bytes);
}

static mfrgn_status save(mfrgn_context *context, const char *path, saver *s) {
    mf_bytes pickle = {context, NULL, 0, 0, MFRGN_OK};
    put_pickle(&pickle, s->what);
    mfrgn_status status = pickle.status;
    if (status == MFRGN_OK)
        status = mf_zip_out_add(&s->zip, "archive/data.pkl", pickle.data, pickle.size);
    mf_bytes_free(&pickle);
    MF_TRY(status);
    MF_TRY(mf_zip_out_add(&s->zip, "archive/byteorder", "little", 6));
    MF_TRY(mf_writer_stream(context, path, s->what, put_data, s));
    MF_TRY(mf_zip_out_add(&s->zip, "archive/version", "3\n", 2));
    return mf_zip_out_end(&s->zip);
}

mfrgn_status mf_pth_save(mfrgn_context *context, const char *path, const mf_weights_out *what) {
    mf_out *out;
    MF_TRY(mf_writer_check(context, path, what));
    saver *s = mf_alloc(context, sizeof(*s)); /* the tables of the checksum are large for a stack */
    if (!s)
        return mf_fail_memory(context, sizeof(*s), "a zip archive");
    mfrgn_status status = mf_out_open(context, path, &out);
    if (status == MFRGN_OK) {
        s->what = what;
        mf_zip_out_begin(&s->zip, context, out);
        status = save(context, path, s);
        mf_zip_out_free(&s->zip);
        if (status == MFRGN_OK)
            status = mf_out_commit(out);
        else
            mf_out_discard(out);
    }
    mf_free(context, s);
    return status;
}
