#include "io/matlab.h"

#include "io/file.h"
#include "io/inflate.h"

enum {
    MI_INT8 = 1,
    MI_UINT8 = 2,
    MI_INT16 = 3,
    MI_UINT16 = 4,
    MI_INT32 = 5,
    MI_UINT32 = 6,
    MI_SINGLE = 7,
    MI_DOUBLE = 9,
    MI_INT64 = 12,
    MI_UINT64 = 13,
    MI_MATRIX = 14,
    MI_COMPRESSED = 15,
    MI_UTF8 = 16,
    MI_UTF16 = 17,
    MI_UTF32 = 18
};
enum { MAX_DEPTH = 16, MAX_DIMS = 32, HEADER = 128 };
/* A compressed variable may not become larger: CVACT's are some MB. */
#define INFLATED_LIMIT ((size_t)1 << 30)

typedef struct parser {
    mfrgn_context *context;
    const char *name;
    mf_arena *memory;
    int big_endian;
} parser;

/* A run of bytes that holds elements. */
typedef struct span {
    const unsigned char *at, *end;
} span;

typedef struct element {
    unsigned type;
    span data;
} element;

static mfrgn_status fail(const parser *p, const char *what) {
    return mf_fail(p->context, MFRGN_ERROR_FORMAT, "%s: damaged MATLAB file: %s", p->name, what);
}

static void *room(const parser *p, size_t count, size_t size) {
    size_t bytes;
    void *memory = __builtin_mul_overflow(count, size, &bytes) ? NULL : mf_arena_alloc(p->memory, bytes ? bytes : 1);
    if (memory)
        memset(memory, 0, bytes);
    else
        mf_fail_memory(p->context, count * size, "a MATLAB file");
    return memory;
}

static uint64_t read_integer(const parser *p, const unsigned char *at, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[p->big_endian ? i : bytes - 1 - i];
    return value;
}

static size_t left(const span *s) {
    return (size_t)(s->end - s->at);
}

/* The next element: 8 bytes of type and size, then data padded to 8; or, if the size's place holds data, 4 and 4. */
static mfrgn_status next_element(const parser *p, span *from, element *e) {
    if (left(from) < 8)
        return fail(p, "it is cut short");
    uint32_t type = (uint32_t)read_integer(p, from->at, 4);
    if (type >> 16) {
        size_t size = type >> 16;
        if (size > 4)
            return fail(p, "a small element of more than 4 bytes");
        *e = (element){type & 0xffff, {from->at + 4, from->at + 4 + size}};
        from->at += 8;
        return MFRGN_OK;
    }
    size_t size = (size_t)read_integer(p, from->at + 4, 4);
    if (size > left(from) - 8)
        return fail(p, "an element reaches beyond what holds it");
    *e = (element){type, {from->at + 8, from->at + 8 + size}};
    size_t padded = type == MI_COMPRESSED ? size : (size + 7) / 8 * 8;
    from->at += 8 + (padded < left(from) - 8 ? padded : left(from) - 8);
    return MFRGN_OK;
}

static int type_bytes(unsigned type) {
    static const unsigned char bytes[] = {
        [MI_INT8] = 1,   [MI_UINT8] = 1,  [MI_INT16] = 2,  [MI_UINT16] = 2, [MI_INT32] = 4,
        [MI_UINT32] = 4, [MI_SINGLE] = 4, [MI_DOUBLE] = 8, [MI_INT64] = 8,  [MI_UINT64] = 8,
        [MI_UTF8] = 1,   [MI_UTF16] = 2,  [MI_UTF32] = 4};
    return type < MF_COUNT(bytes) ? bytes[type] : 0;
}

static double read_number(const parser *p, unsigned type, const unsigned char *at) {
    int bytes = type_bytes(type);
    uint64_t raw = read_integer(p, at, bytes);
    if (type == MI_SINGLE) {
        uint32_t bits = (uint32_t)raw;
        float value;
        memcpy(&value, &bits, sizeof(value));
        return (double)value;
    }
    if (type == MI_DOUBLE) {
        double value;
        memcpy(&value, &raw, sizeof(value));
        return value;
    }
    int is_signed = type == MI_INT8 || type == MI_INT16 || type == MI_INT32 || type == MI_INT64;
    if (!is_signed)
        return (double)raw;
    int shift = 64 - 8 * bytes;
    return (double)((int64_t)(raw << shift) >> shift);
}

