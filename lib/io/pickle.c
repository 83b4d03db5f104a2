#include "io/pickle.h"

enum { PICKLE_MAX = 32 << 20 }; /* bytes; values take some 40 times the room of the shortest opcodes */

typedef enum callable { ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, SIZE, STORAGE_CLASS } callable;

static const struct {
    const char *module, *name;
    callable what;
    mf_dtype dtype;
} known[] = {
    {"collections", "OrderedDict", ORDERED_DICT, MF_F32},
    {"torch._utils", "_rebuild_tensor_v2", REBUILD_TENSOR, MF_F32},
    {"torch._utils", "_rebuild_parameter", REBUILD_PARAMETER, MF_F32},
    {"torch", "Size", SIZE, MF_F32},
    {"torch", "FloatStorage", STORAGE_CLASS, MF_F32},
    {"torch", "DoubleStorage", STORAGE_CLASS, MF_F64},
    {"torch", "HalfStorage", STORAGE_CLASS, MF_F16},
    {"torch", "BFloat16Storage", STORAGE_CLASS, MF_BF16},
    {"torch", "ByteStorage", STORAGE_CLASS, MF_U8},
    {"torch", "CharStorage", STORAGE_CLASS, MF_I8},
    {"torch", "ShortStorage", STORAGE_CLASS, MF_I16},
    {"torch", "IntStorage", STORAGE_CLASS, MF_I32},
    {"torch", "LongStorage", STORAGE_CLASS, MF_I64},
    {"torch", "BoolStorage", STORAGE_CLASS, MF_BOOL},
    {"torch.storage", "UntypedStorage", STORAGE_CLASS, MF_U8},
    {"torch.storage", "_UntypedStorage", STORAGE_CLASS, MF_U8},
};

typedef struct machine {
    const mf_reader *r;
    mf_arena *arena;
    size_t begin, at, end; /* bytes of the file */
    size_t op;             /* where the current opcode stands */
    mf_py *stack, *memo;
    size_t count, room, memo_count, memo_room;
    mf_py_storage *storages;
    size_t storage_count;
} machine;

int mf_py_is(const mf_py *value, const char *text) {
    return value->kind == MF_PY_STRING && value->size == strlen(text) && memcmp(value->as.text, text, value->size) == 0;
}

static mfrgn_status damaged(const machine *m, const char *what) {
    mf_reader_fail(m->r, MFRGN_ERROR_FORMAT, "byte %zu, in the pickle: %s", m->op, what);
    return MFRGN_ERROR_FORMAT;
}

static mfrgn_status no_memory(const machine *m, size_t bytes) {
    mf_fail_memory(m->r->context, bytes, "a pickle");
    mf_fail_in(m->r->context, MFRGN_ERROR_MEMORY, "%s", m->r->name);
    return MFRGN_ERROR_MEMORY;
}

/* ---- the input ---- */

static mfrgn_status cut_short(const machine *m) {
    if (m->end - m->begin == PICKLE_MAX) {
        mf_reader_fail(m->r, MFRGN_ERROR_UNSUPPORTED, "byte %zu: a pickle of more than %d bytes", m->begin, PICKLE_MAX);
        return MFRGN_ERROR_UNSUPPORTED;
    }
    return damaged(m, "it ends within an opcode (file cut short?)");
}

static mfrgn_status take(machine *m, uint64_t bytes, const unsigned char **p) {
    if (bytes > m->end - m->at)
        return cut_short(m);
    *p = m->r->data + m->at;
    m->at += (size_t)bytes;
    return MFRGN_OK;
}

/* A length or number of 1, 2, 4 or 8 bytes. */
static mfrgn_status take_number(machine *m, int bytes, uint64_t *value) {
    const unsigned char *p;
    MF_TRY(take(m, (uint64_t)bytes, &p));
    *value = 0;
    for (int i = bytes; i-- > 0;)
        *value = *value << 8 | p[i];
    return MFRGN_OK;
}

