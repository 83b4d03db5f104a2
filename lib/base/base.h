/* The ground floor: errors, memory, log, threads, text.  Every other room of the library stands on this header. */
#ifndef MFRGN_BASE_H
#define MFRGN_BASE_H

#include <stdarg.h>
#include <stdint.h>

#include "mfrgn/mfrgn.h"

#define MF_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MF_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* ---- context: reference-counted, shared by threads ---- */
mfrgn_context *mf_context_ref(mfrgn_context *context);

/* ---- errors ---- */
/* Sets the calling thread's error text and returns `status`.  The text says what, where (file, tensor, line), what was
 * expected, what to do. */
mfrgn_status mf_fail(mfrgn_context *context, mfrgn_status status, const char *format, ...) MF_PRINTF(3, 4);
mfrgn_status mf_vfail(mfrgn_context *context, mfrgn_status status, const char *format, va_list args) MF_PRINTF(3, 0);
/* Puts "prefix: " before the text that is set, for a caller that knows where the fault is. */
mfrgn_status mf_fail_in(mfrgn_context *context, mfrgn_status status, const char *format, ...) MF_PRINTF(3, 4);
/* MFRGN_ERROR_MEMORY with the bytes in the message. */
mfrgn_status mf_fail_memory(mfrgn_context *context, size_t bytes, const char *what);

#define MF_TRY(call)                     \
    do {                                 \
        mfrgn_status try_ = (call);      \
        if (try_ != MFRGN_OK)            \
            return try_;                 \
    } while (0)

/* ---- memory: the caller's allocator, aligned to 64 bytes ---- */
void *mf_alloc(mfrgn_context *context, size_t bytes); /* NULL on failure, without an error text */
void *mf_calloc(mfrgn_context *context, size_t count, size_t size); /* zeroed; NULL also on overflow */
void *mf_alloc_huge(mfrgn_context *context, size_t bytes); /* for large buffers: huge pages where the system has them */
void mf_free(mfrgn_context *context, void *memory);
/* Room for `need` items of `size` bytes: moves *items and raises *capacity when it is too small. */
mfrgn_status mf_reserve(mfrgn_context *context, void **items, size_t *capacity, size_t need, size_t size);
char *mf_strdup(mfrgn_context *context, const char *text);
char *mf_format(mfrgn_context *context, const char *format, ...) MF_PRINTF(2, 3); /* to be freed with mf_free */

/* ---- log ---- */
void mf_log(mfrgn_context *context, mfrgn_log_level level, const char *format, ...) MF_PRINTF(3, 4);
void mf_vlog(mfrgn_context *context, mfrgn_log_level level, const char *format, va_list args) MF_PRINTF(3, 0);

/* ---- threads ---- */
/* task(arg, 0 .. tasks - 1), each once, on up to `tasks` threads, the caller's among them.  Which thread runs a task is
 * left open; what a task computes must not depend on it. */
void mf_parallel(mfrgn_context *context, int tasks, void (*task)(void *arg, int index), void *arg);
/* Cores that this process may use, at least 1. */
int mf_core_count(void);

/* ---- progress ---- */
static inline mfrgn_status mf_progress(mfrgn_context *context, const mfrgn_progress *p, size_t done, size_t total) {
    if (p && p->update && p->update(p->user, done, total))
        return mf_fail(context, MFRGN_ERROR_CANCELLED, "cancelled by the progress callback after %zu of %zu", done,
                       total);
    return MFRGN_OK;
}

/* ---- text: independent of the locale ---- */
/* The whole of `text` as a decimal integer. 1: read */
int mf_read_int(const char *text, long *value);
/* The whole of `text` as a decimal number ("-1.5", "2e3"), rounded correctly whatever its digits. 1: read; 0: something
 * else, or beyond a double's range. */
int mf_read_double(const char *text, double *value);
/* "HxW" with `end` at what follows. 1: read */
int mf_read_size(const char *text, const char **end, long *height, long *width);
uint64_t mf_hash(const void *data, size_t bytes, uint64_t seed); /* FNV-1a, 64 bit; seed 0: the standard offset */

#endif
