/* CSV from memory: whatever the bytes are, records or an error with its line. */
#include "io/csv.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mfrgn_context *context;
    if (mfrgn_context_create(NULL, &context) != MFRGN_OK)
        return 0;
    for (int words = 0; words < 2; words++) {
        mf_csv csv;
        int more = 1;
        size_t last = 0, bytes = 0;
        double value;
        mfrgn_status status = MFRGN_OK;
        mf_csv_open_memory(context, "fuzz", data, size, &csv);
        csv.words = words;
        while (status == MFRGN_OK && (status = mf_csv_next(&csv, size % 2 == 0, &more)) == MFRGN_OK && more) {
            if (csv.line <= last)
                __builtin_trap();
            last = csv.line;
            for (size_t i = 0; i < csv.count; i++)
                bytes += strlen(csv.field[i]) + (size_t)mf_read_double(csv.field[i], &value);
            (void)mf_csv_column(&csv, "path|latitude|lat");
            (void)mf_csv_number(&csv, 1, "latitude", -90, 90, &value);
        }
        if (bytes > 3 * size || (status != MFRGN_OK && !strstr(mfrgn_context_last_error(context), "fuzz, line")))
            __builtin_trap();
        mf_csv_close(&csv);
    }
    mfrgn_context_free(context);
    return 0;
}