static mfrgn_status take_line(machine *m, mf_py *line) {
    const unsigned char *begin = m->r->data + m->at, *end = memchr(begin, '\n', m->end - m->at);
    if (!end)
        return cut_short(m);
    *line = (mf_py){MF_PY_STRING, (uint32_t)(end - begin), {.text = (const char *)begin}};
    m->at += (size_t)(end - begin) + 1;
    return MFRGN_OK;
}

/* ---- the stack ---- */

static mfrgn_status push(machine *m, mf_py value) {
    mfrgn_status status = mf_reserve(m->r->context, (void **)&m->stack, &m->room, m->count + 1, sizeof(*m->stack));
    if (status != MFRGN_OK)
        return mf_fail_in(m->r->context, status, "%s", m->r->name);
    m->stack[m->count++] = value;
    return MFRGN_OK;
}

static mfrgn_status push_plain(machine *m, mf_py_kind kind, int64_t i) {
    return push(m, (mf_py){kind, 0, {.i = i}});
}

/* The value `depth` below the top; a mark is none. */
static mfrgn_status peek(machine *m, size_t depth, mf_py **value) {
    if (depth >= m->count || m->stack[m->count - 1 - depth].kind == MF_PY_MARK)
        return damaged(m, "too few values on the stack");
    *value = &m->stack[m->count - 1 - depth];
    return MFRGN_OK;
}

static mfrgn_status pop(machine *m, mf_py *value) {
    mf_py *top;
    MF_TRY(peek(m, 0, &top));
    *value = *top;
    m->count--;
    return MFRGN_OK;
}

/* The values above the last mark; it and they leave the stack (and stay readable until the next push). */
static mfrgn_status pop_mark(machine *m, mf_py **items, size_t *count) {
    size_t i = m->count;
    while (i > 0 && m->stack[i - 1].kind != MF_PY_MARK)
        i--;
    if (i == 0)
        return damaged(m, "no mark on the stack");
    *items = m->stack + i;
    *count = m->count - i;
    m->count = i - 1;
    return MFRGN_OK;
}

/* ---- containers ---- */

static mfrgn_status append(machine *m, mf_py_list *list, const mf_py *items, size_t count) {
    size_t need = list->count + count; /* both count bytes of the pickle: no overflow */
    if (need > list->room) {
        size_t room = need < 2 * list->room ? 2 * list->room : need;
        mf_py *moved = mf_arena_alloc(m->arena, room * sizeof(*moved));
        if (!moved)
            return no_memory(m, room * sizeof(*moved));
        if (list->count)
            memcpy(moved, list->item, list->count * sizeof(*moved));
        list->item = moved;
        list->room = room;
    }
    if (count)
        memcpy(list->item + list->count, items, count * sizeof(*items));
    list->count = need;
    return MFRGN_OK;
}

static mfrgn_status make_list(machine *m, mf_py_kind kind, const mf_py *items, size_t count, mf_py *value) {
    mf_py_list *list = mf_arena_alloc(m->arena, sizeof(*list));
    if (!list)
        return no_memory(m, sizeof(*list));
    *list = (mf_py_list){NULL, 0, 0, 0};
    *value = (mf_py){kind, 0, {.list = list}};
    return append(m, list, items, count);
}

static mfrgn_status set_items(machine *m, const mf_py *dict, const mf_py *items, size_t count) {
    if (dict->kind != MF_PY_DICT || count % 2)
        return damaged(m, "items are set of what is no dictionary, or a key has no value");
    for (size_t i = 1; i < count; i += 2)
        dict->as.list->tensors += items[i].kind == MF_PY_TENSOR;
    return append(m, dict->as.list, items, count);
}

static mfrgn_status push_list(machine *m, mf_py_kind kind, const mf_py *items, size_t count) {
    mf_py value;
    MF_TRY(make_list(m, kind, items, count, &value));
    return push(m, value);
}

/* `count` values from the top become a tuple. */
static mfrgn_status push_tuple(machine *m, size_t count) {
    mf_py *unused;
    for (size_t i = 0; i < count; i++)
        MF_TRY(peek(m, i, &unused));
    m->count -= count;
    return push_list(m, MF_PY_TUPLE, m->stack + m->count, count);
}

