/* Error texts, one a thread and context, without thread-local storage: a context keeps those of the 32 threads that
 * failed last. */
#include <stdio.h>
#include <string.h>

#include "base/context.h"

/* The calling thread's slot; with `take` the oldest is given to it if it has none.  Under the lock. */
static mf_error_slot *find_slot(mfrgn_context *context, int take) {
    pthread_t self = pthread_self();
    mf_error_slot *oldest = &context->errors[0];
    for (int i = 0; i < MF_ERROR_SLOTS; i++) {
        mf_error_slot *slot = &context->errors[i];
        if (slot->used && pthread_equal(slot->thread, self))
            return slot;
        if (slot->used < oldest->used)
            oldest = slot;
    }
    if (!take)
        return NULL;
    oldest->thread = self;
    oldest->text[0] = 0;
    return oldest;
}

static void set_text(mfrgn_context *context, const char *text, int prefix) {
    char joined[MF_ERROR_TEXT * 2];
    pthread_mutex_lock(&context->lock);
    mf_error_slot *slot = find_slot(context, 1);
    slot->used = ++context->error_clock;
    if (prefix && slot->text[0])
        snprintf(joined, sizeof(joined), "%s: %s", text, slot->text);
    else
        snprintf(joined, sizeof(joined), "%s", text);
    memcpy(slot->text, joined, MF_ERROR_TEXT);
    slot->text[MF_ERROR_TEXT - 1] = 0;
    pthread_mutex_unlock(&context->lock);
}

mfrgn_status mf_vfail(mfrgn_context *context, mfrgn_status status, const char *format, va_list args) {
    char text[MF_ERROR_TEXT];
    vsnprintf(text, sizeof(text), format, args);
    if (context)
        set_text(context, text, 0);
    return status;
}

mfrgn_status mf_fail(mfrgn_context *context, mfrgn_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    mf_vfail(context, status, format, args);
    va_end(args);
    return status;
}

mfrgn_status mf_fail_in(mfrgn_context *context, mfrgn_status status, const char *format, ...) {
    char text[MF_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    set_text(context, text, 1);
    return status;
}

mfrgn_status mf_fail_memory(mfrgn_context *context, size_t bytes, const char *what) {
    return mf_fail(context, MFRGN_ERROR_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}

const char *mfrgn_context_last_error(mfrgn_context *context) {
    if (!context)
        return "";
    pthread_mutex_lock(&context->lock);
    mf_error_slot *slot = find_slot(context, 0);
    pthread_mutex_unlock(&context->lock);
    return slot ? slot->text : "";
}

void mf_vlog(mfrgn_context *context, mfrgn_log_level level, const char *format, va_list args) {
    char text[MF_ERROR_TEXT];
    if (!context->log.message || level > context->log.level)
        return;
    vsnprintf(text, sizeof(text), format, args);
    pthread_mutex_lock(&context->log_lock);
    if (context->log.message)
        context->log.message(context->log.user, level, text);
    pthread_mutex_unlock(&context->log_lock);
}

void mf_log(mfrgn_context *context, mfrgn_log_level level, const char *format, ...) {
    va_list args;
    va_start(args, format);
    mf_vlog(context, level, format, args);
    va_end(args);
}
