/* Threads and a backend for searching. */
#include <math.h>
#include <string.h>

#include "gallery/search.h"
#include "model/options.h"

static mfrgn_status open_engine(mfrgn_searcher *s, const mfrgn_options *options) {
    mf_engine_params params = mf_options_engine(options);
    params.precision = "f32"; /* of the scores; the gallery has its own */
    MF_TRY(mf_engine_open(s->context, &params, &s->engine, NULL));
    if (!s->engine.backend->table->scan)
        return mf_fail(s->context, MFRGN_ERROR_UNSUPPORTED, "backend %s does not search", s->engine.backend->name);
    return MFRGN_OK;
}

mfrgn_status mfrgn_searcher_create(mfrgn_context *context, const mfrgn_options *options, mfrgn_searcher **out) {
    if (!context)
        return MFRGN_ERROR_ARGUMENT;
    if (!out)
        return mf_fail(context, MFRGN_ERROR_ARGUMENT, "mfrgn_searcher_create: NULL argument");
    mfrgn_options *defaults = NULL;
    if (!options) {
        MF_TRY(mfrgn_options_create(context, &defaults));
        options = defaults;
    }
    mfrgn_searcher *s = mf_calloc(context, 1, sizeof(*s));
    mfrgn_status status = s ? MFRGN_OK : mf_fail_memory(context, sizeof(*s), "a searcher");
    if (s) {
        s->context = mf_context_ref(context);
        status = open_engine(s, options);
    }
    mfrgn_options_free(defaults);
    if (status != MFRGN_OK)
        mfrgn_searcher_free(s);
    else
        *out = s;
    return status;
}

void mfrgn_searcher_free(mfrgn_searcher *s) {
    if (!s)
        return;
    mfrgn_context *context = s->context;
    mf_engine_close(&s->engine);
    mf_free(context, s->scratch);
    mf_free(context, s);
    mfrgn_context_free(context);
}

mfrgn_status mf_searcher_scan(mfrgn_searcher *s, mf_scan *scan) {
    const mf_backend *table = s->engine.backend->table;
    scan->struct_size = sizeof(*scan);
    size_t bytes = table->scan_scratch(s->engine.stream, scan);
    if (bytes > s->scratch_bytes) {
        mf_free(s->context, s->scratch);
        s->scratch_bytes = 0;
        s->scratch = mf_alloc_huge(s->context, bytes);
        if (!s->scratch)
            return mf_fail_memory(s->context, bytes, "a search");
        s->scratch_bytes = bytes;
    }
    mf_engine_begin(&s->engine);
    mfrgn_status status = (mfrgn_status)table->scan(s->engine.stream, scan, s->scratch);
    mf_engine_end(&s->engine);
    return status == MFRGN_OK ? status : mf_fail_in(s->context, status, "backend %s, scan", s->engine.backend->name);
}

mfrgn_status mf_query_norms(mfrgn_searcher *s, const float *queries, size_t n, size_t size, float *norms) {
    for (size_t q = 0; q < n; q++) {
        const float *v = queries + q * size;
        norms[q] = mf_norm_up(v, size) + 1e-30f; /* 1e-30: what underflows, see the proof */
        if (norms[q] < INFINITY)
            continue;
        for (size_t i = 0; i < size; i++)
            if (!isfinite(v[i]))
                return mf_fail(s->context, MFRGN_ERROR_NUMERIC, "query %zu: the value at %zu is NaN or infinite", q, i);
    }
    return MFRGN_OK;
}