static mfrgn_status push_marked(machine *m, mf_py_kind kind) {
    mf_py *items, dict;
    size_t count;
    MF_TRY(pop_mark(m, &items, &count));
    if (kind != MF_PY_DICT)
        return push_list(m, kind, items, count);
    MF_TRY(make_list(m, kind, NULL, 0, &dict));
    MF_TRY(set_items(m, &dict, items, count));
    return push(m, dict);
}

/* APPENDS and SETITEMS: what is above the mark goes into the container below it. */
static mfrgn_status fill_marked(machine *m, mf_py_kind kind) {
    mf_py *items, *into;
    size_t count;
    MF_TRY(pop_mark(m, &items, &count));
    MF_TRY(peek(m, 0, &into));
    if (kind == MF_PY_DICT)
        return set_items(m, into, items, count);
    return into->kind == MF_PY_LIST ? append(m, into->as.list, items, count)
                                    : damaged(m, "items are appended to what is no list");
}

static mfrgn_status fill_one(machine *m, mf_py_kind kind) {
    mf_py items[2], *into;
    size_t count = kind == MF_PY_DICT ? 2 : 1;
    for (size_t i = count; i-- > 0;)
        MF_TRY(pop(m, &items[i]));
    MF_TRY(peek(m, 0, &into));
    if (kind == MF_PY_DICT)
        return set_items(m, into, items, count);
    return into->kind == MF_PY_LIST ? append(m, into->as.list, items, count)
                                    : damaged(m, "an item is appended to what is no list");
}

/* ---- the memo ---- */

static mfrgn_status put_memo(machine *m, uint64_t index) {
    mf_py *top;
    MF_TRY(peek(m, 0, &top));
    /* Picklers count up from 0: an index past the bytes read is a claim to memory that nothing justifies. */
    if (index > m->at - m->begin)
        return damaged(m, "a memo index that no pickler would give");
    mfrgn_status status =
        mf_reserve(m->r->context, (void **)&m->memo, &m->memo_room, (size_t)index + 1, sizeof(*m->memo));
    if (status != MFRGN_OK)
        return mf_fail_in(m->r->context, status, "%s", m->r->name);
    for (; m->memo_count <= index; m->memo_count++)
        m->memo[m->memo_count] = (mf_py){MF_PY_MARK, 0, {0}};
    m->memo[index] = *top;
    return MFRGN_OK;
}

static mfrgn_status get_memo(machine *m, uint64_t index) {
    if (index >= m->memo_count || m->memo[index].kind == MF_PY_MARK)
        return damaged(m, "a memo entry that was never set");
    return push(m, m->memo[index]);
}

/* ---- globals and calls ---- */

static mfrgn_status push_global(machine *m, const mf_py *module, const mf_py *name) {
    static const char ending[] = "Storage";
    size_t n = sizeof(ending) - 1;
    for (size_t i = 0; i < MF_COUNT(known); i++)
        if (mf_py_is(module, known[i].module) && mf_py_is(name, known[i].name))
            return push_plain(m, MF_PY_GLOBAL, (int64_t)i);
    if (mf_py_is(module, "torch") && name->size > n && memcmp(name->as.text + name->size - n, ending, n) == 0)
        return mf_reader_fail(m->r, MFRGN_ERROR_UNSUPPORTED, "byte %zu, in the pickle: torch.%.*s is not supported",
                              m->op, MF_SHOW(name->size), name->as.text);
    return mf_reader_fail(m->r, MFRGN_ERROR_FORMAT,
                          "byte %zu, in the pickle: refuses to run %.*s.%.*s; only tensors and plain values are read",
                          m->op, MF_SHOW(module->size), module->as.text, MF_SHOW(name->size), name->as.text);
}

static mfrgn_status global_lines(machine *m) {
    mf_py module, name;
    MF_TRY(take_line(m, &module));
    MF_TRY(take_line(m, &name));
    return push_global(m, &module, &name);
}

