#include "io/reader.h"

#include <stdio.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are used where they lie in the file, which is little-endian"
#endif

/* ---- memory ---- */

typedef struct block {
    struct block *next;
    size_t used, room;
    size_t pad; /* what follows is aligned to 16 */
} block;

enum { BLOCK_BYTES = 1 << 15 };

static block *new_block(mf_arena *arena, size_t room) {
    if (room > SIZE_MAX - sizeof(block))
        return NULL;
    block *b = mf_alloc(arena->context, sizeof(block) + room);
    if (b)
        *b = (block){NULL, 0, room, 0};
    return b;
}

void *mf_arena_alloc(mf_arena *arena, size_t bytes) {
    block *head = arena->blocks;
    if (bytes > SIZE_MAX - 15)
        return NULL;
    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes > BLOCK_BYTES / 4) {
        /* Its own block, behind the first, whose rest stays in use. */
        block *own = new_block(arena, bytes);
        if (!own)
            return NULL;
        own->used = bytes;
        own->next = head ? head->next : NULL;
        if (head)
            head->next = own;
        else
            arena->blocks = own;
        return own + 1;
    }
    if (!head || head->room - head->used < bytes) {
        block *fresh = new_block(arena, BLOCK_BYTES);
        if (!fresh)
            return NULL;
        fresh->next = head;
        arena->blocks = head = fresh;
    }
    void *memory = (char *)(head + 1) + head->used;
    head->used += bytes;
    return memory;
}

void mf_arena_free(mf_arena *arena) {
    block *b = arena->blocks;
    while (b) {
        block *next = b->next;
        mf_free(arena->context, b);
        b = next;
    }
    arena->blocks = NULL;
}

/* ---- reader ---- */

mfrgn_status mf_reader_fail(const mf_reader *r, mfrgn_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    mf_vfail(r->context, status, format, args);
    va_end(args);
    return mf_fail_in(r->context, status, "%s", r->name);
}

void *mf_reader_alloc(mf_reader *r, size_t bytes, const char *what) {
    void *memory = mf_arena_alloc(&r->memory, bytes);
    if (!memory) {
        mf_fail_memory(r->context, bytes, what);
        mf_fail_in(r->context, MFRGN_ERROR_MEMORY, "%s", r->name);
    }
    return memory;
}

mfrgn_status mf_reader_add(mf_reader *r, const mf_weight *tensor) {
    mf_weights *w = r->weights;
    MF_TRY(mf_reserve(r->context, (void **)&w->tensor, &r->tensor_room, w->count + 1, sizeof(*tensor)));
    w->tensor[w->count++] = *tensor;
    return MFRGN_OK;
}

mfrgn_status mf_reader_add_metadata(mf_reader *r, const char *key, const char *value) {
    mf_weights *w = r->weights;
    MF_TRY(
        mf_reserve(r->context, (void **)&w->metadata, &r->metadata_room, w->metadata_count + 1, sizeof(*w->metadata)));
    w->metadata[w->metadata_count++] = (mf_metadata){key, value};
    return MFRGN_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const mf_weight *)a)->name, ((const mf_weight *)b)->name);
}

mfrgn_status mf_reader_finish(mf_reader *r) {
    mf_weights *w = r->weights;
    mf_sort(w->tensor, w->count, sizeof(*w->tensor), by_name);
    for (size_t i = 1; i < w->count; i++)
        if (strcmp(w->tensor[i - 1].name, w->tensor[i].name) == 0)
            return mf_reader_fail(r, MFRGN_ERROR_FORMAT, "tensor \"%.160s\" occurs twice", w->tensor[i].name);
    return MFRGN_OK;
}

/* ---- shapes ---- */

int mf_weight_bytes(mf_dtype dtype, int ndim, const int64_t *dim, size_t *bytes) {
    size_t n = mf_dtype_size(dtype);
    int empty = 0;
    for (int i = 0; i < ndim; i++) {
        if (dim[i] < 0)
            return 0;
        empty |= dim[i] == 0;
    }
    for (int i = 0; i < ndim && !empty; i++)
        if (__builtin_mul_overflow(n, (uint64_t)dim[i], &n))
            return 0;
    *bytes = empty ? 0 : n;
    return empty || n <= PTRDIFF_MAX;
}

const char *mf_dtype_name(mf_dtype dtype) {
    static const char *const name[MF_DTYPE_COUNT] = {"F32", "F64", "F16", "BF16", "U8",
                                                     "I8",  "I16", "I32", "I64",  "BOOL"};
    return (unsigned)dtype < MF_DTYPE_COUNT ? name[dtype] : "unknown dtype";
}

const char *mf_weight_describe(char *text, size_t size, mf_dtype dtype, int ndim, const int64_t *dim) {
    int n = snprintf(text, size, "%s [", mf_dtype_name(dtype));
    for (int i = 0; i < ndim && n >= 0 && (size_t)n < size; i++)
        n += snprintf(text + n, size - (size_t)n, "%s%lld", i ? ", " : "", (long long)dim[i]);
    if (n >= 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, "]");
    return text;
}

/* ---- sorting: heap sort, in place and n log n whatever the input ---- */

static void swap_items(char *a, char *b, size_t size) {
    char t[64];
    while (size) {
        size_t n = size < sizeof(t) ? size : sizeof(t);
        memcpy(t, a, n);
        memcpy(a, b, n);
        memcpy(b, t, n);
        a += n;
        b += n;
        size -= n;
    }
}

static void sift_down(char *items, size_t root, size_t count, size_t size, int (*compare)(const void *, const void *)) {
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && compare(items + child * size, items + (child + 1) * size) < 0)
            child++;
        if (compare(items + root * size, items + child * size) >= 0)
            return;
        swap_items(items + root * size, items + child * size, size);
    }
}

void mf_sort(void *items, size_t count, size_t size, int (*compare)(const void *, const void *)) {
    /* Writers sort their files already: the usual case costs one pass. */
    size_t sorted = 1;
    while (sorted < count && compare((char *)items + (sorted - 1) * size, (char *)items + sorted * size) <= 0)
        sorted++;
    if (sorted >= count)
        return;
    for (size_t i = count / 2; i-- > 0;)
        sift_down(items, i, count, size, compare);
    for (size_t end = count - 1; end > 0; end--) {
        swap_items(items, (char *)items + end * size, size);
        sift_down(items, 0, end, size, compare);
    }
}

/* ---- UTF-8 ---- */

size_t mf_utf8_sequence(const unsigned char *s, size_t room) {
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (!n || n > room)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    int overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    int outside = (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90);
    return overlong || outside ? 0 : n;
}

int mf_utf8_valid(const void *text, size_t size) {
    const unsigned char *s = text;
    for (size_t i = 0, n; i < size; i += n)
        if (s[i] == 0 || (n = mf_utf8_sequence(s + i, size - i)) == 0)
            return 0;
    return 1;
}
