/* The scan of a gallery in the reference backend. */
#ifndef MFRGN_BACKENDS_REF_SCAN_H
#define MFRGN_BACKENDS_REF_SCAN_H

#include "backends/ref/ref.h"

float ref_scan_error(mf_stream *stream, mf_dtype dtype, int64_t size);
size_t ref_scan_scratch(mf_stream *stream, const mf_scan *scan);
mf_status ref_scan(mf_stream *stream, const mf_scan *scan, void *scratch);

#endif