static mfrgn_status global_stack(machine *m) {
    mf_py module, name;
    MF_TRY(pop(m, &name));
    MF_TRY(pop(m, &module));
    if (module.kind != MF_PY_STRING || name.kind != MF_PY_STRING)
        return damaged(m, "a global's name is no string");
    return push_global(m, &module, &name);
}

/* _rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, backward_hooks[, metadata]) */
static mfrgn_status rebuild_tensor(machine *m, const mf_py_list *args, mf_py *value) {
    const mf_py *a = args->item;
    if (args->count < 6 || args->count > 7 || a[0].kind != MF_PY_STORAGE || a[1].kind != MF_PY_INT ||
        a[2].kind != MF_PY_TUPLE || a[3].kind != MF_PY_TUPLE)
        return damaged(m, "_rebuild_tensor_v2 is not called with (storage, offset, shape, stride, ..)");
    mf_py_tensor *t = mf_arena_alloc(m->arena, sizeof(*t));
    if (!t)
        return no_memory(m, sizeof(*t));
    *t = (mf_py_tensor){a[0].as.storage, a[1].as.i, a[2].as.list, a[3].as.list};
    *value = (mf_py){MF_PY_TENSOR, 0, {.tensor = t}};
    return MFRGN_OK;
}

static mfrgn_status reduce(machine *m) {
    mf_py args, function, value;
    MF_TRY(pop(m, &args));
    MF_TRY(pop(m, &function));
    if (args.kind != MF_PY_TUPLE || function.kind != MF_PY_GLOBAL)
        return damaged(m, "a call of what is no function");
    const mf_py_list *list = args.as.list;
    switch (known[function.as.i].what) {
    case ORDERED_DICT:
        /* Not from a list, as Python 2 pickled it: copies of one list, called for again and again, have no bound. */
        return list->count == 0 ? push_list(m, MF_PY_DICT, NULL, 0)
                                : damaged(m, "OrderedDict is called with something (a file of Python 2?)");
    case REBUILD_TENSOR:
        MF_TRY(rebuild_tensor(m, list, &value));
        return push(m, value);
    case REBUILD_PARAMETER:
        if (list->count < 1 || list->item[0].kind != MF_PY_TENSOR)
            return damaged(m, "_rebuild_parameter is not called with a tensor");
        return push(m, list->item[0]);
    case SIZE:
        if (list->count != 1 || (list->item[0].kind != MF_PY_TUPLE && list->item[0].kind != MF_PY_LIST))
            return damaged(m, "torch.Size is not called with a tuple");
        return push(m, (mf_py){MF_PY_TUPLE, 0, {.list = list->item[0].as.list}});
    case STORAGE_CLASS:
        break;
    }
    return damaged(m, "a storage class is called");
}

/* ("storage", class, key, location, count[, view]): the values lie outside the pickle. */
static mfrgn_status persistent(machine *m) {
    mf_py id;
    MF_TRY(pop(m, &id));
    const mf_py *a = id.kind == MF_PY_TUPLE ? id.as.list->item : NULL;
    size_t count = a ? id.as.list->count : 0;
    if (count >= 1 && a[0].kind == MF_PY_STRING && !mf_py_is(&a[0], "storage"))
        return mf_reader_fail(
            m->r, MFRGN_ERROR_FORMAT,
            "byte %zu, in the pickle: a \"%.*s\" is stored, which is no tensor: save the state_dict()", m->op,
            MF_SHOW(a[0].size), a[0].as.text);
    if (count < 5 || count > 6 || a[0].kind != MF_PY_STRING || a[1].kind != MF_PY_GLOBAL ||
        known[a[1].as.i].what != STORAGE_CLASS || a[2].kind != MF_PY_STRING || a[4].kind != MF_PY_INT || a[4].as.i < 0)
        return damaged(m, "a storage is not given as (\"storage\", class, key, location, count)");
    if (count == 6 && a[5].kind != MF_PY_OTHER)
        return mf_reader_fail(m->r, MFRGN_ERROR_UNSUPPORTED,
                              "byte %zu, in the pickle: a view of a storage, as PyTorch 0.1 wrote it", m->op);
    mf_py_storage *s = mf_arena_alloc(m->arena, sizeof(*s));
    if (!s)
        return no_memory(m, sizeof(*s));
    *s = (mf_py_storage){known[a[1].as.i].dtype, a[2], a[4].as.i, NULL, m->storages};
    m->storages = s;
    m->storage_count++;
    return push(m, (mf_py){MF_PY_STORAGE, 0, {.storage = s}});
}