/* ---- the kinds of array ---- */

/* Doubles are stored in the smallest type that holds them, whatever their class. */
static mfrgn_status parse_numbers(const parser *p, span *from, mf_mat *m, size_t count) {
    element e = {0};
    MF_TRY(next_element(p, from, &e));
    int bytes = type_bytes(e.type);
    if (!bytes || e.type >= MI_UTF8)
        return fail(p, "numbers of an unknown type");
    if (left(&e.data) / (size_t)bytes != count || left(&e.data) % (size_t)bytes)
        return fail(p, "an array has another size than its numbers");
    double *number = room(p, count, sizeof(*number));
    if (!number)
        return MFRGN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        number[i] = read_number(p, e.type, e.data.at + i * (size_t)bytes);
    m->number = number;
    return MFRGN_OK;
}

/* The next code point of UTF-8, UTF-16 or plain numbers; 0xfffd for what is none. */
static uint32_t next_point(const parser *p, unsigned type, span *s) {
    int bytes = type_bytes(type);
    uint32_t c = (uint32_t)read_integer(p, s->at, bytes);
    if (type == MI_UTF8) {
        size_t n = mf_utf8_sequence(s->at, left(s));
        if (n > 1) {
            c = s->at[0] & (0x7fu >> n);
            for (size_t i = 1; i < n; i++)
                c = c << 6 | (s->at[i] & 0x3f);
        }
        s->at += n ? n : 1;
        return n ? c : 0xfffd;
    }
    s->at += bytes;
    if (c >= 0xd800 && c < 0xdc00 && bytes == 2 && left(s) >= 2) {
        uint32_t low = (uint32_t)read_integer(p, s->at, 2);
        if (low >= 0xdc00 && low < 0xe000) {
            s->at += 2;
            return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return (c >= 0xd800 && c < 0xe000) || c > 0x10ffff ? 0xfffd : c;
}

static char *put_utf8(char *to, uint32_t c) {
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

/* A row of the matrix of characters, which lies column after column. */
static char *row_text(const parser *p, const uint32_t *point, size_t rows, size_t columns, size_t row) {
    while (columns && (point[(columns - 1) * rows + row] == ' ' || point[(columns - 1) * rows + row] == 0))
        columns--;
    char *text = room(p, columns + 1, 4), *to = text;
    for (size_t i = 0; text && i < columns; i++) {
        uint32_t c = point[i * rows + row];
        to = put_utf8(to, c ? c : 0xfffd);
    }
    return text;
}

static mfrgn_status parse_text(const parser *p, span *from, mf_mat *m, size_t count) {
    element e = {0};
    MF_TRY(next_element(p, from, &e));
    int bytes = type_bytes(e.type);
    if (!bytes || e.type == MI_SINGLE || e.type == MI_DOUBLE || bytes == 8 || left(&e.data) % (size_t)bytes)
        return fail(p, "text of an unknown type");
    size_t most = left(&e.data) / (size_t)bytes, points = 0;
    uint32_t *point = room(p, most, sizeof(*point));
    if (!point)
        return MFRGN_ERROR_MEMORY;
    while (left(&e.data))
        point[points++] = next_point(p, e.type, &e.data);
    size_t rows = m->rows, columns = m->columns;
    if (points != count) { /* a surrogate pair, or a byte of UTF-8, may have been counted as a character */
        if (rows > 1 || points > count)
            return fail(p, "text has another size than its characters");
        columns = points;
    }
    m->text = room(p, rows, sizeof(*m->text));
    for (size_t i = 0; m->text && i < rows; i++)
        if (!(m->text[i] = row_text(p, point, rows, columns, i)))
            return MFRGN_ERROR_MEMORY;
    return m->text ? MFRGN_OK : MFRGN_ERROR_MEMORY;
}

static mfrgn_status parse_matrix(const parser *p, span from, mf_mat *m, int depth);

static mfrgn_status parse_children(const parser *p, span *from, mf_mat *m, size_t count, int depth) {
    if (count > left(from) / 8) /* each takes 8 bytes at the least */
        return fail(p, "an array claims more elements than there are bytes");
    m->child = room(p, count, sizeof(*m->child));
    if (!m->child)
        return MFRGN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        element e = {0};
        MF_TRY(next_element(p, from, &e));
        if (e.type != MI_MATRIX)
            return fail(p, "an element of a cell or struct is no array");
        MF_TRY(parse_matrix(p, e.data, &m->child[i], depth + 1));
    }
    return MFRGN_OK;
}

static const char *copy_text(const parser *p, const unsigned char *at, size_t size) {
    const unsigned char *end = memchr(at, 0, size);
    size_t length = end ? (size_t)(end - at) : size;
    char *copy = room(p, length + 1, 1);
    if (copy)
        memcpy(copy, at, length);
    return copy;
}

static mfrgn_status parse_struct(const parser *p, span *from, mf_mat *m, size_t count, int depth) {
    element length, names;
    MF_TRY(next_element(p, from, &length));
    MF_TRY(next_element(p, from, &names));
    if (length.type != MI_INT32 || left(&length.data) != 4 || names.type != MI_INT8)
        return fail(p, "the fields of a struct are malformed");
    size_t each = (size_t)read_integer(p, length.data.at, 4), bytes = left(&names.data), total;
    if (each == 0 || each > 4096 || bytes % each)
        return fail(p, "the names of a struct's fields are malformed");
    m->fields = bytes / each;
    m->field = room(p, m->fields, sizeof(*m->field));
    for (size_t i = 0; m->field && i < m->fields; i++)
        if (!(m->field[i] = copy_text(p, names.data.at + i * each, each)))
            return MFRGN_ERROR_MEMORY;
    if (!m->field)
        return MFRGN_ERROR_MEMORY;
    if (__builtin_mul_overflow(count, m->fields, &total))
        return fail(p, "a struct is too large");
    return parse_children(p, from, m, total, depth);
}

static mfrgn_status parse_dims(const parser *p, span *from, mf_mat *m, size_t *count) {
    element e = {0};
    MF_TRY(next_element(p, from, &e));
    size_t dims = left(&e.data) / 4;
    if (e.type != MI_INT32 || left(&e.data) % 4 || dims < 2 || dims > MAX_DIMS)
        return fail(p, "the dimensions of an array are malformed");
    m->rows = (size_t)read_integer(p, e.data.at, 4);
    m->columns = 1;
    for (size_t i = 1; i < dims; i++)
        if (__builtin_mul_overflow(m->columns, (size_t)read_integer(p, e.data.at + 4 * i, 4), &m->columns))
            return fail(p, "an array is too large");
    if (m->rows > INT32_MAX || __builtin_mul_overflow(m->rows, m->columns, count) || *count > PTRDIFF_MAX / 16)
        return fail(p, "an array is too large");
    return MFRGN_OK;
}

static mfrgn_status parse_matrix(const parser *p, span from, mf_mat *m, int depth) {
    element flags, name;
    size_t count = 0;
    if (depth > MAX_DEPTH)
        return fail(p, "arrays lie more than 16 deep in each other");
    m->name = "";
    m->class = MF_MAT_OTHER;
    if (from.at == from.end) { /* an empty field */
        m->class = MF_MAT_NUMBER;
        return MFRGN_OK;
    }
    MF_TRY(next_element(p, &from, &flags));
    if (flags.type != MI_UINT32 || left(&flags.data) != 8)
        return fail(p, "the flags of an array are malformed");
    unsigned class = (unsigned)read_integer(p, flags.data.at, 4) & 0xff;
    if (class == 0 || class == 3 || class == 5 || class > 15)
        return MFRGN_OK; /* objects, sparse matrices, functions: nobody asks for them */
    MF_TRY(parse_dims(p, &from, m, &count));
    MF_TRY(next_element(p, &from, &name));
    if (name.type != MI_INT8)
        return fail(p, "the name of an array is malformed");
    m->name = copy_text(p, name.data.at, left(&name.data));
    if (!m->name)
        return MFRGN_ERROR_MEMORY;
    m->class = class < 3 || class == 4 ? (mf_mat_class) class : MF_MAT_NUMBER;
    if (class == 1)
        return parse_children(p, &from, m, count, depth);
    if (class == 2)
        return parse_struct(p, &from, m, count, depth);
    if (class == 4)
        return count ? parse_text(p, &from, m, count) : MFRGN_OK;
    return count ? parse_numbers(p, &from, m, count) : MFRGN_OK;
}

/* ---- the file ---- */

static mfrgn_status add_variable(const parser *p, mf_matlab *file, span data) {
    mf_mat m = {0};
    MF_TRY(parse_matrix(p, data, &m, 0));
    MF_TRY(mf_reserve(p->context, (void **)&file->variable, &file->room, file->count + 1, sizeof(m)));
    file->variable[file->count++] = m;
    return MFRGN_OK;
}

static mfrgn_status add_compressed(const parser *p, mf_matlab *file, span data) {
    unsigned char *plain = NULL;
    size_t size = 0;
    mfrgn_status status = mf_inflate(p->context, data.at, left(&data), INFLATED_LIMIT, &plain, &size);
    if (status != MFRGN_OK)
        return mf_fail_in(p->context, status, "%s", p->name);
    span inside = {plain, plain + size};
    element e = {0};
    status = next_element(p, &inside, &e);
    if (status == MFRGN_OK)
        status = e.type == MI_MATRIX ? add_variable(p, file, e.data) : fail(p, "what is compressed is no array");
    mf_free(p->context, plain);
    return status;
}

static mfrgn_status parse_file(const parser *p, mf_matlab *file, const unsigned char *data, size_t size) {
    span from = {data + HEADER, data + size};
    while (left(&from)) {
        element e = {0};
        MF_TRY(next_element(p, &from, &e));
        if (e.type == MI_MATRIX)
            MF_TRY(add_variable(p, file, e.data));
        else if (e.type == MI_COMPRESSED)
            MF_TRY(add_compressed(p, file, e.data));
        else
            return fail(p, "an element is no array");
    }
    return MFRGN_OK;
}

mfrgn_status mf_matlab_decode(mfrgn_context *context, const char *name, const void *bytes, size_t size,
                              mf_matlab *file) {
    const unsigned char *data = bytes;
    memset(file, 0, sizeof(*file));
    file->memory.context = context;
    if (size < HEADER || ((data[126] != 'I' || data[127] != 'M') && (data[126] != 'M' || data[127] != 'I')))
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: not a MATLAB 5 file", name);
    parser p = {context, name, &file->memory, data[126] == 'M'};
    unsigned version = (unsigned)read_integer(&p, data + 124, 2);
    if (version == 0x200)
        return mf_fail(context, MFRGN_ERROR_UNSUPPORTED, "%s: a MATLAB 7.3 file (HDF5); save it with '-v7' or older",
                       name);
    if (version != 0x100)
        return mf_fail(context, MFRGN_ERROR_FORMAT, "%s: a MATLAB file of the unknown version %#x", name, version);
    mfrgn_status status = parse_file(&p, file, data, size);
    if (status != MFRGN_OK)
        mf_matlab_free(file);
    return status;
}

mfrgn_status mf_matlab_load(mfrgn_context *context, const char *path, mf_matlab *file) {
    mf_file mapped;
    MF_TRY(mf_file_map(context, path, &mapped));
    mfrgn_status status = mf_matlab_decode(context, path, mapped.data, mapped.size, file);
    mf_file_unmap(&mapped);
    return status;
}

void mf_matlab_free(mf_matlab *file) {
    if (!file->memory.context)
        return;
    mf_free(file->memory.context, file->variable);
    mf_arena_free(&file->memory);
    memset(file, 0, sizeof(*file));
}

const mf_mat *mf_matlab_find(const mf_matlab *file, const char *name) {
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->variable[i].name, name) == 0)
            return &file->variable[i];
    return NULL;
}

size_t mf_mat_string_count(const mf_mat *m) {
    return m->class == MF_MAT_TEXT ? m->rows : m->class == MF_MAT_CELL ? m->rows * m->columns : 0;
}

const char *mf_mat_string(const mf_mat *m, size_t index) {
    if (m->class == MF_MAT_CELL)
        m = &m->child[index], index = 0;
    if (m->class != MF_MAT_TEXT)
        return NULL;
    return m->text && index < m->rows ? m->text[index] : "";
}
