#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "base/context.h"

enum { MF_ALIGNMENT = 64, MF_HUGE_PAGE = 2 << 20 };

void *mf_alloc(mfrgn_context *context, size_t bytes) {
    return context->allocator.allocate(context->allocator.user, bytes ? bytes : 1, MF_ALIGNMENT);
}

void *mf_alloc_huge(mfrgn_context *context, size_t bytes) {
    if (bytes < MF_HUGE_PAGE)
        return mf_alloc(context, bytes);
    void *memory = context->allocator.allocate(context->allocator.user, bytes, MF_HUGE_PAGE);
#ifdef MADV_HUGEPAGE
    /* Whole pages only: what lies past them may be another's. */
    if (memory)
        (void)madvise(memory, bytes / MF_HUGE_PAGE * MF_HUGE_PAGE, MADV_HUGEPAGE);
#endif
    return memory;
}

void *mf_calloc(mfrgn_context *context, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size)
        return NULL;
    void *memory = mf_alloc(context, count * size);
    if (memory)
        memset(memory, 0, count * size);
    return memory;
}

void mf_free(mfrgn_context *context, void *memory) {
    if (memory)
        context->allocator.release(context->allocator.user, memory);
}

mfrgn_status mf_reserve(mfrgn_context *context, void **items, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity)
        return MFRGN_OK;
    size_t room = *capacity ? *capacity : 8;
    while (room < need)
        room = room > SIZE_MAX / 2 ? need : room * 2;
    if (room > SIZE_MAX / size)
        return mf_fail_memory(context, SIZE_MAX, "a list");
    void *moved = mf_alloc(context, room * size);
    if (!moved)
        return mf_fail_memory(context, room * size, "a list");
    if (*items)
        memcpy(moved, *items, *capacity * size);
    mf_free(context, *items);
    *items = moved;
    *capacity = room;
    return MFRGN_OK;
}

char *mf_strdup(mfrgn_context *context, const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = mf_alloc(context, bytes);
    if (copy)
        memcpy(copy, text, bytes);
    return copy;
}

char *mf_format(mfrgn_context *context, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : mf_alloc(context, (size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}