/* Sets attributes.  Those of a dictionary (PyTorch's "_metadata") are of no use here; nothing else has any. */
static mfrgn_status build(machine *m) {
    mf_py state, *object;
    MF_TRY(pop(m, &state));
    MF_TRY(peek(m, 0, &object));
    return object->kind == MF_PY_DICT ? MFRGN_OK : damaged(m, "attributes are set of what has none");
}

/* ---- plain values ---- */

static mfrgn_status push_integer(machine *m, int bytes, int negative) {
    uint64_t v;
    MF_TRY(take_number(m, bytes, &v));
    return push_plain(m, MF_PY_INT, negative ? (int32_t)(uint32_t)v : (int64_t)v);
}

/* Little-endian two's complement of `size` bytes. */
static mfrgn_status push_long(machine *m, int length_bytes) {
    uint64_t size, v = 0;
    const unsigned char *p;
    MF_TRY(take_number(m, length_bytes, &size));
    MF_TRY(take(m, size, &p));
    if (size > 8)
        return push_plain(m, MF_PY_OTHER, 0);
    for (size_t i = (size_t)size; i-- > 0;)
        v = v << 8 | p[i];
    if (size > 0 && size < 8 && p[size - 1] & 0x80)
        v |= UINT64_MAX << 8 * size;
    return push_plain(m, MF_PY_INT, (int64_t)v);
}

static mfrgn_status push_text(machine *m, int length_bytes, mf_py_kind kind) {
    uint64_t size;
    const unsigned char *p;
    MF_TRY(take_number(m, length_bytes, &size));
    MF_TRY(take(m, size, &p)); /* at most PICKLE_MAX */
    return push(m, (mf_py){kind, (uint32_t)size, {.text = (const char *)p}});
}

static mfrgn_status push_ignored(machine *m, uint64_t bytes) {
    const unsigned char *p;
    MF_TRY(take(m, bytes, &p));
    return push_plain(m, MF_PY_OTHER, 0);
}

static mfrgn_status skip(machine *m, uint64_t bytes) {
    const unsigned char *p;
    return take(m, bytes, &p);
}

static mfrgn_status unknown(machine *m, unsigned char op) {
    mf_py module, name;
    /* INST calls as GLOBAL and REDUCE do: let the message have the name. */
    if (op == 'i' && take_line(m, &module) == MFRGN_OK && take_line(m, &name) == MFRGN_OK)
        MF_TRY(push_global(m, &module, &name));
    return mf_reader_fail(m->r, MFRGN_ERROR_FORMAT,
                          "byte %zu, in the pickle: opcode 0x%02x, which state dicts do not use", m->op, op);
}

/* ---- the machine ---- */

static mfrgn_status memo_op(machine *m, unsigned char op) {
    uint64_t index = m->memo_count;
    mf_py *top;
    if (op == '2') { /* DUP */
        MF_TRY(peek(m, 0, &top));
        return push(m, *top);
    }
    if (op != 0x94) /* MEMOIZE: the next one */
        MF_TRY(take_number(m, op == 'q' || op == 'h' ? 1 : 4, &index));
    return op == 'h' || op == 'j' ? get_memo(m, index) : put_memo(m, index);
}

static mfrgn_status drop(machine *m, unsigned char op) {
    mf_py *items;
    size_t count;
    if (op == '1') /* POP_MARK */
        return pop_mark(m, &items, &count);
    if (m->count == 0)
        return damaged(m, "too few values on the stack");
    m->count--; /* POP takes a mark, too */
    return MFRGN_OK;
}

/* clang-format off */
static mfrgn_status execute(machine *m, unsigned char op) {
    switch (op) {
    case 0x80: return skip(m, 1);                         /* PROTO */
    case 0x95: return skip(m, 8);                         /* FRAME */
    case '(': return push_plain(m, MF_PY_MARK, 0);        /* MARK */
    case '0': case '1': return drop(m, op);               /* POP, POP_MARK */
    case 'N': return push_plain(m, MF_PY_OTHER, 0);       /* NONE */
    case 0x88: case 0x89: return push_plain(m, MF_PY_BOOL, op == 0x88);
    case 'J': return push_integer(m, 4, 1);               /* BININT */
    case 'K': return push_integer(m, 1, 0);               /* BININT1 */
    case 'M': return push_integer(m, 2, 0);               /* BININT2 */
    case 0x8a: return push_long(m, 1);                    /* LONG1 */
    case 0x8b: return push_long(m, 4);                    /* LONG4 */
    case 'G': return push_ignored(m, 8);                  /* BINFLOAT */
    case 0x8c: case 'U': return push_text(m, 1, MF_PY_STRING); /* SHORT_BINUNICODE, SHORT_BINSTRING */
    case 'X': case 'T': return push_text(m, 4, MF_PY_STRING);  /* BINUNICODE, BINSTRING */
    case 0x8d: return push_text(m, 8, MF_PY_STRING);      /* BINUNICODE8 */
    case 'C': return push_text(m, 1, MF_PY_OTHER);        /* SHORT_BINBYTES */
    case 'B': return push_text(m, 4, MF_PY_OTHER);        /* BINBYTES */
    case 0x8e: return push_text(m, 8, MF_PY_OTHER);       /* BINBYTES8 */
    case ')': return push_list(m, MF_PY_TUPLE, NULL, 0);  /* EMPTY_TUPLE */
    case ']': return push_list(m, MF_PY_LIST, NULL, 0);   /* EMPTY_LIST */
    case '}': return push_list(m, MF_PY_DICT, NULL, 0);   /* EMPTY_DICT */
    case 0x85: case 0x86: case 0x87: return push_tuple(m, op - 0x84u);
    case 't': return push_marked(m, MF_PY_TUPLE);         /* TUPLE */
    case 'l': return push_marked(m, MF_PY_LIST);          /* LIST */
    case 'd': return push_marked(m, MF_PY_DICT);          /* DICT */
    case 'a': return fill_one(m, MF_PY_LIST);             /* APPEND */
    case 's': return fill_one(m, MF_PY_DICT);             /* SETITEM */
    case 'e': return fill_marked(m, MF_PY_LIST);          /* APPENDS */
    case 'u': return fill_marked(m, MF_PY_DICT);          /* SETITEMS */
    case 'q': case 'r': case 'h': case 'j': case 0x94: case '2': return memo_op(m, op);
    case 'c': return global_lines(m);                     /* GLOBAL */
    case 0x93: return global_stack(m);                    /* STACK_GLOBAL */
    case 'R': return reduce(m);                           /* REDUCE */
    case 'b': return build(m);                            /* BUILD */
    case 'Q': return persistent(m);                       /* BINPERSID */
    default: return unknown(m, op);
    }
}
/* clang-format on */

static mfrgn_status run(machine *m, mf_py *value) {
    for (;;) {
        const unsigned char *op;
        m->op = m->at;
        MF_TRY(take(m, 1, &op));
        if (*op == '.') /* STOP */
            return pop(m, value);
        MF_TRY(execute(m, *op));
    }
}

mfrgn_status mf_unpickle(const mf_reader *r, mf_arena *arena, size_t *at, size_t end, mf_pickle *pickle) {
    machine m = {.r = r, .arena = arena, .begin = *at, .at = *at, .end = end};
    if (end - *at > PICKLE_MAX)
        m.end = *at + PICKLE_MAX;
    mf_py value;
    mfrgn_status status = run(&m, &value);
    mf_free(r->context, m.stack);
    mf_free(r->context, m.memo);
    if (status != MFRGN_OK)
        return status;
    *at = m.at;
    *pickle = (mf_pickle){value, m.storages, m.storage_count};
    return MFRGN_OK;
}
